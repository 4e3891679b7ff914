"""What a project's file holds: its dataset, its versions, what it remembers; and reading it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_cam_feedback import __version__
from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.files import read_json

PROJECT_FILE = "project.json"
VERSIONS = "versions"
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
    method : str or None
        That run's; None for a version that was not retuned, and in projects of the program's first versions.
    iterations : int or None
        Steps after which the run had this classifier.
    masks : int or None
        Painted images that it learnt from.
    settings : dict
        That run's settings where they are other than the default.
    fingerprint : str or None
        Of the classifier, so that it is known after it was deleted.
    deleted : str or None
        When its weights were deleted, ISO 8601, UTC; None while they are there.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str = Field(pattern=r"^v\d{3,}$")
    parent: str | None = None
    created: str
    origin: str
    run: str | None = None
    verdict: str | None = None
    method: str | None = None
    iterations: int | None = None
    masks: int | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    fingerprint: str | None = None
    deleted: str | None = None


class State(BaseModel):
    """What ``project.json`` holds."""

    model_config = ConfigDict(extra="ignore")

    schema_version: int = SCHEMA_VERSION
    program: str = __version__
    dataset: str
    split_seed: int | None = None
    current: str
    versions: list[Version]
    remembered: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_a_tree(self) -> State:
        """Each version stands once and comes from an earlier one, else some are not seen in the tree."""
        ids = [version.id for version in self.versions]
        if not ids or len(set(ids)) < len(ids):
            raise ValueError("no versions, or one twice")
        if any(v.parent in ids and int(v.parent[1:]) >= int(v.id[1:]) for v in self.versions if v.parent is not None):
            raise ValueError("a version that comes from a later one")
        return self

    @property
    def available(self) -> tuple[Version, ...]:
        """The versions that were not deleted, the oldest first."""
        return tuple(version for version in self.versions if version.deleted is None)

    def version(self, name: str) -> Version:
        """Return a version by its id, deleted or not; raises StorageError if there is none."""
        for version in self.versions:
            if version.id == name:
                return version
        raise StorageError(f"The project has no version {name}; it has {', '.join(v.id for v in self.versions)}.")

    def check_available(self, name: str) -> None:
        """Raise StorageError if there is no such version or it was deleted."""
        version = self.version(name)
        if version.deleted is not None:
            raise StorageError(
                f"Version {name} was deleted on {version.deleted[:10]}; choose one of "
                f"{', '.join(v.id for v in self.available)}."
            )


def read_state(folder: Path) -> State:
    """Read a project's file.

    Raises
    ------
    StorageError
        There is no project, or its file is broken or from a newer version.
    """
    if not (folder / PROJECT_FILE).is_file():
        raise StorageError(f"There is no project in {folder}; choose a folder that holds {PROJECT_FILE}.")
    content = read_json(folder / PROJECT_FILE)
    schema = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise StorageError(f"A newer version of napari-cam-feedback wrote {folder}; update the plugin.")
    try:
        return State.model_validate(content)
    except ValidationError as error:
        raise StorageError(f"{folder / PROJECT_FILE} is broken; restore it from a copy.") from error


def now() -> str:
    """Return the time as projects write it: ISO 8601, UTC, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
