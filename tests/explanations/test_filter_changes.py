"""What a retune did to the filters: change of their mean activations, histograms, filters that died or were born."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from core_builders import small_gap, stripes
from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.explanations.filters.changes import change_histograms, filter_changes
from napari_cam_feedback.explanations.filters.features import Features, features_of
from napari_cam_feedback.torch_loader import torch


def features(mean: list[list[float]], version: str, **changes: object) -> Features:
    values = np.array(mean, np.float32)
    count = len(values)
    made = Features(
        np.arange(count), tuple(map(str, range(count))), np.zeros(count, np.int64), values, values * 2,
        np.zeros((count, 2), np.float32), ("a", "b"), "test", "features", version, "d",
    )  # fmt: skip
    return replace(made, **changes)


def test_change_relative_change_and_effect_by_hand():
    before = features([[1, 0, 5], [3, 0, 5]], "one")
    after = features([[4, 1, 5], [6, 1, 5]], "two")
    found = filter_changes(before, after)
    assert found.before.tolist() == [2, 0, 5]
    assert found.after.tolist() == [5, 1, 5]
    assert found.change.tolist() == [3, 1, 0]
    np.testing.assert_allclose(found.relative, [1.5, np.nan, 0])
    np.testing.assert_allclose(found.effect, [3, np.nan, np.nan])  # both deviations are 1; the others do not vary
    assert found.order.tolist() == [0, 1, 2]
    assert found.images == 2
    fallen = filter_changes(after, before)
    assert fallen.change.tolist() == [-3, -1, 0]
    np.testing.assert_allclose(fallen.relative, [-0.6, -1, 0])


def test_the_relative_change_of_a_negative_mean_has_the_change_s_sign():
    found = filter_changes(features([[-2.0]], "one"), features([[-1.0]], "two"))
    assert found.relative.tolist() == [0.5]


def test_filters_that_died_and_were_born():
    # 0 lives, 1 dies, 2 is born, 3 was dead all along, 4 is quiet but not dead, 5 has a mean of 0 and is signed.
    before = features([[1, 2, 0, 0, 1, 1], [1, 0, 0, 0, 1, 1]], "one")
    after = features([[1, 1e-9, 0, 0, 1e-3, 0], [1, 0, 3, 0, 1e-3, 0]], "two")
    maximum = after.maximum.copy()
    maximum[:, 5] = 1
    found = filter_changes(before, replace(after, maximum=maximum))
    assert np.flatnonzero(found.died).tolist() == [1]
    assert np.flatnonzero(found.born).tolist() == [2]


def test_histograms_before_and_after_share_their_bins():
    found = change_histograms(features([[0], [1], [1]], "one"), features([[2], [4], [4]], "two"), 0, bins=4)
    assert found.edges.tolist() == [0, 1, 2, 3, 4]
    assert found.before.tolist() == [1, 2, 0, 0]
    assert found.after.tolist() == [0, 0, 1, 2]
    with pytest.raises(ConfigError, match="There is no filter 1"):
        change_histograms(features([[0]], "one"), features([[1]], "two"), 1)


def test_images_that_one_version_could_not_read_are_left_out_of_both():
    before = features([[1], [2], [30]], "one")
    after = features([[5], [7]], "two", indices=np.array([0, 1]))
    found = filter_changes(before, after)
    assert (found.before.tolist(), found.after.tolist(), found.images) == ([1.5], [6.0], 2)


def test_what_cannot_be_compared_gives_a_sentence():
    before = features([[1.0]], "one")
    with pytest.raises(DataError, match=r"looked at with different images; compute both for the same split\."):
        filter_changes(before, features([[1.0]], "two", data="other"))
    with pytest.raises(DataError, match=r"target layers differ \('features' with 1 filters, 'features' with 2\); compare"):
        filter_changes(before, features([[1.0, 2.0]], "two"))
    with pytest.raises(DataError, match=r"have no image in common; compute the features of both anew\."):
        filter_changes(before, features([[1.0]], "two", indices=np.array([5])))


def test_changes_are_written_as_a_table_with_gaps_where_undefined(tmp_path):
    filter_changes(features([[1, 0], [3, 0]], "one"), features([[2, 5], [4, 5]], "two")).save_csv(tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "filter": "1", "before": "0", "after": "5", "change": "5", "relative": "", "effect": "", "died": "0", "born": "1",
    }  # fmt: skip
    assert rows[1]["effect"] == "1"


def test_a_filter_switched_off_in_a_real_network_is_the_one_that_died():
    dataset, before = stripes({"test": 8}), small_gap(("across", "along"))
    after = before.copy()
    off = int(features_of(before, dataset, "test").mean.mean(0).argmax())
    last = [m for m in after.module.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.BatchNorm2d)][-1]
    with torch.no_grad():
        last.weight[off] = 0
        if last.bias is not None:
            last.bias[off] = 0
        if isinstance(last, torch.nn.BatchNorm2d):
            last.running_mean[off] = 0
    found = filter_changes(features_of(before, dataset, "test"), features_of(after, dataset, "test"))
    assert np.flatnonzero(found.died).tolist() == [off]
    assert found.order[0] == off
    assert not np.delete(found.change, off).any()
