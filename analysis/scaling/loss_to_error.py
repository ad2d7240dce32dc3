"""``scaling.loss-to-error``: what a loss means downstream, Err = eps - k exp(-gamma L)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, option
from ...models.reductions import higher_is_better
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.store import RunStore
from ..overtraining_law import OvertrainingFit, fit_overtraining
from ..power_fit import Draws, Fit, Objective, draws_of, fit
from ..resampling import DRAWS, percentile_interval
from ..scaling_runs import RunPoints, RunsQuestion, chosen_runs, values_of
from ..score_table import chosen_scores

_NARROW = 0.3
"""Range of losses, in nats, below which eps cannot be told from k and gamma."""
_GAMMA = (0.01, 30.0)


class ErrorCurve:
    """eps - k exp(-gamma (L - mean L)) in eps, log k, gamma."""

    names: tuple[str, ...] = ("eps", "k", "gamma")

    def __init__(self, L: np.ndarray) -> None:
        self.middle = float(L.mean())
        self.u = L - self.middle

    def value(self, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        """Give the error, shape (m, n), and its falling part."""
        fall = np.exp(theta[:, 1:2] - theta[:, 2:] * self.u)
        return theta[:, :1] - fall, fall

    def gradient(self, state: Any, outer: np.ndarray) -> np.ndarray:
        """Give sum_i outer_i d f_i / d theta, shape (m, 3)."""
        fallen = -outer * state
        return np.stack([outer.sum(axis=1), fallen.sum(axis=1), -(fallen @ self.u)], axis=1)

    def jacobian(self, state: Any) -> np.ndarray:
        """Give d f / d theta, shape (m, n, 3)."""
        return np.stack([np.ones_like(state), -state, state * self.u], axis=-1)

    def starts(self, error: np.ndarray, eps: float | None) -> np.ndarray:
        """Give curves to start from: gamma on a grid, eps and k by least squares."""
        found = []
        for gamma in np.geomspace(0.05, 10, 24):
            fall = np.exp(-gamma * self.u)
            if eps is None:
                slope, level = np.polyfit(fall, error, 1)
                k, at = -slope, level
            else:
                k, at = float(fall @ (eps - error)) / float(fall @ fall), eps
            found.append([at, np.log(max(k, 1e-6)), gamma])
        return np.array(found)


@dataclass(frozen=True)
class ErrorFit:
    """A fitted curve of error over loss.

    Attributes
    ----------
    L, error : ndarray, shape (n,)
    curve : ErrorCurve
    fit : Fit
    draws : Draws
    """

    L: np.ndarray
    error: np.ndarray
    curve: ErrorCurve
    fit: Fit
    draws: Draws

    def parameters(self, theta: np.ndarray) -> np.ndarray:
        """Give eps, k and gamma with k at loss 0, shape (..., 3)."""
        with np.errstate(over="ignore"):
            k = np.exp(theta[..., 1] + theta[..., 2] * self.curve.middle)
        return np.stack([theta[..., 0], k, theta[..., 2]], axis=-1)

    def at(self, L: np.ndarray | float, theta: np.ndarray | None = None) -> np.ndarray:
        """Give the error at losses, for one set of parameters or, with `theta` of shape (m, 3), for many."""
        theta = self.fit.theta if theta is None else theta[..., None]
        u = np.asarray(L, float) - self.curve.middle
        with np.errstate(over="ignore"):
            if theta.ndim == 1:
                return np.asarray(theta[0] - np.exp(theta[1] - theta[2] * u))
            return np.asarray(theta[:, 0] - np.exp(theta[:, 1] - theta[:, 2] * u))


def fit_error(
    L: np.ndarray, error: np.ndarray, *, eps: float | None = None, draws: int = 0, seed: int = 0, engine: Engine = LOCAL,
    progress: Progress = quiet,
) -> ErrorFit:  # fmt: skip
    """Fit Err = eps - k exp(-gamma L) by least squares from a grid of gamma.

    Parameters
    ----------
    eps : float, optional
        Given instead of fitted.

    Raises
    ------
    TooLittleData
        With fewer than five runs.
    """
    if len(L) < 5:
        raise TooLittleData(needs="at least 5 runs with a loss and an error", found=str(len(L)))
    curve = ErrorCurve(L)
    low, high = np.array([-1.0, -40.0, _GAMMA[0]]), np.array([5.0, 10.0, _GAMMA[1]])
    fixed = np.array([eps is not None, False, False])
    starts = np.clip(curve.starts(error, eps), low, high)
    found = fit(curve, error, objective=Objective("squares"), starts=starts, low=low, high=high, fixed=fixed)
    drawn = draws_of(curve, error, found, draws=draws, seed=seed, engine=engine, progress=progress)
    return ErrorFit(L, error, curve, found, drawn)


@dataclass(frozen=True, kw_only=True)
class LossToError(Result):
    """Error as a function of loss.

    Attributes
    ----------
    points : RunPoints
        Runs with a column ``error``, fitted and not.
    fits : tuple of (str, ErrorFit)
        One a training set.
    forecasts : DataFrame
        variant, run, loss, loss_used, actual, predicted, low, high, relative_error.
    what : str
        What the error is.
    """

    points: RunPoints
    fits: tuple[tuple[str, ErrorFit], ...]
    forecasts: pd.DataFrame
    what: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = []
        for name, one in self.fits[:3]:
            prefix = f"{name}/" if len(self.fits) > 1 else ""
            at = self.estimates[f"{prefix}target_error"]
            gamma = self.estimates[f"{prefix}gamma"]
            said.append(
                f"{name + ': ' if prefix else ''}{self.what} = {with_interval(at.value, at.low, at.high)} at "
                f"{self.points.loss} {significant(self.estimates['target_loss'].value)}, gamma = "
                f"{with_interval(gamma.value, gamma.low, gamma.high)} ({counted(len(one.L), 'run')})"
            )
        return "; ".join(said) + "."


@dataclass(frozen=True, kw_only=True)
class LossToErrorQuestion(RunsQuestion):
    """What does a given loss mean downstream?"""

    needs: ClassVar = (Need("runs"),)

    error: str = option(
        "",
        help="error of a run: a metric or column; from the scores of the model if empty",
        choices="tags|numbers of runs",
    )
    tasks: tuple[str, ...] = option((), help="tasks averaged; all if empty", choices="scores.task")
    metric: str = option("", help="metric of the scores; the first if empty", choices="scores.metric", advanced=True)
    variant: str = option("", help="column whose values get a curve each (the training set)", choices="columns of runs")
    fit_where: str = option("", help="condition on runs that are fitted; the others are forecast")
    law_where: str = option(
        "", help="condition on runs an over-training law is fitted to; forecast runs then take their loss from it"
    )
    chance_error: float | None = option(None, help="error of guessing: eps is kept there", low=0, high=1)
    target_loss: float | None = option(None, help="loss asked about; 5 % below the lowest if empty", low=0)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples, each refitted", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in columns, the training sets and the target."""
        asked = super().resolved(store)
        columns = store.columns("runs")
        if not asked.variant and "family" in columns and store.rows("runs")["family"].nunique() > 1:
            asked = replace(asked, variant="family")
        if asked.target_loss is None:
            asked = replace(asked, target_loss=float(f"{0.95 * _points(store, asked)[0].column('loss').min():.4g}"))
        return asked

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> LossToError:
        """Fit a curve for each training set and forecast the runs left out."""
        asked = self.resolved(store)
        points, what, notes = _points(store, asked)
        parts: list[tuple[object, pd.DataFrame]] = [("", points.frame)]
        if asked.variant:
            parts = list(points.frame.groupby(asked.variant, sort=False))
        fits, forecasts, refused = [], [], []
        for number, (name, part) in enumerate(parts):
            progress(number, len(parts), "fitting")
            chosen = part["fitted"].to_numpy(bool)
            L, error = part["loss"].to_numpy(float), part["error"].to_numpy(float)
            try:
                one = fit_error(
                    L[chosen], error[chosen], eps=asked.chance_error, draws=asked.draws, seed=asked.seed, engine=engine,
                    progress=progress,
                )  # fmt: skip
            except TooLittleData as refusal:
                refused.append(refusal)
                notes.append(f"{name or 'All runs'} left out: needs {refusal.needs}; found {refusal.found}.")
                continue
            fits.append((str(name), one))
            forecasts.append(_forecasts(str(name), one, part, _law(part, store, asked), asked))
        if not fits:
            raise refused[0]
        table = pd.concat(forecasts, ignore_index=True)
        return LossToError(
            points=points,
            fits=tuple(fits),
            forecasts=table,
            what=what,
            estimates=_estimates(fits, table, asked),
            tables=_tables(fits, points, table, asked),
            notes=(*_notes(fits, asked, what), *notes),
        )


def _points(store: RunStore, asked: LossToErrorQuestion) -> tuple[RunPoints, str, list[str]]:
    """Give the runs with their error, what it is, and what was chosen."""
    points = asked.points(store, [asked.variant] if asked.variant else [])
    notes = [note for note in points.notes if not (asked.variant and note.startswith("Attention"))]
    if asked.error:
        runs = store.rows("runs")
        values = points.frame["run"].map(dict(zip(runs["run"], values_of(store, runs, asked.error), strict=True)))
        what = asked.error
        if higher_is_better(asked.error):
            values, what = 1 - values, f"1 − {asked.error}"
    else:
        if not store.has_rows("scores"):
            raise AnalysisError(
                "Nothing says what error the runs make.",
                remedy="Open the scores of the models, or name a metric or column with --error.",
            )
        values, what, said = _mean_errors(store, points, asked)
        notes += said
    frame = points.frame.assign(error=values, fitted=chosen_runs(store, points.frame, asked.fit_where))
    known = np.isfinite(frame["error"].to_numpy(float))
    if not known.any():
        raise AnalysisError(
            "No run has both a loss and an error.",
            remedy="The models in the scores are to have the names of the runs (map a column onto model or run).",
        )
    if lost := int((~known).sum()):
        notes.append(f"{counted(lost, 'run')} left out: no error.")
    return replace(points, frame=frame[known].reset_index(drop=True)), what, notes


def _mean_errors(store: RunStore, points: RunPoints, asked: LossToErrorQuestion) -> tuple[pd.Series, str, list[str]]:
    """Give the mean error over tasks, the same for every run; a run that lacks one of the tasks has none."""
    scores = chosen_scores(store, metric=asked.metric)
    frame = scores.frame
    if asked.tasks:
        there = set(scores.tasks)
        if missing := [task for task in asked.tasks if task not in there]:
            raise AnalysisError(
                f"There is no task {missing[0]!r}.", remedy="Tasks: " + ", ".join(scores.tasks[:40]) + "."
            )
        frame = frame[frame["task"].isin(asked.tasks)]
    falls = frame["good"] == frame["value"]
    wide = frame.assign(error=np.where(falls, 1 - frame["value"], frame["value"])).pivot_table(
        index="model", columns="task", values="error"
    )
    complete = wide.dropna()
    notes = list(scores.notes)
    if len(complete) < len(wide):
        notes.append(f"{counted(len(wide) - len(complete), 'model')} lack one of the tasks.")
    outside = ((complete < 0) | (complete > 1)).any()
    if outside.any():
        raise AnalysisError(
            f"The scores of {outside.index[outside][0]} lie outside [0, 1].",
            remedy="Choose tasks or a metric that are rates.",
        )
    errors = complete.mean(axis=1)
    what = "error" if wide.shape[1] > 1 else f"error on {wide.columns[0]}"
    if wide.shape[1] > 1:
        what = f"error, mean of {wide.shape[1]} tasks"
    return points.frame["run"].map(errors), what, notes


def _law(part: pd.DataFrame, store: RunStore, asked: LossToErrorQuestion) -> OvertrainingFit | None:
    if not asked.law_where:
        return None
    chosen = part[chosen_runs(store, part, asked.law_where)]
    N, D, L = (chosen[name].to_numpy(float) for name in ("params", "tokens", "loss"))
    return fit_overtraining(6 * N * D, D / N, L, plain=True)


def _forecasts(
    name: str, one: ErrorFit, part: pd.DataFrame, law: OvertrainingFit | None, asked: LossToErrorQuestion
) -> pd.DataFrame:
    unseen = part[~part["fitted"].to_numpy(bool)]
    N, D, L = (unseen[column].to_numpy(float) for column in ("params", "tokens", "loss"))
    used = L if law is None else law.law.loss(6 * N * D, D / N)
    predicted, actual = one.at(used), unseen["error"].to_numpy(float)
    low, high = percentile_interval(one.at(used, one.draws.theta), asked.level)
    return pd.DataFrame(
        {
            "variant": name, "run": unseen["run"].to_numpy(), "loss": L, "loss_used": used, "actual": actual,
            "predicted": predicted, "low": low, "high": high, "relative_error": predicted / actual - 1,
        }
    )  # fmt: skip


def _estimates(
    fits: list[tuple[str, ErrorFit]], forecasts: pd.DataFrame, asked: LossToErrorQuestion
) -> dict[str, Estimate]:
    assert asked.target_loss is not None
    estimates = {"target_loss": Estimate(asked.target_loss, unit="as the loss", why_no_interval="asked about")}
    for name, one in fits:
        prefix = f"{name}/" if len(fits) > 1 else ""
        values, drawn = one.parameters(one.fit.theta), one.parameters(one.draws.theta)
        for number, label in enumerate(ErrorCurve.names):
            low, high = percentile_interval(drawn[:, number], asked.level)
            why = f"{len(one.L)} runs for 3 parameters"
            if one.fit.fixed[number]:
                low, high, why = np.nan, np.nan, "given"
            unit = "share" if label == "eps" else "per nat" if label == "gamma" else ""
            estimates[prefix + label] = Estimate(float(values[number]), float(low), float(high), asked.level, unit, why)
        low, high = percentile_interval(one.at(asked.target_loss, one.draws.theta), asked.level)
        estimates[f"{prefix}target_error"] = Estimate(
            float(one.at(asked.target_loss)), float(np.ravel(low)[0]), float(np.ravel(high)[0]), asked.level, "share",
            f"{len(one.L)} runs for 3 parameters",
        )  # fmt: skip
        estimates[f"{prefix}n"] = Estimate(len(one.L), unit="runs", why_no_interval="a count")
        errors = forecasts.loc[forecasts["variant"] == name, "relative_error"].to_numpy(float)
        if len(errors):
            estimates[f"{prefix}held_out_absolute_error"] = Estimate(
                float(np.abs(errors).mean()),
                unit="share of the error",
                why_no_interval=f"{counted(len(errors), 'run')} forecast",
            )
    return estimates


def _tables(
    fits: list[tuple[str, ErrorFit]], points: RunPoints, forecasts: pd.DataFrame, asked: LossToErrorQuestion
) -> dict[str, pd.DataFrame]:
    rows = []
    for name, one in fits:
        values, drawn = one.parameters(one.fit.theta), one.parameters(one.draws.theta)
        low, high = percentile_interval(drawn, asked.level)
        rows += [
            {
                "variant": name,
                "parameter": label,
                "value": values[i],
                "low": np.asarray(low)[i],
                "high": np.asarray(high)[i],
            }
            for i, label in enumerate(ErrorCurve.names)
        ]
    return {"parameters": pd.DataFrame(rows), "forecasts": forecasts, "points": points.frame}


def _notes(fits: list[tuple[str, ErrorFit]], asked: LossToErrorQuestion, what: str) -> list[str]:
    first = fits[0][1]
    notes = [
        f"Err = eps − k exp(−gamma L), least squares of the {what}; unit: the run, n = "
        f"{', '.join(str(len(one.L)) for _, one in fits)}; intervals: {100 * asked.level:g} %, {first.draws.how}, "
        f"{asked.draws} draws, seed {asked.seed}."
    ]
    if asked.law_where:
        notes.append(f"Losses of forecast runs come from the over-training law of the runs '{asked.law_where}'.")
    for name, one in fits:
        prefix = f"{name}: " if len(fits) > 1 else ""
        if np.ptp(one.L) < _NARROW and asked.chance_error is None:
            notes.append(
                f"{prefix}the losses span {np.ptp(one.L):.2g} nats: eps is not determined; give the error of guessing "
                "(--chance-error)."
            )
        if one.fit.bounds:
            notes.append(f"{prefix}on a bound: {', '.join(one.fit.bounds)}.")
        notes.append(f"{prefix}{one.fit.agreeing} of {one.fit.started} starts reached the optimum.")
    return notes


def figure(question: LossToErrorQuestion, result: LossToError) -> FigureSpec:
    """Draw error against loss with one curve a training set, its band, residuals and the target."""
    assert question.target_loss is not None
    marks: list[Mark] = []
    residuals: list[Mark] = [Rule(key="zero", axis="y", at=0.0)]
    level = f"{100 * question.level:g} %"
    single = len(result.fits) == 1
    for number, (name, one) in enumerate(result.fits):
        hue = f"c{number}"
        frame = result.points.frame
        if question.variant:
            frame = frame[frame[question.variant].astype(str) == name]
        seen = frame["fitted"].to_numpy(bool)
        L, error = frame["loss"].to_numpy(float), frame["error"].to_numpy(float)
        lowest = min(question.target_loss, L.min()) * 0.97
        for key, x in (
            ("curve", np.linspace(one.L.min(), max(one.L.max(), L.max()), 120)),
            ("beyond", np.linspace(lowest, one.L.min(), 60)),
        ):  # fmt: skip
            low, high = percentile_interval(one.at(x, one.draws.theta), question.level)
            marks.append(
                Band(key=f"{name}/{key} band", x=x, low=np.clip(low, -0.5, 1.5), high=np.clip(high, -0.5, 1.5), hue=hue,
                     label=f"{level}, {one.draws.how}" if key == "curve" and single else "")
            )  # fmt: skip
            eps, k, gamma = one.parameters(one.fit.theta)
            said = f"{name + ': ' if name else ''}{eps:.3f} − {significant(float(k), 3)} exp(−{gamma:.3f} L)"
            marks.append(
                Line(key=f"{name}/{key}", x=x, y=one.at(x), hue=hue, width=2.0, label=said if key == "curve" else "",
                     dash="solid" if key == "curve" else "dashed")
            )  # fmt: skip
        for key, mask, hollow in (("fitted", seen, False), ("unseen", ~seen, True)):
            origin = Keys("run", tuple(frame["run"].to_numpy()[mask]))
            if not mask.any():
                continue
            marks.append(
                Points(key=f"{name}/{key}", x=L[mask], y=error[mask], hue=hue, size=6.0, hollow=hollow, origin=origin,
                       label="not fitted" if hollow and single else "")
            )  # fmt: skip
            residuals.append(
                Points(key=f"{name}/{key} residuals", x=L[mask], y=100 * (error[mask] - one.at(L[mask])), hue=hue, size=5.0,
                       hollow=hollow, origin=origin)
            )  # fmt: skip
        prefix = "" if single else f"{name}/"
        target = result.estimates[f"{prefix}target_error"]
        marks.append(
            Points(
                key=f"{name}/target", x=np.array([question.target_loss]), y=np.array([target.value]),
                low=np.array([target.low]), high=np.array([target.high]), hue=hue, symbol="star", size=12.0, hollow=True,
                label=f"target: {with_interval(target.value, target.low, target.high)}" if single else "",
            )
        )  # fmt: skip
    marks.append(Rule(key="target", axis="x", at=question.target_loss, option="target_loss"))
    x_axis = Axis(label=result.points.loss, column=result.points.loss)
    panels = (
        Panel(key="curve", x=x_axis, y=Axis(label=result.what), marks=tuple(marks), height=3.0),
        Panel(
            key="residuals", x=x_axis, y=Axis(label="residual (points)"), marks=tuple(residuals), legend=False,
            shares_x_with="curve",
        ),
    )  # fmt: skip
    subtitle = f"{counted(sum(len(one.L) for _, one in result.fits), 'run')} fitted, {level} bands"
    if len(result.forecasts):
        off = 100 * float(result.forecasts["relative_error"].abs().mean())
        subtitle += f"; {counted(len(result.forecasts), 'run')} forecast, off by {off:.2g} % of their error on average"
    return FigureSpec(
        title=f"{result.what} against {result.points.loss}", subtitle=subtitle, panels=panels,
        caption=f"{result.summary()} Dashed: extrapolation. {result.notes[0]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="scaling.loss-to-error",
    title="Validation loss to average error",
    asks="What does a given loss mean downstream?",
    question=LossToErrorQuestion,
    figure=figure,
    sources=("Gadre et al. (2024), Language models scale reliably with over-training and on downstream tasks",),
    definition="""\
$\\mathrm{Err} = \\varepsilon - k e^{-\\gamma L}$: exponential in the loss, a power law in the perplexity. Least squares
from a grid of $\\gamma$, at which $\\varepsilon$ and $k$ are linear. Unit: the run (below ten
runs a parametric bootstrap); the tasks are the same for every run. Runs that `fit_where` leaves out are forecast, from
their own loss or, with `law_where`, from that of an over-training law.

Traps: different training sets need different curves; over a range of losses below 0.3 nats $\\varepsilon$ is not determined.
Choose the tasks before looking at the answer.
""",
)
