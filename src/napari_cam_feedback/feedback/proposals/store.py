"""Proposed masks on disk, apart from the masks: they count nowhere until they are accepted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.errors import MaskError, StorageError, describe
from napari_cam_feedback.feedback.masks.store import MaskStore, read_mask_file
from napari_cam_feedback.feedback.proposals.propagate import Proposal
from napari_cam_feedback.files import atomic_path, read_json, write_json
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor

FOLDER = "proposals"
INDEX_NAME = "proposals.json"
SCHEMA_VERSION = 1
#: A mask that lies by at least so much in what was rejected on the same image is not proposed again.
SAME = 0.5
# Proposals between two writings of the index.
_AT_ONCE = 50


class ProposedMask(BaseModel):
    """What is known of a proposed mask beside its pixels.

    Attributes
    ----------
    kind : str
        How it was found: ``place``, ``filters`` or ``template``.
    score : float
        0 to 1.
    reason : str
        One sentence.
    donor : str
        Key of the painted image that it is most like; empty where it is like all.
    classifier : str
        Fingerprint of the classifier that found it.
    time : str
        ISO 8601, UTC; when it was proposed, and once it is answered, when that was.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: str
    score: float
    reason: str = ""
    donor: str = ""
    classifier: str = ""
    time: str = ""

    @property
    def author(self) -> str:
        """What the index of the masks notes as the author, once it is accepted."""
        like = f", like {self.donor}" if self.donor else ""
        return f"proposed by {self.kind} (score {self.score:.2f}{like}) and accepted"


class _State(BaseModel):
    model_config = ConfigDict(extra="ignore")

    schema_version: int = SCHEMA_VERSION
    proposals: dict[str, ProposedMask] = Field(default_factory=dict)
    accepted: dict[str, ProposedMask] = Field(default_factory=dict)
    rejected: dict[str, ProposedMask] = Field(default_factory=dict)


class ProposalStore:
    """A folder of proposed masks: ``open/<key>.png``, ``rejected/<key>.png`` and ``proposals.json``.

    Several threads may use it.

    Parameters
    ----------
    folder : path
        Made when the first proposal is written; ``proposals`` in a project's folder.

    Raises
    ------
    StorageError
        The index is broken, or of a newer version of the program.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._lock = threading.RLock()
        self._state = self._read()
        self._open = _MaskFiles(self.folder / "open")
        self._rejected = _MaskFiles(self.folder / "rejected")

    def _read(self) -> _State:
        path = self.folder / INDEX_NAME
        if not path.exists():
            return _State()
        content = read_json(path)
        schema = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(schema, int) and schema > SCHEMA_VERSION:
            raise StorageError(f"A newer version of napari-cam-feedback wrote {path}; update the plugin.")
        try:
            return _State.model_validate(content)
        except ValidationError as error:
            raise StorageError(f"{path} is not an index of proposed masks; restore it or remove its folder.") from error

    def _write(self) -> None:
        write_json(self.folder / INDEX_NAME, self._state.model_dump(mode="json"))

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._state.proposals and key in self._open

    def keys(self) -> list[str]:
        """Return the keys of the open proposals, the surest first."""
        with self._lock:
            found = [key for key in self._state.proposals if key in self._open]
            return sorted(found, key=lambda key: (-self._state.proposals[key].score, key))

    def mask(self, key: str) -> np.ndarray:
        """Return a proposed mask, bool (H, W); raises KeyError where there is none, MaskError where it cannot be read."""
        return self._open[key]

    def about(self, key: str) -> ProposedMask:
        """Return what is known of an open proposal; raises KeyError where there is none."""
        with self._lock:
            return self._state.proposals[key]

    def refused(self, key: str, mask: np.ndarray) -> bool:
        """Tell whether so much as a mask's half lies in what was rejected on this image."""
        with self._lock:
            if key not in self._rejected:
                return False
            before = self._rejected[key]
        if before.shape != mask.shape or not mask.any():
            return False
        return bool(np.count_nonzero(before & mask) >= SAME * np.count_nonzero(mask))

    def add(self, proposals: Iterable[Proposal], *, classifier: str = "", masks: Iterable[str] = ()) -> list[str]:
        """Write proposals, one at a time as they come; a newer one for the same image takes the older one's place.

        Parameters
        ----------
        proposals : iterable of Proposal
            As `propose_masks` yields them. Those that were rejected before are left out.
        classifier : str
            Fingerprint of the classifier that found them.
        masks : iterable of str
            Keys of images that are painted; they are left out.

        Returns
        -------
        list of str
            Keys written.

        Raises
        ------
        StorageError
            One could not be written; those before it are.
        """
        painted, written = set(masks), []
        try:
            for proposal in proposals:
                if proposal.key in painted or self.refused(proposal.key, proposal.mask):
                    continue
                about = ProposedMask(
                    kind=proposal.kind,
                    score=proposal.score,
                    reason=proposal.reason,
                    donor=proposal.donor,
                    classifier=classifier,
                    time=_now(),
                )
                with self._lock:
                    self._open.put(proposal.key, proposal.mask)
                    self._state.proposals[proposal.key] = about
                    written.append(proposal.key)
                    # A crash costs the last few proposals; the index is not written a thousand times for that.
                    if len(written) % _AT_ONCE == 0:
                        self._write()
        finally:
            with self._lock:
                if written:
                    self._write()
        return written

    @takes_monitor
    def accept(self, keys: Iterable[str], masks: MaskStore | None, *, monitor: Monitor = QUIET) -> list[str]:
        """Make proposed masks masks.

        Parameters
        ----------
        keys : iterable of str
            Whose.
        masks : MaskStore or None
            Where they go, with how they were found as their author; None where the caller has put them there already.
        monitor : Monitor, optional
            Asked before each whether to stop, which leaves the others as they are.

        Returns
        -------
        list of str
            Those accepted. An image that has a mask of its own already keeps it; its proposal goes all the same.

        Raises
        ------
        StorageError
            There is no such proposal, or a mask could not be written; then its proposal and those after it stay.
        """

        def one(key: str) -> bool:
            about, mask = self._take(key)
            if masks is not None and key in masks:
                return False
            if masks is not None:
                masks.put(key, mask, author=about.author)
            self._state.accepted[key] = about.model_copy(update={"time": _now()})
            return True

        return self._settle(keys, one, monitor)

    @takes_monitor
    def reject(self, keys: Iterable[str], *, monitor: Monitor = QUIET) -> list[str]:
        """Drop proposed masks, and remember them, so that they are not proposed again; return them. Raises as `accept`."""

        def one(key: str) -> bool:
            about, mask = self._take(key)
            if key in self._rejected:
                before = self._rejected[key]
                mask = mask | before if before.shape == mask.shape else mask
            self._rejected.put(key, mask)
            self._state.rejected[key] = about.model_copy(update={"time": _now()})
            return True

        return self._settle(keys, one, monitor)

    def drop(self, keys: Iterable[str]) -> None:
        """Remove open proposals without an answer, as those of images painted meanwhile; raises StorageError."""
        self._settle([key for key in keys if key in self], lambda key: True, QUIET)

    def _settle(self, keys: Iterable[str], one: Callable[[str], bool], monitor: Monitor) -> list[str]:
        """Do something with each proposal, which goes then; return those for which it said yes."""
        done: list[str] = []
        gone: list[str] = []
        with self._lock:
            try:
                for key in dict.fromkeys(keys):
                    if monitor.stopped:
                        break
                    if one(key):
                        done.append(key)
                    del self._state.proposals[key]
                    gone.append(key)
            finally:
                # The index first: a file that it does not name is no proposal.
                if gone:
                    self._write()
                for key in gone:
                    self._open.remove(key)
        return done

    def _take(self, key: str) -> tuple[ProposedMask, np.ndarray]:
        if key not in self:
            raise StorageError(f"No mask is proposed for {key}; propose masks anew, or name one of those listed.")
        return self._state.proposals[key], self._open[key]


class _MaskFiles:
    """Masks as PNG files by key, without an index; nothing outside of the folder is read or written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, key: str) -> Path:
        place = PurePosixPath(key)
        if place.is_absolute() or ".." in place.parts or ":" in key.partition("/")[0] or "\\" in key or "\0" in key:
            raise MaskError(f"{key!r} cannot be the key of an image; use a path inside the dataset.")
        path = self._folder / f"{key}.png"
        leak = Fence(self._folder).leak(path)
        if leak is not None:
            raise StorageError(leak)
        return path

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def __getitem__(self, key: str) -> np.ndarray:
        return read_mask_file(self._path(key))

    def put(self, key: str, mask: np.ndarray) -> None:
        with atomic_path(self._path(key)) as temporary:
            Image.fromarray(mask.astype(np.uint8) * 255).save(temporary, format="PNG")

    def remove(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"Could not remove {path}: {describe(error)}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
