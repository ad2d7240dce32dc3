"""Quality and cost of models side by side, from a table of scores or from runs and their curves."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..models.errors import AnalysisError, TooLittleData
from ..models.figure import Keys, Origin
from ..models.recognition import is_lower_better
from ..models.result import counted
from ..models.store import RunStore
from .alignment import Reduction, default_tag, reduced
from .score_table import Better, ScoreRows, chosen_scores, grid_of

_COST = re.compile(
    r"(param|model.size|\bsize\b|flop|latency|runtime|seconds|duration|throughput|per.second|memory|energy|joule|price|cost|usd"
    r"|\btokens\b|data.size|gpu.hours)",
    re.IGNORECASE,
)
_MORE_IS_BETTER = re.compile(r"throughput|per.?second|/s\b", re.IGNORECASE)
_NO_COST = frozenset(
    {"step", "seed", "n", "value", "stderr", "higher_is_better", "fewshot", "started", "ended", "peak_lr"}
)


@dataclass(frozen=True, slots=True, eq=False)
class QualityCosts:
    """Models with one quality and several costs.

    Attributes
    ----------
    names : tuple of str
        Models, or runs.
    good : ndarray, shape (n,)
        Quality, higher better.
    value : ndarray, shape (n,)
        Quality as given.
    error : ndarray, shape (n,)
        Standard error; NaN where not known.
    costs : Mapping of str to ndarray, each shape (n,)
        Lower is cheaper: where more is better (throughput) it is the time for one. NaN where not known.
    label : str
        Name of the quality.
    inverted : bool
        Whether a lower value is better.
    rows : ScoreRows or None
        The scores; None where these are runs.
    notes : tuple of str
        What was chosen and left out.
    """

    names: tuple[str, ...]
    good: np.ndarray
    value: np.ndarray
    error: np.ndarray
    costs: Mapping[str, np.ndarray]
    label: str
    inverted: bool
    rows: ScoreRows | None
    notes: tuple[str, ...]

    def origin(self, numbers: Sequence[int] | np.ndarray) -> Origin:
        """Give what lies behind marks of some models, one element each."""
        names = [self.names[i] for i in numbers]
        return Keys("run", tuple(names)) if self.rows is None else self.rows.origin(names)

    def cost(self, name: str) -> np.ndarray:
        """Give a cost by name.

        Raises
        ------
        AnalysisError
            When there is none of that name.
        """
        if name not in self.costs:
            raise AnalysisError(f"No cost is called {name!r}.", remedy=f"There are {', '.join(self.costs)}.")
        return self.costs[name]


def cost_columns(store: RunStore, table: str) -> list[str]:
    """Give the numeric columns of a table whose names speak of a cost."""
    frame = store.rows(table)
    named = [str(name) for name in frame.columns if name not in _NO_COST and _COST.search(str(name))]
    found: list[str] = []
    for name in named:
        is_number = frame[name].dtype.kind in "fiu" and bool((frame[name] > 0).any())
        # A configuration states again what a canonical column already says.
        if is_number and not any(frame[name].equals(frame[other].astype(frame[name].dtype)) for other in found):
            found.append(name)
    return found


def table_with_costs(store: RunStore) -> str:
    """Give the table that has qualities and costs: 'scores', 'runs', or an empty text."""
    if store.has_rows("scores") and cost_columns(store, "scores"):
        return "scores"
    if store.has_rows("runs") and store.tags() and cost_columns(store, "runs"):
        return "runs"
    return ""


def quality_costs(
    store: RunStore,
    *,
    task: str = "",
    metric: str = "",
    tag: str = "",
    reduction: Reduction = "last",
    better: Better = "as stated",
    costs: Sequence[str] = (),
) -> QualityCosts:
    """Give quality and costs of every model.

    Parameters
    ----------
    task, metric : str
        Of the scores; without a task the mean over the tasks.
    tag : str
        Curve of runs that is the quality, where there are no scores with costs.
    costs : sequence of str
        Columns; empty takes those whose names speak of a cost.

    Raises
    ------
    TooLittleData
        When there are not two models with a cost.
    """
    if costs:
        table = next((t for t in ("scores", "runs") if store.has_rows(t) and set(costs) <= set(store.columns(t))), "")
        if not table:
            raise AnalysisError(f"No open table has the columns {', '.join(costs)}.")
    else:
        table = table_with_costs(store)
        if not table:
            raise TooLittleData(
                needs="models with a quality and a cost",
                found="no column that says what a model costs",
                remedy="Name the columns (costs), or join parameters, FLOPs, latency or price to the scores.",
            )
    columns = list(costs) or cost_columns(store, table)
    if table == "scores":
        found = _of_scores(store, task, metric, better, columns)
    else:
        found = _of_runs(store, tag, reduction, better, columns)
    if len(found.names) < 2 or not any(np.isfinite(cost).sum() > 1 for cost in found.costs.values()):
        raise TooLittleData(
            needs="at least two models with a quality and a cost", found=counted(len(found.names), "model")
        )
    return found


def _cheaper(name: str, cost: np.ndarray, notes: list[str]) -> np.ndarray:
    known = np.where(cost > 0, cost, np.nan)
    if (lost := int(np.sum(np.isfinite(cost) & ~(cost > 0)))) > 0:
        notes.append(f"{name}: {counted(lost, 'cost')} of 0 or less left out.")
    if _MORE_IS_BETTER.search(name):
        notes.append(f"{name}: more is better, so 1 / {name} is the cost.")
        return 1 / known
    return known


def _of_scores(store: RunStore, task: str, metric: str, better: Better, columns: Sequence[str]) -> QualityCosts:
    rows = chosen_scores(store, task=task, metric=metric, better=better)
    grid = grid_of(rows.frame, "model", "task", ("good", "value", "stderr", "n"))
    notes = list(rows.notes)
    full = grid.complete_rows()
    if len(full.rows) < 2:
        raise TooLittleData(
            needs="at least two models scored on the same tasks", found=counted(len(full.rows), "model")
        )
    if len(full.rows) < len(grid.rows):
        notes.append(f"{counted(len(grid.rows) - len(full.rows), 'model')} left out: not scored on every task.")
    value, stderr, n = (full.values[name] for name in ("value", "stderr", "n"))
    # A share of n items has a standard error even where none is stated.
    share = (value >= 0) & (value <= 1) & np.isnan(stderr)
    stderr = np.where(share, np.sqrt(value * (1 - value) / n), stderr)
    count = len(full.columns)
    error = np.sqrt((stderr**2).sum(axis=1)) / count
    frame = store.rows("scores")
    names = tuple(str(name) for name in full.rows)
    masks = [rows.clause(name).mask(frame) for name in names]
    costs = {}
    for column in columns:
        all_values = frame[column].to_numpy(float)
        each = [all_values[mask] for mask in masks]
        middle = np.array([np.nanmedian(one) if np.isfinite(one).any() else np.nan for one in each])
        costs[column] = _cheaper(column, middle, notes)
    metrics = ", ".join(dict.fromkeys(rows.frame["metric"].astype(str)))
    label = f"{full.columns[0]!s} {metrics}".strip() if count == 1 else f"mean of {counted(count, 'task')}"
    inverted = bool((full.good != value).any())
    return QualityCosts(
        names, full.good.mean(axis=1), value.mean(axis=1), error, costs, label, inverted, rows, tuple(notes)
    )


def _of_runs(store: RunStore, tag: str, reduction: Reduction, better: Better, columns: Sequence[str]) -> QualityCosts:
    tag = tag or default_tag(store)
    ends = {run.key: reduced(np.asarray(curve.value), reduction) for run, curve in store.curves(tag)}
    frame = store.rows("runs").drop_duplicates("run").set_index("run")
    names = tuple(key for key, end in ends.items() if math.isfinite(end) and key in frame.index)
    notes = [f"Quality: {tag}, {reduction}, of each run; one run has no standard error."]
    if len(names) < len(ends):
        notes.append(f"{counted(len(ends) - len(names), 'run')} left out: {tag} does not end finite.")
    value = np.array([ends[name] for name in names])
    inverted = is_lower_better(tag) or "loss" in tag.lower() if better == "as stated" else better == "lower"
    costs = {
        column: _cheaper(column, pd.to_numeric(frame.loc[list(names), column], errors="coerce").to_numpy(float), notes)
        for column in columns
    }
    nothing = np.full(len(names), np.nan)
    return QualityCosts(names, -value if inverted else value, value, nothing, costs, tag, inverted, None, tuple(notes))


def on_front(cost: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Give which models no other one dominates: none is as cheap and better, or cheaper and as good.

    Parameters
    ----------
    cost : ndarray, shape (n,)
        Lower is better; NaN is never on the front.
    good : ndarray, shape (..., n)
        Higher is better.

    Returns
    -------
    ndarray of bool, shape (..., n)
        Models that are equal in both stand on it together.
    """
    good = np.asarray(good, float)
    known = np.isfinite(cost)
    front = np.zeros(good.shape, dtype=bool)
    if not known.any():
        return front
    _, group = np.unique(cost[known], return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(group[order]) > 0]))
    mine = good[..., known]
    best = np.maximum.reduceat(mine[..., order], starts, axis=-1)
    before = np.concatenate(
        [np.full((*good.shape[:-1], 1), -np.inf), np.maximum.accumulate(best, axis=-1)[..., :-1]], axis=-1
    )
    front[..., known] = (mine == best[..., group]) & (mine > before[..., group])
    return front


def hypervolume(cost: np.ndarray, good: np.ndarray, dearest: float, worst: float) -> np.ndarray:
    """Give the area that a front dominates, up to a reference of `dearest` cost and `worst` quality.

    Parameters
    ----------
    cost : ndarray, shape (n,)
        On the scale the area is measured on (a logarithm, say); NaN is left out.
    good : ndarray, shape (..., n)
    """
    known = np.isfinite(cost) & (cost <= dearest)
    order = np.flatnonzero(known)[np.argsort(cost[known], kind="stable")]
    if not len(order):
        return np.zeros(np.shape(good)[:-1])
    best = np.maximum(np.maximum.accumulate(np.asarray(good, float)[..., order], axis=-1) - worst, 0)
    widths = np.diff(np.append(cost[order], dearest))
    return np.asarray((best * widths).sum(axis=-1))
