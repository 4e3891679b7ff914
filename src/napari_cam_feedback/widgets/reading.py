"""What is dropped on napari's window, or opened in its File menu: a project, a model, a data set; the rest is for others.

Nothing of a file is run or unpickled here: it is known by its name, a table's first line, or the names in an archive; what
opening a model asks is asked when it is loaded.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

Kind = Literal["project", "model", "data"]

_MODELS = (".safetensors", ".pt", ".pth", ".th", ".ckpt", ".pt2", ".pth.tar")
_SPLITS = ("train", "val", "test")
# Folders that are looked into, and entries of each, at most: a folder of a million files is no reason to wait.
_LOOK_INTO = 50

Read = Callable[[Any], list[tuple[None]]]


def get_reader(path: str | Sequence[str]) -> Read | None:
    """Return how to open what was dropped; None for whatever is not ours, and for several files at once.

    Parameters
    ----------
    path : str or sequence of str
        As napari hands it over.
    """
    if not isinstance(path, str):
        return None
    kind = kind_of(Path(path))
    if kind is None:
        return None

    def read(_: Any) -> list[tuple[None]]:
        _open(kind, Path(path))
        # No layers: the leading dock shows what it is.
        return [(None,)]

    return read


def kind_of(path: Path) -> Kind | None:
    """Tell what a file or folder is to us; None where it is nothing of ours, or cannot be looked into."""
    try:
        if path.is_dir():
            if (path / "project.json").is_file() and (path / "versions").is_dir():
                return "project"
            return "data" if _holds_classes(path) else None
        if not path.is_file():
            return None
        name = path.name.lower()
        if name == "project.json" and (path.parent / "versions").is_dir():
            return "project"
        if name.endswith(_MODELS):
            return "model"
        if name.endswith((".csv", ".tsv")):
            return "data" if _lists_images(path) else None
        if name.endswith(".npz"):
            return "data" if _holds_splits(path) else None
    except OSError:
        return None
    return None


def _holds_classes(folder: Path) -> bool:
    """Whether a folder has a folder of images for each of two classes or more, maybe below those of the splits."""
    if _lists_images(folder / "labels.csv"):
        return True
    folders = _folders(folder)
    splits = [each for each in folders if each.name.lower() in _SPLITS]
    return any(sum(_has_image(each) for each in _folders(split)) >= 2 for split in splits or [folder])


def _folders(folder: Path) -> list[Path]:
    return [each for each, _ in zip(sorted(p for p in folder.iterdir() if p.is_dir()), range(_LOOK_INTO), strict=False)]


def _has_image(folder: Path) -> bool:
    from napari_cam_feedback.data.pixels.images import SUFFIXES

    return any(each.suffix.lower() in SUFFIXES for each, _ in zip(folder.iterdir(), range(_LOOK_INTO), strict=False))


def _lists_images(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline(10_000)
    except (OSError, UnicodeDecodeError):
        return False
    try:
        header = {name.strip().lower() for name in next(csv.reader([line], delimiter="\t" if "\t" in line else ","), [])}
    except csv.Error:
        return False
    return {"path", "label"} <= header


def _holds_splits(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return False
    return any(f"x_{split}.npy" in names and f"y_{split}.npy" in names for split in _SPLITS)


def _open(kind: Kind, path: Path) -> None:
    import napari

    from napari_cam_feedback.errors import ConfigError
    from napari_cam_feedback.widgets.launch import show_files, show_project

    viewer = napari.current_viewer()
    if viewer is None:
        raise ConfigError(f"{path.name} opens in a window of napari only; open one first.")
    if kind == "project":
        show_project(viewer, path if path.is_dir() else path.parent)
    elif kind == "model":
        show_files(viewer, model=path)
    else:
        show_files(viewer, data=path)
