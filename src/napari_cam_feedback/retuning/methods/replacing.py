"""Methods that put something else where the shortcut is, and keep the label; and the last layer made anew on such images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.retuning.head_refit import find_last_linear
from napari_cam_feedback.retuning.images.masked_set import Batch
from napari_cam_feedback.retuning.methods.base import Method
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from napari_cam_feedback.models.classifier import Classifier


class Transplant(Method):
    """Training images of any class get the painted patch of another image and keep their label (after SPIRE, Plumb 2022)."""

    name = "transplant"
    description = "Transplant: paste painted patches onto images of any class, so that they tell nothing any more."
    takes_styles = True
    balances_styles = True

    def check(self, classifier: Classifier) -> None:
        super().check(classifier)
        if self.donors.surroundings:
            raise RetuneError(
                f"What is painted covers most of the images, so {self.name} would paste it over what counts; choose auto, "
                "or actdiff+counterexample with the refill donor."
            )

    def change(self, batch: Batch, generator: torch.Generator) -> Batch:
        count = len(batch.inputs)
        donors = torch.randint(len(self.donors), (count,), generator=generator)
        inputs = batch.inputs
        if self.donors.also is not None:
            changed = torch.rand(count, generator=generator) < self.donors.also.share
            inputs = torch.where(changed[:, None, None, None], self.donors.also.conflicting(inputs, generator), inputs)
        # Where the shortcut keeps to some places, the image's own goes, so that only the pasted one is left.
        pasted = self.donors.conflicting(inputs, donors, generator)
        draw = torch.rand(count, generator=generator)
        # What images without the mark are answered must not drift where most classes are not there to be learnt again.
        usual = 1.0 if self.donors.overlay is None else self.donors.overlay.share
        share = self.config.transplant_share or (0.5 if self.context.few_classes else usual)
        inputs = torch.where((draw < share)[:, None, None, None], pasted, inputs)
        return replace(batch, inputs=inputs)


class Counterexample(Method):
    """Cross-entropy also on the painted images with the painted part refilled (CAIPI, Teso and Kersting 2019)."""

    name = "counterexample"
    description = "Counterexamples (CAIPI, Teso 2019): learn the painted images refilled, too, under the same label."
    takes_styles = True

    def change(self, batch: Batch, generator: torch.Generator) -> Batch:
        refilled = self.context.replacer(batch, generator)
        answers = batch.answers
        if answers is not None and batch.painted_answers is not None:
            answers = torch.cat([answers, batch.painted_answers])
        return replace(
            batch,
            inputs=torch.cat([batch.inputs, refilled]),
            labels=torch.cat([batch.labels, batch.painted.labels]),
            answers=answers,
        )


class Replacing(Method):
    """The painted images are replaced by themselves with the painted part refilled, and keep their label."""

    fill: ClassVar[str]

    def change(self, batch: Batch, generator: torch.Generator) -> Batch:
        refilled = self.context.replacer(batch, generator, self.fill)
        return replace(batch, painted=replace(batch.painted, inputs=refilled))


class Inpaint(Replacing):
    """Painted images inpainted (Ferrada 2019)."""

    name = "inpaint"
    description = "Inpainting (Ferrada 2019): learn the painted images with the painted part inpainted."
    fill = "inpaint"
    needs_inpainting = True


class Crop(Replacing):
    """Painted images with pieces of other images in place of what is painted (Ferrada 2019)."""

    name = "crop"
    description = "Random crop (Ferrada 2019): learn the painted images with a piece of another image over the painted part."
    fill = "crop"


class Head(Transplant):
    """A logistic regression on features of transplanted images as the last linear layer; see `retuning.head_refit`."""

    name = "head"
    description = "Head refit: only the last linear layer is made anew, on transplanted images, in seconds; a preview."
    composable = False
    solves = True

    def check(self, classifier: Classifier) -> None:
        super().check(classifier)
        found = find_last_linear(classifier)
        if found is None:
            raise RetuneError(
                "The method head makes the last linear layer anew, and this network's logits are not what a linear layer "
                "puts out; choose transplant or actdiff."
            )
        if classifier.module.get_submodule(found).bias is None:
            raise RetuneError(
                "The method head needs a last layer with a bias, and this one has none; choose transplant or actdiff."
            )
        if any(found == part or found.startswith(f"{part}.") for part in self.config.freeze):
            raise RetuneError(f"The method head changes {found!r} alone, and that is frozen; freeze other parts or none.")
