"""What a retune reaches on the samples, over several seeds, against a model that never saw the shortcut.

For each sample and seed: the small network is trained on the sample as it is (shortcut and all), and once more on the same
images with the shortcut taken out; the first is retuned with known masks of some training images. The test split, where
the shortcut lies, is looked at only to report.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from napari_cam_feedback.data import ArrayDataset, Dataset, make_sample
from napari_cam_feedback.demo import train_sample_model
from napari_cam_feedback.evaluate import evaluate
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.models import Classifier
from napari_cam_feedback.retune import RetuneConfig, retune, run_to_end


@dataclass(frozen=True)
class Row:
    """One retune; accuracies and rates on the split ``test`` unless the name says otherwise."""

    sample: str
    seed: int
    method: str
    masks: int
    before: float
    after: float
    without_shortcut: float
    gap_closed: float
    flip_before: float
    flip_after: float
    clean_before: float
    clean_after: float
    verdict: str
    seconds: float


def without_shortcut(dataset: Dataset) -> ArrayDataset:
    """Return train and val with the known shortcut replaced by its surroundings' mean and noise, and the other splits."""
    rng = np.random.default_rng(0)
    images: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    for split in dataset.split_names:
        indices = dataset.indices(split)
        stack = []
        for index in indices:
            image, mask = dataset.read(int(index)).copy(), dataset.known_mask(int(index))
            if split in ("train", "val") and mask is not None and mask.any():
                outside = image[~mask]
                image[mask] = rng.choice(outside, int(mask.sum()))
            stack.append(image)
        images[split], labels[split] = np.stack(stack), dataset.labels[indices]
    return ArrayDataset(images, labels, dataset.class_names, None)


def measure(sample: str, seed: int, masks: int, method: str, naive: Classifier, dataset: Dataset, reference: float) -> Row:
    """Retune one model and measure it."""
    before = evaluate(naive, dataset, splits=["test", "test-clean"]).splits
    chosen = known_masks(dataset, masks, seed=seed)
    start = time.perf_counter()
    result = run_to_end(retune(naive, dataset, chosen, RetuneConfig(method=method, seed=seed)))
    seconds = time.perf_counter() - start
    after = evaluate(result.classifier, dataset, splits=["test", "test-clean"]).splits
    old, new = before["test"], after["test"]
    assert old.right_reasons is not None
    assert new.right_reasons is not None
    return Row(
        sample=sample,
        seed=seed,
        method=method,
        masks=masks,
        before=old.accuracy,
        after=new.accuracy,
        without_shortcut=reference,
        gap_closed=(new.accuracy - old.accuracy) / max(reference - old.accuracy, 1e-9),
        flip_before=old.right_reasons.flip_rate,
        flip_after=new.right_reasons.flip_rate,
        clean_before=before["test-clean"].accuracy,
        clean_after=after["test-clean"].accuracy,
        verdict=result.verdict.name,
        seconds=seconds,
    )


def rows(
    samples: tuple[str, ...], seeds: tuple[int, ...], masks: tuple[int, ...], methods: tuple[str, ...], *, data_seed: int = 0
) -> Iterator[Row]:
    """Yield one row for each sample, seed, method and number of masks."""
    for sample in samples:
        dataset = make_sample(sample, data_seed)
        clean = without_shortcut(dataset)
        for seed in seeds:
            naive = train_sample_model(dataset, seed=seed)
            honest = train_sample_model(clean, seed=seed)
            reference = evaluate(honest, clean, splits=["test"]).splits["test"].accuracy
            for method in methods:
                for count in masks:
                    yield measure(sample, seed, count, method, naive, dataset, reference)


def show_row(row: Row) -> str:
    """Return a row as one line."""
    return (
        f"{row.sample:11} seed {row.seed}  {row.method:20} {row.masks:3} masks  test {row.before:.3f} -> {row.after:.3f} "
        f"(without shortcut {row.without_shortcut:.3f}, gap closed {row.gap_closed:5.2f})  "
        f"flip {row.flip_before:.3f} -> {row.flip_after:.3f}  no tag {row.clean_before:.3f} -> {row.clean_after:.3f}  "
        f"{row.seconds:5.1f} s  {row.verdict}"
    )


def write_csv(path: Path, table: list[Row]) -> None:
    """Write rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in fields(Row)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in table)


def main(
    samples: tuple[str, ...] = ("tag-digits", "symbols"),
    seeds: tuple[int, ...] = (0, 1, 2),
    masks: tuple[int, ...] = (20,),
    methods: tuple[str, ...] = ("auto",),
) -> None:
    """Measure, print each row as it comes, the means, and write ``benchmarks/results/retuning.csv``."""
    table = []
    for row in rows(samples, seeds, masks, methods):
        table.append(row)
        print(show_row(row), flush=True)
    for sample in samples:
        for method in methods:
            for count in masks:
                same = [r for r in table if (r.sample, r.method, r.masks) == (sample, method, count)]
                means = {
                    name: float(np.mean([getattr(r, name) for r in same]))
                    for name in ("before", "after", "gap_closed", "flip_before", "flip_after", "clean_before", "clean_after")
                }
                print(f"mean of {len(same)} seeds, {sample}, {method}, {count} masks:", end=" ")
                print(", ".join(f"{name} {value:.3f}" for name, value in means.items()), flush=True)
    write_csv(Path(__file__).parent / "results" / "retuning.csv", table)
