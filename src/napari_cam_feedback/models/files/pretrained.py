"""Weights that a network's name stands for: torchvision's, fetched if the user agrees, and those of EfficientNet-Lite."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

from napari_cam_feedback.errors import ConfigError, ConsentNeeded, ModelError, StorageError, describe
from napari_cam_feedback.model_names import TORCHVISION, Architecture
from napari_cam_feedback.models.files.statedict import read_state_dict
from napari_cam_feedback.models.networks.architectures import check_torchvision
from napari_cam_feedback.models.networks.efficientnet_lite import imagenet_names, lite_preprocessing, lite_weights
from napari_cam_feedback.models.networks.presets import from_transforms
from napari_cam_feedback.torch_loader import torch


@dataclass(frozen=True)
class Pretrained:
    """Weights of a network that is known by its name, described without reading them.

    Attributes
    ----------
    arch : str
        ``torchvision:NAME`` or an EfficientNet-Lite.
    weights : str
        torchvision's name of them, as ``ResNet18_Weights.IMAGENET1K_V1``; of others, the file's.
    class_names : tuple of str
        Their categories.
    preprocessing : dict
        Values of `Preprocessing`.
    url : str
        Where they are fetched from; empty where they are installed.
    megabytes : float
        Size of the file.
    installed : Path or None
        The file, where a Python package brings it along.
    """

    arch: str
    weights: str
    class_names: tuple[str, ...]
    preprocessing: dict[str, Any]
    url: str
    megabytes: float
    installed: Path | None = None

    @property
    def path(self) -> Path:
        """Where the file is, or where torch.hub keeps it on this machine."""
        if self.installed is not None:
            return self.installed
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]


def find_pretrained(model: str, weights: str | None = None) -> Pretrained:
    """Describe the weights that a network's name stands for.

    Parameters
    ----------
    model : str
        ``torchvision:NAME``, or an EfficientNet-Lite as ``efficientnet-lite0``.
    weights : str, optional
        Which, as ``IMAGENET1K_V1``; by default torchvision's best.

    Raises
    ------
    ModelError
        torchvision has no such network; the package with the weights is not installed.
    ConfigError
        It has no weights of that name for classifying; those that there are are named.
    """
    from torchvision.models import get_model_weights

    named = Architecture.of(model)
    if named.origin == "efficientnet-lite":
        return _find_lite(model, weights)
    name = named.name
    check_torchvision(name)
    known = get_model_weights(name)
    wanted = (weights or "DEFAULT").rpartition(".")[2]
    # VGG-16 has weights without a classifier, for other uses.
    names = [member.name for member in known if member.meta["categories"]]
    if wanted not in (*names, "DEFAULT"):
        raise ConfigError(f"{model} has no weights {wanted!r}; choose {' or '.join(names)}.")
    chosen = known[wanted]
    return Pretrained(
        arch=TORCHVISION + name,
        weights=str(chosen),
        class_names=tuple(chosen.meta["categories"]),
        preprocessing=from_transforms(name, chosen.transforms()),
        url=chosen.url,
        megabytes=float(chosen.meta.get("_file_size", 0)),
    )


def _find_lite(model: str, weights: str | None) -> Pretrained:
    path = lite_weights(model, weights)
    return Pretrained(
        arch=model,
        weights=path.stem,
        class_names=imagenet_names(),
        preprocessing=lite_preprocessing(model),
        url="",
        megabytes=path.stat().st_size / 1e6,
        installed=path,
    )


def read_pretrained(found: Pretrained, *, download: bool = False) -> dict[str, torch.Tensor]:
    """Read weights: installed ones, or from torch.hub's folder, into which they are fetched first if need be.

    Raises
    ------
    ConsentNeeded
        They are not on this machine, and `download` is not given.
    ModelError
        They cannot be fetched, or the file is broken.
    StorageError
        The file cannot be written.
    """
    path = found.path
    if not path.is_file():
        size = f"{found.megabytes:.0f} MB" if found.megabytes >= 1 else f"{found.megabytes:.1f} MB"
        if not download:
            raise ConsentNeeded(
                f"The weights {path.name} ({size}) of {found.arch} are not on this machine; agree to fetching them from "
                f"{found.url}, or put the file into {path.parent}.",
                kind="download",
                question=f"Fetch {path.name} ({size}) from {found.url} and keep it in {path.parent}?",
            )
        _fetch(found)
    try:
        return read_state_dict(path)
    except ModelError as error:
        again = "fetch" if found.installed is None else "install"
        raise ModelError(
            f"The weights {path} are broken ({describe(error)}); remove the file and {again} it again."
        ) from error


def _fetch(found: Pretrained) -> None:
    path = found.path
    by_hand = f"fetch {found.url} in another way and put it into {path.parent}"
    digest = re.search(r"-([0-9a-f]{8,})\.", path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It writes to another name, checks what came, and gives the file its name only then.
        torch.hub.download_url_to_file(found.url, str(path), digest[1] if digest else None, progress=False)
    except (URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        raise ModelError(
            f"The weights {path.name} could not be fetched ({reason}); check the network, or {by_hand}."
        ) from error
    except OSError as error:
        raise StorageError(f"Could not write {path}: {describe(error)}") from error
    except RuntimeError as error:
        raise ModelError(f"What came from {found.url} is not {path.name}; try again, or {by_hand}.") from error
