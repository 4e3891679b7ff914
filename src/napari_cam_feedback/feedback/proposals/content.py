"""What painted pixels look like: a discriminant of painted and other pixels by image content alone, with no network.

A network that was retuned no longer responds to what was painted, which was the point of it; the image still shows it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_cam_feedback.feedback.masks.size import resized
from napari_cam_feedback.feedback.painting.places import unit_colours
from napari_cam_feedback.feedback.proposals.exemplars import Donor

#: Images are looked at with their longer side at most so many pixels.
LONGEST = 128
# Scales of the features, in pixels: from single pixels to marks of the size of a tag.
_SCALES = (0.5, 4.0)
# Painted and other pixels that are learnt from, of each painted image.
_INSIDE, _OUTSIDE = 500, 1500


def pixel_features(image: np.ndarray) -> np.ndarray:
    """Return what the surroundings of each pixel look like.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, 3).

    Returns
    -------
    ndarray
        (h, w, F) float32, the longer side at most `LONGEST`: for each colour smoothed values, gradients and eigenvalues of
        the Hessian at four scales (`skimage.feature.multiscale_basic_features`).
    """
    from skimage.feature import multiscale_basic_features
    from skimage.transform import resize

    colours = unit_colours(image)
    longest = max(colours.shape[:2])
    if longest > LONGEST:
        small = tuple(max(1, round(side * LONGEST / longest)) for side in colours.shape[:2])
        colours = resize(colours, (*small, *colours.shape[2:]), order=1, anti_aliasing=True)
    low, high = _SCALES
    return np.asarray(
        multiscale_basic_features(
            colours, sigma_min=low, sigma_max=high, workers=1, channel_axis=2 if colours.ndim == 3 else None
        ),
        np.float32,
    )


class PaintedContent:
    """Tells painted pixels from others by what they look like: linear discriminant analysis with a shrunk covariance.

    Parameters
    ----------
    donors : sequence of Donor
        The painted images, all of one number of colours that is looked at: the first one's.
    seed : int
        Which pixels are learnt from.
    """

    def __init__(self, donors: Sequence[Donor], *, seed: int = 0) -> None:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        rng = np.random.default_rng(seed)
        self._coloured = donors[0].image.ndim == 3
        inside, outside = [], []
        for donor in donors:
            features = self._features(donor.image)
            mask = resized(donor.mask, features.shape[:2])
            inside.append(_drawn(features[mask], _INSIDE, rng))
            outside.append(_drawn(features[~mask], _OUTSIDE, rng))
        painted, others = np.concatenate(inside), np.concatenate(outside)
        self._model = None
        # A mask over everything, or of a pixel that vanished when its image was made smaller, leaves nothing to compare.
        if len(painted) > 1 and len(others) > 1:
            # As if half of all pixels were painted: how large the mark is tells nothing of whether it is there.
            self._model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
            self._model.fit(np.concatenate([painted, others]), np.repeat([True, False], [len(painted), len(others)]))

    def probability(self, image: np.ndarray) -> np.ndarray:
        """Return for each pixel how likely it is a painted one, (h, w) float32; 0 everywhere if nothing could be learnt."""
        features = self._features(image)
        if self._model is None:
            return np.zeros(features.shape[:2], np.float32)
        found = self._model.predict_proba(features.reshape(-1, features.shape[2]))[:, 1]
        return np.asarray(found, np.float32).reshape(features.shape[:2])

    def _features(self, image: np.ndarray) -> np.ndarray:
        if self._coloured and image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        elif not self._coloured and image.ndim == 3:
            image = unit_colours(image).mean(axis=2)
        return pixel_features(image)


def _drawn(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else rows[rng.permutation(len(rows))[:most]]
