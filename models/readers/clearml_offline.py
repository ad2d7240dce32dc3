"""Tasks of ClearML that were run offline: a folder with ``task.json`` and ``metrics.jsonl``.

A line of the metrics is a batch, a list of events; events of scalars name a metric and a variant, which become the tag
``metric/variant``. A value reported without an iteration is part of the configuration, as ``summary.<name>``.

The format: ``clearml/backend_interface/metrics/interface.py`` and ``clearml/task.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..configuration import plain_value
from ..errors import ReadError
from ..growing_file import continues, lines, marks
from ..json_document import json_document, json_value
from ..logged_columns import is_number, whole_steps
from ..progress import Progress
from ..tables import CurvePiece, Event, Forgotten, Problem, RunFacts
from .base import Cursor, Entry, Match, Reader, Source, require_regular

_TASK, _METRICS = "task.json", "metrics.jsonl"
_SCALAR = "training_stats_scalar"
_NO_ITERATION = -(1 << 31)
_MOST_TASK_BYTES = 64 << 20


class ClearMlReader(Reader):
    """Reads the folder of a task."""

    name = "clearml"
    looks_at_folders = True

    def match(self, entry: Entry) -> Match:
        """Know a folder by the files in it."""
        known = entry.is_folder and {_TASK, _METRICS} <= entry.children
        return Match.YES if known else Match.NO

    def watched(self, path: Path) -> list[Path]:
        """Give the files that are read."""
        return [path / _TASK, path / _METRICS]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read what describes the task, and the batches that are new."""
        try:
            about = json_document(source.path / _TASK, _MOST_TASK_BYTES)
        except (OSError, ReadError) as error:
            about = {}
            reason = error.what if isinstance(error, ReadError) else f"It cannot be read: {error.strerror}."
            yield Problem(source.relative, self.name, f"{_TASK} is left out. {reason}", source.run)
        path = source.path / _METRICS
        size = require_regular(path)
        start = cursor.read[str(path)] if cursor is not None else 0
        left_out = int(cursor.state["left_out"]) if cursor is not None else 0
        summary: dict[str, float] = {}
        with open(path, "rb") as file:
            if start and cursor is not None and not continues(file, size, start, cursor.state["marks"]):
                why = f"{_METRICS} was written anew; the run was read again."
                yield Forgotten(source.relative, self.name, why, (source.run,))
                start = left_out = 0
            end = start
            for block in lines(file, start, size):
                if not block.ended:
                    break  # still being written
                curves: dict[str, list[tuple[float, float, float]]] = {}
                left_out += _take(block.data, curves, summary)
                for tag, points in curves.items():
                    table = np.array(points)
                    yield CurvePiece(
                        source.run, whole_steps(table[:, 0]), {tag: table[:, 2].copy()}, table[:, 1] / 1000
                    )
                end = block.end
                progress(end, size, source.relative)
            config = _config(about) | {f"summary.{name}": value for name, value in summary.items()}
            name = str(about.get("name") or "") if isinstance(about, dict) else ""
            yield RunFacts(source.run, name=name, reader=self.name, source=source.relative, config=config)
            if left_out:
                what = f"{left_out:,} line{'s' * (left_out > 1)} of {_METRICS} left out: no list of events."
                yield Problem(source.relative, self.name, what, source.run)
            yield Cursor({str(path): end}, {"marks": marks(file, end), "left_out": left_out})


def _config(about: Any) -> dict[str, Any]:
    """Give the parameters by name; those of a section other than the general one carry its name."""
    sections = about.get("hyperparams") if isinstance(about, dict) else None
    config: dict[str, Any] = {}
    for section, parameters in sections.items() if isinstance(sections, dict) else ():
        before = "" if section == "General" else f"{section}."
        for name, parameter in parameters.items() if isinstance(parameters, dict) else ():
            if isinstance(parameter, dict) and parameter.get("value") is not None:
                config[before + str(name).replace("/", ".")] = plain_value(str(parameter["value"]))
    if isinstance(about, dict) and isinstance(about.get("project_name"), str):
        config["project"] = about["project_name"]
    return config


def _take(data: bytes, curves: dict[str, list[tuple[float, float, float]]], summary: dict[str, float]) -> int:
    """Add what some batches say; give the number of lines that are none."""
    left_out = 0
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            batch = json_value(line)
        except ReadError:
            batch = None
        if not isinstance(batch, list):
            left_out += 1
            continue
        for event in batch:
            if not isinstance(event, Mapping) or event.get("type") != _SCALAR:
                continue
            step, value, time = event.get("iter"), event.get("value"), event.get("timestamp")
            if not is_number(step) or not math.isfinite(step) or not is_number(value):
                continue
            if step == _NO_ITERATION:
                summary[str(event.get("variant"))] = value
                continue
            tag = "/".join(str(event[part]) for part in ("metric", "variant") if event.get(part))
            curves.setdefault(tag, []).append((step, time if is_number(time) else np.nan, value))
    return left_out
