"""Networks with one output for two classes, as for a sigmoid, made into networks with an output for each.

Their names are ``one-output:ARCHITECTURE`` where the output is a logit z, and ``one-probability:ARCHITECTURE`` where the
network itself applies the sigmoid. The logits are (-z/2, z/2), of which softmax makes the probabilities 1 - sigmoid(z) and
sigmoid(z), and either of which has a heatmap.
"""

from __future__ import annotations

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.model_names import ONE_OUTPUT, ONE_PROBABILITY
from napari_cam_feedback.models.layers.parts import in_evaluation
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
# Probabilities nearer to 0 or 1 are rounded to this, since their logits are infinite.
_EPS = 1e-6


class TwoClasses(nn.Module):
    """Two logits of a network with one output.

    Parameters
    ----------
    network : torch.nn.Module
        Puts out (N, 1) or (N,).
    probability : bool
        Whether that is the probability of the second class instead of its logit.
    """

    def __init__(self, network: nn.Module, *, probability: bool) -> None:
        super().__init__()
        self.network = network
        self.probability = probability

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 2) of images (N, channels, H, W): -z/2 and z/2."""
        z = self.network(images).reshape(len(images), 1)
        if self.probability:
            z = torch.logit(z, eps=_EPS)
        return torch.cat([-z / 2, z / 2], 1)


def build_one_output(
    arch: str, num_classes: int, channels: int, size: tuple[int, int] | None = None, *, trust: bool = False
) -> nn.Module:
    """Make such a network with random weights; see `build_module`.

    Raises
    ------
    ModelError
        It is to have another number of classes than two.
    """
    from napari_cam_feedback.models.networks.architectures import build_module

    kind = ONE_PROBABILITY if arch.startswith(ONE_PROBABILITY) else ONE_OUTPUT
    if num_classes != 2:
        raise ModelError(f"A network with one output is for two classes, not {num_classes}; choose another network.")
    network = build_module(arch.removeprefix(kind), 1, channels, size, trust=trust)
    return TwoClasses(network, probability=kind == ONE_PROBABILITY)


def one_output(module: nn.Module, channels: int, size: tuple[int, int]) -> torch.Tensor | None:
    """Return what a network puts out for some images (N, 1); None where it does not put out one number for each."""
    generator = torch.Generator().manual_seed(0)
    # Large inputs too: what stays within 0 and 1 for them went through a sigmoid.
    images = torch.randn(8, channels, *size, generator=generator) * torch.logspace(-1, 3, 8)[:, None, None, None]
    try:
        with torch.no_grad():
            found = in_evaluation(module)(images)
    except Exception:  # whatever keeps it from taking an image is said by who builds it for good
        return None
    fits = isinstance(found, torch.Tensor) and found.numel() == len(images) == len(found)
    return found.float().reshape(-1, 1) if fits else None


def named_one_output(arch: str, outputs: torch.Tensor) -> str:
    """Return the name under which a network with one output has two; `outputs` are of `one_output`."""
    probability = bool(((outputs >= 0) & (outputs <= 1)).all())
    return (ONE_PROBABILITY if probability else ONE_OUTPUT) + arch
