"""From a rectangle or a place on screen to the clause that selects what lies there."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF, Qt

from ...analysis.decimate import ZoomableLine
from ...models.figure import Keys, Origin
from ...models.selection import Clause, either
from .viewport import Viewport


def clause_of(origin: Origin, elements: list[int]) -> Clause | None:
    """Give the clause for what lies behind some elements; None where nothing is known to lie there."""
    if origin is None or not elements:
        return None
    parts = origin.values if isinstance(origin, Keys) else origin.clauses
    if not parts:
        return None
    return origin.clause([0] if len(parts) == 1 else [i for i in elements if i < len(parts)])


def joined(clauses: list[Clause | None]) -> Clause | None:
    """Give the clause that holds where one of some does; None of nothing."""
    result: Clause | None = None
    for clause in clauses:
        if clause is not None:
            result = clause if result is None else either(result, clause)
    return result


def mode_of(modifiers: Qt.KeyboardModifier) -> str | None:
    """Give the name of the brush mode that the keys held down ask for; None where they ask for no brush.

    Shift replaces what was selected, Shift+Ctrl adds to it, Alt takes out of it, Shift+Alt keeps only what is in both.
    """
    shift = bool(modifiers & Qt.KeyboardModifier.ShiftModifier)
    control = bool(modifiers & Qt.KeyboardModifier.ControlModifier)
    if modifiers & Qt.KeyboardModifier.AltModifier:
        return "and" if shift else "not"
    if shift:
        return "or" if control else "replace"
    return None


def passes_through(line: ZoomableLine, viewport: Viewport, area: QRectF) -> bool:
    """Whether a line has a point in an area of pixels, or leads through it."""
    ends = sorted((viewport.x_at(area.left()), viewport.x_at(area.right())))
    x, y = line.within(ends[0], ends[1], max(int(area.width()), 1))
    px, py = viewport.x(x), viewport.y(y)
    if not len(px):
        return False
    inside = (px >= area.left()) & (px <= area.right()) & (py >= area.top()) & (py <= area.bottom())
    if inside.any():
        return True
    # A segment may lead through without a point inside: Liang and Barsky's clipping, all segments at once.
    dx, dy = np.diff(px), np.diff(py)
    enter, leave = np.zeros(len(dx)), np.ones(len(dx))
    with np.errstate(divide="ignore", invalid="ignore"):
        for step, gap in (
            (-dx, px[:-1] - area.left()),
            (dx, area.right() - px[:-1]),
            (-dy, py[:-1] - area.top()),
            (dy, area.bottom() - py[:-1]),
        ):
            at = gap / step
            enter = np.where(step < 0, np.maximum(enter, at), enter)
            leave = np.where(step > 0, np.minimum(leave, at), leave)
            leave = np.where((step == 0) & (gap < 0), -1.0, leave)
    return bool(np.any(enter <= leave))
