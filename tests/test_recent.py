"""The list of projects opened last: per user, the newest first, and never in the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_cam_feedback import recent
from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.recent import (
    FOLDER_VARIABLE,
    MAX_PROJECTS,
    note_project,
    recent_file,
    recent_projects,
)

SOURCE = Path(recent.__file__).parents[1]


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "state"))
    return tmp_path / "state"


def names() -> list[str]:
    return [each.folder.name for each in recent_projects()]


def test_the_last_one_opened_comes_first_and_once(tmp_path, state):
    assert recent_projects() == []
    assert not state.exists()  # asking writes nothing
    for name in ("a", "b", "c", "a"):
        note_project(tmp_path / name)
    assert names() == ["a", "c", "b"]
    for n in range(MAX_PROJECTS + 5):
        note_project(tmp_path / f"p{n}")
    assert len(names()) == MAX_PROJECTS


def test_a_project_that_is_gone_is_marked_so(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/project.json").write_text("{}")
    note_project(tmp_path / "there")
    note_project(tmp_path / "gone")
    assert [(each.folder.name, each.there) for each in recent_projects()] == [("gone", False), ("there", True)]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"projects": 3}', '{"projects": [1, null, ""]}'])
def test_a_broken_list_is_an_empty_one_and_is_written_anew(tmp_path, state, content):
    state.mkdir()
    (state / "recent.json").write_text(content)
    assert recent_projects() == []
    note_project(tmp_path / "a")
    assert names() == ["a"]


def test_a_list_that_cannot_be_written_gives_a_sentence(tmp_path, state):
    state.write_text("a file in the way")
    with pytest.raises(StorageError, match=r"Could not write .*recent\.json"):
        note_project(tmp_path / "a")


def test_it_lies_in_the_user_s_own_folder_of_the_system(monkeypatch, tmp_path):
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    if sys.platform.startswith("linux"):
        assert recent_file() == tmp_path / "home/.local/state/napari-cam-feedback/recent.json"
    assert "napari-cam-feedback" in recent_file().parts


def test_asking_loads_no_torch():
    code = "import sys, napari_cam_feedback.recent as r; r.recent_projects(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_windows_that_are_opened_at_once_are_all_in_the_list(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from napari_cam_feedback.recent import note_project as n; n"
    running = [subprocess.Popen([sys.executable, "-c", f"{code}({str(tmp_path / str(k))!r})"]) for k in range(6)]
    assert [each.wait(60) for each in running] == [0] * 6
    assert sorted(names()) == [str(k) for k in range(6)]
