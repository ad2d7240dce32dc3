"""Trials of Ray Tune and RLlib: a folder with ``result.json``, one object for each report, and ``params.json``.

Ray writes the same numbers into ``progress.csv`` and event files as well; the trial is one run, read from ``result.json``, the
only one of them that keeps every key. The step is the training iteration; ``timesteps_total`` is a tag like any other.
That a trial is done is in its last report only where Ray stopped it, or it says so itself; that it failed, in ``error.txt``.
How every trial stands is written again and again in the folder of the experiment above, into ``experiment_state-<time>.json``.

The format: ``ray/tune/logger/json.py``; ``save_to_dir`` in ``ray/tune/execution/tune_controller.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ..configuration import flattened
from ..errors import ReadError
from ..growing_file import continues, lines, marks
from ..json_document import as_python_writes, json_document
from ..logged_columns import LoggedColumn, curve_pieces, is_number, numbers_of, wall_time
from ..progress import Progress
from ..tables import Event, Forgotten, Problem, RunFacts, Status
from .base import Cursor, Entry, Match, Reader, Source, require_regular

_RESULT, _PARAMS = "result.json", "params.json"
_ERRORS = ("error.txt", "error.pkl")
_STATE = re.compile(r"experiment_state-.+\.json")
_STATUS: dict[str, Status] = {"TERMINATED": "finished", "ERROR": "failed", "RUNNING": "running", "PAUSED": "running"}
_STEP = "training_iteration"
_NO_METRICS = frozenset({"config", "pid", "timestamp", _STEP})
_MOST_CONFIG_BYTES = 16 << 20


class RayTuneReader(Reader):
    """Reads the folder of a trial."""

    name = "ray tune"
    looks_at_folders = True

    def match(self, entry: Entry) -> Match:
        """Know a folder by the files in it."""
        known = entry.is_folder and _RESULT in entry.children and entry.children & {_PARAMS, "params.pkl"}
        return Match.YES if known else Match.NO

    def watched(self, path: Path) -> list[Path]:
        """Give the files that are read: checkpoints beside them are many."""
        return [path / name for name in (_RESULT, _PARAMS, *_ERRORS)] + _newest(path.parent)

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the reports that are new.

        Raises
        ------
        ReadError
            When no report is a JSON object.
        """
        path = source.path / _RESULT
        size = require_regular(path)
        known = cursor.state["known"] if cursor is not None else _Known()
        start = cursor.read[str(path)] if cursor is not None else 0
        with open(path, "rb") as file:
            if start and cursor is not None and not continues(file, size, start, cursor.state["marks"]):
                why = f"{_RESULT} was written anew; the run was read again."
                yield Forgotten(source.relative, self.name, why, (source.run,))
                known, start = _Known(), 0
            now = _Known(known.reports, known.malformed, known.is_done, dict(known.about), known.trial)
            end = start
            for block in lines(file, start, size):
                if not block.ended and not isinstance(_parsed(block.data), dict):
                    break  # still being written
                yield from _pieces(source.run, block.data, now)
                end = block.end
                progress(end, size, source.relative)
            if now.malformed and not now.reports:
                raise ReadError(f"No line of {_RESULT} is a report.")
            yield RunFacts(
                source.run,
                reader=self.name,
                source=source.relative,
                status=_status(source.path, now),
                config=_config(source.path) or now.about.get("config", {}),
            )
            if now.malformed:
                what = (
                    f"{now.malformed:,} line{'s' * (now.malformed > 1)} of {_RESULT} left out: no report with a step."
                )
                yield Problem(source.relative, self.name, what, source.run)
            yield Cursor({str(path): end}, {"known": now, "marks": marks(file, end)})


@dataclass(slots=True)
class _Known:
    """What is known of a trial after some of its reports; replaced, never changed, once it is in a cursor."""

    reports: int = 0
    malformed: int = 0
    is_done: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    trial: str = ""


def _status(folder: Path, known: _Known) -> Status | None:
    if any((folder / name).exists() for name in _ERRORS):
        return "failed"
    if known.is_done:
        return "finished"
    for path in _newest(folder.parent):
        with suppress(OSError):
            info = os.stat(path)
            return _stated(path, info.st_size, info.st_mtime_ns).get(known.trial)
    return None


def _newest(experiment: Path) -> list[Path]:
    """Give the file that says how the trials of an experiment stand; one that was resumed has several, named after times."""
    try:
        name = _newest_name(experiment, os.stat(experiment).st_mtime_ns)
    except OSError:
        return []
    return [experiment / name] if name else []


@lru_cache(64)
def _newest_name(experiment: Path, _changed: int) -> str:
    """Look once for all trials of an experiment, until files come or go."""
    return max((name for name in os.listdir(experiment) if _STATE.fullmatch(name)), default="")


@lru_cache(64)
def _stated(path: Path, size: int, _changed: int) -> Mapping[str, Status]:
    """Give how each trial stands, by its number; read once for all trials of an experiment, until it changes."""
    if size > _MOST_CONFIG_BYTES:
        return {}
    try:
        document = json_document(path)
    except (OSError, ReadError):
        return {}
    trials = document.get("trial_data", document.get("checkpoints")) if isinstance(document, dict) else None
    found: dict[str, Status] = {}
    for entry in trials if isinstance(trials, list) else []:
        # A trial is JSON as text in a list with more of it; before Ray 2.3 it stood there by itself, or as an object.
        trial = entry[0] if isinstance(entry, list) and entry else entry
        trial = _parsed(trial.encode()) if isinstance(trial, str) else trial
        if isinstance(trial, dict) and (status := _STATUS.get(str(trial.get("status")))) is not None:
            found[str(trial.get("trial_id"))] = status
    return found


def _config(folder: Path) -> dict[str, Any]:
    try:
        value = json_document(folder / _PARAMS, _MOST_CONFIG_BYTES)
    except (OSError, ReadError):
        return {}
    return flattened(value) if isinstance(value, dict) else {}


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return as_python_writes(line)  # NaN and Infinity, which are not JSON
    except (ValueError, RecursionError):
        return None


def _pieces(run: str, data: bytes, known: _Known) -> Iterator[Event]:
    steps: list[float] = []
    times: list[float] = []
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for line in data.splitlines():
        if not line.strip():
            continue
        report = _parsed(line)
        step = report.get(_STEP) if isinstance(report, dict) else None
        if not is_number(step):
            known.malformed += 1
            continue
        known.reports += 1
        known.is_done = report.get("done") is True
        known.trial = str(report.get("trial_id") or known.trial)
        if isinstance(report.get("config"), Mapping) and "config" not in known.about:
            known.about["config"] = flattened(report["config"])
        for tag, value in numbers_of({key: one for key, one in report.items() if key not in _NO_METRICS}).items():
            places, values = columns.setdefault(tag, ([], []))
            places.append(len(steps))
            values.append(value)
        steps.append(step)
        time = wall_time(report.get("timestamp"))
        times.append(np.nan if time is None else time)
    if steps:
        logged = {
            tag: LoggedColumn(np.array(values), None if len(places) == len(steps) else np.array(places))
            for tag, (places, values) in columns.items()
        }
        yield from curve_pieces(run, np.array(steps, dtype=np.float64), logged, np.array(times))
