"""The marks of the tests, given by what a test needs, so that a part of them can be run: ``pytest -m unit``; their order."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
WIDGETS = TESTS / "widgets"
#: Fixtures that open a window or an event loop of Qt.
WINDOW_FIXTURES = {"qapp", "qtbot", "make_napari_viewer", "make_napari_viewer_proxy"}
#: Tests that run whole commands or processes of their own, or draw and look at whole samples: each takes a second or more.
COMMANDS = [
    TESTS / name
    for name in (
        "auditing",
        "cli",
        "data/test_sample_shortcuts.py",
        "data/test_samples.py",
        "docs",
        "evaluation/test_sampling.py",
        "experiments",
        "fuzz",
        "models/test_processes.py",
        "test_benchmarks.py",
        "test_package.py",
        "test_renamed.py",
        "test_sample_models.py",
    )
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test as `window` where it needs Qt, else as `unit`, but for the slow ones; commands are `lengthy`."""
    for item in items:
        if WIDGETS in item.path.parents or WINDOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.window)
        elif item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.unit)
        if any(place in (item.path, *item.path.parents) for place in COMMANDS):
            item.add_marker(pytest.mark.lengthy)
    # Where two processes take a file at a time, what is left to the end must be short.
    items.sort(key=lambda item: (not item.get_closest_marker("lengthy"), not item.get_closest_marker("window")))


@pytest.fixture(autouse=True, scope="module")
def _collections_see_what_is_new() -> None:
    """Set aside what earlier files left in memory: napari collects all garbage at each layer that is removed."""
    gc.collect()
    gc.freeze()
