"""Networks saved as programs: archives of ``torch.export`` and of TorchScript, made into modules that can be looked into."""

from __future__ import annotations

import copy
import logging
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from napari_cam_feedback.errors import ConsentNeeded, ModelError
from napari_cam_feedback.models.networks.exported import Archive, ProgramInfo
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
ProgramKind = Literal["export", "torchscript"]
_MAKERS = {"export": "torch.export", "torchscript": "TorchScript"}


def sniff(path: Path | str) -> ProgramKind | None:
    """Tell by a file's content whether it is a program, whatever its suffix; None where it is not. Nothing is loaded."""
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (OSError, zipfile.BadZipFile):
        return None
    inner = {name.partition("/")[2] for name in names}
    if "serialized_exported_program.json" in names or "models/model.json" in inner:
        return "export"
    return "torchscript" if "constants.pkl" in inner and any(name.startswith("code/") for name in inner) else None


def program_info(path: Path | str) -> ProgramInfo | None:
    """Return what an exported program says of its input and output, None for other files. Nothing of it runs.

    Raises
    ------
    ModelError
        The archive cannot be read, or is no image classifier.
    """
    return Archive(Path(path)).info() if sniff(path) == "export" else None


def program_input_size(path: Path | str) -> tuple[int, int, int] | None:
    """Return (channels, height, width) of the images that a program was exported with, None where it does not say.

    Raises
    ------
    ModelError
        As `program_info`.
    """
    info = program_info(path)
    return None if info is None else info.input_size


def load_program(path: Path | str, kind: str, *, trust: bool = False) -> nn.Module:
    """Return a saved program as a module on the CPU, in evaluation mode, whose layers can be read and trained.

    Parameters
    ----------
    path : path
        The file.
    kind : str
        ``export``: an archive of `torch.export.save`, exported for batches of any size; its layers are those of the
        network that was exported. ``torchscript``: an archive of `torch.jit.save` whose network is an `nn.Sequential`; its
        layers are the members.
    trust : bool
        The user agrees that the program runs.

    Raises
    ------
    ConsentNeeded
        `trust` is not given.
    ModelError
        The file is missing or of another kind, holds more than a network, or no layer of it could be looked at.
    """
    path = Path(path)
    _ask(path, kind, trust)
    return _load_exported(path) if kind == "export" else _load_script(path)


def open_script(path: Path | str, *, trust: bool = False, what: str = "model") -> Any:
    """Return any TorchScript program as torch gives it: on the CPU, in evaluation mode, to be called and not looked into.

    Parameters
    ----------
    path : path
        The file.
    trust : bool
        The user agrees that the program runs.
    what : str
        What it is to be, for sentences.

    Raises
    ------
    ConsentNeeded
        `trust` is not given.
    ModelError
        The file is missing, or no TorchScript.
    """
    path = Path(path)
    _ask(path, "torchscript", trust, what)
    try:
        with _quiet():
            return torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(
            f"{path.name} is no TorchScript archive or is cut short; copy it again, or save it anew with torch.jit.save."
        ) from error


def _ask(path: Path, kind: str, trust: bool, what: str = "model") -> None:
    if not path.is_file():
        raise ModelError(f"There is no {what} file {path}; check the path.")
    if not trust:
        raise ConsentNeeded(
            f"{path.name} is a program of {_MAKERS[kind]}, and running it may do more than compute; "
            "add --trust if you trust that file.",
            kind="trust",
            question=f"The {what} {path} is a program of {_MAKERS[kind]}, not weights alone. Opening it runs what it holds, "
            "which may do more than compute, such as writing files. Do you trust it and want to run it?",
        )


# Archives of torch.export -----------------------------------------------------------------------------


class _Part(nn.Module):
    """A layer of an exported program: runs its graph node by node, calling the layers in it."""

    graph: torch.fx.Graph

    def forward(self, *inputs: Any) -> Any:
        return torch.fx.Interpreter(self, graph=self.graph).run(*inputs, enable_io_processing=False)


class ExportedNetwork(_Part):
    """A whole exported program."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, K) of images (N, C, H, W)."""
        (logits,) = super().forward(images)
        return logits

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> ExportedNetwork:
        super()._apply(fn, recurse)
        first = next(self.parameters(), None)
        # A graph says on which device it makes tensors of its own.
        for part in self.modules():
            for node in getattr(part, "graph", torch.fx.Graph()).nodes:
                if first is not None and "device" in node.kwargs:
                    node.kwargs = {**node.kwargs, "device": first.device}
        return self


def _load_exported(path: Path) -> nn.Module:
    archive = Archive(path)
    archive.check()
    content = archive.clean()
    try:
        with _quiet():
            exported = torch.export.load(content)
            module = torch.export.unflatten(exported)
    except Exception as error:
        saved = archive.info().torch_version
        raise ModelError(
            f"{path.name} was exported by torch {saved}, and the installed torch {torch.__version__} cannot read it; "
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
    """While entered, torch does not print what it then raises, nor that it will drop TorchScript one day."""
    logger = logging.getLogger("torch.export")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


# TorchScript ------------------------------------------------------------------------------------------


class ScriptLayer(nn.Module):
    """A layer of a TorchScript program. Its parameters and buffers are the program's, under the program's names.

    The program itself is no submodule, since TorchScript allows no hooks on its modules.
    """

    def __init__(self, program: Any) -> None:
        super().__init__()
        self.program: Any
        vars(self)["program"] = program
        self.training = program.training
        self._adopt()

    def _adopt(self) -> None:
        for name, parameter in self.program.named_parameters():
            # Plain tensors, which `register_parameter` would not take.
            _place(self, name)._parameters[name.rpartition(".")[2]] = parameter
        for name, buffer in self.program.named_buffers():
            _place(self, name).register_buffer(name.rpartition(".")[2], buffer)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the layer puts out."""
        return self.program(inputs)

    def train(self, mode: bool = True) -> ScriptLayer:
        """Set training or evaluation mode of the program, too."""
        self.program.train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> ScriptLayer:
        self.program._apply(fn)
        self._adopt()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ScriptLayer:
        with torch.no_grad():
            # TorchScript's copies are else results computed from what they were copied from.
            other = type(self)(copy.deepcopy(self.program, memo))
        for mine, theirs in zip(self.parameters(), other.parameters(), strict=True):
            theirs.requires_grad_(mine.requires_grad)
        return other


def _place(module: nn.Module, name: str) -> nn.Module:
    """The submodule for a parameter of that dotted name, made where there is none."""
    for part in name.split(".")[:-1]:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    return module


def _load_script(path: Path) -> nn.Module:
    program = open_script(path, trust=True)
    if program.original_name != "Sequential":
        raise ModelError(
            f"{path.name} is TorchScript of a {program.original_name}, which does not let anyone look at its layers; "
            "save the model's state dict and name its architecture with --arch, or save it with torch.export."
        )
    return _rebuild(program).eval()


def _rebuild(program: Any) -> nn.Module:
    if program.original_name != "Sequential":
        return ScriptLayer(program)
    return nn.Sequential(OrderedDict((name, _rebuild(child)) for name, child in program.named_children()))
