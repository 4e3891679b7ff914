"""Arrays are written as image files with their labels, and open again as they were; never is anything overwritten."""

import numpy as np
import pytest
import tifffile

from core_builders import sentence_of, small_disk
from napari_cam_feedback.data import open_dataset, save_images
from napari_cam_feedback.data.formats.export import safe_names
from napari_cam_feedback.errors import StorageError

RNG = np.random.default_rng(0)


def array(*shape, dtype=np.uint8):
    return RNG.integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("colour", [False, True])
def test_images_open_again_as_they_were(tmp_path, dtype, colour):
    images = array(6, 5, 4, 3, dtype=dtype) if colour else array(6, 5, 7, dtype=dtype)
    labels, splits = ["cat", "dog", None] * 2, ["train"] * 3 + ["test"] * 3
    folder = save_images(tmp_path / "new/images", images, labels, splits)
    assert folder == tmp_path / "new/images"
    for path in (folder, folder / "labels.csv"):
        data = open_dataset(path)
        assert data.class_names == ("cat", "dog")
        assert data.labels.tolist() == [0, 1, -1, 0, 1, -1]
        assert data.splits.tolist() == splits
        assert not data.made_split
        assert data.keys[3] == "00003.tif"
        for i, image in enumerate(images):
            read = data.read(i)
            assert read.dtype == dtype
            np.testing.assert_array_equal(read, image)


def test_images_of_different_sizes_and_kinds(tmp_path):
    images = [array(5, 7), array(9, 3, 3, dtype=np.uint16), array(2, 2, 4), np.eye(3, dtype=bool), array(4, 4, 1)]
    data = open_dataset(save_images(tmp_path / "a", images))
    expected = [*images[:2], images[2][..., :3], np.eye(3, dtype=np.uint8) * np.uint8(255), images[4][..., 0]]
    for i, image in enumerate(expected):
        np.testing.assert_array_equal(data.read(i), image)
        assert data.read(i).dtype == image.dtype


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_one_array_can_be_one_image(tmp_path, shape):
    image = array(*shape)
    data = open_dataset(save_images(tmp_path / "a", image, ["cat"]))
    assert len(data) == 1
    np.testing.assert_array_equal(data.read(0), image[..., :3] if len(shape) == 3 else image)


def test_without_labels_and_splits_a_split_is_made_when_it_opens(tmp_path):
    data = open_dataset(save_images(tmp_path / "a", array(20, 5, 7)))
    assert data.made_split
    assert data.labels.tolist() == [-1] * 20
    assert data.split_names == ("train", "val", "test")


def test_labels_may_be_numbers_and_those_below_zero_are_unknown(tmp_path):
    data = open_dataset(save_images(tmp_path / "a", array(3, 5, 7), np.array([10, 2, -1])))
    assert data.class_names == ("2", "10")
    assert data.labels.tolist() == [1, 0, -1]


def test_labels_may_hold_anything_that_a_csv_can(tmp_path):
    data = open_dataset(save_images(tmp_path / "a", array(2, 5, 7), ['a "b", c', "ü;\té"]))
    assert set(data.class_names) == {'a "b", c', "ü;\té"}


class Lazy:
    """Makes each image when asked for it, and remembers how many are alive."""

    ndim, shape, dtype = 3, (30, 64, 64), np.dtype(np.uint8)

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 30

    def __getitem__(self, index):
        self.asked.append(index)
        return np.full((64, 64), index, np.uint8)


def test_lazy_images_are_taken_one_at_a_time(tmp_path):
    images = Lazy()
    data = open_dataset(save_images(tmp_path / "a", images))
    assert images.asked == list(range(30))
    assert [int(data.read(i)[0, 0]) for i in range(30)] == list(range(30))


def test_the_files_are_plain_tiff_that_other_programs_read(tmp_path):
    images = array(2, 5, 7, dtype=np.uint16)
    folder = save_images(tmp_path / "a", images, names=["one", "two"])
    assert sorted(path.name for path in folder.iterdir()) == ["labels.csv", "one.tif", "two.tif"]
    np.testing.assert_array_equal(tifffile.imread(folder / "one.tif"), images[0])
    assert (folder / "labels.csv").read_text() == "path,label,split\none.tif,,\ntwo.tif,,\n"
    assert (
        folder.stat().st_mode == tmp_path.joinpath("b").mkdir() or (tmp_path / "b").stat().st_mode == folder.stat().st_mode
    )


def test_a_slash_in_a_name_makes_a_folder(tmp_path):
    data = open_dataset(save_images(tmp_path / "a", array(3, 5, 7), ["x", "y", "x"], names=["s/0000", "s/0001", "t"]))
    assert list(data.keys) == ["s/0000.tif", "s/0001.tif", "t.tif"]
    assert data.class_names == ("x", "y")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a:b*c?", 'x<>|"y', "tab\there"], ["a_b_c_.tif", "x____y.tif", "tab_here.tif"]),
        (
            ["../../etc/passwd", "/abs/x", "C:\\dir\\x", "..", ""],
            ["etc/passwd.tif", "abs/x.tif", "C_/dir/x.tif", "image.tif", "image-2.tif"],
        ),
        (["CON", "lpt1.x", "console"], ["_CON.tif", "_lpt1.x.tif", "console.tif"]),
        ([".hidden", "end. ", " a b "], ["hidden.tif", "end.tif", "a b.tif"]),
        (["a", "A", "a", "a-2"], ["a.tif", "A-2.tif", "a-3.tif", "a-2-2.tif"]),
        (["cell.tif", "b.TIFF", "c.v2"], ["cell.tif", "b.tif", "c.v2.tif"]),
        (["a", "a.tif/0"], ["a.tif", "a_tif/0.tif"]),
        (["masks/0", "Masks"], ["_masks/0.tif", "_Masks.tif"]),
        (["e\u0301", "\u00e9"], ["\u00e9.tif", "\u00e9-2.tif"]),
        (["ü" * 300], ["ü" * 50 + ".tif"]),
        (["\ud800"], ["_.tif"]),
    ],
    ids=str,
)
def test_names_are_made_safe_for_every_system_and_unique(tmp_path, names, expected):
    assert list(safe_names(names)) == expected
    images = array(len(names), 5, 7)
    data = open_dataset(save_images(tmp_path / "a", images, names=names))
    assert list(data.keys) == expected
    assert not data.has_known_masks
    for i, image in enumerate(images):
        np.testing.assert_array_equal(data.read(i), image)


def test_nothing_that_is_there_is_overwritten(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for path in (folder, link):
        assert sentence_of(save_images, path, array(2, 5, 7), kind=StorageError) == (
            f"{path} exists already; choose another folder, so that nothing in it is overwritten."
        )
    assert list(folder.iterdir()) == []


def test_what_fails_midway_leaves_nothing(tmp_path):
    class Stopped(Exception):
        pass

    class Failing(Lazy):
        error: Exception = Stopped()

        def __getitem__(self, index):
            if index == 20:
                raise self.error
            return super().__getitem__(index)

    images = Failing()
    with pytest.raises(Stopped):
        save_images(tmp_path / "a", images)
    images.error = OSError(5, "no disk")
    assert sentence_of(save_images, tmp_path / "a", images).startswith("The image number 20 cannot be read: ")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_of_and_leaves_nothing(tmp_path):
    with small_disk(3000):
        text = sentence_of(save_images, tmp_path / "a", array(2, 200, 200), kind=StorageError)
    assert text.startswith(f"Could not write {tmp_path / 'a'}: ")
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "a"
    for what in ("labels", "splits", "names"):
        assert sentence_of(save_images, path, array(3, 5, 7), **{what: ["x", "y"]}) == (
            f"There are 3 images but 2 {what}; give one for each image."
        )
    assert sentence_of(save_images, path, []) == "There are no images to write; give at least one."
    assert sentence_of(save_images, path, array(2, 5, 7), splits=["train", ""]) == (
        "Some images have a split and some do not; give every image one, or none."
    )
    assert sentence_of(save_images, path, [array(5, 7), array(5)], names=["x", "y"]) == (
        "The image y has the shape (5,); it must be (H, W) or (H, W, 3)."
    )
    assert sentence_of(save_images, path, [array(5, 7), array(0, 7)]) == "The image number 1 has no pixels; leave it out."
    nan = np.full((5, 7), np.nan, np.float32)
    assert sentence_of(save_images, path, [nan]).startswith("The image number 0 has pixels that are not numbers")
    assert not path.exists()
