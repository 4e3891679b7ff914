"""How a network is made from its name: ours, that of another package, or what a file of the user's makes."""

from __future__ import annotations

import copy
import difflib
import importlib
from pathlib import Path
from typing import Any

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.model_names import LITE_SIZES, TORCHVISION, Architecture
from napari_cam_feedback.models.networks.efficientnet_lite import build_lite, lite_names
from napari_cam_feedback.models.networks.networks import ARCHITECTURES
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
TIMM = "timm:"


def known_architectures() -> list[str]:
    """Return the names that can be typed without a file: ours, torchvision's classifiers, EfficientNet-Lite if installed."""
    return [*ARCHITECTURES, *(TORCHVISION + name for name in _torchvision_names()), *lite_names()]


def resolve(arch: str, beside: Path | None = None) -> str:
    """Return `arch` with the file that it names, if it names one, as an absolute path that exists.

    Parameters
    ----------
    arch : str
        As a user types it, or as a header holds it.
    beside : Path, optional
        The weights' file: a file that is not where `arch` says is looked for in the same folder.

    Raises
    ------
    ModelError
        The file is at neither place, or a Python file is named and no function of it.
    """
    named = Architecture.of(arch)
    if named.origin == "one-output":
        return arch.removesuffix(named.name) + resolve(named.name, beside)
    path = named.file
    if path is None or named.origin == "torchscript":
        return arch
    if named.origin == "function":
        _function(named)
    places = [path.expanduser().absolute(), *([beside.absolute().parent / path.name] if beside is not None else [])]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        folder = f" and not beside {beside.name}" if beside is not None else ""
        raise ModelError(
            f"The file {path} that makes the network is not there{folder}; put it there, or name it.", field="arch"
        )
    return f"{found}:{named.name}" if named.origin == "function" else f"{named.origin}:{found}"


def build_module(
    arch: str, num_classes: int, channels: int, size: tuple[int, int] | None = None, *, trust: bool = False
) -> nn.Module:
    """Make a network with random weights (a saved program has its own).

    Parameters
    ----------
    arch : str
        A key of `ARCHITECTURES`; ``torchvision:NAME`` or ``timm:NAME`` for a classification model of those packages;
        a key of `LITE_SIZES`, as ``efficientnet-lite0``;
        ``FILE.py:FUNCTION`` for a function that returns the network; ``export:FILE``;
        ``gap:PART:ARCH`` for a part of another with a head of ours (`gap.build_gap`);
        ``one-output:ARCH`` for one with a single output for two classes (`one_output.build_one_output`).
    num_classes, channels : int
        Number of outputs, channels of the input. Where a network of another package is to take other than 3, its first
        convolution is another one.
    size : tuple of int, optional
        Height and width of the input, for networks that are built for one size (vision transformers, EfficientNet-Lite);
        by default theirs.
    trust : bool
        The user agrees that the code of a file runs.

    Raises
    ------
    ModelError
        The name is unknown (the nearest known names are given), or the network cannot be built so.
    ConsentNeeded
        It is made by code, and `trust` is not given.
    """
    if arch in ARCHITECTURES:
        return ARCHITECTURES[arch](num_classes, channels)
    named = Architecture.of(arch)
    if named.origin == "torchvision":
        return with_channels(_build_torchvision(named.name, num_classes, size), channels)
    if named.origin == "timm":
        return with_channels(_build_timm(named.name, num_classes, size), channels)
    if named.origin == "efficientnet-lite":
        return with_channels(build_lite(arch, num_classes, size), channels)
    if named.origin == "one-output":
        from napari_cam_feedback.models.networks.one_output import build_one_output

        return build_one_output(arch, num_classes, channels, size, trust=trust)
    if named.origin == "gap":
        from napari_cam_feedback.models.networks.gap import build_gap

        return build_gap(arch, num_classes, channels, size, trust=trust)
    if named.file is not None:
        module = _build_from_file(named, named.file, num_classes, channels, size, trust)
        module.register_forward_hook(_in_single_precision)
        return module
    plain = arch.lower().replace("-", "").replace(" ", "")
    if plain in _torchvision_names():
        raise ModelError(f"There is no architecture {arch!r}; did you mean {TORCHVISION}{plain}?")
    raise ModelError(_unknown(arch, [*ARCHITECTURES, TORCHVISION + "NAME", TIMM + "NAME", *LITE_SIZES, "FILE.py:FUNCTION"]))


def skeleton(arch: str, num_classes: int = 1000, size: tuple[int, int] | None = None) -> nn.Module | None:
    """Return the network for 3 channels without memory for its weights, to see its shapes.

    None if it is made by code, or runs itself while it is made (hybrids of timm), which takes memory.

    Raises
    ------
    ModelError
        As `build_module`.
    """
    if Architecture.of(arch).runs_code:
        return None
    try:
        with _NoMemory():
            return build_module(arch, num_classes, 3, size)
    except (RuntimeError, NotImplementedError):
        return None


def _in_single_precision(_module: nn.Module, _inputs: Any, output: Any) -> Any:
    """Networks may compute in half or double precision inside; their logits are float32 for all that follows."""
    if isinstance(output, torch.Tensor) and output.is_floating_point():
        return output.as_subclass(torch.Tensor).float()
    return output


class _NoMemory(torch.overrides.TorchFunctionMode):
    """While entered, new empty tensors have a shape and no memory.

    ``torch.device("meta")`` would do so with all new tensors, also those that networks compute their widths with.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **({**(kwargs or {}), "device": "meta"} if func is torch.empty else kwargs or {}))


def first_convolution(module: nn.Module) -> str | None:
    """Return the name of the first convolution, which takes the image; None where there is none."""
    return next((name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)), None)


def with_channels(module: nn.Module, channels: int) -> nn.Module:
    """Put a convolution that takes `channels` channels in the place of the first one, in place, and return the module."""
    name = first_convolution(module)
    if name is None:
        return module
    old = module.get_submodule(name)
    assert isinstance(old, nn.Conv2d)
    if old.in_channels == channels:
        return module
    parent, _, last = name.rpartition(".")
    new = copy.deepcopy(old)
    new.in_channels = channels
    new.weight = nn.Parameter(old.weight.new_empty(old.out_channels, channels, *old.kernel_size))
    new.reset_parameters()
    setattr(module.get_submodule(parent), last, new)
    return module


def _torchvision_names() -> list[str]:
    from torchvision import models

    return models.list_models(module=models)


def check_torchvision(name: str) -> None:
    """Raise a ModelError with the nearest names if torchvision has no such classification network."""
    known = _torchvision_names()
    if name not in known:
        raise ModelError(_unknown(name, known))


def _build_torchvision(name: str, num_classes: int, size: tuple[int, int] | None) -> nn.Module:
    from torchvision import models

    check_torchvision(name)
    options: dict[str, Any] = {}
    if name in {"googlenet", "inception_v3"}:
        # Drawing truncated normals takes seconds, and the weights replace them. The auxiliary heads serve a training from
        # scratch only; with them, the network in training mode puts out a tuple.
        options = {"init_weights": False, "aux_logits": False}
    elif size is not None and name.startswith("vit_"):
        if size[0] != size[1]:
            raise ModelError(f"torchvision:{name} takes square images only, not {size[0]}x{size[1]}; give another size.")
        options = {"image_size": size[0]}
    elif size is not None and name.startswith("maxvit"):
        options = {"input_size": size}
    try:
        return models.get_model(name, weights=None, num_classes=num_classes, **options)
    except (ValueError, AssertionError) as error:
        raise _unbuilt(TORCHVISION + name, size, error) from error


def _build_timm(name: str, num_classes: int, size: tuple[int, int] | None) -> nn.Module:
    timm = load_timm(name)
    # Asked first, since timm would fetch a name such as hf_hub:… from the network.
    if not timm.is_model(name):
        raise ModelError(_unknown(name, timm.list_models()))
    options: dict[str, Any] = {"pretrained": False, "num_classes": num_classes}
    try:
        if size is not None:
            try:
                return timm.create_model(name, img_size=size, **options)
            except TypeError as error:
                if "img_size" not in str(error):
                    raise
        return timm.create_model(name, **options)
    except (ValueError, AssertionError, TypeError) as error:
        raise _unbuilt(TIMM + name, size, error) from error


def load_timm(name: str) -> Any:
    """Return the package timm.

    Raises
    ------
    ModelError
        It is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ModelError(
            f"The architecture timm:{name} needs the package timm; install it with: pip install timm"
        ) from error


def _function(named: Architecture) -> tuple[Path, str]:
    from napari_cam_feedback.models.networks.factory import parse_factory

    found = parse_factory(named.text)
    assert found is not None
    return found


def _build_from_file(
    named: Architecture, file: Path, num_classes: int, channels: int, size: tuple[int, int] | None, trust: bool
) -> nn.Module:
    if named.origin == "function":
        from napari_cam_feedback.models.networks.factory import build_from_factory

        return build_from_factory(*_function(named), num_classes=num_classes, channels=channels, size=size, trust=trust)
    from napari_cam_feedback.models.networks.exported import load_program, script_refused

    if named.origin == "torchscript":
        # Files that 0.1.0 wrote name such an architecture.
        raise script_refused(file.name)
    return load_program(file, trust=trust)


def _unbuilt(arch: str, size: tuple[int, int] | None, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200]
    pixels = f" for images of {size[0]}x{size[1]} pixels" if size else ""
    return ModelError(f"{arch} cannot be built{pixels} ({reason}); give the size that it was trained with.")


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known[:12])}."
    return f"There is no architecture {name!r}; {hint}"
