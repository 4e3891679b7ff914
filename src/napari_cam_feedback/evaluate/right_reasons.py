"""Is it right for the right reasons? Measures on images whose irrelevant part is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import MaskError
from napari_cam_feedback.evaluate.fills import MEASURING_FILLS, get_fill
from napari_cam_feedback.explain.methods import default_method, get_method
from napari_cam_feedback.explain.views import mass_inside
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch


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
        Mean share of the predicted class's map that lies inside the mask; None where no map has positive evidence.
    """

    n: int
    accuracy: float
    masked_accuracy: float
    flip_rate: float
    mask_share: float | None

    @property
    def gap(self) -> float:
        """Accuracy lost when the masked part is refilled."""
        return self.accuracy - self.masked_accuracy

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "gap": self.gap}


def right_reasons(
    classifier: Classifier,
    dataset: Dataset,
    indices: np.ndarray,
    masks: Mapping[str, np.ndarray],
    *,
    cache: InputCache | None = None,
    batch_size: int = 64,
    seed: int = 0,
    stop: Callable[[], bool] | None = None,
) -> RightReasons | None:
    """Measure the masked ones among some labelled images.

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
        Images at a time.
    seed : int
        Of the fills.
    stop : callable, optional
        Asked before each batch; True ends with the images measured so far.

    Returns
    -------
    RightReasons or None
        None where no image has a mask.

    Raises
    ------
    MaskError
        A mask is not of its image's size.
    """
    masked = np.array([i for i in indices if dataset.labels[i] >= 0 and dataset.keys[i] in masks], np.int64)
    cache = cache or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    explainer = get_method(default_method(classifier))
    generator = torch.Generator().manual_seed(seed)
    right: list[np.ndarray] = []
    refilled_right: list[np.ndarray] = []
    flipped: list[np.ndarray] = []
    shares: list[float] = []
    for picked, inputs in cache.batches(masked, batch_size):
        image_masks = [masks[dataset.keys[i]] for i in picked]
        for index, mask in zip(picked, image_masks, strict=True):
            check_mask(dataset, int(index), mask)
        input_masks = torch.stack([classifier.preprocessing.mask(mask) for mask in image_masks])
        labels = dataset.labels[picked]
        found = explainer(classifier, inputs)
        predicted = found.logits.argmax(1).cpu().numpy()
        right.append(predicted == labels)
        # One image counts with the mean over its fills, so that a lucky fill decides nothing.
        changed = np.zeros(len(picked))
        correct = np.zeros(len(picked))
        for name in MEASURING_FILLS:
            refilled = get_fill(name)(inputs, input_masks, generator)
            now = classifier.logits(refilled).argmax(1).cpu().numpy()
            changed += now != predicted
            correct += now == labels
        flipped.append(changed / len(MEASURING_FILLS))
        refilled_right.append(correct / len(MEASURING_FILLS))
        maps = found.maps[:, :1].float().cpu()
        size = (int(input_masks.shape[1]), int(input_masks.shape[2]))
        large = torch.nn.functional.interpolate(maps, size, mode="bilinear", align_corners=False)
        for signed, mask in zip(large[:, 0].numpy(), input_masks.numpy(), strict=True):
            share = mass_inside(signed, mask)
            if share is not None:
                shares.append(share)
        if stop is not None and stop():
            break
    if not right:
        return None
    return RightReasons(
        n=sum(len(part) for part in right),
        accuracy=float(np.concatenate(right).mean()),
        masked_accuracy=float(np.concatenate(refilled_right).mean()),
        flip_rate=float(np.concatenate(flipped).mean()),
        mask_share=float(np.mean(shares)) if shares else None,
    )


def check_mask(dataset: Dataset, index: int, mask: np.ndarray) -> None:
    """Raise MaskError unless the mask has its image's size."""
    size = dataset.image_size(index)
    if tuple(mask.shape) != tuple(size):
        raise MaskError(
            f"The mask of {dataset.keys[index]} is {'x'.join(map(str, mask.shape))} pixels and its image "
            f"{size[0]}x{size[1]}; paint it on its own image."
        )
