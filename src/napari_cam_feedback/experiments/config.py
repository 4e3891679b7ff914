"""What an experiment is, read from a TOML file that a user writes."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from napari_cam_feedback.errors import ConfigError, StorageError
from napari_cam_feedback.retuning import RetuneConfig, describe_method, make_config
from napari_cam_feedback.training import TrainConfig

SAMPLE = "sample:"
#: Stands for the seed in the name of a dataset.
SEED = "{seed}"


class Entry(BaseModel):
    """One way of retuning: a row of the table.

    Attributes
    ----------
    name : str
        As in the table; by default the method.
    method : str
        Of `RetuneConfig`.
    settings : dict
        Others of its settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    method: str = "auto"
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the table says."""
        return self.name or self.method

    def retuning(self, seed: int, common: Mapping[str, Any]) -> RetuneConfig:
        """Return the settings of a run; `common` are those of all rows, which this one's own go before."""
        return make_config({**common, **self.settings, "method": self.method, "seed": seed})


class Published(BaseModel):
    """A number that somebody published, shown beside ours.

    Attributes
    ----------
    name, source : str
        What was done, and where it is said.
    before, after : float or None
        Accuracy on the test images, 0..1.
    f1_before, f1_after : float or None
        F1 of the first watched class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    before: float | None = Field(None, ge=0, le=1)
    after: float | None = Field(None, ge=0, le=1)
    f1_before: float | None = Field(None, ge=0, le=1)
    f1_after: float | None = Field(None, ge=0, le=1)


class ExperimentConfig(BaseModel):
    """Data, model, masks, methods and seeds.

    Attributes
    ----------
    title : str
        Heading of the tables.
    data : str or None
        ``sample:NAME``, or a dataset (a relative path is read from where the file of settings lies); None where the
        user names it. ``{seed}`` in it stands for the seed of the run.
    masks : str or None
        Folder of masks; None for those that the dataset brings along.
    model : str or None
        A model file to start from; None to train one for each seed.
    without_shortcut : str or None
        A dataset like `data` whose training images lack the shortcut, or ``sample:NAME``, which is made without it. The
        same network is trained on it, and measured on the test images of `data`: what a retune could reach.
    arch, training
        Network and settings of these trainings.
    painted : tuple of int
        Numbers of painted images.
    seeds : tuple of int
        Each of a sample, weights, choice of masks and retune.
    watched : tuple of str
        Classes whose F1 is told too.
    settings : dict
        Settings of `RetuneConfig` that all methods share.
    methods : tuple of Entry
        The rows; a bare name stands for that method with its defaults.
    published : tuple of Published
        What it is compared with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    data: str | None = None
    masks: str | None = None
    model: str | None = None
    without_shortcut: str | None = None
    arch: str = "small-gap"
    training: TrainConfig = TrainConfig()
    painted: tuple[int, ...] = Field((20,), min_length=1)
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    watched: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    methods: tuple[Entry, ...] = Field((Entry(),), min_length=1)
    published: tuple[Published, ...] = ()

    @field_validator("painted")
    @classmethod
    def _positive(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if min(counts) < 1:
            raise ValueError("each number of painted images must be at least 1")
        return counts

    @field_validator("methods", mode="before")
    @classmethod
    def _entries(cls, methods: object) -> object:
        if not isinstance(methods, list | tuple):
            return methods
        return [{"method": each} if isinstance(each, str) else each for each in methods]

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: tuple[Entry, ...]) -> tuple[Entry, ...]:
        titles = [entry.title for entry in methods]
        if len(set(titles)) < len(titles):
            raise ValueError("two methods have one name; give each a name of its own")
        return methods

    @model_validator(mode="after")
    def _usable(self) -> ExperimentConfig:
        # Said before hours of work, not after.
        for entry in self.methods:
            describe_method(entry.method)
            entry.retuning(0, self.settings)
        return self

    @model_validator(mode="after")
    def _comparable(self) -> ExperimentConfig:
        if self.model is not None and self.without_shortcut is not None:
            raise ValueError("a model of your own cannot be trained without the shortcut; leave out without_shortcut")
        return self


def read_experiment(path: str | os.PathLike[str], **changes: Any) -> ExperimentConfig:
    """Read an experiment from a TOML file.

    Parameters
    ----------
    path : path
        The file.
    **changes
        Settings that replace the file's; None leaves it as it is.

    Raises
    ------
    ConfigError
        It is not TOML, a setting is unknown or cannot be used; the first such is named.
    StorageError
        It cannot be read.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    for name in ("data", "masks", "model", "without_shortcut"):
        given = values.get(name)
        if isinstance(given, str) and not given.startswith(SAMPLE):
            values[name] = str(path.parent / given)
    values |= {name: value for name, value in changes.items() if value is not None}
    try:
        return ExperimentConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{path}: there is no setting {where!r}; leave it out.") from error
        if first["type"] == "missing":
            raise ConfigError(f"{path}: the setting {where!r} is missing; add it.") from error
        reason = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise ConfigError(f"{path}: the setting {where} cannot be used: {reason}.") from error
