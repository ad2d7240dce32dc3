"""What happened to a run, marked on its curve: spikes at their peaks, where it diverged, and the jumps back of a restart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..models.figure import EdgeMarks, Keys, Line, Mark, Points, Symbol
from ..models.result import counted
from .alignment import Aligned
from .health import GRADIENT, HealthMark, is_loss, known_marks_of, restarts

_MOST = 5
"""Marks of one kind on one curve."""

_SYMBOLS: dict[str, Symbol] = {"spike": "triangle", "divergence": "cross", "restart": "triangle_down"}


def events_on(curve: Aligned, tag: str) -> tuple[HealthMark, ...]:
    """Give what is to be marked on a curve, `index` being positions in it.

    Spikes and divergence are those of losses and of gradient norms, since a reward or an accuracy may well rise; restarts
    are those of any tag.
    """
    if is_loss(tag) or GRADIENT.search(tag):
        found: Sequence[HealthMark] = [mark for mark in known_marks_of(curve.run, tag) if mark.kind in _SYMBOLS]
    else:
        found = restarts(curve.run.curves[tag], tag)
    placed = [replace(mark, index=curve.place_of(mark.index)) for mark in found]
    return tuple(mark for mark in placed if mark.index >= 0)


def event_notes(events: Sequence[Sequence[HealthMark]]) -> list[str]:
    """Say how many events there are, and what of them is not drawn."""
    counts = {kind: sum(mark.kind == kind for found in events for mark in found) for kind in _SYMBOLS}
    said = [counted(count, kind) for kind, count in counts.items() if count]
    if not said:
        return []
    kept = sum(len(_drawn(found, kind)) for found in events for kind in _SYMBOLS)
    rest = f"; of one kind at most {_MOST} a run are drawn, spikes by height" if kept < sum(counts.values()) else ""
    return [f"Marked: {', '.join(said)}, as `health.spikes` finds them{rest}."]


def event_marks(
    key: str,
    events: Sequence[HealthMark],
    x: np.ndarray,
    raw: np.ndarray,
    drawn: np.ndarray,
    *,
    hue: str,
    origin: Keys,
    high: float | None = None,
) -> list[Mark]:
    """Give the marks of events on one curve.

    Parameters
    ----------
    key : str
        Of the curve's line.
    events : sequence of HealthMark
        With `index` into the vectors.
    x, raw, drawn : ndarray, shape (n,)
        As on the axes: as logged, and as the curve is drawn; NaN where an axis cannot show them.
    high : float, optional
        Upper limit of the y axis; peaks above it are marked at the edge.
    """
    marks: list[Mark] = []
    for kind, symbol in _SYMBOLS.items():
        values = drawn if kind == "restart" else raw
        placed = [(_shown(values, mark), mark.what) for mark in _drawn(events, kind)]
        places = [(index, what) for index, what in placed if index >= 0 and np.isfinite(x[index])]
        above = [high is not None and values[index] > high for index, _ in places]
        inside = [place for place, out in zip(places, above, strict=True) if not out]
        outside = [place for place, out in zip(places, above, strict=True) if out]
        name = f"{key}/{kind}"
        if inside:
            at, notes = np.array([index for index, _ in inside]), tuple(what for _, what in inside)
            marks.append(
                Points(
                    key=name, x=x[at], y=values[at], hue=hue, size=6.0, symbol=symbol, hollow=True, origin=origin,
                    notes=notes,
                )
            )  # fmt: skip
        if outside:
            at, notes = np.array([index for index, _ in outside]), tuple(what for _, what in outside)
            marks.append(
                EdgeMarks(key=f"{name}/above", x=x[at], edge="top", hue=hue, what=kind, origin=origin, notes=notes)
            )
    jumps = [mark.index for mark in _drawn(events, "restart") if mark.index > 0]
    if jumps:
        at = np.array([[index - 1, index, index] for index in jumps]).ravel()
        broken = np.where(np.arange(len(at)) % 3 == 2, np.nan, drawn[at])
        # Without an origin, since it is no curve one reads values from.
        marks.append(Line(key=f"{key}/jumps", x=x[at], y=broken, hue=hue, dash="dotted", opacity=0.6))
    return marks


def _drawn(events: Sequence[HealthMark], kind: str) -> list[HealthMark]:
    found = [mark for mark in events if mark.kind == kind]
    return sorted(found, key=lambda mark: -mark.size)[:_MOST]


def _shown(values: np.ndarray, mark: HealthMark) -> int:
    """Give where a mark stands: a curve that ended as NaN is marked at its last value; -1 where there is none."""
    if mark.kind != "divergence":
        return mark.index if np.isfinite(values[mark.index]) else -1
    finite = np.flatnonzero(np.isfinite(values[: mark.index + 1]))
    return int(finite[-1]) if len(finite) else -1
