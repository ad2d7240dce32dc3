"""Probability forecasts against what happened: bins, isotonic fit, kernel smoothing.

A forecast is a probability `f` in [0, 1] of an outcome `y` that is 0 or 1: a confidence and whether the answer was
right, or the probability of a class and whether it was the label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Closed = Literal["right", "left"]

_FINEST = 200_000


def width_edges(bins: int) -> np.ndarray:
    """Give the edges of bins of equal width on [0, 1], shape (bins + 1,); k / bins, so that 3 / 5 is 0.6 to the last
    bit.
    """
    return np.arange(bins + 1) / bins


def mass_edges(f: np.ndarray, bins: int) -> np.ndarray:
    """Give the edges of bins of about equal counts, from the quantiles of `f`; equal forecasts share a bin, so there
    may be fewer.
    """
    edges = np.unique(np.quantile(f, np.arange(bins + 1) / bins))
    return edges if len(edges) > 1 else np.array([edges[0], edges[0]])


def bins_of(f: np.ndarray, edges: np.ndarray, closed: Closed = "right") -> np.ndarray:
    """Give the bin of each forecast, from 0: (a, b] where `closed` is 'right', [a, b) where it is 'left'; ends belong
    to the end bins.
    """
    place = np.searchsorted(edges, f, side="left" if closed == "right" else "right") - 1
    return np.clip(place, 0, len(edges) - 2)


@dataclass(frozen=True, slots=True)
class Binned:
    """Sums of forecasts and outcomes by bin; each has shape (..., bins)."""

    n: np.ndarray
    f: np.ndarray
    y: np.ndarray

    @classmethod
    def of(cls, f: np.ndarray, y: np.ndarray, bins: np.ndarray, count: int) -> Binned:
        """Sum forecasts and outcomes, shape (n,), into `count` bins."""
        return cls(
            np.bincount(bins, minlength=count).astype(float), np.bincount(bins, f, count), np.bincount(bins, y, count)
        )

    def ece(self) -> np.ndarray:
        """Give the expected calibration error, sum of n_b / n |mean y - mean f| (Naeini et al. 2015), shape (...)."""
        return np.asarray(np.abs(self.y - self.f).sum(axis=-1) / self.n.sum(axis=-1))

    def mce(self) -> np.ndarray:
        """Give the greatest gap of a bin that holds anything (Naeini et al. 2015), shape (...)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            gaps = np.where(self.n > 0, np.abs(self.y - self.f) / self.n, -1.0)
        return np.asarray(gaps.max(axis=-1))


@dataclass(frozen=True, slots=True)
class IsotonicFit:
    """The best increasing function from forecast to rate, and how the Brier score splits by it.

    Score = miscalibration - discrimination + uncertainty, exactly (Dimitriadis, Gneiting and Jordan 2021, *Stable
    reliability diagrams for probabilistic classifiers*). In-sample, so that even a perfect forecast shows some
    miscalibration.

    Attributes
    ----------
    f, rate : ndarray, shape (k,)
        Distinct forecasts, increasing, and the fitted rate at each.
    score, miscalibration, discrimination, uncertainty : float
        Mean Brier score and its parts.
    """

    f: np.ndarray
    rate: np.ndarray
    score: float
    miscalibration: float
    discrimination: float
    uncertainty: float


def fit_isotonic(f: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> IsotonicFit:
    """Fit by pool-adjacent-violators; equal forecasts are pooled first."""
    distinct, n, hits, squares = pooled(f, y, weight)
    fitted = isotonic_rates(n, hits)
    total, right = float(n.sum()), float(hits.sum())
    mean = right / total
    score = float(squares.sum()) / total
    # Outcomes are 0 or 1, so that the mean of (x - y)² needs the sums of each pool and no row.
    recalibrated = float((n * fitted**2 - 2 * fitted * hits + hits).sum()) / total
    constant = mean * (1 - mean)
    return IsotonicFit(distinct, fitted, score, score - recalibrated, constant - recalibrated, constant)


def pooled(
    f: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give the distinct forecasts, increasing, and at each the sums of weight, of outcome and of (f - y)²."""
    f = np.asarray(f)
    order = slice(None) if len(f) < 2 or bool((f[1:] >= f[:-1]).all()) else np.argsort(f, kind="stable")
    f, y = np.asarray(f[order], float), np.asarray(y, float)[order]
    w = np.ones(len(f)) if weight is None else np.asarray(weight, float)[order]
    starts = np.flatnonzero(np.concatenate([[True], f[1:] != f[:-1]]))
    distinct = f[starts]
    n, hits = np.add.reduceat(w, starts), np.add.reduceat(w * y, starts)
    squares = n * distinct**2 - 2 * distinct * hits + hits
    filled = n > 0
    return (distinct, n, hits, squares) if filled.all() else tuple(x[filled] for x in (distinct, n, hits, squares))  # type: ignore[return-value]


def isotonic_rates(n: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Give the increasing rates nearest to hits / n, weighted by n, shape (k,)."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(hits / n, weights=n).x)


@dataclass(frozen=True, slots=True)
class SmoothFit:
    """The kernel estimate of the rate at the bandwidth that equals its own calibration error.

    Attributes
    ----------
    error : float
        smECE, which is also the bandwidth.
    at, rate, density : ndarray, shape (m,)
        Places in [0, 1], the smoothed rate there, and the density of forecasts.
    """

    error: float
    at: np.ndarray
    rate: np.ndarray
    density: np.ndarray


def fit_smooth(f: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> SmoothFit:
    """Solve smECE_s = s with the reflected Gaussian kernel (Blasiok and Nakkiran 2024, *Smooth ECE*).

    On m midpoints the reflected kernel is diagonal in the cosine transform: coefficient k is multiplied by exp(-(pi k
    s)^2 / 2). smECE_s never rises with s, so the bandwidth is found by bisection.
    """
    from scipy.fft import dct, idct

    w = np.ones(len(f)) if weight is None else np.asarray(weight, float)
    total = float(w.sum())
    # A bandwidth needs twenty midpoints or more: a small one is solved again on a finer grid.
    m = 4000
    while True:
        place = np.clip(np.asarray(f, float) * m - 0.5, 0, m - 1)
        left = np.minimum(place.astype(np.int64), m - 2)
        share = place - left

        def deposited(
            weights: np.ndarray, left: np.ndarray = left, share: np.ndarray = share, m: int = m
        ) -> np.ndarray:
            return np.asarray(
                (np.bincount(left, weights * (1 - share), m) + np.bincount(left + 1, weights * share, m)) / total
            )

        frequency = math.pi * np.arange(m)
        residual = dct(deposited(w * (f - y)))

        def smoothed(spectrum: np.ndarray, s: float, frequency: np.ndarray = frequency) -> np.ndarray:
            return np.asarray(idct(spectrum * np.exp(-0.5 * (frequency * s) ** 2)))

        low, high = 0.0, 1.0
        for _ in range(30):
            s = (low + high) / 2
            if float(np.abs(smoothed(residual, s)).sum()) > s:
                low = s
            else:
                high = s
        s = (low + high) / 2
        if s > 20 / m or m >= _FINEST:
            break
        m = min(_FINEST, max(2 * m, math.ceil(25 / max(s, 1e-6))))
    density = smoothed(dct(deposited(w)), s)
    hits = smoothed(dct(deposited(w * np.asarray(y, float))), s)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Where almost no forecast reaches, the ratio of two rounding errors says nothing.
        rate = np.where(density * m > 1e-3, hits / density, np.nan)
    return SmoothFit(s, (np.arange(m) + 0.5) / m, np.clip(rate, 0, 1), density * m)
