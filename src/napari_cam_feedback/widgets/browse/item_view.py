"""What is known of the current item: its classes, and the map's class and method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.browse.class_row import ClassRow
from napari_cam_feedback.widgets.browse.item_bar import ItemBar
from napari_cam_feedback.widgets.browse.map_style_form import MapDisplay
from napari_cam_feedback.widgets.parts.basics import fill, narrow, tight, wrapped_label
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.session.session import Session

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Explanation


class ItemView(QWidget):
    """Buttons to move, the item's classes, and what the map shows.

    Signals
    -------
    finer : str
        The user wants this layer in place of one whose maps are coarse.

    Parameters
    ----------
    session : Session
        Whose item is shown.
    """

    finer = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.bar = ItemBar(session)
        self.previous, self.next, self.item_label = self.bar.previous, self.bar.next, self.bar.label
        self.target = QComboBox()
        self.target.setToolTip("Show what speaks for this class; its probability in brackets")
        self.target.activated.connect(lambda i: session.set_view(target=self.target.itemData(i)))
        self.method = QComboBox()
        self.method.setToolTip("How the map is made")
        self.method.activated.connect(lambda i: session.set_view(method=self.method.itemData(i)))
        # Class names may be long; the dock must not grow with them.
        narrow(self.target, 8)
        self.target.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        narrow(self.method, 6)
        self.evidence = wrapped_label()
        self.evidence.hide()
        chooser = QHBoxLayout()
        # Without a title, which would take the room of the probability.
        chooser.addWidget(self.target, 1)
        chooser.addWidget(self.method)
        column = tight(QVBoxLayout(self), 4)
        fill(column, self.bar, chooser, self.evidence)
        self._finer: str | None = None
        self.finer_button = QPushButton()
        self.finer_button.setToolTip("The map is drawn as its few places; this layer has more of them")
        self.finer_button.clicked.connect(lambda: self.finer.emit(self._finer or ""))
        self.finer_button.hide()
        column.addWidget(self.finer_button)
        self.classes = ClassRow(session)
        column.addWidget(self.classes)
        self.display = MapDisplay(session)
        self.display_fold = Fold("How the map is drawn", self.display)
        column.addWidget(self.display_fold)

    def item_changed(self) -> None:
        """Show another item, of which nothing is computed yet."""
        if self._session.explanation is None:
            self.fill_targets(None)
            self.show_evidence("")

    def view_changed(self) -> None:
        """Show that another class or method was chosen."""
        self.fill_targets(self._session.explanation)
        with QSignalBlocker(self.method):
            self.method.setCurrentIndex(max(0, self.method.findData(self._session.method)))
        if self._session.explanation is None:
            slow = (
                "; this method runs the network for every filter, which takes a while"
                if self._session.method_is_slow
                else ""
            )
            self.show_evidence(f"Computing the map{slow} …")

    def explained(self, explanation: Explanation) -> None:
        """Show what was computed for the current item."""
        self.fill_targets(explanation)
        name = self._session.class_names[explanation.target]
        nothing = f"No positive evidence: nothing in this image speaks for “{name}”."
        self.show_evidence(explanation.no_heatmap or ("" if explanation.evidence else nothing))
        self._offer_finer(explanation)

    def _offer_finer(self, explanation: Explanation) -> None:
        """Offer a layer whose maps are finer, where those that are shown are coarse and there is one."""
        self._finer = None
        if explanation.coarse and self._session.classifier is not None:
            from napari_cam_feedback.models.first_look.coarse import finer_layer

            found = finer_layer(self._session.classifier)
            if found is not None:
                rows, columns = explanation.raw.shape
                self._finer = found.name
                self.finer_button.setText(f"{rows}x{columns} places; finer: {found.name}")
        self.finer_button.setVisible(self._finer is not None)

    def show_evidence(self, text: str) -> None:
        """Show a line on the map; an empty one for none."""
        self.evidence.setText(text)
        self.evidence.setVisible(bool(text))

    def fill_methods(self) -> None:
        """Offer the methods that the classifier can do."""
        session = self._session
        with QSignalBlocker(self.method):
            self.method.clear()
            if session.classifier is not None:
                from napari_cam_feedback.explanations import METHODS

                for name, method in METHODS.items():
                    if name != "cam" or session.classifier.head is not None:
                        self.method.addItem(method.title, name)
                        self.method.setItemData(self.method.count() - 1, method.description, Qt.ItemDataRole.ToolTipRole)
            self.method.setCurrentIndex(max(0, self.method.findData(session.method)))

    def fill_targets(self, explanation: Explanation | None) -> None:
        """Fill the class combo, with probabilities where they are known."""
        session = self._session
        names = session.class_names
        p = None if explanation is None else explanation.probabilities
        label = None
        if session.dataset is not None and session.index is not None and session.dataset.labels[session.index] >= 0:
            label = int(session.dataset.labels[session.index])

        def text(start: str, number: int | None) -> str:
            if number is None:
                return start
            return f"{start}{names[number]}" + ("" if p is None else f" ({p[number]:.2f})")

        predicted = "predicted: " if explanation is not None else "predicted"
        rows: list[tuple[str, Any]] = [
            (text(predicted, None if explanation is None else explanation.predicted), "predicted")
        ]
        rows.append((text("true: " if label is not None else "true (unknown)", label), "true"))
        rows += [(text("", number), number) for number in range(len(names))]
        with QSignalBlocker(self.target):
            # Changing texts is much faster than filling anew, with many classes.
            if self.target.count() != len(rows):
                self.target.clear()
                for line, value in rows:
                    self.target.addItem(line, value)
            else:
                for number, (line, _) in enumerate(rows):
                    self.target.setItemText(number, line)
            self.target.setCurrentIndex(max(0, self.target.findData(session.target)))
