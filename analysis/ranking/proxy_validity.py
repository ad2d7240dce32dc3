"""``proxy.validity``: does a cheap number predict the real one?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, FigureSpec, Line, Mark, Panel, Points, Rule, Text
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, significant, with_interval
from ...models.store import RunStore
from ..answers import present
from ..rank_correlation import PairOrders, Spread, correlation_spread, interval_method, williams
from ..remembered import Remembered
from ..resampling import DRAWS, bootstrap, holm, percentile_interval
from ..score_marks import interval_rows
from ..score_table import ScoreRows, chosen_scores, one_study

_FEWEST = 6
_ENOUGH_FOR_MIXTURE = 10
_MOST_PROXIES = 60
_MOST_ROWS = 20
_MOST_NAMED = 6
_STATISTICS = ("pearson", "spearman", "tau_b", "concordance")
_NO_MEASURE = ("value", "stderr", "n", "higher_is_better", "seed")


@dataclass(frozen=True, kw_only=True)
class ProxyValidity(Result):
    """How well numbers stand in for a target.

    Attributes
    ----------
    target : str
        What is to be predicted.
    shown : str
        The proxy drawn, the one of the highest tau-b unless asked for.
    league : DataFrame
        One row a proxy, the highest tau-b first.
    points : DataFrame
        One row a model, with the proxy drawn, the target, the line and what each model is off it when left out.
    scores : ScoreRows
        What was compared.
    """

    target: str
    shown: str
    league: pd.DataFrame
    points: pd.DataFrame
    scores: ScoreRows

    def summary(self) -> str:
        """Give the answer in one sentence."""
        row = self.league[self.league["proxy"] == self.shown].iloc[0]
        tau = with_interval(row["tau_b"], row["tau_b_low"], row["tau_b_high"])
        said = (
            f"{self.shown} orders {row['n']} models as {self.target} does with tau-b {tau}; choosing by it loses "
            f"{significant(row['regret'], 3)} of {significant(row['range'], 3)} between the best and the worst"
        )
        if math.isfinite(row["tau_b_top"]):
            said += f", and among the better half tau-b is {significant(row['tau_b_top'], 2)}"
        return said + "."


@dataclass(frozen=True, kw_only=True)
class ProxyQuestion(Question):
    """Does a cheap number predict the real one?"""

    needs: ClassVar = (Need("scores"),)

    target: str = option(
        "", help="the real one: a metric, task, 'task / metric' or column; the last if empty",
        choices="scores.metric|scores.task|numbers of scores",
    )  # fmt: skip
    proxies: tuple[str, ...] = option(
        (), help="numbers held against it; all other scores if empty",
        choices="scores.metric|scores.task|numbers of scores",
    )  # fmt: skip
    shown: str = option("", help="proxy drawn against the target; that of the highest tau-b if empty")
    split: str = option("", help="split; the most frequent if empty", choices="scores.split")
    family: str = option("", help="column of models that are resampled together", choices="columns of scores")
    top: float = option(0.25, help="share of models that would be chosen", unit="of models", low=0.01, high=0.9)
    mixture: bool = option(True, help="also learn a sum of the proxies, judged on models it has not seen")
    better: Literal["as stated", "higher", "lower"] = option("as stated", help="direction of the scores")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the target."""
        if self.target or not store.has_rows("scores"):
            return self
        last = _last_measure.of(store, "", lambda: _last_named(store.rows("scores")))
        return replace(self, target=last) if last else self

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> ProxyValidity:
        """Hold every proxy against the target, over the models that have both."""
        asked = self.resolved(store)
        known = _known.of(
            store, replace(asked, level=0.95, top=0.25), lambda: _computed(store, asked, engine, progress)
        )
        scores, names, left_out, tests = known.scores, known.names, known.left_out, known.tests
        rows = [{"proxy": one.name} | _row(one, asked) for one in known.proxies]
        league = pd.DataFrame(rows).sort_values("tau_b", ascending=False, kind="stable", ignore_index=True)
        shown, mixed, weights, points = known.shown, known.mixed, known.weights, known.points
        notes = [
            f"Unit: the {'family of models' if asked.family else 'model'}; {100 * asked.level:g} % "
            f"{interval_method(int(league['n'].min()))} intervals; each proxy over the models that have it and the target. "
            "Systems are compared, not items.",
            "Proxies of which lower is better have their sign turned, so that a good proxy has a positive correlation. "
            "The best of several proxies looks better than it is: the choice was made on these models.",
            f"Regret: the best {asked.target} less that of the model with the best proxy. Left out: each model predicted by "
            "the line through the others; skill is 1 less the ratio of the squared errors to those of the mean of the others.",
            f"Enrichment: how much more often a model among the top {100 * asked.top:g} % by the proxy is among them by the "
            "target than a model picked blindly.",
        ]
        if left_out:
            notes.append(f"{left_out} further numbers left out, beyond {_MOST_PROXIES}; name them to have them.")
        if len(names) > len(league):
            notes.append(
                f"{len(names) - len(league)} of {len(names)} numbers left out: below {_FEWEST} models, or all equal."
            )
        tables = {"league": league, "points": points}
        if len(tests):
            notes.append(
                "The best by Pearson's r against each other: Williams' t for correlations that share a variable, Holm."
            )
            tables["tests"] = tests
        if len(weights):
            tables["mixture"] = weights
        return ProxyValidity(
            target=asked.target,
            shown=shown,
            league=league,
            points=points,
            scores=scores,
            estimates=_estimates(league, shown, asked) | mixed,
            tables=tables,
            notes=(*notes, *scores.notes),
        )


def _measure_names(task: pd.Series, metric: pd.Series | None) -> pd.Series:
    tasks = task.astype(str)
    if metric is None or metric.nunique(dropna=False) == 1:
        return tasks
    metrics = metric.astype(object).where(metric.notna(), "").astype(str)
    return metrics if tasks.nunique() == 1 else tasks + " / " + metrics


def _measures(store: RunStore, scores: ScoreRows, asked: ProxyQuestion) -> pd.DataFrame:
    """Give one row a model, one column a measure, higher always better; and the columns that were named."""
    frame = scores.frame
    several = frame["metric"].astype(str).nunique() > 1
    names = _measure_names(frame["task"], frame["metric"] if several else None)
    table = frame.assign(measure=names).pivot_table(index="model", columns="measure", values="good", sort=False)
    raw = store.rows("scores")
    for name in (asked.target, *asked.proxies):
        if name not in table.columns and name in raw.columns and name not in _NO_MEASURE:
            if raw[name].dtype.kind not in "fiu":
                raise AnalysisError(f"The column {name!r} does not hold numbers.")
            table[name] = raw.groupby(raw["model"].astype(str))[name].mean().reindex(table.index.astype(str)).to_numpy()
    return table


def _called(name: str, names: Sequence[str] | pd.Series | pd.Index, what: str) -> str:
    """Give the one of `names` that is meant: itself, or the only one of that task or metric.

    Raises
    ------
    AnalysisError
        When there is none, or more than one.
    """
    known = [str(one) for one in names]
    if name in known:
        return name
    found = [one for one in known if name in one.split(" / ")]
    if len(found) == 1:
        return found[0]
    there = ", ".join((found or known)[:12])
    raise AnalysisError(
        f"{'Several numbers are' if found else 'No number is'} called {name!r}.",
        remedy=f"As the {what}, name one of {there}.",
    )


def _families(store: RunStore, scores: ScoreRows, asked: ProxyQuestion, models: pd.Index) -> np.ndarray:
    """Give the number of the family of each model; each its own where none is asked for."""
    if not asked.family:
        return np.arange(len(models))
    raw = store.rows("scores")
    if asked.family not in raw.columns:
        raise AnalysisError(f"The scores have no column called {asked.family!r}.")
    if scores.versions:
        raise AnalysisError("Models with several versions have no single family here; keep one version with a filter.")
    of_model = raw.groupby(raw["model"].astype(str))[asked.family].first()
    return pd.factorize(of_model.reindex(models.astype(str)), use_na_sentinel=False)[0]


@dataclass(frozen=True, slots=True, eq=False)
class _Resampled:
    """One proxy against the target, whatever the coverage of intervals and the share chosen.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        Proxy and target of the models that have both.
    spread : Spread
        Of `_correlations`.
    regrets : ndarray, shape (draws,)
        Of resamples; None where there are too few families to resample.
    plain : Mapping of str to float
        What has no interval and does not depend on the share chosen.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    spread: Spread
    regrets: np.ndarray | None
    plain: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """Proxies resampled, and what follows from their values alone; attributes as in `ProxyValidity`."""

    scores: ScoreRows
    names: tuple[str, ...]
    left_out: int
    proxies: tuple[_Resampled, ...]
    shown: str
    tests: pd.DataFrame
    mixed: dict[str, Estimate]
    weights: pd.DataFrame
    points: pd.DataFrame


_known = Remembered[_Known]()
_last_measure = Remembered[str]()


def _last_named(rows: pd.DataFrame) -> str:
    frame = one_study(rows, [])
    names = _measure_names(frame["task"], frame["metric"] if present(frame, ["metric"]) else None)
    return str(names.iloc[-1]) if len(names) else ""


def _computed(store: RunStore, asked: ProxyQuestion, engine: Engine, progress: Progress) -> _Known:
    metrics = present(store.rows("scores"), ["metric"])
    scores = chosen_scores(store, apart=metrics, split=asked.split, better=asked.better, together=False)
    table = _measures(store, scores, asked)
    target = table.pop(_called(asked.target, table.columns, "target"))
    names = [_called(name, table.columns, "proxy") for name in asked.proxies] or list(map(str, table.columns))
    left_out = max(0, len(names) - _MOST_PROXIES)
    names = names[:_MOST_PROXIES]
    proxies = []
    for number, name in enumerate(names):
        progress(number, len(names), name)
        both = (table[name].notna() & target.notna()).to_numpy()
        x, y = table[name].to_numpy(float)[both], target.to_numpy(float)[both]
        if len(x) >= _FEWEST and np.ptp(x) > 0 and np.ptp(y) > 0:
            families = _families(store, scores, asked, table.index[both])
            proxies.append(_resampled(name, x, y, families, asked, engine))
    if not proxies:
        raise TooLittleData(
            needs=f"at least {_FEWEST} models with {asked.target} and another number that differs between them",
            found=f"{int(target.notna().sum())} models with {asked.target}, {counted(len(names), 'other number')}",
        )
    league = pd.DataFrame(
        {
            "proxy": [one.name for one in proxies],
            "pearson": [one.spread.whole[0] for one in proxies],
            "tau_b": [one.spread.whole[2] for one in proxies],
        }
    ).sort_values("tau_b", ascending=False, kind="stable", ignore_index=True)
    shown = _called(asked.shown, league["proxy"], "proxy") if asked.shown else str(league["proxy"].iloc[0])
    mixed, weights = _mixture(league, table, target) if asked.mixture else ({}, pd.DataFrame())
    return _Known(
        scores, tuple(names), left_out, tuple(proxies), shown, _against_best(league, table, target), mixed, weights,
        _points(table[shown], target),
    )  # fmt: skip


def _resampled(
    name: str, x: np.ndarray, y: np.ndarray, families: np.ndarray, asked: ProxyQuestion, engine: Engine
) -> _Resampled:
    from scipy.stats import weightedtau

    groups = int(families.max()) + 1
    statistic = partial(_correlations, x, y, PairOrders.of(np.column_stack([x, y])), families)
    spread = correlation_spread(statistic, groups, draws=asked.draws, seed=asked.seed, engine=engine)
    better = y >= np.median(y)
    halves = PairOrders.of(np.column_stack([x[better], y[better]]))
    lost = partial(_regret, x, y, families)
    off = _left_out(x[:, None], y)
    plain = {
        "weighted_tau": float(weightedtau(x, y).statistic),
        "tau_b_top": float(halves.against(1)[0]) if better.sum() >= 4 else math.nan,
        "regret": float(lost(np.ones((1, groups), dtype=np.int64))[0]),
        "range": float(np.ptp(y)),
        "left_out_rmse": float(np.sqrt(np.mean(off**2))),
        "skill": _skill(off, y),
    }
    regrets = bootstrap(lost, groups, draws=asked.draws, seed=asked.seed, engine=engine) if groups >= 10 else None
    return _Resampled(name, x, y, spread, regrets, plain)


def _row(known: _Resampled, asked: ProxyQuestion) -> dict[str, Any]:
    """Give the row of a proxy in the league table."""
    n, whole = len(known.x), known.spread.whole.copy()
    low, high = (np.asarray(end, float).copy() for end in known.spread.interval(asked.level))
    for values in (whole, low, high):
        values[3] = (values[3] + 1) / 2
    row: dict[str, Any] = {"n": n}
    for place, name in enumerate(_STATISTICS):
        row |= {name: whole[place], f"{name}_low": low[place], f"{name}_high": high[place]}
    row |= {name: known.plain[name] for name in ("weighted_tau", "tau_b_top", "regret")}
    row["regret_low"], row["regret_high"] = (
        percentile_interval(known.regrets, asked.level) if known.regrets is not None else (math.nan, math.nan)
    )
    row |= {name: known.plain[name] for name in ("range", "left_out_rmse", "skill")}
    row["enrichment"] = enrichment(known.x, known.y, max(1, round(asked.top * n)))
    return row


def _correlations(
    x: np.ndarray, y: np.ndarray, orders: PairOrders, families: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Give Pearson, Spearman, tau-b and the concordance (from -1 to 1) of resamples, shape (draws, 4)."""
    weights = np.asarray(counts)[:, families]
    ranks = [_ranks(values, weights) for values in (x, y)]
    return np.column_stack(
        [
            _pearson(np.broadcast_to(x, weights.shape), np.broadcast_to(y, weights.shape), weights),
            _pearson(ranks[0], ranks[1], weights),
            orders.against_in_draws(1, weights)[:, 0],
            2 * orders.alike_in_draws(1, weights)[:, 0] - 1,
        ]
    )


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Give the mid-ranks in resamples, up to a constant, shape (draws, n)."""
    below = (values[:, None] < values) + 0.5 * (values[:, None] == values)
    ranks: np.ndarray = weights @ below
    return ranks


def _pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=1, keepdims=True)
    x = x - (weights * x).sum(axis=1, keepdims=True) / total
    y = y - (weights * y).sum(axis=1, keepdims=True) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (weights * x * y).sum(axis=1) / np.sqrt((weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1))
    clipped: np.ndarray = np.clip(r, -1, 1)
    return clipped


def _regret(x: np.ndarray, y: np.ndarray, families: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give, of resamples, the best target less that of the model with the best proxy; the mean of several such."""
    weights = np.asarray(counts)[:, families]
    there = weights > 0
    best = np.where(there, x, -np.inf).max(axis=1, keepdims=True)
    picked = weights * (x == best)
    chosen = (picked * y).sum(axis=1) / picked.sum(axis=1)
    # A mean of equal values may be a last bit above the best of them.
    lost: np.ndarray = np.maximum(np.where(there, y, -np.inf).max(axis=1) - chosen, 0)
    return lost


def enrichment(x: np.ndarray, y: np.ndarray, chosen: int) -> float:
    """Give how much more often the top `chosen` by x are the top `chosen` by y than blind picks; ties at random."""
    inside = []
    for values in (x, y):
        edge = np.sort(values)[-chosen]
        above, tied = values > edge, values == edge
        inside.append(above + tied * (chosen - above.sum()) / tied.sum())
    n = len(x)
    return float((inside[0] * inside[1]).sum() / chosen / (chosen / n))


def _left_out(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Give what each model is off the least squares fit of the others: the residual over 1 less the leverage."""
    design = np.column_stack([np.ones(len(y)), x])
    q, _ = np.linalg.qr(design)
    leverage = np.minimum((q**2).sum(axis=1), 1 - 1e-12)
    off: np.ndarray = (y - q @ (q.T @ y)) / (1 - leverage)
    return off


def _skill(off: np.ndarray, y: np.ndarray) -> float:
    n = len(y)
    plain = (y - y.mean()) * n / (n - 1)
    return 1 - float((off**2).sum() / (plain**2).sum())


def _against_best(league: pd.DataFrame, table: pd.DataFrame, target: pd.Series) -> pd.DataFrame:
    """Give Williams' test of the proxy with the highest Pearson's r against every other, over shared models."""
    best = str(league["proxy"].iloc[int(league["pearson"].to_numpy().argmax())])
    rows = []
    for name in league["proxy"]:
        if name == best:
            continue
        both = pd.concat([target, table[best], table[name]], axis=1).dropna().to_numpy(float)
        if len(both) < _FEWEST or (np.ptp(both, axis=0) == 0).any():
            continue
        r = np.corrcoef(both.T)
        t, p = williams(float(r[0, 1]), float(r[0, 2]), float(r[1, 2]), len(both))
        rows.append(
            {"best": best, "other": name, "r_best": r[0, 1], "r_other": r[0, 2], "n": len(both), "t": t, "p": p}
        )
    tests = pd.DataFrame(rows)
    return tests.assign(p_holm=holm(tests["p"].to_numpy())) if len(tests) else tests


def _mixture(league: pd.DataFrame, table: pd.DataFrame, target: pd.Series) -> tuple[dict[str, Estimate], pd.DataFrame]:
    """Learn a sum of the proxies with weights of zero or more, each model predicted without itself."""
    from scipy.optimize import nnls

    names = list(league["proxy"])
    whole = pd.concat([target.rename("_target"), table[names]], axis=1).dropna().to_numpy(float)
    if len(names) < 2 or len(whole) < _ENOUGH_FOR_MIXTURE or (np.ptp(whole, axis=0) == 0).any():
        return {}, pd.DataFrame()
    y, x = whole[:, 0], whole[:, 1:]

    def learned(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, scale = x[rows].mean(axis=0), np.maximum(x[rows].std(axis=0), 1e-12)
        weights, _ = nnls((x[rows] - mean) / scale, y[rows] - y[rows].mean())
        return weights, mean, scale

    predicted = np.empty(len(y))
    for i in range(len(y)):
        rows = np.arange(len(y)) != i
        weights, mean, scale = learned(rows)
        predicted[i] = y[rows].mean() + (x[i] - mean) / scale @ weights
    weights, _, scale = learned(np.ones(len(y), dtype=bool))
    tau = float(PairOrders.of(np.column_stack([predicted, y])).against(1)[0])
    why = f"{len(y)} models, each predicted without itself"
    estimates = {
        "mixture/skill": Estimate(_skill(predicted - y, y), why_no_interval=why),
        "mixture/tau_b": Estimate(tau, why_no_interval=why),
    }
    return estimates, pd.DataFrame({"proxy": names, "weight_per_sd": weights, "weight": weights / scale})


def _points(proxy: pd.Series, target: pd.Series) -> pd.DataFrame:
    both = pd.concat([proxy.rename("proxy"), target.rename("target")], axis=1).dropna()
    x, y = both["proxy"].to_numpy(float), both["target"].to_numpy(float)
    slope, level = np.polyfit(x, y, 1)
    table = both.assign(line=level + slope * x, off=_left_out(x[:, None], y)).reset_index()
    order = table["off"].abs().sort_values(ascending=False, kind="stable").index
    listed: pd.DataFrame = table.loc[order].reset_index(drop=True)
    return listed


def _estimates(league: pd.DataFrame, shown: str, asked: ProxyQuestion) -> dict[str, Estimate]:
    estimates = {}
    for row in league.to_dict("records"):
        parts = (*_STATISTICS, "regret") if row["proxy"] == shown else ("tau_b",)
        for name in parts:
            low, high = row[f"{name}_low"], row[f"{name}_high"]
            why = "" if math.isfinite(low) else f"{row['n']} models, or a perfect order"
            estimates[f"{row['proxy']}/{name}"] = Estimate(row[name], low, high, asked.level, "", why)
        if row["proxy"] == shown:
            for name in ("skill", "enrichment", "weighted_tau"):
                estimates[f"{shown}/{name}"] = Estimate(row[name], why_no_interval=f"{row['n']} models")
    return estimates


def figure(question: ProxyQuestion, result: ProxyValidity) -> FigureSpec:
    """Draw the target against a proxy, with the models furthest off named, and the league of proxies."""
    points = result.points
    x, y = points["proxy"].to_numpy(float), points["target"].to_numpy(float)
    models = tuple(map(str, points["model"]))
    notes = tuple(
        f"{row['model']}: {result.shown} {significant(row['proxy'])}, {result.target} {significant(row['target'])}, off the "
        f"others' line by {significant(row['off'], 3)}"
        for row in points.to_dict("records")
    )
    ends = np.array([x.argmin(), x.argmax()])
    level = f"{100 * question.level:g} %"
    marks: list[Mark] = [
        Line(key="line", x=x[ends], y=points["line"].to_numpy(float)[ends], hue="muted", dash="dashed", label="least squares"),
        Points(key="models", x=x, y=y, hue="c0", origin=result.scores.origin(models), notes=notes),
    ]  # fmt: skip
    middle = (x.min() + x.max()) / 2
    marks += [
        Text(key=f"name/{models[i]}", x=x[i], y=y[i], text=f" {shortened(models[i], 22)} ", size=0.85,
             align="left" if x[i] < middle else "right", hue="muted")
        for i in range(min(_MOST_NAMED, len(models)))
    ]  # fmt: skip
    scatter = Panel(
        key="scatter",
        x=Axis(label=shortened(result.shown, 40), column=f"score:{result.shown}"),
        y=Axis(label=shortened(result.target, 40), column=f"score:{result.target}"),
        marks=tuple(marks),
        title="Furthest off are named",
    )
    league = result.league.head(_MOST_ROWS)
    value, low, high = (league[name].to_numpy(float) for name in ("tau_b", "tau_b_low", "tau_b_high"))
    at = np.arange(len(league), dtype=float)
    said = tuple(
        f"{row['proxy']}: tau-b {with_interval(row['tau_b'], row['tau_b_low'], row['tau_b_high'])}, top half "
        f"{significant(row['tau_b_top'], 2)}, regret {significant(row['regret'], 3)}, n = {row['n']}"
        for row in league.to_dict("records")
    )
    rows = list(interval_rows("tau", at, value, low, high, notes=said, label=f"all models, {level}"))
    rows.append(
        Points(key="top", x=league["tau_b_top"].to_numpy(float), y=at, hue="c1", symbol="diamond", hollow=True,
               label="better half of them")
    )  # fmt: skip
    table = Panel(
        key="league",
        x=Axis(label=f"tau-b with {shortened(result.target, 30)}", high=1.0),
        y=Axis(scale="category", names=tuple(shortened(str(name), 32) for name in league["proxy"]), inverted=True),
        marks=(Rule(key="zero", axis="x", at=0.0), *rows),
    )
    cut = f", {len(league)} shown" if len(league) < len(result.league) else ""
    return FigureSpec(
        title=f"Stand-ins for {result.target}",
        subtitle=f"{counted(len(models), 'model')}; {len(result.league)} proxies{cut}; intervals {level}",
        panels=(scatter, table),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="proxy.validity",
    title="Validity of a proxy",
    asks="Does a cheap number predict the real one?",
    question=ProxyQuestion,
    figure=figure,
    sources=(
        "Kendall (1938); Vigna (2015): weighted tau",
        "Williams (1959); Steiger (1980): two correlations that share a variable",
        "Riebesell et al. (2025), Matbench Discovery: good fits can still decide badly",
        "Shum et al. (2025), PreSelect; Huang et al. (2025), Modality Integration Rate; Winata et al. (2025), MetaMetrics",
    ),
    definition="""\
Over the models that have a proxy $x$ and the target $y$: Pearson, Spearman, tau-b, weighted tau (the top counts more), the
share of pairs ordered alike (ties one half), and tau-b within the better half by the target. Regret is
$\\max_j y_j-y_{\\arg\\max x}$. Each model is predicted by the least squares line of the others; skill is
$1-\\sum e_i^2/\\sum(y_i-\\bar y_{-i})^2$. Enrichment is the precision of the top share by the proxy over its prevalence. A
sum of the proxies with weights of zero or more is learned, and judged on models it has not seen.

Unit: the model, or the family, resampled whole. Traps: a high correlation overall and none among the top, which is where one
chooses; families that move together; the best of many proxies. Items: see metrics.meta-evaluation. """,
)
