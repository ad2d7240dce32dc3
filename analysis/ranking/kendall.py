"""``rank.kendall``: does a benchmark rank models the same way each time: over checkpoints, seeds, subsets, prompts?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Cells, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import All, Clause, is_in
from ...models.store import RunStore
from ..answers import present
from ..rank_correlation import (
    FEWEST,
    Concordance,
    PairOrders,
    Spread,
    average_linkage_order,
    correlation_spread,
    interval_method,
    kendall_w,
    midranks,
    why_no_interval,
)
from ..remembered import Remembered
from ..resampling import DRAWS, t_quantile
from ..score_marks import bump_panel, interval_rows, short_number
from ..score_table import Grid, ScoreRows, chosen_scores, grids_of, redrawn_ranks

_TELL_APART = ("step", "seed", "fewshot", "split", "metric", "version")
"""Columns whose values may rank the same models, the most telling first."""
_MOST_ROWS = 24
_MOST_ESTIMATES = 400


@dataclass(frozen=True, slots=True, eq=False)
class TaskStability:
    """How one task ranks the same models under each condition.

    Attributes
    ----------
    models : tuple of str
        Those that have a score under every condition.
    conditions : tuple
        Checkpoints, seeds or other values of the column asked about, in order.
    reference : int
        Number of the condition the others are compared with; -1 where each is compared with all others.
    good, value : ndarray, shape (models, conditions)
        Scores, higher better; and as given.
    ranks, rank_low, rank_high : ndarray, shape (models, conditions)
        1 the best; the interval where standard errors are known.
    tau, low, high : ndarray, shape (conditions,)
        tau-b with the reference and its interval; NaN for the reference itself.
    previous : ndarray, shape (conditions,)
        tau-b with the condition before; NaN for the first.
    matrix : ndarray, shape (conditions, conditions)
        tau-b between conditions.
    mean : Estimate
        Mean of `tau`.
    w : Estimate
        Kendall's W of all conditions.
    monotonicity : ndarray, shape (models,)
        tau-b of step with score in one model; empty where conditions have no order.
    monotonic : Estimate
        Mean of `monotonicity`.
    """

    task: str
    models: tuple[str, ...]
    conditions: tuple[Any, ...]
    reference: int
    good: np.ndarray
    value: np.ndarray
    ranks: np.ndarray
    rank_low: np.ndarray
    rank_high: np.ndarray
    tau: np.ndarray
    low: np.ndarray
    high: np.ndarray
    previous: np.ndarray
    matrix: np.ndarray
    mean: Estimate
    w: Estimate
    monotonicity: np.ndarray
    monotonic: Estimate


@dataclass(frozen=True, kw_only=True)
class RankStability(Result):
    """Rankings of models under several conditions.

    Attributes
    ----------
    tasks : tuple of TaskStability
        In the order of the table.
    over : str
        The column that tells conditions apart.
    ordered : bool
        Whether conditions have an order (steps).
    unit : str
        What was resampled.
    scores : ScoreRows
        What was ranked, for the rows behind marks.
    """

    tasks: tuple[TaskStability, ...]
    over: str
    ordered: bool
    unit: str
    scores: ScoreRows

    def summary(self) -> str:
        """Give the answer in one sentence."""
        with_what = _with_what(self.tasks[0], self.over)
        if len(self.tasks) == 1:
            one = self.tasks[0]
            said = with_interval(one.mean.value, one.mean.low, one.mean.high)
            mono = f"; monotonicity {significant(one.monotonic.value, 2)}" if self.ordered else ""
            return (
                f"{one.task}: the ranking of {len(one.models)} models agrees with {with_what} with a mean tau-b of {said} "
                f"over {counted(len(one.conditions), self.over)}{mono}."
            )
        means = np.array([one.mean.value for one in self.tasks])
        if np.isnan(means).all():
            return f"No ranking of {len(self.tasks)} tasks is defined."
        best, worst = self.tasks[int(np.nanargmax(means))], self.tasks[int(np.nanargmin(means))]
        return (
            f"Of {len(self.tasks)} tasks, {best.task} ranks models most stably (mean tau-b with {with_what} "
            f"{significant(best.mean.value, 2)}) and {worst.task} least ({significant(worst.mean.value, 2)})."
        )


def _with_what(one: TaskStability, over: str) -> str:
    if one.reference < 0:
        return f"that of every other {over}"
    return f"that at {over} {short_number(one.conditions[one.reference])}"


@dataclass(frozen=True, kw_only=True)
class KendallQuestion(Question):
    """Does this benchmark rank models the same way each time?"""

    needs: ClassVar = (Need("scores"),)

    over: str = option(
        "", help="column that tells rankings apart: step, seed, prompt ...; decided by the data if empty",
        choices="columns of scores",
    )  # fmt: skip
    task: str = option("", help="only this task; all of them if empty", choices="scores.task")
    metric: str = option("", help="metric; the first of each task if empty", choices="scores.metric")
    split: str = option("", help="split; the most frequent if empty", choices="scores.split")
    reference: str = option(
        "", help="value the others are compared with; the last step, or every other value, if empty"
    )
    from_step: float | None = option(None, help="least step that counts", unit="steps", low=0)
    better: Literal["as stated", "higher", "lower"] = option("as stated", help="direction of the scores")
    unit: Literal["models", "items"] = option(
        "models", help="what the intervals of tau-b are over; items needs standard errors"
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the column that tells rankings apart."""
        if self.over or not store.has_rows("scores"):
            return self
        several = _several.of(store, "", lambda: _with_several_values(store.rows("scores")))
        return replace(self, over=several[0]) if several else self

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> RankStability:
        """Rank, correlate, resample."""
        asked = self.resolved(store)
        if not asked.over:
            raise TooLittleData(
                needs="scores of the same models at several steps, seeds, splits or versions",
                found="one each",
                remedy="Open more checkpoints, or name the column that tells rankings apart (over).",
            )
        known = _known.of(store, replace(asked, level=0.95), lambda: _all_ranked(store, asked, engine, progress))
        tasks = [_stability(name, one, asked, known.ordered) for name, one in known.ranked.items()]
        tasks.sort(key=lambda one: -one.mean.value if math.isfinite(one.mean.value) else math.inf)
        return RankStability(
            tasks=tuple(tasks),
            over=asked.over,
            ordered=known.ordered,
            unit=asked.unit,
            scores=known.scores,
            estimates=_estimates(tasks, asked),
            tables=_tables(tasks, asked.over, known.ordered),
            notes=_notes(tasks, list(known.left_out), known.scores, asked, known.ordered),
        )


def _with_several_values(frame: pd.DataFrame) -> list[str]:
    """Give the columns that may tell rankings apart, and do."""
    return [name for name in present(frame, _TELL_APART) if frame[name].nunique() > 1]


_several = Remembered[list[str]]()


def _kept(grid: Grid, asked: KendallQuestion, *, ordered: bool) -> tuple[Grid, int] | None:
    """Give the models present under every condition that is kept, and the number of the reference (-1 for none).

    Conditions under which fewer than half of the models of the reference have a score are left out first, so that one sparse
    checkpoint does not cost most models.
    """
    present_at = ~np.isnan(grid.good)
    sizes = present_at.sum(axis=0)
    names = [short_number(value) for value in grid.columns]
    if asked.reference:
        wanted = [i for i, value in enumerate(grid.columns) if asked.reference in (names[i], str(value), f"{value:g}")
                  ] if ordered else [i for i, value in enumerate(grid.columns) if str(value) == asked.reference]  # fmt: skip
        if not wanted:
            raise AnalysisError(
                f"There is no {asked.over} {asked.reference!r} to compare with.",
                remedy=f"There are {', '.join(names[:12])}.",
            )
        reference = wanted[0]
    else:
        reference = int(np.flatnonzero(sizes == sizes.max())[-1])
    rows = present_at[:, reference]
    in_common = (present_at & rows[:, None]).sum(axis=0)
    columns = np.flatnonzero(in_common * 2 >= rows.sum())
    kept = grid.keeping(rows, columns).complete_rows()
    if len(kept.rows) < FEWEST or len(kept.columns) < 2:
        return None
    number = int(np.flatnonzero(columns == reference)[0])
    return kept, number if ordered or asked.reference else -1


def _taus(orders: PairOrders, reference: int, counts: np.ndarray) -> np.ndarray:
    """Give tau-b of each condition with the reference, and behind them their mean, shape (draws, conditions + 1)."""
    if reference >= 0:
        taus = orders.against_in_draws(reference, counts)
        taus[:, reference] = np.nan
    else:
        matrices = orders.matrices_in_draws(counts)
        k = matrices.shape[1]
        matrices[:, np.arange(k), np.arange(k)] = np.nan
        taus = _mean(matrices, axis=2)
    return np.concatenate([taus, _mean(taus, axis=1)[:, None]], axis=1)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Give means over what is not NaN; NaN where everything is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)
    return means


def _redrawn(grid: Grid, reference: int, draws: int, seed: int) -> np.ndarray:
    """Give what `_taus` gives, with every score redrawn from a Gaussian of its standard error instead."""
    generator = np.random.default_rng(seed)
    good, errors = grid.good, np.nan_to_num(grid.values["stderr"])
    n, k = good.shape
    first, second = np.triu_indices(n, 1)
    drawn = []
    for start in range(0, draws, 100):
        size = min(100, draws - start)
        values = good + errors * generator.standard_normal((size, n, k))
        signs = np.sign(values[:, first] - values[:, second])
        if reference >= 0:
            taus = (signs * signs[:, :, [reference]]).mean(axis=1)
            taus[:, reference] = np.nan
        else:
            matrices = np.swapaxes(signs, 1, 2) @ signs / len(first)
            matrices[:, np.arange(k), np.arange(k)] = np.nan
            taus = _mean(matrices, axis=2)
        drawn.append(np.concatenate([taus, _mean(taus, axis=1)[:, None]], axis=1))
    return np.concatenate(drawn)


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """What is known of the rankings of one task whatever the coverage of intervals.

    Attributes
    ----------
    grid, reference
        Scores, and the number of the condition the others are compared with.
    spread, w_spread : Spread
        Of tau-b of each condition and their mean; and of Kendall's W, None where it has none.
    matrix, ranks, monotonicity
        As in `TaskStability`.
    w : float
        Kendall's W of all models.
    monotonic : tuple of float
        Mean of `monotonicity` where it is known, its standard error, and the degrees of freedom of that.
    rank_draws : ndarray, shape (draws, models, conditions), or None
        Sorted ranks of redrawn scores.
    """

    grid: Grid
    reference: int
    spread: Spread
    w_spread: Spread | None
    matrix: np.ndarray
    ranks: np.ndarray
    rank_draws: np.ndarray | None
    monotonicity: np.ndarray
    w: float
    monotonic: tuple[float, float, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What is known of all tasks whatever the coverage of intervals."""

    scores: ScoreRows
    ordered: bool
    ranked: Mapping[str, _Ranked]
    left_out: tuple[str, ...]


_known = Remembered[_Known]()


def _all_ranked(store: RunStore, asked: KendallQuestion, engine: Engine, progress: Progress) -> _Known:
    """Rank, correlate and resample every task."""
    scores = chosen_scores(
        store, apart=(asked.over,), task=asked.task, metric=asked.metric, split=asked.split, better=asked.better,
        from_step=asked.from_step,
    )  # fmt: skip
    ordered = asked.over != "seed" and pd.api.types.is_numeric_dtype(scores.frame[asked.over].dtype)
    grids, left_out = {}, []
    for task, grid in grids_of(scores.frame, "task", "model", asked.over).items():
        kept = _kept(grid, asked, ordered=ordered)
        if kept is None:
            left_out.append(str(task))
        else:
            grids[str(task)] = kept
    if not grids:
        raise TooLittleData(
            needs=f"at least {FEWEST} models with scores under the same 2 values of {asked.over}",
            found=f"none on {', '.join(left_out[:3])}",
            remedy="Another column may tell rankings apart (over), or a filter may keep too little.",
        )
    ranked = {}
    for number, (name, (grid, reference)) in enumerate(grids.items()):
        progress(number, len(grids), name)
        ranked[name] = _rankings(name, grid, reference, asked, ordered, len(grids) == 1, engine)
    return _Known(scores, ordered, ranked, tuple(left_out))


def _rankings(
    name: str, grid: Grid, reference: int, asked: KendallQuestion, ordered: bool, alone: bool, engine: Engine
) -> _Ranked:
    """Rank, correlate and resample one task; where it stands `alone`, ranks are redrawn too."""
    n = len(grid.good)
    orders = PairOrders.of(grid.good)
    has_errors = bool(np.isfinite(grid.values["stderr"]).all())
    w_spread = None
    if asked.unit == "items":
        if not has_errors:
            raise AnalysisError(
                f"Scores of {name} have no standard errors, so items cannot be resampled.",
                remedy="Choose unit models, or give a column stderr.",
            )
        whole = _taus(orders, reference, np.ones((1, n), dtype=np.int64))[0]
        drawn = np.sort(_redrawn(grid, reference, asked.draws, asked.seed), axis=0)
        spread = Spread(whole, drawn, "percentile bootstrap")
    else:
        settings = {"draws": asked.draws, "seed": asked.seed, "engine": engine}
        spread = correlation_spread(partial(_taus, orders, reference), n, **settings)  # type: ignore[arg-type]
        w_spread = correlation_spread(partial(_w, Concordance.of(grid.good)), n, **settings)  # type: ignore[arg-type]
    monotonicity = np.empty(0)
    if ordered:
        steps = np.array(grid.columns, dtype=float)
        monotonicity = PairOrders.of(np.column_stack([steps, grid.good.T])).against(0)[1:]
    known = monotonicity[~np.isnan(monotonicity)]
    m = len(known)
    error = float(np.std(known, ddof=1)) / math.sqrt(m) if m > 1 else math.nan
    return _Ranked(
        grid=grid,
        reference=reference,
        spread=spread,
        w_spread=w_spread,
        matrix=orders.matrix(),
        ranks=midranks(grid.good),
        rank_draws=_rank_draws(grid, asked) if has_errors and alone else None,
        monotonicity=monotonicity,
        w=kendall_w(grid.good),
        monotonic=(float(known.mean()) if m else math.nan, error, m - 1),
    )


@lru_cache(maxsize=256)
def _t_quantile(level: float, df: int) -> float:
    return float(t_quantile(level, df))


def _stability(name: str, ranked: _Ranked, asked: KendallQuestion, ordered: bool) -> TaskStability:
    """Give the stability of one task at the coverage that is asked for."""
    grid, whole, matrix = ranked.grid, ranked.spread.whole, ranked.matrix
    n, k = grid.good.shape
    low, high = (np.asarray(end) for end in ranked.spread.interval(asked.level))
    w_low, w_high = math.nan, math.nan
    if ranked.w_spread is not None:
        of_w = ranked.w_spread.interval(asked.level)
        w_low, w_high = np.clip([of_w.low, of_w.high], 0, 1)[:, 0].tolist()
    rank_low = rank_high = np.full((n, k), np.nan)
    if ranked.rank_draws is not None:
        last = len(ranked.rank_draws) - 1
        shares = ((1 - asked.level) / 2, (1 + asked.level) / 2)
        rank_low, rank_high = (ranked.rank_draws[round(share * last)] for share in shares)
    monotonic = Estimate(math.nan, why_no_interval="conditions have no order")
    if ordered:
        mean, error, df = ranked.monotonic
        half = _t_quantile(asked.level, df) * error
        ends = (max(mean - half, -1.0), min(mean + half, 1.0)) if df > 0 else (math.nan, math.nan)
        monotonic = Estimate(mean, *ends, asked.level, "mean over models", "" if df > 0 else "fewer than 2 models")
    return TaskStability(
        task=name,
        models=grid.rows,
        conditions=grid.columns,
        reference=ranked.reference,
        good=grid.good,
        value=grid.values["value"],
        ranks=ranked.ranks,
        rank_low=rank_low,
        rank_high=rank_high,
        tau=whole[:-1],
        low=low[:-1],
        high=high[:-1],
        previous=np.concatenate([[np.nan], matrix[np.arange(1, k), np.arange(k - 1)]]),
        matrix=matrix,
        mean=_estimate(float(whole[-1]), float(low[-1]), float(high[-1]), n, asked),
        w=_estimate(ranked.w, w_low, w_high, n, asked),
        monotonicity=ranked.monotonicity,
        monotonic=monotonic,
    )


def _w(concordance: Concordance, counts: np.ndarray) -> np.ndarray:
    return concordance.in_draws(counts)[:, None]


def _rank_draws(grid: Grid, asked: KendallQuestion) -> np.ndarray:
    """Give sorted ranks when scores are redrawn from their standard errors, shape (draws, models, conditions)."""
    errors, draws = grid.values["stderr"], min(asked.draws, 1000)
    drawn = [redrawn_ranks(grid.good[:, j], errors[:, j], draws, asked.seed + j) for j in range(len(grid.columns))]
    return np.sort(np.stack(drawn, axis=2), axis=0)


def _estimate(value: float, low: float, high: float, n: int, asked: KendallQuestion) -> Estimate:
    why = "" if math.isfinite(low) else why_no_interval(n, value) if asked.unit == "models" else "not over items"
    return Estimate(value, low, high, asked.level, why_no_interval=why)


def _estimates(tasks: Sequence[TaskStability], asked: KendallQuestion) -> dict[str, Estimate]:
    estimates = {}
    single = len(tasks) == 1
    detailed = sum(len(one.conditions) for one in tasks) <= _MOST_ESTIMATES
    for one in tasks:
        start = "" if single else f"{one.task}/"
        estimates[f"{start}mean_tau_b"] = one.mean
        estimates[f"{start}kendall_w"] = one.w
        if len(one.monotonicity):
            estimates[f"{start}monotonicity"] = one.monotonic
        if not detailed:
            continue
        for place, condition in enumerate(one.conditions):
            if place != one.reference:
                estimates[f"{start}tau_b/{_key(condition)}"] = _estimate(
                    float(one.tau[place]), float(one.low[place]), float(one.high[place]), len(one.models), asked
                )
        if single:
            for model, value in zip(one.models, one.monotonicity, strict=False):
                estimates[f"monotonicity/{model}"] = Estimate(
                    float(value), why_no_interval="checkpoints of one run depend on one another"
                )
    return estimates


def _key(condition: Any) -> str:
    return f"{condition:.12g}" if isinstance(condition, float) else str(condition)


def _tables(tasks: Sequence[TaskStability], over: str, ordered: bool) -> dict[str, pd.DataFrame]:
    ends = {"mean_tau_b": "mean", "kendall_w": "w"} | ({"monotonicity": "monotonic"} if ordered else {})
    by_task: dict[str, Any] = {
        "task": [one.task for one in tasks],
        "models": [len(one.models) for one in tasks],
        "conditions": [len(one.conditions) for one in tasks],
    }
    for name, attribute in ends.items():
        estimates = [getattr(one, attribute) for one in tasks]
        start = "" if name == "mean_tau_b" else f"{name}_"
        by_task |= {name: [e.value for e in estimates], f"{start}low": [e.low for e in estimates],
                    f"{start}high": [e.high for e in estimates]}  # fmt: skip
    sizes = [len(one.conditions) for one in tasks]
    reference = np.concatenate([np.arange(len(one.conditions)) == one.reference for one in tasks])
    by_condition = {
        "task": np.repeat(np.array([one.task for one in tasks], dtype=object), sizes),
        over: _in_a_row([one.conditions for one in tasks]),
        "tau_b": np.concatenate([one.tau for one in tasks]),
        "low": np.concatenate([one.low for one in tasks]),
        "high": np.concatenate([one.high for one in tasks]),
        "n": np.repeat([len(one.models) for one in tasks], sizes),
        "tau_b_previous": np.concatenate([one.previous for one in tasks]),
        "is_reference": reference,
    }
    tables = {"tasks": pd.DataFrame(by_task), "tau": pd.DataFrame(by_condition)}
    if len(tasks) > 1:  # a list of ranks is given with its intervals or not at all
        return tables
    one = tasks[0]
    n, k = one.ranks.shape
    ranks = {
        "task": [one.task] * (n * k),
        "model": np.repeat(np.array(one.models, dtype=object), k),
        over: list(one.conditions) * n,
        "score": one.value.ravel(),
        "rank": one.ranks.ravel(),
        "rank_low": one.rank_low.ravel(),
        "rank_high": one.rank_high.ravel(),
    }
    return tables | {"ranks": pd.DataFrame(ranks)}


def _in_a_row(parts: Sequence[tuple[Any, ...]]) -> Any:
    """Give the keys of all parts one after the other; as an array where they are numbers, which is soon a column."""
    keys = [key for part in parts for key in part]
    return np.array(keys, dtype=float) if all(isinstance(key, float) for key in keys) else keys


def _notes(
    tasks: Sequence[TaskStability], left_out: list[str], scores: ScoreRows, asked: KendallQuestion, ordered: bool
) -> tuple[str, ...]:
    sizes = [len(one.models) for one in tasks]
    n = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    level = f"{100 * asked.level:g} %"
    if asked.unit == "models":
        how = " or ".join(dict.fromkeys(interval_method(size) for size in sorted(sizes)))
        notes = [
            f"Unit: the model, n = {n}. Intervals of tau-b and W, {level}: {how}"
            + (f", {asked.draws} draws, seed {asked.seed}." if max(sizes) >= 10 else ".")
        ]
    else:
        notes = [
            f"Unit: the item, n = {n} models. Scores are redrawn from Gaussians of their standard errors ({level}, "
            f"{asked.draws} draws, seed {asked.seed}). What was observed holds such noise already, so these intervals lie "
            f"lower than the tau-b of the true scores."
        ]
    every = len(scores.frame["model"].unique())
    if min(sizes) < every:
        notes.append(f"Only models with a score under every condition are ranked: {n} of {every}.")
    if tasks[0].reference >= 0:
        notes.append(f"tau-b is with {_with_what(tasks[0], asked.over)}; with the one before it stands beside.")
    else:
        notes.append(f"tau-b of a {asked.over} is its mean with every other.")
    if ordered:
        notes.append(
            "Monotonicity: tau-b of step with score in one model, mean over models with Student's t. Checkpoints of one run "
            "depend on one another, so tau-b within a run has no p-value. It says nothing about telling models apart."
        )
    if len(tasks) > 1:
        notes.append("Ranks and their intervals are shown for one task at a time.")
    elif np.isfinite(tasks[0].rank_low).all():
        notes.append(f"Intervals of ranks, {level}: scores redrawn from their standard errors; unit: the item.")
    else:
        notes.append("Ranks have no interval of their own: the scores have no standard errors.")
    if left_out:
        notes.append(
            f"{counted(len(left_out), 'task')} left out, too few models in common: {', '.join(left_out[:4])}"
            + (" ..." if len(left_out) > 4 else ".")
        )
    return (*notes, *scores.notes)


def figure(question: KendallQuestion, result: RankStability) -> FigureSpec:
    """Draw one task as tau-b, ranks and their agreement; several as a heat map over conditions and their monotonicity."""
    panels = _one_task(question, result) if len(result.tasks) == 1 else _many_tasks(question, result)
    level = f"{100 * question.level:g} %"
    sizes = sorted({len(one.models) for one in result.tasks})
    n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    title = result.tasks[0].task if len(result.tasks) == 1 else "Rank stability"
    subtitle = f"tau-b with {_with_what(result.tasks[0], result.over)}, n = {n} models"
    if len(result.tasks) == 1:
        subtitle += f"; {'band' if result.ordered else 'bars'}: {level} over {result.unit}"
    return FigureSpec(
        title=title,
        subtitle=subtitle,
        panels=panels,
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _one_task(question: KendallQuestion, result: RankStability) -> tuple[Panel, ...]:
    one = result.tasks[0]
    names = tuple(short_number(value) for value in one.conditions)
    x = np.arange(len(names), dtype=float)
    level = f"{100 * question.level:g} %"
    clauses = tuple(_of_condition(result, one, place) for place in range(len(names)))
    behind = Clauses("scores", clauses)
    notes = tuple(
        f"{result.over} {name}: tau-b {with_interval(t, a, b)}"
        for name, t, a, b in zip(names, one.tau.tolist(), one.low.tolist(), one.high.tolist(), strict=True)
    )
    with_what = "the reference" if one.reference >= 0 else "the others"
    marks: list[Mark] = [Rule(key="one", axis="y", at=1.0, dash="dotted")]
    if np.isfinite(one.low).any() and result.ordered:
        marks.append(Band(key="band", x=x, low=one.low, high=one.high, label=f"{level} over {result.unit}"))
    if result.ordered:
        marks.append(Line(key="tau", x=x, y=one.tau, width=2.0, label=f"with {_with_what(one, result.over)}"))
        marks.append(Line(key="previous", x=x, y=one.previous, hue="c1", dash="dashed", label="with the one before"))
        marks.append(Points(key="points", x=x, y=one.tau, origin=behind, notes=notes))
    else:
        label = f"with {with_what}, {level} over {result.unit}"
        marks.append(Points(key="points", x=x, y=one.tau, low=one.low, high=one.high, size=6.0, label=label,
                            origin=behind, notes=notes))  # fmt: skip
    shown = np.concatenate([one.tau, one.low, one.previous if result.ordered else []])
    floor = float(np.nanmin(shown)) if np.isfinite(shown).any() else 0.0
    origins = [result.scores.origin((model,)) for model in one.models]
    order = np.argsort(one.ranks[:, -1], kind="stable")
    bump = bump_panel(
        [one.models[i] for i in order], names, one.ranks[order], one.rank_low[order], one.rank_high[order],
        x_label=result.over, origins=[origins[i] for i in order], title="Ranks", height=2.0,
    )  # fmt: skip
    tau = Panel(
        key="tau",
        x=replace(bump.x, label=""),
        y=Axis(label="tau-b", low=min(0.0, math.floor(10 * floor) / 10), high=1.05),
        marks=tuple(marks),
        title="Agreement",
        height=0.8,
    )
    places = np.arange(len(names)) if result.ordered else average_linkage_order(1 - one.matrix)
    heat = _heat_map(result, one, places, names)
    return tau, replace(bump, shares_x_with="tau"), heat


def _of_condition(result: RankStability, one: TaskStability, *places: int) -> Clause:
    values = [one.conditions[place] for place in places]
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return All((is_in("task", (one.task,)), is_in(result.over, plain)))


def _heat_map(result: RankStability, one: TaskStability, places: np.ndarray, names: tuple[str, ...]) -> Panel:
    matrix = one.matrix[np.ix_(places, places)]
    shown = tuple(names[i] for i in places)
    few = len(places) <= 12
    texts = tuple(tuple("" if np.isnan(v) else f"{v:.2f}" for v in row) for row in matrix.tolist()) if few else ()
    behind = tuple(_of_condition(result, one, int(a), int(b)) for a in places for b in places)
    least = float(np.nanmin(matrix)) if np.isfinite(matrix).any() else 0.0
    cells = Cells(
        key="matrix", values=matrix, rows=shown, columns=shown, texts=texts, low=min(0.0, least), high=1.0,
        label="tau-b", origin=Clauses("scores", behind),
    )  # fmt: skip
    return Panel(
        key="heat",
        x=Axis(label=result.over, scale="category", names=shown),
        y=Axis(label=result.over, scale="category", names=shown, inverted=True),
        marks=(cells,),
        title=f"tau-b between {result.over}s",
        square=True,
        height=2.8,
    )


def _many_tasks(question: KendallQuestion, result: RankStability) -> tuple[Panel, ...]:
    tasks = result.tasks[:_MOST_ROWS]
    if len(result.tasks) > _MOST_ROWS:  # the most and the least stable tell more than the middle
        tasks = (*result.tasks[: _MOST_ROWS // 2], *result.tasks[-_MOST_ROWS // 2 :])
    references = {one.conditions[one.reference] for one in tasks if one.reference >= 0}
    keys = {condition for one in tasks for condition in one.conditions}
    keys -= references if len(references) == 1 else set()
    conditions = sorted(keys) if result.ordered else sorted(keys, key=str)
    at = {condition: place for place, condition in enumerate(conditions)}
    values = np.full((len(tasks), len(conditions)), np.nan)
    for row, one in enumerate(tasks):
        for place, condition in enumerate(one.conditions):
            if condition in at:
                values[row, at[condition]] = one.tau[place]
    names = tuple(one.task for one in tasks)
    plain = tuple(c.item() if isinstance(c, np.generic) else c for c in conditions)
    columns = tuple(short_number(condition) for condition in conditions)
    few = values.size <= 160
    texts = tuple(tuple("" if np.isnan(v) else f"{v:.2f}" for v in row) for row in values.tolist()) if few else ()
    cut = f", {_MOST_ROWS} of {len(result.tasks)} tasks" if len(result.tasks) > _MOST_ROWS else ""
    heat = Panel(
        key="tasks",
        x=Axis(label=result.over, scale="category", names=columns),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(
            Cells(
                key="tau", values=values, rows=names, columns=columns, texts=texts, low=min(0.0, _least(values)), high=1.0,
                label="tau-b", origin=Clauses("scores", _of_cells(result.over, names, plain)),
            ),
        ),
        title=f"tau-b by {result.over}{cut}",
    )  # fmt: skip
    rows = np.arange(len(tasks), dtype=float)
    behind = Clauses("scores", _of_tasks(names))
    marks: list[Mark] = []
    for number, (label, parts) in enumerate(
        (("mean tau-b, over models", [one.mean for one in tasks]), ("monotonicity", [one.monotonic for one in tasks]))
    ):
        if number and not result.ordered:
            break
        value, low, high = (np.array([getattr(e, end) for e in parts]) for end in ("value", "low", "high"))
        notes = tuple(f"{name}: {label} {with_interval(e.value, e.low, e.high)}"
                      for name, e in zip(names, parts, strict=True))  # fmt: skip
        shift = (-0.17 if number == 0 else 0.17) if result.ordered else 0.0
        marks += interval_rows(f"mean{number}", rows + shift, value, low, high, hue=f"c{number}", label=label,
                               origin=behind, notes=notes)  # fmt: skip
    means = Panel(
        key="means",
        x=Axis(label=f"tau-b, {100 * question.level:g} % intervals", high=1.0),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(Rule(key="zero", axis="x", at=0.0), *marks),
        title="Mean",
    )
    return heat, means


@lru_cache(maxsize=8)
def _of_tasks(names: tuple[str, ...]) -> tuple[Clause, ...]:
    return tuple(is_in("task", (name,)) for name in names)


@lru_cache(maxsize=8)
def _of_cells(over: str, names: tuple[str, ...], conditions: tuple[Any, ...]) -> tuple[Clause, ...]:
    """Give the clause of every task under every condition; the same ones for every coverage."""
    under = [is_in(over, (condition,)) for condition in conditions]
    return tuple(All((task, condition)) for task in _of_tasks(names) for condition in under)


def _least(values: np.ndarray) -> float:
    return float(np.nanmin(values)) if np.isfinite(values).any() else 0.0


ANALYSIS = Analysis(
    id="rank.kendall",
    title="Rank stability",
    asks="Does this benchmark rank models the same way at every checkpoint, seed, subset or prompt?",
    question=KendallQuestion,
    figure=figure,
    sources=(
        "Kendall (1938, 1945): tau-b; Kendall and Babington Smith (1939): W",
        "BOSE: base, supervised and early evaluation of benchmarks across training",
        "Madaan et al. (2024), Quantifying Variance in Evaluation Benchmarks: monotonicity",
        "Liu et al. (2021), Do Question Answering Modeling Improvements Hold Across Benchmarks: concurrence",
    ),
    definition="""\
$\\tau_b=(P-Q)/\\sqrt{(P+Q+T_x)(P+Q+T_y)}$; pairs tied in both count nowhere. Three views: the ranking at each
checkpoint (seed, prompt ...) against a reference, by default the last checkpoint, or against every other where there is
no order; against the one before; and monotonicity, $\\tau_b$ of step with score inside one model. W is Kendall's
coefficient over all conditions, corrected for ties.

Only models with a score under every condition are ranked. Unit: the model (bootstrap from ten on, jackknife from six),
or the item, where scores are redrawn from their standard errors. Trap: checkpoints of one run depend on one another, so
a p-value of $\\tau_b$ within a run means nothing; and a benchmark can rise steadily without telling models apart. """,
)
