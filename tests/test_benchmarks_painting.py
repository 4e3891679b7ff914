"""The simulated user of the benchmark of painting does what is said of it, on masks made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.painting import AIM, FIRST, LOOK, SHOWN, SPEED, by_box, by_brush, by_clicks, by_heatmap, middle

MASK = np.zeros((20, 20), bool)
MASK[4:9, 6:15] = True


class _Steady:
    def normal(self, mean, deviation, shape):
        return np.zeros(shape)


def test_a_box_by_a_steady_hand_is_the_mask_and_takes_one_drag():
    hand = by_box(MASK, _Steady())
    assert np.array_equal(hand.mask, MASK)
    assert hand.clicks == 1
    # From (4, 6) to (8, 14), 35 pixels of the screen for each of the image.
    assert hand.seconds == pytest.approx(FIRST + LOOK + AIM + np.hypot(4, 8) * SHOWN / 20 / SPEED)


def test_a_tool_that_paints_the_mask_takes_one_click_and_one_that_does_not_is_undone():
    assert middle(MASK) == (6, 8)
    hand = by_clicks(MASK, MASK, lambda place: MASK)
    assert np.array_equal(hand.mask, MASK)
    assert hand.clicks == 1
    assert hand.seconds == pytest.approx(FIRST + LOOK, abs=0.5)
    hand = by_clicks(MASK, MASK, lambda place: ~MASK)
    assert not hand.mask.any()
    assert len(hand.undone) == 2


def test_brush_and_heatmap_stay_where_the_mask_is():
    hand = by_brush(MASK, _Steady())
    assert (hand.mask & MASK).sum() > 0.7 * MASK.sum()
    assert np.array_equal(by_heatmap(MASK.astype(np.float32), MASK).mask, MASK)
