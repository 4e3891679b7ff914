"""The shell calls settings by the options of the command that was given."""

from __future__ import annotations

import pytest
import typer
from PIL import Image

from core_builders import small_gap
from napari_cam_feedback.cli import main
from napari_cam_feedback.cli.app import app
from napari_cam_feedback.cli.naming import naming, remember
from napari_cam_feedback.models import ModelOptions
from napari_cam_feedback.torch_loader import torch

program = typer.main.get_command(app)


@pytest.mark.parametrize("field", list(ModelOptions.model_fields))
def test_every_setting_of_a_model_has_its_option_where_models_are_described(field):
    remember(program, ["evaluate", "m.pt", "data"])
    name = naming().name(field)
    assert name is not None
    assert name.startswith("--")
    assert {"class_names": "--classes", "crop": "--crop/--no-crop"}.get(field, f"--{field.replace('_', '-')}") == name


def test_only_options_of_the_command_are_named():
    remember(program, ["masks", "merge", "mine", "theirs"])
    assert naming().name("mean") is None
    assert naming().name("choices") == "--choose"
    assert naming().name("images") == "napari-cam-feedback project images FOLDER NEW_PLACE"


def test_what_is_wrong_with_a_setting_is_said_with_its_option(tmp_path, capsys):
    torch.save(small_gap().module.state_dict(), tmp_path / "m.pt")
    image = tmp_path / "data" / "train" / "a" / "1.png"
    image.parent.mkdir(parents=True)
    Image.new("L", (16, 16)).save(image)
    evaluate = ["evaluate", str(tmp_path / "m.pt"), str(tmp_path / "data")]
    for more, option in (
        ([], "(--arch)."),
        (["--arch", "small-gap"], "(--classes)."),
        (["--arch", "small-gap", "--channels", "7"], "(--channels)."),
        (["--weights", "DEFAULT"], "(--weights)."),
    ):
        assert main([*evaluate, *more]) == 2
        assert capsys.readouterr().err.split()[-1] == option
