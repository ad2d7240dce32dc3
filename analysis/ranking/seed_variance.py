"""``noise.seed-variance``: is a lucky seed a better model, or luckier on these items?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Bars, FigureSpec, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, significant, with_interval
from ...models.store import RunStore
from ..answer_matrix import AnswerMatrix, answer_matrix
from ..answers import present
from ..resampling import sd_interval, t_quantile

_FEWEST = 4
_ENOUGH = 10


@dataclass(frozen=True, kw_only=True)
class SeedVariance(Result):
    """The variance of accuracy over seeds, split.

    Attributes
    ----------
    answers : AnswerMatrix
        Who was right on what, one column a run.
    parts : DataFrame
        One row a part: its standard deviation and interval.
    halves : DataFrame
        One row a run: accuracy on two random halves of the items.
    whose : str
        The model whose seeds these are.
    """

    answers: AnswerMatrix
    parts: pd.DataFrame
    halves: pd.DataFrame
    whose: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        true, seen = e["distribution_sd"], e["observed_sd"]
        left = with_interval(100 * true.value, 100 * true.low, 100 * true.high)
        return (
            f"Accuracy of {self.whose} differs between {len(self.halves)} runs with an SD of "
            f"{significant(100 * seen.value, 3)} points; independent luck on these items alone would make "
            f"{significant(100 * e['independent_sd'].value, 3)}, and {left} "
            "are left for how well they do on the whole distribution."
        )


@dataclass(frozen=True, kw_only=True)
class SeedVarianceQuestion(Question):
    """Is a lucky seed a better model?"""

    needs: ClassVar = (Need("predictions", ("correct|prediction",)),)

    run: str = option(
        "", help="column that tells runs apart; seed or version if empty", choices="columns of predictions"
    )
    model: str = option("", help="model whose runs these are; that with the most if empty", choices="predictions.model")
    task: str = option("", help="the task; that of the most runs if empty", choices="predictions.task")
    splits: int = option(200, help="random halves of the items", low=10, high=5000, advanced=True)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    seed: int = option(0, help="seed of the halves", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the column of runs."""
        if self.run or not store.has_rows("predictions"):
            return self
        found = present(store.rows("predictions"), ("seed", "version", "model"))
        return replace(self, run=found[0]) if found else self

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> SeedVariance:
        """Split the variance between runs into luck on the items and what is left."""
        asked = self.resolved(store)
        if not asked.run:
            raise TooLittleData(needs="predictions of several runs", found="no column that tells runs apart")
        matrix = answer_matrix(store, task=asked.task, by=tuple(dict.fromkeys(("model", asked.run))))
        whose, columns = _runs(matrix, asked)
        right = matrix.right[:, columns]
        n, runs = right.shape
        if runs < _FEWEST:
            raise TooLittleData(
                needs=f"at least {_FEWEST} runs on the same items", found=f"{runs} of {whose}",
                remedy="Choose the column that tells runs apart (run).",
            )  # fmt: skip
        observed, independent, true = _split(right)
        without = np.array([_split(np.delete(right, i, axis=1)) for i in range(runs)])
        error = float(1 - right.mean())
        thumb = error / (2 * n)
        accuracies = right.mean(axis=0)
        correlation, halves = _halves(right, [matrix.names[i] for i in columns], asked)
        seen = sd_interval(accuracies, asked.level)
        # What is taken off the variance of accuracies is a sum over all items, and as good as known beside it.
        low, high = (true + n / (n - 1) * (float(end) ** 2 - observed) for end in seen)
        independent_ends = _jackknife(independent, without[:, 1], asked.level)
        enough = runs >= _ENOUGH
        why = "" if enough else f"n = {runs} runs; at least {_ENOUGH} are needed"
        estimates = {
            "observed_sd": Estimate(math.sqrt(observed), float(seen.low), float(seen.high), asked.level),
            "independent_sd": _root(independent, *independent_ends, asked.level, why),
            "distribution_sd": _root(true, low, high, asked.level, why),
            "distribution_variance": Estimate(
                true, low if enough else math.nan, high if enough else math.nan, asked.level, why_no_interval=why
            ),
            "rule_of_thumb_sd": Estimate(math.sqrt(thumb), why_no_interval="a formula of error and n"),
            "split_half_correlation": Estimate(
                correlation, why_no_interval=f"a mean over {asked.splits} halvings of the same items"
            ),
            "accuracy": Estimate(float(accuracies.mean()), why_no_interval="see the seed bands"),
            "n": Estimate(float(n), unit="items", why_no_interval="a count"),
            "runs": Estimate(float(runs), unit="runs", why_no_interval="a count"),
        }
        rows = [
            ("observed", "observed_sd"), ("independent errors", "independent_sd"), ("err / 2n", "rule_of_thumb_sd"),
            ("whole distribution", "distribution_sd"),
        ]  # fmt: skip
        parts = pd.DataFrame(
            [
                {"part": label, "sd": estimates[name].value, "low": estimates[name].low, "high": estimates[name].high}
                for label, name in rows
            ]
        )
        notes = [
            f"Unit: the run, n = {runs}; {n:,} items answered by all. Intervals, {100 * asked.level:g} %: chi-square of "
            "the observed SD, also for the whole distribution; jackknife over runs with Student's t for independent errors.",
            "Whole distribution: n / (n - 1) (variance of accuracy - sum of the items' variances / n^2), ddof 1; below zero it "
            "is shown as 0, its interval cut there.",
            "err / 2n: what a calibrated binary classifier would show; k classes make at least err / (n k).",
            f"Split halves: mean correlation over runs of the accuracies on two halves, {asked.splits} halvings, seed "
            f"{asked.seed}; near 0 means luck.",
        ]
        if true < 0:
            notes.append(
                f"The estimate of the whole-distribution variance is {true:.3g}: no difference can be told from luck."
            )
        return SeedVariance(
            answers=matrix,
            parts=parts,
            halves=halves,
            whose=whose,
            estimates=estimates,
            tables={"parts": parts, "runs": halves},
            notes=(*notes, *matrix.notes),
        )


def _runs(matrix: AnswerMatrix, asked: SeedVarianceQuestion) -> tuple[str, list[int]]:
    """Give the model whose runs are compared, and their columns."""
    if asked.run == "model" or not any("model" in key for key in matrix.keys.values()):
        return "the models" if asked.run == "model" else "the model", list(range(len(matrix.names)))
    models = [matrix.keys[name].get("model", "") for name in matrix.names]
    chosen = asked.model or max(dict.fromkeys(models), key=models.count)
    return chosen or "the model", [i for i, model in enumerate(models) if model == chosen]


def _split(right: np.ndarray) -> tuple[float, float, float]:
    """Give the variance of accuracy over runs, that of independent errors, and that on the whole distribution.

    Parameters
    ----------
    right : ndarray, shape (items, runs)

    Notes
    -----
    Jordan (2023), *Calibrated Chaos*, equation 3 and theorem 1: the naive variance over a finite test set counts the luck of
    independent errors, (1 / n^2) sum e_i (1 - e_i), as if runs differed.
    """
    n = len(right)
    observed = float(right.mean(axis=0).var(ddof=1))
    within = float(right.var(axis=1, ddof=1).sum()) / n**2
    wrong = 1 - right.mean(axis=1)
    independent = float((wrong * (1 - wrong)).sum()) / n**2
    return observed, independent, n / (n - 1) * (observed - within)


def _jackknife(whole: float, without: np.ndarray, level: float) -> tuple[float, float]:
    n = len(without)
    error = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    half = float(t_quantile(level, n - 1)) * error
    return whole - half, whole + half


def _root(variance: float, low: float, high: float, level: float, why: str) -> Estimate:
    value, low, high = (math.sqrt(max(part, 0.0)) for part in (variance, low, high))
    return Estimate(value, math.nan, math.nan, level, why_no_interval=why) if why else Estimate(value, low, high, level)


def _halves(right: np.ndarray, names: list[str], asked: SeedVarianceQuestion) -> tuple[float, pd.DataFrame]:
    """Give the mean correlation over runs between accuracies on random halves, and the accuracies on the first two."""
    generator = np.random.default_rng(asked.seed)
    n = len(right)
    half = n // 2
    masks = np.argsort(generator.random((asked.splits, n)), axis=1) < half
    one = masks.astype(float) @ right / max(half, 1)
    two = (~masks).astype(float) @ right / max(n - half, 1)
    a, b = one - one.mean(axis=1, keepdims=True), two - two.mean(axis=1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    known = scale > 0
    correlation = float(((a * b).sum(axis=1)[known] / scale[known]).mean()) if known.any() else math.nan
    table = pd.DataFrame({"run": names, "accuracy": right.mean(axis=0), "half_a": one[0], "half_b": two[0]})
    return correlation, table


def figure(question: SeedVarianceQuestion, result: SeedVariance) -> FigureSpec:
    """Draw the parts of the standard deviation, and accuracy on one half of the items against the other."""
    parts = result.parts
    at = np.arange(len(parts), dtype=float)
    columns = {name: 100 * parts[name].to_numpy(float) for name in ("sd", "low", "high")}
    notes = tuple(
        f"{label}: {with_interval(sd, low, high)} points"
        for label, sd, low, high in zip(
            parts["part"], columns["sd"].tolist(), columns["low"].tolist(), columns["high"].tolist(), strict=True
        )
    )
    bars = Bars(
        key="sd", at=at, height=columns["sd"], low=columns["low"], high=columns["high"], width=0.6, horizontal=True,
        notes=notes,
    )  # fmt: skip
    split = Panel(
        key="parts",
        x=Axis(label=f"SD over runs (points), {100 * question.level:g} %", low=0.0),
        y=Axis(scale="category", names=tuple(parts["part"]), inverted=True),
        marks=(bars,),
        title="Where it comes from",
        legend=False,
    )
    names = tuple(result.halves["run"])
    a, b = (100 * result.halves[name].to_numpy(float) for name in ("half_a", "half_b"))
    said = tuple(f"{name}: {one:.2f} and {two:.2f} %" for name, one, two in zip(names, a, b, strict=True))
    scatter = Panel(
        key="halves",
        x=Axis(label="accuracy on one half of the items (%)"),
        y=Axis(label="on the other half (%)"),
        marks=(
            Rule(key="x", axis="x", at=float(a.mean()), dash="dotted"),
            Rule(key="y", axis="y", at=float(b.mean()), dash="dotted"),
            Points(key="runs", x=a, y=b, origin=result.answers.origin(names), notes=said),
        ),
        title=f"Split halves, mean correlation {significant(result.estimates['split_half_correlation'].value, 2)}",
        legend=False,
    )
    e = result.estimates
    return FigureSpec(
        title=f"Runs of {result.whose}",
        subtitle=f"{e['runs'].value:.0f} runs, {e['n'].value:,.0f} items, mean accuracy {100 * e['accuracy'].value:.1f} %",
        panels=(split, scatter),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="noise.seed-variance",
    title="Seed variance split",
    asks="Is a lucky seed a better model, or only luckier on these items?",
    question=SeedVarianceQuestion,
    figure=figure,
    sources=(
        "Jordan (2023), Calibrated Chaos: Variance Between Runs of Neural Network Training Is Harmless and Inevitable",
    ),
    definition="""\
Accuracy on a test set of n items varies over seeds even where all seeds are equally good: items on which seeds err by
chance. Independent errors make $\\frac1{n^2}\\sum e_i(1-e_i)$; what is left,
$\\frac n{n-1}(\\mathrm{Var}(acc)-\\frac1{n^2}\\sum\\mathrm{Var}_i)$, is the variance on the whole distribution, unbiased
and therefore sometimes negative. Calibrated binary classifiers show about err / 2n.

Unit: the run; ten are needed for intervals. Split halves tell the same story: if a seed that is lucky on one half is not
on the other, it was luck. """,
)
