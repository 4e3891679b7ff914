"""The commands for a project's versions and for masks of others, as a user or a script runs them."""

from __future__ import annotations

import io
import json
import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.cli import main
from napari_cam_feedback.data import open_dataset
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.models import load_classifier
from napari_cam_feedback.projects import Project
from napari_cam_feedback.recent import FOLDER_VARIABLE, note_project

pytest_plugins = ["widget_fixtures"]

PAGE = Path(__file__).parents[2] / "docs" / "projects.md"
KEY = "train/cat/00.png"


@pytest.fixture
def versions(project: Project) -> Project:
    """The project with a second version that nobody had to retune for."""
    from napari_cam_feedback.projects.manifest import Version, now

    project.folder.joinpath("versions/v002.safetensors").write_bytes(project.weights("v001").read_bytes())
    second = Version(
        id="v002", parent="v001", created=now(), origin="retuned", method="auto", iterations=40, masks=7, verdict="fixed",
        settings={"strength": 2.0},
    )  # fmt: skip
    project._change(lambda state: {"versions": [*state.versions, second], "current": "v002"}, current="v002")
    return project


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> tuple[str, str]:
    """Run a command; return what it said on stdout and on stderr."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == status
    said = capsys.readouterr()
    return said.out, said.err


def test_a_project_is_begun_with_a_model_and_its_images(files, capsys):
    said, _ = run(capsys, "project", "new", files.project, files.model, files.data)
    assert said.strip() == f"Project: {files.project}"
    assert Project.open(files.project).current.id == "v001"
    _, said = run(capsys, "project", "new", files.project, files.model, files.data, status=2)
    assert "holds a project already; open it, or choose another folder." in said


@pytest.mark.parametrize(
    "command", ["project info", "masks export", "masks import", "masks merge", "masks accept", "project recent", "train"]
)
def test_every_command_takes_seed_device_and_json(capsys, command):
    said, _ = run(capsys, *command.split(), "--seed", 1, "--device", "cpu", "--json", "x.json", "--help")
    assert "Usage:" in said


def test_info_shows_the_tree_with_what_was_done_and_the_verdict(versions, capsys, tmp_path):
    said, _ = run(capsys, "project", "info", versions.folder, "--json", tmp_path / "i.json")
    tree = [line for line in said.splitlines() if "│" in line and "v00" in line]
    assert tree[0].split("│")[0].strip() == "v001"
    assert [cell.strip() for cell in tree[1].split("│")[:4]] == ["└─ v002 (current)", "auto, 40 iterations", "7", "fixed"]
    assert "v002 with strength=2.0" in said
    assert "Current: v002" in said
    found = json.loads((tmp_path / "i.json").read_text())
    assert [v["id"] for v in found["versions"]] == ["v001", "v002"]
    assert found["masks"] == 0


def test_a_retune_of_the_shell_is_kept_as_a_version(project, files, capsys, tmp_path):
    for split in ("train/cat/00.png", "train/dog/00.png"):
        project.masks.put(split, np.ones((16, 16), bool))
    first = project.weights("v001")
    quick = ("--set", "iterations=1", "--set", "batch_size=4", "--device", "cpu")
    # The project's folder stands for its masks.
    run(capsys, "retune", first, files.data, "--masks", project.folder, *quick, "--out", tmp_path / "run")
    said, _ = run(capsys, "project", "keep", project.folder, tmp_path / "run")
    assert said.strip() == "Kept as v002, made from v001."
    opened = Project.open(project.folder)
    kept = opened.current
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert (kept.id, kept.parent, kept.method, kept.masks) == ("v002", "v001", "auto", 2)
    assert (kept.verdict, kept.iterations) == (result["verdict"]["name"], result["selected_iteration"])
    assert kept.settings == {"iterations": 1, "batch_size": 4}
    new = load_classifier(tmp_path / "run/model.safetensors", device="cpu")
    assert opened.classifier(device="cpu").fingerprint() == kept.fingerprint == new.fingerprint()
    record = opened.folder / "runs" / kept.run
    assert json.loads((record / "result.json").read_text())["kept"] == "v002"
    assert set(MaskStore(record / "masks")) == set(opened.masks)
    # A run that began with another model.
    run(capsys, "retune", files.model, files.data, "--masks", project.folder, *quick, "--layer", "features.0",
        "--out", tmp_path / "other")  # fmt: skip
    _, said = run(capsys, "project", "keep", project.folder, tmp_path / "other", status=2)
    assert "began with a model that is no version of the project; say which one it is (--parent)." in said
    said, _ = run(capsys, "project", "keep", project.folder, tmp_path / "other", "--parent", "v001")
    assert said.strip() == "Kept as v003, made from v001."
    _, said = run(capsys, "project", "keep", project.folder, files.data, status=2)
    assert "There is no finished run in" in said
    assert [version.id for version in Project.open(project.folder).versions] == ["v001", "v002", "v003"]


def test_images_that_were_moved_are_told_of_and_their_new_place_is_taken(versions, files, capsys, tmp_path):
    moved = files.data.rename(tmp_path / "moved")
    said, _ = run(capsys, "project", "info", versions.folder)
    assert f"Images: {files.data} (not there)" in said.replace("\n", "")
    said, _ = run(capsys, "project", "images", versions.folder, moved)
    assert said.replace("\n", "") == f"Images: {moved}"
    assert Project.open(versions.folder).dataset.source == moved


def test_select_and_delete(versions, capsys):
    run(capsys, "project", "select", versions.folder, "v001")
    assert Project.open(versions.folder).current.id == "v001"
    said, _ = run(capsys, "project", "delete", versions.folder, "v002", "--yes")
    assert said.strip() == "v002 was deleted; its entry stays in the tree."
    assert not (versions.folder / "versions/v002.safetensors").exists()
    said, _ = run(capsys, "project", "info", versions.folder)
    assert "deleted" in next(line for line in said.splitlines() if "v002" in line)
    _, said = run(capsys, "project", "delete", versions.folder, "v001", "--yes", status=2)
    assert said.strip().endswith("v001 is the only version of the project; it cannot be deleted.")


def test_delete_asks_and_a_no_leaves_everything(versions, capsys, monkeypatch):
    run(capsys, "project", "select", versions.folder, "v001")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    run(capsys, "project", "delete", versions.folder, "v002", status=130)
    assert (versions.folder / "versions/v002.safetensors").exists()


def test_export_by_the_ending_of_the_file(versions, capsys, tmp_path):
    run(capsys, "project", "export", versions.folder, "--version", "v001", "--out", tmp_path / "m.safetensors")
    first = versions.classifier("v001", device="cpu")
    assert load_classifier(tmp_path / "m.safetensors", device="cpu").fingerprint() == first.fingerprint()
    said, _ = run(capsys, "project", "export", versions.folder, "--out", tmp_path / "m.pt", "--json", tmp_path / "j.json")
    assert said.startswith("v002: ")
    assert json.loads((tmp_path / "j.json").read_text())["files"] == [str(tmp_path / n) for n in ("m.pt", "m.pt.json")]
    _, said = run(capsys, "project", "export", versions.folder, "--out", tmp_path / "m.h5", status=2)
    assert "let the name after --out end in one of .safetensors, .pt, .onnx, .pt2." in said


def test_an_exported_model_is_evaluated_without_options_and_it_is_said_what_was_read(versions, files, capsys, tmp_path):
    run(capsys, "evaluate", files.model, files.data, "--json", tmp_path / "first.json")
    expected = json.loads((tmp_path / "first.json").read_text())["splits"]
    for name, more in (("m.pt", []), ("m.pt2", ["--trust"])):
        run(capsys, "project", "export", versions.folder, "--version", "v001", "--out", tmp_path / name)
        _, said = run(capsys, "evaluate", tmp_path / name, files.data, *more, "--json", tmp_path / "found.json")
        splits = json.loads((tmp_path / "found.json").read_text())["splits"]
        assert {name: each["confusion"] for name, each in splits.items()} == {
            name: each["confusion"] for name, each in expected.items()
        }
        assert said.startswith(f"Taken from {name}.json, beside the model: the ")
        assert "Assumed" not in said


def test_save_as(versions, capsys, tmp_path):
    said, _ = run(capsys, "project", "save-as", versions.folder, tmp_path / "copy")
    assert said.strip() == f"Project: {tmp_path / 'copy'}"
    assert [v.id for v in Project.open(tmp_path / "copy").versions] == ["v001", "v002"]
    _, said = run(capsys, "project", "save-as", versions.folder, tmp_path / "copy", status=2)
    assert "copy is not empty; choose a new folder for the copy." in said


def test_what_cannot_be_deleted_is_said_without_a_question(versions, capsys):
    current = versions.current.id
    assert main(["project", "delete", str(versions.folder), current]) == 2
    said = capsys.readouterr().err
    assert f"{current} is the version in use; select another one before you delete it." in said
    assert "Delete them?" not in said


def test_recent_lists_what_was_opened_and_marks_what_is_gone(versions, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "state"))
    said, _ = run(capsys, "project", "recent")
    assert said.strip() == "No project was opened yet."
    note_project(tmp_path / "gone")
    note_project(versions.folder)
    said, _ = run(capsys, "project", "recent", "--json", tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == [
        {"folder": str(versions.folder), "there": True},
        {"folder": str(tmp_path / "gone"), "there": False},
    ]
    assert said.splitlines() == [str(versions.folder), f"{tmp_path / 'gone'}  (gone)"]


def test_no_project_is_one_line(capsys, tmp_path):
    for command in (["info"], ["select", "v001"], ["export", "--out", tmp_path / "m.pt"]):
        _, said = run(capsys, "project", command[0], tmp_path, *command[1:], status=2)
        assert said.strip().endswith(f"There is no project in {tmp_path}; choose a folder that holds project.json.")


# Masks -------------------------------------------------------------------------------------------------


def mask(*, right: bool = False) -> np.ndarray:
    painted = np.zeros((16, 16), bool)
    painted[:4, (8 if right else 0) : (12 if right else 8)] = True
    return painted


def test_masks_go_out_and_come_back_through_every_format(files, project, capsys, tmp_path):
    project.masks.put(KEY, mask())
    for name, kind in (("png", []), ("m.npz", []), ("m.json", []), ("tiff", ["--format", "tiff"])):
        said, _ = run(capsys, "masks", "export", project.folder, "--out", tmp_path / name, *kind)
        assert said.strip() == f"1 mask: {tmp_path / name}"
        back = tmp_path / f"back-{name}"
        said, _ = run(capsys, "masks", "import", tmp_path / name, files.data, "--out", back, "--author", "Ana")
        assert said.strip() == f"1 mask written. Folder: {back}"
        store = MaskStore(back)
        assert np.array_equal(store[KEY], mask())
        assert store.info(KEY)["author"] == "Ana"


def test_import_says_which_masks_fit_no_image(files, capsys, tmp_path):
    np.savez(tmp_path / "m.npz", **{KEY: mask(), "horse.png": mask(), "train/dog/00.png": np.ones((3, 3))})
    said, aside = run(capsys, "masks", "import", tmp_path / "m.npz", files.data, "--out", tmp_path / "out")
    assert said.startswith("1 mask written.")
    assert "horse.png fits no image of the dataset: no image is called so." in aside
    assert "train/dog/00.png cannot be used: it is 3x3 pixels and its image 16x16" in aside
    assert "--resize brings masks of another size to their image's" in aside
    np.savez(tmp_path / "n.npz", **{"horse.png": mask()})
    _, aside = run(capsys, "masks", "import", tmp_path / "n.npz", files.data, "--out", tmp_path / "out2", status=2)
    assert "None of the masks in" in aside
    assert not (tmp_path / "out2").exists()


def test_masks_of_other_splits_are_counted_in_one_line(files, capsys, tmp_path):
    dataset = open_dataset(files.data)
    keys = [dataset.keys[int(i)] for split in ("train", "test") for i in dataset.indices(split)[:3]]
    np.savez(tmp_path / "m.npz", **{key: mask() for key in keys})
    arguments = ("masks", "import", tmp_path / "m.npz", files.data, "--split", "test", "--out", tmp_path / "out")
    said, aside = run(capsys, *arguments, "--json", tmp_path / "j.json")
    assert said.startswith("3 masks written.")
    assert aside.strip() == "3 masks are of images of other splits than test, and left out."
    assert json.loads((tmp_path / "j.json").read_text())["other_split"] == keys[:3]


def test_an_empty_dictionary_of_masks_is_called_empty(files, capsys, tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({}))
    _, aside = run(capsys, "masks", "import", tmp_path / "m.pkl", files.data, "--out", tmp_path / "out", status=2)
    assert aside.strip().endswith(
        f"There are no masks in {tmp_path / 'm.pkl'}: its dictionary is empty; name another file or folder."
    )


def test_a_folder_of_images_is_not_exported_as_masks(files, capsys, tmp_path):
    _, aside = run(capsys, "masks", "export", files.data, "--out", tmp_path / "m.npz", status=2)
    assert aside.strip().startswith(f"napari-cam-feedback: {files.data} holds pictures that are no masks: ")
    assert "a mask is black and white" in aside
    assert not (tmp_path / "m.npz").exists()
    # Masks without an index are some all the same.
    folder = tmp_path / "known"
    folder.mkdir()
    Image.fromarray(mask().astype(np.uint8) * 255).save(folder / "1.png")
    said, _ = run(capsys, "masks", "export", folder, "--out", tmp_path / "m.npz")
    assert said.startswith("1 mask: ")


def test_an_ending_that_masks_cannot_be_written_with_is_refused(project, capsys, tmp_path):
    project.masks.put(KEY, mask())
    _, aside = run(capsys, "masks", "export", project.folder, "--out", tmp_path / "x.foo", status=2)
    assert aside.strip().endswith(
        "Masks cannot be written as x.foo; let the name after --out end in .npz or .json (COCO), or say --format png or "
        "--format tiff, for a folder."
    )
    assert not (tmp_path / "x.foo").exists()
    run(capsys, "masks", "export", project.folder, "--out", tmp_path / "x.foo", "--format", "png")
    assert (tmp_path / "x.foo").is_dir()


def test_merge_shows_the_conflicts_and_writes_nothing_before_they_are_settled(files, capsys, tmp_path):
    mine, theirs = MaskStore(tmp_path / "mine"), MaskStore(tmp_path / "theirs")
    mine.put(KEY, mask(), author="Ana")
    theirs.put(KEY, mask() | mask(right=True), author="Ben")
    theirs.put("train/dog/00.png", mask(), author="Ben")
    arguments = ("masks", "merge", tmp_path / "mine", tmp_path / "theirs", "--out", tmp_path / "out")
    said, aside = run(capsys, *arguments, status=2)
    row = next(line for line in said.splitlines() if KEY in line)
    assert "0.67" in row  # 32 of 48 pixels
    assert "32 px, Ana" in row
    assert "48 px, Ben" in row
    assert "(mine, theirs, union, intersection, newest), for all or for one image (--conflicts, --choose)." in aside
    assert not (tmp_path / "out").exists()
    said, _ = run(capsys, *arguments, "--conflicts", "mine", "--json", tmp_path / "m.json")
    assert "2 masks. Folder:" in said
    out = MaskStore(tmp_path / "out")
    assert np.array_equal(out[KEY], mask())
    assert out.info("train/dog/00.png")["author"] == "Ben"
    assert json.loads((tmp_path / "m.json").read_text())["taken"] == {KEY: "mine", "train/dog/00.png": "theirs"}
    again = (*arguments[:-1], tmp_path / "out2", "--choose", f"{KEY}=theirs")
    run(capsys, *again)
    assert np.array_equal(MaskStore(tmp_path / "out2")[KEY], mask() | mask(right=True))
    _, aside = run(capsys, *arguments[:-1], tmp_path / "mine", "--conflicts", "theirs", status=2)
    assert "holds masks to be merged; choose a new folder, so that none is lost." in aside
    _, aside = run(capsys, *arguments[:-1], tmp_path / "x", "--choose", "nonsense", status=2)
    assert "--choose needs KEY=CHOICE, as train/cat/1.png=theirs, not 'nonsense'." in aside


def test_a_project_s_split_and_images_are_found_by_the_import(files, project, capsys, tmp_path):
    dataset = open_dataset(files.data)
    np.savez(tmp_path / "m.npz", keys=["0"], masks=mask()[None])
    content = {0: mask(), 1: mask(right=True)}
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(content))
    run(capsys, "masks", "import", tmp_path / "m.pkl", files.data, "--split", "test", "--out", project.folder)
    first = [dataset.keys[int(i)] for i in dataset.indices("test")[:2]]
    assert sorted(Project.open(project.folder).masks) == sorted(first)


def test_masks_of_a_folder_that_has_none_is_one_line(capsys, tmp_path):
    _, said = run(capsys, "masks", "export", tmp_path, "--out", tmp_path / "x", status=2)
    assert said.strip().endswith(
        f"There are no masks in {tmp_path}; name a folder that holds masks (<key>.png), or a project."
    )


def test_the_help_of_every_command_is_there():
    for group, names in (
        ("project", ["new", "info", "select", "delete", "export", "save-as", "recent"]),
        ("masks", ["import", "export", "merge"]),
    ):
        for name in names:
            assert main([group, name, "--help"]) == 0


def test_the_examples_of_the_page_run_as_they_stand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "state"))
    examples = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    commands = 0
    for language, content in examples:
        if language == "python":
            exec(compile(content, str(PAGE), "exec"), {"__name__": "example"})
            continue
        for command in content.splitlines():
            _, *arguments = shlex.split(command, comments=True)
            run(capsys, *arguments)
            commands += 1
    assert commands >= 12
    assert sorted(MaskStore(tmp_path / "together")) == sorted(MaskStore(tmp_path / "merged"))
    assert len(MaskStore(tmp_path / "together")) > 100


def test_files_are_not_changed_by_looking(versions, capsys):
    before = {p: p.read_bytes() for p in Path(versions.folder).rglob("*") if p.is_file()}
    run(capsys, "project", "info", versions.folder)
    assert {p: p.read_bytes() for p in Path(versions.folder).rglob("*") if p.is_file()} == before
