"""Masks of other programs that are probably not meant as they are read are questioned, with the likely remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cam_feedback.data import open_dataset
from napari_cam_feedback.feedback.exchange.importing import find_masks, import_masks
from napari_cam_feedback.feedback.masks.store import MaskStore

PAINTED = np.zeros((32, 32), np.uint8)
PAINTED[4:12, 4:12] = 255


@pytest.fixture
def dataset(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for n in range(2):
            Image.fromarray(np.full((32, 32), 90, np.uint8)).save(tmp_path / "data" / name / f"{n}.png")
    return open_dataset(tmp_path / "data")


def ilastik(path: Path) -> None:
    Image.fromarray(np.where(PAINTED > 0, 2, 1).astype(np.uint8)).save(path.with_suffix(".png"))


def transparent(path: Path) -> None:
    pixels = np.full((32, 32, 4), 255, np.uint8)
    pixels[..., 3] = PAINTED
    Image.fromarray(pixels).save(path.with_suffix(".png"))


def inverted(path: Path) -> None:
    Image.fromarray(255 - PAINTED).save(path.with_suffix(".png"))


def jpeg(path: Path) -> None:
    Image.fromarray(PAINTED).save(path.with_suffix(".jpg"), quality=60)


def found(dataset, tmp_path, draw, **options):
    for n in range(2):
        (tmp_path / "masks" / "ant").mkdir(parents=True, exist_ok=True)
        draw(tmp_path / "masks" / "ant" / str(n))
    masks = find_masks(tmp_path / "masks", dataset, **options)
    result = import_masks(masks, MaskStore(tmp_path / "out"))
    return [int(mask.sum()) for mask in masks.masks.values()], " ".join(result.sentences)


@pytest.mark.parametrize(
    ("draw", "options", "painted", "said"),
    [
        (ilastik, {}, 1024, "Each of 2 masks, such as ant/0.png, covers the whole of its image"),
        (ilastik, {"background": 1}, 64, None),
        (inverted, {}, 960, "covers more than half of its image; if what is black is irrelevant, import the masks inverted"),
        (inverted, {"invert": True}, 64, None),
        (transparent, {}, 64, "is transparent in places, which were taken as not painted"),
        (jpeg, {}, 64, "is a JPEG, whose compression frays edges"),
    ],
)
def test_a_mask_that_is_probably_meant_otherwise_is_questioned(draw, options, painted, said, dataset, tmp_path):
    sums, sentences = found(dataset, tmp_path, draw, **options)
    assert sums == [painted, painted]
    if said is None:
        assert sentences == "2 masks written."
    else:
        assert said in sentences
        assert "name it as the background" in sentences or draw is not ilastik


def pages(path: Path) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), np.stack([PAINTED, 255 - PAINTED]), photometric="minisblack")


def test_of_a_mask_of_several_pages_it_is_said_that_the_first_is_taken(dataset, tmp_path):
    sums, sentences = found(dataset, tmp_path, pages)
    assert sums == [64, 64]
    assert "Each of 2 masks, such as ant/0.tif, has several pages, of which the first was taken." in sentences
