"""``calibration.groups``: is it calibrated for every group?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Cells, Clauses, FigureSpec, Mark, Panel, Points
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, significant, with_interval
from ...models.selection import All, Between, Clause, is_in
from ...models.store import RunStore
from ..answers import present
from ..calibration_errors import Binning, bin_sums
from ..forecast_marks import short
from ..forecast_rows import ForecastQuestion, Sample, Series
from ..forecasts import width_edges
from ..recalibration import cross_fitted, folds_of, rows_of, with_forecasts
from ..resampling import centred_interval, holm, p_of_draws, percentile_interval
from ..score_marks import interval_rows

_FEW = 30
_LEAST = 10
"""Cells with fewer rows have no colour: one row is not a rate."""
_PERMUTATIONS = 500


@dataclass(frozen=True, kw_only=True)
class GroupCalibration(Result):
    """Calibration of every group.

    Attributes
    ----------
    whole : Series
        All rows.
    groups : DataFrame
        One row a group: group, n, share, bias with low and high, ece with low and high, p (bias is 0), p_holm.
    cells : DataFrame
        One row a group and level of confidence: group, low, high, n, gap.
    worst_null : ndarray, shape (permutations,)
        The worst ECE of a group where groups are dealt at random.
    """

    whole: Series
    groups: pd.DataFrame
    cells: pd.DataFrame
    worst_null: np.ndarray

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        row = self.groups.iloc[int(self.groups["ece"].to_numpy().argmax())]
        ece = with_interval(float(row["ece"]), float(row["ece_low"]), float(row["ece_high"]))
        return (
            f"{self.whole.name}: worst group {row['group']}, ECE {ece} (n = {int(row['n']):,}); with groups dealt at random "
            f"the worst has {significant(e['worst_ece_null'].value, 2)}, p = {significant(e['p_worst'].value, 2)}."
        )


@dataclass(frozen=True, kw_only=True)
class GroupsQuestion(ForecastQuestion):
    """Is it calibrated for every group?"""

    groups: tuple[str, ...] = option((), help="columns of groups; 'group' if none", choices="columns of predictions")
    bins: int = option(5, help="levels of confidence of equal width", low=1, high=50)
    recalibrate: Literal["no", "temperature", "platt", "isotonic"] = option(
        "no", help="show what a map cross-fitted on all rows leaves"
    )
    draws: int = option(1000, help="resamples", low=20, high=100_000, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> GroupCalibration:
        """Cut by group and confidence, resample within groups, deal groups at random."""
        asked = self.resolved(store)
        chosen = asked.chosen(store)
        whole = chosen.series[-1]
        notes = [f"Shown: {whole.name}."] if len(chosen.series) > 1 else []
        columns = list(asked.groups) or present(whole.frame, ("group",))
        if missing := [name for name in columns if name not in whole.frame.columns]:
            raise AnalysisError(f"The predictions have no column called {missing[0]!r}.")
        if not columns:
            raise AnalysisError("Nothing says which group a row belongs to.", remedy="Name columns with --groups.")
        if asked.recalibrate != "no":
            fold = folds_of(whole.sample.unit, 5, asked.seed)
            found, _ = cross_fitted(asked.recalibrate, whole.sample, whole.sample.weight, fold)
            order = np.argsort(found.f, kind="stable")
            whole = replace(whole, sample=with_forecasts(whole.sample, found), frame=whole.frame.iloc[order], column="")
            notes.append(f"After {asked.recalibrate}, cross-fitted over 5 folds on all groups together.")
        masks = _masks(whole.frame, columns)
        if len(masks) < 2:
            raise TooLittleData(needs="at least 2 groups", found=str(len(masks)))
        table = _table(whole.sample, masks, asked)
        null, p = _dealt(whole.sample, masks, float(table["ece"].max()), asked)
        cells = _cells(whole.sample, masks, asked.bins)
        error = multicalibration_error(whole.sample, masks, asked.bins)
        floor = percentile_interval(null, asked.level)
        worst = table.iloc[int(table["ece"].to_numpy().argmax())]
        estimates = {"n": Estimate(whole.sample.n, unit="rows", why_no_interval="a count")}
        for row in table.to_dict("records"):
            for name in ("bias", "ece"):
                estimates[f"{row['group']}/{name}"] = Estimate(
                    row[name], row[f"{name}_low"], row[f"{name}_high"], asked.level
                )
        estimates |= {
            "worst_ece": Estimate(float(worst["ece"]), float(worst["ece_low"]), float(worst["ece_high"]), asked.level),
            "worst_ece_null": Estimate(float(null.mean()), float(floor.low), float(floor.high), asked.level),
            "p_worst": Estimate(p, why_no_interval="a p-value"),
        }
        why = "a maximum over groups in-sample"
        estimates["multicalibration_error"] = Estimate(float(max(error.values())), why_no_interval=why)
        table["multicalibration_error"] = [error[name] for name in table["group"]]
        notes = [
            f"Unit: the {chosen.unit}, drawn within its group; n = {whole.sample.n:,} rows. {100 * asked.level:g} % bootstrap, "
            f"{asked.draws} draws, seed {asked.seed}, percentiles (ECE: round the value). p_holm: bias is 0, Holm over groups.",
            f"The worst of many small groups looks bad by chance: worst_ece_null deals the groups at random "
            f"({_PERMUTATIONS} times). Groups under {_FEW} rows are hollow.",
            *notes,
            *chosen.notes,
        ]
        return GroupCalibration(whole=whole, groups=table, cells=cells, worst_null=null, estimates=estimates,
                                tables={"groups": table, "cells": cells}, notes=tuple(notes))  # fmt: skip


def _masks(frame: pd.DataFrame, columns: list[str]) -> dict[str, np.ndarray]:
    """Give the rows of every group; groups of several columns overlap."""
    masks: dict[str, np.ndarray] = {}
    for column in columns:
        values = frame[column].astype(str)
        for value in sorted(values[frame[column].notna()].unique()):
            name = value if len(columns) == 1 else f"{column}: {value}"
            masks[name] = (values == value).to_numpy(dtype=bool)
    return masks


def _table(sample: Sample, masks: dict[str, np.ndarray], asked: GroupsQuestion) -> pd.DataFrame:
    from scipy.special import ndtr

    generator = np.random.default_rng(asked.seed)
    rows = []
    for name, inside in masks.items():
        part = rows_of(sample, inside)
        units, place = np.unique(part.unit, return_inverse=True)
        times = generator.multinomial(len(units), np.full(len(units), 1 / len(units)), size=asked.draws)
        weights = times[:, place] * part.weight
        bins = Binning(asked.bins).places(part.f, "width")
        draws = bin_sums(part, bins, weights)
        total = weights.sum(axis=1)
        bias_draws = (draws.y - draws.f).sum(axis=1) / total
        value = bin_sums(part, bins, part.weight)
        bias = float((value.y - value.f).sum() / part.weight.sum())
        low, high = percentile_interval(bias_draws, asked.level)
        ece = float(value.ece())
        ece_low, ece_high = centred_interval(ece, draws.ece(), asked.level)
        error = float(bias_draws.std(ddof=1))
        p = float(2 * ndtr(-abs(bias) / error)) if error > 0 else math.nan
        rows.append(
            {"group": name, "n": part.n, "share": part.weight.sum() / sample.weight.sum(), "bias": bias, "bias_low": float(low),
             "bias_high": float(high), "ece": ece, "ece_low": float(ece_low), "ece_high": float(ece_high), "p": p}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].to_numpy(float)))


def _dealt(
    sample: Sample, masks: dict[str, np.ndarray], worst: float, asked: GroupsQuestion
) -> tuple[np.ndarray, float]:
    """Give the worst ECE where rows are dealt to groups of the same sizes at random, and the p-value of the worst found."""
    generator = np.random.default_rng(np.random.SeedSequence(asked.seed, spawn_key=(7,)))
    place = Binning(asked.bins).places(sample.f, "width")
    residual = sample.weight * (sample.y - sample.f)
    null = np.empty(_PERMUTATIONS)
    stacked = np.array(list(masks.values()))
    for number in range(_PERMUTATIONS):
        order = generator.permutation(sample.n)
        found = 0.0
        for inside in stacked:
            at = order[inside]
            gaps = np.bincount(place[at], residual[at])
            found = max(found, float(np.abs(gaps).sum() / sample.weight[at].sum()))
        null[number] = found
    return null, p_of_draws(int((null >= worst - 1e-12).sum()), _PERMUTATIONS)


def _cells(sample: Sample, masks: dict[str, np.ndarray], bins: int) -> pd.DataFrame:
    edges = width_edges(bins)
    place = Binning(bins).places(sample.f, "width")
    rows = []
    for name, inside in masks.items():
        n = np.bincount(place[inside], sample.weight[inside], bins)
        gap = np.bincount(place[inside], (sample.weight * (sample.y - sample.f))[inside], bins)
        for level in range(bins):
            value = gap[level] / n[level] if n[level] else math.nan
            rows.append({"group": name, "low": edges[level], "high": edges[level + 1], "n": n[level], "gap": value})
    return pd.DataFrame(rows)


def multicalibration_error(sample: Sample, masks: dict[str, np.ndarray], bins: int) -> dict[str, float]:
    """Give, for every group g, the sum over levels v of P(v) (P(g | v) D)², D the mean of y - f in the cell of both.

    The contribution of a cell is weighed by how much of its level the group is, so that small groups cannot rule it.
    """
    place = Binning(bins).places(sample.f, "width")
    level = np.bincount(place, sample.weight, bins)
    total = sample.weight.sum()
    found = {}
    for name, inside in masks.items():
        gap = np.bincount(place[inside], (sample.weight * (sample.y - sample.f))[inside], bins)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[name] = float(np.nansum(level / total * (gap / level) ** 2))
    return found


def figure(question: GroupsQuestion, result: GroupCalibration) -> FigureSpec:
    """Draw the signed gap of every group and level of confidence, and bias and ECE of every group."""
    groups, cells = result.groups, result.cells
    names = groups["group"].tolist()
    levels = cells[cells["group"] == names[0]]
    columns = tuple(f"{row['low']:.2g}-{row['high']:.2g}" for row in levels.to_dict("records"))
    gap = cells["gap"].to_numpy(float).reshape(len(names), -1)
    n = cells["n"].to_numpy(float).reshape(len(names), -1)
    texts = tuple(
        tuple(f"{g:+.2f}\n{int(k):,}" if k else "" for g, k in zip(row, counts, strict=True))
        for row, counts in zip(gap, n, strict=True)
    )
    most = (
        float(np.nanmax(np.abs(np.where(n >= _FEW, gap, np.nan))))
        if (n >= _FEW).any()
        else float(np.nanmax(np.abs(gap)))
    )
    shown = tuple(short(name) for name in names)
    clauses = tuple(_cell_clause(result.whole, row, question) for row in cells.to_dict("records"))
    values = np.where(n >= _LEAST, gap, np.nan)
    matrix = Cells(key="gaps", values=values, rows=shown, columns=columns, texts=texts, ramp="diverging", low=-most, high=most,
                   label="outcome - forecast", origin=Clauses("predictions", clauses))  # fmt: skip
    first = Panel(
        key="cells", x=Axis(label="confidence", scale="category", names=columns),
        y=Axis(scale="category", names=shown, inverted=True), marks=(matrix,),
    )  # fmt: skip
    panels = [first]
    at = np.arange(len(names), dtype=float)
    few = groups["n"].to_numpy() < _FEW
    for name, label in (("bias", "bias: outcome - forecast"), ("ece", "ECE within the group")):
        marks: list[Mark] = []
        value, low, high = (groups[f"{name}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        for hollow in (False, True):
            rows = np.flatnonzero(few == hollow)
            if len(rows):
                notes = tuple(
                    f"{names[i]}: {with_interval(value[i], low[i], high[i])}, n = {int(groups['n'].iloc[i]):,}"
                    for i in rows
                )
                said = f"under {_FEW} rows" if hollow else f"{100 * question.level:g} % bootstrap"
                ends = (part[rows] for part in (at, value, low, high))
                marks.extend(interval_rows(f"{name}/{hollow}", *ends, hollow=hollow, notes=notes, label=said))
        if name == "ece":
            top = float(np.quantile(result.worst_null, 0.95))
            marks.append(Points(key="null", x=np.full(len(names), top), y=at, hue="muted", symbol="diamond", hollow=True,
                                label="95 % of the worst of random groups"))  # fmt: skip
        y = Axis(scale="category", names=shown, inverted=True, low=-0.6, high=len(names) - 0.4)
        panels.append(Panel(key=name, x=Axis(label=label), y=y, marks=tuple(marks)))
    caption = f"{result.summary()} Cells: mean outcome - forecast and n, without colour under {_LEAST} rows."
    return FigureSpec(title=f"Calibration by group, {result.whole.name}", subtitle=f"{question.target}, {len(names)} groups",
                      panels=tuple(panels), columns=1, caption=caption)  # fmt: skip


def _cell_clause(whole: Series, row: Mapping[Any, Any], question: GroupsQuestion) -> Clause:
    columns = question.groups or ("group",)
    column, value = columns[0], str(row["group"])
    if len(columns) > 1:
        column, _, value = value.partition(": ")
    kept = [*whole.clauses, is_in(column, (value,))]
    if whole.column:
        low = float(row["low"])
        above = math.nextafter(low, math.inf) if low > 0 else low
        kept.append(Between(whole.column, above, float(row["high"])))
    return All(tuple(kept))


ANALYSIS = Analysis(
    id="calibration.groups",
    title="Calibration of every group",
    asks="Is it calibrated for every group?",
    question=GroupsQuestion,
    figure=figure,
    sources=(
        "Hébert-Johnson et al. (2018), Multicalibration: Calibration for the (Computationally-Identifiable) Masses",
        "Hansen et al. (2024), When is Multicalibration Post-Processing Necessary?",
    ),
    definition="""\
In the cell of a group g and a level v of confidence, D is the mean of y - f. `bias` of a group is its mean of y - f;
`ece` the ECE within it; its multicalibration error is the sum over levels of P(v) (P(g | v) D)², which weighs a cell
by the part of the level that the group is (our choice where definitions differ). Groups of several columns overlap.

The worst of many small groups looks bad by chance: `worst_ece_null` deals rows to groups of the same sizes at random,
and `p_worst` is how often the worst is then as bad. Unit: the item or the cluster, drawn within its group; p-values
of the bias are normal with the bootstrap's spread, adjusted by Holm.""",
)
