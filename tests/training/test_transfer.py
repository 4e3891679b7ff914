"""Transfer learning: what is dropped, what is new, what learns in which phase, and that the result stands on its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from torchvision import models as theirs

from core_builders import known, plain, same_weights, small_gap, stripes
from model_files import saved
from napari_cam_feedback.data import ArrayDataset, Preprocessing
from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.explanations import explain
from napari_cam_feedback.models import Classifier, ModelOptions, build_classifier, load_classifier, save_classifier
from napari_cam_feedback.models.files.exporting import export_classifier
from napari_cam_feedback.retuning import RetuneConfig, retune, run_to_end
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training import TrainConfig, TrainStep, train_classifier, transfer
from napari_cam_feedback.training.config import make_train_config
from napari_cam_feedback.training.head_inputs import HeadInputs
from napari_cam_feedback.training.trainer import Trainer
from napari_cam_feedback.training.transfer import backbone_source, load_backbone

nn = torch.nn
BATCH_NORM = nn.modules.batchnorm._BatchNorm
RGB = Preprocessing(size=(64, 64), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def images() -> ArrayDataset:
    return stripes({"train": 16, "val": 8})


def calibrated(classifier: Classifier) -> Classifier:
    """Give batch norm statistics that are not those of a new network, as training would."""
    generator = torch.Generator().manual_seed(1)
    for layer in classifier.module.modules():
        if isinstance(layer, BATCH_NORM):
            layer.running_mean.uniform_(-0.1, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return classifier


def backbone() -> Classifier:
    # Of another seed than the new head, or they would begin with the same numbers.
    return calibrated(small_gap(("p", "q", "r"), seed=9))


def run(classifier: Classifier, dataset: ArrayDataset, **options) -> tuple[Classifier, list[TrainStep]]:
    steps: list[TrainStep] = []
    more = {name: options.pop(name) for name in ("head", "stop", "cache") if name in options}
    training = train_classifier(classifier, dataset, TrainConfig(**options), **more)
    while True:
        try:
            steps.append(next(training))
        except StopIteration as end:
            return end.value, steps


def statistics(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items() if "running" in name or "num_batches" in name}


# The new network -----------------------------------------------------------------------------------------


def test_the_new_network_has_the_old_weights_below_a_new_head_for_the_new_classes():
    old = backbone()
    made = transfer(old, ("across", "along"))
    before, after = old.module.state_dict(), made.classifier.module.state_dict()
    assert made.head == "head"
    assert made.classifier.class_names == ("across", "along")
    assert made.classifier.preprocessing == old.preprocessing
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("head"))
    assert after["head.weight"].shape == (2, 64)
    assert not torch.equal(after["head.weight"], before["head.weight"][:2])
    assert same_weights(made.classifier, transfer(old, ("across", "along")).classifier)
    other = transfer(old, ("across", "along"), seed=1).classifier.module.state_dict()
    assert not torch.equal(other["head.weight"], after["head.weight"])


def test_the_network_it_starts_from_is_not_changed(images):
    old = backbone()
    before = old.fingerprint()
    made = transfer(old, images.class_names)
    run(made.classifier, images, head=made.head, epochs=1, head_epochs=1, batch_size=8)
    assert old.fingerprint() == before


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("name", "arch", "head"),
    [
        ("shufflenet_v2_x0_5", "torchvision:shufflenet_v2_x0_5", "fc"),
        ("squeezenet1_1", "gap:features:torchvision:squeezenet1_1", "head"),
    ],
)
def test_a_head_of_another_kind_is_replaced_by_pooling_and_a_linear_layer_that_cam_explains(name, arch, head, tmp_path):
    old = build_classifier(f"torchvision:{name}", tuple("abcde"), RGB)
    # Without a pass in training mode, new networks hardly tell two images apart.
    old.module.train()
    with torch.no_grad():
        old.module(torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    old.module.eval()
    made = transfer(old, ("x", "y", "z"))
    classifier = made.classifier
    assert (classifier.arch, made.head) == (arch, head)
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    found = classifier.head
    assert found is not None
    assert found.name == head
    logits, activations = classifier.forward_with_activations(inputs)
    assert torch.allclose(activations.mean((2, 3)) @ found.weight.T + found.bias, logits, atol=1e-5)
    # The maps are those of the old network.
    _, theirs_ = old.with_layer("conv5" if head == "fc" else "features").forward_with_activations(inputs)
    assert torch.equal(activations, theirs_)
    save_classifier(classifier, tmp_path / "m.safetensors")
    loaded = load_classifier(tmp_path / "m.safetensors", device="cpu")
    assert loaded.arch == arch
    # The channels of a pixel may lie together in one of them.
    assert torch.allclose(loaded.logits(inputs), logits, atol=1e-5)


def test_a_network_without_a_part_that_makes_maps_gets_a_new_last_layer():
    class Flat(nn.Module):
        def __init__(self, num_classes: int = 3) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.ReLU())
            self.last = nn.Linear(8, num_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.body(x))

    old = Classifier(Flat(), ("a", "b", "c"), plain(16, 16), "body.1", "small-gap")
    # small-gap stands for an architecture that makes another network than the weights are from.
    with pytest.raises(ModelError, match=r"small-gap makes no network for 2 classes; let its function take num_classes"):
        transfer(old, ("x", "y"))


FACTORY = """
import torch
class Flat(torch.nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 8), torch.nn.ReLU())
        self.last = torch.nn.Linear(8, num_classes)
    def forward(self, x):
        return self.last(self.body(x))
def fixed():
    return Flat(3)
"""


def test_a_network_of_the_persons_own_code_gets_a_new_last_layer_if_it_can_be_made_for_other_classes(tmp_path):
    (tmp_path / "net.py").write_text(FACTORY)
    arch = f"{tmp_path / 'net.py'}:Flat"
    old = build_classifier(arch, ("a", "b", "c"), plain(16, 16), trust=True)
    made = transfer(old, ("x", "y"), trust=True)
    assert (made.head, made.classifier.arch) == ("last", arch)
    assert torch.equal(made.classifier.module.body[1].weight, old.module.body[1].weight)
    old.arch = f"{tmp_path / 'net.py'}:fixed"
    with pytest.raises(ModelError, match=r"net.py:fixed makes no network for 2 classes; let its function take num_classes"):
        transfer(old, ("x", "y"), trust=True)


def test_a_single_class_gives_a_sentence():
    with pytest.raises(ModelError, match=r"at least two classes, not 1; add images of another class"):
        transfer(backbone(), ("x",))


# What to start from ----------------------------------------------------------------------------------------


@pytest.mark.lengthy
def test_weights_of_others_need_no_class_names(tmp_path):
    torch.manual_seed(0)
    module = theirs.shufflenet_v2_x0_5(num_classes=7).eval()
    file = saved(tmp_path / "w.pth", {"state_dict": module.state_dict()})
    options = ModelOptions(arch="torchvision:shufflenet_v2_x0_5", size=(64, 64), class_names=("across", "along"))
    found = load_backbone(backbone_source(file, options), options, device="cpu")
    assert found.num_classes == 7
    inputs = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(found.logits(inputs), module(inputs), atol=1e-5)
    with pytest.raises(ModelError, match=r"w.pth does not say its architecture; its weights fit torchvision:shufflenet"):
        load_backbone(backbone_source(file))


def test_torchvisions_weights_can_be_named_beside_the_architecture():
    options = ModelOptions(arch="torchvision:resnet18")
    for text in ("DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1", "torchvision:resnet18"):
        source = backbone_source(text, options)
        assert source.pretrained is not None
        assert source.pretrained.weights == "ResNet18_Weights.IMAGENET1K_V1"
    with pytest.raises(ConfigError, match=r"torchvision:resnet18 has no weights 'imagenet'; choose IMAGENET1K_V1"):
        backbone_source("imagenet", options)
    with pytest.raises(ModelError, match=r"There is no model file DEFAULT; check the path"):
        backbone_source("DEFAULT")


def test_a_saved_program_cannot_be_started_from(tmp_path):
    file = tmp_path / "p.pt2"
    export_classifier(small_gap(), file)
    with pytest.raises(ConfigError, match=r"p.pt2 is a saved program, whose head cannot be replaced; start from a file of"):
        backbone_source(file)


# The two phases --------------------------------------------------------------------------------------------


def test_in_the_first_phase_all_but_the_head_stays_bit_for_bit_as_it_was(images):
    made = transfer(backbone(), images.class_names)
    trained, steps = run(made.classifier, images, head=made.head, epochs=0, head_epochs=4, batch_size=8, learning_rate=0.01)
    before, after = made.classifier.module.state_dict(), trained.module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}
    assert [step.phase for step in steps] == ["head"] * 4
    assert steps[-1].loss < steps[0].loss


def test_in_the_second_phase_all_weights_change_and_no_statistic_of_batch_norm_ever_does(images, monkeypatch):
    made = transfer(backbone(), images.class_names)
    fixed = statistics(made.classifier.module)
    assert len(fixed) == 12
    seen: list[str] = []
    step = Trainer._step

    def watched(self: Trainer, *batch):
        found = step(self, *batch)
        assert all(torch.equal(fixed[name], value) for name, value in statistics(self._module).items())
        seen.append(self._phase.name)
        return found

    monkeypatch.setattr(Trainer, "_step", watched)
    trained, steps = run(made.classifier, images, head=made.head, epochs=2, head_epochs=1, batch_size=8)
    assert seen == ["head"] * 2 + ["fine-tune"] * 4
    assert [step.phase for step in steps] == ["head", "fine-tune", "fine-tune"]
    assert all(torch.equal(fixed[name], value) for name, value in statistics(trained.module).items())
    before, after = made.classifier.module.state_dict(), trained.module.state_dict()
    assert {name for name in before if torch.equal(before[name], after[name])} == set(fixed)


def test_without_freezing_the_statistics_do_change(images):
    made = transfer(backbone(), images.class_names)
    fixed = statistics(made.classifier.module)
    trained, _ = run(made.classifier, images, head=made.head, epochs=1, head_epochs=1, freeze_batch_norm=False, batch_size=8)
    assert not any(torch.equal(fixed[name], value) for name, value in statistics(trained.module).items())


def test_fine_tuning_starts_at_a_tenth_of_the_learning_rate(images):
    made = transfer(backbone(), images.class_names)
    _, steps = run(made.classifier, images, head=made.head, epochs=2, head_epochs=2, learning_rate=0.02)
    half = (1 + math.cos(math.pi / 2)) / 2
    assert [step.learning_rate for step in steps] == pytest.approx([0.02, 0.02 * half, 0.002, 0.002 * half])
    assert [(step.epoch, step.epochs) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_head_learns_for_five_epochs_where_nobody_said_how_many(images):
    assert [(p.name, p.epochs, p.learning_rate) for p in TrainConfig(learning_rate=0.5, epochs=3).phases(True)] == [
        ("head", 5, 0.5),
        ("fine-tune", 3, 0.05),
    ]
    assert [p.name for p in TrainConfig().phases(False)] == ["all"]
    assert [p.name for p in TrainConfig(head_epochs=0).phases(True)] == ["fine-tune"]


def test_the_first_step_of_the_head_is_that_of_adam_on_frozen_features(images):
    """One step, worked out by hand from the network's pooled activations."""
    made = transfer(backbone(), images.class_names)
    trained, _ = run(
        made.classifier, images, head=made.head, epochs=0, head_epochs=1, batch_size=16, learning_rate=0.01, weight_decay=0
    )
    classifier = made.classifier
    indices = images.indices("train")
    inputs = torch.stack([classifier.preprocessing.input(images.read(int(i))) for i in indices])
    logits, activations = classifier.forward_with_activations(inputs)
    share = logits.softmax(1) - nn.functional.one_hot(torch.from_numpy(images.labels[indices]), 2)
    gradient = share.T @ activations.mean((2, 3)) / len(indices)
    # Adam's first step is the learning rate times g / (|g| + eps).
    expected = classifier.module.head.weight - 0.01 * gradient / (gradient.abs() + 1e-8)
    assert torch.allclose(trained.module.head.weight, expected, atol=1e-4)


def test_in_the_first_phase_each_image_passes_through_the_network_once(images, monkeypatch):
    made = transfer(backbone(), images.class_names)
    options = {"head": made.head, "epochs": 0, "head_epochs": 4, "batch_size": 8, "learning_rate": 0.01}
    ran: list[int] = []
    original = HeadInputs._run
    monkeypatch.setattr(HeadInputs, "_run", lambda self, inputs: ran.append(len(inputs)) or original(self, inputs))
    trained, steps = run(made.classifier, images, **options)
    # Two images to see whether it can be done.
    assert sum(ran) == 2 + 16 + 8
    monkeypatch.setattr(HeadInputs, "make", lambda *_: None)
    long_way, expected = run(made.classifier, images, **options)
    assert [s.loss for s in steps] == pytest.approx([s.loss for s in expected], rel=1e-4)
    assert torch.allclose(trained.module.head.weight, long_way.module.head.weight, atol=1e-4)


def test_parts_that_are_frozen_stay_as_they_are_in_fine_tuning_too(images):
    made = transfer(backbone(), images.class_names)
    frozen = ("features.0", "features.1")
    trained, _ = run(made.classifier, images, head=made.head, epochs=1, head_epochs=1, freeze=frozen, batch_size=8)
    before, after = made.classifier.module.state_dict(), trained.module.state_dict()
    for name in before:
        if "running" in name or "num_batches" in name:
            continue
        assert torch.equal(before[name], after[name]) == name.startswith(tuple(f"{part}." for part in frozen)), name


def test_frozen_parts_that_are_not_there_give_a_sentence(images):
    made = transfer(backbone(), images.class_names)
    with pytest.raises(ConfigError, match=r"The model has no part 'feature.0' to freeze; did you mean features\.0"):
        run(made.classifier, images, head=made.head, freeze=("feature.0",))
    with pytest.raises(ConfigError, match=r"The new head 'head' is to learn, so it cannot be frozen; leave it out\."):
        run(made.classifier, images, head=made.head, freeze=("head",))


def test_head_epochs_without_a_new_head_give_a_sentence(images):
    with pytest.raises(ConfigError, match=r"Head epochs are for a start from another model's weights; name one, or leave"):
        run(small_gap(images.class_names), images, head_epochs=2)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"epoch": 3}, "There is no setting 'epoch'; known are epochs, head_epochs, "),
        ({"epochs": -1}, "The setting epochs cannot be -1: input should be greater than or equal to 0."),
        (
            {"epochs": 0, "head_epochs": 0},
            "The settings cannot be used: there must be an epoch; raise epochs or head_epochs.",
        ),
    ],
)
def test_settings_that_cannot_be_used_give_a_sentence(values, sentence):
    with pytest.raises(ConfigError) as caught:
        make_train_config(values)
    assert str(caught.value).startswith(sentence)


# Afterwards ------------------------------------------------------------------------------------------------


@pytest.mark.lengthy
def test_the_trained_model_is_loaded_explained_and_retuned_without_the_one_it_started_from(images, tmp_path):
    torch.manual_seed(0)
    module = theirs.squeezenet1_1(num_classes=4).eval()
    file = saved(tmp_path / "backbone.pth", module.state_dict())
    options = ModelOptions(arch="torchvision:squeezenet1_1", size=(64, 64))
    made = transfer(load_backbone(backbone_source(file, options), options, device="cpu"), images.class_names)
    trained, _ = run(made.classifier, images, head=made.head, epochs=1, head_epochs=1, batch_size=8)
    save_classifier(trained, tmp_path / "m.safetensors")
    file.unlink()
    loaded = load_classifier(tmp_path / "m.safetensors", device="cpu")
    assert same_weights(loaded, trained)
    assert loaded.info["transfer"]["arch"] == "torchvision:squeezenet1_1"
    assert loaded.info["training"]["config"]["head_epochs"] == 1
    found = explain(loaded, images, method="cam", split="val")
    assert [each.shape for each in found.maps] == [(16, 16)] * 8
    assert all(np.isfinite(each).all() for each in found.maps)
    config = RetuneConfig(method="continued", iterations=2, batch_size=4, check_every=1)
    result = run_to_end(retune(loaded, images, known(images, count=2), config))
    assert result.classifier.arch == "gap:features:torchvision:squeezenet1_1"
