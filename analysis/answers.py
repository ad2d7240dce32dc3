"""What every count over the predictions table needs first: one row a question, and whether it was answered right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..models.deferred import deferred
from ..models.errors import AnalysisError
from ..models.selection import All, AnyOf, Clause, is_in

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

Unanswered = Literal["wrong", "dropped", "guess"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded in all rows of a table, for whoever looks at some of them.

    Attributes
    ----------
    sources : frozenset of str
        Sources that give at least one answer.
    correct : bool
        Whether any row says if it is right.
    labels : int
        How many different labels there are.
    """

    sources: frozenset[str]
    correct: bool
    labels: int


def blank_answers(frame: pd.DataFrame) -> np.ndarray:
    """Give, for every row, whether the column of answers is empty."""
    return np.asarray(frame["prediction"].isna() | (frame["prediction"] == ""), dtype=bool)


def unanswered(frame: pd.DataFrame, recorded: Recorded | None = None) -> np.ndarray:
    """Give, for every row, whether no answer was given; False where answers were not recorded.

    A source that says which answers are right, but gives not one answer, did not record them.

    Parameters
    ----------
    recorded : Recorded, optional
        What all rows say, where these are only some.
    """
    if "prediction" not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    blank = blank_answers(frame)
    if "correct" not in frame.columns or not blank.any():
        return blank
    known = frame["correct"].notna().to_numpy(dtype=bool)
    if "source" in frame.columns:
        codes, sources = pd.factorize(frame["source"], use_na_sentinel=False)
        if recorded is None:
            gives_any = np.bincount(codes[~blank], minlength=len(sources)) > 0
        else:
            gives_any = np.array([source in recorded.sources for source in sources])
        return blank & ~(known & ~gives_any[codes])
    return blank if not blank.all() else blank & ~known


def rightness(
    frame: pd.DataFrame, no_answer: Unanswered = "wrong", right_from: float = 0.5, recorded: Recorded | None = None
) -> np.ndarray:
    """Give, for every row, 1 where the answer is right, 0 where it is wrong, NaN where it does not count.

    Parameters
    ----------
    no_answer : {'wrong', 'dropped', 'guess'}
        What a row without an answer is: wrong, NaN, or worth 1 / k, with k the number of options (a column
        ``n_options``, else the number of different labels).
    right_from : float
        Least value of `correct` that is right, where it is a score in between.
    recorded : Recorded, optional
        What all rows say, where these are only some.

    Raises
    ------
    AnalysisError
        When there is neither `correct` nor both `prediction` and `label`.
    """
    blank = unanswered(frame, recorded)
    if "correct" in frame.columns and (recorded.correct if recorded else frame["correct"].notna().any()):
        scores = frame["correct"].to_numpy(float)
        right = np.where(np.isnan(scores), np.nan, scores >= right_from)
    elif {"prediction", "label"} <= set(frame.columns):
        labels = frame["label"]
        right = np.where(labels.isna(), np.nan, (frame["prediction"] == labels).to_numpy(dtype=bool, na_value=False))
    else:
        raise AnalysisError(
            "Nothing says which answers are right.",
            remedy="Map a column onto 'correct', or onto 'prediction' and 'label'.",
        )
    if no_answer == "guess":
        if "n_options" in frame.columns:
            options = frame["n_options"].to_numpy(float)
        elif "label" in frame.columns:
            options = np.full(len(frame), float(recorded.labels if recorded else frame["label"].nunique()))
        else:
            options = np.zeros(len(frame))
        if (options[blank] < 1).any():
            raise AnalysisError("A guess needs to know among how many options.", remedy="Map a column n_options.")
        return np.where(blank, 1 / np.maximum(options, 1), right)
    return np.where(blank, 0.0 if no_answer == "wrong" else np.nan, right)


def present(frame: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    """Give those of some columns that the rows have and that are not empty."""
    return [name for name in columns if name in frame.columns and bool(frame[name].notna().any())]


def in_natural_order(values: Iterable[object]) -> list[str]:
    """Give texts in the order people count in: v2 before v10."""

    def parts(text: str) -> list[tuple[int, str]]:
        return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", text) if part]

    return sorted({str(value) for value in values}, key=parts)


def at_epoch(frame: pd.DataFrame, epoch: float | None) -> pd.DataFrame:
    """Give the rows of one epoch, the last of each model and version if None; rows without an epoch stay."""
    if not present(frame, ["epoch"]):
        return frame
    epochs = frame["epoch"]
    if epoch is not None:
        return frame[epochs.isna() | (epochs == epoch)]
    whose = present(frame, ("model", "version"))
    last = epochs.groupby([frame[name] for name in whose], dropna=False).transform("max") if whose else epochs.max()
    return frame[epochs.isna() | (epochs == last)]


def refuse_repeats(frame: pd.DataFrame, key: Sequence[str], whose: str) -> None:
    """Check that no two rows answer the same question.

    Raises
    ------
    AnalysisError
        Naming the first question that is answered twice.
    """
    repeated = frame.duplicated(list(key), keep=False)
    if not repeated.any():
        return
    first = frame.loc[repeated, list(key)].iloc[0]
    named = ", ".join(f"{name} {value}" for name, value in first.items())
    raise AnalysisError(
        f"{int(repeated.sum()):,} rows of {whose} answer a question more than once, first {named}.",
        remedy="Keep one of them with a filter, or map the column that tells them apart (sample, epoch, task).",
    )


def clause_of_items(frame: pd.DataFrame, within: pd.DataFrame) -> Clause:
    """Give the clause that holds for the items of some rows, among the rows `within`: with their task where those have
    several.
    """
    if "task" not in within.columns or within["task"].nunique() < 2:
        return is_in("item", frame["item"].unique())
    parts = frame.groupby("task")["item"].unique().items()
    return AnyOf(tuple(All((is_in("task", (str(task),)), is_in("item", items))) for task, items in parts))
