"""Names of files, classes, layers and versions are shown letter for letter: what looks like HTML in them is not obeyed."""

from __future__ import annotations

import re
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

import napari_cam_feedback.widgets
from napari_cam_feedback.widgets.parts import basics

pytest_plugins = ["widget_fixtures"]

FOLDER = Path(napari_cam_feedback.widgets.__file__).parent
DOCKS = ("CAM feedback", "Filters", "Concepts", "Train")


def test_labels_are_made_in_one_place_that_says_what_their_text_is():
    elsewhere = [
        f"{path.relative_to(FOLDER)}:{number}"
        for path in sorted(FOLDER.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\bQLabel\(", line) and path.name != "basics.py"
    ]
    assert elsewhere == [], "use plain_label, wrapped_label or rich_label of parts/basics.py"


def test_no_label_of_any_dock_guesses_whether_its_text_is_html(make_napari_viewer, files):
    viewer = make_napari_viewer()
    for name in DOCKS:
        _, dock = viewer.window.add_plugin_dock_widget("napari-cam-feedback", name)
        guessing = [label for label in dock.findChildren(QLabel) if label.textFormat() == Qt.TextFormat.AutoText]
        # Titles beside a form's fields are ours, and have no names in them.
        assert [label.text() for label in guessing if "<" in label.text()] == []
        assert [label.text() for label in guessing if label.buddy() is None and label.wordWrap()] == []


def test_a_question_a_tooltip_and_a_message_show_what_looks_like_a_tag(monkeypatch, qtbot):
    name = "<img src='x'> <b>a</b>"
    assert Qt.mightBeRichText(name)
    shown = basics.plain(name)
    assert not Qt.mightBeRichText(shown)
    assert shown.replace("\u200b", "") == name
    assert basics.plain("a & b") == "a & b"
    asked = []
    monkeypatch.setattr(basics.QMessageBox, "question", lambda *args: asked.append(args[2]))
    basics.confirmed(None, "?", name)
    assert asked == [shown]
    for make in (basics.plain_label, basics.wrapped_label):
        label = make(name)
        qtbot.addWidget(label)
        assert label.textFormat() == Qt.TextFormat.PlainText
        assert label.text() == name
