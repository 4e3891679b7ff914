"""Several processes do what one does: real ones on the processor, started as a user starts them."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from safetensors.numpy import load_file

from napari_cam_feedback.cli import main
from napari_cam_feedback.data import make_sample
from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.models.parallel import agreed, gather_json, gather_rows, many_processes, one_process, own_blocks
from napari_cam_feedback.torch_loader import torch

PROGRAM = (sys.executable, "-m", "napari_cam_feedback.cli")
# What a launcher would set; the tests' own surroundings must not count.
LAUNCHERS = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
# Images of the test split: more than two batches of 64, so that both processes have some and one has more.
TEST = 144


CUDA = "1 cuda device" if torch.cuda.device_count() == 1 else f"{torch.cuda.device_count()} cuda devices"


def surroundings(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHERS}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *map(str, arguments), "--device", "cpu"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=surroundings(**environment))


def by_one(*arguments: object) -> None:
    assert main([*map(str, arguments), "--device", "cpu"]) == 0


def by_two(*arguments: object) -> str:
    """Run a command in two processes; return its stdout. It must not say anything on stderr that one does not say."""
    done = run(*arguments, "--devices", 2)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") <= 3, done.stderr
    return done.stdout


def maps_of(file: Path) -> tuple[np.ndarray, list[str], list[int]]:
    with np.load(file) as found:
        return found["maps"], found["keys"].tolist(), found["targets"].tolist()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the tagged digits, with their masks, as folders of class folders; one test image is no image."""
    folder = tmp_path_factory.mktemp("digits")
    dataset = make_sample("tag-digits", 0)
    for split, count in (("train", 200), ("val", 40), ("test", TEST)):
        indices = dataset.indices(split)
        for index in indices[np.linspace(0, len(indices) - 1, count).astype(int)]:
            item = dataset.item(int(index))
            relative = Path(split) / dataset.class_names[item.label] / f"{index:05}.png"
            mask = dataset.known_mask(int(index)).astype(np.uint8) * 255
            for where, pixels in ((folder / relative, dataset.read(int(index))), (folder / "masks" / relative, mask)):
                where.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(where)
    sorted((folder / "test").rglob("*.png"))[70].write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def model() -> Path:
    """A network that goes by the tags."""
    return Path(__file__).parents[2] / "sample_data" / "tag-digits" / "model.safetensors"


def test_a_retune_by_two_processes_gives_the_weights_and_the_verdict_of_one(data, model, tmp_path):
    chosen = ("iterations=10", "check_every=5", "freeze_batch_norm=true", "learning_rate=5e-4", "distillation=false")
    settings = ["--n-masks", 20, "--no-next", *(word for setting in chosen for word in ("--set", setting))]
    by_one("retune", model, data, *settings, "--out", tmp_path / "one")
    by_two("retune", model, data, *settings, "--out", tmp_path / "two")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    start = load_file(model)
    moved = max(float(np.abs(one[name] - start[name]).max()) for name in one)
    apart = max(float(np.abs(one[name] - two[name]).max()) for name in one)
    assert moved > 1e-3
    assert apart < 1e-4
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two")]
    assert results[0]["verdict"]["name"] == results[1]["verdict"]["name"]
    assert results[0]["selected_iteration"] == results[1]["selected_iteration"]


def test_an_evaluation_by_two_processes_is_that_of_one_to_the_last_digit_in_its_counts(data, model, tmp_path):
    by_one("evaluate", model, data, "--json", tmp_path / "one.json")
    said = by_two("evaluate", model, data, "--json", tmp_path / "two.json")
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one["splits"]["test"]["n"] == TEST - 1
    assert one["splits"]["test"]["right_reasons"]["n"] == TEST - 1
    assert one["splits"]["test"]["right_reasons"]["flip_rate"] > 0.1
    assert len(one["skipped"]) == 1
    assert two["skipped"] == one["skipped"]
    for name, split in one["splits"].items():
        reasons, others = split.pop("right_reasons"), two["splits"][name].pop("right_reasons")
        intervals, theirs = reasons.pop("intervals"), others.pop("intervals")
        assert others == pytest.approx(reasons, abs=1e-6)
        # Which values are alike to the last digit decides how they are drawn together.
        assert {key: pytest.approx(ends, abs=2e-3) for key, ends in intervals.items()} == theirs
        assert two["splits"][name] == split
    assert said.count("images with a mask") == 1


def test_maps_made_by_two_processes_are_in_one_file_in_the_order_of_one(data, model, tmp_path):
    for runs, name in ((by_one, "one"), (by_two, "two")):
        out = tmp_path / name
        more = ("--csv", out / "maps.csv", "--pictures", out / "pictures", "--json", out / "said.json")
        runs("explain", model, data, "--method", "gradcam", "--out", out / "maps.npz", *more)
    one, two = maps_of(tmp_path / "one" / "maps.npz"), maps_of(tmp_path / "two" / "maps.npz")
    assert len(one[1]) == TEST - 1
    assert one[1:] == two[1:]
    np.testing.assert_allclose(two[0], one[0], atol=1e-6 * float(np.abs(one[0]).max()))
    rows = [list(csv.reader((tmp_path / name / "maps.csv").open())) for name in ("one", "two")]
    assert [row[:4] for row in rows[0]] == [row[:4] for row in rows[1]]
    said = [json.loads((tmp_path / name / "said.json").read_text()) for name in ("one", "two")]
    assert (said[0]["n"], said[0]["skipped"]) == (said[1]["n"], said[1]["skipped"])
    pictures = [sorted(str(p.relative_to(tmp_path / name)) for p in (tmp_path / name).rglob("*")) for name in ("one", "two")]
    assert pictures[0] == pictures[1]  # and nothing but the files asked for


@pytest.mark.slow
def test_two_machines_share_the_work_of_the_same_command(data, model, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = ["explain", model, data, "--split", "test", "--out", tmp_path / "two", "--device", "cpu", "--nodes", 2]
    machines = [
        subprocess.Popen(
            [*PROGRAM, *map(str, command)],
            env=surroundings(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, NODE_RANK=str(number)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [machine.communicate(timeout=120) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert f"{TEST - 1} maps in" in said[0][0]
    assert said[1] == ("", "")
    by_one("explain", model, data, "--split", "test", "--out", tmp_path / "one")
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.tif"))
    assert files == sorted(p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*") if p.is_file())
    for file in files:
        one, two = tifffile.imread(tmp_path / "one" / file), tifffile.imread(tmp_path / "two" / file)
        np.testing.assert_allclose(two, one, atol=1e-6 * float(np.abs(one).max()))


@pytest.mark.slow
def test_what_fails_in_the_second_process_alone_is_said_once_by_the_first(data, model, tmp_path):
    # The masked images are measured in batches of 64, of which the second is the second process's.
    masks = tmp_path / "masks"
    images = sorted(p.relative_to(data) for p in (data / "test").rglob("*.png"))
    for number, image in enumerate(images[:100]):
        wrong = number == 90
        (masks / image).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 3) if wrong else (28, 28), 255, np.uint8)).save(masks / f"{image}.png")
    done = run("evaluate", model, data, "--masks", masks, "--split", "test", "--devices", 2)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert images[90].as_posix() in lines[0]
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a terminal's Ctrl-C is a signal to a group of processes")
def test_ctrl_c_ends_all_processes_with_one_word_and_leaves_nothing(data, model, tmp_path):
    out = tmp_path / "out"
    command = ["explain", model, data, "--method", "ablationcam", "--target", "all", "--split", "test"]
    # A slow method, so that there is time to press.
    command += ["--out", out / "maps.npz", "--pictures", out / "pictures", "--device", "cpu", "--devices", 2]
    started = subprocess.Popen(
        [*PROGRAM, *map(str, command)],
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 100
    while not list(out.rglob(".tmp-*")) and time.monotonic() < until and started.poll() is None:
        time.sleep(0.005)
    os.killpg(started.pid, signal.SIGINT)
    said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert said == ("", "napari-cam-feedback: Stopped.\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(started.pid, 0)
    assert not [file for file in out.rglob("*") if file.name.startswith(".tmp-") or file.suffix == ".npz"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"device": "cuda", "devices": 99}, f"This machine has {CUDA}, not 99; ask for fewer."),
        ({"device": "cpu", "devices": 1, "strategy": "dpp"}, "There is no strategy 'dpp'; choose one of auto, ddp."),
        (
            {"device": "cpu", "devices": 2, "precision": "half"},
            "There is no precision 'half'; choose one of 32-true, bf16-mixed, 16-mixed.",
        ),
        (
            {"device": "cpu", "devices": 1, "precision": "16-mixed"},
            "The processor cannot compute in 16-mixed; choose bf16-mixed or 32-true.",
        ),
    ],
)
def test_what_the_machine_does_not_have_is_said_before_anything_starts(given, sentence):
    with pytest.raises(ConfigError) as raised:
        many_processes(**given)
    assert str(raised.value) == sentence


def test_machines_that_do_not_know_of_each_other_are_told_what_to_set(data, model, tmp_path, capsys, monkeypatch):
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    capsys.readouterr()
    command = ["predict", model, data, "--out", tmp_path / "p.csv", "--device", "cpu", "--nodes", "2"]
    assert main([*map(str, command)]) == 2
    said = capsys.readouterr().err
    assert "MASTER_PORT and NODE_RANK are not set" in said
    assert len(said.splitlines()) == 1


def test_mixed_precision_changes_the_digits_of_the_probabilities_and_hardly_their_value(data, model, tmp_path):
    tables = []
    for name in ("32-true", "bf16-mixed"):
        by_one("predict", model, data, "--split", "val", "--out", tmp_path / f"{name}.csv", "--precision", name)
        rows = list(csv.reader((tmp_path / f"{name}.csv").open()))[1:]
        tables.append(np.array([row[4:] for row in rows], float))
    apart = np.abs(tables[0] - tables[1]).max()
    assert 0 < apart < 0.05


class Second:
    """Stands for the second of three processes."""

    global_rank, world_size = 1, 3


def test_each_process_has_every_third_batch_and_together_they_have_all():
    items = np.arange(10, 45)
    assert [(number, block.tolist()) for number, block in own_blocks(items, 8, Second())] == [
        (1, list(range(18, 26))),
        (4, list(range(42, 45))),
    ]
    assert [number for number, _ in own_blocks(items, 8)] == [0, 1, 2, 3, 4]


def test_one_process_shares_with_nobody():
    fabric, rows = one_process(), np.arange(6.0).reshape(3, 2)
    assert gather_rows(rows, fabric) is rows
    assert gather_json({"a": None}, fabric) == [{"a": None}]
    with pytest.raises(KeyError), agreed(fabric):
        raise KeyError("its own error")
