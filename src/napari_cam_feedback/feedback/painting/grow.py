"""Growing from the heatmap: the hot region in which a place lies."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.feedback.painting.places import check_place

#: Share of the map's maximum from which a pixel is hot.
DEFAULT_SHARE = 0.5


def hot_regions(heatmap: np.ndarray, share: float = DEFAULT_SHARE) -> np.ndarray:
    """Number the regions of a heatmap that are hot and hang together, over edges and corners.

    Parameters
    ----------
    heatmap : ndarray
        (H, W) float, signed; only what speaks for the class, above 0, can be hot.
    share : float
        Above 0, up to 1: of the map's maximum, from which a pixel is hot.

    Returns
    -------
    ndarray
        (H, W) int32: the number of each pixel's region, from 1; 0 where it is cold.

    Raises
    ------
    ConfigError
        There is no such share.
    """
    from scipy.ndimage import label

    if not 0 < share <= 1:
        raise ConfigError(f"The threshold cannot be {share:g} of the heatmap's maximum; choose one above 0, up to 1.")
    values = np.nan_to_num(np.asarray(heatmap, np.float32))
    highest = float(values.max(initial=0.0))
    if highest <= 0:
        return np.zeros(values.shape, np.int32)
    return np.asarray(label(values >= np.float32(share * highest), np.ones((3, 3), int))[0], np.int32)


def hot_region(heatmap: np.ndarray, place: tuple[int, int], share: float = DEFAULT_SHARE) -> np.ndarray:
    """Return the hot region of a heatmap in which a place lies, bool (H, W), empty where it is cold.

    Parameters are as of `hot_regions`, and the place is (row, column).

    Raises
    ------
    ConfigError
        The place is outside the map, or there is no such share.
    """
    check_place(place, heatmap.shape[:2])
    regions = hot_regions(heatmap, share)
    return (regions == regions[place]) & (regions > 0)
