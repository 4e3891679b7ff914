"""Names of mask files: whatever an image is called, its mask is written, found again, and nobody else's."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.data import open_dataset
from napari_cam_feedback.feedback import MaskStore, compare_masks, export_masks, find_masks, import_masks
from napari_cam_feedback.feedback.masks.index import INDEX_NAME
from napari_cam_feedback.feedback.masks.names import FileNames, named
from napari_cam_feedback.feedback.proposals.propagate import Proposal
from napari_cam_feedback.feedback.proposals.store import ProposalStore
from napari_cam_feedback.files import folded
from napari_cam_feedback.projects.copying import copy_project
from napari_cam_feedback.projects.versions import ProjectFolder

CAFE = tuple(unicodedata.normalize(form, "train/café/1.png") for form in ("NFC", "NFD"))
ODD = (
    "2024-05-01T10:20:31.png",
    "train/10:30/1.png",
    "train/a/b|c.png",
    'train/"x"/y?.png',
    "train/a<b>*.png",
    "train/con/1.png",
    "train/NUL.png",
    "aux",
    "train/dot./1.png",
    "train/space /1.png",
    "train/tab\there.png",
    "train/back\\slash.png",
    "C:/x.png",
    f"train/{'long' * 60}.png",
    f"{'deep/' * 60}1.png",
    f"train/{'日' * 80}.png",
    "_named/x.png",
    "_named/x-0123456789abcdef.png",
    "train/cat.png/1.png",
    "train/%3A/1%20.png",
)
ALIKE = ("train/Cat/1.png", "train/cat/1.png", "train/CAT/1.PNG", *CAFE, "straße.png", "STRASSE.png")
ENDINGS = ("0", "0.png", "0.jpg", "0.png.jpg", "0.png.png", "0.png.jpg.png", "0.tif")
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def mask_of(number: int) -> np.ndarray:
    mask = np.zeros((8, 16), bool)
    mask.flat[number] = True
    return mask


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


@pytest.mark.parametrize("keys", [ODD, (*ALIKE, *ENDINGS)], ids=["odd", "alike"])
def test_images_of_any_name_have_masks_of_their_own(tmp_path, keys):
    store = MaskStore(tmp_path / "masks")
    for number, key in enumerate(keys):
        store.put(key, mask_of(number), author=f"painter of {number}")
    for opened in (store, MaskStore(tmp_path / "masks")):
        assert sorted(opened[key].argmax() for key in keys) == list(range(len(keys)))
        assert all(np.array_equal(opened[key], mask_of(number)) for number, key in enumerate(keys))
        assert all(opened.info(key)["author"] == f"painter of {number}" for number, key in enumerate(keys))
        assert set(opened) >= {key for key in keys if key != "0"}
    # Taking one away takes no other.
    again = MaskStore(tmp_path / "masks")
    for number, key in enumerate(keys):
        again.remove(key)
        left = MaskStore(tmp_path / "masks")
        assert key not in left
        assert all(other in left for other in keys[number + 1 :])
    assert files(tmp_path / "masks") == []


def test_every_system_can_write_the_files_and_tells_them_apart(tmp_path):
    store = MaskStore(tmp_path / "masks")
    for number, key in enumerate((*ODD, *ALIKE, *ENDINGS)):
        store.put(key, mask_of(number))
    names = files(tmp_path / "masks")
    assert len({folded(name) for name in names}) == len(names) == len((*ODD, *ALIKE, *ENDINGS))
    for name in names:
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]', name)
        assert len(name) <= 160
        assert not any(part.endswith((".", " ")) or DEVICES.match(part) for part in name.split("/"))


def test_ordinary_names_are_as_they_always_were(tmp_path):
    for key in ("train/3/0001.png", "a b/ü日.jpg", "train/3/stack.tif/0012", "x/~a+b=c,d;e'f(g)[h]{i}&j%k@l!m#n$.png"):
        assert FileNames().choose(key) == f"{key}.png"


def test_a_mask_whose_name_says_no_key_says_it_itself_and_in_the_index(tmp_path):
    store = MaskStore(tmp_path)
    store.put(ODD[0], mask_of(1))
    (name,) = files(tmp_path)
    assert name == named(ODD[0])
    with Image.open(tmp_path / name) as image:
        assert image.info["key"] == ODD[0]
    assert json.loads((tmp_path / INDEX_NAME).read_text())["masks"][ODD[0]]["file"] == name
    (tmp_path / INDEX_NAME).unlink()
    assert list(MaskStore(tmp_path)) == [ODD[0]]


def test_a_file_that_says_another_key_than_its_name_is_made_from_is_not_believed(tmp_path):
    store = MaskStore(tmp_path / "masks")
    store.put("a:b.png", mask_of(1))
    (tmp_path / "masks" / named("a:b.png")).rename(tmp_path / "masks" / named("c:d.png"))
    found = MaskStore(tmp_path / "masks")
    assert "c:d.png" not in found
    assert "a:b.png" not in found


def test_the_index_leads_nowhere_out_of_the_folder(tmp_path):
    Image.fromarray(mask_of(1).astype(np.uint8) * 255).save(tmp_path / "outside.png")
    (tmp_path / "masks").mkdir()
    entry = {"size": [8, 16], "author": None, "time": "", "revision": "1", "file": "../outside.png"}
    store = MaskStore(tmp_path / "masks")
    (tmp_path / "masks" / INDEX_NAME).write_text(json.dumps({"schema": 1, "masks": {"../outside": entry, "x.png": entry}}))
    store.refresh()
    assert list(store) == list(MaskStore(tmp_path / "masks")) == []


def test_masks_that_older_versions_wrote_under_names_of_one_system_are_read_and_written_on(tmp_path):
    old = tmp_path / "masks/train/10:30/a?.png.png"
    old.parent.mkdir(parents=True)
    Image.fromarray(mask_of(1).astype(np.uint8) * 255).save(old)
    store = MaskStore(tmp_path / "masks")
    assert np.array_equal(store["train/10:30/a?.png"], mask_of(1))
    store.put("train/10:30/a?.png", mask_of(2))
    assert np.array_equal(MaskStore(tmp_path / "masks")["train/10:30/a?.png"], mask_of(2))
    assert len(files(tmp_path / "masks")) == 1


@pytest.mark.parametrize(("key", "turned"), [(CAFE[0], CAFE[1]), ("train/cat/2.png", "train/Cat/2.png")])
def test_a_disk_that_brings_a_name_into_another_form_costs_no_mask(tmp_path, key, turned):
    MaskStore(tmp_path).put(key, mask_of(1))
    (tmp_path / turned).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / f"{key}.png").rename(tmp_path / f"{turned}.png")
    assert list(MaskStore(tmp_path)) == [key]


def test_painting_one_image_leaves_the_known_mask_of_another_with_the_same_stem(tmp_path):
    known = tmp_path / "masks/0.png"
    known.parent.mkdir()
    Image.fromarray(mask_of(1).astype(np.uint8) * 255).save(known)
    store = MaskStore(tmp_path / "masks")
    store.put("0.jpg", mask_of(2))
    again = MaskStore(tmp_path / "masks")
    assert np.array_equal(again["0.jpg"], mask_of(2))
    assert np.array_equal(again["0.tif"], mask_of(1))
    assert list(again) == ["0.jpg"]
    again.remove("0.jpg")
    assert "0.jpg" not in MaskStore(tmp_path / "masks")
    # What was anybody's is kept.
    (folder,) = (tmp_path / "masks-replaced").iterdir()
    assert np.array_equal(MaskStore(folder)["0.jpg"], mask_of(1))


def dataset_of(folder: Path, keys: tuple[str, ...]) -> Path:
    rng = np.random.default_rng(0)
    for key in keys:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 16), dtype=np.uint8)).save(folder / key, format="PNG")
    return folder


IMAGES = (
    "train/a/0.png",
    "train/a/0.png.jpg",
    "train/10:30/2024-05-01T10:20:31.png",
    "train/Cat/1.png",
    "train/cat/1.png",
    f"train/a/{'x' * 200}.png",
)


@pytest.mark.parametrize("kind", ["png", "tiff", "npz", "coco"])
def test_masks_of_images_of_any_name_are_exported_and_imported_again(tmp_path, kind):
    dataset = open_dataset(dataset_of(tmp_path / "data", IMAGES))
    assert set(dataset.keys) == set(IMAGES)
    store = MaskStore(tmp_path / "masks")
    for number, key in enumerate(IMAGES):
        store.put(key, mask_of(number))
    out = tmp_path / ("out.npz" if kind == "npz" else "out.json" if kind == "coco" else "out")
    assert len(export_masks(store, out, kind)) == len(IMAGES)
    found = find_masks(out, dataset)
    assert not found.unmatched
    assert not found.refused
    back = MaskStore(tmp_path / "back")
    assert len(import_masks(found, back).written) == len(IMAGES)
    assert all(np.array_equal(back[key], mask_of(number)) for number, key in enumerate(IMAGES))
    assert sorted(compare_masks(store, back).equal) == sorted(IMAGES)


def test_known_masks_of_images_whose_names_differ_in_an_ending_are_told_apart(tmp_path):
    data = dataset_of(tmp_path / "data", ("train/a/0.png", "train/a/0.png.jpg", "train/a/1.png.jpg"))
    (data / "masks/train/a").mkdir(parents=True)
    for name, number in (("0.png.png", 1), ("1.png.png", 2)):
        Image.fromarray(mask_of(number).astype(np.uint8) * 255).save(data / "masks/train/a" / name)
    dataset = open_dataset(data)
    masks = {key: dataset.known_mask(dataset.index_of(key)) for key in dataset.keys}
    assert np.array_equal(masks["train/a/0.png"], mask_of(1))
    assert masks["train/a/0.png.jpg"] is None
    # Without an image called so, the name leaves out the image's ending.
    assert np.array_equal(masks["train/a/1.png.jpg"], mask_of(2))


def test_proposals_for_images_of_any_name_are_told_apart(tmp_path):
    keys = (*ODD, *ALIKE)
    store = ProposalStore(tmp_path / "proposals")
    store.add([Proposal(n, key, mask_of(n), "place", 0.5, "") for n, key in enumerate(keys)])
    masks = MaskStore(tmp_path / "masks")
    assert set(ProposalStore(tmp_path / "proposals").accept(keys, masks)) == set(keys)
    assert all(np.array_equal(masks[key], mask_of(n)) for n, key in enumerate(keys))


def test_a_copy_of_a_project_has_the_masks_of_all_names(tmp_path):
    from holders import new_project

    project = ProjectFolder(new_project(tmp_path / "project"))
    (tmp_path / "data").mkdir()
    store = MaskStore(project.folder / "masks")
    for number, key in enumerate((*ODD, *ALIKE)):
        store.put(key, mask_of(number))
    copied = MaskStore(copy_project(project, tmp_path / "copy") / "masks")
    assert all(np.array_equal(copied[key], mask_of(number)) for number, key in enumerate((*ODD, *ALIKE)))


@pytest.mark.parametrize("alike", [("Cat", "cat"), tuple(unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))])
def test_classes_that_are_spelt_alike_are_said_when_the_images_are_opened(tmp_path, alike):
    one, other = alike
    data = dataset_of(tmp_path / "data", (f"train/{one}/0.png", f"test/{other}/0.png", "train/dog/0.png", "test/dog/1.png"))
    dataset = open_dataset(data)
    assert len(dataset.class_names) == 3
    (said,) = [note for note in dataset.notes if "spelt alike" in note]
    assert one in said
    assert other in said
    assert "dog" not in said
