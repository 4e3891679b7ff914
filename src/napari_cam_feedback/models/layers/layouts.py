"""How a layer lays out its activations, how they are brought to (N, F, h, w) and back, and masks to its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.torch_loader import torch

Kind = Literal["maps", "channels_last", "tokens", "vector"]
Grid = tuple[int, int]

#: Tokens that may come before those of the image: class, distillation and register tokens.
MAX_PREFIX_TOKENS = 8

nn = torch.nn
# What these put out is (N, F, h, w), whatever its shape looks like.
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.GroupNorm,
    nn.Dropout2d,
    nn.Upsample,
)
# These change no axis.
_ELEMENTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Identity,
    nn.Dropout,
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where filters, rows and columns are in what a layer puts out.

    Attributes
    ----------
    kind : str
        ``maps``: (N, F, h, w). ``channels_last``: (N, h, w, F). ``tokens``: (N, prefix + h·w, F), row by row.
        ``vector``: (N, F), features that have no place; h and w are 1.
    filters, rows, columns : int
        F, h and w.
    prefix : int
        Tokens before those of the image, which stand for no place.
    """

    kind: Kind
    filters: int
    rows: int
    columns: int
    prefix: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(F, h, w)."""
        return self.filters, self.rows, self.columns

    @property
    def grid(self) -> Grid:
        """(h, w)."""
        return self.rows, self.columns

    @property
    def has_places(self) -> bool:
        """Whether the activations tell places of the image apart, as a heatmap needs."""
        return self.rows * self.columns > 1

    def to_maps(self, output: torch.Tensor) -> torch.Tensor:
        """Return the activations (N, F, h, w) of a layer's output, as a view of it."""
        if self.kind == "channels_last":
            return output.permute(0, 3, 1, 2)
        if self.kind == "tokens":
            return output[:, self.prefix :].unflatten(1, self.grid).permute(0, 3, 1, 2)
        if self.kind == "vector":
            return output[:, :, None, None]
        return output

    def from_maps(self, maps: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return a copy of `output`, in which the places are those of `maps` (N, F, h, w); gradients reach `maps`."""
        if self.kind == "channels_last":
            return maps.permute(0, 2, 3, 1).clone()
        if self.kind == "tokens":
            return torch.cat([output[:, : self.prefix], maps.flatten(2).transpose(1, 2)], 1)
        if self.kind == "vector":
            return maps.flatten(1).clone()
        return maps.clone()


def puts_channels_first(layer: nn.Module) -> bool:
    """Tell whether a layer is known to put out (N, F, h, w): a convolution, a pooling, or a sequence that ends in one."""
    if isinstance(layer, _CHANNELS_FIRST):
        return True
    if not isinstance(layer, nn.Sequential) or type(layer).forward is not nn.Sequential.forward:
        return False
    last = next((child for child in reversed(layer) if not isinstance(child, _ELEMENTWISE)), None)
    return last is not None and puts_channels_first(last)


def find_layout(
    shape: Sequence[int], size: tuple[int, int], grid: Grid | None = None, *, channels_first: bool = False
) -> Layout:
    """Tell the layout of a layer's output from its shape.

    Tokens lie on a grid of the image's patches, so for an image of H x W pixels and patches of p x p there are
    H/p x W/p of them, and few before them. Channels are last where only the two axes before them have the image's
    aspect ratio.

    Parameters
    ----------
    shape : sequence of int
        Of the output, with the batch as first axis.
    size : tuple of int
        (H, W) of the network's input in pixels.
    grid : tuple of int, optional
        (rows, columns) of the tokens, where the user has set it. It does not matter to other layouts.
    channels_first : bool
        The layer is known to put its channels first (`puts_channels_first`).

    Raises
    ------
    ModelError
        The output has another number of axes, or its tokens fit no grid; the text completes "Layer 'x' …".
    """
    if len(shape) == 4:
        _, first, second, third = shape
        if not channels_first and has_aspect(first, second, size) and not has_aspect(second, third, size):
            return Layout("channels_last", third, first, second)
        return Layout("maps", first, second, third)
    if len(shape) == 2:
        return Layout("vector", shape[1], 1, 1)
    if len(shape) != 3:
        raise ModelError(
            "puts out neither (N, F, h, w) maps nor (N, T, F) tokens nor (N, F) features; choose another layer.",
            field="layer",
        )
    _, tokens, filters = shape
    if grid is None:
        grid = next(iter(_patch_grids(tokens, size)), None)
        if grid is None:
            raise ModelError(
                f"puts out {tokens} tokens, and no grid of patches of {size[0]}x{size[1]} images has as many; "
                f"choose another layer, or set their rows and columns{_examples(tokens, size)}.",
                field="grid",
            )
    prefix = tokens - math.prod(grid)
    if not 0 <= prefix <= MAX_PREFIX_TOKENS:
        raise ModelError(
            f"puts out {tokens} tokens, which do not fit a grid of {grid[0]}x{grid[1]}; "
            f"choose another layer, or set another grid{_examples(tokens, size)}.",
            field="grid",
        )
    return Layout("tokens", filters, *grid, prefix)


def has_aspect(rows: int, columns: int, size: tuple[int, int]) -> bool:
    """Tell whether rows x columns can be an image of that size (H, W) made smaller, give or take a place for rounding."""
    stride = max(size[0] / rows, size[1] / columns)
    return rows <= size[0] and abs(size[0] / stride - rows) < 1 and abs(size[1] / stride - columns) < 1


def _patch_grids(tokens: int, size: tuple[int, int]) -> list[Grid]:
    """Grids of whole patches with at most a few tokens left over, those with fewest first."""
    found = []
    for patch in range(1, min(size) + 1):
        if size[0] % patch == 0 and size[1] % patch == 0:
            rows, columns = size[0] // patch, size[1] // patch
            if 1 < rows * columns <= tokens <= rows * columns + MAX_PREFIX_TOKENS:
                found.append((rows, columns))
    return sorted(found, key=lambda grid: -math.prod(grid))


def _examples(tokens: int, size: tuple[int, int]) -> str:
    """Grids to propose: those of whole patches first, then those nearest to the image's aspect ratio."""
    found = _patch_grids(tokens, size)
    others = []
    for prefix in range(MAX_PREFIX_TOKENS + 1):
        places = tokens - prefix
        for rows in range(2, places // 2 + 1):
            if places % rows == 0:
                off = abs(math.log(rows * size[1] / (places // rows * size[0])))
                others.append((off, prefix, (rows, places // rows)))
    found += [grid for off, _, grid in sorted(others) if off < math.log(2) and grid not in found]
    if not found:
        return ""
    return f" (such as {' or '.join(f'{rows} {columns}' for rows, columns in found[:3])})"


def masks_at_layer(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bring masks from input pixels down to a layer's size; a place counts if any of its pixels is masked.

    Parameters
    ----------
    masks : Tensor
        (N, H, W) bool.
    size : tuple of int
        (h, w) of the layer.

    Returns
    -------
    Tensor
        (N, h, w) bool.
    """
    return torch.nn.functional.adaptive_max_pool2d(masks[:, None].float(), size)[:, 0] > 0
