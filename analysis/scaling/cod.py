"""``scaling.cod``: a benchmark forecast through the items that scale predictably, clustered by their difficulty."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.store import RunStore
from ..attempts import Attempts, attempts_of
from ..law_reports import estimated
from ..model_sizes import default_size, sizes_of
from ..power_fit import ByJacobian, Fit, Objective, fit, refits
from ..resampling import bootstrap, percentile_interval
from ..scaling_runs import short

_SIZES = 4
_SEEDS = 600
"""Items from which mean shift starts; more find the same modes."""
_STEPS = 60
_LEAST_A, _LEAST_B, _MOST_C = 1.0, 0.1, 1.0
"""Where a cluster is taken to be predictable (Xu et al. 2025)."""
_EMERGED = 0.02
"""How far above guessing the best model must be before a law says anything."""
_PLACES = 80


class ScoreLaw(ByJacobian):
    """Pass rate over compute, g + (1 - g) exp(-a C^-b - c), over log a, log b and c.

    Parameters
    ----------
    C : ndarray, shape (n,)
        Compute in parts of a unit.
    g : float
        Pass rate of guessing.
    """

    names: tuple[str, ...] = ("a", "b", "c")

    def __init__(self, C: np.ndarray, g: float) -> None:
        self.logC, self.g = np.log(C), g

    def value(self, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        """Give the pass rate, shape (m, n), and its parts."""
        loga, logb, c = (column[:, None] for column in theta.T)
        b = np.exp(logb)
        fall = np.exp(loga - b * self.logC)
        reached = (1 - self.g) * np.exp(-fall - c)
        return self.g + reached, (b, fall, reached)

    def jacobian(self, state: Any) -> np.ndarray:
        """Give d rate / d theta, shape (m, n, 3)."""
        b, fall, reached = state
        return np.stack([-reached * fall, reached * fall * b * self.logC, -reached], axis=-1)


def fit_cluster(C: np.ndarray, rate: np.ndarray, g: float) -> Fit:
    """Fit the law of pass rate over compute by least squares, from a grid.

    Raises
    ------
    TooLittleData
        With fewer than four sizes.
    """
    if len(np.unique(C)) < _SIZES:
        raise TooLittleData(needs=f"at least {_SIZES} sizes of models", found=str(len(np.unique(C))))
    form = ScoreLaw(C, g)
    low, high = np.array([math.log(1e-3), math.log(0.01), 0.0]), np.array([math.log(1e4), math.log(4.0), 6.0])
    grid = np.meshgrid(
        np.log([0.3, 1.0, 2.5, 6.0, 20.0]), np.log([0.05, 0.15, 0.35, 0.8, 1.6]), [0.01, 0.3, 1.5], indexing="ij"
    )
    starts = np.stack([axis.ravel() for axis in grid], axis=1)
    return fit(form, rate, objective=Objective("squares"), starts=starts, low=low, high=high)


def mean_shift(X: np.ndarray, radius: float) -> np.ndarray:
    """Give the cluster of every point by mean shift with a flat kernel; -1 where no mode is within the radius.

    Points move to the mean of those within the radius until they stand still; of modes closer than the radius the one with
    most points stays (Comaniciu and Meer 2002). Clusters are numbered from the one with most points.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    radius : float
    """
    order = np.lexsort(X.T[::-1])
    distinct, counts = np.unique(X[order], axis=0, return_counts=True)
    modes = distinct[
        np.unique(np.linspace(0, len(distinct) - 1, min(_SEEDS, len(distinct))).round().astype(int))
    ].copy()
    open_ = np.arange(len(modes))
    support = np.zeros(len(modes))
    for _ in range(_STEPS):
        near = (_distances(modes[open_], distinct) <= radius) * counts
        support[open_] = near.sum(axis=1)
        moved = (near @ distinct) / np.maximum(support[open_, None], 1)
        step = np.abs(moved - modes[open_]).max(axis=1)
        modes[open_] = moved
        open_ = open_[step > 1e-3 * radius]
        if not len(open_):
            break
    kept: list[int] = []
    for number in np.lexsort([*modes.T[::-1], -support]):
        if not kept or _distances(modes[[number]], modes[kept]).min() > radius:
            kept.append(int(number))
    away = _distances(X, modes[kept])
    nearest = away.argmin(axis=1)
    found = np.where(away.min(axis=1) <= radius, nearest, -1)
    sizes = np.bincount(found[found >= 0], minlength=len(kept))
    rank = np.empty(len(kept), dtype=int)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(kept))
    return np.asarray(np.where(found >= 0, rank[found], -1))


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Give root mean square differences between rows, shape (n, m)."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0) / one.shape[1]))


def typical_radius(X: np.ndarray) -> float:
    """Give a radius for `mean_shift`: the median distance to the fifth of the points that is nearest, at least 0.05."""
    some = X[np.unique(np.linspace(0, len(X) - 1, min(len(X), _SEEDS)).round().astype(int))]
    away = np.sort(_distances(some, X), axis=1)
    return max(float(np.median(away[:, min(max(1, len(X) // 5), len(X) - 1)])), 0.05)


@dataclass(frozen=True)
class Cluster:
    """Items of one difficulty.

    Attributes
    ----------
    number : int
    items : ndarray of int
        Rows of the items.
    rate : ndarray, shape (models,)
        Mean pass rate of every fitted model.
    fit : Fit
    theta : ndarray, shape (draws, 3)
        The law of every resample of the items.
    chance : float
        Pass rate of guessing.
    """

    number: int
    items: np.ndarray
    rate: np.ndarray
    fit: Fit
    theta: np.ndarray
    chance: float

    @cached_property
    def values(self) -> dict[str, float]:
        """The values of a, b and c."""
        loga, logb, c = self.fit.theta
        return {"a": math.exp(loga), "b": math.exp(logb), "c": float(c)}

    @property
    def refused(self) -> str:
        """Why the cluster does not extrapolate; empty where it does."""
        values = self.values
        if self.rate.max() < self.chance + _EMERGED:
            return "no model is above guessing"
        if stuck := [name for name in self.fit.bounds if name != "c"]:
            return f"{' and '.join(stuck)} on a bound"
        if not values["a"] > _LEAST_A:
            return f"a = {significant(values['a'], 2)} is not above {_LEAST_A:g}"
        if not values["b"] > _LEAST_B:
            return f"b = {significant(values['b'], 2)} is not above {_LEAST_B:g}"
        return "" if values["c"] < _MOST_C else f"c = {significant(values['c'], 2)} is not below {_MOST_C:g}"


_NO_RATE = 1e-12
"""A rate of less is none: slopes between such are too small for their inverse, which the cubic takes."""


class MonotoneMap:
    """A rising curve through (0, 0), (1, 1) and points: isotonic means, then a monotone cubic (Fritsch and Carlson 1980)."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        from scipy.interpolate import PchipInterpolator
        from scipy.optimize import isotonic_regression

        order = np.argsort(x, kind="stable")
        rising = np.clip(isotonic_regression(y[order]).x, 0.0, 1.0)
        rising[rising < _NO_RATE] = 0.0
        inside = (x[order] > 1e-6) & (x[order] < 1 - 1e-6)
        places, first = np.unique(x[order][inside], return_index=True)
        self._curve = PchipInterpolator([0.0, *places, 1.0], [0.0, *rising[inside][first], 1.0])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Give the value at places in [0, 1]."""
        return np.asarray(self._curve(np.clip(x, 0.0, 1.0)), float)


@dataclass(frozen=True, kw_only=True)
class DifficultyForecast(Result):
    """A forecast through clusters of items.

    Attributes
    ----------
    attempts : Attempts
    C, full : ndarray, shape (models,)
        Compute and mean pass rate of all models.
    fitted : ndarray of bool, shape (models,)
    clusters : tuple of Cluster
        Those with enough items.
    used : tuple of int
        Numbers of the clusters that extrapolate.
    subset : ndarray, shape (models,)
        Mean pass rate on their items.
    places, curve, low, high : ndarray, shape (places,)
        Compute and forecast of the whole benchmark.
    target : float
    unit : float
        FLOPs (or parameters) C is counted in.
    size : str
    """

    attempts: Attempts
    C: np.ndarray
    full: np.ndarray
    fitted: np.ndarray
    clusters: tuple[Cluster, ...]
    used: tuple[int, ...]
    subset: np.ndarray
    places: np.ndarray
    curve: np.ndarray
    low: np.ndarray
    high: np.ndarray
    target: float
    unit: float
    size: str
    reasons: tuple[str, ...]

    @property
    def chosen(self) -> tuple[Cluster, ...]:
        """The clusters that extrapolate."""
        return tuple(cluster for cluster in self.clusters if cluster.number in self.used)

    def summary(self) -> str:
        """Give the answer in one sentence."""
        found = self.estimates["predicted"]
        items = sum(len(cluster.items) for cluster in self.chosen)
        said = (
            f"Forecast at {short(self.target)}: {with_interval(found.value, found.low, found.high)} through "
            f"{counted(len(self.used), 'cluster')} of {items} of {counted(len(self.attempts.items), 'item')}"
        )
        if "actual" in self.estimates:
            off = 100 * (found.value - self.estimates["actual"].value)
            said += f" (actual {significant(self.estimates['actual'].value, 3)}, off by {off:+.1f} points)"
        return said + (f"; do not believe it far out: {self.reasons[0]}." if self.reasons else ".")


@dataclass(frozen=True, kw_only=True)
class CodQuestion(Question):
    """What will a larger model score, forecast through the items that scale predictably?"""

    needs: ClassVar = (Need("predictions"),)

    size: str = option(
        "", help="compute of a model; FLOPs, else parameters if empty", choices="numbers of predictions|numbers of runs"
    )
    task: str = option("", help="only this task; all of them if empty", choices="predictions.task")
    made: str = option(
        "",
        help="column with the attempts made, where a row is an item",
        choices="numbers of predictions",
        advanced=True,
    )
    passed: str = option(
        "", help="column with the attempts that passed", choices="numbers of predictions", advanced=True
    )
    chance: float = option(0.0, help="pass rate of guessing, g", low=0.0, high=0.99)
    radius: float | None = option(
        None,
        help="how far apart pass rates of a cluster are (root mean square); from the data if empty",
        low=0.01,
        high=1,
    )
    least_items: int = option(10, help="items a cluster needs", unit="items", low=2)
    hold_out: int = option(1, help="largest models that are forecast and not fitted", unit="models", low=0, high=20)
    target_size: float | None = option(
        None,
        help="compute asked about; that of the largest model held out, else four times the largest, if empty",
        low=0,
    )
    unit: float | None = option(
        None, help="compute a is counted at; that of the smallest model if empty", low=0, advanced=True
    )
    right_from: float = option(0.5, help="least score that is right", low=0.0, high=1.0, advanced=True)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(500, help="resamples of the items, laws and map made again each time", low=100, high=20_000,
                        advanced=True)  # fmt: skip
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the size."""
        if not store.has_rows("predictions"):
            return self
        return replace(self, size=self.size or default_size(store))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> DifficultyForecast:
        """Cluster the items, fit each cluster, and map the predictable ones to the whole."""
        asked = self.resolved(store)
        attempts = attempts_of(
            store, task=asked.task, made=asked.made, passed=asked.passed, right_from=asked.right_from, several=False
        )
        size = sizes_of(store, attempts.rows, attempts.rows["series"].to_numpy(), attempts.of, asked.size)
        by_item, order, items, notes = _rates(attempts, size)
        C = size[order]
        fitted = np.arange(len(C)) < len(C) - asked.hold_out
        if len(np.unique(C[fitted])) < _SIZES:
            raise TooLittleData(
                needs=f"at least {_SIZES} sizes of models that are fitted", found=str(len(np.unique(C[fitted]))),
                remedy="Hold out fewer models, or open more.",
            )  # fmt: skip
        unit = asked.unit or float(C.min())
        target = asked.target_size or (float(C[-1]) if asked.hold_out else float(f"{4 * C[-1]:.3g}"))
        X = by_item[:, fitted]
        radius = asked.radius or typical_radius(X)
        labels = mean_shift(X, radius)
        counts = bootstrap(
            _same, len(X), strata=labels, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress
        ).astype(float)
        clusters = _clusters(X, labels, C[fitted] / unit, counts, asked)
        used = tuple(cluster.number for cluster in clusters if not cluster.refused)
        if not used:
            why = "; ".join(f"cluster {cluster.number + 1}: {cluster.refused}" for cluster in clusters[:3])
            raise TooLittleData(
                needs="a cluster of items whose pass rate can be extrapolated",
                found=why or f"no cluster of {asked.least_items} items within {significant(radius, 2)}",
                remedy="Give --chance, another --radius, or more models.",
            )
        chosen = [cluster for cluster in clusters if cluster.number in used]
        members = np.concatenate([cluster.items for cluster in chosen])
        subset, full = by_item[members].mean(axis=0), by_item.mean(axis=0)
        places = np.unique(np.append(np.geomspace(C.min(), max(target, C.max()) * 1.5, _PLACES), [target, *C[~fitted]]))
        curve, drawn = _forecasts(by_item, chosen, fitted, places / unit, counts, asked)
        low, high = percentile_interval(drawn, asked.level)
        at = int(np.searchsorted(places, target))
        direct = fit_cluster(C[fitted] / unit, full[fitted], asked.chance)
        alone = float(ScoreLaw(np.array([target / unit]), asked.chance).value(direct.theta[None])[0][0, 0])
        reasons = _reasons(target, C[fitted], np.asarray(low)[at], np.asarray(high)[at], full[fitted], curve[at])
        held = _held_out(attempts, order, C, full, fitted, places, curve, np.asarray(low), np.asarray(high))
        estimates = {
            "predicted": Estimate(
                float(curve[at]), float(np.asarray(low)[at]), float(np.asarray(high)[at]), asked.level, "pass rate",
                "no resample could be fitted",
            ),
            "direct": Estimate(alone, unit="pass rate", why_no_interval="the law of the whole benchmark, for comparison"),
            "subset_share": Estimate(len(members) / len(by_item), unit="share of the items", why_no_interval="a count"),
            "target_size": Estimate(target, unit=asked.size, why_no_interval="asked about"),
        }  # fmt: skip
        actual = held[np.isclose(held["size"].to_numpy(float), target)] if len(held) else held
        if len(actual):
            estimates["actual"] = Estimate(float(actual["actual"].mean()), unit="pass rate", why_no_interval="measured")
        for cluster in clusters:
            for number, name in enumerate(ScoreLaw.names):
                draws = np.exp(cluster.theta[:, number]) if name != "c" else cluster.theta[:, number]
                estimates[f"cluster {cluster.number + 1}/{name}"] = estimated(cluster.values[name], draws, asked.level)
        return DifficultyForecast(
            attempts=attempts, C=C, full=full, fitted=fitted, clusters=tuple(clusters), used=used, subset=subset,
            places=places, curve=curve, low=np.asarray(low), high=np.asarray(high), target=target, unit=unit, size=asked.size,
            reasons=tuple(reasons), estimates=estimates,
            tables={"clusters": _cluster_table(clusters), "held_out": held, "items": _item_table(items, labels, clusters)},
            notes=(*_notes(clusters, labels, held, radius, unit, reasons, asked), *notes),
        )  # fmt: skip


def _rates(attempts: Attempts, size: np.ndarray) -> tuple[np.ndarray, np.ndarray, pd.DataFrame, list[str]]:
    """Give pass rates, shape (items, models), of items every sized model tried, the models in the order of their size."""
    known = np.flatnonzero(np.isfinite(size) & (size > 0))
    order = known[np.argsort(size[known], kind="stable")]
    notes = []
    if lost := len(size) - len(order):
        notes.append(f"{counted(lost, 'model')} left out: no size.")
    if not len(order):
        raise TooLittleData(needs="models of known size", found="none")
    n, c = attempts.n[:, order], attempts.c[:, order]
    tried = (n > 0).all(axis=1)
    if not tried.any():
        raise TooLittleData(needs="items that all models tried", found="none")
    if lost := int((~tried).sum()):
        notes.append(f"{counted(lost, 'item')} left out: not tried by every model.")
    if int(n[tried].max()) == 1:
        notes.append(
            "One attempt an item: pass rates are 0 or 1, and difficulty is coarse; several attempts tell more."
        )
    return c[tried] / n[tried], order, attempts.items[np.asarray(tried, dtype=bool)].reset_index(drop=True), notes


def _clusters(
    X: np.ndarray, labels: np.ndarray, C: np.ndarray, counts: np.ndarray, asked: CodQuestion
) -> list[Cluster]:
    """Fit every cluster that has enough items, and refit it to resamples of the items."""
    found = []
    for number in range(labels.max() + 1):
        items = np.flatnonzero(labels == number)
        if len(items) < asked.least_items:
            continue
        fitted = fit_cluster(C, X[items].mean(axis=0), asked.chance)
        drawn = counts[:, items] @ X[items] / len(items)
        theta = refits(ScoreLaw(C, asked.chance), drawn, fitted, np.ones(drawn.shape))
        found.append(Cluster(number, items, X[items].mean(axis=0), fitted, theta, asked.chance))
    return found


def _same(counts: np.ndarray) -> np.ndarray:
    return counts


def _forecasts(
    by_item: np.ndarray,
    chosen: list[Cluster],
    fitted: np.ndarray,
    C: np.ndarray,
    counts: np.ndarray,
    asked: CodQuestion,
) -> tuple[np.ndarray, np.ndarray]:
    """Give the forecast of the whole benchmark at compute C, shape (places,), and those of the draws, (draws, places)."""
    weights = np.array([len(cluster.items) for cluster in chosen], float)
    weights /= weights.sum()
    form = ScoreLaw(C, asked.chance)
    members = np.concatenate([cluster.items for cluster in chosen])
    subset, full = by_item[members][:, fitted].mean(axis=0), by_item[:, fitted].mean(axis=0)
    law = sum(weight * form.value(one.fit.theta[None])[0][0] for weight, one in zip(weights, chosen, strict=True))
    curve = MonotoneMap(subset, full)(np.asarray(law))
    drawn = np.full((asked.draws, len(C)), np.nan)
    laws = [form.value(one.theta)[0] for one in chosen]
    wholes = counts @ by_item[:, fitted] / len(by_item)
    inside = counts[:, members]
    parts = inside @ by_item[members][:, fitted] / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    for draw in range(asked.draws):
        mixed = sum(weight * own[draw] for weight, own in zip(weights, laws, strict=True))
        if np.isfinite(mixed).all() and np.isfinite(parts[draw]).all():
            drawn[draw] = MonotoneMap(parts[draw], wholes[draw])(np.asarray(mixed))
    return curve, drawn


def _held_out(
    attempts: Attempts, order: np.ndarray, C: np.ndarray, full: np.ndarray, fitted: np.ndarray, places: np.ndarray,
    curve: np.ndarray, low: np.ndarray, high: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    rows = []
    for number in np.flatnonzero(~fitted):
        at = int(np.searchsorted(places, C[number]))
        rows.append(
            {
                "model": attempts.names[order[number]], "size": C[number], "actual": full[number], "predicted": curve[at],
                "low": low[at], "high": high[at], "points": 100 * (curve[at] - full[number]),
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "size", "actual", "predicted", "low", "high", "points"])


def _cluster_table(clusters: list[Cluster]) -> pd.DataFrame:
    rows = [
        {
            "cluster": cluster.number + 1, "items": len(cluster.items), **cluster.values, "rmse": cluster.fit.rmse,
            "used": not cluster.refused, "refused": cluster.refused,
            "starts_agreeing": f"{cluster.fit.agreeing} of {cluster.fit.started}", "on_bound": ", ".join(cluster.fit.bounds),
        }
        for cluster in clusters
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _item_table(items: pd.DataFrame, labels: np.ndarray, clusters: list[Cluster]) -> pd.DataFrame:
    large = {cluster.number for cluster in clusters}
    used = {cluster.number for cluster in clusters if not cluster.refused}
    shown = [int(label) + 1 if int(label) in large else 0 for label in labels]
    return items.assign(cluster=shown, used=[int(label) in used for label in labels])


def _reasons(target: float, C: np.ndarray, low: float, high: float, full: np.ndarray, predicted: float) -> list[str]:
    reasons = []
    if target > 100 * C.max():
        reasons.append(f"the target is {significant(target / C.max(), 3)} times the largest model that was fitted")
    if (high - low) / 2 > abs(predicted - full[-1]):
        reasons.append("the band at the target is wider than the change from the largest model that was fitted")
    return reasons


def _notes(
    clusters: list[Cluster], labels: np.ndarray, held: pd.DataFrame, radius: float, unit: float, reasons: list[str],
    asked: CodQuestion,
) -> list[str]:  # fmt: skip
    large = {cluster.number for cluster in clusters}
    left = int(sum(int(label) not in large for label in labels))
    used = [cluster for cluster in clusters if not cluster.refused]
    least = min(used, key=lambda cluster: cluster.fit.agreeing)
    notes = [
        f"Mean shift of pass rates over the fitted models, radius {significant(radius, 2)} (root mean square); "
        f"{counted(len(clusters), 'cluster')} of at least {asked.least_items} items, {left} items in none; laws: least "
        f"squares, at least {least.fit.agreeing} of {least.fit.started} starts agree; unit: the item, n = {len(labels)}; "
        f"intervals: {100 * asked.level:g} %, bootstrap over items within the clusters found, {asked.draws} draws, seed "
        f"{asked.seed}; the clustering is not redone.",
        f"A cluster is extrapolated where a > {_LEAST_A:g}, b > {_LEAST_B:g} and c < {_MOST_C:g}, with C in parts of "
        f"{short(unit)} (the smallest model, unless --unit says otherwise: the published thresholds do not name their unit).",
    ]
    refused = [f"{cluster.number + 1} ({cluster.refused})" for cluster in clusters if cluster.refused]
    if refused:
        notes.append(f"Not extrapolated: cluster {', '.join(refused[:6])}.")
    if len(held):
        off = float(held["points"].abs().mean())
        notes.append(
            f"{counted(len(held), 'model')} held out, off by {off:.2g} points on average (the paper reports 1.36 over eight "
            "benchmarks)."
        )
    if reasons:
        notes.append("Do not believe the extrapolation: " + "; ".join(reasons) + ".")
    return notes


def figure(question: CodQuestion, result: DifficultyForecast) -> FigureSpec:
    """Draw the clusters with their laws, residuals, the map from the predictable items to all, and the forecast."""
    level = f"{100 * question.level:g} %"
    C, fitted = result.C, result.fitted
    x = Axis(label=result.size, scale="log", column=result.size)
    end = float(result.places[-1])
    inside, beyond = np.geomspace(C.min(), C[fitted].max(), 60), np.geomspace(C[fitted].max(), end, 40)
    clusters: list[Mark] = []
    residuals: list[Mark] = [Rule(key="zero", axis="y", at=0.0)]
    for place, cluster in enumerate(result.clusters[:10]):
        hue = f"c{place}" if not cluster.refused else "muted"
        name = (
            f"{cluster.number + 1}: {counted(len(cluster.items), 'item')}{'' if not cluster.refused else ', not used'}"
        )
        clause = result.attempts.clause(cluster.items)
        for part, own in (("law", inside), ("beyond", beyond))[: 1 if cluster.refused else 2]:
            rate = ScoreLaw(own / result.unit, question.chance).value(cluster.fit.theta[None])[0][0]
            clusters.append(
                Line(key=f"{part} {cluster.number}", x=own, y=rate, hue=hue, width=1.5, label=name if part == "law" else "",
                     dash="solid" if part == "law" else "dashed", origin=Clauses("predictions", (clause,)))
            )  # fmt: skip
        clusters.append(Points(key=f"rates {cluster.number}", x=C[fitted], y=cluster.rate, hue=hue, size=4.5))
        residuals.append(
            Points(key=f"residuals {cluster.number}", x=C[fitted], y=-100 * cluster.fit.residuals, hue=hue, size=4.0)
        )
    mapped = MonotoneMap(result.subset[fitted], result.full[fitted])
    grid = np.linspace(0, 1, 101)
    known = grid <= result.subset[fitted].max()
    mapping: tuple[Mark, ...] = (
        Line(key="map", x=grid[known], y=mapped(grid)[known], hue="accent", width=2.0),
        Line(key="map beyond", x=grid[~known], y=mapped(grid)[~known], hue="accent", width=2.0, dash="dashed"),
        Points(key="fitted", x=result.subset[fitted], y=result.full[fitted], hue="c0", size=6.0, label="fitted"),
        Points(key="held out", x=result.subset[~fitted], y=result.full[~fitted], hue="ink", size=6.0, hollow=True,
               label="held out"),
    )  # fmt: skip
    seen = result.places <= C[fitted].max() * (1 + 1e-9)
    found = result.estimates["predicted"]
    forecast: tuple[Mark, ...] = (
        Band(key="band", x=result.places, low=result.low, high=result.high, hue="accent", label=f"{level}, items resampled"),
        Line(key="forecast", x=result.places[seen], y=result.curve[seen], hue="accent", width=2.0),
        Line(key="forecast beyond", x=result.places[~seen], y=result.curve[~seen], hue="accent", width=2.0, dash="dashed"),
        Points(key="models", x=C[fitted], y=result.full[fitted], hue="c0", size=6.0, label="fitted"),
        Points(key="held out models", x=C[~fitted], y=result.full[~fitted], hue="ink", size=6.0, hollow=True,
               label="held out"),
        Rule(key="target", axis="x", at=result.target, option="target_size"),
        Points(key="star", x=np.array([result.target]), y=np.array([found.value]), low=np.array([found.low]),
               high=np.array([found.high]), hue="accent", symbol="star", size=12.0, hollow=True,
               label=f"target: {with_interval(found.value, found.low, found.high)}"),
    )  # fmt: skip
    panels = (
        Panel(key="clusters", x=x, y=Axis(label="pass rate of a cluster"), marks=tuple(clusters), height=3.0),
        Panel(key="residuals", x=x, y=Axis(label="residual (points)"), marks=tuple(residuals), legend=False,
              shares_x_with="clusters"),
        Panel(key="map", x=Axis(label="predictable items"), y=Axis(label="all items"), marks=mapping, height=2.0),
        Panel(key="forecast", x=x, y=Axis(label="pass rate of all items"), marks=forecast, height=2.0),
    )  # fmt: skip
    subtitle = (
        f"{counted(len(C), 'model')}, {counted(len(result.attempts.items), 'item')}, {len(result.used)} of "
        f"{counted(len(result.clusters), 'cluster')} used; {level}, items resampled"
    )
    if result.reasons:
        subtitle += f"; not to be believed far out: {result.reasons[0]}"
    return FigureSpec(
        title="Forecast through items of one difficulty", subtitle=subtitle, panels=panels, columns=2,
        caption=f"{result.summary()} Dashed: extrapolation. {result.notes[0]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="scaling.cod",
    title="Clustering on difficulty",
    asks="What will a larger model score, forecast through the items that scale predictably?",
    question=CodQuestion,
    figure=figure,
    sources=(
        "Xu et al. (2025), Unveiling downstream performance scaling of LLMs: a clustering-based perspective",
        "Comaniciu and Meer (2002): mean shift",
        "Fritsch and Carlson (1980): monotone cubic interpolation",
    ),
    definition="""\
Each item is the vector of its pass rates over the fitted models. Mean shift finds clusters; those of at least ten items get
$y = g + (1 - g) e^{-a C^{-b} - c}$, least squares from 75 starts. Clusters with $a > 1$, $b > 0.1$, $0 \\le c < 1$ are
extrapolated, the others are not; $a$ is counted at the compute of the smallest model (the paper does not name its unit). Their
laws, weighted by their items, are mapped to the whole benchmark by a rising curve through (0, 0), the fitted models and (1, 1):
isotonic means, then a monotone cubic. Unit: the item, resampled within the clusters found; laws and map are made again.
Compared with the same law fitted to the whole benchmark (`direct`).

Traps: small clusters overfit. With one attempt an item, pass rates are 0 or 1. If no cluster can be extrapolated there is no
forecast. The map takes it that all items are solved in the end: items that never will be pull a far forecast up.
""",
)
