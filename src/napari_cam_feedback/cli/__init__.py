"""The commands: everything the windows do, without a window.

Exit status 0: done. 2: bad input, said in one line on stderr. 1: a fault of ours. 130: interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence

import typer

from napari_cam_feedback.cli import parallel as sharing
from napari_cam_feedback.cli.app import PROGRAM, app, err, out
from napari_cam_feedback.cli.commands import (
    audit,
    compare,
    concepts,
    demo,
    doctor,
    evaluate,
    experiment,
    explain,
    filters,
    masks,
    predict,
    project,
    retune,
    suggest,
    train,
)
from napari_cam_feedback.cli.naming import naming, remember
from napari_cam_feedback.cli.outputs import check_outputs
from napari_cam_feedback.cli.show import show_mismatch
from napari_cam_feedback.cli.stopping import CommandStopped, end_quickly
from napari_cam_feedback.errors import FeedbackError, WeightsMismatch, describe

DEBUG_VARIABLE = "NAPARI_CAM_FEEDBACK_DEBUG"

INTERRUPTED = 130
# In the order in which the help lists them.
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "sample": demo.write_a_sample,
    "train": train.train,
    "predict": predict.predict,
    "explain": explain.explain,
    "filters": filters.filters,
    "concepts": concepts.concepts,
    "audit": audit.audit,
    "suggest": suggest.suggest,
    "retune": retune.retune,
    "evaluate": evaluate.evaluate,
    "experiment": experiment.experiment,
    "compare": compare.compare,
    "doctor": doctor.doctor,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(masks.masks, name="masks")
app.add_typer(project.project, name="project")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    command = typer.main.get_command(app)
    sharing.remember(arguments)
    remember(command, arguments)
    end_quickly()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names may have letters that a file or an old terminal cannot take.
            stream.reconfigure(errors="backslashreplace")
    try:
        check_outputs(sys.argv[1:] if arguments is None else arguments)
        status = command.main(args=None if arguments is None else list(arguments), prog_name=PROGRAM, standalone_mode=False)
        # Typer turns Ctrl-C into this status.
        return _fail("Stopped.", INTERRUPTED) if status == INTERRUPTED else int(status or 0)
    except FeedbackError as error:
        sharing.ended()  # an interruption now would break off what is said
        if isinstance(error, WeightsMismatch):
            show_mismatch(error.rows)
        return _fail(describe(error, naming()), 2)
    except CommandStopped:
        return INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        return _fail("Stopped.", INTERRUPTED)
    except Exception as error:
        # Errors of usage come from typer's own copy of click, whose classes have no public name.
        if hasattr(error, "format_message"):
            message = str(error.format_message())
            if type(error).__name__ == "NoArgsIsHelpError":
                out.print(message, markup=False, highlight=False)
                return 2
            return _fail(f"{message.rstrip('.')}; see {PROGRAM} --help.", 2)
        sentence = describe(error)
        if not sentence.startswith("Unexpected"):
            # Of the disk or the memory, and with its remedy.
            return _fail(sentence, 2)
        if os.environ.get(DEBUG_VARIABLE):
            raise
        if sharing.lost_another():
            return _fail(sharing.LOST, 1)
        return _fail(f"{sentence} Set {DEBUG_VARIABLE}=1 to see where.", 1)
    finally:
        sharing.ended()


def _fail(sentence: str, status: int) -> int:
    sharing.ended()
    err.print(f"{PROGRAM}: {' '.join(sentence.split())}", markup=False, highlight=False)
    return status
