"""Models to retune, and models to compare with; trained once and kept in ``benchmarks/results/models``."""

from __future__ import annotations

import hashlib

import numpy as np

from benchmarks.retuning.cases import Case
from benchmarks.retuning.tables import RESULTS
from napari_cam_feedback.data import Dataset
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing, load_classifier, save_classifier
from napari_cam_feedback.sample_models import start_from_imagenet
from napari_cam_feedback.steps import run_to_end
from napari_cam_feedback.training import TrainConfig, train_classifier

FOLDER = RESULTS / "models"


def trained(case: Case, dataset: Dataset, seed: int) -> Classifier:
    """Return the case's network trained on a dataset, from the folder of models if it was trained before.

    Where the case trains none, it is the one with ImageNet weights, for images of the dataset's size.
    """
    if case.training is None:
        size = dataset.image_size(int(dataset.indices("train")[0]))
        return load_classifier(case.arch, size=size, crop=False, device="cpu")
    start, head = _start(case, dataset, seed)
    config = case.training.model_copy(update={"seed": seed})
    path = FOLDER / f"{case.name}-{_fingerprint(start, dataset, config)[:16]}.safetensors"
    if not path.exists():
        model = run_to_end(train_classifier(start, dataset, config, head=head))
        path.parent.mkdir(parents=True, exist_ok=True)
        save_classifier(model, path)
    return load_classifier(path, device="cpu", trust=True)


def _start(case: Case, dataset: Dataset, seed: int) -> tuple[Classifier, str | None]:
    """Return the network before it is trained, and the name of its head where that alone is new."""
    if case.pretrained:
        made = start_from_imagenet(case.arch, dataset, seed=seed)
        return made.classifier, made.head
    return build_classifier(case.arch, dataset.class_names, default_preprocessing(dataset), trust=True, seed=seed), None


def _fingerprint(start: Classifier, dataset: Dataset, config: TrainConfig) -> str:
    """Digest of all that the trained weights depend on."""
    # Settings that are left at their defaults do not count, so that a new one does not make all models anew.
    usual = {"epochs", "batch_size", "learning_rate", "weight_decay", "seed"}
    digest = hashlib.sha256(start.fingerprint().encode() + config.model_dump_json(include=usual).encode())
    others = config.model_dump_json(exclude=usual, exclude_defaults=True)
    digest.update(b"" if others == "{}" else others.encode())
    for split in ("train", "val"):
        indices = dataset.indices(split)
        digest.update(np.ascontiguousarray(dataset.labels[indices]).tobytes())
        for index in indices:
            digest.update(np.ascontiguousarray(dataset.read(int(index))).tobytes())
    return digest.hexdigest()
