"""Mask propagation: from a few painted images, masks proposed for others, to be accepted or rejected one by one.

Three ways to find where to paint, each with a score from 0 to 1 and a reason: the same place, the same filter response, and
a match of the painted patch. A proposed mask is no mask: it counts nowhere before somebody accepts it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.explanations.filters.features import batch_for
from napari_cam_feedback.feedback.masks.size import resized
from napari_cam_feedback.feedback.proposals.exemplars import Donors, read_donors
from napari_cam_feedback.feedback.proposals.templates import Template, best_match, make_templates, prepared
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.torch_loader import torch

Kind = Literal["place", "filters", "template"]
KINDS: tuple[Kind, ...] = get_args(Kind)
AUTO = "auto"

#: Least score of a proposal, by kind; chosen on the samples with seeds 101 and 102, where more than nine in ten proposals of
#: template and place are right from there on; of place not from a single painted image, nor where marks lie anywhere.
MIN_SCORE: dict[Kind, float] = {"place": 0.7, "filters": 0.7, "template": 0.9}
#: What ``auto`` tries, in this order. Filters are not among them: a layer's places are too coarse to draw a small mark by.
AUTO_KINDS: tuple[Kind, ...] = ("template", "place")
#: Images that are looked at, at most; of more, as many are drawn with the seed.
MAX_IMAGES = 5000
# Shapes that are tried with the filter response, at most.
_MAX_SHAPES = 8


@dataclass(frozen=True)
class Proposal:
    """A mask proposed for an image.

    Attributes
    ----------
    index, key : int, str
        The item.
    mask : ndarray
        (H, W) bool in image pixels, never empty.
    kind : str
        ``place``, ``filters`` or ``template``.
    score : float
        0 to 1; how sure it is. Scores of one kind compare with each other.
    reason : str
        One sentence for people.
    donor : str
        Key of the painted image that it is most like; empty where it is like all of them.
    """

    index: int
    key: str
    mask: np.ndarray
    kind: Kind
    score: float
    reason: str
    donor: str = ""


@takes_monitor
def propose_masks(
    classifier: Classifier,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray],
    *,
    kind: str = AUTO,
    indices: np.ndarray | None = None,
    least: float | None = None,
    most: int = MAX_IMAGES,
    without: Collection[str] = (),
    seed: int = 0,
    inputs: InputCache | None = None,
    monitor: Monitor = QUIET,
) -> Iterator[Proposal]:
    """Propose masks for images that are not painted, from those that are; nothing is saved.

    Parameters
    ----------
    classifier : Classifier
        Whose filters tell what is alike.
    dataset : Dataset
        Where the items are.
    masks : mapping
        Key to (H, W) bool, what is painted; a `MaskStore` will do.
    kind : str
        ``template``: the painted patch, found by normalised cross-correlation. ``place``: the painted place in which the
        filters respond most that are active under the paint; a place that was painted often needs less response.
        ``filters``: the painted shape, wherever they respond most. ``auto``: template, and place where that finds nothing.
    indices : ndarray, optional
        (N,) int64 items to look at; by default all whose label is known but those for testing. Those painted, and those for
        testing, are left out in any case.
    least : float, optional
        Least score of a proposal; by default that of `MIN_SCORE`.
    most : int
        Images looked at, at most; of more, as many are drawn.
    without : collection of str
        Keys to leave out as well.
    seed : int
        Which are drawn.
    inputs : InputCache, optional
        Inputs read before; its `skipped` tells which images could not be read.
    monitor : Monitor, optional
        Told of images done and in all.
        Once stopped, the work ends.

    Raises
    ------
    ConfigError
        There is no such kind. Raised before the first proposal, as all others are.
    MaskError
        No image for training or validation is painted, or a mask is not of its image's size.
    ModelError
        The classifier is for other classes, or its target layer has no places.
    """
    if kind != AUTO and kind not in KINDS:
        raise ConfigError(f"There is no kind of proposal {kind!r}; choose {', '.join((AUTO, *KINDS))}.")
    if least is not None and not 0 <= least <= 1:
        raise ConfigError(f"The least score cannot be {least:g}; choose one from 0 to 1.")
    check_fits(classifier, dataset)
    inputs = inputs or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    allowed = dataset.learnable()
    painted = [dataset.keys[int(i)] for i in allowed if dataset.keys[int(i)] in masks]
    donors = read_donors(classifier, dataset, masks, keys=painted, seed=seed, inputs=inputs)
    out = {*painted, *without}
    wanted = allowed if indices is None else np.intersect1d(allowed, indices)
    wanted = np.array([int(i) for i in wanted if dataset.keys[int(i)] not in out], np.int64)
    if len(wanted) > most:
        wanted = np.sort(np.random.default_rng(seed).permutation(wanted)[:most])
    kinds: tuple[Kind, ...] = AUTO_KINDS if kind == AUTO else (kind,)  # type: ignore[assignment]
    proposer = _Proposer(classifier, dataset, donors, {each: MIN_SCORE[each] if least is None else least for each in kinds})
    return _proposals(proposer, wanted, inputs, monitor)


def _proposals(proposer: _Proposer, wanted: np.ndarray, inputs: InputCache, monitor: Monitor) -> Iterator[Proposal]:
    done = 0
    for picked, batch in inputs.batches(wanted, batch_for(proposer.classifier.preprocessing.size)):
        responses = proposer.responses(batch)
        for n, index in enumerate(picked.tolist()):
            found = proposer.propose(index, responses[n])
            if found is not None:
                yield found
            done = int(np.searchsorted(wanted, index)) + 1
            monitor.progress(done, len(wanted))
            if monitor.stopped:
                return
    if done < len(wanted):
        monitor.progress(len(wanted), len(wanted))


class _Proposer:
    """Looks for one image after the other, with each kind that is wanted until one finds something."""

    def __init__(self, classifier: Classifier, dataset: Dataset, donors: Donors, least: dict[Kind, float]) -> None:
        self.classifier, self.dataset, self.donors, self.least = classifier, dataset, donors, least
        self._templates: list[Template] = make_templates(donors.donors) if "template" in least else []
        self._cut: dict[tuple[int, int], list[np.ndarray]] = {}

    def responses(self, batch: torch.Tensor) -> torch.Tensor:
        """Return (N, h, w) on the CPU."""
        if set(self.least) == {"template"}:
            return torch.zeros(len(batch), 1, 1)
        return self.donors.response(self.classifier.forward_with_activations(batch)[1]).cpu()

    def propose(self, index: int, response: torch.Tensor) -> Proposal | None:
        for kind, least in self.least.items():
            found = getattr(self, f"_by_{kind}")(index, response)
            if found is not None and found.score >= least and found.mask.any():
                return found
        return None

    def _by_place(self, index: int, response: torch.Tensor) -> Proposal | None:
        """The painted place where the response is greatest; places painted more often are more likely beforehand."""
        total = sum(place.count for place in self.donors.places)
        best, best_score, best_here = None, -1.0, 0.0
        for place in self.donors.places:
            here = float(response[place.mask].mean())
            prior = place.count / (total + 1)
            score = prior + (1 - prior) * min(max(here, 0.0), 1.0)
            if score > best_score:
                best, best_score, best_here = place, score, here
        assert best is not None
        donor = self.donors.donors[best.donor]
        size = self.dataset.image_size(index)
        mask = resized(donor.mask, size)
        reason = (
            f"The same place as in {_count(best.count, 'of the', total)} painted images; the filters that are active under "
            f"the paint reach {_percent(best_here)} of their strength there."
        )
        return Proposal(index, self.dataset.keys[index], mask, "place", best_score, reason, donor.key)

    def _by_filters(self, index: int, response: torch.Tensor) -> Proposal | None:
        """The painted shape, put where the mean response under it is greatest."""
        from scipy.signal import fftconvolve

        size = self.dataset.image_size(index)
        values = self.classifier.preprocessing.to_image(response, size).numpy().astype(np.float64)
        best: tuple[float, np.ndarray, tuple[int, int]] | None = None
        for shape in self._shapes(size):
            means = fftconvolve(values, shape[::-1, ::-1] / shape.sum(), mode="valid")
            place = _middle_of_greatest(means)
            if best is None or means[place] > best[0]:
                best = float(means[place]), shape, place
        if best is None:
            return None
        here, shape, (top, left) = best
        mask = np.zeros(size, bool)
        mask[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
        reason = (
            f"The filters that are active under the paint reach {_percent(here / self.donors.inside)} of their usual "
            "strength there, more than anywhere else in the image."
        )
        score = float(np.clip(here / self.donors.inside, 0, 1))
        return Proposal(index, self.dataset.keys[index], mask, "filters", score, reason)

    def _shapes(self, size: tuple[int, int]) -> list[np.ndarray]:
        """Return what was painted, cut to its box, of each place once, for images of a size."""
        if size not in self._cut:
            boxes = []
            for place in self.donors.places[:_MAX_SHAPES]:
                mask = resized(self.donors.donors[place.donor].mask, size)
                if mask.any():
                    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                    boxes.append(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
            unique = {(box.shape, box.tobytes()): box for box in boxes}
            # Of another size than the last image's, shapes are cut anew; sets of many sizes must not pile up.
            self._cut = {size: list(unique.values())}
        return self._cut[size]

    def _by_template(self, index: int, response: torch.Tensor) -> Proposal | None:
        """The painted patch that matches best, at the place where it does."""
        image = prepared(self.dataset.read(index))
        found = best_match(image, self._templates)
        if found is None:
            return None
        template, score, mask = found
        reason = f"The patch painted on {template.key} is found here with a correlation of {score:.2f}."
        mask = resized(mask, self.dataset.image_size(index))
        return Proposal(index, self.dataset.keys[index], mask, "template", score, reason, template.key)


def _middle_of_greatest(values: np.ndarray) -> tuple[int, int]:
    """Return the place (row, column) of the greatest value; the middle one where several are as great."""
    rows, columns = np.nonzero(values >= values.max() - 1e-9 * (1 + abs(float(values.max()))))
    nearest = np.argmin(np.square(rows - rows.mean()) + np.square(columns - columns.mean()))
    return int(rows[nearest]), int(columns[nearest])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _count(part: int, between: str, total: int) -> str:
    return f"all {total}" if part == total else f"{part} {between} {total}"
