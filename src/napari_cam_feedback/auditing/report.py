"""The page of an audit: what tells the class, with pictures and what to do, in one HTML file that needs no other."""

from __future__ import annotations

import io
import os
from base64 import b64encode
from pathlib import Path

import numpy as np
from PIL import Image

from napari_cam_feedback.auditing.cues import CUES
from napari_cam_feedback.auditing.results import AuditReport
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.evaluation.report.page import template
from napari_cam_feedback.explanations.display import thumbnail
from napari_cam_feedback.files import write_text

#: Classes and images of each that are drawn, and pairs that are nearly the same.
MAX_CLASSES, IMAGES, MAX_PAIRS = 8, 6, 20
SIDE = 96
_OUTLINE = (255, 140, 0)


def write_report(folder: str | os.PathLike[str], found: AuditReport, dataset: Dataset) -> Path:
    """Write ``report.html`` into a folder.

    Parameters
    ----------
    folder : path
        Made if need be.
    found : AuditReport
        What an audit of the dataset found.
    dataset : Dataset
        Whose images are drawn.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    page = template(Path(__file__).parent / "page.html").render(
        found=found,
        source=str(dataset.source or "a dataset in memory"),
        sheets={finding.cue: _sheets(dataset, finding.cue) for finding in found.findings},
        pairs=[
            (pair, [_png(_cell(dataset, dataset.index_of(key), None)) for key in pair])
            for pair in found.duplicates[:MAX_PAIRS]
        ],
    )
    path = Path(folder) / "report.html"
    write_text(path, page)
    return path


def _sheets(dataset: Dataset, cue: str) -> list[tuple[str, str]]:
    """Return, for some classes, the name and a strip of images with the cue's place outlined."""
    population = dataset.learnable()
    sheets = []
    for label, name in enumerate(dataset.class_names[:MAX_CLASSES]):
        own = population[dataset.labels[population] == label]
        if len(own):
            chosen = own[np.linspace(0, len(own) - 1, min(IMAGES, len(own))).astype(int)]
            sheets.append((name, _png(np.concatenate([_cell(dataset, int(index), cue) for index in chosen], 1))))
    return sheets


def _cell(dataset: Dataset, index: int, cue: str | None) -> np.ndarray:
    try:
        image = thumbnail(dataset.read(index), SIDE)
    except DataError:
        return np.full((SIDE, SIDE, 3), 128, np.uint8)
    image = np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image[..., :3]
    place = next((each.place for each in CUES if each.name == cue), None)
    if place is not None:
        mask = place(*image.shape[:2])
        inner = mask.copy()
        inner[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        image = image.copy()
        image[mask & ~inner] = _OUTLINE
    cell = np.zeros((SIDE, SIDE + 4, 3), np.uint8)
    cell[: image.shape[0], : image.shape[1]] = image[:SIDE, :SIDE]
    return cell


def _png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return b64encode(file.getvalue()).decode()
