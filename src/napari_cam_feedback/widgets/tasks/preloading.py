"""Loading PyTorch before it is asked for: its first import holds the interpreter for seconds, which no click should meet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_cam_feedback.widgets.tasks.gc_pause import count_as_old

if TYPE_CHECKING:
    from napari_cam_feedback.widgets.tasks.workers import Jobs

JOB = "PyTorch"
# The dock is painted first.
_DELAY_MS = 200


def preload_torch(jobs: Jobs) -> None:
    """Load PyTorch in a worker, soon, unless it is there already."""
    if "torch" not in sys.modules and not jobs.running(JOB):
        QTimer.singleShot(_DELAY_MS, lambda: _load(jobs))


def _load(jobs: Jobs) -> None:
    if jobs.closed or "torch" in sys.modules or jobs.running(JOB):
        return

    def work(_: object) -> None:
        import napari_cam_feedback.torch_loader  # noqa: F401

    # A failure is said by whatever needs it first.
    jobs.start(JOB, work, description="Loading PyTorch", on_done=lambda _: count_as_old(), on_failed=lambda _: None)
