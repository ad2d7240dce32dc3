"""What follows the mouse over a panel: the cursor, the table of readings, notes, the rectangle being dragged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyqtgraph import GraphicsObject
from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPainterPath, QPen
from PySide6.QtWidgets import QGraphicsWidget, QStyleOptionGraphicsItem, QWidget

from ...resources import Theme
from ..theme import CAPTION, TICK, font

_PAD = 8.0
_AWAY = 14.0
"""Pixels between the mouse and the table."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a swatch and its cells."""

    hue: str
    cells: tuple[str, ...]
    is_nearest: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What the table shows.

    Attributes
    ----------
    title : str
        Where the cursor stands.
    header : tuple of str
        Names of the columns; empty where one look tells.
    hidden : int
        Rows that there was no room for.
    order : str
        How the rows are sorted; empty where they are as on screen.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    hidden: int = 0
    order: str = ""

    @property
    def footer(self) -> str:
        """What stands below the rows."""
        more = f"and {self.hidden} more" if self.hidden else ""
        return " · ".join(part for part in (more, self.order) if part)


class Overlay(GraphicsObject):
    """The topmost item of a panel; it takes no mouse events.

    Parameters
    ----------
    frame : QGraphicsWidget
        The rectangle data is drawn in. Cursor and rectangles stay inside; boxes with text may reach over its edges in a
        small panel, but not out of the figure.

    Attributes
    ----------
    cursor : float or None
        Pixels from the left of the vertical line.
    dots : list of (x, y, hue)
        Where the cursor meets the lines, in pixels.
    pin : float or None
        Pixels from the left of the second cursor, which stays; outside the frame it is not seen.
    pin_dots : list of (x, y, hue)
        Where the second cursor meets the lines, in pixels.
    pin_text : str
        Where the second cursor stands, as it is written.
    reading : Reading or None
        The table.
    note : str
        What is said about the element pointed at; a tab parts name and value.
    mouse : QPointF or None
        Where the mouse is; the table keeps away from it.
    band : QRectF or None
        The rectangle being dragged.
    outline : QRectF or None
        The element pointed at.
    """

    def __init__(self, frame: QGraphicsWidget) -> None:
        super().__init__()
        self._frame = frame
        self._theme: Theme | None = None
        self.cursor: float | None = None
        self.dots: list[tuple[float, float, str]] = []
        self.pin: float | None = None
        self.pin_dots: list[tuple[float, float, str]] = []
        self.pin_text = ""
        self.reading: Reading | None = None
        self.note = ""
        self.mouse: QPointF | None = None
        self.band: QRectF | None = None
        self.outline: QRectF | None = None
        self.under: Callable[[QPainter], None] | None = None
        self.setZValue(100)
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)

    def set_theme(self, theme: Theme) -> None:
        """Take a theme over."""
        self._theme = theme
        self.update()

    def clear(self) -> None:
        """Show nothing but the second cursor."""
        self.cursor = self.reading = self.mouse = self.band = self.outline = self.under = None
        self.dots, self.note = [], ""
        self.update()

    def lay_out(self) -> None:
        """Follow the frame."""
        self.prepareGeometryChange()
        self.setPos(self._frame.pos())
        self.update()

    def boundingRect(self) -> QRectF:
        """Give the whole figure."""
        scene = self.scene()
        if scene is None or not scene.views():
            return self._frame.rect()
        return QRectF(scene.views()[0].viewport().rect()).translated(-self._frame.pos())

    def shape(self) -> QPainterPath:
        """Give nothing: the mouse goes through."""
        return QPainterPath()

    def rows_that_fit(self) -> int:
        """Give how many rows the table may have."""
        height = QFontMetricsF(font(CAPTION)).height() + 3
        return max(min(int((self.boundingRect().height() - 2 * _PAD - 8) / height) - 2, 12), 1)

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Paint what there is."""
        if self._theme is None:
            return
        area = self._frame.rect()
        painter.setClipRect(area)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        if self.under is not None:
            painter.save()
            self.under(painter)
            painter.restore()
        if self.pin is not None and -0.5 <= self.pin <= area.width() + 0.5:
            self._paint_pin(painter, self.pin, area)
        if self.cursor is not None and 0 <= self.cursor <= area.width():
            pen = QPen(self._colour("muted"), 1.0)
            pen.setDashPattern([3, 3])
            painter.setPen(pen)
            painter.drawLine(QLineF(self.cursor, 0, self.cursor, area.height()))
        for x, y, hue in self.dots:
            painter.setPen(QPen(self._colour("panel"), 1.5))
            painter.setBrush(self._colour(hue))
            painter.drawEllipse(QPointF(x, y), 3.5, 3.5)
        if self.outline is not None:
            painter.setPen(QPen(self._colour("accent"), 2.0))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(self.outline, 3, 3)
        if self.band is not None:
            painter.setPen(QPen(self._colour("accent"), 1.0))
            painter.setBrush(self._colour("accent", 0.10))
            painter.drawRect(self.band)
            return
        painter.setClipping(False)
        if self.note:
            self._paint_note(painter)
        elif self.reading is not None and self.reading.rows:
            self._paint_table(painter, self.reading)

    def _paint_pin(self, painter: QPainter, pin: float, area: QRectF) -> None:
        painter.setPen(QPen(self._colour("accent"), 1.0))
        painter.drawLine(QLineF(pin, 0, pin, area.height()))
        for x, y, hue in self.pin_dots:
            painter.setPen(QPen(self._colour(hue), 1.5))
            painter.setBrush(self._colour("panel"))
            painter.drawEllipse(QPointF(x, y), 3.0, 3.0)
        letters = font(TICK)
        metrics = QFontMetricsF(letters)
        width = metrics.horizontalAdvance(self.pin_text) + 8
        if not self.pin_text or width > area.width() or area.height() < 3 * metrics.height():
            return
        left = min(max(pin - width / 2, 0.0), area.width() - width)
        box = QRectF(left, area.height() - metrics.height() - 2, width, metrics.height())
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._colour("accent"))
        painter.drawRoundedRect(box, 3, 3)
        painter.setFont(letters)
        painter.setPen(self._colour("panel"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, self.pin_text)

    def _colour(self, name: str, opacity: float = 1.0) -> QColor:
        assert self._theme is not None
        made = QColor(self._theme.colour(name))
        made.setAlphaF(opacity)
        return made

    def _place(self, width: float, height: float) -> QRectF:
        """Give where a box stands: beside the mouse (or the cursor), on the side that is free, inside the panel."""
        area = self.boundingRect()
        mouse = self.mouse if self.mouse is not None else QPointF(self.cursor or 0.0, 12.0)
        # Inside the panel where it has room, else at least inside the figure.
        room = self._frame.rect()
        area = QRectF(
            QPointF(
                room.left() if width < room.width() - 8 else area.left(),
                room.top() if height < room.height() - 8 else area.top(),
            ),
            QPointF(
                room.right() if width < room.width() - 8 else area.right(),
                room.bottom() if height < room.height() - 8 else area.bottom(),
            ),
        )
        left = mouse.x() + _AWAY
        if left + width > area.right() - 4:
            left = mouse.x() - _AWAY - width
        top = mouse.y() - _AWAY - height
        if left < area.left() + 4:
            # Neither side has room: above or below the mouse then.
            left = min(max(mouse.x() - width / 2, area.left() + 4), max(area.right() - width - 4, area.left()))
            if top < area.top() + 4:
                top = mouse.y() + _AWAY
        top = min(max(top, area.top() + 4), max(area.bottom() - height - 4, area.top()))
        return QRectF(left, top, width, height)

    def _paint_box(self, painter: QPainter, box: QRectF) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        for grown, opacity in ((3.0, 0.04), (1.5, 0.06)):
            painter.setBrush(QColor(0, 0, 0, round(255 * opacity)))
            painter.drawRoundedRect(box.adjusted(-grown + 1, -grown + 2, grown - 1, grown + 1), 7, 7)
        painter.setPen(QPen(self._colour("line"), 1.0))
        painter.setBrush(self._colour("panel", 0.97))
        painter.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)

    def _paint_note(self, painter: QPainter) -> None:
        letters = font(CAPTION)
        metrics = QFontMetricsF(letters)
        widest = max(self.boundingRect().width() - 2 * _PAD - 12, 40.0)
        lines = [line.split("\t") for line in self.note.split("\n")]
        names = max((metrics.horizontalAdvance(line[0]) for line in lines if len(line) > 1), default=0.0)
        values = max((metrics.horizontalAdvance(line[1]) for line in lines if len(line) > 1), default=0.0)
        whole = max((metrics.horizontalAdvance(line[0]) for line in lines if len(line) == 1), default=0.0)
        width = min(max(whole, names + 16 + values if names or values else 0.0), widest)
        step = metrics.height() + 2
        box = self._place(width + 2 * _PAD, step * len(lines) + 2 * _PAD - 4)
        self._paint_box(painter, box)
        painter.setFont(letters)
        y = box.top() + _PAD - 2
        for line in lines:
            row = QRectF(box.left() + _PAD, y, width, step)
            painter.setPen(self._colour("muted" if len(line) > 1 else "ink"))
            room = width if len(line) == 1 else width - metrics.horizontalAdvance(line[1]) - 8
            painter.drawText(row, _LEFT, metrics.elidedText(line[0], Qt.TextElideMode.ElideMiddle, room + 1))
            if len(line) > 1:
                painter.setPen(self._colour("ink"))
                painter.drawText(row, _RIGHT, line[1])
            y += step

    def _paint_table(self, painter: QPainter, reading: Reading) -> None:
        letters, strong, small = font(CAPTION), font(CAPTION, bold=True), font(TICK)
        metrics, strong_metrics, small_metrics = (QFontMetricsF(one) for one in (letters, strong, small))
        step = metrics.height() + 3
        count = max(len(row.cells) for row in reading.rows)
        widths = [0.0] * count
        for row in reading.rows:
            for column, cell in enumerate(row.cells):
                widths[column] = max(widths[column], strong_metrics.horizontalAdvance(cell))
        for column, name in enumerate(reading.header):
            widths[column] = max(widths[column], small_metrics.horizontalAdvance(name))
        gap, swatch = 14.0, 14.0
        room = self.boundingRect().width() * 0.8 - 2 * _PAD - swatch - sum(widths[1:]) - gap * (count - 1)
        widths[0] = max(min(widths[0], max(room, 60.0), 220.0), 20.0)
        if any(reading.header[1:]):  # the title stands on their line
            widths[0] = max(widths[0], small_metrics.horizontalAdvance(reading.title) - swatch)
        width = swatch + sum(widths) + gap * (count - 1)
        height = step * len(reading.rows) + step * (1 + bool(reading.footer))
        width = max(width, *map(small_metrics.horizontalAdvance, (reading.title, reading.footer)))
        box = self._place(width + 2 * _PAD, height + 2 * _PAD - 4)
        self._paint_box(painter, box)
        y = box.top() + _PAD - 2
        painter.setFont(small)
        painter.setPen(self._colour("muted"))
        painter.drawText(QRectF(box.left() + _PAD, y, width, step), _LEFT, reading.title)
        x = box.left() + _PAD + swatch
        starts = []
        for column in range(count):
            starts.append(x)
            if column and column < len(reading.header):
                painter.drawText(QRectF(x, y, widths[column], step), _RIGHT, reading.header[column])
            x += widths[column] + gap
        for row in reading.rows:
            y += step
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self._colour(row.hue))
            painter.drawEllipse(QPointF(box.left() + _PAD + 4, y + step / 2), 3.5, 3.5)
            painter.setFont(strong if row.is_nearest else letters)
            for column, cell in enumerate(row.cells):
                used = strong_metrics if row.is_nearest else metrics
                painter.setPen(self._colour("muted" if column > 1 and not row.is_nearest else "ink"))
                text = used.elidedText(cell, Qt.TextElideMode.ElideMiddle, widths[column] + 1) if column == 0 else cell
                painter.drawText(QRectF(starts[column], y, widths[column] + 1, step), _RIGHT if column else _LEFT, text)
        if reading.footer:
            painter.setFont(small)
            painter.setPen(self._colour("muted"))
            painter.drawText(QRectF(box.left() + _PAD + swatch, y + step, width, step), _LEFT, reading.footer)


_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
