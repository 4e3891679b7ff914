"""Two or more classifiers compared: certainty against scipy and by hand, flips, and the measures of single images."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from scipy.stats import bootstrap

from core_builders import gray_dataset, looking_classifier, nearest_classifier, small_gap, stop_after, stripes
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.evaluation import (
    KINDS,
    Certainty,
    ComparisonRow,
    Interval,
    change_interval,
    compare,
    compare_models,
    find_flips,
    item_reasons,
    mcnemar,
    mean_interval,
    right_reasons,
    summarise,
)
from napari_cam_feedback.evaluation.flips import LOST, MOVED, UNKNOWN, WON
from napari_cam_feedback.feedback import KnownMasks
from napari_cam_feedback.torch_loader import torch

RNG = np.random.default_rng(3)
#: Seldom right, so that the distribution of the mean is skew.
SELDOM = (RNG.random(40) < 0.15).astype(float)
SKEW = RNG.exponential(1.0, 30)


def never_mid():
    """The classifier of gray values that cannot say ``mid`` any more, and says ``high`` instead."""
    classifier = nearest_classifier()
    with torch.no_grad():
        classifier.module.head.bias[1] = -10.0
    return classifier


#                 stays stays  won  lost moved stays unknown
TRUTH, SHOWN = [0, 0, 2, 1, 0, 2, -1], [0, 0, 1, 1, 1, 2, 1]


@pytest.fixture(scope="module")
def grays():
    """The comparison of the two classifiers of gray values, and the dataset."""
    dataset = gray_dataset(TRUTH, SHOWN)
    return compare_models({"old": nearest_classifier(), "new": never_mid()}, dataset), dataset


@pytest.mark.parametrize("values", [SELDOM, SKEW], ids=["shares", "numbers"])
def test_an_interval_of_a_mean_is_scipys(values):
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(0)).confidence_interval
    ours = mean_interval(values, resamples=20_000)
    # Shares of forty images come in steps.
    near = max(0.06 * (theirs.high - theirs.low), 1 / 39 if values is SELDOM else 0)
    assert ours.low == pytest.approx(theirs.low, abs=near)
    assert ours.high == pytest.approx(theirs.high, abs=near)


def test_it_is_not_the_plain_percentile_interval_whose_ends_lie_elsewhere_for_skew_values():
    plain = bootstrap((SKEW,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0))
    low, high = plain.confidence_interval
    assert mean_interval(SKEW, resamples=20_000).high > high + 0.04 * (high - low)


def test_an_interval_of_a_change_is_that_of_the_paired_differences():
    before, after = SKEW, 0.9 * SKEW + 0.1 * RNG.random(30)
    theirs = bootstrap((after - before,), np.mean, n_resamples=20_000, rng=np.random.default_rng(0)).confidence_interval
    ours = change_interval(before, after, resamples=20_000)
    width = theirs.high - theirs.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)
    # Drawn apart, the two would hide a change that nearly every image shows.
    assert width < 0.5 * (mean_interval(before).high - mean_interval(before).low)


def test_an_interval_is_the_same_for_the_same_seed_and_its_cost_does_not_grow_with_the_images():
    many = np.tile(SELDOM, 5_000)
    assert mean_interval(many, seed=1) == mean_interval(many, seed=1)
    narrow, wide = mean_interval(many), mean_interval(SELDOM)
    # 200,000 images in place of forty: narrower by the root of 5,000.
    assert narrow.high - narrow.low == pytest.approx((wide.high - wide.low) / 5_000**0.5, rel=0.15)


def test_where_all_images_agree_there_is_no_interval():
    assert mean_interval(np.ones(20)) is None
    assert mean_interval(np.array([0.3])) is None
    assert change_interval(np.zeros(20), np.ones(20)) is None
    assert mean_interval(np.full(20, np.nan)) is None


def test_images_without_a_value_count_as_drawn_but_not_in_the_mean():
    values = np.concatenate([SKEW, np.full(30, np.nan)])
    found, known = mean_interval(values), mean_interval(SKEW)
    assert found.low < SKEW.mean() < found.high
    assert found.high - found.low == pytest.approx(known.high - known.low, rel=0.2)


def test_mcnemar_by_hand():
    # One image lost, five won: P(at most one of six, or at least five) = 2 (1 + 6) / 64.
    before = np.array([1, 0, 0, 0, 0, 0, 1, 0], bool)
    after = np.array([0, 1, 1, 1, 1, 1, 1, 0], bool)
    assert mcnemar(before, after) == pytest.approx(14 / 64)
    assert mcnemar(before, before) == 1.0


def test_a_change_is_called_better_only_where_chance_does_not_explain_it():
    def mark(*ends: float, measure: str = "accuracy") -> str:
        return ComparisonRow("test", measure, 0.5, 0.6, certainty=Certainty(change=Interval(*ends))).mark

    assert mark(0.02, 0.2) == "better"
    assert mark(0.02, 0.2, measure="flip_rate") == "worse"
    assert mark(-0.02, 0.2) == "unsure"
    assert mark(0.02, 0.2, measure="random_flip_rate") == ""
    assert ComparisonRow("test", "specificity", 3.0, 1.0, certainty=Certainty(known=False)).mark == ""
    assert ComparisonRow("test", "accuracy", 0.5, 0.6).mark == "better"
    assert ComparisonRow("test", "accuracy", 0.5, 0.5).mark == ""


def test_flips_by_hand(grays):
    comparison, dataset = grays
    flips = comparison.flips[0]
    # Lost first; the unknown one last.
    assert flips.indices.tolist() == [3, 2, 4, 6]
    assert flips.kinds.tolist() == [LOST, WON, MOVED, UNKNOWN]
    assert flips.keys[0] == dataset.keys[3]
    assert (flips.before.tolist(), flips.after.tolist()) == ([1] * 4, [2] * 4)
    value = 128 / 255
    logits = np.array([0.0, value - 0.25, 2 * value - 1])
    before, after = (np.exp(x) / np.exp(x).sum() for x in (logits, logits - [0, 9.75 + value - value, 0]))
    assert flips.p_before[0] == pytest.approx(before[1], abs=1e-5)
    assert flips.p_true_after[0] == pytest.approx(after[1], abs=1e-5)
    assert flips.p_true_before[1] == pytest.approx(before[2], abs=1e-5)
    assert flips.p_after[1] == flips.p_true_after[1] == pytest.approx(after[2], abs=1e-5)
    assert np.isnan(flips.p_true_before[3])
    assert flips.to_json() == {"test": dict.fromkeys(KINDS, 1)}


def test_the_csv_of_flips_names_classes_and_leaves_empty_what_is_unknown(grays):
    comparison, _ = grays
    rows = list(csv.DictReader(io.StringIO(comparison.flips[0].to_csv(comparison.class_names))))
    assert [row["kind"] for row in rows] == list(KINDS)
    assert (rows[0]["label"], rows[0]["predicted_before"], rows[0]["predicted_after"]) == ("mid", "mid", "high")
    assert float(rows[0]["p_true_before"]) == float(rows[0]["p_predicted_before"])
    assert (rows[3]["label"], rows[3]["p_true_before"]) == ("", "")


def test_the_numbers_are_those_of_compare_with_intervals_and_mcnemar(grays):
    comparison, dataset = grays
    plain = compare(nearest_classifier(), never_mid(), dataset)
    (row,) = comparison.rows[0]
    assert (row.split, row.measure, row.before, row.after) == ("test", "accuracy", 4 / 6, 4 / 6)
    assert [(r.measure, r.before, r.after) for r in plain.rows] == [("accuracy", row.before, row.after)]
    assert comparison.pair(1).to_csv() == plain.to_csv()
    # One won, one lost.
    assert row.certainty.p_value == 1.0
    assert row.certainty.change.low < 0 < row.certainty.change.high
    assert row.certainty.before == mean_interval(np.array([1, 1, 0, 1, 0, 1.0]))


def test_three_versions_are_each_compared_with_the_first():
    dataset = gray_dataset(TRUTH, SHOWN)
    found = compare_models({"a": never_mid(), "b": nearest_classifier(), "c": never_mid()}, dataset)
    assert [len(flips) for flips in found.flips] == [4, 0]
    assert found.flips[0].count(WON) == 1
    table = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [(row["version"], row["measure"]) for row in table] == [(name, "accuracy") for name in "abc"]
    assert (table[0]["change"], table[2]["change"]) == ("", "0")
    assert float(table[1]["low"]) < float(table[1]["value"]) < float(table[1]["high"])
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert list(content["evaluations"]) == content["versions"] == ["a", "b", "c"]
    assert list(content["changes"]) == ["b", "c"]


def test_the_measures_of_right_reasons_have_paired_intervals():
    # The patch tells the class of two thirds of the images; the honest model never looks there.
    patch = np.zeros((8, 8), bool)
    patch[:3, :3] = True
    images = np.zeros((12, 8, 8), np.uint8)
    images[:8, :3, :3] = 255
    masks = {"test": np.stack([patch] * 12)}
    dataset = ArrayDataset({"test": images}, {"test": [1] * 8 + [0] * 4}, ("dark", "bright"), masks)
    models = {"cheat": looking_classifier(patch, 0.1), "honest": looking_classifier(~patch, 0.1)}
    rows = {row.measure: row for row in compare_models(models, dataset).rows[0]}
    flips = rows["flip_rate"]
    # Eight of twelve flip, none after.
    assert (flips.before, flips.after) == (pytest.approx(2 / 3), 0.0)
    assert flips.certainty.before == mean_interval(np.array([1.0] * 8 + [0.0] * 4))
    assert flips.certainty.after is None
    low, high = flips.certainty.change.low, flips.certainty.change.high
    assert -1 <= low < -2 / 3 < high < 0
    assert flips.mark == "better"
    gap = rows["gap"].certainty.before
    assert gap.low < rows["gap"].before < gap.high
    assert rows["specificity"].certainty == Certainty(known=False)


def test_the_measures_of_single_images_are_what_the_means_are_of():
    classifier, dataset = small_gap(("across", "along"), seed=3), stripes({"test": 6})
    given = (classifier, dataset, dataset.indices(), KnownMasks(dataset))
    found = item_reasons(*given)
    assert found.indices.tolist() == dataset.indices().tolist()
    assert found.means() == right_reasons(*given)
    alone = item_reasons(classifier, dataset, dataset.indices()[:1], KnownMasks(dataset))
    # Neither accuracy nor map of an image depends on the others.
    assert alone.values["accuracy"][0] == found.values["accuracy"][0]
    assert alone.values["mask_share"][0] == pytest.approx(found.values["mask_share"][0])
    assert np.isnan(alone.values["swap_flip_rate"][0])


def test_progress_counts_the_images_of_all_versions_and_a_stop_is_heard():
    seen: list[tuple[int, int]] = []
    models = {"old": nearest_classifier(), "new": never_mid()}
    dataset = gray_dataset(TRUTH, SHOWN)
    compare_models(models, dataset, progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (14, 14)
    assert (7, 14) in seen
    assert seen == sorted(seen)
    stopped = compare_models(models, dataset, stop=stop_after(0))
    assert stopped.splits == ()
    assert stopped.headline is None
    assert summarise(stopped) == "Nothing could be compared."


def test_one_model_is_no_comparison():
    with pytest.raises(ConfigError, match=r"A comparison needs at least two models; name another one\."):
        compare_models({"only": nearest_classifier()}, gray_dataset(TRUTH, SHOWN))


def test_without_predictions_there_are_no_flips(grays):
    _, dataset = grays
    plain = compare(nearest_classifier(), never_mid(), dataset)
    assert len(find_flips(plain.before, plain.after, dataset)) == 0


def test_the_summary_names_what_was_won_and_lost_and_what_may_be_chance(grays):
    text = summarise(grays[0])
    assert text.startswith("new against old, on test: accuracy 0.667 → 0.667.")
    assert "1 images are right now that were wrong, 1 wrong that were right" in text
