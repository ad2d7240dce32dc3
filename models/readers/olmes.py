"""Evaluations of OLMES, the framework of OLMo and DataDecide: metrics and predictions of each task.

``task-NNN-<task>-metrics.json`` holds the scores of a task and the settings of the model; a line of
``task-NNN-<task>-predictions.jsonl`` how the choices of one document were scored, normalised in several ways. The answer is the
likeliest choice without normalisation (``acc_raw``), its softmax over the choices the confidence; the others are columns.

The format: ``oe_eval/run_eval.py`` and ``oe_eval/metrics/metric.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ..deferred import deferred
from ..errors import ReadError
from ..growing_file import lines
from ..json_document import json_document, json_value
from ..logged_columns import is_number
from ..progress import Progress
from ..recognition import is_lower_better, with_categories
from ..tables import Event, Problem, TableRows
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_FILE = re.compile(r"(?:task-\d+-)?(.+)-(predictions\.jsonl|metrics\.json)")
_STEP = re.compile(r"(?:.*[-_/])?step[-_]?(\d+)(?:[-_].*)?")
_NO_SCORES = re.compile(r"predicted_index_.*|correct_choice|no_answer")
_RIGHT = ("acc_raw", "exact_match", "pass_at_1", "acc")
_MOST_CHOICES = 1_000
_LONGEST_TEXT = 2_000


class OlmesReader(Reader):
    """Reads the metrics or the predictions of one task."""

    name = "olmes"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Know the files by their names and first keys."""
        name = _FILE.fullmatch(entry.name)
        if name is None:
            return Match.NO
        if name[2] == "metrics.json":
            known = b'"task_name"' in entry.head and b'"model_' in entry.head
        else:
            known = b'"doc_id"' in entry.head and b'"metrics"' in entry.head and b'"native_id"' in entry.head
        return Match.YES if known else Match.NO

    def needed(self, path: Path) -> list[Path]:
        """Give the file, and the metrics beside predictions, which name the model."""
        return list(dict.fromkeys((path, _metrics_beside(path))))

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the whole file.

        Raises
        ------
        ReadError
            When it holds no scores or predictions.
        """
        path = source.path
        size = require_regular(path)
        name = _FILE.fullmatch(path.name)
        task = name[1] if name else path.stem
        if path.suffix.lower() == ".json":
            document = json_document(path)
            rows = _scores(document if isinstance(document, dict) else {}, task)
            stated = _stated(document, source.relative)
            if not rows:
                raise ReadError("It holds no scores.")
            yield TableRows(source.relative, self.name, with_categories(pd.DataFrame(rows).assign(**stated)), "scores")
        else:
            predictions, left_out = _predictions(path, size, progress, source.relative)
            if not predictions:
                raise ReadError("It holds no predictions.")
            stated = _stated_beside(path, source.relative)
            frame = pd.DataFrame(predictions).assign(task=task, **stated)
            yield TableRows(source.relative, self.name, with_categories(frame), "predictions")
            if left_out:
                what = f"{left_out:,} line{'s are' if left_out > 1 else ' is'} no prediction and left out."
                yield Problem(source.relative, self.name, what)
        yield Cursor({str(path): size})


def _stated(document: Any, relative: str) -> dict[str, Any]:
    """Give model, version and step as the settings of the model state them, else the name of the folder."""
    given = document.get("model_config") if isinstance(document, dict) else None
    config = given if isinstance(given, dict) else {}
    name = str(config.get("model") or config.get("model_path") or "")
    stated: dict[str, Any] = {
        "model": PurePosixPath(name.rstrip("/")).name or PurePosixPath(relative).parent.name or "unknown"
    }
    revision = config.get("revision")
    if isinstance(revision, str) and revision not in ("", "main"):
        stated["version"] = revision
        if step := _STEP.fullmatch(revision):
            stated["step"] = float(step[1])
    return stated


def _metrics_beside(path: Path) -> Path:
    return path.with_name(path.name.removesuffix("predictions.jsonl") + "metrics.json")


def _stated_beside(path: Path, relative: str) -> dict[str, Any]:
    try:
        return _stated(json_document(_metrics_beside(path)), relative)
    except (OSError, ReadError):
        return _stated({}, relative)


def _scores(document: Mapping[str, Any], task: str) -> list[dict[str, Any]]:
    metrics = document.get("metrics")
    config = document.get("task_config")
    shots = config.get("num_shots") if isinstance(config, dict) else None
    rows = []
    for metric, value in metrics.items() if isinstance(metrics, dict) else ():
        if not is_number(value) or _NO_SCORES.fullmatch(metric):
            continue
        row: dict[str, Any] = {"task": task, "metric": metric, "value": float(value)}
        row["n"] = document.get("num_instances") if is_number(document.get("num_instances")) else None
        if is_number(shots):
            row["fewshot"] = shots
        if metric.startswith("acc") or metric in _RIGHT:
            row["higher_is_better"] = True
        elif is_lower_better(metric) or metric.startswith("bits_per_byte"):
            row["higher_is_better"] = False
        rows.append(row)
    return rows


def _predictions(path: Path, size: int, progress: Progress, shown: str) -> tuple[list[dict[str, Any]], int]:
    rows: list[dict[str, Any]] = []
    left_out = 0
    with open(path, "rb") as file:
        for block in lines(file, 0, size):
            for line in block.data.splitlines():
                if line.strip():
                    row = _prediction(line)
                    left_out += row is None
                    rows += [row] if row else []
            progress(block.end, size, shown)
    return rows, left_out


def _prediction(line: bytes) -> dict[str, Any] | None:
    try:
        record = json_value(line)  # with NaN and Infinity, as Python writes them
    except ReadError:
        return None
    metrics = record.get("metrics") if isinstance(record, dict) else None
    if not isinstance(metrics, dict) or "doc_id" not in record:
        return None
    values = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    outputs = record.get("model_output")
    outputs = [one for one in outputs if isinstance(one, dict)] if isinstance(outputs, list) else []
    row: dict[str, Any] = {"item": str(record["doc_id"]), "native_id": str(record.get("native_id"))}
    label = metrics.get("correct_choice", record.get("label"))
    row["label"] = None if label is None else _cut(str(label))
    logits = [one.get("sum_logits") for one in outputs]
    are_numbers = 1 < len(logits) <= _MOST_CHOICES and all(map(is_number, logits))
    logs = np.array(logits if are_numbers else [np.nan], dtype=np.float64)
    if np.isfinite(logs.max()):  # NaN where one of them is
        odds = np.exp(logs - logs.max())
        best = int(np.argmax(logs))
        row |= {"prediction": str(best), "confidence": float(odds[best] / odds.sum())}
    elif outputs and isinstance(outputs[0].get("continuation"), str):
        row["prediction"] = _cut(outputs[0]["continuation"].strip())
    row["correct"] = next((values[name] for name in _RIGHT if 0 <= values.get(name, -1) <= 1), None)
    return row | {name: value for name, value in values.items() if name not in row and name not in _NOT_KEPT}


_NOT_KEPT = frozenset({"correct_choice"})


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
