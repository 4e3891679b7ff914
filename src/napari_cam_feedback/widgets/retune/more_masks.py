"""What is said beside *Retune* of whether ten more masks will help, by the runs so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_cam_feedback.retuning import RetuneResult
    from napari_cam_feedback.widgets.session.session import Session


def find_more_sentence(session: Session, waiting: RetuneResult | None, say: Callable[[str], None]) -> None:
    """Find it in the thread of the disk, where the runs' records are read.

    Parameters
    ----------
    session : Session
        With a project.
    waiting : RetuneResult or None
        A result that nobody has decided on; it has no record yet.
    say : callable
        Takes the sentence, unless another project was opened meanwhile.
    """
    project, keys = session.project, sorted(session.painted())
    assert project is not None

    def find() -> str:
        from napari_cam_feedback.projects.runs import run_records
        from napari_cam_feedback.retuning import more_masks

        runs = [*run_records(project.folder), *([] if waiting is None else [waiting.to_json()])]
        return more_masks(project.dataset, keys, runs).sentence

    def found(sentence: str | None, error: Exception | None) -> None:
        if project is session.project:
            say("" if error is not None else sentence or "")

    session.disk.submit("more masks", find, found)
