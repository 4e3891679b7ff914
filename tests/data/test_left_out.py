"""What was left out of a dataset, or assumed of it, is said when it is opened; splits mean what they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cam_feedback.data import ArrayDataset, open_dataset
from napari_cam_feedback.data.splits import is_test, split_name
from napari_cam_feedback.errors import DataError


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), 99, np.uint8)).save(path)


def images(root: Path, *folders: str, count: int = 3) -> None:
    for folder in folders:
        for n in range(count):
            image(root / folder / f"{n}.png")


def notes(root: Path) -> str:
    return " ".join(open_dataset(root).notes)


def test_nothing_is_said_of_data_of_which_all_is_read(tmp_path):
    images(tmp_path, "train/a", "train/b", "test/a", "test/b", "masks/train/a")
    (tmp_path / "train" / "a" / "notes.txt").write_text("x")
    (tmp_path / "train" / "a" / ".DS_Store").write_text("x")
    assert open_dataset(tmp_path).notes == ()


def test_a_class_called_masks_is_a_class_where_its_images_lie_in_no_folders(tmp_path):
    images(tmp_path, "masks", "nothing", "visor")
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("masks", "nothing", "visor")
    assert "The folder masks is taken for a class" in notes(tmp_path)
    assert not dataset.has_known_masks
    assert all(dataset.known_mask(i) is None for i in range(len(dataset)))


def test_known_masks_are_no_class(tmp_path):
    images(tmp_path, "a", "b", "masks/a", "masks/b")
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("a", "b")
    assert dataset.has_known_masks
    assert dataset.notes == ()


def test_classes_without_an_image_and_files_that_are_not_read_are_counted(tmp_path):
    images(tmp_path, "train/ant", "train/bee")
    (tmp_path / "train" / "cow").mkdir()
    (tmp_path / "train" / "dog").mkdir()
    for n in range(3):
        (tmp_path / "train" / "dog" / f"{n}.HEIC").write_bytes(b"x")
    for name in ("x.dcm", "y.czi", "IM0001"):
        (tmp_path / "train" / "ant" / name).write_bytes(b"x")
    said = notes(tmp_path)
    assert "No image that can be read is in cow (empty), dog (3 .heic), so they are no classes." in said
    assert "6 files are left out" in said
    assert "3 .heic" in said
    assert "1 .dcm" in said
    assert "1 without an ending" in said


def test_folders_that_hold_only_what_is_not_read_are_refused_with_the_reason(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").write_bytes(b"x")
    with pytest.raises(DataError, match=r"hold no images .* but 2 \.dcm, which is not read"):
        open_dataset(tmp_path)


def test_images_in_a_folder_for_each_patient_belong_to_the_outer_class_and_patients_are_not_torn_apart(tmp_path):
    images(tmp_path, *(f"{c}/patient{n}" for c in ("ill", "well") for n in range(8)))
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("ill", "well")
    assert "the outer ones are taken for the classes (ill, well)" in notes(tmp_path)
    splits: dict[str, set[str]] = {}
    for index in range(len(dataset)):
        item = dataset.item(index)
        splits.setdefault(item.key.rpartition("/")[0], set()).add(item.split)
    assert all(len(found) == 1 for found in splits.values())
    assert set(dataset.split_names) == {"train", "val", "test"}


def test_the_folder_above_a_dataset_is_named(tmp_path):
    images(tmp_path, "data/a", "data/b")
    with pytest.raises(DataError, match="one folder only, which may be the dataset itself; open "):
        open_dataset(tmp_path)


def test_folders_and_images_beside_the_splits_are_told_of(tmp_path):
    images(tmp_path, "train/a", "train/b", "external/a", "external/unknown", count=2)
    image(tmp_path / "train" / "stray.png")
    image(tmp_path / "stray.png")
    said = notes(tmp_path)
    assert "The folder external is left out, since it is not named as a split and unknown in it is no class." in said
    assert "1 image is beside the class folders of train, without a class, and left out (such as stray.png)." in said
    assert "beside the folders of the splits" in said


def test_an_image_that_is_a_link_to_nothing_is_not_dropped(tmp_path):
    images(tmp_path, "a", "b")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "a" / "nowhere.png")
    dataset = open_dataset(tmp_path)
    assert "a/gone.png" in dataset.keys
    with pytest.raises(DataError, match="missing"):
        dataset.read(dataset.index_of("a/gone.png"))


@pytest.mark.parametrize(("channels", "said"), [(2, "the first channel is read"), (4, "the first 3 channels are read")])
def test_channels_of_a_tiff_that_are_not_read_are_told_of(channels, said, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pixels = np.zeros((8, 8, channels), np.uint8)
        tifffile.imwrite(tmp_path / name / "1.tif", pixels, photometric="minisblack", planarconfig="contig")
    assert said in notes(tmp_path)
    (tmp_path / "list.csv").write_text("path,label\na/1.tif,a\nb/1.tif,b\n")
    assert said in notes(tmp_path / "list.csv")


def test_an_alpha_channel_is_none_of_them(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tifffile.imwrite(
            tmp_path / name / "1.tif", np.zeros((8, 8, 4), np.uint8), photometric="rgb", extrasamples=["unassalpha"]
        )
    assert notes(tmp_path) == ""


# Splits ---------------------------------------------------------------------------------------------

TESTS = (
    *("test", "Test", "TEST", "testing", "test-clean", "Test_2", "external_test", "externalTest", "testset", "tst"),
    *("holdout", "Hold-Out", "held_out", "evaluation"),
)
OTHERS = ("train", "Training", "val", "VALID", "dev", "contest", "latest", "clean", "extra")


@pytest.mark.parametrize("name", TESTS)
def test_a_split_for_testing_is_known_however_it_is_written(name):
    assert is_test(name)


@pytest.mark.parametrize("name", OTHERS)
def test_other_splits_are_not(name):
    assert not is_test(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Train", "train"),
        (" TRAINING", "train"),
        ("Validation", "val"),
        ("valid", "val"),
        ("dev", "val"),
        ("Testing", "test"),
        ("test-clean", "test-clean"),
        ("fold1", "fold1"),
    ],
)
def test_the_usual_names_mean_what_they_say(name, meant):
    assert split_name(name) == meant


def csv_of(root: Path, test: str, column: str = "split") -> Path:
    lines = [f"path,label,{column}"]
    for split, count in (("Train", 4), ("Dev", 2), (test, 2)):
        for n in range(count):
            image(root / f"{split}{n}.png")
            lines.append(f"{split}{n}.png,{'ab'[n % 2]},{split}")
    (root / "list.csv").write_text("\n".join(lines))
    return root / "list.csv"


@pytest.mark.parametrize("name", TESTS)
def test_nothing_is_learnt_from_a_test_image_of_a_table(name, tmp_path):
    dataset = open_dataset(csv_of(tmp_path, name))
    assert {"train", "val"} <= set(dataset.split_names)
    assert not any(dataset.keys[i].startswith(name) for i in dataset.learnable().tolist())
    assert not any(dataset.item(i).learnable for i in range(len(dataset)) if dataset.keys[i].startswith(name))
    assert len(dataset.learnable()) == 6
    assert len(dataset.indices(name)) == 2


def test_a_column_of_splits_by_another_name_is_taken_and_told_of(tmp_path):
    dataset = open_dataset(csv_of(tmp_path, "test", column="subset"))
    assert dataset.split_names == ("train", "val", "test")
    assert not dataset.made_split
    assert 'The column "subset" of list.csv is taken for the splits.' in dataset.notes


def test_a_column_that_says_something_else_is_none_of_splits(tmp_path):
    path = csv_of(tmp_path, "test", column="set")
    path.write_text(path.read_text().replace(",Train", ",7"))
    assert open_dataset(path).made_split


def test_folders_and_arrays_are_split_alike(tmp_path):
    images(tmp_path, "Train/a", "Train/b", "dev/a", "TEST/a", "Test-clean/a", "holdout/b")
    dataset = open_dataset(tmp_path)
    assert dataset.split_names == ("train", "val", "test", "Test-clean", "holdout")
    assert {dataset.item(i).split for i in dataset.learnable().tolist()} == {"train", "val"}
    pictures = np.zeros((2, 4, 4), np.uint8)
    arrays = ArrayDataset({"Train": pictures, "Test": pictures}, {"Train": [0, 1], "Test": [0, 1]}, ("a", "b"))
    assert arrays.split_names == ("train", "test")
    assert arrays.keys[0] == "Train/00000"  # as masks that were painted before are called
    assert arrays.read(3).shape == (4, 4)
    with pytest.raises(DataError, match=r'"test" and "Test" are the same'):
        ArrayDataset({"test": pictures, "Test": pictures}, None, ("a", "b"))


def listed(folder, rows: str, header: str = "path,label,split,Patient ID") -> str:
    images(folder, "x", count=9)
    (folder / "list.csv").write_text(f"{header}\n{rows}")
    return notes(folder / "list.csv")


def test_images_of_one_patient_in_train_and_in_test_are_told_of(tmp_path):
    images(tmp_path / "apart", *(f"train/{c}/p{n}" for c in "ab" for n in range(3)), *(f"test/{c}/p7{c}" for c in "ab"))
    assert "patient" not in notes(tmp_path / "apart")
    # Also where they are of another class there.
    images(
        tmp_path / "mixed", "train/a/p1", "train/a/p2", "train/b/p3", "train/b/p4", "test/a/p3", "test/b/p9", "Valid/b/p1"
    )
    said = notes(tmp_path / "mixed")
    assert "Images of one folder within a class, such as p1, are in train and in test (1) and in val (1) too" in said
    # A folder that each class has one of, as in Tiny ImageNet, is no patient.
    images(tmp_path / "tiny", *(f"{split}/{c}/images" for split in ("train", "test") for c in "ab"))
    assert "patient" not in notes(tmp_path / "tiny")
    rows = "x/0.png,a,Train,7\nx/1.png,b,train,8\nx/2.png,a,holdout,7\nx/3.png,b,test,\nx/4.png,b,train,\n"
    said = listed(tmp_path, rows)
    assert "Images of one patient id (a column of list.csv), such as 7, are in train and in holdout (1) too" in said


@pytest.mark.parametrize("column", ["patient", "Subject-ID", "lesion_id", "CaseNumber"])
def test_a_split_that_is_made_keeps_the_images_of_a_patient_together_whatever_their_classes(tmp_path, column):
    images(tmp_path, "x", count=60)
    rows = "".join(f"x/{n}.png,{'ab'[n % 2]},{n // 5}\n" for n in range(60))
    (tmp_path / "list.csv").write_text(f"path,label,{column}\n{rows}")
    dataset = open_dataset(tmp_path / "list.csv")
    splits = [dataset.splits[n * 5 : n * 5 + 5].tolist() for n in range(12)]
    assert all(len(set(found)) == 1 for found in splits)
    assert set(dataset.split_names) == {"train", "val", "test"}
    assert f"keeps images together that have the same {column.lower()}" in notes(tmp_path / "list.csv")
    images(tmp_path / "folders", *(f"{c}/p{n}" for c in "ab" for n in range(9)))
    dataset = open_dataset(tmp_path / "folders")
    of = {}
    for key, split in zip(dataset.keys, dataset.splits.tolist(), strict=True):
        of.setdefault(key.split("/")[1], set()).add(split)
    assert all(len(found) == 1 for found in of.values())


def test_a_link_in_a_circle_is_one_image_that_cannot_be_read_and_no_more(tmp_path):
    images(tmp_path, "train/a", "train/b")
    for name in ("train/a/loop.png", "train/a/loop.txt", "train/loop", "loop"):
        (tmp_path / name).symlink_to((tmp_path / name).name)
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 7
    with pytest.raises(DataError, match=r"missing|links"):
        dataset.read(dataset.index_of("train/a/loop.png"))
