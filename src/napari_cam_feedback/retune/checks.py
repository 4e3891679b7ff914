"""What is measured during a retune, on validation images that it does not learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluate.fills import surround_fill
from napari_cam_feedback.evaluate.right_reasons import RightReasons, right_reasons
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.retune.painted import Painted
from napari_cam_feedback.torch_loader import torch

#: Pairs of a held-out image and another image's patch that are looked at.
MOST_SWAPS = 200


@dataclass(frozen=True)
class Check:
    """How the classifier stands at some iteration.

    Attributes
    ----------
    iteration : int
        Steps done.
    accuracy : float
        On the validation images as they are.
    pasted_accuracy : float
        On the validation images with the painted patch of an image of another class pasted on.
    pasted_flip_rate : float
        Share of validation images whose prediction changes by that.
    swap_accuracy : float or None
        On the painted images held out, their own patch refilled and the patch of an image of another class pasted on;
        None where all painted images are of one class.
    swap_flip_rate : float or None
        Share of those pairs whose prediction is not that of the image as it is.
    held_out : RightReasons
        On the painted images held out.
    """

    iteration: int
    accuracy: float
    pasted_accuracy: float
    pasted_flip_rate: float
    swap_accuracy: float | None
    swap_flip_rate: float | None
    held_out: RightReasons

    @property
    def neutral_accuracy(self) -> float:
        """Mean of the accuracies with lying or no evidence under the mask: pasted, swapped, refilled."""
        values = [self.pasted_accuracy, self.swap_accuracy, self.held_out.masked_accuracy]
        return float(np.mean([v for v in values if v is not None]))

    @property
    def reliance(self) -> float:
        """Mean of the rates at which predictions change when what is painted is pasted, swapped or refilled."""
        values = [self.pasted_flip_rate, self.swap_flip_rate, self.held_out.flip_rate]
        return float(np.mean([v for v in values if v is not None]))

    @property
    def score(self) -> float:
        """What the best checkpoint has most of."""
        return self.neutral_accuracy - 0.5 * self.reliance

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {**asdict(self), "held_out": self.held_out.to_json(), "score": self.score}


class Checker:
    """Measures a classifier on the same validation images, patches and fills each time.

    Parameters
    ----------
    dataset, cache
        Images and their inputs.
    validation : ndarray
        (V,) int64 labelled items.
    held_out : Painted
        Painted images to judge by; donors of the patches that are pasted.
    painted : Painted
        All painted images; donors of the patches that are swapped.
    masks : dict
        Masks of the held-out images in image pixels, by key.
    seed : int
        Of the choice of donors and of the fills.
    """

    def __init__(
        self,
        dataset: Dataset,
        cache: InputCache,
        validation: np.ndarray,
        held_out: Painted,
        painted: Painted,
        masks: dict[str, np.ndarray],
        seed: int,
    ) -> None:
        self.dataset = dataset
        self.cache = cache
        self.held_out = held_out
        self.masks = masks
        self.seed = seed
        parts = list(cache.batches(validation, 256))
        self.indices = np.concatenate([picked for picked, _ in parts])
        self.labels = torch.from_numpy(dataset.labels[self.indices].astype(np.int64))
        self.donors = self._donors()
        self._swap_images, self._swap_inputs = self._swaps(painted)

    def _donors(self) -> torch.Tensor:
        rng = np.random.default_rng(self.seed)
        donor_labels = self.held_out.labels.numpy()
        chosen = np.empty(len(self.labels), np.int64)
        for n, label in enumerate(self.labels.numpy()):
            others = np.flatnonzero(donor_labels != label)
            chosen[n] = rng.choice(others if len(others) else len(donor_labels))
        return torch.from_numpy(chosen)

    def _swaps(self, painted: Painted) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions (S,) in the held-out set and their inputs (S, C, h, w) with another class's patch."""
        generator = torch.Generator().manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        erased = surround_fill(self.held_out.inputs, self.held_out.masks, generator)
        each = max(1, MOST_SWAPS // len(self.held_out))
        pairs = [
            (image, int(donor))
            for image, label in enumerate(self.held_out.labels.tolist())
            for donor in rng.permutation(np.flatnonzero(painted.labels.numpy() != label))[:each]
        ]
        images = torch.tensor([image for image, _ in pairs], dtype=torch.int64)
        donors = torch.tensor([donor for _, donor in pairs], dtype=torch.int64)
        return images, painted.paste(erased[images], donors)

    def _swapped(self, classifier: Classifier) -> tuple[float | None, float | None]:
        if not len(self._swap_images):
            return None, None
        now = torch.cat([classifier.logits(part).argmax(1).cpu() for part in self._swap_inputs.split(64)])
        asis = torch.cat([classifier.logits(part).argmax(1).cpu() for part in self.held_out.inputs.split(64)])
        right = now == self.held_out.labels[self._swap_images]
        return float(right.float().mean()), float((now != asis[self._swap_images]).float().mean())

    def __call__(self, classifier: Classifier, iteration: int) -> Check:
        """Measure now."""
        plain: list[torch.Tensor] = []
        pasted: list[torch.Tensor] = []
        start = 0
        for picked, inputs in self.cache.batches(self.indices, 64):
            donors = self.donors[start : start + len(picked)]
            start += len(picked)
            plain.append(classifier.logits(inputs).argmax(1).cpu())
            pasted.append(classifier.logits(self.held_out.paste(inputs, donors)).argmax(1).cpu())
        before, after = torch.cat(plain), torch.cat(pasted)
        reasons = right_reasons(
            classifier, self.dataset, self.held_out.indices, self.masks, cache=self.cache, seed=self.seed
        )
        assert reasons is not None
        swap_accuracy, swap_flip_rate = self._swapped(classifier)
        return Check(
            iteration=iteration,
            accuracy=float((before == self.labels).float().mean()),
            pasted_accuracy=float((after == self.labels).float().mean()),
            pasted_flip_rate=float((before != after).float().mean()),
            swap_accuracy=swap_accuracy,
            swap_flip_rate=swap_flip_rate,
            held_out=reasons,
        )
