"""All lines of a panel as one thing to paint.

What was painted is kept as an image. While the window moves and painting anew would take longer than a frame, the last image is
shown where it now belongs, and the new one is made in steps between events. Dimming all lines but some is then a faint copy of
the image with those painted over it.

Lines that only grew, in a window that stayed, are painted where they grew, on the image that is there.

A line that has points to spare in each column of pixels is painted as strokes, one a column (`models.kernels.strokes`): many
such lines at once, from the extremes of blocks of their points, so that the cost depends on the screen and not on their length.
A line with fewer points is painted as the segments it is made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from time import perf_counter
from weakref import WeakValueDictionary

import numpy as np
from PySide6.QtCore import QObject, QPointF, QRectF, Qt, QTimer
from PySide6.QtGui import QColor, QImage, QPainter, QPen

from ...analysis.decimate import Places, ZoomableLine
from ...models.figure import FigureSpec, Line, Scale
from ...models.growing_array import continues, lineage, span
from ...models.kernels.strokes import Columns, curves_at_once, painted, stroked
from ...resources import Theme
from .emphasis import DIMMED
from .marks import Box, Window, alike, line_extent
from .ticks import to_axis
from .viewport import Viewport, polygon

_FRAME = 0.012
"""Seconds of a frame that painting curves may take, of all panels together."""

_FAR = 20000.0
"""Pixels beyond which a point is drawn no farther out: Qt's rasteriser counts in 16 bits."""

_DENSE = 12
"""Pixels a line travels in each column, on average, from which on it is drawn as strokes."""

_PAUSE_MS = 40
"""Milliseconds without a change after which a window that takes long to paint is painted sharply."""

_TO_SPARE = 2.0
"""Points in a column of pixels, on average, from which on a line is painted as strokes."""

_FEW_DASHED = 8
"""Dashed lines up to which each is painted by Qt, whose dashes are sharp on steep parts, too."""

_STRIP = 512
"""Columns of pixels painted in one step."""

_MOST_NEW = 20_000
"""Points that lines got since they were painted, from which on all are painted anew."""

_LONG = 50_000
"""Points from which on a line is worked out before it is shown."""

_PIECE = 128
"""Points stroked at once: Qt's stroker takes quadratic time on wide lines that cross themselves."""


class _Curve:
    """One line, ready to be painted."""

    __slots__ = ("_before", "_box", "_line", "_places", "mark", "scales")

    def __init__(
        self, mark: Line, scales: tuple[Scale, Scale], before: _Curve | None, places: dict[int, Places]
    ) -> None:
        self.mark = mark
        self.scales = scales
        self._line: ZoomableLine | None = None
        self._before: ZoomableLine | None = None
        if before is not None:
            self._before = before._line or before._before
        self._places = places
        self._box: tuple[Window | None, Box] | None = None

    @property
    def line(self) -> ZoomableLine:
        """Its data in axis units; of a line that only grew, what was worked out before is kept."""
        if self._line is None:
            self._line = _line(self.mark, *self.scales, self._before, self._places)
            self._before = None
        return self._line

    def extent(self, window: Window | None) -> Box:
        """Give the box around it, or around what of it lies in a window of x, in axis units."""
        if self._box is None or self._box[0] != window:
            x, y = self.mark.x, self.mark.y
            if window is None and len(x) >= _LONG and (box := self.line.box()) is not None:
                self._box = (window, box)
                return box
            if window is None and "log" not in self.scales and len(x) > 0:
                left, right, known_x = span(x)
                low, high, known_y = span(y)
                if known_x == len(x) and known_y == len(y):
                    self._box = (window, (left, right, low, high))
                    return self._box[1]
            self._box = (window, line_extent(self.line, window))
        return self._box[1]

    def pattern(self, theme: Theme) -> tuple[float, ...]:
        """Give lengths of strokes and gaps in widths of the line."""
        return theme.pattern(theme.dash(self.mark.hue, self.mark.dash))

    def points_in_a_column(self, viewport: Viewport) -> float:
        """Give how many points a column of pixels holds on average; none where they are not in the order of x."""
        line = self.line
        if len(line.x) < 2 or not line.is_sorted:
            return 0.0
        return line.points_in_a_column(viewport.left, viewport.right, viewport.width * viewport.ratio)


class _Layer:
    """An image of some curves for one viewport, whole or still being made."""

    def __init__(self, viewport: Viewport, curves: Sequence[_Curve], theme: Theme, *, extra: float = 0.0) -> None:
        self.viewport = viewport
        self.is_whole = False
        self.seconds = 0.0
        self.image = QImage()
        self._curves = curves
        self._theme = theme
        self._extra = extra
        self._points: dict[str, int] = {}
        self._travelled: dict[str, float] = {}
        self._pens: dict[tuple[str, str, float, float], tuple[QPen, tuple[float, ...]]] = {}
        self._steps = self._made()

    def paint_on(self, seconds: float) -> None:
        """Paint more until all is there or the time is over."""
        started = perf_counter()
        while not self.is_whole:
            self.is_whole = next(self._steps, None) is None
            if perf_counter() - started > seconds:
                break
        self.seconds += perf_counter() - started

    def grow(self, curves: Sequence[_Curve]) -> bool:
        """Paint the points that curves got since they were painted, on what is there; False where all had better be anew."""
        tails = [(curve, max(self._points.get(curve.mark.key, 0) - 1, 0)) for curve in curves]
        tails = [(curve, first) for curve, first in tails if len(curve.mark.x) - 1 > first]
        if sum(len(curve.mark.x) - first for curve, first in tails) > _MOST_NEW:
            return False
        if not tails:
            return True
        view = self.viewport
        x_scale, y_scale = tails[0][0].scales
        x = np.concatenate([curve.mark.x[first:] for curve, first in tails])
        y = np.concatenate([curve.mark.y[first:] for curve, first in tails])
        px, py = view.x(to_axis(x, x_scale)) * view.ratio, view.y(to_axis(y, y_scale)) * view.ratio
        is_whole = bool(np.isfinite(px).all() and np.isfinite(py).all())
        px, py = np.clip(px, -_FAR, _FAR), np.clip(py, -_FAR, _FAR)
        lengths = np.append(np.nan_to_num(np.hypot(np.diff(px), np.diff(py))), 0.0)
        painter = QPainter(self.image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        end = 0
        for curve, first in tails:
            mark, begin, end = curve.mark, end, end + len(curve.mark.x) - first
            pen, pattern = self._pen(curve)
            if pattern:
                # A dash goes on where it stopped.
                travelled = self._travelled.get(mark.key, 0.0)
                pen.setDashOffset(travelled / pen.widthF())
                self._travelled[mark.key] = travelled + float(lengths[begin : end - 1].sum())
            painter.setPen(pen)
            own = px[begin:end], py[begin:end]
            for start, stop in [(0, end - begin)] if is_whole else _unbroken(*own):
                painter.drawPolyline(polygon(own[0][start:stop], own[1][start:stop]))
            self._points[mark.key] = len(mark.x)
        painter.end()
        return True

    def _pen(self, curve: _Curve) -> tuple[QPen, tuple[float, ...]]:
        """Give what the end of a line is painted with, made once, and the lengths of its strokes and gaps."""
        mark = curve.mark
        look = (mark.hue, mark.dash, mark.opacity, mark.width)
        if look not in self._pens:
            colour = _blended(self._theme, mark.hue, min(mark.opacity + self._extra, 1.0))
            pen, pattern = QPen(colour, (mark.width + self._extra) * self.viewport.ratio), curve.pattern(self._theme)
            pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
            pen.setCapStyle(Qt.PenCapStyle.FlatCap if pattern else Qt.PenCapStyle.RoundCap)
            if pattern:
                pen.setDashPattern([max(part, 0.1) for part in pattern])
            self._pens[look] = (pen, pattern)
        return self._pens[look]

    def _made(self) -> Iterator[bool]:
        """Make the image in steps of a few milliseconds."""
        viewport = self.viewport
        self._points = {curve.mark.key: len(curve.mark.x) for curve in self._curves}
        for curve in self._curves:
            while not curve.line.is_prepared:
                curve.line.prepare()
                yield True
        size = (math.ceil(viewport.width * viewport.ratio), math.ceil(viewport.height * viewport.ratio))
        self.image = QImage(max(size[0], 1), max(size[1], 1), QImage.Format.Format_ARGB32_Premultiplied)
        self.image.fill(Qt.GlobalColor.transparent)
        memory = np.frombuffer(self.image.bits(), np.uint32).reshape(self.image.height(), -1)
        points = [curve.points_in_a_column(viewport) for curve in self._curves]
        looks: dict[tuple[str, str], tuple[float, ...]] = {}
        for curve in self._curves:
            look = (curve.mark.hue, curve.mark.dash)
            if look not in looks:
                looks[look] = curve.pattern(self._theme)
        patterns = [looks[curve.mark.hue, curve.mark.dash] for curve in self._curves]
        by_qt = sum(map(bool, patterns)) <= _FEW_DASHED
        is_dense = [
            many >= _TO_SPARE and not (pattern and by_qt) for many, pattern in zip(points, patterns, strict=True)
        ]
        together = curves_at_once()
        for dense, group in groupby(range(len(is_dense)), is_dense.__getitem__):
            places = list(group)
            if dense:
                for start in range(0, len(places), together):
                    first, last = places[start], places[start : start + together][-1] + 1
                    yield from self._strokes(self._curves[first:last], points[first:last], patterns[first:last], memory)
            else:
                for place in places:
                    painter = QPainter(self.image)
                    stroke(painter, self._curves[place], viewport, self._theme, extra=self._extra, memory=memory)
                    painter.end()
                    yield True

    def _strokes(
        self,
        curves: Sequence[_Curve],
        points: Sequence[float],
        patterns: Sequence[tuple[float, ...]],
        memory: np.ndarray,
    ) -> Iterator[bool]:
        """Paint dense curves."""
        theme, ratio = self._theme, self.viewport.ratio
        columns = _columns(self.viewport, memory.shape[1])
        samples = [curve.line.samples(many) for curve, many in zip(curves, points, strict=True)]
        widths = [(curve.mark.width + self._extra) * ratio for curve in curves]
        dashes = [[part * width for part in pattern] for pattern, width in zip(patterns, widths, strict=True)]
        strokes = stroked(samples, columns, widths, dashes)
        yield True
        inks: dict[tuple[str, float], int] = {}
        for curve in curves:
            known = (curve.mark.hue, curve.mark.opacity)
            if known not in inks:
                inks[known] = _blended(theme, curve.mark.hue, min(curve.mark.opacity + self._extra, 1.0)).rgba()
        colours = np.array([inks[curve.mark.hue, curve.mark.opacity] for curve in curves], np.uint32)
        for start in range(0, columns.count, _STRIP):
            painted(memory, strokes, colours, start, min(start + _STRIP, columns.count))
            yield True

    def show(self, painter: QPainter, viewport: Viewport) -> None:
        """Put the image where it belongs in `viewport`."""
        ratio = viewport.ratio
        shift = viewport.shift_of(self.viewport)
        if shift is not None:
            # Whole pixels are copied, several times as quickly as others are mixed.
            left, top = shift[0] / ratio, shift[1] / ratio
            painter.drawImage(QRectF(left, top, self.image.width() / ratio, self.image.height() / ratio), self.image)
        else:
            target = viewport.place_of(self.viewport)
            if target.width() < 50 * viewport.width and target.height() < 50 * viewport.height:
                painter.drawImage(target, self.image)


class Curves:
    """The lines of a panel, with what was painted of them.

    Parameters
    ----------
    owner : QObject
        Whose life the timer shares.
    repaint : callable
        Called when there is something new to show.
    """

    def __init__(self, owner: QObject, repaint: Callable[[], None]) -> None:
        self._repaint = repaint
        self._curves: dict[str, _Curve] = {}
        self._bright: frozenset[str] | None = None
        self.only_grew = False
        """Whether the newest lines are those before with points behind them."""
        self._all = _Stack()
        self._chosen = _Stack()
        self._near: tuple[Line, tuple[Viewport, Theme], _Layer] | None = None
        self._theme: Theme | None = None
        self._timer = QTimer(owner)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._on_timer)

    def __len__(self) -> int:
        return len(self._curves)

    @property
    def is_current(self) -> bool:
        """Whether all of the newest lines were painted, and nothing is pending."""
        return self._all.is_current and (self._bright is None or self._chosen.is_current)

    @property
    def lines(self) -> list[tuple[Line, ZoomableLine]]:
        """The lines with their data in axis units, in the order drawn."""
        return [(curve.mark, curve.line) for curve in self._curves.values()]

    @property
    def marks(self) -> list[Line]:
        """The lines, in the order drawn."""
        return [curve.mark for curve in self._curves.values()]

    def extents(self, window: Window | None) -> list[Box]:
        """Give the box around each line, or around what of it lies in a window of x, in axis units."""
        return [curve.extent(window) for curve in self._curves.values()]

    def set_lines(self, marks: Sequence[Line], x_scale: Scale, y_scale: Scale, *, rescaled: bool) -> bool:
        """Take lines over; those with the same arrays keep what was worked out for them.

        Parameters
        ----------
        rescaled : bool
            Whether a scale changed, so that nothing is kept.

        Returns
        -------
        bool
            Whether anything changed.
        """
        old, changed, only_grew = self._curves, rescaled, not rescaled
        new: dict[str, _Curve] = {}
        # Lines of one figure often share their x, and then all that is to be known of it.
        places: dict[int, Places] = {}
        # A backdrop is drawn first, whatever its place.
        for mark in sorted(marks, key=lambda line: not line.faint_of):
            known = None if rescaled else old.get(mark.key)
            if known is None or known.mark.x is not mark.x or known.mark.y is not mark.y:
                only_grew = only_grew and known is not None and _goes_on(mark, known.mark)
                known, changed = _Curve(mark, (x_scale, y_scale), known, places), True
            elif not alike(known.mark, mark):
                known.mark, changed, only_grew = mark, True, False
            new[mark.key] = known
        is_same = list(old) == list(new)
        changed = changed or not is_same
        self.only_grew = changed and is_same and only_grew
        self._curves = new
        if self.only_grew:
            self._all.let_grow()
            self._chosen.let_grow()
        elif changed:
            self._all.forget_content()
            self._chosen.forget_content()
        return changed

    def set_theme(self, theme: Theme) -> None:
        """Take a theme over."""
        self._theme = theme
        self._all.forget_content()
        self._chosen.forget_content()

    def emphasise(self, keys: frozenset[str] | None) -> None:
        """Dim all lines but those with the given keys; None dims none."""
        if keys != self._bright:
            self._bright = keys
            self._chosen.forget()

    def paint(self, painter: QPainter, viewport: Viewport) -> None:
        """Paint what is there for a viewport, and have the rest made."""
        if not self._curves or self._theme is None:
            return
        seconds = _FRAME
        if self._bright is None:
            self._all.show(painter, viewport, list(self._curves.values()), self._theme, seconds)
        else:
            painter.setOpacity(DIMMED)
            self._all.show(painter, viewport, list(self._curves.values()), self._theme, seconds)
            painter.setOpacity(1.0)
            chosen = [curve for key, curve in self._curves.items() if key in self._bright]
            self._chosen.show(painter, viewport, chosen, self._theme, seconds)
        if self._all.is_pending or self._chosen.is_pending:
            self._timer.start(_PAUSE_MS if self._all.waits or self._chosen.waits else 0)

    def paint_one(self, painter: QPainter, key: str, viewport: Viewport) -> None:
        """Paint one line wider, over the others; what was painted is kept while the mouse moves along it."""
        curve = self._curves.get(key)
        if curve is None or self._theme is None:
            return
        mark, about = curve.mark, (viewport, self._theme)
        if self._near is None or self._near[0] is not mark or self._near[1] != about:
            layer = _Layer(viewport, [curve], self._theme, extra=1.0)
            layer.paint_on(math.inf)
            self._near = (mark, about, layer)
        self._near[2].show(painter, viewport)

    def prepare(self, viewport: Viewport) -> None:
        """Make all that a viewport shows, now."""
        if self._theme is None:
            return
        curves = list(self._curves.values())
        self._all.aim(viewport, curves, self._theme)
        if self._bright is not None:
            self._chosen.aim(
                viewport, [curve for key, curve in self._curves.items() if key in self._bright], self._theme
            )
        self.finish()

    def stop(self) -> None:
        """Paint nothing more."""
        self._timer.stop()

    def finish(self) -> None:
        """Make all that is pending, now."""
        self._timer.stop()
        if self._theme is not None:
            self._all.work(math.inf)
            self._chosen.work(math.inf)

    def _on_timer(self) -> None:
        assert self._theme is not None
        for stack in (self._all, self._chosen):
            if stack.is_pending:
                stack.work(_FRAME)
                break
        if not self._all.is_pending and not self._chosen.is_pending:
            self._repaint()
        else:
            self._timer.start(0)
            if self._all.has_nothing_older:
                self._repaint()


def _goes_on(mark: Line, before: Line) -> bool:
    """Whether a line is one from before with points behind it, and looks like it."""
    return (
        mark.hue == before.hue
        and mark.dash == before.dash
        and mark.width == before.width
        and mark.opacity == before.opacity
        and mark.faint_of == before.faint_of
        and continues(mark.x, before.x)
        and continues(mark.y, before.y)
    )


class Prepared:
    """A long line with what painting it needs, and the mark it is of."""

    def __init__(self, mark: Line, line: ZoomableLine) -> None:
        self.mark = mark
        self.line = line


_prepared: WeakValueDictionary[tuple[int, int, Scale, Scale], Prepared] = WeakValueDictionary()
"""By the arrays of the mark, which live as long as what is here."""


def prepared(spec: FigureSpec) -> tuple[Prepared, ...]:
    """Work out what painting the long lines of a figure needs, in any thread; it is known as long as what is given lives."""
    made = []
    for panel in spec.panels:
        places: dict[int, Places] = {}
        for mark in panel.marks:
            # What grows is worked out as it grows.
            if isinstance(mark, Line) and len(mark.x) >= _LONG and lineage(mark.y) is None:
                one = Prepared(mark, _line(mark, panel.x.scale, panel.y.scale, None, places))
                one.line.box()
                while not one.line.is_prepared:
                    one.line.prepare()
                _prepared[id(mark.x), id(mark.y), panel.x.scale, panel.y.scale] = one
                made.append(one)
    return tuple(made)


def _line(
    mark: Line, x_scale: Scale, y_scale: Scale, before: ZoomableLine | None, places: dict[int, Places]
) -> ZoomableLine:
    """Give the line of a mark; what was worked out of the one before is kept where it begins with it."""
    known = _prepared.get((id(mark.x), id(mark.y), x_scale, y_scale))
    if known is not None:
        places.setdefault(id(mark.x), known.line.places)
        return known.line
    y = to_axis(mark.y, y_scale)
    along = places.get(id(mark.x))
    if before is not None:
        made = before.extended_by(to_axis(mark.x, x_scale) if along is None else along, y)
    else:
        made = ZoomableLine(Places(to_axis(mark.x, x_scale)) if along is None else along, y)
    places[id(mark.x)] = made.places
    return made


def _columns(viewport: Viewport, count: int) -> Columns:
    """Give the columns of pixels of an image of a viewport."""
    breadth = (viewport.right - viewport.left) / (viewport.width * viewport.ratio)
    left = viewport.right - count * breadth if viewport.x_inverted else viewport.left
    height = viewport.height * viewport.ratio
    scale = height / (viewport.top - viewport.bottom)
    if viewport.y_inverted:
        return Columns(count, left, breadth, viewport.bottom, scale, 0.0, viewport.x_inverted)
    return Columns(count, left, breadth, viewport.bottom, -scale, height, viewport.x_inverted)


class _FrameTime:
    """What painting anew has taken of the frame that is being painted: panels that are linked move together."""

    def __init__(self) -> None:
        self._begun = self._taken = 0.0

    def left(self) -> float:
        """Give the seconds that are left; another frame has begun when one has passed."""
        now = perf_counter()
        if now - self._begun > _FRAME + self._taken:
            self._begun, self._taken = now, 0.0
        return _FRAME - self._taken

    def take(self, seconds: float) -> None:
        self._taken += seconds


_frame_time = _FrameTime()


class _Stack:
    """The last whole image of some curves, and the next one in the making."""

    def __init__(self) -> None:
        self._whole: _Layer | None = None
        self._next: _Layer | None = None
        self._stale = False
        self._grew = False
        self._waits = False

    @property
    def is_pending(self) -> bool:
        return self._next is not None

    @property
    def is_current(self) -> bool:
        """Whether the last whole image is of what is to be shown."""
        return self._whole is not None and self._next is None and not self._stale and not self._grew

    @property
    def waits(self) -> bool:
        """Whether the frame had less time left than the last image took, so that the next waits for the hand to rest."""
        return self._waits

    @property
    def has_nothing_older(self) -> bool:
        return self._whole is None

    def forget_content(self) -> None:
        """Make anew what is shown, but show it until then."""
        self._stale, self._next = True, None

    def let_grow(self) -> None:
        """Paint the points that the curves got behind those that are or are being painted."""
        self._grew = True

    def forget(self) -> None:
        """Show nothing of what was made."""
        self._whole = self._next = None

    def aim(self, viewport: Viewport, curves: Sequence[_Curve], theme: Theme) -> bool:
        """Begin an image for a viewport unless there is one; whether one is being made."""
        if self._next is None or self._next.viewport != viewport:
            fits = self._whole is not None and not self._stale and self._whole.viewport == viewport
            if fits and self._whole is not None and (not self._grew or self._whole.grow(curves)):
                self._next, self._grew = None, False
                return False
            self._next, self._grew = _Layer(viewport, curves, theme), False
        return True

    def show(
        self, painter: QPainter, viewport: Viewport, curves: Sequence[_Curve], theme: Theme, seconds: float
    ) -> None:
        self._waits = False
        if self.aim(viewport, curves, theme):
            self._waits = self._whole is not None and self._whole.seconds > _frame_time.left()
            if not self._waits:
                begun = perf_counter()
                self.work(seconds)
                _frame_time.take(perf_counter() - begun)
        shown = self._whole if self._whole is not None else self._next
        if shown is not None:
            shown.show(painter, viewport)

    def work(self, seconds: float) -> None:
        if self._next is None:
            return
        self._next.paint_on(seconds)
        if self._next.is_whole:
            self._whole, self._next, self._stale = self._next, None, False


def stroke(
    painter: QPainter,
    curve: _Curve,
    viewport: Viewport,
    theme: Theme,
    *,
    extra: float = 0.0,
    memory: np.ndarray | None = None,
) -> None:
    """Paint one line in device pixels.

    Parameters
    ----------
    extra : float
        Points to add to its width.
    memory : ndarray of uint32, shape (rows, columns), optional
        The pixels painted on, where a dense line may be filled in directly.
    """
    mark = curve.mark
    columns = max(int(viewport.width * viewport.ratio), 1)
    x, y = curve.line.within(viewport.left, viewport.right, columns)
    if not len(x):
        return
    px, py = viewport.x(x) * viewport.ratio, viewport.y(y) * viewport.ratio
    width = (mark.width + extra) * viewport.ratio
    pattern = curve.pattern(theme)
    pen = QPen(_blended(theme, mark.hue, min(mark.opacity + extra, 1.0)), width)
    pen.setCosmetic(True)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    pen.setCapStyle(Qt.PenCapStyle.FlatCap if pattern else Qt.PenCapStyle.RoundCap)
    for start, stop in _unbroken(px, py):
        _stroke_part(painter, _shortened(px[start:stop], py[start:stop], columns), pen, pattern, columns, memory)


def _unbroken(px: np.ndarray, py: np.ndarray) -> list[tuple[int, int]]:
    """Give the parts of a line between its gaps."""
    there = np.isfinite(px) & np.isfinite(py)
    if there.all():
        return [(0, len(px))]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _shortened(px: np.ndarray, py: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut the first and last segment off where they lead far out of the window."""
    if len(px) > 1:
        for end, inner in ((0, 1), (-1, -2)):
            for edge in (-columns, 2 * columns):
                beyond = (px[end] < edge < px[inner]) if edge < 0 else (px[end] > edge > px[inner])
                if beyond:
                    share = (edge - px[inner]) / (px[end] - px[inner])
                    py[end] = py[inner] + share * (py[end] - py[inner])
                    px[end] = edge
    return np.clip(px, -_FAR, _FAR), np.clip(py, -_FAR, _FAR)


def _stroke_part(
    painter: QPainter,
    points: tuple[np.ndarray, np.ndarray],
    pen: QPen,
    pattern: tuple[float, ...],
    columns: int,
    memory: np.ndarray | None,
) -> None:
    px, py = points
    width = pen.widthF()
    if len(px) == 1:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        dot = QPen(pen.color(), width + 2.5)
        dot.setCapStyle(Qt.PenCapStyle.RoundCap)
        painter.setPen(dot)
        painter.drawPoint(QPointF(float(px[0]), float(py[0])))
        return
    steps = np.diff(px)
    lengths = np.hypot(steps, np.diff(py))
    if lengths.sum() > _DENSE * columns:
        # A dense line is vertical strokes, one a column: without smooth edges it looks the same and is much quicker.
        if memory is not None and steps.min() >= 0 and steps.max() <= 2.0:
            _fill_strokes(memory, px, py, round(width), pen.color().rgba())
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        thin = QPen(pen.color(), 1.0)
        thin.setCosmetic(True)
        painter.setPen(thin)
        copies = max(round(width), 1)
        for copy in range(copies):
            painter.drawPolyline(polygon(px + (copy - (copies - 1) / 2), py))
        return
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    if pattern:
        pen.setDashPattern([max(part, 0.1) for part in pattern])
    if len(px) <= _PIECE or width <= 1.0:
        painter.setPen(pen)
        painter.drawPolyline(polygon(px, py))
        return
    travelled = np.concatenate([[0.0], np.cumsum(lengths)])
    for start in range(0, len(px) - 1, _PIECE):
        stop = min(start + _PIECE + 1, len(px))
        if pattern:
            pen.setDashOffset(float(travelled[start]) / width)
        painter.setPen(pen)
        painter.drawPolyline(polygon(px[start:stop], py[start:stop]))


def _fill_strokes(memory: np.ndarray, px: np.ndarray, py: np.ndarray, width: int, colour: int) -> None:
    """Fill, in each column of pixels, from the smallest to the largest value there: four times as quick as Qt's strokes.

    Neighbouring columns meet half way between the last point of one and the first of the other.
    """
    rows, columns = memory.shape
    width = max(width, 1)
    places = np.floor(px - (width - 1) / 2).astype(np.intp)
    starts = np.flatnonzero(np.concatenate([[True], places[1:] != places[:-1]]))
    low, high = np.minimum.reduceat(py, starts), np.maximum.reduceat(py, starts)
    meeting = (py[starts[1:] - 1] + py[starts[1:]]) / 2
    low[1:], low[:-1] = np.minimum(low[1:], meeting), np.minimum(low[:-1], meeting)
    high[1:], high[:-1] = np.maximum(high[1:], meeting), np.maximum(high[:-1], meeting)
    top = np.clip(np.floor(low - (width - 1) / 2), 0, rows).astype(np.intp)
    bottom = np.clip(np.floor(high + (width - 1) / 2) + 1, 0, rows).astype(np.intp)
    first = places[starts]
    # Where a column was passed over, its left neighbour is drawn that much wider.
    breadth = np.append(np.minimum(np.diff(first), 2), 1) + width - 1
    seen = (bottom > top) & (first + breadth > 0) & (first < columns)
    for column, wide, a, b in zip(
        np.maximum(first[seen], 0).tolist(),
        (breadth + np.minimum(first, 0))[seen].tolist(),
        top[seen].tolist(),
        bottom[seen].tolist(),
        strict=True,
    ):
        memory[a:b, column : column + wide] = colour


def _blended(theme: Theme, hue: str, opacity: float) -> QColor:
    """Mix a hue into the panel's colour: a faint line that crosses itself stays even."""
    ink, ground = QColor(theme.colour(hue)), QColor(theme.colour("panel"))
    if opacity >= 1.0:
        return ink
    parts = (
        round(g + (i - g) * opacity)
        for i, g in ((ink.red(), ground.red()), (ink.green(), ground.green()), (ink.blue(), ground.blue()))
    )
    return QColor(*parts)
