"""One panel on screen: its marks, its window in the data, and what the mouse does over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
from pyqtgraph import GraphicsObject, GraphicsWidget
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPen
from PySide6.QtWidgets import QGraphicsScene, QGraphicsSceneWheelEvent, QStyleOptionGraphicsItem, QWidget

from ...analysis.axis_room import room_for_markers, share_left_free
from ...models.figure import Axis, Band, Bars, Cells, Line, Mark, Panel, Points, Rule, Scale, Text
from ...models.natural_order import natural_order
from ...models.selection import Clause
from ...resources import Theme
from ..theme import CAPTION, font
from .axes import AxisItem
from .brush import clause_of, joined, passes_through
from .colour_bar import ColourBar
from .curve_item import Curves
from .emphasis import Emphasis, mask
from .legend import Legend, entries, free_corner
from .marks import Box, Canvas, Drawing, Window, alike, drawing
from .overlay import Overlay, Reading, Row
from .ticks import distance, number, place, signed, to_axis, to_data
from .viewport import Viewport

REACH = 12.0
"""Pixels within which a line is near the mouse."""

_SAMPLED = 100
"""Lines that words in a panel keep off: they are looked for with every frame of a zoom."""

_ROOM_TO_GROW = 0.06
"""Share of a range left free where curves that are followed grow."""

_ROOM_FOR_A_BAR = 210.0
"""Pixels of a panel from which on a bar of colours stands beside it."""

TableOrder = Literal["screen", "name", "value", "difference"]
"""How the rows of the table at the cursor are sorted: the highest on screen first, by name, the smallest value first, the
smallest difference to the pinned cursor first."""

_ORDERS: dict[TableOrder, str] = {
    "screen": "",
    "name": "by name",
    "value": "smallest first",
    "difference": "smallest difference first",
}

Place = tuple[Line, int, float, float]
"""A line, the index of one of its points, and where that is in axis units."""


class PanelHost(Protocol):
    """What a panel asks of the figure it is in: the state of its mouse and keyboard, and ears for what happened."""

    extra_columns: Callable[[Line, int], Mapping[str, str]] | None
    hovered: Any
    clicked: Any
    rule_dragged: Any
    point_dragged: Any
    menu_requested: Any

    @property
    def space_is_down(self) -> bool:
        """Whether a drag pans."""
        ...

    def ratio(self) -> float:
        """Give the device pixels in a logical one."""
        ...

    def takes_wheel(self, modifiers: Qt.KeyboardModifier) -> bool:
        """Whether a turn of the wheel zooms."""
        ...

    def brush_mode(self, modifiers: Qt.KeyboardModifier) -> str | None:
        """Give the brush mode of a drag; None where it zooms."""
        ...

    def reset(self) -> None:
        """Show all data again."""
        ...

    def on_zoomed(self, panel: PanelView, x: Window | None, y: Window | None) -> None:
        """Hear that the user chose a range."""
        ...

    def on_brushed(self, panel: PanelView, clause: Clause | None, mode: str) -> None:
        """Hear what is inside a rectangle."""
        ...

    def on_cursor(self, panel: PanelView, x: float | None) -> None:
        """Hear where the mouse is."""
        ...


class _Frame(GraphicsWidget):
    """The rectangle data is drawn in: it clips what is in it and hears the mouse."""

    def __init__(self, panel: PanelView) -> None:
        super().__init__()
        self._panel = panel
        self.setFlag(self.GraphicsItemFlag.ItemClipsChildrenToShape)
        self.setAcceptHoverEvents(True)

    def mouseDragEvent(self, event: Any) -> None:
        self._panel.on_drag(event)

    def mouseClickEvent(self, event: Any) -> None:
        self._panel.on_click(event)

    def hoverEvent(self, event: Any) -> None:
        self._panel.on_hover(None if event.isExit() else QPointF(event.pos()))

    def wheelEvent(self, event: QGraphicsSceneWheelEvent) -> None:
        self._panel.on_wheel(event)


class _Content(GraphicsObject):
    """Grid and marks, kept as a picture by Qt while nothing of them changes but what follows the mouse."""

    def __init__(self, panel: PanelView, frame: _Frame) -> None:
        super().__init__(frame)
        self._panel = panel
        self._frame = frame
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)
        self.set_kept(True)

    def set_kept(self, kept: bool) -> None:
        """Keep a picture, or paint at once what changes with every frame."""
        mode = self.CacheMode.DeviceCoordinateCache if kept else self.CacheMode.NoCache
        if self.cacheMode() != mode:
            self.setCacheMode(mode)

    def boundingRect(self) -> QRectF:
        return QRectF(self._frame.rect())

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        self._panel.paint(painter)


class _Head(GraphicsWidget):
    """The strip above the frame: the panel's title, and the legend where it has no room inside."""

    def __init__(self, panel: PanelView) -> None:
        super().__init__()
        self._panel = panel
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        self._panel.paint_head(painter, self.size().width())


class PanelView:
    """Draws one `Panel`.

    Parameters
    ----------
    figure : PanelHost
        The figure it is part of; it lays the panel out and hands its signals on.
    scene : QGraphicsScene
        Where its items go.
    """

    def __init__(self, figure: PanelHost, scene: QGraphicsScene) -> None:
        self._figure = figure
        self.panel = Panel(key="")
        self.frame = _Frame(self)
        self.content = _Content(self, self.frame)
        self.overlay = Overlay(self.frame)
        self.x_item = AxisItem("bottom", lambda at, steps: self._zoom(at, None, steps), lambda e: self._drag_axis(e, 0))
        self.y_item = AxisItem("left", lambda at, steps: self._zoom(None, at, steps), lambda e: self._drag_axis(e, 1))
        self.head = _Head(self)
        self.bar = ColourBar()
        self.curves = Curves(self.content, self.content.update)
        self.drawings: dict[str, Drawing[Any]] = {}
        self.x_window: Window = (0.0, 1.0)
        self.y_window: Window = (0.0, 1.0)
        self.x_is_free = self.y_is_free = False
        self.head_indent = 0.0
        self._falls = self._has_cells = self._has_words = False
        self._only_grew = False
        self._box: Box | None = None
        self._windows: tuple[Window, Window] | None = None
        self._theme: Theme | None = None
        self._emphasis: Emphasis = None
        self._legend: Legend | None = None
        self._legend_at: QPointF | None = None
        self._legend_for: tuple[tuple[int, int], tuple[Window, Window]] | None = None
        self._shown: tuple[Viewport, Legend | None, QPointF | None] | None = None
        self._hovered: tuple[str, int] | None = None
        self._dragged_rule: Rule | None = None
        self._dragged_point: Points | None = None
        self._cursor: float | None = None
        self._near = ""
        self._snapped: float | None = None
        self._pin: float | None = None
        self._order: TableOrder = "screen"
        for item in (self.frame, self.x_item, self.y_item, self.head, self.bar, self.overlay):
            scene.addItem(item)

    # --- what is drawn

    @property
    def x(self) -> Axis:
        """The horizontal axis."""
        return self.panel.x

    @property
    def y(self) -> Axis:
        """The vertical axis."""
        return self.panel.y

    @property
    def viewport(self) -> Viewport:
        """Where data is on screen now."""
        size = self.frame.size()
        return Viewport(
            *self.x_window,
            *self.y_window,
            size.width(),
            size.height(),
            self.x.inverted,
            self._falls,
            self._figure.ratio(),
        )

    def set_panel(self, panel: Panel, *, continued: bool) -> None:
        """Take a panel over; marks that did not change are left as they are.

        Parameters
        ----------
        continued : bool
            Whether the x axis goes on in a panel below, and is written there.
        """
        old, self.panel = self.panel, panel
        self._box = self._windows = None
        self._has_cells = any(isinstance(mark, Cells) for mark in panel.marks)
        self._has_words = any(
            (isinstance(mark, Text) and not mark.inside) or (isinstance(mark, Rule) and bool(mark.label))
            for mark in panel.marks
        )
        self._falls = panel.y.inverted or self._has_cells
        x_axis, y_axis = _named(panel, "x"), _named(panel, "y")
        rescaled = (old.x.scale, old.y.scale, old.x.names, old.y.names) != (
            panel.x.scale,
            panel.y.scale,
            panel.x.names,
            panel.y.names,
        )
        if old.x.scale != panel.x.scale or old.x.column != panel.x.column:
            self.x_is_free = False
        if old.y.scale != panel.y.scale:
            self.y_is_free = False
        self.x_item.set_axis(x_axis, shows_texts=not continued)
        self.y_item.set_axis(y_axis)
        lines = [mark for mark in panel.marks if isinstance(mark, Line)]
        changed = self.curves.set_lines(lines, panel.x.scale, panel.y.scale, rescaled=rescaled)
        self._only_grew = self.curves.only_grew
        drawings: dict[str, Drawing[Any]] = {}
        for mark in panel.marks:
            if isinstance(mark, Line):
                continue
            known = None if rescaled else self.drawings.get(mark.key)
            if known is None or not alike(known.mark, mark):
                known, changed = drawing(mark, x_axis, y_axis), True
            drawings[mark.key] = known
        changed = changed or list(drawings) != list(self.drawings)
        self.drawings = drawings
        if changed:
            self._legend_for = None
            self._apply_emphasis()
            self.content.update()

    def set_theme(self, theme: Theme) -> None:
        """Take a theme over."""
        self._theme = theme
        self.curves.set_theme(theme)
        self.overlay.set_theme(theme)
        for item in (self.x_item, self.y_item, self.bar):
            item.set_theme(theme)
        self.head.update()
        self.content.update()

    def set_emphasis(self, emphasis: Emphasis) -> None:
        """Dim what is not emphasised."""
        self._emphasis = emphasis
        self._apply_emphasis()
        self.content.update()

    def _apply_emphasis(self) -> None:
        for one in self.drawings.values():
            one.bright = mask(self._emphasis, getattr(one.mark, "origin", None), one.elements)
        masks = {line.key: mask(self._emphasis, line.origin, 1) for line in self.curves.marks}
        if all(found is None for found in masks.values()):
            self.curves.emphasise(None)
        else:
            self.curves.emphasise(frozenset(key for key, found in masks.items() if found is None or found.any()))

    def remove(self) -> None:
        """Take the panel off the figure.

        Its items go when Qt is back in its event loop: the gesture that led here may still be in one of them. They stay the
        scene's until then; taken out of it, they would be freed by Python's garbage collector, children before parents.
        """
        self.curves.stop()
        for item in (self.overlay, self.frame, self.x_item, self.y_item, self.head, self.bar):
            item.hide()
            item.deleteLater()

    # --- the window

    def extent(self) -> Box:
        """Give the box around all marks in axis units; NaN where there is nothing.

        Where the x axis asks for its limits, y is what lies between them.
        """
        if self._box is None:
            self._box = self._measured_extent()
        return self._box

    def _measured_extent(self) -> Box:
        asked = self.x.low is not None or self.x.high is not None
        window = None
        if asked:
            low = -math.inf if self.x.low is None else float(to_axis(np.array([self.x.low]), self.x.scale)[0])
            high = math.inf if self.x.high is None else float(to_axis(np.array([self.x.high]), self.x.scale)[0])
            window = None if math.isnan(low) or math.isnan(high) else (low, high)
        boxes = [one.extent(window) for one in self.drawings.values()]
        boxes += self.curves.extents(window)
        if not boxes:
            return (math.nan,) * 4
        table = np.array(boxes)
        low_ends, high_ends = np.fmin.reduce(table), np.fmax.reduce(table)
        return (float(low_ends[0]), float(high_ends[1]), float(low_ends[2]), float(high_ends[3]))

    def fitted(self) -> tuple[Window, Window]:
        """Give the windows that show all, with a margin, or what the axes ask for."""
        if self._windows is None:
            self._windows = self._fitted_to(self.extent())
        return self._windows

    def _fitted_to(self, box: Box) -> tuple[Window, Window]:
        bars = [mark for mark in self.panel.marks if isinstance(mark, Bars)]
        upright, lying = any(not mark.horizontal for mark in bars), any(mark.horizontal for mark in bars)
        cells = any(isinstance(mark, Cells) for mark in self.panel.marks)
        x = _fitted(self.x, box[0], box[1], 0.0 if cells else share_left_free(self.panel, "x"), flush=lying)
        y = _fitted(self.y, box[2], box[3], 0.0 if cells else share_left_free(self.panel, "y"), flush=upright)
        x, y = self._with_room("x", x), self._with_room("y", y)
        if self._only_grew:
            self._only_grew = False
            x = x if self.x_is_free else _stretched(self.x_window, x, *box[:2])
            y = y if self.y_is_free else _stretched(self.y_window, y, *box[2:])
        return x, y

    def _with_room(self, which: str, window: Window) -> Window:
        """Leave room for markers on limits that the axis asks for."""
        below, above = room_for_markers([self.panel], which, *window)
        return window[0] - below, window[1] + above

    def set_x_window(self, window: Window) -> None:
        """Show a range of x, in axis units."""
        self.x_window = _sane(window, self.x_window)

    def set_y_window(self, window: Window) -> None:
        """Show a range of y, in axis units."""
        self.y_window = _sane(window, self.y_window)

    def refresh(self) -> None:
        """Show what changed about the window or the size."""
        viewport = self.viewport
        self.overlay.note, self.overlay.outline = "", None
        self.overlay.lay_out()
        self.x_item.lay_out(viewport)
        self.y_item.lay_out(viewport)
        self._show_cursor()
        shown = viewport, self._legend, self._legend_at
        if shown != self._shown:  # what is painted stays where neither marks nor window nor size changed
            self._shown = shown
            self.content.set_kept(False)
            self.content.update()
        else:  # another figure in the same place, as a moved slider gives: the next one may change no mark here
            self.content.set_kept(True)

    # --- painting

    def paint(self, painter: QPainter) -> None:
        """Paint grid and marks."""
        if self._theme is None:
            return
        viewport = self.viewport
        if viewport.width < 4 or viewport.height < 4:
            return
        canvas = Canvas(painter, viewport, self._theme)
        if self._has_words:
            canvas.covered = self._covered(viewport, most=_SAMPLED)
        if not self._has_cells:
            self._paint_grid(canvas)
        if self._legend is not None and self._legend_at is not None:
            canvas.taken.append(
                QRectF(self._legend_at.x(), self._legend_at.y(), self._legend.width, self._legend.height)
            )
        order = sorted(self.drawings.values(), key=lambda one: one.layer)
        for one in order:
            if one.layer < 4:
                self._paint_drawing(one, canvas)
        painter.save()
        self.curves.paint(painter, viewport)
        painter.restore()
        for one in order:
            if one.layer >= 4:
                self._paint_drawing(one, canvas)
        for one in order:
            painter.save()
            one.write(canvas)
            painter.restore()
        if self._legend is not None and self._legend_at is not None:
            self._legend.paint(painter, self._legend_at, self._theme)

    def _paint_drawing(self, one: Drawing[Any], canvas: Canvas) -> None:
        canvas.painter.save()
        one.paint(canvas)
        canvas.painter.restore()

    def _paint_grid(self, canvas: Canvas) -> None:
        viewport, painter = canvas.viewport, canvas.painter
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(QPen(canvas.colour("grid"), 1.0))
        if self.x.scale != "category":
            for x in viewport.x(self.x_item.ticks.at).tolist():
                painter.drawLine(QPointF(round(x), 0), QPointF(round(x), viewport.height))
        if self.y.scale != "category":
            for y in viewport.y(self.y_item.ticks.at).tolist():
                painter.drawLine(QPointF(0, round(y)), QPointF(viewport.width, round(y)))
        faint = canvas.colour("grid")
        faint.setAlphaF(0.45)
        painter.setPen(QPen(faint, 1.0))
        for x in viewport.x(self.x_item.ticks.minor).tolist():
            painter.drawLine(QPointF(round(x), 0), QPointF(round(x), viewport.height))
        for y in viewport.y(self.y_item.ticks.minor).tolist():
            painter.drawLine(QPointF(0, round(y)), QPointF(viewport.width, round(y)))

    def paint_head(self, painter: QPainter, width: float) -> None:
        """Paint the title, and the legend where it stands above the frame."""
        if self._theme is None:
            return
        y = 0.0
        if self.panel.title:
            letters = font(CAPTION, bold=True)
            metrics = QFontMetricsF(letters)
            painter.setFont(letters)
            painter.setPen(QColor(self._theme.colour("ink")))
            # A title stands over the frame, or over the axis too where it would not fit else.
            indent = min(self.head_indent, max(width - metrics.horizontalAdvance(self.panel.title) - 2, 0.0))
            text = metrics.elidedText(self.panel.title, Qt.TextElideMode.ElideMiddle, width - indent)
            painter.drawText(QRectF(indent, 0, width - indent, metrics.height()), Qt.AlignmentFlag.AlignLeft, text)
            y = metrics.height() + 3
        if self._legend is not None and self._legend_at is None:
            self._legend.paint(painter, QPointF(self.head_indent, y), self._theme)

    # --- title and legend

    def head_height(self) -> float:
        """Give the pixels that title and legend take above the frame."""
        height = QFontMetricsF(font(CAPTION, bold=True)).height() + 3 if self.panel.title else 0.0
        if self._legend is not None and self._legend_at is None:
            height += self._legend.height + 4
        return height

    def bar_width(self, width: float, height: float) -> float:
        """Give the pixels that the bar of colours takes from a frame of a size; 0 where none is needed."""
        for one in self.drawings.values():
            colours = one.colours_to_explain(width, height)
            if colours is not None and width > _ROOM_FOR_A_BAR:
                self.bar.show()
                return self.bar.measure(colours, height)
        self.bar.hide()
        return 0.0

    def place_legend(self, width: float, height: float) -> None:
        """Decide where the legend stands in a frame of a size; once for the same marks, window and size."""
        about = ((round(width), round(height)), (self.x_window, self.y_window))
        known, zoomed = self._legend_for, self.x_is_free or self.y_is_free
        # While one zooms the legend stays where it is.
        if known is not None and known[0] == about[0] and (zoomed or known[1] == about[1]):
            return
        self._legend_for = about
        self._legend = self._legend_at = None
        listed = entries(self.panel.marks) if self.panel.legend else ()
        if not listed or (len(listed) == 1 and isinstance(listed[0].mark, Line) and len(self.curves) == 1):
            return
        inside = Legend(listed, width, in_a_row=False)
        viewport = Viewport(*self.x_window, *self.y_window, width, height, self.x.inverted, self.viewport.y_inverted)
        corner = free_corner((inside.width, inside.height), viewport, self._covered(viewport))
        above = Legend(listed, width, in_a_row=True)
        fits_above = above.height <= 0.22 * height
        if corner is not None and not (inside.says_little and fits_above):
            self._legend, self._legend_at = inside, corner
            return
        if fits_above:
            self._legend = above

    def _covered(self, viewport: Viewport, *, most: int | None = None) -> np.ndarray:
        """Give pixels that marks cover, closely enough to see whether words would hide something.

        Parameters
        ----------
        most : int, optional
            How many lines are looked at, evenly picked; None looks at all.
        """
        parts = [one.covered(viewport) for one in self.drawings.values()]
        steps = np.linspace(viewport.left, viewport.right, 160)
        lines = self.curves.lines
        for _, data in lines if most is None else lines[:: max(len(lines) // most, 1)]:
            x, y = data.within(viewport.left, viewport.right, 160)
            parts.append(np.stack([viewport.x(x), viewport.y(y)], axis=1))
            if data.is_sorted and len(x) > 1:
                parts.append(np.stack([viewport.x(steps), viewport.y(np.interp(steps, x, y, np.nan, np.nan))], axis=1))
        return np.concatenate([np.zeros((0, 2)), *parts])

    # --- the mouse

    def on_wheel(self, event: QGraphicsSceneWheelEvent) -> None:
        """Zoom at the mouse."""
        if not self._figure.takes_wheel(event.modifiers()):
            event.ignore()
            return
        self._zoom(event.pos().x(), event.pos().y(), event.delta() / 120)
        event.accept()

    def _zoom(self, px: float | None, py: float | None, steps: float) -> None:
        factor = 0.85**steps
        viewport = self.viewport
        x = y = None
        if px is not None:
            at = viewport.x_at(px)
            x = (at + (viewport.left - at) * factor, at + (viewport.right - at) * factor)
        if py is not None:
            at = viewport.y_at(py)
            y = (at + (viewport.bottom - at) * factor, at + (viewport.top - at) * factor)
        self._figure.on_zoomed(self, x, y)

    def _drag_axis(self, event: Any, axis: int) -> None:
        event.accept()
        moved = event.pos() - event.lastPos()
        self._pan(moved.x() if axis == 0 else 0.0, moved.y() if axis == 1 else 0.0)

    def _pan(self, dx: float, dy: float) -> None:
        viewport = self.viewport
        x = y = None
        if dx:
            shift = viewport.x_at(0.0) - viewport.x_at(dx)
            x = (viewport.left + shift, viewport.right + shift)
        if dy:
            shift = viewport.y_at(0.0) - viewport.y_at(dy)
            y = (viewport.bottom + shift, viewport.top + shift)
        if x or y:
            self._figure.on_zoomed(self, x, y)

    def on_drag(self, event: Any) -> None:
        """Zoom to a rectangle, pan, brush or move a rule."""
        event.accept()
        button = event.button()
        if button == Qt.MouseButton.MiddleButton or (
            button == Qt.MouseButton.LeftButton and self._figure.space_is_down
        ):
            moved = event.pos() - event.lastPos()
            self._pan(moved.x(), moved.y())
            return
        if button != Qt.MouseButton.LeftButton:
            return
        start = event.buttonDownPos(Qt.MouseButton.LeftButton)
        if event.isStart():
            self._dragged_point = self._point_at(start)
            self._dragged_rule = self._rule_at(start) if self._dragged_point is None else None
        if self._dragged_point is not None:
            self._drag_point(self._dragged_point, event)
            return
        if self._dragged_rule is not None:
            self._drag_rule(self._dragged_rule, event)
            return
        here = QPointF(
            min(max(event.pos().x(), 0.0), self.frame.size().width()),
            min(max(event.pos().y(), 0.0), self.frame.size().height()),
        )
        area = QRectF(start, here).normalized()
        if not event.isFinish():
            self.overlay.band = self._grown(area, event)
            self.overlay.update()
            return
        grown = self._grown(area, event)
        self.overlay.band = None
        self.overlay.update()
        mode = self._figure.brush_mode(event.modifiers())
        if mode is not None:
            self._figure.on_brushed(self, self.clause_inside(area), mode)
        elif max(area.width(), area.height()) > 4:
            self._zoom_to(grown, area)

    def _grown(self, area: QRectF, event: Any) -> QRectF:
        """Let a flat zoom rectangle reach from edge to edge: a drag along one axis zooms that axis only."""
        if self._figure.brush_mode(event.modifiers()) is not None:
            return area
        size = self.frame.size()
        if area.height() < 12 and area.width() > 3 * area.height():
            return QRectF(area.left(), 0, area.width(), size.height())
        if area.width() < 12 and area.height() > 3 * area.width():
            return QRectF(0, area.top(), size.width(), area.height())
        return area

    def _zoom_to(self, grown: QRectF, area: QRectF) -> None:
        viewport = self.viewport
        x = sorted((viewport.x_at(grown.left()), viewport.x_at(grown.right())))
        y = sorted((viewport.y_at(grown.top()), viewport.y_at(grown.bottom())))
        only_x, only_y = grown.height() != area.height(), grown.width() != area.width()
        self._figure.on_zoomed(self, None if only_y else (x[0], x[1]), None if only_x else (y[0], y[1]))

    def _rule_at(self, at: QPointF) -> Rule | None:
        for one in self.drawings.values():
            if isinstance(one.mark, Rule) and one.hit(self.viewport, at.x(), at.y(), 5.0) is not None:
                return one.mark
        return None

    def _point_at(self, at: QPointF) -> Points | None:
        """Give the point that stands for options at a pixel, which is dragged before the rules through it."""
        for one in self.drawings.values():
            if (
                isinstance(one.mark, Points)
                and any(one.mark.options)
                and one.hit(self.viewport, at.x(), at.y(), 4.0) is not None
            ):
                return one.mark
        return None

    def _drag_point(self, point: Points, event: Any) -> None:
        """Show a box under the mouse, and tell the options where it was let go."""
        at = event.pos()
        self.overlay.band = None if event.isFinish() else QRectF(at.x() - 6.0, at.y() - 6.0, 12.0, 12.0)
        self.overlay.update()
        if not event.isFinish():
            return
        self._dragged_point = None
        changes = {}
        if point.options[0]:
            changes[point.options[0]] = self._as_fine_as_a_pixel(at.x(), self.viewport.x_at, self.x.scale)
        if point.options[1]:
            changes[point.options[1]] = self._as_fine_as_a_pixel(at.y(), self.viewport.y_at, self.y.scale)
        self._figure.point_dragged.emit(changes)

    @staticmethod
    def _as_fine_as_a_pixel(pixel: float, place: Callable[[float], float], scale: Scale) -> float:
        """Give the value at a pixel with no more digits than a pixel tells apart."""
        at, beside = (to_data(place(one), scale) for one in (pixel, pixel + 1))
        return at if at == beside else round(at, -math.floor(math.log10(abs(beside - at))))

    def _drag_rule(self, rule: Rule, event: Any) -> None:
        viewport = self.viewport
        along_x = rule.axis == "x"
        scale = self.x.scale if along_x else self.y.scale
        place = viewport.x_at if along_x else viewport.y_at
        at = self._as_fine_as_a_pixel(event.pos().x() if along_x else event.pos().y(), place, scale)
        line = float(event.pos().x() if along_x else event.pos().y())
        size = self.frame.size()
        self.overlay.band = (
            None
            if event.isFinish()
            else QRectF(line, 0, 0.5, size.height())
            if along_x
            else QRectF(0, line, size.width(), 0.5)
        )
        self.overlay.update()
        if event.isFinish():
            self._dragged_rule = None
            self._figure.rule_dragged.emit(rule.option, at)

    def on_click(self, event: Any) -> None:
        """Select what was clicked, reset on a double click, ask for a menu on a right click."""
        event.accept()
        at = event.pos()
        if event.button() == Qt.MouseButton.LeftButton and event.double():
            self._figure.reset()
            return
        clause = self.clause_at(QPointF(at))
        if event.button() == Qt.MouseButton.RightButton:
            self._figure.menu_requested.emit(event.screenPos().toPoint(), clause)
        elif event.button() == Qt.MouseButton.LeftButton and clause is not None:
            self._figure.clicked.emit(clause, event.modifiers())

    def clause_at(self, at: QPointF) -> Clause | None:
        """Give the clause for what is at a pixel of the frame."""
        entry = self._legend_entry(at)
        if entry is not None:
            return clause_of(entry[0].mark.origin, [0])
        found = self._element_at(at)
        return clause_of(getattr(found[0], "origin", None), [found[1]]) if found is not None else None

    def clause_inside(self, area: QRectF) -> Clause | None:
        """Give the clause for all elements in an area of the frame."""
        viewport = self.viewport
        found = [
            clause_of(getattr(one.mark, "origin", None), one.inside(viewport, area)) for one in self.drawings.values()
        ]
        found += [
            clause_of(line.origin, [0])
            for line, data in self.curves.lines
            if line.origin and passes_through(data, viewport, area)
        ]
        return joined(found)

    def _legend_entry(self, at: QPointF) -> Any:
        if self._legend is None or self._legend_at is None:
            return None
        return self._legend.entry_at(at - self._legend_at)

    def _element_at(self, at: QPointF) -> tuple[Mark, int] | None:
        """Give the mark and element nearest to a pixel: symbols before lines before areas."""
        viewport = self.viewport
        best: tuple[float, Mark, int] | None = None
        for one in sorted(self.drawings.values(), key=lambda one: -one.layer):
            hit = one.hit(viewport, at.x(), at.y(), 6.0)
            if hit is not None and one.layer >= 3 and (best is None or hit[1] < best[0]):
                best = (hit[1], one.mark, hit[0])
        if best is not None:
            return best[1], best[2]
        line = self._line_at(at)
        if line is not None:
            return line
        for one in sorted(self.drawings.values(), key=lambda one: -one.layer):
            hit = one.hit(viewport, at.x(), at.y(), 6.0)
            if hit is not None:
                return one.mark, hit[0]
        return None

    def _line_at(self, at: QPointF) -> tuple[Line, int] | None:
        """Give the line nearest to a pixel within reach, and its point nearest in x."""
        viewport = self.viewport
        ends = sorted((viewport.x_at(at.x() - REACH), viewport.x_at(at.x() + REACH)))
        reach = sorted((viewport.y_at(at.y() - REACH), viewport.y_at(at.y() + REACH)))
        best: tuple[float, Line, int] | None = None
        for line, data in self.curves.lines:
            if line.origin is None or line.faint_of:
                continue
            if data.is_sorted:
                first = max(int(data.x.searchsorted(ends[0])) - 1, 0)
                last = int(data.x.searchsorted(ends[1])) + 1
                part = data.pyramid.y[first:last]
                # Most lines are out of reach, and this says so quickly (a NaN compares as not).
                if not len(part) or part.max() < reach[0] or part.min() > reach[1]:
                    continue
            kept = data.kept(ends[0], ends[1], int(2 * REACH))
            if not len(kept):
                continue
            px, py = viewport.x(data.x[kept]), viewport.y(data.pyramid.y[kept])
            away, point = _distance(px, py, at)
            if away <= REACH and (best is None or away < best[0]):
                best = (away, line, int(kept[point]))
        return (best[1], best[2]) if best is not None else None

    def on_hover(self, at: QPointF | None) -> None:
        """Show what is under the mouse."""
        self.content.set_kept(True)
        overlay = self.overlay
        overlay.mouse = at
        overlay.note, overlay.outline, overlay.under = "", None, None
        if at is None:
            self._cursor = self._snapped = None
            self._near = ""
            overlay.clear()
            self._hover_changed(None)
            self._figure.on_cursor(self, None)
            return
        self.frame.setCursor(Qt.CursorShape.ArrowCursor)
        entry = self._legend_entry(at)
        if entry is not None:
            overlay.note = entry[0].mark.label if entry[1] else ""
            overlay.reading = None
            overlay.dots = []
            self._hover_changed((entry[0].mark, 0))
            overlay.update()
            return
        found = self._element_at(at)
        rule = self._rule_at(at)
        if rule is not None:
            self.frame.setCursor(Qt.CursorShape.SplitHCursor if rule.axis == "x" else Qt.CursorShape.SplitVCursor)
        if self._point_at(at) is not None:
            self.frame.setCursor(Qt.CursorShape.SizeAllCursor)
        if found is not None and not isinstance(found[0], Line):
            one = self.drawings[found[0].key]
            overlay.note = one.note(found[1])
            overlay.outline = one.outline(self.viewport, found[1])
        self._hover_changed(found if rule is None else None)
        if self._has_readings():
            self._cursor = self.viewport.x_at(at.x())
            self._show_cursor(found[0].key if found is not None and isinstance(found[0], Line) else "")
            self._figure.on_cursor(self, self._snapped)
        else:
            overlay.update()

    def _hover_changed(self, found: tuple[Mark, int] | None) -> None:
        now = None if found is None else (found[0].key, found[1] if not isinstance(found[0], Line) else 0)
        if now == self._hovered:
            return
        self._hovered = now
        self._figure.hovered.emit(None if found is None else clause_of(getattr(found[0], "origin", None), [found[1]]))

    # --- the cursor and its table

    def _has_readings(self) -> bool:
        return any(not line.faint_of and data.is_sorted for line, data in self.curves.lines)

    def set_cursor(self, x: float | None) -> None:
        """Show the shared cursor at a place in data units, without a table."""
        self.content.set_kept(True)
        at = None if x is None else float(to_axis(np.array([x]), self.x.scale)[0])
        self._cursor = None if at is None or math.isnan(at) else at
        self.overlay.mouse = None
        self._show_cursor("")

    @property
    def cursor_place(self) -> float | None:
        """Where the cursor stands along x, in data units, at a logged point where one is near; None without a cursor."""
        return self._snapped

    def set_pin(self, x: float | None) -> None:
        """Show the second cursor at a place in data units; None removes it."""
        at = None if x is None else float(to_axis(np.array([x]), self.x.scale)[0])
        self._pin = None if at is None or math.isnan(at) else at
        self._show_cursor()

    def set_table_order(self, order: TableOrder) -> None:
        """Sort the table at the cursor."""
        self._order = order
        self._show_cursor()

    def next_place(self, points: int) -> float | None:
        """Give where the cursor gets when it moves by some points of the first line, in data units; None without lines."""
        for line, data in self.curves.lines:
            if line.faint_of or not data.is_sorted or not len(data.x):
                continue
            if self._cursor is None:
                index = 0 if points > 0 else len(data.x) - 1
            else:
                index = int(np.argmin(np.abs(data.x - self._cursor))) + points
            return to_data(float(data.x[min(max(index, 0), len(data.x) - 1)]), self.x.scale)
        return None

    def _show_cursor(self, near: str | None = None) -> None:
        """Show the cursors and, where the mouse is, the table; `near` is the line under the mouse, None: as before."""
        overlay, viewport = self.overlay, self.viewport
        self._near = near = self._near if near is None else near
        self._snapped = None
        pinned = self._show_pin(viewport)
        if self._cursor is None or not self._has_readings():
            overlay.cursor, overlay.reading, overlay.dots = None, None, []
            overlay.update()
            return
        readings = self._readings(self._cursor, viewport)
        with_table = overlay.mouse is not None
        if readings:
            cursor = self._cursor
            nearest = min(readings, key=lambda one: abs(one[2] - cursor)) if not near else None
            named = next((one for one in readings if one[0].key == near), nearest) or readings[0]
            at = named[2] if with_table else self._cursor
            self._snapped = to_data(named[2], self.x.scale)
            overlay.cursor = float(viewport.x(at))
        else:
            self._snapped = to_data(self._cursor, self.x.scale)
            overlay.cursor = float(viewport.x(self._cursor))
        overlay.dots = _dots(readings, viewport)
        if near:
            overlay.under = lambda painter: self.curves.paint_one(painter, near, self.viewport)
        overlay.reading = self._table(readings, near, pinned) if with_table else None
        overlay.update()

    def _show_pin(self, viewport: Viewport) -> list[Place]:
        """Show the second cursor, and give what the lines read there."""
        overlay = self.overlay
        if self._pin is None or not self._has_readings():
            overlay.pin, overlay.pin_dots, overlay.pin_text = None, [], ""
            return []
        pinned = self._readings(self._pin, viewport)
        overlay.pin = float(viewport.x(self._pin))
        overlay.pin_dots = _dots(pinned, viewport)
        overlay.pin_text = place(to_data(self._pin, self.x.scale), self.x)
        return pinned

    def _readings(self, at: float, viewport: Viewport) -> list[Place]:
        """Give, for each line that is there at a place along x, its point nearest to it, the highest on screen first."""
        slack = 8 * (viewport.right - viewport.left) / max(viewport.width, 1.0)
        found = []
        for line, data in self.curves.lines:
            n = len(data.x)
            if line.faint_of or not data.is_sorted or not n or (line.origin is None and not line.label):
                continue
            if not data.x[0] - slack <= at <= data.x[-1] + slack:
                continue
            index = min(int(data.x.searchsorted(at)), n - 1)
            if index and at - data.x[index - 1] < data.x[index] - at:
                index -= 1
            x, y = float(data.x[index]), float(data.pyramid.y[index])
            if math.isfinite(y):
                found.append((line, index, x, y))
        return sorted(found, key=lambda one: one[3], reverse=not viewport.y_inverted)

    def _table(self, readings: list[Place], near: str, pinned: list[Place]) -> Reading | None:
        if not readings:
            return None
        before = {line.key: (float(line.x[index]), float(line.y[index])) for line, index, _, _ in pinned}
        order = self._order if self._order != "difference" or before else "screen"
        readings = _sorted(readings, order, before)
        fits = self.overlay.rows_that_fit() - bool(_ORDERS[order])
        shown = readings
        if len(readings) > fits:
            fits = max(fits - (not _ORDERS[order]), 1)
            middle = next((i for i, one in enumerate(readings) if one[0].key == near), None)
            if middle is None and self.overlay.mouse is not None:
                ys = [float(self.viewport.y(one[3])) for one in readings]
                middle = int(np.argmin(np.abs(np.array(ys) - self.overlay.mouse.y())))
            first = min(max((middle or 0) - fits // 2, 0), len(readings) - fits)
            shown = readings[first : first + fits]
        raws = {line.faint_of: line for line in self.curves.marks if line.faint_of}
        bands = {_about(mark.origin, mark.hue): mark for mark in self.panel.marks if isinstance(mark, Band)}
        same_x = len({one[2] for one in readings}) == 1
        has_raw = any(one[0].key in raws for one in shown)
        intervals = [_interval(bands.get(_about(one[0].origin, one[0].hue)), float(one[0].x[one[1]])) for one in shown]
        extras = self._figure.extra_columns
        names: list[str] = []
        rows = []
        for (line, index, _x, _y), interval in zip(shown, intervals, strict=True):
            values = [_name(line), number(float(line.y[index]))]
            if has_raw:
                values.append(_raw_value(raws.get(line.key), line, index))
            if any(intervals):
                values.append(interval)
            if before:
                then = before.get(line.key)
                values += (
                    ["", ""] if then is None else [number(then[1]), signed(number(float(line.y[index]) - then[1]))]
                )
            if not same_x:
                values.append(place(float(line.x[index]), self.x))
            if extras is not None:
                more: Mapping[str, str] = extras(line, index)
                names = list(more) or names
                values.extend(more.values())
            rows.append(Row(line.hue, tuple(values), line.key == near))
        pin = self.overlay.pin_text
        header = ["", "smoothed" if has_raw else "value" if before else ""]
        header += ["value"] if has_raw else []
        header += [""] if any(intervals) else []
        header += [f"at {pin}", "difference"] if before else []
        header += [] if same_x else [self.x.label or "x"]
        header += names
        count = max(len(row.cells) for row in rows)
        rows = [Row(row.hue, row.cells + ("",) * (count - len(row.cells)), row.is_nearest) for row in rows]
        nearest = next((one for one in readings if one[0].key == near), readings[0])
        at = float(nearest[0].x[nearest[1]]) if same_x else to_data(self._cursor or 0.0, self.x.scale)
        title = f"{self.x.label} {place(at, self.x)}".strip() if same_x else self.y.label
        if before and self._pin is not None and self.x.scale != "category":
            title += f" ({distance(at - to_data(self._pin, self.x.scale), self.x)})"
        return Reading(title.strip(), tuple(header), tuple(rows), len(readings) - len(shown), _ORDERS[order])


def _dots(readings: list[Place], viewport: Viewport) -> list[tuple[float, float, str]]:
    """Give where lines are met in pixels; nothing where they would be a crowd."""
    if len(readings) > 24:
        return []
    return [(float(viewport.x(x)), float(viewport.y(y)), line.hue) for line, _, x, y in readings]


def _sorted(readings: list[Place], order: TableOrder, before: Mapping[str, tuple[float, float]]) -> list[Place]:
    """Sort rows of the table; those that were as on screen stay so among equals."""

    def value(one: Place) -> float:
        return float(one[0].y[one[1]])

    def difference(one: Place) -> float:
        then = before.get(one[0].key)
        return math.inf if then is None else value(one) - then[1]

    match order:
        case "name":
            return sorted(readings, key=lambda one: natural_order(_name(one[0])))
        case "value":
            return sorted(readings, key=value)
        case "difference":
            return sorted(readings, key=difference)
        case _:
            return readings


def _named(panel: Panel, which: str) -> Axis:
    """Give an axis, with the names of a matrix of cells where it has none of its own."""
    axis: Axis = getattr(panel, which)
    cells = next((mark for mark in panel.marks if isinstance(mark, Cells)), None)
    if cells is not None and not axis.names:
        return replace(axis, scale="category", names=cells.columns if which == "x" else cells.rows)
    return axis


def _about(origin: object, hue: str) -> object:
    return (origin if origin is not None else None, hue)


def _name(line: Line) -> str:
    if line.label:
        return line.label
    values = getattr(line.origin, "values", ())
    return str(values[0]) if values else line.key


def _raw_value(raw: Line | None, line: Line, index: int) -> str:
    if raw is None:
        return ""
    if len(raw.x) == len(line.x):
        return number(float(raw.y[index]))
    at = min(int(np.searchsorted(raw.x, line.x[index])), len(raw.x) - 1)
    return number(float(raw.y[at])) if at >= 0 else ""


def _interval(band: Band | None, x: float) -> str:
    if band is None or not len(band.x):
        return ""
    if not band.x[0] <= x <= band.x[-1]:
        return ""
    at = int(np.argmin(np.abs(band.x - x)))
    low, high = float(band.low[at]), float(band.high[at])
    return f"[{number(low)}, {number(high)}]" if math.isfinite(low) and math.isfinite(high) else ""


def _distance(px: np.ndarray, py: np.ndarray, at: QPointF) -> tuple[float, int]:
    """Give how far a line is from a pixel, and its nearest point."""
    dx, dy = px - at.x(), py - at.y()
    apart = np.hypot(dx, dy)
    if np.isnan(apart).all():
        return math.inf, 0
    nearest = int(np.nanargmin(apart))
    best = float(apart[nearest])
    if len(px) > 1:
        sx, sy = np.diff(px), np.diff(py)
        length = sx * sx + sy * sy
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.clip(-(dx[:-1] * sx + dy[:-1] * sy) / length, 0.0, 1.0)
        share = np.where(length > 0, share, 0.0)
        gaps = np.hypot(dx[:-1] + share * sx, dy[:-1] + share * sy)
        if not np.isnan(gaps).all():
            best = min(best, float(np.nanmin(gaps)))
    return best, nearest


def _fitted(axis: Axis, low: float, high: float, margin: float, *, flush: bool) -> Window:
    """Give the window for data from `low` to `high` in axis units.

    Parameters
    ----------
    margin : float
        Share of the range to leave free at each end that the axis does not fix.
    flush : bool
        Whether bars stand at zero there, with no margin below them.
    """
    if axis.scale == "category" and axis.names:
        low, high = np.fmin(low, -0.5), np.fmax(high, len(axis.names) - 0.5)
        margin = 0.0
    fixed_low = math.nan if axis.low is None else float(to_axis(np.array([axis.low]), axis.scale)[0])
    fixed_high = math.nan if axis.high is None else float(to_axis(np.array([axis.high]), axis.scale)[0])
    start = fixed_low if math.isfinite(fixed_low) else low
    stop = fixed_high if math.isfinite(fixed_high) else high
    if not math.isfinite(start) or not math.isfinite(stop):
        if math.isfinite(start) or math.isfinite(stop):
            known = start if math.isfinite(start) else stop
            return (known - 0.5, known + 0.5)
        return (0.0, 1.0)
    if stop <= start:
        half = 0.5 if axis.scale in ("log", "category") or start == 0 else abs(start) * 0.05
        return (start - half, start + half)
    room = (stop - start) * margin
    if not math.isfinite(fixed_low) and not (flush and low == 0):
        start -= room
    if not math.isfinite(fixed_high) and not (flush and high == 0):
        stop += room
    return (start, stop)


def _stretched(old: Window, new: Window, low: float, high: float) -> Window:
    """Give the window for data that grow: the one before while they are in it, else one that has room for more of them.

    What was painted can then stay nearly always, and axes stand still.

    Parameters
    ----------
    old, new : Window
        The one before, and the one that would just fit.
    low, high : float
        Ends of the data.
    """
    room = new[1] - new[0]
    slack = 2 * _ROOM_TO_GROW * room
    low, high = max(low, new[0]), min(high, new[1])  # what an axis leaves out by its limits needs no room
    start = new[0] - _ROOM_TO_GROW * room if low < old[0] else old[0]
    stop = new[1] + _ROOM_TO_GROW * room if high > old[1] else old[1]
    return (start if start >= new[0] - slack else new[0]), (stop if stop <= new[1] + slack else new[1])


def _sane(window: Window, old: Window) -> Window:
    """Give a window that can be drawn: neither infinite nor narrower than numbers can tell apart."""
    low, high = min(window), max(window)
    if not (math.isfinite(low) and math.isfinite(high)) or max(abs(low), abs(high)) > 1e290:
        return old
    if high - low <= max(abs(low), abs(high)) * 1e-12 or high - low < 1e-290:
        return old
    return (low, high)
