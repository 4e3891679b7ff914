"""Concept activation vectors (Kim et al. 2018): the normal of a linear classifier between two sets of activations.

A classifier with a squared penalty on its weights has a normal within the span of the activations it learnt from. So a
layer's activations, of which there may be tens of thousands an image, are first turned into coordinates within the span of
all images at hand, at most one for each image. The classifiers found there are the same, and hundreds of them take seconds.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.errors import ModelError

#: Columns that are multiplied at a time in double precision.
_BLOCK = 4096
#: Directions in which the images differ by less than this share of the largest are rounding errors.
_MIN_VARIANCE_SHARE = 1e-9
#: Of each set, the share that a classifier learns from; it is judged by the rest.
_TRAIN_SHARE = 2 / 3


@dataclass(frozen=True)
class Span:
    """Activations of N images in coordinates of their own span.

    Attributes
    ----------
    coordinates : ndarray
        (N, r) float64, r < N. Distances are those of the activations divided by `scale`.
    scale : float
        Root mean square distance of the random images' activations from their mean: with it, a penalty means the same at
        every layer.
    """

    coordinates: np.ndarray
    scale: float
    _centred: np.ndarray
    _mixing: np.ndarray

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Return the coordinates of vectors (n, D) float32, such as gradients, within the span: (n, r) float64.

        Their products with vectors of the span stay as they were.
        """
        return (vectors @ self._centred.T).astype(np.float64) @ self._mixing

    def lift(self, vectors: np.ndarray) -> np.ndarray:
        """Return vectors (n, r) of the span as activations, (n, D) float32; lengths stay as they were."""
        return ((vectors @ self._mixing.T).astype(np.float32) @ self._centred).astype(np.float32)


def make_span(activations: np.ndarray, pool: np.ndarray | None = None) -> Span:
    """Turn activations into coordinates of their span.

    Parameters
    ----------
    activations : ndarray
        (N, D) float32; it is changed in place, and kept.
    pool : ndarray, optional
        Rows that zero and the unit of distance are taken from, so that other rows have no say in what a penalty means; by
        default all.

    Raises
    ------
    ModelError
        The activations do not differ between the images.
    """
    centred = activations
    reference = slice(None) if pool is None else pool
    centred -= centred[reference].mean(0, dtype=np.float64).astype(np.float32)
    squares = np.einsum("nd,nd->n", centred, centred, dtype=np.float64)
    scale = float(np.sqrt(squares[reference].mean()))
    if not scale > 0 or not np.isfinite(scale):
        raise ModelError("The layer puts out the same for every image, or no numbers; choose another layer.")
    centred /= np.float32(scale)
    gram = np.zeros((len(centred), len(centred)))
    for start in range(0, centred.shape[1], _BLOCK):
        block = centred[:, start : start + _BLOCK].astype(np.float64)
        gram += block @ block.T
    values, vectors = np.linalg.eigh(gram)
    keep = values > values[-1] * _MIN_VARIANCE_SHARE
    lengths = np.sqrt(values[keep])
    return Span(vectors[:, keep] * lengths, scale, centred, vectors[:, keep] / lengths)


@dataclass(frozen=True)
class Cav:
    """A concept activation vector.

    Attributes
    ----------
    vector : ndarray
        (r,) float64 of length 1; it points to the concept.
    accuracy : float
        Share of the images kept out of the fit, half of them of the concept, that the classifier tells right; 0.5 is chance.
    """

    vector: np.ndarray
    accuracy: float


def fit_normal(positive: np.ndarray, negative: np.ndarray, inverse_penalty: float) -> tuple[np.ndarray, float]:
    """Fit a logistic classifier with a squared penalty; return its normal, (r,) of any length, and its bias.

    Parameters
    ----------
    positive, negative : ndarray
        (n, r) and (m, r); the normal points to the positive ones.
    inverse_penalty : float
        scikit-learn's C.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    features = np.concatenate([positive, negative])
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    with warnings.catch_warnings():
        # A normal is a direction: it settles long before the weights of separable sets stop growing.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=inverse_penalty, tol=1e-6, max_iter=1000).fit(features, labels)
    return fitted.coef_[0], float(fitted.intercept_[0])


def fit_cav(positive: np.ndarray, negative: np.ndarray, inverse_penalty: float, rng: np.random.Generator) -> Cav:
    """Fit the classifier on two thirds of each set, drawn at random, and judge it by the rest.

    Parameters
    ----------
    positive, negative : ndarray
        (n, r) coordinates of images of the concept and of random ones.
    inverse_penalty : float
        scikit-learn's C.
    rng : Generator
        Draws the thirds.
    """
    (learn, judge), (learn_not, judge_not) = (_parts(rows, rng) for rows in (positive, negative))
    normal, bias = fit_normal(learn, learn_not, inverse_penalty)
    accuracy = ((judge @ normal + bias > 0).mean() + (judge_not @ normal + bias <= 0).mean()) / 2
    return Cav(normal / max(float(np.linalg.norm(normal)), 1e-300), float(accuracy))


def _parts(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = rng.permutation(len(rows))
    count = round(len(rows) * _TRAIN_SHARE)
    return rows[order[:count]], rows[order[count:]]
