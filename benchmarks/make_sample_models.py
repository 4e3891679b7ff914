"""Train the sample models that the package ships: ``python -m benchmarks.make_sample_models``."""

from __future__ import annotations

from pathlib import Path

from napari_cam_feedback.data import SAMPLES, make_sample
from napari_cam_feedback.demo import SAMPLE_SEED, train_sample_model
from napari_cam_feedback.models import save_classifier

FOLDER = Path(__file__).parents[1] / "sample_data"


def main() -> None:
    """Write ``sample_data/<sample>/model.safetensors`` for every sample."""
    for name in SAMPLES:
        classifier = train_sample_model(make_sample(name, SAMPLE_SEED), seed=SAMPLE_SEED, on_epoch=print)
        save_classifier(classifier, FOLDER / name / "model.safetensors")


if __name__ == "__main__":
    main()
