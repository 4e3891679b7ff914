"""What a run came to, as it is shown: verdict, measures, other models to take, and maps side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QVBoxLayout

from napari_cam_feedback.widgets.parts.tones import set_rich_text, set_tone
from napari_cam_feedback.widgets.retune.measuring import BeforeAndAfter
from napari_cam_feedback.widgets.retune.next_shortcut import NextShortcutLine
from napari_cam_feedback.widgets.retune.run import (
    UndecidedRun,
    checkpoint_names,
    checkpoint_text,
    how_it_ended,
    measured_sentence,
    numbers_text,
    verdict_text,
)
from napari_cam_feedback.widgets.retune.view import RetuneView
from napari_cam_feedback.widgets.session.dock_session import dock_session, viewer_of
from napari_cam_feedback.widgets.session.side_by_side import ComparisonLayers, ExplanationPairs
from napari_cam_feedback.widgets.tasks.gc_pause import Hold

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari

    from napari_cam_feedback.evaluation import Comparison
    from napari_cam_feedback.monitor import Monitor
    from napari_cam_feedback.retuning import RetuneResult


class RetuneOutcome(RetuneView):
    """The part of the page that shows a result, until it is decided on.

    Signals
    -------
    said : str, bool
        A sentence for the user, and whether something is wrong.
    changed
        Whether a retune runs, or a result waits, may be otherwise than before.
    paint_wanted
        An image is shown that the user wants to paint.
    """

    said = Signal(str, bool)
    changed = Signal()
    paint_wanted = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer_of(viewer))
        self._session = dock_session(viewer, self)
        self._run: UndecidedRun | None = None
        self._deciding = False
        self._taking = False
        self._hold = Hold()
        self._measuring = BeforeAndAfter(self._session.jobs)
        self.next_shortcut = NextShortcutLine(self._session)
        self.next_shortcut.paint_wanted.connect(self._show_next)
        layout = self.result_box.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.insertWidget(layout.indexOf(self.numbers) + 1, self.next_shortcut)
        self.comparison = ComparisonLayers(self._session, self)
        self.checkpoint_box.currentIndexChanged.connect(self._checkpoint_chosen)
        self.old_share.chosen.connect(self._share_chosen)
        self.side_button.toggled.connect(self._side_toggled)
        self.comparison.shown.connect(self.side_button.setChecked)
        self.comparison.described.connect(self.pair_label.setText)

    def _refresh(self) -> None:
        """Make buttons and hint say what can be done now."""
        raise NotImplementedError

    def _say(self, text: str, *, error: bool = False) -> None:
        set_tone(self.status, "error" if error else None)
        self.status.setText(text)
        self.status.setVisible(bool(text))
        self.said.emit(text, error)

    def _present(self, run: UndecidedRun, result: RetuneResult, *, side_by_side: bool = True) -> None:
        """Show what came of a run, to be decided on."""
        run.best = result
        names = checkpoint_names(result)
        with QSignalBlocker(self.checkpoint_box):
            self.checkpoint_box.clear()
            for iteration, name in names:
                self.checkpoint_box.addItem(name, iteration)
        # The dock has no room for the measures, the list has.
        view = self.checkpoint_box.view()
        view.setMinimumWidth(view.sizeHintForColumn(0) + 24)
        self.checkpoint_row.setVisible(len(names) > 1)
        self.old_share.set_path(result.path_checks, result.selected_share)
        self._show_result(run, result, side_by_side=side_by_side)
        self._measure(run, lambda _: result)

    def _show_result(self, run: UndecidedRun, result: RetuneResult, *, side_by_side: bool = True) -> None:
        """Show what a model came to, before it is measured on all splits."""
        from napari_cam_feedback.explanations import ExplanationCache
        from napari_cam_feedback.retuning import check_rows, key_numbers

        run.result, run.comparison = result, None
        self._taking = False
        sentence, wrong = how_it_ended(result, run.seconds)
        self._say(f"{sentence} {run.unsaved}".strip(), error=wrong or bool(run.unsaved))
        set_rich_text(self.verdict_label, lambda: verdict_text(result))
        numbers = key_numbers(result.before, result.after)
        set_rich_text(self.numbers, lambda: numbers_text(numbers))
        self.reason_label.setText(f"{result.verdict.reason} {sentence}")
        # Only where there is another one to take.
        self.others_fold.setVisible(self.checkpoint_box.count() > 1 or bool(result.path))
        if result.verdict.name == "mixed":
            self.others_fold.set_opened(True)
        self.table.show_rows(check_rows(result.before, result.after))
        self.table.show()
        self.pair_label.setText("")
        self.next_shortcut.clear()
        self.table_label.setText("Before and after. Measuring on all splits too…")
        self._refresh()
        self.comparison.use(
            ExplanationPairs(run.explanation_cache, ExplanationCache(result.classifier, run.project.dataset))
        )
        if result.selected_iteration > 0 and side_by_side:
            self.comparison.show()

    def _checkpoint_chosen(self, _: int) -> None:
        """Take the model of another iteration; the slider belongs to one of them."""
        run, iteration = self._run, self.checkpoint_box.currentData()
        if run is None or run.best is None or iteration is None:
            return
        own = iteration == self.old_share.iteration
        share = run.best.selected_share if own else 1.0
        self.old_share.set_share(share)
        self.old_share.set_usable(own)
        self._name_taken(run.best, run.best.selected_share)
        self._take(run, iteration, share)

    def _share_chosen(self, share: float) -> None:
        """Take the model at another stop of the slider."""
        run, iteration = self._run, self.old_share.iteration
        if run is not None and run.best is not None and iteration is not None:
            self._name_taken(run.best, share)
            self._take(run, iteration, share)

    def _name_taken(self, best: RetuneResult, share: float) -> None:
        """Let the box say of the slider's iteration which stop it is at."""
        place = self.checkpoint_box.findData(self.old_share.iteration)
        check = next((each for each in best.path_checks if each.share == share), None)
        if check is not None and place >= 0:
            self.checkpoint_box.setItemText(place, checkpoint_text(check, best=share == best.selected_share))

    def _take(self, run: UndecidedRun, iteration: int, share: float) -> None:
        """Go over to another model of the run, in a worker."""
        from napari_cam_feedback.retuning import checkpoint_name, take_checkpoint

        assert run.best is not None
        best = run.best
        self._taking = True
        self._hold(True)
        self.table_label.setText(f"Taking the model of {checkpoint_name(iteration, share)}…")
        self._refresh()

        def take(monitor: Monitor) -> RetuneResult:
            if (iteration, share) == (best.selected_iteration, best.selected_share):
                return best
            return take_checkpoint(best, iteration, run.project.dataset, run.masks, share=share, monitor=monitor)

        self._measure(run, take)

    def _measure(self, run: UndecidedRun, take: Callable[[Monitor], RetuneResult]) -> None:
        """Measure the model that `take` returns, and the one before, on all splits."""
        from napari_cam_feedback.retuning import check_rows

        def taken(result: RetuneResult) -> None:
            if run is self._run and result is not run.result:
                self._show_result(run, result)

        def tell(text: str) -> None:
            if run is self._run:
                self.table_label.setText(text)

        def done(comparison: Comparison) -> None:
            if run is not self._run:
                return
            self._hold(False)
            if run.result is None:
                return
            run.comparison = comparison
            self.table.show_rows([*check_rows(run.result.before, run.result.after), *comparison.rows])
            self.table.show()
            self.table_label.setText(measured_sentence(comparison))
            self.next_shortcut.look(run, run.result)

        def failed(sentence: str) -> None:
            if run is not self._run:
                return
            self._hold(False)
            self._taking = False
            self.table_label.setText(sentence)
            self._refresh()

        self._measuring.start(run, take, on_taken=taken, on_text=tell, on_done=done, on_failed=failed)

    def _show_next(self, items: list[int]) -> None:
        """Go through the images to paint next, from the first one."""
        self._session.set_order(items)
        self._session.go_to(items[0])
        self.paint_wanted.emit()

    def _side_toggled(self, on: bool) -> None:
        if on:
            self.comparison.show()
        else:
            self.comparison.hide()
