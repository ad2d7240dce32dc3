"""How each kind of mark is drawn, hit and measured; lines are in `curve_item`.

A `Drawing` holds a mark in axis units. It paints in pixels of a `Viewport`, so that strokes, symbols and texts keep their size.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFontMetricsF, QImage, QPainter, QPainterPath, QPen, QPolygonF

from ...analysis.decimate import ZoomableLine
from ...models.figure import Axis, Band, Bars, Cells, EdgeMarks, Mark, Points, Rule, Text
from ...resources import Theme
from ..theme import CAPTION, TEXT, TICK, font
from .emphasis import DIMMED
from .ticks import number, place, to_axis, to_data
from .viewport import Viewport, polygon

Box = tuple[float, float, float, float]
"""left, right, bottom, top in axis units; NaN where a mark has no say."""

Window = tuple[float, float]
"""Low and high end of a range in axis units."""

_CROWD = 2000
"""Points from which on their discs are stamped into an image."""

_MOST_COMPARED = 100_000
"""Elements up to which arrays of two marks are compared one by one."""

_SMALLER = (9.0, 8.0)
"""Sizes of type in cells that have no room for that of a tick, in pixels."""

M = TypeVar("M")


def alike(one: Mark, other: Mark) -> bool:
    """Whether two marks are the same; arrays are where they hold the same, looked at only where they are short.

    A moved slider gives a new figure, most marks of which are as they were.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    for spec in fields(one):
        a, b = getattr(one, spec.name), getattr(other, spec.name)
        if a is b:
            continue
        if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and _hold_the_same(a, b)):
                return False
        elif a != b and not (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)):
            return False
    return True


def _hold_the_same(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape or a.size > _MOST_COMPARED or a.dtype != b.dtype:
        return False
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


@dataclass
class Canvas:
    """What drawings of one panel share while they are painted.

    Attributes
    ----------
    taken : list of QRectF
        Where texts stand already.
    covered : ndarray, shape (n, 2)
        Pixels that data covers; texts keep off them where they can.
    """

    painter: QPainter
    viewport: Viewport
    theme: Theme
    taken: list[QRectF] = field(default_factory=list)
    covered: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    def colour(self, hue: str, opacity: float = 1.0) -> QColor:
        """Give a colour of the theme."""
        made = QColor(self.theme.colour(hue))
        made.setAlphaF(opacity)
        return made

    def is_free(self, rectangle: QRectF) -> bool:
        """Whether a text in a rectangle covers no other and stays in the panel."""
        inside = QRectF(0, 0, self.viewport.width, self.viewport.height).contains(rectangle)
        return inside and not any(rectangle.intersects(other) for other in self.taken)

    def write(self, rectangle: QRectF, text: str) -> bool:
        """Write a text centred in a rectangle unless it would cover another or leave the panel."""
        if not self.is_free(rectangle):
            return False
        self.taken.append(rectangle)
        self.painter.drawText(rectangle, Qt.AlignmentFlag.AlignCenter, text)
        return True


@dataclass(frozen=True, slots=True)
class Colours:
    """What the colours of a ramp mean: the values at its ends, and of what."""

    low: float
    high: float
    ramp: str
    label: str


class Drawing(ABC, Generic[M]):
    """A mark, ready to be painted.

    Attributes
    ----------
    layer : int
        Higher ones are painted over lower ones; lines are painted between 3 and 4.
    bright : ndarray of bool, optional
        Which elements are emphasised; None where nothing is dimmed.
    """

    layer: ClassVar[int] = 0

    def __init__(self, mark: M, x: Axis, y: Axis) -> None:
        self.mark = mark
        self.x_axis, self.y_axis = x, y
        self.bright: np.ndarray | None = None

    @property
    def elements(self) -> int:
        """How many elements the mark has."""
        return 0

    def extent(self, window: Window | None = None) -> Box:
        """Give the box around the data; of marks along x, around what lies in a window of x."""
        return (math.nan,) * 4

    @abstractmethod
    def paint(self, canvas: Canvas) -> None:
        """Paint the mark."""

    def write(self, canvas: Canvas) -> None:
        """Write words that belong to the mark; called when all marks are painted."""

    def hit(self, viewport: Viewport, px: float, py: float, reach: float) -> tuple[int, float] | None:
        """Give the element at a pixel and how far away it is, None where there is none within reach."""
        return None

    def inside(self, viewport: Viewport, area: QRectF) -> list[int]:
        """Give the elements whose place is in an area of pixels."""
        return []

    def covered(self, viewport: Viewport) -> np.ndarray:
        """Give pixels the mark covers, shape (n, 2), closely enough to place a legend."""
        return np.zeros((0, 2))

    def outline(self, viewport: Viewport, element: int) -> QRectF | None:
        """Give the rectangle of an element that is shown by an outline when it is pointed at."""
        return None

    def colours_to_explain(self, width: float, height: float) -> Colours | None:
        """Give what colours mean that texts do not tell in a panel of a size in pixels."""
        return None

    def note(self, element: int) -> str:
        """Say in a line or a few what an element is."""
        return ""

    def _opacities(self, own: float) -> list[tuple[np.ndarray, float]]:
        """Give groups of elements by opacity, the dimmed first."""
        everything = np.arange(self.elements)
        if self.bright is None:
            return [(everything, own)]
        return [(everything[~self.bright], own * DIMMED), (everything[self.bright], own)]

    def _opacity(self, own: float) -> float:
        """Give the opacity of a mark that is one element."""
        return own if self.bright is None or bool(self.bright.any()) else own * DIMMED


def _box(x: np.ndarray, *ys: np.ndarray, window: Window | None = None) -> Box:
    """Give the box around points that have both coordinates."""
    if len(ys) == 1 and len(x):
        # Nearly always all coordinates are finite and in the window; a card may have thousands of lines.
        ends = (np.minimum.reduce(x), np.maximum.reduce(x), np.minimum.reduce(ys[0]), np.maximum.reduce(ys[0]))
        left, right, bottom, top = map(float, ends)
        is_within = window is None or (left >= window[0] and right <= window[1])
        if is_within and math.isfinite(left + right + bottom + top):
            return left, right, bottom, top
    low, high = [], []
    for y in ys:
        there = np.isfinite(x) & np.isfinite(y)
        if window is not None:
            there &= (x >= window[0]) & (x <= window[1])
        if there.any():
            low.append((x[there].min(), y[there].min()))
            high.append((x[there].max(), y[there].max()))
    if not low:
        return (math.nan,) * 4
    return (
        float(min(a for a, _ in low)),
        float(max(a for a, _ in high)),
        float(min(b for _, b in low)),
        float(max(b for _, b in high)),
    )


def _scalar_or_array(value: np.ndarray | float, n: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(value, dtype=float), n)


class _PointsDrawing(Drawing[Points]):
    """Points with their error bars."""

    layer = 4

    def __init__(self, mark: Points, x: Axis, y: Axis) -> None:
        super().__init__(mark, x, y)
        self.at_x, self.at_y = to_axis(mark.x, x.scale), to_axis(mark.y, y.scale)
        self.low = None if mark.low is None else to_axis(mark.low, y.scale)
        self.high = None if mark.high is None else to_axis(mark.high, y.scale)
        self.sizes = _scalar_or_array(mark.size, len(self.at_x))

    @property
    def elements(self) -> int:
        return len(self.at_x)

    def extent(self, window: Window | None = None) -> Box:
        ends = [end for end in (self.low, self.high) if end is not None]
        return _box(self.at_x, self.at_y, *ends, window=window)

    def paint(self, canvas: Canvas) -> None:
        px, py = canvas.viewport.x(self.at_x), canvas.viewport.y(self.at_y)
        there = np.isfinite(px) & np.isfinite(py)
        margin = float(self.sizes.max(initial=0)) + 2
        there &= (px > -margin) & (px < canvas.viewport.width + margin)
        canvas.painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        for group, opacity in self._opacities(self.mark.opacity):
            group = group[there[group]]
            if len(group):
                self._bars(canvas, group, px, opacity)
                self._symbols(canvas, group, px, py, opacity)

    def _bars(self, canvas: Canvas, group: np.ndarray, px: np.ndarray, opacity: float) -> None:
        if self.low is None and self.high is None:
            return
        low = canvas.viewport.y(self.low if self.low is not None else self.at_y)[group]
        high = canvas.viewport.y(self.high if self.high is not None else self.at_y)[group]
        # On a log axis an end that is not positive lies below everything.
        low = np.where(np.isnan(low), canvas.viewport.height + 50, low)
        canvas.painter.setPen(QPen(canvas.colour(self.mark.hue, opacity), 1.2))
        bars = zip(px[group].tolist(), low.tolist(), high.tolist(), strict=True)
        canvas.painter.drawLines([QLineF(x, a, x, b) for x, a, b in bars if math.isfinite(b)])

    def _symbols(self, canvas: Canvas, group: np.ndarray, px: np.ndarray, py: np.ndarray, opacity: float) -> None:
        painter, colour = canvas.painter, canvas.colour(self.mark.hue, opacity)
        symbol = canvas.theme.symbol(self.mark.hue, self.mark.symbol)
        sizes = np.round(self.sizes * 2) / 2
        for size in np.unique(sizes[group]):
            chosen = group[sizes[group] == size]
            if symbol == "circle" and not self.mark.hollow and self.mark.opacity == 1.0 and len(chosen) >= _CROWD:
                whole = canvas.colour(self.mark.hue)
                image = _stamped(px[chosen], py[chosen], float(size), whole, canvas.viewport)
                ratio = canvas.viewport.ratio
                painter.setOpacity(opacity)
                painter.drawImage(QRectF(0, 0, image.width() / ratio, image.height() / ratio), image)
                painter.setOpacity(1.0)
                continue
            if symbol == "circle" and not self.mark.hollow:
                pen = QPen(colour, float(size))
                pen.setCapStyle(Qt.PenCapStyle.RoundCap)
                painter.setPen(pen)
                painter.drawPoints(polygon(px[chosen], py[chosen]))
                continue
            path = symbol_path(symbol, float(size))
            if symbol == "cross":
                painter.setPen(QPen(colour, 1.5))
                painter.setBrush(Qt.BrushStyle.NoBrush)
            elif self.mark.hollow:
                painter.setPen(QPen(colour, 1.4))
                painter.setBrush(QBrush(canvas.colour("panel", opacity)))
            else:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QBrush(colour))
            for x, y in zip(px[chosen].tolist(), py[chosen].tolist(), strict=True):
                painter.drawPath(path.translated(x, y))

    def hit(self, viewport: Viewport, px: float, py: float, reach: float) -> tuple[int, float] | None:
        if not len(self.at_x):
            return None
        away = np.hypot(viewport.x(self.at_x) - px, viewport.y(self.at_y) - py) - self.sizes / 2
        if np.isnan(away).all():
            return None
        nearest = int(np.nanargmin(away))
        return (nearest, max(float(away[nearest]), 0.0)) if away[nearest] <= reach else None

    def inside(self, viewport: Viewport, area: QRectF) -> list[int]:
        return _within(viewport.x(self.at_x), viewport.y(self.at_y), area)

    def covered(self, viewport: Viewport) -> np.ndarray:
        ends = [end for end in (self.at_y, self.low, self.high) if end is not None]
        parts = [np.stack([viewport.x(self.at_x), viewport.y(end)], axis=1) for end in ends]
        if self.low is not None and self.high is not None:
            middles = [self.low + (self.high - self.low) * share for share in (0.2, 0.4, 0.6, 0.8)]
            parts += [np.stack([viewport.x(self.at_x), viewport.y(middle)], axis=1) for middle in middles]
        return np.concatenate(parts)

    def note(self, element: int) -> str:
        mark = self.mark
        if mark.notes:
            return mark.notes[element]
        text = f"{place(float(mark.x[element]), self.x_axis)}\t{number(float(mark.y[element]))}"
        if mark.low is not None and mark.high is not None:
            text += f" [{number(float(mark.low[element]))}, {number(float(mark.high[element]))}]"
        return f"{mark.label}\n{text}" if mark.label else text


def _stamped(px: np.ndarray, py: np.ndarray, size: float, colour: QColor, viewport: Viewport) -> QImage:
    """Give an image of discs, made pixel of the disc by pixel of the disc for all at once: ten times as quick as Qt.

    Discs stand on whole device pixels and have smooth edges; where they overlap the more covered pixel counts.
    """
    ratio = viewport.ratio
    radius = size * ratio / 2
    reach = math.ceil(radius)
    width, height = math.ceil(viewport.width * ratio), math.ceil(viewport.height * ratio)
    border = reach + 1
    covered = np.zeros((height + 2 * border, width + 2 * border), np.uint8)
    columns = np.floor(px * ratio).astype(np.intp) + border
    rows = np.floor(py * ratio).astype(np.intp) + border
    seen = (
        (columns >= reach) & (columns < covered.shape[1] - reach) & (rows >= reach) & (rows < covered.shape[0] - reach)
    )
    places = rows[seen] * covered.shape[1] + columns[seen]
    offsets = [(dx, dy) for dx in range(-reach, reach + 1) for dy in range(-reach, reach + 1)]
    shares = {offset: min(max(radius + 0.5 - math.hypot(*offset), 0.0), 1.0) for offset in offsets}
    flat = covered.reshape(-1)
    for (dx, dy), share in sorted(shares.items(), key=lambda one: one[1]):
        if share > 0:
            flat[places + (dy * covered.shape[1] + dx)] = round(255 * share)
    parts = np.array([colour.blue(), colour.green(), colour.red(), 255])
    table = (np.arange(256)[:, None] * parts // 255).astype(np.uint8).view("<u4").reshape(-1)
    pixels = np.ascontiguousarray(table[covered[border:-border, border:-border]])
    image = QImage(pixels.data, width, height, width * 4, QImage.Format.Format_ARGB32_Premultiplied)
    return image.copy()  # the array goes, and the image would keep pointing into it


class _BandDrawing(Drawing[Band]):
    """A filled band."""

    layer = 1

    def __init__(self, mark: Band, x: Axis, y: Axis) -> None:
        super().__init__(mark, x, y)
        at = to_axis(mark.x, x.scale)
        self.low = ZoomableLine(at, to_axis(mark.low, y.scale))
        self.high = ZoomableLine(at, to_axis(mark.high, y.scale))

    @property
    def elements(self) -> int:
        return len(self.low.x)

    def extent(self, window: Window | None = None) -> Box:
        return _box(self.low.x, self.low.pyramid.y, self.high.pyramid.y, window=window)

    def paint(self, canvas: Canvas) -> None:
        viewport = canvas.viewport
        columns = max(int(viewport.width), 1)
        low, high = (line.kept(viewport.left, viewport.right, columns) for line in (self.low, self.high))
        kept = low if len(low) == len(high) and np.array_equal(low, high) else np.union1d(low, high)
        px = viewport.x(self.low.x[kept])
        bottom, top = viewport.y(self.low.pyramid.y[kept]), viewport.y(self.high.pyramid.y[kept])
        # What a log axis cannot show lies below it.
        bottom = np.where(np.isnan(bottom) & np.isfinite(top), viewport.height * 2, bottom)
        there = np.isfinite(px) & np.isfinite(bottom) & np.isfinite(top)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
        canvas.painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        canvas.painter.setPen(Qt.PenStyle.NoPen)
        canvas.painter.setBrush(QBrush(canvas.colour(self.mark.hue, self._opacity(self.mark.opacity))))
        far = 20000.0
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            x = np.concatenate([px[start:stop], px[start:stop][::-1]])
            y = np.concatenate([top[start:stop], bottom[start:stop][::-1]])
            canvas.painter.drawPolygon(polygon(np.clip(x, -far, far), np.clip(y, -far, far)))

    def covered(self, viewport: Viewport) -> np.ndarray:
        if not len(self.low.x) or not self.low.is_sorted:
            return np.zeros((0, 2))
        steps = np.linspace(viewport.left, viewport.right, 160)
        low, high = (np.interp(steps, self.low.x, line.pyramid.y, np.nan, np.nan) for line in (self.low, self.high))
        shares = (0.0, 0.25, 0.5, 0.75, 1.0)
        return np.concatenate(
            [np.stack([viewport.x(steps), viewport.y(low + (high - low) * share)], axis=1) for share in shares]
        )


class _BarsDrawing(Drawing[Bars]):
    """Bars, upright or lying, with their error bars."""

    layer = 2

    def __init__(self, mark: Bars, x: Axis, y: Axis) -> None:
        super().__init__(mark, x, y)
        n = len(mark.at)
        across, along = (y, x) if mark.horizontal else (x, y)
        width = _scalar_or_array(mark.width, n) / 2
        self.start = to_axis(mark.at - width, across.scale)
        self.stop = to_axis(mark.at + width, across.scale)
        self.base = to_axis(_scalar_or_array(mark.base, n), along.scale)
        self.end = to_axis(mark.height, along.scale)
        self.low = None if mark.low is None else to_axis(mark.low, along.scale)
        self.high = None if mark.high is None else to_axis(mark.high, along.scale)

    @property
    def elements(self) -> int:
        return len(self.end)

    def extent(self, window: Window | None = None) -> Box:
        ends = [end for end in (self.base, self.end, self.low, self.high) if end is not None]
        boxes = [box for box in (_box(self.start, *ends), _box(self.stop, *ends)) if not math.isnan(box[0])]
        if not boxes:
            return (math.nan,) * 4
        left, right = min(box[0] for box in boxes), max(box[1] for box in boxes)
        bottom, top = min(box[2] for box in boxes), max(box[3] for box in boxes)
        return (bottom, top, left, right) if self.mark.horizontal else (left, right, bottom, top)

    def _rectangles(self, viewport: Viewport) -> np.ndarray:
        """Give left, top, width and height in pixels, shape (n, 4)."""
        horizontal = self.mark.horizontal
        along, across = (viewport.x, viewport.y) if horizontal else (viewport.y, viewport.x)
        floor = 0.0 if horizontal else viewport.height
        base = along(self.base)
        base = np.where(np.isnan(base), floor, base)
        end = along(self.end)
        a, b = across(self.start), across(self.stop)
        lengths, breadths = np.abs(end - base), np.abs(b - a)
        if horizontal:
            return np.stack([np.minimum(base, end), np.minimum(a, b), lengths, breadths], axis=1)
        return np.stack([np.minimum(a, b), np.minimum(base, end), breadths, lengths], axis=1)

    def paint(self, canvas: Canvas) -> None:
        boxes = self._rectangles(canvas.viewport)
        side = 3 if self.mark.horizontal else 2
        painter = canvas.painter
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        for group, opacity in self._opacities(self.mark.opacity):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QBrush(canvas.colour(self.mark.hue, opacity)))
            rectangles = []
            for i in group:
                x, y, w, h = boxes[i]
                if not np.isfinite(boxes[i]).all():
                    continue
                cut = min(1.0, boxes[i, side] * 0.2)
                rectangles.append(
                    QRectF(x, y + cut / 2, w, h - cut) if side == 3 else QRectF(x + cut / 2, y, w - cut, h)
                )
            painter.drawRects(rectangles)
            self._error_bars(canvas, group, boxes, opacity)

    def covered(self, viewport: Viewport) -> np.ndarray:
        boxes = self._rectangles(viewport)
        shares = np.linspace(0, 1, 9)
        x = boxes[:, 0, None, None] + boxes[:, 2, None, None] * shares[:, None]
        y = boxes[:, 1, None, None] + boxes[:, 3, None, None] * shares[None, :]
        return np.stack(np.broadcast_arrays(x, y), axis=-1).reshape(-1, 2)

    def _error_bars(self, canvas: Canvas, group: np.ndarray, boxes: np.ndarray, opacity: float) -> None:
        if self.low is None or self.high is None:
            return
        viewport, horizontal = canvas.viewport, self.mark.horizontal
        along = viewport.x if horizontal else viewport.y
        low, high = along(self.low), along(self.high)
        middle = boxes[:, 1] + boxes[:, 3] / 2 if horizontal else boxes[:, 0] + boxes[:, 2] / 2
        canvas.painter.setPen(
            QPen(canvas.colour("ink", min(1.0, opacity + 0.1) if self.bright is None else opacity), 1.2)
        )
        lines = []
        for i in group:
            if all(map(math.isfinite, (low[i], high[i], middle[i]))):
                a, b, m = float(low[i]), float(high[i]), float(middle[i])
                lines.append(QLineF(a, m, b, m) if horizontal else QLineF(m, a, m, b))
        canvas.painter.drawLines(lines)

    def hit(self, viewport: Viewport, px: float, py: float, reach: float) -> tuple[int, float] | None:
        boxes = self._rectangles(viewport)
        # A bar too low to hit is hit through the strip it stands in.
        slack_x, slack_y = (3.0, 0.0) if self.mark.horizontal else (0.0, 3.0)
        there = (px >= boxes[:, 0] - slack_x) & (px <= boxes[:, 0] + boxes[:, 2] + slack_x)
        there &= (py >= boxes[:, 1] - slack_y) & (py <= boxes[:, 1] + boxes[:, 3] + slack_y)
        found = np.flatnonzero(there)
        return (int(found[0]), 1.0) if len(found) else None

    def inside(self, viewport: Viewport, area: QRectF) -> list[int]:
        return [
            i
            for i, box in enumerate(self._rectangles(viewport))
            if np.isfinite(box).all() and QRectF(*box).intersects(area)
        ]

    def note(self, element: int) -> str:
        mark = self.mark
        if mark.notes:
            return mark.notes[element]
        across = self.y_axis if mark.horizontal else self.x_axis
        text = f"{place(float(mark.at[element]), across)}\t{number(float(mark.height[element]))}"
        if mark.low is not None and mark.high is not None:
            text += f" [{number(float(mark.low[element]))}, {number(float(mark.high[element]))}]"
        return f"{mark.label}\n{text}" if mark.label else text


class _CellsDrawing(Drawing[Cells]):
    """A matrix of coloured cells; the panel's y axis counts rows downwards."""

    layer = 0

    def __init__(self, mark: Cells, x: Axis, y: Axis) -> None:
        super().__init__(mark, x, y)
        self.values = np.asarray(mark.values, dtype=float)
        finite = self.values[np.isfinite(self.values)]
        self.low = mark.low if math.isfinite(mark.low) else float(finite.min()) if len(finite) else 0.0
        self.high = mark.high if math.isfinite(mark.high) else float(finite.max()) if len(finite) else 1.0

    @property
    def elements(self) -> int:
        return self.values.size

    @cached_property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """What is written in the cells: what the mark says, else the values."""
        if self.mark.texts:
            return self.mark.texts
        return tuple(
            tuple(number(value, digits=3) if math.isfinite(value) else "" for value in row)
            for row in self.values.tolist()
        )

    @cached_property
    def _room(self) -> tuple[float, float]:
        """Width and height of the largest text at the size of a tick, in pixels."""
        metrics = QFontMetricsF(font(TICK))
        lines = [text.split("\n") for row in self.texts for text in row if text]
        width = max((metrics.horizontalAdvance(line) for text in lines for line in text), default=0.0)
        return width, metrics.height() * max(map(len, lines), default=0)

    def _type_size(self, width: float, height: float) -> float:
        """Give the size of type in cells of a size in pixels: larger than a tick's where all texts have ample room, smaller
        where all then fit.
        """
        wide, high = self._room
        for size in (TEXT, CAPTION):
            if wide * size / TICK + 24 <= width and high * size / TICK + 16 <= height:
                return size
        for size in (TICK, *_SMALLER):
            if wide * size / TICK + 6 <= width and high * size / TICK + 2 <= height:
                return size
        return TICK

    def _fits(self, width: float, height: float) -> bool:
        """Whether all texts fit into cells of a size in pixels."""
        wide, high = self._room
        return wide + 6 <= width and high + 2 <= height

    def colours_to_explain(self, width: float, height: float) -> Colours | None:
        rows, columns = self.values.shape
        fits = self._fits(width / max(columns, 1), height / max(rows, 1))
        if fits or not self.mark.label or not self.high > self.low:
            return None
        return Colours(self.low, self.high, self.mark.ramp, self.mark.label)

    def extent(self, window: Window | None = None) -> Box:
        rows, columns = self.values.shape
        return (-0.5, columns - 0.5, -0.5, rows - 0.5)

    def fraction(self, value: float) -> float:
        """Give how far up the ramp a value is."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def _cell(self, viewport: Viewport, row: int, column: int) -> QRectF:
        left, right = float(viewport.x(column - 0.5)), float(viewport.x(column + 0.5))
        top, bottom = float(viewport.y(row - 0.5)), float(viewport.y(row + 0.5))
        return QRectF(QPointF(min(left, right), min(top, bottom)), QPointF(max(left, right), max(top, bottom)))

    def paint(self, canvas: Canvas) -> None:
        painter, viewport = canvas.painter, canvas.viewport
        rows, columns = self.values.shape
        sample = self._cell(viewport, 0, 0)
        small = min(sample.width(), sample.height()) < 8
        gap = 0.0 if small else 1.0
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, not small)
        painter.setPen(Qt.PenStyle.NoPen)
        writes = not small and (bool(self.mark.texts) or self._fits(sample.width(), sample.height()))
        letters = font(self._type_size(sample.width(), sample.height()))
        metrics = QFontMetricsF(letters)
        painter.setFont(letters)
        first_row, last_row = sorted((viewport.y_at(0.0), viewport.y_at(viewport.height)))
        first_column, last_column = sorted((viewport.x_at(0.0), viewport.x_at(viewport.width)))
        for row in range(max(round(first_row), 0), min(round(last_row), rows - 1) + 1):
            for column in range(max(round(first_column), 0), min(round(last_column), columns - 1) + 1):
                value = self.values[row, column]
                if not math.isfinite(value):
                    continue
                ground = canvas.theme.ramp(self.mark.ramp, self.fraction(float(value)))
                dimmed = self.bright is not None and not self.bright[row * columns + column]
                cell = self._cell(viewport, row, column).adjusted(gap, gap, -gap, -gap)
                painter.setOpacity(DIMMED if dimmed else 1.0)
                painter.setBrush(QColor(ground))
                painter.setPen(Qt.PenStyle.NoPen)
                if small:
                    painter.fillRect(cell.adjusted(0, 0, 0.6, 0.6), QColor(ground))
                else:
                    painter.drawRoundedRect(cell, 2, 2)
                text = self.texts[row][column] if writes else ""
                lines = text.split("\n")
                if (
                    text
                    and max(map(metrics.horizontalAdvance, lines)) + 4 <= cell.width()
                    and metrics.height() * len(lines) <= cell.height()
                ):
                    painter.setPen(QColor(canvas.theme.ink_on(ground)))
                    painter.drawText(cell, Qt.AlignmentFlag.AlignCenter, text)
        painter.setOpacity(1.0)

    def hit(self, viewport: Viewport, px: float, py: float, reach: float) -> tuple[int, float] | None:
        rows, columns = self.values.shape
        row, column = round(viewport.y_at(py)), round(viewport.x_at(px))
        if not (0 <= row < rows and 0 <= column < columns):
            return None
        return row * columns + column, 2.0

    def inside(self, viewport: Viewport, area: QRectF) -> list[int]:
        rows, columns = self.values.shape
        x = viewport.x(np.tile(np.arange(columns), rows))
        y = viewport.y(np.repeat(np.arange(rows), columns))
        return _within(x, y, area)

    def covered(self, viewport: Viewport) -> np.ndarray:
        x, y = np.meshgrid(np.linspace(0, viewport.width, 40), np.linspace(0, viewport.height, 40))
        return np.stack([x.ravel(), y.ravel()], axis=1)

    def outline(self, viewport: Viewport, element: int) -> QRectF:
        return self._cell(viewport, *divmod(element, self.values.shape[1]))

    def note(self, element: int) -> str:
        row, column = divmod(element, self.values.shape[1])
        value = float(self.values[row, column])
        text = (
            self.mark.texts[row][column].replace("\n", " ")
            if self.mark.texts and self.mark.texts[row][column]
            else number(value)
        )
        names = f"{_nth(self.mark.rows, row)}  →  {_nth(self.mark.columns, column)}"
        return f"{names}\n{self.mark.label}\t{text}" if self.mark.label else f"{names}\n{text}"


class _RuleDrawing(Drawing[Rule]):
    """A straight line across the panel."""

    layer = 3

    def extent(self, window: Window | None = None) -> Box:
        if self.mark.axis == "diagonal":
            return super().extent(window)
        axis = self.x_axis if self.mark.axis == "x" else self.y_axis
        at = float(to_axis(np.array([self.mark.at]), axis.scale)[0])
        return (at, at, math.nan, math.nan) if self.mark.axis == "x" else (math.nan, math.nan, at, at)

    def _line(self, viewport: Viewport) -> QPolygonF | None:
        mark = self.mark
        if mark.axis == "x":
            at = float(viewport.x(to_axis(np.array([mark.at]), self.x_axis.scale))[0])
            ends = ((at, 0.0), (at, viewport.height))
        elif mark.axis == "y":
            at = float(viewport.y(to_axis(np.array([mark.at]), self.y_axis.scale))[0])
            ends = ((0.0, at), (viewport.width, at))
        elif self.x_axis.scale == self.y_axis.scale:
            low, high = max(viewport.left, viewport.bottom), min(viewport.right, viewport.top)
            if low >= high:
                return None
            x, y = viewport.x([low, high]), viewport.y([low, high])
            ends = ((float(x[0]), float(y[0])), (float(x[1]), float(y[1])))
        else:
            along = np.linspace(viewport.left, viewport.right, 200)
            data = np.array([to_data(float(value), self.x_axis.scale) for value in along])
            y = viewport.y(to_axis(data, self.y_axis.scale))
            there = np.isfinite(y)
            return polygon(viewport.x(along)[there], np.clip(y[there], -20000, 20000))
        if not all(math.isfinite(value) and abs(value) < 20000 for end in ends for value in end):
            return None
        return QPolygonF([QPointF(*end) for end in ends])

    def paint(self, canvas: Canvas) -> None:
        line = self._line(canvas.viewport)
        if line is None or line.isEmpty():
            return
        pen = QPen(canvas.colour(self.mark.hue), self.mark.width)
        pattern = canvas.theme.pattern(self.mark.dash)
        if pattern:
            pen.setDashPattern(list(pattern))
            pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        canvas.painter.setRenderHint(QPainter.RenderHint.Antialiasing, self.mark.axis == "diagonal")
        canvas.painter.setPen(pen)
        canvas.painter.drawPolyline(line)

    def covered(self, viewport: Viewport) -> np.ndarray:
        line = self._line(viewport)
        if line is None or line.size() < 2:
            return np.zeros((0, 2))
        first, last = line.at(0), line.at(line.size() - 1)
        shares = np.linspace(0, 1, 100)
        x, y = first.x() + (last.x() - first.x()) * shares, first.y() + (last.y() - first.y()) * shares
        return np.stack([x, y], axis=1)

    def write(self, canvas: Canvas) -> None:
        """Write the label beside the line, where along it the label hides least."""
        line = self._line(canvas.viewport) if self.mark.label else None
        if line is None or line.isEmpty():
            return
        letters = font(TICK)
        metrics = QFontMetricsF(letters)
        places = self._places(canvas.viewport, line, metrics.horizontalAdvance(self.mark.label) + 4, metrics.height())
        free = [one for one in places if canvas.is_free(one)]
        if not free:
            return
        own = self.covered(canvas.viewport)
        hidden = []
        for one in free:
            area = one.adjusted(-2, -2, 2, 2)
            hidden.append(
                len(_within(canvas.covered[:, 0], canvas.covered[:, 1], area))
                - len(_within(own[:, 0], own[:, 1], area))
            )
        least = min(hidden)
        chosen = free[hidden.index(least)]
        if least > 0:
            canvas.painter.setPen(Qt.PenStyle.NoPen)
            canvas.painter.setBrush(canvas.colour("panel", 0.8))
            canvas.painter.drawRoundedRect(chosen, 2, 2)
        canvas.painter.setFont(letters)
        canvas.painter.setPen(canvas.colour(self.mark.hue))
        canvas.write(chosen, self.mark.label)

    def _places(self, viewport: Viewport, line: QPolygonF, width: float, height: float) -> list[QRectF]:
        """Give places for a label of a size on both sides of the line, the best first."""
        shares = (0.0, 1.0, 0.25, 0.5, 0.75)
        if self.mark.axis == "x":
            at, room = line.at(0).x(), viewport.height - height - 6
            return [
                QRectF(left, 3 + room * share, width, height) for share in shares for left in (at + 3, at - 3 - width)
            ]
        if self.mark.axis == "y":
            at, room = line.at(0).y(), viewport.width - width - 4
            return [
                QRectF(2 + room * (1 - share), top, width, height)
                for share in shares
                for top in (at - height - 1, at + 1)
            ]
        places = []
        for share in (0.94, 0.06, 0.75, 0.25, 0.5):
            point = line.at(round(share * (line.size() - 1))) if line.size() > 2 else None
            if point is None:
                first, last = line.at(0), line.at(1)
                point = first + (last - first) * share
            # Below a line that rises a text stands to its right, above it to its left; one that falls the other way about.
            falls = line.at(line.size() - 1).y() > line.at(0).y()
            right, left = point.x() + 5, point.x() - 5 - width
            below, above = (left, right) if falls else (right, left)
            places += [
                QRectF(below, point.y() + 2, width, height),
                QRectF(above, point.y() - 2 - height, width, height),
            ]
        return places

    def hit(self, viewport: Viewport, px: float, py: float, reach: float) -> tuple[int, float] | None:
        line = self._line(viewport)
        if not self.mark.option or line is None or self.mark.axis == "diagonal":
            return None
        away = abs(line.at(0).x() - px) if self.mark.axis == "x" else abs(line.at(0).y() - py)
        return (0, away) if away <= min(reach, 5.0) else None

    def note(self, element: int) -> str:
        axis = self.x_axis if self.mark.axis == "x" else self.y_axis
        return f"{self.mark.label or axis.label}\t{place(self.mark.at, axis)}"


class _TextDrawing(Drawing[Text]):
    """A few words at a place."""

    layer = 6

    def extent(self, window: Window | None = None) -> Box:
        if self.mark.inside:
            return super().extent(window)
        x, y = np.array([self.mark.x]), np.array([self.mark.y])
        return _box(to_axis(x, self.x_axis.scale), to_axis(y, self.y_axis.scale), window=window)

    def paint(self, canvas: Canvas) -> None:
        mark, viewport = self.mark, canvas.viewport
        if mark.inside:
            px, py = mark.x * viewport.width, (1 - mark.y) * viewport.height
        else:
            px = float(viewport.x(to_axis(np.array([mark.x]), self.x_axis.scale))[0])
            py = float(viewport.y(to_axis(np.array([mark.y]), self.y_axis.scale))[0])
            if not (0 <= px <= viewport.width and 0 <= py <= viewport.height):
                return
        letters = font(TICK * mark.size * 1.05)
        metrics = QFontMetricsF(letters)
        lines = mark.text.split("\n")
        width = max(map(metrics.horizontalAdvance, lines)) + 4
        height = metrics.height() * len(lines)
        shift = {"left": 0.0, "center": -width / 2, "right": -width}[mark.align]
        canvas.painter.setFont(letters)
        canvas.painter.setPen(canvas.colour(mark.hue))
        rectangle = self._free_place(canvas, QRectF(px + shift, py - height / 2, width, height))
        if rectangle is not None:
            canvas.taken.append(rectangle)
            side = _SIDES[mark.align] | Qt.AlignmentFlag.AlignVCenter
            canvas.painter.drawText(rectangle.adjusted(2, 0, -2, 0), side, mark.text)

    def _free_place(self, canvas: Canvas, wanted: QRectF) -> QRectF | None:
        """Give the place nearest to the one wanted that covers no other text and, if there is one, no data.

        A text that leads out of the panel is moved in; one wider than the panel has no place.
        """
        viewport = canvas.viewport
        steps = (0.0,) if self.mark.inside else (0.0, -0.7, 0.7, -1.4, 1.4, -2.1, 2.1, -2.8, 2.8, -3.5, 3.5)
        fitting = []
        for step in steps:
            placed = wanted.translated(0, step * wanted.height())
            placed.moveLeft(min(max(placed.left(), 2.0), viewport.width - placed.width() - 2))
            placed.moveTop(min(max(placed.top(), 1.0), viewport.height - placed.height() - 1))
            inside = QRectF(0, 0, viewport.width, viewport.height).contains(placed)
            if inside and not any(placed.intersects(other) for other in canvas.taken):
                fitting.append(placed)
        if not fitting:
            return None
        # The first of those that cover least: free ones cover nothing.
        areas = [placed.adjusted(-3, -2, 3, 2) for placed in fitting]
        hidden = [len(_within(canvas.covered[:, 0], canvas.covered[:, 1], area)) for area in areas]
        return fitting[hidden.index(min(hidden))]


class _EdgeDrawing(Drawing[EdgeMarks]):
    """Small triangles at the edge, where values cannot be drawn."""

    layer = 5

    def __init__(self, mark: EdgeMarks, x: Axis, y: Axis) -> None:
        super().__init__(mark, x, y)
        self.at_x = to_axis(mark.x, x.scale)

    @property
    def elements(self) -> int:
        return len(self.at_x)

    def extent(self, window: Window | None = None) -> Box:
        finite = self.at_x[np.isfinite(self.at_x)]
        if not len(finite):
            return (math.nan,) * 4
        return (float(finite.min()), float(finite.max()), math.nan, math.nan)

    def paint(self, canvas: Canvas) -> None:
        px = canvas.viewport.x(self.at_x)
        px = px[np.isfinite(px) & (px >= -6) & (px <= canvas.viewport.width + 6)]
        top = self.mark.edge == "top"
        base, tip = (7.0, 1.0) if top else (canvas.viewport.height - 7.0, canvas.viewport.height - 1.0)
        canvas.painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        canvas.painter.setPen(Qt.PenStyle.NoPen)
        canvas.painter.setBrush(canvas.colour(self.mark.hue, self._opacity(1.0)))
        for x in np.unique(np.round(px)).tolist():
            canvas.painter.drawPolygon(QPolygonF([QPointF(x - 4, base), QPointF(x + 4, base), QPointF(x, tip)]))

    def hit(self, viewport: Viewport, px: float, py: float, reach: float) -> tuple[int, float] | None:
        away_y = py if self.mark.edge == "top" else viewport.height - py
        if away_y > 10 or not len(self.at_x):
            return None
        away = np.abs(viewport.x(self.at_x) - px)
        if np.isnan(away).all():
            return None
        nearest = int(np.nanargmin(away))
        return (nearest, float(away[nearest])) if away[nearest] <= 5 else None

    def inside(self, viewport: Viewport, area: QRectF) -> list[int]:
        px = viewport.x(self.at_x)
        edge = 3.0 if self.mark.edge == "top" else viewport.height - 3.0
        return _within(px, np.full(len(px), edge), area)

    def note(self, element: int) -> str:
        if self.mark.notes:
            return self.mark.notes[element]
        return f"{self.mark.what}\t{self.x_axis.label} {place(float(self.mark.x[element]), self.x_axis)}"


_KINDS: dict[type, type[Drawing[Any]]] = {
    Points: _PointsDrawing,
    Band: _BandDrawing,
    Bars: _BarsDrawing,
    Cells: _CellsDrawing,
    Rule: _RuleDrawing,
    Text: _TextDrawing,
    EdgeMarks: _EdgeDrawing,
}


_SIDES = {
    "left": Qt.AlignmentFlag.AlignLeft,
    "center": Qt.AlignmentFlag.AlignHCenter,
    "right": Qt.AlignmentFlag.AlignRight,
}


def drawing(mark: Mark, x: Axis, y: Axis) -> Drawing[Any]:
    """Give the drawing of a mark that is no line."""
    return _KINDS[type(mark)](mark, x, y)


def line_extent(line: ZoomableLine, window: Window | None = None) -> Box:
    """Give the box around a line, or around what of it lies in a window of x, in axis units."""
    return _box(line.x, line.pyramid.y, window=window)


def symbol_path(symbol: str, size: float) -> QPainterPath:
    """Give the outline of a symbol around the origin; symbols of one size look equally large."""
    r = size / 2
    path = QPainterPath()
    if symbol == "circle":
        path.addEllipse(QPointF(0, 0), r, r)
    elif symbol == "square":
        path.addRect(QRectF(-0.88 * r, -0.88 * r, 1.76 * r, 1.76 * r))
    elif symbol == "cross":
        for sign in (1, -1):
            path.moveTo(-0.8 * r, -0.8 * r * sign)
            path.lineTo(0.8 * r, 0.8 * r * sign)
    elif symbol == "star":
        corners = [
            QPointF(
                (1.35 if n % 2 == 0 else 0.56) * r * math.sin(n * math.pi / 5),
                -(1.35 if n % 2 == 0 else 0.56) * r * math.cos(n * math.pi / 5),
            )
            for n in range(10)
        ]
        path.addPolygon(QPolygonF(corners))
        path.closeSubpath()
    else:
        shapes = {
            "triangle": ((0, -1.15), (1.05, 0.75), (-1.05, 0.75)),
            "triangle_down": ((0, 1.15), (1.05, -0.75), (-1.05, -0.75)),
            "diamond": ((0, -1.25), (1.05, 0), (0, 1.25), (-1.05, 0)),
        }
        path.addPolygon(QPolygonF([QPointF(a * r, b * r) for a, b in shapes[symbol]]))
        path.closeSubpath()
    return path


def _within(px: np.ndarray, py: np.ndarray, area: QRectF) -> list[int]:
    there = (px >= area.left()) & (px <= area.right()) & (py >= area.top()) & (py <= area.bottom())
    return [int(i) for i in np.flatnonzero(there)]


def _nth(names: tuple[str, ...], index: int) -> str:
    return names[index] if index < len(names) else str(index)
