"""From raw maps to what is seen and measured: views, masks at a layer, the class asked for, one image, whole splits."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from core_builders import gray_dataset, hand_classifier, nearest_classifier, small_gap, stop_after, stripes
from napari_cam_feedback.data import ArrayDataset, Preprocessing, open_dataset
from napari_cam_feedback.errors import ConfigError, DataError, MaskError, ModelError
from napari_cam_feedback.explanations import (
    ExplanationCache,
    cam_display,
    class_index,
    explain,
    explain_item,
    has_evidence,
    masks_at_layer,
    mass_inside,
    resolve_target,
    unit_range,
)
from napari_cam_feedback.explanations.maps.files import tiff_folder
from napari_cam_feedback.models import Classifier, build_classifier
from napari_cam_feedback.torch_loader import torch


def test_what_is_shown_is_the_positive_part_stretched_to_one():
    signed = np.array([[-4.0, 0.0], [1.0, 2.0]])
    assert cam_display(signed).tolist() == [[0.0, 0.0], [0.5, 1.0]]
    assert cam_display(signed).dtype == np.float32


def test_a_map_without_a_positive_part_is_no_evidence_and_not_noise_stretched_to_full_contrast():
    negative = np.array([[-1.0, -1.0 + 1e-7], [-2.0, -3.0]])
    assert not has_evidence(negative)
    assert not cam_display(negative).any()
    assert not has_evidence(np.zeros((2, 2)))
    assert has_evidence(np.array([[-1.0, 1e-6]]))


def test_unit_range_by_hand():
    assert unit_range(np.array([-1.0, 0.0, 3.0])).tolist() == [0.0, 0.25, 1.0]
    assert unit_range(np.full((2, 2), 7.0)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_the_share_of_the_map_inside_a_mask_counts_positive_mass_only():
    signed = np.array([[1.0, -5.0], [3.0, 0.0]])
    assert mass_inside(signed, np.array([[True, True], [False, False]])) == 0.25  # 1 of 1 + 3
    assert mass_inside(signed, np.zeros((2, 2), bool)) == 0.0
    assert mass_inside(signed, np.ones((2, 2), bool)) == 1.0
    assert mass_inside(-np.abs(signed), np.ones((2, 2), bool)) is None


def test_a_place_of_the_layer_is_masked_if_any_of_its_pixels_is():
    mask = torch.zeros(1, 4, 6, dtype=torch.bool)
    mask[0, 1, 3] = True  # the first of two rows, the second of three columns, of 2x2 pixels each
    assert masks_at_layer(mask, (2, 3)).tolist() == [[[False, True, False], [False, False, False]]]
    assert masks_at_layer(mask, (4, 6)).equal(mask)
    assert masks_at_layer(mask, (1, 1)).all()
    # Five pixels onto two places: windows 0..2 and 2..4 overlap, so the middle pixel masks both.
    middle = torch.tensor([[[False, False, True, False, False]]])
    assert masks_at_layer(middle, (1, 2)).all()


NAMES = ("cat", "dog", "10")


def test_the_class_of_a_map():
    labels = np.array([1, -1, 0])
    assert resolve_target("predicted", NAMES, labels).tolist() == [-1, -1, -1]
    assert resolve_target("true", NAMES, labels).tolist() == [1, -1, 0]  # where unknown, the predicted one
    assert resolve_target("dog", NAMES, labels).tolist() == [1, 1, 1]
    assert resolve_target(2, NAMES, labels).tolist() == [2, 2, 2]
    assert class_index("1", NAMES) == 1
    assert class_index("10", NAMES) == 2  # a name goes before an index


@pytest.mark.parametrize("wrong", ["bird", 3, -1, "3", "-1"])
def test_a_class_that_there_is_not_gives_a_sentence(wrong):
    with pytest.raises(ConfigError, match=r"There is no class .*; choose true, predicted, or one of cat, dog, 10"):
        resolve_target(wrong, NAMES, np.array([0]))


# The image of `test_explain_maps`: x = [1 2; 3 4] / 255 as pixels are scaled to 0..1.
IMAGE = np.array([[[1, 2], [3, 4]]], np.uint8)
UNIT = IMAGE[0] / np.float32(255)


def hand_dataset(label: int = 0) -> ArrayDataset:
    return ArrayDataset({"test": IMAGE}, {"test": [label]}, ("a", "b"))


@pytest.mark.parametrize(("method", "scale"), [("cam", 1.0), ("gradcam", 0.25)])
def test_one_image_by_hand(method, scale):
    found = explain_item(hand_classifier(), hand_dataset(), 0, target="true", method=method)
    assert (found.index, found.key, found.label, found.target, found.method) == (0, "test/00000", 0, 0, method)
    assert np.array_equal(found.image, IMAGE[0])
    # logits -z + 0.5 and 4 z - 0.5 with z = 2.5 / 255
    z = 2.5 / 255
    expected = np.exp([-z + 0.5, 4 * z - 0.5])
    np.testing.assert_allclose(found.probabilities, expected / expected.sum(), rtol=1e-6)
    assert found.predicted == 0
    np.testing.assert_allclose(found.activations, np.stack([UNIT, -UNIT]), rtol=1e-6)
    np.testing.assert_allclose(found.raw, -UNIT * scale, rtol=1e-6)
    np.testing.assert_allclose(found.map, -UNIT * scale, rtol=1e-6)  # of the image's size already
    assert not found.evidence
    # Weights 1 and 2 times means z and -z.
    np.testing.assert_allclose(found.contributions, np.array([z, -2 * z]) * scale, rtol=1e-6)


def test_contributions_and_bias_make_the_logit():
    classifier = small_gap()
    dataset = ArrayDataset(
        {"test": np.random.default_rng(0).integers(0, 255, (1, 16, 16), dtype=np.uint8)}, None, ("a", "b", "c")
    )
    inputs = classifier.preprocessing.input(dataset.read(0))[None]
    logits = classifier.logits(inputs)[0]
    for name in ("a", "b", "c"):
        found = explain_item(classifier, dataset, 0, target=name, method="cam")
        assert found.label is None
        k = found.target
        assert found.contributions.sum() + float(classifier.head.bias[k]) == pytest.approx(float(logits[k]), rel=1e-4)


def test_filters_are_scored_by_contribution_activation_and_activation_under_the_mask():
    found = explain_item(hand_classifier(), hand_dataset(), 0, target="b", method="cam")
    mask = np.array([[False, True], [False, True]])
    assert np.array_equal(found.filter_scores("contribution"), found.contributions)
    np.testing.assert_allclose(found.filter_scores("activation"), np.array([2.5, -2.5]) / 255, rtol=1e-6)
    np.testing.assert_allclose(found.filter_scores("mask", mask), np.array([3.0, -3.0]) / 255, rtol=1e-6)  # (2 + 4) / 2
    np.testing.assert_allclose(found.filter_map(1), -UNIT, rtol=1e-6)
    for nothing in (None, np.zeros((2, 2), bool)):
        with pytest.raises(MaskError, match=r"Nothing is painted on this image yet; paint what is irrelevant first"):
            found.filter_scores("mask", nothing)


def test_maps_and_filters_have_the_image_s_size_whatever_the_input_s():
    preprocessing = Preprocessing(size=(16, 16), channels=1, mean=(0.0,), std=(1.0,))
    classifier = build_classifier("small-gap", ("a", "b"), preprocessing)
    dataset = ArrayDataset({"test": np.zeros((1, 37, 20, 3), np.uint8)}, None, ("a", "b"))
    found = explain_item(classifier, dataset, 0)
    assert found.raw.shape == (4, 4)
    assert found.map.shape == (37, 20)
    assert found.filter_map(3).shape == (37, 20)
    assert found.filter_scores("mask", np.ones((37, 20), bool)) == pytest.approx(found.filter_scores("activation"))


def test_an_explanation_cache_keeps_the_latest_within_its_memory():
    dataset = gray_dataset([0, 1, 2], [0, 1, 2])
    size = explain_item(nearest_classifier(), dataset, 0).nbytes
    assert size >= dataset.read(0).nbytes * 5  # the image in bytes and its map in 4-byte floats, at least
    explanation_cache = ExplanationCache(nearest_classifier(), dataset, max_bytes=2 * size)
    assert explanation_cache.peek(0, "true", "cam") is None
    first = explanation_cache.get(0, "true", "cam")
    assert explanation_cache.peek(0, "true", "cam") is first
    assert explanation_cache.get(0, "true", "cam") is first
    assert explanation_cache.peek(0, "predicted", "cam") is None
    explanation_cache.get(1, "true", "cam")
    explanation_cache.peek(0, "true", "cam")  # looked at again, so item 1 is the oldest
    explanation_cache.get(2, "true", "cam")
    assert explanation_cache.peek(1, "true", "cam") is None
    assert explanation_cache.peek(0, "true", "cam") is first
    explanation_cache.clear()
    assert explanation_cache.peek(0, "true", "cam") is None


def test_an_explanation_cache_keeps_the_latest_even_if_it_is_larger_than_its_memory():
    explanation_cache = ExplanationCache(nearest_classifier(), gray_dataset([0, 1], [0, 1]), max_bytes=1)
    for index in (0, 1):
        latest = explanation_cache.get(index, "true", "cam")
        assert explanation_cache.peek(index, "true", "cam") is latest
    assert explanation_cache.peek(0, "true", "cam") is None


class SomeBroken(ArrayDataset):
    """A dataset whose items with the label 1 cannot be read."""

    def read(self, index: int) -> np.ndarray:
        if self.labels[index] == 1:
            raise DataError(f"{self.keys[index]} is broken; restore or remove it.")
        return super().read(index)


def some_broken(truth: list[int]) -> SomeBroken:
    images = np.random.default_rng(0).integers(0, 255, (len(truth), 16, 16), dtype=np.uint8)
    return SomeBroken({"test": images}, {"test": truth}, ("a", "b", "c"))


@pytest.mark.parametrize("method", [None, "cam", "gradcam"])
@pytest.mark.parametrize("target", ["true", "predicted", "c"])
def test_the_maps_of_a_split_are_those_of_its_images(method, target):
    classifier, dataset = small_gap(), stripes({"train": 2, "test": 5})
    classifier = Classifier(classifier.module, ("across", "along", "c"), classifier.preprocessing, "features", "small-gap")
    dataset = ArrayDataset(
        {"test": np.stack([dataset.read(int(i)) for i in dataset.indices("test")])}, {"test": [0, 1] * 2 + [0]},
        classifier.class_names,
    )  # fmt: skip
    found = explain(classifier, dataset, method=method, target=target, batch_size=2)
    assert found.keys == list(dataset.keys)
    for n in range(5):
        one = explain_item(classifier, dataset, n, target=target, method=method or "cam")
        assert found.targets[n] == one.target
        np.testing.assert_allclose(found.maps[n], one.map, rtol=1e-4, atol=1e-6)
        assert found.maps[n].shape == (16, 16)


def test_broken_images_are_left_out_and_named():
    found = explain(small_gap(), some_broken([0, 1, 2, 1]), batch_size=3)
    assert found.keys == ["test/00000", "test/00002"]
    assert found.skipped == {
        "test/00001": "test/00001 is broken; restore or remove it.",
        "test/00003": "test/00003 is broken; restore or remove it.",
    }


def test_a_split_whose_images_are_all_broken_and_one_that_there_is_not_give_a_sentence():
    with pytest.raises(DataError, match=r"No image of the split test could be read: test/00000 is broken; restore"):
        explain(small_gap(), some_broken([1, 1]))
    with pytest.raises(DataError, match=r'no split "tset", only test; did you mean "test"'):
        explain(small_gap(), some_broken([0]), split="tset")
    with pytest.raises(ModelError, match="The model knows 2 classes"):
        explain(small_gap(("a", "b")), some_broken([0]))
    with pytest.raises(ConfigError, match="no class 'd'"):
        explain(small_gap(), some_broken([0]), target="d")


def test_explaining_reports_progress_and_stops_when_asked():
    seen: list[tuple[int, int]] = []
    dataset = some_broken([0, 2, 1, 0, 2, 0])
    explain(small_gap(), dataset, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    found = explain(small_gap(), dataset, batch_size=2, stop=stop_after(1))
    assert len(found.keys) == 4


def test_maps_are_saved_as_npz_and_as_tiff_files(tmp_path):
    found = explain(small_gap(), some_broken([0, 2, 0]))
    found.save_npz(tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["keys", "maps", "targets"]
        assert (file["maps"].dtype, file["maps"].shape) == (np.float32, (3, 16, 16))
        assert np.array_equal(file["maps"], np.stack(found.maps))
        assert file["keys"].tolist() == found.keys
        assert file["targets"].tolist() == found.targets
    with tiff_folder(tmp_path / "maps", found.keys) as add:
        for item in found.items:
            add(item)
    for key, signed in zip(found.keys, found.maps, strict=True):
        assert np.array_equal(tifffile.imread(tmp_path / "maps" / f"{key}.tif"), signed)


def test_maps_of_several_sizes_do_not_fit_one_array_but_a_folder(tmp_path):
    from PIL import Image

    for name, size in (("a", (16, 20)), ("b", (24, 16))):
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        Image.new("L", size).save(tmp_path / "data" / "test" / name / "0.png")
    found = explain(small_gap(("a", "b")), open_dataset(tmp_path / "data"))
    with pytest.raises(DataError, match=r"of different sizes, so their maps do not fit one array; write them into a folder"):
        found.save_npz(tmp_path / "maps.npz")
    assert not (tmp_path / "maps.npz").exists()
    with tiff_folder(tmp_path / "maps", found.keys) as add:
        for item in found.items:
            add(item)
    assert tifffile.imread(tmp_path / "maps" / "test/a/0.png.tif").shape == (20, 16)
    assert tifffile.imread(tmp_path / "maps" / "test/b/0.png.tif").shape == (16, 24)


def test_without_a_split_the_maps_of_all_images_are_made():
    images = np.zeros((2, 16, 16), np.uint8)
    dataset = ArrayDataset({"train": images, "test": images[:1]}, None, ("a", "b", "c"))
    assert explain(small_gap(), dataset, split=None).keys == ["train/00000", "train/00001", "test/00000"]
    assert explain(small_gap(), dataset).keys == ["test/00000"]
