"""Networks that people write in their own ways: shared parts, own precision, one output, a frozen part, one axis pooled."""

from __future__ import annotations

from pathlib import Path

import pytest

from core_builders import plain
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.errors import ModelError, describe
from napari_cam_feedback.explanations import get_method
from napari_cam_feedback.models import Classifier, build_classifier, load_classifier, save_classifier
from napari_cam_feedback.models.layers.layouts import puts_channels_first
from napari_cam_feedback.models.networks.architectures import build_module
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
NAMES = ("a", "b", "c")
HEAD = """
import torch
from torch import nn

class Base(nn.Module):
    def __init__(self, num_classes=3, channels=1):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(4, num_classes)
    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))
"""


def network(tmp_path: Path, text: str) -> str:
    """Write a file with a class Net; return the architecture's name."""
    (tmp_path / "net.py").write_text(HEAD + text)
    return f"{tmp_path / 'net.py'}:Net"


def make(tmp_path: Path, text: str) -> Classifier:
    return build_classifier(network(tmp_path, text), NAMES, plain(16, 16), trust=True)


IMAGES = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_part_under_two_names_is_saved_and_loaded(tmp_path):
    classifier = make(
        tmp_path,
        """
class Net(Base):
    def __init__(self, num_classes=3, channels=1):
        super().__init__(num_classes, channels)
        self.backbone = self.features
""",
    )
    save_classifier(classifier, tmp_path / "m.safetensors")
    loaded = load_classifier(tmp_path / "m.safetensors", trust=True, device="cpu")
    assert torch.equal(loaded.logits(IMAGES), classifier.logits(IMAGES))
    assert loaded.module.backbone is loaded.module.features


def test_a_network_that_keeps_a_tensor_of_its_first_image_is_explained_after_it_predicted(tmp_path):
    classifier = make(
        tmp_path,
        """
class Net(Base):
    window = None
    def forward(self, x):
        f = self.features(x)
        if self.window is None or self.window.device != f.device:
            self.window = torch.linspace(0, 1, f.shape[3], device=f.device)
        return self.head((f * self.window).mean((2, 3)))
""",
    )
    classifier.logits(IMAGES)
    assert get_method("gradcam")(classifier, IMAGES).maps.shape == (2, 1, 8, 8)


def test_a_network_of_half_precision_is_computed_in_single(tmp_path):
    classifier = make(
        tmp_path,
        """
class Net(Base):
    def __init__(self, num_classes=3, channels=1):
        super().__init__(num_classes, channels)
        self.half()
""",
    )
    assert classifier.logits(IMAGES).dtype == torch.float32


def test_a_part_that_runs_without_gradients_is_explained_at_its_end(tmp_path):
    classifier = make(
        tmp_path,
        """
class Net(Base):
    def forward(self, x):
        with torch.no_grad():
            f = self.features(x)
        return self.head(f.mean((2, 3)).relu())
""",
    )
    assert classifier.target_layer == "features"
    assert float(get_method("gradcam")(classifier, IMAGES).maps.abs().max()) > 0
    assert classifier.logits(IMAGES).grad_fn is None


@pytest.mark.parametrize("whole", ["train", "eval"])
def test_a_network_whose_train_or_eval_returns_nothing_is_used_as_any(tmp_path, whole):
    text = f"class Net(Base):\n    def {whole}(self, *mode):\n        super().{whole}(*mode)\n"
    classifier = make(tmp_path, text)
    save_classifier(classifier, tmp_path / "m.safetensors")
    loaded = load_classifier(tmp_path / "m.safetensors", trust=True, device="cpu")
    assert torch.equal(loaded.copy().logits(IMAGES), classifier.logits(IMAGES))
    assert classifier.layout.shape == (4, 8, 8)


@pytest.mark.parametrize(
    "lazy", ["self.head = nn.LazyLinear(num_classes)", "self.features[0] = nn.LazyConv2d(4, 3, padding=1)"]
)
def test_layers_that_take_their_shapes_from_the_first_image_are_made_whole_by_one(tmp_path, lazy):
    text = f"""
class Net(Base):
    def __init__(self, num_classes=3, channels=1):
        super().__init__(num_classes, channels)
        {lazy}
"""
    classifier = make(tmp_path, text)
    torch.save(classifier.module.state_dict(), tmp_path / "w.pt")
    options = {"class_names": NAMES, "size": (16, 16), "channels": 1, "trust": True, "device": "cpu"}
    loaded = load_classifier(tmp_path / "w.pt", arch=network(tmp_path, text), **options)
    assert torch.equal(loaded.logits(IMAGES), classifier.logits(IMAGES))
    with pytest.raises(ModelError, match=r"takes its shapes from its first image; say the images' size"):
        build_module(network(tmp_path, text), 3, 1, trust=True)


@pytest.mark.parametrize("inside", ["super().forward(x).bfloat16()", "autocast"])
def test_what_is_computed_in_half_precision_is_explained_in_single(tmp_path, inside):
    if inside == "autocast":
        forward = "with torch.autocast('cpu', torch.bfloat16):\n            return super().forward(x)"
    else:
        forward = f"return {inside}"
    classifier = make(tmp_path, f"class Net(Base):\n    def forward(self, x):\n        {forward}\n")
    logits, activations = classifier.forward_with_activations(IMAGES)
    assert logits.dtype == activations.dtype == classifier.logits(IMAGES).dtype == torch.float32
    assert get_method("gradcam")(classifier, IMAGES).maps.dtype == torch.float32
    assert torch.equal(classifier.copy().logits(IMAGES), logits)


def test_a_network_without_parameters_is_looked_at(tmp_path):
    classifier = make(
        tmp_path,
        """
class Net(Base):
    def __init__(self, num_classes=3, channels=1):
        super().__init__(num_classes, channels)
        for layer in (self.features[0], self.head):
            for name, value in list(layer.named_parameters()):
                delattr(layer, name)
                layer.register_buffer(name, value.detach())
""",
    )
    assert classifier.device == torch.device("cpu")
    assert classifier.logits(IMAGES).shape == (2, 3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "class Net(Base):\n    def get_extra_state(self):\n        return {}\n"
            "    def set_extra_state(self, state):\n        pass\n",
            r"keeps something beside its weights that is no tensor \(_extra_state\).*take its get_extra_state out",
        ),
        (
            "def Net(num_classes=3, channels=1):\n    with torch.device('meta'):\n        return Base()\n",
            r"returns a network without memory for its weights \(device meta\); build it on the CPU",
        ),
        (
            "def Net(num_classes=3, channels=1):\n    return torch.jit.script(Base(num_classes, channels))\n",
            r"Net of net\.py returns a network of TorchScript, whose layers cannot be looked into; give the",
        ),
        (
            "class Net(Base):\n    def forward(self, x, age, *, sex):\n        return x\n",
            r"The network of Net of net\.py needs age and sex beside the image, and only the image can be given; let its",
        ),
        (
            "def Net(num_classes=3, channels=1):\n    return torch.ao.quantization.quantize_dynamic("
            "Base(num_classes, channels).eval(), {nn.Linear}, dtype=torch.qint8)\n",
            r"Net of net\.py returns a quantised network, which has no gradients .* give the network as it was before",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_used_is_said_with_what_would_help(tmp_path, text, sentence):
    with pytest.raises(ModelError, match=sentence):
        make(tmp_path, text)


def test_maps_that_are_pooled_along_one_axis_are_not_taken_for_channels_last():
    class Lines(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 8)), nn.ReLU())
            self.head = nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.features(x).mean((2, 3)))

    torch.manual_seed(0)
    # (16, 16, 4): the first two axes have the aspect of a square image, and are filters and rows all the same.
    classifier = Classifier(Lines(), NAMES, plain(32, 32), "features", "lines")
    assert classifier.layout.shape == (16, 16, 4)
    assert classifier.layout.kind == "maps"
    assert classifier.head is not None
    _, activations = classifier.forward_with_activations(torch.rand(2, 1, 32, 32))
    assert activations.shape == (2, 16, 16, 4)


def test_only_sequences_that_end_in_a_convolution_or_pooling_are_known_to_put_channels_first():
    conv = nn.Conv2d(1, 2, 1)
    assert puts_channels_first(conv)
    assert puts_channels_first(nn.Sequential(nn.Sequential(conv, nn.BatchNorm2d(2)), nn.ReLU(), nn.Dropout()))
    assert not puts_channels_first(nn.Sequential(conv, nn.Flatten()))
    assert not puts_channels_first(nn.ReLU())

    class Turned(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).permute(0, 2, 3, 1)

    assert not puts_channels_first(Turned(conv))


def test_a_hybrid_of_timm_which_runs_itself_while_it_is_made_is_opened(tmp_path):
    timm = pytest.importorskip("timm")
    made = timm.create_model("vit_tiny_r_s16_p8_224", num_classes=3, img_size=(64, 64))
    torch.save(made.state_dict(), tmp_path / "w.pth")
    classifier = load_classifier(
        tmp_path / "w.pth", arch="timm:vit_tiny_r_s16_p8_224", class_names=NAMES, size=(64, 64), crop=False, device="cpu"
    )
    assert isinstance(classifier.preprocessing, Preprocessing)
    assert classifier.logits(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize(
    ("forward", "sentence"),
    [
        ("super().forward(x.double())", "turns its images into another precision than that of its weights here, float32"),
        ("super().forward(x.to('cuda:77'))", "moves its images to a device of its own choice"),
        ("self.train() and nn.BatchNorm1d(3)(super().forward(x))", "puts itself into training mode as it runs"),
        (
            "super().forward(x).reshape(1, -1)[:, :3]",
            "puts out 1 rows for one image and 1 for two; let its forward take any",
        ),
        ("super().forward(x).reshape(1, 3)", r"takes one image and not 2 at a time \(.*\); let its forward take any number"),
        ("(super().forward(x), x)", "does not put out one number for each class"),
        ("exit()", "cannot take images of 1 channels and 16x16 pixels"),
    ],
)
def test_what_a_forward_must_not_do_is_said_with_what_to_take_out_of_it(tmp_path, forward, sentence):
    torch.save(make(tmp_path, "class Net(Base):\n    pass\n").module.state_dict(), tmp_path / "w.pt")
    arch = network(tmp_path, f"class Net(Base):\n    def forward(self, x):\n        return {forward}\n")
    with pytest.raises(ModelError, match=rf"w\.pt {sentence}"):
        load_classifier(tmp_path / "w.pt", arch=arch, class_names=NAMES, size=(16, 16), channels=1, trust=True, device="cpu")


def test_whatever_fails_later_in_a_network_of_the_users_is_said_with_its_file_and_line(tmp_path):
    classifier = make(
        tmp_path,
        """
class Net(Base):
    def forward(self, x):
        if x.mean() > 0.9:
            raise KeyError("too bright")
        return super().forward(x)
""",
    )
    with pytest.raises(KeyError) as caught:
        classifier.logits(torch.ones(1, 1, 16, 16))
    assert describe(caught.value) == "net.py (line 16, forward) failed (KeyError: 'too bright'); mend it, and begin again."


@pytest.mark.parametrize("what", ["threading.Lock()", "self.head.weight * 2"])
def test_a_network_that_holds_what_cannot_be_copied_is_looked_at_and_not_retuned(tmp_path, what):
    classifier = make(
        tmp_path,
        f"""
import threading
class Net(Base):
    def __init__(self, num_classes=3, channels=1):
        super().__init__(num_classes, channels)
        self.more = {what}
""",
    )
    assert get_method("gradcam")(classifier, IMAGES).maps.shape == (2, 1, 8, 8)
    with pytest.raises(ModelError, match=r"The network cannot be copied \(.*\), and it is a copy that is changed"):
        classifier.copy()


def test_a_network_built_in_inference_mode_takes_weights_and_learns(tmp_path):
    text = (
        "def Net(num_classes=3, channels=1):\n    with torch.inference_mode():\n        return Base(num_classes, channels)\n"
    )
    classifier = make(tmp_path, text)
    weights = {name: torch.ones_like(value) for name, value in classifier.module.state_dict().items()}
    classifier.module.load_state_dict(weights)
    classifier.module.requires_grad_(True)
    classifier.module(IMAGES).sum().backward()
    assert classifier.module.head.weight.grad is not None
