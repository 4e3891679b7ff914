"""The Session dock: choose what to work on, load it, and see what was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.data import SAMPLES
from napari_cam_feedback.widgets.docks import open_dock
from napari_cam_feedback.widgets.loading import Source, find_head, home, load
from napari_cam_feedback.widgets.phase import Phase
from napari_cam_feedback.widgets.qt_check import qt_warning
from napari_cam_feedback.widgets.state import Opened, Session, session_of
from napari_cam_feedback.widgets.workers import Progress

if TYPE_CHECKING:
    from napari_cam_feedback.models import Classifier

_KINDS = (
    ("sample", "A sample"),
    ("files", "A model and its images"),
    ("project", "An existing project"),
)
_DEVICES = (("auto", "automatic"), ("cpu", "CPU"), ("cuda", "NVIDIA GPU (cuda)"), ("mps", "Apple GPU (mps)"))
_ARCHITECTURES = ("small-gap", "residual-vgg", "torchvision:resnet18")
_MODEL_FILES = "Models (*.safetensors *.pt *.pth *.th);;All files (*)"
_DATA_FILES = "Datasets (*.csv *.npz);;All files (*)"


class PathField(QWidget):
    """A line for a path, with buttons that open file dialogs.

    Parameters
    ----------
    folder : bool
        Whether a folder may be chosen.
    files : str
        Qt filter of the files that may be chosen; empty for none.
    """

    def __init__(self, *, folder: bool = False, files: str = "", hint: str = "") -> None:
        super().__init__()
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(hint)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        row.addWidget(self.edit, 1)
        self._files = files
        if files:
            row.addWidget(_small_button("File…", self._choose_file))
        if folder:
            row.addWidget(_small_button("Folder…", self._choose_folder))

    @property
    def path(self) -> Path | None:
        """What was typed or chosen, None where nothing was."""
        text = self.edit.text().strip()
        return Path(text).expanduser() if text else None

    def set_path(self, path: Path) -> None:
        """Show a path."""
        self.edit.setText(str(path))

    def _start(self) -> str:
        return str(self.path or Path.home())

    def _choose_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Choose a file", self._start(), self._files)
        if name:
            self.edit.setText(name)

    def _choose_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a folder", self._start())
        if name:
            self.edit.setText(name)


class SessionWidget(QWidget):
    """Opens samples, models with images, and projects; shows what is open."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._session: Session = session_of(napari_viewer)
        self._project_touched = False
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(330)
        self._build()
        session = self._session
        session.opened.connect(self._opened)
        session.version_changed.connect(self._opened)
        session.mask_changed.connect(lambda key: self._summarise())
        self._opened()

    # Building -------------------------------------------------------------------------------------

    def _build(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(6)
        warning = qt_warning()
        self.qt_warning = _label(warning or "")
        self.qt_warning.setStyleSheet("color: #e07b00;")
        self.qt_warning.setVisible(warning is not None)
        column.addWidget(self.qt_warning)
        column.addWidget(self._build_source())
        column.addLayout(self._build_buttons())
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.status = _label()
        self.error = _label()
        self.error.setStyleSheet("color: #e07b00;")
        for widget in (self.bar, self.status, self.error):
            widget.hide()
            column.addWidget(widget)
        column.addWidget(self._build_open())
        column.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        self._kind_chosen()

    def _build_source(self) -> QGroupBox:
        group = QGroupBox("Open")
        form = _form(group)
        self.kind = QComboBox()
        for name, title in _KINDS:
            self.kind.addItem(title, name)
        self.kind.currentIndexChanged.connect(self._kind_chosen)
        form.addRow(self.kind)
        self.pages = QStackedWidget()
        self._page_list = [self._build_sample_page(), self._build_files_page(), self._build_project_page()]
        for page in self._page_list:
            self.pages.addWidget(page)
        form.addRow(self.pages)
        self.project = PathField(folder=True)
        self.project.setToolTip("Where your masks and the model's versions are kept")
        self.project.edit.textEdited.connect(self._project_edited)
        form.addRow("Project", self.project)
        self.device = QComboBox()
        for name, title in _DEVICES:
            self.device.addItem(title, name)
        self.device.setToolTip("Where the network runs; automatic takes a GPU where there is one")
        form.addRow("Device", self.device)
        return group

    def _build_sample_page(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        self.sample = QComboBox()
        for name, info in SAMPLES.items():
            self.sample.addItem(info.title, name)
        self.sample_text = _label()
        self.sample.currentIndexChanged.connect(self._sample_chosen)
        column.addWidget(self.sample)
        column.addWidget(self.sample_text)
        column.addStretch(1)
        return page

    def _build_files_page(self) -> QWidget:
        page = QWidget()
        form = _form(page)
        form.setContentsMargins(0, 0, 0, 0)
        self.model = PathField(files=_MODEL_FILES, hint=".safetensors, .pt or .pth")
        self.data = PathField(folder=True, files=_DATA_FILES, hint="folder, .csv or .npz")
        self.data.setToolTip(
            "A folder train/ val/ test/ with a folder per class, a folder per class alone,\n"
            "a CSV with the columns path, label, split, or an NPZ with x_train, y_train, …"
        )
        form.addRow("Model", self.model)
        form.addRow("Images", self.data)
        self.arch = QComboBox()
        self.arch.setEditable(True)
        self.arch.addItems(["", *_ARCHITECTURES])
        line = QLineEdit()
        line.setPlaceholderText("only for plain weights")
        self.arch.setLineEdit(line)
        self.arch.setToolTip("Architecture of a file that holds weights alone, for example torchvision:resnet18")
        self.input_size = QSpinBox()
        self.input_size.setRange(0, 4096)
        self.input_size.setSpecialValueText("automatic")
        self.input_size.setSuffix(" px")
        self.input_size.setToolTip("Side of the input of a file that holds weights alone")
        form.addRow("Plain weights", self.arch)
        form.addRow("Input side", self.input_size)
        self.model.edit.textChanged.connect(self._suggest_project)
        self.data.edit.textChanged.connect(self._suggest_project)
        return page

    def _build_project_page(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(_label("Choose the folder of a project that you began before; its masks come back."))
        column.addStretch(1)
        return page

    def _build_buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.load_button = QPushButton("Load")
        self.load_button.clicked.connect(self.load)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(lambda: self._session.jobs.stop("load"))
        row.addWidget(self.load_button, 1)
        row.addWidget(self.cancel_button)
        machine = self._session.jobs.phase("load")
        machine.drive(start=[self.load_button], stop=[self.cancel_button])
        machine.changed.connect(self._phase_changed)
        return row

    def _build_open(self) -> QGroupBox:
        self.open_group = QGroupBox("Now open")
        column = QVBoxLayout(self.open_group)
        self.summary = _label()
        self.summary.setTextFormat(Qt.TextFormat.RichText)
        column.addWidget(self.summary)
        form = _form()
        self.version = QComboBox()
        self.version.setToolTip("Which version of the model to look through")
        self.version.activated.connect(self._version_chosen)
        self.layer = QComboBox()
        self.layer.setToolTip("The layer whose activations are explained and, when retuning, penalised")
        self.layer.activated.connect(self._layer_chosen)
        for combo in (self.version, self.layer):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(10)
        form.addRow("Version", self.version)
        form.addRow("Target layer", self.layer)
        column.addLayout(form)
        self.next_step = _label(
            "<b>Next:</b> open <i>Browse</i>, look at what the model uses, and paint over what it should "
            "not use. Then <i>Retune</i>."
        )
        column.addWidget(self.next_step)
        row = QHBoxLayout()
        for name in ("Browse", "Filters", "Retune"):
            button = QPushButton(f"Open {name}" if name == "Browse" else name)
            button.clicked.connect(lambda _=False, name=name: self._open(name))
            row.addWidget(button, 2 if name == "Browse" else 1)
        column.addLayout(row)
        return self.open_group

    # Choosing -------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        """Let the session know the window, so that it can save before that closes."""
        super().showEvent(event)
        self._session.watch(self)

    def _kind_chosen(self) -> None:
        self.pages.setCurrentIndex(self.kind.currentIndex())
        for number, page in enumerate(self._page_list):
            # A hidden page must not keep the room that it would need.
            policy = page.sizePolicy()
            shown = number == self.pages.currentIndex()
            policy.setVerticalPolicy(QSizePolicy.Policy.Preferred if shown else QSizePolicy.Policy.Ignored)
            page.setSizePolicy(policy)
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
        if kind == "sample":
            self.project.set_path(home() / self.sample.currentData())
        elif kind == "files":
            names = [path.stem for path in (self.data.path, self.model.path) if path is not None]
            self.project.set_path(home() / "-".join(names or ["project"]))
        elif self._session.project is not None:
            self.project.set_path(self._session.project.folder)
        else:
            self.project.set_path(home())

    def source(self) -> Source:
        """Return what the person has chosen."""
        side = self.input_size.value()
        return Source(
            kind=self.kind.currentData(),
            project=(self.project.path or home()).absolute(),
            sample=self.sample.currentData(),
            model=self.model.path,
            data=self.data.path,
            arch=self.arch.currentText().strip() or None,
            size=(side, side) if side else None,
            device=self.device.currentData(),
        )

    def choose_sample(self, name: str) -> None:
        """Choose a sample as the person would."""
        self.kind.setCurrentIndex(self.kind.findData("sample"))
        self.sample.setCurrentIndex(self.sample.findData(name))

    def choose_files(self, model: Path, data: Path, project: Path | None = None) -> None:
        """Choose a model and its images as the person would."""
        self.kind.setCurrentIndex(self.kind.findData("files"))
        self.model.set_path(model)
        self.data.set_path(data)
        if project is not None:
            self._set_project(project)

    def choose_project(self, folder: Path) -> None:
        """Choose an existing project as the person would."""
        self.kind.setCurrentIndex(self.kind.findData("project"))
        self._set_project(folder)

    def _set_project(self, folder: Path) -> None:
        self.project.set_path(folder)
        self._project_touched = True

    # Loading --------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load what is chosen, in the background."""
        source = self.source()
        self._say()
        # Before a project is read, which may be the one that is open.
        self._session.save()
        self._session.jobs.start(
            "load",
            lambda stop: load(source, stop),
            on_step=self._progress,
            on_done=self._loaded,
            on_failed=lambda sentence: self._say(error=sentence),
            on_stopped=lambda: self._say("Loading was cancelled."),
            description="Loading",
        )

    def _progress(self, step: Progress) -> None:
        # Nobody knows how long the first step takes: a bar that runs to and fro.
        self.bar.setRange(0, step.total if step.done else 0)
        self.bar.setValue(step.done)
        self._say(step.text)

    def _loaded(self, opened: Opened) -> None:
        if self._session.jobs.phase("load").phase is Phase.DONE:
            self._say()
        self._session.open(opened)

    def _phase_changed(self, phase: Phase) -> None:
        self.bar.setVisible(phase.busy)
        if phase is Phase.STOPPING:
            self._say("Cancelling …")

    def _say(self, status: str = "", error: str = "") -> None:
        self.status.setText(status)
        self.status.setVisible(bool(status))
        self.error.setText(error)
        self.error.setVisible(bool(error))

    # What is open -----------------------------------------------------------------------------------

    def _opened(self) -> None:
        session = self._session
        self.open_group.setVisible(session.project is not None)
        if session.project is None or session.classifier is None:
            return
        self._summarise()
        current = session.project.current.id
        with QSignalBlocker(self.version):
            self.version.clear()
            for version in session.project.versions:
                self.version.addItem(f"{version.id}: {version.origin}", version.id)
            self.version.setCurrentIndex(self.version.findData(current))
        with QSignalBlocker(self.layer):
            self.layer.clear()
            for info in session.classifier.layers:
                filters, height, width = info.shape
                self.layer.addItem(f"{info.name}  ({filters} filters, {height}x{width})", info.name)
            self.layer.setCurrentIndex(self.layer.findData(session.classifier.target_layer))

    def _summarise(self) -> None:
        session = self._session
        dataset, classifier, project = session.dataset, session.classifier, session.project
        if dataset is None or classifier is None or project is None:
            return
        counts = ", ".join(f"{name} {len(dataset.indices(name))}" for name in dataset.split_names)
        names = classifier.class_names
        classes = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        made = " (split made by us)" if dataset.made_split else ""
        rows = [
            ("Model", f"{classifier.arch} on {classifier.device}"),
            ("Input", describe_input(classifier)),
            ("Classes", f"{len(names)}: {classes}"),
            ("Images", counts + made),
            ("Masks", f"{len(session.autosave.painted())} painted"),
            ("Project", str(project.folder)),
        ]
        cells = "".join(f"<tr><td>{name}&nbsp;&nbsp;</td><td>{_breakable(value)}</td></tr>" for name, value in rows)
        self.summary.setText(f"<table>{cells}</table>")

    def _version_chosen(self, row: int) -> None:
        project, chosen = self._session.project, self.version.itemData(row)
        classifier = self._session.classifier
        if project is None or classifier is None or chosen == project.current.id:
            return
        device, layer = str(classifier.device), classifier.target_layer

        def work(stop: Any) -> Classifier:
            loaded = project.classifier(chosen, device=device)
            loaded = loaded.with_layer(layer)
            find_head(loaded)
            project.select(chosen)
            return loaded

        self._replace_classifier(work, f"Loading {chosen}")

    def _layer_chosen(self, row: int) -> None:
        classifier, layer = self._session.classifier, self.layer.itemData(row)
        if classifier is None or layer == classifier.target_layer:
            return

        def work(stop: Any) -> Classifier:
            changed = classifier.with_layer(layer)
            find_head(changed)
            return changed

        self._replace_classifier(work, f"Changing to {layer}")
        self._session.remember(layer=layer)

    def _replace_classifier(self, work: Any, description: str) -> None:
        def failed(sentence: str) -> None:
            self._say(error=sentence)
            self._opened()

        if self._session.jobs.running("load"):
            self._opened()
            return
        self._say(f"{description} …")

        def done(classifier: Classifier) -> None:
            self._say()
            self._session.set_classifier(classifier)

        self._session.jobs.start("load", work, on_done=done, on_failed=failed, description=description)

    def _open(self, name: str) -> None:
        open_dock(self._session.viewer, name)


def describe_input(classifier: Classifier) -> str:
    """Return one line on a classifier's preprocessing."""
    preprocessing = classifier.preprocessing
    height, width = preprocessing.size
    colour = "gray" if preprocessing.channels == 1 else "RGB"
    how = "scaled and cropped" if preprocessing.crop else "scaled"
    mean = ", ".join(f"{value:.3g}" for value in preprocessing.mean)
    std = ", ".join(f"{value:.3g}" for value in preprocessing.std)
    return f"{width}x{height} {colour}, {how}; mean {mean}, std {std}"


def _breakable(text: str) -> str:
    """Let a long path break after its slashes."""
    return text.replace("/", "/&#8203;").replace("\\", "\\&#8203;")


def _form(parent: QWidget | None = None) -> QFormLayout:
    form = QFormLayout(parent) if parent is not None else QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
    form.setVerticalSpacing(4)
    return form


def _label(text: str = "") -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _small_button(text: str, action: Any) -> QPushButton:
    button = QPushButton(text)
    button.setFixedWidth(button.fontMetrics().horizontalAdvance(text) + 18)
    button.clicked.connect(action)
    return button
