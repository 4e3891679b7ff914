"""Several shortcuts: the loop gone round as often as the next one is named, against stopping after the first.

Digits with a tag in a corner and one or two more shortcuts: an edge of one pixel around, of a gray of its own for each
class; the brightness of the whole image, a step of 12 gray values for each; or both. In train and val each tells the
class, on test each is drawn for itself. A simulated user paints 20 tags, retunes, and then paints the place that is named
on the images offered and on those painted before, or has brightness and colour taken out besides, until none is named.

How far the model follows each shortcut is told on the test images where that one tells of a wrong class: the share predicted
as that class, less that predicted as any one other wrong class. What is named is right where it is one that is followed by
more than `USED`, and nothing named is right where none is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.retuning.tables import Cell, show, span, write_csv
from napari_cam_feedback.auditing import next_shortcuts
from napari_cam_feedback.auditing.cues import CUES
from napari_cam_feedback.data import ArrayDataset, make_sample
from napari_cam_feedback.data.samples.tag_digits import CODES, DARK, TAG, code
from napari_cam_feedback.evaluation import predict
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing
from napari_cam_feedback.retuning import find_colours, make_config, retune
from napari_cam_feedback.sample_models import SAMPLE_ARCH, SAMPLE_TRAINING
from napari_cam_feedback.steps import run_to_end
from napari_cam_feedback.training import train_classifier

SEEDS = (0, 1, 2)
MASKS, MAX_ROUNDS = 20, 5
MORE = (("edge",), ("brightness",), ("edge", "brightness"))
COLOUR = "brightness and colour"
#: Which shortcuts a cue holds; the others are places of the tag.
OF_CUE = {"border": {"edge"}, COLOUR: {"brightness"}, "surroundings": {"edge", "tag"}}
#: Share of the predictions beyond chance from which on a shortcut counts as used.
USED = 0.05


@dataclass(frozen=True)
class Shortcuts:
    """Digits with several shortcuts, and which class each of them tells of on the test images, (n,) int64 by its name."""

    dataset: ArrayDataset
    told: dict[str, np.ndarray]

    def followed(self, model: Classifier) -> dict[str, float]:
        """Return how far a model follows each."""
        found = predict(model, self.dataset, split="test")
        return {name: _followed(found.predicted, found.labels, told) for name, told in self.told.items()}


def _followed(predicted: np.ndarray, labels: np.ndarray, told: np.ndarray) -> float:
    wrong = told != labels
    share = float((predicted == told)[wrong].mean())
    others = float(((predicted != told) & (predicted != labels))[wrong].mean())
    return share - others / (len(CODES) - 2)


def make_shortcuts(seed: int, more: Sequence[str]) -> Shortcuts:
    """Return tagged digits whose ``edge`` or ``brightness``, or both, tell the class, too."""
    tags, rng = make_sample("tag-digits", seed), np.random.default_rng(seed + 77)
    classes = len(tags.class_names)
    images, labels, masks, on_test = {}, {}, {}, {}
    for split in tags.split_names:
        indices = tags.indices(split)
        labels[split] = tags.labels[indices].copy()
        told = dict.fromkeys(more, labels[split])
        if split.startswith("test"):
            told = {name: rng.integers(0, classes, len(indices)) for name in more}
        images[split] = np.stack([tags.read(int(index)) for index in indices])
        empty = np.zeros(images[split].shape[1:], bool)
        masks[split] = np.stack([empty if (m := tags.known_mask(int(index))) is None else m for index in indices])
        if split == "test":
            on_test = {"tag": _tags(images[split], masks[split]), **told}
        if "brightness" in more:
            lit = 0.5 * images[split] + 12.0 * told["brightness"].reshape(-1, *[1] * (images[split].ndim - 1))
            images[split] = lit.clip(0, 255).astype(np.uint8)
        if "edge" in more:
            gray = np.round(255 * told["edge"] / (classes - 1)).astype(np.uint8)[:, None]
            for edge in (images[split][:, 0], images[split][:, -1], images[split][:, :, 0], images[split][:, :, -1]):
                edge[:] = gray
    return Shortcuts(ArrayDataset(images, labels, tags.class_names, masks), on_test)


def _tags(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the class that each tag is of."""
    codes = np.stack([code(label).ravel() for label in range(len(CODES))]) > DARK
    shown = np.stack([image.reshape(mask.shape)[mask] for image, mask in zip(images, masks, strict=True)]) > DARK
    assert shown.shape[1] == TAG * TAG
    return (shown[:, None] == codes).all(2).argmax(1)


def rounds(seed: int, more: Sequence[str]) -> list[dict[str, Cell]]:
    """Return how the model stands before, and after each round."""
    made = make_shortcuts(seed, more)
    dataset = made.dataset
    start = build_classifier(SAMPLE_ARCH, dataset.class_names, default_preprocessing(dataset), seed=seed)
    model = run_to_end(train_classifier(start, dataset, SAMPLE_TRAINING.model_copy(update={"seed": seed})))
    rows = [_row(seed, 0, "", model, made)]
    masks, painted, style = known_masks(dataset, MASKS, seed=seed), "tag", None
    for number in range(1, MAX_ROUNDS + 1):
        result = run_to_end(retune(model, dataset, masks, make_config({"seed": seed}), style=style))
        model = result.classifier
        rows.append({**_row(seed, number, painted, model, made), "verdict": result.verdict.name})
        found = [
            each
            for each in next_shortcuts(model, dataset, masks, seed=seed)
            if each.keys or (style is None and each.cue == COLOUR)
        ]
        rows[-1] |= _named(found[0].cue if found else None, rows[-1], made)
        if not found:
            break
        painted = found[0].cue
        if painted == COLOUR:
            style = find_colours(model.preprocessing, dataset)
            continue
        place = next(cue.place for cue in CUES if cue.name == painted)
        assert place is not None
        for key in (*masks, *found[0].keys):
            size = dataset.image_size(dataset.index_of(key))
            masks[key] = place(*size) | masks.get(key, np.zeros(size, bool))
    return rows


def _row(seed: int, number: int, painted: str, model: Classifier, made: Shortcuts) -> dict[str, Cell]:
    found = predict(model, made.dataset, split="test")
    accuracy = float((found.predicted == found.labels).mean())
    return {"seed": seed, "round": number, "painted": painted, "test": accuracy, **made.followed(model)}


def _named(cue: str | None, row: dict[str, Cell], made: Shortcuts) -> dict[str, Cell]:
    """Return what was named, and whether that is right."""
    used = {name for name in made.told if float(str(row[name])) > USED}
    return {"next": cue or "none", "right": not used if cue is None else bool(OF_CUE.get(cue, {"tag"}) & used)}


def main(words: Sequence[str] = ()) -> None:
    """Print every round of every seed, then the means; write ``rounds.csv``."""
    chosen = [more for more in MORE if not words or "+".join(more) in words]
    rows: list[dict[str, Cell]] = []
    for more in chosen:
        for seed in SEEDS:
            rows += [{"besides": "+".join(more), **row} for row in rounds(seed, more)]
            print(show(rows[-MAX_ROUNDS - 1 :]), flush=True)
            write_csv("rounds", rows)
    for more in chosen:
        own = [row for row in rows if row["besides"] == "+".join(more)]
        first = [float(str(row["test"])) for row in own if row["round"] == 1]
        last = [float(str([row for row in own if row["seed"] == seed][-1]["test"])) for seed in SEEDS]
        named = [bool(row["right"]) for row in own if "right" in row]
        print(f"tag and {' and '.join(more)}: on test {span(first)} after the first round, {span(last)} after the last;")
        print(f"what was named next was right after {sum(named)} of {len(named)} rounds")
