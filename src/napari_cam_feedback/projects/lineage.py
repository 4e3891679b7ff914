"""The tree of a project's versions: which came from which, and in a few words what was done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from napari_cam_feedback.projects.manifest import Version


@dataclass(frozen=True)
class TreeRow:
    """One version at its place in the tree.

    Attributes
    ----------
    version : Version
        The version; those that were deleted are in the tree too, since others come from them.
    depth : int
        0 for a version without a parent.
    lines : str
        What is drawn before its name where the tree is text: ``├─``, ``│`` and ``└─``.
    """

    version: Version
    depth: int
    lines: str


def lineage(versions: Iterable[Version]) -> list[TreeRow]:
    """Return the versions as a tree in which each stands below its parent, the older branch first.

    A version whose parent is not among them stands at the root.
    """
    versions = tuple(versions)
    known = {version.id for version in versions}
    children: dict[str | None, list[Version]] = {}
    for version in versions:
        children.setdefault(version.parent if version.parent in known else None, []).append(version)
    rows: list[TreeRow] = []
    # Not by recursion: a chain of a thousand retunes is a tree as well. Of each: what stands before it and its children.
    waiting = [(version, 0, "", "") for version in reversed(children.get(None, []))]
    while waiting:
        version, depth, lines, below = waiting.pop()
        rows.append(TreeRow(version, depth, lines))
        own = children.get(version.id, [])
        for child in reversed(own):
            branch, beside = ("└─ ", "   ") if child is own[-1] else ("├─ ", "│  ")
            waiting.append((child, depth + 1, below + branch, below + beside))
    return rows


def describe_version(version: Version) -> str:
    """Return in a few words how a version came to be."""
    if version.method is None:
        return version.origin
    if version.iterations is None:
        return version.method
    if version.iterations == 0:
        return f"{version.method}, unchanged: nothing better was found"
    return f"{version.method}, {version.iterations} {'iteration' if version.iterations == 1 else 'iterations'}"
