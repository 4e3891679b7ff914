"""A training from start to end: what it starts from, its epochs, the model's file, and the record beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path

from napari_cam_feedback.data import Dataset, InputCache, Preprocessing, open_dataset
from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.files import check_writable
from napari_cam_feedback.model_names import Architecture
from napari_cam_feedback.models.chance import MIN_IMAGES, beyond_chance, largest_share
from napari_cam_feedback.models.classifier import Classifier, build_classifier
from napari_cam_feedback.models.devices import pick_device
from napari_cam_feedback.models.files.loading import ModelSource
from napari_cam_feedback.models.files.storage import save_classifier
from napari_cam_feedback.models.layers.parts import learning_parameters
from napari_cam_feedback.models.networks.architectures import resolve
from napari_cam_feedback.models.networks.presets import choose_preprocessing, default_preprocessing
from napari_cam_feedback.models.options import ModelOptions, make_options
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.training.config import DEFAULT_ARCH, TrainRecipe
from napari_cam_feedback.training.loop import TrainStep, train_classifier
from napari_cam_feedback.training.record import Record, record_folder, write_record
from napari_cam_feedback.training.split import choose_split
from napari_cam_feedback.training.transfer import backbone_source, load_backbone, transfer

#: What the file of a model ends in.
SUFFIX = ".safetensors"


class Training:
    """A training that is ready to run. Made by `open_training`.

    Attributes
    ----------
    dataset : Dataset
        The images.
    start : Classifier
        The network as it is before the training.
    head : str or None
        Name of the new head; None where all of the network is new.
    recipe : TrainRecipe
        All that is needed to repeat it, with what was not said filled in.
    split : TrainSplit
        Which images are learnt from and which judge.
    steps : list of TrainStep
        The epochs so far that were trained in whole.
    result : Classifier or None
        That of the best epoch, when `run` has ended.
    stopped : bool
        Whether it was stopped before its end.
    """

    def __init__(self, dataset: Dataset, start: Classifier, head: str | None, recipe: TrainRecipe) -> None:
        self.dataset, self.start, self.head, self.recipe = dataset, start, head, recipe
        config = recipe.training
        config.phases(head is not None)
        learning_parameters(start.module, config.freeze)
        self.split = choose_split(dataset, config.val_share, config.seed)
        self.steps: list[TrainStep] = []
        self.result: Classifier | None = None
        self.stopped = False
        self._seconds = 0.0
        self._cache = InputCache(dataset, start.preprocessing)

    @property
    def skipped(self) -> dict[str, str]:
        """Images that could not be read: key and sentence."""
        return self._cache.skipped

    @property
    def split_remark(self) -> str | None:
        """One sentence where the split, or a part of it, is ours."""
        dataset, drawn = self.dataset, self.split.drawn
        if dataset.made_split:
            names = ", ".join(dataset.split_names)
            return f"The dataset has no splits; a split into {names} was drawn with seed {dataset.split_seed}."
        if drawn is not None:
            return (
                f"The dataset has no split val; {drawn['images']} of the {drawn['images'] + len(self.split.train)} training "
                f"images ({drawn['share']:.0%} of each class) are kept for validation, drawn with seed {drawn['seed']}."
            )
        return None

    @property
    def chance_remark(self) -> str | None:
        """One sentence where the result is no better than chance, with what to try; None before the end, and else."""
        if self.result is None or not self.steps:
            return None
        training = self.result.info["training"]
        for name, key, indices in (
            ("validation", "val_accuracy", self.split.validation),
            ("training", "train_accuracy", self.split.train),
        ):
            accuracy, images = training.get(key), len(indices)
            if accuracy is None or images < MIN_IMAGES:
                continue
            chance = largest_share(self.dataset.labels[indices])
            if not beyond_chance(round(accuracy * images), images, chance):
                return (
                    f"The result is no better than chance: it is right on {accuracy:.0%} of the {images} {name} images, and "
                    f"always naming their most frequent class would be right on {chance:.0%}. Try more epochs, a larger or "
                    "smaller learning rate, or a network that was trained before, and check that the labels belong to the "
                    "images."
                )
        return None

    @takes_monitor
    def run(self, *, monitor: Monitor = QUIET) -> Generator[TrainStep, None, Classifier]:
        """Train; yields after each epoch and returns the best. See `train_classifier`."""
        began = time.monotonic()
        steps = train_classifier(
            self.start, self.dataset, self.recipe.training, head=self.head, cache=self._cache, monitor=monitor
        )
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                self.result = end.value
                break
            if step.whole:
                self.steps.append(step)
                yield step
        self.stopped = monitor.stopped
        self._seconds = time.monotonic() - began
        assert self.result is not None
        return self.result

    def save(self, path: str | os.PathLike[str], *, command: str | None = None) -> Path:
        """Write the best epoch's model and, beside it, the record of the training; return the record's folder.

        Parameters
        ----------
        path : path
            The model's file.
        command : str, optional
            The line in a shell that made it.

        Raises
        ------
        ModelError
            No epoch was trained in whole.
        StorageError
            Something cannot be written.
        """
        if self.result is None or not self.steps:
            raise ModelError("No epoch was trained to its end, so there is nothing to save; train for longer.")
        path = Path(path)
        save_classifier(self.result, path)
        folder = record_folder(path)
        record = Record(
            recipe=self.recipe,
            dataset=self.dataset,
            split=self.split,
            steps=self.steps,
            result=self.result,
            model=path,
            skipped=self.skipped,
            seconds=self._seconds,
            stopped=self.stopped,
            command=command,
        )
        write_record(record, folder)
        return folder


def check_model_path(
    path: str | os.PathLike[str], data: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> Path:
    """Return the path of a model to write.

    Parameters
    ----------
    path : path
        Of the model.
    data : path
        The images.
    weights : path, optional
        What the training starts from.

    Raises
    ------
    ConfigError
        It has another ending than ours; it lies among the images, where its record would be taken for a class; or it is the
        file that the training starts from, without which it could not be repeated.
    StorageError
        It cannot be written.
    """
    found, images = Path(path).expanduser(), Path(data).expanduser()
    if found.suffix != SUFFIX:
        raise ConfigError(f"The model's file must end in {SUFFIX}, not {found.name}.", field="out")
    if images.is_dir() and found.absolute().parent.resolve().is_relative_to(images.resolve()):
        raise ConfigError(
            f"{found} lies among the images of {images}; choose a folder outside of it for the model.", field="out"
        )
    if weights is not None and found.exists() and _same(found, Path(weights).expanduser()):
        raise ConfigError(
            f"{found} is the model that the training starts from; save the new one under another name.", field="out"
        )
    check_writable(found)
    return found


def _same(one: Path, other: Path) -> bool:
    return other.exists() and one.samefile(other)


def open_training(
    data: str | os.PathLike[str],
    recipe: TrainRecipe | None = None,
    *,
    device: str = "auto",
    trust: bool = False,
    download: bool = False,
) -> Training:
    """Open the images, and make or load the network to start from.

    Parameters
    ----------
    data : path
        As `open_dataset` takes it. Where it has no splits they are made from the seed; from that of the network to start
        from, where that one was trained on a split of ours, so that images it learnt from do not become test images.
    recipe : TrainRecipe, optional
        Network and settings; by default ``small-gap`` from random weights.
    device : str
        Where to compute.
    trust, download : bool
        The user agrees that code of the network's runs; that torchvision's weights are fetched.

    Raises
    ------
    DataError, ModelError, ConfigError, ConsentNeeded
        Something cannot be opened, does not fit, or a setting cannot be used.
    """
    recipe = recipe or TrainRecipe()
    options = recipe.model_options(trust=trust, download=download)
    config = recipe.training
    where = pick_device(device)
    source: ModelSource | None = None
    seed = config.seed
    # The layer is the new network's.
    said = options.model_copy(update={"layer": None, "grid": None})
    if recipe.weights is not None:
        source = backbone_source(recipe.weights, said)
        seed = config.seed if source.split_seed is None else source.split_seed
    else:
        # A version that is kept elsewhere must still find the file that makes its network.
        options = make_options(options, arch=resolve(options.arch or DEFAULT_ARCH))
    dataset = open_dataset(Path(data), seed=seed, class_names=options.class_names)
    if source is None:
        start, head = _new(dataset, options, config.seed), None
        fingerprint = None
    else:
        backbone = load_backbone(source, said, device="cpu")
        fingerprint = backbone.fingerprint()
        if recipe.fingerprint not in (None, fingerprint):
            raise ConfigError(
                f"{source.name} is not the model that this training started from (its weights or its input changed); "
                "restore that file, or name what to start from.",
                field="weights",
            )
        made = transfer(backbone, dataset.class_names, layer=options.layer, grid=options.grid, trust=trust, seed=config.seed)
        start, head = made.classifier, made.head
    start.to(where)
    given = {k: v for k, v in start.preprocessing.model_dump(mode="json").items() if v is not None}
    if options.class_names:
        given["class_names"] = list(options.class_names)
    if options.layer:
        given["layer"] = options.layer
    if options.grid:
        given["grid"] = list(options.grid)
    arch = options.arch if source is None else source.arch
    filled = recipe.model_copy(update={"arch": arch, "fingerprint": fingerprint, "options": given})
    return Training(dataset, start, head, filled)


def _new(dataset: Dataset, options: ModelOptions, seed: int) -> Classifier:
    """Make a network with random weights."""
    arch = options.arch or DEFAULT_ARCH
    return build_classifier(
        arch,
        dataset.class_names,
        _preprocessing(dataset, arch, options),
        target_layer=options.layer,
        grid=options.grid,
        seed=seed,
        trust=options.trust,
    )


def _preprocessing(dataset: Dataset, arch: str, options: ModelOptions) -> Preprocessing:
    """What suits the dataset and the architecture, but for what the user said."""
    found = default_preprocessing(dataset, value_range=options.value_range)
    if Architecture.of(arch).has_preset and options.channels is None:
        options = make_options(options, channels=3)
    return choose_preprocessing("the network", arch, found.model_dump(), options)
