"""Merging the masks of two people: what only one has, what is the same, where they differ, and who is right."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import numpy as np

from napari_cam_feedback.errors import ConfigError, MaskError
from napari_cam_feedback.feedback.exchange.fitting import FittingMasks
from napari_cam_feedback.feedback.masks.names import without_ending
from napari_cam_feedback.feedback.masks.store import MaskStore
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor

Choice = Literal["mine", "theirs", "union", "intersection", "newest"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
_NAMED = 5


@dataclass(frozen=True)
class Side:
    """One of the two masks of an image.

    Attributes
    ----------
    name : str
        Its key in its set; a set in the layout of known masks leaves out the image's ending.
    size : tuple of int
        (H, W).
    painted : int
        Painted pixels.
    author, time : str or None
        As the index of its set has them; the file's own time where that has none.
    """

    name: str
    size: tuple[int, int]
    painted: int
    author: str | None
    time: str | None


@dataclass(frozen=True)
class Conflict:
    """Two masks of one image that differ.

    Attributes
    ----------
    key : str
        The image's.
    mine, theirs : Side
        The two masks.
    iou : float or None
        Pixels painted by both over pixels painted by either, 0 to 1; None where they are of different sizes.
    """

    key: str
    mine: Side
    theirs: Side
    iou: float | None


@dataclass
class MaskDifferences:
    """How two sets of masks differ.

    Attributes
    ----------
    only_mine, only_theirs, equal : list of str
        Keys of images that only one set has a mask of, or that have the same in both.
    conflicts : dict
        By key, those that differ.
    unreadable : dict
        Keys of masks that cannot be read, and why; they are left out of a merge.
    """

    only_mine: list[str] = field(default_factory=list)
    only_theirs: list[str] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    conflicts: dict[str, Conflict] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "only_mine": self.only_mine,
            "only_theirs": self.only_theirs,
            "equal": self.equal,
            "conflicts": [
                {"key": each.key, "iou": each.iou, "mine": vars(each.mine), "theirs": vars(each.theirs)}
                for each in self.conflicts.values()
            ],
            "unreadable": self.unreadable,
        }


@dataclass
class MergedMasks:
    """What a merge came to.

    Attributes
    ----------
    taken : dict
        By key, what was written: ``mine``, ``theirs``, ``same``, ``union`` or ``intersection``.
    empty : list of str
        Keys of images of which nothing is left, since the two masks have no pixel in common.
    kept : list of str
        Where mine was changed in place: keys whose masks differ and nobody chose, so that mine stayed.
    """

    taken: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@takes_monitor
def compare_masks(
    mine: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], *, monitor: Monitor = QUIET
) -> MaskDifferences:
    """Compare two sets of masks image by image.

    Parameters
    ----------
    mine, theirs : mapping
        Key to (H, W) bool: `MaskStore`, or what `find_masks` or `fitting_masks` found.
    monitor : Monitor, optional
        Told of images done and images in all.
        Asked between images whether to stop; those compared so far are returned.
    """
    found = MaskDifferences()
    pairs = _pairs(mine, theirs)
    for done, (key, (name_mine, name_theirs)) in enumerate(sorted(pairs.items()), 1):
        if monitor.stopped:
            break
        try:
            _compare(found, key, mine, name_mine, theirs, name_theirs)
        except (MaskError, KeyError) as error:
            found.unreadable[key] = str(error)
        monitor.progress(done, len(pairs))
    return found


def _pairs(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """Return by image its key in both sets; one may leave out the image's ending, as known masks do."""
    pairs: dict[str, tuple[str | None, str | None]] = {key: (key, None) for key in mine}
    bare: dict[str, str | None] = {}
    for key in mine:
        # Two images that differ in their endings only cannot be told apart without them.
        if (ending_less := without_ending(key)) is not None:
            bare[ending_less] = None if ending_less in bare else key
    for name in theirs:
        ending_less = without_ending(name)
        same = name if name in pairs else bare.get(name) or (ending_less if ending_less in pairs else None)
        if same is None:
            pairs[name] = (None, name)
        else:
            # The longer one is the image's own.
            pairs.pop(same, None)
            pairs[max(same, name, key=len)] = (same, name)
    return pairs


def _compare(
    found: MaskDifferences,
    key: str,
    mine: Mapping[str, np.ndarray],
    name_mine: str | None,
    theirs: Mapping[str, np.ndarray],
    name_theirs: str | None,
) -> None:
    one = None if name_mine is None else mine[name_mine]
    other = None if name_theirs is None else theirs[name_theirs]
    if one is None or other is None:
        (found.only_theirs if one is None else found.only_mine).append(key)
    elif np.array_equal(one, other):
        found.equal.append(key)
    else:
        assert name_mine is not None
        assert name_theirs is not None
        found.conflicts[key] = Conflict(
            key, _side(mine, name_mine, one), _side(theirs, name_theirs, other), overlap_of(one, other)
        )


def overlap_of(mine: np.ndarray, theirs: np.ndarray) -> float | None:
    """Return the intersection over union of two masks (H, W), 1 where both are empty; None if their sizes differ."""
    if mine.shape != theirs.shape:
        return None
    either = int(np.count_nonzero(mine | theirs))
    return int(np.count_nonzero(mine & theirs)) / either if either else 1.0


def _side(masks: Mapping[str, np.ndarray], name: str, mask: np.ndarray) -> Side:
    author, time = _about(masks, name)
    return Side(name, (int(mask.shape[0]), int(mask.shape[1])), int(np.count_nonzero(mask)), author, time)


def _about(masks: Mapping[str, np.ndarray], name: str) -> tuple[str | None, str | None]:
    """Return author and time of a mask."""
    if not isinstance(masks, MaskStore | FittingMasks):
        return None, None
    info = masks.info(name)
    time = info.get("time")
    file = masks.file(name)
    if not isinstance(time, str) and file is not None:
        time = datetime.fromtimestamp(os.stat(file).st_mtime, UTC).isoformat(timespec="seconds")  # noqa: PTH116
    author = info.get("author")
    return author if isinstance(author, str) else None, time


@takes_monitor
def merge_masks(
    mine: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
    out: MaskStore,
    *,
    conflicts: str | None = None,
    choices: Mapping[str, str] | None = None,
    found: MaskDifferences | None = None,
    monitor: Monitor = QUIET,
) -> MergedMasks:
    """Write the masks of two people into a third, empty set; both stay as they are.

    A mask keeps its author and time; one made of both has both authors and the time of the merge.

    Parameters
    ----------
    mine, theirs : mapping
        Key to (H, W) bool.
    out : MaskStore
        Where the masks go; without any yet.
    conflicts : str, optional
        What to take where they differ, one of `CHOICES`; without it, every conflict must be in `choices`.
    choices : mapping, optional
        By key, what to take of this image.
    found : MaskDifferences, optional
        As `compare_masks` returned it.
    monitor : Monitor, optional
        As of `compare_masks`.

    Raises
    ------
    ConfigError
        There is no such choice.
    MaskError
        Conflicts are left, two masks of different sizes are to be joined, or `out` has masks; nothing is written.
    StorageError
        A mask could not be written; `out` has those before it.
    """
    if len(out):
        raise MaskError(
            f"There are masks in {out.folder} already; choose a new folder for the merged ones, so that none is lost."
        )
    found = compare_masks(mine, theirs) if found is None else found
    chosen = _chosen(found, conflicts, choices or {})
    open_ = [key for key in found.conflicts if key not in chosen]
    if open_:
        some = ", ".join(open_[:_NAMED]) + (", …" if len(open_) > _NAMED else "")
        raise MaskError(
            f"{len(open_)} {'image has' if len(open_) == 1 else 'images have'} two different masks ({some}); say which to "
            f"take ({', '.join(CHOICES)}), for all or for one image.",
            field=("conflicts", "choices"),
        )
    pairs, result = _pairs(mine, theirs), MergedMasks()
    every = [
        *((key, "mine") for key in found.only_mine),
        *((key, "theirs") for key in found.only_theirs),
        *((key, "same") for key in found.equal),
        *chosen.items(),
    ]
    with out.batch():
        for done, (key, choice) in enumerate(sorted(every), 1):
            if monitor.stopped:
                break
            _write(out, key, choice, (mine, pairs[key][0]), (theirs, pairs[key][1]), result)
            monitor.progress(done, len(every))
    return result


@takes_monitor
def merge_into(
    mine: MaskStore,
    theirs: Mapping[str, np.ndarray],
    replaced: MaskStore,
    *,
    choices: Mapping[str, str],
    monitor: Monitor = QUIET,
) -> MergedMasks:
    """Bring somebody's masks into mine; every mask of mine that is changed is copied into another set first.

    Masks are read now: where somebody painted since the choices were made, the choice counts for what is there.

    Parameters
    ----------
    mine : MaskStore
        What is changed.
    theirs : mapping
        Key to (H, W) bool.
    replaced : MaskStore
        Where those of mine go that are changed, with author and time.
    choices : mapping
        By key, what to take where the two differ; mine stays where it says nothing.
    monitor : Monitor, optional
        As of `compare_masks`.

    Raises
    ------
    ConfigError, MaskError, StorageError
        As of `merge_masks`; masks are changed one after the other.
    """
    found = compare_masks(mine, theirs)
    chosen = _chosen(found, None, choices)
    pairs = _pairs(mine, theirs)
    result = MergedMasks(kept=[key for key in found.conflicts if key not in chosen])
    new = [key for key in found.only_theirs if choices.get(key) != "mine"]
    every = [*((key, "theirs") for key in new), *((key, choice) for key, choice in chosen.items() if choice != "mine")]
    with mine.batch(), replaced.batch():
        for done, (key, choice) in enumerate(sorted(every), 1):
            if monitor.stopped:
                break
            name, name_theirs = pairs[key]
            if name is not None:
                author, time = _about(mine, name)
                replaced.put(key, mine[name], author=author or "", time=time)
                _write(mine, key, choice, (mine, name), (theirs, name_theirs), result)
            else:
                author, time = _about(theirs, name_theirs or key)
                # Somebody may be painting this image now.
                if mine.add(key, theirs[name_theirs or key], author=author or "", time=time):
                    result.taken[key] = choice
                else:
                    result.kept.append(key)
            monitor.progress(done, len(every))
    return result


def _chosen(found: MaskDifferences, conflicts: str | None, choices: Mapping[str, str]) -> dict[str, str]:
    """Return what to take of every conflict that somebody decided on, ``newest`` as the side that is."""
    for choice in (*choices.values(), *([conflicts] if conflicts is not None else [])):
        if choice not in CHOICES:
            raise ConfigError(f"{choice!r} is no way to settle a conflict; choose one of {', '.join(CHOICES)}.")
    unknown = next((key for key in choices if key not in found.conflicts), None)
    if unknown is not None and unknown not in {*found.only_mine, *found.only_theirs, *found.equal, *found.unreadable}:
        raise ConfigError(f"There is no mask of {unknown!r} to choose; check the key.")
    chosen = {}
    for key, conflict in found.conflicts.items():
        wanted = choices.get(key) or conflicts
        if wanted is None:
            continue
        choice = wanted
        if choice == "newest":
            choice = "theirs" if _moment(conflict.theirs) > _moment(conflict.mine) else "mine"
        if choice in ("union", "intersection") and conflict.iou is None:
            one, other = ("x".join(map(str, side.size)) for side in (conflict.mine, conflict.theirs))
            raise MaskError(
                f"The masks of {key} have {one} and {other} pixels, so that they cannot be joined; choose mine or theirs "
                "for this image."
            )
        chosen[key] = choice
    return chosen


def _moment(side: Side) -> float:
    try:
        moment = datetime.fromisoformat(side.time or "")
    except ValueError:
        return float("-inf")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _write(
    out: MaskStore,
    key: str,
    choice: str,
    mine: tuple[Mapping[str, np.ndarray], str | None],
    theirs: tuple[Mapping[str, np.ndarray], str | None],
    result: MergedMasks,
) -> None:
    """Write one image's mask; each side is a set of masks and the image's name in it."""
    if choice in ("union", "intersection"):
        one, other = (masks[name or key] for masks, name in (mine, theirs))
        mask = one | other if choice == "union" else one & other
        authors = [author for masks, name in (mine, theirs) if (author := _about(masks, name or key)[0])]
        author, time = " + ".join(dict.fromkeys(authors)), None
    else:
        masks, name = theirs if choice == "theirs" else mine
        mask = masks[name or key]
        author, time = _about(masks, name or key)
    # Empty for nobody known: it must not become the store's own author.
    out.put(key, mask, author=author or "", time=time)
    result.taken[key] = choice
    if not mask.any():
        result.empty.append(key)
