"""Concept activation vectors and their tests, against numbers worked out by hand and against captum."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
from captum.concept import TCAV, Concept
from captum.concept._utils.classifier import Classifier as CaptumClassifier
from PIL import Image
from scipy import stats
from sklearn.linear_model import LogisticRegression

from core_builders import hand_classifier, plain, small_gap, stop_after
from napari_cam_feedback.data import ArrayDataset, Preprocessing, open_dataset
from napari_cam_feedback.errors import ConfigError, DataError, ModelError
from napari_cam_feedback.explanations.tcav.activations import (
    ActivationCache,
    Grid,
    choose_grid,
    default_concept_layer,
    logit_gradients,
)
from napari_cam_feedback.explanations.tcav.cav import fit_cav, fit_normal, make_span
from napari_cam_feedback.explanations.tcav.config import ConceptTestConfig
from napari_cam_feedback.explanations.tcav.report import concept_chart
from napari_cam_feedback.explanations.tcav.sets import ConceptSet, ImageFolder, painted_concept, read_concept, read_concepts
from napari_cam_feedback.explanations.tcav.statistics import correct, stronger_than, unusual_test, welch_test
from napari_cam_feedback.explanations.tcav.tcav import concepts
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.models import Classifier, build_classifier, load_classifier
from napari_cam_feedback.sample_models import prepare_sample
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
QUICK = ConceptTestConfig(runs=5, random_runs=20)


def texture(kind: str, count: int, seed: int, size: int = 16) -> np.ndarray:
    """Noise over stripes across, stripes along, or nothing."""
    rng = np.random.default_rng(seed)
    images = rng.normal(120, 25, (count, size, size))
    wave = (np.arange(size) // 2 % 2) * 60.0
    if kind != "plain":
        images += wave[:, None] if kind == "across" else wave[None, :]
    return np.clip(images, 0, 255).astype(np.uint8)


def image_set(name: str, images: np.ndarray) -> ConceptSet:
    dataset = ArrayDataset({"all": images}, {"all": None}, ("none",))
    return ConceptSet(name, dataset, dataset.indices())


def two_classes(count: int = 12) -> ArrayDataset:
    images = np.concatenate([texture("across", count, 1), texture("along", count, 2)])
    return ArrayDataset({"test": images}, {"test": np.repeat([0, 1], count)}, ("across", "along"))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return small_gap(("across", "along"))


@pytest.fixture(scope="module")
def across() -> ConceptSet:
    return image_set("across", texture("across", 30, 3))


@pytest.fixture(scope="module")
def pool() -> ConceptSet:
    return image_set("random", texture("plain", 120, 4))


@pytest.fixture(scope="module")
def result(classifier, across, pool):
    return concepts(classifier, two_classes(), [across, image_set("along", texture("along", 30, 5))], pool, QUICK)


# ---- the vectors


def test_a_classifier_within_the_span_is_the_one_of_all_activations():
    rng = np.random.default_rng(0)
    activations = rng.normal(size=(24, 300)).astype(np.float32)
    activations[:12, :5] += 1
    raw = activations.astype(np.float64)
    span = make_span(activations)
    normal, bias = fit_normal(span.coordinates[:12], span.coordinates[12:], 1.0)
    # Lengths in the span are divided by its scale, so the same penalty for raw activations is 1 / scale^2.
    peer = LogisticRegression(C=1 / span.scale**2, tol=1e-8, max_iter=5000).fit(raw, np.repeat([1, 0], 12))
    lifted = span.lift(normal[None])[0]
    assert lifted @ peer.coef_[0] / np.linalg.norm(lifted) / np.linalg.norm(peer.coef_[0]) > 0.9999
    np.testing.assert_allclose(span.coordinates @ normal + bias, peer.decision_function(raw), atol=0.01)


def test_products_with_vectors_of_the_span_stay_as_they_were():
    rng = np.random.default_rng(1)
    span = make_span(rng.normal(size=(10, 50)).astype(np.float32))
    gradients, vector = rng.normal(size=(3, 50)).astype(np.float32), rng.normal(size=(1, span.coordinates.shape[1]))
    np.testing.assert_allclose(span.project(gradients) @ vector[0], gradients @ span.lift(vector)[0], rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(span.lift(vector)), np.linalg.norm(vector), rtol=1e-5)


def test_a_vector_points_to_the_concept_and_its_accuracy_is_that_of_images_it_did_not_learn_from():
    rng = np.random.default_rng(2)
    far, near = rng.normal(size=(30, 4)) + np.array([6, 0, 0, 0]), rng.normal(size=(30, 4))
    cav = fit_cav(far, near, 1.0, rng)
    assert cav.vector[0] > 0.9
    assert np.linalg.norm(cav.vector) == pytest.approx(1)
    assert cav.accuracy == 1
    same = [fit_cav(rng.normal(size=(30, 4)), near, 1.0, rng).accuracy for _ in range(40)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.08)


def test_a_layer_that_puts_out_the_same_for_every_image_is_refused():
    with pytest.raises(
        ModelError, match=r"^The layer puts out the same for every image, or no numbers; choose another layer\.$"
    ):
        make_span(np.ones((4, 5), np.float32))


# ---- against captum


class SameRegression(CaptumClassifier):
    """The classifier of ours, on captum's activations."""

    inverse_penalty = 1.0

    def __init__(self):
        self.fitted = LogisticRegression(C=self.inverse_penalty, tol=1e-8, max_iter=5000)

    def train_and_eval(self, dataloader, **_):
        rows = [(x, y) for x, y in dataloader]
        self.fitted.fit(torch.cat([x for x, _ in rows]).numpy(), torch.cat([y for _, y in rows]).numpy())
        return {"accs": torch.tensor(0.0)}

    def weights(self):
        row = torch.from_numpy(self.fitted.coef_[0])
        return torch.stack([-row, row])

    def classes(self):
        return [int(label) for label in self.fitted.classes_]


def test_vectors_and_scores_are_those_of_captum_on_the_same_activations(classifier, across, pool, tmp_path):
    """captum's own TCAV, from images to scores: its CAVs, its gradients and its count of signs."""
    layer = "features.3"
    tested = classifier.with_layer(layer)
    inputs = {
        name: torch.stack([classifier.preprocessing.input(chosen.dataset.read(int(i))) for i in chosen.indices[:30]])
        for name, chosen in {"across": across, "random": pool}.items()
    }
    rows = np.concatenate([tested.forward_with_activations(x)[1].flatten(1).numpy() for x in inputs.values()])
    span = make_span(rows)
    normal, _ = fit_normal(span.coordinates[:30], span.coordinates[30:], 1.0)
    vector = normal / np.linalg.norm(normal)

    SameRegression.inverse_penalty = 1 / span.scale**2
    # Its numbers are the concepts' labels: the second is the positive one.
    random, concept = (Concept(n, name, [inputs[name]]) for n, name in ((0, "random"), (1, "across")))
    peer = TCAV(classifier.module, [layer], classifier=SameRegression(), save_path=str(tmp_path))
    dataset = two_classes()
    for label in (0, 1):
        images = torch.stack(
            [classifier.preprocessing.input(dataset.read(int(i))) for i in np.flatnonzero(dataset.labels == label)]
        )
        scores = peer.interpret(images, [[random, concept]], target=label)["0-1"][layer]
        theirs = peer.cavs["0-1"][layer].stats["weights"][1].numpy()
        assert span.lift(vector[None])[0] @ theirs / np.linalg.norm(theirs) > 0.999
        gradients = logit_gradients(tested, images, label).flatten(1).numpy()
        slopes = span.project(gradients) @ vector
        assert (slopes > 0).mean() == pytest.approx(float(scores["sign_count"][1]))
        np.testing.assert_allclose(slopes, gradients @ theirs / np.linalg.norm(theirs), atol=2e-3 * np.abs(slopes).max())


# ---- gradients and pooling


def test_gradients_by_hand():
    # Hand: logit b = 3 GAP(a_0) - GAP(a_1) - 0.5, with four places.
    gradients = logit_gradients(hand_classifier(), torch.rand(2, 1, 2, 2), 1)
    expected = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1).expand(2, 2, 2, 2) / 4
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_a_pooled_gradient_says_how_the_logit_moves_with_the_squares_mean(side):
    """Moving all places of a square together moves the logit by the pooled gradient; squares at the edge are smaller."""
    grid = Grid((2, 5, 5), side)
    maps, gradients = torch.rand(1, 2, 5, 5), torch.rand(1, 2, 5, 5)
    step = torch.rand(grid.pooled_shape)
    moved = step.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :5, :5]
    np.testing.assert_allclose(
        grid.activations(maps + moved) - grid.activations(maps), step.flatten()[None].numpy(), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        (grid.gradients(gradients) @ step.flatten().numpy())[0], float((gradients * moved).sum()), rtol=1e-5
    )


def test_layers_are_pooled_only_where_they_are_too_large():
    assert choose_grid((64, 12, 12), 1000, "auto").side == 1
    assert choose_grid((64, 112, 112), 100, "auto").pooled_shape == (64, 28, 28)
    assert choose_grid((512, 8, 8), 100_000, "auto").pooled_shape == (512, 1, 1)
    assert choose_grid((64, 112, 112), 100, "none").side == 1
    assert choose_grid((64, 7, 9), 10, "mean").pooled_shape == (64, 1, 1)


def test_a_pooled_test_says_so(classifier, across, pool, monkeypatch):
    monkeypatch.setattr("napari_cam_feedback.explanations.tcav.activations.MAX_FEATURES", 100)
    found = concepts(classifier, two_classes(), [across], pool, QUICK)
    assert found.warnings == [
        "The activations of layer 'features.4' are averaged over squares of 4x4 places, to save memory.",
    ]
    assert found.cavs["features.4"].shape == (1, 5, 32, 1, 1)


# ---- which layer


def test_the_layer_is_an_earlier_one_where_a_linear_head_follows_global_pooling():
    assert default_concept_layer(small_gap()) == "features.4"
    imagenet = Preprocessing(size=(64, 64), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert default_concept_layer(build_classifier("torchvision:resnet18", ("a", "b"), imagenet)) == "layer3"


def test_the_target_layer_stays_where_its_gradients_differ():
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(1, 4, 3, stride=2)
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.features(x))

    torch.manual_seed(0)
    assert default_concept_layer(Classifier(Flat(), ("a", "b"), plain(8, 8), "features", "flat")) == "features"


def test_scores_of_the_last_layer_are_0_or_1_and_the_result_says_why(classifier, across, pool):
    found = concepts(classifier, two_classes(), [across], pool, QUICK, layers=["features"])
    assert set(np.unique(found.scores)) <= {0.0, 1.0}
    assert found.warnings == [
        "At layer 'features' the gradient of a class is the same for every image (as where global average pooling and a "
        "linear layer follow), so scores can only be 0 or 1; choose an earlier layer, such as 'features.4'."
    ]


# ---- statistics


def test_welch_is_that_of_scipy():
    a, b = np.array([0.9, 0.8, 1.0, 0.95]), np.array([0.2, 0.9, 0.5, 0.4, 0.7])
    assert welch_test(a, b) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)


def test_scores_that_do_not_vary_are_the_same_or_not():
    assert welch_test(np.ones(5), np.ones(7)) == 1
    assert welch_test(np.ones(5), np.zeros(7)) == 0
    assert unusual_test(np.ones(5), np.ones(7)) == 1
    assert unusual_test(np.ones(5), np.zeros(7)) == 0


def test_an_unusual_concept_by_hand():
    # Five random concepts, mean 0 and variance 10 / 4; the concept's mean is 5: t = 5 / sqrt(2.5 * 1.2) with 4 degrees.
    p = unusual_test(np.array([4.0, 6.0]), np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))
    assert p == pytest.approx(2 * stats.t.sf(5 / np.sqrt(3), 4))
    assert stronger_than(np.array([1.0, 2.0]), np.array([-2.0, -1.0, 0.0, 1.0, 2.0])) == 0.6


def test_corrections_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(correct(p, "bonferroni"), [0.04, 0.16, 0.12, 1.0])
    # Sorted 0.01 0.03 0.04 0.5 times 4/1 4/2 4/3 4/4 gives 0.04 0.06 0.0533 0.5, and none may exceed what follows it.
    np.testing.assert_allclose(correct(p, "benjamini-hochberg"), [0.04, 0.16 / 3, 0.16 / 3, 0.5])
    with pytest.raises(
        ConfigError, match=r"^There is no correction 'none'; choose one of bonferroni, benjamini-hochberg\.$"
    ):
        correct(p, "none")


def test_random_images_are_no_concept_though_the_test_of_the_paper_often_finds_one(classifier, pool):
    fixed = [image_set(f"random {n}", texture("plain", 30, 100 + n)) for n in range(12)]
    rows = concepts(classifier, two_classes(), fixed, pool, ConceptTestConfig(runs=15, random_runs=60)).rows
    assert sum(row.significant for row in rows) == 0
    assert np.mean([row.p_unusual < 0.05 for row in rows]) <= 0.1
    assert np.mean([row.p < 0.05 for row in rows]) > 0.1


def test_the_test_of_the_paper_alone_can_be_had(classifier, across, pool):
    config = QUICK.model_copy(update={"strict": False})
    for row in concepts(classifier, two_classes(), [across], pool, config).rows:
        assert row.significant == (row.p_corrected < 0.05)


# ---- the whole test


def test_numbers_of_a_row_are_those_of_its_runs(result):
    assert [(row.class_name, row.concept) for row in result.rows] == [
        ("across", "across"),
        ("across", "along"),
        ("along", "across"),
        ("along", "along"),
    ]
    for n, row in enumerate(result.rows):
        assert row.score == pytest.approx(result.scores[n].mean())
        assert row.random_std == pytest.approx(result.random_scores[n].std(ddof=1))
        assert row.p_corrected == pytest.approx(min(1, 4 * row.p))
        assert (row.images, row.class_images, row.layer) == (30, 12, "features.4")
        # Random concepts told from one another: nothing to tell.
        assert 0 < row.cav_accuracy <= 1
    assert result.scores.shape == (4, 5)
    assert result.random_scores.shape == (4, 20)
    np.testing.assert_allclose(np.linalg.norm(result.cavs["features.4"].reshape(10, -1), axis=1), 1, rtol=1e-4)


def test_scores_are_what_the_saved_vectors_say(classifier, result):
    tested, dataset = classifier.with_layer("features.4"), two_classes()
    images = torch.stack([classifier.preprocessing.input(dataset.read(i)) for i in range(12)])
    gradients = logit_gradients(tested, images, 0).flatten(1).numpy()
    slopes = gradients @ result.cavs["features.4"][1].reshape(5, -1).T
    np.testing.assert_allclose((slopes > 0).mean(0), result.scores[1])
    np.testing.assert_allclose(slopes.mean(0), result.sensitivities[1], rtol=1e-3, atol=1e-6)


def test_a_seed_gives_the_same_numbers_and_another_does_not(classifier, across, pool):
    once, again, other = (
        concepts(classifier, two_classes(), [across], pool, QUICK.model_copy(update={"seed": seed})) for seed in (3, 3, 4)
    )
    assert once.rows == again.rows
    assert np.array_equal(once.cavs["features.4"], again.cavs["features.4"])
    assert not np.array_equal(once.sensitivities, other.sensitivities)


def test_another_concept_beside_it_changes_nothing_but_the_correction(classifier, across, pool, result):
    alone = concepts(classifier, two_classes(), [across], pool, QUICK)
    for label in ("across", "along"):
        one, other = alone.row("across", label), result.row("across", label)
        assert (one.score, one.images) == (other.score, other.images)
        assert one.p == pytest.approx(other.p, rel=1e-3)
        assert one.sensitivity == pytest.approx(other.sensitivity, rel=1e-3)


def test_without_random_images_those_of_the_other_classes_are_taken(classifier, across):
    found = concepts(classifier, two_classes(count=25), [across], None, QUICK, classes=["along"])
    assert list(found.cavs) == ["features.4/along"]
    # 25 images of the class "across" are few for sets of 12.
    assert found.warnings == [
        "There are only 25 random images for sets of 12, which therefore share many; give 48 or more.",
        "Layer 'features.4' hardly tells \"across\" from random images (right for "
        f"{found.rows[0].cav_accuracy:.0%} of those held out, 50% is chance), so its scores there mean little.",
    ]


def test_a_concept_that_the_layer_hardly_holds_is_told_of_once_and_not_for_each_class(classifier, across, monkeypatch):
    monkeypatch.setattr(importlib.import_module("napari_cam_feedback.explanations.tcav.tcav"), "MIN_ACCURACY", 1.01)
    found = concepts(classifier, two_classes(count=25), [across], None, QUICK)
    low, high = sorted(row.cav_accuracy for row in found.rows)
    assert low < high
    assert [said for said in found.warnings if "hardly" in said] == [
        f"Layer 'features.4' hardly tells \"across\" from random images (right for {low:.0%} to {high:.0%} of those held "
        "out, 50% is chance), so its scores there mean little."
    ]


def test_a_test_can_be_stopped_and_its_progress_ends_at_the_end(classifier, across, pool):
    seen: list[tuple[int, int]] = []
    concepts(classifier, two_classes(), [across], pool, QUICK, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == 30 + 120 + 24 + 5 + 20
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    for calls in (0, 3, 20):
        assert concepts(classifier, two_classes(), [across], pool, QUICK, stop=stop_after(calls)) is None
    assert not any(module._forward_hooks for module in classifier.module.modules())


# ---- the cache


class Counting(ActivationCache):
    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def put(self, key: bytes, rows: np.ndarray) -> None:
        self.made += len(rows)
        super().put(key, rows)


def test_activations_are_kept_by_weights_layer_and_pixels_and_never_by_names(classifier, across, pool):
    cache = Counting()

    def made(model: Classifier, concept: ConceptSet, **more: object) -> int:
        before = cache.made
        found = concepts(model, two_classes(), [concept], pool, QUICK, cache=cache, **more)
        assert found.rows == concepts(model, two_classes(), [concept], pool, QUICK, **more).rows
        return cache.made - before

    assert made(classifier, across) == 150
    assert made(classifier, across) == 0
    retuned = classifier.copy()
    with torch.no_grad():
        next(retuned.module.parameters()).mul_(1.5)
    assert made(retuned, across) == 150
    assert made(classifier, across, layers=["features.3"]) == 150
    changed = texture("across", 30, 3)
    changed[4, 0, 0] ^= 128
    assert made(classifier, image_set("across", changed)) == 30


def test_the_cache_keeps_within_its_bound():
    cache = ActivationCache(max_bytes=1000)
    for n in range(10):
        cache.put(bytes([n]), np.zeros(50, np.float32))
    assert [cache.get(bytes([n])) is not None for n in range(10)] == [False] * 5 + [True] * 5


# ---- painted concepts


def test_only_what_is_painted_counts_and_random_images_are_blotted_out_alike(classifier, pool):
    """What stands outside of the paint changes nothing, neither on the concept's images nor on the random ones."""
    images = texture("across", 20, 6)
    masks = np.zeros(images.shape, bool)
    masks[:, 4:12, 4:12] = True
    outside = np.where(masks, images, 7)
    random = texture("plain", 60, 7)
    random_outside = np.where(masks[0], random, 200).astype(np.uint8)

    def test(concept: np.ndarray, others: np.ndarray):
        dataset = ArrayDataset({"all": concept.astype(np.uint8)}, {"all": None}, ("none",))
        painted = painted_concept("stripes", dataset, dict(zip(dataset.keys, masks, strict=True)))
        return concepts(classifier, two_classes(), [painted], image_set("random", others), QUICK)

    assert test(images, random).rows == test(outside, random_outside).rows


def test_painted_images_of_the_dataset_are_not_among_its_random_ones(classifier):
    dataset = two_classes(count=40)
    masks = {dataset.keys[i]: np.ones((16, 16), bool) for i in range(15)}
    found = concepts(classifier, dataset, [painted_concept("here", dataset, masks)], None, QUICK, classes=["along"])
    assert found.settings["random_count"] == 65


def test_of_one_class_its_own_painted_images_are_the_concept_where_there_are_enough(classifier, pool):
    dataset = two_classes(count=12)
    own = np.flatnonzero(dataset.labels == 0)

    def images(count: int, **more: object) -> int:
        chosen = [*own[:count], *np.flatnonzero(dataset.labels == 1)]
        masks = {dataset.keys[i]: np.ones((16, 16), bool) for i in chosen}
        return concepts(classifier, dataset, [painted_concept("tag", dataset, masks)], pool, QUICK, **more).rows[0].images

    first = dataset.class_names[0]
    assert images(12, classes=[first]) == 12
    assert images(10, classes=[first]) == 10
    assert images(9, classes=[first]) == 21
    assert images(12) == 24


def test_a_paint_that_is_not_found_and_may_look_different_in_each_class_is_told_of(classifier, pool):
    dataset = two_classes(count=12)
    corner = np.zeros((16, 16), bool)
    corner[:3, :3] = True
    found = concepts(
        classifier, dataset, [painted_concept("tag", dataset, dict.fromkeys(dataset.keys, corner))], pool, QUICK
    )
    assert not any(row.significant for row in found.rows)
    assert any('"tag" is on images of 2 classes' in said and "test one class at a time" in said for said in found.warnings)
    one = concepts(
        classifier,
        dataset,
        [painted_concept("tag", dataset, dict.fromkeys(dataset.keys, corner))],
        pool,
        QUICK,
        classes=[dataset.class_names[0]],
    )
    assert not any("one class at a time" in said for said in one.warnings)


@pytest.mark.slow
def test_the_tag_that_a_sample_s_model_uses_is_found_for_its_class_and_an_empty_corner_is_not(tmp_path):
    """With all classes' tags at once, a code of ten kinds, it was not found."""
    data, model = prepare_sample("tag-digits", tmp_path)
    dataset, classifier = open_dataset(data), load_classifier(model)
    tags = known_masks(dataset, 200)
    # The opposite corner, in which there is nothing.
    corners = {key: mask[::-1, ::-1] for key, mask in tags.items()}
    for name, masks, effect in (("tag", tags, "for"), ("corner", corners, "none")):
        found = concepts(classifier, dataset, [painted_concept(name, dataset, masks)], classes=["3"])
        assert [row.effect for row in found.rows] == [effect]


def test_images_on_which_nothing_is_painted_within_the_input_do_not_count(classifier, pool):
    dataset = two_classes()
    masks = {key: np.full((16, 16), n % 2 == 0) for n, key in enumerate(dataset.keys)}
    assert concepts(classifier, dataset, [painted_concept("here", dataset, masks)], pool, QUICK).rows[0].images == 12


def test_nothing_painted_is_said():
    with pytest.raises(
        DataError, match=r'^Nothing is painted for the concept "tag"; paint where it is on some images first\.$'
    ):
        painted_concept("tag", two_classes(), {})


# ---- too few, and other mistakes


def sentence(error: type[Exception], *arguments, **more) -> str:
    with pytest.raises(error) as caught:
        concepts(*arguments, **more)
    return str(caught.value)


def test_too_few_images_are_said_with_the_numbers_needed(classifier, across, pool):
    few = image_set("rare", texture("across", 4, 0))
    assert sentence(DataError, classifier, two_classes(), [few], pool, QUICK) == (
        'The concept "rare" has 4 images that can be used; at least 10 are needed, better 30 to 100.'
    )
    assert sentence(DataError, classifier, two_classes(), [across], few, QUICK) == (
        "There are 4 random images that can be used; at least 20 are needed to draw two sets from, better 200 or more."
    )
    assert sentence(DataError, classifier, two_classes(), [across], None, QUICK) == (
        'There are 12 images of other classes than "across" that can be used; at least 20 are needed to draw two sets from, '
        "better 200 or more."
    )
    large = QUICK.model_copy(update={"set_size": 70})
    assert sentence(DataError, classifier, two_classes(), [across], pool, large) == (
        "Sets of 70 images need 140 random images to draw two from, and there are 120; add random images, "
        "or choose smaller sets."
    )
    some = image_set("some", texture("across", 12, 0))
    found = concepts(classifier, two_classes(), [some], pool, QUICK)
    assert 'The concept "some" has only 12 images; with 30 or more its scores are steadier.' in found.warnings


def test_other_mistakes_are_said(classifier, across, pool):
    data = two_classes()
    assert sentence(ConfigError, classifier, data, [across, across], pool) == (
        'Two concepts are called "across"; name each differently.'
    )
    assert sentence(ConfigError, classifier, data, [], pool) == (
        "There is no concept to test; give a folder of images, or paint one."
    )
    assert sentence(ConfigError, classifier, data, [across], pool, classes=["up"]).startswith("There is no class 'up'")
    assert sentence(ModelError, classifier, data, [across], pool, layers=["features.33"]).startswith(
        "The model has no layer 'features.33'; did you mean features.3"
    )
    empty = ArrayDataset({"test": texture("along", 3, 0)}, {"test": [1, 1, 1]}, ("across", "along"))
    assert sentence(DataError, classifier, empty, [across], pool) == (
        'There are no images of the class "across" in the dataset; choose another.'
    )


# ---- folders and files


def write_images(folder, images):
    folder.mkdir(parents=True)
    for n, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{n:02d}.png")


def test_each_folder_is_a_concept_and_each_page_an_image(tmp_path):
    write_images(tmp_path / "stripes" / "deeper", texture("across", 3, 0))
    write_images(tmp_path / "dots", texture("plain", 2, 0))
    pages = [Image.fromarray(image) for image in texture("plain", 4, 1)]
    pages[0].save(tmp_path / "dots" / "stack.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "dots" / "notes.txt").write_text("no image")
    (tmp_path / "dots" / ".hidden.png").write_text("no image")
    (tmp_path / ".cache").mkdir()
    dots, stripes = read_concepts(tmp_path)
    assert (dots.name, stripes.name, len(stripes)) == ("dots", "stripes", 3)
    assert list(dots.dataset.keys) == ["00.png", "01.png", *(f"stack.tif/{n:04d}" for n in range(4))]
    assert np.array_equal(dots.dataset.read(4), np.asarray(pages[2]))


def test_folders_that_are_none_are_said(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for read, path, words in (
        (read_concepts, tmp_path / "gone", f"{tmp_path / 'gone'} does not exist; check the path."),
        (
            read_concept,
            tmp_path / "file",
            f"{tmp_path / 'file'} is a file, not a folder; name the folder that holds the images.",
        ),
        (
            read_concepts,
            tmp_path / "empty",
            f"{tmp_path / 'empty'} has no folders; put the images of each concept into a folder named after the concept.",
        ),
    ):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(caught.value) == words
    with pytest.raises(DataError, match=r"empty holds no images \(.*\.png.*\); put some there\.$"):
        ImageFolder(tmp_path / "empty")


def test_a_broken_image_is_left_out_and_told(classifier, pool, tmp_path):
    write_images(tmp_path / "stripes", texture("across", 20, 0))
    (tmp_path / "stripes" / "07.png").write_bytes(b"broken")
    found = concepts(classifier, two_classes(), [read_concept(tmp_path / "stripes")], pool, QUICK)
    assert found.rows[0].images == 19
    assert list(found.skipped) == ["07.png"]


def test_random_images_of_which_none_can_be_read_are_told(classifier, across, tmp_path):
    (tmp_path / "random").mkdir()
    for n in range(25):
        (tmp_path / "random" / f"{n}.png").write_bytes(b"broken")
    assert sentence(DataError, classifier, two_classes(), [across], read_concept(tmp_path / "random"), QUICK) == (
        "None of the 25 random images can be read; restore them or give others."
    )


def test_a_result_is_written_as_table_arrays_and_picture(result, tmp_path):
    result.save_csv(tmp_path / "out" / "concepts.csv")
    result.save_json(tmp_path / "out" / "concepts.json")
    result.save_npz(tmp_path / "out" / "concepts.npz")
    lines = (tmp_path / "out" / "concepts.csv").read_text().splitlines()
    assert lines[0].startswith("concept,class,layer,score,score_std,random_score,random_std,sensitivity,")
    assert len(lines) == 5
    content = json.loads((tmp_path / "out" / "concepts.json").read_text())
    assert [row["concept"] for row in content["rows"]] == [row.concept for row in result.rows]
    assert content["settings"]["layers"]["features.4"]["shape"] == [32, 4, 4]
    with np.load(tmp_path / "out" / "concepts.npz") as arrays:
        assert arrays["cavs/features.4"].shape == (2, 5, 32, 4, 4)
        assert arrays["row_concepts"].tolist() == [row.concept for row in result.rows]
        np.testing.assert_array_equal(arrays["random_scores"], result.random_scores)
    assert concept_chart(result).startswith(b"\x89PNG")


def test_the_chart_shows_bars_baseline_and_stars(result):
    from dataclasses import replace as changed

    from matplotlib.figure import Figure

    from napari_cam_feedback.explanations.tcav.report import draw_concepts

    first = changed(result.rows[0], score=1.0, significant=True, effect="for", p_corrected=1e-9, p_unusual_corrected=0.004)
    other = [changed(row, significant=False, effect="none") for row in result.rows[1:]]
    figure = Figure()
    draw_concepts(changed(result, rows=[first, *other]), figure)
    left, right = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["across", "along"]
    assert [text.get_text() for text in left.texts] == ["**"]  # the larger p counts
    assert [text.get_text() for text in right.texts] == []
    assert left.patches[0].get_height() == 1
    assert left.patches[0].get_facecolor() != left.patches[1].get_facecolor()
    assert left.lines[0].get_ydata() is not None
    baseline = [line for line in left.lines if line.get_linestyle() == "--"]
    assert baseline[0].get_ydata()[0] == pytest.approx(first.random_score)
