"""What a concept test says to a user: p values, what significant means, and a folder with all of it."""

from __future__ import annotations

from pathlib import Path

from napari_cam_feedback.explanations.tcav.plots import save_chart
from napari_cam_feedback.explanations.tcav.result import ConceptResult, ConceptRow

#: The files of `save_concepts`.
FILES = ("concepts.csv", "concepts.json", "concepts.npz", "chart.png")


def decisive_p(result: ConceptResult, row: ConceptRow) -> float:
    """Return the corrected p on which the row's significance rests: the larger one where both tests count."""
    strict = bool(result.settings.get("strict", True))
    return max(row.p_corrected, row.p_unusual_corrected) if strict else row.p_corrected


def meaning(result: ConceptResult) -> str:
    """Return one sentence that says what significant means in this test."""
    level = f"p below {result.settings.get('alpha', 0.05):g}"
    if result.settings.get("strict", True):
        level += " in two tests"
    tests = len(result.rows)
    corrected = f", corrected for {tests} comparisons" if tests > 1 else ""
    return (
        "Significant means that the model's output for the class rises (for) or falls (against) with the concept by more "
        f"than it does with random images, and by more than chance explains ({level}{corrected})."
    )


def save_concepts(result: ConceptResult, folder: str | Path) -> list[str]:
    """Write the table, the plain values, the arrays and the chart into a folder; return the names of the files.

    Raises
    ------
    StorageError
        One of them could not be written.
    """
    folder = Path(folder)
    result.save_csv(folder / FILES[0])
    result.save_json(folder / FILES[1])
    result.save_npz(folder / FILES[2])
    save_chart(result, folder / FILES[3])
    return list(FILES)
