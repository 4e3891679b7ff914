"""Two or more versions of the model on the same images, in numbers and side by side."""

from __future__ import annotations

from contextlib import ExitStack
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QModelIndex, QSignalBlocker, Qt
from qtpy.QtWidgets import QFileDialog, QListWidgetItem

from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.compare.view import CompareView
from napari_cam_feedback.widgets.compare.work import ComparedVersions, compare_versions, save_report
from napari_cam_feedback.widgets.parts.basics import OPEN_FIRST, link_to, plain
from napari_cam_feedback.widgets.session.dock_session import dock_session
from napari_cam_feedback.widgets.session.side_by_side import ComparisonLayers, ExplanationPairs
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.tasks.workers import Progress

if TYPE_CHECKING:
    import napari

    from napari_cam_feedback.projects import Project, Version

JOB, SAVE_JOB = "compare versions", "comparison report"
OWNER = "versions"
_ONE_VERSION = "There is one version only. Retune the model and keep the result; then compare the two here."
_CHOOSE = "Tick two or more versions. The first one ticked in the list is what the others are compared with."


class CompareWidget(CompareView):
    """Compares versions of the open project.

    Attributes
    ----------
    found : ComparedVersions or None
        What is shown.
    layers : ComparisonLayers
        The maps of the current image side by side.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._session = dock_session(napari_viewer, self)
        self.found: ComparedVersions | None = None
        self.layers = ComparisonLayers(self._session, self, owner=OWNER)
        self._versions: tuple[str, ...] = ()
        self._project: Project | None = None
        jobs = self._session.jobs
        self._machine, self._saver = jobs.phase(JOB), jobs.phase(SAVE_JOB)
        self._refresh = self._machine.drive(start=[self.start_button], ready=self._ready)
        self._refresh_save = self._saver.drive(start=[self.save_button], ready=lambda: self.found is not None)
        for machine in (self._machine, self._saver):
            machine.changed.connect(self._phase_changed)
        self.start_button.clicked.connect(self.compare)
        self.stop_button.clicked.connect(self.stop)
        self.save_button.clicked.connect(self._choose_folder)
        self.list.itemChanged.connect(lambda _: self._refresh())
        self.pair_box.currentIndexChanged.connect(self._show_pair)
        # The two tables are of the same images.
        self.split_box.currentIndexChanged.connect(self.matrix_split_box.setCurrentIndex)
        self.matrix_split_box.currentIndexChanged.connect(self.split_box.setCurrentIndex)
        self.split_box.currentIndexChanged.connect(self._show_classes)
        self.kind_box.currentIndexChanged.connect(self._show_flips)
        self.flip_view.selectionModel().currentRowChanged.connect(self._row_chosen)
        self.side_button.toggled.connect(lambda on: self.layers.show() if on else self.layers.hide())
        self.layers.shown.connect(self.side_button.setChecked)
        self.layers.described.connect(self.item_label.setText)
        self._say("")
        self._session.opened.connect(self._opened)
        self._session.version_changed.connect(self._opened)
        self._session.versions_changed.connect(self._opened)
        self._opened()

    # Which versions -----------------------------------------------------------------------------------

    @property
    def chosen(self) -> list[str]:
        """The ticked versions, in the order of the list."""
        items = [self.list.item(row) for row in range(self.list.count())]
        return [item.data(Qt.ItemDataRole.UserRole) for item in items if item.checkState() == Qt.CheckState.Checked]

    def choose(self, *versions: str) -> None:
        """Tick these versions and no others."""
        for row in range(self.list.count()):
            item = self.list.item(row)
            ticked = item.data(Qt.ItemDataRole.UserRole) in versions
            item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)

    def _ready(self) -> bool:
        return self._session.project is not None and len(self.chosen) > 1

    def _opened(self) -> None:
        """Offer the versions of the project that is open; forget what is of another project, or of versions now gone."""
        project = self._session.project
        versions = () if project is None else project.available
        names = tuple(version.id for version in versions)
        found, other = self.found, project is not self._project
        if other:
            self._session.jobs.stop(JOB)
        if other or (found is not None and not set(found.versions) <= set(names)):
            self._session.jobs.stop(SAVE_JOB)
            self._show(None)
            self._say("")
        if other or names != self._versions or found is None:
            self._fill(versions)
        self._project, self._versions = project, names
        self.hint.setText(OPEN_FIRST if project is None else _ONE_VERSION if len(names) < 2 else _CHOOSE)
        self.list.setVisible(len(names) > 1)
        self._show_parts()
        self._refresh()

    def _fill(self, versions: tuple[Version, ...]) -> None:
        project = self._session.project
        with QSignalBlocker(self.list):
            self.list.clear()
            if project is None:
                return
            from napari_cam_feedback.projects import describe_version

            for version in versions:
                verdict = f"{version.verdict}: " if version.verdict else ""
                item = QListWidgetItem(f"{version.id}  {verdict}{describe_version(version)}")
                item.setToolTip(plain(f"{item.text()}\n{version.origin}\nmade {version.created}"))
                item.setData(Qt.ItemDataRole.UserRole, version.id)
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
                item.setCheckState(Qt.CheckState.Unchecked)
                self.list.addItem(item)
            if len(versions) > 1:
                # What was changed last is what the user wants to see.
                current, names = project.current, [version.id for version in versions]
                other = current.parent if current.parent in names else next(n for n in names[::-1] if n != current.id)
                self.choose(current.id, other)
        self.list.scrollToBottom()

    # Comparing ----------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Compare the ticked versions, in the background."""
        session = self._session
        project, classifier, versions = session.project, session.classifier, self.chosen
        if project is None or classifier is None or len(versions) < 2 or self._machine.busy:
            return
        session.autosave.flush()
        self._show(None)
        self._say("")

        def work(monitor: Monitor) -> ComparedVersions:
            return compare_versions(project, versions, classifier, session.consents, monitor)

        session.jobs.start(
            JOB,
            work,
            on_progress=self._step,
            on_done=self._done,
            on_failed=lambda sentence: self._ended(project, escape(sentence)),
            on_stopped=lambda: self._ended(project, "Stopped; nothing was compared."),
            description="Comparing versions",
        )

    def stop(self) -> None:
        """Ask the comparison, or the writing of the report, to stop."""
        for job in (JOB, SAVE_JOB):
            self._session.jobs.stop(job)

    def _step(self, step: Progress) -> None:
        self.bar.setRange(0, step.total)
        self.bar.setValue(step.done)
        self.bar.setFormat(f"{step.text}: %v of %m" if step.total else step.text)

    def _done(self, found: ComparedVersions) -> None:
        # Another project may have been opened meanwhile.
        if self._session.project is found.project:
            self._show(found)

    def _ended(self, project: Project, text: str) -> None:
        """Say how work ended, unless another project was opened meanwhile."""
        if self._session.project is project:
            self._say(text)

    def _say(self, text: str) -> None:
        self.said.setText(text)
        self.said.setVisible(bool(text))

    def _phase_changed(self, _: Phase) -> None:
        busy = self._machine.busy or self._saver.busy
        stopping = Phase.STOPPING in (self._machine.phase, self._saver.phase)
        self.bar.setVisible(busy)
        self.stop_button.setVisible(busy)
        self.stop_button.setEnabled(busy and not stopping)
        if busy and not stopping and self.bar.maximum():
            self.bar.setRange(0, 0)
        self._refresh_save()

    # What was found -------------------------------------------------------------------------------------

    def _show(self, found: ComparedVersions | None) -> None:
        from napari_cam_feedback.evaluation import KINDS

        self.found = found
        self.layers.use(None)
        self.item_label.setText("")
        combos = (self.pair_box, self.split_box, self.matrix_split_box, self.kind_box)
        with ExitStack() as blocked:
            for combo in combos:
                blocked.enter_context(QSignalBlocker(combo))
                combo.clear()
            if found is not None:
                self.pair_box.addItems(found.versions[1:])
                self.pair_title.setText(f"{found.versions[0]} compared with")
                for combo in (self.split_box, self.matrix_split_box):
                    combo.addItems(found.comparison.splits)
                    if found.comparison.headline is not None:
                        combo.setCurrentText(found.comparison.headline)
                self.kind_box.addItem("all", None)
                for kind, name in enumerate(KINDS):
                    self.kind_box.addItem(name, kind)
        self.flips.show(None)
        self._show_parts()
        if found is not None:
            # The last one ticked is the newest.
            self.pair_box.setCurrentIndex(len(found.versions) - 2)
            self._show_pair()

    def _show_parts(self) -> None:
        self.result_box.setVisible(self.found is not None)
        self.pair_row.setVisible(self.found is not None and len(self.found.versions) > 2)
        self._phase_changed(self._machine.phase)

    def _show_pair(self, *_: object) -> None:
        """Show tables and maps of the first version and the one chosen."""
        from napari_cam_feedback.evaluation import summarise

        found, number = self.found, self.pair_box.currentIndex()
        if found is None or number < 0:
            return
        first, other = found.versions[0], found.versions[number + 1]
        sample = found.comparison.evaluations[0].sample_sentence()
        self.summary.setText(f"{summarise(found.comparison, number + 1)} {sample}".rstrip())
        # The test images first, which tell most.
        headline = found.comparison.headline
        self.table.show_rows(sorted(found.comparison.rows[number], key=lambda row: row.split != headline))
        flips = found.comparison.flips[number]
        for place in range(1, self.kind_box.count()):
            kind = self.kind_box.itemData(place)
            name = self.kind_box.itemText(place).split(" (")[0]
            self.kind_box.setItemText(place, f"{name} ({flips.count(kind)})")
        self.kind_box.setItemText(0, f"all ({len(flips)})")
        self.tabs.setTabText(self.tabs.count() - 1, f"Changed ({len(flips)})")
        self._show_classes()
        self._show_flips()
        on = self.layers.on
        pairs = ExplanationPairs(found.explanation_caches[first], found.explanation_caches[other])
        self.layers.use(pairs, (f"CAM {first}", f"CAM {other}", f"{other} − {first}"))
        if on:
            self.layers.show()

    def _show_classes(self, *_: object) -> None:
        found, number, split = self.found, self.pair_box.currentIndex(), self.split_box.currentText()
        if found is None or number < 0 or not split:
            self.classes.show({}, {})
            self.confusion.show((), *[np.zeros((0, 0), np.int64)] * 2)
            return
        before, after = (found.comparison.evaluations[place].splits[split] for place in (0, number + 1))
        self.classes.show(before.per_class, after.per_class)
        self.confusion.show(found.comparison.class_names, before.confusion, after.confusion)

    def _show_flips(self, *_: object) -> None:
        found, number = self.found, self.pair_box.currentIndex()
        if found is None or number < 0:
            return
        with QSignalBlocker(self.flip_view.selectionModel()):
            self.flips.show(found.comparison.flips[number], found.comparison.class_names, self.kind_box.currentData())
            self.flip_view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)

    def _row_chosen(self, current: QModelIndex, _: QModelIndex) -> None:
        index = self.flips.item_of(current.row()) if current.isValid() else None
        if index is not None and self.found is not None and self.found.project is self._session.project:
            self._session.go_to(index)

    # The report -----------------------------------------------------------------------------------------

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the report")
        if folder:
            self.save(Path(folder))

    def save(self, folder: Path) -> None:
        """Write the report into a folder, in the background."""
        found = self.found
        if found is None or self._saver.busy:
            return

        def work(monitor: Monitor) -> Path:
            return save_report(found, folder, monitor)

        self._say("")
        self._session.jobs.start(
            SAVE_JOB,
            work,
            on_progress=self._step,
            on_done=lambda page: self._say(f"The report is in {link_to(page)}."),
            on_failed=lambda sentence: self._ended(found.project, escape(sentence)),
            on_stopped=lambda: self._ended(found.project, "Stopped; no report was written."),
            description="Writing the report",
        )

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._session.watch(self)
