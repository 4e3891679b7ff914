"""What every command writes with: the app that they are added to, stdout and stderr."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from napari_cam_feedback.errors import printable

PROGRAM = "napari-cam-feedback"


class PlainConsole(Console):
    """A console on which names of files and classes are only text: what a terminal would obey is written as numbers."""

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


app = typer.Typer(
    name=PROGRAM,
    help="Look at what an image classifier uses, paint what is irrelevant, retune it, and see whether that helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = PlainConsole(soft_wrap=True)
err = PlainConsole(stderr=True, soft_wrap=True)
