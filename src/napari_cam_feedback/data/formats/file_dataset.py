"""What datasets of image files share: reading them and their known masks, and keeping to their folder."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.data.pixels import images
from napari_cam_feedback.errors import DataError, MaskError

MASKS = "masks"


def page_key(key: str, page: int) -> str:
    """Return the key of a page (from 0) of the file with the key `key`."""
    return f"{key}/{page:04d}"


class FileDataset(Dataset):
    """Image files under a root folder; an item's key is its path relative to the root.

    A page of a TIFF with several is an item whose key is the file's and the page's number, four digits from 0:
    ``train/3/stack.tif/0012``.

    The known mask of ``train/3/0001.jpg`` is ``masks/train/3/0001.png`` (or .tif) under the root, or
    ``masks/train/3/0001.jpg.png`` as painted masks are saved; of a page, ``masks/train/3/stack.tif/0012.png`` or
    that page of ``masks/train/3/stack.tif``, which then has as many pages as the image.

    Nothing outside of the root is read, also where links lead there.

    Attributes
    ----------
    root : Path
        The folder that the keys are relative to.
    pages : ndarray of int32, shape (N,), or None
        The page that each item is, -1 for a whole file; None where all are whole files.
    """

    root: Path
    pages: np.ndarray | None = None

    def path(self, index: int) -> Path:
        """Return the path of the image's file."""
        return self.root / self._file_key(index)

    def _page(self, index: int) -> int:
        return -1 if self.pages is None else int(self.pages[index])

    def _file_key(self, index: int) -> str:
        key = self.keys[index]
        return key if self._page(index) < 0 else key.rpartition("/")[0]

    @cached_property
    def _fence(self) -> Fence:
        return Fence(self.root)

    def _inside(self, path: Path) -> Path:
        leak = self._fence.leak(path)
        if leak is not None:
            raise DataError(leak)
        return path

    def _mask_inside(self, path: Path) -> Path:
        try:
            return self._inside(path)
        except DataError as error:
            raise MaskError(str(error)) from error

    def read(self, index: int) -> np.ndarray:
        """Read the image's file; see `images.read_image`. One that a link puts outside of the root is refused."""
        return images.read_page(self._inside(self.path(index)), max(0, self._page(index)))

    def image_size(self, index: int) -> tuple[int, int]:
        """Return the image's (height, width) from its file's header; refuses links as `read` does."""
        return images.image_size(self._inside(self.path(index)))

    def known_mask(self, index: int) -> np.ndarray | None:
        """Read the mask that came with the image; None where there is none or it is empty.

        Raises
        ------
        MaskError
            The mask is broken, not of the image's size or number of pages, or a link puts it outside of the root.
        DataError
            The image is broken.
        """
        if not self.has_known_masks:
            return None
        mask = self._read_mask(index)
        return mask if mask is not None and mask.any() else None

    def _read_mask(self, index: int) -> np.ndarray | None:
        masks = self.root / MASKS
        place = masks / self.keys[index]
        # The mask of 0.png, not of 0.png.jpg, where both are images.
        stem = place.with_suffix("")
        another = stem.suffix.lower() in images.SUFFIXES and stem.relative_to(masks).as_posix() in self.keys
        stems = () if another else (place.stem + suffix for suffix in (".png", ".tif", ".tiff"))
        for name in (f"{place.name}.png", *stems):
            path = self._mask_inside(place.with_name(name))
            if path.is_file():
                return images.read_mask(path, self.image_size(index))
        if self._page(index) >= 0:
            path = self._mask_inside(masks / self._file_key(index))
            if path.is_file():
                return _page_of_mask(path, self._page(index), self.path(index))
        return None

    @cached_property
    def _any_mask(self) -> bool:
        if self._fence.leak(self.root / MASKS) is not None:
            return True  # to be told of when one is asked for
        return any(
            Path(name).suffix.lower() in images.SUFFIXES or (Path(folder) / name).is_symlink()
            for folder, folders, files in os.walk(self.root / MASKS)
            for name in (*files, *folders)
        )

    @property
    def has_known_masks(self) -> bool:
        """Whether there is any mask in the folder ``masks`` beside the images."""
        return self._any_mask

    def may_have_mask(self) -> np.ndarray:
        """Return which items a file in ``masks`` is named after; bool (N,)."""
        masks = self.root / MASKS
        if not self.has_known_masks or self._fence.leak(masks) is not None:
            return np.full(len(self), self.has_known_masks)
        names: set[str] = set()
        linked: list[str] = []
        for folder, folders, files in os.walk(masks):
            here = Path(folder).relative_to(masks).as_posix()
            prefix = "" if here == "." else f"{here}/"
            names.update(prefix + name.rpartition(".")[0] for name in files)
            linked += [f"{prefix}{name}/" for name in folders if (Path(folder) / name).is_symlink()]
        behind_link = tuple(linked)

        def named(key: str) -> bool:
            return key in names or key.rpartition(".")[0] in names or key.startswith(behind_link)

        if self.pages is None:
            return np.fromiter(map(named, self.keys), bool, len(self))
        return np.fromiter((named(key) or named(key.rpartition("/")[0]) for key in self.keys), bool, len(self))


def _page_of_mask(path: Path, page: int, image: Path) -> np.ndarray:
    """Read one page of a mask file that has a page for each of its image's."""
    try:
        count, expected = images.count_pages(path), images.count_pages(image)
        if count != expected:
            raise MaskError(
                f"The mask {path} has {count} {_pages(count)} but its image {expected}; give it one for each, or remove it."
            )
        mask = images.read_page(path, page) != 0
        height, width = images.image_size(image)
    except DataError as error:
        raise MaskError(str(error)) from error
    if mask.ndim == 3:
        mask = mask.any(axis=2)
    if mask.shape != (height, width):
        raise MaskError(
            f"The mask {path} is {mask.shape[1]}x{mask.shape[0]} pixels but its image {width}x{height}; "
            "make it the same size or remove it."
        )
    return mask


def _pages(count: int) -> str:
    return "page" if count == 1 else "pages"
