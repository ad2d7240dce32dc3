"""When a curve first meets a target, and which way and to what value a metric is meant to go."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from ..models.reductions import higher_is_better

Direction = Literal["auto", "above", "below"]

_TARGET = re.compile(r"(^|[._])target(_value)?$")


def is_above(direction: Direction, tag: str) -> bool:
    """Whether a target of this metric is met from above; 'auto' reads the name (accuracy above, loss below)."""
    return higher_is_better(tag) if direction == "auto" else direction == "above"


def first_reached(x: np.ndarray, y: np.ndarray, target: float, *, above: bool, hold: int = 1) -> int:
    """Give the index of the first value that meets a target, with the next `hold` - 1 also meeting it; -1 if none does.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        In the order logged; values that are not finite meet nothing.
    """
    met = (y >= target if above else y <= target) & np.isfinite(y) & np.isfinite(x)
    if hold > 1:
        if len(met) < hold:
            return -1
        met = np.lib.stride_tricks.sliding_window_view(met, hold).all(axis=1)
    places = np.flatnonzero(met)
    return int(places[0]) if len(places) else -1


def stated_target(frame: pd.DataFrame, tag: str) -> str:
    """Give the column of the `runs` table that states a target for a metric; empty where none does.

    A column whose name ends in ``target`` or ``target_value``; of several, the one that names the split of the tag
    (``validation/..`` and ``validation_target_value``).
    """
    found = [
        str(name) for name in frame.columns if _TARGET.search(str(name)) and pd.api.types.is_numeric_dtype(frame[name])
    ]
    split = re.split(r"[/_.\- ]", tag)[0].lower()
    named = [name for name in found if split and f"{split}_target" in name.lower()]
    if named:
        return named[0]
    return found[0] if len(found) == 1 else ""


def reachable_target(bests: Iterable[float]) -> float:
    """Give a round value that about half of some runs reach: the median of their bests, to four digits."""
    known = [best for best in bests if math.isfinite(best)]
    if not known:
        return math.nan
    # The lower of two middle values, and rounded, so that it is one that some run logged or nearly so.
    return float(f"{sorted(known)[(len(known) - 1) // 2]:.4g}")
