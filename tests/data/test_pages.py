"""Each page of a TIFF that has several is an item, with its own key, mask and place in the splits."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cam_feedback.data import open_dataset
from napari_cam_feedback.data.pixels import images
from napari_cam_feedback.data.splits import stratified_splits
from napari_cam_feedback.errors import DataError, MaskError


def write_stack(path, pages=3, size=(5, 4), start=0):
    """Write a TIFF whose page n is of the gray value n + start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.arange(start, start + pages, dtype=np.uint8)[:, None, None]
    tifffile.imwrite(path, values * np.ones((pages, *size), np.uint8), photometric="minisblack")


def write(path, value=0, size=(5, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    write_stack(tmp_path / "train/cat/stack.tif")
    write(tmp_path / "train/cat/single.tif", 50)
    write(tmp_path / "train/cat/z.png", 60)
    write_stack(tmp_path / "test/dog/more.TIFF", pages=2, start=10)
    return tmp_path


@pytest.fixture
def counted(monkeypatch):
    """The files whose pages were counted."""
    paths = []

    def count(path, original=images.count_pages):
        paths.append(path)
        return original(path)

    monkeypatch.setattr(images, "count_pages", count)
    return paths


def test_every_page_is_an_item(folder):
    data = open_dataset(folder)
    assert list(data.keys) == [
        "train/cat/single.tif",
        "train/cat/stack.tif/0000",
        "train/cat/stack.tif/0001",
        "train/cat/stack.tif/0002",
        "train/cat/z.png",
        "test/dog/more.TIFF/0000",
        "test/dog/more.TIFF/0001",
    ]
    assert data.pages.tolist() == [-1, 0, 1, 2, -1, 0, 1]
    assert data.pages.dtype == np.int32
    assert data.labels.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert data.splits.tolist() == ["train"] * 5 + ["test"] * 2
    assert [int(data.read(i)[0, 0]) for i in range(7)] == [50, 0, 1, 2, 60, 10, 11]
    assert data.image_size(2) == (5, 4)
    assert data.path(2) == folder / "train/cat/stack.tif"
    assert data.index_of("train/cat/stack.tif/0002") == 3


def test_without_such_files_nothing_is_kept_about_pages(tmp_path):
    write(tmp_path / "train/cat/single.tif")
    data = open_dataset(tmp_path)
    assert data.pages is None
    assert list(data.keys) == ["train/cat/single.tif"]


def test_a_broken_tiff_is_told_of_when_it_is_read(folder):
    (folder / "train/cat/stack.tif").write_bytes(b"II*\0 nothing")
    data = open_dataset(folder)
    with pytest.raises(DataError, match=r"stack\.tif is broken or not an image"):
        data.read(data.index_of("train/cat/stack.tif"))


@pytest.mark.parametrize(("several", "opened"), [((), 20), ((3,), 20), ((40,), 110)])
def test_of_many_tiffs_a_sample_tells_whether_all_are_counted(tmp_path, monkeypatch, counted, several, opened):
    # 101 files, of which every fifth is in the sample: number 40 is (the ninth of it), number 3 is not.
    monkeypatch.setattr("napari_cam_feedback.data.formats.folder._COUNT_ALL", 100)
    monkeypatch.setattr("napari_cam_feedback.data.formats.folder._SAMPLE", 20)
    for n in range(101):
        write_stack(tmp_path / f"train/a/{n:03d}.tif", pages=2 if n in several else 1)
    data = open_dataset(tmp_path)
    assert len(counted) == opened
    assert len(data) == (102 if several == (40,) else 101)


def test_up_to_some_number_every_tiff_is_counted(tmp_path, counted):
    for n in range(30):
        write_stack(tmp_path / f"train/a/{n:03d}.tif", pages=2 if n == 3 else 1)
    assert len(open_dataset(tmp_path)) == 31
    assert len(counted) == 30


def test_pages_of_one_file_stay_in_one_split_that_is_made(tmp_path):
    for n in range(20):
        write_stack(tmp_path / f"a/{n:02d}.tif", pages=1 + n % 4)
    write_stack(tmp_path / "b/only.tif", pages=20)
    data = open_dataset(tmp_path)
    assert data.made_split
    files = {}
    for index in np.flatnonzero(data.labels == 0):
        files.setdefault(data.path(int(index)).name, set()).add(str(data.splits[index]))
    assert all(len(splits) == 1 for splits in files.values())
    assert [sum(splits == {name} for splits in files.values()) for name in ("train", "val", "test")] == [14, 3, 3]
    # A class of a single file would be in one split only; its pages are dealt out.
    assert set(data.splits[data.labels == 1]) == {"train", "val", "test"}


def test_without_pages_a_split_is_what_it_was():
    labels = np.repeat([0, 1, 2], [10, 5, 1])
    assert stratified_splits(labels, 3, files=np.arange(16)).tolist() == stratified_splits(labels, 3).tolist()


def test_masks_of_pages_lie_in_a_folder_or_in_a_stack(folder):
    write(folder / "masks/train/cat/stack.tif/0001.png", 255)
    write_stack(folder / "masks/test/dog/more.TIFF", pages=2)
    data = open_dataset(folder)
    assert data.known_mask(2).all()
    assert data.known_mask(1) is None
    assert data.known_mask(5) is None  # page 0 of the masks is empty
    assert data.known_mask(6).all()
    assert data.known_mask(6).shape == (5, 4)
    assert data.may_have_mask().tolist() == [False, False, True, False, False, True, True]


@pytest.mark.parametrize(
    ("stack", "sentence"),
    [
        ({"pages": 3}, "The mask {mask} has 3 pages but its image 2; give it one for each, or remove it."),
        ({"pages": 1}, "The mask {mask} has 1 page but its image 2; give it one for each, or remove it."),
        (
            {"pages": 2, "size": (6, 7)},
            "The mask {mask} is 7x6 pixels but its image 4x5; make it the same size or remove it.",
        ),
    ],
)
def test_a_stack_of_masks_that_does_not_fit_is_explained(folder, stack, sentence):
    mask = folder / "masks/test/dog/more.TIFF"
    write_stack(mask, **stack)
    with pytest.raises(MaskError) as error:
        open_dataset(folder).known_mask(5)
    assert str(error.value) == sentence.format(mask=mask)


def test_a_broken_stack_of_masks_is_named(folder):
    mask = folder / "masks/test/dog/more.TIFF"
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"II*\0 nothing")
    with pytest.raises(MaskError, match=r"masks/test/dog/more\.TIFF is broken or not an image"):
        open_dataset(folder).known_mask(5)
