"""Curves as vertical strokes, one in each column of pixels, and strokes painted into an image.

A curve with several points in a column of pixels shows there as a stroke from its smallest to its largest value. `stroked`
finds these strokes, quickly from the extremes of blocks of points (`block_extremes`), and `painted` paints those of many
curves, later ones over earlier ones.

Where a curve turns back in a column, its stroke covers all between its extremes and half the pen beyond. Where it runs
through, the stroke is as long as a vertical cut through a slanted line of the pen's width; and at an end beyond which the
curve goes on in the next column, it fades over as many pixels as the curve rises, as the edge of a slanted line does.

Numbers of a stroke, 32 bits each: the places of its upper and lower edge (where it covers a pixel half) in 1/256 of a pixel
from the top; how quickly it fades at each (65536: within one pixel; half of that: within two ...); and the share of the column
that the dashes of the curve leave to it, in 1/256; 0 where there is none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from queue import SimpleQueue
from threading import Thread

import numpy as np

from . import accelerator

BLOCKS_IN_A_COLUMN = 4
"""Blocks that a column has at least where it is read by blocks: it may be wrong by half a block at each side."""

NUMBERS = 5
"""Numbers of a stroke."""

_FAR = 20000.0
"""Pixels from the top beyond which nothing is told apart."""

_DASHED = 6.0
"""Pixels a stroke is long, on average, up to which a dashed line shows its dashes."""

_COMPILED_AT_ONCE, _AT_ONCE = 512, 256
"""Curves found and painted at once; compiled, those that later ones hide cost little."""

_THREADS = min(os.cpu_count() or 1, 4)
_WORTH_A_THREAD = 20_000
"""Threads at most, and strokes that each of them should have."""

_TILE = 128
"""Columns whose solid parts numpy paints at once, so that they stay in the processor's cache."""

_NEAR = 16
"""Curves whose strokes numpy finds at once, so that they stay in the processor's cache."""

_TOGETHER = 1 << 16
"""Pixels at the edges of strokes that numpy weighs at once."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the columns of an image are.

    Attributes
    ----------
    count : int
        Columns.
    left : float
        Smallest x of the first column (of the last one if `mirrored`).
    breadth : float
        x that a column spans.
    base, scale, offset : float
        A value y is ``(y - base) * scale + offset`` pixels from the top.
    mirrored : bool
        Whether x falls from the first column to the last.
    """

    count: int
    left: float
    breadth: float
    base: float
    scale: float
    offset: float
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class Samples:
    """A curve as `stroked` reads it.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n,)
        Its points; x never falls. What is not finite in y breaks it.
    start, step : float
        Where ``step > 0``, x is ``start + step * index``, and is not read.
    block : int
        Points of a block; 1 where the points themselves are read.
    low, high : ndarray of float64, shape (ceil(n / block),)
        The extremes of the blocks (see `block_extremes`); y itself where there are none.
    """

    x: np.ndarray
    y: np.ndarray
    start: float
    step: float
    block: int
    low: np.ndarray
    high: np.ndarray


def curves_at_once() -> int:
    """Give how many curves had better be found and painted at once: as many as do not fill the memory that is near."""
    return _COMPILED_AT_ONCE if accelerator() is not None else _AT_ONCE


def block_extremes(low: np.ndarray, high: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the smallest and the largest number of each block.

    Parameters
    ----------
    low, high : ndarray of float64, shape (n,)
        Numbers; the largest are taken from `high`. What is not finite is passed over.
    factor : int
        Numbers in a block; the last one may be shorter.

    Returns
    -------
    lowest, highest : ndarray of float64, shape (ceil(n / factor),)
        +inf and -inf where there is no finite number.

    Raises
    ------
    ValueError
        When the two differ in length, or a block holds no number.
    """
    low, high = np.ascontiguousarray(low, np.float64), np.ascontiguousarray(high, np.float64)
    if len(low) != len(high) or factor < 1:
        raise ValueError("blocks of at least one number, of two arrays of one length")
    count = -(-len(low) // factor)
    if (compiled := accelerator()) is not None:
        lowest, highest = np.empty(count), np.empty(count)
        compiled.block_extremes(low, high, factor, lowest, highest)
        return lowest, highest
    return _reduced(np.minimum, low, factor, np.inf), _reduced(np.maximum, high, factor, -np.inf)


def _reduced(reduce: np.ufunc, values: np.ndarray, factor: int, none: float) -> np.ndarray:
    whole = len(values) // factor
    parts = [reduce.reduce(values[: whole * factor].reshape(whole, factor), axis=1)]
    if whole * factor < len(values):
        parts.append(reduce.reduce(values[whole * factor :], keepdims=True))
    found: np.ndarray = np.concatenate(parts)
    doubtful = np.flatnonzero(~np.isfinite(found))
    if len(doubtful):
        if len(doubtful) * 4 < whole:
            for at in doubtful.tolist():
                part = values[at * factor : (at + 1) * factor]
                found[at] = reduce.reduce(part[np.isfinite(part)], initial=none)
        else:
            finite = np.where(np.isfinite(values), values, none)
            found = reduce.reduceat(finite, np.arange(0, len(values), factor))
    return found


def stroked(
    curves: Sequence[Samples], columns: Columns, widths: Sequence[float], patterns: Sequence[Sequence[float]]
) -> np.ndarray:
    """Give the strokes of curves.

    Parameters
    ----------
    widths : sequence of float
        Pixels of the pen, for each curve.
    patterns : sequence of sequence of float
        Pixels of strokes and gaps of its dashes, for each curve; nothing for a solid one. A curve whose strokes are long on
        average shows no dashes.

    Returns
    -------
    ndarray of int32, shape (curves, 5, columns)
        See the top of the module.
    """
    strokes = np.empty((len(curves), NUMBERS, columns.count), np.int32)
    if (compiled := accelerator()) is not None:
        shared = [columns.left, columns.breadth, columns.base, columns.scale, columns.offset, float(columns.mirrored)]
        own = [(curve.start, curve.step, width, _pixels_of(width)) for curve, width in zip(curves, widths, strict=True)]
        numbers = np.empty((len(curves), len(shared) + 4))
        numbers[:, : len(shared)] = shared
        numbers[:, len(shared) :] = np.array(own, float).reshape(-1, 4)

        def fill(first: int, last: int) -> None:
            known: dict[_Places, tuple[np.ndarray, np.ndarray]] = {}
            given = []
            for index in range(first, last):
                curve, row = curves[index], numbers[index]
                breadth = int(own[index][-1])
                places = _places_of(curve, breadth)
                if (edges := known.get(places)) is None:
                    count = columns.count + breadth
                    edges = known[places] = np.empty(count, np.int64), np.empty(count)
                    compiled.edges(curve.x, len(curve.y), curve.block, row, *edges)
                if len(patterns[index]):
                    row = np.append(row, patterns[index])
                given.append((curve.y, curve.low, curve.high, curve.block, *edges, row))
            compiled.stroked(given, strokes[first:last])

        _shared_out(fill, len(curves), len(curves) * columns.count)
        return strokes

    def fill_by_numpy(first: int, last: int) -> None:
        known: dict[_Places, _Edges] = {}
        for start in range(first, last, _NEAR):
            part = slice(start, min(start + _NEAR, last))
            strokes[part] = _stroked(curves[part], columns, widths[part], patterns[part], known)

    _shared_out(fill_by_numpy, len(curves), len(curves) * columns.count)
    return strokes


_Places = tuple[int, float, float, int, int, int]


def _places_of(curve: Samples, breadth: int) -> _Places:
    """Give what the places of the columns among its points depend on, as far as curves of one figure differ in it."""
    return (0 if curve.step > 0 else id(curve.x), curve.start, curve.step, len(curve.y), curve.block, breadth)


def _stroked(
    curves: Sequence[Samples],
    columns: Columns,
    widths: Sequence[float],
    patterns: Sequence[Sequence[float]],
    known: dict[_Places, _Edges],
) -> np.ndarray:
    strokes = np.empty((len(curves), NUMBERS, columns.count), np.int32)
    breadths = np.array([_pixels_of(width) for width in widths], np.intp)
    for breadth in np.unique(breadths).tolist():
        rows = np.flatnonzero(breadths == breadth)
        parts = [_extremes_by_column(curves[row], columns, breadth, known) for row in rows.tolist()]
        lowest, highest, ends = (np.stack(part) for part in zip(*parts, strict=True))
        strokes[rows] = _strokes(
            lowest,
            highest,
            ends,
            columns,
            np.array([widths[row] for row in rows.tolist()], float)[:, None],
            breadth,
            [patterns[row] for row in rows.tolist()],
        )
    return strokes


def _pixels_of(width: float) -> int:
    """Give the whole pixels that a pen is broad."""
    return max(math.floor(width + 0.5), 1)


def _shared_out(work: Callable[[int, int], None], count: int, strokes: int) -> None:
    """Do `work` on all of 0 ... count, by several threads where there are many strokes: both twins let others run."""
    threads = min(_THREADS, strokes // _WORTH_A_THREAD, count)
    if threads < 2:
        work(0, count)
        return
    edges = [count * number // threads for number in range(threads + 1)]
    answers: SimpleQueue[BaseException | None] = SimpleQueue()
    for start, stop in pairwise(edges[1:]):
        _jobs().put((work, start, stop, answers))
    try:
        work(0, edges[1])
    finally:
        errors = [answers.get() for _ in range(threads - 1)]
    for error in errors:
        if error is not None:
            raise error


_Job = tuple[Callable[[int, int], None], int, int, "SimpleQueue[BaseException | None]"]


@cache
def _jobs() -> SimpleQueue[_Job]:
    """Give the queue of threads that end with the process."""
    jobs: SimpleQueue[_Job] = SimpleQueue()

    def serve() -> None:
        while True:
            work, start, stop, answers = jobs.get()
            try:
                work(start, stop)
            except BaseException as error:
                answers.put(error)
            else:
                answers.put(None)

    for number in range(_THREADS - 1):
        Thread(target=serve, name=f"strokes-{number}", daemon=True).start()
    return jobs


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Columns whose points, or blocks, follow one another without a gap: they are reduced at once."""

    columns: np.ndarray | slice
    first: int
    last: int
    offsets: np.ndarray

    def reduced(self, reduce: np.ufunc, values: np.ndarray, none: float) -> np.ndarray:
        """Give the smallest, or largest, of each column; `none` stands in for what is not finite."""
        part = values[self.first : self.last]
        found: np.ndarray = reduce.reduceat(part, self.offsets)
        if not np.isfinite(found).all():
            found = reduce.reduceat(np.where(np.isfinite(part), part, none), self.offsets)
        return found


def _ranges(columns: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> list[_Ranges]:
    if not len(columns):
        return []
    breaks = np.flatnonzero(starts[columns[1:]] != stops[columns[:-1]]) + 1
    found = []
    for run in np.split(columns, breaks):
        left, right = int(run[0]), int(run[-1])
        # A slice is written faster.
        places = slice(left, right + 1) if right - left + 1 == len(run) else run
        found.append(_Ranges(places, int(starts[left]), int(stops[right]), starts[run] - starts[left]))
    return found


@dataclass(frozen=True, slots=True)
class _Edges:
    """What is alike for curves of one rhythm: where their columns begin. There is one edge more than columns.

    Attributes
    ----------
    blocks, points : list of _Ranges
        Which columns are read by blocks, and which point by point.
    shares : ndarray of float64
        How far from the point before an edge to that behind it the edge is.
    exact, behind : ndarray of int
        Edges within the curve that stay where they are, and the points behind these.
    rounded, block_behind : ndarray of int
        Edges that were moved to the next block, and the blocks behind these.
    """

    blocks: list[_Ranges]
    points: list[_Ranges]
    shares: np.ndarray
    exact: np.ndarray
    behind: np.ndarray
    rounded: np.ndarray
    block_behind: np.ndarray


def _edges(curve: Samples, columns: Columns, breadth: int) -> _Edges:
    n, block = len(curve.y), curve.block
    edges = columns.left + (np.arange(columns.count + breadth) - (breadth - 1) / 2) * columns.breadth
    if curve.step > 0:
        at = np.clip(np.ceil((edges - curve.start) / curve.step), 0, n).astype(np.intp)
    else:
        at = np.searchsorted(curve.x, edges)
    right = np.where((at > 0) & (at < n), at, min(1, n - 1))
    left = np.maximum(right - 1, 0)
    if curve.step > 0:
        from_, to = curve.start + left * curve.step, curve.start + right * curve.step
    else:
        from_, to = curve.x[left], curve.x[right]
    with np.errstate(all="ignore"):
        shares = np.clip((edges - from_) / (to - from_), 0.0, 1.0)
    rounded = np.zeros(len(at), bool)
    if block > 1:
        many = np.diff(at) >= BLOCKS_IN_A_COLUMN * block
        rounded = np.append(True, many) & np.append(many, True) & (at > 0) & (at < n)
        at = np.where(rounded, np.minimum((at + block // 2) // block * block, n), at)
        # A line that rises or falls from block to block is there half way between the two; no other gets wrong.
        shares[rounded] = 0.5
    starts, stops = at[:-1], at[1:]
    aligned = (at % block == 0) | (at == n)
    there = stops > starts
    by_block = there & aligned[:-1] & aligned[1:] & (block > 1)
    inside = (at > 0) & (at < n)
    exact, rounded = np.flatnonzero(inside & ~rounded), np.flatnonzero(inside & rounded)
    return _Edges(
        blocks=_ranges(np.flatnonzero(by_block), starts // block, -(-stops // block)),
        points=_ranges(np.flatnonzero(there & ~by_block), starts, stops),
        shares=shares,
        exact=exact,
        behind=at[exact],
        rounded=rounded,
        block_behind=at[rounded] // block,
    )


def _extremes_by_column(
    curve: Samples, columns: Columns, breadth: int, known: dict[_Places, _Edges]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the smallest and largest value in each column, as many more as the pen is broad, and the value at each edge."""
    count = columns.count + breadth - 1
    lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
    if not len(curve.y):
        return lowest, highest, np.full(count + 1, np.nan)
    places = _places_of(curve, breadth)
    if (edges := known.get(places)) is None:
        edges = known[places] = _edges(curve, columns, breadth)
    for ranges, low, high in ((edges.blocks, curve.low, curve.high), (edges.points, curve.y, curve.y)):
        for some in ranges:
            lowest[some.columns] = some.reduced(np.minimum, low, np.inf)
            highest[some.columns] = some.reduced(np.maximum, high, -np.inf)
    before, behind = np.full((2, count + 1), np.nan)
    before[edges.exact], behind[edges.exact] = curve.y[edges.behind - 1], curve.y[edges.behind]
    if len(edges.rounded):
        block = edges.block_behind
        before[edges.rounded] = np.maximum(curve.low[block - 1], curve.low[block])
        behind[edges.rounded] = np.minimum(curve.high[block - 1], curve.high[block])
    with np.errstate(all="ignore"):
        ends = before + edges.shares * (behind - before)
    ends[~(np.isfinite(before) & np.isfinite(behind) & np.isfinite(ends))] = np.nan
    return lowest, highest, ends


def _strokes(
    lowest: np.ndarray,
    highest: np.ndarray,
    ends: np.ndarray,
    columns: Columns,
    width: np.ndarray,
    breadth: int,
    patterns: Sequence[Sequence[float]],
) -> np.ndarray:
    """Turn extremes of columns, shape (curves, columns + breadth - 1), into strokes."""
    count = columns.count
    with np.errstate(all="ignore"):
        ends = (ends - columns.base) * columns.scale + columns.offset
        one, other = ((part - columns.base) * columns.scale + columns.offset for part in (lowest, highest))
    there = highest >= lowest
    top = np.where(there, np.fmin(one, other), np.inf)
    bottom = np.where(there, np.fmax(one, other), -np.inf)
    top, bottom = (
        np.fmin(np.fmin(top, ends[:, :-1]), ends[:, 1:]),
        np.fmax(np.fmax(bottom, ends[:, :-1]), ends[:, 1:]),
    )
    top, bottom = np.clip(top, -_FAR, _FAR), np.clip(bottom, -_FAR, _FAR)
    ends = np.clip(ends, -_FAR, _FAR)
    # A pen two pixels broad shows in a column what the line does in two.
    highest_edge, lowest_edge = top[:, :count], bottom[:, :count]
    for more in range(1, breadth):
        highest_edge = np.minimum(highest_edge, top[:, more : more + count])
        lowest_edge = np.maximum(lowest_edge, bottom[:, more : more + count])
    seen = lowest_edge >= highest_edge
    size = np.where(seen, lowest_edge - highest_edge, 0.0)
    rise = np.abs(ends[:, breadth:] - ends[:, :count])
    rise = np.where(rise >= 0.0, rise, 0.0)
    with np.errstate(all="ignore"):
        straight = np.where(size > 0.0, np.maximum(2.0 * rise - size, 0.0) / size, 1.0)
    slope = rise / breadth
    middle = (highest_edge + lowest_edge) / 2
    made = np.zeros((len(top), NUMBERS, count), np.int32)
    for number, sign, edge in ((0, 1.0, highest_edge), (1, -1.0, -lowest_edge)):
        # How far the curve goes on beyond this end beside the column.
        beside = np.full((len(edge), count + 2), np.inf)
        beside[:, 1:-1] = edge
        beyond = np.maximum(edge - np.minimum(beside[:, :-2], beside[:, 2:]), 0.0)
        with np.errstate(all="ignore"):
            through = straight * np.where(2.0 * beyond < slope, 2.0 * beyond / slope, 1.0)
        length = through * (width * np.sqrt(1.0 + slope * slope)) + (1.0 - through) * (size + width)
        made[:, number] = np.floor(np.clip(middle - sign * (length / 2), -_FAR, _FAR) * 256.0 + 0.5)
        made[:, number + 2] = np.floor(65536.0 / np.maximum(through * slope, 1.0) + 0.5)
    made[:, 4] = np.where(seen, 256, 0)
    for row, pattern in enumerate(patterns):
        if len(pattern):
            middle_ends = ends[row, (breadth - 1) // 2 :][: count + 1]
            share = _dashed(size[row], seen[row], middle_ends, np.asarray(pattern, float))
            made[row, 4] = np.where(seen[row], share, 0)
    return made[:, :, ::-1] if columns.mirrored else made


def _dashed(size: np.ndarray, seen: np.ndarray, ends: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Give the share, in 1/256, of each column that dashes leave to a line."""
    columns = np.cumsum(seen)[-1]
    # Sums one by one, as the compiled twin takes them.
    if not pattern.sum() > 0 or np.cumsum(size)[-1] > _DASHED * columns:
        return np.full(len(size), 256)
    rise = np.abs(np.diff(ends))
    rise = np.where(rise >= 0.0, rise, 0.0)
    lengths = np.where(seen, np.sqrt(1.0 + rise * rise), 0.0)
    travelled = np.concatenate([[0.0], np.cumsum(lengths)])
    whole = np.cumsum(pattern)[-1]
    begins = np.cumsum(pattern) - pattern
    drawn = np.cumsum(pattern[::2])[-1]
    rounds = np.floor(travelled / whole)
    rest = travelled - rounds * whole
    inked = rounds * drawn
    for begin, length in zip(begins[::2].tolist(), pattern[::2].tolist(), strict=True):
        inked = inked + np.clip(rest - begin, 0.0, length)
    with np.errstate(all="ignore"):
        share: np.ndarray = np.floor(np.diff(inked) / lengths * 256.0 + 0.5)
    return np.where(seen, np.clip(share, 0.0, 256.0), 0.0)


def painted(image: np.ndarray, strokes: np.ndarray, colours: np.ndarray, first: int, last: int) -> None:
    """Paint the strokes of curves over an image, later curves over earlier ones.

    Parameters
    ----------
    image : ndarray of uint32, shape (rows, columns)
        Its pixels, four bytes each; each byte is blended alike. Changed in place.
    strokes : ndarray of int32, shape (curves, 5, columns)
        From `stroked`.
    colours : ndarray of uint32, shape (curves,)
        Opaque colours.
    first, last : int
        Columns to paint; `last` is not.

    Raises
    ------
    ValueError
        When shapes do not fit or there are no such columns.
    """
    strokes, colours = np.ascontiguousarray(strokes, np.int32), np.ascontiguousarray(colours, np.uint32)
    columns = image.shape[1]
    if strokes.shape != (len(colours), NUMBERS, columns) or not 0 <= first <= last <= columns:
        raise ValueError("one colour for each curve, and one stroke for each column of the image")
    if (compiled := accelerator()) is not None:
        _shared_out(
            lambda start, stop: compiled.painted(image, columns, strokes, colours, first + start, first + stop),
            last - first,
            len(colours) * (last - first),
        )
        return

    def paint_by_numpy(start: int, stop: int) -> None:
        part = slice(first + start, first + stop)
        made = np.ascontiguousarray(image[:, part].T)
        _paint(made, strokes[:, :, part], colours)
        image[:, part] = made.T

    _shared_out(paint_by_numpy, last - first, len(colours) * (last - first))


def _paint(image: np.ndarray, strokes: np.ndarray, colours: np.ndarray) -> None:
    """Paint strokes into an image of shape (columns, rows)."""
    columns, rows = image.shape
    top, bottom, share = strokes[:, 0], strokes[:, 1], np.minimum(strokes[:, 4], 256)
    # At the middle of row r the upper edge covers 128 + ((256 r + 128 - top) * fading >> 16), cut to 0 ... 256.
    reach_up, fill_up, reach, fill = (
        number
        for fading in (np.maximum(strokes[:, 2], 1), np.maximum(strokes[:, 3], 1))
        for number in ((127 << 16) // fading, -(-(128 << 16) // fading))
    )
    begins = np.clip((top - reach_up + 127) >> 8, 0, rows)
    full = np.clip((top + fill_up + 127) >> 8, 0, rows)
    emptied = np.clip(((bottom - fill - 128) >> 8) + 1, 0, rows)
    ends = np.where(share > 0, np.clip(((bottom + reach - 128) >> 8) + 1, 0, rows), 0)
    solid = (share == 256) & (emptied > full)
    highest = np.empty((columns, rows), np.uint16)
    for start in range(0, columns, _TILE):
        tile = slice(start, start + _TILE)
        highest[tile] = _topmost(full[:, tile], emptied[:, tile], solid[:, tile], rows)
    np.copyto(image, np.append(np.uint32(0), colours)[highest], where=highest > 0)
    # What is left of a stroke: all of it, or what is above and below its solid part.
    behind = np.where(solid, emptied, ends)
    stops = np.where(solid, full, ends)
    flat, tops = image.reshape(-1), highest.reshape(-1)
    lengths = np.maximum(np.stack([stops - begins, ends - behind], axis=2), 0).reshape(len(colours), -1)
    froms = np.stack([begins, behind], axis=2).reshape(len(colours), -1)
    places = np.repeat(np.arange(columns), 2)
    together = np.cumsum(lengths.sum(axis=1)) // _TOGETHER
    for curves in np.split(np.arange(len(colours)), np.flatnonzero(np.diff(together)) + 1):
        _fade(flat, tops, rows, curves, strokes[curves], lengths[curves], froms[curves], places, colours)


def _topmost(starts: np.ndarray, stops: np.ndarray, solid: np.ndarray, rows: int) -> np.ndarray:
    """Give, for each pixel of some columns, one more than the last curve whose solid part covers it; 0 where none does.

    Each part is entered as two of a power of two rows that overlap, later ones over earlier ones; parts are then halved, down
    to single rows, each half keeping the later of its own curve and that of the whole.
    """
    columns = starts.shape[1]
    curve, column = np.nonzero(solid)
    start, stop = starts[curve, column], stops[curve, column]
    levels = np.zeros((max(rows, 1).bit_length(), columns, rows), np.uint16)
    level = np.frexp((stop - start).astype(np.float64))[1].astype(np.intp) - 1
    row_of = (level * columns + column) * rows
    ends = np.stack([row_of + start, row_of + stop - (1 << level)], axis=1)
    levels.reshape(-1)[ends.ravel()] = np.repeat(curve + 1, 2)
    for upper in range(len(levels) - 1, 0, -1):
        half = 1 << (upper - 1)
        whole, parts = levels[upper], levels[upper - 1]
        np.maximum(parts, whole, out=parts)
        np.maximum(parts[:, half:], whole[:, : rows - half], out=parts[:, half:])
    topmost: np.ndarray = levels[0]
    return topmost


def _fade(
    flat: np.ndarray,
    tops: np.ndarray,
    rows: int,
    curves: np.ndarray,
    strokes: np.ndarray,
    lengths: np.ndarray,
    froms: np.ndarray,
    places: np.ndarray,
    colours: np.ndarray,
) -> None:
    """Blend what is not solid of some curves where no later solid part covers it."""
    long = lengths.ravel()
    part = np.repeat(np.arange(len(long)), long)
    row = np.arange(len(part)) + np.repeat(froms.ravel() - (np.cumsum(long) - long), long)
    curve, place = np.divmod(part, len(places))
    place = places[place]
    pixel = place * rows + row
    seen = np.flatnonzero(tops[pixel] <= curves[curve])
    row, curve, place, pixel = row[seen], curve[seen], place[seen], pixel[seen]
    top, bottom, above, below, share = (strokes[curve, number, place].astype(np.int64) for number in range(NUMBERS))
    at = row * 256 + 128
    cover = np.clip(128 + ((at - top) * np.maximum(above, 1) >> 16), 0, 256)
    cover += np.clip(128 + ((bottom - at) * np.maximum(below, 1) >> 16), 0, 256)
    cover = (np.maximum(cover - 256, 0) * np.minimum(share, 256) >> 8).astype(np.uint32)
    edges = np.searchsorted(curve, np.arange(len(curves) + 1))
    for number, (start, stop) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        if stop > start:
            here = pixel[start:stop]
            flat[here] = _blended(flat[here], colours[curves[number]], cover[start:stop])


def _blended(below: np.ndarray, colour: np.uint32, cover: np.ndarray) -> np.ndarray:
    """Mix pixels with a colour, two of their four bytes at a time."""
    even, odd, byte = np.uint32(0x00FF00FF), np.uint32(0xFF00FF00), np.uint32(8)
    left: np.ndarray = np.uint32(256) - cover
    low: np.ndarray = (below & even) * left + (colour & even) * cover
    high: np.ndarray = (below >> byte & even) * left + (colour >> byte & even) * cover
    mixed: np.ndarray = (low >> byte & even) | (high & odd)
    return mixed
