"""Pictures for the documentation, made of the screenshots: the loop as a short animation, and the stations in both themes.

``python docs/loop_picture.py build/screenshots docs/pictures`` (``make pictures``). They are kept small, since they lie in
the repository.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

SIZE = "1366x768"
#: Stations of the loop with what is said under each.
LOOP = {
    "look": "1. Look: the model reads the code in the corner, not the digit",
    "painted": "2. Paint what is irrelevant on ten images; the same is proposed on others, in yellow",
    "retuning": "3. Retune: the network learns in the background not to use it",
    "result": "4. Compare: the heatmap has left the corner, and so have the predictions. Keep, or discard",
}
#: Pictures of single stations, in both themes.
STATIONS = ("open", "look", "painted", "retuning", "result", "compare", "filters", "concepts", "train")
WIDTH, CAPTION, SECONDS, COLOURS = 1100, 44, 2.6, 256


def frame(screenshot: Path, caption: str) -> Image.Image:
    """Return a screenshot, smaller, with a line of text below it."""
    with Image.open(screenshot) as opened:
        picture = opened.convert("RGB")
    height = round(picture.height * WIDTH / picture.width)
    made = Image.new("RGB", (WIDTH, height + CAPTION), "white")
    made.paste(picture.resize((WIDTH, height), Image.Resampling.LANCZOS))
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 20)
    ImageDraw.Draw(made).text((16, height + 10), caption, fill="black", font=font)
    return made


def animation(screenshots: Path, file: Path) -> None:
    """Write the loop as a GIF that goes on and on."""
    frames = [frame(screenshots / f"{name}-dark-{SIZE}.png", caption) for name, caption in LOOP.items()]
    first, *others = (each.quantize(COLOURS, dither=Image.Dither.NONE) for each in frames)
    first.save(file, save_all=True, append_images=others, duration=round(SECONDS * 1000), loop=0, optimize=True)


def main(screenshots: Path, folder: Path) -> None:
    """Write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    animation(screenshots, folder / "loop.gif")
    for name in STATIONS:
        for theme in ("dark", "light"):
            with Image.open(screenshots / f"{name}-{theme}-{SIZE}.png") as picture:
                picture.convert("RGB").save(folder / f"{name}-{theme}.webp", quality=80, method=6)
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
