"""A project's versions of the classifier: choosing, adding, deleting, loading them, without opening the images."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_cam_feedback import __version__
from napari_cam_feedback.errors import StorageError, describe
from napari_cam_feedback.files import make_unused_folder, refuse_links, signature, write_json
from napari_cam_feedback.locking import writing
from napari_cam_feedback.models import Classifier, load_classifier
from napari_cam_feedback.projects.manifest import PROJECT_FILE, VERSIONS, State, Version, now, read_state

#: Folders of a project that are written to; a project of somebody else's may have links in their places.
_WRITTEN = (VERSIONS, "runs", "masks", "masks-replaced", "proposals", "filters", "undecided")


class ProjectFolder:
    """A project's versions and what it remembers; its images need not be there.

    Several threads may use it, and several windows, shells and machines may have one of the same folder: what one writes is
    put together with what the others have written meanwhile, and seen by them after `refresh`.

    Parameters
    ----------
    folder : path
        Holds ``project.json``.
    state : State, optional
        What is in that file; read from it by default.

    Raises
    ------
    StorageError
        There is no project, its file is broken or from a newer version, or a link in it leads out of it.
    """

    def __init__(self, folder: str | os.PathLike[str], state: State | None = None) -> None:
        self.folder = Path(folder).absolute()
        for name in _WRITTEN:
            refuse_links(self.folder, self.folder / name / "any")
        # Before the file is read: a change in between is seen by the next refresh.
        self._seen = signature(self._file)
        self._state = read_state(self.folder) if state is None else state
        # The file has what anybody chose last. What is looked through here must not change because of that.
        self._current = self._state.current
        # What others did to versions was taken over with a change of ours, and `refresh` has not told it yet.
        self._news = False
        self._lock = threading.RLock()

    @classmethod
    def exists(cls, folder: str | os.PathLike[str]) -> bool:
        """Tell whether there is a project in a folder."""
        return (Path(folder) / PROJECT_FILE).is_file()

    @property
    def _file(self) -> Path:
        return self.folder / PROJECT_FILE

    @property
    def dataset_path(self) -> Path:
        """Where the images are, as the project's file says it."""
        return Path(os.path.normpath(self.folder / self._state.dataset))

    @property
    def versions(self) -> tuple[Version, ...]:
        """All versions, the oldest first, those that were deleted among them."""
        return tuple(self._state.versions)

    @property
    def available(self) -> tuple[Version, ...]:
        """The versions that were not deleted, the oldest first."""
        return self._state.available

    @property
    def current(self) -> Version:
        """The version in use here; another holder of the project may use another one."""
        return self.version(self._current)

    def version(self, name: str) -> Version:
        """Return a version by its id, deleted or not; raises StorageError if there is none."""
        return self._state.version(name)

    def weights(self, name: str) -> Path:
        """Return the file of a version's weights; raises StorageError if there is no such version or it was deleted."""
        self._state.check_available(name)
        return self.folder / VERSIONS / f"{name}.safetensors"

    def classifier(self, version: str | None = None, *, device: str = "auto", trust: bool = False) -> Classifier:
        """Load a version, by default the current one; raises what `load_classifier` and `weights` raise.

        Parameters
        ----------
        version : str, optional
            Its id.
        device : str
            Where to put it.
        trust : bool
            The user agrees that the code runs that makes the network, where a file of theirs does.
        """
        name = self._current if version is None else version
        return load_classifier(self.weights(name), device=device, trust=trust)

    def refresh(self) -> bool:
        """Take over what other holders of the project have written; return whether versions came or went.

        Raises
        ------
        StorageError
            The project's file is gone or broken.
        """
        with self._lock:
            seen = signature(self._file)
            if seen != self._seen:
                state = read_state(self.folder)
                self._compare(state)
                self._state, self._seen = state, seen
            news, self._news = self._news, False
            return news

    def _compare(self, state: State) -> None:
        """Note whether others have kept or deleted versions, by what is on disk now."""
        self._news = self._news or state.versions != self._state.versions

    def select(self, version: str) -> None:
        """Make a version the current one; the next retune branches off from it.

        Raises
        ------
        StorageError
            There is no such version, or it was deleted.
        """

        def change(state: State) -> dict[str, Any]:
            state.check_available(version)
            return {"current": version}

        self._change(change, current=version)

    def check_deletable(self, version: str) -> Path:
        """Return the file of weights that `delete` would delete; raises what it raises where it would not."""
        self._check_deletable(self._state, version)
        return self.weights(version)

    def _check_deletable(self, state: State, version: str) -> None:
        state.check_available(version)
        if len(state.available) == 1:
            raise StorageError(f"{version} is the only version of the project; it cannot be deleted.")
        if version in (self._current, state.current):
            raise StorageError(f"{version} is the version in use; select another one before you delete it.")

    def delete(self, version: str) -> None:
        """Delete a version's weights. Its entry stays, marked, so that it is still known what the others come from.

        Raises
        ------
        StorageError
            There is no such version, it is the current or the only one, was deleted before, or cannot be removed.
        """

        with self._changing() as state:
            self._check_deletable(state, version)
            marked = [v.model_copy(update={"deleted": now()}) if v.id == version else v for v in state.versions]
            # The mark first: weights without an entry only take up room, an entry without weights is a broken project.
            self._write(state.model_copy(update={"versions": marked}))
            try:
                (self.folder / VERSIONS / f"{version}.safetensors").unlink(missing_ok=True)
            except OSError as error:
                with suppress(StorageError):
                    self._write(state)
                raise StorageError(f"Could not delete {version}: {describe(error)}") from error

    def new_run(self, method: str) -> Path:
        """Make and return a new folder for the record of a run."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        name = f"{stamp}-{re.sub(r'[^a-z0-9]+', '-', method.lower())}"
        folder = self.folder / "runs" / name
        try:
            return make_unused_folder(folder)
        except OSError as error:
            raise StorageError(f"{folder} cannot be made: {describe(error)}") from error

    def add_version(
        self,
        parent: str,
        *,
        method: str,
        masks: int,
        save: Callable[[Path], object],
        record: Callable[[Path, str], object],
        **about: Any,
    ) -> Version:
        """Add a version made by a retune, and make it the current one.

        Parameters
        ----------
        parent : str
            The version that was retuned.
        method, masks, **about
            As of `Version`.
        save : callable
            Writes the weights to the path that it is given.
        record : callable
            Writes the record of the run into a new folder; takes the folder and the version's id.

        Raises
        ------
        StorageError
            Something cannot be written; the project is as it was.
        """
        run = self.new_run(method)
        # A run that says it was kept, and was not, would mislead; and the disk may be full.
        with removed_on_failure(run), self._new_weights() as weights:
            name = weights.stem
            record(run, name)
            save(weights)
            version = Version(
                id=name,
                parent=parent,
                created=now(),
                origin=f"retuned from {parent} by {method} with {masks} masks",
                run=run.name,
                method=method,
                masks=masks,
                **about,
            )

            def change(state: State) -> dict[str, Any]:
                # Others that were begun later may have been ready before.
                return {"versions": sorted([*state.versions, version], key=_number), "current": name}

            self._change(change, current=name)
        return version

    def add_correction(self, parent: str, what: str, *, save: Callable[[Path], object], fingerprint: str) -> Version:
        """Add a version with the weights of another one, used otherwise, and make it the current one.

        Parameters
        ----------
        parent : str
            The version that was corrected.
        what : str
            What is otherwise, to go after "with".
        save : callable
            Writes the weights to the path that it is given.
        fingerprint : str
            Of the corrected classifier.

        Raises
        ------
        StorageError
            Something cannot be written; the project is as it was.
        """
        with self._new_weights() as weights:
            save(weights)
            version = Version(
                id=weights.stem, parent=parent, created=now(), origin=f"{parent} with {what}", fingerprint=fingerprint
            )

            def change(state: State) -> dict[str, Any]:
                return {"versions": sorted([*state.versions, version], key=_number), "current": version.id}

            self._change(change, current=version.id)
        return version

    @contextmanager
    def _new_weights(self) -> Iterator[Path]:
        """Take the next number that no holder has and give its file, still empty; it is removed if what follows fails."""
        folder = self.folder / VERSIONS
        number = max(map(_number, (*self._state.versions, *read_state(self.folder).versions)))
        while True:
            number += 1
            path = folder / f"v{number:03d}.safetensors"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                # One of several who try at once makes it, on any disk.
                path.touch(exist_ok=False)
                break
            except FileExistsError:
                continue
            except OSError as error:
                raise StorageError(f"Could not write {path}: {describe(error)}") from error
        with removed_on_failure(path):
            yield path

    @property
    def remembered(self) -> dict[str, Any]:
        """What `remember` kept: plain JSON values."""
        return dict(self._state.remembered)

    def remember(self, **values: Any) -> None:
        """Keep small plain values, such as the item that was shown, for the next time."""
        if any(self._state.remembered.get(key) != value for key, value in values.items()):
            self._change(lambda state: {"remembered": {**state.remembered, **values}})

    def _change(self, change: Callable[[State], dict[str, Any]], *, current: str | None = None) -> None:
        """Change what is on disk now and take it over, or neither.

        Parameters
        ----------
        change : callable
            Takes what is on disk, with all that others have written, and returns the fields that are to be others.
        current : str, optional
            The version that is in use here from then on.
        """
        with self._changing() as state:
            self._write(state.model_copy(update=change(state)))
            self._current = self._current if current is None else current

    @contextmanager
    def _changing(self) -> Iterator[State]:
        """Give what is on disk now, and let nobody else change it meanwhile."""
        with self._lock, writing(self._file):
            state = read_state(self.folder)
            self._compare(state)
            yield state

    def _write(self, state: State) -> None:
        """Write what the project's file is to hold, and take it over."""
        write_json(self._file, {**state.model_dump(mode="json"), "program": __version__})
        self._state, self._seen = state, signature(self._file)


def _number(version: Version) -> int:
    return int(version.id[1:])


@contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """Remove a file or folder that was just made, where what follows fails."""
    try:
        yield
    except BaseException:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise
