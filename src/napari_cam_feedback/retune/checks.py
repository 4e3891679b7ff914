"""What is measured during a retune, on validation images and painted images that it does not learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.evaluate.comparison import ComparisonRow, reasons_rows
from napari_cam_feedback.evaluate.right_reasons import RightReasons, right_reasons
from napari_cam_feedback.evaluate.surroundings import before_others, of_other_classes, without_objects
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.retune.marks import marks_matter
from napari_cam_feedback.retune.painted import Painted
from napari_cam_feedback.torch_loader import torch

#: Composites of held-out objects and other surroundings that are looked at, about.
MOST_SCENES = 200


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
    scenes : int
        Where what is painted are surroundings, the misled images are so many composites of held-out objects before the
        surroundings of painted images of other classes; else 0.
    marks : float or None
        At the start: how often a prediction for a painted image changes when what is painted on it is taken out or swapped
        (`marks_matter`).
    """

    iteration: int
    n: int
    accuracy: float
    misled_accuracy: float
    misled_flip_rate: float
    held_out: RightReasons
    scenes: int = 0
    marks: float | None = None

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
        self._composites: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def _scenes(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Held-out objects before the surroundings of others: images (M, C, h, w), rows of the originals and labels (M,)."""
        scenes = without_objects(self.painted.inputs, self.painted.masks)
        generator = torch.Generator().manual_seed(self.seed)
        odds = of_other_classes(self.held_out.labels, self.painted.labels)
        rows, images = [], []
        for row in range(len(self.held_out)):
            others = torch.nonzero(odds[row])[:, 0]
            chosen = others[torch.randperm(len(others), generator=generator)[: max(1, MOST_SCENES // len(self.held_out))]]
            one = self.held_out.take(np.full(len(chosen), row))
            rows.append(torch.full((len(chosen),), row))
            images.append(before_others(one.inputs, one.masks, scenes, chosen, generator))
        at = torch.cat(rows)
        return torch.cat(images), at, self.held_out.labels[at]

    def _misled_by_scenes(self, classifier: Classifier) -> tuple[float, float]:
        """Return accuracy on, and share of changed predictions of, the held-out objects before other surroundings."""
        if self._composites is None:
            self._composites = self._scenes()
        images, rows, labels = self._composites
        after = torch.cat([classifier.logits(part).argmax(1).cpu() for part in images.split(64)])
        before = torch.cat([classifier.logits(part).argmax(1).cpu() for part in self.held_out.inputs.split(64)])[rows]
        return float((after == labels).float().mean()), float((after != before).float().mean())

    def _choose_donors(self, labels: np.ndarray) -> dict[int, int]:
        """Return, for each validation item, the position of a held-out image of another class where there is one."""
        rng = np.random.default_rng(self.seed)
        donor_labels = self.held_out.labels.numpy()
        donors = {}
        for index, label in zip(self.validation, labels, strict=True):
            others = np.flatnonzero(donor_labels != label)
            donors[int(index)] = int(rng.choice(others if len(others) else len(donor_labels)))
        return donors

    def start(self, classifier: Classifier) -> Check:
        """Measure the classifier as it was given."""
        return replace(self(classifier, 0), marks=marks_matter(classifier, self.painted, self.seed))

    def __call__(self, classifier: Classifier, iteration: int) -> Check:
        """Measure now."""
        generator = torch.Generator().manual_seed(self.seed)
        right = misled_right = flipped = total = 0
        for picked, inputs in self.cache.batches(self.validation, 64):
            labels = torch.from_numpy(self.dataset.labels[picked].astype(np.int64))
            donors = torch.tensor([self._donors[int(i)] for i in picked])
            before = classifier.logits(inputs).argmax(1).cpu()
            right += int((before == labels).sum())
            total += len(picked)
            if self.painted.surroundings:
                continue
            misled = self.held_out.paste(self.painted.clear_places(inputs, generator), donors)
            after = classifier.logits(misled).argmax(1).cpu()
            misled_right += int((after == labels).sum())
            flipped += int((before != after).sum())
        # In the middle of a run nobody looks at the dear measures.
        reasons = self._reasons(classifier, full=iteration == 0)
        if reasons is None or not total:
            raise RetuneError("The validation images cannot be read any more; check that the dataset is still there.")
        if self.painted.surroundings:
            misled_accuracy, flip_rate = self._misled_by_scenes(classifier)
            assert self._composites is not None
            return Check(iteration, total, right / total, misled_accuracy, flip_rate, reasons, len(self._composites[0]))
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
