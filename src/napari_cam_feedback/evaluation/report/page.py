"""The page of a report: one HTML file that needs no other, with its pictures inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from napari_cam_feedback.evaluation.report.pictures import Picture

# Blue and orange are told apart with any colour vision; words and signs say the same.
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68em; margin: 2em auto; padding: 0 1em; }
body { color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1em 0; } th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; }
th { text-align: left; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; } summary { font-weight: 600; margin: .6em 0; cursor: pointer; }
.better { color: #0b5a9d; font-weight: 600; } .worse { color: #a84300; font-weight: 600; } .verdict { font-size: 1.2em; }
.interval { color: #666; font-size: .85em; font-weight: 400; white-space: nowrap; } .scroll { overflow-x: auto; }
.confusion td { text-align: right; min-width: 2.5em; border: 1px solid #ddd; } .confusion td.right { font-weight: 600; }
.side { display: flex; flex-wrap: wrap; gap: 0 2.5em; } caption { text-align: left; font-weight: 600; padding: .3em 0; }
.facts td { overflow-wrap: anywhere; } code { background: #f3f3f3; padding: .1em .3em; }
figure { margin: 1em 0; } figcaption { font-size: .9em; color: #555; } img { max-width: 100%; }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, HTML, and pictures under it."""

    title: str
    content: str
    pictures: Sequence[Picture] = field(default=())


def make_page(
    title: str,
    summary: str,
    sections: Sequence[Section],
    pictures: Sequence[Picture],
    facts: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> str:
    """Return the page.

    Parameters
    ----------
    title, summary : str
        Heading, and what it says in short.
    sections : sequence of Section
        In their order.
    pictures : sequence of Picture
        Of single items, under a heading of their own.
    facts : mapping
        How it was made, by title; the value of ``Command`` is set as code.
    notes : sequence of str
        Sentences under the summary.
    """
    parts = [f"<h2>{html.escape(s.title)}</h2>\n{s.content}\n{_figures(s.pictures)}" for s in sections]
    if pictures:
        parts.append(f"<h2>Images</h2>\n{_figures(pictures)}")
    known = "\n".join(f"<tr><th>{html.escape(k)}</th><td>{_fact(k, v)}</td></tr>" for k, v in facts.items())
    said = "".join(f"<p>{html.escape(note)}</p>\n" for note in notes)
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<p class="verdict">{html.escape(summary)}</p>
{said}{body}
<h2>How this was made</h2>
<table class="facts">{known}</table>
</body></html>
"""


def _fact(title: str, value: Any) -> str:
    text = html.escape(str(value))
    return f"<code>{text}</code>" if title == "Command" else text


def _figures(pictures: Sequence[Picture]) -> str:
    return "\n".join(
        f'<figure><img alt="{html.escape(p.key)}" src="data:image/png;base64,{base64.b64encode(p.png).decode()}">'
        f"<figcaption>{html.escape(p.caption)}</figcaption></figure>"
        for p in pictures
    )
