"""Merging the masks of two people: nothing is lost, conflicts are shown, and who painted what is kept."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import ConfigError, MaskError
from napari_cam_feedback.feedback import MaskStore, compare_masks, fitting_masks, merge_into, merge_masks

SIZE = (4, 5)


def box(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


MINE, THEIRS = box(0, 0, 2, 3), box(1, 0, 3, 4)  # 6 and 8 pixels, 3 in common, 11 in either


@pytest.fixture
def mine(tmp_path) -> MaskStore:
    store = MaskStore(tmp_path / "mine")
    store.put("only/mine.png", box(0, 0, 1, 1), author="Ana", time="2026-01-01T00:00:00+00:00")
    store.put("same.png", box(0, 0, 2, 2), author="Ana", time="2026-01-02T00:00:00+00:00")
    store.put("both.png", MINE, author="Ana", time="2026-01-03T00:00:00+00:00")
    return store


@pytest.fixture
def theirs(tmp_path) -> MaskStore:
    store = MaskStore(tmp_path / "theirs")
    store.put("only/theirs.png", box(3, 3, 4, 5), author="Ben", time="2026-02-01T00:00:00+00:00")
    store.put("same.png", box(0, 0, 2, 2), author="Ben", time="2026-02-02T00:00:00+00:00")
    store.put("both.png", THEIRS, author="Ben", time="2026-02-03T00:00:00+01:00")
    return store


def content(store: MaskStore) -> dict[str, list]:
    return {key: store[key].tolist() for key in store}


def test_a_comparison_tells_what_only_one_has_what_is_the_same_and_by_how_much_others_differ(mine, theirs):
    found = compare_masks(mine, theirs)
    assert (found.only_mine, found.only_theirs, found.equal) == (["only/mine.png"], ["only/theirs.png"], ["same.png"])
    (conflict,) = found.conflicts.values()
    assert conflict.iou == pytest.approx(3 / 11)
    assert (conflict.mine.painted, conflict.theirs.painted) == (6, 8)
    assert (conflict.mine.author, conflict.theirs.author) == ("Ana", "Ben")
    assert conflict.theirs.time == "2026-02-03T00:00:00+01:00"
    assert found.to_json()["conflicts"][0]["key"] == "both.png"


EXPECTED = {
    "mine": MINE,
    "theirs": THEIRS,
    "union": MINE | THEIRS,
    "intersection": MINE & THEIRS,
    "newest": THEIRS,
}


@pytest.mark.parametrize("choice", EXPECTED)
def test_a_merge_takes_every_mask_once_and_settles_conflicts_as_asked(mine, theirs, tmp_path, choice):
    before = content(mine), content(theirs)
    out = MaskStore(tmp_path / "out")
    result = merge_masks(mine, theirs, out, conflicts=choice)
    again = MaskStore(tmp_path / "out")
    assert list(again) == ["both.png", "only/mine.png", "only/theirs.png", "same.png"]
    assert np.array_equal(again["both.png"], EXPECTED[choice])
    assert np.array_equal(again["only/mine.png"], mine["only/mine.png"])
    assert np.array_equal(again["only/theirs.png"], theirs["only/theirs.png"])
    assert result.taken["both.png"] == {"newest": "theirs"}.get(choice, choice)
    assert (content(mine), content(theirs)) == before


def test_author_and_time_are_kept_and_a_mask_of_both_has_both_authors(mine, theirs, tmp_path):
    out = MaskStore(tmp_path / "out", author="me")
    merge_masks(mine, theirs, out, conflicts="union")
    assert out.info("only/mine.png") == mine.info("only/mine.png")
    assert out.info("only/theirs.png") == theirs.info("only/theirs.png")
    assert out.info("both.png")["author"] == "Ana + Ben"
    assert out.info("both.png")["time"] > "2026-02-03"


def test_each_image_can_be_chosen_by_itself(mine, theirs, tmp_path):
    mine.put("more.png", MINE)
    theirs.put("more.png", THEIRS)
    out = MaskStore(tmp_path / "out")
    merge_masks(mine, theirs, out, conflicts="theirs", choices={"both.png": "mine"})
    assert np.array_equal(out["both.png"], MINE)
    assert np.array_equal(out["more.png"], THEIRS)


def test_conflicts_that_nobody_settled_are_an_error_and_nothing_is_written(mine, theirs, tmp_path):
    out = MaskStore(tmp_path / "out")
    with pytest.raises(MaskError) as caught:
        merge_masks(mine, theirs, out)
    assert str(caught.value) == (
        "1 image has two different masks (both.png); say which to take "
        "(mine, theirs, union, intersection, newest), for all or for one image."
    )
    assert caught.value.fields == ("conflicts", "choices")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="'both' is no way to settle a conflict; choose one of mine, theirs, union"):
        merge_masks(mine, theirs, out, conflicts="both")
    with pytest.raises(ConfigError, match=r"There is no mask of 'x\.png' to choose; check the key\."):
        merge_masks(mine, theirs, out, conflicts="mine", choices={"x.png": "mine"})


def test_a_folder_with_masks_in_it_is_not_written_into(mine, theirs):
    with pytest.raises(MaskError, match=r"There are masks in .*mine already; choose a new folder for the merged ones"):
        merge_masks(mine, theirs, mine, conflicts="theirs")
    assert np.array_equal(mine["both.png"], MINE)


def test_masks_of_two_sizes_can_be_chosen_between_but_not_joined(mine, theirs, tmp_path):
    theirs.put("both.png", box(0, 0, 2, 2, (8, 8)))
    found = compare_masks(mine, theirs)
    assert found.conflicts["both.png"].iou is None
    with pytest.raises(MaskError) as caught:
        merge_masks(mine, theirs, MaskStore(tmp_path / "out"), conflicts="union")
    assert str(caught.value) == (
        "The masks of both.png have 4x5 and 8x8 pixels, so that they cannot be joined; choose mine or theirs for this image."
    )
    out = MaskStore(tmp_path / "out")
    merge_masks(mine, theirs, out, conflicts="theirs")
    assert out["both.png"].shape == (8, 8)


def test_masks_without_a_pixel_in_common_leave_none_and_it_is_said(mine, theirs, tmp_path):
    theirs.put("both.png", box(3, 4, 4, 5))
    out = MaskStore(tmp_path / "out")
    result = merge_masks(mine, theirs, out, conflicts="intersection")
    assert result.empty == ["both.png"]
    assert "both.png" not in out
    assert "both.png" in mine


def test_the_newest_of_masks_without_an_index_is_told_by_the_file_s_time(tmp_path):
    for name, mask, time in (("mine", MINE, 2_000_000_000), ("theirs", THEIRS, 1_000_000_000)):
        (tmp_path / name).mkdir()
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / name / "both.png")
        os.utime(tmp_path / name / "both.png", (time, time))
    out = MaskStore(tmp_path / "out")
    merge_masks(MaskStore(tmp_path / "mine"), MaskStore(tmp_path / "theirs"), out, conflicts="newest")
    assert np.array_equal(out["both"], MINE)


def test_a_set_that_leaves_out_the_image_s_ending_is_the_same_image_s(tmp_path, mine):
    folder = tmp_path / "known"
    folder.mkdir()
    Image.fromarray(THEIRS.astype(np.uint8) * 255).save(folder / "both.png")  # the mask of both.png, as data bring it
    for first, second in ((mine, MaskStore(folder)), (MaskStore(folder), mine)):
        found = compare_masks(first, second)
        assert list(found.conflicts) == ["both.png"]
        assert found.conflicts["both.png"].iou == pytest.approx(3 / 11)
        assert found.equal == []
    out = MaskStore(tmp_path / "out")
    merge_masks(mine, MaskStore(folder), out, conflicts="union")
    assert np.array_equal(out["both.png"], MINE | THEIRS)


def test_a_mask_that_cannot_be_read_is_told_and_left_out(mine, theirs, tmp_path):
    theirs.path("only/theirs.png").write_bytes(b"broken")
    found = compare_masks(mine, MaskStore(tmp_path / "theirs"))
    assert list(found.unreadable) == ["only/theirs.png"]
    out = MaskStore(tmp_path / "out")
    merge_masks(mine, theirs, out, conflicts="mine", found=found)
    assert list(out) == ["both.png", "only/mine.png", "same.png"]


# Into mine ---------------------------------------------------------------------------------------------


def test_masks_brought_into_mine_keep_what_they_replace(mine, theirs, tmp_path):
    replaced = MaskStore(tmp_path / "replaced")
    result = merge_into(mine, theirs, replaced, choices={"both.png": "theirs"})
    assert np.array_equal(mine["both.png"], THEIRS)
    assert list(mine) == ["both.png", "only/mine.png", "only/theirs.png", "same.png"]
    assert list(replaced) == ["both.png"]
    assert np.array_equal(replaced["both.png"], MINE)
    assert replaced.info("both.png") == {"size": [4, 5], "author": "Ana", "time": "2026-01-03T00:00:00+00:00"}
    assert mine.info("both.png")["author"] == "Ben"
    assert result.kept == []


def test_what_was_not_chosen_stays_mine_also_where_it_was_painted_meanwhile(mine, theirs, tmp_path):
    replaced = MaskStore(tmp_path / "replaced")
    mine.put("only/theirs.png", box(0, 0, 1, 1))  # painted after the two were compared
    result = merge_into(mine, theirs, replaced, choices={})
    assert np.array_equal(mine["both.png"], MINE)
    assert np.array_equal(mine["only/theirs.png"], box(0, 0, 1, 1))
    assert sorted(result.kept) == ["both.png", "only/theirs.png"]
    assert not (tmp_path / "replaced").exists()


def test_masks_from_a_file_have_no_author_and_not_mine(tmp_path):
    mine = MaskStore(tmp_path / "mine", author="me")
    merge_into(mine, {"a.png": MINE}, MaskStore(tmp_path / "replaced"), choices={})
    assert mine.info("a.png")["author"] is None
    mine.put("b.png", MINE)
    assert mine.info("b.png")["author"] == "me"


# What fits a dataset -----------------------------------------------------------------------------------


class Images(ArrayDataset):
    """Images of the masks' size with these keys."""

    def __init__(self, *keys: str) -> None:
        super().__init__({"train": np.zeros((len(keys), *SIZE), np.uint8)}, {"train": [0] * len(keys)}, ("a", "b"))
        self.keys = type(self.keys)(keys)


IMAGES = Images("both.png", "only/mine.png", "only/theirs.png", "same.png")
TOO_LARGE = "it is 8x8 pixels and its image 4x5; make it the same size, or ask for it to be resized"


def test_only_masks_that_fit_the_images_are_brought_in_with_author_and_time(mine, theirs, tmp_path):
    for key in ("both.png", "only/theirs.png"):
        theirs.put(key, box(0, 0, 2, 2, (8, 8)), author="Ben")
    theirs.put("elsewhere.png", MINE, author="Ben")
    found = fitting_masks(theirs, IMAGES)
    assert (found.unmatched, found.refused) == (
        {"elsewhere.png": "no image is called so"},
        {"both.png": TOO_LARGE, "only/theirs.png": TOO_LARGE},
    )
    assert found.other_size == ["both.png", "only/theirs.png"]
    assert list(found.masks) == ["same.png"]
    before = content(mine)
    # Theirs does not fit, so that asking for it changes nothing.
    merge_into(mine, found.masks, MaskStore(tmp_path / "replaced"), choices={})
    assert content(mine) == before
    differences = compare_masks({}, fitting_masks(MaskStore(tmp_path / "mine"), IMAGES).masks)
    assert differences.only_theirs == ["both.png", "only/mine.png", "same.png"]
    conflict = compare_masks({"both.png": THEIRS}, fitting_masks(mine, IMAGES).masks).conflicts["both.png"]
    assert (conflict.theirs.author, conflict.theirs.time) == ("Ana", "2026-01-03T00:00:00+00:00")
    new = MaskStore(tmp_path / "new", author="me")
    merge_into(new, fitting_masks(mine, IMAGES).masks, MaskStore(tmp_path / "replaced"), choices={})
    assert {key: new.info(key) for key in new} == {key: mine.info(key) for key in mine}


def test_masks_of_another_size_fit_where_they_may_be_resized(theirs):
    theirs.put("both.png", box(0, 0, 4, 8, (8, 8)), author="Ben")
    found = fitting_masks(theirs, IMAGES, resize=True)
    assert found.refused == {}
    # The upper half stays the upper half.
    assert np.array_equal(found.masks["both.png"], box(0, 0, 2, 5))
    assert np.array_equal(found.masks["same.png"], theirs["same.png"])
    assert found.masks.info("both.png")["author"] == "Ben"


def test_what_fits_is_told_from_headers_and_what_is_broken_is_told(theirs, tmp_path, monkeypatch):
    theirs.path("same.png").write_bytes(b"broken")
    Image.fromarray(THEIRS).save(tmp_path / "theirs" / "only" / "mine.png")  # without the image's ending
    store = MaskStore(tmp_path / "theirs")
    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "load", lambda *_: pytest.fail("pixels were read"))
        found = fitting_masks(store, IMAGES)
    assert list(found.masks) == ["both.png", "only/mine.png", "only/theirs.png"]
    assert np.array_equal(found.masks["only/mine.png"], THEIRS)
    assert list(found.refused) == ["same.png"]
    assert "same.png.png cannot be read; restore it" in found.refused["same.png"]


def test_comparing_and_merging_tell_how_far_they_are_and_stop_when_asked(mine, theirs, tmp_path):
    seen: list[tuple[int, int]] = []
    compare_masks(mine, theirs, progress=lambda *step: seen.append(step))
    assert seen == [(n, 4) for n in range(1, 5)]
    found = compare_masks(mine, theirs, stop=lambda: True)
    assert found.to_json() == compare_masks({}, {}).to_json()
    out = MaskStore(tmp_path / "out")
    asked: list[int] = []
    merge_masks(mine, theirs, out, conflicts="mine", stop=lambda: len(asked) == 2, progress=lambda n, _: asked.append(n))
    assert len(out) == 2


def test_the_order_of_the_masks_does_not_matter():
    mine = {f"{n}.png": MINE for n in range(50)}
    theirs = {f"{n}.png": THEIRS for n in reversed(range(25, 75))}
    found = compare_masks(mine, theirs)
    assert (len(found.only_mine), len(found.only_theirs), len(found.conflicts)) == (25, 25, 25)
