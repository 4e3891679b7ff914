"""What importing costs, and that torch is loaded in the one way that does not crash.

Which room may know which is said in pyproject.toml, and `lint-imports` tests it.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import napari_cam_feedback

PACKAGE = Path(napari_cam_feedback.__file__).parent


def part_of(path: Path) -> str:
    """The first level of a module: a subpackage, or the module's own name."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


SOURCES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path) -> list[tuple[str, tuple[str, ...], bool]]:
    """All imports of a module, at any depth: module, names taken from it, and whether for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, (), id(node) in for_types) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.append((str(node.module), tuple(alias.name for alias in node.names), id(node) in for_types))
    return found


def python(code: str, **environment: str) -> str:
    """Run code in a fresh Python and return what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


HEAVY = (
    "torch",
    "torchvision",
    "napari",
    "qtpy",
    "PySide6",
    "PyQt6",
    "PyQt5",
    "vispy",
    "pyqtgraph",
    "matplotlib",
    "skimage",
    "sklearn",
)


@pytest.mark.parametrize("module", ["napari_cam_feedback", "napari_cam_feedback.data", "napari_cam_feedback.cli"])
def test_importing_loads_neither_torch_nor_napari_nor_qt(module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"there is no {module}")
    code = f"import sys, {module}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    assert python(code).strip() == "[]"


def test_the_public_functions_load_when_first_used():
    code = (
        "import sys, napari_cam_feedback as package\n"
        "assert 'torch' not in sys.modules\n"
        "names = [getattr(package, name) for name in package.__all__]\n"
        "assert all(callable(value) for value in names if not isinstance(value, str))\n"
        "assert 'torch' in sys.modules\n"
        "assert not {'napari', 'qtpy', 'PySide6'} & set(sys.modules)\n"
        "print(sorted(package.__all__))"
    )
    expected = ["__version__", "audit", "compare", "evaluate", "explain", "load_classifier", "open_dataset", "retune"]
    assert ast.literal_eval(python(code)) == expected


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = napari_cam_feedback.nonsense
    assert {"retune", "explain"} <= set(dir(napari_cam_feedback))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_of_the_package_itself_only_the_version_is_taken(path):
    for module, names, _ in imports(path):
        if module == "napari_cam_feedback":
            assert set(names) <= {"__version__", "_renamed"}, f"{name_of(path)} takes {names} from the package itself"


def test_widgets_do_no_tensor_work():
    for path in SOURCES:
        if part_of(path) == "widgets":
            roots = {module.split(".")[0] for module, _, for_types in imports(path) if not for_types}
            assert not roots & {"torch", "torchvision", "safetensors"}, name_of(path)
            taken = {name for module, names, _ in imports(path) for name in names if module.endswith("torch_loader")}
            assert "torch" not in taken, name_of(path)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_that_uses_torch_gets_it_from_the_loader(path):
    if path.name == "torch_loader.py":
        return
    roots = {module.split(".")[0] for module, _, for_types in imports(path) if not for_types}
    assert "torch" not in roots


def test_the_loader_leaves_the_flags_of_dlopen_as_they_were():
    code = (
        "import sys\n"
        "before = sys.getdlopenflags()\n"
        "import napari_cam_feedback.torch_loader\n"
        "assert sys.getdlopenflags() == before"
    )
    if not hasattr(sys, "getdlopenflags"):
        pytest.skip("this system has no such flags")
    python(code)


def test_triton_is_kept_apart_also_where_a_script_or_another_plugin_has_loaded_torch_first():
    if not sys.platform.startswith("linux") or importlib.util.find_spec("triton") is None:
        pytest.skip("there is no triton to keep apart")
    code = (
        "import sys, torch\n"
        "assert 'triton' not in sys.modules\n"
        "import napari_cam_feedback.torch_loader\n"
        "assert 'triton._C.libtriton' in sys.modules"
    )
    python(code)


WAYS = ["torch_loader", "models.files.storage", "data.preprocessing", "projects"]


@pytest.mark.parametrize("way", WAYS)
def test_triton_is_loaded_before_torch_whichever_module_comes_first(way):
    if not sys.platform.startswith("linux") or importlib.util.find_spec("triton") is None:
        pytest.skip("there is no triton to keep apart")
    code = (
        "import json, sys\n"
        "order = []\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'triton', 'triton._C.libtriton'):\n"
        "            order.append([name, sys.getdlopenflags()])\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"import napari_cam_feedback.{way}\n"
        "print(json.dumps([order, sys.getdlopenflags()]))"
    )
    order, flags = json.loads(python(code))
    names = [name for name, _ in order]
    assert names.index("triton._C.libtriton") < names.index("torch")
    # The library's own symbols go first while it loads, and torch is loaded as ever.
    during = dict(order)
    assert during["triton._C.libtriton"] & os.RTLD_DEEPBIND
    assert during["torch"] == flags
    assert not flags & os.RTLD_DEEPBIND


def test_without_triton_torch_loads_all_the_same():
    code = (
        "import sys\n"
        "sys.modules['triton'] = None\n"
        "from napari_cam_feedback.torch_loader import torch\n"
        "print(torch.ones(2).sum().item())"
    )
    assert python(code).strip() == "2.0"
