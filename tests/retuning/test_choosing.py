"""Taking another model of a run than the one it chose: it is measured and judged as the run itself would have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core_builders import known, same_weights, stripes
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import DataError, RetuneError
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing
from napari_cam_feedback.retuning import (
    RetuneConfig,
    RetuneResult,
    ValidationMetrics,
    judge,
    retune,
    run_to_end,
    take_checkpoint,
)
from napari_cam_feedback.retuning.judging.pareto import Checkpoint
from napari_cam_feedback.retuning.optimisation.pace import Guard
from napari_cam_feedback.retuning.weight_path import SHARES
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training import TrainConfig, train_classifier

CONFIG = RetuneConfig(iterations=4, check_every=2, batch_size=8, learning_rate=1e-3)
COUNT = 12


def trained(dataset: ArrayDataset) -> Classifier:
    fresh = build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=1)
    training = train_classifier(fresh, dataset, TrainConfig(epochs=8, batch_size=8, learning_rate=2e-3))
    while True:
        try:
            next(training)
        except StopIteration as end:
            return end.value


@pytest.fixture(scope="module")
def dataset() -> ArrayDataset:
    return stripes({"train": 48, "val": 40, "test": 16}, contrast=15)


@pytest.fixture(scope="module")
def fooled(dataset) -> Classifier:
    """A network that learnt the tag."""
    return trained(dataset)


def choosing(patch: pytest.MonkeyPatch, iteration: int, share: float) -> None:
    """Let a run keep every check, and choose this one in the end."""
    patch.setattr("napari_cam_feedback.retuning.judging.pareto._beats", lambda one, other: False)

    def score(check: ValidationMetrics) -> float:
        return check.iteration / 10 + (check.iteration == iteration and check.share == share)

    patch.setattr(ValidationMetrics, "score", property(score))


def run(classifier: Classifier, dataset: ArrayDataset, config: RetuneConfig = CONFIG) -> RetuneResult:
    return run_to_end(retune(classifier, dataset, known(dataset, count=COUNT), config))


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("freeze_batch_norm", "iteration", "share"),
    [
        (True, 0, 1),
        (True, 2, 1),
        (True, 4, 1),
        (True, 4, 0.75),
        (True, 4, 0.5),
        (True, 4, 0.25),
        (False, 2, 1),
        (False, 4, 1),
    ],
)
def test_the_model_that_a_run_chose_is_judged_alike_when_it_is_taken(
    dataset, fooled, monkeypatch, freeze_batch_norm, iteration, share
):
    config = CONFIG.model_copy(update={"freeze_batch_norm": freeze_batch_norm})
    with monkeypatch.context() as patch:
        choosing(patch, iteration, share)
        # One that knows little else has no weights in between; and all of those in between are looked at.
        patch.setattr("napari_cam_feedback.retuning.judging.metrics.LITTLE", -1.0)
        patch.setattr("napari_cam_feedback.retuning.weight_path.SHARES_NOTHING_LOST", SHARES)
        chosen = run(fooled, dataset, config)
        assert (chosen.selected_iteration, chosen.selected_share) == (iteration, share)
        taken = take_checkpoint(chosen, iteration, dataset, known(dataset, count=COUNT), share=share)
        # By way of another one, too.
        other = take_checkpoint(chosen, 2 if iteration != 2 else 4, dataset, known(dataset, count=COUNT))
        back = take_checkpoint(other, iteration, dataset, known(dataset, count=COUNT), share=share)
    assert taken.after.neutral is not None
    for each in (taken, back):
        assert each.after == chosen.after
        assert each.verdict == chosen.verdict
        assert same_weights(each.classifier, chosen.classifier)
        assert each.classifier.info["retune"]["verdict"] == chosen.verdict.name
    assert not any(child._forward_hooks for child in taken.classifier.module.modules())


@pytest.mark.lengthy
def test_what_went_wrong_on_the_way_is_told_of_every_model_of_the_run(dataset, fooled, monkeypatch):
    real, steps = Guard.watch, []

    def watch(self, *given):
        steps.append(given)
        return "The loss is not a number any more" if len(steps) == 3 else real(self, *given)

    with monkeypatch.context() as patch:
        choosing(patch, 4, 1)
        patch.setattr(Guard, "watch", watch)
        chosen = run(fooled, dataset)
        assert chosen.troubles == ("The loss is not a number any more",)
        again, other = (take_checkpoint(chosen, n, dataset, known(dataset, count=COUNT)) for n in (4, 2))
    assert again.verdict == chosen.verdict
    for each in (again, other):
        assert "On the way weights were thrown away once: the loss is not a number any more." in each.verdict.reason


@pytest.fixture(scope="module")
def forgetting() -> tuple[ArrayDataset, RetuneResult]:
    """A run one model of which leaves the tag and has forgotten the class *along*, as no check in its middle can tell."""
    dataset = stripes({"train": 48, "val": 40, "test": 16}, contrast=60)
    result = run(trained(dataset), dataset)
    # The network is right by the stripes too, so that what is lost is not the tag's gift.
    assert result.before.neutral is not None
    assert result.before.neutral[0] > 0.9
    state = {name: value.clone() for name, value in result.given.module.state_dict().items()}
    state["head.bias"] += torch.tensor([100.0, 0.0])
    before = replace(result.before, conflict_accuracy=0.2, conflict_flip_rate=0.8, marks=None, control=None)
    held_out = replace(before.held_out, swap_flip_rate=None, swap_accuracy=None, random_flip_rate=None)
    check = replace(
        before, iteration=3, accuracy=0.5, conflict_accuracy=0.5, conflict_flip_rate=0.1, lost=20, won=0, neutral=None,
        lost_by_class={"along": 20}, marks=None, held_out=held_out,
    )  # fmt: skip
    return dataset, replace(result, before=before, checkpoints=(*result.checkpoints, Checkpoint(check, state)))


@pytest.mark.lengthy
def test_a_model_that_forgot_something_is_called_mixed_when_it_is_taken(forgetting):
    dataset, result = forgetting
    check = result.checkpoints[-1].check
    assert judge(result.before, check, held_out=True).name == "improved"
    taken = take_checkpoint(result, 3, dataset, known(dataset, count=COUNT))
    assert taken.after.neutral is not None
    accuracy, lost, won = taken.after.neutral
    assert accuracy == 0.5
    assert lost - won == pytest.approx(40 * (result.before.neutral[0] - 0.5))
    assert taken.verdict.name == "mixed"
    assert "lost most: along (20)" in taken.verdict.reason
    assert taken.classifier.info["retune"]["verdict"] == "mixed"


def test_a_stop_leaves_the_measures_as_they_were_and_says_what_is_lacking(forgetting):
    dataset, result = forgetting
    taken = take_checkpoint(result, 3, dataset, known(dataset, count=COUNT), stop=lambda: True)
    assert taken.after == result.checkpoints[-1].check
    assert "Whether other things were forgotten was not measured" in taken.verdict.reason
    assert not any(child._forward_hooks for child in taken.classifier.module.modules())


def test_painted_images_that_are_gone_are_said(forgetting, monkeypatch):
    dataset, result = forgetting
    first = dataset.index_of(result.painted_keys[0])
    real = ArrayDataset.read

    def read(self, index):
        if index == first:
            raise DataError("gone")
        return real(self, index)

    monkeypatch.setattr(ArrayDataset, "read", read)
    with pytest.raises(RetuneError, match="Some painted images cannot be read any more"):
        take_checkpoint(result, 3, dataset, known(dataset, count=COUNT))
