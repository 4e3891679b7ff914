"""What the shell calls settings: the options of the command that was given."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

#: Options by the settings of the API that they are for, where they are called otherwise.
_OTHER_NAMES = {"class_names": "classes", "choices": "choose"}
#: What is set by a command of its own.
_COMMANDS = {"images": "napari-cam-feedback project images FOLDER NEW_PLACE"}
#: Names of an order of classes that are written out.
_MAX_NAMES = 30


class OptionNames:
    """Calls settings by a command's options; those that the command does not have are not named.

    Parameters
    ----------
    command : click command, optional
        By default none, whose options are those that models have in every command.
    """

    def __init__(self, command: Any = None) -> None:
        self._options = {
            each.name: "/".join((*each.opts[:1], *each.secondary_opts[:1]))
            for each in getattr(command, "params", ())
            if each.param_type_name == "option"
        }

    def name(self, field: str) -> str | None:
        """Return an option, as ``--mean``, or the command that sets what a setting is about."""
        return _COMMANDS.get(field) or self._options.get(_OTHER_NAMES.get(field, field))

    def assign(self, settings: Mapping[str, Any]) -> str:
        """Write settings as options, as ``--mean 0.5,0.5,0.5 --size 224 224 --crop``."""
        return " ".join(_assigned(name, value) for name, value in settings.items())


def _assigned(name: str, value: Any) -> str:
    option = f"--{name.replace('_', '-')}"
    if name == "class_names":
        return f"name them with --classes FILE in the order {', '.join(value[:_MAX_NAMES])}" + (
            ", …" if len(value) > _MAX_NAMES else ""
        )
    if isinstance(value, bool):
        return option if value else f"--no-{name}"
    if isinstance(value, tuple):
        # Channels are as many as they are, so that they are one word; sizes and ranges are two words.
        value = ("," if name in ("mean", "std") else " ").join(f"{part:g}" for part in value)
    return f"{option} {value}"


_given: OptionNames = OptionNames()


def naming() -> OptionNames:
    """Return the names of the command that is running, or that failed."""
    return _given


def remember(command: Any, arguments: Sequence[str] | None) -> None:
    """Find the command that these arguments give, for `naming`.

    Parameters
    ----------
    command : click group
        The program.
    arguments : sequence of str or None
        Those after the program's name; None: of this process.
    """
    global _given
    for word in sys.argv[1:] if arguments is None else arguments:
        inner = getattr(command, "commands", {}).get(word)
        if inner is None:
            break
        command = inner
    _given = OptionNames(command)
