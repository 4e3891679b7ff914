"""What the tables of retuning take on the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence

from benchmarks.retuning import decoy_mnist, imagenet
from benchmarks.retuning.cases import Case, cases


def parse(
    words: Sequence[str],
    description: str,
    data: Iterable[str],
    seeds: Iterable[int] = (0, 1, 2),
    fast: Sequence[str] = (),
) -> argparse.Namespace:
    """Return ``data`` (list of Case that can be had; the others are told) and ``seeds`` (tuple of int).

    With `fast`, there is a switch that takes those data alone.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=description)
    parser.add_argument("--data", nargs="+", default=list(data), help="which data sets (%(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=tuple(seeds), help="which seeds (%(default)s)")
    parser.add_argument(
        "--mnist", metavar="NPZ", help=f"MNIST; by default ${decoy_mnist.VARIABLE}, or ../shared/data/mnist.npz"
    )
    parser.add_argument(
        "--photos", metavar="DIR", help=f"one photograph of each ImageNet class; by default ${imagenet.VARIABLE}"
    )
    if fast:
        parser.add_argument("--fast", dest="data", action="store_const", const=list(fast), help=f"only {' and '.join(fast)}")
    found = parser.parse_args(list(words))
    for given, variable in ((found.mnist, decoy_mnist.VARIABLE), (found.photos, imagenet.VARIABLE)):
        if given:
            os.environ[variable] = given
    known = cases()
    for name in found.data:
        if name not in known:
            parser.error(f"there is no data set {name!r}; choose from {', '.join(known)}")
    found.data = [known[name] for name in found.data if _there(known[name])]
    found.seeds = tuple(found.seeds)
    return found


def _there(case: Case) -> bool:
    reason = case.missing()
    if reason is not None:
        print(reason, flush=True)
    return reason is None
