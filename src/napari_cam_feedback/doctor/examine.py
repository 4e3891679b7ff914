"""Finding out whether the plugin works on this machine."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from napari_cam_feedback.doctor import machine, window
from napari_cam_feedback.doctor.private import without_names
from napari_cam_feedback.doctor.report import Check, DoctorReport, Status
from napari_cam_feedback.doctor.self_test import SelfTest
from napari_cam_feedback.errors import FeedbackError, describe
from napari_cam_feedback.monitor import QUIET, Monitor

_PACKAGE = Path(__file__).parents[1]
_WINDOW = "napari's window opens"


def examine(*, device: str = "auto", seed: int = 0, monitor: Monitor = QUIET) -> DoctorReport:
    """Find out what is installed, what the machine has, and whether a small pass of the loop works; about 20 seconds.

    Nothing is sent anywhere, and what is written goes into a temporary folder that is removed. The texts of the report have
    neither the names of user and machine nor folders of theirs.

    Parameters
    ----------
    device : str
        Where to compute, as `pick_device` takes it.
    seed : int
        Of the small retune.
    monitor : Monitor, optional
        Told what is tried; asked before each thing whether to stop, which leaves out the rest.

    Examples
    --------
    >>> print(examine().text())  # doctest: +SKIP
    """
    facts = {**machine.describe_software(), **machine.describe_machine()}
    checks: list[Check] = []

    def tell(found: dict[str, str]) -> str:
        facts.update(found)
        return ""

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        test = SelfTest(folder, device, seed)
        # Each of these needs those before it.
        chain = {"torch loads": lambda: tell(machine.describe_torch(device)), **test.parts()}
        alone: dict[str, Callable[[], str]] = {"libraries": machine.check_libraries}
        if window.has_display():
            alone[_WINDOW] = lambda: tell(window.try_window())
        total = len(alone) + len(chain)
        for name, part in alone.items():
            checks.append(_left_out(name) if monitor.stopped else _tried(name, part, monitor, len(checks), total))
        if not window.has_display():
            checks.append(Check(_WINDOW, "note", "there is no display here; the commands need none"))
        broken = False
        for name, part in chain.items():
            if broken or monitor.stopped:
                checks.append(_left_out(name))
                continue
            checks.append(_tried(name, part, monitor, len(checks), total))
            broken = checks[-1].status == "failed"
    return DoctorReport({name: without_names(value) for name, value in facts.items()}, tuple(checks))


def _left_out(name: str) -> Check:
    return Check(name, "left out")


def _tried(name: str, part: Callable[[], str], monitor: Monitor, done: int, total: int) -> Check:
    monitor.progress(done, total, name)
    start = time.perf_counter()
    status: Status = "failed"
    try:
        said, status = part(), "ok"
    except FeedbackError as error:
        said = describe(error)
    except Exception as error:  # whatever is wrong here is what is asked for
        said = f"{describe(error)}{_where(error)}"
    return Check(name, status, without_names(said), time.perf_counter() - start)


def _where(error: BaseException) -> str:
    """Say at which of our lines something went wrong, for whoever mends it."""
    ours = [
        f"{Path(frame.filename).relative_to(_PACKAGE).as_posix()}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_PACKAGE)
    ]
    return f" At {ours[-1]}." if ours else ""
