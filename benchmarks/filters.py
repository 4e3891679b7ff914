"""What looking at all filters of a split costs: the pass against a bare forward, ranking, curve, gallery and embedding.

Everything but the ratio depends on the machine; what the user is promised is printed beside each figure.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable

import numpy as np

from benchmarks.figures import tell
from benchmarks.memory import peak_bytes

IMAGES, FILTERS, CLASSES = 10_000, 2048, 10
_CONTEXT = multiprocessing.get_context("spawn")


def _peak_mb() -> float:
    return peak_bytes() / (1 << 20)


def _apart(work: Callable[[], None]) -> None:
    """Run in a process of its own, so that peaks of memory are its own."""
    process = _CONTEXT.Process(target=work)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} failed")


def features_pass() -> None:
    """Time a streamed pass over a resnet18's split at 64x64 against the bare forward of the same batches, in turns."""
    from napari_cam_feedback.data import ArrayDataset, Preprocessing
    from napari_cam_feedback.data.cache import InputCache
    from napari_cam_feedback.explanations.filters.features import batch_for, iterate_features
    from napari_cam_feedback.models import build_classifier

    rng = np.random.default_rng(0)
    count = 512
    dataset = ArrayDataset({"train": rng.integers(0, 255, (count, 64, 64, 3), np.uint8)}, None, ("a", "b"))
    preprocessing = Preprocessing(size=(64, 64), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    for layer in ("layer4", "layer1"):
        classifier = build_classifier("torchvision:resnet18", ("a", "b"), preprocessing, target_layer=layer)
        inputs = InputCache(dataset, preprocessing)
        indices = dataset.indices("train")
        size = batch_for(preprocessing.size)
        bare, ours = [], []
        for repeat in range(6):
            start = time.perf_counter()
            for _, batch in inputs.batches(indices, size):
                classifier.logits(batch)
            middle = time.perf_counter()
            for _ in iterate_features(classifier, dataset, indices, inputs=inputs):
                pass
            if repeat:  # the first round warms up
                bare.append(middle - start)
                ours.append(time.perf_counter() - middle)
        ratio = float(np.median(np.array(ours) / np.array(bare)))
        print(f"features of {count} images, resnet18 at 64x64, {layer}: {ratio:.2f}x the bare forward (at most 1.1)")
        tell(f"features of {layer}, times the bare forward", ratio)


def memory() -> None:
    """Measure what a pass over many images adds to memory, beside its tables."""
    from napari_cam_feedback.data import ArrayDataset, Preprocessing
    from napari_cam_feedback.explanations.filters.features import features_of
    from napari_cam_feedback.models import build_classifier

    preprocessing = Preprocessing(size=(16, 16), channels=1, mean=(0.5,), std=(0.5,))
    classifier = build_classifier("small-gap", ("a", "b"), preprocessing)
    images = np.random.default_rng(0).integers(0, 255, (5 * IMAGES, 16, 16), np.uint8)
    dataset = ArrayDataset({"train": images[:640], "more": images}, None, ("a", "b"))
    features_of(classifier, dataset, "train")
    before = _peak_mb()
    found = features_of(classifier, dataset, "more")
    tables = (found.mean.nbytes + found.maximum.nbytes + found.logits.nbytes) / (1 << 20)
    print(
        f"features of {len(found):,} images: {_peak_mb() - before:.0f} MB more at the peak, {tables:.0f} MB of them tables"
    )


def ranking() -> None:
    """Time ranking, curve and embeddings of synthetic features of the size of a resnet50's over 10,000 images."""
    from napari_cam_feedback.explanations.filters.accuracy_curve import accuracy_curve
    from napari_cam_feedback.explanations.filters.embedding import embed
    from napari_cam_feedback.explanations.filters.features import Features
    from napari_cam_feedback.explanations.filters.ranking import rank_filters

    rng = np.random.default_rng(0)
    # A tenth of the filters tells a little of the class, so that a linear head is neither trivial nor hopeless.
    centres = (rng.normal(size=(CLASSES, FILTERS)) * (rng.random(FILTERS) < 0.1) * 0.35).astype(np.float32)

    def made(count: int) -> Features:
        labels = rng.integers(CLASSES, size=count)
        mean = rng.standard_normal((count, FILTERS), np.float32)
        mean += centres[labels]
        np.maximum(mean, 0, out=mean)
        logits = np.eye(CLASSES, dtype=np.float32)[labels]
        names = tuple(map(str, range(CLASSES)))
        keys = tuple(map(str, range(count)))
        return Features(np.arange(count), keys, labels, mean, mean, logits, names, "train", "layer4", "f", "d")

    train, validation = made(IMAGES), made(IMAGES // 5)
    base = _peak_mb()

    def timed(what: str, limit: str, work: Callable[[], object]) -> object:
        start = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - start
        print(f"{what}: {seconds:.1f} s{limit}, {_peak_mb() - base:.0f} MB over the tables at the peak so far")
        tell(what, seconds, "s")
        return found

    size = f"{FILTERS:,} filters over {IMAGES:,} images"
    found = timed(f"ranking {size}", " (under 60)", lambda: rank_filters(train))
    order = found.order  # type: ignore[attr-defined]
    timed(f"accuracy curve of {size}", " (under 60)", lambda: accuracy_curve(train, validation, order))
    timed(
        f"accuracy curve of {size} by least squares",
        "",
        lambda: accuracy_curve(train, validation, order, head="least squares"),
    )
    timed(f"PCA of {size}", "", lambda: embed(train))
    timed("t-SNE of its subsample", "", lambda: embed(train, "tsne"))


def gallery_time() -> None:
    """Time a gallery of 81 tiles of a resnet18 at 224x224."""
    from napari_cam_feedback.data import ArrayDataset, Preprocessing
    from napari_cam_feedback.explanations.filters.features import features_of
    from napari_cam_feedback.explanations.filters.gallery import contact_sheet, gallery
    from napari_cam_feedback.models import build_classifier

    images = np.random.default_rng(0).integers(0, 255, (120, 14, 14, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    dataset = ArrayDataset({"train": images}, None, ("a", "b"))
    preprocessing = Preprocessing(size=(224, 224), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    classifier = build_classifier("torchvision:resnet18", ("a", "b"), preprocessing)
    features = features_of(classifier, dataset)
    start = time.perf_counter()
    found = gallery(classifier, dataset, features, 0)
    middle = time.perf_counter()
    contact_sheet(found)
    end = time.perf_counter()
    tell("gallery of 81 tiles, resnet18 at 224x224", middle - start, "s")
    print(
        f"gallery of {len(found.tiles)} tiles, resnet18 at 224x224: {middle - start:.1f} s, its picture {end - middle:.2f} s"
    )


def main() -> None:
    """Measure and print."""
    for part in (features_pass, memory, ranking, gallery_time):
        _apart(part)


if __name__ == "__main__":
    main()
