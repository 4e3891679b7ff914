"""Whether a network can be differentiated twice, as penalties that are made of gradients need."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch


def plain_attention() -> AbstractContextManager[None]:
    """While entered, attention is computed from matrix products: its fast kernels have no second derivative."""
    return torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)


def check_twice(classifier: Classifier, method: str, penalty: Callable[[Classifier, torch.Tensor], torch.Tensor]) -> None:
    """Compute a penalty of one image of noise, and its gradient, on a copy of the network.

    Parameters
    ----------
    classifier : Classifier
        It is left as it is.
    method : str
        Name for the sentence.
    penalty : callable
        The copy, its parameters to be learnt, and an input (1, C, h, w) to a scalar.

    Raises
    ------
    RetuneError
        A layer has no second derivative; it is named where it can be told.
    """
    trial = classifier.copy()
    trial.module.requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    channels, size = classifier.preprocessing.channels, classifier.preprocessing.size
    image = torch.randn(1, channels, *size, generator=generator).to(classifier.device)
    try:
        with torch.inference_mode(False), torch.enable_grad(), plain_attention():
            penalty(trial, image).backward()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RetuneError(
            f"{method} needs second derivatives, and this network has a layer without{_named(trial.module, str(error))}; "
            "choose actdiff or transplant."
        ) from error


def _named(module: torch.nn.Module, text: str) -> str:
    """The layer's class, from what torch says: "derivative for aten::hardsigmoid_backward is not implemented"."""
    found = re.search(r"derivative for aten::_?(\w+?)_backward", text)
    if found is None:
        return ""
    operation = found[1].replace("_", "")
    classes = {type(child).__name__ for child in module.modules()}
    return f" ({next((name for name in sorted(classes) if name.lower() == operation), found[1])})"
