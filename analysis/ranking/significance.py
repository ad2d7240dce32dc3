"""``rank.significance``: does the cheap evaluation keep the significant differences, not just the order?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Cells, Clauses, FigureSpec, Line, Mark, Panel, Points
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.selection import either, is_in
from ...models.store import RunStore
from ..answer_matrix import AnswerMatrix, answer_matrix
from ..pair_tests import MOST_MODELS, PairAnswers, adjusted, mcnemar_p, random_subsets
from ..resampling import percentile_interval

_FEWEST_ITEMS = 20
_BUDGETS = 10
KINDS = ("active disagreement", "mixed, opposite sign", "passive", "mixed, same sign", "active agreement")
"""What two evaluations can say of a pair, from the worst to the best; numbered -2 to 2."""
_SIGNS = ("- -", "-", "·", "+", "+ +")
_CHUNK_CELLS = 8_000_000


@dataclass(frozen=True, kw_only=True)
class SignificanceAgreement(Result):
    """What of the significant differences a cheaper evaluation keeps.

    Attributes
    ----------
    answers : AnswerMatrix
        The full evaluation.
    kinds : ndarray, shape (models, models)
        -2 to 2 as in `KINDS`, models in the order of the full evaluation, the best first; NaN on the diagonal.
    order : ndarray of int, shape (models,)
        That order.
    budgets : DataFrame
        One row a number of items: precision, recall and the share of each kind, with intervals over subsets; empty where two
        given evaluations are compared.
    cheap : str
        What the cheap evaluation is.
    """

    answers: AnswerMatrix
    kinds: np.ndarray
    order: np.ndarray
    budgets: pd.DataFrame
    cheap: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        recall = _percent(e["recall"])
        precision = _percent(e["precision"])
        return (
            f"Of {e['significant_full'].value:.0f} significant pairs of {len(self.order)} models, {self.cheap} keeps {recall}; "
            f"of those it finds, {precision} are significant the same way in the full evaluation."
        )


def _percent(e: Estimate) -> str:
    if math.isnan(e.value):
        return "none (there are none)"
    return f"{with_interval(100 * e.value, 100 * e.low, 100 * e.high)} %"


@dataclass(frozen=True, kw_only=True)
class SignificanceQuestion(Question):
    """Does the cheap evaluation keep the significant differences?"""

    needs: ClassVar = (Need("predictions", ("correct|prediction",)),)

    items: int | None = option(
        None, help="items of the cheap evaluation, drawn at random; a tenth if empty", low=_FEWEST_ITEMS
    )
    column: str = option(
        "", help="column that tells two evaluations apart (judge, variant); subsets of the items if empty",
        choices="columns of predictions",
    )  # fmt: skip
    full: str = option("", help="its value for the full evaluation")
    cheap: str = option("", help="its value for the cheap one")
    task: str = option("", help="the task; that of the most models if empty", choices="predictions.task")
    alpha: float = option(0.05, help="level of significance", low=0.0001, high=0.5)
    adjust: Literal["holm", "bh", "none"] = option("holm", help="adjustment for the number of pairs, the same in both")
    level: float = option(0.95, help="coverage of the intervals over subsets", low=0.5, high=0.999)
    draws: int = option(200, help="subsets of each size", low=20, high=10_000, advanced=True)
    seed: int = option(0, help="seed of the subsets", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> SignificanceAgreement:
        """Test every pair of models in both evaluations."""
        if self.column:
            return self._of_two(store)
        matrix = _limited(answer_matrix(store, task=self.task))
        n = len(matrix.right)
        if n < 2 * _FEWEST_ITEMS:
            raise TooLittleData(needs=f"at least {2 * _FEWEST_ITEMS} items answered by all", found=f"{n}")
        size = min(self.items or max(n // 10, _FEWEST_ITEMS), n)
        pairs = PairAnswers.of(matrix.right)
        truth = self._signs(*pairs.sums(np.ones((1, n))))[0]
        order_full = np.sign(pairs.only_first.sum(axis=0) - pairs.only_second.sum(axis=0))
        generator = np.random.default_rng(self.seed)
        sizes = np.unique([*np.geomspace(_FEWEST_ITEMS, n, _BUDGETS).round().astype(int), size])
        rows, kinds = [], None
        for number, budget in enumerate(sizes.tolist()):
            progress(number, len(sizes), f"{budget} items")
            found, ahead = self._drawn(pairs, generator, n, budget)
            if budget == size:
                kinds = _kinds(truth, order_full, found[0], ahead[0])
            rows.append({"items": budget} | self._rates(truth, order_full, found, ahead))
        budgets = pd.DataFrame(rows)
        at = budgets[budgets["items"] == size].iloc[0]
        assert kinds is not None
        note = (
            f"Unit: the item. {self.draws} subsets of each size drawn without replacement (seed {self.seed}); intervals, "
            f"{100 * self.level:g} %, are over subsets of these {n:,} items. The matrix shows the first subset of {size:,}."
        )
        return self._result(
            matrix, truth, kinds, {str(k): v for k, v in at.items()}, budgets, f"a random {size:,} of {n:,} items", note
        )

    def _of_two(self, store: RunStore) -> SignificanceAgreement:
        frame = store.rows("predictions")
        if self.column not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {self.column!r}.")
        values = [str(value) for value in frame[self.column].dropna().unique()]
        full = self.full or next((value for value in values if value != self.cheap), "")
        cheap = self.cheap or next((value for value in values if value != full), "")
        if not full or not cheap or {full, cheap} - set(values):
            raise AnalysisError(
                f"Two values of {self.column} are needed.", remedy=f"There are {', '.join(values[:12]) or 'none'}."
            )
        by = tuple(name for name in ("model", "version") if name != self.column)
        both = [
            _limited(answer_matrix(store.keeping(is_in(self.column, (value,))), task=self.task, by=by))
            for value in (full, cheap)
        ]
        names = [name for name in both[0].names if name in both[1].names]
        if len(names) < 2:
            raise TooLittleData(needs="at least 2 models in both evaluations", found=f"{len(names)}")
        rights = [one.right[:, [one.names.index(name) for name in names]] for one in both]
        matrix = AnswerMatrix(
            tuple(names), both[0].items, rights[0], both[0].clauses, both[0].keys, both[0].task, both[0].notes
        )
        signs, aheads = [], []
        for right in rights:
            pairs = PairAnswers.of(right)
            signs.append(self._signs(*pairs.sums(np.ones((1, len(right))))))
            aheads.append(np.sign(pairs.only_first.sum(axis=0) - pairs.only_second.sum(axis=0))[None])
        kinds = _kinds(signs[0][0], aheads[0][0], signs[1][0], aheads[1][0])
        rates = self._rates(signs[0][0], aheads[0][0], signs[1], aheads[1])
        rates |= {name: math.nan for name in rates if name.endswith(("_low", "_high"))}
        note = f"Unit: the item, {len(rights[0]):,} in {full} and {len(rights[1]):,} in {cheap}; each tested on its own items."
        return self._result(matrix, signs[0][0], kinds, rates, pd.DataFrame(), f"{self.column} {cheap}", note)

    def _signs(self, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Give, for every pair, 1 or -1 where the first or second is significantly better, else 0; shape (draws, pairs)."""
        significant = adjusted(mcnemar_p(np.round(b), np.round(c)), self.adjust) <= self.alpha
        signs: np.ndarray = np.sign(b - c) * significant
        return signs

    def _drawn(
        self, pairs: PairAnswers, generator: np.random.Generator, n: int, budget: int
    ) -> tuple[np.ndarray, np.ndarray]:
        found, ahead = [], []
        step = max(1, _CHUNK_CELLS // n)
        for start in range(0, self.draws, step):
            subsets = random_subsets(generator, min(step, self.draws - start), n, budget)
            b, c = pairs.sums(subsets)
            found.append(self._signs(b, c))
            ahead.append(np.sign(b - c))
        return np.concatenate(found), np.concatenate(ahead)

    def _rates(self, truth: np.ndarray, order: np.ndarray, found: np.ndarray, ahead: np.ndarray) -> dict[str, float]:
        """Give precision, recall and the share of each kind, with intervals over draws."""
        kept = ((found == truth) & (truth != 0)).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = kept / (found != 0).sum(axis=1)
            recall = kept / max(np.count_nonzero(truth), 0)
        order_kept = (1 + ahead * order).mean(axis=1) / 2
        kinds = _kinds(truth, order, found, ahead)
        shares = {f"share {name}": (kinds == number - 2).mean(axis=1) for number, name in enumerate(KINDS)}
        rates: dict[str, float] = {}
        for name, values in ({"precision": precision, "recall": recall, "order_kept": order_kept} | shares).items():
            known = values[np.isfinite(values)]
            low, high = (float(end) for end in percentile_interval(known, self.level))
            mean = float(known.mean()) if len(known) else math.nan
            # Where nearly all subsets agree, both percentiles may lie on one side of the mean.
            rates |= {name: mean, f"{name}_low": min(low, mean), f"{name}_high": max(high, mean)}
        return rates

    def _result(
        self, matrix: AnswerMatrix, truth: np.ndarray, kinds: np.ndarray, at: dict[str, Any], budgets: pd.DataFrame,
        cheap: str, note: str,
    ) -> SignificanceAgreement:  # fmt: skip
        models = len(matrix.names)
        first, second = np.triu_indices(models, 1)
        square = np.full((models, models), np.nan)
        square[first, second] = square[second, first] = kinds
        order = np.argsort(-matrix.right.mean(axis=0), kind="stable")
        why = "two evaluations, one each" if budgets.empty else "undefined in every subset"
        estimates = {
            name: Estimate(
                at[name], at[f"{name}_low"], at[f"{name}_high"], self.level, "of pairs",
                "" if math.isfinite(at[f"{name}_low"]) else why,
            )
            for name in ("precision", "recall", "order_kept", *(f"share {kind}" for kind in KINDS))
        }  # fmt: skip
        estimates["significant_full"] = Estimate(
            float(np.count_nonzero(truth)), unit="pairs", why_no_interval="a count"
        )
        table = pd.DataFrame(
            {
                "first": [matrix.names[i] for i in first],
                "second": [matrix.names[i] for i in second],
                "gap": matrix.right.mean(axis=0)[first] - matrix.right.mean(axis=0)[second],
                "significant_full": truth != 0,
                "kind": [KINDS[int(kind) + 2] for kind in kinds],
            }
        )
        tables = {"pairs": table} if budgets.empty else {"budgets": budgets, "pairs": table}
        return SignificanceAgreement(
            answers=matrix,
            kinds=square[np.ix_(order, order)],
            order=order,
            budgets=budgets,
            cheap=cheap,
            estimates=estimates,
            tables=tables,
            notes=(
                note,
                f"Every pair: McNemar, exact, two-sided at {self.alpha:g}, adjusted by {_ADJUSTED[self.adjust]} over "
                f"{counted(len(table), 'pair')}; the same rule in both evaluations.",
                "Precision: of the pairs significant in the cheap evaluation, the share significant the same way in the full "
                "one. Recall: of those significant in the full one, the share kept.",
                "The order can be kept while significance is lost, and the reverse.",
                *matrix.notes,
            ),
        )


_ADJUSTED = {"holm": "Holm", "bh": "Benjamini and Hochberg", "none": "nothing"}


def _limited(matrix: AnswerMatrix) -> AnswerMatrix:
    if len(matrix.names) > MOST_MODELS:
        raise AnalysisError(
            f"{len(matrix.names)} models make too many pairs (at most {MOST_MODELS} models).",
            remedy="Keep fewer with a filter.",
        )
    return matrix


def _kinds(truth: np.ndarray, order: np.ndarray, found: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Give the kind of each pair, -2 to 2, by significant signs and orders of the full and the cheap evaluation."""
    both = (truth != 0) & (found != 0)
    one = (truth != 0) ^ (found != 0)
    same = np.where(both, truth == found, order == ahead)
    kinds: np.ndarray = np.where(both, np.where(same, 2, -2), np.where(one, np.where(same, 1, -1), 0))
    return kinds


def figure(question: SignificanceQuestion, result: SignificanceAgreement) -> FigureSpec:
    """Draw what the two evaluations say of every pair, and precision and recall against the number of items."""
    names = tuple(result.answers.names[i] for i in result.order)
    few = len(names) <= 14
    texts = (
        tuple(tuple("" if np.isnan(v) else _SIGNS[int(v) + 2] for v in row) for row in result.kinds.tolist())
        if few
        else ()
    )
    clauses = result.answers.clauses
    behind = tuple(either(clauses[a], clauses[b]) for a in names for b in names)
    cells = Cells(
        key="kinds", values=-result.kinds, rows=names, columns=names, texts=texts, ramp="diverging", low=-2.0, high=2.0,
        label="disagreement", origin=Clauses("predictions", behind),
    )  # fmt: skip
    matrix = Panel(
        key="pairs",
        x=Axis(label="+ + both significant, + one, · none, − opposite" if few else "", scale="category", names=names),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(cells,),
        title="Pairs, full against cheap",
        square=True,
    )
    panels = [matrix]
    if len(result.budgets):
        x = result.budgets["items"].to_numpy(float)
        marks: list[Mark] = []
        for number, (name, label) in enumerate(
            (("precision", "precision"), ("recall", "recall"), ("order_kept", "order kept"))
        ):
            value, low, high = (result.budgets[f"{name}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
            hue = f"c{number}"
            if name != "order_kept":
                marks.append(Band(key=f"{name}/band", x=x, low=low, high=high, hue=hue))
            marks.append(Line(key=name, x=x, y=value, hue=hue, width=2.0, label=label))
            notes = tuple(
                f"{items:,.0f} items: {label} {with_interval(v, a, b)}"
                for items, v, a, b in zip(x.tolist(), value.tolist(), low.tolist(), high.tolist(), strict=True)
            )
            marks.append(Points(key=f"{name}/points", x=x, y=value, hue=hue, notes=notes))
        panels.append(
            Panel(
                key="budget",
                x=Axis(label="items", scale="log"),
                y=Axis(label="share of pairs", low=0.0, high=1.02),
                marks=tuple(marks),
                title="By budget",
            )
        )
    subtitle = f"{counted(len(names), 'model')}, the best first; {result.cheap}; McNemar, {_ADJUSTED[question.adjust]}"
    if len(result.budgets):
        subtitle += f"; bands: {100 * question.level:g} % over subsets"
    return FigureSpec(
        title="Significance kept by a cheap evaluation",
        subtitle=subtitle,
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="rank.significance",
    title="Significance-aware agreement",
    asks="Does the cheap evaluation keep the significant differences, not just the order?",
    question=SignificanceQuestion,
    figure=figure,
    sources=(
        "Otero, Parapar and Ferro (2023), How Discriminative Are Your Qrels? active and passive agreement",
        "McNemar (1947); Holm (1979); Benjamini and Hochberg (1995)",
    ),
    definition="""\
Every pair of models is tested in the full and in the cheap evaluation: active agreement (both significant, same
winner), active disagreement (both, other winner), mixed (one significant, with the same or the opposite sign), passive
(neither). Precision and recall are those of significant pairs with the right winner.

Unit: the item. Cheap is a random subset of the items, at a whole range of sizes, or a second evaluation told apart by a
column. Rank correlation and significance disagree: an order can hold without a single significant pair. """,
)
