"""The learning rate that fits, a collapse seen at once, the mean of the weights, the teacher, and when a run ends."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from core_builders import known, stripes
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.evaluation import RightReasons
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing
from napari_cam_feedback.models.parallel import one_process
from napari_cam_feedback.monitor import QUIET
from napari_cam_feedback.retuning import RetuneConfig, ValidationMetrics, judge, retune, run_to_end
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.retuning.images.sampling import Schedule
from napari_cam_feedback.retuning.judging.forgetting import change_interval
from napari_cam_feedback.retuning.judging.pareto import ParetoFront, between, choose
from napari_cam_feedback.retuning.methods import Batch
from napari_cam_feedback.retuning.optimisation.averaging import DECAY, WARM_UP, WeightAverage
from napari_cam_feedback.retuning.optimisation.learning_rate import RATES, RateSearch, steps_of_trial
from napari_cam_feedback.retuning.optimisation.pace import MAX_ROLLBACKS, ONE_CLASS_STEPS, RISEN_STEPS, Guard, Pace
from napari_cam_feedback.retuning.optimisation.teacher import Teacher, distillation, has_answer
from napari_cam_feedback.retuning.rate_trials import find_rate
from napari_cam_feedback.retuning.run import RetuneRun
from napari_cam_feedback.retuning.weight_path import walk
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training import TrainConfig, train_classifier

nn = torch.nn


@pytest.fixture(scope="module")
def dataset() -> ArrayDataset:
    return stripes({"train": 48, "val": 16, "test": 16}, contrast=15)


@pytest.fixture(scope="module")
def fooled(dataset) -> Classifier:
    """A network that learnt the tag, which tells the class in training and conflicts with it in the test."""
    fresh = build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=1)
    return run_to_end(train_classifier(fresh, dataset, TrainConfig(epochs=8, batch_size=8, learning_rate=2e-3)))


def run_of(given: Classifier, dataset: ArrayDataset, masks: dict[str, np.ndarray], config: RetuneConfig) -> RetuneRun:
    return RetuneRun(given, dataset, masks, config, QUIET, lambda _: None, one_process("cpu"), False)


# The learning rate ------------------------------------------------------------------------------------------------


def searched(losses: dict[float, list[float]], *, relearns: bool, forgets: bool = False) -> tuple[float, list[float]]:
    """The rate taken, and those tried in order, where each rate's trial has the losses given (a steady 9 elsewhere)."""
    search, tried = RateSearch(relearns, forgets=forgets), []
    while (rate := search.following()) is not None:
        tried.append(rate)
        search.tell(rate, losses.get(rate, [9.0] * 4))
    return search.best, tried


def test_the_rate_is_searched_downhill_from_the_usual_one():
    # An ImageNet network with a watermark: what the second halves of such trials came to.
    pretrained = {3e-4: [1.7, 1.1, 1.0, 1.1], 1e-4: [1.7, 0.75, 0.8, 0.95], 3e-5: [1.7, 0.96, 0.86, 1.0]}
    assert searched(pretrained, relearns=False) == (1e-4, [1e-4, 3e-4, 3e-5])
    # One that bears more: up as long as the loss falls.
    bears = {1e-4: [2.0] * 4, 3e-4: [1.5] * 4, 1e-3: [1.0] * 4, 3e-3: [1.2] * 4}
    assert searched(bears, relearns=False) == (1e-3, [1e-4, 3e-4, 1e-3, 3e-3])
    shy = {1e-4: [3.0] * 4, 3e-5: [2.4] * 4, 1e-5: [1.9] * 4}
    assert searched(shy, relearns=False) == (1e-5, [1e-4, 3e-4, 3e-5, 1e-5])


def test_of_rates_that_are_nearly_as_good_the_larger_is_taken_but_not_where_much_could_be_forgotten_unseen():
    """A few steps of a small rate lose little because they do little."""
    losses = {1e-4: [0.7, 0.7, 0.57, 0.57], 3e-5: [0.7, 0.7, 0.54, 0.54], 3e-4: [0.7, 0.7, 0.9, 0.9]}
    assert searched(losses, relearns=False)[0] == 1e-4
    assert searched(losses, relearns=False, forgets=True)[0] == 3e-5
    assert searched(losses | {3e-5: [0.7, 0.7, 0.48, 0.48]}, relearns=False)[0] == 3e-5


@pytest.mark.parametrize(
    ("batch_norm", "few"), [(True, False), (False, False), (True, True)], ids=["keeps", "learns", "few"]
)
def test_the_rate_rises_over_the_first_steps_where_what_is_known_must_not_be_lost(
    dataset, fooled, monkeypatch, batch_norm, few
):
    """Step k of W has k / W of it: from the given weights, after going back, and where a run is taken up in between."""
    monkeypatch.setattr(RetuneRun, "_knows_little", False)
    config = RetuneConfig(batch_size=8, learning_rate=1e-3, freeze_batch_norm=batch_norm, iterations=30)
    run = run_of(fooled, dataset, known(dataset, count=5), config)
    run.few_classes = few
    run.begin()
    rising = run.trial_steps if batch_norm and not few else 1

    def rates(count: int) -> list[float]:
        found = []
        for _ in range(count):
            run.step()
            found.append(run.trainer._adam.param_groups[0]["lr"])
        return found

    wanted = [1e-3 * min(1, k / rising) for k in range(1, rising + 4)]
    assert rates(2) == pytest.approx(wanted[:2])
    position = run.position()
    assert rates(rising + 1) == pytest.approx(wanted[2:])
    run.restore(position)
    run.trainer.set_learning_rate(1e-3)
    assert rates(rising + 1) == pytest.approx(wanted[2:])
    run.go_back()
    assert rates(2) == pytest.approx(wanted[:2])


def test_a_run_goes_on_from_the_trial_of_the_rate_that_is_taken(dataset, fooled, monkeypatch):
    """Also where that was neither the first nor the last: the larger was nearly as good until a smaller one was better."""
    told = {1e-4: 1.0, 3e-4: 1.1, 3e-5: 0.95, 1e-5: 3.0}
    plain = RateSearch.tell
    monkeypatch.setattr(RateSearch, "tell", lambda self, rate, losses: plain(self, rate, [told[rate]] * len(losses)))
    monkeypatch.setattr(RetuneRun, "_knows_little", False)
    run = run_of(fooled, dataset, known(dataset, count=5), RetuneConfig(batch_size=8, freeze_batch_norm=True))
    run.begin()
    assert all(step.trying is None or step.trying in told for step in find_rate(run))
    assert run.pace.learning_rate == 1e-4
    assert {row["learning_rate"] for row in run.history if row["iteration"] > 0} == {1e-4}
    assert run.trainer._adam.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_where_batch_norm_learns_the_largest_rate_that_is_nearly_as_good_is_taken():
    losses = {1e-3: [2.0, 2.0, 1.0, 1.0], 3e-3: [2.0, 3.0, 1.3, 1.3], 3e-4: [2.0, 2.0, 1.1, 1.1]}
    assert searched(losses, relearns=True)[0] == 3e-3
    assert searched(losses | {3e-3: [2.0, 2.0, 1.4, 1.4]}, relearns=True)[0] == 1e-3


def test_no_rate_above_the_bound_is_tried_however_fast_the_loss_falls():
    search = RateSearch(relearns=True, most=1e-3)
    while (rate := search.following()) is not None:
        search.tell(rate, [9.0, 9.0, 1 / rate, 1 / rate])
    assert search.losses.keys() == {3e-4, 1e-3}
    assert search.best == 1e-3


def test_a_trial_whose_loss_is_no_number_is_never_taken():
    best, tried = searched({1e-4: [1.0, 0.9], 3e-4: [1.0, math.inf], 3e-5: [1.0, math.nan]}, relearns=False)
    assert best == 1e-4
    assert set(tried) <= set(RATES)
    search = RateSearch(False)
    while (rate := search.following()) is not None:
        search.tell(rate, [1.0, math.nan])
    assert search.best == min(search.losses)
    assert "no number" in search.describe()


@pytest.mark.parametrize(("images", "size", "steps"), [(80, (28, 28), 8), (20, (160, 160), 7), (20, (224, 224), 3)])
def test_a_trial_has_fewer_steps_where_a_step_costs_more(images, size, steps):
    assert steps_of_trial(images, size) == steps


@pytest.mark.lengthy
def test_a_run_searches_for_its_rate_and_goes_on_from_the_trial_taken(dataset, fooled):
    steps = []
    config = RetuneConfig(batch_size=8, patience=1, check_every=5)
    result = run_to_end(retune(fooled, dataset, known(dataset, count=5), config), steps.append)
    tried = {step.trying for step in steps if step.trying is not None}
    assert len(tried) >= 2
    assert all(step.iteration == 0 and not step.losses for step in steps if step.trying is not None)
    assert result.resolved["learning_rate"] in tried
    (said,) = {step.message for step in steps if step.message and step.message.startswith("Learning rate ")}
    assert all(f"{rate:g}: " in said for rate in tried)
    counted = [step.iteration for step in steps if step.losses]
    assert counted == list(range(1, len(counted) + 1)), "the trial that was taken counts, the others do not"
    assert [row["iteration"] for row in result.history if "share" not in row] == [0, *counted]
    assert said in [row.get("message") for row in result.history]


@pytest.mark.lengthy
def test_just_so_many_steps_as_are_asked_for_begin_from_the_given_weights(dataset, fooled):
    steps = []
    config = RetuneConfig(batch_size=8, iterations=22, check_every=11, method="transplant")
    result = run_to_end(retune(fooled, dataset, known(dataset, count=5), config), steps.append)
    assert [step.iteration for step in steps if step.losses] == list(range(1, 23))
    assert result.resolved["learning_rate"] in {step.trying for step in steps}
    rates = [row["learning_rate"] for row in result.history if "learning_rate" in row]
    assert rates[0] == pytest.approx(result.resolved["learning_rate"])
    assert rates[-1] < 0.1 * rates[0], "a known number of steps settles along a cosine"


# A collapse -------------------------------------------------------------------------------------------------------


MIXED = np.arange(20) % 4


def test_a_loss_that_stays_far_above_its_start_is_a_collapse_and_one_spike_is_none():
    guard = Guard(1.7)
    assert guard.watch(8.7, MIXED, MIXED) is None
    assert guard.watch(1.6, MIXED, MIXED) is None
    said = [guard.watch(6.9, MIXED, MIXED) for _ in range(RISEN_STEPS)]
    assert said[:-1] == [None] * (RISEN_STEPS - 1)
    assert said[-1] == "The loss of the training images rose from 1.70 to 6.90"


def test_a_dip_in_which_the_loss_still_falls_is_waited_for():
    guard = Guard(0.76)
    assert [guard.watch(loss, MIXED, MIXED) for loss in (0.9, 0.76, 0.7, 0.67, 0.6, 0.5)] == [None] * 6


def test_nearly_all_images_in_one_class_is_a_collapse_though_the_loss_fell():
    guard = Guard(1.52)
    one = np.zeros(20, np.int64)
    assert guard.watch(1.52, MIXED, MIXED) is None
    said = [guard.watch(0.95, one, MIXED) for _ in range(ONE_CLASS_STEPS)]
    assert said == [None] * (ONE_CLASS_STEPS - 1) + ["The model took nearly all training images for one class"]
    # Where nearly all are of that class, that is no collapse.
    assert guard.watch(1.0, MIXED, MIXED) is None
    assert [guard.watch(0.95, one, one) for _ in range(9)] == [None] * 9
    # Nor where the model took all for one class from the start.
    ignorant = Guard(1.52)
    assert [ignorant.watch(1.1, one, MIXED) for _ in range(9)] == [None] * 9


@pytest.mark.parametrize("loss", [None, math.nan, math.inf])
def test_a_loss_that_is_no_number_is_a_collapse_at_once(loss):
    assert Guard(1.0).watch(loss, MIXED, MIXED) == "The loss is not a number any more"


def test_a_learning_rate_far_too_large_is_rolled_back_at_once_and_said(dataset, fooled):
    """A rate a hundred times too large, in a network whose batch norm keeps its statistics, as a large one's does."""
    steps = []
    config = RetuneConfig(learning_rate=1.0, batch_size=8, check_every=10, freeze_batch_norm=True, method="transplant")
    result = run_to_end(retune(fooled, dataset, known(dataset, count=12), config), steps.append)
    troubles = [step for step in steps if step.message and "went back to the best so far" in step.message]
    assert troubles[0].iteration <= 10, "seen by the step's own images, before the first check"
    assert result.status == "rolled back"
    assert len(troubles) == MAX_ROLLBACKS
    # Whatever the steps in between were worth, the verdict tells of those thrown away.
    assert "weights were thrown away" in result.verdict.reason
    assert result.verdict.name != "no effect"
    assert [row["message"] for row in result.history if "message" in row][-len(troubles) :] == [t.message for t in troubles]


# The pace ---------------------------------------------------------------------------------------------------------


def check(iteration: int, accuracy: float, conflict: float, flips: float = 0.1, **more) -> ValidationMetrics:
    return ValidationMetrics(iteration, 100, accuracy, conflict, flips, RightReasons(10, 0.9, 0.5, 0.4, 0.5), **more)


START = check(0, 0.9, 0.3, 0.6)
PLAN = Schedule(batch_size=64, iterations=300, check_every=10, patience=2, validation=100, enough=300)


def test_a_run_ends_when_its_looks_no_longer_get_better():
    pace = Pace(1e-3, patience=2)
    for iteration, conflict in ((10, 0.6), (20, 0.8)):
        assert pace.decide(check(iteration, 0.9, conflict), START, plan=PLAN, may_climb=False).message is None
    # A gain within chance is none.
    assert pace.decide(check(30, 0.9, 0.803), START, plan=PLAN, may_climb=False).message is None
    last = pace.decide(check(40, 0.9, 0.8), START, plan=PLAN, may_climb=False)
    assert last.message == "The checks no longer get better; ended after 40 of at most 300 steps."
    assert pace.ended == "done"


@pytest.mark.parametrize(
    ("scores", "ended"),
    [
        # Each check after the 30 steps that are enough must win a hundredth to be worth the next steps.
        ([0.5, 0.6, 0.62, 0.64, 0.66], None),
        ([0.5, 0.6, 0.62, 0.628], 40),
        ([0.5, 0.6, 0.605], 30),
        ([0.5, 0.6, 0.6], 30),
        # What has won nothing at all yet is waited for as ever.
        ([0.2, 0.2, 0.3], None),
    ],
)
def test_large_networks_go_on_beyond_their_share_of_steps_while_that_is_worth_it(scores, ended):
    pace, plan = Pace(1e-3, patience=3), replace(PLAN, enough=30)
    for number, conflict in enumerate(scores, 1):
        assert pace.ended is None
        decision = pace.decide(check(10 * number, 0.9, conflict), START, plan=plan, may_climb=False)
    if ended is None:
        assert pace.ended is None
    else:
        assert pace.ended == "done"
        assert decision.message == f"More steps would win little; ended after {ended} of at most 300 steps."


def test_where_much_of_the_harm_is_left_a_larger_rate_is_tried_from_the_best_once():
    pace = Pace(1e-3, patience=1)
    pace.decide(check(10, 0.9, 0.5), START, plan=PLAN, may_climb=True)
    climbed = pace.decide(check(20, 0.9, 0.5), START, plan=PLAN, may_climb=True)
    assert climbed.back
    assert pace.learning_rate == pytest.approx(3e-3)
    assert "much of the harm is left; went on from the best so far with a learning rate of 0.003" in climbed.message
    assert pace.decide(check(30, 0.9, 0.5), START, plan=PLAN, may_climb=True).back is False
    assert pace.ended == "done"


def test_a_pace_that_is_written_goes_on_as_it_was():
    pace = Pace(1e-3, patience=2)
    pace.decide(check(10, 0.9, 0.6), START, plan=PLAN, may_climb=True)
    pace.collapse("The loss is not a number any more")
    again = Pace.from_plain(pace.to_plain())
    assert again.to_plain() == pace.to_plain()
    assert (again.rollbacks, again.troubles) == (1, ["The loss is not a number any more"])


# The mean of the weights ------------------------------------------------------------------------------------------


def test_the_mean_of_the_weights_is_what_its_formula_says():
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(1.0)
    average = WeightAverage(module, [])
    expected = 1.0
    for step, value in enumerate((2.0, 5.0, -1.0), 1):
        with torch.no_grad():
            module.weight.fill_(value)
        average.update(torch.zeros(1, 1))
        past = min(DECAY, step / (step + WARM_UP))
        expected = past * expected + (1 - past) * value
        assert float(average.mean["weight"]) == pytest.approx(expected)
    with average.applied():
        assert float(module.weight.detach()) == pytest.approx(expected)
    assert float(module.weight.detach()) == -1.0, "training goes on from its own weights"


def test_batch_norm_s_statistics_are_those_of_the_last_steps_images_for_the_mean():
    module = nn.Sequential(nn.BatchNorm2d(1))
    average = WeightAverage(module, [module[0]])
    images = [torch.full((2, 1, 2, 2), value) + torch.tensor([0.0, 2.0]).view(2, 1, 1, 1) for value in (10.0, 20.0)]
    for batch in images:
        average.update(batch)
    with average.applied():
        assert not module[0].training
        # Means 11 and 21, of which the plain mean is 16; the lagging statistics would still be near 0.
        assert float(module[0].running_mean) == pytest.approx(16.0)
    assert float(module[0].running_mean) == 0.0
    assert module[0].momentum == 0.1


# The teacher ------------------------------------------------------------------------------------------------------


def test_the_teacher_answers_where_it_is_right_and_leaves_the_rest_to_the_labels(dataset, fooled):
    inputs = torch.stack([fooled.preprocessing.input(dataset.read(i)) for i in range(6)])
    logits = fooled.logits(inputs).clone()
    labels = logits.argmax(1).clone()
    labels[1] = 1 - labels[1]
    painted = MaskedSet(np.array([4, 5]), ("a", "b"), inputs[4:], inputs[4:, 0] > 9, labels[4:])
    batch = Teacher(fooled, painted).answer(Batch(inputs[:4], labels[:4], painted, np.arange(4)))
    assert has_answer(batch.answers).tolist() == [True, False, True, True]
    assert torch.allclose(batch.answers[[0, 2, 3]], logits[[0, 2, 3]], atol=1e-5)
    assert torch.allclose(batch.painted_answers, logits[4:], atol=1e-5)


def test_an_image_that_comes_again_is_not_looked_at_again(dataset, fooled):
    inputs = torch.stack([fooled.preprocessing.input(dataset.read(i)) for i in range(3)])
    labels = fooled.logits(inputs).argmax(1)
    painted = MaskedSet(np.array([2]), ("a",), inputs[2:], inputs[2:, 0] > 9, labels[2:])
    teacher, looked = Teacher(fooled, painted), []
    handle = fooled.module.register_forward_pre_hook(lambda _module, given: looked.append(len(given[0])))
    first = teacher.answer(Batch(inputs[:2], labels[:2], painted, np.array([0, 1])))
    second = teacher.answer(Batch(inputs[1:2], labels[1:2], painted, np.array([1])))
    handle.remove()
    assert looked == [2], "the painted image is known from the start"
    assert torch.equal(first.answers[1], second.answers[0])


def test_the_answer_to_a_painted_image_is_the_one_without_what_is_painted(dataset, fooled):
    inputs = torch.stack([fooled.preprocessing.input(dataset.read(i)) for i in range(2)])
    masks = torch.zeros(2, *inputs.shape[2:], dtype=torch.bool)
    masks[:, :4, :4] = True
    painted = MaskedSet(np.array([0, 1]), ("a", "b"), inputs, masks, torch.zeros(2, dtype=torch.int64))
    without = fooled.logits(painted.cleared(torch.Generator().manual_seed(0)))
    assert not torch.allclose(without, fooled.logits(inputs), atol=0.1), "else the test says nothing"
    painted = replace(painted, labels=without.argmax(1))
    batch = Teacher(fooled, painted).answer(Batch(inputs[:1], painted.labels[:1], painted.take([1]), np.array([0])))
    answers = torch.cat([batch.answers, batch.painted_answers])
    assert torch.allclose(answers, without, atol=1e-4), "wherever a step takes a painted image from"


def test_an_image_that_carries_the_half_transparent_mark_is_answered_without_it(dataset, fooled):
    inputs = torch.stack([fooled.preprocessing.input(dataset.read(i)) for i in range(3)])

    class Mark:
        def clear(self, images):
            return images - 1

        carries = staticmethod(lambda images: torch.ones(len(images), dtype=torch.bool))
        take_off = clear

    labels = fooled.logits(inputs - 1).argmax(1)
    painted = MaskedSet(np.array([2]), ("a",), inputs[2:], inputs[2:, 0] > 9, labels[2:], overlay=Mark())
    batch = Teacher(fooled, painted).answer(Batch(inputs[:2], labels[:2], painted, np.arange(2)))
    found = torch.cat([batch.answers, batch.painted_answers])
    assert torch.allclose(found, fooled.logits(inputs - 1), atol=1e-4)


def test_distillation_is_the_mean_squared_difference_of_the_logits():
    found = distillation(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 0.0]]))
    assert found.tolist() == [pytest.approx((1 + 4) / 2), 0.0]


# Weights in between -----------------------------------------------------------------------------------------------


def test_weights_in_between_lie_on_the_line():
    given, tuned = (
        {"w": torch.tensor([0.0, 4.0]), "n": torch.tensor(3)},
        {"w": torch.tensor([2.0, 0.0]), "n": torch.tensor(7)},
    )
    assert between(given, tuned, 0.25)["w"].tolist() == [0.5, 3.0]
    assert between(given, tuned, 0.25)["n"] == 7


def test_a_dip_that_comes_back_is_waited_for_though_nothing_was_won_yet():
    pace = Pace(1e-3, patience=2)
    for number, conflict in enumerate((0.1, 0.2, 0.3, 0.4), 1):
        pace.decide(check(15 * number, 0.9, conflict), replace(START, conflict_accuracy=0.8), plan=PLAN, may_climb=False)
        assert pace.ended is None, number
        assert pace.rollbacks == 0
    pace.decide(check(75, 0.9, 0.4), replace(START, conflict_accuracy=0.8), plan=PLAN, may_climb=False)
    assert pace.ended is not None or pace.rollbacks == 1, "it no longer comes back"


def test_the_best_of_front_and_path_is_chosen_and_of_equals_what_has_learnt_most():
    front = ParetoFront()
    module = nn.Linear(1, 1)
    front.add(START, module)
    front.add(check(20, 0.8, 0.8), module)
    nearer = check(20, 0.9, 0.8, share=0.5)
    assert choose(front, [nearer]) is nearer
    assert choose(front, [check(20, 0.8, 0.8, share=0.5)]).share == 1.0
    assert front.state_of(nearer, {name: t * 0 for name, t in module.state_dict().items()})["weight"] == pytest.approx(
        module.weight.detach() / 2
    )


# What was forgotten -----------------------------------------------------------------------------------------------


def test_the_interval_of_a_change_is_agresti_and_min_s():
    # 8 lost and 2 won of 100: (2.5 - 8.5) / 102 = -0.0588, deviation sqrt(11 / 102 - 0.0588^2) / sqrt(102) = 0.0320.
    low, high = change_interval(8, 2, 100)
    assert (low, high) == (pytest.approx(-0.1215, abs=2e-4), pytest.approx(0.0038, abs=2e-4))


def forgot(lost: int, won: int, neutral_lost: int, neutral_won: int) -> tuple[ValidationMetrics, ValidationMetrics]:
    before = check(0, 0.88, 0.6, 0.4, neutral=(0.87, 0, 0))
    change, neutral = (won - lost) / 100, (neutral_won - neutral_lost) / 100
    after = check(
        25,
        0.88 + change,
        0.8,
        0.1,
        lost=lost,
        won=won,
        neutral=(0.87 + neutral, neutral_lost, neutral_won),
        lost_by_class={"shirt": 6, "hat": 2, "shoe": 2, "dress": 1},
    )
    return before, after


def test_a_gain_that_was_paid_for_with_other_knowledge_is_mixed_and_names_the_classes():
    found = judge(*forgot(14, 2, 14, 2), held_out=True)
    assert found.name == "mixed"
    assert (
        "other things were forgotten (accuracy on the 100 validation images as they are changed by -0.12, 95 % interval"
        in (found.reason)
    )
    assert "lost most: shirt (6), hat (2), shoe (2))" in found.reason
    assert "Take weights nearer to the given ones" in found.reason


def test_what_is_lost_by_chance_or_was_the_shortcut_s_gift_is_no_forgetting():
    assert judge(*forgot(3, 1, 3, 1), held_out=True).name == "improved"
    # With the painted places refilled nothing was lost: what fell as they are is what the shortcut gave.
    assert judge(*forgot(14, 2, 2, 14), held_out=True).name == "improved"


def test_a_verdict_says_where_it_was_not_measured_what_was_forgotten():
    before, after = forgot(14, 2, 14, 2)
    said = "Whether other things were forgotten was not measured, because it was stopped."
    assert said in judge(before, replace(after, neutral=None), held_out=True).reason
    assert said not in judge(before, after, held_out=True).reason
    # Nothing fell beyond chance, or it cannot be measured with these masks.
    few = replace(forgot(3, 1, 3, 1)[1], neutral=None)
    assert said not in judge(before, few, held_out=True).reason
    assert said not in judge(replace(before, neutral=None), replace(after, neutral=None), held_out=True).reason


def test_plain_accuracy_counts_more_where_the_shortcut_does_not_help():
    helped, idle = check(5, 0.8, 0.5, 0.2, plain_weight=0.5), check(5, 0.8, 0.5, 0.2, plain_weight=1.5)
    assert helped.score == pytest.approx(0.5 + 0.4 - 0.05)
    assert idle.score == pytest.approx(0.5 + 1.2 - 0.05)


def test_weights_that_were_thrown_away_are_never_called_no_effect():
    start = check(0, 0.9, 0.3, 0.6)
    assert judge(start, start, held_out=True).name == "failed"
    thrown = judge(start, start, held_out=True, troubles=["The loss is not a number any more"])
    assert thrown.name == "failed"
    assert thrown.reason.startswith(
        "The retune went astray once (the loss is not a number any more), so its weights were thrown away and the model is "
        "as it was; try a learning rate ten times smaller, or leave it open."
    )
    # A model that hardly used it and is given back as it was is another matter.
    unused = replace(check(0, 0.9, 0.88, 0.02), held_out=RightReasons(10, 0.9, 0.9, 0.02, 0.5))
    assert judge(unused, unused, held_out=True).name == "no effect"
    went_on = replace(start, iteration=25, conflict_accuracy=0.85, conflict_flip_rate=0.02)
    assert "On the way weights were thrown away once: the loss is not a number any more." in (
        judge(start, went_on, held_out=True, troubles=["The loss is not a number any more"]).reason
    )


@pytest.mark.parametrize(("neutral", "looked_at"), [((0.7, 5, 4), (0.75, 0.5, 0.25)), ((0.7, 4, 4), (0.5,))])
def test_weights_between_are_looked_at_more_closely_where_something_was_lost(dataset, monkeypatch, neutral, looked_at):
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    given = Classifier(module, dataset.class_names, default_preprocessing(dataset), "1", "tests:plain")
    config = RetuneConfig(iterations=2, check_every=1, learning_rate=1e-3)
    run = run_of(given, dataset, known(dataset, count=5), config)
    run.begin()
    for iteration in (1, 2):
        run.step()
        run.iteration = iteration
    best = replace(run.check(2), neutral=neutral, conflict_probability=1.0, probability=1.0, probability_shift=0.0)
    run.front.add(best, run.tuned.module)
    monkeypatch.setattr(RetuneRun, "relearns", False)
    list(walk(run, "done"))
    assert tuple(each.share for each in run.path) == looked_at
