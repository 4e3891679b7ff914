"""What a concept test found, as a table, as arrays and as files."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_cam_feedback.files import TableWriter, atomic_path, write_json, write_text


@dataclass(frozen=True, slots=True)
class ConceptRow:
    """What was found for one concept, class and layer.

    Attributes
    ----------
    concept, class_name, layer : str
        Which.
    score : float
        TCAV score: share of the class's images whose logit rises along the concept, mean over the random sets.
    score_std, random_score, random_std : float
        Its standard deviation over the random sets; mean and standard deviation of random concepts' scores.
    sensitivity : float
        Mean derivative of the logit along the CAV of length 1, over images and random sets; logits by activation.
    stronger_than : float
        Share of the random concepts with a smaller absolute sensitivity.
    p, p_corrected : float
        Of Welch's two-sided t-test of the scores against the random ones; corrected for the number of rows.
    p_unusual, p_unusual_corrected : float
        That the sensitivity is one of those of random concepts (`unusual_test`).
    significant : bool
        Both corrected p are below the level; the first alone where the test was not strict.
    effect : str
        ``for`` or ``against`` the class where significant, else ``none``.
    cav_accuracy : float
        Share of held-out images that the concept's classifiers tell from random ones; 0.5 is chance.
    images, class_images : int
        Images of the concept, and of the class.
    """

    concept: str
    class_name: str
    layer: str
    score: float
    score_std: float
    random_score: float
    random_std: float
    sensitivity: float
    stronger_than: float
    p: float
    p_corrected: float
    p_unusual: float
    p_unusual_corrected: float
    significant: bool
    effect: Literal["for", "against", "none"]
    cav_accuracy: float
    images: int
    class_images: int


@dataclass
class ConceptResult:
    """What a concept test found.

    Attributes
    ----------
    rows : list of ConceptRow
        By layer, class and concept.
    scores, sensitivities : ndarray
        (H, R) float64, of each row in each of R runs.
    random_scores, random_sensitivities : ndarray
        (H, Q) float64, of Q random concepts.
    cavs : dict of str to ndarray
        By layer, (concepts, runs, F, rows, columns) float32 of length 1. Where the random images differ by class, by
        ``layer/class``.
    concepts : tuple of str
        The concepts, in the order of `cavs`.
    warnings : list of str
        What makes the scores less worth; sentences.
    skipped : dict
        Key and sentence for each image that could not be read.
    settings : dict
        With which this can be made again; plain JSON values.
    """

    rows: list[ConceptRow]
    scores: np.ndarray
    sensitivities: np.ndarray
    random_scores: np.ndarray
    random_sensitivities: np.ndarray
    cavs: dict[str, np.ndarray]
    concepts: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def row(self, concept: str, class_name: str, layer: str | None = None) -> ConceptRow:
        """Return the row of a concept and class; of the first layer unless one is named.

        Raises
        ------
        KeyError
            That was not tested.
        """
        for row in self.rows:
            if (row.concept, row.class_name) == (concept, class_name) and layer in (None, row.layer):
                return row
        raise KeyError((concept, class_name, layer))

    def to_csv(self) -> str:
        """Return the rows as CSV with a header."""
        file = io.StringIO()
        writer = TableWriter(file)
        names = [f.name for f in fields(ConceptRow)]
        writer.writerow(["class" if name == "class_name" else name for name in names])
        writer.writerows([_plain(getattr(row, name)) for name in names] for row in self.rows)
        return file.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Return rows, warnings, skipped images and settings as plain values."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "warnings": self.warnings,
            "skipped": self.skipped,
            "settings": self.settings,
        }

    def save_csv(self, path: str | Path) -> None:
        """Write the rows as CSV."""
        write_text(path, self.to_csv())

    def save_json(self, path: str | Path) -> None:
        """Write `to_json`."""
        write_json(path, self.to_json())

    def save_npz(self, path: str | Path) -> None:
        """Write ``cavs/<layer>``, ``concepts``, all scores and sensitivities.

        ``row_concepts``, ``row_classes`` and ``row_layers`` say whose they are. See the attributes for the shapes.
        """
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                allow_pickle=False,
                concepts=np.array(self.concepts, np.str_),
                row_concepts=np.array([row.concept for row in self.rows], np.str_),
                row_classes=np.array([row.class_name for row in self.rows], np.str_),
                row_layers=np.array([row.layer for row in self.rows], np.str_),
                scores=self.scores,
                random_scores=self.random_scores,
                sensitivities=self.sensitivities,
                random_sensitivities=self.random_sensitivities,
                **{f"cavs/{name}": vectors for name, vectors in self.cavs.items()},
            )


def _plain(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
