"""Classifiers on disk: safetensors with a JSON header, which other programs read too."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from pydantic import BaseModel, Field, ValidationError
from safetensors.torch import save_file

from napari_cam_feedback.errors import ModelError, describe
from napari_cam_feedback.files import atomic_path
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch

HEADER_KEY = "napari_cam_feedback"
SCHEMA_VERSION = 1


class _Header(BaseModel):
    """What our header may hold; other safetensors files of ours than models have less."""

    version: int = Field(0, alias="schema")
    arch: str | None = None
    class_names: list[str] | None = None
    preprocessing: dict[str, Any] | None = None
    target_layer: str | None = None
    grid: tuple[int, int] | None = None
    info: dict[str, Any] = Field(default_factory=dict)


def save_classifier(classifier: Classifier, path: str | os.PathLike[str]) -> None:
    """Write weights as safetensors with a header that `load_classifier` needs, atomically.

    Parameters
    ----------
    classifier : Classifier
        What to save.
    path : path
        File to write; by custom ``.safetensors``.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    header = {
        "schema": SCHEMA_VERSION,
        "arch": classifier.arch,
        "class_names": list(classifier.class_names),
        "preprocessing": classifier.preprocessing.model_dump(mode="json"),
        "target_layer": classifier.target_layer,
        "grid": classifier.grid,
        "info": classifier.info,
    }
    tensors = _unshared(classifier.module.state_dict())
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={HEADER_KEY: json.dumps(header)})
        except safetensors.SafetensorError as error:
            # The library hides what the operating system said in its text.
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


def _unshared(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights on the CPU, each in memory of its own, as safetensors wants them.

    A network that has a part under two names, or ties weights, gets them back under both names when it is loaded.
    """
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in state.items():
        plain = tensor.detach().cpu().contiguous()
        memory = plain.untyped_storage().data_ptr()
        found[name] = plain.clone() if memory in seen else plain
        seen.add(memory)
    return found


def read_header(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return our header of a safetensors file, None where it has none.

    Raises
    ------
    ModelError
        The file is missing or no safetensors file, its header is broken, or a newer version of the program wrote it.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"There is no model file {path}; check the path.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except OSError as error:
        raise ModelError(f"Cannot read the model {path}: {describe(error)}") from error
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file or is cut short ({error}); copy it again.") from error
    if HEADER_KEY not in metadata:
        return None
    try:
        header = _Header.model_validate_json(metadata[HEADER_KEY])
    except ValidationError as error:
        raise ModelError(f"The header of {path} is broken; copy the file again.") from error
    if header.version > SCHEMA_VERSION:
        raise ModelError(f"A newer version of napari-cam-feedback wrote {path}; update the plugin.")
    return header.model_dump(by_alias=True, exclude_none=True)
