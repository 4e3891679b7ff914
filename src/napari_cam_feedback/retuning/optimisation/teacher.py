"""The given classifier's own answers as targets, so that nothing is forgotten that the labels do not show."""

from __future__ import annotations

from dataclasses import replace

from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.retuning.images.masked_set import Batch, MaskedSet
from napari_cam_feedback.torch_loader import torch

#: Bytes of answers kept at most, so that images that come again need not be looked at again.
MAX_BYTES = 256 * 2**20


class Teacher:
    """Learning without forgetting (Li and Hoiem 2016), with logits instead of softened probabilities.

    Where the given classifier is right, its logits for the image as it was are what the retuned one is to answer for the
    changed image (mean squared difference, as Ba and Caruana 2014, "Do deep nets really need to be deep?", equation 1);
    elsewhere the label is the target. Cross-entropy with the labels of a few classes would push all other classes down.
    For a painted image it is what the given classifier answers without what is painted, since its answer to the image as it
    was says what the shortcut told it; so, too, for any image that carries a half-transparent mark.

    Parameters
    ----------
    given : Classifier
        The one that is retuned; it is not changed.
    learnt : MaskedSet
        The painted images that are learnt from.

    Attributes
    ----------
    known : dict of int to Tensor
        Answers (K,) that need not be asked for again, by item; not a number where the given classifier is wrong.
    """

    def __init__(self, given: Classifier, learnt: MaskedSet) -> None:
        self._given = given
        self._marks = [each for each in (learnt.overlay, learnt.also) if each is not None]
        self.known: dict[int, torch.Tensor] = {}
        cleared = learnt.cleared(torch.Generator().manual_seed(0))
        for start in range(0, len(learnt), 64):
            rows = slice(start, start + 64)
            answers = self._answers(cleared[rows], learnt.labels[rows])
            self.known |= dict(zip(learnt.indices[rows].tolist(), answers, strict=True))

    def answer(self, batch: Batch) -> Batch:
        """Return a step's batch, not changed by a method yet, with its answers."""
        assert batch.items is not None
        items = [*batch.items.tolist(), *batch.painted.indices.tolist()]
        inputs = torch.cat([batch.inputs, batch.painted.inputs])
        labels = torch.cat([batch.labels, batch.painted.labels])
        new = [n for n, item in enumerate(items) if item not in self.known]
        answers = torch.empty(len(items), self._given.num_classes)
        for n in set(range(len(items))).difference(new):
            answers[n] = self.known[items[n]]
        if new:
            looked = inputs[new]
            for each in self._marks:
                looked = each.clear(looked)  # images that nobody painted may carry the mark, too
            answers[new] = self._answers(looked, labels[new])
            if answers.element_size() * answers.shape[1] * len(self.known) < MAX_BYTES:
                self.known |= {items[n]: answers[n].clone() for n in new}
        count = len(batch.inputs)
        return replace(batch, answers=answers[:count], painted_answers=answers[count:])

    def _answers(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the given classifier's logits (N, K), not a number where it is wrong."""
        # Convolutions are faster so on a CPU, and the given network's own layout stays as it is.
        found = self._given.logits(inputs.contiguous(memory_format=torch.channels_last)).float().cpu()
        return torch.where((found.argmax(1) == labels)[:, None], found, torch.nan)


def distillation(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Return (N,) the mean squared difference of logits (N, K) to a teacher's (N, K)."""
    return (logits - answers).square().mean(1)


def has_answer(answers: torch.Tensor) -> torch.Tensor:
    """Return (N,) bool, which rows are a teacher's answer; the others are not a number, and the label counts there."""
    return ~answers.isnan().any(1)
