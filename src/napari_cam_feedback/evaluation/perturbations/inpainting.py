"""Inpainting by a network or a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models.networks.exported import is_script, load_filler, script_refused
from napari_cam_feedback.models.networks.factory import load_function, parse_factory
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from napari_cam_feedback.evaluation.perturbations.fills import Fill

#: Networks that halve an image a few times need sides that they can halve.
MULTIPLE = 8
#: Images at a time; such networks are large.
_AT_A_TIME = 8
_CONTRACT = (
    "it must take images (N, 3, h, w) from 0 to 1 and masks (N, 1, h, w) that are 1 inside, "
    "and return images of the same shape"
)


@dataclass(frozen=True)
class Inpainter:
    """A program that fills what is masked.

    It is called as ``program(images, masks)``, without gradients, with two float32 tensors:

    - images (N, 3, h, w), RGB, from 0 to 1, as they are, the masked part too. Gray images are repeated to three channels;
      if the program does not take three, they are given as (N, 1, h, w).
    - masks (N, 1, h, w), 1 inside of what is to be filled and 0 outside.

    h and w are multiples of 8; other images are enlarged at the right and the bottom by repeating their edge, and cut
    again. It returns one tensor, images of the same shape from 0 to 1 (values outside are cut off); for gray images one
    channel, or three, whose mean is taken. Only the masked pixels of what it returns are used.

    Attributes
    ----------
    name : str
        Of the file, for sentences.
    program : callable
        What is called: a function, or a network, which is moved to the device of the images.
    """

    name: str
    program: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def fill(self, preprocessing: Preprocessing) -> Fill:
        """Return a fill like those of `FILLS`, for the inputs that this preprocessing makes.

        The fill raises ModelError where the program fails or returns something else than images.
        """

        def inpainter_fill(inputs: torch.Tensor, masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            parts = zip(inputs.split(_AT_A_TIME), masks.split(_AT_A_TIME), strict=True)
            return torch.cat([self._filled(part, mask, preprocessing) for part, mask in parts]) if len(inputs) else inputs

        return inpainter_fill

    def _filled(self, inputs: torch.Tensor, masks: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
        height, width = masks.shape[1:]
        pad = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        pictures = preprocessing.unnormalised(inputs.float()).clamp(0, 1)
        pictures = torch.nn.functional.pad(pictures, pad, mode="replicate")
        given = torch.nn.functional.pad(masks[:, None].float(), pad)
        found = self._run(pictures, given)[..., :height, :width].to(inputs)
        if found.shape[1] != inputs.shape[1]:
            found = found.mean(1, keepdim=True)
        return torch.where(masks[:, None], preprocessing.normalised(found.clamp(0, 1)), inputs)

    def _run(self, pictures: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = pictures.shape
        program = self.program
        if isinstance(program, torch.nn.Module):
            program.to(pictures.device)
        size = f"{count} images of {height}x{width} pixels"
        try:
            with torch.no_grad():
                try:
                    found = program(pictures.expand(-1, 3, -1, -1), masks)
                except Exception:  # one that takes gray images only, which may say so by any error
                    if channels == 3:
                        raise
                    found = program(pictures, masks)
        except Exception as error:  # what a function of a user may raise has no end
            if isinstance(error, RuntimeError) and "memory" in str(error):
                raise
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ModelError(f"The inpainter {self.name} failed on {size} ({reason.strip()[:200]}); {_CONTRACT}.") from error
        if not isinstance(found, torch.Tensor):
            raise ModelError(f"The inpainter {self.name} returned no tensor but a {type(found).__name__}; {_CONTRACT}.")
        if (
            found.ndim != 4
            or found.shape[1] not in {channels, 3}
            or (len(found), *found.shape[2:]) != (count, height, width)
        ):
            raise ModelError(f"The inpainter {self.name} returned the shape {tuple(found.shape)} for {size}; {_CONTRACT}.")
        found = found.float()
        if not found[masks.expand_as(found) > 0].isfinite().all():
            raise ModelError(
                f"The inpainter {self.name} returned values that are no numbers (NaN or infinite) for {size}; {_CONTRACT}."
            )
        return found


def load_inpainter(path: str | Path, *, trust: bool = False) -> Inpainter:
    """Open an inpainter; `Inpainter` says how it is called and what it must return.

    Parameters
    ----------
    path : path
        An archive of `torch.export.save`, exported for batches of any size; or ``FILE.py:FUNCTION``.
    trust : bool
        The user agrees that the program in it runs.

    Raises
    ------
    ConsentNeeded
        `trust` is not given.
    ModelError
        The file is missing, or holds no such program or function.
    """
    function = parse_factory(str(path))
    if function is not None:
        return Inpainter(f"{function[1]} of {function[0].name}", load_function(*function, trust=trust))
    path = Path(path).expanduser()
    if path.is_file() and is_script(path):
        raise script_refused(path.name, "name a Python function as FILE.py:FUNCTION")
    return Inpainter(path.name, load_filler(path, trust=trust))
