"""What a form calls settings: by the titles of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What is said in a window in place of a value.
_WORDS = {("crop", True): "the centre cut out", ("crop", False): "stretched"}
#: Names of an order of classes that are written out.
_MAX_NAMES = 30


class TitleNames:
    """Calls settings by the titles of a form's fields; those without a field are not named.

    Parameters
    ----------
    titles : mapping of str to str
        By the settings' names in the API.
    """

    def __init__(self, titles: Mapping[str, str]) -> None:
        self._titles = titles

    def name(self, field: str) -> str | None:
        """Return a field's title in quotation marks."""
        return f"“{self._titles[field]}”" if field in self._titles else None

    def assign(self, settings: Mapping[str, Any]) -> str:
        """Say what fields are to be set to, as ``set “Mean” to 0.5 0.5 0.5``."""
        return "set " + " and ".join(
            f"{self.name(field) or field} to {_in_words(field, value)}" for field, value in settings.items()
        )


def _in_words(field: str, value: Any) -> str:
    if field == "class_names":
        more = ", …" if len(value) > _MAX_NAMES else ""
        return f"a file with the names in the order {', '.join(value[:_MAX_NAMES])}{more}"
    if field == "channel_order":
        return str(value).upper()
    if isinstance(value, tuple):
        return ("x" if field == "size" else " ").join(f"{part:g}" for part in value)
    return _WORDS.get((field, value), str(value))
