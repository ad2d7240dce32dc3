"""Counts over the answers of several versions, of tables that memory holds and of tables it does not.

An analysis that only needs counts over items writes one function from a `Sheet` to counts that can be merged, and asks for
`tallied`: a table in memory is one sheet; a larger one is cut by its items, every part becomes a sheet, and the counts of the
parts are merged. Both give the same counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, Self, TypeVar

import pandas as pd

from ..models.engine import LOCAL, Engine
from ..models.errors import AnalysisError, TooLittleData
from ..models.partial import Part, folded, parts_of
from ..models.progress import Progress, quiet
from ..models.selection import EVERYTHING, Clause, both, is_in
from ..models.store import RunStore
from .answer_join import Join, said_apart
from .answer_sheet import (
    AnswersQuestion,
    Known,
    Sheet,
    answer_sheet,
    answers_asked_for,
    following_columns,
    names_compared,
    sheet_of,
    versions_chosen,
)
from .answer_survey import different_labels, kinds_of_rows
from .answers import Recorded, present

MOST_LISTED = 10_000
"""Items that are listed of a table that memory does not hold."""


class Mergeable(Protocol):
    """Counts over items."""

    def merged(self, other: Self) -> Self:
        """Give the counts over the items of both, which share none."""
        ...


Counts = TypeVar("Counts", bound=Mergeable)


@dataclass(frozen=True, slots=True)
class Tally(Generic[Counts]):
    """Counts over the items that versions share.

    Attributes
    ----------
    counts
        What was counted.
    names : tuple of str
        The versions.
    join : Join
        What was left out.
    notes : tuple of str
        The same in sentences.
    sheet : Sheet or None
        The answers themselves, where memory holds them.
    """

    counts: Counts
    names: tuple[str, ...]
    join: Join
    notes: tuple[str, ...]
    sheet: Sheet | None


def tallied(
    count: Callable[[Sheet], Counts],
    store: RunStore,
    asked: AnswersQuestion,
    names: Sequence[str] = (),
    *,
    about: Sequence[str] = (),
    common: bool = True,
    least: int = 2,
    engine: Engine = LOCAL,
    progress: Progress = quiet,
) -> Tally[Counts]:
    """Count over the answers of several versions.

    Parameters
    ----------
    count : callable
        Gives counts of a sheet; a function of a module or a `functools.partial` of one. The answers of a sheet may be
        there although a version did not record its own: `Join.recorded` says which did.
    asked, names, about, common, least
        As in `answer_sheet`.

    Raises
    ------
    AnalysisError
        As `answer_sheet`.
    """
    if not store.is_stored("predictions"):
        sheet = answer_sheet(store, asked, names, about=about, common=common, least=least)
        return Tally(count(sheet), sheet.names, sheet.join, sheet.notes, sheet)
    for column in (asked.by, *about):
        if column and column not in store.columns("predictions"):
            raise AnalysisError(f"The predictions have no column called {column!r}.")
    columns = [name for name in (asked.by, "task" if asked.task else "") if name]
    kinds = kinds_of_rows(store, columns, engine=engine, progress=progress)
    only = rows_asked_for(asked, kinds)
    kinds = kinds[only.mask(kinds)]
    chosen = versions_chosen(list(names) or names_compared(kinds, asked.by), asked.by, least)
    values = {str(value): value for value in kinds[asked.by].dropna().unique()}
    absent = [name for name in chosen if name not in values]
    if absent:
        raise AnalysisError(
            f"No prediction has {asked.by} {absent[0]!r}.",
            remedy="There are: " + ", ".join(names_compared(kinds, asked.by)[:12]) + ".",
        )
    clause = both(only, is_in(asked.by, tuple(values[name] for name in chosen)))
    needed = kinds[kinds[asked.by].isin([values[name] for name in chosen])]
    known = _known(store, asked, chosen, needed, clause, engine, progress)
    hashes = [name for name in store.columns("predictions") if name.endswith("hash")]
    looked_at = ("model", "version", "task", "item", "sample", "epoch", "label", "prediction", "correct", "confidence")
    parts = parts_of(
        store,
        "predictions",
        wanted=(asked.by, *looked_at, "n_options", "group", *hashes, *about),
        together=("item",),
        only=clause,
        number=int(needed["rows"].sum()),
    )
    counted = partial(
        _counted, count, asked, tuple(chosen), tuple(about), common, min(least, 2), known, _last_epochs(asked, needed)
    )
    found: _Counted = folded(counted, _both_counted, parts, engine, progress)
    if found is None:
        raise TooLittleData(needs="items answered by all", found="0", remedy="Do the item keys agree?")
    total, join = found
    if common and not names and len(chosen) > least:
        near = join.near(chosen, least)
        if len(near) < len(chosen):
            tally = tallied(count, store, asked, near, about=about, engine=engine, progress=progress)
            notes = (said_apart(chosen, near), *tally.notes)
            return Tally(tally.counts, tally.names, tally.join, notes, None)
    if total is None:
        raise TooLittleData(needs="items answered by all", found="0", remedy="Do the item keys agree?")
    notes = (*join.notes(chosen, asked.unanswered, common=common), f"Counted in {len(parts)} parts, from the files.")
    return Tally(total, tuple(chosen), join, notes, None)


def rows_asked_for(asked: AnswersQuestion, frame: pd.DataFrame) -> Clause:
    """Give the clause of the model and task that are asked for, among rows with the columns of a frame."""
    clause: Clause = EVERYTHING
    for column, value in (("model", asked.model), ("task", asked.task)):
        if value and column in frame.columns and column != asked.by:
            clause = both(clause, is_in(column, (value,)))
    return clause


def _known(
    store: RunStore, asked: AnswersQuestion, chosen: Sequence[str], kinds: pd.DataFrame, clause: Clause, engine: Engine,
    progress: Progress,
) -> Known:  # fmt: skip
    """Give what has to be known of all rows that are joined."""
    place = {name: number for number, name in enumerate(chosen)}
    side = kinds[asked.by].map(lambda value: place[str(value)]).to_numpy(int)
    told = [name for name in present(kinds, ("model", "version")) if name != asked.by]
    columns = store.columns("predictions")
    labels = 0
    if asked.unanswered == "guess" and "label" in columns and "n_options" not in columns:
        labels = different_labels(store, clause, engine=engine, progress=progress)
    answering = kinds.loc[kinds["answered"] > 0, "source"]
    recorded = Recorded(frozenset(map(str, answering)), bool(kinds["known"].sum()), labels)
    return Known(following_columns(kinds, side, told), recorded)


def _last_epochs(asked: AnswersQuestion, kinds: pd.DataFrame) -> pd.DataFrame | None:
    """Give the last epoch of each model and version, where the last one is to be taken."""
    if asked.by == "epoch" or asked.epoch is not None or not present(kinds, ["epoch"]):
        return None
    whose = present(kinds, ("model", "version"))
    if not whose:
        return pd.DataFrame({"last epoch": [kinds["epoch"].max()]})
    return kinds.groupby(whose, dropna=False)["epoch"].max().rename("last epoch").reset_index()


_Counted = tuple[Any, Join] | None
"""Counts (None where no item is shared) and what was left out; None where there is no row."""


def _both_counted(one: _Counted, other: _Counted) -> _Counted:
    if one is None or other is None:
        return one or other
    known = [counts for counts in (one[0], other[0]) if counts is not None]
    counts = known[0].merged(known[1]) if len(known) == 2 else next(iter(known), None)
    return counts, one[1].merged(other[1])


def _counted(
    count: Callable[[Sheet], Counts],
    asked: AnswersQuestion,
    chosen: tuple[str, ...],
    about: tuple[str, ...],
    common: bool,
    least: int,
    known: Known,
    last: pd.DataFrame | None,
    part: Part,
) -> _Counted:
    """Give the counts over the items of one part; None where no row is in it, no counts where no item is shared."""
    frame = part.rows()
    if last is not None and len(frame):
        keys = [name for name in last.columns if name != "last epoch"]
        told = frame[keys].astype(object).where(frame[keys].notna(), None)
        ends = told.merge(last, on=keys, how="left")["last epoch"] if keys else last["last epoch"].iloc[0]
        epochs = frame["epoch"].to_numpy(float)
        frame = frame[pd.isna(epochs) | (epochs == ends)]
    if not len(frame):
        return None
    frame = answers_asked_for(frame, asked, about=about)
    sheet = sheet_of(frame, asked, chosen, about=about, common=common, least=least, known=known)
    return (count(sheet) if len(sheet) else None), sheet.join
