"""``scaling.holdout``: would these laws have foretold the largest runs?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.store import RunStore
from ..chinchilla_law import FormName, fit_law
from ..overtraining_law import fit_overtraining
from ..power_fit import Objective, Powers, Term, fit_powers
from ..resampling import Interval, percentile_interval
from ..scaling_runs import FitQuestion, RunPoints

_NAMES: dict[str, str] = {
    "sum": "E + A/N^α + B/D^β", "coupled": "coupled", "no E": "no E", "one exponent": "one exponent",
    "compute": "E + A/C^α", "power": "A/C^α",
}  # fmt: skip
_FORMS: dict[str, FormName] = {"sum": "sum", "coupled": "coupled", "no E": "no E"}
_NEAREST, _MEDIAN = "nearest run", "median of laws"
_DRAWS_A_CUT = 300


@dataclass(frozen=True, kw_only=True)
class Backtest(Result):
    """Forecasts of runs beyond several cuts.

    Attributes
    ----------
    points : RunPoints
    forecasts : DataFrame
        cut, law, run, flops, actual, predicted, low, high, relative_error, extrapolation.
    cut : float
        The cut that is shown.
    """

    points: RunPoints
    forecasts: pd.DataFrame
    cut: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        shown = self.forecasts[self.forecasts["cut"] == self.cut]
        runs = shown["run"].nunique()
        factor = shown["extrapolation"].max()
        laws = [name.removesuffix("/error") for name in self.estimates if name.endswith("/error")]
        best = min(laws, key=lambda law: self.estimates[f"{law}/error"].value)
        error = self.estimates[f"{best}/error"]
        nearest = self.estimates[f"{_NEAREST}/error"].value
        return (
            f"Of {counted(runs, 'run')} beyond C = {significant(self.cut, 3)} (up to {significant(factor, 3)} times), "
            f"'{best}' is off by {with_interval(100 * error.value, 100 * error.low, 100 * error.high)} % on average; the "
            f"nearest run by {significant(100 * nearest, 2)} %."
        )


@dataclass(frozen=True, kw_only=True)
class HoldoutQuestion(FitQuestion):
    """Would this law have predicted the big run?"""

    needs: ClassVar = (Need("runs"),)

    laws: tuple[str, ...] = option(
        ("sum", "no E", "one exponent", "compute", "power"), help="of sum, coupled, no E, one exponent, compute, power"
    )
    cut_flops: float | None = option(
        None, help="runs up to this compute are fitted; a tenth of the largest if empty", unit="FLOPs", low=0
    )
    cuts: int = option(4, help="further cuts the error is drawn for", low=0, high=20)

    def resolved(self, store: RunStore) -> Self:
        """Fill in columns and the cut."""
        asked = super().resolved(store)
        if asked.cut_flops is None:
            asked = replace(asked, cut_flops=float(f"{asked.points(store).column('flops').max() / 10:.2e}"))
        return asked

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Backtest:
        """Fit every law to the runs up to each cut and forecast those beyond."""
        asked = self.resolved(store)
        assert asked.cut_flops is not None
        if unknown := [law for law in asked.laws if law not in _NAMES]:
            raise AnalysisError(f"There is no law {unknown[0]!r}.", remedy="Laws: " + ", ".join(_NAMES) + ".")
        everything = asked.points(store)
        points = everything.keeping(everything.frame["fitted"].to_numpy(bool))
        notes = list(points.notes)
        C = np.sort(points.column("flops"))
        further = np.exp(np.linspace(np.log(C[min(len(C) - 1, 10)]), np.log(C[-2]), asked.cuts + 2))[1:-1]
        parts = []
        every = [asked.cut_flops, *(float(cut) for cut in further)]
        for number, cut in enumerate(every):
            progress(number, len(every), "fitting")
            try:
                parts.append(_backtest(points, cut, asked, intervals=number == 0))
            except TooLittleData as error:
                if number == 0:
                    raise
                notes.append(f"Cut {cut:.3g} left out: needs {error.needs}; found {error.found}.")
        forecasts = pd.concat(parts, ignore_index=True)
        return Backtest(
            points=points,
            forecasts=forecasts,
            cut=asked.cut_flops,
            estimates=_estimates(forecasts, asked),
            tables={"errors": _errors(forecasts), "forecasts": forecasts},
            notes=(
                f"Each law is fitted to the runs of C up to a cut ({asked.objective} of log residuals) and forecasts those "
                f"beyond; error: mean of |predicted / actual − 1|; unit: the forecast run; intervals: {100 * asked.level:g} %, "
                f"bootstrap over forecast runs, {asked.draws} draws, seed {asked.seed}.",
                "Choose the law by its error, before looking at the target, not after: the least of several errors flatters.",
                *notes,
            ),
        )


def _backtest(points: RunPoints, cut: float, asked: HoldoutQuestion, *, intervals: bool) -> pd.DataFrame:
    N, D, L, C = (points.column(name) for name in ("params", "tokens", "loss", "flops"))
    seen = cut >= C
    if seen.all() or seen.sum() < 5:
        raise TooLittleData(
            needs="at least 5 runs up to the cut and one beyond", found=f"{int(seen.sum())} and {int((~seen).sum())}"
        )
    predictions: dict[str, np.ndarray] = {}
    bands: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for law in asked.laws:
        try:
            if law in _FORMS:
                fit = fit_law(
                    N[seen], D[seen], L[seen], form=_FORMS[law], objective=asked.minimised,
                    draws=_DRAWS_A_CUT if intervals else 0, seed=asked.seed,
                )  # fmt: skip
                predictions[law] = fit.law.loss(N[~seen], D[~seen])
                if intervals:
                    drawn = fit.drawn.column().loss(N[~seen], D[~seen])
                    scatter = np.random.default_rng(asked.seed).choice(fit.residuals, size=drawn.shape)
                    low, high = percentile_interval(drawn * np.exp(scatter), asked.level)
                    bands[law] = (np.asarray(low), np.asarray(high))
            elif law == "one exponent":
                over = fit_overtraining(6 * (N * D)[seen], (D / N)[seen], L[seen], objective=asked.minimised)
                predictions[law] = over.law.loss(6 * (N * D)[~seen], (D / N)[~seen])
            else:
                predictions[law] = _of_compute(C, L, seen, asked.minimised, offset=law == "compute")
        except TooLittleData:
            continue
    if not predictions:
        raise TooLittleData(needs="at least 10 runs up to the cut", found=str(int(seen.sum())))
    logs = np.log(np.stack([N, D]))
    distance = np.abs(logs[:, ~seen, None] - logs[:, None, seen]).sum(axis=0)
    if len(predictions) > 1:
        predictions[_MEDIAN] = np.median(np.stack(list(predictions.values())), axis=0)
    predictions[_NEAREST] = L[seen][distance.argmin(axis=1)]
    parts = []
    for law, predicted in predictions.items():
        low, high = bands.get(law, (np.full(len(predicted), np.nan), np.full(len(predicted), np.nan)))
        parts.append(
            pd.DataFrame(
                {
                    "cut": cut, "law": law, "run": points.frame["run"].to_numpy()[~seen], "flops": C[~seen],
                    "actual": L[~seen], "predicted": predicted, "low": low, "high": high,
                    "relative_error": predicted / L[~seen] - 1, "extrapolation": C[~seen] / C[seen].max(),
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _of_compute(C: np.ndarray, L: np.ndarray, seen: np.ndarray, objective: Objective, *, offset: bool) -> np.ndarray:
    """Forecast by the lower envelope's law: the best runs of their compute, E + A / C^alpha."""
    order = np.argsort(C[seen])
    best = np.minimum.accumulate(L[seen][order])
    on = np.flatnonzero(L[seen][order] <= best * (1 + 1e-12))
    known = order[on] if len(on) >= 5 else order
    logs = -np.log(C[seen][known])
    terms = [Term("A", (("alpha", logs),)), *([Term("E")] if offset else [])]
    powers = Powers(terms, len(known))
    found = fit_powers(powers, L[seen][known], objective=objective)
    theta = powers.outward(found.theta)
    E = np.exp(theta[1]) if offset else 0.0
    return np.asarray(E + np.exp(theta[0] - theta[-1] * np.log(C[~seen])))


def _errors(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Give for every cut and law the mean error, its sign, its largest, and how far it reaches."""
    rows = []
    for (cut, law), own in forecasts.groupby(["cut", "law"], sort=False):
        errors = own["relative_error"].to_numpy(float)
        rows.append(
            {
                "cut": cut, "law": law, "runs": len(errors), "mean_absolute_error": float(np.abs(errors).mean()),
                "mean_error": float(errors.mean()), "largest": float(np.abs(errors).max()),
                "extrapolation": float(own["extrapolation"].max()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _estimates(forecasts: pd.DataFrame, asked: HoldoutQuestion) -> dict[str, Estimate]:
    estimates = {}
    shown = forecasts[forecasts["cut"] == asked.cut_flops]
    for law, own in shown.groupby("law", sort=False):
        errors = own["relative_error"].to_numpy(float)
        low, high = Interval(np.nan, np.nan)
        if len(errors) >= 10:
            draws = np.random.default_rng(asked.seed).choice(np.abs(errors), size=(asked.draws, len(errors)))
            low, high = percentile_interval(draws.mean(axis=1), asked.level)
        why = f"{counted(len(errors), 'run')} forecast"
        estimates[f"{law}/error"] = Estimate(
            float(np.abs(errors).mean()), float(low), float(high), asked.level, "share of the loss", why
        )
        estimates[f"{law}/bias"] = Estimate(float(errors.mean()), unit="share of the loss", why_no_interval=why)
        if own["low"].notna().all():
            inside = own["actual"].between(own["low"], own["high"])
            estimates[f"{law}/coverage"] = Estimate(float(inside.mean()), unit="share", why_no_interval=why)
    estimates["cut_flops"] = Estimate(float(asked.cut_flops or 0), unit="FLOPs", why_no_interval="asked about")
    return estimates


def figure(question: HoldoutQuestion, result: Backtest) -> FigureSpec:
    """Draw the runs and the cut, forecasts against what came, and the error against how far a law reaches."""
    points = result.points
    C, L = points.column("flops"), points.column("loss")
    seen = result.cut >= C
    runs = points.frame["run"].to_numpy(str)
    first: list[Mark] = [
        Points(key="fitted", x=C[seen], y=L[seen], hue="muted", size=4.5, origin=Keys("run", tuple(runs[seen])),
               label="fitted"),
        Points(key="beyond", x=C[~seen], y=L[~seen], hue="ink", size=5.5, hollow=True, origin=Keys("run", tuple(runs[~seen])),
               label="forecast"),
        Rule(key="cut", axis="x", at=result.cut, option="cut_flops", label="cut"),
    ]  # fmt: skip
    parity: list[Mark] = [Rule(key="zero", axis="y", at=0.0)]
    reach: list[Mark] = []
    errors = result.tables["errors"]
    shown = result.forecasts[result.forecasts["cut"] == result.cut]
    for number, law in enumerate(shown["law"].unique()):
        hue = f"c{number}" if law not in (_NEAREST, _MEDIAN) else "muted" if law == _NEAREST else "ink"
        own = shown[shown["law"] == law]
        said = f"{_NAMES.get(law, law)}, {100 * float(own['relative_error'].abs().mean()):.2g} %"
        off = 100 * own["relative_error"].to_numpy(float)
        if law not in (_NEAREST, _MEDIAN):
            parity.append(
                Points(
                    key=str(law), x=own["extrapolation"].to_numpy(float), y=off, hue=hue, size=4.5, hollow=True, label=said,
                    origin=Keys("run", tuple(own["run"].to_numpy(str))),
                )
            )  # fmt: skip
        across = errors[errors["law"] == law].sort_values("extrapolation")
        reach.append(
            Line(
                key=f"{law} line", x=across["extrapolation"].to_numpy(float),
                y=100 * across["mean_absolute_error"].to_numpy(float), hue=hue, width=1.5, label=said,
                dash="dashed" if law in (_NEAREST, _MEDIAN) else "solid",
            )
        )  # fmt: skip
        reach.append(
            Points(key=f"{law} cuts", x=across["extrapolation"].to_numpy(float),
                   y=100 * across["mean_absolute_error"].to_numpy(float), hue=hue, size=5.0)
        )  # fmt: skip
    x_factor = Axis(label="compute over that of the fit (times)", scale="log", column="extrapolation")
    panels = (
        Panel(key="runs", x=Axis(label="compute (FLOPs)", scale="log", column="flops"), y=Axis(label=points.loss, scale="log"),
              marks=tuple(first), height=2.0),
        Panel(key="forecasts", x=x_factor, y=Axis(label="error of each forecast (%)"), marks=tuple(parity), legend=False),
        Panel(key="reach", x=x_factor, y=Axis(label="mean |error| by cut (%)", scale="log"), marks=tuple(reach), height=2.0),
    )  # fmt: skip
    return FigureSpec(
        title=f"Backtest of laws of {points.loss}", subtitle=result.summary(), panels=panels, columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="scaling.holdout",
    title="Extrapolation backtest",
    asks="Would this law have foretold the large runs?",
    question=HoldoutQuestion,
    figure=figure,
    sources=("Hestness et al. (2017)", "Gadre et al. (2024)", "Bhagia et al. (2024)"),
    definition="""\
Runs of compute up to a cut are fitted, those beyond are forecast: (predicted − actual) / actual. Laws: $E + A/N^\\alpha +
B/D^\\beta$, its coupled form, without $E$, with one exponent, and laws of compute alone on the lower envelope; baselines: the
nearest run in $(\\log N, \\log D)$ and the median of the laws. Intervals of single forecasts hold parameters and the scatter of
runs; their coverage is counted.

Traps: choosing the law after seeing the target. A finished run far above its forecast is probably not converged.
""",
)
