"""Did it help: accuracy, per class, right reasons and comparisons, against numbers worked out by hand."""

from __future__ import annotations

import csv
import importlib
import json

import numpy as np
import pytest

from core_builders import gray_dataset, looking_classifier, nearest_classifier, small_gap, stop_after, stripes
from napari_cam_feedback.data import ArrayDataset, InputCache
from napari_cam_feedback.errors import DataError, MaskError, ModelError
from napari_cam_feedback.evaluate import (
    Comparison,
    ComparisonRow,
    Evaluation,
    RightReasons,
    SplitResult,
    compare,
    evaluate,
    predict,
    right_reasons,
)
from napari_cam_feedback.feedback import KnownMasks
from napari_cam_feedback.torch_loader import torch

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


PATCH = np.zeros((8, 8), bool)
PATCH[:3, :3] = True


def patches(outside: int = 0, count: int = 4) -> ArrayDataset:
    """8x8 images of an even gray with a white 3x3 patch in a corner, of the class bright; the patch is the mask."""
    images = np.full((count, 8, 8), outside, np.uint8)
    images[:, :3, :3] = 255
    return ArrayDataset({"test": images}, {"test": [1] * count}, ("dark", "bright"), {"test": np.stack([PATCH] * count)})


def measure(classifier, dataset: ArrayDataset, **options) -> RightReasons | None:
    return right_reasons(classifier, dataset, dataset.indices(), KnownMasks(dataset), **options)


def test_a_model_that_only_looks_under_the_mask_is_right_for_the_wrong_reasons():
    # The mean under the patch is 9/64 with the patch and 0 without: above and below a threshold of 0.1.
    found = measure(looking_classifier(PATCH, 0.1), patches())
    assert found == RightReasons(n=4, accuracy=1.0, masked_accuracy=0.0, flip_rate=1.0, mask_share=1.0)
    assert found.gap == 1.0
    assert found.to_json() == {
        "n": 4,
        "accuracy": 1.0,
        "masked_accuracy": 0.0,
        "flip_rate": 1.0,
        "mask_share": 1.0,
        "gap": 1.0,
    }


def test_a_prediction_that_refilling_sets_right_is_a_flip_and_right():
    # The same images, but their true class is dark: bright because of the patch, dark without it.
    images = np.zeros((4, 8, 8), np.uint8)
    images[:, :3, :3] = 255
    masks = {"test": np.stack([PATCH] * 4)}
    found = measure(
        looking_classifier(PATCH, 0.1), ArrayDataset({"test": images}, {"test": [0] * 4}, ("dark", "bright"), masks)
    )
    assert found == RightReasons(n=4, accuracy=0.0, masked_accuracy=1.0, flip_rate=1.0, mask_share=1.0)
    assert found.gap == -1.0


def test_an_image_counts_with_the_mean_over_five_fills(monkeypatch):
    # Five fills of which two leave the image as it is: three of five flip.
    fills = iter([False, True, True, False, True])
    # The module, not the function of the same name.
    module = importlib.import_module("napari_cam_feedback.evaluate.right_reasons")
    erase, leave = (lambda x, m, _: torch.where(m[:, None], 0.0, x)), (lambda x, *_: x)
    monkeypatch.setattr(module, "get_fill", lambda _: erase if next(fills) else leave)
    found = measure(looking_classifier(PATCH, 0.1), patches())
    assert (found.flip_rate, found.masked_accuracy) == (pytest.approx(0.6), pytest.approx(0.4))


def test_a_model_that_never_looks_under_the_mask_is_right_for_the_right_reasons():
    # Outside of the patch all is 128 / 255, so the mean over 64 pixels is 55/64 * 0.502 = 0.43.
    found = measure(looking_classifier(~PATCH, 0.1), patches(outside=128))
    assert found == RightReasons(n=4, accuracy=1.0, masked_accuracy=1.0, flip_rate=0.0, mask_share=0.0)
    assert found.gap == 0.0


def test_the_share_of_the_map_inside_the_mask_by_hand():
    # A model that looks everywhere: activation 1 at 9 places and 51/255 = 0.2 at 55, so 9 / (9 + 11) lies inside.
    found = measure(looking_classifier(np.ones((8, 8), bool), 0.1), patches(outside=51))
    assert found.mask_share == pytest.approx(9 / 20)


def test_where_no_map_has_positive_evidence_the_share_is_undefined():
    # An image of the class dark: its weight is 0, so nothing speaks for it.
    found = measure(looking_classifier(PATCH, 0.9), patches())
    assert found.mask_share is None
    assert found.accuracy == 0.0


def test_images_without_mask_or_label_are_left_out():
    images = np.zeros((3, 8, 8), np.uint8)
    dataset = ArrayDataset(
        {"test": images},
        {"test": [1, -1, 0]},
        ("dark", "bright"),
        {"test": np.stack([PATCH, PATCH, np.zeros((8, 8), bool)])},
    )
    assert measure(looking_classifier(PATCH, 0.1), dataset).n == 1
    assert right_reasons(looking_classifier(PATCH, 0.1), dataset, dataset.indices(), {}) is None


def test_right_reasons_are_the_same_each_time_and_in_any_batch():
    classifier, dataset = small_gap(("across", "along"), seed=3), stripes({"test": 6})
    one = measure(classifier, dataset, seed=1)
    assert measure(classifier, dataset, seed=1) == one
    assert measure(classifier, dataset, seed=1, batch_size=4).accuracy == one.accuracy


def test_right_reasons_stop_when_asked_with_what_was_measured():
    assert measure(looking_classifier(PATCH, 0.1), patches(count=6), batch_size=2, stop=stop_after(1)).n == 4


def test_a_mask_of_another_size_gives_a_sentence():
    dataset = patches()
    masks = {dataset.keys[0]: np.ones((8, 9), bool)}
    with pytest.raises(
        MaskError, match=r"The mask of test/00000 is 8x9 pixels and its image 8x8; paint it on its own image"
    ):
        right_reasons(looking_classifier(PATCH, 0.1), dataset, dataset.indices(), masks)


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
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert list(evaluate(small_gap(("across", "along")), stripes(), splits=["val"]).splits) == ["val"]


def test_an_evaluation_stopped_keeps_the_splits_done():
    done = []
    found = evaluate(
        small_gap(("across", "along")), stripes(), progress=lambda n, _: done.append(n), stop=lambda: len(done) >= 1
    )
    assert list(found.splits) == ["train"]


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
    assert len(predict(classifier, dataset, batch_size=2, stop=lambda: True).indices) == 2
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
    assert text[4] == ["test", "mask_share", "0.75", "", ""]


@pytest.mark.parametrize(
    ("measure", "up"), [("accuracy", True), ("masked_accuracy", True), ("flip_rate", False), ("mask_share", False)]
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
    assert seen == [(1, 2), (2, 2)]
    assert not compare(cheat, cheat, patches()).rows[0].change
    assert all(row.before == row.after for row in compare(cheat, cheat, patches(outside=128)).rows)


def test_classifiers_of_different_input_sizes_can_be_compared():
    dataset = stripes({"test": 4})
    found = compare(small_gap(("across", "along"), size=16), small_gap(("across", "along"), size=24), dataset)
    assert [row.split for row in found.rows] == ["test"] * 4
