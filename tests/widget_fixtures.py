"""Fixtures for the tests that drive real widgets in a real viewer: a tiny dataset, a tiny model, and waiting."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("cat", "dog", "eel")
SIZE = 16


@dataclass(frozen=True)
class Files:
    """A dataset and a model on disk, and a place for a project."""

    data: Path
    model: Path
    project: Path


@pytest.fixture(scope="session")
def _master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, bright in one of three places, with 4 train, 2 val and 3 test images each; random weights."""
    from napari_cam_feedback.data import Preprocessing
    from napari_cam_feedback.models import build_classifier, save_classifier

    root = tmp_path_factory.mktemp("master")
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        for number, name in enumerate(CLASSES):
            folder = root / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = random.integers(0, 90, (SIZE, SIZE), dtype=np.uint8)
                image[5 * number : 5 * number + 5] += 120
                Image.fromarray(image).save(folder / f"{i:02d}.png")
    preprocessing = Preprocessing(size=(SIZE, SIZE), channels=1, mean=(0.5,), std=(0.5,))
    save_classifier(build_classifier("small-gap", CLASSES, preprocessing, seed=1), root / "model.safetensors")
    return root


@pytest.fixture
def files(_master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Copies that the test may spoil; the home folder is a temporary one too."""
    from napari_cam_feedback.torch_loader import torch

    torch.set_num_threads(1)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("NAPARI_CAM_FEEDBACK_STATE", str(home / "state"))
    shutil.copytree(_master, tmp_path / "files")
    return Files(tmp_path / "files" / "data", tmp_path / "files" / "model.safetensors", tmp_path / "project")


@pytest.fixture
def project(files: Files):
    """A project of the tiny dataset and model."""
    from napari_cam_feedback.data import open_dataset
    from napari_cam_feedback.models import load_classifier
    from napari_cam_feedback.projects import Project

    classifier = load_classifier(files.model, device="cpu")
    return Project.create(files.project, open_dataset(files.data), classifier)


@pytest.fixture
def wait(qtbot) -> Callable[..., None]:
    """Return a function that lets the event loop run until a condition holds."""

    def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
        qtbot.waitUntil(lambda: bool(condition()), timeout=int(seconds * 1000))

    return until


@pytest.fixture
def session(qtbot, project, wait):
    """A session with the tiny project open, its first item and its map shown; a viewer without a window."""
    from napari.components import ViewerModel

    yield from _opened(ViewerModel(), project, wait)


@pytest.fixture
def window_session(make_napari_viewer, project, wait):
    """The same in a viewer with a window."""
    yield from _opened(make_napari_viewer(), project, wait)


@pytest.fixture
def forget_explanations() -> Callable[..., None]:
    """Return a function that has every explanation of a session made anew.

    The cache is another one: what is being computed ahead cannot fill it.
    """
    from napari_cam_feedback.explanations import ExplanationCache
    from napari_cam_feedback.widgets.session.session import session_of

    def forget(session) -> None:
        session = session_of(session.viewer)  # a dock's session would keep the cache for itself
        session.explanation_cache = ExplanationCache(session.classifier, session.dataset)
        session._loader.use(session.explanation_cache)

    return forget


def _opened(viewer, project, wait):
    from napari_cam_feedback.widgets.session.session import prepare, session_of

    session = session_of(viewer)
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: session.explanation is not None)
    yield session
    session.close()


def axis_texts(plot, side: str) -> list[str]:
    """Return the numbers or names that an axis of a chart shows."""
    from qtpy.QtGui import QPainter, QPicture
    from qtpy.QtWidgets import QApplication

    for _ in range(2):  # the first time it finds how much room the texts need
        QApplication.processEvents()
        plot.grab()
    picture = QPicture()
    painter = QPainter(picture)
    texts = [text for *_, text in plot.axes.getAxis(side).generateDrawSpecs(painter)[2]]
    painter.end()
    return texts
