"""Freed memory kept for the next step instead of given back to the kernel at once (Linux with glibc only).

glibc maps each large buffer anew and unmaps it when it is freed, so every training step pays a page fault for each page of
its activations. On two cores that took half of the time of a network at 224 pixels. With larger thresholds (mallopt(3),
``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD``) freed buffers are used again. Threads other than the first allocate from
arenas whose heaps are too small for such buffers and map them after all, so all share the main arena (``M_ARENA_MAX``).

`release_memory` gives back what is free when work ends, and `available_memory` says how much there is.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

#: Environment variable that leaves the allocator as it is, set to ``0``.
VARIABLE = "NAPARI_CAM_FEEDBACK_KEEP_MEMORY"
# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


@cache
def keep_freed_memory() -> bool:
    """Have the allocator keep what is freed; once a process, before torch's first large buffer.

    Returns
    -------
    bool
        Whether it does: not where the C library is another one, or where `VARIABLE` is ``0``.
    """
    libc = _glibc()
    if libc is None or os.environ.get(VARIABLE) == "0":
        return False
    settings = ((_MMAP_THRESHOLD, 1 << 30), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 1))
    return all(libc.mallopt(option, value) == 1 for option, value in settings)


def release_memory() -> None:
    """Give memory that is free back to the system, where `keep_freed_memory` keeps it."""
    libc = _glibc()
    if libc is not None and keep_freed_memory():
        libc.malloc_trim(0)


def available_memory() -> int:
    """Return the bytes that can be taken without other programs being moved to the disk; very many where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return sys.maxsize
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return sys.maxsize if found is None else int(found) * 1024


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    # musl has neither mallopt nor this.
    return libc if hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt") else None
