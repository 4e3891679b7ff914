"""Images of the viewer's own layers: planes of arrays, read one at a time in a worker."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_cam_feedback.errors import DataError


@dataclass(frozen=True, eq=False)
class PickedLayer:
    """An Image layer that the user chose; taken from the viewer on the main thread, read elsewhere.

    Attributes
    ----------
    name : str
        The layer's.
    data : array
        NumPy's or any that gives NumPy's when sliced and asked (dask, zarr); (…, H, W), or (…, H, W, 3 or 4) for colours.
    rgb : bool
        Whether the last axis is the colour.
    label : str or None
        Its class, None where it is not known.
    """

    name: str
    data: Any
    rgb: bool
    label: str | None = None

    @property
    def stack(self) -> tuple[int, ...]:
        """Lengths of the axes before the image's own; empty for a single image."""
        return tuple(int(n) for n in self.data.shape[: -3 if self.rgb else -2])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of one image."""
        height, width = self.data.shape[-3:-1] if self.rgb else self.data.shape[-2:]
        return int(height), int(width)

    @property
    def count(self) -> int:
        """Number of images: 1, or a stack's slices."""
        return math.prod(self.stack)

    def read(self, number: int) -> np.ndarray:
        """Return one image, (H, W) or (H, W, 3 or 4); only this slice of lazy data is computed."""
        where = np.unravel_index(number, self.stack) if self.stack else ()
        try:
            image = np.asarray(self.data[tuple(int(i) for i in where)] if where else self.data)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())[:150]
            raise DataError(f"Image {number} of the layer “{self.name}” cannot be read ({reason}); untick it.") from error
        return image


class LayerImages(Sequence[np.ndarray]):
    """All images of some layers, in order, read when asked for.

    Parameters
    ----------
    layers : sequence of PickedLayer
        At least one.
    on_read : callable, optional
        Called with the number of images read so far before each; may raise to end the reading.

    Raises
    ------
    DataError
        No layer is given.
    """

    def __init__(self, layers: Sequence[PickedLayer], on_read: Callable[[int], None] | None = None) -> None:
        if not layers:
            raise DataError("No layer is ticked; open images in napari and tick those to use.")
        self.layers = tuple(layers)
        self._starts = np.cumsum([0, *(layer.count for layer in layers)])
        self._on_read = on_read

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        if self._on_read is not None:
            self._on_read(int(index))
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.layers[which].read(int(index - self._starts[which]))

    @property
    def labels(self) -> list[str | None]:
        """The class of every image."""
        return [layer.label for layer in self.layers for _ in range(layer.count)]

    @property
    def names(self) -> list[str]:
        """A name for every image, by which its file and later its mask are called: a stack becomes a folder."""
        names = []
        for layer in self.layers:
            # A slash in a layer's name is no folder.
            name = layer.name.replace("/", "_").replace("\\", "_")
            names += [f"{name}/{i:04d}" for i in range(layer.count)] if layer.stack else [name]
        return names
