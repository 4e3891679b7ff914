"""What version 0.1.0 wrote is still read, and its Python names still work for a while and say what they are called now."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path

import pytest
from PIL import Image

import napari_cam_feedback.explanations as explanations
import napari_cam_feedback.retuning as retuning
from core_builders import known, stripes
from napari_cam_feedback.data import ArrayDataset, open_dataset
from napari_cam_feedback.explanations import explain_item
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing
from napari_cam_feedback.old_names import KEYS, current_header, current_names
from napari_cam_feedback.projects import Project, keep_run, save_run
from napari_cam_feedback.retuning import RetuneConfig, RetuneResult, load_run_state, retune, run_to_end, save_run_state
from napari_cam_feedback.torch_loader import torch

CONFIG = RetuneConfig(iterations=4, check_every=2, batch_size=8, freeze_batch_norm=False)
OLD_KEYS = {new: old for old, new in KEYS.items()}


@pytest.fixture(scope="module")
def dataset() -> ArrayDataset:
    return stripes({"train": 32, "val": 12, "test": 8}, contrast=15)


@pytest.fixture(scope="module")
def classifier(dataset) -> Classifier:
    return build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=1)


@pytest.fixture(scope="module")
def result(dataset, classifier) -> RetuneResult:
    return run_to_end(retune(classifier, dataset, known(dataset, count=12), CONFIG))


def with_old_names(value):
    """Plain values as 0.1.0 called them."""
    if isinstance(value, dict):
        return {OLD_KEYS.get(key, key): with_old_names(each) for key, each in value.items()}
    return type(value)(map(with_old_names, value)) if isinstance(value, list | tuple) else value


def age(run: Path) -> None:
    """Give the record of a run the names that 0.1.0 wrote."""
    path = run / "result.json"
    path.write_text(json.dumps(with_old_names(json.loads(path.read_text()))))
    header, rows = (run / "history.csv").read_text().split("\n", 1)
    (run / "history.csv").write_text(",".join(OLD_KEYS.get(name, name) for name in header.split(",")) + "\n" + rows)
    assert '"misled_accuracy"' in path.read_text()
    assert "val_misled_flip_rate" in (run / "history.csv").read_text()


# Files ------------------------------------------------------------------------------------------------------------


def test_names_are_brought_up_to_date_wherever_they_stand():
    old = {"before": {"misled_accuracy": 0.5, "n": 3}, "path": [{"misled_flip_rate": 0.25}], "verdict": {"name": "fixed"}}
    new = {
        "before": {"conflict_accuracy": 0.5, "n": 3},
        "path": [{"conflict_flip_rate": 0.25}],
        "verdict": {"name": "fixed"},
    }
    assert current_names(old) == new
    assert current_names(new) == new
    assert old["path"] == [{"misled_flip_rate": 0.25}]
    assert current_header("iteration,val_misled_accuracy\n0,0.5\n") == "iteration,val_conflict_accuracy\n0,0.5\n"


def test_a_run_of_0_1_0_is_kept_as_a_version_and_its_record_gets_the_present_names(dataset, classifier, result, tmp_path):
    for n in range(len(dataset)):
        item = dataset.item(n)
        path = tmp_path / "data" / item.split / dataset.class_names[item.label] / f"{n:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset.read(n)).save(path)
    project = Project.create(tmp_path / "project", open_dataset(tmp_path / "data"), classifier)
    run = tmp_path / "run"
    save_run(run, result, masks=known(dataset, count=12))
    now = json.loads((run / "result.json").read_text())
    age(run)
    version = keep_run(project, run, parent="v001")
    kept = project.folder / "runs" / version.run
    found = json.loads((kept / "result.json").read_text())
    assert (found["before"], found["after"], found["path"]) == (now["before"], now["after"], now["path"])
    assert found["before"]["conflict_accuracy"] == result.before.conflict_accuracy
    with (kept / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["val_conflict_accuracy"]) == pytest.approx(result.history[0]["val_conflict_accuracy"])
    assert "misled" not in (kept / "history.csv").read_text()


def test_a_run_that_0_1_0_stopped_goes_on(dataset, classifier, result, tmp_path):
    states = []
    masks = known(dataset, count=12)
    run_to_end(retune(classifier, dataset, masks, CONFIG, on_run_state=states.append))
    save_run_state(states[0], tmp_path / "state.pt")
    torch.save(with_old_names(torch.load(tmp_path / "state.pt", weights_only=True)), tmp_path / "old.pt")
    with pytest.raises(KeyError):
        torch.load(tmp_path / "old.pt", weights_only=True)["before"]["conflict_accuracy"]
    again = run_to_end(retune(classifier, dataset, masks, CONFIG, resume=load_run_state(tmp_path / "old.pt")))
    assert again.before == result.before
    assert again.history == result.history
    assert again.after == result.after


# Python -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Check", "ValidationMetrics"),
        ("Snapshot", "RunState"),
        ("load_snapshot", "load_run_state"),
        ("save_snapshot", "save_run_state"),
        ("Inspection", "Explanation"),
        ("Inspector", "ExplanationCache"),
        ("ClassInspector", "ClassMapsCache"),
        ("inspect_item", "explain_item"),
    ],
)
def test_a_public_name_of_0_1_0_still_works_and_says_what_it_is_called_now(old, new):
    module = retuning if hasattr(retuning, new) else explanations
    with pytest.warns(DeprecationWarning, match=f"^{old} is called {new} now"):
        found = getattr(module, old)
    assert found is getattr(module, new)


def test_a_name_that_never_was_is_still_an_error():
    with pytest.raises(AttributeError, match="has no attribute 'Checks'"):
        _ = retuning.Checks


def test_old_attributes_of_a_run_s_metrics_and_result_still_work(result):
    for old, new in (("misled_accuracy", "conflict_accuracy"), ("lying_flip_rate", "selection_flip_rate")):
        with pytest.warns(DeprecationWarning, match=f"^{old} is called {new} now"):
            assert getattr(result.before, old) == getattr(result.before, new)
    with pytest.warns(DeprecationWarning, match="^snapshot is called run_state now"):
        assert result.snapshot is result.run_state is None
    with pytest.raises(AttributeError, match="has no attribute 'misled'"):
        _ = result.before.misled


def test_an_old_argument_still_works(dataset, classifier):
    states = []
    with pytest.warns(DeprecationWarning, match="^on_snapshot is called on_run_state now"):
        running = retune(classifier, dataset, known(dataset, count=12), CONFIG, on_snapshot=states.append)
    next(running)
    assert [state.iteration for state in states] == [0]


def test_the_present_names_warn_of_nothing(dataset, classifier, result):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        assert 0 <= result.before.conflict_accuracy <= 1
        assert explain_item(classifier, dataset, 0).probabilities.sum() == pytest.approx(1)
