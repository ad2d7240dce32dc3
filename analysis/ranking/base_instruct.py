"""``rank.base-instruct``: does the better base model become the better instruct model?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule, Text
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import All, is_in
from ...models.store import RunStore
from ..answers import present
from ..rank_correlation import FEWEST, PairOrders, correlation_intervals, interval_method, why_no_interval
from ..resampling import DRAWS, Interval, percentile_interval
from ..score_marks import interval_rows
from ..score_table import chosen_scores

_PARENTS = ("parent", "base", "base_model", "parent_model", "config.base_model")


@dataclass(frozen=True, slots=True, eq=False)
class TaskConsistency:
    """Base and instruct scores of one task (and metric).

    Attributes
    ----------
    task, metric : str
        Which.
    pairs : DataFrame
        One row a pair of models: base, instruct, their scores, their scores with higher better.
    tau : Estimate
        tau-b of the two rankings.
    discordant : DataFrame
        Pairs of pairs whose order turns, with both gaps, the largest first.
    """

    task: str
    metric: str
    pairs: pd.DataFrame
    tau: Estimate
    discordant: pd.DataFrame

    @property
    def name(self) -> str:
        """Task and metric, as shown."""
        return f"{self.task} {self.metric}".strip()


@dataclass(frozen=True, kw_only=True)
class BaseInstruct(Result):
    """How far base models foretell their instruct models.

    Attributes
    ----------
    tasks : tuple of TaskConsistency
        The most consistent first.
    shown : TaskConsistency
        That of the slope chart.
    """

    tasks: tuple[TaskConsistency, ...]
    shown: TaskConsistency

    def summary(self) -> str:
        """Give the answer in one sentence."""
        one = self.shown
        tau = with_interval(one.tau.value, one.tau.low, one.tau.high)
        said = (
            f"{one.name}: rankings of {len(one.pairs)} base models and of their instruct models agree with tau-b {tau}; "
            f"{counted(len(one.discordant), 'pair')} of models turn round"
        )
        if len(self.tasks) > 1:
            taus = [task.tau.value for task in self.tasks if math.isfinite(task.tau.value)]
            if taus:
                ends = f"{significant(min(taus), 2)} to {significant(max(taus), 2)}"
                said += f" (over {len(self.tasks)} tasks tau-b runs from {ends})"
        return said + "."


@dataclass(frozen=True, kw_only=True)
class BaseInstructQuestion(Question):
    """Does the better base model become the better instruct model?"""

    needs: ClassVar = (Need("scores"),)

    parent: str = option(
        "",
        help="column that names the base model of an instruct model; found by its name if empty",
        choices="columns of scores",
    )
    stage: str = option(
        "", help="instead: column that says base or instruct of one model (version ...)", choices="columns of scores"
    )
    base: str = option("base", help="its value for base models")
    instruct: str = option("instruct", help="its value for instruct models")
    task: str = option("", help="task of the slope chart; the first if empty", choices="scores.task")
    metric: str = option("", help="only this metric; all of them if empty", choices="scores.metric")
    children: Literal["mean", "first"] = option(
        "mean", help="where a base has several instruct models: their mean, or the first"
    )
    better: Literal["as stated", "higher", "lower"] = option("as stated", help="direction of the scores")
    unit: Literal["pairs", "items"] = option(
        "pairs", help="what the intervals of tau-b are over; items needs standard errors"
    )
    cluster: str = option(
        "", help="column of base models that are resampled together (family)", choices="columns of scores"
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the column that links the two."""
        if self.parent or self.stage or not store.has_rows("scores"):
            return self
        found = present(store.rows("scores"), _PARENTS)
        return replace(self, parent=found[0]) if found else self

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> BaseInstruct:
        """Pair, rank, correlate."""
        asked = self.resolved(store)
        if not asked.parent and not asked.stage:
            raise TooLittleData(
                needs="a column that links instruct models with their base",
                found="none called parent or base_model",
                remedy="Map one onto 'parent', or name the column that says base or instruct (stage).",
            )
        frame = store.rows("scores")
        columns = [name for name in (asked.parent, asked.stage, asked.cluster) if name]
        if missing := [name for name in columns if name not in frame.columns]:
            raise AnalysisError(f"The scores have no column called {missing[0]!r}.")
        metrics = present(frame, ["metric"]) if not asked.metric else []
        apart = [*metrics, *([asked.stage] if asked.stage else [])]
        scores = chosen_scores(store, apart=apart, metric=asked.metric, better=asked.better, together=False)
        links = {} if asked.stage else _links(frame, asked.parent)
        clusters = _clusters(frame, asked.cluster) if asked.cluster else {}
        tasks, few = [], []
        parts = list(scores.frame.groupby(["task", "metric"], sort=False, observed=True))
        for number, ((task, metric), rows) in enumerate(parts):
            progress(number, len(parts), str(task))
            pairs = _pairs(rows, links, asked)
            if len(pairs) < FEWEST:
                few.append(str(task))
                continue
            codes = pd.factorize(pairs["base"].map(clusters) if clusters else pairs["base"], use_na_sentinel=False)[0]
            tasks.append(_consistency(str(task), str(metric), pairs, codes, asked, engine))
        if not tasks:
            raise TooLittleData(
                needs=f"at least {FEWEST} base models with an instruct model on the same task",
                found=f"fewer on each of {counted(len(few), 'task')}",
            )
        shown = next((one for one in tasks if one.task == asked.task), tasks[0])
        if asked.task and shown.task != asked.task:
            raise AnalysisError(f"Too few pairs of models on the task {asked.task!r}.")
        single = len(tasks) == 1
        sizes = [len(one.pairs) for one in tasks]
        n = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
        unit = f"{asked.cluster} of base models" if asked.cluster else "pair of a base and its instruct model"
        method = interval_method(max(sizes)) if not asked.cluster else "bootstrap or jackknife over clusters"
        return BaseInstruct(
            tasks=tuple(sorted(tasks, key=lambda one: -one.tau.value if math.isfinite(one.tau.value) else math.inf)),
            shown=shown,
            estimates={"tau_b" if single else f"{one.name}/tau_b": one.tau for one in tasks},
            tables={
                "tasks": pd.DataFrame(
                    {
                        "task": one.task, "metric": one.metric, "tau_b": one.tau.value, "low": one.tau.low,
                        "high": one.tau.high, "n": len(one.pairs), "discordant": len(one.discordant),
                    }
                    for one in tasks
                ),
                "discordant": pd.concat([one.discordant.assign(task=one.name) for one in tasks], ignore_index=True),
                "models": pd.concat([one.pairs.assign(task=one.name) for one in tasks], ignore_index=True),
            },
            notes=(
                f"Unit: the item, n = {n} pairs of models. Scores are redrawn from Gaussians of their standard errors "
                f"({100 * asked.level:g} %, {asked.draws} draws, seed {asked.seed}); what was observed holds such noise "
                "already, so these intervals lie lower than the tau-b of the true scores."
                if asked.unit == "items"
                else f"Unit: the {unit}, n = {n}. tau-b: {100 * asked.level:g} % {method}.",
                "Families of one lab move together: name the column of the family (cluster), or read intervals as too narrow."
                if not asked.cluster
                else "Families are resampled whole.",
                f"Where a base has several instruct models: {asked.children}.",
                *([f"{counted(len(few), 'task')} left out, fewer than {FEWEST} pairs."] if few else []),
                *scores.notes,
            ),
        )  # fmt: skip


def _links(frame: pd.DataFrame, parent: str) -> dict[str, str]:
    known = frame[frame[parent].notna() & (frame[parent].astype(str) != "")]
    pairs = zip(known["model"].astype(str), known[parent].astype(str), strict=True)
    return {child: base for child, base in pairs if child != base}


def _clusters(frame: pd.DataFrame, column: str) -> dict[str, str]:
    known = frame[frame[column].notna()]
    return dict(zip(known["model"].astype(str), known[column].astype(str), strict=True))


def _pairs(rows: pd.DataFrame, links: dict[str, str], asked: BaseInstructQuestion) -> pd.DataFrame:
    """Give one row a base model with the score of its instruct model beside its own."""
    values = rows.assign(model=rows["model"].astype(str))[
        ["model", "value", "good", "stderr", *([asked.stage] if asked.stage else [])]
    ]
    if asked.stage:
        stages = values[asked.stage].astype(str)
        base = values[stages == asked.base].assign(base=lambda t: t["model"])
        child = values[stages == asked.instruct].assign(base=lambda t: t["model"])
    else:
        base = values.assign(base=values["model"])
        child = values[values["model"].isin(list(links))]
        child = child.assign(base=child["model"].map(links))
    if child["base"].duplicated().any():
        grouped = child.groupby("base", sort=False)
        first = grouped["model"].first() if asked.children == "first" else grouped["model"].agg(", ".join)
        columns = ["value", "good", "stderr"]
        numbers = grouped[columns].first() if asked.children == "first" else grouped[columns].mean()
        if asked.children == "mean":  # errors of different models on the same items are taken as independent
            several = child.assign(square=child["stderr"] ** 2).groupby("base", sort=False)["square"]
            numbers["stderr"] = np.sqrt(several.sum(min_count=1)) / several.size()
        child = numbers.assign(model=first).reset_index()
    joined = base[["base", "value", "good", "stderr"]].merge(
        child[["base", "model", "value", "good", "stderr"]], on="base", suffixes=("_base", "_instruct")
    )
    return joined.rename(columns={"model": "instruct"})


def _tau(orders: PairOrders, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give tau-b of resampled clusters, shape (draws, 1)."""
    return orders.against_in_draws(0, counts[:, codes])[:, [1]]


def _redrawn(task: str, pairs: pd.DataFrame, asked: BaseInstructQuestion) -> np.ndarray:
    """Give tau-b of scores redrawn from Gaussians of their standard errors, shape (draws,)."""
    errors = pairs[["stderr_base", "stderr_instruct"]].to_numpy(float)
    if not np.isfinite(errors).all():
        raise AnalysisError(
            f"Scores of {task} have no standard errors, so items cannot be resampled.",
            remedy="Choose unit pairs, or give a column stderr.",
        )
    scores = pairs[["good_base", "good_instruct"]].to_numpy(float)
    drawn = scores + errors * np.random.default_rng(asked.seed).standard_normal((asked.draws, *scores.shape))
    first, second = np.triu_indices(len(pairs), 1)
    signs = np.sign(drawn[:, first] - drawn[:, second])
    taus: np.ndarray = signs.prod(axis=2).mean(axis=1)
    return taus


def _consistency(
    task: str, metric: str, pairs: pd.DataFrame, codes: np.ndarray, asked: BaseInstructQuestion, engine: Engine
) -> TaskConsistency:
    base, instruct = pairs["good_base"].to_numpy(float), pairs["good_instruct"].to_numpy(float)
    orders = PairOrders.of(np.column_stack([base, instruct]))
    tau = float(orders.against(0)[1])
    units = int(codes.max()) + 1
    if asked.unit == "items":
        ends: Interval = percentile_interval(_redrawn(task, pairs, asked), asked.level)
    else:
        statistic = partial(_tau, orders, codes)
        ends = correlation_intervals(statistic, units, asked.level, draws=asked.draws, seed=asked.seed, engine=engine)
    low, high = (float(np.asarray(end).ravel()[0]) for end in ends)
    estimate = Estimate(
        tau, low, high, asked.level, why_no_interval="" if math.isfinite(low) else why_no_interval(units, tau)
    )
    first, second = np.triu_indices(len(pairs), 1)
    before, after = base[first] - base[second], instruct[first] - instruct[second]
    turned = np.flatnonzero(before * after < 0)
    names = pairs["base"].tolist()
    discordant = pd.DataFrame(
        {
            "first": [names[first[i]] for i in turned], "second": [names[second[i]] for i in turned],
            "gap_base": before[turned], "gap_instruct": after[turned],
        }
    )  # fmt: skip
    order = np.argsort(-np.minimum(np.abs(before[turned]), np.abs(after[turned])), kind="stable")
    return TaskConsistency(task, metric, pairs, estimate, discordant.iloc[order].reset_index(drop=True))


def figure(question: BaseInstructQuestion, result: BaseInstruct) -> FigureSpec:
    """Draw scores from base to instruct as slopes, and the consistency of each task."""
    one = result.shown
    marks: list[Mark] = []
    x = np.array([0.0, 1.0])
    turned = {name for column in ("first", "second") for name in one.discordant[column]}
    coloured = 0
    for row in one.pairs.to_dict("records"):
        hue = f"c{coloured}" if row["base"] in turned else "muted"
        coloured += row["base"] in turned
        behind = Clauses("scores", (is_in("model", {row["base"], *str(row["instruct"]).split(", ")}),))
        y = np.array([row["value_base"], row["value_instruct"]])
        said = f"{row['base']} {y[0]:.4g} → {row['instruct']} {y[1]:.4g}"
        marks.append(Line(key=row["base"], x=x, y=y, hue=hue, width=1.4, origin=behind))
        marks.append(Points(key=f"{row['base']}/ends", x=x, y=y, hue=hue, notes=(said, said), origin=behind))
        marks.append(Text(key=f"{row['base']}/name", x=1.05, y=float(y[1]), text=str(row["base"]), hue=hue))
    slope = Panel(
        key="slopes",
        x=Axis(scale="category", names=("base", "instruct"), low=-0.2, high=1.9),
        y=Axis(label=one.name),
        marks=tuple(marks),
        title="Coloured: passes, or is passed",
        legend=False,
    )
    names = tuple(task.name for task in result.tasks)
    value, low, high = (np.array([getattr(task.tau, end) for task in result.tasks]) for end in ("value", "low", "high"))
    clauses = tuple(
        All((is_in("task", (task.task,)), is_in("metric", (task.metric,))))
        if task.metric
        else is_in("task", (task.task,))
        for task in result.tasks
    )
    notes = tuple(
        f"{task.name}: tau-b {with_interval(task.tau.value, task.tau.low, task.tau.high)}, {len(task.discordant)} pairs turn"
        for task in result.tasks
    )
    consistency = Panel(
        key="tasks",
        x=Axis(label=f"tau-b of base and instruct, {100 * question.level:g} %", high=1.0),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(
            Rule(key="zero", axis="x", at=0.0),
            *interval_rows("tau", np.arange(len(names), dtype=float), value, low, high,
                           origin=Clauses("scores", clauses), notes=notes),
        ),
        title="Consistency",
        legend=False,
    )  # fmt: skip
    return FigureSpec(
        title="From base to instruct",
        subtitle=f"{one.name}: {len(one.pairs)} base models, tau-b {with_interval(one.tau.value, one.tau.low, one.tau.high)}",
        panels=(slope, consistency),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="rank.base-instruct",
    title="Base against instruct",
    asks="Does the better base model become the better instruct model?",
    question=BaseInstructQuestion,
    figure=figure,
    sources=(
        "BOSE: base, supervised and early evaluation of benchmarks; the pairing here is one base with its own instruct models",
        "Kendall (1945): tau-b",
    ),
    definition="""\
tau-b of the ranking of base models with that of their instruct models on the same task. Every pair of models whose
order turns is listed with both gaps, the pairs with the largest smaller gap first.

Unit: the pair of a base and its instruct model, or the family of base models, resampled whole. The pairing is ours: one
base with its own children, the mean of several or the first. Trap: families of one lab move together. """,
)
