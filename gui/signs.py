"""Icons from outlines: drawn in any size and in the colours they are given, without a font or a file for each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from PySide6.QtCore import QByteArray, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QIconEngine, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from .. import resources

_PAGE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 1000"><path fill="{}" fill-opacity="{}" d="{}"/></svg>'
)


@cache
def _drawing(name: str, colour: str, opacity: float) -> QSvgRenderer:
    return QSvgRenderer(QByteArray(_PAGE.format(colour, opacity, resources.signs()[name]).encode()))


class SignEngine(QIconEngine):
    """Draws a sign in the colour of each mode of an icon, and in another one while it is switched on.

    Parameters
    ----------
    name : str
        ``ph.export``; see ``resources/icons/signs.json``.
    colours : Mapping of QIcon.Mode to QColor
    on : QColor
        While it is switched on.

    Raises
    ------
    KeyError
        When there is no such sign.
    """

    def __init__(self, name: str, colours: Mapping[QIcon.Mode, QColor], on: QColor) -> None:
        super().__init__()
        self._name, self._colours, self._on = name, dict(colours), on
        resources.signs()[name]  # a name that is none is said where the icon is made, and not while it is painted

    def clone(self) -> QIconEngine:
        """Give another one that draws the same."""
        return SignEngine(self._name, self._colours, self._on)

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        """Draw the sign in the middle of a place."""
        is_on = state == QIcon.State.On and mode != QIcon.Mode.Disabled
        colour = self._on if is_on else self._colours[mode]
        side = min(rect.width(), rect.height())
        middle = QRectF(rect.x() + (rect.width() - side) / 2, rect.y() + (rect.height() - side) / 2, side, side)
        _drawing(self._name, colour.name(), colour.alphaF()).render(painter, middle)

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        """Give the sign as a picture."""
        made = QPixmap(size)
        made.fill(Qt.GlobalColor.transparent)
        painter = QPainter(made)
        self.paint(painter, QRect(0, 0, size.width(), size.height()), mode, state)
        painter.end()
        return made
