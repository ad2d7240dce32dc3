"""A whole figure on screen: a title line and panels beside and above one another.

What happens on a gesture: the panel hears the mouse and tells the figure (`on_zoomed`, `on_brushed` ...); the figure moves all
linked panels, lays out anew and says what happened by a signal. Nothing here knows of runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import get_args

import numpy as np
from pyqtgraph import GraphicsView
from PySide6.QtCore import QEvent, QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFontMetricsF, QImage, QKeyEvent, QPainter, QPaintEvent, QPixmapCache, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from ...models.figure import Axis, FigureSpec, Line
from ...models.selection import Clause
from ...resources import Theme
from ..theme import GRID, TEXT, appearance, font
from ..widgets.literal_tip import literal_tip
from .brush import mode_of
from .emphasis import Emphasis
from .marks import Window
from .panel_view import PanelView, TableOrder
from .ticks import to_axis, to_data

_NARROW, _TALL_ENOUGH = 320.0, 220.0
"""Width of a column below which fewer are tried, and height each panel must then have; in pixels."""

_SIDE, _BETWEEN, _ABOVE = 12.0, 20.0, 10.0
"""Pixels at the sides of the figure, between columns, between panels above one another."""


_NAMES_OF_A_SQUARE = 0.3
"""Share of a column's width for the names of rows of a square panel."""

_LOW = 28.0
"""Pixels of height below which a panel shows data instead of the labels of axes."""

_PICTURES = 256 * 1024
"""Kilobytes for pictures of panels."""


class _Heading(QWidget):
    """Bold title and one muted line after it, on one line; what does not fit is cut and told by the tooltip."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._title = self._subtitle = ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def set_texts(self, title: str, subtitle: str) -> None:
        if (title, subtitle) != (self._title, self._subtitle):
            self._title, self._subtitle = title, subtitle
            self.setAccessibleName(f"{title}. {subtitle}" if subtitle else title)
            self.update()

    def sizeHint(self) -> QSize:
        return QSize(80, math.ceil(QFontMetricsF(font(TEXT)).height()) + 3 * GRID)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        theme = appearance().theme
        bold, plain = font(TEXT, bold=True), font(TEXT - 1)
        metrics, plain_metrics = QFontMetricsF(bold), QFontMetricsF(plain)
        room = self.width() - _SIDE - 4
        title = metrics.elidedText(self._title, Qt.TextElideMode.ElideMiddle, room)
        painter.setFont(bold)
        painter.setPen(QColor(theme.colour("ink")))
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRectF(_SIDE, 0, room, self.height()), left, title)
        used = metrics.horizontalAdvance(title) + 10
        subtitle = plain_metrics.elidedText(self._subtitle, Qt.TextElideMode.ElideRight, room - used)
        if room - used > 40:
            painter.setFont(plain)
            painter.setPen(QColor(theme.colour("muted")))
            painter.drawText(QRectF(_SIDE + used, 0, room - used, self.height()), left, subtitle)
        is_cut = title != self._title or subtitle != self._subtitle
        whole = literal_tip(f"{self._title}\n{self._subtitle}".strip()) if is_cut else ""
        if self.toolTip() != whole:
            self.setToolTip(whole)
        painter.end()


class _Canvas(GraphicsView):
    """The view the panels are in."""

    def __init__(self, figure: FigureView) -> None:
        super().__init__(parent=figure, background=None)
        self._figure = figure
        self.setViewportUpdateMode(self.ViewportUpdateMode.FullViewportUpdate)
        self.setCacheMode(self.CacheModeFlag.CacheNone)
        self.setAccessibleName("figure")
        self.viewport().setAutoFillBackground(False)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        if event is not None:
            self._figure.lay_out()

    def paintEvent(self, event: QPaintEvent) -> None:
        self._figure.catch_up()
        super().paintEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self._figure.on_key(event, pressed=True):
            event.ignore()

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if not self._figure.on_key(event, pressed=False):
            event.ignore()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._figure.on_left()


class FigureView(QWidget):
    """Shows a `FigureSpec`, and tells what the user does with it.

    Attributes
    ----------
    extra_columns : callable, optional
        Called with a line and the index of one of its points, gives more columns (wall time ...) for the table at the
        cursor, by name.
    wheel_zooms : bool
        Whether the wheel zooms by itself; if not, Ctrl with the wheel does, and the wheel alone is left to a scroll area
        around.

    Signals
    -------
    hovered(Clause or None)
        What lies behind the element under the mouse.
    clicked(Clause, Qt.KeyboardModifiers)
        An element was clicked.
    brushed(Clause or None, str)
        A rectangle was drawn with Shift or Alt: what is inside, and the name of the mode (`models.selection.BRUSH_MODES`).
    rule_dragged(str, float)
        A rule was moved: the option it stands for, and its new place in data units.
    point_dragged(dict)
        A point was moved: the options it stands for, and their new values in data units.
    cursor_moved(str, float or None)
        The mouse is at a place along x, in data units, of an axis with that column; None: it left.
    pin_changed(str, float or None)
        The second cursor was pinned at a place along x, in data units, of an axis with that column; None: it was removed.
    table_order_changed(str)
        The user sorted the table at the cursor another way.
    x_range_changed(str, str, float or None, float or None)
        The user changed the range of the axes with that column and scale: its ends in data units; None: they fit the
        data again.
    menu_requested(QPoint, Clause or None)
        A right click, at a place on the screen.
    """

    hovered = Signal(object)
    clicked = Signal(object, object)
    brushed = Signal(object, str)
    rule_dragged = Signal(str, float)
    point_dragged = Signal(object)
    cursor_moved = Signal(str, object)
    pin_changed = Signal(str, object)
    table_order_changed = Signal(str)
    x_range_changed = Signal(str, str, object, object)
    menu_requested = Signal(QPoint, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.spec = FigureSpec()
        self.extra_columns: Callable[[Line, int], Mapping[str, str]] | None = None
        self.wheel_zooms = True
        self._space_is_down = False
        self._panels: dict[str, PanelView] = {}
        self._emphasis: Emphasis = None
        self._pin: tuple[str, str, float] | None = None
        """Column and key of the panel it was pinned in, and x."""
        self._order: TableOrder = "screen"
        self._ratio: float | None = None
        self._is_outdated = False
        self._lefts: dict[int, float] = {}
        self._heading = _Heading(self)
        self._heading_row = QHBoxLayout()
        self._heading_row.setContentsMargins(0, 0, 0, 0)
        self._heading_row.setSpacing(0)
        self._heading_row.addWidget(self._heading, 1)
        self._canvas = _Canvas(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(self._heading_row)
        layout.addWidget(self._canvas, 1)
        self.setFocusProxy(self._canvas)
        # What is drawn is kept as pictures; ten megabytes, Qt's default, are less than one panel on a large screen.
        QPixmapCache.setCacheLimit(max(QPixmapCache.cacheLimit(), _PICTURES))
        self.setMinimumSize(120, 80)
        appearance().changed.connect(self._on_theme_changed)

    # --- showing

    def show_spec(self, spec: FigureSpec) -> None:
        """Show a figure; what is the same as before is left as it is, and so is a range the user chose."""
        if spec is self.spec:
            return
        self.spec = spec
        self._heading.set_texts(spec.title, spec.subtitle)
        theme = appearance().theme
        continued = {panel.shares_x_with for panel in spec.panels if panel.shares_x_with}
        shown: dict[str, PanelView] = {}
        for panel in spec.panels:
            view = self._panels.pop(panel.key, None)
            if view is None:
                view = PanelView(self, self._canvas.scene())
                view.set_theme(theme)
                view.set_emphasis(self._emphasis)
                view.set_table_order(self._order)
            if view.panel is not panel:
                view.set_panel(panel, continued=panel.key in continued)
            view.set_pin(self._pin_in(view))
            shown[panel.key] = view
        for gone in self._panels.values():
            gone.remove()
        self._panels = shown
        self._fit()
        self.lay_out()

    def shown_spec(self) -> FigureSpec:
        """Give the figure with the limits on screen where the user chose a range, so that it can be drawn as it is seen.

        Where x was chosen, y is said too: left to fit, it would fit what lies between the limits of x.
        """
        panels = []
        for view in self._panels.values():
            panel = view.panel
            if view.x_is_free:
                panel = replace(panel, x=_limited(panel.x, view.x_window))
            if view.x_is_free or view.y_is_free:
                panel = replace(panel, y=_limited(panel.y, view.y_window))
            panels.append(panel)
        return replace(self.spec, panels=tuple(panels)) if self.is_zoomed else self.spec

    def set_emphasis(self, emphasis: Emphasis) -> None:
        """Dim all elements but some, by what lies behind them; the figure itself stays as it is.

        Parameters
        ----------
        emphasis : mapping, callable or None
            Keys to emphasise by linking column; or a function from an `Origin` to one truth value an element (or None: it says
            nothing about that origin); or None: nothing is dimmed. Marks without an origin are never dimmed.
        """
        if emphasis is self._emphasis or (callable(emphasis) and emphasis == self._emphasis):
            return
        self._emphasis = emphasis
        for view in self._panels.values():
            view.set_emphasis(emphasis)

    def set_cursor(self, x: float | None) -> None:
        """Show the shared cursor at a place along x, in data units, in all panels; None hides it."""
        for view in self._panels.values():
            view.set_cursor(x)

    @property
    def is_pointed_at(self) -> bool:
        """Whether the mouse is over a panel."""
        return any(view.overlay.mouse is not None for view in self._panels.values())

    @property
    def is_pinned(self) -> bool:
        """Whether there is a second cursor."""
        return self._pin is not None

    def set_pin(self, column: str, x: float | None) -> None:
        """Show the second cursor at a place along x, in data units, in all panels with that column; None removes it."""
        self._set_pin(None if x is None else (column, "", x))

    def _set_pin(self, pin: tuple[str, str, float] | None) -> None:
        self._pin = pin
        for view in self._panels.values():
            view.set_pin(self._pin_in(view))

    def toggle_pin(self) -> None:
        """Pin a second cursor where the cursor is, or remove it, and tell."""
        if self._pin is not None:
            column = self._pin[0]
            self._set_pin(None)
            self.pin_changed.emit(column, None)
            return
        # The panel under the mouse first: its place is that of a logged point.
        for view in sorted(self._panels.values(), key=lambda view: view.overlay.mouse is None):
            x = view.cursor_place
            if x is not None:
                self._set_pin((view.x.column, view.panel.key, x))
                self.pin_changed.emit(view.x.column, x)
                return

    def _pin_in(self, view: PanelView) -> float | None:
        if self._pin is None:
            return None
        column, key, x = self._pin
        # An axis without a column is linked with no other.
        return x if column == view.x.column and (column or key == view.panel.key) else None

    def set_table_order(self, order: TableOrder) -> None:
        """Sort the table at the cursor."""
        self._order = order
        for view in self._panels.values():
            view.set_table_order(order)

    def sort_otherwise(self) -> None:
        """Sort the table at the cursor the next way, and tell; by difference only where there is a second cursor."""
        orders = [order for order in get_args(TableOrder) if order != "difference" or self.is_pinned]
        now = orders.index(self._order) if self._order in orders else 0
        self.set_table_order(orders[(now + 1) % len(orders)])
        self.table_order_changed.emit(self._order)

    def set_x_range(self, column: str, scale: str, low: float | None, high: float | None) -> None:
        """Show a range of x, in data units, on all axes with a column and scale, as if the user had.

        None fits the data again.
        """
        changed = False
        for view in self._panels.values():
            if view.x.column != column or view.x.scale != scale or not column:
                continue
            changed = True
            if low is None or high is None:
                view.x_is_free = False
            else:
                ends = to_axis(np.array([low, high]), view.x.scale)
                view.x_is_free = True
                view.set_x_window((float(ends[0]), float(ends[1])))
        if changed:
            self._fit()
            # A figure that is scrolled out of sight is laid out when it is seen.
            if self._canvas.visibleRegion().isEmpty():
                self._is_outdated = True
            else:
                self.lay_out()

    def reset(self) -> None:
        """Show all data again."""
        told = {(view.x.column, view.x.scale) for view in self._panels.values() if view.x_is_free and view.x.column}
        for view in self._panels.values():
            view.x_is_free = view.y_is_free = False
        self._fit()
        self.lay_out()
        for column, scale in sorted(told):
            self.x_range_changed.emit(column, scale, None, None)

    def move_cursor(self, points: int) -> None:
        """Move the cursor by some points of the nearest line, and tell."""
        for view in self._panels.values():
            x = view.next_place(points)
            if x is not None:
                self.set_cursor(x)
                self.cursor_moved.emit(view.x.column, x)
                return

    @property
    def is_zoomed(self) -> bool:
        """Whether the user chose a range."""
        return any(view.x_is_free or view.y_is_free for view in self._panels.values())

    @property
    def panels(self) -> tuple[PanelView, ...]:
        """The panels, in the order of the figure."""
        return tuple(self._panels.values())

    def add_header_widget(self, widget: QWidget) -> None:
        """Put a widget at the right end of the title line."""
        self._heading_row.addWidget(widget)

    def set_heading_visible(self, visible: bool) -> None:
        """Show the title line, or leave it to what is around."""
        self._heading.setVisible(visible)

    def finish(self) -> None:
        """Paint now what else would be painted in slices between events."""
        self.catch_up()
        for view in self._panels.values():
            view.curves.finish()
            view.content.update()

    def grab_image(self, scale: float = 2.0) -> QImage:
        """Give the figure as an image.

        Parameters
        ----------
        scale : float
            Pixels of the image for one of the window.
        """
        self.catch_up()
        image = QImage((self.size() * scale), QImage.Format.Format_ARGB32_Premultiplied)
        image.setDevicePixelRatio(scale)
        image.fill(QColor(appearance().theme.colour("panel")))
        self._ratio = scale
        try:
            for view in self._panels.values():
                view.overlay.hide()
                view.curves.prepare(view.viewport)
                view.content.set_kept(False)
            painter = QPainter(image)
            self.render(painter, QPoint(), renderFlags=QWidget.RenderFlag.DrawChildren)
            painter.end()
        finally:
            self._ratio = None
            for view in self._panels.values():
                view.overlay.show()
                view.content.set_kept(True)
                view.content.update()
        return image

    # --- what panels ask

    def ratio(self) -> float:
        """Give the device pixels in a logical one."""
        return self._ratio if self._ratio is not None else self._canvas.devicePixelRatioF()

    @property
    def space_is_down(self) -> bool:
        """Whether a drag pans; a release that another widget heard counts as well."""
        return self._space_is_down and self._canvas.hasFocus()

    def takes_wheel(self, modifiers: Qt.KeyboardModifier) -> bool:
        """Whether a turn of the wheel zooms."""
        return self.wheel_zooms or bool(modifiers & Qt.KeyboardModifier.ControlModifier)

    def brush_mode(self, modifiers: Qt.KeyboardModifier) -> str | None:
        """Give the mode of a brush drawn with these keys down; None where a drag zooms."""
        return mode_of(modifiers)

    def on_zoomed(self, panel: PanelView, x: Window | None, y: Window | None) -> None:
        """Show what the user chose in one panel, in all linked ones too."""
        if x is not None:
            for view in self._linked(panel):
                view.x_is_free = True
                view.set_x_window(x)
        if y is not None:
            panel.y_is_free = True
            panel.set_y_window(y)
        self.lay_out()
        if x is not None and panel.x.column:
            low, high = (to_data(end, panel.x.scale) for end in panel.x_window)
            self.x_range_changed.emit(panel.x.column, panel.x.scale, low, high)

    def on_brushed(self, panel: PanelView, clause: Clause | None, mode: str) -> None:
        """Tell what was brushed."""
        self.brushed.emit(clause, mode)

    def on_cursor(self, panel: PanelView, x: float | None) -> None:
        """Show the cursor of one panel in those beside it that have the same x, and tell."""
        for view in self._panels.values():
            if view is not panel and view.x.column == panel.x.column and view.x.column:
                view.set_cursor(x)
        self.cursor_moved.emit(panel.x.column, x)

    def on_key(self, event: QKeyEvent, *, pressed: bool) -> bool:
        """Take a key; False leaves it to what is around."""
        key = event.key()
        if key == Qt.Key.Key_Space:
            if not event.isAutoRepeat():
                self._space_is_down = pressed
                self._canvas.viewport().setCursor(
                    Qt.CursorShape.OpenHandCursor if pressed else Qt.CursorShape.ArrowCursor
                )
            return True
        if not pressed:
            return False
        if key == Qt.Key.Key_Home:
            self.reset()
            return True
        if key == Qt.Key.Key_C and not event.modifiers():
            self.toggle_pin()
            return True
        if key == Qt.Key.Key_T and not event.modifiers():
            self.sort_otherwise()
            return True
        if key == Qt.Key.Key_Escape and self.is_pinned:
            self.toggle_pin()
            return True
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            step = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
            self.move_cursor(step if key == Qt.Key.Key_Right else -step)
            return True
        return False

    def on_left(self) -> None:
        """Forget the mouse."""
        for view in self._panels.values():
            if view.overlay.mouse is not None:
                view.on_hover(None)

    def changeEvent(self, event: QEvent) -> None:
        """Lay out anew for another font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            for view in self._panels.values():
                view.x_item.take_font()
                view.y_item.take_font()
            self.lay_out()

    def _on_theme_changed(self, theme: Theme) -> None:
        for view in self._panels.values():
            view.set_theme(theme)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Fill the ground."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(appearance().theme.colour("panel")))
        painter.end()

    # --- windows and places

    def _linked(self, panel: PanelView) -> list[PanelView]:
        """Give the panels whose x axis is the same one."""
        if panel.x.column:
            same = [
                view
                for view in self._panels.values()
                if view.x.column == panel.x.column and view.x.scale == panel.x.scale
            ]
        else:
            same = [panel]
        names = {view.panel.key for view in same}
        names |= {view.panel.shares_x_with for view in same if view.panel.shares_x_with}
        return [view for key, view in self._panels.items() if key in names or view.panel.shares_x_with in names]

    def _fit(self) -> None:
        """Fit the ranges that the user did not choose."""
        done: set[str] = set()
        windows = {key: view.fitted() for key, view in self._panels.items()}
        for key, view in self._panels.items():
            if not view.y_is_free:
                view.set_y_window(windows[key][1])
            if key in done:
                continue
            linked = self._linked(view)
            done |= {one.panel.key for one in linked}
            free = next((one for one in linked if one.x_is_free), None)
            if free is not None:
                for one in linked:
                    one.x_is_free = True
                    one.set_x_window(free.x_window)
            else:
                ends = [windows[one.panel.key][0] for one in linked if one.panel.marks] or [windows[key][0]]
                for one in linked:
                    one.set_x_window((min(low for low, _ in ends), max(high for _, high in ends)))

    def catch_up(self) -> None:
        """Lay out what was put off while nobody saw it."""
        if self._is_outdated:
            self.lay_out()

    def lay_out(self) -> None:
        """Give each panel its place."""
        self._is_outdated = False
        views = list(self._panels.values())
        area = self._canvas.viewport().rect()
        if not views or area.width() < 20 or area.height() < 20:
            return
        columns = max(1, min(self.spec.columns, len(views)))
        while columns > 1 and area.width() / columns < _NARROW:
            # In a tall pane panels read better above one another than squeezed side by side.
            if area.height() / math.ceil(len(views) / (columns - 1)) < _TALL_ENOUGH:
                break
            columns -= 1
        rows = math.ceil(len(views) / columns)
        breadth = (area.width() - 2 * _SIDE - _BETWEEN * (columns - 1)) / columns
        for column in range(columns):
            inside = views[column * rows : (column + 1) * rows]
            if inside:
                self._lay_out_column(
                    inside, column, _SIDE + column * (breadth + _BETWEEN), breadth, float(area.height())
                )

    def _heights(self, views: list[PanelView], widths: list[float], height: float, shares: list[float]) -> list[float]:
        """Share what the axes leave of a height among the panels of a column, whose frames have these widths."""
        bottoms = [view.x_item.measure(*view.x_window, width) for view, width in zip(views, widths, strict=True)]
        heights: list[float] = []
        for _ in range(2):
            room = max(height - sum(bottoms), 10.0)
            heights = [room * share / sum(shares) for share in shares]
            # A square frame may be narrower than the column, and its texts turn.
            for index, (view, tall) in enumerate(zip(views, heights, strict=True)):
                if view.panel.square:
                    bottoms[index] = view.x_item.measure(*view.x_window, min(widths[index], tall))
        return heights

    def _lay_out_column(self, views: list[PanelView], column: int, left: float, breadth: float, height: float) -> None:
        shares = [max(view.panel.height, 0.01) for view in views]
        gaps = [6.0, *[_ABOVE] * (len(views) - 1)]
        heads = [view.head_height() for view in views]
        for compact in (False, True):
            for view in views:
                view.x_item.set_compact(compact)
                view.y_item.set_compact(compact)
                # Names beside a square take the room of its cells.
                view.y_item.set_room_for_names(breadth * (_NAMES_OF_A_SQUARE if view.panel.square else 1.0))
            free = height - sum(gaps) - sum(heads) - 6.0
            heights = self._heights(views, [breadth * 0.85] * len(views), free, shares)
            if min(heights) >= _LOW:
                break
        needed = max(view.y_item.measure(*view.y_window, tall) for view, tall in zip(views, heights, strict=True))
        # Ticks change while one pans: an axis that gets a little narrower stays as wide as it was, so that nothing jumps.
        known = self._lefts.get(column, 0.0)
        wide = self._lefts[column] = needed if needed > known or needed < known - 14 or not self.is_zoomed else known
        wide = min(wide, breadth * 0.6)
        room = breadth - wide
        widths = [room - view.bar_width(room, tall) for view, tall in zip(views, heights, strict=True)]
        heights = self._heights(views, widths, free, shares)
        y = 0.0
        squares: dict[str, QRectF] = {}
        for view, gap, tall in zip(views, gaps, heights, strict=True):
            before = view.head_height()
            above = squares.get(view.panel.shares_x_with)
            room = breadth - wide if above is None else above.width()
            view.place_legend(min(room, tall) if view.panel.square else room, tall)
            tall = max(tall - (view.head_height() - before), 8.0)
            y += gap
            side = view.bar_width(breadth - wide, tall)
            x, width = left + wide, max(breadth - wide - side, 8.0)
            head = view.head_height()
            view.head.setGeometry(QRectF(left, y, breadth, head))
            y += head
            frame = QRectF(x, y, width, tall)
            if view.panel.square:
                length = min(width, tall)
                frame = squares[view.panel.key] = QRectF(x + (width - length) / 2, y, length, length)
            elif above is not None:  # it continues the axis of a square one, and stands exactly below it
                frame = QRectF(above.left(), y, above.width(), tall)
            view.head_indent = frame.left() - left
            low = view.x_item.measure(*view.x_window, frame.width())
            view.y_item.measure(*view.y_window, tall)
            view.frame.setGeometry(frame)
            view.bar.setGeometry(QRectF(frame.right(), frame.top(), side, frame.height()))
            view.x_item.setGeometry(QRectF(frame.left(), frame.bottom(), frame.width(), low))
            view.y_item.setGeometry(QRectF(frame.left() - wide, frame.top(), wide, frame.height()))
            view.refresh()
            y += tall + low


def _limited(axis: Axis, window: Window) -> Axis:
    """Give an axis that asks for a window."""
    low, high = (to_data(end, axis.scale) for end in window)
    return replace(axis, low=low, high=high, exact=True)
