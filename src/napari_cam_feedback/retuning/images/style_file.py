"""A style as a file of tensors, so that a run against it can be repeated."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file

from napari_cam_feedback.errors import StorageError, describe
from napari_cam_feedback.files import atomic_path
from napari_cam_feedback.retuning.images.style import Style


def save_style(style: Style, path: str | Path) -> None:
    """Write a style, atomically.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    with atomic_path(Path(path)) as temporary:
        save_file({name: each.cpu().contiguous() for name, each in style.to_tensors().items()}, temporary)


def load_style(path: str | Path) -> Style:
    """Read what `save_style` wrote.

    Raises
    ------
    StorageError
        It cannot be read, or is no style.
    """
    try:
        return Style.from_tensors(load_file(path))
    except MemoryError:
        raise
    except Exception as error:  # safetensors has errors of its own
        raise StorageError(
            f"The style {path} cannot be read ({describe(error)}); show the images with it and without it again."
        ) from error
