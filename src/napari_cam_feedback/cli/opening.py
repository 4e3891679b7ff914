"""Opening what a command works on: the model with its dataset, and masks; and what had to be assumed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_feedback.cli.naming import naming
from napari_cam_feedback.cli.show import progress
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.model_names import Architecture, without_one_output

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.models.files.loading import ModelSource
    from napari_cam_feedback.models.options import ModelOptions


@dataclass(frozen=True)
class ModelAndData:
    """A model and the dataset it is to work on.

    Attributes
    ----------
    classifier, dataset
        With the same classes in the same order.
    assumed : str or None
        Sentences for people, a line each: what was left out of the data; where neither the model's file nor the user said
        everything, what was assumed; before it, what the file beside the model's said; after it, what a first look at the
        model with its data found.
    """

    classifier: Classifier
    dataset: Dataset
    assumed: str | None


def open_model_and_data(
    model: str, data: Path, options: ModelOptions, *, device: str, seed: int, maps: bool = True
) -> ModelAndData:
    """Open a model and a dataset as the user described them, and take a first look at the model with its data.

    Parameters
    ----------
    model, data, options, device, seed
        As `open_pair` takes them.
    maps : bool
        Whether the target layer's maps matter to the command.

    Raises
    ------
    ModelError, DataError, ConfigError
        One of them cannot be opened, they do not fit each other, or the model's outputs are no numbers.
    """
    from napari_cam_feedback.models.files.loading import open_pair

    classifier, dataset = open_pair(model, data, options, device=device, seed=seed)
    assumed = _assumed(model, options, classifier, dataset)
    # Whoever named the target layer knows it.
    looked = _looked_at(classifier, dataset, layer=maps and not options.layer)
    return ModelAndData(classifier, dataset, "\n".join(filter(None, (*dataset.notes, assumed, *looked))) or None)


def _looked_at(classifier: Classifier, dataset: Dataset, *, layer: bool) -> list[str]:
    """Return what a first look at the model with its data found; its bar is seen only where it takes long."""
    from napari_cam_feedback.models.first_look.look import look_at

    with progress("looking for what makes the model right") as bar:
        look = look_at(classifier, dataset, monitor=bar)
    return (look if layer else replace(look, layer=())).sentences(naming())


def _assumed(model: str, options: ModelOptions, classifier: Classifier, dataset: Dataset) -> str | None:
    from napari_cam_feedback.models.files.loading import open_source

    source = open_source(model, options)
    parts = []
    if not (options.class_names or source.class_names):
        names = classifier.class_names
        some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        order = "its folders in alphabetical order" if dataset.source and dataset.source.is_dir() else "in its order"
        parts.append(f"the dataset's classes, {order} ({some}; else --classes)")
    if classifier.info.get("one_output") and not source.header:
        first, second = classifier.class_names
        parts.append(f"two classes of one output, which stands for {second} (else --classes, with {second} before {first})")
    said = {"size", "mean", "std"} <= options.preprocessing.keys()
    if not (said or source.pretrained or source.header.get("preprocessing")):
        parts.append(f"the preprocessing {classifier.preprocessing.summary} (else --size, --mean, --std, …)")
    if not options.layer and classifier.target_layer != source.header.get("target_layer"):
        parts.append(f"the target layer {classifier.target_layer} (else --layer)")
    if dataset.made_split and classifier.split_seed is None:
        parts.append(f"a split drawn with seed {dataset.split_seed} (else --seed)")
    assumed = [f"Assumed, since it was not said: {'; '.join(parts)}."] if parts else []
    return " ".join([*_beside(source, options, classifier), *assumed]) or None


def _beside(source: ModelSource, options: ModelOptions, classifier: Classifier) -> list[str]:
    """Say what was taken from the file beside the model's; nothing where there is none or the user said all of it."""
    if source.sidecar is None:
        return []
    names = classifier.class_names
    some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    program = Architecture.of(without_one_output(classifier.arch)).origin == "export"
    parts = [] if options.arch or program else [f"the architecture {classifier.arch}"]
    parts += [] if options.class_names else [f"the classes {some}"]
    if not {"size", "mean", "std"} <= options.preprocessing.keys():
        parts.append(f"the preprocessing {classifier.preprocessing.summary}")
    if not options.layer and classifier.target_layer == source.header.get("target_layer"):
        parts.append(f"the target layer {classifier.target_layer}")
    return [f"Taken from {source.sidecar.name}, beside the model: {'; '.join(parts)}."] if parts else []


def open_masks(folder: Path | None, dataset: Dataset) -> MaskStore | None:
    """Open the masks in a folder, or those of a project; None where none was named.

    Raises
    ------
    DataError
        There is no such folder, or none of its masks belongs to an image of the dataset.
    """
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.projects import ProjectFolder

    if folder is None:
        return None
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name the folder that holds the masks.")
    store = MaskStore(folder / "masks" if ProjectFolder.exists(folder) else folder)
    if not any(key in store for key in dataset.keys):
        raise DataError(
            f"None of the masks in {folder} belongs to an image of the dataset; "
            "a mask's path is that of its image, as train/cat/1.png.png for train/cat/1.png."
        )
    return store
