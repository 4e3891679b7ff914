"""What is measured during a retune, on validation images and painted images that it does not learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.evaluate.comparison import ComparisonRow, reasons_rows
from napari_cam_feedback.evaluate.right_reasons import RightReasons, right_reasons
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.retune.painted import Painted
from napari_cam_feedback.torch_loader import torch


@dataclass(frozen=True)
class Check:
    """How the classifier stands at some iteration.

    Attributes
    ----------
    iteration : int
        Steps done.
    n : int
        Validation images.
    accuracy : float
        On the validation images as they are.
    misled_accuracy : float
        On the validation images made to lie: the painted places refilled, and the painted patch of an image of another
        class pasted on.
    misled_flip_rate : float
        Share of the validation images whose prediction that changes.
    held_out : RightReasons
        On the painted images held out; swapped patches and random places are measured at the start and the end only.
    """

    iteration: int
    n: int
    accuracy: float
    misled_accuracy: float
    misled_flip_rate: float
    held_out: RightReasons

    @property
    def score(self) -> float:
        """What the best checkpoint has most of: accuracy where the shortcut lies, and few changed predictions.

        Plain accuracy counts half, so that a model that knows nothing, and so never changes its mind, is not chosen.
        """
        return self.misled_accuracy + 0.5 * self.accuracy - 0.25 * self.misled_flip_rate

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
        All painted images; they say which places to refill.
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
        self.painted = painted
        self.masks = masks
        self.seed = seed
        self.validation = validation
        self._donors = self._choose_donors(dataset.labels[validation])

    def _choose_donors(self, labels: np.ndarray) -> dict[int, int]:
        """Return, for each validation item, the position of a held-out image of another class where there is one."""
        rng = np.random.default_rng(self.seed)
        donor_labels = self.held_out.labels.numpy()
        donors = {}
        for index, label in zip(self.validation, labels, strict=True):
            others = np.flatnonzero(donor_labels != label)
            donors[int(index)] = int(rng.choice(others if len(others) else len(donor_labels)))
        return donors

    def __call__(self, classifier: Classifier, iteration: int) -> Check:
        """Measure now."""
        generator = torch.Generator().manual_seed(self.seed)
        right = misled_right = flipped = total = 0
        for picked, inputs in self.cache.batches(self.validation, 64):
            labels = torch.from_numpy(self.dataset.labels[picked].astype(np.int64))
            donors = torch.tensor([self._donors[int(i)] for i in picked])
            misled = self.held_out.paste(self.painted.clear_places(inputs, generator), donors)
            before = classifier.logits(inputs).argmax(1).cpu()
            after = classifier.logits(misled).argmax(1).cpu()
            right += int((before == labels).sum())
            misled_right += int((after == labels).sum())
            flipped += int((before != after).sum())
            total += len(picked)
        # In the middle of a run nobody looks at the dear measures.
        reasons = self._reasons(classifier, full=iteration == 0)
        if reasons is None or not total:
            raise RetuneError("The validation images cannot be read any more; check that the dataset is still there.")
        return Check(iteration, total, right / total, misled_right / total, flipped / total, reasons)

    def complete(self, classifier: Classifier, check: Check) -> Check:
        """Return a check of this classifier with every measure on the held-out painted images; the rest stays as it is."""
        if check.held_out.random_flip_rate is not None:
            return check
        reasons = self._reasons(classifier, full=True)
        return check if reasons is None else replace(check, held_out=reasons)

    def _reasons(self, classifier: Classifier, *, full: bool) -> RightReasons | None:
        return right_reasons(
            classifier, self.dataset, self.held_out.indices, self.masks, cache=self.cache, seed=self.seed, full=full
        )


def check_rows(before: Check, after: Check) -> list[ComparisonRow]:
    """Return what two checks measured, for a table: validation images, then the painted images that were measured."""
    n = after.held_out.n
    painted = f"{n} painted {'image' if n == 1 else 'images'}"
    return [
        ComparisonRow("validation", "accuracy", before.accuracy, after.accuracy),
        ComparisonRow("validation", "misled_accuracy", before.misled_accuracy, after.misled_accuracy),
        ComparisonRow("validation", "misled_flip_rate", before.misled_flip_rate, after.misled_flip_rate),
        ComparisonRow(painted, "accuracy", before.held_out.accuracy, after.held_out.accuracy),
        *reasons_rows(painted, before.held_out, after.held_out),
    ]
