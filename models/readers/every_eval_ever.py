"""Evaluations in the schema of Every Eval Ever: results of one model as JSON, and instances as JSON lines beside them.

A document holds ``model_info`` and a list of ``evaluation_results``; a line of ``<uuid>_samples.jsonl`` one answer to one item.
The name of an evaluation is the task. See the schemas of ``evaleval/every_eval_ever``; versions 0.0 to 0.2 are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..deferred import deferred
from ..errors import ReadError
from ..growing_file import lines
from ..json_document import json_document, json_value
from ..logged_columns import is_number
from ..progress import Progress
from ..recognition import with_categories
from ..tables import Event, Problem, TableRows
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_OF_ALL = (b'"schema_version"', b'"evaluation_id"')
_OF_SAMPLES = (b'"sample_id"', b'"evaluation_name"')
_LONGEST_TEXT = 2_000
_LONGEST_METRIC = 24


class EveryEvalEverReader(Reader):
    """Reads a document of results, or a file of instances."""

    name = "every eval ever"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Know the files by the keys they begin with."""
        if entry.suffix not in (".json", ".jsonl") or not all(key in entry.head for key in _OF_ALL):
            return Match.NO
        if entry.suffix == ".json":
            return Match.YES
        return Match.YES if all(key in entry.head for key in _OF_SAMPLES) else Match.NO

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the whole file.

        Raises
        ------
        ReadError
            When it is not of the schema.
        """
        path = source.path
        size = require_regular(path)
        left_out = 0
        if path.suffix.lower() == ".json":
            table, rows = "scores", _scores(json_document(path))
        else:
            table, rows = "predictions", []
            for sample in _samples(path, size, progress, source.relative):
                row = _prediction(sample) if isinstance(sample, dict) else None
                left_out += row is None
                rows += [row] if row else []
        if not rows:
            raise ReadError("It holds no result that has a score.")
        yield TableRows(source.relative, self.name, with_categories(pd.DataFrame(rows)), table)
        if left_out:
            what = f"{left_out:,} line{'s are' if left_out > 1 else ' is'} no instance and left out."
            yield Problem(source.relative, self.name, what)
        yield Cursor({str(path): size})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _scores(document: Any) -> list[dict[str, Any]]:
    about = _mapping(document)
    model = _mapping(about.get("model_info"))
    name = str(model.get("id") or model.get("name") or "unknown")
    rows = []
    results = about.get("evaluation_results")
    for result in results if isinstance(results, list) else []:
        given = _mapping(result)
        config, details = _mapping(given.get("metric_config")), _mapping(given.get("score_details"))
        data, uncertainty = _mapping(given.get("source_data")), _mapping(details.get("uncertainty"))
        if not is_number(details.get("score")):
            continue
        row: dict[str, Any] = {
            "model": name,
            "task": str(given.get("evaluation_name") or data.get("dataset_name") or "unknown"),
            "metric": _metric(config),
            "value": float(details["score"]),
            "stderr": _number(_mapping(uncertainty.get("standard_error")).get("value")),
            "n": _number(uncertainty.get("num_samples")) or _number(data.get("samples_number")),
        }
        if isinstance(config.get("lower_is_better"), bool):
            row["higher_is_better"] = not config["lower_is_better"]
        if data.get("dataset_name"):
            row["dataset"] = str(data["dataset_name"])
        interval = _mapping(details.get("confidence_interval") or uncertainty.get("confidence_interval"))
        row |= {f"ci_{end}": interval[end] for end in ("lower", "upper") if is_number(interval.get(end))}
        rows.append(row)
    return rows


def _metric(config: Mapping[str, Any]) -> str:
    """Give the name of the metric; where only a sentence describes it, that would be another one for each task."""
    for key in ("metric_name", "metric_id", "evaluation_description"):
        name = config.get(key)
        if isinstance(name, str) and 0 < len(name) <= _LONGEST_METRIC:
            return name
    return "score"


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) else None


def _samples(path: Path, size: int, progress: Progress, shown: str) -> Iterator[Any]:
    with open(path, "rb") as file:
        for block in lines(file, 0, size):
            for line in block.data.splitlines():
                if line.strip():
                    try:
                        yield json_value(line)  # with NaN and Infinity, as Python writes them
                    except ReadError:
                        yield None
            progress(block.end, size, shown)


def _prediction(sample: Mapping[str, Any]) -> dict[str, Any] | None:
    outcome = _mapping(sample.get("evaluation"))
    if "sample_id" not in sample or not outcome:
        return None
    attribution = sample.get("answer_attribution")
    attributed = [_mapping(one) for one in attribution] if isinstance(attribution, list) else [_mapping(attribution)]
    answers = [one.get("extracted_value") for one in attributed if one.get("extracted_value") is not None]
    score, right = outcome.get("score"), outcome.get("is_correct")
    correct = None
    if is_number(score) and 0 <= score <= 1:
        correct = float(score)
    elif isinstance(right, bool):
        correct = float(right)
    row = {
        "model": str(sample.get("model_id") or "unknown"),
        "task": str(sample.get("evaluation_name") or "unknown"),
        "item": str(sample["sample_id"]),
        "label": _text(_mapping(sample.get("input")).get("reference")),
        "prediction": _text(answers[-1]) if answers else None,
        "correct": correct,
        "score": _number(score),
    }
    if isinstance(sample.get("sample_hash"), str):
        row["sample_hash"] = sample["sample_hash"]
    return row


def _text(value: Any) -> str | None:
    if value in (None, "", []):
        return None
    text = " | ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
