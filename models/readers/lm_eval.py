"""Results of the language-model evaluation harness: one JSON document of scores for one model, or for one checkpoint of it.

Versions 0.2 and 0.3 write ``acc`` and ``acc_stderr``; from 0.4 on the name of the filter stands behind a comma
(``exact_match,strict-match``). Which model it is, and which checkpoint, is taken from what the configuration states, never
from names of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import orjson
import pandas as pd

from ..errors import ReadError
from ..progress import Progress
from ..tables import Event, Problem, TableRows
from .base import Cursor, Entry, Match, Reader, Source, require_regular

_BEGINS = re.compile(rb'\s*\{\s*"results"\s*:\s*\{\s*"[^"\n]+"\s*:\s*\{\s*"')
_NAME = re.compile(r"results_\d{4}-\d{2}-\d{2}T[\d.:-]+\.json")
_STEP = re.compile(r"(?:.*[-_/])?step[-_]?(\d+)(?:[-_].*)?")
_MOST_BYTES = 1 << 30


class LmEvalReader(Reader):
    """Reads a results file of the harness."""

    name = "lm-eval"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Look for a JSON document that begins with results by task."""
        if entry.suffix != ".json" or not _BEGINS.match(entry.head):
            return Match.NO
        return Match.YES if _NAME.fullmatch(entry.name) or b"_stderr" in entry.head else Match.MAYBE

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the whole document.

        Raises
        ------
        ReadError
            When it is no JSON, or holds no score.
        """
        path = source.path
        size = require_regular(path)
        if size > _MOST_BYTES:
            raise ReadError(f"It has {size / 2**30:.1f} GiB; results of at most {_MOST_BYTES >> 30} GiB are read.")
        try:
            document = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise ReadError(f"It is not a whole JSON document: {error}.") from error
        results = document.get("results") if isinstance(document, dict) else None
        if not isinstance(results, dict):
            raise ReadError("It has no results.")
        rows, odd = _rows(document, results)
        if not rows:
            raise ReadError("It has no score.")
        stated = _stated(document, source.relative)
        frame = pd.DataFrame(rows).assign(**{name: value for name, value in stated.items() if value is not None})
        for column in ("version", "task_version", "filter"):
            if column in frame.columns and frame[column].isna().all():
                frame = frame.drop(columns=column)
        yield TableRows(source.relative, self.name, frame, "scores")
        if odd:
            yield Problem(source.relative, self.name, f"Left out, not numbers: {', '.join(odd[:6])}.")
        yield Cursor({str(path): size})


def _rows(document: Mapping[str, Any], results: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Give a row for each score, and the names of those that are no numbers."""
    rows: list[dict[str, Any]] = []
    odd: list[str] = []
    for task, scores in results.items():
        if not isinstance(scores, dict):
            continue
        better = _of(document, "higher_is_better", task)
        counted = _of(document, "n-samples", task)
        for name, value in scores.items():
            metric, _, filtered = str(name).partition(",")
            if name in ("alias", "samples") or metric.endswith("_stderr"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                # Groups of tasks have a blank where a metric was not averaged.
                if str(value).strip() not in ("", "N/A"):
                    odd.append(f"{task} {name}")
                continue
            error = scores.get(f"{metric}_stderr" + (f",{filtered}" if filtered else ""))
            row: dict[str, Any] = {
                "task": str(task),
                "metric": metric,
                "value": float(value),
                "stderr": float(error) if isinstance(error, int | float) else None,
            }
            if isinstance(counted, dict):
                row["n"] = counted.get("effective", counted.get("original"))
            if isinstance(better, dict) and isinstance(better.get(metric), bool):
                row["higher_is_better"] = better[metric]
            shots = _of(document, "n-shot", task)
            if isinstance(shots, int | float):
                row["fewshot"] = shots
            edition = _of(document, "versions", task)
            if edition is not None:
                row["task_version"] = str(edition)
            if filtered and filtered != "none":
                row["filter"] = filtered
            rows.append(row)
    return rows, odd


def _of(document: Mapping[str, Any], section: str, task: str) -> Any:
    part = document.get(section)
    return part.get(task) if isinstance(part, dict) else None


def _stated(document: Mapping[str, Any], relative: str) -> dict[str, Any]:
    """Give what the configuration states of the whole file: model, version, step, shots, size, seed."""
    config = document.get("config")
    config = config if isinstance(config, dict) else {}
    arguments = _arguments(config.get("model_args"))
    name = str(
        arguments.get("pretrained") or arguments.get("path") or arguments.get("model") or arguments.get("engine") or ""
    )
    name = name or str(document.get("model_name") or "")
    if not name:
        name = str(config.get("model") or PurePosixPath(relative).parent.name or PurePosixPath(relative).stem)
    revision = str(arguments.get("revision") or config.get("model_revision") or "")
    stated: dict[str, Any] = {"model": PurePosixPath(name.rstrip("/")).name or name}
    if revision and revision != "main":
        stated["version"] = revision
        if step := _STEP.fullmatch(revision):
            stated["step"] = float(step[1])
    if "adapter" in {key.removesuffix("_path") for key in arguments} or arguments.get("peft"):
        adapter = str(arguments.get("peft") or arguments.get("adapter") or arguments.get("adapter_path"))
        stated["model"] += f"+{PurePosixPath(adapter).name}"
    shots = config.get("num_fewshot")
    if isinstance(shots, int | float) and not isinstance(document.get("n-shot"), dict):
        stated["fewshot"] = shots
    size = config.get("model_num_parameters")
    if isinstance(size, int | float) and not isinstance(size, bool) and size > 0:
        stated["params"] = size
    if config.get("limit") not in (None, 0, False):
        stated["limit"] = str(config["limit"])
    return stated


def _arguments(text: Any) -> dict[str, Any]:
    """Give ``pretrained=a/b,revision=step3`` as a mapping; newer versions write one."""
    if isinstance(text, dict):
        return text
    pairs = (part.partition("=") for part in str(text or "").split(","))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}
