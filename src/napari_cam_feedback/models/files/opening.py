"""Opening a model and the dataset that it is for, so that their classes and their split agree."""

from __future__ import annotations

import os
from pathlib import Path

from napari_cam_feedback.data import Dataset, open_dataset
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.files.loading import load_named, open_source
from napari_cam_feedback.models.options import ModelOptions, make_options


def open_pair(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    options: ModelOptions | None = None,
    *,
    device: str = "auto",
    seed: int = 0,
) -> tuple[Classifier, Dataset]:
    """Open a model and a dataset.

    The class names are those that the user gives; else those of the model's file, or torchvision's categories; else the
    dataset's own, in its order, which for folders is the alphabet's. ``classifier.info["class_names_from"]`` says which:
    ``file``, ``header``, ``sidecar`` (what lies beside an exported file), ``torchvision`` or ``folders``.

    Parameters
    ----------
    model : path or str
        As `load_classifier` takes it.
    data : path
        As `open_dataset` takes it.
    options : ModelOptions, optional
        What the model's file does not say.
    device : str
        Where to compute.
    seed : int
        Seeds the split of a dataset that has none, unless the model was trained on such a split: then that is made again,
        or the model would be judged by images that it learnt from.

    Raises
    ------
    ModelError, ConsentNeeded, ConfigError
        As `load_classifier`.
    DataError
        The dataset cannot be opened, or has classes that the model does not know.
    """
    options = make_options(options)
    data = Path(data).expanduser()
    if not data.exists():
        raise DataError(f"{data} does not exist; check the path.")
    source = open_source(model, options)
    if source.split_seed is not None:
        seed = source.split_seed
    names = options.class_names or source.class_names
    if options.class_names and len(options.class_names) == 1:
        names = _two_names(options.class_names[0], data, seed)
        options = options.model_copy(update={"class_names": names})
    if names:
        # The model first: what is wrong with it is said before a large folder is read.
        classifier = load_named(source, options, device=device)
        return classifier, open_dataset(data, seed=seed, class_names=names)
    dataset = open_dataset(data, seed=seed)
    if not dataset.class_names:
        raise DataError(
            f"Neither {source.name} nor {data} names classes; give them in a file, one a line, with --classes FILE."
        )
    return load_named(source, options, device=device, folders=dataset.class_names), dataset


def _two_names(second: str, data: Path, seed: int) -> tuple[str, str]:
    """Return the classes of a network of one output, of which the user named the one that it stands for."""
    found = open_dataset(data, seed=seed).class_names
    others = [name for name in found if name != second]
    if second not in found or len(others) != 1:
        raise DataError(
            f"One class was named ({second}), and {data} has the classes {', '.join(found[:8])}; name all classes of the "
            "model in the order of its outputs, one a line."
        )
    return others[0], second
