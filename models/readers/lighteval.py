"""Results and details of lighteval: scores by task, and a table with the documents, the answers and their metrics.

Results are ``results/<model>/results_<time>.json``, tasks are named ``suite|task|shots`` there. Details are
``details/<model>/<time>/details_<task>_<time>.parquet`` with the structs ``__doc__``, ``__model_response__`` and
``__metric__``. Where an answer is the likeliest of several choices, its softmax over them is the confidence.

The format: ``docs/source/saving-and-reading-results.mdx`` of lighteval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ..deferred import deferred
from ..errors import ReadError
from ..json_document import json_document
from ..logged_columns import is_number
from ..progress import Progress
from ..recognition import with_categories
from ..tables import Event, TableRows
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_BEGINS = re.compile(rb'\s*\{\s*"config_general"\s*:\s*\{')
_DETAILS = re.compile(r"details_(.+)_\d{4}-\d\d-\d\dT[\d.:-]+\.parquet")
_COLUMNS = ("__doc__", "__model_response__", "__metric__")
_MOST_BYTES = 4 << 30
_LONGEST_TEXT = 2_000
_RIGHT = ("acc", "exact_match", "em", "extractive_match", "loglikelihood_acc")


class LightevalReader(Reader):
    """Reads a file of results or of details."""

    name = "lighteval"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Know results by what they begin with, and details by their name."""
        if entry.suffix == ".json":
            return Match.YES if _BEGINS.match(entry.head) else Match.NO
        return Match.YES if _DETAILS.fullmatch(entry.name) and entry.head.startswith(b"PAR1") else Match.NO

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the whole file.

        Raises
        ------
        ReadError
            When it holds no scores, or no details.
        """
        path = source.path
        size = require_regular(path)
        progress(0, size, source.relative)
        if path.suffix.lower() == ".json":
            table, frame = "scores", pd.DataFrame(_scores(json_document(path)))
        else:
            table, frame = "predictions", _details(path, size, source.relative)
        if frame.empty:
            raise ReadError("It holds no scores.")
        yield TableRows(source.relative, self.name, with_categories(frame), table)
        progress(size, size, source.relative)
        yield Cursor({str(path): size})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _task(name: str) -> tuple[str, float | None]:
    """Give task and shots of ``suite|task|shots``; newer versions leave out the suite."""
    parts = name.split("|")
    shots = next((float(part) for part in parts[1:] if part.isdecimal()), None)
    names = [part for number, part in enumerate(parts) if not (number and part.isdecimal())]
    return names[-1], shots


def _scores(document: Any) -> list[dict[str, Any]]:
    about = _mapping(document)
    general = _mapping(about.get("config_general"))
    model = general.get("model_name") or _mapping(general.get("model_config")).get("model_name") or "unknown"
    tasks = {_task(str(name))[0]: _mapping(one) for name, one in _mapping(about.get("config_tasks")).items()}
    rows = []
    for name, scores in _mapping(about.get("results")).items():
        if name == "all":
            continue  # the mean over tasks
        task, shots = _task(str(name))
        config = tasks.get(task, {})
        better = _directions(config)
        for metric, value in _mapping(scores).items():
            if not is_number(value) or metric.endswith("_stderr"):
                continue
            error = _mapping(scores).get(f"{metric}_stderr")
            row: dict[str, Any] = {"model": str(model), "task": task, "metric": metric, "value": float(value)}
            row["stderr"] = float(error) if is_number(error) else None
            docs = config.get("effective_num_docs")
            row["n"] = docs if is_number(docs) and docs > 0 else None
            row["fewshot"] = shots
            if metric in better:
                row["higher_is_better"] = better[metric]
            rows.append(row)
    return rows


def _directions(config: Mapping[str, Any]) -> dict[str, bool]:
    given = config.get("metric") or config.get("metrics")
    metrics = [_mapping(one) for one in given] if isinstance(given, list) else []
    return {
        str(one["metric_name"]): one["higher_is_better"]
        for one in metrics
        if "metric_name" in one and isinstance(one.get("higher_is_better"), bool)
    }


def _details(path: Path, size: int, relative: str) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import parquet

    if size > _MOST_BYTES:
        raise ReadError(f"It has {size / 2**30:.0f} GiB; details of at most {_MOST_BYTES >> 30} GiB are read.")
    try:
        file = parquet.ParquetFile(path)
        if not set(_COLUMNS) <= set(file.schema_arrow.names):
            raise ReadError("It has none of the columns __doc__, __model_response__ and __metric__.")
        rows: list[dict[str, Any]] = []
        for batch in file.iter_batches(columns=list(_COLUMNS)):
            batch.validate(full=True)
            for one in batch.to_pylist():
                doc, response, metrics = (_mapping(one[name]) for name in _COLUMNS)
                rows.append(_detail(doc, response, metrics, len(rows)))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ReadError(f"It is no whole Parquet file: {error}.") from None
    name = _DETAILS.fullmatch(path.name)
    task, shots = _task(name[1] if name else path.stem)
    folders = PurePosixPath(relative).parts[:-2]
    if "details" in folders:
        folders = folders[folders.index("details") + 1 :]
    return pd.DataFrame(rows).assign(model="/".join(folders) or "unknown", task=task, fewshot=shots)


def _detail(
    doc: Mapping[str, Any], response: Mapping[str, Any], metrics: Mapping[str, Any], number: int
) -> dict[str, Any]:
    choices, gold = doc.get("choices"), doc.get("gold_index")
    choices = choices if isinstance(choices, list) else []
    right = [
        one
        for one in (gold if isinstance(gold, list) else [gold])
        if isinstance(one, int) and not isinstance(one, bool)
    ]
    values = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    names = [name for name in (*_RIGHT, *values) if 0 <= values.get(name, -1) <= 1]
    item = doc.get("id")
    row: dict[str, Any] = {"item": str(number if item in (None, "") else item)}
    likelihoods = response.get("logprobs")
    if isinstance(likelihoods, list) and len(likelihoods) == len(choices) > 1 and all(map(is_number, likelihoods)):
        logs = np.array(likelihoods, dtype=np.float64)
        odds = np.exp(logs - logs.max())
        best = int(np.argmax(logs))
        row |= {"label": str(right[0]) if right else None, "prediction": str(best)}
        row["confidence"] = float(odds[best] / odds.sum())
    else:
        texts = [choices[one] for one in right if 0 <= one < len(choices)]
        said = response.get("text")
        row["label"] = _cut(" | ".join(map(str, texts))) if texts else None
        row["prediction"] = _cut(str(said[0])) if isinstance(said, list) and said else None
    row["correct"] = values[names[0]] if names else None
    return row | {name: value for name, value in values.items() if name not in row}


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
