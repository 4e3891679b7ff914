"""What a user has chosen to open; plain values, handed to the worker that opens it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_cam_feedback.widgets.session.consents import Consents
from napari_cam_feedback.widgets.viewer.layer_images import PickedLayer
from napari_cam_feedback.widgets.viewer.preferences import preferences

Kind = Literal["sample", "files", "layers", "project"]


@dataclass(frozen=True)
class ProjectSource:
    """What to open, as the user chose it.

    Attributes
    ----------
    kind : str
        ``sample``, ``files`` (a model and images on disk), ``layers`` (a model and layers of the viewer) or
        ``project``.
    project : Path
        Folder of the project: made, or opened again where it is there.
    sample : str
        Name of the sample, for ``sample``.
    model : Path or str or None
        Model file, or the text ``torchvision:NAME``, for ``files`` and ``layers``.
    data : Path or None
        Dataset, for ``files``.
    layers : tuple of PickedLayer
        Layers of the viewer, for ``layers``.
    settings : dict
        Fields of `ModelOptions` that the user gave; ``class_names`` as the path of a file of names.
    device : str
        As `pick_device` takes it.
    consents : Consents
        What the user has agreed to in this window.
    """

    kind: Kind
    project: Path
    sample: str = ""
    model: Path | str | None = None
    data: Path | None = None
    layers: tuple[PickedLayer, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    consents: Consents = field(default_factory=Consents)


def home() -> Path:
    """Return the folder in which projects are put unless the user names another."""
    return preferences().home
