"""Writing a classifier for other programs: safetensors, a plain state dict, ONNX, or an archive of ``torch.export``."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.files import atomic_path, write_bytes, write_json
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.files.sidecar import describe_classifier, sidecar_of
from napari_cam_feedback.models.files.storage import save_classifier
from napari_cam_feedback.models.layers.hooks import copy_module
from napari_cam_feedback.models.layers.parts import in_evaluation
from napari_cam_feedback.models.networks.exported import load_program
from napari_cam_feedback.torch_loader import torch

#: Endings that a classifier can be written with, and what each is.
EXPORTS = {
    ".safetensors": "our own file, with everything that is needed to load it",
    ".pt": "a plain state dict of torch",
    ".onnx": "ONNX",
    ".pt2": "an archive of torch.export",
}
#: What writing ONNX needs beyond torch.
ONNX_PACKAGES = ("onnx", "onnxscript")
_TOLERANCE = 1e-4


def export_classifier(classifier: Classifier, path: str | os.PathLike[str]) -> list[Path]:
    """Write a classifier for other programs; the file's ending says how.

    Beside a file that cannot say them itself, ``<name>.json`` has class names, preprocessing, target layer, architecture;
    `load_classifier` reads it.

    Parameters
    ----------
    classifier : Classifier
        What to write; it stays as it is.
    path : path
        ``.safetensors``; ``.pt``, ``torch.save`` of the state dict, tensors only; ``.onnx`` and ``.pt2``, the network with
        its weights, from float32 images (N, C, H, W), scaled and normalised, to logits (N, K), for any N. A ``.pt2`` is
        read back before it is kept, and must give the same logits.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ConfigError
        The ending is none of `EXPORTS`.
    ModelError
        The network cannot be written so, or a package that is needed is not installed.
    StorageError
        A file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".safetensors":
        save_classifier(classifier, path)
        return [path]
    if kind == ".pt":
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in classifier.module.state_dict().items()}
        content = io.BytesIO()
        torch.save(tensors, content)
        write_bytes(path, content.getvalue())
    elif kind == ".pt2":
        _write_program(classifier, path)
    elif kind == ".onnx":
        _write_onnx(classifier, path)
    else:
        known = ", ".join(f"{ending} ({what})" for ending, what in EXPORTS.items())
        raise ConfigError(f"A model cannot be written as {path.name}; let its name end in one of {known}.")
    about = sidecar_of(path)
    write_json(about, describe_classifier(classifier))
    return [path, about]


def _module_and_images(classifier: Classifier) -> tuple[torch.nn.Module, torch.Tensor]:
    """Return a copy of the network on the CPU, and two images to follow through it."""
    module = in_evaluation(copy_module(classifier.module).cpu())
    generator = torch.Generator().manual_seed(0)
    preprocessing = classifier.preprocessing
    return module, torch.randn(2, preprocessing.channels, *preprocessing.size, generator=generator)


def _write_program(classifier: Classifier, path: Path) -> None:
    module, images = _module_and_images(classifier)
    content = io.BytesIO()  # torch would write the name of a temporary file into it
    with _quiet():
        try:
            program = torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
            torch.export.save(program, content)
        except Exception as error:  # what a network may do that cannot be followed has no end
            raise _not_followed(classifier, "torch.export", error) from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
        again = load_program(temporary, trust=True)
        # Another number of images than it was followed with.
        more = torch.cat([images, images.flip(0)[:1]])
        with torch.no_grad():
            expected, found = module(more), again(more)
        if not torch.allclose(expected, found, rtol=_TOLERANCE, atol=_TOLERANCE * float(expected.abs().max())):
            raise ModelError(
                f"The exported {classifier.arch} gave other logits than the model when it was read back, and was not kept; "
                "export a state dict (.pt) instead."
            )


def _write_onnx(classifier: Classifier, path: Path) -> None:
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        packages = f"{'package' if len(missing) == 1 else 'packages'} {' and '.join(missing)}"
        raise ModelError(
            f"Writing ONNX needs the {packages}; install them with: pip install {' '.join(missing)}; or export .pt2 instead."
        )
    module, images = _module_and_images(classifier)
    with _quiet(), atomic_path(path) as temporary:
        try:
            torch.onnx.export(
                module,
                (images,),
                str(temporary),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                # One file, whose name can be changed.
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # as above
            raise _not_followed(classifier, "ONNX", error) from error


def _not_followed(classifier: Classifier, what: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:160]
    return ModelError(
        f"{classifier.arch} cannot be written as {what} ({type(error).__name__}: {reason}); "
        "export a state dict (.pt) instead."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """While entered, torch does not tell of its steps."""
    names = ("torch.export", "torch.onnx", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
