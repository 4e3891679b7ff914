"""A window whose project is open elsewhere too: it sees what others write, and where two painted it lets the user choose."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.projects import ProjectFolder
from napari_cam_feedback.widgets.session.other_holders import LOOK_MS
from napari_cam_feedback.widgets.viewer.layers import MASK

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def other(session) -> MaskStore:
    """The masks as another holder has them open."""
    return MaskStore(session.project.folder / "masks", author="Ben")


def shown(session) -> np.ndarray:
    return session.layers.get(MASK).data > 0


def block(session, rows: slice) -> np.ndarray:
    mask = np.zeros(session.layers.get(MASK).data.shape, bool)
    mask[rows, rows] = True
    return mask


def stroke(session, mask: np.ndarray) -> None:
    session.layers.get(MASK).data_setitem(np.nonzero(mask), 1)


def test_what_another_paints_is_shown_within_seconds_also_on_the_image_in_view(session, other, wait):
    assert LOOK_MS <= 2000
    key, elsewhere = session.key, session.dataset.keys[session.order[1]]
    changed: list[str] = []
    session.mask_changed.connect(changed.append)
    other.put(key, block(session, slice(2, 5)))
    other.put(elsewhere, block(session, slice(1, 3)))
    wait(lambda: {key, elsewhere} <= set(changed), 30)
    assert session.painted() >= {key, elsewhere}
    assert np.array_equal(shown(session), block(session, slice(2, 5)))
    # It is painted on, not over.
    stroke(session, block(session, slice(6, 8)))
    session.autosave.flush()
    assert np.array_equal(other[key], block(session, slice(2, 5)) | block(session, slice(6, 8)))
    assert not (session.project.folder / "masks-replaced").exists()
    other.remove(key)
    wait(lambda: key not in session.painted(), 30)
    assert not shown(session).any()


def test_strokes_over_a_mask_that_came_meanwhile_keep_both_and_the_user_chooses(session, other, wait):
    key, said = session.key, []
    session.message.connect(lambda text, level: said.append(text))
    session.others._timer.stop()
    mine, theirs = block(session, slice(6, 8)), block(session, slice(2, 5))
    other.put(key, theirs)
    stroke(session, mine)
    session.autosave.flush()
    wait(lambda: any("was painted by Ben too, meanwhile" in text for text in said), 10)
    assert np.array_equal(shown(session), mine)
    (folder,) = (session.project.folder / "masks-replaced").iterdir()
    assert np.array_equal(MaskStore(folder)[key], theirs)
    session.others.choose(session.project, _gave_way(key, folder), "union")
    wait(lambda: np.array_equal(shown(session), mine | theirs), 10)
    session.others.choose(session.project, _gave_way(key, folder), "theirs")
    wait(lambda: np.array_equal(shown(session), theirs), 10)
    session.autosave.flush()
    assert np.array_equal(other[key], theirs)
    # What was chosen against is kept in its place.
    assert np.array_equal(MaskStore(folder)[key], mine | theirs)


def _gave_way(key, folder):
    from napari_cam_feedback.feedback.masks.holders import Replaced

    return Replaced(key, "Ben", folder)


def test_strokes_on_their_way_are_not_taken_from_under_the_brush(session, other, qtbot):
    key, mine = session.key, block(session, slice(6, 8))
    session.others._timer.stop()
    stroke(session, mine)
    other.put(key, block(session, slice(2, 5)))
    session.others.look()
    session.disk.wait()
    qtbot.wait(50)  # what was found is taken over on the main thread
    assert np.array_equal(shown(session) & mine, mine)
    session.autosave.flush()
    found = [MaskStore(folder)[key] for folder in (session.project.folder / "masks-replaced").iterdir()]
    assert any(np.array_equal(mask, block(session, slice(2, 5))) for mask in [*found, other[key]])
    assert any((mask & mine).any() for mask in [*found, other[key]])


def test_a_version_that_another_keeps_is_in_the_list_and_the_one_in_use_stays(session, wait, qtbot):
    from napari_cam_feedback.widgets.open.version_tree import VersionTree

    tree = VersionTree(session, lambda _: None, lambda _: None, lambda *_: None)
    qtbot.addWidget(tree)
    session.versions_changed.connect(tree.refresh)
    shell = ProjectFolder(session.project.folder)
    weights = shell.weights("v001").read_bytes()
    kept = shell.add_version(
        "v001", method="pas", masks=1, save=lambda path: path.write_bytes(weights), record=lambda folder, name: None
    )
    wait(lambda: any(tree.tree.findItems(kept.id, _recursive(), 0)), 30)
    assert session.project.current.id == "v001"
    # A window that moves on takes nothing away.
    session.step(1)
    session.memory.now()
    session.disk.wait()
    assert [v.id for v in ProjectFolder(session.project.folder).versions] == ["v001", kept.id]


def _recursive():
    from qtpy.QtCore import Qt

    return Qt.MatchFlag.MatchStartsWith | Qt.MatchFlag.MatchRecursive


def test_closing_writes_the_whole_index_for_other_programs(session, monkeypatch):
    from napari_cam_feedback.feedback.masks import index

    monkeypatch.setattr(index, "_MAX_NEW_SHARE", 10.0)
    for number in session.order[:2]:
        session.masks.put(session.dataset.keys[number], np.ones_like(shown(session)))
    assert (session.masks.folder / index.JOURNAL_NAME).exists()
    session.close()
    assert not (session.masks.folder / index.JOURNAL_NAME).exists()
