"""Runs that Sacred's `FileStorageObserver` stored: a folder with ``run.json``, ``config.json`` and ``metrics.json``.

Metrics are one JSON document, ``{name: {"steps": [], "timestamps": [], "values": []}}``, written anew with every heartbeat.
Times are in UTC. See ``sacred/observers/file_storage.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..configuration import flattened
from ..errors import ReadError
from ..json_document import json_document
from ..logged_columns import is_number, wall_time, whole_steps
from ..progress import Progress
from ..tables import CurvePiece, Event, Forgotten, Problem, RunFacts, Status
from .base import Cursor, Entry, Match, Reader, Source, require_regular

_RUN, _CONFIG, _METRICS, _INFO = "run.json", "config.json", "metrics.json", "info.json"
_STATUS: dict[str, Status] = {"COMPLETED": "finished", "RUNNING": "running", "QUEUED": "running", "FAILED": "failed"}
_STATUS |= {"INTERRUPTED": "failed", "TIMEOUT": "failed", "DIED": "failed"}


class SacredReader(Reader):
    """Reads the folder of a run."""

    name = "sacred"
    looks_at_folders = True

    def match(self, entry: Entry) -> Match:
        """Know a folder by the files in it."""
        known = entry.is_folder and {_RUN, _CONFIG, "cout.txt"} <= entry.children
        return Match.YES if known else Match.NO

    def watched(self, path: Path) -> list[Path]:
        """Give the files that are read."""
        return [path / name for name in (_RUN, _CONFIG, _METRICS, _INFO)]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read all files, the metrics only if they changed.

        Raises
        ------
        ReadError
            When ``run.json`` cannot be read.
        """
        folder = source.path
        about = _mapping(json_document(folder / _RUN))
        problems = []
        parts: dict[str, Mapping[str, Any]] = {}
        for name in (_CONFIG, _INFO):
            try:
                parts[name] = _mapping(json_document(folder / name))
            except FileNotFoundError:
                continue
            except (OSError, ReadError) as error:
                problems.append(f"{name} is left out. {_reason(error)}")
        yield _facts(source, self.name, about, parts)
        progress(1, 2, _RUN)
        metrics = folder / _METRICS
        size, digest = 0, ""
        try:
            size = require_regular(metrics)
            digest = hashlib.sha256(metrics.read_bytes()).hexdigest()
            if cursor is None or cursor.state["sha256"] != digest:
                curves = list(_curves(source.run, _mapping(json_document(metrics))))
                if cursor is not None:
                    yield Forgotten(source.relative, self.name, "", (source.run,))
                yield from curves
        except FileNotFoundError:
            pass  # written with the first heartbeat that has metrics
        except (OSError, ReadError) as error:
            problems.append(f"{_METRICS} is left out. {_reason(error)}")
        progress(2, 2, _METRICS)
        for what in problems:
            yield Problem(source.relative, self.name, what, source.run)
        yield Cursor({str(metrics): size}, {"sha256": digest})


def _reason(error: Exception) -> str:
    return error.what if isinstance(error, ReadError) else f"It cannot be read: {error}."


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ReadError("It is no object.")
    return value


def _facts(source: Source, reader: str, about: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> RunFacts:
    config = flattened(parts.get(_CONFIG, {}))
    config |= {f"info.{key}": value for key, value in flattened(parts.get(_INFO, {})).items() if is_number(value)}
    experiment = about.get("experiment")
    name = str(experiment.get("name") or "") if isinstance(experiment, dict) else ""
    if name:
        config["experiment"] = name
    if is_number(about.get("result")):
        config["result"] = about["result"]
    times = {new: wall_time(about.get(own)) for new, own in (("started", "start_time"), ("ended", "stop_time"))}
    return RunFacts(
        source.run,
        name=f"{name} {source.path.name}".strip(),
        reader=reader,
        source=source.relative,
        status=_STATUS.get(str(about.get("status")).partition("_")[0]),
        config=config,
        facts={key: value for key, value in times.items() if value is not None},
    )


def _curves(run: str, metrics: Mapping[str, Any]) -> Iterator[CurvePiece]:
    for tag, logged in metrics.items():
        given = logged if isinstance(logged, dict) else {}
        steps, values, times = (given.get(key) for key in ("steps", "values", "timestamps"))
        if not isinstance(steps, list) or not isinstance(values, list) or len(steps) != len(values):
            raise ReadError(f"Metric {tag!r} does not have as many steps as values.")
        kept = [
            n for n, (step, value) in enumerate(zip(steps, values, strict=True)) if is_number(step) and is_number(value)
        ]
        if not kept:
            continue
        wall = None
        if isinstance(times, list) and len(times) == len(steps):
            at = [wall_time(times[n]) for n in kept]
            wall = np.array([np.nan if time is None else time for time in at])
        step = whole_steps(np.array([float(steps[n]) for n in kept]))
        yield CurvePiece(run, step, {str(tag): np.array([float(values[n]) for n in kept])}, wall)
