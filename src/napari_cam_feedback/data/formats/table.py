"""Datasets listed in a CSV file: one line for each image, with its path, label, split, page and group."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import is_whole, number_classes
from napari_cam_feedback.data.formats.file_dataset import FileDataset, page_key
from napari_cam_feedback.data.keys import Keys
from napari_cam_feedback.data.patients import numbered, patient_column, patient_notes, usual_labels
from napari_cam_feedback.data.pixels import images, tiff
from napari_cam_feedback.data.splits import is_usual, stratified_splits
from napari_cam_feedback.errors import DataError, describe

# What a column may be called, the first name that is there counts; only the first two columns are needed.
_COLUMNS = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "class", "target", "category"),
    "split": ("split",),
    "page": ("page",),
    "group": ("group",),
}
_DELIMITERS = ",;\t"
# More splits, or longer names, mean that the column is none of splits; it would fill the memory.
_MAX_SPLITS, _LONGEST_SPLIT = 1000, 100
_MAX_PAGES = 1_000_000
# More groups mean that the column is one of names or numbers, of which each image has its own.
_MAX_GROUPS = 1000
# What a column of splits may be called too, if all that it says in its first lines are names of splits.
_LIKE_SPLIT = ("subset", "partition", "set", "phase", "usage", "fold")
_LINES_LOOKED_AT = 1000
# How many TIFFs are looked at to see whether they have channels that are not read.
_LOOKED_AT = 5


class CsvDataset(FileDataset):
    """A CSV file with the columns ``path``, ``label`` and, if you like, ``split``, ``page`` and ``group``.

    The column of paths may also be called ``file``, ``filename`` or ``image``, that of labels ``class``, ``target``
    or ``category``. Paths are relative to the CSV's folder and may not leave it. An empty label means that it is
    not known. Without a column ``split``, or where it is empty throughout, a seeded split is made; any names of
    splits are fine. ``page`` is the page, from 0, of a TIFF that has several; where it is empty, the image is the
    file, or its first page. ``group`` names what an image belongs to beside its class, as a hospital or a scanner; where it
    is empty, that is not known. A column ``patient``, ``subject_id`` or the like says whose image each is: a split that is
    made keeps those together, and others are told of. Commas, semicolons and tabs are understood.

    Parameters
    ----------
    path : str or Path
        The CSV file, UTF-8.
    seed : int
        Seeds the split that is made where there is none; where a class has three files or more, the pages of a
        file stay together.
    class_names : sequence of str, optional
        The classes in the order of the model's outputs; without them the labels, sorted (by number if they
        are whole numbers). Labels that are all whole numbers, while none of the names is, count as indices into
        the names.

    Raises
    ------
    DataError
        The file is missing or broken, lacks a column, or a line is wrong; the sentence names the line.
    """

    def __init__(self, path: str | Path, *, seed: int = 0, class_names: Sequence[str] | None = None) -> None:
        path = Path(path)
        self.root = path.parent
        columns = _read(path)
        keys = columns.keys
        found = set(columns.labels) - {""}
        if class_names is None and found and all(map(is_whole, found)):
            class_names = sorted(found, key=int)
        names, number = number_classes(found, class_names, path)
        labels = np.array([number.get(text, -1) for text in columns.labels], np.int64)[columns.label_of]
        if any(page >= 0 for page in columns.page_of):
            self.pages = np.array(columns.page_of, np.int32)
            self.pages.setflags(write=False)
        made_split = list(columns.splits) == [""]
        patients = np.array(columns.patient_of, np.int64) if columns.patients else None
        if made_split and patients is not None:
            splits = stratified_splits(usual_labels(labels, patients), seed, files=numbered(patients))
        elif made_split:
            splits = stratified_splits(labels, seed, files=None if self.pages is None else _files(keys, self.pages))
        else:
            splits = np.array(list(columns.splits))[columns.split_of]
        super().__init__(keys=keys, labels=labels, splits=splits, class_names=names, source=path, made_split=made_split)
        if len(columns.groups) > _MAX_GROUPS:
            columns.notes += (f"The column group of {path.name} has more than {_MAX_GROUPS:,} names, so it is left out.",)
        elif columns.groups:
            self.group_names = tuple(columns.groups)
            self.groups = np.array(columns.group_of, np.int64)
        if not any(os.path.lexists(self.path(i)) for i in range(min(10, len(self)))):
            raise DataError(
                f"The image {self._file_key(0)} listed in {path} is not there; give paths relative to the folder that the "
                "CSV is in."
            )
        tiffs = [self.path(i) for i in range(min(_LOOKED_AT, len(self))) if self.path(i).suffix.lower() in tiff.SUFFIXES]
        self.notes = (*columns.notes, *images.channel_notes(tiffs))
        if patients is not None:
            kept = f"The split that was made keeps images together that have the same {columns.patient_column}."
            what = f"of one {columns.patient_column} (a column of {path.name})"
            told = tuple(patient_notes(self.splits, patients, list(columns.patients), what))
            self.notes += told or ((kept,) if made_split else ())


class _Columns:
    """What a CSV file lists, compactly: for each item a number that stands for its text.

    Attributes
    ----------
    keys : Keys
        The items' keys.
    labels, splits, groups, patients : dict of str to int
        The distinct texts and their numbers.
    label_of, split_of : array of int
        For each item the number of its label and of its split.
    page_of : array of int
        For each item its page, -1 for a whole file; empty where there is no such column.
    group_of : array of int
        For each item the number of its group, -1 where it is not known; empty where there is no such column.
    patient_of : array of int
        The same of patients.
    patient_column : str
        What that column is called.
    line_of : array of int
        For each item its line in the file, from 1.
    last_line : int
        The last line without fault.
    notes : tuple of str
        What was assumed, a sentence each.
    """

    keys: Keys

    def __init__(self) -> None:
        self.labels: dict[str, int] = {}
        self.splits: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.patients: dict[str, int] = {}
        self.patient_column = ""
        self.label_of, self.split_of, self.page_of, self.group_of, self.patient_of, self.line_of = (
            array("i") for _ in range(6)
        )
        self.last_line = 0
        self.notes: tuple[str, ...] = ()


def _read(path: Path) -> _Columns:
    columns = _Columns()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(_DELIMITERS, key=header.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            names = [name.strip().lower() for name in next(reader, [])]
            columns.last_line = reader.line_num
            places = _find_columns(names, path)
            if places["split"] is None:
                places["split"] = _like_split(names, path, delimiter)
                if places["split"] is not None:
                    columns.notes = (f'The column "{names[places["split"]]}" of {path.name} is taken for the splits.',)
            patient = patient_column(names)
            if patient is not None:
                columns.patient_column = names[patient]
            columns.keys = Keys(_keys(reader, len(names), {**places, "patient": patient}, path, columns))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path.") from None
    except OSError as error:
        raise DataError(f"Could not read {path}: {describe(error)}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a CSV file in UTF-8, see line {_undecodable(path)}; save it as one.") from error
    except csv.Error as error:
        if "limit" in str(error):
            raise DataError(
                f"A cell in line {columns.last_line + 1} of {path} is far too long; correct or remove it."
            ) from error
        raise DataError(
            f"The quotation marks in line {columns.last_line + 1} of {path} do not match; correct them or remove the line."
        ) from error
    if not len(columns.keys):
        raise DataError(f"{path} lists no images; add a line for each.")
    twice = columns.keys.first_repeated()
    if twice is not None:
        line = columns.line_of[twice]
        raise DataError(f"{columns.keys[twice]} in line {line} of {path} is listed twice; keep one of the lines.")
    return columns


def _find_columns(names: list[str], path: Path) -> dict[str, int | None]:
    """Return where each column is, None where it is not there."""
    if not any(names):
        raise DataError(f"{path} has no first line; name the columns there: path, label and, if you like, split.")
    places: dict[str, int | None] = {}
    for column, synonyms in _COLUMNS.items():
        name = next((name for name in synonyms if name in names), None)
        if name is not None and names.count(name) > 1:
            raise DataError(f'{path} has two columns "{name}"; rename one of them.')
        places[column] = None if name is None else names.index(name)
    if places["path"] is not None and places["label"] is not None:
        return places
    if any(PurePosixPath(name).suffix in images.SUFFIXES for name in names):
        raise DataError(
            f"{path} begins with an image; put a line with the names of the columns above it: path, label and, if you "
            "like, split."
        )
    if len(names) == 1 and names[0] not in _COLUMNS["path"]:
        raise DataError(
            f'The first line of {path} is "{names[0][:60]}"; name the columns path and label there, and separate them by '
            "commas, semicolons or tabs."
        )
    needed = "label" if places["label"] is None and places["path"] is not None else "path"
    others = ", ".join(_COLUMNS[needed][1:])
    raise DataError(
        f'{path} has no column "{needed}" (or {others}); its first line must name the columns path, label and, if you like, '
        "split."
    )


def _like_split(names: list[str], path: Path, delimiter: str) -> int | None:
    """Return where a column is that says train, val or test though it is not called split; None without one."""
    places = [names.index(name) for name in _LIKE_SPLIT if names.count(name) == 1]
    if not places:
        return None
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in islice(csv.reader(file, delimiter=delimiter), 1, _LINES_LOOKED_AT) if len(row) == len(names)]
    return next((place for place in places if rows and all(is_usual(row[place]) for row in rows)), None)


def _keys(reader: Any, width: int, places: dict[str, int | None], path: Path, columns: _Columns) -> Iterator[str]:
    """Yield the key of each item, and note its label, split, page and line in `columns`.

    A million lines pass here, so that each takes only what an ordinary one needs.
    """
    at_path, at_label, at_split, at_page, at_group, at_patient = (places[name] for name in (*_COLUMNS, "patient"))
    assert at_path is not None
    assert at_label is not None
    labels, splits = columns.labels, columns.splits
    note_label, note_split, note_line = columns.label_of.append, columns.split_of.append, columns.line_of.append
    if at_split is None:
        splits[""] = 0
    line = reader.line_num
    try:
        for row in reader:
            line = reader.line_num
            text = row[at_path].strip() if len(row) == width else ""
            if not text:
                if not any(cell.strip() for cell in row):
                    continue
                row = _of_width(row, width, line, path)
                text = row[at_path].strip()
                if not text:
                    raise DataError(f"The path in line {line} of {path} is empty; fill it in or remove the line.")
            if (
                "/." in text
                or "\\" in text
                or "//" in text
                or "\0" in text
                or text[0] in "./"
                or text[-1] == "/"
                or text[1:2] == ":"
            ):
                text = _key(text, path.parent, f"line {line} of {path}")
            label = row[at_label].strip()
            note_label(labels[label] if label in labels else labels.setdefault(label, len(labels)))
            if at_split is not None:
                split = row[at_split].strip()
                if split not in splits:
                    _check_split(split, splits, line, path)
                    splits[split] = len(splits)
                note_split(splits[split])
            if at_page is not None:
                number = row[at_page].strip()
                page = _page(number, line, path) if number else -1
                text = page_key(text, page) if number else text
                columns.page_of.append(page)
            if at_group is not None:
                columns.group_of.append(_group(row[at_group].strip(), columns.groups))
            if at_patient is not None:
                patient = row[at_patient].strip()
                columns.patient_of.append(columns.patients.setdefault(patient, len(columns.patients)) if patient else -1)
            note_line(line)
            yield text
    finally:
        columns.last_line = line


def _of_width(row: list[str], width: int, line: int, path: Path) -> list[str]:
    if len(row) < width:
        raise DataError(f"Line {line} of {path} has too few columns, {len(row)} and not {width}; complete it.")
    if any(cell.strip() for cell in row[width:]):
        raise DataError(
            f"Line {line} of {path} has too many columns, {len(row)} and not {width}; put what holds a separator into "
            "quotation marks, or name the further columns in the first line."
        )
    return row[:width]


def _check_split(split: str, splits: dict[str, int], line: int, path: Path) -> None:
    """Refuse a name that is new among `splits` if it cannot be a split's."""
    if splits and (not split or "" in splits):
        raise DataError(f"Some lines name a split and some do not, first line {line} of {path}; complete the column.")
    if len(split) > _LONGEST_SPLIT:
        raise DataError(
            f'The split "{split[:40]}…" in line {line} of {path} is too long for a name; name the splits train, val and '
            "test, for instance."
        )
    if len(splits) >= _MAX_SPLITS:
        raise DataError(
            f"The column split of {path} has more than {_MAX_SPLITS} names, see line {line}; name a few splits, such as "
            "train, val and test."
        )


def _group(text: str, groups: dict[str, int]) -> int:
    """Return the number of a group, a new one among `groups` where it is not there yet; -1 for none, and for too many."""
    if not text or (text not in groups and len(groups) > _MAX_GROUPS):
        return -1
    return groups.setdefault(text, len(groups))


def _page(text: str, line: int, path: Path) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < _MAX_PAGES:
        return int(text)
    raise DataError(f'The page "{text[:20]}" in line {line} of {path} is no page number; number the pages from 0.')


def _key(text: str, folder: Path, where: str) -> str:
    """Return the path of an image as a key; refuse one outside the CSV's folder."""
    if "\0" in text:
        raise DataError(f"The path in {where} has a character that no file name has (NUL); correct it.")
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


def _undecodable(path: Path) -> int:
    """Return the first line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _files(keys: Keys, pages: np.ndarray) -> np.ndarray:
    """Return a number for each item that is the same for pages of one file; int64 (N,)."""
    numbers: dict[str, int] = {}
    files = (key.rpartition("/")[0] if page >= 0 else key for key, page in zip(keys, pages.tolist(), strict=True))
    return np.fromiter((numbers.setdefault(file, len(numbers)) for file in files), np.int64, len(keys))
