"""The retuning loop: what it changes, what it never touches, how it stops, and what it does when things go wrong."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from core_builders import TAG, known, plain, same_weights, small_gap, stop_after, stripes
from napari_cam_feedback.data import ArrayDataset, InputCache
from napari_cam_feedback.errors import ConfigError, DataError, MaskError, ModelError, RetuneError
from napari_cam_feedback.evaluation import RightReasons, evaluate, right_reasons
from napari_cam_feedback.evaluation.right_reasons import _Measure
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing, load_classifier, save_classifier
from napari_cam_feedback.retuning import (
    METHODS,
    RetuneConfig,
    RetuneResult,
    RetuneStep,
    ValidationMetrics,
    retune,
    run_to_end,
)
from napari_cam_feedback.retuning.head_refit import HeadRefit
from napari_cam_feedback.retuning.images.sampling import schedule, some_of
from napari_cam_feedback.retuning.judging.metrics import MIN_GAIN
from napari_cam_feedback.retuning.judging.pareto import NEARLY
from napari_cam_feedback.retuning.optimisation.pace import MAX_ROLLBACKS
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training import TrainConfig, train_classifier

nn = torch.nn


def run(
    classifier: Classifier, dataset: ArrayDataset, masks: dict[str, np.ndarray], stop=None, **settings
) -> tuple[RetuneResult, list[RetuneStep]]:
    steps: list[RetuneStep] = []
    result = run_to_end(retune(classifier, dataset, masks, RetuneConfig(**settings), stop=stop), steps.append)
    return result, steps


def trained(steps: list[RetuneStep]) -> list[RetuneStep]:
    """Without the checks of weights between the given and the best ones, which come after where something was won."""
    return [step for step in steps if step.check is None or step.check.share == 1]


QUICK = {"iterations": 4, "check_every": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def dataset() -> ArrayDataset:
    return stripes({"train": 48, "val": 16, "test": 16}, contrast=15)


@pytest.fixture(scope="module")
def fresh(dataset) -> Classifier:
    """Random weights."""
    return build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=1)


@pytest.fixture(scope="module")
def fooled(dataset, fresh) -> Classifier:
    """A network that learnt the tag, which tells the class in training and conflicts with it in the test."""
    training = train_classifier(fresh, dataset, TrainConfig(epochs=8, batch_size=8, learning_rate=2e-3))
    while True:
        try:
            next(training)
        except StopIteration as end:
            return end.value


# What a retune is for ---------------------------------------------------------------------------------------------


@pytest.mark.lengthy
def test_a_retune_restores_accuracy_where_the_shortcut_lies_from_a_handful_of_masks(dataset, fooled):
    before = evaluate(fooled, dataset, splits=["test"]).splits["test"]
    assert before.accuracy < 0.2
    assert before.right_reasons.flip_rate > 0.25
    result, _ = run(fooled, dataset, known(dataset, count=12), iterations=60, check_every=10, batch_size=16)
    after = evaluate(result.classifier, dataset, splits=["test"]).splits["test"]
    assert after.accuracy > 0.8
    assert after.right_reasons.flip_rate <= before.right_reasons.flip_rate / 2
    assert result.verdict.name in ("fixed", "improved")
    assert result.after.conflict_accuracy > result.before.conflict_accuracy
    assert result.selected_iteration > 0


# What it never touches --------------------------------------------------------------------------------------------


@pytest.mark.lengthy
@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_the_classifier_given_is_never_changed(dataset, fresh, method):
    before, hooks = fresh.fingerprint(), count_hooks(fresh.module)
    result, _ = run(fresh, dataset, known(dataset, count=5), method=method, **QUICK)
    assert fresh.fingerprint() == before
    assert not any(p.requires_grad or p.grad is not None for p in fresh.module.parameters())
    assert not any(child.training for child in fresh.module.modules())
    assert count_hooks(fresh.module) == hooks
    assert result.classifier.module is not fresh.module


def count_hooks(module: nn.Module) -> int:
    return sum(len(child._forward_hooks) + len(child._forward_pre_hooks) for child in module.modules())


def test_the_classifier_returned_is_at_rest_and_can_be_saved(dataset, fresh, tmp_path):
    result, _ = run(fresh, dataset, known(dataset, count=5), **QUICK)
    module = result.classifier.module
    assert not any(child.training for child in module.modules())
    assert not any(p.requires_grad for p in module.parameters())
    assert all(p.grad is None for p in module.parameters())
    assert count_hooks(module) == 0
    assert result.classifier.head is not None
    assert torch.equal(result.classifier.head.weight, module.head.weight)
    save_classifier(result.classifier, tmp_path / "m.safetensors")
    again = load_classifier(tmp_path / "m.safetensors", device="cpu")
    assert again.fingerprint() == result.classifier.fingerprint()
    assert again.info["retune"]["config"]["iterations"] == 4
    assert again.info["retune"]["painted"] == 5
    assert again.info["retune"]["verdict"] == result.verdict.name


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norm_s_statistics_stay_unless_asked_otherwise(dataset, fresh, frozen):
    # Without a check in between, so that the last weights are those returned or the first.
    classifier = fresh.copy()
    kept: list[torch.Tensor] = []
    norm = classifier.module.features[0][1]
    norm.register_forward_hook(lambda module, *_: module.running_mean.is_meta or kept.append(module.running_mean.clone()))
    run(classifier, dataset, known(dataset, count=5), freeze_batch_norm=frozen, **QUICK)
    same = all(torch.equal(mean, kept[0]) for mean in kept)
    assert same is frozen


def painted_by_number(counts: dict[str, int]) -> tuple[ArrayDataset, dict[str, np.ndarray]]:
    """Images each of one gray of its own, so that every pixel tells which image it came from; all of them painted."""
    total = sum(counts.values())
    grays = np.arange(1, total + 1, dtype=np.float32) / 1000
    images, start = {}, 0
    for split, count in counts.items():
        images[split] = np.broadcast_to(grays[start : start + count, None, None], (count, 16, 16)).copy()
        start += count
    labels = {split: np.arange(count) % 2 for split, count in counts.items()}
    masks = {split: np.zeros((count, 16, 16), bool) for split, count in counts.items()}
    for split in counts:
        masks[split][:, :TAG, :TAG] = True
    dataset = ArrayDataset(images, labels, ("a", "b"), masks)
    return dataset, {key: dataset.known_mask(n) for n, key in enumerate(dataset.keys)}


def trained_on(dataset: ArrayDataset, masks: dict[str, np.ndarray], **settings) -> tuple[set[str], RetuneResult]:
    """Retune, and return the keys of the images any pixel of which was in a batch that gradients were taken of."""
    seen: set[int] = set()
    classifier = small_gap(("a", "b"))

    def watch(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        # One image alone is noise, by which a method asks whether the network can be differentiated twice.
        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled() and len(inputs[0]) > 1:
            note(inputs[0])

    def note(images: torch.Tensor) -> None:
        seen.update((images.detach() * 1000).round().int().unique().tolist())

    def collect(self: HeadRefit, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        note(inputs)
        original(self, inputs, labels)

    classifier.module.register_forward_pre_hook(watch)
    original = HeadRefit.collect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeadRefit, "collect", collect)
        result, _ = run(classifier, dataset, masks, **settings)
    return {dataset.keys[number - 1] for number in seen}, result


@pytest.mark.lengthy
@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_neither_held_out_images_nor_test_splits_are_ever_trained_on(method):
    dataset, masks = painted_by_number({"train": 24, "val": 6, "test": 4, "test-clean": 4, "test_hard": 4})
    masks = {key: mask for key, mask in masks.items() if not key.startswith("val")}
    seen, result = trained_on(dataset, masks, method=method, iterations=30, batch_size=8, check_every=15)
    assert len(result.held_out_keys) >= 4
    assert set(result.held_out_keys).isdisjoint(result.painted_keys)
    assert seen == {key for key in dataset.keys if key.startswith("train")} - set(result.held_out_keys)
    assert not any(key.startswith("test") for key in (*result.painted_keys, *result.held_out_keys))


def test_with_few_painted_images_all_are_learnt_from():
    dataset, masks = painted_by_number({"train": 12, "val": 4})
    few = dict(itertools.islice(masks.items(), 4))
    seen, result = trained_on(dataset, few, method="transplant", iterations=10, batch_size=8)
    assert result.painted_keys == result.held_out_keys == tuple(few)
    assert seen == {key for key in dataset.keys if key.startswith("train")}
    assert "paint ten or more images" in result.verdict.reason


@pytest.mark.lengthy
def test_without_a_validation_split_a_fifth_of_the_training_images_is_kept_for_it():
    dataset, masks = painted_by_number({"train": 30, "test": 4})
    seen, result = trained_on(dataset, dict(itertools.islice(masks.items(), 3)), iterations=20, batch_size=8)
    assert result.before.n == 6
    assert len(seen) == 24
    assert set(result.painted_keys) <= seen


@pytest.mark.parametrize("counts", [{"train": 12, "val": 6}, {"train": 30}])
def test_validation_images_are_never_trained_on(counts):
    dataset, masks = painted_by_number(counts)
    few = dict(itertools.islice(reversed(masks.items()), 5))
    looked: set[int] = set()
    original = InputCache.batches

    def watch(self, indices, size=64):
        looked.update(int(i) for i in indices)
        return original(self, indices, size)

    classifier = small_gap(("a", "b"))
    steps = retune(classifier, dataset, few, RetuneConfig(iterations=10, batch_size=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InputCache, "batches", watch)
        next(steps)  # nothing but the first check
    held_out = {dataset.index_of(key) for key in few}
    assert len(looked) > len(held_out)
    assert not {dataset.keys[i] for i in looked - held_out} & set(few)
    result = run_to_end(steps)
    assert result.before.n == len(looked - held_out)


def test_where_every_validation_image_is_painted_training_images_stand_in_for_them():
    dataset, masks = painted_by_number({"train": 30, "val": 4})
    painted = {key: mask for key, mask in masks.items() if key.startswith("val")}
    seen, result = trained_on(dataset, painted, iterations=5, batch_size=8)
    assert result.before.n > 0
    assert set(result.painted_keys) == set(painted) <= seen


# The same again ---------------------------------------------------------------------------------------------------


@pytest.mark.lengthy
@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_the_same_settings_give_the_same_weights_bit_for_bit(dataset, fooled, method):
    masks = known(dataset, count=12)
    one, _ = run(fooled, dataset, masks, method=method, seed=5, **QUICK)
    torch.manual_seed(99)  # the state of torch's own generator does not matter
    np.random.seed(99)  # noqa: NPY002 - nor that of numpy's
    again, _ = run(fooled, dataset, masks, method=method, seed=5, **QUICK)
    assert same_weights(one.classifier, again.classifier)
    assert one.history == again.history
    assert one.painted_history == again.painted_history
    assert one.to_json() == again.to_json()


@pytest.mark.lengthy
def test_another_seed_gives_other_steps(dataset, fooled):
    masks = known(dataset, count=12)
    one, _ = run(fooled, dataset, masks, seed=5, **QUICK)
    other, _ = run(fooled, dataset, masks, seed=6, **QUICK)
    assert one.history != other.history


# What it says as it goes ------------------------------------------------------------------------------------------


def test_every_step_says_what_it_came_to(dataset, fooled):
    result, steps = run(
        fooled, dataset, known(dataset, count=5), method="actdiff", iterations=5, check_every=2, batch_size=8
    )
    steps = trained(steps)
    assert [step.iteration for step in steps] == [0, 1, 2, 3, 4, 5]
    assert {step.iterations for step in steps} == {5}
    assert {step.painted_keys for step in steps} == {result.painted_keys}
    assert steps[0].losses == {}
    for step in steps[1:]:
        assert set(step.losses) == {"cross-entropy", "actdiff", "total"}
        assert step.losses["total"] == pytest.approx(step.losses["cross-entropy"] + step.losses["actdiff"], rel=1e-5)
    looked = [step for step in steps if step.check is not None]
    assert [step.iteration for step in looked] == [0, 2, 4, 5]
    for step in looked:
        assert step.check.iteration == step.iteration
        assert step.painted_probabilities.shape == (5,)
        assert ((step.painted_probabilities > 0) & (step.painted_probabilities < 1)).all()
    assert all(step.painted_probabilities is None for step in steps if step.check is None)


def test_the_probabilities_are_those_of_the_painted_images_true_class(dataset, fooled):
    _, steps = run(fooled, dataset, known(dataset, count=5), **QUICK)
    for key, probability in zip(steps[0].painted_keys, steps[0].painted_probabilities, strict=True):
        item = dataset.item(dataset.index_of(key))
        inputs = fooled.preprocessing.input(dataset.read(item.index))[None]
        assert probability == pytest.approx(float(fooled.logits(inputs).softmax(1)[0, item.label]), rel=1e-4)


def test_the_history_holds_what_the_steps_said(dataset, fooled):
    result, steps = run(fooled, dataset, known(dataset, count=5), **QUICK)
    assert [row["iteration"] for row in result.history if "share" not in row] == [0, 1, 2, 3, 4]
    for row, step in zip(result.history, steps, strict=True):
        assert {name.removeprefix("loss_"): v for name, v in row.items() if name.startswith("loss_")} == step.losses
        assert row.get("val_accuracy") == (None if step.check is None else step.check.accuracy)
    assert [(row["iteration"], row["key"]) for row in result.painted_history] == [
        (iteration, key) for iteration in (0, 2, 4) for key in result.painted_keys
    ]
    json.dumps(result.to_json(), allow_nan=False)
    json.dumps(result.history, allow_nan=False)


@pytest.mark.lengthy
def test_the_classifier_returned_is_the_best_that_was_seen(dataset, fooled, monkeypatch):
    # Whose checks lie further apart than those of one that learns its classes anew.
    monkeypatch.setattr("napari_cam_feedback.retuning.judging.metrics.LITTLE", -1.0)
    masks = known(dataset, count=12)
    result, steps = run(fooled, dataset, masks, iterations=30, check_every=5, batch_size=16, learning_rate=1e-3)
    checks = [step.check for step in steps if step.check is not None]
    best = best_of(checks)
    assert result.before == checks[0]
    assert during(result.after) == best
    assert result.selected_iteration == best.iteration
    assert result.status == "done"
    # And its weights are those of that moment: measured again, they give the same.
    assert measured_again(result, dataset, masks) == pytest.approx(numbers(best.held_out))


def best_of(checks: list[ValidationMetrics]) -> ValidationMetrics:
    """Of those nearly as good as the best the latest, which has learnt most; the start stands unless something is won."""
    highest = max(check.score for check in checks)
    assert highest > checks[0].score + MIN_GAIN
    return max((check for check in checks if check.score >= highest - NEARLY), key=lambda check: check.iteration)


def during(check: ValidationMetrics) -> ValidationMetrics:
    """The check without the measures that are taken at the start and the end only."""
    cheap = replace(check.held_out, swap_flip_rate=None, swap_accuracy=None, random_flip_rate=None)
    return replace(check, held_out=cheap, moved=None)


def numbers(found: RightReasons) -> list[float]:
    return [found.n, found.accuracy, found.masked_accuracy, found.flip_rate, found.mask_share]


def measured_again(result: RetuneResult, dataset: ArrayDataset, masks: dict[str, np.ndarray]) -> list[float]:
    """What the classifier returned comes to on the painted images held out."""
    indices = np.sort([dataset.index_of(key) for key in result.held_out_keys])
    held = {key: masks[key] for key in result.held_out_keys}
    return numbers(right_reasons(result.classifier, dataset, indices, held, seed=0))


def test_if_nothing_better_is_seen_the_weights_are_those_given(dataset, fooled, monkeypatch):
    monkeypatch.setattr(
        "napari_cam_feedback.retuning.judging.metrics.ValidationMetrics.score", property(lambda check: -check.iteration)
    )
    result, _ = run(fooled, dataset, known(dataset, count=5), **QUICK)
    assert result.selected_iteration == 0
    assert same_weights(result.classifier, fooled)
    assert result.after == result.before
    # The model used the tag, and no step was kept: that is no "no effect".
    assert result.verdict.name == "failed"
    assert result.verdict.reason.startswith("No check on the way was better than the start, so the weights were thrown away")


# Strength ---------------------------------------------------------------------------------------------------------


def test_the_strength_given_weighs_the_penalty(dataset, fooled):
    first = {}
    for strength in (1.0, 3.0):
        _, steps = run(fooled, dataset, known(dataset, count=5), method="pas", strength=strength, iterations=1, batch_size=8)
        first[strength] = steps[1].losses
    assert first[3.0]["pas"] == pytest.approx(3 * first[1.0]["pas"], rel=1e-5)
    assert first[3.0]["cross-entropy"] == first[1.0]["cross-entropy"]


def test_without_a_strength_every_penalty_starts_alike_whatever_its_scale(dataset, fooled):
    starts = []
    for method in ("pas", "actdiff"):
        _, steps = run(fooled, dataset, known(dataset, count=5), method=method, iterations=1, batch_size=8)
        starts.append(steps[1].losses[method])
    assert starts[0] == pytest.approx(starts[1], rel=1e-3)


def test_methods_joined_by_plus_work_together(dataset, fooled):
    masks = known(dataset, count=5)
    _, both = run(fooled, dataset, masks, method="pas+actdiff+transplant", **QUICK)
    assert set(both[1].losses) == {"cross-entropy", "pas", "actdiff", "total"}
    _, one = run(fooled, dataset, masks, method="pas", **QUICK)
    # Transplanted images are harder than those as they are.
    assert both[1].losses["cross-entropy"] > one[1].losses["cross-entropy"]


class Flat(nn.Module):
    """A network without global pooling, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(4))
        self.rest = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(self.features(x))


@pytest.mark.lengthy
@pytest.mark.parametrize("method", [*METHODS, "auto"])
@pytest.mark.parametrize("layer", ["features", "features.0"])
def test_any_convolutional_network_can_be_retuned_at_any_layer(dataset, method, layer):
    torch.manual_seed(0)
    classifier = Classifier(Flat(), dataset.class_names, plain(16, 16), layer, "flat")
    assert classifier.head is None
    result, steps = run(classifier, dataset, known(dataset, count=5), method=method, **QUICK)
    assert all(np.isfinite(step.losses["total"]) for step in steps[1:] if step.losses)
    assert trained(steps)[-1].losses
    assert result.status == "done"


# Stopping ---------------------------------------------------------------------------------------------------------


class Probe(nn.Module):
    """Passes its input on and counts; at the count `stop_at` it asks to stop, as a user might at any moment."""

    ran = 0
    stop_at = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Probe.ran += 1
        return x * 1.0


def probed(dataset: ArrayDataset) -> Classifier:
    """A network of five layers that each count."""
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("features", nn.Sequential(Probe(), nn.Conv2d(1, 4, 3), Probe(), nn.ReLU(), Probe(), Probe()))
    module.add_module("rest", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2), Probe()))
    return Classifier(module, dataset.class_names, plain(16, 16), "features", "probed")


@pytest.mark.parametrize("more", range(1, 9))
def test_a_stop_within_a_long_step_ends_it_at_the_next_layer(dataset, more, monkeypatch):
    monkeypatch.setattr("napari_cam_feedback.retuning.loop.SHORT_STEP", 0.0)
    masks, settings = (
        known(dataset, count=5),
        {
            "method": "pas",
            "iterations": 50,
            "batch_size": 8,
            "check_every": 1,
            "learning_rate": 1e-3,
        },
    )
    Probe.ran, Probe.stop_at = 0, 0
    classifier = probed(dataset)
    assert classifier.head is not None
    steps = retune(classifier, dataset, masks, RetuneConfig(**settings), stop=lambda: 0 < Probe.stop_at <= Probe.ran)
    next(steps)
    next(steps)
    # In the second step, in the middle of the training pass (five probes) or of the measuring after it.
    Probe.stop_at = Probe.ran + more
    result = run_to_end(steps)
    assert Probe.ran == Probe.stop_at
    assert result.status == "stopped"
    assert [row["iteration"] for row in result.history] == [0, 1]


def test_a_stop_within_a_backward_pass_ends_it_at_the_next_layer(dataset):
    reached: list[str] = []

    class Back(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x * 1.0
            if x.requires_grad:
                x.register_hook(lambda _: reached.append(self.name))
            return x

    features = nn.Sequential(nn.Conv2d(1, 4, 3), Back("low"), nn.ReLU(), Back("middle"), nn.ReLU(), Back("high"))
    module = nn.Sequential()
    module.add_module("features", features)
    module.add_module("rest", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))
    classifier = Classifier(module, dataset.class_names, plain(16, 16), "features", "back")
    steps = retune(
        classifier,
        dataset,
        known(dataset, count=5),
        RetuneConfig(method="transplant", learning_rate=1e-3),
        stop=lambda: "middle" in reached,
    )
    result = run_to_end(steps)
    assert reached == ["high", "middle"]
    assert result.status == "stopped"
    assert same_weights(result.classifier, classifier)


def test_a_stop_within_the_measuring_of_the_painted_images_is_a_stop_and_no_failure(dataset, fooled, monkeypatch):
    """What measures may stop by itself elsewhere; here the stop is the run's."""
    asked = [False]
    original = _Measure.refilled

    def refilled(self, *arguments):
        asked[0] = True
        return original(self, *arguments)

    config = RetuneConfig(method="transplant", iterations=9, check_every=3, batch_size=8, learning_rate=1e-3)
    steps = retune(fooled, dataset, known(dataset, count=5), config, stop=lambda: asked[0])
    next(steps)
    monkeypatch.setattr(_Measure, "refilled", refilled)
    result = run_to_end(steps)
    assert result.status == "stopped"
    assert [row["iteration"] for row in result.history] == [0, 1, 2]


@pytest.mark.lengthy
def test_a_stop_leaves_the_best_so_far(dataset, fooled):
    masks, asked = known(dataset, count=12), [False]
    config = RetuneConfig(iterations=1000, check_every=5, batch_size=16, learning_rate=1e-3)
    steps = retune(fooled, dataset, masks, config, stop=lambda: asked[0])
    checks = []
    for step in itertools.islice(steps, 28):
        checks += [step.check] if step.check is not None else []
    asked[0] = True
    result = run_to_end(steps)
    assert result.status == "stopped"
    assert during(result.after) == best_of(checks)
    assert result.after.iteration > 0
    assert measured_again(result, dataset, masks) == pytest.approx(numbers(result.after.held_out), rel=1e-4)
    assert not any(p.requires_grad for p in result.classifier.module.parameters())
    assert count_hooks(result.classifier.module) == 0


def test_a_stop_before_the_first_step_gives_a_sentence(dataset, fooled):
    with pytest.raises(RetuneError, match=r"Stopped before the first step; nothing was changed\."):
        run(fooled, dataset, known(dataset, count=5), stop=lambda: True)
    with pytest.raises(RetuneError, match="Stopped before the first step"):
        run(fooled, dataset, known(dataset, count=5), stop=stop_after(3))


def test_a_run_that_is_dropped_midway_leaves_no_hook(dataset, fooled):
    steps = retune(fooled, dataset, known(dataset, count=5), RetuneConfig(**QUICK))
    next(steps)
    next(steps)
    steps.close()
    assert count_hooks(fooled.module) == 0


# When things go wrong ---------------------------------------------------------------------------------------------


def poison(monkeypatch, when) -> None:
    """Make ActDiff's penalty NaN at the calls for which `when` says so."""
    calls = itertools.count(1)
    original = METHODS["actdiff"].penalty

    def penalty(self, batch, outputs):
        value = original(self, batch, outputs)
        return value * float("nan") if when(next(calls)) else value

    monkeypatch.setattr(METHODS["actdiff"], "penalty", penalty)


def test_a_loss_that_becomes_nan_is_rolled_back_and_said(dataset, fooled, monkeypatch):
    poison(monkeypatch, lambda call: call == 3)
    result, steps = run(
        fooled,
        dataset,
        known(dataset, count=5),
        method="actdiff",
        iterations=6,
        check_every=2,
        batch_size=8,
        learning_rate=1e-3,
    )
    said = {step.iteration: step.message for step in steps if step.message and step.iteration}
    assert list(said) == [3]
    assert said[3] == ("The loss is not a number any more; went back to the best so far, with a learning rate of 0.00033.")
    assert steps[3].losses == {}
    assert result.history[3]["message"] == said[3]
    assert result.status == "done"
    assert max(step.iteration for step in steps) == 6
    assert all(np.isfinite(step.losses["total"]) for step in steps[4:] if step.losses)
    assert all(bool(t.isfinite().all()) for t in result.classifier.module.state_dict().values())


def test_a_loss_that_keeps_becoming_nan_ends_the_run_with_the_best_so_far(dataset, fooled, monkeypatch):
    poison(monkeypatch, lambda _: True)
    result, steps = run(
        fooled, dataset, known(dataset, count=5), method="actdiff", iterations=50, batch_size=8, learning_rate=1e-3
    )
    assert [step.iteration for step in steps] == list(range(MAX_ROLLBACKS + 1))
    assert all("not a number any more" in step.message for step in steps[1:])
    assert result.status == "rolled back"
    assert result.selected_iteration == 0
    assert same_weights(result.classifier, fooled)


def test_weights_that_become_nan_are_rolled_back_too(dataset, fooled, monkeypatch):
    # A finite loss with a gradient that is none: the step after it sees the harm.
    original = METHODS["actdiff"].penalty
    calls = itertools.count(1)

    def penalty(self, batch, outputs):
        value = original(self, batch, outputs)
        if next(calls) == 2:
            value = value + (outputs.logits.sum() * 0).abs().sqrt()  # 0, with the slope of a root at 0
        return value

    monkeypatch.setattr(METHODS["actdiff"], "penalty", penalty)
    result, steps = run(
        fooled, dataset, known(dataset, count=5), method="actdiff", iterations=6, check_every=6, batch_size=8
    )
    assert any("not a number any more" in (step.message or "") for step in steps)
    assert all(bool(t.isfinite().all()) for t in result.classifier.module.state_dict().values())
    assert np.isfinite(trained(steps)[-1].losses["total"])


def test_nothing_painted_gives_a_sentence(dataset, fresh):
    with pytest.raises(RetuneError, match=r"No labelled training or validation image is painted; paint what is irrelevant"):
        run(fresh, dataset, {})
    with pytest.raises(RetuneError, match="No labelled training or validation image is painted"):
        run(fresh, dataset, known(dataset, "test"))


def test_one_painted_image_is_enough(dataset, fooled):
    result, steps = run(fooled, dataset, known(dataset, count=1), **QUICK)
    assert len(trained(steps)) == 5
    assert result.painted_keys == (dataset.keys[0],)


def test_too_few_training_images_give_a_sentence():
    images = np.zeros((3, 16, 16), np.uint8)
    dataset = ArrayDataset({"train": images}, {"train": [0, 1, -1]}, ("a", "b"))
    with pytest.raises(RetuneError, match=r"too few labelled training images to retune with; add images to the split train"):
        run(small_gap(("a", "b")), dataset, {"train/00000": np.ones((16, 16), bool)})
    dataset = ArrayDataset({"val": images}, {"val": [0, 1, 0]}, ("a", "b"))
    with pytest.raises(DataError, match=r'no split "train", only val'):
        run(small_gap(("a", "b")), dataset, {"val/00000": np.ones((16, 16), bool)})


def test_bad_input_gives_a_sentence_before_anything_is_done(dataset, fresh):
    masks = known(dataset, count=2)
    with pytest.raises(ConfigError, match=r"no retune method 'pasta'; did you mean pasa"):
        retune(fresh, dataset, masks, RetuneConfig(method="pasta"))
    with pytest.raises(MaskError, match=r"The mask of train/00000 is 5x16 pixels and its image 16x16; paint it on its own"):
        retune(fresh, dataset, {dataset.keys[0]: np.ones((5, 16), bool)})
    with pytest.raises(ModelError, match="The model knows 3 classes"):
        retune(small_gap(), dataset, masks)


class Vanishing(ArrayDataset):
    """A dataset whose training images cannot be read any more once `gone` is set."""

    gone: frozenset[int] = frozenset()

    def read(self, index: int) -> np.ndarray:
        if index in self.gone:
            raise DataError(f"{self.keys[index]} is missing; put the image back or remove it from the dataset.")
        return super().read(index)


def vanishing() -> Vanishing:
    whole = stripes()
    images = {s: np.stack([whole.read(int(i)) for i in whole.indices(s)]) for s in whole.split_names}
    labels = {s: whole.labels[whole.indices(s)] for s in whole.split_names}
    return Vanishing(images, labels, whole.class_names, {"train": np.stack([whole.known_mask(0)] * 32)})


def test_training_images_that_cannot_be_read_are_left_out(fooled):
    dataset = vanishing()
    dataset.gone = frozenset(range(10, 30))
    result, steps = run(fooled, dataset, known(dataset, count=3), **QUICK)
    assert len(trained(steps)) == 5
    assert result.status == "done"


def test_if_none_can_be_read_any_more_there_is_a_sentence(fooled):
    dataset = vanishing()
    steps = retune(fooled, dataset, known(dataset, count=1), RetuneConfig(batch_size=2, iterations=5))
    dataset.gone = frozenset(range(1, 32))
    with pytest.raises(RetuneError, match=r"The training images cannot be read any more; check that the dataset is still"):
        run_to_end(steps)


# How long it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "size", "expected"),
    [
        (1000, (28, 28), (64, 996, 15)),  # 50e6 / (64 x 784)
        (700, (72, 72), (32, 301, 15)),  # 50e6 / (32 x 5,184)
        (30_000, (28, 28), (64, 996, 15)),  # 50e6 / (64 x 784), fewer than the 3,750 steps of eight passes
        (3000, (224, 224), (16, 108, 12)),  # three times 29e6 / (16 x 50,176)
        (3000, (384, 384), (16, 108, 12)),
        (10, (28, 28), (10, 1000, 15)),
    ],
)
def test_a_retune_takes_so_many_steps_at_most_that_it_ends_in_minutes(images, size, expected):
    found = schedule(RetuneConfig(), images, size)
    assert (found.batch_size, found.iterations, found.check_every) == expected
    # Large ones must be worth it after a third of that.
    assert found.enough == (found.iterations if size[0] < 100 else 36)


def test_what_the_user_says_of_iterations_and_looks_counts():
    found = schedule(RetuneConfig(iterations=40, check_every=3, batch_size=8), 60_000, (28, 28))
    assert (found.batch_size, found.iterations, found.check_every) == (8, 40, 3)


def test_a_run_ends_by_itself_unless_so_many_steps_are_asked_for():
    assert schedule(RetuneConfig(), 1000, (28, 28)).patience == 2
    few = schedule(RetuneConfig(), 60_000, (28, 28), surroundings=True)
    assert (few.patience, few.iterations) == (4, 150)
    assert schedule(RetuneConfig(), 1000, (224, 224)).patience == 2
    assert schedule(RetuneConfig(iterations=300), 1000, (28, 28)).patience is None
    assert schedule(RetuneConfig(iterations=300, patience=3), 1000, (28, 28)).patience == 3


def test_a_look_takes_fewer_validation_images_where_they_are_large():
    assert schedule(RetuneConfig(), 1000, (28, 28)).validation == 500
    assert schedule(RetuneConfig(), 60_000, (224, 224)).validation == 79
    assert schedule(RetuneConfig(), 60_000, (512, 512)).validation == 64
    validation = np.arange(2000)
    chosen = some_of(validation, 1116)
    assert len(np.unique(chosen)) == 1116
    assert np.array_equal(chosen, some_of(validation, 1116))
    assert np.array_equal(some_of(validation, 2000), validation)
