"""Groups of like attribution maps among the images of a class: what the network looks at, and how often (SpRAy).

Lapuschkin et al. 2019, "Unmasking Clever Hans predictors and assessing what machines really learn": downsampled maps of the
images of a class are clustered spectrally; the number of clusters is read off the gap in the eigenvalues of the graph's
Laplacian. A shortcut shows as a group, often a small one, whose maps lie in the same compact place.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.feedback.suggestions.scan import MapScan
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor

#: Groups that the images of one class are divided into, at most.
MAX_GROUPS = 8
# Neighbours that an image is joined with in the graph.
_NEIGHBOURS = 10
# Fewer images of a class are one group.
_MIN_CLUSTERED = 12
# Of more images of a class, so many are clustered, and the others join the group whose mean map is most like theirs.
_MAX_CLUSTERED = 1000
_EXAMPLES = 12


@dataclass(frozen=True)
class MapCluster:
    """A group of images of one predicted class whose maps are alike.

    Attributes
    ----------
    number : int
        Its place, the most conspicuous first; from 0.
    predicted : int
        The class that the network gives all of them.
    size, of : int
        Images in it, and images of that predicted class.
    mean_map : ndarray
        (h, w) float32, the mean of their maps; sums to 1.
    tightness : float
        Mean similarity of their maps with the mean map, 0 to 1 (Bhattacharyya coefficient).
    compactness : float
        1 - 2 A, where A is the least share of the image that holds half of the mean map: 1 in a point, 0 spread evenly. High
        only where the network looks at the same small place in all of them.
    wrong : int
        Images in it that are misclassified.
    indices : ndarray
        (size,) int64 items, the most typical first.
    """

    number: int
    predicted: int
    size: int
    of: int
    mean_map: np.ndarray
    tightness: float
    compactness: float
    wrong: int
    indices: np.ndarray

    @property
    def examples(self) -> np.ndarray:
        """The most typical items, a dozen at most."""
        return self.indices[:_EXAMPLES]

    @property
    def share(self) -> float:
        """Share of the images of its class."""
        return self.size / self.of


def half_area(maps: np.ndarray) -> np.ndarray:
    """Return the least share of the places that holds half of each map's mass.

    Parameters
    ----------
    maps : ndarray
        (N, h, w) float, not negative.

    Returns
    -------
    ndarray
        (N,) float64 in 0..1; 1 for a map without mass.
    """
    flat = np.sort(maps.reshape(len(maps), -1).astype(np.float64), axis=1)[:, ::-1]
    total = flat.sum(1)
    # Half, but for rounding.
    reached = flat.cumsum(1) >= (0.5 - 1e-6) * total[:, None]
    return np.where(total > 0, (reached.argmax(1) + 1) / flat.shape[1], 1.0)


def similarity(maps: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the Bhattacharyya coefficient of maps (N, h, w) with one map (h, w), all of sum 1; float64 (N,) in 0..1."""
    return np.sqrt(maps.astype(np.float64) * other).sum((1, 2))


@takes_monitor
def cluster_maps(scan: MapScan, *, seed: int = 0, monitor: Monitor = QUIET) -> tuple[tuple[MapCluster, ...], np.ndarray]:
    """Group the images of each predicted class by their maps.

    Parameters
    ----------
    scan : MapScan
        Of the images; those without positive evidence belong to no group.
    seed : int
        Which images of a large class are clustered.
    monitor : Monitor, optional
        Once stopped, the work ends with the groups of those before.

    Returns
    -------
    clusters : tuple of MapCluster
        The most conspicuous first, by `compactness` times `tightness`.
    member : ndarray
        (N,) int64, the number of each image's group, -1 for none.
    """
    found: list[tuple[float, np.ndarray, MapCluster]] = []
    evidence = scan.maps.sum((1, 2)) > 0
    for predicted in np.unique(scan.predicted):
        if monitor.stopped:
            break
        rows = np.flatnonzero((scan.predicted == predicted) & evidence)
        groups = _groups(scan.maps[rows], seed)
        for group in range(groups.max(initial=-1) + 1):
            own = rows[groups == group]
            mean = scan.maps[own].mean(0, dtype=np.float64)
            alike = similarity(scan.maps[own], mean)
            own = own[np.argsort(-alike, kind="stable")]
            compactness = max(0.0, 1 - 2 * float(half_area(mean[None])[0]))
            cluster = MapCluster(
                number=0,
                predicted=int(predicted),
                size=len(own),
                of=int((scan.predicted == predicted).sum()),
                mean_map=mean.astype(np.float32),
                tightness=float(alike.mean()),
                compactness=compactness,
                wrong=int(scan.wrong[own].sum()),
                indices=scan.indices[own],
            )
            found.append((compactness * cluster.tightness, own, cluster))
    found.sort(key=lambda each: -each[0])
    member = np.full(len(scan), -1, np.int64)
    for number, (_, own, _) in enumerate(found):
        member[own] = number
    return tuple(MapCluster(**{**vars(c), "number": number}) for number, (_, _, c) in enumerate(found)), member


def _groups(maps: np.ndarray, seed: int) -> np.ndarray:
    """Return the group of each map, (n,) int64 from 0 on."""
    points = np.sqrt(maps.reshape(len(maps), maps.shape[1] * maps.shape[2])).astype(np.float64)
    if len(points) < _MIN_CLUSTERED or not np.ptp(points, axis=0).max() > 0:
        return np.zeros(len(points), np.int64)
    if len(points) <= _MAX_CLUSTERED:
        return _spectral(points)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(points))[:_MAX_CLUSTERED])
    groups = _spectral(points[chosen])
    centres = np.stack([points[chosen][groups == g].mean(0) for g in range(groups.max() + 1)])
    # Lengths of the points are the same, so the nearest centre is that of the largest product, less half its square.
    joined = np.asarray((points @ centres.T - 0.5 * np.square(centres).sum(1)).argmax(1), np.int64)
    joined[chosen] = groups
    return joined


def _spectral(points: np.ndarray) -> np.ndarray:
    """Cluster spectrally; as many clusters as there are eigenvalues before the widest gap among the first few."""
    from scipy.linalg import eigvalsh
    from scipy.sparse.csgraph import laplacian
    from sklearn.cluster import SpectralClustering
    from sklearn.neighbors import kneighbors_graph

    graph = kneighbors_graph(points, min(_NEIGHBOURS, len(points) - 1))
    affinity = (0.5 * (graph + graph.T)).toarray()
    values = eigvalsh(laplacian(affinity, normed=True), subset_by_index=[0, min(MAX_GROUPS, len(points) - 1)])
    count = int(np.argmax(np.diff(values))) + 1
    if count == 1:
        return np.zeros(len(points), np.int64)
    model = SpectralClustering(count, affinity="precomputed", assign_labels="cluster_qr", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the graph falls into parts is what is looked for
        groups = model.fit_predict(affinity)
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)
