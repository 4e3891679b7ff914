"""The method that learns no features: a new last layer on those that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.retuning.head_refit import find_last_linear
from napari_cam_feedback.retuning.methods.replacing import Transplant

if TYPE_CHECKING:
    from napari_cam_feedback.models.classifier import Classifier


class Head(Transplant):
    """A logistic regression on features of transplanted images as the last linear layer; see `retuning.head_refit`."""

    name = "head"
    description = "Head refit: only the last linear layer is made anew, on transplanted images, in seconds; a preview."
    composable = False
    solves = True

    def check(self, classifier: Classifier) -> None:
        super().check(classifier)
        found = find_last_linear(classifier)
        if found is None:
            raise RetuneError(
                "The method head makes the last linear layer anew, and this network's logits are not what a linear layer "
                "puts out; choose transplant or actdiff."
            )
        if any(found == part or found.startswith(f"{part}.") for part in self.config.freeze):
            raise RetuneError(f"The method head changes {found!r} alone, and that is frozen; freeze other parts or none.")
