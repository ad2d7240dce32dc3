"""Which part of the plane a panel shows, and where its ticks stand; no canvas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from ...models.figure import Axis, Band, Bars, Cells, EdgeMarks, Line, Mark, Panel, Points, Rule, Text
from ..axis_room import room_for_markers, scaled, share_left_free

Limits = tuple[float, float]


def panel_limits(panel: Panel, sharing: Iterable[Panel] = ()) -> tuple[Limits, Limits]:
    """Give the limits of both axes in data coordinates, low before high whatever the axis' direction.

    Where an axis says its limits, those hold, with room for markers that would be cut in two. Otherwise all marks fit, with
    a little room around them; y then fits what lies between the limits of x that were asked for.

    Parameters
    ----------
    panel : Panel
        The panel.
    sharing : iterable of Panel
        Panels with the same x axis: all fit in its limits.
    """
    panels = [panel, *sharing]
    low = next((one.x.low for one in panels if one.x.low is not None), None)
    high = next((one.x.high for one in panels if one.x.high is not None), None)
    x_extents = [pair for one in panels for mark in one.marks for pair in _extents(mark, "x", None)]
    free = max(share_left_free(one, "x") for one in panels)
    x = _with_room(_limits(x_extents, panel.x, low, high, free, tight=_tight(panel, "x")), panels, "x")
    window = None if panel.x.low is None and panel.x.high is None else x
    y_extents = [pair for mark in panel.marks for pair in _extents(mark, "y", window)]
    if not y_extents:
        y_extents = [pair for mark in panel.marks for pair in _extents(mark, "y", None)]
    y = _limits(y_extents, panel.y, panel.y.low, panel.y.high, share_left_free(panel, "y"), tight=_tight(panel, "y"))
    return x, _with_room(y, [panel], "y")


def _with_room(limits: Limits, panels: list[Panel], which: str) -> Limits:
    """Leave room for markers on limits that were asked for."""
    axis: Axis = getattr(panels[0], which)
    low, high = scaled(np.array(limits), axis).tolist()
    below, above = room_for_markers(panels, which, low, high)
    if not below and not above:
        return limits
    low, high = low - below, high + above
    return (10**low, 10**high) if axis.scale == "log" else (low, high)


def _tight(panel: Panel, which: str) -> tuple[bool, bool]:
    """Whether the marks at the low and the high end need no room: cells fill the panel, bars stand on its edge."""
    if any(isinstance(mark, Cells) for mark in panel.marks):
        return True, True
    bars = [mark for mark in panel.marks if isinstance(mark, Bars) and mark.horizontal == (which == "x")]
    on_edge = bool(bars) and all(np.all(np.asarray(mark.base) == 0) for mark in bars)
    return on_edge, False


def _extents(mark: Mark, which: str, window: Limits | None) -> Iterator[np.ndarray]:
    """Give vectors whose values must lie within the limits of an axis."""
    if isinstance(mark, Cells):
        yield np.array([-0.5, len(mark.columns if which == "x" else mark.rows) - 0.5])
    elif isinstance(mark, Rule):
        if mark.axis == which:
            yield np.array([mark.at])
    elif isinstance(mark, Text):
        if not mark.inside:
            yield np.array([mark.x if which == "x" else mark.y])
    elif isinstance(mark, EdgeMarks):
        if which == "x":
            yield mark.x
    elif isinstance(mark, Bars):
        if mark.horizontal == (which == "y"):
            at, half = np.asarray(mark.at, dtype=float), np.asarray(mark.width) / 2
            yield from (at - half, at + half)
        else:
            yield from (np.atleast_1d(v) for v in (mark.height, mark.base, mark.low, mark.high) if v is not None)
    elif which == "x":
        yield mark.x
    else:
        seen = slice(None) if window is None else (mark.x >= window[0]) & (mark.x <= window[1])
        for values in _vertical(mark):
            yield values[seen]


def _vertical(mark: Line | Points | Band) -> list[np.ndarray]:
    if isinstance(mark, Line):
        return [mark.y]
    if isinstance(mark, Band):
        return [mark.low, mark.high]
    return [values for values in (mark.y, mark.low, mark.high) if values is not None]


def _limits(
    extents: list[np.ndarray],
    axis: Axis,
    low: float | None,
    high: float | None,
    room: float,
    *,
    tight: tuple[bool, bool],
) -> Limits:
    values = np.concatenate([scaled(part, axis).ravel() for part in extents]) if extents else np.empty(0)
    values = values[np.isfinite(values)]
    if axis.scale == "category" and axis.names:
        bottom, top = -0.5, len(axis.names) - 0.5
    else:
        bottom, top = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        if top == bottom:
            half = 0.5 if axis.scale == "log" or not bottom else 0.05 * abs(bottom)
            bottom, top, tight = bottom - half, top + half, (True, True)
        span = top - bottom
        bottom, top = bottom - room * span * (not tight[0]), top + room * span * (not tight[1])
    given = [None if end is None else scaled(np.array([end]), axis)[0] for end in (low, high)]
    bottom, top = (
        end if said is None or not math.isfinite(said) else float(said)
        for end, said in zip((bottom, top), given, strict=True)
    )
    if not top > bottom:
        top = bottom + 1.0
    return (10**bottom, 10**top) if axis.scale == "log" else (bottom, top)


def log_ticks(low: float, high: float, most: int) -> tuple[list[float], list[float]]:
    """Give where ticks with and without a label stand on a log axis.

    Powers of ten where at least two fit in; else 1, 2 and 5 times them; else round numbers of a linear scale.

    Parameters
    ----------
    low, high : float
        Limits, both positive.
    most : int
        How many labels there is room for, at least 2.
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    powers = last - first + 1
    span = math.log10(high / low)
    if powers >= 2 and span > 1.5:
        stride = math.ceil(powers / max(most, 2))
        labelled = [10.0**power for power in range(first, last + 1) if power % stride == 0]
        if stride > 1:
            return labelled, [10.0**power for power in range(first, last + 1) if power % stride]
        return labelled, [step * 10.0**power for power in range(first - 1, last + 1) for step in range(2, 10)]
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        labelled = [s * 10.0**power for power in range(first - 1, last + 2) for s in steps]
        labelled = [tick for tick in labelled if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if 3 <= len(labelled) <= max(most, 3):
            return labelled, []
    return _round_numbers(low, high, most), []


def _round_numbers(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / max(most - 1, 2)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * (1 - 1e-9))
    count = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [number * step for number in count if number]


def log_label(value: float) -> str:
    """Write a tick of a log axis, in matplotlib's mathematics where it is a power of ten: ``0.5``, ``200``, ``$10^{19}$``."""
    power = math.floor(math.log10(value) + 1e-9)
    factor = value / 10.0**power
    if -3 <= power <= 3:
        return f"{value:.10g}"
    return f"$10^{{{power}}}$" if abs(factor - 1) < 1e-9 else f"${factor:.3g}{{\\times}}10^{{{power}}}$"
