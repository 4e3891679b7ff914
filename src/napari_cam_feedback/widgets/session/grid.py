"""Laying layers out in napari's grid for a while, and giving the viewer back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari_cam_feedback.widgets.tasks.gc_pause import hold_objects, release_objects
from napari_cam_feedback.widgets.tasks.turns import Pieces, Turns

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_cam_feedback.widgets.session.session import Session

_GRIDS: WeakKeyDictionary[Session, LayerGrid] = WeakKeyDictionary()
_SPACING_PIXELS = 4


def grid_of(session: Session) -> LayerGrid:
    """Return the one `LayerGrid` of a session's viewer: filters and comparisons take turns in it."""
    whole = session.whole
    if whole not in _GRIDS:
        _GRIDS[whole] = LayerGrid(whole)
    return _GRIDS[whole]


class LayerGrid:
    """Napari's grid mode with only chosen layers in it.

    While it is on, the other layers are hidden; leaving (here, or by napari's own grid button) shows them again and puts
    the grid's settings back.
    """

    def __init__(self, session: Session) -> None:
        self._session = ref(session)
        self._owner: str | None = None
        self._on_leave: Callable[[], None] | None = None
        self._hidden: list[Layer] = []
        self._named: list[Layer] = []
        self._to_name: list[Layer] = []
        self._names = Turns()
        session.closing.connect(self._names.cancel)
        self._before: tuple[int, tuple[int, int], float, bool] | None = None
        self._switching = False
        self._changing = False
        #: Who makes layers to show them soon, and how it is told that another does.
        self._coming: tuple[str, Callable[[], None]] | None = None

    @property
    def _viewer(self) -> Any:
        session = self._session()
        return None if session is None else session.viewer

    @property
    def owner(self) -> str | None:
        """Who has laid out layers now, None when nobody has."""
        return self._owner

    @property
    def busy(self) -> bool:
        """Whether layers are still being made, or their names written into the cells."""
        return self._coming is not None or self._names.busy

    @contextmanager
    def changes(self) -> Iterator[None]:
        """Make several changes to the viewer's layers as one: the scene is built once, and the selection kept.

        Napari builds its scene anew for every layer that comes, goes, or is hidden, and runs a full garbage collection for
        every layer that goes; nine layers took seven seconds.
        """
        viewer = self._viewer
        if self._changing or viewer is None:
            yield
            return
        self._changing = True
        selected = viewer.layers.selection.active
        hold_objects()
        try:
            with getattr(viewer.layers, "batched_update", nullcontext)():
                yield
                # The brush stays on the mask.
                if selected is not None and selected in viewer.layers:
                    viewer.layers.selection.active = selected
            # Only now that the cells are there: napari would put a name into a cell of the old grid that it then takes
            # for the new one.
            if self._to_name:
                self._names.run(self._write_names(self._to_name))
        finally:
            self._changing = False
            self._to_name = []
            release_objects()

    def make_room(self, owner: str) -> bool:
        """Leave another owner's grid; returns whether layers can be made one at a time now, and laid out later.

        Not in a grid that is on: napari makes a cell for a layer as it comes, and then takes its grid for the new one.
        """
        if self._owner not in (None, owner):
            self.leave()
        return not self._viewer.canvas.grid.enabled

    def add_hidden(self, owner: str, layer: Layer, give_up: Callable[[], None]) -> None:
        """Add a layer that nobody sees until `owner` lays it out; the brush stays on the mask.

        So the layers of a grid can be made one at a time, without the view changing at each. `give_up` is called when
        another owner begins to make layers before these were shown: the user has chosen anew.
        """
        if self._coming is not None and self._coming[0] != owner:
            (_, other), self._coming = self._coming, None
            other()
        self._coming = (owner, give_up)
        layers = self._viewer.layers
        if self._viewer.canvas.grid.enabled:
            # In one go with the others that come (`changes`): whatever happens in between, napari makes the cell too early.
            layers.append(layer)
            return
        selected = layers.selection.active
        layer.visible = False
        layers.append(layer)
        if selected is not None and selected in layers:
            layers.selection.active = selected

    def withdraw(self, owner: str) -> None:
        """Say that the layers that were added hidden are not laid out after all."""
        if self._coming is not None and self._coming[0] == owner:
            self._coming = None

    def _write_names(self, layers: Sequence[Layer]) -> Pieces:
        for layer in layers:
            if layer in self._viewer.layers and not layer.name_overlay.visible:
                layer.name_overlay.visible = True
                self._named.append(layer)
                yield

    def show(
        self,
        owner: str,
        layers: Sequence[Layer],
        on_leave: Callable[[], None],
        *,
        keep: Sequence[Layer] = (),
        stride: int = 1,
        named: Sequence[Layer] | None = None,
    ) -> None:
        """Lay out `layers` in their order after those of `keep`, and hide the others.

        Parameters
        ----------
        owner : str
            Who asks; another owner's layout is left first.
        layers : sequence of Layer
            They are moved to the end of the viewer's list, the first to come first; with a stride to its beginning, so
            that cells stay together whatever other layers there are.
        on_leave : callable
            Called once when the grid is left, by whatever way.
        keep : sequence of Layer
            Other layers that get a cell, where they stand in the list; only without a stride.
        stride : int
            How many layers share a cell, from the bottom up.
        named : sequence of Layer, optional
            Those whose name is written into their cell; by default all.
        """
        if self._owner not in (None, owner):
            self.leave()
        self.withdraw(owner)
        viewer = self._viewer
        grid = viewer.canvas.grid
        entering = self._before is None
        self._switching = True
        try:
            with self.changes():
                if self._before is None:
                    self._before = (grid.stride, tuple(grid.shape), grid.spacing, grid.enabled)
                    grid.events.enabled.connect(self._on_enabled)
                self._owner, self._on_leave = owner, on_leave
                shown = [*keep, *layers]
                for layer in viewer.layers:
                    if layer.visible and not _among(layer, shown):
                        layer.visible = False
                        self._hidden.append(layer)
                if stride == 1:
                    self._move_to_end(viewer.layers, layers)
                else:
                    self._move_to_start(viewer.layers, layers)
                for layer in shown:
                    layer.visible = True
                self._to_name = list(shown if named is None else named)
                grid.stride, grid.shape, grid.spacing = stride, (-1, -1), _SPACING_PIXELS
                grid.enabled = True
        finally:
            self._switching = False
        if entering:
            viewer.reset_view()

    def leave(self) -> None:
        """Leave the grid and show what was hidden; does nothing when it is not on."""
        viewer = self._viewer
        if self._before is None or viewer is None:
            return
        grid = viewer.canvas.grid
        on_leave, self._on_leave = self._on_leave, None
        self._names.cancel()
        self._switching = True
        try:
            with self.changes():
                grid.events.enabled.disconnect(self._on_enabled)
                grid.stride, grid.shape, grid.spacing, grid.enabled = self._before
                for layer in self._named:
                    layer.name_overlay.visible = False
                if on_leave is not None:
                    on_leave()
                for layer in self._hidden:
                    if layer in viewer.layers:
                        layer.visible = True
        finally:
            self._switching = False
            self._before, self._owner, self._hidden, self._named = None, None, [], []
        viewer.reset_view()

    @staticmethod
    def _move_to_end(stack: Any, layers: Sequence[Layer]) -> None:
        if all(a is b for a, b in zip(list(stack)[-len(layers) :], layers, strict=True)):
            return
        for layer in layers:
            if stack[-1] is not layer:
                stack.move(stack.index(layer), len(stack))

    @staticmethod
    def _move_to_start(stack: Any, layers: Sequence[Layer]) -> None:
        for place, layer in enumerate(layers):
            if stack[place] is not layer:
                stack.move(stack.index(layer), place)

    def _on_enabled(self, event: Any) -> None:
        # The user pressed napari's own grid button.
        if not self._switching and not self._viewer.canvas.grid.enabled:
            self.leave()


def _among(layer: Layer, layers: Sequence[Layer]) -> bool:
    return any(layer is other for other in layers)
