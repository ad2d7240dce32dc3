"""``robust.effective``: whether a model does better on a shifted set than its score on the known one predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result
from ...models.store import RunStore
from ..rank_correlation import correlation_intervals, kendall_matrix, why_no_interval
from ..resampling import DrawBlock, draw_blocks, percentile_interval, t_interval, wilson
from ..two_sets import TwoSets, TwoSetsQuestion, two_sets

Axes = Literal["probit", "logit", "linear"]

_LEAST = 3
_LEAST_FOR_BAND = 8
_GRID = 100
_MOST_HUES = 12


@dataclass(frozen=True, kw_only=True)
class EffectiveRobustness(Result):
    """The line of the baselines, and how far each model lies above it.

    Attributes
    ----------
    sets : TwoSets
        The points, one a model.
    known, shifted : str
        Names of the two sets.
    is_baseline : ndarray of bool, shape (models,)
        Which models the line is fitted to.
    family : str
        Column of the families; empty where there are none.
    level : float
        Coverage of the intervals.
    """

    sets: TwoSets
    known: str
    shifted: str
    is_baseline: np.ndarray
    family: str
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        table = self.tables["models"]
        others = table[~table["baseline"]]
        best = (others if len(others) else table).sort_values("rho", ascending=False).iloc[0]
        known = math.isfinite(best["rho_low"])
        interval = f" [{100 * best['rho_low']:.1f}, {100 * best['rho_high']:.1f}]" if known else ""
        return (
            f"Models lose {100 * e['mean_drop'].value:.1f} points on average from {self.known} to {self.shifted} "
            f"(tau-b of the two orders {e['tau_b'].value:.2f}); {best['name']} lies {100 * best['rho']:+.1f} points{interval} "
            f"off what its score on {self.known} predicts."
        )


@dataclass(frozen=True, kw_only=True)
class EffectiveQuestion(TwoSetsQuestion):
    """Does a model do better on the shifted set than its score on the known one predicts?"""

    axes: Literal["probit", "logit", "linear"] = option("probit", help="scale on which accuracies fall on a line")
    fit: Literal["least squares", "noise in x"] = option(
        "least squares", help="'noise in x' undoes how the sampling error of the known set flattens the slope"
    )
    interventions: tuple[str, ...] = option(
        (), help="models that are judged by the line and do not shape it; none if empty",
        choices="scores.model|predictions.version|predictions.model",
    )  # fmt: skip
    family: str = option(
        "", help="column of families of models, which colours them and is resampled whole",
        choices="columns of scores|columns of predictions",
    )  # fmt: skip

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> EffectiveRobustness:
        """Fit the line of the baselines, and redraw both test sets and the baselines."""
        asked = self.resolved(store)
        sets = two_sets(store, asked, checkpoints=False, about=asked.family)
        points = sets.points
        unknown = [name for name in asked.interventions if name not in set(points["model"])]
        if unknown:
            raise AnalysisError(
                f"No model is called {unknown[0]!r}.", remedy="There are: " + ", ".join(points["model"][:12]) + "."
            )
        base = ~points["model"].isin(asked.interventions).to_numpy(bool)
        if base.sum() < _LEAST:
            raise TooLittleData(needs=f"at least {_LEAST} baselines with both sets", found=f"{int(base.sum())}")
        x, y, n_x, n_y = (points[name].to_numpy(float) for name in ("x", "y", "n_x", "n_y"))
        if np.ptp(x[base]) == 0:
            raise TooLittleData(needs="baselines that differ on the known set", found="all alike")
        line = Line2.of(x, y, n_x, n_y, base.astype(float), asked.axes, asked.fit)
        enough = int(base.sum()) >= _LEAST_FOR_BAND
        units = pd.factorize(points[asked.family].astype(str))[0] if asked.family else np.arange(len(points))
        grid = np.linspace(x.min(), x.max(), _GRID)
        draws = np.concatenate(
            engine.map(
                partial(_of_draws, (x, y, n_x, n_y), base, units, grid, asked.axes, asked.fit, enough),
                draw_blocks(asked.draws, asked.seed),
                progress,
            )
        )
        low, high = (np.asarray(end) for end in percentile_interval(draws, asked.level))
        table = _models(points, line, base, low[2 : 2 + len(x)], high[2 : 2 + len(x)], asked)
        curve = pd.DataFrame({"x": grid, "predicted": line.at(grid)})
        if enough:
            curve = curve.assign(low=low[2 + len(x) :], high=high[2 + len(x) :])
        return EffectiveRobustness(
            sets=sets,
            known=asked.known,
            shifted=asked.shifted,
            is_baseline=base,
            family=asked.family,
            level=asked.level,
            estimates=_estimates(points, line, table, base, low, high, enough, asked, engine),
            tables={"models": table, "line": curve},
            notes=_notes(sets, asked, base, n_x, n_y, line, enough),
        )


@dataclass(frozen=True, slots=True)
class Line2:
    """A line between accuracies on a scale: scale(y) = intercept + slope * scale(x).

    Attributes
    ----------
    reliability : float
        Share of the variance of the known set that is not sampling noise.
    """

    intercept: float
    slope: float
    axes: Axes
    reliability: float

    @classmethod
    def of(
        cls, x: np.ndarray, y: np.ndarray, n_x: np.ndarray, n_y: np.ndarray, weights: np.ndarray, axes: Axes, fit: str
    ) -> Line2:
        """Fit by least squares with weights; with noise in x, the slope over the reliability (Fuller 1987, ch. 1)."""
        to_x, to_y = scaled(x, n_x, axes), scaled(y, n_y, axes)
        w = weights / weights.sum()
        mean_x, mean_y = float(w @ to_x), float(w @ to_y)
        variance = float(w @ (to_x - mean_x) ** 2)
        slope = float(w @ ((to_x - mean_x) * (to_y - mean_y))) / variance if variance > 0 else math.nan
        noise = float(w @ np.nan_to_num(noise_variance(x, n_x, axes)))
        reliability = 1 - noise / variance if variance > 0 else math.nan
        if fit == "noise in x" and reliability > 0.1:
            slope /= reliability
        return cls(mean_y - slope * mean_x, slope, axes, reliability)

    def at(self, x: np.ndarray, n: np.ndarray | None = None) -> np.ndarray:
        """Give the accuracy predicted for accuracies on the known set."""
        sizes = np.full(len(x), np.nan) if n is None else n
        return unscaled(self.intercept + self.slope * scaled(x, sizes, self.axes), self.axes)


def scaled(p: np.ndarray, n: np.ndarray, axes: Axes) -> np.ndarray:
    """Give accuracies on a scale.

    With n items known, probit and logit are of (np + 1/2) / (n + 1), which is finite at 0 and 1; without, accuracies are kept
    within 0.001 of them.
    """
    if axes == "linear":
        return np.asarray(p, float)
    from scipy.special import logit, ndtri

    inside = np.where(np.isfinite(n), (n * p + 0.5) / (n + 1), np.clip(p, 0.001, 0.999))
    return np.asarray(ndtri(inside) if axes == "probit" else logit(inside))


def unscaled(z: np.ndarray, axes: Axes) -> np.ndarray:
    """Give accuracies from values on a scale."""
    from scipy.special import expit, ndtr

    if axes == "linear":
        return np.asarray(z)
    return np.asarray(ndtr(z) if axes == "probit" else expit(z))


def noise_variance(p: np.ndarray, n: np.ndarray, axes: Axes) -> np.ndarray:
    """Give the variance of the sampling error of accuracies on a scale (delta method); NaN where n is not known."""
    inside = np.where(np.isfinite(n), (n * p + 0.5) / (n + 1), p)
    variance = inside * (1 - inside) / n
    if axes == "linear":
        return np.asarray(variance)
    if axes == "logit":
        return np.asarray(variance / (inside * (1 - inside)) ** 2)
    from scipy.special import ndtri

    density = np.exp(-(ndtri(inside) ** 2) / 2) / math.sqrt(2 * math.pi)
    return np.asarray(variance / density**2)


def _of_draws(
    data: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], base: np.ndarray, units: np.ndarray, grid: np.ndarray,
    axes: Axes, fit: str, enough: bool, block: DrawBlock,
) -> np.ndarray:  # fmt: skip
    """Give slope, intercept, rho of each model and the line on the grid, of redrawn test sets and baselines."""
    x, y, n_x, n_y = data
    generator = block.generator()
    number = int(units.max()) + 1
    own = np.flatnonzero(np.bincount(units[base], minlength=number))
    found = np.full((block.draws, 2 + len(x) + len(grid)), np.nan)
    for draw in range(block.draws):
        new_x, new_y = _redrawn(x, n_x, generator), _redrawn(y, n_y, generator)
        weights = base.astype(float)
        if enough:
            counts = np.zeros(number)
            np.add.at(counts, generator.choice(own, len(own)), 1.0)
            weights = weights * counts[units]
        if np.ptp(new_x[weights > 0]) == 0:
            continue
        line = Line2.of(new_x, new_y, n_x, n_y, weights, axes, fit)
        found[draw] = np.concatenate([[line.slope, line.intercept], new_y - line.at(new_x, n_x), line.at(grid)])
    return found


def _redrawn(p: np.ndarray, n: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    known = np.isfinite(n) & (n >= 1)
    sizes = np.where(known, np.round(np.nan_to_num(n)), 1).astype(np.int64)
    return np.where(known, generator.binomial(sizes, np.clip(p, 0, 1)) / sizes, p)


def _models(
    points: pd.DataFrame, line: Line2, base: np.ndarray, low: np.ndarray, high: np.ndarray, asked: EffectiveQuestion
) -> pd.DataFrame:
    x, y, n_x, n_y = (points[name].to_numpy(float) for name in ("x", "y", "n_x", "n_y"))
    predicted = line.at(x, n_x)
    known = np.isfinite(n_x) & np.isfinite(n_y)
    if base.sum() < _LEAST_FOR_BAND:
        low, high = np.where(known, low, np.nan), np.where(known, high, np.nan)
    low_x, high_x = wilson(x * n_x, n_x, asked.level)
    low_y, high_y = wilson(y * n_y, n_y, asked.level)
    rank_x, rank_y = (pd.Series(-part).rank(method="average").to_numpy(float) for part in (x, y))
    table = pd.DataFrame(
        {
            "name": points["name"], "known": x, "known_low": low_x, "known_high": high_x, "shifted": y,
            "shifted_low": low_y, "shifted_high": high_y, "predicted": predicted, "rho": y - predicted, "rho_low": low,
            "rho_high": high, "rank_known": rank_x, "rank_shifted": rank_y, "rank_shift": rank_y - rank_x,
            "baseline": base, "extrapolated": (x < x[base].min()) | (x > x[base].max()), "n_known": n_x, "n_shifted": n_y,
        }
    )  # fmt: skip
    return table if not asked.family else table.assign(family=points[asked.family].astype(str))


def _estimates(
    points: pd.DataFrame, line: Line2, table: pd.DataFrame, base: np.ndarray, low: np.ndarray, high: np.ndarray,
    enough: bool, asked: EffectiveQuestion, engine: Engine,
) -> dict[str, Estimate]:  # fmt: skip
    x, y, n_x, n_y = (points[name].to_numpy(float) for name in ("x", "y", "n_x", "n_y"))
    few = f"{int(base.sum())} baselines; at least {_LEAST_FOR_BAND} are needed to resample them"
    ends = [(float(low[i]), float(high[i])) if enough else (math.nan, math.nan) for i in range(2)]
    to_x, to_y = scaled(x, n_x, asked.axes)[base], scaled(y, n_y, asked.axes)[base]
    columns = np.stack([x, y], axis=1)
    tau = float(kendall_matrix(columns)[0, 1])

    def of_objects(counts: np.ndarray) -> np.ndarray:
        found = [
            [kendall_matrix(np.repeat(columns, row, axis=0))[0, 1], float(row @ (x - y)) / row.sum()] for row in counts
        ]
        return np.array(found)

    tau_low, tau_high = correlation_intervals(
        of_objects, len(x), asked.level, draws=min(asked.draws, 400), seed=asked.seed, engine=LOCAL
    )
    drop = float(np.mean(x - y))
    drop_low, drop_high = t_interval(x - y, asked.level)
    why = "" if enough else few
    estimates = {
        "n": Estimate(len(points), unit="models", why_no_interval="a count"),
        "slope": Estimate(line.slope, *ends[0], asked.level, f"on {asked.axes} axes", why),
        "intercept": Estimate(line.intercept, *ends[1], asked.level, f"on {asked.axes} axes", why),
        "r_squared": Estimate(float(np.corrcoef(to_x, to_y)[0, 1] ** 2), why_no_interval="see the interval of the slope"),
        "reliability": Estimate(line.reliability, unit="of the variance", why_no_interval="from the sizes of the sets"),
        "mean_drop": Estimate(drop, float(drop_low), float(drop_high), asked.level, "accuracy"),
        "tau_b": Estimate(
            tau, float(np.asarray(tau_low)[0]), float(np.asarray(tau_high)[0]), asked.level, "", why_no_interval(len(x), tau)
        ),
        "p_quadratic": Estimate(_p_quadratic(to_x, to_y), why_no_interval="a p-value"),
    }  # fmt: skip
    judged = table[~table["baseline"]]
    rhos = (judged[name].to_numpy(float) for name in ("rho", "rho_low", "rho_high"))
    for name, rho, rho_low, rho_high in zip(judged["name"], *rhos, strict=True):
        estimates[f"{name}/rho"] = Estimate(
            rho,
            rho_low,
            rho_high,
            asked.level,
            "accuracy",
            "the sizes of the sets are not known, and there are few baselines",
        )
    return estimates


def _p_quadratic(x: np.ndarray, y: np.ndarray) -> float:
    """Give the two-sided p of the quadratic term beside a line (t test)."""
    from scipy.special import stdtr

    df = len(x) - 3
    if df < 1 or len(np.unique(x)) < 3:
        return math.nan
    design = np.vander(x - x.mean(), 3)
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    residual = y - design @ coefficients
    error = math.sqrt(float(residual @ residual) / df * float(np.linalg.inv(design.T @ design)[0, 0]))
    return 2 * float(stdtr(df, -abs(float(coefficients[0])) / error)) if error > 0 else math.nan


def _notes(
    sets: TwoSets,
    asked: EffectiveQuestion,
    base: np.ndarray,
    n_x: np.ndarray,
    n_y: np.ndarray,
    line: Line2,
    enough: bool,
) -> tuple[str, ...]:
    unit = f"the {asked.family} (family)" if asked.family else "the baseline model"
    sized = bool(np.isfinite(n_x).all() and np.isfinite(n_y).all())
    redrawn = "both test sets redrawn (binomial) and " if sized else "the sizes of the sets are not known; "
    notes = [
        f"Unit: {unit}; n = {int(base.sum())} baselines of {len(base)} models. Intervals: {100 * asked.level:g} % percentile "
        f"bootstrap, {redrawn}{'baselines resampled and the line refitted' if enough else 'the line refitted'}, {asked.draws} "
        f"draws, seed {asked.seed}.",
        f"Axes: {asked.axes}; fit: {asked.fit}. rho depends on both and on the baselines.",
        *sets.notes,
    ]
    if not enough:
        notes.append(f"Fewer than {_LEAST_FOR_BAND} baselines: no band, and rho has only the noise of the test sets.")
    if not asked.interventions:
        notes.append(
            "All models are baselines: rho averages about 0 by construction. Name those to be judged (interventions)."
        )
    if asked.fit == "noise in x" and not line.reliability > 0.1:
        notes.append("The spread of the known set is mostly noise: the slope is that of least squares.")
    if asked.fit == "noise in x" and not np.isfinite(n_x).all():
        notes.append("Where the size of the known set is not known, its noise counts as none.")
    return tuple(notes)


def figure(question: EffectiveQuestion, result: EffectiveRobustness) -> FigureSpec:
    """Draw the models with the line of the baselines and its band, and below how far each lies off it."""
    table, curve = result.tables["models"], result.tables["line"]
    grid = 100 * curve["x"].to_numpy(float)
    base = result.is_baseline
    inside = (grid >= 100 * table["known"][base].min() - 1e-9) & (grid <= 100 * table["known"][base].max() + 1e-9)
    marks: list[Mark] = [Rule(key="equal", axis="diagonal", label="y = x", dash="dotted")]
    if "low" in curve.columns:
        low, high = (100 * curve[name].to_numpy(float) for name in ("low", "high"))
        marks.append(Band(key="band", x=grid, low=low, high=high, hue="ink", opacity=0.1))
    predicted = 100 * curve["predicted"].to_numpy(float)
    line = np.where(inside, predicted, np.nan)
    marks.append(Line(key="line", x=grid, y=line, hue="ink", width=1.6, label=f"baselines ({question.axes})"))
    if (~inside).any():
        touched = np.convolve(~inside, np.ones(3), "same") > 0  # so that the dashes begin where the line ends
        beyond = np.where(touched, predicted, np.nan)
        marks.append(
            Line(key="beyond", x=grid, y=beyond, hue="ink", width=1.2, dash="dashed", label="beyond the baselines")
        )
    strips: list[Mark] = [Rule(key="zero", axis="y", at=0.0, hue="line", dash="solid")]
    values = table["family"] if result.family else pd.Series(np.where(base, "baselines", "interventions"))
    codes, names = pd.factorize(values)
    if len(names) > _MOST_HUES:
        codes, names = np.zeros(len(table), dtype=int), pd.Index(["models"])
    for number, name in enumerate(names):
        for judged in (False, True):
            which = np.flatnonzero((codes == number) & (base != judged))
            if not len(which):
                continue
            marks += _points(table, which, "known", "shifted", f"c{number}", str(name), judged, result)
            strips += _points(table, which, "known", "rho", f"c{number}", "", judged, result)
    x_axis = Axis(label=f"{result.known} (%)", column="known")
    ends = [mark_ends(mark) for mark in marks if isinstance(mark, Points)]
    low_y, high_y = min(end[0] for end in ends), max(end[1] for end in ends)
    room = 0.05 * max(high_y - low_y, 1.0)
    if grid[-1] < low_y - room or grid[0] > high_y + room:
        marks = marks[1:]  # y = x lies outside
    top = Panel(
        key="line", x=x_axis,
        y=Axis(label=f"{result.shifted} (%)", low=low_y - room, high=high_y + room),
        marks=tuple(marks), title=f"{result.shifted} against {result.known}", height=1.8,
    )  # fmt: skip
    strip = Panel(
        key="rho", x=x_axis, y=Axis(label="ρ (points)"), marks=tuple(strips), title="Effective robustness", legend=False,
        shares_x_with="line",
    )  # fmt: skip
    band = f", band: {100 * result.level:g} % bootstrap" if "low" in curve.columns else ""
    return FigureSpec(
        title="Effective robustness",
        subtitle=f"{len(table)} models, {int(base.sum())} baselines{band}",
        panels=(top, strip),
        caption=f"{result.summary()} {result.notes[0]}",
    )


def mark_ends(mark: Points) -> tuple[float, float]:
    """Give the lowest and highest place that points and their error bars reach."""
    low = mark.y if mark.low is None else mark.low
    high = mark.y if mark.high is None else mark.high
    return float(np.min(low)), float(np.max(high))


def _points(
    table: pd.DataFrame,
    which: np.ndarray,
    x: str,
    y: str,
    hue: str,
    label: str,
    judged: bool,
    result: EffectiveRobustness,
) -> list[Mark]:
    part = table.iloc[which]
    at, value, low, high = (100 * part[name].to_numpy(float) for name in (x, y, f"{y}_low", f"{y}_high"))
    known = np.isfinite(low) & np.isfinite(high)
    rho_low, rho_high = part["rho_low"].to_numpy(float), part["rho_high"].to_numpy(float)
    said = [
        f" [{100 * a:.1f}, {100 * b:.1f}]" if math.isfinite(a) else "" for a, b in zip(rho_low, rho_high, strict=True)
    ]
    notes = tuple(
        f"{name}: {100 * k:.1f} %, {100 * s:.1f} %, ρ {100 * r:+.1f}{words}" + (" (extrapolated)" if far else "")
        for name, k, s, r, words, far in zip(
            part["name"], part["known"], part["shifted"], part["rho"], said, part["extrapolated"], strict=True
        )
    )
    return [
        Points(
            key=f"{y} {label or hue} {judged}", x=at, y=value, hue=hue, label=label, size=7.0 if judged else 5.0,
            symbol="star" if judged else "circle", low=np.where(known, low, value), high=np.where(known, high, value),
            origin=result.sets.origin(which), notes=notes,
        )
    ]  # fmt: skip


ANALYSIS = Analysis(
    id="robust.effective",
    title="Effective robustness",
    asks="Does a model do better on the shifted set than its score on the known one predicts?",
    question=EffectiveQuestion,
    figure=figure,
    sources=(
        "Recht et al. (2019), Do ImageNet Classifiers Generalize to ImageNet?",
        "Taori et al. (2020), Measuring Robustness to Natural Distribution Shifts in Image Classification",
        "Miller et al. (2020), The Effect of Natural Distribution Shift on Question Answering Models",
        "Wang et al. (2024), Do CLIPs Always Generalize Better than ImageNet Models?",
        "Fuller (1987), Measurement Error Models, chapter 1: noise in x",
    ),
    definition="""\
On linear, logit or probit axes (Φ⁻¹((c + ½) / (n + 1))) the baselines give the line shifted' = a + b · known'. Effective
robustness ρ = shifted − back-transform(a + b · known'). Baselines are all models that are not named as interventions. 'noise in
x' divides the slope by the reliability 1 − mean sampling variance / variance of known', because noise in x flattens least
squares. The mean drop has Student's t interval over models, tau-b compares the two orders, and the quadratic term (t test on
the chosen axes) tells a top that bends down, as adaptive overfitting would make it.

Unit: baselines (or their families) are resampled and the line refitted, with both test sets redrawn from their binomials.
Crosses: Wilson. Below 8 baselines there is no band. Where seeds are averaged, the size of the set is that of one seed. Traps: ρ
depends on the axes and on the baselines; outside their range it is an extrapolation, drawn dashed. """,
)
