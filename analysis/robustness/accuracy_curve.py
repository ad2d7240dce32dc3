"""``groups.accuracy-curve``: whether accuracy on a minority keeps step with accuracy on the majority."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result
from ...models.store import RunStore
from ..resampling import bootstrap, percentile_interval, t_quantile
from ..two_sets import TwoSets, TwoSetsQuestion, two_sets

_LEAST = 5
_LEAST_MODELS = 8
"""Models from which on their bootstrap is worth showing."""
_GRID = 120
_MOST_HUES = 12
FITS = ("line", "parabola", "probit line")


@dataclass(frozen=True, kw_only=True)
class AccuracyCurve(Result):
    """Majority against minority accuracy, with three fits.

    Attributes
    ----------
    sets : TwoSets
        The points.
    known, shifted : str
        Names of the two sets.
    color : str
        Column that colours the points.
    level : float
        Coverage of the intervals.
    """

    sets: TwoSets
    known: str
    shifted: str
    color: str
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        curvature = e["curvature"]
        p = e["p_curvature"].value
        bend = "bends upwards" if curvature.value > 0 else "bends downwards"
        sure = "beyond doubt" if p < 0.01 else "perhaps" if p < 0.05 else "no more than chance allows"
        if curvature.has_interval:
            apart = curvature.low > 0 or curvature.high < 0
            sure = "and resampling models keeps its sign" if apart else "but resampling models changes its sign"
        moon = "; its turn lies in the range seen (a moon)" if e["moon"].value else ""
        best = FITS[int(np.argmin([e[f"aicc_{name.replace(' ', '_')}"].value for name in FITS]))]
        return (
            f"Over {int(e['n'].value):,} points, accuracy on {self.shifted} against {self.known} {bend}, {sure} "
            f"(F test p = {p:.2g}){moon}; the {best} has the lowest AICc."
        )


@dataclass(frozen=True, kw_only=True)
class AccuracyCurveQuestion(TwoSetsQuestion):
    """Does minority accuracy keep step with majority accuracy?"""

    color: str = option("model", help="column of the scores that colours the points", choices="columns of scores")
    from_step: float | None = option(None, help="least step or epoch of a point", unit="steps")

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> AccuracyCurve:
        """Fit a line, a parabola and a line between probits, and resample models."""
        asked = self.resolved(store)
        about = asked.color if asked.color not in ("", "model", "step", "seed", "epoch") else ""
        sets = two_sets(store, asked, checkpoints=True, about=about)
        points = sets.points
        if asked.from_step is not None and "step" in points.columns:
            keep = (points["step"] >= asked.from_step).to_numpy(bool)
            points = points[keep].reset_index(drop=True)
            clauses = tuple(one for one, kept in zip(sets.clauses, keep, strict=True) if kept)
            sets = TwoSets(points, sets.table, clauses, sets.notes)
        n = len(points)
        if n < _LEAST:
            raise TooLittleData(
                needs=f"at least {_LEAST} models or checkpoints with both sets", found=f"{n}",
                remedy="Open more checkpoints or models.",
            )  # fmt: skip
        x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)
        if np.ptp(x) == 0:
            raise TooLittleData(needs="points that differ on the known set", found="all alike")
        codes, models = pd.factorize(points["model"])
        fits = {name: fit(x, y, name) for name in FITS}
        f_value, p = curvature_test(x, y)
        grid = np.linspace(x.min(), x.max(), _GRID)
        drawn = None
        if len(models) >= _LEAST_MODELS:
            drawn = bootstrap(
                partial(_of_draws, x, y, codes, grid), len(models), draws=asked.draws, seed=asked.seed, engine=engine,
                progress=progress, block_size=100,
            )  # fmt: skip
        estimates = _estimates(x, y, fits, f_value, p, drawn, len(models), asked.level)
        curve = pd.DataFrame({"x": grid, **{name: predicted(name, fits[name], grid) for name in FITS}})
        if drawn is not None:
            low, high = percentile_interval(drawn[:, 4:], asked.level)
            curve = curve.assign(low=low, high=high)
        table = points.assign(
            residual_line=y - predicted("line", fits["line"], x),
            residual_parabola=y - predicted("parabola", fits["parabola"], x),
        ).rename(columns={"x": "known", "y": "shifted", "n_x": "n_known", "n_y": "n_shifted"})
        return AccuracyCurve(
            sets=sets,
            known=asked.known,
            shifted=asked.shifted,
            color=asked.color if asked.color in points.columns else "model",
            level=asked.level,
            estimates=estimates,
            tables={"fits": _fits_table(x, y, fits), "points": table, "curve": curve},
            notes=_notes(sets, asked, n, len(models)),
        )


def fit(x: np.ndarray, y: np.ndarray, name: str, weights: np.ndarray | None = None) -> np.ndarray:
    """Give least-squares coefficients of accuracies: of a line or parabola in x, lowest power first, or (a, b) of
    y = Phi(a + b Phi^-1(x)), whose squares are those of the accuracies too.
    """
    w = np.ones(len(x)) if weights is None else weights
    if name != "probit line":
        design = np.vander(x, 2 if name == "line" else 3, increasing=True)
        root = np.sqrt(w)
        found: np.ndarray = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        return found
    from scipy.optimize import least_squares
    from scipy.special import ndtr, ndtri

    inner = ndtri(np.clip(x, 1e-6, 1 - 1e-6))
    outer = ndtri(np.clip(y, 1e-6, 1 - 1e-6))
    start = np.linalg.lstsq(np.stack([np.ones(len(x)), inner], axis=1), outer, rcond=None)[0]

    def residuals(ab: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(w) * (ndtr(ab[0] + ab[1] * inner) - y))

    result = least_squares(residuals, start)
    solved: np.ndarray = result.x
    return solved


def predicted(name: str, coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Give what a fit of `fit` says at accuracies `x`."""
    if name != "probit line":
        return np.asarray(np.polynomial.polynomial.polyval(x, coefficients))
    from scipy.special import ndtr, ndtri

    return np.asarray(ndtr(coefficients[0] + coefficients[1] * ndtri(np.clip(x, 1e-6, 1 - 1e-6))))


def curvature_test(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Give F and p of the parabola against the line, with 1 and n - 3 degrees of freedom."""
    from scipy.special import fdtrc

    line, parabola = (float(np.sum((y - predicted(k, fit(x, y, k), x)) ** 2)) for k in ("line", "parabola"))
    df = len(x) - 3
    if df < 1 or len(np.unique(x)) < 3:
        return math.nan, math.nan
    if parabola <= 1e-12 * max(float(np.sum((y - y.mean()) ** 2)), 1e-300):
        # Residuals of rounding alone: a curve is certain where the line has more than that.
        return (math.inf, 0.0) if line > 1e6 * parabola and line > 1e-18 else (0.0, 1.0)
    value = (line - parabola) / (parabola / df)
    return value, float(fdtrc(1, df, max(value, 0.0)))


def aicc(x: np.ndarray, y: np.ndarray, name: str, coefficients: np.ndarray) -> float:
    """Give Akaike's criterion with the correction for small samples, of Gaussian residuals (Hurvich and Tsai 1989)."""
    n, k = len(x), len(coefficients) + 1
    rss = max(float(np.sum((y - predicted(name, coefficients, x)) ** 2)), 1e-300)
    return n * math.log(rss / n) + 2 * k + (2 * k * (k + 1) / (n - k - 1) if n > k + 1 else math.inf)


def _of_draws(x: np.ndarray, y: np.ndarray, codes: np.ndarray, grid: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give slope, mean gap, curvature, the place of the turn, and the parabola on the grid, of resampled models."""
    found = np.full((len(counts), 4 + len(grid)), np.nan)
    for draw, drawn in enumerate(counts):
        weights = drawn[codes].astype(float)
        if len(np.unique(x[weights > 0])) < 3:
            continue
        a, b, c = fit(x, y, "parabola", weights)
        found[draw, 0] = fit(x, y, "line", weights)[1]
        found[draw, 1] = weights @ (x - y) / weights.sum()
        found[draw, 2] = c
        found[draw, 3] = -b / (2 * c) if c else np.nan
        found[draw, 4:] = a + b * grid + c * grid**2
    return found


def _estimates(
    x: np.ndarray, y: np.ndarray, fits: dict[str, np.ndarray], f_value: float, p: float, drawn: np.ndarray | None,
    models: int, level: float,
) -> dict[str, Estimate]:  # fmt: skip
    few = f"{models} models; at least {_LEAST_MODELS} are needed to resample them"
    _, b, c = fits["parabola"].tolist()
    vertex = -b / (2 * c) if c else math.nan
    # A line has a turn by rounding alone: it counts where the test sees a curve.
    is_moon = bool(p < 0.05 and x.min() < vertex < x.max())
    estimates = {
        "n": Estimate(len(x), unit="points", why_no_interval="a count"),
        "slope": Estimate(float(fits["line"][1]), level=level, why_no_interval=few),
        "curvature": Estimate(float(c), level=level, unit="1 / accuracy", why_no_interval=few),
        "vertex": Estimate(vertex, level=level, unit="accuracy on the known set", why_no_interval=few),
        "moon": Estimate(float(is_moon), why_no_interval="1 where the turn lies in the range seen and p < 0.05"),
        "f_curvature": Estimate(f_value, why_no_interval="a test statistic"),
        "p_curvature": Estimate(p, why_no_interval="a p-value"),
        "mean_gap": Estimate(
            float(np.mean(x - y)), level=level, unit="accuracy", why_no_interval="points share models"
        ),
    }
    for name in FITS:
        key = f"aicc_{name.replace(' ', '_')}"
        estimates[key] = Estimate(aicc(x, y, name, fits[name]), why_no_interval="a criterion; only differences count")
    if drawn is not None:
        low, high = percentile_interval(drawn[:, :4], level)
        for place, name in enumerate(("slope", "mean_gap", "curvature", "vertex")):
            ends = float(np.asarray(low)[place]), float(np.asarray(high)[place])
            estimates[name] = Estimate(estimates[name].value, *ends, level, estimates[name].unit)
    elif models == len(x):
        residual = y - predicted("line", fits["line"], x)
        error = math.sqrt(float(residual @ residual) / (len(x) - 2) / float(np.sum((x - x.mean()) ** 2)))
        half = float(t_quantile(level, len(x) - 2)) * error
        slope = float(fits["line"][1])
        estimates["slope"] = Estimate(slope, slope - half, slope + half, level)
    return estimates


def _fits_table(x: np.ndarray, y: np.ndarray, fits: dict[str, np.ndarray]) -> pd.DataFrame:
    rows = []
    total = float(np.sum((y - y.mean()) ** 2))
    criteria = {name: aicc(x, y, name, fits[name]) for name in FITS}
    for name in FITS:
        rss = float(np.sum((y - predicted(name, fits[name], x)) ** 2))
        a, b, *rest = fits[name].tolist()
        rows.append(
            {
                "fit": name, "a": a, "b": b, "c": rest[0] if rest else math.nan,
                "r_squared": 1 - rss / total if total else math.nan, "rmse": math.sqrt(rss / len(x)),
                "aicc": criteria[name], "aicc_above_best": criteria[name] - min(criteria.values()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _notes(sets: TwoSets, asked: AccuracyCurveQuestion, n: int, models: int) -> tuple[str, ...]:
    notes = [
        f"Unit: the model, resampled with all its checkpoints and seeds; n = {n:,} points of {models:,} models. "
        + (
            f"Bands: {100 * asked.level:g} % percentile bootstrap, {asked.draws} draws, seed {asked.seed}."
            if models >= _LEAST_MODELS
            else f"No band below {_LEAST_MODELS} models."
        ),
        *sets.notes,
        "The F test takes points as independent; checkpoints of one model are not, so that its p is too small.",
        "AICc compares residuals of accuracies for all three fits. Mixing families of models can fill in or make a bend.",
    ]
    return tuple(notes)


def figure(question: AccuracyCurveQuestion, result: AccuracyCurve) -> FigureSpec:
    """Draw every point in the colour of its model, y = x, and the three fits."""
    points, curve = result.sets.points, result.tables["curve"]
    x, y = 100 * points["x"].to_numpy(float), 100 * points["y"].to_numpy(float)
    grid = 100 * curve["x"].to_numpy(float)
    marks: list[Mark] = [Rule(key="equal", axis="diagonal", label="y = x")]
    if "low" in curve.columns:
        low, high = 100 * curve["low"].to_numpy(float), 100 * curve["high"].to_numpy(float)
        marks.append(Band(key="band", x=grid, low=low, high=high, hue="ink", opacity=0.1))
    values = points[result.color].astype(str)
    codes, names = pd.factorize(values)
    several = 1 < len(names) <= _MOST_HUES
    for number, name in enumerate(names if several else ["points"]):
        which = np.flatnonzero(codes == number) if several else np.arange(len(points))
        marks.append(
            Points(
                key=f"points {name}", x=x[which], y=y[which], hue=f"c{number}", label=str(name) if several else "",
                size=4.5, opacity=0.75, origin=result.sets.origin(which),
                notes=tuple(f"{points['name'].iloc[i]}: {x[i]:.1f} %, {y[i]:.1f} %" for i in which),
            )
        )  # fmt: skip
    for name, dash, hue in (
        ("line", "dotted", "muted"),
        ("parabola", "solid", "ink"),
        ("probit line", "dashed", "muted"),
    ):
        marks.append(
            Line(
                key=name, x=grid, y=100 * curve[name].to_numpy(float), hue=hue, label=name, width=1.5,
                dash=dash,  # type: ignore[arg-type]
            )
        )  # fmt: skip
    span = float(y.max() - y.min())
    panel = Panel(
        key="points",
        x=Axis(label=f"{result.known} (%)"),
        y=Axis(label=f"{result.shifted} (%)", low=float(y.min()) - 0.05 * span, high=float(y.max()) + 0.05 * span),
        marks=tuple(marks),
        title=f"{result.shifted} against {result.known}",
    )
    band = f", band: {100 * result.level:g} % bootstrap over models" if "low" in curve.columns else ""
    return FigureSpec(
        title="Accuracy on the curve",
        subtitle=f"{len(points):,} points of {points['model'].nunique():,} models{band}",
        panels=(panel,),
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="groups.accuracy-curve",
    title="Accuracy on the curve",
    asks="Does minority accuracy keep step with majority accuracy?",
    question=AccuracyCurveQuestion,
    figure=figure,
    sources=(
        "Liang et al. (2023), Accuracy on the Curve: On the Nonlinear Correlation of ML Performance Between Data "
        "Subpopulations",
        "Hurvich and Tsai (1989): AICc",
    ),
    definition="""\
Over checkpoints and models: minority = a + b · majority + c · majority², against the line (c = 0) by an F test with 1 and
n − 3 degrees of freedom, and against Φ(a + b Φ⁻¹(majority)), fitted to the accuracies; AICc = n ln(RSS / n) + 2k +
2k(k + 1) / (n − k − 1) compares all three. The turn of the parabola is at −b / 2c; inside the range seen it makes a "moon".

Unit: the model, resampled with all its checkpoints. Traps: mixing families of models fills in the moon; a bend depends on the
axes (a line between probits bends between accuracies); checkpoints of one model are dependent, so that the p of the F test is
too small. """,
)
