"""The one place that loads torch: it cannot crash beside Mesa's OpenGL, keeps freed memory, and waits without spinning.

torch's CUDA build imports triton late, when the first optimizer is made. Triton's compiled library carries its own
LLVM, and once a viewer has drawn with Mesa's software renderer (or its AMD and Intel drivers) Mesa's libLLVM is
in the process too: the symbols of one are bound to the other and the process dies with a segmentation fault. Loading triton
first, with its own symbols preferred (``RTLD_DEEPBIND``), keeps the two apart; also where a script or another plugin has
loaded torch, and a viewer has drawn, before us.

Every module of ours that needs torch says ``from napari_cam_feedback.torch_loader import torch``.
"""

from __future__ import annotations

import os
import sys

from napari_cam_feedback.memory import keep_freed_memory


def _wait_passively() -> None:
    """Have OpenMP's threads sleep while they wait for each other, unless the user chose otherwise.

    They spin by default, and where another program (or napari's own drawing) holds one of two cores, a training step of
    EfficientNet-Lite0 took 5.1 s so and 1.1 s with sleeping threads; on a quiet machine both take 0.6 s.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _load_triton_apart() -> None:
    if not sys.platform.startswith("linux") or "triton" in sys.modules:
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


_wait_passively()
_load_triton_apart()
keep_freed_memory()

import torch  # noqa: E402

__all__ = ["torch"]
