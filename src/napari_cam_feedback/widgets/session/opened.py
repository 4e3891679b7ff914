"""What a worker makes ready before the session shows a project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cam_feedback.widgets.viewer.preferences import preferences

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.explanations import ExplanationCache
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.projects import Project


@dataclass(frozen=True)
class OpenedProject:
    """What a worker has made ready for `Session.open`.

    Attributes
    ----------
    project : Project
        Dataset, masks and versions.
    classifier : Classifier
        Of the project's current version.
    explanation_cache : ExplanationCache
        Of that classifier and dataset.
    default_method : str
        ``cam`` where the classifier has a linear head, else ``gradcam``.
    painted : frozenset of str
        Keys of the items that have a mask.
    """

    project: Project
    classifier: Classifier
    explanation_cache: ExplanationCache
    default_method: str
    painted: frozenset[str]


def prepare(project: Project, classifier: Classifier) -> OpenedProject:
    """Make everything ready that `Session.open` needs; for a worker, since it runs the network."""
    from napari_cam_feedback.explanations import ExplanationCache, default_method

    painted = frozenset(painted_items(project.dataset, project.masks))
    cache = ExplanationCache(classifier, project.dataset, max_bytes=preferences().cache_bytes)
    return OpenedProject(project, classifier, cache, default_method(classifier), painted)


def painted_items(dataset: Dataset, masks: Iterable[str]) -> set[str]:
    """Return the keys of the items that have a mask, among `masks`, the keys of a `MaskStore`."""
    from napari_cam_feedback.feedback.masks.names import without_ending

    found: set[str] = set()
    others: set[str] = set()
    for key in masks:
        (found if key in dataset.keys else others).add(key)
    if others:
        # A folder of masks in the layout of known masks leaves out the image's suffix.
        found |= {key for key in dataset.keys if without_ending(key) in others}
    return found
