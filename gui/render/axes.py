"""The axis beside a panel: texts of ticks and the label. The grid is the panel's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pyqtgraph import GraphicsWidget
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPainterPath
from PySide6.QtWidgets import (
    QGraphicsItem,
    QGraphicsSceneHoverEvent,
    QGraphicsSceneWheelEvent,
    QStyleOptionGraphicsItem,
    QWidget,
)

from ...models.figure import Axis
from ...resources import Theme
from ..theme import CAPTION, TICK, font
from ..widgets.literal_tip import literal_tip
from .ticks import Ticks, ticks
from .viewport import Viewport

_GAP = 6.0
"""Pixels between the panel and the texts of ticks."""

_STANDS_OUT = 12.0
"""Pixels by which the label of a low panel may be longer than its axis."""

_SHORTEST = 40.0
"""Pixels below which a label that has to be cut says nothing."""

_WIDEST = 150.0
"""Pixels of the widest text of a category; a longer one is cut in the middle."""

_WIDTHS = 1000
"""Texts whose widths are remembered."""

_REMEMBERED = 8
"""Ranges and lengths whose ticks are remembered."""


class _Type:
    """A font and what is known of it: asking Qt for the widths of texts is most of the work of an axis that moves."""

    def __init__(self, size: float) -> None:
        self.font = font(size)
        self.points = self.font.pointSizeF()
        self.metrics = QFontMetricsF(self.font)
        self.height = self.metrics.height()
        self._widths: dict[str, float] = {}

    def width(self, text: str) -> float:
        """Give the pixels a text takes."""
        known = self._widths.get(text)
        if known is None:
            if len(self._widths) >= _WIDTHS:
                self._widths.clear()
            known = self._widths[text] = self.metrics.horizontalAdvance(text)
        return known


class AxisItem(GraphicsWidget):
    """One axis of a panel.

    Parameters
    ----------
    side : {'bottom', 'left'}
        Where it stands.
    wheel : callable
        Called with pixels along the axis and steps of the wheel.
    drag : callable
        Called with the event of a drag over the axis.
    """

    def __init__(
        self,
        side: str,
        wheel: Callable[[float, float], None],
        drag: Callable[[object], None],
        parent: QGraphicsItem | None = None,
    ) -> None:
        super().__init__(parent)
        self._side = side
        self._wheel, self._drag = wheel, drag
        self._axis = Axis()
        self._ticks = Ticks()
        self._viewport: Viewport | None = None
        self._theme: Theme | None = None
        self._shows_texts = True
        self._compact = False
        self._widest = _WIDEST
        self._turned = False
        self._cut: list[tuple[float, str]] = []
        self._lines: tuple[str, ...] = ()
        self._label_is_cut = False
        self._measured: dict[tuple[object, ...], tuple[float, Ticks, tuple[str, ...], bool]] = {}
        self._tick, self._caption = _Type(TICK), _Type(CAPTION)
        self.setAcceptHoverEvents(True)

    def set_axis(self, axis: Axis, *, shows_texts: bool = True) -> None:
        """Take over what the axis is.

        Parameters
        ----------
        shows_texts : bool
            False leaves only the grid: the axis goes on in the panel below.
        """
        self._axis, self._shows_texts = axis, shows_texts
        self._measured.clear()
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take a theme over."""
        self._theme = theme
        self.update()

    def take_font(self) -> None:
        """Take over the window's type, which changed."""
        self._tick, self._caption = _Type(TICK), _Type(CAPTION)
        self._measured.clear()
        self.update()

    def set_room_for_names(self, room: float) -> None:
        """Say how many pixels the names of categories may take; longer ones are cut in the middle."""
        self._widest = min(room, _WIDEST)

    def set_compact(self, compact: bool) -> None:
        """Leave the label to the tooltip and cut names shorter, where a panel has hardly any room for data else."""
        self._compact = compact
        self.update()

    @property
    def _label(self) -> str:
        return "" if self._compact else self._axis.label

    @property
    def ticks(self) -> Ticks:
        """The ticks last laid out."""
        return self._ticks

    def measure(self, low: float, high: float, length: float) -> float:
        """Choose ticks for a range over so many pixels, and give how broad the axis gets."""
        asked = (self._compact, self._widest, low, high, length)
        known = self._measured.get(asked)
        if known is None:
            breadth = self._measure(low, high, length)
            # A layout asks for two lengths, or three; what is not moved is asked for again and again.
            if len(self._measured) >= _REMEMBERED:
                del self._measured[next(iter(self._measured))]
            self._measured[asked] = known = (breadth, self._ticks, self._lines, self._turned)
        breadth, self._ticks, self._lines, self._turned = known
        return breadth

    def _measure(self, low: float, high: float, length: float) -> float:
        self._ticks = self._chosen(low, high, length)
        if not self._shows_texts:
            self._lines = ()
            return 4.0
        self._lines = self._label_in_lines(length)
        label = self._label_room
        longest = max(map(self._tick.width, self._ticks.texts), default=0.0)
        if self._side == "left":
            widest = min(longest, self._widest) if self._axis.scale == "category" else longest
            return float(np.ceil(widest / 4) * 4) + _GAP + 4 + label
        self._turned = self._axis.scale == "category" and self._is_crowded(low, high, length)
        if self._turned:
            return (min(longest, self._widest_turned) + self._tick.height) * 0.71 + _GAP + 2 + label
        return self._tick.height + _GAP + label + 1

    def _label_in_lines(self, length: float) -> tuple[str, ...]:
        """Give the label for an axis of a length: in two lines where one is too short, and cut where two are."""
        if not self._label:
            return ()
        metrics = self._caption.metrics
        # A label may stand out over both ends of a low panel, as far as the next panel is away at least.
        room = length + _STANDS_OUT if self._side == "left" else length
        lines = [self._label]
        if metrics.horizontalAdvance(self._label) > room:
            words = self._label.replace(" %", "\u00a0%").split(" ")
            breaks = [(" ".join(words[:at]), " ".join(words[at:])) for at in range(1, len(words))]
            if breaks:
                lines = list(min(breaks, key=lambda two: max(map(metrics.horizontalAdvance, two))))
        if metrics.horizontalAdvance(self._label) > room and room < _SHORTEST:
            return ()
        return tuple(metrics.elidedText(line, Qt.TextElideMode.ElideMiddle, room) for line in lines)

    @property
    def _label_room(self) -> float:
        """Pixels across the axis that the label takes."""
        return self._caption.height * len(self._lines) + 3 if self._lines else 0.0

    @property
    def _widest_turned(self) -> float:
        return _WIDEST * (0.3 if self._compact else 0.6)

    def _is_crowded(self, low: float, high: float, length: float) -> bool:
        room = length / max(high - low, 1e-9)
        if len(self._ticks.at) > 1:
            room *= self._ticks.at[1] - self._ticks.at[0]
        return any(self._tick.width(text) + 6 > room for text in self._ticks.texts) and room < 110

    def _chosen(self, low: float, high: float, length: float) -> Ticks:
        if self._axis.scale == "category":
            return ticks(
                self._axis, low, high, int(length / (self._tick.height * (1.15 if self._side == "left" else 1.45)))
            )
        if self._side == "left":
            return ticks(self._axis, low, high, min(int(length / (self._tick.height * 3.2)), 7))
        # As many as fit with the gap of one text between two; the widest is known after choosing.
        room = min(int(length / 52), 9)
        while True:
            chosen = ticks(self._axis, low, high, room)
            widest = max(map(self._tick.width, chosen.texts), default=0.0)
            fits = (len(chosen.at) - 1) * (widest + 14) <= length
            if fits or room <= 2:
                return chosen
            room -= 1

    def lay_out(self, viewport: Viewport) -> None:
        """Take over where data is; the item's rectangle is set by the panel."""
        self._viewport = viewport
        self.update()

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Paint texts and label."""
        if self._theme is None or self._viewport is None or not self._shows_texts:
            return
        self._cut = []
        painter.setFont(self._tick.font)
        painter.setPen(QColor(self._theme.colour("muted")))
        if self._side == "left":
            self._paint_left(painter)
        elif self._turned:
            self._paint_turned(painter)
        else:
            self._paint_bottom(painter)
        self._paint_label(painter)

    def _paint_left(self, painter: QPainter) -> None:
        assert self._viewport is not None
        right = self.size().width() - _GAP
        height = self._tick.height
        label = self._label_room
        free = -1e9
        for y, text in sorted(zip(self._viewport.y(self._ticks.at).tolist(), self._ticks.texts, strict=True)):
            if -1 <= y <= self._viewport.height + 1 and y >= free:
                free = y + height * 0.8
                shown = self._fitted(text, right - label + 1, y)
                painter.drawText(
                    QRectF(0, y - height / 2, right, height),
                    Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
                    shown,
                )

    def _paint_bottom(self, painter: QPainter) -> None:
        assert self._viewport is not None
        free = -1e9
        category = self._axis.scale == "category"
        places = self._viewport.x(self._ticks.at).tolist()
        room = abs(places[1] - places[0]) - 6 if len(places) > 1 else self._viewport.width
        for x, text in sorted(zip(places, self._ticks.texts, strict=True)):
            shown = self._fitted(text, max(room, 20), x) if category else text
            width = self._tick.width(shown)
            left = x - width / 2
            if -1 <= x <= self._viewport.width + 1 and left >= free:
                painter.drawText(
                    QRectF(left - 4, _GAP - 1, width + 8, self._tick.height), Qt.AlignmentFlag.AlignCenter, shown
                )
                free = left + width + 6

    def _paint_turned(self, painter: QPainter) -> None:
        assert self._viewport is not None
        for x, text in zip(self._viewport.x(self._ticks.at).tolist(), self._ticks.texts, strict=True):
            if not -1 <= x <= self._viewport.width + 1:
                continue
            shown = self._fitted(text, self._widest_turned, x)
            painter.save()
            painter.translate(x + self._tick.height * 0.2, _GAP)
            painter.rotate(-45)
            width = self._tick.width(shown) + 2
            painter.drawText(
                QRectF(-width, 0, width, self._tick.height),
                Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop,
                shown,
            )
            painter.restore()

    def _fitted(self, text: str, room: float, along: float) -> str:
        """Cut a text in the middle where it is too long, and remember where the whole is to be told."""
        if self._tick.width(text) <= room:
            return text
        shown = self._tick.metrics.elidedText(text, Qt.TextElideMode.ElideMiddle, room)
        if shown != text:
            self._cut.append((along, text))
        return shown

    def hoverMoveEvent(self, event: QGraphicsSceneHoverEvent) -> None:
        """Tell the whole of a text that is cut, or the label where it is."""
        along = event.pos().y() if self._side == "left" else event.pos().x()
        nearest = min(self._cut, key=lambda cut: abs(cut[0] - along), default=(0.0, ""))
        label = self._axis.label if self._label_is_cut else ""
        self.setToolTip(literal_tip(nearest[1] if abs(nearest[0] - along) < 20 else label))

    def _paint_label(self, painter: QPainter) -> None:
        self._label_is_cut = " ".join(self._lines).replace("\u00a0", " ") != self._axis.label
        if not self._lines:
            return
        painter.setFont(self._caption.font)
        size = self.size()
        centre, text = Qt.AlignmentFlag.AlignCenter, "\n".join(self._lines)
        across = self._caption.height * len(self._lines)
        if self._side == "left":
            room = size.height() + _STANDS_OUT
            painter.translate(across / 2, size.height() / 2)
            painter.rotate(-90)
            painter.drawText(QRectF(-room / 2, -across / 2, room, across), centre, text)
        else:
            painter.drawText(QRectF(0, size.height() - across, size.width(), across), centre, text)

    def boundingRect(self) -> QRectF:
        """Give the rectangle painted on: texts at the ends stand out a little."""
        return QRectF(-60, -12, self.size().width() + 120, self.size().height() + 24)

    def shape(self) -> QPainterPath:
        """Give where the mouse finds the axis: between the ends only."""
        path = QPainterPath()
        path.addRect(QRectF(0, 0, self.size().width(), self.size().height()))
        return path

    def wheelEvent(self, event: QGraphicsSceneWheelEvent) -> None:
        """Zoom this axis only."""
        along = event.pos().y() if self._side == "left" else event.pos().x()
        self._wheel(along, event.delta() / 120)
        event.accept()

    def mouseDragEvent(self, event: object) -> None:
        """Move this axis only."""
        self._drag(event)
