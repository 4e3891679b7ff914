"""Freed memory is used again by the next step, in every thread, and can be left as the system has it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from napari_cam_feedback.memory import VARIABLE, keep_freed_memory

FAULTS = """
import resource, threading
from napari_cam_feedback.torch_loader import torch
layer = torch.nn.Conv2d(3, 64, 3).requires_grad_(False)
images = torch.randn(8, 3, 128, 128)
def steps():
    layer(images)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        layer(images)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
steps()
thread = threading.Thread(target=steps)
thread.start()
thread.join()
"""


def page_faults(**environment: str) -> list[int]:
    """Page faults of ten equal forward passes, in the first thread and in another one."""
    environ = {key: value for key, value in os.environ.items() if key != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=environ | environment, capture_output=True, text=True, check=True
    )
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize(
    ("chosen", "found"),
    [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "9"}, "None")],
)
def test_threads_sleep_while_they_wait_unless_the_user_chose_otherwise(chosen: dict[str, str], found: str) -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environ = {key: value for key, value in os.environ.items() if key not in names}
    code = "import os, napari_cam_feedback.torch_loader; print(os.environ.get('OMP_WAIT_POLICY'))"
    done = subprocess.run([sys.executable, "-c", code], env=environ | chosen, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found


@pytest.mark.skipif(not keep_freed_memory(), reason="another C library than glibc")
def test_repeated_steps_do_not_fault_their_memory_in_again() -> None:
    kept, given_back = page_faults(), page_faults(**{VARIABLE: "0"})
    # 33 MB of activations are 8,000 pages each time.
    for ours, theirs in zip(kept, given_back, strict=True):
        assert theirs > 10_000
        assert ours < theirs / 10
