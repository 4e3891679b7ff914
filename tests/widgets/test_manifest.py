"""The plugin as napari sees it: a valid manifest, widgets that can be made, and no torch until it is needed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

import napari_cam_feedback

MANIFEST = Path(napari_cam_feedback.__file__).with_name("napari.yaml")


def run(code: str) -> str:
    """Run code in a fresh interpreter; returns what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_manifest_is_valid():
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", str(MANIFEST)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_leads_to_something_that_can_be_called():
    manifest = PluginManifest.from_file(MANIFEST)
    for command in manifest.contributions.commands:
        assert callable(import_python_name(command.python_name)), command.id
    names = {command.id: command.python_name for command in manifest.contributions.commands}
    assert len(manifest.contributions.widgets) >= 4
    for widget in manifest.contributions.widgets:
        # By this name napari hands over the viewer.
        assert "napari_viewer" in inspect.signature(import_python_name(names[widget.command])).parameters


def test_the_samples_of_the_manifest_are_those_of_the_package():
    from napari_cam_feedback.data import SAMPLES

    manifest = PluginManifest.from_file(MANIFEST)
    listed = {sample.key: sample.display_name for sample in manifest.contributions.sample_data}
    assert listed == {name: info.title for name, info in SAMPLES.items()}


@pytest.mark.parametrize(
    "module",
    [
        "steps.dock",
        "filters.dock",
        "concepts.dock",
        "train.dock",
        "samples",
    ],
)
def test_importing_a_widget_loads_no_torch(module):
    code = f"import sys, napari_cam_feedback.widgets.{module}; print('torch' in sys.modules)"
    assert run(code).strip() == "False"


def test_starting_napari_with_the_plugin_and_opening_docks_loads_no_torch():
    code = """
import sys, napari
viewer = napari.Viewer(show=False)
names = [m.name for m in __import__("npe2").PluginManager.instance().iter_manifests()]
assert "napari-cam-feedback" in names, names
assert "torch" not in sys.modules
for name in ("CAM feedback", "Filters", "Concepts", "Train"):
    viewer.window.add_plugin_dock_widget("napari-cam-feedback", name)
print("torch" in sys.modules)
viewer.close()
"""
    assert run(code).strip().endswith("False")


def test_a_script_without_a_window_gets_the_sample_as_layers():
    code = """
from napari.components import ViewerModel
from napari_cam_feedback.widgets.samples import open_symbols
viewer = ViewerModel()
for data, options, kind in open_symbols():
    getattr(viewer, "add_" + kind)(data, **options)
print([(layer.name, layer.data.shape[1:]) for layer in viewer.layers])
"""
    assert run(code).strip() == "[('symbols', (72, 72)), ('irrelevant', (72, 72))]"
