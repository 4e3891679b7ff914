"""What the method auto comes to."""

from __future__ import annotations

import pytest

from napari_cam_feedback.retuning import RetuneConfig
from napari_cam_feedback.retuning.automatic import (
    AUTO,
    AUTO_FEW_CLASSES,
    AUTO_SURROUNDINGS,
    auto_methods,
    choose_refill,
    distils,
)


def test_the_methods_follow_what_is_painted_and_what_the_training_images_show():
    assert auto_methods(surroundings=False, few_classes=False) == AUTO
    assert auto_methods(surroundings=False, few_classes=True) == AUTO_FEW_CLASSES
    assert auto_methods(surroundings=True, few_classes=True) == AUTO_SURROUNDINGS


def test_only_auto_takes_another_refill_than_the_settings_say_and_only_for_surroundings():
    assert choose_refill(RetuneConfig(fill="noise"), surroundings=True) == "donor"
    assert choose_refill(RetuneConfig(fill="noise"), surroundings=False) == "noise"
    assert choose_refill(RetuneConfig(method="actdiff", fill="noise"), surroundings=True) == "noise"


@pytest.mark.parametrize(
    ("surroundings", "unseen_classes", "relearns", "expected"),
    [
        (False, False, False, True),
        (False, False, True, False),
        (False, True, True, True),
        (True, True, False, False),
    ],
)
def test_auto_keeps_to_the_given_networks_answers_where_they_show_what_is_needed(
    surroundings, unseen_classes, relearns, expected
):
    found = {"surroundings": surroundings, "unseen_classes": unseen_classes, "relearns": relearns}
    assert distils(RetuneConfig(), **found) is expected
    # The settings come first, and other methods do not do so unasked.
    assert distils(RetuneConfig(distillation=not expected), **found) is not expected
    assert distils(RetuneConfig(method="actdiff"), **found) is False
