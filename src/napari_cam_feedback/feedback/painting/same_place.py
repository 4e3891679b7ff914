"""The same place in other images: a mask copied to them, for tags, rulers and frames that do not move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError, MaskError
from napari_cam_feedback.feedback.masks.size import check_mask, resized
from napari_cam_feedback.feedback.painting.places import unit_colours
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor

#: From this likeness on the same thing is taken to be there; of other patches the correlation is near 0.
ALIKE = 0.6
# Values whose standard deviation is below this share of the range are one even surface, which has no pattern to compare.
_EVEN = 0.02


@dataclass(frozen=True)
class Copied:
    """A mask copied to another image; it is not saved yet.

    Attributes
    ----------
    index, key : int, str
        The image.
    image : ndarray
        (H, W) or (H, W, 3) as read, to show the copy on.
    mask : ndarray
        (H, W) bool; in an image of another size the same place relative to its height and width.
    likeness : float
        -1 to 1: how much what lies under the mask resembles what was painted, see `likeness`.
    """

    index: int
    key: str
    image: np.ndarray
    mask: np.ndarray
    likeness: float

    @property
    def alike(self) -> bool:
        """Whether the same thing seems to be there."""
        return self.likeness >= ALIKE


@takes_monitor
def same_place(
    dataset: Dataset, donor: int, mask: np.ndarray, indices: Iterable[int], *, monitor: Monitor = QUIET
) -> Iterator[Copied]:
    """Copy a mask to other images; nothing is saved. Images that cannot be read are left out.

    Parameters
    ----------
    dataset : Dataset
        Where the images are.
    donor : int
        The image that the mask was painted on.
    mask : ndarray
        (H, W) bool.
    indices : iterable of int
        The other images; the donor is left out.
    monitor : Monitor, optional
        Told of images done and in all. Once stopped, the work ends.

    Raises
    ------
    MaskError
        The mask is empty or not of its image's size; raised before the first copy.
    """
    mask = np.asarray(mask) != 0
    check_mask(dataset, donor, mask)
    if not mask.any():
        raise MaskError(f"Nothing is painted on {dataset.keys[donor]}; paint it first, then copy it to other images.")
    return _copies(dataset, donor, mask, [int(index) for index in indices if int(index) != donor], monitor)


def _copies(dataset: Dataset, donor: int, mask: np.ndarray, indices: list[int], monitor: Monitor) -> Iterator[Copied]:
    painted = dataset.read(donor)
    for done, index in enumerate(indices, 1):
        if monitor.stopped:
            return
        try:
            image = dataset.read(index)
        except DataError:
            continue
        size = (int(image.shape[0]), int(image.shape[1]))
        # One array for all images of the size, which are many: it is never changed.
        there = mask if size == mask.shape else resized(mask, size)
        yield Copied(index, dataset.keys[index], image, there, likeness(painted, image, mask))
        monitor.progress(done, len(indices))


def likeness(painted: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """Return how much two images resemble each other under a mask.

    Parameters
    ----------
    painted, other : ndarray
        (H, W) or (H, W, 3); the other one is brought to the size of the first.
    mask : ndarray
        (H, W) bool, of the first.

    Returns
    -------
    float
        -1 to 1: Pearson's correlation of their colours under the mask. Of an even surface, which has no pattern, 1 less the
        mean difference in units of a tenth of the range: 1 where it has the same colour, 0 from a tenth on.
    """
    one, two = unit_colours(painted), unit_colours(other)
    if one.ndim != two.ndim:
        one, two = (values if values.ndim == 2 else values.mean(axis=2) for values in (one, two))
    one, two = one[mask].ravel(), resized(two, mask.shape)[mask].ravel()
    if one.std() < _EVEN:
        return float(max(0.0, 1 - 10 * np.abs(one - two).mean()))
    if two.std() < _EVEN:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])
