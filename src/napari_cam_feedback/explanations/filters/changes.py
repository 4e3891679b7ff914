"""What a retune did to the filters: mean activations of two versions over the same images (Ferrada 2019, table 7.3)."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.errors import DataError
from napari_cam_feedback.explanations.filters.features import Features
from napari_cam_feedback.explanations.filters.statistics import check_filter
from napari_cam_feedback.files import TableWriter, write_text

#: A filter is silent where nothing exceeds this share of the layer's largest activation, in any image.
SILENT = 1e-6


@dataclass(frozen=True)
class ChangeHistograms:
    """How often a filter's mean activation takes which value, before and after.

    Attributes
    ----------
    edges : ndarray
        (B + 1,) float64, common to both.
    before, after : ndarray
        (B,) int64 images.
    """

    edges: np.ndarray
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class FilterChanges:
    """Change of each filter from one version to another, over N images.

    Attributes
    ----------
    before, after : ndarray
        (F,) float64, mean activation over the images.
    effect : ndarray
        (F,) float64, Cohen's d: change over the root mean square of both standard deviations between images; NaN where
        neither version varies.
    died, born : ndarray
        (F,) bool, silent in every image after but not before, and the reverse.
    images : int
        N.
    """

    before: np.ndarray
    after: np.ndarray
    effect: np.ndarray
    died: np.ndarray
    born: np.ndarray
    images: int

    @property
    def change(self) -> np.ndarray:
        """(F,) float64, after less before."""
        return self.after - self.before

    @property
    def relative(self) -> np.ndarray:
        """(F,) float64, change over the absolute mean before; NaN where that is 0."""
        size = np.abs(self.before)
        return np.divide(self.change, size, out=np.full_like(size, np.nan), where=size > 0)

    @property
    def order(self) -> np.ndarray:
        """(F,) int64, filters by the size of their change, the greatest first."""
        return np.argsort(-np.abs(self.change), kind="stable")

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `to_csv` to a file; raises StorageError."""
        write_text(path, self.to_csv())

    def to_csv(self) -> str:
        """Return a row a filter as CSV text, the greatest change first; what is undefined is left empty."""
        text = io.StringIO()
        writer = TableWriter(text)
        writer.writerow(["filter", "before", "after", "change", "relative", "effect", "died", "born"])
        change, relative = self.change, self.relative
        for n in self.order.tolist():
            numbers = (self.before[n], self.after[n], change[n], relative[n], self.effect[n])
            shown = ["" if np.isnan(value) else f"{value:.6g}" for value in numbers]
            writer.writerow([n, *shown, int(self.died[n]), int(self.born[n])])
        return text.getvalue()


def filter_changes(before: Features, after: Features) -> FilterChanges:
    """Compare the filters of two versions over the same images.

    Parameters
    ----------
    before, after : Features
        Of the same items and target layer. Where some could be read for one only, those read for both are compared.

    Raises
    ------
    DataError
        They are of other images or layers, or have no image in common.
    """
    before, after = _aligned(before, after)
    one, other = (features.mean.mean(0, dtype=np.float64) for features in (before, after))
    variance = (before.mean.var(0, dtype=np.float64) + after.mean.var(0, dtype=np.float64)) / 2
    deviation = np.sqrt(variance)
    # What rounding leaves of constant filters is no spread.
    varies = deviation > 1e-6 * np.maximum(np.abs(one), np.abs(other))
    effect = np.divide(other - one, deviation, out=np.full_like(deviation, np.nan), where=varies)
    largest = max(float(np.abs(features.maximum).max(initial=0.0)) for features in (before, after))
    silent = [_silent(features, SILENT * largest) for features in (before, after)]
    return FilterChanges(one, other, effect, silent[1] & ~silent[0], silent[0] & ~silent[1], len(before))


def change_histograms(before: Features, after: Features, number: int, bins: int = 32) -> ChangeHistograms:
    """Count a filter's mean activations before and after in the same equal bins; raises as `filter_changes` does.

    Raises
    ------
    ConfigError
        There is no such filter.
    """
    check_filter(number, before.filters)
    before, after = _aligned(before, after)
    one, other = (features.mean[:, number].astype(np.float64) for features in (before, after))
    edges = np.histogram_bin_edges(np.concatenate([one, other]), bins)
    return ChangeHistograms(edges, np.histogram(one, edges)[0], np.histogram(other, edges)[0])


def _silent(features: Features, tolerance: float) -> np.ndarray:
    # Where neither mean nor maximum leaves 0 there is nothing below 0 either.
    return (np.abs(features.mean).max(0) <= tolerance) & (np.abs(features.maximum).max(0) <= tolerance)


def _aligned(before: Features, after: Features) -> tuple[Features, Features]:
    if before.data != after.data:
        raise DataError("The two versions were looked at with different images; compute both for the same split.")
    if (before.layer, before.filters) != (after.layer, after.filters):
        raise DataError(
            f"The two versions' target layers differ ({before.layer!r} with {before.filters} filters, {after.layer!r} "
            f"with {after.filters}); compare the same layer."
        )
    if not np.array_equal(before.indices, after.indices):
        _, rows, others = np.intersect1d(before.indices, after.indices, return_indices=True)
        before, after = before.take(rows), after.take(others)
    if not len(before):
        raise DataError("The two versions have no image in common; compute the features of both anew.")
    return before, after
