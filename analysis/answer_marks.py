"""Marks and panels that several questions over answers draw: values with intervals by name, tables, matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..models.figure import Axis, Cells, Clauses, Line, Origin, Panel, Points, Rule
from ..models.result import shortened, with_interval
from ..models.selection import Clause

MOST_ROWS = 30
"""Names that a panel has room for; the table has all."""
_MOST_TEXTS = 14


def dots(
    key: str, names: Sequence[str], value: np.ndarray, low: np.ndarray, high: np.ndarray, *, hue: str = "c0",
    label: str = "", origin: Origin = None, shift: float = 0.0, n: np.ndarray | None = None, hollow: bool = False,
    at: np.ndarray | None = None,
) -> tuple[Line, Points]:  # fmt: skip
    """Give points on a horizontal axis, one a name from top to bottom, and their intervals."""
    places = (np.arange(len(names), dtype=float) if at is None else np.asarray(at, float)) + shift
    value, low, high = (np.asarray(part, float) for part in (value, low, high))
    ends = np.stack([low, high, np.full(len(value), np.nan)], axis=1).ravel()
    sizes = [""] * len(value) if n is None else [f", n = {int(one):,}" for one in n]
    notes = tuple(
        f"{name}{', ' + label if label else ''}: {with_interval(*map(float, numbers))}{size}"
        for name, *numbers, size in zip(names, value, low, high, sizes, strict=True)
    )
    return (
        Line(key=f"{key} intervals", x=ends, y=np.repeat(places, 3), hue=hue),
        Points(key=key, x=value, y=places, hue=hue, size=6.0, label=label, origin=origin, notes=notes, hollow=hollow),
    )


def named_axis(names: Sequence[str], label: str = "") -> Axis:
    """Give a vertical axis of names, the first at the top."""
    return Axis(label=label, scale="category", names=tuple(shortened(name, 28) for name in names), inverted=True)


def zero(axis: Literal["x", "y"] = "x") -> Rule:
    """Give the line at 0."""
    return Rule(key="zero", axis=axis, at=0.0, hue="line", dash="solid")


def two_by_two(
    counts: np.ndarray, old: str, new: str, clauses: Sequence[Clause], *, title: str = "Items",
    words: tuple[str, str] = ("right", "wrong"),
) -> Panel:  # fmt: skip
    """Give the table of old (rows) against new (columns), with counts and shares.

    Parameters
    ----------
    counts : ndarray, shape (2, 2)
    clauses : sequence of Clause
        Items of the four cells, row by row.
    """
    total = counts.sum() or 1.0
    texts = tuple(tuple(f"{cell:,.0f}\n{100 * cell / total:.1f} %" for cell in row) for row in counts.tolist())
    return Panel(
        key="table",
        x=Axis(label=shortened(new, 30), scale="category", names=words),
        y=Axis(label=shortened(old, 30), scale="category", names=words, inverted=True),
        marks=(
            Cells(
                key="table", values=counts, rows=words, columns=words, texts=texts, low=0.0, label="items",
                origin=Clauses("predictions", tuple(clauses)),
            ),
        ),
        title=title,
        square=True,
    )  # fmt: skip


def square_matrix(
    key: str, values: np.ndarray, names: Sequence[str], *, label: str, title: str, clauses: Sequence[Clause] = (),
    ramp: Literal["sequential", "diverging", "good", "bad"] = "sequential", digits: int = 1, scale: float = 100.0,
    low: float = 0.0, high: float = math.nan, x: str = "", y: str = "",
) -> Panel:  # fmt: skip
    """Give a matrix over all pairs of versions; values are written into the cells where there is room."""
    shown = tuple(shortened(name, 22) for name in names)
    room = len(names) <= _MOST_TEXTS
    texts = tuple(
        tuple(f"{scale * cell:.{digits}f}" if room and math.isfinite(cell) else "" for cell in row)
        for row in values.tolist()
    )
    return Panel(
        key=key,
        x=Axis(label=x, scale="category", names=shown),
        y=Axis(label=y, scale="category", names=shown, inverted=True),
        marks=(
            Cells(
                key=key, values=scale * values, rows=shown, columns=shown, texts=texts, ramp=ramp, low=low, high=high,
                label=label, origin=Clauses("predictions", tuple(clauses)) if len(clauses) else None,
            ),
        ),
        title=title,
        square=True,
        height=1.5,
    )  # fmt: skip
