"""Grad-CAM of other libraries, each as its users call it, where it is installed.

pytorch-grad-cam needs OpenCV, whose usual package breaks napari's Qt; install it apart, as
``pip install --target peer --no-deps grad-cam opencv-python-headless ttach`` and ``PYTHONPATH=peer``.
"""

from __future__ import annotations

from collections.abc import Callable

from napari_cam_feedback.torch_loader import torch

Run = Callable[[], object]


def peers(make: Callable[[], torch.nn.Module], batch: torch.Tensor) -> tuple[dict[str, Run], list[str]]:
    """Return what makes the maps of a batch by each library, and the names of those that are not installed.

    Parameters
    ----------
    make : callable
        Gives a resnet, a new one for each library, since they leave hooks.
    batch : Tensor
        (N, 3, h, w).
    """
    found: dict[str, Run] = {}
    missing = []
    for name, run in (("captum", _captum), ("torchcam", _torchcam), ("pytorch-grad-cam", _pytorch_grad_cam)):
        module = make().requires_grad_(True)  # as users have it
        try:
            found[name] = run(module, batch)
        except ImportError:
            missing.append(name)
    return found, missing


def _captum(module: torch.nn.Module, batch: torch.Tensor) -> Run:
    from captum.attr import LayerAttribution, LayerGradCam

    method = LayerGradCam(module, module.layer4[-1])

    def run() -> object:
        with torch.no_grad():
            predicted = module(batch).argmax(1)
        return LayerAttribution.interpolate(method.attribute(batch, target=predicted), batch.shape[-2:])

    return run


def _torchcam(module: torch.nn.Module, batch: torch.Tensor) -> Run:
    from torchcam.methods import GradCAM

    method = GradCAM(module, "layer4")

    def run() -> object:
        scores = module(batch)
        return method(scores.argmax(1).tolist(), scores)

    return run


def _pytorch_grad_cam(module: torch.nn.Module, batch: torch.Tensor) -> Run:
    from pytorch_grad_cam import GradCAM

    method = GradCAM(model=module, target_layers=[module.layer4[-1]])
    method.batch_size = len(batch)
    return lambda: method(input_tensor=batch, targets=None)
