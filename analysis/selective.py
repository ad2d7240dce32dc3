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
        n, wrong = weights, weights * (1 - y)
        if len(starts) < len(score):
            n, wrong = np.add.reduceat(n, starts, axis=-1), np.add.reduceat(wrong, starts, axis=-1)
        return cls(score[starts][::-1], n[..., ::-1], wrong[..., ::-1])

    def cumulated(self) -> tuple[np.ndarray, np.ndarray]:
        """Give weight and errors of the rows up to the end of every block."""
        return np.cumsum(self.n, axis=-1), np.cumsum(self.wrong, axis=-1)


def ranking(sample: Sample, weights: np.ndarray, blocks: Blocks | None = None) -> np.ndarray:
    """Give AUROC, AURC, E-AURC and AUGRC of every weighting, shape (k, 4).

    With e_k the errors among the k most confident of n rows: AURC is the mean of e_k / k (Geifman, Uziel and El-Yaniv 2019),
    AUGRC that of e_k / n (Traub et al. 2024), E-AURC is AURC less that of a perfect order, and AUROC the chance that a right
    row has the higher score, ties 1/2. Weights count as repeated rows; where they are no whole numbers, the sums over k are
    taken over the n effective positions of each block.

    Parameters
    ----------
    blocks : Blocks, optional
        Those of the sample and weights, where they are known.
    """
    blocks = Blocks.of(sample.f, sample.y, weights) if blocks is None else blocks
    n, wrong = blocks.n, blocks.wrong
    after, errors_after = blocks.cumulated()
    before, errors_before = after - n, errors_after - wrong
    total, errors = after[:, -1], errors_after[:, -1]
    slope = np.divide(wrong, n, out=np.zeros(n.shape), where=n > 0)
    # Within a block e_k rises by the same share each row: the sum of e_k / k is a sum of harmonic numbers.
    aurc = (errors + _dotted(errors_before - slope * before, _harmonics(after))) / total
    # sum(n errors_before + wrong (n + 1) / 2); a block has its errors before it, and half of its own.
    shared = _dotted(n, errors_before) + _dotted(wrong, n) / 2
    augrc = (shared + errors / 2) / total**2
    # Pairs of an error and a row above it are all pairs less those with the row below; two errors are no pair.
    pairs = errors * (total - errors)
    above = errors * total - shared - errors**2 / 2
    auroc = np.divide(above, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)
    best = errors - (total - errors) * _harmonic(total - errors, total)
    return np.stack([auroc, aurc, aurc - best / total, augrc], axis=1)


def _dotted(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ij,ij->i", a, b))


def _harmonics(after: np.ndarray) -> np.ndarray:
    """Give the sum of 1 / k over the rows of each block, shape (k, blocks), from the rows up to its end."""
    from scipy.special import digamma

    whole = np.rint(after)
    # Rows are most often counted, and a sum for each number of rows is then looked up.
    if after.size and whole.max() <= max(after.size, 1000) and bool((whole == after).all()):
        sums = digamma(np.arange(1, int(whole.max()) + 2))[whole.astype(np.int64)]
    else:
        sums = digamma(after + 1)
    return np.asarray(np.diff(sums, axis=-1, prepend=digamma(1)))


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


def coverage_at_risk(blocks: Blocks, target: float) -> np.ndarray:
    """Give the coverage of the last block end whose risk is at most `target`, shape (k,); 0 where there is none."""
    answered, errors = blocks.cumulated()
    fits = (errors <= target * (1 + 1e-12) * answered) & (answered > 0)
    return np.asarray(np.where(fits, answered, 0.0).max(axis=1) / answered[:, -1])


def risks_at_coverages(blocks: Blocks, coverages: np.ndarray) -> np.ndarray:
    """Give the risk at the first block end that covers at least each of some coverages, shape (k, coverages)."""
    answered, errors = blocks.cumulated()
    asked = coverages * answered[:, -1:] * (1 - 1e-12)
    place = np.stack([np.searchsorted(above, own) for above, own in zip(answered, asked, strict=True)])
    return np.asarray(np.take_along_axis(errors, place, axis=1) / np.take_along_axis(answered, place, axis=1))
