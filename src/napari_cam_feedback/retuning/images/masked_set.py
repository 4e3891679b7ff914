"""The painted images of a retune, some of them held out to judge the result; and the images of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import label

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.data.splits import TRAIN
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.evaluation.perturbations.backgrounds import MAX_SHARE_OF_MARK
from napari_cam_feedback.evaluation.perturbations.fills import get_fill, surround_fill
from napari_cam_feedback.evaluation.perturbations.inpainting import load_inpainter
from napari_cam_feedback.feedback.masks.size import check_mask
from napari_cam_feedback.retuning.images.overlay import Overlay
from napari_cam_feedback.retuning.images.separation import separate_overlay
from napari_cam_feedback.retuning.images.style import Style
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    import numpy as np


#: Share of the image beyond which the painted places together are no place any more.
MAX_SHARE_OF_PLACES = 0.25
#: Places that do not touch beyond which they are everywhere.
MAX_PLACES = 16
#: Images that are looked at for a style, and of those that have it that serve as painted ones.
MAX_LOOKED_AT, MAX_STYLED = 500, 60
#: From this many painted images on, one in five is kept out of the training.
MIN_IMAGES_TO_HOLD_OUT = 10


@dataclass(frozen=True)
class MaskedSet:
    """P painted images.

    Attributes
    ----------
    indices : ndarray
        (P,) int64, items of the dataset.
    keys : tuple of str
        Their keys.
    inputs : Tensor
        (P, C, h, w) float.
    masks : Tensor
        (P, h, w) bool in input pixels.
    labels : Tensor
        (P,) int64.
    inpainted : Tensor or None
        (P, C, h, w) float, the inputs with the masked part inpainted, where something needs that.
    overlay : Overlay or Style or None
        What is painted, where that is one half-transparent mark at one place (`separate`); or what lies over whole images
        and cannot be painted, where no mask covers anything (`style`).
    also : Style or None
        What lies over whole images and is to be used no more either, where something is painted, too.
    """

    indices: np.ndarray
    keys: tuple[str, ...]
    inputs: torch.Tensor
    masks: torch.Tensor
    labels: torch.Tensor
    inpainted: torch.Tensor | None = None
    overlay: Overlay | Style | None = None
    also: Style | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, chosen: np.ndarray) -> MaskedSet:
        """Return some of them, by position."""
        where = torch.from_numpy(np.asarray(chosen, np.int64))
        return replace(
            self,
            indices=self.indices[chosen],
            keys=tuple(self.keys[int(i)] for i in chosen),
            inputs=self.inputs[where],
            masks=self.masks[where],
            labels=self.labels[where],
            inpainted=None if self.inpainted is None else self.inpainted[where],
        )

    def to(self, device: torch.device) -> MaskedSet:
        """Return the same with its tensors on a device."""
        inpainted = None if self.inpainted is None else self.inpainted.to(device)
        return replace(
            self,
            inputs=self.inputs.to(device),
            masks=self.masks.to(device),
            labels=self.labels.to(device),
            inpainted=inpainted,
            overlay=None if self.overlay is None else self.overlay.to(device),
            also=None if self.also is None else self.also.to(device),
        )

    def hold_out(self, seed: int) -> tuple[MaskedSet, MaskedSet]:
        """Split into those to learn from and those to judge by, about four to one and spread over the classes.

        With fewer than `MIN_IMAGES_TO_HOLD_OUT` images both are all of them.
        """
        if len(self) < MIN_IMAGES_TO_HOLD_OUT:
            return self, self
        order = np.random.default_rng(seed).permutation(len(self))
        # Sorted by class, every fifth image takes from each class what it has.
        order = order[np.argsort(self.labels.numpy()[order], kind="stable")]
        held = np.zeros(len(self), bool)
        held[order[2::5]] = True
        return self.take(np.flatnonzero(~held)), self.take(np.flatnonzero(held))

    @property
    def places(self) -> torch.Tensor:
        """(h, w) bool, everywhere that is painted on any of the images; nowhere if that is much of the image.

        A shortcut that sits in a corner or in a few of them can so be taken out of images that nobody painted.
        """
        union = self.masks.any(0)
        return union if float(union.float().mean()) <= MAX_SHARE_OF_PLACES else torch.zeros_like(union)

    @property
    def style(self) -> Style | None:
        """What lies over whole images, where that alone is what the model is to stop using."""
        return self.overlay if isinstance(self.overlay, Style) else None

    @property
    def surroundings(self) -> bool:
        """Whether what is painted is all that surrounds an object, and no mark on it: most of the image."""
        return float(self.masks.float().mean()) > MAX_SHARE_OF_MARK

    def cleared(self, generator: torch.Generator) -> torch.Tensor:
        """Return the painted images (P, C, h, w) without what is painted.

        A half-transparent mark is taken off the images that carry it; else the mask is refilled from its surroundings.
        """
        refilled = surround_fill(self.inputs, self.masks, generator)
        if self.overlay is None:
            return refilled
        carried = self.overlay.carries(self.inputs)[:, None, None, None]
        return torch.where(carried, self.overlay.take_off(self.inputs), refilled)

    def clear_places(
        self, inputs: torch.Tensor, generator: torch.Generator, own: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Take what is painted out of any images (N, C, h, w).

        A half-transparent mark is taken off the images that carry it; else all `places` are refilled from around. Where
        these are too much of the image but fall into several, as the four corners do, each image has some of them refilled,
        drawn at random: most images so lose their own mark, and which one keeps it changes from step to step. With `own`
        (N,) int64 each has that one of `separate_places` refilled instead.
        """
        if self.overlay is not None:
            return self.overlay.clear(inputs)
        if self.places.any():
            return surround_fill(inputs, self.places.expand(len(inputs), -1, -1), generator)
        parts = self.separate_places
        if not len(parts):
            return inputs
        if own is not None:
            return surround_fill(inputs, parts[own], generator)
        sizes = parts.float().mean((1, 2))
        order = torch.rand(len(inputs), len(parts), generator=generator).argsort(1)
        taken = sizes[order].cumsum(1) <= MAX_SHARE_OF_PLACES
        chosen = torch.zeros_like(taken).scatter(1, order, taken)
        cleared = (chosen[:, :, None, None] & parts[None]).any(1)
        return surround_fill(inputs, cleared, generator)

    @cached_property
    def separate_places(self) -> torch.Tensor:
        """(Q, h, w) bool, the painted places that do not touch, those that are no place for their size left out."""
        labels = torch.from_numpy(label(self.masks.any(0).numpy(), connectivity=2))
        parts = torch.stack([labels == number for number in range(1, int(labels.max()) + 1)] or [labels > 0])
        parts = parts[parts.float().mean((1, 2)) <= MAX_SHARE_OF_PLACES]
        return parts if len(parts) <= MAX_PLACES else parts[:0]

    def conflicting(self, inputs: torch.Tensor, donors: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return any images (N, C, h, w) with what is painted on donors in place of their own (`clear_places`, `paste`)."""
        if self.overlay is not None:
            return self.overlay.conflicting(inputs, generator)
        return self.paste(self.clear_places(inputs, generator), donors)

    def paste(self, inputs: torch.Tensor, donors: torch.Tensor) -> torch.Tensor:
        """Return images with what is painted on donors: the painted patches, or the half-transparent mark that all carry.

        Parameters
        ----------
        inputs : Tensor
            (N, C, h, w) float.
        donors : Tensor
            (N,) int64, positions in this set.
        """
        if self.overlay is not None:
            return self.overlay.put_on(inputs)
        return torch.where(self.masks[donors][:, None], self.inputs[donors], inputs)


def separate(painted: MaskedSet) -> MaskedSet:
    """Return the same with its `overlay`, where what is painted is one half-transparent mark at one place."""
    if painted.surroundings:
        return painted
    return replace(painted, overlay=separate_overlay(painted.inputs, painted.masks))


def read_painted(dataset: Dataset, masks: Mapping[str, np.ndarray], cache: InputCache) -> MaskedSet:
    """Read the labelled items that have a mask, from all splits but those for testing.

    Raises
    ------
    RetuneError
        There is none.
    MaskError
        A mask is not of its image's size.
    """
    wanted = [i for i in dataset.learnable().tolist() if dataset.keys[i] in masks]
    found = {i: masks[dataset.keys[i]] for i in wanted}
    indices = np.array([i for i, mask in found.items() if mask.any()], np.int64)
    parts = list(cache.batches(indices, 64)) if len(indices) else []
    if not parts:
        raise RetuneError(
            "No labelled training or validation image is painted; paint what is irrelevant on at least one, better on ten."
        )
    read = np.concatenate([picked for picked, _ in parts])
    for index in read:
        check_mask(dataset, int(index), found[int(index)])
    return MaskedSet(
        read,
        tuple(dataset.keys[int(i)] for i in read),
        torch.cat([inputs for _, inputs in parts]),
        torch.stack([cache.preprocessing.mask(found[int(i)]) for i in read]),
        torch.from_numpy(dataset.labels[read].astype(np.int64)),
    )


def read_feedback(
    dataset: Dataset, masks: Mapping[str, np.ndarray], style: Style | None, cache: InputCache, seed: int
) -> MaskedSet:
    """Read what a run learns from: painted images, images that have a style, or painted images and a style besides.

    Parameters
    ----------
    dataset, cache
        Images and their inputs.
    masks : mapping
        Key to (H, W) bool; empty where nothing is painted.
    style : Style or None
        What lies over whole images.
    seed : int
        Of the choice of images that have it.

    Raises
    ------
    RetuneError, MaskError
        As of `read_painted`; the style is of other images, or no training image has it.
    """
    if style is not None:
        style.check(cache.preprocessing.channels, cache.preprocessing.size)
    if style is not None and not masks:
        return _read_styled(dataset, style, cache, seed)
    return replace(separate(read_painted(dataset, masks, cache)), also=style)


def _read_styled(dataset: Dataset, style: Style, cache: InputCache, seed: int) -> MaskedSet:
    """Read labelled training items that have a style, `MAX_STYLED` at most; none is painted.

    Raises
    ------
    RetuneError
        There is none among those looked at.
    """
    learnable = np.intersect1d(dataset.learnable(), dataset.indices(TRAIN))
    looked = np.random.default_rng(seed).permutation(learnable)[:MAX_LOOKED_AT]
    indices, inputs = [np.empty(0, np.int64)], []
    for picked, part in cache.batches(np.sort(looked), 64):
        carried = style.carries(part)
        indices.append(picked[carried.numpy()])
        inputs.append(part[carried])
    found = np.concatenate(indices)
    if not len(found):
        raise RetuneError(
            f"None of {len(looked)} training images looks like those with it; see whether the images with it "
            "and without it show what you mean, and come from this data."
        )
    kept = np.sort(np.random.default_rng(seed).permutation(len(found))[:MAX_STYLED])
    read = torch.cat(inputs)[torch.from_numpy(kept)]
    chosen = found[kept]
    return MaskedSet(
        chosen,
        tuple(dataset.keys[int(i)] for i in chosen),
        read,
        torch.zeros(len(chosen), *read.shape[2:], dtype=torch.bool),
        torch.from_numpy(dataset.labels[chosen].astype(np.int64)),
        overlay=style,
    )


def inpaint(painted: MaskedSet, inpainter: str | None, preprocessing: Preprocessing, *, trust: bool) -> MaskedSet:
    """Return the same with `inpainted`: by the biharmonic equation, or by a user's own inpainter.

    Raises
    ------
    ModelError
        The file is no inpainter, or what it returns is no image.
    ConsentNeeded
        It is a program, and `trust` is not given.
    """
    fill = get_fill("inpaint") if inpainter is None else load_inpainter(inpainter, trust=trust).fill(preprocessing)
    return replace(painted, inpainted=fill(painted.inputs, painted.masks, torch.Generator().manual_seed(0)))


@dataclass
class Batch:
    """One step's images.

    Attributes
    ----------
    inputs : Tensor
        (N, C, h, w) training images.
    labels : Tensor
        (N,) int64.
    painted : MaskedSet
        P painted images.
    items : ndarray or None
        (N,) int64, which items of the dataset the training images are, before a method changed them.
    answers, painted_answers : Tensor or None
        (N, K) and (P, K), the given classifier's logits for the images as they were, rows of NaN where it was wrong; None
        where labels alone are the target (`retuning.optimisation.teacher`).
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    painted: MaskedSet
    items: np.ndarray | None = None
    answers: torch.Tensor | None = None
    painted_answers: torch.Tensor | None = None
