"""``calibration.ks``: any systematic miscalibration, without bins, with a p-value?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.figure import Axis, Band, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, significant, with_interval
from ...models.store import RunStore
from ..forecast_marks import hue_of, origin_of, series_panel, short
from ..forecast_rows import Chosen, ForecastQuestion, Sample, drawn, estimate_of, named, null_draws, unit_note, value_of
from ..resampling import p_of_draws

_NULL_DRAWS = 1000
_BAND = 2.241402727604947
"""The 95 % point of the greatest absolute value of Brownian motion on [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class CumulativeCalibration(Result):
    """Cumulated gaps of every series.

    Attributes
    ----------
    chosen : Chosen
        The series.
    curves : tuple of DataFrame
        At the end of every block of equal forecasts: share of rows, forecast, cumulated gap.
    measures : DataFrame
        One row a series.
    """

    chosen: Chosen
    curves: tuple[pd.DataFrame, ...]
    measures: pd.DataFrame

    def summary(self) -> str:
        """Give the answer in one sentence."""
        rows = self.measures.to_dict("records")
        said = [
            f"{row['series']} {with_interval(row['ks'], row['ks_low'], row['ks_high'])}, p = {significant(row['p_ks'], 2)}"
            for row in rows[:4]
        ]
        more = f"; and {len(rows) - 4} more" if len(rows) > 4 else ""
        return f"Greatest cumulated gap (KS): {'; '.join(said)}{more}."


@dataclass(frozen=True, kw_only=True)
class KsQuestion(ForecastQuestion):
    """Any systematic miscalibration, without bins, with a p-value?"""

    draws: int = option(1000, help="resamples", low=20, high=100_000, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> CumulativeCalibration:
        """Cumulate, test, resample."""
        asked = self.resolved(store)
        chosen = asked.chosen(store)
        draws = drawn(chosen, ks_kuiper, asked, engine=engine, progress=progress)
        rows: list[dict[str, object]] = []
        estimates: dict[str, Estimate] = {}
        for number, one in enumerate(chosen.series):
            value = value_of(ks_kuiper, one.sample)
            null = null_draws(one.sample, _nulls, asked, _NULL_DRAWS)
            found = [estimate_of(value[place], draws[number][:, place], asked.level, centred=True) for place in (0, 1)]
            scale = _scale(one.sample)
            p = sup_brownian_tail(value[0] / scale) if scale > 0 else math.nan
            simulated = [p_of_draws(int((null[:, place] >= value[place]).sum()), len(null)) for place in (0, 1)]
            own = {
                "n": Estimate(one.sample.n, unit="rows", why_no_interval="a count"),
                "ks": found[0], "kuiper": found[1],
                "p_ks": Estimate(p, why_no_interval="a p-value"),
                "p_ks_simulated": Estimate(simulated[0], why_no_interval="a p-value"),
                "p_kuiper": Estimate(simulated[1], why_no_interval="a p-value"),
            }  # fmt: skip
            estimates |= {named(chosen, number, name): estimate for name, estimate in own.items()}
            rows.append(
                {"series": one.name, "n": one.sample.n, "ks": found[0].value, "ks_low": found[0].low, "ks_high": found[0].high,
                 "kuiper": found[1].value, "kuiper_low": found[1].low, "kuiper_high": found[1].high, "p_ks": p,
                 "p_ks_simulated": simulated[0], "p_kuiper": simulated[1], "floor": float(null[:, 0].mean())}
            )  # fmt: skip
        measures = pd.DataFrame(rows)
        notes = [
            unit_note(chosen, asked),
            "p_ks: against the greatest absolute value of Brownian motion, at the scale sqrt(sum f (1 - f)) / n; "
            f"p_ks_simulated and p_kuiper: {_NULL_DRAWS} outcomes redrawn from the forecasts. All take rows as independent.",
            "Opposite errors cancel in the cumulated gap; they do not in ECE.",
            *chosen.notes,
        ]
        curves = tuple(cumulated(one.sample) for one in chosen.series)
        return CumulativeCalibration(chosen=chosen, curves=curves, measures=measures, estimates=estimates,
                                     tables={"measures": measures}, notes=tuple(notes))  # fmt: skip


def _ends(sample: Sample) -> np.ndarray:
    return np.flatnonzero(np.concatenate([sample.f[1:] != sample.f[:-1], [True]]))


def ks_kuiper(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Give the greatest absolute value, and the range, of the cumulated gap, for every weighting; shape (k, 2).

    H_k = (1 / n) sum over the k lowest forecasts of y - f, at the ends of blocks of equal forecasts, and 0 before the first.
    """
    return _of_gaps(np.cumsum(weights * (sample.y - sample.f), axis=1)[:, _ends(sample)], weights.sum(axis=1))


def _of_gaps(gaps: np.ndarray, total: np.ndarray) -> np.ndarray:
    h = gaps / np.reshape(total, (-1, 1))
    top, bottom = np.maximum(h.max(axis=1), 0), np.minimum(h.min(axis=1), 0)
    return np.stack([np.maximum(top, -bottom), top - bottom], axis=1)


def _nulls(sample: Sample, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return _of_gaps(np.cumsum(weight * (y - sample.f), axis=1)[:, _ends(sample)], np.full(len(y), weight.sum()))


def _scale(sample: Sample) -> float:
    """Give the standard deviation of the last cumulated gap of a calibrated model."""
    w = sample.weight
    return float(math.sqrt((w**2 * sample.f * (1 - sample.f)).sum()) / w.sum())


def sup_brownian_tail(x: float) -> float:
    """Give the chance that the greatest absolute value of Brownian motion on [0, 1] exceeds `x`."""
    from scipy.special import ndtr

    if x <= 0.5:
        k = np.arange(50)
        terms = (-1.0) ** k / (2 * k + 1) * np.exp(-((2 * k + 1) ** 2) * math.pi**2 / (8 * max(x, 1e-3) ** 2))
        return float(1 - 4 / math.pi * terms.sum())
    # The same law by reflection, which keeps small probabilities.
    k = np.arange(20)
    return float(4 * ((-1.0) ** k * ndtr(-(2 * k + 1) * x)).sum())


def cumulated(sample: Sample) -> pd.DataFrame:
    """Give the cumulated gap at the end of every block of equal forecasts, from 0."""
    ends = _ends(sample)
    total = sample.weight.sum()
    share = np.cumsum(sample.weight)[ends] / total
    gap = np.cumsum(sample.weight * (sample.y - sample.f))[ends] / total
    spread = np.sqrt(np.cumsum(sample.weight**2 * sample.f * (1 - sample.f))[ends]) / total
    return pd.DataFrame(
        {"share": np.r_[0, share], "forecast": np.r_[sample.f[0], sample.f[ends]], "gap": np.r_[0, gap],
         "spread": np.r_[0, spread]}
    )  # fmt: skip


def figure(question: KsQuestion, result: CumulativeCalibration) -> FigureSpec:
    """Draw the cumulated gap, whose slope is the local miscalibration, and the measure of every series."""
    chosen = result.chosen
    several = len(chosen.series) > 1
    marks: list[Mark] = [Rule(key="zero", axis="y", at=0.0, label="calibrated")]
    for number, (one, curve) in enumerate(zip(chosen.series, result.curves, strict=True)):
        x, gap = curve["share"].to_numpy(), curve["gap"].to_numpy()
        if not several:
            half = _BAND * float(curve["spread"].iloc[-1])
            marks.append(Band(key="band", x=np.array([0.0, 1.0]), low=np.full(2, -half), high=np.full(2, half), hue="muted",
                              label="95 % of calibrated models stay inside"))  # fmt: skip
        marks.append(Line(key=one.name, x=x, y=gap, hue=hue_of(number), width=2.0, label=short(one.name),
                          origin=origin_of((one,))))  # fmt: skip
        peak = int(np.abs(gap).argmax())
        note = f"{one.name}: {abs(gap[peak]):.4g} at confidence {curve['forecast'].iloc[peak]:.3g}"
        marks.append(
            Points(key=f"{one.name}/peak", x=x[[peak]], y=gap[[peak]], hue=hue_of(number), size=7.0, notes=(note,),
                   origin=Clauses("predictions", (one.clause,)))
        )  # fmt: skip
    first = Panel(
        key="cumulated", x=Axis(label="share of rows, least confident first", low=0.0, high=1.0),
        y=Axis(label="cumulated outcome - forecast"), marks=tuple(marks), height=1.6,
    )  # fmt: skip
    rows = result.measures
    values = (rows[name].to_numpy(float) for name in ("ks", "ks_low", "ks_high"))
    second = series_panel("ks", chosen, *values, label="KS", interval=f"{100 * question.level:g} % bootstrap",
                          floor=rows["floor"].to_numpy(float))  # fmt: skip
    caption = (
        f"{result.summary()} Slope: local miscalibration. {100 * question.level:g} % bootstrap over the {chosen.unit}."
    )
    n = " / ".join(f"{one.sample.n:,}" for one in chosen.series[:4])
    return FigureSpec(title="Cumulated calibration gap", subtitle=f"{question.target}, n = {n}",
                      panels=(first, second) if several else (first,), caption=caption)  # fmt: skip


ANALYSIS = Analysis(
    id="calibration.ks",
    title="Cumulative calibration test",
    asks="Any systematic miscalibration, without bins, with a p-value?",
    question=KsQuestion,
    figure=figure,
    sources=(
        "Gupta et al. (2021), Calibration of Neural Networks using Splines: KS",
        "Arrieta-Ibarra et al. (2022), Metrics of calibration for probabilistic predictions: Kuiper, p-values",
    ),
    definition="""\
Rows sorted by forecast: H_k = (1/n) times the sum of y - f over the k lowest, read at the ends of blocks of equal
forecasts. `ks` is the greatest |H|, `kuiper` the greatest H less the least (0 counts). For a calibrated model n H is
nearly Brownian motion run to the time sum f (1 - f), so that `p_ks` = P(sup |B| > ks n / sqrt(sum f (1 - f))), 5 % at
2.241; on few rows trust the simulated p-values. Where the error has one sign, ks = |mean f - rate|. Opposite errors
cancel here, not in ECE. Unit of the intervals: the item or the cluster; the p-values take rows as independent.""",
)
