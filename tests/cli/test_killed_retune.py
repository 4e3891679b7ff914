"""A retune that was killed at any moment can be begun anew or resumed in the same folder."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_cam_feedback.cli.commands.retune import RUN_STATE, _check_new
from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.retuning import RetuneConfig


def left(folder, *names: str):
    """What a killed run has written until then."""
    folder.mkdir()
    for name in names:
        if name == "config.json":
            (folder / name).write_text(RetuneConfig().model_dump_json())
        elif name == "masks":
            MaskStore(folder / name).put("old.png", np.ones((4, 4)))
        else:
            (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    "names",
    [
        (),
        (".tmp-abc.json",),
        ("config.json",),
        ("config.json", "masks"),
        ("config.json", "masks", ".tmp-x.pt"),
        ("config.json", "masks", "history.csv", "painted.csv", "result.json"),
    ],
)
def test_what_a_run_left_that_was_killed_before_its_first_state_is_begun_anew(names, tmp_path):
    folder = left(tmp_path / "run", *names)
    _check_new(folder)
    assert not (folder / "masks").exists()  # the next run's masks are not mixed with these


def test_a_run_that_can_be_resumed_is_said_to_be_one(tmp_path):
    with pytest.raises(ConfigError, match="go on with it by --resume"):
        _check_new(left(tmp_path / "run", "config.json", "masks", RUN_STATE))


@pytest.mark.parametrize(
    "names",
    [
        ("masks",),
        ("result.json",),
        ("config.json", "model.safetensors"),
        ("config.json", "masks", "photo.png"),
        ("model.safetensors",),
    ],
)
def test_a_folder_that_holds_anything_else_is_left_alone(names, tmp_path):
    folder = left(tmp_path / "run", *names)
    with pytest.raises(ConfigError, match="is not empty; choose a new folder for the run"):
        _check_new(folder)
    assert {path.name for path in folder.iterdir()} == set(names)


def test_settings_of_something_else_are_no_remains_of_a_run(tmp_path):
    folder = left(tmp_path / "run", "masks")
    (folder / "config.json").write_text(json.dumps({"port": 80}))
    with pytest.raises(ConfigError, match="There is no setting 'port'"):
        _check_new(folder)
    assert (folder / "masks").is_dir()
