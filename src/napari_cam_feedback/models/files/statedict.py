"""State dicts of others: read without unpickling code, found inside checkpoints, with names and types made plain."""

from __future__ import annotations

import errno
import io
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import safetensors
from safetensors.torch import load_file

from napari_cam_feedback.errors import ModelError, describe
from napari_cam_feedback.models.networks.exported import is_exported, is_script, script_refused
from napari_cam_feedback.pickle_depth import BadPickle, check_pickles
from napari_cam_feedback.torch_loader import torch

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".bin", ".pth.tar", ".pt.tar", ".ckpt.tar")
MODEL_SUFFIXES = (".safetensors", *CHECKPOINT_SUFFIXES, ".pt2")
_NESTS = ("state_dict", "model_state_dict", "model", "net")
# What torch.compile puts into names, wherever it was applied.
_COMPILED = "_orig_mod."
_SAVE = "save it with torch.save(model.state_dict(), …) and load that"
# Heads that GoogLeNet and Inception have for a training from scratch only; ours leave them out.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
# Names that torchvision's own files of old carry and its networks translate when they load them.
_OLD_NAMES = (
    (re.compile(r"\.mlp\.linear_1\."), r".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), r".mlp.3."),
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
)


class _Ignored:
    """Stands for numbers of NumPy and for arguments of a command line beside the weights; does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


# Beside the weights in checkpoints: settings of Lightning, paths, numbers of NumPy.
_ATTRIBUTES = ("pytorch_lightning.utilities.parsing", "lightning.pytorch.utilities.parsing")
_FABRIC = ("lightning_fabric.utilities.data", "lightning.fabric.utilities.data")
_STAND_INS = (
    *("argparse.Namespace", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"),
    *("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath"),
)
# What the weights of a file may take in all, beyond some times its size: more is the same few numbers over and over.
_MOST_TIMES, _MOST_BYTES = 4, 64 << 20
_INERT: list[Any] = [
    *((_Ignored, name) for name in _STAND_INS),
    # torch fills plain dictionaries only.
    *((OrderedDict, f"{module}.AttributeDict") for module in (*_ATTRIBUTES, *_FABRIC)),
]


def is_program(path: Path) -> bool:
    """Tell whether a file is an archive of ``torch.export`` instead of weights.

    Raises
    ------
    ModelError
        It is TorchScript.
    """
    if is_script(path):
        raise script_refused(path.name)
    suffix = path.suffix.lower()
    return suffix == ".pt2" or (suffix in CHECKPOINT_SUFFIXES and is_exported(path))


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Return the weights in a file, on the CPU, 16-bit ones as float32; no code of the file runs.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or ``.pt .pth .th .ckpt .bin .pth.tar`` read with ``weights_only=True``: a state dict, or one in a
        checkpoint under
        ``state_dict``, ``model_state_dict``, ``model`` or ``net`` (also one in another).

    Raises
    ------
    ModelError
        The file cannot be read, holds something that would run code, or no weights.
    """
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_checkpoint(path)
    depth = 0
    while isinstance(content, Mapping) and depth < 4:
        inner = next((content[nest] for nest in _NESTS if isinstance(content.get(nest), Mapping)), None)
        if inner is None:
            break
        content, depth = inner, depth + 1
    pairs = content.items() if isinstance(content, Mapping) else ()
    tensors = {key: value for key, value in pairs if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if not tensors:
        raise ModelError(f"{path.name} holds no weights; {_SAVE}.")
    if any(tensor.is_meta or tensor.layout != torch.strided for tensor in tensors.values()):
        raise ModelError(f"{path.name} holds weights without values (meta tensors) or sparse ones; {_SAVE}.")
    if sum(t.numel() * t.element_size() for t in tensors.values()) > _MOST_TIMES * path.stat().st_size + _MOST_BYTES:
        raise ModelError(f"The weights in {path.name} say that they are far larger than the file; {_SAVE}.")
    return {name: _plain(tensor) for name, tensor in tensors.items()}


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return tensor.float() if tensor.is_floating_point() else tensor


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except OSError as error:
        raise ModelError(f"Cannot read the model {path}: {describe(error)}") from error
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file or is cut short ({error}); copy it again.") from error


def _read_checkpoint(path: Path) -> Any:
    try:
        return load_plain(path)
    except Exception as error:  # torch raises errors of many kinds for what are no plain weights
        # A file cut short makes torch seek to before its start.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise ModelError(f"Cannot read the model {path}: {describe(error)}") from error
        if isinstance(error, MemoryError):
            raise ModelError(f"{path.name} does not fit into the memory; {_SAVE}.") from error
        raise ModelError(_refusal(path.name, str(error))) from error


def load_plain(path: Path) -> Any:
    """Return the tensors and plain values that `torch.save` wrote; nothing else is unpickled.

    Raises
    ------
    Exception
        Of any kind, as torch does; ValueError where the file is made to bring the process down.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            # torch compresses nothing, so that no part is larger than the file.
            if any(info.compress_type != zipfile.ZIP_STORED for info in file.infolist()):
                raise ValueError("compressed")
            for name in file.namelist():
                if name.endswith(".pkl"):
                    _check(io.BytesIO(file.read(name)), 1)
    else:
        with path.open("rb") as old:
            # A number, a version, the system, what was saved, and the names of its parts.
            _check(old, 5)
    with torch.serialization.safe_globals(_INERT), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old formats of torch; what matters is said by our errors
        return torch.load(path, map_location="cpu", weights_only=True)


def _check(file: IO[bytes], count: int) -> None:
    try:
        check_pickles(file, count)
    except BadPickle:
        raise
    except Exception:  # where it is only broken, or fewer than so many, torch says so
        return


def _refusal(name: str, text: str) -> str:
    """Say why torch refused a file, by the name of the class or function that it would have called."""
    found = re.search(r"GLOBAL ([\w.]+)|class ([\w.]+)", text) if "eights only load failed" in text else None
    what = (found[1] or found[2]) if found else ""
    if what.startswith("numpy"):
        return (
            f"{name} holds NumPy arrays, whose loading could run code, so it was not opened; turn them into tensors with "
            f"torch.from_numpy, {_SAVE}."
        )
    if what:
        return (
            f"{name} holds Python objects ({what}), a whole model for example, whose loading could run code, so it was not "
            f"opened; {_SAVE}."
        )
    return f"{name} is not a plain state dict, or is cut short; {_SAVE}."


def align(tensors: Mapping[str, torch.Tensor], wanted: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return the tensors under the names that an architecture gives them.

    Wrappers put words before every name (``module.``, ``_orig_mod.``, ``model.`` or what a class of the user's calls its
    network) and keep weights of their own beside (a loss, say): the prefix under which most of the wanted names are found is
    taken off, and what lies outside of it is left out. Where it is the architecture that has a prefix, it is put before.
    Auxiliary heads that the architecture does not have are left out too.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        As in the file.
    wanted : iterable of str
        Names of the architecture's weights.
    """
    names = {name: None for name in wanted if not name.endswith("num_batches_tracked")}
    compiled = any(_COMPILED in name for name in names)
    plain = {key if compiled else key.replace(_COMPILED, ""): tensor for key, tensor in tensors.items()}
    for pattern, new in _OLD_NAMES:
        plain = {key if key in names else pattern.sub(new, key): tensor for key, tensor in plain.items()}
    if not names:
        return plain
    first, last = next(iter(names)), next(reversed(names))
    taken_off = {key.removesuffix(anchor) for anchor in (first, last) for key in plain if key.endswith(f".{anchor}")}
    parts = first.split(".")[:-1]
    put_before = {".".join(parts[: n + 1]) + "." for n in range(len(parts))}
    found = {("", ""): sum(key in names for key in plain)}
    found |= {(prefix, ""): sum(prefix + name in plain for name in names) for prefix in taken_off}
    found |= {("", prefix): sum(prefix + key in names for key in plain) for prefix in put_before}
    off, before = max(sorted(found), key=found.__getitem__)
    aligned = {before + key.removeprefix(off): tensor for key, tensor in plain.items() if key.startswith(off)}
    return {key: t for key, t in aligned.items() if key in names or not key.startswith(_AUXILIARY)}
