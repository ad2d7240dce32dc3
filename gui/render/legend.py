"""The legend of a panel: which marks it lists, where it stands, how it is painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPen

from ...models.figure import Band, Bars, Line, Mark, Points
from ...resources import Theme
from ..theme import TICK, font
from .marks import symbol_path
from .viewport import Viewport

_MOST = 8
"""Lines from which on a legend is longer than useful: the tree of runs tells which is which."""

_SWATCH = 18.0
_WIDEST = 220.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a legend: the mark it stands for."""

    mark: Line | Points | Band | Bars


def entries(marks: Sequence[Mark]) -> tuple[Entry, ...]:
    """Give what a legend lists: labelled marks, each label once; nothing where there are too many lines."""
    found: dict[str, Entry] = {}
    lines = 0
    for mark in marks:
        if isinstance(mark, Line | Points | Band | Bars) and mark.label and mark.label not in found:
            found[mark.label] = Entry(mark)
            lines += isinstance(mark, Line)
    if lines > _MOST or len(found) > _MOST + 4:
        return ()
    return tuple(found.values())


class Legend:
    """A laid-out legend.

    Parameters
    ----------
    listed : tuple of Entry
        What is listed.
    width : float
        Pixels of the panel.
    in_a_row : bool
        Whether entries follow one another in wrapped lines (above the panel) instead of standing in a column (inside it).
    """

    def __init__(self, listed: tuple[Entry, ...], width: float, *, in_a_row: bool) -> None:
        metrics = QFontMetricsF(font(TICK))
        self._height = metrics.height() + 3
        self.places: list[tuple[Entry, QRectF, str]] = []
        x = y = broadest = 0.0
        widest = min(_WIDEST, width * (1.0 if in_a_row else 0.55))
        for entry in listed:
            text = metrics.elidedText(entry.mark.label, Qt.TextElideMode.ElideMiddle, max(widest - _SWATCH - 6, 24))
            breadth = _SWATCH + 6 + metrics.horizontalAdvance(text)
            if in_a_row and x and x + breadth > width:
                x, y = 0.0, y + self._height
            self.places.append((entry, QRectF(x, y, breadth, self._height), text))
            if in_a_row:
                x += breadth + 14
            else:
                y += self._height
            broadest = max(broadest, breadth)
        self.says_little = any(len(text) < 0.6 * len(entry.mark.label) for entry, _, text in self.places)
        """Whether so much of a label is cut that it no longer tells which it is."""
        self.width = width if in_a_row else broadest
        self.height = y + (self._height if in_a_row and listed else 0.0)

    def paint(self, painter: QPainter, at: QPointF, theme: Theme) -> None:
        """Paint the legend with its top left corner at a place."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        for entry, rectangle, text in self.places:
            placed = rectangle.translated(at)
            _paint_swatch(painter, entry.mark, QPointF(placed.left() + _SWATCH / 2, placed.center().y()), theme)
            painter.setPen(QColor(theme.colour("muted")))
            painter.setFont(font(TICK))
            painter.drawText(
                placed.adjusted(_SWATCH + 5, 0, 4, 0), Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text
            )

    def entry_at(self, place: QPointF) -> tuple[Entry, bool] | None:
        """Give the entry at a place relative to the legend, and whether its label is cut."""
        for entry, rectangle, text in self.places:
            if rectangle.contains(place):
                return entry, text != entry.mark.label
        return None


def _paint_swatch(painter: QPainter, mark: Any, centre: QPointF, theme: Theme) -> None:
    colour = QColor(theme.colour(mark.hue))
    x, y, half = centre.x(), centre.y(), _SWATCH / 2 - 2
    match mark:
        case Line():
            pen = QPen(colour, max(mark.width, 1.5))
            pattern = theme.pattern(theme.dash(mark.hue, mark.dash))
            if pattern:
                pen.setDashPattern(list(pattern))
                pen.setCapStyle(Qt.PenCapStyle.FlatCap)
            painter.setPen(pen)
            painter.drawLine(QLineF(x - half, y, x + half, y))
        case Points():
            symbol = theme.symbol(mark.hue, mark.symbol)
            painter.setPen(QPen(colour, 1.4) if mark.hollow or symbol == "cross" else Qt.PenStyle.NoPen)
            painter.setBrush(QColor(theme.colour("panel")) if mark.hollow else colour)
            painter.drawPath(symbol_path(symbol, 7.0).translated(x, y))
        case _:
            colour.setAlphaF(max(mark.opacity, 0.25))
            painter.fillRect(QRectF(x - half, y - 4, 2 * half, 8), colour)


def free_corner(size: tuple[float, float], viewport: Viewport, covered: np.ndarray) -> QPointF | None:
    """Find a corner of a panel where a legend covers no data.

    Parameters
    ----------
    size : tuple of float
        Width and height of the legend, in pixels.
    covered : ndarray, shape (n, 2)
        Pixels where something is drawn.

    Returns
    -------
    QPointF or None
        Its top left corner; None where no corner is free.
    """
    width, height = size
    margin = 8.0
    right, bottom = viewport.width - width - margin, viewport.height - height - margin
    if right < margin or bottom < margin or height > 0.6 * viewport.height:
        return None
    for x, y in ((right, margin), (margin, margin), (right, bottom), (margin, bottom)):
        inside = (covered[:, 0] > x - 6) & (covered[:, 0] < x + width + 6)
        inside &= (covered[:, 1] > y - 6) & (covered[:, 1] < y + height + 6)
        if not inside.any():
            return QPointF(x, y)
    return None
