"""Names that version 0.1.0 used for what is called otherwise now: still read in files, and still understood in Python.

Files keep being read as long as their schema version is known. The Python names go with the next release; each use of one
gives a DeprecationWarning that says what it is called now.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from sys import modules
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Keys of JSON objects and columns of CSV tables, in a run's ``result.json``, ``history.csv`` and ``state.pt``.
KEYS = {
    "misled_accuracy": "conflict_accuracy",
    "misled_flip_rate": "conflict_flip_rate",
    "misled_probability": "conflict_probability",
    "val_misled_accuracy": "val_conflict_accuracy",
    "val_misled_flip_rate": "val_conflict_flip_rate",
    "val_misled_probability": "val_conflict_probability",
}
#: Public classes and functions.
PUBLIC = {
    "Check": "ValidationMetrics",
    "ClassInspector": "ClassMapsCache",
    "Inspection": "Explanation",
    "Inspector": "ExplanationCache",
    "Snapshot": "RunState",
    "inspect_item": "explain_item",
    "load_snapshot": "load_run_state",
    "save_snapshot": "save_run_state",
}
#: Their attributes and parameters.
ATTRIBUTES = {
    "misled_accuracy": "conflict_accuracy",
    "misled_flip_rate": "conflict_flip_rate",
    "misled_probability": "conflict_probability",
    "lying_accuracy": "selection_accuracy",
    "lying_flip_rate": "selection_flip_rate",
    "on_snapshot": "on_run_state",
    "snapshot": "run_state",
}


def current_names(value: Any) -> Any:
    """Return plain values with the present names of their keys.

    Parameters
    ----------
    value : dict, list or other
        As a JSON file or the rows of a CSV table have it; what is in it is seen to as well. Nothing is changed in place.
        An object that has a key under both names keeps what stands under the present one.
    """
    if isinstance(value, Mapping):
        old = {KEYS[key]: current_names(each) for key, each in value.items() if key in KEYS}
        return {**old, **{key: current_names(each) for key, each in value.items() if key not in KEYS}}
    if isinstance(value, list | tuple):
        return type(value)(map(current_names, value))
    return value


def current_header(table: str) -> str:
    """Return the text of a CSV table with the present names of its columns."""
    header, line_end, rows = table.partition("\n")
    return ",".join(KEYS.get(name, name) for name in header.split(",")) + line_end + rows


def old_names(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module that gives what it holds under its old name too."""

    def find(name: str) -> Any:
        new = PUBLIC.get(name)
        if new is None or not hasattr(modules[module], new):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(name, new)
        return getattr(modules[module], new)

    return find


class OldAttributes:
    """Gives a class's attributes under their old names too."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            new = ATTRIBUTES.get(name)
            if new is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = getattr(self, new)
            _warn(name, new)
            return value


def old_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function take its arguments under their old names too."""

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        for name in [name for name in options if name in ATTRIBUTES]:
            _warn(name, ATTRIBUTES[name])
            options[ATTRIBUTES[name]] = options.pop(name)
        return function(*args, **options)

    return call


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is called {new} now; the old name goes with the next release.", DeprecationWarning, stacklevel=3)
