"""What a concept test says to a user: bar charts of scores, what significant means, and a folder with all of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cam_feedback.explanations.tcav.result import ConceptResult, ConceptRow
from napari_cam_feedback.figures import png_of
from napari_cam_feedback.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Blue and orange are told apart by people who see fewer colours; gray says that nothing was found.
_COLOURS = {"for": "#2b6cb0", "against": "#dd7a1b", "none": "#b8b8b8"}
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def draw_concepts(result: ConceptResult, figure: Figure) -> None:
    """Draw a bar for each concept, a panel for each class and layer, onto an empty figure.

    Bars are mean scores, whiskers their standard deviation over the random sets; the dashed line and the band are mean and
    standard deviation of random concepts. Significant bars have one to three stars: corrected p, the larger one where both
    tests count, below 0.05, 0.01, 0.001.
    """
    panels: dict[tuple[str, str], list[ConceptRow]] = {}
    for row in result.rows:
        panels.setdefault((row.layer, row.class_name), []).append(row)
    if not panels:
        return
    layers = list(dict.fromkeys(layer for layer, _ in panels))
    classes = list(dict.fromkeys(name for _, name in panels))
    axes = figure.subplots(len(layers), len(classes), squeeze=False, sharey=True)
    for (layer, name), rows in panels.items():
        axis = axes[layers.index(layer), classes.index(name)]
        _panel(axis, rows, bool(result.settings.get("strict", True)))
        axis.set_title(f"{name}\n{layer}" if len(layers) > 1 else name, fontsize=10)
    for line in axes:
        line[0].set_ylabel("TCAV score")


def _panel(axis: Any, rows: list[ConceptRow], strict: bool) -> None:
    places = range(len(rows))
    axis.bar(places, [row.score for row in rows], width=0.7, color=[_COLOURS[row.effect] for row in rows], zorder=2)
    # A bar of height 0 cannot be seen, its dot can. A score lies between 0 and 1, and so does what it may well have been.
    low = [min(row.score_std, row.score) for row in rows]
    high = [min(row.score_std, 1 - row.score) for row in rows]
    axis.errorbar(places, [row.score for row in rows], (low, high), fmt=".", color="#333333", capsize=3, lw=1, zorder=3)
    for place, row in zip(places, rows, strict=True):
        left, right = place - 0.5, place + 0.5
        bounds = max(row.random_score - row.random_std, 0), min(row.random_score + row.random_std, 1)
        axis.fill_between((left, right), *bounds, color="#000000", alpha=0.07, lw=0, zorder=1)
        axis.plot((left, right), (row.random_score,) * 2, "--", color="#333333", lw=1, zorder=4)
        if row.significant:
            stars = next((text for level, text in _STARS if _p(row, strict) < level), "*")
            top = min(row.score + row.score_std, 1)
            axis.annotate(stars, (place, top), (0, 1), textcoords="offset points", ha="center", fontsize=11)
    axis.set_xticks(places, [row.concept for row in rows], rotation=45, ha="right", fontsize=9)
    axis.set_xlim(-0.6, len(rows) - 0.4)
    axis.set_ylim(0, 1.12)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1])


def _p(row: ConceptRow, strict: bool) -> float:
    return max(row.p_corrected, row.p_unusual_corrected) if strict else row.p_corrected


def concept_chart(result: ConceptResult) -> bytes:
    """Return the bar chart as a PNG file; see `draw_concepts`."""
    # Loading matplotlib takes a while, and this package is loaded where nothing is drawn.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = len({row.class_name for row in result.rows}), len({row.layer for row in result.rows})
    width = max(3.2, 0.9 + 0.42 * len(result.concepts)) * max(panels[0], 1)
    figure = Figure(figsize=(min(width, 40), 0.5 + 3.0 * max(panels[1], 1)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    draw_concepts(result, figure)
    figure.supxlabel(
        "blue: for the class, orange: against it, gray: not significant; dashed, band: random concepts; "
        "*: p < 0.05, **: 0.01, ***: 0.001",
        fontsize=8,
        color="#333333",
    )
    return png_of(figure)


def save_chart(result: ConceptResult, path: str | Path) -> None:
    """Write the bar chart as PNG."""
    write_bytes(path, concept_chart(result))


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
