"""Every method of retuning on every data set: the files of ``experiments/`` whose data are at hand."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.retuning import decoy_mnist
from benchmarks.retuning.tables import RESULTS, Row, show, span, write_csv
from napari_cam_feedback.experiments import ExperimentStep, markdown_table, read_experiment, run_experiment, summarise
from napari_cam_feedback.steps import run_to_end

EXPERIMENTS = decoy_mnist.CHECKOUT / "experiments"
SAMPLES = ("tag-digits", "crosses", "symbols", "baggage")
DECOYS = ("decoy-mlp", "decoy-cnn")


def main(words: Sequence[str] = ()) -> None:
    """Print the table of each data set as it is done, then those of all of them; write all runs to ``methods_runs.csv``.

    What was run stays in ``results/methods`` and is not run again.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks methods", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=(*SAMPLES, *DECOYS), default=[*SAMPLES, *DECOYS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args(list(words))
    os.chdir(decoy_mnist.CHECKOUT)  # the network of decoy MNIST is named from there
    runs: list[dict[str, str]] = []
    for name in options.data:
        if name in DECOYS:
            if not decoy_mnist.mnist_path().is_file():
                print(f"{name} is left out: there is no {decoy_mnist.mnist_path()}; name it with ${decoy_mnist.VARIABLE}.")
                continue
            decoy_mnist.write_files(options.seeds)
        config = read_experiment(EXPERIMENTS / f"{name}.toml", seeds=tuple(options.seeds))
        steps = run_experiment(config, RESULTS / "methods" / name, device="cpu", trust=True)
        rows = run_to_end(steps, partial(_tell, name))
        print(markdown_table(summarise(config, rows)), flush=True)
        runs += [{"data": name, **row} for row in rows]
        write_csv("methods_runs", runs)
    for measure in ("test", "flip"):
        table = side_by_side(runs, measure)
        write_csv(f"methods_{measure}", table)
        print(f"\n{measure}, mean (least to greatest)\n{show(table)}")


def side_by_side(runs: Sequence[Mapping[str, str]], measure: str) -> list[Row]:
    """Return a row a method and a column a data set: mean and range over the seeds of what a measure came to.

    Parameters
    ----------
    runs : sequence of mapping
        As `run_experiment` returns them, each with the name of its ``data``.
    measure : str
        Such as ``test`` (accuracy there) or ``flip``. With ``test`` go the F1 of watched classes, and what a model trained
        without the shortcut has.
    """
    watched = {key.removesuffix("_after") for run in runs for key in run if key.startswith("f1_") and key.endswith("_after")}
    shown = (measure, *sorted(watched)) if measure == "test" else (measure,)
    rows: dict[str, dict[str, str]] = {"before": {}, "without the shortcut": {}}
    for data in dict.fromkeys(run["data"] for run in runs):
        own = [run for run in runs if run["data"] == data]
        for name in shown:
            column = data if name == measure else f"{data}, {name.replace('_', ' ')}"
            if not any(run.get(f"{name}_after") for run in own):
                continue
            rows["before"][column] = _over_seeds(own, f"{name}_before")
            if name == "test":
                rows["without the shortcut"][column] = _over_seeds(own, "test_reference")
            for method in dict.fromkeys(run["method"] for run in own):
                of_method = [run for run in own if run["method"] == method]
                rows.setdefault(method, {})[column] = _over_seeds(of_method, f"{name}_after")
    return [{"method": method, **cells} for method, cells in rows.items() if cells]


def _over_seeds(runs: Sequence[Mapping[str, str]], column: str) -> str:
    """Return mean and range of one value a seed; a method that cannot be used has none."""
    return span({run["seed"]: float(run[column]) for run in runs if run.get(column)}.values(), 2)


def _tell(name: str, step: ExperimentStep) -> None:
    if not step.share:
        print(f"{name}: {step.done} of {step.total}, {step.text}", flush=True)
