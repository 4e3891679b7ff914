"""What an audit found: cues that tell the class, and images that stand twice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Finding:
    """A cue that tells the class beyond chance.

    Attributes
    ----------
    cue : str
        What tells it.
    accuracy, low, high : float
        How well, told of images that were not learnt from: mean over the classes of the share told right (balanced
        accuracy), and its interval, which holds for all cues together.
    chance : float
        What guessing comes to, 1 / K.
    used_by_model : float or None
        Share of the model's predictions that change when this is taken away; None without a model, or where it cannot be.
    advice : str
        What to do.
    """

    cue: str
    accuracy: float
    low: float
    high: float
    chance: float
    used_by_model: float | None
    advice: str

    @property
    def strength(self) -> float:
        """What is told beyond chance, of what there is to tell, 0 to 1."""
        return (self.accuracy - self.chance) / (1 - self.chance)

    @property
    def sentence(self) -> str:
        """What was found, for the user."""
        used = ""
        if self.used_by_model is not None:
            used = f" The model's prediction changes on {self.used_by_model:.0%} of the images when it is taken away."
        return (
            f"The class is told by {self.cue} alone: {self.accuracy:.0%} right ({self.low:.0%} to {self.high:.0%}), by "
            f"chance {self.chance:.0%}.{used}"
        )


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes
    ----------
    findings : tuple of Finding
        The strongest first.
    duplicates : tuple of (str, str)
        Keys of images that are nearly the same and stand in two splits or under two labels.
    checked : tuple of str
        Names of the cues that were tried.
    n : int
        Images by which the class was told.
    of : int
        Images that there are for it.
    compared : int
        Images among which duplicates were looked for.
    split : str
        The split that was audited.
    skipped : dict of str to str
        Keys of images that could not be read, and why.
    notes : tuple of str
        What was left out, a sentence each.
    """

    findings: tuple[Finding, ...]
    duplicates: tuple[tuple[str, str], ...]
    checked: tuple[str, ...]
    n: int
    of: int
    compared: int
    split: str
    skipped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The whole in a sentence or two."""
        sample = f"{self.n:,} images" if self.n == self.of else f"{self.n:,} of {self.of:,} images"
        if not self.findings:
            first = f"Nothing beside the content tells the class beyond chance ({len(self.checked)} cues tried on {sample})."
        else:
            names = [finding.cue for finding in self.findings]
            listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
            first = f"The class can be told by {listed} ({len(self.checked)} cues tried on {sample})."
        count = len(self.duplicates)
        pairs = "1 pair of images is" if count == 1 else f"{count:,} pairs of images are"
        return first + (f" {pairs} nearly the same in two splits or under two labels." if count else "")

    def to_json(self) -> dict[str, object]:
        """Plain values: findings, the strongest first, duplicates, and what they were looked for in."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "duplicates": [list(pair) for pair in self.duplicates],
            "checked": list(self.checked),
            "n": self.n,
            "of": self.of,
            "compared": self.compared,
            "split": self.split,
            "notes": list(self.notes),
            "skipped": self.skipped,
        }
