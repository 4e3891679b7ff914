"""Which of a network's classes the training images show, and which a retune cannot learn from."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.models.classifier import Classifier

#: So many classes are named; of more only the number is said.
_MAX_NAMED = 5


def unseen_classes(dataset: Dataset, num_classes: int) -> np.ndarray:
    """Return the classes of which no image may be learnt from, int64, ascending: of the split train, if there is one."""
    usable = dataset.learnable()
    in_train = usable[dataset.splits[usable] == "train"]
    shown = np.unique(dataset.labels[in_train if len(in_train) else usable])
    return np.setdiff1d(np.arange(num_classes), shown)


def classes_remark(dataset: Dataset, classifier: Classifier) -> str | None:
    """Say in one sentence that the training images do not show all classes of the network; None where they do.

    Parameters
    ----------
    dataset : Dataset
        What the network is to be retuned on.
    classifier : Classifier
        The network.
    """
    count = classifier.num_classes
    unseen = unseen_classes(dataset, count)
    if not len(unseen):
        return None
    named = ", ".join(classifier.class_names[k] for k in unseen)
    others = f"the others ({named})" if len(unseen) <= _MAX_NAMED else "the others"
    if len(unseen) == 1:
        others = f"the other ({named})"
    return (
        f"The training images show {count - len(unseen):,} of the model's {count:,} classes; {others} cannot be learnt from "
        "and may be forgotten, so add images of them or use the retuned model for the classes shown only."
    )
