"""Reading one image or mask file of any common kind into a plain array."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from napari_cam_feedback.errors import DataError, MaskError, describe

SUFFIXES = frozenset(
    (
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".pgm",
        ".ppm",
        ".pbm",
        ".pnm",
    )
)
_TIFF = (".tif", ".tiff")
_ORIENTATION_TAG = 0x0112


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
        (H, W) gray or (H, W, 3) RGB; uint8 (8 bits and less), uint16 (16-bit gray; TIFF also RGB) or float32
        (float, and signed or 32-bit whole numbers, as they are).

    Raises
    ------
    DataError
        The file is missing, empty, broken, no image, or has pixels that are not numbers; the sentence names
        it.
    """
    path = Path(path)
    _check_file(path)
    try:
        with warnings.catch_warnings():
            # Warnings about odd but readable files tell a person nothing that they could act on.
            warnings.simplefilter("ignore")
            image = _read_tiff(path) if path.suffix.lower() in _TIFF else _read_pillow(path)
    except Exception as error:
        raise _unreadable(path, error) from error
    return to_supported(image, path)


def image_size(path: str | Path) -> tuple[int, int]:
    """Return the (height, width) that `read_image` would give, from the file's header alone.

    Raises
    ------
    DataError
        As for `read_image`, where the header shows it.
    """
    path = Path(path)
    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix.lower() in _TIFF:
                with tifffile.TiffFile(path) as tiff:
                    page = tiff.pages.first
                    height, width, turned = page.imagelength, page.imagewidth, _orientation(page) >= 5
            else:
                with Image.open(path) as image:
                    width, height = image.size
                    turned = image.getexif().get(_ORIENTATION_TAG, 1) >= 5
    except Exception as error:
        raise _unreadable(path, error) from error
    return (int(width), int(height)) if turned else (int(height), int(width))


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
    return DataError(f"{path} is broken or not an image ({' '.join(str(error).split())[:120]}); restore or remove it.")


def _read_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as file:
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


def _gray_palette(image: Image.Image) -> bool:
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _read_tiff(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        try:
            array = _tiff_page(page)
        except (ValueError, ImportError, NotImplementedError, _NotPlain):
            # Compressions that tifffile needs imagecodecs for, CMYK, YCbCr: Pillow's libtiff reads those.
            return _read_pillow(path)
        return _orient(array, _orientation(page))


class _NotPlain(Exception):
    """The page's colours are none that tifffile gives as gray or RGB."""


def _tiff_page(page: tifffile.TiffPage) -> np.ndarray:
    array = page.asarray()
    photometric = tifffile.PHOTOMETRIC(page.photometric)
    if photometric == tifffile.PHOTOMETRIC.PALETTE:
        # The colour map has 16 bits for each of R, G, B.
        colours = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
        rgb = colours[array]
        return rgb[..., 0] if (colours == colours[:, :1]).all() else rgb
    if array.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        array = np.moveaxis(array, 0, -1)
    if photometric == tifffile.PHOTOMETRIC.RGB:
        if array.ndim != 3 or array.shape[-1] < 3:
            raise _NotPlain
        return array[..., :3]
    if photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE):
        raise _NotPlain
    if array.ndim == 3 and array.shape[-1] in (3, 4):  # RGB from a program that left the colour unsaid
        return array[..., :3]
    if array.ndim == 3 and array.shape[-1] in (1, 2):
        array = array[..., 0]
    if array.ndim != 2:
        raise ValueError("not a plane of pixels")
    if photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype.kind in "bu":
        array = ~array if array.dtype == bool else np.iinfo(array.dtype).max - array
    return array


def _orientation(page: tifffile.TiffPage | tifffile.TiffFrame) -> int:
    tag = page.tags.get("Orientation") if isinstance(page, tifffile.TiffPage) else None
    return int(tag.value) if tag is not None else 1


def _orient(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn the pixels as the TIFF and EXIF tag says (1 to 8; 1 is upright)."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array
