"""Several holders of one folder of masks: what each has seen, and what gave way to what another put."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Seen:
    """Which writing of a mask somebody has seen; `MaskStore.put` takes it to know what is painted over.

    Attributes
    ----------
    revision : str or None
        As the index has it; None where it has none.
    signature : tuple or None
        Of the file, where it was read or written here.
    """

    revision: str | None
    signature: tuple[int, int, int] | None = None

    def is_still(self, now: Seen) -> bool:
        """Tell whether a mask is still the one that was seen."""
        return self.revision == now.revision and (self.signature is None or self.signature == now.signature)


#: Nothing was painted where somebody began to paint.
UNPAINTED = Seen(None, (0, 0, 0))


@dataclass(frozen=True)
class Replaced:
    """A mask of another holder, which gave way to a newer one whose painter had not seen it, and is kept.

    Attributes
    ----------
    key : str
        The image's.
    author : str or None
        Who painted the one that is kept.
    folder : Path
        Where it is kept, a folder of masks.
    """

    key: str
    author: str | None
    folder: Path

    @property
    def sentence(self) -> str:
        """What a user must know, and what they can choose."""
        who = self.author or "somebody else"
        return (
            f"{self.key} was painted by {who} too, meanwhile; that mask is kept in {self.folder}: merge it to take it, or "
            "both together."
        )


@dataclass(frozen=True)
class Change:
    """What another holder did to a mask.

    Attributes
    ----------
    key : str
        The image's.
    replaced : Replaced or None
        A mask put here that gave way and is kept.
    """

    key: str
    replaced: Replaced | None = None
