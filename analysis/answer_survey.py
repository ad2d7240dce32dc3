"""What a table of answers too large for memory holds: which versions, which of them share items, what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ..models.engine import LOCAL, Engine
from ..models.partial import Part, folded, mapped, parts_of
from ..models.progress import Progress, quiet
from ..models.selection import EVERYTHING, Clause
from ..models.store import RunStore
from .answers import blank_answers

_remembered: WeakKeyDictionary[RunStore, dict[tuple[str, ...], pd.DataFrame]] = WeakKeyDictionary()


def kinds_of_rows(
    store: RunStore, columns: Sequence[str] = (), *, engine: Engine = LOCAL, progress: Progress = quiet
) -> pd.DataFrame:
    """Give every combination of model, version, source and some other columns among the predictions, in order of first rows.

    Returns
    -------
    DataFrame
        Those of the columns that the predictions have; ``epoch``, the last one; ``rows``, how many; ``answered``, how many give
        an answer; ``known``, how many say whether it is right.
    """
    there = store.columns("predictions")
    names = tuple(dict.fromkeys(name for name in ("model", "version", "source", *columns) if name in there))
    seen = _remembered.setdefault(store, {})
    if names not in seen:
        wanted = [name for name in (*names, "epoch", "prediction", "correct") if name in there]
        parts = parts_of(store, "predictions", wanted=wanted)
        seen[names] = folded(partial(_kinds, names), partial(_of_both, names), parts, engine, progress)
    return seen[names]


def _kinds(names: tuple[str, ...], part: Part) -> pd.DataFrame:
    frame = part.rows()
    counts = pd.DataFrame({name: frame[name].astype(object).where(frame[name].notna(), None) for name in names})
    counts["rows"] = 1
    counts["epoch"] = frame["epoch"] if "epoch" in frame.columns else np.nan
    counts["answered"] = (~blank_answers(frame)).astype(int) if "prediction" in frame.columns else 0
    counts["known"] = frame["correct"].notna().astype(int) if "correct" in frame.columns else 0
    return _added(counts, names)


def _of_both(names: tuple[str, ...], one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    return _added(pd.concat([one, other], ignore_index=True), names)


def _added(frame: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    how = {"rows": "sum", "epoch": "max", "answered": "sum", "known": "sum"}
    return frame.groupby(list(names), sort=False, dropna=False).agg(how).reset_index()


def different_labels(
    store: RunStore, only: Clause = EVERYTHING, *, engine: Engine = LOCAL, progress: Progress = quiet
) -> int:
    """Give how many different labels the predictions have."""
    parts = parts_of(store, "predictions", wanted=("label",), only=only)
    return len(folded(_labels, _all_labels, parts, engine, progress))


def _labels(part: Part) -> set[str]:
    return {str(value) for value in part.rows()["label"].dropna().unique()}


def _all_labels(one: set[str], other: set[str]) -> set[str]:
    return one | other


def share_items(
    store: RunStore, by: str, pair: tuple[str, str], only: Clause, number: int, *, engine: Engine = LOCAL,
    progress: Progress = quiet,
) -> bool:  # fmt: skip
    """Whether two versions have answered an item in common.

    Parameters
    ----------
    only : Clause
        Holds for the rows of the two.
    number : int
        How many these are.
    """
    parts = parts_of(store, "predictions", wanted=(by, "item"), together=("item",), only=only, number=number)
    # One after the other: most pairs share an item in the first part already.
    return any(mapped(partial(_share_items, by, pair), [part], engine, progress)[0] for part in parts)


def _share_items(by: str, pair: tuple[str, str], part: Part) -> bool:
    frame = part.rows()
    named = frame[by].astype(str)
    old, new = (frame.loc[(named == name).to_numpy(), "item"] for name in pair)
    return bool(old.isin(new.unique()).any())
