"""What is said beside a model's file that cannot say it itself: ``m.pt.json`` for ``m.pt``, written and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import ModelError, describe
from napari_cam_feedback.files import parse_json
from napari_cam_feedback.models.classifier import Classifier

# By these it is told from what other programs put beside their files.
_OURS = {"class_names", "preprocessing", "arch"}


class _Sidecar(BaseModel):
    """What is read of one; those that earlier versions wrote have neither grid nor info."""

    arch: str
    class_names: list[str]
    preprocessing: Preprocessing
    target_layer: str | None = None
    grid: tuple[int, int] | None = None
    info: dict[str, Any] = Field(default_factory=dict)


def sidecar_of(path: Path) -> Path:
    """Return where it is said what a model's file is."""
    return path.with_name(f"{path.name}.json")


def describe_classifier(classifier: Classifier) -> dict[str, Any]:
    """Return what a program needs to know to use the network, as plain values."""
    preprocessing = classifier.preprocessing
    height, width = preprocessing.size
    return {
        "class_names": list(classifier.class_names),
        "input": f"(N, {preprocessing.channels}, {height}, {width}) float32, scaled to 0..1, minus mean, over std",
        "output": f"(N, {classifier.num_classes}) logits",
        "preprocessing": preprocessing.model_dump(mode="json"),
        "arch": classifier.arch,
        "target_layer": classifier.target_layer,
        "grid": classifier.grid,
        "info": classifier.info,
    }


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Return what was written beside a model's file when it was exported, as the header of a file of ours has it.

    Parameters
    ----------
    path : Path
        The model's file.

    Returns
    -------
    dict or None
        None where there is none, or where it is another program's.

    Raises
    ------
    ModelError
        It cannot be read, or it is ours and broken: without it the images might be prepared in another way than the model
        was trained with, and nobody would see it.
    """
    file = sidecar_of(path)
    if not file.is_file():
        return None
    remedy = f"mend it, or delete it and say what {path.name} is by the options"
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"Cannot read what is said of the model in {file}: {describe(error)}") from error
    except ValueError as error:
        raise ModelError(f"{file.name}, beside the model, is not JSON or is cut short; {remedy}.") from error
    if not isinstance(content, dict) or not content.keys() >= _OURS:
        return None
    try:
        return _Sidecar.model_validate(content).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ModelError(f"{file.name}, beside the model, is broken ({field}: {message}); {remedy}.") from error
