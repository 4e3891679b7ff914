"""What attribution maps cost against a bare forward pass, and beside captum, torchcam and pytorch-grad-cam."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks.figures import tell
from benchmarks.peers import peers
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.explanations import get_method
from napari_cam_feedback.models import build_classifier
from napari_cam_feedback.torch_loader import torch

BATCH, ROUNDS = 16, 8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Measure in turns, so that whatever else the machine does meets all alike; print medians and ratios."""
    names = tuple(f"class {n}" for n in range(10))
    classifier = build_classifier(
        "torchvision:resnet18", names, Preprocessing(size=(224, 224), channels=3, mean=MEAN, std=STD)
    )
    batch = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    every = torch.arange(10).expand(BATCH, 10)
    cam, gradcam = get_method("cam"), get_method("gradcam")
    runs: dict[str, Callable[[], object]] = {
        "bare forward": lambda: classifier.logits(batch),
        "cam, predicted class": lambda: cam(classifier, batch),
        "cam, ten classes": lambda: cam(classifier, batch, every),
        "gradcam, predicted class": lambda: gradcam(classifier, batch),
        "gradcam, ten classes": lambda: gradcam(classifier, batch, every),
    }
    others, missing = peers(lambda: classifier.copy().module, batch)
    runs |= {f"{name}, predicted class": run for name, run in others.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS + 1):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            if turn:  # the first turn warms up
                times[name].append(time.perf_counter() - begin)
    bare = times["bare forward"]
    print(f"resnet18, {BATCH} images of 224x224, {torch.get_num_threads()} threads; medians of {ROUNDS} rounds")
    for name, seconds in times.items():
        ratio = statistics.median(s / b for s, b in zip(seconds, bare, strict=True))
        print(f"{name:36s} {BATCH / statistics.median(seconds):7.1f} images/s  {ratio:5.2f}x the bare forward")
        if name != "bare forward":
            tell(f"{name}, times the bare forward", ratio)
    for name in others:
        ratios = zip(times["gradcam, predicted class"], times[f"{name}, predicted class"], strict=True)
        tell(f"our gradcam, times that of {name}", statistics.median(ours / theirs for ours, theirs in ratios))
    for name in missing:
        print(f"{name} is not installed, so it was not measured; benchmarks/peers.py says how.")
