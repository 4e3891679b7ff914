"""All that a training depends on besides the images: what is kept as ``config.json``, and what repeats it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.files import read_json
from napari_cam_feedback.models.options import ModelOptions, make_options
from napari_cam_feedback.training.config import TrainConfig, make_train_config

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
