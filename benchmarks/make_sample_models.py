"""Train the sample models that the package ships: ``python -m benchmarks.make_sample_models [SAMPLE ...]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from napari_cam_feedback.data import SAMPLES, make_sample
from napari_cam_feedback.models import save_classifier
from napari_cam_feedback.sample_models import SAMPLE_SEED, sample_training
from napari_cam_feedback.steps import run_to_end

FOLDER = Path(__file__).parents[1] / "sample_data"


def main(names: Sequence[str] = ()) -> None:
    """Write ``sample_data/<sample>/model.safetensors`` for these samples; for every one where none is named."""
    for name in names or SAMPLES:
        steps = sample_training(name, make_sample(name, SAMPLE_SEED), seed=SAMPLE_SEED, small=True)
        save_classifier(run_to_end(steps, print), FOLDER / name / "model.safetensors")


if __name__ == "__main__":
    main(sys.argv[1:])
