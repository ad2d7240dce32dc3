"""Results and samples of the language-model evaluation harness: scores and answers of one model, or of one checkpoint of it.

Versions 0.2 and 0.3 write ``acc`` and ``acc_stderr``; from 0.4 on the name of the filter stands behind a comma
(``exact_match,strict-match``). Where a task has several filters each is a task of its own (``gsm8k/strict-match``), in
scores as in samples: each has another answer, and a key without the filter would average them. Which model it is, and which
checkpoint, is taken from what the configuration states, never from names of files.

Samples are lines (``samples_<task>_<time>.jsonl``); version 0.3 writes a list of them, ``<task>_write_out_info.json``, with the
log-likelihood of each choice as ``logit_0``, ``logit_1`` ... and its metrics as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ..deferred import deferred
from ..errors import ReadError
from ..growing_file import lines
from ..json_document import json_document, json_value
from ..logged_columns import as_number, is_number
from ..progress import Progress
from ..recognition import with_categories
from ..tables import Event, Problem, TableRows
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_BEGINS = re.compile(rb'\s*\{\s*"results"\s*:\s*\{\s*"[^"\n]+"\s*:\s*\{\s*"')
_NAME = re.compile(r"results_\d{4}-\d{2}-\d{2}T[\d.:-]+\.json")
_STEP = re.compile(r"(?:.*[-_/])?step[-_]?(\d+)(?:[-_].*)?")
_WRITTEN_OUT = re.compile(r"(.+)_write_out_info\.json")
_SAMPLES = re.compile(r"samples_(.+?)(?:_(\d{4}-\d{2}-\d{2}T[\d.:-]+))?\.jsonl")
_MOST_BYTES = 1 << 30
_MOST_SAMPLE_BYTES = 16 << 30
_MOST_CHOICES = 100
_MOST_BESIDE = 50
_LONGEST_TEXT = 2_000


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
        document = json_document(path, _MOST_BYTES)
        results = document.get("results") if isinstance(document, dict) else None
        if not isinstance(results, dict):
            raise ReadError("It has no results.")
        rows, odd = _rows(document, results)
        if not rows:
            raise ReadError("It has no score.")
        stated = _stated(document, source.relative)
        frame = pd.DataFrame(rows).assign(**{name: value for name, value in stated.items() if value is not None})
        yield TableRows(source.relative, self.name, frame, "scores")
        if odd:
            yield Problem(source.relative, self.name, f"Left out, not numbers: {', '.join(odd[:6])}.")
        yield Cursor({str(path): size})


class LmEvalSamplesReader(Reader):
    """Reads the samples of one task."""

    name = "lm-eval samples"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Know samples by the name of the file and the first key of a line."""
        known = _SAMPLES.fullmatch(entry.name) and entry.head.startswith(b'{"doc_id"')
        if not known and _WRITTEN_OUT.fullmatch(entry.name):
            known = b'"doc_id"' in entry.head and b'"prompt_0"' in entry.head
        return Match.YES if known else Match.NO

    def needed(self, path: Path) -> list[Path]:
        """Give the samples, and the results beside them, which name the model."""
        if _WRITTEN_OUT.fullmatch(path.name):
            return [path, *_documents_beside(path)]
        name = _SAMPLES.fullmatch(path.name)
        return [path, *_results_beside(path, name[2] if name else None)]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read all lines; of the documents, which can be long, only the hashes are kept.

        Raises
        ------
        ReadError
            When no line is a sample, or the file is larger than is read.
        """
        path = source.path
        size = require_regular(path)
        if size > _MOST_SAMPLE_BYTES:
            raise ReadError(
                f"It has {size / 2**30:.0f} GiB; samples of at most {_MOST_SAMPLE_BYTES >> 30} GiB are read."
            )
        samples: list[_Sample] = []
        left_out = 0
        if written := _WRITTEN_OUT.fullmatch(path.name):
            samples, left_out = _written_out(json_document(path))
            if not samples:
                raise ReadError("It has no samples.")
            frame = _frame(samples, written[1]).assign(**_stated_of(written[1], path, source.relative))
            yield TableRows(source.relative, self.name, with_categories(frame), "predictions")
            if left_out:
                what = f"{left_out:,} {'entries are' if left_out > 1 else 'entry is'} no sample and left out."
                yield Problem(source.relative, self.name, what)
            yield Cursor({str(path): size})
            return
        with open(path, "rb") as file:
            for block in lines(file, 0, size):
                for line in block.data.splitlines():
                    if line.strip():
                        sample = _sample(line)
                        left_out += sample is None
                        samples += [sample] if sample else []
                progress(block.end, size, source.relative)
        if not samples:
            raise ReadError("It has no samples.")
        name = _SAMPLES.fullmatch(path.name)
        task, time = (name[1], name[2]) if name else (path.stem, None)
        frame = _frame(samples, task).assign(**_stated_beside(path, time, source.relative))
        yield TableRows(source.relative, self.name, with_categories(frame), "predictions")
        if left_out:
            what = f"{left_out:,} line{'s are' if left_out > 1 else ' is'} no sample and left out."
            yield Problem(source.relative, self.name, what)
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
        filters = {str(name).partition(",")[2] for name in scores if "," in str(name) and "_stderr," not in str(name)}
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
                "task": f"{task}/{filtered}" if filtered and len(filters) > 1 else str(task),
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


# -- samples ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sample:
    """What is kept of a line: the columns of its row, and of the choices, where there are any, their probabilities,
    log-likelihoods and lengths in characters (None where the texts are not there).
    """

    row: dict[str, Any]
    probabilities: np.ndarray | None
    likelihoods: np.ndarray | None = None
    lengths: list[int] | None = None


def _sample(line: bytes) -> _Sample | None:
    try:
        record = json_value(line)  # with NaN and Infinity, as Python writes them
    except ReadError:
        return None
    if not isinstance(record, dict) or "doc_id" not in record:
        return None
    row: dict[str, Any] = {"item": str(record["doc_id"])}
    for name in ("doc_hash", "target_hash", "filter"):
        if isinstance(record.get(name), str):
            row[name] = record[name]
    target, given = record.get("target"), record.get("filtered_resps")
    likelihoods = _likelihoods(given)
    probabilities = None
    if likelihoods is not None and len(likelihoods) > 1:
        odds = np.exp(likelihoods - likelihoods.max())
        probabilities = odds / odds.sum()
        best = int(np.argmax(probabilities))
        row |= {
            "label": _chosen(target, record.get("arguments"), len(likelihoods)),
            "prediction": str(best),
            "confidence": float(probabilities[best]),
        }
    else:
        row["label"] = _cut(target)
        if likelihoods is not None:
            row["logprob"] = float(likelihoods[0])
        else:
            row["prediction"] = _cut(next(iter(given), None) if isinstance(given, list) else given)
    names = record.get("metrics")
    metrics = names if isinstance(names, list) else ["acc", "acc_norm", "exact_match"]
    values = {name: float(record[name]) for name in map(str, metrics) if isinstance(record.get(name), int | float)}
    row["correct"] = next(
        (values[name] for name in ("acc", "exact_match", *values) if _is_share(values.get(name))), None
    )
    row |= {name: value for name, value in values.items() if name not in row}
    if probabilities is None or likelihoods is None:
        return _Sample(row, None)
    texts = _continuations(record.get("arguments"), len(likelihoods))
    return _Sample(row, probabilities, likelihoods, [len(text) for text in texts] if all(texts) else None)


def _written_out(document: Any) -> tuple[list[_Sample], int]:
    """Give the samples that version 0.3 wrote out, and the number of entries that are none."""
    entries = list(document.values()) if isinstance(document, dict) else document
    samples = []
    entries = entries if isinstance(entries, list) else []
    for entry in entries:
        if not isinstance(entry, dict) or "doc_id" not in entry:
            continue
        given: list[Any] = []
        while (key := f"logit_{len(given)}") in entry and len(given) < _MOST_CHOICES:
            given.append(entry[key])
        row: dict[str, Any] = {"item": str(entry["doc_id"]), "label": _cut(entry.get("truth"))}
        pairs = [one if isinstance(one, list) else [one, "False"] for one in given]
        likelihoods = _likelihoods(pairs) if all(is_number(pair[0]) for pair in pairs if pair) else None
        probabilities = None
        if likelihoods is not None and len(likelihoods) > 1:
            odds = np.exp(likelihoods - likelihoods.max())
            probabilities = odds / odds.sum()
            best = int(np.argmax(probabilities))
            row |= {"prediction": str(best), "confidence": float(probabilities[best])}
        elif given and isinstance(given[0], str):
            row["prediction"] = _cut(given[0])
        values = {
            str(name): number
            for name, value in entry.items()
            if name not in ("doc_id", "truth") and not re.fullmatch(r"(?:prompt|logit)_\d+", str(name))
            if (number := _stated_number(value)) is not None
        }
        row["correct"] = next(
            (values[name] for name in ("acc", "exact_match", "em", *values) if _is_share(values.get(name))), None
        )
        row |= {name: value for name, value in values.items() if name not in row}
        samples.append(_Sample(row, probabilities, likelihoods if probabilities is not None else None))
    return samples, len(entries) - len(samples)


def _stated_number(value: Any) -> float | None:
    """Give a metric that was written as text."""
    text = str(value)
    return float(text == "True") if text in ("True", "False") else as_number(text)


def _documents_beside(path: Path) -> list[Path]:
    return [one for one in sorted(path.parent.glob("*.json")) if not _WRITTEN_OUT.fullmatch(one.name)][:_MOST_BESIDE]


def _stated_of(task: str, path: Path, relative: str) -> dict[str, Any]:
    """Give what the results beside state that have a score for the task, if all of them state the same model."""
    stated = []
    for results in _documents_beside(path):
        try:
            document = json_document(results, _MOST_BYTES)
        except (OSError, ReadError):
            continue
        scores = document.get("results") if isinstance(document, dict) else None
        if isinstance(scores, dict) and task in scores:
            stated.append({name: value for name, value in _stated(document, relative).items() if value is not None})
    if stated and all(one == stated[0] for one in stated):
        return stated[0]
    return {"model": PurePosixPath(relative).parent.name or path.stem}


def _is_share(value: float | None) -> bool:
    return value is not None and 0 <= value <= 1


def _likelihoods(given: Any) -> np.ndarray | None:
    """Give the log-likelihood of each choice, where responses are ``[log-likelihood, is greedy]``, quoted in newer versions."""
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_CHOICES:
        return None
    found = []
    for pair in given:
        if not isinstance(pair, list) or len(pair) != 2 or str(pair[1]) not in ("True", "False"):
            return None
        value = pair[0] if is_number(pair[0]) else as_number(str(pair[0]))
        if value is None or value != value:
            return None
        found.append(float(value))
    return np.array(found) if -np.inf < max(found) < np.inf else None


def _chosen(target: Any, arguments: Any, choices: int) -> str | None:
    """Give the number of the right choice: stated as such, or as the text of one of the choices."""
    text = str(target).strip()
    if text.isdecimal() and int(text) < choices:
        return str(int(text))
    texts = _continuations(arguments, choices)
    found = [number for number, one in enumerate(texts) if one.strip() == text]
    return str(found[0]) if len(found) == 1 else _cut(target)


def _continuations(arguments: Any, choices: int) -> list[str]:
    """Give the text of every choice, as it was scored; empty where it is not there."""
    if isinstance(arguments, dict):
        given = [arguments.get(f"gen_args_{number}") for number in range(choices)]
        return [str(one.get("arg_1")) if isinstance(one, dict) else "" for one in given]
    given = arguments if isinstance(arguments, list) else []
    return [str(one[1]) if isinstance(one, list) and len(one) > 1 else "" for one in given]


def _cut(value: Any) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _frame(samples: list[_Sample], task: str) -> pd.DataFrame:
    """Give the rows of all samples. Filters are tasks of their own where there are several, as each has its own answer."""
    frame = pd.DataFrame([sample.row for sample in samples])
    filters = frame["filter"] if "filter" in frame.columns else pd.Series([""] * len(frame))
    frame["task"] = task + "/" + filters if filters.nunique() > 1 else task
    choices = {0 if sample.probabilities is None else len(sample.probabilities) for sample in samples}
    if len(choices) == 1 and 0 not in choices:
        matrix = np.array([sample.probabilities for sample in samples])
        frame = frame.assign(**{f"prob.{number}": matrix[:, number] for number in range(matrix.shape[1])})
        matrix = np.array([sample.likelihoods for sample in samples])
        frame = frame.assign(**{f"logprob.{number}": matrix[:, number] for number in range(matrix.shape[1])})
        lengths = [sample.lengths for sample in samples]
        if all(own is not None and len(own) == matrix.shape[1] for own in lengths):
            matrix = np.array(lengths, dtype=float)
            frame = frame.assign(**{f"chars.{number}": matrix[:, number] for number in range(matrix.shape[1])})
    return frame


def _results_beside(path: Path, time: str | None) -> list[Path]:
    return sorted(path.parent.glob(f"*_{time}.json")) if time else []


def _stated_beside(path: Path, time: str | None, relative: str) -> dict[str, Any]:
    """Give what the results of the same time state; without them the folder is named after the model."""
    for results in _results_beside(path, time):
        try:
            document = json_document(results)
        except (OSError, ReadError):
            continue
        if isinstance(document, dict) and isinstance(document.get("results"), dict):
            return {name: value for name, value in _stated(document, relative).items() if value is not None}
    folder = PurePosixPath(relative).parent.name
    return {"model": folder.rpartition("__")[2] or path.stem}
