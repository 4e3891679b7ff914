"""The three numbers that come first wherever a comparison is shown, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass

from napari_cam_feedback.evaluation.intervals import Interval
from napari_cam_feedback.evaluation.measures import show

AS_IT_IS = "accuracy as it is"
CONFLICT = "accuracy where the marker conflicts"
CHANGED = "predictions that the marker changes"


@dataclass(frozen=True, slots=True)
class KeyNumber:
    """One of the three, before and after.

    Attributes
    ----------
    name : str
        What it is.
    images : str
        Of which images.
    before, after : float or None
        Shares, 0 to 1; None where it was not measured.
    before_interval, after_interval : Interval or None
        Of these, 95 %.
    mark : str
        What became of it: ``better``, ``worse``, ``unsure``, or empty where there is no change.
    """

    name: str
    images: str
    before: float | None
    after: float | None
    before_interval: Interval | None = None
    after_interval: Interval | None = None
    mark: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """Before and after with their intervals, for people."""
        return _with_interval(self.before, self.before_interval), _with_interval(self.after, self.after_interval)


def share_interval(share: float | None, images: int) -> Interval | None:
    """Return the 95 % score interval of a share of so many images (Wilson 1927); None without any.

    Parameters
    ----------
    share : float or None
        0 to 1.
    images : int
        Of how many images.
    """
    if share is None or images < 1:
        return None
    from scipy.stats import binomtest

    found = binomtest(round(share * images), images).proportion_ci(method="wilson")
    return Interval(float(found.low), float(found.high))


def _with_interval(value: float | None, interval: Interval | None) -> str:
    return show(value) if interval is None else f"{show(value)} ({interval.low:.2f} to {interval.high:.2f})"
