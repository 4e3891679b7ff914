"""Folders of .npy bitmaps open as datasets whose files stay on disk, and wrong files are named in one sentence."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.data import BitmapDataset, FolderDataset, open_dataset
from napari_cam_feedback.errors import DataError

RNG = np.random.default_rng(0)


def bitmaps(n, *shape, dtype=np.uint8):
    return RNG.integers(0, 255, (n, *shape)).astype(dtype)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, **options)
    return array


def sentence_of(path, **options):
    with pytest.raises(DataError) as error:
        open_dataset(path, **options)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.fixture
def drawings(tmp_path):
    """Two classes in Quick, Draw!'s own layout."""
    return {name: save(tmp_path / f"{name}.npy", bitmaps(n, 784)) for name, n in (("dog", 20), ("cat", 40))}


def test_quick_draws_files_are_classes_and_their_rows_square_images(tmp_path, drawings):
    data = open_dataset(tmp_path)
    assert isinstance(data, BitmapDataset)
    assert data.class_names == ("cat", "dog")
    assert len(data) == 60
    assert data.keys[0] == "cat/000000"
    assert data.keys[59] == "dog/000019"
    assert data.labels.tolist() == [0] * 40 + [1] * 20
    for i in (0, 39, 40, 59):
        name, number = data.keys[i].split("/")
        read = data.read(i)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, drawings[name][int(number)].reshape(28, 28))
        assert data.image_size(i) == (28, 28)
    assert data.index_of("dog/000003") == 43


def test_a_split_is_made_by_the_seed_and_recorded(tmp_path, drawings):
    data = open_dataset(tmp_path, seed=3)
    assert data.made_split
    assert data.split_seed == 3
    assert {name: len(data.indices(name)) for name in data.split_names} == {"train": 42, "val": 9, "test": 9}
    assert open_dataset(tmp_path, seed=3).splits.tolist() == data.splits.tolist()
    assert open_dataset(tmp_path, seed=4).splits.tolist() != data.splits.tolist()


def test_classes_can_be_in_the_models_order(tmp_path, drawings):
    data = open_dataset(tmp_path, class_names=("dog", "owl", "cat"))
    assert data.labels.tolist() == [2] * 40 + [0] * 20
    assert 'has the class "cat", which is no class of the model' in sentence_of(tmp_path, class_names=("dog",))


def test_folders_are_splits(tmp_path):
    test = save(tmp_path / "test/dog.npy", bitmaps(3, 784))
    save(tmp_path / "train/cat.npy", bitmaps(4, 784))
    save(tmp_path / "train/dog.npy", bitmaps(5, 784))
    save(tmp_path / "valid/dog.npy", bitmaps(2, 784))
    data = open_dataset(tmp_path)
    assert isinstance(data, BitmapDataset)
    assert not data.made_split
    assert data.split_names == ("train", "val", "test")
    assert [len(data.indices(name)) for name in data.split_names] == [9, 2, 3]
    assert data.keys[4] == "train/dog/000000"
    assert data.keys[9] == "valid/dog/000000"
    np.testing.assert_array_equal(data.read(data.index_of("test/dog/000002")), test[2].reshape(28, 28))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 6), (5, 6)), ((5, 6, 1), (5, 6)), ((5, 6, 3), (5, 6, 3)), ((5, 6, 4), (5, 6, 3)), ((3, 5, 6), (5, 6, 3))],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_images_of_any_shape_and_depth(tmp_path, shape, expected, dtype):
    array = save(tmp_path / "cat.npy", bitmaps(7, *shape, dtype=dtype))
    data = open_dataset(tmp_path)
    read = data.read(4)
    assert read.dtype == dtype
    assert read.shape == expected
    assert data.image_size(4) == expected[:2]
    channels_last = np.moveaxis(array, 1, -1) if shape == (3, 5, 6) else array
    np.testing.assert_array_equal(read, channels_last[4].reshape(5, 6, -1)[..., : read[0, 0].size].reshape(expected))


def test_a_file_in_fortrans_order_is_read_right(tmp_path):
    array = bitmaps(7, 784)
    save(tmp_path / "cat.npy", np.asfortranarray(array))
    np.testing.assert_array_equal(open_dataset(tmp_path).read(5), array[5].reshape(28, 28))


@pytest.mark.parametrize("order", ["C", "F"])
def test_many_bitmaps_open_without_being_read(tmp_path, order):
    # A sparse file: 157 MB that take no place on the disk; whoever read them would need the memory.
    n = 200_000
    path = tmp_path / "cat.npy"
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, 784), fortran_order=order == "F")
    array[n - 3] = 7
    array.flush()
    del array
    tracemalloc.start()
    data = open_dataset(tmp_path)
    image = data.read(n - 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) == n
    assert (image == 7).all()
    assert data.keys[n - 1] == "cat/199999"
    assert peak < 40e6


def test_a_class_without_images_is_a_class_all_the_same(tmp_path):
    save(tmp_path / "cat.npy", bitmaps(3, 784))
    save(tmp_path / "dog.npy", bitmaps(0, 784))
    data = open_dataset(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert len(data) == 3
    (tmp_path / "cat.npy").unlink()
    assert sentence_of(tmp_path) == f"The .npy files in {tmp_path} hold no images; check how they were made."


def test_npy_files_beside_class_folders_are_left_alone(tmp_path):
    save(tmp_path / "features.npy", bitmaps(3, 784))
    (tmp_path / "cat").mkdir()
    Image.fromarray(bitmaps(5, 6)).save(tmp_path / "cat/a.png")
    assert isinstance(open_dataset(tmp_path), FolderDataset)


def test_hidden_files_are_left_out(tmp_path, drawings):
    (tmp_path / "._cat.npy").write_bytes(b"of another system")
    assert len(open_dataset(tmp_path)) == 60


def test_a_single_file_says_to_open_its_folder(tmp_path, drawings):
    path = tmp_path / "cat.npy"
    assert sentence_of(path) == f"{path} is the file of one class; open its folder {tmp_path}, which has one for each class."


def test_objects_are_refused_and_not_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    path = tmp_path / "cat.npy"
    save(path, np.array([Trap(), Trap()], dtype=object), allow_pickle=True)
    assert sentence_of(tmp_path) == (
        f"{path} holds Python objects, which are not loaded for safety; save it as one array of numbers."
    )
    assert not (tmp_path / "ran").exists()


def test_rows_that_are_no_square_are_refused(tmp_path):
    save(tmp_path / "cat.npy", bitmaps(3, 785))
    assert sentence_of(tmp_path) == (
        f"The images in {tmp_path / 'cat.npy'} have 785 pixels each, which make no square; save them as (N, H, W)."
    )


@pytest.mark.parametrize("shape", [(784,), (28, 28, 3), (), (2, 3, 4, 5, 6)])
def test_a_file_of_one_image_or_of_labels_is_refused(tmp_path, shape):
    save(tmp_path / "cat.npy", np.zeros(shape, np.uint8))
    assert sentence_of(tmp_path) == (
        f"{tmp_path / 'cat.npy'} has the shape {shape}, which is not that of many images; save all images of a class "
        "together as (N, H, W) or (N, H, W, 3)."
    )


def test_other_shapes_and_types_are_refused(tmp_path):
    path = tmp_path / "cat.npy"
    save(path, np.zeros((2, 5, 6, 7), np.uint8))
    assert sentence_of(tmp_path) == (
        f"The images in {path} have the shape (2, 5, 6, 7); it must be (N, H, W) or (N, H, W, 3)."
    )
    save(path, np.array([["a", "b", "c", "d"]]))
    assert sentence_of(tmp_path) == f"The images in {path} are not numbers; save them as uint8, uint16 or float32."
    save(path, np.zeros((2, 0, 5), np.uint8))
    assert sentence_of(tmp_path) == f"The images in {path} have no pixels; check how the file was made."


@pytest.mark.parametrize("content", ["empty", "text", "cut", "zip"])
def test_broken_files_are_named(tmp_path, content):
    path = tmp_path / "cat.npy"
    save(path, bitmaps(10, 784))
    if content == "empty":
        path.write_bytes(b"")
    elif content == "text":
        path.write_text("no array at all")
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        np.savez(tmp_path / "a.npz", x=bitmaps(3, 784))
        (tmp_path / "a.npz").rename(path)
        assert sentence_of(tmp_path) == f"{path} is an .npz file by another name; call it .npz and open it as a file."
        return
    assert sentence_of(tmp_path) == f"{path} is not an .npy file or is broken; save it again with numpy.save."


def test_files_beside_split_folders_with_files_are_refused(tmp_path):
    save(tmp_path / "train/cat.npy", bitmaps(3, 784))
    save(tmp_path / "dog.npy", bitmaps(3, 784))
    assert sentence_of(tmp_path) == (
        f"{tmp_path} has dog.npy beside the folder train, which has .npy files too; keep either the folders or the files."
    )


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(DataError) as error:
        BitmapDataset(tmp_path)
    assert str(error.value) == f"{tmp_path} has no .npy files; put one for each class into it, named after the class."


def test_a_file_that_changes_or_goes_is_named_when_an_image_is_read(tmp_path, drawings):
    path = tmp_path / "cat.npy"
    data = open_dataset(tmp_path)
    save(path, bitmaps(5, 784))
    np.testing.assert_array_equal(data.read(0), np.load(path)[0].reshape(28, 28))
    for array in (bitmaps(5, 784), bitmaps(40, 100)):
        save(path, array)
        with pytest.raises(DataError) as error:
            data.read(39)
        assert str(error.value) == f"{path} has changed since the dataset was opened; open the dataset again."
    path.unlink()
    with pytest.raises(DataError) as error:
        data.read(0)
    assert str(error.value) == f"{path} is missing; put the file back."


def test_nan_is_named_by_its_key(tmp_path):
    array = bitmaps(3, 4, 5, dtype=np.float32)
    array[2, 0, 0] = np.nan
    save(tmp_path / "cat.npy", array)
    with pytest.raises(DataError, match=r"cat/000002 has pixels that are not numbers"):
        open_dataset(tmp_path).read(2)
