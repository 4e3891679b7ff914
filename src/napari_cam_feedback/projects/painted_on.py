"""Which version of a project's model was looked at while the masks were painted."""

from __future__ import annotations

from collections import Counter

from napari_cam_feedback.projects.project import Project


def painted_on(project: Project) -> str:
    """Return the id of the version that was the newest when most of the masks were painted.

    That version responds to what was painted; one that was retuned with the masks no longer does. Versions whose weights
    were deleted do not count; where nothing is known of when the masks were painted, it is the first one that is left.
    """
    left = [version for version in project.versions if version.deleted is None]
    times = [str(project.masks.info(key).get("time", "")) for key in project.masks]
    # ISO 8601 in UTC sorts as text.
    newest = Counter(
        next((version.id for version in reversed(left) if version.created <= time), left[0].id) for time in times
    )
    return newest.most_common(1)[0][0] if newest else left[0].id
