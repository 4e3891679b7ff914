"""What a retune learns from and is judged by: painted images, measures on others, and the verdict."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from core_builders import looking_classifier, plain, stripes
from napari_cam_feedback.cli.show import show_rows
from napari_cam_feedback.data import ArrayDataset, InputCache
from napari_cam_feedback.errors import DataError, MaskError, RetuneError
from napari_cam_feedback.evaluation import REASONS, RightReasons
from napari_cam_feedback.evaluation.comparison import CHANCE
from napari_cam_feedback.retuning import ValidationMetrics, check_rows, judge
from napari_cam_feedback.retuning.images.masked_set import MIN_IMAGES_TO_HOLD_OUT, MaskedSet, read_painted
from napari_cam_feedback.retuning.judging.calibration import fit_temperature
from napari_cam_feedback.retuning.judging.validation import Validator
from napari_cam_feedback.retuning.judging.verdict import MARGIN
from napari_cam_feedback.torch_loader import torch

PATCH = np.zeros((8, 8), bool)
PATCH[:3, :3] = True


def corners(labels: dict[str, list[int]]) -> ArrayDataset:
    """Black 8x8 images; a patch in a corner is white for the class bright and black for dark; it is the mask."""
    images, masks = {}, {}
    for split, values in labels.items():
        images[split] = np.zeros((len(values), 8, 8), np.uint8)
        images[split][:, :3, :3] = (255 * np.maximum(values, 0))[:, None, None]
        masks[split] = np.stack([PATCH] * len(values))
    return ArrayDataset(images, labels, ("dark", "bright"), masks)


def read(dataset: ArrayDataset, masks: dict[str, np.ndarray]) -> MaskedSet:
    size = dataset.image_size(0)
    return read_painted(dataset, masks, InputCache(dataset, plain(*size)))


def all_masks(dataset: ArrayDataset) -> dict[str, np.ndarray]:
    return {key: np.pad(np.ones((3, 3), bool), ((0, 5), (0, 5))) for key in dataset.keys}


def test_painted_images_come_from_every_split_but_those_for_testing_and_have_a_label():
    dataset = corners({"train": [0, 1, -1], "val": [1], "extra": [0], "test": [0, 1], "test-clean": [0]})
    found = read(dataset, all_masks(dataset))
    assert found.keys == ("train/00000", "train/00001", "val/00000", "extra/00000")
    assert found.labels.tolist() == [0, 1, 1, 0]
    assert [dataset.keys[i] for i in found.indices] == list(found.keys)
    assert found.inputs.shape == (4, 1, 8, 8)
    assert found.inputs[1, 0, 0, 0] == 1.0
    assert found.masks.dtype == torch.bool
    assert torch.equal(found.masks[0], torch.from_numpy(PATCH))


def test_a_mask_without_a_painted_pixel_does_not_count():
    dataset = corners({"train": [0, 1]})
    found = read(dataset, {"train/00000": PATCH, "train/00001": np.zeros((8, 8), bool), "elsewhere.png": PATCH})
    assert found.keys == ("train/00000",)


@pytest.mark.parametrize(
    "masks",
    [{}, {"train/00000": np.zeros((8, 8), bool)}, {"test/00000": PATCH}, {"train/00002": PATCH}, {"elsewhere.png": PATCH}],
)
def test_nothing_painted_that_can_be_learnt_from_gives_a_sentence(masks):
    with pytest.raises(
        RetuneError, match=r"No labelled training or validation image is painted; paint .* on at least one, better on ten"
    ):
        read(corners({"train": [0, 1, -1], "test": [0]}), masks)


def test_a_mask_of_another_size_gives_a_sentence():
    with pytest.raises(MaskError, match=r"The mask of train/00000 is 8x7 pixels and its image 8x8; paint it on its own"):
        read(corners({"train": [0, 1]}), {"train/00000": PATCH[:, 1:]})


def test_with_few_painted_images_all_are_learnt_from_and_judged_by():
    dataset = stripes({"train": MIN_IMAGES_TO_HOLD_OUT - 1})
    painted = read(dataset, all_masks_of(dataset))
    learnt, held_out = painted.hold_out(0)
    assert learnt is painted
    assert held_out is painted


def all_masks_of(dataset: ArrayDataset) -> dict[str, np.ndarray]:
    return {dataset.keys[i]: dataset.known_mask(i) for i in range(len(dataset))}


@pytest.mark.parametrize("count", [10, 13, 20, 50])
def test_with_enough_painted_images_one_in_five_is_held_out_spread_over_the_classes(count):
    dataset = stripes({"train": count})
    painted = read(dataset, all_masks_of(dataset))
    learnt, held_out = painted.hold_out(3)
    assert set(learnt.keys).isdisjoint(held_out.keys)
    assert set(learnt.keys) | set(held_out.keys) == set(painted.keys)
    assert len(held_out) == pytest.approx(count / 5, abs=1)
    assert set(held_out.labels.tolist()) == {0, 1}
    for part in (learnt, held_out):
        for n, key in enumerate(part.keys):
            assert dataset.keys[int(part.indices[n])] == key
            assert part.labels[n] == dataset.labels[part.indices[n]]
            assert torch.equal(part.inputs[n], painted.inputs[painted.keys.index(key)])
    again, _ = painted.hold_out(3)
    assert again.keys == learnt.keys


def validator(dataset: ArrayDataset, seed: int = 0) -> Validator:
    cache = InputCache(dataset, plain(8, 8))
    masks = all_masks(dataset)
    painted = read_painted(dataset, masks, cache)
    _, held_out = painted.hold_out(0)
    held_masks = {key: masks[key] for key in held_out.keys}
    return Validator(dataset, cache, dataset.indices("val"), held_out, painted, held_masks, seed)


HALVES = {"train": [0, 1] * 10, "val": [0, 1] * 6}


def test_a_model_that_only_looks_at_the_patch_is_changed_by_every_patch_of_another_class():
    found = validator(corners(HALVES))(looking_classifier(PATCH, 0.07), 25)
    assert (found.iteration, found.n) == (25, 12)
    assert found.accuracy == 1.0
    assert (found.conflict_accuracy, found.conflict_flip_rate) == (0.0, 1.0)
    assert found.conflict_probability < 0.5 <= found.probability <= 1
    # Refilled with black it says dark: right for those that are, changed for those that are not.
    assert found.held_out.masked_accuracy == found.held_out.flip_rate == 0.5
    assert set(json.loads(json.dumps(found.to_json(), allow_nan=False))) >= {
        "accuracy",
        "conflict_accuracy",
        "held_out",
        "score",
    }


def test_a_model_that_never_looks_at_the_patch_is_never_changed_by_it():
    found = validator(corners(HALVES))(looking_classifier(~PATCH, 0.07), 0)
    assert (found.conflict_flip_rate, found.held_out.flip_rate) == (0, 0)
    assert found.accuracy == found.conflict_accuracy == found.held_out.masked_accuracy == 0.5


def test_more_accuracy_and_fewer_flips_score_higher():
    best = check(0.8, 0.1, 0.9)
    assert all(best.score > worse.score for worse in (check(0.7, 0.1, 0.9), check(0.8, 0.2, 0.9), check(0.8, 0.1, 0.8)))


def test_validation_images_that_cannot_be_read_any_more_give_a_sentence(monkeypatch):
    made = validator(corners(HALVES))
    made.cache.clear()

    def gone(self, index: int) -> np.ndarray:
        raise DataError(f"{self.keys[index]} is missing")

    monkeypatch.setattr(ArrayDataset, "read", gone)
    with pytest.raises(RetuneError, match=r"The validation images cannot be read any more; check that the dataset is still"):
        made(looking_classifier(PATCH, 0.07), 0)


def test_checks_are_the_same_each_time():
    dataset, classifier = stripes(), looking_classifier(np.ones((16, 16), bool), 0.4)
    cache = InputCache(dataset, plain(16, 16))
    masks = all_masks_of(dataset)
    painted = read_painted(dataset, masks, cache)
    _, held_out = painted.hold_out(0)
    made = [Validator(dataset, cache, dataset.indices("val"), held_out, painted, masks, 5) for _ in range(2)]
    classifier = classifier.copy()
    classifier.class_names = dataset.class_names
    results = [check(classifier, 0) for check in (made[0], made[0], made[1])]
    assert results[0] == results[1] == results[2]


def test_where_all_painted_images_are_of_one_class_their_patches_are_pasted_on_images_of_the_others():
    dataset = corners({"train": [1] * 3, "val": [0, 1]})
    cache = InputCache(dataset, plain(8, 8))
    masks = {key: PATCH for key in dataset.keys if key.startswith("train")}
    painted = read_painted(dataset, masks, cache)
    found = Validator(dataset, cache, dataset.indices("val"), painted, painted, masks, 0)(looking_classifier(PATCH, 0.07), 0)
    # The white patch makes both of them bright; for the one that is bright that is no conflict.
    assert (found.n, found.conflicts) == (2, 1)
    assert (found.conflict_accuracy, found.conflict_flip_rate) == (0.0, 1.0)


def test_the_places_of_a_shortcut_are_everywhere_that_is_painted_on_any_image():
    masks = torch.zeros(2, 6, 6, dtype=torch.bool)
    masks[0, 0, 0] = masks[1, 5, 5] = True
    painted = MaskedSet(np.arange(2), ("a", "b"), torch.zeros(2, 1, 6, 6), masks, torch.tensor([0, 1]))
    assert painted.places.nonzero().tolist() == [[0, 0], [5, 5]]
    images = torch.arange(72.0).view(2, 1, 6, 6)
    cleared = painted.clear_places(images, torch.Generator().manual_seed(0))
    assert torch.equal(cleared[:, :, ~painted.places], images[:, :, ~painted.places])
    assert (cleared[:, :, painted.places] != images[:, :, painted.places]).all()


def test_what_is_painted_all_over_the_image_has_no_place():
    masks = torch.zeros(2, 6, 6, dtype=torch.bool)
    masks[0, :2] = masks[1, 4:] = True  # together two thirds of the image
    painted = MaskedSet(np.arange(2), ("a", "b"), torch.zeros(2, 1, 6, 6), masks, torch.tensor([0, 1]))
    assert not painted.places.any()
    images = torch.arange(72.0).view(2, 1, 6, 6)
    assert torch.equal(painted.clear_places(images, torch.Generator()), images)


def check(conflict: float, flips: float, accuracy: float, share: float | None = 0.5, n: int = 10) -> ValidationMetrics:
    """A check on 100 validation images, and with as good as the same numbers on `n` held-out ones."""
    return ValidationMetrics(0, 100, accuracy, conflict, flips, RightReasons(n, accuracy, conflict, flips, share))


BEFORE = check(0.3, 0.8, 0.9)
TABLE = [
    # Hardly a prediction changes any more, and nothing was lost.
    ("fixed", BEFORE, check(0.85, 0.05, 0.88)),
    ("fixed", BEFORE, check(0.85, 0.0, 0.9)),
    # More than a few still change, but conflict accuracy rose by a quarter of what was lost, or a quarter fewer change.
    ("improved", BEFORE, check(0.85, 0.06, 0.9)),
    ("improved", BEFORE, check(0.46, 0.8, 0.9)),
    ("no effect", BEFORE, check(0.44, 0.7, 0.9)),
    ("no effect", BEFORE, check(0.33, 0.8, 0.9)),
    ("improved", BEFORE, check(0.31, 0.59, 0.9)),
    # Fewer predictions change, but none is righter for it, and what the shortcut told is no longer known either.
    ("no effect", BEFORE, check(0.31, 0.5, 0.75)),
    ("no effect", BEFORE, check(0.31, 0.0, 0.75)),
    # From the shortcut alone to guessing: some guesses are right, and that is no gain; half of them right is one.
    ("no effect", check(0.0, 1.0, 1.0), check(0.11, 0.06, 0.11)),
    ("no effect", check(0.0, 1.0, 1.0), check(0.11, 0.0, 0.11)),
    ("improved", check(0.0, 1.0, 1.0), check(0.5, 0.06, 0.5)),
    # Nothing changes a prediction any more, but a third of what it could is gone: better, not fixed.
    ("improved", BEFORE, check(0.6, 0.0, 0.6)),
    # Nothing to mend, or nothing happened.
    ("no effect", check(0.9, 0.02, 0.9), check(0.9, 0.0, 0.9)),
    ("no effect", check(0.9, 0.05, 0.9), check(0.93, 0.0, 0.93)),
    ("fixed", check(0.85, 0.06, 0.9), check(0.9, 0.0, 0.9)),
    ("no effect", BEFORE, check(0.31, 0.7, 0.9, 0.45)),
    # The heatmap left, the predictions still change.
    ("looks fixed but is not", BEFORE, check(0.3, 0.8, 0.9, 0.1)),
    ("looks fixed but is not", BEFORE, check(0.31, 0.7, 0.9, 0.25)),
    # Conflict accuracy fell, or plain accuracy did and nothing was won by it.
    ("harmed", BEFORE, check(0.27, 0.8, 0.9)),
    ("harmed", BEFORE, check(0.27, 0.0, 0.9)),
    ("harmed", BEFORE, check(0.3, 0.8, 0.8, 0.1)),
]


@pytest.mark.parametrize(("word", "before", "after"), TABLE)
def test_the_verdict(word, before, after):
    found = judge(before, after, held_out=True)
    assert found.name == word
    assert (
        f"accuracy went from {before.conflict_accuracy:.2f} to {after.conflict_accuracy:.2f} and the share of changed "
        f"predictions from {before.conflict_flip_rate:.2f} to {after.conflict_flip_rate:.2f}"
    ) in found.reason
    assert found.reason.endswith(".")


def test_with_few_held_out_objects_those_learnt_from_help_to_choose():
    before = replace(check(0.6, 0.4, 0.9), familiar=(0.5, 0.5))
    # (0.6 + 0.5) / 2 + 0.9 / 2 - (0.4 + 0.5) / 8
    assert before.score == pytest.approx(0.8875)
    assert before.selection_accuracy == pytest.approx(0.55)
    assert check(0.6, 0.4, 0.9).score == pytest.approx(0.95)
    # By three held-out objects alone, the start would have been the best.
    later = replace(check(0.58, 0.4, 0.86), familiar=(0.9, 0.1))
    assert replace(later, familiar=None).score < replace(before, familiar=None).score
    assert later.score > before.score


def test_with_few_held_out_objects_no_more_than_improved_is_said():
    few = RightReasons(3, 0.9, 0.6, 0.4, 0.5)
    before = replace(check(0.6, 0.4, 0.9), familiar=(0.5, 0.5), held_out=few, scenes=200)
    after = replace(check(0.6, 0.0, 0.88), familiar=(0.96, 0.02), held_out=few, scenes=200)
    found = judge(before, after, held_out=True)
    assert found.name == "improved"
    assert found.reason.startswith(
        "What surrounds the objects learnt from no longer decides; others may differ: on painted "
    )
    assert "accuracy went from 0.55 to 0.78 and the share of changed predictions from 0.45 to 0.01" in found.reason
    assert "Only 3 painted images were held out, too few" in found.reason
    # One of three told worse is chance, two of three contradict.
    assert judge(before, replace(after, conflict_accuracy=0.3), held_out=True).name == "improved"
    contradicted = judge(before, replace(after, conflict_accuracy=0.2), held_out=True)
    assert contradicted.name == "no effect"
    assert contradicted.reason.startswith("The objects learnt from are told better, those held out are told worse: ")
    # With enough held out, these alone decide.
    enough = [replace(each, held_out=replace(few, n=8)) for each in (before, after)]
    assert "200 composites of 8 held-out objects" in judge(*enough, held_out=True).reason


def test_one_or_two_patches_that_mislead_on_no_other_image_are_not_said_to_be_unused():
    found = judge(check(0.9, 0.02, 0.9), check(0.9, 0.0, 0.9), held_out=False)
    assert found.name == "no effect"
    assert found.reason.startswith(
        "What is painted hardly misleads the model on other images, and more masks may say more: "
    )


# From right on all but the conflict images to guessing one of ten classes always: nothing changes a prediction any more.
KNOWING, GUESSING = check(0.1, 0.9, 0.99), check(0.1, 0.0, 0.1)


def test_a_model_that_became_ignorant_is_not_called_fixed():
    assert judge(KNOWING, GUESSING, held_out=True).name == "harmed"


def test_a_model_that_became_ignorant_is_not_chosen():
    assert GUESSING.score < KNOWING.score


def test_a_verdict_on_maps_without_evidence_is_no_matter_of_the_map():
    assert judge(check(0.3, 0.8, 0.9, None), check(0.3, 0.8, 0.9, 0.1), held_out=True).name == "no effect"


def test_the_verdict_says_why_plain_accuracy_may_fall_when_a_shortcut_goes():
    fell = judge(BEFORE, check(0.85, 0.05, 0.86), held_out=True)
    assert fell.name == "fixed"
    assert "Accuracy where the shortcut tells the truth fell, because the model no longer uses it." in fell.reason
    assert "tells the truth" not in judge(BEFORE, check(0.9, 0.05, 0.9), held_out=True).reason


def test_the_verdict_says_when_too_few_images_were_held_out():
    after = check(0.85, 0.05, 0.88)
    # By the patches that it has learnt from, no model is called fixed.
    by_learnt = judge(BEFORE, after, held_out=False)
    assert by_learnt.name == "improved"
    assert by_learnt.reason.startswith("The patches learnt from no longer decide; others may: on ")
    assert "paint ten or more images for a judgement by others" in by_learnt.reason
    few = judge(BEFORE, check(0.85, 0.05, 0.88, n=3), held_out=True)
    assert (
        "Only 3 painted images were held out, too few to say how much the painted part itself matters; more painted "
        "images make that surer."
    ) in few.reason
    assert "Only 1 painted image was held out" in judge(BEFORE, check(0.85, 0.05, 0.88, n=1), held_out=True).reason
    assert "too few" not in judge(BEFORE, after, held_out=True).reason


def painted(
    flips: float, right: float, share: float | None = 0.5, elsewhere: float | None = 0.02, n: int = 10
) -> RightReasons:
    """What was measured on held-out painted images."""
    return RightReasons(n, 0.9, right, flips, share, flips, elsewhere)


def test_the_verdict_tells_of_the_held_out_painted_images():
    after = replace(check(0.85, 0.04, 0.9), held_out=painted(0.04, 0.85, 0.1))
    found = judge(replace(BEFORE, held_out=painted(0.6, 0.3)), after, held_out=True)
    assert found.name == "fixed"
    assert (
        "Taking out what is painted changed 60% of the predictions before and 4% after (10 painted images not learnt from), "
        "and the heatmap's share in it went from 50% to 10%."
    ) in found.reason


def test_where_the_heatmap_left_and_the_flips_did_not_a_small_gain_does_not_hide_it():
    found = judge(BEFORE, check(0.36, 0.75, 0.9, 0.1), held_out=True)
    assert found.name == "looks fixed but is not"
    assert found.reason.startswith("The heatmap left the painted part but the predictions still depend on it: ")
    # Where the flips fell as well, it is no mere appearance.
    assert judge(BEFORE, check(0.36, 0.4, 0.9, 0.1), held_out=True).name == "improved"


def test_a_model_that_only_conflicting_patches_mislead_no_longer_is_not_called_fixed():
    before = replace(BEFORE, held_out=painted(0.6, 0.3))
    after = replace(check(0.85, 0.04, 0.9), held_out=painted(0.5, 0.4))
    found = judge(before, after, held_out=True)
    assert found.name == "improved"
    assert found.reason.startswith(
        "Patches of other images mislead the model no longer, but what is painted still matters: "
    )
    # Too few, or no more than anywhere else: then nothing contradicts.
    assert judge(before, replace(after, held_out=painted(0.5, 0.4, n=4)), held_out=True).name == "fixed"
    assert judge(before, replace(after, held_out=painted(0.5, 0.4, elsewhere=0.45)), held_out=True).name == "fixed"


#: Conflicting patches never changed its predictions, but taking out what is painted changes most predictions.
OWN = replace(check(0.88, 0.01, 0.9), held_out=painted(0.6, 0.3))
OWN_TABLE = [
    ("fixed", painted(0.04, 0.85)),
    ("improved", painted(0.3, 0.6)),
    ("no effect", painted(0.55, 0.35)),
    ("looks fixed but is not", painted(0.55, 0.35, 0.1)),
    ("harmed", painted(0.7, 0.15)),
]


@pytest.mark.parametrize(("word", "held_out"), OWN_TABLE)
def test_where_conflicting_patches_mislead_nothing_the_held_out_images_decide(word, held_out):
    found = judge(OWN, replace(OWN, held_out=held_out), held_out=True)
    assert found.name == word
    assert (
        "on 10 painted images not learnt from, with what is painted taken out (patches of other images hardly"
        in found.reason
    )
    assert f"accuracy went from 0.30 to {held_out.masked_accuracy:.2f}" in found.reason


@pytest.mark.parametrize("before", [painted(0.6, 0.3, n=4), painted(0.1, 0.8), painted(0.6, 0.3, elsewhere=0.55)])
def test_few_or_unspecific_flips_are_no_use_of_what_is_painted(before):
    found = judge(replace(OWN, held_out=before), replace(OWN, held_out=painted(0.0, 0.9)), held_out=True)
    assert found.name == "no effect"
    assert found.reason.startswith(
        "The model hardly used what is painted to begin with: on 100 validation images with a conflicting shortcut"
    )


def test_a_specificity_near_1_is_said_where_nothing_changed():
    unspecific = painted(0.3, 0.6, elsewhere=0.28)
    after = replace(BEFORE, held_out=unspecific, iteration=25)
    found = judge(replace(BEFORE, held_out=unspecific), after, held_out=True)
    assert found.name == "no effect"
    assert (
        "Taking out any other place of that size changed as many (28% before), so the model hardly used what is painted "
        "more than the rest of the image."
    ) in found.reason
    specific = replace(BEFORE, held_out=painted(0.3, 0.6, elsewhere=0.02))
    assert "any other place" not in judge(specific, replace(specific, iteration=25), held_out=True).reason


def test_the_dear_measures_are_made_at_the_start_and_at_the_end_only():
    made, classifier = validator(corners(HALVES)), looking_classifier(PATCH, 0.07)
    start, amid = made(classifier, 0), made(classifier, 25)
    assert (start.held_out.swap_flip_rate, start.held_out.random_flip_rate) == (1.0, 0.0)
    assert amid.held_out.swap_flip_rate is amid.held_out.random_flip_rate is None
    end = made.complete(classifier, amid)
    assert end == replace(start, iteration=25, neutral=end.neutral, moved=end.moved)
    assert made.complete(classifier, end) is end


def test_a_table_of_two_checks_has_what_the_verdict_is_based_on():
    made = validator(corners(HALVES))
    before, after = made(looking_classifier(PATCH, 0.07), 0), made(looking_classifier(~PATCH, 0.07), 0)
    rows = {(row.split, row.measure): row for row in check_rows(before, after)}
    assert rows["validation", "conflict_flip_rate"].texts == ("1.000", "0.000")
    assert rows["6 painted images", "specificity"].texts == ("only there", "no flips")
    assert {measure for split, measure in rows if split == "6 painted images"} == {"accuracy", *REASONS}


def test_the_printed_table_calls_a_change_within_chance_neither_better_nor_worse(capsys):
    before = ValidationMetrics(0, 80, 0.5, 0.25, 0.75, RightReasons(10, 0.5, 0.4, 0.6, 0.3, 0.5, 0.3))
    after = ValidationMetrics(9, 80, 0.505, 0.9, 0.05, RightReasons(10, 0.4997, 0.45, 0.5, 0.1, 0.5, 0.1))
    show_rows("What the verdict is based on", check_rows(before, after))
    lines = {line.partition("│")[2].split("│")[0].strip(): line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["conflict accuracy"][-1] == "better"
    assert lines["conflict flip rate"][-1] == "better"
    assert lines["flip rate"][-1] == "unsure"  # one image of ten
    assert lines["flips, times elsewhere"][-1] == "+3.000"  # both rates fell
    assert lines["accuracy"][-1] == "0.000"


def test_the_verdict_and_the_tables_take_the_same_for_chance():
    assert CHANCE == MARGIN


def test_the_score_goes_by_probabilities_where_they_are_known():
    counted = replace(BEFORE, accuracy=0.8, conflict_accuracy=0.6, conflict_flip_rate=0.2)
    assert counted.score == pytest.approx(0.6 + 0.5 * 0.8 - 0.25 * 0.2)
    known = replace(counted, probability=0.7, conflict_probability=0.4, probability_shift=0.3)
    assert known.score == pytest.approx(0.4 + 0.5 * 0.7 - 0.25 * 0.3)


def test_a_model_that_is_surer_of_all_it_says_scores_no_better():
    made = validator(corners(HALVES))
    scores = []
    for factor in (1, 4):
        classifier = looking_classifier(PATCH, 0.07)
        with torch.no_grad():
            classifier.module.head.weight.mul_(factor)
            classifier.module.head.bias.mul_(factor)
        scores.append(made(classifier, 25).score)
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_is_the_one_that_the_labels_were_drawn_with(true):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 4, generator=generator)
    labels = (logits / true).softmax(1).multinomial(1, generator=generator)[:, 0]
    assert fit_temperature(logits, labels) == pytest.approx(true, rel=0.05)


def test_the_control_counts_patches_of_the_own_class_beside_those_of_others():
    made = validator(corners(HALVES))
    # It goes by the patch: another class's changes it on all twelve images, its own class's on none.
    assert made._control(looking_classifier(PATCH, 0.07)) == (12, 0, 12)
    # At the start it is asked for only where what is painted hardly matters where it is.
    assert made.start(looking_classifier(PATCH, 0.07)).control is None
    assert made.start(looking_classifier(~PATCH, 0.07)).control == (0, 0, 12)


def test_there_is_no_control_where_no_image_has_patches_of_both_kinds():
    dataset = corners({"train": [1] * 20, "val": [1] * 6})
    assert validator(dataset)._control(looking_classifier(PATCH, 0.07)) is None
