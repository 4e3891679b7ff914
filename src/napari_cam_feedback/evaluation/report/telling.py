"""What a comparison comes to, before any table: the verdict in one sentence, the three numbers, and what to do next."""

from __future__ import annotations

from napari_cam_feedback.evaluation.key_numbers import AS_IT_IS, CHANGED, CONFLICT, KeyNumber
from napari_cam_feedback.evaluation.versions import VersionComparison

_MEASURES = ((AS_IT_IS, "accuracy"), (CONFLICT, "swap_accuracy"), (CHANGED, "swap_flip_rate"))


def key_numbers(comparison: VersionComparison, number: int = 1) -> tuple[KeyNumber, ...]:
    """Return the three numbers of a version beside the first one, on the split that tells most.

    Parameters
    ----------
    comparison : VersionComparison
        Two or more versions.
    number : int
        Of which version (1 to V - 1).

    Returns
    -------
    tuple of KeyNumber
        One or three: without masks nothing is known but the accuracy.
    """
    split = comparison.headline
    rows = {row.measure: row for row in comparison.rows[number - 1] if row.split == split}
    results = comparison.evaluations[0].splits
    reasons = None if split is None else results[split].right_reasons
    found = []
    for name, measure in _MEASURES:
        row = rows.get(measure)
        if row is None or split is None:
            continue
        images = f"{results[split].n} images of {split}" if measure == "accuracy" else _masked(split, reasons)
        sure = row.certainty
        before, after = (None, None) if sure is None else (sure.before, sure.after)
        found.append(KeyNumber(name, images, row.before, row.after, before, after, row.mark))
    return tuple(found)


def _masked(split: str, reasons: object) -> str:
    count = getattr(reasons, "n", 0)
    return f"{count} painted images of {split}, another class's marker pasted in"


def verdict_of(comparison: VersionComparison, number: int = 1) -> str:
    """Return in one sentence whether a version depends less on what is painted than the first one, and how right it is."""
    first, name = comparison.names[0], comparison.names[number]
    numbers = {each.name: each for each in key_numbers(comparison, number)}
    plain = numbers.get(AS_IT_IS)
    if plain is None:
        return "Nothing could be compared."
    right = {
        "better": "is right more often on the images as they are",
        "worse": "is right less often on the images as they are",
    }.get(plain.mark, "is as right on the images as they are, as far as these tell")
    changed = numbers.get(CHANGED)
    if changed is None:
        return f"{name} {right}, compared with {first}."
    depends = {"better": "depends less", "worse": "depends more"}.get(changed.mark, "depends no less")
    joined = "but" if (changed.mark == "better") == (plain.mark == "worse") and plain.mark else "and"
    return f"{name} {depends} on what is painted than {first}, {joined} {right}."


def advice(comparison: VersionComparison, number: int = 1) -> str:
    """Return in a sentence or two what to do next."""
    name = comparison.names[number]
    numbers = {each.name: each for each in key_numbers(comparison, number)}
    plain, changed = numbers.get(AS_IT_IS), numbers.get(CHANGED)
    if plain is None or changed is None:
        return (
            "Paint what is irrelevant on ten images or more: without masks nobody can tell whether a model is right for the "
            "right reasons."
        )
    if changed.mark == "better" and plain.mark != "worse":
        return (
            f"Keep {name}, and look at its heatmaps again: a model may turn to the next shortcut. If it does, paint that "
            "and retune again."
        )
    if changed.mark == "better":
        return (
            "Look at the images that were right and are wrong now (Changed predictions): where the marker had told the "
            "class, fewer right answers are no loss; else take weights nearer to the old ones, or paint more images of "
            "these classes."
        )
    return (
        f"Do not keep {name} for what is painted. See whether the masks cover what the heatmap shows, paint more images on "
        "which it matters, and retune again."
    )
