"""Which images to paint next: signals worked out by hand, groups of like maps, the choice, and what is said."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from core_builders import gray_dataset, hand_classifier, nearest_classifier, small_gap, stop_after, stripes
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.explanations import FilterMarks, explain
from napari_cam_feedback.feedback import SuggestWeights, suggest
from napari_cam_feedback.feedback.suggestions.clusters import cluster_maps, half_area, similarity
from napari_cam_feedback.feedback.suggestions.pictures import save_clusters
from napari_cam_feedback.feedback.suggestions.reasons import percent, place_word
from napari_cam_feedback.feedback.suggestions.scan import MapScan, draw, scan_maps
from napari_cam_feedback.feedback.suggestions.signals import choose, descriptors, places, signals_of


def a_scan(maps: np.ndarray, predicted=None, labels=None, looks=None, certainty=None, margin=None) -> MapScan:
    """A scan of N images with these maps; the rest is plain."""
    n = len(maps)
    predicted = np.zeros(n, np.int64) if predicted is None else np.asarray(predicted)
    maps = np.asarray(maps, np.float32)
    total = maps.sum((1, 2), keepdims=True)
    looks = np.ones((n, 2), np.float32) if looks is None else np.asarray(looks, np.float32)
    return MapScan(
        indices=np.arange(n),
        labels=predicted.copy() if labels is None else np.asarray(labels),
        predicted=predicted,
        second=1 - predicted,
        certainty=np.full(n, 0.9, np.float32) if certainty is None else np.asarray(certainty, np.float32),
        margin=np.full(n, 0.8, np.float32) if margin is None else np.asarray(margin, np.float32),
        maps=np.divide(maps, total, out=np.zeros_like(maps), where=total > 0),
        looks=looks,
        filters=looks,
        method="cam",
        total=n,
    )


def point(row: int, column: int, size: int = 8) -> np.ndarray:
    found = np.zeros((size, size))
    found[row, column] = 1
    return found


def test_the_scan_has_predictions_maps_and_what_lies_under_them():
    image = np.array([[[0, 51], [0, 204]]], np.uint8)  # x = 0, .2, 0, .8; filters x and -x
    data = ArrayDataset({"train": np.concatenate([image, image])}, {"train": [1, 0]}, ("a", "b"))
    scan = scan_maps(hand_classifier(), data, data.learnable())
    # Logits z + 2(-z) + 0.5 and 3z - (-z) - 0.5 with z = 0.25: 0.25 and 0.5.
    p = 1 / (1 + np.exp(-0.25))
    assert scan.predicted.tolist() == [1, 1]
    assert scan.second.tolist() == [0, 0]
    assert scan.certainty == pytest.approx([p, p], abs=1e-6)
    assert scan.margin == pytest.approx([2 * p - 1] * 2, abs=1e-6)
    assert scan.wrong.tolist() == [False, True]
    # CAM of b is 3x + x = 4x: shares 0.2 and 0.8 of the evidence; the mean of x under it is 0.2 * 0.2 + 0.8 * 0.8.
    assert scan.maps[0] == pytest.approx(np.array([[0, 0.2], [0, 0.8]]), abs=1e-6)
    assert scan.looks[0] == pytest.approx([0.68, -0.68], abs=1e-6)
    assert scan.filters[0] == pytest.approx([0.25, -0.25], abs=1e-6)


def test_the_scan_s_maps_are_those_of_explain_and_large_ones_are_made_small():
    data, classifier = stripes({"train": 6}), small_gap(("across", "along"))
    scan = scan_maps(classifier, data, data.learnable())
    explained = explain(classifier, data, split="train")
    raw = np.stack([np.maximum(item.raw[0], 0) for item in explained.items])
    assert scan.maps == pytest.approx(raw / raw.sum((1, 2), keepdims=True), abs=1e-5)
    wide = ArrayDataset({"train": np.full((2, 40, 48), 90, np.uint8)}, {"train": [0, 1]}, ("a", "b"))
    assert scan_maps(hand_classifier(40, 48), wide, wide.learnable()).maps.shape == (2, 16, 16)


def test_an_image_without_positive_evidence_has_an_empty_map_and_the_plain_mean():
    data = ArrayDataset({"train": np.zeros((2, 2, 2), np.uint8)}, {"train": [0, 0]}, ("a", "b"))
    scan = scan_maps(hand_classifier(), data, data.learnable())
    assert not scan.maps.any()
    assert scan.looks.tolist() == [[0, 0], [0, 0]]
    found = suggest(hand_classifier(), data, n=2)
    assert [item.cluster for item in found.items] == [None, None]


def test_half_the_evidence_of_a_map():
    even, spot = np.ones((4, 4)), np.zeros((4, 4))
    spot[0, :2] = 0.4, 0.6
    assert half_area(np.stack([even, spot, np.zeros((4, 4))])).tolist() == [0.5, 1 / 16, 1.0]
    assert similarity(np.stack([spot, spot[::-1]]), spot) == pytest.approx([1.0, 0.0])


def test_maps_in_two_corners_are_two_groups_and_the_compact_one_comes_first():
    rng = np.random.default_rng(0)
    spots = [point(1, 1) + 0.01 * rng.random((8, 8)) for _ in range(20)]
    spread = [np.pad(rng.uniform(0.5, 1, (8, 4)), ((0, 0), (4, 0))) for _ in range(30)]
    scan = a_scan(np.stack([*spots, *spread]), labels=[0] * 49 + [1])
    clusters, member = cluster_maps(scan)
    assert [(c.size, c.of, c.wrong) for c in clusters] == [(20, 50, 0), (30, 50, 1)]
    assert member.tolist() == [0] * 20 + [1] * 30
    assert sorted(clusters[0].indices.tolist()) == list(range(20))
    assert clusters[0].compactness > 0.9 > 0.6 > clusters[1].compactness
    # The most typical first.
    alike = similarity(scan.maps[clusters[1].indices], clusters[1].mean_map)
    assert (np.diff(alike) <= 1e-9).all()
    assert clusters[1].tightness == pytest.approx(alike.mean(), abs=1e-6)


def test_maps_that_are_all_alike_or_few_are_one_group_a_class():
    rng = np.random.default_rng(0)
    alike = rng.uniform(0.8, 1, (40, 6, 6))
    clusters, _ = cluster_maps(a_scan(alike, predicted=[0, 1] * 20))
    assert sorted((c.predicted, c.size) for c in clusters) == [(0, 20), (1, 20)]
    few, _ = cluster_maps(a_scan(np.stack([point(0, 0), point(7, 7)])))
    assert [c.size for c in few] == [2]


def test_a_large_class_is_grouped_by_a_part_and_all_belong_to_a_group(monkeypatch):
    import napari_cam_feedback.feedback.suggestions.clusters as module

    monkeypatch.setattr(module, "_MAX_CLUSTERED", 30)
    rng = np.random.default_rng(1)
    maps = np.stack([point(*(1, 1) if n % 2 else (6, 6)) + 0.05 * rng.random((8, 8)) for n in range(80)])
    _, member = cluster_maps(a_scan(maps))
    assert sorted(np.bincount(member)) == [40, 40]
    assert len(set(member[::2])) == len(set(member[1::2])) == 1


def test_the_signals_worked_out_by_hand():
    even = np.ones((2, 2))
    maps = np.stack([[[1, 0], [0, 0]], even, even, even]).astype(float)
    scan = a_scan(
        maps, predicted=[0, 0, 0, 1], labels=[0, 0, 1, 1], certainty=[0.9, 0.8, 0.6, 0.7], margin=[0.8, 0.6, 0.2, 0.4]
    )
    scan = replace(scan, filters=np.array([[0, 3.0], [0, 1], [0, 1], [0, 2]], np.float32))
    clusters, member = cluster_maps(scan)
    signals = signals_of(scan, clusters, member, irrelevant=(0, 1))
    assert signals.half.tolist() == [0.25, 0.5, 0.5, 0.5]
    # 1 - 2 half: 0.5 of the first, 0 of the others.
    assert signals.shortcut.tolist() == [1.0, pytest.approx(1 / 3), 0.0, pytest.approx(1 / 3)]
    assert signals.doubt == pytest.approx([0.2, 0.4, 1.0, 0.6])
    # Mean map of class 0: (1 + .25 + .25)/3 = 0.5 and three times 1/6.
    assert signals.moved == pytest.approx([0.5, 0.25, 0.25, 0.0])
    # A filter that is the same everywhere says nothing.
    assert signals.filters == pytest.approx([1.0, 1 / 6, 1 / 6, 2 / 3])
    parts = signals.weighted(SuggestWeights(shortcut=1, doubt=3, displaced=0, cluster=0, filters=0))
    assert parts["doubt"] == pytest.approx([0.15, 0.3, 0.75, 0.45])
    assert signals_of(scan, clusters, member).filters is None
    assert "filters" not in signals_of(scan, clusters, member).weighted(SuggestWeights())


def test_places_are_shared_by_equal_values():
    assert places(np.array([3.0, 1, 1, 9])) == pytest.approx([2 / 3, 1 / 6, 1 / 6, 1])
    assert places(np.array([2.0, 2])).tolist() == [0, 0]


def test_the_choice_covers_the_groups_before_it_repeats_one_and_heeds_what_is_painted():
    corners = [(0, 0)] * 6 + [(0, 7)] * 4 + [(7, 0)] * 2
    scan = a_scan(np.stack([point(*corner) for corner in corners]))
    scores = np.full(12, 0.5)
    scores[[2, 8]] = 0.6
    nobody = np.zeros(12, bool)
    chosen = choose(scan, scores, nobody, 12)
    assert chosen[:2] == [2, 8]
    assert {corners[row] for row in chosen[:3]} == {(0, 0), (0, 7), (7, 0)}
    assert sorted(chosen) == list(range(12))
    # Painted images stand for those like them.
    painted = nobody.copy()
    painted[0] = True
    later = choose(scan, scores, painted, 2)
    assert {corners[row] for row in later} == {(0, 7), (7, 0)}
    assert 0 not in choose(scan, scores, painted, 12)


def test_descriptors_have_length_one_and_compare_place_and_look():
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(3, 5))
    scan = a_scan(np.stack([point(0, 0), point(0, 0), point(5, 5)]), looks=looks)
    points = descriptors(scan)
    z = (scan.looks - scan.looks.mean(0)) / scan.looks.std(0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    assert points @ points.T == pytest.approx(0.5 * np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]]) + 0.5 * z @ z.T, abs=1e-5)


def test_test_images_and_painted_ones_are_never_suggested():
    data = stripes({"train": 12, "val": 6, "test": 6})
    painted = {data.keys[0], data.keys[13]}
    found = suggest(small_gap(("across", "along")), data, painted, n=100)
    assert set(found.keys) == {data.keys[int(i)] for i in data.learnable()} - painted
    assert [item.rank for item in found.items] == list(range(1, 17))
    only = suggest(small_gap(("across", "along")), data, n=3, splits=["val"])
    assert all(item.split == "val" for item in only.items)
    with pytest.raises(
        ConfigError, match=r"Images of the split test are not suggested, since painting them would spoil the test"
    ):
        suggest(small_gap(("across", "along")), data, splits=["test"])
    with pytest.raises(DataError, match=r"Every image of these splits is painted already\."):
        suggest(small_gap(("across", "along")), data, set(data.keys))
    with pytest.raises(ConfigError, match=r"0 images cannot be suggested; ask for 1 or more\."):
        suggest(small_gap(("across", "along")), data, n=0)


def test_a_set_without_labels_for_training_is_refused_with_a_sentence():
    with pytest.raises(DataError, match=r"There is no labelled image for training or validation to suggest"):
        suggest(nearest_classifier(), gray_dataset([0, 1], [0, 1], split="test"))


def test_misclassified_images_come_first_where_doubt_alone_counts_and_the_reason_says_it():
    data = gray_dataset([0, 1, 1, 2], [0, 1, 2, 2], split="train")
    weights = SuggestWeights(shortcut=0, doubt=1, displaced=0, cluster=0)
    (first,) = suggest(nearest_classifier(), data, n=1, weights=weights).items
    assert first.key == data.keys[2]
    assert first.reason.startswith("Misclassified: “mid” is taken for “high” (certainty 0.")
    assert first.score == pytest.approx(1.0)


def test_filters_marked_irrelevant_give_the_greatest_score_where_they_respond_most():
    images = np.stack([np.full((2, 2), value, np.uint8) for value in (10, 60, 200, 90)])
    data = ArrayDataset({"train": images}, {"train": [1] * 4}, ("a", "b"))
    classifier = hand_classifier()
    weights = SuggestWeights(shortcut=0, doubt=0, displaced=0, cluster=0)
    for number, key in ((0, data.keys[2]), (1, data.keys[0])):
        marks = FilterMarks(classifier=classifier.fingerprint(), layer="features", filters=2, marks={number: "irrelevant"})
        best = max(suggest(classifier, data, n=4, marks=marks, weights=weights).items, key=lambda item: item.score)
        assert best.key == key
        assert best.reason.startswith("The filters marked irrelevant respond more strongly than in 100 % of the images.")


def test_of_a_huge_set_a_seeded_part_is_looked_at_and_that_is_said():
    data = stripes({"train": 40})
    classifier = small_gap(("across", "along"))
    found = suggest(classifier, data, n=5, most=16, seed=3)
    assert found.looked_at == 16
    assert found.remark == "Looked at 16 of 40 images, drawn with seed 3."
    assert found.keys == suggest(classifier, data, n=5, most=16, seed=3).keys
    assert suggest(classifier, data, n=5).remark is None
    # Painted images stay in, since the others are compared with them, but leave room.
    chosen = draw(np.arange(100), 10, np.arange(90, 100), 0)
    assert len(chosen) == 10
    assert (chosen >= 90).sum() >= 5


def test_it_reports_progress_and_a_stop_suggests_from_what_was_seen():
    data, seen = stripes({"train": 130}), []
    classifier = small_gap(("across", "along"))
    suggest(classifier, data, n=3, progress=lambda *state: seen.append(state))
    assert seen == [(64, 130), (128, 130), (130, 130)]
    found = suggest(classifier, data, n=200, stop=stop_after(0))
    assert (found.looked_at, found.complete, len(found.items)) == (64, False, 64)
    assert found.remark == "Stopped after 64 of 130 images; the suggestions are among those."


def test_images_that_cannot_be_read_are_left_out_and_named():
    class Broken(ArrayDataset):
        def read(self, index: int) -> np.ndarray:
            if index == 1:
                raise DataError("train/00001 is broken; restore or remove it.")
            return super().read(index)

    data = Broken({"train": np.full((4, 2, 2), 90, np.uint8)}, {"train": [0, 1, 0, 1]}, ("a", "b"))
    found = suggest(hand_classifier(), data, n=9)
    assert found.skipped == {"train/00001": "train/00001 is broken; restore or remove it."}
    assert sorted(found.keys) == ["train/00000", "train/00002", "train/00003"]
    assert found.remark is None


def test_where_the_evidence_lies_in_words():
    assert place_word(point(0, 0, 9)) == "at the top left"
    assert place_word(point(8, 4, 9)) == "at the bottom"
    assert place_word(point(4, 8, 9)) == "at the right"
    assert place_word(point(4, 4, 9)) == "in the middle"
    assert place_word(np.ones((1, 1))) == "in the middle"
    assert [percent(share) for share in (0, 0.004, 0.126, 0.998, 1)] == ["0 %", "under 1 %", "13 %", "over 99 %", "100 %"]


def test_the_list_and_the_groups_as_files(tmp_path):
    data = stripes({"train": 16})
    found = suggest(small_gap(("across", "along")), data, n=4)
    found.save_csv(tmp_path / "list.csv")
    with (tmp_path / "list.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == found.keys
    assert [row["reason"] for row in rows] == [item.reason for item in found.items]
    total = [sum(float(row[name]) for name in ("shortcut", "doubt", "displaced", "cluster")) for row in rows]
    assert total == pytest.approx([float(row["score"]) for row in rows], abs=3e-4)
    names = save_clusters(tmp_path / "groups", data, found.clusters, found.class_names)
    assert {path.name for path in (tmp_path / "groups").iterdir()} == set(names)
    with (tmp_path / "groups" / "clusters.csv").open() as file:
        assert sorted(row["key"] for row in csv.DictReader(file)) == sorted(data.keys)
    assert [group["group"] for group in found.to_json()["groups"]] == list(range(1, len(found.clusters) + 1))
