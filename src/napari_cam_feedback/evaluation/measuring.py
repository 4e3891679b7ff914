"""Measuring a classifier on every split; or several on the same images, which is what the comparisons do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.evaluation.error_groups import error_groups
from napari_cam_feedback.evaluation.groups import Groups, group_accuracies, masked_groups, named_groups
from napari_cam_feedback.evaluation.predictions import KeptPredictions, Predictions, fingerprint_of, predict
from napari_cam_feedback.evaluation.results import ClassResult, Evaluation, SplitResult
from napari_cam_feedback.evaluation.right_reasons import item_reasons, passes_of
from napari_cam_feedback.evaluation.sampling import draw, masked_limit, quick_limits
from napari_cam_feedback.feedback.masks.choose import KnownMasks, choose_masks, count_masks, may_have_masks
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.parallel import agreed, any_of, gather_skipped
from napari_cam_feedback.monitor import QUIET, Callbacks, Monitor, takes_monitor

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@takes_monitor
def evaluate(
    classifier: Classifier,
    dataset: Dataset,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    splits: Sequence[str] | None = None,
    cache: InputCache | None = None,
    seed: int = 0,
    max_masked: int | None = None,
    detail: bool = False,
    monitor: Monitor = QUIET,
    fabric: Fabric | None = None,
) -> Evaluation:
    """Measure a classifier on splits of a dataset.

    Parameters
    ----------
    classifier : Classifier
        What is judged.
    dataset : Dataset
        Images with labels.
    masks : mapping, optional
        Key to (H, W) bool of what is irrelevant; by default the masks that the dataset brings along.
    splits : sequence of str, optional
        By default all that can be measured: those with labelled images that can be read.
    cache : InputCache, optional
        Inputs read before.
    seed : int
        Of the fills, of the choice of masked images where there are many, and of the intervals.
    max_masked : int, optional
        Right reasons are measured on at most that many masked images of a split, drawn evenly over the classes; by default
        on as many as `masked_limit` says, so that refilling costs little more than looking at the split.
    detail : bool
        Keep the predictions image by image, for whoever compares.
    monitor : Monitor, optional
        Told of images through the network, done and in all; a masked image counts once for each of its refills.
        Once stopped, the work ends with the splits done so far, and of the present one with the accuracy if that is known.
    fabric : Fabric, optional
        Launched, to share the images among its processes, and for its precision; every process gets the same result.

    Raises
    ------
    DataError
        There is no such split, or no labelled image of it (without `splits`: of any) can be read.
    ModelError
        The classifier is for other classes.
    """
    measuring = Measuring(
        dataset, masks=masks, splits=splits, seed=seed, max_masked=max_masked, detail=detail, monitor=monitor, fabric=fabric
    )
    return measuring.run([classifier], cache=cache)[0]


class Measuring:
    """Which images of a dataset are measured, and measuring classifiers on them.

    Parameters
    ----------
    dataset, masks, splits, seed, max_masked, detail, monitor, fabric
        As of `evaluate`.
    quick : bool
        Measure a sample of each split, as `quick_limits` says.
    kept : KeptPredictions, optional
        Predictions made before; those made now are added.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        masks: Mapping[str, np.ndarray] | None = None,
        splits: Sequence[str] | None = None,
        seed: int = 0,
        max_masked: int | None = None,
        detail: bool = False,
        quick: bool = False,
        kept: KeptPredictions | None = None,
        monitor: Monitor = QUIET,
        fabric: Fabric | None = None,
    ) -> None:
        self.dataset = dataset
        self.masks = KnownMasks(dataset) if masks is None else masks
        self.names = list(splits or dataset.split_names)
        self._all_must_be_there = splits is not None and len(splits) > 0
        self.seed, self.detail, self.quick, self.kept = seed, detail, quick, kept
        self.monitor, self.fabric = monitor, fabric
        self._max_masked = max_masked
        self._done = 0
        self._found: dict[str, Groups | None] = {}
        self._chosen: tuple[tuple[str, bytes], dict[str, np.ndarray]] | None = None

    def run(self, classifiers: Sequence[Classifier], *, cache: InputCache | None = None) -> list[Evaluation]:
        """Measure all of them on each split, one split after the other, so that each image is read once.

        Parameters
        ----------
        classifiers : sequence of Classifier
            One or more.
        cache : InputCache, optional
            Inputs read before; by default one for all classifiers of the same preprocessing.

        Returns
        -------
        list of Evaluation
            One each, of the same splits.

        Raises
        ------
        DataError, ModelError
            As of `evaluate`.
        """
        for classifier in classifiers:
            check_fits(classifier, self.dataset)
        self._plan(classifiers)
        self._done = 0
        self._found.clear()
        caches = _caches(classifiers, self.dataset, cache)
        prints = [fingerprint_of(classifier, self.kept) for classifier in classifiers]
        results: list[dict[str, SplitResult]] = [{} for _ in classifiers]
        stopped = False
        for number, name in enumerate(self.names):
            found = []
            for classifier, own, fingerprint in zip(classifiers, caches, prints, strict=True):
                result, stopped = self._split(classifier, own, fingerprint, name)
                if result is not None:
                    found.append(result)
                if stopped:
                    break
            if len(found) == len(classifiers):
                for each, result in zip(results, found, strict=True):
                    each[name] = result
            elif not stopped and (self._all_must_be_there or (not results[0] and number + 1 == len(self.names))):
                which = f"the split {name}" if self._all_must_be_there else "this dataset"
                skipped = {key: text for own in caches for key, text in own.skipped.items()}
                first = next(iter(skipped.values()), "its images have no labels.")
                raise DataError(f"Nothing can be measured on {which}: {first}")
            if stopped:
                break
        return [
            Evaluation(each, gather_skipped(own.skipped, self.fabric), stopped)
            for each, own in zip(results, caches, strict=True)
        ]

    def _plan(self, classifiers: Sequence[Classifier]) -> None:
        """Choose how many images of each split are measured, and count the passes that this takes."""
        sizes = [classifier.preprocessing.size for classifier in classifiers]
        size = max(sizes, key=lambda size: size[0] * size[1])
        labels = self.dataset.labels
        self._all = {name: self.dataset.indices(name) for name in self.names}
        labelled = {name: indices[labels[indices] >= 0] for name, indices in self._all.items()}
        self._of = {name: len(indices) for name, indices in labelled.items()}
        self._masked = {name: count_masks(self.masks, self.dataset, indices) for name, indices in labelled.items()}
        if self.quick:
            images, limits = quick_limits(self._of, self._masked, size)
            self._limits = limits
            self._indices = {
                name: indices if images[name] >= self._of[name] else self._drawn(labelled[name], images[name])
                for name, indices in self._all.items()
            }
        else:
            self._limits = {
                name: masked_limit(len(indices), size) if self._max_masked is None else self._max_masked
                for name, indices in self._all.items()
            }
            self._indices = self._all
        for name, count in self._of.items():
            if self._all_must_be_there and not count:
                raise DataError(f"Nothing can be measured on the split {name}: its images have no labels.")
        self._passes = {
            name: len(self._indices[name]) + passes_of() * min(self._limits[name], self._masked[name]) for name in self.names
        }
        self._total = len(classifiers) * sum(self._passes.values())

    @cached_property
    def _painted(self) -> np.ndarray:
        return may_have_masks(self.masks, self.dataset, np.arange(len(self.dataset)))

    @cached_property
    def _groups(self) -> Groups | None:
        return named_groups(self.dataset) or masked_groups(self.dataset, self._painted)

    def _groups_found(
        self, classifier: Classifier, cache: InputCache, name: str, indices: np.ndarray, right: np.ndarray
    ) -> Groups | None:
        """Return those found from the errors of the first classifier on a split, by which the others are measured, too.

        None where masks say what there is to know, and where a look at a sample is to be quick.
        """
        if self.quick or self._painted.any():
            return None
        if name not in self._found:
            self._found[name] = error_groups(
                classifier, self.dataset, indices, right, cache=cache, seed=self.seed, monitor=self.monitor
            )
        return self._found[name]

    def _drawn(self, labelled: np.ndarray, count: int) -> np.ndarray:
        return draw(labelled, self.dataset.labels[labelled], count, self.seed)

    def _split(
        self, classifier: Classifier, cache: InputCache, fingerprint: str, name: str
    ) -> tuple[SplitResult | None, bool]:
        """Measure one classifier on one split; None where nothing of it can be measured; and whether it was stopped."""
        begun = self._done
        found = self._predict(classifier, cache, fingerprint, name)
        if any_of(self.monitor.stopped, self.fabric):
            return None, True
        labelled = found.labels >= 0
        if not labelled.any():
            self._done = begun + self._passes[name]
            return None, False
        self._move(begun, 1, 1, len(self._indices[name]))
        # Those to be refilled are drawn from the whole split: there may be few of them among the images drawn.
        candidates = found.indices[labelled] if self._whole(name) else self._labelled(name)
        chosen = self._choose(name, candidates)
        keys = self.dataset.keys
        begun_masked = self._done
        items = item_reasons(
            classifier,
            self.dataset,
            np.array([index for index in candidates if keys[int(index)] in chosen], np.int64),
            chosen,
            cache=cache,
            seed=self.seed,
            monitor=self._part(begun_masked, begun + self._passes[name] - begun_masked),
            fabric=self.fabric,
        )
        stopped = any_of(self.monitor.stopped, self.fabric)
        if stopped:
            # They come class by class, so the first of them do not stand for the rest.
            items = None
        self._move(begun, 1, 1, self._passes[name])
        # Where there were no more than may be refilled, all masks were looked at.
        masked = self._masked[name] if len(chosen) >= self._limits[name] else len(chosen)
        truth, predicted = found.labels[labelled], found.predicted[labelled]
        groups = self._groups or self._groups_found(classifier, cache, name, found.indices[labelled], truth == predicted)
        classes = np.arange(classifier.num_classes)
        precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0.0)
        result = SplitResult(
            n=int(labelled.sum()),
            accuracy=float((truth == predicted).mean()),
            per_class={
                class_name: ClassResult(float(precision[k]), float(recall[k]), float(f1[k]), int(support[k]))
                for k, class_name in enumerate(classifier.class_names)
            },
            confusion=confusion_matrix(truth, predicted, labels=classes),
            right_reasons=None if items is None else items.means(),
            predictions=found if self.detail else None,
            items=items,
            of=None if self._whole(name) else self._of[name],
            masked=masked,
            seed=self.seed,
            groups=None if groups is None else group_accuracies(groups, found.indices[labelled], truth == predicted),
        )
        return result, stopped

    def _predict(self, classifier: Classifier, cache: InputCache, fingerprint: str, name: str) -> Predictions:
        indices, begun = self._indices[name], self._done
        found = None if self.kept is None else self.kept.get(fingerprint, self.dataset, indices)
        # In several processes each would have to know of it.
        if found is None or self.fabric is not None:
            found = predict(
                classifier,
                self.dataset,
                indices=indices,
                cache=cache,
                monitor=self._part(begun, len(indices)),
                fabric=self.fabric,
            )
            if self.kept is not None:
                self.kept.put(fingerprint, self.dataset, indices, found)
        return found

    def _choose(self, name: str, candidates: np.ndarray) -> dict[str, np.ndarray]:
        """Return the masks of the images to be refilled, the same for all classifiers; those of one split are kept."""
        key = (name, candidates.tobytes())
        if self._chosen is None or self._chosen[0] != key:
            with agreed(self.fabric):
                found = choose_masks(self.masks, self.dataset, self._limits[name], indices=candidates, seed=self.seed)
            self._chosen = (key, found)
        return self._chosen[1]

    def _whole(self, name: str) -> bool:
        return self._indices[name] is self._all[name]

    def _labelled(self, name: str) -> np.ndarray:
        indices = self._all[name]
        return indices[self.dataset.labels[indices] >= 0]

    def _move(self, begun: int, done: int, of: int = 1, passes: int = 1) -> None:
        """Say how far it is: a share of so many passes since a part was begun."""
        self._done = begun + done * passes // max(of, 1)
        self.monitor.progress(min(self._done, self._total), self._total)

    def _part(self, begun: int, passes: int) -> Monitor:
        """Return the monitor of a part that takes so many of the passes."""
        if self.monitor is QUIET:
            return QUIET
        return Callbacks(lambda done, of, _: self._move(begun, done, of, passes), lambda: self.monitor.stopped)


def _caches(classifiers: Sequence[Classifier], dataset: Dataset, given: InputCache | None) -> list[InputCache]:
    """Return a cache for each classifier: the same for those of the same preprocessing."""
    made = [] if given is None else [given]
    found = []
    for classifier in classifiers:
        own = next((each for each in made if each.preprocessing == classifier.preprocessing), None)
        if own is None:
            own = InputCache(dataset, classifier.preprocessing)
            made.append(own)
        found.append(own)
    return found
