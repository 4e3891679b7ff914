"""Whether the masks lie on what the classifier uses is told before anything is learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core_builders import looking_classifier, plain
from napari_cam_feedback.data import ArrayDataset, InputCache
from napari_cam_feedback.evaluation import RightReasons
from napari_cam_feedback.retuning import RetuneConfig, ValidationMetrics, judge, retune
from napari_cam_feedback.retuning.images.masked_set import MaskedSet, read_painted
from napari_cam_feedback.retuning.judging.metrics import key_numbers
from napari_cam_feedback.retuning.judging.relevance import MIN_IMAGES, marks_matter, marks_mislead
from napari_cam_feedback.retuning.judging.verdict import hardly_used

LOOKED_AT = np.zeros((8, 8), bool)
LOOKED_AT[:3, :3] = True
ELSEWHERE = np.roll(LOOKED_AT, (4, 4), (0, 1))
#: Says the second class where the mean of the corner is over a half.
CLASSIFIER = looking_classifier(64 / 9 * LOOKED_AT, 0.5)


def corners(labels: list[int]) -> ArrayDataset:
    """Black images; the corner is white for the second class."""
    splits = {"train": labels, "val": [0, 1]}
    images = {split: np.zeros((len(values), 8, 8), np.uint8) for split, values in splits.items()}
    for split, values in splits.items():
        images[split][:, :3, :3] = (255 * np.array(values))[:, None, None]
    return ArrayDataset(images, splits, ("dark", "bright"))


def painted(labels: list[int], masks: list[np.ndarray]) -> MaskedSet:
    dataset = corners(labels)
    by_key = {f"train/{n:05d}": mask for n, mask in enumerate(masks)}
    return read_painted(dataset, by_key, InputCache(dataset, plain(8, 8)))


def test_a_patch_of_the_other_class_changes_each_prediction_where_the_masks_are_right():
    assert marks_matter(CLASSIFIER, painted([0, 1] * 3, [LOOKED_AT] * 6), 0) == 1.0


def test_masks_beside_what_is_looked_at_change_nothing():
    assert marks_matter(CLASSIFIER, painted([0, 1] * 3, [ELSEWHERE] * 6), 0) == 0.0


def test_the_share_is_the_mean_over_images_and_patches():
    # The patch of the first dark image, black, darkens each bright one; the other patches show what is black everywhere, and
    # taking out the own corner darkens the one bright image on which it is painted.
    masks = [LOOKED_AT, *[ELSEWHERE] * 4, LOOKED_AT]
    found = marks_matter(CLASSIFIER, painted([0, 0, 0, 1, 1, 1], masks), 0)
    # Dark images: of the three bright patches one is white: 1/3 each. Bright ones: the first two change by one of the three
    # dark patches, 1/3; the last, its own corner taken out, by each of them.
    assert found == pytest.approx((3 * 1 / 3 + 2 * 1 / 3 + 1) / 6)


def test_where_all_are_of_one_class_taking_out_decides():
    # Black surroundings make a bright image dark.
    assert marks_matter(CLASSIFIER, painted([1] * 5, [LOOKED_AT] * 5), 0) == 1.0
    assert marks_matter(CLASSIFIER, painted([1] * 5, [ELSEWHERE] * 5), 0) == 0.0


def test_few_images_and_painted_surroundings_say_nothing():
    few = MIN_IMAGES - 1
    assert marks_matter(CLASSIFIER, painted([0, 1] * 2, [LOOKED_AT] * few), 0) is None
    assert marks_matter(CLASSIFIER, painted([0, 1] * 3, [~ELSEWHERE] * 6), 0) is None


STICKER, OBJECT, NEITHER = np.zeros((3, 16, 16), bool)
STICKER[:3, :3] = OBJECT[7:10, 7:10] = NEITHER[12:15, 1:4] = True
#: Says the second class where either is white: no image of that class needs its sticker to be told.
EITHER = looking_classifier(256 / 9 * (STICKER | OBJECT), 0.5)


def stickers() -> ArrayDataset:
    """Black images; the second class has a white object, and in train and val a white sticker."""
    labels = {"train": [0, 1] * 8, "val": [0, 1, 0, 1, 1] * 4}
    images = {split: np.zeros((len(values), 16, 16), np.uint8) for split, values in labels.items()}
    for split, values in labels.items():
        images[split][np.array(values) == 1] = 255 * (STICKER | OBJECT)
    return ArrayDataset(images, labels, ("dark", "bright"))


@pytest.mark.parametrize(("mask", "share"), [(STICKER, 1.0), (OBJECT, 1.0), (NEITHER, 0.0)])
def test_a_mark_that_one_class_alone_bears_shows_on_images_of_others(mask, share):
    dataset = stickers()
    cache = InputCache(dataset, plain(16, 16))
    bright = read_painted(dataset, {dataset.keys[n]: mask for n in range(1, 16, 2)}, cache)
    assert marks_matter(EITHER, bright, 0) == 0.0
    val = dataset.indices("val")
    dark = cache.inputs(val[dataset.labels[val] == 0])
    assert marks_mislead(EITHER, bright, dark.split(3), 0) == share


@pytest.mark.parametrize(("mask", "said"), [(STICKER, False), (NEITHER, True)])
def test_a_retune_against_a_mark_of_one_class_is_judged_on_the_images_of_the_others(mask, said):
    dataset = stickers()
    steps = retune(
        EITHER, dataset, {dataset.keys[n]: mask for n in range(1, 16, 2)}, RetuneConfig(iterations=1, batch_size=4)
    )
    first = next(steps)
    assert ("either the model hardly uses it" in (first.message or "")) is said
    check = first.check
    assert (check.n, check.pasted, check.conflicts, check.accuracy) == (20, 8, 8, 1.0)
    assert (check.conflict_accuracy, check.conflict_flip_rate) == ((1.0, 0.0) if said else (0.0, 1.0))
    numbers = key_numbers(check, check)
    assert [number.images for number in numbers[1:]] == ["8 validation images with another class's marker pasted in"] * 2


@pytest.mark.parametrize(("masks", "said"), [(ELSEWHERE, True), (LOOKED_AT, False)])
def test_a_retune_says_at_its_start_that_the_masks_hardly_matter(masks, said):
    dataset = corners([0, 1] * 6)
    steps = retune(
        CLASSIFIER,
        dataset,
        {f"train/{n:05d}": masks for n in range(12)},
        RetuneConfig(method="counterexample", iterations=1, batch_size=4),
    )
    first = next(steps)
    assert first.iteration == 0
    message = first.message or ""
    assert ("either the model hardly uses it" in message) is said
    if said:
        assert message == (
            "Taking out what is painted, or swapping it for what is painted on others, changed only 0% of the predictions "
            "on the painted images: either the model hardly uses it, or the masks lie beside what it uses. Look at some of "
            "them again."
        )


def test_a_model_is_not_called_fixed_by_masks_that_hardly_mattered():
    reasons = RightReasons(10, 0.9, 0.9, 0.0, 0.1)
    before, after = ValidationMetrics(0, 100, 0.9, 0.3, 0.8, reasons), ValidationMetrics(300, 100, 0.9, 0.88, 0.02, reasons)
    assert judge(before, after, held_out=True).name == "fixed"
    assert judge(replace(before, marks=0.11), after, held_out=True).name == "fixed"
    assert hardly_used(replace(before, marks=0.11)) is None
    found = judge(replace(before, marks=0.1), after, held_out=True)
    assert found.name == "improved"
    assert "so the masks may lie beside what the model uses: on 100 validation images" in found.reason
    unused = replace(before, conflict_accuracy=0.88, conflict_flip_rate=0.03)
    assert judge(unused, after, held_out=True).reason.startswith("The model hardly used what is painted to begin with: ")
    found = judge(replace(unused, marks=0.0), after, held_out=True)
    assert found.name == "no effect"
    assert found.reason.startswith("The model hardly uses what is painted, or the masks lie beside what it uses: ")


def test_patches_that_disturb_alike_whichever_class_they_are_of_are_no_shortcut():
    # What is pasted hides what lies beneath, which disturbs models, too, that never saw a shortcut.
    reasons = RightReasons(10, 0.9, 0.9, 0.0, 0.1)
    before, after = (
        ValidationMetrics(0, 100, 0.9, 0.8, 0.17, reasons, marks=0.03),
        ValidationMetrics(30, 100, 0.9, 0.88, 0.04, reasons),
    )
    assert judge(before, after, held_out=True).name == "improved"
    alike = judge(replace(before, control=(8, 6, 60)), after, held_out=True)
    assert alike.name == "no effect"
    assert alike.reason.startswith(
        "Patches of the same class change about as many predictions as those of other classes, so "
    )
    assert judge(replace(before, control=(16, 2, 60)), after, held_out=True).name == "improved"
    # A mark that points to one class for all images changes as much, and matters where it was.
    assert judge(replace(before, control=(8, 6, 60), marks=0.3), after, held_out=True).name == "fixed"
    # The model as it was given, returned: no run went astray, and there was nothing to win.
    assert judge(replace(before, control=(8, 6, 60)), replace(before, control=(8, 6, 60)), held_out=True).name == "no effect"
