"""Tables larger than memory: looked at part by part, what is counted of the parts added up.

A reader leaves rows that memory should not be filled with in their file (`tables.StoredRows`); `RunStore.rows` then refuses
with `TooLarge`, and whoever can count in parts asks here instead. A *part* is a small value that goes to other processes and
gives, when asked, a `RunStore` with a share of the rows, under the same column maps and filter: what is written for a store
is written for a part. The recipe::

    def answer(self, store, *, engine=LOCAL, progress=quiet):
        parts = parts_of(store, "predictions", wanted=("item", "label", "confidence", "correct"))
        counted = partial(_counted, self)     # _counted(question, part) -> Partial
        total = folded(counted, Partial.merged, parts, engine, progress)
        return _told(self, total, engine)

where ``_counted`` begins with ``frame = part.rows()`` (or ``part.store()``) and gives sums, counts or sets whose merging does
not depend on where the cut is. They are merged in the order of the parts, one at a time, wherever they were computed, so that
sums of floating-point numbers are the same to the last bit. A store that holds all its rows is a single part that gives the
store itself, so that the same code answers both, and equally.

Two ways to cut:

- into stretches of rows as they lie in the files (``together=()``): every row is read once. For sums over rows (bins of a
  reliability diagram, accuracies).
- by the values of a column (``together=("item",)``): all rows of an item come in one part, wherever they lie. For joins (flips
  between versions). Every part reads the files through, so there are few, large parts; say with `only` which rows
  are needed and with `number` how many those are.

`survey` goes over the rows once to learn what has to be known before counting: the versions there are, their last epochs.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from . import expression
from .column_map import ColumnMap
from .deferred import deferred
from .engine import LOCAL, Engine, in_use
from .errors import SchemaError
from .progress import Progress, quiet
from .schema import SCHEMAS
from .selection import EVERYTHING, All, Clause, IsIn, conjuncts
from .store import RunStore
from .tables import TableRows

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

Partial = TypeVar("Partial")

ROWS_OF_A_PART = 4_000_000
"""Rows of a part unless its user says otherwise: some hundred megabytes."""

_MOST_MERGED_HERE = 4096
"""Partial results that are merged by who asks; of more parts, neighbours are merged where they are computed."""


@dataclass(frozen=True, slots=True)
class Part:
    """A share of the rows of a table.

    Attributes
    ----------
    table : str
        Name of the canonical table.
    whole : RunStore or None
        The store itself, where it holds all rows.
    sources : tuple of (TableRows, range)
        Sources with rows in this part, and the blocks of those that are stored.
    maps : tuple of ColumnMap
        Column maps in force.
    clauses : tuple of Clause
        Parts of the filter, and what else rows must fulfil; those on columns a source lacks are passed over.
    wanted : frozenset of str, or None
        Columns that are looked at; None for all.
    together : tuple of str
        Columns whose equal values come in one part.
    number, of : int
        Number of the part, and how many there are, where rows are told apart by `together`.
    """

    table: str
    whole: RunStore | None = field(default=None, repr=False)
    sources: tuple[tuple[TableRows, range], ...] = field(default=(), repr=False)
    maps: tuple[ColumnMap, ...] = ()
    clauses: tuple[Clause, ...] = ()
    wanted: frozenset[str] | None = None
    together: tuple[str, ...] = ()
    number: int = 0
    of: int = 1

    def store(self) -> RunStore:
        """Give a store with the rows of this part and nothing else; maps and filter are already applied.

        Raises
        ------
        ReadError, OSError
            When the file cannot be read any more, or reads otherwise than its start.
        SchemaError
            When rows do not fit the table.
        """
        if self.whole is not None:
            return self.whole
        events = []
        for rows, blocks in self.sources:
            frames = [frame for frame in self._frames(rows, blocks) if len(frame)]
            if frames:
                events.append(TableRows(rows.source, rows.reader, _stacked(frames), self.table))
        store = RunStore().adding(events)
        for problem in store.table_problems:
            raise SchemaError(f"{problem.source}: {problem.what}", table=self.table)
        return store

    def rows(self) -> pd.DataFrame:
        """Give the rows of this part, checked against the schema; without columns where there are none."""
        return self.store().rows(self.table)

    def _among(self, rows: TableRows) -> dict[str, frozenset[Any]]:
        """Give the values that columns of a source may have, as far as clauses say so and no column map changes them."""
        made = {name for one in self.maps if one.applies_to(rows.source) for name, _ in (*one.names, *one.derived)}
        return {
            clause.column: clause.values
            for clause in self.clauses
            if isinstance(clause, IsIn) and clause.column not in made
        }

    def _frames(self, rows: TableRows, blocks: range) -> Iterator[pd.DataFrame]:
        schema = SCHEMAS[self.table]
        if rows.stored is None:
            given: Iterator[pd.DataFrame] = iter((rows.frame,))
        else:
            read = rows.stored.read
            among = self._among(rows)
            given = (frame for number in blocks for frame in read(number, self.wanted, among))
        for frame in given:
            for column_map in self.maps:
                if column_map.applies_to(rows.source):
                    frame = column_map.applied(frame)
            frame = schema.check(frame)
            clauses = tuple(clause for clause in self.clauses if clause.columns <= {*frame.columns})
            if clauses:
                frame = frame[All(clauses).mask(frame)]
            if self.of > 1:
                frame = frame[_bucket(frame, self.together, self.of) == self.number]
            yield frame


def parts_of(
    store: RunStore,
    table: str,
    *,
    wanted: Sequence[str] | None = None,
    together: Sequence[str] = (),
    only: Clause = EVERYTHING,
    number: int | None = None,
    most: int | None = None,
) -> list[Part]:
    """Cut the rows of a table into parts: one, the store itself, where it holds them all.

    Parameters
    ----------
    table : str
        Name of a canonical table.
    wanted : sequence of str, optional
        Columns that are looked at; those of the filter and of column maps are added. All where None.
    together : sequence of str
        Columns whose equal values have to come in one part.
    only : Clause
        Rows that are needed. A store that holds all its rows is given as it is.
    number : int, optional
        How many rows are needed, where that is known to be fewer than there are.
    most : int, optional
        Rows of a part, about; `ROWS_OF_A_PART` where None.
    """
    if not store.is_stored(table):
        return [Part(table, whole=store)]
    most = most or ROWS_OF_A_PART
    there = {*store.columns(table)}
    clauses = tuple(clause for clause in (*conjuncts(store.filter), *conjuncts(only)) if clause.columns <= there)
    columns = None if wanted is None else _needed(store.maps, clauses, (*wanted, *together))
    # The first rows of what is stored are read with the rest, and need not go to other processes.
    sources = [
        replace(rows, frame=pd.DataFrame()) if rows.stored else rows
        for rows, schema, _ in store.mapped
        if schema is SCHEMAS[table]
    ]
    if together:
        of = max(1, math.ceil((store.number_of_rows(table) if number is None else number) / most))
        everywhere = tuple((rows, range(len(rows.stored.blocks) if rows.stored else 0)) for rows in sources)
        return [
            Part(table, None, everywhere, store.maps, clauses, columns, tuple(together), at, of) for at in range(of)
        ]
    return [Part(table, None, stretch, store.maps, clauses, columns) for stretch in _stretches(sources, most)]


def mapped(
    function: Callable[[Part], Partial], parts: Sequence[Part], engine: Engine = LOCAL, progress: Progress = quiet
) -> list[Partial]:
    """Give ``[function(part) for part in parts]``, spread by an engine; a store that is its own part stays in this process."""
    engine, progress = in_use(engine, progress)
    return (LOCAL if _is_whole(parts) else engine).map(function, parts, progress)


def folded(
    function: Callable[[Part], Partial],
    merged: Callable[[Partial, Partial], Partial],
    parts: Sequence[Part],
    engine: Engine = LOCAL,
    progress: Progress = quiet,
) -> Partial:
    """Give ``function(part)`` of all parts, merged from the first to the last; few of them are held at a time.

    Parameters
    ----------
    function, merged : callable
        Functions of a module or `functools.partial` of one.
    parts : sequence of Part
        At least one.

    Notes
    -----
    Of more than 4096 parts, neighbours are merged first, where they were computed. Which ones depends on the number of parts
    alone, so that every engine adds up in the same order.
    """
    engine, progress = in_use(engine, progress)
    many = math.ceil(len(parts) / _MOST_MERGED_HERE)
    blocks = [tuple(parts[start : start + many]) for start in range(0, len(parts), many)]
    work = functools.partial(_folded, function, merged)
    with contextlib.closing((LOCAL if _is_whole(parts) else engine).stream(work, blocks, progress)) as found:
        return functools.reduce(merged, found)


def _folded(
    function: Callable[[Part], Partial], merged: Callable[[Partial, Partial], Partial], parts: tuple[Part, ...]
) -> Partial:
    return functools.reduce(merged, map(function, parts))


def _is_whole(parts: Sequence[Part]) -> bool:
    return len(parts) == 1 and parts[0].whole is not None


def survey(
    store: RunStore,
    table: str,
    columns: Sequence[str],
    *,
    latest: str = "",
    engine: Engine = LOCAL,
    progress: Progress = quiet,
) -> pd.DataFrame:
    """Give every combination of values of some columns, in the order of their first rows, with how many rows have it.

    Parameters
    ----------
    columns : sequence of str
        Columns of few values (model, version, task); those the table lacks are passed over.
    latest : str
        A column of numbers whose greatest value of each combination is given too (``epoch``), where the table has it.

    Returns
    -------
    DataFrame
        The columns, as objects, with missing values as None; ``rows``; and `latest`.
    """
    parts = parts_of(store, table, wanted=[*columns, *([latest] if latest else [])])
    counted = functools.partial(_combinations, tuple(columns), latest)
    frame = folded(counted, functools.partial(_of_both, tuple(columns), latest), parts, engine, progress)
    return frame if len(frame) else pd.DataFrame({"rows": pd.Series(dtype=np.int64)})


def _of_both(columns: tuple[str, ...], latest: str, one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    if not len(one) or not len(other):
        return one if len(one) else other
    frame = pd.concat([one, other], ignore_index=True)
    return _summed(frame, [name for name in columns if name in frame.columns], latest)


def _combinations(columns: tuple[str, ...], latest: str, part: Part) -> pd.DataFrame:
    frame = part.rows()
    columns = tuple(name for name in columns if name in frame.columns)
    values = {name: frame[name].astype(object).where(frame[name].notna(), None) for name in columns}
    values |= {"rows": pd.Series(np.ones(len(frame), dtype=np.int64), index=frame.index)}
    if latest in frame.columns:
        values[latest] = frame[latest]
    return _summed(pd.DataFrame(values), list(columns), latest)


def _summed(frame: pd.DataFrame, columns: list[str], latest: str) -> pd.DataFrame:
    if not columns or not len(frame):
        return frame[:0]
    how = {"rows": "sum"} | ({latest: "max"} if latest in frame.columns else {})
    return frame.groupby(columns, sort=False, dropna=False, observed=True).agg(how).reset_index()


def _needed(maps: tuple[ColumnMap, ...], clauses: tuple[Clause, ...], wanted: Sequence[str]) -> frozenset[str]:
    """Give the columns to read: those wanted, those of the filter, and what maps make either of."""
    names = {name for name in wanted if name} | {column for clause in clauses for column in clause.columns}
    for column_map in maps:
        names |= {name for _, name in column_map.names}
        names |= {column for _, text in column_map.derived for column in expression.parse(text).columns}
    return frozenset(names)


def _stretches(sources: Sequence[TableRows], most: int) -> Iterator[tuple[tuple[TableRows, range], ...]]:
    """Give neighbouring blocks of sources with about `most` rows together, in their order."""
    stretch: list[tuple[TableRows, range]] = []
    rows = 0
    for source in sources:
        blocks = source.stored.blocks if source.stored else (len(source.frame),)
        first = 0
        for number, size in enumerate(blocks):
            if rows and rows + size > most:
                if number > first:
                    stretch.append((source, range(first, number)))
                yield tuple(stretch)
                stretch, rows, first = [], 0, number
            rows += size
        stretch.append((source, range(first, len(blocks))))
    if stretch:
        yield tuple(stretch)


def _bucket(frame: pd.DataFrame, together: tuple[str, ...], of: int) -> np.ndarray:
    """Give the part each row goes to: the same for equal values, in every process and whatever they are stored as."""
    code = np.zeros(len(frame), dtype=np.uint64)
    for name in together:
        values = frame[name]
        if not isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype("category")
        texts = values.cat.categories.astype(str).to_numpy(object)
        hashes = np.append(pd.util.hash_array(texts, categorize=False), np.uint64(0))
        code = code * np.uint64(0x9E3779B97F4A7C15) + hashes[values.cat.codes.to_numpy()]
    return (code % np.uint64(of)).astype(np.int64)


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Give frames one below the other, names that are stored once each staying so.

    Raises
    ------
    SchemaError
        When they have not the same columns: a file whose end reads otherwise than its start.
    """
    first = frames[0]
    for frame in frames[1:]:
        if set(frame.columns) != set(first.columns):
            differ = ", ".join(sorted(map(str, set(frame.columns) ^ set(first.columns))))
            raise SchemaError(f"Rows further down have other columns than the first: {differ}.", table="")
    together: dict[str, pd.Series] = {}
    for name in first.columns:
        columns = [frame[name] for frame in frames]
        if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
            union = pd.api.types.union_categoricals([column.array for column in columns], ignore_order=True)
            together[str(name)] = pd.Series(union)
        else:
            together[str(name)] = pd.concat(columns, ignore_index=True)
    return pd.DataFrame(together)
