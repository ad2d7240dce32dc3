"""Tests and intervals for two or more versions that met the same items.

Counts are named after the 2 x 2 table of right and wrong: `b` items only the first had right, `c` items only the second
had right.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from ..models.engine import LOCAL, Engine
from ..models.progress import Progress, quiet
from ..models.result import significant
from .resampling import DRAWS, DrawBlock, Interval, draw_blocks, p_of_draws, wilson


def said_p(p: float) -> str:
    """Write a p-value with its sign: ``= 0.0123``, ``< 1e-300``; ``is undefined`` where it is NaN."""
    if math.isnan(p):
        return "is undefined"
    return f"= {significant(p, 3)}" if p > 1e-300 else "< 1e-300"


def mcnemar_exact_all(b: np.ndarray | float, c: np.ndarray | float) -> np.ndarray:
    """Give the exact two-sided p of McNemar's test for arrays of counts; 1 where b + c is 0."""
    from scipy.special import bdtr

    b, c = np.broadcast_arrays(np.asarray(b, float), np.asarray(c, float))
    with np.errstate(invalid="ignore"):
        p = np.minimum(1.0, 2 * bdtr(np.minimum(b, c), (b + c).astype(int), 0.5))
    return np.where(b + c == 0, 1.0, p)


def mcnemar_mid_p(b: int, c: int) -> float:
    """Give the two-sided mid-p of McNemar's test: the exact p less half the probability of what was seen, on both
    sides.

    Fagerland, Lydersen and Laake (2013), *The McNemar test for binary matched-pairs data: mid-p and asymptotic are
    better than exact conditional*.
    """
    from scipy.special import bdtr, gammaln

    n, k = b + c, min(b, c)
    if n == 0:
        return 1.0
    point = math.exp(float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)) - n * math.log(2))
    return min(1.0, 2 * float(bdtr(k, n, 0.5)) - point)


def mcnemar_chi_square(b: int, c: int) -> tuple[float, float]:
    """Give McNemar's chi-square with continuity correction, and its p; NaN where b + c is 0."""
    from scipy.special import chdtrc

    if b + c == 0:
        return math.nan, math.nan
    statistic = max(abs(b - c) - 1, 0) ** 2 / (b + c)
    return statistic, float(chdtrc(1, statistic))


class CochranQ(NamedTuple):
    """Cochran's Q, its degrees of freedom and its p."""

    statistic: float
    df: int
    p: float


def cochran_q(right: np.ndarray) -> CochranQ:
    """Give Cochran's Q of answers, shape (items, versions), 1 right and 0 wrong; NaN where all items are unanimous.

    Cochran (1950), *The comparison of percentages in matched samples*: Q = (k − 1)(k ΣC² − N²) / (k N − ΣR²), with C
    the sums of the columns, R of the rows, N of all; chi-square with k − 1 degrees of freedom.
    """
    from scipy.special import chdtrc

    k = right.shape[1]
    columns, rows, total = right.sum(axis=0), right.sum(axis=1), right.sum()
    below = k * total - float(rows @ rows)
    if below == 0:
        return CochranQ(math.nan, k - 1, math.nan)
    q = float((k - 1) * (k * float(columns @ columns) - total**2) / below)
    return CochranQ(q, k - 1, float(chdtrc(k - 1, q)))


def clopper_pearson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Give the exact interval of a proportion (Clopper and Pearson 1934); NaN ends where n is 0."""
    from scipy.special import betaincinv

    if n == 0:
        return Interval(math.nan, math.nan)
    tail = (1 - level) / 2
    low = 0.0 if successes <= 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes >= n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return Interval(low, high)


def newcombe_paired(both: float, b: float, c: float, neither: float, level: float = 0.95) -> Interval:
    """Give the square-and-add score interval of (b − c) / n, the difference of two proportions over the same items.

    Newcombe (1998), *Improved confidence intervals for the difference between binomial proportions based on paired
    data*, method 10.
    """
    n = both + b + c + neither
    if n == 0:
        return Interval(math.nan, math.nan)
    first, second = (both + b) / n, (both + c) / n
    low1, high1 = (float(end) for end in wilson(both + b, n, level))
    low2, high2 = (float(end) for end in wilson(both + c, n, level))
    product = (both + b) * (c + neither) * (both + c) * (b + neither)
    cross = both * neither - b * c
    # The phi coefficient is pulled towards 0 where it is positive.
    cross = max(cross - n / 2, 0.0) if cross > 0 else cross
    phi = cross / math.sqrt(product) if product > 0 else 0.0
    down, up = first - low1, high2 - second
    low = first - second - math.sqrt(max(down**2 - 2 * phi * down * up + up**2, 0.0))
    down, up = second - low2, high1 - first
    high = first - second + math.sqrt(max(down**2 - 2 * phi * down * up + up**2, 0.0))
    return Interval(max(low, -1.0), min(high, 1.0))


def newcombe_independent(first: float, n1: float, second: float, n2: float, level: float = 0.95) -> Interval:
    """Give the hybrid score interval of first / n1 − second / n2, proportions of different items; NaN ends for no items.

    Newcombe (1998), *Interval estimation for the difference between independent proportions*, method 10.
    """
    if not (n1 and n2):
        return Interval(math.nan, math.nan)
    p1, p2 = first / n1, second / n2
    low1, high1 = (float(end) for end in wilson(first, n1, level))
    low2, high2 = (float(end) for end in wilson(second, n2, level))
    return Interval(p1 - p2 - math.hypot(p1 - low1, high2 - p2), p1 - p2 + math.hypot(high1 - p1, p2 - low2))


def odds_ratio_interval(b: int, c: int, level: float = 0.95) -> Interval:
    """Give the exact interval of b / c, the conditional odds ratio: the Clopper-Pearson interval of b / (b + c), made
    into odds.
    """
    low, high = (float(end) for end in clopper_pearson(b, b + c, level))
    with np.errstate(divide="ignore"):
        return Interval(float(np.divide(low, 1 - low)), float(np.divide(high, 1 - high)))


def _flipped_sums(sums: np.ndarray, block: DrawBlock) -> np.ndarray:
    generator = block.generator()
    signs = generator.integers(0, 2, size=(block.draws, len(sums)), dtype=np.int8)
    flipped: np.ndarray = (2.0 * signs - 1.0) @ sums
    return flipped


def sign_flip_p(
    sums: np.ndarray, *, draws: int = DRAWS, seed: int = 0, engine: Engine = LOCAL, progress: Progress = quiet
) -> float:
    """Give the two-sided p of a sum of differences under random signs of the units: exact for up to 12 units, else
    from `draws` random ones.

    Parameters
    ----------
    sums : ndarray, shape (units,)
        Sum of the differences in each unit; units with a sum of 0 tell nothing and are left out.
    """
    told = np.asarray(sums, float)
    told = told[told != 0]
    if not len(told):
        return 1.0
    seen = abs(float(told.sum())) * (1 - 1e-12)
    if len(told) <= 12:
        signs = 1.0 - 2.0 * ((np.arange(2 ** len(told))[:, None] >> np.arange(len(told))) & 1)
        return float(np.mean(np.abs(signs @ told) >= seen))
    drawn = np.concatenate(engine.map(partial(_flipped_sums, told), draw_blocks(draws, seed), progress))
    return p_of_draws(int(np.count_nonzero(np.abs(drawn) >= seen)), draws)


class FoldTest(NamedTuple):
    """A statistic over folds, its degrees of freedom and its two-sided p."""

    statistic: float
    df: tuple[int, ...]
    p: float


def five_by_two_t(differences: np.ndarray) -> FoldTest:
    """Give Dietterich's 5 x 2 cv paired t test of differences, shape (5, 2): 5 repeats of 2 folds.

    Dietterich (1998), *Approximate statistical tests for comparing supervised classification learning algorithms*: the
    first difference over the root of the mean variance within repeats, Student t with 5 degrees of freedom.
    """
    from scipy.special import stdtr

    variance = float(np.mean(np.var(differences, axis=1, ddof=1)))
    if variance == 0:
        return FoldTest(math.nan, (5,), math.nan)
    t = float(differences[0, 0]) / math.sqrt(variance)
    return FoldTest(t, (5,), 2 * float(stdtr(5, -abs(t))))


def five_by_two_f(differences: np.ndarray) -> FoldTest:
    """Give Alpaydin's combined 5 x 2 cv F test of differences, shape (5, 2).

    Alpaydin (1999), *Combined 5 x 2 cv F test*: the sum of all squares over twice the sum of the variances within
    repeats, F with 10 and 5 degrees of freedom. It does not depend on which fold comes first.
    """
    from scipy.special import fdtrc

    variances = float(np.sum(np.var(differences, axis=1, ddof=1)))
    if variances == 0:
        return FoldTest(math.nan, (10, 5), math.nan)
    f = float(np.sum(differences**2)) / (2 * variances)
    return FoldTest(f, (10, 5), float(fdtrc(10, 5, f)))


def corrected_resampled_t(differences: np.ndarray, test_share: float) -> FoldTest:
    """Give the corrected resampled t test of differences over folds, shape (folds,).

    Nadeau and Bengio (2003), *Inference for the generalization error*: the variance of the mean is
    (1 / folds + n_test / n_train) times the variance, since the training sets overlap.

    Parameters
    ----------
    test_share : float
        Share of the items that is in the test fold.
    """
    from scipy.special import stdtr

    folds = len(differences)
    variance = float(np.var(differences, ddof=1)) if folds > 1 else math.nan
    if not variance > 0:
        return FoldTest(math.nan, (max(folds - 1, 0),), math.nan)
    t = float(np.mean(differences)) / math.sqrt((1 / folds + test_share / (1 - test_share)) * variance)
    return FoldTest(t, (folds - 1,), 2 * float(stdtr(folds - 1, -abs(t))))


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Give p-values adjusted so that the false discovery rate is held (Benjamini and Hochberg 1995); NaN stay NaN."""
    p = np.asarray(p_values, float)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    if not len(known):
        return adjusted
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0)
    return adjusted
