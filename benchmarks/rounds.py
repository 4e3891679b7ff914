"""Several shortcuts: the loop gone round as often as the next one is named, against stopping after the first.

Digits with a tag in a corner and a second shortcut: an edge of one pixel around, of a gray of its own for each class; or
the brightness of the whole image, a step of 12 gray values for each. In train and val both tell the class, on test both are
drawn at random. A simulated user paints 20 tags, retunes, and then paints the place that is named on the images offered and
on those painted before, or has brightness and colour taken out besides, until none is named any more.
"""

from __future__ import annotations

import numpy as np

from benchmarks.retuning.tables import Cell, show, span, write_csv
from napari_cam_feedback.auditing import next_shortcuts
from napari_cam_feedback.auditing.cues import CUES
from napari_cam_feedback.data import ArrayDataset, make_sample
from napari_cam_feedback.evaluation import evaluate
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing
from napari_cam_feedback.retuning import find_colours, make_config, retune
from napari_cam_feedback.sample_models import SAMPLE_ARCH, SAMPLE_TRAINING
from napari_cam_feedback.steps import run_to_end
from napari_cam_feedback.training import train_classifier

SEEDS = (0, 1, 2)
MASKS, MAX_ROUNDS = 20, 4
SECOND = ("edge", "brightness")
COLOUR = "brightness and colour"


def two_shortcuts(seed: int, second: str) -> ArrayDataset:
    """Return tagged digits whose ``edge`` or ``brightness`` tells the class, too."""
    tags, rng = make_sample("tag-digits", seed), np.random.default_rng(seed + 77)
    classes = len(tags.class_names)
    images, labels, masks = {}, {}, {}
    for split in tags.split_names:
        indices = tags.indices(split)
        labels[split] = tags.labels[indices].copy()
        told = rng.integers(0, classes, len(indices)) if split.startswith("test") else labels[split]
        images[split] = np.stack([tags.read(int(index)) for index in indices])
        if second == "brightness":
            lit = 0.5 * images[split] + 12.0 * told.reshape(-1, *[1] * (images[split].ndim - 1))
            images[split] = lit.clip(0, 255).astype(np.uint8)
        else:
            gray = np.round(255 * told / (classes - 1)).astype(np.uint8)[:, None]
            for edge in (images[split][:, 0], images[split][:, -1], images[split][:, :, 0], images[split][:, :, -1]):
                edge[:] = gray
        empty = np.zeros(images[split].shape[1:], bool)
        masks[split] = np.stack([empty if (m := tags.known_mask(int(index))) is None else m for index in indices])
    return ArrayDataset(images, labels, tags.class_names, masks)


def rounds(seed: int, second: str) -> list[dict[str, Cell]]:
    """Return how the model stands before, and after each round."""
    dataset = two_shortcuts(seed, second)
    start = build_classifier(SAMPLE_ARCH, dataset.class_names, default_preprocessing(dataset), seed=seed)
    model = run_to_end(train_classifier(start, dataset, SAMPLE_TRAINING.model_copy(update={"seed": seed})))
    rows = [_row(seed, 0, "", model, dataset)]
    masks, painted, style = known_masks(dataset, MASKS, seed=seed), "tag", None
    for number in range(1, MAX_ROUNDS + 1):
        result = run_to_end(retune(model, dataset, masks, make_config({"seed": seed}), style=style))
        model = result.classifier
        rows.append({**_row(seed, number, painted, model, dataset), "verdict": result.verdict.name})
        found = [
            each
            for each in next_shortcuts(model, dataset, masks, seed=seed)
            if each.keys or (style is None and each.cue == COLOUR)
        ]
        rows[-1]["next"] = found[0].cue if found else "none"
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


def _row(seed: int, number: int, painted: str, model: Classifier, dataset: ArrayDataset) -> dict[str, Cell]:
    accuracy = evaluate(model, dataset, splits=["test"]).splits["test"].accuracy
    return {"seed": seed, "round": number, "painted": painted, "test": accuracy, "verdict": "", "next": ""}


def main() -> None:
    """Print every round of every seed, then the means; write ``rounds.csv``."""
    rows = [{"second": second, **row} for second in SECOND for seed in SEEDS for row in rounds(seed, second)]
    write_csv("rounds", rows)
    print(show(rows))
    for second in SECOND:
        own = [row for row in rows if row["second"] == second]
        first = [float(str(row["test"])) for row in own if row["round"] == 1]
        last = [float(str([row for row in own if row["seed"] == seed][-1]["test"])) for seed in SEEDS]
        print(f"tag and {second}: accuracy on test after the first round {span(first)}, after the last one {span(last)}")
