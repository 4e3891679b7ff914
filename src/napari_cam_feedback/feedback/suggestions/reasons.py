"""Why an image is suggested, in plain sentences with numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_cam_feedback.feedback.suggestions.clusters import MapCluster
from napari_cam_feedback.feedback.suggestions.scan import MapScan
from napari_cam_feedback.feedback.suggestions.signals import Signals

# A second reason is told where it adds at least this share of what the first one adds.
_ALSO = 0.6
# Below this margin the model hesitates.
_HESITATES = 0.2


class Reasons:
    """Says why.

    Parameters
    ----------
    scan, signals : MapScan, Signals
        Of all images.
    clusters, member : sequence of MapCluster, ndarray
        Groups of like maps, and each image's.
    class_names : sequence of str
        The K classes.
    """

    def __init__(
        self, scan: MapScan, signals: Signals, clusters: Sequence[MapCluster], member: np.ndarray, class_names: Sequence[str]
    ) -> None:
        self._scan, self._signals, self._clusters, self._member = scan, signals, clusters, member
        self._names = class_names

    def reason(self, row: int, parts: Mapping[str, float]) -> str:
        """Return one or two sentences.

        Parameters
        ----------
        row : int
            Which image.
        parts : mapping
            What each signal adds to its score.
        """
        order = sorted(parts, key=lambda name: -parts[name])
        first = self._sentence(order[0], row)
        second = next((name for name in order[1:2] if parts[name] >= _ALSO * parts[order[0]] > 0), None)
        said = first if second is None else f"{first} {self._sentence(second, row)}"
        # How often that occurs is what tells a habit from a chance.
        return said if "cluster" in (order[0], second) else f"{said} {self._often(row)}".rstrip()

    def _sentence(self, name: str, row: int) -> str:
        return {
            "shortcut": self._shortcut,
            "doubt": self._doubt,
            "displaced": self._displaced,
            "cluster": self._cluster,
            "filters": self._filters,
        }[name](row)

    def _shortcut(self, row: int) -> str:
        known = "right with certainty" if self._scan.labels[row] >= 0 else "certainty"
        if self._scan.wrong[row]:
            return self._doubt(row)
        return (
            f"{known.capitalize()} {self._scan.certainty[row]:.2f}, and half of its evidence lies in "
            f"{percent(self._signals.half[row])} of the image, {place_word(self._scan.maps[row])}."
        )

    def _doubt(self, row: int) -> str:
        scan = self._scan
        predicted, certainty = self._names[scan.predicted[row]], scan.certainty[row]
        if scan.wrong[row]:
            return (
                f"Misclassified: “{self._names[scan.labels[row]]}” is taken for “{predicted}” (certainty {certainty:.2f})."
            )
        second = f"“{self._names[scan.second[row]]}” ({certainty - scan.margin[row]:.2f})"
        if scan.margin[row] < _HESITATES:
            return f"The model hesitates between “{predicted}” ({certainty:.2f}) and {second}."
        return f"“{predicted}” ({certainty:.2f}) is ahead of {second} by {scan.margin[row]:.2f} only."

    def _displaced(self, row: int) -> str:
        if self._signals.moved[row] <= 0:
            return "Its evidence lies where it usually does."
        name = self._names[self._scan.predicted[row]]
        return f"{percent(self._signals.moved[row])} of its evidence lies elsewhere than is usual for “{name}”."

    def _cluster(self, row: int) -> str:
        cluster = self._clusters[self._member[row]] if self._member[row] >= 0 else None
        name = self._names[self._scan.predicted[row]]
        if cluster is None:
            return f"Nothing in it speaks for “{name}”."
        if cluster.size == cluster.of:
            return f"The maps of all {cluster.of} images predicted “{name}” are alike."
        return (
            f"One of a group of {cluster.size} among the {cluster.of} images predicted “{name}” whose maps lie "
            f"{place_word(cluster.mean_map)}."
        )

    def _filters(self, row: int) -> str:
        assert self._signals.filters is not None
        share = percent(self._signals.filters[row])
        return f"The filters marked irrelevant respond more strongly than in {share} of the images."

    def _often(self, row: int) -> str:
        if self._member[row] < 0:
            return ""
        cluster = self._clusters[self._member[row]]
        if cluster.size < 2:
            return ""
        name = self._names[cluster.predicted]
        if cluster.size == cluster.of:
            return f"So it is in all {cluster.of} images predicted “{name}”: their maps are alike."
        return f"{cluster.size} of the {cluster.of} images predicted “{name}” have maps like it."


def place_word(map_: np.ndarray) -> str:
    """Say where the most of a map (h, w) lies, in thirds of the image: ``at the bottom left``; by its heaviest place."""
    thirds = [np.array_split(np.arange(side), 3) if side >= 3 else [np.arange(side)] for side in map_.shape]
    sums = np.array([[map_[np.ix_(rows, columns)].sum() for columns in thirds[1]] for rows in thirds[0]])
    row, column = np.unravel_index(int(sums.argmax()), sums.shape)
    down = ("top", "", "bottom")[int(row)] if sums.shape[0] == 3 else ""
    across = ("left", "", "right")[int(column)] if sums.shape[1] == 3 else ""
    words = " ".join(word for word in (down, across) if word)
    return f"at the {words}" if words else "in the middle"


def percent(share: float) -> str:
    """Return a share as whole per cent, never a rounded 0 or 100."""
    text = f"{100 * share:.0f}"
    if text == "0" and share > 0:
        return "under 1 %"
    return "over 99 %" if text == "100" and share < 1 else f"{text} %"
