"""Is it right for the right reasons? Measures on images whose irrelevant part is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluation.perturbations.backgrounds import MAX_SHARE_OF_MARK, before_others, without_objects
from napari_cam_feedback.evaluation.perturbations.fills import MEASURING_FILLS, get_fill
from napari_cam_feedback.evaluation.perturbations.shifts import choose_shifts, shifted
from napari_cam_feedback.evaluation.predictions import BATCH_SIZE, breaking_off, images_at_once
from napari_cam_feedback.evaluation.swaps import Swaps
from napari_cam_feedback.explanations.display import mass_inside
from napari_cam_feedback.explanations.maps.base import AttributionMethod
from napari_cam_feedback.explanations.maps.registry import default_method, get_method
from napari_cam_feedback.feedback.masks.size import check_mask
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.parallel import agreed, autocast, gather_rows, own_blocks
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class RightReasons:
    """How much the masked part of the images matters to the classifier.

    Attributes
    ----------
    n : int
        Masked images measured.
    accuracy : float
        Share of them predicted right as they are.
    masked_accuracy : float
        Share predicted right when the masked part is refilled (neutralised accuracy), mean over five fills.
    flip_rate : float
        Share whose prediction changes when the masked part is refilled, mean over five fills.
    mask_share : float or None
        Mean share of the predicted class's map that lies inside the mask; None where no map has positive evidence, or the
        target layer has no places.
    swap_flip_rate : float or None
        Share whose prediction changes when the masked part is refilled from its surroundings and the masked part of another
        masked image, drawn from those of other classes, is pasted on, at the place where it was there; where most of both
        images is masked, when what is not masked is put before the surroundings of the other. None where there is no masked
        image of another class, or where it was not asked for.
    random_flip_rate : float or None
        Share whose prediction changes when a random place is refilled in place of the masked part, mean over the same five
        fills: the mask itself, shifted around the edges of the image; of several shifts that with the least overlap with the
        mask. None where it was not asked for.
    swap_accuracy : float or None
        Share predicted right where `swap_flip_rate` is measured: the marker conflicts with the class there.
    """

    n: int
    accuracy: float
    masked_accuracy: float
    flip_rate: float
    mask_share: float | None
    swap_flip_rate: float | None = None
    random_flip_rate: float | None = None
    swap_accuracy: float | None = None

    @property
    def gap(self) -> float:
        """Accuracy lost when the masked part is refilled."""
        return self.accuracy - self.masked_accuracy

    @property
    def specificity(self) -> float | None:
        """How many times more often the masked part decides than a random place of its size: flip rate by random flip rate.

        None where a random place never changes a prediction (then only the masked part does, or nothing), or where
        that was not measured.
        """
        return self.flip_rate / self.random_flip_rate if self.random_flip_rate else None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "gap": self.gap, "specificity": self.specificity}


@dataclass(frozen=True, eq=False)
class ItemReasons:
    """The measures of each of N masked images.

    Attributes
    ----------
    indices : ndarray
        (N,) int64, items of the dataset.
    values : dict
        Name of an attribute of `RightReasons` to (N,) float64, NaN where the measure is undefined for the image or was not
        asked for. An image counts with the mean over its fills.
    """

    indices: np.ndarray
    values: dict[str, np.ndarray]

    def means(self) -> RightReasons:
        """Return the means over the images for which each measure is defined."""
        known = {name: values[~np.isnan(values)] for name, values in self.values.items()}
        means = {name: float(values.mean()) if len(values) else None for name, values in known.items()}
        return RightReasons(n=len(self.indices), **means)  # type: ignore[arg-type]


@takes_monitor
def right_reasons(
    classifier: Classifier,
    dataset: Dataset,
    indices: np.ndarray,
    masks: Mapping[str, np.ndarray],
    *,
    cache: InputCache | None = None,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    full: bool = True,
    monitor: Monitor = QUIET,
    fabric: Fabric | None = None,
) -> RightReasons | None:
    """Measure the masked ones among some labelled images; parameters and errors as of `item_reasons`.

    Returns
    -------
    RightReasons or None
        None where no image has a mask.
    """
    found = item_reasons(
        classifier,
        dataset,
        indices,
        masks,
        cache=cache,
        batch_size=batch_size,
        seed=seed,
        full=full,
        monitor=monitor,
        fabric=fabric,
    )
    return None if found is None else found.means()


@takes_monitor
def item_reasons(
    classifier: Classifier,
    dataset: Dataset,
    indices: np.ndarray,
    masks: Mapping[str, np.ndarray],
    *,
    cache: InputCache | None = None,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    full: bool = True,
    monitor: Monitor = QUIET,
    fabric: Fabric | None = None,
) -> ItemReasons | None:
    """Measure the masked ones among some labelled images, and tell the measures of each.

    Parameters
    ----------
    classifier : Classifier
        What is judged.
    dataset : Dataset
        Images.
    indices : ndarray
        (N,) int64, images to look at; those without a mask or a label are left out.
    masks : mapping
        Key to (H, W) bool.
    cache : InputCache, optional
        Inputs read before.
    batch_size : int
        Images that draw their fills together; the network gets as many of them at a time as `images_at_once` says.
    seed : int
        Of the fills, the donors of swapped patches, and the random places; none of them depends on another.
    full : bool
        Measure `swap_flip_rate` and `random_flip_rate` too, which takes as long again as all the rest.
    monitor : Monitor, optional
        Told of passes of an image through the network, done and in all.
        Once stopped, the work ends with the batches measured so far.
    fabric : Fabric, optional
        Launched, to share the images among its processes, and for its precision; every process gets the same result.

    Returns
    -------
    ItemReasons or None
        None where no image has a mask.

    Raises
    ------
    MaskError
        A mask is not of its image's size.
    """
    masked = np.array([i for i in indices if dataset.labels[i] >= 0 and dataset.keys[i] in masks], np.int64)
    if not len(masked):
        return None
    cache = cache or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    blocks = own_blocks(masked, batch_size, fabric)
    total = sum(len(block) for _, block in blocks) * passes_of(full)

    def ran(passes: int) -> None:
        monitor.progress(min(passes, total), total)

    measure = _Measure(classifier, fabric, ran)
    swaps = Swaps(dataset, masked, masks, cache, seed) if full else None
    with agreed(fabric), breaking_off(classifier, monitor, fabric):
        for number, block in blocks:
            measure.begin(number, seed)
            for picked, inputs in cache.batches(block, batch_size):
                image_masks = [masks[dataset.keys[i]] for i in picked]
                for index, mask in zip(picked, image_masks, strict=True):
                    check_mask(dataset, int(index), mask)
                input_masks = torch.stack([classifier.preprocessing.mask(mask) for mask in image_masks])
                measure.items = picked
                predicted = measure.refilled(inputs, input_masks, dataset.labels[picked])
                if swaps is not None:
                    measure.elsewhere(inputs, input_masks, predicted)
                    measure.swapped(swaps, picked, inputs, input_masks, predicted, dataset.labels[picked])
            measure.end()
            if monitor.stopped:
                break
    return measure.result()


def passes_of(full: bool = True) -> int:
    """Return how often `item_reasons` sends a masked image through the network."""
    return 1 + len(MEASURING_FILLS) + full * (len(MEASURING_FILLS) + 1)


_MEASURED = ("accuracy", "masked_accuracy", "flip_rate", "mask_share", "swap_flip_rate", "random_flip_rate", "swap_accuracy")


class _Measure:
    """Collects the measures, batch by batch.

    One image counts with the mean over its fills, so that a lucky fill decides nothing.
    """

    def __init__(self, classifier: Classifier, fabric: Fabric | None, ran: Callable[[int], None]) -> None:
        self.classifier, self.fabric, self._ran = classifier, fabric, ran
        self._at_once = images_at_once(classifier)
        self._passes = 0
        self.explainer = get_method(default_method(classifier)) if classifier.no_places() is None else None
        # One for each measure, so that leaving out one does not change the others.
        self.fills, self.places, self.donors = (torch.Generator() for _ in range(3))
        self.number = 0
        #: (N,) int64, the items of the inputs that come next.
        self.items = np.empty(0, np.int64)
        # Of each value: the number of its batch, which measure it is of, its item, and the value. Those of a batch count
        # once all of them are there.
        self._rows: list[np.ndarray] = []
        self._whole: list[np.ndarray] = []

    def begin(self, number: int, seed: int) -> None:
        """Begin the batch of that number. What it draws depends on nothing else, so not on who measured the others."""
        self.number = number
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        for generator in (self.fills, self.places, self.donors):
            generator.manual_seed(own)

    def end(self) -> None:
        """End the batch: what was measured of it counts."""
        self._whole += self._rows
        self._rows.clear()

    def _add(self, name: str, values: np.ndarray, items: np.ndarray | None = None) -> None:
        same = np.ones(len(values))
        items = self.items if items is None else items
        self._rows.append(np.stack([self.number * same, _MEASURED.index(name) * same, items, values], 1))

    def _predict(self, inputs: torch.Tensor) -> np.ndarray:
        found = []
        for part in inputs.split(self._at_once):
            with autocast(self.fabric):
                found.append(self.classifier.logits(part).argmax(1).cpu().numpy())
            self._count(part)
        return np.concatenate(found)

    def _explain(self, explainer: AttributionMethod, inputs: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
        """Return predictions (N,) and the maps (N, 1, h, w) of the classes predicted."""
        found, maps = [], []
        for part in inputs.split(self._at_once):
            with autocast(self.fabric):
                batch = explainer(self.classifier, part)
            found.append(batch.logits.argmax(1).cpu().numpy())
            maps.append(batch.maps[:, :1].float().cpu())
            self._count(part)
        return np.concatenate(found), torch.cat(maps)

    def _count(self, inputs: torch.Tensor) -> None:
        self._passes += len(inputs)
        self._ran(self._passes)

    def refilled(self, inputs: torch.Tensor, masks: torch.Tensor, labels: np.ndarray) -> np.ndarray:
        """Measure the images as they are and refilled; return their predictions (N,) as they are."""
        if self.explainer is None:
            predicted = self._predict(inputs)
        else:
            predicted, maps = self._explain(self.explainer, inputs)
            self._add("mask_share", _shares(maps, masks))
        self._add("accuracy", predicted == labels)
        now = self._after_fills(inputs, masks, self.fills)
        self._add("flip_rate", (now != predicted).mean(0))
        self._add("masked_accuracy", (now == labels).mean(0))
        return predicted

    def elsewhere(self, inputs: torch.Tensor, masks: torch.Tensor, predicted: np.ndarray) -> None:
        """Measure the same refills at a random place."""
        places = shifted(masks, choose_shifts(masks, masks, self.places))
        self._add("random_flip_rate", (self._after_fills(inputs, places, self.places) != predicted).mean(0))

    def swapped(
        self,
        swaps: Swaps,
        picked: np.ndarray,
        inputs: torch.Tensor,
        masks: torch.Tensor,
        predicted: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Measure the images with the patches of donors."""
        had, patches, places = swaps.of(picked)
        if len(had):
            own = masks[had]
            swapped = torch.where(places[:, None], patches, get_fill("surround")(inputs[had], own, self.donors))
            # Pasted over an object, another's surroundings would hide it; they belong behind it.
            around = (torch.stack([own, places]).float().mean((2, 3)) > MAX_SHARE_OF_MARK).all(0)
            if around.any():
                scenes = without_objects(patches[around], places[around])
                chosen = torch.arange(len(scenes))
                swapped[around] = before_others(inputs[had][around], own[around], scenes, chosen, self.donors)
            now = self._predict(swapped)
            self._add("swap_flip_rate", now != predicted[had], picked[had])
            self._add("swap_accuracy", now == labels[had], picked[had])

    def _after_fills(self, inputs: torch.Tensor, masks: torch.Tensor, generator: torch.Generator) -> np.ndarray:
        """Predictions (5, N) after each of the measuring fills."""
        return np.stack([self._predict(get_fill(name)(inputs, masks, generator)) for name in MEASURING_FILLS])

    def result(self) -> ItemReasons | None:
        """Return the measures of the images of all processes; None where there was none."""
        rows = gather_rows(np.concatenate([np.empty((0, 4)), *self._whole]), self.fabric)
        # The order of one process, for the last digits of the means.
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        items = rows[rows[:, 1] == _MEASURED.index("accuracy"), 2].astype(np.int64)
        if not len(items):
            return None
        place = {int(item): n for n, item in enumerate(items)}
        table = np.full((len(_MEASURED), len(items)), np.nan)
        for _, which, item, value in rows:
            table[int(which), place[int(item)]] = value
        return ItemReasons(items, dict(zip(_MEASURED, table, strict=True)))


def _shares(maps: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    """Share of each signed map (N, 1, h, w) inside its mask (N, H, W); NaN where it has no positive evidence."""
    size = (int(masks.shape[1]), int(masks.shape[2]))
    large = torch.nn.functional.interpolate(maps, size, mode="bilinear", align_corners=False)
    shares = [mass_inside(signed, mask) for signed, mask in zip(large[:, 0].numpy(), masks.numpy(), strict=True)]
    return np.array([np.nan if share is None else share for share in shares], float)
