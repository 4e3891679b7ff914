"""Which image of a dataset a mask from elsewhere belongs to, told by its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError

#: Endings that a mask's file may have beyond its image's name.
_SUFFIXES = frozenset((".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".gif", ".webp", ".npy"))


# So many of the matcher's steps take keys as they are written; those after them guess.
_EXACT = 3
#: Why a mask is left out whose image is of another split than that asked for.
OF_ANOTHER_SPLIT = "its image is of another split"


class NameMatcher:
    """Finds the image that a name means: by its whole key, by the end of its path, or by its file name alone.

    In this order, and at each step first as it is and then without file endings: the name is a key; the name ends with a
    key, or a key with the name (an absolute path, a folder above that is missing); an image's file is called so. A step
    that finds several images decides nothing. The key of an image of another split than that asked for means that image,
    however others are called.

    Parameters
    ----------
    dataset : Dataset
        Where the images are.
    split : str, optional
        Look among the images of this split only; masks that are numbered count its images from 0.

    Raises
    ------
    DataError
        There is no such split.
    """

    def __init__(self, dataset: Dataset, split: str | None = None) -> None:
        self._dataset, self._split = dataset, split
        self._indices = dataset.indices(split)
        #: By the last part of their path, with and without its ending: items of that name.
        self._called: dict[str, list[int]] = {}
        for index in self._indices.tolist():
            name = PurePosixPath(dataset.keys[index]).name
            for called in {name, _bare(name)}:
                self._called.setdefault(called, []).append(index)
        #: Keys of the other splits' images, with and without their endings; made when first needed.
        self._others: set[str] | None = None

    def find(self, name: str | int) -> int:
        """Return the index of the image that `name` means.

        Raises
        ------
        DataError
            None or several fit; the sentence is for a user.
        """
        if isinstance(name, int):
            return self._numbered(name)
        path = _clean(name)
        called = {index for form in _forms(PurePosixPath(path).name) for index in self._called.get(form, [])}
        keys = {index: self._dataset.keys[index] for index in called}
        for step, found in enumerate(self._steps(path, keys)):
            if step == _EXACT and self._is_elsewhere(path):
                raise DataError(OF_ANOTHER_SPLIT)
            if len(found) == 1:
                return found[0]
        if not keys:
            raise DataError("no image is called so")
        some = ", ".join(sorted(keys.values())[:3])
        raise DataError(f"it may belong to {len(keys)} images ({some}{', …' if len(keys) > 3 else ''})")

    def _steps(self, path: str, keys: dict[int, str]) -> Iterator[list[int]]:
        forms = list(_forms(path))
        yield [index for index, key in keys.items() if key in forms[:1]]
        # The name with fewest endings taken off: 0.png.jpg.png is the mask of 0.png.jpg, not of 0.png.
        longest = next((form for form in forms if form in keys.values()), None)
        yield [index for index, key in keys.items() if key == longest]
        yield [index for index, key in keys.items() if _bare(key) in forms]
        yield [index for index, key in keys.items() if any(_ends(form, key) or _ends(key, form) for form in forms)]
        yield [
            index for index, key in keys.items() if any(_ends(f, _bare(key)) or _ends(_bare(key), f) for f in forms)
        ]  # fmt: skip
        yield list(keys)

    def _is_elsewhere(self, path: str) -> bool:
        """Whether it is the key of an image of another split."""
        if self._split is None:
            return False
        if self._others is None:
            own = set(self._indices.tolist())
            others = [key for index, key in enumerate(self._dataset.keys) if index not in own]
            self._others = {form for key in others for form in (key, _bare(key))}
        return any(form in self._others for form in _forms(path))

    def _numbered(self, number: int) -> int:
        if self._split is None:
            raise DataError("it is numbered; name it after its image, or say which split's images the numbers count")
        if not 0 <= number < len(self._indices):
            raise DataError(f"the split {self._split} has the images 0 to {len(self._indices) - 1} only")
        return int(self._indices[number])


def keys_of(dataset: Dataset, masks: Iterable[str]) -> dict[str, str]:
    """Return for each key of a `MaskStore` that of its image: a folder of known masks leaves out the image's ending."""
    wanted = set(masks)
    found = {key: key for key in wanted if key in dataset.keys}
    others = wanted - found.keys()
    if others:
        found |= {bare: key for key in dataset.keys if (bare := _bare(key)) in others}
    return found


def _clean(name: str) -> str:
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _bare(path: str) -> str:
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in _SUFFIXES and stem and not stem.endswith("/") else path


def _forms(path: str) -> Iterator[str]:
    """The name as it is, without its ending, and without that of the image before it (``1.png.png``)."""
    yield path
    while (bare := _bare(path)) != path:
        path = bare
        yield path


def _ends(path: str, end: str) -> bool:
    return path.endswith(f"/{end}")
