"""Faults that a network's outputs show by themselves: no numbers, other numbers when asked again, probabilities."""

from __future__ import annotations

from napari_cam_feedback.errors import ModelError, Remark
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch

#: A probability that changes by more than this when a network is asked again is not rounding.
MIN_CHANGE = 1e-3
#: Rows of probabilities sum to 1 but for so much.
_TOLERANCE = 1e-3
# What inputs are multiplied by to see whether outputs stay between 0 and 1.
_LARGE = 1000.0
# Most outputs of a sigmoid are then so near to 0 or 1.
_END, _MOST = 0.01, 0.8


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
    negative = _negative_variance(classifier)
    if not weights and negative is not None:
        cause = f", since the variance in {negative} is negative, which no data have"
        remedy = "load another checkpoint, or one whose file was not changed"
        return _nan_remark(count, images, cause, remedy)
    more = f" and {len(weights) - 1} more" if len(weights) > 1 else ""
    cause = f", since its weights are not either ({weights[0]}{more})" if weights else ""
    remedy = (
        "load another checkpoint, saved before the training broke down"
        if weights
        else "check the mean, the deviation and the value range, which may be for other pixel values"
    )
    fields = () if weights else ("mean", "std", "value_range")
    return _nan_remark(count, images, cause, remedy, fields)


def _nan_remark(count: int, images: int, cause: str, remedy: str, fields: tuple[str, ...] = ()) -> Remark:
    said = "The network's outputs are not finite numbers (NaN) for"
    if count == images:
        raise ModelError(f"{said} any image{cause}; {remedy}.", field=fields)
    return Remark(f"{said} {count} of {images} images{cause}; {remedy}.", fields)


def _negative_variance(classifier: Classifier) -> str | None:
    """Return the name of a normalisation's variance that is below zero; None without one."""
    buffers = classifier.module.named_buffers()
    return next((name for name, t in buffers if name.endswith("running_var") and bool((t < 0).any())), None)


def _not_finite(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all())


def random_remark(classifier: Classifier, inputs: torch.Tensor, first: torch.Tensor) -> Remark | None:
    """Say that a network gives other outputs when it is asked again; None where it does not.

    Parameters
    ----------
    classifier : Classifier
        Is asked again, and twice where the answer is another one.
    inputs : Tensor
        (N, C, h, w).
    first : Tensor
        (N, K) logits of these, asked for together with other images.
    """
    again = classifier.logits(inputs).float().cpu().softmax(1)
    change = float((first.float().softmax(1) - again).abs().nan_to_num(0).max())
    if change <= MIN_CHANGE:
        return None
    said = f"Asked twice about the same image, the network answers differently (a probability changes by up to {change:.2g})"
    once_more = classifier.logits(inputs).float().cpu().softmax(1)
    if float((again - once_more).abs().nan_to_num(0).max()) < MIN_CHANGE / 100:
        return Remark(
            f"{said}: its answer depends on the other images of the batch, as with a batch norm that keeps no statistics, "
            "so that no number is that of one image alone; let each image be computed by itself in evaluation mode."
        )
    return Remark(
        f"{said}: "
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


def sigmoid_remark(classifier: Classifier, inputs: torch.Tensor, logits: torch.Tensor) -> Remark | None:
    """Say that a network ends in a sigmoid for each class; None where it does not seem to.

    Parameters
    ----------
    classifier : Classifier
        Is asked about far larger inputs too: small logits may lie between 0 and 1 by chance.
    inputs : Tensor
        (N, C, h, w).
    logits : Tensor
        (M, K), of these and other images.
    """
    if softmax_remark(logits) is not None or not _within(logits):
        return None
    far = torch.cat([classifier.logits(inputs * factor) for factor in (_LARGE, -_LARGE)])
    # Those of a network whose layers put out no more than 6 may lie there, too, but not at the ends.
    if not _within(far) or float(((far < _END) | (far > 1 - _END)).float().mean()) < _MOST:
        return None
    return Remark(
        "The network seems to end in a sigmoid, and a softmax is applied to its outputs: the probabilities shown are too "
        "even, and heatmaps and retuning, which expect logits, are weakened; let its forward return what comes before the "
        "sigmoid."
    )


def _within(logits: torch.Tensor) -> bool:
    return bool(len(logits)) and bool(((logits >= 0) & (logits <= 1)).all())
