"""Figures of Matplotlib as PNG files, in which the names of classes and files are only text."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png_of(figure: Figure) -> bytes:
    """Return a figure as a PNG file, the same bytes each time.

    What stands between two dollar signs is no formula: names may have any, and half a formula would be an error.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # Of letters that the font has not; a box stands for them, and the table beside has the name.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
