"""Faults that a network's outputs show by themselves: no numbers, other numbers when asked again, probabilities."""

from __future__ import annotations

from napari_cam_feedback.errors import ModelError, Remark
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch

#: A probability that changes by more than this when a network is asked again is not rounding.
MIN_CHANGE = 1e-3
#: Rows of probabilities sum to 1 but for so much.
_TOLERANCE = 1e-3


def nan_remark(classifier: Classifier, logits: torch.Tensor) -> Remark | None:
    """Say that some outputs are no numbers; None where all are.

    Parameters
    ----------
    classifier : Classifier
        Whose they are; its weights are searched for the cause.
    logits : Tensor
        (N, K).

    Raises
    ------
    ModelError
        None of the images has outputs that are numbers.
    """
    broken = ~logits.isfinite().all(1)
    count, images = int(broken.sum()), len(logits)
    if not count:
        return None
    weights = [name for name, t in classifier.module.state_dict().items() if _not_finite(t)]
    more = f" and {len(weights) - 1} more" if len(weights) > 1 else ""
    cause = f", since its weights are not either ({weights[0]}{more})" if weights else ""
    remedy = (
        "load another checkpoint, saved before the training broke down"
        if weights
        else "check the mean, the deviation and the value range, which may be for other pixel values"
    )
    fields = () if weights else ("mean", "std", "value_range")
    said = "The network's outputs are not finite numbers (NaN) for"
    if count == images:
        raise ModelError(f"{said} any image{cause}; {remedy}.", field=fields)
    return Remark(f"{said} {count} of {images} images{cause}; {remedy}.", fields)


def _not_finite(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all())


def random_remark(first: torch.Tensor, again: torch.Tensor) -> Remark | None:
    """Say that a network gives other outputs when it is asked again; None where it does not.

    Parameters
    ----------
    first, again : Tensor
        (N, K) logits of the same inputs.
    """
    change = float((first.float().softmax(1) - again.float().softmax(1)).abs().nan_to_num(0).max())
    if change <= MIN_CHANGE:
        return None
    return Remark(
        f"Asked twice about the same image, the network answers differently (a probability changes by up to {change:.2f}): "
        "something in it is drawn at random, such as dropout that stays on (training=True), which makes all that follows "
        "partly noise; turn that off in its forward."
    )


def softmax_remark(logits: torch.Tensor) -> Remark | None:
    """Say that a network ends in a softmax; None where its outputs are no probabilities.

    Parameters
    ----------
    logits : Tensor
        (N, K).
    """
    logits = logits.float()
    if not len(logits) or not bool(logits.isfinite().all()) or bool((logits < 0).any()):
        return None
    if not bool(((logits.sum(1) - 1).abs() < _TOLERANCE).all()):
        return None
    return Remark(
        "The network ends in a softmax, and a second one is applied to its outputs: the probabilities shown are too even, "
        "and heatmaps and retuning, which expect logits, are weakened; let its forward return what comes before the softmax."
    )
