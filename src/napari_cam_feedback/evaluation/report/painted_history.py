"""What the painted images' true classes got while a run went on: reading it from the run's folder, and drawing it."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_cam_feedback.errors import StorageError, describe
from napari_cam_feedback.evaluation.report.pictures import Picture, new_figure, save_figure

#: The file of a run's folder that holds it: a row an image and iteration, with iteration, key and probability.
PAINTED_FILE = "painted.csv"
_COLUMNS = ("iteration", "key", "probability")
# More lines than these hide each other; the mean is of all.
_MAX_LINES = 60
# Steps that no run takes; and cells of a table above which one must be mostly filled, as a run's is.
_MAX_ITERATION, _MAX_CELLS = 10**9, 10**7


@dataclass(frozen=True, eq=False)
class PaintedHistory:
    """Probability of the true class of each painted image, iteration by iteration.

    Attributes
    ----------
    name : str
        The run's.
    iterations : ndarray
        (I,) int64, ascending.
    keys : tuple of str
        Of the P images.
    probabilities : ndarray
        (I, P) float64; NaN where the run did not look.
    """

    name: str
    iterations: np.ndarray
    keys: tuple[str, ...]
    probabilities: np.ndarray


def read_painted_history(folder: str | os.PathLike[str], name: str | None = None) -> PaintedHistory:
    """Read the probabilities of a run's painted images.

    Parameters
    ----------
    folder : path
        The run's, as ``retune --out`` or a project writes it.
    name : str, optional
        What to call it; by default as the folder.

    Raises
    ------
    StorageError
        There is no such file, or it is broken.
    """
    file = Path(folder) / PAINTED_FILE
    broken = f"{file} is not the list of painted images that a run writes; name the folder of another run."
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except FileNotFoundError:
        raise StorageError(f"There is no run in {folder}: it has no {PAINTED_FILE}; name the folder of a retune.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise StorageError(broken) from error
    except OSError as error:
        raise StorageError(f"Could not read {file}: {describe(error)}") from error
    try:
        found = [(int(row["iteration"]), str(row["key"]), float(row["probability"])) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(broken) from error
    if not all(0 <= iteration < _MAX_ITERATION for iteration, _, _ in found):
        raise StorageError(broken)
    iterations = np.unique(np.array([iteration for iteration, _, _ in found], np.int64))
    keys = tuple(dict.fromkeys(key for _, key, _ in found))
    if len(iterations) * len(keys) > _MAX_CELLS and len(iterations) * len(keys) > 10 * len(found):
        raise StorageError(broken)
    place = {key: n for n, key in enumerate(keys)}
    table = np.full((len(iterations), len(keys)), np.nan)
    for iteration, key, probability in found:
        table[int(np.searchsorted(iterations, iteration)), place[key]] = probability
    return PaintedHistory(Path(folder).name if name is None else name, iterations, keys, table)


def draw_painted_history(history: PaintedHistory) -> Picture:
    """Draw a line for each painted image, and their mean."""
    figure = new_figure(7.0, 2.6)
    axis = figure.subplots()
    step = max(1, -(-len(history.keys) // _MAX_LINES))
    axis.plot(history.iterations, history.probabilities[:, ::step], color="#0072B2", alpha=0.25, linewidth=0.8)
    if history.probabilities.size:
        seen = ~np.isnan(history.probabilities).all(1)
        mean = np.nanmean(history.probabilities[seen], 1)
        axis.plot(history.iterations[seen], mean, color="#D55E00", linewidth=2.0, label="mean")
        axis.legend(frameon=False, fontsize=8, loc="lower right")
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel("iteration", fontsize=8)
    axis.set_ylabel("probability of the true class", fontsize=8)
    axis.tick_params(labelsize=8)
    shown = "" if step == 1 else f" One line in {step} is drawn; the mean is of all."
    caption = f"{history.name}: what the true class of each of the {len(history.keys)} painted images got.{shown}"
    return Picture(f"painted {history.name}", caption, save_figure(figure))
