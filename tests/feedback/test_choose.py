"""Choosing some of many masks, and the expert simulated by masks that came with the dataset."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from core_builders import stripes
from napari_cam_feedback.data import ArrayDataset, open_dataset
from napari_cam_feedback.data.pixels import images as image_files
from napari_cam_feedback.errors import MaskError
from napari_cam_feedback.feedback import KnownMasks, choose_masks, known_masks


@pytest.fixture
def dataset() -> ArrayDataset:
    """Six images of class a, four of b and two of c; the first of a and of b have no masked pixel."""
    masks = np.zeros((12, 4, 4), bool)
    masks[:, 0, 0] = True
    masks[[0, 6]] = False
    labels = [0] * 6 + [1] * 4 + [2] * 2
    return ArrayDataset({"train": np.zeros((12, 4, 4), np.uint8)}, {"train": labels}, ("a", "b", "c"), {"train": masks})


def classes(dataset: ArrayDataset, keys: object) -> list[int]:
    return sorted(int(dataset.labels[dataset.index_of(key)]) for key in keys)


def test_a_simulated_expert_paints_the_classes_in_turn(dataset):
    found = known_masks(dataset, 6)
    assert classes(dataset, found) == [0, 0, 1, 1, 2, 2]
    assert all(np.array_equal(mask, dataset.known_mask(dataset.index_of(key))) for key, mask in found.items())


def test_which_masks_are_taken_depends_on_the_seed_alone(dataset):
    assert list(known_masks(dataset, 6)) == list(known_masks(dataset, 6))
    assert any(list(known_masks(dataset, 3)) != list(known_masks(dataset, 3, seed=seed)) for seed in (1, 2, 3))


def test_no_more_masks_come_than_there_are_and_none_that_is_empty(dataset):
    assert len(known_masks(dataset)) == len(known_masks(dataset, 99)) == 10
    assert all(mask.any() for mask in known_masks(dataset).values())
    masks = {"train/00001": np.zeros((4, 4), bool), "train/00002": np.ones((4, 4), bool), "elsewhere": np.ones((4, 4), bool)}
    assert list(choose_masks(masks, dataset)) == ["train/00002"]


def test_masks_are_chosen_among_the_items_named(dataset):
    found = choose_masks(KnownMasks(dataset), dataset, 4, indices=np.array([3, 4, 5, 11]))
    assert set(found) == {"train/00003", "train/00004", "train/00005", "train/00011"}


def test_a_split_without_known_masks_gives_a_sentence():
    bare = ArrayDataset({"train": np.zeros((2, 4, 4), np.uint8)}, {"train": [0, 1]}, ("a", "b"))
    with pytest.raises(MaskError, match=r"The split train has no masks known beforehand; paint some in napari and name"):
        known_masks(bare)
    assert all(key.startswith("val/") for key in known_masks(stripes(), 3, split="val"))


def test_known_masks_are_a_mapping_of_what_the_dataset_brought_along():
    images = np.zeros((3, 4, 4), np.uint8)
    masks = np.zeros((3, 4, 4), bool)
    masks[1, 0, 0] = True
    dataset = ArrayDataset({"train": images}, {"train": [0, 1, 0]}, ("a", "b"), {"train": masks})
    known = KnownMasks(dataset)
    assert list(known) == ["train/00001"]
    assert len(known) == 1
    assert np.array_equal(known["train/00001"], masks[1])
    assert "train/00000" not in known
    assert "no such image" not in known
    assert known.get("no such image") is None
    with pytest.raises(KeyError):
        known["train/00000"]


@pytest.fixture
def on_disk(tmp_path):
    """Three classes of 20 images each; of all but the first of each class there is a known mask."""
    for name in "abc":
        for n in range(20):
            for path in (tmp_path / f"train/{name}/{n:02d}.png", tmp_path / f"masks/train/{name}/{n:02d}.png"):
                if n or "masks" not in path.parts:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(path)
    return open_dataset(tmp_path)


@pytest.fixture
def decoded(monkeypatch):
    """The masks that were decoded."""
    paths = []

    def read_mask(path, *args, original=image_files.read_mask):
        paths.append(path)
        return original(path, *args)

    monkeypatch.setattr(image_files, "read_mask", read_mask)
    return paths


def test_no_more_masks_are_decoded_than_are_taken(on_disk, decoded):
    found = known_masks(on_disk, 6)
    assert classes(on_disk, found) == [0, 0, 1, 1, 2, 2]
    assert len(decoded) == 6
    assert len(known_masks(on_disk)) == 57
    assert len(decoded) == 6 + 57


def test_the_same_masks_are_taken_as_if_all_had_been_decoded(on_disk):
    everything = {key: np.ones((4, 4), bool) for key in KnownMasks(on_disk)}
    assert len(everything) == 57
    for count in (1, 7, None):
        lazily = choose_masks(KnownMasks(on_disk), on_disk, count, seed=5)
        assert list(lazily) == list(choose_masks(everything, on_disk, count, seed=5))


def test_an_empty_mask_does_not_cost_its_class_a_turn(on_disk):
    empty = on_disk.root / "masks/train/a"
    for n in range(1, 18):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(empty / f"{n:02d}.png")
    assert classes(on_disk, known_masks(on_disk, 6)) == [0, 0, 1, 1, 2, 2]


def test_which_images_may_have_a_mask_is_told_by_the_files_names(on_disk):
    assert on_disk.may_have_mask().tolist() == ([False] + [True] * 19) * 3
    Image.fromarray(np.ones((4, 4), np.uint8)).save(on_disk.root / "masks/train/b/00.png.png")
    assert on_disk.may_have_mask()[20]
