"""The commands with every kind of model: what is written, what is said, and what is refused with its remedy."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runs import FACTORY, NAMES, fails, ours, run, small_gap, write_stripes
from core_builders import without_look
from napari_cam_feedback.models import save_classifier
from napari_cam_feedback.torch_loader import torch

# Words of the shell that describe the networks below.
SMALL = ["--size", "16", "16", "--mean", "0.5", "--std", "0.25"]
SHUFFLE = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stripes, gray, 16x16, as class folders with splits and known masks."""
    return write_stripes(tmp_path_factory.mktemp("stripes"))


def built_in_state(folder: Path) -> list[str]:
    torch.save(small_gap().module.state_dict(), folder / "m.pt")
    return [str(folder / "m.pt"), "--arch", "small-gap", *SMALL]


def nested_state(folder: Path) -> list[str]:
    weights = {f"module.{name}": tensor for name, tensor in small_gap().module.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights}, folder / "m.pth")
    return [str(folder / "m.pth"), "--arch", "small-gap", *SMALL]


def foreign_safetensors(folder: Path) -> list[str]:
    from safetensors.torch import save_file

    save_file(small_gap().module.state_dict(), folder / "m.safetensors")
    return [str(folder / "m.safetensors"), "--arch", "small-gap", *SMALL]


def torchvision_state(folder: Path) -> list[str]:
    from torchvision import models

    torch.manual_seed(0)
    torch.save(models.shufflenet_v2_x0_5(num_classes=2).state_dict(), folder / "m.th")
    return [str(folder / "m.th"), "--arch", SHUFFLE, "--size", "64", "64", "--no-crop"]


def timm_state(folder: Path) -> list[str]:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    torch.save(timm.create_model("resnet10t", num_classes=2).state_dict(), folder / "m.pt")
    return [str(folder / "m.pt"), "--arch", "timm:resnet10t", "--size", "64", "64", "--no-crop"]


def factory_module(num_classes: int = 2) -> torch.nn.Module:
    made: dict[str, Callable[..., torch.nn.Module]] = {}
    exec(FACTORY, made)
    torch.manual_seed(0)
    return made["tiny"](num_classes).eval()


def factory_state(folder: Path) -> list[str]:
    (folder / "net.py").write_text(FACTORY)
    torch.save(factory_module().state_dict(), folder / "m.pt")
    return [str(folder / "m.pt"), "--arch", f"{folder / 'net.py'}:tiny", *SMALL, "--channels", "1", "--trust"]


def exported(folder: Path) -> list[str]:
    program = torch.export.export(
        factory_module(), (torch.zeros(2, 1, 16, 16),), dynamic_shapes=({0: torch.export.Dim.AUTO},)
    )
    torch.export.save(program, folder / "m.pt2")
    return [str(folder / "m.pt2"), *SMALL, "--channels", "1", "--trust"]


KINDS = [
    ours,
    built_in_state,
    nested_state,
    foreign_safetensors,
    torchvision_state,
    timm_state,
    factory_state,
    exported,
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_any_kind_is_measured_predicts_and_is_explained(kind, data, tmp_path, capsys):
    model, *options = kind(tmp_path)
    out, err = run(capsys, "predict", model, data, "--out", tmp_path / "p.csv", *options)
    assert out.startswith(f"24 predictions in {tmp_path / 'p.csv'}, accuracy ")
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert len(rows) == 24
    assert all(float(row["p_across"]) + float(row["p_along"]) == pytest.approx(1, abs=1e-5) for row in rows)
    # What the file does not say is said; ours says everything.
    remarks = without_look(err)
    if kind is ours:
        assert remarks == []
    else:
        assert len(remarks) == 1
        assert "the dataset's classes, its folders in alphabetical order (across, along; else --classes)" in remarks[0]
        assert "the target layer " in remarks[0]

    run(capsys, "explain", model, data, "--method", "gradcam", "--out", tmp_path / "maps.npz", *options)
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as found:
        assert found["maps"].shape == (6, 16, 16)
        assert np.isfinite(found["maps"]).all()

    out, _ = run(capsys, "evaluate", model, data, "--json", tmp_path / "e.json", *options)
    assert out.startswith(Path(model).name)
    result = json.loads((tmp_path / "e.json").read_text())
    assert {name: split["n"] for name, split in result["splits"].items()} == {"train": 12, "val": 6, "test": 6}
    right = sum(row["label"] == row["predicted"] for row in rows if row["split"] == "test")
    assert result["splits"]["test"]["accuracy"] == pytest.approx(right / 6)


def test_a_program_predicts_as_its_module_does(data, tmp_path, capsys):
    """The commands' probabilities are those that torch gives for the same pixels."""
    module, item = factory_module(), next(iter((data / "test" / "along").iterdir()))
    pixels = (torch.from_numpy(np.array(Image.open(item))).float()[None, None] / 255 - 0.5) / 0.25
    with torch.inference_mode():
        expected = float(module(pixels).softmax(1)[0, 1])
    for kind in (factory_state, exported):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        run(capsys, "predict", *kind(folder), data, "--out", folder / "p.csv")
        rows = {row["key"]: row for row in csv.DictReader((folder / "p.csv").open())}
        assert float(rows[f"test/along/{item.name}"]["p_along"]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", [nested_state, factory_state])
def test_a_foreign_model_is_retuned_and_then_says_everything_itself(kind, data, tmp_path, capsys):
    model, *options = kind(tmp_path)
    wanted = ["--set", "iterations=2", "--set", "batch_size=4", "--set", "check_every=2", "--method", "actdiff"]
    out, err = run(
        capsys, "retune", model, data, "--out", tmp_path / "run", "--json", tmp_path / "r.json", *wanted, *options
    )
    assert err.startswith("Assumed, since it was not said: the dataset's classes")
    assert f"Run: {tmp_path / 'run'}" in out
    assert json.loads((tmp_path / "r.json").read_text())["skipped"] == {}
    trust = ["--trust"] if "--trust" in options else []
    out, err = run(capsys, "predict", tmp_path / "run" / "model.safetensors", data, "--out", tmp_path / "p.csv", *trust)
    assert out.startswith("24 predictions")
    assert not without_look(err)


def test_what_the_shell_says_wins_over_the_header(data, tmp_path, capsys):
    save_classifier(small_gap(), tmp_path / "m.safetensors")
    command = ["predict", tmp_path / "m.safetensors", data, "--split", "test", "--out", tmp_path / "p.csv"]

    def first(*options: str) -> float:
        run(capsys, *command, *options)
        return float(next(csv.DictReader((tmp_path / "p.csv").open()))["p_along"])

    as_saved = first()
    assert first("--mean", "0.5", "--std", "0.25", "--size", "16", "16") == as_saved
    for changed in (
        ["--mean", "0.1"],
        ["--std", "0.9"],
        ["--size", "20", "20"],
        ["--crop", "--resize-to", "24"],
        ["--value-range", "-100", "300"],
    ):
        assert first(*changed) != as_saved, changed


def test_channel_order_and_interpolation_are_taken_from_the_shell(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in NAMES:
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / "data" / "test" / name / "1.png")
    (tmp_path / "net.py").write_text(FACTORY.replace("Conv2d(1", "Conv2d(3"))
    made: dict[str, Callable[..., torch.nn.Module]] = {}
    exec((tmp_path / "net.py").read_text(), made)
    torch.manual_seed(0)
    torch.save(made["tiny"]().state_dict(), tmp_path / "m.pt")
    options = ["--arch", tmp_path / "net.py:tiny", "--trust", "--size", "16", "16"]

    def first(*more: str) -> float:
        run(capsys, "predict", tmp_path / "m.pt", tmp_path / "data", "--out", tmp_path / "p.csv", *options, *more)
        return float(next(csv.DictReader((tmp_path / "p.csv").open()))["p_along"])

    plain = first()
    assert first("--channel-order", "rgb", "--interpolation", "bilinear") == plain
    assert first("--channel-order", "bgr") != plain
    assert first("--interpolation", "bicubic") != plain


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", "along\nacross\n"),
        ("c.json", '["along", "across"]'),
        ("c.json", '{"0": "along", "1": "across"}'),
        ("c.json", '{"across": 1, "along": 0}'),
        ("c.csv", "along\nacross\n"),
        ("c.csv", "index,name\n0,along\n1,across\n"),
    ],
)
def test_class_names_from_a_file_are_in_the_order_of_the_outputs(name, content, data, tmp_path, capsys):
    model, *options = built_in_state(tmp_path)
    (tmp_path / name).write_text(content)
    command = ["predict", model, data, *options]
    run(capsys, *command, "--out", tmp_path / "folders.csv")
    _, err = run(capsys, *command, "--out", tmp_path / "named.csv", "--classes", tmp_path / name)
    assert "classes" not in err
    by_folders = list(csv.DictReader((tmp_path / "folders.csv").open()))
    named = {row["key"]: row for row in csv.DictReader((tmp_path / "named.csv").open())}
    for row in by_folders:
        assert named[row["key"]]["p_along"] == row["p_across"]
        assert named[row["key"]]["label"] == row["label"]


def test_the_target_layer_is_chosen_from_the_shell(data, tmp_path, capsys):
    model, *options = built_in_state(tmp_path)
    command = ["explain", model, data, "--method", "gradcam", *options]
    _, err = run(capsys, *command, "--out", tmp_path / "last.npz")
    assert "the target layer features (else --layer)" in err
    _, err = run(capsys, *command, "--out", tmp_path / "first.npz", "--layer", "features.1")
    assert "target layer" not in err
    with np.load(tmp_path / "last.npz") as last, np.load(tmp_path / "first.npz") as first:
        assert not np.allclose(last["maps"], first["maps"])


def test_tokens_of_a_transformer_are_laid_out_by_grid(data, tmp_path, capsys):
    from torchvision import models

    torch.manual_seed(0)
    small = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8}
    (tmp_path / "vit.py").write_text(
        "from torchvision.models.vision_transformer import VisionTransformer\n\n"
        f"def vit(num_classes):\n    return VisionTransformer(num_classes=num_classes, **{small})\n"
    )
    torch.save(models.VisionTransformer(num_classes=2, **small).state_dict(), tmp_path / "m.pt")
    options = ["--arch", f"{tmp_path / 'vit.py'}:vit", "--trust", "--size", "32", "32", "--channels", "3"]
    command = [
        "explain",
        tmp_path / "m.pt",
        data,
        "--method",
        "gradcam",
        *options,
        "--layer",
        "encoder.layers.encoder_layer_1.ln_1",
    ]
    run(capsys, *command, "--out", tmp_path / "found.npz")
    run(capsys, *command, "--grid", "4", "4", "--out", tmp_path / "said.npz")
    with np.load(tmp_path / "found.npz") as found, np.load(tmp_path / "said.npz") as said:
        assert np.allclose(found["maps"], said["maps"])
    line, _ = fails(capsys, *command, "--grid", "5", "5", "--out", tmp_path / "wrong.npz")
    assert "grid" in line


def test_a_pretrained_model_is_named_instead_of_a_file(tmp_path, capsys, monkeypatch):
    from torchvision import models

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("goldfish", "tench"):
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "data" / "test" / name / "1.png")
    command = ["predict", SHUFFLE, tmp_path / "data", "--out", tmp_path / "p.csv"]
    line, _ = fails(capsys, *command)
    assert "--download" in line
    assert "download.pytorch.org" in line

    weights = models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1
    cached = tmp_path / "torch" / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    torch.save(models.shufflenet_v2_x0_5().state_dict(), cached)
    out, err = run(capsys, *command)
    assert out.startswith("2 predictions")
    assert len(next(csv.DictReader((tmp_path / "p.csv").open()))) == 4 + 1000
    assert "classes" not in err
    assert "preprocessing" not in err
    line, _ = fails(capsys, *command, "--weights", "IMAGENET1K_V9")
    assert "IMAGENET1K_V9" in line
    assert "IMAGENET1K_V1" in line


def test_weights_that_do_not_fit_are_a_short_table_and_one_line(data, tmp_path, capsys):
    torch.save(small_gap().module.state_dict(), tmp_path / "m.pt")
    line, out = fails(capsys, "evaluate", tmp_path / "m.pt", data, "--arch", "residual-vgg", *SMALL, "--channels", "1")
    assert "m.pt" in line
    assert "residual-vgg" in line
    rows = out.strip().splitlines()
    assert rows[0].strip() == "Weights that do not fit"
    assert [part.strip() for part in rows[1].split("┃")] == ["name", "in the file", "in the architecture"]
    assert len(rows) == 3 + 12 + 1
    assert rows[-1].startswith("and ")
    assert rows[-1].endswith(" more")


def test_a_wrong_number_of_classes_is_in_the_table(data, tmp_path, capsys):
    model, *options = built_in_state(tmp_path)
    (tmp_path / "three.txt").write_text("across\nalong\nround\n")
    line, out = fails(capsys, "evaluate", model, data, *options, "--classes", tmp_path / "three.txt")
    assert "3" in line
    assert "2" in line
    if "head.weight" in out:
        assert "2x64" in out.replace(" ", "").replace("×", "x").replace("(2,64)", "2x64")


def test_code_runs_only_with_consent(data, tmp_path, capsys):
    for kind in (factory_state, exported):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        command = ["evaluate", *(word for word in kind(folder) if word != "--trust"), data]
        if kind is factory_state:
            (folder / "net.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n" + FACTORY)
        line, _ = fails(capsys, *command)
        assert "--trust" in line
        assert not (folder / "ran").exists()


def test_the_help_names_every_option_of_a_model_under_its_heading(capsys, monkeypatch):
    for name, value in {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    for command in ("predict", "explain", "retune", "evaluate"):
        out, _ = run(capsys, command, "--help")
        model = out.partition("The model, where its file does not say it")[2]
        for option in [
            "--arch",
            "--weights",
            "--classes",
            "--size",
            "--crop",
            "--no-crop",
            "--resize-to",
            "--interpolation",
            "--channels",
            "--channel-order",
            "--mean",
            "--std",
            "--value-range",
            "--layer",
            "--grid",
            "--trust",
            "--download",
        ]:
            assert f"{option} " in model, (command, option)
