"""Look at what an image classifier uses, paint what is irrelevant, retune it, and see whether that helped.

The public functions, listed in ``__init__.pyi``, load on first use, so that importing the package costs nothing and napari
starts without torch.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from lazy_loader import attach_stub

from napari_cam_feedback import _renamed

try:
    __version__ = version("napari-cam-feedback")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
__all__ += ["__version__"]

_renamed.install()
