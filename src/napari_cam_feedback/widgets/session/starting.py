"""Where a session starts in a project: the item, class and method with which the user left it, where they still can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_cam_feedback.errors import FeedbackError

if TYPE_CHECKING:
    from napari_cam_feedback.projects import Project


def valid_target(target: Any, classes: int) -> Any:
    """Return a remembered class of the map, "predicted" where there is none such."""
    if isinstance(target, int) and 0 <= target < classes:
        return target
    return target if target in ("true", "predicted") else "predicted"


def valid_method(method: Any, default: str) -> str:
    """Return a remembered method, the default where the model cannot do it (CAM without a linear head)."""
    from napari_cam_feedback.explanations import METHODS

    return method if method in METHODS and not (method == "cam" and default != "cam") else default


def remembered_item(project: Project) -> int | None:
    """Return the item that was shown last, None where it is not there any more."""
    key = project.remembered.get("item")
    if isinstance(key, str):
        try:
            return project.dataset.index_of(key)
        except FeedbackError:
            return None
    return None
