"""Image and mask files of every common kind are read right, and bad ones are named in one sentence."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cam_feedback.data.pixels.images import image_size, read_image, read_mask, to_supported
from napari_cam_feedback.errors import DataError, MaskError

GRAY = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)


def save(image, path, mode=None, **options):
    Image.fromarray(image, mode).save(path, **options) if mode else Image.fromarray(image).save(path, **options)
    return path


def save_deep_png(image, path, orientation=None):
    """Write a PNG of 16 bits with 1 to 4 channels, which Pillow cannot."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[image.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    exif = b"" if orientation is None else b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 274, 3, 1, orientation, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 16, kind, 0, 0, 0))
        + (chunk(b"eXIf", exif) if exif else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


def assert_reads(path, expected, tolerance=0):
    read = read_image(path)
    assert read.dtype == expected.dtype
    assert read.shape == expected.shape
    np.testing.assert_allclose(read.astype(float), expected.astype(float), atol=tolerance)
    assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif", "A.PNG", "a.pgm"])
def test_gray_stays_gray(tmp_path, name):
    assert_reads(save(GRAY, tmp_path / name), GRAY)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm"])
def test_rgb_keeps_its_channels_in_order(tmp_path, name):
    assert_reads(save(RGB, tmp_path / name), RGB)


def test_the_cameras_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    for orientation, upright in {
        1: GRAY,
        2: GRAY[:, ::-1],
        3: GRAY[::-1, ::-1],
        4: GRAY[::-1],
        5: GRAY.T,
        6: np.rot90(GRAY, -1),
        7: np.rot90(GRAY, 2).T,
        8: np.rot90(GRAY, 1),
    }.items():
        exif[0x0112] = orientation
        assert_reads(save(GRAY, tmp_path / f"{orientation}.png", exif=exif), upright)
        tiff = tmp_path / f"{orientation}.tif"
        tifffile.imwrite(tiff, GRAY, extratags=[(274, "H", 1, orientation, True)])
        assert_reads(tiff, upright)


def test_a_photographs_orientation_is_applied(tmp_path):
    blocks = np.kron(GRAY, np.ones((16, 16), np.uint8))  # JPEG keeps whole blocks as they are
    exif = Image.Exif()
    for orientation, upright in {
        1: blocks,
        2: blocks[:, ::-1],
        3: blocks[::-1, ::-1],
        4: blocks[::-1],
        5: blocks.T,
        6: np.rot90(blocks, -1),
        7: np.rot90(blocks, 2).T,
        8: np.rot90(blocks, 1),
    }.items():
        exif[0x0112] = orientation
        assert_reads(save(blocks, tmp_path / f"{orientation}.jpg", exif=exif, quality=100), upright, tolerance=2)


def test_a_palette_becomes_rgb_and_a_gray_one_gray(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 255])
    image.save(tmp_path / "colour.png")
    assert_reads(
        tmp_path / "colour.png",
        np.array([[[10, 20, 30], [200, 0, 0]], [[200, 0, 0], [0, 0, 255]]], np.uint8),
    )
    image.putpalette([5, 5, 5, 90, 90, 90, 255, 255, 255])
    image.save(tmp_path / "gray.png")
    assert_reads(tmp_path / "gray.png", np.array([[5, 90], [90, 255]], np.uint8))


def test_a_transparent_palette_loses_only_its_transparency(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.save(tmp_path / "a.png", transparency=1)
    assert_reads(tmp_path / "a.png", np.array([[[10, 20, 30], [200, 0, 0]]], np.uint8))
    image.putpalette([10, 10, 10, 200, 200, 200])
    image.save(tmp_path / "gray.png", transparency=b"\x00\x80")
    assert_reads(tmp_path / "gray.png", np.array([[10, 200]], np.uint8))


def test_alpha_is_dropped_and_not_blended(tmp_path):
    alpha = np.full((2, 3), 10, np.uint8)
    assert_reads(save(np.dstack([RGB, alpha]), tmp_path / "rgba.png"), RGB)
    assert_reads(save(np.dstack([GRAY, alpha]), tmp_path / "la.png"), GRAY)
    tifffile.imwrite(tmp_path / "rgba.tif", np.dstack([RGB, alpha]), photometric="rgb", extrasamples=["unassalpha"])
    assert_reads(tmp_path / "rgba.tif", RGB)


def test_cmyk_becomes_rgb(tmp_path):
    cmyk = np.zeros((8, 8, 4), np.uint8)
    cmyk[..., 1] = 255  # magenta alone: red and blue stay
    for name in ("a.jpg", "a.tif"):
        save(cmyk, tmp_path / name, mode="CMYK")
        assert_reads(tmp_path / name, np.tile(np.array([255, 0, 255], np.uint8), (8, 8, 1)), tolerance=6)


def test_cmyk_as_adobe_writes_it_is_not_inverted(tmp_path):
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[..., 0], cmyk[..., 3] = 255, 51  # cyan, a fifth of black
    save(cmyk, tmp_path / "a.jpg", mode="CMYK", quality=95)
    written = (tmp_path / "a.jpg").read_bytes()
    if b"Adobe" not in written:
        marker = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
        (tmp_path / "a.jpg").write_bytes(written[:2] + marker + written[2:])
    assert_reads(tmp_path / "a.jpg", np.tile(np.array([0, 204, 204], np.uint8), (16, 16, 1)), tolerance=4)


def test_one_bit_becomes_black_and_white(tmp_path):
    bits = np.array([[True, False, True]])
    assert_reads(save(bits, tmp_path / "a.png"), np.array([[255, 0, 255]], np.uint8))
    assert_reads(save(bits, tmp_path / "a.tif"), np.array([[255, 0, 255]], np.uint8))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_gray_keeps_its_16_bits(tmp_path, name):
    image = np.array([[0, 1, 300], [40000, 65535, 7]], np.uint16)
    assert_reads(save(image, tmp_path / name), image)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_of_any_colour_keeps_its_16_bits(tmp_path, channels):
    image = np.random.default_rng(0).integers(0, 65536, (5, 7, channels)).astype(np.uint16)
    expected = image[..., :3] if channels > 2 else image[..., 0]
    assert_reads(save_deep_png(image, tmp_path / "a.png"), expected)
    assert_reads(save_deep_png(image, tmp_path / "turned.png", orientation=6), np.rot90(expected, -1))


def test_a_broken_or_gigantic_16_bit_colour_png_is_refused(tmp_path, monkeypatch):
    path = save_deep_png(np.random.default_rng(0).integers(0, 65536, (64, 64, 3)).astype(np.uint16), tmp_path / "a.png")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.png is broken or not an image \(.*\); restore or remove it\.$"):
        read_image(path)
    path.write_bytes(whole)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"a\.png is too large to open; make it smaller\.$"):
        read_image(path)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_16_bit_tiff_of_either_byte_order_gray_and_rgb(tmp_path, byteorder):
    image = np.array([[0, 1, 300], [40000, 65535, 7]], np.uint16)
    tifffile.imwrite(tmp_path / "gray.tif", image, byteorder=byteorder)
    assert_reads(tmp_path / "gray.tif", image)
    rgb = np.stack([image, image // 2, image // 3], axis=-1)
    tifffile.imwrite(tmp_path / "rgb.tif", rgb, photometric="rgb", byteorder=byteorder)
    assert_reads(tmp_path / "rgb.tif", rgb)
    tifffile.imwrite(
        tmp_path / "planes.tif", np.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig="separate", byteorder=byteorder
    )
    assert_reads(tmp_path / "planes.tif", rgb)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.int32])
def test_float_and_signed_tiff_become_float32_with_the_same_values(tmp_path, dtype):
    image = np.array([[-3, 0.5, 1], [100, 2, -0.25]]).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image)
    assert_reads(tmp_path / "a.tif", image.astype(np.float32))


def test_white_is_zero_tiff_is_inverted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="miniswhite")
    assert_reads(tmp_path / "a.tif", 255 - GRAY)


def test_a_palette_tiff_becomes_rgb(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 1] = (65535, 0, 25700)
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 1]], np.uint8), photometric="palette", colormap=colours)
    assert_reads(tmp_path / "a.tif", np.array([[[0, 0, 0], [255, 0, 100]]], np.uint8))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
def test_compressed_tiff_is_read(tmp_path, compression):
    image = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    save(image, tmp_path / "a.tif", compression=compression)
    assert_reads(tmp_path / "a.tif", image, tolerance=4)


def test_of_several_pages_the_first_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([GRAY, 255 - GRAY]), photometric="minisblack")
    assert_reads(tmp_path / "a.tif", GRAY)
    frames = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert_reads(tmp_path / "a.gif", GRAY)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_of_an_animation_the_first_frame_is_read(tmp_path, name):
    first, then = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    first.save(tmp_path / name, save_all=True, append_images=[then], duration=100, lossless=True)
    assert_reads(tmp_path / name, np.tile(np.array([255, 0, 0], np.uint8), (6, 8, 1)))


def test_a_progressive_jpeg_is_read_and_a_cut_one_refused(tmp_path):
    image = np.full((64, 64, 3), (200, 40, 90), np.uint8)
    path = save(image, tmp_path / "a.jpg", progressive=True, quality=95)
    assert_reads(path, image, tolerance=3)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    for progressive in (False, True):
        whole = save(noise, path, progressive=progressive).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError) as error:
            read_image(path)
        assert f"{path} is broken or not an image (image file is truncated" in sentence(error)


def test_a_program_named_like_an_image_is_not_started(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=r"a\.png is broken or not an image"):
            read(tmp_path / "a.png")


def sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_missing_empty_broken_and_foreign_files_are_named(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes.png").write_text("no image at all")
    (tmp_path / "notes.tif").write_text("no image at all")
    whole = save(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    tiff = tmp_path / "cut.tif"
    tifffile.imwrite(tiff, np.ones((64, 64), np.uint8))
    tiff.write_bytes(tiff.read_bytes()[:2000])
    (tmp_path / "folder.png").mkdir()
    for name, what in {
        "none.png": "is missing",
        "empty.png": "is empty",
        "notes.png": "is broken or not an image",
        "notes.tif": "is broken or not an image",
        "cut.png": "is broken or not an image",
        "cut.tif": "is broken or not an image",
        "folder.png": "is a folder",
    }.items():
        with pytest.raises(DataError) as error:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in sentence(error)
        assert what in sentence(error)


def test_an_image_too_large_to_be_true_is_refused(tmp_path, monkeypatch):
    save(np.zeros((100, 100), np.uint8), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"a\.png is too large to open; make it smaller\.$"):
        read_image(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((100, 100), np.uint8))
    with pytest.raises(DataError, match=r"a\.tif is too large to open; make it smaller\.$"):
        read_image(tmp_path / "a.tif")


def test_nan_in_an_image_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, np.nan]], np.float32))
    with pytest.raises(DataError, match=r"a\.tif has pixels that are not numbers"):
        read_image(tmp_path / "a.tif")
    with pytest.raises(DataError, match="not plain numbers"):
        to_supported(np.array([[1j]]), "x")


def test_a_mask_is_whatever_is_not_black(tmp_path):
    expected = np.array([[False, True, True], [True, True, True]])
    np.testing.assert_array_equal(read_mask(save(GRAY, tmp_path / "gray.png")), expected)
    np.testing.assert_array_equal(read_mask(save(expected, tmp_path / "bits.png"), (2, 3)), expected)
    colour = np.zeros((1, 2, 3), np.uint8)
    colour[0, 1, 2] = 1
    np.testing.assert_array_equal(read_mask(save(colour, tmp_path / "colour.png")), [[False, True]])


def test_a_mask_of_another_size_or_broken_is_refused(tmp_path):
    path = save(GRAY, tmp_path / "m.png")
    with pytest.raises(MaskError) as error:
        read_mask(path, (28, 30))
    assert sentence(error) == f"The mask {path} is 3x2 pixels but its image 30x28; make it the same size or remove it."
    with pytest.raises(MaskError, match="is missing"):
        read_mask(tmp_path / "none.png")
