"""Coefficients of agreement between raters, as functions of counts or weights, so that resampling items is cheap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Scale = Literal["nominal", "ordinal", "interval"]


def kappa_of(tables: np.ndarray, weighted: bool = False) -> np.ndarray:
    """Give Cohen's kappa of confusion tables.

    Parameters
    ----------
    tables : ndarray, shape (..., k, k)
        Counts; categories in their order.
    weighted : bool
        Whether disagreement weighs the square of the distance between categories (Cohen 1968).

    Returns
    -------
    ndarray, shape (...)
        NaN where all ratings are one category.

    Notes
    -----
    1 - sum w O / sum w E; unweighted w is 1 off the diagonal, which is (p_o - p_e) / (1 - p_e) (Cohen 1960).
    """
    k = tables.shape[-1]
    place = np.arange(k)
    w = (place[:, None] - place[None, :]) ** 2.0 if weighted else 1.0 - np.eye(k)
    n = tables.sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = tables.sum(axis=-1)[..., :, None] * tables.sum(axis=-2)[..., None, :] / n[..., None, None]
        off = (w * expected).sum(axis=(-2, -1))
        kappa: np.ndarray = np.where(off > 0, 1 - (w * tables).sum(axis=(-2, -1)) / off, np.nan)
    return kappa


def fleiss_parts(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give, for each item, the share of agreeing pairs of ratings, and the shares of its categories.

    Parameters
    ----------
    counts : ndarray, shape (items, k)
        How many raters gave each category; the same number of raters for each item.
    """
    n = counts.sum(axis=1, keepdims=True)
    agreeing = (counts * (counts - 1)).sum(axis=1) / (n * (n - 1))[:, 0]
    return agreeing, counts / n


def fleiss_kappa(counts: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Give Fleiss' kappa (Fleiss 1971) of items drawn `weights` times, shape (draws, items); all once if None."""
    agreeing, shares = fleiss_parts(np.asarray(counts, float))
    w = np.ones((1, len(counts))) if weights is None else weights
    total = w.sum(axis=1)
    observed, expected = w @ agreeing / total, ((w @ shares / total[:, None]) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa: np.ndarray = np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)
    return kappa


@dataclass(frozen=True, slots=True, eq=False)
class Coincidences:
    """What Krippendorff's alpha needs of each item, so that resampling items is a matrix product.

    Attributes
    ----------
    scale : {'nominal', 'ordinal', 'interval'}
        How far apart two values are.
    values : ndarray, shape (k,)
        The values there are, in their order; not held for 'interval'.
    parts : ndarray, shape (items, ...)
        Coincidences of each item, flattened (k * k); for 'interval' its (pairable ratings, sum, sum of squares, squared
        differences of its pairs over ratings less one).
    """

    scale: Scale
    values: np.ndarray
    parts: np.ndarray

    @classmethod
    def of(cls, ratings: np.ndarray, scale: Scale) -> Coincidences:
        """Take ratings as numbers, shape (items, raters), NaN where missing; items with fewer than 2 hold no pair."""
        known = ~np.isnan(ratings)
        m = known.sum(axis=1)
        usable = m >= 2
        ratings, known, m = ratings[usable], known[usable], m[usable].astype(float)
        values = np.unique(ratings[known])
        if scale == "interval":
            centred = np.where(known, ratings - (values.mean() if len(values) else 0.0), 0.0)
            total, squares = centred.sum(axis=1), (centred**2).sum(axis=1)
            apart = 2 * (m * squares - total**2) / (m - 1)
            parts = np.zeros((len(usable), 4))
            parts[usable] = np.stack([m, total, squares, apart], axis=1)
            return cls(scale, values, parts)
        counts = np.stack([(ratings == value).sum(axis=1) for value in values], axis=1).astype(float)
        pairs = counts[:, :, None] * counts[:, None, :]
        places = np.arange(len(values))
        pairs[:, places, places] -= counts
        parts = np.zeros((len(usable), len(values) ** 2))
        parts[usable] = (pairs / (m - 1)[:, None, None]).reshape(len(m), -1)
        return cls(scale, values, parts)

    def alpha(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Give alpha = 1 - D_o / D_e of items drawn `weights` times, shape (draws, items); NaN where all agree on one value.

        Notes
        -----
        Krippendorff (2011), *Computing Krippendorff's Alpha-Reliability*.
        """
        w = np.ones((1, len(self.parts))) if weights is None else weights
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.scale == "interval":
                n, total, squares, apart = np.moveaxis(w @ self.parts, -1, 0)
                expected = 2 * (n * squares - total**2) / (n * (n - 1))
                scale = np.maximum(squares / n, 1e-300)
                found: np.ndarray = np.where(expected > 1e-12 * scale, 1 - apart / n / expected, np.nan)
                return found
            k = len(self.values)
            together = (w @ self.parts).reshape(len(w), k, k)
            margin = together.sum(axis=2)
            n = margin.sum(axis=1)
            apart = self._distances(margin)
            observed = (together * apart).sum(axis=(1, 2)) / n
            expected = (margin[:, :, None] * margin[:, None, :] * apart).sum(axis=(1, 2)) / (n * (n - 1))
            found = np.where(expected > 0, 1 - observed / expected, np.nan)
        return found

    def _distances(self, margin: np.ndarray) -> np.ndarray:
        """Give the squared distances between values, shape (draws, k, k)."""
        k = margin.shape[1]
        if self.scale == "nominal":
            return np.broadcast_to(1 - np.eye(k), (len(margin), k, k))
        # Ranks between: the ratings from one value to the other, half of those at both ends.
        middle = np.cumsum(margin, axis=1) - margin / 2
        distances: np.ndarray = (middle[:, :, None] - middle[:, None, :]) ** 2
        return distances


@dataclass(frozen=True, slots=True)
class IntraclassCorrelation:
    """One form of the intraclass correlation.

    Attributes
    ----------
    form : str
        ``ICC(2,1)`` and so on.
    means : str
        What it is the reliability of.
    value, low, high : float
        The estimate and its interval.
    """

    form: str
    means: str
    value: float
    low: float
    high: float


def intraclass_correlations(ratings: np.ndarray, level: float = 0.95) -> tuple[IntraclassCorrelation, ...]:
    """Give the six forms of the intraclass correlation of complete ratings, shape (items, raters).

    Notes
    -----
    Shrout and Fleiss (1979), *Intraclass correlations: uses in assessing rater reliability*; intervals from the F distribution,
    of ICC(2,.) with Satterthwaite's degrees of freedom (McGraw and Wong 1996). NaN where ratings do not vary.
    """
    from scipy.stats import f as f_law

    n, k = ratings.shape
    grand, rows, columns = ratings.mean(), ratings.mean(axis=1), ratings.mean(axis=0)
    msr = k * float(np.sum((rows - grand) ** 2)) / (n - 1)
    msc = n * float(np.sum((columns - grand) ** 2)) / (k - 1)
    within = float(np.sum((ratings - rows[:, None]) ** 2))
    msw = within / (n * (k - 1))
    df = (n - 1) * (k - 1)
    mse = max(within - (k - 1) * msc, 0.0) / df
    tail = (1 + level) / 2

    def over(value: float, by: float) -> float:
        return value / by if by else math.nan

    one, two, three = (
        over(msr - msw, msr + (k - 1) * msw),
        over(msr - mse, msr + (k - 1) * mse + k * (msc - mse) / n),
        over(msr - mse, msr + (k - 1) * mse),
    )
    f1, f3 = over(msr, msw), over(msr, mse)
    ends_1 = f1 / f_law.ppf(tail, n - 1, n * (k - 1)), f1 * f_law.ppf(tail, n * (k - 1), n - 1)
    ends_3 = f3 / f_law.ppf(tail, n - 1, df), f3 * f_law.ppf(tail, df, n - 1)
    single = [[over(end - 1, end + k - 1) for end in ends] for ends in (ends_1, ends_3)]
    # ICC(2,1): between the two mean squares that rater and residual make.
    fj = over(msc, mse)
    low_2 = high_2 = math.nan
    if not math.isnan(two) and not math.isnan(fj):
        a, b = k * two * fj, n * (1 + (k - 1) * two) - k * two
        v = df * (a + b) ** 2 / ((n - 1) * a**2 + b**2) if (a or b) else math.nan
        upper, lower = f_law.ppf(tail, n - 1, v), f_law.ppf(tail, v, n - 1)
        spread = k * msc + (k * n - k - n) * mse
        low_2 = over(n * (msr - upper * mse), upper * spread + n * msr)
        high_2 = over(n * (lower * msr - mse), spread + n * lower * msr)

    def stepped(r: float) -> float:
        return over(k * r, 1 + (k - 1) * r)

    two_k = over(msr - mse, msr + (msc - mse) / n)
    return (
        IntraclassCorrelation("ICC(1,1)", "one rating, raters differ by item", one, *map(float, single[0])),
        IntraclassCorrelation("ICC(2,1)", "one rating, raters a sample", two, float(low_2), float(high_2)),
        IntraclassCorrelation("ICC(3,1)", "one rating, these raters only", three, *map(float, single[1])),
        IntraclassCorrelation(
            "ICC(1,k)", "mean rating, raters differ by item", over(msr - msw, msr), *map(stepped, single[0])
        ),
        IntraclassCorrelation("ICC(2,k)", "mean rating, raters a sample", two_k, stepped(low_2), stepped(high_2)),
        IntraclassCorrelation(
            "ICC(3,k)", "mean rating, these raters only", over(msr - mse, msr), *map(stepped, single[1])
        ),
    )


def agreement_with_mode(own: np.ndarray, others: np.ndarray, k: int) -> np.ndarray:
    """Give, for each item, the chance that a rating is the mode of those of others, ties drawn evenly.

    Parameters
    ----------
    own : ndarray of int, shape (items,)
        Category of the rating, -1 where missing.
    others : ndarray of int, shape (items, raters)
        Categories of the others, -1 where missing.

    Returns
    -------
    ndarray, shape (items,)
        NaN where the rating or all others are missing.
    """
    counts = np.stack([(others == c).sum(axis=1) for c in range(k)], axis=1)
    most = counts.max(axis=1, keepdims=True)
    is_mode = (counts == most) & (most > 0)
    hit = is_mode[np.arange(len(own)), np.maximum(own, 0)]
    with np.errstate(divide="ignore", invalid="ignore"):
        chance: np.ndarray = np.where((own >= 0) & (most[:, 0] > 0), hit / is_mode.sum(axis=1), np.nan)
    return chance
