"""Hartigan's dip: how far values are from having a single mode."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .resampling import p_of_draws


def dip(values: np.ndarray) -> float:
    """Give the dip of `values`, shape (n,): the largest distance of their distribution from the nearest unimodal one.

    Between 1 / (2 n) and 1/4.

    Notes
    -----
    Hartigan and Hartigan (1985), *The dip test of unimodality*. The modal interval is narrowed until the greatest convex
    minorant and the least concave majorant of the distribution are no further apart in it than they are outside it.
    """
    x, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    n = int(counts.sum())
    if len(x) < 2:
        return 1 / (2 * n) if n else 0.0
    above = np.cumsum(counts) / n
    below = above - counts / n
    left, right = 0, len(x) - 1
    distance = 1 / n
    while True:
        part = slice(left, right + 1)
        minorant = _hull(x[part], below[part], lower=True)
        majorant = _hull(x[part], above[part], lower=False)
        low, high = (
            np.interp(x[part], x[part][hull], y[part][hull]) for hull, y in ((minorant, below), (majorant, above))
        )
        at_low, at_high = (high - low)[minorant], (high - low)[majorant]
        widest = max(float(at_low.max()), float(at_high.max()))
        if widest <= distance:
            break
        if at_high.max() > at_low.max():
            new_right = int(majorant[np.flatnonzero(at_high == at_high.max())[-1]])
            new_left = int(minorant[minorant <= new_right][-1])
        else:
            new_left = int(minorant[np.flatnonzero(at_low == at_low.max())[0]])
            new_right = int(majorant[majorant >= new_left][0])
        # What stands at the ends of the modal interval itself may be all mode, however many values are tied there.
        outside = 0.0
        if new_left > 0:
            outside = float(np.max(above[part][:new_left] - low[:new_left]))
        if new_right < right - left:
            outside = max(outside, float(np.max((high - below[part])[new_right + 1 :])))
        distance = max(distance, outside)
        if new_left == 0 and new_right == right - left:
            break
        left, right = left + new_left, left + new_right
    return distance / 2


def _hull(x: np.ndarray, y: np.ndarray, *, lower: bool) -> np.ndarray:
    """Give the numbers of the points on the lower or upper convex hull, from left to right."""
    sign = 1.0 if lower else -1.0
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            turn = (x[b] - x[a]) * (y[i] - y[a]) - (y[b] - y[a]) * (x[i] - x[a])
            if sign * turn > 0:
                break
            hull.pop()
        hull.append(i)
    return np.array(hull)


@lru_cache(maxsize=64)
def _of_uniform(n: int, draws: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.sort([dip(generator.random(n)) for _ in range(draws)])


def dip_p(values: np.ndarray, draws: int = 500, seed: int = 0) -> float:
    """Give the probability of a dip as large from uniform values, the least favourable of all with one mode."""
    known = values[np.isfinite(values)]
    if len(known) < 4:
        return float("nan")
    simulated = _of_uniform(len(known), draws, seed)
    return p_of_draws(int(np.count_nonzero(simulated >= dip(known) - 1e-12)), draws)
