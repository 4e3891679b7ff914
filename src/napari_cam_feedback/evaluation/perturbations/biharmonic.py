"""Smooth inpainting without a network: what is masked continues its surroundings (biharmonic equation)."""

from __future__ import annotations

import math
import warnings

import numpy as np

from napari_cam_feedback.torch_loader import torch

#: Masked pixels of an image up to which the equation is solved at full size; its cost rises faster than their number.
MAX_EXACT_PIXELS = 5000
#: Pixels from the mask's edge inwards that are solved at full size where the inside is solved at a reduced one.
_BAND = 4


def inpaint_fill(inputs: torch.Tensor, masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Continue the surroundings smoothly (scikit-image's ``inpaint_biharmonic``; Damelin and Hoang 2018).

    Where more than `MAX_EXACT_PIXELS` pixels of an image are masked, the inside is solved at a reduced size, and a band
    along the mask's edge at full size. The values keep within those outside the mask. Nothing is drawn: the same image
    and mask give the same each time, so a caller who fills the same images again and again had better keep the result.
    """
    filled = inputs.clone()
    outside = ~masks
    for n in range(len(inputs)):
        mask = masks[n].cpu().numpy()
        if not mask.any():
            continue
        if mask.all():
            # No surroundings; then the image itself serves, as in the other fills.
            filled[n] = inputs[n].mean((1, 2), keepdim=True)
            continue
        image = inputs[n].detach().cpu().numpy().astype(np.float64)
        solved = torch.from_numpy(_solve(image, mask)).to(inputs)
        filled[n] = torch.where(outside[n], inputs[n], solved)
    return filled


def _solve(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return (C, h, w) float64 with the masked pixels (h, w) inpainted; some pixels are not masked."""
    masked = int(mask.sum())
    if masked <= MAX_EXACT_PIXELS:
        return _exact(image, mask)
    from scipy.ndimage import binary_erosion

    factor = math.ceil(math.sqrt(masked / MAX_EXACT_PIXELS))
    small, small_mask = _reduced(image, mask, factor)
    if small_mask.all():
        return _exact(image, mask)
    coarse = torch.from_numpy(_solve(small, small_mask) if small_mask.any() else small)[None]
    large = torch.nn.functional.interpolate(coarse, mask.shape, mode="bilinear", align_corners=False)[0].numpy()
    guess = np.where(mask, large, image)
    # The image's own edge is no edge of the mask.
    band = mask & ~binary_erosion(mask, iterations=_BAND, border_value=1)
    return _exact(guess, band)


def _reduced(image: np.ndarray, mask: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the image and mask with blocks of factor x factor pixels made one: the mean of those not masked."""
    known = torch.from_numpy(~mask).double()[None]
    size = (math.ceil(mask.shape[0] / factor), math.ceil(mask.shape[1] / factor))
    pool = torch.nn.functional.adaptive_avg_pool2d
    share = pool(known, size)
    mean = pool(torch.from_numpy(image) * known, size) / share.clamp_min(1e-12)
    return mean.numpy(), (share[0] == 0).numpy()


def _exact(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    # Loading it takes half a second, which only those who use it should wait.
    from skimage.restoration import inpaint_biharmonic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a singular matrix, which is dealt with here
        found = inpaint_biharmonic(image, mask, channel_axis=0)
    mean = image[:, ~mask].mean(1)[:, None, None]
    return np.where(np.isfinite(found), found, mean)
