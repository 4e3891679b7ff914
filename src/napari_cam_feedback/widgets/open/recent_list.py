"""The projects opened last, to be opened again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QComboBox

from napari_cam_feedback.recent import RecentProject, note_project, recent_projects
from napari_cam_feedback.widgets.parts.basics import narrow, plain
from napari_cam_feedback.widgets.session.session import Session

JOB = "recent"
TITLE = "open again …"


class RecentList(QComboBox):
    """Offers the projects that were open before; those that are gone are shown and cannot be chosen.

    Parameters
    ----------
    session : Session
        In whose threads the list is read: a project may be on a disk of another machine.

    Signals
    -------
    picked : Path
        A project was chosen.
    listed
        What is offered has changed.
    """

    picked = Signal(object)
    listed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.projects: tuple[RecentProject, ...] = ()
        narrow(self, 10)
        self.setToolTip("Projects that you opened before")
        self.activated.connect(self._activated)
        session.opened.connect(self._opened)
        self._show(())

    def refresh(self) -> None:
        """Read the list anew, in the background."""
        self._start(recent_projects)

    def _opened(self) -> None:
        project = self._session.project
        if project is not None:
            folder = project.folder

            def work() -> list[RecentProject]:
                note_project(folder)
                return recent_projects()

            self._start(work)

    def _start(self, work: Callable[[], Any]) -> None:
        # A convenience: a list that cannot be written is no reason to disturb anyone.
        self._session.jobs.start(
            JOB, lambda _: work(), on_done=self._show, on_failed=lambda _: None, description="Listing projects", replace=True
        )

    def _show(self, projects: Sequence[RecentProject]) -> None:
        project = self._session.project
        here = None if project is None else project.folder
        self.projects = tuple(each for each in projects if each.folder != here)
        with QSignalBlocker(self):
            self.clear()
            self.addItem(TITLE)
            for row, each in enumerate(self.projects, 1):
                self.addItem(each.folder.name if each.there else f"{each.folder.name} (gone)", each.folder)
                self.setItemData(row, plain(str(each.folder)), Qt.ItemDataRole.ToolTipRole)
                if not each.there:
                    self._disable(row)
        self.listed.emit()

    def _disable(self, row: int) -> None:
        model = self.model()
        item = model.item(row) if isinstance(model, QStandardItemModel) else None
        if item is not None:
            item.setEnabled(False)

    def _activated(self, row: int) -> None:
        folder = self.itemData(row)
        if isinstance(folder, Path):
            self.picked.emit(folder)
