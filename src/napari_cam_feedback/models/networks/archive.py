"""What is inside an archive of ``torch.export``, read without torch; and a copy of it in which no code can hide.

`torch.export.load` unpickles some parts of an archive, evaluates texts in it as expressions, calls functions by the names
that it finds there, and makes Python source of others. Networks need little of that. So an archive is read here, and what
an image classifier has no use for is refused; the rest is written anew, so that what was looked at is what is loaded.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_cam_feedback.errors import ModelError, describe
from napari_cam_feedback.files import parse_json

_ANEW = "export it anew with torch.export.save(torch.export.export(model.eval(), (images,), …), path)"

# Operators of torch that compute; none reads or writes files.
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|prim|higher_order|torchvision)\.[A-Za-z_]\w*(\.[A-Za-z]\w*)?|torch\.sym_\w+|math\.[a-z]\w*"
)
_NOT_OPERATORS = re.compile(r"from_file|load|save|call_torchbind|delegate|print|triton")
_ARITHMETIC = {
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "pos", "abs", "eq", "ne", "lt", "le", "gt", "ge",
    "and_", "or_", "xor", "not_", "getitem",
}  # fmt: skip
# What a size may be computed with.
_FUNCTIONS = {
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "PythonMod", "Max", "Min", "Abs", "FloorDiv",
    "CeilDiv", "CleanDiv", "CeilToInt", "FloorToInt", "TruncToInt", "TruncToFloat", "RoundToInt", "ToFloat", "FloatTrueDiv",
    "IntTrueDiv", "FloatPow", "PowByNatural", "LShift", "RShift", "ModularIndexing", "Where", "Identity", "floor", "ceiling",
    "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan",
    "GreaterThan", "And", "Or", "Not",
}  # fmt: skip
_EXPRESSION = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Constant, ast.Name, ast.Call, ast.keyword,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip
# What raises to a power or shifts, of which a short expression can make a number without end.
_POWERS = {"Pow", "PowByNatural", "FloatPow", "LShift", "RShift"}
_MOST_POWERS, _HIGHEST_POWER, _LONGEST = 8, 64, 5000
# What an archive may hold, beyond some times its size.
_MOST_TIMES, _MOST_BYTES = 20, 16 << 20
_NAME = re.compile(r"[\w.@-]*")
_NAME_KEYS = {"name", "as_name", "fqn", "parameter_name", "buffer_name", "tensor_constant_name", "user_input_name"}
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What an exported program says of itself.

    Attributes
    ----------
    batch : int or None
        Images that it takes at a time; None for any number.
    input_size : tuple of int or None
        (channels, height, width) of the images; None where they may vary.
    outputs : int or None
        Number of logits.
    torch_version : str
        Of the torch that wrote it.
    """

    batch: int | None
    input_size: tuple[int, int, int] | None
    outputs: int | None
    torch_version: str


class Archive:
    """An archive of ``torch.export``, opened to be looked at.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ModelError
        It cannot be read, is no such archive, or comes from a torch before 2.8, which had another format.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            with zipfile.ZipFile(path) as file:
                names = file.namelist()
                _check_sizes(file, path)
                if "serialized_exported_program.json" in names:
                    raise ModelError(f"{self.name} was exported by an old torch; with a newer one, {_ANEW}.")
                model = next((name for name in names if name.endswith("/models/model.json")), None)
                if model is None:
                    raise ModelError(f"{self.name} holds no program of torch.export; {_ANEW}.")
                root = model.removesuffix("models/model.json")
                self._files = {name.removeprefix(root): file.read(name) for name in names if name.startswith(root)}
            self.program = parse_json(self._files["models/model.json"].decode())
            self.graph = self.program["graph_module"]["graph"]
        except OSError as error:
            raise ModelError(f"Cannot read the model {path}: {describe(error)}") from error
        except ModelError:
            raise
        except Exception as error:  # a broken archive fails in many ways
            raise self._broken() from error

    def _broken(self) -> ModelError:
        return ModelError(f"{self.name} is no archive of torch.export or is cut short; copy it again, or {_ANEW}.")

    def info(self) -> ProgramInfo:
        """Return what the program says of itself.

        Raises
        ------
        ModelError
            It does not take one batch of images and give one batch of logits.
        """
        inputs, outputs = self._shapes()
        if len(inputs) != 1 or len(outputs) != 1 or None in (inputs[0], outputs[0]):
            raise ModelError(
                f"{self.name} takes {len(inputs)} inputs and gives {len(outputs)} outputs; "
                "export a model that takes one batch of images and returns one batch of logits."
            )
        sizes, logits = inputs[0] or [], outputs[0] or []
        if len(sizes) != 4 or len(logits) != 2:
            raise ModelError(
                f"{self.name} takes tensors of {len(sizes)} axes and gives tensors of {len(logits)}; "
                "export a model that takes images (N, C, H, W) and returns logits (N, K)."
            )
        batch, channels, height, width = sizes
        image = None if channels is None or height is None or width is None else (channels, height, width)
        return ProgramInfo(batch, image, logits[1], str(self.program.get("torch_version", "")))

    def check_batch(self) -> None:
        """Raise a ModelError where the program takes batches of one size only."""
        inputs, _ = self._shapes()
        batch = inputs[0][0] if inputs and inputs[0] else None
        if batch is not None:
            images, free = "image" if batch == 1 else "images", "{0: torch.export.Dim.AUTO},"
            given = "(images,)" if len(inputs) == 1 else "(images, masks)"
            raise ModelError(
                f"{self.name} takes exactly {batch} {images} at a time; export it anew for any number, "
                f"with torch.export.export(model.eval(), {given}, dynamic_shapes=({' '.join([free] * len(inputs))}))."
            )

    def check_filler(self) -> None:
        """Raise a ModelError where the program does not take two batches of any size, images and masks."""
        inputs, _ = self._shapes()
        if len(inputs) != 2:
            count = f"{len(inputs)} input{'s' * (len(inputs) != 1)}"
            raise ModelError(f"{self.name} takes {count}; export an inpainter that takes images and masks.")
        self.check_batch()

    def _shapes(self) -> tuple[list[list[int | None] | None], list[list[int | None] | None]]:
        """Sizes of the inputs and of the outputs; None for what is no tensor, and for a size that varies."""
        try:
            specs = self.program["graph_module"]["signature"]["input_specs"]
            values = self.graph["tensor_values"]
            inputs = [spec["user_input"]["arg"] for spec in specs if "user_input" in spec]
            return tuple(  # type: ignore[return-value]
                [_sizes(values[each["as_tensor"]["name"]]) if "as_tensor" in each else None for each in arguments]
                for arguments in (inputs, self.graph["outputs"])
            )
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
            raise self._broken() from error

    def check(self) -> None:
        """Check that nothing in the archive would be unpickled or evaluated.

        Raises
        ------
        ModelError
            It was exported in training mode, or holds what no network needs.
        """
        try:
            self._check()
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
            raise self._broken() from error

    def _check(self) -> None:
        for node in _dicts(self.program, "target"):
            self._check_target(node["target"])
            for given in node.get("inputs") or []:
                if given.get("name") in {"training", "train"} and (given.get("arg") or {}).get("as_bool"):
                    raise ModelError(f"{self.name} was exported in training mode; call model.eval() and {_ANEW}.")
        for holder in _dicts(self.program, "as_operator"):
            self._check_target(holder["as_operator"])
        for holder in _dicts(self.program, "expr_str"):
            if not _is_plain(holder["expr_str"]):
                raise self._refused(f"the expression {str(holder['expr_str'])[:60]!r}")
        for holder in _dicts(self.program):
            for key in _NAME_KEYS & holder.keys():
                self._check_name(holder[key])
            for key in ("in_spec", "out_spec"):
                if isinstance(holder.get(key), str):
                    self._check_spec(holder[key])
            for entry in _stack(holder.get("nn_module_stack")):
                self._check_name(entry)
        if not isinstance(self.program["graph_module"]["module_call_graph"], list):
            raise self._broken()
        for config in self._configs().values():
            for name, payload in config["config"].items():
                path = str(payload.get("path_name", ""))
                if payload.get("use_pickle") is not False or not re.fullmatch(r"(weight|tensor)_\d+", path):
                    raise self._refused(f"the pickled object {str(name)[:60]!r}")

    def clean(self) -> io.BytesIO:
        """Return the archive written anew, with only what the program needs, everything on the CPU."""
        program = json.loads(json.dumps(self.program))
        program["guards_code"] = []
        module = program["graph_module"]
        module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
        # Only the outermost call needs its signature; torch would count the calls of others, which threads must not share.
        for entry in module["module_call_graph"][1:]:
            entry["signature"] = None
        for node in _dicts(program, "target"):
            if isinstance(node.get("metadata"), dict):
                node["metadata"] = {k: v for k, v in node["metadata"].items() if k == "nn_module_stack"}
        parts = {"models/model.json": program, **self._configs()}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
            for name, content in parts.items():
                for holder in _dicts(content):
                    for key in ("device", "as_device"):
                        if isinstance(holder.get(key), dict):
                            holder[key] = {"type": "cpu", "index": None}
                file.writestr(f"archive/{name}", json.dumps(content))
            for name, data in self._files.items():
                if re.fullmatch(
                    r"data/(weights/weight|constants/tensor)_\d+|archive_format|archive_version|byteorder", name
                ):
                    file.writestr(f"archive/{name}", data)
            file.writestr("archive/.data/version", "3\n")
            # Images that it was exported with; torch would unpickle them.
            file.writestr("archive/data/sample_inputs/model.pt", b"")
        buffer.seek(0)
        return buffer

    def _configs(self) -> dict[str, Any]:
        """The tables of weights and of constants, parsed anew at each call."""
        names = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
        try:
            configs = {name: parse_json(self._files[name].decode()) for name in names}
        except KeyError:
            raise ModelError(f"{self.name} was exported by an old torch; with a newer one, {_ANEW}.") from None
        except ValueError as error:
            raise self._broken() from error
        if not all(isinstance(config.get("config"), dict) for config in configs.values()):
            raise self._broken()
        return configs

    def _check_target(self, target: Any) -> None:
        text = str(target)
        module, _, name = text.partition(".")
        allowed = name in _ARITHMETIC if module == "_operator" else bool(_OPERATOR.fullmatch(text))
        if not allowed or _NOT_OPERATORS.search(text):
            raise self._refused(f"the operator {text[:60]!r}")

    def _check_name(self, name: Any) -> None:
        if isinstance(name, str) and not _NAME.fullmatch(name):
            raise self._refused(f"the name {name[:60]!r}")

    def _check_spec(self, text: str) -> None:
        try:
            specs = list(_dicts(parse_json(text)))
        except ValueError as error:
            raise self._broken() from error
        if "__enum__" in text or any(spec.get("type") not in _CONTAINERS for spec in specs):
            raise self._refused("an input or output of a type of its own")

    def _refused(self, what: str) -> ModelError:
        return ModelError(
            f"{self.name} holds {what}, which could run other code than the network's and is not loaded even if trusted; "
            "save the model's state dict instead and name its architecture.",
            field="arch",
        )


def _dicts(value: Any, key: str | None = None) -> Iterator[dict[str, Any]]:
    """All mappings in a JSON value, however deep; with `key`, those that have it with another value than null."""
    if isinstance(value, dict):
        if key is None or value.get(key) is not None:
            yield value
        for inner in value.values():
            yield from _dicts(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _dicts(inner, key)


def _stack(text: Any) -> Iterator[str]:
    """Layer names in a node's module stack, ``key,name,type;…``."""
    if isinstance(text, str):
        for entry in text.split(";"):
            parts = entry.split(",")
            yield parts[1] if len(parts) > 1 else ""


def _sizes(value: Any) -> list[int | None]:
    return [size.get("as_int") for size in value["sizes"]]


def _check_sizes(file: zipfile.ZipFile, path: Path) -> None:
    """Raise ValueError where a small archive holds far more than its size: torch compresses nothing."""
    parts = file.infolist()
    plain = all(part.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for part in parts)
    if not plain or sum(part.file_size for part in parts) > _MOST_TIMES * path.stat().st_size + _MOST_BYTES:
        raise ValueError("it holds far more than its size")


def _is_plain(text: Any) -> bool:
    """Whether an expression is made of symbols, numbers and arithmetic only, and is soon computed."""
    if len(str(text)) > _LONGEST:
        return False
    try:
        tree = ast.parse(str(text), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    powers = [node for node in ast.walk(tree) if _is_power(node)]
    if len(powers) > _MOST_POWERS or not all(map(_is_small_power, powers)):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and abs(node.value) > 1 << 63:
            return False
        if not isinstance(node, _EXPRESSION):
            return False
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS):
            return False
        if isinstance(node, ast.Name) and node.id.startswith("_"):
            return False
        if isinstance(node, ast.Constant) and not (
            isinstance(node.value, int | float) or (isinstance(node.value, str) and re.fullmatch(r"[\w.+-]+", node.value))
        ):
            return False
    return True


def _is_power(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Pow | ast.LShift | ast.RShift)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _POWERS


def _is_small_power(node: ast.AST) -> bool:
    """Whether the exponent is a small number, and no other power is raised to it."""
    if isinstance(node, ast.BinOp):
        base, exponent = node.left, node.right
    elif isinstance(node, ast.Call) and len(node.args) == 2:
        base, exponent = node.args
    else:
        return False
    if any(_is_power(inner) for inner in ast.walk(base)):
        return False
    while isinstance(exponent, ast.UnaryOp) or (isinstance(exponent, ast.Call) and len(exponent.args) == 1):
        exponent = exponent.operand if isinstance(exponent, ast.UnaryOp) else exponent.args[0]
    value = exponent.value if isinstance(exponent, ast.Constant) else None
    return isinstance(value, int | float) and abs(value) <= _HIGHEST_POWER
