"""The gallery of a filter: its bins, the choice of images, where the filter is active, and the picture of it all."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from core_builders import hand_classifier, small_gap, stop_after
from napari_cam_feedback.data import ArrayDataset, Preprocessing, make_sample, sample_data_dir
from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.explanations.display import thumbnail
from napari_cam_feedback.explanations.filters.features import Features, features_of
from napari_cam_feedback.explanations.filters.gallery import active_area, contact_sheet, gallery, plan_gallery, seen_area
from napari_cam_feedback.explanations.filters.statistics import activation_under_masks
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.models import load_classifier
from napari_cam_feedback.torch_loader import torch


def with_means(values: list[float]) -> Features:
    mean = np.array(values, np.float32)[:, None]
    count = len(values)
    return Features(
        np.arange(count), tuple(f"train/{n:05d}" for n in range(count)), np.zeros(count, np.int64), mean, mean,
        np.zeros((count, 2), np.float32), ("a", "b"), "train", "features", "f", "d",
    )  # fmt: skip


def grays(values: list[int], size: int = 4) -> ArrayDataset:
    """Images that are black but for their right half, which has the gray value given."""
    images = np.zeros((len(values), size, size), np.uint8)
    images[:, :, size // 2 :] = np.array(values, np.uint8)[:, None, None]
    return ArrayDataset({"train": images}, {"train": [n % 2 for n in range(len(values))]}, ("a", "b"))


def test_bins_are_of_equal_width_and_may_be_empty():
    plan = plan_gallery(with_means([0, 0.5, 1, 9, 8.9, 3.2]), 0, bins=9)
    assert plan.edges.tolist() == list(range(10))
    assert plan.counts.tolist() == [2, 1, 0, 1, 0, 0, 0, 0, 2]  # a bound belongs to the bin above, the greatest to the last
    assert [rows.tolist() for rows in plan.rows] == [[0, 1], [2], [], [5], [], [], [], [], [4, 3]]


def test_a_filter_that_is_the_same_in_all_images_has_them_in_one_bin():
    plan = plan_gallery(with_means([0.3] * 12), 0)
    assert plan.counts.tolist() == [12] + [0] * 8
    assert len(plan.rows[0]) == 9


def test_the_choice_is_random_by_seed_and_no_larger_than_asked():
    features = with_means([0.0] * 50 + [1.0] * 50)
    choices = [np.concatenate(plan_gallery(features, 0, bins=2, per_bin=9, seed=seed).rows).tolist() for seed in (0, 0, 1)]
    assert choices[0] == choices[1] != choices[2]
    rows = plan_gallery(features, 0, bins=2, per_bin=9).rows
    assert [len(r) for r in rows] == [9, 9]
    assert (rows[0] < 50).all()
    assert (rows[1] >= 50).all()
    assert len(set(rows[0].tolist())) == 9


def test_a_filter_that_there_is_not_gives_a_sentence():
    with pytest.raises(ConfigError, match=r"There is no filter 1; the target layer's filters are 0 to 0\."):
        plan_gallery(with_means([0, 1]), 1)


def test_tiles_show_the_image_where_the_filter_is_active():
    dataset, classifier = grays([0, 60, 120, 180, 240]), hand_classifier(4, 4)
    found = gallery(classifier, dataset, features_of(classifier, dataset), 0, bins=3, per_bin=2)
    assert [(t.bin, t.place, t.index) for t in found.tiles] == [(0, 0, 0), (0, 1, 1), (1, 0, 2), (2, 0, 3), (2, 1, 4)]
    last = found.tiles[-1]
    assert (last.key, last.label, last.predicted) == ("train/00004", 0, 1)
    assert last.activation == pytest.approx(240 / 255 / 2)
    assert np.array_equal(last.image, np.repeat(dataset.read(4)[..., None], 3, 2))
    assert np.array_equal(last.mask, dataset.read(4) > 0)
    assert np.array_equal(last.shown(), last.image)  # what is hidden was black
    assert not found.tiles[0].mask.any()  # black all over: nowhere active
    # The filter -x is active where the image is black.
    other = gallery(classifier, dataset, features_of(classifier, dataset), 1, bins=3, per_bin=2)
    assert np.array_equal(other.tiles[0].mask, dataset.read(4) == 0)
    assert not other.tiles[0].shown().any()
    assert other.tiles[0].shown(0.5).max() == 120


def test_large_images_become_small_and_small_ones_stay():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 120, 300, 3), dtype=np.uint8)
    dataset = ArrayDataset({"train": images}, {"train": [0, 1]}, ("a", "b"))
    classifier = small_gap(("a", "b"))
    found = gallery(classifier, dataset, features_of(classifier, dataset), 0, size=60)
    assert {t.image.shape for t in found.tiles} == {(24, 60, 3)}
    assert {t.mask.shape for t in found.tiles} == {(24, 60)}
    assert thumbnail(np.zeros((5, 7), np.uint8), 60).shape == (5, 7, 3)


def test_black_and_white_of_a_thumbnail():
    ramp = np.array([[0, 100], [200, 400]], np.uint16)
    assert thumbnail(ramp, 9)[..., 0].tolist() == [[0, 64], [128, 255]]  # 16 bits: the image's own range
    assert thumbnail(ramp, 9, (0, 800))[..., 0].tolist() == [[0, 32], [64, 128]]
    assert thumbnail(np.array([[0.0, 0.2]], np.float32), 9)[..., 0].tolist() == [[0, 51]]
    assert thumbnail(np.array([[10, 20]], np.uint8), 9)[..., 0].tolist() == [[10, 20]]
    assert thumbnail(np.full((2, 2), 7, np.uint16), 9).max() == 0


def test_otsu_s_threshold_lies_between_the_two_modes():
    plain = Preprocessing(size=(2, 4), channels=1, mean=(0.0,), std=(1.0,))
    map_ = torch.tensor([[0.0, 0.1, 5.0, 5.2], [0.1, 0.0, 5.1, 0.2]])
    assert active_area(map_, plain, (2, 4)).tolist() == [[False, False, True, True], [False, False, True, False]]
    # A map of 3 everywhere, brought to another size, has rounding errors and no contrast.
    assert not active_area(torch.full((3, 3), 3.0), plain, (31, 17)).any()


def test_what_a_centre_crop_leaves_out_is_not_active_and_has_no_say():
    crop = Preprocessing(size=(4, 4), channels=1, mean=(0.0,), std=(1.0,), crop=True)
    seen = seen_area(crop, (4, 8))
    assert seen.tolist() == [[False] * 2 + [True] * 4 + [False] * 2] * 4
    # All activations are negative; outside of the crop there are none, and zero would be greater.
    map_ = torch.tensor([[-5.0, -5, -1, -1]] * 4)
    assert active_area(map_, crop, (4, 8)).tolist() == [[False] * 4 + [True] * 2 + [False] * 2] * 4


def test_a_gallery_reports_progress_and_stops_when_asked():
    classifier, dataset = hand_classifier(4, 4), grays(list(range(0, 240, 4)))
    features = features_of(classifier, dataset)
    seen: list[tuple[int, int]] = []
    whole = gallery(classifier, dataset, features, 0, progress=lambda done, total: seen.append((done, total)))
    assert (whole.complete, len(whole.tiles)) == (True, 60)
    assert seen == [(27, 60), (54, 60), (60, 60)]
    part = gallery(classifier, dataset, features, 0, stop=stop_after(1))
    assert (part.complete, len(part.tiles)) == (False, 54)


def test_the_picture_tells_which_image_is_where(tmp_path):
    classifier, dataset = hand_classifier(4, 4), grays([0, 60, 120, 180, 240])
    found = gallery(classifier, dataset, features_of(classifier, dataset), 0, bins=3, per_bin=2)
    sheet = contact_sheet(found, cell=40, dim=0)
    assert sheet.image.dtype == np.uint8
    assert len(sheet.boxes) == 5
    for tile, (top, left, bottom, right) in sheet.boxes:
        assert (bottom - top, right - left) == (40, 40)  # enlarged tenfold
        assert np.array_equal(sheet.image[top:bottom:10, left:right:10], tile.shown())
    # The most active bin is at the top.
    tops = {tile.bin: box[0] for tile, box in sheet.boxes}
    assert tops[2] < tops[1] < tops[0]
    sheet.save_png(tmp_path / "g.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "g.png")), sheet.image)


def test_a_picture_of_one_dead_filter_is_a_picture_all_the_same():
    classifier, dataset = hand_classifier(4, 4), grays([0, 0])
    sheet = contact_sheet(gallery(classifier, dataset, features_of(classifier, dataset), 0))
    assert len(sheet.boxes) == 2


def test_the_gallery_of_the_filter_that_looks_at_the_tags_shows_the_tags():
    dataset = make_sample("tag-digits")
    classifier = load_classifier(sample_data_dir() / "tag-digits" / "model.safetensors", device="cpu")
    number = int(activation_under_masks(classifier, dataset, known_masks(dataset, 40)).order[0])
    found = gallery(classifier, dataset, features_of(classifier, dataset, "val"), number)
    most = [tile for tile in found.tiles if tile.bin >= 5]
    assert len(most) >= 20
    covered = [tile.mask[dataset.known_mask(tile.index)].mean() for tile in most]
    shown = [tile.mask.mean() for tile in most]
    assert np.mean(covered) > 0.9
    assert np.mean(shown) < 0.25
