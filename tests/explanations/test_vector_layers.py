"""Models without maps: layers that put out features (N, F), of which there is much to see, but no heatmap."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core_builders import known, plain, stripes
from napari_cam_feedback.cli import main
from napari_cam_feedback.errors import MaskError, ModelError
from napari_cam_feedback.evaluation import evaluate, picture_versions
from napari_cam_feedback.explanations import (
    METHODS,
    activation_under_masks,
    class_maps,
    default_concept_layer,
    embed,
    explain,
    explain_item,
    features_of,
    gallery,
    get_method,
    survey_filters,
)
from napari_cam_feedback.feedback import filter_masks
from napari_cam_feedback.models import Classifier, build_classifier, list_layers, load_classifier, save_classifier
from napari_cam_feedback.models.layers.target import choose_layer, default_layer
from napari_cam_feedback.retuning import RetuneConfig, retune, run_to_end
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
NAMES = ("across", "along")
MLP = """
from torch import nn


def mlp(num_classes):
    body = [nn.Flatten(), nn.Linear(256, 20), nn.ReLU(), nn.Linear(20, 12), nn.ReLU()]
    return nn.Sequential(*body, nn.Linear(12, num_classes))
"""
REFUSED = (
    "Layer '4' has no places (12 features per image), so it gives no {}; look at its filters or concepts, "
    "or use a convolutional model."
)


def mlp(*more: nn.Module) -> nn.Sequential:
    """A multilayer perceptron for 16x16 gray images, as Ross et al. (2017) use for decoy MNIST, but smaller."""
    torch.manual_seed(0)
    last = nn.Linear(12, 2)
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 20), nn.ReLU(), nn.Linear(20, 12), nn.ReLU(), *more, last)


def flat_cnn() -> nn.Sequential:
    """Convolutions, flattened into a dense head."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 49, 8), nn.ReLU(), nn.Linear(8, 2)
    )


def of(module: nn.Module, layer: str | None = None) -> Classifier:
    found = choose_layer(module, 1, (16, 16), layer=layer)
    return Classifier(module, NAMES, plain(16, 16), found.name, "own")


@pytest.fixture(scope="module")
def dataset():
    return stripes()


@pytest.fixture
def dense() -> Classifier:
    return of(mlp())


# The layers ---------------------------------------------------------------------------------------------


def vectors(module: nn.Module) -> list[tuple[str, int]]:
    return [(info.name, info.shape[0]) for info in list_layers(module, 1, (16, 16)) if info.kind == "vector"]


def test_the_default_of_a_perceptron_is_the_input_of_its_last_linear_layer(dense):
    assert [(info.name, info.shape, info.kind) for info in dense.layers] == [
        ("0", (256, 1, 1), "vector"),
        ("1", (20, 1, 1), "vector"),
        ("2", (20, 1, 1), "vector"),
        ("3", (12, 1, 1), "vector"),
        ("4", (12, 1, 1), "vector"),
    ]
    assert dense.target_layer == "4"
    with pytest.raises(
        ModelError, match=r"^Layer '5' \(Linear\) puts out the logits themselves; choose a layer before it\.$"
    ):
        dense.with_layer("5")


def test_logits_and_what_is_made_of_them_are_no_features():
    # As wide as the logits, and yet before them.
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(256, 2), nn.ReLU(), nn.Linear(2, 2), nn.LogSoftmax(1))
    assert vectors(narrow) == [("0", 256), ("1", 2), ("2", 2)]
    # A block that ends in the logits puts them out too.
    assert vectors(nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(256, 2), nn.Identity()))) == [("0", 256)]
    # Without a linear layer at the end: the pooled maps are the logits.
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert vectors(pooled) == []
    assert default_layer(list_layers(pooled, 1, (16, 16))) == "0"
    # A linear layer whose weight is computed from others.
    weighed = nn.Sequential(
        nn.Flatten(), nn.Linear(256, 6), nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))
    )
    assert vectors(weighed) == [("0", 256), ("1", 6), ("2", 6)]


def test_a_network_that_flattens_its_maps_keeps_the_maps_as_the_default():
    classifier = of(flat_cnn())
    assert classifier.target_layer == "2"
    assert classifier.layout.shape == (4, 7, 7)
    assert classifier.no_places() is None
    assert vectors(classifier.module) == [("3", 196), ("4", 8), ("5", 8)]
    hidden = classifier.with_layer("5")
    assert hidden.layout.shape == (8, 1, 1)
    assert hidden.no_places() == (
        "Layer '5' has no places (8 features per image), so it gives no heatmap; choose a layer with maps, such as '2'."
    )
    assert hidden.with_layer("0").no_places() is None


@pytest.mark.parametrize("more", [(), (nn.Dropout(0.5),)], ids=["plain", "dropout"])
def test_the_head_of_a_perceptron_makes_its_logits_of_the_features(more):
    classifier = of(mlp(*more))
    head = classifier.head
    assert head is not None
    assert head.name == str(5 + len(more))
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    logits, activations = classifier.forward_with_activations(images)
    assert activations.shape == (3, 12, 1, 1)
    assert torch.equal(activations[:, :, 0, 0], classifier.module[:5](images))
    assert torch.allclose(activations[:, :, 0, 0] @ head.weight.T + head.bias, logits, atol=1e-6)
    # An earlier layer has no such head.
    assert classifier.with_layer("2").head is None


def test_logits_of_other_features_are_what_the_rest_of_the_network_makes_of_them(dense):
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    others = torch.rand(4, 20, 1, 1, generator=torch.Generator().manual_seed(1))
    found = dense.with_layer("2").logits_from(others, image)
    assert torch.allclose(found, dense.module[3:](others[:, :, 0, 0]))


# What there is to see -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_contributions_of_features_need_no_places(method, dense):
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = get_method(method)(dense, images, torch.tensor([[1]] * 3))
    assert found.contributions.shape == (3, 1, 12)
    if method in ("cam", "gradcam", "hirescam", "xgradcam"):
        weight, bias = dense.module[5].weight, dense.module[5].bias
        features = dense.module[:5](images)
        assert torch.allclose(found.contributions[:, 0], weight[1] * features, atol=1e-6)
        assert torch.allclose(found.contributions[:, 0].sum(1) + bias[1], found.logits[:, 1], atol=1e-5)


def test_an_image_is_explained_without_a_heatmap(dense, dataset):
    found = explain_item(dense, dataset, 0, method="cam")
    assert found.no_heatmap == REFUSED.format("heatmap")
    assert found.map.shape == (16, 16)
    assert not found.map.any()
    assert not found.evidence
    assert np.isclose(found.probabilities.sum(), 1, atol=1e-5)
    assert found.contributions.shape == (12,)
    assert np.array_equal(found.filter_scores("activation"), found.activations[:, 0, 0])
    with pytest.raises(MaskError, match=r"no place cannot be ranked by what is painted; choose a layer with maps\.$"):
        found.filter_scores("mask", np.ones((16, 16), bool))
    # With maps there is nothing to say.
    assert explain_item(of(flat_cnn()), dataset, 0, method="gradcam").no_heatmap is None


def test_features_are_surveyed_ranked_and_embedded(dense, dataset):
    features = features_of(dense, dataset, "train")
    images = torch.stack([dense.preprocessing.input(dataset.read(int(i))) for i in features.indices])
    assert np.allclose(features.mean, dense.module[:5](images).numpy(), atol=1e-5)
    assert np.array_equal(features.mean, features.maximum)
    survey = survey_filters(dense, dataset)
    assert survey.ranking is not None
    assert survey.curve is not None
    assert survey.notes == ()
    assert embed(features, "pca").points.shape == (32, 2)


def test_a_gallery_of_a_feature_shows_whole_images(dense, dataset):
    found = gallery(dense, dataset, features_of(dense, dataset, "train"), 3, bins=2, per_bin=3)
    assert found.tiles
    assert all(tile.mask.all() for tile in found.tiles)


def test_concepts_default_to_the_layer_before_the_last_features(dense):
    # The gradient at the last features is the head's weights, the same for every image.
    assert default_concept_layer(dense) == "2"


# What there is not --------------------------------------------------------------------------------------


def test_heatmaps_and_masks_are_refused_in_one_sentence_before_anything_is_done(dense, dataset):
    heatmap = f"^{re.escape(REFUSED.format('heatmap'))}$"
    with pytest.raises(ModelError, match=heatmap):
        explain(dense, dataset)
    with pytest.raises(ModelError, match=heatmap):
        class_maps(dense, dataset, 0)
    with pytest.raises(ModelError, match=f"^{re.escape(REFUSED.format('masks'))}$"):
        filter_masks(dense, dataset, [0], 3)
    with pytest.raises(ModelError, match=f"^{re.escape(REFUSED.format('activation under a mask'))}$"):
        activation_under_masks(dense, dataset, known(dataset))


def test_the_measures_are_there_but_for_the_share_of_the_heatmap(dense, dataset):
    found = evaluate(dense, dataset, splits=["test"]).splits["test"].right_reasons
    assert found is not None
    assert found.mask_share is None
    assert 0 <= found.flip_rate <= 1
    assert 0 <= found.masked_accuracy <= 1
    assert found.n == 16
    picture = picture_versions({"before": dense, "after": dense}, dataset, 0)
    assert picture.png.startswith(b"\x89PNG")


# Retuning -----------------------------------------------------------------------------------------------


def test_a_perceptron_is_retuned_with_actdiff(dense, dataset):
    config = RetuneConfig(method="actdiff", iterations=4, learning_rate=1e-2)
    result = run_to_end(retune(dense, dataset, known(dataset, count=12), config))
    tuned = result.classifier
    assert tuned.target_layer == "4"
    assert tuned.head is not None


# Files and commands -------------------------------------------------------------------------------------


def test_a_perceptron_is_saved_with_its_layer_and_opened_again(tmp_path):
    (tmp_path / "nets.py").write_text(MLP)
    arch = f"{tmp_path / 'nets.py'}:mlp"
    made = build_classifier(arch, NAMES, plain(16, 16), target_layer="2", trust=True)
    save_classifier(made, tmp_path / "m.safetensors")
    opened = load_classifier(tmp_path / "m.safetensors", trust=True, device="cpu")
    assert opened.target_layer == "2"
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(opened.logits(images), made.logits(images))
    assert load_classifier(tmp_path / "m.safetensors", trust=True, layer="4", device="cpu").head is not None


def state(module: nn.Module, folder: Path) -> list[str]:
    torch.save(module.state_dict(), folder / "m.pt")
    return [str(folder / "m.pt"), "--arch", f"{folder / 'nets.py'}:mlp"]


def exported(module: nn.Module, folder: Path) -> list[str]:
    example = (torch.zeros(2, 1, 16, 16),)
    torch.export.save(
        torch.export.export(module.eval(), example, dynamic_shapes=({0: torch.export.Dim.AUTO},)), folder / "m.pt2"
    )
    return [str(folder / "m.pt2")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, dataset) -> Path:
    """The stripes as class folders with known masks."""
    root = tmp_path_factory.mktemp("stripes")
    for index in range(len(dataset)):
        item = dataset.item(index)
        relative = Path(item.split) / dataset.class_names[item.label] / f"{index:03}.png"
        mask = dataset.known_mask(index).astype(np.uint8) * 255
        for where, pixels in ((root / relative, dataset.read(index)), (root / "masks" / relative, mask)):
            where.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(where)
    return root


def run(capsys, *arguments: object, status: int = 0) -> str:
    assert main([str(argument) for argument in arguments]) == status
    said = capsys.readouterr()
    return said.err if status else said.out


@pytest.mark.parametrize("kind", [state, exported], ids=lambda kind: kind.__name__)
def test_a_perceptron_of_any_kind_opens_in_the_shell(kind, folder, tmp_path, capsys):
    (tmp_path / "nets.py").write_text(MLP)
    module = mlp()
    model, *arch = kind(module, tmp_path)
    arguments = [model, folder, *arch, "--trust", "--size", 16, 16, "--channels", 1, "--mean", 0, "--std", 1]
    run(capsys, "evaluate", *arguments, "--json", tmp_path / "e.json")
    reasons = json.loads((tmp_path / "e.json").read_text())["splits"]["test"]["right_reasons"]
    assert reasons["mask_share"] is None
    assert reasons["flip_rate"] is not None
    said = run(capsys, "explain", *arguments, "--out", tmp_path / "maps.npz", status=2)
    assert REFUSED.format("heatmap") in " ".join(said.split())
    assert not (tmp_path / "maps.npz").exists()


def test_train_filters_and_masks_of_a_perceptron_in_the_shell(folder, tmp_path, capsys):
    (tmp_path / "nets.py").write_text(MLP)
    model = tmp_path / "m.safetensors"
    run(capsys, "train", folder, "--arch", f"{tmp_path / 'nets.py'}:mlp", "--trust", "--epochs", 2, "--out", model)
    assert load_classifier(model, trust=True, device="cpu").target_layer == "4"
    run(capsys, "filters", model, folder, "--trust", "--out", tmp_path / "filters")
    assert (tmp_path / "filters" / "ranking.csv").is_file()
    asked = ["masks", "from-filter", model, folder, "--trust", "--filter", 3, "--out", tmp_path / "masks"]
    assert REFUSED.format("masks") in " ".join(run(capsys, *asked, status=2).split())
    said = run(capsys, "filters", model, folder, "--trust", "--masks", folder / "masks", "--out", tmp_path / "f", status=2)
    assert REFUSED.format("activation under a mask") in " ".join(said.split())
