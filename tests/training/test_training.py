"""Training from scratch: it learns, it repeats, it stops, and it leaves the classifier it was given alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from core_builders import TAG, same_weights, small_gap, stripes
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import DataError, ModelError
from napari_cam_feedback.models import Classifier, Interrupted, build_classifier, default_preprocessing, interruptible
from napari_cam_feedback.monitor import QUIET, Callbacks
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training import TrainConfig, TrainStep, train_classifier
from napari_cam_feedback.training.augmentation import augment
from napari_cam_feedback.training.split import choose_split
from napari_cam_feedback.training.trainer import Measured, Trainer

nn = torch.nn


def untagged(counts: dict[str, int]) -> ArrayDataset:
    """Stripes across or along without a tag: trivially separable."""
    dataset = stripes(counts)
    images = {s: np.stack([dataset.read(int(i)) for i in dataset.indices(s)]) for s in counts}
    for pictures in images.values():
        pictures[:, :TAG, :TAG] = 120
    return ArrayDataset(images, {s: dataset.labels[dataset.indices(s)] for s in counts}, dataset.class_names)


def start(dataset: ArrayDataset) -> Classifier:
    return build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset))


def train(classifier: Classifier, dataset: ArrayDataset, **options) -> tuple[Classifier, list[TrainStep]]:
    """Run a training through; ``stop`` is handed on, everything else is the config."""
    stop = options.pop("stop", None)
    steps: list[TrainStep] = []
    training = train_classifier(classifier, dataset, TrainConfig(**options), stop=stop)
    while True:
        try:
            steps.append(next(training))
        except StopIteration as end:
            return end.value, steps


def judging(monkeypatch, measures: list[tuple[float, float]]) -> list[dict[str, torch.Tensor]]:
    """Let validation come to these accuracies and losses; return where the weights judged are kept."""
    left = iter(measures)
    kept: list[dict[str, torch.Tensor]] = []

    def validate(self: Trainer, monitor: object) -> Measured:
        kept.append(self.state())
        accuracy, loss = next(left)
        return Measured(loss, accuracy, 16)

    monkeypatch.setattr(Trainer, "validate", validate)
    return kept


@pytest.fixture(scope="module")
def separable() -> ArrayDataset:
    return untagged({"train": 32, "val": 16})


@pytest.mark.lengthy
def test_it_learns_what_is_trivially_separable_and_says_how_it_went(separable):
    trained, steps = train(start(separable), separable, epochs=8, batch_size=8, learning_rate=3e-3)
    assert [step.epoch for step in steps] == list(range(1, 9))
    assert {step.epochs for step in steps} == {8}
    assert steps[-1].val_accuracy == 1.0
    assert steps[-1].train_accuracy > 0.9
    assert steps[-1].loss < steps[0].loss
    assert not any(child.training for child in trained.module.modules())
    assert not any(p.requires_grad or p.grad is not None for p in trained.module.parameters())
    assert trained.info["training"]["images"] == 32
    assert trained.info["training"]["config"]["epochs"] == 8
    assert trained.head is not None


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(separable):
    classifier = start(separable)
    one, _ = train(classifier, separable, epochs=2, batch_size=8, seed=3)
    torch.rand(5)  # the state of torch's own generator does not matter
    again, _ = train(classifier, separable, epochs=2, batch_size=8, seed=3)
    other, _ = train(classifier, separable, epochs=2, batch_size=8, seed=4)
    assert same_weights(one, again)
    assert not same_weights(one, other)


def test_the_classifier_given_is_not_changed(separable):
    classifier = start(separable)
    before = classifier.fingerprint()
    train(classifier, separable, epochs=1)
    assert classifier.fingerprint() == before
    assert not any(p.requires_grad for p in classifier.module.parameters())


def test_the_epoch_with_the_best_validation_accuracy_is_returned(separable, monkeypatch):
    kept = judging(monkeypatch, [(0.25, 1.0), (0.75, 1.0), (0.5, 0.1)])
    trained, steps = train(start(separable), separable, epochs=3, batch_size=8)
    assert [step.val_accuracy for step in steps] == [0.25, 0.75, 0.5]
    assert [step.best for step in steps] == [True, True, False]
    now = trained.module.state_dict()
    assert [all(torch.equal(now[k], epoch[k]) for k in now) for epoch in kept] == [False, True, False]
    assert trained.info["training"]["epoch"] == 2


def test_without_validation_images_the_last_epoch_is_returned():
    dataset = untagged({"train": 8})
    trained, steps = train(start(dataset), dataset, epochs=2, val_share=0)
    assert [(step.val_accuracy, step.val_loss) for step in steps] == [(None, None)] * 2
    assert trained.info["training"]["epoch"] == 2
    assert trained.info["training"]["validation"] is None


def test_without_a_split_val_one_image_in_five_of_each_class_is_kept_for_it_and_that_is_noted():
    dataset = untagged({"train": 40, "test": 4})
    trained, steps = train(start(dataset), dataset, epochs=1, seed=5)
    noted = trained.info["training"]
    assert noted["validation"] == {"share": 0.2, "seed": 5, "images": 8}
    assert noted["images"] == 32
    assert steps[0].val_accuracy in {n / 8 for n in range(9)}
    split = choose_split(dataset, noted["validation"]["share"], noted["validation"]["seed"])
    assert np.bincount(dataset.labels[split.validation]).tolist() == [4, 4]
    assert sorted([*split.train, *split.validation]) == dataset.indices("train").tolist()
    again = choose_split(dataset, 0.2, 5)
    assert again.validation.tolist() == split.validation.tolist()
    assert choose_split(dataset, 0.2, 6).validation.tolist() != split.validation.tolist()


def test_images_kept_for_validation_are_not_learnt_from(monkeypatch):
    dataset = untagged({"train": 20})
    learnt: list[int] = []
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, picked, inputs: learnt.extend(picked) or step(self, picked, inputs))
    train(start(dataset), dataset, epochs=3)
    split = choose_split(dataset)
    assert len(split.validation) == 4
    assert sorted(set(learnt)) == split.train.tolist()


def test_a_class_of_two_images_stays_in_train():
    dataset = ArrayDataset({"train": np.zeros((7, 4, 4), np.uint8)}, {"train": [0, 0, 0, 0, 0, 1, 1]}, ("a", "b"))
    split = choose_split(dataset)
    assert dataset.labels[split.validation].tolist() == [0]
    assert np.bincount(dataset.labels[split.train]).tolist() == [4, 2]


def test_validation_loss_is_the_mean_cross_entropy_and_training_goes_by_the_same_split(separable):
    trained, steps = train(start(separable), separable, epochs=1, batch_size=8)
    indices = separable.indices("val")
    inputs = torch.stack([trained.preprocessing.input(separable.read(int(i))) for i in indices])
    labels = torch.from_numpy(separable.labels[indices])
    expected = nn.functional.cross_entropy(trained.logits(inputs), labels)
    assert steps[0].val_loss == pytest.approx(float(expected), rel=1e-5)


def test_training_ends_when_neither_accuracy_nor_loss_gets_better_for_as_long_as_patience_lasts(separable, monkeypatch):
    # Epoch 3 has a lower loss only, which counts; epochs 4 and 5 are no better in anything.
    judging(monkeypatch, [(0.5, 1.0), (0.75, 0.9), (0.75, 0.8), (0.75, 0.8), (0.5, 0.9), (1.0, 0.1)])
    trained, steps = train(start(separable), separable, epochs=6, batch_size=16, patience=2)
    assert [step.epoch for step in steps] == [1, 2, 3, 4, 5]
    # Of equals the last.
    assert trained.info["training"]["epoch"] == 4


def test_the_learning_rate_falls_from_its_value_to_zero_along_a_cosine(separable):
    _, steps = train(start(separable), separable, epochs=4, batch_size=16, learning_rate=0.01)
    expected = [0.01 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert [step.learning_rate for step in steps] == pytest.approx(expected)


def test_dropout_draws_by_the_seed_alone():
    dataset = untagged({"train": 8, "val": 4})
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 2))
    classifier = Classifier(module, dataset.class_names, default_preprocessing(dataset), "2", "hand")
    one, _ = train(classifier, dataset, epochs=2, batch_size=4)
    before = torch.get_rng_state()
    torch.rand(7)
    again, _ = train(classifier, dataset, epochs=2, batch_size=4)
    assert same_weights(one, again)
    torch.set_rng_state(before)
    other, _ = train(classifier, dataset, epochs=2, batch_size=4, seed=1)
    assert not same_weights(one, other)


def test_augmented_images_are_moved_a_little_each_by_its_own_amount_and_repeatably():
    image = torch.zeros(1, 1, 32, 32)
    image[..., 12:20, 12:20] = 1
    batch = image.expand(6, -1, -1, -1)
    changed = augment(batch, torch.Generator().manual_seed(0))
    assert torch.equal(changed, augment(batch, torch.Generator().manual_seed(0)))
    assert len({tuple(each.flatten().tolist()) for each in changed}) == 6
    rows = torch.arange(32.0)
    for each in changed[:, 0]:
        weight = (each > each.mean()).float()
        centre = torch.stack([(weight.sum(1 - axis) * rows).sum() for axis in (0, 1)]) / weight.sum()
        # Shifted by at most 8 % of 32 pixels.
        assert float((centre - 15.5).abs().max()) < 3.1
        assert 40 < float(weight.sum()) < 100
    assert torch.equal(batch, image.expand(6, -1, -1, -1))
    mirrored = augment(batch, torch.Generator().manual_seed(3), mirror=True)
    assert mirrored.shape == batch.shape


def test_augmentation_changes_what_is_learnt_and_repeats_by_the_seed(separable):
    classifier = start(separable)
    plain, _ = train(classifier, separable, epochs=1, batch_size=8)
    one, _ = train(classifier, separable, epochs=1, batch_size=8, augment=True)
    again, _ = train(classifier, separable, epochs=1, batch_size=8, augment=True)
    assert same_weights(one, again)
    assert not same_weights(one, plain)


def test_frozen_parts_keep_weights_and_statistics(separable):
    classifier = start(separable)
    trained, _ = train(classifier, separable, epochs=1, batch_size=8, freeze=("features.0", "features.1"))
    before, after = classifier.module.state_dict(), trained.module.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(("features.0.", "features.1."))} == same


def test_progress_counts_the_images_of_an_epoch(separable):
    told: list[tuple[int, int]] = []
    config = TrainConfig(epochs=1, batch_size=12)
    for _ in train_classifier(start(separable), separable, config, progress=lambda *at: told.append(at)):
        pass
    assert told == [(12, 32), (24, 32), (32, 32)]


def test_a_stop_within_a_pass_ends_it_at_the_next_layer(separable):
    classifier = start(separable)
    ran: list[str] = []
    classifier.module.features[0].register_forward_hook(lambda *_: ran.append("first"))
    classifier.module.head.register_forward_hook(lambda *_: ran.append("last"))
    trained, steps = train(classifier, separable, epochs=3, batch_size=8, stop=lambda: bool(ran))
    assert ran == ["first"]
    assert [step.whole for step in steps] == [False]
    pairs = zip(trained.module.parameters(), classifier.module.parameters(), strict=True)
    assert all(torch.equal(after, before) for after, before in pairs)


def test_validation_images_without_a_label_do_not_count():
    separable = untagged({"train": 8, "val": 4})
    images = {s: np.stack([separable.read(int(i)) for i in separable.indices(s)]) for s in ("train", "val")}
    partly = ArrayDataset(images, {"train": [0, 1] * 4, "val": [0, 1, -1, -1]}, separable.class_names)
    whole = ArrayDataset(
        {"train": images["train"], "val": images["val"][:2]}, {"train": [0, 1] * 4, "val": [0, 1]}, separable.class_names
    )
    classifier = start(separable)
    _, steps = train(classifier, partly, epochs=2)
    _, expected = train(classifier, whole, epochs=2)
    assert [s.val_accuracy for s in steps] == [s.val_accuracy for s in expected]


def test_a_loss_that_becomes_nan_gives_a_sentence(separable):
    classifier = start(separable)
    with torch.no_grad():
        classifier.module.head.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"The loss became NaN; train again with a smaller learning rate\."):
        train(classifier, separable, epochs=2)


def test_stopping_ends_with_the_best_epoch_so_far(separable):
    stopped = [False]
    training = train_classifier(start(separable), separable, TrainConfig(epochs=50, batch_size=8), stop=lambda: stopped[0])
    next(training)
    second = next(training)
    assert second.epoch == 2
    stopped[0] = True
    with pytest.raises(StopIteration) as end:
        next(training)
    trained = end.value.value
    assert trained.info["training"]["epoch"] in (1, 2)
    assert not any(child.training for child in trained.module.modules())


def test_stopping_in_an_epoch_takes_no_further_step_and_reads_no_further_image(separable, monkeypatch):
    read: list[int] = []
    original = ArrayDataset.read

    def reading(self, index: int):
        read.append(index)
        return original(self, index)

    classifier = start(separable)
    monkeypatch.setattr(ArrayDataset, "read", reading)
    trained, steps = train(classifier, separable, epochs=5, batch_size=4, stop=lambda: len(read) >= 8)
    # The second batch of four was read when the question was asked; the other 24 training images were not.
    assert len(read) == 8
    assert len(steps) == 1
    assert not same_weights(trained, classifier)


def test_stopping_before_the_first_step_returns_the_weights_as_they_were(separable):
    classifier = start(separable)
    trained, _ = train(classifier, separable, epochs=5, stop=lambda: True)
    assert same_weights(trained, classifier)


def test_too_few_images_give_a_sentence():
    dataset = ArrayDataset({"train": np.zeros((3, 16, 16), np.uint8)}, {"train": [0, -1, -1]}, ("a", "b"))
    with pytest.raises(DataError, match=r"fewer than two labelled images in the split train; add images to train on"):
        train(small_gap(("a", "b")), dataset)


def test_images_that_cannot_be_read_are_left_out_and_if_none_can_there_is_a_sentence(separable, monkeypatch):
    original = ArrayDataset.read
    broken = {1, 3}

    def reading(self, index: int):
        if index in broken:
            raise DataError(f"image {index} is broken; restore or remove it.")
        return original(self, index)

    classifier = start(separable)
    monkeypatch.setattr(ArrayDataset, "read", reading)
    _, steps = train(classifier, separable, epochs=1, batch_size=8)
    assert np.isfinite(steps[0].loss)
    broken.update(range(len(separable)))
    with pytest.raises(DataError, match=r"No training image could be read: image \d+ is broken; restore or remove it\."):
        train(classifier, separable, epochs=1)


def test_a_dataset_of_other_classes_or_without_a_split_train_gives_a_sentence(separable):
    with pytest.raises(ModelError, match=r"The model knows 3 classes"):
        train(small_gap(), separable)
    dataset = ArrayDataset({"test": np.zeros((2, 16, 16), np.uint8)}, {"test": [0, 1]}, ("a", "b"))
    with pytest.raises(DataError, match=r'no split "train", only test'):
        train(small_gap(("a", "b")), dataset)


@pytest.mark.parametrize("wrong", [{"epochs": 0, "head_epochs": 0}, {"learning_rate": 0.0}, {"batch_size": 1}, {"epoch": 3}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        TrainConfig(**wrong)


def test_default_preprocessing_keeps_small_images_and_takes_mean_and_deviation_of_the_training_pixels():
    images = np.zeros((2, 4, 6), np.uint8)
    images[1] = 255
    dataset = ArrayDataset({"train": images, "test": images + 1}, {"train": [0, 1]}, ("a", "b"))
    found = default_preprocessing(dataset)
    assert (found.size, found.channels, found.mean) == ((4, 6), 1, (0.5,))
    # Half of the 48 pixels 0, half 1: deviation 0.5 * sqrt(48 / 47).
    assert found.std == (round(0.5 * (48 / 47) ** 0.5, 4),)


def test_default_preprocessing_of_constant_images_does_not_divide_by_zero():
    dataset = ArrayDataset({"train": np.full((2, 4, 4), 51, np.uint8)}, {"train": [0, 1]}, ("a", "b"))
    assert default_preprocessing(dataset).mean == (0.2,)
    assert default_preprocessing(dataset).std == (0.001,)


def test_default_preprocessing_stretches_large_images_and_sees_colour():
    images = np.zeros((2, 100, 120, 3), np.uint8)
    images[..., 0] = 255
    found = default_preprocessing(ArrayDataset({"train": images}, {"train": [0, 1]}, ("a", "b")))
    assert (found.size, found.channels, found.mean) == ((224, 224), 3, (1.0, 0.0, 0.0))


class Counts(nn.Module):
    """A linear layer that notes its forward and its backward passes, and lets a test stop in one of them."""

    ran: list[str]

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.layer = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Counts.ran.append(f"{self.name} forward")
        out = self.layer(x)
        if out.requires_grad:
            out.register_hook(lambda _: Counts.ran.append(f"{self.name} backward"))
        return out


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("b forward", ["a forward", "b forward"]),
        (
            "b backward",
            ["a forward", "b forward", "c forward", "d forward", "d backward", "c backward", "b backward"],
        ),
    ],
)
def test_a_stop_in_a_pass_ends_it_before_the_next_layer_and_leaves_no_hook(last, expected):
    Counts.ran = []
    module = nn.Sequential(*(Counts(name) for name in "abcd"))
    with pytest.raises(Interrupted), interruptible(module, Callbacks(stop=lambda: last in Counts.ran)):
        module(torch.ones(1, 2)).sum().backward()
    assert Counts.ran == expected
    assert not any(child._forward_hooks for child in module.modules())


def test_without_a_stop_an_interruptible_pass_is_an_ordinary_one():
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    module(torch.ones(1, 2)).sum().backward()
    expected = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    with interruptible(module, QUIET):
        module(torch.ones(1, 2)).sum().backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(module.parameters(), expected, strict=True))
