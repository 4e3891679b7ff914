"""What happens behind the Load button: opening a sample, a model with its images, or a project, step by step.

Everything here runs in a worker thread and knows no Qt. Torch is loaded by the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_feedback.errors import ConfigError, DataError, ModelError, StorageError
from napari_cam_feedback.widgets.state import Opened, prepare
from napari_cam_feedback.widgets.workers import Progress, Stopped

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.project import Project

Steps = Generator[Progress, None, Opened]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Source:
    """What to open, as the person chose it.

    Attributes
    ----------
    kind : str
        ``sample``, ``files`` or ``project``.
    project : Path
        Folder of the project: made, or opened again where it is there.
    sample : str
        Name of the sample, for ``sample``.
    model, data : Path, optional
        Model file and dataset, for ``files``.
    arch : str, optional
        Architecture of a file that holds plain weights.
    size : tuple of int, optional
        Input height and width of such a file.
    device : str
        As `pick_device` takes it.
    """

    kind: str
    project: Path
    sample: str = ""
    model: Path | None = None
    data: Path | None = None
    arch: str | None = None
    size: tuple[int, int] | None = None
    device: str = "auto"


def home() -> Path:
    """Return the folder in which projects are put unless the person names another."""
    return Path.home() / "napari-cam-feedback"


def load(source: Source, stop: Stop) -> Steps:
    """Open `source`.

    Yields
    ------
    Progress
        What is being done now.

    Returns
    -------
    Opened
        Ready for `Session.open`.

    Raises
    ------
    Stopped
        `stop` said so.
    FeedbackError
        Something cannot be opened; the sentence says what to do.
    """

    def at(number: int, text: str) -> Progress:
        if stop():
            raise Stopped
        return Progress(number, 5, text)

    yield at(0, "Loading PyTorch (the first time takes some seconds) …")
    import napari_cam_feedback.torch_loader

    assert napari_cam_feedback.torch_loader.torch is not None
    from napari_cam_feedback.project import Project

    yield at(1, "Making the sample …" if source.kind == "sample" else "Reading the images' names …")
    again = Project.exists(source.project)
    if source.kind == "project" or (source.kind == "sample" and again):
        project = Project.open(source.project)
    else:
        data, model = _sample(source, stop) if source.kind == "sample" else (source.data, source.model)
        if data is None or model is None:
            raise ConfigError("Choose a model file and a dataset first.")
        if not model.is_file():
            raise ModelError(f"There is no model file {model}; choose another.")
        dataset = _open_dataset(data, model)
        yield at(2, "Loading the model …")
        project = _project(source, dataset, _load_model(source, model, dataset))
    yield at(3, "Loading the model …")
    classifier = project.classifier(device=source.device)
    layer = project.remembered.get("layer")
    if isinstance(layer, str) and layer in {info.name for info in classifier.layers}:
        classifier = classifier.with_layer(layer)
    yield at(4, "Looking at the model …")
    opened = prepare(project, classifier)
    yield at(5, "Done.")
    return opened


def _open_dataset(path: Path, model: Path) -> Dataset:
    """Open the dataset as the model knows it: its order of classes, and the split that it was trained on."""
    from napari_cam_feedback.data import open_dataset
    from napari_cam_feedback.models import read_header

    if not path.exists():
        raise DataError(f"There is no dataset {path}; choose a folder, a CSV or an NPZ file.")
    header = (read_header(model) if model.suffix == ".safetensors" else None) or {}
    seed = header.get("info", {}).get("training", {}).get("split_seed")
    return open_dataset(path, seed=seed or 0, class_names=header.get("class_names"))


def _sample(source: Source, stop: Stop) -> tuple[Path, Path]:
    """Write the sample and its model into the project's folder; the model is trained where none is shipped."""
    from napari_cam_feedback.demo import prepare_sample

    def on_epoch(_: object) -> None:
        if stop():
            raise Stopped

    return prepare_sample(source.sample, source.project, on_epoch=on_epoch)


def _load_model(source: Source, path: Path, dataset: Dataset) -> Classifier:
    from napari_cam_feedback.models import load_classifier
    from napari_cam_feedback.models.storage import read_header

    header = (read_header(path) if path.suffix == ".safetensors" else None) or {}
    if not header.get("arch") and source.arch is None:
        raise ModelError(f"{path.name} holds plain weights; name their architecture under “Plain weights”.")
    return load_classifier(
        path,
        arch=None if header.get("arch") else source.arch,
        # Plain weights do not name their classes; the dataset does, in the order of training by custom.
        class_names=None if header.get("class_names") else dataset.class_names,
        size=None if header.get("preprocessing") else source.size,
        device=source.device,
    )


def _project(source: Source, dataset: Dataset, classifier: Classifier) -> Project:
    """Make the project, or open the one that is there if it began with the same model and images."""
    from napari_cam_feedback.project import Project

    if not Project.exists(source.project):
        return Project.create(source.project, dataset, classifier)
    project = Project.open(source.project)
    same_data = (
        dataset.source is not None
        and project.dataset.source is not None
        and project.dataset.source.resolve() == dataset.source.resolve()
    )
    first = project.classifier(project.versions[0].id, device="cpu")
    if not same_data or first.to("cpu").fingerprint() != classifier.copy().to("cpu").fingerprint():
        raise StorageError(
            f"{source.project} holds a project with another model or other images; choose another project "
            "folder, or open that one as an existing project."
        )
    return project


def find_head(classifier: Classifier) -> bool:
    """Look for the linear head, which runs the network, so that it is known when the main thread asks."""
    return classifier.head is not None
