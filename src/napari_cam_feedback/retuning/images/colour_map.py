"""How the colours of some images differ from those of others: the linear map that makes the ones of the others.

The map moves colours least (Pitie and Kokaram 2007, *The linear Monge-Kantorovitch linear colour mapping for example-based
colour transfer*).
"""

from __future__ import annotations

from napari_cam_feedback.retuning.images.spectra import spectrum_of
from napari_cam_feedback.torch_loader import torch

#: Waves across an image up to which a frequency is low: from these the map of the colours is found.
LOW = 2.5
#: Shares of an image's pixels that are darker than its dark parts, and than its light parts; they are looked at in blocks of
#: which so many lie along the shorter side; with fewer pixels along a block's side, blur and noise reach them.
EXTREMES, COARSE, MIN_BLOCK = (0.02, 0.05, 0.95, 0.98), 40, 2
#: Share of the highest frequency from which on there is hardly anything but noise.
HIGH = 0.7
#: Standard errors by which something must differ before it belongs to the style.
MIN_ERRORS = 2.0


def colour_map(images: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the middle (C,) of the colours of images and of others, and by what (C, C) the latter become the former.

    How far colours reach is told by the darkest and lightest parts of each image, which differ far less from one photograph
    to the next than their mean and variance (the ratio of the deviations in 30 photographs of each kind errs by 0.06 so, and
    by 0.2 otherwise). How they go together is told by the lowest frequencies, which blur hardly reaches. What could be
    chance is left as it is.
    """
    low = [_lowest(each) for each in (images, others)]
    if min(images.shape[2:]) < MIN_BLOCK * COARSE:
        # Whatever parts so few pixels have, blur reaches them.
        middles = [each.mean((2, 3)) for each in (images, others)]
        reaches = [each.diagonal(dim1=1, dim2=2).clamp_min(1e-12).log() / 2 for each in low]
    else:
        ends = [_ends(each) for each in (images, others)]
        middles = [each.mean(1) for each in ends]
        reaches = [(each[:, 2:] - each[:, :2]).mean(1).clamp_min(1e-6).log() for each in ends]
    wider, further, middle = beyond_chance(*reaches), beyond_chance(*middles), middles[1].mean(0)
    deviations = [(reaches[1].mean(0) + each).double().exp() for each in (wider, torch.zeros_like(wider))]
    # Of each image alike, since few with much contrast would outweigh all others.
    together = [_correlations(each / _trace(each)).flatten(1) for each in low]
    differ = bool(beyond_chance(*together).any())
    apart = low if differ else [torch.cat(low)] * 2
    together = [_correlations((each / _trace(each)).mean(0)) for each in apart]
    one, two = (each * own[:, None] * own for each, own in zip(together, deviations, strict=True))
    return middle + further, middle, transport(_spread(two), _spread(one))


def _ends(images: torch.Tensor) -> torch.Tensor:
    """(N, 4, C) how dark the darkest and how light the lightest parts of images (N, C, h, w) are, in blocks of pixels."""
    block = max(1, min(images.shape[2:]) // COARSE)
    blocks = torch.nn.functional.avg_pool2d(images, block)
    return torch.quantile(blocks.flatten(2), torch.tensor(EXTREMES), dim=2).permute(1, 0, 2)


def beyond_chance(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """(D,) by how much one (N, D) is more than two (M, D) on average; 0 where that could be chance."""
    difference = one.mean(0) - two.mean(0)
    error = torch.sqrt(one.var(0) / len(one) + two.var(0) / len(two))
    return torch.where(difference.abs() > MIN_ERRORS * error, difference, 0.0)


def _lowest(images: torch.Tensor) -> torch.Tensor:
    """(N, C, C) covariance of the lowest frequencies of images (N, C, h, w), less the noise that their highest show."""
    height, width = images.shape[2:]
    down, along = torch.fft.fftfreq(height) * height, torch.fft.rfftfreq(width) * width
    cycles = torch.sqrt(down[:, None] ** 2 + along[None] ** 2)
    spectrum = spectrum_of(images.double())
    found = []
    for band in ((cycles > 0) & (cycles <= LOW), cycles >= HIGH * cycles.max()):
        values = spectrum[:, :, band]
        found.append((values @ values.mH).real / values.shape[2])
    return found[0] - found[1].mean(0)


def _trace(covariance: torch.Tensor) -> torch.Tensor:
    return covariance.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1e-12)[..., None, None]


def _correlations(covariance: torch.Tensor) -> torch.Tensor:
    """The correlations (..., C, C) of covariances, of which noise may have left less than nothing in some direction."""
    values, vectors = torch.linalg.eigh(covariance)
    covariance = (vectors * values.clamp_min(0)[..., None, :]) @ vectors.mT
    scale = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12).sqrt()
    return covariance / scale[..., :, None] / scale[..., None, :]


def transport(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """T, symmetric and positive, with T S T = U: S^-1/2 (S^1/2 U S^1/2)^1/2 S^-1/2 for covariances S and U (C, C)."""
    root, inverse = _root(source.double())
    middle, _ = _root(root @ target.double() @ root)
    return (inverse @ middle @ inverse).float()


def _spread(covariance: torch.Tensor) -> torch.Tensor:
    """A covariance (C, C) with a hundredth of its mean variance in all directions: grey images have one colour only."""
    covariance = covariance.double()
    return covariance + 0.01 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)


def _root(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The square root of a symmetric matrix, and its inverse as far as there is one."""
    values, vectors = torch.linalg.eigh(matrix)
    safe = values.clamp_min(1e-12 * float(values.max().clamp_min(1e-12)))
    return (vectors * safe.sqrt()) @ vectors.T, (vectors / safe.sqrt()) @ vectors.T
