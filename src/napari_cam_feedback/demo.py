"""The whole loop on a sample, with the known masks of some images as the expert's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_cam_feedback.data import Dataset, open_dataset
from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.evaluation import Comparison, compare_models, read_painted_history, report_facts, report_versions
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.models import Classifier, load_classifier
from napari_cam_feedback.projects import Project, save_run
from napari_cam_feedback.retuning import RetuneConfig, RetuneResult, RetuneStep, retune
from napari_cam_feedback.sample_models import prepare_sample
from napari_cam_feedback.steps import run_to_end
from napari_cam_feedback.training import TrainStep


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes
    ----------
    project : Project
        With the retuned classifier as its second version.
    result : RetuneResult
        The retune.
    comparison : Comparison
        Before and after on all splits.
    report : Path
        The page.
    """

    project: Project
    result: RetuneResult
    comparison: Comparison
    report: Path


def run_demo(
    sample: str,
    folder: str | Path,
    *,
    masks: int = 20,
    pictures: int = 12,
    seed: int = 0,
    device: str = "auto",
    config: RetuneConfig | None = None,
    on_epoch: Callable[[TrainStep], object] | None = None,
    on_ready: Callable[[Classifier, Dataset], None] | None = None,
    on_step: Callable[[RetuneStep], None] | None = None,
) -> DemoResult:
    """Run the whole loop on a sample: prepare, look, paint (known masks), retune, compare, keep, report.

    Parameters
    ----------
    sample : str
        Its name.
    folder : path
        Gets ``data``, ``model.safetensors``, ``project``, ``run``, ``pictures`` and ``report.*``.
    masks : int
        Images whose known masks stand in for the expert's.
    pictures : int
        How many images to draw.
    seed : int
        Of the choice of images, of the retune and of the fills.
    device : str
        Where to compute.
    config : RetuneConfig, optional
        Settings of the retune; the seed is put in.
    on_epoch : callable, optional
        Called with each epoch of the sample's model, where that is trained now.
    on_ready : callable, optional
        Called with classifier and dataset before the retune.
    on_step : callable, optional
        Called with each step of the retune.

    Raises
    ------
    FeedbackError
        One of ours, as of the parts.
    """
    folder = Path(folder)
    data, model = prepare_sample(sample, folder, device=device, on_epoch=on_epoch)
    dataset = open_dataset(data)
    classifier = load_classifier(model, device=device)
    if Project.exists(folder / "project"):
        raise StorageError(f"{folder} holds a demo already; remove it, or choose another folder.", field="out")
    project = Project.create(folder / "project", dataset, classifier)
    if on_ready is not None:
        on_ready(classifier, dataset)
    for key, mask in known_masks(dataset, masks, seed=seed).items():
        project.masks.put(key, mask, author="known mask of the sample")
    chosen = (config or RetuneConfig()).model_copy(update={"seed": seed})
    result = run_to_end(retune(classifier, dataset, project.masks, chosen), on_step)
    models = {"before": classifier, "after": result.classifier}
    versions = compare_models(models, dataset, seed=seed)
    comparison = versions.pair(1)
    save_run(folder / "run", result, comparison, masks=project.masks)
    project.keep(result, comparison)
    command = f"napari-cam-feedback demo {sample} --seed {seed} --masks {masks} --out {folder.name}"
    facts = report_facts(models, dataset, seed=seed, command=command.split())
    report = report_versions(
        folder,
        versions,
        models,
        dataset,
        histories=[read_painted_history(folder / "run", "the retune")],
        facts={**facts, "Painted": f"{masks} images, whose known masks were taken as the expert's"},
        pictures=pictures,
        title=f"Retuning on the sample {sample}",
        summary=f"{result.verdict.name.capitalize()}: {result.verdict.headline}",
        remarks=[result.verdict.reason],
    )
    assert report is not None
    return DemoResult(project, result, comparison, report)
