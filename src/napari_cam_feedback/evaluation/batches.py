"""How many images go through a network at once, and breaking off in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.interrupt import Interrupted, interruptible

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: Images at a time, unless they are large and the network is on a CPU,
BATCH_SIZE = 64
#: which then takes so many pixels at a time: what it has in its hands stays in its caches, and progress is seen to move.
_MAX_PIXELS = 16 * 224 * 224


def images_at_once(classifier: Classifier) -> int:
    """Return how many images a classifier takes at a time."""
    height, width = classifier.preprocessing.size
    if classifier.device.type != "cpu":
        return BATCH_SIZE
    return max(1, min(BATCH_SIZE, _MAX_PIXELS // (height * width)))


@contextmanager
def breaking_off(classifier: Classifier, stop: Callable[[], bool] | None, fabric: Fabric | None) -> Iterator[None]:
    """While entered, what is inside is left at the next layer of the network once `stop` says True.

    Several processes must stop between the same batches, so there it does nothing. Without a `stop` of its own an
    `Interrupted` is somebody else's, and goes on to them: what was measured until then must not pass for all.
    """
    if stop is None or (fabric is not None and fabric.world_size > 1):
        yield
        return
    with suppress(Interrupted), interruptible(classifier.module, stop):
        yield
