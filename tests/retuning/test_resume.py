"""A retune that is stopped and taken up again, the checkpoints it keeps, frozen parts, and augmentation."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from core_builders import known, same_weights, stripes
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import ConfigError, RetuneError, StorageError
from napari_cam_feedback.evaluation import RightReasons
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing
from napari_cam_feedback.models.layers.parts import learning_parameters
from napari_cam_feedback.retuning import (
    RetuneConfig,
    RetuneResult,
    RunState,
    ValidationMetrics,
    load_run_state,
    retune,
    run_to_end,
    save_run_state,
)
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.retuning.images.sampling import augment
from napari_cam_feedback.retuning.judging.pareto import MAX_CHECKPOINTS, ParetoFront
from napari_cam_feedback.retuning.methods import Batch
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
CONFIG = RetuneConfig(iterations=9, check_every=3, batch_size=8, freeze_batch_norm=False)


@pytest.fixture(scope="module")
def dataset() -> ArrayDataset:
    return stripes({"train": 48, "val": 16, "test": 16}, contrast=15)


@pytest.fixture(scope="module")
def fresh(dataset) -> Classifier:
    return build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=1)


def stopped_after(classifier: Classifier, dataset: ArrayDataset, steps: int, config: RetuneConfig) -> RetuneResult:
    """Stop a run once so many steps were yielded, the one before the first among them."""
    asked = [False]
    running = retune(classifier, dataset, known(dataset, count=12), config, stop=lambda: asked[0])
    for _ in itertools.islice(running, steps):
        pass
    asked[0] = True
    return run_to_end(running)


# Taking up again --------------------------------------------------------------------------------------------------


@pytest.mark.lengthy
@pytest.mark.parametrize("method", ["auto", "misclassified", "augment+pasa"])
@pytest.mark.parametrize("steps", [1, 6])
def test_a_run_that_was_stopped_and_resumed_ends_as_if_it_had_not_been(dataset, fresh, tmp_path, method, steps):
    config = CONFIG.model_copy(update={"method": method})
    whole = run_to_end(retune(fresh, dataset, known(dataset, count=12), config))
    assert whole.run_state is None
    stopped = stopped_after(fresh, dataset, steps, config)
    assert stopped.status == "stopped"
    # The last check, not the last step: what came after it is done once more.
    assert stopped.run_state.iteration == (steps - 1) // 3 * 3
    save_run_state(stopped.run_state, tmp_path / "state.pt")
    masks = known(dataset, count=12)
    again = run_to_end(retune(fresh, dataset, masks, config, resume=load_run_state(tmp_path / "state.pt")))
    assert again.status == "done"
    assert same_weights(again.classifier, whole.classifier)
    assert again.history == whole.history
    assert again.painted_history == whole.painted_history
    assert again.after == whole.after
    assert again.verdict == whole.verdict


@pytest.mark.lengthy
def test_the_same_settings_give_the_same_weights_bit_for_bit(dataset, fresh):
    text = CONFIG.model_dump_json()
    first, second = (
        run_to_end(retune(fresh, dataset, known(dataset, count=12), RetuneConfig.model_validate_json(text)))
        for _ in range(2)
    )
    assert same_weights(first.classifier, second.classifier)
    other = run_to_end(retune(fresh, dataset, known(dataset, count=12), CONFIG.model_copy(update={"seed": 1})))
    assert other.history[1] != first.history[1]


@pytest.mark.parametrize("other", ["settings", "model", "masks"])
def test_only_the_same_run_can_be_resumed(dataset, fresh, other):
    run_state = stopped_after(fresh, dataset, 4, CONFIG).run_state
    masks, config, classifier = known(dataset, count=12), CONFIG, fresh
    if other == "settings":
        config = CONFIG.model_copy(update={"learning_rate": 2e-3})
    elif other == "model":
        classifier = build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=2)
    else:
        key = next(iter(masks))
        masks[key] = ~masks[key]
    with pytest.raises(RetuneError) as caught:
        run_to_end(retune(classifier, dataset, masks, config, resume=run_state))
    assert str(caught.value) == (
        "The run to resume was begun with another model, other settings, masks or images; give the same ones, or start a "
        "new run."
    )


@pytest.mark.lengthy
def test_run_states_come_after_each_check(dataset, fresh):
    seen: list[RunState] = []
    run_to_end(retune(fresh, dataset, known(dataset, count=12), CONFIG, on_run_state=seen.append))
    assert [run_state.iteration for run_state in seen] == [0, 3, 6, 9]


def test_a_file_that_is_no_run_state_is_refused_and_runs_nothing(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    with pytest.raises(StorageError, match=r"There is no state\.pt in .*; only a run that was stopped can be resumed\."):
        load_run_state(tmp_path / "state.pt")
    for content in ({"schema_version": 99}, {"schema_version": 1}, [1, 2], Trap()):
        torch.save(content, tmp_path / "state.pt")
        with pytest.raises(StorageError, match="is no state of a run that this version can resume"):
            load_run_state(tmp_path / "state.pt")
    assert not (tmp_path / "ran").exists()


# A learning rate that is searched ---------------------------------------------------------------------------------

#: Just so many steps along a cosine, from the given weights; and as many as help, on from the search's own steps.
SEARCHING = {
    "steps": {"iterations": 24, "check_every": 8, "batch_size": 8},
    "open": {"check_every": 8, "batch_size": 8, "patience": 2},
}


@pytest.fixture(scope="module", params=["steps-learning", "steps-frozen", "open-learning", "open-frozen"])
def searching(request, dataset, fresh) -> tuple[RetuneConfig, RetuneResult]:
    """Settings that leave the learning rate open, and the run that they give."""
    length, norm = request.param.split("-")
    config = RetuneConfig(**SEARCHING[length], freeze_batch_norm=norm == "frozen")
    result = run_to_end(retune(fresh, dataset, known(dataset, count=12), config))
    assert "by the loss after a few steps at each of several" in result.resolved["learning_rate_chosen"]
    return config, result


def same_run(one: RetuneResult, other: RetuneResult) -> bool:
    assert one.history == other.history
    assert one.painted_history == other.painted_history
    assert (one.before, one.after, one.path) == (other.before, other.after, other.path)
    assert one.verdict == other.verdict
    assert one.resolved == other.resolved
    assert [each.check for each in one.checkpoints] == [each.check for each in other.checkpoints]
    return same_weights(one.classifier, other.classifier)


@pytest.mark.lengthy
def test_a_searched_learning_rate_is_found_again_and_gives_the_same_weights_bit_for_bit(dataset, fresh, searching):
    config, first = searching
    text = config.model_dump_json()
    second = run_to_end(retune(fresh, dataset, known(dataset, count=12), RetuneConfig.model_validate_json(text)))
    assert same_run(second, first)


@pytest.mark.lengthy
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(lambda steps: sum(step.trying is not None for step in steps) == 3, id="first-trial"),
        pytest.param(lambda steps: len({step.trying for step in steps} - {None}) == 2, id="second-trial"),
        pytest.param(lambda steps: steps[-1].iteration == 1, id="after-the-search"),
        pytest.param(lambda steps: any(step.check is not None for step in steps[1:-1]), id="after-the-first-look"),
    ],
)
def test_a_run_stopped_within_the_search_for_a_rate_or_after_it_ends_as_if_it_had_not_been(
    dataset, fresh, searching, tmp_path, moment
):
    config, whole = searching
    masks, asked, steps = known(dataset, count=12), [False], []
    running = retune(fresh, dataset, masks, config, stop=lambda: asked[0])
    for step in running:
        steps.append(step)
        if moment(steps):
            break
    asked[0] = True
    stopped = run_to_end(running)
    assert stopped.status == "stopped"
    save_run_state(stopped.run_state, tmp_path / "state.pt")
    again = run_to_end(retune(fresh, dataset, masks, config, resume=load_run_state(tmp_path / "state.pt")))
    assert same_run(again, whole)


# Checkpoints ------------------------------------------------------------------------------------------------------


def check(iteration: int, accuracy: float, conflict: float, flip: float) -> ValidationMetrics:
    return ValidationMetrics(iteration, 100, accuracy, conflict, flip, RightReasons(5, 1.0, 0.5, 0.5, 0.1))


def test_the_front_keeps_what_nothing_beats_in_every_measure():
    front, module = ParetoFront(), nn.Linear(1, 1)
    assert front.add(check(0, 0.95, 0.40, 0.60), module)
    assert front.add(check(1, 0.80, 0.70, 0.20), module)
    assert not front.add(check(2, 0.70, 0.70, 0.20), module)  # beaten by 1
    assert front.add(check(3, 0.80, 0.70, 0.20), module)  # the same as 1: the later has learnt more
    assert [each.check.iteration for each in front.checkpoints] == [0, 3]
    assert not front.add(check(3, 0.95, 0.40, 0.60), module)  # the same as the start, which is kept
    assert front.add(check(4, 0.85, 0.75, 0.15), module)  # beats 3, but not 0
    assert [each.check.iteration for each in front.checkpoints] == [0, 4]
    assert front.best.check.iteration == 4


def test_of_checks_that_nearly_have_the_highest_score_the_latest_is_the_best():
    front, module = ParetoFront(), nn.Linear(1, 1)
    front.add(check(0, 0.5, 0.5, 0.5), module)
    front.add(check(10, 0.8, 0.71, 0.2), module)
    assert front.add(check(20, 0.8, 0.70, 0.2), module), "it is kept though the other one beats it"
    assert front.best.check.iteration == 20
    assert front.add(check(30, 0.79, 0.70, 0.2), module)
    assert [each.check.iteration for each in front.checkpoints] == [10, 30], "only one is kept that another one beats"
    assert not front.add(check(40, 0.8, 0.68, 0.2), module)
    assert front.best.check.iteration == 30


def test_the_start_is_the_best_unless_something_is_won():
    front, module = ParetoFront(), nn.Linear(1, 1)
    front.add(check(0, 0.9, 0.9, 0.1), module)
    front.add(check(10, 0.9, 0.904, 0.1), module)
    assert front.best.check.iteration == 0
    front.add(check(20, 0.9, 0.92, 0.1), module)
    assert front.best.check.iteration == 20


def test_the_front_is_bounded_and_never_drops_the_best():
    front, module = ParetoFront(), nn.Linear(1, 1)
    for n in range(20):
        front.add(check(n, 0.5 + n / 50, 0.9 - n / 20, 0.1), module)
    assert len(front.checkpoints) == MAX_CHECKPOINTS
    assert front.best.check.iteration == 0


def test_a_checkpoint_s_weights_are_a_copy():
    front, module = ParetoFront(), nn.Linear(1, 1)
    front.add(check(0, 0.9, 0.9, 0.1), module)
    before = front.best.state["weight"].clone()
    with torch.no_grad():
        module.weight.add_(1)
    assert torch.equal(front.best.state["weight"], before)


def test_every_checkpoint_of_a_result_can_be_had_as_a_classifier(dataset, fresh):
    result = run_to_end(retune(fresh, dataset, known(dataset, count=12), CONFIG))
    iterations = [each.check.iteration for each in result.checkpoints]
    assert result.selected_iteration in iterations
    assert same_weights(result.classifier_at(result.selected_iteration), result.classifier)
    for each in result.checkpoints:
        state = result.classifier_at(each.check.iteration).module.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in each.state.items())


# Frozen parts -----------------------------------------------------------------------------------------------------


def test_frozen_parts_keep_their_weights_and_their_batch_norm_and_the_others_learn(dataset, fresh):
    config = CONFIG.model_copy(update={"freeze": ("features.0",)})
    steps = retune(fresh, dataset, known(dataset, count=12), config)
    result = run_to_end(steps)
    last = result.run_state or result.checkpoints[-1]
    assert last is not None
    frozen = [name for name in fresh.module.state_dict() if name.startswith("features.0.")]
    assert any("running_mean" in name for name in frozen)
    for each in result.checkpoints:
        changed = {n for n, t in each.state.items() if not torch.equal(t, fresh.module.state_dict()[n])}
        assert not changed & set(frozen)
        assert each.check.iteration == 0 or "head.weight" in changed


def test_parts_that_are_not_there_and_a_network_all_frozen_are_said():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"The model has no part 'layer9' to freeze; its parts are 0, 1\."):
        learning_parameters(module, ("layer9",))
    with pytest.raises(ConfigError, match=r"All parts of the model are frozen, so nothing can be trained; freeze fewer\."):
        learning_parameters(module, ("0", "1"))
    named = nn.ModuleDict({"features": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    with pytest.raises(ConfigError, match=r"The model has no part 'feature' to freeze; did you mean features\?"):
        learning_parameters(named, ("feature",))
    # Not by the beginning of a name: 1 is not 10.
    many = nn.Sequential(*(nn.Linear(1, 1) for _ in range(11)))
    assert len(learning_parameters(many, ("1",))) == 20


# Augmentation -----------------------------------------------------------------------------------------------------


def spots(count: int = 64) -> MaskedSet:
    """Dark images with one bright square, painted exactly there, and inpainted away."""
    rng = np.random.default_rng(0)
    inputs = torch.zeros(count, 1, 24, 32)
    masks = torch.zeros(count, 24, 32, dtype=torch.bool)
    for n, (y, x) in enumerate(zip(rng.integers(6, 12, count), rng.integers(6, 20, count), strict=True)):
        masks[n, y : y + 6, x : x + 6] = True
    inputs[masks[:, None]] = 1.0
    keys = tuple(str(n) for n in range(count))
    return MaskedSet(np.arange(count), keys, inputs, masks, torch.zeros(count, dtype=torch.int64), torch.zeros_like(inputs))


def test_augmentation_moves_image_mask_and_inpainted_copy_together():
    painted = spots()
    batch = Batch(torch.rand(4, 1, 24, 32), torch.arange(4), painted)
    moved = augment(batch, torch.Generator().manual_seed(0)).painted
    assert not torch.equal(moved.masks, painted.masks)
    inside, outside = [], []
    for image, mask in zip(moved.inputs[:, 0], moved.masks, strict=True):
        assert 16 <= int(mask.sum()) <= 60
        inside.append(float(image[mask].mean()))
        outside.append(float(image[~mask].mean()))
    # The bright square is under the mask still.
    contrast = np.array(inside) - np.array(outside)
    assert contrast.min() > 0.6
    # The inpainted copy is the same image but for the mask: brightened by the same amount, shifted by the same way.
    difference = (moved.inputs - moved.inpainted)[:, 0]
    grown = torch.nn.functional.max_pool2d(moved.masks[:, None].float(), 3, 1, 1)[:, 0] > 0
    assert float(difference[~grown].abs().max()) < 1e-5


def test_augmentation_is_repeatable_different_for_each_image_and_keeps_labels():
    batch = Batch(torch.rand(8, 1, 24, 32)[:1].expand(8, -1, -1, -1).clone(), torch.arange(8), spots(4))
    first, second = (augment(batch, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.inputs, second.inputs)
    assert torch.equal(first.labels, batch.labels)
    assert first.inputs.flatten(1).unique(dim=0).shape[0] == 8
    assert first.painted.keys == batch.painted.keys


def test_mirrored_only_if_asked():
    ramp = torch.linspace(0, 1, 32).expand(200, 1, 24, 32)
    batch = Batch(ramp, torch.zeros(200, dtype=torch.int64), spots(2))
    rising = [
        (augment(batch, torch.Generator().manual_seed(0), mirror=mirror).inputs[..., -1] > 0.5).float().mean()
        for mirror in (False, True)
    ]
    assert rising[0] == 1
    assert math.isclose(float(rising[1]), 0.5, abs_tol=0.15)


def test_a_turn_keeps_angles_in_images_that_are_not_square(monkeypatch):
    monkeypatch.setattr("napari_cam_feedback.training.augmentation.TURN", math.pi / 2)
    monkeypatch.setattr("napari_cam_feedback.training.augmentation.SHIFT", 0.0)
    monkeypatch.setattr("napari_cam_feedback.training.augmentation.ZOOM", 0.0)
    monkeypatch.setattr(
        "napari_cam_feedback.training.augmentation.torch.rand",
        lambda *size, generator: torch.ones(*size, dtype=torch.float32),
    )
    masks = torch.zeros(1, 24, 32, dtype=torch.bool)
    masks[:, 10:14, 8:24] = True  # 4 high, 16 wide, in the middle
    one = replace(spots(1), masks=masks)
    turned = augment(Batch(one.inputs, one.labels, one), torch.Generator()).painted.masks[0]
    rows, columns = turned.any(1).sum(), turned.any(0).sum()
    assert (int(rows), int(columns)) == (16, 4)
