"""The options that several commands share, and how a command takes all those that describe a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.files import parse_json

if TYPE_CHECKING:
    from napari_cam_feedback.models.options import ModelOptions

ARCHS = "small-gap, residual-vgg, torchvision:NAME, timm:NAME, efficientnet-lite0 (to 4), or FILE.py:FUNCTION with --trust."
PANEL = "The model, where its file does not say it"

Model = Annotated[
    str,
    typer.Argument(
        help="Model: a .safetensors of ours; with --arch any .safetensors, .pt, .pth, .ckpt, .bin or .pth.tar; a .pt2 file "
        "with --trust; torchvision:NAME; or efficientnet-lite0.",
        show_default=False,
    ),
]
Data = Annotated[
    Path,
    typer.Argument(
        help="Dataset: a folder of class folders, with or without train, val and test above them, of .npy files or of "
        "CIFAR-10's batches; a .csv (path,label,split), an .npz, or a TIFF stack.",
        show_default=False,
    ),
]
Masks = Annotated[
    Path | None,
    typer.Option(help="Folder of irrelevance masks, <key>.png; by default the masks that the dataset brings along."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
All = Annotated[bool, typer.Option("--all", help="Measure all images, and refill all masked ones, however long it takes.")]
Full = Annotated[bool, typer.Option("--full", help="Print all numbers, not only those that decide.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
SHARED = "Several processes"
Devices = Annotated[int, typer.Option(min=1, help="Processes on this machine, each with a device.", rich_help_panel=SHARED)]
Nodes = Annotated[int, typer.Option(min=1, help="Machines; the same command is started on each.", rich_help_panel=SHARED)]
Strategy = Annotated[str, typer.Option(help="auto or ddp.", rich_help_panel=SHARED)]
Precision = Annotated[str, typer.Option(help="32-true, bf16-mixed or 16-mixed.", rich_help_panel=SHARED)]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the result as JSON to this file.", show_default=False)]


def _about(*names: str, shown: str, text: str) -> Any:
    return typer.Option(*names, help=text, metavar=shown or None, show_default=False)


def model_options(
    *,
    arch: Annotated[str | None, _about(shown="ARCH", text=ARCHS)] = None,
    weights: Annotated[
        str | None, _about(shown="NAME", text="For torchvision:NAME, which of torchvision's weights; by default its best.")
    ] = None,
    classes: Annotated[
        Path | None,
        _about(
            shown="FILE",
            text="Class names in the order of the outputs: text, one a line; JSON; or CSV. By default the dataset's.",
        ),
    ] = None,
    size: Annotated[tuple[int, int] | None, _about(shown="H W", text="Height and width of the input, in pixels.")] = None,
    crop: Annotated[
        bool | None,
        _about(
            "--crop/--no-crop",
            shown="",
            text="Scale the shorter side and cut out the centre, instead of stretching the whole image.",
        ),
    ] = None,
    resize_to: Annotated[
        int | None, _about(shown="N", text="With --crop: pixels of the shorter side before the cut.")
    ] = None,
    interpolation: Annotated[str | None, _about(shown="KIND", text="bilinear or bicubic.")] = None,
    channels: Annotated[int | None, _about(shown="N", text="1 (gray) or 3.")] = None,
    channel_order: Annotated[str | None, _about(shown="ORDER", text="rgb or bgr.")] = None,
    mean: Annotated[str | None, _about(shown="A,B,C", text="Mean of each channel, as 0.485,0.456,0.406.")] = None,
    std: Annotated[str | None, _about(shown="A,B,C", text="Standard deviation of each channel.")] = None,
    value_range: Annotated[
        tuple[float, float] | None, _about(shown="LOW HIGH", text="Pixel values that become 0 and 1.")
    ] = None,
    layer: Annotated[str | None, _about(shown="NAME", text="Target layer, by dotted name.")] = None,
    grid: Annotated[
        tuple[int, int] | None,
        _about(shown="ROWS COLS", text="How the tokens of the target layer lie, where it puts out tokens."),
    ] = None,
    trust: Annotated[bool, _about("--trust", shown="", text="Run the model's own code: a .py or .pt2 file.")] = False,
    download: Annotated[
        bool, _about("--download", shown="", text="Fetch torchvision's weights where they are not on this machine.")
    ] = False,
) -> ModelOptions:
    """Return what the user said about the model; the parameters are the options of the shell.

    Raises
    ------
    ConfigError, FeedbackError
        A value, or the file of class names, cannot be used.
    """
    from napari_cam_feedback.models.options import make_options

    names = None
    if classes is not None:
        from napari_cam_feedback.models.files.class_names import read_class_names

        names = read_class_names(classes)
    return make_options(
        arch=arch,
        weights=weights,
        class_names=names,
        size=size,
        crop=crop,
        resize_to=resize_to,
        interpolation=interpolation,
        channels=channels,
        channel_order=channel_order,
        mean=_numbers(mean, "--mean"),
        std=_numbers(std, "--std"),
        value_range=value_range,
        layer=layer,
        grid=grid,
        trust=trust,
        download=download,
    )


def takes_model_options(
    *, without: Sequence[str] = (), panel: str = PANEL
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the parameters of `model_options` in place of its parameter ``options``.

    Parameters
    ----------
    without : sequence of str
        Those that this command has no use for.
    panel : str
        The heading in the help under which the options stand.
    """
    shared = {
        name: parameter.replace(annotation=_under(panel, hint))
        for name, parameter, hint in _parameters(model_options)
        if name not in without
    }

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            p.replace(annotation=hint, kind=p.KEYWORD_ONLY) for name, p, hint in _parameters(function) if name != "options"
        ]

        def command(**values: Any) -> None:
            said = {name: values.pop(name) for name in shared}
            function(**values, options=model_options(**said))

        return _as_command(command, function, [*own, *shared.values()])

    return decorate


class Commands(typer.Typer):
    """A group of commands. All take ``--seed`` and ``--device``, as the others do: scripts may give them everywhere.

    Where a command draws and computes nothing, they change nothing, and its help does not mention them.
    """

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Return a decorator that adds a function as a command."""
        add = super().command(name, **options)
        return lambda function: add(_with_common(function))


def _with_common(function: Callable[..., None]) -> Callable[..., None]:
    if hasattr(function, "__signature__"):  # made here
        own = dict(function.__signature__.parameters)
    else:
        own = {name: p.replace(annotation=hint, kind=p.KEYWORD_ONLY) for name, p, hint in _parameters(function)}
    common = {"seed": (int, 0), "device": (str, "auto")}
    missing = {
        name: inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, typer.Option(hidden=True)]
        )
        for name, (kind, default) in common.items()
        if name not in own
    }

    def command(**values: Any) -> None:
        function(**{name: value for name, value in values.items() if name not in missing})

    return _as_command(command, function, [*own.values(), *missing.values()])


def _as_command(
    command: Callable[..., None], function: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    command.__name__, command.__doc__, command.__module__ = function.__name__, function.__doc__, function.__module__
    # Typer reads the options off the signature; the function's own annotations name types that it does not know.
    command.__annotations__ = {}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _parameters(function: Callable[..., Any]) -> list[tuple[str, inspect.Parameter, Any]]:
    # `ModelOptions` is not imported here, since torch would come with it and make the help slow.
    hints = get_type_hints(function, localns={"ModelOptions": object}, include_extras=True)
    return [(name, p, hints[name]) for name, p in inspect.signature(function).parameters.items()]


def _under(panel: str, hint: Any) -> Any:
    kind, option = get_args(hint)
    option = copy(option)
    option.rich_help_panel = panel
    return Annotated[kind, option]


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.replace(" ", ",").split(",") if part)
    except ValueError:
        raise ConfigError(f"{option} must be numbers joined by commas, as 0.485,0.456,0.406, not {text!r}.") from None


def read_settings(settings: Iterable[str], example: str = "weight_decay=0.01") -> dict[str, Any]:
    """Return the settings by name; a value is JSON where it can be read as such, else text.

    Raises
    ------
    ConfigError
        One has no equals sign.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, sign, text = setting.partition("=")
        if not sign:
            raise ConfigError(f"--set needs key=value, as {example}, not {setting!r}.")
        try:
            values[name.strip()] = parse_json(text)
        except ValueError:
            values[name.strip()] = text
    return values
