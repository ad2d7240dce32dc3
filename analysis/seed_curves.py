"""The curves of groups of seeds, as numbers: what analyses that compare two recipes along a curve start from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ..models.store import RunStore
from .alignment import Aligned, aligned
from .grouping import grouped


@dataclass(frozen=True, slots=True)
class SeedCurves:
    """The runs of one group along x.

    Attributes
    ----------
    name, hue : str
        As shown, and as coloured in the runs tree.
    curves : tuple of Aligned
        As logged.
    points : tuple of (ndarray, ndarray)
        Increasing x and finite y of each.
    """

    name: str
    hue: str
    curves: tuple[Aligned, ...]
    points: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def runs(self) -> tuple[str, ...]:
        """Keys of the runs."""
        return tuple(curve.run.key for curve in self.curves)


def seed_curves(
    store: RunStore,
    tag: str,
    x: str,
    runs: Collection[str] = (),
    group_by: tuple[str, ...] = (),
    everything_except: tuple[str, ...] = (),
    *,
    fewest: int = 2,
) -> list[SeedCurves]:
    """Give the groups with the points of their runs; runs with fewer than `fewest` finite points are left out."""
    found = {}
    for curve in aligned(store, tag, x, runs):
        points = curve.latest()
        if len(points[0]) >= fewest:
            found[curve.run.key] = (curve, points)
    groups = grouped(store, found, group_by, everything_except) if found else []
    return [
        SeedCurves(
            group.name,
            group.hue,
            tuple(found[key][0] for key in group.runs),
            tuple(found[key][1] for key in group.runs),
        )
        for group in groups
    ]


def monotone(y: np.ndarray, *, rising: bool) -> np.ndarray:
    """Give the closest monotone curve to y, shape (n,), by pool-adjacent-violators."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(y, increasing=rising).x)
