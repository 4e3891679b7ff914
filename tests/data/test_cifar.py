"""CIFAR's batches are read as they are published, and never does a pickle run anything."""

import io
import os
import pickle
import pickletools
import struct
import subprocess

import numpy as np
import pytest

from napari_cam_feedback.data import CifarDataset, open_dataset
from napari_cam_feedback.errors import DataError

RNG = np.random.default_rng(0)
NAMES = ["airplane", "automobile", "bird"]


def text(value):
    """Opcodes for a byte string of Python 2."""
    value = value.encode("latin-1") if isinstance(value, str) else value
    return b"T" + struct.pack("<i", len(value)) + value


def whole(value):
    return b"J" + struct.pack("<i", value)


def array(pixels, code="u1", shape=None):
    """Opcodes for an array as NumPy under Python 2 wrote it in protocol 2."""
    shape = pixels.shape if shape is None else shape
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + whole(0)
        + b"\x85U\x01b\x87R("
        + whole(1)
        + b"".join(whole(n) for n in shape)
        + {1: b"\x85", 2: b"\x86"}[len(shape)]
        + b"cnumpy\ndtype\n"
        + text(code)
        + b"K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89"
        + text(pixels.tobytes())
        + b"tb"
    )


def python_2(entries):
    """A pickled dictionary of protocol 2; the values are opcodes."""
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u."


def of_list(values):
    return b"](" + b"".join(text(v) if isinstance(v, str) else whole(v) for v in values) + b"e"


def batch(path, n, labels_name="labels", **changes):
    pixels = RNG.integers(0, 256, (n, 3072)).astype(np.uint8)
    labels = RNG.integers(0, 3, n).tolist()
    entries = {
        "batch_label": text("training batch"),
        labels_name: of_list(labels),
        "data": array(pixels),
        "filenames": of_list([f"{i}.png" for i in range(n)]),
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python_2(entries))
    return pixels, labels


def images_of(pixels):
    return np.moveaxis(pixels.reshape(-1, 3, 32, 32), 1, -1)


@pytest.fixture
def cifar10(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    batches = {f"data_batch_{i}": batch(folder / f"data_batch_{i}", 4 + i) for i in range(1, 6)}
    batches["test_batch"] = batch(folder / "test_batch", 3)
    (folder / "batches.meta").write_bytes(python_2({"num_cases_per_batch": whole(9), "label_names": of_list(NAMES)}))
    (folder / "readme.html").write_text("<p>")
    return folder, batches


@pytest.fixture
def cifar100(tmp_path):
    folder = tmp_path / "cifar-100-python"
    batches = {name: batch(folder / name, 6, "fine_labels", coarse_labels=of_list([0] * 6)) for name in ("train", "test")}
    meta = {"fine_label_names": of_list(NAMES), "coarse_label_names": of_list(["all"])}
    (folder / "meta").write_bytes(python_2(meta))
    return folder, batches


def sentence_of(path, **options):
    with pytest.raises(DataError) as error:
        open_dataset(path, **options)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_the_hand_made_pickles_are_what_numpy_itself_reads(cifar10):
    folder, batches = cifar10
    read = pickle.loads((folder / "test_batch").read_bytes(), encoding="bytes")
    pixels, labels = batches["test_batch"]
    np.testing.assert_array_equal(read[b"data"], pixels)
    assert read[b"labels"] == labels


def test_cifar_10_is_read_as_published(cifar10):
    folder, batches = cifar10
    data = open_dataset(folder)
    assert isinstance(data, CifarDataset)
    assert data.class_names == tuple(NAMES)
    assert data.keys[0] == "data_batch_1/00000"
    assert data.keys[len(data) - 1] == "test_batch/00002"
    assert data.labels.tolist() == [label for _, labels in batches.values() for label in labels]
    for name, (pixels, _) in batches.items():
        for i, image in enumerate(images_of(pixels)):
            read = data.read(data.index_of(f"{name}/{i:05d}"))
            assert read.dtype == np.uint8
            np.testing.assert_array_equal(read, image)
    assert data.image_size(0) == (32, 32)


def test_the_splits_are_its_own_and_none_is_made_for_validation(cifar10):
    folder, _ = cifar10
    data = open_dataset(folder, seed=5)
    assert data.split_names == ("train", "test")
    assert [len(data.indices(name)) for name in data.split_names] == [35, 3]
    assert not data.made_split
    assert data.split_seed is None


def test_cifar_100_is_read_with_its_fine_labels(cifar100):
    folder, batches = cifar100
    data = open_dataset(folder)
    assert data.class_names == tuple(NAMES)
    assert data.keys[0] == "train/00000"
    assert data.labels.tolist() == batches["train"][1] + batches["test"][1]
    np.testing.assert_array_equal(data.read(data.index_of("test/00005")), images_of(batches["test"][0])[5])


def test_it_opens_by_the_folder_above_and_by_one_of_its_files(cifar10):
    folder, _ = cifar10
    for path in (folder.parent, folder / "data_batch_1", folder / "batches.meta", folder / "test_batch"):
        data = open_dataset(path)
        assert data.source == folder
        assert len(data) == 38


def test_of_two_in_one_folder_one_is_to_be_chosen(cifar10, cifar100):
    folder = cifar10[0].parent
    assert sentence_of(folder) == (
        f"{folder} has several datasets, cifar-10-batches-py and cifar-100-python; open one of these folders."
    )


def test_the_versions_for_other_languages_are_told_apart(tmp_path):
    for name in ("data_batch_1.bin", "data_batch_1.mat"):
        folder = tmp_path / "cifar-10-batches-bin"
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
        for path in (tmp_path, folder):
            assert sentence_of(path) == (
                f"{folder} is not CIFAR's version for Python; download that one and open its folder."
            )
        (folder / name).unlink()


def test_classes_can_be_in_the_models_order(cifar10):
    folder, batches = cifar10
    data = open_dataset(folder, class_names=("bird", "ship", "airplane", "automobile"))
    assert data.labels.tolist() == [[2, 3, 0][label] for _, labels in batches.values() for label in labels]
    assert 'has the class "airplane", which is no class of the model' in sentence_of(folder, class_names=("x",))


def test_without_the_names_file_the_names_must_be_given(cifar10):
    folder, batches = cifar10
    meta = folder / "batches.meta"
    meta.unlink()
    assert sentence_of(folder) == f"{meta}, which names the classes, is missing; unpack the archive again."
    assert open_dataset(folder, class_names=NAMES).labels.tolist() == [y for _, labels in batches.values() for y in labels]
    assert sentence_of(folder, class_names=NAMES[:1]) == (
        f"{folder} has the label 2, but the class names end at 0; unpack the archive again."
    )


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_batches_saved_again_by_python_3_are_read(cifar10, protocol):
    folder, batches = cifar10
    pixels, labels = batches["test_batch"]
    saved = {"data": pixels, b"labels": labels, "filenames": ["a"]}
    (folder / "test_batch").write_bytes(pickle.dumps(saved, protocol=protocol))
    data = open_dataset(folder)
    np.testing.assert_array_equal(data.read(data.index_of("test_batch/00001")), images_of(pixels)[1])


class Runs:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("where", ["data", "labels", "extra"])
def test_a_malicious_pickle_does_not_run_a_line(cifar10, tmp_path, protocol, where):
    folder, batches = cifar10
    ran = tmp_path / "ran"
    pixels, labels = batches["test_batch"]
    for function, arguments, name in (
        (os.system, (f"touch {ran}",), f"{os.system.__module__}.system"),
        (subprocess.call, (["touch", str(ran)],), "call"),
        (open, (str(ran), "w"), "open"),
        (eval, (f"open({str(ran)!r}, 'w')",), "eval"),
    ):
        content = {"data": pixels, "labels": labels, where: Runs(function, *arguments)}
        (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=protocol))
        text = sentence_of(folder)
        assert text.startswith(f"{folder / 'test_batch'} asks to run ")
        assert name in text
        assert text.endswith("when it is read, which is refused for safety; use CIFAR's original files.")
        assert not ran.exists()
    # The same trap does go off where a pickle is trusted.
    pickle.loads(pickle.dumps(Runs(open, str(ran), "w")))
    assert ran.exists()


def test_a_pickle_in_the_names_file_does_not_run_either(cifar10, tmp_path):
    folder, _ = cifar10
    ran = tmp_path / "ran"
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": Runs(open, str(ran), "w")}, protocol=2))
    assert "which is refused for safety" in sentence_of(folder)
    assert not ran.exists()


@pytest.mark.parametrize(
    "name", ["numpy.core.multiarray\nfromfile", "numpy\nload", "numpy.core\nmultiarray.fromfile", "codecs\nencode"]
)
def test_other_names_of_the_same_libraries_are_refused(cifar10, name):
    folder, _ = cifar10
    (folder / "test_batch").write_bytes(b"\x80\x02c" + name.encode() + b"\n.")
    assert f'asks to run "{name.replace(chr(10), ".")}"' in sentence_of(folder)


def test_no_object_of_numpys_is_handed_to_the_pickle(cifar10):
    """A made-up dtype could make NumPy take numbers for addresses."""
    folder, _ = cifar10
    pixels = np.zeros((2, 3072), np.uint8)
    for code in ("O", "O8", "V1"):
        batch(folder / "test_batch", 2, data=array(pixels, code))
        assert f"holds an array of the type {code!r}, which is no number" in sentence_of(folder)
    # A state set on what stands for NumPy's classes must not stay.
    poison = b"\x80\x02cnumpy\nndarray\n}U\x05stateK\x01sb."
    (folder / "test_batch").write_bytes(poison)
    assert "is broken" in sentence_of(folder)
    (folder / "test_batch").write_bytes(b"\x80\x02cnumpy\nndarray\nN}U\x0bas_pixelsNs\x86b.")
    assert "is broken" in sentence_of(folder)
    batch(folder / "test_batch", 2)
    assert len(open_dataset(folder)) == 37


def test_bytes_are_made_by_no_other_encoding(cifar10):
    folder, _ = cifar10
    (folder / "test_batch").write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")
    assert "is broken" in sentence_of(folder)


def test_pixels_of_another_number_size_or_type_are_refused(cifar10):
    folder, _ = cifar10
    path = folder / "test_batch"
    pixels = np.zeros((3, 3072), np.uint8)
    wrong = f"{path} does not hold 8-bit images of 32x32 pixels in RGB; unpack the archive again."
    for data in (
        array(pixels[:, :-1]),
        array(pixels, shape=(9216,)),
        array(pixels, "i1"),
        array(np.zeros((3, 3072), np.uint16), "u2"),
    ):
        batch(path, 3, data=data)
        assert sentence_of(folder) == wrong
    for shape, code in (((4, 3072), "u1"), ((-3, 3072), "u1"), ((0, 3072), "u1"), ((3, 3072), "f8")):
        batch(path, 3, data=array(pixels, code, shape))
        assert f"{path} holds an array that says {shape} pixels and has 9216 bytes; use" in sentence_of(folder)
    batch(path, 3, data=whole(7))
    assert sentence_of(folder) == f'{path} has no "data" and "labels"; unpack the archive again.'


def test_labels_that_do_not_fit_are_refused(cifar10):
    folder, _ = cifar10
    path = folder / "test_batch"
    for labels in (of_list([0, 1]), of_list([0, 1, -1]), of_list(["a", "b", "c"]), whole(3)):
        batch(path, 3, labels=labels)
        assert sentence_of(folder) == f"{path} has no label for each of its 3 images; unpack the archive again."
    batch(path, 3, labels=of_list([0, 1, 3]))
    assert sentence_of(folder) == f"{folder} has the label 3, but the class names end at 2; unpack the archive again."
    batch(path, 3, "fine_labels")
    assert sentence_of(folder) == f'{path} has no "data" and "labels"; unpack the archive again.'


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x02]q\x00.", b"\x80\x02}q\x00", b"\x80\x02U\xff."])
def test_broken_files_are_named(cifar10, content):
    folder, _ = cifar10
    (folder / "data_batch_3").write_bytes(content)
    assert sentence_of(folder) == (
        f"{folder / 'data_batch_3'} is none of CIFAR's files or is broken; unpack the archive again."
    )


def test_a_batch_cut_anywhere_is_named(cifar10):
    folder, _ = cifar10
    path = folder / "test_batch"
    whole_file = path.read_bytes()
    starts = [at for _, _, at in pickletools.genops(io.BytesIO(whole_file))]
    for at in starts[:: max(1, len(starts) // 40)]:
        path.write_bytes(whole_file[:at])
        assert str(path) in sentence_of(folder)


def test_names_that_are_none_are_refused(cifar10):
    folder, _ = cifar10
    meta = folder / "batches.meta"
    for entries in ({"label_names": of_list([])}, {"label_names": whole(1)}, {}, {"label_names": of_list(["a", "a", "b"])}):
        meta.write_bytes(python_2(entries))
        assert sentence_of(folder) == f"{meta} names no classes; unpack the archive again."


def test_a_folder_without_batches_is_refused(tmp_path):
    with pytest.raises(DataError) as error:
        CifarDataset(tmp_path)
    assert str(error.value) == f"{tmp_path} has none of CIFAR's batch files; unpack the archive again."


def test_some_batches_are_enough(cifar10):
    folder, _ = cifar10
    for i in (2, 3, 4, 5):
        (folder / f"data_batch_{i}").unlink()
    data = open_dataset(folder)
    assert [len(data.indices(name)) for name in data.split_names] == [5, 3]
