"""A report of a comparison: one self-contained page, and the same numbers as JSON and CSV."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_cam_feedback.evaluate.comparison import Comparison, ComparisonRow
from napari_cam_feedback.evaluate.measures import MEASURES, show
from napari_cam_feedback.evaluate.pictures import Picture
from napari_cam_feedback.files import write_bytes, write_json, write_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; } th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; }
th { text-align: left; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
.better { color: #116329; } .worse { color: #a40e26; } .verdict { font-size: 1.2em; }
figure { margin: 1em 0; } figcaption { font-size: .9em; color: #555; } img { max-width: 100%; }
"""


def write_report(
    folder: str | Path,
    *,
    title: str,
    summary: str,
    comparison: Comparison,
    pictures: Sequence[Picture] = (),
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``report.html``, ``report.json``, ``report.csv`` and ``pictures/<key>.png``.

    Parameters
    ----------
    folder : path
        Made if need be.
    title, summary : str
        Heading, and the verdict in words.
    comparison : Comparison
        Before and after.
    pictures : sequence of Picture
        Shown on the page and written as files.
    facts : mapping, optional
        What the reader needs to repeat it: data, model, seeds, versions, command. Plain JSON values.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    StorageError
        Something cannot be written.
    """
    folder = Path(folder)
    facts = dict(facts or {})
    for picture in pictures:
        write_bytes(folder / "pictures" / f"{picture.key.removesuffix('.png')}.png", picture.png)
    write_json(
        folder / "report.json",
        {"title": title, "summary": summary, "facts": facts, "comparison": comparison.to_json()},
    )
    write_text(folder / "report.csv", comparison.to_csv())
    page = folder / "report.html"
    write_text(page, _page(title, summary, comparison, pictures, facts))
    return page


def _page(title: str, summary: str, comparison: Comparison, pictures: Sequence[Picture], facts: Mapping[str, Any]) -> str:
    rows = "\n".join(_row(row) for row in comparison.rows)
    figures = "\n".join(
        f'<figure><img alt="" src="data:image/png;base64,{base64.b64encode(p.png).decode()}">'
        f"<figcaption>{html.escape(p.caption)}</figcaption></figure>"
        for p in pictures
    )
    known = "\n".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<p class="verdict">{html.escape(summary)}</p>
<h2>Before and after</h2>
<table><tr><th>split</th><th>measure</th><th>before</th><th>after</th><th>change</th></tr>
{rows}
</table>
<details><summary>What the measures mean</summary><dl>
{_meanings(comparison.rows)}
</dl></details>
<h2>Images</h2>
{figures}
<h2>How this was made</h2>
<table>{known}</table>
</body></html>
"""


def _row(row: ComparisonRow) -> str:
    kind = {True: "better", False: "worse", None: ""}[row.better]
    before, after = row.texts
    return (
        f"<tr><td>{html.escape(row.split)}</td><td>{html.escape(MEASURES[row.measure].name)}</td>"
        f'<td class="number">{before}</td><td class="number">{after}</td>'
        f'<td class="number {kind}">{show(row.change, signed=True)}</td></tr>'
    )


def _meanings(rows: Sequence[ComparisonRow]) -> str:
    """What the measures that occur mean, as a list."""
    used = {row.measure for row in rows}
    items = []
    for key, measure in MEASURES.items():
        if key in used:
            direction = f" ({measure.direction})" if measure.direction else ""
            items.append(f"<dt>{html.escape(measure.name)}{direction}</dt><dd>{html.escape(measure.meaning)}</dd>")
    return "\n".join(items)
