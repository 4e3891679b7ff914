"""Bringing back a result that waits in the project to be kept or discarded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_cam_feedback.widgets.session.loading import load_version

if TYPE_CHECKING:
    from napari_cam_feedback.monitor import Monitor
    from napari_cam_feedback.projects.undecided import Undecided
    from napari_cam_feedback.widgets.session.session import Session

JOB = "undecided"


def bring_back(session: Session, on_found: Callable[[Undecided], None], on_failed: Callable[[str], None]) -> None:
    """Read the newest result that waits in the session's project, in a worker.

    Parameters
    ----------
    session : Session
        With a project.
    on_found, on_failed : callable
        Take what was found, and why it cannot be read. Neither is called where nothing waits.
    """
    from napari_cam_feedback.projects.undecided import load_undecided, undecided_files

    project, classifier = session.project, session.classifier
    assert project is not None
    assert classifier is not None
    files = undecided_files(project)
    if not files:
        return
    device, consents = str(classifier.device), session.consents

    def work(monitor: Monitor) -> Undecided | None:
        for path in files:
            found = load_undecided(project, path, lambda version: load_version(project, version, device, consents))
            if found is not None or monitor.stopped:
                return found
        return None

    def done(found: Undecided | None) -> None:
        if found is not None and session.project is project:
            on_found(found)

    session.jobs.start(
        JOB, work, on_done=done, on_failed=on_failed, description="Reading the result that waits", replace=True
    )
