"""Spatial frequencies of images: their power in bands, and images with some bands stronger or weaker."""

from __future__ import annotations

from collections.abc import Callable

from napari_cam_feedback.torch_loader import torch

#: Bands of spatial frequency, from 0 to half a cycle a pixel along an axis and what lies beyond in the corners.
BANDS = 24
#: Pixels by which an image is mirrored at its edges before it is sharpened or blurred, at most.
MIRRORED = 16


def _radius(height: int, width: int) -> torch.Tensor:
    """(h, w // 2 + 1) float, how far each frequency lies along the bands, in bands."""
    down, along = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    return torch.sqrt(down[:, None] ** 2 + along[None] ** 2) / 0.5 * (BANDS - 1)


def bands_of(height: int, width: int) -> torch.Tensor:
    """(h, w // 2 + 1) int64, the band of each frequency."""
    return _radius(height, width).floor().long().clamp_max(BANDS - 1)


def curve(bands: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(..., h, w // 2 + 1), the values of bands (..., R) at each frequency, on lines between their middles."""
    at = (_radius(height, width) - 0.5).clamp(0, BANDS - 1).to(bands.device)
    lower = at.floor().long()
    return torch.lerp(bands[..., lower], bands[..., (lower + 1).clamp_max(BANDS - 1)], at - lower)


def filtered(images: torch.Tensor, change: Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]) -> torch.Tensor:
    """Images (N, C, h, w) with their spectrum changed, mirrored at the edges: a spectrum joins opposite ones."""
    height, width = images.shape[2:]
    down, along = min(MIRRORED, height - 1), min(MIRRORED, width - 1)
    padded = torch.nn.functional.pad(images, (along, along, down, down), mode="reflect")
    size = (padded.shape[2], padded.shape[3])
    found = torch.fft.irfft2(change(torch.fft.rfft2(padded, norm="ortho"), size), s=size, norm="ortho")
    return found[..., down : down + height, along : along + width]


def spectrum_of(images: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w // 2 + 1) complex, of images less their mean, under a Hann window so that their edges do not count.

    Opposite edges meet in a spectrum, and how they differ would look like sharpness. White noise has its variance for power.
    """
    down, along = (torch.hann_window(each + 2, periodic=False, dtype=images.dtype)[1:-1] for each in images.shape[2:])
    window = (down[:, None] * along).to(images.device)
    mean = (images * window).sum((2, 3), keepdim=True) / window.sum()
    return torch.fft.rfft2((images - mean) * window, norm="ortho") / window.square().mean().sqrt()


def power_in_bands(images: torch.Tensor) -> torch.Tensor:
    """(N, C, R) float, the mean power of images (N, C, h, w) in each band; without the mean of the image."""
    power = spectrum_of(images).abs().square()
    bands = bands_of(*images.shape[2:]).flatten().to(images.device)
    sums = torch.zeros(*images.shape[:2], BANDS, device=images.device).index_add_(2, bands, power.flatten(2))
    return sums / counts(*images.shape[2:]).to(images.device)


def counts(height: int, width: int) -> torch.Tensor:
    """(R,) float, how many frequencies each band has, at least 1."""
    counts = torch.bincount(bands_of(height, width).flatten(), minlength=BANDS)
    counts[0] -= 1
    return counts.clamp_min(1).float()
