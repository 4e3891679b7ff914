"""The doctor: what works here, what does not and why, and nothing of whom it is told by."""

from __future__ import annotations

import getpass
import json
import platform
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from napari_cam_feedback.cli import main
from napari_cam_feedback.doctor import examine, machine, private, window
from napari_cam_feedback.doctor.self_test import SelfTest
from napari_cam_feedback.errors import DataError, FeedbackError


@pytest.mark.lengthy
def test_where_all_works_the_doctor_says_so_with_status_0_and_without_names(tmp_path, capsys):
    file = tmp_path / "doctor.json"
    assert main(["doctor", "--json", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith("All that was tried works here.")
    found = json.loads(file.read_text())
    tried = {check["name"]: check["status"] for check in found["checks"]}
    assert list(tried)[:2] == ["libraries", "napari's window opens"]
    assert list(tried)[-3:] == ["its model loads", "a heatmap is made", "ten steps of a retune are taken"]
    assert set(tried.values()) == {"ok"}
    assert {"torch", "napari", "Python", "device", "torch threads", "cores", "memory", "Qt", "OpenGL"} <= set(found["facts"])
    assert private.without_names(said) == said
    assert str(Path.home()) not in file.read_text()


@pytest.fixture
def no_window(monkeypatch):
    monkeypatch.setattr(window, "has_display", lambda: False)


@pytest.mark.usefixtures("no_window")
def test_what_fails_is_said_in_a_sentence_what_needs_it_is_left_out_and_the_status_is_1(monkeypatch, capsys):
    monkeypatch.setattr(SelfTest, "open_sample", lambda self: "2,297 images")

    def broken(self):
        raise DataError(f"The file {Path.home() / 'model'} is broken; copy it again.")

    monkeypatch.setattr(SelfTest, "load_model", broken)
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("note") and "there is no display here; the commands need none" in line for line in lines)
    assert any(line.startswith("failed    its model loads") for line in lines)
    assert any(line.endswith(f"The file {Path('~', 'model')} is broken; copy it again.") for line in lines)
    assert "left out  a heatmap is made" in lines
    assert "left out  ten steps of a retune are taken" in lines
    assert lines[-1] == "Not all works here: its model loads."


@pytest.mark.usefixtures("no_window")
def test_a_fault_of_ours_is_told_with_the_line_where_it_happened(monkeypatch):
    monkeypatch.setattr("napari_cam_feedback.sample_models.prepare_sample", lambda *_, **__: 1 / 0)
    (failed,) = examine().failed
    assert failed.name == "the sample opens"
    assert "ZeroDivisionError" in failed.said
    assert " At doctor/self_test.py:" in failed.said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ann/a/b.png is gone", "~/a/b.png is gone"),
        ("/home/anna/b.png", "/home/anna/b.png"),
        ("/data/ann/b.png on bench-3.lab.org", "/data/<user>/b.png on <host>"),
        ("bench-3: Annotation of channels", "<host>: Annotation of channels"),
        ("bench-33", "bench-33"),
    ],
)
def test_home_user_and_host_are_taken_out_and_nothing_that_only_begins_alike(monkeypatch, text, shown):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    monkeypatch.setattr(platform, "node", lambda: "bench-3.lab.org")
    assert private.without_names(text) == shown


def test_a_library_that_is_missing_or_too_old_is_named_with_the_command_that_mends_it(monkeypatch):
    wanted = [Requirement("numpy>=2.0"), Requirement("rich>=1000"), Requirement("no-such-library>=1")]
    monkeypatch.setattr(machine, "needed", lambda: wanted)
    with pytest.raises(FeedbackError, match='python -m pip install "rich>=1000" "no-such-library>=1"'):
        machine.check_libraries()


def test_a_window_whose_process_dies_is_told_with_its_last_words(monkeypatch):
    died = subprocess.CompletedProcess([], -6, "", 'qt.qpa: noise\nCould not load the Qt platform plugin "xcb".\n')
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: died)
    monkeypatch.setattr(window, "has_qt", lambda: True)
    with pytest.raises(
        FeedbackError, match=r'ended at once \(SIGABRT\): Could not load the Qt platform plugin "xcb"\. Update'
    ):
        window.try_window()
    monkeypatch.setattr(window, "has_qt", lambda: False)
    with pytest.raises(FeedbackError, match="napari has no Qt here, so there is no window; install one with"):
        window.try_window()
