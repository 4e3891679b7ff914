"""Look at what an image classifier uses, paint what is irrelevant, retune it, and see whether that helped.

The public functions load on first use, so that importing the package costs nothing and napari starts without torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_cam_feedback.data import open_dataset
    from napari_cam_feedback.evaluation import compare, evaluate
    from napari_cam_feedback.explanations import explain
    from napari_cam_feedback.models import load_classifier
    from napari_cam_feedback.retuning import retune

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


class _CallableModule(ModuleType):
    """A subpackage that is called as the public function of its name: ``explain(...)`` is ``explain.explain(...)``."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **options)


class _Package(ModuleType):
    """This package. Importing a subpackage binds it here, where the function of the same name should be: so it is both."""

    def __setattr__(self, name: str, value: Any) -> None:
        if _HOMES.get(name) == name and isinstance(value, ModuleType):
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"napari_cam_feedback.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'napari_cam_feedback' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
