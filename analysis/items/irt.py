"""``items.irt``: which items are hard, which separate models, and where on the axis of difficulty does each model fail?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, with_interval
from ...models.selection import All
from ...models.store import RunStore
from ..answer_marks import MOST_ROWS, named_axis
from ..answer_matrix import AnswerMatrix, answer_matrix
from ..item_response import ItemResponseFit, fit_item_response
from ..resampling import wilson
from ..score_marks import interval_rows

_RASCH_FROM = 30
_SLOPES_FROM = 200
_BINS = 12
_MOST_LINES = 6
_MOST_NAMED = 60


@dataclass(frozen=True, kw_only=True)
class ItemResponse(Result):
    """Difficulties and abilities on one axis.

    Attributes
    ----------
    answers : AnswerMatrix
        Who was right on what.
    fit : ItemResponseFit
        The fitted model.
    slopes : bool
        Whether items have slopes of their own.
    binned : DataFrame
        Accuracy of each model by difficulty: model, low, high, b, n, right.
    """

    answers: AnswerMatrix
    fit: ItemResponseFit
    slopes: bool
    binned: pd.DataFrame

    def summary(self) -> str:
        """Give the answer in one sentence."""
        items, models = self.tables["items"], self.tables["models"]
        hardest, best = items.iloc[0], models.iloc[0]
        shape = "2PL" if self.slopes else "1PL"
        spread = float(items["b"].std(ddof=0)) if len(items) else math.nan
        return (
            f"{shape} fit of {counted(len(items), 'item')} and {counted(len(models), 'model')}: {best['model']} is the most "
            f"able ({with_interval(best['theta'], best['low'], best['high'])}); difficulties have median "
            f"{items['b'].median():.2f} and standard deviation {spread:.2f}; the hardest item is {hardest['item']}."
        )


@dataclass(frozen=True, kw_only=True)
class ItemResponseQuestion(Question):
    """Which items are hard, and where on the axis does each model fail?"""

    needs: ClassVar = (Need("predictions", ("correct|prediction",)),)

    task: str = option("", help="only this task; that of the most models if empty", choices="predictions.task")
    form: Literal["by size", "1PL", "2PL"] = option(
        "by size", help="2PL gives every item a slope of its own; by size takes it from 200 models on"
    )
    choices: int | None = option(
        None, help="number of options, where guessing is possible; its chance is given to the model", low=2
    )
    no_answer: Literal["wrong", "dropped"] = option("wrong", help="what no answer counts as", advanced=True)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> ItemResponse:
        """Fit, then bin accuracy by difficulty."""
        answers = answer_matrix(store, task=self.task, no_answer=self.no_answer, sparse=True)
        right = answers.right.T
        _refuse_apart(right, answers)
        if right.shape[1] < 5:
            raise TooLittleData(needs="at least 5 items", found=counted(right.shape[1], "item"))
        count = len(answers.names)
        slopes = self.form == "2PL" or (self.form == "by size" and count >= _SLOPES_FROM)
        guess = 1 / self.choices if self.choices else 0.0
        fit = fit_item_response(right, slopes=slopes, guess=guess, progress=progress)
        z = _z(self.level)
        items = _item_table(answers, fit, z)
        models = _model_table(answers, fit, z)
        binned = _binned(answers, fit, self.level)
        estimates = {
            "models": Estimate(float(count), unit="models", why_no_interval="a count"),
            "items": Estimate(float(right.shape[1]), unit="items", why_no_interval="a count"),
            "slope": Estimate(float(np.median(fit.a)), unit="per unit of ability",
                              why_no_interval="the median over items" if slopes else "one for all items; it sets the unit"),
        }  # fmt: skip
        for row in models.head(_MOST_NAMED).to_dict("records"):
            estimates[f"{row['model']}/theta"] = Estimate(
                row["theta"],
                row["low"],
                row["high"],
                self.level,
                "SD of models",
                "" if math.isfinite(row["low"]) else "none",
            )
        return ItemResponse(
            answers=answers, fit=fit, slopes=slopes, binned=binned, estimates=estimates,
            tables={"items": items, "models": models, "accuracy_by_difficulty": binned},
            notes=_notes(self, fit, items, count, slopes, guess, answers),
        )  # fmt: skip


def _z(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def _refuse_apart(right: np.ndarray, answers: AnswerMatrix) -> None:
    """Check that answers connect all models and items: otherwise abilities have no common axis."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    model, item = np.nonzero(~np.isnan(right))
    size = sum(right.shape)
    graph = coo_array((np.ones(len(model)), (model, item + right.shape[0])), shape=(size, size))
    parts, of = connected_components(graph.tocsr(), directed=False)
    if parts > 1:
        first = [name for name, part in zip(answers.names, of[: len(answers.names)], strict=True) if part == of[0]]
        raise AnalysisError(
            f"Models and items fall into {parts} groups that share no answer; one of them: {', '.join(first[:5])}.",
            remedy="Keep one group with a filter.",
        )


def _notes(
    asked: ItemResponseQuestion, fit: ItemResponseFit, items: pd.DataFrame, models: int, slopes: bool, guess: float,
    answers: AnswerMatrix,
) -> tuple[str, ...]:  # fmt: skip
    form = ("2PL: a slope for each item" if slopes else "1PL: one slope for all items") + (
        f", chance to guess {guess:.3g} given" if guess else ""
    )
    end = f"converged in {fit.steps} steps" if fit.converged else f"Attention: not converged in {fit.steps} steps"
    notes = [
        f"{form}. Marginal likelihood with the {fit.integrated} integrated out as Gaussian, {end}; abilities have mean 0 and "
        "standard deviation 1 over these models.",
        f"Intervals: {100 * asked.level:g} %, ± standard errors, from the posterior of the {fit.integrated} and the "
        "cross-products of scores for the others; models are taken as independent.",
    ]
    if models < _RASCH_FROM:
        notes.append(f"Fewer than {_RASCH_FROM} models: difficulties of single items are rough.")
    if slopes and models < _SLOPES_FROM:
        notes.append(f"Attention: slopes of items want about {_SLOPES_FROM} models; {models} are there.")
    if extreme := int(items["all_alike"].sum()):
        notes.append(
            f"{counted(extreme, 'item')} that all models get right, or wrong: finite only through the prior (all_alike)."
        )
    if negative := int((items["discrimination"] < 0).sum()):
        notes.append(
            f"{counted(negative, 'item')} with negative discrimination (right answers go with worse models): is the label "
            f"right?{' With so few models many are negative by chance.' if models < _RASCH_FROM else ''}"
        )
    notes.append("Difficulty found from the models it then ranks is circular; use it to see where a model fails.")
    return (*notes, *answers.notes)


def _item_table(answers: AnswerMatrix, fit: ItemResponseFit, z: float) -> pd.DataFrame:
    """Give items, the hardest first; discrimination is the correlation with the share of the other items that are right."""
    right = answers.right
    asked = ~np.isnan(right)
    filled = np.where(asked, right, 0.0)
    share = filled.mean(axis=1) if asked.all() else filled.sum(axis=1) / np.maximum(asked.sum(axis=1), 1)
    alike = (share == 0) | (share == 1)
    table = answers.items.assign(
        b=fit.b, b_low=fit.b - z * fit.b_error, b_high=fit.b + z * fit.b_error, a=fit.a,
        a_low=fit.a * np.exp(-z * fit.a_error / fit.a), a_high=fit.a * np.exp(z * fit.a_error / fit.a),
        share_right=share, n=asked.sum(axis=1), discrimination=rest_correlation(right),
        information=fit.information(fit.theta).mean(axis=0), all_alike=alike,
    )  # fmt: skip
    return table.sort_values("b", ascending=False, kind="stable", ignore_index=True)


def rest_correlation(right: np.ndarray) -> np.ndarray:
    """Give Pearson's correlation over models of each item with the mean of the other items, shape (items,); NaN where one of
    them does not vary.

    Parameters
    ----------
    right : ndarray, shape (items, models)
        NaN where there is no answer.
    """
    asked = ~np.isnan(right)
    filled = np.where(asked, right, 0.0)
    others = asked.sum(axis=0) - asked
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = np.where(asked, (filled.sum(axis=0) - filled) / others, 0.0)
        n = asked.sum(axis=1)
        x, y = filled.sum(axis=1) / n, rest.sum(axis=1) / n
        covariance = (filled * rest).sum(axis=1) / n - x * y
        spread = ((filled**2).sum(axis=1) / n - x**2) * ((rest**2).sum(axis=1) / n - y**2)
        return np.asarray(np.where(spread > 1e-18, covariance / np.sqrt(np.maximum(spread, 1e-18)), np.nan))


def _model_table(answers: AnswerMatrix, fit: ItemResponseFit, z: float) -> pd.DataFrame:
    columns = {
        "model": answers.names, "theta": fit.theta, "low": fit.theta - z * fit.theta_error,
        "high": fit.theta + z * fit.theta_error, "accuracy": np.nanmean(answers.right, axis=0),
        "items": (~np.isnan(answers.right)).sum(axis=0),
    }  # fmt: skip
    return pd.DataFrame(columns).sort_values("theta", ascending=False, kind="stable", ignore_index=True)


def _binned(answers: AnswerMatrix, fit: ItemResponseFit, level: float) -> pd.DataFrame:
    edges = np.unique(np.quantile(fit.b, np.linspace(0, 1, min(_BINS, len(fit.b) // 5) + 1)))
    place = np.clip(np.searchsorted(edges, fit.b, side="right") - 1, 0, max(len(edges) - 2, 0))
    parts = []
    for number, name in enumerate(answers.names):
        known = ~np.isnan(answers.right[:, number])
        n = np.bincount(place[known], minlength=len(edges) - 1)
        hits = np.bincount(place[known], answers.right[known, number], len(edges) - 1)
        middle = np.bincount(place[known], fit.b[known], len(edges) - 1)
        low, high = wilson(hits, n, level)
        with np.errstate(invalid="ignore", divide="ignore"):
            columns = {"model": name, "bin": np.arange(len(n)), "b": middle / n, "n": n, "accuracy": hits / n,
                       "low": low, "high": high}  # fmt: skip
        parts.append(pd.DataFrame(columns)[n > 0])
    return pd.concat(parts, ignore_index=True)


def figure(question: ItemResponseQuestion, result: ItemResponse) -> FigureSpec:
    """Draw models and items on one axis, accuracy by difficulty, and where the items tell models apart."""
    fit, answers = result.fit, result.answers
    models = result.tables["models"].head(MOST_ROWS)
    order = [answers.names.index(name) for name in models["model"]]
    hues = {name: f"c{number}" for number, name in enumerate(models["model"].head(_MOST_LINES))}
    at = np.arange(len(models), dtype=float)
    theta, low, high = (models[name].to_numpy(float) for name in ("theta", "low", "high"))
    notes = tuple(
        f"{row['model']}: ability {with_interval(row['theta'], row['low'], row['high'])}, "
        f"accuracy {100 * row['accuracy']:.1f} %"
        for row in models.to_dict("records")
    )
    bulk = np.quantile(fit.b, [0.005, 0.995])
    ends = min(float(bulk[0]), float(np.nanmin(low))) - 0.2, max(float(bulk[1]), float(np.nanmax(high))) + 0.2
    axis = Axis(
        label="ability of models, difficulty of items (SD of models)", low=ends[0], high=ends[1], column="ability"
    )
    panels = [
        Panel(
            key="models", x=axis, y=named_axis(list(models["model"])), legend=False, title="Models",
            marks=interval_rows("theta", at, theta, low, high, origin=answers.origin([answers.names[i] for i in order]),
                                notes=notes),
            height=1.3,
        ),
        _items_panel(result, axis),
        _accuracy_panel(result, axis, hues),
        _information_panel(result, axis),
    ]  # fmt: skip
    cut = f"; the {MOST_ROWS} most able" if len(answers.names) > MOST_ROWS else ""
    return FigureSpec(
        title="Item response",
        subtitle=f"{'2PL' if result.slopes else '1PL'}, {counted(len(fit.b), 'item')}, "
        f"{counted(len(answers.names), 'model')}{cut}; intervals {100 * question.level:g} %",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _items_panel(result: ItemResponse, axis: Axis) -> Panel:
    b = result.fit.b
    edges = np.linspace(axis.low or 0.0, axis.high or 1.0, 41)
    place = np.clip(np.searchsorted(edges, b, side="right") - 1, 0, 39)
    counts = np.bincount(place, minlength=40)
    filled = np.flatnonzero(counts)
    clauses = tuple(result.answers.of_items(place == one) for one in filled)
    bars = Bars(
        key="items", at=(edges[filled] + edges[filled + 1]) / 2, height=counts[filled].astype(float),
        width=0.95 * (edges[1] - edges[0]), hue="c3", origin=Clauses("predictions", clauses),
        notes=tuple(f"difficulty {edges[i]:.2f} to {edges[i + 1]:.2f}: {counted(int(counts[i]), 'item')}" for i in filled),
    )  # fmt: skip
    return Panel(key="items", x=axis, y=Axis(label="items", low=0.0), marks=(bars,), title="Items", legend=False)


def _accuracy_panel(result: ItemResponse, axis: Axis, hues: dict[str, str]) -> Panel:
    x = np.linspace(axis.low or 0.0, axis.high or 1.0, 120)
    fit = result.fit
    marks: list[Mark] = []
    slope = float(np.median(fit.a))
    for name, hue in hues.items():
        number = result.answers.number(name)
        own = result.binned[result.binned["model"] == name]
        expected = fit.guess + (1 - fit.guess) / (1 + np.exp(-slope * (fit.theta[number] - x)))
        marks.append(Line(key=f"{name}/model", x=x, y=100 * expected, hue=hue, opacity=0.5))
        edges = np.unique(np.quantile(fit.b, np.linspace(0, 1, min(_BINS, len(fit.b) // 5) + 1)))
        place = np.clip(np.searchsorted(edges, fit.b, side="right") - 1, 0, len(edges) - 2)
        clauses = tuple(
            All((result.answers.clauses[name], result.answers.of_items(place == one))) for one in own["bin"]
        )
        marks.append(
            Points(key=name, x=own["b"].to_numpy(float), y=100 * own["accuracy"].to_numpy(float),
                   low=100 * own["low"].to_numpy(float), high=100 * own["high"].to_numpy(float), hue=hue,
                   label=shortened(name, 28), origin=Clauses("predictions", clauses))
        )  # fmt: skip
    x_axis = replace(axis, label="difficulty of items")
    title = "Accuracy by difficulty, lines as fitted" + (
        f", {_MOST_LINES} most able" if len(result.answers.names) > _MOST_LINES else ""
    )
    return Panel(key="accuracy", x=x_axis, y=Axis(label="right (%)", low=0.0, high=100.0), marks=tuple(marks), title=title,
                 height=1.3)  # fmt: skip


def _information_panel(result: ItemResponse, axis: Axis) -> Panel:
    x = np.linspace(axis.low or 0.0, axis.high or 1.0, 200)
    information = np.zeros(len(x))
    for part in np.array_split(np.arange(len(result.fit.b)), max(1, len(result.fit.b) // 2000)):
        piece = replace(result.fit, a=result.fit.a[part], b=result.fit.b[part])
        information += piece.information(x).sum(axis=1)
    marks: list[Mark] = [Line(key="error", x=x, y=1 / np.sqrt(np.maximum(information, 1e-9)), hue="c4", width=2.0)]
    marks += [
        Rule(key=f"model {number}", axis="x", at=float(theta), dash="dotted")
        for number, theta in enumerate(result.fit.theta[:MOST_ROWS])
    ]
    return Panel(
        key="information", x=replace(axis, label="ability of models"),
        y=Axis(label="standard error", scale="log"), marks=tuple(marks), legend=False,
        title="How well these items measure an ability; dotted: the models",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="items.irt",
    title="Item response theory",
    asks="Which items are hard, which separate models, and where does each model fail?",
    question=ItemResponseQuestion,
    figure=figure,
    sources=(
        "Bock and Aitkin (1981), Marginal maximum likelihood estimation of item parameters; Mislevy (1984, 1986)",
        "Rodriguez et al. (2021), Evaluation Examples are not Equally Informative",
        "Lalor, Wu and Yu (2016), Building an Evaluation Scale using Item Response Theory",
    ),
    definition="""\
$P(\\text{right})=c+(1-c)\\,\\sigma(a_i(\\theta_j-b_i))$, abilities with mean 0 and standard deviation 1 over the models, $c$ 0
or 1 / options. 1PL has one slope for all items, 2PL one for each. Marginal likelihood: the longer side is integrated out as
Gaussian where there is one slope, the models where there are several. Information $(dP/d\\theta)^2/(P(1-P))$; discrimination
is the correlation of an item with the other items.

Intervals: standard errors. Traps: a negative discrimination is a wrong key as often as a bad item; items all models get right
have a difficulty by the prior alone; difficulty found from the models it then ranks is circular. """,
)
