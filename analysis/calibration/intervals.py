"""``intervals.scores``: are forecast bands sharp and honest?"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Bars, FigureSpec, Line, Mark, Panel, Points
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.store import RunStore
from ..answers import in_natural_order, present
from ..forecast_marks import diagonal, hue_of, short
from ..forecast_rows import numbered
from ..resampling import DRAWS, percentile_interval, wilson

_COVERAGE = ("source", "horizon", "nominal", "actual", "low", "high", "n", "mean_width", "interval_score")
_QUANTILE = re.compile(r"(?:q|quantile|p)[._ ]?(0?\.\d+|\d{1,2}(?:\.\d+)?)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class IntervalScores(Result):
    """Coverage and scores of quantile forecasts.

    Attributes
    ----------
    coverage : DataFrame
        One row a source and central interval: source, nominal, actual, low, high, n, mean_width, interval_score.
    scores : DataFrame
        One row a source and horizon (all horizons first): source, horizon, n, wis, low, high, pinball.
    pit : DataFrame
        Histogram of where what happened lies among the quantiles: source, low, high, share, expected.
    """

    coverage: pd.DataFrame
    scores: pd.DataFrame
    pit: pd.DataFrame

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = []
        for row in self.scores[self.scores["horizon"] == "all"].head(4).to_dict("records"):
            own = self.coverage[self.coverage["source"] == row["source"]]
            words = f"{row['source']}: WIS {with_interval(row['wis'], row['low'], row['high'])}"
            if len(own):
                widest = own.iloc[-1]
                words += f", the {100 * widest['nominal']:g} % interval held {100 * widest['actual']:.1f} %"
            said.append(words)
        return f"{'; '.join(said)}."


@dataclass(frozen=True, kw_only=True)
class IntervalsQuestion(Question):
    """Are forecast bands sharp and honest?"""

    needs: ClassVar = (Need("predictions"),)

    actual: str = option("", help="column of what happened; 'actual' if empty", choices="numbers of predictions")
    quantiles: tuple[str, ...] = option(
        (), help="columns of quantiles, named by their level (q0.05, q.5, p95); found by name if none",
        choices="numbers of predictions",
    )  # fmt: skip
    by: str = option("", help="column of what is compared; model if empty", choices="columns of predictions")
    horizon: str = option("", help="column of the horizon; 'horizon' if empty", choices="columns of predictions")
    series: str = option(
        "", help="column of the series, resampled as blocks; the item if empty", choices="columns of predictions"
    )
    level: float = option(0.95, help="coverage of the intervals of these numbers", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples", low=20, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> IntervalScores:
        """Score every row, resample series."""
        frame = store.rows("predictions")
        actual = self.actual or "actual"
        levels = quantile_columns(frame, self.quantiles)
        if actual not in frame.columns:
            raise AnalysisError("Nothing says what happened.", remedy="Name the column with --actual.")
        if not levels:
            raise AnalysisError(
                "There are no columns of quantiles.", remedy="Call them q0.05, q0.5, q0.95, or name them."
            )
        names = sorted(levels, key=lambda name: levels[name])
        known = np.isfinite(frame[[actual, *names]].to_numpy(float)).all(axis=1)
        notes = []
        if lost := int((~known).sum()):
            notes.append(f"{counted(lost, 'row')} left out: a quantile or what happened is missing.")
        frame = frame[known]
        if frame.empty:
            raise TooLittleData(needs="rows with quantiles and what happened", found="0")
        by = self.by or ("model" if present(frame, ["model"]) else "")
        sources = in_natural_order(frame[by].dropna().unique()) if by else ["all forecasts"]
        horizon = self.horizon or ("horizon" if present(frame, ["horizon"]) else "")
        tau = np.array([levels[name] for name in names])
        pairs = central_pairs(tau)
        coverage_rows, score_rows, pits = [], [], []
        estimates: dict[str, Estimate] = {}
        crossed = 0
        for source in sources:
            part = frame[frame[by].astype(str) == source] if by else frame
            q = part[names].to_numpy(float)
            crossings = int((np.diff(q, axis=1) < 0).any(axis=1).sum())
            crossed += crossings
            # Sorting crossed quantiles never worsens the pinball loss (Chernozhukov, Fernández-Val and Galichon 2010).
            q = np.sort(q, axis=1)
            y = part[actual].to_numpy(float)
            unit = numbered(part, [self.series] if self.series else present(part, ("task", "item")))
            loss = pinball(y, q, tau).mean(axis=1)
            horizons = part[horizon].astype(str).to_numpy() if horizon else np.full(len(part), "all")
            every = ["all", *(in_natural_order(np.unique(horizons)) if horizon else [])]
            for one in every:
                inside = np.ones(len(part), dtype=bool) if one == "all" else horizons == one
                low, high = _mean_interval(2 * loss[inside], unit[inside], self)
                wis = float(2 * loss[inside].mean())
                score_rows.append({"source": source, "horizon": one, "n": int(inside.sum()), "wis": wis, "low": low,
                                   "high": high, "pinball": wis / 2})  # fmt: skip
                head = source if len(sources) > 1 else ""
                tail = "" if one == "all" else f"horizon {one}"
                estimates["/".join(filter(None, (head, tail, "wis")))] = Estimate(wis, low, high, self.level)
                for lower, upper in pairs:
                    nominal = round(float(tau[upper] - tau[lower]), 10)
                    held = (y[inside] >= q[inside, lower]) & (y[inside] <= q[inside, upper])
                    ends = _mean_interval(held.astype(float), unit[inside], self)
                    score = interval_score(y[inside], q[inside, lower], q[inside, upper], 1 - nominal)
                    rate, width = float(held.mean()), float((q[inside, upper] - q[inside, lower]).mean())
                    row = {
                        "source": source, "horizon": one, "nominal": nominal, "actual": rate, "low": ends[0],
                        "high": ends[1], "n": int(inside.sum()),
                        "mean_width": width, "interval_score": float(score.mean()),
                    }  # fmt: skip
                    coverage_rows.append(row)
                    name = "/".join(filter(None, (head, tail, f"coverage_{nominal:g}")))
                    estimates[name] = Estimate(rate, ends[0], ends[1], self.level)
            estimates["/".join(filter(None, (source if len(sources) > 1 else "", "n")))] = Estimate(
                len(part), unit="rows", why_no_interval="a count"
            )
            pits.append(_pit(y, q, tau).assign(source=source))
        if crossed:
            notes.append(f"{counted(crossed, 'row')} had quantiles that cross; sorting never worsens the score.")
        coverage = pd.DataFrame(coverage_rows, columns=list(_COVERAGE))
        scores = pd.DataFrame(score_rows)
        notes = [
            f"Unit: the {self.series or 'item'}, resampled as a block; {100 * self.level:g} % percentile bootstrap, "
            f"{self.draws} draws, seed {self.seed}.",
            "wis = 2 x mean pinball loss over the quantiles given; with a median and central pairs it is the weighted interval "
            "score.",
            "Coverage over all horizons can hide one that fails: see the table by horizon.",
            *notes,
        ]
        shown = coverage[coverage["horizon"] == "all"].reset_index(drop=True)
        pit = pd.concat(pits, ignore_index=True)
        return IntervalScores(coverage=shown, scores=scores, pit=pit, estimates=estimates,
                              tables={"scores": scores, "coverage": coverage, "pit": pit}, notes=tuple(notes))  # fmt: skip


def quantile_columns(frame: pd.DataFrame, named: tuple[str, ...]) -> dict[str, float]:
    """Give columns of quantiles with their levels, from their names: q0.05, q.5, quantile_25, p95.

    Raises
    ------
    AnalysisError
        When a column named has no level in its name, or is not there.
    """
    found: dict[str, float] = {}
    for name in named or [str(column) for column in frame.columns]:
        match = _QUANTILE.fullmatch(name)
        level = math.nan
        if match:
            number = float(match.group(1))
            level = number if number < 1 else number / 100
        if named and (name not in frame.columns or not 0 < level < 1):
            raise AnalysisError(f"{name!r} is no column of a quantile with its level in the name.",
                                remedy="Call it q0.05 or p5.")  # fmt: skip
        if 0 < level < 1 and pd.api.types.is_numeric_dtype(frame[name]):
            found[name] = level
    return found


def central_pairs(tau: np.ndarray) -> list[tuple[int, int]]:
    """Give pairs of quantiles whose levels add up to 1, the narrowest first."""
    pairs = [(i, j) for i in range(len(tau)) for j in range(i + 1, len(tau)) if abs(tau[i] + tau[j] - 1) < 1e-9]
    return sorted(pairs, key=lambda pair: tau[pair[1]] - tau[pair[0]])


def pinball(y: np.ndarray, q: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Give max(tau (y - q), (tau - 1)(y - q)) of every row and quantile, shape (n, quantiles)."""
    gap = y[:, None] - q
    return np.asarray(np.maximum(tau * gap, (tau - 1) * gap))


def interval_score(y: np.ndarray, low: np.ndarray, high: np.ndarray, alpha: float) -> np.ndarray:
    """Give width plus 2 / alpha times the distance outside (Gneiting and Raftery 2007), shape (n,)."""
    return np.asarray(high - low + 2 / alpha * (np.maximum(low - y, 0) + np.maximum(y - high, 0)))


def _mean_interval(values: np.ndarray, unit: np.ndarray, asked: IntervalsQuestion) -> tuple[float, float]:
    """Give the interval of a mean where units are drawn as blocks."""
    _, place = np.unique(unit, return_inverse=True)
    count = int(place.max()) + 1
    if count < 2:
        return math.nan, math.nan
    sums, sizes = np.bincount(place, values), np.bincount(place)
    generator = np.random.default_rng(asked.seed)
    found = []
    size = max(1, 4_000_000 // count)
    for start in range(0, asked.draws, size):
        times = generator.multinomial(count, np.full(count, 1 / count), size=min(size, asked.draws - start))
        found.append(times @ sums / (times @ sizes))
    low, high = percentile_interval(np.concatenate(found), asked.level)
    return float(low), float(high)


def _pit(y: np.ndarray, q: np.ndarray, tau: np.ndarray) -> pd.DataFrame:
    """Give the share of rows between neighbouring quantiles, and what an honest forecast has there."""
    place = (q < y[:, None]).sum(axis=1)
    edges = np.concatenate([[0.0], tau, [1.0]])
    share = np.bincount(place, minlength=len(tau) + 1) / len(y)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "share": share, "expected": np.diff(edges), "n": len(y)})


def figure(question: IntervalsQuestion, result: IntervalScores) -> FigureSpec:
    """Draw coverage against the nominal rate, the score by horizon, and where what happened lies among the quantiles."""
    sources = list(dict.fromkeys(result.coverage["source"]))
    marks: list[Mark] = [diagonal()]
    if len(result.coverage):
        n = int(result.coverage["n"].min())
        at = np.linspace(0.01, 0.99, 99)
        low, high = wilson(at * n, float(n), question.level)
        marks.append(Band(key="binomial", x=at, low=np.asarray(low), high=np.asarray(high), hue="muted",
                          label=f"{100 * question.level:g} % of honest forecasts, n = {n:,} apart"))  # fmt: skip
    for number, source in enumerate(sources):
        part = result.coverage[result.coverage["source"] == source]
        x, y = part["nominal"].to_numpy(float), part["actual"].to_numpy(float)
        marks.append(Line(key=f"{source}/line", x=x, y=y, hue=hue_of(number), opacity=0.6))
        marks.append(Points(key=source, x=x, y=y, low=part["low"].to_numpy(float), high=part["high"].to_numpy(float),
                            hue=hue_of(number), label=short(source), size=6.0))  # fmt: skip
    panels = [Panel(key="coverage", x=Axis(label="nominal coverage", low=0.0, high=1.0),
                    y=Axis(label="held", low=0.0, high=1.0), marks=tuple(marks))]  # fmt: skip
    by = result.scores[result.scores["horizon"] != "all"]
    if not len(by):
        by = result.scores
    horizons = in_natural_order(by["horizon"].unique())
    lines: list[Mark] = []
    every = list(dict.fromkeys(result.scores["source"]))
    for number, source in enumerate(every):
        part = by[by["source"] == source].set_index("horizon").reindex(horizons)
        x = np.arange(len(horizons)) + 0.1 * (number - (len(every) - 1) / 2)
        lines.append(Points(key=source, x=x, y=part["wis"].to_numpy(float), low=part["low"].to_numpy(float),
                            high=part["high"].to_numpy(float), hue=hue_of(number), label=short(source)))  # fmt: skip
    names = tuple("all rows" if name == "all" else name for name in horizons)
    panels.append(Panel(key="scores", x=Axis(label=question.horizon or "horizon", scale="category", names=names),
                        y=Axis(label="weighted interval score", low=0.0), marks=tuple(lines), legend=False))  # fmt: skip
    bars: list[Mark] = []
    for number, source in enumerate(every[:1]):
        part = result.pit[result.pit["source"] == source]
        width = (part["high"] - part["low"]).to_numpy()
        at = ((part["high"] + part["low"]) / 2).to_numpy()
        bars.append(
            Bars(key=source, at=at, height=(part["share"].to_numpy() / width), width=0.98 * width, hue=hue_of(number))
        )
    bars.append(Line(key="honest", x=np.array([0.0, 1.0]), y=np.ones(2), hue="muted", dash="dashed", label="honest"))
    panels.append(Panel(key="pit", x=Axis(label="level among the quantiles", low=0.0, high=1.0),
                        y=Axis(label="density", low=0.0), marks=tuple(bars), title=f"PIT of {short(every[0])}"))  # fmt: skip
    caption = f"{result.summary()} {100 * question.level:g} % bootstrap over the {question.series or 'item'}."
    return FigureSpec(title="Interval forecasts", subtitle=f"{counted(len(every), 'source')}", panels=tuple(panels), columns=2,
                      caption=caption)  # fmt: skip


ANALYSIS = Analysis(
    id="intervals.scores",
    title="Interval forecasts",
    asks="Are forecast bands sharp and honest?",
    question=IntervalsQuestion,
    figure=figure,
    sources=(
        "Gneiting and Raftery (2007), Strictly Proper Scoring Rules, Prediction, and Estimation: interval score",
        "Bracher et al. (2021), Evaluating epidemic forecasts in an interval format: weighted interval score",
        "Chernozhukov, Fernández-Val and Galichon (2010), Quantile and Probability Curves Without Crossing",
    ),
    definition="""\
Pinball loss of the quantile q at level t: max(t (y - q), (t - 1)(y - q)). Interval score of (l, u) at 1 - a: u - l +
(2/a)(l - y)+ + (2/a)(y - u)+. `wis` = [|y - m|/2 + sum_k (a_k/2) IS_k]/(K + 1/2) with the median m and K central
intervals, which is twice the mean pinball loss; the latter is what is computed, so that any set of quantiles has one.
`coverage_c` is how often the central interval at c held. Crossing quantiles are sorted first.

PIT: the share of rows between neighbouring quantiles, over the share an honest forecast has. Unit: the series or the
item, drawn as a block; pooled coverage can hide a horizon that fails.""",
)
