"""A feedback project: a folder with a reference to the data, the classifier's versions, masks and runs."""

from napari_cam_feedback.projects.keeping import keep_run
from napari_cam_feedback.projects.lineage import TreeRow, describe_version, lineage
from napari_cam_feedback.projects.manifest import PROJECT_FILE, Version
from napari_cam_feedback.projects.project import Project
from napari_cam_feedback.projects.runs import save_run
from napari_cam_feedback.projects.versions import ProjectFolder

__all__ = [
    "PROJECT_FILE",
    "Project",
    "ProjectFolder",
    "TreeRow",
    "Version",
    "describe_version",
    "keep_run",
    "lineage",
    "save_run",
]
