"""Arrays in memory and in .npz files as datasets, and bad ones explained in one sentence."""

import numpy as np
import pytest

from core_builders import sentence_of
from napari_cam_feedback.data import ArrayDataset, open_dataset
from napari_cam_feedback.errors import FeedbackError

# Arrays ---------------------------------------------------------------------------------------------------------


def test_an_npz_with_splits_classes_and_masks(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (5, 6, 7), np.uint8), np.array([0, 1, 1, 0, 2])
    masks = np.zeros((2, 6, 7), np.uint8)
    masks[0, 2, 3] = 7
    np.savez(
        tmp_path / "d.npz",
        x_test=x[3:],
        y_test=y[3:],
        x_train=x[:3],
        y_train=y[:3],
        classes=["cat", "dog", "owl"],
        masks_test=masks,
    )
    data = open_dataset(tmp_path / "d.npz")
    assert isinstance(data, ArrayDataset)
    assert list(data.keys) == ["train/00000", "train/00001", "train/00002", "test/00000", "test/00001"]
    assert data.class_names == ("cat", "dog", "owl")
    assert data.labels.tolist() == y.tolist()
    for i in range(5):
        np.testing.assert_array_equal(data.read(i), x[i])
    assert data.image_size(4) == (6, 7)
    assert data.has_known_masks
    np.testing.assert_array_equal(data.known_mask(3), masks[0] > 0)
    assert data.known_mask(4) is None  # empty
    assert data.known_mask(0) is None  # no masks in train
    assert data.source == tmp_path / "d.npz"


def test_an_npz_without_splits_gets_one(tmp_path):
    x = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 3, 3), np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=np.repeat([0, 1], 20), masks=x > 30)
    data = open_dataset(tmp_path / "d.npz")
    assert data.made_split
    assert {s: len(data.indices(s)) for s in data.split_names} == {"train": 28, "val": 6, "test": 6}
    for i in range(40):
        number = int(data.keys[i].removeprefix("all/"))  # the key stays when the split changes
        assert data.read(i)[0, 0] == number
        assert data.labels[i] == number // 20
        assert (data.known_mask(i) is not None) == (number > 30)


def test_labels_may_be_names_and_images_of_any_common_shape(tmp_path):
    x = np.random.default_rng(0).random((2, 3, 8, 9)).astype(np.float64)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.array(["dog", "cat"]), x_test=x[:1])
    data = open_dataset(tmp_path / "d.npz")
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [1, 0, -1]
    assert data.read(0).dtype == np.float32
    np.testing.assert_array_equal(data.read(0), np.moveaxis(x[0], 0, -1).astype(np.float32))
    for shape, read in {
        (1, 4, 5, 1): (4, 5),
        (1, 1, 4, 5): (4, 5),
        (1, 4, 5, 4): (4, 5, 3),
        (1, 4, 5, 3): (4, 5, 3),
    }.items():
        assert ArrayDataset({"train": np.zeros(shape, np.uint8)}, None, ("a",)).read(0).shape == read


def test_what_is_read_can_be_changed_without_changing_the_dataset():
    data = ArrayDataset(
        {"train": np.zeros((1, 2, 2), np.uint8)}, {"train": [0]}, ("a",), {"train": np.ones((1, 2, 2), bool)}
    )
    data.read(0)[:] = 9
    data.known_mask(0)[:] = False
    assert not data.read(0).any()
    assert data.known_mask(0).all()


def test_python_objects_in_an_npz_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=np.array([{"a": 1}], dtype=object))
    text = sentence_of(open_dataset, tmp_path / "d.npz")
    assert '"x_train" in' in text
    assert "Python objects, which are not loaded for safety" in text


def test_a_file_that_is_no_npz(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "b.npz").touch()
    for name in "ab":
        assert "is not an .npz file or is broken" in sentence_of(open_dataset, tmp_path / f"{name}.npz")
    with (tmp_path / "c.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert "is a single array" in sentence_of(open_dataset, tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": np.zeros((1, 2, 2))}, "must hold arrays named x_train, y_train"),
        ({"x_train": np.zeros((2, 2))}, "has the shape|have the shape"),
        ({"x_train": np.zeros((0, 2, 2))}, "has no images"),
        ({"x_train": np.zeros((1, 0, 2))}, "have no pixels"),
        ({"x_train": np.array([[["a"]]])}, "are not numbers"),
        ({"x_train": np.zeros((2, 2, 2)), "y_train": np.zeros(3, int)}, "2 images but labels of shape"),
        ({"x_train": np.zeros((1, 2, 2)), "y_train": np.array([0.5])}, "not whole numbers"),
        ({"x_train": np.zeros((1, 2, 2)), "y_train": [3], "classes": ["a"]}, "has the label 3, but there are only 1"),
        (
            {"x_train": np.zeros((1, 2, 2)), "y_train": [0], "masks_train": np.zeros((1, 2, 3))},
            "one mask of the image's size",
        ),
        (
            {"x_train": np.zeros((1, 2, 2)), "y_train": [0], "masks_test": np.zeros((1, 2, 2))},
            "has masks_test but no images x_test; name them alike",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_explained(tmp_path, arrays, sentence):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(FeedbackError, match=sentence):
        open_dataset(tmp_path / "d.npz")


def test_nan_in_an_array_is_named_by_its_key():
    x = np.zeros((2, 2, 2), np.float32)
    x[1, 0, 0] = np.nan
    data = ArrayDataset({"train": x}, {"train": [0, 0]}, ("a",))
    assert data.read(0).dtype == np.float32
    assert "train/00001 has pixels that are not numbers" in sentence_of(data.read, 1)
