"""``scaling.observational``: capability axes of public models, their growth with compute by family, and tasks from them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.store import RunStore
from ..power_fit import Fit, Objective, fit
from ..resampling import DRAWS, bootstrap, percentile_interval
from ..score_table import chosen_scores

_MODELS, _FAMILIES, _OF_FAMILY = 10, 3, 3
_LINES = 14


@dataclass(frozen=True)
class Components:
    """Principal components of scores.

    Attributes
    ----------
    mean : ndarray, shape (tasks,)
    loadings : ndarray, shape (components, tasks)
        Each of unit length, its sum not negative.
    shares : ndarray, shape (tasks,)
        Share of the variance of every component.
    """

    mean: np.ndarray
    loadings: np.ndarray
    shares: np.ndarray

    def of(self, scores: np.ndarray) -> np.ndarray:
        """Give the components of some models, shape (models, components)."""
        return np.asarray((scores - self.mean) @ self.loadings.T)


def imputed(scores: np.ndarray, train: np.ndarray | None = None, iterations: int = 1000) -> np.ndarray:
    """Fill missing scores by one principal component, found again until nothing moves.

    Scores are standardised over `train` first and kept in [0, 1] after, as Ruan et al. do; models outside `train` take the
    component of those inside.

    Parameters
    ----------
    scores : ndarray, shape (models, tasks)
        NaN where missing.
    train : ndarray of bool, shape (models,), optional
    """
    inside = np.ones(len(scores), dtype=bool) if train is None else train
    middle, spread = np.nanmean(scores[inside], axis=0), np.nanstd(scores[inside], axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    missing = np.isnan(scores)
    filled = np.where(missing, 0.0, (scores - middle) / spread)
    for rows in (inside, ~inside):
        if not missing[rows].any():
            continue
        for _ in range(iterations):
            own = filled[inside]
            centre = own.mean(axis=0)
            axis = np.linalg.svd(own - centre, full_matrices=False)[2][:1]
            again = centre + (filled[rows] - centre) @ axis.T @ axis
            moved = np.where(missing[rows], again - filled[rows], 0.0)
            filled[rows] = filled[rows] + moved
            if np.abs(moved).max() < 1e-6:
                break
    return np.where(missing, np.clip(filled * spread + middle, 0, 1), scores)


def components_of(scores: np.ndarray, count: int) -> Components:
    """Give the principal components of scores that are centred and not scaled, shape (models, tasks)."""
    mean = scores.mean(axis=0)
    _, values, axes = np.linalg.svd(scores - mean, full_matrices=False)
    signs = np.where(axes.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    shares = values**2 / max(float((values**2).sum()), 1e-300)
    return Components(mean, (axes * signs)[:count], shares)


class Logistic:
    """1 / (1 + exp(-(S beta + alpha))) with an intercept as the last parameter."""

    def __init__(self, S: np.ndarray) -> None:
        self.design = np.column_stack([S, np.ones(len(S))])
        self.names: tuple[str, ...] = (*(f"beta{i + 1}" for i in range(S.shape[1])), "alpha")

    def value(self, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        """Give the rate, shape (m, n)."""
        rate = 1 / (1 + np.exp(-np.clip(theta @ self.design.T, -500, 500)))
        return rate, rate

    def gradient(self, state: Any, outer: np.ndarray) -> np.ndarray:
        """Give sum_i outer_i d f_i / d theta, shape (m, p)."""
        return np.asarray((outer * state * (1 - state)) @ self.design)

    def jacobian(self, state: Any) -> np.ndarray:
        """Give d f / d theta, shape (m, n, p)."""
        return np.asarray((state * (1 - state))[..., None] * self.design)


def fit_logistic(S: np.ndarray, rate: np.ndarray) -> tuple[Logistic, Fit]:
    """Fit a logistic curve of predictors, shape (n, p), to rates in [0, 1] by least squares."""
    form = Logistic(S)
    clipped = np.clip(rate, 0.01, 0.99)
    first, *_ = np.linalg.lstsq(form.design, np.log(clipped / (1 - clipped)), rcond=None)
    level = np.zeros(len(first))
    level[-1] = math.log(clipped.mean() / (1 - clipped.mean()))
    wide = 50 / np.maximum(form.design.std(axis=0), 1e-6)
    wide[-1] = 500.0
    starts = np.array([first, level, 0.5 * first, 2 * first])
    found = fit(form, rate, objective=Objective("squares"), starts=np.clip(starts, -wide, wide), low=-wide, high=wide)
    return form, found


@dataclass(frozen=True, kw_only=True)
class Observational(Result):
    """Axes of capability, and what they say about a task.

    Attributes
    ----------
    models : DataFrame
        model, family, log10_flops, PC1.., train, and where a task was asked for actual and predicted.
    components : Components
    tasks : tuple of str
    lines : DataFrame
        family, models, slope, intercept, r_squared: PC1 against the logarithm of compute.
    """

    models: pd.DataFrame
    components: Components
    tasks: tuple[str, ...]
    lines: pd.DataFrame

    def summary(self) -> str:
        """Give the answer in one sentence."""
        first = self.estimates["explained_variance_1"]
        said = (
            f"One axis carries {with_interval(100 * first.value, 100 * first.low, 100 * first.high)} % of the variance of "
            f"{counted(len(self.tasks), 'task')} over {counted(len(self.models), 'model')}"
        )
        if len(self.lines):
            lowest, highest = self.lines["r_squared"].min(), self.lines["r_squared"].max()
            said += f"; within a family it grows with log compute (R² {lowest:.3f} to {highest:.3f})"
        if "test_rmse" in self.estimates:
            error = self.estimates["test_rmse"].value
            said += f"; unseen models are forecast to {significant(error, 2)} (root mean square)"
        return said + "."


@dataclass(frozen=True, kw_only=True)
class ObservationalQuestion(Question):
    """Can scores of existing models predict a capability without training any?"""

    needs: ClassVar = (Need("scores"),)

    target: str = option("", help="task to predict from the others; none if empty", choices="scores.task")
    cutoff_flops: float | None = option(
        None, help="models of less compute are fitted, the others forecast; the median if empty", low=0
    )
    family: str = option("", help="column of the scores with the model family", choices="columns of scores")
    compute: str = option("", help="column of the scores with the training compute", choices="numbers of scores")
    reference: str = option("", help="family whose compute others are measured in; the one of most models if empty")
    leave_out: tuple[str, ...] = option((), help="tasks left out of the axes", choices="scores.task")
    leave_out_families: tuple[str, ...] = option((), help="families left out", advanced=True)
    leave_out_models: tuple[str, ...] = option((), help="models left out", choices="scores.model", advanced=True)
    metric: str = option("", help="metric of the scores; the first if empty", choices="scores.metric", advanced=True)
    components: int = option(3, help="axes used to predict", low=1, high=20)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of families", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the columns of family and compute."""
        columns = store.columns("scores")
        family = self.family or next((name for name in columns if re.search(r"famil", name, re.IGNORECASE)), "")
        compute = self.compute or next(
            (name for name in columns if re.search(r"flop|compute", name, re.IGNORECASE)), ""
        )
        for name in (family, compute):
            if name and name not in columns:
                raise AnalysisError(f"The scores have no column called {name!r}.")
        asked = replace(self, family=family, compute=compute)
        if asked.target and asked.cutoff_flops is None and compute:
            known = pd.to_numeric(store.rows("scores").drop_duplicates("model")[compute], errors="coerce")
            asked = replace(asked, cutoff_flops=float(f"{known[known > 0].median():.3g}"))
        return asked

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Observational:
        """Find the axes, their growth with compute in each family, and forecast the target task."""
        asked = self.resolved(store)
        wide, facts, notes = _table(store, asked)
        tasks = [str(task) for task in wide.columns if task not in (asked.target, *asked.leave_out)]
        if asked.target and asked.target not in wide.columns:
            raise AnalysisError(
                f"There is no task {asked.target!r}.", remedy="Tasks: " + ", ".join(map(str, wide.columns)) + "."
            )
        if len(tasks) < 2:
            raise TooLittleData(needs="at least 2 tasks for an axis", found=str(len(tasks)))
        scores = wide[tasks].to_numpy(float)
        logC = np.log10(facts["flops"].to_numpy(float))
        cutoff = asked.cutoff_flops
        train = np.ones(len(wide), dtype=bool)
        if asked.target and cutoff is not None:
            train = np.isfinite(logC) & (logC <= math.log10(cutoff))
            notes.append(
                f"Axes and curve from the {int(train.sum())} models up to {cutoff:.3g}; the others are forecast."
            )
        families = facts["family"].to_numpy(str)
        if int(train.sum()) < _MODELS or len(set(families[train])) < _FAMILIES:
            raise TooLittleData(
                needs=f"at least {_MODELS} models of {_FAMILIES} families",
                found=f"{int(train.sum())} of {len(set(families[train]))}",
            )
        missing = int(np.isnan(scores).sum())
        if missing:
            notes.append(
                f"{counted(missing, 'missing score')} filled by one principal component of the standardised scores."
            )
        whole = imputed(scores, train)
        axes = components_of(whole[train], min(asked.components, len(tasks)))
        places = axes.of(whole)
        models = facts.assign(log10_flops=logC, train=train)
        for number in range(places.shape[1]):
            models[f"PC{number + 1}"] = places[:, number]
        lines = _lines(models)
        drawn = _draws(whole[train], families[train], asked, engine, progress)
        estimates = _estimates(axes, drawn, lines, asked)
        if asked.target:
            models = models.assign(actual=wide[asked.target].to_numpy(float))
            more, models, said = _forecast(models, places, asked)
            estimates |= more
            notes += said
        models, reference = _equivalent(models, lines, asked)
        if reference:
            notes.append(f"Equivalent compute is that of the family {reference} at the same PC1.")
        loadings = pd.DataFrame(axes.loadings.T, index=pd.Index(tasks, name="task"))
        loadings.columns = pd.Index([f"PC{number + 1}" for number in range(loadings.shape[1])])
        return Observational(
            models=models,
            components=axes,
            tasks=tuple(tasks),
            lines=lines,
            estimates=estimates,
            tables={
                "models": models,
                "loadings": loadings.reset_index(),
                "families": lines,
                "explained_variance": pd.DataFrame(
                    {"component": np.arange(1, len(axes.shares) + 1), "share": axes.shares}
                ),
            },
            notes=(
                f"Principal components of scores that are centred, not scaled; unit: the family, n = "
                f"{len(set(families[train]))} families, {int(train.sum())} models; intervals: {100 * asked.level:g} %, "
                f"bootstrap over families, {asked.draws} draws, seed {asked.seed}. The sign of an axis is arbitrary: "
                "the sum of its loadings is taken positive.",
                *notes,
            ),
        )


def _table(store: RunStore, asked: ObservationalQuestion) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Give scores (models by tasks), and model, family and flops of each."""
    chosen = chosen_scores(store, metric=asked.metric)
    notes = [note for note in chosen.notes if "direction is better" not in note]
    rows = store.rows("scores").assign(model=lambda frame: frame["model"].astype(str)).groupby("model", sort=False)
    wide = chosen.frame.pivot_table(index="model", columns="task", values="value", sort=False)
    facts = pd.DataFrame(index=wide.index)
    for name, column in (("family", asked.family), ("flops", asked.compute)):
        facts[name] = rows[column].first().reindex(wide.index) if column else np.nan
    if not asked.family:
        facts["family"] = [re.split(r"[-_ /]\d", str(model))[0] for model in wide.index]
        notes.append("Families are the names of the models up to their first number: no column says them.")
    facts["family"] = facts["family"].astype(object).where(facts["family"].notna(), "unknown").astype(str)
    facts["flops"] = pd.to_numeric(facts["flops"], errors="coerce").astype(float)
    facts.loc[~(facts["flops"] > 0), "flops"] = np.nan
    left = facts["family"].isin(asked.leave_out_families) | facts.index.isin(asked.leave_out_models)
    few = wide.notna().sum(axis=1) < 2
    if lost := int((few & ~left).sum()):
        notes.append(f"{counted(lost, 'model')} left out: fewer than two scores.")
    kept = ~(left | few).to_numpy()
    return wide[kept], facts[kept].reset_index(), notes


def _lines(models: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for family, own in models[models["log10_flops"].notna()].groupby("family", sort=False):
        x, y = own["log10_flops"].to_numpy(float), own["PC1"].to_numpy(float)
        if len(x) < _OF_FAMILY or np.ptp(x) == 0:
            continue
        slope, intercept = np.polyfit(x, y, 1)
        total = float(((y - y.mean()) ** 2).sum())
        left = float(((y - slope * x - intercept) ** 2).sum())
        rows.append(
            {
                "family": str(family), "models": len(x), "slope": float(slope), "intercept": float(intercept),
                "r_squared": 1 - left / total if total > 0 else math.nan,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["family", "models", "slope", "intercept", "r_squared"])


def _draws(
    scores: np.ndarray, families: np.ndarray, asked: ObservationalQuestion, engine: Engine, progress: Progress
) -> np.ndarray:
    """Give the shares of variance of resamples of families, shape (draws, tasks)."""
    names, owner = np.unique(families, return_inverse=True)
    return bootstrap(
        _Shares(scores, owner), len(names), draws=asked.draws, seed=asked.seed, engine=engine, progress=progress
    )


@dataclass(frozen=True)
class _Shares:
    """Shares of variance from counts of families; a class, so that worker processes can be given it."""

    scores: np.ndarray
    owner: np.ndarray

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        weights = counts[:, self.owner].astype(float)
        total = weights.sum(axis=1, keepdims=True)
        mean = weights @ self.scores / total
        second = np.einsum("kn,na,nb->kab", weights, self.scores, self.scores, optimize=True) / total[:, :, None]
        covariance = second - mean[:, :, None] * mean[:, None, :]
        values = np.maximum(np.linalg.eigvalsh(covariance)[:, ::-1], 0)
        return np.asarray(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-300))


def _estimates(
    axes: Components, drawn: np.ndarray, lines: pd.DataFrame, asked: ObservationalQuestion
) -> dict[str, Estimate]:
    estimates = {}
    for number, share in enumerate(axes.shares[: max(5, asked.components)]):
        low, high = percentile_interval(drawn[:, number], asked.level)
        estimates[f"explained_variance_{number + 1}"] = Estimate(
            float(share), float(low), float(high), asked.level, "share of the variance"
        )
    for family, models, value in zip(lines["family"], lines["models"], lines["r_squared"], strict=True):
        estimates[f"{family}/r_squared"] = Estimate(float(value), why_no_interval=f"{models} models of one family")
    return estimates


def _forecast(
    models: pd.DataFrame, places: np.ndarray, asked: ObservationalQuestion
) -> tuple[dict[str, Estimate], pd.DataFrame, list[str]]:
    """Fit the target to the axes of the models below the cut-off, and forecast all; compute alone beside it."""
    actual, train = models["actual"].to_numpy(float), models["train"].to_numpy(bool)
    if np.nanmin(actual) < 0 or np.nanmax(actual) > 1:
        raise AnalysisError(f"The scores of {asked.target} lie outside [0, 1].", remedy="Derive a rate first (--let).")
    seen = train & np.isfinite(actual)
    if int(seen.sum()) < _MODELS:
        raise TooLittleData(
            needs=f"at least {_MODELS} models with {asked.target} below the cut-off", found=str(int(seen.sum()))
        )
    _, found = fit_logistic(places[seen], actual[seen])
    predicted = 1 / (1 + np.exp(-(places @ found.theta[:-1] + found.theta[-1])))
    models = models.assign(predicted=predicted, error=predicted - actual)
    unseen = ~train & np.isfinite(actual)
    estimates = {
        "train_rmse": _rmse(predicted[seen] - actual[seen], asked),
        "n_train": Estimate(int(seen.sum()), unit="models", why_no_interval="a count"),
        "n_test": Estimate(int(unseen.sum()), unit="models", why_no_interval="a count"),
    }
    notes = []
    if unseen.any():
        estimates["test_rmse"] = _rmse(predicted[unseen] - actual[unseen], asked)
        logC = models["log10_flops"].to_numpy(float)
        known, ahead = seen & np.isfinite(logC), unseen & np.isfinite(logC)
        if known.sum() >= _MODELS and ahead.any():
            _, alone = fit_logistic(logC[known, None], actual[known])
            by_compute = 1 / (1 + np.exp(-(logC[ahead] * alone.theta[0] + alone.theta[1])))
            estimates["test_rmse_compute_alone"] = _rmse(by_compute - actual[ahead], asked)
    else:
        notes.append("No model beyond the cut-off has a score of the target.")
    return estimates, models, notes


def _rmse(errors: np.ndarray, asked: ObservationalQuestion) -> Estimate:
    value = float(np.sqrt(np.mean(errors**2)))
    if len(errors) < 3:
        return Estimate(value, unit="score", why_no_interval=f"{counted(len(errors), 'model')}")
    draws = np.random.default_rng(asked.seed).choice(errors, size=(asked.draws, len(errors)))
    low, high = percentile_interval(np.sqrt((draws**2).mean(axis=1)), asked.level)
    return Estimate(value, float(low), float(high), asked.level, "score")


def _equivalent(models: pd.DataFrame, lines: pd.DataFrame, asked: ObservationalQuestion) -> tuple[pd.DataFrame, str]:
    """Give the compute at which the reference family has the PC1 of each model."""
    if lines.empty:
        return models, ""
    if asked.reference and asked.reference not in set(lines["family"]):
        raise AnalysisError(
            f"The family {asked.reference!r} has too few models with compute to be a reference.",
            remedy="Families: " + ", ".join(lines["family"]) + ".",
        )
    name = asked.reference or str(lines["family"].iloc[int(lines["models"].to_numpy().argmax())])
    line = lines[lines["family"] == name].iloc[0]
    return models.assign(equivalent_log10_flops=(models["PC1"] - line["intercept"]) / line["slope"]), name


def figure(question: ObservationalQuestion, result: Observational) -> FigureSpec:
    """Draw the first axis against compute by family, residuals, loadings, and the forecast of the target."""
    models = result.models
    known = models[models["log10_flops"].notna()]
    marks: list[Mark] = []
    residuals: list[Mark] = [Rule(key="zero", axis="y", at=0.0)]
    order = list(known["family"].value_counts().index)
    with_line = set(result.lines["family"])
    for number, family in enumerate(order):
        own = known[known["family"] == family]
        hue = f"c{number}" if family in with_line and number < _LINES else "muted"
        x, y = 10 ** own["log10_flops"].to_numpy(float), own["PC1"].to_numpy(float)
        for key, mask, hollow in (
            ("", own["train"].to_numpy(bool), False),
            (" unseen", ~own["train"].to_numpy(bool), True),
        ):
            if mask.any():
                origin = Keys("model", tuple(own["model"].to_numpy(str)[mask]))
                notes = tuple(own["model"].to_numpy(str)[mask])
                marks.append(
                    Points(
                        key=f"{family}{key}",
                        x=x[mask],
                        y=y[mask],
                        hue=hue,
                        size=5.0,
                        hollow=hollow,
                        origin=origin,
                        notes=notes,
                    )
                )
        if family in with_line:
            line = result.lines[result.lines["family"] == family].iloc[0]
            ends = np.geomspace(x.min(), x.max(), 30)
            fitted = line["slope"] * np.log10(ends) + line["intercept"]
            name = f"{family}, R² {line['r_squared']:.3f}" if number < 8 else ""
            marks.append(Line(key=f"{family} line", x=ends, y=fitted, hue=hue, width=1.5, label=name))
            residuals.append(
                Points(
                    key=f"{family} residuals", x=x, y=y - line["slope"] * np.log10(x) - line["intercept"], hue=hue, size=4.0,
                    origin=Keys("model", tuple(own["model"].to_numpy(str))),
                )
            )  # fmt: skip
    if question.target and question.cutoff_flops is not None:
        marks.append(Rule(key="cutoff", axis="x", at=question.cutoff_flops, option="cutoff_flops", label="cut-off"))
    x_axis = Axis(label=question.compute or "training compute", scale="log", column="flops")
    loadings: list[Mark] = []
    count = min(3, len(result.components.loadings))
    for number in range(count):
        at = np.arange(len(result.tasks)) + (number - (count - 1) / 2) * 0.8 / count
        loadings.append(
            Bars(key=f"PC{number + 1}", at=at, height=result.components.loadings[number], width=0.8 / count, hue=f"c{number}",
                 label=f"PC{number + 1}, {100 * result.components.shares[number]:.1f} %")
        )  # fmt: skip
    panels = [
        Panel(key="axis", x=x_axis, y=Axis(label="PC1"), marks=tuple(marks), height=3.0),
        Panel(key="residuals", x=x_axis, y=Axis(label="residual"), marks=tuple(residuals), legend=False, shares_x_with="axis"),
        Panel(key="loadings", x=Axis(scale="category", names=result.tasks), y=Axis(label="loading"), marks=tuple(loadings),
              height=2.0),
    ]  # fmt: skip
    if "predicted" in models.columns:
        panels.append(_parity(question, models))
    first = result.estimates["explained_variance_1"]
    subtitle = (
        f"{counted(len(models), 'model')}, {counted(len(result.tasks), 'task')}; PC1 carries "
        f"{with_interval(100 * first.value, 100 * first.low, 100 * first.high)} % of the variance"
    )
    if "test_rmse" in result.estimates:
        subtitle += f"; {question.target} of unseen models off by {significant(result.estimates['test_rmse'].value, 2)}"
    return FigureSpec(
        title="Capability of public models against compute", subtitle=subtitle, panels=tuple(panels), columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )  # fmt: skip


def _parity(question: ObservationalQuestion, models: pd.DataFrame) -> Panel:
    marks: list[Mark] = [Rule(key="equal", axis="diagonal")]
    for key, mask, hollow in (("fitted", models["train"], False), ("forecast", ~models["train"], True)):
        own = models[mask & models["actual"].notna()]
        names = tuple(own["model"].to_numpy(str))
        marks.append(
            Points(
                key=key, x=own["predicted"].to_numpy(float), y=own["actual"].to_numpy(float),
                hue="accent" if hollow else "muted", size=6.0, hollow=hollow, label=key, notes=names,
                origin=Keys("model", names),
            )
        )  # fmt: skip
    return Panel(
        key="parity",
        x=Axis(label="predicted"),
        y=Axis(label=question.target),
        marks=tuple(marks),
        square=True,
        height=2.0,
    )


ANALYSIS = Analysis(
    id="scaling.observational",
    title="Observational laws",
    asks="Can scores of existing models predict a capability without training any?",
    question=ObservationalQuestion,
    figure=figure,
    sources=("Ruan, Maddison and Hashimoto (2024), Observational scaling laws, and its code",),
    definition="""\
Missing scores are filled by one principal component of the standardised scores, found again until nothing moves; then
principal components of the scores, centred and not scaled. Per family $PC_1 \\approx \\theta_f \\log C + \\nu_f$; a target
task is $\\sigma(\\beta^T S + \\alpha)$ of the first components $S$, by least squares. Models beyond the cut-off
are in neither: they are forecast. Equivalent compute: where the line of the reference family has the same $PC_1$.
Unit: the family.

Traps: components of the models that are forecast would leak; contaminated models bend the first axis; its sign is arbitrary.
""",
)
