"""Room for markers that stand on the limits an axis asks for.

A confidence of exactly 1 on an axis from 0 to 1 would be half a marker, cut by the frame. Where all markers lie within the
limits and some at their very ends, the axis goes on a little beyond them. Both renderers ask here, so that they show the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..models.figure import Axis, Panel, Points

_ROOM = 1 / 180
"""Share of an axis that a marker gets for each point of its radius: enough in panels from 180 pixels, or 130 points, on."""

_CUT = 0.7
"""Share of the radius that may be out of the axis before anything is done; it keeps room from being made twice."""


def scaled(values: np.ndarray, axis: Axis) -> np.ndarray:
    """Give values as an axis spaces them: logarithms on a log axis (NaN where there is none), themselves elsewhere."""
    values = np.asarray(values, dtype=float)
    if axis.scale != "log":
        return values
    with np.errstate(all="ignore"):
        return np.where(values > 0, np.log10(np.where(values > 0, values, 1.0)), np.nan)


def share_left_free(panel: Panel, which: str) -> float:
    """Give the share of a range fitted to the data that stays free at each end: more along x where markers stand there."""
    if which == "y":
        return 0.05
    return 0.035 if any(isinstance(mark, Points) for mark in panel.marks) else 0.02


def room_for_markers(panels: Iterable[Panel], which: str, low: float, high: float) -> tuple[float, float]:
    """Give how far an axis goes beyond each of two limits, in units of the axis (decades where it is logarithmic).

    Parameters
    ----------
    panels : iterable of Panel
        Those that share the axis.
    which : {'x', 'y'}
        The axis.
    low, high : float
        The limits in units of the axis, `low` below `high`.

    Returns
    -------
    below, above : float
        Zero at an end no marker stands at, at one that markers lie beyond (there the limit is a cut), and at one the axis does
        not ask for.
    """
    rooms = [_rooms(panel, which, low, high) for panel in panels]
    return max((room[0] for room in rooms), default=0.0), max((room[1] for room in rooms), default=0.0)


def _rooms(panel: Panel, which: str, low: float, high: float) -> tuple[float, float]:
    if (
        panel.square
        and not (panel.x.exact or panel.y.exact)
        and (panel.x.low, panel.x.high) == (panel.y.low, panel.y.high)
        and panel.x.scale == panel.y.scale
    ):
        # What has the same limits both ways keeps them, so that its diagonal stays one.
        ends = [_at_ends(panel, one, low, high) for one in ("x", "y")]
        return max(ends[0][0], ends[1][0]), max(ends[0][1], ends[1][1])
    return _at_ends(panel, which, low, high)


def _at_ends(panel: Panel, which: str, low: float, high: float) -> tuple[float, float]:
    axis: Axis = getattr(panel, which)
    span = high - low
    if axis.exact or not span > 0 or axis.scale == "category":
        return 0.0, 0.0
    parts = list(_markers(panel, which))
    if not parts:
        return 0.0, 0.0
    at, radius = (np.concatenate(vectors) for vectors in zip(*parts, strict=True))
    need = radius * _ROOM * span
    slack = 1e-9 * span

    def beyond(gap: np.ndarray, asked: float | None) -> float:
        if asked is None or (gap < -slack).any():
            return 0.0
        cut = gap < _CUT * need
        return float((need - gap)[cut].max(initial=0.0))

    return beyond(at - low, axis.low), beyond(high - at, axis.high)


def _markers(panel: Panel, which: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give places along an axis and radii of what is drawn as symbols."""
    for mark in panel.marks:
        if isinstance(mark, Points):
            x, y = scaled(mark.x, panel.x), scaled(mark.y, panel.y)
            seen = np.isfinite(x) & np.isfinite(y)
            radius = np.broadcast_to(np.asarray(mark.size, dtype=float) / 2, np.shape(x))
            yield (x if which == "x" else y)[seen], radius[seen]
