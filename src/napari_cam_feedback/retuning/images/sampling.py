"""Which images a retune learns from, which it is judged by, what each step draws, and how that is moved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.retuning.config import RetuneConfig
from napari_cam_feedback.retuning.images.masked_set import Batch, MaskedSet
from napari_cam_feedback.retuning.images.style import Style
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training.augmentation import draw_moves, move, shade

#: Iterations of a retune that ends by itself, at most; more where there are many training images. Most end far earlier, when
#: the checks no longer get better; a network that must learn its classes anew takes them.
MAX_ITERATIONS = 1000
#: And at least, however large the images are.
MIN_ITERATIONS = 36
#: Inputs with a longer side than this are large: each step teaches more and costs more, so fewer are taken between checks.
LARGE = 96
#: Steps between two checks, and checks without a gain after which the run ends.
CHECK_EVERY, CHECK_EVERY_LARGE = 15, 12
PATIENCE = 2
#: Where surroundings are painted, checks hang on the few painted objects, and jump; in more steps than these the network
#: only learns those objects by heart (baggage, four seeds: accuracy on test the same after 150 and 300 steps).
PATIENCE_FEW, MAX_ITERATIONS_FEW = 4, 150
#: Times that many training images are gone through.
PASSES = 8
#: Pixels of training images in a whole retune beyond which it ends, for small inputs; and for large ones, beyond which it
#: goes on only while each check wins something of worth: with the checks and all that is measured a minute and a half or so
#: on two cores.
MAX_PIXELS, MAX_PIXELS_LARGE = 50e6, 29e6
#: Times as many steps that large inputs are given at most while they are worth it.
LONGER = 3
#: Validation images that a check takes at most and at least, and their pixels.
MAX_VALIDATION, MIN_VALIDATION, VALIDATION_PIXELS = 500, 64, 4e6
#: Training images looked at most to tell which ones the classifier gets wrong.
MAX_IMAGES_FOR_WRONG = 5000
#: Times that an image is drawn as often as it would be, at most, for what it shows of its class.
MAX_TIMES = 10
#: Draws of a step's training images before none is taken to be readable any more.
MAX_DRAWS = 20


@dataclass(frozen=True)
class Schedule:
    """How long a retune is.

    Attributes
    ----------
    batch_size : int
        Training images a step.
    iterations : int
        Steps at most.
    check_every : int
        Steps between two checks on the validation images.
    patience : int or None
        Checks without a gain after which it ends; None where all steps are taken.
    validation : int
        Validation images that a check takes at most.
    enough : int
        Steps after which it goes on only while each check wins something of worth (`pace.WORTH`).
    """

    batch_size: int
    iterations: int
    check_every: int
    patience: int | None
    validation: int
    enough: int


def schedule(config: RetuneConfig, images: int, size: tuple[int, int], *, surroundings: bool = False) -> Schedule:
    """Return how long to retune with so many training images of some input size (h, w), where the settings leave it open.

    `surroundings` tells that what is painted is all that surrounds the objects (`MaskedSet.surroundings`).

    A few dozen to a few hundred steps teach a network to leave a shortcut; with many thousand images, more steps than that
    let it learn again from all of them what it may use instead.
    """
    pixels = size[0] * size[1]
    batch_size = min(config.batch_size or _batch_for(size), images)
    wanted = MAX_ITERATIONS_FEW if surroundings else max(MAX_ITERATIONS, math.ceil(PASSES * images / batch_size))
    large = max(size) > LARGE
    most = MAX_PIXELS_LARGE if large else MAX_PIXELS
    enough = min(wanted, max(MIN_ITERATIONS, int(most / (batch_size * pixels))))
    iterations = config.iterations or (min(wanted, LONGER * enough) if large else enough)
    patience = config.patience
    if patience is None and config.iterations is None:
        patience = PATIENCE_FEW if surroundings else PATIENCE
    check_every = config.check_every or (CHECK_EVERY_LARGE if large else CHECK_EVERY)
    validation = max(MIN_VALIDATION, min(MAX_VALIDATION, int(VALIDATION_PIXELS / pixels)))
    return Schedule(batch_size, iterations, check_every, patience, validation, min(enough, iterations))


def _batch_for(size: tuple[int, int]) -> int:
    """Training images a step by the input's size: what a laptop's processor does in a few tenths of a second."""
    longest = max(size)
    return 64 if longest <= 48 else 32 if longest <= 96 else 16


def split_images(dataset: Dataset, learnt: MaskedSet, held_out: MaskedSet, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the training items (T,) and the validation items (V,), int64.

    What is learnt from is not judged by, and the other way round; only a few painted images are both. Without a split
    ``val``, a fifth of the training images is held back.

    Raises
    ------
    RetuneError
        There are too few training images.
    DataError
        There is no split ``train``.
    """
    train = dataset.indices("train")
    train = train[dataset.labels[train] >= 0]
    painted, held = set(learnt.indices.tolist()), set(held_out.indices.tolist())
    validation = dataset.indices("val") if "val" in dataset.split_names else np.empty(0, np.int64)
    validation = np.array([i for i in validation if dataset.labels[i] >= 0 and int(i) not in painted], np.int64)
    if not len(validation):
        free = np.array([i for i in train if int(i) not in painted], np.int64)
        order = np.random.default_rng(seed).permutation(free)
        validation = np.sort(order[: max(1, len(train) // 5)])
    apart = set(validation.tolist()) | (held - painted)
    train = np.array([i for i in train if int(i) not in apart], np.int64)
    if len(train) < 2 or len(validation) < 1:
        raise RetuneError("There are too few labelled training images to retune with; add images to the split train.")
    return train, validation


def some_of(validation: np.ndarray, most: int) -> np.ndarray:
    """Return so many validation items at most, the same each time."""
    if len(validation) <= most:
        return validation
    return np.sort(np.random.default_rng(0).choice(validation, most, replace=False))


def wrong_at_start(classifier: Classifier, dataset: Dataset, cache: InputCache, train: np.ndarray, seed: int) -> np.ndarray:
    """Return which training items a classifier gets wrong, bool (T,); of very many, some are looked at."""
    looked = np.random.default_rng(seed).permutation(len(train))[:MAX_IMAGES_FOR_WRONG]
    position = {int(train[p]): int(p) for p in looked}
    wrong = np.zeros(len(train), bool)
    for picked, inputs in cache.batches(train[np.sort(looked)], 64):
        predicted = classifier.logits(inputs).argmax(1).cpu().numpy()
        for index, missed in zip(picked, predicted != dataset.labels[picked], strict=True):
            wrong[position[int(index)]] = missed
    return wrong


def balanced_by_style(style: Style, dataset: Dataset, cache: InputCache, train: np.ndarray, seed: int) -> np.ndarray | None:
    """Return how likely each training item is drawn, (T,) float: in each class as often with a style as without it.

    The few images of a class that lack what its others have show the class without it, which no changed image does as well
    (group-balanced sampling; Idrissi et al. 2022, "Simple data balancing achieves competitive worst-group-accuracy"). None
    is drawn more than `MAX_TIMES` as often as it would be. None where it makes no difference.
    """
    looked = np.sort(np.random.default_rng(seed).permutation(len(train))[:MAX_IMAGES_FOR_WRONG])
    position = {int(train[p]): int(p) for p in looked}
    carried = np.full(len(train), -1)
    for picked, inputs in cache.batches(train[looked], 64):
        carried[[position[int(index)] for index in picked]] = style.carries(inputs).cpu().numpy()
    weights, labels = np.ones(len(train)), dataset.labels[train]
    for label in np.unique(labels):
        groups = [np.flatnonzero((labels == label) & (carried == has)) for has in (0, 1)]
        for group in groups:
            if len(group):
                weights[group] = min(MAX_TIMES, sum(map(len, groups)) / (2 * len(group)))
        if not all(map(len, groups)):
            weights[np.concatenate(groups)] = 1
    return None if len(np.unique(weights)) == 1 else weights / weights.sum()


class Sampler:
    """Draws the images of each step.

    Parameters
    ----------
    dataset, cache
        Images and their inputs.
    train : ndarray
        (T,) int64 training items.
    learnt : MaskedSet
        Painted images to learn from.
    batch_size, painted_per_step : int
        Images of each kind a step.
    sampling_weights : ndarray, optional
        (T,) float, how likely each training item is drawn.
    """

    def __init__(
        self,
        dataset: Dataset,
        cache: InputCache,
        train: np.ndarray,
        learnt: MaskedSet,
        batch_size: int,
        painted_per_step: int,
        sampling_weights: np.ndarray | None = None,
    ) -> None:
        self.dataset, self.cache = dataset, cache
        self.train, self.learnt = train, learnt
        self.batch_size, self.painted_per_step = batch_size, painted_per_step
        self.sampling_weights = sampling_weights

    def draw(self, rng: np.random.Generator) -> Batch:
        """Return the next step's images.

        Raises
        ------
        RetuneError
            None of them can be read.
        """
        # Where few images are ever drawn, one may come twice in a step.
        repeat = self.sampling_weights is not None and int(np.count_nonzero(self.sampling_weights)) < self.batch_size
        few = len(self.learnt) < self.painted_per_step
        positions = rng.choice(len(self.learnt), self.painted_per_step, replace=few)
        for _ in range(MAX_DRAWS):
            rows = rng.choice(len(self.train), self.batch_size, replace=repeat, p=self.sampling_weights)
            found = next(self.cache.batches(self.train[rows], len(rows)), None)
            if found is not None:
                indices, inputs = found
                labels = torch.from_numpy(self.dataset.labels[indices].astype(np.int64))
                return Batch(inputs, labels, self.learnt.take(positions), indices)
        raise RetuneError("The training images cannot be read any more; check that the dataset is still there.")


def choose_sampling_weights(
    wishes: list[Callable[[Callable[[], np.ndarray]], np.ndarray | None]], wrong: Callable[[], np.ndarray]
) -> np.ndarray | None:
    """Return the first wish of the methods for how likely each training image is drawn; None where there is none."""
    return next((sampling_weights for wish in wishes if (sampling_weights := wish(wrong)) is not None), None)


def augment(batch: Batch, generator: torch.Generator, *, mirror: bool = False) -> Batch:
    """Return a batch whose images are each turned, shifted, zoomed and brightened by amounts of their own.

    Parameters
    ----------
    batch : Batch
        The step's images.
    generator : torch.Generator
        The amounts are drawn from it.
    mirror : bool
        Flip every other image left to right as well.
    """
    grid = draw_moves(batch.inputs, generator, mirror=mirror)
    inputs = shade(move(batch.inputs, grid), generator)
    painted = batch.painted
    grid = draw_moves(painted.inputs, generator, mirror=mirror)
    together = [painted.inputs] if painted.inpainted is None else [painted.inputs, painted.inpainted]
    channels = painted.inputs.shape[1]
    # One draw of light for both, so that they differ under the mask only.
    moved = shade(move(torch.cat(together, 1), grid), generator, channels)
    masks = move(painted.masks[:, None].float(), grid, mode="nearest", padding="zeros")[:, 0] > 0.5
    changed = replace(
        painted,
        inputs=moved[:, :channels],
        inpainted=None if painted.inpainted is None else moved[:, channels:],
        masks=masks,
        overlay=None,  # it is where the mark was before the images were moved
    )
    return replace(batch, inputs=inputs, painted=changed)
