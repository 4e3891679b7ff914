"""What attribution maps cost against a bare forward pass, and against pytorch-grad-cam where it is installed.

The peer needs OpenCV, whose usual package breaks napari's Qt; install it apart, as
``pip install --target peer --no-deps grad-cam opencv-python-headless ttach`` and ``PYTHONPATH=peer``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

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
    peer = _peer(classifier.copy().module, batch)
    if peer is not None:
        runs["pytorch-grad-cam, predicted class"] = peer
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
    if peer is None:
        print("pytorch-grad-cam is not installed, so it was not measured; the top of this file says how.")


def _peer(module: torch.nn.Module, batch: torch.Tensor) -> Callable[[], object] | None:
    try:
        from pytorch_grad_cam import GradCAM
    except ImportError:
        return None
    for parameter in module.parameters():
        parameter.requires_grad_(True)  # as its users have it
    method = GradCAM(model=module, target_layers=[module.layer4[-1]])
    method.batch_size = BATCH
    return lambda: method(input_tensor=batch, targets=None)
