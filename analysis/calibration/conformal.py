"""``conformal.split``: sets or intervals that hold the truth at a chosen rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, Clauses, FigureSpec, Line, Mark, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, significant
from ...models.selection import is_in
from ...models.store import RunStore
from ..answers import at_epoch, in_natural_order, present
from ..forecast_marks import short
from ..forecast_rows import numbered, places_of_labels, probabilities
from ..resampling import DRAWS, percentile_interval, wilson
from ..score_marks import interval_rows

Score = Literal["1 - p", "cumulative", "residual", "quantile"]


@dataclass(frozen=True, kw_only=True)
class ConformalSets(Result):
    """Coverage and size of conformal sets.

    Attributes
    ----------
    groups : DataFrame
        One row a group, all rows first: group, n, coverage, low, high, size, size_low, size_high.
    sizes : DataFrame
        How often each size of set occurs: size, n; empty for intervals.
    curve : DataFrame
        Target, coverage and size over a grid of targets.
    law : tuple of float
        Mean and both ends of the coverage that the law of the calibration split promises.
    whose : str
        Model and version.
    """

    groups: pd.DataFrame
    sizes: pd.DataFrame
    curve: pd.DataFrame
    law: tuple[float, float, float]
    whose: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        row = self.groups.iloc[0]
        mean, low, high = self.law
        return (
            f"{self.whose}: sets hold the truth {100 * row['coverage']:.1f} % of the time (the split promises "
            f"{100 * mean:.1f} % [{100 * low:.1f}, {100 * high:.1f}]), mean size {significant(float(row['size']), 3)}, "
            f"n = {int(row['n']):,}."
        )


@dataclass(frozen=True, kw_only=True)
class ConformalQuestion(Question):
    """Which sets or intervals hold the truth at a chosen rate?"""

    needs: ClassVar = (Need("predictions"),)

    target: float = option(0.9, help="rate at which the truth is to be held", low=0.01, high=0.999)
    score: Literal["1 - p", "cumulative", "residual", "quantile"] = option(
        "1 - p",
        help="1 - p of the label; cumulated sorted mass (APS); |actual - forecast|; or distance out of two quantiles",
    )
    randomised: bool = option(False, help="cumulative: take part of the last class at random, which makes sets smaller")
    actual: str = option("", help="column of what happened, for intervals", choices="numbers of predictions")
    forecast: str = option("", help="column of the forecast, for residuals", choices="numbers of predictions")
    lower: str = option("", help="column of the lower quantile", choices="numbers of predictions")
    upper: str = option("", help="column of the upper quantile", choices="numbers of predictions")
    split: str = option("", help="column that says which rows to calibrate on; a random share if empty",
                        choices="columns of predictions")  # fmt: skip
    fit_on: str = option("", help="its value on the calibration rows")
    share: float = option(0.5, help="share of items to calibrate on, where there is no split", low=0.05, high=0.95)
    group: str = option("", help="column to show coverage by; 'group' if empty", choices="columns of predictions")
    by_group: bool = option(False, help="calibrate every group on its own rows (Mondrian)")
    model: str = option("", help="model; the one with most rows if empty", choices="predictions.model")
    version: str = option("", help="version; the last one if empty", choices="predictions.version")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the mean size", low=20, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the split and of the resampling", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> ConformalSets:
        """Choose the quantile on the calibration rows, count on the others."""
        frame, whose = _frame(store, self)
        sizes_of, holds, score, classes, known, notes = _scores(frame, self)
        frame = frame[known].reset_index(drop=True)
        fit = _fit_rows(frame, self)
        column = self.group or next(iter(present(frame, ("group",))), "")
        if column and column not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {column!r}.")
        groups = frame[column].astype(str).to_numpy() if column else np.full(len(frame), "all")
        quantile = np.full(len(frame), math.inf)
        ks: dict[str, tuple[int, int]] = {}
        for name in np.unique(groups) if self.by_group and column else ["all"]:
            inside = groups == name if self.by_group and column else np.ones(len(frame), dtype=bool)
            own = score[fit & inside]
            q, k = conformal_quantile(own, self.target)
            quantile[inside] = q
            ks[name] = (k, len(own))
            if k > len(own):
                notes.append(
                    f"{name}: {len(own)} calibration rows are too few for {self.target:g}; sets hold everything."
                )
        shown = ~fit
        if not shown.any():
            raise TooLittleData(needs="rows that are not calibrated on", found="0")
        held = holds(quantile)[shown]
        size = sizes_of(quantile)[shown]
        generator = np.random.default_rng(self.seed)
        rows = [_row("all rows", held, size, self, generator)]
        if column:
            rows += [_row(name, held[groups[shown] == name], size[groups[shown] == name], self, generator)
                     for name in in_natural_order(np.unique(groups[shown]))]  # fmt: skip
        table = pd.DataFrame(rows)
        n_fit = int(fit.sum())
        law = _law(*ks["all"], len(held), self.level) if "all" in ks else _mixed_law(ks, groups[shown], self.level)
        estimates = {"n": Estimate(int(shown.sum()), unit="rows", why_no_interval="a count"),
                     "n_calibration": Estimate(n_fit, unit="rows", why_no_interval="a count"),
                     "promised_coverage": Estimate(law[0], law[1], law[2], self.level)}  # fmt: skip
        if "all" in ks:
            estimates["quantile"] = Estimate(float(quantile[0]), why_no_interval="chosen on the calibration rows")
        for row in rows:
            head = "" if row["group"] == "all rows" else f"{row['group']}/"
            estimates[f"{head}coverage"] = Estimate(row["coverage"], row["low"], row["high"], self.level)
            estimates[f"{head}mean_size"] = Estimate(row["size"], row["size_low"], row["size_high"], self.level)
        curve = _curve(score, fit, shown, holds, sizes_of)
        counts = pd.DataFrame()
        if classes:
            values, how_often = np.unique(size, return_counts=True)
            counts = pd.DataFrame({"size": values, "n": how_often})
        split = (
            f"{self.split} = {self.fit_on}"
            if self.split
            else f"a random {100 * self.share:g} % of items, seed {self.seed}"
        )
        notes = [
            f"Calibrated on {n_fit:,} rows ({split}), shown on {int(shown.sum()):,}; score: {self.score}.",
            "promised_coverage: Beta(k, n + 1 - k) over splits, and binomial over the rows shown. Coverage: Wilson; mean size: "
            f"{100 * self.level:g} % percentile bootstrap over rows, {self.draws} draws.",
            "The promise is for all rows together, not for each group" + (", which were calibrated apart." if self.by_group else
                                                                       ".") + " Rows of one cluster on both sides break it.",
            *notes,
        ]  # fmt: skip
        tables = {"groups": table, "by_target": curve}
        if len(counts):
            tables["set_sizes"] = counts
        return ConformalSets(groups=table, sizes=counts, curve=curve, law=law, whose=whose, estimates=estimates, tables=tables,
                             notes=tuple(notes))  # fmt: skip


def conformal_quantile(scores: np.ndarray, target: float) -> tuple[float, int]:
    """Give the k-th smallest calibration score, k = ceil((n + 1) target), and k; infinite where k > n."""
    n = len(scores)
    k = math.ceil(round((n + 1) * target, 9))
    return (float(np.sort(scores)[k - 1]), k) if k <= n else (math.inf, k)


def _frame(store: RunStore, asked: ConformalQuestion) -> tuple[pd.DataFrame, str]:
    frame = at_epoch(store.rows("predictions"), None)
    said = []
    for name, value in (("model", asked.model), ("version", asked.version)):
        if present(frame, [name]):
            rows = frame[name].value_counts()
            chosen = value or (str(rows.index[0]) if name == "model" else in_natural_order(rows.index)[-1])
            frame = frame[frame[name] == chosen]
            said.append(chosen)
    if frame.empty:
        raise TooLittleData(needs="predictions", found="none that are kept")
    return frame, " ".join(said) or "all predictions"


def _fit_rows(frame: pd.DataFrame, asked: ConformalQuestion) -> np.ndarray:
    if asked.split:
        if asked.split not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {asked.split!r}.")
        fit = (frame[asked.split].astype(str) == asked.fit_on).to_numpy(dtype=bool)
        if not fit.any():
            raise TooLittleData(needs=f"rows with {asked.split} = {asked.fit_on or '?'} to calibrate on", found="0")
        return fit
    unit = numbered(frame, ["item"])
    count = int(unit.max()) + 1
    generator = np.random.default_rng(np.random.SeedSequence(asked.seed, spawn_key=(8,)))
    picked = generator.permutation(count) < round(asked.share * count)
    return np.asarray(picked[unit])


def _scores(frame: pd.DataFrame, asked: ConformalQuestion) -> tuple[Any, Any, np.ndarray, bool, np.ndarray, list[str]]:
    """Give functions from quantiles to sizes of sets and to whether they hold the truth, scores, whether sets are of classes,
    and the rows that are known.
    """
    if asked.score in ("1 - p", "cumulative"):
        p, names = probabilities(frame)
        if len(names) < 2:
            raise AnalysisError("Sets of classes need the probabilities of all.", remedy="Name their columns prob.*.")
        label = places_of_labels(frame, names)
        known = (label >= 0) & np.isfinite(p).all(axis=1)
        if not known.any():
            raise TooLittleData(needs="rows whose label is among the classes", found="0")
        p, label = p[known], label[known]
        every = 1 - p if asked.score == "1 - p" else _cumulated(p, asked)
        truth = every[np.arange(len(p)), label]

        def sizes(quantile: np.ndarray) -> np.ndarray:
            return np.asarray((every <= quantile[:, None]).sum(axis=1).astype(float))

        return sizes, lambda quantile: truth <= quantile, truth, True, known, []
    needed = (asked.actual, asked.forecast) if asked.score == "residual" else (asked.actual, asked.lower, asked.upper)
    if not all(name in frame.columns for name in needed):
        wanted = "--actual and --forecast" if asked.score == "residual" else "--actual, --lower and --upper"
        raise AnalysisError(
            "Intervals need columns of what happened and of the forecast.", remedy=f"Name them with {wanted}."
        )
    values = frame[list(needed)].to_numpy(float)
    known = np.isfinite(values).all(axis=1)
    values = values[known]
    if asked.score == "residual":
        score = np.abs(values[:, 0] - values[:, 1])
        width = np.zeros(len(values))
    else:
        score = np.maximum(values[:, 1] - values[:, 0], values[:, 0] - values[:, 2])
        width = values[:, 2] - values[:, 1]
    return (
        (lambda quantile: np.maximum(width + 2 * quantile, 0)),
        (lambda quantile: score <= quantile),
        score,
        False,
        known,
        [],
    )


def _cumulated(p: np.ndarray, asked: ConformalQuestion) -> np.ndarray:
    """Give the mass of all classes at least as probable as each (APS; Romano, Sesia and Candès 2020)."""
    order = np.argsort(-p, axis=1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=1)
    mass = ordered.cumsum(axis=1)
    if asked.randomised:
        generator = np.random.default_rng(np.random.SeedSequence(asked.seed, spawn_key=(9,)))
        mass = mass - generator.random((len(p), 1)) * ordered
    found = np.empty_like(p)
    np.put_along_axis(found, order, mass, axis=1)
    return found


def _row(
    name: str, held: np.ndarray, size: np.ndarray, asked: ConformalQuestion, generator: np.random.Generator
) -> dict[str, Any]:
    low, high = wilson(float(held.sum()), float(len(held)), asked.level)
    values, place = np.unique(size, return_inverse=True)
    finite = np.isfinite(values).all()
    counts = np.bincount(place) / len(size)
    draws = (
        generator.multinomial(len(size), counts, size=asked.draws) @ values / len(size)
        if finite
        else np.full(2, math.nan)
    )
    ends = percentile_interval(np.asarray(draws), asked.level)
    return {"group": name, "n": len(held), "coverage": float(held.mean()), "low": float(low), "high": float(high),
            "size": float(size.mean()), "size_low": float(ends.low), "size_high": float(ends.high)}  # fmt: skip


def _law(k: int, n: int, shown: int, level: float) -> tuple[float, float, float]:
    """Give mean and ends of the coverage of `shown` rows: binomial with a Beta(k, n + 1 - k) rate."""
    from scipy.stats import betabinom

    if k > n:
        return 1.0, 1.0, 1.0
    tail = (1 - level) / 2
    law = betabinom(shown, k, n + 1 - k)
    return k / (n + 1), float(law.ppf(tail)) / shown, float(law.ppf(1 - tail)) / shown


def _mixed_law(ks: dict[str, tuple[int, int]], groups: np.ndarray, level: float) -> tuple[float, float, float]:
    """Give about the same where groups were calibrated apart: a normal sum of their laws."""
    from scipy.special import ndtri

    mean, variance = 0.0, 0.0
    for name, (k, n) in ks.items():
        share = float(np.mean(groups == name))
        rate = min(1.0, k / (n + 1))
        count = max(1, int((groups == name).sum()))
        mean += share * rate
        variance += share**2 * rate * (1 - rate) * (1 / (n + 2) + 1 / count)
    half = float(ndtri((1 + level) / 2)) * math.sqrt(variance)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _curve(score: np.ndarray, fit: np.ndarray, shown: np.ndarray, holds: Any, sizes_of: Any) -> pd.DataFrame:
    rows = []
    for target in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99):
        q, _ = conformal_quantile(score[fit], target)
        quantile = np.full(len(score), q)
        size = sizes_of(quantile)[shown]
        rows.append({"target": target, "coverage": float(holds(quantile)[shown].mean()), "size": float(size.mean())})
    return pd.DataFrame(rows)


def figure(question: ConformalQuestion, result: ConformalSets) -> FigureSpec:
    """Draw coverage and size by group against the target, sizes of sets, and coverage over targets."""
    table = result.groups
    names = tuple(short(str(name)) for name in table["group"])
    at = np.arange(len(names), dtype=float)
    y = Axis(scale="category", names=names, inverted=True, low=-0.6, high=len(names) - 0.4)
    column = question.group or "group"
    origin = None
    if len(table) > 1:
        clauses = [
            is_in(column, tuple(table["group"][1:])),
            *(is_in(column, (str(name),)) for name in table["group"][1:]),
        ]
        origin = Clauses("predictions", tuple(clauses))
    numbers = {
        name: table[name].to_numpy(float) for name in ("coverage", "low", "high", "size", "size_low", "size_high")
    }
    notes = tuple(f"{row['group']}: {100 * row['coverage']:.1f} % of {row['n']:,}, mean size {row['size']:.3g}"
                  for row in table.to_dict("records"))  # fmt: skip
    level = f"{100 * question.level:g} %"
    coverage: list[Mark] = [
        *interval_rows("coverage", at, numbers["coverage"], numbers["low"], numbers["high"], label=f"{level} Wilson",
                       origin=origin, notes=notes),
        Rule(key="target", axis="x", at=question.target, option="target", label="target"),
    ]  # fmt: skip
    size = interval_rows("size", at, numbers["size"], numbers["size_low"], numbers["size_high"], label=f"{level} bootstrap",
                         origin=origin, notes=notes)  # fmt: skip
    panels = [
        Panel(key="coverage", x=Axis(label="truth held"), y=y, marks=tuple(coverage)),
        Panel(
            key="size",
            x=Axis(label="mean size of the set" if len(result.sizes) else "mean width", low=0.0),
            y=y,
            marks=size,
        ),
    ]
    if len(result.sizes):
        counts = np.zeros(int(result.sizes["size"].max()) + 1)
        counts[result.sizes["size"].to_numpy(int)] = result.sizes["n"].to_numpy(float)
        bars = Bars(key="sizes", at=np.arange(len(counts), dtype=float), height=counts)
        x_axis = Axis(label="classes in the set", scale="category", names=tuple(map(str, range(len(counts)))))
        panels.append(Panel(key="sizes", x=x_axis, y=Axis(label="rows", low=0.0), marks=(bars,)))
    curve = result.curve
    x = curve["target"].to_numpy()
    panels.append(
        Panel(key="targets", x=Axis(label="target"), y=Axis(label="truth held"), marks=(
            Line(key="same", x=x, y=x, hue="muted", dash="dashed", label="as promised"),
            Line(key="coverage", x=x, y=curve["coverage"].to_numpy(), width=2.0, label="held"),
        ))
    )  # fmt: skip
    return FigureSpec(title=f"Conformal sets of {result.whose}", subtitle=f"target {question.target:g}, score {question.score}",
                      panels=tuple(panels), columns=2, caption=result.summary())  # fmt: skip


ANALYSIS = Analysis(
    id="conformal.split",
    title="Conformal sets and intervals",
    asks="Which sets or intervals hold the truth at a chosen rate?",
    question=ConformalQuestion,
    figure=figure,
    sources=(
        "Angelopoulos and Bates (2023), Conformal Prediction: A Gentle Introduction",
        "Romano, Sesia and Candès (2020), Classification with Valid and Adaptive Coverage: APS",
        "Romano, Patterson and Candès (2019), Conformalized Quantile Regression",
    ),
    definition="""\
Scores of the n calibration rows: 1 - p of the label; the mass of all classes at least as probable as the label (APS);
|actual - forecast|; or max(lower - actual, actual - upper). q is the k-th smallest, k = ceil((n + 1) target); a set
holds all whose score is at most q, and everything where k > n. Given the split, coverage follows Beta(k, n + 1 - k);
on the rows shown it is binomial with that rate, which is what `promised_coverage` states.

The promise is marginal: groups may be held more or less often unless each is calibrated by itself (`by_group`). It
needs rows that could be exchanged: whole items go to one side, but other clusters across both sides break it.""",
)
