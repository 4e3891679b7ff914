"""Painting by a click: what is painted, on images made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import ConfigError, MaskError
from napari_cam_feedback.feedback.painting.grow import hot_region, hot_regions
from napari_cam_feedback.feedback.painting.same_place import likeness, same_place
from napari_cam_feedback.feedback.painting.superpixels import default_piece, superpixel_at, superpixels
from napari_cam_feedback.feedback.painting.wand import wand


def picture(text: str) -> np.ndarray:
    """One row of digits a line, as uint8 in steps of 25."""
    return np.array([[25 * int(digit) for digit in row] for row in text.split()], np.uint8)


def test_a_superpixel_keeps_to_the_edge_of_a_square_in_gray_and_in_colour():
    image = np.full((24, 24), 40, np.uint8)
    image[6:12, 6:12] = 220
    for each in (
        image,
        np.stack([image, image, 255 - image], axis=2),
        image.astype(np.uint16) * 100,
        image / np.float32(255),
    ):
        numbers = superpixels(each, 6)
        assert numbers.shape == (24, 24)
        assert numbers.dtype == np.uint16
        region = superpixel_at(numbers, (8, 8))
        assert np.array_equal(region, image == 220)


def test_a_large_image_is_cut_small_and_its_superpixels_are_of_its_size():
    image = np.kron(np.random.default_rng(0).integers(0, 255, (16, 8)), np.ones((80, 80))).astype(np.uint8)
    numbers = superpixels(image)
    assert numbers.shape == image.shape == (1280, 640)
    assert 50 < len(np.unique(numbers)) < 1000
    assert [default_piece(size) for size in ((28, 28), (160, 200), (4, 4))] == [4, 23, 2]
    with pytest.raises(ConfigError, match="A superpixel cannot be 1 pixels wide; choose 2 or more"):
        superpixels(image, 1)


def test_the_wand_takes_like_pixels_that_hang_together():
    image = picture("00000 05560 00600 05000")
    found = wand(image, (1, 1), 0.1)  # 25 of 255 is 0.098
    # Over the corner from row 2 to row 3; all are within one step of the place.
    assert found.astype(int).tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0]]
    assert wand(image, (1, 1), 0).sum() == 2
    assert wand(image, (1, 1), 1).all()
    # From another place another difference: 6 is one step from 5.
    assert wand(image, (2, 2), 0).sum() == 2


def test_the_wand_asks_every_colour():
    image = np.zeros((1, 3, 3), np.uint8)
    image[0, 1] = (0, 0, 200)
    image[0, 2] = (10, 10, 10)
    assert wand(image, (0, 0), 0.1).tolist() == [[True, False, False]]
    assert wand(image[:, ::2], (0, 0), 0.1).all()


def test_the_hot_region_under_the_click_and_no_other():
    heat = np.array([[9, 8, 0, 0, 5], [4, 0, 0, 0, 6], [0, 0, -9, 0, 0]], np.float32)
    assert hot_region(heat, (0, 0), 0.5).astype(int).tolist() == [[1, 1, 0, 0, 0], [0] * 5, [0] * 5]
    assert hot_region(heat, (1, 4), 0.5).astype(int).tolist() == [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [0] * 5]
    assert hot_region(heat, (0, 0), 0.4).sum() == 3
    assert not hot_region(heat, (2, 2), 0.5).any()
    assert hot_regions(heat, 0.5).max() == 2
    # Where nothing speaks for the class, nothing is hot.
    assert not hot_region(-np.abs(heat), (0, 0), 0.1).any()


def test_places_and_settings_that_cannot_be_give_a_sentence():
    image = np.zeros((4, 4), np.uint8)
    for tool in (wand, hot_region, lambda image, place: superpixel_at(superpixels(image), place)):
        for place in ((4, 0), (0, -1)):
            with pytest.raises(ConfigError, match="This place is outside the image; click inside it"):
                tool(image, place)
    with pytest.raises(ConfigError, match="The tolerance cannot be 2; choose one from 0 to 1"):
        wand(image, (0, 0), 2)
    with pytest.raises(ConfigError, match="The threshold cannot be 0 of the heatmap's maximum"):
        hot_region(image, (0, 0), 0)


def test_a_mask_is_copied_to_the_same_place_and_says_how_alike_that_looks():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (4, 12, 12)).astype(np.uint8)
    tag = rng.integers(0, 2, (3, 4)).astype(np.uint8) * 200
    images[0, :3, :4] = images[1, :3, :4] = images[3, 9:, 8:] = tag
    images[2, :3, :4] = 200 - tag
    data = ArrayDataset({"train": images}, {"train": [0, 1, 0, 1]}, ("a", "b"))
    mask = np.zeros((12, 12), bool)
    mask[:3, :4] = True
    seen = []
    found = list(same_place(data, 0, mask, range(4), progress=lambda *state: seen.append(state)))
    assert [copied.index for copied in found] == [1, 2, 3]
    assert all(np.array_equal(copied.mask, mask) for copied in found)
    assert [copied.alike for copied in found] == [True, False, False]
    assert found[0].likeness == pytest.approx(1)
    assert found[1].likeness == pytest.approx(-1)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(MaskError, match="Nothing is painted on"):
        same_place(data, 0, np.zeros((12, 12), bool), range(4))
    with pytest.raises(MaskError, match="paint it on its own image"):
        same_place(data, 0, np.ones((3, 3), bool), range(4))


def test_an_even_patch_is_like_one_of_its_colour_and_a_copy_fits_another_size():
    even, mask = np.full((4, 4), 100, np.uint8), np.ones((4, 4), bool)
    assert likeness(even, even, mask) == 1
    assert likeness(even, even + 51, mask) == 0  # a fifth of the range
    noisy = np.tile(np.array([0, 200], np.uint8), (4, 2))
    assert likeness(noisy, even, mask) == 0
    assert likeness(np.repeat(noisy[..., None], 3, axis=2), noisy, mask) == pytest.approx(1)
    from napari_cam_feedback.feedback.masks.size import resized

    assert likeness(noisy, resized(noisy, (8, 8)), mask) == pytest.approx(1)
