"""Runs of MLflow: the store of files (``mlruns/<experiment>/<run>/``) and the database (``mlflow.db``), its default today.

In the store of files every metric is a file of its own, named after its key (``/`` in a key makes folders), with a line
``<milliseconds> <value> <step>`` for each value; parameters and tags are files whose text is the value. In the database NaN is
a flag and infinity the largest number there is. Runs and experiments that were deleted are not shown.

See ``mlflow/store/tracking/file_store.py`` and ``mlflow/store/tracking/dbmodels/models.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..configuration import flattened, plain_value, yaml_document
from ..errors import ReadError
from ..growing_file import Marks, lines, marks, rewritten
from ..logged_columns import whole_steps
from ..progress import Progress
from ..sqlite_file import SIGNATURE, has_tables, opened
from ..tables import CurvePiece, Event, Forgotten, Problem, RunFacts, Status
from .base import Cursor, Entry, Match, Reader, Source, files_below, require_regular

if TYPE_CHECKING:
    import sqlite3

_RUN = re.compile(r"[0-9a-f]{32}")
_DELETED = re.compile(rb"^lifecycle_stage:\s*deleted", re.MULTILINE)
_TRASH = ".trash"
_STATUS: dict[str, Status] = {"1": "running", "2": "running", "3": "finished", "4": "failed", "5": "failed"}
_STATUS |= {
    "RUNNING": "running",
    "SCHEDULED": "running",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "failed",
}
_LARGEST = 1.7976931348623157e308
_MOST_TEXT_BYTES = 1 << 16
_MOST_FILES = 20_000
_ROWS_AT_ONCE = 500_000
_TABLES = ("experiments", "runs", "metrics", "params", "tags")
_DATABASES = frozenset({".db", ".sqlite", ".sqlite3"})


class MlflowFileReader(Reader):
    """Reads the folder of one run."""

    name = "mlflow"
    looks_at_folders = True

    def match(self, entry: Entry) -> Match:
        """Know the folder of a run by its name and what is in it; what was deleted is left alone."""
        known = entry.is_folder and _RUN.fullmatch(entry.name) and "meta.yaml" in entry.children
        if not known or f"/{_TRASH}/" in f"/{entry.relative}":
            return Match.NO
        return Match.NO if _DELETED.search(Entry(entry.path / "meta.yaml", "").head) else Match.YES

    def watched(self, path: Path) -> list[Path]:
        """Give what describes the run, and its metrics: artifacts are not read."""
        parts = [file for part in ("metrics", "params", "tags") for file in files_below(path / part)]
        return [path / "meta.yaml", *parts]

    def needed(self, path: Path) -> list[Path]:
        """Give the same, and what names the experiment."""
        return [*self.watched(path), path.parent / "meta.yaml"]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the lines that are new in the files of its metrics.

        Raises
        ------
        ReadError
            When what describes the run cannot be read.
        """
        folder = source.path
        metrics = _files_below(folder / "metrics")
        known: Mapping[str, Marks] = cursor.state["marks"] if cursor is not None else {}
        consumed = dict(cursor.read) if cursor is not None else {}
        if cursor is not None and (why := rewritten(consumed, known)):
            yield Forgotten(source.relative, self.name, why, (source.run,))
            consumed, known = {}, {}
        yield _facts(source, self.name, folder)
        seen: dict[str, Marks] = dict(known)
        for number, (key, path) in enumerate(metrics.items(), 1):
            try:
                size = require_regular(path)
                start = consumed.get(str(path), 0)
                if size <= start:
                    continue
                with open(path, "rb") as file:
                    left_out = 0
                    for block in lines(file, start, size):
                        if not block.ended:
                            break  # still being written
                        piece, bad = _piece(source.run, key, block.data)
                        left_out += bad
                        if piece is not None:
                            yield piece
                        start = consumed[str(path)] = block.end
                    if start:
                        seen[str(path)] = marks(file, start)
                if left_out:
                    what = (
                        f"{left_out:,} line{'s' * (left_out > 1)} of metric {key!r} left out: not time, value and step."
                    )
                    yield Problem(source.relative, self.name, what, source.run)
            except (OSError, ReadError) as error:
                reason = error.what if isinstance(error, ReadError) else f"It cannot be read: {error.strerror}."
                yield Problem(source.relative, self.name, f"Metric {key!r} is left out. {reason}", source.run)
            progress(number, len(metrics), key)
        yield Cursor(consumed, {"marks": seen})


def _files_below(folder: Path) -> dict[str, Path]:
    """Give the files in and below a folder by the key they stand for."""
    found: dict[str, Path] = {}
    for above, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(above) / name
            found[path.relative_to(folder).as_posix()] = path
            if len(found) >= _MOST_FILES:
                return found
    return found


def _facts(source: Source, reader: str, folder: Path) -> RunFacts:
    about = _yaml(folder / "meta.yaml")
    texts = {f"tags.{key}": value for key, value in _texts(folder / "tags").items()}
    parameters = {key: plain_value(value) for key, value in _texts(folder / "params").items()}
    try:
        experiment = _yaml(folder.parent / "meta.yaml").get("name")
    except (OSError, ReadError):
        experiment = None
    return _run_facts(
        source.run, source.relative, reader, str(about.get("run_name") or texts.get("tags.mlflow.runName") or folder.name),
        about, experiment, parameters, texts,
    )  # fmt: skip


def _run_facts(
    run: str,
    relative: str,
    reader: str,
    name: str,
    about: Mapping[str, Any],
    experiment: Any,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
) -> RunFacts:
    facts = {
        canonical: about[own] / 1000
        for canonical, own in (("started", "start_time"), ("ended", "end_time"))
        if isinstance(about.get(own), int | float)
    }
    config = flattened(parameters)
    config |= {key: plain_value(value) for key, value in tags.items() if not key.startswith("tags.mlflow.")}
    if parent := tags.get("tags.mlflow.parentRunId"):
        config["tags.mlflow.parentRunId"] = parent
    if experiment is not None:
        config["experiment"] = str(experiment)
    status = _STATUS.get(str(about.get("status")))
    return RunFacts(run, name=name, reader=reader, source=relative, status=status, config=config, facts=facts)


def _yaml(path: Path) -> dict[str, Any]:
    if require_regular(path) > _MOST_TEXT_BYTES:
        raise ReadError(f"{path.name} is too large.")
    value = yaml_document(path.read_bytes())
    if not isinstance(value, dict):
        raise ReadError(f"{path.name} describes no run.")
    return value


def _texts(folder: Path) -> dict[str, str]:
    texts = {}
    for key, path in _files_below(folder).items():
        try:
            if require_regular(path) <= _MOST_TEXT_BYTES:
                texts[key] = path.read_text(encoding="utf-8", errors="replace")
        except (OSError, ReadError):
            continue
    return texts


def _piece(run: str, key: str, data: bytes) -> tuple[CurvePiece | None, int]:
    """Give the values on some lines, and how many lines hold none. Without three fields the step is 0, as for MLflow."""
    table = None
    if data.count(b" ") == 2 * data.count(b"\n"):
        try:
            table = np.array(data.split(), dtype=np.float64).reshape(-1, 3)
        except ValueError:
            table = None
    left_out = 0
    if table is None:
        rows = []
        for line in data.splitlines():
            parts = line.split(b" ")
            try:
                rows.append((float(parts[0]), float(parts[1]), int(parts[2]) if len(parts) in (3, 5) else 0))
            except (ValueError, IndexError):
                left_out += bool(line.strip())
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    sound = np.isfinite(table[:, 2]) & (np.abs(table[:, 2]) < 2**53)
    left_out += int(len(table) - np.count_nonzero(sound))
    table = table[sound]
    if not len(table):
        return None, left_out
    return CurvePiece(run, table[:, 2].astype(np.int64), {key: table[:, 1].copy()}, table[:, 0] / 1000), left_out


class MlflowDatabaseReader(Reader):
    """Reads all runs of a database."""

    name = "mlflow database"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Know a database by its tables."""
        known = entry.suffix in _DATABASES and entry.head.startswith(SIGNATURE) and has_tables(entry.path, *_TABLES)
        return Match.YES if known else Match.NO

    def watched(self, path: Path) -> list[Path]:
        """Give the database and its write-ahead log, which holds what is newest."""
        return [path, path.with_name(f"{path.name}-wal")]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the values that are new, and all that describes the runs.

        Raises
        ------
        ReadError
            When the database cannot be read.
        """
        last, row = (cursor.state["last"], cursor.state["row"]) if cursor is not None else (0, None)
        with opened(source.path) as database:
            runs = list(_runs(database, source, self.name))
            if cursor is not None and last and _row(database, last) != row:
                keys = tuple(facts.run for _, facts in runs)
                yield Forgotten(source.relative, self.name, "The database was rewritten; it was read again.", keys)
                last = 0
            for _, facts in runs:
                yield facts
            keys_of = {identity: facts.run for identity, facts in runs}
            # A number of the row is as good as a time: values are only ever added.
            (end,) = database.execute("SELECT coalesce(max(rowid), 0) FROM metrics").fetchone()
            while last < end:
                until = min(end, last + _ROWS_AT_ONCE)
                rows = database.execute(
                    "SELECT run_uuid, key, step, value, is_nan, timestamp FROM metrics "
                    "WHERE rowid > ? AND rowid <= ? ORDER BY rowid",
                    (last, until),
                )
                yield from _pieces(rows, keys_of)
                last = until
                progress(last, end, source.relative)
            yield Cursor({str(source.path): require_regular(source.path)}, {"last": end, "row": _row(database, end)})


def _row(database: sqlite3.Connection, number: int) -> Any:
    return database.execute("SELECT run_uuid, key, step, timestamp FROM metrics WHERE rowid = ?", (number,)).fetchone()


def _runs(database: sqlite3.Connection, source: Source, reader: str) -> Iterator[tuple[str, RunFacts]]:
    parameters: dict[str, dict[str, Any]] = {}
    for run, key, value in database.execute("SELECT run_uuid, key, value FROM params"):
        parameters.setdefault(run, {})[str(key)] = plain_value(str(value))
    tags: dict[str, dict[str, str]] = {}
    for run, key, value in database.execute("SELECT run_uuid, key, value FROM tags"):
        tags.setdefault(run, {})[f"tags.{key}"] = str(value)
    rows = database.execute(
        "SELECT r.run_uuid, r.name, r.status, r.start_time, r.end_time, e.name FROM runs r "
        "LEFT JOIN experiments e ON e.experiment_id = r.experiment_id "
        "WHERE r.lifecycle_stage = 'active' AND coalesce(e.lifecycle_stage, 'active') = 'active' "
        "ORDER BY r.start_time, r.run_uuid"
    )
    for run, name, status, start, end, experiment in rows:
        about = {"status": status, "start_time": start, "end_time": end}
        shown = str(name or tags.get(run, {}).get("tags.mlflow.runName") or run)
        key = "/".join(filter(None, (source.relative, str(experiment or "").strip("/"), run)))
        yield (
            run,
            _run_facts(
                key, source.relative, reader, shown, about, experiment, parameters.get(run, {}), tags.get(run, {})
            ),
        )


def _pieces(rows: sqlite3.Cursor, keys_of: Mapping[str, str]) -> Iterator[CurvePiece]:
    """Give the curves among some rows."""
    curves: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    for run, key, step, value, is_nan, time in rows:
        if run in keys_of and isinstance(step, int) and isinstance(value, int | float):
            when = time if isinstance(time, int | float) else np.nan
            curves.setdefault((run, str(key)), []).append((step, np.nan if is_nan else value, when))
    for (run, key), values in curves.items():
        table = np.array(values, dtype=np.float64)
        value = table[:, 1].copy()
        value[np.abs(value) >= _LARGEST] *= np.inf
        yield CurvePiece(keys_of[run], whole_steps(table[:, 0]), {key: value}, table[:, 2] / 1000)
