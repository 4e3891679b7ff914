"""The expert's marks of filters, on disk, and how far a ranking agrees with them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core_builders import small_disk, small_gap
from napari_cam_feedback.errors import ConfigError, StorageError
from napari_cam_feedback.explanations.filters.marks import FilterMarks, agreement, load_marks, marks_path


def marks(relevant: tuple[int, ...] = (), irrelevant: tuple[int, ...] = (), filters: int = 10) -> FilterMarks:
    found = FilterMarks(classifier="f" * 64, layer="features", filters=filters)
    for number in relevant:
        found = found.marked(number, "relevant")
    for number in irrelevant:
        found = found.marked(number, "irrelevant")
    return found


def test_a_filter_is_marked_marked_otherwise_and_unmarked():
    found = marks((3, 1), (2,))
    assert (found.relevant, found.irrelevant) == ((1, 3), (2,))
    assert found.marked(3, "irrelevant").irrelevant == (2, 3)
    assert found.marked(3, None).relevant == (1,)
    assert found.relevant == (1, 3)  # left as it was
    for wrong in (-1, 10):
        with pytest.raises(ConfigError, match=f"There is no filter {wrong}; the target layer's filters are 0 to 9"):
            found.marked(wrong, "relevant")


def test_marks_are_there_again_when_the_project_is_opened(tmp_path):
    classifier = small_gap()
    first = load_marks(tmp_path, classifier)
    assert (first.marks, first.layer, first.filters) == ({}, classifier.target_layer, classifier.layout.filters)
    assert not list(tmp_path.iterdir())
    saved = first.marked(4, "relevant").marked(1, "irrelevant")
    file = saved.save(tmp_path)
    assert load_marks(tmp_path, small_gap()) == saved
    assert json.loads(file.read_text())["marks"] == {"1": "irrelevant", "4": "relevant"}


def test_marks_that_two_holders_of_a_project_make_are_put_together(tmp_path):
    classifier = small_gap()
    both = load_marks(tmp_path, classifier)
    one, other = both.marked(1, "relevant"), both.marked(2, "irrelevant").marked(3, "relevant")
    one = one.save_changes(tmp_path, both)
    other = other.save_changes(tmp_path, both)
    assert load_marks(tmp_path, classifier).marks == {1: "relevant", 2: "irrelevant", 3: "relevant"}
    # One takes away a mark of the other's, who meanwhile makes another one.
    one = one.save_changes(tmp_path, one)
    one.marked(3, None).save_changes(tmp_path, load_marks(tmp_path, classifier))
    assert other.marked(4, "relevant").save_changes(tmp_path, other).marks[4] == "relevant"
    assert load_marks(tmp_path, classifier).relevant == (1, 4)


def test_marks_belong_to_one_version(tmp_path):
    before, after = small_gap(seed=0), small_gap(seed=1)
    saved = load_marks(tmp_path, before).marked(4, "relevant")
    saved.save(tmp_path)
    assert load_marks(tmp_path, after).marks == {}
    assert load_marks(tmp_path, before).relevant == (4,)


def test_a_broken_or_foreign_file_gives_a_sentence_and_stays(tmp_path):
    classifier = small_gap()
    good = load_marks(tmp_path, classifier).marked(0, "relevant")
    file = good.save(tmp_path)
    whole = json.loads(file.read_text())
    for change in ({"marks": {"0": "maybe"}}, {"classifier": "0" * 64}, {"marks": {"99999": "relevant"}}, {"filters": 0}):
        file.write_text(json.dumps(whole | change))
        with pytest.raises(StorageError, match=r"does not hold this model's marks of filters; restore it or remove it\."):
            load_marks(tmp_path, classifier)
        assert file.exists()
    file.write_text("{")
    with pytest.raises(StorageError, match="is not a JSON file"):
        load_marks(tmp_path, classifier)
    file.write_text(json.dumps(whole | {"schema_version": 2, "marks": "of another kind"}))
    with pytest.raises(StorageError, match=r"A newer version of napari-cam-feedback wrote .*; update the plugin\."):
        load_marks(tmp_path, classifier)


def test_a_full_disk_leaves_the_marks_of_before(tmp_path):
    classifier = small_gap()
    first = load_marks(tmp_path, classifier).marked(0, "relevant")
    first.save(tmp_path)
    more = first
    for number in range(classifier.layout.filters):
        more = more.marked(number, "irrelevant")
    with small_disk(100), pytest.raises(StorageError, match="Could not write"):
        more.save(tmp_path)
    assert load_marks(tmp_path, classifier) == first
    assert [path.name for path in marks_path(tmp_path, first.classifier).parent.iterdir()] == [
        f"marks-{classifier.fingerprint()[:16]}.json"
    ]


def test_agreement_by_hand():
    # The ranking's top four are 0, 1, 2, 3; of these 0 and 1 are marked relevant, 2 irrelevant, 3 not at all.
    found = agreement(marks((0, 1, 7), (2, 8, 9)), np.arange(10), 4)
    assert (found.both, found.only_ranked, found.only_marked, found.neither) == (2, 1, 1, 2)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    other = agreement(marks((9,), (0,)), np.arange(10)[::-1], 1)
    assert (other.precision, other.recall, other.f1) == (1.0, 1.0, 1.0)


def test_shares_with_nothing_to_divide_by_are_none():
    nothing = agreement(marks(), np.arange(10), 4)
    assert (nothing.precision, nothing.recall, nothing.f1) == (None, None, None)
    none_in_top = agreement(marks((9,), (8,)), np.arange(10), 4)
    assert (none_in_top.precision, none_in_top.recall, none_in_top.f1) == (None, 0.0, None)
    none_relevant = agreement(marks((), (0,)), np.arange(10), 4)
    assert (none_relevant.precision, none_relevant.recall, none_relevant.f1) == (0.0, None, None)
    all_wrong = agreement(marks((9,), (0,)), np.arange(10), 4)
    assert (all_wrong.precision, all_wrong.recall, all_wrong.f1) == (0.0, 0.0, 0.0)
    assert agreement(marks((0,)), np.arange(10), 0).recall == 0.0
