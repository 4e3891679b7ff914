"""Small pieces that the docks are built of: wrapping labels, links, forms, narrow buttons, single-shot timers."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, TypeVar

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer, QUrl
from qtpy.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QFormLayout,
    QLabel,
    QLayout,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.widgets.parts.tones import Tone, set_tone, tone_colour

Layout = TypeVar("Layout", bound=QLayout)
#: What is said where something must be open, and is not.
OPEN_FIRST = "Nothing is open yet: open a sample, or a model with its images, at the step Open of CAM feedback first."


def plain_label(text: str = "") -> QLabel:
    """Return a label that shows its text letter for letter.

    A name may look like HTML, which a label of Qt's own obeys: it would load pictures, or hide part of what it says.
    """
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setText(text)
    return label


def wrapped_label(text: str = "", tone: Tone | None = None) -> QLabel:
    """Return a label of plain text that wraps and can be copied, in a tone of `set_tone`."""
    label = plain_label(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    if tone is not None:
        set_tone(label, tone)
    return label


def rich_label(text: str = "") -> QLabel:
    """Return a label of HTML that wraps and can be copied; whatever is not ours in it must be escaped."""
    label = wrapped_label()
    label.setTextFormat(Qt.TextFormat.RichText)
    label.setText(text)
    return label


def plain(text: str) -> str:
    """Return a text that Qt shows letter for letter where it cannot be told to: in tooltips, messages and questions."""
    # A mark that is not seen keeps what looks like a tag from being one.
    return text.replace("<", "<\u200b") if "<" in text else text


def fill_scrolling(dock: QWidget, inside: QWidget) -> QScrollArea:
    """Fill a dock with one widget, as wide as the dock, and with a scroll bar where it is too low for it."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inside)
    _HighEnough(inside)
    layout = tight(QVBoxLayout(dock))
    layout.addWidget(area)
    return area


class _HighEnough(QObject):
    """Keeps a widget that scrolls as high as its wrapped texts need at its width, which Qt does not ask them for."""

    def __init__(self, inside: QWidget) -> None:
        super().__init__(inside)
        inside.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Resize, QEvent.Type.LayoutRequest) and isinstance(watched, QWidget):
            layout = watched.layout()
            if layout is not None and layout.hasHeightForWidth():
                watched.setMinimumHeight(layout.totalMinimumHeightForWidth(watched.width()))
        return False


def tight(layout: Layout, spacing: int | None = None, *, margins: int | tuple[int, int, int, int] = 0) -> Layout:
    """Return a layout with so many pixels between its parts, by default the style's, and around them."""
    layout.setContentsMargins(*((margins,) * 4 if isinstance(margins, int) else margins))
    if spacing is not None:
        layout.setSpacing(spacing)
    return layout


def fill(layout: QBoxLayout, *parts: QWidget | QLayout) -> None:
    """Add parts to a layout, one after the other."""
    for part in parts:
        if isinstance(part, QLayout):
            layout.addLayout(part)
        else:
            layout.addWidget(part)


def form_layout(parent: QWidget | None = None) -> QFormLayout:
    """Return a form whose fields take all the width that there is, each beside its title."""
    form = QFormLayout(parent) if parent is not None else QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
    form.setVerticalSpacing(4)
    return form


def show_row(form: QFormLayout, field: QWidget, shown: bool) -> None:
    """Show or hide a form's field together with its title; Qt's own way is not in every Qt."""
    field.setVisible(shown)
    title = form.labelForField(field)
    if title is not None:
        title.setVisible(shown)


def push_button(text: str, action: Callable[..., Any] | None = None, tooltip: str = "") -> QPushButton:
    """Return a button that calls `action` when it is clicked."""
    button = QPushButton(text)
    button.setToolTip(tooltip)
    if action is not None:
        button.clicked.connect(action)
    return button


class _SmallButton(QPushButton):
    """A button that is no wider than its text, whose font may become a larger one."""

    def sizeHint(self) -> QSize:
        return QSize(self.fontMetrics().horizontalAdvance(self.text()) + 18, super().sizeHint().height())

    minimumSizeHint = sizeHint


def small_button(text: str, action: Callable[..., Any], tooltip: str = "") -> QPushButton:
    """Return a button that is no wider than its text."""
    button = _SmallButton(text)
    button.setToolTip(tooltip)
    button.clicked.connect(action)
    button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
    return button


def narrow(combo: QComboBox, letters: int = 8) -> None:
    """Keep a combo box from growing with its longest entry."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(letters)


class _NoStrayWheel(QObject):
    """A wheel turn over an unfocused editor scrolls the dock instead of changing a setting unseen."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        stray = event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus()
        if stray:
            event.ignore()
        return stray


def keep_when_scrolled(editor: QWidget) -> None:
    """Let the wheel change an editor's value only where the editor has the focus, which the wheel does not give."""
    editor.installEventFilter(_NoStrayWheel(editor))
    editor.setFocusPolicy(Qt.FocusPolicy.StrongFocus)


class ChoiceBox(QComboBox):
    """A combo box that keeps its choice when the dock is scrolled over it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        keep_when_scrolled(self)


def confirmed(parent: QWidget, title: str, question: str) -> bool:
    """Ask a question to be answered by yes or no; whoever just presses Enter says no."""
    buttons = QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No
    answer = QMessageBox.question(parent, title, plain(question), buttons, QMessageBox.StandardButton.No)
    return bool(answer == QMessageBox.StandardButton.Yes)


def bring_into_view(*widgets: QWidget) -> None:
    """Scroll the dock until these widgets are seen, the first above all, once the layout has made room for them."""

    def scroll() -> None:
        for widget in reversed(widgets):
            area = widget.parentWidget()
            while area is not None and not isinstance(area, QScrollArea):
                area = area.parentWidget()
            if area is not None and widget.isVisible():
                area.ensureWidgetVisible(widget)

    timer = single_shot(widgets[0], 0, scroll)
    timer.timeout.connect(timer.deleteLater)
    timer.start()


def single_shot(parent: QObject, milliseconds: int, function: Callable[[], None]) -> QTimer:
    """Return a timer that calls `function` once, that long after it was last started."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(function)
    return timer


def linked_label() -> QLabel:
    """Return a label of rich text that wraps and can be copied, and whose links open in the system's program for them."""
    label = rich_label()
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
    label.setOpenExternalLinks(True)
    return label


def link_to(path: Path) -> str:
    """Return a file as a link, for rich text in a label of `linked_label`."""
    address = escape(QUrl.fromLocalFile(str(path.absolute())).toString(QUrl.ComponentFormattingOption.FullyEncoded))
    # Qt's own blue is not readable on a dark window.
    colour = tone_colour("link")
    return f'<a href="{address}" style="color: {colour}">{breakable(escape(str(path)))}</a>'


def breakable(text: str) -> str:
    """Let a long path or dotted name break where a reader would break it, and no number; for rich text."""
    return re.sub(r"[/\\_]|(?<!\d)\.|\.(?!\d)", r"\g<0>&#8203;", text)


def time_left(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 1:
        return "less than a second left"
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left"
