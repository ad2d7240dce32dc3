"""``ttt.performance-profile``: which method is fast most often, over many workloads.

Every run of a method on a workload is a trial; its time is the first x that meets the target of the workload, infinite
if it never does. Methods are compared by the ratio of their time to the best method's on the same workload.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, Cells, Clauses, FigureSpec, Line, Mark, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant
from ...models.selection import is_in
from ...models.store import RunStore
from .. import resampling
from ..alignment import aligned, default_tag
from ..curve_marks import stairs
from ..first_passage import first_reached, is_above, stated_target

_PLACE = re.compile(r"\{([^{}]+)\}")
_ENOUGH_TRIALS = 3
"""Trials of every method on every workload from which trials are resampled."""


def ratios(times: np.ndarray) -> np.ndarray:
    """Give every method's time over the best one's on the workload.

    Parameters
    ----------
    times : ndarray, shape (..., methods, workloads)
        Infinite where the target was not met. Where nobody meets it, every ratio is infinite; a time of 0 is 1 times
        itself.
    """
    best = times.min(axis=-2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(times == best, 1.0, times / best)
    return np.where(np.isfinite(times), ratio, math.inf)


def scores(ratio: np.ndarray, r_max: float) -> np.ndarray:
    """Give the area under each method's profile from 1 to `r_max`, as a share of the whole, shape (..., methods).

    A workload solved at ratio r is counted from r on, so it adds (r_max - r) / (r_max - 1) where r is below r_max.
    """
    return np.asarray((np.clip(r_max - ratio, 0, None) / (r_max - 1)).mean(axis=-1))


@dataclass(frozen=True, kw_only=True)
class PerformanceProfile(Result):
    """Methods compared over workloads.

    Attributes
    ----------
    methods, workloads : tuple of str
        In the order of discovery.
    times, ratio : ndarray, shape (methods, workloads)
        Median time over trials, and its ratio to the best; NaN where a method was not run.
    score, low, high : ndarray, shape (methods,)
        Score and its interval over trials; NaN ends where there are too few.
    without_one : ndarray, shape (methods, 2)
        Lowest and highest score when one workload is left out.
    unsolved : tuple of str
        Workloads nobody solves; in no number.
    cells : tuple of tuple of tuple of str
        Keys of the runs behind each method and workload.
    """

    methods: tuple[str, ...]
    workloads: tuple[str, ...]
    times: np.ndarray
    ratio: np.ndarray
    score: np.ndarray
    low: np.ndarray
    high: np.ndarray
    without_one: np.ndarray
    unsolved: tuple[str, ...]
    cells: tuple[tuple[tuple[str, ...], ...], ...]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        order = np.argsort(-self.score, kind="stable")[:3]
        said = ", ".join(f"{self.methods[i]} {significant(float(self.score[i]), 3)}" for i in order)
        more = f" (best 3 of {len(self.methods)})" if len(self.methods) > 3 else ""
        first = np.count_nonzero(self.ratio[order[0]] == 1)
        return (
            f"Score over {counted(len(self.workloads), 'workload')}: {said}{more}; {self.methods[order[0]]} is the fastest "
            f"on {first}."
        )


@dataclass(frozen=True, kw_only=True)
class PerformanceProfileQuestion(Question):
    """Which method is fast most often, over many workloads?"""

    needs: ClassVar = (Need("scalars"),)

    workload: str = option("", help="column that names the workload; empty looks for one", choices="columns of runs")
    group_by: tuple[str, ...] = option((), help="columns that name the method", choices="columns of runs")
    tag: str = option("", help="metric; {column} stands for what the run states there", choices="tags")
    target_column: str = option("", help="column with the target; empty looks for one", choices="numbers of runs")
    targets: tuple[str, ...] = option((), help="targets by workload, WORKLOAD=VALUE; they go before the column")
    direction: Literal["auto", "above", "below"] = option("auto", help="side targets are met from; auto reads the name")
    r_max: float = option(4.0, help="ratio up to which the profile is scored", low=1.01)
    held_out: tuple[str, ...] = option((), help="BASE=VARIANT: who fails the variant fails the base", advanced=True)
    x: str = option("step", help="step, relative, or a tag such as a clock or tokens", choices="x axes")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(2000, help="draws of the bootstrap over trials", low=100, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the workload, the method, the metric and the column of the target."""
        frame = store.rows("runs")
        workload = self.workload or _workload_column(frame)
        group_by = self.group_by or (_method_columns(frame, workload) if workload in frame.columns else ())
        metric = next((str(name) for name in frame.columns if str(name).endswith("target_metric_name")), "")
        tag = self.tag or (f"validation/{{{metric}}}" if metric else default_tag(store))
        column = self.target_column or stated_target(frame, tag)
        return replace(self, workload=workload, group_by=group_by, tag=tag, target_column=column)

    def following(self, other: Question, name: str, value: float, store: RunStore) -> Self:
        """Take a target that was dragged over the curves of a metric for the workloads whose runs these are."""
        tag = getattr(other, "tag", "")
        if name != "target" or not tag or not store.has_rows("runs"):
            return self
        try:
            asked = self.resolved(store)
        except AnalysisError:
            return self
        chosen = getattr(other, "runs", ())
        keys = {run.key for run, _ in store.curves(tag) if not chosen or run.key in chosen}
        frame = store.rows("runs")
        frame = frame[frame["run"].isin(keys)]
        workloads = [
            str(row[asked.workload])
            for row in frame.to_dict("records")
            if _tag_of(row, asked) == tag and not pd.isna(row.get(asked.workload))
        ]
        if not workloads:
            return self
        kept = [text for text in self.targets if text.partition("=")[0].strip() not in workloads]
        return replace(self, targets=(*kept, *(f"{one}={value:.6g}" for one in dict.fromkeys(workloads))))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> PerformanceProfile:
        """Find the time of every trial, the ratios, the profiles and their scores."""
        asked = self.resolved(store)
        trials, missed = _trials(store, asked, progress)
        methods, workloads = tuple(trials["method"].unique()), tuple(trials["workload"].unique())
        if len(methods) < 2:
            raise TooLittleData(
                needs="at least 2 methods", found=", ".join(methods) or "none", remedy="Name their column in group_by."
            )
        cells = dict(iter(trials.groupby(["method", "workload"], sort=False)))
        held = dict(_pair(text, "held_out", "BASE=VARIANT") for text in asked.held_out)
        blocks = [np.asarray(part["time"], float) for part in cells.values()]
        at = [(methods.index(method), workloads.index(workload)) for method, workload in cells]
        times = _medians(blocks, at, (len(methods), len(workloads)))[0]
        kept, unsolved = _kept(times, workloads, held)
        if not len(kept):
            raise AnalysisError(
                "No method meets the target of any workload.", remedy="Check the targets and the metric."
            )
        failed = _failing(times, workloads, held)
        ratio = ratios(failed)[:, kept]
        score = scores(ratio, asked.r_max)
        fewest = min(map(len, blocks))
        low, high = np.full((2, len(methods)), math.nan)
        if fewest >= _ENOUGH_TRIALS:
            generator = resampling.DrawBlock(asked.seed, 0, asked.draws).generator()
            drawn = [block[generator.integers(len(block), size=(asked.draws, len(block)))] for block in blocks]
            redrawn = _failing(_medians(drawn, at, times.shape), workloads, held)[..., kept]
            interval = resampling.percentile_interval(scores(ratios(redrawn), asked.r_max), asked.level)
            low, high = np.asarray(interval.low), np.asarray(interval.high)
        without = np.array([scores(np.delete(ratio, i, axis=1), asked.r_max) for i in range(len(kept))])
        without_one = np.full((len(methods), 2), math.nan)
        if len(kept) > 1:
            without_one = np.stack([without.min(axis=0), without.max(axis=0)], axis=1)
        names = tuple(workloads[i] for i in kept)
        behind = tuple(tuple(tuple(cells[m, w]["run"]) if (m, w) in cells else () for w in names) for m in methods)
        return PerformanceProfile(
            methods=methods,
            workloads=names,
            times=failed[:, kept],
            ratio=ratio,
            score=score,
            low=low,
            high=high,
            without_one=without_one,
            unsolved=unsolved,
            cells=behind,
            estimates={
                f"{method}/score": Estimate(
                    float(score[i]), float(low[i]), float(high[i]), asked.level, "",
                    "" if math.isfinite(low[i]) else f"as few as {counted(fewest, 'trial')} of a workload",
                )
                for i, method in enumerate(methods)
            },
            tables=_tables(methods, names, failed[:, kept], ratio, score, low, high, without_one, trials),
            notes=tuple(_notes(asked, trials, names, unsolved, missed, fewest)),
        )  # fmt: skip


def _pair(text: str, name: str, shape: str) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not equals:
        raise AnalysisError(f"{name} is written {shape}, not {text!r}.")
    return left.strip(), right.strip()


def _workload_column(frame: pd.DataFrame) -> str:
    words = ("workload", "task", "dataset", "problem", "env", "env_id", "environment")
    for word in words:
        for name in map(str, frame.columns):
            if name.rpartition(".")[2] == word and frame[name].nunique() > 1:
                return name
    raise AnalysisError(
        "No column says which workload a run belongs to.",
        remedy="Name one as workload (path.3 is the third folder of a run). Columns: "
        + ", ".join(map(str, list(frame.columns)[:20])) + ".",
    )  # fmt: skip


def _method_columns(frame: pd.DataFrame, workload: str) -> tuple[str, ...]:
    """Give a column whose values each occur in several workloads: the family, the optimiser, or a folder."""
    names = [str(name) for name in frame.columns]
    known = [
        name
        for name in names
        if name.rpartition(".")[2] in ("family", "method", "algorithm", "submission", "optimizer")
    ]
    for name in (*known, *sorted(name for name in names if re.fullmatch(r"path\.\d+", name))):
        crossed = frame.groupby(name)[workload].nunique() if name in frame.columns else pd.Series(dtype=int)
        if name != workload and 2 <= len(crossed) <= 40 and bool((crossed > 1).all()):
            return (name,)
    raise AnalysisError("No column tells methods apart on several workloads.", remedy="Name them in group_by.")


def _tag_of(row: Mapping[Any, Any], asked: PerformanceProfileQuestion) -> str:
    """Give the metric of a run, by what it states where the question leaves a place for it."""
    return _PLACE.sub(lambda match: str(row.get(match.group(1), "")), asked.tag)


def _trials(
    store: RunStore, asked: PerformanceProfileQuestion, progress: Progress
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Give a row for every trial with its time, and how many runs were left out for what reason."""
    frame = store.rows("runs")
    wanted = [asked.workload, *asked.group_by, *_PLACE.findall(asked.tag)]
    lacking = [name for name in wanted if name not in frame.columns]
    if lacking:
        raise AnalysisError(
            f"There is no column called {lacking[0]!r}.",
            remedy="Columns: " + ", ".join(map(str, frame.columns[:20])) + ".",
        )
    frame = frame[frame["run"].isin(list(store.kept_runs))]
    named = {
        workload: float(value) for workload, value in (_pair(t, "targets", "WORKLOAD=VALUE") for t in asked.targets)
    }
    missed = {"state no workload or method": 0, "do not log the metric": 0, "have no target": 0}
    by_tag: dict[str, list[tuple[str, str, str, float]]] = {}
    for row in frame.to_dict("records"):
        keys = [row[name] for name in wanted]
        if any(key is None or key != key for key in keys):
            missed["state no workload or method"] += 1
            continue
        tag = _tag_of(row, asked)
        if tag not in store.kept_runs[row["run"]].curves:
            missed["do not log the metric"] += 1
            continue
        workload = str(row[asked.workload])
        target = named.get(workload, row.get(asked.target_column, math.nan) if asked.target_column else math.nan)
        if target is None or not math.isfinite(target):
            missed["have no target"] += 1
            continue
        method = " · ".join(str(row[name]) for name in asked.group_by)
        by_tag.setdefault(tag, []).append((row["run"], method, workload, float(target)))
    rows = []
    for number, (tag, runs) in enumerate(by_tag.items()):
        progress(number, len(by_tag), "finding when targets are met")
        above = is_above(asked.direction, tag)
        curves = {curve.run.key: curve for curve in aligned(store, tag, asked.x, [run for run, *_ in runs])}
        for run, method, workload, target in runs:
            curve = curves[run]
            place = first_reached(curve.x, curve.y, target, above=above)
            time = float(curve.x[place]) if place >= 0 else math.inf
            rows.append(
                {"method": method, "workload": workload, "run": run, "tag": tag, "target": target, "time": time}
            )
    if not rows:
        what = "; ".join(f"{counted(n, 'run')} {why}" for why, n in missed.items() if n) or "no run is kept"
        raise AnalysisError(
            f"No run can be timed: {what}.",
            remedy="Name a tag (validation/{config.metric} fills in what a run states) and a target_column or targets.",
        )
    order = {run: place for place, run in enumerate(store.kept_runs)}
    table = pd.DataFrame(rows)
    return table.sort_values("run", key=lambda column: column.map(order), ignore_index=True), missed


def _medians(blocks: list[np.ndarray], at: list[tuple[int, int]], shape: tuple[int, ...]) -> np.ndarray:
    """Give the median time of every method and workload, shape (draws, methods, workloads); infinite where not run."""
    first = np.atleast_2d(blocks[0])
    times = np.full((len(first), *shape[-2:]), math.inf)
    for block, (method, workload) in zip(blocks, at, strict=True):
        ordered = np.sort(np.atleast_2d(block), axis=1)
        n = ordered.shape[1]
        # Not np.median, which makes NaN of two infinities.
        times[:, method, workload] = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2
    return times


def _failing(times: np.ndarray, workloads: tuple[str, ...], held: dict[str, str]) -> np.ndarray:
    """Give times with infinity where a method fails the held-out variant of a workload."""
    times = times.copy()
    for base, variant in held.items():
        if base not in workloads or variant not in workloads:
            raise AnalysisError(f"There is no workload {base if base not in workloads else variant!r} (held_out).")
        failed = ~np.isfinite(times[..., workloads.index(variant)])
        times[..., workloads.index(base)] = np.where(failed, math.inf, times[..., workloads.index(base)])
    return times


def _kept(times: np.ndarray, workloads: tuple[str, ...], held: dict[str, str]) -> tuple[list[int], tuple[str, ...]]:
    """Give the places of workloads that are scored, and those nobody solves."""
    solved = np.isfinite(_failing(times, workloads, held)).any(axis=0)
    base = [i for i, name in enumerate(workloads) if name not in held.values()]
    return [i for i in base if solved[i]], tuple(workloads[i] for i in base if not solved[i])


def _tables(
    methods: tuple[str, ...], workloads: tuple[str, ...], times: np.ndarray, ratio: np.ndarray, score: np.ndarray,
    low: np.ndarray, high: np.ndarray, without_one: np.ndarray, trials: pd.DataFrame,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    by_method = pd.DataFrame(
        {
            "method": methods, "score": score, "low": low, "high": high,
            "lowest_without_one_workload": without_one[:, 0], "highest_without_one_workload": without_one[:, 1],
            "fastest_on": (ratio == 1).sum(axis=1), "solved": np.isfinite(ratio).sum(axis=1),
        }
    )  # fmt: skip
    by_cell = pd.DataFrame(
        {
            "method": np.repeat(methods, len(workloads)),
            "workload": np.tile(workloads, len(methods)),
            "median_time": times.ravel(),
            "ratio": ratio.ravel(),
        }
    )
    return {"methods": by_method, "cells": by_cell, "trials": trials}


def _notes(
    asked: PerformanceProfileQuestion, trials: pd.DataFrame, workloads: tuple[str, ...], unsolved: tuple[str, ...],
    missed: dict[str, int], fewest: int,
) -> list[str]:  # fmt: skip
    metric = f"{asked.tag} along {asked.x}"
    notes = [
        f"{counted(len(trials), 'trial')} (runs) by {' and '.join(asked.group_by)} on {counted(len(workloads), 'workload')}"
        f" ({asked.workload}); time: first {metric} that meets the target, infinite if never; median over trials, so a "
        "workload counts as missed where half of the trials or more miss it.",
        f"Score: area under the profile from 1 to {asked.r_max:g}. It depends on which methods are compared: the best one "
        "sets the ratio.",
    ]
    if fewest >= _ENOUGH_TRIALS:
        notes.append(
            f"Intervals: percentile bootstrap, {asked.draws:,} draws of trials within method and workload (unit: the run);"
            f" with as few as {fewest} trials it covers too little."
        )
    else:
        notes.append(
            f"No interval over trials: as few as {fewest} of a method on a workload. Bars in the figure: range of the "
            "score when one workload is left out."
        )
    if unsolved:
        notes.append(f"Nobody meets the target of {', '.join(unsolved)}: left out.")
    if asked.held_out:
        notes.append("Who fails a held-out variant is counted as failing its base: " + ", ".join(asked.held_out) + ".")
    if at_once := int((trials["time"] == 0).sum()):
        notes.append(f"{counted(at_once, 'trial')} met the target at {asked.x} 0: is it easy to meet?")
    left = [f"{counted(n, 'run')} {why}" for why, n in missed.items() if n]
    if left:
        notes.append("Left out: " + "; ".join(left) + ".")
    return notes


def figure(question: PerformanceProfileQuestion, result: PerformanceProfile) -> FigureSpec:
    """Draw the profiles up to r_max, which can be dragged, the scores, and the ratios behind them."""
    curves: list[Mark] = []
    for i, method in enumerate(result.methods):
        reached = np.unique(result.ratio[i][np.isfinite(result.ratio[i])])
        share = np.array([np.mean(result.ratio[i] <= at) for at in reached])
        shown = reached <= question.r_max
        x, y = stairs(reached[shown], share[shown], 1.0, question.r_max, 0.0)
        behind = Clauses("runs", (is_in("run", [run for cell in result.cells[i] for run in cell]),))
        label = f"{method}: {significant(float(result.score[i]), 3)}"
        curves.append(Line(key=method, x=x, y=y, hue=f"c{i}", label=label, width=2.0, origin=behind))
    curves.append(Rule(key="r_max", axis="x", at=question.r_max, label="r_max", option="r_max"))
    known = bool(np.isfinite(result.low).all())
    low, high = (result.low, result.high) if known else result.without_one.T
    at = np.arange(len(result.methods), dtype=float)
    bars: list[Mark] = []
    for i, method in enumerate(result.methods):
        bars.append(
            Bars(
                key=method,
                at=at[i : i + 1],
                height=result.score[i : i + 1],
                low=low[i : i + 1] if np.isfinite(low[i]) else None,
                high=high[i : i + 1] if np.isfinite(high[i]) else None,
                width=0.6,
                hue=f"c{i}",
                origin=Clauses("runs", (is_in("run", [run for cell in result.cells[i] for run in cell]),)),
            )
        )
    texts = tuple(tuple(f"{value:.2f}" if math.isfinite(value) else "missed" for value in row) for row in result.ratio)
    cells = Cells(
        key="ratio",
        values=np.clip(result.ratio, 1, question.r_max),
        rows=result.methods,
        columns=result.workloads,
        texts=texts,
        ramp="bad",
        low=1.0,
        high=question.r_max,
        label="time over the best",
        origin=Clauses("runs", tuple(is_in("run", cell) for row in result.cells for cell in row)),
    )
    meaning = f"{100 * question.level:g} % interval over trials" if known else "range without one workload"
    panels = (
        Panel(
            key="profile",
            x=Axis(label=f"ratio to the fastest ({question.x})", low=1.0 - 0.02 * (question.r_max - 1)),
            y=Axis(label="share of workloads solved", low=-0.03, high=1.03),
            marks=tuple(curves),
            height=1.5,
        ),
        Panel(
            key="score",
            x=Axis(scale="category", names=result.methods),
            y=Axis(label="score", low=0.0),
            marks=tuple(bars),
            legend=False,
            height=0.8,
        ),
        Panel(
            key="ratios",
            x=Axis(scale="category", names=result.workloads),
            y=Axis(scale="category", names=result.methods),
            marks=(cells,),
            legend=False,
            height=0.7,
        ),
    )
    trials = result.tables["trials"]
    return FigureSpec(
        title="Performance profiles",
        subtitle=f"{counted(len(result.methods), 'method')}, {counted(len(result.workloads), 'workload')}, "
        f"{counted(len(trials), 'trial')}; error bars: {meaning}",
        panels=panels,
        caption=f"{result.summary()} Profile: share of workloads on which the median time of a method is within a ratio "
        f"of the fastest; score: its area up to {question.r_max:g}; error bars: {meaning}.",
    )


ANALYSIS = Analysis(
    id="ttt.performance-profile",
    title="Performance profiles",
    asks="Which method is fast most often, over many workloads?",
    question=PerformanceProfileQuestion,
    figure=figure,
    sources=(
        "Dolan and More (2002), Benchmarking optimization software with performance profiles",
        "Dahl et al. (2023), Benchmarking Neural Network Training Algorithms (AlgoPerf): score and held-out variants",
    ),
    definition="""\
$t_{sw}$: median over trials of the first x at which method s meets the target of workload w; infinite where half of the
trials or more miss it. $r_{sw}=t_{sw}/\\min_{s'}t_{s'w}$, $\\rho_s(\\tau)=\\#\\{w: r_{sw}\\le\\tau\\}/n$, score
$=\\frac1{r_{max}-1}\\int_1^{r_{max}}\\rho_s\\,d\\tau$. Workloads nobody solves are left out and listed; a method that
was not run on a workload has missed it; a method that fails a held-out variant has missed the base.

Unit: the trial (run), resampled within method and workload from three trials on; beside it the range of the score when
one workload is left out. Trap: ratios are taken to the best of the methods *compared*, so the scores change with the
selection.
""",
)
