"""``selective.error-detection``: does the score separate right from wrong, in- from out-of-distribution?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, FigureSpec, Line, Mark, Panel
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, with_interval
from ...models.store import RunStore
from ..forecast_marks import hue_of, origin_of, series_panel, short
from ..forecast_rows import Chosen, ForecastQuestion, Sample, Series, drawn, estimate_of, named, unit_note, value_of
from ..recalibration import rows_of
from ..resampling import holm
from ..selective import Blocks, ranking

Score = Literal["confidence", "entropy", "margin", "energy", "column"]

_NAMES = ("auroc", "aupr_success", "aupr_error", "fpr_at_95_tpr")


@dataclass(frozen=True, kw_only=True)
class ErrorDetection(Result):
    """How well a score tells positive rows from the others.

    Attributes
    ----------
    chosen : Chosen
        The series, sorted by the score, with y = 1 for right (or in-distribution).
    curves : tuple of DataFrame
        ROC and precision-recall of each: fpr, tpr, precision, recall.
    measures : DataFrame
        One row a series.
    what : tuple of str
        Names of the two kinds of rows, positive first.
    """

    chosen: Chosen
    curves: tuple[pd.DataFrame, ...]
    measures: pd.DataFrame
    what: tuple[str, str]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        rows = self.measures.to_dict("records")
        said = [
            f"{row['series']} {with_interval(row['auroc'], row['auroc_low'], row['auroc_high'])}" for row in rows[:4]
        ]
        more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
        return f"AUROC of {self.what[0]} against {self.what[1]}: {'; '.join(said)}{more}."


@dataclass(frozen=True, kw_only=True)
class ErrorDetectionQuestion(ForecastQuestion):
    """Does the score separate right from wrong, in- from out-of-distribution?"""

    score: Literal["confidence", "entropy", "margin", "energy", "column"] = option(
        "confidence",
        help="what rows are ranked by: confidence, -entropy, gap of the two best classes, energy, or a column",
    )
    score_column: str = option("", help="the column, where the score is one", choices="numbers of predictions")
    temperature: float = option(1.0, help="temperature of the energy", low=0.01, high=1000.0, advanced=True)
    out: str = option(
        "", help="column that says which rows are out-of-distribution; right against wrong if empty",
        choices="columns of predictions",
    )  # fmt: skip
    out_value: str = option("", help="value of that column on rows out-of-distribution; 1 or true if empty")
    question: str = option(
        "", help="column of the question, for AUROC within questions; the item where it repeats",
        choices="columns of predictions", advanced=True,
    )  # fmt: skip

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> ErrorDetection:
        """Rank, sum and resample."""
        asked = self.resolved(store)
        whole = asked.chosen(store)
        series = tuple(_scored(one, asked) for one in whole.series)
        chosen = replace(whole, series=series)
        # Rows within 1 / 4096 may be held together for a score in [0, 1] only.
        draws = drawn(chosen, detection, asked, engine=engine, progress=progress)
        what = ("in-distribution", "out-of-distribution") if asked.out else ("right", "wrong")
        rows, curves, estimates = [], [], {}
        for number, one in enumerate(series):
            if one.sample.y.min() == one.sample.y.max():
                raise TooLittleData(needs=f"rows that are {what[0]} and rows that are {what[1]}", found="one kind only")
            value = value_of(detection, one.sample)
            row: dict[str, object] = {"series": one.name, "n": one.sample.n, "prevalence": float(one.sample.y.mean())}
            estimates[named(chosen, number, "n")] = Estimate(one.sample.n, unit="rows", why_no_interval="a count")
            for place, name in enumerate(_NAMES):
                found = estimate_of(value[place], draws[number][:, place], asked.level)
                estimates[named(chosen, number, name)] = found
                row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
            within = _within(one, asked)
            if within is not None:
                estimates[named(chosen, number, "auroc_within_questions")] = Estimate(
                    within[0], why_no_interval=f"over {within[1]} pairs of rows of one question"
                )
                row["auroc_within_questions"] = within[0]
            rows.append(row)
            curves.append(_curves(one.sample))
        measures = pd.DataFrame(rows)
        tables = {"measures": measures}
        notes = [
            unit_note(chosen, asked),
            f"Score: {_said(asked)}. Positive: {what[0]}; aupr_success has it positive, aupr_error has {what[1]} positive.",
            "A random score has AUROC 0.5, and an AUPR of the share of positives.",
            *whole.notes,
        ]
        if len(series) > 1 and not chosen.clustered:
            tables["differences"] = delong_table(chosen, asked.level)
            notes.append("differences: DeLong's test of paired AUROCs on the items both have, p adjusted by Holm.")
        return ErrorDetection(
            chosen=chosen, curves=tuple(curves), measures=measures, what=what, estimates=estimates, tables=tables,
            notes=tuple(notes),
        )  # fmt: skip


def _said(asked: ErrorDetectionQuestion) -> str:
    return {
        "confidence": "confidence", "entropy": "-entropy", "margin": "gap of the two most probable classes",
        "energy": f"energy at T = {asked.temperature:g}", "column": asked.score_column,
    }[asked.score]  # fmt: skip


def _scored(one: Series, asked: ErrorDetectionQuestion) -> Series:
    """Give a series sorted by the score, with y = 1 for what should rank high."""
    sample, frame = one.sample, one.frame
    y = sample.y
    if asked.out:
        if asked.out not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {asked.out!r}.")
        values = frame[asked.out].astype(str)
        outside = (
            values == asked.out_value
            if asked.out_value
            else values.str.lower().isin(["1", "1.0", "true", "yes", "ood"])
        )
        y = 1 - outside.to_numpy(float)
    score = _score(sample, frame, asked)
    known = np.isfinite(score)
    if not known.any():
        raise TooLittleData(needs=f"rows of {one.name} with {_said(asked)}", found="none")
    order = np.flatnonzero(known)[np.argsort(score[known], kind="stable")]
    ranked = rows_of(replace(sample, f=score, y=y), order)
    return replace(one, sample=ranked, frame=frame.iloc[order])


def _score(sample: Sample, frame: pd.DataFrame, asked: ErrorDetectionQuestion) -> np.ndarray:
    if asked.score == "confidence":
        return sample.f
    if asked.score == "column":
        if asked.score_column not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {asked.score_column!r}.")
        return frame[asked.score_column].to_numpy(float)
    if asked.score == "energy":
        columns = [name for name in frame.columns if str(name).startswith("logit.")]
        if not columns:
            raise AnalysisError("The energy needs logits.", remedy="Name their columns logit.*.")
        z = frame[columns].to_numpy(float) / asked.temperature
        top = z.max(axis=1)
        return np.asarray(asked.temperature * (top + np.log(np.exp(z - top[:, None]).sum(axis=1))))
    if sample.p.shape[1] < 2:
        raise AnalysisError("This score needs the probabilities of all classes.", remedy="Name their columns prob.*.")
    if asked.score == "entropy":
        return np.asarray((sample.p * np.log(np.maximum(sample.p, 1e-300))).sum(axis=1))
    ordered = np.sort(sample.p, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def detection(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Give AUROC, AUPR of both kinds and the FPR at 95 % TPR of every weighting, shape (k, 4).

    AUPR is the average precision, the sum of (R_k - R_(k-1)) P_k over distinct scores.
    """
    blocks = Blocks.of(sample.f, sample.y, weights)
    n, wrong = blocks.cumulated()
    right = n - wrong
    total, errors = n[:, -1:], wrong[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        success = ((blocks.n - blocks.wrong) * np.where(n > 0, right / n, 0)).sum(axis=1) / (total - errors)[:, 0]
        # From the other end: the rows of the lowest scores first.
        below, below_wrong = total - n + blocks.n, errors - wrong + blocks.wrong
        error = (blocks.wrong * np.where(below > 0, below_wrong / below, 0)).sum(axis=1) / errors[:, 0]
        reached = right >= 0.95 * (total - errors) * (1 - 1e-12)
        fpr = np.take_along_axis(wrong, reached.argmax(axis=1)[:, None], axis=1)[:, 0] / errors[:, 0]
    return np.stack([ranking(sample, weights, blocks)[:, 0], success, error, fpr], axis=1)


def _curves(sample: Sample) -> pd.DataFrame:
    blocks = Blocks.of(sample.f, sample.y, sample.weight[None])
    n, wrong = (part[0] for part in blocks.cumulated())
    right = n - wrong
    return pd.DataFrame(
        {"score": blocks.score, "fpr": wrong / wrong[-1], "tpr": right / right[-1], "precision": right / n,
         "error_recall": (wrong[-1] - wrong + blocks.wrong[0]) / wrong[-1],
         "error_precision": (wrong[-1] - wrong + blocks.wrong[0]) / (n[-1] - n + blocks.n[0])}
    )  # fmt: skip


def _within(one: Series, asked: ErrorDetectionQuestion) -> tuple[float, int] | None:
    """Give the share of pairs of a right and a wrong row of one question that are ranked well, and how many there are."""
    column = asked.question or ("item" if one.frame["item"].duplicated().any() else "")
    if not column or column not in one.frame.columns:
        return None
    codes = pd.factorize(one.frame[column])[0]
    good, pairs = 0.0, 0
    for rows in pd.DataFrame({"code": codes}).groupby("code").indices.values():
        f, y = one.sample.f[rows], one.sample.y[rows]
        right, wrong = f[y > 0], f[y == 0]
        if len(right) and len(wrong):
            gaps = right[:, None] - wrong[None, :]
            good += float((gaps > 0).sum() + 0.5 * (gaps == 0).sum())
            pairs += gaps.size
    return (good / pairs, pairs) if pairs else None


def delong_table(chosen: Chosen, level: float) -> pd.DataFrame:
    """Give paired differences of AUROC where two series have the same outcomes; else those of independent rows."""
    from scipy.special import ndtr, ndtri

    rows = []
    z = float(ndtri((1 + level) / 2))
    for a, b in combinations(chosen.series, 2):
        frames = [pd.DataFrame({"unit": one.sample.unit, "f": one.sample.f, "y": one.sample.y}) for one in (a, b)]
        both = frames[0].merge(frames[1], on="unit", suffixes=("_a", "_b"))
        first, second = both["y_a"].to_numpy(), both["y_b"].to_numpy()
        if len(both) < 2 or min(first.min(), second.min()) == 1 or max(first.max(), second.max()) == 0:
            continue
        difference, error = _paired_difference(first, second, both["f_a"].to_numpy(), both["f_b"].to_numpy())
        with np.errstate(divide="ignore", invalid="ignore"):
            p = float(2 * ndtr(-abs(difference / error))) if error > 0 else 1.0
        rows.append(
            {"from": a.name, "to": b.name, "n": len(both), "difference_of_auroc": difference,
             "low": difference - z * error, "high": difference + z * error, "p": p}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].to_numpy())) if len(table) else table


def _paired_difference(ya: np.ndarray, yb: np.ndarray, fa: np.ndarray, fb: np.ndarray) -> tuple[float, float]:
    """Give AUROC of b minus that of a on the same items, and its standard error.

    Two models are wrong on different items, so the outcomes differ too: each row's parts (DeLong's structural components)
    are put at its item, and items are what varies.
    """
    parts = []
    areas = []
    for y, f in ((ya, fa), (yb, fb)):
        area, component = _components(y, f)
        areas.append(area)
        parts.append(component)
    change = parts[1] - parts[0]
    return float(areas[1] - areas[0]), float(math.sqrt((change**2).sum()))


def _components(y: np.ndarray, f: np.ndarray) -> tuple[float, np.ndarray]:
    """Give the AUROC and what each row adds to its deviation; the sum of their squares is DeLong's variance."""
    positive = y > 0
    m, k = int(positive.sum()), int((~positive).sum())
    ranks = _mid_ranks(f)
    v10 = (ranks[positive] - _mid_ranks(f[positive])) / k
    v01 = 1 - (ranks[~positive] - _mid_ranks(f[~positive])) / m
    area = float(v10.mean())
    component = np.empty(len(y))
    component[positive] = (v10 - area) / math.sqrt(m * max(m - 1, 1))
    component[~positive] = (v01 - area) / math.sqrt(k * max(k - 1, 1))
    return area, component


def _mid_ranks(values: np.ndarray) -> np.ndarray:
    """Give ranks from 1; equal values share the mean of theirs."""
    ordered = np.sort(values)
    below, up_to = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (below + up_to + 1) / 2


def figure(question: ErrorDetectionQuestion, result: ErrorDetection) -> FigureSpec:
    """Draw ROC and precision-recall curves, the densities of the score by outcome, and AUROC by series."""
    chosen = result.chosen
    roc: list[Mark] = [Line(key="random", x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0]), hue="muted", dash="dashed",
                            label="random score")]  # fmt: skip
    pr: list[Mark] = []
    several = len(chosen.series) > 1
    for number, (one, table) in enumerate(zip(chosen.series, result.curves, strict=True)):
        x = np.concatenate([[0.0], table["fpr"].to_numpy()])
        y = np.concatenate([[0.0], table["tpr"].to_numpy()])
        name = short(one.name)
        roc.append(Line(key=one.name, x=x, y=y, hue=hue_of(number), width=2.0, label=name, origin=origin_of((one,))))
        order = np.argsort(table["error_recall"].to_numpy(), kind="stable")
        recall = table["error_recall"].to_numpy()[order]
        precision = table["error_precision"].to_numpy()[order]
        pr.append(Line(key=one.name, x=recall, y=precision, hue=hue_of(number), width=2.0, label=name))
        share = float(np.average(1 - one.sample.y, weights=one.sample.weight))
        pr.append(Line(key=f"{one.name}/base", x=np.array([0.0, 1.0]), y=np.full(2, share), dash="dotted",
                       hue=hue_of(number), label="share of them" if number == 0 else ""))  # fmt: skip
    positive, negative = result.what
    first = Panel(
        key="roc", x=Axis(label=f"share of {negative} above the score", low=0.0, high=1.0),
        y=Axis(label=f"share of {positive} above", low=0.0, high=1.0), marks=tuple(roc), title="ROC",
    )  # fmt: skip
    second = Panel(
        key="pr", x=Axis(label=f"share of {negative} found", low=0.0, high=1.0),
        y=Axis(label="precision", low=0.0, high=1.0), marks=tuple(pr), title=f"Finding what is {negative}", legend=False,
    )  # fmt: skip
    rows = result.measures
    values = (rows[name].to_numpy(float) for name in ("auroc", "auroc_low", "auroc_high"))
    level = f"{100 * question.level:g} % bootstrap"
    third = series_panel("auroc", chosen, *values, label="AUROC", interval=level, zero=False)
    panels = (first, second, *((third,) if several else ()), _densities(question, result))
    caption = f"{result.summary()} Score: {_said(question)}. {level} over the {chosen.unit}."
    n = " / ".join(f"{one.sample.n:,}" for one in chosen.series[:4])
    return FigureSpec(title=f"Telling {positive} from {negative}", subtitle=f"{_said(question)}, n = {n}", panels=panels,
                      columns=2, caption=caption)  # fmt: skip


def _densities(question: ErrorDetectionQuestion, result: ErrorDetection) -> Panel:
    """Give how the score is spread among both kinds of rows of the last series."""
    one = result.chosen.series[-1]
    f, y, w = one.sample.f, one.sample.y, one.sample.weight
    edges = np.linspace(f.min(), f.max() if f.max() > f.min() else f.min() + 1, 31)
    marks: list[Mark] = []
    for kind, hue in ((0, "good"), (1, "bad")):
        inside = y == 1 - kind
        share = np.histogram(f[inside], edges, weights=w[inside])[0] / w[inside].sum()
        x, height = np.repeat(edges, 2)[1:-1], np.repeat(share, 2)
        marks.append(Line(key=result.what[kind], x=x, y=height, hue=hue, width=2.0, label=result.what[kind]))
    return Panel(key="densities", x=Axis(label=_said(question)), y=Axis(label="share of its rows", low=0.0),
                 marks=tuple(marks), title=f"The score of {short(one.name)}")  # fmt: skip


ANALYSIS = Analysis(
    id="selective.error-detection",
    title="Error and OOD detection",
    asks="Does the score separate right from wrong, in- from out-of-distribution?",
    question=ErrorDetectionQuestion,
    figure=figure,
    sources=(
        "Hendrycks and Gimpel (2017), A Baseline for Detecting Misclassified and Out-of-Distribution Examples",
        "Liu et al. (2020), Energy-based Out-of-distribution Detection",
        "DeLong, DeLong and Clarke-Pearson (1988), Comparing the areas under two or more correlated ROC curves",
    ),
    definition="""\
`auroc`: the chance that a positive row scores above a negative one, ties 1/2 (Mann-Whitney U / (n1 n0)).
`aupr_success` and `aupr_error`: average precision, the sum of (R_k - R_(k-1)) P_k over distinct scores, with right
(in-distribution) or wrong (out) as the positive. `fpr_at_95_tpr`: the share of negatives above the score that 95 % of
positives reach.

Scores: confidence; -entropy; the gap of the two most probable classes; energy T logsumexp(z / T); or a column. Where
questions are answered several times, `auroc_within_questions` compares rows of one question only: the pooled AUROC
also rewards knowing which question is easy. Differences: DeLong's structural components put at the items both series
have. Unit: the item.""",
)
