"""One small pass of the loop: the sample is opened, its model loads, a map is made, ten steps of a retune are taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_feedback.errors import FeedbackError

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.models import Classifier

SAMPLE, STEPS, MASKS = "tag-digits", 10, 12
#: Given, so that none is looked for, which would take longer than the ten steps.
_LEARNING_RATE = 1e-4


class SelfTest:
    """What is tried, one thing after the other, each with what the one before it left.

    Parameters
    ----------
    folder : path
        Gets the sample.
    device : str
        Where to compute, as `pick_device` takes it.
    seed : int
        Of the choice of masks and of the retune.
    """

    def __init__(self, folder: str | Path, device: str = "auto", seed: int = 0) -> None:
        self._folder, self._device, self._seed = Path(folder), device, seed
        self._dataset: Dataset | None = None
        self._classifier: Classifier | None = None

    def parts(self) -> dict[str, Callable[[], str]]:
        """Return what is tried, by name and in order; each function says what it found, or raises what went wrong."""
        return {
            "the sample opens": self.open_sample,
            "its model loads": self.load_model,
            "a heatmap is made": self.make_map,
            "ten steps of a retune are taken": self.take_steps,
        }

    def open_sample(self) -> str:
        """Write the sample's images and open them."""
        from napari_cam_feedback.data import open_dataset
        from napari_cam_feedback.sample_models import prepare_sample

        data, _ = prepare_sample(SAMPLE, self._folder, device=self._device)
        self._dataset = open_dataset(data)
        return f"{len(self._dataset):,} images"

    def load_model(self) -> str:
        """Load the model that was written with them."""
        from napari_cam_feedback.models import load_classifier

        self._classifier = load_classifier(self._folder / "model.safetensors", device=self._device)
        return f"{len(self._classifier.class_names)} classes"

    def make_map(self) -> str:
        """Predict an image of the training split, whose answer is known, and make its heatmap."""
        from napari_cam_feedback.explanations import explain_item

        assert self._dataset is not None
        assert self._classifier is not None
        index = int(self._dataset.indices("train")[0])
        found = explain_item(self._classifier, self._dataset, index)
        if not math.isfinite(float(abs(found.map).max())) or not math.isfinite(float(found.probabilities.max())):
            raise FeedbackError(f"The model's numbers on {self._classifier.device} are not finite; try the device cpu.")
        if found.predicted != found.label:
            raise FeedbackError(
                f"The sample's model does not know its own images on {self._classifier.device}; try the device cpu."
            )
        return f"{found.map.shape[0]} x {found.map.shape[1]} pixels"

    def take_steps(self) -> str:
        """Retune a copy of the model for ten steps."""
        from napari_cam_feedback.feedback import known_masks
        from napari_cam_feedback.retuning import RetuneConfig, retune, run_to_end

        assert self._dataset is not None
        assert self._classifier is not None
        losses: list[float] = []
        config = RetuneConfig(iterations=STEPS, learning_rate=_LEARNING_RATE, seed=self._seed)
        masks = known_masks(self._dataset, MASKS, seed=self._seed)
        run_to_end(
            retune(self._classifier, self._dataset, masks, config),
            lambda step: losses.append(step.losses["total"]) if "total" in step.losses else None,
        )
        if len(losses) < STEPS or not all(map(math.isfinite, losses)):
            raise FeedbackError(f"Of {STEPS} steps of a retune only {len(losses)} had a finite loss; try the device cpu.")
        return f"loss {losses[0]:.3f} at the first, {losses[-1]:.3f} at the last"
