"""Image files that would start programs or fill the memory are refused in a sentence, masks among them."""

from __future__ import annotations

import re
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_cam_feedback
from napari_cam_feedback.data.pixels import images
from napari_cam_feedback.errors import DataError, FeedbackError, MaskError
from napari_cam_feedback.feedback.masks.store import MaskStore, read_mask_file

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n0 0 4 4 rectfill\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    "read",
    [
        images.read_image,
        images.image_size,
        images.read_mask,
        read_mask_file,
        lambda path: MaskStore(path.parent).size("a"),
        lambda path: MaskStore(path.parent)["a"],
    ],
)
def test_an_eps_by_the_name_of_a_png_starts_no_program(read, tmp_path, monkeypatch):
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    (tmp_path / "a.png").write_bytes(EPS)
    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    with pytest.raises(FeedbackError):
        read(tmp_path / "a.png")


def test_pillow_opens_images_at_one_place_only_which_names_the_formats():
    root = Path(napari_cam_feedback.__file__).parent
    found = [
        path.relative_to(root).as_posix() for path in root.rglob("*.py") if re.search(r"\bImage\.open\(", path.read_text())
    ]
    assert found == ["data/pixels/images.py"]


def test_a_strip_that_unpacks_to_far_more_than_its_image_is_not_unpacked(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8), compression="deflate", metadata=None)
    bomb = zlib.compress(bytes(600_000_000), 9)
    assert len(bomb) < 600_000
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tags = file.pages.first.tags
        places = {name: tags[name].offset + 8 for name in ("StripOffsets", "StripByteCounts")}
        order = "little" if file.byteorder == "<" else "big"
        kinds = {name: int(tags[name].dtype) for name in places}
    assert set(kinds.values()) <= {3, 4}
    start = len(data)
    for name, value in (("StripOffsets", start), ("StripByteCounts", len(bomb))):
        at = places[name]
        data[at - 6 : at - 4] = (4).to_bytes(2, order)  # a number of 32 bits
        data[at : at + 4] = value.to_bytes(4, order)
    (tmp_path / "a.tif").write_bytes(bytes(data) + bomb)
    with pytest.raises(DataError, match="unpack to far more than the image"):
        images.read_image(tmp_path / "a.tif")


def test_pages_that_are_promised_and_not_there_are_not_counted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 64, 64), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    content = (tmp_path / "a.tif").read_bytes().replace(b"images=3", b"images=9").replace(b"slices=3", b"slices=9")
    (tmp_path / "a.tif").write_bytes(content)
    assert images.count_pages(tmp_path / "a.tif") == 3


def test_a_picture_that_claims_gigantic_sides_is_too_large(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(bytes(data))
    for read, error in ((images.read_image, DataError), (read_mask_file, MaskError), (images.image_size, DataError)):
        with pytest.raises(error):
            read(tmp_path / "a.png")
