"""The tree of a project's versions: look through one, delete it, write it for other programs."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.parts.basics import breakable, confirmed, fill, plain, push_button, rich_label, tight
from napari_cam_feedback.widgets.session.loading import load_version
from napari_cam_feedback.widgets.session.session import Session

if TYPE_CHECKING:
    from napari_cam_feedback.projects import Project, Version

COLUMNS = ("Version", "Made by", "Verdict")
EXPORT_FILES = "Our own file (*.safetensors);;Plain state dict (*.pt);;torch.export, with the network (*.pt2);;ONNX (*.onnx)"
JOB = "export"
_ROWS = 6


class VersionTree(QWidget):
    """Shows which version came from which, and what can be done with the one that is chosen.

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
    chosen : str
        The user wants to look through this version.
    deleted
        A version was deleted.
    """

    chosen = Signal(str)
    deleted = Signal()

    def __init__(
        self,
        session: Session,
        say: Callable[[str], None],
        tell: Callable[[str], None],
        on_error: Callable[[BaseException, Callable[[], None]], None],
    ) -> None:
        super().__init__()
        self._session, self._say, self._tell, self._on_error = session, say, tell, on_error
        column = tight(QVBoxLayout(self), 4)
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(list(COLUMNS))
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.tree.setIndentation(12)
        self.tree.setUniformRowHeights(True)
        header = self.tree.header()
        header.setStretchLastSection(False)
        # A dock is narrow: what does not fit is said in full below, for the version that is selected.
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        for number in (1, 2):
            header.setSectionResizeMode(number, QHeaderView.ResizeMode.Stretch)
        self.tree.itemSelectionChanged.connect(self._selected)
        self.tree.itemDoubleClicked.connect(lambda *_: self._look())
        column.addWidget(self.tree)
        self.details = rich_label()
        column.addWidget(self.details)
        row = QHBoxLayout()
        self.look_button = QPushButton("Use")
        self.look_button.setToolTip("Look through this version; the next retune begins with it, as a branch of its own")
        self.look_button.clicked.connect(self._look)
        self.export_button = push_button("Export…", self._ask_export, "Write this version for other programs")
        self.delete_button = QPushButton("Delete…")
        self.delete_button.setToolTip("Delete this version's weights; its place in the tree stays")
        self.delete_button.clicked.connect(self._ask_delete)
        fill(row, self.look_button, self.export_button, self.delete_button)
        column.addLayout(row)

    # What is shown --------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the versions as they are now; what was selected stays selected."""
        project = self._session.project
        before = self.selected
        # While it is filled, what is selected is of another project, or nothing.
        with QSignalBlocker(self.tree):
            self._fill(project, before)
        self._fit()
        self._selected()

    def _fill(self, project: Project | None, before: str | None) -> None:
        self.tree.clear()
        if project is None:
            return
        from napari_cam_feedback.projects import lineage

        path: list[QTreeWidgetItem] = []
        for row in lineage(project.versions):
            item = self._item(project, row.version)
            del path[row.depth :]
            if path:
                path[-1].addChild(item)
            else:
                self.tree.addTopLevelItem(item)
            path.append(item)
        self.tree.expandAll()
        wanted = before if before in {version.id for version in project.versions} else project.current.id
        for item in self._items():
            if item.data(0, Qt.ItemDataRole.UserRole) == wanted:
                self.tree.setCurrentItem(item)

    @staticmethod
    def _item(project: Project, version: Version) -> QTreeWidgetItem:
        current = version.id == project.current.id
        name = f"{version.id} ●" if current else version.id
        made = "deleted" if version.deleted else version.method or version.origin
        item = QTreeWidgetItem([name, made, version.verdict or ""])
        item.setData(0, Qt.ItemDataRole.UserRole, version.id)
        font = item.font(0)
        font.setBold(current)
        font.setStrikeOut(version.deleted is not None)
        item.setFont(0, font)
        for number in range(len(COLUMNS)):
            item.setToolTip(number, plain(version.origin))
            if version.deleted:
                item.setForeground(number, Qt.GlobalColor.gray)
        return item

    def _items(self) -> list[QTreeWidgetItem]:
        return self.tree.findItems("*", Qt.MatchFlag.MatchWildcard | Qt.MatchFlag.MatchRecursive, 0)

    def _fit(self) -> None:
        """As high as its rows, up to a few; a dock scrolls anyhow."""
        rows = min(max(len(self._items()), 2), _ROWS)
        height = max(self.tree.sizeHintForRow(0), 18)
        self.tree.setFixedHeight(self.tree.header().sizeHint().height() + rows * height + 6)

    @property
    def selected(self) -> str | None:
        """The version that is selected in the tree."""
        item = self.tree.currentItem()
        return None if item is None else item.data(0, Qt.ItemDataRole.UserRole)

    def select(self, version: str) -> None:
        """Select a version in the tree, as a click does."""
        for item in self._items():
            if item.data(0, Qt.ItemDataRole.UserRole) == version:
                self.tree.setCurrentItem(item)

    def _version(self) -> tuple[Project, Version] | None:
        project, name = self._session.project, self.selected
        return None if project is None or name is None else (project, project.version(name))

    def _selected(self) -> None:
        found = self._version()
        there = found is not None and found[1].deleted is None
        current = found is not None and found[1].id == found[0].current.id
        last = found is not None and len(found[0].available) == 1
        busy = self._session.jobs.running("load") or self._session.jobs.running(JOB)
        self.look_button.setEnabled(there and not current and not busy)
        self.export_button.setEnabled(there and not busy)
        self.delete_button.setEnabled(there and not current and not last and not busy)
        self.details.setText("" if found is None else _details(found[1]))

    # The user acts --------------------------------------------------------------------------------

    def _look(self) -> None:
        if self.look_button.isEnabled() and self.selected is not None:
            self.chosen.emit(self.selected)

    def _ask_delete(self) -> None:
        found = self._version()
        if found is None:
            return
        name = found[1].id
        question = (
            f"The weights of {name} ({found[1].origin}) cannot be brought back. Its place in the tree stays, and so do the "
            "record of its run and your masks."
        )
        if confirmed(self, f"Delete {name}?", question):
            self.delete(name)

    def delete(self, version: str) -> None:
        """Delete a version's weights, in the thread that writes to the project's folder."""
        session, project = self._session, self._session.project
        if project is None:
            return

        def then(_: Any, error: Exception | None) -> None:
            if error is not None:
                self._on_error(error, lambda: self.delete(version))
            elif session.project is project:
                self.deleted.emit()
                self._tell(f"{version} was deleted.")

        session.disk.submit(f"delete {version}", lambda: project.delete(version), then)

    def _ask_export(self) -> None:
        found = self._version()
        if found is None:
            return
        start = str(found[0].folder.parent / f"{found[0].folder.name}-{found[1].id}.safetensors")
        name, kind = QFileDialog.getSaveFileName(self, f"Export {found[1].id}", start, EXPORT_FILES)
        if name:
            path = Path(name)
            ending = kind.partition("*")[2].rstrip(")")
            self.export(found[1].id, path.with_suffix(ending) if ending and path.suffix != ending else path)

    def export(self, version: str, path: Path) -> None:
        """Write a version for other programs, in the background."""
        session, project = self._session, self._session.project
        if project is None or session.jobs.running(JOB):
            return

        def work(monitor: Monitor) -> list[Path]:
            from napari_cam_feedback.models.files.exporting import export_classifier

            return export_classifier(load_version(project, version, "cpu", session.consents), path)

        def done(written: list[Path]) -> None:
            self._selected()
            self._tell(f"{version} was written to {', '.join(map(str, written))}.")

        def failed(error: BaseException) -> None:
            self._selected()
            self._on_error(error, lambda: self.export(version, path))

        self._say(f"Writing {path.name} …")
        session.jobs.start(JOB, work, on_done=done, on_error=failed, description=f"Exporting {version}")
        self._selected()


def _details(version: Version) -> str:
    """Return as rich text what is known of a version."""
    from napari_cam_feedback.projects import describe_version

    masks = "" if version.masks is None else f", {version.masks} {'mask' if version.masks == 1 else 'masks'}"
    rows = [
        ("Made by", f"{describe_version(version)}{masks}"),
        ("From", version.parent or ""),
        ("On", version.created[:16].replace("T", " ") + " UTC"),
        ("Verdict", version.verdict or ""),
    ]
    if version.deleted:
        rows.append(("Deleted", version.deleted[:16].replace("T", " ") + " UTC"))
    if version.settings:
        rows.append(("Settings", ", ".join(f"{name} {value}" for name, value in version.settings.items())))
    if version.run:
        rows.append(("Run", f"runs/{version.run}"))
    cells = (f"<tr><td>{name}&nbsp;&nbsp;</td><td>{breakable(escape(text))}</td></tr>" for name, text in rows if text)
    return f"<table>{''.join(cells)}</table>"
