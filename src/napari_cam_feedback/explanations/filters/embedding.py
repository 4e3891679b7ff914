"""A map of the images: pooled features in two dimensions, by PCA, t-SNE or UMAP."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.explanations.filters.features import Features
from napari_cam_feedback.files import TableWriter, write_text
from napari_cam_feedback.steps import run_to_end

EmbeddingMethod = Literal["pca", "tsne", "umap"]
EMBEDDING_METHODS: tuple[EmbeddingMethod, ...] = get_args(EmbeddingMethod)

#: Images that t-SNE and UMAP place at most, drawn with a seed; PCA places all.
MAX_IMAGES: dict[EmbeddingMethod, int] = {"tsne": 3000, "umap": 20_000}
#: Principal components that t-SNE and UMAP start from.
_COMPONENTS = 50
# t-SNE's 1,000 iterations are done in parts, between which it can be stopped; scikit-learn does no fewer at a time.
_PARTS, _PART = 4, 250
_EXAGGERATION = 12.0


@dataclass(frozen=True)
class Embedding:
    """Images as points in the plane.

    Attributes
    ----------
    points : ndarray
        (n, 2) float32.
    rows : ndarray
        (n,) int64, rows of the features, ascending; all but where a subsample was drawn.
    indices : ndarray
        (n,) int64, items of the dataset.
    keys : tuple of str
        Their keys.
    labels, predicted : ndarray
        (n,) int64; -1 for an unknown label.
    method : str
        ``pca``, ``tsne`` or ``umap``.
    explained : tuple of float or None
        Share of the variance along each axis, for ``pca``.
    """

    points: np.ndarray
    rows: np.ndarray
    indices: np.ndarray
    keys: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    method: EmbeddingMethod
    explained: tuple[float, float] | None = None

    @property
    def errors(self) -> np.ndarray:
        """(n,) bool, whether the class predicted is not the true one; False where that is unknown."""
        return (self.labels >= 0) & (self.labels != self.predicted)

    def nearest(self, x: float, y: float) -> int:
        """Return the item (index into the dataset) whose point is nearest to a place."""
        return int(self.indices[np.square(self.points - np.array([x, y], np.float32)).sum(1).argmin()])

    def save_csv(self, path: str | os.PathLike[str], class_names: tuple[str, ...]) -> None:
        """Write ``key,x,y,label,predicted``, one row an image; raises StorageError."""
        text = io.StringIO()
        writer = TableWriter(text)
        writer.writerow(["key", "x", "y", "label", "predicted"])
        for key, (x, y), label, predicted in zip(self.keys, self.points, self.labels, self.predicted, strict=True):
            name = class_names[label] if label >= 0 else ""
            writer.writerow([key, f"{x:.6g}", f"{y:.6g}", name, class_names[predicted]])
        write_text(path, text.getvalue())


def umap_installed() -> bool:
    """Tell whether UMAP can be asked for, without importing it."""
    return importlib.util.find_spec("umap") is not None


def embed(features: Features, method: EmbeddingMethod = "pca", *, seed: int = 0) -> Embedding:
    """Place images in the plane by their pooled features, so that those which the network holds for alike lie together.

    t-SNE takes ten to thirty seconds for its 3,000 images, PCA about one; `embedding_steps` does the same in steps.

    Parameters
    ----------
    features : Features
        Of a split.
    method : str
        ``pca``; ``tsne`` (van der Maaten 2008); ``umap`` (McInnes 2018), where umap-learn is installed. The latter two start
        from 50 principal components and place at most `MAX_IMAGES`.
    seed : int
        The same seed gives the same points.

    Raises
    ------
    ConfigError
        There is no such method, or it is not installed.
    DataError
        There are no images, or activations that are not numbers.
    """
    return run_to_end(embedding_steps(features, method, seed=seed))


def embedding_steps(
    features: Features, method: EmbeddingMethod = "pca", *, seed: int = 0
) -> Generator[tuple[int, int], None, Embedding]:
    """Do what `embed` does, yielding the steps done and in all: four of t-SNE, one of PCA and of UMAP.

    Whoever does not want the points any more asks for no further step.
    """
    if method not in EMBEDDING_METHODS:
        raise ConfigError(f"There is no embedding {method!r}; choose one of {', '.join(EMBEDDING_METHODS)}.")
    if method == "umap" and not umap_installed():
        raise ConfigError(
            "UMAP needs the package umap-learn, which is not installed; install it with pip install umap-learn, "
            "or choose pca or tsne."
        )
    if not len(features):
        raise DataError("There are no images to place; choose a split that has some.")
    if not np.isfinite(features.mean).all():
        raise DataError("Some activations are not numbers (NaN or infinite); check the model and its preprocessing.")
    rows = np.arange(len(features))
    most = MAX_IMAGES.get(method, len(rows))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
        features = features.take(rows)
    explained = None
    if method == "pca":
        points, explained = _pca(features.mean, seed)
    else:
        points = yield from _neighbours(features.mean, method, seed)
    return Embedding(
        points=np.ascontiguousarray(points, np.float32),
        rows=rows,
        indices=features.indices,
        keys=features.keys,
        labels=features.labels,
        predicted=features.predicted,
        method=method,
        explained=explained,
    )


def _pca(x: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[float, float]]:
    from sklearn.decomposition import PCA  # takes a second to load

    count = min(2, *x.shape)
    points = np.zeros((len(x), 2), np.float32)
    share = [0.0, 0.0]
    # Without any variance there are no directions, and every image is at the origin.
    if _varies(x):
        model = PCA(count, svd_solver="covariance_eigh" if x.shape[1] <= 256 else "auto", random_state=seed)
        points[:, :count] = model.fit_transform(x)
        share[:count] = model.explained_variance_ratio_.tolist()
    return points, (float(share[0]), float(share[1]))


def _neighbours(x: np.ndarray, method: EmbeddingMethod, seed: int) -> Generator[tuple[int, int], None, np.ndarray]:
    """t-SNE or UMAP of the first principal components; too few images to have neighbours are placed by PCA."""
    from sklearn.decomposition import PCA

    if len(x) < 5 or not _varies(x):
        return _pca(x, seed)[0]
    components = PCA(min(_COMPONENTS, *x.shape), random_state=seed).fit_transform(x)
    if components.shape[1] == 1:
        components = np.pad(components, ((0, 0), (0, 1)))  # t-SNE starts in two dimensions
    if method == "tsne":
        return (yield from _tsne(components, seed))
    yield 0, 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that are ours, such as a seed that costs UMAP its threads
        umap = importlib.import_module("umap")
        return umap.UMAP(n_neighbors=min(15, len(x) - 1), random_state=seed).fit_transform(components)


def _tsne(x: np.ndarray, seed: int) -> Generator[tuple[int, int], None, np.ndarray]:
    """t-SNE in parts: clusters are exaggerated in the first one, and each later one goes on from the points before it."""
    from sklearn.manifold import TSNE

    # As scikit-learn sets it by itself, kept over the parts.
    rate = max(len(x) / _EXAGGERATION / 4, 50.0)
    points: np.ndarray | str = "pca"
    for part in range(_PARTS):
        yield part, _PARTS
        model = TSNE(
            perplexity=min(30.0, (len(x) - 1) / 3),
            early_exaggeration=1.0 if part else _EXAGGERATION,
            learning_rate=rate,
            max_iter=_PART,
            init=points,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            points = model.fit_transform(x)
    assert isinstance(points, np.ndarray)
    return points


def _varies(x: np.ndarray) -> bool:
    # Not the variance, which rounding keeps from being 0.
    return bool(np.ptp(x, axis=0).max() > 0)
