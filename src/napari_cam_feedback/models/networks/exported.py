"""Networks saved with ``torch.export``, made into modules that can be looked into."""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_cam_feedback.errors import ConsentNeeded, ModelError
from napari_cam_feedback.models.networks.archive import Archive, ProgramInfo
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


def is_exported(path: Path | str) -> bool:
    """Tell by a file's content whether it is an archive of ``torch.export``, whatever its suffix. Nothing is loaded."""
    names = _names(path)
    return "serialized_exported_program.json" in names or any(name.endswith("/models/model.json") for name in names)


def is_script(path: Path | str) -> bool:
    """Tell by a file's suffix or content whether it is TorchScript, which is not opened. Nothing is loaded."""
    inner = {name.partition("/")[2] for name in _names(path)}
    content = "constants.pkl" in inner and any(name.startswith("code/") for name in inner)
    return content or Path(path).suffix.lower() in {".ts", ".torchscript", ".jit"}


def script_refused(name: str, otherwise: str = "save its state dict and name its architecture") -> ModelError:
    """The sentence for TorchScript files, and `otherwise`, the way out beside `torch.export`."""
    return ModelError(
        f"{name} is TorchScript, which torch no longer supports and which cannot be opened any more; "
        f"save the network with torch.export as a .pt2 file, or {otherwise}."
    )


def _names(path: Path | str) -> list[str]:
    try:
        with zipfile.ZipFile(path) as file:
            return file.namelist()
    except Exception:  # no archive, or a broken one, which fails in many ways
        return []


def program_info(path: Path | str) -> ProgramInfo | None:
    """Return what an exported program says of its input and output, None for other files. Nothing of it runs.

    Raises
    ------
    ModelError
        The archive cannot be read, or is no image classifier.
    """
    return Archive(Path(path)).info() if is_exported(path) else None


def load_program(path: Path | str, *, trust: bool = False) -> nn.Module:
    """Return a saved classifier as a module on the CPU, in evaluation mode, whose layers can be read and trained.

    Parameters
    ----------
    path : path
        An archive of `torch.export.save`, exported for batches of any size; its layers are those of the network that was
        exported.
    trust : bool
        The user agrees that the program runs.

    Raises
    ------
    ConsentNeeded
        `trust` is not given.
    ModelError
        The file is missing or of another kind, holds more than a network, or is no image classifier.
    """
    archive = _open(Path(path), trust, "model")
    archive.info()
    archive.check_batch()
    return _load(archive)


def load_filler(path: Path | str, *, trust: bool = False) -> nn.Module:
    """Return a saved inpainter, a program that takes images and masks, as `load_program` returns a classifier.

    Raises
    ------
    ConsentNeeded
        `trust` is not given.
    ModelError
        The file is missing or of another kind, holds more than a network, or takes another number of tensors.
    """
    archive = _open(Path(path), trust, "inpainter")
    archive.check_filler()
    return _load(archive)


def _open(path: Path, trust: bool, what: str) -> Archive:
    if not path.is_file():
        raise ModelError(f"There is no {what} file {path}; check the path.")
    if not trust:
        raise ConsentNeeded(
            f"{path.name} is a program of torch.export, and running it may do more than compute; "
            "agree to it if you trust that file.",
            kind="trust",
            question=f"The {what} {path} is a program of torch.export, not weights alone. Opening it runs what it holds, "
            "which may do more than compute, such as writing files. Do you trust it and want to run it?",
        )
    return Archive(path)


class _Part(nn.Module):
    """A layer of an exported program: runs its graph node by node, calling the layers in it."""

    graph: torch.fx.Graph

    def forward(self, *inputs: Any) -> Any:
        return torch.fx.Interpreter(self, graph=self.graph).run(*inputs, enable_io_processing=False)


class ExportedNetwork(_Part):
    """A whole exported program."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Logits (N, K) of images (N, C, H, W); of other programs what they return."""
        found = super().forward(*inputs)
        return found[0] if len(found) == 1 else found

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> ExportedNetwork:
        super()._apply(fn, recurse)
        first = next(self.parameters(), None)
        # A graph says on which device it makes tensors of its own.
        for part in self.modules():
            for node in getattr(part, "graph", torch.fx.Graph()).nodes:
                if first is not None and "device" in node.kwargs:
                    node.kwargs = {**node.kwargs, "device": first.device}
        return self


def _load(archive: Archive) -> nn.Module:
    archive.check()
    content = archive.clean()
    try:
        with _quiet():
            exported = torch.export.load(content)
            module = torch.export.unflatten(exported)
    except Exception as error:  # what torch raises for the files of its other versions has no end
        saved = archive.program.get("torch_version", "")
        raise ModelError(
            f"{archive.name} was exported by torch {saved}, and the installed torch {torch.__version__} cannot read it; "
            "update torch, or export the model anew."
        ) from error
    for part in list(module.modules()):
        _make_plain(part, ExportedNetwork if part is module else _Part)
    return module.eval()


def _make_plain(part: nn.Module, kind: type[nn.Module]) -> None:
    """Turn torch's module into one of ours, in place: without records of the export, which cannot be copied."""
    state = vars(part)
    graph = state.get("graph")
    tensors = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
    # A graph reads attributes: a tensor, a graph within it, or a description of how to pack values.
    read = {node.target for node in graph.nodes if node.op == "get_attr"} if graph is not None else set()
    kept = {name: value for name, value in state.items() if name in tensors or name in read}
    part.__class__ = kind if graph is not None else nn.Module
    state.clear()
    nn.Module.__init__(part)
    state.update(kept)
    if graph is not None:
        part.graph = graph
        graph.owning_module = part
        for node in graph.nodes:
            # Shapes and sources of values; they cannot be copied either.
            node.meta.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """While entered, torch does not print what it then raises."""
    logger = logging.getLogger("torch.export")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before
