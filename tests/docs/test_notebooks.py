"""The notebooks run from top to bottom, with fewer steps than a reader would take."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib
import pytest

from napari_cam_feedback.models.networks.efficientnet_lite import has_lite_weights
from napari_cam_feedback.sample_models import PHOTOS_ARCH

EXAMPLES = Path(__file__).parents[2] / "examples"
FEWER = {"SAMPLE": '"crosses"', "ITERATIONS": "4", "EPOCHS": "1"}
BOOKS = [
    "1_the_loop",
    "2_grad_cam_on_a_plain_cnn",
    "3_tcav_on_three_classes",
    "4_transfer_learning",
    pytest.param(
        "5_an_imagenet_network",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(not has_lite_weights(PHOTOS_ARCH), reason="the extra photos is not installed"),
        ],
    ),
]


def code_of(name: str) -> str:
    """Return the code of a notebook as one program, with the numbers of `FEWER` in place of its own."""
    cells = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for setting, value in FEWER.items():
        code = re.sub(rf"^{setting} = \S+", f"{setting} = {value}", code, flags=re.M)
    return code


@pytest.mark.lengthy
@pytest.mark.parametrize("name", BOOKS)
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    program = code_of(name)
    assert any(f"\n{setting} = {value}" in program for setting, value in FEWER.items())
    exec(compile(program, name, "exec"), {"__name__": "notebook"})
    assert plt.get_fignums(), "it draws something"
    plt.close("all")


def test_notebooks_are_kept_without_their_results_and_are_listed():
    names = sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))
    listed = re.findall(r"\]\((\w+)\.ipynb\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert names == listed
    for name in names:
        for cell in json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs"), name
