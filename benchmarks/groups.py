"""Groups: whether those found from a model's errors are true ones, and what raises the accuracy of the worst.

Digits with a tag, and letters with a sign, that tell the class of nine images in ten of train and val, and of half of those
of test; where it does not, it is that of another class drawn at random. The true groups are each class with a mark that
tells the truth and with one that does not. Retuned are `head` and `auto` with 20 masks. Trained anew, with as many images
drawn: every true group alike (Idrissi et al. 2022, *Simple data balancing achieves competitive worst-group-accuracy*,
CLeaR), and the images that a model got wrong after five epochs five times as often (Liu et al. 2021, *Just train twice*,
ICML).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.retuning.tables import Cell, show, span, write_csv
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.data.samples import symbols, tag_digits
from napari_cam_feedback.data.samples.build import Part, build
from napari_cam_feedback.evaluation import evaluate, predict
from napari_cam_feedback.evaluation.error_groups import error_groups
from napari_cam_feedback.evaluation.groups import Groups, group_accuracies
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing
from napari_cam_feedback.retuning import make_config, retune
from napari_cam_feedback.sample_models import SAMPLE_ARCH, SAMPLE_TRAINING
from napari_cam_feedback.steps import run_to_end
from napari_cam_feedback.training import train_classifier

SEEDS = (0, 1, 2)
MASKS = 20
#: Epochs of the model whose errors are drawn more often, and how much more.
FIRST_EPOCHS, TIMES = 5, 5
#: Share of the images whose mark does not tell the class.
WRONG = {"train": 0.1, "val": 0.1, "test": 0.5}


@dataclass(frozen=True)
class Marked:
    """Images with marks, and whether each one's mark tells of a wrong class, bool (N,) in the order of the items."""

    dataset: ArrayDataset
    wrong: np.ndarray


def digits(seed: int) -> Marked:
    """Return tagged digits."""
    from sklearn.datasets import load_digits

    rng, source = np.random.default_rng([seed, 0x96]), load_digits()
    backgrounds, labels = tag_digits._draw(source.images, rng), source.target.astype(np.int64)
    rows = tag_digits._split(labels, rng)
    return _marked(
        {split: labels[own] for split, own in rows.items()},
        tag_digits.CLASSES,
        lambda split, told: tag_digits._tagged(backgrounds[rows[split]], told, rng),
        rng,
    )


def letters(seed: int) -> Marked:
    """Return letters with a sign."""
    rng = np.random.default_rng([seed, 0x97])
    names = symbols.CLASSES
    labels = {split: np.arange(count) % len(names) for split, count in symbols.COUNTS.items()}

    def draw(split: str, told: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = np.stack([symbols._letter(names[label], rng) for label in labels[split]])
        for image, sign in zip(images, told, strict=True):
            symbols._sign(image, names[sign])
        masks = np.zeros(images.shape, bool)
        masks[:, -symbols.CORNER :, : symbols.CORNER] = True
        return symbols._noisy(images, rng), masks

    return _marked(labels, names, draw, rng)


def _marked(
    labels: dict[str, np.ndarray],
    names: tuple[str, ...],
    draw: Callable[[str, np.ndarray], tuple[np.ndarray, np.ndarray]],
    rng: np.random.Generator,
) -> Marked:
    """Put it together: `draw` takes a split and which class each mark tells of, and returns images and masks."""
    parts, wrong = {}, []
    for split, own in labels.items():
        misleads = rng.random(len(own)) < WRONG[split]
        told = (own + misleads * rng.integers(1, len(names), len(own))) % len(names)
        images, masks = draw(split, told)
        parts[split] = Part(images, own, masks)
        wrong.append(misleads[np.argsort(own, kind="stable")])
    return Marked(build(parts, names), np.concatenate(wrong))


DATA = {"tag-digits": digits, "symbols": letters}


def groups_of(made: Marked) -> Groups:
    """Return the true groups."""
    names = tuple(f"{name}, mark {how}" for name in made.dataset.class_names for how in ("right", "wrong"))
    return Groups(names, 2 * made.dataset.labels + made.wrong, "class and mark")


def trained(dataset: ArrayDataset, seed: int, epochs: int = SAMPLE_TRAINING.epochs) -> Classifier:
    """Train a model on a dataset."""
    start = build_classifier(SAMPLE_ARCH, dataset.class_names, default_preprocessing(dataset), seed=seed)
    config = SAMPLE_TRAINING.model_copy(update={"seed": seed, "epochs": epochs})
    return run_to_end(train_classifier(start, dataset, config))


def drawn(dataset: ArrayDataset, weights: np.ndarray, seed: int) -> ArrayDataset:
    """Return a dataset with as many training images, each drawn as often as its weight (n,) says; val stays."""
    train = dataset.indices("train")
    rows = np.random.default_rng(seed).choice(train, len(train), p=weights / weights.sum())
    kept = {"train": rows, "val": dataset.indices("val")}
    return ArrayDataset(
        {split: np.stack([dataset.read(int(index)) for index in own]) for split, own in kept.items()},
        {split: dataset.labels[own] for split, own in kept.items()},
        dataset.class_names,
    )


def models(made: Marked, seed: int) -> Iterator[tuple[str, Classifier]]:
    """Yield the model as it is trained, then what is made of it or in place of it."""
    dataset, train = made.dataset, made.dataset.indices("train")
    naive = trained(dataset, seed)
    yield "as trained", naive
    masks = known_masks(dataset, MASKS, seed=seed)
    for method in ("head", "auto"):
        result = run_to_end(retune(naive, dataset, masks, make_config({"seed": seed, "method": method})))
        yield f"{method}, {MASKS} masks", result.classifier
    of = groups_of(made).of[train]
    yield "groups alike, all known", trained(drawn(dataset, 1 / np.bincount(of)[of], seed), seed)
    first = predict(trained(dataset, seed, FIRST_EPOCHS), dataset, split="train")
    often = np.where(first.predicted == first.labels, 1.0, TIMES)
    yield "errors more often, nothing known", trained(drawn(dataset, often, seed), seed)


def main(words: Sequence[str] = ()) -> None:
    """Print every model of every seed, then the means; write ``groups.csv``."""
    rows: list[dict[str, Cell]] = []
    chosen = [name for name in DATA if not words or name in words]
    for name in chosen:
        for seed in SEEDS:
            made = DATA[name](seed)
            rows += [
                {"data": name, "seed": seed, "model": model, **_row(made, found)} for model, found in models(made, seed)
            ]
            print(show([row for row in rows if (row["data"], row["seed"]) == (name, seed)]), flush=True)
            write_csv("groups", rows)
    table: list[dict[str, Cell]] = []
    for name in chosen:
        for model in dict.fromkeys(str(row["model"]) for row in rows):
            own = [row for row in rows if (row["data"], row["model"]) == (name, model)]
            numbers = [column for column in own[0] if column not in ("data", "seed", "model")]
            means = {each: span((_number(row[each]) for row in own), 2) for each in numbers}
            table.append({"data": name, "model": model, **means})
    print(show(table))


def _number(cell: Cell) -> float | None:
    return None if cell is None else float(cell)


def _row(made: Marked, model: Classifier) -> dict[str, Cell]:
    """Return how a model stands on test, and what the group found from its errors has of images with a wrong mark."""
    found = predict(model, made.dataset, split="test")
    right, wrong = found.predicted == found.labels, made.wrong[found.indices]
    true = group_accuracies(groups_of(made), found.indices, right)
    assert true is not None
    assert true.worst is not None
    row: dict[str, Cell] = {
        "test": float(right.mean()),
        "mark wrong": float(right[wrong].mean()),
        "worst group": true.groups[true.worst].accuracy,
        "found worst": None,
        "of it mark wrong": None,
    }
    seen = evaluate(model, made.dataset, splits=["test"], masks={}).splits["test"].groups
    if seen is not None and seen.worst is not None:
        row["found worst"] = seen.groups[seen.worst].accuracy
        row["of it mark wrong"] = _purity(made, model, found.indices, right)
    return row


def _purity(made: Marked, model: Classifier, indices: np.ndarray, right: np.ndarray) -> float | None:
    """Return the share of images with a wrong mark in all groups that were found."""
    groups = error_groups(model, made.dataset, indices, right)
    assert groups is not None
    alike = [number for number, name in enumerate(groups.names) if ", like " in name]
    return float(made.wrong[np.isin(groups.of, alike)].mean())
