"""Writing the maps of a whole split into files, in the background."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.parts.basics import fill, form_layout, narrow, plain, push_button, tight, wrapped_label
from napari_cam_feedback.widgets.parts.path_field import PathField
from napari_cam_feedback.widgets.parts.tones import set_tone
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.tasks.workers import Progress

if TYPE_CHECKING:
    from napari_cam_feedback.explanations.maps.writing import MapsWritten

JOB = "write maps"
#: Where maps go by default, in the project's folder.
FOLDER = "maps"
#: How the names of what is written end, besides .npz and, for a folder of TIFFs, nothing.
PICTURES, TABLE = "-pictures", ".csv"


class MapWriter(QWidget):
    """Writes the maps of a split, by the method that is chosen, and says where they are.

    Parameters
    ----------
    session : Session
        Whose classifier explains whose images.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.split = QComboBox()
        self.target = QComboBox()
        self.format = QComboBox()
        self.format.addItem("one .npz file", ".npz")
        self.format.addItem("a TIFF for each image", "")
        self.format.addItem("a picture (PNG) for each image", PICTURES)
        self.format.addItem("a table (CSV)", TABLE)
        self.format.setToolTip(
            "The maps themselves, signed: .npz or TIFF. To look at: pictures of the images with the maps over them.\n"
            "To sort: a table with the classes, their probability, whether anything speaks for them, and where most."
        )
        for combo in (self.split, self.target, self.format):
            narrow(combo, 8)
            combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.folder = PathField(folder=True, hint="folder")
        self.folder.setToolTip("Where the file, or the folder of TIFFs, is put; its name says what is in it")
        form = tight(form_layout())
        form.addRow("Images", self.split)
        form.addRow("Map of", self.target)
        form.addRow("As", self.format)
        form.addRow("Into", self.folder)
        self.write_button = push_button("Write", self.write)
        self.stop_button = push_button("Stop", lambda: session.jobs.stop(JOB))
        self.bar = QProgressBar()
        row = QHBoxLayout()
        row.addWidget(self.write_button)
        row.addWidget(self.bar, 1)
        row.addWidget(self.stop_button)
        self.result = wrapped_label()
        self.result.hide()
        self.open_button = QPushButton("Open the folder")
        self.open_button.setToolTip("Show the files that were written in the system's file manager")
        self.open_button.clicked.connect(self._open_folder)
        self.open_button.hide()
        self._written: Path | None = None
        column = tight(QVBoxLayout(self), 4)
        fill(column, form, row, self.result, self.open_button)
        machine = session.jobs.phase(JOB)
        self._refresh = machine.drive(
            start=[self.write_button], stop=[self.stop_button], ready=lambda: session.project is not None
        )
        machine.changed.connect(self._phase_changed)
        self._phase_changed(machine.phase)
        session.opened.connect(self.opened)
        session.version_changed.connect(self._fill_targets)
        self.opened()

    def opened(self) -> None:
        """Offer the splits and classes of the project that is open."""
        dataset, project = self._session.dataset, self._session.project
        self._say("")
        self._refresh()
        self.split.clear()
        if dataset is None or project is None:
            return
        for name in dataset.split_names:
            self.split.addItem(f"{name} ({len(dataset.indices(name))})", name)
        self.split.addItem(f"all ({len(dataset)})", None)
        self.split.setCurrentIndex(max(0, self.split.findData("test")))
        self.folder.set_path(project.folder / FOLDER)
        self._fill_targets()

    def _fill_targets(self) -> None:
        names = self._session.class_names
        before = self.target.currentData()
        with QSignalBlocker(self.target):
            self.target.clear()
            self.target.addItem("the predicted class", "predicted")
            self.target.addItem("the true class", "true")
            self.target.addItem(f"all {len(names)} classes", "all")
            for number, name in enumerate(names):
                self.target.addItem(name, number)
            self.target.setCurrentIndex(max(0, self.target.findData(before)))

    @property
    def path(self) -> Path | None:
        """The file or folder that would be written: version, method, class and split are its name."""
        session, folder = self._session, self.folder.path
        if session.project is None or folder is None:
            return None
        target = self.target.currentData()
        parts = [
            session.project.current.id,
            session.method,
            session.class_names[target] if isinstance(target, int) else target,
            self.split.currentData() or "all",
        ]
        name = "-".join(re.sub(r"[^\w.+-]+", "_", part) for part in parts)
        return folder / f"{name}{self.format.currentData()}"

    def write(self) -> None:
        """Write the maps in the background."""
        session, path = self._session, self.path
        classifier, dataset = session.classifier, session.dataset
        if classifier is None or dataset is None:
            return
        if path is None:
            self._say("Name a folder to write the maps into.", wrong=True)
            return
        method, target, split = session.method, self.target.currentData(), self.split.currentData()
        kind = {PICTURES: "pictures", TABLE: "table"}.get(self.format.currentData(), "path")
        places: dict[str, Any] = {"path": None, kind: path}

        def work(monitor: Monitor) -> MapsWritten:
            from napari_cam_feedback.explanations.maps.writing import write_maps

            return write_maps(classifier, dataset, **places, method=method, target=target, split=split, monitor=monitor)

        self._say("")
        self._move(Progress(0, len(dataset.indices(split))))
        session.jobs.start(
            JOB,
            work,
            on_progress=self._move,
            on_done=self._done,
            on_failed=lambda sentence: self._say(sentence, wrong=True),
            description="Writing maps",
            precious=True,
        )

    def _move(self, found: Progress) -> None:
        self.bar.setRange(0, max(1, found.total))
        self.bar.setValue(found.done)
        self.bar.setFormat("%v of %m")

    def _done(self, written: MapsWritten) -> None:
        if written.stopped and not written.n:
            self._say("Stopped; nothing was written.")
            return
        images = "1 image" if written.n == 1 else f"{written.n} images"
        start = "Stopped. The maps" if written.stopped else "The maps"
        skipped = f" {len(written.skipped)} could not be read." if written.skipped else ""
        self._say(f"{start} of {images} are in {written.path.name}.{skipped}")
        self.result.setToolTip(plain(str(written.path)))
        self._written = written.path
        self.open_button.show()

    def _open_folder(self) -> None:
        if self._written is not None:
            folder = self._written if self._written.is_dir() else self._written.parent
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder.absolute())))

    def _say(self, text: str, *, wrong: bool = False) -> None:
        self.result.setText(text)
        self.result.setToolTip("")
        set_tone(self.result, "warning" if wrong else None)
        self.result.setVisible(bool(text))
        self.open_button.hide()

    def _phase_changed(self, phase: Any) -> None:
        self.stop_button.setVisible(phase.busy)
        self.bar.setVisible(phase.busy)
