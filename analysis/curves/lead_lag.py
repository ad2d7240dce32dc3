"""``health.lead-lag``: which of two logged signals moves first.

Trends correlate at every lag, so both signals are differenced and whitened by the same filter before they are compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, significant
from ...models.store import RunStore
from .. import resampling
from ..alignment import aligned
from ..health import gradient_tag, loss_tag

_FEWEST = 200
_MOST_DRAWN = 8


def whitened(y: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Give what is left of y, shape (n,), less the sum of its `coefficients` last values; shape (n - p,)."""
    p = len(coefficients)
    left = y[p:].astype(float)
    for lag, weight in enumerate(coefficients, start=1):
        left = left - weight * y[p - lag : len(y) - lag]
    return left


def autoregression(y: np.ndarray, order: int) -> np.ndarray:
    """Give the coefficients of an autoregression of that order, by least squares, shape (order,)."""
    if not order:
        return np.zeros(0)
    lagged = np.stack([y[order - lag : len(y) - lag] for lag in range(1, order + 1)], axis=1)
    return np.asarray(np.linalg.lstsq(lagged, y[order:], rcond=None)[0])


def cross_correlation(first: np.ndarray, second: np.ndarray, most: int) -> np.ndarray:
    """Give the correlation of the first signal with the second `lag` values later, for lags from -most to most.

    Parameters
    ----------
    first, second : ndarray, shape (..., n)
        Sums run over the pairs there are, divided by the whole sums of squares (the estimate that is largest at the true
        lag of a delayed copy).
    """
    a = first - first.mean(axis=-1, keepdims=True)
    b = second - second.mean(axis=-1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    n = a.shape[-1]
    values = [
        (a[..., max(0, -lag) : n - max(0, lag)] * b[..., max(0, lag) : n - max(0, -lag)]).sum(axis=-1)
        for lag in range(-most, most + 1)
    ]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.stack(values, axis=-1) / np.asarray(scale)[..., None])


@dataclass(frozen=True, slots=True)
class LeadLag:
    """Two signals of one run.

    Attributes
    ----------
    run, name, hue : str
    n : int
        Joint values.
    correlation : ndarray, shape (2 most + 1,)
    lag : tuple of (float, float, float)
        Lag of the greatest absolute correlation, in values, with its interval.
    at_lag : tuple of (float, float, float)
        The correlation there.
    stride : float
        Steps between values.
    first, second : ndarray, shape (n,)
        The signals, standardised.
    step : ndarray, shape (n,)
    """

    run: str
    name: str
    hue: str
    n: int
    correlation: np.ndarray
    lag: tuple[float, float, float]
    at_lag: tuple[float, float, float]
    stride: float
    first: np.ndarray
    second: np.ndarray
    step: np.ndarray


@dataclass(frozen=True, kw_only=True)
class LeadsAndLags(Result):
    """Runs and which signal leads.

    Attributes
    ----------
    runs : tuple of LeadLag
    first, second : str
        Tags.
    most : int
        Greatest lag looked at.
    """

    runs: tuple[LeadLag, ...]
    first: str
    second: str
    most: int

    def summary(self) -> str:
        """Give the answer in one sentence."""
        if len(self.runs) > 1:
            middle = float(np.median([one.lag[0] for one in self.runs]))
            return f"{self._said(middle)}; median lag of {counted(len(self.runs), 'run')}."
        one = self.runs[0]
        return f"{self._said(one.lag[0])}; correlation {significant(one.at_lag[0], 3)}."

    def _said(self, lag: float) -> str:
        if lag == 0:
            return f"{self.first} and {self.second} move together"
        before, after = (self.first, self.second) if lag > 0 else (self.second, self.first)
        return f"{before} leads {after} by {counted(abs(round(lag)), 'value')}"


@dataclass(frozen=True, kw_only=True)
class LeadLagQuestion(Question):
    """Which signal moves first?"""

    needs: ClassVar = (Need("scalars"),)

    first: str = option("", help="signal that may lead; empty takes the gradient norm", choices="tags")
    second: str = option("", help="signal that may follow; empty takes the loss", choices="tags")
    most: int = option(20, help="greatest lag looked at", unit="values", low=1, high=1000)
    order: int = option(5, help="order of the autoregression that whitens; 0 does not", low=0, high=50, advanced=True)
    difference: bool = option(True, help="take differences first", advanced=True)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(500, help="draws of the bootstrap over blocks of steps", low=100, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", advanced=True)
    runs: tuple[str, ...] = option(
        (), help="keys of the runs to take; empty takes all that are kept", choices="runs.run"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the two signals."""
        runs = [run for run in store.kept_runs.values() if gradient_tag(run)]
        if not runs:
            return self
        return replace(self, first=self.first or gradient_tag(runs[0]), second=self.second or loss_tag(runs[0]))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> LeadsAndLags:
        """Join the signals on the step, whiten both, and correlate at every lag."""
        asked = self.resolved(store)
        if not asked.first or not asked.second:
            raise AnalysisError(
                "Name two signals: first and second.", remedy="Tags: " + ", ".join(list(store.tags())[:10])
            )
        others = {curve.run.key: curve for curve in aligned(store, asked.second, "step", asked.runs)}
        runs: list[LeadLag] = []
        most_joint = 0
        for curve in aligned(store, asked.first, "step", asked.runs):
            if curve.run.key in others:
                joint = np.intersect1d(curve.latest()[0], others[curve.run.key].latest()[0], return_indices=True)
                most_joint = max(most_joint, len(joint[0]))
                if len(joint[0]) >= max(_FEWEST, 4 * asked.most):
                    progress(len(runs), len(others), "correlating signals")
                    signals = (curve.latest()[1][joint[1]], others[curve.run.key].latest()[1][joint[2]])
                    runs.append(_lead_lag(curve.run.key, curve.run.name, curve.run.ordinal, joint[0], *signals, asked))
        if not runs:
            raise TooLittleData(needs=f"at least {_FEWEST} steps with both signals", found=f"at most {most_joint}")
        return LeadsAndLags(
            runs=tuple(runs),
            first=asked.first,
            second=asked.second,
            most=asked.most,
            estimates=_estimates(runs, asked),
            tables=_tables(runs, asked),
            notes=tuple(_notes(runs, asked)),
        )


def _lead_lag(
    key: str, name: str, ordinal: int, step: np.ndarray, first: np.ndarray, second: np.ndarray, asked: LeadLagQuestion
) -> LeadLag:
    a, b = (np.diff(first), np.diff(second)) if asked.difference else (first, second)
    if not (np.ptp(a) and np.ptp(b)):
        raise AnalysisError(f"A signal of {name} is constant: its correlation is not defined.")
    # One filter for both, so that a delay stays the delay it is.
    coefficients = autoregression(a - a.mean(), asked.order)
    a, b = whitened(a - a.mean(), coefficients), whitened(b - b.mean(), coefficients)
    correlation = cross_correlation(a, b, asked.most)
    place = int(np.argmax(np.abs(correlation)))
    n = len(a)
    length = max(2 * asked.most, math.ceil(n ** (1 / 3)))
    blocks = max(1, n // length)
    starts = np.arange(blocks) * length
    generator = resampling.DrawBlock(asked.seed, 0, asked.draws).generator()
    # Sums of products within blocks, so that no lag reaches across a joint between resampled blocks.
    inside = cross_products(a, b, asked.most, starts, length)
    drawn = inside[generator.integers(blocks, size=(asked.draws, blocks))].sum(axis=1)
    squares = drawn[:, -2:]
    again = drawn[:, :-2] / np.sqrt(squares.prod(axis=1))[:, None]
    lags = np.argmax(np.abs(again), axis=1) - asked.most
    ends = resampling.percentile_interval(lags.astype(float), asked.level)
    at = resampling.percentile_interval(again[:, place], asked.level)
    scaled = [(y - y.mean()) / y.std() for y in (first, second)]
    return LeadLag(
        key, name, f"c{ordinal}", len(step), correlation,
        (float(place - asked.most), float(ends.low), float(ends.high)),
        (float(correlation[place]), float(at.low), float(at.high)),
        float(np.median(np.diff(step))), scaled[0], scaled[1], step,
    )  # fmt: skip


def cross_products(a: np.ndarray, b: np.ndarray, most: int, starts: np.ndarray, length: int) -> np.ndarray:
    """Give for every block the sums of products at every lag, then the sums of squares of a and b; shape (blocks, 2 most
    + 3). A product belongs to the block its first factor lies in.
    """
    n = len(a)
    columns = []
    for lag in range(-most, most + 1):
        products = np.zeros(n)
        inside = slice(max(0, -lag), n - max(0, lag))
        products[inside] = a[inside] * b[max(0, lag) : n - max(0, -lag)]
        columns.append(products)
    columns += [a**2, b**2]
    sums = np.cumsum(np.concatenate([np.zeros((len(columns), 1)), np.stack(columns)], axis=1), axis=1)
    return np.asarray((sums[:, starts + length] - sums[:, starts]).T)


def _estimates(runs: list[LeadLag], asked: LeadLagQuestion) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    for one in runs if len(runs) <= 20 else []:
        prefix = f"{one.run}/" if len(runs) > 1 else ""
        estimates[f"{prefix}lag"] = Estimate(*one.lag, asked.level, "values")
        estimates[f"{prefix}correlation"] = Estimate(*one.at_lag, asked.level)
    if len(runs) > 1:
        lags = np.array([one.lag[0] for one in runs])
        low, high = resampling.t_interval(lags, asked.level)
        estimates["mean_lag"] = Estimate(float(lags.mean()), float(low), float(high), asked.level, "values")
    return estimates


def _tables(runs: list[LeadLag], asked: LeadLagQuestion) -> dict[str, pd.DataFrame]:
    rows = [
        {
            "run": one.run, "name": one.name, "lag": one.lag[0], "lag_low": one.lag[1], "lag_high": one.lag[2],
            "correlation": one.at_lag[0], "low": one.at_lag[1], "high": one.at_lag[2], "steps_per_value": one.stride,
            "values": one.n,
        }
        for one in runs
    ]  # fmt: skip
    lags = np.arange(-asked.most, asked.most + 1)
    along = [pd.DataFrame({"run": one.run, "lag": lags, "correlation": one.correlation}) for one in runs]
    return {"runs": pd.DataFrame(rows), "correlogram": pd.concat(along, ignore_index=True)}


def _notes(runs: list[LeadLag], asked: LeadLagQuestion) -> list[str]:
    taken = "Differences of both signals" if asked.difference else "Both signals"
    return [
        f"A positive lag: {asked.first} moves first. {taken}, whitened by the autoregression of order {asked.order} of "
        f"{asked.first}; the lag is where the absolute correlation is greatest, up to {asked.most} values either way.",
        f"Intervals: bootstrap of blocks of {2 * asked.most} or more values of one run, {asked.draws} draws; between runs "
        "Student's t.",
        f"Band: ± {significant(_white(runs, asked.level), 2)} holds {100 * asked.level:g} % of the correlations of unrelated"
        f" white signals at one lag; {2 * asked.most + 1} lags were looked at.",
    ]


def _white(runs: list[LeadLag], level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2)) / math.sqrt(min(one.n for one in runs))


def figure(question: LeadLagQuestion, result: LeadsAndLags) -> FigureSpec:
    """Draw the correlogram, and for one run both signals with the second moved back by the lag."""
    lags = np.arange(-result.most, result.most + 1, dtype=float)
    edge = _white(list(result.runs), question.level)
    marks: list[Mark] = [
        Band(
            key="white",
            x=lags,
            low=np.full(len(lags), -edge),
            high=np.full(len(lags), edge),
            hue="muted",
            label="unrelated",
        ),
        Rule(key="zero", axis="x", at=0.0),
    ]
    for one in result.runs[:_MOST_DRAWN]:
        behind = Keys("run", (one.run,))
        label = f"{shortened(one.name, 24)}: lag {one.lag[0]:g}"
        marks.append(Line(key=one.run, x=lags, y=one.correlation, hue=one.hue, label=label, width=1.5, origin=behind))
        at = np.array([one.lag[0]])
        marks.append(
            Points(key=f"{one.run}/lag", x=at, y=np.array([one.at_lag[0]]), hue=one.hue, symbol="star", size=10.0)
        )
    axis = Axis(label=f"lag of {result.second} behind {result.first} (values)")
    panels = [Panel(key="correlogram", x=axis, y=Axis(label="correlation"), marks=tuple(marks))]
    if len(result.runs) == 1:
        one = result.runs[0]
        moved = one.step - one.lag[0] * one.stride
        behind = Keys("run", (one.run,))
        pair: tuple[Mark, ...] = (
            Line(key="first", x=one.step, y=one.first, hue="c0", label=result.first, opacity=0.8, origin=behind),
            Line(
                key="second", x=moved, y=one.second, hue="c1", label=f"{result.second}, moved by its lag", opacity=0.8,
                origin=behind,
            ),
        )  # fmt: skip
        panels.append(
            Panel(key="signals", x=Axis(label="step", column="step"), y=Axis(label="standard deviations"), marks=pair)
        )
    more = f"; {_MOST_DRAWN} of {len(result.runs)} runs drawn" if len(result.runs) > _MOST_DRAWN else ""
    return FigureSpec(
        title=f"{result.first} and {result.second}",
        subtitle=f"cross-correlation of {'differences, ' if question.difference else ''}whitened; star: greatest{more}",
        panels=tuple(panels),
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="health.lead-lag",
    title="Lead and lag",
    asks="Which signal moves first?",
    question=LeadLagQuestion,
    figure=figure,
    sources=("Box and Jenkins (1970), Time Series Analysis: prewhitening before cross-correlation", "Kunsch (1989)"),
    definition="""\
Both signals on the steps they share, differenced, then filtered by the autoregression (least squares) of the first, so
that shared trends and slow wandering do not correlate at every lag. $\\rho(k)$: correlation of the first with the second
k values later; lag: $\\arg\\max|\\rho|$, positive where the first leads.

Unit: a block of at least two windows of lags of one run. The band is for unrelated white signals at a single lag. A lead
is no cause: something third may move both.
""",
)
