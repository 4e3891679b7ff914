"""Folders, CSV files and arrays open as the same kind of dataset, and bad ones are explained in one sentence."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from core_builders import sentence_of
from napari_cam_feedback.data import FolderDataset, open_dataset
from napari_cam_feedback.data.dataset import Item
from napari_cam_feedback.data.keys import Keys
from napari_cam_feedback.data.splits import stratified_splits
from napari_cam_feedback.errors import MaskError


def write(folder, *names, value=0, size=(5, 4)):
    """Write a gray image of (height, width) `size` under each name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size, value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train/cat/b.png", "train/cat/a.jpg", "train/dog/a.png", value=10)
    write(tmp_path, "test/dog/z.tif", "test/owl/a.bmp", value=20)
    write(tmp_path, "val/cat/c.png", value=30)
    write(tmp_path, "test-clean/dog/z.png", value=40)
    return tmp_path


def test_a_folder_with_splits(folder):
    data = open_dataset(folder)
    assert isinstance(data, FolderDataset)
    assert list(data.keys) == [
        "train/cat/a.jpg",
        "train/cat/b.png",
        "train/dog/a.png",
        "val/cat/c.png",
        "test/dog/z.tif",
        "test/owl/a.bmp",
        "test-clean/dog/z.png",
    ]
    assert data.class_names == ("cat", "dog", "owl")  # the union: train has no owl
    assert data.labels.tolist() == [0, 0, 1, 0, 1, 2, 1]
    assert data.split_names == ("train", "val", "test", "test-clean")
    assert data.splits.tolist() == ["train"] * 3 + ["val"] + ["test"] * 2 + ["test-clean"]
    assert data.indices("test").tolist() == [4, 5]
    assert data.indices("test").dtype == np.int64
    assert data.indices().tolist() == list(range(7)) == list(range(len(data)))
    assert data.item(5) == Item(5, "test/owl/a.bmp", 2, "test")
    assert data.index_of("test-clean/dog/z.png") == 6
    assert not data.made_split
    assert data.source == folder
    assert data.read(4).tolist() == [[20] * 4] * 5
    assert data.image_size(4) == (5, 4)
    assert "3 train, 1 val, 2 test, 1 test-clean; 3 classes" in repr(data)


def test_what_is_no_image_of_the_dataset_is_left_out(folder):
    before = list(open_dataset(folder).keys)
    write(folder, ".hidden/cat/a.png", "train/.cache/a.png", "train/cat/.a.png", "masks/train/cat/a.png", "stray.png")
    write(folder, "train/montage.png", "figures/paper/1.png", "copy/train/cat/a.png", "__MACOSX/cat/a.png")
    for name in ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", ".ipynb_checkpoints"):
        write(folder, f"train/{name}/a.png", f"train/cat/{name}/a.png/THUMB_M.jpg")
    (folder / "train/cat/notes.txt").write_text("x")
    (folder / "train/cat/Thumbs.db").write_text("x")
    (folder / "train/nothing").mkdir()
    (folder / "train/cat/album.png").mkdir()
    assert list(open_dataset(folder).keys) == before


def test_images_deeper_in_a_class_folder_belong_to_the_class(folder):
    write(folder, "train/cat/patient 7/scan/1.png")
    data = open_dataset(folder)
    assert data.item(data.index_of("train/cat/patient 7/scan/1.png")).label == 0


def test_other_common_names_of_splits(tmp_path):
    write(tmp_path, "Training/a/1.png", "validation/a/1.png", "Testing/b/1.png")
    data = open_dataset(tmp_path)
    assert data.split_names == ("train", "val", "test")
    assert list(data.keys) == ["Training/a/1.png", "validation/a/1.png", "Testing/b/1.png"]


def test_a_class_may_be_called_train(tmp_path):
    write(tmp_path, *(f"{vehicle}/{i}.png" for vehicle in ("bus", "train") for i in range(4)))
    data = open_dataset(tmp_path)
    assert data.class_names == ("bus", "train")
    assert data.made_split


def test_a_test_folder_without_classes_has_no_labels(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png", "test/2.png")
    data = open_dataset(tmp_path)
    assert data.labels.tolist() == [0, 1, -1, -1]
    assert data.item(3) == Item(3, "test/2.png", None, "test")


def test_class_folders_without_splits_get_a_seeded_stratified_split(tmp_path):
    write(tmp_path, *(f"{name}/{i:02d}.png" for name in "ab" for i in range(20)))
    data = open_dataset(tmp_path)
    assert data.made_split
    assert data.keys[0] == "a/00.png"
    for label in (0, 1):
        counts = {split: int((data.labels[data.indices(split)] == label).sum()) for split in data.split_names}
        assert counts == {"train": 14, "val": 3, "test": 3}
    assert open_dataset(tmp_path).splits.tolist() == data.splits.tolist()
    assert open_dataset(tmp_path, seed=1).splits.tolist() != data.splits.tolist()


def test_the_split_is_the_same_on_every_machine():
    # The second letters: (t)r(ain), (v)a(l), (t)e(st).
    assert "".join(s[1] for s in stratified_splits(np.array([0] * 10 + [1] * 3 + [2] * 2 + [3]), seed=0)) == (
        "rerarrrraeraeerr"
    )


def test_even_small_classes_are_spread_over_the_splits():
    labels = np.array([0, 0, 0, 1, 1, 2, -1, -1, -1])
    splits = stratified_splits(labels)
    assert sorted(splits[:3]) == ["test", "train", "val"]
    assert sorted(splits[3:5]) == ["test", "train"]
    assert splits[5] == "train"
    assert sorted(splits[6:]) == ["test", "train", "val"]


def test_one_growing_class_leaves_the_split_of_the_others():
    labels = np.repeat([0, 1], 20)
    assert stratified_splits(labels)[20:].tolist() == stratified_splits(np.append(np.repeat(0, 7), labels))[27:].tolist()


def test_class_names_can_be_given_in_the_models_order(folder):
    data = open_dataset(folder, class_names=("owl", "fox", "dog", "cat"))
    assert data.class_names == ("owl", "fox", "dog", "cat")
    assert data.labels.tolist() == [3, 3, 2, 3, 2, 0, 2]
    text = sentence_of(open_dataset, folder, class_names=("cat", "dog"))
    assert 'has the class "owl", which is no class of the model (cat, dog)' in text
    assert "given twice" in sentence_of(open_dataset, folder, class_names=("cat", "dog", "owl", "cat"))


def test_folders_named_by_numbers_are_indices_into_the_names_of_a_model(tmp_path):
    write(tmp_path, "train/0/a.png", "train/02/a.png", "test/1/a.png")
    data = open_dataset(tmp_path, class_names=("cat", "dog", "owl"))
    assert data.class_names == ("cat", "dog", "owl")
    assert data.labels.tolist() == [0, 2, 1]
    # Where the model's classes are numbers themselves, or none are given, folders are what they are called.
    assert open_dataset(tmp_path, class_names=("02", "1", "0")).labels.tolist() == [2, 0, 1]
    assert open_dataset(tmp_path).class_names == ("0", "02", "1")
    text = sentence_of(open_dataset, tmp_path, class_names=("cat", "dog"))
    assert text == (
        f"{tmp_path} has the class number 02, but the model is for 2 classes (cat, dog), numbered 0 to 1; choose the model "
        "that was trained for this dataset, or correct the data or the names."
    )
    write(tmp_path, "train/fox/a.png")
    assert 'has the class "0", which is no class of the model' in sentence_of(
        open_dataset, tmp_path, class_names=("cat", "dog", "owl")
    )


def test_known_masks_lie_beside_the_splits(folder):
    assert not open_dataset(folder).has_known_masks
    assert open_dataset(folder).known_mask(0) is None
    mask = np.zeros((5, 4), np.uint8)
    mask[1, 2] = 255
    for name in ("train/cat/a.png", "train/cat/b.png.png", "train/dog/a.tif"):
        (folder / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / "masks" / name)
    Image.fromarray(mask * 0).save(folder / "masks/train/dog/b.png")
    data = open_dataset(folder)
    assert data.has_known_masks
    for index in (0, 1, 2):
        np.testing.assert_array_equal(data.known_mask(index), mask > 0)
    assert data.known_mask(3) is None


def test_a_mask_of_another_size_is_told_apart_from_a_missing_one(folder):
    write(folder, "masks/train/cat/a.png", size=(6, 6), value=255)
    text = sentence_of(open_dataset(folder).known_mask, 0, kind=MaskError)
    assert "is 6x6 pixels but its image 4x5; make it the same size or remove it." in text


def test_a_folder_that_is_no_dataset_says_what_to_do(tmp_path):
    text = sentence_of(open_dataset, tmp_path / "none")
    assert text == f"{tmp_path / 'none'} does not exist; check the path."
    text = sentence_of(open_dataset, tmp_path)
    assert text.endswith("has no class folders; put the images of each class into a folder named after the class.")
    write(tmp_path, "a.png")
    assert "has no class folders" in sentence_of(open_dataset, tmp_path)
    (tmp_path / "cat").mkdir()
    assert "hold no images" in sentence_of(open_dataset, tmp_path)
    (tmp_path / "train/cat").mkdir(parents=True)
    assert "hold no images" in sentence_of(open_dataset, tmp_path)
    (tmp_path / "x.docx").write_text("x")
    assert "choose a folder, a .csv file or an .npz file" in sentence_of(open_dataset, tmp_path / "x.docx")
    assert "is a file, not a folder" in sentence_of(FolderDataset, tmp_path / "x.docx")


def test_the_folder_above_a_dataset_points_to_it(tmp_path):
    write(tmp_path, "data/train/a/1.png", "data/test/a/1.png")
    text = sentence_of(open_dataset, tmp_path)
    assert text == f"{tmp_path} is the folder above a dataset; open {tmp_path / 'data'} instead."


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the file system takes only valid text")
def test_a_file_name_that_is_no_text_is_named(tmp_path):
    write(tmp_path, "a/1.png")
    os.rename(os.fsencode(tmp_path / "a/1.png"), os.fsencode(tmp_path / "a") + b"/\xff.png")  # noqa: PTH104
    assert "is not valid text; rename the file." in sentence_of(open_dataset, tmp_path)


def test_a_missing_split_or_image_is_named_with_what_there_is(folder):
    data = open_dataset(folder)
    assert sentence_of(data.indices, "tset") == (
        'There is no split "tset", only train, val, test, test-clean; did you mean "test"?'
    )
    assert sentence_of(data.indices, "x").endswith("choose one of these.")
    assert 'There is no image "cat/a.jpg"' in sentence_of(data.index_of, "cat/a.jpg")
    (folder / "val/cat/c.png").unlink()
    assert str(folder / "val/cat/c.png") in sentence_of(data.read, 3)


def test_labels_and_splits_cannot_be_changed_by_accident(folder):
    data = open_dataset(folder)
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 1


# Keys and cost ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=[65_536, 2, 1])
def block(request, monkeypatch):
    """Keys are packed in blocks; of whatever size, they are the same."""
    monkeypatch.setattr("napari_cam_feedback.data.keys._BLOCK", request.param)


@pytest.mark.usefixtures("block")
def test_keys_are_a_sequence():
    names = ["b/1.png", "a/ü.png", "", "c"]
    keys = Keys(names)
    assert list(keys) == names
    assert len(keys) == 4
    assert keys[-1] == "c"
    assert keys[1:3] == names[1:3]
    assert [keys.find(name) for name in names] == [0, 1, 2, 3]
    assert keys.ranks.tolist() == [2, 1, 0, 3]
    assert list(Keys([])) == []
    assert Keys([]).find("a") is None
    assert keys.find("d") is None
    assert "a/ü.png" in keys
    assert "d" not in keys
    assert keys.index("c") == 3
    with pytest.raises(ValueError, match="not among"):
        keys.index("c", 0, 3)
    with pytest.raises(IndexError):
        keys[4]


@pytest.mark.usefixtures("block")
def test_keys_are_searched_whatever_the_case():
    keys = Keys(["Cat/1.png", "dog/1.PNG", "ÜBER/cat", "", "c", "at"])
    assert keys.containing("CAT").tolist() == [True, False, True, False, False, False]  # not over two keys: c, at
    assert keys.containing("über").tolist() == [False, False, True, False, False, False]
    assert keys.containing(".png").tolist() == [True, True, False, False, False, False]
    assert keys.containing("").all()


@pytest.mark.usefixtures("block")
def test_the_first_key_that_is_repeated_is_found(monkeypatch):
    assert Keys(["a", "b", "c"]).first_repeated() is None
    assert Keys(["a", "b", "c", "b", "a", "b"]).first_repeated() == 3
    # Also among keys of the same hash.
    monkeypatch.setattr("napari_cam_feedback.data.keys.hash", lambda key: 0, raising=False)
    assert Keys(["a", "b", "c"]).first_repeated() is None
    assert Keys(["a", "b", "c", "b", "a"]).first_repeated() == 3
    assert Keys(["a", "b", "c"]).find("c") == 2


@pytest.mark.usefixtures("block")
def test_a_key_that_is_no_text_is_named_by_the_error():
    with pytest.raises(UnicodeEncodeError) as error:
        Keys(["a", "b\udcff", "c"])
    assert error.value.object == "b\udcff"
    with pytest.raises(ValueError, match="NUL"):
        Keys(["a\0b"])


def test_many_keys_take_little_more_than_their_text():
    import tracemalloc

    tracemalloc.start()
    keys = Keys(f"train/{i % 10}/{i:06d}.png" for i in range(50_000))
    assert keys.find("train/9/049999.png") == 49_999
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 50_000 * (18 + 32)


def test_opening_a_folder_reads_no_image(folder, monkeypatch):
    def fail(*args, **options):
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Image, "open", fail)
    assert len(open_dataset(folder)) == 7


def test_listing_data_needs_no_torch():
    code = (
        "import sys, napari_cam_feedback.data as d; d.SAMPLES, d.open_dataset;"
        "assert 'torch' not in sys.modules; d.Preprocessing; assert 'torch' in sys.modules; assert 'InputCache' in dir(d)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
