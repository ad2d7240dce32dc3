"""``selective.risk-coverage``: if it may stay silent, how many questions can it answer at 2 % error?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError
from ...models.figure import Axis, Band, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, significant, with_interval
from ...models.selection import All, Between, Clause, is_in
from ...models.store import RunStore
from ..forecast_marks import hue_of, origin_of, short
from ..forecast_rows import (
    Chosen,
    ForecastQuestion,
    Sample,
    Series,
    drawn,
    estimate_of,
    named,
    unit_note,
    value_of,
)
from ..recalibration import rows_of
from ..selective import Blocks, RiskCurve, coverage_at_risk, ranking, risk_curve, risks_at_coverages

_NAMES = ("auroc", "aurc", "e_aurc", "augrc", "accuracy", "coverage_at_target", "accuracy_at_coverage")
_PLACES = np.linspace(0.02, 1, 50)


@dataclass(frozen=True, kw_only=True)
class RiskCoverage(Result):
    """Risk against coverage of every series.

    Attributes
    ----------
    chosen : Chosen
        The series, shown on rows that no threshold was chosen on.
    curves : tuple of RiskCurve
        One a series.
    bands : tuple of ndarray, shape (2, places)
        Interval of the risk at `places`.
    places : ndarray
        Coverages of the bands.
    points : DataFrame
        One row a series: series, target, threshold, coverage, low, high, errors, answered, risk, and what the threshold of
        the calibration split gives where there is one.
    """

    chosen: Chosen
    curves: tuple[RiskCurve, ...]
    bands: tuple[np.ndarray, ...]
    places: np.ndarray
    points: pd.DataFrame

    def summary(self) -> str:
        """Give the answer in one sentence."""
        rows = self.points.to_dict("records")
        said = [
            f"{row['series']} answers {100 * row['coverage']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
            for row in rows[:4]
        ]
        target = f"{100 * rows[0]['target']:g} % error"
        more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
        return f"At {target}: {'; '.join(said)}{more}."


@dataclass(frozen=True, kw_only=True)
class RiskCoverageQuestion(ForecastQuestion):
    """If it may stay silent, how many questions can it answer at this error?"""

    error: float = option(0.02, help="error that is borne among the answers given", low=0.0, high=1.0)
    coverage: float = option(0.8, help="share of answers kept at the other operating point", low=0.01, high=1.0)
    cost: float | None = option(None, help="cost of staying silent, where an error costs 1", low=0.0, high=1.0)
    split: str = option(
        "",
        help="column that says which rows the threshold is chosen on; all if empty",
        choices="columns of predictions",
    )
    fit_on: str = option("", help="value of that column on the rows the threshold is chosen on; the others are shown")

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> RiskCoverage:
        """Sort by confidence, sum errors, resample."""
        asked = self.resolved(store)
        if asked.target != "top label":
            raise AnalysisError(
                "Answers are kept or not by the confidence of the answer.", remedy="Set target to top label."
            )
        whole = asked.chosen(store)
        chosen, fit = _cut(whole, asked) if asked.split else (whole, None)
        statistic = partial(_statistics, error=asked.error, coverage=asked.coverage)
        draws = drawn(chosen, statistic, asked, engine=engine, progress=progress)
        curves, bands, points, estimates = [], [], [], {}
        for number, one in enumerate(chosen.series):
            value = value_of(statistic, one.sample)
            curve = risk_curve(one.sample, one.sample.weight)
            curves.append(curve)
            own = draws[number]
            tail = (1 - asked.level) / 2
            bands.append(np.quantile(own[:, len(_NAMES) :], [tail, 1 - tail], axis=0))
            estimates[named(chosen, number, "n")] = Estimate(one.sample.n, unit="rows", why_no_interval="a count")
            for place, name in enumerate(_NAMES):
                estimates[named(chosen, number, name)] = estimate_of(value[place], own[:, place], asked.level)
            found = estimates[named(chosen, number, "coverage_at_target")]
            point = _point(one, curve, found, asked)
            if fit is not None:
                held = _held_out(fit[number], one.sample, asked)
                point |= held
                estimates[named(chosen, number, "held_out_error")] = Estimate(
                    held["held_out_error"], held["held_out_low"], held["held_out_high"], asked.level
                )
            if asked.cost is not None:
                costs = (curve.errors + asked.cost * (curve.answered[-1] - curve.answered)) / curve.answered[-1]
                silent = asked.cost
                best = int(costs.argmin())
                least = min(float(costs[best]), silent)
                point |= {
                    "least_cost": least,
                    "threshold_of_least_cost": float(curve.threshold[best]) if least < silent else math.inf,
                }
                estimates[named(chosen, number, "least_cost")] = Estimate(
                    least, why_no_interval="the least over thresholds, in-sample"
                )
            points.append(point)
        table = pd.DataFrame(points)
        curve_table = [
            pd.DataFrame({"series": one.name, "threshold": c.threshold, "coverage": c.coverage, "risk": c.risk})
            for one, c in zip(chosen.series, curves, strict=True)
        ]
        notes = [
            unit_note(chosen, asked),
            "Rows of one confidence are answered together: operating points lie at the ends of such blocks, and in the areas "
            "errors are spread evenly within one.",
            "coverage_at_target: the last block end whose error is within the target. "
            + (
                f"held_out_error: that threshold chosen on {asked.split} = {asked.fit_on}, its error on the rows shown with a "
                "Clopper-Pearson interval."
                if asked.split
                else "It is chosen on the rows shown, so on new rows the error is a little larger; name a split to see."
            ),
            "AURC mixes accuracy with ranking; e_aurc and auroc are ranking alone.",
            *whole.notes,
        ]
        return RiskCoverage(
            chosen=chosen, curves=tuple(curves), bands=tuple(bands), places=_PLACES, points=table, estimates=estimates,
            tables={"operating_points": table, "curves": pd.concat(curve_table, ignore_index=True)}, notes=tuple(notes),
        )  # fmt: skip


def _cut(whole: Chosen, asked: RiskCoverageQuestion) -> tuple[Chosen, list[Sample]]:
    shown, fit = [], []
    for one in whole.series:
        if asked.split not in one.frame.columns:
            raise AnalysisError(f"The predictions have no column called {asked.split!r}.")
        inside = (one.frame[asked.split].astype(str) == asked.fit_on).to_numpy(dtype=bool)
        if not inside.any() or inside.all():
            values = ", ".join(map(str, one.frame[asked.split].unique()[:6]))
            raise AnalysisError(
                f"{asked.split} = {asked.fit_on or '(empty)'} leaves no rows to choose the threshold on, or none to show.",
                remedy=f"Set fit-on to one of: {values}.",
            )
        fit.append(rows_of(one.sample, inside))
        shown.append(replace(one, sample=rows_of(one.sample, ~inside), frame=one.frame[~inside]))
    return replace(whole, series=tuple(shown)), fit


def _statistics(sample: Sample, weights: np.ndarray, error: float, coverage: float) -> np.ndarray:
    """Give `_NAMES` and the risk at `_PLACES` of every weighting."""
    total = weights.sum(axis=1)
    blocks = Blocks.of(sample.f, sample.y, weights)
    risks = risks_at_coverages(blocks, np.append(_PLACES, coverage))
    parts = (weights @ sample.y / total, coverage_at_risk(blocks, error), 1 - risks[:, -1])
    return np.concatenate([ranking(sample, weights, blocks), np.stack(parts, axis=1), risks[:, :-1]], axis=1)


def _point(one: Series, curve: RiskCurve, found: Estimate, asked: RiskCoverageQuestion) -> dict[str, object]:
    place = _operating_place(curve, asked.error)
    known = place >= 0
    return {
        "series": one.name, "target": asked.error, "threshold": float(curve.threshold[place]) if known else math.inf,
        "coverage": found.value, "low": found.low, "high": found.high,
        "errors": float(curve.errors[place]) if known else 0.0,
        "answered": float(curve.answered[place]) if known else 0.0,
        "risk": float(curve.risk[place]) if known else math.nan,
        "oracle_coverage": min(1.0, (1 - float(curve.risk[-1])) / (1 - asked.error)) if asked.error < 1 else 1.0,
    }  # fmt: skip


def _operating_place(curve: RiskCurve, error: float) -> int:
    fits = np.flatnonzero(curve.errors <= error * curve.answered * (1 + 1e-12))
    return int(fits[-1]) if len(fits) else -1


def _held_out(fit: Sample, shown: Sample, asked: RiskCoverageQuestion) -> dict[str, float]:
    """Give what the threshold of the calibration rows gives on the rows shown."""
    curve = risk_curve(fit, fit.weight)
    place = _operating_place(curve, asked.error)
    threshold = float(curve.threshold[place]) if place >= 0 else math.inf
    kept = shown.f >= threshold
    n, wrong = int(kept.sum()), int((shown.y[kept] == 0).sum())
    low, high = clopper_pearson(wrong, n, asked.level)
    return {
        "held_out_threshold": threshold, "held_out_coverage": n / shown.n,
        "held_out_error": wrong / n if n else math.nan, "held_out_low": low, "held_out_high": high,
    }  # fmt: skip


def clopper_pearson(successes: int, n: int, level: float) -> tuple[float, float]:
    """Give the exact interval of a proportion (Clopper and Pearson 1934); NaN where n is 0."""
    from scipy.special import betaincinv

    if n == 0:
        return math.nan, math.nan
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def figure(question: RiskCoverageQuestion, result: RiskCoverage) -> FigureSpec:
    """Draw risk against coverage with the oracle and the random line, and the operating point that can be dragged."""
    chosen = result.chosen
    several = len(chosen.series) > 1
    marks: list[Mark] = []
    for number, one in enumerate(chosen.series):
        curve, hue = result.curves[number], hue_of(number)
        if not several:
            low, high = result.bands[number]
            label = f"{100 * question.level:g} % bootstrap"
            marks.append(Band(key=f"{one.name}/band", x=result.places, low=low, high=high, hue=hue, label=label))
        marks.append(
            Line(key=one.name, x=curve.coverage, y=curve.risk, hue=hue, width=2.0, label=short(one.name),
                 origin=origin_of((one,)))
        )  # fmt: skip
        error = float(curve.risk[-1])
        at = np.linspace(0, 1, 101)[1:]
        oracle = np.maximum(0.0, 1 - (1 - error) / at)
        marks.append(Line(key=f"{one.name}/oracle", x=at, y=oracle, hue=hue if several else "muted", dash="dotted",
                          label="perfect order" if number == 0 else ""))  # fmt: skip
        if not several:
            marks.append(Line(key="random", x=np.array([0.0, 1.0]), y=np.full(2, error), hue="muted", dash="dashed",
                              label="random order"))  # fmt: skip
        place = _operating_place(curve, question.error)
        if place >= 0:
            kept = _kept_clause(one, float(curve.threshold[place]))
            note = (
                f"{one.name}: answers {100 * curve.coverage[place]:.1f} % with {100 * curve.risk[place]:.2f} % error, "
                f"confidence from {curve.threshold[place]:.4g}"
            )
            marks.append(
                Points(key=f"{one.name}/point", x=curve.coverage[[place]], y=curve.risk[[place]], hue=hue, size=9.0,
                       origin=Clauses("predictions", (kept,)), notes=(note,))
            )  # fmt: skip
    marks.append(Rule(key="error", axis="y", at=question.error, hue="accent", option="error",
                      label=f"error borne: {100 * question.error:g} %"))  # fmt: skip
    marks.append(Rule(key="coverage", axis="x", at=question.coverage, hue="muted", option="coverage", dash="dotted",
                      label="share kept"))  # fmt: skip
    top = max(float(curve.risk[-1]) for curve in result.curves)
    shown = max([top, question.error, *(float(c.risk[c.coverage >= 0.05].max()) for c in result.curves)])
    risk = Panel(
        key="risk-coverage", x=Axis(label="coverage: share answered", low=0.0, high=1.0),
        y=Axis(label="risk: error among answers", low=0.0, high=min(1.0, 1.1 * shown)), marks=tuple(marks), height=2.0,
    )  # fmt: skip
    threshold_marks: list[Mark] = [
        Line(key=one.name, x=curve.threshold, y=curve.coverage, hue=hue_of(number), label=short(one.name),
             origin=origin_of((one,)))
        for number, (one, curve) in enumerate(zip(chosen.series, result.curves, strict=True))
    ]  # fmt: skip
    for number, curve in enumerate(result.curves):
        place = _operating_place(curve, question.error)
        if place >= 0:
            threshold_marks.append(Points(key=f"point/{number}", x=curve.threshold[[place]], y=curve.coverage[[place]],
                                          hue=hue_of(number), size=9.0))  # fmt: skip
    thresholds = Panel(
        key="threshold", x=Axis(label="least confidence answered"), y=Axis(label="coverage", low=0.0, high=1.0),
        marks=tuple(threshold_marks), legend=False,
    )  # fmt: skip
    first = result.estimates[named(chosen, 0, "aurc")]
    subtitle = f"n = {' / '.join(f'{one.sample.n:,}' for one in chosen.series[:4])}"
    if not several:
        auroc = significant(result.estimates["auroc"].value, 3)
        subtitle += f", AURC {with_interval(first.value, first.low, first.high)}, AUROC {auroc}"
    caption = (
        f"{result.summary()} Rows sorted by confidence, those of one confidence answered together; "
        f"{100 * question.level:g} % bootstrap over the {chosen.unit}."
    )
    return FigureSpec(title="Risk against coverage", subtitle=subtitle, panels=(risk, thresholds), caption=caption)


def _kept_clause(one: Series, threshold: float) -> Clause:
    if one.column:
        return All((*one.clauses, Between(one.column, threshold, math.inf)))
    kept = one.frame["item"].to_numpy()[one.sample.f >= threshold]
    return All((*one.clauses, is_in("item", kept)))


ANALYSIS = Analysis(
    id="selective.risk-coverage",
    title="Risk against coverage",
    asks="If it may stay silent, how many questions can it answer at this error?",
    question=RiskCoverageQuestion,
    figure=figure,
    sources=(
        "El-Yaniv and Wiener (2010), On the Foundations of Noise-free Selective Classification",
        "Geifman, Uziel and El-Yaniv (2019), Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers: AURC, E-AURC",
        "Traub et al. (2024), Overcoming Common Flaws in the Evaluation of Selective Classification Systems: AUGRC",
    ),
    definition="""\
Sorted by confidence, e_k is the number of errors among the k most confident of n rows. Risk at coverage k/n is e_k /
k. `aurc` is its mean over k; `e_aurc` is AURC less that of a perfect order; `augrc` is the mean of e_k / n, which is
(1 - AUROC) e (1 - e) + e²/2 + e/(2n) exactly; `auroc` is the chance that a right answer has the higher confidence
than a wrong one, ties 1/2. `coverage_at_target` is the greatest coverage at a block end whose error is within the
target; a perfect order reaches (1 - e)/(1 - t). `least_cost` is the least mean of errors plus the cost of each
silence.

Rows of one confidence form a block. With a split the threshold is chosen on its rows and judged on the others
(Clopper-Pearson interval). Risk over the first few rows is noise. Unit: the item or the cluster.""",
)
