"""What the *Compare* dock does in the background: loading versions, comparing them, and writing the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_feedback.errors import FeedbackError
from napari_cam_feedback.monitor import Monitor, Part
from napari_cam_feedback.widgets.session.loading import load_version
from napari_cam_feedback.widgets.tasks.workers import WorkStopped

if TYPE_CHECKING:
    from napari_cam_feedback.evaluation import VersionComparison
    from napari_cam_feedback.explanations import ExplanationCache
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.widgets.session.consents import Consents

Report = Callable[[str, int, int], None]
Stop = Callable[[], bool]
SEED = 0


@dataclass(frozen=True, eq=False)
class ComparedVersions:
    """Versions of a project, compared.

    Attributes
    ----------
    project : Project
        Theirs.
    models : dict
        Id of a version to its classifier, in the order in which they were compared.
    explanation_caches : dict
        The same to its cache of explanations, for maps.
    comparison : VersionComparison
        The numbers.
    layer : str or None
        The target layer, where it is another one than the versions' files say.
    """

    project: Project
    models: dict[str, Classifier]
    explanation_caches: dict[str, ExplanationCache]
    comparison: VersionComparison
    layer: str | None

    @property
    def versions(self) -> tuple[str, ...]:
        """Their ids."""
        return tuple(self.models)


def compare_versions(
    project: Project, versions: Sequence[str], current: Classifier, consents: Consents, monitor: Monitor
) -> ComparedVersions:
    """Load versions of a project and compare them by the masks of `known_or_painted`.

    Parameters
    ----------
    project : Project
        Whose versions they are.
    versions : sequence of str
        Ids; the first is what the others are compared with.
    current : Classifier
        What the session looks through; its device and, where the versions have it, its target layer are used.
    consents : Consents
        What the user has agreed to.
    monitor : Monitor
        Told what is being done, done and total.

    Raises
    ------
    WorkStopped
        It was stopped.
    FeedbackError
        A version cannot be loaded or measured.
    """
    from napari_cam_feedback.evaluation import compare_models
    from napari_cam_feedback.explanations import ExplanationCache
    from napari_cam_feedback.projects.comparing import known_or_painted

    models: dict[str, Classifier] = {}
    other_layer = False
    for number, version in enumerate(versions):
        monitor.progress(number, len(versions), f"Loading {version}")
        classifier = load_version(project, version, str(current.device), consents)
        if (classifier.target_layer, classifier.grid) != (current.target_layer, current.grid):
            try:
                classifier = classifier.with_layer(current.target_layer, grid=current.grid)
                other_layer = True
            except FeedbackError:
                pass  # a version of another architecture keeps its own
        models[version] = classifier
        if monitor.stopped:
            raise WorkStopped
    masks, _ = known_or_painted(project)
    comparison = compare_models(models, project.dataset, masks=masks, seed=SEED, monitor=Part(monitor, "Comparing"))
    if monitor.stopped:
        raise WorkStopped
    explanation_caches = {name: ExplanationCache(classifier, project.dataset) for name, classifier in models.items()}
    return ComparedVersions(project, models, explanation_caches, comparison, current.target_layer if other_layer else None)


def save_report(found: ComparedVersions, folder: Path, monitor: Monitor) -> Path:
    """Write the report of a comparison into a folder; return the page.

    Raises
    ------
    WorkStopped
        It was stopped; nothing was written.
    StorageError
        It cannot be written.
    """
    from napari_cam_feedback.evaluation import read_painted_history, report_facts, report_versions
    from napari_cam_feedback.projects.comparing import known_or_painted, runs_between

    project, models = found.project, found.models
    masks, masks_from = known_or_painted(project)
    command = ["napari-cam-feedback", "compare", *found.versions, "--project", str(project.folder), "--out", str(folder)]
    command += ["--seed", str(found.comparison.seed)]
    if found.layer is not None:
        command += ["--layer", found.layer]
    monitor.progress(0, 0, "Writing the report")
    page = report_versions(
        folder,
        found.comparison,
        models,
        project.dataset,
        masks=masks,
        histories=[read_painted_history(run, name) for name, run in runs_between(project, found.versions)],
        facts=report_facts(
            models,
            project.dataset,
            files={name: project.weights(name) for name in models},
            masks=masks_from,
            seed=found.comparison.seed,
            command=command,
        ),
        monitor=Part(monitor, "Writing the report"),
    )
    if page is None:
        raise WorkStopped
    return page
