"""Names that stand for a network and its weights instead of a file; known without loading torch."""

from __future__ import annotations

TORCHVISION = "torchvision:"
#: Before the file of a program of torch.export.
EXPORT = "export:"
#: Before an architecture whose one output is the logit, or the probability, of the second of two classes.
ONE_OUTPUT, ONE_PROBABILITY = "one-output:", "one-probability:"
#: EfficientNet-Lite: the side in pixels of the images that each was trained on (TensorFlow's efficientnet_lite_builder.py).
LITE_SIZES = {
    "efficientnet-lite0": 224,
    "efficientnet-lite1": 240,
    "efficientnet-lite2": 260,
    "efficientnet-lite3": 280,
    "efficientnet-lite4": 300,
}


def is_lite(arch: str) -> bool:
    """Tell whether a name is that of an EfficientNet-Lite."""
    return arch in LITE_SIZES


def without_one_output(arch: str) -> str:
    """Return the architecture alone where a name says that its one output stands for two classes."""
    return arch.removeprefix(ONE_OUTPUT).removeprefix(ONE_PROBABILITY)


def names_pretrained(model: str) -> bool:
    """Tell whether a text names a network that has weights of its own, as ``torchvision:resnet18``, and no file."""
    return model.startswith(TORCHVISION) or is_lite(model)
