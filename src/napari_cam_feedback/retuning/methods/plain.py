"""Methods that use no mask: what the others must beat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_cam_feedback.retuning.methods.base import Method


class Continued(Method):
    """Cross-entropy alone, on the same batches."""

    name = "continued"
    description = "Continued training: more steps on the same images; masks change nothing."
    takes_styles = True


class Augment(Method):
    """Cross-entropy alone, on images that are turned, shifted, zoomed and brightened."""

    name = "augment"
    description = "Classic augmentation: images turned, shifted, zoomed and brightened a little, masks with them."
    augments = True
    takes_styles = True


class Misclassified(Method):
    """Cross-entropy alone, mostly on what the classifier got wrong at the start (Ferrada 2019: 70 %)."""

    name = "misclassified"
    takes_styles = True
    description = "Misclassified emphasis: mostly the training images that the model got wrong at the start."
    without_sampling_weights = (
        "The model gets all training images right (or all wrong), so misclassified is the same as continued here."
    )

    def sampling_weights(self, wrong: Callable[[], np.ndarray]) -> np.ndarray | None:
        chosen = wrong()
        if not chosen.any() or chosen.all():
            return None
        share = self.config.misclassified_share
        return np.where(chosen, share / chosen.sum(), (1 - share) / (~chosen).sum())
