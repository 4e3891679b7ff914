"""The form “Model details”: what it gives to the loader, and that it costs and hides nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.widgets.parts.error_view import ErrorView
from napari_cam_feedback.widgets.parts.model_form import TITLE, ModelForm, functions_of, whole_numbers


@pytest.fixture
def form(qtbot):
    """The form by itself."""
    widget = ModelForm()
    qtbot.addWidget(widget)
    return widget


def choose(combo, text):
    combo.setCurrentIndex(combo.findText(text))


def test_an_untouched_form_changes_nothing(form):
    assert form.settings() == {}
    assert not form.opened
    assert form.button.text() == TITLE


def test_every_option_of_a_model_can_be_given(form):
    form.arch.edit.setText("torchvision:resnet18")
    form.weights.setText("IMAGENET1K_V2")
    form.class_names.set_path("/somewhere/names.txt")
    form.input_size.setText("224 x 320")
    choose(form.crop, "scale, cut out the centre")
    form.resize_to.setText("256")
    choose(form.interpolation, "bicubic")
    choose(form.channels, "RGB")
    form.channel_order.setCurrentIndex(form.channel_order.findData("bgr"))
    form.mean.setText("0.485, 0.456, 0.406")
    form.std.setText("0.229 0.224 0.225")
    form.value_range.setText("0 4095")
    form.layer.setText("layer4.1.conv2")
    form.grid.setText("7x10")
    found = form.settings()
    assert found == {
        "arch": "torchvision:resnet18",
        "weights": "IMAGENET1K_V2",
        "class_names": Path("/somewhere/names.txt"),
        "size": (224, 320),
        "crop": True,
        "resize_to": 256,
        "interpolation": "bicubic",
        "channels": 3,
        "channel_order": "bgr",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "value_range": (0.0, 4095.0),
        "layer": "layer4.1.conv2",
        "grid": (7, 10),
    }
    # The core takes them as they are, and knows no more of them but the two that are asked in a dialog.
    from napari_cam_feedback.models.options import ModelOptions, make_options

    options = make_options(None, **{**found, "class_names": ("cat", "dog")})
    assert set(found) | {"trust", "download"} == set(ModelOptions.model_fields)
    assert options.size == (224, 320)
    assert form.button.text() == f"{TITLE} (14 given)"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.5", (0.5,)),
        ("0,5", (0.5,)),
        ("0.1 0.2 0.3", (0.1, 0.2, 0.3)),
        ("[0.1, 0.2, 0.3]", (0.1, 0.2, 0.3)),
        ("0.1,0.2,0.3", (0.1, 0.2, 0.3)),
        ("0,1 0,2 0,3", (0.1, 0.2, 0.3)),
        ("0,1; 0,2; 0,3", (0.1, 0.2, 0.3)),
    ],
)
def test_numbers_are_understood_as_people_write_them(form, text, values):
    form.mean.setText(text)
    assert form.settings()["mean"] == values


@pytest.mark.parametrize("text", ["224", "224x224", "224 224", "224×224", "224, 224", "(224, 224)", "224*224"])
def test_a_size_is_understood_as_people_write_it(text):
    assert whole_numbers(text, "Input size", 2) == (224, 224)


def test_what_is_no_number_is_one_sentence_that_names_the_field(form):
    form.mean.setText("imagenet")
    with pytest.raises(ConfigError, match=r"“Mean” cannot be “imagenet”; write numbers with spaces between them\."):
        form.settings()
    form.mean.clear()
    form.value_range.setText("4095")
    with pytest.raises(ConfigError, match=r"“Value range” needs 2 numbers, not 1; write the lowest and the highest value\."):
        form.settings()
    form.value_range.clear()
    for text in ("big", "0x10", "1x2x3", "-3"):
        form.input_size.setText(text)
        with pytest.raises(ConfigError, match=f"“Input size” cannot be “{text}”; write two numbers such as 224x320."):
            form.settings()
    form.input_size.clear()
    form.resize_to.setText("1.5")
    with pytest.raises(ConfigError, match=r"“Shorter side” cannot be “1\.5”; write a whole number above 0\."):
        form.settings()


def test_what_the_file_says_is_shown_where_nothing_is_given(form):
    form.show_known(
        {
            "arch": "small-gap",
            "class_names": ["cat", "dog"],
            "preprocessing": {"size": [28, 30], "channels": 1, "mean": [0.5], "std": [0.25], "crop": False},
            "target_layer": "features",
        }
    )
    assert form.arch.edit.placeholderText() == "small-gap"
    assert form.class_names.edit.placeholderText() == "cat, dog"
    assert form.input_size.placeholderText() == "28x30"
    assert form.mean.placeholderText() == "0.5"
    assert form.layer.placeholderText() == "features"
    assert form.channels.currentText() == "as the file says: gray"
    assert form.settings() == {}
    form.show_known(None)
    assert form.channels.currentText() == form.arch.edit.placeholderText() == "as the file says"


def test_any_part_of_an_architectures_name_finds_it_and_typing_survives_a_longer_list(form):
    form.arch.edit.setText("file.py:make")
    form.arch.set_names(["small-gap", "torchvision:resnet18", "torchvision:resnet50", "torchvision:vgg16"])
    assert form.arch.edit.text() == "file.py:make"
    completer = form.arch.combo.completer()
    completer.setCompletionPrefix("ResNet")
    assert completer.completionCount() == 2


def test_a_python_file_offers_its_first_function_without_running_it(form, tmp_path, monkeypatch):
    code = tmp_path / "net.py"
    code.write_text("raise SystemExit\n\nclass Net: ...\n\ndef _helper(): ...\n\ndef make(n): ...\n")
    assert functions_of(code) == ["make", "Net"]
    (tmp_path / "broken.py").write_text("def (")
    assert functions_of(tmp_path / "broken.py") == []
    from napari_cam_feedback.widgets.parts import model_form

    monkeypatch.setattr(model_form.QFileDialog, "getOpenFileName", lambda *args: (str(code), ""))
    form.arch._choose_file()
    assert form.settings() == {"arch": f"{code}:make"}


def test_an_error_is_told_with_the_title_of_the_field_that_it_is_about(qtbot):
    view = ErrorView()
    qtbot.addWidget(view)
    view.show_error(ModelError("m.pt does not say its class names; give them in a file.", field="class_names"))
    assert view.text() == "m.pt does not say its class names; give them in a file (“Class names”)."
    # What has no field here, or is named in the sentence already, is not named.
    view.show_error(ModelError("There is no model file x.pt; check the path.", field="out"))
    assert view.text() == "There is no model file x.pt; check the path."
    view.show_error(ModelError("“Mean” cannot be “a”; write numbers.", field=("mean", "crop", "resize_to")))
    assert view.text() == "“Mean” cannot be “a”; write numbers (“Scaling”, “Shorter side”)."


def test_a_path_may_be_dropped_or_pasted_in_quotes(qtbot, tmp_path):
    from napari_cam_feedback.widgets.parts.path_field import PathField

    field = PathField(folder=True)
    qtbot.addWidget(field)
    field.edit.setText(f"file://{tmp_path}")
    assert field.path == tmp_path
    field.edit.setText(f'"{tmp_path}"')
    assert field.path == tmp_path
    field.edit.setText("  ")
    assert field.path is None
