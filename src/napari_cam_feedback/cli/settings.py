"""Settings given one by one in the shell, as ``--set key=value``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.files import parse_json


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
