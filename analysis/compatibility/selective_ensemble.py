"""``compat.selective-ensemble``: which predictions survive retraining with another seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, Clauses, FigureSpec, Line, Panel
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result
from ...models.selection import Clause
from ...models.store import RunStore
from ..answer_sheet import AnswersQuestion, Sheet, answer_sheet
from ..resampling import wilson

_LEAST = 6
"""Unanimous votes of fewer seeds do not pass a two-sided test at 0.05."""


@dataclass(frozen=True, kw_only=True)
class SelectiveEnsemble(Result):
    """Votes of models that differ in their seed.

    Attributes
    ----------
    seeds : tuple of str
        The models.
    lead : ndarray of int, shape (items,)
        Votes of the first answer less those of the second.
    kept : ndarray of bool, shape (items,)
        Whether the vote passes the test.
    decided_items, close_items : tuple of Clause
        Items by lead (0, 1, ..., number of seeds) whose vote passes, and whose does not.
    """

    seeds: tuple[str, ...]
    lead: np.ndarray
    kept: np.ndarray
    decided_items: tuple[Clause, ...]
    close_items: tuple[Clause, ...]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        return (
            f"{len(self.seeds)} seeds agree well enough on {100 * e['coverage'].value:.1f} % of {e['n'].value:,.0f} items, "
            f"where they are right in {100 * e['accuracy_covered'].value:.1f} %; on the rest one abstains. Seeds differ on "
            f"{100 * e['inconsistent_before'].value:.1f} % of the items."
        )


@dataclass(frozen=True, kw_only=True)
class SelectiveEnsembleQuestion(AnswersQuestion):
    """Which predictions survive retraining?"""

    versions: tuple[str, ...] = option(
        (), help="models that differ in their seed alone; all if empty", choices="predictions.version|predictions.model"
    )
    alpha: float = option(0.05, help="level of the vote's test; smaller abstains more", low=1e-6, high=0.5)
    subsets: int = option(20, help="random subsets of seeds for each number of them", low=1, high=1000, advanced=True)
    seed: int = option(0, help="seed of the subsets", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> SelectiveEnsemble:
        """Vote, test the vote, and repeat with fewer seeds."""
        asked = self.resolved(store)
        if asked.unanswered == "guess":
            raise AnalysisError("A guessed answer cannot vote.", remedy="Count no answer as wrong or drop it.")
        sheet = answer_sheet(store, asked, asked.versions)
        k = len(sheet.names)
        if sheet.answers is None:
            raise AnalysisError(
                "The answers were not recorded, only whether they are right.", remedy="Map 'prediction'."
            )
        if k < _LEAST:
            raise TooLittleData(
                needs=f"{_LEAST} seeds or more (a unanimous vote of fewer passes no test at 0.05)", found=str(k)
            )
        vote = voted(sheet.answers, asked.alpha)
        right = _right_of(sheet, vote.first)
        sweep = _sweep(sheet, asked, progress)
        lead = vote.votes - vote.second_votes
        order = np.argsort(lead, kind="stable")
        shown = order[~vote.kept[order]]
        listed = sheet.items.iloc[shown].reset_index(drop=True).assign(
            first=[_text(sheet, code) for code in vote.first[shown]], votes=vote.votes[shown],
            second_votes=vote.second_votes[shown], first_right=right[shown],
        )  # fmt: skip
        return SelectiveEnsemble(
            seeds=sheet.names,
            lead=lead,
            kept=vote.kept,
            decided_items=tuple(sheet.clause((lead == number) & vote.kept) for number in range(k + 1)),
            close_items=tuple(sheet.clause((lead == number) & ~vote.kept) for number in range(k + 1)),
            estimates=_estimates(sheet, vote, right, sweep, asked),
            tables={"by_seeds": sweep, "items": listed},
            notes=(
                f"Unit: the item, n = {len(sheet):,}; {k} seeds ({sheet.by}).",
                f"An item is answered where the two-sided binomial p of the first against the second answer is at most "
                f"{asked.alpha:g}; a tie for the first abstains.",
                f"Fewer seeds: means over {asked.subsets} random subsets, seed {asked.seed}; inconsistent_after compares two "
                "disjoint subsets where there are enough seeds.",
                *sheet.notes,
            ),
        )


@dataclass(frozen=True, eq=False)
class Vote:
    """The first answer of each item (-1: none), its votes, those of the second, and whether the vote passes."""

    first: np.ndarray
    votes: np.ndarray
    second_votes: np.ndarray
    kept: np.ndarray


def vote_p(votes: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Give the two-sided binomial p of `votes` of `total` at 1/2."""
    from scipy.special import bdtr

    smaller = np.minimum(votes, total - votes)
    return np.asarray(np.minimum(1.0, 2 * bdtr(smaller.astype(float), total.astype(int), 0.5)))


def voted(answers: np.ndarray, alpha: float) -> Vote:
    """Count the votes on each item, and test the first answer against the second.

    Parameters
    ----------
    answers : ndarray of int, shape (items, seeds)
        -1 for no answer, which counts as one answer like another.
    """
    rows = np.sort(answers, axis=1)
    k = rows.shape[1]
    counts = np.zeros(rows.shape, dtype=int)
    run = np.ones(len(rows), dtype=int)
    for column in range(k):
        if column:
            run = np.where(rows[:, column] == rows[:, column - 1], run + 1, 1)
        last = np.ones(len(rows), dtype=bool) if column == k - 1 else rows[:, column] != rows[:, column + 1]
        counts[:, column] = np.where(last, run, 0)
    order = np.argsort(-counts, axis=1, kind="stable")
    index = np.arange(len(rows))
    first, votes = rows[index, order[:, 0]], counts[index, order[:, 0]]
    second = counts[index, order[:, 1]] if k > 1 else np.zeros(len(rows), dtype=int)
    kept = (vote_p(votes, votes + second) <= alpha) & (votes > second)
    return Vote(first, votes, second, kept)


def _right_of(sheet: Sheet, first: np.ndarray) -> np.ndarray:
    """Give whether the first answer is right: as those who gave it were."""
    assert sheet.answers is not None
    gave = sheet.answers == first[:, None]
    return np.asarray((np.where(gave, sheet.right, 0.0).sum(axis=1) / gave.sum(axis=1)) > 0.5)


def _text(sheet: Sheet, code: int) -> str:
    return "none" if code < 0 else str(sheet.texts[code])


def _sweep(sheet: Sheet, asked: SelectiveEnsembleQuestion, progress: Progress) -> pd.DataFrame:
    assert sheet.answers is not None
    k = len(sheet.names)
    generator = np.random.default_rng(asked.seed)
    rows = []
    for size in range(2, k + 1):
        progress(size - 2, k - 1)
        draws = 1 if size == k else asked.subsets
        found = []
        for _ in range(draws):
            order = generator.permutation(k)
            vote = voted(sheet.answers[:, order[:size]], asked.alpha)
            right = _right_of(sheet, vote.first)
            differ = math.nan
            if 2 * size <= k:
                other = voted(sheet.answers[:, order[size : 2 * size]], asked.alpha)
                both = vote.kept & other.kept
                differ = float(np.mean(both & (vote.first != other.first)))
            covered = float(vote.kept.mean())
            found.append((1 - covered, float(right[vote.kept].mean()) if covered else math.nan, differ))
        values = np.array(found)
        mean = [float(np.nanmean(column)) if np.isfinite(column).any() else math.nan for column in values.T]
        low, high = np.quantile(values[:, 0], [0.025, 0.975])
        rows.append({"seeds": size, "subsets": draws, "abstention": mean[0], "lowest": float(low), "highest": float(high),
                     "accuracy_covered": mean[1], "inconsistent_after": mean[2]})  # fmt: skip
    return pd.DataFrame(rows)


def _estimates(
    sheet: Sheet, vote: Vote, right: np.ndarray, sweep: pd.DataFrame, asked: SelectiveEnsembleQuestion
) -> dict[str, Estimate]:
    assert sheet.answers is not None
    n, kept = len(sheet), vote.kept
    estimates = {
        "n": Estimate(n, unit="items", why_no_interval="a count"),
        "seeds": Estimate(len(sheet.names), why_no_interval="a count"),
    }
    torn = (sheet.answers != sheet.answers[:, [0]]).any(axis=1)
    for name, hits, inside, unit in (
        ("coverage", kept, np.ones(n, dtype=bool), "of items answered"),
        ("abstention", ~kept, np.ones(n, dtype=bool), "of items"),
        ("accuracy_covered", right, kept, "of the answered"),
        ("accuracy_majority", right, np.ones(n, dtype=bool), "of all, majority vote"),
        ("inconsistent_before", torn, np.ones(n, dtype=bool), "of items on which seeds differ"),
    ):
        size = int(inside.sum())
        low, high = wilson(float(hits[inside].sum()), size, asked.level)
        value = float(hits[inside].mean()) if size else math.nan
        estimates[name] = Estimate(
            value, float(low), float(high), asked.level, unit, "" if size else "nothing is answered"
        )
    after = sweep["inconsistent_after"].dropna()
    estimates["inconsistent_after"] = Estimate(
        float(after.iloc[-1]) if len(after) else math.nan, unit="of items, two disjoint ensembles that answer differ",
        why_no_interval=f"a mean over subsets of {int(sweep.loc[after.index[-1], 'seeds']) if len(after) else 0} seeds",
    )  # fmt: skip
    return estimates


def figure(question: SelectiveEnsembleQuestion, result: SelectiveEnsemble) -> FigureSpec:
    """Draw abstention and accuracy against the number of seeds, and by how many votes items are decided."""
    sweep = result.tables["by_seeds"]
    x = sweep["seeds"].to_numpy(float)
    k = len(result.seeds)
    bars = []
    base = np.zeros(k + 1)
    for key, inside, hue, label, clauses in (
        ("close", ~result.kept, "muted", "too close", result.close_items),
        ("decided", result.kept, "c0", "decided", result.decided_items),
    ):
        counts = np.bincount(result.lead[inside], minlength=k + 1).astype(float)
        at = np.flatnonzero(counts)
        if len(at):
            bars.append(
                Bars(key=key, at=at.astype(float), height=(base + counts)[at], base=base[at], hue=hue, label=label,
                     origin=Clauses("predictions", tuple(clauses[i] for i in at.tolist())))
            )  # fmt: skip
        base = base + counts
    return FigureSpec(
        title="Predictions that survive another seed",
        subtitle=f"{k} seeds, {result.estimates['n'].value:,.0f} items, test of the vote at {question.alpha:g}",
        panels=(
            Panel(
                key="seeds",
                x=Axis(label="seeds"),
                y=Axis(label="% of items", low=0.0, high=100.0),
                marks=(
                    Line(key="abstention", x=x, y=100 * sweep["abstention"].to_numpy(float), hue="c1", label="abstains",
                         width=2.0),
                    Line(key="accuracy", x=x, y=100 * sweep["accuracy_covered"].to_numpy(float), hue="c0",
                         label="right where it answers", width=2.0),
                ),
                title="With more seeds",
            ),
            Panel(
                key="leads", x=Axis(label="votes of the first answer less the second"), y=Axis(label="items", low=0.0),
                marks=tuple(bars), title="How items are decided",
            ),
        ),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="compat.selective-ensemble",
    title="Selective ensemble",
    asks="Which predictions survive retraining with another seed?",
    question=SelectiveEnsembleQuestion,
    figure=figure,
    sources=("Black, Leino and Fredrikson (2022), Selective Ensembles for Consistent Predictions",),
    definition="""\
The seeds vote on each item; with n_A votes for the first answer and n_B for the second it is answered where the
two-sided binomial p(n_A, n_A + n_B, 1/2) ≤ α, else one abstains. Abstention, coverage, accuracy where answered;
inconsistent before = share of items on which seeds differ; after = share on which two ensembles of disjoint seeds
both answer, and differ.

Unit: the item (Wilson); subsets of seeds for fewer seeds. A unanimous vote passes 0.05 from 6 seeds on (p = 0.031),
0.01 from 8. Trap: a consistent answer is not a right one. """,
)
