"""Putting weights into a network; where they do not fit, what does not, and the likeliest remedy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from napari_cam_feedback.errors import Mismatch, ModelError, WeightsMismatch
from napari_cam_feedback.model_names import Architecture
from napari_cam_feedback.models.files.guess import guess_architecture
from napari_cam_feedback.models.files.statedict import align
from napari_cam_feedback.models.networks.architectures import first_convolution
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
_GIVE_FACTORY = "a Python function that builds the network (file.py:function)"


def output_layer(module: nn.Module, num_classes: int) -> str | None:
    """Return the name of the last linear layer or convolution with `num_classes` outputs; None where there is none."""
    found = None
    for name, layer in module.named_modules():
        if (isinstance(layer, nn.Linear) and layer.out_features == num_classes) or (
            isinstance(layer, nn.Conv2d) and layer.out_channels == num_classes
        ):
            found = name
    return found


def count_outputs(module: nn.Module, num_classes: int, tensors: Mapping[str, torch.Tensor]) -> int | None:
    """Return how many outputs the weights are for, given the network for `num_classes`; None if they do not tell."""
    head = output_layer(module, num_classes)
    weight = None if head is None else tensors.get(f"{head}.weight")
    own = None if head is None else module.get_parameter(f"{head}.weight")
    if weight is None or own is None or weight.shape[1:] != own.shape[1:]:
        return None
    return int(weight.shape[0])


def count_channels(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> int | None:
    """Return how many channels the weights' first convolution takes; None if they do not tell."""
    name = first_convolution(module)
    kernel = None if name is None else tensors.get(f"{name}.weight")
    return int(kernel.shape[1]) if kernel is not None and kernel.ndim == 4 else None


def fill(
    module: nn.Module, tensors: Mapping[str, torch.Tensor], name: str, arch: str, names: Sequence[str], names_from: str
) -> None:
    """Put weights into a network, in place.

    Parameters
    ----------
    module : torch.nn.Module
        Built for ``len(names)`` classes.
    tensors : mapping of str to Tensor
        The weights; `align` finds them under other prefixes.
    name, arch : str
        The file and the architecture, for the sentence.
    names : sequence of str
        The class names.
    names_from : str
        Where they come from: ``file``, ``header``, ``sidecar``, ``folders`` or ``torchvision``.

    Raises
    ------
    WeightsMismatch
        They do not fit; the sentence says the likeliest remedy, the rows everything that does not fit.
    """
    own = module.state_dict()
    tensors = align(tensors, own)
    rows = _rows(own, tensors)
    if rows:
        raise _mismatch(module, own, tensors, rows, name, arch, names, names_from)
    whole = next(
        (key for key, t in own.items() if t.is_floating_point() and key in tensors and _is_whole(tensors[key])), None
    )
    if whole is not None:
        raise ModelError(
            f"{whole} in {name} is of whole numbers ({str(tensors[whole].dtype).removeprefix('torch.')}), as a quantised "
            "network's weights are without their scale; save those of the network before it was quantised."
        )
    weights = OrderedDict((key, tensor) for key, tensor in tensors.items() if key in own)
    # The names are those of today, so that layers which translate old files have nothing to translate.
    weights._metadata = getattr(own, "_metadata", None)  # type: ignore[attr-defined]
    module.load_state_dict(weights, strict=False)


def _is_whole(tensor: torch.Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def _rows(own: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]) -> list[Mismatch]:
    rows = []
    for key, tensor in own.items():
        if key not in tensors:
            if not key.endswith("num_batches_tracked"):
                rows.append(Mismatch(key, "", _shape(tensor)))
        elif tensors[key].shape != tensor.shape:
            rows.append(Mismatch(key, _shape(tensors[key]), _shape(tensor)))
    return rows + [Mismatch(key, _shape(tensor), "") for key, tensor in tensors.items() if key not in own]


def _mismatch(
    module: nn.Module,
    own: Mapping[str, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    rows: list[Mismatch],
    name: str,
    arch: str,
    names: Sequence[str],
    names_from: str,
) -> WeightsMismatch:
    outputs = count_outputs(module, len(names), tensors)
    channels = count_channels(module, tensors)
    head = output_layer(module, len(names)) or ""
    first = first_convolution(module) or ""
    taken = own[f"{first}.weight"].shape[1] if first else 0
    other = {row.name for row in rows}
    table = list(rows)
    if channels is not None and channels != taken:
        table.insert(0, Mismatch("input channels", str(channels), str(taken)))
        other.discard(f"{first}.weight")
    if outputs is not None and outputs != len(names):
        table.insert(0, Mismatch("classes", str(outputs), str(len(names))))
        other -= {f"{head}.weight", f"{head}.bias"}
    if not other:
        if table[0].name == "classes":
            return classes_mismatch(name, outputs, names, names_from, table)
        return WeightsMismatch(
            f"The first layer in {name} takes {channels} channels, not {taken}; leave out the channels.",
            table,
            field="channels",
        )
    remedy, field = _remedy(rows, tensors, head, arch)
    said = f"The weights in {name} do not fit {_short(arch)} ({_counts(rows)}); {remedy}."
    return WeightsMismatch(said, table, field=field)


def classes_mismatch(
    name: str, outputs: int | None, names: Sequence[str], names_from: str, rows: Sequence[Mismatch]
) -> WeightsMismatch:
    """Return the error that a model's outputs are not as many as the class names, with how to mend it."""
    return WeightsMismatch(_classes_sentence(name, outputs, names, names_from), rows, field="class_names")


def _classes_sentence(name: str, outputs: int | None, names: Sequence[str], names_from: str) -> str:
    some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    ours = f"{name} has {outputs} outputs" if outputs != 1 else f"{name} has 1 output"
    if names_from == "folders":
        return (
            f"{ours} and the dataset has {len(names)} classes ({some}); choose the dataset that the model was trained for, "
            "or name the model's classes in their order."
        )
    given = {"header": "its header names", "sidecar": f"{name}.json names"}.get(names_from, "there are")
    kind = "class names" if given == "there are" else "classes"
    return f"{ours} and {given} {len(names)} {kind} ({some}); name each output, in their order."


def _counts(rows: Sequence[Mismatch]) -> str:
    kinds = {
        "missing": [row.name for row in rows if not row.found],
        "not expected": [row.name for row in rows if not row.expected],
        "of another shape": [
            f"{row.name} {row.found} instead of {row.expected}" for row in rows if row.found and row.expected
        ],
    }
    return "; ".join(f"{len(found)} {kind}, first {found[0]}" for kind, found in kinds.items() if found)


def _remedy(rows: Sequence[Mismatch], tensors: Mapping[str, torch.Tensor], head: str, arch: str) -> tuple[str, str]:
    """Return what to do, and the setting that it is done with."""
    top = head.partition(".")[0]
    if head and all(row.name.partition(".")[0] == top for row in rows):
        return f"its last layer was replaced, so name {_GIVE_FACTORY}", "arch"
    positions = [row for row in rows if row.name.endswith(("pos_embedding", "pos_embed"))]
    if len(positions) == len(rows):
        return "it was trained for images of another size; leave out the size", "size"
    found = guess_architecture(tensors)
    if found is not None and found != arch:
        return f"they fit {found}, which you can name", "arch"
    if Architecture.of(arch).runs_code:
        return "let the function build the network that they were trained with", "arch"
    return f"name the architecture that they were trained with, or {_GIVE_FACTORY}", "arch"


def _short(arch: str) -> str:
    return arch.replace("\\", "/").rpartition("/")[2]


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "one number"
