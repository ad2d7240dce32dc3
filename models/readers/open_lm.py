"""Records of OpenLM models and their evaluations, as the projects on over-training and DataComp-LM publish them.

``models/NAME.json`` states how a model was trained (``hyperparameters``) and its loss on several validation sets (``results``):
one row of runs, with a column ``loss/SET`` a set. ``evals/evaluation_NAME_heavy.json`` holds accuracies by task
(``eval_metrics.icl``): rows of scores. Only the name of that file says which model it is about.

The format: ``scaling/shared.py`` of github.com/mlfoundations/scaling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..configuration import flattened
from ..deferred import deferred
from ..errors import ReadError
from ..json_document import json_document
from ..progress import Progress
from ..tables import Event, TableRows
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_EVALUATION = re.compile(r"evaluation_(.+?)(?:_(?:heavy|light|medium|low_variance))?")


class OpenLmReader(Reader):
    """Reads the record of one model, or of one evaluation."""

    name = "open_lm"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Know a record by the first of its keys."""
        if entry.suffix != ".json" or entry.is_folder:
            return Match.NO
        head = entry.head
        is_model = b'"hyperparameters"' in head and b'"dataset_name"' in head
        return Match.YES if is_model or (b'"eval_metrics"' in head and b'"icl"' in head) else Match.NO

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the whole record.

        Raises
        ------
        ReadError
            When it is neither kind of record.
        """
        size = require_regular(source.path)
        progress(0, size, source.relative)
        record = json_document(source.path)
        if not isinstance(record, Mapping):
            raise ReadError("It is no record of a model: its outermost value is no object.", source=source.relative)
        if isinstance(record.get("hyperparameters"), Mapping):
            yield TableRows(source.relative, self.name, pd.DataFrame([_run(record, source.path.stem)]), "runs")
        elif isinstance(tasks := _tasks(record), Mapping):
            rows = _scores(tasks, record, source.path.stem)
            yield TableRows(source.relative, self.name, rows, "scores")
        else:
            raise ReadError("It states neither hyperparameters nor results by task.", source=source.relative)
        yield Cursor({str(source.path): size})


def _tasks(record: Mapping[str, Any]) -> Any:
    metrics = record.get("eval_metrics")
    return metrics.get("icl") if isinstance(metrics, Mapping) else None


def _run(record: Mapping[str, Any], stem: str) -> dict[str, Any]:
    stated = {
        key: value
        for key, value in flattened(record["hyperparameters"]).items()
        if isinstance(value, str | int | float | bool)
    }
    row: dict[str, Any] = {"run": str(record.get("name") or stem), "family": record.get("dataset_name"), **stated}
    results = record.get("results")
    for result in results if isinstance(results, list) else []:
        if isinstance(result, Mapping) and isinstance(loss := result.get("loss"), int | float):
            row[f"loss/{_validation_set(result.get('val_data'))}"] = float(loss)
    return row


def _validation_set(shards: Any) -> str:
    """Name a validation set by the folder of its shards, or by the shard where the folder names a pair of languages."""
    path = PurePosixPath(str(shards[0] if isinstance(shards, list) and shards else shards))
    if re.fullmatch(r"[a-z]{2}-[a-z]{2}", path.parent.name):
        return path.stem
    return path.parent.name or path.stem


def _scores(tasks: Mapping[str, Any], record: Mapping[str, Any], stem: str) -> pd.DataFrame:
    named = _EVALUATION.fullmatch(stem)
    model = named.group(1) if named else str(record.get("model") or stem)
    known = {str(task): float(value) for task, value in tasks.items() if isinstance(value, int | float)}
    return pd.DataFrame(
        {
            "model": model,
            "task": list(known),
            "metric": "accuracy",
            "value": list(known.values()),
            "higher_is_better": 1.0,
        }
    )
