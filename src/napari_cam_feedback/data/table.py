"""Datasets listed in a CSV file: one line for each image, with its path, label and split."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from napari_cam_feedback.data.dataset import check_class_names
from napari_cam_feedback.data.folder import FileDataset
from napari_cam_feedback.data.splits import stratified_splits
from napari_cam_feedback.errors import DataError, describe


class CsvDataset(FileDataset):
    """A CSV file with the columns ``path``, ``label`` and, if you like, ``split``.

    Paths are relative to the CSV's folder and may not leave it. An empty label means that it is not known.
    Without a column ``split``, or where it is empty throughout, a seeded split is made. Commas, semicolons
    and tabs are understood.

    Parameters
    ----------
    path : str or Path
        The CSV file, UTF-8.
    seed : int
        Seeds the split that is made where there is none.
    class_names : sequence of str, optional
        The classes in the order of the model's outputs; without them the labels, sorted (by number if they
        are whole numbers).

    Raises
    ------
    DataError
        The file is missing or broken, lacks a column, or a line is wrong; the sentence names the line.
    """

    def __init__(self, path: str | Path, *, seed: int = 0, class_names: Sequence[str] | None = None) -> None:
        path = Path(path)
        self.root = path.parent
        keys, texts, splits = _read(path)
        if not any((self.root / key).exists() for key in keys[:10]):
            raise DataError(
                f"The image {keys[0]} listed in {path} is not there; give paths relative to the folder that the CSV is in."
            )
        found = set(texts) - {""}
        if class_names is None and found and all(_is_whole(text) for text in found):
            class_names = sorted(found, key=int)
        names = check_class_names(found, class_names, path)
        number = {"": -1, **{name: i for i, name in enumerate(names)}}
        labels = np.fromiter((number[text] for text in texts), np.int64, len(texts))
        made_split = not any(splits)
        super().__init__(
            keys=keys,
            labels=labels,
            splits=stratified_splits(labels, seed) if made_split else np.array(splits, dtype=str),
            class_names=names,
            source=path,
            made_split=made_split,
        )


def _read(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the keys, label texts and splits of all lines."""
    keys: dict[str, None] = {}
    labels: list[str] = []
    splits: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            columns = [name.strip().lower() for name in next(reader, [])]
            for needed in ("path", "label"):
                if needed not in columns:
                    raise DataError(
                        f'{path} has no column "{needed}"; its first line must name the columns path, label '
                        "and, if you like, split."
                    )
            at_path, at_label = columns.index("path"), columns.index("label")
            at_split = columns.index("split") if "split" in columns else None
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                where = f"line {reader.line_num} of {path}"
                if len(row) < len(columns):
                    raise DataError(f"{where[0].upper()}{where[1:]} has too few columns; complete it.")
                key = _key(row[at_path].strip(), path.parent, where)
                if key in keys:
                    raise DataError(f"{key} in {where} is listed twice; keep one of the lines.")
                keys[key] = None
                labels.append(row[at_label].strip())
                splits.append(row[at_split].strip() if at_split is not None else "")
                if bool(splits[-1]) != bool(splits[0]):
                    raise DataError(f"Some lines name a split and some do not, first {where}; complete the column.")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path.") from None
    except OSError as error:
        raise DataError(f"Could not read {path}: {describe(error)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8; save it as one.") from error
    if not keys:
        raise DataError(f"{path} lists no images; add a line for each.")
    return list(keys), labels, splits


def _key(text: str, folder: Path, where: str) -> str:
    """Return the path of an image as a key; refuse one outside the CSV's folder."""
    if not text:
        raise DataError(f"The path in {where} is empty; fill it in or remove the line.")
    outside = DataError(
        f"The path {text} in {where} leaves the CSV's folder; put the images into that folder, "
        "or the CSV into one above them."
    )
    # `is_absolute` alone would let a Windows drive through on other systems and a leading slash through on
    # Windows.
    if Path(text).is_absolute() or text.startswith(("/", "\\")) or text[1:2] == ":":
        try:
            text = os.path.relpath(text, folder)
        except ValueError:  # another drive
            raise outside from None
    key = PurePosixPath(os.path.normpath(text.replace("\\", "/")).replace("\\", "/"))
    if key.is_absolute() or ".." in key.parts or not key.parts:
        raise outside
    return str(key)


def _is_whole(text: str) -> bool:
    return text.lstrip("+-").isdecimal()
