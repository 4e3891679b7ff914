"""The one place that loads torch, in a way that cannot crash beside Mesa's OpenGL, and that keeps freed memory.

torch's CUDA build imports triton late, when the first optimizer is made. Triton's compiled library carries its own
LLVM, and once a viewer has drawn with Mesa's software renderer (or its AMD and Intel drivers) Mesa's libLLVM is
in the process too: the symbols of one are bound to the other and the process dies with a segmentation fault. Loading triton
first, with its own symbols preferred (``RTLD_DEEPBIND``), keeps the two apart.

Every module of ours that needs torch says ``from napari_cam_feedback.torch_loader import torch``.
"""

from __future__ import annotations

import os
import sys

from napari_cam_feedback.memory import keep_freed_memory


def _load_triton_apart() -> None:
    if not sys.platform.startswith("linux") or "triton" in sys.modules or "torch" in sys.modules:
        return
    flags = sys.getdlopenflags()
    try:
        sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
        import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import triton._C.libtriton  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
    except (ImportError, OSError, AttributeError):
        # A CPU build has no triton, musl has no RTLD_DEEPBIND: nothing to keep apart then.
        pass
    finally:
        sys.setdlopenflags(flags)


_load_triton_apart()
keep_freed_memory()

import torch  # noqa: E402

__all__ = ["torch"]
