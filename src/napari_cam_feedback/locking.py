"""One writer at a time: a file in a folder that several windows, shells and machines write to is changed under its lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLease, Timeout

from napari_cam_feedback.errors import StorageError, describe

#: What is behind a file's name in that of its lock.
SUFFIX = ".lock"
# A holder on this machine that was killed is known by its process, and its lock is free at once. That of another machine
# cannot be asked; its lock is free when its file was not touched for so long. Holders touch it three times as often, and
# keep it for milliseconds.
_LEASE_SECONDS = 15.0
# Longer than a lease, so that one that nobody holds any more is waited for.
_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.02


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of a file while it is read, changed and written; others wait meanwhile.

    The lock is a file beside it that is created exclusively, which folders on a network can do too, where the locks of an
    operating system often hold on one machine only. It cannot be taken twice by one thread.

    Parameters
    ----------
    path : path
        The file; its folder is made if need be.

    Raises
    ------
    StorageError
        Nothing can be written there, or another holder keeps the lock for a minute.
    """
    path = Path(path)
    name = path.with_name(path.name + SUFFIX)
    lease = SoftFileLease(name, lease_duration=_LEASE_SECONDS, timeout=_WAIT_SECONDS, poll_interval=_POLL_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lease.acquire()
    except Timeout as error:
        raise StorageError(
            f"Another program has been writing {path} for more than a minute; try again, or, if none is running, remove "
            f"{name}."
        ) from error
    except OSError as error:
        raise StorageError(f"Could not write {path}: {describe(error)}") from error
    try:
        yield
    finally:
        # A lock file that cannot be removed is that of a holder who is gone; what was written is written.
        with suppress(OSError):
            lease.release()
