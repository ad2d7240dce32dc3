"""Paired tests of every two models on the same items, of many subsets of the items at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_MODELS = 80
"""More make thousands of pairs, which nobody reads and which take long."""


@dataclass(frozen=True, slots=True, eq=False)
class PairAnswers:
    """On which items exactly one of two models was right, for every two models.

    Attributes
    ----------
    first, second : ndarray of int, shape (pairs,)
        The two models of each pair.
    only_first, only_second : ndarray of float32, shape (items, pairs)
        By how much the first (second) was better on an item.
    """

    first: np.ndarray
    second: np.ndarray
    only_first: np.ndarray
    only_second: np.ndarray

    @classmethod
    def of(cls, right: np.ndarray) -> PairAnswers:
        """Give the pairs of `right`, shape (items, models)."""
        first, second = np.triu_indices(right.shape[1], 1)
        gap = (right[:, first] - right[:, second]).astype(np.float32)
        return cls(first, second, np.maximum(gap, 0), np.maximum(-gap, 0))

    def sums(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give discordant counts in subsets or resamples, each shape (draws, pairs).

        Parameters
        ----------
        weights : ndarray, shape (draws, items)
            How often each item is in.
        """
        weights = weights.astype(np.float32)
        return (weights @ self.only_first).astype(float), (weights @ self.only_second).astype(float)


def mcnemar_p(b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Give the exact two-sided p of McNemar's test for arrays of discordant counts; 1 where there are none."""
    from scipy.special import bdtr

    b, c = np.asarray(b, dtype=float), np.asarray(c, dtype=float)
    with np.errstate(invalid="ignore"):
        p = np.minimum(1.0, 2 * bdtr(np.minimum(b, c), (b + c).astype(int), 0.5))
    exact: np.ndarray = np.where(b + c == 0, 1.0, p)
    return exact


def better_p(b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Give the probability, if neither model were better, of the second being ahead by less, ties counted one half.

    Near 1 the first model is better, near 0 the second: what a paired permutation of the answers gives, in closed form.
    """
    from scipy.special import bdtr

    b, n = np.asarray(b, dtype=float), (np.asarray(b) + np.asarray(c)).astype(int)
    below = np.where(b > 0, bdtr(np.maximum(b - 1, 0), n, 0.5), 0.0)
    p: np.ndarray = (below + bdtr(b, n, 0.5)) / 2
    return np.where(n == 0, 0.5, p)


def adjusted(p: np.ndarray, method: str) -> np.ndarray:
    """Give p-values adjusted for their number along the last axis.

    Parameters
    ----------
    p : ndarray, shape (..., tests)
    method : {'holm', 'bh', 'none'}
        Holm (1979) for the family-wise error, Benjamini and Hochberg (1995) for the share of false discoveries.
    """
    if method == "none":
        return p
    m = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=-1)
    if method == "holm":
        steps = np.maximum.accumulate(ordered * np.arange(m, 0, -1), axis=-1)
    else:
        steps = np.minimum.accumulate((ordered * m / np.arange(1, m + 1))[..., ::-1], axis=-1)[..., ::-1]
    out = np.empty_like(ordered)
    np.put_along_axis(out, order, np.minimum(steps, 1.0), axis=-1)
    return out


def random_subsets(generator: np.random.Generator, draws: int, items: int, size: int) -> np.ndarray:
    """Give subsets of `size` items drawn without replacement, as 0 and 1, shape (draws, items)."""
    chosen = np.argpartition(generator.random((draws, items), dtype=np.float32), size - 1, axis=1)[:, :size]
    subsets = np.zeros((draws, items), dtype=np.float32)
    np.put_along_axis(subsets, chosen, 1.0, axis=1)
    return subsets
