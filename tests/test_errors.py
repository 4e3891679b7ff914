"""A sentence of the core says what is wrong in words; each face adds its own names for the settings that it is about."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import napari_cam_feedback
from napari_cam_feedback.errors import ConfigError, FeedbackError, ModelError, Remark, describe

PACKAGE = Path(napari_cam_feedback.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z]")
CORE = sorted(
    path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in ("cli", "widgets", "errors.py")
)


def sentences(path: Path) -> list[str]:
    """All strings of a module but its docstrings and the commands that it writes down whole."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, kinds)}
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    within = {id(part) for node in joined for part in node.values}
    texts = ["".join(part.value for part in node.values if isinstance(part, ast.Constant)) for node in joined]
    texts += [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in within
    ]
    return [text for text in texts if text not in documented and not text.startswith("napari-cam-feedback ")]


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_sentence_of_the_core_names_an_option_of_the_shell(path):
    assert [text for text in sentences(path) if FLAG.search(text)] == []


def test_the_windows_rewrite_no_sentences_of_the_shell():
    for path in (PACKAGE / "widgets").rglob("*.py"):
        assert not re.search(r"--\(|in_the_window", path.read_text(encoding="utf-8")), path


class Shouting:
    """A face that calls settings by capitals, and has none called layer."""

    def name(self, field: str) -> str | None:
        return None if field == "layer" else field.upper()

    def assign(self, settings):
        return " ".join(f"{name.upper()}={value}" for name, value in settings.items())


def test_a_face_names_the_settings_that_a_sentence_is_about_once_and_only_those_that_it_has():
    error = ModelError("The images are too small; take larger ones.", field=("size", "layer", "channels"))
    assert error.fields == ("size", "layer", "channels")
    assert describe(error) == "The images are too small; take larger ones."
    assert describe(error, Shouting()) == "The images are too small; take larger ones (SIZE, CHANNELS)."
    assert describe(ConfigError("MEAN is no number.", field="mean"), Shouting()) == "MEAN is no number."
    assert describe(FeedbackError("All is lost."), Shouting()) == "All is lost."
    assert Remark("Larger images help.", ("size",)).told(Shouting()) == "Larger images help (SIZE)."
    assert Remark("Larger images help.", ("size",)).told() == "Larger images help."


def test_what_is_passed_on_between_threads_and_processes_keeps_its_settings():
    import pickle

    error = pickle.loads(pickle.dumps(ConfigError("A mean for each channel, please.", field="mean")))
    assert (str(error), error.fields) == ("A mean for each channel, please.", ("mean",))
