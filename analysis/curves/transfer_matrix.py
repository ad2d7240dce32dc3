"""``transfer.matrix``: what each stage of training did to every task.

R_ij is the score on task j after stage i. The stages are those of one model, in the order they were trained; stage i is the
one that trained task i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Cells, Clauses, FigureSpec, Line, Mark, Panel
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import All, is_in
from ...models.store import RunStore
from .. import resampling
from ..answers import in_natural_order, present

_NAMES = {
    "ACC": "mean over tasks after the last stage",
    "BWT": "change of a task from its own stage to the last",
    "FWT": "score of a task before its stage, less the untrained one",
    "FORG": "fall of a task from its best to the last",
}


def transfer_measures(r: np.ndarray, untrained: np.ndarray | None = None) -> dict[str, float]:
    """Give ACC, BWT, FWT and forgetting of a matrix of scores.

    Parameters
    ----------
    r : ndarray, shape (stages, tasks)
        Square, higher is better; r[i, j] is task j after stage i. NaN makes those measures NaN that need the cell.
    untrained : ndarray, shape (tasks,), optional
        Scores before any stage; without them FWT is NaN.

    Notes
    -----
    Lopez-Paz and Ranzato (2017), *Gradient Episodic Memory*, equations 2 to 4 (BWT and FWT over T - 1 tasks); forgetting of
    Chaudhry et al. (2018), *Riemannian Walk*: the best of all earlier stages less the last.
    """
    n = len(r)
    last = r[-1]
    before = np.array([r[i - 1, i] for i in range(1, n)])
    forward = float(np.mean(before - untrained[1:])) if untrained is not None else math.nan
    return {
        "ACC": float(last.mean()),
        "BWT": float(np.mean(last[:-1] - np.diag(r)[:-1])),
        "FWT": forward,
        "FORG": float(np.mean(r[:-1, :-1].max(axis=0) - last[:-1])),
    }


@dataclass(frozen=True, kw_only=True)
class TransferMatrix(Result):
    """Scores of every task after every stage.

    Attributes
    ----------
    stages, tasks : tuple of str
        In the order trained.
    matrix : ndarray, shape (stages, tasks)
        Mean over seeds.
    untrained : ndarray, shape (tasks,)
        NaN without a baseline.
    model, metric, stage : str
        What is shown, and the column of the stages.
    clauses : Clauses
        Rows of scores behind each cell.
    """

    stages: tuple[str, ...]
    tasks: tuple[str, ...]
    matrix: np.ndarray
    untrained: np.ndarray
    model: str
    metric: str
    stage: str
    clauses: Clauses

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = []
        for name in _NAMES:
            one = self.estimates[name]
            if math.isfinite(one.value):
                said.append(f"{name} {with_interval(one.value, one.low, one.high)}")
        who = f"{self.model}: " if self.model else ""
        return f"{who}{', '.join(said) or 'no measure is defined'} over {counted(len(self.tasks), 'task')}."


@dataclass(frozen=True, kw_only=True)
class TransferMatrixQuestion(Question):
    """What did each stage of training do to every task?"""

    needs: ClassVar = (Need("scores"),)

    model: str = option(
        "", help="model whose stages these are; empty takes the one with most stages", choices="scores.model"
    )
    metric: str = option("", help="metric; empty takes the first", choices="scores.metric")
    stage: str = option("", help="column that names the stage; empty: version, else step", choices="columns of scores")
    tasks: tuple[str, ...] = option(
        (), help="tasks in the order trained; empty: as the stages are named, or in order", choices="scores.task"
    )
    baseline: str = option("", help="stage that is the untrained model, for forward transfer")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the column of stages, the model and the metric."""
        frame = store.rows("scores")
        stage = self.stage or next(
            (name for name in present(frame, ("version", "step")) if frame[name].nunique() > 1), ""
        )
        metric = self.metric or (str(frame["metric"].dropna().iloc[0]) if present(frame, ("metric",)) else "")
        model = self.model
        if not model and stage in frame.columns and len(frame):
            model = str(frame.groupby("model")[stage].nunique().idxmax())
        return replace(self, stage=stage, metric=metric, model=model)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> TransferMatrix:
        """Fill the matrix for every seed, and take the measures of each."""
        asked = self.resolved(store)
        frame = store.rows("scores")
        if asked.stage not in frame.columns:
            raise AnalysisError("No column of the scores names a stage of training.", remedy="Name one as stage.")
        frame = frame[frame["model"].astype(str) == asked.model]
        if asked.metric and "metric" in frame.columns:
            frame = frame[frame["metric"].astype(str) == asked.metric]
        frame = frame[frame[asked.stage].notna()].assign(stage_=lambda f: f[asked.stage].map(_text))
        falling = present(frame, ("higher_is_better",)) and bool((frame["higher_is_better"] == 0).all())
        stages, tasks = _order(frame, asked)
        if len(stages) < 2 or len(stages) != len(tasks):
            raise TooLittleData(
                needs="as many stages as tasks, at least 2",
                found=f"{counted(len(stages), 'stage')} and {counted(len(tasks), 'task')} of {asked.model or 'no model'}",
                remedy="Name the tasks in the order trained, and keep one row of stages with a filter.",
            )
        seeds = list(frame.groupby("seed", sort=False)) if present(frame, ("seed",)) else [("", frame)]
        matrices, bases = [], []
        for _, part in seeds:
            table = part.pivot_table(index="stage_", columns="task", values="value", aggfunc="mean")
            matrices.append(table.reindex(index=stages, columns=tasks).to_numpy(float))
            bases.append(table.reindex(index=[asked.baseline], columns=tasks).to_numpy(float)[0])
        stacked, base = np.stack(matrices), np.stack(bases)
        sign = -1.0 if falling else 1.0
        each = [
            transfer_measures(sign * one, sign * b if np.isfinite(b).all() else None)
            for one, b in zip(stacked, base, strict=True)
        ]
        estimates = {name: _estimate(np.array([one[name] for one in each]), name, asked) for name in _NAMES}
        with np.errstate(invalid="ignore"):
            matrix = _mean(stacked)
            untrained = _mean(base)
        columns = (is_in("model", (asked.model,)),)
        clauses = tuple(
            All(
                (
                    *columns,
                    is_in("task", (task,)),
                    is_in(asked.stage, frame.loc[frame["stage_"] == stage, asked.stage].unique()),
                )
            )
            for stage in stages
            for task in tasks
        )
        return TransferMatrix(
            stages=tuple(stages),
            tasks=tuple(tasks),
            matrix=matrix,
            untrained=untrained,
            model=asked.model,
            metric=asked.metric,
            stage=asked.stage,
            clauses=Clauses("scores", clauses),
            estimates=estimates,
            tables=_tables(stages, tasks, sign * matrix, matrix, each),
            notes=tuple(_notes(stacked, untrained, asked, falling=bool(falling))),
        )


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _order(frame: pd.DataFrame, asked: TransferMatrixQuestion) -> tuple[list[str], list[str]]:
    """Give stages and tasks in the order trained: tasks as named, else as the stages are called, else as counted."""
    stages = [one for one in in_natural_order(frame["stage_"]) if one != asked.baseline]
    found = in_natural_order(frame["task"])
    if asked.tasks:
        missing = [task for task in asked.tasks if task not in found]
        if missing:
            raise AnalysisError(f"There is no task {missing[0]!r}.", remedy="Tasks: " + ", ".join(found[:12]) + ".")
        tasks = list(asked.tasks)
        return ([task for task in tasks if task in stages] if set(tasks) <= set(stages) else stages), tasks
    if set(stages) == set(found):
        first = list(dict.fromkeys(one for one in frame["stage_"] if one != asked.baseline))
        return first, first
    return stages, found


def _mean(stacked: np.ndarray) -> np.ndarray:
    n = np.count_nonzero(np.isfinite(stacked), axis=0)
    return np.asarray(np.where(n > 0, np.nansum(stacked, axis=0) / np.maximum(n, 1), np.nan))


def _estimate(values: np.ndarray, name: str, asked: TransferMatrixQuestion) -> Estimate:
    known = values[np.isfinite(values)]
    if not len(known):
        why = "no scores of the untrained model: name its stage as baseline" if name == "FWT" else "cells are missing"
        return Estimate(math.nan, why_no_interval=why)
    low, high = resampling.t_interval(known, asked.level)
    why = "" if len(known) > 1 else "one seed; items are not in the scores"
    return Estimate(float(known.mean()), float(low), float(high), asked.level, "", why)


def _tables(
    stages: list[str], tasks: list[str], better: np.ndarray, matrix: np.ndarray, each: list[dict[str, float]]
) -> dict[str, pd.DataFrame]:
    own = np.diag(better)
    by_task = pd.DataFrame(
        {
            "task": tasks, "after_own_stage": np.diag(matrix), "after_last_stage": matrix[-1], "change": better[-1] - own,
            "forgotten": [*(better[:-1, :-1].max(axis=0) - better[-1, :-1]), math.nan],
            "mean_drop_elsewhere": [float(own[i] - np.mean(np.delete(better[i], i))) for i in range(len(tasks))],
        }
    )  # fmt: skip
    wide = pd.DataFrame(matrix, columns=tasks)
    wide.insert(0, "stage", stages)
    return {"matrix": wide, "tasks": by_task, "seeds": pd.DataFrame(each)}


def _notes(stacked: np.ndarray, untrained: np.ndarray, asked: TransferMatrixQuestion, *, falling: bool) -> list[str]:
    notes = [
        f"Rows: {asked.stage}, in the order trained; columns: tasks in the same order. "
        + "; ".join(f"{name}: {what}" for name, what in _NAMES.items())
        + ".",
        f"Intervals: Student's t over {counted(len(stacked), 'seed')} (unit: the seed); the noise of the items is not in them."
        if len(stacked) > 1
        else "One seed: no interval.",
        "The order of the tasks matters, and a task near chance forgets nothing.",
    ]
    if falling:
        notes.append("Lower is better: measures are of the negated scores.")
    if missing := int(np.count_nonzero(~np.isfinite(stacked))):
        notes.append(
            f"{counted(missing, 'cell')} missing: a measure that needs one is taken over the other seeds, or not given."
        )
    if not np.isfinite(untrained).all():
        notes.append("No forward transfer: it needs the scores of the untrained model (baseline).")
    return notes


def figure(question: TransferMatrixQuestion, result: TransferMatrix) -> FigureSpec:
    """Draw the matrix, and below every task over the stages."""
    texts = tuple(
        tuple(significant(float(value), 3) if math.isfinite(value) else "" for value in row) for row in result.matrix
    )
    cells = Cells(
        key="matrix", values=result.matrix, rows=result.stages, columns=result.tasks, texts=texts, label=result.metric,
        origin=result.clauses,
    )  # fmt: skip
    at = np.arange(len(result.stages), dtype=float)
    lines: list[Mark] = [
        Line(key=task, x=at, y=result.matrix[:, j], hue=f"c{j}", label=task, width=1.5)
        for j, task in enumerate(result.tasks)
    ]
    panels = (
        Panel(
            key="matrix",
            x=Axis(label="task", scale="category", names=result.tasks),
            y=Axis(label="after stage", scale="category", names=result.stages),
            marks=(cells,),
            legend=False,
        ),
        Panel(
            key="tasks",
            x=Axis(label="after stage", scale="category", names=result.stages),
            y=Axis(label=result.metric or "score"),
            marks=tuple(lines),
        ),
    )
    return FigureSpec(
        title=f"Transfer matrix of {result.model}" if result.model else "Transfer matrix",
        subtitle=result.summary().partition(": ")[2] if result.model else result.summary(),
        panels=panels,
        caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )


ANALYSIS = Analysis(
    id="transfer.matrix",
    title="Transfer matrix",
    asks="What did each stage of training do to every task?",
    question=TransferMatrixQuestion,
    figure=figure,
    sources=(
        "Lopez-Paz and Ranzato (2017), Gradient Episodic Memory for Continual Learning",
        "Chaudhry et al. (2018), Riemannian Walk for Incremental Learning: forgetting",
    ),
    definition="""\
$R_{ij}$: score on task j after stage i. $ACC=\\frac1T\\sum_jR_{Tj}$; $BWT=\\frac1{T-1}\\sum_{i<T}(R_{Ti}-R_{ii})$;
$FWT=\\frac1{T-1}\\sum_{i\\ge2}(R_{i-1,i}-b_i)$ with b the untrained model;
$FORG=\\frac1{T-1}\\sum_{j<T}(\\max_{l<T}R_{lj}-R_{Tj})$. ACC equals the mean of the diagonal plus
$\\frac{T-1}{T}BWT$. `mean_drop_elsewhere`: the score on the stage's own task less the mean of the others after it, for
data sets trained and tested crosswise.

Unit: the seed (Student's t). The noise of the items is not in the scores. Task order matters.
""",
)
