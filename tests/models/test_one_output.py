"""A network with one output for two classes simply works: it is shown as two classes, and its probabilities are its own."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.cli import main
from napari_cam_feedback.data import open_dataset
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.explanations import get_method
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.models import load_classifier, save_classifier
from napari_cam_feedback.models.files.loading import open_pair
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
NET = '''
import torch
from torch import nn

class Logit(nn.Module):
    """One output whatever is asked for."""
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 1)
    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))

class Flat(Logit):
    def forward(self, x):
        return super().forward(x).squeeze(1)

class Probability(Logit):
    def forward(self, x):
        return super().forward(x).sigmoid()

class Counted(nn.Module):
    """As many outputs as are asked for."""
    def __init__(self, num_classes=1):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, num_classes)
    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))

class CountedProbability(Counted):
    def forward(self, x):
        return torch.sigmoid(super().forward(x))
'''
KINDS = ("Logit", "Flat", "Probability", "Counted", "CountedProbability")
GRAY = {"size": (16, 16), "mean": (0.0,), "std": (1.0,), "channels": 1, "trust": True, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    (folder / "net.py").write_text(NET)
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        for number, name in enumerate(("ill", "well")):
            (folder / "data" / split / name).mkdir(parents=True)
            for n in range(count):
                pixels = rng.integers(0, 120, (16, 16)).astype(np.uint8) + np.uint8(100 * number)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{n}.png")
    return folder


def network(place, kind: str) -> nn.Module:
    space: dict = {}
    exec(NET, space)
    torch.manual_seed(0)
    module = space[kind]().eval()
    torch.save(module.state_dict(), place / f"{kind}.pth.tar")
    return module


def own_probability(module: nn.Module, kind: str, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found = module(images).reshape(-1)
    return found if "Probability" in kind else found.sigmoid()


@pytest.mark.parametrize("kind", KINDS)
def test_the_probabilities_are_those_of_the_network_and_so_they_are_once_it_is_saved(kind, place, tmp_path):
    module = network(place, kind)
    classifier = load_classifier(
        place / f"{kind}.pth.tar", arch=f"{place / 'net.py'}:{kind}", class_names=("ill", "well"), **GRAY
    )
    images = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    wanted = own_probability(module, kind, images)
    shown = classifier.logits(images).softmax(1)
    assert torch.allclose(shown[:, 1], wanted, atol=1e-5)
    assert classifier.num_classes == 2
    assert classifier.head is not None
    save_classifier(classifier, tmp_path / "saved.safetensors")
    again = load_classifier(tmp_path / "saved.safetensors", trust=True, device="cpu")
    assert torch.allclose(again.logits(images), classifier.logits(images), atol=1e-6)
    for method in ("cam", "gradcam"):
        # Either class has a heatmap, and what speaks for one speaks against the other.
        first, second = get_method(method)(again, images[:1], torch.tensor([[0, 1]])).maps[0]
        assert float(second.abs().max()) > 0
        assert torch.allclose(first, -second, atol=1e-5)


def test_a_known_architecture_stays_what_it_is_and_gets_two_rows_for_one(place, tmp_path):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    module = resnet18(num_classes=1).eval()
    torch.save({"state_dict": module.state_dict()}, tmp_path / "one.ckpt")
    classifier, dataset = open_pair(
        tmp_path / "one.ckpt", place / "data", {"arch": "torchvision:resnet18", "size": (32, 32)}
    )
    assert classifier.class_names == dataset.class_names == ("ill", "well")
    assert classifier.arch == "torchvision:resnet18"
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        wanted = module(images).sigmoid()[:, 0]
    assert torch.allclose(classifier.logits(images).softmax(1)[:, 1].cpu(), wanted, atol=1e-5)


def test_one_class_that_is_named_is_the_one_that_the_output_stands_for(place):
    network(place, "Logit")
    arch = f"{place / 'net.py'}:Logit"
    options = {"arch": arch, "class_names": ("ill",), **{k: v for k, v in GRAY.items() if k != "device"}}
    classifier, dataset = open_pair(place / "Logit.pth.tar", place / "data", options)
    assert classifier.class_names == dataset.class_names == ("well", "ill")
    alone = load_classifier(place / "Logit.pth.tar", arch=arch, class_names=("ill",), **GRAY)
    assert alone.class_names == ("not ill", "ill")


def test_three_classes_are_too_many_for_one_output(place):
    network(place, "Logit")
    with pytest.raises(ModelError, match="has 1 output and there are 3 class names"):
        load_classifier(place / "Logit.pth.tar", arch=f"{place / 'net.py'}:Logit", class_names=("a", "b", "c"), **GRAY)


def test_an_exported_program_with_one_output_is_one_of_two_classes(place, tmp_path):
    module = network(place, "Logit")
    program = torch.export.export(module, (torch.rand(2, 1, 16, 16),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, tmp_path / "p.pt2")
    options = {k: v for k, v in GRAY.items() if k != "channels"}
    classifier = load_classifier(tmp_path / "p.pt2", class_names=("ill", "well"), **options)
    images = torch.rand(3, 1, 16, 16)
    assert torch.allclose(classifier.logits(images).softmax(1)[:, 1], own_probability(module, "Logit", images), atol=1e-5)


@pytest.mark.parametrize("kind", ["Probability", "Counted"])
def test_the_commands_work_with_it_from_predicting_to_a_retune_that_is_saved(kind, place, tmp_path, capsys):
    module = network(place, kind)
    model, data = str(place / f"{kind}.pth.tar"), str(place / "data")
    how = ["--arch", f"{place / 'net.py'}:{kind}", "--trust", "--size", "16", "16", "--channels", "1"]
    how += ["--mean", "0", "--std", "1"]
    assert main(["predict", model, data, *how, "--split", "test", "--out", str(tmp_path / "p.csv")]) == 0
    assert "two classes of one output, which stands for well" in capsys.readouterr().err
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    dataset = open_dataset(place / "data")
    for row in rows:
        pixels = torch.from_numpy(dataset.read(dataset.index_of(row["key"]))).float()[None, None] / 255
        assert float(row["p_well"]) == pytest.approx(float(own_probability(module, kind, pixels)[0]), abs=1e-3)
    assert main(["explain", model, data, *how, "--method", "cam", "--out", str(tmp_path / "m.npz")]) == 0
    assert main(["evaluate", model, data, *how]) == 0
    mask = np.zeros((16, 16), bool)
    mask[:4, :4] = True
    for index in dataset.indices("train").tolist():
        MaskStore(tmp_path / "masks").put(dataset.keys[index], mask)
    run = tmp_path / "run"
    masks = ["--masks", str(tmp_path / "masks"), "--set", "iterations=2", "--method", "actdiff"]
    assert main(["retune", model, data, *how, *masks, "--out", str(run)]) == 0
    assert load_classifier(run / "model.safetensors", trust=True, device="cpu").class_names == ("ill", "well")
