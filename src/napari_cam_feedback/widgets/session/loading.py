"""What happens behind the Load button: opening a sample, a model with its images, or a project, step by step.

Everything here runs in a worker thread and knows no Qt. Torch is loaded by the first step.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cam_feedback.errors import ConfigError, FeedbackError, StorageError
from napari_cam_feedback.monitor import Monitor, Part
from napari_cam_feedback.steps import run_to_end
from napari_cam_feedback.widgets.session.consents import Consents, asking, subject_of
from napari_cam_feedback.widgets.session.opened import OpenedProject, prepare
from napari_cam_feedback.widgets.session.sources import ProjectSource
from napari_cam_feedback.widgets.tasks.workers import WorkStopped
from napari_cam_feedback.widgets.viewer.layer_images import LayerImages

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.models.options import ModelOptions
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.training import TrainStep

#: Folder in a project that holds copies of the viewer's layers.
IMAGES = "images"


def load(source: ProjectSource, monitor: Monitor) -> OpenedProject:
    """Open `source`; the monitor is told what is being done.

    Returns
    -------
    OpenedProject
        Ready for `Session.open`.

    Raises
    ------
    WorkStopped
        The user has stopped it.
    ConsentRequest
        The user must agree to something first.
    FeedbackError
        Something cannot be opened; the sentence says what to do.
    """

    def at(number: int, text: str) -> None:
        if monitor.stopped:
            raise WorkStopped
        monitor.progress(number, 5, text)

    at(0, "Loading PyTorch (the first time takes some seconds) …")
    import napari_cam_feedback.torch_loader

    assert napari_cam_feedback.torch_loader.torch is not None
    from napari_cam_feedback.projects import Project

    again = Project.exists(source.project)
    if source.kind == "project" or (source.kind == "sample" and again):
        at(1, "Reading the images' names …")
        project = Project.open(source.project)
    else:
        at(1, "Making the sample …" if source.kind == "sample" else "Reading the images' names …")
        model: Path | str
        if source.kind == "sample":
            data, model = _sample(source, monitor)
        else:
            model, data = _model_and_data(source, monitor)
        with _removed_on_failure(data if source.kind == "layers" else None):
            at(2, "Loading the model …")
            classifier, dataset = open_model_and_data(model, data, source)
            check_model(classifier, dataset)
            project = _project(source, dataset, classifier)
    at(3, "Loading the model …")
    classifier = _with_remembered_layer(project, load_version(project, None, source.device, source.consents))
    at(4, "Looking at the model …")
    opened = prepare(project, classifier)
    at(5, "Done.")
    return opened


def _model_and_data(source: ProjectSource, monitor: Monitor) -> tuple[Path | str, Path]:
    """Return model and dataset; the images are written first where they are layers."""
    if source.model is None:
        raise ConfigError("Choose a model file first, or write torchvision:NAME in its place.")
    if source.kind == "layers":
        return source.model, _write_layers(source, monitor)
    if source.data is None:
        raise ConfigError("Choose the images first: a folder, or a file that lists or holds them.")
    return source.model, source.data


def _sample(source: ProjectSource, monitor: Monitor) -> tuple[Path, Path]:
    """Write the sample and its model into the project's folder; the model is trained where none is shipped."""
    from napari_cam_feedback.models import Interrupted
    from napari_cam_feedback.sample_models import model_remark, sample_steps

    remark = model_remark(source.sample)
    if remark is not None:
        monitor.progress(1, 5, f"Making the sample. {remark}")

    def tell(step: TrainStep) -> None:
        said = f"Training the sample's model: epoch {step.epoch} of {step.epochs} done …"
        monitor.progress(step.epoch, step.epochs, said)

    steps = sample_steps(source.sample, source.project, device=source.device, monitor=Part(monitor, silent=True))
    try:
        return run_to_end(steps, tell)
    except Interrupted:
        raise WorkStopped from None


def _write_layers(source: ProjectSource, monitor: Monitor) -> Path:
    """Write the chosen layers as image files into the project's folder; return the CSV that lists them.

    Raises
    ------
    DataError, StorageError
        Nothing is chosen, a layer cannot be read, or the folder holds something already.
    """
    from napari_cam_feedback.data.formats.export import LABELS_NAME, save_images
    from napari_cam_feedback.projects import Project

    def on_read(_: int) -> None:
        if monitor.stopped:
            raise WorkStopped

    images = LayerImages(source.layers, on_read)
    if Project.exists(source.project):
        raise StorageError(
            f"{source.project} holds a project already; choose another project folder for these layers, or open that one "
            "as an existing project."
        )
    return save_images(source.project / IMAGES, images, labels=images.labels, names=images.names) / LABELS_NAME


@contextmanager
def _removed_on_failure(table: Path | None) -> Iterator[None]:
    """Remove copies that were just made and have no project, which would be in the way of the next try."""
    try:
        yield
    except BaseException:
        if table is not None:
            shutil.rmtree(table.parent, ignore_errors=True)
        raise


def open_model_and_data(model: Path | str, data: Path, source: ProjectSource) -> tuple[Classifier, Dataset]:
    """Open both as the user's settings say; raises `ConsentRequest` where something must be agreed to first."""
    from napari_cam_feedback.models.files.loading import open_pair

    options = _options(source.settings)
    subject = subject_of(model, options.arch or _arch_of(model))
    given = {kind: True for kind in ("trust", "download") if source.consents.given(kind, subject)}
    with asking(subject):
        return open_pair(model, data, options.model_copy(update=given), device=source.device)


def check_model(classifier: Classifier, dataset: Dataset) -> None:
    """Raise a ModelError where the model's outputs are no numbers, so that no project is made of it."""
    from napari_cam_feedback.models.first_look.look import check_outputs

    check_outputs(classifier, dataset)


def _options(settings: dict[str, Any]) -> ModelOptions:
    from napari_cam_feedback.models.files.class_names import read_class_names
    from napari_cam_feedback.models.options import make_options

    values = dict(settings)
    if "class_names" in values:
        values["class_names"] = read_class_names(values["class_names"])
    return make_options(None, **values)


def _arch_of(model: Path | str) -> str | None:
    """Return the architecture that a file of ours names, None for other models."""
    from napari_cam_feedback.models import read_header

    if isinstance(model, str) or model.suffix != ".safetensors":
        return None
    try:
        return (read_header(model) or {}).get("arch")
    except FeedbackError:
        return None  # said when it is loaded


def load_version(project: Project, version: str | None, device: str, consents: Consents) -> Classifier:
    """Load a version of a project, by default the current one; raises `ConsentRequest` where its code may not run yet."""
    name = project.current.id if version is None else version
    weights = project.folder / "versions" / f"{name}.safetensors"
    subject = subject_of(weights, _arch_of(weights))
    with asking(subject):
        return project.classifier(name, device=device, trust=consents.given("trust", subject))


def _with_remembered_layer(project: Project, classifier: Classifier) -> Classifier:
    remembered = project.remembered
    layer, grid = remembered.get("layer"), remembered.get("grid")
    if not isinstance(layer, str) or layer not in {info.name for info in classifier.layers}:
        return classifier
    try:
        return classifier.with_layer(layer, grid=tuple(grid) if grid else None)
    except FeedbackError:
        return classifier


def _project(source: ProjectSource, dataset: Dataset, classifier: Classifier) -> Project:
    """Make the project, or open the one that is there if it began with the same model and images."""
    from napari_cam_feedback.projects import Project

    if not Project.exists(source.project):
        return Project.create(source.project, dataset, classifier)
    project = Project.open(source.project)
    same_data = (
        dataset.source is not None
        and project.dataset.source is not None
        and project.dataset.source.resolve() == dataset.source.resolve()
    )
    first = project.versions[0]
    began_with = first.fingerprint
    if first.deleted is None:
        began_with = load_version(project, first.id, "cpu", source.consents).fingerprint()
    if not same_data or began_with != classifier.copy().to("cpu").fingerprint():
        raise StorageError(
            f"{source.project} holds a project with another model, other settings or other images; choose another project "
            "folder, or open that one as an existing project."
        )
    return project


def move_images(folder: Path, images: Path) -> None:
    """Note that a project's images lie elsewhere now."""
    from napari_cam_feedback.projects import Project

    Project.move_images(folder, images)


def find_head(classifier: Classifier) -> bool:
    """Look for the linear head, which runs the network, so that it is known when the main thread asks."""
    return classifier.head is not None
