"""Saved programs: looked into and trained like any network; asked about first; nothing in them is unpickled or evaluated."""

from __future__ import annotations

import copy
import json
import pickle
import re
import threading
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import models

from core_builders import known, plain, small_gap, stripes
from napari_cam_feedback.errors import ConsentNeeded, ModelError
from napari_cam_feedback.explanations import get_method
from napari_cam_feedback.models import Classifier, build_classifier, load_classifier, save_classifier
from napari_cam_feedback.models.layers.layouts import Layout
from napari_cam_feedback.models.layers.target import choose_layer
from napari_cam_feedback.models.networks.exported import is_exported, is_script, load_program, program_info
from napari_cam_feedback.retuning import RetuneConfig, retune, run_to_end
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
AUTO = {0: torch.export.Dim.AUTO}


def network(channels: int = 3, classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(inplace=True)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, classes),
    ).eval()


def save(path: Path, module: nn.Module, size: tuple[int, ...] = (2, 3, 32, 32), shapes: Any = (AUTO,)) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module, (torch.randn(size),), dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs that several tests read."""
    folder = tmp_path_factory.mktemp("programs")
    save(folder / "net.pt2", network())
    torch.save(network().state_dict(), folder / "weights.pt")
    return folder


def images(count: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.randn(count, channels, 32, 32, generator=torch.Generator().manual_seed(1))


def as_classifier(module: nn.Module, layer: str | None = None) -> Classifier:
    info = choose_layer(module, 3, (32, 32), layer=layer)
    return Classifier(module, ("a", "b", "c"), plain(32, 32, 3), info.name, "program")


def test_a_program_is_told_by_its_content_whatever_its_suffix(folder, tmp_path):
    copied = tmp_path / "net.pt"
    copied.write_bytes((folder / "net.pt2").read_bytes())
    (tmp_path / "text.pt2").write_text("nothing of the kind")
    others = [folder / "weights.pt", tmp_path / "text.pt2", tmp_path / "missing.pt"]
    assert is_exported(copied)
    assert not any(is_exported(path) for path in others)
    assert not any(is_script(path) for path in [copied, *others])


def test_an_exported_program_says_its_input_and_output_before_anything_of_it_runs(folder):
    info = program_info(folder / "net.pt2")
    assert info is not None
    assert info.input_size == (3, 32, 32)
    assert (info.batch, info.outputs, info.torch_version) == (None, 3, str(torch.__version__))
    assert program_info(folder / "weights.pt") is None


def test_without_consent_a_program_is_not_loaded(folder, monkeypatch):
    monkeypatch.setattr(torch.export, "load", None)
    with pytest.raises(
        ConsentNeeded,
        match=r"^net\.pt2 is a program of torch\.export, and running it may do more than compute; agree to it if",
    ) as caught:
        load_program(folder / "net.pt2")
    assert caught.value.kind == "trust"
    assert str(folder / "net.pt2") in caught.value.question
    assert caught.value.question.endswith("want to run it?")


def test_a_program_gives_the_network_s_logits_for_batches_of_any_size(folder):
    program, module = load_program(folder / "net.pt2", trust=True), network()
    assert not program.training
    with torch.no_grad():
        for count in (1, 2, 5):
            assert torch.allclose(program(images(count)), module(images(count)), atol=1e-5)
    assert list(program.state_dict()) == list(module.state_dict())


def test_maps_of_a_program_are_those_of_the_network(folder):
    program = as_classifier(load_program(folder / "net.pt2", trust=True))
    plain_one = as_classifier(network())
    assert program.target_layer == plain_one.target_layer == "4"
    theirs, ours = (get_method("gradcam")(each, images()) for each in (plain_one, program))
    assert float(theirs.maps.abs().max()) > 0
    assert torch.allclose(theirs.maps, ours.maps, atol=1e-5)
    # An in-place ReLU follows: what the layer itself put out is what is read.
    inner = as_classifier(program.module, "1")
    assert torch.allclose(inner.forward_with_activations(images())[1], network()[:2](images()), atol=1e-5)
    assert not any(child._forward_hooks for child in program.module.modules())


def test_a_copy_of_a_program_can_be_trained_and_leaves_the_first_alone(folder):
    classifier = as_classifier(load_program(folder / "net.pt2", trust=True))
    before = {key: tensor.clone() for key, tensor in classifier.module.state_dict().items()}
    tuned = classifier.copy()
    module = tuned.module.requires_grad_(True)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    with tuned.tap() as tap:
        module(images())
        tap.take().abs().sum().backward()
    assert all(p.grad is not None for key, p in module.named_parameters() if not key.startswith("7"))
    optimizer.step()
    assert all(torch.equal(before[key], tensor) for key, tensor in classifier.module.state_dict().items())
    assert not torch.allclose(tuned.logits(images()), classifier.logits(images()))
    # And what was trained can be put back.
    module.load_state_dict(before)
    assert torch.equal(tuned.logits(images()), classifier.logits(images()))


def test_a_program_can_be_moved(folder):
    module = copy.deepcopy(load_program(folder / "net.pt2", trust=True)).to(torch.float64)
    assert module(images().double()).dtype == torch.float64
    assert {t.dtype for key, t in module.state_dict().items() if "batches" not in key} == {torch.float64}


def test_threads_share_a_program(folder):
    classifier = as_classifier(load_program(folder / "net.pt2", trust=True))
    inputs = images(6)
    expected = [get_method("gradcam")(classifier, image[None]).maps for image in inputs]
    found: dict[int, torch.Tensor] = {}

    def work(n: int) -> None:
        for _ in range(5):
            found[n] = get_method("gradcam")(classifier, inputs[n : n + 1]).maps

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[n], maps) for n, maps in enumerate(expected))


class Reused(nn.Module):
    """Runs one ReLU three times, at different sizes, and makes a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, 2), nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.two(self.relu(self.one(x))))
        return self.head(self.relu(x.mean((2, 3)) + torch.ones(8)))


def test_a_layer_that_is_used_again_and_a_tensor_made_on_the_way_survive_the_export(tmp_path):
    torch.manual_seed(0)
    module = Reused().eval()
    program = load_program(save(tmp_path / "reused.pt2", module), trust=True)
    for _ in range(2):
        assert torch.allclose(program(images(3)), module(images(3)), atol=1e-6)
    # Where it makes tensors follows the network: here to a device without memory.
    assert copy.deepcopy(program).to("meta")(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 3)


def vit() -> nn.Module:
    torch.manual_seed(0)
    module = models.VisionTransformer(
        image_size=16, patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=2
    )
    nn.init.normal_(module.heads.head.weight)
    return module.eval()


def test_an_exported_vision_transformer_has_its_tokens(tmp_path):
    module = vit()
    program = load_program(save(tmp_path / "vit.pt2", module, (2, 3, 16, 16)), trust=True)
    info = choose_layer(program, 3, (16, 16))
    assert (info.name, info.layout) == ("encoder.layers.encoder_layer_1.ln_1", Layout("tokens", 16, 4, 4, 1))
    x = torch.randn(2, 3, 16, 16)
    maps = [
        get_method("gradcam")(Classifier(m, ("a", "b"), plain(16, 16, 3), info.name, "vit"), x).maps
        for m in (module, program)
    ]
    assert torch.allclose(maps[0], maps[1], atol=1e-5)


def quick(classifier: Classifier) -> Any:
    dataset = stripes({"train": 16, "val": 8})
    config = RetuneConfig(method="transplant+pasa", iterations=3, batch_size=4, check_every=3, seed=0)
    return run_to_end(retune(classifier, dataset, known(dataset, count=4), config))


@pytest.mark.parametrize("kind", ["vit", "export"])
def test_a_vision_transformer_and_a_program_can_be_retuned(tmp_path, kind):
    if kind == "vit":
        module = vit()
        module.conv_proj = nn.Conv2d(1, 16, 4, 4)
        layer = "encoder.layers.encoder_layer_1.ln_1"
    else:
        path = save(tmp_path / "gray.pt2", network(1, 2), (2, 1, 16, 16))
        module, layer = load_program(path, trust=True), "4"
    classifier = Classifier(module, ("across", "along"), plain(16, 16), layer, kind)
    before = classifier.fingerprint()
    result = quick(classifier)
    assert result.status == "done"
    assert classifier.fingerprint() == before
    losses = [row for row in result.history if "loss_pasa" in row]
    assert len(losses) == 3
    assert all(row["loss_pasa"] > 0 for row in losses)
    assert result.classifier.layout == classifier.layout
    assert not any(child._forward_hooks for child in result.classifier.module.modules())


# What cannot be used ----------------------------------------------------------------------------------


def test_a_program_for_batches_of_one_size_gives_the_way_out_and_the_way_out_works(tmp_path):
    path = save(tmp_path / "fixed.pt2", network(), (1, 3, 32, 32), None)
    with pytest.raises(
        ModelError,
        match=r"^fixed\.pt2 takes exactly 1 image at a time; export it anew for any number, with "
        r"torch\.export\.export\(model\.eval\(\), \(images,\), dynamic_shapes=\(\{0: torch\.export\.Dim\.AUTO\},\)\)\.$",
    ):
        load_program(path, trust=True)
    info = program_info(path)
    assert info is not None
    assert info.input_size == (3, 32, 32)
    model, inputs = network(), images()
    again = torch.export.export(model.eval(), (inputs,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(again, path)
    assert load_program(path, trust=True)(inputs).shape == (2, 3)


def test_a_program_exported_in_training_mode_gives_a_sentence(tmp_path):
    path = save(tmp_path / "training.pt2", nn.Sequential(network(), nn.Dropout()).train())
    with pytest.raises(
        ModelError, match=r"^training\.pt2 was exported in training mode; call model\.eval\(\) and export it"
    ):
        load_program(path, trust=True)


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((2, 3)), x


def test_a_program_that_is_no_image_classifier_gives_a_sentence(tmp_path):
    with pytest.raises(
        ModelError, match=r"^pair\.pt2 takes 1 inputs and gives 2 outputs; export a model that takes one batch"
    ):
        load_program(save(tmp_path / "pair.pt2", Pair()), trust=True)
    with pytest.raises(
        ModelError,
        match=r"^map\.pt2 takes tensors of 4 axes and gives tensors of 4; export a model that takes images \(N, C",
    ):
        load_program(save(tmp_path / "map.pt2", nn.Conv2d(3, 1, 1)), trust=True)


def test_torchscript_gives_the_ways_out_whatever_it_is_called(tmp_path):
    for name in ("named.pt", "named.ts"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.script(network()), str(tmp_path / name))
        with pytest.raises(
            ModelError,
            match=rf"^{re.escape(name)} is TorchScript, which torch no longer supports and which cannot be opened any more; "
            r"save the network with torch\.export as a \.pt2 file, or save its state dict and name its architecture",
        ):
            load_classifier(tmp_path / name, class_names=("a", "b", "c"), size=(32, 32), channels=3, trust=True)


def test_a_model_that_was_retuned_from_torchscript_gives_the_ways_out(tmp_path):
    made = small_gap()
    made.arch = "torchscript:/somewhere/net.pt"
    save_classifier(made, tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"^net\.pt is TorchScript, which torch no longer supports"):
        load_classifier(tmp_path / "m.safetensors", trust=True)


def test_a_program_that_is_cut_short_gives_a_sentence(folder, tmp_path):
    path = tmp_path / "cut.pt2"
    path.write_bytes((folder / "net.pt2").read_bytes()[:2000])
    with pytest.raises(
        ModelError, match=r"^cut\.pt2 is no archive of torch\.export or is cut short; copy it again, or export it anew"
    ):
        load_program(path, trust=True)


def test_another_kind_of_archive_gives_a_sentence(folder, tmp_path):
    with pytest.raises(ModelError, match=r"^weights\.pt holds no program of torch\.export; export it anew with"):
        load_program(folder / "weights.pt", trust=True)
    with pytest.raises(ModelError, match=r"^There is no model file .*missing\.pt2; check the path\.$"):
        load_program(tmp_path / "missing.pt2")
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as file:
        file.writestr("version", "8.8")
        file.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(ModelError, match=r"^old\.pt2 was exported by an old torch; with a newer one, export it anew"):
        load_program(tmp_path / "old.pt2", trust=True)


# What is malicious ------------------------------------------------------------------------------------


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def altered(source: Path, path: Path, edit: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(source) as file:
        parts = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    edit(parts)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in parts.items():
            file.writestr(f"archive/{name}", data)
    return path


def edit_json(parts: dict[str, bytes], name: str, change: Callable[[Any], None]) -> None:
    content = json.loads(parts[name])
    change(content)
    parts[name] = json.dumps(content).encode()


MODEL = "models/model.json"
CONSTANTS = "data/constants/model_constants_config.json"
WEIGHTS = "data/weights/model_weights_config.json"


def opaque(parts: dict[str, bytes], mark: Path) -> None:
    parts["data/constants/opaque_obj_0"] = pickle.dumps(Bomb(mark))
    payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    edit_json(parts, CONSTANTS, lambda content: content["config"].update(evil=payload))


def opaque_unmarked(parts: dict[str, bytes], mark: Path) -> None:
    opaque(parts, mark)
    edit_json(parts, CONSTANTS, lambda content: content["config"]["evil"].update(use_pickle=False))


def pickled_weight(parts: dict[str, bytes], mark: Path) -> None:
    parts["data/weights/weight_0"] = pickle.dumps(Bomb(mark))
    edit_json(parts, WEIGHTS, lambda content: content["config"]["0.weight"].update(use_pickle=True))


def expression(parts: dict[str, bytes], mark: Path) -> None:
    def change(content: Any) -> None:
        size = content["graph_module"]["graph"]["tensor_values"]["input"]["sizes"][0]
        size["as_expr"]["expr_str"] = f"__import__('pathlib').Path({str(mark)!r}).touch()"

    edit_json(parts, MODEL, change)


def operator(target: str) -> Callable[[dict[str, bytes], Path], None]:
    def edit(parts: dict[str, bytes], _mark: Path) -> None:
        def change(content: Any) -> None:
            content["graph_module"]["graph"]["nodes"][2]["target"] = target

        edit_json(parts, MODEL, change)

    return edit


def name_of_layer(parts: dict[str, bytes], mark: Path) -> None:
    evil = f"0');__import__('pathlib').Path({str(mark)!r}).touch();('"
    parts[MODEL] = parts[MODEL].replace(b'"0.weight"', json.dumps(evil).encode())


def type_of_input(parts: dict[str, bytes], _mark: Path) -> None:
    parts[MODEL] = parts[MODEL].replace(b"builtins.tuple", b"antigravity.tuple")


REFUSED = [
    (opaque, r"the pickled object 'evil'"),
    (opaque_unmarked, r"the pickled object 'evil'"),
    (pickled_weight, r"the pickled object '0\.weight'"),
    (expression, r"the expression \"__import__"),
    (operator("torch.os.system"), r"the operator 'torch\.os\.system'"),
    (operator("torch.ops.load_library"), r"the operator 'torch\.ops\.load_library'"),
    (operator("torch.ops.aten.from_file.default"), r"the operator 'torch\.ops\.aten\.from_file\.default'"),
    (operator("_operator.methodcaller"), r"the operator '_operator\.methodcaller'"),
    (name_of_layer, r"the name "),
    (type_of_input, r"an input or output of a type of its own"),
]


@pytest.mark.parametrize(("edit", "what"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_an_archive_that_could_run_other_code_is_refused_even_if_trusted(folder, tmp_path, edit, what):
    mark = tmp_path / "touched"
    path = altered(folder / "net.pt2", tmp_path / "evil.pt2", lambda parts: edit(parts, mark))
    with pytest.raises(
        ModelError,
        match=rf"^evil\.pt2 holds {what}.*, which could run other code than the network's and is not loaded even if "
        r"trusted; save the model's state dict instead and name its architecture\.$",
    ):
        load_program(path, trust=True)
    assert not mark.exists()


def test_the_test_s_own_bomb_goes_off_where_torch_loads_it(folder, tmp_path):
    # Else the tests above would prove nothing.
    mark = tmp_path / "touched"
    path = altered(folder / "net.pt2", tmp_path / "evil.pt2", lambda parts: opaque(parts, mark))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.export.load(path)
        except Exception as error:
            pytest.skip(f"this torch does not load such archives at all: {error}")
    assert mark.exists()


def test_pickled_example_images_and_guards_are_left_out_of_what_is_loaded(folder, tmp_path):
    mark = tmp_path / "touched"

    def edit(parts: dict[str, bytes]) -> None:
        parts["data/sample_inputs/model.pt"] = pickle.dumps(Bomb(mark))
        guard = f"__import__('pathlib').Path({str(mark)!r}).touch()"
        edit_json(parts, MODEL, lambda content: content.update(guards_code=[guard]))

    path = altered(folder / "net.pt2", tmp_path / "examples.pt2", edit)
    program = load_program(path, trust=True)
    assert torch.allclose(program(images()), network()(images()), atol=1e-5)
    assert not mark.exists()


def test_a_classifier_of_ours_survives_the_export(tmp_path):
    ours = build_classifier("residual-vgg", ("a", "b"), plain(32, 32), seed=1)
    program = load_program(save(tmp_path / "ours.pt2", ours.module, (2, 1, 32, 32)), trust=True)
    assert choose_layer(program, 1, (32, 32)).name == ours.target_layer
    again = Classifier(program, ours.class_names, ours.preprocessing, ours.target_layer, "export")
    x = images(2, 1)
    assert torch.allclose(again.logits(x), ours.logits(x), atol=1e-5)
    np.testing.assert_allclose(get_method("gradcam")(again, x).maps, get_method("gradcam")(ours, x).maps, atol=1e-5)
