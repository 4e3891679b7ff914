"""Masks on disk: whatever is painted is kept, also when the disk is full, the program dies, or a file is broken."""

from __future__ import annotations

import errno
import json
import os
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core_builders import small_disk
from napari_cam_feedback.errors import MaskError, StorageError
from napari_cam_feedback.feedback import MaskStore, read_mask_file
from napari_cam_feedback.feedback.masks import index
from napari_cam_feedback.feedback.masks.index import MaskIndex

KEY = "train/3/0001.png"


def blob(height: int = 6, width: int = 8, seed: int = 0) -> np.ndarray:
    mask = np.random.default_rng(seed).random((height, width)) < 0.3
    mask[0, 0] = True
    return mask


def everything(store: MaskStore) -> dict[str, list]:
    return {key: store[key].tolist() for key in store}


def index_of(folder: Path) -> dict:
    return json.loads((folder / "masks.json").read_text(encoding="utf-8"))


@pytest.fixture
def full(monkeypatch) -> dict[str, int | None]:
    """A switch: while ``full["errno"]`` is set, putting a file in its place fails with it."""
    switch: dict[str, int | None] = {"errno": None}
    original = os.replace

    def replace(source, target, **options):
        if switch["errno"] is not None:
            raise OSError(switch["errno"], os.strerror(switch["errno"]), str(target))
        return original(source, target, **options)

    monkeypatch.setattr(os, "replace", replace)
    return switch


def test_a_mask_is_an_8_bit_png_of_the_image_s_size_and_an_entry_in_the_index(tmp_path):
    store = MaskStore(tmp_path / "masks")
    assert not (tmp_path / "masks").exists()  # made when there is something to keep
    mask = blob()
    store.put(KEY, mask, image_size=(6, 8), author="Ana")
    assert store.path(KEY) == tmp_path / "masks/train/3/0001.png.png"
    with Image.open(store.path(KEY)) as image:
        assert image.format == "PNG"
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), mask * np.uint8(255))
    content = index_of(tmp_path / "masks")
    assert content["schema"] == 1
    assert list(content["masks"]) == [KEY]
    entry = content["masks"][KEY]
    assert (entry["size"], entry["author"]) == ([6, 8], "Ana")
    assert datetime.fromisoformat(entry["time"]).tzinfo is not None
    assert store.info(KEY) == {name: entry[name] for name in ("size", "author", "time")}
    assert store.info("train/3/0002.png") == {}


def test_a_mask_comes_back_exactly_also_after_reopening(tmp_path):
    store = MaskStore(tmp_path)
    mask = blob()
    store.put(KEY, mask.astype(np.int32) * 7)  # any number but zero is paint
    for opened in (store, MaskStore(tmp_path)):
        assert KEY in opened
        assert list(opened) == [KEY]
        assert len(opened) == 1
        assert opened[KEY].dtype == bool
        assert np.array_equal(opened[KEY], mask)


def test_painting_again_replaces_the_mask(tmp_path):
    store = MaskStore(tmp_path)
    store.put(KEY, blob(seed=1))
    store.put(KEY, blob(seed=2))
    assert np.array_equal(MaskStore(tmp_path)[KEY], blob(seed=2))
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_an_empty_mask_and_remove_take_the_file_and_the_entry_away(tmp_path):
    store = MaskStore(tmp_path)
    for take_away in (lambda: store.put(KEY, np.zeros((6, 8), bool)), lambda: store.remove(KEY)):
        store.put(KEY, blob())
        take_away()
        assert KEY not in store
        assert list(store) == []
        assert not store.path(KEY).exists()
        assert index_of(tmp_path)["masks"] == {}
        with pytest.raises(KeyError):
            store[KEY]
    store.remove("never/painted.png")


def test_what_the_caller_does_with_its_array_later_changes_no_mask(tmp_path, full):
    store, mask = MaskStore(tmp_path), blob()
    full["errno"] = errno.ENOSPC
    with pytest.raises(StorageError):
        store.put(KEY, mask)
    expected = mask.copy()
    mask[:] = False
    store[KEY][:] = False
    assert np.array_equal(store[KEY], expected)


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "/etc/x", "a\\..\\x", "", ".", "./", "./x", "a//x", "a/", "a\0b", ".tmp-x", "a/._x"]
)
def test_a_key_that_leads_out_of_the_folder_or_would_not_be_found_again_is_refused(tmp_path, key):
    store = MaskStore(tmp_path / "masks")
    with pytest.raises(MaskError, match=r"cannot be the key of an image; use a path inside the dataset"):
        store.put(key, blob())
    assert list(tmp_path.rglob("*")) == []
    assert store.unsaved == ()


@pytest.mark.parametrize(
    "key",
    ["a.png", "a b/ü日.jpg", "train/00000", "x/y/z/deep.tif", "a.b.c.png", "..a/x", ".hidden/x.png", ".x.png", "masks"],
)
def test_ordinary_keys_come_back_as_they_are(tmp_path, key):
    MaskStore(tmp_path).put(key, blob())
    assert list(MaskStore(tmp_path)) == [key]


def test_two_images_whose_names_differ_in_the_suffix_have_masks_of_their_own(tmp_path):
    store = MaskStore(tmp_path)
    store.put("a.png", blob(seed=1))
    store.put("a.jpg", blob(seed=2))
    again = MaskStore(tmp_path)
    assert np.array_equal(again["a.png"], blob(seed=1))
    assert np.array_equal(again["a.jpg"], blob(seed=2))
    again.remove("a.png")
    assert list(MaskStore(tmp_path)) == ["a.jpg"]


def test_a_mask_of_another_size_is_refused_and_the_old_one_stays(tmp_path):
    store = MaskStore(tmp_path)
    store.put(KEY, blob(), image_size=(6, 8))
    with pytest.raises(MaskError, match=r"The mask of .*0001\.png is 8x6 pixels and its image 6x8; paint it on its"):
        store.put(KEY, blob().T, image_size=(6, 8))
    with pytest.raises(MaskError, match=r"is 6x8x3 pixels"):
        store.put(KEY, np.ones((6, 8, 3)))
    assert np.array_equal(MaskStore(tmp_path)[KEY], blob())
    assert store.unsaved == ()


def test_masks_are_selected_by_key(tmp_path):
    store = MaskStore(tmp_path)
    store.put("a.png", blob(seed=1))
    store.put("b.png", blob(seed=2))
    found = store.select(["b.png", "c.png"])
    assert list(found) == ["b.png"]
    assert np.array_equal(found["b.png"], blob(seed=2))


def known_folder(folder: Path) -> None:
    """A mask in the layout of known masks: the image's suffix is left out."""
    (folder / "train/3").mkdir(parents=True)
    Image.fromarray(blob() * np.uint8(255)).save(folder / "train/3/0001.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".TIFF", ""])
def test_a_folder_in_the_layout_of_known_masks_is_read(tmp_path, suffix):
    known_folder(tmp_path)
    store = MaskStore(tmp_path)
    assert f"train/3/0001{suffix}" in store
    assert np.array_equal(store[f"train/3/0001{suffix}"], blob())
    assert "train/3/0001.txt" not in store


def test_painting_over_a_known_mask_replaces_it_and_removing_takes_it_away(tmp_path):
    known_folder(tmp_path)
    store = MaskStore(tmp_path)
    store.put(KEY, blob(seed=5))
    assert np.array_equal(MaskStore(tmp_path)[KEY], blob(seed=5))
    store.remove(KEY)
    assert KEY not in store
    assert KEY not in MaskStore(tmp_path)
    known_folder(tmp_path / "other")
    MaskStore(tmp_path / "other").remove(KEY)
    assert KEY not in MaskStore(tmp_path / "other")


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "the disk is full; free some space"), (errno.EROFS, "the folder is read-only; choose another folder")],
)
def test_a_mask_that_cannot_be_written_stays_in_memory_and_is_written_by_retry(tmp_path, full, number, reason):
    store = MaskStore(tmp_path)
    store.put(KEY, blob(seed=1))
    full["errno"] = number
    with pytest.raises(StorageError, match=f"Could not write .*0001.png.*{reason}"):
        store.put(KEY, blob(seed=2), author="Ana")
    with pytest.raises(StorageError):
        store.put("new.png", blob(seed=3))
    # The user goes on with what was painted, and the disk still has what it had.
    assert np.array_equal(store[KEY], blob(seed=2))
    assert np.array_equal(store["new.png"], blob(seed=3))
    assert list(store) == ["new.png", KEY]
    assert set(store.unsaved) == {KEY, "new.png"}
    assert everything(MaskStore(tmp_path)) == {KEY: blob(seed=1).tolist()}
    with pytest.raises(StorageError):
        store.retry()
    assert set(store.unsaved) == {KEY, "new.png"}
    full["errno"] = None
    store.retry()
    assert store.unsaved == ()
    assert everything(MaskStore(tmp_path)) == everything(store) == {
        KEY: blob(seed=2).tolist(),
        "new.png": blob(seed=3).tolist(),
    }  # fmt: skip
    assert store.info(KEY)["author"] == "Ana"
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".")] == []


def test_a_mask_whose_removal_cannot_be_written_counts_as_removed_and_is_removed_by_retry(tmp_path, full):
    store = MaskStore(tmp_path)
    store.put(KEY, blob())
    full["errno"] = errno.ENOSPC  # the index cannot be written; the file can be removed
    with pytest.raises(StorageError):
        store.remove(KEY)
    assert KEY not in store
    assert list(store) == []
    assert store.unsaved == (KEY,)
    full["errno"] = None
    store.retry()
    assert store.unsaved == ()
    assert list(MaskStore(tmp_path)) == []
    assert index_of(tmp_path)["masks"] == {}


@pytest.mark.lengthy
def test_a_file_that_cannot_be_removed_gives_a_sentence_and_the_removal_is_tried_again(tmp_path, monkeypatch):
    store = MaskStore(tmp_path)
    store.put(KEY, blob())
    original = Path.unlink

    def refuse(self, *_: object, **__: object) -> None:
        raise OSError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match=r"Could not remove .*you may not write or read there"):
        store.remove(KEY)
    assert KEY not in store
    monkeypatch.setattr(Path, "unlink", original)
    store.retry()
    assert list(MaskStore(tmp_path)) == []


def test_on_a_disk_that_fills_up_while_a_mask_is_written_nothing_is_lost(tmp_path):
    store, noise = MaskStore(tmp_path), np.random.default_rng(0).random((300, 300)) < 0.5
    store.put(KEY, blob())
    with small_disk(2000), pytest.raises(StorageError, match="Could not write"):
        store.put(KEY, noise)
    assert np.array_equal(store[KEY], noise)
    assert np.array_equal(MaskStore(tmp_path)[KEY], blob())
    store.retry()
    assert np.array_equal(MaskStore(tmp_path)[KEY], noise)


def test_a_crash_between_the_mask_s_file_and_the_index_costs_no_mask(tmp_path, monkeypatch):
    store = MaskStore(tmp_path)
    store.put("first.png", blob(seed=1))

    class Crash(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Crash

    monkeypatch.setattr(MaskIndex, "record", crash)
    with pytest.raises(Crash):
        store.put(KEY, blob(seed=2))
    monkeypatch.undo()
    after = MaskStore(tmp_path)
    assert list(index_of(tmp_path)["masks"]) == ["first.png"]
    assert everything(after) == {"first.png": blob(seed=1).tolist(), KEY: blob(seed=2).tolist()}
    assert after.info(KEY) == {}


def test_an_index_entry_without_a_file_is_no_mask(tmp_path):
    store = MaskStore(tmp_path)
    store.put(KEY, blob())
    store.path(KEY).unlink()
    assert list(MaskStore(tmp_path)) == []


def test_a_lost_index_costs_no_mask(tmp_path):
    MaskStore(tmp_path).put(KEY, blob())
    (tmp_path / "masks.json").unlink()
    store = MaskStore(tmp_path)
    assert np.array_equal(store[KEY], blob())
    store.put("b.png", blob(seed=1))
    assert list(index_of(tmp_path)["masks"]) == ["b.png"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"masks": []}', '{"masks": {"a.png": 3}}'])
def test_a_broken_index_gives_a_sentence_and_is_not_overwritten(tmp_path, content):
    MaskStore(tmp_path).put(KEY, blob())
    (tmp_path / "masks.json").write_text(content)
    with pytest.raises(StorageError, match=r"masks\.json is not .*; restore it or remove it"):
        MaskStore(tmp_path)
    assert (tmp_path / "masks.json").read_text() == content


def test_an_index_of_a_newer_version_is_refused(tmp_path):
    (tmp_path / "masks.json").write_text('{"schema": 2, "masks": {}}')
    with pytest.raises(StorageError, match=r"A newer version of napari-cam-feedback wrote .*; update the plugin"):
        MaskStore(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_broken_mask_gives_a_sentence_and_the_others_stay(tmp_path, share):
    store = MaskStore(tmp_path)
    store.put(KEY, np.random.default_rng(0).random((60, 60)) < 0.5)
    store.put("b.png", blob())
    content = store.path(KEY).read_bytes()
    store.path(KEY).write_bytes(content[: int(len(content) * share)])
    after = MaskStore(tmp_path)
    with pytest.raises(
        MaskError, match=r"The mask .*0001\.png\.png cannot be read; restore it, or remove it and paint again"
    ):
        after[KEY]
    assert np.array_equal(after["b.png"], blob())
    after.put(KEY, blob(seed=3))
    assert np.array_equal(MaskStore(tmp_path)[KEY], blob(seed=3))


def test_a_mask_deleted_behind_our_back_gives_a_sentence(tmp_path):
    store = MaskStore(tmp_path)
    store.put(KEY, blob())
    store.path(KEY).unlink()
    with pytest.raises(MaskError, match=r"cannot be read; restore it, or remove it and paint again"):
        store[KEY]


def test_a_store_opened_after_another_wrote_agrees_with_it(tmp_path):
    first = MaskStore(tmp_path)
    for n in range(5):
        first.put(f"train/a/{n}.png", blob(seed=n))
    first.remove("train/a/2.png")
    second = MaskStore(tmp_path)
    assert everything(second) == everything(first)
    second.put("train/a/9.png", blob(seed=9))
    assert everything(MaskStore(tmp_path)) == everything(second)


def test_strokes_from_several_threads_are_all_kept(tmp_path):
    store = MaskStore(tmp_path)

    def paint(number: int) -> None:
        for n in range(4):
            store.put(f"{number}/{n}.png", blob(seed=10 * number + n))

    threads = [threading.Thread(target=paint, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = MaskStore(tmp_path)
    assert len(after) == 16
    assert len(index_of(tmp_path)["masks"]) == 16
    assert all(np.array_equal(after[f"{a}/{n}.png"], blob(seed=10 * a + n)) for a in range(4) for n in range(4))


def test_half_written_files_are_no_masks(tmp_path):
    MaskStore(tmp_path).put(KEY, blob())
    (tmp_path / "train/3/.tmp-abc.png").write_bytes(b"half")
    assert list(MaskStore(tmp_path)) == [KEY]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F"])
def test_a_mask_file_of_any_kind_is_paint_wherever_a_channel_but_alpha_is_not_zero(tmp_path, mode):
    mask = blob()
    one = {
        "1": (mask, None),
        "L": (mask.astype(np.uint8), "L"),  # the faintest gray
        "P": (mask.astype(np.uint8), "L"),
        "RGB": (mask[..., None] * np.array([0, 0, 1], np.uint8), "RGB"),  # the faintest blue
        "RGBA": (mask[..., None] * np.array([0, 0, 1, 0], np.uint8) + np.array([0, 0, 0, 255], np.uint8), "RGBA"),
        "LA": (mask[..., None] * np.array([1, 0], np.uint8) + np.array([0, 255], np.uint8), "LA"),
        "I;16": (mask.astype(np.uint16), "I;16"),
        "I": (mask.astype(np.int32), "I"),
        "F": (mask.astype(np.float32) * 0.25, "F"),
    }[mode]
    image = Image.fromarray(one[0])
    if mode == "P":
        image = image.convert("P")
        image.putpalette([0, 0, 0, 0, 0, 200] + [0] * 762)  # label 1 is dark blue
    path = tmp_path / ("m.tif" if mode in {"F", "I"} else "m.png")
    image.save(path)
    assert np.array_equal(read_mask_file(path), mask)


def test_many_masks_are_put_with_one_writing_of_the_index(tmp_path, monkeypatch):
    store, writings, original = MaskStore(tmp_path), [], index.write_json
    monkeypatch.setattr(index, "write_json", lambda *args: (writings.append(1), original(*args)))
    with store.batch():
        for n in range(5):
            store.put(f"{n}.png", blob(seed=n), author="Ana")
        assert list(MaskStore(tmp_path)) == [f"{n}.png" for n in range(5)]  # the masks themselves are there at once
    assert len(writings) == 1
    assert MaskStore(tmp_path).info("3.png")["author"] == "Ana"
    # Whatever ends it, what was put by then is in the index.
    with suppress(RuntimeError), store.batch():
        store.put("6.png", blob(), author="Ben", time="2026-01-01T00:00:00+00:00")
        raise RuntimeError
    assert MaskStore(tmp_path).info("6.png") == {"size": [6, 8], "author": "Ben", "time": "2026-01-01T00:00:00+00:00"}
    assert store.unsaved == ()


def test_a_store_s_own_author_is_noted_where_none_is_named(tmp_path):
    store = MaskStore(tmp_path, author="Ana")
    for key, author in (("a.png", None), ("b.png", "Ben"), ("c.png", "")):
        store.put(key, blob(), author=author)
    assert [store.info(key)["author"] for key in ("a.png", "b.png", "c.png")] == ["Ana", "Ben", None]
