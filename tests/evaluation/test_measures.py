"""Did it help: accuracy, per class, right reasons and comparisons, against numbers worked out by hand."""

from __future__ import annotations

import csv
import importlib
import json
from dataclasses import replace

import numpy as np
import pytest

from core_builders import gray_dataset, looking_classifier, nearest_classifier, plain, small_gap, stripes
from napari_cam_feedback.data import ArrayDataset, InputCache
from napari_cam_feedback.errors import DataError, MaskError, ModelError
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
    item_reasons,
    predict,
    reasons_rows,
    right_reasons,
    show_specificity,
)
from napari_cam_feedback.feedback import KnownMasks
from napari_cam_feedback.models import Classifier
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
    # All are of one class, so there is no patch of another; a random place has no part of the patch.
    assert found == RightReasons(4, 1.0, 0.0, flip_rate=1.0, mask_share=1.0, swap_flip_rate=None, random_flip_rate=0.0)
    assert found.gap == 1.0
    assert found.to_json() == {
        "n": 4,
        "accuracy": 1.0,
        "masked_accuracy": 0.0,
        "flip_rate": 1.0,
        "mask_share": 1.0,
        "swap_flip_rate": None,
        "random_flip_rate": 0.0,
        "swap_accuracy": None,
        "gap": 1.0,
        "specificity": None,
    }
    assert show_specificity(found) == "only there"


def test_the_dear_measures_can_be_left_out_and_change_nothing_in_the_others():
    classifier, dataset = small_gap(("across", "along"), seed=3), stripes({"test": 6})
    short, full = (measure(classifier, dataset, full=full) for full in (False, True))
    assert short.swap_flip_rate is short.random_flip_rate is short.specificity is None
    assert show_specificity(short) == "–"
    assert full.swap_flip_rate is not None
    assert full.random_flip_rate is not None
    assert short == replace(full, swap_flip_rate=None, swap_accuracy=None, random_flip_rate=None)


def both(patches: list[int], labels: list[int]) -> ArrayDataset:
    """Black 8x8 images with a patch in a corner of these gray values; the patch is the mask."""
    images = np.zeros((len(patches), 8, 8), np.uint8)
    images[:, :3, :3] = np.array(patches)[:, None, None]
    return ArrayDataset({"test": images}, {"test": labels}, ("dark", "bright"), {"test": np.stack([PATCH] * len(patches))})


def test_every_prediction_of_a_model_that_only_looks_under_the_mask_changes_with_the_patch_of_another_class():
    found = measure(looking_classifier(PATCH, 0.1), both([255, 0, 255, 0, 0], [1, 0, 1, 0, 0]))
    assert found.swap_flip_rate == 1.0
    assert found.flip_rate == pytest.approx(2 / 5)  # black in place of black tells the same


def test_no_prediction_of_a_model_that_never_looks_there_changes_with_the_patch_of_another_class():
    found = measure(looking_classifier(~PATCH, 0.1), both([255, 0, 255, 0], [1, 0, 1, 0]))
    assert (found.swap_flip_rate, found.flip_rate, found.random_flip_rate) == (0.0, 0.0, 0.0)
    assert found.specificity is None
    assert show_specificity(found) == "no flips"


def test_a_patch_of_the_same_class_is_never_swapped_in():
    # Each image of a class has the same patch, but by the labels the two white ones are of different classes.
    found = measure(looking_classifier(PATCH, 0.1), both([255, 255], [0, 1]))
    assert found.swap_flip_rate == 0.0
    assert measure(looking_classifier(PATCH, 0.1), both([255, 0], [1, 1])).swap_flip_rate is None


def objects(around: tuple[int, int]) -> ArrayDataset:
    """A white object in the first corner (bright) and a black one in the last (dark), before grays; all else is the mask."""
    images = np.stack([np.full((8, 8), gray, np.uint8) for gray in around])
    images[0, :3, :3], images[1, 5:, 5:] = 255, 0
    masks = np.stack([~PATCH, ~np.flip(PATCH)])
    return ArrayDataset({"test": images}, {"test": [1, 0]}, ("dark", "bright"), {"test": masks})


def test_where_all_around_an_object_is_masked_it_stays_and_stands_before_the_surroundings_of_another_class():
    # Pasted over, the white object would be gone and the prediction another.
    assert measure(looking_classifier(PATCH, 0.1), objects((0, 0))).swap_flip_rate == 0.0
    # A model that looks at what lies around is wrong both times.
    middle = np.zeros((8, 8), bool)
    middle[3:5] = True
    assert measure(looking_classifier(middle, 0.1), objects((0, 200))).swap_flip_rate == 1.0


def test_a_swapped_patch_lands_where_it_was_on_the_donor_and_the_own_place_is_refilled():
    images = np.zeros((2, 8, 8), np.uint8)
    images[0, :3, :3] = 255  # bright, in the first corner
    images[1, 5:, 5:] = 80  # dark, in the last
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :3, :3] = masks[1, 5:, 5:] = True
    dataset = ArrayDataset({"test": images}, {"test": [1, 0]}, ("dark", "bright"), {"test": masks})
    # Only the last corner counts: 9/64 of white are above 0.1, of gray 80 are not. Neither is bright as it is; nor is
    # the dark one with the bright patch in the first corner, nor the bright one with gray in the last.
    assert measure(looking_classifier(np.flip(PATCH), 0.1), dataset).swap_flip_rate == 0.0
    # With a lower threshold the second is bright as it is, dark where its patch is gone, and the other way round.
    assert measure(looking_classifier(np.flip(PATCH), 0.02), dataset).swap_flip_rate == 1.0


def test_specificity_by_hand():
    found = RightReasons(10, 0.9, 0.5, 0.6, 0.5, random_flip_rate=0.15)
    assert found.specificity == pytest.approx(4.0)
    assert show_specificity(found) == "4.0×"
    assert show_specificity(None) == "–"


def test_a_model_that_looks_everywhere_alike_is_no_more_moved_by_the_mask_than_by_another_place():
    # One white pixel more or less decides, wherever it is: every image is even gray but for noise.
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 12, 12)).astype(np.uint8)
    masks = np.zeros((60, 12, 12), bool)
    masks[:, :6, :6] = True
    dataset = ArrayDataset({"test": images}, {"test": [0, 1] * 30}, ("dark", "bright"), {"test": masks})
    found = measure(looking_classifier(np.ones((12, 12), bool), 0.5), dataset)
    assert found.flip_rate > 0.1
    assert found.specificity == pytest.approx(1, abs=0.5)


class Flat(torch.nn.Module):
    """A network without places: pixels, features, logits."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.hidden = torch.nn.Flatten(), torch.nn.Linear(64, 5)
        self.relu, self.head = torch.nn.ReLU(), torch.nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.relu(self.hidden(self.flatten(x))))


def test_a_network_without_places_has_every_measure_but_the_share_of_the_map():
    torch.manual_seed(0)
    classifier = Classifier(Flat(), ("dark", "bright"), plain(8, 8), "relu", "flat")
    found = measure(classifier, both([255, 0, 255], [1, 0, 1]))
    assert found.mask_share is None
    assert found.n == 3
    assert found.swap_flip_rate is not None


def test_a_prediction_that_refilling_sets_right_is_a_flip_and_right():
    # The same images, but their true class is dark: bright because of the patch, dark without it.
    images = np.zeros((4, 8, 8), np.uint8)
    images[:, :3, :3] = 255
    masks = {"test": np.stack([PATCH] * 4)}
    found = measure(
        looking_classifier(PATCH, 0.1), ArrayDataset({"test": images}, {"test": [0] * 4}, ("dark", "bright"), masks)
    )
    assert (found.n, found.accuracy, found.masked_accuracy, found.flip_rate, found.mask_share) == (4, 0.0, 1.0, 1.0, 1.0)
    assert found.gap == -1.0


def test_an_image_counts_with_the_mean_over_five_fills(monkeypatch):
    # Five fills of which two leave the image as it is: three of five flip.
    fills = iter([False, True, True, False, True])
    # The module, not the function of the same name.
    module = importlib.import_module("napari_cam_feedback.evaluation.right_reasons")
    erase, leave = (lambda x, m, _: torch.where(m[:, None], 0.0, x)), (lambda x, *_: x)
    monkeypatch.setattr(module, "get_fill", lambda _: erase if next(fills) else leave)
    found = measure(looking_classifier(PATCH, 0.1), patches(), full=False)
    assert (found.flip_rate, found.masked_accuracy) == (pytest.approx(0.6), pytest.approx(0.4))


def test_a_model_that_never_looks_under_the_mask_is_right_for_the_right_reasons():
    # Outside of the patch all is 128 / 255, so the mean over 64 pixels is 55/64 * 0.502 = 0.43.
    found = measure(looking_classifier(~PATCH, 0.1), patches(outside=128))
    assert (found.n, found.accuracy, found.masked_accuracy, found.flip_rate, found.mask_share) == (4, 1.0, 1.0, 0.0, 0.0)
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


def test_right_reasons_stop_when_asked_with_the_batches_that_were_measured():
    classifier, dataset, seen = looking_classifier(PATCH, 0.1), patches(count=6), []
    found = item_reasons(
        classifier,
        dataset,
        dataset.indices(),
        KnownMasks(dataset),
        batch_size=2,
        progress=lambda done, of: seen.append((done, of)),
        # In the middle of the third batch.
        stop=lambda: bool(seen) and seen[-1][0] > 50,
    )
    assert len(found.indices) == 4
    # Each image as it is, five times refilled, five times elsewhere; there is no patch of another class to swap.
    assert seen[:2] == [(2, 72), (4, 72)]
    assert seen[-1][0] < 66


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
