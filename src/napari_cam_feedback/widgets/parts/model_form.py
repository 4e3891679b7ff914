"""The form “Model details”: what a user says about a model whose file does not say it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QStringListModel, Qt
from qtpy.QtWidgets import QCompleter, QFileDialog, QHBoxLayout, QLineEdit, QWidget

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.widgets.parts.basics import ChoiceBox, form_layout, narrow, small_button, tight, wrapped_label
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.parts.naming import TitleNames
from napari_cam_feedback.widgets.parts.path_field import PathField

TITLE = "Model details"
AS_FILE = "as the file says"
# Before torch is loaded nothing knows torchvision's hundred; these are what is met most.
_COMMON = (
    "torchvision:resnet18",
    "torchvision:resnet34",
    "torchvision:resnet50",
    "torchvision:densenet121",
    "torchvision:efficientnet_b0",
    "torchvision:convnext_tiny",
    "torchvision:mobilenet_v3_large",
    "torchvision:vgg16",
    "torchvision:vit_b_16",
    "torchvision:swin_t",
    "efficientnet-lite0",
    "small-gap",
    "residual-vgg",
)
#: What each field of `ModelOptions` is called here, in the form's order.
TITLES = {
    "arch": "Architecture",
    "weights": "Weights",
    "class_names": "Class names",
    "size": "Input size",
    "crop": "Scaling",
    "resize_to": "Shorter side",
    "interpolation": "Interpolation",
    "channels": "Colours",
    "channel_order": "Colour order",
    "value_range": "Value range",
    "mean": "Mean",
    "std": "Deviation",
    "layer": "Target layer",
    "grid": "Token grid",
}
#: What this form calls the settings of a model.
MODEL_FIELDS = TitleNames(TITLES)


class ModelForm(Fold):
    """Fields of `ModelOptions`, all optional and folded away; empty ones change nothing."""

    def __init__(self) -> None:
        content = QWidget()
        super().__init__(TITLE, content)
        form = tight(form_layout(content))
        self.hint = wrapped_label(
            "A plain .pt or .pth file holds weights alone: name its architecture, and how its images were prepared. "
            "Leave empty what you do not know.",
            "quiet",
        )
        form.addRow(self.hint)
        self.arch = _ArchitectureField()
        self.weights = _line("torchvision's best", "Which of torchvision's weights, for a model torchvision:NAME")
        self.class_names = PathField(files="Class names (*.txt *.json *.csv);;All files (*)", hint=AS_FILE)
        self.class_names.setToolTip(
            "A file with the names in the order of the model's outputs: one a line, or JSON, or a CSV.\n"
            "Without it, and where the model does not say them: the names of the images' classes."
        )
        self.input_size = _line(AS_FILE, "Input height and width in pixels, as in 224x320; one number for a square")
        self.crop = _choice(
            (("stretch to the input's size", False), ("scale, cut out the centre", True)),
            "Whether the whole image is stretched to the input's size, or scaled and its centre cut out",
        )
        self.resize_to = _line(AS_FILE, "When the centre is cut out: pixels of the shorter side before that, often 256")
        self.interpolation = _choice(
            (("bilinear", "bilinear"), ("bicubic", "bicubic")), "How pixels are made when the image is scaled"
        )
        self.channels = _choice((("gray", 1), ("RGB", 3)), "Whether the network takes gray or colour images")
        self.channel_order = _choice(
            (("RGB", "rgb"), ("BGR, as OpenCV reads", "bgr")), "Which colour the network expects first"
        )
        scale = "in units of the value range (0 to 1), a number for each channel"
        self.mean = _line(AS_FILE, f"Subtracted from each channel, {scale}: 0.485 0.456 0.406")
        self.std = _line(AS_FILE, f"Divided into each channel, {scale}: 0.229 0.224 0.225")
        self.value_range = _line(AS_FILE, "The pixel values that become 0 and 1, low then high: 0 4095")
        self.layer = _line("the last with maps", "Dotted name of the layer to explain; it can be changed after loading")
        self.grid = _line(
            "rows x columns", "How the target layer's tokens lie on the image, as in 14x14; needed where they are no square"
        )
        self.fields: dict[str, QWidget] = {
            name: self.input_size if name == "size" else getattr(self, name) for name in TITLES
        }
        for name, widget in self.fields.items():
            form.addRow(TITLES[name], widget)
            # A title is part of its field: its tip must be found there too.
            form.labelForField(widget).setToolTip(widget.toolTip())
        self.arch.edit.textChanged.connect(self._count)
        for widget in (*self.fields.values(), self.class_names.edit):
            if isinstance(widget, QLineEdit):
                widget.textChanged.connect(self._count)
        for combo in (self.crop, self.interpolation, self.channels, self.channel_order):
            combo.currentIndexChanged.connect(self._count)

    def settings(self) -> dict[str, Any]:
        """Return the fields that were filled in, by the names of `ModelOptions`; class names as a path.

        Raises
        ------
        ConfigError
            A field holds something that is no number; the sentence names it.
        """
        found: dict[str, Any] = {
            "arch": self.arch.edit.text().strip() or None,
            "weights": self.weights.text().strip() or None,
            "class_names": self.class_names.path,
            "size": self._whole("size", self.input_size, 2),
            "crop": self.crop.currentData(),
            "resize_to": (self._whole("resize_to", self.resize_to, 1) or (None,))[0],
            "interpolation": self.interpolation.currentData(),
            "channels": self.channels.currentData(),
            "channel_order": self.channel_order.currentData(),
            "value_range": self._numbers("value_range", self.value_range, 2),
            "mean": self._numbers("mean", self.mean),
            "std": self._numbers("std", self.std),
            "layer": self.layer.text().strip() or None,
            "grid": self._whole("grid", self.grid, 2),
        }
        return {name: value for name, value in found.items() if value is not None}

    def show_known(self, header: Mapping[str, Any] | None) -> None:
        """Show what the model's file says as placeholders; None: nobody knows."""
        known = {**(header or {}), **((header or {}).get("preprocessing") or {})}

        def text(name: str, empty: str = AS_FILE) -> str:
            value = known.get(name)
            if value is None:
                return empty
            return " ".join(f"{part:g}" for part in value) if isinstance(value, list | tuple) else str(value)

        self.arch.edit.setPlaceholderText(text("arch"))
        names = known.get("class_names")
        self.class_names.edit.setPlaceholderText(", ".join(names) if names else AS_FILE)
        for name, line in (("mean", self.mean), ("std", self.std), ("value_range", self.value_range)):
            line.setPlaceholderText(text(name))
        self.layer.setPlaceholderText(str(known.get("target_layer") or "the last with maps"))
        size = known.get("size")
        self.input_size.setPlaceholderText("x".join(str(n) for n in size) if size else AS_FILE)
        for name, combo in (
            ("crop", self.crop),
            ("interpolation", self.interpolation),
            ("channels", self.channels),
            ("channel_order", self.channel_order),
        ):
            row = combo.findData(known[name]) if known.get(name) is not None else -1
            combo.setItemText(0, AS_FILE if row < 0 else f"{AS_FILE}: {combo.itemText(row)}")

    def reveal(self, names: Sequence[str]) -> bool:
        """Unfold, and put the cursor into the first of these settings that has a field; tells whether any has."""
        field = next((self.fields[name] for name in names if name in self.fields), None)
        if field is not None:
            self.set_opened(True)
            field.setFocus(Qt.FocusReason.OtherFocusReason)
        return field is not None

    def _whole(self, name: str, line: QLineEdit, count: int) -> tuple[int, ...] | None:
        try:
            return whole_numbers(line.text(), TITLES[name], count)
        except ConfigError as error:
            raise ConfigError(str(error), field=name) from error

    def _numbers(self, name: str, line: QLineEdit, count: int = 0) -> tuple[float, ...] | None:
        parts = [part for part in re.split(r",?\s+|;", line.text().strip().strip("()[]")) if part]
        # A comma is a decimal one only where it cannot be what separates the numbers.
        if len(parts) == 1 and ("." in parts[0] or parts[0].count(",") > 1 or count == 2):
            parts = parts[0].split(",")
        if not parts:
            return None
        title = TITLES[name]
        try:
            values = tuple(float(part.replace(",", ".")) for part in parts)
        except ValueError:
            raise ConfigError(
                f"“{title}” cannot be “{line.text().strip()}”; write numbers with spaces between them.", field=name
            ) from None
        if count and len(values) != count:
            raise ConfigError(
                f"“{title}” needs {count} numbers, not {len(values)}; write the lowest and the highest value.", field=name
            )
        return values

    def _count(self) -> None:
        try:
            number = len(self.settings())
        except ConfigError:
            number = 1
        self.button.setText(f"{TITLE} ({number} given)" if number else TITLE)


class _ArchitectureField(QWidget):
    """An architecture's name, with completion, or a Python file of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.combo = ChoiceBox()
        self.combo.setEditable(True)
        narrow(self.combo, 4)
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(AS_FILE)
        self.combo.setLineEdit(self.edit)
        self._names = QStringListModel(self)
        completer = QCompleter(self._names, self)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.combo.setCompleter(completer)
        row = tight(QHBoxLayout(self), 3)
        row.addWidget(self.combo, 1)
        row.addWidget(small_button("File…", self._choose_file, "A Python file with a function that makes the network"))
        self.setFocusProxy(self.combo)
        self.setToolTip(
            "The network's architecture: a name such as torchvision:resnet18 or timm:NAME,\n"
            "or a Python file and the function in it that makes the network: /path/net.py:make"
        )
        self.set_names(_COMMON)

    def set_names(self, names: Sequence[str]) -> None:
        """Offer these names, keeping what is typed."""
        text = self.edit.text()
        self._names.setStringList(list(names))
        self.combo.clear()
        self.combo.addItems(["", *names])
        self.combo.setCurrentIndex(max(0, self.combo.findText(text)) if text in ("", *names) else 0)
        self.edit.setText(text)

    def _choose_file(self) -> None:
        start = self.edit.text().rpartition(":")[0] or str(Path.home())
        name, _ = QFileDialog.getOpenFileName(self, "A file that makes the network", start, "Python (*.py)")
        if name:
            functions = functions_of(Path(name))
            self.edit.setText(f"{name}:{functions[0] if functions else ''}")
            self.edit.setFocus()


def functions_of(path: Path) -> list[str]:
    """Return the names of a Python file's public functions and classes, read without running it."""
    import ast

    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    named = [node for node in body if isinstance(node, kinds) and not node.name.startswith("_")]
    # By custom a function makes the network that a class describes.
    return [node.name for node in sorted(named, key=lambda node: isinstance(node, ast.ClassDef))]


def whole_numbers(text: str, title: str, count: int) -> tuple[int, ...] | None:
    """Return the whole numbers above 0 that a field holds, None where it is empty; one number stands for a square.

    Raises
    ------
    ConfigError
        The text is not so many numbers; the sentence names the field by its `title`.
    """
    text = text.strip()
    if not text:
        return None
    found = re.fullmatch(r"\(?\s*(\d+)(?:\s*(?:[x×*,;]|\s)\s*(\d+))?\s*\)?", text, re.IGNORECASE)
    values = tuple(int(part) for part in found.groups() if part) if found else ()
    if count == 2 and len(values) == 1:
        values *= 2
    if len(values) != count or 0 in values:
        example = "two numbers such as 224x320" if count == 2 else "a whole number above 0"
        raise ConfigError(f"“{title}” cannot be “{text}”; write {example}.")
    return values


def _line(hint: str, tooltip: str) -> QLineEdit:
    line = QLineEdit()
    line.setPlaceholderText(hint)
    line.setToolTip(tooltip)
    return line


def _choice(entries: Sequence[tuple[str, Any]], tooltip: str) -> ChoiceBox:
    combo = ChoiceBox()
    combo.addItem(AS_FILE, None)
    for text, value in entries:
        combo.addItem(text, value)
    narrow(combo, 4)
    combo.setToolTip(tooltip)
    return combo
