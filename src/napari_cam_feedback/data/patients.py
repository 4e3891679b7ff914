"""Images of one patient: kept together in a split that is drawn, and told of where they are learnt from and tested on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from napari_cam_feedback.data.splits import TRAIN, split_name

_COLUMN = re.compile(r"(patient|subject|participant|person|case|lesion|donor|animal|mouse)s?(id|no|nr|number|name|code)?")


def patient_column(names: Sequence[str]) -> int | None:
    """Return where a column is that says whose image each is, such as ``patient`` or ``Subject ID``; None if nowhere."""
    found = (place for place, name in enumerate(names) if _COLUMN.fullmatch(re.sub(r"[\W_]", "", name.casefold())))
    return next(found, None)


def usual_labels(labels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Return for each item, (N,) int, the commonest label of its patient's, so that a patient of two classes is dealt once.

    `patients` are numbers (N,) from 0, -1 where not known.
    """
    usual = labels.copy()
    pairs, counts = np.unique(np.stack([patients, labels])[:, patients >= 0], axis=1, return_counts=True)
    # The commonest of each patient's last, so that it stays.
    ordered = pairs[:, np.lexsort((-pairs[1], counts))]
    of = dict(zip(ordered[0].tolist(), ordered[1].tolist(), strict=True))
    known = np.flatnonzero(patients >= 0)
    usual[known] = [of[patient] for patient in patients[known].tolist()]
    return usual


def numbered(patients: np.ndarray) -> np.ndarray:
    """Return the numbers (N,) with one of its own for each item whose patient is not known (-1)."""
    unknown = np.flatnonzero(patients < 0)
    found = patients.copy()
    found[unknown] = patients.max(initial=-1) + 1 + np.arange(len(unknown))
    return found


def patient_notes(splits: np.ndarray, patients: np.ndarray, names: Sequence[str], what: str) -> Iterator[str]:
    """Say where images of one patient are in train and in another split too.

    Parameters
    ----------
    splits : ndarray of str, shape (N,)
        The items' splits.
    patients : ndarray of int, shape (N,)
        Indices into `names`, -1 where not known.
    names : sequence of str
        The patients.
    what : str
        Which images are one patient's, behind "Images": "of one folder within a class".
    """
    found, number = np.unique(splits, return_inverse=True)
    usual = np.array([split_name(str(name)) for name in found])[number] if len(found) else splits
    known = patients >= 0
    learnt = np.unique(patients[known & (usual == TRAIN)])
    shared = {
        name: np.intersect1d(learnt, patients[known & (usual == name)]) for name in sorted(set(usual.tolist()) - {TRAIN})
    }
    shared = {name: both for name, both in shared.items() if len(both)}
    if shared:
        every = np.unique(np.concatenate(list(shared.values())))
        where = " and ".join(f"in {name} ({len(both)})" for name, both in shared.items())
        yield (
            f"Images {what}, such as {names[every[0]]}, are in {TRAIN} and {where} too; where that is one patient, accuracy "
            "there says less of new ones than it seems, and a split should keep a patient's images together."
        )
