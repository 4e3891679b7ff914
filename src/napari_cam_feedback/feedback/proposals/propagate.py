"""Mask propagation: from a few painted images, masks proposed for others, to be accepted or rejected one by one.

Three ways to find where to paint, each with a score from 0 to 1 and a reason: a match of the painted patch, the painted
place where it looks as it does under the paint, and the same filter response. The first two look at the images alone: they
find what was painted whatever a network has unlearnt since. A proposed mask counts nowhere before it is accepted.
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
from napari_cam_feedback.feedback.proposals.content import PaintedContent
from napari_cam_feedback.feedback.proposals.exemplars import Donors, Place, read_donors
from napari_cam_feedback.feedback.proposals.responses import learn_response
from napari_cam_feedback.feedback.proposals.templates import Template, best_match, make_templates, prepared
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.torch_loader import torch

Kind = Literal["place", "filters", "template"]
KINDS: tuple[Kind, ...] = get_args(Kind)
AUTO = "auto"

#: Least score of a proposal, by kind; chosen on the samples with seeds 101 and 102.
MIN_SCORE: dict[Kind, float] = {"place": 0.7, "filters": 0.7, "template": 0.9}
#: What ``auto`` tries, in this order. Filters are not among them: a layer's places are too coarse to draw a small mark by.
AUTO_KINDS: tuple[Kind, ...] = ("template", "place")
#: Images that are looked at, at most; of more, as many are drawn with the seed.
MAX_IMAGES = 5000
# Shapes that are tried, at most.
_MAX_SHAPES = 8
# So many masks in one place, and none elsewhere, speak for that place by themselves.
_FIXED_FROM = 3
# From this likelihood on, what was painted is taken to be found; below the other one, nothing of it is seen. A few masks in
# one place may lie there by chance: of three on tag-digits in one corner, a quarter of proposals was wrong without this.
_FOUND, _TRACE = 0.8, 0.1


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
        Its input tells which places are the same; only ``filters`` runs it, and then a version that still responds to what
        was painted is wanted: the one that was painted on.
    dataset : Dataset
        Where the items are.
    masks : mapping
        Key to (H, W) bool, what is painted; a `MaskStore` will do.
    kind : str
        ``template``: the painted patch, found by normalised cross-correlation. ``place``: the painted place that looks most
        as it does under the paint; a place in which every mask lies needs to look less so. ``filters``: the painted
        shape, wherever the filters respond most that are active under the paint. ``auto``: template, and place where that
        finds nothing.
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
        The classifier is for other classes, or, for ``filters``, its target layer has no places.
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
    scores = {each: MIN_SCORE[each] if least is None else least for each in kinds}
    proposer = _Proposer(classifier, dataset, donors, scores, inputs, seed)
    return _proposals(proposer, wanted, inputs, monitor)


def _proposals(proposer: _Proposer, wanted: np.ndarray, inputs: InputCache, monitor: Monitor) -> Iterator[Proposal]:
    done = 0
    for picked, batch in inputs.batches(wanted, batch_for(proposer.classifier.preprocessing.size)):
        responses = proposer.responses(batch)
        for n, index in enumerate(picked.tolist()):
            found = proposer.propose(index, None if responses is None else responses[n])
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

    def __init__(
        self,
        classifier: Classifier,
        dataset: Dataset,
        donors: Donors,
        least: dict[Kind, float],
        inputs: InputCache,
        seed: int,
    ) -> None:
        self.classifier, self.dataset, self.donors, self.least = classifier, dataset, donors, least
        self._templates: list[Template] = make_templates(donors.donors) if "template" in least else []
        self._content = PaintedContent(donors.donors, seed=seed) if "place" in least else None
        self._response = learn_response(classifier, donors.donors, inputs) if "filters" in least else None
        self._cut: dict[tuple[int, int], list[np.ndarray]] = {}

    def responses(self, batch: torch.Tensor) -> torch.Tensor | None:
        """Return (N, h, w) on the CPU; None where no filters are asked, so that the network need not run."""
        if self._response is None:
            return None
        return self._response(self.classifier.forward_with_activations(batch)[1]).cpu()

    def propose(self, index: int, response: torch.Tensor | None) -> Proposal | None:
        image = self.dataset.read(index)
        for kind, least in self.least.items():
            found = self._by(kind, index, image, response)
            if found is not None and found.score >= least and found.mask.any():
                return found
        return None

    def _by(self, kind: Kind, index: int, image: np.ndarray, response: torch.Tensor | None) -> Proposal | None:
        if kind == "template":
            return self._by_template(index, image)
        if kind == "place":
            return self._by_place(index, image)
        assert response is not None
        return self._by_filters(index, response)

    def _by_place(self, index: int, image: np.ndarray) -> Proposal | None:
        """The painted place that looks most as it does under the paint."""
        assert self._content is not None
        likely = self._content.probability(image)
        size = (int(likely.shape[0]), int(likely.shape[1]))
        means = [_mean_under(likely, self._mask_of(place, size)) for place in self.donors.places]
        best = int(np.argmax(means))
        place, here = self.donors.places[best], means[best]
        donor, total = self.donors.donors[place.donor], len(self.donors.donors)
        # One painted image does not tell what of its look is the thing's and what its background's.
        score = here if total > 1 else here / 2
        elsewhere = here < 0.5 and self._greatest(likely) >= _FOUND
        if place.count == total >= _FIXED_FROM and here >= _TRACE and not elsewhere:
            # What never moved is likely to be there, unless it is seen elsewhere or nothing of it is seen.
            score = (total + here) / (total + 1)
        reason = (
            f"The same place as in {_count(place.count, 'of the', total)} painted images; {_percent(here)} of it looks as "
            "it does under the paint."
        )
        mask = resized(donor.mask, self.dataset.image_size(index))
        return Proposal(index, self.dataset.keys[index], mask, "place", float(min(score, 1.0)), reason, donor.key)

    def _mask_of(self, place: Place, size: tuple[int, int]) -> np.ndarray:
        return resized(self.donors.donors[place.donor].mask, size)

    def _greatest(self, values: np.ndarray) -> float:
        """Return the greatest mean of values under a painted shape, wherever it lies."""
        from scipy.signal import fftconvolve

        shapes = self._shapes((int(values.shape[0]), int(values.shape[1])))
        means = [fftconvolve(values, shape[::-1, ::-1] / shape.sum(), mode="valid").max() for shape in shapes]
        return float(max(means, default=0.0))

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
        assert self._response is not None
        # Stronger than usual is no surer: a network that hardly responds under the paint has any strength elsewhere.
        score = float(np.clip(here / self._response.inside, 0, 1))
        reason = (
            f"The filters that are active under the paint reach {_percent(score)} of their usual strength there, more than "
            "anywhere else in the image."
        )
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

    def _by_template(self, index: int, image: np.ndarray) -> Proposal | None:
        """The painted patch that matches best, at the place where it does."""
        found = best_match(prepared(image), self._templates)
        if found is None:
            return None
        template, score, mask = found
        reason = f"The patch painted on {template.key} is found here with a correlation of {score:.2f}."
        mask = resized(mask, self.dataset.image_size(index))
        return Proposal(index, self.dataset.keys[index], mask, "template", score, reason, template.key)


def _mean_under(values: np.ndarray, mask: np.ndarray) -> float:
    # A mask of a few pixels may vanish where its image is made smaller.
    return float(values[mask].mean()) if mask.any() else 0.0


def _middle_of_greatest(values: np.ndarray) -> tuple[int, int]:
    """Return the place (row, column) of the greatest value; the middle one where several are as great."""
    rows, columns = np.nonzero(values >= values.max() - 1e-9 * (1 + abs(float(values.max()))))
    nearest = np.argmin(np.square(rows - rows.mean()) + np.square(columns - columns.mean()))
    return int(rows[nearest]), int(columns[nearest])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _count(part: int, between: str, total: int) -> str:
    return f"all {total}" if part == total else f"{part} {between} {total}"
