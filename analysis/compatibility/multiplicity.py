"""``compat.multiplicity``: how arbitrary single predictions are among equally good models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.figure import Axis, Band, Bars, Clauses, FigureSpec, Line, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result
from ...models.selection import Clause
from ...models.store import RunStore
from ..answer_sheet import AnswersQuestion, Sheet, answer_sheet, cluster_units
from ..resampling import bootstrap, percentile_interval

_STEPS = 25


@dataclass(frozen=True, kw_only=True)
class Multiplicity(Result):
    """Predictions that differ among models that are as good.

    Attributes
    ----------
    reference : str
        The model the others are held against.
    epsilon : float
        Tolerated excess of the error rate.
    members : tuple of str
        Models of the Rashomon set, the reference first.
    dissent : ndarray of int, shape (items,)
        How many members predict otherwise than the reference.
    dissent_items : tuple of Clause
        Items with 0, 1, 2, ... dissenters.
    """

    reference: str
    epsilon: float
    members: tuple[str, ...]
    dissent: np.ndarray
    dissent_items: tuple[Clause, ...]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        if len(self.members) < 2:
            return (
                f"No other model errs at most {100 * self.epsilon:g} points more often than {self.reference}; ambiguity "
                "and discrepancy are undefined."
            )
        return (
            f"{len(self.members) - 1} models err at most {100 * self.epsilon:g} points more often than {self.reference}; "
            f"{100 * e['ambiguity'].value:.1f} % of {e['n'].value:,.0f} predictions differ in at least one of them, and "
            f"{100 * e['discrepancy'].value:.1f} % in the one that differs most."
        )


@dataclass(frozen=True, kw_only=True)
class MultiplicityQuestion(AnswersQuestion):
    """How arbitrary are predictions among equally good runs?"""

    versions: tuple[str, ...] = option(
        (), help="models or runs to choose among; all if empty", choices="predictions.version|predictions.model"
    )
    reference: str = option(
        "", help="the one the others are held against; the most accurate if empty",
        choices="predictions.version|predictions.model",
    )  # fmt: skip
    epsilon: float = option(0.02, help="excess of the error rate that is tolerated", unit="of items", low=0.0, high=1.0)
    differ: Literal["answer", "right or wrong"] = option("answer", help="when two predictions differ")
    cluster: str = option(
        "", help="column of items that belong together and are resampled whole", choices="columns of predictions"
    )
    draws: int = option(500, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Multiplicity:
        """Find the models that are as good, and count where they disagree."""
        asked = self.resolved(store)
        sheet = answer_sheet(store, asked, asked.versions, about=(asked.cluster,))
        wrong = 1 - sheet.right
        errors = wrong.mean(axis=0)
        first = sheet.column(asked.reference) if asked.reference else int(np.argmin(errors))
        by_answer = asked.differ == "answer" and sheet.answers is not None
        if by_answer and sheet.answers is not None:
            differs = sheet.answers != sheet.answers[:, [first]]
        else:
            differs = (sheet.right > 0.5) != (sheet.right[:, [first]] > 0.5)
        units, number, unit = cluster_units(sheet, asked.cluster)
        steps = np.unique(np.append(_steps(errors, first), asked.epsilon))
        values = np.array([_measures(np.ones(len(sheet)), wrong, differs, first, float(step)) for step in steps])
        drawn = bootstrap(
            partial(_of_draws, wrong, differs, units, first, steps), number, draws=asked.draws, seed=asked.seed,
            engine=engine, progress=progress,
        )  # fmt: skip
        low, high = (np.asarray(end) for end in percentile_interval(drawn, asked.level))
        here = int(np.searchsorted(steps, asked.epsilon))
        inside = np.flatnonzero(errors <= errors[first] + asked.epsilon + 1e-12)
        others = [int(member) for member in inside if member != first]
        dissent = differs[:, others].sum(axis=1)
        names = (sheet.names[first], *(sheet.names[member] for member in others))
        sweep = pd.DataFrame({"epsilon": steps, "members": values[:, 0].astype(int)})
        for at, name in ((1, "ambiguity"), (2, "discrepancy")):
            sweep = sweep.assign(**{name: values[:, at], f"{name}_low": low[:, at], f"{name}_high": high[:, at]})
        order = np.argsort(-dissent, kind="stable")
        shown = order[dissent[order] > 0]
        listed = sheet.items.iloc[shown].reset_index(drop=True).assign(
            dissenters=dissent[shown], members=len(names), reference_right=sheet.right[shown, first]
        )  # fmt: skip
        return Multiplicity(
            reference=sheet.names[first],
            epsilon=asked.epsilon,
            members=names,
            dissent=dissent,
            dissent_items=tuple(sheet.clause(dissent == count, names) for count in range(len(names))),
            estimates=_estimates(sheet, values[here], low[here], high[here], asked.level, wrong, others, first),
            tables={"sweep": sweep, "models": _models(sheet, errors, differs, first, asked.epsilon), "items": listed},
            notes=(
                unit,
                *sheet.notes,
                f"Intervals: {100 * asked.level:g} % percentile bootstrap, {asked.draws} draws, seed {asked.seed}; the set of "
                "models that are as good is found anew in each draw, the reference stays.",
                f"Predictions differ by their {'answer' if by_answer else 'being right or wrong'}.",
                "A finite set of models gives lower bounds of ambiguity and discrepancy.",
            ),
        )


def _steps(errors: np.ndarray, first: int) -> np.ndarray:
    top = float(max(errors.max() - errors[first], 0.01))
    return np.linspace(0.0, min(top * 1.05, 1.0), _STEPS)


def _measures(
    weights: np.ndarray, wrong: np.ndarray, differs: np.ndarray, first: int, epsilon: float
) -> tuple[float, float, float]:
    """Give how many models are as good, the ambiguity and the discrepancy, of weighted items; NaN with no other model."""
    total = weights.sum()
    errors = weights @ wrong / total
    inside = errors <= errors[first] + epsilon + 1e-12
    inside[first] = False
    if not inside.any():
        return 1.0, math.nan, math.nan
    chosen = differs[:, inside]
    return (
        float(inside.sum() + 1),
        float(weights @ chosen.any(axis=1) / total),
        float((weights @ chosen).max() / total),
    )


def _of_draws(
    wrong: np.ndarray, differs: np.ndarray, units: np.ndarray, first: int, steps: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Give the measures of each draw and epsilon, shape (draws, steps, 3).

    Models enter in the order of their errors. An item is ambiguous from the first model on that predicts it otherwise, and
    that place is the same for all draws with the same order, of which there are few.
    """
    weights = counts[:, units].astype(float)
    total = weights.sum(axis=1)
    errors = weights @ wrong / total[:, None]
    excess = errors - errors[:, [first]]
    churns = weights @ differs.astype(float) / total[:, None]
    others = np.array([model for model in range(wrong.shape[1]) if model != first])
    entering = others[np.argsort(excess[:, others], axis=1, kind="stable")]
    measures = np.full((len(counts), len(steps), 3), np.nan)
    orders, of = np.unique(entering, axis=0, return_inverse=True)
    for number, order in enumerate(orders):
        own = np.flatnonzero(of.ravel() == number)
        place = np.where(differs[:, order].any(axis=1), differs[:, order].argmax(axis=1), len(order))
        at_place = np.zeros((len(place), len(order) + 1))
        at_place[np.arange(len(place)), place] = 1.0
        ambiguity = np.cumsum((weights[own] @ at_place)[:, :-1], axis=1) / total[own, None]
        discrepancy = np.maximum.accumulate(churns[own][:, order], axis=1)
        entered = excess[own][:, order]
        inside = (entered[:, None, :] <= steps[None, :, None] + 1e-12).sum(axis=2)
        last = np.maximum(inside - 1, 0)
        rows = np.arange(len(own))[:, None]
        measures[own, :, 0] = 1 + inside
        measures[own, :, 1] = np.where(inside > 0, ambiguity[rows, last], np.nan)
        measures[own, :, 2] = np.where(inside > 0, discrepancy[rows, last], np.nan)
    return measures


def _estimates(
    sheet: Sheet, values: np.ndarray, low: np.ndarray, high: np.ndarray, level: float, wrong: np.ndarray, others: list[int],
    first: int,
) -> dict[str, Estimate]:  # fmt: skip
    why = "no other model is as good" if not others else ""
    estimates = {
        "n": Estimate(len(sheet), unit="items", why_no_interval="a count"),
        "members": Estimate(float(values[0]), float(low[0]), float(high[0]), level, "models that are as good"),
        "ambiguity": Estimate(float(values[1]), float(low[1]), float(high[1]), level, "of items", why),
        "discrepancy": Estimate(float(values[2]), float(low[2]), float(high[2]), level, "of items", why),
    }
    if others:
        pairs = [(wrong[:, first] > 0.5, wrong[:, other] > 0.5) for other in others]
        nfr = float(np.mean([np.mean(~one & other) for one, other in pairs]))
        pfr = float(np.mean([np.mean(one & ~other) for one, other in pairs]))
        estimates["mean_nfr"] = Estimate(nfr, why_no_interval="mean over the members; see compat.matrix")
        estimates["mean_pfr"] = Estimate(pfr, why_no_interval="mean over the members; see compat.matrix")
    return estimates


def _models(sheet: Sheet, errors: np.ndarray, differs: np.ndarray, first: int, epsilon: float) -> pd.DataFrame:
    order = np.argsort(errors, kind="stable")
    return pd.DataFrame(
        {
            "model": [sheet.names[number] for number in order],
            "error": errors[order],
            "excess": errors[order] - errors[first],
            "as_good": errors[order] <= errors[first] + epsilon + 1e-12,
            "differs_from_reference": differs.mean(axis=0)[order],
        }
    )


def figure(question: MultiplicityQuestion, result: Multiplicity) -> FigureSpec:
    """Draw ambiguity and discrepancy against the tolerance, and how many models dissent on how many items."""
    sweep = result.tables["sweep"]
    x = 100 * sweep["epsilon"].to_numpy(float)
    marks: list[Band | Line | Rule] = []
    for name, hue in (("ambiguity", "c0"), ("discrepancy", "c1")):
        values, low, high = (100 * sweep[key].to_numpy(float) for key in (name, f"{name}_low", f"{name}_high"))
        known = np.isfinite(low)
        marks.append(Band(key=f"{name} band", x=x[known], low=low[known], high=high[known], hue=hue))
        marks.append(Line(key=name, x=x, y=values, hue=hue, label=name, width=2.0))
    marks.append(
        Rule(
            key="epsilon", axis="x", at=100 * result.epsilon, hue="accent", label=f"ε = {100 * result.epsilon:g} points"
        )
    )
    counts = np.bincount(result.dissent, minlength=len(result.members)).astype(float)
    panels = [
        Panel(
            key="sweep",
            x=Axis(label="tolerated excess of the error rate ε (points)"),
            y=Axis(label="% of items", low=0.0),
            marks=tuple(marks),
            title="Against the tolerance",
        ),
        Panel(
            key="dissent",
            x=Axis(label=f"models of {len(result.members) - 1} that predict otherwise"),
            y=Axis(label="items", low=0.0),
            marks=(
                Bars(
                    key="dissent", at=np.arange(len(counts), dtype=float), height=counts, hue="c0",
                    origin=Clauses("predictions", result.dissent_items),
                    notes=tuple(f"{count:,.0f} items with {number} dissenters" for number, count in enumerate(counts.tolist())),
                ),
            ),
            title=f"Dissent within ε = {100 * result.epsilon:g} points",
        ),
    ]  # fmt: skip
    if len(result.members) < 2:
        panels = panels[:1]
    return FigureSpec(
        title=f"Models as good as {result.reference}",
        subtitle=f"{result.estimates['n'].value:,.0f} items; bands: "
        f"{100 * result.estimates['ambiguity'].level:g} % bootstrap over items",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="compat.multiplicity",
    title="Predictive multiplicity",
    asks="How arbitrary are predictions among equally good models?",
    question=MultiplicityQuestion,
    figure=figure,
    sources=(
        "Marx, Calmon and Ustun (2020), Predictive Multiplicity in Classification: ambiguity and discrepancy",
        "Watson-Daniels et al. (2024), Predictive Churn with the Set of Good Models",
    ),
    definition="""\
The Rashomon set R_ε holds every model g with err(g) ≤ err(f0) + ε, f0 the reference. Ambiguity = share of items that
some g in R_ε predicts otherwise than f0; discrepancy = the largest churn max_g C(f0, g). Churn between two members is
at most twice the discrepancy.

Unit: the item, or the cluster; the set is found anew in each draw. Trap: a finite set of runs gives lower bounds;
where no other model is as good both are undefined, not 0. """,
)
