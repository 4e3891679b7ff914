"""Loading a classifier, whatever it is (a file, a saved program, torchvision's weights), alone or with its dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_cam_feedback.data import Dataset, open_dataset
from napari_cam_feedback.errors import ConfigError, DataError, ModelError, SharedLayer
from napari_cam_feedback.model_names import Architecture
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.devices import pick_device
from napari_cam_feedback.models.files.guess import guess_architecture
from napari_cam_feedback.models.files.mismatch import count_channels, count_outputs, fill
from napari_cam_feedback.models.files.one_output import two_outputs
from napari_cam_feedback.models.files.pretrained import Pretrained, find_pretrained, read_pretrained
from napari_cam_feedback.models.files.sidecar import read_sidecar, sidecar_of
from napari_cam_feedback.models.files.statedict import MODEL_SUFFIXES, align, is_program, read_state_dict
from napari_cam_feedback.models.files.storage import read_header
from napari_cam_feedback.models.files.trial import try_network
from napari_cam_feedback.models.layers.target import choose_layer
from napari_cam_feedback.models.networks.architectures import build_module, resolve, skeleton
from napari_cam_feedback.models.networks.exported import program_info
from napari_cam_feedback.models.networks.presets import choose_preprocessing, trained_size
from napari_cam_feedback.models.options import ModelOptions, make_options
from napari_cam_feedback.torch_loader import torch

# Stands for a number of classes that is not known yet, so that the head is known by its shape.
_ANY_COUNT = 1009


def load_classifier(
    model: str | os.PathLike[str], options: ModelOptions | None = None, *, device: str = "auto", **settings: Any
) -> Classifier:
    """Load a classifier: a file of ours, any state dict whose architecture is named, a saved program, or torchvision's own.

    Parameters
    ----------
    model : path or str
        A ``.safetensors`` file; ``.pt``, ``.pth``, ``.th``, ``.ckpt``, ``.bin`` or ``.pth.tar`` (read with
        ``weights_only=True``: no code of it runs); ``.pt2`` (runs its code, if `options` say that it may); or
        ``torchvision:NAME`` for torchvision's pretrained weights, ``efficientnet-lite0`` for those of an installed package.
        One output for two classes becomes two (`one_output.two_outputs`).
    options : ModelOptions, optional
        What the file does not say, or is to be other than it says. Where neither says it, the preprocessing is the one that
        the network was made for (`presets.preset`).
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    **settings
        Single fields of `ModelOptions`, which go before those in `options`.

    Raises
    ------
    ModelError
        The file cannot be read, does not say enough, or does not fit the architecture (`WeightsMismatch`).
    ConsentNeeded
        Code of the model's would run, or torchvision's weights would be fetched.
    ConfigError
        The device is not there, or an option cannot be used.
    """
    options = make_options(options, **settings)
    return load_named(open_source(model, options), options, device=device)


@dataclass(frozen=True)
class ModelSource:
    """A model as it was named, before it is loaded.

    Attributes
    ----------
    name : str
        For sentences.
    arch : str or None
        The architecture: the user's, the file's, or the file itself where that is a program; files in it are absolute.
    header : dict
        Of a file of ours; else what was written beside the file when it was exported.
    path : Path or None
        The file.
    pretrained : Pretrained or None
        Weights that the name stands for.
    sidecar : Path or None
        The file beside the model's in which the header is.
    """

    name: str
    arch: str | None
    header: dict[str, Any]
    path: Path | None = None
    pretrained: Pretrained | None = None
    sidecar: Path | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names that the model knows; empty where it knows none."""
        return self.pretrained.class_names if self.pretrained else tuple(self.header.get("class_names") or ())

    @property
    def names_from(self) -> str:
        """Where those come from."""
        return "torchvision" if self.pretrained else "sidecar" if self.sidecar else "header"

    @property
    def split_seed(self) -> int | None:
        """Seed of the split that the model was trained on, where that was made by us."""
        training = (self.header.get("info") or {}).get("training")
        return training.get("split_seed") if isinstance(training, dict) else None


def open_source(model: str | os.PathLike[str], options: ModelOptions) -> ModelSource:
    """Find out what a model is, without loading it.

    Raises
    ------
    ModelError
        There is no such file or network, or its header, or what is said beside it, cannot be read.
    ConfigError
        The options are for another kind of model.
    """
    text = str(model)
    if Architecture.of(text).pretrained:
        if options.arch not in (None, text):
            raise ConfigError(
                f"{text} is an architecture itself; leave out another, or give a file of weights.", field="arch"
            )
        found = find_pretrained(text, options.weights)
        return ModelSource(text, text, {}, pretrained=found)
    if options.weights is not None:
        raise ConfigError(
            "Weights are chosen for a model named torchvision:NAME; leave them out with a file.", field="weights"
        )
    path = Path(model).expanduser()
    if not path.is_file():
        raise ModelError(f"There is no model file {path}; check the path.")
    program = is_program(path)
    if not path.name.lower().endswith(MODEL_SUFFIXES):
        raise ModelError(f"{path.name} is no model file that can be read; choose a {', '.join(MODEL_SUFFIXES)} file.")
    if program and options.arch is not None:
        raise ConfigError(f"{path.name} is a saved program and has its architecture inside; leave it out.", field="arch")
    ours = not program and path.suffix.lower() == ".safetensors"
    header = (read_header(path) if ours else read_sidecar(path)) or {}
    sidecar = sidecar_of(path) if header and not ours else None
    if program:
        return ModelSource(path.name, f"export:{path.absolute()}", header, path, sidecar=sidecar)
    arch = options.arch or header.get("arch")
    return ModelSource(path.name, arch and resolve(arch, path), header, path, sidecar=sidecar)


def load_named(
    source: ModelSource, options: ModelOptions, *, device: str = "auto", folders: Sequence[str] = ()
) -> Classifier:
    """Load a model that was found; see `load_classifier`.

    Parameters
    ----------
    source : ModelSource
        Of `open_source`.
    options : ModelOptions
        The same.
    device : str
        Where to put it.
    folders : sequence of str
        Class names of the dataset, for a model that knows none; they count after all others.
    """
    where = pick_device(device)
    tensors = _read(source, options)
    arch = source.arch
    if arch is None:
        found = guess_architecture(tensors)
        hint = f"its weights fit {found}, so name that" if found else "name it, for example torchvision:resnet18"
        raise ModelError(f"{source.name} does not say its architecture; {hint}.", field="arch")
    names = options.class_names or source.class_names or tuple(folders)
    origin = "file" if options.class_names else source.names_from if source.class_names else "folders"
    told = _Told() if names and source.header.get("preprocessing") else _told(arch, tensors)
    if not names:
        raise ModelError(
            f"{source.name} does not say its class names{f' (it has {told.outputs} outputs)' if told.outputs else ''}; "
            "give them in a file, one a line.",
            field="class_names",
        )
    if len(names) == 1 and (told.outputs or len(source.class_names) or 1) == 1:
        names = (f"not {names[0]}", names[0])
    if len(names) == 1:
        outputs = told.outputs or len(source.class_names)
        raise ModelError(
            f"{source.name} has {outputs} outputs and one was named ({names[0]}); give its class names in a file, one a "
            "line.",
            field="class_names",
        )
    if told.channels not in (None, 1, 3):
        raise ModelError(f"{source.name} takes images of {told.channels} channels; only gray and RGB images can be shown.")
    preprocessing = choose_preprocessing(
        source.name,
        arch,
        source.pretrained.preprocessing if source.pretrained else source.header.get("preprocessing"),
        options,
        channels=told.channels,
        size=told.size,
    )
    one = False
    if len(names) == 2 and not (source.header.get("arch") and source.sidecar is None):
        given = arch, tensors
        arch, tensors = two_outputs(
            arch, tensors, told.outputs, preprocessing.channels, preprocessing.size, trust=options.trust
        )
        one = arch != given[0] or tensors is not given[1]
    module = build_module(arch, len(names), preprocessing.channels, preprocessing.size, trust=options.trust)
    if tensors:
        fill(module, tensors, source.name, arch, names, origin)
    try_network(module, preprocessing, source.name, arch, names, origin)
    if options.layer and options.layer not in (layers := dict(module.named_modules())):
        # As the user knows it, without what was put around the network.
        wrapped = f"network.{options.layer}"
        options = options.model_copy(update={"layer": wrapped}) if wrapped in layers else options
    target = options.layer or source.header.get("target_layer")
    grid = options.grid or (None if options.layer else source.header.get("grid"))
    if source.sidecar and not options.layer and target not in dict(module.named_modules()):
        # A saved program need not have all layers of the network that was exported.
        target = grid = None
    grid = tuple(grid) if grid else None
    try:
        layer = choose_layer(module, preprocessing.channels, preprocessing.size, layer=target, grid=grid)
    except SharedLayer:
        # The file's own, as earlier versions chose it; which is taken instead is said by whoever shows the target layer.
        if options.layer:
            raise
        layer = choose_layer(module, preprocessing.channels, preprocessing.size)
    info = dict(source.header.get("info") or {})
    if options.class_names or "class_names_from" not in info:
        info["class_names_from"] = origin
    if one:
        info["one_output"] = True
    if source.pretrained:
        info["pretrained"] = source.pretrained.weights
    return Classifier(module, tuple(names), preprocessing, layer.name, arch, info, grid).to(where)


def _read(source: ModelSource, options: ModelOptions) -> dict[str, torch.Tensor]:
    """Return the weights of a model; none for a program, which holds its own."""
    if source.pretrained is not None:
        return read_pretrained(source.pretrained, download=options.download)
    assert source.path is not None
    return {} if is_program(source.path) else read_state_dict(source.path)


@dataclass(frozen=True)
class _Told:
    """What weights, or an exported program, tell of input and output; None: they do not."""

    outputs: int | None = None
    channels: int | None = None
    size: tuple[int, int] | None = None


def _told(arch: str, tensors: Mapping[str, torch.Tensor]) -> _Told:
    named = Architecture.of(arch)
    if named.origin == "export" and named.file is not None:
        info = program_info(named.file)
        if info is None:
            return _Told()
        if info.input_size is None:
            return _Told(info.outputs)
        channels, height, width = info.input_size
        return _Told(info.outputs, channels, (height, width))
    plain = skeleton(arch, _ANY_COUNT)
    if plain is None:
        return _Told(channels=_guess_channels(tensors))
    aligned = align(tensors, plain.state_dict())
    return _Told(
        count_outputs(plain, _ANY_COUNT, aligned),
        count_channels(plain, aligned) or _guess_channels(tensors),
        trained_size(plain, aligned),
    )


def _guess_channels(tensors: Mapping[str, torch.Tensor]) -> int | None:
    """Return how many channels the image has where the architecture does not tell which convolution is the first.

    Kernels for 3 channels are the first convolution's. Those for 1 may be the first one's or those of convolutions of each
    channel by itself, of which there are several. None: it is not clear.
    """
    taken = [int(t.shape[1]) for t in tensors.values() if t.ndim == 4]
    if 3 in taken:
        return 3
    return 1 if taken.count(1) == 1 else None


def open_pair(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    options: ModelOptions | None = None,
    *,
    device: str = "auto",
    seed: int = 0,
) -> tuple[Classifier, Dataset]:
    """Open a model and a dataset.

    The class names are those that the user gives; else those of the model's file, or torchvision's categories; else the
    dataset's own, in its order, which for folders is the alphabet's. ``classifier.info["class_names_from"]`` says which:
    ``file``, ``header``, ``sidecar`` (what lies beside an exported file), ``torchvision`` or ``folders``.

    Parameters
    ----------
    model : path or str
        As `load_classifier` takes it.
    data : path
        As `open_dataset` takes it.
    options : ModelOptions, optional
        What the model's file does not say.
    device : str
        Where to compute.
    seed : int
        Seeds the split of a dataset that has none, unless the model was trained on such a split: then that is made again,
        or the model would be judged by images that it learnt from.

    Raises
    ------
    ModelError, ConsentNeeded, ConfigError
        As `load_classifier`.
    DataError
        The dataset cannot be opened, or has classes that the model does not know.
    """
    options = make_options(options)
    data = Path(data).expanduser()
    if not data.exists():
        raise DataError(f"{data} does not exist; check the path.")
    source = open_source(model, options)
    if source.split_seed is not None:
        seed = source.split_seed
    names = options.class_names or source.class_names
    if options.class_names and len(options.class_names) == 1:
        names = _two_names(options.class_names[0], data, seed)
        options = options.model_copy(update={"class_names": names})
    if names:
        # The model first: what is wrong with it is said before a large folder is read.
        classifier = load_named(source, options, device=device)
        return classifier, open_dataset(data, seed=seed, class_names=names)
    dataset = open_dataset(data, seed=seed)
    if not dataset.class_names:
        raise DataError(
            f"Neither {source.name} nor {data} names classes; give them in a file, one a line.", field="class_names"
        )
    return load_named(source, options, device=device, folders=dataset.class_names), dataset


def _two_names(second: str, data: Path, seed: int) -> tuple[str, str]:
    """Return the classes of a network of one output, of which the user named the one that it stands for."""
    found = open_dataset(data, seed=seed).class_names
    others = [name for name in found if name != second]
    if second not in found or len(others) != 1:
        raise DataError(
            f"One class was named ({second}), and {data} has the classes {', '.join(found[:8])}; give all class "
            "names of the model in the order of its outputs, one a line.",
            field="class_names",
        )
    return others[0], second
