"""Opening a dataset by its path, whatever its form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_cam_feedback.data.arrays import open_npz
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.folder import FolderDataset
from napari_cam_feedback.data.table import CsvDataset
from napari_cam_feedback.errors import DataError


def open_dataset(path: str | Path, *, seed: int = 0, class_names: Sequence[str] | None = None) -> Dataset:
    """Open a dataset.

    Parameters
    ----------
    path : str or Path
        A folder with a folder per class, with or without ``train/ val/ test/`` above them (`FolderDataset`);
        a .csv file (`CsvDataset`); or an .npz file (`arrays.open_npz`).
    seed : int
        Seeds the split that is made where the dataset has none.
    class_names : sequence of str, optional
        The classes in the order of the model's outputs, where that is not the order of their names.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        There is no such dataset, or it has the wrong form; the sentence says how to mend it.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist; check the path.")
    dataset = _open(path, seed, class_names)
    if dataset.made_split:
        dataset.split_seed = seed
    return dataset


def _open(path: Path, seed: int, class_names: Sequence[str] | None) -> Dataset:
    if path.is_dir():
        return FolderDataset(path, seed=seed, class_names=class_names)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return CsvDataset(path, seed=seed, class_names=class_names)
    if suffix == ".npz":
        return open_npz(path, seed=seed, class_names=class_names)
    raise DataError(f"{path} is no dataset that can be opened; choose a folder, a .csv file or an .npz file.")
