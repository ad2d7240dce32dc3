"""``scaling.isoflop``: for each budget of compute the best size, and how the best sizes grow with compute."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import All, Between, Clause, is_in
from ...models.store import RunStore
from ..resampling import DRAWS, bootstrap, percentile_interval
from ..scaling_runs import RunsQuestion, short

_SIZES, _BUDGETS, _FEW_BUDGETS = 4, 3, 10
_NEAREST = 5
_SAME_BUDGET = 1.05
"""Runs whose compute differs by less than this factor have one budget."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The runs of one budget and the best size among them.

    Attributes
    ----------
    flops : float
        Geometric mean of their compute.
    points : DataFrame
        Columns run, params, tokens, flops, loss.
    vertex : tuple of float
        N, D and loss at the least loss; NaN where there is none.
    curve : tuple of ndarray
        N and loss of the fitted profile.
    spread : float
        Standard deviation of log N at the vertex.
    dropped : str
        Why it is in no power law; empty where it is in it.
    """

    flops: float
    points: pd.DataFrame
    vertex: tuple[float, float, float]
    curve: tuple[np.ndarray, np.ndarray]
    spread: float
    dropped: str


@dataclass(frozen=True, slots=True)
class Growth:
    """Power laws of the best N and D in compute, N* = coefficient C^exponent.

    Attributes
    ----------
    variant : str
    budgets : tuple of Budget
    params, tokens : tuple of float
        Exponent and logarithm of the coefficient.
    draws : ndarray, shape (draws, 4)
        Those of N, then those of D, of every resample.
    unit : str
        How the draws were made.
    """

    variant: str
    budgets: tuple[Budget, ...]
    params: tuple[float, float]
    tokens: tuple[float, float]
    draws: np.ndarray
    unit: str

    @property
    def used(self) -> tuple[Budget, ...]:
        """Budgets that are in the power law."""
        return tuple(budget for budget in self.budgets if not budget.dropped)


@dataclass(frozen=True, kw_only=True)
class IsoflopProfiles(Result):
    """Best sizes by budget, and their growth.

    Attributes
    ----------
    growths : tuple of Growth
        One a variant.
    loss : str
        What the loss is.
    """

    growths: tuple[Growth, ...]
    loss: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = []
        for growth in self.growths[:3]:
            name = f"{growth.variant}/" if len(self.growths) > 1 else ""
            N, D = self.estimates[f"{name}params_exponent"], self.estimates[f"{name}tokens_exponent"]
            said.append(
                f"{growth.variant + ': ' if name else ''}N* ∝ C^{with_interval(N.value, N.low, N.high)}, D* ∝ "
                f"C^{with_interval(D.value, D.low, D.high)} ({counted(len(growth.used), 'budget')})"
            )
        more = f"; and {len(self.growths) - 3} more" if len(self.growths) > 3 else ""
        return "; ".join(said) + more + "."


@dataclass(frozen=True, kw_only=True)
class IsoflopQuestion(RunsQuestion):
    """For each budget, which size is best?"""

    needs: ClassVar = (Need("runs"),)

    profile: Literal["auto", "parabola", "akima", "as given"] = option(
        "auto", help="fit in log N; 'as given' takes one run a budget as its optimum; auto goes by the data"
    )
    within: float = option(
        5.0, help="factor from the best run within which sizes enter the parabola", unit="times", low=1.5, high=1e6
    )
    weighted: bool = option(False, help="weight budgets by one over the variance of log N at their optimum")
    spread: str = option(
        "", help="column with the standard deviation of log N, for weights", choices="numbers of runs", advanced=True
    )
    variant: str = option("", help="column whose values get a law each", choices="columns of runs")
    target_flops: float | None = option(
        None, help="compute asked about; ten times the largest budget if empty", unit="FLOPs", low=1
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples, each refitted", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in columns, the profile and the target."""
        asked = super().resolved(store)
        columns = store.columns("runs")
        if not asked.variant and "family" in columns and store.rows("runs")["family"].nunique() > 1:
            asked = replace(asked, variant="family")
        if asked.variant and asked.variant not in columns:
            raise AnalysisError(f"The runs have no column called {asked.variant!r}.")
        if asked.profile != "auto" and asked.target_flops is not None:
            return asked
        points = asked.points(store, [asked.variant] if asked.variant else [])
        if asked.profile == "auto":
            parts = points.frame.groupby(asked.variant) if asked.variant else [("", points.frame)]
            alone = all(len(group) == 1 for _, part in parts for group in _by_budget(part))
            asked = replace(asked, profile="as given" if alone else "parabola")
        if asked.target_flops is None:
            asked = replace(asked, target_flops=float(f"{10 * points.column('flops').max():.1e}"))
        return asked

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> IsoflopProfiles:
        """Find the best size of each budget, fit their growth, and redo both on resamples."""
        asked = self.resolved(store)
        besides = [name for name in (asked.variant, asked.spread) if name]
        points = asked.points(store, besides)
        notes = [note for note in points.notes if not (asked.variant and note.startswith("Attention"))]
        parts: list[tuple[object, pd.DataFrame]] = [("", points.frame)]
        if asked.variant:
            parts = list(points.frame.groupby(asked.variant, sort=False))
        growths, refused = [], []
        for number, (name, part) in enumerate(parts):
            progress(number, len(parts), "fitting")
            try:
                growths.append(_growth(str(name), part.reset_index(drop=True), asked, engine, progress))
            except TooLittleData as error:
                refused.append(error)
                notes.append(f"{name or 'All runs'} left out: needs {error.needs}; found {error.found}.")
        if not growths:
            raise min(refused, key=lambda error: -int(error.found.split()[0]))
        return IsoflopProfiles(
            growths=tuple(growths),
            loss=points.loss,
            estimates=_estimates(growths, asked),
            tables=_tables(growths, asked),
            notes=(*_notes(growths, asked), *notes),
        )


def _by_budget(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """Cut runs into budgets: neighbours in compute stay together until one is more than 5 % above the first of them."""
    ordered = frame.sort_values("flops", kind="stable")
    groups: list[list[int]] = []
    first = -math.inf
    for place, flops in zip(ordered.index, ordered["flops"], strict=True):
        if flops > first * _SAME_BUDGET or not groups:
            groups.append([])
            first = float(flops)
        groups[-1].append(place)
    return [frame.loc[group] for group in groups]


def _growth(variant: str, frame: pd.DataFrame, asked: IsoflopQuestion, engine: Engine, progress: Progress) -> Growth:
    budgets = [_budget(part, asked) for part in _by_budget(frame)]
    used = [budget for budget in budgets if not budget.dropped]
    if len(used) < _BUDGETS:
        found = f"{len(used)} of {len(budgets)}"
        why = next((budget.dropped for budget in budgets if budget.dropped), "")
        raise TooLittleData(
            needs=f"at least {_BUDGETS} budgets of compute with an optimum", found=f"{found} ({why})" if why else found
        )
    logs = np.log([[budget.flops, *budget.vertex[:2]] for budget in used])
    weights = _weights(used, asked)
    params, tokens = _line(logs[:, 0], logs[:, 1], weights), _line(logs[:, 0], logs[:, 2], weights)
    if asked.profile != "parabola":
        draws, unit = _draws_of_budgets(logs, weights, asked, engine, progress)
    else:
        draws, unit = _draws_of_runs(used, weights, asked, engine, progress), "bootstrap over runs within a budget"
    return Growth(variant, tuple(budgets), params, tokens, draws, unit)


def _weights(used: list[Budget], asked: IsoflopQuestion) -> np.ndarray:
    if not asked.weighted:
        return np.ones(len(used))
    spreads = np.array([budget.spread for budget in used])
    if not (np.isfinite(spreads) & (spreads > 0)).any():
        raise AnalysisError(
            "Nothing says how uncertain the optima are, so they cannot be weighted.",
            remedy="Name the column of standard deviations of log N (--spread), or do not weight.",
        )
    return np.where(np.isfinite(spreads) & (spreads > 0), 1 / np.where(spreads > 0, spreads, 1.0) ** 2, 0.0)


def _budget(part: pd.DataFrame, asked: IsoflopQuestion) -> Budget:
    flops = float(np.exp(np.log(part["flops"].to_numpy(float)).mean()))
    N, D, L = (part[name].to_numpy(float) for name in ("params", "tokens", "loss"))
    spread = float(part[asked.spread].astype(float).iloc[0]) if asked.spread else math.nan
    none = (np.empty(0), np.empty(0))
    if asked.profile == "as given":
        best = int(L.argmin())
        return Budget(flops, part, (N[best], D[best], L[best]), none, spread, "")
    nothing = (math.nan, math.nan, math.nan)
    sizes = len(np.unique(N))
    if sizes < _SIZES:
        return Budget(flops, part, nothing, none, spread, f"{counted(sizes, 'size')}, {_SIZES} needed")
    x = np.log(N)
    through = np.linspace(x.min(), x.max(), 400)
    if asked.profile == "akima":
        from scipy.interpolate import Akima1DInterpolator

        distinct, at = np.unique(x, return_inverse=True)
        means = np.bincount(at, np.log(L)) / np.bincount(at)
        curve = np.exp(Akima1DInterpolator(distinct, means)(through))
        place = int(curve.argmin())
        vertex, least = float(through[place]), float(curve[place])
        dropped = "its least loss is at the end of the sizes" if place in (0, len(through) - 1) else ""
    else:
        inside = near_best(x, L, asked.within)
        u = x[inside]
        centre, quadratic = _vertices(u, np.log(L[inside]), np.ones((1, len(u))))
        vertex, coefficients = float(centre[0]), quadratic[0]
        through = np.linspace(u.min(), u.max(), 200)
        curve = np.exp(np.polyval(coefficients[::-1], through - u.mean()))
        least = float(np.exp(np.polyval(coefficients[::-1], vertex - u.mean())))
        dropped = (
            "the profile is not a valley" if math.isnan(vertex)
            else "the valley lies outside the sizes" if not u.min() <= vertex <= u.max() else ""
        )  # fmt: skip
    order = np.argsort(x)
    tokens = float(np.exp(np.interp(vertex, x[order], np.log(D[order])))) if not dropped else math.nan
    if math.isnan(spread) and not dropped:
        inside = near_best(x, L, asked.within)
        spread = _vertex_spread(x[inside], np.log(L[inside]))
    found = (math.exp(vertex) if not math.isnan(vertex) else math.nan, tokens, least)
    return Budget(flops, part, found, (np.exp(through), curve), spread, dropped)


def near_best(x: np.ndarray, L: np.ndarray, within: float) -> np.ndarray:
    """Give which runs are within a factor of the size of the best one; at least those of the five nearest sizes.

    Far from its valley a profile is no parabola, and one fitted to all of it has its vertex elsewhere.
    """
    away = np.abs(x - x[L.argmin()])
    sizes = np.unique(away)
    return np.asarray(away <= max(math.log(within), float(sizes[min(_NEAREST, len(sizes)) - 1])) + 1e-12)


def _vertices(x: np.ndarray, L: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the vertex of the weighted parabola through (x, L), shape (k,), NaN where it is no valley, and its coefficients
    about the mean of x, lowest power first, shape (k, 3).
    """
    u = x - x.mean()
    powers = np.stack([np.ones_like(u), u, u**2])
    gram = np.einsum("kn,an,bn->kab", counts, powers, powers)
    moments = np.einsum("kn,an->ka", counts, powers * L)
    scale = np.sqrt(np.maximum(np.einsum("kaa->ka", gram), 1e-300))
    normed = gram / (scale[:, :, None] * scale[:, None, :])
    solvable = np.linalg.cond(normed) < 1e12
    normed[~solvable] = np.eye(3)
    coefficients = np.linalg.solve(normed, (moments / scale)[..., None])[..., 0] / scale
    with np.errstate(divide="ignore", invalid="ignore"):
        valley = solvable & (coefficients[:, 2] > 1e-12 * np.abs(L).max())
        vertex = np.where(valley, x.mean() - coefficients[:, 1] / (2 * coefficients[:, 2]), np.nan)
    return vertex, coefficients


def _vertex_spread(x: np.ndarray, L: np.ndarray) -> float:
    """Give the standard deviation of the vertex of a parabola by the delta method; NaN without spare runs."""
    n = len(x)
    u = x - x.mean()
    design = np.stack([np.ones(n), u, u**2], axis=1)
    coefficients, *_ = np.linalg.lstsq(design, L, rcond=None)
    if n <= 3 or coefficients[2] <= 0:
        return math.nan
    residual = L - design @ coefficients
    covariance = np.linalg.inv(design.T @ design) * float(residual @ residual) / (n - 3)
    slope = np.array([0.0, -1 / (2 * coefficients[2]), coefficients[1] / (2 * coefficients[2] ** 2)])
    return math.sqrt(max(float(slope @ covariance @ slope), 0.0))


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Give slope and intercept of the weighted least squares line."""
    slope, intercept = _lines(x, y[None], weights[None])
    return float(slope[0]), float(intercept[0])


def _lines(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give slopes and intercepts of many lines through places x, shape (n,); values and weights have shape (k, n)."""
    weights = np.where(np.isnan(y), 0.0, weights)
    y = np.nan_to_num(y)
    total = weights.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mx, my = weights @ x / total, (weights * y).sum(axis=1) / total
        u = x[None] - mx[:, None]
        across = (weights * u * u).sum(axis=1)
        slope = np.where(across > 1e-9, (weights * u * y).sum(axis=1) / across, np.nan)
    return slope, my - slope * mx


def _draws_of_runs(
    used: list[Budget], weights: np.ndarray, asked: IsoflopQuestion, engine: Engine, progress: Progress
) -> np.ndarray:
    parts = [
        part[near_best(np.log(part["params"].to_numpy(float)), part["loss"].to_numpy(float), asked.within)]
        for part in (budget.points for budget in used)
    ]
    frame = pd.concat(parts, ignore_index=True)
    owner = np.repeat(np.arange(len(used)), [len(part) for part in parts])
    function = partial(
        _redrawn, np.log([budget.flops for budget in used]), owner, np.log(frame["params"].to_numpy(float)),
        np.log(frame["tokens"].to_numpy(float)), np.log(frame["loss"].to_numpy(float)), weights,
    )  # fmt: skip
    return bootstrap(
        function, len(frame), draws=asked.draws, seed=asked.seed, strata=owner, engine=engine, progress=progress
    )


def _redrawn(
    logC: np.ndarray, owner: np.ndarray, logN: np.ndarray, logD: np.ndarray, L: np.ndarray, weights: np.ndarray,
    counts: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Refit every parabola and both lines for each resample; a budget whose valley is lost is left out of that one."""
    best_N = np.full((len(counts), len(logC)), np.nan)
    best_D = best_N.copy()
    for number in range(len(logC)):
        own = np.flatnonzero(owner == number)
        x = logN[own]
        vertex, _ = _vertices(x, L[own], counts[:, own].astype(float))
        inside = (vertex >= x.min()) & (vertex <= x.max())
        best_N[:, number] = np.where(inside, vertex, np.nan)
        order = np.argsort(x)
        best_D[:, number] = np.where(inside, np.interp(np.nan_to_num(vertex), x[order], logD[own][order]), np.nan)
    every = np.broadcast_to(weights, best_N.shape)
    return np.stack([*_lines(logC, best_N, every), *_lines(logC, best_D, every)], axis=1)


def _draws_of_budgets(
    logs: np.ndarray, weights: np.ndarray, asked: IsoflopQuestion, engine: Engine, progress: Progress
) -> tuple[np.ndarray, str]:
    n = len(logs)
    if n >= _FEW_BUDGETS:
        draws = bootstrap(
            partial(_redrawn_budgets, logs, weights),
            n,
            draws=asked.draws,
            seed=asked.seed,
            engine=engine,
            progress=progress,
        )
        return draws, "bootstrap over budgets"
    generator = np.random.default_rng(asked.seed)
    columns = []
    design = np.stack([logs[:, 0], np.ones(n)], axis=1)
    root = np.sqrt(weights)[:, None]
    inverse = np.linalg.inv((design * root).T @ (design * root))
    for y in logs[:, 1:].T:
        centre = np.array(_line(logs[:, 0], y, weights))
        residual = (y - design @ centre) * root[:, 0]
        normal = generator.multivariate_normal(
            np.zeros(2), inverse * float(residual @ residual) / (n - 2), size=asked.draws
        )
        heavy = np.sqrt((n - 2) / generator.chisquare(n - 2, size=asked.draws))
        columns.append(centre + normal * heavy[:, None])
    return np.concatenate(columns, axis=1), f"t of the regression over budgets, {n - 2} degrees of freedom"


def _redrawn_budgets(logs: np.ndarray, weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    every = counts * weights
    N, D = (np.broadcast_to(column, every.shape) for column in logs[:, 1:].T)
    return np.stack([*_lines(logs[:, 0], N, every), *_lines(logs[:, 0], D, every)], axis=1)


def _estimates(growths: list[Growth], asked: IsoflopQuestion) -> dict[str, Estimate]:
    estimates = {}
    assert asked.target_flops is not None
    at = math.log(asked.target_flops)
    for growth in growths:
        name = f"{growth.variant}/" if len(growths) > 1 else ""
        for what, (slope, intercept), columns in (
            ("params", growth.params, growth.draws[:, :2]),
            ("tokens", growth.tokens, growth.draws[:, 2:]),
        ):
            with np.errstate(over="ignore"):
                values = {
                    f"{what}_exponent": (slope, columns[:, 0], ""),
                    f"{what}_coefficient": (math.exp(intercept), np.exp(columns[:, 1]), f"{what} per FLOP^exponent"),
                    f"target_{what}": (
                        math.exp(slope * at + intercept), np.exp(columns[:, 0] * at + columns[:, 1]), what
                    ),
                }  # fmt: skip
            for label, (value, drawn, unit) in values.items():
                low, high = percentile_interval(drawn, asked.level)
                estimates[name + label] = Estimate(value, float(low), float(high), asked.level, unit, "no draw has one")
        estimates[f"{name}budgets"] = Estimate(len(growth.used), unit="budgets", why_no_interval="a count")
    return estimates


def _tables(growths: list[Growth], asked: IsoflopQuestion) -> dict[str, pd.DataFrame]:
    rows = [
        {
            "variant": growth.variant, "flops": budget.flops, "runs": len(budget.points), "params": budget.vertex[0],
            "tokens": budget.vertex[1], "tokens_per_param": budget.vertex[1] / budget.vertex[0],
            "loss": budget.vertex[2], "sd_log_params": budget.spread, "left_out": budget.dropped,
        }
        for growth in growths for budget in growth.budgets
    ]  # fmt: skip
    points = [
        budget.points.assign(budget=budget.flops, variant=growth.variant)
        for growth in growths
        for budget in growth.budgets
    ]
    return {"optima": pd.DataFrame(rows), "points": pd.concat(points, ignore_index=True)}


def _notes(growths: list[Growth], asked: IsoflopQuestion) -> list[str]:
    how = {
        "parabola": f"Best size of a budget: vertex of a parabola of log loss in log N, sizes within "
        f"{asked.within:g} times the best run",
        "akima": "Best size of a budget: least value of the Akima interpolation of log loss in log N",
        "as given": "The best size of each budget is given",
    }[asked.profile]
    runs = sum(len(budget.points) for growth in growths for budget in growth.used)
    weights = "weighted by 1 / variance" if asked.weighted else "unweighted"
    notes = [
        f"{how}; log N* and log D* on log C by least squares, {weights}; n = {counted(runs, 'run')}; intervals: "
        f"{100 * asked.level:g} %, {growths[0].unit}, {asked.draws} draws, seed {asked.seed}."
    ]
    for growth in growths:
        name = f"{growth.variant}: " if len(growths) > 1 else ""
        notes += [
            f"{name}budget {significant(budget.flops, 3)} FLOPs left out: {budget.dropped}."
            for budget in growth.budgets
            if budget.dropped
        ]
        largest = max(budget.flops for budget in growth.used)
        assert asked.target_flops is not None
        if asked.target_flops > 100 * largest:
            notes.append(f"{name}the target is more than 100 times the largest budget: do not believe it.")
        if lost := int(np.isnan(growth.draws).any(axis=1).sum()):
            notes.append(f"{name}{lost} of {len(growth.draws)} resamples kept too few budgets.")
    return notes


def _clause(growth: Growth, budget: Budget, asked: IsoflopQuestion) -> Clause:
    own = Between("flops", float(budget.points["flops"].min()), float(budget.points["flops"].max()))
    return All((own, is_in(asked.variant, (growth.variant,)))) if asked.variant and growth.variant else own


def figure(question: IsoflopQuestion, result: IsoflopProfiles) -> FigureSpec:
    """Draw one profile a budget with its vertex, and best N and D against compute with their bands."""
    level = f"{100 * question.level:g} %"
    panels = []
    single = len(result.growths) == 1
    profiles: list[Mark] = []
    for number, growth in enumerate(result.growths):
        for place, budget in enumerate(growth.budgets):
            hue = f"c{place}" if single else f"c{number}"
            key = f"{growth.variant}/{budget.flops:.4g}"
            name = f"C = {significant(budget.flops, 3)}" if single and len(growth.budgets) <= 10 else ""
            N, L = budget.points["params"].to_numpy(float), budget.points["loss"].to_numpy(float)
            origin = Keys("run", tuple(budget.points["run"]))
            profiles.append(
                Points(key=f"{key} runs", x=N, y=L, hue=hue, size=5.0, origin=origin, hollow=bool(budget.dropped))
            )
            if len(budget.curve[0]):
                profiles.append(
                    Line(
                        key=f"{key} profile", x=budget.curve[0], y=budget.curve[1], hue=hue, label=name, width=1.5,
                        dash="dotted" if budget.dropped else "solid",
                    )
                )  # fmt: skip
            if not budget.dropped and question.profile != "as given":
                profiles.append(
                    Points(
                        key=f"{key} vertex", x=np.array([budget.vertex[0]]), y=np.array([budget.vertex[2]]), hue=hue,
                        symbol="star", size=10.0, origin=Clauses("runs", (_clause(growth, budget, question),)),
                    )
                )  # fmt: skip
    x_params = Axis(label="parameters N", scale="log", column="params")
    panels.append(
        Panel(
            key="profiles", x=x_params, y=Axis(label=result.loss, scale="log"), marks=tuple(profiles), height=2.0,
            title="Profiles of equal compute",
        )
    )  # fmt: skip
    if question.profile != "as given":
        panels.append(_residual_panel(result, single=single))
    for what, label in (("params", "best N"), ("tokens", "best D")):
        panels.append(_growth_panel(question, result, what, label, level))
    named = result.growths[0]
    subtitle = (
        f"{counted(len(named.used), 'budget')}; {level} bands: {named.unit}"
        if single
        else (f"{counted(len(result.growths), 'variant')}; {level} bands: {named.unit}")
    )
    return FigureSpec(
        title=f"Best size by compute, {result.loss}", subtitle=subtitle, panels=tuple(panels), columns=2,
        caption=f"{result.summary()} Dashed: extrapolation. {result.notes[0]}",
    )  # fmt: skip


def _residual_panel(result: IsoflopProfiles, *, single: bool) -> Panel:
    marks: list[Mark] = [Rule(key="zero", axis="y", at=0.0)]
    for number, growth in enumerate(result.growths):
        for place, budget in enumerate(growth.budgets):
            if not len(budget.curve[0]):
                continue
            N, L = budget.points["params"].to_numpy(float), budget.points["loss"].to_numpy(float)
            fitted = np.interp(np.log(N), np.log(budget.curve[0]), budget.curve[1], left=np.nan, right=np.nan)
            marks.append(
                Points(
                    key=f"{growth.variant}/{budget.flops:.4g} residuals", x=N, y=100 * (L / fitted - 1),
                    hue=f"c{place}" if single else f"c{number}", size=4.0, origin=Keys("run", tuple(budget.points["run"])),
                )
            )  # fmt: skip
    return Panel(
        key="residuals", x=Axis(label="parameters N", scale="log", column="params"), y=Axis(label="residual (%)"),
        marks=tuple(marks), legend=False, shares_x_with="profiles",
    )  # fmt: skip


def _growth_panel(question: IsoflopQuestion, result: IsoflopProfiles, what: str, label: str, level: str) -> Panel:
    assert question.target_flops is not None
    marks: list[Mark] = []
    single = len(result.growths) == 1
    for number, growth in enumerate(result.growths):
        hue = "accent" if single else f"c{number}"
        C = np.array([budget.flops for budget in growth.used])
        slope, intercept = growth.params if what == "params" else growth.tokens
        columns = growth.draws[:, :2] if what == "params" else growth.draws[:, 2:]
        end = max(question.target_flops * 2, C.max())
        for key, x, dash in (
            ("law", np.geomspace(C.min(), C.max(), 60), "solid"), ("beyond", np.geomspace(C.max(), end, 40), "dashed"),
        ):  # fmt: skip
            with np.errstate(over="ignore", invalid="ignore"):
                drawn = np.exp(columns[:, :1] * np.log(x) + columns[:, 1:])
            low, high = percentile_interval(drawn, question.level)
            name = f"{growth.variant or label} ∝ C^{slope:.3f}" if key == "law" else ""
            marks.append(
                Band(key=f"{growth.variant}/{key} band", x=x, low=np.asarray(low), high=np.asarray(high), hue=hue,
                     label=level if key == "law" and single else "")
            )  # fmt: skip
            marks.append(
                Line(
                    key=f"{growth.variant}/{key}", x=x, y=np.exp(slope * np.log(x) + intercept), hue=hue, width=2.0,
                    dash="solid" if dash == "solid" else "dashed", label=name,
                )
            )  # fmt: skip
        y = np.array([budget.vertex[0 if what == "params" else 1] for budget in growth.used])
        clauses = tuple(_clause(growth, budget, question) for budget in growth.used)
        marks.append(
            Points(key=f"{growth.variant}/vertices", x=C, y=y, hue=hue, size=6.0, origin=Clauses("runs", clauses))
        )
        name = f"{growth.variant}/" if not single else ""
        target = result.estimates[f"{name}target_{what}"]
        said = f"{short(target.value)} [{short(target.low)}, {short(target.high)}]"
        marks.append(
            Points(
                key=f"{growth.variant}/target", x=np.array([question.target_flops]), y=np.array([target.value]),
                low=np.array([target.low]), high=np.array([target.high]), hue=hue, symbol="star", size=11.0, hollow=True,
                label=f"target: {said}" if single else "",
            )
        )  # fmt: skip
    marks.append(Rule(key="target", axis="x", at=question.target_flops, option="target_flops"))
    return Panel(
        key=what, x=Axis(label="compute (FLOPs)", scale="log", column="flops"), y=Axis(label=label, scale="log", column=what),
        marks=tuple(marks),
    )  # fmt: skip


ANALYSIS = Analysis(
    id="scaling.isoflop",
    title="IsoFLOP profiles",
    asks="For each budget of compute, which size is best, and how does the best size grow?",
    question=IsoflopQuestion,
    figure=figure,
    sources=(
        "Hoffmann et al. (2022), Training compute-optimal large language models, approach 2",
        "Porian et al. (2024), Resolving discrepancies in compute-optimal scaling of language models",
    ),
    definition="""\
Runs within 5 % of compute are one budget. For each, a parabola of $\\log L$ in $\\log N$ near the best run
(or an Akima interpolation, log-log);
its vertex is $N^*(C)$, and $D^*$ is read at it. Then $\\log N^* = a \\log C + k$ by least squares, optionally weighted by one
over the variance of $\\log N^*$. Budgets with fewer than four sizes, without a valley, or with the valley outside the sizes
are left out and listed. Unit: the run within its budget, the whole chain refitted; where the optima are given, the budget.

Traps: coarse or one-sided grids bias the vertex; learning rate, batch or warm-up not tuned at small sizes shift the exponent.
""",
)
