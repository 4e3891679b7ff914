"""A small .npz that promises much is refused before memory is taken, and broken ones in a sentence."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from napari_cam_feedback.data import open_dataset
from napari_cam_feedback.data.formats.npz import Npz, NpzError
from napari_cam_feedback.errors import DataError


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": descr, "fortran_order": False, "shape": shape})
    return text.getvalue()


def fault(path, name="x") -> str:
    with pytest.raises(NpzError) as caught, Npz(path) as file:
        file.read(name)
    return caught.value.fault


def write(path, content: bytes, compression: int = zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x.npy", content)
    return path


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20), (1 << 62, 1 << 62), (10**6, 8, 8)])
def test_a_header_that_promises_what_is_not_there_is_broken(shape, tmp_path):
    assert fault(write(tmp_path / "a.npz", header(shape) + bytes(10))) == "broken"


def test_more_than_the_memory_is_said_to_be_so(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.zeros(1000), y=np.zeros(1000))
    monkeypatch.setattr("napari_cam_feedback.data.formats.npz.available_memory", lambda: 10_000)
    with Npz(tmp_path / "a.npz") as file:
        assert file.read("x").shape == (1000,)
        with pytest.raises(NpzError, match="memory"):
            file.read_all(("x", "y"))
    monkeypatch.setattr("napari_cam_feedback.data.formats.npz.available_memory", lambda: 1000)
    assert fault(tmp_path / "a.npz") == "memory"
    with pytest.raises(DataError, match="does not fit into the memory; save the images as files"):
        open_dataset(tmp_path / "a.npz")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_pack_a_gigabyte_into_nothing_are_not_unpacked(compression, tmp_path):
    content = header((50_000_000,)) + bytes(50_000_000)
    path = write(tmp_path / "a.npz", content, compression)
    assert path.stat().st_size < 10_000
    assert fault(path) == "broken"


@pytest.mark.parametrize(
    "text", ["{'descr': '|u1', 'fortran_order': False, 'shape': (1", "(" * 5000, "{" + "[" * 300, "\x00", "1+"]
)
def test_a_header_of_nonsense_is_broken(text, tmp_path):
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    assert fault(write(tmp_path / "a.npz", content)) == "broken"
    (tmp_path / "cat.npy").write_bytes(content)
    (tmp_path / "dog.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"is not an \.npy file or is broken"):
        open_dataset(tmp_path)


def test_python_objects_are_named_as_such_and_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], object))
    assert fault(tmp_path / "a.npz") == "objects"
    with pytest.raises(DataError, match="holds Python objects, which are not loaded for safety"):
        open_dataset(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.array([0, np.nan]), "not whole numbers"),
        (np.array([0, np.inf]), "not whole numbers"),
        (np.array([0, 10**12]), "which is no class"),
        (np.array([0, 2**63], np.uint64), "which is no class"),
        (np.array([b"\xff", b"a"]), "no text"),
    ],
)
def test_labels_that_are_none_are_refused_before_names_are_made_for_them(labels, sentence, tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((2, 4, 4), np.uint8), y_train=labels)
    with pytest.raises(DataError, match=sentence):
        open_dataset(tmp_path / "a.npz")


def test_images_without_pixels_are_refused_however_many_there_are(tmp_path):
    write(tmp_path / "a.npz", header((1 << 40, 0, 4)))
    with pytest.raises(DataError, match="have no pixels"):
        open_dataset(tmp_path / "a.npz")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF])
def test_characters_that_there_are_not_are_broken(order, code, tmp_path):
    text = np.array([65, code], f"{order}u4").tobytes()
    assert fault(write(tmp_path / "a.npz", header((2,), f"{order}U1") + text)) == "broken"
    np.savez(tmp_path / "b.npz", x=np.array(["", "\U0010ffff"]), y=np.array([], "U"), z=np.array(""))
    with Npz(tmp_path / "b.npz") as file:
        assert [file.read(name).tolist() for name in "xyz"] == [["", "\U0010ffff"], [], ""]
