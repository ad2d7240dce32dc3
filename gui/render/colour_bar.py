"""The bar beside a panel of cells that says what their colours mean."""

from __future__ import annotations

import math

from pyqtgraph import GraphicsWidget
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QLinearGradient, QPainter
from PySide6.QtWidgets import QGraphicsItem, QStyleOptionGraphicsItem, QWidget

from ...models.figure import Axis
from ...resources import Theme
from ..theme import CAPTION, TICK, font
from ..widgets.literal_tip import literal_tip
from .marks import Colours
from .ticks import Ticks, ticks

_AWAY, _BROAD, _GAP = 10.0, 10.0, 5.0
"""Pixels between the panel and the bar, of the bar, and between bar and texts."""

_SAYS_ENOUGH = 0.6
"""Share of a label that must fit: one cut further says nothing and is left to the tooltip."""


class ColourBar(GraphicsWidget):
    """Colours from low to high with ticks, and the name of what they mean."""

    def __init__(self, parent: QGraphicsItem | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme | None = None
        self._colours = Colours(0.0, 1.0, "sequential", "")
        self._ticks = Ticks()
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)

    def set_theme(self, theme: Theme) -> None:
        """Take a theme over."""
        self._theme = theme
        self.update()

    def measure(self, colours: Colours, length: float) -> float:
        """Take over what the colours mean, and give how broad bar and texts get beside so many pixels."""
        self._colours = colours
        self.setToolTip(literal_tip(colours.label))
        metrics = QFontMetricsF(font(TICK))
        self._ticks = ticks(Axis(), colours.low, colours.high, min(int(length / (metrics.height() * 3.2)), 5))
        widest = max((metrics.horizontalAdvance(text) for text in self._ticks.texts), default=0.0)
        return math.ceil(_AWAY + _BROAD + _GAP + widest + QFontMetricsF(font(CAPTION)).height() + 4)

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Paint bar, ticks and label."""
        if self._theme is None:
            return
        width, height = self.size().width(), self.size().height()
        colours = self._colours
        stops = self._theme.ramps[colours.ramp]
        gradient = QLinearGradient(0.0, height, 0.0, 0.0)
        for number, stop in enumerate(stops):
            gradient.setColorAt(number / (len(stops) - 1), QColor(stop))
        painter.fillRect(QRectF(_AWAY, 0.0, _BROAD, height), gradient)
        letters = font(TICK)
        metrics = QFontMetricsF(letters)
        painter.setFont(letters)
        painter.setPen(QColor(self._theme.colour("muted")))
        left = _AWAY + _BROAD + _GAP
        for value, text in zip(self._ticks.at, self._ticks.texts, strict=True):
            y = height * (1 - (value - colours.low) / (colours.high - colours.low))
            y = min(max(y, metrics.height() / 2 - 3), height - metrics.height() / 2 + 3)
            place = QRectF(left, y - metrics.height() / 2, width - left, metrics.height())
            painter.drawText(place, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text)
        letters = font(CAPTION)
        metrics = QFontMetricsF(letters)
        painter.setFont(letters)
        if metrics.horizontalAdvance(colours.label) * _SAYS_ENOUGH > height:
            return
        text = metrics.elidedText(colours.label, Qt.TextElideMode.ElideMiddle, height)
        painter.translate(QPointF(width - metrics.height() / 2, height / 2))
        painter.rotate(-90)
        place = QRectF(-height / 2, -metrics.height() / 2, height, metrics.height())
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, text)

    def boundingRect(self) -> QRectF:
        """Give the rectangle painted on: texts at the ends stand out a little."""
        return QRectF(0, -8, self.size().width() + 4, self.size().height() + 16)
