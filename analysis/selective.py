"""Answering only when confident: risk against coverage, and how well a score tells right from wrong.

All for many weightings of one sample at once; rows of one score are one block, in which errors are spread evenly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .forecast_rows import Sample


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows by distinct score, the highest first; arrays of shape (k, blocks).

    Attributes
    ----------
    score : ndarray, shape (blocks,)
        Falling.
    n, wrong : ndarray
        Weight of the rows, and of those that are wrong, in each block.
    """

    score: np.ndarray
    n: np.ndarray
    wrong: np.ndarray

    @classmethod
    def of(cls, score: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Blocks:
        """Sum weights, shape (k, n), over rows of one score; `score` never falls."""
        starts = np.flatnonzero(np.concatenate([[True], score[1:] != score[:-1]]))
        n = np.add.reduceat(weights, starts, axis=-1)
        wrong = np.add.reduceat(weights * (1 - y), starts, axis=-1)
        return cls(score[starts][::-1], n[..., ::-1], wrong[..., ::-1])

    def cumulated(self) -> tuple[np.ndarray, np.ndarray]:
        """Give weight and errors of the rows up to the end of every block."""
        return np.cumsum(self.n, axis=-1), np.cumsum(self.wrong, axis=-1)


def ranking(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Give AUROC, AURC, E-AURC and AUGRC of every weighting, shape (k, 4).

    With e_k the errors among the k most confident of n rows: AURC is the mean of e_k / k (Geifman, Uziel and El-Yaniv 2019),
    AUGRC that of e_k / n (Traub et al. 2024), E-AURC is AURC less that of a perfect order, and AUROC the chance that a right
    row has the higher score, ties 1/2. Weights count as repeated rows; where they are no whole numbers, the sums over k are
    taken over the n effective positions of each block.
    """
    blocks = Blocks.of(sample.f, sample.y, weights)
    n, wrong = blocks.n, blocks.wrong
    total, errors = n.sum(axis=1), wrong.sum(axis=1)
    right_above = np.cumsum(n - wrong, axis=1) - (n - wrong)
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = (wrong * (right_above + 0.5 * (n - wrong))).sum(axis=1)
        auroc = pairs / (errors * (total - errors))
    after, errors_after = blocks.cumulated()
    before, errors_before = after - n, errors_after - wrong
    slope = np.where(n > 0, wrong / np.where(n > 0, n, 1), 0.0)
    # Within a block e_k rises by the same share each row: the sum of e_k / k is a sum of harmonic numbers.
    aurc = (slope * n + (errors_before - slope * before) * _harmonic(before, after)).sum(axis=1) / total
    augrc = (n * errors_before + slope * n * (n + 1) / 2).sum(axis=1) / total**2
    best = errors - (total - errors) * _harmonic(total - errors, total)
    return np.stack([auroc, aurc, aurc - best / total, augrc], axis=1)


def _harmonic(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Give the sum of 1 / k over low < k <= high; for numbers that are not whole, by the digamma function."""
    from scipy.special import digamma

    return np.asarray(digamma(high + 1) - digamma(low + 1))


@dataclass(frozen=True, slots=True)
class RiskCurve:
    """Risk against coverage at the ends of blocks, the most confident rows first.

    Attributes
    ----------
    threshold : ndarray, shape (m,)
        Least score that is answered.
    coverage, risk : ndarray, shape (m,)
        Share answered, and share of errors among those.
    answered, errors : ndarray, shape (m,)
        Weights behind them.
    """

    threshold: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    answered: np.ndarray
    errors: np.ndarray


def risk_curve(sample: Sample, weight: np.ndarray) -> RiskCurve:
    """Give risk against coverage of one weighting, shape (n,)."""
    blocks = Blocks.of(sample.f, sample.y, weight)
    filled = blocks.n > 0
    answered, errors = np.cumsum(blocks.n[filled]), np.cumsum(blocks.wrong[filled])
    return RiskCurve(blocks.score[filled], answered / answered[-1], errors / answered, answered, errors)


def coverage_at_risk(sample: Sample, weights: np.ndarray, target: float) -> np.ndarray:
    """Give the coverage of the last block end whose risk is at most `target`, shape (k,); 0 where there is none."""
    blocks = Blocks.of(sample.f, sample.y, weights)
    answered, errors = blocks.cumulated()
    fits = (errors <= target * answered * (1 + 1e-12)) & (answered > 0)
    return np.asarray(np.where(fits, answered, 0.0).max(axis=1) / answered[:, -1])


def risks_at_coverages(sample: Sample, weights: np.ndarray, coverages: np.ndarray) -> np.ndarray:
    """Give the risk at the first block end that covers at least each of some coverages, shape (k, coverages)."""
    blocks = Blocks.of(sample.f, sample.y, weights)
    answered, errors = blocks.cumulated()
    found = np.empty((len(weights), len(coverages)))
    for row, (above, wrong) in enumerate(zip(answered, errors, strict=True)):
        place = np.searchsorted(above, coverages * above[-1] * (1 - 1e-12))
        found[row] = wrong[place] / above[place]
    return found
