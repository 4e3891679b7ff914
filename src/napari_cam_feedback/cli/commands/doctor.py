"""``doctor``: whether all works on this machine, as text for an issue."""

from __future__ import annotations

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.options import Device, Json, Seed
from napari_cam_feedback.cli.show import progress, write_json
from napari_cam_feedback.cli.stopping import CommandStopped, stop_on_interrupt

FAILED = 1


def doctor(seed: Seed = 0, device: Device = "auto", json_file: Json = None) -> None:
    """Say whether all works here, in about 20 seconds: versions, device, window, and a small pass of the loop.

    What is printed has neither your name nor folders of yours, and can be pasted into an issue. Status 0: all works.
    """
    from napari_cam_feedback.doctor import examine

    with stop_on_interrupt() as stop, progress("looking around", stop=stop) as bar:
        found = examine(device=device, seed=seed, monitor=bar)
        stopped = stop()
    out.print(found.text(), markup=False, highlight=False)
    write_json(json_file, found.to_json())
    if stopped:
        raise CommandStopped
    if not found.ok:
        raise typer.Exit(FAILED)
