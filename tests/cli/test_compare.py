"""``compare``: the report of models and of a project's versions, what it prints, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core_builders import stripes, without_look
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import Preprocessing, open_dataset
from napari_cam_feedback.evaluation import compare_models
from napari_cam_feedback.models import build_classifier, load_classifier, save_classifier
from napari_cam_feedback.projects import Project, Version
from napari_cam_feedback.projects.comparing import runs_between

QUICK = ("--pictures", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """The stripes as class folders with known masks, and models of other random weights in ``a``, ``b`` and ``c``."""
    root = tmp_path_factory.mktemp("compare")
    dataset = stripes({"train": 8, "test": 8})
    for index in range(len(dataset)):
        item = dataset.item(index)
        relative = Path(item.split) / dataset.class_names[item.label] / f"{index:03}.png"
        mask = dataset.known_mask(index).astype(np.uint8) * 255
        for where, pixels in ((relative, dataset.read(index)), ("masks" / relative, mask)):
            file = root / "data" / where
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    preprocessing = Preprocessing(size=(16, 16), channels=1, mean=(0.5,), std=(0.25,))
    for seed, name in enumerate("abc"):
        save_classifier(
            build_classifier("small-gap", ("across", "along"), preprocessing, seed=seed), root / name / "model.safetensors"
        )
    (root / "b" / "painted.csv").write_text(
        "iteration,key,probability\n0,train/across/000.png,0.5\n5,train/across/000.png,0.9\n"
    )
    return root


def fails(capsys, *said: object) -> str:
    """Run a command that must end with status 2 and one line on stderr; return the line."""
    capsys.readouterr()
    assert main(["compare", *map(str, said)]) == 2
    lines = without_look(capsys.readouterr().err)
    assert len(lines) == 1, lines
    return lines[0].removeprefix("napari-cam-feedback: ")


def test_two_models_get_a_report_tables_and_json(here, tmp_path, capsys):
    out, said = tmp_path / "my out", tmp_path / "said.json"
    arguments = [str(here / "a/model.safetensors"), str(here / "b/model.safetensors"), str(here / "data")]
    assert main(["compare", *arguments, "--out", str(out), "--json", str(said), *QUICK]) == 0
    printed = capsys.readouterr().out
    # What decides comes first; the tables with --full.
    order = [printed.index(part) for part in ("b/model ", "The numbers that decide", "Next: ", "Report: ")]
    assert order == sorted(order)
    assert "test: b/model compared with a/model" not in printed
    assert "95 % interval" in printed
    assert f"Report: {out / 'report.html'}" in printed
    content = json.loads(said.read_text())
    models = {f"{name}/model": load_classifier(here / name / "model.safetensors", device="cpu") for name in "ab"}
    expected = compare_models(models, open_dataset(here / "data")).to_json()
    assert {key: content[key] for key in expected} == json.loads(json.dumps(expected))
    facts = content["facts"]
    assert facts["Model a/model"].startswith(f"{here / 'a/model.safetensors'}; small-gap, ")
    # What a shell makes of it is what was said.
    words = shlex.split(facts["Command"])
    assert words[:2] == ["napari-cam-feedback", "compare"]
    assert words[2:] == [*arguments, "--out", str(out), "--json", str(said), *QUICK]
    page = (out / "report.html").read_text(encoding="utf-8")
    # The run that made b lies beside it.
    assert "The painted images during retuning" in page
    assert "b/model: what the true class of each of the 1 painted images got." in page
    assert {file.name for file in out.iterdir()} == {
        "report.html", "report.json", "report.csv", "classes.csv", "confusion.csv", "tables.tex", "pictures",
        "flips-b-model.csv", "filters-b-model.csv",
    }  # fmt: skip


def test_three_models_with_names_of_their_own_a_run_and_one_split(here, tmp_path):
    out = tmp_path / "out"
    files = [str(here / name / "model.safetensors") for name in "abc"]
    names = ["--name", "first", "--name", "x&y", "--name", "last"]
    more = ["--split", "test", "--no-filters", "--run", str(here / "b")]
    assert main(["compare", *files, str(here / "data"), "--out", str(out), *names, *more, *QUICK]) == 0
    table = list(csv.DictReader((out / "report.csv").open()))
    assert list(dict.fromkeys(row["version"] for row in table)) == ["first", "x&y", "last"]
    assert {row["split"] for row in table} == {"test"}
    assert (out / "flips-x-y.csv").is_file()
    assert not list(out.glob("filters-*"))
    assert r"x\&y" in (out / "tables.tex").read_text()


@pytest.fixture
def project(here, tmp_path) -> Project:
    """A project with the three models as versions, the last two retuned from the one before."""
    made = Project.create(
        tmp_path / "project", open_dataset(here / "data"), load_classifier(here / "a/model.safetensors", device="cpu")
    )
    versions = list(made.versions)
    for number, name in enumerate("bc", 2):
        target = made.folder / "versions" / f"v00{number}.safetensors"
        target.write_bytes((here / name / "model.safetensors").read_bytes())
        run = made.folder / "runs" / f"run{number}"
        run.mkdir(parents=True)
        (run / "painted.csv").write_text((here / "b" / "painted.csv").read_text())
        versions.append(Version(id=f"v00{number}", parent=f"v00{number - 1}", created="now", origin="retuned", run=run.name))
    made._change(lambda _: {"versions": versions, "current": "v003"}, current="v003")
    return made


def test_versions_of_a_project_are_compared_on_its_own_data(project, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", "--project", str(project.folder), "v002", "v003", "--out", str(out), "--full", *QUICK]) == 0
    assert "test: v003 compared with v002" in capsys.readouterr().out
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "v002 → v003: what the true class" in page
    assert "v001 → v002" not in page
    # Without names, the first and the current one, by way of both runs.
    assert main(["compare", "--project", str(project.folder), "--out", str(out), *QUICK]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.index("v001 → v002: what") < page.index("v002 → v003: what")


def test_the_runs_between_versions_are_found_along_their_lineage(project):
    def names(*versions: str) -> list[str]:
        return [name for name, _ in runs_between(project, versions)]

    assert names("v001", "v003") == ["v001 → v002", "v002 → v003"]
    assert names("v003", "v001") == names("v001", "v003")
    assert names("v002", "v003") == ["v002 → v003"]
    assert names("v001", "v002", "v003") == ["v001 → v002", "v002 → v003"]
    # Of two branches, the way of each from where they part is part of it.
    fork = Version(id="v004", parent="v001", created="now", origin="retuned", run="run2")
    project._change(lambda state: {"versions": [*state.versions, fork]})
    assert names("v003", "v004") == ["v001 → v002", "v002 → v003", "v001 → v004"]


def test_what_cannot_be_compared_is_said_in_one_line(here, project, tmp_path, capsys):
    a, b, data = here / "a/model.safetensors", here / "b/model.safetensors", here / "data"
    out = tmp_path / "out"
    assert fails(capsys, a, data, "--out", out) == (
        "A comparison needs at least two models and, last, the data: compare MODEL_A MODEL_B DATA --out DIR."
    )
    assert fails(capsys, a, a, data, "--out", out) == "A model is named twice; a comparison needs different models."
    assert fails(capsys, a, b, data, "--out", out, "--name", "x") == (
        "--name must be given 2 times, each time another, or not at all."
    )
    assert re.match(
        "There is no run in .*nowhere: it has no painted.csv", fails(capsys, a, b, data, "--out", out, "--run", "nowhere")
    )
    assert fails(capsys, a, b, data, "--out", data / "test" / "report") == (
        f"{data / 'test' / 'report'} lies among the images of {data}; choose a folder outside of it."
    )
    assert fails(capsys, a, b, data, "--out", a) == f"{a} is a file; name a folder with --out."
    assert fails(capsys, "--project", project.folder, "v003", "--out", out) == (
        f"A comparison needs at least two different versions; {project.folder} has v001, v002, v003."
    )
    assert "The project has no version v009" in fails(capsys, "--project", project.folder, "v001", "v009", "--out", out)
    assert not out.exists()


def test_ctrl_c_ends_with_its_status_and_leaves_no_report(here, tmp_path, capsys, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_cam_feedback.evaluation.measuring.predict", interrupted)
    out = tmp_path / "out"
    arguments = [here / "a/model.safetensors", here / "b/model.safetensors", here / "data", "--out", out]
    assert main(["compare", *map(str, arguments)]) == 130
    assert capsys.readouterr().err.strip().endswith("Stopped.")
    assert not out.exists()
