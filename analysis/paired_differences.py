"""Differences of two versions on the same items, with the uncertainty of their mean over items or over whole clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..models.engine import LOCAL, Engine
from ..models.errors import AnalysisError, TooLittleData
from ..models.progress import Progress, quiet
from .answer_sheet import Sheet, unit_sums
from .resampling import Interval, bootstrap, percentile_interval, t_quantile

FEW_UNITS = 10
"""Units below which a percentile bootstrap covers too little, and Student's t is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """New less old, item by item.

    Attributes
    ----------
    old, new : ndarray, shape (items,)
        Values of both.
    units : ndarray of int, shape (items,)
        Unit each item belongs to.
    number : int
        How many units there are.
    """

    old: np.ndarray
    new: np.ndarray
    units: np.ndarray
    number: int

    @property
    def values(self) -> np.ndarray:
        """New less old, shape (items,)."""
        return np.asarray(self.new - self.old)

    @property
    def mean(self) -> float:
        """Mean over the items."""
        return float(np.mean(self.values))

    def residual_sums(self, values: np.ndarray) -> np.ndarray:
        """Give the sums over each unit of values less their mean, over n: what makes the variance of a mean."""
        return unit_sums((values - values.mean()) / len(values), self.units, self.number)

    def covariance(self, one: np.ndarray, other: np.ndarray) -> float:
        """Give the covariance of the means of two values, over units taken whole, corrected for their number."""
        if self.number < 2:
            return math.nan
        factor = self.number / (self.number - 1)
        return factor * float(self.residual_sums(one) @ self.residual_sums(other))

    @property
    def standard_error(self) -> float:
        """Standard error of the mean difference: s / √n where units are items, the clustered one else."""
        return math.sqrt(self.covariance(self.values, self.values)) if self.number > 1 else math.nan

    @property
    def df(self) -> int:
        """Degrees of freedom: units less one."""
        return self.number - 1

    def t_interval(self, level: float) -> Interval:
        """Give Student's t interval of the mean difference over units."""
        half = float(t_quantile(level, self.df)) * self.standard_error
        return Interval(self.mean - half, self.mean + half)

    def drawn(self, draws: int, seed: int, engine: Engine = LOCAL, progress: Progress = quiet) -> np.ndarray:
        """Give means of old and of new in resamples of whole units, shape (draws, 2)."""
        if self.number == len(self.values):
            rows, sizes = np.unique(np.stack([self.old, self.new], axis=1), axis=0, return_counts=True)
            sums = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
            units: int | np.ndarray = sizes
        else:
            sums = unit_sums(np.stack([self.old, self.new, np.ones_like(self.old)], axis=1), self.units, self.number)
            units = self.number
        return bootstrap(partial(_means, sums), units, draws=draws, seed=seed, engine=engine, progress=progress)

    def interval(
        self, level: float, draws: int, seed: int, engine: Engine = LOCAL, progress: Progress = quiet
    ) -> tuple[Interval, str]:
        """Give the interval of the mean difference, and how it was made: t for few units, else percentile bootstrap."""
        if self.number < FEW_UNITS:
            return self.t_interval(level), f"t interval over {self.number} units, too few for a bootstrap"
        means = self.drawn(draws, seed, engine, progress)
        how = f"percentile bootstrap, {draws} draws, seed {seed}"
        return percentile_interval(means[:, 1] - means[:, 0], level), how


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    totals = counts @ sums
    means: np.ndarray = totals[:, :2] / totals[:, 2:]
    return means


def valued(sheet: Sheet, value: str) -> tuple[Sheet, np.ndarray, bool, list[str]]:
    """Give the values that are compared, shape (items, versions), whether each is right or wrong, and what was left out.

    Parameters
    ----------
    value : str
        A numeric column; where empty, the score where answers are graded, else 1 for right and 0 for wrong.
    """
    if not value:
        graded = sheet.is_graded
        return sheet, sheet.score if graded else sheet.right, not graded and sheet.is_counted, []
    if value not in sheet.frame.columns:
        raise AnalysisError(f"The predictions have no column called {value!r}.")
    if sheet.frame[value].dtype.kind not in "fiub":
        raise AnalysisError(f"The column {value!r} holds no numbers.", remedy="Choose a numeric column.")
    values = np.stack([sheet.values(value, number) for number in range(len(sheet.names))], axis=1)
    finite = np.isfinite(values).all(axis=1)
    notes = []
    if not finite.all():
        notes.append(f"{int((~finite).sum()):,} items left out: {value} is not a number for each version.")
    if not finite.any():
        raise TooLittleData(needs=f"items with a {value} from each version", found="0")
    return sheet.taking(finite), values[finite], False, notes
