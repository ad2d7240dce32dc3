"""``items.discrimination``: which items carry the ranking of models, and how small a subset keeps it?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted
from ...models.store import RunStore
from ..answer_matrix import AnswerMatrix, answer_matrix
from ..resampling import bootstrap, percentile_interval

CHOOSERS = ("discrimination", "variance", "spread difficulty", "random")
_HUES = {"discrimination": "c0", "variance": "c2", "spread difficulty": "c3", "random": "muted"}
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)
_FEWEST = 6
_ENOUGH = 20
_MOST_POINTS = 20_000


@dataclass(frozen=True, kw_only=True)
class ItemAnalysis(Result):
    """Items by difficulty and discrimination, and how well subsets keep the order of held-out models.

    Attributes
    ----------
    answers : AnswerMatrix
        Who was right on what.
    table : DataFrame
        One row an item, in the order of the answers.
    fidelity : DataFrame
        One row a chooser and size: tau_b, its interval over splits, mean absolute error of the score.
    target : float
        The tau-b asked for.
    """

    answers: AnswerMatrix
    table: pd.DataFrame
    fidelity: pd.DataFrame
    target: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        negative = self.estimates["negative"]
        size = self.estimates["size_for_target"]
        random = self.estimates["random_size_for_target"]
        keeps = (
            f"{size.value:,.0f} items chosen on other models keep a tau-b of {self.target:g}"
            if math.isfinite(size.value)
            else f"no subset tried keeps a tau-b of {self.target:g}"
            if len(self.fidelity)
            else "there are too few models to judge subsets"
        )
        by_chance = f" ({random.value:,.0f} drawn at random)" if math.isfinite(random.value) else ""
        return (
            f"{negative.value:,.0f} of {counted(len(self.table), 'item')} go against the rest; {keeps}{by_chance}; "
            f"{counted(len(self.answers.names), 'model')}."
        )


@dataclass(frozen=True, kw_only=True)
class ItemAnalysisQuestion(Question):
    """Which items carry the ranking, and how small a subset keeps it?"""

    needs: ClassVar = (Need("predictions", ("correct|prediction",)),)

    task: str = option("", help="only this task; that of the most models if empty", choices="predictions.task")
    no_answer: Literal["wrong", "dropped"] = option("wrong", help="what no answer counts as", advanced=True)
    target: float = option(0.9, help="tau-b with the order by all items that a subset should keep", low=0.0, high=1.0)
    held_out: float = option(0.5, help="share of models that items are judged on and not chosen on", low=0.1, high=0.9)
    splits: int = option(100, help="ways of cutting the models in two", low=5, high=10_000, advanced=True)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(300, help="resamples of the models for discriminations", low=100, high=10_000, advanced=True)
    seed: int = option(0, help="seed of the splits and resamples", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> ItemAnalysis:
        """Compute difficulties and discriminations, choose subsets on some models and judge them on the others."""
        answers = answer_matrix(store, task=self.task, no_answer=self.no_answer, graded=True)
        right = answers.right
        count = right.shape[1]
        if count < 3 or len(right) < 5:
            raise TooLittleData(
                needs="at least 3 models and 5 items answered by all",
                found=f"{counted(count, 'model')} and {counted(len(right), 'item')}",
            )
        ones = np.ones((1, count))
        discrimination = rest_correlations(right, ones)[0]
        drawn = bootstrap(partial(rest_correlations, right), count, draws=self.draws, seed=self.seed, engine=engine,
                          progress=progress, block_size=20)  # fmt: skip
        low, high = (np.asarray(end) for end in percentile_interval(drawn, self.level))
        with np.errstate(invalid="ignore", divide="ignore"):
            sure = np.asarray(high < 0)
        table = answers.items.assign(
            difficulty=1 - right.mean(axis=1), discrimination=discrimination, low=low, high=high,
            variance=right.var(axis=1), tau_c=_tau_c(right),
        )  # fmt: skip
        notes = [
            f"Discrimination: Pearson's correlation over {counted(count, 'model')} of an item with the mean of the other "
            f"items; intervals: {100 * self.level:g} % percentile bootstrap over models, {self.draws} draws, seed "
            f"{self.seed}. tau_c: Stuart's, of the item's order of models with that of all items.",
            *answers.notes,
        ]
        if count < _FEWEST:
            fidelity = pd.DataFrame(columns=["chooser", "items", "tau_b", "low", "high", "error"])
            notes.append(f"Subsets are judged on held-out models; {count} models are too few to cut in two.")
        else:
            fidelity = _fidelity(right, self, progress)
            notes.insert(
                1,
                f"Subsets are chosen on {round((1 - self.held_out) * count)} models and judged on the others, "
                f"{self.splits} cuts; bands: {100 * self.level:g} % of the cuts. Choosing and judging on the "
                "same models would flatter.",
            )
        never = int(np.isnan(discrimination).sum())
        if count < _ENOUGH:
            notes.append(f"With {count} models single discriminations and their intervals are rough.")
        if never:
            notes.append(f"{counted(never, 'item')} that all models answer alike tell nothing apart.")
        estimates = {
            "items": Estimate(float(len(right)), unit="items", why_no_interval="a count"),
            "models": Estimate(float(count), unit="models", why_no_interval="a count"),
            "negative": Estimate(float(np.nansum(discrimination < 0)), unit="items", why_no_interval="a count"),
            "surely_negative": Estimate(float(sure.sum()), unit="items",
                                        why_no_interval="a count of items whose interval lies below 0"),
            "informative": Estimate(float(len(right) - never), unit="items", why_no_interval="a count"),
            "size_for_target": _size(fidelity, self.target, False),
            "random_size_for_target": _size(fidelity, self.target, True),
        }  # fmt: skip
        ordered = table.sort_values("discrimination", kind="stable", ignore_index=True)
        return ItemAnalysis(
            answers=answers, table=table, fidelity=fidelity, target=self.target, estimates=estimates,
            tables={"items": ordered, "fidelity": fidelity}, notes=tuple(notes),
        )  # fmt: skip


def rest_correlations(right: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give Pearson's correlation over models of each item with the mean of the other items, under weightings of the models,
    shape (draws, items); NaN where one of them does not vary.

    Parameters
    ----------
    right : ndarray, shape (items, models)
    counts : ndarray, shape (draws, models)
    """
    weight = counts / counts.sum(axis=1, keepdims=True)
    total = right.sum(axis=0)
    size = len(right) - 1
    mean, square = weight @ right.T, weight @ (right**2).T
    all_mean, all_square = (weight @ total)[:, None], (weight @ total**2)[:, None]
    cross = weight @ (right * total).T
    # The rest is (total - item) / (items - 1): its moments follow from those of the total.
    rest_mean = (all_mean - mean) / size
    covariance = (cross - square) / size - mean * rest_mean
    rest_variance = (all_square - 2 * cross + square) / size**2 - rest_mean**2
    variance = square - mean**2
    product = variance * rest_variance
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(product > 1e-16, covariance / np.sqrt(np.maximum(product, 1e-16)), np.nan))


def _tau_c(right: np.ndarray) -> np.ndarray:
    """Give Stuart's tau-c of each item with the mean of all items, 2 m (concordant − discordant) / (n² (m − 1))."""
    score = right.mean(axis=0)
    n = len(score)
    order = np.sign(score[:, None] - score[None])
    tau = np.empty(len(right))
    levels_of_score = len(np.unique(score))
    for start in range(0, len(right), 500):
        part = right[start : start + 500]
        balance = (np.sign(part[:, :, None] - part[:, None, :]) * order).sum(axis=(1, 2)) / 2
        levels = np.array([min(len(np.unique(row)), levels_of_score) for row in part])
        with np.errstate(divide="ignore", invalid="ignore"):
            tau[start : start + 500] = np.where(levels > 1, 2 * balance * levels / (n**2 * (levels - 1.0)), np.nan)
    return tau


def _chosen(right: np.ndarray, chooser: str, generator: np.random.Generator) -> np.ndarray:
    """Give all items in the order a chooser takes them, from what the given models answered."""
    if chooser == "random":
        return generator.permutation(len(right))
    jitter = generator.random(len(right)) * 1e-9
    if chooser == "variance":
        return np.argsort(-(right.var(axis=1) + jitter), kind="stable")
    if chooser == "discrimination":
        found = rest_correlations(right, np.ones((1, right.shape[1])))[0]
        return np.argsort(-(np.nan_to_num(found, nan=-2.0) + jitter), kind="stable")
    # Spread difficulty: of every prefix the items lie evenly over the order of difficulty (bit-reversed places).
    by_difficulty: np.ndarray = np.argsort(right.mean(axis=1) + jitter, kind="stable")
    bits = max(1, math.ceil(math.log2(len(right))))
    places = np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits)])
    spread: np.ndarray = by_difficulty[places[places < len(right)]]
    return spread


def _fidelity(right: np.ndarray, asked: ItemAnalysisQuestion, progress: Progress) -> pd.DataFrame:
    from scipy.stats import kendalltau

    items, count = right.shape
    sizes = sorted({max(5, round(share * items)) for share in _SHARES if round(share * items) < items} | {items})
    judged = min(max(2, round(asked.held_out * count)), count - 3)
    generator = np.random.default_rng(asked.seed)
    tau = {(chooser, size): np.full(asked.splits, np.nan) for chooser in CHOOSERS for size in sizes}
    error = {key: values.copy() for key, values in tau.items()}
    for split in range(asked.splits):
        progress(split, asked.splits, "splits")
        models = generator.permutation(count)
        chosen_on, judged_on = right[:, models[judged:]], right[:, models[:judged]]
        full = judged_on.mean(axis=0)
        for chooser in CHOOSERS:
            order = _chosen(chosen_on, chooser, generator)
            sums = np.cumsum(judged_on[order], axis=0)
            for size in sizes:
                score = sums[size - 1] / size
                tau[chooser, size][split] = kendalltau(score, full).statistic
                error[chooser, size][split] = np.abs(score - full).mean()
    rows: list[dict[str, Any]] = []
    for (chooser, size), values in tau.items():
        known = values[~np.isnan(values)]
        low, high = percentile_interval(known, asked.level)
        rows.append(
            {"chooser": chooser, "items": size, "tau_b": float(known.mean()) if len(known) else math.nan, "low": low,
             "high": high, "error": float(error[chooser, size].mean())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _size(fidelity: pd.DataFrame, target: float, random: bool) -> Estimate:
    """Give the smallest size from which on the target is kept on average, by the best chooser or at random."""
    best = math.inf
    for chooser, rows in fidelity.groupby("chooser", sort=False):
        if (chooser == "random") != random:
            continue
        rows = rows.sort_values("items")
        fails = np.flatnonzero(~(rows["tau_b"].to_numpy(float) >= target))
        start = int(fails[-1]) + 1 if len(fails) else 0
        if start < len(rows):
            best = min(best, float(rows["items"].iloc[start]))
    return Estimate(best if math.isfinite(best) else math.nan, unit="items",
                    why_no_interval="a size among those tried; see the bands of fidelity")  # fmt: skip


def figure(question: ItemAnalysisQuestion, result: ItemAnalysis) -> FigureSpec:
    """Draw discrimination against difficulty, and the fidelity of subsets against their size."""
    panels = [_items_panel(question, result)]
    if len(result.fidelity):
        panels.append(_fidelity_panel(question, result))
    return FigureSpec(
        title="Items and their discrimination",
        subtitle=f"{counted(len(result.table), 'item')}, {counted(len(result.answers.names), 'model')}",
        panels=tuple(panels),
        columns=len(panels),
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _items_panel(question: ItemAnalysisQuestion, result: ItemAnalysis) -> Panel:
    table = result.table
    x, y = table["difficulty"].to_numpy(float), table["discrimination"].to_numpy(float)
    sure = table["high"].to_numpy(float) < 0
    marks: list[Mark] = []
    for label, mask, hue in (
        ("positive", y >= 0, "c0"), ("negative", (y < 0) & ~sure, "c1"), ("interval below 0", (y < 0) & sure, "bad"),
    ):  # fmt: skip
        numbers = np.flatnonzero(mask)
        if not len(numbers):
            continue
        # Few models leave few places: items at one place are one point, its area the count.
        places, group, counts = np.unique(
            np.round(np.stack([x[numbers], y[numbers]]), 3), axis=1, return_inverse=True, return_counts=True
        )
        group = group.reshape(-1)
        members = np.split(numbers[np.argsort(group, kind="stable")], np.cumsum(counts)[:-1])
        clauses = tuple(result.answers.of_items(np.isin(np.arange(len(table)), own)) for own in members[:_MOST_POINTS])
        marks.append(
            Points(key=label, x=places[0], y=places[1], hue=hue, label=f"{label} ({len(numbers):,})", opacity=0.6,
                   size=np.clip(3 + np.sqrt(counts), 4, 16), origin=Clauses("predictions", clauses),
                   notes=tuple(f"difficulty {a:.2f}, discrimination {b:.2f}: {counted(int(c), 'item')}"
                               for a, b, c in zip(*places, counts, strict=True)))
        )  # fmt: skip
    marks.append(Rule(key="zero", axis="y", at=0.0, hue="line", dash="solid"))
    return Panel(key="items", x=Axis(label="difficulty: share of models that are wrong", low=0.0, high=1.0),
                 y=Axis(label="discrimination", low=-1.0, high=1.0), marks=tuple(marks), title="Items", height=1.3)  # fmt: skip


def _fidelity_panel(question: ItemAnalysisQuestion, result: ItemAnalysis) -> Panel:
    marks: list[Mark] = []
    for chooser in CHOOSERS:
        rows = result.fidelity[result.fidelity["chooser"] == chooser].sort_values("items")
        sizes = rows["items"].to_numpy(float)
        hue = _HUES[chooser]
        if chooser == "random":
            marks.append(Band(key="random/band", x=sizes, low=rows["low"].to_numpy(float), high=rows["high"].to_numpy(float),
                              hue=hue, label=f"random, {100 * question.level:g} % of cuts"))  # fmt: skip
        marks.append(Line(key=chooser, x=sizes, y=rows["tau_b"].to_numpy(float), hue=hue, width=2.0, label=chooser))
    marks.append(Rule(key="target", axis="y", at=question.target, hue="accent", option="target", label="target"))
    return Panel(key="fidelity", x=Axis(label="items in the subset", scale="log"), y=Axis(label="tau-b with all items"),
                 marks=tuple(marks), title="On held-out models", height=1.3)  # fmt: skip


ANALYSIS = Analysis(
    id="items.discrimination",
    title="Item analysis",
    asks="Which items carry the ranking of models, and how small a subset keeps it?",
    question=ItemAnalysisQuestion,
    figure=figure,
    sources=(
        "Lord and Novick (1968), Statistical Theories of Mental Test Scores: item-rest correlation",
        "Stuart (1953): tau-c; Kendall (1945): tau-b",
        "Rodriguez et al. (2021), Evaluation Examples are not Equally Informative",
    ),
    definition="""\
Difficulty is the share of models that are wrong; discrimination Pearson's correlation of an item with the mean of the other
items over models. Subsets are the first items by discrimination, by variance, evenly over difficulty, or at random, chosen on
some models and judged on the others by tau-b with the order that all items give.

Unit: the model. Traps: choosing and judging on the same models flatters; with few models single discriminations are noise. """,
)
