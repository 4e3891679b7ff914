"""The retune methods: each adds a penalty to the loss, changes the training images, or both; joined by ``+``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from napari_cam_feedback.errors import ConfigError, RetuneError
from napari_cam_feedback.retuning.automatic import AUTO, AUTO_FEW_CLASSES, AUTO_SURROUNDINGS, auto_methods
from napari_cam_feedback.retuning.config import RetuneConfig
from napari_cam_feedback.retuning.images.masked_set import Batch
from napari_cam_feedback.retuning.methods.activations import ActDiff, Pas, Pasa, SelectiveDropout, Tap
from napari_cam_feedback.retuning.methods.base import Context, Method, Outputs
from napari_cam_feedback.retuning.methods.gradients import Energy, Rrr, RrrGradCam
from napari_cam_feedback.retuning.methods.plain import Augment, Continued, Misclassified
from napari_cam_feedback.retuning.methods.replacing import Counterexample, Crop, Head, Inpaint, Transplant

__all__ = [
    "AUTO",
    "AUTO_FEW_CLASSES",
    "AUTO_SURROUNDINGS",
    "METHODS",
    "Batch",
    "Context",
    "Method",
    "Outputs",
    "describe_method",
    "make_methods",
    "method_names",
    "method_parts",
]

#: By name, roughly the best first; those that use no mask last.
METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Transplant,
        ActDiff,
        Rrr,
        Tap,
        Pas,
        Pasa,
        Counterexample,
        Energy,
        RrrGradCam,
        Inpaint,
        Crop,
        SelectiveDropout,
        Head,
        Augment,
        Misclassified,
        Continued,
    )
}


def method_names() -> tuple[str, ...]:
    """Names to offer, the recommended one first."""
    return ("auto", *METHODS, "actdiff+transplant")


def describe_method(name: str) -> str:
    """Return one sentence on a method, also on ``auto`` and on several joined by ``+``.

    Raises
    ------
    ConfigError
        As of `method_parts`.
    """
    if name == "auto":
        return (
            f"Our best: {' and '.join(AUTO)}, with the strength chosen by itself; {' and '.join(AUTO_SURROUNDINGS)} where "
            f"all that surrounds an object is painted, {' and '.join(AUTO_FEW_CLASSES)} where the training images show few "
            "of the classes or nothing can be painted."
        )
    return " ".join(METHODS[part].description for part in method_parts(name))


def method_parts(name: str) -> list[str]:
    """Return the names of the methods that a name stands for, each once.

    Raises
    ------
    ConfigError
        A name is unknown (the nearest are given), or one of them cannot be joined with others.
    """
    parts = list(AUTO) if name == "auto" else [part.strip() for part in name.split("+")]
    for part in parts:
        if part == "auto":
            raise ConfigError("The method auto stands alone; choose auto, or join others, as actdiff+transplant.")
        if part not in METHODS:
            near = difflib.get_close_matches(part, [*METHODS, "auto"], n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(method_names())}."
            raise ConfigError(f"There is no retune method {part!r}; {hint}")
    parts = list(dict.fromkeys(parts))
    alone = [part for part in parts if not METHODS[part].composable]
    if alone and len(parts) > 1:
        raise ConfigError(f"The method {alone[0]} cannot be joined with others; choose it alone.")
    return parts


def make_methods(config: RetuneConfig, context: Context) -> list[Method]:
    """Make the methods that ``config.method`` names.

    Raises
    ------
    ConfigError
        As of `method_parts`.
    RetuneError
        One works on painted places, and a style is at none.
    """
    parts: Sequence[str] = method_parts(config.method)
    if config.method == "auto":
        donors = context.donors
        parts = auto_methods(
            surroundings=donors.surroundings, few_classes=context.few_classes, style=donors.style is not None
        )
    placed = [part for part in parts if not METHODS[part].takes_styles]
    if context.donors.style is not None and placed:
        raise RetuneError(
            f"The method {placed[0]} works on painted places, and what lies over whole images is at none; choose auto or "
            "transplant."
        )
    if context.donors.also is not None and not any(issubclass(METHODS[part], Transplant) for part in parts):
        raise RetuneError(
            f"The method {'+'.join(parts)} takes out what is painted, but nothing that lies over whole images; take out one "
            "at a time, or choose transplant."
        )
    return [METHODS[part](context) for part in parts]
