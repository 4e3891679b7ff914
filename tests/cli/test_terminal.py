"""The commands in a terminal: help, tables, names that it cannot show, and how a process ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from napari_cam_feedback.cli.app import PlainConsole
from napari_cam_feedback.cli.show import show_table


def test_help_of_every_command_names_seed_device_and_json():
    for command in ("demo", "sample", "train", "predict", "explain", "retune", "evaluate"):
        found = subprocess.run(
            [sys.executable, "-m", "napari_cam_feedback.cli", command, "--help"], capture_output=True, text=True, check=True
        )
        for option in ("--seed", "--device", "--json"):
            assert option in found.stdout, (command, option)


def test_help_needs_no_torch():
    code = "import sys; from napari_cam_feedback.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_table_in_a_narrow_terminal_cuts_no_number(capsys, monkeypatch):
    monkeypatch.setattr("napari_cam_feedback.cli.show.out", PlainConsole(width=80, soft_wrap=True))
    columns = ["images", "measure", "before", "after", "change", "95 % interval"]
    long = ["test-clean", "accuracy, worst group", "0.720 (9, nothing painted)", "0.880 (9, nothing painted)"]
    show_table("Before and after", columns, [[*long, "+0.160 better", "+0.040…+0.280"]], numbers=4)
    lines = capsys.readouterr().out.splitlines()
    assert "+0.040…+0.280" in "\n".join(lines)
    assert max(map(len, lines)) <= 80


def test_in_a_narrow_terminal_names_of_columns_leave_room_for_what_is_below(capsys, monkeypatch):
    monkeypatch.setattr("napari_cam_feedback.cli.show.out", PlainConsole(width=80, soft_wrap=True))
    columns = ["old kept", "model", "accuracy", "where the shortcut conflicts", "changed predictions"]
    show_table("Models", columns, [["25%", "returned", "0.900", "0.900", "0.001"]])
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"25% +│ returned +│ +0.900 ", lines[-1])
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_name_that_the_terminal_cannot_show_is_written_by_its_numbers(encoding):
    command = [sys.executable, "-m", "napari_cam_feedback.cli", "predict", "m.safetensors", "日本", "--out", "x.csv"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"\\u65e5\\u672c does not exist" in done.stderr


def test_a_command_s_process_ends_without_a_search_through_all_objects(tmp_path):
    # Registered first, so asked last: what the interpreter's own search is spared then. With torch loaded it took seconds.
    code = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print('spared', gc.get_freeze_count()))\n"
        "from napari_cam_feedback.cli import main\n"
        "from napari_cam_feedback.torch_loader import torch\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "evaluate", "no-model", "no-data"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert int(done.stdout.split("spared")[1].split()[0]) > 100_000
