"""What a user says about a model whose file does not say it."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_cam_feedback.errors import ConfigError

Positive = Annotated[int, Field(ge=1)]


class ModelOptions(BaseModel):
    """What is not known from the model's file, or is to be other than the file says. None: as the file says.

    Attributes
    ----------
    arch : str or None
        Architecture: ``small-gap``, ``residual-vgg``, ``torchvision:NAME``, ``timm:NAME``, ``efficientnet-lite0`` (to
        ``4``) or ``file.py:factory``. Where nothing else says it, the preprocessing is that of the network's own weights,
        with which networks that were fine-tuned are mostly used too.
    weights : str or None
        For a model named ``torchvision:NAME`` instead of a file: which of torchvision's weights, by default its best.
    class_names : tuple of str or None
        The classes, in the order of the model's outputs.
    size : tuple of int or None
        The input's (height, width) in pixels. Without `crop` or `resize_to`, the image is stretched to it, unless the
        model's file says that it is cropped.
    crop : bool or None
        Scale the shorter side to `resize_to` pixels and cut out the centre, instead of stretching the image.
    resize_to : int or None
        The shorter side before the cut; it means `crop`.
    interpolation : str or None
        ``bilinear`` or ``bicubic``.
    channels : int or None
        1 (gray) or 3. Means and deviations that are known for the other number only are averaged or repeated.
    channel_order : str or None
        ``rgb`` or ``bgr``.
    mean, std : tuple of float or None
        Subtracted from and divided into each channel, in units of the value range (0 to 1). torchvision's GoogLeNet and
        Inception take 0.5 (so -1 to 1), which is what they make themselves of images that are normalised for ImageNet.
    value_range : tuple of float or None
        The pixel values that become 0 and 1.
    layer : str or None
        Target layer, by dotted name: one with maps or tokens, or one with features (N, F), which gives no heatmaps.
    grid : tuple of int or None
        (rows, columns) of the tokens of a target layer that puts out tokens, as vision transformers' do.
    trust : bool
        The user agrees that code of the model's (a .py, a .pt2) runs.
    download : bool
        The user agrees that torchvision's weights are fetched where they are not on this machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch: str | None = None
    weights: str | None = None
    class_names: tuple[str, ...] | None = None
    size: tuple[Positive, Positive] | None = None
    crop: bool | None = None
    resize_to: Positive | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    channels: Literal[1, 3] | None = None
    channel_order: Literal["rgb", "bgr"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    value_range: tuple[float, float] | None = None
    layer: str | None = None
    grid: tuple[Positive, Positive] | None = None
    trust: bool = False
    download: bool = False

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The fields of `Preprocessing` that were given."""
        fields = ("size", "crop", "resize_to", "interpolation", "channels", "channel_order", "mean", "std", "value_range")
        return {name: getattr(self, name) for name in fields if getattr(self, name) is not None}


def make_options(options: ModelOptions | None = None, /, **settings: Any) -> ModelOptions:
    """Return `options` with some of them set anew; a setting that is None changes nothing.

    Raises
    ------
    ConfigError
        There is no such option, or the value cannot be used.
    """
    values = dict(options) if options is not None else {}
    values |= {name: value for name, value in settings.items() if value is not None}
    try:
        return ModelOptions.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, ModelOptions.model_fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(ModelOptions.model_fields)}."
            raise ConfigError(f"Models have no option {name!r}; {hint}") from error
        said = f"The option {name} of a model cannot be {values[name]!r}: {first['msg'].lower()}."
        raise ConfigError(said, field=name) from error
