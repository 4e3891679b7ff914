"""What a retune is to take out: what is painted, something over whole images, which two folders show, or their colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QRadioButton, QVBoxLayout, QWidget

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.widgets.parts.basics import fill, form_layout, single_shot, tight, wrapped_label
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.parts.naming import TitleNames
from napari_cam_feedback.widgets.parts.path_field import PathField
from napari_cam_feedback.widgets.parts.tones import set_tone

if TYPE_CHECKING:
    from napari_cam_feedback.monitor import Monitor
    from napari_cam_feedback.widgets.session.session import Session

#: Images from which on nothing more is asked for.
ENOUGH = 30
_TITLES = {"with_dir": "Images with it", "without_dir": "Images without it", "colours": "Brightness and colour"}
#: Calls the folders as the page does.
FOLDER_NAMES = TitleNames(_TITLES)
_COUNT_AFTER_MS = 300
_COLOURS = "Where each class has a light of its own: each image is also shown with the brightness and colour of another"
_WHAT = "A colour cast, blur, contrast or noise. Show it by images with it and without it, both of each class if you can."


class ShownFolder(QWidget):
    """A field for a folder, and a line that says how many images are in it.

    Parameters
    ----------
    title : str
        Which images these are, as ``Images with it``.

    Signals
    -------
    changed
        Another folder was named.
    """

    changed = Signal()

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self._session: Session | None = None
        self.field = PathField(folder=True, hint="a folder", name=title)
        self.count = wrapped_label()
        column = tight(QVBoxLayout(self), 1)
        fill(column, self.field, self.count)
        self._timer = single_shot(self, _COUNT_AFTER_MS, self._look)
        self.field.edit.textChanged.connect(self._edited)
        self._say("")

    def use(self, session: Session) -> None:
        """Count in the background of this session, and begin with the folder that was chosen last in it."""
        self._session = session
        self.field.set_path(session.style_folders.get(self.title, ""))

    def _edited(self) -> None:
        assert self._session is not None
        self._session.style_folders[self.title] = self.field.text
        self._say("")
        self._timer.start()
        self.changed.emit()

    def _look(self) -> None:
        """Count the images; a folder may lie on a slow disk."""
        session, path = self._session, self.field.path
        if session is None or session.jobs.closed or path is None:
            return

        def work(_: Monitor) -> tuple[str, bool]:
            from napari_cam_feedback.explanations.tcav.sets import ImageFolder

            return told(len(ImageFolder(path)))

        def done(found: tuple[str, bool]) -> None:
            if path == self.field.path:
                self._say(*found)

        def failed(sentence: str) -> None:
            if path == self.field.path:
                self._say(sentence, warning=True)

        job = f"count {self.title.lower()}"
        session.jobs.start(job, work, on_done=done, on_failed=failed, description="Counting images", replace=True)

    def ask(self, sentence: str) -> None:
        """Say what is missing here, and put the cursor there."""
        self._say(sentence, warning=True)
        self.field.edit.setFocus(Qt.FocusReason.OtherFocusReason)

    def _say(self, sentence: str, warning: bool = False) -> None:
        set_tone(self.count, "warning" if warning else "quiet")
        self.count.setText(sentence)
        self.count.setVisible(bool(sentence))


class TakeOut(Fold):
    """A choice, folded by default under a title that says what is chosen, and two folders where it is a style.

    Attributes
    ----------
    painted_button, style_button, colours_button : QRadioButton
        The choice.
    painted_too : QCheckBox
        Whether what is painted is taken out beside something over whole images.
    with_it, without : ShownFolder
        Images with what lies over whole images, and without it.
    changed : Signal
        The choice or a folder is another one.
    """

    changed = Signal()

    def __init__(self) -> None:
        content = QWidget()
        column = tight(QVBoxLayout(content), 3)
        self.painted_button = QRadioButton("What is painted")
        self.style_button = QRadioButton("Something over whole images")
        self.colours_button = QRadioButton(_TITLES["colours"])
        self.colours_button.setToolTip(_COLOURS)
        self.painted_too = QCheckBox("And what is painted")
        self.painted_too.setToolTip("A model that is kept from one of two shortcuts goes by the other")
        self.painted_too.setChecked(True)
        self.with_it = ShownFolder(_TITLES["with_dir"])
        self.without = ShownFolder(_TITLES["without_dir"])
        self._folders = QWidget()
        form = tight(form_layout(self._folders))
        form.addRow(wrapped_label(_WHAT, "quiet"))
        for folder in (self.with_it, self.without):
            form.addRow(folder.title, folder)
        fill(column, self.painted_button, self.style_button, self._folders, self.colours_button, self.painted_too)
        super().__init__("", content)
        self.button.setToolTip("What the model is to use no more")
        self.painted_button.setChecked(True)
        for button in (self.style_button, self.colours_button):
            button.toggled.connect(self._chosen)
        for folder in (self.with_it, self.without):
            folder.changed.connect(self.changed)
        self._show_choice()

    def use(self, session: Session) -> None:
        """Work with this session, and show the folders that were chosen last in it."""
        self.with_it.use(session)
        self.without.use(session)

    @property
    def of_style(self) -> bool:
        """Whether something over whole images is to be taken out."""
        return not self.painted_button.isChecked()

    @property
    def of_colours(self) -> bool:
        """Whether that is brightness and colour, which no folder need show."""
        return self.colours_button.isChecked()

    def set_style(self, style: bool) -> None:
        """Choose what to take out."""
        (self.style_button if style else self.painted_button).setChecked(True)

    @property
    def complete(self) -> bool:
        """Whether both folders are named, or none is needed."""
        return self.of_colours or (self.with_it.field.path is not None and self.without.field.path is not None)

    def folders(self) -> tuple[Path, Path] | None:
        """Return the folders of images with it and without it; None where something else is to be taken out.

        Raises
        ------
        ConfigError
            One is missing, or both are the same.
        """
        if not self.style_button.isChecked():
            return None
        with_it, without = self.with_it.field.path, self.without.field.path
        if with_it is None:
            raise ConfigError("Choose a folder of images with what is to be taken out.", field="with_dir")
        if without is None:
            raise ConfigError(
                "Choose a folder of images without it, too: what both have is not what is to be taken out.",
                field="without_dir",
            )
        if with_it == without:
            raise ConfigError("Both folders are the same; choose another one of images without it.", field="without_dir")
        return with_it, without

    def reveal(self, names: Sequence[str], sentence: str) -> None:
        """Say what is wrong at the folder that is among these settings, unfolding it; does nothing where none is."""
        for name, folder in (("with_dir", self.with_it), ("without_dir", self.without)):
            if name in names:
                self.set_opened(True)
                folder.ask(sentence)

    def _chosen(self) -> None:
        self._show_choice()
        self.changed.emit()

    def _show_choice(self) -> None:
        chosen = "what is painted"
        if self.of_style:
            chosen = "brightness and colour" if self.of_colours else "something over whole images"
        self.button.setText(f"Take out: {chosen}")
        self._folders.setVisible(self.style_button.isChecked())
        self.painted_too.setVisible(self.of_style)


def told(count: int) -> tuple[str, bool]:
    """Return what is said of so many images, and whether they are too few."""
    from napari_cam_feedback.retuning.images.shown_style import MIN_IMAGES

    images = "1 image" if count == 1 else f"{count} images"
    if count < MIN_IMAGES:
        return f"{images}: too few; {MIN_IMAGES} are needed, some {ENOUGH} are better.", True
    return (f"{images}; some {ENOUGH} are better." if count < ENOUGH else f"{images}."), False
