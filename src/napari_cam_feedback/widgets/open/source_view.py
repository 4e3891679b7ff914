"""The choice of what to open, of the page *Open*: a sample, a model with its images, the viewer's layers, or a project."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QComboBox, QFormLayout, QGroupBox, QSizePolicy, QStackedWidget, QVBoxLayout, QWidget

from napari_cam_feedback.data import SAMPLES
from napari_cam_feedback.errors import FeedbackError
from napari_cam_feedback.files import unused
from napari_cam_feedback.model_names import Architecture
from napari_cam_feedback.widgets.open.layers_page import LayersPage
from napari_cam_feedback.widgets.open.recent_list import RecentList
from napari_cam_feedback.widgets.parts.basics import fill, form_layout, narrow, show_row, tight, wrapped_label
from napari_cam_feedback.widgets.parts.model_form import ModelForm
from napari_cam_feedback.widgets.parts.path_field import PathField
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.session.sources import ProjectSource, home
from napari_cam_feedback.widgets.viewer.preferences import preferences

SAMPLE, FILES, LAYERS, PROJECT = "sample", "files", "layers", "project"
_KINDS = (
    (SAMPLE, "A sample"),
    (FILES, "A model and its images"),
    (LAYERS, "A model and the viewer's layers"),
    (PROJECT, "An existing project"),
)
_HINTS = {
    FILES: "The model's file, and the images that it is to classify. Whatever the file does not say can be said below.",
    LAYERS: "The model's file, and the open layers that it is to classify; images without a class can be looked at too.",
    PROJECT: "The folder of a project that you began before; you go on where you stopped.",
}
_DEVICES = (("auto", "automatic"), ("cpu", "CPU"), ("cuda", "NVIDIA GPU (cuda)"), ("mps", "Apple GPU (mps)"))
_MODEL_FILES = "Models (*.safetensors *.pt *.pth *.th *.ckpt *.bin *.tar *.pt2);;All files (*)"
_DATA_FILES = "Images (*.csv *.tsv *.npz *.tif *.tiff);;All files (*)"


class SourceView(QGroupBox):
    """Lets the user choose what to open.

    Parameters
    ----------
    session : Session
        Whose viewer's layers are listed, and whose consents go with a choice.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._project_touched = False
        self.knows_architectures = False
        form = form_layout(self)
        self.recent = RecentList(session)
        self.recent.picked.connect(self.choose_project)
        self.recent.listed.connect(lambda: show_row(form, self.recent, bool(self.recent.projects)))
        form.addRow("Recent", self.recent)
        show_row(form, self.recent, False)
        self.kind = QComboBox()
        for name, title in _KINDS:
            self.kind.addItem(title, name)
        form.addRow(self.kind)
        self.hint = wrapped_label(tone="quiet")
        form.addRow(self.hint)
        self._build_model(form)
        self._build_pages(form)
        self.form = ModelForm()
        form.addRow(self.form)
        self.project = PathField(folder=True)
        self.project.setToolTip("Where your masks and the model's versions are kept")
        self.project.edit.textEdited.connect(self._project_edited)
        form.addRow("Project", self.project)
        self.device = QComboBox()
        for name, title in _DEVICES:
            self.device.addItem(title, name)
        self.device.setCurrentIndex(max(0, self.device.findData(preferences().device)))
        self.device.setToolTip("Where the network runs; automatic takes a GPU where there is one")
        form.addRow("Device", self.device)
        self._rows = form
        self.kind.currentIndexChanged.connect(self._kind_chosen)
        self._kind_chosen()

    # Building -------------------------------------------------------------------------------------

    def _build_model(self, form: QFormLayout) -> None:
        self.model = PathField(files=_MODEL_FILES, hint="a file, or torchvision:NAME")
        self.model.setToolTip(
            "A .safetensors, .pt, .pth, .ckpt, .bin, .pth.tar or .pt2 file;\n"
            "or torchvision:resnet50 and the like, for a network with torchvision's own weights"
        )
        form.addRow("Model", self.model)
        self.model.edit.textChanged.connect(self._suggest_project)
        self.model.edit.textChanged.connect(self._show_known)

    def _build_pages(self, form: QFormLayout) -> None:
        self.data = PathField(folder=True, files=_DATA_FILES, hint="folder or file")
        self.data.setToolTip(
            "A folder with a folder per class, with or without train/ val/ test/ above them;\n"
            "a folder of .npy files, or CIFAR's batches;\n"
            "a CSV or TSV with the columns path, label, split; an NPZ with x_train, y_train, …;\n"
            "or a TIFF with many pages"
        )
        self.data.edit.textChanged.connect(self._suggest_project)
        form.addRow("Images", self.data)
        self.layers = LayersPage(self._session.viewer)
        self.pages = QStackedWidget()
        self._pages = {SAMPLE: self._build_sample_page(), LAYERS: self.layers}
        for page in self._pages.values():
            self.pages.addWidget(page)
        form.addRow(self.pages)

    def _build_sample_page(self) -> QWidget:
        page = QWidget()
        column = tight(QVBoxLayout(page))
        self.sample = QComboBox()
        for name, info in SAMPLES.items():
            self.sample.addItem(info.title, name)
        narrow(self.sample)
        self.sample_text = wrapped_label()
        self.sample.currentIndexChanged.connect(self._sample_chosen)
        fill(column, self.sample, self.sample_text)
        column.addStretch(1)
        return page

    # Choosing -------------------------------------------------------------------------------------

    def _kind_chosen(self) -> None:
        kind = self.kind.currentData()
        for name, page in self._pages.items():
            # A hidden page must not keep the room that it would need.
            policy = page.sizePolicy()
            policy.setVerticalPolicy(QSizePolicy.Policy.Preferred if name == kind else QSizePolicy.Policy.Ignored)
            page.setSizePolicy(policy)
        if kind in self._pages:
            self.pages.setCurrentWidget(self._pages[kind])
        self.hint.setText(_HINTS.get(kind, ""))
        self.hint.setVisible(kind in _HINTS)
        own_model = kind in (FILES, LAYERS)
        for widget, shown in (
            (self.model, own_model),
            (self.data, kind == FILES),
            (self.pages, kind in self._pages),
            (self.form, own_model),
        ):
            show_row(self._rows, widget, shown)
        self._project_touched = False
        self._sample_chosen()

    def _sample_chosen(self) -> None:
        self.sample_text.setText(SAMPLES[self.sample.currentData()].description)
        self._suggest_project()

    def _project_edited(self) -> None:
        self._project_touched = True

    def _suggest_project(self) -> None:
        if self._project_touched:
            return
        kind = self.kind.currentData()
        if kind == SAMPLE:
            self.project.set_path(home() / self.sample.currentData())
        elif kind == FILES:
            names = [self.data.path.stem if self.data.path else "", self._model_name()]
            self.project.set_path(home() / ("-".join(name for name in names if name) or "project"))
        elif kind == LAYERS:
            # Their copies go into it, so that it must be a new one.
            self.project.set_path(unused(home() / "-".join(filter(None, ("layers", self._model_name())))))
        elif self._session.project is not None:
            self.project.set_path(self._session.project.folder)
        else:
            self.project.set_path(home())

    def _model_name(self) -> str:
        model = self._model()
        if model is None:
            return ""
        return model.stem if isinstance(model, Path) else re.sub(r"[^\w.-]+", "-", Architecture.of(model).name)

    def _model(self) -> Path | str | None:
        """The model file, or the text of a model that has none."""
        text = self.model.text
        return text if Architecture.of(text).pretrained else self.model.path

    def source(self) -> ProjectSource:
        """Return what the user has chosen.

        Raises
        ------
        ConfigError
            A field holds something that cannot be used; the sentence names it.
        """
        kind = self.kind.currentData()
        return ProjectSource(
            kind=kind,
            project=(self.project.path or home()).absolute(),
            sample=self.sample.currentData(),
            model=self._model(),
            data=self.data.path,
            layers=self.layers.picked() if kind == LAYERS else (),
            settings=self.form.settings() if kind in (FILES, LAYERS) else {},
            device=self.device.currentData(),
            consents=self._session.consents,
        )

    def choose_sample(self, name: str) -> None:
        """Choose a sample as the user would."""
        self._choose(SAMPLE)
        self.sample.setCurrentIndex(self.sample.findData(name))

    def choose_files(self, model: Path | str, data: Path, project: Path | None = None) -> None:
        """Choose a model and its images as the user would."""
        self._choose(FILES)
        self.model.set_path(model)
        self.data.set_path(data)
        if project is not None:
            self._set_project(project)

    def choose_part(self, *, model: Path | None = None, data: Path | None = None) -> bool:
        """Choose a model's file or its images, and keep the other; return whether both are chosen now."""
        self._choose(FILES)
        if model is not None:
            self.model.set_path(model)
        if data is not None:
            self.data.set_path(data)
        return self._model() is not None and self.data.path is not None

    def choose_layers(self, model: Path | str, project: Path | None = None) -> None:
        """Choose a model and the viewer's layers as the user would."""
        self._choose(LAYERS)
        self.model.set_path(model)
        if project is not None:
            self._set_project(project)

    def choose_project(self, folder: Path) -> None:
        """Choose an existing project as the user would."""
        self._choose(PROJECT)
        self._set_project(folder)

    def _choose(self, kind: str) -> None:
        self.kind.setCurrentIndex(self.kind.findData(kind))

    def _set_project(self, folder: Path) -> None:
        self.project.set_path(folder)
        self._project_touched = True

    # Helping --------------------------------------------------------------------------------------

    def offer_class_names(self, names: Sequence[str]) -> None:
        """Offer these classes for the viewer's layers."""
        if names:
            self.layers.set_class_names(names)

    def offer_architectures(self, names: Sequence[str]) -> None:
        """Offer these architectures."""
        self.knows_architectures = True
        self.form.arch.set_names(names)

    def _show_known(self) -> None:
        """Show what the model's file says in the form, where looking costs nothing: once torch is loaded."""
        header: dict[str, Any] | None = None
        path = self.model.path
        if path is not None and path.suffix == ".safetensors" and "torch" in sys.modules and path.is_file():
            from napari_cam_feedback.models import read_header

            try:
                header = read_header(path)
            except FeedbackError:
                header = None  # said when it is loaded
        self.form.show_known(header)
        self.offer_class_names((header or {}).get("class_names") or ())
