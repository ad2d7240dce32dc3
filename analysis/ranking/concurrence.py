"""``rank.concurrence``: which benchmarks say the same thing about models?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Cells, Clauses, FigureSpec, Panel
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import Clause, is_in
from ...models.store import RunStore
from ..rank_correlation import (
    FEWEST,
    Concordance,
    PairOrders,
    Spread,
    average_linkage_order,
    correlation_spread,
    interval_method,
    why_no_interval,
)
from ..remembered import Remembered
from ..resampling import DRAWS, p_of_draws
from ..score_marks import interval_rows
from ..score_table import Grid, ScoreRows, chosen_scores, grid_of

_MOST_WRITTEN = 14


@dataclass(frozen=True, kw_only=True)
class Concurrence(Result):
    """How far tasks rank models alike.

    Attributes
    ----------
    grid : Grid
        Models by tasks.
    matrix : ndarray, shape (tasks, tasks)
        Correlation of every two tasks over the models both have; NaN where they share too few.
    shared : ndarray of int, shape (tasks, tasks)
        Models both have.
    order : ndarray of int, shape (tasks,)
        Tasks, those that agree beside one another.
    with_others : DataFrame
        One row a task: its mean correlation with the others, with its interval.
    method : str
        The coefficient.
    """

    grid: Grid
    matrix: np.ndarray
    shared: np.ndarray
    order: np.ndarray
    with_others: pd.DataFrame
    method: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        mean = e[f"mean_{_name(self.method)}"]
        upper = np.triu(np.ones_like(self.matrix, dtype=bool), 1) & np.isfinite(self.matrix)
        least = np.unravel_index(np.where(upper, self.matrix, np.inf).argmin(), self.matrix.shape)
        apart = " and ".join(str(self.grid.columns[i]) for i in least)
        w = e["kendall_w"]
        return (
            f"{len(self.grid.columns)} tasks rank {len(self.grid.rows)} models with a mean pairwise {self.method} of "
            f"{with_interval(mean.value, mean.low, mean.high)} (Kendall's W {significant(w.value, 3)}); {apart} agree least "
            f"({significant(float(self.matrix[least]), 2)})."
        )


def _name(method: str) -> str:
    return method.replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class ConcurrenceQuestion(Question):
    """Which benchmarks say the same thing?"""

    needs: ClassVar = (Need("scores"),)

    method: Literal["tau-b", "pearson"] = option("tau-b", help="coefficient between two tasks")
    models: Literal["in every task", "in both tasks"] = option(
        "in every task", help="models a pair of tasks is compared on; W always needs them in every task"
    )
    metric: str = option("", help="metric; the first of each task if empty", choices="scores.metric")
    split: str = option("", help="split; the most frequent if empty", choices="scores.split")
    better: Literal["as stated", "higher", "lower"] = option("as stated", help="direction of the scores")
    grouping: str = option("", help="column that groups tasks and may explain who agrees", choices="columns of scores")
    fewest: int = option(5, help="models two tasks must share", low=FEWEST, high=1000, advanced=True)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Concurrence:
        """Correlate tasks over models."""
        known = _known.of(store, replace(self, level=0.95), lambda: _computed(store, self, engine, progress))
        scores, grid, notes = known.scores, known.grid, list(known.notes)
        good, values = grid.good, known.spread.whole
        low, high = (np.asarray(end) for end in known.spread.interval(self.level))
        k = good.shape[1]
        name = _name(self.method)
        names = (f"mean_{name}", f"min_{name}", "kendall_w", f"mean_{name}_with_mean", f"min_{name}_leave_one_out")
        estimates = {}
        for place, label in enumerate(names):
            ranged = (low[place], high[place])
            if label == "kendall_w":
                ranged = tuple(np.clip(ranged, 0, 1).tolist())
            estimates[label] = _estimate(float(values[place]), *ranged, len(good), self.level)
        estimates["models"] = Estimate(float(len(good)), unit="models", why_no_interval="a count")
        estimates["tasks"] = Estimate(float(k), unit="tasks", why_no_interval="a count")
        rest = slice(len(names), len(names) + k)
        with_others = pd.DataFrame(
            {"task": grid.columns, "with_others": values[rest], "low": low[rest], "high": high[rest],
             "n": (~np.isnan(good)).sum(axis=0)}
        )  # fmt: skip
        if self.grouping:
            estimates |= known.explained
            notes.append(
                f"Grouping by {self.grouping}: mean {self.method} within less between groups; p by permuting tasks between "
                f"groups, {self.draws} times."
            )
        level = f"{100 * self.level:g} %"
        method = interval_method(len(good))
        bootstrapped = f", {self.draws} draws, seed {self.seed}" if method.startswith("percentile") else ""
        return Concurrence(
            grid=grid,
            matrix=known.matrix,
            shared=known.shared,
            order=known.order,
            with_others=with_others,
            method=self.method,
            estimates=estimates,
            tables={
                "tasks": with_others.sort_values("with_others", ascending=False, ignore_index=True),
                "pairs": known.pairs,
            },
            notes=(
                f"Unit: the model, n = {len(good)}. Intervals, {level}: {method}{bootstrapped}. Models of one family or lab "
                "move together; then these intervals are too narrow.",
                "Kendall's W is corrected for ties. The least of many pairs is biased downwards, in draws more so.",
                "With the mean: each task against the mean score over tasks; leave one out: that mean against the mean "
                "without one task.",
                *notes,
                *scores.notes,
            ),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What is known whatever the coverage of intervals.

    Attributes
    ----------
    scores, grid, notes
        What was chosen, and what was left out.
    spread : Spread
        Of what `_statistics` gives.
    matrix, shared, order
        As in `Concurrence`.
    pairs : DataFrame
        One row a pair of tasks.
    explained : Mapping of str to Estimate
        How well a grouping explains who agrees; empty where none is asked for.
    """

    scores: ScoreRows
    grid: Grid
    notes: tuple[str, ...]
    spread: Spread
    matrix: np.ndarray
    shared: np.ndarray
    order: np.ndarray
    pairs: pd.DataFrame
    explained: Mapping[str, Estimate]


_known = Remembered[_Known]()


def _computed(store: RunStore, asked: ConcurrenceQuestion, engine: Engine, progress: Progress) -> _Known:
    scores = chosen_scores(store, metric=asked.metric, split=asked.split, better=asked.better)
    grid, notes = _kept(grid_of(scores.frame, "model", "task"), asked)
    good = grid.good
    statistic = partial(_statistics, _Prepared.of(good, asked.method))
    spread = correlation_spread(
        statistic, len(good), draws=asked.draws, seed=asked.seed, engine=engine, progress=progress
    )
    there = (~np.isnan(good)).astype(int)
    shared = there.T @ there
    matrix = np.where(shared >= asked.fewest, _correlations(good, asked.method), np.nan)
    explained = _explained(matrix, _groups(store, scores, grid, asked.grouping), asked) if asked.grouping else {}
    return _Known(
        scores, grid, tuple(notes), spread, matrix, shared, average_linkage_order(1 - matrix),
        _pairs(grid, matrix, shared), explained,
    )  # fmt: skip


def _kept(whole: Grid, asked: ConcurrenceQuestion) -> tuple[Grid, list[str]]:
    """Give the models and tasks that enter, and what was left out."""
    notes = []
    known = ~np.isnan(whole.good)
    columns = known.sum(axis=0) >= asked.fewest
    if not columns.all():
        lost = [str(name) for name, keep in zip(whole.columns, columns, strict=True) if not keep]
        notes.append(f"{counted(len(lost), 'task')} left out, fewer than {asked.fewest} models: {', '.join(lost[:4])}.")
    grid = whole.keeping(np.ones(len(whole.rows), dtype=bool), columns)
    complete = grid.complete_rows()
    if asked.models == "in every task":
        grid, before = complete, len(grid.rows)
        if len(grid.rows) < before:
            notes.append(f"{len(grid.rows)} of {before} models have a score in every task; only they are ranked.")
    if len(grid.rows) < asked.fewest or len(grid.columns) < 2:
        raise TooLittleData(
            needs=f"at least 2 tasks that share {asked.fewest} models",
            found=f"{counted(len(grid.columns), 'task')} that share {counted(len(grid.rows), 'model')}",
            remedy="Compare each pair on the models in both tasks (models), or leave sparse tasks out with a filter.",
        )
    if len(complete.rows) < len(grid.rows):
        notes.append("W and means over tasks need models in every task; where some are missing they are not given.")
    return grid, notes


def _correlations(good: np.ndarray, method: str) -> np.ndarray:
    if method == "tau-b":
        return PairOrders.of(good).matrix()
    matrix: np.ndarray = _pearson(good, np.ones((1, len(good))))[0]
    return matrix


def _pearson(good: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give Pearson's correlation of every two columns in resamples, over the rows both have, shape (draws, k, k)."""
    known = (~np.isnan(good)).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Centred first: sums of squares of scores far from zero would lose digits.
        filled = np.where(known > 0, good - np.nanmean(good, axis=0), 0.0)
        correlations = np.empty((len(counts), good.shape[1], good.shape[1]))
        for number, weights in enumerate(np.asarray(counts, dtype=float)):
            weighted = weights[:, None]
            n = (known * weighted).T @ known
            sums = (filled * weighted).T @ known
            squares = (filled**2 * weighted).T @ known
            products = (filled * weighted).T @ filled
            covariance = products / n - sums * sums.T / n**2
            variance = squares / n - (sums / n) ** 2
            tiny = variance <= 1e-12 * squares / n
            variance = np.where(tiny, np.nan, variance)
            correlations[number] = np.clip(covariance / np.sqrt(variance * variance.T), -1, 1)
    return correlations


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """Models by tasks, ready to be resampled; and the same with the mean over tasks, and the means without one, behind."""

    columns: np.ndarray
    tasks: int
    between: PairOrders | None
    with_means: PairOrders | None
    concordance: Concordance | None

    @classmethod
    def of(cls, good: np.ndarray, method: str) -> _Prepared:
        k = good.shape[1]
        mean = good.mean(axis=1, keepdims=True)
        means = np.concatenate([mean, (mean * k - good) / (k - 1)], axis=1)
        columns = np.concatenate([good, _rounded(means)], axis=1)
        by_rank = method == "tau-b"
        return cls(
            columns=columns,
            tasks=k,
            between=PairOrders.of(good) if by_rank else None,
            with_means=PairOrders.of(columns) if by_rank else None,
            concordance=None if np.isnan(good).any() else Concordance.of(good),
        )


def _rounded(means: np.ndarray) -> np.ndarray:
    """Give means without the last bits that adding in another order would change, so that ties stay ties."""
    scale = float(np.nanmax(np.abs(means), initial=1e-300))
    rounded: np.ndarray = np.round(means / scale, 12)
    return rounded


def _statistics(prepared: _Prepared, counts: np.ndarray) -> np.ndarray:
    """Give mean and least correlation, W, mean with the mean, least without one task, and each task's mean with the
    others, shape (draws, 5 + tasks).
    """
    k = prepared.tasks
    if prepared.between is not None and prepared.with_means is not None:
        apart = prepared.between.matrices_in_draws(counts)
        with_mean = prepared.with_means.against_in_draws(k, counts)
    else:
        matrices = _pearson(prepared.columns, counts)
        apart, with_mean = matrices[:, :k, :k].copy(), matrices[:, :, k]
    upper = np.triu_indices(k, 1)
    pairs = apart[:, upper[0], upper[1]]
    apart[:, np.arange(k), np.arange(k)] = np.nan
    w = np.full(len(counts), np.nan) if prepared.concordance is None else prepared.concordance.in_draws(counts)
    parts = [
        _mean(pairs),
        np.fmin.reduce(pairs, axis=1),
        w,
        _mean(with_mean[:, :k]),
        np.fmin.reduce(with_mean[:, k + 1 :], axis=1) if k > 2 else np.full(len(counts), np.nan),
    ]
    return np.concatenate([np.stack(parts, axis=1), _mean(apart)], axis=1)


def _mean(values: np.ndarray) -> np.ndarray:
    """Give means over the last axis of what is not NaN; NaN where everything is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)
    return means


def _estimate(value: float, low: float, high: float, n: int, level: float) -> Estimate:
    return Estimate(value, low, high, level, why_no_interval="" if math.isfinite(low) else why_no_interval(n, value))


def _groups(store: RunStore, scores: ScoreRows, grid: Grid, column: str) -> list[str]:
    frame = store.rows("scores")
    if column not in frame.columns:
        raise AnalysisError(f"The scores have no column called {column!r}.")
    of_task = frame.dropna(subset=[column]).groupby("task", observed=True)[column].first()
    return [str(of_task.get(task, "none")) for task in grid.columns]


def _explained(matrix: np.ndarray, groups: list[str], asked: ConcurrenceQuestion) -> dict[str, Estimate]:
    """Give how much more tasks of one group agree than tasks of two, and how often a random grouping does as well."""
    codes = np.unique(groups, return_inverse=True)[1]
    upper = np.triu_indices(len(codes), 1)
    values = matrix[upper]

    def gap(order: np.ndarray) -> float:
        same = codes[order][upper[0]] == codes[order][upper[1]]
        known = np.isfinite(values)
        if not (same & known).any() or not (~same & known).any():
            return math.nan
        return float(values[same & known].mean() - values[~same & known].mean())

    observed = gap(np.arange(len(codes)))
    if math.isnan(observed):
        raise TooLittleData(
            needs=f"tasks that share a value of {asked.grouping}, and tasks that do not",
            found=f"{len(set(groups))} groups of {len(groups)} tasks",
        )
    generator = np.random.default_rng(asked.seed)
    beyond = sum(gap(generator.permutation(len(codes))) >= observed - 1e-12 for _ in range(asked.draws))
    return {
        "within_less_between": Estimate(observed, why_no_interval="tested by permutation instead"),
        "grouping_p": Estimate(p_of_draws(beyond, asked.draws), why_no_interval="a p-value"),
    }


def _pairs(grid: Grid, matrix: np.ndarray, shared: np.ndarray) -> pd.DataFrame:
    upper = np.triu_indices(len(matrix), 1)
    pairs = pd.DataFrame(
        {
            "task_a": [grid.columns[i] for i in upper[0]],
            "task_b": [grid.columns[i] for i in upper[1]],
            "correlation": matrix[upper],
            "n": shared[upper],
        }
    )
    return pairs.sort_values("correlation", ignore_index=True)


@lru_cache(maxsize=4)
def _of_pairs(names: tuple[str, ...]) -> tuple[Clause, ...]:
    """Give the clause of every two tasks, row by row; the same ones for every coverage."""
    return tuple(is_in("task", {a, b}) for a in names for b in names)


def figure(question: ConcurrenceQuestion, result: Concurrence) -> FigureSpec:
    """Draw the matrix of tasks, those that agree beside one another, and each task's agreement with the others."""
    order = result.order
    matrix = result.matrix[np.ix_(order, order)]
    names = tuple(str(result.grid.columns[i]) for i in order)
    few = len(names) <= _MOST_WRITTEN
    texts = tuple(tuple("" if np.isnan(v) else f"{v:.2f}" for v in row) for row in matrix.tolist()) if few else ()
    lowest = float(np.nanmin(matrix)) if np.isfinite(matrix).any() else 0.0
    cells = Cells(
        key="matrix", values=matrix, rows=names, columns=names, texts=texts, low=min(0.0, lowest), high=1.0,
        label=result.method,
        origin=Clauses("scores", _of_pairs(names)),
    )  # fmt: skip
    heat = Panel(
        key="heat",
        x=Axis(scale="category", names=names),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(cells,),
        title=f"{result.method} between tasks",
        square=True,
    )
    rows = result.with_others.iloc[order]
    value, low, high = (rows[name].to_numpy(float) for name in ("with_others", "low", "high"))
    notes = tuple(
        f"{name}: mean {result.method} with the others {with_interval(v, a, b)}"
        for name, v, a, b in zip(names, value.tolist(), low.tolist(), high.tolist(), strict=True)
    )
    behind = Clauses("scores", tuple(is_in("task", (name,)) for name in names))
    marks = interval_rows("others", np.arange(len(names), dtype=float), value, low, high, origin=behind, notes=notes)
    level = f"{100 * question.level:g} %"
    agreement = Panel(
        key="agreement",
        x=Axis(label=f"mean {result.method} with the others, {level}"),
        y=Axis(scale="category", names=names, inverted=True),
        marks=marks,
        title="Agreement with the others",
        legend=False,
    )
    e = result.estimates
    subtitle = (
        f"{len(result.grid.rows)} models, {len(names)} tasks; Kendall's W "
        f"{with_interval(e['kendall_w'].value, e['kendall_w'].low, e['kendall_w'].high)}, {level} over models"
    )
    return FigureSpec(
        title="Concurrence of tasks",
        subtitle=subtitle,
        panels=(heat, agreement),
        columns=2,
        caption=f"{result.summary()} Tasks in the order of average linkage. {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="rank.concurrence",
    title="Concurrence of benchmarks",
    asks="Which benchmarks say the same thing about models?",
    question=ConcurrenceQuestion,
    figure=figure,
    sources=(
        "Liu et al. (2021), Do Question Answering Modeling Improvements Hold Across Benchmarks: concurrence",
        "Kendall and Babington Smith (1939): W; Siegel (1956): its correction for ties",
        "Kendall (1945): tau-b",
    ),
    definition="""\
Tasks are held against one another by tau-b (or Pearson's r) over models, and all together by Kendall's
$W=12S/(m^2(n^3-n)-m\\sum T)$. Tasks that agree stand beside one another (average linkage of 1 − tau-b). Each is also
held against the mean score over tasks, and that mean against itself without one task: how much one task decides.

Unit: the model (bootstrap from ten on, jackknife from six). Pairs of tasks share their models, so the pairs are not
independent: no test counts them as such. A grouping of tasks is tested by permuting tasks between groups. """,
)
