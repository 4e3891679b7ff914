"""The dock *CAM feedback*: the steps of the work, the next sensible thing, and the page of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSize
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QSizePolicy, QStackedWidget, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.browse.dock import BrowseWidget
from napari_cam_feedback.widgets.open.dock import SessionWidget
from napari_cam_feedback.widgets.parts.basics import fill, rich_label, single_shot, tight
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.retune.dock import RetuneWidget
from napari_cam_feedback.widgets.session.dock_session import dock_session
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.steps.compare_page import ComparePage
from napari_cam_feedback.widgets.steps.next_line import NextLine
from napari_cam_feedback.widgets.steps.paint_page import PaintPage
from napari_cam_feedback.widgets.steps.standing import Act, Standing, next_step, titles
from napari_cam_feedback.widgets.steps.strip import Strip
from napari_cam_feedback.widgets.suggest.model import SUGGEST
from napari_cam_feedback.widgets.viewer import shortcuts
from napari_cam_feedback.widgets.viewer.docks import COMPARE, LOOK, OPEN, PAINT, RETUNE, STEPS

# Several signals come for one thing that the user does.
_REFRESH_MS = 30
#: While a retune runs.
_TICK_MS = 1000


class CamFeedbackWidget(QWidget):
    """Leads through the work. It alone knows the pages, which know nothing of each other.

    Attributes
    ----------
    pages : dict
        The page of each step.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._session: Session = dock_session(napari_viewer, self)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        session = self._session
        self._looked = False
        self._decided = ""
        self._painted: tuple[int, int] = (0, 0)
        self.open = SessionWidget(session)
        self.look = BrowseWidget(session)
        self.paint = PaintPage(session)
        self.retune = RetuneWidget(session)
        self.compare = ComparePage(session, self.retune)
        self.pages: dict[str, QWidget] = dict(
            zip(STEPS, (self.open, self.look, self.paint, self.retune, self.compare), strict=True)
        )
        self._pending = self.retune.pending
        self._build()
        self._timer = single_shot(self, _REFRESH_MS, self.refresh)
        self._tick = single_shot(self, _TICK_MS, self.refresh)
        for signal in (session.opened, session.mask_changed, session.version_changed, session.versions_changed):
            signal.connect(self._soon)
        session.opened.connect(self._opened)
        session.item_changed.connect(self._soon)
        session.mask_changed.connect(self._mask_changed)
        session.jobs.changed.connect(self._soon)
        self.paint.suggest.model.suggested.connect(self._soon)
        self.paint.suggest.model.proposed.connect(self._soon)
        self.retune.changed.connect(self._retune_changed)
        self.retune.paint_wanted.connect(lambda: self.show_step(PAINT))
        self.look.item.finer.connect(self.open.open_view.use_layer)
        self.look.paint.clicked.connect(lambda: self.show_step(PAINT))
        self._bind_keys()
        self._opened()
        self.show_step(OPEN if session.project is None else LOOK)

    def _build(self) -> None:
        self.strip, self.next_line, self.stack = Strip(), NextLine(), _Pages()
        self.strip.chosen.connect(self.show_step)
        self.next_line.wanted.connect(self.do)
        for page in self.pages.values():
            self.stack.addWidget(page)
        column = tight(QVBoxLayout(self), 4, margins=4)
        fill(column, self.strip, self.next_line)
        column.addWidget(self.stack, 1)
        self.keys_fold = Fold("Keys", rich_label(shortcuts.table()))
        column.addWidget(self.keys_fold)

    def _bind_keys(self) -> None:
        session = self._session
        self._keys: dict[str, Callable[[], None]] = {
            "next_item": lambda: session.step(1),
            "previous_item": lambda: session.step(-1),
            "paint": session.paint,
            "toggle_cam": session.toggle_cam,
            "swap_class": session.swap_class,
            "next_step": self.next_line.press,
            "other_step": lambda: self.next_line.press(1),
        }
        for number, step in enumerate(STEPS, 1):
            self._keys[f"step_{number}"] = lambda step=step: self.show_step(step)  # type: ignore[misc]
        shortcuts.bind_to_widget(self, self._keys)
        shortcuts.bind_to_viewer(session.viewer, self._keys)
        session.dock_closed.connect(self._unbind_keys)

    def _unbind_keys(self) -> None:
        viewer = self._session.viewer
        if viewer is not None:
            shortcuts.unbind_from_viewer(viewer, self._keys)

    def showEvent(self, event: QShowEvent) -> None:
        """Let the session know the window, so that it can save before that closes."""
        super().showEvent(event)
        self._session.watch(self)

    # Where the user stands ----------------------------------------------------------------------------

    @property
    def step(self) -> str:
        """The step whose page is shown."""
        return STEPS[self.stack.currentIndex()]

    def show_step(self, step: str) -> None:
        """Show the page of a step, one of `STEPS`."""
        self._looked = self._looked or step == LOOK
        self.strip.show_step(step)
        self.stack.setCurrentWidget(self.pages[step])
        self.refresh()

    def standing(self) -> Standing:
        """Return where the user stands."""
        session, model, retune = self._session, self.paint.suggest.model, self.retune
        opened = session.project is not None
        best = model.best()
        return Standing(
            step=self.step,
            opened=opened,
            loading=session.jobs.running("load"),
            looked=self._looked,
            painted=self._painted[0],
            of_style=retune.take_out.of_style,
            unused=self._painted[1],
            suggesting=session.jobs.running(SUGGEST),
            best=None if best is None else best.key,
            here=best is not None and best.index == session.index,
            proposals=len(model.keys()) if opened else 0,
            retuning=retune.how_far() if retune.busy else None,
            result=retune.verdict_name,
            decided=self._decided,
            versions=len(session.project.available) if session.project is not None else 1,
        )

    def refresh(self) -> None:
        """Say where the user stands, and what is sensible next."""
        now = self.standing()
        self.strip.set_titles(titles(now))
        self.next_line.show_next(next_step(now))
        if now.retuning is not None:
            # How far it is changes by itself.
            self._tick.start()

    def _soon(self, *_: object) -> None:
        self._timer.start()

    def _opened(self) -> None:
        self._looked, self._decided = self.step == LOOK, ""
        self._count()

    def _mask_changed(self, _: str) -> None:
        self._decided = ""
        self._count()

    def _count(self) -> None:
        """Count what is painted and would be learnt from, and what would not be."""
        session, usable = self._session, 0
        dataset, painted = session.dataset, session.painted() if session.project is not None else set()
        if dataset is not None:
            usable = sum(key in dataset.keys and dataset.item(dataset.index_of(key)).learnable for key in painted)
        self._painted = usable, len(painted) - usable
        self._soon()

    def _retune_changed(self) -> None:
        pending = self.retune.pending
        if pending and not self._pending and self.step == RETUNE:
            self.show_step(COMPARE)
        self._decided = self.retune.decided if not pending else ""
        self._pending = pending
        self._soon()

    # What the buttons do ------------------------------------------------------------------------------

    def do(self, act: Act) -> None:
        """Do what a button of the next line says."""
        suggest = self.paint.suggest
        if act is Act.LOAD:
            self.open.load()
        elif act is Act.OPEN:
            self.show_step(OPEN)
        elif act is Act.LOOK:
            self.show_step(LOOK)
        elif act is Act.SUGGEST:
            self.show_step(PAINT)
            suggest.find_best()
        elif act is Act.STOP_SUGGESTING:
            self._session.jobs.stop(SUGGEST)
        elif act is Act.PAINT_BEST:
            self.show_step(PAINT)
            suggest.paint_best()
        elif act is Act.PROPOSE:
            self.show_step(PAINT)
            suggest.propose()
        elif act is Act.ANSWER:
            self.show_step(PAINT)
            suggest.show_proposals()
        elif act is Act.RETUNE:
            if self.step != RETUNE:
                # The line speaks of what is painted.
                self.retune.take_out.set_style(False)
            self.show_step(RETUNE)
            self.retune.start()
        elif act is Act.WATCH:
            self.show_step(RETUNE)
        elif act is Act.RESULT:
            self.show_step(COMPARE)


class _Pages(QStackedWidget):
    """Pages of which each takes the room that it needs, not that of the largest."""

    def sizeHint(self) -> QSize:
        page = self.currentWidget()
        return super().sizeHint() if page is None else page.sizeHint()

    def minimumSizeHint(self) -> QSize:
        page = self.currentWidget()
        if page is None:
            return super().minimumSizeHint()
        # One width for all, so that the canvas stays as it is from step to step.
        pages = [each for place in range(self.count()) if (each := self.widget(place)) is not None]
        width = max(max(each.minimumSizeHint().width(), each.minimumWidth()) for each in pages)
        return QSize(width, page.minimumSizeHint().height())
