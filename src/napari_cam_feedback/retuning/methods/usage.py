"""What a run's settings ask of the methods that it names."""

from __future__ import annotations

from typing import Any

from napari_cam_feedback.retuning.config import RetuneConfig
from napari_cam_feedback.retuning.methods import AUTO_SURROUNDINGS, METHODS, method_parts


def needs_inpainting(config: RetuneConfig) -> bool:
    """Tell whether the painted images must be inpainted before the first step."""
    return config.fill == "inpaint" or any(METHODS[part].needs_inpainting for part in method_parts(config.method))


def unused_remark(config: RetuneConfig) -> str | None:
    """Say in a sentence which settings, other than by default, the method makes no use of; None where there is none.

    Raises
    ------
    ConfigError
        There is no such method.
    """
    parts = {*method_parts(config.method), *(AUTO_SURROUNDINGS if config.method == "auto" else ())}
    values = dict(config)
    unused = []
    for name, field in RetuneConfig.model_fields.items():
        said = field.json_schema_extra
        if not isinstance(said, dict) or "methods" not in said or values[name] == field.default:
            continue
        uses: Any = said  # as `config._used_by` made it
        if not parts.intersection(uses["methods"]) and not any(values[n] == v for n, v in uses["with"].items()):
            unused.append(name)
            # Neither is then used what is used with it.
            values[name] = field.default
    if not unused:
        return None
    *others, last = unused
    return f"The method {config.method} does not use {', '.join(others)}{' and ' if others else ''}{last}."
