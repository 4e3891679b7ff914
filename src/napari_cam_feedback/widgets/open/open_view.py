"""The group “Now open” of the page *Open*: what was loaded, and the version, layer and grid to look through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QGroupBox, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.monitor import Callbacks, Monitor
from napari_cam_feedback.widgets.open.layers_page import is_image
from napari_cam_feedback.widgets.open.look_view import LookView
from napari_cam_feedback.widgets.open.mask_exporting import ExportButton
from napari_cam_feedback.widgets.open.merge_panel import MaskMerging
from napari_cam_feedback.widgets.open.summary import Summary, describe_layer
from napari_cam_feedback.widgets.open.version_tree import VersionTree
from napari_cam_feedback.widgets.parts.basics import (
    ChoiceBox,
    fill,
    form_layout,
    narrow,
    plain,
    push_button,
    show_row,
    small_button,
    tight,
)
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.parts.model_form import TITLES, whole_numbers
from napari_cam_feedback.widgets.parts.new_folder import ask_new_folder
from napari_cam_feedback.widgets.session.leaving import losses_of_leaving, may_leave
from napari_cam_feedback.widgets.session.loading import find_head, load_version
from napari_cam_feedback.widgets.session.opened import OpenedProject, prepare
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.viewer.docks import open_dock

if TYPE_CHECKING:
    from napari_cam_feedback.models import Classifier, LayerInfo
    from napari_cam_feedback.models.first_look.look import Correction

_OTHER_DOCKS = {
    "Filters": "A dock of its own: single filters of the network, in one image and over all",
    "Concepts": "A dock of its own: whether something that you can name matters for a class",
}
_OTHER_ORDER = (
    "The outputs of this network cannot be put into another order; load it anew and give a file with the classes in the "
    "order of the outputs."
)
#: Takes an error, and what to do again once the user has agreed to what it asks for.
OnError = Callable[[BaseException, Callable[[], None]], None]


class OpenView(QGroupBox):
    """Shows what is open and lets the user change how it is looked at.

    Parameters
    ----------
    session : Session
        Whose project is shown.
    say : callable
        Takes a line on what is being done; an empty one when it is done.
    tell : callable
        Takes a line on what was done, which the user must not miss.
    on_error : callable
        Takes an error and what to repeat after a consent.

    Signals
    -------
    copied : Path
        The project was copied into this folder, and the copy is open now.
    """

    copied = Signal(object)

    def __init__(self, session: Session, say: Callable[[str], None], tell: Callable[[str], None], on_error: OnError) -> None:
        super().__init__("Now open")
        self._session, self._say, self._tell, self._on_error = session, say, tell, on_error
        column = QVBoxLayout(self)
        self.summary = Summary(session)
        column.addWidget(self.summary)
        self.look = LookView(session)
        self.look.found.connect(self.summarise)
        self.look.correct.connect(self._correct)
        self.look.finer.connect(self.use_layer)
        column.addWidget(self.look)
        form = form_layout()
        self.version = ChoiceBox()
        self.version.setToolTip("Which version of the model to look through")
        self.version.activated.connect(self._version_chosen)
        self.layer = ChoiceBox()
        self.layer.setToolTip("The layer whose activations are explained and, when retuning, penalised")
        self.layer.activated.connect(self._layer_chosen)
        for combo in (self.version, self.layer):
            narrow(combo, 10)
        form.addRow("Version", self.version)
        form.addRow("Target layer", self.layer)
        self.grid_text = QLineEdit()
        self.grid_text.returnPressed.connect(self._grid_chosen)
        self.grid = QWidget()
        row = tight(QHBoxLayout(self.grid), 3)
        row.addWidget(self.grid_text, 1)
        row.addWidget(small_button("Set", self._grid_chosen))
        self.grid.setToolTip("How the layer's tokens lie on the image: rows x columns")
        form.addRow("Token grid", self.grid)
        self._rows = form
        column.addLayout(form)
        self.hide_button = QPushButton("Hide my own layers")
        self.hide_button.setToolTip("They lie under the image and may be larger; the eye in the layer list shows them again")
        self.hide_button.clicked.connect(self._hide_own)
        column.addWidget(self.hide_button)
        buttons = QHBoxLayout()
        for name, tip in _OTHER_DOCKS.items():
            button = QPushButton(f"{name} …")
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, name=name: open_dock(session.viewer, name))
            buttons.addWidget(button)
        column.addLayout(buttons)
        self.versions = VersionTree(session, say, tell, on_error)
        self.versions.chosen.connect(self._use)
        self.versions.deleted.connect(self.refresh)
        self.versions_fold = Fold("Versions", self.versions)
        column.addWidget(self.versions_fold)
        self.save_button = QPushButton("Save project as…")
        self.save_button.setToolTip("Copy the whole project into a new folder, and go on with the copy")
        self.save_button.clicked.connect(self._ask_save_as)
        self.stop_save_button = push_button("Stop copying", lambda: session.jobs.stop("load"))
        self.stop_save_button.hide()
        self.merge_button = QPushButton("Merge masks…")
        self.merge_button.setToolTip("Bring in the masks of somebody else, or of another program")
        self.merge_button.clicked.connect(self._open_merging)
        row = QHBoxLayout()
        self.export_button = ExportButton(session, tell, on_error)
        fill(row, self.merge_button, self.export_button)
        fill(column, row, self.save_button, self.stop_save_button)
        self.merging = MaskMerging(session)
        self.merging.hide()
        column.addWidget(self.merging)

    def refresh(self) -> None:
        """Show what is open now."""
        session = self._session
        self.setVisible(session.project is not None)
        self.versions.refresh()
        self.look.refresh()
        if session.project is None or session.classifier is None:
            return
        self.summarise()
        with QSignalBlocker(self.version):
            self.version.clear()
            for version in session.project.available:
                self.version.addItem(f"{version.id}: {version.origin}", version.id)
            self.version.setCurrentIndex(self.version.findData(session.project.current.id))
        infos = list(session.classifier.layers)
        with QSignalBlocker(self.layer):
            self.layer.clear()
            for row, info in enumerate(infos):
                self.layer.addItem(describe_layer(info), info.name)
                self.layer.setItemData(row, plain(describe_layer(info)), Qt.ItemDataRole.ToolTipRole)
            self.layer.setCurrentIndex(self.layer.findData(session.classifier.target_layer))
        self._show_grid()
        self.hide_button.setVisible(any(layer.visible for layer in self._own_layers()))

    def _own_layers(self) -> list[Any]:
        """The user's own images."""
        viewer = self._session.viewer
        return [] if viewer is None else [layer for layer in viewer.layers if is_image(layer)]

    def _hide_own(self) -> None:
        for layer in self._own_layers():
            layer.visible = False
        self.hide_button.hide()

    def _show_grid(self) -> None:
        """Offer a grid where the target layer puts out tokens."""
        info = self._target()
        tokens = info is not None and info.layout.kind == "tokens"
        show_row(self._rows, self.grid, tokens)
        if tokens and info is not None:
            self.grid_text.setText(f"{info.shape[1]}x{info.shape[2]}")

    def _target(self) -> LayerInfo | None:
        classifier = self._session.classifier
        if classifier is None:
            return None
        return next((info for info in classifier.layers if info.name == classifier.target_layer), None)

    def summarise(self) -> None:
        """Write the summary anew, as when a mask was painted."""
        self.summary.show_read(self.look.look, self._target())

    # The user acts --------------------------------------------------------------------------------

    def _version_chosen(self, row: int) -> None:
        self._use(self.version.itemData(row))

    def _use(self, chosen: str) -> None:
        """Look through another version."""
        session = self._session
        project, classifier = session.project, session.classifier
        if project is None or classifier is None or chosen == project.current.id:
            return
        device, layer, grid = str(classifier.device), classifier.target_layer, classifier.grid

        def work(monitor: Monitor) -> Classifier:
            loaded = load_version(project, chosen, device, session.consents).with_layer(layer, grid=grid)
            find_head(loaded)
            project.select(chosen)
            return loaded

        self._replace_classifier(work, f"Loading {chosen}")

    def _ask_save_as(self) -> None:
        project = self._session.project
        if project is None:
            return
        folder = ask_new_folder(self, "A folder for the copy", project.folder.parent, f"{project.folder.name}-copy")
        if folder is not None:
            self.save_as(folder)

    def save_as(self, folder: Path) -> None:
        """Copy the project into a new folder in the background, and go on with the copy."""
        session, project, classifier = self._session, self._session.project, self._session.classifier
        if project is None or classifier is None or session.jobs.running("load"):
            return
        session.save()
        if not may_leave(self, losses_of_leaving(session), "Copy"):
            return

        def copy(monitor: Monitor) -> OpenedProject | None:
            # In kilobytes, since Qt counts no further than two thousand millions.
            small = Callbacks(
                lambda done, total, _: monitor.progress(done // 1024, max(1, total // 1024), "Copying"),
                lambda: monitor.stopped,
            )
            made = project.save_as(folder, monitor=small)
            return None if made is None else prepare(made, classifier)

        def over() -> None:
            self.stop_save_button.hide()
            self.save_button.show()

        def done(opened: OpenedProject | None) -> None:
            over()
            if opened is None:
                self._tell("Copying was stopped; nothing was copied.")
            elif session.project is project:
                session.open(opened)
                self.copied.emit(opened.project.folder)
                self._tell(f"You are working on the copy now: {opened.project.folder}")

        def failed(error: BaseException) -> None:
            over()
            self._on_error(error, lambda: self.save_as(folder))

        self._say("Copying the project …")
        self.save_button.hide()
        self.stop_save_button.show()
        session.jobs.start("load", copy, on_done=done, on_error=failed, description="Copying the project")

    def _open_merging(self) -> None:
        self.merging.show()
        self.merging.path.edit.setFocus()

    def _correct(self, correction: Correction) -> None:
        """Go on with the same weights, used as a correction says, as a version of its own."""
        session, project, classifier = self._session, self._session.project, self._session.classifier
        if project is None or classifier is None:
            return

        def work(monitor: Monitor) -> Classifier:
            from napari_cam_feedback.models import save_classifier
            from napari_cam_feedback.models.first_look.correcting import corrected

            found = corrected(classifier, correction)
            if found is None:
                raise ModelError(_OTHER_ORDER, field="class_names")
            find_head(found)
            session.save()
            project.add_correction(
                project.current.id,
                correction.what,
                save=lambda path: save_classifier(found, path),
                fingerprint=found.fingerprint(),
            )
            return found

        def told() -> None:
            now = project.current
            self._tell(f"{now.id} is in use now: {now.origin}. Under Versions you can go back to {now.parent}.")

        self._replace_classifier(work, f"Using {correction.what}", told)

    def use_layer(self, name: str) -> None:
        """Look at another layer, by its dotted name."""
        self.layer.setCurrentIndex(self.layer.findData(name))
        self._layer_chosen(self.layer.currentIndex())

    def _layer_chosen(self, row: int) -> None:
        classifier, layer = self._session.classifier, self.layer.itemData(row)
        if classifier is not None and layer != classifier.target_layer:
            self._change_layer(classifier, layer, None)

    def _grid_chosen(self) -> None:
        classifier = self._session.classifier
        try:
            grid = whole_numbers(self.grid_text.text(), TITLES["grid"], 2)
        except ConfigError as error:
            self._on_error(error, self._grid_chosen)
            return
        if classifier is not None and grid is not None:
            self._change_layer(classifier, classifier.target_layer, (grid[0], grid[1]))

    def _change_layer(self, classifier: Classifier, layer: str, grid: tuple[int, int] | None) -> None:
        def work(monitor: Monitor) -> Classifier:
            changed = classifier.with_layer(layer, grid=grid)
            find_head(changed)
            return changed

        where = layer if grid is None else f"{layer} with {grid[0]}x{grid[1]} tokens"
        self._replace_classifier(
            work, f"Changing to {where}", lambda: self._session.memory.keep(layer=layer, grid=grid and list(grid))
        )

    def _replace_classifier(
        self, work: Callable[[Any], Classifier], description: str, then: Callable[[], None] = lambda: None
    ) -> None:
        session = self._session

        def failed(error: BaseException) -> None:
            self.refresh()
            self._on_error(error, lambda: self._replace_classifier(work, description, then))

        def done(classifier: Classifier) -> None:
            self._say("")
            session.set_classifier(classifier)
            then()

        if session.jobs.running("load"):
            self.refresh()
            return
        self._say(f"{description} …")
        session.jobs.start("load", work, on_done=done, on_error=failed, description=description)
