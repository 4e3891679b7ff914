"""Writing the open project's masks for other programs, from the page *Open*."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMenu, QPushButton

from napari_cam_feedback.monitor import Monitor, Part
from napari_cam_feedback.widgets.parts.basics import confirmed
from napari_cam_feedback.widgets.parts.new_folder import ask_new_folder
from napari_cam_feedback.widgets.session.session import Session

JOB = "export masks"
#: What can be written: the title, what `export_masks` calls it, and the ending of its one file.
KINDS = (
    ("COCO, one file…", "coco", ".json"),
    ("NumPy, one file…", "npz", ".npz"),
    ("A folder of PNG files…", "png", ""),
    ("A folder of TIFF files…", "tiff", ""),
)


class ExportButton(QPushButton):
    """Asks as what and where to, and writes the masks there in the background.

    Parameters
    ----------
    session : Session
        Whose project's masks are written.
    tell : callable
        Takes a line on what was done.
    on_error : callable
        Takes an error and what to do again.
    """

    def __init__(
        self, session: Session, tell: Callable[[str], None], on_error: Callable[[BaseException, Callable[[], None]], None]
    ) -> None:
        super().__init__("Export masks…")
        self.setToolTip("Write the masks for other programs: COCO, NumPy, PNG or TIFF")
        self._session, self._tell, self._on_error = session, tell, on_error
        self.clicked.connect(self._clicked)
        # A file and a folder are asked for in different ways, so that it must be known first which it is to be.
        self.kinds = QMenu(self)
        for title, kind, ending in KINDS:
            self.kinds.addAction(title).triggered.connect(lambda _=False, kind=kind, ending=ending: self._ask(kind, ending))

    def _clicked(self) -> None:
        if self._session.jobs.running(JOB):
            self._session.jobs.stop(JOB)
        else:
            self.kinds.popup(self.mapToGlobal(self.rect().bottomLeft()))

    def _ask(self, kind: str, ending: str) -> None:
        project = self._session.project
        if project is None:
            return
        name = f"{project.folder.name}-masks"
        if ending:
            start = project.folder.with_name(f"{name}{ending}")
            chosen, _ = QFileDialog.getSaveFileName(self, "Export masks", str(start), f"Masks (*{ending})")
            # A name with a dot in it keeps all of it.
            path = Path(chosen if chosen.lower().endswith(ending) else f"{chosen}{ending}") if chosen else None
            # The dialog has asked about the name without the ending.
            if path is not None and str(path) != chosen and path.exists() and not self._may_replace(path):
                return
        else:
            path = ask_new_folder(self, "A folder for the masks", project.folder.parent, name)
        if path is not None:
            self.export(path, kind)

    def _may_replace(self, path: Path) -> bool:
        return confirmed(self, "Replace the file?", f"{path} is there already. Replace it by these masks?")

    def export(self, path: Path, kind: str) -> None:
        """Write the masks as one of the kinds of `export_masks`; a second click meanwhile stops it."""
        session, project = self._session, self._session.project
        if project is None or session.jobs.running(JOB):
            return
        session.save()

        def work(monitor: Monitor) -> list[str]:
            from napari_cam_feedback.feedback import export_masks

            return export_masks(project.masks, path, kind, monitor=Part(monitor, "Writing masks"))

        def over() -> None:
            self.setText("Export masks…")

        def done(written: list[str]) -> None:
            over()
            self._tell(f"{len(written)} {'mask was' if len(written) == 1 else 'masks were'} written to {path}.")

        def failed(error: BaseException) -> None:
            over()
            self._on_error(error, lambda: self.export(path, kind))

        self.setText("Stop writing")
        session.jobs.start(JOB, work, on_done=done, on_error=failed, on_stopped=over, description="Writing masks")
