"""What the user has agreed to in this window: that code of a model runs, that weights are downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_cam_feedback.errors import ConsentNeeded
from napari_cam_feedback.model_names import Architecture, without_one_output

#: What a consent is about: a file with its time and size, since another content asks for another consent; or a name.
Subject = tuple[str, int, int]


class ConsentRequest(ConsentNeeded):
    """A `ConsentNeeded` together with what it is about."""

    def __init__(self, need: ConsentNeeded, subject: Subject) -> None:
        super().__init__(str(need), kind=need.kind, question=need.question)
        self.subject = subject


class Consents:
    """The consents given so far; asked for from a worker, added to on the main thread."""

    def __init__(self) -> None:
        self._given: set[tuple[str, Subject]] = set()

    def given(self, kind: str, subject: Subject) -> bool:
        """Whether the user has agreed to this."""
        return (kind, subject) in self._given

    def give(self, request: ConsentRequest) -> None:
        """Note that the user agrees."""
        self._given.add((request.kind, request.subject))


@contextmanager
def asking(subject: Subject) -> Iterator[None]:
    """Say what a `ConsentNeeded` raised in here is about."""
    try:
        yield
    except ConsentNeeded as need:
        raise ConsentRequest(need, subject) from need


def subject_of(model: Path | str, arch: str | None) -> Subject:
    """Return what a consent to loading `model` is about: the file whose code would run, else the model itself.

    Parameters
    ----------
    model : Path or str
        Model file, or ``torchvision:NAME``.
    arch : str or None
        Its architecture as the user or its header names it.
    """
    if isinstance(model, str):
        return model, 0, 0
    path = code_file(arch, model) if arch else None
    path = model if path is None else path
    try:
        found = path.stat()
        return str(path.resolve()), found.st_mtime_ns, found.st_size
    except OSError:
        return str(path), 0, 0


def code_file(arch: str, model: Path) -> Path | None:
    """Return the file of an architecture that is code, None where it is a name of ours, torchvision's or timm's.

    Where it is not at the place that is named, it is looked for beside the weights.
    """
    named = Architecture.of(without_one_output(arch))
    if not named.runs_code or named.file is None:
        return None
    path = named.file.expanduser()
    beside = model.parent / path.name
    return beside if not path.is_file() and beside.is_file() else path
