"""``project``: the versions of a feedback project; copying it; those opened last."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.opening import open_model_and_data
from napari_cam_feedback.cli.options import Commands, Data, Device, Json, Model, Seed, takes_model_options
from napari_cam_feedback.cli.show import progress, remark, show_table, write_json
from napari_cam_feedback.cli.stopping import CommandStopped, stop_on_interrupt
from napari_cam_feedback.errors import ConfigError

if TYPE_CHECKING:
    from napari_cam_feedback.models.options import ModelOptions
    from napari_cam_feedback.projects import ProjectFolder

project = Commands(help="The versions of a feedback project; copying it; those opened last.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The project's folder.", show_default=False)]
VersionId = Annotated[str, typer.Argument(help="A version, as v002.", show_default=False)]


@takes_model_options()
def new(
    folder: Annotated[Path, typer.Argument(help="A new folder.", show_default=False)],
    model: Model,
    data: Data,
    options: ModelOptions,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Begin a project with a model and its images."""
    from napari_cam_feedback.projects import Project

    opened = open_model_and_data(model, data, options, device=device, seed=seed)
    made = Project.create(folder, opened.dataset, opened.classifier)
    remark(opened.assumed)
    out.print(f"Project: {made.folder}", markup=False, highlight=False)
    write_json(json_file, {"project": str(made.folder), "current": made.current.id})


project.command("new")(new)


@project.command("info")
def info(folder: Folder, json_file: Json = None) -> None:
    """Show a project's versions as a tree: what was done, with how many masks, and the verdict."""
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.projects import ProjectFolder

    opened = ProjectFolder(folder)
    masks = MaskStore(opened.folder / "masks")
    _show_tree(opened)
    there = "" if opened.dataset_path.exists() else " (not there)"
    for line in (f"Current: {opened.current.id}", f"Images: {opened.dataset_path}{there}", f"Masks: {len(masks)}"):
        out.print(line, markup=False, highlight=False)
    write_json(
        json_file,
        {
            "folder": str(opened.folder),
            "dataset": str(opened.dataset_path),
            "current": opened.current.id,
            "masks": len(masks),
            "versions": [version.model_dump(mode="json") for version in opened.versions],
            "remembered": opened.remembered,
        },
    )


def _show_tree(opened: ProjectFolder) -> None:
    from napari_cam_feedback.projects import describe_version, lineage

    rows = []
    for row in lineage(opened.versions):
        version = row.version
        mark = " (deleted)" if version.deleted else " (current)" if version.id == opened.current.id else ""
        masks = "" if version.masks is None else str(version.masks)
        made = [describe_version(version), masks, version.verdict or "", version.created[:10]]
        rows.append([f"{row.lines}{version.id}{mark}", *made])
    show_table("Versions", ["version", "made by", "masks", "verdict", "on"], rows, numbers=0)
    for version in opened.versions:
        if version.settings:
            settings = " ".join(f"{name}={value}" for name, value in version.settings.items())
            out.print(f"{version.id} with {settings}", markup=False, highlight=False)


@project.command("select")
def select(folder: Folder, version: VersionId, json_file: Json = None) -> None:
    """Make a version the current one; the next retune branches off from it."""
    from napari_cam_feedback.projects import ProjectFolder

    opened = ProjectFolder(folder)
    opened.select(version)
    out.print(f"{version} is the current version now.", markup=False, highlight=False)
    write_json(json_file, {"current": version})


@project.command("keep")
def keep(
    folder: Folder,
    run: Annotated[Path, typer.Argument(help="The folder that retune wrote.", show_default=False)],
    parent: Annotated[
        str | None, typer.Option(help="The version that was retuned.", show_default="the one that the run began with")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the model's own code, where it has some.")] = False,
    json_file: Json = None,
) -> None:
    """Make the model of a retune a version of the project, and the current one."""
    from napari_cam_feedback.projects import ProjectFolder, keep_run

    version = keep_run(ProjectFolder(folder), run, parent=parent, trust=trust)
    out.print(f"Kept as {version.id}, made from {version.parent}.", markup=False, highlight=False)
    write_json(json_file, {"current": version.id, "parent": version.parent})


@project.command("images")
def images(
    folder: Folder,
    data: Annotated[Path, typer.Argument(help="Where its images are now.", show_default=False)],
    json_file: Json = None,
) -> None:
    """Say that a project's images were moved, and where to."""
    from napari_cam_feedback.projects import Project

    opened = Project.move_images(folder, data)
    out.print(f"Images: {opened.dataset_path}", markup=False, highlight=False)
    write_json(json_file, {"dataset": str(opened.dataset_path)})


@project.command("delete")
def delete(
    folder: Folder,
    version: VersionId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_file: Json = None,
) -> None:
    """Delete a version's weights. Its entry stays in the tree, so that it is known what the others come from."""
    from napari_cam_feedback.projects import ProjectFolder

    opened = ProjectFolder(folder)
    # Before a question is asked that would not matter.
    opened.check_deletable(version)
    if not yes:
        typer.confirm(f"The weights of {version} cannot be brought back. Delete them?", abort=True, err=True)
    opened.delete(version)
    out.print(f"{version} was deleted; its entry stays in the tree.", markup=False, highlight=False)
    write_json(json_file, {"deleted": version})


@project.command("export")
def export(
    folder: Folder,
    file: Annotated[
        Path,
        typer.Option(
            "--out", help=".safetensors (ours), .pt (plain state dict), .onnx or .pt2 (torch.export).", show_default=False
        ),
    ],
    version: Annotated[str | None, typer.Option(help="Which version.", show_default="the current one")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the model's own code, where it has some.")] = False,
    json_file: Json = None,
) -> None:
    """Write a version for other programs; the ending of the file says how."""
    from napari_cam_feedback.models.files.exporting import EXPORTS, export_classifier
    from napari_cam_feedback.projects import ProjectFolder

    opened = ProjectFolder(folder)
    if file.suffix.lower() not in EXPORTS:
        known = ", ".join(EXPORTS)
        raise ConfigError(f"A model cannot be written as {file.name}; let the name after --out end in one of {known}.")
    name = version or opened.current.id
    written = export_classifier(opened.classifier(name, device="cpu", trust=trust), file)
    out.print(f"{name}: {', '.join(map(str, written))}", markup=False, highlight=False)
    write_json(json_file, {"version": name, "files": [str(path) for path in written]})


@project.command("save-as")
def save_as(
    folder: Folder,
    copy: Annotated[Path, typer.Argument(help="A new folder.", metavar="NEW", show_default=False)],
    json_file: Json = None,
) -> None:
    """Copy a whole project to a new folder. Images that lie in its own folder come along; others stay where they are."""
    from napari_cam_feedback.projects import ProjectFolder
    from napari_cam_feedback.projects.copying import copy_project

    opened = ProjectFolder(folder)
    with stop_on_interrupt() as stop, progress("copying", stop=stop) as bar:
        made = copy_project(opened, copy, monitor=bar)
    if made is None:
        out.print("Stopped; nothing was copied.", markup=False, highlight=False)
        raise CommandStopped
    out.print(f"Project: {made}", markup=False, highlight=False)
    write_json(json_file, {"project": str(made)})


@project.command("recent")
def recent(json_file: Json = None) -> None:
    """List the projects that were opened last in napari, those that are gone marked."""
    from napari_cam_feedback.recent import recent_projects

    found = recent_projects()
    # One line each, however long, so that it can be copied.
    lines = [f"{each.folder}{'' if each.there else '  (gone)'}" for each in found]
    out.print("\n".join(lines or ["No project was opened yet."]), markup=False, highlight=False)
    content: list[dict[str, Any]] = [{"folder": str(each.folder), "there": each.there} for each in found]
    write_json(json_file, content)
