"""A text that names a network's origin is taken apart in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_cam_feedback.model_names import LITE_SIZES, Architecture


@pytest.mark.parametrize(
    ("text", "origin", "name", "file", "pretrained", "has_preset", "runs_code"),
    [
        ("small-gap", "named", "small-gap", None, False, False, False),
        ("smal-gap", "named", "smal-gap", None, False, False, False),
        ("", "named", "", None, False, False, False),
        ("torchvision:resnet18", "torchvision", "resnet18", None, True, True, False),
        ("timm:vit_tiny", "timm", "vit_tiny", None, False, True, False),
        ("efficientnet-lite0", "efficientnet-lite", "efficientnet-lite0", None, True, True, False),
        ("nets/mine.py:make", "function", "make", "nets/mine.py", False, False, True),
        (r"C:\nets\mine.py:make", "function", "make", r"C:\nets\mine.py", False, False, True),
        ("mine.py", "function", "", "mine.py", False, False, True),
        ("mine.py:", "function", "", "mine.py", False, False, True),
        ("mine.py:a-b", "function", "", "mine.py", False, False, True),
        ("export:/a/b.pt2", "export", "/a/b.pt2", "/a/b.pt2", False, False, True),
        (r"export:C:\a\b.pt2", "export", r"C:\a\b.pt2", r"C:\a\b.pt2", False, False, True),
        ("torchscript:/a/b.pt", "torchscript", "/a/b.pt", "/a/b.pt", False, False, False),
        ("/home/me/m.safetensors", "named", "/home/me/m.safetensors", None, False, False, False),
    ],
)
def test_each_origin_is_told_with_its_parts(text, origin, name, file, pretrained, has_preset, runs_code):
    found = Architecture.of(text)
    assert (found.origin, found.name) == (origin, name)
    assert found.file == (None if file is None else Path(file))
    assert (found.pretrained, found.has_preset, found.runs_code) == (pretrained, has_preset, runs_code)
    assert found.text == text


def test_a_part_is_of_another_architecture_and_runs_code_where_that_does():
    part = Architecture.of("gap:features:torchvision:vgg16")
    assert (part.origin, part.name, part.runs_code) == ("gap", "features", False)
    assert part.inner == Architecture.of("torchvision:vgg16")
    assert Architecture.of("gap:body:mine.py:make").runs_code
    assert Architecture.of("gap:features").inner is None


def test_every_lite_network_is_one():
    assert {Architecture.of(name).origin for name in LITE_SIZES} == {"efficientnet-lite"}
