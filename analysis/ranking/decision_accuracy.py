"""``rank.decision-accuracy``: how often does the cheap experiment pick the recipe that wins at full scale?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Cells, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, significant, with_interval
from ...models.selection import All, Clause, is_in
from ...models.store import RunStore
from ..answers import present
from ..rank_correlation import PairOrders, Spread, correlation_spread, interval_method
from ..remembered import Remembered
from ..resampling import DRAWS
from ..score_marks import short_number
from ..score_table import Grid, ScoreRows, chosen_scores, grid_of

_FEWEST = 5
_SCALES = ("params", "flops", "tokens", "size", "scale", "step")
_MOST_METRICS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Proxy:
    """One metric at every scale, as a stand-in for the target.

    Attributes
    ----------
    metric : str
        The metric.
    scales : tuple
        Values of the scale, in order.
    accuracy, low, high : ndarray, shape (scales,)
        Share of pairs ordered as at the target, and its interval; NaN at the target itself.
    n : ndarray of int, shape (scales,)
        Recipes compared.
    """

    metric: str
    scales: tuple[Any, ...]
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray


@dataclass(frozen=True, kw_only=True)
class DecisionAccuracy(Result):
    """How often small scales decide as the target does.

    Attributes
    ----------
    proxies : tuple of Proxy
        The metric of the target first.
    task : str
        The task.
    over : str
        Column of the scale.
    target : object
        Value of the scale that decides.
    recipes : tuple of str
        Compared at the scale drawn as a matrix, the best at the target first.
    agreement : ndarray, shape (recipes, recipes)
        1 where the proxy drawn orders a pair as the target does, 0 where not, 0.5 tied; NaN on the diagonal.
    shown : object
        Scale of that matrix.
    scores : ScoreRows
        What was compared.
    ceiling : float
        What a perfect proxy would reach given the noise of the target's seeds; NaN where there are none.
    """

    proxies: tuple[Proxy, ...]
    task: str
    over: str
    target: Any
    recipes: tuple[str, ...]
    agreement: np.ndarray
    shown: Any
    scores: ScoreRows
    ceiling: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        proxy = self.proxies[0]
        known = np.flatnonzero(np.isfinite(proxy.accuracy))
        last = int(known[-1])
        first = int(known[0])
        share = with_interval(*(float(part[last]) for part in (proxy.accuracy, proxy.low, proxy.high)))
        said = (
            f"{self.task}: at {self.over} {short_number(proxy.scales[last])}, {proxy.metric or 'the score'} orders "
            f"{share} of the pairs of recipes "
            f"as at {self.over} {short_number(self.target)}"
        )
        if first != last:
            said += (
                f", at {self.over} {short_number(proxy.scales[first])} {significant(float(proxy.accuracy[first]), 2)}"
            )
        if math.isfinite(self.ceiling):
            said += f"; noise of the target caps it at {significant(self.ceiling, 2)}"
        return said + "."


@dataclass(frozen=True, kw_only=True)
class DecisionQuestion(Question):
    """How often does the cheap experiment pick the right recipe?"""

    needs: ClassVar = (Need("scores"),)

    task: str = option("", help="the task; the first if empty", choices="scores.task")
    metric: str = option(
        "", help="metric that decides at the target; the first of the task if empty", choices="scores.metric"
    )
    over: str = option(
        "", help="column of the scale (params, step ...); decided by the data if empty", choices="numbers of scores"
    )
    target: float | None = option(None, help="scale that decides; the largest if empty")
    recipe: str = option("model", help="column of what is decided between", choices="columns of scores")
    split: str = option("", help="split; the most frequent if empty", choices="scores.split")
    other_metrics: bool = option(True, help="also hold the other metrics of the task against the target")
    better: Literal["as stated", "higher", "lower"] = option("as stated", help="direction of the scores")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in task, metric and scale."""
        if not store.has_rows("scores"):
            return self
        found: Self = _found.of(store, replace(self, level=0.95), lambda: self._filled_in(store))
        return replace(found, level=self.level)

    def _filled_in(self, store: RunStore) -> Self:
        frame = store.rows("scores")
        over = self.over or next((name for name in present(frame, _SCALES) if frame[name].nunique() > 1), "")
        task = self.task or (str(frame["task"].iloc[0]) if len(frame) else "")
        rows = frame[frame["task"].astype(str) == task]
        metric = self.metric
        if not metric and present(rows, ["metric"]):
            metric = str(rows["metric"].dropna().iloc[0])
        return replace(self, over=over, task=task, metric=metric)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> DecisionAccuracy:
        """Compare the order of every pair of recipes with that at the target."""
        asked = self.resolved(store)
        if not asked.over:
            raise TooLittleData(
                needs="scores of the same recipes at several scales",
                found="one each",
                remedy="Name the column of the scale (over).",
            )
        known = _known.of(store, replace(asked, level=0.95), lambda: _computed(store, asked, engine, progress))
        proxies = [_proxy(one, asked.level) for one in known.proxies]
        ceiling = known.ceiling
        return DecisionAccuracy(
            proxies=tuple(proxies),
            task=asked.task,
            over=asked.over,
            target=known.target,
            recipes=known.recipes,
            agreement=known.agreement,
            shown=known.shown,
            scores=known.scores,
            ceiling=ceiling,
            estimates=_estimates(proxies, asked, ceiling),
            tables=_tables(proxies, known.recipes, known.agreement, asked.over),
            notes=(
                f"Unit: the recipe ({asked.recipe}), n = {int(np.nanmax(proxies[0].n))}; pairs share recipes, so whole recipes "
                f"are resampled ({100 * asked.level:g} % {interval_method(int(proxies[0].n.max()))}).",
                "A pair tied on one side counts one half. Without ties the share is (tau + 1) / 2.",
                f"Target: {asked.metric or 'the score'} at {asked.over} {known.target:g}, itself with noise, which caps what "
                "any proxy can reach. An earlier checkpoint of the same run shares that noise and may pass the ceiling.",
                *known.ceiling_notes,
                *known.scores.notes,
            ),
        )


def _grids(frame: pd.DataFrame, asked: DecisionQuestion) -> dict[str, Grid]:
    """Give recipes by scales for every metric."""
    if asked.recipe != "model":
        frame = frame.groupby(["metric", asked.recipe, asked.over], sort=False, observed=True)[
            ["good", "value", "stderr"]
        ].mean()
        frame = frame.reset_index()
    parts = frame.groupby("metric", sort=False, observed=True)
    return {str(name): grid_of(part, asked.recipe, asked.over) for name, part in parts}


def _target(grid: Grid, asked: DecisionQuestion) -> Any:
    if asked.target is not None:
        if asked.target not in grid.columns:
            there = ", ".join(f"{value:g}" for value in grid.columns[:12])
            raise AnalysisError(f"No score is at {asked.over} {asked.target:g}.", remedy=f"There are {there}.")
        return grid.columns[grid.columns.index(asked.target)]
    sizes = (~np.isnan(grid.good)).sum(axis=0)
    full = np.flatnonzero(sizes >= max(_FEWEST, sizes.max() / 2))
    return grid.columns[int(full[-1])] if len(full) else grid.columns[-1]


@dataclass(frozen=True, slots=True, eq=False)
class _Spreads:
    """One metric at every scale, whatever the coverage of intervals.

    Attributes
    ----------
    n : ndarray of int, shape (scales,)
        Recipes there and at the target.
    spreads : tuple of Spread or None
        Of the share of pairs ordered alike, on the scale of a correlation; None where there are too few recipes, and at the
        target itself.
    """

    metric: str
    scales: tuple[Any, ...]
    n: np.ndarray
    spreads: tuple[Spread | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What is known whatever the coverage of intervals; attributes as in `DecisionAccuracy`."""

    scores: ScoreRows
    target: Any
    proxies: tuple[_Spreads, ...]
    recipes: tuple[str, ...]
    agreement: np.ndarray
    shown: Any
    ceiling: float
    ceiling_notes: tuple[str, ...]


_known = Remembered[_Known]()
_found = Remembered[Any]()


def _computed(store: RunStore, asked: DecisionQuestion, engine: Engine, progress: Progress) -> _Known:
    """Choose scores, and resample recipes at every scale of every metric."""
    apart = [asked.over] if asked.recipe == "model" else [asked.over, asked.recipe]
    metrics = present(store.rows("scores"), ["metric"])
    scores = chosen_scores(store, apart=(*metrics, *apart), task=asked.task, split=asked.split, better=asked.better)
    frame = scores.frame
    if not pd.api.types.is_numeric_dtype(frame[asked.over].dtype):
        raise AnalysisError(f"{asked.over} does not hold numbers, so no value of it is the larger scale.")
    grids = _grids(frame, asked)
    if asked.metric not in grids:
        raise AnalysisError(
            f"No score of {asked.task} has the metric {asked.metric!r}.", remedy=f"There are {', '.join(grids)}."
        )
    deciding = grids[asked.metric]
    target = _target(deciding, asked)
    place = deciding.columns.index(target)
    truth = {row: value for row, value in zip(deciding.rows, deciding.good[:, place], strict=True) if value == value}
    others = [name for name in grids if name != asked.metric] if asked.other_metrics else []
    proxies = []
    for number, name in enumerate([asked.metric, *others]):
        progress(number, len(others) + 1, name)
        proxies.append(_spreads(name, grids[name], truth, target, asked, engine))
    known = [place for place, spread in enumerate(proxies[0].spreads) if spread is not None]
    if not known:
        raise TooLittleData(
            needs=f"at least {_FEWEST} recipes with a score at a smaller scale and at {asked.over} {target:g}",
            found=f"{len(truth)} at the target",
        )
    recipes, agreement = _agreement(deciding, known[-1], place)
    ceiling, notes = _ceiling(store, asked, target)
    return _Known(
        scores, target, tuple(proxies), recipes, agreement, deciding.columns[known[-1]], ceiling, tuple(notes)
    )


def _spreads(
    name: str, grid: Grid, truth: dict[Any, float], target: Any, asked: DecisionQuestion, engine: Engine
) -> _Spreads:
    n = np.zeros(len(grid.columns), dtype=int)
    spreads: list[Spread | None] = []
    decided = np.array([truth.get(row, math.nan) for row in grid.rows])
    for place, scale in enumerate(grid.columns):
        both = ~np.isnan(grid.good[:, place]) & ~np.isnan(decided)
        n[place] = int(both.sum())
        if n[place] < _FEWEST or (name == asked.metric and scale == target):
            spreads.append(None)
            continue
        orders = PairOrders.of(np.column_stack([decided[both], grid.good[both, place]]))
        settings = {"draws": asked.draws, "seed": asked.seed, "engine": engine}
        spreads.append(correlation_spread(partial(_scaled_share, orders), orders.n, **settings))  # type: ignore[arg-type]
    return _Spreads(name, grid.columns, n, tuple(spreads))


def _proxy(known: _Spreads, level: float) -> Proxy:
    """Give the shares of pairs with their intervals."""
    parts = np.full((3, len(known.scales)), np.nan)
    for place, spread in enumerate(known.spreads):
        if spread is not None:
            low, high = spread.interval(level)
            parts[:, place] = [(part[0] + 1) / 2 for part in (spread.whole, np.asarray(low), np.asarray(high))]
    return Proxy(known.metric, known.scales, parts[0], parts[1], parts[2], known.n)


def _scaled_share(orders: PairOrders, counts: np.ndarray) -> np.ndarray:
    """Give the share of pairs ordered alike, on the scale of a correlation, shape (draws, 1)."""
    return 2 * orders.alike_in_draws(0, counts)[:, [1]] - 1


def _agreement(grid: Grid, shown: int, target: int) -> tuple[tuple[str, ...], np.ndarray]:
    both = ~np.isnan(grid.good[:, shown]) & ~np.isnan(grid.good[:, target])
    kept = grid.keeping(both, np.array([shown, target]))
    order = np.argsort(-kept.good[:, 1], kind="stable")
    small, large = kept.good[order, 0], kept.good[order, 1]
    agreement = (1 + np.sign(small[:, None] - small) * np.sign(large[:, None] - large)) / 2
    np.fill_diagonal(agreement, np.nan)
    return tuple(str(kept.rows[i]) for i in order), agreement


def noise_ceiling(ratio: float) -> float:
    """Give the share of pairs that a proxy without error orders as a target whose noise is `ratio` times its signal.

    Notes
    -----
    Gaussian scores: 1/2 + arcsin(1 / sqrt(1 + ratio^2)) / pi, because pairs differ in two correlated Gaussians (Sheppard 1899).
    """
    return 0.5 + math.asin(1 / math.sqrt(1 + ratio**2)) / math.pi


def _ceiling(store: RunStore, asked: DecisionQuestion, target: Any) -> tuple[float, list[str]]:
    """Give the share a perfect proxy would reach, from the spread of the target's seeds."""
    frame = store.rows("scores")
    if not present(frame, ["seed"]):
        return math.nan, ["The noise of the target is not known: its scores have no seeds."]
    apart = [*present(frame, ["metric"]), asked.over, "seed", *([] if asked.recipe == "model" else [asked.recipe])]
    rows = chosen_scores(store, apart=apart, task=asked.task, split=asked.split, better=asked.better).frame
    rows = rows[(rows[asked.over] == target) & (rows["metric"].astype(str) == asked.metric)]
    groups = rows.groupby(asked.recipe, sort=False, observed=True)["good"]
    sizes, variances, means = groups.size(), groups.var(ddof=1), groups.mean()
    repeated = sizes > 1
    if repeated.sum() < 2 or len(means) < _FEWEST:
        return math.nan, ["The noise of the target is not known: its recipes have one seed each."]
    noise = float((variances[repeated] * (sizes[repeated] - 1)).sum() / (sizes[repeated] - 1).sum())
    of_mean = noise / float(sizes.mean())
    signal = float(means.var(ddof=1)) - of_mean
    if signal <= 0:
        return 0.5, ["The recipes differ no more at the target than their seeds do: no proxy can tell them apart."]
    ceiling = noise_ceiling(math.sqrt(of_mean / signal))
    note = (
        f"Ceiling: Gaussian recipes with SD {significant(math.sqrt(signal), 3)} and noise of the mean of "
        f"{sizes.mean():.3g} seeds {significant(math.sqrt(of_mean), 3)}; unit: the seed."
    )
    return ceiling, [note]


def _estimates(proxies: list[Proxy], asked: DecisionQuestion, ceiling: float) -> dict[str, Estimate]:
    estimates = {}
    for number, proxy in enumerate(proxies):
        start = "decision_accuracy/" if number == 0 else f"{proxy.metric}/"
        for place, scale in enumerate(proxy.scales):
            if np.isfinite(proxy.accuracy[place]):
                low, high = float(proxy.low[place]), float(proxy.high[place])
                why = "" if math.isfinite(low) else f"{proxy.n[place]} recipes, or all pairs alike"
                estimates[f"{start}{scale:.12g}"] = Estimate(
                    float(proxy.accuracy[place]), low, high, asked.level, "of pairs", why
                )
    if math.isfinite(ceiling):
        estimates["noise_ceiling"] = Estimate(
            ceiling, unit="of pairs", why_no_interval="from two variances, see the notes"
        )
    return estimates


def _tables(
    proxies: list[Proxy], recipes: tuple[str, ...], agreement: np.ndarray, over: str
) -> dict[str, pd.DataFrame]:
    rows = [
        {"metric": proxy.metric, over: scale, "accuracy": proxy.accuracy[i], "low": proxy.low[i], "high": proxy.high[i],
         "n": proxy.n[i]}
        for proxy in proxies
        for i, scale in enumerate(proxy.scales)
        if np.isfinite(proxy.accuracy[i])
    ]  # fmt: skip
    upper = np.triu_indices(len(recipes), 1)
    pairs = pd.DataFrame(
        {
            "better_at_target": [recipes[i] for i in upper[0]],
            "other": [recipes[i] for i in upper[1]],
            "agrees": agreement[upper],
        }
    )
    return {"scales": pd.DataFrame(rows), "pairs": pairs.sort_values("agrees", kind="stable", ignore_index=True)}


def figure(question: DecisionQuestion, result: DecisionAccuracy) -> FigureSpec:
    """Draw the share of pairs decided alike over scale, one line a metric, and which pairs are."""
    positive = all(scale > 0 for proxy in result.proxies for scale in proxy.scales)
    level = f"{100 * question.level:g} % over recipes"
    marks: list[Mark] = [Rule(key="chance", axis="y", at=0.5, label="chance")]
    if math.isfinite(result.ceiling):
        marks.append(Rule(key="ceiling", axis="y", at=result.ceiling, dash="dotted", label="ceiling by noise"))
    for number, proxy in enumerate(result.proxies[:_MOST_METRICS]):
        x = np.array(proxy.scales, dtype=float)
        hue = f"c{number}"
        clauses: list[Clause] = []
        for scale in x.tolist():
            parts: tuple[Clause, ...] = (is_in("task", (result.task,)), is_in(result.over, (scale,)))
            clauses.append(All((*parts, is_in("metric", (proxy.metric,)))) if proxy.metric else All(parts))
        notes = tuple(
            f"{proxy.metric} at {result.over} {short_number(scale)}: {with_interval(a, low, high)} of pairs, n = {n}"
            for scale, a, low, high, n in zip(
                proxy.scales,
                proxy.accuracy.tolist(),
                proxy.low.tolist(),
                proxy.high.tolist(),
                proxy.n.tolist(),
                strict=True,
            )
        )
        if number == 0 and np.isfinite(proxy.low).any():
            marks.append(Band(key="band", x=x, low=proxy.low, high=proxy.high, hue=hue, label=level))
        marks.append(Line(key=proxy.metric or "score", x=x, y=proxy.accuracy, hue=hue, width=2.0 if not number else 1.2,
                          label=proxy.metric or "score"))  # fmt: skip
        marks.append(Points(key=f"{proxy.metric}/points", x=x, y=proxy.accuracy, hue=hue, notes=notes,
                            origin=Clauses("scores", tuple(clauses))))  # fmt: skip
    curve = Panel(
        key="accuracy",
        x=Axis(label=result.over, scale="log" if positive else "linear", column=result.over),
        y=Axis(label="pairs ordered as at the target", high=1.0),
        marks=tuple(marks),
    )
    names = result.recipes
    behind = tuple(is_in(question.recipe, {a, b}) for a in names for b in names)
    cells = Cells(
        key="pairs", values=result.agreement, rows=names, columns=names, ramp="good", low=0.0, high=1.0, label="ordered alike",
        origin=Clauses("scores", behind),
    )  # fmt: skip
    pairs = Panel(
        key="pairs",
        x=Axis(scale="category", names=names),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(cells,),
        title=f"Pairs at {result.over} {short_number(result.shown)}",
        square=True,
    )
    return FigureSpec(
        title=f"Decisions on {result.task}",
        subtitle=f"target: {question.metric or 'score'} at {result.over} {short_number(result.target)}, n = "
        f"{int(result.proxies[0].n.max())} recipes, the best at the target first",
        panels=(curve, pairs),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="rank.decision-accuracy",
    title="Decision accuracy",
    asks="How often does the cheap experiment pick the recipe that wins at full scale?",
    question=DecisionQuestion,
    figure=figure,
    sources=(
        "Magnusson et al. (2025), DataDecide: decision accuracy of small experiments",
        "Heineman et al. (2025), Signal and Noise; Shum et al. (2025), PreSelect",
        "Sheppard (1899): orthant probability, for the ceiling",
    ),
    definition="""\
The share of pairs of recipes whose order at a small scale is that at the target; a tie on either side counts one half.
Without ties it is $(\\tau+1)/2$. Proxies are the same metric at smaller scales or earlier checkpoints, and the other
metrics of the task, each at every scale: compare lines at equal compute.

Unit: the recipe, resampled whole. The target is noisy too: with noise $r$ times the signal a perfect proxy reaches
$1/2+\\arcsin(1/\\sqrt{1+r^2})/\\pi$ (0.97, 0.92, 0.85, 0.75 for r = 0.1, 0.25, 0.5, 1). """,
)
