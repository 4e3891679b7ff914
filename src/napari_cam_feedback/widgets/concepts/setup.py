"""What is to be tested: concepts, random images, classes, layer and settings."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QDialog, QSizePolicy, QVBoxLayout, QWidget

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.widgets.concepts.list import ConceptList
from napari_cam_feedback.widgets.concepts.model import ConceptModel, ConceptTest
from napari_cam_feedback.widgets.parts.basics import ChoiceBox, fill, form_layout, narrow, tight
from napari_cam_feedback.widgets.parts.class_chooser import ClassChooser
from napari_cam_feedback.widgets.parts.config_form import ConfigForm
from napari_cam_feedback.widgets.parts.path_field import PathField

#: With more classes than this, only that of the current image is chosen at first.
_MAX_CLASSES_AT_FIRST = 10
_CHOOSE = "choose …"
_RANDOM_TIP = (
    "A folder of images that show anything, best 200 or more, like the concepts' in everything else. "
    "Empty: the dataset's images of the other classes."
)
_LAYER_TIP = "Where in the network. Automatic: the last layer before which the answer still depends on the single image."


class ConceptSetup(QWidget):
    """The form of the dock.

    Parameters
    ----------
    model : ConceptModel
        What is chosen and known.
    """

    def __init__(self, model: ConceptModel) -> None:
        super().__init__()
        self._model = model
        self._several: tuple[int, ...] = ()
        self.list = ConceptList(model)
        self.random = PathField(folder=True, hint="the dataset's others")
        self.random.setToolTip(_RANDOM_TIP)
        self.label = ChoiceBox()
        self.label.setToolTip("For which classes the concepts may matter")
        self.split = ChoiceBox()
        self.split.setToolTip("Which of the class's images are looked at")
        self.layer = ChoiceBox()
        self.layer.setToolTip(_LAYER_TIP)
        form = tight(form_layout())
        for title, widget in (
            ("Random", self.random),
            ("Class", self.label),
            ("Its images", self.split),
            ("Layer", self.layer),
        ):
            if isinstance(widget, ChoiceBox):
                narrow(widget, 8)
                widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            form.addRow(title, widget)
        self.settings: ConfigForm | None = None
        self._column = tight(QVBoxLayout(self), 5)
        fill(self._column, self.list, form)
        self.label.activated.connect(self._label_chosen)
        model.session.opened.connect(self.opened)
        model.session.version_changed.connect(self._fill_layers)
        model.layers_known.connect(self._fill_layers)
        self.opened()

    def opened(self) -> None:
        """Offer the classes, splits and layers of what is open."""
        dataset = self._model.session.dataset
        if dataset is None:
            return
        self._build_settings()
        self._several = ()
        self.split.clear()
        self.split.addItem(f"all splits ({len(dataset)})", None)
        for name in dataset.split_names:
            self.split.addItem(f"{name} ({len(dataset.indices(name))})", name)
        self._fill_labels()
        self._fill_layers()

    def _build_settings(self) -> None:
        """Make the settings, with which torch is loaded; a project is open, so it is."""
        if self.settings is not None:
            return
        from napari_cam_feedback.explanations import ConceptTestConfig

        self.settings = ConfigForm(ConceptTestConfig, common=("runs", "seed"))
        self._column.addWidget(self.settings)

    def _fill_labels(self) -> None:
        names = self._model.session.class_names
        everything = tuple(range(len(names)))
        with QSignalBlocker(self.label):
            self.label.clear()
            self.label.addItem(f"all {len(names)} classes", everything)
            for number, name in enumerate(names):
                self.label.addItem(name, (number,))
            if self._several:
                self.label.addItem(f"{len(self._several)} chosen", self._several)
            if len(names) > 2:
                self.label.addItem(_CHOOSE, None)
            if self._several:
                self.label.setCurrentIndex(self.label.count() - 2)
            else:
                self.label.setCurrentIndex(0 if len(names) <= _MAX_CLASSES_AT_FIRST else 1 + self._present_class())

    def _present_class(self) -> int:
        session = self._model.session
        if session.dataset is None or session.index is None:
            return 0
        return max(0, int(session.dataset.labels[session.index]))

    def _label_chosen(self, place: int) -> None:
        if self.label.itemData(place) is not None:
            return
        dialog = ClassChooser(self._model.session.class_names, self._several, self)
        dialog.setWindowTitle("Classes to test")
        if dialog.exec() == QDialog.DialogCode.Accepted and dialog.chosen:
            self._several = dialog.chosen
        self._fill_labels()

    def choose_classes(self, classes: tuple[int, ...]) -> None:
        """Choose classes as the user would."""
        place = next((n for n in range(self.label.count()) if self.label.itemData(n) == classes), -1)
        if place < 0:
            self._several = classes
            self._fill_labels()
        else:
            self.label.setCurrentIndex(place)

    def _fill_layers(self) -> None:
        known, before = self._model.layers, self.layer.currentData()
        with QSignalBlocker(self.layer):
            self.layer.clear()
            if known is None:
                self.layer.addItem("automatic", None)
                return
            shapes = {info.name: "×".join(map(str, info.shape)) for info in known.infos}
            self.layer.addItem(f"{known.default} ({shapes.get(known.default, '')}), automatic", None)
            for name, shape in reversed(shapes.items()):
                self.layer.addItem(f"{name} ({shape})", name)
            self.layer.setCurrentIndex(max(0, self.layer.findData(before)))

    def concept_test(self) -> ConceptTest:
        """Return what is to be tested.

        Raises
        ------
        ConfigError
            There is no concept, or a setting cannot be used.
        """
        if not self._model.sets and not self.list.painted_concept:
            raise ConfigError("There is no concept yet; add a folder with images of it, or tick what you painted.")
        config: Any = self.settings.config() if self.settings is not None else None
        return ConceptTest(
            painted=self.list.painted_concept,
            random=self.random.path,
            classes=self.label.currentData(),
            layer=self.layer.currentData(),
            split=self.split.currentData(),
            config=config,
        )
