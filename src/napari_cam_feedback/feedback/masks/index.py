"""The index of a folder of masks: who painted what and when. Several windows, shells and machines write to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from napari_cam_feedback.errors import StorageError, describe
from napari_cam_feedback.files import read_json, signature, write_json

INDEX_NAME = "masks.json"
#: What was added to the index since it was written, a line each.
JOURNAL_NAME = "masks.journal.jsonl"
SCHEMA_VERSION = 1
# The index is written anew once so much of it is new: a stroke costs the same however many masks there are.
_MAX_NEW_SHARE = 0.01
# Attempts to read two files of which another holder may put one in the other's place meanwhile.
_ATTEMPTS = 10

Entry = dict[str, Any]


class MaskIndex:
    """``masks.json`` with the lines of ``masks.journal.jsonl`` after it.

    Entries have ``size``, ``author`` and ``time``; ``revision``, another one at each writing; ``file`` where the mask is not
    in ``<key>.png``; and ``replaced``, a folder, where it took the place of another holder's mask that its painter had not
    seen. Whoever changes the index holds its lock.

    Parameters
    ----------
    folder : Path
        Of the masks.

    Raises
    ------
    StorageError
        It cannot be read, or a newer version of the program wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / INDEX_NAME
        self._journal = folder / JOURNAL_NAME
        self._seen: tuple[Any, Any] = (None, None)
        self._lines = 0
        self.entries: dict[str, Entry] = {}
        self.refresh()

    def _signatures(self) -> tuple[Any, Any]:
        return signature(self.path), signature(self._journal)

    def refresh(self) -> dict[str, Entry] | None:
        """Take over what others have written; return the entries as they were before, None where nothing is new."""
        seen = self._signatures()
        if seen == self._seen:
            return None
        before = self.entries
        for _ in range(_ATTEMPTS):
            entries = self._read() if self.path.exists() else {}
            lines = self._read_journal()
            again = self._signatures()
            # The lines after an index, not those after the one before.
            if again[0] == seen[0]:
                break
            seen = again
        for key, entry in lines:
            self._put(entries, key, entry)
        self.entries, self._lines, self._seen = entries, len(lines), seen
        return before

    def _read(self) -> dict[str, Entry]:
        content = read_json(self.path)
        masks = content.get("masks") if isinstance(content, dict) else None
        if not isinstance(masks, dict) or not all(isinstance(entry, dict) for entry in masks.values()):
            raise StorageError(f"{self.path} is not an index of masks; restore it or remove it.")
        schema = content.get("schema", 0)
        if isinstance(schema, int) and schema > SCHEMA_VERSION:
            raise StorageError(f"A newer version of napari-cam-feedback wrote {self.path}; update the plugin.")
        return masks

    def _read_journal(self) -> list[tuple[str, Entry | None]]:
        try:
            text = self._journal.read_bytes() if self._journal.is_file() else b""
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"Could not read {self._journal}: {describe(error)}") from error
        lines: list[tuple[str, Entry | None]] = []
        for line in text.splitlines():
            # A line that a crash has cut short costs author and time of one mask.
            try:
                found = json.loads(line)
                key = found.pop("key")
            except (ValueError, TypeError, AttributeError, KeyError):
                continue
            if isinstance(key, str):
                lines.append((key, None if "removed" in found else found))
        return lines

    def record(self, key: str, entry: Entry | None, *, in_batch: bool = False) -> None:
        """Note a mask that was written, None for one that was removed; in a batch, `write` comes at its end.

        Raises
        ------
        StorageError
            It cannot be written.
        """
        if in_batch or self._lines + 1 <= _MAX_NEW_SHARE * len(self.entries):
            self._append({"key": key, **({"removed": True} if entry is None else entry)}, flush=not in_batch)
            self._put(self.entries, key, entry)
        else:
            entries = dict(self.entries)
            self._put(entries, key, entry)
            self.write(entries)

    @staticmethod
    def _put(entries: dict[str, Entry], key: str, entry: Entry | None) -> None:
        if entry is None:
            entries.pop(key, None)
        else:
            entries[key] = entry

    def _append(self, line: Entry, *, flush: bool) -> None:
        try:
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            with self._journal.open("ab+") as file:
                # After a line that was cut short.
                if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                    file.write(b"\n")
                file.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")
                file.flush()
                if flush:
                    os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"Could not write {self._journal}: {describe(error)}") from error
        self._lines += 1
        self._seen = self._signatures()

    def write(self, entries: dict[str, Entry] | None = None) -> None:
        """Write the whole index, with these entries in place of the present ones; raises StorageError."""
        entries = self.entries if entries is None else entries
        if entries or self.path.exists() or self._lines:
            write_json(self.path, {"schema": SCHEMA_VERSION, "masks": dict(sorted(entries.items()))})
            # Where this fails, or the program ends here, what the index has already is read once more.
            try:
                self._journal.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"Could not remove {self._journal}: {describe(error)}") from error
        self.entries, self._lines, self._seen = entries, 0, self._signatures()

    @property
    def is_whole(self) -> bool:
        """Whether ``masks.json`` has everything."""
        return self._lines == 0
