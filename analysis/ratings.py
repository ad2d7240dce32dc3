"""Strengths of models from battles: the Bradley-Terry model fitted to many resamples at once, and online Elo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..models.errors import AnalysisError, TooLittleData
from ..models.natural_order import natural_order
from ..models.store import RunStore
from .answers import present

ELO = 400 / math.log(10)
"""Elo points of one unit of log strength."""


@dataclass(frozen=True, slots=True, eq=False)
class Battles:
    """Battles between two models each.

    Attributes
    ----------
    names : tuple of str
        Models in natural order.
    first, second : ndarray of int, shape (battles,)
        The two models of each, as shown.
    score : ndarray, shape (battles,)
        1 where the first won, 0 where the second did, 1/2 for a tie.
    cluster : ndarray of int, shape (battles,), or None
        The prompt (judge ...) of each battle, where battles of one belong together.
    notes : tuple of str
        What was chosen and left out.
    """

    names: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    score: np.ndarray
    cluster: np.ndarray | None
    notes: tuple[str, ...] = ()

    def wins(self) -> np.ndarray:
        """Give how often each model beat each other, ties one half each, shape (n, n)."""
        wins = np.zeros((len(self.names), len(self.names)))
        np.add.at(wins, (self.first, self.second), self.score)
        np.add.at(wins, (self.second, self.first), 1 - self.score)
        return wins


def battles_of(
    store: RunStore,
    *,
    dimension: str = "",
    judge: str = "",
    cluster: str = "",
    tie_below: float | None = None,
    longer_by: float | None = None,
) -> Battles:
    """Give the battles of the comparisons table.

    Parameters
    ----------
    dimension, judge : str
        Only these; an empty dimension takes the first, an empty judge all.
    cluster : str
        Column of battles that belong together.
    tie_below : float, optional
        Where `strength` is known: battles decided by less than this are ties.
    longer_by : float, optional
        Slight wins (of the least strength there is; all, where it is not known) by an answer that is longer by more than
        this are ties: the rule of WildBench (Lin et al. 2024) against a taste for length. Needs `length_a` and `length_b`.

    Raises
    ------
    AnalysisError
        When a column or value is missing, or a winner is none of a, b and tie.
    TooLittleData
        When there are fewer than 2 models.
    """
    frame = store.rows("comparisons")
    notes: list[str] = []
    dimensions = [str(value) for value in frame["dimension"].dropna().unique()] if "dimension" in frame.columns else []
    if dimension and dimension not in dimensions:
        raise AnalysisError(
            f"No comparison is of the dimension {dimension!r}.", remedy=f"There are {', '.join(dimensions) or 'none'}."
        )
    if dimensions:
        chosen = dimension or dimensions[0]
        frame = frame[frame["dimension"].astype(str) == chosen]
        if len(dimensions) > 1 and not dimension:
            notes.append(f"Dimension {chosen} (not {', '.join(dimensions[1:4])}): each has a rating of its own.")
    if judge:
        frame = frame[frame["judge"].astype(str) == judge] if "judge" in frame.columns else frame.iloc[:0]
        if frame.empty:
            raise AnalysisError(f"No comparison is of the judge {judge!r}.")
    winner = frame["winner"].astype(str).str.lower()
    known = winner.isin(["a", "b", "tie"]).to_numpy()
    same = (frame["a"].astype(str) == frame["b"].astype(str)).to_numpy()
    if lost := int(np.count_nonzero(~known | same)):
        notes.append(f"{lost:,} comparisons left out: no winner named, or a model against itself.")
    frame, winner = frame[known & ~same], winner[known & ~same]
    score = winner.map({"a": 1.0, "b": 0.0, "tie": 0.5}).to_numpy(float)
    if tie_below is not None and present(frame, ["strength"]):
        close = np.abs(frame["strength"].to_numpy(float)) < tie_below
        notes.append(
            f"{int(np.count_nonzero(close & (score != 0.5))):,} wins of a strength below {tie_below:g} count as ties."
        )
        score = np.where(close, 0.5, score)
    if longer_by is not None:
        score, said = _without_taste_for_length(frame, score, longer_by)
        notes.append(said)
    names = tuple(sorted({*frame["a"].astype(str), *frame["b"].astype(str)}, key=natural_order))
    if len(names) < 2:
        raise TooLittleData(needs="comparisons of at least 2 models", found=f"{len(names)}")
    numbers = {name: i for i, name in enumerate(names)}
    codes = None
    if cluster:
        if cluster not in frame.columns:
            raise AnalysisError(f"The comparisons have no column called {cluster!r}.")
        codes = pd.factorize(frame[cluster], use_na_sentinel=False)[0]
    elif present(frame, ["item"]) and frame["item"].duplicated().any():
        codes = pd.factorize(frame["item"], use_na_sentinel=False)[0]
    return Battles(
        names=names,
        first=frame["a"].astype(str).map(numbers).to_numpy(int),
        second=frame["b"].astype(str).map(numbers).to_numpy(int),
        score=score,
        cluster=codes,
        notes=tuple(notes),
    )


def _without_taste_for_length(frame: pd.DataFrame, score: np.ndarray, longer_by: float) -> tuple[np.ndarray, str]:
    """Give scores with slight wins by a much longer answer made ties, and say how many there were."""
    if len(present(frame, ["length_a", "length_b"])) < 2:
        raise AnalysisError(
            "The comparisons do not say how long answers are.", remedy="Map columns onto length_a and length_b."
        )
    surplus = frame["length_a"].to_numpy(float) - frame["length_b"].to_numpy(float)
    surplus = np.where(score < 0.5, -surplus, surplus)  # by which the winner's is longer
    slight, kind = np.ones(len(frame), dtype=bool), "wins (strengths are not known)"
    if present(frame, ["strength"]):
        strength = np.abs(frame["strength"].to_numpy(float))
        won = strength[(score != 0.5) & (strength > 0)]
        slight = strength <= (won.min() if len(won) else 0.0)
        kind = "slight wins"
    turned = slight & (score != 0.5) & (surplus > longer_by)
    return np.where(turned, 0.5, score), (
        f"{int(np.count_nonzero(turned)):,} {kind} by an answer longer by more than {longer_by:g} count as ties."
    )


def battles_of_scores(good: np.ndarray, names: Sequence[str], tie_below: float) -> Battles:
    """Give the round robin of models on every task: the higher score wins, scores closer than `tie_below` tie.

    Parameters
    ----------
    good : ndarray, shape (models, tasks)
        Scores, higher better; NaN where there is none.
    """
    first, second = np.triu_indices(len(good), 1)
    gaps = (good[first] - good[second]).T
    task, pair = np.nonzero(~np.isnan(gaps))
    fought = gaps[task, pair]
    # Within a rounding error of the limit is a tie: 0.85 - 0.80 is not quite 0.05.
    score = np.where(np.abs(fought) <= tie_below + 1e-12, 0.5, (fought > 0).astype(float))
    return Battles(tuple(names), first[pair], second[pair], score, task)


def unbeaten_groups(wins: np.ndarray) -> list[np.ndarray]:
    """Give the groups of models within which everyone can be reached by wins; one group means that strengths exist.

    Ford (1957): the maximum likelihood exists just where the graph of wins is strongly connected.
    """
    from scipy.sparse.csgraph import connected_components

    count, labels = connected_components(wins > 0, directed=True, connection="strong")
    return [np.flatnonzero(labels == group) for group in range(count)]


def fit_bradley_terry(wins: np.ndarray, prior: np.ndarray | bool = False, tolerance: float = 1e-11) -> np.ndarray:
    """Give log strengths by maximum likelihood, or with a prior of one win and one loss against a model of strength 1.

    Parameters
    ----------
    wins : ndarray, shape (draws, n, n) or (n, n)
        How often the row beat the column.
    prior : bool or ndarray of bool, shape (draws,)
        Where the maximum of the posterior is wanted instead of that of the likelihood.

    Returns
    -------
    ndarray, shape (draws, n) or (n,)
        Mean 0, except where a prior fixes the zero.

    Notes
    -----
    P(i beats j) = s_i / (s_i + s_j) (Zermelo 1929; Bradley and Terry 1952). The prior is that of Newman (2023), *Efficient
    computation of rankings from pairwise comparisons*. Both are maximised by Newton's method, all resamples at once; steps are
    limited, because the likelihood is flat far out.
    """
    single = wins.ndim == 2
    wins = wins[None] if single else wins
    draws, n, _ = wins.shape
    with_prior = np.broadcast_to(np.asarray(prior, dtype=bool), (draws,))
    games = wins + np.swapaxes(wins, 1, 2)
    won = wins.sum(axis=2)
    theta = np.zeros((draws, n))
    running = np.arange(draws)
    for _ in range(100):
        now, own = theta[running], with_prior[running, None]
        p = _logistic(now[:, :, None] - now[:, None, :])
        alone = _logistic(now)
        gradient = won[running] - (games[running] * p).sum(axis=2) + own * (1 - 2 * alone)
        weight = games[running] * p * (1 - p)
        curvature = -weight
        diagonal = weight.sum(axis=2) + own * 2 * alone * (1 - alone)
        curvature[:, np.arange(n), np.arange(n)] += diagonal
        # Adding a constant to all strengths changes nothing: without a prior their sum is held at zero.
        curvature += np.where(own, 0.0, diagonal.mean(axis=1, keepdims=True) + 1e-12)[:, :, None] / n
        curvature[:, np.arange(n), np.arange(n)] += 1e-12
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        largest = np.abs(step).max(axis=1)
        theta[running] = now + step * np.minimum(1, 2 / np.maximum(largest, 1e-300))[:, None]
        running = running[largest > tolerance]
        if not len(running):
            break
    centred: np.ndarray = np.where(with_prior[:, None], theta, theta - theta.mean(axis=1, keepdims=True))
    return centred[0] if single else centred


def _logistic(x: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    y: np.ndarray = expit(x)
    return y


def ratings_of(wins: np.ndarray) -> np.ndarray:
    """Give ratings in Elo points, mean 0, of resamples, shape (draws, n): with a prior where wins do not connect all."""
    disconnected = np.array([len(unbeaten_groups(one)) > 1 for one in wins])
    theta = fit_bradley_terry(wins, disconnected)
    ratings: np.ndarray = ELO * (theta - theta.mean(axis=1, keepdims=True))
    return ratings


def elo_in_orders(battles: Battles, orders: np.ndarray, k: float, start: float = 1500.0) -> np.ndarray:
    """Give the ratings that online Elo ends at when battles are fought in several orders.

    Parameters
    ----------
    orders : ndarray of int, shape (orders, m)
        Numbers of battles, in the order they are fought.

    Returns
    -------
    ndarray, shape (orders, n)

    Notes
    -----
    E = 1 / (1 + 10^((R_b - R_a) / 400)), R_a += k (S - E), R_b -= k (S - E) (Elo 1978); the sum of ratings stays.
    """
    rows, n = len(orders), len(battles.names)
    ratings = np.full(rows * n, float(start))
    base = np.arange(rows) * n
    a, b = np.empty(rows, dtype=np.intp), np.empty(rows, dtype=np.intp)
    mine, theirs, change = np.empty(rows), np.empty(rows), np.empty(rows)
    first, second = battles.first.astype(np.intp), battles.second.astype(np.intp)
    points = k * battles.score
    alone = first == second
    some_alone = bool(alone.any())  # a battle against oneself moves nothing
    scale = math.log(10) / 400
    # Tens of thousands of steps on short arrays: what counts is that none of them makes a new one.
    for battle in np.ascontiguousarray(orders.T):
        np.take(first, battle, out=a, mode="clip")
        np.take(second, battle, out=b, mode="clip")
        a += base
        b += base
        np.take(ratings, a, out=mine, mode="clip")
        np.take(ratings, b, out=theirs, mode="clip")
        np.subtract(theirs, mine, out=change)
        change *= scale
        np.exp(change, out=change)
        change += 1
        np.divide(-k, change, out=change)
        change += points[battle]
        if some_alone:
            change[alone[battle]] = 0
        mine += change
        theirs -= change
        ratings[a] = mine
        ratings[b] = theirs
    return ratings.reshape(rows, n)


def elo_trail(battles: Battles, order: np.ndarray, k: float, start: float = 1500.0) -> np.ndarray:
    """Give the ratings of all models before the first and after every battle, shape (battles + 1, n)."""
    trail = np.zeros((len(order) + 1, len(battles.names)))
    trail[0] = start
    ratings = [float(start)] * len(battles.names)
    first, second, score = battles.first[order], battles.second[order], battles.score[order]
    changes = []
    for a, b, s in zip(first.tolist(), second.tolist(), score.tolist(), strict=True):
        change = k * (s - 1 / (1 + 10 ** ((ratings[b] - ratings[a]) / 400))) if a != b else 0.0
        ratings[a] += change
        ratings[b] -= change
        changes.append(change)
    after = np.arange(1, len(order) + 1)
    trail[after, first] = changes
    trail[after, second] = np.negative(changes)
    # Added up in the order fought, each rating is what it was in the loop, to the last bit.
    return np.cumsum(trail, axis=0, out=trail)
