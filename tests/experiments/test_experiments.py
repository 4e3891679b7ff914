"""Experiments: what a file of settings may say, what is run, what is not run again, and the tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from core_builders import stripes
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import open_dataset
from napari_cam_feedback.errors import ConfigError, StorageError
from napari_cam_feedback.evaluation import evaluate
from napari_cam_feedback.experiments import (
    ExperimentConfig,
    latex_table,
    markdown_table,
    read_experiment,
    run_experiment,
    summarise,
)
from napari_cam_feedback.experiments import run as running
from napari_cam_feedback.models import load_classifier
from napari_cam_feedback.retuning.methods import METHODS
from napari_cam_feedback.steps import run_to_end

ROOT = Path(__file__).parents[2]
QUICK = "{ iterations = 2, check_every = 2, batch_size = 4 }"
TEXT = f"""
title = "Stripes & tags"
data = "data.npz"
painted = [4]
seeds = [3]
watched = ["across"]
training = {{ epochs = 1, batch_size = 8 }}

[[published]]
name = "theirs"
source = "Somebody 2020"
before = 0.5
after = 0.75

[[methods]]
method = "pas"
settings = {QUICK}

[[methods]]
name = "tap | strong"
method = "tap"
settings = {QUICK}
"""


@pytest.fixture
def file(tmp_path) -> Path:
    dataset = stripes({"train": 12, "val": 6, "test": 6}, contrast=15)
    arrays: dict[str, np.ndarray] = {"classes": np.array(dataset.class_names)}
    for split in dataset.split_names:
        indices = dataset.indices(split)
        arrays[f"x_{split}"] = np.stack([dataset.read(int(i)) for i in indices])
        arrays[f"y_{split}"] = dataset.labels[indices]
        arrays[f"masks_{split}"] = np.stack([dataset.known_mask(int(i)) for i in indices])
    np.savez(tmp_path / "data.npz", **arrays)
    path = tmp_path / "experiment.toml"
    path.write_text(TEXT.replace("across", dataset.class_names[0]))
    return path


def run(config: ExperimentConfig, folder: Path, **options) -> tuple[list[dict[str, str]], list[str]]:
    steps = []
    rows = run_to_end(run_experiment(config, folder, device="cpu", **options), steps.append)
    assert all(0 <= step.done <= step.total and 0 <= step.share <= 1 for step in steps)
    return rows, [step.text for step in steps]


def test_each_run_is_on_disk_and_is_not_done_again(file, tmp_path):
    config = read_experiment(file)
    rows, texts = run(config, tmp_path / "out")
    assert [(row["seed"], row["method"], row["masks"]) for row in rows] == [("3", "pas", "4"), ("3", "tap | strong", "4")]
    assert any("training" in text for text in texts)
    for row in rows:
        for name in ("train", "val", "test"):
            assert 0 <= float(row[f"{name}_before"]) <= 1
            assert 0 <= float(row[f"{name}_after"]) <= 1
        assert 0 <= float(row["flip_after"]) <= 1
        assert f"f1_{config.watched[0]}_after" in row
        assert row["status"] == "done"
    with (tmp_path / "out" / "runs.csv").open(newline="") as text:
        assert list(csv.DictReader(text)) == rows
    again, texts = run(config, tmp_path / "out")
    assert again == rows
    assert texts == []
    # A further method goes on with the model that is there.
    more = config.model_copy(update={"seeds": (3, 4)})
    rows, texts = run(more, tmp_path / "out")
    assert [row["seed"] for row in rows] == ["3", "3", "4", "4"]
    assert not any(text.startswith("seed 3") for text in texts)


def test_with_data_without_the_shortcut_each_run_tells_how_much_of_the_gap_it_closed(file, tmp_path, monkeypatch):
    config = read_experiment(file).model_copy(update={"without_shortcut": str(file.parent / "data.npz")})
    made = []
    monkeypatch.setattr(running, "evaluate", lambda *args, **kwargs: made.append(evaluate(*args, **kwargs)) or made[-1])
    rows, texts = run(config, tmp_path / "out")
    assert any(text.startswith("seed 3: training without the shortcut") for text in texts)
    assert (tmp_path / "out" / "models" / "3-without-shortcut.safetensors").is_file()
    before, reference, *after = (found.splits["test"].accuracy for found in made if "test" in found.splits)
    assert [float(row["test_reference"]) for row in rows] == pytest.approx([reference] * 2)
    if reference <= before:
        assert all("gap_closed" not in row for row in rows)
    else:
        shares = [(accuracy - before) / (reference - before) for accuracy in after]
        assert [float(row["gap_closed"]) for row in rows] == pytest.approx(shares, abs=1e-5)


def test_the_share_of_the_gap_is_that_of_the_accuracies(monkeypatch):
    def found(accuracy: float) -> SimpleNamespace:
        return SimpleNamespace(splits={"test": SimpleNamespace(accuracy=accuracy, right_reasons=None, per_class={})})

    # From 0.4 to 0.7 of 0.8: three quarters.
    assert running._measures(found(0.4), found(0.7), (), 0.8)["gap_closed"] == "0.75"
    # No gap where the model without the shortcut is no better.
    assert "gap_closed" not in running._measures(found(0.8), found(0.7), (), 0.8)
    assert "gap_closed" not in running._measures(found(0.8), found(0.9), (), 0.79)
    assert "gap_closed" not in running._measures(found(0.4), found(0.7), (), None)


def test_a_stopped_experiment_goes_on_from_there(file, tmp_path):
    config, asked = read_experiment(file), []
    rows, _ = run(config, tmp_path / "out", stop=lambda: (tmp_path / "out" / "runs.csv").is_file() or asked.append(1))
    assert [row["method"] for row in rows] == ["pas"]
    rows, _ = run(config, tmp_path / "out")
    assert [row["method"] for row in rows] == ["pas", "tap | strong"]


def test_a_folder_of_another_experiment_is_left_alone(file, tmp_path):
    config = read_experiment(file)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(StorageError, match=r"full is not empty; choose a new folder for the experiment\."):
        run(config, tmp_path / "full")
    run(config, tmp_path / "out")
    other = config.model_copy(update={"arch": "residual-vgg"})
    with pytest.raises(StorageError, match=r"out holds an experiment with other settings; choose a new folder\."):
        run(other, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("title = ", r"experiment\.toml is not TOML: "),
        ("data = 'x'", r"the setting 'title' is missing; add it\."),
        ("title = 'a'\nspeed = 3", r"there is no setting 'speed'; leave it out\."),
        (
            "title = 'a'\nmodel = 'm.pt'\nwithout_shortcut = 'd'",
            r"a model of your own cannot be trained without the shortcut; leave out without_shortcut\.",
        ),
        (
            "title = 'a'\npainted = [0]",
            r"the setting painted cannot be used: each number of painted images must be at least 1\.",
        ),
        ("title = 'a'\n[[methods]]\nmethod = 'pasta'", r"There is no retune method 'pasta'; did you mean "),
        ("title = 'a'\n[[methods]]\nsettings = {seeds = 3}", r"There is no setting 'seeds'; known are "),
        ("title = 'a'\nsettings = {seeds = 3}", r"There is no setting 'seeds'; known are "),
        ("title = 'a'\n[[methods]]\n[[methods]]", r"two methods have one name; give each a name of its own\."),
    ],
)
def test_what_is_wrong_in_a_file_is_said_before_hours_of_work(tmp_path, text, sentence):
    (tmp_path / "experiment.toml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_experiment(tmp_path / "experiment.toml")


def test_a_dataset_that_is_not_named_is_asked_for_and_can_then_be_given(file, tmp_path):
    config = read_experiment(file)
    with pytest.raises(ConfigError, match=r"The experiment names no dataset; add one\."):
        run(config.model_copy(update={"data": None}), tmp_path / "out")
    rows, _ = run(config, tmp_path / "out")
    assert len(rows) == 2


def test_the_table_has_means_and_deviations_and_what_was_published(file):
    config = read_experiment(file)
    rows = [
        {"seed": s, "method": "pas", "masks": "4", "test_before": "0.5", "test_after": a, "verdict": v, "seconds": "7.6"}
        for s, a, v in (("0", "0.6", "fixed"), ("1", "0.8", "harmed"))
    ]
    rows.append({"seed": "0", "method": "tap | strong", "masks": "4", "refused": "No convolutions."})
    table = summarise(config, rows)
    assert [(row.method, row.masks, row.seeds, row.remark) for row in table] == [
        ("theirs", None, 0, "Somebody 2020"),
        ("pas", 4, 2, "fixed, harmed"),
        ("tap | strong", 4, 0, "No convolutions."),
    ]
    # 0.6 and 0.8: mean 0.7, deviation with n - 1: sqrt(0.02) = 0.1414.
    assert table[1].cells["test after"] == pytest.approx((0.7, 0.1414), abs=1e-4)
    text = markdown_table(table)
    assert "| pas | 4 | 2 | 0.500 | 0.700 ± 0.141 | 8 | fixed, harmed |" in text
    assert "| theirs | – | – | 0.500 | 0.750 | – | Somebody 2020 |" in text
    assert "tap \\| strong" in text
    tex = latex_table(config, table)
    # For the width of a page: what was reached; where all started from is in the caption.
    assert "Method & Masks & test after & Verdicts" in tex
    assert r"pas & 4 & 0.700 $\pm$ 0.141 & fixed, harmed \\" in tex
    assert r"theirs & -- & 0.750 & Somebody 2020; before: test 0.500 \\" in tex
    assert r"Stripes \& tags. Mean and standard deviation over 2 seeds. Before: test 0.500." in tex


def test_a_bare_name_is_a_method_with_its_defaults(tmp_path):
    (tmp_path / "experiment.toml").write_text("title = 'a'\nmethods = ['tap', {name = 'b', method = 'pas'}]")
    config = read_experiment(tmp_path / "experiment.toml")
    assert [(entry.title, entry.method, entry.settings) for entry in config.methods] == [
        ("tap", "tap", {}),
        ("b", "pas", {}),
    ]


def test_settings_of_all_methods_give_way_to_those_of_one(tmp_path):
    (tmp_path / "experiment.toml").write_text(
        "title = 'a'\nsettings = {iterations = 7, batch_size = 4}\n"
        "methods = ['tap', {method = 'pas', settings = {iterations = 9}}]"
    )
    config = read_experiment(tmp_path / "experiment.toml")
    found = [entry.retuning(5, config.settings) for entry in config.methods]
    assert [(c.method, c.iterations, c.batch_size, c.seed) for c in found] == [("tap", 7, 4, 5), ("pas", 9, 4, 5)]


def test_a_seed_can_have_images_of_its_own(file, tmp_path):
    file.write_text(file.read_text().replace("data.npz", "data-{seed}.npz").replace("[3]", "[3, 4]"))
    (tmp_path / "data.npz").rename(tmp_path / "data-3.npz")
    with np.load(tmp_path / "data-3.npz") as arrays:
        # Of seed 4 no label of the test is right any more.
        np.savez(tmp_path / "data-4.npz", **{**arrays, "y_test": 1 - arrays["y_test"]})
    rows, _ = run(read_experiment(file), tmp_path / "out")
    assert [row["seed"] for row in rows] == ["3", "3", "4", "4"]
    models = [tmp_path / "out" / "models" / f"{seed}.safetensors" for seed in (3, 4)]
    for row, model, seed in zip(rows[::2], models, (3, 4), strict=True):
        before = evaluate(load_classifier(model), open_dataset(tmp_path / f"data-{seed}.npz"), splits=["test"])
        assert float(row["test_before"]) == pytest.approx(before.splits["test"].accuracy, abs=1e-5)


def test_the_command_prints_the_table_and_writes_it(file, tmp_path, capsys):
    assert (
        main(["experiment", str(file), "--out", str(tmp_path / "out"), "--device", "cpu", "--json", str(tmp_path / "j")])
        == 0
    )
    assert "| pas | 4 | 1 |" in capsys.readouterr().out
    assert "| pas | 4 | 1 |" in (tmp_path / "out" / "table.md").read_text()
    assert r"\toprule" in (tmp_path / "out" / "table.tex").read_text()
    assert len(json.loads((tmp_path / "j").read_text())["runs"]) == 2


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.toml")), ids=lambda path: path.stem)
def test_the_experiments_that_come_along_can_be_read(path):
    config = read_experiment(path)
    titles = [entry.title for entry in config.methods]
    assert {"continued", "misclassified", "augment", "inpaint", "crop", "dropout", "pas", "pasa", "auto"} <= set(titles)
    assert len(config.seeds) >= 3
    if config.without_shortcut is not None:
        # The table of every method on every data set is made of these.
        assert set(METHODS) <= set(titles)
