"""Training logs as JSON lines.

detectron2, mmengine, Stable-Baselines3, Ray and many scripts append one JSON object per step. Nested objects become tags with
slashes. A key that is absent, or null, says nothing about its step; NaN and Infinity, which Python writes although JSON has no
such words, are values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from ..errors import ReadError
from ..growing_file import continues, lines, marks
from ..json_document import as_python_writes
from ..logged_columns import (
    LoggedColumn,
    as_number,
    curve_pieces,
    is_config,
    is_log,
    is_number,
    part_name,
    step_name,
    wall_time,
    wall_time_name,
)
from ..progress import Progress
from ..tables import Event, Forgotten, Problem, RunFacts
from ..uniform_lines import uniform_columns
from .base import Cursor, Entry, Match, Reader, Source, require_regular

_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
_COPY = re.compile(r"\d{8}_\d{6}\.json")
_KNOWN = re.compile(
    r"(metrics|scalars|progress|result|history|log|logs|train|train_log|training_log|wandb-history)\.(jsonl|ndjson|json)"
    r"|\d{8}_\d{6}\.(log\.)?json"
)
_LONG_HEAD_BYTES = 1 << 20
_BLOCK_BYTES = 8 << 20
_FEW_BYTES = 4096
"""Bytes of lines below which it makes no difference how they are read."""

_FIRST_ROWS = 50
_DEEPEST = 16
_MOST_TAGS = 20_000
_MOST_TEXTS = 200
_LONGEST_TEXT = 200
_NUMBER_TYPES = frozenset({int, float})

_VARIES = object()


class JsonLinesReader(Reader):
    """Reads a training log of one JSON object a line."""

    name = "json lines"

    def match(self, entry: Entry) -> Match:
        """Look for objects on lines of their own, with a key that counts steps and numbers beside it."""
        if entry.suffix not in _SUFFIXES:
            return Match.NO
        if _COPY.fullmatch(entry.name) and "scalars.json" in entry.siblings:
            return Match.NO  # mmengine writes its log twice
        known = _KNOWN.fullmatch(entry.name.lower()) is not None
        head = entry.head
        if not head:
            return Match.YES if known and entry.suffix != ".json" else Match.NO
        if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            return Match.NO
        if b"\n" not in head:
            head = entry.beginning(_LONG_HEAD_BYTES)  # Ray repeats the configuration in every line
        first = head.split(b"\n")
        # A .json file of a single object is a document; one that goes on after a line is a log.
        if entry.suffix == ".json" and not known and len(first) < 3:
            return Match.NO
        whole = first[:-1] or first
        records = [record for line in whole[:_FIRST_ROWS] if isinstance(record := _parsed(line), dict)]
        if not records:
            return Match.NO
        rows = [{k: v for k, v in _flat(record).items() if is_number(v) or isinstance(v, str)} for record in records]
        names = list(dict.fromkeys(name for record in records for name in record))
        if not any(step_name(n for n, v in row.items() if is_number(v)) for row in rows):
            return Match.NO
        if not is_log(names, rows, by_name=known):
            return Match.NO
        return Match.YES if known else Match.MAYBE

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the lines that are new.

        Raises
        ------
        ReadError
            When the file is empty or no line of it is a JSON object.
        """
        path = source.path
        size = require_regular(path)
        if size == 0 and cursor is None:
            raise ReadError("The file is empty.")
        with open(path, "rb") as file:
            known = cursor.state.get("known") if cursor is not None else None
            start = cursor.read.get(str(path), 0) if cursor is not None else 0
            if known is not None and cursor is not None and not continues(file, size, start, cursor.state["marks"]):
                shrank = "The file shrank; it was read again from its start." if size < start else ""
                yield Forgotten(source.relative, self.name, shrank, (source.run,))
                known = None
            if known is None:
                known, start = _Known(), 0
                yield RunFacts(source.run, reader=self.name, source=source.relative)
            now = known.copied()
            end = start
            for block in lines(file, start, size, _BLOCK_BYTES):
                progress(block.end, size, source.relative)
                if not block.ended and not isinstance(_parsed(block.data), dict):
                    break  # still being written
                yield from _pieces(source.run, block.data, now)
                end = block.end
            if now.records == 0 and now.malformed:
                raise ReadError("None of its lines is a JSON object.")
            config = now.announced()
            if config != known.announced():
                yield RunFacts(source.run, reader=self.name, source=source.relative, config=config)
            for what in now.sentences():
                yield Problem(source.relative, self.name, what, source.run)
            yield Cursor({str(path): end}, {"known": now, "marks": marks(file, end)})


@dataclass(slots=True)
class _Known:
    """What is known of a log after some of its lines; replaced, never changed, once it is in a cursor.

    Attributes
    ----------
    step, wall, part : str or None
        Keys that count the steps, tell the time and name a part of the data; None before a line had a step.
    config : dict
        Configuration given as such.
    texts : dict
        Text by key, `_VARIES` where it was not always the same.
    """

    step: str | None = None
    wall: str | None = None
    part: str | None = None
    records: int = 0
    malformed: int = 0
    without_step: int = 0
    too_many: bool = False
    tags: set[str] = field(default_factory=set)
    config: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)

    def copied(self) -> _Known:
        return _Known(
            self.step,
            self.wall,
            self.part,
            self.records,
            self.malformed,
            self.without_step,
            self.too_many,
            set(self.tags),
            dict(self.config),
            dict(self.texts),
        )

    def announced(self) -> dict[str, Any]:
        """Give the configuration as far as it is known: what was given as such, and text that never changed."""
        if self.records < 2:
            return dict(self.config)
        texts = {key.replace("/", "."): None if text is _VARIES else text for key, text in self.texts.items()}
        return {**texts, **self.config}

    def note(self, key: str, text: str) -> None:
        """Remember a text, as long as there are few."""
        if key in self.texts:
            if self.texts[key] is not _VARIES and self.texts[key] != text:
                self.texts[key] = _VARIES
        elif len(self.texts) < _MOST_TEXTS:
            self.texts[key] = text if len(text) <= _LONGEST_TEXT else _VARIES

    def sentences(self) -> Iterator[str]:
        if self.malformed:
            yield f"{self.malformed} line{'s' * (self.malformed > 1)} left out: not a JSON object."
        if self.without_step:
            yield f"{self.without_step} line{'s' * (self.without_step > 1)} left out: no number under {self.step!r}."
        if self.too_many:
            yield f"It has more than {_MOST_TAGS} different keys; the others are left out."


# -- lines --------------------------------------------------------------------------------------------------------------


def _parsed(line: bytes) -> Any:
    """Give what a line says; None for a line that is not JSON."""
    line = line.strip().removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        # Python writes NaN and Infinity.
        return as_python_writes(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _records(data: bytes, known: _Known) -> list[dict[str, Any]]:
    """Give the objects on some lines, and count the lines that hold none."""
    written = [line for line in data.split(b"\n") if line and not line.isspace()]
    try:
        records = orjson.loads(b"[" + b",".join(written) + b"]")
        # Two broken lines may join to one object: then there are fewer objects than lines.
        if len(records) == len(written) and set(map(type, records)) <= {dict}:
            known.records += len(records)
            return records  # type: ignore[no-any-return]
    except orjson.JSONDecodeError:
        pass
    records = [record for line in written if isinstance(record := _parsed(line), dict)]
    known.records += len(records)
    known.malformed += len(written) - len(records)
    return records


def _is_nested(record: Mapping[str, Any]) -> bool:
    return dict in map(type, record.values())


def _flat(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give an object with the objects in it flattened, their keys joined by slashes."""
    if not _is_nested(record):
        return record
    flat: dict[str, Any] = {}
    _flatten(record, "", flat, _DEEPEST)
    return flat


def _flatten(record: Mapping[str, Any], before: str, flat: dict[str, Any], depth: int) -> None:
    for key, value in record.items():
        if type(value) is not dict:
            flat[before + key] = value
        elif depth:
            _flatten(value, f"{before}{key}/", flat, depth - 1)


def _as_config(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)[:_LONGEST_TEXT]


# -- curves -------------------------------------------------------------------------------------------------------------


def _pieces(run: str, data: bytes, known: _Known) -> Iterator[Event]:
    """Give the curves of some whole lines."""
    while known.step is None and len(data) > _FEW_BYTES:
        # What counts the steps is known from the first line that has one; it is read with those behind it.
        end = data.find(b"\n") + 1 or len(data)
        record = _parsed(data[:end])
        if isinstance(record, dict):
            _look_for_step(_flat(_without_config(record, known)) if _is_nested(record) else record, known)
        if known.step is None:
            yield from _pieces_of_any(run, data[:end], known)
            data = data[end:]
    columns = uniform_columns(data) if known.step is not None and len(data) > _FEW_BYTES else None
    if columns is None or known.step not in columns or len(known.tags | columns.keys()) > _MOST_TAGS:
        yield from _pieces_of_any(run, data, known)
        return
    step = columns.pop(known.step)
    known.records += len(step)
    has_step = np.isfinite(step)
    wall = None
    if known.wall is not None:
        wall = _times(columns.pop(known.wall)) if known.wall in columns else np.full(len(step), np.nan)
    known.tags |= columns.keys()
    if not has_step.all():
        known.without_step += int(len(step) - np.count_nonzero(has_step)) if columns or wall is not None else 0
        step = step[has_step]
        wall = None if wall is None else wall[has_step]
        columns = {key: values[has_step] for key, values in columns.items()}
    yield from curve_pieces(run, step, {key: LoggedColumn(values) for key, values in columns.items()}, wall)


def _times(values: np.ndarray) -> np.ndarray:
    """Give what `wall_time` gives for each number, NaN where it gives nothing."""
    seconds = np.where(values >= 1e12, values / 1000, values)
    return np.where((seconds >= 1e9) & (seconds < 4e9), seconds, np.nan)


def _pieces_of_any(run: str, data: bytes, known: _Known) -> Iterator[Event]:
    """Give the curves of lines with any keys and values."""
    rows: list[Mapping[str, Any]] = []
    for record in _records(data, known):
        flat = _flat(_without_config(record, known)) if _is_nested(record) else record
        if known.step is None:
            _look_for_step(flat, known)
            if known.step is None:
                # What comes before the first step describes the run.
                for key, value in flat.items():
                    if len(known.config) < _MOST_TEXTS:
                        known.config[key.replace("/", ".")] = _as_config(value)
                continue
        at = flat.get(known.step)
        if is_number(at) and -np.inf < at < np.inf:
            rows.append(flat)
        elif any(is_number(value) for value in flat.values()):
            known.without_step += 1
    if not rows or known.step is None:
        return
    step, _ = _numbers([row[known.step] for row in rows])
    wall = None
    if known.wall is not None:
        wall = np.array([wall_time(row.get(known.wall)) for row in rows], dtype=np.float64)
    yield from curve_pieces(run, step, _columns(rows, known), wall)


def _without_config(record: Mapping[str, Any], known: _Known) -> Mapping[str, Any]:
    """Give an object without the configuration in it, which is remembered."""
    given = [key for key, value in record.items() if type(value) is dict and is_config(key)]
    if not given:
        return record
    for key in given:
        known.config = {name.replace("/", "."): _as_config(value) for name, value in _flat(record[key]).items()}
    return {key: value for key, value in record.items() if key not in given}


def _look_for_step(flat: Mapping[str, Any], known: _Known) -> None:
    known.step = step_name(name for name, value in flat.items() if is_number(value))
    if known.step is not None:
        known.wall = wall_time_name(flat, known.step)
        known.part = part_name(flat)


def _columns(rows: Sequence[Mapping[str, Any]], known: _Known) -> dict[str, LoggedColumn]:
    """Give the metrics of some rows. Rows with the same keys are taken together, as there are few kinds of rows."""
    kinds: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(rows):
        kinds.setdefault(tuple(row), []).append(number)
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for keys, numbers in kinds.items():
        where = np.array(numbers)
        cells = list(zip(*(rows[number].values() for number in numbers), strict=True))
        parts = None
        if known.part in keys:
            parts = [cell if isinstance(cell, str) else "" for cell in cells[keys.index(known.part)]]
        for key, column in zip(keys, cells, strict=True):
            if key in (known.step, known.wall, known.part):
                continue
            values, present = _numbers(column)
            if present is None or present.any():
                for tag, mask in _tags(key, parts, present):
                    if mask is None:
                        found.setdefault(tag, []).append((where, values))
                    elif mask.any():
                        found.setdefault(tag, []).append((where[mask], values[mask]))
            elif all(isinstance(cell, str) for cell in column):
                for text in dict.fromkeys(column):
                    known.note(key, text)
    columns = {}
    for tag, given in found.items():
        if tag not in known.tags:
            if len(known.tags) >= _MOST_TAGS:
                known.too_many = True
                continue
            known.tags.add(tag)
        columns[tag] = _in_order(given, len(rows))
    return columns


def _tags(key: str, parts: Sequence[str] | None, present: np.ndarray | None) -> Iterator[tuple[str, np.ndarray | None]]:
    """Give the tags a key stands for, one for each part of the data, and which rows they have."""
    if parts is None:
        yield key, present
        return
    for part in dict.fromkeys(parts):
        mask = np.array([one == part for one in parts])
        yield (f"{part}/{key}" if part else key), mask if present is None else mask & present


def _in_order(given: list[tuple[np.ndarray, np.ndarray]], rows: int) -> LoggedColumn:
    where = np.concatenate([where for where, _ in given]) if len(given) > 1 else given[0][0]
    values = np.concatenate([values for _, values in given]) if len(given) > 1 else given[0][1]
    if len(given) > 1:
        order = np.argsort(where, kind="stable")
        where, values = where[order], values[order]
    return LoggedColumn(values, None if len(where) == rows else where)


def _numbers(cells: Sequence[Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Give the numbers among some values, and which values are numbers (None for all)."""
    if set(map(type, cells)) <= _NUMBER_TYPES:
        return np.array(cells, dtype=np.float64), None
    numbers = [_number(cell) for cell in cells]
    present = np.array([number is not None for number in numbers])
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64), present


def _number(cell: Any) -> float | None:
    if is_number(cell):
        return cell
    # Loggers that must write valid JSON spell out what it has no word for.
    if isinstance(cell, str) and len(cell) <= 9:
        number = as_number(cell)
        return number if number is not None and not np.isfinite(number) else None
    return None
