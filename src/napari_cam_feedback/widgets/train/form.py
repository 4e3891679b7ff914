"""What the user chooses for a training: images, what to start from, settings, and where the model goes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.files import unused
from napari_cam_feedback.model_names import TORCHVISION, Architecture
from napari_cam_feedback.widgets.parts.basics import (
    ChoiceBox,
    form_layout,
    narrow,
    show_row,
    small_button,
    tight,
    wrapped_label,
)
from napari_cam_feedback.widgets.parts.config_form import ConfigForm
from napari_cam_feedback.widgets.parts.editors import extras
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.parts.model_form import AS_FILE, ModelForm
from napari_cam_feedback.widgets.parts.path_field import PathField
from napari_cam_feedback.widgets.session.sources import home

SCRATCH, MODEL = "scratch", "model"
_KINDS = ((SCRATCH, "random weights"), (MODEL, "a trained network"))
_HINTS = {
    SCRATCH: "All of the network learns from your images alone; needs some hundred images a class, or plain ones.",
    MODEL: "The network's last layer is replaced by a new one, which learns first; then all learns a little. "
    "Works with few images.",
}
_DEVICES = (("auto", "automatic"), ("cpu", "CPU"), ("cuda", "NVIDIA GPU (cuda)"), ("mps", "Apple GPU (mps)"))
_MODEL_FILES = "Models (*.safetensors *.pt *.pth *.th *.ckpt *.bin *.tar);;All files (*)"
_DATA_FILES = "Images (*.csv *.tsv *.npz *.tif *.tiff);;All files (*)"
SUFFIX = ".safetensors"
#: Settings shown at once; the others are folded away.
COMMON = ("epochs", "head_epochs", "learning_rate", "augment")


@dataclass(frozen=True)
class Order:
    """What the user has chosen; plain values, handed to the worker that trains.

    Attributes
    ----------
    data : Path
        The images.
    model : str or None
        What to start from: a file, or ``torchvision:NAME``; None for random weights.
    settings : dict
        Fields of `ModelOptions` that the user gave; ``class_names`` as the path of a file of names.
    training : TrainConfig
        Settings.
    out : Path
        File of the model.
    device : str
        As `pick_device` takes it.
    """

    data: Path
    model: str | None
    settings: dict[str, Any] = field(default_factory=dict)
    training: Any = None
    out: Path = Path()
    device: str = "auto"


class NetworkForm(ModelForm):
    """The form of what a model's file does not say, as it suits a training: the architecture stands elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        rows = self.content.layout()
        assert isinstance(rows, QFormLayout)
        rows.labelForField(self.arch).hide()
        rows.removeWidget(self.arch)
        self._rows = rows
        self._empty = AS_FILE
        self._count()

    def suit(self, kind: str) -> None:
        """Say what holds for fields left empty."""
        scratch = kind == SCRATCH
        before, self._empty = self._empty, "from the images" if scratch else AS_FILE
        show_row(self._rows, self.weights, not scratch)
        self.hint.setText(
            "How the images become the network's input; what is left empty is chosen from the images."
            if scratch
            else "A plain .pt or .pth file holds weights alone: name its architecture, and how its images were prepared."
        )
        self.arch.edit.setPlaceholderText("small-gap" if scratch else AS_FILE)
        for line in self.content.findChildren(QLineEdit):
            if line.placeholderText() == before:
                line.setPlaceholderText(self._empty)
        for combo in self.content.findChildren(QComboBox):
            if combo.itemText(0) == before:
                combo.setItemText(0, self._empty)

    def _count(self) -> None:
        try:
            number = len([name for name in self.settings() if name != "arch"])
        except ConfigError:
            number = 1
        self.button.setText("The network's input" + (f" ({number} given)" if number else ""))


class SaveField(PathField):
    """A line for a file to be written, with a button that opens a dialog."""

    def __init__(self) -> None:
        super().__init__()
        row = self.layout()
        assert isinstance(row, QHBoxLayout)
        row.addWidget(small_button("Save as…", self._choose))

    def _choose(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the model as", self._start(), f"Models (*{SUFFIX})")
        if name:
            self.edit.setText(name)
            self.edit.textEdited.emit(name)


class TrainForm(QWidget):
    """Images, start, settings, file and device."""

    def __init__(self) -> None:
        super().__init__()
        self._touched = False
        self.settings: ConfigForm | None = None
        self._fields: dict[str, Any] = {}
        column = tight(QVBoxLayout(self), 4)
        form = form_layout()
        self._rows = form
        self.data = PathField(folder=True, files=_DATA_FILES, hint="folder or file")
        self.data.setToolTip(
            "A folder with a folder per class, with or without train/ val/ test/ above them;\n"
            "or any other dataset that Session opens. Without a split, one is made and noted."
        )
        form.addRow("Images", self.data)
        self.kind = ChoiceBox()
        for name, title in _KINDS:
            self.kind.addItem(title, name)
        narrow(self.kind)
        form.addRow("Start from", self.kind)
        self.hint = wrapped_label(tone="quiet")
        form.addRow(self.hint)
        self.model = PathField(files=_MODEL_FILES, hint="a file, or torchvision:NAME")
        self.model.setToolTip(
            "A model of ours, weights of others with their architecture, or torchvision:resnet18 and the like"
        )
        form.addRow("Model", self.model)
        self.network = NetworkForm()
        self.arch = self.network.arch
        form.addRow("Architecture", self.arch)
        form.addRow(self.network)
        column.addLayout(form)
        self.waiting = wrapped_label("Loading PyTorch…", "quiet")
        holder = QWidget()
        self._settings_rows = tight(QVBoxLayout(holder))
        self._settings_rows.addWidget(self.waiting)
        column.addWidget(Fold("Settings", holder, opened=True))
        last = form_layout()
        self.out = SaveField()
        self.out.setToolTip("The model's file; a folder <name>_training beside it records how it was made")
        last.addRow("Save as", self.out)
        self.device = ChoiceBox()
        for name, title in _DEVICES:
            self.device.addItem(title, name)
        last.addRow("Device", self.device)
        column.addLayout(last)
        self.out.edit.textEdited.connect(self._out_touched)
        for edit in (self.data.edit, self.model.edit, self.arch.edit):
            edit.textChanged.connect(self._suggest)
        self.kind.currentIndexChanged.connect(self._kind_chosen)
        self._kind_chosen()

    def build(self, architectures: Sequence[str] = ()) -> None:
        """Make the settings, now that torch is loaded, and offer all architectures that there are."""
        from napari_cam_feedback.training import TrainConfig

        if self.settings is None:
            self.settings = ConfigForm(TrainConfig, common=COMMON)
            self._fields = dict(TrainConfig.model_fields)
            self.waiting.hide()
            self._settings_rows.addWidget(self.settings)
            self.settings.changed.connect(self._show_what_matters)
        if architectures:
            self.arch.set_names(architectures)
        self._show_what_matters()

    @property
    def from_model(self) -> bool:
        """Whether the training starts from a model."""
        return bool(self.kind.currentData() == MODEL)

    def choose(
        self, data: Path, *, model: Path | str | None = None, arch: str | None = None, out: Path | None = None
    ) -> None:
        """Choose as the user would."""
        self.data.set_path(data)
        self.kind.setCurrentIndex(self.kind.findData(SCRATCH if model is None else MODEL))
        if model is not None:
            self.model.set_path(model)
        if arch is not None:
            self.arch.edit.setText(arch)
        if out is not None:
            self.out.set_path(out)
            self._touched = True

    def order(self) -> Order:
        """Return what the user has chosen.

        Raises
        ------
        ConfigError
            Something is missing, or a field holds what cannot be used; the sentence names it.
        """
        assert self.settings is not None
        data = self.data.path
        if data is None:
            raise ConfigError("Choose the images first: a folder with a folder of images for each class.", field="data")
        model = None
        if self.from_model:
            text = self.model.text
            if not text:
                raise ConfigError("Choose the model to start from: a file, or torchvision:NAME.", field="model")
            model = text if Architecture.of(text).pretrained else str(self.model.path)
        settings = self.network.settings()
        if model is None:
            settings.pop("weights", None)
        out = self._out_file()
        if out is None:
            raise ConfigError("Name the file that the model is to be saved as.", field="out")
        hidden = {name: self.settings.default(name) for name in self._hidden()}
        return Order(data, model, settings, self.settings.config(**hidden), out.absolute(), self.device.currentData())

    def reveal(self, names: Sequence[str]) -> None:
        """Put the cursor into the first of these settings that has a field here, unfolding where it is."""
        own: dict[str, QWidget] = {"data": self.data, "model": self.model, "arch": self.arch, "out": self.out}
        name = next(iter(names), None)
        if name in own:
            own[name].setFocus(Qt.FocusReason.OtherFocusReason)
        elif self.settings is not None and name in self.settings.names:
            self.settings.reveal(names)
        else:
            self.network.reveal(names)

    def _out_file(self) -> Path | None:
        out = self.out.path
        return out if out is None or out.suffix == SUFFIX else out.with_name(f"{out.name}{SUFFIX}")

    def suggest_another(self) -> None:
        """Propose a new name, since the present one is taken; beside it where the user chose the place."""
        out = self._out_file()
        if self._touched and out is not None and out.exists():
            # The third is not to be the second of the second.
            first = out.with_stem(re.sub(r"-\d+$", "", out.stem))
            self.out.set_path(unused(first if first.exists() else out))
            return
        self._touched = False
        self._suggest()

    def _hidden(self) -> set[str]:
        """Settings of no use to the present start."""
        assert self.settings is not None
        hidden = {name for name in self.settings.names if not self.from_model and extras(self._fields[name]).get("transfer")}
        return hidden if self.settings.values()["augment"] else hidden | {"mirror"}

    def _show_what_matters(self) -> None:
        if self.settings is not None:
            hidden = self._hidden()
            for name in self.settings.names:
                self.settings.set_row_visible(name, name not in hidden)

    def _kind_chosen(self) -> None:
        show_row(self._rows, self.model, self.from_model)
        self.hint.setText(_HINTS[self.kind.currentData()])
        self.network.suit(self.kind.currentData())
        self._show_what_matters()
        self._suggest()

    def _out_touched(self, *_: object) -> None:
        self._touched = True

    def _suggest(self, *_: object) -> None:
        """Propose a file that is not there yet, until the user names one."""
        if self._touched:
            return
        start = self.model.text if self.from_model else self.arch.edit.text() or "small-gap"
        start = start.removesuffix(SUFFIX).removeprefix(TORCHVISION)
        words = [self.data.path.name if self.data.path else "", re.split(r"[/\\]", start)[-1]]
        name = re.sub(r"[^\w.-]+", "-", "-".join(word for word in words if word)).strip("-.") or "model"
        self.out.set_path(unused(home() / "models" / f"{name}{SUFFIX}"))
