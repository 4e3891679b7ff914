"""The map of the images: pooled features in two dimensions."""

from __future__ import annotations

import csv
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.explanations.filters import embedding
from napari_cam_feedback.explanations.filters.embedding import embed, embedding_steps, umap_installed
from napari_cam_feedback.explanations.filters.features import Features


def features(mean: np.ndarray, labels: np.ndarray | None = None, predicted: np.ndarray | None = None) -> Features:
    count = len(mean)
    labels = np.zeros(count, np.int64) if labels is None else labels
    logits = np.eye(3, dtype=np.float32)[np.zeros(count, np.int64) if predicted is None else predicted]
    return Features(
        np.arange(100, 100 + count), tuple(f"k{n}" for n in range(count)), labels, mean.astype(np.float32),
        mean.astype(np.float32), logits, ("a", "b", "c"), "train", "features", "f", "d",
    )  # fmt: skip


def clusters(count: int = 60, filters: int = 20) -> Features:
    """Three clouds, far apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    return features(rng.normal(size=(count, filters)) + 30 * np.eye(3, filters)[labels], labels)


def test_pca_by_hand():
    # On the line (t, t, 0) the first axis is (1, 1, 0)/sqrt 2 and nothing is left for the second.
    t = np.array([-1.0, 0, 0, 1])
    found = embed(features(np.stack([t, t, np.zeros(4)], 1) + 5))
    np.testing.assert_allclose(np.abs(found.points), [[np.sqrt(2), 0], [0, 0], [0, 0], [np.sqrt(2), 0]], atol=1e-6)
    np.testing.assert_allclose(found.explained, [1, 0], atol=1e-12)
    assert found.points.dtype == np.float32
    assert found.rows.tolist() == [0, 1, 2, 3]
    assert found.indices.tolist() == [100, 101, 102, 103]


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_images_that_are_alike_lie_together_the_same_way_each_time(method):
    found = embed(clusters(), method)
    assert found.points.shape == (60, 2)
    assert np.array_equal(found.points, embed(clusters(), method).points)
    centres = np.stack([found.points[found.labels == n].mean(0) for n in range(3)])
    nearest = np.square(found.points[:, None] - centres).sum(2).argmin(1)
    assert np.array_equal(nearest, found.labels)


def test_tsne_is_done_in_parts_between_which_it_can_be_given_up(monkeypatch):
    from sklearn.manifold import TSNE

    runs: list[dict] = []
    fit = TSNE.fit_transform
    monkeypatch.setattr(TSNE, "fit_transform", lambda self, x: (runs.append(self.get_params()), fit(self, x))[1])
    steps = embedding_steps(clusters(), "tsne")
    assert [next(steps) for _ in range(3)] == [(0, 4), (1, 4), (2, 4)]
    assert len(runs) == 2
    steps.close()
    assert len(runs) == 2
    # Clusters are exaggerated in the first part only; each later one begins where the one before it ended.
    assert [run["early_exaggeration"] for run in runs] == [12, 1]
    assert runs[0]["init"] == "pca"
    assert runs[1]["init"].shape == (60, 2)


def test_tsne_in_parts_keeps_neighbours_as_well_as_in_one_go():
    from sklearn.manifold import TSNE, trustworthiness

    given = clusters(120)
    whole = TSNE(init="pca", random_state=0).fit_transform(given.mean)
    ours = trustworthiness(given.mean, embed(given, "tsne").points)
    assert ours > trustworthiness(given.mean, whole) - 0.01


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (3, 1), (6, 1), (6, 40)])
def test_few_images_and_few_filters_are_placed_too(method, shape):
    found = embed(features(np.random.default_rng(0).normal(size=shape)), method)
    assert found.points.shape == (shape[0], 2)
    assert np.isfinite(found.points).all()


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_images_that_are_all_the_same_are_in_one_place(method):
    assert not embed(features(np.full((8, 4), 0.1)), method).points.any()


def test_tsne_places_a_seeded_subsample_of_many_images_and_pca_all(monkeypatch):
    monkeypatch.setitem(embedding.MAX_IMAGES, "tsne", 20)
    found = embed(clusters(), "tsne", seed=4)
    assert (len(found.points), len(found.rows)) == (20, 20)
    assert np.array_equal(found.rows, np.unique(found.rows))
    assert np.array_equal(found.indices, found.rows + 100)
    assert np.array_equal(found.labels, found.rows % 3)
    assert not np.array_equal(found.rows, embed(clusters(), "tsne", seed=5).rows)
    assert len(embed(clusters()).rows) == 60


def test_umap_is_used_where_it_is_installed(monkeypatch):
    made: list[dict[str, object]] = []

    class Umap:
        def __init__(self, **settings: object) -> None:
            made.append(settings)

        def fit_transform(self, x: np.ndarray) -> np.ndarray:
            return x[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap, __spec__=SimpleNamespace()))
    assert umap_installed()
    found = embed(clusters(10), "umap", seed=7)
    assert made == [{"n_neighbors": 9, "random_state": 7}]
    assert (found.points.shape, found.method, found.explained) == ((10, 2), "umap", None)


def test_what_cannot_be_gives_a_sentence(monkeypatch):
    monkeypatch.setattr(embedding, "umap_installed", lambda: False)
    with pytest.raises(ConfigError, match=r"UMAP needs the package umap-learn, which is not installed; install it with pip"):
        embed(clusters(), "umap")
    with pytest.raises(ConfigError, match=r"There is no embedding 'mds'; choose one of pca, tsne, umap\."):
        embed(clusters(), "mds")
    with pytest.raises(DataError, match=r"There are no images to place; choose a split that has some\."):
        embed(clusters().take(np.array([], np.int64)))
    with pytest.raises(DataError, match=r"Some activations are not numbers"):
        embed(features(np.array([[np.nan, 1.0]])))


def test_a_click_finds_its_image_and_errors_are_known_where_labels_are():
    found = embed(features(np.array([[0.0, 0], [10, 0], [0, 6]]), np.array([0, 1, -1]), np.array([0, 2, 2])))
    assert found.errors.tolist() == [False, True, False]
    for n in range(3):
        x, y = found.points[n]
        assert found.nearest(x + 0.5, y - 0.5) == 100 + n


def test_points_are_written_as_a_table(tmp_path):
    found = embed(features(np.array([[0.0, 0], [10, 0], [0, 6]]), np.array([0, 1, -1]), np.array([0, 2, 2])))
    found.save_csv(tmp_path / "e.csv", ("a", "b", "c"))
    with (tmp_path / "e.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["key"], row["label"], row["predicted"]) for row in rows] == [
        ("k0", "a", "a"),
        ("k1", "b", "c"),
        ("k2", "", "c"),
    ]
    assert [float(row["x"]) for row in rows] == pytest.approx(found.points[:, 0].tolist(), rel=1e-4)
