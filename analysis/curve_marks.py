"""Lines that every figure of curves draws: a run along x, steps, and what an axis can show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..models.figure import Dash, Keys, Line
from ..models.growing_array import extremes, finite_values
from .alignment import Aligned

QUIET = 0.3
"""Opacity of a curve in muted ink."""

_MOST_COLOURED = 12
"""Groups that can be told apart; of more, only the best few are coloured."""

_FEW = 5


def best_coloured(names: Sequence[str]) -> frozenset[str]:
    """Give the groups, of all in the order from the best, that are drawn in colour: all while they can be told apart."""
    return frozenset(names if len(names) <= _MOST_COLOURED else names[:_FEW])


def drawable(values: np.ndarray, *, log: bool) -> np.ndarray:
    """Give values with NaN where an axis cannot show them."""
    if values.dtype == np.float64 and finite_values(values) == len(values) and (not log or extremes(values)[0] > 0):
        return values  # as it is, so that a longer one is known to go on from it
    return np.where(np.isfinite(values) & ((values > 0) | (not log)), values, np.nan)


def run_line(
    curve: Aligned,
    unit: float = 1.0,
    *,
    key: str = "",
    hue: str = "c0",
    label: str = "",
    width: float = 1.0,
    opacity: float = 1.0,
    dash: Dash = "solid",
    log_x: bool = False,
    log_y: bool = False,
) -> Line:
    """Give the curve of a run as a line that is broken where the run was resumed and where there is nothing to draw."""
    return Line(
        key=key or curve.run.key,
        x=drawable(curve.broken(curve.x / unit), log=log_x),
        y=drawable(curve.broken(curve.y), log=log_y),
        hue=hue,
        label=label,
        width=width,
        opacity=opacity,
        dash=dash,
        origin=Keys("run", (curve.run.key,)),
    )


def stairs(at: np.ndarray, values: np.ndarray, start: float, end: float, first: float) -> tuple[np.ndarray, np.ndarray]:
    """Give the corners of a step function: `first` from `start` on, then `values` from each of `at` on, until `end`.

    Parameters
    ----------
    at, values : ndarray, shape (k,)
        Places of the steps, increasing, and the value after each.

    Returns
    -------
    x, y : ndarray, shape (2 k + 2,)
    """
    x = np.concatenate([[start], np.repeat(at, 2), [max(end, float(at[-1]) if len(at) else end)]])
    y = np.repeat(np.concatenate([[first], values]), 2)
    return x, y
