"""A TIFF with several pages as a dataset, its labels in a CSV file beside it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_cam_feedback.data.dataset import is_whole, number_classes
from napari_cam_feedback.data.formats.file_dataset import FileDataset, page_key
from napari_cam_feedback.data.pixels import images
from napari_cam_feedback.data.splits import stratified_splits
from napari_cam_feedback.errors import DataError, describe

SUFFIXES = (".tif", ".tiff")


class StackDataset(FileDataset):
    """The pages of a TIFF file, read when asked for; ``stack.csv`` beside ``stack.tif`` says their labels.

    The CSV has the columns ``page`` (from 0), ``label`` and, if you like, ``split``; others are left alone. An empty
    label means that it is not known. Pages that it does not list are in the dataset without a label. Where it
    names no splits, a seeded split is made; where it names them, pages that it does not list are in ``test``.
    Without a CSV, no label is known and all pages are in ``test``: images to look at, none to learn from.

    Keys are ``stack.tif/<page, four digits>``; the known mask of page 3 is ``masks/stack.tif/0003.png`` or page 3 of
    ``masks/stack.tif``.

    Parameters
    ----------
    path : str or Path
        The TIFF file; see `images.count_pages` for what a page is.
    seed : int
        Seeds the split that is made where there is none.
    class_names : sequence of str, optional
        The classes in the order of the model's outputs; without them the labels, sorted (by number if they
        are whole numbers).

    Raises
    ------
    DataError
        The file is broken or has one page only; the CSV is broken, lacks a column, or a line is wrong.
    """

    def __init__(self, path: str | Path, *, seed: int = 0, class_names: Sequence[str] | None = None) -> None:
        path = Path(path)
        self.root, self._file = path.parent, path
        count = images.count_pages(path)
        if count == 1:
            raise DataError(
                f"{path} is a single image, not a stack of pages of one size; open the folder that it is in, with a "
                "folder for each class."
            )
        table = labels_of(path)
        texts, splits = _read(table, path, count) if table else ({}, dict.fromkeys(range(count), "test"))
        found = set(texts.values()) - {""}
        if class_names is None and found and all(map(is_whole, found)):
            class_names = sorted(found, key=int)
        names, number = number_classes(found, class_names, table or path)
        labels = np.array([number.get(texts.get(page, ""), -1) for page in range(count)], np.int64)
        made_split = not splits
        self.pages = np.arange(count, dtype=np.int32)
        super().__init__(
            keys=(page_key(path.name, page) for page in range(count)),
            labels=labels,
            splits=stratified_splits(labels, seed)
            if made_split
            else np.array([splits.get(page, "test") for page in range(count)]),
            class_names=names,
            source=path,
            made_split=made_split,
        )
        self.notes = tuple(images.channel_notes([path]))

    def path(self, index: int) -> Path:
        """Return the path of the stack."""
        return self._file

    def read(self, index: int) -> np.ndarray:
        """Read one page; see `images.read_page`."""
        # The file itself was named by the user, and may be a link to anywhere.
        return images.read_page(self._file, self._page(index))

    def image_size(self, index: int) -> tuple[int, int]:
        """Return the page's (height, width); all pages are of one size."""
        return images.image_size(self._file)


def labels_of(path: Path) -> Path | None:
    """Return the CSV with a stack's labels (``a.csv`` for ``a.tif``; for ``a.ome.tif`` also ``a.ome.csv``)."""
    stem = path.with_suffix("")
    places = [path.with_name(f"{stem.name}.csv")]
    if stem.suffix.lower() == ".ome":
        places.append(path.with_name(f"{stem.stem}.csv"))
    return next((place for place in places if place.is_file()), None)


def stack_of(table: Path) -> Path | None:
    """Return the stack whose labels a CSV file holds; None where it is another kind of CSV file."""
    for suffix in (*SUFFIXES, *(f".ome{suffix}" for suffix in SUFFIXES)):
        path = table.with_name(table.stem + suffix)
        if path.is_file() and labels_of(path) == table:
            try:
                with table.open(encoding="utf-8-sig", newline="") as file:
                    header = file.readline(10_000)
            except (OSError, UnicodeDecodeError):
                return None
            columns = {name.strip(' "\r\n').lower() for name in header.split(_delimiter(header))}
            return path if "page" in columns and not columns & {"path", "file", "filename", "image"} else None
    return None


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _read(table: Path, path: Path, count: int) -> tuple[dict[int, str], dict[int, str]]:
    """Return the label text and the split by page; no splits where none is named."""
    texts: dict[int, str] = {}
    splits: dict[int, str] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            columns = [name.strip().lower() for name in next(reader, [])]
            for needed in ("page", "label"):
                if needed not in columns:
                    raise DataError(
                        f'{table} has no column "{needed}"; its first line must name the columns page, label and, if you '
                        "like, split."
                    )
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                where = f"line {reader.line_num} of {table}"
                if len(row) < len(columns):
                    raise DataError(f"{where[0].upper()}{where[1:]} has too few columns; complete it.")
                cells = {name: cell.strip() for name, cell in zip(columns, row, strict=False)}
                page = _page(cells["page"], where, path, count)
                if page in texts:
                    raise DataError(f"Page {page} in {where} is listed twice; keep one of the lines.")
                texts[page], splits[page] = cells["label"], cells.get("split", "")
                if bool(splits[page]) != bool(next(iter(splits.values()))):
                    raise DataError(f"Some lines name a split and some do not, first {where}; complete the column.")
    except OSError as error:
        raise DataError(f"Could not read {table}: {describe(error)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is not a CSV file in UTF-8; save it as one.") from error
    return texts, splits if any(splits.values()) else {}


def _page(text: str, where: str, path: Path, count: int) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise DataError(f'The page "{text}" in {where} is not a whole number from 0; correct it.')
    if int(text[-9:]) >= count or len(text.lstrip("0")) > 9:
        raise DataError(f"Page {text} in {where} is not in {path}, whose pages are 0 to {count - 1}; correct the line.")
    return int(text)
