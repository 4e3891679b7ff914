"""What was read: images by split and class, what was left out, how right the model is; and, folded, the model's details."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import breakable, rich_label, tight
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.session.session import Session

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.data.preprocessing import Preprocessing
    from napari_cam_feedback.models import Classifier, LayerInfo, Look

#: Classes of which each gets a row of its own.
_MAX_CLASSES = 12


class Summary(QWidget):
    """What is open, at a glance.

    Parameters
    ----------
    session : Session
        Whose images and model are told of.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.read, self.by_class, self.details = rich_label(), rich_label(), rich_label()
        column = tight(QVBoxLayout(self), 3)
        column.addWidget(self.read)
        column.addWidget(Fold("Images by class", self.by_class))
        column.addWidget(Fold("Model and project", self.details))

    def text(self) -> str:
        """Return all that is said, HTML."""
        return "".join(label.text() for label in (self.read, self.by_class, self.details))

    def show_read(self, look: Look | None, info: LayerInfo | None) -> None:
        """Write it anew.

        Parameters
        ----------
        look : Look or None
            What a first look found; None before that is known.
        info : LayerInfo or None
            Of the target layer.
        """
        session = self._session
        dataset, classifier, project = session.dataset, session.classifier, session.project
        if dataset is None or classifier is None or project is None:
            return
        counts = ", ".join(f"{name} {len(dataset.indices(name))}" for name in dataset.split_names)
        names = classifier.class_names
        classes = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        origin = describe_names_origin(classifier, dataset)
        self.read.setText(
            _table(
                [
                    ("Images", counts + (" (split created automatically)" if dataset.made_split else "")),
                    *(("Note", note) for note in dataset.notes),
                    ("Classes", f"{len(names)}: {classes}" + (f" ({origin})" if origin else "")),
                    *([("Accuracy", describe_accuracy(look))] if look is not None else []),
                    ("Masks", f"{len(session.autosave.painted())} painted"),
                ]
            )
        )
        self.by_class.setText(count_table(dataset))
        self.details.setText(
            _table(
                [
                    ("Model", f"{classifier.arch} on {classifier.device}"),
                    ("Input", describe_input(classifier.preprocessing)),
                    ("Layer", describe_layer(info) if info is not None else classifier.target_layer),
                    ("Project", str(project.folder)),
                ]
            )
        )


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{name}&nbsp;&nbsp;</td><td>{breakable(escape(value))}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def describe_accuracy(look: Look) -> str:
    """Return how right the model is on the labelled images that were looked at."""
    if look.accuracy is None:
        return "not known, since too few images have a class"
    return f"{look.right} of {look.images} labelled images that were looked at are right ({look.accuracy:.0%})"


def count_table(dataset: Dataset) -> str:
    """Return how many images of each class there are in each split, as a table in HTML; of many classes a sentence."""
    splits = dataset.split_names
    counts = np.array(
        [
            [int((dataset.labels[dataset.indices(split)] == k).sum()) for split in splits]
            for k in range(len(dataset.class_names))
        ]
    )
    unknown = [int((dataset.labels[dataset.indices(split)] < 0).sum()) for split in splits]
    if len(dataset.class_names) > _MAX_CLASSES:
        parts = [
            f"{escape(split)} {few} to {most}" for split, few, most in zip(splits, counts.min(0), counts.max(0), strict=True)
        ]
        return f"{len(dataset.class_names):,} classes; images of a class: {', '.join(parts)}."
    rows = [(name, row) for name, row in zip(dataset.class_names, counts.tolist(), strict=True)]
    if any(unknown):
        rows.append(("no class", unknown))
    head = "".join(f"<td align='right'>{breakable(escape(split))}&nbsp;&nbsp;</td>" for split in splits)
    body = "".join(
        f"<tr><td>{escape(name)}&nbsp;&nbsp;</td>"
        + "".join(f"<td align='right'>{count}&nbsp;&nbsp;</td>" for count in row)
        + "</tr>"
        for name, row in rows
    )
    return f"<table><tr><td></td>{head}</tr>{body}</table>"


def describe_input(preprocessing: Preprocessing) -> str:
    """Return one line on a preprocessing, in plain words."""
    height, width = preprocessing.size
    colour = "gray" if preprocessing.channels == 1 else preprocessing.channel_order.upper()
    how = "whole image stretched"
    if preprocessing.crop:
        shorter = f" to {preprocessing.resize_to} px" if preprocessing.resize_to else ""
        how = f"scaled{shorter}, centre cut out"
    if preprocessing.interpolation != "bilinear":
        how += f", {preprocessing.interpolation}"
    values = "whole range"
    if preprocessing.value_range is not None:
        values = f"{preprocessing.value_range[0]:g} to {preprocessing.value_range[1]:g}"
    mean, std = (", ".join(f"{value:.3g}" for value in part) for part in (preprocessing.mean, preprocessing.std))
    return f"{height}x{width} {colour}, {how}; values: {values}; mean {mean}; std {std}"


def describe_layer(info: LayerInfo) -> str:
    """Return a layer's dotted name, what it puts out and of what shape."""
    filters, height, width = info.shape
    layout = info.layout
    if not layout.has_places:
        return f"{info.name} ({filters} features without places, so no heatmaps)"
    kind = {"maps": "", "channels_last": ", channels last", "tokens": " tokens"}[layout.kind]
    if layout.prefix:
        kind += f" after {layout.prefix} other{'s' if layout.prefix > 1 else ''}"
    return f"{info.name} ({filters} filters, {height}x{width}{kind})"


def describe_names_origin(classifier: Classifier, dataset: Dataset) -> str:
    """Return where the class names came from, in plain words; empty where nobody noted it."""
    source = dataset.source
    folders = "from the folders" if source is None or source.is_dir() else f"from the labels in {source.name}"
    words = {
        "file": "from the file of names",
        "header": "from the model's file",
        "sidecar": "from the file beside the model",
        "torchvision": "torchvision's categories",
        "folders": f"{folders}, in alphabetical order",
    }
    return words.get(str(classifier.info.get("class_names_from")), "")
