"""Who was right on what: one row an item, one column a model or version, over the items all of them answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..models.errors import AnalysisError, TooLittleData
from ..models.figure import Clauses, Origin
from ..models.natural_order import natural_order
from ..models.result import counted
from ..models.selection import All, Clause, is_in
from ..models.store import RunStore
from .answers import Unanswered, clause_of_items, present, refuse_repeats, rightness


@dataclass(frozen=True, slots=True, eq=False)
class AnswerMatrix:
    """Answers of several models to the same items.

    Attributes
    ----------
    names : tuple of str
        Models, versions, or both where both vary; in natural order.
    items : DataFrame
        One row an item: ``item``, and ``task``, ``sample`` and other columns asked for, where there are such.
    right : ndarray, shape (items, names)
        1 right, 0 wrong, or the score given.
    clauses : Mapping of str to Clause
        The rows of each name.
    keys : Mapping of str to Mapping
        Values of the columns that tell models apart, by name.
    task : str
        The task they are of; empty where there is none or all are pooled.
    notes : tuple of str
        What was chosen and left out.
    """

    names: tuple[str, ...]
    items: pd.DataFrame
    right: np.ndarray
    clauses: Mapping[str, Clause]
    keys: Mapping[str, Mapping[str, str]]
    task: str
    notes: tuple[str, ...]

    def origin(self, names: Sequence[str]) -> Origin:
        """Give what lies behind marks of some names, one element each."""
        return Clauses("predictions", tuple(self.clauses[name] for name in names))

    def of_items(self, mask: np.ndarray) -> Clause:
        """Give the clause of some items."""
        return clause_of_items(self.items[mask], self.items)

    def number(self, name: str) -> int:
        """Give the column of a name.

        Raises
        ------
        AnalysisError
            When there is none of that name.
        """
        if name not in self.names:
            raise AnalysisError(f"No prediction is of {name!r}.", remedy=f"There are {', '.join(self.names[:12])}.")
        return self.names.index(name)


def answer_matrix(
    source: RunStore | pd.DataFrame,
    *,
    task: str = "",
    no_answer: Unanswered = "wrong",
    graded: bool = False,
    keep: Sequence[str] = (),
    by: Sequence[str] = ("model", "version"),
    fewest: int = 2,
    sparse: bool = False,
) -> AnswerMatrix:
    """Give the answers of all models to the items all of them answered.

    Parameters
    ----------
    source : RunStore or DataFrame
        What is open, or rows of the predictions table.
    task : str
        Only this task; empty takes the one most models answered.
    no_answer : {'wrong', 'dropped', 'guess'}
        As in `answers.rightness`; where an item is dropped for one model it is dropped for all.
    graded : bool
        Whether scores in between stay what they are instead of becoming right or wrong.
    keep : sequence of str
        Columns of the items to keep (``group``, ``label`` ...).
    by : sequence of str
        Columns that tell models apart.
    fewest : int
        Models that are needed.
    sparse : bool
        Whether items that not all models answered stay, NaN where there is no answer.

    Raises
    ------
    TooLittleData
        When fewer models share items.
    AnalysisError
        When a column is missing or an item is answered twice.
    """
    frame = source if isinstance(source, pd.DataFrame) else source.rows("predictions")
    notes: list[str] = []
    for column in keep:
        if column not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {column!r}.")
    columns = present(frame, by)
    frame, task = _of_task(frame, task, columns, notes)
    frame = _last_epochs(frame, columns, notes)
    told = columns
    columns = [name for name in columns if frame[name].nunique() > 1] or columns[:1]
    if not columns:
        raise TooLittleData(needs="predictions of several models", found="no column that tells models apart")
    labels = frame[columns].astype(object).where(frame[columns].notna(), "").astype(str)
    names = labels[columns[0]]
    for name in columns[1:]:
        names = names + " " + labels[name]
    names = names.str.strip()
    key = present(frame, ("task", "item", "sample"))
    keyed = frame[key].astype(object).where(frame[key].notna(), "").assign(name=names)
    refuse_repeats(keyed, [*key, "name"], "the predictions")
    if graded and "correct" in frame.columns:
        right = frame["correct"].to_numpy(float)
    else:
        right = rightness(frame, no_answer)
    wide = keyed.assign(right=right).pivot(index=key, columns="name", values="right")
    ordered: list[str] = sorted((str(name) for name in names.unique()), key=natural_order)
    wide = wide[ordered]
    answered = wide.notna()
    sizes = answered.sum(axis=0)
    used = sizes > 0 if sparse else sizes * 2 >= sizes.max()
    if not used.all():
        notes.append(f"{counted(int((~used).sum()), 'model')} left out, with fewer than half of the items.")
    shared = answered.loc[:, used]
    kept = wide.loc[shared.any(axis=1) if sparse else shared.all(axis=1), used]
    if sparse and bool(kept.isna().to_numpy().any()):
        notes.append(f"{100 * float(kept.notna().to_numpy().mean()):.1f} % of the answers are there.")
    elif not sparse and len(kept) < len(wide):
        notes.append(
            f"{len(kept):,} of {len(wide):,} items were answered by all {int(used.sum())}; only they are used."
        )
    if kept.shape[1] < fewest or not len(kept):
        raise TooLittleData(
            needs=f"predictions of at least {fewest} models on the same items",
            found=f"{counted(kept.shape[1], 'model')} with {counted(len(kept), 'item')} in common",
            remedy="Open predictions of more models or versions, or choose another task.",
        )
    items = kept.index.to_frame(index=False)
    if keep:
        described = keyed[key].assign(**{name: frame[name] for name in keep if name not in key})
        items = items.merge(described.groupby(key, sort=False, observed=True).first().reset_index(), on=key, how="left")
    clauses: dict[str, Clause] = {}
    keys: dict[str, dict[str, str]] = {}
    first = ~names.duplicated().to_numpy()
    for name, row in zip(names[first], frame.loc[first, told].to_dict("records"), strict=True):
        # A seed stays a number: the clause is compared with the values of the table.
        parts = tuple(is_in(column, (_plain(row[column]),)) for column in columns)
        clauses[name] = parts[0] if len(parts) == 1 else All(parts)
        keys[name] = {column: "" if pd.isna(row[column]) else str(row[column]) for column in told}
    return AnswerMatrix(
        names=tuple(map(str, kept.columns)),
        items=items,
        right=kept.to_numpy(float),
        clauses=clauses,
        keys=keys,
        task=task,
        notes=tuple(notes),
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _of_task(frame: pd.DataFrame, task: str, columns: list[str], notes: list[str]) -> tuple[pd.DataFrame, str]:
    if not present(frame, ["task"]):
        return frame, ""
    if task:
        kept = frame[frame["task"].astype(str) == task]
        if kept.empty:
            there = ", ".join(map(str, frame["task"].dropna().unique()[:12]))
            raise AnalysisError(f"No prediction is of the task {task!r}.", remedy=f"There are {there}.")
        return kept, task
    pairs = frame[["task", *columns]].drop_duplicates()
    sizes = pairs.groupby("task", observed=True, sort=False).size()
    chosen = str(sizes.index[int(sizes.to_numpy().argmax())])
    if len(sizes) > 1:
        notes.append(f"Task: {chosen}, that of the most models ({len(sizes)} tasks).")
    return frame[frame["task"].astype(str) == chosen], chosen


def _last_epochs(frame: pd.DataFrame, columns: list[str], notes: list[str]) -> pd.DataFrame:
    if not present(frame, ["epoch"]):
        return frame
    last = (
        frame.groupby(columns, observed=True, dropna=False)["epoch"].transform("max")
        if columns
        else frame["epoch"].max()
    )
    kept = frame[(frame["epoch"] == last) | frame["epoch"].isna()]
    if len(kept) < len(frame):
        notes.append("Last epoch of each model.")
    return kept
