"""What a step costs, against a bare cross-entropy step on as many images in the same run.

The steps of all methods and the bare ones take turns, so that whatever else the machine does meets all alike; the medians
are compared. A bare step is a forward pass of the training and the painted images of a step, cross-entropy, the backward
pass and Adam, on tensors that lie ready, with batch norm as the method has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.figures import tell
from benchmarks.retuning.tables import Row, show, write_csv
from napari_cam_feedback.data import ArrayDataset, Dataset, make_sample
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing
from napari_cam_feedback.retuning import RetuneConfig, retune
from napari_cam_feedback.retuning.run import MIN_BATCH_FOR_BATCH_NORM
from napari_cam_feedback.torch_loader import torch

#: Times a bare step that each may take; continued training measures the loop itself.
LIMITS = {"continued": 1.05, "pasa": 1.15, "actdiff+transplant": 2.0}
#: Of these, batch norm keeps its statistics however many images a step has.
FROZEN = ("pasa",)
#: Steps that are not counted.
WARM = 3


@dataclass(frozen=True)
class Scene:
    """A network, its images, and how often the steps take turns."""

    name: str
    arch: str
    data: Callable[[], Dataset]
    batch_size: int
    turns: int


def photographs(side: int = 224) -> ArrayDataset:
    """Return square colour images of noise; what is on the images costs nothing."""
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (n, side, side, 3), np.uint8) for name, n in {"train": 64, "val": 8}.items()}
    masks = np.zeros((64, side, side), bool)
    masks[:, : side // 7, : side // 7] = True
    labels = {split: np.arange(len(x)) % 2 for split, x in images.items()}
    return ArrayDataset(images, labels, ("a", "b"), {"train": masks})


SCENES = (
    Scene("tag-digits 28x28, small-gap", "small-gap", lambda: make_sample("tag-digits"), 64, 150),
    Scene("symbols 72x72, small-gap", "small-gap", lambda: make_sample("symbols"), 32, 20),
    Scene("noise 224x224, resnet18", "torchvision:resnet18", photographs, 16, 8),
)


def main(words: Sequence[str] = ()) -> None:
    """Print the table and write ``cost.csv``; words choose scenes by what their names begin with."""
    table: list[Row] = []
    for scene in SCENES:
        if words and not scene.name.startswith(tuple(words)):
            continue
        own = measured(scene)
        print(show(own), flush=True)
        for row in own:
            tell(f"a step of {row['method']} on {row['on']}, times a bare one", float(row["times"] or 0))
        table += own
        write_csv("cost", table)


def measured(scene: Scene) -> list[Row]:
    """Return one row a method."""
    dataset = scene.data()
    classifier = build_classifier(scene.arch, dataset.class_names, default_preprocessing(dataset))
    masks = known_masks(dataset, 20)
    images = scene.batch_size + scene.batch_size // 4
    frozen = {method: method in FROZEN or images < MIN_BATCH_FOR_BATCH_NORM for method in LIMITS}
    bare = {still: _bare(classifier, images, frozen=still) for still in sorted(set(frozen.values()))}
    steps: dict[str, Callable[[], object]] = {f"bare {still}": step for still, step in bare.items()}
    for method in LIMITS:
        # No check on the validation images but the first and the last.
        config = RetuneConfig(method=method, batch_size=scene.batch_size, iterations=10_000, check_every=10_000)
        steps[method] = retune(classifier, dataset, masks, config).__next__
    looking = RetuneConfig(method="continued", batch_size=scene.batch_size, iterations=10_000, check_every=1)
    steps["check"] = retune(classifier, dataset, masks, looking).__next__
    for step in steps.values():
        step()  # the first check
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM + scene.turns):
        for name, step in steps.items():
            if name == "check" and turn >= WARM + 3:
                continue
            start = time.perf_counter()
            step()
            if turn >= WARM:
                times[name].append(time.perf_counter() - start)
    took = {name: median(found) for name, found in times.items()}
    rows: list[Row] = []
    for method, limit in LIMITS.items():
        alone = took[f"bare {frozen[method]}"]
        rows.append(
            {
                "on": scene.name,
                "method": method,
                "bare step ms": 1e3 * alone,
                "step ms": 1e3 * took[method],
                "times": took[method] / alone,
                "at most": limit,
                "met": took[method] <= limit * alone,
                "a check ms": 1e3 * (took["check"] - took["continued"]) if method == "continued" else None,
            }
        )
    return rows


def _bare(classifier: Classifier, images: int, *, frozen: bool) -> Callable[[], None]:
    module = classifier.copy().module.to(memory_format=torch.channels_last)
    module.requires_grad_(True).train(not frozen)
    adam = torch.optim.Adam(module.parameters(), lr=1e-4)
    shape = (classifier.preprocessing.channels, *classifier.preprocessing.size)
    inputs = torch.randn(images, *shape)
    labels = torch.arange(images) % classifier.num_classes

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(module(inputs), labels)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        float(loss.detach())

    return step
