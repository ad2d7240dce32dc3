"""Few points that draw the same line as many.

A line is drawn on so many columns of pixels (or of print dots). Within a column it shows as a vertical stroke from its
smallest to its largest value, entered at its first and left at its last point; so these four points of each column draw what
all of them would (Jugel et al., "M4", VLDB 2014). No spike is lost, and every point kept is a real one.

`decimated` does it once. `ZoomableLine` keeps a `MinMaxPyramid`, so that drawing again after each zoom looks at about
``2 * columns * sqrt(points per column)`` values instead of all. Where only the strokes matter and not the points, it gives
`samples`, from which a kernel reads the strokes of many lines at once.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..models.kernels.strokes import BLOCKS_IN_A_COLUMN, Samples, block_extremes

Indices = NDArray[np.intp]

_BLOCKS = (16, 64, 256, 1024, 4096)
"""Numbers of points whose extremes a pyramid remembers."""

_WORTH_A_PYRAMID = 256
"""Points in a range from which on reading blocks is quicker than reading points."""

_ALWAYS_DRAWN = 4
"""Points in a column that are not worth thinning out: as many would be kept."""

_SMALLEST_BLOCK, _GROWTH = 8, 4
"""Points of the smallest blocks whose extreme values are kept, and how many of these make one of the next size."""

_AT_ONCE = 1 << 20
"""Points looked at in one go: a few milliseconds."""

_SAME_STEP = 1e-6
"""Share of a step by which points may be off and still count as evenly spaced."""


class Places:
    """Where points are along x, and how: rising, or even evenly spaced. Lines may share them.

    Parameters
    ----------
    x : ndarray, shape (n,)
        Not copied, and not to be changed afterwards.
    before : Places, optional
        Those of the first points of `x`, so that only the rest is looked at.
    """

    def __init__(self, x: np.ndarray, before: Places | None = None) -> None:
        self.x = np.asarray(x)
        n = len(self.x)
        self._checked, self._rises = 1, not (n == 1 and bool(np.isnan(self.x[0])))
        step = (float(self.x[-1]) - float(self.x[0])) / (n - 1) if n > 1 else 0.0
        self.step = step if 0.0 < step < math.inf else 0.0
        if before is not None and len(before.x) > 1:
            self._checked, self._rises = before._checked, before._rises
            # The step was another by a rounding error only, if it is still one.
            same = before.step > 0 and abs(self.step - before.step) * n <= _SAME_STEP * before.step
            self.step = self.step if same else 0.0

    @property
    def start(self) -> float:
        """The first x."""
        return float(self.x[0])

    @property
    def is_known(self) -> bool:
        """Whether all points were looked at."""
        return self._checked >= len(self.x)

    def look(self, points: int) -> None:
        """Look at some more points."""
        n, first = len(self.x), self._checked
        last = self._checked = min(first + points, n)
        part = self.x[first - 1 : last]
        if last <= first:
            return
        if self.step > 0:
            even = self.start + np.arange(first - 1, last) * self.step
            if np.abs(part - even).max() <= _SAME_STEP * self.step:
                return
            self.step = 0.0
        # What was evenly spaced before rises.
        self._rises = self._rises and bool(np.all(part[1:] >= part[:-1]))

    @property
    def is_sorted(self) -> bool:
        """Whether x never falls and has no NaN."""
        while not self.is_known:
            self.look(_AT_ONCE)
        return self._rises


class _Blocks:
    """The smallest and the largest value of blocks of a vector, of several sizes, made bit by bit."""

    def __init__(self, y: np.ndarray, before: _Blocks | None = None) -> None:
        self.y = np.ascontiguousarray(y, np.float64)
        # What is kept of a shorter vector: its whole blocks.
        whole = 0 if before is None else before._covered // _SMALLEST_BLOCK
        self._covered: int = whole * _SMALLEST_BLOCK
        self._parts = (
            [] if before is None or not whole else [(low[:whole], high[:whole]) for low, high in before._smallest]
        )
        self._levels: list[tuple[int, np.ndarray, np.ndarray]] = []

    @property
    def _smallest(self) -> list[tuple[np.ndarray, np.ndarray]]:
        if self._levels:
            return [self._levels[0][1:]]
        if len(self._parts) > 1:
            low, high = zip(*self._parts, strict=True)
            self._parts = [(np.concatenate(low), np.concatenate(high))]
        return self._parts

    @property
    def is_whole(self) -> bool:
        return self._covered >= len(self.y)

    def grow(self, points: int) -> None:
        """Cover some more points."""
        first = self._covered
        last = min(first + max(points // _SMALLEST_BLOCK, 1) * _SMALLEST_BLOCK, len(self.y))
        if last > first:
            part = self.y[first:last]
            self._parts.append(block_extremes(part, part, _SMALLEST_BLOCK))
            self._covered = last
            if self.is_whole:
                self._make_levels()

    def _make_levels(self) -> None:
        block, (low, high) = _SMALLEST_BLOCK, self._smallest[0]
        self._levels.append((block, low, high))
        while len(low) > BLOCKS_IN_A_COLUMN * _GROWTH:
            block, (low, high) = block * _GROWTH, block_extremes(low, high, _GROWTH)
            self._levels.append((block, low, high))

    def _finish(self) -> None:
        while not self.is_whole:
            self.grow(_AT_ONCE)
        if not self._levels and self._smallest:  # all of it was in the shorter one
            self._make_levels()

    def extremes(self) -> tuple[float, float]:
        """Give the smallest and the largest finite value; infinite the wrong way round where there is none."""
        self._finish()
        if not self._levels:
            return math.inf, -math.inf
        _, low, high = self._levels[-1]
        return float(low.min()), float(high.max())

    def samples(self, places: Places, points: float) -> Samples:
        """Give what strokes are read from where a column holds so many points; all is covered before if need be."""
        self._finish()
        # A column that has a few points less than the others still reads blocks.
        fitting = [level for level in self._levels if points >= (BLOCKS_IN_A_COLUMN + 1) * level[0]]
        block, low, high = fitting[-1] if fitting else (1, self.y, self.y)
        return Samples(places.x, self.y, places.start, places.step, block, low, high)


class MinMaxPyramid:
    """Where the extremes of blocks of a vector are, so that those of any range are found quickly.

    Values that are not finite are passed over: they are neither the smallest nor the largest of anything.

    Parameters
    ----------
    y : ndarray, shape (n,)
        The values; not copied, and not to be changed afterwards.
    """

    def __init__(self, y: np.ndarray) -> None:
        self.y = np.asarray(y)
        if self.y.dtype.kind != "f":
            self.y = self.y.astype(np.float64)
        self._levels: dict[int, tuple[Indices, Indices]] = {}

    @cached_property
    def _low(self) -> np.ndarray:
        """Values, +inf where they are not finite."""
        finite = np.isfinite(self.y)
        return self.y if finite.all() else np.where(finite, self.y, np.inf)

    @cached_property
    def _high(self) -> np.ndarray:
        """Values, -inf where they are not finite."""
        finite = np.isfinite(self.y)
        return self.y if finite.all() else np.where(finite, self.y, -np.inf)

    def extremes(self, starts: Indices, stops: Indices) -> tuple[Indices, Indices]:
        """Give the indices of the smallest and of the largest value of each range; the first where several are equal.

        Parameters
        ----------
        starts, stops : ndarray of int, shape (m,)
            Ends of the ranges, the second one excluded. No range is empty.

        Returns
        -------
        lowest, highest : ndarray of int, shape (m,)
            Where no value of a range is finite, the index of its first.
        """
        if not len(starts):
            return starts, starts
        points = float(np.mean(stops - starts))
        block = max((size for size in _BLOCKS if size <= np.sqrt(points)), default=_BLOCKS[0])
        if points < _WORTH_A_PYRAMID:
            if np.array_equal(starts[1:], stops[:-1]):
                part = slice(int(starts[0]), int(stops[-1]))
                lengths, offsets = stops - starts, starts - starts[0]
                lowest = _first_extreme(np.minimum, self._low[part], offsets, lengths)
                highest = _first_extreme(np.maximum, self._high[part], offsets, lengths)
                return lowest + starts[0], highest + starts[0]
            here, lengths, offsets = _ranges(starts, stops)
            lowest = _first_extreme(np.minimum, self._low[here], offsets, lengths)
            highest = _first_extreme(np.maximum, self._high[here], offsets, lengths)
            return here[lowest], here[highest]
        return self._through_blocks(starts, stops, block)

    def _through_blocks(self, starts: Indices, stops: Indices, block: int) -> tuple[Indices, Indices]:
        """Read whole blocks by what is remembered of them, and the ends of each range point by point."""
        # Three ranges each: points, blocks, points. A block k counts as n + k, so that all are indices of one long vector.
        n = len(self.y)
        first, last = -(-starts // block), stops // block
        inside = first < last
        first, last = np.where(inside, first, 0), np.where(inside, last, 0)
        begins = np.stack([starts, n + first, np.where(inside, last * block, stops)], axis=1).ravel()
        ends = np.stack([np.where(inside, first * block, stops), n + last, stops], axis=1).ravel()
        here, lengths, _ = _ranges(begins, ends)
        lengths = lengths.reshape(-1, 3).sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        found = []
        is_block = here >= n
        for reduce, values, remembered in zip(
            (np.minimum, np.maximum), (self._low, self._high), self._level(block), strict=True
        ):
            candidates = here.copy()
            candidates[is_block] = remembered[here[is_block] - n]
            found.append(candidates[_first_extreme(reduce, values[candidates], offsets, lengths)])
        return found[0], found[1]

    def _level(self, block: int) -> tuple[Indices, Indices]:
        """Give where the smallest and the largest value of each whole block are."""
        if block not in self._levels:
            whole = len(self.y) // block
            base = np.arange(whole, dtype=np.intp) * block
            self._levels[block] = (
                base + self._low[: whole * block].reshape(whole, block).argmin(axis=1),
                base + self._high[: whole * block].reshape(whole, block).argmax(axis=1),
            )
        return self._levels[block]


class ZoomableLine:
    """A line that is drawn again and again in other windows.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Coordinates as drawn (their logarithms on a log axis); not copied, and not to be changed
        afterwards. x need not be sorted.
    """

    def __init__(self, x: np.ndarray | Places, y: np.ndarray, before: ZoomableLine | None = None) -> None:
        self.places = x if isinstance(x, Places) else Places(x)
        self.x = self.places.x
        self.pyramid = MinMaxPyramid(y)
        self._blocks: _Blocks = _Blocks(self.pyramid.y, None if before is None else before._blocks)

    @property
    def is_sorted(self) -> bool:
        """Whether x never falls and has no NaN."""
        return self.places.is_sorted

    @property
    def is_prepared(self) -> bool:
        """Whether `samples` has nothing to work out that takes long."""
        return self.places.is_known and self._blocks.is_whole

    def prepare(self, points: int = _AT_ONCE) -> None:
        """Work out some more of what `samples` needs."""
        if not self.places.is_known:
            self.places.look(points)
        elif not self._blocks.is_whole:
            self._blocks.grow(points)

    def extended_by(self, x: np.ndarray | Places, y: np.ndarray) -> ZoomableLine:
        """Give a longer line; what was worked out for this one is taken over if the longer one begins with its points."""
        places = x if isinstance(x, Places) else Places(x, self.places if begins_with(x, self.x) else None)
        return ZoomableLine(places, y, self if begins_with(y, self.pyramid.y) else None)

    def points_in_a_column(self, low: float, high: float, columns: float) -> float:
        """Give how many points a column of pixels holds where the line is in a window of x, on average; its x rises.

        Parameters
        ----------
        columns : float
            Columns of pixels between `low` and `high`.
        """
        n, places = len(self.x), self.places
        begin, end = float(self.x[0]), float(self.x[-1])
        if places.step > 0:
            first = min(max(math.ceil((max(low, begin) - begin) / places.step), 0), n)
            last = min(max(math.floor((min(high, end) - begin) / places.step) + 1, 0), n)
        else:
            first, last = int(self.x.searchsorted(low)), int(self.x.searchsorted(high, "right"))
        across = (min(high, end) - max(low, begin)) / (high - low) * columns
        return (last - first) / max(across, 1.0)

    def box(self) -> tuple[float, float, float, float] | None:
        """Give the smallest and largest x and y; None where x does not rise from a finite number to another, or y has none."""
        if not len(self.x) or not self.is_sorted:
            return None
        left, right = float(self.x[0]), float(self.x[-1])
        low, high = self._blocks.extremes()
        return (left, right, low, high) if math.isfinite(left + right) and low <= high else None

    def samples(self, points: float) -> Samples:
        """Give what strokes are read from where a column of pixels holds so many points (`models.kernels.strokes`)."""
        return self._blocks.samples(self.places, points)

    def kept(self, low: float, high: float, columns: int) -> Indices:
        """Give the indices of the points to draw, in order.

        Parameters
        ----------
        low, high : float
            Ends of the window in x. Of a sorted line the next point outside is kept at each side, as the line leads there.
        columns : int
            Columns of pixels between them.
        """
        if not self.is_sorted:
            return self._kept_unsorted(low, high, columns)
        first = max(int(np.searchsorted(self.x, low, "left")) - 1, 0)
        last = min(int(np.searchsorted(self.x, high, "right")) + 1, len(self.x))
        if last - first <= _ALWAYS_DRAWN * columns or not high > low:
            return np.arange(first, last, dtype=np.intp)
        edges = np.searchsorted(self.x[first:last], np.linspace(low, high, columns + 1)[1:-1]) + first
        bounds = np.unique(np.concatenate([[first], edges, [last]]))
        return self._drawing(bounds[:-1], bounds[1:])

    def within(self, low: float, high: float, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Give x and y of the points to draw; see `kept`."""
        kept = self.kept(low, high, columns)
        return self.x[kept], self.pyramid.y[kept]

    def _kept_unsorted(self, low: float, high: float, columns: int) -> Indices:
        """Thin out each stay in a column: a line that comes back to a column draws a stroke there each time."""
        n = len(self.x)
        if n <= _ALWAYS_DRAWN * columns or not high > low:
            return np.arange(n, dtype=np.intp)
        with np.errstate(all="ignore"):
            place = np.clip(np.floor((self.x - low) * (columns / (high - low))), -1, columns)
        place = np.where(np.isnan(place), columns + 1, place)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(place)) + 1])
        return self._drawing(starts, np.append(starts[1:], n))

    def _drawing(self, starts: Indices, stops: Indices) -> Indices:
        lowest, highest = self.pyramid.extremes(starts, stops)
        kept: Indices = np.sort(np.stack([starts, lowest, highest, stops - 1], axis=1), axis=1).ravel()
        distinct: Indices = kept[np.append(True, kept[1:] != kept[:-1])]
        return distinct


def begins_with(longer: np.ndarray, shorter: np.ndarray) -> bool:
    """Whether a vector begins with the very numbers of another; both may hold NaN."""
    n = len(shorter)
    if n > len(longer) or longer.dtype != shorter.dtype:
        return False
    part = longer[:n]
    if (
        n
        and part.__array_interface__["data"][0] == shorter.__array_interface__["data"][0]
        and part.strides == shorter.strides
    ):
        return True
    if part.dtype != np.float64:
        return bool(np.array_equal(part, shorter))
    for some in (slice(-1, None), slice(None)):
        if not np.array_equal(
            np.ascontiguousarray(part[some]).view(np.int64), np.ascontiguousarray(shorter[some]).view(np.int64)
        ):
            return False
    return True


def decimated(x: np.ndarray, y: np.ndarray, low: float, high: float, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the points that draw the line through `x` and `y` between `low` and `high` on so many columns.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Coordinates as drawn (their logarithms on a log axis); x need not be sorted, y may hold NaN, which breaks the line.
    low, high : float
        Ends of the window in x.
    columns : int
        Columns of pixels, or of print dots, between them.

    Returns
    -------
    x, y : ndarray, shape (m,)
        At most four points a column, among them its smallest and its largest value; all are points of the line, in its order.
    """
    return ZoomableLine(x, y).within(low, high, columns)


def _ranges(starts: Indices, stops: Indices) -> tuple[Indices, Indices, Indices]:
    """Give all integers of the ranges in a row, the lengths of the ranges, and where each begins in that row."""
    lengths = np.maximum(stops - starts, 0)
    ends = np.cumsum(lengths)
    offsets = ends - lengths
    return np.arange(ends[-1], dtype=np.intp) + np.repeat(starts - offsets, lengths), lengths, offsets


def _first_extreme(reduce: np.ufunc, values: np.ndarray, offsets: Indices, lengths: Indices) -> Indices:
    """Give the place in `values` of the first extreme of each part; parts follow one another and none is empty."""
    extreme = reduce.reduceat(values, offsets)
    hits = np.flatnonzero(values == np.repeat(extreme, lengths))
    first: Indices = hits[np.searchsorted(hits, offsets)]
    return first
