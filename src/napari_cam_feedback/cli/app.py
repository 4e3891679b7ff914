"""What every command writes with: the app that they are added to, stdout and stderr."""

from __future__ import annotations

import typer
from rich.console import Console

PROGRAM = "napari-cam-feedback"

app = typer.Typer(
    name=PROGRAM,
    help="Look at what an image classifier uses, paint what is irrelevant, retune it, and see whether that helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)
