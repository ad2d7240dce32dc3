"""Curves on a common x axis: steps, time, or any other logged metric.

The x axis of a curve is named by a text: ``step``, ``relative`` (time since the start of the run), ``wall`` (time of
day), or a tag (tokens, epoch, FLOPs ...), which is joined on the step. Where a run was resumed its steps go back: the
curve then falls into pieces, and nothing is joined across them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..models.errors import AnalysisError
from ..models.figure import Axis, Scale
from ..models.growing_array import as_floats, falls, finite_values, shifted
from ..models.store import RunStore
from ..models.tables import Curve, Run
from ..models.tag_order import by_usefulness

TIMES = {"relative": "time since the start", "wall": "time"}
_UNITS = (("h", 3600.0), ("min", 60.0), ("s", 1.0))


@dataclass(frozen=True, slots=True)
class Aligned:
    """A curve along a chosen x axis, at full resolution, in the order it was logged.

    Attributes
    ----------
    run : Run
        The run it belongs to.
    x, y : ndarray of float64, shape (n,)
        Points that have an x; y may be NaN or infinite.
    starts : ndarray of int, shape (pieces,)
        Index of the first point of each piece; more than one where the run was resumed at an earlier step.
    without_x : int
        Points left out because nothing says where on the axis they lie.
    """

    run: Run
    x: np.ndarray
    y: np.ndarray
    starts: np.ndarray
    without_x: int
    logged: np.ndarray | None = None
    """Index of each point in the curve as logged; None where no point was left out."""

    def place_of(self, index: int) -> int:
        """Give the position of a point by its index in the curve as logged; -1 where it was left out."""
        if self.logged is None:
            return index
        place = int(np.searchsorted(self.logged, index))
        return place if place < len(self.logged) and self.logged[place] == index else -1

    def pieces(self) -> Iterable[slice]:
        """Give the part of the points each piece holds."""
        ends = [*self.starts[1:].tolist(), len(self.x)]
        return [slice(start, end) for start, end in zip(self.starts.tolist(), ends, strict=True)]

    def broken(self, values: np.ndarray) -> np.ndarray:
        """Give `values`, shape (n,), with a NaN between pieces, so that no line joins them."""
        return np.insert(np.asarray(values, float), self.starts[1:], np.nan) if len(self.starts) > 1 else values

    def latest(self) -> tuple[np.ndarray, np.ndarray]:
        """Give x, increasing and without repeats, and its finite y; where a run passed twice, the later value."""
        kept = np.isfinite(self.y)
        return _increasing(self.x[kept], self.y[kept])


def _increasing(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if np.all(np.diff(x) > 0):
        return x, y
    order = np.argsort(x, kind="stable")
    last = np.append(np.diff(x[order]) > 0, True)
    return x[order][last], y[order][last]


def interpolated(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Give y at some places, shape (k,): linear between neighbours, NaN where there is none on one side.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        x increases; both are finite.
    """
    if not len(x):
        return np.full(np.shape(at), np.nan)
    return np.asarray(np.interp(at, x, y, left=np.nan, right=np.nan))


def _along(run: Run, curve: Curve, x: str, facts: Mapping[str, float]) -> np.ndarray:
    """Give the x of every point of a curve; NaN where it is not known."""
    if x == "step":
        return as_floats(curve.step)
    if x in TIMES:
        if curve.wall_time is None:
            return np.full(len(curve), np.nan)
        times = as_floats(curve.wall_time)
        return shifted(times, facts.get("started", float(times[0]))) if x == "relative" else times
    other = run.curves.get(x)
    if other is not None:
        if other.step is curve.step:
            return as_floats(other.value)
        kept = np.isfinite(other.value)
        steps, values = _increasing(np.asarray(other.step, float)[kept], np.asarray(other.value, float)[kept])
        return interpolated(np.asarray(curve.step, float), steps, values)
    if x == "tokens" and "batch_tokens" in facts:
        return np.asarray(curve.step, float) * facts["batch_tokens"]
    return np.full(len(curve), np.nan)


def aligned(store: RunStore, tag: str, x: str = "step", runs: Iterable[str] = ()) -> list[Aligned]:
    """Give the curves of a tag along an x axis, run by run in the order of discovery.

    Parameters
    ----------
    x : str
        ``step``, ``relative`` (seconds since the first record of the run), ``wall`` (seconds since 1970) or a tag.
        ``tokens``, where no such tag was logged, is the step times the tokens of a batch that the run states.
    runs : iterable of str
        Keys of the runs to give; empty gives all that the store keeps.

    Raises
    ------
    AnalysisError
        When no run has the tag, or no curve has that x.
    """
    wanted = set(runs)
    facts = _facts(store, x)
    found = list(store.curves(tag, wanted or None))
    if not found:
        near = ", ".join(by_usefulness(store.tags())[:6])
        raise AnalysisError(
            f"No run that is kept has {tag!r}." if tag else "No curve is open.",
            remedy=f"Tags there are: {near}." if near else "Open a folder with runs.",
        )
    curves = []
    for run, curve in found:
        along = _along(run, curve, x, facts.get(run.key, {}))
        if len(along) and finite_values(along) == len(along):
            starts = np.array((0, *falls(curve.step)), np.intp)
            curves.append(Aligned(run, along, as_floats(curve.value), starts, 0))
            continue
        kept = np.isfinite(along)
        starts = np.concatenate([[0], 1 + np.flatnonzero(np.diff(np.asarray(curve.step)[kept]) < 0)])
        lost = int(len(kept) - np.count_nonzero(kept))
        y = np.asarray(curve.value, float)
        if lost < len(kept):
            curves.append(Aligned(run, along[kept], y[kept], starts, lost, np.flatnonzero(kept)))
        else:
            curves.append(Aligned(run, along[:0], y[:0], starts[:0], lost))
    if not any(len(curve.x) for curve in curves):
        raise AnalysisError(
            f"None of the {len(curves)} runs says where {tag!r} lies along {x!r}.", remedy="Use x = step."
        )
    return curves


def _facts(store: RunStore, x: str) -> dict[str, dict[str, float]]:
    """Give what the runs state that `x` is made of, by run."""
    column = {"relative": "started", "tokens": "batch_tokens"}.get(x)
    if column is None:
        return {}
    frame = store.rows("runs")
    known = frame[frame[column].notna()] if column in frame.columns else frame[:0]
    return {str(run): {column: float(value)} for run, value in zip(known["run"], known.get(column, ()), strict=True)}


def axis_along(x: str, longest: float, *, log: bool = False) -> tuple[Axis, float]:
    """Give the axis for an x, and what its values are divided by.

    Parameters
    ----------
    longest : float
        Greatest x; decides whether time is in hours, minutes or seconds.
    """
    scale: Scale = "log" if log else "linear"
    if x == "wall":
        return Axis(label="time", scale="time", column="wall"), 1.0
    if x == "relative":
        unit, seconds = next((pair for pair in _UNITS if longest >= 2 * pair[1]), _UNITS[-1])
        return Axis(label=f"time since the start ({unit})", scale=scale, column=f"relative ({unit})"), seconds
    return Axis(label=x, scale=scale, column=x), 1.0


def default_tag(store: RunStore) -> str:
    """Give the tag to look at first: a validation loss where there is one."""
    return next(iter(by_usefulness(store.tags())), "")


def default_x(store: RunStore, tag: str) -> str:
    """Give the x axis the runs declare for a tag where they agree, else the step."""
    declared = {run.x_tags.get(tag, "step") for run, _ in store.curves(tag)}
    return declared.pop() if len(declared) == 1 else "step"


Reduction = Literal["last", "min", "max", "mean of last k"]


def reduced(values: np.ndarray, how: Reduction, k: int = 1) -> float:
    """Give one number for a curve, `values` as logged, shape (n,).

    'last' and 'mean of last k' are NaN where one of those values is not finite: such a run has diverged. 'min' and
    'max' are taken over the finite values.
    """
    if how in ("min", "max"):
        finite = values[np.isfinite(values)]
        if not len(finite):
            return float("nan")
        return float(finite.min() if how == "min" else finite.max())
    last = np.asarray(values[-(k if how == "mean of last k" else 1) :], float)
    return float(last.mean()) if len(last) and np.isfinite(last).all() else float("nan")
