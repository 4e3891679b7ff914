"""What ``auto`` with its defaults must reach on networks as they are used, with 20 masks: ``python -m benchmarks networks``.

EfficientNet-Lite with ImageNet weights on photographs of clothes, the same as it comes on ImageNet's photographs with a
watermark, a ResNet-18 and a small vision transformer from random weights, and models that never saw a shortcut.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.retuning.cases import Case
from benchmarks.retuning.measure import Outcome, measure, setups
from benchmarks.retuning.options import parse
from benchmarks.retuning.tables import Row, show, span, write_csv
from napari_cam_feedback.feedback import known_masks

MASKS = 20
#: What is measured, for the table, and the digits shown of it.
MEASURES = {
    "gap_closed": ("gap closed", 3),
    "clean_gain": ("accuracy won without the shortcut", 3),
    "drop": ("accuracy with the shortcut less that without", 3),
    "gain": ("accuracy won with the shortcut", 3),
    "counted_after": ("times that the watched class is predicted", 1),
    "no_effect": ("share of verdicts that say no effect", 2),
}


@dataclass(frozen=True)
class Demand:
    """What is asked, of the mean over the seeds.

    Attributes
    ----------
    data : str
        The case.
    of : str
        A key of `MEASURES`.
    bound : float
        The value asked for.
    most : bool
        Whether it is the most that may be reached, not the least.
    unbiased : bool
        Of a model that never saw the shortcut, so that the masks are on what it does not use.
    """

    data: str
    of: str
    bound: float
    most: bool = False
    unbiased: bool = False

    @property
    def sentence(self) -> str:
        """What is asked, as ``gap closed >= 0.95``."""
        return f"{MEASURES[self.of][0]} {'<=' if self.most else '>='} {self.bound:g}"


DEMANDS = (
    Demand("clothes-lite0", "gap_closed", 0.95),
    Demand("clothes-lite0", "clean_gain", 0),
    Demand("imagenet-watermark", "drop", -0.05),
    Demand("imagenet-watermark", "clean_gain", -0.01),
    Demand("imagenet-watermark", "counted_after", 5, most=True),
    Demand("clothes-lite2", "gap_closed", 0.9),
    *(
        Demand(f"{data}-{network}", "gap_closed", 0.8)
        for network in ("resnet18", "vit")
        for data in ("tag-digits", "symbols")
    ),
    *(
        Demand(data, of, bound, unbiased=True)
        for data in ("tag-digits", "crosses", "clothes-lite0")
        for of, bound in (("gain", -0.01), ("no_effect", 1))
    ),
)


def main(words: Sequence[str] = ()) -> None:
    """Print each retune as it comes, then the table; write ``networks_runs.csv`` and ``networks.csv``."""
    named = dict.fromkeys(demand.data for demand in DEMANDS)
    options = parse(words, "What auto reaches on networks as they are used, with 20 masks.", named)
    runs: list[Row] = []
    table: list[Row] = []
    for case in options.data:
        for unbiased in (False, True):
            demands = [demand for demand in DEMANDS if (demand.data, demand.unbiased) == (case.name, unbiased)]
            if not demands:
                continue
            outcomes = []
            for outcome in _outcomes(case, options.seeds, unbiased=unbiased):
                outcomes.append(outcome)
                runs.append({**asdict(outcome), "unbiased": unbiased})
                write_csv("networks_runs", runs)
                print(line(outcome, unbiased=unbiased), flush=True)
            table += [judged(demand, outcomes) for demand in demands]
            write_csv("networks", table)
    if table:
        print(show(table))


def judged(demand: Demand, outcomes: Sequence[Outcome]) -> Row:
    """Return the row of a demand: it is met where the mean over the seeds is what was asked.

    The gap closed is that of all seeds together, mean gain over mean gap: where a network hardly fell for the shortcut, its
    own gap is next to nothing, and a share of that says nothing.
    """
    values = [float(getattr(outcome, demand.of)) for outcome in outcomes]
    within = operator.le if demand.most else operator.ge
    # A mean of shares is what it is up to rounding.
    mean = round(float(np.mean(values)), 9)
    if demand.of == "gap_closed":
        mean = float(sum(o.after - o.before for o in outcomes) / sum((o.reference or math.nan) - o.before for o in outcomes))
    return {
        "data": demand.data + (", unbiased model" if demand.unbiased else ""),
        "asked": demand.sentence,
        "reached": span(values, MEASURES[demand.of][1]) + (f"; together {mean:.2f}" if demand.of == "gap_closed" else ""),
        "met": bool(within(mean, demand.bound)),
        "test": _before_after(outcomes, "before", "after"),
        "test-clean": _before_after(outcomes, "clean_before", "clean_after"),
        "without shortcut": span([_mean(outcomes, "reference")]),
        "seconds": span((o.seconds for o in outcomes), 0),
        "verdicts": ", ".join(sorted({o.verdict for o in outcomes})),
    }


def line(outcome: Outcome, *, unbiased: bool = False) -> str:
    """Return one retune in a line."""
    gap = "" if outcome.gap_closed is None or unbiased else f", gap closed {outcome.gap_closed:.2f}"
    counted = (
        "" if outcome.counted_after is None else f", watched class {outcome.counted_before} -> {outcome.counted_after} times"
    )
    rate = "-" if outcome.learning_rate is None else f"{outcome.learning_rate:g}"
    return (
        f"{outcome.data}{', unbiased model' if unbiased else ''}, seed {outcome.seed}, {outcome.masks} masks: "
        f"test {outcome.before:.3f} -> {outcome.after:.3f} ({outcome.test_low:+.3f} to {outcome.test_high:+.3f}), "
        f"without the shortcut {outcome.clean_before:.3f} -> {outcome.clean_after:.3f} "
        f"({outcome.clean_low:+.3f} to {outcome.clean_high:+.3f}){gap}{counted}, {outcome.seconds:.0f} s, "
        f"{outcome.iterations} steps at {rate}, took {outcome.selected_iteration} at {outcome.selected_share:g}, "
        f"{outcome.status}, {outcome.verdict}"
    )


def _outcomes(case: Case, seeds: tuple[int, ...], *, unbiased: bool) -> Iterator[Outcome]:
    for setup in setups(case, seeds, compare=case.training is not None, unbiased=unbiased):
        outcome = measure(setup, known_masks(setup.dataset, MASKS, seed=setup.seed))
        assert isinstance(outcome, Outcome), outcome
        yield outcome


def _before_after(outcomes: Sequence[Outcome], before: str, after: str) -> str:
    return f"{span([_mean(outcomes, before)])} -> {span([_mean(outcomes, after)])}"


def _mean(outcomes: Sequence[Outcome], name: str) -> float | None:
    values = [value for value in (getattr(outcome, name) for outcome in outcomes) if value is not None]
    return float(np.mean(values)) if values else None
