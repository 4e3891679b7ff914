"""Every method of retuning on every data set: the files of ``experiments/`` whose data are at hand."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial

from benchmarks.retuning import decoy_mnist
from benchmarks.retuning.tables import RESULTS, Row, write_csv
from napari_cam_feedback.experiments import ExperimentStep, markdown_table, read_experiment, run_experiment, summarise
from napari_cam_feedback.steps import run_to_end

EXPERIMENTS = decoy_mnist.CHECKOUT / "experiments"
SAMPLES = ("tag-digits", "crosses", "symbols", "baggage")
DECOYS = ("decoy-mlp", "decoy-cnn")


def main(words: Sequence[str] = ()) -> None:
    """Print the table of each data set as it is done; write all runs to ``methods_runs.csv``.

    What was run stays in ``results/methods`` and is not run again.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks methods", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=(*SAMPLES, *DECOYS), default=[*SAMPLES, *DECOYS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args(list(words))
    os.chdir(decoy_mnist.CHECKOUT)  # the network of decoy MNIST is named from there
    runs: list[Row] = []
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


def _tell(name: str, step: ExperimentStep) -> None:
    if not step.share:
        print(f"{name}: {step.done} of {step.total}, {step.text}", flush=True)
