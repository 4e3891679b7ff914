"""A feedback project: a folder with a reference to the data, the classifier's versions, masks and runs."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_cam_feedback import __version__
from napari_cam_feedback.data import Dataset, open_dataset
from napari_cam_feedback.errors import ModelError, StorageError
from napari_cam_feedback.evaluate import Comparison
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.files import atomic_path, read_json, write_json, write_text
from napari_cam_feedback.models import Classifier, check_fits, load_classifier, read_header, save_classifier
from napari_cam_feedback.retune import RetuneResult

PROJECT_FILE = "project.json"
SCHEMA_VERSION = 1


class Version(BaseModel):
    """One saved state of the classifier.

    Attributes
    ----------
    id : str
        ``v001`` is the classifier that the project began with.
    parent : str or None
        The version it was retuned from.
    created : str
        ISO 8601, UTC.
    origin : str
        How it came to be, in a few words.
    run : str or None
        The run that made it, a folder under ``runs``.
    verdict : str or None
        That run's.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str = Field(pattern=r"^v\d{3,}$")
    parent: str | None = None
    created: str
    origin: str
    run: str | None = None
    verdict: str | None = None


class _State(BaseModel):
    model_config = ConfigDict(extra="ignore")

    schema_version: int = SCHEMA_VERSION
    program: str = __version__
    dataset: str
    split_seed: int | None = None
    current: str
    versions: list[Version]
    remembered: dict[str, Any] = Field(default_factory=dict)


class Project:
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

    def __init__(self, folder: Path, dataset: Dataset, state: _State) -> None:
        self.folder = folder
        self.dataset = dataset
        self.masks = MaskStore(folder / "masks")
        self._state = state
        self._lock = threading.RLock()

    @classmethod
    def exists(cls, folder: str | os.PathLike[str]) -> bool:
        """Tell whether there is a project in a folder."""
        return (Path(folder) / PROJECT_FILE).is_file()

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
        source = dataset.source.absolute()
        if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
            # The masks in it would be found as images.
            raise StorageError(f"{folder} lies among the images of {source}; choose a folder outside of it.")
        check_fits(classifier, dataset)
        first = Version(id="v001", created=_now(), origin="loaded")
        save_classifier(classifier, folder / "versions" / f"{first.id}.safetensors")
        # Relative where it can be, so that a folder with data and project in it can be moved as a whole.
        inside = source.is_relative_to(folder.parent)
        reference = Path(os.path.relpath(source, folder)).as_posix() if inside else str(source)
        project = cls(
            folder, dataset, _State(dataset=reference, split_seed=dataset.split_seed, current=first.id, versions=[first])
        )
        project._write()
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
        DataError
            Its dataset cannot be opened.
        """
        folder = Path(folder).absolute()
        if not cls.exists(folder):
            raise StorageError(f"There is no project in {folder}; choose a folder that holds {PROJECT_FILE}.")
        content = read_json(folder / PROJECT_FILE)
        schema = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(schema, int) and schema > SCHEMA_VERSION:
            raise StorageError(f"A newer version of napari-cam-feedback wrote {folder}; update the plugin.")
        try:
            state = _State.model_validate(content)
        except ValidationError as error:
            raise StorageError(f"{folder / PROJECT_FILE} is broken; restore it from a copy.") from error
        if dataset is None:
            # The version's order of classes counts, not the alphabet's. One that is lost or broken is said when it is
            # loaded; until then masks and other versions can be seen.
            header: dict[str, Any] = {}
            with suppress(ModelError):
                header = read_header(folder / "versions" / f"{state.current}.safetensors") or {}
            dataset = open_dataset(folder / state.dataset, seed=state.split_seed or 0, class_names=header.get("class_names"))
        return cls(folder, dataset, state)

    @property
    def versions(self) -> tuple[Version, ...]:
        """All versions, the oldest first."""
        return tuple(self._state.versions)

    @property
    def current(self) -> Version:
        """The version in use."""
        return self.version(self._state.current)

    def version(self, name: str) -> Version:
        """Return a version by its id; raises StorageError if there is none."""
        for version in self._state.versions:
            if version.id == name:
                return version
        raise StorageError(f"The project has no version {name}; it has {', '.join(v.id for v in self.versions)}.")

    def classifier(self, version: str | None = None, *, device: str = "auto", trust: bool = False) -> Classifier:
        """Load a version, by default the current one; raises what `load_classifier` raises.

        Parameters
        ----------
        version : str, optional
            Its id.
        device : str
            Where to put it.
        trust : bool
            The person agrees that the code runs that makes the network, where a file of theirs does.
        """
        chosen = self.current if version is None else self.version(version)
        return load_classifier(self.folder / "versions" / f"{chosen.id}.safetensors", device=device, trust=trust)

    def select(self, version: str) -> None:
        """Make a version the current one; raises StorageError if there is none."""
        with self._lock:
            self._change(current=self.version(version).id)

    @property
    def remembered(self) -> dict[str, Any]:
        """What `remember` kept: plain JSON values."""
        return dict(self._state.remembered)

    def remember(self, **values: Any) -> None:
        """Keep small plain values, such as the item that was shown, for the next time."""
        with self._lock:
            if any(self._state.remembered.get(key) != value for key, value in values.items()):
                self._change(remembered={**self._state.remembered, **values})

    def keep(self, result: RetuneResult, comparison: Comparison | None = None) -> Version:
        """Save a retuned classifier as a new version whose parent is the current one, and make it current.

        Raises
        ------
        StorageError
            It cannot be written; the project is as it was.
        """
        with self._lock:
            parent = self.current
            number = 1 + max(int(version.id[1:]) for version in self._state.versions)
            name = f"v{number:03d}"
            weights = self.folder / "versions" / f"{name}.safetensors"
            run = self._save_run(result, comparison, kept=name)
            try:
                save_classifier(result.classifier, weights)
                version = Version(
                    id=name,
                    parent=parent.id,
                    created=_now(),
                    origin=f"retuned from {parent.id} by {result.config.method} with {len(result.painted_keys)} masks",
                    run=run.name,
                    verdict=result.verdict.name,
                )
                self._change(versions=[*self._state.versions, version], current=name)
            except BaseException:
                # A run that says it was kept, and was not, would mislead; and the disk may be full.
                shutil.rmtree(run, ignore_errors=True)
                with suppress(OSError):
                    weights.unlink(missing_ok=True)
                raise
            return version

    def discard(self, result: RetuneResult, comparison: Comparison | None = None) -> Path:
        """Keep only the record of a run, not its classifier; return the run's folder."""
        return self._save_run(result, comparison, kept=None)

    def _save_run(self, result: RetuneResult, comparison: Comparison | None, *, kept: str | None) -> Path:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        method = re.sub(r"[^a-z0-9]+", "-", result.config.method.lower())
        folder = self.folder / "runs" / f"{stamp}-{method}"
        number = 1
        while folder.exists():
            number += 1
            folder = self.folder / "runs" / f"{stamp}-{method}-{number}"
        extra = {"parent": self.current.id, "kept": kept}
        try:
            save_run(folder, result, comparison, extra=extra, weights=False)
            # The masks of a run are part of it: the person may paint on.
            for key in dict.fromkeys((*result.painted_keys, *result.held_out_keys)):
                source = self.masks.file(key)
                if source is not None:
                    _copy(source, folder / "masks" / f"{key}.png")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder

    def _change(self, **values: Any) -> None:
        """Change the state in memory and on disk, or neither."""
        old = self._state
        self._state = old.model_copy(update=values)
        try:
            self._write()
        except BaseException:
            self._state = old
            raise

    def _write(self) -> None:
        write_json(self.folder / PROJECT_FILE, self._state.model_dump(mode="json"))


def save_run(
    folder: str | os.PathLike[str],
    result: RetuneResult,
    comparison: Comparison | None = None,
    *,
    extra: dict[str, Any] | None = None,
    weights: bool = True,
) -> None:
    """Write a run: ``config.json``, ``history.csv``, ``painted.csv``, ``result.json``, ``model.safetensors``, checkpoints.

    Parameters
    ----------
    folder : path
        Made if need be.
    result : RetuneResult
        The run.
    comparison : Comparison, optional
        Before and after on whole splits, for ``result.json``.
    extra : dict, optional
        Further plain values for ``result.json``.
    weights : bool
        Whether to write the classifier too, and the other checkpoints of the front.

    Raises
    ------
    StorageError
        Something cannot be written.
    """
    folder = Path(folder)
    write_json(folder / "config.json", result.config.model_dump(mode="json"))
    write_text(folder / "history.csv", _table(result.history))
    write_text(folder / "painted.csv", _table(result.painted_history))
    content = {
        **result.to_json(),
        **(extra or {}),
        "comparison": None if comparison is None else comparison.to_json(),
        "program": __version__,
        "time": _now(),
    }
    write_json(folder / "result.json", content)
    if weights:
        save_classifier(result.classifier, folder / "model.safetensors")
        for checkpoint in result.checkpoints:
            iteration = checkpoint.check.iteration
            # The start is the model that the person has, and the one returned is there already.
            if iteration not in (0, result.selected_iteration):
                save_classifier(result.classifier_at(iteration), folder / "checkpoints" / f"{iteration:05d}.safetensors")


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
