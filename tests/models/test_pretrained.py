"""torchvision's own weights by name alone: fetched only with consent, checked, and with their names and preprocessing."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import models as theirs

from core_builders import same_weights
from napari_cam_feedback.errors import ConfigError, ConsentNeeded, ModelError, StorageError
from napari_cam_feedback.models import load_classifier, save_classifier
from napari_cam_feedback.torch_loader import torch

MODEL = "torchvision:squeezenet1_1"


class Place:
    """Stands for torchvision's server: a folder with one file of random weights, whose name ends in its hash."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.module = theirs.squeezenet1_1(weights=None).eval()
        torch.save(self.module.state_dict(), folder / "weights")
        self.content = (folder / "weights").read_bytes()
        self.name = f"squeezenet1_1-{hashlib.sha256(self.content).hexdigest()[:8]}.pth"
        (folder / "weights").rename(folder / self.name)
        self.url = (folder / self.name).as_uri()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    return Place(tmp_path_factory.mktemp("server"))


@pytest.fixture
def hub(place, tmp_path, monkeypatch) -> Path:
    """An empty folder of torch.hub's, with torchvision believing that its weights are at `place`."""
    set_address(monkeypatch, place.url)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "home" / "hub" / "checkpoints"


def set_address(monkeypatch, url: str) -> None:
    monkeypatch.setattr(theirs.SqueezeNet1_1_Weights.DEFAULT.value, "url", url)


@pytest.fixture
def cut_server(place) -> Iterator[str]:
    """Address of a server that announces the whole file and sends half of it."""

    class Cut(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(place.content)))
            self.end_headers()
            self.wfile.write(place.content[: len(place.content) // 2])

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Cut)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{place.name}"
    server.shutdown()
    server.server_close()


def test_without_consent_nothing_is_fetched_and_what_would_be_is_said(place, hub):
    with pytest.raises(ConsentNeeded) as caught:
        load_classifier(MODEL, device="cpu")
    assert str(caught.value) == (
        f"The weights {place.name} (5 MB) of {MODEL} are not on this machine; agree to fetching them from "
        f"{place.url}, or put the file into {hub}."
    )
    assert caught.value.kind == "download"
    assert caught.value.question == f"Fetch {place.name} (5 MB) from {place.url} and keep it in {hub}?"
    assert not hub.exists()


def test_with_consent_they_are_fetched_once_and_loaded(place, hub, capfd):
    fetched = load_classifier(MODEL, device="cpu", download=True)
    assert [path.name for path in hub.iterdir()] == [place.name]
    assert (hub / place.name).read_bytes() == place.content
    assert capfd.readouterr() == ("", "")
    again = load_classifier(MODEL, device="cpu")
    assert same_weights(fetched, again)
    assert fetched.class_names[:2] == ("tench", "goldfish")
    assert len(fetched.class_names) == 1000
    assert fetched.info == {"class_names_from": "torchvision", "pretrained": "SqueezeNet1_1_Weights.IMAGENET1K_V1"}
    assert fetched.arch == MODEL


def test_they_put_out_what_torchvision_does(place, hub, tmp_path):
    classifier = load_classifier(MODEL, device="cpu", download=True)
    image = np.random.default_rng(0).integers(0, 256, (300, 401, 3), np.uint8)
    inputs = theirs.SqueezeNet1_1_Weights.DEFAULT.transforms()(Image.fromarray(image))
    with torch.no_grad():
        expected = place.module(inputs[None])
    ours = classifier.logits(classifier.preprocessing.input(image)[None])
    torch.testing.assert_close(ours, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
    save_classifier(classifier, tmp_path / "m.safetensors")
    again = load_classifier(tmp_path / "m.safetensors", device="cpu")
    assert (again.class_names, again.preprocessing) == (classifier.class_names, classifier.preprocessing)
    assert again.info["class_names_from"] == "torchvision"


def test_what_the_user_says_goes_before_what_torchvision_says(hub):
    names = tuple(f"n{n}" for n in range(1000))
    settings = {"class_names": names, "size": (64, 64), "crop": False, "layer": "features.6"}
    classifier = load_classifier(MODEL, device="cpu", download=True, weights="IMAGENET1K_V1", **settings)
    assert classifier.class_names == names
    assert classifier.info["class_names_from"] == "file"
    assert (classifier.preprocessing.size, classifier.preprocessing.crop) == ((64, 64), False)
    assert classifier.target_layer == "features.6"
    with pytest.raises(
        ModelError, match=r"^torchvision:squeezenet1_1 has 1000 outputs and there are 2 class names \(a, b\); name"
    ):
        load_classifier(MODEL, device="cpu", class_names=("a", "b"))


def test_a_download_that_is_cut_off_leaves_nothing(place, hub, cut_server, monkeypatch):
    set_address(monkeypatch, cut_server)
    with pytest.raises(ModelError) as caught:
        load_classifier(MODEL, device="cpu", download=True)
    assert str(caught.value) == (
        f"What came from {cut_server} is not {place.name}; "
        f"try again, or fetch {cut_server} in another way and put it into {hub}."
    )
    assert list(hub.iterdir()) == []


def test_without_a_network_the_address_and_the_folder_are_said(place, hub, monkeypatch):
    url = f"http://127.0.0.1:9/{place.name}"
    set_address(monkeypatch, url)
    with pytest.raises(ModelError) as caught:
        load_classifier(MODEL, device="cpu", download=True)
    text = str(caught.value)
    assert text.startswith(f"The weights {place.name} could not be fetched (")
    assert text.endswith(f"); check the network, or fetch {url} in another way and put it into {hub}.")
    assert list(hub.iterdir()) == []


def test_weights_put_into_the_folder_by_hand_are_used(place, hub, monkeypatch):
    hub.mkdir(parents=True)
    (hub / place.name).write_bytes(place.content)
    set_address(monkeypatch, f"http://127.0.0.1:9/{place.name}")
    assert len(load_classifier(MODEL, device="cpu").class_names) == 1000


def test_a_broken_file_in_the_folder_gives_a_sentence(place, hub):
    hub.mkdir(parents=True)
    (hub / place.name).write_bytes(place.content[:1000])
    with pytest.raises(
        ModelError, match=rf"^The weights .*{place.name} are broken \(.*\); remove the file and fetch it again\.$"
    ):
        load_classifier(MODEL, device="cpu")


def test_a_folder_that_cannot_be_written_gives_a_sentence(hub):
    hub.parent.mkdir(parents=True)
    hub.write_text("in the way")
    with pytest.raises(StorageError, match=r"^Could not write .*squeezenet1_1-.*: .*; move it or choose another name\.$"):
        load_classifier(MODEL, device="cpu", download=True)


def test_names_that_torchvision_does_not_have_give_those_it_has(hub):
    with pytest.raises(ModelError, match=r"^There is no architecture 'squeezenet1_2'; did you mean squeezenet1_1"):
        load_classifier("torchvision:squeezenet1_2")
    with pytest.raises(
        ConfigError, match=r"^torchvision:resnet50 has no weights 'V3'; choose IMAGENET1K_V1 or IMAGENET1K_V2\.$"
    ):
        load_classifier("torchvision:resnet50", weights="V3")
    with pytest.raises(
        ConfigError, match=r"^torchvision:vgg16 has no weights 'IMAGENET1K_FEATURES'; choose IMAGENET1K_V1\.$"
    ):
        load_classifier("torchvision:vgg16", weights="VGG16_Weights.IMAGENET1K_FEATURES")
    with pytest.raises(
        ConfigError, match=r"^torchvision:resnet50 is an architecture itself; leave out another, or give a file of"
    ):
        load_classifier("torchvision:resnet50", arch="small-gap")
