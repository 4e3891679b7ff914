"""What would be lost by leaving the open project, and asking the user before it is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_cam_feedback.widgets.parts.basics import confirmed

if TYPE_CHECKING:
    from napari_cam_feedback.widgets.session.session import Session


def losses_of_closing(session: Session) -> list[str]:
    """Return what closing the window now would lose, a sentence each."""
    found = [f"{each} is still running and would be stopped." for each in session.jobs.precious()]
    unsaved = session.autosave.unsaved
    if unsaved:
        found.insert(0, f"{len(unsaved)} painted masks could not be saved. {next(iter(unsaved.values()))}")
    return found


def losses_of_leaving(session: Session) -> list[str]:
    """Return what opening another project now would end, a sentence each.

    Work that goes on all the same is not among it, nor are masks that could not be saved, which are tried again.
    """
    found: list[str] = []
    if session.project is not None:
        session.whole.leaving.emit(found)
    return found


def may_leave(parent: QWidget, losses: list[str], verb: str) -> bool:
    """Tell whether nothing would be lost, or else whether the user wants to leave the project all the same.

    Parameters
    ----------
    parent : QWidget
        Over which is asked.
    losses : list of str
        As `losses_of_leaving` gives them.
    verb : str
        What is about to be done: "Load" asks "Load all the same?".
    """
    asked = f"{verb} all the same?"
    return not losses or confirmed(parent, asked, "\n".join([*losses, "", asked]))
