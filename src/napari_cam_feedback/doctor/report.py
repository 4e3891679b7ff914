"""What was found out: facts about the machine, and what works on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "note", "failed", "left out"]


@dataclass(frozen=True)
class Check:
    """Something that was tried.

    Attributes
    ----------
    name : str
        What was tried.
    status : str
        ``ok``; ``note``, where something is missing that not everybody needs; ``failed``; ``left out``, where something
        before it failed.
    said : str
        One sentence: what failed and what to do, or what was found.
    seconds : float
        How long it took.
    """

    name: str
    status: Status
    said: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class DoctorReport:
    """What was found out. Nothing in it names the user, the machine, or a folder of theirs.

    Attributes
    ----------
    facts : mapping of str to str
        Versions, device, memory and the like, in the order in which they are shown.
    checks : tuple of Check
        What was tried, in its order.
    """

    facts: Mapping[str, str]
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """What failed."""
        return tuple(check for check in self.checks if check.status == "failed")

    @property
    def sentence(self) -> str:
        """What it all comes to."""
        if self.ok:
            return "All that was tried works here."
        return f"Not all works here: {'; '.join(check.name for check in self.failed)}."

    def text(self) -> str:
        """Return the report as text for an issue: a fact a line, a check a line, the sentence at the end."""
        wide = max(map(len, self.facts), default=0)
        lines = [f"{name:<{wide}}  {value}" for name, value in self.facts.items()]
        lines.append("")
        for check in self.checks:
            took = f" ({check.seconds:.1f} s)" if check.seconds >= 0.05 else ""
            lines.append(f"{check.status:<8}  {check.name}{took}{f': {check.said}' if check.said else ''}")
        return "\n".join([*lines, "", self.sentence])

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "ok": self.ok,
            "sentence": self.sentence,
            "facts": dict(self.facts),
            "checks": [asdict(check) for check in self.checks],
        }
