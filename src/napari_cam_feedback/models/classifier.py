"""A network together with what the loop needs to know of it."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models.layers.hooks import copy_module
from napari_cam_feedback.models.layers.layers import LayerInfo, list_layers
from napari_cam_feedback.models.layers.layouts import Grid, Layout
from napari_cam_feedback.models.layers.parts import in_evaluation
from napari_cam_feedback.models.layers.taps import ActivationTap, get_layer
from napari_cam_feedback.models.layers.target import choose_layer, default_layer
from napari_cam_feedback.models.networks.architectures import build_module
from napari_cam_feedback.models.networks.one_output import TwoClasses
from napari_cam_feedback.torch_loader import torch


@dataclass(frozen=True)
class LinearHead:
    """The linear layer after global average pooling: logits = weight @ GAP(activation) + bias.

    Features (N, F) are a pooled activation already.

    Attributes
    ----------
    name : str
        Dotted name of the layer in the module.
    weight : Tensor
        (K, F) float.
    bias : Tensor
        (K,) float.
    """

    name: str
    weight: torch.Tensor
    bias: torch.Tensor


@dataclass
class Classifier:
    """A network in evaluation mode with frozen parameters, its classes, preprocessing and target layer.

    Since nothing changes the module, several threads may use it at once; whoever trains does so on a `copy`.

    Attributes
    ----------
    module : torch.nn.Module
        Takes (N, C, h, w) float inputs, gives (N, K) logits.
    class_names : tuple of str
        The K classes, in the order of the logits.
    preprocessing : Preprocessing
        From an image as read to an input.
    target_layer : str
        Dotted name of the layer whose activations are explained and penalised.
    arch : str
        Name from which `build_module` makes the module again.
    info : dict
        How this classifier came to be; plain JSON values.
    grid : tuple of int or None
        (rows, columns) of the target layer's tokens where the user has set it; else it is told from the patches.
    """

    module: torch.nn.Module
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    target_layer: str
    arch: str
    info: dict[str, Any] = field(default_factory=dict)
    grid: Grid | None = None

    def __post_init__(self) -> None:
        in_evaluation(self.module).requires_grad_(False)
        if self.grid is not None:
            # JSON has lists only.
            self.grid = (int(self.grid[0]), int(self.grid[1]))
        get_layer(self.module, self.target_layer)

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def split_seed(self) -> int | None:
        """Seed of the split that it was trained on, where that was made by us; other data must not be split anew."""
        training = self.info.get("training")
        return training.get("split_seed") if isinstance(training, dict) else None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        weights = chain(self.module.parameters(), self.module.buffers())
        return next((each.device for each in weights), torch.device("cpu"))

    @cached_property
    def layers(self) -> list[LayerInfo]:
        """Layers that can be the target layer, with shapes."""
        return list_layers(self.module, self.preprocessing.channels, self.preprocessing.size, self.grid)

    @property
    def layout(self) -> Layout:
        """How the target layer lays out its activations.

        Raises
        ------
        ModelError
            It puts out neither maps nor features.
        """
        found = next((info.layout for info in self.layers if info.name == self.target_layer), None)
        if found is None:
            raise ModelError(
                f"Layer {self.target_layer!r} puts out neither maps nor features; choose one of the listed layers.",
                field="layer",
            )
        return found

    def no_places(self, lacking: str = "heatmap") -> str | None:
        """Say in one sentence why the target layer gives no heatmaps, and what to do; None where it does give them.

        Features (N, F), as of a multilayer perceptron, tell of the whole image. They have filters, concepts and an
        embedding, and methods of retuning that need no places, as ActDiff, can use them.

        Parameters
        ----------
        lacking : str
            What cannot be had.
        """
        layers = self.layers
        target = next((info for info in layers if info.name == self.target_layer), None)
        if target is None or target.layout.has_places:
            return None
        placed = [info for info in layers if info.layout.has_places]
        hint = (
            f"choose a layer with maps, such as {default_layer(placed)!r}."
            if placed
            else "look at its filters or concepts, or use a convolutional model."
        )
        return (
            f"Layer {self.target_layer!r} has no places ({target.layout.filters} features per image), "
            f"so it gives no {lacking}; {hint}"
        )

    def check_places(self, lacking: str = "heatmap") -> None:
        """Raise a ModelError that says what to do where the target layer has no places; see `no_places`."""
        sentence = self.no_places(lacking)
        if sentence is not None:
            raise ModelError(sentence, field="layer" if any(info.layout.has_places for info in self.layers) else ())

    @cached_property
    def head(self) -> LinearHead | None:
        """The linear head over globally pooled target-layer activations, or None where the model is not built so.

        It is found by numbers, not by names: for a random batch, weight @ GAP(activation) + bias must be the logits.
        """
        parameters = dict(self.module.named_parameters())
        # One output for two classes: half of its row is that of the second, and negated that of the first.
        single = isinstance(self.module, TwoClasses)
        # By parameters, not by modules: those of an exported program are no `torch.nn.Linear`.
        names = [
            name.removesuffix(".weight")
            for name, weight in parameters.items()
            if name.endswith(".weight") and weight.ndim == 2 and len(weight) == (1 if single else self.num_classes)
        ]
        if not names:
            return None
        generator = torch.Generator().manual_seed(0)
        batch = torch.randn(2, self.preprocessing.channels, *self.preprocessing.size, generator=generator).to(self.device)
        logits, activations = self.forward_with_activations(batch)
        pooled = activations.mean((2, 3))
        # Logits that do not depend on the image, as of a head of zeros, would be explained by anything.
        spread = float((logits[0] - logits[1]).abs().max())
        for name in reversed(names):
            weight: torch.Tensor = parameters[f"{name}.weight"]
            bias: torch.Tensor = parameters.get(f"{name}.bias", weight.new_zeros(len(weight)))
            if single:
                weight = torch.cat([-weight / 2, weight / 2])
                bias = torch.cat([-bias / 2, bias / 2])
            if not spread or weight.shape[1] != pooled.shape[1]:
                continue
            # Without the bias, which may be far larger than what comes from the image.
            if torch.allclose(pooled @ weight.T, logits - bias, rtol=1e-3, atol=1e-2 * spread):
                return LinearHead(name, weight, bias)
        return None

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (N, K) logits of (N, C, h, w) inputs, on the classifier's device, without a graph."""
        inputs = inputs.to(self.device, non_blocking=True)
        with torch.no_grad():
            if self.device.type != "cpu" or inputs.ndim != 4 or self.__dict__.get("_channels_first", False):
                return self.module(inputs)
            try:
                # Convolutions take two thirds of the time on a CPU when the channels of a pixel lie side by side.
                return self.module(inputs.contiguous(memory_format=torch.channels_last))
            except RuntimeError:
                # A network that calls `Tensor.view` on its maps, for one, needs its inputs as they are.
                logits = self.module(inputs)
                self.__dict__["_channels_first"] = True
                return logits

    def tap(self, *, cut: bool = False) -> ActivationTap:
        """Return a tap, to be entered, that keeps the target layer's activations (N, F, h, w); see `ActivationTap`."""
        return ActivationTap(self.module, self.target_layer, cut=cut, size=self.preprocessing.size, grid=self.grid)

    def forward_with_activations(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, K) logits and (N, F, h, w) target-layer activations, without a graph."""
        with torch.no_grad(), self.tap() as tap:
            logits = self.module(inputs.to(self.device, non_blocking=True))
            return logits, tap.take()

    def logits_from(self, activations: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Return the logits if the target layer put out other activations, without a graph.

        Parameters
        ----------
        activations : Tensor
            (M, F, h, w), M variants of what the layer puts out for the image.
        image : Tensor
            (1, C, h, w) input; what goes past the layer comes from it.

        Returns
        -------
        Tensor
            (M, K).
        """
        tap = ActivationTap(self.module, self.target_layer, size=self.preprocessing.size, grid=self.grid, put=activations)
        image = image.to(self.device)
        with torch.no_grad(), tap:
            try:
                # What lies below the layer is computed once, and the batch grows at the layer.
                logits = self.module(image)
                if len(logits) == len(activations):
                    return logits
            except RuntimeError:
                pass
            # Networks that remember the batch's size, or join another branch to the layer's output.
            return self.module(image.expand(len(activations), -1, -1, -1))

    def with_layer(self, name: str, grid: Grid | None = None) -> Classifier:
        """Return the same classifier with another target layer; the module is shared.

        Parameters
        ----------
        name : str
            Dotted name of the layer.
        grid : tuple of int, optional
            (rows, columns) of its tokens; by default the grid set before where that fits, else told from the patches.

        Raises
        ------
        ModelError
            The model has no such layer, it puts out neither maps nor features, or its tokens do not fit the grid.
        """
        module, channels, size = self.module, self.preprocessing.channels, self.preprocessing.size
        if grid is not None:
            choose_layer(module, channels, size, layer=name, grid=grid)
            return replace(self, target_layer=name, grid=grid)
        found = next((info for info in self.layers if info.name == name), None)
        if found is None:
            found = choose_layer(module, channels, size, layer=name)
        fits = self.grid is not None and found.layout.grid == self.grid
        return replace(self, target_layer=name, grid=self.grid if fits else None)

    def copy(self) -> Classifier:
        """Return a classifier with a module of its own."""
        return replace(self, module=copy_module(self.module), info=copy.deepcopy(self.info))

    def to(self, device: torch.device | str) -> Classifier:
        """Move the module to `device` (in place) and return the classifier."""
        self.module.to(device)
        self.__dict__.pop("head", None)
        return self

    def fingerprint(self) -> str:
        """Return a SHA-256 hex digest of weights, target layer, grid and preprocessing; what caches are kept by."""
        digest = hashlib.sha256(f"{self.arch}|{self.target_layer}|{self.grid}|{self.preprocessing!r}".encode())
        for name, tensor in self.module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def build_classifier(
    arch: str,
    class_names: tuple[str, ...],
    preprocessing: Preprocessing,
    *,
    target_layer: str | None = None,
    grid: Grid | None = None,
    trust: bool = False,
    seed: int = 0,
) -> Classifier:
    """Make a classifier with random weights.

    Parameters
    ----------
    arch : str
        A name that `build_module` knows.
    class_names : tuple of str
        At least two.
    preprocessing : Preprocessing
        Size and channels of the input among it.
    target_layer : str, optional
        By default the last layer with maps, the last of a vision transformer whose patches matter, or, where there are no
        maps, the last with features before the logits.
    grid : tuple of int, optional
        (rows, columns) of the target layer's tokens; by default told from the patches.
    trust : bool
        The user agrees that the code of a file that makes the network runs.
    seed : int
        Of the weights; torch's own generator is left as it was.

    Raises
    ------
    ModelError
        Unknown architecture, fewer than two classes, an input that the network cannot take, no layer to explain.
    ConsentNeeded
        Code makes the network, and `trust` is not given.
    """
    if len(class_names) < 2:
        raise ModelError(f"A classifier needs at least two classes, not {len(class_names)}; add images of another class.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build_module(arch, len(class_names), preprocessing.channels, preprocessing.size, trust=trust)
    found = choose_layer(module, preprocessing.channels, preprocessing.size, layer=target_layer, grid=grid)
    return Classifier(module, tuple(class_names), preprocessing, found.name, arch, grid=grid)


def check_fits(classifier: Classifier, dataset: Dataset) -> None:
    """Check that the dataset's labels mean the classifier's classes.

    Raises
    ------
    ModelError
        Number, names or order of the classes differ.
    """
    ours, theirs = classifier.class_names, dataset.class_names
    if tuple(ours) == tuple(theirs):
        return
    if len(ours) != len(theirs):
        raise ModelError(
            f"The model knows {len(ours)} classes ({_some(ours)}) and the dataset has {len(theirs)} ({_some(theirs)}); "
            "choose the model that was trained for this dataset."
        )
    raise ModelError(
        f"The model's classes ({_some(ours)}) are not the dataset's ({_some(theirs)}), or not in that order; "
        "choose the model that was trained for this dataset."
    )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
