"""``health.norm-forecast``: the size at which a norm that grows, or shrinks, with size will pass a threshold.

Attention logits that grow with the model end in a collapse of attention, gradients that shrink below the epsilon of Adam end
the updates. Both can be seen coming in models small enough to train: a line through the logarithms, at one learning rate.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant
from ...models.store import RunStore
from .. import resampling
from ..alignment import reduced
from ..health import GRADIENT

_FEWEST = 4
_LOGITS = re.compile(r"attn|attention", re.IGNORECASE)
_LOGIT = re.compile(r"logit|entry|score", re.IGNORECASE)
_RMS = re.compile(r"grad(ient)?s?[_\-/. ]?(rms|root)", re.IGNORECASE)
_LOGIT_LIMIT = 1e4
_ADAM_EPSILON = 1e-8
_FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""What the threshold is multiplied by, to show how much the answer depends on it."""
_BEYOND = 1e6
"""How many times the largest size is looked at: farther off, the answer is 'not within sight'."""


@dataclass(frozen=True, slots=True)
class LogFit:
    """A polynomial in log x fitted to log y by least squares.

    Attributes
    ----------
    coefficients : ndarray, shape (degree + 1,)
        Of 1, u, u squared with u = log x - `middle`.
    covariance : ndarray, shape (degree + 1, degree + 1)
        NaN without degrees of freedom.
    middle : float
        Mean of log x.
    df : int
        Points less coefficients.
    sd : float
        Of the residuals, in natural logarithms.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    middle: float
    df: int
    sd: float

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the natural logarithm of y at x, and its standard error, shape (k,)."""
        terms = np.vander(np.log(x) - self.middle, len(self.coefficients), increasing=True)
        return terms @ self.coefficients, np.sqrt(np.einsum("ki,ij,kj->k", terms, self.covariance, terms))


def fit_log(x: np.ndarray, y: np.ndarray, degree: int) -> LogFit:
    """Fit log y on powers of log x, up to `degree`, by least squares.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Positive; x takes more than `degree` values.
    """
    middle = float(np.log(x).mean())
    terms = np.vander(np.log(x) - middle, degree + 1, increasing=True)
    coefficients = np.linalg.lstsq(terms, np.log(y), rcond=None)[0]
    df = len(x) - degree - 1
    left = np.log(y) - terms @ coefficients
    variance = float(left @ left) / df if df > 0 else math.nan
    return LogFit(coefficients, variance * np.linalg.inv(terms.T @ terms), middle, df, math.sqrt(variance))


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where a fit passes a threshold.

    Attributes
    ----------
    at : float
        First x beyond `start` at which the fit is at the threshold; infinite where it never is within sight.
    low, high : float
        All x at which the threshold lies within the interval of the fit, from its first to its last; infinite where that goes
        on to the end of what is looked at.
    """

    at: float
    low: float
    high: float


def crossing(fit: LogFit, threshold: float, start: float, end: float, level: float) -> Crossing:
    """Give where a fit passes a threshold, with its interval.

    Notes
    -----
    The set of x whose interval of the fitted value holds the threshold: for a line that is Fieller's interval (1954) of
    inverse prediction, exact for Gaussian residuals of one variance; it is open where the slope may be 0.
    """
    grid = np.geomspace(start, end, 4001)
    value, error = fit.at(grid)
    gap = value - math.log(threshold)
    below = gap < 0
    places = np.flatnonzero(below[1:] != below[:-1])
    at = math.inf
    if len(places):
        i = int(places[0])
        share = gap[i] / (gap[i] - gap[i + 1])
        at = float(np.exp(np.log(grid[i]) + share * (np.log(grid[i + 1]) - np.log(grid[i]))))
    half = float(resampling.t_quantile(level, fit.df)) * error if fit.df > 0 else np.full(len(grid), math.nan)
    inside = np.flatnonzero(np.abs(gap) <= half)
    if fit.df <= 0:
        return Crossing(at, math.nan, math.nan)
    if not len(inside):
        return Crossing(at, at, at) if math.isfinite(at) else Crossing(at, math.inf, math.inf)
    return Crossing(at, float(grid[inside[0]]), float(grid[inside[-1]]) if inside[-1] < len(grid) - 1 else math.inf)


@dataclass(frozen=True, kw_only=True)
class NormForecast(Result):
    """A norm over sizes.

    Attributes
    ----------
    rows : DataFrame
        run, name, ordinal, size, value; one row a run.
    fit : LogFit
    crossing : Crossing
    threshold : float
    tag, size, rate : str
        Norm, column of sizes, and what the learning rate is, in words.
    """

    rows: pd.DataFrame
    fit: LogFit
    crossing: Crossing
    threshold: float
    tag: str
    size: str
    rate: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        at, largest = self.crossing.at, float(self.rows["size"].max())
        text = f"{self.tag} goes as {self.size}^{significant(float(self.fit.coefficients[1]), 3)}{self.rate}"
        said = f"{self.threshold:g}"
        if not math.isfinite(at):
            return f"{text}; it does not pass {said} within {_BEYOND:g} times the largest size."
        where = f"{at:.2g}{_ends(self.crossing)}"
        times = at / largest
        how = f", {significant(times, 2)} times the largest" if times > 1 else ", within the sizes seen"
        return f"{text}; it passes {said} at {self.size} = {where}{how}."


def _ends(crossing: Crossing) -> str:
    if math.isnan(crossing.low):
        return ""
    high = f"{crossing.high:.2g}" if math.isfinite(crossing.high) else "no end in sight"
    return f" [{crossing.low:.2g}, {high}]"


@dataclass(frozen=True, kw_only=True)
class NormForecastQuestion(Question):
    """At what size will logits blow up, or gradients sink below the epsilon of Adam?"""

    needs: ClassVar = (Need("scalars"),)

    tag: str = option(
        "", help="norm; empty looks for attention logits, the RMS of gradients, their norm", choices="tags"
    )
    size: str = option("params", help="column with the size of the model", choices="numbers of runs")
    threshold: float | None = option(
        None, help="value that is one too many; empty: 1e4 for logits, 1e-8 for an RMS, else ten times what was seen"
    )
    lr: float | None = option(
        None, help="learning rate of the runs; empty: the one with most sizes, else each size's own; 0 all", low=0.0
    )
    rate: str = option("peak_lr", help="column with the learning rate", choices="numbers of runs", advanced=True)
    reduce: Literal["auto", "last", "max", "min", "mean of last k"] = option(
        "auto", help="what a curve is reduced to; auto: max of logits, else the mean of the last k"
    )
    last_k: int = option(20, help="values in 'mean of last k'", unit="values", low=1)
    shape: Literal["line", "quadratic"] = option("line", help="of log norm on log size; quadratic from five sizes on")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    runs: tuple[str, ...] = option(
        (), help="keys of the runs to take; empty takes all that are kept", choices="runs.run"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the norm, and what a curve is reduced to."""
        tags = list(store.tags())
        logits = [tag for tag in tags if _LOGITS.search(tag) and _LOGIT.search(tag)]
        found = [*logits, *(tag for tag in tags if _RMS.search(tag)), *(tag for tag in tags if GRADIENT.search(tag))]
        tag = self.tag or next(iter(found), "")
        how = ("max" if tag in logits else "mean of last k") if self.reduce == "auto" else self.reduce
        return replace(self, tag=tag, reduce=how)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> NormForecast:
        """Reduce every run to one norm, fit it on size, and find where the fit passes the threshold."""
        asked = self.resolved(store)
        if not asked.tag:
            raise AnalysisError(
                "No run logs attention logits or the norm of its gradient.",
                remedy="Name a tag. Tags: " + ", ".join(list(store.tags())[:10]) + ".",
            )
        rows, lost = _rows(store, asked)
        rows, rate, apart = _at_one_rate(rows, asked)
        sizes = int(rows["size"].nunique())
        fewest = _FEWEST if asked.shape == "line" else _FEWEST + 1
        if sizes < fewest:
            raise TooLittleData(
                needs=f"at least {fewest} sizes at one learning rate",
                found=f"{counted(sizes, 'size')}{rate}",
                remedy="Set lr to 0 to take runs of all learning rates together.",
            )
        x, y = rows["size"].to_numpy(float), rows["value"].to_numpy(float)
        degree = 1 if asked.shape == "line" else 2
        fit = fit_log(x, y, degree)
        threshold = asked.threshold if asked.threshold is not None else _threshold(asked.tag, fit, x, y)
        if not threshold > 0:
            raise AnalysisError(f"The threshold is on a log axis: it must be above 0, not {threshold:g}.")
        where = crossing(fit, threshold, float(x.min()), _BEYOND * float(x.max()), asked.level)
        return NormForecast(
            rows=rows,
            fit=fit,
            crossing=where,
            threshold=threshold,
            tag=asked.tag,
            size=asked.size,
            rate=rate,
            estimates=_estimates(fit, where, asked),
            tables=_tables(rows, fit, threshold, x, y, asked),
            notes=tuple(_notes(rows, fit, threshold, asked, rate, lost, apart)),
        )


def _rows(store: RunStore, asked: NormForecastQuestion) -> tuple[pd.DataFrame, int]:
    """Give a row for every run that states a size and logs a positive norm, and how many others log it."""
    frame = store.rows("runs").set_index("run")
    if asked.size not in frame.columns or frame[asked.size].isna().all():
        raise AnalysisError(
            f"No run states {asked.size!r}.", remedy="Columns: " + ", ".join(map(str, list(frame.columns)[:20])) + "."
        )
    if asked.rate not in ("peak_lr", *frame.columns):
        raise AnalysisError(f"No run states {asked.rate!r}.", remedy="Choose another column of the learning rate.")
    sizes = pd.to_numeric(frame[asked.size], errors="coerce")
    rates = pd.to_numeric(frame[asked.rate], errors="coerce") if asked.rate in frame.columns else pd.Series(dtype=float)
    how = "last" if asked.reduce == "auto" else asked.reduce
    rows, lost = [], 0
    for run, curve in store.curves(asked.tag):
        if asked.runs and run.key not in asked.runs:
            continue
        size, value = float(sizes.get(run.key, math.nan)), reduced(np.asarray(curve.value), how, asked.last_k)
        if not (size > 0 and value > 0 and math.isfinite(size) and math.isfinite(value)):
            lost += 1
            continue
        lr = float(rates.get(run.key, math.nan))
        rows.append({"run": run.key, "name": run.name, "ordinal": run.ordinal, "size": size, "value": value, "lr": lr})
    if not rows:
        raise AnalysisError(f"No run both states {asked.size!r} and logs {asked.tag!r} above 0.")
    return pd.DataFrame(rows), lost


def _at_one_rate(rows: pd.DataFrame, asked: NormForecastQuestion) -> tuple[pd.DataFrame, str, int]:
    """Give the rows of one learning rate, what it is in words, and how many rows are at others."""
    if asked.lr == 0 or rows["lr"].isna().all():
        return rows, "", 0
    if asked.lr is not None:
        kept = rows[np.isclose(rows["lr"].to_numpy(float), asked.lr, rtol=1e-6)]
        if kept.empty:
            known = ", ".join(f"{rate:g}" for rate in sorted(rows["lr"].dropna().unique())[:12])
            raise AnalysisError(f"No run has the learning rate {asked.lr:g}.", remedy=f"Rates: {known}.")
    else:
        by_rate = rows.groupby("lr")["size"].nunique()
        if by_rate.max() < _FEWEST:
            own = rows.groupby("size")["lr"].agg(lambda rates: rates.mode().max())
            kept = rows[rows["lr"] == rows["size"].map(own)]
            return kept.reset_index(drop=True), ", each at the learning rate most runs have", len(rows) - len(kept)
        # Of several with as many sizes, the one with most runs; then the highest, where trouble comes first.
        best = max(by_rate.index, key=lambda rate: (by_rate[rate], int((rows["lr"] == rate).sum()), rate))
        kept = rows[rows["lr"] == best]
    return kept.reset_index(drop=True), f" at a learning rate of {kept['lr'].iloc[0]:g}", len(rows) - len(kept)


def _threshold(tag: str, fit: LogFit, x: np.ndarray, y: np.ndarray) -> float:
    if _LOGITS.search(tag) and _LOGIT.search(tag):
        return _LOGIT_LIMIT
    if _RMS.search(tag):
        return _ADAM_EPSILON
    ends, _ = fit.at(np.array([x.min(), x.max()]))
    return float(f"{10 * y.max():.1g}" if ends[1] >= ends[0] else f"{y.min() / 10:.1g}")


def _estimates(fit: LogFit, where: Crossing, asked: NormForecastQuestion) -> dict[str, Estimate]:
    slope = float(fit.coefficients[1])
    half = float(resampling.t_quantile(asked.level, fit.df)) * math.sqrt(fit.covariance[1, 1]) if fit.df else math.nan
    no_df = "" if fit.df else "as many coefficients as runs"
    estimates = {"exponent": Estimate(slope, slope - half, slope + half, asked.level, "", no_df)}
    if asked.shape == "quadratic":
        bend = float(fit.coefficients[2])
        half = float(resampling.t_quantile(asked.level, fit.df)) * math.sqrt(fit.covariance[2, 2])
        estimates["curvature"] = Estimate(bend, bend - half, bend + half, asked.level, "", no_df)
    if not math.isfinite(where.at):
        why = "the fit does not pass the threshold within sight"
        estimates["size_at_threshold"] = Estimate(math.nan, unit=asked.size, why_no_interval=why)
    else:
        closed = math.isfinite(where.low) and math.isfinite(where.high)
        why = "" if closed else no_df or f"open: from {significant(where.low, 3)} without an upper end"
        low, high = (where.low, where.high) if closed else (math.nan, math.nan)
        estimates["size_at_threshold"] = Estimate(where.at, low, high, asked.level, asked.size, why)
    return estimates


def _tables(
    rows: pd.DataFrame, fit: LogFit, threshold: float, x: np.ndarray, y: np.ndarray, asked: NormForecastQuestion
) -> dict[str, pd.DataFrame]:
    sensitivity = []
    shapes = [("line", 1)] + ([("quadratic", 2)] if rows["size"].nunique() > _FEWEST else [])
    for name, degree in shapes:
        own = fit_log(x, y, degree)
        for factor in _FACTORS:
            one = crossing(own, factor * threshold, float(x.min()), _BEYOND * float(x.max()), asked.level)
            sensitivity.append(
                {
                    "shape": name, "threshold": factor * threshold, "size": one.at, "low": one.low, "high": one.high,
                    "times_the_largest": one.at / float(x.max()),
                }
            )  # fmt: skip
    fitted = np.exp(fit.at(x)[0])
    by_run = rows.drop(columns="ordinal").assign(fitted=fitted, relative_residual=y / fitted - 1)
    return {"thresholds": pd.DataFrame(sensitivity), "runs": by_run}


def _notes(
    rows: pd.DataFrame, fit: LogFit, threshold: float, asked: NormForecastQuestion, rate: str, lost: int, apart: int
) -> list[str]:
    what = {"max": "greatest value", "min": "least value", "last": "last value"}.get(
        asked.reduce, f"mean of the last {asked.last_k} values"
    )
    notes = [
        f"Least squares of log {asked.tag} ({what} of a run) on log {asked.size}, a {asked.shape}; "
        f"{counted(len(rows), 'run')} of {counted(int(rows['size'].nunique()), 'size')}{rate}; residual SD "
        f"{100 * fit.sd:.2g} % of the value.",
        f"Interval of the size: all sizes at which the {100 * asked.level:g} % t interval of the fit holds the threshold "
        "(Fieller; unit: the run). It holds if the law does so far out.",
        "The threshold is yours: the table shows the size for a tenth to ten times of it, and for both shapes.",
    ]
    if asked.threshold is None:
        notes.append(f"No threshold was given: {threshold:g} is taken{_reason(asked.tag)}.")
    if apart:
        notes.append(f"{counted(apart, 'run')} at other learning rates left out: norms depend on the rate.")
    if rate.startswith(","):
        notes.append("No learning rate has four sizes: what the rate does and what the size does cannot be told apart.")
    elif not rate:
        notes.append("Runs of all learning rates together: norms depend on the rate.")
    if lost:
        notes.append(f"{counted(lost, 'run')} left out: no size, or no positive finite norm.")
    return notes


def _reason(tag: str) -> str:
    if _LOGITS.search(tag) and _LOGIT.search(tag):
        return ", above which the runs of Wortsman et al. (2023) diverged"
    if _RMS.search(tag):
        return ", the usual epsilon of Adam"
    return ", ten times beyond what was seen, which means nothing in itself"


def figure(question: NormForecastQuestion, result: NormForecast) -> FigureSpec:
    """Draw the norms over sizes with the fit, its band and the threshold, which can be dragged; below, the residuals."""
    rows, fit, where = result.rows, result.fit, result.crossing
    x, y = rows["size"].to_numpy(float), rows["value"].to_numpy(float)
    far = where.at if math.isfinite(where.at) and where.at <= 1e4 * x.max() else 10 * float(x.max())
    grid = np.geomspace(float(x.min()), max(2 * far, 2 * float(x.max())), 200)
    value, error = fit.at(grid)
    half = float(resampling.t_quantile(question.level, fit.df)) * error if fit.df else np.full(len(grid), math.nan)
    seen = grid <= x.max()
    seen[np.flatnonzero(~seen)[:1]] = True  # so that the dashed line begins where the solid one ends
    origin = Keys("run", tuple(rows["run"]))
    hue = "accent"
    marks: list[Mark] = [
        Band(
            key="band", x=grid, low=np.exp(value - half), high=np.exp(value + half), hue=hue,
            label=f"{100 * question.level:g} % t interval of the fit, {len(rows)} runs",
        ),
        Line(key="fit", x=grid[seen], y=np.exp(value[seen]), hue=hue, width=2.0, label=question.shape),
        Line(key="beyond", x=grid[grid > x.max()], y=np.exp(value[grid > x.max()]), hue=hue, width=2.0, dash="dashed"),
        Points(
            key="runs", x=x, y=y, hue="ink", origin=origin,
            notes=tuple(f"{name}: {significant(v)}" for name, v in zip(rows["name"], y, strict=True)),
        ),
        Rule(key="threshold", axis="y", at=result.threshold, hue="bad", label="threshold", option="threshold"),
    ]  # fmt: skip
    if math.isfinite(where.at) and where.at <= grid[-1]:
        label = f"{where.at:.2g}{_ends(where)}"
        marks.append(
            Points(
                key="crossing", x=np.array([where.at]), y=np.array([result.threshold]), hue="bad", symbol="star",
                hollow=True, size=11.0, label=label,
            )
        )  # fmt: skip
    axis = Axis(label=result.size, scale="log", column=result.size)
    left = y / np.exp(fit.at(x)[0]) - 1
    panels = (
        Panel(key="norm", x=axis, y=Axis(label=result.tag, scale="log"), marks=tuple(marks), height=2.2),
        Panel(
            key="residuals",
            x=axis,
            y=Axis(label="relative residual"),
            marks=(
                Rule(key="zero", axis="y", at=0.0),
                Points(key="residuals", x=x, y=left, hue="ink", origin=origin),
            ),
            legend=False,
            shares_x_with="norm",
        ),
    )
    return FigureSpec(
        title=f"{result.tag} over {result.size}",
        subtitle=f"{counted(len(rows), 'run')}{result.rate}; {question.shape} in logarithms, dashed beyond the largest",
        panels=panels,
        caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )


ANALYSIS = Analysis(
    id="health.norm-forecast",
    title="Instability forecast",
    asks="At what size will logits blow up, or gradients sink below the epsilon of Adam?",
    question=NormForecastQuestion,
    figure=figure,
    sources=(
        "Wortsman et al. (2023), Small-scale proxies for large-scale Transformer training instabilities",
        "Molybog et al. (2023), A Theory on Adam Instability in Large-Scale Machine Learning",
        "Fieller (1954), Some Problems in Interval Estimation: inverse prediction",
    ),
    definition="""\
$\\log v=a+b\\log N\\,(+c\\log^2N)$, least squares over the runs of one learning rate; $v$: the greatest attention logit of a
run, or the mean of its last gradient norms. The size at the threshold T solves $\\hat v(N)=T$; its interval holds every N at
which the t interval of the fit holds T (for a line: Fieller's), open where the slope may be 0. Unit: the run.

Four sizes at least, five for a quadratic. Which shape holds farther out no fit of small models can say: the table has both. The
threshold is the user's; 1e4 for logits is where the runs of the source diverged, 1e-8 is the usual epsilon of Adam.
""",
)
