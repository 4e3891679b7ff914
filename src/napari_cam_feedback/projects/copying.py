"""Copying a whole project to a new folder, so that either all of it is there or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.errors import StorageError, describe
from napari_cam_feedback.files import atomic_path, write_json
from napari_cam_feedback.locking import SUFFIX
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.projects.manifest import PROJECT_FILE, VERSIONS, State, now, read_state
from napari_cam_feedback.projects.versions import ProjectFolder

# What a crash may have left of a file that was being written.
_SCRATCH = ".tmp-"


def reference_to(source: Path, folder: Path) -> str:
    """Return how a project refers to its images: relative where they lie beside or in it, so that both can be moved.

    Parameters
    ----------
    source : Path
        The dataset's folder or file.
    folder : Path
        The project's, absolute.

    Raises
    ------
    StorageError
        The project would lie among the images.
    """
    source = source.absolute()
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        # The masks in it would be found as images.
        raise StorageError(f"{folder} lies among the images of {source}; choose a folder outside of it.")
    return Path(os.path.relpath(source, folder)).as_posix() if source.is_relative_to(folder.parent) else str(source)


@takes_monitor
def copy_project(
    project: ProjectFolder, folder: str | os.PathLike[str], *, dataset: Path | None = None, monitor: Monitor = QUIET
) -> Path | None:
    """Copy all of a project into a new folder; images that lie in the project's own folder come along.

    Everything is copied beside its place first, and moved there as a whole in the end.

    Parameters
    ----------
    project : ProjectFolder
        What to copy.
    folder : path
        New, or empty.
    dataset : Path, optional
        Where its images are, should that be elsewhere than its file says.
    monitor : Monitor, optional
        Told of bytes copied and bytes in all.
        Asked between files whether to stop; where it says yes, nothing is left behind.

    Returns
    -------
    Path or None
        The new folder; None where it was stopped.

    Raises
    ------
    StorageError
        The folder holds something, lies in this project or among the images, or cannot be written; or a link in the project
        leads out of it.
    """
    target = Path(folder).expanduser().absolute()
    here = project.folder.resolve()
    if target.resolve() == here or target.resolve().is_relative_to(here):
        raise StorageError(f"{target} lies in the project itself; choose a folder outside of it.")
    if target.exists() and (not target.is_dir() or next(target.iterdir(), None) is not None):
        raise StorageError(f"{target} is not empty; choose a new folder for the copy.")
    source = (project.dataset_path if dataset is None else dataset).absolute()
    inside = source.is_relative_to(project.folder)
    reference = source.relative_to(project.folder).as_posix() if inside else reference_to(source, target)
    # As it is now; what others delete while the rest is copied is missing in the copy, and marked so.
    state, files = read_state(project.folder), _files(project.folder)
    try:
        total, done = sum(_size(path) for path in files), 0
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=target.parent))
    except OSError as error:
        raise StorageError(f"Could not write {target}: {describe(error)}") from error
    try:
        for path in files:
            if monitor.stopped:
                return None
            try:
                source_file = path.open("rb")
            except FileNotFoundError:  # another holder has removed it since
                continue
            with source_file, atomic_path(temporary / path.relative_to(project.folder)) as copy:
                with copy.open("wb") as copied:
                    shutil.copyfileobj(source_file, copied)
                done += copy.stat().st_size
            monitor.progress(done, max(total, done))
        there = {path.stem for path in (temporary / VERSIONS).glob("*.safetensors")}
        write_json(temporary / PROJECT_FILE, {**_as_copied(state, there).model_dump(mode="json"), "dataset": reference})
        # The folders of temporary files can be entered by their owner only.
        temporary.chmod(project.folder.stat().st_mode & 0o777)
        if target.exists():
            target.rmdir()  # empty, as was seen above
        temporary.replace(target)
    except OSError as error:
        raise StorageError(f"Could not write {target}: {describe(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _files(folder: Path) -> list[Path]:
    fence, found = Fence(folder), []
    for path in sorted(folder.rglob("*")):
        leak = fence.leak(path)
        if leak is not None:
            raise StorageError(leak)
        # A lock is somebody's who writes to the project, not to its copy.
        if path.is_file() and not path.name.startswith(_SCRATCH) and f".json{SUFFIX}" not in path.name:
            found.append(path)
    return found


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _as_copied(state: State, there: set[str]) -> State:
    """Return a project's state with those versions marked as deleted whose weights are not there."""
    versions = [
        version if version.deleted is not None or version.id in there else version.model_copy(update={"deleted": now()})
        for version in state.versions
    ]
    left = [version.id for version in versions if version.deleted is None]
    current = state.current if state.current in left or not left else left[-1]
    return state.model_copy(update={"versions": versions, "current": current})
