"""A dataset reads, and masks are written, only in the folder that the user named, also where links lead out of it."""

import os

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.data import open_dataset
from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.errors import DataError, MaskError, StorageError
from napari_cam_feedback.feedback import KnownMasks, MaskStore, choose_masks

pytestmark = pytest.mark.skipif(os.name == "nt", reason="making links needs special rights")

REMEDY = "copy the files in, or open the folder they are in."


def write(folder, *names, value=0, size=(5, 4)):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size, value, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    write(root, "train/cat/a.png", "train/dog/a.png", "test/cat/b.png", value=10)
    write(tmp_path, "elsewhere/cat/secret.png", "elsewhere/secret.png", value=77)
    return root


@pytest.fixture
def elsewhere(tmp_path):
    return tmp_path / "elsewhere"


def refused(call, *args, kind=DataError):
    with pytest.raises(kind) as error:
        call(*args)
    return str(error.value)


def link(place, target):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    return place


def test_an_image_that_is_a_link_out_of_the_folder_is_not_read(root, elsewhere):
    place = link(root / "train/cat/b.png", elsewhere / "secret.png")
    data = open_dataset(root)
    index = data.index_of("train/cat/b.png")
    sentence = f"{place} is a link to {elsewhere / 'secret.png'}, outside of {root}; {REMEDY}"
    assert refused(data.read, index) == sentence
    assert refused(data.image_size, index) == sentence
    assert data.read(0).max() == 10


def test_a_csv_reads_nothing_through_links_out_of_its_folder(root, elsewhere):
    place = link(root / "more", elsewhere)
    (root / "labels.csv").write_text("path,label\nmore/cat/secret.png,a\ntrain/cat/a.png,b\n")
    data = open_dataset(root / "labels.csv")
    sentence = f"{place} is a link to {elsewhere}, outside of {root}; {REMEDY}"
    assert refused(data.read, 0) == refused(data.image_size, 0) == sentence
    assert data.read(1).max() == 10
    # Once it is mended, it is read, without opening the dataset again.
    place.unlink()
    write(root, "more/cat/secret.png", value=5)
    assert data.read(0).max() == 5


@pytest.mark.parametrize("name", ["train/owl", "val"])
def test_a_class_or_split_folder_that_leads_out_is_refused_at_opening(root, elsewhere, name):
    place = link(root / name, elsewhere)
    assert refused(open_dataset, root) == f"{place} is a link to {elsewhere}, outside of {root}; {REMEDY}"


def test_class_folders_without_splits_are_refused_as_well(tmp_path, elsewhere):
    root = tmp_path / "plain"
    write(root, "cat/a.png")
    write(elsewhere, "b.png")
    place = link(root / "dog", elsewhere)
    assert refused(open_dataset, root) == f"{place} is a link to {elsewhere}, outside of {root}; {REMEDY}"


def test_folders_that_are_none_of_the_dataset_may_be_links(root, elsewhere):
    link(root / "figures", elsewhere)
    assert len(open_dataset(root)) == 3


def test_links_inside_of_the_folder_are_fine(root):
    write(root, "pool/c.png", value=30)
    link(root / "train/cat/c.png", root / "pool/c.png")
    link(root / "val", root / "test")
    link(root / "masks/train/cat", root / "pool")
    write(root, "pool/a.png", value=1)
    data = open_dataset(root)
    assert list(data.keys) == [
        "train/cat/a.png",
        "train/cat/c.png",
        "train/dog/a.png",
        "val/cat/b.png",
        "test/cat/b.png",
    ]
    assert data.read(1).max() == 30
    assert data.read(3).max() == 10
    assert data.known_mask(0).all()
    assert list(KnownMasks(data)) == ["train/cat/a.png", "train/cat/c.png"]


def test_the_folder_itself_may_be_a_link(root, tmp_path):
    write(root, "masks/train/cat/a.png", value=1)
    link(tmp_path / "short", root)
    data = open_dataset(tmp_path / "short")
    assert data.read(0).max() == 10
    assert data.known_mask(0).all()


def test_a_relative_path_is_fenced_as_well(root, elsewhere, monkeypatch):
    link(root / "more", elsewhere)
    (root / "labels.csv").write_text("path,label\ntrain/cat/a.png,a\nmore/secret.png,b\n")
    monkeypatch.chdir(root)
    data = open_dataset("labels.csv")
    assert data.read(0).max() == 10
    assert refused(data.read, 1) == f"more is a link to {elsewhere}, outside of .; {REMEDY}"
    monkeypatch.chdir(root.parent)
    assert open_dataset("data/train/..").read(0).max() == 10


def test_a_folder_whose_name_begins_alike_is_outside(root, tmp_path):
    write(tmp_path, "data-private/x.png")
    link(root / "train/cat/x.png", tmp_path / "data-private/x.png")
    data = open_dataset(root)
    assert "outside of" in refused(data.read, data.index_of("train/cat/x.png"))


def test_a_link_to_nothing_inside_is_a_missing_image(root):
    link(root / "train/cat/b.png", root / "nothing.png")
    (root / "labels.csv").write_text("path,label\ntrain/cat/b.png,a\n")
    data = open_dataset(root / "labels.csv")
    assert refused(data.read, 0) == (
        f"{root / 'train/cat/b.png'} is missing; put the image back or remove it from the dataset."
    )


@pytest.mark.parametrize("name", ["masks", "masks/train", "masks/train/cat", "masks/train/cat/a.png"])
def test_known_masks_are_not_read_through_links_out_of_the_folder(root, elsewhere, name):
    write(elsewhere, "train/cat/a.png", "cat/a.png", "a.png", value=1)
    target = elsewhere / "a.png" if name.endswith(".png") else elsewhere
    place = link(root / name, target)
    data = open_dataset(root)
    sentence = f"{place} is a link to {target}, outside of {root}; {REMEDY}"
    assert refused(data.known_mask, 0, kind=MaskError) == sentence
    assert refused(choose_masks, KnownMasks(data), data, kind=MaskError) == sentence


def test_folders_known_to_be_inside_are_asked_of_once(root, monkeypatch):
    write(root, *(f"train/cat/{i}.png" for i in range(20)))
    data = open_dataset(root)
    for index in range(len(data)):
        data.read(index)
    asked = []

    def realpath(path, original=os.path.realpath, **options):
        asked.append(path)
        return original(path, **options)

    monkeypatch.setattr(os.path, "realpath", realpath)
    for index in range(len(data)):
        data.read(index)
        data.image_size(index)
    assert asked == []


def test_a_fence_remembers_a_bounded_number_of_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(Fence, "_REMEMBERED", 5)
    fence = Fence(tmp_path)
    for n in range(20):
        assert fence.leak(tmp_path / str(n) / "a.png") is None
        assert len(fence._inside) <= 5


# Masks ----------------------------------------------------------------------------------------------------------------


def test_a_mask_is_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    place = link(tmp_path / "masks/train", tmp_path / "elsewhere")
    store, mask = MaskStore(tmp_path / "masks"), np.ones((3, 4), bool)
    sentence = f"{place} is a link to {tmp_path / 'elsewhere'}, outside of {tmp_path / 'masks'}; {REMEDY}"
    for key in ("train/a.png", "train/deeper/a.png"):
        assert refused(store.put, key, mask, kind=StorageError) == sentence
    assert list((tmp_path / "elsewhere").iterdir()) == []
    # The painting is not lost, and is written when the link is gone.
    assert store.unsaved == ("train/a.png", "train/deeper/a.png")
    place.unlink()
    store.retry()
    assert store.unsaved == ()
    assert MaskStore(tmp_path / "masks")["train/a.png"].all()


def test_a_mask_that_is_a_link_is_replaced_and_its_target_left_alone(tmp_path):
    write(tmp_path, "precious.png", value=9)
    before = (tmp_path / "precious.png").read_bytes()
    place = link(tmp_path / "masks/a.png.png", tmp_path / "precious.png")
    store = MaskStore(tmp_path / "masks")
    sentence = f"{place} is a link to {tmp_path / 'precious.png'}, outside of {tmp_path / 'masks'}; {REMEDY}"
    assert refused(store.__getitem__, "a.png", kind=MaskError) == sentence
    store.put("a.png", np.ones((3, 4), bool))
    assert not place.is_symlink()
    assert store["a.png"].all()
    store.remove("a.png")
    assert (tmp_path / "precious.png").read_bytes() == before


def test_removing_a_mask_removes_a_link_and_not_its_target(tmp_path):
    write(tmp_path, "precious.png", value=9)
    place = link(tmp_path / "masks/a.png.png", tmp_path / "precious.png")
    MaskStore(tmp_path / "masks").remove("a.png")
    assert not place.is_symlink()
    assert (tmp_path / "precious.png").exists()


def test_an_index_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "other.json").write_text('{"schema": 1, "masks": {}}')
    place = link(tmp_path / "masks/masks.json", tmp_path / "other.json")
    assert refused(MaskStore, tmp_path / "masks", kind=StorageError) == (
        f"{place} is a link to {tmp_path / 'other.json'}, outside of {tmp_path / 'masks'}; {REMEDY}"
    )


def test_a_folder_of_masks_may_itself_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    link(tmp_path / "masks", tmp_path / "disk")
    store = MaskStore(tmp_path / "masks")
    store.put("train/a.png", np.ones((3, 4), bool))
    assert store["train/a.png"].all()
    assert (tmp_path / "disk/train/a.png.png").exists()
