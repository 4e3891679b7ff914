"""Every method of retuning on every data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.retuning.cases import cases
from benchmarks.retuning.measure import Outcome, measure, setups
from benchmarks.retuning.options import parse
from benchmarks.retuning.tables import Row, show, span, write_csv
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.retune.methods import method_names

MASKS = {"decoy-cnn": 100, "decoy-mlp": 100}
USUAL = 20


def main(words: Sequence[str] = ()) -> None:
    """Print the table of each data set as it is done; write ``methods.csv`` (means) and ``methods_runs.csv``."""
    options = parse(words, "Every method with its defaults on every data set.", cases())
    runs: list[Row] = []
    table: list[Row] = []
    # auto is actdiff and transplant together.
    methods = [name for name in method_names() if name != "auto"]
    for case in options.data:
        found: dict[str, list[Outcome]] = {name: [] for name in methods}
        refused: dict[str, str] = {}
        for setup in setups(case, options.seeds):
            masks = known_masks(setup.dataset, MASKS.get(case.name, USUAL), seed=setup.seed)
            for name in methods:
                if name in refused:
                    continue
                outcome = measure(setup, masks, method=name)
                if isinstance(outcome, str):
                    refused[name] = outcome
                    continue
                found[name].append(outcome)
                runs.append(asdict(outcome))
                write_csv("methods_runs", runs)
        own = [_row(case.name, name, found[name], refused.get(name)) for name in methods]
        print(show(own), flush=True)
        table += own
        write_csv("methods", table)


def _row(data: str, name: str, outcomes: Sequence[Outcome], refused: str | None) -> Row:
    return {
        "data": data,
        "method": name,
        "before": span(o.before for o in outcomes),
        "after": span(o.after for o in outcomes),
        "without shortcut": span(o.reference for o in outcomes),
        "gap closed": span(o.gap_closed for o in outcomes),
        "flip rate": span(o.flip_after for o in outcomes),
        "seconds": span((o.seconds for o in outcomes), 0),
        "verdicts": "cannot be used here" if refused else ", ".join(sorted({o.verdict for o in outcomes})),
    }
