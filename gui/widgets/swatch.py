"""The sign of a run or group: its colour, and beyond the first round of the palette its dash."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QSizePolicy, QWidget

from ..theme import appearance

SIZE = 10


def paint_swatch(painter: QPainter, place: QRectF, hue: str) -> None:
    """Draw the sign of a hue: a filled square, or a piece of its dashed line where the palette has come round again."""
    theme = appearance().theme
    colour = QColor(theme.colour(hue))
    dash = theme.dash(hue)
    side = min(place.width(), place.height())
    square = QRectF(place.center().x() - side / 2, place.center().y() - side / 2, side, side)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    if dash == "solid":
        painter.setBrush(colour)
        painter.drawRoundedRect(square, 2.5, 2.5)
    else:
        faint = QColor(colour)
        faint.setAlphaF(0.28)
        painter.setBrush(faint)
        painter.drawRoundedRect(square, 2.5, 2.5)
        pen = QPen(colour, 2.2)
        pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        # The pattern of the curves is in widths of a thin line; here two or three strokes have to fit.
        pen.setDashPattern({"dotted": [0.7, 0.7], "dashed": [1.6, 0.9]}.get(dash, [1.9, 0.7, 0.7, 0.7]))
        if dash == "long":
            pen.setDashPattern([3.0, 0.9])
        painter.setPen(pen)
        middle = square.center().y()
        painter.drawLine(QPointF(square.left(), middle), QPointF(square.right(), middle))
    painter.restore()


def swatch_pixmap(hue: str, ratio: float = 1.0, size: int = SIZE) -> QPixmap:
    """Give the sign of a hue as a picture for a screen with so many device pixels a pixel."""
    pixmap = QPixmap(round(size * ratio), round(size * ratio))
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    paint_swatch(painter, QRectF(0, 0, size, size), hue)
    painter.end()
    return pixmap


def stripes_pixmap(colours: Sequence[str], ratio: float = 1.0, size: int = 16) -> QPixmap:
    """Give colours as upright stripes beside each other, six at most."""
    shown = colours[:6]
    pixmap = QPixmap(round(size * ratio), round(size * ratio))
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    width = size / len(shown)
    for number, colour in enumerate(shown):
        painter.fillRect(QRectF(number * width, 2, width, size - 4), QColor(colour))
    painter.end()
    return pixmap


class Swatch(QWidget):
    """Shows the sign of a hue."""

    def __init__(self, hue: str = "c0", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hue = hue
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    @property
    def hue(self) -> str:
        """The hue that is shown."""
        return self._hue

    def set_hue(self, hue: str) -> None:
        """Show another hue."""
        self._hue = hue
        self.update()

    def sizeHint(self) -> QSize:
        """The size of the sign."""
        return QSize(SIZE, SIZE)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the sign."""
        painter = QPainter(self)
        paint_swatch(painter, QRectF(self.rect()), self._hue)
