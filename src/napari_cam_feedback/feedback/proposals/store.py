"""Proposed masks on disk, apart from the masks: they count nowhere until they are accepted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_cam_feedback.errors import MaskError, StorageError
from napari_cam_feedback.feedback.masks.store import MaskStore
from napari_cam_feedback.feedback.proposals.propagate import Proposal
from napari_cam_feedback.files import read_json, signature, write_json
from napari_cam_feedback.locking import writing
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
    """A folder of proposed masks: ``open`` and ``rejected``, folders of masks, and ``proposals.json``.

    Several threads may use it, and several windows and shells the same folder: what each writes is put together.

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
        self._seen = signature(self._index)
        self._state = self._read()
        self._open = MaskStore(self.folder / "open")
        self._rejected = MaskStore(self.folder / "rejected")

    @property
    def _index(self) -> Path:
        return self.folder / INDEX_NAME

    def _read(self) -> _State:
        path = self._index
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

    def refresh(self) -> None:
        """Take over what others have proposed and answered since; raises StorageError where the index is broken."""
        with self._lock:
            seen = signature(self._index)
            if seen != self._seen:
                self._state, self._seen = self._read(), seen
            self._open.refresh()

    @contextmanager
    def _changing(self) -> Iterator[_State]:
        """Give what is on disk now, to be changed and written on leaving, and let nobody else write meanwhile."""
        with writing(self._index), self._lock:
            self._state = self._read()
            yield self._state
            write_json(self._index, self._state.model_dump(mode="json"))
            self._seen = signature(self._index)

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
        waiting: dict[str, ProposedMask] = {}
        try:
            with self._open.batch():
                for proposal in proposals:
                    if proposal.key in painted or self.refused(proposal.key, proposal.mask):
                        continue
                    # Whatever was proposed before, also by another window, gives way.
                    with suppress(KeyError, MaskError):
                        self._open[proposal.key]
                    self._open.put(proposal.key, proposal.mask)
                    waiting[proposal.key] = ProposedMask(
                        kind=proposal.kind,
                        score=proposal.score,
                        reason=proposal.reason,
                        donor=proposal.donor,
                        classifier=classifier,
                        time=_now(),
                    )
                    written.append(proposal.key)
                    # A crash costs the last few proposals; the index is not written a thousand times for that.
                    if len(waiting) == _AT_ONCE:
                        self._note(waiting)
        finally:
            self._note(waiting)
        return written

    def _note(self, waiting: dict[str, ProposedMask]) -> None:
        if waiting:
            with self._changing() as state:
                state.proposals.update(waiting)
            waiting.clear()

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

        def one(key: str) -> ProposedMask | None:
            about, mask = self._take(key)
            # Another holder may be painting this image now.
            if masks is not None and not masks.add(key, mask, author=about.author):
                return None
            return about

        return self._settle(keys, one, "accepted", monitor)

    @takes_monitor
    def reject(self, keys: Iterable[str], *, monitor: Monitor = QUIET) -> list[str]:
        """Drop proposed masks, and remember them, so that they are not proposed again; return them. Raises as `accept`."""

        def one(key: str) -> ProposedMask:
            about, mask = self._take(key)
            if key in self._rejected:
                before = self._rejected[key]
                mask = mask | before if before.shape == mask.shape else mask
            self._rejected.put(key, mask)
            return about

        return self._settle(keys, one, "rejected", monitor)

    def drop(self, keys: Iterable[str]) -> None:
        """Remove open proposals without an answer, as those of images painted meanwhile; raises StorageError."""
        self._settle([key for key in keys if key in self], lambda key: None, None, QUIET)

    def _settle(
        self, keys: Iterable[str], one: Callable[[str], ProposedMask | None], answer: str | None, monitor: Monitor
    ) -> list[str]:
        """Do something with each proposal, which goes then; return those for which there was an answer."""
        gone: dict[str, ProposedMask | None] = {}
        self.refresh()
        try:
            for key in dict.fromkeys(keys):
                if monitor.stopped:
                    break
                gone[key] = one(key)
        finally:
            # The index first: a file that it does not name is no proposal.
            if gone:
                with self._changing() as state:
                    for key, about in gone.items():
                        state.proposals.pop(key, None)
                        if about is not None and answer is not None:
                            getattr(state, answer)[key] = about.model_copy(update={"time": _now()})
                with self._open.batch():
                    for key in gone:
                        self._open.remove(key)
        return [key for key, about in gone.items() if about is not None]

    def _take(self, key: str) -> tuple[ProposedMask, np.ndarray]:
        with self._lock, suppress(KeyError):
            return self._state.proposals[key], self._open[key]
        raise StorageError(f"No mask is proposed for {key}; propose masks anew, or name one of those listed.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
