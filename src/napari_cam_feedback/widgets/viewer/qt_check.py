"""Noticing a Qt binding that ends the program sooner or later, so that nobody loses work to it.

PySide6 6.12 forgets to take a reference to the True and None that it returns. Python 3.12 and newer do not count those;
an older Python does, and after some minutes of events it aborts with "none_dealloc" or "bool_dealloc".
"""

from __future__ import annotations

import sys

from qtpy import API_NAME, QT_VERSION
from qtpy.QtCore import QObject, Signal

_TRIES = 50
_given_back: list[bool] = []


class _Emitter(QObject):
    fired = Signal()


def loses_references() -> bool:
    """Measure whether emitting signals takes away references to True."""
    if sys.version_info >= (3, 12):
        return False
    emitter = _Emitter()
    before = sys.getrefcount(True)
    for _ in range(_TRIES):
        emitter.fired.emit()
    lost = before - sys.getrefcount(True)
    # What this test took away is given back.
    _given_back.extend([True] * max(0, lost))
    return lost > _TRIES // 2


def qt_warning() -> str | None:
    """Return a sentence on what to install instead, None where all is well."""
    if not loses_references():
        return None
    version = ".".join(str(part) for part in sys.version_info[:2])
    return (
        f"{API_NAME} {QT_VERSION} makes Python {version} end without warning after some minutes; "
        'install another with pip install "PySide6<6.12", or use Python 3.12 or newer.'
    )
