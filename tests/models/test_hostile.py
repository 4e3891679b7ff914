"""Small checkpoints that would bring the process down or fill the memory are refused in a sentence."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models.files.statedict import read_state_dict
from napari_cam_feedback.pickle_depth import TooDeep, check_pickles
from napari_cam_feedback.torch_loader import torch

DEEP = b"\x80\x02}N" + b"\x85" * 200_000 + b"Ns."
BY_MEMO = b"\x80\x04}N" + b"\x85\x94h\x00N\x86\x94" * 40 + b"Ns."


def with_pickle(path: Path, content: bytes) -> Path:
    """A checkpoint of torch whose pickle is another one."""
    saved = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("data.pkl") else old.read(name))
    return path


@pytest.mark.parametrize("content", [DEEP, b"\x80\x02}(" + b"N\x85" + b"N\x86" * 100 + b"Nu."])
def test_tuples_that_lie_deep_in_each_other_are_seen_before_python_hashes_them(content, tmp_path):
    with pytest.raises(TooDeep):
        check_pickles(content)
    with pytest.raises(ModelError, match="is not a plain state dict"):
        read_state_dict(with_pickle(tmp_path / "a.pt", content))
    (tmp_path / "old.pt").write_bytes(content)
    with pytest.raises(ModelError, match="is not a plain state dict"):
        read_state_dict(tmp_path / "old.pt")


def test_such_a_file_does_not_end_the_process(tmp_path):
    path = with_pickle(tmp_path / "a.pt", DEEP)
    code = "from napari_cam_feedback.models.files.statedict import read_state_dict as read; from pathlib import Path; "
    found = subprocess.run([sys.executable, "-c", f"{code}read(Path({str(path)!r}))"], capture_output=True, text=True)
    assert found.returncode == 1
    assert "is not a plain state dict" in found.stderr


def test_ordinary_pickles_of_every_protocol_are_not_refused():
    import pickle

    value = {("a", ("b", (1, 2))): [(1,), {"x": (2, (3,))}], "c": {(i,): (i, (i,)) for i in range(300)}}
    for protocol in range(6):
        check_pickles(pickle.dumps(value, protocol))


def test_weights_that_say_they_are_far_larger_than_their_file_are_refused(tmp_path):
    torch.save({"head.weight": torch.zeros(1, dtype=torch.float16).expand(1 << 20, 1 << 20)}, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 5000
    with pytest.raises(ModelError, match=r"say that they are far larger than the file"):
        read_state_dict(tmp_path / "a.pt")


def test_a_compressed_archive_is_none_of_torch(tmp_path):
    path = with_pickle(tmp_path / "a.pt", DEEP)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_BZIP2) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ModelError, match="is not a plain state dict"):
        read_state_dict(tmp_path / "b.pt")


@pytest.mark.parametrize("name", ["a.ckpt", "a.bin", "a.pth.tar", "a.PTH"])
def test_checkpoints_are_read_whatever_programs_call_them_with_what_lies_beside_the_weights(name, tmp_path):
    names = ("pytorch_lightning", "pytorch_lightning.utilities", "pytorch_lightning.utilities.parsing")
    made = {each: type(sys)(each) for each in names}
    module = made[names[-1]]

    class AttributeDict(dict):
        pass

    AttributeDict.__module__, AttributeDict.__qualname__ = module.__name__, "AttributeDict"
    module.AttributeDict = AttributeDict
    sys.modules |= made
    try:
        settings = AttributeDict(rate=0.1, folder=Path("x"))
        torch.save({"epoch": 3, "state_dict": {"net.weight": torch.ones(2)}, "hyper_parameters": settings}, tmp_path / name)
    finally:
        for each in names:
            del sys.modules[each]
    assert read_state_dict(tmp_path / name)["net.weight"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9",
        "Pow(Pow(9, 64), 64)",
        "LShift(1, 10**9)",
        "2**(s0*1000000)",
        "1 << 100000",
        "9" * 30,
        "(s0+" * 3000,
        "s0**1000",
    ],
)
def test_an_expression_that_would_not_end_is_not_plain(text):
    from napari_cam_feedback.models.networks.archive import _is_plain

    assert not _is_plain(text)


@pytest.mark.parametrize(
    "text", ["s0", "2*s0 + 1", "Max(1, s0//2)", "s0**2", "Pow(s0, -1)", "FloorDiv(s0, 4)", "Pow(s0, Integer(2))"]
)
def test_sizes_as_torch_writes_them_are_plain(text):
    from napari_cam_feedback.models.networks.archive import _is_plain

    assert _is_plain(text)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_an_exported_program_that_unpacks_to_far_more_than_its_size_is_refused(compression, tmp_path):
    from napari_cam_feedback.models.networks.archive import Archive

    with zipfile.ZipFile(tmp_path / "p.pt2", "w", compression) as file:
        file.writestr("p/models/model.json", "{}")
        file.writestr("p/data/weights/weight_0", bytes(30_000_000))
    assert (tmp_path / "p.pt2").stat().st_size < 100_000
    with pytest.raises(ModelError, match=r"is no archive of torch\.export or is cut short"):
        Archive(tmp_path / "p.pt2")
