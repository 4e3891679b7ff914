"""What a text says of a network's origin: ours, another package's, a file of the user's; known without loading torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

TORCHVISION = "torchvision:"
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

Origin = Literal[
    "named", "torchvision", "timm", "efficientnet-lite", "function", "export", "torchscript", "gap", "one-output"
]
# What stands before a colon.
_PREFIXES: tuple[Origin, ...] = ("torchvision", "timm", "export", "torchscript", "gap")


def without_one_output(arch: str) -> str:
    """Return the architecture alone where a name says that its one output stands for two classes."""
    return arch.removeprefix(ONE_OUTPUT).removeprefix(ONE_PROBABILITY)


@dataclass(frozen=True)
class Architecture:
    """What makes a network, as the text that names it says; `Architecture.of` takes a text apart.

    Attributes
    ----------
    text : str
        The whole, as the user types it or a model's header holds it.
    origin : str
        ``named``: a name of ours, or an unknown one. ``torchvision``, ``timm``, ``efficientnet-lite``: a network of those
        packages. ``function``: of a Python file. ``export``: an archive of torch.export. ``torchscript``: a file that 0.1.0
        could open. ``gap``: a part of another architecture with a head of ours. ``one-output``: another architecture whose
        one output stands for two classes.
    name : str
        The network's name in its package; the function, empty where a Python file is named and none of its functions; the
        part. Else the text.
    file : Path or None
        The Python file or the program.
    inner : Architecture or None
        The architecture that a part is of, or whose output it is.
    """

    text: str
    origin: Origin
    name: str
    file: Path | None = None
    inner: Architecture | None = None

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(text: str) -> Architecture:
        r"""Take a text apart.

        Examples
        --------
        >>> Architecture.of("torchvision:resnet18").name
        'resnet18'
        >>> Architecture.of("nets/mine.py:make").file
        PosixPath('nets/mine.py')
        """
        if text in LITE_SIZES:
            return Architecture(text, "efficientnet-lite", text)
        plain = without_one_output(text)
        if plain != text:
            return Architecture(text, "one-output", plain, inner=Architecture.of(plain))
        start, _, rest = text.partition(":")
        origin = next((each for each in _PREFIXES if each == start), None)
        if origin in ("export", "torchscript"):
            return Architecture(text, origin, rest, Path(rest))
        if origin == "gap":
            part, _, inner = rest.partition(":")
            return Architecture(text, origin, part, inner=Architecture.of(inner) if inner else None)
        if origin is not None:
            return Architecture(text, origin, rest)
        # From the right, since C:\nets\mine.py:make has two colons.
        file, _, function = text.rpartition(":")
        if file.endswith(".py") and function.isidentifier():
            return Architecture(text, "function", function, Path(file))
        if file.endswith(".py") or text.endswith(".py"):
            return Architecture(text, "function", "", Path(text if text.endswith(".py") else file))
        return Architecture(text, "named", text)

    @property
    def pretrained(self) -> bool:
        """Whether the name stands for a network with weights of its own, so that it can be opened without a file."""
        return self.origin in ("torchvision", "efficientnet-lite")

    @property
    def has_preset(self) -> bool:
        """Whether the network was made for a preprocessing of its own (`presets.preset`)."""
        return self.pretrained or self.origin == "timm"

    @property
    def runs_code(self) -> bool:
        """Whether it is code of the user's: a function of a Python file, or a saved program."""
        if self.inner is not None:
            return self.inner.runs_code
        return self.origin in ("function", "export")
