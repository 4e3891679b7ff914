"""What 0.1.0 called otherwise is found by its old name, is the same thing, and the warning says the new name."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings

import pytest

import napari_cam_feedback
from napari_cam_feedback import _renamed

PACKAGES = {
    "explain": ("explanations", "METHODS"),
    "evaluate": ("evaluation", "Comparison"),
    "retune": ("retuning", "RetuneConfig"),
    "project": ("projects", "Project"),
}


@pytest.fixture(autouse=True)
def forgotten():
    """The old names as if none had been imported, before and after."""

    def forget() -> None:
        for name in [n for n in sys.modules if _renamed._new_name(n) is not None]:
            del sys.modules[name]
        for name in PACKAGES:
            vars(napari_cam_feedback).pop(name, None)

    forget()
    yield
    forget()


@pytest.mark.parametrize("old", PACKAGES)
def test_an_old_package_is_found_and_says_its_new_name(old):
    new, offered = PACKAGES[old]
    with pytest.warns(DeprecationWarning, match=rf"napari_cam_feedback\.{old} is napari_cam_feedback\.{new} now") as found:
        module = importlib.import_module(f"napari_cam_feedback.{old}")
    assert getattr(module, offered) is getattr(importlib.import_module(f"napari_cam_feedback.{new}"), offered)
    assert set(vars(importlib.import_module(f"napari_cam_feedback.{new}"))["__all__"]) <= set(dir(module))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("retune.config", "retuning.config"),
        ("retune.painted", "retuning.images.masked_set"),
        ("retune.methods", "retuning.methods"),
        ("retune.methods.base", "retuning.methods.base"),
        ("explain.concept_plots", "explanations.tcav.report"),
        ("evaluate.certainty", "evaluation.intervals"),
        ("project.versions", "projects.versions"),
    ],
)
def test_an_old_module_is_the_new_one(old, new):
    with pytest.warns(DeprecationWarning, match=rf"napari_cam_feedback\.{old} is napari_cam_feedback\.{new} now"):
        module = importlib.import_module(f"napari_cam_feedback.{old}")
    real = importlib.import_module(f"napari_cam_feedback.{new}")
    if hasattr(real, "__path__"):
        assert module.make_methods is real.make_methods
    else:
        assert module is real
    assert real.__spec__.name == f"napari_cam_feedback.{new}"


@pytest.mark.parametrize("old", sorted(_renamed._MODULES))
def test_every_old_module_leads_to_one_that_there_is(old):
    assert importlib.util.find_spec(f"napari_cam_feedback.{_renamed._MODULES[old]}") is not None
    assert _renamed._new_name(f"napari_cam_feedback.{old}") == f"napari_cam_feedback.{_renamed._MODULES[old]}"


@pytest.mark.parametrize("name", _renamed._NAMES["models"]["training"])
def test_what_models_offered_is_found_in_training(name):
    from napari_cam_feedback import models, training

    assert name in training.__all__
    with pytest.warns(DeprecationWarning, match=f"models.{name} is napari_cam_feedback.training.{name} now") as found:
        assert getattr(models, name) is getattr(training, name)
    assert found[0].filename == __file__
    with pytest.raises(AttributeError, match="nonsense"):
        _ = models.nonsense


@pytest.mark.parametrize(
    "first", ["pass", "import napari_cam_feedback.retune.config", "from napari_cam_feedback.retune import METHODS"]
)
def test_the_functions_can_be_called_whatever_was_imported_by_an_old_name(first):
    code = f"""
import warnings
warnings.simplefilter("ignore")
{first}
import napari_cam_feedback as package
from napari_cam_feedback import compare, evaluate, explain, load_classifier, open_dataset, retune
import napari_cam_feedback.retune.losses as losses
import napari_cam_feedback.explain.concepts
from napari_cam_feedback.explain import METHODS, concepts
for function in (explain, evaluate, retune, package.explain, package.evaluate, package.retune):
    try:
        function(classifier=None, dataset=None, nonsense=1)
    except TypeError as error:
        print(str(error).split(" got")[0])
assert package.retune.losses is losses and losses.pas
assert callable(concepts)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["explain()", "evaluate()", "retune()"] * 2


def test_the_new_names_warn_of_nothing_and_make_the_function_the_function():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from napari_cam_feedback import retune
        from napari_cam_feedback.retuning import loop

    assert retune is loop.retune


def test_the_warning_points_to_the_line_that_imports(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text("\nfrom napari_cam_feedback.retune import RetuneConfig\n")
    done = subprocess.run(
        [sys.executable, "-W", "always", str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "mine.py:2: DeprecationWarning: napari_cam_feedback.retune is napari_cam_feedback.retuning now" in done.stderr
