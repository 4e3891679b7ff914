"""Several holders of one folder of masks: strokes, imports and proposals meet, and nobody's mask is lost."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.feedback import MaskStore, Proposal, ProposalStore, find_masks, import_masks
from napari_cam_feedback.feedback.exchange.importing import FoundMasks
from napari_cam_feedback.feedback.exchange.merging import merge_into
from napari_cam_feedback.feedback.masks import index
from napari_cam_feedback.feedback.masks.aside import put_aside
from napari_cam_feedback.feedback.masks.holders import UNPAINTED
from napari_cam_feedback.feedback.masks.index import INDEX_NAME, JOURNAL_NAME, MaskIndex
from napari_cam_feedback.feedback.proposals.from_filter import FilterMask, save_filter_masks

KEY = "train/3/0001.png"


def mask_of(*pixels: int) -> np.ndarray:
    mask = np.zeros((8, 16), bool)
    mask.flat[list(pixels)] = True
    return mask


@pytest.fixture
def ana(tmp_path) -> MaskStore:
    return MaskStore(tmp_path / "masks", author="Ana")


@pytest.fixture
def ben(tmp_path) -> MaskStore:
    return MaskStore(tmp_path / "masks", author="Ben")


def kept(store: MaskStore) -> list[np.ndarray]:
    return [MaskStore(folder)[KEY] for folder in sorted(store.folder.with_name("masks-replaced").glob("*"))]


def test_a_mask_of_another_holder_is_seen_after_a_refresh_and_read_as_it_is_now(ana, ben):
    ana.put(KEY, mask_of(1))
    assert [change.key for change in ben.refresh()] == [KEY]
    assert list(ben) == [KEY]
    assert np.array_equal(ben[KEY], mask_of(1))
    assert ben.info(KEY)["author"] == "Ana"
    ana.put(KEY, mask_of(2))
    assert np.array_equal(ben[KEY], mask_of(2))
    ana.remove(KEY)
    assert [change.key for change in ben.refresh()] == [KEY]
    assert KEY not in ben
    assert ben.refresh() == []


def test_who_has_read_a_mask_paints_over_it(ana, ben):
    ana.put(KEY, mask_of(1))
    ben.refresh()
    assert ben.put(KEY, ben[KEY] | mask_of(2)) is None
    ana.refresh()
    assert ana.put(KEY, ana[KEY] | mask_of(3)) is None
    assert np.array_equal(MaskStore(ana.folder)[KEY], mask_of(1, 2, 3))
    assert kept(ana) == []


def test_one_that_only_knows_that_there_is_a_mask_has_not_seen_it(ana, ben):
    ana.put(KEY, mask_of(1))
    ben.refresh()
    assert ben.put(KEY, mask_of(2)) is not None
    assert np.array_equal(kept(ana)[0], mask_of(1))


def test_clearing_an_image_keeps_what_another_has_painted_meanwhile(ana, ben):
    ana.put(KEY, mask_of(1))
    ben[KEY]
    ana.put(KEY, mask_of(1, 2))
    assert ben.put(KEY, mask_of()) is not None
    assert np.array_equal(kept(ana)[0], mask_of(1, 2))
    assert KEY not in MaskStore(ana.folder)


def test_painting_where_another_has_cleared_is_no_conflict(ana, ben):
    ana.put(KEY, mask_of(1))
    ben[KEY]
    ana.remove(KEY)
    assert ben.put(KEY, mask_of(1, 2)) is None
    assert np.array_equal(MaskStore(ana.folder)[KEY], mask_of(1, 2))


def test_the_same_mask_twice_is_no_conflict(ana, ben):
    ana.put(KEY, mask_of(1))
    assert ben.put(KEY, mask_of(1)) is None
    assert kept(ana) == []


def test_what_counts_is_what_was_painted_over_not_what_was_read_meanwhile(ana, ben):
    # The window reads all masks for a retune while older strokes are on their way to the disk.
    ana.put(KEY, mask_of(1))
    ben[KEY]
    assert ben.put(KEY, mask_of(2), over=UNPAINTED) is not None
    assert np.array_equal(kept(ana)[0], mask_of(1))


def test_a_mask_that_another_program_has_changed_is_kept(ana):
    ana.put(KEY, mask_of(1))
    Image.fromarray(mask_of(5).astype(np.uint8) * 255).save(ana.path(KEY))
    assert ana.put(KEY, mask_of(1, 2)) is not None
    assert np.array_equal(kept(ana)[0], mask_of(5))


def test_a_broken_mask_of_another_is_kept_as_it_is(ana, ben):
    ana.put(KEY, mask_of(1))
    ana.path(KEY).write_bytes(b"broken")
    gave_way = MaskStore(ana.folder).put(KEY, mask_of(2), over=UNPAINTED)
    assert gave_way is not None
    assert MaskStore(gave_way.folder).path(KEY).read_bytes() == b"broken"


def test_who_painted_first_is_told_once_also_when_the_other_went_on_painting(ana, ben):
    ana.put(KEY, mask_of(1))
    gave_way = ben.put(KEY, mask_of(2))
    ben.put(KEY, mask_of(2, 3))
    assert [change.replaced for change in ana.refresh()] == [gave_way]
    ana.put(KEY, ana[KEY] | mask_of(4))
    assert [change.replaced for change in ben.refresh()] == [None]
    assert np.array_equal(ben[KEY], mask_of(2, 3, 4))


def meet(ana: MaskStore, monkeypatch) -> None:
    """Let Ana paint after another holder has looked and before it writes."""
    original = MaskStore._changing

    def changing(self: MaskStore):
        if self is not ana and KEY not in ana:
            ana.put(KEY, mask_of(7))
        return original(self)

    monkeypatch.setattr(MaskStore, "_changing", changing)


WRITERS = {
    "import": lambda store, folder: import_masks(FoundMasks({KEY: mask_of(1)}), store).kept,
    "filter": lambda store, folder: save_filter_masks([FilterMask(0, KEY, mask_of(1), 0.5)], store).kept,
    "accept": lambda store, folder: proposed(folder).accept([KEY], store) == [],
    "merge": lambda store, folder: merge_into(store, {KEY: mask_of(1)}, MaskStore(folder / "old"), choices={}),
    "add": lambda store, folder: not store.add(KEY, mask_of(1)),
}


def proposed(folder: Path) -> ProposalStore:
    store = ProposalStore(folder / "proposals")
    store.add([Proposal(0, KEY, mask_of(1), "place", 0.5, "")])
    return store


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_whatever_never_overwrites_does_not_where_the_mask_came_meanwhile(ana, ben, write, monkeypatch, tmp_path):
    proposed(tmp_path)
    meet(ana, monkeypatch)
    assert write(ben, tmp_path)
    assert np.array_equal(MaskStore(ana.folder)[KEY], mask_of(7))
    assert kept(ana) == []


def test_what_two_holders_propose_and_answer_is_put_together(tmp_path):
    one, other = ProposalStore(tmp_path), ProposalStore(tmp_path)
    one.add([Proposal(0, "a.png", mask_of(1), "place", 0.5, "")])
    other.add([Proposal(1, "b.png", mask_of(2), "place", 0.4, "")])
    one.refresh()
    assert one.keys() == ["a.png", "b.png"]
    one.reject(["a.png"])
    other.accept(["b.png"], None)
    assert ProposalStore(tmp_path).keys() == []
    found = json.loads((tmp_path / "proposals.json").read_text())
    assert (list(found["rejected"]), list(found["accepted"])) == (["a.png"], ["b.png"])


def test_a_mask_put_aside_while_another_paints_is_not_lost(ana, ben, tmp_path):
    ana.put(KEY, mask_of(1))
    ben[KEY]
    ana.put(KEY, mask_of(2))
    put_aside(ben, KEY, tmp_path / "aside")
    found = [MaskStore(tmp_path / "aside")[KEY], *kept(ana)]
    assert any(np.array_equal(mask, mask_of(2)) for mask in found)


# The index --------------------------------------------------------------------------------------------


def test_with_many_masks_a_stroke_writes_a_line_and_not_the_whole_index(tmp_path, monkeypatch):
    # As a hundredth of ten times as many.
    monkeypatch.setattr(index, "_MAX_NEW_SHARE", 0.1)
    store = MaskStore(tmp_path)
    with store.batch():
        for number in range(30):
            store.put(f"{number}.png", mask_of(1))
    assert not (tmp_path / JOURNAL_NAME).exists()
    whole = (tmp_path / INDEX_NAME).read_bytes()
    store.put("0.png", mask_of(2), author="Ana")
    store.remove("1.png")
    assert (tmp_path / INDEX_NAME).read_bytes() == whole
    assert [json.loads(line)["key"] for line in (tmp_path / JOURNAL_NAME).read_text().splitlines()] == ["0.png", "1.png"]
    again = MaskStore(tmp_path)
    assert again.info("0.png")["author"] == "Ana"
    assert again.info("1.png") == {}
    for _ in range(3):
        store.put("2.png", mask_of(3))
    # After so many it is written anew; what a program that reads it only does not find is that at most.
    assert (tmp_path / INDEX_NAME).read_bytes() != whole
    store.write_index()
    assert not (tmp_path / JOURNAL_NAME).exists()
    assert json.loads((tmp_path / INDEX_NAME).read_text())["masks"].keys() == MaskIndex(tmp_path).entries.keys()


@pytest.mark.parametrize("rest", [b"", b'{"key": "9', b"\0\0\0", b"[]\n", b'{"size": 3}\n', b"\xff\xfe\n"])
def test_a_line_that_a_crash_cut_short_costs_no_other(tmp_path, rest):
    store = MaskStore(tmp_path)
    with store.batch():
        store.put("a.png", mask_of(1), author="Ana")
        with (tmp_path / JOURNAL_NAME).open("ab") as file:
            file.write(rest)
        MaskStore(tmp_path)._index.record("b.png", {"size": [8, 16], "author": "Ben", "time": ""}, in_batch=True)
        found = MaskIndex(tmp_path).entries
        assert {key: entry["author"] for key, entry in found.items()} == {"a.png": "Ana", "b.png": "Ben"}


def test_a_crash_between_the_index_and_its_lines_changes_nothing(tmp_path):
    store = MaskStore(tmp_path)
    with store.batch():
        for number in range(3):
            store.put("a.png", mask_of(number), author=f"painter {number}")
        lines = (tmp_path / JOURNAL_NAME).read_bytes()
    (tmp_path / JOURNAL_NAME).write_bytes(lines)  # the index was written, the lines not yet removed
    assert MaskStore(tmp_path).info("a.png")["author"] == "painter 2"


def test_an_index_that_an_older_version_wrote_is_read(tmp_path):
    MaskStore(tmp_path).put(KEY, mask_of(1))
    entry = {"size": [8, 16], "author": "Ana", "time": "2026-01-01T00:00:00+00:00"}
    (tmp_path / INDEX_NAME).write_text(json.dumps({"schema": 1, "masks": {KEY: entry}}))
    store = MaskStore(tmp_path)
    assert store.info(KEY) == entry
    assert store.put(KEY, mask_of(2)) is None


def test_strokes_of_two_stores_in_several_threads_are_all_kept(ana, ben):
    def paint(store: MaskStore, first: int) -> None:
        for number in range(first, first + 4):
            store.put(f"{number}.png", mask_of(number))

    threads = [threading.Thread(target=paint, args=(store, 4 * n)) for n, store in enumerate((ana, ben, ana, ben))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = MaskStore(ana.folder)
    assert len(found) == 16
    assert all(found.info(f"{number}.png")["author"] in ("Ana", "Ben") for number in range(16))


def test_masks_in_a_folder_are_found_beside_the_index_and_its_lines(tmp_path, ana):
    ana.put(KEY, mask_of(1))
    assert sorted(path.name for path in ana.folder.iterdir()) == [INDEX_NAME, "train"]
    data = tmp_path / "data" / KEY
    data.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((8, 16), np.uint8)).save(data)
    from napari_cam_feedback.data import open_dataset

    assert list(find_masks(ana.folder, open_dataset(tmp_path / "data")).masks) == [KEY]
