"""``selective.abstention``: does abstaining remove errors, or good answers?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, Cells, Clauses, FigureSpec, Line, Mark, Panel
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted
from ...models.selection import is_in
from ...models.store import RunStore
from ..answers import at_epoch, in_natural_order, present, rightness, unanswered
from ..resampling import DRAWS, percentile_interval, wilson

_RATES = ("abstain_recall", "abstain_error", "abstained", "precision", "base_accuracy", "kept_good")


@dataclass(frozen=True, kw_only=True)
class Abstention(Result):
    """What was abstained from.

    Attributes
    ----------
    mosaic : DataFrame
        Counts: base (right, wrong) by what happened (abstained, right, wrong).
    rates : DataFrame
        One row a rate: rate, value, low, high, of (rows behind it).
    seeds : DataFrame
        For ensembles of seeds: seeds, abstained, disagree, accuracy of kept answers; empty otherwise.
    clauses : tuple
        Rows of each cell of the mosaic.
    """

    mosaic: pd.DataFrame
    rates: pd.DataFrame
    seeds: pd.DataFrame
    clauses: Clauses | None

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        if len(self.seeds):
            last = self.seeds.iloc[-1]
            right = f"answers kept are {100 * last['accuracy']:.1f} % right, and " if last["accuracy"] >= 0 else ""
            return (
                f"A vote of {int(last['seeds'])} seeds abstains from {100 * last['abstained']:.1f} % of items; {right}"
                f"halves of the seeds keep different ones on {100 * last['disagree']:.2f} %."
            )
        recall, error = e["abstain_recall"], e["abstain_error"]
        return (
            f"Abstains from {100 * recall.value:.1f} % [{100 * recall.low:.1f}, {100 * recall.high:.1f}] of what the base got "
            f"wrong and {100 * error.value:.1f} % [{100 * error.low:.1f}, {100 * error.high:.1f}] of what it got right."
        )


@dataclass(frozen=True, kw_only=True)
class AbstentionQuestion(Question):
    """Does abstaining remove errors, or good answers?"""

    needs: ClassVar = (Need("predictions"),)

    base: str = option("", help="version without abstention; the first if empty", choices="predictions.version")
    version: str = option("", help="version that abstains; the last if empty", choices="predictions.version")
    abstained: str = option(
        "", help="column that is 1 where it abstained; no prediction if empty", choices="columns of predictions"
    )
    answerable: str = option("", help="column that is 1 where there is an answer", choices="columns of predictions")
    seeds: str = option(
        "",
        help="column of seeds: answer by a vote of seeds that must be significant, instead",
        choices="columns of predictions",
    )
    significance: float = option(0.05, help="greatest p of the two-sided binomial test of the two answers with most votes",
                                 low=0.0001, high=1.0)  # fmt: skip
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples", low=20, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Abstention:
        """Cross base and abstention, or vote."""
        frame = at_epoch(store.rows("predictions"), None)
        if self.seeds:
            return self._voted(frame)
        return self._crossed(frame if present(frame, ["correct"]) else frame.assign(correct=rightness(frame)))

    def _crossed(self, frame: pd.DataFrame) -> Abstention:
        notes: list[str] = []
        if present(frame, ["base_correct"]):
            table = frame.copy()
            table["base_right"] = table["base_correct"].astype(float)
        else:
            versions = in_natural_order(frame["version"].dropna().unique()) if present(frame, ["version"]) else []
            base, other = (
                self.base or (versions[0] if versions else ""),
                self.version or (versions[-1] if versions else ""),
            )
            if not base or base == other:
                raise AnalysisError("Abstention is judged against a base that does not abstain.",
                                    remedy="Name two versions (--base, --version), or map a column base_correct.")  # fmt: skip
            keys = present(frame, ("task", "item", "sample"))
            right = frame[frame["version"] == base][[*keys, "correct"]].rename(columns={"correct": "base_right"})
            if right.duplicated(keys).any():
                raise AnalysisError(f"{base} answers an item more than once.", remedy="Filter to one model and task.")
            table = frame[frame["version"] == other].merge(right, on=keys)
            notes.append(f"Base: {base}; abstaining: {other}; {len(table):,} items both have.")
        if table.empty:
            raise TooLittleData(needs="items of both the base and the abstaining version", found="0")
        if self.abstained:
            if self.abstained not in table.columns:
                raise AnalysisError(f"The predictions have no column called {self.abstained!r}.")
            silent = table[self.abstained].astype(float).to_numpy() > 0
        else:
            silent = unanswered(table)
        known = table["base_right"].notna().to_numpy() & (silent | table["correct"].notna().to_numpy())
        table, silent = table[known], silent[known]
        if table.empty:
            raise TooLittleData(needs="items known to be right or wrong", found="0")
        base_right = table["base_right"].to_numpy(float) >= 0.5
        answered_right = np.where(silent, False, table["correct"].fillna(0).to_numpy(float) >= 0.5)
        outcome = np.where(silent, 0, np.where(answered_right, 1, 2))
        counts = np.array([[int(((base_right == b) & (outcome == o)).sum()) for o in range(3)] for b in (True, False)])
        pairs = {
            "abstain_recall": (counts[1, 0], counts[1].sum()), "abstain_error": (counts[0, 0], counts[0].sum()),
            "abstained": (counts[:, 0].sum(), counts.sum()), "precision": (counts[:, 1].sum(), counts[:, 1:].sum()),
            "base_accuracy": (counts[0].sum(), counts.sum()), "kept_good": (counts[0, 1], counts[0].sum()),
        }  # fmt: skip
        if self.answerable:
            if self.answerable not in table.columns:
                raise AnalysisError(f"The predictions have no column called {self.answerable!r}.")
            can = table[self.answerable].astype(float).to_numpy() > 0
            pairs["refusal_on_unanswerable"] = (int(silent[~can].sum()), int((~can).sum()))
            pairs["refusal_on_answerable"] = (int(silent[can].sum()), int(can.sum()))
        rows, estimates = [], {"n": Estimate(len(table), unit="items", why_no_interval="a count")}
        for name, (k, n) in pairs.items():
            low, high = wilson(float(k), float(n), self.level)
            value = k / n if n else math.nan
            estimates[name] = Estimate(
                value, float(low), float(high), self.level, why_no_interval="" if n else "no such rows"
            )
            rows.append({"rate": name, "value": value, "low": float(low), "high": float(high), "of": int(n)})
        mosaic = pd.DataFrame(counts, columns=["abstained", "right", "wrong"])
        mosaic.insert(0, "base", ["right", "wrong"])
        cells = tuple(
            is_in("item", table["item"].to_numpy()[(base_right == b) & (outcome == o)])
            for b in (True, False)
            for o in range(3)
        )
        rates = pd.DataFrame(rows)
        notes = [
            f"Unit: the item; n = {len(table):,}; {100 * self.level:g} % Wilson intervals.",
            "abstain_recall: share of what the base got wrong that is abstained from; abstain_error: of what it got right; "
            "precision: right among the answers kept; kept_good: right answers of the base that stay right.",
            "The base must be the same checkpoint without abstention, else a change of the model is taken for abstention.",
            *notes,
        ]
        return Abstention(mosaic=mosaic, rates=rates, seeds=pd.DataFrame(), clauses=Clauses("predictions", cells),
                          estimates=estimates, tables={"rates": rates, "mosaic": mosaic}, notes=tuple(notes))  # fmt: skip

    def _voted(self, frame: pd.DataFrame) -> Abstention:
        if self.seeds not in frame.columns or "prediction" not in frame.columns:
            raise AnalysisError(
                "A vote needs a column of seeds and the answers given.", remedy="Name them with --seeds and --map."
            )
        answers = frame.pivot_table(index="item", columns=self.seeds, values="prediction", aggfunc="first")
        whole = answers.notna().all(axis=1)
        notes = [f"{counted(int((~whole).sum()), 'item')} left out: a seed has no answer."] if not whole.all() else []
        answers = answers[whole]
        m = answers.shape[1]
        if m < 2 or answers.empty:
            raise TooLittleData(needs="items answered by at least 2 seeds", found=f"{m} seeds, {len(answers)} items")
        codes = pd.factorize(answers.to_numpy().ravel())[0].reshape(answers.shape)
        names = pd.factorize(answers.to_numpy().ravel())[1]
        label = np.full(len(answers), -1)
        if present(frame, ["label"]):
            labels = frame.drop_duplicates("item").set_index("item")["label"].reindex(answers.index)
            place = {str(name): number for number, name in enumerate(names)}
            label = np.array([-1 if pd.isna(value) else place.get(str(value), -2) for value in labels])
        generator = np.random.default_rng(self.seed)
        rows = []
        for size in range(2, m + 1):
            found = [self._once(codes, label, size, generator) for _ in range(1 if size == m else 30)]
            abstained, accuracy, disagree = (np.array(part) for part in zip(*found, strict=True))
            known = accuracy[np.isfinite(accuracy)]
            rows.append({"seeds": size, "abstained": float(abstained.mean()),
                         "accuracy": float(known.mean()) if len(known) else math.nan,
                         "disagree": float(np.mean(disagree))})  # fmt: skip
        kept, top = selective_vote(codes, self.significance)
        right = np.where(kept & (label != -1), top == label, np.nan)
        drawn = generator.integers(len(codes), size=(self.draws, len(codes)))
        estimates = {"n": Estimate(len(codes), unit="items", why_no_interval="a count"),
                     "seeds": Estimate(m, why_no_interval="a count")}  # fmt: skip
        low, high = percentile_interval((~kept)[drawn].mean(axis=1), self.level)
        estimates["abstained"] = Estimate(float((~kept).mean()), float(low), float(high), self.level)
        if np.isfinite(right).any():
            resampled = right[drawn]
            counted_rows = np.isfinite(resampled).sum(axis=1)
            values = np.where(counted_rows > 0, np.nansum(resampled, axis=1) / np.maximum(counted_rows, 1), np.nan)
            low, high = percentile_interval(values, self.level)
            estimates["precision"] = Estimate(float(np.nanmean(right)), float(low), float(high), self.level)
        ambiguity = float((codes != codes[:, :1]).any(axis=1).mean())
        estimates["ambiguity"] = Estimate(ambiguity, why_no_interval="given these seeds")
        seeds = pd.DataFrame(rows)
        rates = pd.DataFrame([{"rate": name, "value": one.value, "low": one.low, "high": one.high, "of": len(codes)}
                              for name, one in estimates.items() if name in ("abstained", "precision")])  # fmt: skip
        notes = [
            f"Unit: the item; n = {len(codes):,}, {m} seeds; {100 * self.level:g} % percentile bootstrap over items given the "
            f"seeds, {self.draws} draws, seed {self.seed}.",
            f"The answer with most votes is kept where the two-sided binomial test against the second has p <= "
            f"{self.significance:g}; smaller numbers of seeds: means over 30 subsets.",
            "disagree: share of items on which the votes of two random halves keep different answers. "
            "ambiguity: share on which any seed differs.",
            *notes,
        ]
        return Abstention(mosaic=pd.DataFrame(), rates=rates, seeds=seeds, clauses=None, estimates=estimates,
                          tables={"by_seeds": seeds, "rates": rates}, notes=tuple(notes))  # fmt: skip

    def _once(
        self, codes: np.ndarray, label: np.ndarray, size: int, generator: np.random.Generator
    ) -> tuple[float, float, float]:
        """Give abstention, accuracy of kept answers, and disagreement of two halves, for random `size` seeds."""
        chosen = generator.permutation(codes.shape[1])[:size]
        kept, top = selective_vote(codes[:, chosen], self.significance)
        known = kept & (label != -1)
        accuracy = float((top == label)[known].mean()) if known.any() else math.nan
        halves = [
            selective_vote(codes[:, part], self.significance) for part in (chosen[: size // 2], chosen[size // 2 :])
        ]
        both = halves[0][0] & halves[1][0]
        disagree = float((both & (halves[0][1] != halves[1][1])).mean())
        return float((~kept).mean()), accuracy, disagree


def selective_vote(codes: np.ndarray, significance: float) -> tuple[np.ndarray, np.ndarray]:
    """Give whether a vote is kept, and the answer with most votes; shape (items,) each.

    Kept where the two-sided binomial test of the two greatest counts has p <= `significance`, as in randomised smoothing
    (Cohen et al. 2019) and selective ensembles (Black et al. 2022).

    Parameters
    ----------
    codes : ndarray of int, shape (items, seeds)
        Answers as numbers from 0.
    """
    from scipy.special import bdtr

    counts = np.stack([(codes == k).sum(axis=1) for k in range(int(codes.max()) + 1)], axis=1)
    top = counts.argmax(axis=1)
    ordered = np.sort(counts, axis=1)
    first = ordered[:, -1]
    second = ordered[:, -2] if counts.shape[1] > 1 else np.zeros_like(first)
    p = np.minimum(1.0, 2 * bdtr(second, first + second, 0.5))
    return p <= significance, top


def figure(question: AbstentionQuestion, result: Abstention) -> FigureSpec:
    """Draw base against abstention as a table of counts, and the rates; or abstention against the number of seeds."""
    if len(result.seeds):
        x = result.seeds["seeds"].to_numpy(float)
        lines: list[Mark] = [
            Line(key=name, x=x, y=result.seeds[name].to_numpy(float), hue=f"c{number}", width=2.0, label=label)
            for number, (name, label) in enumerate(
                (("abstained", "abstained"), ("disagree", "halves disagree"), ("accuracy", "right among kept"))
            )
        ]
        panel = Panel(
            key="seeds", x=Axis(label="seeds"), y=Axis(label="share of items", low=0.0, high=1.0), marks=tuple(lines)
        )
        return FigureSpec(title="Vote of seeds", subtitle=f"significance {question.significance:g}", panels=(panel,),
                          caption=result.summary())  # fmt: skip
    counts = result.mosaic[["abstained", "right", "wrong"]].to_numpy(float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = tuple(tuple(f"{int(k):,}\n{100 * s:.1f} %" for k, s in zip(row, part, strict=True))
                  for row, part in zip(counts, share, strict=True))  # fmt: skip
    cells = Cells(key="mosaic", values=share, rows=("base right", "base wrong"), columns=("abstained", "right", "wrong"),
                  texts=texts, low=0.0, high=1.0, label="share of the row", origin=result.clauses)  # fmt: skip
    first = Panel(key="mosaic", x=Axis(scale="category", names=cells.columns),
                  y=Axis(scale="category", names=cells.rows, inverted=True), marks=(cells,))  # fmt: skip
    rates = result.rates
    names = tuple(name.replace("_", " ") for name in rates["rate"])
    at = np.arange(len(names), dtype=float)
    bars = Bars(key="rates", at=at, height=rates["value"].to_numpy(float), low=rates["low"].to_numpy(float),
                high=rates["high"].to_numpy(float), horizontal=True, width=0.6,
                label=f"{100 * question.level:g} % Wilson")  # fmt: skip
    y = Axis(scale="category", names=names, inverted=True, low=-0.6, high=len(names) - 0.4)
    second = Panel(key="rates", x=Axis(label="rate", low=0.0, high=1.0), y=y, marks=(bars,))
    return FigureSpec(title="Abstention", subtitle=f"n = {int(counts.sum()):,} items", panels=(first, second), columns=2,
                      caption=result.summary())  # fmt: skip


ANALYSIS = Analysis(
    id="selective.abstention",
    title="Abstention",
    asks="Does abstaining remove errors, or good answers?",
    question=AbstentionQuestion,
    figure=figure,
    sources=(
        "Zhang et al. (2024), R-Tuning: Instructing Large Language Models to Say I Don't Know",
        "Black et al. (2022), Selective Ensembles for Consistent Predictions",
    ),
    definition="""\
Against the same model without abstention: `abstain_recall` = P(abstain | base wrong), `abstain_error` = P(abstain |
base right), `precision` = right among the answers kept, `kept_good` = P(still right | base right); with `answerable`,
refusals on questions with and without an answer.

With `seeds`: the answer with most votes is kept where a two-sided binomial test against the second has p of at most
`significance`; a unanimous vote passes 0.05 from 6 seeds and 0.01 from 8. `disagree` is the share of items on which
two halves of the seeds keep different answers. Unit: the item (Wilson intervals; bootstrap for votes).""",
)
