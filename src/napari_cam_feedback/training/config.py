"""Settings of a training, the phases that they come to, and all that repeats it (``config.json``)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_cam_feedback.errors import ConfigError, not_a_list
from napari_cam_feedback.files import read_json
from napari_cam_feedback.models.options import ModelOptions, make_options

PhaseName = Literal["all", "head", "fine-tune"]
#: Epochs in which a new head learns alone where nobody said how many.
HEAD_EPOCHS = 5
#: What a form reads of the settings that matter to a training from another model's weights only.
_TRANSFER: dict[str, Any] = {"transfer": True}


class TrainConfig(BaseModel):
    """Settings of a training; those of the head and of fine-tuning are for a start from another model's weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(
        20,
        ge=0,
        le=10_000,
        title="Epochs",
        description="Passes over the training images in which the whole network learns; from a model 0 trains a head only.",
    )
    head_epochs: int | None = Field(
        None,
        ge=0,
        le=10_000,
        title="Head epochs",
        description=f"Passes before those, in which only the new head learns; auto: {HEAD_EPOCHS} from a model, else 0.",
        json_schema_extra={**_TRANSFER, "begin": HEAD_EPOCHS},
    )
    batch_size: int = Field(64, ge=2, le=4096, title="Batch size", description="Images a step.")
    learning_rate: float = Field(
        1e-3,
        gt=0,
        le=1,
        title="Learning rate",
        description="Adam's largest step; it falls to zero along a cosine, in each phase.",
    )
    fine_tune_factor: float = Field(
        0.1,
        gt=0,
        le=1,
        title="Fine-tuning factor",
        description="Learning rate of the whole network as a share of the head's.",
        json_schema_extra=_TRANSFER,
    )
    weight_decay: float = Field(1e-4, ge=0, le=1, title="Weight decay", description="AdamW's decay of the weights.")
    patience: int = Field(
        0,
        ge=0,
        le=10_000,
        title="Patience",
        description="End a phase when neither accuracy nor loss on the validation images got better for so many epochs; "
        "0: never. The best epoch is kept in any case.",
    )
    augment: bool = Field(
        False, title="Augment", description="Turn, shift, zoom and brighten the training images a little, anew each epoch."
    )
    mirror: bool = Field(
        False,
        title="Mirror too",
        description="Where images are augmented, also left to right; not for letters, or organs that have a side.",
    )
    freeze: tuple[str, ...] = Field(
        (),
        title="Frozen parts",
        description="Dotted names of parts of the network that keep their weights throughout, as layer1 or features.0.",
        json_schema_extra=_TRANSFER,
    )
    freeze_batch_norm: bool | None = Field(
        None,
        title="Freeze batch norm",
        description="Keep the statistics of batch norm as they are; auto: from a model yes, from random weights no.",
        json_schema_extra=_TRANSFER,
    )
    val_share: float = Field(
        0.2,
        ge=0,
        le=0.5,
        title="Validation share",
        description="Share of the training images of each class that is kept for validation where there is no split val.",
    )
    seed: int = Field(
        0, ge=0, le=2**31 - 1, title="Seed", description="Of new weights, of the order of the images, and of splits we make."
    )

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if not self.epochs and self.head_epochs == 0:
            raise ValueError("there must be an epoch; raise epochs or head_epochs")
        return self

    def phases(self, transfer: bool) -> list[TrainPhase]:
        """Return what is trained, one after the other.

        Parameters
        ----------
        transfer : bool
            Whether the network has a new head on weights that were learnt before.

        Raises
        ------
        ConfigError
            There is no epoch, or there is to be one of a head that is not new.
        """
        if self.head_epochs and not transfer:
            raise ConfigError(
                "Head epochs are for a start from another model's weights; name one, or leave out the head epochs."
            )
        head_epochs = self.head_epochs if self.head_epochs is not None else HEAD_EPOCHS if transfer else 0
        rate = self.learning_rate
        found = [TrainPhase("head", head_epochs, rate)] if head_epochs else []
        if self.epochs:
            found.append(
                TrainPhase("fine-tune", self.epochs, rate * self.fine_tune_factor)
                if transfer
                else TrainPhase("all", self.epochs, rate)
            )
        if not found:
            raise ConfigError("A training from random weights needs at least one epoch; raise the epochs.")
        return found

    def keeps_statistics(self, transfer: bool) -> bool:
        """Tell whether batch norm keeps its statistics while the whole network learns."""
        return transfer if self.freeze_batch_norm is None else self.freeze_batch_norm


@dataclass(frozen=True, slots=True)
class TrainPhase:
    """A part of a training with settings of its own.

    Attributes
    ----------
    name : str
        ``all``: a network from random weights. ``head``: the new head of one that was trained, all else frozen.
        ``fine-tune``: that network as a whole.
    epochs : int
        At most.
    learning_rate : float
        At the start.
    """

    name: PhaseName
    epochs: int
    learning_rate: float


def make_train_config(values: Mapping[str, Any]) -> TrainConfig:
    """Check settings given by name.

    Raises
    ------
    ConfigError
        A name is unknown or a value cannot be used; the first such is named.
    """
    try:
        return TrainConfig.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"There is no setting {name!r}; known are {', '.join(TrainConfig.model_fields)}.") from error
        if not name:
            raise ConfigError(f"The settings cannot be used: {first['msg'].removeprefix('Value error, ')}.") from error
        if first["type"] == "tuple_type":
            raise not_a_list(name, first["input"]) from error
        raise ConfigError(f"The setting {name} cannot be {first['input']!r}: {first['msg'].lower()}.") from error


#: The network that is trained where nobody named one.
DEFAULT_ARCH = "small-gap"
#: Fields of `ModelOptions` that are kept elsewhere, or are consents, which each user gives anew.
_ELSEWHERE = ("arch", "weights", "trust", "download")


class TrainRecipe(BaseModel):
    """Which network is trained, from what weights, and how.

    Attributes
    ----------
    arch : str or None
        Architecture; by default ``small-gap``, or what the weights' file says.
    weights : str or None
        What to start from, as `backbone_source` takes it; None: random weights.
    fingerprint : str or None
        Of the network to start from (`Classifier.fingerprint`), so that another is told from it.
    options : dict
        Further fields of `ModelOptions` that were given.
    training : TrainConfig
        Settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch: str | None = None
    weights: str | None = None
    fingerprint: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    training: TrainConfig = TrainConfig()

    def model_options(self, *, trust: bool = False, download: bool = False) -> ModelOptions:
        """Return what is said about the network; raises ConfigError where that cannot be used."""
        return make_options(None, **self.options, arch=self.arch, trust=trust, download=download)


def make_recipe(
    weights: str | os.PathLike[str] | None = None,
    options: ModelOptions | None = None,
    training: TrainConfig | None = None,
    base: TrainRecipe | None = None,
) -> TrainRecipe:
    """Put a recipe together.

    Parameters
    ----------
    weights : path or str, optional
        What to start from.
    options : ModelOptions, optional
        What is said about the network.
    training : TrainConfig, optional
        Settings.
    base : TrainRecipe, optional
        What holds where the others say nothing; its network is another one if a start or an architecture is given.
    """
    base = base or TrainRecipe()
    options = options or ModelOptions()
    said = {k: v for k, v in options.model_dump(mode="json", exclude_none=True).items() if k not in _ELSEWHERE}
    other = weights is not None or (options.arch is not None and options.arch != base.arch)
    text = None if weights is None else _absolute(weights)
    return TrainRecipe(
        arch=options.arch if other else base.arch,
        weights=text if other else base.weights,
        fingerprint=None if other else base.fingerprint,
        options=said if other else {**base.options, **said},
        training=training or base.training,
    )


def read_recipe(path: str | os.PathLike[str]) -> TrainRecipe:
    """Read a recipe as a record's ``config.json`` has it; a file of settings alone does as well.

    Raises
    ------
    StorageError
        The file cannot be read.
    ConfigError
        It holds something else, or a value that cannot be used.
    """
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} must hold a JSON object of settings, as the config.json of a training does.")
    known = TrainRecipe.model_fields
    if not set(content) & set(known):
        return TrainRecipe(training=make_train_config(content))
    other = [name for name in content if name not in known]
    if other:
        raise ConfigError(f"{path} has {other[0]!r}, which is unknown there; known are {', '.join(known)}.")
    training, options = content.get("training") or {}, content.get("options") or {}
    texts = {name: content.get(name) for name in ("arch", "weights", "fingerprint")}
    bad = next((name for name, value in texts.items() if not isinstance(value, str | None)), None)
    if bad is not None or not isinstance(training, Mapping) or not isinstance(options, Mapping):
        raise ConfigError(f"{path} is no record of a training; {bad or 'training and options'} cannot be what it says.")
    make_options(None, **options)
    return TrainRecipe(**texts, options=dict(options), training=make_train_config(training))


def _absolute(weights: str | os.PathLike[str]) -> str:
    """A file is found again from another folder."""
    path = Path(weights).expanduser()
    return str(path.absolute()) if path.is_file() else str(weights)
