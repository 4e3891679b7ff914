"""Writing the open project's masks for other programs, from the Session dock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget

from napari_cam_feedback.widgets.filter_steps import reporting
from napari_cam_feedback.widgets.state import Session

JOB = "export masks"
#: What the dialog offers, and what each is for `export_masks`.
KINDS = {
    "COCO, one file (*.json)": "coco",
    "NumPy, one file (*.npz)": "npz",
    "A folder of PNG files (*)": "png",
    "A folder of TIFF files (*)": "tiff",
}


class ExportButton(QPushButton):
    """Asks where to, and writes the masks there in the background.

    Parameters
    ----------
    session : Session
        Whose project's masks are written.
    say : callable
        Takes a line on what is being done.
    on_error : callable
        Takes an error and what to do again.
    """

    def __init__(
        self,
        session: Session,
        say: Callable[[str], None],
        on_error: Callable[[BaseException, Callable[[], None]], None],
    ) -> None:
        super().__init__("Export masks…")
        self.setToolTip("Write the masks for other programs: COCO, NumPy, PNG or TIFF")
        self._session, self._say, self._on_error = session, say, on_error
        self.clicked.connect(self._clicked)

    def _clicked(self) -> None:
        if self._session.jobs.running(JOB):
            self._session.jobs.stop(JOB)
        else:
            self._ask()

    def _ask(self) -> None:
        project = self._session.project
        if project is None:
            return
        parent: QWidget = self
        start = str(project.folder.with_name(f"{project.folder.name}-masks"))
        name, kind = QFileDialog.getSaveFileName(parent, "Export masks", start, ";;".join(KINDS))
        if name:
            path, ending = Path(name), {"coco": ".json", "npz": ".npz"}.get(KINDS.get(kind, ""), "")
            self.export(path.with_suffix(ending) if ending else path, KINDS.get(kind, "png"))

    def export(self, path: Path, kind: str) -> None:
        """Write the masks as one of the kinds of `export_masks`; a second click meanwhile stops it."""
        session, project = self._session, self._session.project
        if project is None or session.jobs.running(JOB):
            return
        session.save()

        def write(report: Callable[[str, int, int], None], stop: Callable[[], bool]) -> list[str]:
            from napari_cam_feedback.feedback import export_masks

            return export_masks(
                project.masks, path, kind, progress=lambda done, total: report("Writing masks", done, total), stop=stop
            )

        def over() -> None:
            self.setText("Export masks…")

        def done(written: list[str]) -> None:
            over()
            self._say(f"{len(written)} {'mask was' if len(written) == 1 else 'masks were'} written to {path}.")

        def failed(error: BaseException) -> None:
            over()
            self._on_error(error, lambda: self.export(path, kind))

        def work(stop: Callable[[], bool]) -> Any:
            return reporting(lambda report: write(report, stop))

        self.setText("Stop writing")
        session.jobs.start(JOB, work, on_done=done, on_error=failed, on_stopped=over, description="Writing masks")
