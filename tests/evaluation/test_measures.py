"""Did it help: accuracy, per class, right reasons and comparisons, against numbers worked out by hand."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from core_builders import gray_dataset, looking_classifier, nearest_classifier, small_gap, stripes
from napari_cam_feedback.data import ArrayDataset, InputCache
from napari_cam_feedback.errors import DataError, ModelError
from napari_cam_feedback.evaluation import (
    MEASURES,
    REASONS,
    Comparison,
    ComparisonRow,
    Evaluation,
    RightReasons,
    SplitResult,
    compare,
    evaluate,
    predict,
    reasons_rows,
)
from patch_builders import PATCH, patches

# truth      0 0 0 1 1 2
# predicted  0 0 1 1 2 2
TRUTH, SHOWN = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]


def test_accuracy_confusion_and_per_class_by_hand():
    found = evaluate(nearest_classifier(), gray_dataset(TRUTH, SHOWN)).splits["test"]
    assert found.n == 6
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.confusion.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]  # rows are the true classes
    low, mid, high = (found.per_class[name] for name in ("low", "mid", "high"))
    assert (low.precision, low.recall, low.support) == (1.0, pytest.approx(2 / 3), 3)
    assert low.f1 == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert (mid.precision, mid.recall, mid.f1, mid.support) == (0.5, 0.5, 0.5, 2)
    assert (high.precision, high.recall, high.support) == (0.5, 1.0, 1)
    assert high.f1 == pytest.approx(2 / 3)
    assert found.right_reasons is None


def test_a_class_that_neither_occurs_nor_is_predicted_has_zeros():
    found = evaluate(nearest_classifier(), gray_dataset([0, 1], [0, 1])).splits["test"]
    high = found.per_class["high"]
    assert (high.precision, high.recall, high.f1, high.support) == (0.0, 0.0, 0.0, 0)


def test_the_json_is_that_of_the_contract():
    pattern = np.ones((8, 8), bool)
    content = json.loads(json.dumps(evaluate(looking_classifier(pattern, 0.1), patches()).to_json(), allow_nan=False))
    split = content["splits"]["test"]
    assert {"n", "accuracy", "per_class", "confusion", "right_reasons"} <= set(split)
    assert set(split["per_class"]) == {"dark", "bright"}
    assert set(split["per_class"]["dark"]) == {"precision", "recall", "f1", "support"}
    assert split["confusion"] == [[0, 0], [0, 4]]
    assert {"mask_share", "flip_rate", "masked_accuracy"} <= set(split["right_reasons"])
    # A split without masks has no such measures.
    content = evaluate(nearest_classifier(), gray_dataset(TRUTH, SHOWN)).to_json()
    assert content["splits"]["test"]["right_reasons"] is None
    assert content["skipped"] == {}


def test_masks_given_go_before_those_of_the_dataset():
    dataset = patches()
    elsewhere = np.zeros((8, 8), bool)
    elsewhere[5:, 5:] = True
    masks = {dataset.keys[2]: elsewhere}
    found = evaluate(looking_classifier(PATCH, 0.1), dataset, masks=masks).splits["test"].right_reasons
    assert (found.n, found.flip_rate, found.mask_share) == (1, 0.0, 0.0)


def test_at_most_so_many_masked_images_are_measured_and_the_same_each_time():
    dataset = patches(count=12)
    found = evaluate(looking_classifier(PATCH, 0.1), dataset, max_masked=5).splits["test"]
    assert (found.n, found.right_reasons.n) == (12, 5)


def test_every_split_is_measured_and_reported():
    seen = []
    found = evaluate(small_gap(("across", "along")), stripes(), progress=lambda done, of: seen.append((done, of)))
    assert list(found.splits) == ["train", "val", "test"]
    assert [found.splits[name].n for name in found.splits] == [32, 16, 16]
    # All images are masked, and each goes through the network once, and twelve times to be refilled.
    assert seen[-1] == (13 * 64, 13 * 64)
    assert seen == sorted(seen)
    assert list(evaluate(small_gap(("across", "along")), stripes(), splits=["val"]).splits) == ["val"]


def test_an_evaluation_stopped_keeps_the_splits_done_and_says_so():
    done = [0]
    found = evaluate(
        small_gap(("across", "along")),
        stripes(),
        progress=lambda n, _: done.append(n),
        # Train is 32 images, 13 passes each; then val.
        stop=lambda: done[-1] > 13 * 32 + 8,
    )
    assert list(found.splits) == ["train"]
    assert found.stopped
    assert found.to_json()["stopped"] is True
    assert "stopped" not in evaluate(small_gap(("across", "along")), stripes({"test": 2})).to_json()


def test_an_evaluation_stopped_among_the_masked_images_keeps_the_accuracy():
    done = [0]
    found = evaluate(
        small_gap(("across", "along")), stripes(), progress=lambda n, _: done.append(n), stop=lambda: done[-1] > 100
    )
    train = found.splits["train"]
    assert (train.n, train.masked, train.right_reasons) == (32, 32, None)


class SomeBroken(ArrayDataset):
    """A dataset whose items with the label 1 cannot be read."""

    def read(self, index: int) -> np.ndarray:
        if self.labels[index] == 1:
            raise DataError(f"{self.keys[index]} is broken; restore or remove it.")
        return super().read(index)


def test_broken_images_are_left_out_and_named_and_images_without_a_label_do_not_count():
    images = np.zeros((4, 4, 4), np.uint8)
    dataset = SomeBroken({"test": images}, {"test": [0, 1, -1, 2]}, ("low", "mid", "high"))
    found = evaluate(nearest_classifier(), dataset)
    assert found.splits["test"].n == 2
    assert found.splits["test"].accuracy == 0.5
    assert found.skipped == {"test/00001": "test/00001 is broken; restore or remove it."}


def test_nothing_to_measure_gives_a_sentence():
    images = np.zeros((2, 4, 4), np.uint8)
    names = ("low", "mid", "high")
    broken = SomeBroken({"test": images}, {"test": [1, 1]}, names)
    with pytest.raises(DataError, match=r"Nothing can be measured on this dataset: test/00000 is broken; restore"):
        evaluate(nearest_classifier(), broken)
    with pytest.raises(DataError, match=r"Nothing can be measured on the split test: test/00000 is broken; restore"):
        evaluate(nearest_classifier(), broken, splits=["test"])
    with pytest.raises(DataError, match=r"Nothing can be measured on this dataset: its images have no labels"):
        evaluate(nearest_classifier(), ArrayDataset({"test": images}, None, names))
    with pytest.raises(DataError, match=r'no split "tset"'):
        evaluate(nearest_classifier(), gray_dataset(TRUTH, SHOWN), splits=["tset"])
    with pytest.raises(ModelError, match="The model knows 2 classes"):
        evaluate(small_gap(("a", "b")), gray_dataset(TRUTH, SHOWN))


@pytest.mark.parametrize("first", ["train", "test"])
def test_a_split_without_labels_or_readable_images_does_not_stop_the_others(first):
    images = {
        "train": np.zeros((2, 4, 4), np.uint8),
        "val": np.zeros((2, 4, 4), np.uint8),
        "test": np.zeros((2, 4, 4), np.uint8),
    }
    labels = {"train": [-1, -1], "val": [1, 1], "test": [0, 0]}  # SomeBroken cannot read the label 1
    if first == "test":
        labels["train"], labels["test"] = labels["test"], labels["train"]
    found = evaluate(nearest_classifier(), SomeBroken(images, labels, ("low", "mid", "high")))
    assert set(found.splits) == {"test" if first == "train" else "train"}
    assert set(found.skipped) == {"val/00000", "val/00001"}


def test_predictions_by_hand_and_as_csv(tmp_path):
    dataset = gray_dataset([0, 2, -1], [0, 2, 1])
    found = predict(nearest_classifier(), dataset, split="test")
    assert found.predicted.tolist() == [0, 2, 1]
    assert found.labels.tolist() == [0, 2, -1]
    # Gray 0: the logits 2 v c - c^2 of c = 0, 0.5, 1 are 0, -0.25, -1.
    expected = np.exp([0, -0.25, -1])
    np.testing.assert_allclose(found.probabilities[0], expected / expected.sum(), rtol=1e-6)
    found.save_csv(tmp_path / "p.csv", dataset)
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["key", "split", "label", "predicted", "p_low", "p_mid", "p_high"]
    assert [row["key"] for row in rows] == list(dataset.keys)
    assert [row["label"] for row in rows] == ["low", "high", ""]
    assert [row["predicted"] for row in rows] == ["low", "high", "mid"]
    assert float(rows[0]["p_low"]) == pytest.approx(expected[0] / expected.sum(), rel=1e-5)


def test_predictions_of_some_items_report_progress_stop_and_use_the_cache():
    dataset, classifier = gray_dataset(TRUTH, SHOWN), nearest_classifier()
    seen = []
    found = predict(
        classifier, dataset, indices=np.array([5, 0, 3]), batch_size=2, progress=lambda n, of: seen.append((n, of))
    )
    assert found.indices.tolist() == [5, 0, 3]
    assert found.predicted.tolist() == [2, 0, 1]
    assert seen == [(2, 3), (3, 3)]
    assert (
        len(
            predict(
                classifier, dataset, batch_size=2, stop=lambda: len(seen) > 2, progress=lambda *_: seen.append(_)
            ).indices
        )
        == 2
    )
    cache = InputCache(dataset, classifier.preprocessing)
    predict(classifier, dataset, cache=cache)
    cache.dataset = None  # whoever reads an image again fails
    assert predict(classifier, dataset, cache=cache).predicted.tolist() == SHOWN


def result(accuracy: float, reasons: RightReasons | None) -> SplitResult:
    return SplitResult(10, accuracy, {}, np.zeros((2, 2), np.int64), reasons)


def test_a_comparison_s_rows_by_hand():
    before = Evaluation(
        {
            "test": result(0.5, RightReasons(4, 0.75, 0.25, 0.5, 0.75)),
            "val": result(0.75, None),
            "train": result(1.0, None),
        }
    )
    after = Evaluation({"test": result(0.75, RightReasons(4, 0.5, 0.5, 0.75, None)), "val": result(0.75, None)})
    rows = {(r.split, r.measure): (r.before, r.after, r.change, r.better) for r in Comparison(before, after).rows}
    assert rows == {
        ("test", "accuracy"): (0.5, 0.75, 0.25, True),
        ("test", "masked_accuracy"): (0.25, 0.5, 0.25, True),
        ("test", "gap"): (0.5, 0.0, -0.5, True),
        ("test", "flip_rate"): (0.5, 0.75, 0.25, False),  # more flips are worse
        ("test", "mask_share"): (0.75, None, None, None),
        ("val", "accuracy"): (0.75, 0.75, 0.0, None),
    }
    content = Comparison(before, after).to_json()
    assert content["rows"][0] == {"split": "test", "measure": "accuracy", "before": 0.5, "after": 0.75, "change": 0.25}
    assert set(content) == {"before", "after", "rows"}
    text = list(csv.reader(Comparison(before, after).to_csv().splitlines()))
    assert text[0] == ["split", "measure", "before", "after", "change"]
    assert text[1] == ["test", "accuracy", "0.5", "0.75", "0.25"]
    assert text[5] == ["test", "mask_share", "0.75", "", ""]


def test_measures_that_one_side_has_are_rows_and_where_specificity_is_undefined_words_say_why():
    before, after = (
        RightReasons(4, 1.0, 0.5, 0.5, 0.5, 1.0, 0.0, 0.0),
        RightReasons(4, 1.0, 0.75, 0.25, 0.5, 0.5, 0.125, 0.5),
    )
    rows = {row.measure: row for row in reasons_rows("test", before, after)}
    assert list(rows) == list(REASONS)
    assert rows["specificity"].texts == ("only there", "2.0×")
    assert (rows["specificity"].before, rows["specificity"].after, rows["specificity"].better) == (None, 2.0, None)
    assert rows["swap_flip_rate"].better is True
    assert rows["flip_rate"].texts == ("0.500", "0.250")
    short = RightReasons(4, 1.0, 0.5, 0.5, 0.5)
    assert [row.measure for row in reasons_rows("test", short, short)] == [
        "masked_accuracy",
        "gap",
        "flip_rate",
        "mask_share",
    ]


@pytest.mark.parametrize(
    ("images", "after", "word"),
    [
        (80, 0.505, "unsure"),
        (80, 0.48, "unsure"),
        (80, 0.525, "better"),
        (80, 0.4625, "worse"),
        (10, 0.6, "unsure"),  # one image
        (10, 0.7, "better"),
        (10, 0.5, ""),
        (None, 0.505, "better"),
    ],
)
def test_a_change_of_one_image_or_of_little_is_called_neither_better_nor_worse(images, after, word):
    assert ComparisonRow("test", "accuracy", 0.5, after, images=images).mark == word


def test_flips_times_elsewhere_are_not_called_worse_where_the_flip_rate_fell():
    # From 0.5 and 0.25 elsewhere to 0.1 and 0.02 elsewhere.
    before, after = RightReasons(80, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25), RightReasons(80, 1.0, 0.9, 0.1, 0.5, 0.5, 0.02)
    marks = {row.measure: row.mark for row in reasons_rows("test", before, after)}
    assert (marks["flip_rate"], marks["specificity"], marks["swap_flip_rate"]) == ("better", "", "")


def test_a_gap_is_better_the_nearer_it_is_to_0_from_either_side():
    assert ComparisonRow("test", "gap", 0.5, -0.25).better is True
    assert ComparisonRow("test", "gap", -0.5, 0.0).better is True
    assert ComparisonRow("test", "gap", 0.0, -0.5).better is False
    assert ComparisonRow("test", "gap", 0.5, -0.5).better is None
    assert ComparisonRow("test", "random_flip_rate", 0.5, 0.25).better is None


@pytest.mark.parametrize("measure", MEASURES.values(), ids=list(MEASURES))
def test_every_measure_says_what_it_means_without_signs_and_symbols(measure):
    assert measure.meaning.endswith(".")
    assert measure.meaning[0].isupper()
    assert len(measure.short) <= 18


@pytest.mark.parametrize(
    ("measure", "up"),
    [
        ("accuracy", True),
        ("conflict_accuracy", True),
        ("masked_accuracy", True),
        ("flip_rate", False),
        ("conflict_flip_rate", False),
        ("swap_flip_rate", False),
        ("specificity", False),
        ("mask_share", False),
    ],
)
def test_which_direction_is_better(measure, up):
    assert ComparisonRow("test", measure, 0.25, 0.5).better is up
    assert ComparisonRow("test", measure, 0.5, 0.25).better is not up
    assert ComparisonRow("test", measure, 0.5, 0.5).better is None
    assert ComparisonRow("test", measure, None, 0.5).better is None


def test_comparing_measures_both_on_the_same_images_and_fills():
    cheat, honest = looking_classifier(PATCH, 0.1), looking_classifier(~PATCH, 0.1)
    seen = []
    found = compare(cheat, honest, patches(outside=128), progress=lambda done, of: seen.append((done, of)))
    rows = {row.measure: (row.before, row.after) for row in found.rows}
    assert rows["accuracy"] == (1.0, 1.0)
    # Refilled with the gray around it the patch has a mean of 9/64 * 0.502 = 0.07, below the threshold.
    assert rows["flip_rate"] == (1.0, 0.0)
    assert rows["masked_accuracy"] == (0.0, 1.0)
    assert seen[-1] == (2 * 4 * 13, 2 * 4 * 13)
    assert not compare(cheat, cheat, patches()).rows[0].change
    assert all(row.before == row.after for row in compare(cheat, cheat, patches(outside=128)).rows)


def test_classifiers_of_different_input_sizes_can_be_compared():
    dataset = stripes({"test": 4})
    found = compare(small_gap(("across", "along"), size=16), small_gap(("across", "along"), size=24), dataset)
    assert {row.split for row in found.rows} == {"test"}
