"""``scaling.fit-recipe``: a law as one types it, fitted by the shared recipe, with all that tells whether to trust it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, FitFailed, RunglassError, TooLittleData
from ...models.figure import Axis, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.store import RunStore
from ..power_fit import Fit, Objective, draws_of, fit, identification, profile_interval
from ..resampling import percentile_interval
from ..scaling_runs import FitQuestion, RunPoints, values_of
from ..typed_form import TypedForm, names_in

_STARTS = 400
_COLUMNS = {"N": "params", "D": "tokens", "C": "flops"}
_EXPONENTS = ("alpha", "beta", "gamma", "delta", "eta", "kappa", "nu", "rho", "p", "q", "a", "b", "c", "k")


@dataclass(frozen=True, kw_only=True)
class Recipe(Result):
    """A fitted form.

    Attributes
    ----------
    points : RunPoints
        All runs; those of the fit have True in ``fitted``.
    fit : Fit
    predicted : ndarray, shape (runs,)
        For all runs.
    """

    points: RunPoints
    fit: Fit
    predicted: np.ndarray
    form: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = []
        for name in self.fit.names:
            estimate = self.estimates[name]
            said.append(f"{name} = {with_interval(estimate.value, estimate.low, estimate.high)}")
        text = f"{self.points.loss} = {self.form} with {', '.join(said)} ({counted(len(self.fit.residuals), 'run')})"
        if "held_out_absolute_error" in self.estimates:
            error = self.estimates["held_out_absolute_error"].value
            text += f"; held-out runs off by {significant(100 * error, 2)} %"
        return text + "."


@dataclass(frozen=True, kw_only=True)
class FitRecipeQuestion(FitQuestion):
    """How do two people fitting the same law get the same numbers?"""

    needs: ClassVar = (Need("runs"),)

    form: str = option(
        "E + A/N**alpha + B/D**beta",
        help="law of N, D, C, M = D/N or any numeric column; every other name is a parameter",
    )
    bounds: tuple[str, ...] = option((), help="bounds of parameters: alpha=0:2; a negative one lets it be negative")
    starts: tuple[str, ...] = option((), help="where to start besides the grid: alpha=0.3")
    hold_out: int | None = option(
        None, help="runs of most compute a second fit must forecast; a tenth if empty", unit="runs", low=0
    )

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Recipe:
        """Parse the form, fit it from many starts, refit it on resamples and without the largest runs."""
        asked = self.resolved(store)
        everything = asked.points(store)
        chosen = everything.frame["fitted"].to_numpy(bool)
        points = everything.keeping(chosen)
        variables = _variables(asked.form, store, everything)
        limits = {name: _range(text) for name, text in _assignments(asked.bounds, "--bounds").items()}
        seen = {name: values[chosen] for name, values in variables.items()}
        L = points.column("loss")
        form, found, spread = _fitted(asked, seen, L, limits)
        target = np.log(L)
        drawn = draws_of(form, target, found, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress)
        everywhere = TypedForm(asked.form, variables, _linear(limits))
        predicted = np.exp(everywhere.value(found.theta[None])[0][0])
        held = _held_out(asked, everything, variables, limits, predicted)
        jacobian = found.jacobian * np.where(form.positive, 1.0, form.outward(found.theta))
        design = identification(jacobian)
        profiles = {}
        for number, name in enumerate(form.names):
            progress(number, len(form.names), f"profile of {name}")
            ends = profile_interval(form, target, found, name, asked.level)
            profiles[name] = tuple(math.exp(end) if form.positive[number] else end for end in ends)
        estimates = {}
        values, draws = form.outward(found.theta), form.outward(drawn.theta)
        for number, name in enumerate(form.names):
            low, high = percentile_interval(draws[:, number], asked.level)
            estimates[name] = Estimate(
                float(values[number]), float(low), float(high), asked.level, "",
                f"{len(L)} runs for {len(form.names)} parameters",
            )  # fmt: skip
        n = len(L)
        estimates |= {
            "objective": Estimate(found.objective, why_no_interval=f"{asked.objective} at the optimum"),
            "aicc": Estimate(found.aicc, why_no_interval="compares forms on the same runs"),
            "condition": Estimate(design.condition, why_no_interval="a property of the design"),
            "n": Estimate(n, unit="runs", why_no_interval="a count"),
        }
        if len(held):
            errors = held["relative_error"].abs()
            why = f"{counted(len(held), 'run')} held out"
            estimates["held_out_absolute_error"] = Estimate(
                float(errors.mean()), unit="share of the loss", why_no_interval=why
            )
        notes = [
            f"{asked.objective} of log residuals, delta = {asked.delta:g}, sum; minimum {significant(found.objective, 6)}, "
            f"reached by {found.agreeing} of {found.started} starts; unit: the run, n = {n}; intervals: "
            f"{100 * asked.level:g} %, {drawn.how}, {asked.draws} draws, seed {asked.seed}.",
            f"Condition number of the Fisher information of the log parameters: {design.condition:.2g}; profile intervals "
            f"stand in the table; none for {_listed(profiles)}.",
            *([f"On a bound: {', '.join(found.bounds)}."] if found.bounds else []),
            *([f"Only {found.agreeing} of {found.started} starts reached the optimum: bound the parameters."]
              if found.agreeing < found.started / 20 else []),
            *everything.notes,
        ]  # fmt: skip
        return Recipe(
            points=everything, fit=found, predicted=predicted, form=asked.form, estimates=estimates,
            tables={
                "parameters": pd.DataFrame(
                    [{"parameter": name, "value": estimates[name].value, "low": estimates[name].low,
                      "high": estimates[name].high, "profile_low": profiles[name][0], "profile_high": profiles[name][1],
                      "spread_of_best_starts": float(spread[i])}
                     for i, name in enumerate(form.names)]
                ),
                "held_out": held,
                "fisher_spectrum": pd.DataFrame(
                    {"direction": np.arange(1, len(design.spectrum) + 1), "information": design.spectrum}
                ),
                "points": everything.frame.assign(predicted=predicted, residual=everything.column("loss") / predicted - 1),
            },
            notes=tuple(notes),
        )  # fmt: skip


def _listed(profiles: dict[str, tuple[float, ...]]) -> str:
    """Give the parameters whose profile does not rise on both sides."""
    return ", ".join(name for name, ends in profiles.items() if math.isnan(ends[0])) or "no parameter"


def _variables(text: str, store: RunStore, points: RunPoints) -> dict[str, np.ndarray]:
    """Give the values of the names of a form that are no parameters: N, D, C, M, and numeric columns of the runs."""
    frame = store.rows("runs")
    found = {}
    for name in names_in(text):
        if name in _COLUMNS:
            found[name] = points.column(_COLUMNS[name])
        elif name == "M":
            found[name] = points.column("tokens") / points.column("params")
        elif name in frame.columns and frame[name].dtype.kind in "fiu" and name not in ("seed",):
            values = values_of(store, frame, name)
            found[name] = points.frame["run"].map(dict(zip(frame["run"], values, strict=True))).to_numpy(float)
            if not np.isfinite(found[name]).all():
                raise AnalysisError(
                    f"Some runs have no {name!r}.", remedy=f"Keep those that have it: --where '{name} > 0'."
                )
    if not found:
        raise AnalysisError(f"{text!r} reads nothing of the runs.", remedy="Use N, D, C, M or a numeric column.")
    return found


def _assignments(texts: tuple[str, ...], what: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise RunglassError(f"{what} {text!r} is not NAME=VALUE.")
        found[name.strip()] = value.strip()
    return found


def _range(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise RunglassError(f"--bounds {text!r} is not LOW:HIGH.") from None
    if not colon or not ends[0] < ends[1]:
        raise RunglassError(f"--bounds {text!r} is not LOW:HIGH.")
    return ends


def _linear(limits: dict[str, tuple[float, float]]) -> list[str]:
    return [name for name, (low, _) in limits.items() if low < 0]


def _fitted(
    asked: FitRecipeQuestion, variables: dict[str, np.ndarray], L: np.ndarray, limits: dict[str, tuple[float, float]]
) -> tuple[TypedForm, Fit, np.ndarray]:
    """Fit from a spread of starts; give also how far the ten best starts are apart, by parameter."""
    form = TypedForm(asked.form, variables, _linear(limits))
    p = len(form.names)
    if unknown := [name for name in limits if name not in form.names]:
        raise RunglassError(
            f"{unknown[0]!r} is no parameter of the form.", remedy="Parameters: " + ", ".join(form.names) + "."
        )
    if not p:
        raise AnalysisError(f"{asked.form!r} has no parameter.")
    if len(L) < 2 * p:
        raise TooLittleData(needs=f"at least {2 * p} runs for {p} parameters", found=str(len(L)))
    low, high, first, last = (np.empty(p) for _ in range(4))
    least = float(L.min())
    for number, name in enumerate(form.names):
        exponent = name.rstrip("0123456789_") in _EXPONENTS
        wide = limits.get(name, (1e-3, 3.0) if exponent else (1e-12, 1e15))
        near = (0.05, 1.2) if exponent else (0.2 * least, 0.98 * least) if name.startswith("E") else (1.0, 1e5)
        near = (max(wide[0], near[0]), min(wide[1], near[1])) if wide[0] < near[1] and near[0] < wide[1] else wide
        if name in limits:
            near = wide if wide[1] < 100 * max(wide[0], 1e-3) or wide[0] < 0 else near
        if form.positive[number]:
            wide, near = ((math.log(max(a, 1e-12)), math.log(b)) for a, b in (wide, near))
        low[number], high[number], first[number], last[number] = *wide, *near
    generator = np.random.default_rng(asked.seed)
    # Latin squares: every parameter's range is covered evenly, however many there are.
    places = np.stack([generator.permutation(_STARTS) for _ in range(p)], axis=1) + generator.random((_STARTS, p))
    starts = first + (last - first) * places / _STARTS
    for name, text in _assignments(asked.starts, "--starts").items():
        if name not in form.names:
            raise RunglassError(
                f"{name!r} is no parameter of the form.", remedy="Parameters: " + ", ".join(form.names) + "."
            )
        number = form.names.index(name)
        try:
            starts[:20, number] = math.log(float(text)) if form.positive[number] else float(text)
        except ValueError:
            kind = "no positive number" if form.positive[number] else "no number"
            raise RunglassError(f"--starts {name}={text} is {kind}.") from None
    value, _ = form.value(starts)
    costs = np.abs(value - np.log(L)).mean(axis=1)
    usable = np.isfinite(costs)
    if not usable.any():
        raise FitFailed(
            f"{asked.form!r} is not positive and finite at any start.", remedy="Give bounds of its parameters."
        )
    best = np.argsort(np.where(usable, costs, np.inf), kind="stable")[: min(60, int(usable.sum()))]
    objective = Objective(asked.objective, asked.delta)
    found = fit(form, np.log(L), objective=objective, starts=starts[best], low=low, high=high)
    near_best = form.outward(starts[best[:10]])
    return form, found, near_best.std(axis=0)


def _held_out(
    asked: FitRecipeQuestion, points: RunPoints, variables: dict[str, np.ndarray],
    limits: dict[str, tuple[float, float]], predicted: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    """Forecast the runs left out of the fit, or those of most compute by a fit without them."""
    fitted = points.frame["fitted"].to_numpy(bool)
    C, L = points.column("flops"), points.column("loss")
    if not fitted.all():
        unseen, forecast = ~fitted, predicted
    else:
        count = asked.hold_out if asked.hold_out is not None else max(1, round(len(L) / 10))
        unseen = np.zeros(len(L), dtype=bool)
        unseen[np.argsort(C, kind="stable")[len(L) - count :]] = count > 0
        try:
            _, found, _ = _fitted(
                asked, {name: values[~unseen] for name, values in variables.items()}, L[~unseen], limits
            )
        except (TooLittleData, FitFailed):
            unseen[:] = False
            forecast = predicted
        else:
            forecast = np.exp(TypedForm(asked.form, variables, _linear(limits)).value(found.theta[None])[0][0])
    return pd.DataFrame(
        {
            "run": points.frame["run"].to_numpy()[unseen], "flops": C[unseen], "actual": L[unseen],
            "predicted": forecast[unseen], "relative_error": forecast[unseen] / L[unseen] - 1,
        }
    )  # fmt: skip


def figure(question: FitRecipeQuestion, result: Recipe) -> FigureSpec:
    """Draw observed against predicted, and residuals against N, D and C."""
    points = result.points
    L, runs = points.column("loss"), points.frame["run"].to_numpy(str)
    fitted = points.frame["fitted"].to_numpy(bool)
    first: list[Mark] = [Rule(key="equal", axis="diagonal")]
    for key, mask, hollow in (("fitted", fitted, False), ("not fitted", ~fitted, True)):
        if mask.any():
            first.append(
                Points(key=key, x=result.predicted[mask], y=L[mask], hue="c0", size=5.0, hollow=hollow, label=key,
                       origin=Keys("run", tuple(runs[mask])))
            )  # fmt: skip
    held = result.tables["held_out"]
    if len(held):
        first.append(
            Points(key="held out", x=held["predicted"].to_numpy(float), y=held["actual"].to_numpy(float), hue="ink", size=7.0,
                   symbol="diamond", hollow=True, label="forecast without them", origin=Keys("run", tuple(held["run"])))
        )  # fmt: skip
    panels = [
        Panel(key="parity", x=Axis(label=f"predicted {points.loss}", scale="log"), y=Axis(label=points.loss, scale="log"),
              marks=tuple(first), square=True)
    ]  # fmt: skip
    residual = 100 * (L / result.predicted - 1)
    for name, label in (("params", "parameters N"), ("tokens", "tokens D"), ("flops", "compute C (FLOPs)")):
        x = points.column(name)
        order = np.argsort(x)
        window = max(len(x) // 8, 3)
        middle = pd.Series(residual[order]).rolling(window, center=True, min_periods=2).median().to_numpy(float)
        panels.append(
            Panel(
                key=name, x=Axis(label=label, scale="log", column=name), y=Axis(label="residual (%)"), legend=False,
                marks=(
                    Rule(key="zero", axis="y", at=0.0),
                    Points(key="residuals", x=x, y=residual, hue="c0", size=4.0, opacity=0.7, origin=Keys("run", tuple(runs))),
                    Line(key="trend", x=x[order], y=middle, hue="accent", width=1.5),
                ),
            )
        )  # fmt: skip
    return FigureSpec(
        title=f"{points.loss} = {result.form}", subtitle=result.summary(), panels=tuple(panels), columns=2,
        caption=f"{result.summary()} Lines: running medians. {result.notes[0]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="scaling.fit-recipe",
    title="A law of one's own",
    asks="How well does this law, as I type it, fit the runs?",
    question=FitRecipeQuestion,
    figure=figure,
    sources=("Hoffmann et al. (2022); Bhagia et al. (2024): the recipe",),
    definition="""\
The form is parsed, never evaluated as code, and differentiated by the forward mode. Positive parameters move in their
logarithms. Minimised is the *sum* of Huber's loss of log residuals (or squares, or its likelihood), from the best 60 of 400
starts spread over a Latin square, polished. Unit: the run. Choose between forms by held-out error first, AICc second.

Traps: the mean of tiny Huber terms lets default tolerances stop early; sixty random starts on a small ladder can forecast
anything: look at how many agree.
""",
)
