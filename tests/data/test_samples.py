"""The samples hide the shortcut that they promise, know where it is, and are the same on disk as in memory."""

import json

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.data import SAMPLES, make_sample, open_dataset, sample_data_dir, write_sample
from napari_cam_feedback.data.samples import clothes, crosses, symbols, tag_digits
from napari_cam_feedback.errors import DataError, StorageError
from napari_cam_feedback.evaluation import evaluate
from napari_cam_feedback.models import load_classifier
from sample_builders import SPLITS, images_of, made, masks_of


@pytest.fixture(params=list(SAMPLES))
def sample(request):
    return request.param, made(request.param)


def test_every_sample_says_what_it_is():
    assert list(SAMPLES) == ["tag-digits", "symbols", "baggage", "crosses", "clothes"]
    for name, info in SAMPLES.items():
        assert info.name == name
        assert info.title
        assert info.description.endswith(".")


def test_there_are_four_splits_with_every_class_in_balance(sample):
    _, data = sample
    assert data.split_names == SPLITS
    for split in SPLITS:
        counts = np.bincount(data.labels[data.indices(split)], minlength=len(data.class_names))
        assert counts.max() - counts.min() <= 0.15 * counts.mean()


def test_a_seed_gives_the_same_images_and_another_one_others(sample):
    name, data = sample
    again, other = make_sample(name), make_sample(name, seed=1)
    assert list(again.keys) == list(data.keys)
    for i in range(0, len(data), 3):
        np.testing.assert_array_equal(again.read(i), data.read(i))
    assert (other.read(0) != data.read(0)).any()


def test_the_shortcut_is_inside_the_known_mask_and_nowhere_else(sample):
    _, data = sample
    test, clean, masks = images_of(data, "test"), images_of(data, "test-clean"), masks_of(data, "test")
    assert (data.labels[data.indices("test")] == data.labels[data.indices("test-clean")]).all()
    assert all(data.known_mask(i) is None for i in data.indices("test-clean"))
    if data.class_names in (tag_digits.CLASSES, crosses.CLASSES, clothes.CLASSES):  # the same pixels but for the mark
        np.testing.assert_array_equal(test[~masks], clean[~masks])
    change = np.abs(test.astype(np.float32) - clean)
    if change.ndim == 4:
        change = change.max(-1)
    differs = change.mean(0) > 30  # above the noise
    assert (differs <= masks.any(0)).all()
    assert (change[masks] > 60).mean() > 0.02


def test_the_written_folder_is_the_same_dataset(sample, tmp_path):
    name, data = sample
    folder = write_sample(name, tmp_path / "out" / "data")
    assert folder == tmp_path / "out" / "data"
    opened = open_dataset(folder)
    assert list(opened.keys) == list(data.keys)
    assert opened.class_names == data.class_names
    np.testing.assert_array_equal(opened.labels, data.labels)
    np.testing.assert_array_equal(opened.splits, data.splits)
    for i in range(0, len(data), 7):
        np.testing.assert_array_equal(opened.read(i), data.read(i))
        ours, theirs = data.known_mask(i), opened.known_mask(i)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)
    assert [path.name for path in folder.parent.iterdir()] == ["data"]  # nothing temporary is left
    with Image.open(folder / data.keys[0]) as image:
        assert image.mode == ("RGB" if name == "clothes" else "L")


def test_what_is_shipped_leaves_the_wheel_under_ten_megabytes():
    assert sum(path.stat().st_size for path in sample_data_dir().rglob("*") if path.is_file()) < 8.5e6


@pytest.mark.parametrize("name", list(SAMPLES))
def test_a_model_is_shipped_for_every_sample(name):
    classifier = load_classifier(sample_data_dir() / name / "model.safetensors")
    data = made(name)
    assert classifier.class_names == data.class_names
    # It has learnt the sample as it is: nearly always right where the shortcut tells the class.
    assert evaluate(classifier, data, splits=["val"]).splits["val"].accuracy > 0.9


# Writing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    """Make the samples small and quick."""
    monkeypatch.setattr(symbols, "COUNTS", {"train": 6, "val": 3, "test": 3})


def test_writing_again_leaves_the_folder_as_it_is(tiny, tmp_path):
    folder = write_sample("symbols", tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_sample("symbols", folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert json.loads((folder / "sample.json").read_text())["sample"] == "symbols"


def test_an_empty_folder_is_filled(tiny, tmp_path):
    (tmp_path / "data").mkdir()
    assert len(open_dataset(write_sample("symbols", tmp_path / "data"))) == 15


def test_a_folder_with_something_else_is_refused_and_left_alone(tiny, tmp_path):
    folder = write_sample("symbols", tmp_path / "data")
    refused = f"{folder} is not empty; choose a new folder for the sample."
    with pytest.raises(DataError) as error:
        write_sample("symbols", folder, seed=1)
    assert str(error.value) == refused
    next(folder.glob("train/*/*.png")).unlink()  # no longer whole
    with pytest.raises(DataError, match="is not empty"):
        write_sample("symbols", folder)
    (folder / "sample.json").write_text("{")
    with pytest.raises(DataError, match="is not empty"):
        write_sample("symbols", folder)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep me")
    with pytest.raises(DataError, match="is not empty"):
        write_sample("symbols", mine)
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_is_told(tiny, tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(DataError, match="is a file or lies below one; choose a folder"):
            write_sample("symbols", place)


def test_a_full_disk_leaves_nothing_behind(tiny, tmp_path, monkeypatch):
    saved = []

    def save(image, path, **options):
        if len(saved) == 5:
            raise OSError(28, "No space left on device", str(path))
        saved.append(path)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(StorageError, match="the disk is full; free some space and try again"):
        write_sample("symbols", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_sample_names_those_there_are():
    with pytest.raises(DataError) as error:
        make_sample("digits")
    assert str(error.value) == 'There is no sample "digits"; choose one of tag-digits, symbols, baggage, crosses, clothes.'


def test_shipped_files_have_a_folder():
    assert sample_data_dir().name == "sample_data"
