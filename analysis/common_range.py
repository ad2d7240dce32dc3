"""The range that most of many curves share, so that a few that ran away do not squeeze all others flat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..models.growing_array import extremes
from ..models.result import significant

_MANY = 8
"""Curves from which on one may be left to leave the panel: of fewer, none is an exception."""

_EXCEPTIONS = 0.1
"""Share of the curves that may leave the panel at one end."""

_SQUEEZED = 3.0
"""How many times more room all curves take than the shared range before anything is left out."""

_START = 0.1
"""Share of a curve that is its start."""


@dataclass(frozen=True, slots=True)
class CommonRange:
    """Limits of an axis, and what they leave out.

    Attributes
    ----------
    low, high : float or None
        Limits; None fits the data.
    beyond : int
        Curves that leave the panel.
    farthest : float
        The value that is farthest out; NaN where nothing is.
    start : float
        The value that is farthest out at the start of the curves; NaN where their start is in sight.
    """

    low: float | None = None
    high: float | None = None
    beyond: int = 0
    farthest: float = float("nan")
    start: float = float("nan")

    def said(self, of: int) -> str:
        """Say it for a subtitle, with a leading comma; empty where nothing is left out."""
        verb = "leaves" if self.beyond == 1 else "leave"
        out = f", {self.beyond} of {of} {verb} the panel (to {significant(self.farthest, 3)})" if self.beyond else ""
        return out if np.isnan(self.start) else f"{out}, the start leaves the panel (to {significant(self.start, 3)})"


def common_range(curves: Sequence[np.ndarray], *, also: Sequence[float] = (), log: bool = False) -> CommonRange:
    """Give limits of y that hold all curves but a few that go beyond the rest by far.

    At each end at most a tenth of the curves is left out, and only those that reach more than twice as far as the other nine
    tenths together; nothing is where all curves take less than three times the room of the rest, on a log axis, or of fewer
    than eight curves.

    Parameters
    ----------
    curves : sequence of ndarray
        What is drawn of each curve, with its band; NaN and infinities say nothing.
    also : sequence of float
        Values that stay in sight (a target).
    log : bool
        Whether the axis is logarithmic.
    """
    return range_of_ends([extremes(np.asanyarray(curve)) for curve in curves], also=also, log=log)


def range_of_ends(ends: Sequence[tuple[float, float]], *, also: Sequence[float] = (), log: bool = False) -> CommonRange:
    """Give what `common_range` gives, from the smallest and the largest value of each curve (not finite: passed over)."""
    known = np.array([pair for pair in ends if math.isfinite(pair[0])])
    if log or len(known) < _MANY:
        return CommonRange()
    lows, highs = known.T
    core_low = float(np.quantile(lows, _EXCEPTIONS, method="lower"))
    core_high = float(np.quantile(highs, 1 - _EXCEPTIONS, method="higher"))
    core = core_high - core_low
    if not core > 0:
        return CommonRange()
    low, high = lows[lows >= core_low - core].min(), highs[highs <= core_high + core].max()
    squeezed_below = high - lows.min() > _SQUEEZED * (high - low)
    squeezed_above = highs.max() - low > _SQUEEZED * (high - low)
    if not (squeezed_below or squeezed_above):
        return CommonRange()
    low = low if squeezed_below else lows.min()
    high = high if squeezed_above else highs.max()
    out = (lows < low) | (highs > high)
    low_out, high_out = low - lows.min(), highs.max() - high
    farthest = float(highs.max() if high_out >= low_out else lows.min())
    low, high = min(float(low), *also, np.inf), max(float(high), *also, -np.inf)
    air = 0.05 * (high - low)
    return CommonRange(low - air, high + air, int(out.sum()), farthest)


def after_the_start(
    limits: CommonRange,
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    also: Sequence[float] = (),
    log: bool = False,
    share: float = _START,
) -> CommonRange:
    """Let the steep start of curves leave the panel where it takes most of the room; nothing on a log axis.

    Parameters
    ----------
    limits : CommonRange
        What is in sight so far.
    curves : sequence of (ndarray, ndarray)
        x and y of each, shape (n,); the start is a `share` of its own x.
    also : sequence of float
        Values that stay in sight.
    """
    whole, rest = [], []
    for x, y in curves:
        known = np.isfinite(x) & np.isfinite(y)
        known &= (y >= (-np.inf if limits.low is None else limits.low)) & (
            y <= (np.inf if limits.high is None else limits.high)
        )
        if known.any():
            first, last = float(x[known].min()), float(x[known].max())
            whole.append(y[known])
            rest.append(y[known & (x >= first + share * (last - first))])
    if log or not whole:
        return limits
    every, later = np.concatenate(whole), np.concatenate([*rest, np.asarray(also, float)])
    low, high = float(every.min()), float(every.max())
    inner_low, inner_high = float(later.min()), float(later.max())
    room = inner_high - inner_low
    if not room > 0 or high - low <= _SQUEEZED * room:
        return limits
    found = limits
    if high > inner_high + 0.3 * room:
        found = replace(found, low=inner_low - 0.05 * room, high=inner_high + 0.3 * room, start=high)
    if low < inner_low - 0.3 * room:
        top = inner_high + 0.05 * room if found.high is None or found is limits else found.high
        found = replace(found, low=inner_low - 0.3 * room, high=top, start=low)
    return found


def percentile_range(values: Sequence[np.ndarray], *, log: bool = False) -> CommonRange:
    """Give limits from the 5th to the 95th percentile of what is drawn, with some air."""
    drawn = np.concatenate([y[np.isfinite(y)] for y in values]) if values else np.zeros(0)
    if not len(drawn):
        return CommonRange()
    low, high = np.percentile(drawn, [5, 95])
    if low == high:
        return CommonRange()
    if log:
        air = (high / low) ** 0.05
        return CommonRange(float(low / air), float(high * air))
    air = 0.05 * (high - low)
    return CommonRange(float(low - air), float(high + air))
