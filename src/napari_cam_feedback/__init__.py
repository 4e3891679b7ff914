"""Look at what an image classifier uses, paint what is irrelevant, retune it, and see whether that helped.

The public functions load on first use, so that importing the package costs nothing and napari starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_cam_feedback.data import open_dataset
    from napari_cam_feedback.evaluate import compare, evaluate
    from napari_cam_feedback.explain import explain
    from napari_cam_feedback.models import load_classifier
    from napari_cam_feedback.retune import retune

try:
    __version__ = version("napari-cam-feedback")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

_HOMES = {
    "load_classifier": "models",
    "open_dataset": "data",
    "explain": "explain",
    "retune": "retune",
    "evaluate": "evaluate",
    "compare": "evaluate",
}

__all__ = ["__version__", "compare", "evaluate", "explain", "load_classifier", "open_dataset", "retune"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"napari_cam_feedback.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'napari_cam_feedback' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
