"""Logs of Inspect, the evaluation framework of the UK AI Security Institute: ``.eval`` archives and ``.json`` documents.

An archive holds the scores in ``header.json`` and one summary of each sample in ``summaries.json``: enough for the tables, so
that the samples, which can be very large, are not opened. While an evaluation runs there is neither: then
``_journal/start.json`` says what is evaluated and ``_journal/summaries/*.json`` what is done. Entries are deflated or, from
version 0.3.206 on, compressed with Zstandard (method 93 of ZIP), in one frame or several.

Where a sample is scored by several scorers, or a score has several parts, each is a task of its own, ``task/scorer``.

The format: ``inspect_ai/log/_recorders/eval.py`` and ``inspect_ai/log/_log.py``.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..configuration import flattened
from ..deferred import deferred
from ..errors import ReadError
from ..json_document import MOST_BYTES, json_document, json_value, objects
from ..logged_columns import as_number
from ..progress import Progress
from ..recognition import with_categories
from ..tables import Event, Problem, TableRows
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
else:
    pd = deferred("pandas")
    pa = deferred("pyarrow")

_ZSTANDARD = 93
_LOCAL_HEADER = 30
_SURELY_BYTES = 64 << 20
_MOST_TIMES = 200
"""How much smaller packed summaries can be: those of real evaluations become 5 to 40 times smaller."""
_BEGINS = re.compile(rb'\s*\{.*?"eval"\s*:\s*\{', re.DOTALL)
_OF_EVAL = (b'"task_id"', b'"eval_id"', b'"run_id"')
_LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""What the letters of Inspect's scorers count: correct, incorrect, partially correct, no answer (`value_to_float`)."""

_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_SPREADS = frozenset({"stderr", "bootstrap_stderr", "std", "var"})
_ERRORS = ("stderr", "bootstrap_stderr")
_CONFIG = ("task_args", "model_args", "model_generate_config", "task_version")


class InspectReader(Reader):
    """Reads the log of one evaluation: its scores, and a prediction for each sample."""

    name = "inspect"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Know archives by their ending and signature, documents by how they begin."""
        if entry.is_folder:
            return Match.NO
        if entry.suffix == ".eval":
            return Match.YES if entry.head.startswith(b"PK") else Match.NO
        if entry.suffix != ".json" or not _BEGINS.match(entry.head):
            return Match.NO
        return Match.YES if any(key in entry.head for key in _OF_EVAL) else Match.NO

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the whole log; it is written anew when it grows.

        Raises
        ------
        ReadError
            When it is no log, is damaged, or larger than is read.
        """
        path = source.path
        size = require_regular(path)
        progress(0, size, source.relative)
        log, samples = _archive(path) if path.suffix.lower() == ".eval" else _document(path)
        about = log.get("eval")
        if not isinstance(about, dict):
            raise ReadError("It does not say what was evaluated: it has no 'eval'.")
        stated = _stated(about)
        results = log.get("results")
        scores = _scores(results if isinstance(results, dict) else {})
        if scores:
            frame = pd.DataFrame(scores).assign(**stated)
            yield TableRows(source.relative, self.name, with_categories(frame), "scores")
        rows = _predictions(samples, stated["task"])
        if rows:
            same = {name: stated[name] for name in ("model", "seed", "dataset", "created") if name in stated}
            frame = pd.DataFrame(rows).assign(**same)
            yield TableRows(f"{source.relative}/samples", self.name, with_categories(frame), "predictions")
        status = str(log.get("status") or "")
        if status in ("started", "cancelled", "error"):
            yield Problem(source.relative, self.name, _unfinished(log, status, len(samples)))
        elif not scores and not rows:
            yield Problem(source.relative, self.name, "It has no scores.")
        elif unscored := sum(1 for sample in samples if not _scores_of(sample)):
            what = f"{unscored:,} of {len(samples):,} samples have no score and are left out of the predictions."
            yield Problem(source.relative, self.name, what)
        progress(size, size, source.relative)
        yield Cursor({str(path): size})


def _unfinished(log: Mapping[str, Any], status: str, samples: int) -> str:
    done = f"{samples} sample{'s' * (samples != 1)} of it {'were' if samples != 1 else 'was'} read"
    if status == "started":
        return f"The evaluation is not finished: {done}."
    error = log.get("error")
    message = str(error.get("message") or "") if isinstance(error, dict) else ""
    ended = "was cancelled" if status == "cancelled" else "failed"
    return f"The evaluation {ended}{f' ({message[:200]})' if message else ''}; {done}."


# -- documents and archives ---------------------------------------------------------------------------------------------


def _document(path: Path) -> tuple[Mapping[str, Any], Sequence[Any]]:
    log = json_document(path)
    if not isinstance(log, dict):
        raise ReadError("It is no log of an evaluation.")
    samples = log.get("samples")
    return log, samples if isinstance(samples, list) else []


def _archive(path: Path) -> tuple[Mapping[str, Any], Sequence[Any]]:
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            # Names can come twice where a summary was written again: the last counts.
            entries = {entry.filename: entry for entry in archive.infolist()}
            wanted = _summaries(entries)
            head = next((name for name in ("header.json", "_journal/start.json") if name in entries), None)
            if head is None:
                raise ReadError("It has neither header.json nor _journal/start.json: it is no log of Inspect.")
            total = sum(entries[name].file_size for name in (head, *wanted))
            if total > MOST_BYTES:
                raise ReadError(f"Its summaries have {total >> 20:,} MiB; at most {MOST_BYTES >> 20:,} MiB are read.")
            packed = sum(entries[name].compress_size for name in (head, *wanted))
            if total > _SURELY_BYTES and total > _MOST_TIMES * packed:
                raise ReadError(
                    f"Its summaries have {total >> 20:,} MiB, more than {_MOST_TIMES} times its packed size: no log has."
                )
            log = json_value(_content(file, entries[head]))
            if not isinstance(log, dict):
                raise ReadError(f"Its {head} is no object.")
            if head != "header.json":
                log = {**log, "status": "started"}
            samples: list[Any] = []
            for name in wanted:
                part = json_value(_content(file, entries[name]))
                samples += part if isinstance(part, list) else [part]
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise ReadError(f"It is no whole archive, or still being written: {error}.") from None
    return log, samples


def _summaries(entries: Mapping[str, zipfile.ZipInfo]) -> list[str]:
    """Give the entries that tell of all samples: the summaries, or the samples themselves where there are none."""
    if "summaries.json" in entries:
        return ["summaries.json"]
    for pattern in (r"_journal/summaries/\d+\.json", r"samples/[^/]+\.json|samples/[^/]+/sample\.json"):
        found = sorted((name for name in entries if re.fullmatch(pattern, name)), key=lambda name: (len(name), name))
        if found:
            return found
    return []


def _content(file: BinaryIO, entry: zipfile.ZipInfo) -> bytes:
    """Give an entry of an archive, decompressed; never more of it than it says it has.

    Raises
    ------
    ReadError
        When it is damaged, encrypted or compressed in a way that is not read.
    """
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04") or entry.flag_bits & 1:
        raise ReadError(f"Its entry {entry.filename} is damaged.")
    name, extra = struct.unpack_from("<HH", header, 26)
    file.seek(name + extra, 1)
    packed = file.read(entry.compress_size)
    try:
        if entry.compress_type == zipfile.ZIP_STORED:
            data = packed[: entry.file_size]
        elif entry.compress_type == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-15).decompress(packed, entry.file_size or 1)
        elif entry.compress_type == _ZSTANDARD:
            data = pa.CompressedInputStream(pa.BufferReader(packed), "zstd").read(entry.file_size)
        else:
            raise ReadError(f"Its entry {entry.filename} is compressed by method {entry.compress_type}.")
    except (OSError, zlib.error) as error:
        raise ReadError(f"Its entry {entry.filename} is damaged: {error}.") from None
    if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
        raise ReadError(f"Its entry {entry.filename} is damaged: its checksum is wrong.")
    return data


# -- what they say ------------------------------------------------------------------------------------------------------


def _stated(about: Mapping[str, Any]) -> dict[str, Any]:
    """Give what is the same for all rows: model, task, shots, seed and the settings."""
    settings = flattened({name: about[name] for name in _CONFIG if about.get(name) not in (None, {}, [])})
    stated: dict[str, Any] = {
        "model": str(about.get("model") or "unknown"),
        "task": str(about.get("task") or about.get("task_display_name") or "unknown"),
    }
    if (created := about.get("created")) is not None:
        stated["created"] = str(created)
    if (seed := settings.pop("model_generate_config.seed", None)) is not None:
        stated["seed"] = seed
    shots = settings.get("task_args.fewshot")
    if isinstance(shots, int | float) and not isinstance(shots, bool):
        stated["fewshot"] = shots
    dataset = about.get("dataset")
    if isinstance(dataset, dict) and dataset.get("name"):
        stated["dataset"] = str(dataset["name"])
    return stated | {f"config.{name}": value for name, value in settings.items() if value is not None}


def _scores(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give a row for each metric of each scorer; its standard error, where it was computed, stands beside it."""
    given = objects(results.get("scores"))
    scorers = {str(score.get("name")) for score in given}
    rows = []
    for score in given:
        name, reducer = str(score.get("name")), score.get("reducer")
        metrics = score.get("metrics")
        metrics = metrics if isinstance(metrics, dict) else {}
        values = {key: _number(one.get("value")) for key, one in metrics.items() if isinstance(one, dict)}
        error = next((values[key] for key in _ERRORS if values.get(key) is not None), None)
        shared = sum(1 for other in given if str(other.get("name")) == name) > 1
        before = [name] * (len(scorers) > 1) + [str(reducer)] * shared
        for metric, value in values.items():
            if value is None or metric in _SPREADS:
                continue
            row = {"metric": "/".join([*before, metric]), "value": value, "scorer": name}
            if metric in ("accuracy", "mean"):
                row["stderr"] = error
            row["n"] = score.get("scored_samples") or results.get("completed_samples")
            if metric == "accuracy":
                row["higher_is_better"] = True
            if reducer:
                row["reducer"] = str(reducer)
            rows.append(row)
    return rows


def _predictions(samples: Sequence[Any], task: str) -> list[dict[str, Any]]:
    """Give a row for each scored sample and scorer."""
    rows: list[dict[str, Any]] = []
    for sample in samples:
        scores = _scores_of(sample)
        for scorer, score in scores.items():
            value = score.get("value")
            for part, one in value.items() if isinstance(value, dict) else [("", value)]:
                number = _value(one)
                rows.append(
                    {
                        "item": str(sample.get("id")),
                        "sample": str(sample.get("epoch", 1)),
                        "label": _text(sample.get("target")),
                        "prediction": _text(score.get("answer")),
                        "correct": number if number is not None and 0 <= number <= 1 else None,
                        "score": number,
                        "scorer": "/".join(filter(None, (scorer, str(part)))),
                    }
                )
    several = len({row["scorer"] for row in rows}) > 1
    return [row | {"task": f"{task}/{row['scorer']}" if several else task} for row in rows]


def _scores_of(sample: Any) -> dict[str, Mapping[str, Any]]:
    """Give the scores of a sample by scorer; the first version of the format had one score without a name."""
    if not isinstance(sample, dict):
        return {}
    scores = sample.get("scores")
    if not isinstance(scores, dict):
        scores = {"": sample.get("score")}
    return {str(scorer): score for scorer, score in scores.items() if isinstance(score, dict)}


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return " | ".join(map(str, value))
    return str(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _value(value: Any) -> float | None:
    """Give what a score counts, as Inspect's own `value_to_float` does; None where it is no number."""
    if isinstance(value, str):
        if value in _LETTERS:
            return _LETTERS[value]
        number = as_number(value)
        return number if number is not None else _WORDS.get(value.lower())
    return _number(value)
