"""``rating.plackett-luce``: what is the overall order when every model was scored on different items?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, FigureSpec, Line, Mark, Origin, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.store import RunStore
from ..answer_matrix import answer_matrix
from ..rank_correlation import FEWEST, kendall_matrix
from ..ratings import ELO, fit_bradley_terry, unbeaten_groups
from ..remembered import Remembered
from ..resampling import percentile_interval
from ..score_marks import interval_rows
from ..score_table import chosen_scores, grid_of

_STEP = 0.3
"""Step of the trapezoid on the scale of the logarithm of time; its error falls as exp(-pi^2 / step) = 5e-15."""
_MISSING = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95)
_MOST_CELLS = 1 << 22
_DRAWS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """Orders of some models each, cut into stages: one set of models before another set.

    By the lack of memory of the Plackett-Luce model an order of tied groups is a product of such stages: the first group
    before all others, the second before those left, and so on.

    Attributes
    ----------
    ahead, behind : ndarray of float, shape (stages, models)
        1 for the models of the two sets.
    item : ndarray of int, shape (stages,)
        The item each stage is of.
    items : int
        How many items there are.
    weight : ndarray, shape (stages,)
        How often the stage counts.
    """

    ahead: np.ndarray
    behind: np.ndarray
    item: np.ndarray
    items: int
    weight: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Stages:
        """Give the stages of `values`, shape (items, models), higher better, NaN where there is no value."""
        ahead, behind, item = [], [], []
        left = ~np.isnan(values)
        filled = np.where(left, values, -np.inf)
        while True:
            best = np.where(left, filled, -np.inf).max(axis=1, keepdims=True)
            top = left & (filled == best)
            rest = left & ~top
            rows = np.flatnonzero(top.any(axis=1) & rest.any(axis=1))
            if not len(rows):
                break
            ahead.append(top[rows])
            behind.append(rest[rows])
            item.append(rows)
            left = np.zeros_like(left)
            left[rows] = rest[rows]
        if not ahead:
            none = np.zeros((0, values.shape[1]))
            return cls(none, none, np.zeros(0, dtype=int), len(values), np.zeros(0))
        stacked = np.concatenate(item)
        return cls(
            np.concatenate(ahead).astype(float),
            np.concatenate(behind).astype(float),
            stacked,
            len(values),
            np.ones(len(stacked)),
        )

    def wins(self) -> np.ndarray:
        """Give how often the row was in a set before that of the column, shape (models, models)."""
        wins: np.ndarray = (self.ahead * self.weight[:, None]).T @ self.behind
        return wins

    def with_prior(self) -> Stages:
        """Add a model of strength 1 at the end, which each other model beat once and lost to once."""
        n = self.ahead.shape[1]
        own, other = np.eye(n, n + 1), np.zeros((n, n + 1))
        other[:, n] = 1
        padded = [np.pad(part, ((0, 0), (0, 1))) for part in (self.ahead, self.behind)]
        return Stages(
            np.concatenate([padded[0], own, other]),
            np.concatenate([padded[1], other, own]),
            np.concatenate([self.item, np.full(2 * n, -1)]),
            self.items,
            np.concatenate([self.weight, np.ones(2 * n)]),
        )

    def merged(self) -> Stages:
        """Hold equal stages together; items are then no longer told apart."""
        both = np.concatenate([self.ahead, self.behind], axis=1).astype(np.int8)
        kinds, numbers = np.unique(both, axis=0, return_inverse=True)
        n = self.ahead.shape[1]
        weight = np.bincount(numbers.ravel(), self.weight, len(kinds))
        return Stages(kinds[:, :n].astype(float), kinds[:, n:].astype(float), np.arange(len(kinds)), len(kinds), weight)


def log_probabilities(theta: np.ndarray, stages: Stages) -> tuple[np.ndarray, np.ndarray]:
    """Give the log-probability of every stage, shape (stages,), and its gradient, shape (stages, models).

    Parameters
    ----------
    theta : ndarray, shape (models,)
        Log strengths.

    Notes
    -----
    Exponential waiting times of rates e^theta end in a Plackett-Luce order (Luce 1959; Yellott 1977). The set A ends before
    the set B with probability int_0^inf L e^(-L t) prod_A (1 - e^(-l_i t)) dt, L the sum of the rates of B: the sum over all
    orders within the sets, without going through them. On the scale of log t the trapezoid converges exponentially.
    """
    rate = np.exp(theta)
    start, end = math.log(1e-6 / rate.sum()), math.log(40 / rate.min())
    t = np.exp(np.arange(start, end + _STEP, _STEP))
    reach = rate[:, None] * t
    not_yet = np.log(-np.expm1(-reach))
    slope = reach / np.expm1(np.minimum(reach, 700))
    value, gradient = np.empty(len(stages.ahead)), np.empty(stages.ahead.shape)
    size = max(1, _MOST_CELLS // len(t))
    for begin in range(0, len(value), size):
        rows = slice(begin, begin + size)
        ahead, behind = stages.ahead[rows], stages.behind[rows]
        total = (behind @ rate)[:, None]
        parts = ahead @ not_yet + np.log(total * t) - total * t
        top = parts.max(axis=1, keepdims=True)
        share = np.exp(parts - top)
        mass = share.sum(axis=1, keepdims=True)
        value[rows] = (top + np.log(mass * _STEP))[:, 0]
        share /= mass
        gradient[rows] = ahead * (share @ slope.T) + behind * rate * (1 / total - (share @ t)[:, None])
    return value, gradient


def fit_plackett_luce(stages: Stages, prior: bool = False) -> np.ndarray:
    """Give log strengths by maximum likelihood, mean 0, shape (models,); a prior holds them and fixes the zero.

    Notes
    -----
    Starts at the Bradley-Terry fit of the pairs, which is the answer where every stage has two models.
    """
    from scipy.optimize import minimize

    n = stages.ahead.shape[1]
    theta = fit_bradley_terry(stages.wins(), prior)
    used = (stages.with_prior() if prior else stages).merged()

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        full = np.append(x, 0.0) if prior else x
        value, gradient = log_probabilities(full, used)
        return -float(used.weight @ value), -(used.weight @ gradient)[:n]

    found = minimize(loss, theta, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-6})
    strengths: np.ndarray = found.x if prior else found.x - found.x.mean()
    return strengths


def _spread(theta: np.ndarray, stages: Stages, prior: bool) -> np.ndarray:
    """Give the covariance of the log strengths, shape (models, models): that of the gradients of items between two inverse
    curvatures; with a prior the inverse curvature, because what never lost has no gradient left.
    """
    merged = (stages.with_prior() if prior else stages).merged()
    n, step = len(theta), 1e-4
    full = np.append(theta, 0.0) if prior else theta
    curvature = np.empty((n, n))
    for i in range(n):
        move = step * (np.arange(len(full)) == i)
        up, down = (merged.weight @ log_probabilities(full + sign * move, merged)[1] for sign in (1, -1))
        curvature[i] = -(up - down)[:n] / (2 * step)
    curvature = (curvature + curvature.T) / 2
    if prior:
        posterior: np.ndarray = np.linalg.inv(curvature)
        return posterior
    inverse = np.linalg.pinv(curvature, rcond=1e-9)
    _, gradient = log_probabilities(theta, stages)
    by_item = np.zeros((stages.items, n))
    np.add.at(by_item, stages.item, gradient)
    used = len(np.unique(stages.item))
    covariance: np.ndarray = inverse @ (by_item.T @ by_item) @ inverse * used / (used - 1)
    return covariance


@dataclass(frozen=True, kw_only=True)
class PlackettLuceRatings(Result):
    """Strengths of models from orders of different items.

    Attributes
    ----------
    ratings : DataFrame
        One row a model, the strongest first: rating, its interval, rank, its interval, mean score, items.
    missing : DataFrame
        One row a share hidden: tau-b with the order of all answers, of the fit and of plain means, with intervals.
    origin : Origin
        What lies behind the rows of `ratings`.
    items : int
        Items that tell models apart.
    is_map : bool
        Whether a prior was needed.
    what : str
        What was ranked by: 'item' or 'task'.
    """

    ratings: pd.DataFrame
    missing: pd.DataFrame
    origin: Origin
    items: int
    is_map: bool
    what: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        first = self.ratings.iloc[0]
        rating = with_interval(first["rating"], first["low"], first["high"])
        said = (
            f"{first['model']} is rated highest ({rating} Elo points, ranks {first['rank_low']:.0f} to "
            f"{first['rank_high']:.0f}) of {len(self.ratings)} models by the orders of {counted(self.items, self.what)}"
        )
        tau = self.estimates["tau_with_mean"].value
        return said + (f"; tau-b with the order by mean score {significant(tau, 3)}." if math.isfinite(tau) else ".")


@dataclass(frozen=True, kw_only=True)
class PlackettLuceQuestion(Question):
    """What is the overall order when every model was scored on different items?"""

    needs: ClassVar = (Need("predictions|scores"),)

    by: Literal["auto", "items", "tasks"] = option(
        "auto", help="what orders the models: answers to items, or scores of tasks; items if there are predictions"
    )
    task: str = option("", help="the task of the items; that of the most models if empty", choices="predictions.task")
    metric: str = option("", help="metric of the tasks; the first of each if empty", choices="scores.metric")
    graded: bool = option(False, help="order by the score of an answer instead of right and wrong")
    prior: bool = option(False, help="add a win and a loss against a model of strength 1 to each (MAP)")
    repeats: int = option(5, help="times answers are hidden at each share", low=0, high=1000)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    seed: int = option(0, help="seed of what is hidden and of the ranks drawn", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> PlackettLuceRatings:
        """Fit, and fit again with answers hidden."""
        known = _known.of(store, replace(self, level=0.95), lambda: _fitted(store, self, progress))
        what, values, names, origins, notes = known.what, known.values, known.names, known.origins, known.notes
        theta, groups, used, is_map, drawn = known.theta, known.groups, known.used, known.is_map, known.drawn
        table = _ratings(known, self.level)
        hidden = _hidden(known.hidden, self.level)
        mean = np.nanmean(values, axis=0)
        tau = float(kendall_matrix(np.column_stack([theta, mean]))[0, 1]) if len(names) >= FEWEST else math.nan
        order = [names.index(name) for name in table["model"]]
        estimates = {
            str(row["model"]): Estimate(row["rating"], row["low"], row["high"], self.level, "Elo points")
            for row in table.to_dict("records")
        }
        estimates |= {
            "tau_with_mean": Estimate(tau, why_no_interval=f"{len(names)} models, all there are"),
            "answered": Estimate(
                float(np.mean(~np.isnan(values))), unit="of answers", why_no_interval="a share of the table"
            ),
            "first_ahead": Estimate(
                float(np.mean(drawn[:, order[0]] > drawn[:, order[1]])), why_no_interval="a share of draws"
            ),
        }
        text = [
            f"Unit: the {what}, n = {used:,} that tell models apart of {len(values):,}. {100 * self.level:g} % intervals from "
            f"the spread of the scores (gradients) of the {what}s about the fit (sandwich); ranks from {_DRAWS} Gaussian "
            "draws of it.",
            "Plackett-Luce; models that are equally good on an item form a group, and all orders within it are summed. "
            "Ratings are Elo points (400 / ln 10 log strength), mean 0. Easy and hard items count alike.",
        ]
        if len(groups) > 1:
            few = min(groups, key=len)
            text.insert(
                0,
                f"Attention: orders do not connect all models ({len(groups)} groups, one of them "
                f"{', '.join(names[i] for i in few[:6])}), so likelihood alone puts them infinitely far apart; a weak prior "
                "holds them.",
            )
        elif is_map:
            text.append("Maximum of the posterior, with one win and one loss against a model of strength 1 for each.")
        if used < 30:
            text.append(f"Attention: with {used} {what}s the intervals are too narrow; 30 or more are wanted.")
        return PlackettLuceRatings(
            ratings=table,
            missing=hidden,
            origin=origins(tuple(table["model"])),
            items=used,
            is_map=is_map,
            what=what,
            estimates=estimates,
            tables={"ratings": table, "missing": hidden},
            notes=(*text, *notes),
        )


def _values(
    store: RunStore, what: str, asked: PlackettLuceQuestion
) -> tuple[np.ndarray, tuple[str, ...], Callable[[Sequence[str]], Origin], tuple[str, ...]]:
    """Give values of items by models, the names of the models, what lies behind them, and notes."""
    if what == "item":
        matrix = answer_matrix(store, task=asked.task, graded=asked.graded, sparse=True)
        return matrix.right, matrix.names, matrix.origin, matrix.notes
    scores = chosen_scores(store, metric=asked.metric)
    grid = grid_of(scores.frame, "task", "model")
    names = tuple(map(str, grid.columns))
    there = float(np.mean(~np.isnan(grid.good)))
    notes = () if there == 1 else (f"{100 * there:.1f} % of the scores are there.",)
    return grid.good, names, scores.origin, (*scores.notes, *notes)


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """A fit whatever the coverage of intervals.

    Attributes
    ----------
    what : {'item', 'task'}
    values : ndarray, shape (items, models)
    names : tuple of str
        The models.
    origins : callable
        Gives what lies behind some models.
    notes : tuple of str
        What was chosen.
    used : int
        Items that tell models apart.
    groups : list of ndarray of int
        Models that orders connect in both directions.
    is_map : bool
    theta : ndarray, shape (models,)
    covariance : ndarray, shape (models, models)
    drawn : ndarray, shape (draws, models)
        Log strengths drawn from the Gaussian of the two.
    hidden : tuple
        Share of answers hidden, method, and tau-b of each repeat.
    """

    what: str
    values: np.ndarray
    names: tuple[str, ...]
    origins: Callable[[Sequence[str]], Origin]
    notes: tuple[str, ...]
    used: int
    groups: list[np.ndarray]
    is_map: bool
    theta: np.ndarray
    covariance: np.ndarray
    drawn: np.ndarray
    hidden: tuple[tuple[float, str, np.ndarray], ...]


_known = Remembered[_Known]()


def _fitted(store: RunStore, asked: PlackettLuceQuestion, progress: Progress) -> _Known:
    """Fit, and fit again with answers hidden."""
    what = "item" if asked.by == "items" or (asked.by == "auto" and store.has_rows("predictions")) else "task"
    values, names, origins, notes = _values(store, what, asked)
    stages = Stages.of(values)
    used = len(np.unique(stages.item))
    if len(names) < 2 or used < 2:
        raise TooLittleData(
            needs="2 models or more, and several orders that tell them apart",
            found=f"{counted(len(names), 'model')}, {counted(used, what)}",
        )
    groups = unbeaten_groups(stages.wins())
    is_map = asked.prior or len(groups) > 1
    theta = fit_plackett_luce(stages, is_map)
    covariance = _spread(theta, stages, is_map)
    values_of, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values_of, 0))
    drawn = theta + np.random.default_rng(asked.seed).standard_normal((_DRAWS, len(names))) @ root.T
    hidden = _with_answers_hidden(values, theta, is_map, asked, progress)
    return _Known(what, values, names, origins, notes, used, groups, is_map, theta, covariance, drawn, hidden)


def _ratings(known: _Known, level: float) -> pd.DataFrame:
    theta, covariance, drawn, names, values = known.theta, known.covariance, known.drawn, known.names, known.values
    n = len(names)
    ranks = np.argsort(np.argsort(-drawn, axis=1), axis=1) + 1
    tails = [(1 - level) / 2, (1 + level) / 2]
    rank_low, rank_high = np.quantile(ranks, tails, axis=0, method="nearest")
    from scipy.special import ndtri

    centring = np.eye(n) - 1 / n
    rating = ELO * (theta - theta.mean())
    half = ELO * float(ndtri((1 + level) / 2)) * np.sqrt(np.diag(centring @ covariance @ centring))
    order = np.argsort(-theta, kind="stable")
    return pd.DataFrame(
        {
            "model": [names[i] for i in order],
            "rating": rating[order],
            "low": (rating - half)[order],
            "high": (rating + half)[order],
            "rank": np.arange(1, n + 1),
            "rank_low": rank_low[order],
            "rank_high": rank_high[order],
            "mean": np.nanmean(values, axis=0)[order],
            "answered": (~np.isnan(values)).sum(axis=0)[order],
        }
    )


def _with_answers_hidden(
    values: np.ndarray, theta: np.ndarray, is_map: bool, asked: PlackettLuceQuestion, progress: Progress
) -> tuple[tuple[float, str, np.ndarray], ...]:
    """Give tau-b with the order of all answers when a share of the answers is hidden at random, of the fit and of means."""
    generator = np.random.default_rng(asked.seed)
    if len(theta) < FEWEST or not asked.repeats:
        return ()
    mean = np.nanmean(values, axis=0)
    told = []
    for number, share in enumerate(_MISSING):
        found: dict[str, list[float]] = {"fit": [], "mean": []}
        for _ in range(asked.repeats if share else 1):
            progress(number, len(_MISSING), f"{100 * share:g} % hidden")
            seen = np.where(generator.random(values.shape) < share, np.nan, values)
            stages = Stages.of(seen)
            has = ~np.isnan(seen).all(axis=0)
            if not has.all() or not len(stages.item):
                continue
            fit = fit_plackett_luce(stages, is_map or len(unbeaten_groups(stages.wins())) > 1)
            found["fit"].append(float(kendall_matrix(np.column_stack([fit, theta]))[0, 1]))
            found["mean"].append(float(kendall_matrix(np.column_stack([np.nanmean(seen, axis=0), mean]))[0, 1]))
        told += [(share, method, np.array(taus)) for method, taus in found.items() if taus]
    return tuple(told)


def _hidden(told: tuple[tuple[float, str, np.ndarray], ...], level: float) -> pd.DataFrame:
    """Give a table of the mean tau-b at every share hidden, with the interval over repeats."""
    rows = []
    for share, method, taus in told:
        low, high = percentile_interval(taus, level)
        rows.append((share, method, float(np.nanmean(taus)), float(low), float(high), len(taus)))
    return pd.DataFrame(rows, columns=["hidden", "method", "tau_b", "low", "high", "repeats"])


def figure(question: PlackettLuceQuestion, result: PlackettLuceRatings) -> FigureSpec:
    """Draw ratings with their intervals, and how well their order survives hidden answers."""
    table = result.ratings
    names = tuple(table["model"])
    value, low, high = (table[name].to_numpy(float) for name in ("rating", "low", "high"))
    notes = tuple(
        f"{row['model']}: {with_interval(row['rating'], row['low'], row['high'])} Elo points, ranks "
        f"{row['rank_low']:.0f} to {row['rank_high']:.0f}, mean {significant(row['mean'], 3)} of {row['answered']:,}"
        for row in table.to_dict("records")
    )
    level = f"{100 * question.level:g} %"
    rows = interval_rows(
        "rating", np.arange(len(names), dtype=float), value, low, high, origin=result.origin, notes=notes
    )
    rating = Panel(
        key="ratings",
        x=Axis(label=f"rating (Elo points), {level}"),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(Rule(key="mean", axis="x", at=0.0), *rows),
        title="Plackett-Luce",
        legend=False,
    )
    panels = [rating]
    if len(result.missing):
        marks: list[Mark] = []
        for number, (method, label) in enumerate((("fit", "Plackett-Luce"), ("mean", "plain mean"))):
            part = result.missing[result.missing["method"] == method]
            x, y = 100 * part["hidden"].to_numpy(float), part["tau_b"].to_numpy(float)
            hue = f"c{number}"
            marks.append(Line(key=method, x=x, y=y, hue=hue, width=1.6, label=label))
            marks.append(
                Points(
                    key=f"{method}/points", x=x + (number - 0.5), y=y, hue=hue, low=part["low"].to_numpy(float),
                    high=part["high"].to_numpy(float),
                )
            )  # fmt: skip
        panels.append(
            Panel(
                key="missing",
                x=Axis(label="answers hidden (%)"),
                y=Axis(label="tau-b with the full order", high=1.0),
                marks=tuple(marks),
                title=f"Bars: {level} of {question.repeats} draws",
            )
        )
    return FigureSpec(
        title="Order from incomplete results",
        subtitle=f"{counted(result.items, result.what)} that order {counted(len(names), 'model')}, "
        f"{100 * result.estimates['answered'].value:.3g} % answered; intervals {level}",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {' '.join(result.notes[:2])}",
    )


ANALYSIS = Analysis(
    id="rating.plackett-luce",
    title="Plackett-Luce ratings",
    asks="What is the overall order when every model was scored on different items?",
    question=PlackettLuceQuestion,
    figure=figure,
    sources=(
        "Plackett (1975); Luce (1959); Yellott (1977): exponential waiting times",
        "Hunter (2004), MM algorithms for generalized Bradley-Terry models: when strengths exist",
        "Ghosh et al. (2024), ONEBench to Test Them All",
    ),
    definition="""\
$P(\\pi)=\\prod_j e^{\\theta_{\\pi_j}}/\\sum_{l\\ge j}e^{\\theta_{\\pi_l}}$. Each item orders the models that answered it: all
right ones before all wrong ones (with graded scores, group after group). The order within a group is unknown, so all of them
are summed: $P(A\\text{ before }B)=\\int_0^\\infty \\Lambda_B e^{-\\Lambda_B t}\\prod_{i\\in A}(1-e^{-\\lambda_i t})\\,dt$ with
$\\lambda=e^\\theta$. Items of two models make it the Bradley-Terry model. Strengths exist where orders connect all models in
both directions; elsewhere a win and a loss against a model of strength 1 are added for each.

Unit: the item (or task). The right panel hides answers at random and fits again. Traps: items count alike, easy or hard; an
item that all models got right or wrong says nothing; answers that are missing for a reason bias every order. """,
)
