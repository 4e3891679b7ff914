"""Train the sample models that the package ships: ``python -m benchmarks.make_sample_models [SAMPLE ...]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from napari_cam_feedback.data import SAMPLES, make_sample
from napari_cam_feedback.demo import SAMPLE_SEED, train_sample_model
from napari_cam_feedback.models import save_classifier

FOLDER = Path(__file__).parents[1] / "sample_data"


def main(names: Sequence[str] = ()) -> None:
    """Write ``sample_data/<sample>/model.safetensors`` for these samples; for every one where none is named."""
    for name in names or SAMPLES:
        classifier = train_sample_model(make_sample(name, SAMPLE_SEED), seed=SAMPLE_SEED, on_epoch=print)
        save_classifier(classifier, FOLDER / name / "model.safetensors")


if __name__ == "__main__":
    main(sys.argv[1:])
