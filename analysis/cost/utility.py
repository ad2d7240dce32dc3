"""``cost.utility``: who wins under my weights?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, FigureSpec, Line, Mark, Origin, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, significant
from ...models.store import RunStore
from ..answer_marks import named_axis
from ..forecast_rows import estimate_of
from ..quality_cost import cost_columns, quality_costs
from ..rank_correlation import kendall_matrix
from ..resampling import DRAWS
from ..score_table import chosen_scores, grid_of

_SAME = 1e-4
_MOST_BARS = 20
_MOST_LINES = 10
_WEIGHTS = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True, slots=True, eq=False)
class Utilities:
    """Models with several metrics, higher always better.

    Attributes
    ----------
    names, metrics : tuple of str
        Rows and columns; the first metric is the performance.
    values : ndarray, shape (names, metrics)
        direction · x + offset.
    error : ndarray, shape (names,)
        Standard error of the performance; NaN where not known.
    win_rate : ndarray, shape (names,)
        Mean over tasks of the share of other models beaten; NaN where there are no tasks.
    origin : Origin
        The rows behind each model.
    """

    names: tuple[str, ...]
    metrics: tuple[str, ...]
    values: np.ndarray
    error: np.ndarray
    win_rate: np.ndarray
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class UtilityRanking(Result):
    """Models ranked by weighted utility.

    Attributes
    ----------
    data : Utilities
        What it comes from.
    weights : ndarray, shape (metrics,)
        Sum 1.
    rates : ndarray, shape (metrics,)
        AMRS: what a metric changes a unit of performance, between neighbours in performance.
    parts : ndarray, shape (names, metrics)
        What each metric adds to the score.
    over_weight : ndarray, shape (names, weights)
        Scores as the weight of performance goes from 0 to 1.
    """

    data: Utilities
    weights: np.ndarray
    rates: np.ndarray
    parts: np.ndarray
    over_weight: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """Scores, shape (names,)."""
        return np.asarray(self.parts.sum(axis=1))

    def summary(self) -> str:
        """Give the answer in one sentence."""
        best = int(np.argmax(self.scores))
        name = self.data.names[best]
        share = self.estimates[f"{name}/first_of_weights"].value
        changed = self.estimates["winners_by_removal"].value
        return (
            f"{name} wins under these weights, and under {100 * share:.0f} % of all weights; leaving out another model "
            + (
                "never changes the winner."
                if changed == 0
                else f"changes the winner in {100 * changed:.0f} % of cases."
            )
        )


@dataclass(frozen=True, kw_only=True)
class UtilityQuestion(Question):
    """Who wins under my weights?"""

    needs: ClassVar = (Need("scores|runs"),)

    performance: str = option("", help="metric that is the performance; the first if empty", choices="scores.metric")
    performance_weight: float = option(
        0.5, help="weight of the performance; the others share the rest", low=0.0, high=1.0
    )
    weights: tuple[str, ...] = option(
        (), help="weights of the other metrics among themselves, METRIC=WEIGHT; alike if empty"
    )
    offsets: tuple[str, ...] = option(
        (), help="offsets, METRIC=NUMBER; the greatest value where lower is better, else 0", advanced=True
    )
    costs: tuple[str, ...] = option((), help="columns of costs that are metrics too; those found if empty",
                                    choices="numbers of scores|numbers of runs")  # fmt: skip
    task: str = option("", help="only this task; the mean over tasks if empty", choices="scores.task")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(
        DRAWS, help="draws of weights, and redraws of the performance", low=100, high=100_000, advanced=True
    )
    seed: int = option(0, help="seed of the draws", low=0, advanced=True)

    @classmethod
    def missing(cls, store: RunStore) -> str:
        """Say what the open data lacks: scores, or runs with curves."""
        if store.has_rows("scores") or (store.has_rows("runs") and store.tags()):
            return ""
        return "needs a scores table, or runs with curves; none is open"

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> UtilityRanking:
        """Trade every metric for performance at the rate between neighbours, add up, and vary weights and models."""
        data, notes = _utilities(store, self)
        weights = _weights(data.metrics, self)
        rates = marginal_rates(data.values)
        if np.isnan(rates).any():
            raise TooLittleData(needs="models whose performance differs", found="no two neighbours that do")
        parts = _parts(data.values, rates, weights)
        scores = parts.sum(axis=1)
        count = len(data.names)
        generator = np.random.default_rng(self.seed)
        dirichlet = generator.dirichlet(np.ones(len(data.metrics)), self.draws)
        scaled = _parts(data.values, rates, np.ones(len(data.metrics)))
        firsts = np.bincount(np.argmax(dirichlet @ scaled.T, axis=1), minlength=count) / self.draws
        estimates: dict[str, Estimate] = {}
        drawn = _redrawn(data, weights, self, generator) if np.isfinite(data.error).all() else None
        ranks = np.argsort(np.argsort(-scores, kind="stable"), kind="stable") + 1
        for i, name in enumerate(data.names):
            estimates[f"{name}/score"] = (
                estimate_of(scores[i], drawn[0][:, i], self.level, "performance")
                if drawn is not None
                else Estimate(
                    float(scores[i]), unit="performance", why_no_interval="the performance has no standard error"
                )
            )
            estimates[f"{name}/first_of_weights"] = Estimate(float(firsts[i]), unit="of weights",
                                                             why_no_interval="a share of Dirichlet draws")  # fmt: skip
            if drawn is not None:
                estimates[f"{name}/first_of_redraws"] = Estimate(float((drawn[1] == i).mean()), unit="of redraws",
                                                                 why_no_interval="a share of redraws")  # fmt: skip
        removal = _removals(data, weights, scores)
        changed = removal["winner_changes"].mean() if len(removal) else math.nan
        estimates["winners_by_removal"] = Estimate(
            float(changed), unit="of models left out", why_no_interval="a share of models"
        )
        table = pd.DataFrame({"model": data.names, "rank": ranks, "score": scores, "first_of_weights": firsts,
                              "mean_win_rate": data.win_rate,
                              **{f"utility {name}": data.values[:, m] for m, name in enumerate(data.metrics)}})  # fmt: skip
        rate_table = pd.DataFrame({"metric": data.metrics, "weight": weights, "amrs": rates})
        how = (
            "redraws of the performance within its standard error" if drawn is not None else "none: no standard errors"
        )
        return UtilityRanking(
            data=data, weights=weights, rates=rates, parts=parts, over_weight=_over_weight(data, rates, weights),
            estimates=estimates,
            tables={"models": table.sort_values("rank", ignore_index=True), "metrics": rate_table, "removal": removal},
            notes=(f"Score: Σ weight · utility / AMRS, in units of {data.metrics[0]}; AMRS is the mean over neighbours in "
                   "performance of |change of the utility| / change of the performance.",
                   f"Unit: the item, by standard errors; intervals: {how}. {self.draws} weights from a flat Dirichlet law, "
                   f"seed {self.seed}.",
                   "Scores and win rates depend on the models that are present: the table 'removal' leaves each out once.",
                   *notes),
        )  # fmt: skip


def _utilities(store: RunStore, asked: UtilityQuestion) -> tuple[Utilities, list[str]]:
    if store.has_rows("scores"):
        found = _of_scores(store, asked)
        if found is not None:
            return found
    return _of_costs(store, asked)


def _of_scores(store: RunStore, asked: UtilityQuestion) -> tuple[Utilities, list[str]] | None:
    """Give metrics of scores, and costs beside them; None where there is only one metric."""
    has_metrics = "metric" in store.columns("scores") and store.rows("scores")["metric"].nunique() > 1
    costs = list(asked.costs) or cost_columns(store, "scores")
    if not has_metrics:
        return None
    rows = chosen_scores(store, apart=("metric",), task=asked.task)
    notes = list(rows.notes)
    means = rows.frame.groupby(["model", "metric"], sort=False, observed=True)[["value", "good"]].mean().reset_index()
    grid = grid_of(means, "model", "metric", ("value", "good"))
    metrics = [str(name) for name in grid.columns]
    performance = asked.performance or metrics[0]
    if performance not in metrics:
        raise AnalysisError(f"No metric is called {performance!r}.", remedy=f"There are {', '.join(metrics[:12])}.")
    order = [metrics.index(performance), *(i for i, name in enumerate(metrics) if name != performance)]
    good = grid.values["good"][:, order]
    turned = (grid.values["good"] != grid.values["value"])[:, order].any(axis=0)
    names = [metrics[i] for i in order]
    frame = store.rows("scores")
    if lacking := [name for name in costs if name not in frame.columns]:
        raise AnalysisError(f"The scores have no column called {lacking[0]!r}.")
    for column in costs:
        middle = np.array([_median(frame.loc[rows.clause(str(name)).mask(frame), column]) for name in grid.rows])
        if np.isfinite(middle).sum() > 1:
            good, turned, names = np.column_stack([good, -middle]), np.append(turned, True), [*names, column]
    complete = np.isfinite(good).all(axis=1)
    if complete.sum() < 2:
        raise TooLittleData(needs="at least 2 models with every metric", found=counted(int(complete.sum()), "model"))
    if not complete.all():
        notes.append(f"{counted(int((~complete).sum()), 'model')} left out: some metric is missing.")
    models = [str(name) for name, one in zip(grid.rows, complete, strict=True) if one]
    main = rows.frame[rows.frame["metric"].astype(str) == performance]
    by_task = grid_of(main, "model", "task", ("good", "value", "stderr", "n"))
    place = [by_task.rows.index(name) for name in grid.rows]
    own = by_task.keeping(np.array(place)[complete], np.arange(len(by_task.columns)))
    error = _errors(own.values["value"], own.values["stderr"], own.values["n"])
    values = _offset(good[complete], turned, names, asked)
    return Utilities(tuple(models), tuple(names), values, error, mean_win_rate(own.good), rows.origin(models)), notes


def _of_costs(store: RunStore, asked: UtilityQuestion) -> tuple[Utilities, list[str]]:
    """Give one quality and the costs of models or runs."""
    data = quality_costs(store, task=asked.task, costs=asked.costs)
    known = np.all([np.isfinite(cost) for cost in data.costs.values()], axis=0)
    if known.sum() < 2:
        raise TooLittleData(needs="at least 2 models with every cost", found=counted(int(known.sum()), "model"))
    notes = list(data.notes)
    if not known.all():
        notes.append(f"{counted(int((~known).sum()), 'model')} left out: some cost is not known.")
    names = [data.label, *data.costs]
    good = np.column_stack([data.good, *(-cost for cost in data.costs.values())])[known]
    turned = np.array([data.inverted, *([True] * len(data.costs))])
    numbers = np.flatnonzero(known)
    values = _offset(good, turned, names, asked)
    models = tuple(data.names[i] for i in numbers)
    nothing = np.full(len(models), np.nan)
    return Utilities(models, tuple(names), values, data.error[known], nothing, data.origin(numbers)), notes


def _median(values: pd.Series) -> float:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    return float(np.nanmedian(numbers)) if np.isfinite(numbers).any() else math.nan


def _errors(value: np.ndarray, stderr: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Give the standard error of the mean over tasks; a share of n items has one even where none is stated."""
    share = (value >= 0) & (value <= 1) & np.isnan(stderr)
    with np.errstate(invalid="ignore"):
        each = np.where(share, np.sqrt(np.maximum(value * (1 - value), 0) / n), stderr)
    return np.asarray(np.sqrt((each**2).sum(axis=1)) / value.shape[1])


def _offset(good: np.ndarray, turned: np.ndarray, names: list[str], asked: UtilityQuestion) -> np.ndarray:
    """Give utilities: the worst of what is better low is 0, unless an offset is given."""
    offset = np.where(turned, -good.min(axis=0), 0.0)
    for text in asked.offsets:
        name, number = _pair(text, names)
        offset[names.index(name)] = number
    return np.asarray(good + offset)


def _pair(text: str, names: list[str] | tuple[str, ...]) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    if name not in names:
        raise AnalysisError(f"{text!r} names no metric.", remedy=f"There are {', '.join(names[:12])}.")
    try:
        return name, float(number)
    except ValueError:
        raise AnalysisError(f"{text!r} is not METRIC=NUMBER.") from None


def _weights(metrics: tuple[str, ...], asked: UtilityQuestion) -> np.ndarray:
    own = np.ones(len(metrics) - 1)
    for text in asked.weights:
        name, number = _pair(text, metrics[1:])
        if number < 0:
            raise AnalysisError(f"The weight of {name} is below 0.")
        own[metrics.index(name) - 1] = number
    if not len(own):
        return np.ones(1)
    if own.sum() <= 0:
        raise AnalysisError("All other weights are 0.", remedy="Give performance_weight 1 instead.")
    return np.concatenate([[asked.performance_weight], (1 - asked.performance_weight) * own / own.sum()])


def marginal_rates(values: np.ndarray) -> np.ndarray:
    """Give the mean rate at which each metric changes with performance between neighbours (AMRS), shape (metrics,).

    Parameters
    ----------
    values : ndarray, shape (models, metrics)
        Utilities; the first column is the performance.

    Notes
    -----
    Ma et al. (2021), *Dynaboard*, section 3.3: mean of |Δu_m| / |Δperf| over models next to each other in performance that
    differ by more than 1e-4 of the greatest performance. That of the performance itself is 1. NaN where no neighbours differ.
    """
    ordered = values[np.argsort(values[:, 0], kind="stable")]
    steps = np.diff(ordered, axis=0)
    apart = steps[:, 0] > _SAME * np.abs(values[:, 0]).max()
    if not apart.any():
        return np.full(values.shape[1], np.nan)
    return np.asarray((np.abs(steps[apart]) / steps[apart][:, :1]).mean(axis=0))


def _parts(values: np.ndarray, rates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # A metric that never changes tells no models apart and has no rate.
    return np.asarray(np.where(rates > 0, weights * values / np.where(rates > 0, rates, 1.0), 0.0))


def mean_win_rate(good: np.ndarray) -> np.ndarray:
    """Give the mean over columns of the share of other rows that a row beats, ties half, shape (rows,).

    Notes
    -----
    Liang et al. (2022), *HELM*, appendix: head-to-head over scenarios.
    """
    if len(good) < 2:
        return np.full(len(good), np.nan)
    with np.errstate(invalid="ignore"):
        beats = np.sign(good[:, None, :] - good[None, :, :]) / 2 + 0.5
    beats[np.arange(len(good)), np.arange(len(good))] = np.nan
    known = ~np.isnan(beats)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.nan_to_num(beats).sum(axis=1) / known.sum(axis=1)
    some = ~np.isnan(each)
    return np.asarray(np.nan_to_num(each).sum(axis=1) / np.maximum(some.sum(axis=1), 1))


def _redrawn(
    data: Utilities, weights: np.ndarray, asked: UtilityQuestion, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Give scores, shape (draws, names), and the winner of each draw, with the performance redrawn."""
    scores = np.empty((asked.draws, len(data.names)))
    for number in range(asked.draws):
        values = data.values.copy()
        values[:, 0] += data.error * generator.standard_normal(len(data.names))
        scores[number] = _parts(values, marginal_rates(values), weights).sum(axis=1)
    return scores, np.argmax(np.nan_to_num(scores, nan=-np.inf), axis=1)


def _removals(data: Utilities, weights: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """Give what leaving out each model does to the others: the winner, the greatest shift of a rank, tau-b."""
    rows = []
    count = len(data.names)
    for left in range(count if count > 2 else 0):
        rest = np.delete(np.arange(count), left)
        rates = marginal_rates(data.values[rest])
        if np.isnan(rates).any():
            continue
        after = _parts(data.values[rest], rates, weights).sum(axis=1)
        before = scores[rest]
        shift = np.abs(
            np.argsort(np.argsort(-after, kind="stable")) - np.argsort(np.argsort(-before, kind="stable"))
        ).max()
        tau = float(kendall_matrix(np.column_stack([before, after]))[0, 1]) if len(rest) > 2 else math.nan
        # Leaving out the winner itself hands the place to the next one; that is no change.
        rows.append({"left_out": data.names[left], "winner": data.names[rest[int(np.argmax(after))]],
                     "winner_changes": bool(np.argmax(after) != np.argmax(before)), "greatest_shift": int(shift),
                     "tau_b": tau})  # fmt: skip
    return pd.DataFrame(rows, columns=["left_out", "winner", "winner_changes", "greatest_shift", "tau_b"])


def _over_weight(data: Utilities, rates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if len(weights) < 2:
        return np.repeat(data.values[:, :1], len(_WEIGHTS), axis=1)
    others = (
        weights[1:] / weights[1:].sum() if weights[1:].sum() > 0 else np.full(len(weights) - 1, 1 / (len(weights) - 1))
    )
    scaled = _parts(data.values, rates, np.ones(len(weights)))
    return np.asarray(scaled[:, :1] * _WEIGHTS + (scaled[:, 1:] @ others)[:, None] * (1 - _WEIGHTS))


def figure(question: UtilityQuestion, result: UtilityRanking) -> FigureSpec:
    """Draw what each metric adds to the scores, and the ranks as the weight of performance moves."""
    order = np.argsort(-result.scores, kind="stable")[:_MOST_BARS]
    names = [result.data.names[i] for i in order]
    marks: list[Mark] = []
    base = np.zeros(len(order))
    for m, metric in enumerate(result.data.metrics):
        part = result.parts[order, m]
        marks.append(Bars(key=metric, at=np.arange(len(order), dtype=float), height=base + part, base=base, width=0.7,
                          horizontal=True, hue=f"c{m}", label=f"{shortened(metric, 24)} ({100 * result.weights[m]:.0f} %)",
                          notes=tuple(f"{name}: {metric} adds {significant(one)}"
                                      for name, one in zip(names, part, strict=True))))  # fmt: skip
        base = base + part
    ranks = np.argsort(np.argsort(-result.over_weight, axis=0, kind="stable"), axis=0, kind="stable") + 1
    lines: list[Mark] = [
        Line(key=result.data.names[i], x=_WEIGHTS, y=ranks[i].astype(float), hue=f"c{number}", width=2.0,
             label=shortened(result.data.names[i], 22))
        for number, i in enumerate(order[:_MOST_LINES])
    ]  # fmt: skip
    lines.append(
        Rule(key="weight", axis="x", at=question.performance_weight, label="weight taken", option="performance_weight")
    )
    first = result.data.metrics[0]
    return FigureSpec(
        title="Who wins under these weights",
        subtitle=f"{counted(len(result.data.names), 'model')}, {counted(len(result.data.metrics), 'metric')}; scores in units "
        f"of {first}",
        panels=(Panel(key="scores", x=Axis(label=f"score ({first})"), y=named_axis(names), marks=tuple(marks)),
                Panel(key="ranks", x=Axis(label=f"weight of {shortened(first, 24)}", low=0.0, high=1.0),
                      y=Axis(label="rank", inverted=True), marks=tuple(lines))),
        columns=2, caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="cost.utility",
    title="Who wins under my weights",
    asks="Who wins under my weights?",
    question=UtilityQuestion,
    figure=figure,
    sources=(
        "Ma et al. (2021), Dynaboard: An Evaluation-As-A-Service Platform for Holistic Next-Generation Benchmarking",
        "Liang et al. (2022), Holistic Evaluation of Language Models: mean win rate",
    ),
    definition="""\
Each metric is a utility $u=$ direction $\\cdot x+$ offset. Models are sorted by performance;
$AMRS_m=\\text{mean}\\,|\\Delta u_m|/\\Delta\\text{perf}$ over neighbours that differ by more than $10^{-4}$ of the greatest
performance. The score is $\\sum_m w_m u_m/|AMRS_m|$ with weights that sum to 1, in units of the performance. Beside it
stands the mean win rate over tasks. How much weights matter is the share of flat Dirichlet weights under which a model
is first.

Unit: the item, by standard errors. Trap: scores and win rates depend on which models are present; the effect of leaving
each out is shown. """,
)
