"""What a network's outputs show by themselves: a sigmoid at the end, a variance below zero, an answer that changes."""

from __future__ import annotations

import pytest

from core_builders import plain
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models import Classifier
from napari_cam_feedback.models.first_look.outputs import nan_remark, random_remark, sigmoid_remark
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


def classifier(*after: nn.Module) -> Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), *after
    )
    return Classifier(module, ("a", "b", "c"), plain(8, 8), "0", "net")


def test_a_sigmoid_for_each_class_at_the_end_is_said():
    images, network = torch.rand(8, 1, 8, 8), classifier(nn.Sigmoid())
    remark = sigmoid_remark(network, images, network.logits(images))
    assert remark is not None
    assert "seems to end in a sigmoid" in remark.sentence


def test_small_logits_between_0_and_1_are_no_sigmoid():
    network = classifier()
    with torch.no_grad():
        network.module[4].bias.fill_(0.5)
        network.module[4].weight.mul_(0.01)
    images = torch.rand(8, 1, 8, 8)
    logits = network.logits(images)
    assert 0 < float(logits.min()) <= float(logits.max()) < 1
    assert sigmoid_remark(network, images, logits) is None


def test_a_negative_variance_is_named_as_the_cause_and_no_accuracy_is_made_of_it():
    network = classifier()
    network.module[1].running_var[2] = -1.0
    with pytest.raises(ModelError, match=r"since the variance in 1\.running_var is negative, which no data have"):
        nan_remark(network, network.logits(torch.rand(4, 1, 8, 8)))


def test_an_answer_that_depends_on_the_other_images_is_told_from_one_that_is_drawn_at_random():
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9)[:, None, None, None]
    network = classifier()
    assert random_remark(network, images[:4], network.logits(images)[:4]) is None
    network.module[1].track_running_stats = False
    network.module[1].running_mean = network.module[1].running_var = None
    remark = random_remark(network, images[:4], network.logits(images)[:4])
    assert remark is not None
    assert "depends on the other images of the batch" in remark.sentence
    noisy = classifier(Noise())
    remark = random_remark(noisy, images[:4], noisy.logits(images)[:4])
    assert remark is not None
    assert "drawn at random, such as dropout that stays on" in remark.sentence


class Noise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, 0.5, training=True)
