"""Ranking filters by what they tell of the class, and accuracy against the number of filters kept."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from core_builders import stop_after
from napari_cam_feedback.data import make_sample, sample_data_dir
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.explanations.filters.accuracy_curve import accuracy_curve, grid_of_counts
from napari_cam_feedback.explanations.filters.features import Features, features_of
from napari_cam_feedback.explanations.filters.ranking import binned_scores, rank_filters, standardised, stratified_rows
from napari_cam_feedback.explanations.filters.statistics import activation_under_masks
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.models import load_classifier


def features(mean: np.ndarray, labels: np.ndarray, predicted: np.ndarray | None = None, classes: int = 3) -> Features:
    count = len(mean)
    logits = np.eye(classes, dtype=np.float32)[np.maximum(labels, 0) if predicted is None else predicted]
    return Features(
        np.arange(count), tuple(map(str, range(count))), labels, mean.astype(np.float32), mean.astype(np.float32), logits,
        tuple("abcdefghij"[:classes]), "train", "features", "f" * 64, "d" * 64,
    )  # fmt: skip


def synthetic(count: int = 400, filters: int = 12, classes: int = 3, seed: int = 0, telling: int = 3) -> Features:
    """Filters of noise; the first few are shifted by class, the first of them most."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    centres = np.random.default_rng(99).normal(size=(classes, filters)) * 0.0
    centres[:, :telling] = np.arange(classes)[:, None] * np.linspace(3, 1.5, telling)
    return features(np.abs(rng.normal(size=(count, filters)) + centres[labels]), labels, classes=classes)


def test_mutual_information_and_the_accuracy_of_one_variable_by_hand():
    labels = np.repeat([0, 1], 40)
    same = labels.astype(np.float32)  # tells everything
    nothing = np.tile([0.0, 1.0], 40)  # each value as often in both classes
    constant = np.full(80, 3.0)
    # Three quarters of class 0 have 0, three quarters of class 1 have 1.
    partly = np.concatenate([np.tile([0.0, 0, 0, 1], 10), np.tile([1.0, 1, 1, 0], 10)])
    information, accuracy = binned_scores(np.stack([same, nothing, constant, partly], 1), labels)
    plug_in = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    bias = (4 - 2 - 2 + 1) / (2 * 80)
    np.testing.assert_allclose(information, [np.log(2), 0, 0, plug_in - bias], atol=1e-12)
    assert accuracy.tolist() == [1.0, 0.5, 0.5, 0.75]


def test_scores_do_not_depend_on_the_scale_of_a_filter():
    x = synthetic().mean
    one = binned_scores(x, synthetic().labels)
    other = binned_scores(x * 1000 + 5, synthetic().labels)
    np.testing.assert_allclose(one, other, atol=0.02)


def test_filters_that_tell_of_the_class_come_first():
    found = rank_filters(synthetic())
    assert set(found.order[:3].tolist()) == {0, 1, 2}
    for scores in (found.mutual_information, found.forest, found.one_variable, found.l1):
        assert scores.shape == (12,)
        assert scores[:3].min() > scores[3:].max()
    assert found.forest.sum() == pytest.approx(1)
    assert np.array_equal(found.order[found.place - 1], np.arange(12))
    assert found.mean_rank[found.order[0]] == found.mean_rank.min()
    assert (found.classifier, found.data, found.layer) == ("f" * 64, "d" * 64, "features")


def test_the_mean_rank_weighs_three_measures_equally():
    found = rank_filters(synthetic())
    ranks = [np.argsort(np.argsort(-s)) + 1 for s in (found.mutual_information, found.forest, found.one_variable)]
    first = int(found.order[0])
    assert found.mean_rank[first] == pytest.approx(np.mean([r[first] for r in ranks]))


def test_equal_filters_share_their_rank_and_a_dead_one_is_last():
    base = synthetic()
    mean = base.mean.copy()
    mean[:, 5] = 0
    found = rank_filters(replace(base, mean=mean))
    assert found.order[-1] == 5
    assert (found.mutual_information[5], found.forest[5], found.l1[5]) == (0, 0, 0)


def test_the_same_seed_gives_the_same_ranking_and_labels_that_are_unknown_do_not_count():
    one, other = rank_filters(synthetic(), seed=3), rank_filters(synthetic(), seed=3)
    assert np.array_equal(one.mean_rank, other.mean_rank)
    extra = synthetic()
    padded = features(
        np.concatenate([extra.mean, np.full((50, 12), 1e6, np.float32)]), np.concatenate([extra.labels, np.full(50, -1)])
    )
    assert np.array_equal(rank_filters(padded, seed=3).mean_rank, one.mean_rank)


def test_ranking_reports_progress_and_stops_when_asked():
    seen: list[tuple[int, int]] = []
    rank_filters(synthetic(100), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 12) for n in range(1, 13)]
    assert rank_filters(synthetic(100), stop=stop_after(3)) is None


def test_what_cannot_be_ranked_gives_a_sentence():
    lone = features(np.ones((4, 2)), np.array([1, 1, -1, 1]))
    with pytest.raises(DataError, match=r"Ranking filters needs labelled images of at least two classes; add labels, or"):
        rank_filters(lone)
    broken = features(np.array([[1.0], [np.nan]]), np.array([0, 1]))
    with pytest.raises(DataError, match=r"Some activations are not numbers \(NaN or infinite\); check the model and its"):
        rank_filters(broken)


def test_a_ranking_is_written_as_a_table(tmp_path):
    found = rank_filters(synthetic())
    found.save_csv(tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["filter"]) for row in rows] == found.order.tolist()
    assert [int(row["place"]) for row in rows] == list(range(1, 13))
    assert float(rows[0]["mutual_information"]) == pytest.approx(found.mutual_information[found.order[0]], rel=1e-5)


def test_many_classes_are_ranked_without_the_column_of_the_l1_classifier(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 60
    many = replace(
        features(rng.random((240, 4)), labels % 10, classes=10),
        labels=labels, class_names=tuple(map(str, range(60))),
    )  # fmt: skip
    found = rank_filters(many)
    assert found.l1 is None
    found.save_csv(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text().splitlines()[1].endswith(",")


def test_a_subsample_has_every_class_in_its_share():
    labels = np.array([0] * 900 + [1] * 99 + [2])
    rows = stratified_rows(labels, 100, seed=0)
    assert np.bincount(labels[rows]).tolist() == [90, 9, 1]
    assert np.array_equal(rows, np.unique(rows))
    assert np.array_equal(rows, stratified_rows(labels, 100, seed=0))
    assert stratified_rows(labels, 1000, seed=0).tolist() == list(range(1000))


def test_constant_features_become_zero_when_standardised():
    z, _, _ = standardised(np.array([[1.0, 7.1], [3.0, 7.1]], np.float32))
    assert z.tolist() == [[-1, 0], [1, 0]]


def test_every_number_of_filters_is_tried_up_to_64_and_then_each_about_a_tenth_more():
    assert grid_of_counts(5).tolist() == [1, 2, 3, 4, 5]
    grid = grid_of_counts(2048)
    assert grid[:64].tolist() == list(range(1, 65))
    assert grid[-1] == 2048
    assert (np.diff(grid) <= np.ceil(grid[:-1] * 0.1) + 1).all()
    assert len(grid) < 110


@pytest.mark.parametrize("head", ["logistic", "least squares"])
def test_the_curve_rises_with_the_filters_that_tell_and_no_further(head):
    train, val = synthetic(600), synthetic(300, seed=1)
    found = accuracy_curve(train, val, np.arange(12), head=head)
    assert found.counts.tolist() == list(range(1, 13))
    assert found.accuracy[2] > found.accuracy[0]
    assert abs(found.accuracy[-1] - found.accuracy[2]) < 0.05
    # The worst filters first: nothing is known until the last come.
    backwards = accuracy_curve(train, val, np.arange(12)[::-1], head=head)
    assert backwards.accuracy[8] < 0.5
    assert backwards.accuracy[-1] == pytest.approx(found.accuracy[-1], abs=0.01)


def test_least_squares_for_all_k_at_once_is_that_for_each_k():
    train, val = synthetic(200), synthetic(100, seed=1)
    order = np.array([4, 0, 7, 1, 2, 3])
    found = accuracy_curve(train, val, order, head="least squares")
    z, mean, deviation = standardised(train.mean[:, order])
    z_val = (val.mean[:, order] - mean) / deviation
    onehot = np.eye(3)[train.labels]
    for k in range(1, 7):
        gram = z[:, :k].T.astype(float) @ z[:, :k] + 1e-3 * len(z) * np.eye(k)
        weights = np.linalg.solve(gram, z[:, :k].T @ (onehot - onehot.mean(0)))
        scores = z_val[:, :k] @ weights + onehot.mean(0)
        assert found.accuracy[k - 1] == pytest.approx((scores.argmax(1) == val.labels).mean())


def test_the_cut_is_where_the_curve_comes_within_one_standard_error_of_the_model():
    train, val = synthetic(600), synthetic(300, seed=1)
    most = int(accuracy_curve(train, val, np.arange(12)).accuracy.max() * 300)
    assert most < 299
    # The model itself is right on one image more than the best of the refitted heads.
    wrong = np.arange(300) > most
    val = replace(val, logits=np.eye(3, dtype=np.float32)[np.where(wrong, (val.labels + 1) % 3, val.labels)])
    found = accuracy_curve(train, val, np.arange(12))
    a = (most + 3) / 304
    assert found.full == pytest.approx((most + 1) / 300)
    assert found.standard_error == pytest.approx(np.sqrt(a * (1 - a) / 304))
    met = found.accuracy >= found.full - found.standard_error
    assert not (found.accuracy >= found.full).any()
    assert found.cut == found.counts[met][0]
    assert not met[: found.cut - 1].any()
    assert found.sentence == (
        f"The best {found.cut} filters reach {found.accuracy[found.cut - 1]:.1%} on 300 validation images, the whole model "
        f"{found.full:.1%} (standard error {found.standard_error:.1%})."
    )


def test_where_the_model_is_never_met_there_is_no_cut_and_a_sentence():
    train = synthetic(200, telling=0)
    found = accuracy_curve(train, synthetic(200, telling=0, seed=1), np.arange(12))  # the model knows every answer
    assert found.cut is None
    assert found.full == 1.0
    assert found.sentence == (
        "No number of filters up to 12 reaches the model's validation accuracy of 100.0% within its standard error of 0.7%."
    )


def test_a_model_that_was_always_right_on_few_images_is_not_held_for_infallible():
    found = accuracy_curve(synthetic(100), synthetic(10, seed=1), np.arange(12))
    assert found.full == 1.0
    assert found.standard_error == pytest.approx(np.sqrt(12 / 14 * 2 / 14 / 14))


def test_the_curve_reports_progress_and_keeps_its_points_when_stopped(tmp_path):
    seen: list[tuple[int, int]] = []
    train, val = synthetic(100), synthetic(50, seed=1)
    for head in ("logistic", "least squares"):
        whole = accuracy_curve(train, val, np.arange(12), head=head, progress=lambda *state: seen.append(state))
        assert seen.pop() == (12, 12)
        part = accuracy_curve(train, val, np.arange(12), head=head, stop=stop_after(3))
        assert (part.counts.tolist(), part.complete) == ([1, 2, 3, 4], False)
        assert np.array_equal(part.accuracy, whole.accuracy[:4])
    whole.save_csv(tmp_path / "c.csv")
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert lines[0] == "filters,accuracy,cut"
    assert [line.endswith(",1") for line in lines[1:]].count(True) == (whole.cut is not None)


def test_what_cannot_be_compared_gives_a_sentence():
    train, val = synthetic(50), synthetic(20, seed=1)
    with pytest.raises(DataError, match=r"of two models; compute both with the same one\."):
        accuracy_curve(train, replace(val, classifier="other"), np.arange(12))
    with pytest.raises(DataError, match=r"No validation image has a label; choose a split with labels\."):
        accuracy_curve(train, replace(val, labels=np.full(20, -1)), np.arange(12))


@pytest.mark.filterwarnings("error")
def test_a_few_images_rank_without_a_complaint():
    few = features(np.array([[0.0, 1], [1, 0], [2, 5], [3, 1]]), np.array([0, 1, 0, 1]), classes=2)
    assert sorted(rank_filters(few).order.tolist()) == [0, 1]
    assert len(accuracy_curve(few, few, np.array([1, 0])).accuracy) == 2


def test_the_filters_that_look_at_the_tags_of_the_digits_are_ranked_high_and_few_of_them_do_for_the_model():
    dataset = make_sample("tag-digits")
    classifier = load_classifier(sample_data_dir() / "tag-digits" / "model.safetensors", device="cpu")
    train, val = features_of(classifier, dataset, "train"), features_of(classifier, dataset, "val")
    found = rank_filters(train)
    under = activation_under_masks(classifier, dataset, known_masks(dataset, 60))
    assert found.place[under.order[0]] <= 5
    curve = accuracy_curve(train, val, found.order)
    # In train and val the tag tells the class, and a handful of filters read it.
    assert curve.full > 0.98
    assert curve.cut <= 16
    assert (under.excess[found.order[: curve.cut]] > 0.5).all()
