"""The table of items answers for a million rows as for a hundred: a step looks nothing up by searching."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.data.keys import Keys
from napari_cam_feedback.widgets.browse.item_table import KEY, LABEL, PAINTED, PREDICTION, PROBABILITY, SPLIT, ItemTable

DESCENDING, DISPLAY = Qt.SortOrder.DescendingOrder, Qt.ItemDataRole.DisplayRole
EVERYTHING = {"text": "", "split": None, "wrong": False, "painted": False}


@pytest.fixture
def dataset() -> ArrayDataset:
    """Five images, two of them in test; the third has no label."""
    pixels = np.zeros((5, 2, 2), np.uint8)
    return ArrayDataset(
        {"train": pixels[:3], "test": pixels[:2]},
        {"train": [0, 1, -1], "test": [1, 0]},
        ("cat", "dog"),
        keys={"train": ["train/b.png", "train/ÄA.png", "train/a.png"], "test": ["test/Dog.png", "test/x.png"]},
    )


@pytest.fixture
def table(qapp, dataset) -> ItemTable:
    found = ItemTable()
    found.set_dataset(dataset, ["train/a.png", "not here"])
    return found


def show(table: ItemTable, **settings: object) -> list[int]:
    table.set_filter(**{**EVERYTHING, **settings})
    return table.shown.tolist()


@pytest.fixture
def told(table) -> list[tuple[int, int, int, int]]:
    """The (first row, last row, first column, last column) that the table says have changed."""
    cells: list[tuple[int, int, int, int]] = []
    table.dataChanged.connect(lambda a, b: cells.append((a.row(), b.row(), a.column(), b.column())))
    return cells


def test_every_item_knows_its_row_in_any_order_and_filter(table):
    for change in (
        lambda: None,
        lambda: table.sort(KEY),
        lambda: table.sort(KEY, DESCENDING),
        lambda: show(table, split="test"),
        lambda: show(table, painted=True),
        lambda: show(table, text="no such item"),
        lambda: (show(table), table.sort(-1)),
    ):
        change()
        shown = table.shown.tolist()
        for index in range(5):
            assert table.row_of(index) == (shown.index(index) if index in shown else -1)
    assert table.row_of(None) == table.row_of(-1) == table.row_of(5) == -1
    table.set_dataset(None)
    assert table.row_of(0) == -1


def test_a_step_searches_neither_the_rows_nor_the_keys(table, monkeypatch):
    show(table, split="train")

    def fail(*args, **options):
        raise AssertionError("all rows were looked at")

    for name in ("flatnonzero", "nonzero", "argsort", "isin", "where"):
        monkeypatch.setattr(np, name, fail)
    monkeypatch.setattr(Keys, "__iter__", fail)
    monkeypatch.setattr(Keys, "containing", fail)
    for row in range(table.rowCount()):
        for column in range(table.columnCount()):
            table.data(table.index(row, column), DISPLAY)
        assert table.row_of(int(table.shown[row])) == row
    table.set_painted(0, True)
    table.set_predictions(np.array([1]), np.array([[0.2, 0.8]], np.float32))


def test_only_the_rows_that_change_are_drawn_again(table, told):
    table.set_painted(1, True)
    table.set_painted(1, True)  # as it was
    table.set_predictions(np.array([3, 1]), np.array([[0.2, 0.8], [0.6, 0.4]], np.float32))
    assert told == [(1, 1, PAINTED, PAINTED), (1, 3, PREDICTION, PROBABILITY)]
    told.clear()
    show(table, split="test")
    table.set_painted(0, True)  # filtered out
    table.set_predictions(np.array([0, 4]), np.array([[0.2, 0.8], [0.6, 0.4]], np.float32))
    table.forget_predictions()
    assert told == [(1, 1, PREDICTION, PROBABILITY), (0, 1, PREDICTION, PROBABILITY)]
    assert table.painted.tolist() == [True, True, True, False, False]


def test_what_is_filtered_out_still_takes_over_predictions(table):
    show(table, split="test")
    table.set_predictions(np.array([0]), np.array([[0.2, 0.8]], np.float32))
    show(table)
    assert table.data(table.index(0, PREDICTION), DISPLAY) == "dog"
    assert table.data(table.index(0, PROBABILITY), DISPLAY) == "0.20"


def test_text_is_sought_in_keys_whatever_the_case_and_in_classes(table):
    assert show(table, text=".PNG") == [0, 1, 2, 3, 4]
    assert show(table, text="train a.") == [1, 2]
    assert show(table, text="äa") == [1]
    assert show(table, text="dog") == [1, 3]  # by label, and by name
    assert show(table, text="do") == [3]  # a class is named in full
    table.set_predictions(np.array([4]), np.array([[0.1, 0.9]], np.float32))
    assert show(table, text="DOG") == [1, 3, 4]


def test_predictions_do_not_make_the_keys_be_searched_again(table, monkeypatch):
    assert show(table, text="train dog") == [1]
    assert table.depends_on_predictions
    monkeypatch.setattr(Keys, "containing", lambda self, word: pytest.fail(f"searched for {word}"))
    table.set_predictions(np.array([0]), np.array([[0.1, 0.9]], np.float32))
    table.refresh()
    assert table.shown.tolist() == [0, 1]


def test_predictions_matter_to_a_text_only_if_it_names_a_class(table):
    for text, matters in (("train", False), ("Dog", True), ("x dog", True), ("", False)):
        show(table, text=text)
        assert table.depends_on_predictions == matters
    show(table, wrong=True)
    assert table.depends_on_predictions


def test_a_search_in_one_dataset_says_nothing_of_the_next(table):
    show(table, text="train")
    other = ArrayDataset({"val": np.zeros((2, 2, 2), np.uint8)}, None, ("a",), keys={"val": ["v/train", "v/2"]})
    table.set_dataset(other)
    assert table.shown.tolist() == [0]


def test_sorting_by_each_column(table, dataset):
    table.set_predictions(np.arange(5), np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.5, 0.5]], np.float32))
    names = list(dataset.keys)
    for column, expected in (
        (KEY, sorted(range(5), key=lambda i: names[i])),
        (SPLIT, [0, 1, 2, 3, 4]),
        (LABEL, [2, 0, 4, 1, 3]),
        (PREDICTION, [0, 1, 2, 4, 3]),
        (PROBABILITY, [1, 4, 3, 0, 2]),
        (PAINTED, [0, 1, 3, 4, 2]),
    ):
        table.sort(column)
        assert table.shown.tolist() == expected
    table.sort(SPLIT, DESCENDING)
    assert dataset.splits[table.shown].tolist() == ["test"] * 2 + ["train"] * 3
