"""Testing with concept activation vectors (TCAV): does a class depend on a concept that a user chose? (Kim et al. 2018)

For each of many random sets of images, a linear classifier tells the concept's activations from the random ones; its normal
is the concept activation vector (CAV). The score is the share of the class's images whose logit rises along it, the
sensitivity the mean derivative of the logit. Random sets that are told from other random sets give those of random concepts.

Two questions are asked, each by a two-sided t-test against the random concepts and corrected for their number. Does the
score differ from that of random concepts, on average? That is the test of the paper. Its unit is the random set, and so
nearly any fixed direction differs if only the sets are many: also that of a fixed set of random images. Therefore: is the
concept's sensitivity unusual among those of random concepts? Its unit is the concept. It is significant if both say so.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.explanations.targets import Target, class_index
from napari_cam_feedback.explanations.tcav.activations import ActivationCache, Grid, choose_grid, default_concept_layer
from napari_cam_feedback.explanations.tcav.cav import Cav, Span, fit_cav
from napari_cam_feedback.explanations.tcav.config import MIN_IMAGES, ConceptTestConfig
from napari_cam_feedback.explanations.tcav.result import ConceptResult, ConceptRow
from napari_cam_feedback.explanations.tcav.sets import ConceptSet
from napari_cam_feedback.explanations.tcav.space import Reader, Space
from napari_cam_feedback.explanations.tcav.statistics import correct, stronger_than, unusual_test, welch_test
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.layers.interrupt import Interrupted
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor

#: Held-out accuracy below which a layer does not hold the concept.
MIN_ACCURACY = 0.6


@takes_monitor
def concepts(
    classifier: Classifier,
    dataset: Dataset,
    concept_sets: Sequence[ConceptSet],
    random: ConceptSet | None = None,
    config: ConceptTestConfig | None = None,
    *,
    classes: Sequence[Target] | None = None,
    layers: Sequence[str] | None = None,
    split: str | None = None,
    cache: ActivationCache | None = None,
    monitor: Monitor = QUIET,
) -> ConceptResult | None:
    """Test whether classes depend on concepts.

    The images of a painted concept (see `painted_concept`) are blotted out outside of what is painted, with the mean colour
    of the preprocessing. The random images it is told from are blotted out by the same masks, so that neither the blot nor
    the shape of the mask is what tells them apart. Where one class is tested, and 10 or more of its own images are painted,
    these alone are the concept: what is painted may look different in each class, as a code or a written label does, and
    the mean of all its looks is a direction that nothing depends on.

    Parameters
    ----------
    classifier : Classifier
        What is tested.
    dataset : Dataset
        Its images by class.
    concept_sets : sequence of ConceptSet
        The concepts; `read_concepts` reads folders.
    random : ConceptSet, optional
        Images that show anything; at best of the same kind as those of the concepts. By default the dataset's images of
        the other classes, without those that are painted for a concept.
    config : ConceptTestConfig, optional
        Settings.
    classes : sequence of str or int, optional
        By default all.
    layers : sequence of str, optional
        By default `default_concept_layer`.
    split : str, optional
        Where the classes' images are from; by default all splits.
    cache : ActivationCache, optional
        Spares computing the same activations again in the next test.
    monitor : Monitor, optional
        Told of steps done and in all.
        Asked after each batch and each classifier.

    Returns
    -------
    ConceptResult or None
        None where it was stopped.

    Raises
    ------
    DataError
        A concept, class or random set has too few images; the sentence says how many are needed.
    ModelError
        There is no such layer, the logits do not depend on it, or the classes do not fit the dataset.
    ConfigError
        There is no such class, there is no concept, or two share a name.
    """
    config = config or ConceptTestConfig()
    check_fits(classifier, dataset)
    names = [chosen.name for chosen in concept_sets]
    if not names:
        raise ConfigError("There is no concept to test; give a folder of images, or paint one.")
    if len(set(names)) < len(names):
        raise ConfigError(f'Two concepts are called "{max(names, key=names.count)}"; name each differently.')
    labels = [class_index(c, classifier.class_names) for c in classes or classifier.class_names]
    found = [classifier.with_layer(name) for name in layers or [default_concept_layer(classifier)]]
    try:
        return _Test(found, dataset, concept_sets, random, config, list(dict.fromkeys(labels)), split, cache, monitor).run()
    except Interrupted:
        return None


@dataclass(frozen=True)
class _Measured:
    """What CAVs do to one class: scores and sensitivities (R,) of a concept's and (Q,) of random ones."""

    scores: np.ndarray
    sensitivities: np.ndarray
    random_scores: np.ndarray
    random_sensitivities: np.ndarray
    accuracy: float
    images: int
    class_images: int


class _Test:
    def __init__(
        self,
        layers: list[Classifier],
        dataset: Dataset,
        concept_sets: Sequence[ConceptSet],
        random: ConceptSet | None,
        config: ConceptTestConfig,
        labels: list[int],
        split: str | None,
        cache: ActivationCache | None,
        monitor: Monitor,
    ) -> None:
        self.layers, self.config, self.labels = layers, config, labels
        self.dataset, self.split = dataset, split
        self.names = layers[0].class_names
        self.given = concept_sets
        self.concepts = [self._draw(self._of_the_class(chosen), config.images) for chosen in concept_sets]
        self.shared_pool = random is not None
        self.pool = self._draw(random or self._others(), config.random_images)
        within = dataset.indices(split)
        self.class_sets = {
            label: self._draw(ConceptSet(self.names[label], dataset, within[dataset.labels[within] == label]), config.images)
            for label in labels
        }
        for label, chosen in self.class_sets.items():
            if not len(chosen):
                where = f'the split "{split}"' if split else "the dataset"
                raise DataError(f'There are no images of the class "{self.names[label]}" in {where}; choose another.')
        # Concepts of whole images share their random images; each painted one has its own.
        plain = [chosen for chosen in self.concepts if chosen.masks is None]
        self.groups = [plain] if plain else []
        self.groups += [[chosen] for chosen in self.concepts if chosen.masks is not None]
        pools = 1 if self.shared_pool else len(labels)
        fits = pools * (len(self.concepts) * config.runs + len(self.groups) * config.random_runs)
        read = sum(map(len, self.concepts)) + len(self.groups) * (len(self.pool) + sum(map(len, self.class_sets.values())))
        self.reader = Reader(layers[0].preprocessing, len(layers) * (read + fits), cache, monitor)

    def _draw(self, chosen: ConceptSet, most: int) -> ConceptSet:
        if len(chosen) <= most:
            return chosen
        rng = np.random.default_rng([self.config.seed, 0, zlib.crc32(chosen.name.encode())])
        picked = np.sort(rng.choice(chosen.indices, most, replace=False))
        return ConceptSet(chosen.name, chosen.dataset, picked, chosen.masks)

    def _of_the_class(self, chosen: ConceptSet) -> ConceptSet:
        """Return what is painted on images of the one class that is tested, where there is enough of it; else all."""
        if chosen.masks is None or chosen.dataset is not self.dataset or len(self.labels) > 1:
            return chosen
        own = chosen.indices[self.dataset.labels[chosen.indices] == self.labels[0]]
        return replace(chosen, indices=own) if len(own) >= MIN_IMAGES else chosen

    def _warn_of_mixtures(self, rows: Sequence[ConceptRow]) -> None:
        """Say where a painted concept was not found, maybe because it looks different in each class."""
        for chosen in self.concepts:
            missed = [row.class_name for row in rows if row.concept == chosen.name and not row.significant]
            if chosen.masks is None or chosen.dataset is not self.dataset or not missed:
                continue
            painted = self.dataset.labels[chosen.indices]
            kinds = len(np.unique(painted))
            if kinds < 2:
                continue
            own = int((painted == self.names.index(missed[0])).sum())
            few = f'; of "{missed[0]}" there are {own}' if own < MIN_IMAGES else ""
            self.reader.warn(
                f'What is painted for "{chosen.name}" is on images of {kinds} classes. If it looks different '
                "in each, as a code or a written label does, this test cannot see it: test one class at a time, with "
                f"{MIN_IMAGES} or more of its own images painted{few}."
            )

    def _others(self) -> ConceptSet:
        painted = [chosen.indices for chosen in self.given if chosen.dataset is self.dataset]
        return ConceptSet(
            "random", self.dataset, np.setdiff1d(self.dataset.indices(), np.concatenate([*painted, []])).astype(int)
        )

    def run(self) -> ConceptResult:
        """Test every layer and gather the rows."""
        measured: dict[tuple[str, int, str], _Measured] = {}
        cavs: dict[str, np.ndarray] = {}
        grids = {}
        for classifier in self.layers:
            layer = classifier.target_layer
            shape = next(info.shape for info in classifier.layers if info.name == layer)
            most = max(sum(map(len, group)) for group in self.groups) + len(self.pool)
            grid = grids[layer] = choose_grid(shape, most, self.config.pooling)
            if grid.side > 1 and self.config.pooling == "auto":
                self.reader.warn(
                    f"The activations of layer {layer!r} are averaged over squares of {grid.side}x{grid.side} places, "
                    "to save memory."
                )
            lifted: dict[tuple[str, str], np.ndarray] = {}
            for group in self.groups:
                self._test_group(classifier, grid, group, measured, lifted)
            for key in dict.fromkeys(key for key, _ in lifted):
                stack = np.stack([lifted[key, chosen.name] for chosen in self.concepts])
                cavs[key] = stack.reshape(*stack.shape[:2], *grid.pooled_shape)
        return self._gather(measured, cavs, grids)

    def _set_size(self, space: Space, pool: np.ndarray, label: int | None) -> int:
        if len(pool) < 2 * MIN_IMAGES:
            what = "random images" if label is None else f'images of other classes than "{self.names[label]}"'
            raise DataError(
                f"There are {len(pool)} {what} that can be used; at least {2 * MIN_IMAGES} are needed to draw two sets "
                "from, better 200 or more."
            )
        wanted = self.config.set_size
        if wanted is not None and 2 * wanted > len(pool):
            raise DataError(
                f"Sets of {wanted} images need {2 * wanted} random images to draw two from, and there are {len(pool)}; "
                "add random images, or choose smaller sets."
            )
        size = wanted or min(50, len(pool) // 2, *(len(rows) for rows in space.rows.values()))
        if len(pool) < 4 * size:
            self.reader.warn(
                f"There are only {len(pool)} random images for sets of {size}, which therefore share many; "
                f"give {4 * size} or more."
            )
        return size

    def _test_group(
        self,
        classifier: Classifier,
        grid: Grid,
        group: list[ConceptSet],
        measured: dict[tuple[str, int, str], _Measured],
        lifted: dict[tuple[str, str], np.ndarray],
    ) -> None:
        layer = classifier.target_layer
        space = self.reader.read_space(classifier, grid, group, self.pool)
        slopes = {
            label: self.reader.slopes(classifier, grid, space.span, label, self.class_sets[label]) for label in self.labels
        }
        weak: dict[str, list[float]] = {}
        # Random images of the dataset itself are those of the other classes, so they differ from class to class.
        for told_about in [self.labels] if self.shared_pool else [[label] for label in self.labels]:
            label = None if self.shared_pool else told_about[0]
            pool = space.pool if label is None else space.pool[space.pool_labels != label]
            size = self._set_size(space, pool, label)
            key = layer if label is None else f"{layer}/{self.names[label]}"
            randoms = self._fits(space.span, pool, None, size, "")
            for name, rows in space.rows.items():
                found = self._fits(space.span, pool, rows, size, name)
                vectors = np.stack([cav.vector for cav in found])
                lifted[key, name] = space.span.lift(vectors)
                accuracy = float(np.mean([cav.accuracy for cav in found]))
                if accuracy < MIN_ACCURACY:
                    weak.setdefault(name, []).append(accuracy)
                for about in told_about:
                    along = slopes[about] @ vectors.T
                    at_random = slopes[about] @ np.stack([cav.vector for cav in randoms]).T
                    measured[layer, about, name] = _Measured(
                        (along > 0).mean(0),
                        along.mean(0),
                        (at_random > 0).mean(0),
                        at_random.mean(0),
                        accuracy,
                        len(rows),
                        len(slopes[about]),
                    )
        # Once for each concept, and not for each class that it was tested on.
        for name, found_right in weak.items():
            right = " to ".join(dict.fromkeys(f"{bound(found_right):.0%}" for bound in (min, max)))
            self.reader.warn(
                f'Layer {layer!r} hardly tells "{name}" from random images (right for {right} of those held '
                "out, 50% is chance), so its scores there mean little."
            )

    def _fits(self, span: Span, pool: np.ndarray, rows: np.ndarray | None, size: int, name: str) -> list[Cav]:
        """Fit a CAV in each run: of a concept's rows, or of random concepts where there are none."""
        config, found = self.config, []
        for run in range(config.runs if rows is not None else config.random_runs):
            if rows is None:
                drawn = np.random.default_rng([config.seed, 1, run]).permutation(pool)
                positive, negative = drawn[:size], drawn[size : 2 * size]
            else:
                # All concepts of a run are told from the same random set.
                taken = min(size, len(rows))
                negative = np.random.default_rng([config.seed, 2, run]).permutation(pool)[:taken]
                positive = np.random.default_rng([config.seed, 3, zlib.crc32(name.encode()), run]).permutation(rows)[:taken]
            rng = np.random.default_rng([config.seed, 4, zlib.crc32(name.encode()), run])
            coordinates = span.coordinates
            found.append(fit_cav(coordinates[positive], coordinates[negative], config.inverse_penalty, rng))
            self.reader.tick(1)
        return found

    def _gather(
        self, measured: dict[tuple[str, int, str], _Measured], cavs: dict[str, np.ndarray], grids: dict[str, Grid]
    ) -> ConceptResult:
        order = [
            (c.target_layer, label, chosen.name) for c in self.layers for label in self.labels for chosen in self.concepts
        ]
        found = [measured[key] for key in order]
        p_values = np.array([welch_test(one.scores, one.random_scores) for one in found])
        unusual = np.array([unusual_test(one.sensitivities, one.random_sensitivities) for one in found])
        tests = np.stack(
            [p_values, correct(p_values, self.config.correction), unusual, correct(unusual, self.config.correction)]
        )
        rows = [self._row(key, one, *map(float, p)) for key, one, p in zip(order, found, tests.T, strict=True)]
        self._warn_of_mixtures(rows)
        settings = {
            **self.config.model_dump(),
            "layers": {
                layer: {"shape": list(grid.shape), "pooled_shape": list(grid.pooled_shape)} for layer, grid in grids.items()
            },
            "classes": [self.names[label] for label in self.labels],
            "split": self.split,
            "random": str(self.pool.dataset.source or "in memory") if self.shared_pool else "images of the other classes",
            "random_count": len(self.pool),
            "fingerprints": {c.target_layer: c.fingerprint() for c in self.layers},
        }
        skipped: dict[str, str] = {}
        for cache in self.reader.inputs.values():
            skipped.update(cache.skipped)
        return ConceptResult(
            rows,
            np.stack([one.scores for one in found]),
            np.stack([one.sensitivities for one in found]),
            np.stack([one.random_scores for one in found]),
            np.stack([one.random_sensitivities for one in found]),
            cavs,
            tuple(chosen.name for chosen in self.concepts),
            self.reader.warnings,
            skipped,
            settings,
        )

    def _row(
        self, key: tuple[str, int, str], one: _Measured, p: float, corrected: float, unusual: float, unusual_corrected: float
    ) -> ConceptRow:
        layer, label, name = key
        significant = max(corrected, unusual_corrected if self.config.strict else 0.0) < self.config.alpha
        above = one.scores.mean() > one.random_scores.mean()
        return ConceptRow(
            concept=name,
            class_name=self.names[label],
            layer=layer,
            score=float(one.scores.mean()),
            score_std=float(one.scores.std(ddof=1)),
            random_score=float(one.random_scores.mean()),
            random_std=float(one.random_scores.std(ddof=1)),
            sensitivity=float(one.sensitivities.mean()),
            stronger_than=stronger_than(one.sensitivities, one.random_sensitivities),
            p=p,
            p_corrected=corrected,
            p_unusual=unusual,
            p_unusual_corrected=unusual_corrected,
            significant=significant,
            effect=("for" if above else "against") if significant else "none",
            cav_accuracy=one.accuracy,
            images=one.images,
            class_images=one.class_images,
        )
