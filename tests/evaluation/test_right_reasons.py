"""Right for the right reasons: the measures of masked images, against numbers worked out by hand."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest

from core_builders import looking_classifier, plain, small_gap, stripes
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import MaskError
from napari_cam_feedback.evaluation import (
    RightReasons,
    item_reasons,
    right_reasons,
    show_specificity,
)
from napari_cam_feedback.feedback import KnownMasks
from napari_cam_feedback.models import Classifier
from napari_cam_feedback.torch_loader import torch
from patch_builders import PATCH, patches


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
