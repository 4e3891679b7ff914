"""Reading one image or mask file of any common kind into a plain array."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from napari_cam_feedback.data.pixels import tiff
from napari_cam_feedback.errors import DataError, MaskError, describe

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm")
)
# Whatever a file is named, only these are tried: others of Pillow's formats start programs (EPS).
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "PPM", "TIFF")
_ORIENTATION_TAG = 0x0112
# Bytes that a byte of a PNG unpacks to at most, a little more than zlib can.
_MOST_PACKED = 1100
# How Pillow names the pixels of 16-bit PNGs that it would give as 8 bits.
_DEEP_COLOUR = ("LA;16B", "RGB;16B", "RGBA;16B")


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file.

    The orientation that a camera wrote (EXIF) is applied. Palettes and CMYK become RGB (a gray palette:
    gray). An alpha channel is dropped, not blended with a background: the colours are what the file holds
    under it. Of a file with several pages or frames the first is read.

    Parameters
    ----------
    path : str or Path
        A file with one of `SUFFIXES`.

    Returns
    -------
    ndarray
        (H, W) gray or (H, W, 3) RGB; uint8 (8 bits and less), uint16 (16 bits; colour in PPM is reduced to 8)
        or float32 (float, and signed or 32-bit whole numbers, as they are).

    Raises
    ------
    DataError
        The file is missing, empty, broken, no image, or has pixels that are not numbers; the sentence names
        it.
    """
    return _read(Path(path), 0)


def count_pages(path: str | Path) -> int:
    """Return the number of pages of a file: for TIFF the planes of its first series, for other files 1.

    Directories of one size follow each other as pages; of ImageJ hyperstacks and OME-TIFF, each plane (a channel, a
    slice, a moment) is a page in the file's own order. Reduced copies (pyramids) are no pages, nor are planes
    that an OME-TIFF keeps in other files.

    Raises
    ------
    DataError
        As for `read_image`, where the file's directories show it.
    """
    path = Path(path)
    with _one_sentence(path):
        return tiff.count_planes(path) if path.suffix.lower() in tiff.SUFFIXES else 1


def channel_notes(paths: Iterable[Path]) -> list[str]:
    """Say of some TIFFs which of their channels are not read; nothing where all are, and no file is refused."""
    for path in paths:
        try:
            with _one_sentence(path):
                channels, read = tiff.count_channels(path)
        except DataError:
            continue  # said when it is read
        if read < channels:
            which = "the first channel is" if read == 1 else f"the first {read} channels are"
            of = f"TIFFs of {channels} channels, such as {path.name},"
            return [f"Of {of} {which} read and the others left out; save those that matter as gray or RGB."]
    return []


def read_page(path: str | Path, page: int) -> np.ndarray:
    """Read one page of a file, as `read_image` reads the first, and nothing of the others.

    Parameters
    ----------
    path : str or Path
        The file.
    page : int
        The page's number, 0 to `count_pages` - 1.

    Returns
    -------
    ndarray
        (H, W) or (H, W, 3); see `read_image`.

    Raises
    ------
    DataError
        There is no such page; and as for `read_image`.
    """
    path = Path(path)
    # The first page is there in any file, and counting takes longer than reading it.
    count = 1 if page == 0 else count_pages(path)
    if not 0 <= page < count:
        there = f"{count} pages, numbered from 0" if count > 1 else "only one page, number 0"
        raise DataError(f"{path} has no page {page} but {there}; correct the number or restore the file.")
    return _read(path, page)


def open_image(path: Any) -> ImageFile.ImageFile:
    """Open an image with Pillow, by its content and never its name, if it is of a format that we read.

    Parameters
    ----------
    path : path or file
        What `PIL.Image.open` takes; the image is to be closed.

    Raises
    ------
    UnidentifiedImageError
        It is of none of these formats.
    DecompressionBombError, OSError
        It says that it is far larger than its file can hold.
    """
    _check_webp(path)
    image = Image.open(path, formats=_FORMATS)
    if image.format == "PNG" and image.fp is not None:
        at = image.fp.tell()
        held = image.fp.seek(0, os.SEEK_END) * _MOST_PACKED
        image.fp.seek(at)
        # A byte for eight pixels at least, and one for each row.
        if image.height * (image.width // 8 + 1) > held:
            image.close()
            raise OSError("image file is truncated")
    return image


def _check_webp(path: Any) -> None:
    """Refuse what Pillow refuses too, before it makes room for it several times over, as it does for WebP alone."""
    if not isinstance(path, str | os.PathLike):
        return
    if Path(path).exists() and not Path(path).is_file():
        raise OSError("not a file")  # a pipe would be waited for without an end
    with Path(path).open("rb") as file:
        head = file.read(30)
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return
    if head[12:16] == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(f"{width * height} pixels")


def image_size(path: str | Path) -> tuple[int, int]:
    """Return the (height, width) that `read_image` would give, from the file's header alone.

    Raises
    ------
    DataError
        As for `read_image`, where the header shows it.
    """
    path = Path(path)
    with _one_sentence(path):
        if path.suffix.lower() in tiff.SUFFIXES:
            return tiff.first_size(path)
        with open_image(path) as image:
            width, height = image.size
            return (width, height) if image.getexif().get(_ORIENTATION_TAG, 1) >= 5 else (height, width)


def read_alpha(path: str | Path) -> np.ndarray | None:
    """Return the alpha channel of an image, uint8 (H, W); None where it has none, or is a TIFF. Raises as `read_image`."""
    path = Path(path)
    if path.suffix.lower() in tiff.SUFFIXES:
        return None
    with _one_sentence(path), open_image(path) as file:
        # Of 16 bits, the upper eight.
        return np.array(file.getchannel("A")) if "A" in file.getbands() else None


def read_mask(path: str | Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Read an irrelevance mask: any pixel that is not black is irrelevant.

    Parameters
    ----------
    path : str or Path
        The mask's file.
    shape : tuple of int, optional
        The (height, width) of the image that it belongs to.

    Returns
    -------
    ndarray of bool, shape (H, W)

    Raises
    ------
    MaskError
        The file is missing or broken, or not of the image's size.
    """
    try:
        mask = read_image(path) != 0
    except DataError as error:
        raise MaskError(str(error)) from error
    if mask.ndim == 3:
        mask = mask.any(axis=2)
    if shape is not None and mask.shape != tuple(shape):
        raise MaskError(
            f"The mask {path} is {mask.shape[1]}x{mask.shape[0]} pixels but its image {shape[1]}x{shape[0]}; "
            "make it the same size or remove it."
        )
    return mask


def to_supported(image: np.ndarray, name: object) -> np.ndarray:
    """Return the image as uint8, uint16 or float32.

    Booleans become 0 and 255; 64-bit and 16-bit floats become float32; other whole numbers (signed, or more
    than 16 bits) become float32 with the same values, for which a preprocessing must say the value range.

    Raises
    ------
    DataError
        A pixel is NaN or infinite; the sentence says the image's `name`.
    """
    if image.dtype in (np.uint8, np.uint16) and image.dtype.isnative:
        return np.ascontiguousarray(image)
    if image.dtype == bool:
        return image.astype(np.uint8) * np.uint8(255)
    if image.dtype == np.uint16:
        return image.astype(np.uint16)
    if image.dtype.kind not in "iuf":
        raise DataError(f"{name} has pixels that are not plain numbers; convert it to 8 or 16 bits.")
    with np.errstate(over="ignore"):
        image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise DataError(f"{name} has pixels that are not numbers (NaN or infinite); mend or remove it.")
    return image


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """While entered, whatever goes wrong with the file becomes a DataError that names it."""
    _check_file(path)
    try:
        with warnings.catch_warnings():
            # Warnings about odd but readable files tell a user nothing that they could act on.
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except Exception as error:  # readers of pictures raise errors of many kinds for broken files
        raise _unreadable(path, error) from error


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DataError(f"{path} is missing; put the image back or remove it from the dataset.") from None
    except OSError as error:
        raise DataError(f"Could not read {path}: {describe(error)}") from error
    if path.is_dir():
        raise DataError(f"{path} is a folder, not an image; name a file.")
    if size == 0:
        raise DataError(f"{path} is empty (0 bytes); restore or remove it.")


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, MemoryError | Image.DecompressionBombError):
        return DataError(f"{path} is too large to open; make it smaller.")
    if isinstance(error, OSError) and error.errno and not isinstance(error, UnidentifiedImageError):
        return DataError(f"Could not read {path}: {describe(error)}")
    # The path is said once, and a long one would not leave room for the reason.
    reason = " ".join(str(error).replace(str(path), path.name).split())
    return DataError(f"{path} is broken or not an image ({reason[:120]}); restore or remove it.")


def _read(path: Path, page: int) -> np.ndarray:
    with _one_sentence(path):
        if path.suffix.lower() in tiff.SUFFIXES:
            image = tiff.read_plane(path, page, _check_pixels, partial(_read_pillow, path))
        else:
            image = _read_pillow(path)
    return to_supported(image, path)


def _check_pixels(pixels: int) -> None:
    """Refuse what Pillow refuses too: a small file that claims a gigantic image."""
    if Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(f"{pixels} pixels")


def _read_pillow(path: Path, page: int = 0) -> np.ndarray:
    with open_image(path) as file:
        if page:
            file.seek(page)
        if file.format == "PNG" and file.tile and file.tile[0].args in _DEEP_COLOUR:
            orientation = file.getexif().get(_ORIENTATION_TAG, 1)
            return tiff.turn(_read_deep_png(path), orientation)
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode in ("L", "F") or image.mode.startswith("I;16"):
            return np.array(image)
        if image.mode == "I":
            # 16-bit PNG and PGM files come as 32-bit whole numbers from some versions of Pillow.
            return np.array(image).astype(np.uint16) if file.format in ("PNG", "PPM") else np.array(image)
        if image.mode in ("1", "LA"):
            return np.array(image.convert("L"))
        # Whatever is left loses nothing that a classifier uses by becoming RGB.
        rgb = np.array(image.convert("RGB"))
        return rgb[..., 0].copy() if image.mode == "P" and _gray_palette(image) else rgb


def _read_deep_png(path: Path) -> np.ndarray:
    """Read a PNG of 16 bits and several channels, of which Pillow gives 8 bits only; imports torch."""
    from napari_cam_feedback.torch_loader import torch

    # torchvision needs torch, which must be loaded as above.
    from torchvision.io import decode_png  # isort: skip

    file = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    image = decode_png(file).numpy()
    return image[0] if len(image) == 2 else np.moveaxis(image[:3], 0, -1)


def _gray_palette(image: Image.Image) -> bool:
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())
