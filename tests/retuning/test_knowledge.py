"""A network that knows hardly anything but the shortcut learns its classes anew; one that knows more keeps what it knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core_builders import TAG, known, stripes
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.evaluation import RightReasons
from napari_cam_feedback.models import Classifier, default_preprocessing
from napari_cam_feedback.models.parallel import one_process
from napari_cam_feedback.monitor import QUIET
from napari_cam_feedback.retuning import RetuneConfig, ValidationMetrics, retune, run_to_end
from napari_cam_feedback.retuning.judging.metrics import knows_little_else
from napari_cam_feedback.retuning.run import RetuneRun
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


def start(plain: float, neutral: float | None) -> ValidationMetrics:
    measured = None if neutral is None else (neutral, 0, 0)
    return ValidationMetrics(0, 100, plain, 0.1, 0.9, RightReasons(10, 0.9, 0.5, 0.4, 0.5), neutral=measured)


@pytest.mark.parametrize(
    ("plain", "neutral", "classes", "little"),
    [
        # By chance one of ten is right: 0.9 beyond it, of which a quarter is 0.225.
        (1.0, 0.1, 10, True),
        (1.0, 0.32, 10, True),
        (1.0, 0.33, 10, False),
        (1.0, 0.6, 2, True),
        (1.0, 0.64, 2, False),
        (0.9, 0.76, 10, False),
        (0.44, 0.40, 2, False),
        # Nobody measured it, or there is nothing to tell apart.
        (1.0, None, 10, False),
        (1.0, 0.0, 1, False),
    ],
)
def test_little_is_left_where_a_quarter_of_what_goes_beyond_chance_is_not(plain, neutral, classes, little):
    assert knows_little_else(start(plain, neutral), classes) == little


class OnlyTheTag(nn.Module):
    """Tells the class by the tag alone, without batch norm; its convolution could learn the stripes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU())
        self.head = nn.Linear(9, 2)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.zero_()
            self.head.weight[:, 8] = torch.tensor([-3.0, 3.0])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        tag = inputs[:, :, :TAG, :TAG].mean((1, 2, 3))[:, None]
        return self.head(torch.cat([self.features(inputs).mean((2, 3)), tag], 1))


@pytest.fixture(scope="module")
def dataset() -> ArrayDataset:
    return stripes({"train": 40, "val": 24, "test": 16})


def classifier_of(dataset: ArrayDataset) -> Classifier:
    torch.manual_seed(0)
    return Classifier(OnlyTheTag(), dataset.class_names, default_preprocessing(dataset), "features", "tests:OnlyTheTag")


def run_of(classifier: Classifier, dataset: ArrayDataset, config: RetuneConfig) -> RetuneRun:
    fabric = one_process(classifier.device)
    return RetuneRun(classifier, dataset, known(dataset, count=10), config, QUIET, lambda _: None, fabric, False)


def test_such_a_network_has_labels_as_its_target_and_may_take_large_steps_and_the_user_is_told(dataset):
    run = run_of(classifier_of(dataset), dataset, RetuneConfig())
    step = run.begin()
    assert step.check is not None
    assert step.check.accuracy == 1
    assert run.relearns
    assert run.teacher is None
    assert run.may_climb
    assert step.message is not None
    assert "it knows hardly anything else and must learn the classes anew" in step.message


def test_a_network_that_knows_more_keeps_its_own_answers(dataset, monkeypatch):
    run = run_of(classifier_of(dataset), dataset, RetuneConfig())
    measured = run.validator.start
    monkeypatch.setattr(run.validator, "start", lambda tuned: replace(measured(tuned), neutral=(0.9, 1, 1)))
    step = run.begin()
    assert not run.relearns
    assert run.teacher is not None
    assert not run.may_climb
    assert "learn the classes anew" not in (step.message or "")


def test_a_run_that_is_resumed_decides_alike(dataset):
    states = []
    config = RetuneConfig(iterations=4, check_every=2, learning_rate=1e-3)
    masks = known(dataset, count=10)
    run_to_end(retune(classifier_of(dataset), dataset, masks, config, on_run_state=states.append))
    again = run_of(classifier_of(dataset), dataset, config)
    again.take_up(states[1])
    assert again.relearns
    assert again.teacher is None
