"""Tables kept on disk, and the digest that tells which images they belong to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.formats.file_dataset import FileDataset
from napari_cam_feedback.data.formats.npz import Npz, NpzError
from napari_cam_feedback.errors import DataError, StorageError, describe
from napari_cam_feedback.files import atomic_path, parse_json

#: The most that results kept in one folder may take; the oldest go.
MAX_BYTES = 2 << 30
#: Images whose pixels enter the digest where there are no files to ask.
PROBES = 64
_ABOUT = "about"
_SCHEMA = 1


def dataset_digest(dataset: Dataset, indices: np.ndarray) -> str:
    """Return a SHA-256 hex digest of some items: class names, keys, labels, and what tells changed pixels.

    Of image files that is size and time of change, so that nothing is read; of images in arrays the pixels of `PROBES`
    items spread evenly, and the file that they came from. Preprocessing is left to the classifier's fingerprint.

    Parameters
    ----------
    dataset : Dataset
        Where the items are.
    indices : ndarray
        (N,) int64 items; their order counts.
    """
    digest = hashlib.sha256(json.dumps([_SCHEMA, list(dataset.class_names), len(indices)]).encode())
    for index in indices:
        digest.update(f"{dataset.keys[int(index)]}\0{int(dataset.labels[index])}\0".encode())
    if isinstance(dataset, FileDataset):
        previous: tuple[Path, str] | None = None
        for index in indices:
            path = dataset.path(int(index))
            if previous is None or previous[0] != path:  # pages of one file follow each other
                previous = (path, _state_of(path))
            digest.update(previous[1].encode())
        return digest.hexdigest()
    if dataset.source is not None and dataset.source.is_file():
        digest.update(_state_of(dataset.source).encode())
    for index in np.unique(np.linspace(0, len(indices) - 1, PROBES).astype(np.int64)) if len(indices) else ():
        try:
            image = np.ascontiguousarray(dataset.read(int(indices[index])))
        except DataError as error:
            digest.update(str(error).encode())
        else:
            digest.update(f"{image.shape}{image.dtype}".encode())
            digest.update(image.tobytes())
    return digest.hexdigest()


def _state_of(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "missing\0"
    return f"{found.st_size} {found.st_mtime_ns}\0"


def cached_path(folder: str | os.PathLike[str], fingerprint: str, digest: str) -> Path:
    """Return the file in which features of a classifier (fingerprint) and images (digest) are kept."""
    return Path(folder) / f"features-{fingerprint[:16]}-{digest[:16]}.npz"


def drop_oldest(folder: Path, *, keep: Path, most: int = MAX_BYTES) -> None:
    """Remove the features used longest ago, until those kept take no more than `most` bytes; `keep` stays."""
    files = []
    for file in folder.glob("features-*.npz"):
        with suppress(OSError):  # another process may have removed it
            state = file.stat()
            files.append((file != keep, -state.st_mtime_ns, state.st_size, file))
    taken = 0
    for other, _, size, file in sorted(files):
        taken += size
        if other and taken > most:
            with suppress(OSError):
                file.unlink()


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays and plain JSON values as an .npz file, atomically.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    text = json.dumps({"schema": _SCHEMA, **about}, ensure_ascii=False)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{_ABOUT: np.array(text)}, **arrays)


def read_arrays(path: str | os.PathLike[str], names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_arrays` wrote; nothing is unpickled.

    Raises
    ------
    StorageError
        The file is missing, broken, lacks an array, or a newer version of the program wrote it.
    """
    path = Path(path)
    broken = f"{path} does not hold features, or is broken; remove it, and it is made again."
    try:
        with Npz(path) as file:
            about = parse_json(str(file.read(_ABOUT)))
            arrays = {name: file.read(name) for name in names}
    except (NpzError, ValueError) as error:
        raise StorageError(broken) from error
    except OSError as error:
        raise StorageError(f"Could not read {path}: {describe(error)}") from error
    if not isinstance(about, dict) or not isinstance(about.get("schema"), int):
        raise StorageError(broken)
    if about["schema"] > _SCHEMA:
        raise StorageError(f"A newer version of napari-cam-feedback wrote {path}; update the plugin.")
    return arrays, about
