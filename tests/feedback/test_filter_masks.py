"""Masks made from a filter: above a percentile of its map; saved only where nothing was painted."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from core_builders import hand_classifier, stop_after
from napari_cam_feedback.data import ArrayDataset, Preprocessing, make_sample, sample_data_dir
from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.explanations.filters.features import features_of
from napari_cam_feedback.explanations.filters.statistics import activation_under_masks, top_images
from napari_cam_feedback.feedback import MaskStore, known_masks
from napari_cam_feedback.feedback.proposals.from_filter import FilterMask, filter_masks, save_filter_masks, split_threshold
from napari_cam_feedback.models import Classifier, load_classifier

RAMP = np.arange(10, 20, dtype=np.uint8).reshape(2, 5)


def dataset(*images: np.ndarray) -> ArrayDataset:
    return ArrayDataset({"train": np.stack(images)}, {"train": [n % 2 for n in range(len(images))]}, ("a", "b"))


def test_the_default_is_what_is_above_the_seventieth_percentile_of_the_image_s_own_map():
    data = dataset(RAMP, RAMP * 10)
    found = list(filter_masks(hand_classifier(2, 5), data, [0, 1], 0))
    # The values are 10 to 19; seven tenths of the way from the first to the last in their order lies 16.
    for mask in found:
        assert mask.mask.tolist() == [[False] * 5, [False, False, True, True, True]]
        assert mask.mask.dtype == bool
    assert [mask.key for mask in found] == ["train/00000", "train/00001"]
    assert found[0].threshold == pytest.approx(16 / 255)
    # The filter -x is most active where the image is darkest.
    (dark,) = filter_masks(hand_classifier(2, 5), data, [0], 1)
    assert dark.mask.tolist() == [[True, True, True, False, False], [False] * 5]


def test_another_percentile_masks_more_or_less():
    def area(percentile: float) -> int:
        (found,) = filter_masks(hand_classifier(2, 5), dataset(RAMP), [0], 0, percentile=percentile)
        return int(found.mask.sum())

    assert [area(p) for p in (0, 50, 70, 90, 99)] == [9, 5, 3, 1, 1]


def test_one_threshold_for_the_split_leaves_images_empty_in_which_the_filter_is_quiet():
    bright, dark = RAMP + 100, RAMP
    data = dataset(bright, dark, bright)
    found = list(filter_masks(hand_classifier(2, 5), data, [0, 1], 0, percentile=50, over="split"))
    assert found[0].threshold == found[1].threshold == split_threshold(hand_classifier(2, 5), data, 0, 50)
    assert found[0].mask.sum() == 7  # of 30 values the middle one is the third of the bright ramps
    assert not found[1].mask.any()


def test_a_filter_that_is_silent_in_most_places_masks_only_where_it_is_active():
    image = np.zeros((2, 5), np.uint8)
    image[0, 0] = 200
    (found,) = filter_masks(hand_classifier(2, 5), dataset(image), [0], 0)
    assert np.argwhere(found.mask).tolist() == [[0, 0]]


def test_a_map_that_is_the_same_everywhere_gives_an_empty_mask():
    wide = ArrayDataset({"train": np.full((1, 31, 17), 200, np.uint8)}, {"train": [0]}, ("a", "b"))
    (found,) = filter_masks(hand_classifier(3, 5), wide, [0], 0)
    assert found.mask.shape == (31, 17)
    assert not found.mask.any()


def test_what_a_centre_crop_leaves_out_is_never_masked():
    plain = hand_classifier(4, 4)
    crop = Preprocessing(size=(4, 4), channels=1, mean=(0.0,), std=(1.0,), crop=True)
    classifier = Classifier(plain.module, plain.class_names, crop, "features", "hand")
    image = np.full((1, 4, 8), 100, np.uint8)
    image[0, :, 4] = 50
    (found,) = filter_masks(classifier, ArrayDataset({"train": image}, None, ("a", "b")), [0], 1)
    assert found.mask.tolist() == [[False] * 4 + [True] + [False] * 3] * 4


def test_what_cannot_be_gives_a_sentence_before_anything_is_done():
    data, classifier = dataset(RAMP), hand_classifier(2, 5)
    with pytest.raises(ConfigError, match=r"There is no filter 2; the target layer's filters are 0 to 1\."):
        filter_masks(classifier, data, [0], 2)
    with pytest.raises(ConfigError, match=r"The percentile cannot be 100; choose one from 0 to below 100\."):
        filter_masks(classifier, data, [0], 0, percentile=100)
    with pytest.raises(ConfigError, match=r"A percentile cannot be taken over 'batch'; choose image or split\."):
        filter_masks(classifier, data, [0], 0, over="batch")
    with pytest.raises(DataError, match='no split "val", only train'):
        list(filter_masks(classifier, data, [0], 0, over="split", split="val"))


def test_images_that_cannot_be_read_are_left_out_and_named():
    class Broken(ArrayDataset):
        def read(self, index: int) -> np.ndarray:
            if index == 1:
                raise DataError("train/00001 is broken; restore or remove it.")
            return super().read(index)

    data = Broken({"train": np.stack([RAMP] * 3)}, None, ("a", "b"))
    inputs = InputCache(data, hand_classifier(2, 5).preprocessing)
    found = list(filter_masks(hand_classifier(2, 5), data, range(3), 0, inputs=inputs))
    assert [mask.index for mask in found] == [0, 2]
    assert inputs.skipped == {"train/00001": "train/00001 is broken; restore or remove it."}


def test_masks_are_made_with_progress_and_stop_when_asked():
    data, classifier = dataset(*[RAMP] * 130), hand_classifier(2, 5)
    seen: list[tuple[int, int]] = []
    list(filter_masks(classifier, data, range(130), 0, progress=lambda *state: seen.append(state)))
    assert seen == [(64, 130), (128, 130), (130, 130)]
    assert len(list(filter_masks(classifier, data, range(130), 0, stop=stop_after(1)))) == 128
    assert list(filter_masks(classifier, data, range(130), 0, over="split", stop=lambda: True)) == []


def test_the_threshold_of_a_large_split_is_taken_from_a_seeded_part(monkeypatch):
    monkeypatch.setattr(sys.modules["napari_cam_feedback.feedback.proposals.from_filter"], "THRESHOLD_IMAGES", 10)
    monkeypatch.setattr(sys.modules["napari_cam_feedback.feedback.proposals.from_filter"], "THRESHOLD_PIXELS", 4)
    data = dataset(*[RAMP + n for n in range(40)])
    found = {seed: split_threshold(hand_classifier(2, 5), data, 0, 50, seed=seed) for seed in range(6)}
    assert found[0] == split_threshold(hand_classifier(2, 5), data, 0, 50, seed=0)
    assert len(set(found.values())) > 1
    assert all(10 / 255 <= value <= 60 / 255 for value in found.values())


def test_masks_are_saved_where_there_was_none_and_never_over_what_was_painted(tmp_path):
    data, store = dataset(RAMP, RAMP, np.zeros_like(RAMP)), MaskStore(tmp_path)
    painted = np.zeros((2, 5), bool)
    painted[0, 0] = True
    store.put("train/00001", painted, author="ann")
    result = save_filter_masks(filter_masks(hand_classifier(2, 5), data, range(3), 0), store, author="filter 0")
    assert (result.written, result.kept, result.empty) == (["train/00000"], ["train/00001"], ["train/00002"])
    assert result.sentence == (
        "1 mask saved; 1 image had a mask already, which was kept; the filter stands out nowhere in 1 image."
    )
    again = MaskStore(tmp_path)
    assert sorted(again) == ["train/00000", "train/00001"]
    assert again["train/00000"].sum() == 3
    assert np.array_equal(again["train/00001"], painted)
    assert (again.info("train/00000")["author"], again.info("train/00001")["author"]) == ("filter 0", "ann")


def test_nothing_is_saved_unless_asked(tmp_path):
    store = MaskStore(tmp_path)
    list(filter_masks(hand_classifier(2, 5), dataset(RAMP), [0], 0))
    assert len(store) == 0
    two = [FilterMask(0, "a", np.ones((2, 2), bool), 0.0), FilterMask(1, "b", np.ones((2, 2), bool), 0.0)]
    assert save_filter_masks(two, store).sentence == "2 masks saved."


def test_masks_from_the_filter_that_looks_at_the_tags_of_the_digits_cover_the_tags_where_it_is_active():
    data = make_sample("tag-digits")
    classifier = load_classifier(sample_data_dir() / "tag-digits" / "model.safetensors", device="cpu")
    number = int(activation_under_masks(classifier, data, known_masks(data, 40)).order[0])
    chosen = top_images(features_of(classifier, data, "val"), number, 40)
    found = list(filter_masks(classifier, data, chosen, number, percentile=90))
    inside = [mask.mask[data.known_mask(mask.index)].mean() for mask in found]
    assert np.mean(inside) > 0.6
    assert np.mean([mask.mask.mean() for mask in found]) <= 0.1 + 1 / 28
