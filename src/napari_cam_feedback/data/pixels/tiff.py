"""Reading one plane of a TIFF file, whatever its layout, without reading the others."""

from __future__ import annotations

import lzma
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG

from napari_cam_feedback.errors import DataError

SUFFIXES = (".tif", ".tiff")
# Compressions that tifffile unpacks without a limit, and the bytes of a strip above which that is looked at: fewer make no
# more than a quarter of a gigabyte.
_UNPACKS = {int(COMPRESSION.ADOBE_DEFLATE): 1 << 18, int(COMPRESSION.DEFLATE): 1 << 18, int(COMPRESSION.LZMA): 1 << 15}
# What a strip may unpack to, beyond some times what it is to hold.
_TIMES, _SPARE = 2, 1 << 20
# Values of the tag ExtraSamples.
_ALPHA = (1, 2)


@dataclass(frozen=True)
class _Layout:
    """Where the planes of a file's first series lie.

    Attributes
    ----------
    count : int
        The number of planes.
    start : int or None
        Where the first plane's pixels start, if all planes follow each other uncompressed (an ImageJ hyperstack
        has one directory for all of them); else None.
    directories : ndarray of int64, shape (n, 2)
        Otherwise the position of each directory and its number in the file; several planes may share one
        (volumes).
    """

    count: int
    start: int | None
    directories: np.ndarray


def count_planes(path: Path) -> int:
    """Return the number of planes in the file's first series."""
    return _layout_of(path).count


def first_size(path: Path) -> tuple[int, int]:
    """Return the (height, width) of the first plane, turned upright."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        height, width = int(page.imagelength), int(page.imagewidth)
        return (width, height) if _orientation(page) >= 5 else (height, width)


def count_channels(path: Path) -> tuple[int, int]:
    """Return the channels of the first plane, and how many of them are read; a declared alpha channel is none."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        channels = int(page.samplesperpixel)
        alpha = sum(int(kind) in _ALPHA for kind in page.extrasamples)
        return channels - alpha, min(channels - alpha, 3 if channels >= 3 else 1)


def read_plane(
    path: Path, plane: int, check_size: Callable[[int], None], fallback: Callable[[int], np.ndarray]
) -> np.ndarray:
    """Read one plane.

    Parameters
    ----------
    path : Path
        The TIFF file.
    plane : int
        Its number in the first series, from 0.
    check_size : callable
        Is called with the number of pixels before any are read, and raises if they are too many.
    fallback : callable
        Reads the directory of that number with another library, for compressions and colours that tifffile
        has no decoder for; it gives 8-bit RGB, or gray as it is.

    Returns
    -------
    ndarray
        (H, W) or (H, W, 3), of the file's own type.
    """
    with tifffile.TiffFile(path) as tiff:
        if plane == 0:
            # Most files are single images, whose series need not be worked out.
            page, part, start = tiff.pages.first, 0, None
        else:
            page, part, start = _locate(path, plane, tiff)
        # Four channels are an image; more, or a volume, count as so many images.
        check_size(max(page.imagelength * page.imagewidth, math.prod(page.shape) // 4))
        _check_unpacked(page)
        if start is not None:
            shape = _plane_shape(page)
            tiff.filehandle.seek(start)
            dtype = _dtype(page).newbyteorder(tiff.byteorder)
            array = tiff.filehandle.read_array(dtype, math.prod(shape)).reshape(shape)
        else:
            try:
                array = page.asarray()
            except (ValueError, ImportError, NotImplementedError) as error:
                return _by_fallback(path, page, fallback, error)
            if "Z" in page.axes:
                array = np.take(array, part, axis=page.axes.index("Z"))
        try:
            array = _colours(array, page)
        except _NotPlain as error:
            return _by_fallback(path, page, fallback, error)
        return turn(array, _orientation(page))


def _check_unpacked(page: tifffile.TiffPage) -> None:
    """Raise ValueError where a strip or tile unpacks to far more than it is to hold, which tifffile would do first."""
    smallest = _UNPACKS.get(int(page.compression))
    if smallest is None or max(page.databytecounts, default=0) < smallest:
        return
    most = _TIMES * math.prod(page.chunks) * _dtype(page).itemsize + _SPARE
    handle = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        handle.seek(offset)
        packed = handle.read(count)
        if int(page.compression) == COMPRESSION.LZMA:
            unpacker = lzma.LZMADecompressor()
            unpacker.decompress(packed, most)
            whole = unpacker.eof or unpacker.needs_input
        else:
            inflater = zlib.decompressobj()
            inflater.decompress(packed, most)
            whole = not inflater.unconsumed_tail
        if not whole:
            raise ValueError("its pixels unpack to far more than the image")


def turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn the pixels as the TIFF and EXIF tag says (1 to 8; 1 is upright)."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def _layout_of(path: Path) -> _Layout:
    status = path.stat()
    return _layout(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _layout(path: str, changed: int, size: int) -> _Layout:
    """Work out where the planes are; kept for files read lately, since long files take a second."""
    with tifffile.TiffFile(path) as tiff:
        _check_chain(tiff)
        series = tiff.series[0] if tiff.series else None
        if series is not None and not series.is_multifile:
            return _layout_of_series(series)
    # A series over several files would show the planes of the others as this one's.
    with tifffile.TiffFile(path, is_ome=False, is_mmstack=False) as tiff:
        return _layout_of_series(tiff.series[0])


def _check_chain(tiff: tifffile.TiffFile) -> None:
    """Raise ValueError where the directories lead in a circle, along which tifffile would go for ever."""
    form, handle, seen = tiff.tiff, tiff.filehandle, set()
    offset = tiff.pages.first.offset
    while 0 < offset < handle.size:
        if offset in seen:
            raise ValueError("its pages lead in a circle")
        seen.add(offset)
        try:
            handle.seek(offset)
            tags = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))[0]
            handle.seek(offset + form.tagnosize + tags * form.tagsize)
            offset = struct.unpack(form.offsetformat, handle.read(form.offsetsize))[0]
        except (struct.error, OSError):  # the chain is cut, where tifffile ends it too
            return


def _layout_of_series(series: tifffile.TiffPageSeries) -> _Layout:
    keyframe = series.keyframe
    count = math.prod(series.shape) // math.prod(_plane_shape(keyframe))
    if series.dataoffset is not None:
        size = int(keyframe.parent.filehandle.size)
        if series.dataoffset + count * math.prod(_plane_shape(keyframe)) * _dtype(keyframe).itemsize > size:
            raise ValueError("it says that it has more pages than it holds")
        return _Layout(count, int(series.dataoffset), np.empty((0, 2), np.int64))
    directories = [(page.offset, page.index) if page is not None else (0, 0) for page in series.pages]
    return _Layout(count, None, np.array(directories, np.int64))


def _plane_shape(page: tifffile.TiffPage) -> tuple[int, ...]:
    return tuple(n for n, axis in zip(page.shape, page.axes, strict=True) if axis != "Z")


def _dtype(page: tifffile.TiffPage) -> np.dtype:
    if page.dtype is None:
        raise ValueError("its pixels are of no known type")
    return page.dtype


def _locate(path: Path, plane: int, tiff: tifffile.TiffFile) -> tuple[tifffile.TiffPage, int, int | None]:
    """Return the directory that describes the plane, the plane's number in it, and where its pixels start."""
    layout = _layout_of(path)
    if plane >= layout.count:
        raise ValueError(f"there is no page {plane}")
    if layout.start is not None:
        page = tiff.pages.first
        nbytes = math.prod(_plane_shape(page)) * _dtype(page).itemsize
        return page, plane, layout.start + plane * nbytes
    each = layout.count // len(layout.directories)
    offset, number = layout.directories[plane // each].tolist()
    if not offset:
        raise ValueError("the page is missing")
    tiff.filehandle.seek(offset)
    return tifffile.TiffPage(tiff, number), plane % each, None


class _NotPlain(Exception):
    """The page's colours are none that can be given as gray or RGB here."""


def _colours(array: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """Return the pixels as (H, W) gray or (H, W, 3) RGB."""
    photometric = PHOTOMETRIC(page.photometric)
    if photometric == PHOTOMETRIC.PALETTE:
        # The colour map has 16 bits for each of R, G, B.
        colours = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
        rgb = colours[array]
        return rgb[..., 0] if (colours == colours[:, :1]).all() else rgb
    if array.ndim == 3 and page.planarconfig == PLANARCONFIG.SEPARATE:
        array = np.moveaxis(array, 0, -1)
    if photometric == PHOTOMETRIC.RGB:
        if array.ndim != 3 or array.shape[-1] < 3:
            raise _NotPlain("its colours are incomplete")
        return array[..., :3]
    if photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE):
        raise _NotPlain(f"its colours are {photometric.name}")
    if array.ndim == 3 and array.shape[-1] in (3, 4):  # RGB from a program that left the colour unsaid
        return array[..., :3]
    if array.ndim == 3 and array.shape[-1] in (1, 2):
        array = array[..., 0]
    if array.ndim != 2:
        raise DataError(f"{page.parent.filehandle.path} has {array.shape[-1]} channels; save it as gray or as RGB.")
    return _inverted(array) if photometric == PHOTOMETRIC.MINISWHITE else array


def _inverted(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "bu":
        return array
    return ~array if array.dtype == bool else np.iinfo(array.dtype).max - array


def _by_fallback(path: Path, page: tifffile.TiffPage, fallback: Callable[[int], np.ndarray], error: Exception) -> np.ndarray:
    deep_colour = page.samplesperpixel > 1 and page.bitspersample > 8
    if not deep_colour:
        try:
            array = fallback(page.index)
        except OSError:
            if "imagecodecs" not in str(error):
                raise
        else:
            # Pillow inverts 8 bits of white-is-zero, and leaves more as they are.
            white_is_zero = page.photometric == PHOTOMETRIC.MINISWHITE and array.dtype.itemsize > 1
            return _inverted(array) if white_is_zero else array
    if "imagecodecs" in str(error):
        name = tifffile.COMPRESSION(page.compression).name
        raise DataError(
            f"{path} is compressed by {name}, for which the package imagecodecs is needed; install it with "
            '"pip install imagecodecs", or save the image uncompressed.'
        ) from error
    raise error


def _orientation(page: tifffile.TiffPage) -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None else 1
