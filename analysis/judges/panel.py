"""``judges.panel``: is a panel of small judges as good as one large judge?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Line, Mark, Panel, Points, Rule, Text
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted, shortened, with_interval
from ...models.store import RunStore
from ..agreement import kappa_of
from ..answer_marks import dots, named_axis
from ..forecast_rows import estimate_of
from ..rater_table import RatersQuestion, RaterTable, rater_table
from ..resampling import bootstrap, percentile_interval

_PEOPLE = ("human", "humans", "people", "expert", "gold", "truth", "reference")
_MOST_CATEGORIES = 24
_MOST_PANELS = 20
_PANEL = "panel"


@dataclass(frozen=True, kw_only=True)
class JudgePanel(Result):
    """Agreement with people of each judge and of panels of them.

    Attributes
    ----------
    table : RaterTable
        The ratings.
    members : tuple of str
        Judges of the panel.
    measure : str
        What agreement is: Cohen's kappa, its weighted form, or Pearson's r.
    sizes : ndarray, shape (members,)
        Panels of 1, 2, ... judges.
    curve : ndarray, shape (3, members)
        Mean agreement of panels of each size, and its ends.
    costs : dict of str to float
        Mean cost of a verdict, by judge and for the panel; empty where not known.
    """

    table: RaterTable
    members: tuple[str, ...]
    measure: str
    sizes: np.ndarray
    curve: np.ndarray
    costs: dict[str, float]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        whole, best = self.estimates["panel"], self.estimates["panel_less_best"]
        said = (
            f"The panel of {len(self.members)} agrees with people by {self.measure} "
            f"{with_interval(whole.value, whole.low, whole.high)}, its best single member differs by "
            f"{with_interval(-best.value, -best.high, -best.low)}"
        )
        if "panel_less_judge" in self.estimates:
            gap = self.estimates["panel_less_judge"]
            said += f"; the panel is {with_interval(gap.value, gap.low, gap.high)} above the single judge"
        if "cost_ratio" in self.estimates:
            said += f", at {self.estimates['cost_ratio'].value:.3g} of its cost"
        return said + "."


@dataclass(frozen=True, kw_only=True)
class JudgePanelQuestion(RatersQuestion):
    """Is a panel of small judges as good as one large?"""

    human: str = option(
        "", help="rater who is the truth; one called human, expert or truth if empty",
        choices="comparisons.judge|predictions.version",
    )  # fmt: skip
    cost: str = option(
        "", help="column with the cost of a verdict; 'cost' if empty",
        choices="numbers of comparisons|numbers of predictions",
    )  # fmt: skip
    family: str = option(
        "", help="column with the family of what is judged; beside judge_family it shows who favours its own",
        choices="columns of comparisons|columns of predictions",
    )  # fmt: skip

    def resolved(self, store: RunStore) -> Self:
        """Fill in the table and its columns, the person, and the cost."""
        asked = super().resolved(store)
        if not store.has_rows(asked.read) or asked.by not in store.columns(asked.read):
            return asked
        frame = store.rows(asked.read)
        names = [str(name) for name in frame[asked.by].dropna().unique()]
        human = asked.human or next((name for name in names if name.lower() in _PEOPLE), "")
        return replace(asked, human=human, cost=asked.cost or ("cost" if "cost" in frame.columns else ""))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> JudgePanel:
        """Pool the judges, hold everyone against people, resample items."""
        asked = self.resolved(store)
        if not asked.human:
            raise TooLittleData(needs="a rater who is the truth", found="none called human, expert or truth",
                                remedy="Name it (human).")  # fmt: skip
        chosen = (*asked.raters, asked.human) if asked.raters and asked.human not in asked.raters else asked.raters
        table = rater_table(
            store, replace(asked, raters=chosen), about=(asked.family,) if asked.family else (), least=3
        )
        human = table.column(asked.human)
        single = table.column(asked.judge) if asked.judge else None
        members = tuple(name for name in table.names if name not in (asked.human, asked.judge))
        if len(members) < 2:
            raise TooLittleData(needs="at least 2 judges of the panel", found=counted(len(members), "judge"))
        places = [table.column(name) for name in members]
        counted_in = [*places, *([single] if single is not None else []), human]
        known = np.asarray((table.codes[:, counted_in] >= 0).all(axis=1))
        if not known.any():
            raise TooLittleData(needs="items that all judges and the people rated", found="none")
        notes = list(table.notes)
        if not known.all():
            notes.append(f"{counted(int((~known).sum()), 'item')} left out: not rated by every judge.")
        measured = _Measure.of(table, known, human)
        panels = [(place,) for place in places]
        by_size = _panels(places, asked.seed)
        wanted = [*panels, *([(single,)] if single is not None else []), tuple(places), *by_size]
        stacked = np.stack([measured.cells(panel) for panel in wanted], axis=1)
        statistic = partial(_agreements, stacked.reshape(len(stacked), -1), stacked.shape[1], measured.weighted,
                            measured.table.scale == "interval")  # fmt: skip
        n = int(known.sum())
        value = statistic(np.ones((1, n)))[0]
        drawn = bootstrap(
            statistic, n, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress, block_size=100
        )
        whole = len(panels) + (single is not None)
        best = int(np.nanargmax(value[: len(panels)]))
        estimates: dict[str, Estimate] = {"items": Estimate(float(n), unit="items", why_no_interval="a count")}
        for i, name in enumerate(members):
            estimates[name] = estimate_of(value[i], drawn[:, i], asked.level, measured.name)
        estimates["panel"] = estimate_of(value[whole], drawn[:, whole], asked.level, measured.name)
        # The best member is that of each resample: naming it from the same items would flatter it.
        tops = np.nanmax(drawn[:, : len(panels)], axis=1)
        estimates["panel_less_best"] = estimate_of(value[whole] - value[best], drawn[:, whole] - tops, asked.level,
                                                   measured.name)  # fmt: skip
        if single is not None:
            i = len(panels)
            estimates[asked.judge] = estimate_of(value[i], drawn[:, i], asked.level, measured.name)
            estimates["panel_less_judge"] = estimate_of(value[whole] - value[i], drawn[:, whole] - drawn[:, i],
                                                        asked.level, measured.name)  # fmt: skip
        costs = _costs(store, asked, members)
        if asked.judge in costs:
            estimates["cost_ratio"] = Estimate(costs[_PANEL] / costs[asked.judge], unit="of the single judge's cost",
                                               why_no_interval="mean costs, as stated")  # fmt: skip
        sizes, curve = _curve(by_size, value[whole + 1 :], drawn[:, whole + 1 :], asked.level)
        own = _own_family(store, asked, table, members)
        rows = [
            {"rater": name, measured.name: estimates[name].value, "low": estimates[name].low, "high": estimates[name].high,
             "cost": costs.get(name, math.nan), **own.get(name, {})}
            for name in (*members, *([asked.judge] if asked.judge else []), _PANEL)
        ]  # fmt: skip
        for name, found in own.items():
            ends = found["own_family_low"], found["own_family_high"]
            estimates[f"{name}/own_family"] = Estimate(
                found["own_family"], *ends, asked.level, "rating above the other judges",
                "" if math.isfinite(ends[0]) else "one item",
            )  # fmt: skip
        tables = {"raters": pd.DataFrame(rows), "sizes": pd.DataFrame({"judges": sizes, measured.name: curve[0],
                                                                       "low": curve[1], "high": curve[2]})}  # fmt: skip
        if asked.category:
            tables["categories"] = _by_category(
                stacked[:, [whole]], table.items.loc[known, asked.category], measured, asked
            )
        pooled = (
            "mean of the ratings"
            if table.scale != "nominal"
            else "majority; a tie counts for each of its verdicts in part"
        )
        return JudgePanel(
            table=table, members=members, measure=measured.name, sizes=sizes, curve=curve, costs=costs, estimates=estimates,
            tables=tables,
            notes=(f"Unit: the item, n = {n:,}; {100 * asked.level:g} % percentile bootstrap, {asked.draws} draws, seed "
                   f"{asked.seed}. People: {asked.human}.",
                   f"Panel: {pooled}. Panels of a size: all of them, or {_MOST_PANELS} at random.",
                   "Judges that err alike add little: agreement of the panel stops rising.", *notes),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Measure:
    """How agreement with people is measured, by item, so that resampling is a product."""

    table: RaterTable
    known: np.ndarray
    human: int
    name: str
    weighted: bool

    @classmethod
    def of(cls, table: RaterTable, known: np.ndarray, human: int) -> _Measure:
        if table.scale == "interval":
            return cls(table, known, human, "Pearson's r", False)
        if len(table.values) > _MOST_CATEGORIES:
            raise AnalysisError(f"{len(table.values)} different ratings are too many for kappa.",
                                remedy="Take the scale 'interval'.")  # fmt: skip
        ordinal = table.scale == "ordinal"
        return cls(table, known, human, "weighted kappa" if ordinal else "Cohen's kappa", ordinal)

    def cells(self, panel: tuple[int, ...]) -> np.ndarray:
        """Give what each item adds, shape (items, parts)."""
        if self.table.scale == "interval":
            x = self.table.numbers[self.known][:, self.human]
            y = self.table.numbers[self.known][:, panel].mean(axis=1)
            return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)
        k = len(self.table.values)
        codes = self.table.codes[self.known]
        votes = pooled_votes(codes[:, panel], k, mean=self.table.scale == "ordinal")
        cells = np.zeros((len(codes), k, k))
        cells[np.arange(len(codes)), codes[:, self.human]] = votes
        return cells.reshape(len(codes), -1)


def pooled_votes(codes: np.ndarray, k: int, *, mean: bool) -> np.ndarray:
    """Give the verdict of a panel as shares of categories, shape (items, k).

    Parameters
    ----------
    codes : ndarray of int, shape (items, judges)
    mean : bool
        The mean of the codes, shared between the two categories it lies between; else the majority, a tie shared evenly.
    """
    votes = np.zeros((len(codes), k))
    rows = np.arange(len(codes))
    if mean:
        middle = codes.mean(axis=1)
        below = np.floor(middle).astype(int)
        part = middle - below
        votes[rows, below] = 1 - part
        votes[rows, np.minimum(below + 1, k - 1)] += part
        return votes
    for column in codes.T:
        votes[rows, column] += 1
    top = votes == votes.max(axis=1, keepdims=True)
    return np.asarray(top / top.sum(axis=1, keepdims=True))


def _agreements(cells: np.ndarray, panels: int, weighted: bool, interval: bool, counts: np.ndarray) -> np.ndarray:
    sums = (counts @ cells).reshape(len(counts), panels, -1)
    if interval:
        n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((n * xy - x * y) / np.sqrt((n * xx - x * x) * (n * yy - y * y)))
    k = math.isqrt(sums.shape[-1])
    return kappa_of(sums.reshape(*sums.shape[:2], k, k), weighted)


def _by_category(cells: np.ndarray, category: pd.Series, measured: _Measure, asked: JudgePanelQuestion) -> pd.DataFrame:
    """Give the agreement of the panel within each category of items."""
    rows = []
    names = category.astype(str).to_numpy()
    for name in dict.fromkeys(names):
        own = cells[names == name].reshape(int((names == name).sum()), -1)
        statistic = partial(_agreements, own, 1, measured.weighted, measured.table.scale == "interval")
        low, high = percentile_interval(
            bootstrap(statistic, len(own), draws=asked.draws, seed=asked.seed)[:, 0], asked.level
        )
        rows.append({asked.category: name, "items": len(own), measured.name: float(statistic(np.ones((1, len(own))))[0, 0]),
                     "low": low, "high": high})  # fmt: skip
    return pd.DataFrame(rows)


def _panels(places: list[int], seed: int) -> list[tuple[int, ...]]:
    """Give panels of every size: all there are, or some at random."""
    generator = np.random.default_rng(seed)
    found: list[tuple[int, ...]] = []
    for size in range(1, len(places) + 1):
        if math.comb(len(places), size) <= _MOST_PANELS:
            found += list(combinations(places, size))
        else:
            found += [tuple(generator.choice(places, size, replace=False)) for _ in range(_MOST_PANELS)]
    return found


def _curve(
    panels: list[tuple[int, ...]], value: np.ndarray, drawn: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    length = np.array([len(panel) for panel in panels])
    sizes = np.unique(length)
    means = [np.nanmean(value[length == size]) for size in sizes]
    ends = [percentile_interval(drawn[:, length == size].mean(axis=1), level) for size in sizes]
    return sizes, np.array([means, [end.low for end in ends], [end.high for end in ends]])


def _costs(store: RunStore, asked: JudgePanelQuestion, members: tuple[str, ...]) -> dict[str, float]:
    if not asked.cost:
        return {}
    frame = store.rows(asked.read)
    if asked.cost not in frame.columns:
        raise AnalysisError(f"The {asked.read} have no column called {asked.cost!r}.")
    mean = frame.groupby(frame[asked.by].astype(str))[asked.cost].mean()
    wanted = [*members, *([asked.judge] if asked.judge else [])]
    costs = {name: float(mean[name]) for name in wanted if name in mean.index and math.isfinite(mean[name])}
    if all(name in costs for name in members):
        costs[_PANEL] = sum(costs[name] for name in members)
    return costs


def _own_family(
    store: RunStore, asked: JudgePanelQuestion, table: RaterTable, members: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Give by judge how much higher it rates its own family than the other judges do."""
    frame = store.rows(asked.read)
    if not asked.family or "judge_family" not in frame.columns or table.scale == "nominal":
        return {}
    families = dict(zip(frame[asked.by].astype(str), frame["judge_family"].astype(str), strict=True))
    judged = table.items[asked.family].astype(str).to_numpy()
    found = {}
    for name in members:
        own = table.column(name)
        rest = [table.column(other) for other in members if other != name]
        rows = np.flatnonzero((judged == families.get(name)) & ~np.isnan(table.numbers[:, [own, *rest]]).any(axis=1))
        if len(rows):
            gap = table.numbers[rows, own] - table.numbers[rows][:, rest].mean(axis=1)
            drawn = bootstrap(partial(_mean_of_draws, gap), len(gap), draws=asked.draws, seed=asked.seed)
            low, high = percentile_interval(drawn, asked.level)
            found[name] = {
                "own_family": float(gap.mean()),
                "own_family_low": float(low),
                "own_family_high": float(high),
            }
    return found


def _mean_of_draws(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts @ values / counts.sum(axis=1))


def figure(question: JudgePanelQuestion, result: JudgePanel) -> FigureSpec:
    """Draw agreement with people by judge, against cost where it is known, and against the size of the panel."""
    names = [*result.members, *([question.judge] if question.judge else []), _PANEL]
    first = _against_cost(question, result, names) if set(names) <= set(result.costs) else _by_judge(result, names)
    value, low, high = result.curve
    marks: list[Mark] = [
        Band(key="band", x=result.sizes.astype(float), low=low, high=high, hue="c0"),
        Line(
            key="panels",
            x=result.sizes.astype(float),
            y=value,
            hue="c0",
            width=2.0,
            label="mean of panels of this size",
        ),
    ]
    if question.judge:
        marks.append(Rule(key="judge", axis="y", at=result.estimates[question.judge].value, hue="c1",
                          label=shortened(question.judge, 22)))  # fmt: skip
    sizes = Panel(key="sizes", x=Axis(label="judges in the panel"), y=Axis(label=result.measure), marks=tuple(marks))
    return FigureSpec(
        title="Panel of judges",
        subtitle=f"{int(result.estimates['items'].value):,} items, {counted(len(result.members), 'judge')}; "
        f"{100 * question.level:g} % bootstrap over items",
        panels=(first, sizes), columns=2, caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )  # fmt: skip


def _numbers(result: JudgePanel, names: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = [result.estimates[name] for name in names]
    return tuple(np.array([getattr(one, end) for one in found]) for end in ("value", "low", "high"))  # type: ignore[return-value]


def _by_judge(result: JudgePanel, names: list[str]) -> Panel:
    value, low, high = _numbers(result, names)
    origin = result.table.origin_of_raters([*names[:-1], *result.members[:1]])
    return Panel(key="judges", x=Axis(label=f"agreement with people: {result.measure}"), y=named_axis(names),
                 marks=dots("judges", names, value, low, high, origin=origin))  # fmt: skip


def _against_cost(question: JudgePanelQuestion, result: JudgePanel, names: list[str]) -> Panel:
    value, low, high = _numbers(result, names)
    cost = np.array([result.costs[name] for name in names])
    marks: list[Mark] = []
    for key, places, hue, symbol in (("members", range(len(result.members)), "c0", "circle"),
                                     ("judge", range(len(result.members), len(names) - 1), "c1", "square"),
                                     ("panel", [len(names) - 1], "accent", "star")):  # fmt: skip
        at = list(places)
        if at:
            marks.append(Points(key=key, x=cost[at], y=value[at], low=low[at], high=high[at], hue=hue, size=8.0,
                                symbol="star" if symbol == "star" else "square" if symbol == "square" else "circle",
                                label={"members": "members", "judge": "single judge", "panel": "panel"}[key],
                                notes=tuple(f"{names[i]}: {value[i]:.3f}" for i in at)))  # fmt: skip
            marks += [Text(key=f"name {names[i]}", x=float(cost[i]), y=float(value[i]), text=f" {shortened(names[i], 16)}",
                           hue="muted") for i in at]  # fmt: skip
    log = cost.min() > 0 and cost.max() / cost.min() > 20
    return Panel(key="cost", x=Axis(label=question.cost or "cost of a verdict", scale="log" if log else "linear"),
                 y=Axis(label=f"agreement with people: {result.measure}"), marks=tuple(marks))  # fmt: skip


ANALYSIS = Analysis(
    id="judges.panel",
    title="Panel of judges",
    asks="Is a panel of small judges as good as one large?",
    question=JudgePanelQuestion,
    figure=figure,
    sources=(
        "Verga et al. (2024), Replacing Judges with Juries: Evaluating LLM Generations with a Panel of Diverse Models",
        "Zhang et al. (2023), Wider and Deeper LLM Networks are Fairer LLM Evaluators",
        "Cohen (1960), A Coefficient of Agreement for Nominal Scales",
    ),
    definition="""\
Judges are pooled by majority (words) or by their mean (numbers) and held against people: Cohen's $\\kappa$ for words, the
quadratically weighted one for steps of a scale, Pearson's $r$ for measured numbers. A tied majority counts for each of its
verdicts in equal parts, a mean between two steps for both. The curve is the mean over panels of a size. A judge's own-family
score is its mean rating of its own family less that of the other judges on the same items. The panel costs the sum of its
members.

Unit: the item. Trap: judges that err alike are fewer judges than they seem. """,
)
