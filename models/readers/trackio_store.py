"""Projects of trackio: one SQLite database with the rows of all runs, ``<project>.db``.

A row holds everything that was logged at one step, as JSON, in which NaN and infinities are spelled out. Databases of early
versions know runs by their names alone. Measurements of the system become the tags ``system/...`` with their number as step.

See ``trackio/sqlite_storage.py`` and ``docs/source/storage_schema.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..configuration import flattened
from ..errors import ReadError
from ..json_document import json_value
from ..logged_columns import LoggedColumn, curve_pieces, numbers_of, wall_time
from ..progress import Progress
from ..sqlite_file import SIGNATURE, has_tables, opened
from ..tables import Event, Forgotten, Problem, RunFacts
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import sqlite3

_ROWS_AT_ONCE = 100_000
_OWN = {"_Group": "group"}


class TrackioReader(Reader):
    """Reads all runs of a project."""

    name = "trackio"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Know a database by its tables."""
        known = (
            entry.suffix == ".db" and entry.head.startswith(SIGNATURE) and has_tables(entry.path, "metrics", "configs")
        )
        return Match.YES if known else Match.NO

    def watched(self, path: Path) -> list[Path]:
        """Give the database and its write-ahead log, which holds what is newest."""
        return [path, path.with_name(f"{path.name}-wal")]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the rows that are new.

        Raises
        ------
        ReadError
            When the database cannot be read.
        """
        last: dict[str, tuple[int, Any]] = dict(cursor.state["last"]) if cursor is not None else {}
        counts: dict[str, int] = dict(cursor.state["counts"]) if cursor is not None else {}
        known: set[str] = set(cursor.state["runs"]) if cursor is not None else set()
        with opened(source.path) as database:
            identity = "run_id" if "run_id" in _columns(database, "metrics") else "run_name"
            if any(_row(database, table, number) != row for table, (number, row) in last.items()):
                what = "The database was rewritten; it was read again."
                yield Forgotten(source.relative, self.name, what, tuple(sorted(known)))
                last, counts, known = {}, {}, set()
            yield from _configs(database, source, self.name, known)
            left_out = 0
            for table in ("metrics", "system_metrics"):
                if not {identity, "timestamp", "metrics"} <= _columns(database, table):
                    continue
                (end,) = database.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
                at = last.get(table, (0, None))[0]
                step = "step" if table == "metrics" else "NULL"
                while at < end:
                    rows = database.execute(
                        f"SELECT {identity}, run_name, {step}, timestamp, metrics FROM {table} "
                        "WHERE id > ? AND id <= ? ORDER BY id",
                        (at, at + _ROWS_AT_ONCE),
                    )
                    before = "" if table == "metrics" else "system/"
                    runs, bad = _rows(rows, before, counts)
                    left_out += bad
                    for (run, name), logged in runs.items():
                        key = f"{source.relative}/{run}"
                        if key not in known:
                            known.add(key)
                            yield RunFacts(key, name=name, reader=self.name, source=source.relative)
                        yield from logged.pieces(key)
                    at = min(end, at + _ROWS_AT_ONCE)
                    progress(at, end, source.relative)
                last[table] = (end, _row(database, table, end))
            if left_out:
                yield Problem(source.relative, self.name, f"{left_out:,} rows left out: no numbers with a step.")
        size = require_regular(source.path)
        yield Cursor({str(source.path): size}, {"last": last, "counts": counts, "runs": frozenset(known)})


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")}


def _row(database: sqlite3.Connection, table: str, number: int) -> Any:
    return database.execute(f"SELECT run_name, timestamp FROM {table} WHERE id = ?", (number,)).fetchone()


def _configs(database: sqlite3.Connection, source: Source, reader: str, known: set[str]) -> Iterator[RunFacts]:
    columns = _columns(database, "configs")
    identity = "run_id" if "run_id" in columns else "run_name"
    for run, name, text in database.execute(f"SELECT {identity}, run_name, config FROM configs ORDER BY rowid"):
        try:
            given = json_value(text if isinstance(text, bytes) else str(text).encode())
        except ReadError:
            continue
        if not isinstance(given, dict):
            continue
        config = flattened({key: value for key, value in given.items() if not str(key).startswith("_")})
        config |= {new: given[own] for own, new in _OWN.items() if isinstance(given.get(own), str)}
        started = wall_time(given.get("_Created"))
        key = f"{source.relative}/{run}"
        known.add(key)
        facts = {} if started is None else {"started": started}
        yield RunFacts(key, name=str(name), reader=reader, source=source.relative, config=config, facts=facts)


class _Logged:
    """Rows of one run, by tag."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.times: list[float] = []
        self.values: dict[str, tuple[list[int], list[float]]] = {}

    def pieces(self, run: str) -> Iterator[Event]:
        columns = {
            tag: LoggedColumn(np.array(values), None if len(rows) == len(self.steps) else np.array(rows))
            for tag, (rows, values) in self.values.items()
        }
        yield from curve_pieces(run, np.array(self.steps), columns, np.array(self.times))


def _rows(rows: sqlite3.Cursor, before: str, counts: dict[str, int]) -> tuple[dict[tuple[str, str], _Logged], int]:
    """Give the rows by run, and how many of them say nothing."""
    runs: dict[tuple[str, str], _Logged] = {}
    left_out = 0
    for run, name, step, time, text in rows:
        try:
            given = json_value(text if isinstance(text, bytes) else str(text).encode())
        except ReadError:
            given = None
        if not isinstance(given, dict):
            left_out += 1
            continue
        if before:
            step = counts.get(run, 0)
            counts[run] = step + 1
        elif not isinstance(step, int | float):
            left_out += 1
            continue
        logged = runs.setdefault((str(run), str(name)), _Logged())
        for tag, value in numbers_of(given).items():
            places, values = logged.values.setdefault(before + tag, ([], []))
            places.append(len(logged.steps))
            values.append(value)
        logged.steps.append(step)
        at = wall_time(time)
        logged.times.append(np.nan if at is None else at)
    return runs, left_out
