"""Cards of equal size in as many columns as fit, in a scroll area that tells which of them are in view."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QScrollArea, QWidget

GAP = 8
MIN_WIDTH = 320
_ASPECT = 0.64
_LOWEST, _HIGHEST = 200, 420
_MARGIN = 200
"""Cards this far above and below what is shown count as in view, so that they are ready when they come."""


class FlowGrid(QScrollArea):
    """A grid that only lays out: it knows cards as widgets and nothing of what they show.

    Signals
    -------
    visible_changed(cards)
        Other cards came into view; a tuple of them, from the first to the last.
    """

    visible_changed = Signal(object)

    def __init__(self, parent: QWidget | None = None, *, min_width: int = MIN_WIDTH) -> None:
        super().__init__(parent)
        self._min_width = min_width
        self._columns = 0
        self._card_height = 0
        self._cards: tuple[QWidget, ...] = ()
        self._wide: frozenset[QWidget] = frozenset()
        self._in_view: tuple[QWidget, ...] = ()
        self._canvas = QWidget()
        self._canvas.setAutoFillBackground(False)
        self.setWidget(self._canvas)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setWidgetResizable(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.viewport().setAutoFillBackground(False)
        self.verticalScrollBar().setSingleStep(48)
        # Several cards come and go at once; one look at the end is enough.
        self._look = QTimer(self)
        self._look.setSingleShot(True)
        self._look.setInterval(0)
        self._look.timeout.connect(self._on_look_timeout)
        self.verticalScrollBar().valueChanged.connect(self._on_scroll_bar_moved)

    @property
    def cards(self) -> tuple[QWidget, ...]:
        """The cards in their order."""
        return self._cards

    @property
    def in_view(self) -> tuple[QWidget, ...]:
        """The cards that are in view, or nearly so."""
        return self._in_view

    @property
    def column_count(self) -> int:
        """Cards beside each other now."""
        return self._columns or max(1, (self._room() + GAP) // (self._min_width + GAP))

    def set_cards(self, cards: Sequence[QWidget], *, wide: Sequence[QWidget] = ()) -> None:
        """Show these cards in this order.

        Cards that are no longer among them are hidden and lose their parent; whoever made them deletes them.

        Parameters
        ----------
        cards : sequence of QWidget
        wide : sequence of QWidget
            Those that take a whole row.
        """
        cards = tuple(cards)
        for card in self._cards:
            if card not in cards:
                card.removeEventFilter(self)
                card.hide()
                card.setParent(None)
        for card in cards:
            if card.parent() is not self._canvas:
                card.setParent(self._canvas)
                card.installEventFilter(self)
                card.show()
        self._cards, self._wide = cards, frozenset(wide)
        self._lay_out()

    def set_columns(self, columns: int) -> None:
        """Put this many cards beside each other; 0 puts as many as fit."""
        if columns != self._columns:
            self._columns = max(columns, 0)
            self._lay_out()

    def set_card_height(self, height: int) -> None:
        """Make every card this high; 0 takes it from the width."""
        if height != self._card_height:
            self._card_height = max(height, 0)
            self._lay_out()

    def show_card(self, card: QWidget) -> None:
        """Scroll until a card is in view."""
        self.ensureWidgetVisible(card, 0, GAP)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Lay out anew, the card at the top staying at the top."""
        super().resizeEvent(event)
        top = next((card for card in self._cards if card.geometry().bottom() > -self._canvas.y()), None)
        above = self._canvas.y() + top.y() if top is not None else 0
        self._lay_out()
        if top is not None and self._canvas.y() < 0:
            self.verticalScrollBar().setValue(top.y() - above)

    def showEvent(self, event: QShowEvent) -> None:
        """Tell which cards are in view."""
        super().showEvent(event)
        self._look.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Forget a card that is deleted."""
        if event.type() == QEvent.Type.DeferredDelete and watched in self._cards:
            self._cards = tuple(card for card in self._cards if card is not watched)
            self._in_view = tuple(card for card in self._in_view if card is not watched)
            self._wide -= {card for card in self._wide if card is watched}
            self._lay_out()
        return super().eventFilter(watched, event)

    def _room(self) -> int:
        # As if the scroll bar were there: otherwise its coming could change the columns, and its going change them back.
        room = self.width() - 2 * self.frameWidth()
        return max(room - self.verticalScrollBar().sizeHint().width(), 1)

    def _lay_out(self) -> None:
        columns = self.column_count
        room = self._room()
        width = max((room - GAP * (columns - 1)) // columns, 1)
        height = self._card_height or min(max(round(width * _ASPECT), _LOWEST), _HIGHEST)
        row = column = 0
        for card in self._cards:
            whole_row = card in self._wide
            if column and (whole_row or column == columns):
                row, column = row + 1, 0
            x = column * (width + GAP)
            card.setGeometry(QRect(x, row * (height + GAP), room if whole_row else width, height))
            column += columns if whole_row else 1
        rows = row + 1 if self._cards else 0
        self._canvas.resize(room, max(rows * (height + GAP) - GAP, 0))
        self._look.start()

    def _on_scroll_bar_moved(self) -> None:
        self._look.start()

    def _on_look_timeout(self) -> None:
        if not self.isVisible():
            return
        top = self.viewport().mapTo(self, QPoint(0, 0)).y() - self._canvas.y()
        view = QRect(0, top - _MARGIN, max(self._canvas.width(), 1), self.viewport().height() + 2 * _MARGIN)
        in_view = tuple(card for card in self._cards if card.geometry().intersects(view))
        if in_view != self._in_view:
            self._in_view = in_view
            self.visible_changed.emit(in_view)
