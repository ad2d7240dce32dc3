"""All data that is open, as one frozen value.

A `RunStore` is a snapshot: adding what a reader gave makes a new one that shares everything else with the old, so that any
thread can go on computing on the snapshot it holds. Curves stay arrays; DataFrames are made at the edge, when asked for.

`rows` is where linking happens: clauses on columns of the `runs` table pick runs first, the other clauses then apply to the
table asked for, and a clause on columns that neither has does not apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from .column_map import ColumnMap, table_of
from .deferred import deferred
from .errors import ExpressionError, SchemaError, TooLarge
from .natural_order import natural_order
from .schema import RUNS, SCALARS, SCHEMAS, Schema
from .selection import EVERYTHING, All, Clause, both, conjuncts
from .stated_facts import STATED_COLUMNS, stated_facts
from .tables import (
    Curve,
    CurvePiece,
    Event,
    FolderConfig,
    Forgotten,
    Problem,
    Run,
    RunFacts,
    SourceRead,
    TableRows,
)

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")


@dataclass(frozen=True, eq=False)
class RunStore:
    """Runs, rows and problems that are open.

    Attributes
    ----------
    runs : Mapping of str to Run
        Runs by key, in the order of discovery.
    sources : Mapping of str to TableRows
        Rows of tables by source.
    folder_configs : Mapping of str to Mapping
        Configuration of folders; it describes the runs in and below them.
    problems : tuple of Problem
        What could not be read.
    maps : tuple of ColumnMap
        Column maps in force, the latest last.
    filter : Clause
        What enters computation.
    """

    runs: Mapping[str, Run] = field(default_factory=dict)
    sources: Mapping[str, TableRows] = field(default_factory=dict)
    folder_configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    maps: tuple[ColumnMap, ...] = ()
    filter: Clause = EVERYTHING

    def adding(self, events: Iterable[Event]) -> RunStore:
        """Give a store that also holds what a reader gave."""
        runs = dict(self.runs)
        sources = dict(self.sources)
        configs = dict(self.folder_configs)
        problems = dict.fromkeys(self.problems)
        only_grew, added = self.filter == EVERYTHING, 0

        def run_called(key: str) -> Run:
            return runs.get(key) or Run(key, name=PurePosixPath(key).name, ordinal=len(runs))

        # A run is made anew once for all pieces that come together: one piece a line, each of other tags, is a log as well.
        for _, together in groupby(events, _run_of_piece):
            batch = list(together)
            pieces = [event for event in batch if isinstance(event, CurvePiece)]
            if pieces:
                run = run_called(pieces[0].run)
                runs[run.key] = run.extended(*pieces)
                for piece in pieces:
                    only_grew = only_grew and piece.values.keys() <= run.curves.keys()
                    added += len(piece.step) * len(piece.values)
                continue
            for event in batch:
                only_grew = only_grew and not isinstance(event, RunFacts | Forgotten)
                match event:
                    case RunFacts():
                        runs[event.run] = run_called(event.run).knowing(event)
                    case TableRows():
                        sources[event.source] = event
                    case FolderConfig():
                        configs[event.folder] = {**configs.get(event.folder, {}), **event.config}
                    case Problem():
                        problems[event] = None
                    case SourceRead():
                        named = [problem for problem in problems if problem.source == event.source]
                        for problem in (*named, *event.settled):
                            problems.pop(problem, None)
                        problems.update(dict.fromkeys(event.problems))
                    case Forgotten():
                        for key in event.runs:
                            if key in runs:
                                runs[key] = replace(runs[key], curves=MappingProxyType({}))
                        sources.pop(event.source, None)
        grown = replace(
            self,
            runs=MappingProxyType(runs),
            sources=MappingProxyType(sources),
            folder_configs=MappingProxyType(configs),
            problems=tuple(problems),
        )
        if grown.runs.keys() == self.runs.keys() and configs == self.folder_configs:
            before = (
                (self.runs, self._logged_runs[0]) if "_logged_runs" in self.__dict__ else self.__dict__.get("_before")
            )
            if before is not None:
                grown.__dict__["_before"] = before
        if only_grew:
            self._lend(grown, "tag_counts")
            if "points" in self.__dict__:
                grown.__dict__["points"] = self.points + added
        if all(sources.get(source) is rows for source, rows in self.sources.items()) and len(sources) == len(
            self.sources
        ):
            self._lend(grown, "_tables", "_mapping", "_checked", "untyped")
        return grown

    def config(self, run: Run) -> dict[str, Any]:
        """Give the whole configuration of a run: that of the folders around it, the innermost winning, then its own."""
        config: dict[str, Any] = {}
        if self.folder_configs:
            parts = run.key.split("/")
            for depth in range(1, len(parts) + 1):
                config.update(self.folder_configs.get("/".join(parts[:depth]), {}))
        config.update(run.config)
        return config

    def reading_as(self, maps: tuple[ColumnMap, ...]) -> RunStore:
        """Give the same data under other column maps."""
        return self if maps == self.maps else replace(self, maps=maps)

    def noted(self, notes: Mapping[str, Mapping[str, Any]]) -> RunStore:
        """Give the same data with settings a user adds to runs; they are columns of the runs table like any other.

        Parameters
        ----------
        notes : Mapping
            Settings by key of the run, which count before its own; those of runs that are not there are passed over.
        """
        there = {
            key: replace(self.runs[key], config=MappingProxyType({**self.runs[key].config, **notes[key]}))
            for key in notes
            if key in self.runs
        }
        return replace(self, runs=MappingProxyType({**self.runs, **there})) if there else self

    def keeping(self, clause: Clause) -> RunStore:
        """Give a store narrowed to `clause`: only what it holds for enters computation."""
        kept = replace(self, filter=both(self.filter, clause))
        self._lend(kept, "_tables", "_mapping", "_checked", "untyped", "_logged_runs", "_all_runs", "_before")
        return kept

    def _lend(self, other: RunStore, *names: str) -> None:
        """Give another store what was computed here and is the same there: tables are dear."""
        self.__dict__.setdefault("_tables", {})
        other.__dict__.update({name: self.__dict__[name] for name in names if name in self.__dict__})

    # -- runs and curves ------------------------------------------------------------------------------------------------

    @cached_property
    def kept_runs(self) -> Mapping[str, Run]:
        """Runs that pass the filter, by key."""
        if self.filter == EVERYTHING:
            return self.runs
        clauses = self._clauses_on(RUNS.name)
        if not clauses:
            return self.runs
        frame = self._all_runs
        keys = set(frame["run"][All(clauses).mask(frame)])
        return MappingProxyType({key: run for key, run in self.runs.items() if key in keys})

    @cached_property
    def tag_counts(self) -> Mapping[str, int]:
        """How many of the kept runs have each tag; the same value as long as curves only grow."""
        counts: dict[str, int] = {}
        for run in self.kept_runs.values():
            for tag in run.curves:
                counts[tag] = counts.get(tag, 0) + 1
        return MappingProxyType(counts)

    def tags(self) -> dict[str, int]:
        """Give every tag that passes the filter with the number of kept runs that have it, most frequent first."""
        counts = dict(self.tag_counts)
        clauses = tuple(clause for clause in conjuncts(self.filter) if clause.columns == {"tag"})
        if clauses and counts:
            holds = All(clauses).mask(pd.DataFrame({"tag": list(counts)}))
            counts = {tag: count for (tag, count), kept in zip(counts.items(), holds, strict=True) if kept}
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def curves(self, tag: str, among: Set[str] | None = None) -> Iterator[tuple[Run, Curve]]:
        """Give every kept run that has `tag`, with the points of that curve that pass the filter.

        Parameters
        ----------
        among : set of str, optional
            Keys of the runs to look at; None looks at all.
        """
        runs: Iterable[Run] = self.kept_runs.values()
        if among is not None:
            runs = [run for key, run in self.kept_runs.items() if key in among]
        found = [(run, run.curves[tag]) for run in runs if tag in run.curves]
        of_points = {column.name for column in SCALARS.columns}
        clauses = [c for c in conjuncts(self.filter) if c.columns <= of_points and c.columns != {"run"}]
        if clauses and found:
            found = _narrowed(tag, found, All(tuple(clauses)))
        for run, curve in found:
            if len(curve):
                yield run, curve

    @cached_property
    def points(self) -> int:
        """Number of points of all curves of all runs."""
        return sum(len(curve) for run in self.runs.values() for curve in run.curves.values())

    # -- tables ---------------------------------------------------------------------------------------------------------

    def rows(self, table: str | Schema, selection: Clause = EVERYTHING) -> pd.DataFrame:
        """Give the rows of a canonical table that pass the filter and `selection`.

        Parameters
        ----------
        table : str or Schema
            One of the canonical tables.
        selection : Clause
            Narrows the rows further.

        Raises
        ------
        SchemaError
            When the rows of a source do not fit the table; use `problems_of_tables` to see them all.
        ExpressionError
            When the filter cannot be computed.
        TooLarge
            When rows of the table stay in their files (`models.partial` counts them part by part).
        """
        schema = SCHEMAS[table] if isinstance(table, str) else table
        if self.is_stored(schema.name):
            raise TooLarge(schema.name, self.number_of_rows(schema.name))
        return self.first_rows(schema, selection)

    def first_rows(self, table: str | Schema, selection: Clause = EVERYTHING) -> pd.DataFrame:
        """Give what `rows` gives, but of sources that stay in their files only the first rows, to see what they look
        like.
        """
        schema = SCHEMAS[table] if isinstance(table, str) else table
        if schema is not SCALARS:
            self._table(schema)  # made here, it is shared with the narrowed store
        store = self if selection == EVERYTHING else self.keeping(selection)
        frame = store._table(schema)
        clauses = store._clauses_on(schema.name)
        own = tuple(clause for clause in clauses if clause.columns <= set(frame.columns))
        by_run = tuple(clause for clause in clauses if not clause.columns <= set(frame.columns))
        if own:
            frame = frame[All(own).mask(frame)]
        if by_run and "run" in frame.columns:
            frame = frame[frame["run"].isin(list(store.kept_runs))]
        return frame.reset_index(drop=True)

    def columns(self, table: str) -> list[str]:
        """Give the columns a canonical table has in the open data."""
        if table == SCALARS.name:
            return [column.name for column in SCALARS.columns]
        return [str(name) for name in self._table(SCHEMAS[table]).columns]

    def is_stored(self, table: str) -> bool:
        """Whether rows of a canonical table stay in their files because they are too many to be held."""
        return any(rows.stored is not None and schema is SCHEMAS[table] for rows, schema, _ in self.mapped)

    def number_of_rows(self, table: str) -> int:
        """Give the number of rows that pass the filter; where rows stay in their files, of all rows."""
        if not self.is_stored(table):
            return len(self.first_rows(table))
        return sum(len(rows) for rows, schema, _ in self.mapped if schema is SCHEMAS[table])

    def has_rows(self, table: str) -> bool:
        """Whether a canonical table has any rows, without building it."""
        if table in (RUNS.name, SCALARS.name) and self.runs:
            return True
        return any(schema is SCHEMAS[table] for _, schema, _ in self.mapped)

    @cached_property
    def untyped(self) -> tuple[TableRows, ...]:
        """Sources whose rows belong to no canonical table until a column is mapped."""
        return tuple(rows for rows, schema, _ in self.mapped if schema is None)

    @property
    def table_problems(self) -> tuple[Problem, ...]:
        """Sources whose rows do not fit the table they belong to, and why."""
        return self.map_problems + self._checked[1]

    @property
    def map_problems(self) -> tuple[Problem, ...]:
        """What column maps make that does not fit the values there are; it is left out."""
        return self._mapping[1] + (self._logged_runs[1] if self.maps else ())

    def check_filter(self) -> None:
        """Find out whether the filter can be applied to what is open.

        Raises
        ------
        ExpressionError
            When a part of it cannot be computed, or no open table has its columns.
        """
        unused = self.unused_clauses()
        if unused:
            raise ExpressionError(
                f"No open table has the columns of '{unused[0]}'.",
                text=str(unused[0]),
                remedy="The columns of runs: " + ", ".join(self.columns(RUNS.name)[:15]) + ".",
            )
        for name in SCHEMAS:
            if name != SCALARS.name and self.has_rows(name):
                self.first_rows(name)

    def unused_clauses(self) -> tuple[Clause, ...]:
        """Give the parts of the filter that no table has the columns for."""
        have = [set(self.columns(name)) for name in SCHEMAS if name == RUNS.name or self.has_rows(name)]
        return tuple(c for c in conjuncts(self.filter) if not any(c.columns <= columns for columns in have))

    @property
    def mapped(self) -> tuple[tuple[TableRows, Schema | None, pd.DataFrame], ...]:
        """Sources in natural order, with the table each belongs to and its rows under the column maps."""
        return self._mapping[0]

    @cached_property
    def _mapping(self) -> tuple[tuple[tuple[TableRows, Schema | None, pd.DataFrame], ...], tuple[Problem, ...]]:
        """Rows of sources under the column maps, with the table they belong to; and what could not be derived."""
        mapped = []
        problems: list[Problem] = []
        # By name, not as they came: which of several threads read its file first decides nothing.
        for source in sorted(self.sources, key=natural_order):
            rows = self.sources[source]
            frame = rows.frame
            table = rows.table
            for column_map in self.maps:
                if column_map.applies_to(rows.source):
                    frame = _under(column_map, frame, rows.source, rows.reader, problems)
                    table = column_map.table or table
            mapped.append((rows, SCHEMAS[table] if table else table_of(frame), frame))
        return tuple(mapped), tuple(problems)

    def _table(self, schema: Schema) -> pd.DataFrame:
        if schema is RUNS:
            return self._all_runs
        if schema is SCALARS:
            return self._scalars()
        cache: dict[str, pd.DataFrame] = self.__dict__.setdefault("_tables", {})
        if schema.name not in cache:
            cache[schema.name] = _joined(schema, self._parts(schema))
        return cache[schema.name]

    def _parts(self, schema: Schema) -> list[pd.DataFrame]:
        return self._checked[0].get(schema.name, [])

    @cached_property
    def _checked(self) -> tuple[dict[str, list[pd.DataFrame]], tuple[Problem, ...]]:
        """Rows of sources that fit their tables, by table, and what the others lack.

        Neighbouring sources of one reader with the same columns are checked as one: a folder may hold a thousand small
        files, and checking takes about as long for one of them as for all.
        """
        parts: dict[str, list[pd.DataFrame]] = {}
        problems: list[Problem] = []
        waiting = [
            (rows, schema, _naming_runs(rows, frame) if schema is RUNS else frame)
            for rows, schema, frame in self.mapped
            if schema is not None
        ]

        def kind(one: tuple[TableRows, Schema, pd.DataFrame]) -> tuple[object, ...]:
            return one[1].name, one[0].reader, tuple(one[2].columns)

        def check(members: list[tuple[TableRows, Schema, pd.DataFrame]]) -> None:
            schema = members[0][1]
            try:
                parts.setdefault(schema.name, []).append(schema.check(_with_sources(members)))
            except SchemaError as error:
                if len(members) == 1:
                    rows = members[0][0]
                    problems.append(Problem(rows.source, rows.reader, str(error)))
                    return
                for one in members:
                    check([one])

        for _, alike in groupby(waiting, kind):
            check(list(alike))
        return parts, tuple(problems)

    @cached_property
    def _all_runs(self) -> pd.DataFrame:
        """Every run as a row, whatever the filter: runs that were trained first, then rows of tables of runs."""
        logged = self._logged_runs[0]
        return _joined(RUNS, [*([logged] if len(logged) else []), *self._parts(RUNS)])

    @cached_property
    def _logged_runs(self) -> tuple[pd.DataFrame, tuple[Problem, ...]]:
        """Every run that was trained as a row under the column maps; and what could not be derived."""
        before = self.__dict__.pop("_before", None)
        if before is not None and not self.maps and (frame := _with_longer_curves(self.runs, *before)) is not None:
            return frame, ()
        records = [_record(run, self.config(run)) for run in self.runs.values()]
        if not records:
            return RUNS.empty(), ()
        frame = pd.DataFrame(records)
        problems: list[Problem] = []
        for column_map in self.maps:
            frame = _under(column_map, frame, "the runs", "", problems)
        try:
            return RUNS.check(frame), tuple(problems)
        except SchemaError as error:
            if not self.maps:
                raise
            problems.append(Problem("the runs", "", f"They are shown without the column maps. {error}"))
            return RUNS.check(pd.DataFrame(records)), tuple(problems)

    def _scalars(self) -> pd.DataFrame:
        curves = [(run.key, tag, curve) for run in self.kept_runs.values() for tag, curve in run.curves.items()]
        parts = self._parts(SCALARS)
        if curves:
            parts = [_points(curves), *parts]
        return _joined(SCALARS, parts)

    def _clauses_on(self, table: str) -> tuple[Clause, ...]:
        """Give the parts of the filter that apply to a table, directly or through its runs."""
        own = set(self._all_runs.columns) if table == RUNS.name else set(self.columns(table))
        by_run = set(self._all_runs.columns) if "run" in own else set()
        return tuple(c for c in conjuncts(self.filter) if c.columns <= own or c.columns <= by_run)


def _run_of_piece(event: Event) -> str | None:
    return event.run if isinstance(event, CurvePiece) else None


def _with_sources(members: list[tuple[TableRows, Schema, pd.DataFrame]]) -> pd.DataFrame:
    """Give the rows of several sources as one frame, with the source of each row where it has none of its own."""
    frames = [frame for _, _, frame in members]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    if "source" in frame.columns:
        return frame
    if len(members) == 1:
        return frame.assign(source=members[0][0].source)
    sources = np.array([rows.source for rows, _, _ in members], dtype=object)
    return frame.assign(source=np.repeat(sources, [len(one) for one in frames]))


def _under(
    column_map: ColumnMap, frame: pd.DataFrame, source: str, reader: str, problems: list[Problem]
) -> pd.DataFrame:
    """Give rows under a column map; where a derived column does not fit them, that is a problem and it is left out."""
    try:
        return column_map.applied(frame)
    except ExpressionError as error:
        problems.append(Problem(source, reader, str(error)))
        return replace(column_map, derived=()).applied(frame)


def _points(curves: list[tuple[str, str, Curve]]) -> pd.DataFrame:
    """Give the points of curves, each with its run and tag, one below the other."""
    lengths = [len(curve) for _, _, curve in curves]
    walls = [np.full(len(c), np.nan) if c.wall_time is None else np.asarray(c.wall_time) for _, _, c in curves]
    return pd.DataFrame(
        {
            "run": _repeated([run for run, _, _ in curves], lengths),
            "tag": _repeated([tag for _, tag, _ in curves], lengths),
            "step": np.concatenate([np.asarray(curve.step) for _, _, curve in curves]),
            "value": np.concatenate([np.asarray(curve.value) for _, _, curve in curves]),
            "wall_time": np.concatenate(walls),
        }
    )


def _narrowed(tag: str, found: list[tuple[Run, Curve]], clause: Clause) -> list[tuple[Run, Curve]]:
    """Give curves of one tag with only the points a clause holds for."""
    holds = clause.mask(_points([(run.key, tag, curve) for run, curve in found]))
    ends = np.cumsum([len(curve) for _, curve in found])
    narrowed = []
    for (run, curve), kept in zip(found, np.split(holds, ends[:-1]), strict=True):
        wall = None if curve.wall_time is None else np.asarray(curve.wall_time)[kept]
        narrowed.append((run, Curve(np.asarray(curve.step)[kept], np.asarray(curve.value)[kept], wall)))
    return narrowed


def _repeated(names: list[str], lengths: list[int]) -> pd.Categorical:
    """Give every name as often as its length says, one code a row."""
    codes, categories = pd.factorize(np.array(names, dtype=object))
    return pd.Categorical.from_codes(np.repeat(codes, lengths), categories=pd.Index(categories))


def _naming_runs(rows: TableRows, frame: pd.DataFrame) -> pd.DataFrame:
    """Give a table of runs with a key for each row, by its number where the table has none."""
    if "run" in frame.columns:
        return frame
    return frame.assign(run=[f"{rows.source}#{number}" for number in range(len(frame))])


def _joined(schema: Schema, parts: list[pd.DataFrame]) -> pd.DataFrame:
    if not parts:
        return schema.empty()
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def _with_longer_curves(runs: Mapping[str, Run], before: Mapping[str, Run], table: pd.DataFrame) -> pd.DataFrame | None:
    """Give the table of runs that differ from those before only in their curves: in how they end. None where more differs."""
    if len(table) != len(runs) or list(runs) != list(before):
        return None
    times = {"started": table["started"].to_numpy(copy=True), "ended": table["ended"].to_numpy(copy=True)}
    if any(values.dtype != np.float64 for values in times.values()):
        return None
    status = table["status"].to_numpy(dtype=object, copy=True)
    for number, (run, old) in enumerate(zip(runs.values(), before.values(), strict=True)):
        if run is old:
            continue
        if _described(run) != _described(old):
            return None
        status[number] = run.status
        for name, time in zip(times, _first_and_last(run), strict=True):
            if run.facts.get(name) is None:
                times[name][number] = np.nan if time is None else time
    return table.assign(**times, status=pd.Series(status, dtype=table["status"].dtype, index=table.index))


def _described(run: Run) -> tuple[object, ...]:
    """Give what a row of the `runs` table is made of, but for the curves."""
    return run.name, run.reader, run.source, run.declared_status, run.config, run.facts


def _first_and_last(run: Run) -> tuple[float | None, float | None]:
    """Give when the first and the last point of a run were logged."""
    walls = [c.wall_time for c in run.curves.values() if c.wall_time is not None and len(c.wall_time)]
    return min((float(wall[0]) for wall in walls), default=None), max((float(wall[-1]) for wall in walls), default=None)


def _record(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """Give the row of the `runs` table for a run that was trained."""
    record: dict[str, Any] = {
        "run": run.key,
        "name": run.name,
        "source": run.source,
        "reader": run.reader,
        "status": run.status,
    }
    stated = stated_facts(config)
    for column in STATED_COLUMNS:
        record[column] = run.facts.get(column)
        if record[column] is None:
            record[column] = stated.get(column)
    for name, logged in zip(("started", "ended"), _first_and_last(run), strict=True):
        told = run.facts.get(name)
        record[name] = logged if told is None else told
    folders = run.key.split("/")
    record["folder"] = "/".join(folders[:-1])
    record.update({f"path.{level}": folder for level, folder in enumerate(folders, start=1)})
    record.update({key: value for key, value in run.facts.items() if key not in record})
    record.update({f"config.{key}": value for key, value in config.items()})
    return record
