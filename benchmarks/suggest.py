"""Which images to paint: accuracy on test after k painted images that were chosen in different ways; and proposed masks.

``python -m benchmarks suggest --data tag-digits --seeds 0`` does one data set and seed; what was measured before is kept in
``suggest_runs.csv``, and the curve printed is of all seeds measured so far. The known masks stand for the expert's.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from benchmarks.retuning.cases import cases
from benchmarks.retuning.measure import Outcome, Setup, measure, setups, timed_retune
from benchmarks.retuning.tables import RESULTS, Row, show, span, write_csv
from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.evaluation import predict
from napari_cam_feedback.evaluation.predictions import Predictions
from napari_cam_feedback.feedback import KnownMasks, known_masks
from napari_cam_feedback.feedback.proposals.exemplars import overlap
from napari_cam_feedback.feedback.proposals.propagate import AUTO, KINDS, propose_masks
from napari_cam_feedback.feedback.suggestions.suggest import candidate_items, suggest
from napari_cam_feedback.models import Classifier

COUNTS = (2, 5, 10, 20)
#: From so few painted images masks are proposed for others.
DONORS = (1, 5, 10)
#: Proposals are measured on so many images.
PROPOSED_FOR = 300
RUNS, CURVE, PROPOSALS = "suggest_runs", "suggest", "proposals"
#: What tells one run from another.
_SAME = ("data", "seed", "way", "masks")


def by_suggest(setup: Setup, found: Predictions, count: int) -> list[str]:
    """As `suggest` with its defaults ranks them."""
    return suggest(setup.naive, setup.dataset, (), count, seed=setup.seed).keys


def by_chance(setup: Setup, found: Predictions, count: int) -> list[str]:
    """Any, each as likely as another."""
    return _keys(setup, found, np.random.default_rng(setup.seed).permutation(len(found.indices))[:count])


def by_error(setup: Setup, found: Predictions, count: int) -> list[str]:
    """The misclassified first, then any."""
    order = np.random.default_rng(setup.seed).permutation(len(found.indices))
    wrong = found.predicted != found.labels
    return _keys(setup, found, order[np.argsort(~wrong[order], kind="stable")][:count])


def by_doubt(setup: Setup, found: Predictions, count: int) -> list[str]:
    """Those first in which the two most probable classes are nearest."""
    best = np.sort(found.probabilities, axis=1)
    return _keys(setup, found, np.argsort(best[:, -1] - best[:, -2], kind="stable")[:count])


WAYS: dict[str, Callable[[Setup, Predictions, int], list[str]]] = {
    "suggest": by_suggest,
    "random": by_chance,
    "misclassified first": by_error,
    "uncertain first": by_doubt,
}


def main(words: Sequence[str] = ()) -> None:
    """Print the curve, and write it to ``suggest.csv``; with ``--proposals`` measure those instead."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks suggest", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=list(cases()), default=["tag-digits", "symbols"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS), help="painted images (%(default)s)")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--proposals", action="store_true", help="measure proposed masks, which takes seconds")
    parser.add_argument("--retuned", action="store_true", help="those by the model after a retune with ten known masks")
    options = parser.parse_args(list(words))
    for name in options.data:
        for setup in setups(cases()[name], tuple(options.seeds), compare=False):
            if options.proposals:
                classifier = _retuned(setup) if options.retuned else setup.naive
                rows = [{**row, "model": "retuned" if options.retuned else "naive"} for row in proposals(setup, classifier)]
                _save(PROPOSALS, ("data", "seed", "model", "kind", "painted"), rows)
            else:
                _measure(setup, options.counts, options.ways)
    if options.proposals:
        runs = [run for run in _load(PROPOSALS) if run["model"] == ("retuned" if options.retuned else "naive")]
        print(show(proposal_table(runs, options.data)))
        return
    rows = curve(_load(RUNS), options.data)
    write_csv(CURVE, rows)
    print(show(rows))


def _measure(setup: Setup, counts: Sequence[int], ways: Sequence[str]) -> None:
    """Retune once for each way and count, and print and save each as it comes."""
    cache = InputCache(setup.dataset, setup.naive.preprocessing)
    found = predict(setup.naive, setup.dataset, indices=candidate_items(setup.dataset), cache=cache)
    before: dict[frozenset[str], Outcome] = {}
    known = KnownMasks(setup.dataset)
    for count in counts:
        for way in ways:
            keys = WAYS[way](setup, found, count)
            masks = {key: known[key] for key in keys if key in known}
            if frozenset(masks) not in before:
                outcome = measure(setup, masks)
                assert isinstance(outcome, Outcome), outcome
                before[frozenset(masks)] = outcome
            outcome = before[frozenset(masks)]
            _save(RUNS, _SAME, [{**asdict(outcome), "masks": count, "way": way, "classes": _classes(setup, keys)}])
            print(
                f"{setup.case.name}, seed {setup.seed}, {count} by {way}: {outcome.before:.3f} -> {outcome.after:.3f}, "
                f"without the shortcut {outcome.clean_after:.3f}, {outcome.seconds:.0f} s, {outcome.verdict}",
                flush=True,
            )


def curve(runs: Sequence[Mapping[str, str]], data: Sequence[str]) -> list[Row]:
    """Return a row for each data set and way: accuracy on test before, and after each number of painted images."""
    rows: list[Row] = []
    for name in data:
        own = [run for run in runs if run["data"] == name]
        for way in WAYS:
            of_way = [run for run in own if run["way"] == way]
            if not of_way:
                continue
            row: dict[str, str | int] = {"data": name, "way": way, "seeds": len({run["seed"] for run in of_way})}
            row["0"] = span({run["seed"]: float(run["before"]) for run in of_way}.values())
            for count in sorted({int(run["masks"]) for run in own}):
                row[str(count)] = span(float(run["after"]) for run in of_way if int(run["masks"]) == count)
            rows.append(row)
    return rows


def _retuned(setup: Setup) -> Classifier:
    """Return the model after a retune, which hardly responds any more to what was painted."""
    return timed_retune(setup, setup.dataset, known_masks(setup.dataset, 10, seed=setup.seed))[0].classifier


def proposals(setup: Setup, classifier: Classifier) -> list[Row]:
    """Measure the masks proposed from a few painted images against those known, for each kind."""
    dataset, rows = setup.dataset, []
    for count in DONORS:
        painted = known_masks(dataset, count, seed=setup.seed)
        chosen = np.random.default_rng(setup.seed).permutation(candidate_items(dataset))
        chosen = np.array([i for i in chosen.tolist() if dataset.keys[i] not in painted][:PROPOSED_FOR], np.int64)
        truth = {int(i): mask for i in chosen if (mask := dataset.known_mask(int(i))) is not None}
        for kind in (*KINDS, AUTO):
            found = propose_masks(classifier, dataset, painted, kind=kind, indices=chosen, seed=setup.seed)
            shares = [overlap(p.mask, truth[p.index]) if p.index in truth else 0.0 for p in found]
            rows.append(
                {"data": setup.case.name, "seed": setup.seed, "kind": kind, "painted": count, **judged(shares, len(truth))}
            )
    return rows


def judged(shares: Sequence[float], known: int) -> Row:
    """Return precision, recall and mean overlap of proposals.

    Parameters
    ----------
    shares : sequence of float
        Intersection over union of each proposal with the known mask of its image.
    known : int
        Images with a known mask.
    """
    right = sum(share >= 0.5 for share in shares)
    return {
        "proposed": len(shares),
        "precision": right / len(shares) if shares else None,
        "recall": right / known if known else None,
        "iou": float(np.mean(shares)) if shares else None,
    }


def proposal_table(runs: Sequence[Mapping[str, str]], data: Sequence[str]) -> list[Row]:
    """Return a row for each data set, kind and number of painted images: means and ranges over the seeds measured."""
    rows: list[Row] = []
    for name in data:
        for count in sorted({int(run["painted"]) for run in runs if run["data"] == name}):
            for kind in (*KINDS, AUTO):
                own = [r for r in runs if (r["data"], r["kind"], int(r["painted"])) == (name, kind, count)]
                row: dict[str, str | int] = {"data": name, "painted": count, "kind": kind}
                row |= {m: span(float(r[m]) if r[m] else None for r in own) for m in ("precision", "recall", "iou")}
                rows.append(row)
    return rows


def _keys(setup: Setup, found: Predictions, rows: np.ndarray) -> list[str]:
    return [setup.dataset.keys[int(index)] for index in found.indices[rows]]


def _classes(setup: Setup, keys: Sequence[str]) -> int:
    return len({int(setup.dataset.labels[setup.dataset.index_of(key)]) for key in keys})


def _load(name: str) -> list[dict[str, str]]:
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _save(name: str, same: Sequence[str], rows: Sequence[Row]) -> None:
    """Add rows to a table; those measured before with the same settings are replaced."""
    new = {tuple(str(row[column]) for column in same) for row in rows}
    kept: list[Row] = [row for row in _load(name) if tuple(row[column] for column in same) not in new]
    write_csv(name, [*kept, *rows])
