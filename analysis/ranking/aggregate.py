"""``board.aggregate``: how does the overall order depend on how scores are added up?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Cells, Clauses, FigureSpec, Line, Mark, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, significant
from ...models.store import RunStore
from ..answers import present
from ..rank_correlation import FEWEST, kendall_matrix, kendall_w, midranks
from ..remembered import Remembered
from ..resampling import DRAWS, draw_blocks, percentile_interval
from ..score_marks import interval_rows
from ..score_table import Grid, ScoreRows, chosen_scores, grid_of

_MOST_SHOWN = 12
_MOST_LINES = 6
_CUT_OFF = 1e-4
_SWEPT = 41


@dataclass(frozen=True, kw_only=True)
class Board(Result):
    """Orders of models under several ways to add scores up.

    Attributes
    ----------
    board : DataFrame
        One row a model, the best under the rule asked for first.
    rules : tuple of str
        Rules that the scores allow.
    ranks : ndarray, shape (models, rules)
        In the order of `board`.
    tasks : tuple of str
        What is added up.
    weights : ndarray, shape (tasks,)
        Of the rule asked for; their sum is 1.
    wins : ndarray, shape (models, models)
        Share of the weight on which the row beats the column, ties one half.
    swept : str
        Task whose weight is moved.
    sweep : ndarray, shape (models, steps)
        Ranks under the rule while that weight goes from 0 to 1.
    scores : ScoreRows
        What was added up.
    """

    board: pd.DataFrame
    rules: tuple[str, ...]
    ranks: np.ndarray
    tasks: tuple[str, ...]
    weights: np.ndarray
    wins: np.ndarray
    swept: str
    sweep: np.ndarray
    scores: ScoreRows

    def summary(self) -> str:
        """Give the answer in one sentence."""
        first = self.board.iloc[0]
        leading = int(np.sum(self.ranks[0] == self.ranks.min(axis=0)))
        return (
            f"{first['model']} is first under {leading} of {counted(len(self.rules), 'rule')} and for "
            f"{100 * self.estimates['first_under_random_weights'].value:.0f} % of random weights of "
            f"{counted(len(self.tasks), 'task')}; the rules agree with Kendall's W "
            f"{significant(self.estimates['kendall_w'].value, 3)} on {counted(len(self.board), 'model')}."
        )


@dataclass(frozen=True, kw_only=True)
class BoardQuestion(Question):
    """How does the overall order depend on how I add things up?"""

    needs: ClassVar = (Need("scores"),)

    rule: Literal[
        "mean", "normalised", "standardised", "win rate", "relative gain", "geometric mean", "items", "dynascore"
    ] = option("mean", help="how scores are added up for the order shown")
    weights: tuple[str, ...] = option((), help="weights as task=2; all others have 1, their sum is made 1")
    performance: str = option(
        "", help="task the Dynascore trades the others against", choices="scores.task|scores.metric"
    )
    sweep: str = option(
        "", help="task whose weight is moved; the one that changes most if empty", choices="scores.task"
    )
    metric: str = option("", help="metric; the first of each task if empty", choices="scores.metric")
    split: str = option("", help="split; the most frequent if empty", choices="scores.split")
    top: int = option(3, help="places that count as a hit", low=1, high=1000)
    better: Literal["as stated", "higher", "lower"] = option("as stated", help="direction of the scores")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the tasks, and random weights", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of both", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Board:
        """Add up by every rule the scores allow, with other weights and other tasks."""
        known = _known.of(store, replace(self, level=0.95), lambda: _added_up(store, self, progress))
        scores, grid, rules, missing = known.scores, known.grid, known.rules, known.missing
        totals, ranks, place, order = known.totals, known.ranks, known.place, known.order
        tasks, used, swept, notes = known.tasks, known.used, known.swept, list(known.notes)
        n, k = grid.good.shape
        table = _table(known, self).iloc[order]
        shown = _shown_totals(self.rule, totals[:, place])
        ends = _shown_totals(self.rule, np.stack(percentile_interval(known.drawn, self.level)))
        estimates = {
            str(grid.rows[i]): Estimate(
                float(shown[i]), float(ends[0][i]), float(ends[1][i]), self.level, _unit(self.rule),
                "" if k > 1 else "one task",
            )
            for i in order
        }  # fmt: skip
        taus = kendall_matrix(totals) if n >= FEWEST else np.full((len(rules),) * 2, math.nan)
        others = taus[~np.eye(len(rules), dtype=bool)]
        few = f"{len(rules)} rules, all there are"
        estimates |= {
            "kendall_w": Estimate(kendall_w(totals), why_no_interval=few),
            "least_tau_b": Estimate(float(others.min()) if len(others) else math.nan, why_no_interval=few),
            "first_under_random_weights": Estimate(
                known.first_by_weights, unit="of weights", why_no_interval="a share of draws"
            ),
            "first_in_resamples": Estimate(
                known.first_in_resamples, unit="of resamples", why_no_interval="a share of draws"
            ),
            "leader_changes": Estimate(
                float(known.changes),
                unit="models",
                why_no_interval="a count: models whose removal gives the win rate another first",
            ),
        }
        notes += [
            f"Unit: the task, n = {k}, resampled with its weight ({100 * self.level:g} % percentile bootstrap, "
            f"{self.draws} draws, seed {self.seed}); and weights drawn at random, all equally likely (Dirichlet).",
            "Weights: " + ", ".join(f"{task} {w:.3g}" for task, w in zip(tasks[:12], used, strict=False)) + ".",
            "The win rate, normalised, standardised and relative scores of a model depend on which others are listed.",
            *(f"No {rule}: {why}." for rule, why in missing.items()),
        ]
        used_metrics = scores.frame["metric"].nunique()
        if self.rule in ("mean", "items", "geometric mean") and (
            used_metrics > 1 or np.any(grid.good != grid.values["value"])
        ):
            notes.append(
                "Attention: scores of several metrics or directions are added as they are, so that the unit decides; "
                "normalised and standardised scores and the win rate have none."
            )
        if k < 5:
            notes.append(f"Attention: {counted(k, 'task')} are few to resample; the intervals are too narrow.")
        pairs = [(rules[a], rules[b], taus[a, b]) for a in range(len(rules)) for b in range(a + 1, len(rules))]
        return Board(
            board=table.reset_index(drop=True),
            rules=rules,
            ranks=ranks[order],
            tasks=tasks,
            weights=used,
            wins=known.wins[np.ix_(order, order)],
            swept=tasks[swept],
            sweep=known.sweep[order],
            scores=scores,
            estimates=estimates,
            tables={
                "board": table.reset_index(drop=True),
                "rules": pd.DataFrame(pairs, columns=["rule", "other", "tau_b"]),
                "weights": pd.DataFrame({"task": tasks, "weight": used}),
            },
            notes=(*notes, *scores.notes),
        )

    def _place(self, tasks: tuple[str, ...]) -> int | None:
        if not self.performance:
            return None
        return _number(self.performance, tasks)

    def _swept(self, tasks: tuple[str, ...], own: np.ndarray, weights: np.ndarray) -> int:
        if self.sweep:
            return _number(self.sweep, tasks)
        plain = midranks((own @ weights)[:, None])
        moves = [np.abs(midranks(own[:, [i]]) - plain).sum() for i in range(len(tasks))]
        return int(np.argmax(moves))


def _number(task: str, tasks: tuple[str, ...]) -> int:
    if task not in tasks:
        raise AnalysisError(
            f"Nothing that is added up is called {task!r}.", remedy=f"There are {', '.join(tasks[:12])}."
        )
    return tasks.index(task)


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """Scores added up by every rule, whatever the coverage of intervals.

    Attributes
    ----------
    scores, grid, notes
        What was chosen, and what was left out.
    rules, missing
        Rules there are, and why there is none of the others.
    totals, ranks : ndarray, shape (models, rules)
    place, order
        Number of the rule asked for, and the models by it, the best first.
    tasks, used, swept
        Names of the tasks, their weights, and the number of the one whose weight is moved.
    drawn : ndarray, shape (draws, models)
        Totals of resampled tasks.
    rank_draws : Mapping of str to ndarray, shape (draws, models)
        Sorted ranks under resampled ``tasks`` and random ``weights``.
    first_in_resamples, first_by_weights : float
        Shares of draws in which the first model is first.
    changes : int
        Models without which the win rate has another first.
    wins, sweep
        As in `Board`, in the order of the scores.
    """

    scores: ScoreRows
    grid: Grid
    notes: tuple[str, ...]
    rules: tuple[str, ...]
    missing: Mapping[str, str]
    totals: np.ndarray
    ranks: np.ndarray
    place: int
    order: np.ndarray
    tasks: tuple[str, ...]
    used: np.ndarray
    swept: int
    drawn: np.ndarray
    rank_draws: Mapping[str, np.ndarray]
    first_in_resamples: float
    first_by_weights: float
    changes: int
    wins: np.ndarray
    sweep: np.ndarray


_known = Remembered[_Known]()


def _added_up(store: RunStore, asked: BoardQuestion, progress: Progress) -> _Known:
    scores, grid, notes = _block(store, asked)
    tasks = tuple(map(str, grid.columns))
    weights = stated_weights(asked.weights, tasks, asked.performance if asked.rule == "dynascore" else "")
    items = _items(scores, grid)
    parts, missing = contributions(grid.good, grid.values["value"], items, asked._place(tasks))
    if asked.rule not in parts:
        raise AnalysisError(f"The {asked.rule} cannot be taken: {missing[asked.rule]}.")
    progress(0, 2, "rules")
    rules = tuple(parts)
    totals = np.column_stack([parts[rule] @ _for_rule(rule, weights, items) for rule in rules])
    ranks = midranks(totals)
    own, place = parts[asked.rule], rules.index(asked.rule)
    used = _for_rule(asked.rule, weights, items)
    drawn, randomly = _drawn(own, used, asked)
    progress(1, 2, "weights")
    order = np.argsort(-totals[:, place], kind="stable")
    leader = int(order[0])
    swept = asked._swept(tasks, own, used)
    wins = _head_to_head(grid.good, weights)
    steps = np.linspace(0, 1, _SWEPT)
    sweep = np.column_stack([midranks((own @ _moved(used, swept, step))[:, None])[:, 0] for step in steps])
    rank_draws = {
        name: np.sort(np.argsort(np.argsort(-draws, axis=1), axis=1) + 1, axis=0)
        for name, draws in (("tasks", drawn), ("weights", randomly))
    }
    return _Known(
        scores, grid, tuple(notes), rules, missing, totals, ranks, place, order, tasks, used, swept, drawn, rank_draws,
        float(np.mean(drawn.argmax(axis=1) == leader)), float(np.mean(randomly.argmax(axis=1) == leader)),
        _leader_changes(grid.good, weights), wins, sweep,
    )  # fmt: skip


def _block(store: RunStore, asked: BoardQuestion) -> tuple[ScoreRows, Grid, list[str]]:
    """Give the models that have a score on every task; tasks that fewer than half of the models have are left out."""
    frame = store.rows("scores")
    by_metric = not asked.metric and present(frame, ["metric"]) and frame["task"].nunique() == 1
    column = "metric" if by_metric and frame["metric"].nunique() > 1 else "task"
    scores = chosen_scores(
        store,
        apart=["metric"] if column == "metric" else (),
        metric=asked.metric,
        split=asked.split,
        better=asked.better,
    )
    grid = grid_of(scores.frame, "model", column, ("good", "value", "n"))
    there = ~np.isnan(grid.good)
    frequent = 2 * there.sum(axis=0) >= there.sum(axis=0).max()
    complete = there[:, frequent].all(axis=1)
    notes = []
    if not frequent.all():
        notes.append(f"{counted(int((~frequent).sum()), 'task')} left out, with fewer than half of the models.")
    if not complete.all():
        notes.append(
            f"Attention: {int((~complete).sum())} of {len(complete)} models left out, which lack a score on some task."
        )
    kept = grid.keeping(complete, frequent)
    if kept.good.shape[0] < 2 or kept.good.shape[1] < 2:
        raise TooLittleData(
            needs="at least 2 models with scores on at least 2 tasks, all of them",
            found=f"{counted(kept.good.shape[0], 'model')}, {counted(kept.good.shape[1], 'task')}",
        )
    return scores, kept, notes


def _items(scores: ScoreRows, grid: Grid) -> np.ndarray | None:
    n = grid.values["n"]
    if np.isnan(n).any() or (n <= 0).any():
        return None
    items: np.ndarray = n.mean(axis=0)
    return items


def stated_weights(texts: tuple[str, ...], tasks: tuple[str, ...], performance: str = "") -> np.ndarray:
    """Give the weight of each task, their sum 1: 1 each unless stated; half of all for `performance` if none is.

    Raises
    ------
    AnalysisError
        When a text is no ``task=number``, or all weights are zero.
    """
    weights = np.ones(len(tasks))
    if performance and not texts:
        weights[_number(performance, tasks)] = max(len(tasks) - 1, 1)
    for text in texts:
        task, _, number = text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not task or not weight >= 0 or not math.isfinite(weight):
            raise AnalysisError(f"{text!r} is no weight.", remedy="Write task=2, with a number of zero or more.")
        weights[_number(task.strip(), tasks)] = weight
    if not weights.sum():
        raise AnalysisError("All weights are zero.")
    stated: np.ndarray = weights / weights.sum()
    return stated


def contributions(
    good: np.ndarray, value: np.ndarray, items: np.ndarray | None = None, performance: int | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Give what each task adds under every rule, and why there is none of the other rules.

    Every rule is a weighted sum over tasks of something made of the scores (the geometric mean one of logarithms), so that
    other weights and resampled tasks are one matrix product.

    Parameters
    ----------
    good, value : ndarray, shape (models, tasks)
        Scores with higher better, and as given.
    items : ndarray, shape (tasks,), optional
        How many items each score is of.
    performance : int, optional
        Number of the task the Dynascore trades against.

    Returns
    -------
    Mapping of str to ndarray, shape (models, tasks)
    """
    n = len(good)
    sign = np.where(np.abs(good - value).max(axis=0) == 0, 1.0, -1.0)
    spread = np.ptp(good, axis=0)
    sd = good.std(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = {
            "mean": good,
            "normalised": np.where(spread > 0, (good - good.min(axis=0)) / spread, 0.5),
            "standardised": np.where(sd > 0, (good - good.mean(axis=0)) / sd, 0.0),
            "win rate": (n - midranks(good)) / (n - 1),
        }
    missing: dict[str, str] = {}
    if (value > 0).all():
        peers = (value.sum(axis=0) - value) / (n - 1)
        parts["relative gain"] = sign * 100 * (value - peers) / peers
        parts["geometric mean"] = sign * np.log(value)
    else:
        missing["relative gain"] = missing["geometric mean"] = "some score is zero or below"
    if items is not None:
        parts["items"] = good
    else:
        missing["items"] = "numbers of items are not stated"
    if performance is None:
        missing["dynascore"] = "no performance is named"
    else:
        rates = exchange_rates(good, performance)
        if np.isfinite(rates).all() and (rates > 0).all():
            parts["dynascore"] = good / rates
        else:
            missing["dynascore"] = (
                "some task has no rate of exchange (constant, or no two models differ in performance)"
            )
    return parts, missing


def exchange_rates(good: np.ndarray, performance: int) -> np.ndarray:
    """Give how much of each task goes with a unit of performance, shape (tasks,): the mean over neighbours in performance.

    Notes
    -----
    Average marginal rate of substitution of Dynaboard (Ma et al. 2021), with its cut-off: neighbours closer than 1e-4 of the
    best performance do not count.
    """
    order = np.argsort(good[:, performance], kind="stable")
    gaps = np.abs(np.diff(good[order], axis=0))
    counts = gaps[:, performance] > _CUT_OFF * abs(good[:, performance].max())
    if not counts.any():
        return np.full(good.shape[1], math.nan)
    rates: np.ndarray = (gaps[counts] / gaps[counts][:, [performance]]).mean(axis=0)
    return rates


def _for_rule(rule: str, weights: np.ndarray, items: np.ndarray | None) -> np.ndarray:
    if rule == "items" and items is not None:
        weighted: np.ndarray = weights * items / (weights * items).sum()
        return weighted
    return weights


def _shown_totals(rule: str, totals: np.ndarray) -> np.ndarray:
    return np.exp(totals) if rule == "geometric mean" else totals


def _unit(rule: str) -> str:
    return {"relative gain": "% of the mean of the others", "win rate": "of other models beaten"}.get(rule, "")


def _drawn(own: np.ndarray, weights: np.ndarray, asked: BoardQuestion) -> tuple[np.ndarray, np.ndarray]:
    """Give totals, each shape (draws, models), of resampled tasks and of random weights."""
    k = len(weights)
    tasks, randomly = [], []
    for block in draw_blocks(asked.draws, asked.seed):
        generator = block.generator()
        counts = generator.multinomial(k, np.full(k, 1 / k), size=block.draws) * weights
        total = counts.sum(axis=1, keepdims=True)
        # A resample of tasks without weight says nothing and is left out as NaN.
        tasks.append(np.where(total > 0, counts / np.where(total > 0, total, 1.0), np.nan) @ own.T)
        randomly.append(generator.dirichlet(np.ones(k), size=block.draws) @ own.T)
    resampled = np.concatenate(tasks)
    return resampled[~np.isnan(resampled).any(axis=1)], np.concatenate(randomly)


def _moved(weights: np.ndarray, task: int, weight: float) -> np.ndarray:
    """Give the weights with that of one task set, the others in proportion."""
    others = np.where(np.arange(len(weights)) == task, 0.0, weights)
    if not others.sum():
        others = (np.arange(len(weights)) != task).astype(float)
    moved: np.ndarray = (1 - weight) * others / others.sum()
    moved[task] = weight
    return moved


def _head_to_head(good: np.ndarray, weights: np.ndarray) -> np.ndarray:
    beats = (good[:, None] > good[None]) + 0.5 * (good[:, None] == good[None])
    wins: np.ndarray = beats @ weights
    np.fill_diagonal(wins, np.nan)
    return wins


def _leader_changes(good: np.ndarray, weights: np.ndarray) -> int:
    """Count the models without which the win rate has another first among those left."""
    beats = (good[:, None] > good[None]) + 0.5 * (good[:, None] == good[None])
    wins = beats @ weights
    total = wins.sum(axis=1)
    first = int(total.argmax())
    changes = 0
    for gone in range(len(good)):
        left = total - wins[:, gone]
        left[gone] = -np.inf
        changes += gone != first and bool((left > left[first] + 1e-9).any())
    return changes


def _table(known: _Known, asked: BoardQuestion) -> pd.DataFrame:
    grid, rules, totals, ranks = known.grid, known.rules, known.totals, known.ranks
    columns: dict[str, Any] = {"model": list(map(str, grid.rows)), "rank": ranks[:, known.place]}
    for name, draws in known.rank_draws.items():
        last = len(draws) - 1
        for end, share in (("low", (1 - asked.level) / 2), ("high", (1 + asked.level) / 2)):
            columns[f"rank_{end}_{name}"] = draws[round(share * last)]
    for number, rule in enumerate(rules):
        columns[rule] = _shown_totals(rule, totals[:, number])
    columns |= {f"rank by {rule}": ranks[:, number] for number, rule in enumerate(rules)}
    value = grid.values["value"]
    sd = value.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns |= {"sd_over_tasks": sd, "cv": sd / np.abs(value.mean(axis=1))}
    columns[f"top_{asked.top}_rate"] = (midranks(grid.good) <= asked.top).mean(axis=1)
    return pd.DataFrame(columns)


def figure(question: BoardQuestion, result: Board) -> FigureSpec:
    """Draw ranks by rule, ranks under other tasks and weights, ranks as one weight moves, and wins."""
    board = result.board.head(_MOST_SHOWN)
    models = tuple(board["model"])
    m = len(models)
    names = tuple(f"{shortened(name, 24)}  {number}" for number, name in enumerate(models, start=1))
    rows_axis = Axis(scale="category", names=names, inverted=True)
    at = np.arange(m, dtype=float)
    level = f"{100 * question.level:g} %"
    rows: list[Mark] = []
    for number, (name, label) in enumerate((("tasks", "tasks resampled"), ("weights", "random weights"))):
        low, high = (board[f"rank_{end}_{name}"].to_numpy(float) for end in ("low", "high"))
        notes = tuple(
            f"{model}: rank {rank:g}, {a:.0f} to {b:.0f} with {label}"
            for model, rank, a, b in zip(models, board["rank"], low, high, strict=True)
        )
        rows += interval_rows(
            name, at + 0.3 * (number - 0.5), board["rank"].to_numpy(float), low, high, hue=f"c{number}",
            label=f"{label}, {level}", origin=result.scores.origin(models), notes=notes,
        )  # fmt: skip
    intervals = Panel(key="intervals", x=Axis(label=f"rank by {question.rule}"), y=rows_axis, marks=tuple(rows))
    ranks = result.ranks[:m]
    by_rule = Panel(
        key="rules",
        x=Axis(scale="category", names=result.rules),
        y=rows_axis,
        marks=(
            Cells(
                key="rules", values=ranks, rows=names, columns=result.rules, low=1.0, high=float(max(ranks.max(), 2)),
                texts=tuple(tuple(f"{v:g}" for v in row) for row in ranks.tolist()), label="rank",
                origin=_cell_origin(result.scores, models, len(result.rules)),
            ),
        ),
        title="Rank by rule",
    )  # fmt: skip
    steps = np.linspace(0, 1, result.sweep.shape[1])
    lines = [
        Line(key=model, x=steps, y=result.sweep[i], hue=f"c{i}", width=1.6, label=shortened(model, 20),
             origin=result.scores.origin((model,)))
        for i, model in enumerate(models[:_MOST_LINES])
    ]  # fmt: skip
    now = Rule(key="now", axis="x", at=float(result.weights[result.tasks.index(result.swept)]), label="now")
    sweep = Panel(
        key="sweep",
        x=Axis(label=f"weight of {shortened(result.swept, 30)}", low=0.0, high=1.0),
        y=Axis(label="rank (1 = best)", inverted=True),
        marks=(*lines, now),
        title="One weight moved",
    )
    wins = 100 * result.wins[:m, :m]
    numbers = tuple(str(i + 1) for i in range(m))
    texts = tuple(tuple("" if np.isnan(v) else f"{v:.0f}" for v in row) for row in wins.tolist())
    pairs = Panel(
        key="wins",
        x=Axis(label="against", scale="category", names=numbers),
        y=rows_axis,
        marks=(
            Cells(key="wins", values=wins, rows=names, columns=numbers, texts=texts, ramp="diverging", low=0.0, high=100.0,
                  label="won (% of the weight)", origin=_cell_origin(result.scores, models, m)),
        ),
        title="Tasks won, %",
    )  # fmt: skip
    cut = f", the first {m} shown" if m < len(result.board) else ""
    return FigureSpec(
        title=f"Overall order by {question.rule}",
        subtitle=f"{counted(len(result.board), 'model')}{cut}; {counted(len(result.tasks), 'task')}, "
        f"{counted(len(result.rules), 'rule')}; {question.draws} draws",
        panels=(intervals, sweep, by_rule, pairs),
        columns=2,
        caption=f"{result.summary()} {' '.join(note for note in result.notes if note.startswith('Unit'))}",
    )


def _cell_origin(scores: ScoreRows, models: tuple[str, ...], columns: int) -> Clauses:
    """Give the rows of the model behind each cell, row by row."""
    return Clauses("scores", tuple(scores.clause(model) for model in models for _ in range(columns)))


ANALYSIS = Analysis(
    id="board.aggregate",
    title="Aggregation of a board",
    asks="How does the overall order depend on how scores are added up?",
    question=BoardQuestion,
    figure=figure,
    sources=(
        "Liang et al. (2023), Holistic Evaluation of Language Models: mean win rate",
        "Ma et al. (2021), Dynaboard: Dynascore",
        "Fleming and Wallace (1986): the geometric mean of ratios",
        "Dehghani et al. (2021), The Efficiency Misnomer; The Benchmark Lottery",
    ),
    definition="""\
With weights $w$ that sum to 1: mean $\\sum_t w_t s_t$; the same of scores normalised to their range or standardised over the
models; win rate, the weighted share of other models beaten, ties one half; relative gain
$100(s-\\bar s_{others})/\\bar s_{others}$; geometric mean; items, the mean with tasks weighted by their numbers of items
(pooled). Dynascore: $\\sum w_t s_t/r_t$ with $r_t$ the mean over neighbours in performance of
$|\\Delta s_t|/|\\Delta perf|$, half of the weight on performance unless weights are stated. Also the spread over tasks, its
ratio to the mean, and the share of tasks on which a model is among the top.

Units: tasks, resampled with their weights; and weights drawn uniformly. Only models with a score on every task count. Traps:
win rate and normalised scores depend on who else is listed (counted: models whose removal changes the first); an arithmetic
mean lets the task with the widest range decide; pooling and averaging can disagree; published weights are arbitrary. """,
)
