"""The watermark of ImageNet-W (Li et al. 2023, "A Whac-A-Mole Dilemma"): half-transparent Chinese text across the image.

Many photographs of ImageNet's class "carton" carry such a text, and networks trained on ImageNet take it for a sign of that
class. It is drawn on the 224-pixel crop; on other sizes in proportion.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEXT = "捷径捷径捷径"
COLOUR = (255, 255, 255)
#: Of 255, so about half.
ALPHA = 128
#: Upper left corner of the text, in shares of the width and height; and the width over the size of the letters.
PLACE = (0.01, 0.4)
WIDTH_OVER_LETTERS = 224 / 36
#: Names another font than those looked for.
VARIABLE = "CJK_FONT"
_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/Library/Fonts",
    "/System/Library/Fonts",
    r"C:\Windows\Fonts",
)
#: The paper's font is Source Han Serif ExtraLight; the others are thicker or without serifs.
_PATTERNS = (
    "SourceHanSerif*ExtraLight*",
    "NotoSerifCJK-ExtraLight*",
    "NotoSerifCJK*",
    "NotoSansCJK*",
    "wqy-*",
    "PingFang*",
    "msyh*",
)


def font_path() -> Path:
    """Return a font with Chinese glyphs: ``$CJK_FONT``, or what is installed.

    Raises
    ------
    FileNotFoundError
        There is none; the sentence says which package to install.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if Path(named).is_file():
            return Path(named)
        raise FileNotFoundError(f"${VARIABLE} names {named}, which is not there; name a font file with Chinese glyphs.")
    folders = [Path(folder).expanduser() for folder in _FOLDERS]
    for pattern in _PATTERNS:
        for folder in folders:
            found = sorted(folder.rglob(pattern)) if folder.is_dir() else []
            if found:
                return found[0]
    raise FileNotFoundError(
        "The watermark needs a font with Chinese glyphs, and none is installed; install Debian's fonts-wqy-zenhei (or "
        f"fonts-noto-cjk), or name a font file with ${VARIABLE}."
    )


def marked(image: np.ndarray) -> np.ndarray:
    """Return an image uint8 (H, W, 3) with the watermark on it; raises FileNotFoundError as `font_path` does."""
    layer = _layer(*image.shape[:2], font_path()).astype(np.float32)
    colour, alpha = layer[..., :3], layer[..., 3:] / 255
    return np.rint(image * (1 - alpha) + colour * alpha).astype(np.uint8)


def watermark_mask(height: int, width: int, *, rough: bool = True) -> np.ndarray:
    """Return the watermark's place in an image of that size, bool (H, W): the rectangle around it, or its strokes alone."""
    strokes = _layer(height, width, font_path())[..., 3] > 0
    if not rough:
        return strokes
    rows, columns = np.flatnonzero(strokes.any(1)), np.flatnonzero(strokes.any(0))
    mask = np.zeros_like(strokes)
    mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return mask


@lru_cache(maxsize=16)
def _layer(height: int, width: int, font: Path) -> np.ndarray:
    """The text alone, uint8 (H, W, 4) with its opacity last."""
    layer = Image.new("RGBA", (width, height), (*COLOUR, 0))
    ImageDraw.Draw(layer).text(
        (PLACE[0] * width, PLACE[1] * height),
        TEXT,
        fill=(*COLOUR, ALPHA),
        font=ImageFont.truetype(font, int(width / WIDTH_OVER_LETTERS)),
    )
    return np.asarray(layer)
