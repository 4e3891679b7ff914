"""Who measures during a retune, on validation images and painted images that it does not learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.evaluation.groups import group_accuracies, named_groups
from napari_cam_feedback.evaluation.perturbations.fills import surround_fill
from napari_cam_feedback.evaluation.right_reasons import RightReasons, right_reasons
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.retuning.judging.calibration import fit_temperature, smooth
from napari_cam_feedback.retuning.judging.composites import Composites, make_composites
from napari_cam_feedback.retuning.judging.metrics import SHORTCUT_HELPS, SHORTCUT_IDLE, ValidationMetrics
from napari_cam_feedback.retuning.judging.moved import accuracy_lost
from napari_cam_feedback.retuning.judging.relevance import HARDLY, marks_matter, marks_mislead
from napari_cam_feedback.torch_loader import torch

#: Accuracy that goes when the painted places of the validation images are refilled from which on the shortcut helps there.
HELP = 0.03


class Validator:
    """Measures a classifier on the same validation images, patches and fills each time.

    Parameters
    ----------
    dataset, cache
        Images and their inputs.
    validation : ndarray
        (V,) int64 labelled items.
    held_out : MaskedSet
        Painted images to judge by; donors of the patches that are pasted.
    painted : MaskedSet
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
        held_out: MaskedSet,
        painted: MaskedSet,
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
        #: The class of all that is painted, where that is one and there are validation images of others; else None.
        self._only = self._only_class(dataset.labels[validation])
        held = set(held_out.keys)
        self._learnt = painted.take(np.flatnonzero([key not in held for key in painted.keys]))
        self._composites: list[Composites] = []
        #: Which validation images the classifier had right at the start, bool (V,), as they are and with places refilled.
        self._right: dict[str, np.ndarray] = {}
        #: Whether the shortcut helps on the validation images as they are; told at the start.
        self._helps = True
        self._own: dict[int, int] = {}

    def _by_scenes(self, classifier: Classifier, check: ValidationMetrics, temperature: float) -> ValidationMetrics:
        """Return a check with what objects before other surroundings say."""
        if not self._composites:
            self._composites = [
                make_composites(objects, self.painted, self.seed)
                for objects in (self.held_out, self._learnt)
                if len(objects)
            ]
        found = [each.measure(classifier, temperature) for each in self._composites]
        return replace(
            check,
            conflict_accuracy=found[0][0],
            conflict_flip_rate=found[0][1],
            scenes=len(self._composites[0].images),
            familiar=found[1][:2] if len(found) > 1 else None,
            conflict_probability=float(np.mean([each[2] for each in found])),
            probability_shift=float(np.mean([each[3] for each in found])),
        )

    def _only_class(self, labels: np.ndarray) -> int | None:
        classes = np.unique(self.painted.labels.numpy())
        patches = not self.painted.surroundings and self.painted.overlay is None and self.painted.also is None
        return int(classes[0]) if patches and len(classes) == 1 and (labels != classes[0]).any() else None

    def _choose_donors(self, labels: np.ndarray) -> dict[int, int]:
        """Return, for each validation item, the position of a held-out image of another class where there is one."""
        rng = np.random.default_rng(self.seed)
        donor_labels = self.held_out.labels.numpy()
        donors = {}
        for index, label in zip(self.validation, labels, strict=True):
            others = np.flatnonzero(donor_labels != label)
            donors[int(index)] = int(rng.choice(others if len(others) else len(donor_labels)))
        return donors

    def start(self, classifier: Classifier) -> ValidationMetrics:
        """Measure the classifier as it was given; it is what the others are compared with from now on."""
        check = self(classifier, 0)
        # By what lies over whole images a model may tell the class also where a mark is taken out; or there is no mark.
        marks = None if self._style_words else marks_matter(classifier, self.painted, self.seed)
        if marks is not None and self.painted.overlay is not None:
            # One mark for all has no other to be swapped for; put on images without it, it says the same of more images.
            marks = max(marks, check.conflict_flip_rate)
        if marks is not None and marks <= HARDLY and self._only is not None:
            marks = max(marks, marks_mislead(classifier, self.painted, self._of_others(self._only), self.seed))
        check = replace(check, marks=marks, moved=self._moved(classifier))
        # It is asked for only where what is painted hardly matters where it is.
        return check if marks is None or marks > HARDLY else replace(check, control=self._control(classifier))

    def _of_others(self, painted: int) -> Iterator[torch.Tensor]:
        for picked, inputs in self.cache.batches(self.validation, 64):
            others = self.dataset.labels[picked] != painted
            if others.any():
                yield inputs[torch.from_numpy(others)]

    def _control(self, classifier: Classifier) -> tuple[int, int, int] | None:
        """Return how often patches of other classes alone change a prediction, how often those of its own, of how many."""
        if self.painted.overlay is not None:
            return None
        rng = np.random.default_rng(self.seed)
        generator = torch.Generator().manual_seed(self.seed)
        labels = self.painted.labels.numpy()
        only = np.zeros(3, np.int64)
        for picked, inputs in self.cache.batches(self.validation, 64):
            classes = self.dataset.labels[picked]
            rows = np.flatnonzero([bool((labels == k).any() and (labels != k).any()) for k in classes])
            if not len(rows):
                continue
            inputs, own = inputs[rows], self._own_places(classifier, picked, inputs)
            cleared = self.painted.clear_places(inputs, generator, None if own is None else own[rows])
            before = classifier.logits(inputs).argmax(1).cpu()
            changed = []
            for like in (np.not_equal, np.equal):
                donors = torch.tensor([rng.choice(np.flatnonzero(like(labels, k))) for k in classes[rows]])
                changed.append(classifier.logits(self.painted.paste(cleared, donors)).argmax(1).cpu() != before)
            other, same = changed
            only += [int((other & ~same).sum()), int((same & ~other).sum()), len(rows)]
        return (int(only[0]), int(only[1]), int(only[2])) if only[2] else None

    def remember(self, classifier: Classifier) -> None:
        """Compare with the classifier as it was given from now on, which was measured before."""
        self._logits(classifier, 0)

    def __call__(self, classifier: Classifier, iteration: int) -> ValidationMetrics:
        """Measure now; at iteration 0 it is the classifier as it was given."""
        found = self._logits(classifier, iteration)
        # In the middle of a run nobody looks at the dear measures.
        reasons = self._reasons(classifier, full=iteration == 0)
        labels = found.labels
        if reasons is None or not len(labels):
            raise RetuneError("The validation images cannot be read any more; check that the dataset is still there.")
        before = found.plain.argmax(1)
        right = (before == labels).numpy()
        lost, won = self._changes("plain", right)
        # What only the shortcut gave must go, so that it does not count.
        known = found.cleared if found.cleared is not None and self._plain_weight == SHORTCUT_HELPS else found.plain
        temperature = fit_temperature(known, labels)
        check = ValidationMetrics(
            iteration,
            len(labels),
            float(right.mean()),
            0.0,
            0.0,
            reasons,
            lost=int(lost.sum()),
            won=int(won.sum()),
            lost_by_class=self._by_class(labels.numpy(), lost, won),
            neutral=None if found.cleared is None else self._neutral(found.cleared, labels),
            plain_weight=self._plain_weight,
            probability=smooth(known, known, labels, temperature)[0],
            worst_group=self._worst_group(found.items, right),
            style=self._style_words,
            style_alone=self.painted.style is not None,
        )
        if found.conflict is None:
            return self._by_scenes(classifier, check, temperature)
        conflict = found.conflict
        if self._only is not None:
            # On images of the painted class the patch says what is true.
            others = labels != self._only
            known, conflict, labels, before = known[others], conflict[others], labels[others], before[others]
            check = replace(check, pasted=len(labels))
        after = conflict.argmax(1)
        _, probability, shift = smooth(known, conflict, labels, temperature)
        return replace(
            check,
            conflict_accuracy=float((after == labels).float().mean()),
            conflict_flip_rate=float((after != before).float().mean()),
            conflict_probability=probability,
            probability_shift=shift,
        )

    def _logits(self, classifier: Classifier, iteration: int) -> _Logits:
        """Return the logits of all validation images; those of iteration 0 are what later ones are compared with."""
        generator = torch.Generator().manual_seed(self.seed)
        pastes, clears = not self.painted.surroundings, self._clears and (iteration == 0 or self._helps)
        items, plain, cleared, conflict = [_NONE], [torch.empty(0, classifier.num_classes)], [], []
        for picked, inputs in self.cache.batches(self.validation, 64):
            items.append(picked)
            plain.append(classifier.logits(inputs).float().cpu())
            if pastes:
                donors = torch.tensor([self._donors[int(i)] for i in picked])
                own, also = self._own_places(classifier, picked, inputs), self.painted.also
                without = self.painted.clear_places(inputs, generator, own)
                if clears:
                    cleared.append(classifier.logits(without).float().cpu())
                if also is not None:
                    without = self.painted.clear_places(also.conflicting(inputs, generator), generator, own)
                style = self.painted.style
                pasted = self.held_out.paste(without, donors) if style is None else style.conflicting(inputs, generator)
                conflict.append(classifier.logits(pasted).float().cpu())
        found = _Logits(
            np.concatenate(items),
            torch.from_numpy(self.dataset.labels[np.concatenate(items)].astype(np.int64)),
            torch.cat(plain),
            torch.cat(cleared) if cleared else None,
            torch.cat(conflict) if conflict else None,
        )
        if iteration == 0:
            right = (found.plain.argmax(1) == found.labels).numpy()
            self._right["plain"] = right
            if found.cleared is not None:
                self._right["neutral"] = (found.cleared.argmax(1) == found.labels).numpy()
                self._helps = bool(right.mean() - self._right["neutral"].mean() > HELP)
        return found

    @property
    def _clears(self) -> bool:
        """Whether the painted places can be refilled on images that nobody painted."""
        painted = self.painted
        places = painted.overlay is not None or bool(painted.places.any()) or len(painted.separate_places) > 0
        return places and not painted.surroundings

    @property
    def _style_words(self) -> str:
        if self.painted.also is not None:
            return f"with another class's marker pasted in, and {self.painted.also.changed}"
        return "" if self.painted.style is None else self.painted.style.changed

    @property
    def _plain_weight(self) -> float:
        return SHORTCUT_HELPS if self._helps else SHORTCUT_IDLE

    def _own_places(self, classifier: Classifier, picked: np.ndarray, inputs: torch.Tensor) -> torch.Tensor | None:
        """Return, where painted places are too many to refill all, the one that each image's own mark is taken to be at.

        It is that whose refilling takes most from the probability of the class predicted at the start. Asked once for each
        image, of the classifier as it was given, which comes first.
        """
        parts = self.painted.separate_places
        if self.painted.overlay is not None or self.painted.places.any() or not len(parts):
            return None
        if any(int(index) not in self._own for index in picked):
            generator = torch.Generator().manual_seed(self.seed)
            before = classifier.logits(inputs).float().softmax(1).max(1)
            left = []
            for part in parts:
                cleared = surround_fill(inputs, part.expand(len(inputs), -1, -1), generator)
                found = classifier.logits(cleared).float().softmax(1)
                left.append(found.gather(1, before.indices[:, None])[:, 0].cpu())
            self._own |= dict(zip(picked.tolist(), torch.stack(left).argmin(0).tolist(), strict=True))
        return torch.tensor([self._own[int(index)] for index in picked])

    def neutral(self, classifier: Classifier, check: ValidationMetrics) -> ValidationMetrics:
        """Return a check with the accuracy on the validation images with the painted places refilled, where it has none.

        By it a verdict tells what was forgotten from what only the shortcut gave.
        """
        if not self._clears or check.neutral is not None:
            return check
        generator = torch.Generator().manual_seed(self.seed)
        labels, logits = [_NONE], [torch.empty(0, classifier.num_classes)]
        for picked, inputs in self.cache.batches(self.validation, 64):
            cleared = self.painted.clear_places(inputs, generator, self._own_places(classifier, picked, inputs))
            labels.append(self.dataset.labels[picked].astype(np.int64))
            logits.append(classifier.logits(cleared).float().cpu())
        return replace(check, neutral=self._neutral(torch.cat(logits), torch.from_numpy(np.concatenate(labels))))

    def _neutral(self, cleared: torch.Tensor, labels: torch.Tensor) -> tuple[float, int, int]:
        right = (cleared.argmax(1) == labels).numpy()
        lost, won = self._changes("neutral", right)
        return float(right.mean()), int(lost.sum()), int(won.sum())

    def _changes(self, which: str, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which images were lost and won since the start, bool (V,) each."""
        at_start = self._right.get(which)
        if at_start is None or len(at_start) != len(right):
            # Some image could not be read at one of the times.
            return np.zeros(len(right), bool), np.zeros(len(right), bool)
        return at_start & ~right, right & ~at_start

    def _worst_group(self, items: np.ndarray, right: np.ndarray) -> tuple[str, float, int, float, float] | None:
        """Return which of the groups that the data name is told worst; see `ValidationMetrics.worst_group`."""
        groups = named_groups(self.dataset)
        found = None if groups is None else group_accuracies(groups, items, right)
        if found is None or found.worst is None:
            return None
        worst = found.groups[found.worst]
        return found.worst, worst.accuracy, worst.n, worst.interval.low, worst.interval.high

    def _by_class(self, labels: np.ndarray, lost: np.ndarray, won: np.ndarray) -> dict[str, int]:
        names = self.dataset.class_names
        net = {names[k]: int(lost[labels == k].sum()) - int(won[labels == k].sum()) for k in np.unique(labels)}
        return {name: count for name, count in net.items() if count > 0}

    def complete(self, classifier: Classifier, check: ValidationMetrics) -> ValidationMetrics:
        """Return a check of this classifier with every measure; those on the validation images as they are stay."""
        if check.held_out.random_flip_rate is not None:
            return check
        reasons = self._reasons(classifier, full=True)
        check = replace(check, moved=self._moved(classifier))
        return self.neutral(classifier, check if reasons is None else replace(check, held_out=reasons))

    def _moved(self, classifier: Classifier) -> tuple[float, ...] | None:
        if self.painted.also is not None:
            return None
        return accuracy_lost(classifier, self.dataset, self.cache, self.validation, self.painted, self.seed)

    def _reasons(self, classifier: Classifier, *, full: bool) -> RightReasons | None:
        if self.painted.style is not None:
            return self._without_style(classifier)
        return right_reasons(
            classifier, self.dataset, self.held_out.indices, self.masks, cache=self.cache, seed=self.seed, full=full
        )

    def _without_style(self, classifier: Classifier) -> RightReasons:
        """What the held-out images that have a style say of it, by taking it off."""
        held = self.held_out
        cleared = held.cleared(torch.Generator().manual_seed(self.seed))
        before, after = (
            torch.cat([classifier.logits(part).float().cpu() for part in each.split(64)]).argmax(1)
            for each in (held.inputs, cleared)
        )
        right, still, changed = (
            float(each.float().mean()) for each in (before == held.labels, after == held.labels, before != after)
        )
        return RightReasons(len(held), right, still, changed, None)


_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class _Logits:
    """Of the V validation images: their items and labels (V,) int64, and logits (V, K) float.

    As they are; with the painted places refilled, and with conflicting patches there, each None where it was not asked.
    """

    items: np.ndarray
    labels: torch.Tensor
    plain: torch.Tensor
    cleared: torch.Tensor | None
    conflict: torch.Tensor | None
