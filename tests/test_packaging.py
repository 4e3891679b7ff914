"""What is said of the package in several places is the same in all: requirements, version, licences, addresses."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: What conda-forge calls a library that PyPI calls otherwise.
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def test_the_conda_recipe_has_the_requirements_version_and_licence_of_pyproject():
    recipe = (ROOT / "recipe" / "meta.yaml").read_text(encoding="utf-8")
    run = recipe.split("  run:\n")[1].split("\n\n")[0]
    found = dict(line.strip("- ").split(" >=") for line in run.splitlines())
    wanted = dict(line.split(">=") for line in PROJECT["dependencies"])
    assert found == {"python": "3.11"} | {CONDA.get(name, name): version for name, version in wanted.items()}
    assert f'version = "{PROJECT["version"]}"' in recipe
    assert f"license: {PROJECT['license']}" in recipe


def test_every_licence_that_is_named_has_its_text():
    assert "BSD 3-Clause" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in PROJECT["license-files"]]
    assert any("CC0 1.0 Universal" in text for text in texts)


def test_the_citation_has_the_package_s_version_and_address():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_what_github_reads_is_yaml_and_names_only_targets_of_make_that_there_are(path):
    text = path.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {word for line in re.findall(r"run: make ([\w -]+)$", text, re.M) for word in line.split()}
    assert named <= targets


def test_nothing_that_libraries_write_as_the_interpreter_ends_is_shown_after_a_command():
    code = (
        "import os, sys\n"
        "sys.modules['triton._C.libtriton'] = object()\n"
        "class Noise:\n"
        "    def __del__(self, write=os.write):\n"
        "        write(2, b'nanobind: leaked 514 functions!')\n"
        "noise = Noise()\n"
        "from napari_cam_feedback.cli.stopping import end_quickly\n"
        "end_quickly()\n"
        "print('said', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "said\n"


def test_the_page_on_napari_s_hub_names_every_dock():
    manifest = yaml.safe_load((ROOT / "src" / "napari_cam_feedback" / "napari.yaml").read_text(encoding="utf-8"))
    page = (ROOT / ".napari-hub" / "DESCRIPTION.md").read_text(encoding="utf-8")
    for widget in manifest["contributions"]["widgets"]:
        assert f"**{widget['display_name']}**" in page


def test_no_library_that_we_need_brings_opencv_whose_qt_breaks_napari():
    waiting, found = [Requirement(line).name for line in PROJECT["dependencies"]], set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(line) for line in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:  # needed on another system only
            continue
        waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    assert {"torch", "napari", "numpy"} <= found
    assert not [name for name in found if "opencv" in name.lower()]
