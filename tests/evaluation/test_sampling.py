"""What measuring costs in passes through the network, which images are drawn, and how that is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from core_builders import hand_classifier, plain, small_gap, stripes
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.evaluation import KeptPredictions, compare, compare_models, evaluate, rate_interval
from napari_cam_feedback.evaluation.sampling import MIN_MASKED, draw, masked_limit, quick_limits
from napari_cam_feedback.models import Classifier
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


class Tiny(nn.Module):
    """Looks at large images for next to nothing: every 16th pixel, one filter, two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1, stride=16)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.features(x)).flatten(1))


def large(images: int, *, splits: tuple[str, ...] = ("test",)) -> tuple[Classifier, ArrayDataset]:
    """Images of 224 x 224 pixels, all of them masked, and a classifier of theirs."""
    pictures = np.zeros((images, 224, 224), np.uint8)
    pictures[::2] = 200
    labels, mask = np.arange(images) % 2, np.zeros((images, 224, 224), bool)
    mask[:, :40, :40] = True
    dataset = ArrayDataset(
        dict.fromkeys(splits, pictures), dict.fromkeys(splits, labels), ("a", "b"), dict.fromkeys(splits, mask)
    )
    torch.manual_seed(0)
    return Classifier(Tiny(), ("a", "b"), plain(224, 224), "features", "tiny"), dataset


@contextmanager
def counting(*classifiers: Classifier) -> Iterator[list[int]]:
    """Count the images that go through the networks."""
    counts: list[int] = []
    handles = [
        each.module.register_forward_hook(lambda module, inputs, output: counts.append(len(inputs[0])))
        for each in classifiers
    ]
    yield counts
    for handle in handles:
        handle.remove()


def test_evaluating_large_images_with_masks_everywhere_costs_at_most_two_and_a_half_looks_at_each():
    classifier, dataset = large(240)
    classifier.head  # noqa: B018  found once for a classifier, with two random images
    with counting(classifier) as passes:
        found = evaluate(classifier, dataset).splits["test"]
    assert sum(passes) <= 2.5 * 240
    assert MIN_MASKED <= found.right_reasons.n < found.masked == 240
    assert found.n == 240
    with counting(classifier) as passes:
        everything = evaluate(classifier, dataset, max_masked=len(dataset)).splits["test"]
    assert sum(passes) == 13 * 240
    assert everything.right_reasons.n == 240


@pytest.mark.parametrize(
    ("images", "size", "limit"),
    [
        (1000, (32, 32), 200),  # small images cost little, so as many as there may be
        (20, (72, 72), 200),
        (700, (224, 224), 80),  # 80 x 13 passes are 1.5 for each of the 700 images
        (10_000, (224, 224), 200),
        (100, (224, 224), 25),  # enough to say something
        (100, (512, 512), MIN_MASKED),
    ],
)
def test_how_many_masked_images_are_refilled_depends_on_pixels_and_never_on_a_clock(images, size, limit):
    assert masked_limit(images, size) == limit


def test_a_quick_comparison_of_small_images_measures_all_of_them():
    images, masked = {"train": 700, "val": 200, "test": 300}, {"train": 50, "val": 0, "test": 300}
    assert quick_limits(images, masked, (32, 32)) == (images, {"train": 50, "val": 0, "test": 200})


def test_a_quick_comparison_of_large_images_looks_most_at_the_test_and_refills_masked_images_of_that_alone():
    images, masked = {"train": 700, "val": 200, "test": 224}, {"train": 20, "val": 0, "test": 224}
    some, refilled = quick_limits(images, masked, (224, 224))
    assert refilled == {"train": 0, "val": 0, "test": 12}
    assert some["test"] > 2 * some["train"] >= 2 * 32
    assert some["train"] == pytest.approx(some["val"], abs=2)
    assert sum(some.values()) + 13 * 12 <= 350
    # Painted images of the training are all that there is to refill.
    assert quick_limits(images, {"train": 20, "val": 0, "test": 0}, (224, 224))[1] == {"train": 12, "val": 0, "test": 0}
    # What one split has no use for goes to the others.
    assert quick_limits({"train": 700, "test": 40}, {"train": 0, "test": 0}, (224, 224))[0] == {"train": 200, "test": 40}


def test_a_comparison_s_sample_is_said_and_is_the_same_for_both():
    classifier, dataset = large(300, splits=("train", "test"))
    other, _ = large(2)
    with torch.no_grad():
        other.module.head.bias.copy_(torch.tensor([9.0, 0.0]))
    with counting(classifier, other) as passes:
        found = compare(classifier, other, dataset, quick=True, detail=True)
    # The head of each is found with two random images.
    assert sum(passes) <= 2 * (500 + 2)
    before, after = found.before.splits["test"], found.after.splits["test"]
    assert before.of == after.of == 300
    assert before.n < 300
    assert (before.predictions.indices == after.predictions.indices).all()
    assert (before.items.indices == after.items.indices).all()
    train = found.before.splits["train"]
    assert found.before.sample_sentence() == (
        f"Measured on a sample: train {train.n} of 300 images, test {before.n} of 300 images. "
        f"Of the masked images, refilled: train 0 of 300, test {before.items.indices.size} of 300."
    )
    assert before.to_json()["of"] == 300
    rows = {row.measure: row for row in found.rows if row.split == "test"}
    assert rows["accuracy"].interval is not None
    assert found.to_json()["before"]["splits"]["test"]["n"] == before.n


def test_where_all_was_measured_nothing_is_said_of_a_sample():
    assert evaluate(small_gap(("across", "along")), stripes({"test": 8})).sample_sentence() == ""


def test_a_sample_has_each_class_by_its_share_and_is_the_same_for_the_same_seed():
    indices, labels = np.arange(100, 400), np.repeat([0, 1, 2], [200, 90, 10])
    found = draw(indices, labels, 60, seed=3)
    assert len(found) == 60
    assert np.bincount(labels[found - 100]).tolist() == pytest.approx([40, 18, 2], abs=1)
    assert (np.diff(found) > 0).all()
    assert (draw(indices, labels, 60, seed=3) == found).all()
    assert (draw(indices, labels, 60, seed=4) != found).any()
    assert draw(indices, labels, 300, seed=0) is indices


def test_a_rate_that_all_images_agree_on_is_as_sure_as_their_number_says():
    # Wilson: of 0 of n the upper end is z^2 / (n + z^2).
    found = rate_interval(np.zeros(24))
    assert (found.low, found.high) == (0.0, pytest.approx(3.8415 / (24 + 3.8415), abs=1e-4))
    assert rate_interval(np.ones(24)).low == pytest.approx(24 / (24 + 3.8415), abs=1e-4)
    assert rate_interval(np.zeros(2000)).high < 0.002
    # Agreeing on something in between, as with one refill of five, tells nothing of the spread.
    assert rate_interval(np.full(24, 0.2)) is None
    assert rate_interval(np.array([])) is None


def test_an_evaluation_s_json_says_of_how_many_and_how_sure():
    classifier, dataset = large(240)
    content = evaluate(classifier, dataset).to_json()["splits"]["test"]
    reasons = content["right_reasons"]
    assert (content["n"], content["of"], reasons["n"], reasons["of"]) == (240, 240, 27, 240)
    low, high = reasons["intervals"]["flip_rate"]
    assert 0 <= low <= reasons["flip_rate"] <= high <= 1
    assert {"masked_accuracy", "gap", "swap_flip_rate", "random_flip_rate"} <= set(reasons["intervals"])
    low, high = content["accuracy_interval"]
    assert low <= content["accuracy"] <= high


def test_a_model_measured_before_does_not_look_at_the_same_images_again():
    before, after, later = (small_gap(("across", "along"), seed=seed) for seed in range(3))
    dataset, kept = stripes({"val": 8, "test": 8}), KeptPredictions()
    first = compare(before, after, dataset, masks={}, kept=kept)
    with counting(before, after) as passes:
        again = compare(after, before, dataset, masks={}, kept=kept)
    assert not passes
    assert [row.before for row in again.rows] == [row.after for row in first.rows]
    # Another network, other images, or another dataset are looked at.
    with counting(later, before) as passes:
        compare(before, later, dataset, masks={}, kept=kept)
    assert sum(passes) == 16
    with counting(before, after) as passes:
        compare(before, after, stripes({"test": 8}), masks={}, kept=kept)
    assert sum(passes) == 16


def test_each_image_is_read_once_however_many_models_are_compared(monkeypatch):
    dataset, read = stripes({"val": 6, "test": 6}), []
    real = type(dataset).read
    monkeypatch.setattr(type(dataset), "read", lambda self, index: read.append(index) or real(self, index))
    compare_models({name: small_gap(("across", "along"), seed=n) for n, name in enumerate("abc")}, dataset)
    assert sorted(read) == list(range(12))


class Viewing(nn.Module):
    """Flattens its maps by `Tensor.view`, which needs the channels to come first in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4 * 6 * 6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        return self.head(x.view(len(x), -1))


def test_logits_are_those_of_the_module_whatever_order_it_needs_its_inputs_in():
    inputs = torch.rand(4, 3, 8, 8)
    for module in (Viewing(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))):
        layer = "features" if isinstance(module, Viewing) else "0"
        classifier = Classifier(module, ("a", "b"), plain(8, 8, 3), layer, "mine")
        strides = [weight.stride() for weight in module.parameters()]
        with torch.inference_mode():
            expected = module(inputs)
        torch.testing.assert_close(classifier.logits(inputs), expected)
        torch.testing.assert_close(classifier.logits(inputs), expected)
        assert [weight.stride() for weight in module.parameters()] == strides
    assert hand_classifier().logits(torch.rand(3, 1, 2, 2)).shape == (3, 2)
