"""Icons from outlines: drawn in any size and in the colours they are given, without a font or a file for each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from PySide6.QtCore import QPointF, QRect, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QIconEngine, QPainter, QPainterPath, QPixmap

from .. import resources

_SIDE = 1000.0
"""Of the square outlines are drawn in."""

_COMMAND = re.compile(r"([MLHVQCZ])([^MLHVQCZ]*)")


@cache
def outline(name: str) -> QPainterPath:
    """Give the outline of a sign in a square of 1000 by 1000.

    Parameters
    ----------
    name : str
        ``ph.export``; see ``resources/icons/signs.json``.

    Raises
    ------
    KeyError
        When there is no such sign.
    """
    path = QPainterPath()
    path.setFillRule(Qt.FillRule.WindingFill)
    for command, given in _COMMAND.findall(resources.signs()[name]):
        numbers = [float(number) for number in given.split()]
        if command in "HV":
            for number in numbers:
                at = path.currentPosition()
                path.lineTo(*((number, at.y()) if command == "H" else (at.x(), number)))
            continue
        points = [QPointF(x, y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
        if command == "M":
            path.moveTo(points.pop(0))
        if command in "ML":
            for point in points:
                path.lineTo(point)
        elif command == "Q":
            for bend, end in zip(points[::2], points[1::2], strict=True):
                path.quadTo(bend, end)
        elif command == "C":
            for one, other, end in zip(points[::3], points[1::3], points[2::3], strict=True):
                path.cubicTo(one, other, end)
        else:
            path.closeSubpath()
    return path


class SignEngine(QIconEngine):
    """Draws a sign in the colour of each mode of an icon, and in another one while it is switched on.

    Parameters
    ----------
    name : str
        Of the sign.
    colours : Mapping of QIcon.Mode to QColor
    on : QColor
        While it is switched on.
    """

    def __init__(self, name: str, colours: Mapping[QIcon.Mode, QColor], on: QColor) -> None:
        super().__init__()
        self._name, self._colours, self._on = name, dict(colours), on
        outline(name)  # a name that is none is said where the icon is made, and not while it is painted

    def clone(self) -> QIconEngine:
        """Give another one that draws the same."""
        return SignEngine(self._name, self._colours, self._on)

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        """Draw the sign in the middle of a place."""
        side = min(rect.width(), rect.height())
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.translate(rect.x() + (rect.width() - side) / 2, rect.y() + (rect.height() - side) / 2)
        painter.scale(side / _SIDE, side / _SIDE)
        is_on = state == QIcon.State.On and mode != QIcon.Mode.Disabled
        painter.fillPath(outline(self._name), self._on if is_on else self._colours[mode])
        painter.restore()

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        """Give the sign as a picture."""
        made = QPixmap(size)
        made.fill(Qt.GlobalColor.transparent)
        painter = QPainter(made)
        self.paint(painter, QRect(0, 0, size.width(), size.height()), mode, state)
        painter.end()
        return made
