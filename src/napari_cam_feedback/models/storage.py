"""Classifiers on disk: safetensors with a JSON header; foreign state dicts are read without unpickling code."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
from pydantic import BaseModel, Field, ValidationError
from safetensors.torch import load_file, save_file

from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import ModelError, describe
from napari_cam_feedback.files import atomic_path
from napari_cam_feedback.models.architectures import build_module
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.devices import pick_device
from napari_cam_feedback.models.layers import default_layer, list_layers
from napari_cam_feedback.torch_loader import torch

HEADER_KEY = "napari_cam_feedback"
SCHEMA_VERSION = 1
_NESTS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Header(BaseModel):
    """What our header may hold; other safetensors files of ours than models have less."""

    version: int = Field(0, alias="schema")
    arch: str | None = None
    class_names: list[str] | None = None
    preprocessing: dict[str, Any] | None = None
    target_layer: str | None = None
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
        "info": classifier.info,
    }
    tensors = {name: t.detach().cpu().contiguous() for name, t in classifier.module.state_dict().items()}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={HEADER_KEY: json.dumps(header)})
        except safetensors.SafetensorError as error:
            # The library hides what the operating system said in its text.
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


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


def load_classifier(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    class_names: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layer: str | None = None,
    device: str = "auto",
) -> Classifier:
    """Load a classifier of ours, or any state dict whose architecture is named.

    Parameters
    ----------
    path : path
        A ``.safetensors`` file; or ``.pt``, ``.pth``, ``.th`` (read with ``weights_only=True``: no code of it runs).
    arch : str, optional
        Needed where the file does not say it: ``small-gap``, ``residual-vgg``, ``torchvision:NAME``.
    class_names : sequence of str, optional
        Needed where the file does not say them.
    size, mean, std : optional
        Input height and width, channel means and standard deviations, where the file does not say them;
        by default 224x224 and ImageNet's.
    layer : str, optional
        Target layer by dotted name; by default the file's, or the last with two-dimensional activations.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises
    ------
    ModelError
        The file cannot be read, does not say enough, or does not fit the architecture.
    ConfigError
        The device is not there.
    """
    where = pick_device(device)
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"There is no model file {path}; check the path.")
    tensors, header = _read_tensors(path)
    header = header or {}
    arch = arch or header.get("arch")
    if arch is None:
        raise ModelError(f"{path.name} does not say its architecture; name it, for example --arch torchvision:resnet18.")
    names = tuple(class_names or header.get("class_names") or ())
    if not names:
        count = _count_outputs(tensors)
        raise ModelError(
            f"{path.name} does not say its class names{f' (it has {count} outputs)' if count else ''}; "
            "give them in a file, one a line, with --classes FILE."
        )
    preprocessing = _preprocessing(path, header, arch, tensors, size, mean, std)
    module = build_module(arch, len(names), preprocessing.channels)
    _fill(module, tensors, path.name, arch)
    layers = list_layers(module, preprocessing.channels, preprocessing.size)
    target = layer or header.get("target_layer") or default_layer(layers)
    classifier = Classifier(module, names, preprocessing, target, arch, dict(header.get("info") or {}))
    return classifier.to(where)


def _read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    if path.suffix == ".safetensors":
        header = read_header(path)
        return load_file(path), header
    if path.suffix not in {".pt", ".pth", ".th"}:
        raise ModelError(f"{path.name} is no model file that can be read; choose a .safetensors, .pt, .pth or .th file.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A file cut short makes torch seek to before its start.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise ModelError(f"Cannot read the model {path}: {describe(error)}") from error
        # torch raises pickle, zip, key and runtime errors alike for files that are not plain weights.
        raise ModelError(
            f"{path.name} is not a plain state dict, or is cut short; save it with torch.save(model.state_dict(), …) "
            "and load that."
        ) from error
    return _unwrap(content, path.name), None


def _unwrap(content: Any, name: str) -> dict[str, torch.Tensor]:
    for nest in _NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            content = content[nest]
            break
    pairs = content.items() if isinstance(content, Mapping) else ()
    tensors = {key: value for key, value in pairs if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if not tensors:
        raise ModelError(f"{name} holds no weights; save it with torch.save(model.state_dict(), …) and load that.")
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) for key in tensors):
                tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
                changed = True
    return tensors


def _count_outputs(tensors: Mapping[str, torch.Tensor]) -> int | None:
    matrices = [t for t in tensors.values() if t.ndim == 2]
    return int(matrices[-1].shape[0]) if matrices else None


def _preprocessing(
    path: Path,
    header: Mapping[str, Any],
    arch: str,
    tensors: Mapping[str, torch.Tensor],
    size: tuple[int, int] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Preprocessing:
    values: dict[str, Any] = dict(header.get("preprocessing") or {})
    if not values:
        kernels = [t for t in tensors.values() if t.ndim == 4]
        channels = int(kernels[0].shape[1]) if kernels and not arch.startswith("torchvision:") else 3
        values = {
            "size": (224, 224),
            "channels": channels,
            "mean": IMAGENET_MEAN if channels == 3 else (0.5,) * channels,
            "std": IMAGENET_STD if channels == 3 else (0.5,) * channels,
        }
    for key, value in (("size", size), ("mean", mean), ("std", std)):
        if value is not None:
            values[key] = tuple(value)
    try:
        return Preprocessing.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"The preprocessing of {path.name} cannot be used ({field}: {first['msg']}).") from error


def _fill(module: torch.nn.Module, tensors: dict[str, torch.Tensor], name: str, arch: str) -> None:
    own = module.state_dict()
    missing = [key for key in own if key not in tensors and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in tensors if key not in own]
    shapes = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    problems = [
        f"{what}: {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
        for what, keys in (("missing", missing), ("not expected", unexpected), ("wrong shape", shapes))
        if keys
    ]
    if problems:
        raise ModelError(
            f"The weights in {name} do not fit {arch} ({'; '.join(problems)}); "
            "check the architecture and the number of classes."
        )
    module.load_state_dict(tensors, strict=False)
