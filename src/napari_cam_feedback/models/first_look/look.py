"""A first look at a model with its data, before it is trusted: is it right at all, and if not, what was assumed wrongly?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import Naming, Remark
from napari_cam_feedback.models.chance import MIN_IMAGES, beyond_chance, chance_agreement
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.first_look.class_order import ClassOrder, find_class_order
from napari_cam_feedback.models.first_look.coarse import layer_remarks
from napari_cam_feedback.models.first_look.outputs import nan_remark, random_remark, sigmoid_remark, softmax_remark
from napari_cam_feedback.models.first_look.trials import Answers, Pictures, ask, is_far_better, try_preprocessings
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.torch_loader import torch

#: Labelled images that are looked at when all is well, and when something is amiss.
IMAGES, MAX_IMAGES = 50, 100
#: Images asked about twice; and those that are looked at where none has a label.
_TWICE = 8
_BATCH = 16
#: An accuracy is far below what the model's file says if it is that much lower, and that is hardly chance.
_MUCH_LOWER, _HARDLY_CHANCE = 0.1, 0.001


@dataclass(frozen=True)
class Correction:
    """A way to prepare the images, or an order of the classes, with which a model is right far more often.

    Attributes
    ----------
    preprocessing : Preprocessing
        The corrected one; the classifier's own where the order of the classes is what is wrong.
    class_names : tuple of str
        The classes in the order of the outputs; the classifier's own where the preprocessing is what is wrong.
    right, images : int
        How many images are right with it, of how many.
    what : str
        In words, to go after "with".
    settings : dict
        What to set: fields of `ModelOptions`, as `load_classifier` takes them.
    """

    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    right: int
    images: int
    what: str
    settings: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Share of the images that are right."""
        return self.right / self.images


@dataclass(frozen=True)
class Look:
    """What a first look at a model with its data found.

    Attributes
    ----------
    images, right : int
        Labelled images that were looked at (0 where too few have labels), and how many of them are right.
    chance : float
        Accuracy that predictions with no relation to the labels would have.
    expected : float or None
        Accuracy that the model's file says of its training.
    doubt : str or None
        ``chance``: no better than chance. ``below``: far below what the file says. ``order``: the classes fit far better in
        another order. None: nothing is amiss.
    correction : Correction or None
        What makes it far better, where something does.
    outputs : tuple of Remark
        On what the outputs show by themselves.
    layer : tuple of Remark
        On the target layer: coarse maps, or several runs.
    causes : tuple of Correction
        Where something is amiss, what helps by itself, the best of each kind, those that help most first.
    complete : bool
        Whether all was tried that would be; False where it took too long.
    """

    images: int = 0
    right: int = 0
    chance: float = 0.0
    expected: float | None = None
    doubt: Literal["chance", "below", "order"] | None = None
    correction: Correction | None = None
    outputs: tuple[Remark, ...] = ()
    layer: tuple[Remark, ...] = ()
    causes: tuple[Correction, ...] = ()
    complete: bool = True

    @property
    def accuracy(self) -> float | None:
        """Share of the images that are right; None without any."""
        return self.right / self.images if self.images else None

    def accuracy_remark(self, naming: Naming | None = None) -> str | None:
        """Say in one sentence that the accuracy is poor, with the likeliest cause and what to set; None where it is not.

        Parameters
        ----------
        naming : Naming, optional
            How the settings are given where the sentence is read; without it they are those of `load_classifier`.
        """
        if self.doubt is None:
            return None
        began = f"The model is right on {self.right} of {self.images} labelled images (accuracy {self.accuracy:.2f})"
        if self.doubt == "chance":
            began += f", no better than chance ({self.chance:.2f})"
        elif self.doubt == "below" and self.expected is not None:
            began += f", far below the {self.expected:.2f} that its file says of its training"
        found = self.correction
        if found is None:
            tried = (
                "no usual size, scaling, mean, value range, order of colours or order of classes makes it much better"
                if self.complete
                else "no other preprocessing that there was time to try, and no other order of classes, makes it much better"
            )
            return f"{began}, and {tried}: check that the model is for these images and classes."
        if naming is not None:
            how = naming.assign(found.settings)
        else:
            how = "set " + ", ".join(f"{name}={value!r}" for name, value in found.settings.items())
        with_it = f"{found.right} of {found.images} ({found.accuracy:.2f})"
        return f"{began}; with {found.what} it would be right on {with_it}: {how}."

    def sentences(self, naming: Naming | None = None) -> list[str]:
        """Return all that is to be said, a sentence each; `naming` as of `accuracy_remark`."""
        outputs, layer = ([remark.told(naming) for remark in remarks] for remarks in (self.outputs, self.layer))
        accuracy = self.accuracy_remark(naming)
        return [*outputs, *([accuracy] if accuracy else []), *layer]


@takes_monitor
def look_at(classifier: Classifier, dataset: Dataset, *, monitor: Monitor = QUIET) -> Look:
    """Look at a model with its data: does it get labelled images right, and are its outputs what they should be?

    One pass over about 50 images when all is well. Where the accuracy is no better than chance, or far below what the
    model's file says of its training, other preprocessings are tried on some of them, for half a minute at most.

    Parameters
    ----------
    classifier : Classifier
        Opened with the dataset.
    dataset : Dataset
        Labelled images are taken from its splits other than test, unless only test has labels.
    monitor : Monitor, optional
        Told of the trials done and in all, where there are any.
        Once stopped, the work ends the trials.

    Raises
    ------
    ModelError
        The outputs are not finite for any image.
    """
    fits = len(classifier.class_names) == len(dataset.class_names)
    chosen = labelled_sample(dataset, MAX_IMAGES) if fits else np.empty(0, np.int64)
    labelled = len(chosen) >= MIN_IMAGES
    if not len(chosen):
        chosen = np.unique(np.linspace(0, len(dataset) - 1, min(_TWICE, len(dataset))).astype(np.int64))
    seen = _see(classifier, dataset, chosen[:IMAGES])
    if seen is None:
        return Look()
    again = random_remark(classifier, seen.first, seen.logits[: len(seen.first)])
    outputs = (nan_remark(classifier, seen.logits), again)
    ends = softmax_remark(seen.logits) or sigmoid_remark(classifier, seen.first, seen.logits)
    said = tuple(filter(None, (*outputs, ends)))
    layer = tuple(layer_remarks(classifier))
    judged, correction, causes, complete = _Judged(), None, list[Correction](), True
    if labelled and len(seen.indices) >= MIN_IMAGES:
        judged = _judge(classifier, dataset, seen)
        if judged.doubt is not None:
            # Before anything is said against the model, it is asked about more images.
            judged = _judge(classifier, dataset, seen.joined(_see(classifier, dataset, chosen[IMAGES:])))
        if judged.doubt is not None:
            correction, causes, complete = _preprocessing_correction(classifier, dataset, judged.indices, monitor)
        if judged.order is not None:
            # Red and blue exchanged can look like classes exchanged, and is met more often.
            right = int(judged.order.right.sum())
            causes.append(_order_correction(classifier, judged.order))
            if correction is None or correction.right < right:
                correction = _order_correction(classifier, judged.order)
    return Look(
        len(judged.indices),
        judged.right,
        judged.chance,
        trained_accuracy(classifier),
        judged.doubt,
        correction,
        said,
        layer,
        tuple(sorted(causes, key=lambda cause: -cause.accuracy)),
        complete,
    )


def check_outputs(classifier: Classifier, dataset: Dataset) -> None:
    """Raise a ModelError where the outputs are not finite, judged by the first and the last image."""
    seen = _see(classifier, dataset, np.unique([0, len(dataset) - 1])) if len(dataset) else None
    if seen is not None:
        nan_remark(classifier, seen.logits)


def labelled_sample(dataset: Dataset, count: int) -> np.ndarray:
    """Return up to `count` indices of labelled images, spread over the classes, so that each first part is spread too.

    They are of the splits other than test, unless only test has labels. The same dataset gives the same images.
    """
    usable = dataset.learnable()
    if not len(usable):
        usable = np.flatnonzero(dataset.labels >= 0)
    classes = np.unique(dataset.labels[usable])
    if len(classes) > count:
        classes = classes[np.linspace(0, len(classes) - 1, count).astype(int)]
    columns = []
    for label in classes:
        members = usable[dataset.labels[usable] == label]
        each = min(len(members), -(-count // len(classes)))
        # Every other of the evenly spaced ones first, so that half of them are as spread as all.
        spread = members[np.linspace(0, len(members) - 1, each).astype(int)]
        columns.append([*spread[::2], *spread[1::2]])
    rows = [column[n] for n in range(max(map(len, columns), default=0)) for column in columns if n < len(column)]
    return np.array(rows[:count], np.int64)


def trained_accuracy(classifier: Classifier) -> float | None:
    """Return the accuracy that the model's file says of its training: on validation images, else on those learnt from."""
    training = classifier.info.get("training")
    if not isinstance(training, dict):
        return None
    found = next((training[key] for key in ("val_accuracy", "train_accuracy") if training.get(key) is not None), None)
    return float(found) if isinstance(found, (int, float)) else None


@dataclass(frozen=True)
class _Seen:
    """Images that could be read and taken: their indices (N,), the first few inputs, and all logits (N, K) on the CPU."""

    indices: np.ndarray
    first: torch.Tensor
    logits: torch.Tensor

    def joined(self, other: _Seen | None) -> _Seen:
        if other is None:
            return self
        return _Seen(np.concatenate([self.indices, other.indices]), self.first, torch.cat([self.logits, other.logits]))


def _see(classifier: Classifier, dataset: Dataset, indices: np.ndarray) -> _Seen | None:
    """Ask a classifier about some images; what cannot be read is said by what follows. None where none can."""
    cache = InputCache(dataset, classifier.preprocessing, max_bytes=0)
    read, found = [], []
    first: torch.Tensor | None = None
    for picked, inputs in cache.batches(indices, _BATCH):
        first = inputs[:_TWICE] if first is None else first
        read.append(picked)
        found.append(classifier.logits(inputs).float().cpu())
    return None if first is None else _Seen(np.concatenate(read), first, torch.cat(found))


@dataclass(frozen=True)
class _Judged:
    """How right a classifier is on labelled images; see `Look`."""

    indices: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    right: int = 0
    chance: float = 0.0
    doubt: Literal["chance", "below", "order"] | None = None
    order: ClassOrder | None = None


def _judge(classifier: Classifier, dataset: Dataset, seen: _Seen) -> _Judged:
    from scipy.special import bdtr

    labels, predicted = dataset.labels[seen.indices], seen.logits.nan_to_num(-np.inf).argmax(1).numpy()
    right, images = int((labels == predicted).sum()), len(labels)
    # Labels of one class alone tell nothing of chance.
    chance = chance_agreement(labels, predicted) if np.unique(labels).size > 1 else 0.0
    expected = trained_accuracy(classifier)
    lower = expected is not None and expected - right / images >= _MUCH_LOWER
    order = find_class_order(labels, predicted, classifier.num_classes)
    doubt: Literal["chance", "below", "order"] | None = None if order is None else "order"
    if not beyond_chance(right, images, chance):
        doubt = "chance"
    elif lower and bdtr(right, images, expected) < _HARDLY_CHANCE:
        doubt = "below"
    return _Judged(seen.indices, right, chance, doubt, order)


def _preprocessing_correction(
    classifier: Classifier, dataset: Dataset, indices: np.ndarray, monitor: Monitor
) -> tuple[Correction | None, list[Correction], bool]:
    """Try other preprocessings on some of the images.

    Returns
    -------
    Correction or None
        The best, if it is far better on all of them.
    list of Correction
        What helps by itself, the best of each kind.
    bool
        Whether all was tried.
    """
    images, labels = Pictures(dataset, indices), dataset.labels[indices]
    singles: list[Answers] = []
    found, complete = try_preprocessings(classifier, images, labels, monitor=monitor, singles=singles)
    causes = _causes(classifier, singles)
    if found is None:
        return None, causes, complete
    before, after = (ask(classifier, each, images, labels) for each in (classifier.preprocessing, found.preprocessing))
    if before is None or after is None or not is_far_better(after, before, labels):
        return None, causes, complete
    return _correction(classifier, found.preprocessing, after), causes, complete


def _correction(classifier: Classifier, preprocessing: Preprocessing, answers: Answers) -> Correction:
    what, settings = describe_change(classifier.preprocessing, preprocessing)
    right, images = int(answers.right.sum()), len(answers.right)
    return Correction(preprocessing, classifier.class_names, right, images, what, settings)


def _causes(classifier: Classifier, singles: list[Answers]) -> list[Correction]:
    """Return the best of each kind of change, of those that make more of the images right than the present one."""
    first = next((each for each in singles if each.preprocessing == classifier.preprocessing), None)
    best: dict[tuple[str, ...], Answers] = {}
    for each in singles:
        kind = tuple(describe_change(classifier.preprocessing, each.preprocessing)[1])
        if kind and (kind not in best or each.rank > best[kind].rank):
            best[kind] = each
    least = 0 if first is None else int(first.right.sum())
    helping = [each for each in best.values() if each.right.sum() > least + 1]
    return [_correction(classifier, each.preprocessing, each) for each in helping]


def _order_correction(classifier: Classifier, order: ClassOrder) -> Correction:
    names = order.names(classifier.class_names)
    return Correction(
        classifier.preprocessing,
        names,
        int(order.right.sum()),
        len(order.right),
        "the classes in another order",
        {"class_names": names},
    )


def describe_change(before: Preprocessing, after: Preprocessing) -> tuple[str, dict[str, Any]]:
    """Say what differs between two preprocessings.

    Returns
    -------
    what : str
        In words.
    settings : dict
        Fields of `ModelOptions` and their values.
    """
    words, settings = [], dict[str, Any]()
    if after.channel_order != before.channel_order:
        words.append(f"the colours in the order {after.channel_order.upper()}")
        settings["channel_order"] = after.channel_order
    if (after.mean, after.std) != (before.mean, before.std):
        mean, std = (" ".join(f"{v:g}" for v in part) for part in (after.mean, after.std))
        words.append(f"mean {mean} and deviation {std}")
        settings |= {"mean": after.mean, "std": after.std}
    if after.value_range != before.value_range and after.value_range is not None:
        low, high = after.value_range
        words.append(f"pixel values from {low:g} to {high:g}")
        settings["value_range"] = after.value_range
    if (after.size, after.crop, after.resize_to) != (before.size, before.crop, before.resize_to):
        height, width = after.size
        cut = f"the centre cut out{f' after scaling to {after.resize_to} pixels' if after.resize_to else ''}"
        words.append(f"{height}x{width} pixels, {cut if after.crop else 'the whole image stretched'}")
        settings |= {"size": after.size, "crop": after.crop}
        if after.resize_to:
            settings["resize_to"] = after.resize_to
    return " and ".join(words), settings
