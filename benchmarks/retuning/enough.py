"""Painted enough? Whether what is said of ten more masks comes true.

A model is retuned with 3, 5 and 10 masks, and asked whether ten more will help, by how much, and of which classes; then it
is retuned with these ten besides. What is said is right where accuracy on `test` rose by more than `WORTH` if and only if it
was said to. The classes named are right where wrong predictions of the first retune are more often theirs than the others'
(a class's mark misleads to it), asked where ten more did help. Compared with always saying no, and yes below ten masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.retuning.measure import setups
from benchmarks.retuning.options import parse
from benchmarks.retuning.tables import Cell, show, write_csv
from napari_cam_feedback.evaluation import SplitResult, evaluate
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.retuning import MoreMasks, make_config, more_masks, retune, run_to_end
from napari_cam_feedback.retuning.judging.more_masks import MORE, WORTH

MASKS = (3, 5, 10)
Row = dict[str, Cell]


def row_of(found: MoreMasks, before: tuple[float, np.ndarray], after: float, names: Sequence[str]) -> Row:
    """Return what was said, what came true, and whether that agrees.

    Parameters
    ----------
    found : MoreMasks
        What was said.
    before : tuple
        Accuracy on test and confusion (K, K), rows the true classes, with the masks so far.
    after : float
        Accuracy on test with ten more.
    names : sequence of str
        The classes.
    """
    accuracy, confusion = before
    gain = after - accuracy
    wrong = confusion.sum(0) - confusion.diagonal()
    named = np.array([name in found.classes for name in names])
    asked = gain > WORTH and named.any()
    return {
        "masks": found.masks,
        "said": found.gain,
        "low": found.low,
        "high": found.high,
        "probability": found.probability,
        "test": accuracy,
        "gain": gain,
        "right": found.helps == (gain > WORTH),
        "inside": None if found.low is None or found.high is None else found.low <= gain <= found.high,
        "classes right": bool(wrong[named].mean() > wrong[~named].mean()) if asked else None,
    }


def summary(rows: Sequence[Row]) -> str:
    """Say how often it was right, and the simple rules."""

    def share(values: list[bool]) -> str:
        return f"{sum(values)} of {len(values)}"

    helped = [float(str(row["gain"])) > WORTH for row in rows]
    few = [int(str(row["masks"])) < 10 for row in rows]
    off = [abs(float(str(row["gain"])) - float(str(row["said"]))) for row in rows]
    classes = [bool(row["classes right"]) for row in rows if row["classes right"] is not None]
    inside = [bool(row["inside"]) for row in rows]
    rules = share([not each for each in helped]), share([each == less for each, less in zip(helped, few, strict=True)])
    return (
        f"right {share([bool(row['right']) for row in rows])} (always no: {rules[0]}, yes below ten masks: {rules[1]}); "
        f"inside the interval {share(inside)}; off by {100 * float(np.mean(off)):.1f} points in the mean; "
        f"classes right {share(classes)}"
    )


def main(words: Sequence[str] = ()) -> None:
    """Print each prediction and what came true; write ``enough.csv``."""
    options = parse(words, "Whether ten more masks help, said before and measured after.", ("tag-digits", "crosses"))
    rows: list[Row] = []
    for case in options.data:
        for setup in setups(case, options.seeds, compare=False):
            dataset, results = setup.dataset, {}
            for count in sorted({*MASKS, *(count + MORE for count in MASKS)}):
                config = make_config({"seed": setup.seed})
                result = run_to_end(retune(setup.naive, dataset, known_masks(dataset, count, seed=setup.seed), config))
                test: SplitResult = evaluate(result.classifier, dataset, splits=["test"], masks={}).splits["test"]
                results[count] = result, test
            for count in MASKS:
                result, test = results[count]
                found = more_masks(dataset, known_masks(dataset, count, seed=setup.seed), [result.to_json()])
                after = results[count + MORE][1].accuracy
                told = row_of(found, (test.accuracy, test.confusion), after, dataset.class_names)
                rows.append({"data": case.name, "seed": setup.seed, **told})
            write_csv("enough", rows)
            print(show(rows[-len(MASKS) :]), flush=True)
    print(summary(rows))
