"""The Suggest dock: the list with its reasons, the groups, and proposals that touch no mask before they are accepted."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

from napari_cam_feedback.feedback import MaskStore, ProposalStore
from napari_cam_feedback.models import build_classifier
from napari_cam_feedback.widgets.session.consents import Consents
from napari_cam_feedback.widgets.session.session import session_of
from napari_cam_feedback.widgets.suggest.dock import SuggestWidget
from napari_cam_feedback.widgets.suggest.model import ANSWER, PROPOSE, SUGGEST, _that_responds
from napari_cam_feedback.widgets.viewer.layers import MASK

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def docked(make_napari_viewer, project, wait):
    """The dock in a window that is shown, with the tiny project."""
    from napari_cam_feedback.widgets.session.session import prepare

    viewer = make_napari_viewer(show=True)
    session = session_of(viewer)
    widget = SuggestWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Suggest", area="right")
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: session.explanation is not None)
    yield session, widget
    session.close()


def paint(session, key, wait):
    """Paint the lower right corner of an image, and wait until that is on disk."""
    mask = np.zeros((16, 16), bool)
    mask[12:, 12:] = True
    session.put_mask(key, mask)
    session.save()
    wait(lambda: key in MaskStore(session.project.folder / "masks"))
    return mask


def propose(session, widget, wait):
    """Paint one image and let the same place be proposed for the others."""
    paint(session, "train/cat/00.png", wait)
    widget.tabs.setCurrentWidget(widget.proposals)
    widget.proposals.kind.setCurrentIndex(widget.proposals.kind.findData("filters"))
    widget.proposals.button.click()
    wait(lambda: not session.jobs.running(PROPOSE) and widget.proposals.key is not None)


def test_without_a_project_it_says_what_to_do_first(make_napari_viewer):
    viewer = make_napari_viewer()
    widget = SuggestWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Suggest", area="right")
    assert "the step Open" in widget.list.status.text()
    assert not widget.list.button.isEnabled()
    assert not widget.proposals.button.isEnabled()
    session_of(viewer).close()


def test_the_list_gives_pictures_and_reasons_and_a_double_click_opens_the_image(docked, wait):
    session, widget = docked
    widget.list.count.setValue(5)
    widget.list.button.click()
    wait(lambda: widget.model.found is not None and not session.jobs.running(SUGGEST))
    items = widget.model.found.suggestions.items
    assert widget.list.list.count() == 5
    for item in items:
        row = widget.list.list.item(item.rank - 1)
        assert row.text() == f"{item.rank}. {item.key}\n{item.reason}"
        assert not row.icon().isNull()
        assert not item.key.startswith("test")
    widget.list.list.itemActivated.emit(widget.list.list.item(2))
    assert session.key == items[2].key
    # Once it is painted the list says so.
    paint(session, items[2].key, wait)
    wait(lambda: "✓ painted" in widget.list.list.item(2).text())
    groups = widget.groups.panel
    assert len(groups.titles) == len(widget.model.found.suggestions.clusters) > 0
    groups.clicked.emit(items[0].index)
    assert session.index == items[0].index


def test_a_proposal_is_shown_in_its_own_layer_and_is_no_mask(docked, wait):
    session, widget = docked
    propose(session, widget, wait)
    page = widget.proposals
    assert session.key == page.key
    assert page.layer.data.any()
    assert not page.layer.editable
    assert not session.layers.get(MASK).data.any()
    assert session.painted() == {"train/cat/00.png"}
    assert list(MaskStore(session.project.folder / "masks")) == ["train/cat/00.png"]
    widget.tabs.setCurrentWidget(widget.list)
    assert page.layer is None


def test_the_line_and_the_counter_tell_of_the_same_proposals(docked, wait):
    session, widget = docked
    page = widget.proposals
    page.count.setValue(4)
    propose(session, widget, wait)
    assert page.status.text() == "4 masks are proposed; none counts before you accept it."
    page.button.click()
    wait(lambda: not session.jobs.running(PROPOSE) and "besides" in page.status.text())
    counts = re.match(r"(\d+) masks? (?:is|are) proposed, besides (\d+) that wait for an answer; ", page.status.text())
    assert sum(int(count) for count in counts.groups()) == len(widget.model.keys())
    assert f" of {len(widget.model.keys())}</b>" in page.about.text()


def test_accepting_makes_a_mask_and_shows_the_next_one(docked, wait):
    session, widget = docked
    propose(session, widget, wait)
    page, key = widget.proposals, widget.proposals.key
    proposed = np.asarray(page.layer.data) > 0
    author = widget.model.store.about(key).author
    assert author.startswith("proposed by ")
    page.accept_button.click()
    wait(lambda: not session.jobs.running(ANSWER) and page.key != key)
    session.save()
    masks = MaskStore(session.project.folder / "masks")
    assert np.array_equal(masks[key], proposed)
    # As where it is accepted in the shell.
    assert masks.info(key)["author"] == author
    again = ProposalStore(session.project.folder / "proposals")
    assert key not in again


def test_rejecting_is_remembered_and_leaves_no_mask(docked, wait):
    session, widget = docked
    propose(session, widget, wait)
    page, key, left = widget.proposals, widget.proposals.key, len(widget.model.keys())
    page.reject_button.click()
    wait(lambda: not session.jobs.running(ANSWER) and page.key != key)
    assert key not in session.painted()
    assert len(widget.model.keys()) == left - 1
    assert page.status.text() == "1 proposal was rejected."
    page.button.click()
    wait(lambda: not session.jobs.running(PROPOSE))
    left = widget.model.keys()
    assert key not in left


def test_all_that_are_left_can_be_accepted_at_once(docked, wait):
    session, widget = docked
    propose(session, widget, wait)
    keys = set(widget.model.keys())
    widget.proposals.all_button.click()
    wait(lambda: not session.jobs.running(ANSWER) and not widget.model.keys())
    session.save()
    masks = MaskStore(session.project.folder / "masks")
    assert set(masks) == keys | {"train/cat/00.png"}
    assert all(masks.info(key)["author"].startswith("proposed by ") for key in keys)
    assert widget.proposals.layer is None
    assert not widget.proposals.all_button.isVisible()
    assert widget.proposals.status.text() == f"{len(keys)} masks were accepted."


def test_a_proposal_that_is_not_shown_cannot_be_answered(docked, wait, qtbot):
    session, widget = docked
    page = widget.proposals
    page.count.setValue(4)
    propose(session, widget, wait)
    key, keys = page.key, widget.model.keys()
    without = next(n for n, other in enumerate(session.dataset.keys) if other not in keys)
    session.go_to(without)
    assert page.layer is None
    assert not page.accept_button.isEnabled()
    assert not page.reject_button.isEnabled()
    assert page.about.text().startswith("No mask is proposed for the image that is shown.")
    # By key and by a script neither.
    qtbot.keyClick(page, "a")
    page.accept()
    page.reject()
    assert not session.jobs.running(ANSWER)
    assert widget.model.keys() == keys
    page.skip_button.click()
    assert (session.key, page.key) == (key, key)
    assert page.layer is not None
    assert page.accept_button.isEnabled()
    assert f"1 of {len(keys)}</b>" in page.about.text()
    page.skip_button.click()
    assert page.key == keys[1]
    assert not page.layer.editable
    # Walking back shows it again.
    session.go_to(without)
    session.go_to(session.dataset.index_of(keys[1]))
    assert page.shown
    # On the image of another proposal, that one is shown and answered.
    session.go_to(session.dataset.index_of(keys[2]))
    assert page.key == keys[2]
    assert page.accept_button.isEnabled()


def test_filters_are_asked_of_the_version_that_was_painted_on(project, monkeypatch):
    painted_on = project.classifier(device="cpu")
    retuned = build_classifier("small-gap", painted_on.class_names, painted_on.preprocessing, seed=8)
    assert _that_responds(project, retuned, Consents()) is retuned  # nothing was retuned yet
    monkeypatch.setattr(type(project), "current", property(lambda self: SimpleNamespace(id="v002")))
    assert _that_responds(project, retuned, Consents()).fingerprint() == painted_on.fingerprint()
    # Without its weights, the one in use has to do.
    (project.folder / "versions" / "v001.safetensors").unlink()
    assert _that_responds(project, retuned, Consents()) is retuned
