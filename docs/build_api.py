"""Builds the reference of the Python API from the docstrings: ``python docs/build_api.py FOLDER``, or ``make api``."""

from __future__ import annotations

import sys
from pathlib import Path

# What annotations name must be there first: pdoc imports what is missing in a way that torch does not bear.
import lightning_fabric  # noqa: F401
import pdoc

import napari_cam_feedback
from napari_cam_feedback import torch_loader  # noqa: F401

PACKAGE = napari_cam_feedback.__name__
ROOMS = ("data", "models", "training", "explanations", "feedback", "evaluation", "retuning", "projects", "experiments")
MODULES = ("errors", "steps")


def main(folder: Path) -> None:
    """Write the pages, one a room, which list what the room offers to scripts (its ``__all__``)."""
    pdoc.render.configure(docformat="numpy", show_source=False)
    pdoc.pdoc(PACKAGE, *(f"{PACKAGE}.{name}" for name in (*ROOMS, *MODULES)), output_directory=folder)
    print(folder / "index.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
