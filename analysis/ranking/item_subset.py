"""``rank.item-subset``: which items suffice, and on how many must a new model be run?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Line, Mark, Panel, Points
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.store import RunStore
from ..answer_matrix import AnswerMatrix, answer_matrix
from ..pair_tests import MOST_MODELS, PairAnswers, better_p, mcnemar_p, random_subsets
from ..rank_correlation import FEWEST, kendall_matrix
from ..resampling import percentile_interval

STRATEGIES = ("random", "variance", "order")
"""Ways to choose items."""
_SAID = {"random": "at random", "variance": "by variance over models", "order": "by agreement with the order"}
_FEWEST_ITEMS = 20
_FLOOR = 0.1
_ALPHA = 0.05
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


def utilities(right: np.ndarray) -> dict[str, np.ndarray]:
    """Give how useful each item is, shape (items,), by strategy; of `right`, shape (items, models).

    Notes
    -----
    'variance' is p (1 - p) of the models; 'order' is Stuart's (1953) tau-c of the answers to the item with the scores on all
    items: 4 (P - Q) / n^2 for right and wrong.
    """
    score = right.mean(axis=0)
    ahead = np.sign(score[:, None] - score).sum(axis=1)
    return {"variance": right.var(axis=1), "order": 4 * (right @ ahead) / right.shape[1] ** 2}


def soft_pairwise_accuracy(p: np.ndarray, p_full: np.ndarray) -> np.ndarray:
    """Give 1 less the mean gap between the p-values of all pairs, over the last axis (Thompson et al. 2024)."""
    accuracy: np.ndarray = 1 - np.abs(p - p_full).mean(axis=-1)
    return accuracy


def significance_clusters(score: np.ndarray, pairs: PairAnswers, p: np.ndarray) -> int:
    """Count groups of models, from the best on: one significantly worse than the first of a group begins another."""
    n = len(score)
    worse = np.ones((n, n))
    worse[pairs.first, pairs.second] = worse[pairs.second, pairs.first] = p
    groups, leader = 0, -1
    for model in np.argsort(-score, kind="stable").tolist():
        if leader < 0 or (worse[leader, model] < _ALPHA and score[model] < score[leader]):
            groups, leader = groups + 1, model
    return groups


def active_estimates(loss: np.ndarray, weight: np.ndarray, budgets: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Give estimates of the mean of `loss` from the first items drawn, without replacement and in proportion to `weight`.

    Parameters
    ----------
    loss, weight : ndarray, shape (items,)
    budgets : ndarray of int, shape (k,)
        How many items are drawn.

    Returns
    -------
    ndarray, shape (draws, k)

    Raises
    ------
    AnalysisError
        When some weight is zero: what can never be drawn cannot be accounted for.

    Notes
    -----
    Levelled unbiased risk estimator (Farquhar et al. 2021; Kossen et al. 2021): mean of v_m l_m with
    v_m = 1 + (N - M) / (N - m) (1 / ((N - m + 1) q_m) - 1), q_m the chance of the m-th item among those left.
    """
    if not (weight > 0).all():
        raise AnalysisError("Some item has no chance of being drawn, so that no estimate can be unbiased.")
    generator = np.random.default_rng(seed)
    n, most = len(loss), int(budgets.max())
    estimates = np.empty((draws, len(budgets)))
    for draw in range(draws):
        # Waiting times in proportion to 1 / weight end in the order of draws without replacement.
        order = np.argsort(generator.exponential(size=n) / weight)[:most]
        drawn = weight[order]
        left = weight.sum() - np.concatenate([[0.0], np.cumsum(drawn)[:-1]])
        q = np.minimum(drawn / np.maximum(left, drawn), 1.0)
        m = np.arange(1, most + 1)
        odds = 1 / ((n - m + 1) * q) - 1
        for place, budget in enumerate(budgets.tolist()):
            within = slice(0, budget)
            with np.errstate(divide="ignore", invalid="ignore"):
                level = np.where(m[within] < n, (n - budget) / (n - m[within]), 0.0)
            estimates[draw, place] = float(np.mean((1 + level * odds[within]) * loss[order[within]]))
    return estimates


@dataclass(frozen=True, kw_only=True)
class ItemSubset(Result):
    """How well parts of the items rank and score models.

    Attributes
    ----------
    matrix : AnswerMatrix
        Who was right on what.
    fidelity : DataFrame
        One row a strategy and number of items: means over splits and their intervals.
    active : DataFrame
        One row a way of drawing and number of items: error of the accuracy of a new model.
    held_out : bool
        Whether models that did not choose the items were ranked.
    enough : Mapping of str to float
        Least number of items of which tau-b reaches what is wanted, by strategy; NaN where none does.
    """

    matrix: AnswerMatrix
    fidelity: pd.DataFrame
    active: pd.DataFrame
    held_out: bool
    enough: dict[str, float]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        n = len(self.matrix.items)
        known = {name: value for name, value in self.enough.items() if math.isfinite(value)}
        wanted = self.estimates["wanted"].value
        if not known:
            return f"No part of the {n:,} items keeps the order with a mean tau-b of {wanted:g}."
        best = min(known, key=lambda name: known[name])
        said = f"{known[best]:,.0f} of {n:,} items chosen {_SAID[best]} keep the order with a mean tau-b of {wanted:g}"
        if best != "random" and "random" in known:
            said += f"; at random it takes {known['random']:,.0f}"
        whom = "models that did not choose them" if self.held_out else "the models that chose them"
        return f"{said} ({whom})."


@dataclass(frozen=True, kw_only=True)
class SubsetQuestion(Question):
    """Which items suffice?"""

    needs: ClassVar = (Need("predictions"),)

    task: str = option("", help="the task; that of the most models if empty", choices="predictions.task")
    wanted: float = option(0.9, help="mean tau-b that is enough", low=0.0, high=1.0)
    export: Literal["random", "variance", "order"] = option("variance", help="how the items of the table are chosen")
    size: int = option(100, help="how many items the table lists", unit="items", low=1, high=1_000_000)
    held_out: bool = option(True, help="choose items by one half of the models and rank the other half")
    repeats: int = option(40, help="splits of the models, each with a random subset", low=5, high=10_000)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    seed: int = option(0, help="seed of splits and draws", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> ItemSubset:
        """Choose items by some models, rank the others."""
        matrix = answer_matrix(store, task=self.task, fewest=FEWEST)
        right = matrix.right
        n, k = right.shape
        if n < _FEWEST_ITEMS or k > MOST_MODELS:
            raise TooLittleData(
                needs=f"at least {_FEWEST_ITEMS} items that all of {FEWEST} to {MOST_MODELS} models answered",
                found=f"{counted(n, 'item')}, {counted(k, 'model')}",
            )
        held_out = self.held_out and k >= 2 * FEWEST
        sizes = np.unique([max(5, round(share * n)) for share in _SHARES])
        fidelity = _fidelity(right, sizes, held_out, self, progress)
        active = _active(right, sizes[sizes < n], self)
        enough = {}
        for name in STRATEGIES:
            part = fidelity[fidelity["strategy"] == name]
            reached = part["tau_b"].to_numpy() >= self.wanted - 1e-12
            # All larger parts must reach it too: one lucky size is not enough.
            lasting = np.logical_and.accumulate(reached[::-1])[::-1]
            enough[name] = float(part["items"].to_numpy()[lasting].min()) if lasting.any() else math.nan
        listed = _listed(matrix, self)
        estimates = {"wanted": Estimate(self.wanted, why_no_interval="what was asked for")}
        for name, value in enough.items():
            estimates[f"items/{name}"] = Estimate(value, unit="items", why_no_interval="read off means over splits")
        near = int(sizes[int(np.argmin(np.abs(sizes - 0.1 * n)))])
        for row in fidelity[fidelity["items"] == near].to_dict("records"):
            for name in ("spa", "tau_b"):
                low, high = row[f"{name}_low"], row[f"{name}_high"]
                estimates[f"{name}/{row['strategy']}/{near}"] = Estimate(row[name], low, high, self.level)
        notes = [
            f"Unit: splits of the models with a subset of the items each, {self.repeats} repeats; intervals are the middle "
            f"{100 * self.level:g} % of them. {n:,} items, {k} models.",
            "Items are chosen by one half of the models and rank the other half."
            if held_out
            else "Attention: items are chosen by the same models they rank, which makes them look too good"
            + (f" (below {2 * FEWEST} models there is no other way)." if k < 2 * FEWEST else "."),
            "Soft pairwise accuracy: 1 less the mean gap between the p-values of all pairs (exact paired permutation) on the "
            f"part and on all items. Clusters: models not worse than the first of theirs at p < {_ALPHA}, not adjusted.",
            "New model: its accuracy from items drawn in proportion to the root of the share of other models that are wrong "
            f"(at least {_FLOOR}), weighted so that it stays unbiased, against items at random.",
            *matrix.notes,
        ]
        return ItemSubset(
            matrix=matrix,
            fidelity=fidelity,
            active=active,
            held_out=held_out,
            enough=enough,
            estimates=estimates,
            tables={"fidelity": fidelity, "active": active, "items": listed},
            notes=tuple(notes),
        )


def _fidelity(
    right: np.ndarray, sizes: np.ndarray, held_out: bool, asked: SubsetQuestion, progress: Progress
) -> pd.DataFrame:
    n, k = right.shape
    generator = np.random.default_rng(asked.seed)
    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    for repeat in range(asked.repeats):
        progress(repeat, asked.repeats, "splits")
        order = generator.permutation(k) if held_out else np.arange(k)
        choosing, ranked = (order[: k // 2], order[k // 2 :]) if held_out else (order, order)
        worth = utilities(right[:, choosing])
        # Equal items come in any order, not in that of the file.
        shuffled = generator.permutation(n)
        by_worth = {name: shuffled[np.argsort(-value[shuffled], kind="stable")] for name, value in worth.items()}
        others = right[:, ranked]
        pairs, full = PairAnswers.of(others), others.mean(axis=0)
        keys, subsets = [], []
        for size in sizes.tolist():
            keys.append(("random", size))
            subsets.append(random_subsets(generator, 1, n, size)[0])
            for name, first in by_worth.items():
                keys.append((name, size))
                subsets.append(np.isin(np.arange(n), first[:size]).astype(np.float32))
        weights = np.stack([*subsets, np.ones(n, dtype=np.float32)])
        b, c = pairs.sums(weights)
        p, tests = better_p(b, c), mcnemar_p(b, c)
        accuracy = soft_pairwise_accuracy(p[:-1], p[-1])
        scores = weights[:-1].astype(float) @ others / weights[:-1].sum(axis=1, keepdims=True)
        taus = kendall_matrix(np.column_stack([full, scores.T]))[0, 1:]
        for number, key in enumerate(keys):
            top = scores[number] == scores[number].max()
            lost = float(full.max() - full[top].mean())
            clusters = significance_clusters(scores[number], pairs, tests[number])
            found.setdefault(key, []).append(
                (float(accuracy[number]), float(taus[number]), max(lost, 0.0), float(clusters))
            )
    rows = []
    for (name, size), values in found.items():
        each = np.array(values)
        with np.errstate(invalid="ignore"):
            known = ~np.isnan(each).all(axis=0)
            means = np.where(known, np.nansum(each, axis=0) / np.maximum((~np.isnan(each)).sum(axis=0), 1), np.nan)
        low, high = (np.asarray(end) for end in percentile_interval(each, asked.level))
        row: dict[str, object] = {"strategy": name, "items": size}
        for place, what in enumerate(("spa", "tau_b", "regret", "clusters")):
            row |= {what: means[place], f"{what}_low": low[place], f"{what}_high": high[place]}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["strategy", "items"], kind="stable", ignore_index=True)


def _active(right: np.ndarray, sizes: np.ndarray, asked: SubsetQuestion) -> pd.DataFrame:
    """Give the root mean square error of the accuracy of each model, run on a part of the items, over models and draws."""
    k = right.shape[1]
    squares: dict[str, list[np.ndarray]] = {"chosen by the others": [], "at random": []}
    for model in range(k):
        wrong = 1 - right[:, model]
        others = 1 - np.delete(right, model, axis=1).mean(axis=1)
        for name, weight in (
            ("chosen by the others", np.sqrt(np.maximum(others, _FLOOR**2)) if k > 1 else np.ones(len(right))),
            ("at random", np.ones(len(right))),
        ):
            estimates = active_estimates(wrong, weight, sizes, asked.repeats, asked.seed + model)
            squares[name].append(((estimates - wrong.mean()) ** 2).mean(axis=0))
    rows = [
        (name, int(size), float(np.sqrt(np.mean([one[place] for one in each]))))
        for name, each in squares.items()
        for place, size in enumerate(sizes)
    ]
    return pd.DataFrame(rows, columns=["drawn", "items", "rmse"])


def _listed(matrix: AnswerMatrix, asked: SubsetQuestion) -> pd.DataFrame:
    """Give the items chosen by all models, the most useful first."""
    worth = utilities(matrix.right)
    generator = np.random.default_rng(asked.seed)
    order = generator.permutation(len(matrix.items))
    if asked.export != "random":
        order = order[np.argsort(-worth[asked.export][order], kind="stable")]
    kept = order[: asked.size]
    listed: pd.DataFrame = matrix.items.iloc[kept].reset_index(drop=True)
    return listed.assign(
        share_right=matrix.right[kept].mean(axis=1), variance=worth["variance"][kept], order=worth["order"][kept]
    )


def figure(question: SubsetQuestion, result: ItemSubset) -> FigureSpec:
    """Draw how well the order survives, by number of items and strategy, and the error of a new model's accuracy."""
    panels = []
    level = f"{100 * question.level:g} %"
    for what, label in (("tau_b", "tau-b"), ("spa", "soft pairwise acc.")):
        marks: list[Mark] = []
        for number, name in enumerate(STRATEGIES):
            part = result.fidelity[result.fidelity["strategy"] == name]
            x, y, low, high = (part[key].to_numpy(float) for key in ("items", what, f"{what}_low", f"{what}_high"))
            hue = f"c{number}"
            notes = tuple(
                f"{size:,.0f} items {_SAID[name]}: {with_interval(*values)}"
                for size, *values in zip(x.tolist(), y.tolist(), low.tolist(), high.tolist(), strict=True)
            )
            if name == "random":
                marks.append(Band(key=f"{name}/band", x=x, low=low, high=high, hue=hue, label=f"{level} of splits"))
            marks.append(Line(key=name, x=x, y=y, hue=hue, width=1.8, label=_SAID[name]))
            marks.append(Points(key=f"{name}/points", x=x, y=y, hue=hue, notes=notes))
        panels.append(
            Panel(
                key=what,
                x=Axis(label="items", scale="log", column="items"),
                y=Axis(label=label, high=1.0),
                marks=tuple(marks),
                title="Order" if what == "tau_b" else "Significance",
                legend=what == "tau_b",
            )
        )
    drawn: list[Mark] = []
    for drawing, part in result.active.groupby("drawn", sort=False):
        x, y = part["items"].to_numpy(float), 100 * part["rmse"].to_numpy(float)
        # Items at random have the hue and the entry in the legend they have in the other panels.
        plain = drawing == "at random"
        label = "" if plain else f"{drawing}, weighted"
        drawn.append(Line(key=str(drawing), x=x, y=y, hue="c0" if plain else "c3", width=1.8, label=label))
    new = Panel(
        key="new",
        x=Axis(label="items run", scale="log", column="items"),
        y=Axis(label="error (points)", low=0.0),
        marks=tuple(drawn),
        title="A new model's accuracy",
    )
    ranked = "models that did not choose the items" if result.held_out else "the models that chose the items"
    return FigureSpec(
        title="How few items suffice",
        subtitle=f"{len(result.matrix.items):,} items, {counted(len(result.matrix.names), 'model')}; order of {ranked}; "
        f"{question.repeats} repeats",
        panels=(*panels, new),
        columns=3,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="rank.item-subset",
    title="Items that suffice",
    asks="Which items suffice to rank models, and on how many must a new one be run?",
    question=SubsetQuestion,
    figure=figure,
    sources=(
        "Thompson, Mathur, Deutsch and Khayrallah (2024): soft pairwise accuracy",
        "Stuart (1953): tau-c; How to Select Datapoints for Efficient Human Evaluation of NLG Models? (2025)",
        "Kossen et al. (2021), Active Testing; Farquhar, Gal and Rainforth (2021): the unbiased estimator",
    ),
    definition="""\
Items are chosen at random, by the variance of the answers over models, or by Stuart's tau-c of the answers with the order of
all items. Fidelity of a part: tau-b of its order with that of all items, soft pairwise accuracy $1-\\overline{|p-p_{all}|}$
over pairs with exact paired p-values, what choosing the best model by it loses, and the number of significance clusters.

A new model's accuracy from $M$ of $N$ items drawn with chances $q_m$: $\\frac1M\\sum v_m l_m$ with
$v_m=1+\\frac{N-M}{N-m}\\left(\\frac{1}{(N-m+1)q_m}-1\\right)$, unbiased for every $q$ above zero.

Unit: splits of the models, one half choosing and the other ranked. Traps: items chosen on the same models look too good;
a high tau-b of models far apart says little of neighbours. """,
)
