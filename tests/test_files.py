"""Files are written whole or not at all, and every failure becomes one sentence for the user."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat

import numpy as np
import pytest

from core_builders import small_disk
from napari_cam_feedback.errors import ConfigError, DataError, MaskError, ModelError, RetuneError, StorageError, describe
from napari_cam_feedback.figures import png_of
from napari_cam_feedback.files import (
    TableWriter,
    atomic_path,
    check_writable,
    make_unused_folder,
    read_json,
    refuse_links,
    unused,
    write_bytes,
    write_json,
    write_text,
)
from napari_cam_feedback.torch_loader import torch


def test_a_file_is_written_with_the_folders_it_needs(tmp_path):
    write_bytes(tmp_path / "a/b/c.bin", b"\0\1")
    assert (tmp_path / "a/b/c.bin").read_bytes() == b"\0\1"
    write_text(tmp_path / "t.txt", "ü\n")
    assert (tmp_path / "t.txt").read_bytes() == "ü\n".encode()
    write_json(tmp_path / "j.json", {"日": [1, None]})
    assert json.loads((tmp_path / "j.json").read_text(encoding="utf-8")) == {"日": [1, None]}
    assert read_json(tmp_path / "j.json") == {"日": [1, None]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "j.json", "t.txt"]


def test_a_file_has_the_rights_of_any_other(tmp_path):
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_until_it_is_whole_the_old_file_is_there_and_the_new_one_is_beside_it(tmp_path):
    path = tmp_path / "x.png"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # on the same disk, so that it can be put in place at once
        assert temporary.suffix == ".png"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


class Crash(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), Crash(), OSError(errno.ENOSPC, "x")])
def test_a_failure_leaves_the_old_file_and_no_temporary_one(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    expected = StorageError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("where", ["os.fsync", "os.replace", "tempfile.mkstemp"])
def test_a_full_disk_at_any_moment_leaves_the_old_file_and_gives_a_sentence(tmp_path, monkeypatch, where):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(where, full)
    with pytest.raises(StorageError, match=r"Could not write .*x\.txt: the disk is full; free some space and try again\."):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_midway_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    with small_disk(1000), pytest.raises(StorageError, match=r"Could not write .*too large for that disk"):
        write_bytes(path, bytes(5000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_on_the_disk_before_it_is_put_in_place(tmp_path, monkeypatch):
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda *a: (done.append("fsync"), fsync(*a))[1])
    monkeypatch.setattr(os, "replace", lambda *a, **k: (done.append("replace"), replace(*a, **k))[1])
    write_text(tmp_path / "x", "x")
    assert done == ["fsync", "replace"]


def test_a_folder_in_the_way_and_a_file_for_a_folder_give_a_sentence(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=r"folder is a folder, not a file; name a file"):
        write_text(tmp_path / "folder", "x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"Could not write .*file: a file of that name is in the way"):
        write_text(tmp_path / "file/x", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}])
def test_what_is_no_json_is_refused_and_the_old_file_stays(tmp_path, value):
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[1,]"])
def test_a_broken_json_file_gives_a_sentence(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"x\.json is not a JSON file \(.*\); restore it or remove it"):
        read_json(tmp_path / "x.json")


def test_whether_a_file_can_be_written_is_found_out_without_leaving_anything(tmp_path):
    there = tmp_path / "there.json"
    there.write_text("kept")
    check_writable(there)
    check_writable(tmp_path / "new" / "folder" / "x.json")
    assert [path.name for path in tmp_path.rglob("*")] == ["there.json"]
    assert there.read_text() == "kept"
    for path in (there / "x.json", there / "folder" / "x.json", tmp_path):
        with pytest.raises(StorageError, match=r"Could not write|is a folder, not a file"):
            check_writable(path)
    assert [path.name for path in tmp_path.rglob("*")] == ["there.json"]


def test_a_missing_json_file_gives_a_sentence(tmp_path):
    with pytest.raises(StorageError, match=r"Could not read .*x\.json: .*there is no such file or folder; check the path"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("kind", [ConfigError, DataError, MaskError, ModelError, RetuneError, StorageError])
def test_our_own_errors_say_what_they_say_in_one_line(kind):
    assert describe(kind("Something is wrong;\n  mend it.")) == "Something is wrong; mend it."


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full; free some space and try again."),
        (errno.EDQUOT, "your disk quota is used up; free some space and try again."),
        (errno.EROFS, "the folder is read-only; choose another folder."),
        (errno.EACCES, "you may not write or read there; choose another folder or change its rights."),
        (errno.ENOENT, "there is no such file or folder; check the path."),
        (errno.EISDIR, "that is a folder, not a file; name a file."),
        (errno.ENAMETOOLONG, "the file name is too long; choose a shorter one."),
        (errno.EFBIG, "the file is too large for that disk; choose another disk."),
    ],
)
def test_what_the_operating_system_says_is_put_into_words(number, reason):
    assert describe(OSError(number, os.strerror(number))) == reason
    assert describe(OSError(number, os.strerror(number), "/data/x.png")) == f"/data/x.png: {reason}"


def test_any_other_word_of_the_operating_system_is_handed_on_and_is_no_fault_of_ours():
    text = describe(OSError(errno.EIO, "Input/output error", "/data/x.png"))
    assert (
        text == "/data/x.png: the operating system reports “Input/output error”; check the disk and the path, and try again."
    )


def test_too_little_memory_is_said_as_such_whoever_says_it():
    def allocate() -> None:
        torch.empty(1 << 60)

    with pytest.raises(RuntimeError) as of_torch:
        allocate()
    for error in (
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(np.uint8)),
        of_torch.value,
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ):
        assert describe(error).startswith("There is not enough memory for this; use a smaller batch, smaller images")


def test_a_fault_of_ours_is_called_one_in_a_line_without_a_traceback():
    text = describe(KeyError("a\nb"))
    assert text.startswith("Unexpected KeyError: ")
    assert text.endswith("(a fault of the program; please report it).")
    assert "\n" not in text
    assert len(describe(ValueError("x" * 5000))) < 500


def test_a_name_that_is_taken_gets_a_number_and_an_empty_folder_is_free(tmp_path):
    assert unused(tmp_path / "a.txt") == tmp_path / "a.txt"
    (tmp_path / "a.txt").touch()
    (tmp_path / "a-2.txt").touch()
    assert unused(tmp_path / "a.txt") == tmp_path / "a-3.txt"
    (tmp_path / "runs").mkdir()
    assert unused(tmp_path / "runs") == tmp_path / "runs"
    (tmp_path / "runs" / "x").touch()
    assert unused(tmp_path / "runs") == tmp_path / "runs-2"


def test_two_who_make_a_folder_of_one_name_never_get_the_same_though_nothing_is_in_it_yet(tmp_path):
    names = [make_unused_folder(tmp_path / "runs" / "auto").name for _ in range(3)]
    assert names == ["auto", "auto-2", "auto-3"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        make_unused_folder(tmp_path / "file" / "auto")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has that device")  # noqa: PTH110
def test_a_device_is_written_to_and_not_replaced(tmp_path):
    for link in ("null", "full"):
        (tmp_path / link).symlink_to(f"/dev/{link}")
    write_text(tmp_path / "null", "x")
    check_writable(tmp_path / "null")
    with pytest.raises(StorageError, match=r"Could not write .*full: the disk is full"):
        write_text(tmp_path / "full", "x" * 100_000)
    assert (tmp_path / "full").is_char_device()
    assert (tmp_path / "null").is_char_device()


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names")
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(tmp_path / "pipe", "said")
        assert os.read(reading, 10) == b"said"
    finally:
        os.close(reading)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_link_out_of_an_output_folder_is_refused_and_one_within_is_not(tmp_path):
    out = tmp_path / "out"
    (out / "real").mkdir(parents=True)
    (out / "within").symlink_to(out / "real")
    (out / "away").symlink_to(tmp_path)
    refuse_links(out, out / "within" / "x.png")
    refuse_links(out, out / "new" / "x.png")
    with pytest.raises(StorageError, match=r"away leads out of .* by a link"):
        refuse_links(out, out / "away" / "x.png")
    (tmp_path / "linked").symlink_to(out)
    refuse_links(tmp_path / "linked", tmp_path / "linked" / "real" / "x.png")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[" * 200 + "1" + "]" * 200, "9" * 5000, '{"a": "\\ud800"']
)
def test_json_of_absurd_depth_or_numbers_is_refused_in_a_sentence(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(StorageError, match=r"x\.json is not a JSON file"):
        read_json(tmp_path / "x.json")


def test_brackets_in_texts_are_no_depth(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"a": "[" * 500, "b": '"[' * 500, "c": "\\" * 300}))
    assert read_json(tmp_path / "x.json")["a"] == "[" * 500


def test_an_error_whose_own_text_fails_is_described_too():
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    class Ours(DataError):
        def __str__(self) -> str:
            raise ValueError("no text")

    assert describe(Broken()) == "Unexpected Broken (a fault of the program; please report it)."
    assert describe(Ours("broken")).startswith("Unexpected Ours")


def test_what_a_terminal_would_obey_is_written_as_numbers():
    said = describe(DataError("The image \x1b[2J\x07\udcff\u202egnp.exe ü 日本 \u200d is broken; remove it."))
    assert said == "The image \\x1b[2J\\x07\\udcff\\u202egnp.exe ü 日本 \u200d is broken; remove it."


def test_a_sentence_with_an_endless_word_stays_readable():
    said = describe(DataError(f"The page {'9' * 5000} is no number; correct it."))
    assert len(said) < 400
    assert said.endswith("… is no number; correct it.")


def test_a_text_in_a_table_is_no_formula_to_a_spreadsheet_and_numbers_stay():
    text = io.StringIO()
    writer = TableWriter(text)
    writer.writerow(["=cmd|' /C calc'!A0", "@SUM(1)", "+a", "-b", "a=b", "-1.5", "+0.012", "-1e-05", "-", -2, 0.5, None])
    assert next(csv.reader(io.StringIO(text.getvalue()))) == [
        "'=cmd|' /C calc'!A0", "'@SUM(1)", "'+a", "'-b", "a=b", "-1.5", "+0.012", "-1e-05", "-", "-2", "0.5", "",
    ]  # fmt: skip


def test_dollar_signs_in_names_are_no_formulas_in_figures():
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], label="$\\frac{$")
    axes.set_title("5 $ or $\\x_{$")
    axes.set_xticks([0, 1], ["$_$", "a$^$"])
    axes.legend()
    assert png_of(figure).startswith(b"\x89PNG")
