"""Holders of one project in processes of their own, which do random things to it, and what must be there afterwards.

A holder writes into its log what it began and what it was told is done; whatever was told as done must be found. Each
stroke paints a pixel that is nobody else's and of no other image, so that what is lost or mixed up is seen.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.feedback import MaskStore, Proposal, ProposalStore, export_masks
from napari_cam_feedback.files import write_json
from napari_cam_feedback.projects import ProjectFolder
from napari_cam_feedback.projects.copying import copy_project
from napari_cam_feedback.projects.manifest import State, Version, now
from napari_cam_feedback.projects.runs import copy_masks

#: Of each kind of name that was ever mixed up or could not be written.
KEYS = ("train/a/0.png", "train/a/0.png.jpg", "train/A/0.png", "train/10:30/2024-05-01T10:20:31.png", f"val/{'x' * 220}.png")
SIDE = 128
_OF_KEY = SIDE * SIDE // len(KEYS)
_OF_HOLDER = _OF_KEY // 16
# Forked, they need not import anything again.
_PROCESSES = multiprocessing.get_context("fork")


def new_project(folder: Path) -> Path:
    """Make a project whose versions' weights are any bytes and whose images nobody needs."""
    first = Version(id="v001", created=now(), origin="loaded")
    (folder / "versions").mkdir(parents=True)
    (folder / "versions/v001.safetensors").write_text("v001")
    state = State(dataset="../data", current="v001", versions=[first])
    write_json(folder / "project.json", state.model_dump(mode="json"))
    return folder


class NotingStore(MaskStore):
    """Masks of which is known what was added last: another holder may propose a mask anew while one is accepted."""

    added = -1

    def add(self, key: str, mask: np.ndarray, **more: Any) -> bool:
        self.added = int(np.flatnonzero(mask)[0])
        return super().add(key, mask, **more)


class Holder:
    """One window or shell that has the project open."""

    def __init__(self, folder: Path, number: int, seed: int, log: Path) -> None:
        self.name, self.number, self.random = f"holder {number}", number, random.Random(seed)
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.folder = folder
        self.project = ProjectFolder(folder)
        self.masks = NotingStore(folder / "masks", author=self.name)
        self.proposals = ProposalStore(folder / "proposals")
        self.strokes = 0

    def note(self, **what: Any) -> None:
        """Write what was begun or is done, so that a kill does not take it back."""
        os.write(self.log, json.dumps(what).encode() + b"\n")

    def act(self, actions: Iterable[str] = ()) -> None:
        """Do something, one of the actions or any."""
        getattr(self, self.random.choice(tuple(actions) or ACTIONS))()

    def _painted(self) -> tuple[str, int, np.ndarray]:
        """An image, a pixel of it that nobody has painted, and a mask with it."""
        which = self.random.randrange(len(KEYS))
        pixel = which * _OF_KEY + self.number * _OF_HOLDER + self.strokes % _OF_HOLDER
        self.strokes += 1
        mask = np.zeros((SIDE, SIDE), bool)
        mask.flat[pixel] = True
        return KEYS[which], pixel, mask

    def stroke(self) -> None:
        key, pixel, mask = self._painted()
        before = self.masks[key] if key in self.masks else np.zeros_like(mask)
        self.masks.put(key, before | mask)
        self.note(painted=[key, pixel])

    def import_one(self) -> None:
        key, pixel, mask = self._painted()
        if self.masks.add(key, mask):
            self.note(painted=[key, pixel])

    def propose(self) -> None:
        key, _, mask = self._painted()
        self.proposals.add([Proposal(KEYS.index(key), key, mask, "place", 0.5, "")], masks=self.masks)

    def accept(self) -> None:
        for key in self.proposals.keys()[:1]:
            with suppress(StorageError):  # answered by another
                if self.proposals.accept([key], self.masks):
                    self.note(painted=[key, self.masks.added])

    def reject(self) -> None:
        for key in self.proposals.keys()[:1]:
            with suppress(StorageError):  # answered by another
                self.proposals.reject([key])

    def keep(self) -> None:
        content = f"{self.name} {self.random.random()}"

        def record(folder: Path, kept: str) -> None:
            copy_masks(self.masks.select(KEYS[:1]), folder / "masks", about=self.masks)
            write_json(folder / "result.json", {"kept": kept, "content": content})

        parent = self.project.current.id
        kept = self.project.add_version(
            parent, method="pas", masks=1, save=lambda path: path.write_text(content), record=record
        )
        self.note(kept=[kept.id, content])

    def select(self) -> None:
        with suppress(StorageError):  # deleted by another
            self.project.select(self.random.choice(self.project.available).id)

    def delete(self) -> None:
        version = self.random.choice(self.project.available).id
        self.note(deleting=version)
        try:
            self.project.delete(version)
        except StorageError:
            return  # in use, the only one, or deleted by another
        self.note(deleted=version)

    def move(self) -> None:
        self.project.remember(**{self.random.choice(("item", "target")): self.random.random()})

    def look(self) -> None:
        self.project.refresh()
        self.masks.refresh()
        self.proposals.refresh()

    def copy(self) -> None:
        copy_project(self.project, self.folder.with_name(f"copy-{self.number}-{self.random.random()}"))

    def export(self) -> None:
        name = f"export-{self.number}-{self.random.random()}"
        kind, ending = self.random.choice((("png", ""), ("npz", ".npz"), ("coco", ".json")))
        export_masks(self.masks.select(KEYS), self.folder.with_name(name + ending), kind)


#: What holders of one project do at the same time.
ACTIONS = (
    "stroke",
    "stroke",
    "stroke",
    "import_one",
    "propose",
    "accept",
    "reject",
    "keep",
    "select",
    "delete",
    "move",
    "copy",
    "look",
)
#: Everything that writes.
WRITERS = (*dict.fromkeys(ACTIONS[:-1]), "export")


def _live(folder: Path, number: int, seed: int, log: Path, count: int, actions: tuple[str, ...]) -> None:
    holder = Holder(folder, number, seed, log)
    for _ in range(count):
        holder.act(actions)


def start(folder: Path, number: int, seed: int, log: Path, count: int, actions: tuple[str, ...] = ()) -> Any:
    """Start a holder that does so many things."""
    process = _PROCESSES.Process(target=_live, args=(folder, number, seed, log, count, actions))
    process.start()
    return process


def run_round(folder: Path, seed: int, holders: int = 3, count: int = 10) -> None:
    """Let some holders have a project at the same time, and see that all is there that was told as done."""
    new_project(folder)
    logs = [folder.with_name(f"log-{seed}-{number}") for number in range(holders)]
    living = [start(folder, number, 1000 * seed + number, log, count) for number, log in enumerate(logs)]
    for process in living:
        process.join(120)
        assert process.exitcode == 0, f"round {seed}: a holder ended with {process.exitcode}"
    check(folder, logs)


def kill_one(folder: Path, number: int, seed: int, log: Path, action: str) -> bool:
    """Start a holder that does one thing again and again, kill it at some moment; return whether it was killed."""
    process = start(folder, number, seed, log, 1000, (action,))
    time.sleep(random.Random(seed).uniform(0.02, 0.3))
    killed = process.is_alive()
    process.kill()  # does nothing where it has ended meanwhile
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), f"{action} failed in kill {seed}"
    return killed


def check(folder: Path, logs: Iterable[Path]) -> None:
    """Raise AssertionError unless a project has all that its holders were told is done, and nothing mixed up."""
    told = [json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines()]
    _check_versions(folder, told)
    _check_masks(folder, told)
    ProposalStore(folder / "proposals")
    for copy in folder.parent.glob("copy-*"):
        # Of a moment, whatever others did meanwhile.
        assert all(ProjectFolder(copy).weights(v.id).is_file() for v in ProjectFolder(copy).available)
        assert all(MaskStore(copy / "masks")[key].any() for key in MaskStore(copy / "masks"))


def _check_versions(folder: Path, told: list[dict[str, Any]]) -> None:
    project = ProjectFolder(folder)
    kept = [tuple(each["kept"]) for each in told if "kept" in each]
    assert len({name for name, _ in kept}) == len(kept), "two versions have one number"
    begun, deleted = ({each[what] for each in told if what in each} for what in ("deleting", "deleted"))
    for name, content in kept:
        version = project.version(name)
        if version.deleted is None:
            assert name not in deleted, f"{name} was deleted and is back"
            assert project.weights(name).read_text() == content, f"{name} has another's weights"
        else:
            assert name in begun, f"{name} is deleted and nobody did it"
        assert json.loads((folder / "runs" / str(version.run) / "result.json").read_text())["content"] == content
    for version in project.available:
        assert project.weights(version.id).stat().st_size > 0, f"{version.id} has no weights"
    assert project.current.deleted is None


def _check_masks(folder: Path, told: list[dict[str, Any]]) -> None:
    stores = [MaskStore(each) for each in (folder / "masks", *(folder / "masks-replaced").glob("*"))]
    found: dict[str, np.ndarray] = {}
    for store in stores:
        for key in store:
            assert key in KEYS, f"a mask of {key}, which is no image"
            mask = store[key]
            found[key] = found.get(key, False) | mask
            own = np.zeros(SIDE * SIDE, bool)
            own[KEYS.index(key) * _OF_KEY : (KEYS.index(key) + 1) * _OF_KEY] = True
            assert not (mask.ravel() & ~own).any(), f"{key} has strokes of another image"
    for key, pixel in (each["painted"] for each in told if "painted" in each):
        assert key in found, f"the mask of {key} is gone"
        assert found[key].flat[pixel], f"a stroke on {key} is gone"
    for key in stores[0]:
        # Whoever was killed between a mask and its entry wrote no author.
        assert str(stores[0].info(key).get("author") or "holder").startswith(("holder", "proposed"))


def run_all(targets: list[Callable[[], None]]) -> list[int]:
    """Run functions at the same time, each in a process of its own; return their exit codes."""
    processes = [_PROCESSES.Process(target=target) for target in targets]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [-1 if process.exitcode is None else process.exitcode for process in processes]
