"""Several windows, shells and machines have one project open: nothing of anybody is lost, and nothing is mixed up."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from holders import KEYS, WRITERS, check, kill_one, new_project, run_all, run_round
from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.locking import SUFFIX, writing
from napari_cam_feedback.projects import ProjectFolder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="holders are forked processes")


def add(project: ProjectFolder, content: str = "weights") -> str:
    """Add a version."""
    return project.add_version(
        project.current.id,
        method="pas",
        masks=1,
        save=lambda path: path.write_text(content),
        record=lambda folder, kept: (folder / "result.json").write_text(json.dumps({"kept": kept})),
    ).id


@pytest.fixture
def folder(tmp_path) -> Path:
    return new_project(tmp_path / "project")


def test_twelve_processes_that_keep_a_version_at_once_have_twelve_versions(folder):
    assert run_all([lambda n=n: add(ProjectFolder(folder), f"of {n}") for n in range(12)]) == [0] * 12
    project = ProjectFolder(folder)
    assert [version.id for version in project.versions] == [f"v{n:03d}" for n in range(1, 14)]
    assert {project.weights(v.id).read_text() for v in project.available[1:]} == {f"of {n}" for n in range(12)}
    assert len({version.run for version in project.versions}) == 13


def test_a_window_that_only_moves_to_another_image_takes_no_version_away(folder):
    window, shell = ProjectFolder(folder), ProjectFolder(folder)
    kept = add(shell)
    window.remember(item="train/a/1.png")
    assert [v.id for v in ProjectFolder(folder).versions] == ["v001", kept]
    assert ProjectFolder(folder).remembered == {"item": "train/a/1.png"}
    assert ProjectFolder(folder).current.id == kept


def test_what_each_remembers_is_put_together(folder):
    one, other = ProjectFolder(folder), ProjectFolder(folder)
    one.remember(item="a", page=1)
    other.remember(page=2)
    assert ProjectFolder(folder).remembered == {"item": "a", "page": 2}


def test_a_version_of_another_holder_is_seen_after_a_refresh_and_the_one_in_use_stays(folder):
    window, shell = ProjectFolder(folder), ProjectFolder(folder)
    assert not window.refresh()
    kept = add(shell)
    assert [v.id for v in window.versions] == ["v001"]
    assert window.refresh()
    assert [v.id for v in window.versions] == ["v001", kept]
    # Else the next retune would be noted as one of a model that it did not begin with.
    assert (window.current.id, shell.current.id) == ("v001", kept)
    window.remember(item="x")
    assert not window.refresh()
    # Also where it was taken over with a change of one's own, as of the image in view.
    add(shell)
    window.remember(item="y")
    assert len(window.versions) == 3
    assert window.refresh()
    assert not window.refresh()


def test_a_version_that_another_has_selected_or_deleted_is_not_deleted_or_selected(folder):
    one, other = ProjectFolder(folder), ProjectFolder(folder)
    second = add(other)
    with pytest.raises(StorageError, match=f"{second} is the version in use"):
        ProjectFolder(folder).delete(second)
    other.select("v001")
    one.delete(second)
    with pytest.raises(StorageError, match=f"Version {second} was deleted on"):
        other.select(second)
    with pytest.raises(StorageError, match=f"Version {second} was deleted on"):
        other.delete(second)
    assert other.current.id == "v001"


def test_keeping_while_another_deletes_loses_neither(folder):
    one, other = ProjectFolder(folder), ProjectFolder(folder)
    second = add(one)
    one.select("v001")
    other.refresh()

    def record(run: Path, kept: str) -> None:
        (run / "result.json").write_text(kept)
        one.delete(second)  # in the midst of it

    third = other.add_version("v001", method="pas", masks=1, save=lambda path: path.write_text("third"), record=record).id
    found = ProjectFolder(folder)
    assert [(v.id, v.deleted is None) for v in found.versions] == [("v001", True), (second, False), (third, True)]
    assert found.weights(third).read_text() == "third"


def test_a_version_is_never_written_over_a_file_that_is_there(folder):
    # As one that an older program is just writing, or one whose keeper was killed.
    (folder / "versions/v002.safetensors").write_text("somebody's")
    assert add(ProjectFolder(folder)) == "v003"
    assert (folder / "versions/v002.safetensors").read_text() == "somebody's"


def test_whoever_is_killed_keeps_no_lock(folder):
    def take_and_die() -> None:
        with writing(folder / "project.json"):
            os.kill(os.getpid(), 9)

    assert run_all([take_and_die]) == [-9]
    assert (folder / f"project.json{SUFFIX}").exists()
    ProjectFolder(folder).remember(item="x")
    assert not (folder / f"project.json{SUFFIX}").exists()


def test_a_folder_where_the_locks_of_the_system_fail_is_locked_all_the_same(folder, monkeypatch):
    import fcntl

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")  # as a network's folder answers

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(fcntl, "lockf", refused)
    monkeypatch.setattr(fcntl, "fcntl", refused)
    assert run_all([lambda n=n: add(ProjectFolder(folder), f"of {n}") for n in range(4)]) == [0] * 4
    assert len(ProjectFolder(folder).versions) == 5


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_folder_where_no_lock_can_be_made_is_not_written_to_and_it_is_said(folder, monkeypatch, code):
    opened = os.open

    def refusing(path, *arguments: object, **more: object) -> int:
        if str(path).endswith(SUFFIX):
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, *arguments, **more)

    before = (folder / "project.json").read_bytes()
    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(StorageError, match=r"Could not write .*project\.json"):
        ProjectFolder(folder).remember(item="x")
    assert (folder / "project.json").read_bytes() == before


def test_a_lock_that_somebody_keeps_gives_a_sentence(folder, monkeypatch):
    from napari_cam_feedback import locking

    monkeypatch.setattr(locking, "_WAIT_SECONDS", 0.1)
    with writing(folder / "project.json"), pytest.raises(StorageError) as caught:
        ProjectFolder(folder).remember(item="x")
    assert str(caught.value).startswith(f"Another program has been writing {folder / 'project.json'} for more than a minute")
    assert ProjectFolder(folder).remembered == {}


@pytest.mark.parametrize("seed", range(2))
def test_three_holders_that_do_random_things_lose_and_mix_nothing(tmp_path, seed):
    run_round(tmp_path / "project", seed)


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_holders_lose_and_mix_nothing_in_hundreds_of_rounds(tmp_path):
    for seed in range(300):
        run_round(tmp_path / f"{seed}/project", seed, holders=2 + seed % 4)


def kills(folder: Path, each: int) -> int:
    """Kill every writer so many times, in turn, and see each time that all is there; return how often one was killed."""
    killed, logs = 0, []
    for seed in range(each * len(WRITERS)):
        logs.append(folder.with_name(f"log-{seed}"))
        killed += kill_one(folder, seed % 16, seed, logs[-1], WRITERS[seed % len(WRITERS)])
        check(folder, logs)
    return killed


def test_a_holder_that_is_killed_while_it_writes_loses_nothing_that_was_done(folder):
    assert kills(folder, 1) > 0


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_three_hundred_kills_over_all_writers_lose_nothing(folder):
    assert kills(folder, 300 // len(WRITERS) + 1) >= 300


def test_strokes_of_one_over_a_newer_mask_of_another_keep_both(folder):
    one, other = (MaskStore(folder / "masks", author=name) for name in ("Ana", "Ben"))
    masks = np.zeros((3, 8, 8), bool)
    for n in range(3):
        masks[n, n] = True
    assert one.put(KEYS[0], masks[0]) is None
    gave_way = other.put(KEYS[0], masks[1])
    assert gave_way is not None
    assert gave_way.folder.parent == folder / "masks-replaced"
    assert gave_way.sentence == (
        f"{KEYS[0]} was painted by Ana too, meanwhile; that mask is kept in {gave_way.folder}: merge it to take it, or both "
        "together."
    )
    kept = MaskStore(gave_way.folder)
    assert np.array_equal(kept[KEYS[0]], masks[0])
    assert kept.info(KEYS[0])["author"] == "Ana"
    assert np.array_equal(MaskStore(folder / "masks")[KEYS[0]], masks[1])
    # Both are told, each once; who has seen the other's paints over it.
    (change,) = one.refresh()
    assert (change.key, change.replaced) == (KEYS[0], gave_way)
    assert one.refresh() == other.refresh() == []
    assert np.array_equal(one[KEYS[0]], masks[1])
    assert one.put(KEYS[0], masks[2]) is None
    assert len(list((folder / "masks-replaced").iterdir())) == 1
