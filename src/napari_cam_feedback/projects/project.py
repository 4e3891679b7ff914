"""A project that is open: its images, its masks, and what retunes add to it."""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_cam_feedback.data import Dataset, open_dataset
from napari_cam_feedback.errors import DataError, ImagesMoved, ModelError, StorageError
from napari_cam_feedback.evaluation import Comparison
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.locking import writing
from napari_cam_feedback.models import Classifier, check_fits, read_header, save_classifier
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.projects.copying import copy_project, reference_to
from napari_cam_feedback.projects.manifest import PROJECT_FILE, VERSIONS, State, Version, now, read_state
from napari_cam_feedback.projects.runs import save_run
from napari_cam_feedback.projects.versions import ProjectFolder, removed_on_failure
from napari_cam_feedback.retuning import RetuneResult


class Project(ProjectFolder):
    """A feedback project on disk. Make one with `create`, open one with `open`; several threads may use it.

    Attributes
    ----------
    folder : Path
        Holds ``project.json``, ``versions/``, ``masks/`` and ``runs/``.
    dataset : Dataset
        The images.
    masks : MaskStore
        What was painted.
    """

    def __init__(self, folder: Path, dataset: Dataset, state: State) -> None:
        super().__init__(folder, state)
        self.dataset = dataset
        self.masks = MaskStore(folder / "masks", author=_author())

    @classmethod
    def create(cls, folder: str | os.PathLike[str], dataset: Dataset, classifier: Classifier) -> Project:
        """Start a project with a first version of the classifier.

        Parameters
        ----------
        folder : path
            Made if need be; must not hold a project.
        dataset : Dataset
            Opened from disk, so that it can be opened again.
        classifier : Classifier
            Becomes version ``v001``.

        Raises
        ------
        StorageError
            The folder holds a project already, lies among the images, or cannot be written.
        ModelError
            The classifier is for other classes.
        """
        folder = Path(folder).absolute()
        if cls.exists(folder):
            raise StorageError(f"{folder} holds a project already; open it, or choose another folder.")
        if dataset.source is None:
            raise StorageError("A project needs a dataset that lies on disk; save the images first.")
        reference = reference_to(dataset.source, folder)
        check_fits(classifier, dataset)
        first = Version(id="v001", created=now(), origin="loaded", fingerprint=classifier.fingerprint())
        state = State(dataset=reference, split_seed=dataset.split_seed, current=first.id, versions=[first])
        with writing(folder / PROJECT_FILE):
            # Another one may have been made there while this one waited.
            if cls.exists(folder):
                raise StorageError(f"{folder} holds a project already; open it, or choose another folder.")
            save_classifier(classifier, folder / VERSIONS / f"{first.id}.safetensors")
            project = cls(folder, dataset, state)
            project._write(state)
        return project

    @classmethod
    def open(cls, folder: str | os.PathLike[str], dataset: Dataset | None = None) -> Project:
        """Open a project.

        Parameters
        ----------
        folder : path
            Where it is.
        dataset : Dataset, optional
            Instead of the one it refers to, as when that was moved.

        Raises
        ------
        StorageError
            There is no project, or its file is broken or from a newer version.
        ImagesMoved
            Its dataset is not where it was.
        DataError
            Its dataset cannot be opened.
        """
        folder = Path(folder).absolute()
        state = read_state(folder)
        if dataset is None:
            source = Path(os.path.normpath(folder / state.dataset))
            if not source.exists():
                raise ImagesMoved(str(folder), str(source))
            dataset = _open_images(folder, state, source)
        return cls(folder, dataset, state)

    @classmethod
    def move_images(cls, folder: str | os.PathLike[str], images: str | os.PathLike[str]) -> Project:
        """Note that a project's images lie elsewhere now, and open it.

        Parameters
        ----------
        folder : path
            Where the project is.
        images : path
            Where the images are now.

        Raises
        ------
        StorageError
            There is no project, its file is broken or cannot be written, or it would lie among the images.
        DataError
            There is no dataset, or none of the painted images is in it, so that it is another one.
        """
        folder = Path(folder).absolute()
        state = read_state(folder)
        dataset = _open_images(folder, state, Path(images))
        project = cls(folder, dataset, state)
        painted, there = set(project.masks), set(dataset.keys)
        if painted and not painted & there:
            raise DataError(
                f"None of the {len(painted)} painted images of the project is in {images}; choose the place of its own."
            )
        reference = reference_to(dataset.source or Path(images), folder)
        project._change(lambda _: {"dataset": reference})
        return project

    @takes_monitor
    def save_as(self, folder: str | os.PathLike[str], *, monitor: Monitor = QUIET) -> Project | None:
        """Copy the whole project into a new folder and return the copy, opened; this one stays as it is.

        Parameters
        ----------
        folder : path
            New, or empty.
        monitor : Monitor, optional
            Told of bytes copied and bytes in all.
            Asked between files whether to stop; where it says yes, nothing is left behind and None is returned.

        Raises
        ------
        StorageError
            The folder holds something, lies in this project or among the images, or cannot be written.
        """
        # Without the lock, for which strokes on their way to the disk would have to wait.
        source = self.dataset_path if self.dataset.source is None else self.dataset.source
        copied = copy_project(self, folder, dataset=source, monitor=monitor)
        if copied is None:
            return None
        inside = source.absolute().is_relative_to(self.folder)
        return Project.open(copied) if inside else Project(copied, self.dataset, read_state(copied))

    def keep(self, result: RetuneResult, comparison: Comparison | None = None, *, parent: str | None = None) -> Version:
        """Save a retuned classifier as a new version, and make it current.

        Parameters
        ----------
        result : RetuneResult
            The run.
        comparison : Comparison, optional
            Before and after on whole splits, for the run's record.
        parent : str, optional
            The version that was retuned, also one that was deleted meanwhile; by default the current one.

        Raises
        ------
        StorageError
            It cannot be written; the project is as it was.
        """
        config = result.config
        return self.add_version(
            self.current.id if parent is None else self.version(parent).id,
            method=config.method,
            iterations=result.selected_iteration,
            masks=len(result.painted_keys),
            settings=config.model_dump(mode="json", exclude_defaults=True, exclude={"method"}),
            verdict=result.verdict.name,
            fingerprint=result.classifier.fingerprint(),
            save=lambda path: save_classifier(result.classifier, path),
            record=lambda folder, kept: self._record(folder, result, comparison, parent, kept),
        )

    def discard(self, result: RetuneResult, comparison: Comparison | None = None, *, parent: str | None = None) -> Path:
        """Keep only the record of a run, not its classifier; return the run's folder. Parameters are as of `keep`."""
        folder = self.new_run(result.config.method)
        with removed_on_failure(folder):
            self._record(folder, result, comparison, parent, None)
        return folder

    def _record(
        self, folder: Path, result: RetuneResult, comparison: Comparison | None, parent: str | None, kept: str | None
    ) -> None:
        extra = {"parent": self.current.id if parent is None else parent, "kept": kept}
        save_run(folder, result, comparison, masks=self.masks, extra=extra, weights=False)


def _open_images(folder: Path, state: State, source: Path) -> Dataset:
    """Open a project's dataset."""
    # The version's order of classes counts, not the alphabet's. One that is lost or broken is said when it is loaded; until
    # then masks and other versions can be seen.
    header: dict[str, Any] = {}
    with suppress(ModelError):
        header = read_header(folder / VERSIONS / f"{state.current}.safetensors") or {}
    return open_dataset(source, seed=state.split_seed or 0, class_names=header.get("class_names"))


def _author() -> str | None:
    """The name under which the user paints: that of their account; None where the system knows none."""
    try:
        return getpass.getuser()
    except Exception:  # which error it is differs between systems
        return None
