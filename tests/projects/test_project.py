"""A project on disk: versions with their parents, runs, what is remembered; as it was after any failure."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core_builders import TAG, same_weights, stripes
from napari_cam_feedback.data import ArrayDataset, open_dataset
from napari_cam_feedback.errors import DataError, ImagesMoved, ModelError, StorageError
from napari_cam_feedback.evaluation import compare
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing, load_classifier
from napari_cam_feedback.projects import Project, ProjectFolder, describe_version, lineage, save_run
from napari_cam_feedback.projects import versions as versions_module
from napari_cam_feedback.projects.painted_on import painted_on
from napari_cam_feedback.projects.runs import checkpoint_file
from napari_cam_feedback.retuning import RetuneConfig, RetuneResult, ValidationMetrics, retune, run_to_end


def write(dataset: ArrayDataset, folder: Path) -> Path:
    """Write a dataset as class folders and return the folder."""
    for n in range(len(dataset)):
        item = dataset.item(n)
        path = folder / item.split / dataset.class_names[item.label] / f"{n:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset.read(n)).save(path)
    return folder


@pytest.fixture(scope="module")
def master(tmp_path_factory) -> Path:
    return write(stripes({"train": 8, "val": 4, "test": 4}), tmp_path_factory.mktemp("project") / "data")


@pytest.fixture
def data(master, tmp_path) -> Path:
    return Path(shutil.copytree(master, tmp_path / "work/data"))


@pytest.fixture(scope="module")
def classifier(master) -> Classifier:
    dataset = open_dataset(master)
    return build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=7)


MASK = np.zeros((16, 16), bool)
MASK[:TAG, :TAG] = True


@pytest.fixture(scope="module")
def result(master, classifier) -> RetuneResult:
    """A retune of two steps with three painted images, whose last step is taken for the best."""
    dataset = open_dataset(master)
    masks = {dataset.keys[int(i)]: MASK for i in dataset.indices("train")[:3]}
    config = RetuneConfig(method="actdiff+transplant", iterations=2, check_every=1, batch_size=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ValidationMetrics, "score", property(lambda check: float(check.iteration)))
        return run_to_end(retune(classifier, dataset, masks, config))


@pytest.fixture
def project(data, classifier, tmp_path) -> Project:
    return Project.create(tmp_path / "work/project", open_dataset(data), classifier)


def paint(project: Project, result: RetuneResult) -> None:
    for key in result.painted_keys:
        project.masks.put(key, MASK)


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def full(monkeypatch) -> dict[str, str | None]:
    """A switch: while it names an ending, putting a file of that ending in its place fails: the disk is full."""
    switch: dict[str, str | None] = {"ending": None}
    original = os.replace

    def replace(source, target, **options):
        if switch["ending"] is not None and str(target).endswith(switch["ending"]):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return original(source, target, **options)

    monkeypatch.setattr(os, "replace", replace)
    return switch


def test_a_project_begins_with_the_classifier_as_its_first_version(project, data, classifier):
    assert Project.exists(project.folder)
    assert not Project.exists(data)
    assert [v.id for v in project.versions] == ["v001"]
    first = project.current
    assert (first.id, first.parent, first.run, first.verdict, first.origin) == ("v001", None, None, None, "loaded")
    again = Project.open(project.folder)
    assert again.versions == project.versions
    assert list(again.dataset.keys) == list(project.dataset.keys)
    loaded = again.classifier(device="cpu")
    assert loaded.fingerprint() == classifier.fingerprint()
    assert loaded.class_names == classifier.class_names


def test_other_programs_can_read_a_project(project):
    found = json.loads((project.folder / "project.json").read_text(encoding="utf-8"))
    assert found["schema_version"] == 1
    assert found["dataset"] == "../data"
    assert found["current"] == "v001"
    assert [v["id"] for v in found["versions"]] == ["v001"]
    assert sorted(content(project.folder)) == ["project.json", "versions/v001.safetensors"]


def test_the_version_that_was_painted_on_is_the_newest_of_that_time(project, result):
    keys = project.dataset.keys
    assert painted_on(project) == "v001"
    paint(project, result)
    project.keep(result)
    # Painted before there was any version, as masks that were imported: on the first.
    for key in list(project.masks):
        project.masks.put(key, MASK, time="2026-01-01T00:00:00+00:00")
    assert painted_on(project) == "v001"
    for n in range(len(keys)):
        project.masks.put(keys[n], MASK, time="2999-01-01T00:00:00+00:00")
    assert painted_on(project) == "v002"


def test_keeping_a_retune_makes_a_version_whose_parent_is_the_current_one(project, result):
    paint(project, result)
    version = project.keep(result)
    assert (version.id, version.parent, version.verdict) == ("v002", "v001", result.verdict.name)
    assert version.origin == "retuned from v001 by actdiff+transplant with 3 masks"
    project.select("v001")
    sibling = project.keep(result)
    child = project.keep(result)
    assert [(v.id, v.parent) for v in (sibling, child)] == [("v003", "v001"), ("v004", "v003")]
    again = Project.open(project.folder)
    assert again.versions == project.versions
    assert again.current.id == "v004"
    assert same_weights(again.classifier(device="cpu"), result.classifier)
    assert not same_weights(again.classifier("v001", device="cpu"), result.classifier)
    assert again.classifier("v001", device="cpu").fingerprint() != again.classifier("v002", device="cpu").fingerprint()
    assert len({v.run for v in again.versions[1:]}) == 3
    assert all((again.folder / "runs" / v.run / "result.json").is_file() for v in again.versions[1:])


def test_a_run_s_folder_holds_settings_history_results_and_masks(project, result):
    paint(project, result)
    classifier = project.classifier(device="cpu")
    comparison = compare(classifier, result.classifier, project.dataset, masks=project.masks, splits=["test"])
    run = project.folder / "runs" / project.keep(result, comparison).run
    written = json.loads((run / "config.json").read_text())
    # What was left open in the settings stands beside them, and is none of them.
    assert written.pop("resolved") == result.resolved
    assert written == result.config.model_dump(mode="json")
    found = json.loads((run / "result.json").read_text())
    assert found["verdict"] == {"name": result.verdict.name, "reason": result.verdict.reason}
    assert (found["parent"], found["kept"], found["status"]) == ("v001", "v002", result.status)
    assert found["painted"] == list(result.painted_keys)
    assert found["comparison"]["rows"][0]["measure"] == "accuracy"
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows if not row["share"]] == ["0", "1", "2"]
    assert [row["share"] for row in rows if row["share"]] == [str(check.share) for check in result.path] != []
    assert float(rows[1]["loss_total"]) == pytest.approx(result.history[1]["loss_total"])
    with (run / "painted.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["iteration", "key", "probability"]
    assert {row["key"] for row in rows} == set(result.painted_keys)
    masks = MaskStore(run / "masks")
    assert sorted(masks) == sorted(result.painted_keys)
    assert all(np.array_equal(masks[key], MASK) for key in masks)
    assert not (run / "model.safetensors").exists()  # the version holds the weights


def test_a_run_keeps_the_masks_that_it_learnt_from_and_repeats_after_they_were_changed(
    project, result, classifier, monkeypatch
):
    paint(project, result)
    first, second, *_ = result.painted_keys
    project.masks.put(first, ~MASK)
    project.masks.remove(second)
    run = MaskStore(project.folder / "runs" / project.keep(result).run / "masks")
    assert sorted(run) == sorted(result.painted_keys)
    assert all(np.array_equal(run[key], MASK) for key in run)
    monkeypatch.setattr(ValidationMetrics, "score", property(lambda check: float(check.iteration)))
    again = run_to_end(retune(classifier, project.dataset, run, result.config))
    assert same_weights(again.classifier, result.classifier)


def test_masks_in_the_layout_of_known_masks_go_into_the_run_too(project, result):
    for key in result.painted_keys:
        path = project.folder / "masks" / key  # without a second suffix
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(MASK.astype(np.uint8) * 255).save(path)
    again = Project.open(project.folder)
    run = again.discard(result)
    assert sorted(MaskStore(run / "masks")) == sorted(result.painted_keys)


def test_discarding_keeps_the_record_of_the_run_and_nothing_else(project, result):
    paint(project, result)
    before = content(project.folder)
    run = project.discard(result)
    after = content(project.folder)
    assert {name: data for name, data in after.items() if not name.startswith("runs/")} == before
    assert json.loads((run / "result.json").read_text())["kept"] is None
    assert Project.open(project.folder).current.id == "v001"


def test_runs_of_the_same_second_do_not_overwrite_each_other(project, result):
    assert len({project.discard(result) for _ in range(4)}) == 4


def test_selecting_a_version_is_remembered(project, result):
    project.keep(result)
    project.select("v001")
    assert Project.open(project.folder).current.id == "v001"
    with pytest.raises(StorageError, match=r"The project has no version v009; it has v001, v002\."):
        project.select("v009")
    assert project.current.id == "v001"
    with pytest.raises(StorageError, match="no version v009"):
        project.classifier("v009")


def test_small_values_are_remembered(project):
    project.remember(item="train/a/1.png", page=3)
    project.remember(page=4)
    assert project.remembered == {"item": "train/a/1.png", "page": 4}
    assert Project.open(project.folder).remembered == {"item": "train/a/1.png", "page": 4}
    project.remembered["page"] = 9
    assert project.remembered["page"] == 4


def test_remembering_the_same_again_writes_nothing(project, full):
    project.remember(page=3)
    full["ending"] = ".json"
    project.remember(page=3)


CHANGES = {
    "remember": lambda project, _: project.remember(page=4),
    "select": lambda project, _: project.select("v001"),
    "keep": lambda project, result: project.keep(result),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("ending", [".json", "project.json", ".safetensors", ".csv", ".png"])
def test_a_write_that_fails_leaves_the_project_as_it_was(project, result, full, change, ending):
    paint(project, result)
    project.keep(result)
    project.remember(page=3)
    before, versions, current = content(project.folder), project.versions, project.current
    full["ending"] = ending
    try:
        change(project, result)
        failed = ""
    except StorageError as error:
        failed = str(error)
    full["ending"] = None
    # Only keeping writes other files than project.json.
    assert bool(failed) == (ending.endswith(".json") or change is CHANGES["keep"])
    if failed:
        assert "the disk is full; free some space" in failed
        assert content(project.folder) == before
        assert (project.versions, project.current, project.remembered) == (versions, current, {"page": 3})
    # Once there is space again, it goes on from there.
    change(project, result)
    assert Project.open(project.folder).versions == project.versions
    assert Project.open(project.folder).remembered == project.remembered


def test_a_discarded_run_that_cannot_be_written_leaves_nothing_behind(project, result, full):
    before = content(project.folder)
    full["ending"] = "result.json"
    with pytest.raises(StorageError, match="the disk is full"):
        project.discard(result)
    assert content(project.folder) == before


def test_what_cannot_be_written_as_json_is_not_remembered_and_harms_nothing(project):
    project.remember(page=3)
    with pytest.raises(Exception, match="serialize"):
        project.remember(page=object())
    assert project.remembered == {"page": 3}
    project.remember(page=4)
    assert Project.open(project.folder).remembered == {"page": 4}


def test_two_threads_that_change_a_project_lose_nothing(project, result, monkeypatch):
    project.keep(result)
    inside, original = threading.Event(), versions_module.write_json

    def slow(path, value):
        # The first to come waits until the second has had time to write before it.
        if not inside.is_set():
            inside.set()
            selecting.join(0.5)
        original(path, value)

    selecting = threading.Thread(target=lambda: (inside.wait(), project.select("v001")))
    monkeypatch.setattr(versions_module, "write_json", slow)
    selecting.start()
    project.remember(page=3)
    selecting.join()
    again = Project.open(project.folder)
    assert (again.current.id, again.remembered) == ("v001", {"page": 3})


def test_a_folder_with_data_and_project_in_it_can_be_moved(project, tmp_path):
    shutil.move(tmp_path / "work", tmp_path / "elsewhere")
    again = Project.open(tmp_path / "elsewhere/project")
    assert again.dataset.source.resolve() == (tmp_path / "elsewhere/data").resolve()
    assert again.dataset.read(0).shape == (16, 16)
    assert again.classifier(device="cpu").num_classes == 2


def test_a_project_with_the_data_inside_it_can_be_moved(data, classifier, tmp_path):
    inside = tmp_path / "p"
    shutil.copytree(data, inside / "data")
    Project.create(inside, open_dataset(inside / "data"), classifier)
    shutil.rmtree(data)
    shutil.move(inside, tmp_path / "q")
    assert len(Project.open(tmp_path / "q").dataset) == 16


@pytest.mark.parametrize("inside", [".", "project", "train/project"])
def test_a_project_among_the_images_is_refused_since_its_masks_would_become_images(data, classifier, inside):
    before = content(data)
    with pytest.raises(StorageError, match=r"lies among the images of .*; choose a folder outside of it"):
        Project.create(data / inside, open_dataset(data), classifier)
    assert content(data) == before


def test_data_elsewhere_is_found_by_its_full_path_and_can_be_given_when_it_was_moved(data, classifier, tmp_path):
    project = Project.create(tmp_path / "other/place/project", open_dataset(data), classifier)
    assert json.loads((project.folder / "project.json").read_text())["dataset"] == str(data)
    shutil.move(data, tmp_path / "moved")
    with pytest.raises(ImagesMoved, match=r"are no longer in .*; put them back, or say where they are now"):
        Project.open(project.folder)
    again = Project.open(project.folder, open_dataset(tmp_path / "moved"))
    assert len(again.dataset) == 16


def test_where_the_images_are_now_is_noted(data, classifier, tmp_path):
    project = Project.create(tmp_path / "other/place/project", open_dataset(data), classifier)
    key = project.dataset.keys[0]
    project.masks.put(key, np.ones((8, 8), bool))
    shutil.move(data, tmp_path / "moved")
    before = content(project.folder)
    with pytest.raises(DataError, match=r"nowhere does not exist; check the path\."):
        Project.move_images(project.folder, tmp_path / "nowhere")
    # Other images than those that were painted.
    shutil.copytree(tmp_path / "moved", tmp_path / "others")
    (tmp_path / "others" / key).unlink()
    with pytest.raises(DataError, match=r"None of the 1 painted images of the project is in .*others; choose the place"):
        Project.move_images(project.folder, tmp_path / "others")
    assert content(project.folder) == before
    assert key in Project.move_images(project.folder, tmp_path / "moved").dataset.keys
    assert Project.open(project.folder).dataset.source == tmp_path / "moved"


def test_a_folder_that_holds_a_project_is_not_overwritten(project, classifier):
    before = content(project.folder)
    with pytest.raises(StorageError, match=r"holds a project already; open it, or choose another folder"):
        Project.create(project.folder, project.dataset, classifier)
    assert content(project.folder) == before


def test_a_project_that_cannot_be_made_gives_a_sentence_and_can_be_made_later(data, classifier, tmp_path, full):
    dataset = open_dataset(data)
    full["ending"] = "project.json"
    with pytest.raises(StorageError, match="the disk is full"):
        Project.create(tmp_path / "p", dataset, classifier)
    assert not Project.exists(tmp_path / "p")
    full["ending"] = None
    assert Project.create(tmp_path / "p", dataset, classifier).current.id == "v001"
    with pytest.raises(StorageError, match=r"A project needs a dataset that lies on disk; save the images first"):
        Project.create(tmp_path / "q", stripes(), classifier)
    other = build_classifier("small-gap", ("x", "y", "z"), classifier.preprocessing)
    with pytest.raises(ModelError, match="The model knows 3 classes"):
        Project.create(tmp_path / "q", dataset, other)
    assert not (tmp_path / "q").exists()


def test_a_folder_without_a_project_gives_a_sentence(tmp_path):
    with pytest.raises(StorageError, match=r"There is no project in .*; choose a folder that holds project\.json"):
        Project.open(tmp_path)


@pytest.mark.parametrize("broken", ["", "{", "[]", "{}", '{"dataset": "x", "current": "v001", "versions": [{"id": "one"}]}'])
def test_a_broken_project_file_gives_a_sentence_and_is_left_as_it_is(project, broken):
    (project.folder / "project.json").write_text(broken)
    with pytest.raises(StorageError, match=r"project\.json is (broken|not a JSON file).*; restore it"):
        Project.open(project.folder)
    assert (project.folder / "project.json").read_text() == broken


@pytest.mark.parametrize("change", [{}, {"versions": {"v001": {}}}])
def test_a_project_of_a_newer_version_of_the_program_is_refused(project, change):
    path = project.folder / "project.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2, **change}))
    with pytest.raises(StorageError, match=r"A newer version of napari-cam-feedback wrote .*; update the plugin"):
        Project.open(project.folder)


def test_a_lost_version_gives_a_sentence(project):
    (project.folder / "versions/v001.safetensors").unlink()
    with pytest.raises(ModelError, match=r"There is no model file .*v001\.safetensors; check the path"):
        Project.open(project.folder).classifier(device="cpu")


def test_masks_are_kept_with_the_project(project, result):
    paint(project, result)
    again = Project.open(project.folder)
    assert sorted(again.masks) == sorted(result.painted_keys)
    assert (project.folder / "masks/masks.json").is_file()


def test_a_run_without_a_project_holds_the_weights_too(result, tmp_path):
    masks = MaskStore(tmp_path / "masks")
    for key in result.painted_keys:
        masks.put(key, MASK, author="Ana")
    save_run(tmp_path / "run", result, masks=masks, extra={"command": "x"})
    others = [each.check for each in result.checkpoints if each.check.iteration not in (0, 2)]
    assert sorted(content(tmp_path / "run")) == [
        *sorted(f"checkpoints/{checkpoint_file(each.iteration, each.share)}" for each in (*others, *result.path)),
        "config.json",
        "history.csv",
        *sorted(f"masks/{name}" for name in ("masks.json", *(f"{key}.png" for key in result.painted_keys))),
        "model.safetensors",
        "painted.csv",
        "result.json",
    ]
    kept = MaskStore(tmp_path / "run/masks")
    assert all(np.array_equal(kept[key], MASK) and kept.info(key) == masks.info(key) for key in result.painted_keys)
    assert same_weights(load_classifier(tmp_path / "run/model.safetensors", device="cpu"), result.classifier)
    found = json.loads((tmp_path / "run/result.json").read_text())
    assert found["command"] == "x"
    assert found["comparison"] is None


def test_a_reopened_project_has_the_model_s_order_of_classes_and_the_split_it_began_with(data, tmp_path):
    unsplit = Path(shutil.copytree(data / "train", tmp_path / "work/unsplit"))
    names = tuple(reversed(open_dataset(unsplit).class_names))
    dataset = open_dataset(unsplit, seed=5, class_names=names)
    turned = build_classifier("small-gap", names, default_preprocessing(dataset), seed=7)
    Project.create(tmp_path / "work/again", dataset, turned)
    reopened = Project.open(tmp_path / "work/again").dataset
    assert reopened.class_names == names
    assert reopened.splits.tolist() == dataset.splits.tolist() != open_dataset(unsplit).splits.tolist()


# The tree of versions --------------------------------------------------------------------------------


def test_a_version_tells_what_was_done_and_with_what(project, result, classifier):
    paint(project, result)
    version = project.keep(result)
    assert (version.method, version.iterations, version.masks) == ("actdiff+transplant", result.selected_iteration, 3)
    # The method stands by itself; the others are what is other than the default.
    assert version.settings == {"iterations": 2, "check_every": 1, "batch_size": 4}
    assert version.fingerprint == result.classifier.fingerprint()
    assert project.version("v001").fingerprint == classifier.fingerprint()
    many = "iteration" if result.selected_iteration == 1 else "iterations"
    assert describe_version(version) == f"actdiff+transplant, {result.selected_iteration} {many}"
    assert describe_version(project.version("v001")) == "loaded"


def test_retuning_from_an_older_version_makes_a_branch(project, result):
    project.keep(result)
    project.keep(result)
    project.select("v001")
    project.keep(result)
    project.select("v002")
    project.keep(result)
    rows = lineage(project.versions)
    assert [(row.lines + row.version.id, row.depth) for row in rows] == [
        ("v001", 0),
        ("├─ v002", 1),
        ("│  ├─ v003", 2),
        ("│  └─ v005", 2),
        ("└─ v004", 1),
    ]
    # One whose parent is unknown, as in a file that somebody edited, is still shown.
    assert [row.depth for row in lineage(project.versions[1:])] == [0, 1, 1, 0]


def test_a_deleted_version_stays_in_the_tree_and_only_its_weights_go(project, result):
    project.keep(result)
    project.keep(result)
    before = content(project.folder)
    project.delete("v002")
    after = content(project.folder)
    assert before.keys() - after.keys() == {"versions/v002.safetensors"}
    assert [v.id for v in project.versions] == ["v001", "v002", "v003"]
    assert [v.id for v in project.available] == ["v001", "v003"]
    again = Project.open(project.folder)
    assert again.versions == project.versions
    assert again.version("v003").parent == "v002"
    assert [row.lines + row.version.id for row in lineage(again.versions)] == ["v001", "└─ v002", "   └─ v003"]
    day = again.version("v002").deleted[:10]
    for refused in (again.select, again.classifier, again.delete):
        with pytest.raises(StorageError) as caught:
            refused("v002")
        assert str(caught.value) == f"Version v002 was deleted on {day}; choose one of v001, v003."
    # Its number is not given again, which would confuse the two.
    assert again.keep(result).id == "v004"


def test_the_version_in_use_and_the_last_one_are_not_deleted(project, result):
    with pytest.raises(StorageError, match=r"v001 is the only version of the project; it cannot be deleted\."):
        project.delete("v001")
    project.keep(result)
    with pytest.raises(StorageError, match=r"v002 is the version in use; select another one before you delete it\."):
        project.delete("v002")
    project.delete("v001")
    with pytest.raises(StorageError, match="v002 is the only version"):
        project.delete("v002")
    assert same_weights(Project.open(project.folder).classifier(device="cpu"), result.classifier)


def test_a_version_that_cannot_be_removed_stays(project, result, monkeypatch):
    project.keep(result)

    original = Path.unlink

    def refuse(self, *more: object, **options: bool) -> None:
        if self.suffix == ".safetensors" and not self.name.startswith(".tmp-"):
            raise OSError(errno.EACCES, "Permission denied", str(self))
        original(self, *more, **options)

    before = content(project.folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(StorageError, match=r"Could not delete v001: .*you may not write or read there"):
            project.delete("v001")
    assert [v.id for v in project.available] == ["v001", "v002"]
    found = {name: data for name, data in content(project.folder).items() if "/.tmp-" not in f"/{name}"}
    assert found == before


def test_versions_can_be_looked_after_where_the_images_are_gone(project, result, data):
    project.keep(result)
    shutil.rmtree(data)
    folder = ProjectFolder(project.folder)
    assert folder.dataset_path == data
    folder.select("v001")
    folder.delete("v002")
    assert [v.id for v in ProjectFolder(project.folder).available] == ["v001"]


def test_a_project_of_the_program_s_first_versions_is_read(project):
    path = project.folder / "project.json"
    found = json.loads(path.read_text())
    old = ("id", "parent", "created", "origin", "run", "verdict")
    found["versions"] = [{name: version[name] for name in old} for version in found["versions"]]
    path.write_text(json.dumps(found))
    version = Project.open(project.folder).current
    assert (version.method, version.masks, version.settings, version.deleted) == (None, None, {}, None)


def test_masks_of_a_project_have_their_painter_s_name(project, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    again = Project.open(project.folder)
    again.masks.put("train/across/000.png", MASK)
    assert again.masks.info("train/across/000.png")["author"] == "ana"

    def nobody() -> str:
        raise KeyError("no such user")

    monkeypatch.setattr("getpass.getuser", nobody)
    again = Project.open(project.folder)
    again.masks.put("train/across/000.png", MASK)
    assert again.masks.info("train/across/000.png")["author"] is None


# Save as ---------------------------------------------------------------------------------------------


def test_a_copy_has_everything_and_finds_its_images_wherever_it_is(project, result, data, tmp_path):
    paint(project, result)
    project.keep(result)
    project.remember(item="x")
    (project.folder / "masks/.tmp-left").write_text("by a crash")
    before = content(project.folder)
    seen: list[tuple[int, int]] = []
    for target in (tmp_path / "far/away", tmp_path / "work/beside"):
        copy = project.save_as(target, progress=lambda *step: seen.append(step))
        assert copy.folder == target
        assert copy.dataset is project.dataset
        assert copy.versions == project.versions
        assert sorted(copy.masks) == sorted(project.masks)
        again = Project.open(target)
        assert again.dataset.source.resolve() == data.resolve()
        assert again.remembered == {"item": "x"}
        assert same_weights(again.classifier(device="cpu"), result.classifier)
        copied = content(target)
        assert copied.keys() == before.keys() - {"masks/.tmp-left"}
        assert all(copied[name] == before[name] for name in copied if name != "project.json")
    assert json.loads((tmp_path / "far/away/project.json").read_text())["dataset"] == str(data)
    assert json.loads((tmp_path / "work/beside/project.json").read_text())["dataset"] == "../data"
    assert content(project.folder) == before
    assert seen[-1][0] == seen[-1][1] > 0
    # The two go on by themselves.
    copy.select("v001")
    assert project.current.id == "v002"


def test_images_in_the_project_s_own_folder_come_along(data, classifier, tmp_path):
    inside = tmp_path / "p"
    shutil.copytree(data, inside / "data")
    project = Project.create(inside, open_dataset(inside / "data"), classifier)
    copy = project.save_as(tmp_path / "q")
    shutil.rmtree(inside)
    assert copy.dataset.source == tmp_path / "q/data"
    assert copy.dataset.read(0).shape == (16, 16)
    assert len(Project.open(tmp_path / "q").dataset) == 16


def test_a_copy_goes_into_no_folder_that_holds_something_and_not_into_the_project(project, data, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for target, sentence in (
        (tmp_path / "full", r"full is not empty; choose a new folder for the copy\."),
        (tmp_path / "full/mine.txt", r"mine\.txt is not empty; choose a new folder"),
        (project.folder, "lies in the project itself; choose a folder outside of it"),
        (project.folder / "masks/copy", "lies in the project itself"),
        (data / "train/copy", "lies among the images of"),
    ):
        before = content(tmp_path)
        with pytest.raises(StorageError, match=sentence):
            project.save_as(target)
        assert content(tmp_path) == before
    assert project.save_as(tmp_path / "empty").current.id == "v001"


@pytest.mark.parametrize("ending", [".safetensors", "project.json", "copy"])
def test_a_copy_that_fails_or_is_stopped_leaves_nothing(project, full, tmp_path, ending):
    before = content(tmp_path)
    full["ending"] = ending
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        project.save_as(tmp_path / "copy")
    full["ending"] = None
    assert content(tmp_path) == before
    assert not (tmp_path / "copy").exists()
    assert project.save_as(tmp_path / "copy", stop=lambda: True) is None
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_links_out_of_the_project_are_not_followed_by_a_copy(project, tmp_path):
    (tmp_path / "precious").mkdir()
    (project.folder / "out").symlink_to(tmp_path / "precious", target_is_directory=True)
    with pytest.raises(StorageError, match=r"out is a link to .*precious, outside of"):
        project.save_as(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["versions", "runs", "masks", "proposals", "filters", "undecided"])
def test_a_project_in_which_a_folder_is_a_link_out_of_it_is_not_opened_so_that_nothing_is_written_there(
    project, tmp_path, name
):
    outside = tmp_path / "precious"
    inside = project.folder / name
    inside.rename(outside) if inside.exists() else outside.mkdir()
    inside.symlink_to(outside, target_is_directory=True)
    with pytest.raises(StorageError, match=rf"{name} leads out of .* by a link; remove the link or choose another folder\."):
        Project.open(project.folder)


@pytest.mark.parametrize(
    "parents", [[], [("v001", None), ("v001", None)], [("v001", "v001")], [("v001", "v002"), ("v002", "v001")]]
)
def test_versions_that_are_no_tree_are_a_broken_project(parents, tmp_path):
    from napari_cam_feedback.projects import ProjectFolder

    entry = {"created": "2024-01-01T00:00:00+00:00", "origin": "loaded"}
    versions = [{**entry, "id": name, "parent": parent} for name, parent in parents]
    content = {"schema_version": 1, "dataset": "data", "current": "v001", "versions": versions}
    (tmp_path / "project.json").write_text(json.dumps(content))
    with pytest.raises(StorageError, match=r"project\.json is broken; restore it from a copy"):
        ProjectFolder(tmp_path)
