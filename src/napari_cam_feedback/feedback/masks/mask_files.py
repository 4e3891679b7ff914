"""Which file of a folder of masks belongs to which image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.errors import MaskError, StorageError, describe
from napari_cam_feedback.feedback.masks.index import Entry
from napari_cam_feedback.feedback.masks.names import NAMED, SCRATCH, FileNames, check_key, key_in, named, without_ending
from napari_cam_feedback.files import folded


class MaskFiles:
    """The files of the masks of a folder by item key, as they were last looked for. Several threads need a lock around it.

    Parameters
    ----------
    folder : Path
        Of the masks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = FileNames()
        self._files: dict[str, Path] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def scan(self, entries: Mapping[str, Entry]) -> None:
        """Look for the files there are; keys that no file says are those of the index's entries."""
        # The files are the truth: a mask whose index entry a crash has cost is still a mask.
        files = self._files
        recorded = {entry["file"]: key for key, entry in entries.items() if isinstance(entry.get("file"), str)}
        for path in sorted(self.folder.rglob("*.png")) if self.folder.is_dir() else ():
            name = path.relative_to(self.folder).as_posix()
            if path.name.startswith(SCRATCH):
                continue
            key = name.removesuffix(".png")
            if name.startswith(f"{NAMED}/"):
                # The key is the one that its name is made from.
                key = next((k for k in (recorded.get(name), key_in(path)) if k and named(k) == name), key)
            self.note(key, path)
        # A disk may have brought a name into another case or Unicode form; the index has the key as it was.
        turned = {folded(key): key for key in files if key not in entries}
        for key in entries:
            if key not in files and (found := turned.pop(folded(key), None)) is not None:
                files[key] = files.pop(found)

    def own(self, key: str) -> Path | None:
        """Return the file that holds this image's mask and no other's; None where there is none."""
        return self._files.get(key)

    def find(self, key: str) -> Path | None:
        """Return the file that holds an image's mask, also in the layout of known masks; None where there is none."""
        found = self._files.get(key)
        bare = without_ending(key) if found is None else None
        return found if bare is None else self._files.get(bare)

    def path(self, key: str) -> Path:
        """Return the file of a key's mask, whether or not it is there; raises MaskError where there can be none."""
        check_key(key)
        found = self._files.get(key)
        return self.folder / self._names.choose(key) if found is None else found

    def leak(self, path: Path) -> str | None:
        """Return in a sentence that links lead from the folder to elsewhere on the way to a path; None where they do not."""
        # Nothing is remembered from one mask to the next: masks are few, and what is written must be safe.
        return Fence(self.folder).leak(path)

    def note(self, key: str, path: Path) -> None:
        """Note that a mask is in this file."""
        self._files[key] = path
        self._names.note(path.relative_to(self.folder).as_posix(), key)

    def remove(self, key: str) -> None:
        """Remove the file of a mask, if there is one; raises StorageError."""
        path = self._files.get(key)
        if path is not None:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"Could not remove {path}: {describe(error)}") from error
            self._forget(key)

    def _forget(self, key: str) -> None:
        path = self._files.pop(key, None)
        if path is not None:
            self._names.forget(path.relative_to(self.folder).as_posix())

    def look_again(self, key: str, entry: Entry) -> None:
        """Note where a mask is that another holder has put, or that there is none any more."""
        try:
            check_key(key)
        except MaskError:
            return
        # Not what the index says, which anybody may have written.
        name = named(key) if entry.get("file") == named(key) else f"{key}.png"
        path = self._files.get(key) or self.folder / name
        if path.is_file():
            self.note(key, path)
        else:
            self._forget(key)
