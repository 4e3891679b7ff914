"""Masks in the files of other programs: reading each kind, whatever the images, and writing ours in them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import tifffile
from PIL import Image

from napari_cam_feedback.data.formats.npz import Npz, NpzError
from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.data.pixels import tiff
from napari_cam_feedback.data.pixels.images import SUFFIXES, count_pages, read_alpha, read_image
from napari_cam_feedback.errors import ConfigError, DataError, MaskError, describe
from napari_cam_feedback.feedback.exchange import rle
from napari_cam_feedback.feedback.masks.names import KEY_TEXT, NAMED, FileNames, key_in, named, text_of
from napari_cam_feedback.feedback.masks.store import MaskStore
from napari_cam_feedback.files import atomic_path, read_json
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.safe_pickle import read_pickle

#: What masks can be written as.
Kind = Literal["png", "tiff", "npz", "coco"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PICKLES = (".pkl", ".pickle", ".p")
CATEGORY = "irrelevant"
_INSTEAD = "save the masks as an .npz or as PNG files instead"
_NO_PICKLE = f"is no pickle of masks, or is cut short; copy it again, or {_INSTEAD}"

# Pictures that are not quite what was drawn.
_LOSSY = (".jpg", ".jpeg", ".jfif")
#: Takes a mask's name and what is odd about it.
Doubt = Callable[[str, str], None]
#: A mask's name in its file, or its number, and what reads it.
Named = tuple[str | int, Callable[[], np.ndarray]]


def read_named_masks(
    path: Path, *, category: str | None = None, background: int | None = None, doubt: Doubt | None = None
) -> Iterator[Named]:
    """Yield the name of every mask in a folder or file, and a function that reads it; an image may have several.

    Parameters
    ----------
    path : Path
        A folder of PNG, TIFF or other images, white where irrelevant; an ``.npz`` with an array a key, or with the arrays
        ``masks`` (N, H, W) and ``keys`` (N,); COCO's ``.json``, with runs or polygons; or a pickled dictionary from path or
        number to array (``.pkl .pickle .p``), also one a class.
    category : str, optional
        Of a COCO file, only what is of this category.
    background : int, optional
        Of images, the value of what is not painted; by default 0.
    doubt : callable, optional
        Takes a mask's name and what is odd about its file, while it is read.

    Yields
    ------
    tuple
        The name, or number, and a function that returns the mask, bool (H, W), or raises MaskError; to be called before the
        next one is asked for.

    Raises
    ------
    MaskError, DataError
        There is nothing, it cannot be read, or is of none of these kinds.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        yield from _from_folder(path, background, doubt or (lambda name, why: None))
    elif not path.is_file():
        raise DataError(f"There is no file or folder {path}; check the path.")
    elif suffix == ".npz":
        yield from _from_npz(path)
    elif suffix == ".json":
        yield from _from_coco(path, category, doubt or (lambda name, why: None))
    elif suffix in PICKLES:
        yield from _flat(read_pickle(path, MaskError, _NO_PICKLE, _INSTEAD), path)
    else:
        raise MaskError(
            f"{path.name} is no file of masks that can be read; name a folder of PNG or TIFF files, an .npz, COCO's .json, "
            f"or a pickled dictionary ({', '.join(PICKLES)})."
        )


def _from_folder(folder: Path, background: int | None, doubt: Doubt) -> Iterator[Named]:
    fence = Fence(folder)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        leak = fence.leak(path)
        if leak is not None:
            raise MaskError(leak)
        name = path.relative_to(folder).as_posix()
        # One whose key is no file name everywhere says it itself.
        key = key_in(path) if name.startswith(f"{NAMED}/") else None
        name = name if key is None else key
        yield name, lambda path=path, name=name: _read_image(path, background, lambda why: doubt(name, why))  # type: ignore[misc]


def _read_image(path: Path, background: int | None, doubt: Callable[[str], None]) -> np.ndarray:
    """Read a mask that another program drew: transparent is not painted, nor are a JPEG's frayed edges."""
    try:
        image, alpha = read_image(path), read_alpha(path)
    except DataError as error:
        raise MaskError(str(error)) from error
    if path.suffix.lower() in tiff.SUFFIXES and count_pages(path) > 1:
        doubt("has several pages, of which the first was taken")
    painted = image != (background or 0)
    if path.suffix.lower() in _LOSSY:
        painted = image > image.max(initial=0) / 2
        doubt("is a JPEG, whose compression frays edges, so only what is brighter than half was taken; save masks as PNG")
    if painted.ndim == 3:
        painted = painted.any(axis=2)
    if alpha is not None and alpha.shape == painted.shape and (alpha == 0).any() and alpha.any():
        painted &= alpha > 0
        doubt("is transparent in places, which were taken as not painted")
    return painted


def _from_npz(path: Path) -> Iterator[Named]:
    try:
        file = Npz(path)
    except OSError as error:
        raise MaskError(f"Could not read {path}: {describe(error)}") from error
    except NpzError as error:
        raise _npz_refusal(path, error) from error

    def read(name: str) -> np.ndarray:
        try:
            return file.read(name)
        except (NpzError, OSError) as error:
            raise _npz_refusal(path, error) from error

    with file:
        if "keys" in file.names and len(file.names) == 2:
            keys, masks = read("keys"), read(next(name for name in file.names if name != "keys"))
            if keys.ndim != 1 or masks.ndim != 3 or len(keys) != len(masks) or keys.dtype.kind not in "US":
                raise MaskError(f"{path} has not one mask (N, H, W) for each of its keys (N,); save both of one length.")
            try:
                names = [key.decode() if isinstance(key, bytes) else str(key) for key in keys.tolist()]
            except ValueError as error:
                raise MaskError(f"{path} has keys that are no text; save them as an array of text.") from error
            for key, mask in zip(names, masks, strict=True):
                yield key, lambda mask=mask: _as_mask(mask)  # type: ignore[misc]
            return
        for name in file.names:
            yield name, lambda name=name: _as_mask(read(name))  # type: ignore[misc]


def _npz_refusal(path: Path, error: Exception) -> MaskError:
    if isinstance(error, NpzError) and error.fault == "memory":
        return MaskError(f"{path} does not fit into the memory; save the masks as PNG files instead.")
    return MaskError(f"{path} is no .npz of masks or is cut short; copy it again.")


def _from_coco(path: Path, category: str | None, doubt: Doubt) -> Iterator[Named]:
    content = read_json(path)
    form = MaskError(f"{path} is not COCO's: it needs images, annotations and categories; export it anew.")
    try:
        names = {entry["id"]: str(entry["name"]) for entry in content.get("categories", [])}
        images = {entry["id"]: entry for entry in content["images"]}
        if len(images) < len(content["images"]):
            raise MaskError(
                f"{path.name} has several images of one id, so that nobody knows whose masks are whose; export it anew."
            )
        if category is not None and category not in names.values():
            raise MaskError(f"{path.name} has no category {category!r}, only {', '.join(names.values()) or 'none'}.")
        used = {names.get(annotation.get("category_id"), "none") for annotation in content["annotations"]}
        for annotation in content["annotations"]:
            if category is None or names.get(annotation.get("category_id")) == category:
                image, drawn = images[annotation["image_id"]], annotation["segmentation"]
                size = (int(image["height"]), int(image["width"]))
                name = str(image["file_name"])
                if category is None and len(used) > 1:
                    doubt(
                        name,
                        f"is from a file of the categories {', '.join(sorted(used))}, all taken; name one to take only it",
                    )
                yield name, lambda drawn=drawn, size=size: _drawn(drawn, size)  # type: ignore[misc]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise form from error


def _drawn(drawn: Any, size: tuple[int, int]) -> np.ndarray:
    """Return what an annotation draws, bool (H, W): runs, their compressed text, or polygons."""
    try:
        _check_pixels(size)
        if not drawn:
            raise MaskError("it is a box without an outline; draw outlines or masks and export these")
        if isinstance(drawn, list):
            return _polygons(drawn, size)
        counts = drawn["counts"]
        height, width = drawn["size"]
        counts = rle.decompress(counts) if isinstance(counts, str) else [int(count) for count in counts]
        if (height, width) != size:
            raise MaskError(f"its runs are for {height}x{width} pixels and its image has {size[0]}x{size[1]}")
        return rle.decode(counts, size)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise MaskError("it is drawn neither by runs nor by polygons") from error
    except MemoryError as error:
        raise MaskError("it does not fit into the memory") from error


def _polygons(polygons: list[Any], size: tuple[int, int]) -> np.ndarray:
    from skimage.draw import polygon

    mask = np.zeros(size, bool)
    for flat in polygons:
        points = np.asarray(flat, float).reshape(-1, 2)
        # COCO counts from the image's corner, scikit-image from the middle of its first pixel.
        mask[polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, shape=size)] = True
    return mask


def _flat(value: Any, path: Path, before: str = "") -> Iterator[Named]:
    """Yield what is in dictionaries, lists and arrays of masks; a class above its images becomes a part of their names."""
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 3 and not before):
        pairs = list(enumerate(value))
    else:
        raise MaskError(f"{path.name} holds no masks by name; save a dictionary from the image's path to its mask.")
    for name, inner in pairs:
        whole = f"{before}/{name}" if before else name
        if isinstance(inner, dict):
            yield from _flat(inner, path, str(whole))
        elif inner is not None:
            yield whole, lambda inner=inner: _as_mask(inner)  # type: ignore[misc]


def _as_mask(array: Any) -> np.ndarray:
    """Return an array as a mask, bool (H, W): painted where any channel is not zero."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise MaskError("it is no array of numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise MaskError("it has values that are no numbers")
    painted = array != 0
    if painted.ndim == 3 and 1 in (painted.shape[0], painted.shape[2]):
        painted = painted.squeeze(0 if painted.shape[0] == 1 else 2)
    elif painted.ndim == 3 and painted.shape[2] == 3:
        painted = painted.any(axis=2)
    if painted.ndim != 2:
        raise MaskError(f"it has {array.ndim} axes ({'x'.join(map(str, array.shape))}) instead of height and width")
    return painted


def _check_pixels(size: tuple[int, int]) -> None:
    most = 2 * (Image.MAX_IMAGE_PIXELS or 10**9)
    if size[0] < 1 or size[1] < 1 or size[0] * size[1] > most:
        raise MaskError(f"it says {size[0]}x{size[1]} pixels, which is no image")


# Writing ----------------------------------------------------------------------------------------------


@takes_monitor
def export_masks(
    masks: Mapping[str, np.ndarray], path: Path, kind: str, *, compressed: bool = True, monitor: Monitor = QUIET
) -> list[str]:
    """Write masks for other programs.

    Parameters
    ----------
    masks : mapping
        Key to (H, W) bool, as a `MaskStore`.
    path : Path
        For ``png`` and ``tiff`` a new or empty folder, in which the mask of an image is ``<key>.png`` or ``<key>.tif``,
        8 bits, 255 where irrelevant; one whose key is no file name on some system is in ``_named`` and says its key. For
        ``npz`` a file with a bool array a key. For ``coco`` a ``.json`` with one annotation an image.
    kind : str
        One of `KINDS`.
    compressed : bool
        For ``coco``: runs as COCO's compressed text instead of lists of numbers.
    monitor : Monitor, optional
        Told of masks done and masks in all.
        Asked between masks whether to stop; a folder keeps those written so far, a file is not written.

    Returns
    -------
    list of str
        Keys written; masks without a painted pixel are left out.

    Raises
    ------
    ConfigError
        There is no such kind, or the folder is not empty or lies among the masks.
    MaskError
        A mask cannot be read.
    StorageError
        It cannot be written.
    """
    if kind not in KINDS:
        raise ConfigError(f"Masks cannot be written as {kind!r}; choose one of {', '.join(KINDS)}.")
    if isinstance(masks, MaskStore) and path.resolve().is_relative_to(masks.folder.resolve()):
        # They would be found there as masks of images of other names.
        raise ConfigError(f"{path} lies among the masks themselves; choose a place outside of {masks.folder}.")
    written: list[str] = []

    def steps() -> Iterator[tuple[str, np.ndarray]]:
        keys = list(masks)
        for done, key in enumerate(keys):
            if monitor.stopped:
                raise _Stopped
            mask = np.asarray(masks[key]) != 0
            if mask.any():
                yield key, mask
                written.append(key)
            monitor.progress(done + 1, len(keys))

    try:
        if kind in ("png", "tiff"):
            _write_folder(steps(), path, kind)
        elif kind == "npz":
            _write_npz(steps(), path)
        else:
            _write_coco(steps(), path, compressed)
    except _Stopped:
        return written if kind in ("png", "tiff") else []
    return written


class _Stopped(Exception):
    pass


def _write_folder(masks: Iterator[tuple[str, np.ndarray]], folder: Path, kind: str) -> None:
    if folder.exists() and (not folder.is_dir() or next(folder.iterdir(), None) is not None):
        raise ConfigError(f"{folder} is not empty; choose a new folder for the masks.")
    names = FileNames()
    for key, mask in masks:
        name = names.choose(key)  # refuses keys that lead out of the folder
        names.note(name, key)
        target = folder / name
        pixels = mask.astype(np.uint8) * np.uint8(255)
        with atomic_path(target if kind == "png" else target.with_suffix(".tif")) as temporary:
            if kind == "png":
                Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=text_of(name, key))
            else:
                # A TIFF's description is plain ASCII.
                about = json.dumps({KEY_TEXT: key}) if name == named(key) else None
                tifffile.imwrite(
                    temporary, pixels, photometric="minisblack", compression="deflate", description=about, metadata=None
                )


def _write_npz(masks: Iterator[tuple[str, np.ndarray]], path: Path) -> None:
    # Entry by entry, since all masks of a large dataset may not fit into the memory.
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for key, mask in masks:
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, mask, allow_pickle=False)
            file.writestr(f"{key}.npy", buffer.getvalue())


def _write_coco(masks: Iterator[tuple[str, np.ndarray]], path: Path, compressed: bool) -> None:
    images, annotations = [], []
    for number, (key, mask) in enumerate(masks, 1):
        height, width = mask.shape
        counts = rle.encode(mask)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        images.append({"id": number, "file_name": key, "height": height, "width": width})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "segmentation": {"size": [height, width], "counts": rle.compress(counts) if compressed else counts},
                "area": int(mask.sum()),
                "bbox": [float(value) for value in box],
                # As COCO marks what is drawn by a list of runs.
                "iscrowd": 0 if compressed else 1,
            }
        )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": CATEGORY}]}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
