"""Functions of the user's own Python file, which make a network or fill images; its code runs, so they are asked first."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from napari_cam_feedback.errors import USER_CODE, ConsentNeeded, ModelError
from napari_cam_feedback.model_names import Architecture
from napari_cam_feedback.models.layers.parts import in_evaluation
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
# What such functions call the number of channels of the image.
_CHANNELS = ("channels", "in_channels", "in_chans")
# Where torch has the layers of a quantised network.
_QUANTISED = "torch.ao.nn.quantized"
# Of the names under which the files' modules are kept.
_PREFIX = USER_CODE
# The search path of modules is one for the whole process.
_lock = threading.RLock()


def parse_factory(text: str) -> tuple[Path, str] | None:
    r"""Return file and function of ``FILE.py:FUNCTION``, None where a text is nothing of that kind.

    Examples
    --------
    >>> parse_factory("nets/mine.py:make")
    (PosixPath('nets/mine.py'), 'make')
    >>> parse_factory("torchvision:resnet18") is None
    True

    Raises
    ------
    ModelError
        A Python file is named and no function of it.
    """
    named = Architecture.of(text)
    if named.origin != "function" or named.file is None:
        return None
    if not named.name:
        raise ModelError(f"{text} names no function; write it as {named.file.name}:FUNCTION.")
    return named.file, named.name


def build_from_factory(
    file: Path | str,
    function: str,
    *,
    num_classes: int,
    channels: int,
    size: tuple[int, int] | None = None,
    trust: bool = False,
) -> nn.Module:
    """Run a Python file and return the network that its function (or class) makes.

    The function is given, by keyword, what it takes of ``num_classes`` and ``channels`` (also called ``in_channels`` or
    ``in_chans``). The file may import others of its folder.

    Parameters
    ----------
    file : path
        The Python file.
    function : str
        Name of a function that returns a `torch.nn.Module`, of a class that is one, or of a module made already.
    num_classes, channels : int
        Number of outputs, channels of the input.
    size : tuple of int, optional
        Height and width of the input; layers that take their shapes from the first image (`torch.nn.LazyLinear`) need it.
    trust : bool
        The user agrees that the file's code runs.

    Raises
    ------
    ConsentNeeded
        `trust` is not given; nothing of the file has run.
    ModelError
        The file is missing, has no such function, needs other arguments, raises an exception, or makes no network.
    """
    path = Path(file).expanduser().absolute()
    _ask(path, trust, "makes the network", "This model's network is made by")
    with _lock, _folder_on_path(path.parent):
        made = _member(path, function)
        if not isinstance(made, nn.Module):
            made = _call(made, path, function, num_classes, channels)
    if not isinstance(made, nn.Module):
        what = "nothing" if made is None else f"something of type {type(made).__name__}"
        raise ModelError(f"{function} of {path.name} returns {what}; let it return the network, a torch.nn.Module.")
    name = f"{function} of {path.name}"
    _check_network(made, name)
    _complete(made, name, channels, size)
    _make_changeable(made)
    # Of half or double precision: images are float32, and so are all weights that are read.
    return made.float()


def load_function(file: Path | str, function: str, *, trust: bool = False) -> Callable[..., Any]:
    """Run a Python file and return a function of it that fills images.

    Raises
    ------
    ConsentNeeded
        `trust` is not given; nothing of the file has run.
    ModelError
        The file is missing, cannot be run, or has no such function.
    """
    path = Path(file).expanduser().absolute()
    _ask(path, trust, "fills images", "The inpainter is")
    with _lock, _folder_on_path(path.parent):
        found = _member(path, function)
    if not callable(found):
        raise ModelError(f"{function} of {path.name} is of type {type(found).__name__}; name a function.")
    return found


def _ask(path: Path, trust: bool, does: str, what: str) -> None:
    if not path.is_file():
        raise ModelError(f"There is no Python file {path}; check the path before the colon.")
    if not trust:
        raise ConsentNeeded(
            f"{path.name} {does} by running its code, which may do whatever you may do; agree to it if you trust that file.",
            kind="trust",
            question=f"{what} the Python file {path}. Opening it runs that file's code, "
            "which may do whatever you may do on this computer, such as reading and deleting files. "
            "Do you trust it and want to run it?",
        )


def _member(path: Path, function: str) -> Any:
    found = getattr(_run(path), function, None)
    if found is None:
        raise ModelError(_no_such(path, function))
    return found


def _check_network(made: nn.Module, name: str) -> None:
    """Raise a ModelError where a network cannot be used as it is, whatever its weights."""
    if any(type(layer).__module__.startswith(_QUANTISED) for layer in made.modules()):
        raise ModelError(
            f"{name} returns a quantised network, which has no gradients to explain or retune it by; give the network as it "
            "was before it was quantised."
        )
    if any(value.is_meta for value in (*made.parameters(), *made.buffers())):
        raise ModelError(f"{name} returns a network without memory for its weights (device meta); build it on the CPU.")
    if isinstance(made, torch.jit.ScriptModule):
        raise ModelError(
            f"{name} returns a network of TorchScript, whose layers cannot be looked into; give the network as it was "
            "before it was scripted or traced."
        )
    others = [key for key, value in made.state_dict().items() if not isinstance(value, torch.Tensor)]
    if others:
        raise ModelError(
            f"The network of {name} keeps something beside its weights that is no tensor ({others[0]}), which no file of "
            "weights here can hold; take its get_extra_state out."
        )
    try:
        parameters = list(inspect.signature(made.forward).parameters.values())
    except (ValueError, TypeError):
        return
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.default is inspect.Parameter.empty and p.kind in (*positional, p.KEYWORD_ONLY)]
    others = [p.name for p in needed[1:]]
    if others:
        raise ModelError(
            f"The network of {name} needs {' and '.join(others)} beside the image, and only the image can be given; let its "
            "forward have defaults for the rest, or wrap it in a network that fills them in."
        )


def _complete(made: nn.Module, name: str, channels: int, size: tuple[int, int] | None) -> None:
    """Let layers that take their shapes from the first image have them."""
    if not any(nn.parameter.is_lazy(value) for value in (*made.parameters(), *made.buffers())):
        return
    if size is None:
        raise ModelError(f"The network of {name} takes its shapes from its first image; say the images' size.", field="size")
    try:
        with torch.no_grad():
            # As evaluated, so that no statistics are taken from it.
            in_evaluation(made)(torch.zeros(1, channels, *size))
    except (Exception, SystemExit) as error:  # what a network of a user may raise has no end
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The network of {name} takes its shapes from its first image, and cannot take one of {channels} channels and "
            f"{size[0]}x{size[1]} pixels ({reason}); say those it was made for.",
            field=("size", "channels"),
        ) from error


def _make_changeable(made: nn.Module) -> None:
    """Put copies in the places of weights that were made in inference mode, which can neither be loaded into nor learn."""
    copies: dict[int, torch.Tensor] = {}
    for layer in made.modules():
        for name, value in layer._parameters.items():
            if value is not None and value.is_inference():
                copy = copies.setdefault(id(value), nn.Parameter(value.clone()))
                assert isinstance(copy, nn.Parameter)
                layer._parameters[name] = copy
        for name, buffer in layer._buffers.items():
            if buffer is not None and buffer.is_inference():
                layer._buffers[name] = copies.setdefault(id(buffer), buffer.clone())


def _module_name(path: Path) -> str:
    return f"{_PREFIX}{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"


def _run(path: Path) -> ModuleType:
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and type hints look their module up by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ModelError(f"{path.name} cannot be run: {_what(error, path)}; mend it and load the model again.") from error
    return module


def _call(made: Any, path: Path, function: str, num_classes: int, channels: int) -> Any:
    if not callable(made):
        raise ModelError(
            f"{function} of {path.name} is of type {type(made).__name__} and no function; "
            "name a function that returns the network."
        )
    try:
        parameters = inspect.signature(made).parameters
    except (ValueError, TypeError):
        parameters = inspect.signature(lambda: None).parameters
    positional = (inspect.Parameter.POSITIONAL_ONLY,)
    known = {"num_classes": num_classes, **dict.fromkeys(_CHANNELS, channels)}
    given = {key: value for key, value in known.items() if key in parameters and parameters[key].kind not in positional}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    others = [
        key
        for key, parameter in parameters.items()
        if key not in given and parameter.default is inspect.Parameter.empty and parameter.kind not in variable
    ]
    if others:
        defaults = "it a default" if len(others) == 1 else "them defaults"
        raise ModelError(
            f"{function} of {path.name} needs {' and '.join(others)}, which the program does not know; give {defaults}, "
            "or write a function that needs nothing but num_classes and channels."
        )
    try:
        return made(**given)
    except (Exception, SystemExit) as error:
        called = ", ".join(f"{key}={value}" for key, value in given.items())
        raise ModelError(
            f"{function}({called}) of {path.name} failed: {_what(error, path)}; mend it and load the model again."
        ) from error


def _what(error: BaseException, path: Path) -> str:
    """The exception's type and message, and the last line of the user's file on the way to it."""
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())[:300]
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{where}"


def _no_such(path: Path, function: str) -> str:
    module = sys.modules[_module_name(path)]
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    near = difflib.get_close_matches(function, names, n=3)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif names:
        hint = f"it has {', '.join(names[:8])}."
    else:
        hint = "write a function of that name."
    return f"{path.name} has no function {function!r}; {hint}"


@contextmanager
def _folder_on_path(folder: Path) -> Iterator[None]:
    """While entered, modules of that folder can be imported; afterwards they are forgotten, so that edits are seen.

    Nothing is written beside the user's files.
    """
    before = set(sys.modules)
    writing, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = writing
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules.get(name), "__file__", None)
            if file and Path(file).is_relative_to(folder) and not name.startswith(_PREFIX):
                del sys.modules[name]
