"""The commands, as a user or a script runs them: files, figures, exit status, and the one line on stderr."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tifffile
from PIL import Image

from core_builders import stripes, without_look
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import open_dataset
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.models import load_classifier
from napari_cam_feedback.retuning import ValidationMetrics
from napari_cam_feedback.retuning.judging.validation import Validator
from napari_cam_feedback.retuning.judging.verdict import VerdictName
from napari_cam_feedback.retuning.optimisation.learning_rate import RATES
from napari_cam_feedback.retuning.weight_path import SHARES


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stripes as a folder of class folders with known masks."""
    folder = tmp_path_factory.mktemp("stripes")
    dataset = stripes({"train": 40, "val": 10, "test": 10})
    for index in range(len(dataset)):
        item = dataset.item(index)
        relative = Path(item.split) / dataset.class_names[item.label] / f"{index:03}.png"
        for where, pixels in (
            (folder / relative, dataset.read(index)),
            (folder / "masks" / relative, dataset.known_mask(index)),
        ):
            where.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8) * (255 if pixels.dtype == bool else 1)).save(where)
    return folder


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "m.safetensors"
    assert main(["train", str(data), "--out", str(file), "--epochs", "2", "--batch-size", "16"]) == 0
    return file


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end with status 2, one line on stderr and no traceback; return the line."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    lines = without_look(capsys.readouterr().err)
    assert len(lines) == 1, lines
    assert lines[0].startswith("napari-cam-feedback: ")
    return lines[0]


def test_train_writes_a_model_that_knows_its_classes_and_says_what_it_came_to(data, tmp_path):
    file, said = tmp_path / "m.safetensors", tmp_path / "m.json"
    assert main(["train", str(data), "--out", str(file), "--epochs", "1", "--seed", "3", "--json", str(said)]) == 0
    classifier = load_classifier(file)
    assert classifier.class_names == open_dataset(data).class_names
    assert classifier.arch == "small-gap"
    assert json.loads(said.read_text())["config"]["seed"] == 3


def test_train_makes_the_residual_network_of_the_thesis_with_64_filters(data, tmp_path):
    file = tmp_path / "r.safetensors"
    assert (
        main(["train", str(data), "--arch", "residual-vgg", "--size", "32", "32", "--out", str(file), "--epochs", "1"]) == 0
    )
    assert {info.name: info.shape for info in load_classifier(file).layers}["features"] == (64, 2, 2)


def test_a_split_that_was_made_for_the_training_is_the_one_judged_by(data, tmp_path):
    unsplit, file = tmp_path / "all", tmp_path / "m.safetensors"
    for image in (data / "train").rglob("*.png"):
        (unsplit / image.parent.name).mkdir(parents=True, exist_ok=True)
        (unsplit / image.parent.name / image.name).write_bytes(image.read_bytes())
    assert main(["train", str(unsplit), "--out", str(file), "--epochs", "1", "--seed", "3"]) == 0
    assert main(["predict", str(file), str(unsplit), "--split", "test", "--out", str(tmp_path / "p.csv")]) == 0
    judged = {row["key"] for row in csv.DictReader((tmp_path / "p.csv").open())}
    dataset = open_dataset(unsplit, seed=3)
    assert judged == {dataset.keys[i] for i in dataset.indices("test")}
    other = open_dataset(unsplit, seed=0)
    assert judged != {other.keys[i] for i in other.indices("test")}


def test_predict_writes_a_row_an_image_with_probabilities_that_add_up(data, model, tmp_path):
    file = tmp_path / "p.csv"
    assert main(["predict", str(model), str(data), "--split", "test", "--out", str(file)]) == 0
    rows = list(csv.DictReader(file.open()))
    assert len(rows) == 10
    names = open_dataset(data).class_names
    for row in rows:
        chances = [float(row[f"p_{name}"]) for name in names]
        assert sum(chances) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == names[int(np.argmax(chances))]
        assert row["key"].startswith("test/")


def test_explain_writes_maps_in_image_pixels_with_keys_and_targets(data, model, tmp_path):
    file = tmp_path / "maps.npz"
    arguments = ["explain", str(model), str(data), "--method", "gradcam", "--target", "true", "--out", str(file)]
    assert main(arguments) == 0
    with np.load(file, allow_pickle=False) as found:
        assert found["maps"].shape == (10, 16, 16)
        assert found["maps"].dtype == np.float32
        dataset = open_dataset(data)
        expected = [dataset.labels[dataset.index_of(str(key))] for key in found["keys"]]
        assert found["targets"].tolist() == [int(label) for label in expected]


def test_explain_into_a_folder_writes_one_tiff_an_image(data, model, tmp_path):
    assert main(["explain", str(model), str(data), "--split", "val", "--out", str(tmp_path / "maps")]) == 0
    files = sorted((tmp_path / "maps").rglob("*.tif"))
    assert len(files) == 10
    assert tifffile.imread(files[0]).dtype == np.float32


def test_evaluate_writes_the_json_of_the_contract(data, model, tmp_path):
    file = tmp_path / "e.json"
    assert main(["evaluate", str(model), str(data), "--json", str(file)]) == 0
    test = json.loads(file.read_text())["splits"]["test"]
    assert set(test) >= {"n", "accuracy", "per_class", "confusion", "right_reasons"}
    assert test["n"] == 10 == sum(map(sum, test["confusion"]))
    assert all(set(row) == {"precision", "recall", "f1", "support"} for row in test["per_class"].values())
    assert set(test["right_reasons"]) >= {"mask_share", "flip_rate", "masked_accuracy"}


def test_evaluate_shows_how_sure_it_is_and_of_how_many_masked_images(data, model, capsys, monkeypatch):
    monkeypatch.setattr("napari_cam_feedback.evaluation.measuring.masked_limit", lambda images, size: 4)
    assert main(["evaluate", str(model), str(data), "--split", "test"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "95 % interval" in said
    assert "images with a mask │ 4 of 10" in said
    assert "Of the masked images, refilled: test 4 of 10. --all measures the rest." in said
    assert main(["evaluate", str(model), str(data), "--split", "test", "--all"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "images with a mask │ 10" in said
    assert "refilled:" not in said


def interrupting(monkeypatch) -> None:
    """Press Ctrl-C when the first masked images are refilled."""
    from napari_cam_feedback.evaluation import measuring

    real = measuring.item_reasons

    def pressed(*args, **options):
        signal.raise_signal(signal.SIGINT)
        return real(*args, **options)

    monkeypatch.setattr(measuring, "item_reasons", pressed)


def test_ctrl_c_shows_what_was_evaluated_until_then(data, model, tmp_path, capsys, monkeypatch):
    interrupting(monkeypatch)
    assert main(["evaluate", str(model), str(data), "--json", str(tmp_path / "e.json")]) == 130
    said = capsys.readouterr()
    assert "Stopped; measured until then: train (of the last one, masked images not)." in said.err
    assert "train" in said.out
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["stopped"] is True
    assert list(found["splits"]) == ["train"]


def test_ctrl_c_while_a_retune_is_compared_loses_no_model(data, model, tmp_path, capsys, monkeypatch):
    interrupting(monkeypatch)
    run = tmp_path / "run"
    arguments = ["retune", str(model), str(data), "--n-masks", "6", "--device", "cpu", "--set", "iterations=2"]
    assert main([*arguments, "--out", str(run)]) == 130
    assert "Stopped before anything was measured. The model is saved all the same." in capsys.readouterr().err
    load_classifier(run / "model.safetensors")


def pressing_after(monkeypatch, iteration: int) -> None:
    """Press Ctrl-C when a retune has looked at the validation images after so many steps."""
    from napari_cam_feedback.cli.commands.retune import RunStateKeeper

    real = RunStateKeeper.__call__

    def pressed(self, run_state):
        real(self, run_state)
        if run_state.iteration == iteration:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunStateKeeper, "__call__", pressed)


def test_ctrl_c_in_a_retune_saves_the_best_so_far_and_measures_nothing_more(data, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ValidationMetrics, "score", property(lambda check: float(check.iteration)))
    run = tmp_path / "run"
    arguments = ["retune", str(model), str(data), "--device", "cpu", "--out", str(run)]
    settings = ["iterations=9", "check_every=2", "batch_size=8", "learning_rate=0.001"]
    with monkeypatch.context() as patch:
        pressing_after(patch, 4)

        def measured(*_args: object, **_options: object) -> None:
            raise AssertionError("measured after a stop")

        patch.setattr("napari_cam_feedback.evaluation.measuring.item_reasons", measured)
        patch.setattr("napari_cam_feedback.retuning.judging.validation.Validator.complete", measured)
        begun = [*arguments, "--n-masks", "6", *(part for each in settings for part in ("--set", each))]
        assert main(begun) == 130
    said = capsys.readouterr()
    assert "Stopped after 4 steps; --resume goes on from there." in said.err
    assert "Before and after" not in said.out
    assert load_classifier(run / "model.safetensors").info["retune"]["iteration"] == 4
    assert json.loads((run / "result.json").read_text())["comparison"]["after"]["splits"] == {}
    assert main([*arguments, "--resume"]) == 0
    assert set(json.loads((run / "result.json").read_text())["comparison"]["after"]["splits"]) == {"train", "val", "test"}
    assert not list(run.rglob(".tmp-*"))


def test_ctrl_c_before_the_first_step_of_a_retune_is_an_interruption_and_no_fault(
    data, model, tmp_path, capsys, monkeypatch
):
    real = Validator.start

    def pressed(*args):
        signal.raise_signal(signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(Validator, "start", pressed)
    run = tmp_path / "run"
    arguments = ["retune", str(model), str(data), "--n-masks", "6", "--device", "cpu", "--out", str(run)]
    assert main(arguments) == 130
    assert "Stopped before the first step; nothing was changed." in capsys.readouterr().err
    assert not run.exists()


def test_after_a_retune_a_sample_is_compared_unless_all_is_asked_for(data, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("napari_cam_feedback.evaluation.sampling.QUICK_PIXELS", 0)
    monkeypatch.setattr("napari_cam_feedback.evaluation.sampling.MIN_QUICK_IMAGES", 8)
    monkeypatch.setattr("napari_cam_feedback.evaluation.sampling.MIN_QUICK_MASKED", 3)
    arguments = ["retune", str(model), str(data), "--n-masks", "6", "--device", "cpu", "--set", "iterations=2"]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "test 8 of 10 images." in said
    assert "test 3 of 10. --all measures the rest." in said
    assert main([*arguments, "--all", "--out", str(tmp_path / "b")]) == 0
    assert "Measured on a sample" not in capsys.readouterr().out
    found = json.loads((tmp_path / "b" / "result.json").read_text())["comparison"]["after"]["splits"]["test"]
    assert (found["n"], found["right_reasons"]["n"]) == (10, 10)


def test_retune_writes_the_run_and_config_json_repeats_it_bit_for_bit(data, model, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    base = ["retune", str(model), str(data), "--masks", str(data / "masks"), "--n-masks", "6", "--device", "cpu"]
    settings = ["--set", "iterations=6", "--set", "check_every=6", "--set", "batch_size=8"]
    assert main([*base, *settings, "--method", "actdiff", "--seed", "5", "--out", str(first)]) == 0
    assert {p.name for p in first.iterdir()} >= {"model.safetensors", "config.json", "history.csv", "result.json"}
    rows = list(csv.DictReader((first / "history.csv").open()))
    # The models between the given and the best ones stand behind the steps.
    assert [row["iteration"] for row in rows if not row.get("share")] == [str(n) for n in range(7)]
    written = json.loads((first / "config.json").read_text())
    assert written["method"] == "actdiff"
    assert (written["learning_rate"], written["resolved"]["learning_rate"] in RATES) == (None, True)
    assert main([*base, "--config", str(first / "config.json"), "--out", str(second)]) == 0
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    # The run has its masks with it, so that its settings alone repeat it, whatever becomes of the user's.
    third = tmp_path / "c"
    alone = ["retune", str(model), str(data), "--device", "cpu", "--config", str(first / "config.json"), "--out", str(third)]
    assert main(alone) == 0
    assert (first / "model.safetensors").read_bytes() == (third / "model.safetensors").read_bytes()
    result = json.loads((first / "result.json").read_text())
    assert set(MaskStore(first / "masks")) == {*result["painted"], *result["held_out"]}
    assert result["verdict"]["name"] in get_args(VerdictName)
    assert result["comparison"]["rows"]


def test_models_between_the_given_and_the_best_weights_are_listed_and_written(data, model, tmp_path, monkeypatch, capsys):
    score = property(lambda check: check.iteration + (0.5 if check.share == 0.75 else 0.0))
    monkeypatch.setattr(ValidationMetrics, "score", score)
    # One that knows more than the shortcut, and lost something, has stops in between.
    monkeypatch.setattr("napari_cam_feedback.retuning.judging.metrics.LITTLE", -1.0)
    monkeypatch.setattr("napari_cam_feedback.retuning.weight_path.SHARES_NOTHING_LOST", SHARES)
    settings = ["--set", "iterations=4", "--set", "check_every=4", "--set", "batch_size=8", "--set", "learning_rate=0.001"]
    run = tmp_path / "run"
    base = ["retune", str(model), str(data), "--masks", str(data / "masks"), "--n-masks", "6", "--device", "cpu"]
    assert main([*base, *settings, "--full", "--out", str(run)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "The model returned is that of iteration 4, three quarters of the way from the given weights (done)." in said
    assert "How much of the old is kept (validation images)" in said
    assert re.search(r" 0% .* 25% .* returned .* 50% .* 75% ", said)
    assert f"The other models are in {run / 'checkpoints'}." in said
    # The checkpoint itself, and of the path what was not returned.
    files = {path.name for path in (run / "checkpoints").iterdir()}
    assert files == {"00004.safetensors", "00004-50.safetensors", "00004-25.safetensors"}
    given, best, half = (
        load_classifier(file).module.state_dict()
        for file in (model, run / "checkpoints/00004.safetensors", run / "checkpoints/00004-50.safetensors")
    )
    name = next(name for name, value in best.items() if value.is_floating_point())
    assert half[name].numpy() == pytest.approx(((given[name] + best[name]) / 2).numpy(), abs=1e-6)


def test_as_many_masks_are_learnt_from_as_were_asked_for(data, model, tmp_path):
    store = MaskStore(tmp_path / "masks")
    dataset = open_dataset(data)
    for index in (*dataset.indices("test"), *dataset.indices("train")[:6]):
        store.put(dataset.keys[int(index)], np.ones(dataset.image_size(int(index)), bool))
    base = ["retune", str(model), str(data), "--masks", str(tmp_path / "masks"), "--n-masks", "6", "--device", "cpu"]
    assert main([*base, "--set", "iterations=2", "--out", str(tmp_path / "run")]) == 0
    # None of the masks of test images, of which nothing is learnt, is among them.
    assert len(json.loads((tmp_path / "run/result.json").read_text())["painted"]) == 6


def test_a_broken_image_is_named_and_left_out_and_stops_nothing(data, model, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    broken = next((copy / "test").rglob("*.png"))
    broken.write_bytes(b"no image")
    assert main(["evaluate", str(model), str(copy), "--json", str(tmp_path / "e.json")]) == 0
    assert broken.name in capsys.readouterr().err
    assert json.loads((tmp_path / "e.json").read_text())["splits"]["test"]["n"] == 9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "nowhere.safetensors", "{data}"], "There is no model file"),
        (["evaluate", "{model}", "nowhere"], "nowhere"),
        (["evaluate", "{model}", "{empty}"], "class"),
        (["evaluate", "{model}", "{data}", "--masks", "nowhere"], "There is no folder nowhere"),
        (["evaluate", "{model}", "{data}", "--masks", "{empty}"], "None of the masks"),
        (["evaluate", "{model}", "{data}", "--split", "tset"], "tset"),
        (["evaluate", "{model}", "{data}", "--device", "tpu"], "There is no device 'tpu'"),
        (["explain", "{model}", "{data}", "--method", "gradcan", "--out", "x.npz"], "did you mean gradcam"),
        (["explain", "{model}", "{data}", "--target", "wolf", "--out", "x.npz"], "There is no class 'wolf'"),
        (["retune", "{model}", "{data}", "--method", "actdif", "--out", "{new}"], "did you mean actdiff"),
        (["retune", "{model}", "{data}", "--set", "iterations=-3", "--out", "{new}"], "iterations"),
        (["retune", "{model}", "{data}", "--set", "speed=3", "--out", "{new}"], "There is no setting 'speed'"),
        (["retune", "{model}", "{data}", "--set", "speed", "--out", "{new}"], "key=value"),
        (["retune", "{model}", "{data}", "--out", "{data}"], "is not empty"),
        (["train", "{data}", "--out", "model.onnx"], "must end in .safetensors"),
        (["train", "{data}", "--arch", "smal-gap", "--out", "{new}.safetensors"], "did you mean small-gap"),
        (["sample", "tagdigits", "--out", "{new}"], "There is no sample"),
        (["evaluate", "{model}"], "data"),
        (["evaluate", "{model}", "{data}", "--sede", "3"], "--sede"),
        (["evaluate", "{model}", "{data}", "--seed", "-1"], "--seed"),
        (["look"], "look"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_mend(arguments, said, data, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"data": data, "model": model, "empty": tmp_path / "empty", "new": tmp_path / "new"}
    assert said in fails(capsys, *(a.format(**places) for a in arguments))


def test_a_model_for_other_classes_is_refused_by_naming_both(data, model, tmp_path, capsys):
    other = tmp_path / "other"
    for name in ("cat", "dog"):
        (other / "test" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(other / "test" / name / "1.png")
    line = fails(capsys, "evaluate", model, other)
    assert "cat" in line


def test_a_full_disk_is_said_and_leaves_no_half_file(data, model, tmp_path, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    line = fails(capsys, "predict", model, data, "--out", tmp_path / "p.csv")
    assert "the disk is full" in line
    assert not list(tmp_path.iterdir())


def test_too_little_memory_is_said_with_its_remedy(data, model, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("napari_cam_feedback.data.cache.InputCache.batches", full)
    assert "use a smaller batch, smaller images, or the CPU" in fails(capsys, "evaluate", model, data)


@pytest.mark.parametrize(
    ("command", "place", "sentence"),
    [
        (["evaluate"], ["--json", "folder"], "folder is a folder, not a file; name a file."),
        (["predict"], ["--out", "folder"], "folder is a folder, not a file; name a file."),
        (["suggest"], ["--json=file/x.json"], "file is a file, not a folder; name another place with --json."),
        (["predict"], ["--out", "file/x.csv"], "file is a file, not a folder; name another place with --out."),
        (["explain"], ["--out", "file/deep/x.npz"], "file is a file, not a folder; name another place with --out."),
        (["explain"], ["--out", "x.npz", "--pictures", "file/x"], "name another place with --pictures."),
        (["retune"], ["--out", "file/x"], "file is a file, not a folder; name another place with --out."),
        (["filters"], ["--out", "file"], "file is a file; name a folder for the results."),
        (["concepts", "--concept", "x"], ["--out", "file"], "file is a file; name a folder for the results."),
    ],
)
def test_where_nothing_can_be_written_is_said_before_the_work(
    data, model, tmp_path, capsys, monkeypatch, command, place, sentence
):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").write_text("mine")
    monkeypatch.setattr("napari_cam_feedback.data.cache.InputCache.batches", lambda *_: pytest.fail("it worked first"))
    said = fails(capsys, command[0], model, data, *command[1:], *place)
    assert said.endswith(sentence)
    assert Path("file").read_text() == "mine"


def test_a_folder_that_may_not_be_written_to_is_said_before_the_work(data, model, tmp_path, capsys, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    # Whoever runs the tests as root may write everywhere.
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, *mode, **more: Path(path) != closed and may(path, *mode, **more))
    assert f"Nothing may be written to {closed}" in fails(capsys, "evaluate", model, data, "--json", closed / "a" / "x.json")


@pytest.mark.parametrize("option", ["--out", "--json", "--json="])
@pytest.mark.parametrize("which", ["model", "link", "image"])
def test_what_a_command_reads_is_not_written_over(data, model, tmp_path, capsys, option, which):
    paths = {"model": model, "link": tmp_path / "link.csv", "image": next(data.rglob("*.png"))}
    paths["link"].symlink_to(model)
    before = paths[which].read_bytes()
    words = [f"{option}{paths[which]}"] if option.endswith("=") else [option, str(paths[which])]
    out = [] if option == "--out" else ["--out", str(tmp_path / "p.csv")]
    assert main(["predict", str(model), str(data), *out, *words]) == 2
    assert "is a file that is there already and no result of such a command; name another" in capsys.readouterr().err
    assert paths[which].read_bytes() == before
