"""Which class a map is asked about: the true one, the predicted one, or a named one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_cam_feedback.errors import ConfigError

Target = str | int


def resolve_target(target: Target, class_names: Sequence[str], labels: np.ndarray) -> np.ndarray:
    """Return the class index to explain for each of N images, -1 where it is the predicted one.

    Parameters
    ----------
    target : str or int
        ``"true"``, ``"predicted"``, a class name, or a class index (also as digits, where no class has that name).
    class_names : sequence of str
        The K classes.
    labels : ndarray
        (N,) int64; a label of -1 is unknown, and the predicted class stands in for the true one.

    Returns
    -------
    ndarray
        (N,) int64.

    Raises
    ------
    ConfigError
        There is no such class.
    """
    if target == "predicted":
        return np.full(len(labels), -1, np.int64)
    if target == "true":
        return labels.astype(np.int64)
    return np.full(len(labels), class_index(target, class_names), np.int64)


def class_index(target: Target, class_names: Sequence[str]) -> int:
    """Return the index of a class given by name or index.

    Raises
    ------
    ConfigError
        There is no such class.
    """
    names = list(class_names)
    if target in names:
        return names.index(str(target))
    if isinstance(target, int) or (isinstance(target, str) and target.isdigit()):
        index = int(target)
        if 0 <= index < len(names):
            return index
    raise ConfigError(f"There is no class {target!r}; choose true, predicted, or one of {', '.join(names[:12])}.")
