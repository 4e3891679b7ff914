"""Settings of a retune, with what a form or a help text needs to say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_cam_feedback.errors import ConfigError, not_a_list

FillName = Literal["mean", "surround", "shuffle", "noise", "inpaint", "crop", "donor"]


def _used_by(*methods: str, file: str = "", begin: int | None = None, **settings: object) -> dict[str, Any]:
    """What a form reads: methods that use a field, or a setting with which any does; a filter of files; a first number."""
    said: dict[str, Any] = {"methods": list(methods), "with": settings}
    if file:
        said["file"] = file
    return said if begin is None else said | {"begin": begin}


class RetuneConfig(BaseModel):
    """How to retune; the defaults are what we recommend."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(
        "auto", title="Method", description="auto (our best), or one or more methods joined by +, as actdiff+transplant."
    )
    iterations: int | None = Field(
        None,
        ge=1,
        le=100_000,
        title="Iterations",
        description="Training steps, all of which are taken; auto: until the checks no longer get better.",
        json_schema_extra={"begin": 100},
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        title="Learning rate",
        description="Of Adam; auto: found by a few steps at each of several. Larger forgets more, or destroys the network.",
        json_schema_extra={"begin": 1e-4},
    )
    strength: float | None = Field(
        None,
        gt=0,
        title="Strength",
        description="Weight of the penalty; auto: chosen by itself, and lowered when the model gets worse.",
    )
    batch_size: int | None = Field(
        None,
        ge=2,
        le=1024,
        title="Training images a step",
        description="Images that keep the model accurate; auto: 64, 32 for inputs over 48 pixels, 16 over 96.",
        json_schema_extra={"begin": 32},
    )
    painted_per_step: int | None = Field(
        None,
        ge=1,
        le=256,
        title="Painted images a step",
        description="Images with a mask in each step; auto: a quarter of the training images.",
        json_schema_extra={"begin": 8},
    )
    fill: FillName = Field(
        "surround",
        title="Refill",
        description="What replaces the painted part where a method refills it; donor is the painted patch of another class.",
        json_schema_extra=_used_by("actdiff", "counterexample"),
    )
    inpainter: str | None = Field(
        None,
        title="Inpainter",
        description="A .pt2 file or FILE.py:FUNCTION (images, masks -> images) that refills instead of inpaint.",
        json_schema_extra=_used_by("inpaint", file="Exported programs (*.pt2);;All files (*)", fill="inpaint"),
    )
    transplant_share: float | None = Field(
        None,
        gt=0,
        le=1,
        title="Transplanted share",
        description="Share of the training images that get the painted patch of another image, in transplant; auto: all, "
        "half of them where the training images show few of the classes.",
        json_schema_extra=_used_by("transplant", "head", begin=1),
    )
    pasa_base: float = Field(
        0.4,
        gt=0,
        le=100,
        title="PASA base B",
        description="Above 1 the penalty rises as the model gets surer.",
        json_schema_extra=_used_by("pasa"),
    )
    pasa_threshold: float = Field(
        0.7,
        gt=0,
        le=100,
        title="PASA threshold th",
        description="Scales the probability of the true class in PASA.",
        json_schema_extra=_used_by("pasa"),
    )
    pasa_detach: bool = Field(
        False,
        title="PASA: fixed probability",
        description="Do not let PASA change the probability of the true class.",
        json_schema_extra=_used_by("pasa"),
    )
    misclassified_share: float = Field(
        0.7,
        gt=0,
        le=1,
        title="Misclassified share",
        description="In misclassified: share of the training images that the model got wrong at the start.",
        json_schema_extra=_used_by("misclassified"),
    )
    dropout_filters: int | None = Field(
        None,
        ge=1,
        title="Dropped filters",
        description="In dropout: filters set to zero, those most active under the mask; auto: a tenth of them.",
        json_schema_extra=_used_by("dropout", begin=8),
    )
    augment: bool = Field(
        False, title="Augment", description="Turn, shift, zoom and brighten images a little, each with its mask."
    )
    mirror: bool = Field(
        False,
        title="Mirror too",
        description="Where images are augmented, also left to right; not for letters, or organs that have a side.",
        json_schema_extra=_used_by("augment", augment=True),
    )
    freeze: tuple[str, ...] = Field(
        (),
        title="Frozen parts",
        description="Dotted names of parts of the network that keep their weights, as layer1 or features.0.",
    )
    freeze_batch_norm: bool | None = Field(
        None,
        title="Freeze batch norm",
        description="Keep the statistics of batch norm as they were trained; auto: for pas, pasa, tap, rrr, small batches.",
    )
    distillation: bool | None = Field(
        None,
        title="Keep given answers",
        description="Where the given model is right, its logits are the target, not the label; auto: for large networks "
        "and where training images lack some classes, in the method auto.",
    )
    check_every: int | None = Field(
        None,
        ge=1,
        le=10_000,
        title="Check every",
        description="Steps between two checks on the validation images; auto: 15, 12 for inputs over 96 pixels.",
        json_schema_extra={"begin": 15},
    )
    patience: int | None = Field(
        None,
        ge=1,
        le=1000,
        title="Patience",
        description="Checks without a gain after which the run ends; auto: 2, where surroundings are painted 4, "
        "with iterations none.",
        json_schema_extra={"begin": 2},
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, title="Seed", description="The same seed gives the same result on the CPU.")

    @property
    def ends_by_itself(self) -> bool:
        """Whether a run may end before its number of iterations, which then is only the most there can be."""
        # The method head makes one solution after another, and knows how many.
        return self.method != "head" and (self.iterations is None or self.patience is not None)


#: Key of a run's ``config.json`` under which stands what the run made of the settings left open; it is no setting.
RESOLVED = "resolved"


def settings_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings alone of what a run's ``config.json`` holds."""
    return {name: value for name, value in content.items() if name != RESOLVED}


def make_config(values: dict[str, object]) -> RetuneConfig:
    """Check settings given by name.

    Raises
    ------
    ConfigError
        A name is unknown or a value cannot be used; the first such is named.
    """
    try:
        return RetuneConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(RetuneConfig.model_fields)
            raise ConfigError(f"There is no setting {name!r}; known are {known}.") from error
        if first["type"] == "tuple_type":
            raise not_a_list(name, first["input"]) from error
        said = f"The setting {name} cannot be {first['input']!r}: {first['msg'].lower()}."
        raise ConfigError(said, field=name) from error
