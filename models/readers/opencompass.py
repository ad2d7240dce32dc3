"""Output folders of OpenCompass: ``outputs/<name>/<time>/`` with ``results`` and ``predictions`` by model and dataset.

A file of results is ``{metric: value}``, most of them percentages, with ``details`` of each item where they were asked for. A
file of predictions holds what was asked and answered, by number; an item is right where the details say so.

The format: ``opencompass/tasks/openicl_eval.py`` and ``docs/en/user_guides/summarizer.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..deferred import deferred
from ..errors import ReadError
from ..json_document import json_document
from ..logged_columns import is_number
from ..progress import Progress
from ..recognition import with_categories
from ..tables import Event, Problem, TableRows
from .base import Cursor, Entry, Match, Reader, Source, files_below

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_TIME = re.compile(r"\d{8}_\d{6}")
_BESIDE = frozenset({"configs", "predictions", "summary", "logs"})
_PART = re.compile(r"(.+)_\d+")
_LONGEST_TEXT = 2_000


class OpenCompassReader(Reader):
    """Reads the folder of one evaluation: scores, and predictions where they were kept."""

    name = "opencompass"
    makes_runs = False
    looks_at_folders = True

    def match(self, entry: Entry) -> Match:
        """Know a folder by its name, a time, and the folders in it."""
        known = entry.is_folder and _TIME.fullmatch(entry.name) and "results" in entry.children
        return Match.YES if known and len(entry.children & _BESIDE) >= 2 else Match.NO

    def watched(self, path: Path) -> list[Path]:
        """Give what is read: results and predictions."""
        return [file for part in ("results", "predictions") for file in files_below(path / part)]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read all files; each is written when its dataset is done."""
        folder = source.path
        results = _files(folder / "results")
        scores: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for number, ((model, dataset), path) in enumerate(results.items(), 1):
            shown = path.relative_to(folder).as_posix()
            try:
                result = _mapping(json_document(path))
                scores += [
                    {"model": model, "task": dataset, "metric": str(metric), "value": float(value)}
                    for metric, value in result.items()
                    if is_number(value)
                ]
                if "error" in result:
                    yield Problem(source.relative, self.name, f"{model} on {dataset}: {str(result['error'])[:200]}.")
                rows += _rows(model, dataset, folder, result.get("details"))
            except (OSError, ReadError) as error:
                what = error.what if isinstance(error, ReadError) else f"It cannot be read: {error.strerror}."
                yield Problem(source.relative, self.name, f"{shown} is left out. {what}")
            progress(number, len(results), shown)
        if scores:
            frame = with_categories(pd.DataFrame(scores))
            yield TableRows(f"{source.relative}/results", self.name, frame, "scores")
        else:
            yield Problem(source.relative, self.name, "It has no scores yet.")
        if rows:
            frame = with_categories(pd.DataFrame(rows))
            yield TableRows(f"{source.relative}/predictions", self.name, frame, "predictions")
        yield Cursor()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _files(folder: Path) -> dict[tuple[str, str], Path]:
    """Give the files below a folder by model and dataset."""
    return {(path.parent.name, path.stem): path for path in sorted(folder.glob("*/*.json"))}


def _rows(model: str, dataset: str, folder: Path, details: Any) -> list[dict[str, Any]]:
    """Give a row for each item that was judged or answered."""
    if isinstance(details, list):
        judged = {str(number): _mapping(one) for number, one in enumerate(details)}
    else:
        judged = {str(key): one for key, one in _mapping(details).items() if isinstance(one, dict)}
    answered = _answered(folder / "predictions" / model, dataset)
    rows = []
    for key in judged | answered:
        said, judgement = answered.get(key, {}), judged.get(key, {})
        right = judgement.get("correct", judgement.get("is_correct"))
        if isinstance(right, list):
            right = right[0] if len(right) == 1 else None
        label = next(
            (one for one in (judgement.get("answer"), judgement.get("gold"), said.get("gold")) if one is not None), None
        )
        answer = next((one for one in (judgement.get("pred"), said.get("prediction")) if one is not None), None)
        row: dict[str, Any] = {
            "model": model,
            "task": dataset,
            "item": key,
            "label": _text(label),
            "prediction": _text(answer),
        }
        row["correct"] = float(right) if isinstance(right, bool | int | float) and 0 <= right <= 1 else None
        rows.append(row)
    return rows


def _answered(folder: Path, dataset: str) -> dict[str, Mapping[str, Any]]:
    """Give the predictions on a dataset; large ones are split into files with a number, whose items go on counting."""
    whole = folder / f"{dataset}.json"
    paths = [whole] if whole.is_file() else []
    if not paths:
        parts = [path for path in folder.glob("*.json") if (part := _PART.fullmatch(path.stem)) and part[1] == dataset]
        paths = sorted(parts, key=lambda path: int(path.stem.rpartition("_")[2]))
    answered: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        before = len(answered)
        for number, one in enumerate(_mapping(json_document(path)).values()):
            answered[str(before + number)] = _mapping(one)
    return answered


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = " | ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
