"""TensorBoard event files, as written by TensorFlow, PyTorch, tensorboardX, Keras and JAX (clu).

All event files of a folder are one run, read in name order; a training that was resumed shows as a step that goes back. Scalars
are read in both encodings (`simple_value`, and tensors of rank 0), every checksum is verified, and the settings and the outcome
that the hparams plug-in logged become the configuration and the status of the run.

A file is a chain of records, and a record is a small protobuf message. Millions of them are decoded without a Python step for
each. In a regular log the records from one tag to the next record of that tag come again and again: they are decoded once, and
all that follow and are laid out like them with it (`event_rows`). Where logs are not so regular the chain is found from the
headers, whose checksum depends on nothing but the length; then records of equal length become the rows of a matrix, one row is
decoded exactly, and all rows that have the same bytes where this one has keys and lengths are decoded with it (a compiled
kernel takes one record after the other instead). Whatever is left over is decoded exactly, one by one.

The formats: ``tensorboard/data/server/tf_record.rs``, ``tensorflow/core/util/event.proto``, ``summary.proto``, ``tensor.proto``
and ``tensorboard/plugins/hparams/plugin_data.proto``.
"""

from __future__ import annotations

import functools
import json
import os
import re
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import RawIOBase
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import google_crc32c
import numpy as np

from ..deferred import deferred
from ..errors import ReadError
from ..kernels.checksums import are_sound
from ..kernels.event_rows import (
    DAMAGED,
    FOOTER,
    HEADER,
    UNUSUAL,
    WIDEST,
    Form,
    Scalars,
    chain,
    common_steps,
    items,
    media,
    near,
    numbers,
    rows_alike,
    scalars,
    together,
    unaligned,
    unmasked,
    varints,
    wrong_sums,
)
from ..progress import Progress
from ..tables import CurvePiece, Event, Forgotten, Problem, RunFacts, Status
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

CHUNK = 1 << 23
"""Bytes read at once."""

FEW = 32
"""Number of equal records below which decoding them one by one is as fast."""

MOST_PATTERNS = 16
"""Number of ways rows may be laid out, among those that begin alike, that are remembered."""

PATIENCE = 4
"""Number of short stretches in a row after which a log is taken as irregular."""

LONGEST_ROW = 1 << 14
"""Bytes of records of different tags, one after the other, that are taken as a row that may come again."""

MOST_SHAPES = 64
"""Number of ways records of one length may be laid out before the rest is decoded one by one."""

SAME_TIME = 1e-3
"""Seconds within which tags of one step count as logged together and share their times."""

_MANY = 1000
"""Number of tags from which on they are told apart by hashes rather than one by one."""

_HEAD = 64
_MASK_DELTA = 0xA282EAD8
_NAME = re.compile(r"tfevents\.\d")
_ADDED = re.compile(r"\d{9,}(\.\d+)?")

_FIXED = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "u1", 14: "bf16", 17: "<u2"} | {
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
"""How `TensorProto.tensor_content` holds a value, by `DataType`."""

_PLACES = {4: "", 5: "<f4", 6: "<f8"}
"""Fields of a `TensorProto` that hold values of fixed width; the first (`tensor_content`) those of its data type."""

_VARINTS = frozenset({7, 10, 11, 13, 16, 17})
"""Fields of a `TensorProto` that hold values as varints."""

_SINGLE = frozenset({"<f4", "<f2", "bf16"})
"""Kinds that a 32-bit float holds exactly; curves of these are kept as float32."""

_STATUS: dict[int, Status] = {1: "finished", 2: "failed", 3: "running"}


@functools.cache
def _mixers() -> np.ndarray:
    """Give odd factors that make a hash of the words of a tag; numpy's random numbers take long to import."""
    return np.random.default_rng(0).integers(1, 1 << 63, WIDEST // 8 + 1, np.uint64) | np.uint64(1)


class TensorBoardReader(Reader):
    """Reads all event files of a folder as one run."""

    name = "tensorboard"
    gathers = True

    def __init__(self) -> None:
        self._patterns = _Patterns()
        self._tails = _Tails()

    def match(self, entry: Entry) -> Match:
        """Know event files by their name; those of the profiler hold no curves."""
        known = _NAME.search(entry.name) is not None and not entry.name.endswith(".profile-empty")
        return Match.YES if known and not entry.is_folder else Match.NO

    def run_folder(self, folder: Path, relative: str) -> str:
        """Give the folder above where `add_hparams` wrote: its files lie in a folder of their own, named after the time."""
        above = relative.rpartition("/")[0]
        if above and _ADDED.fullmatch(folder.name):
            try:
                names = os.listdir(folder.parent)
            except OSError:
                return relative
            if any(_NAME.search(name) for name in names):
                return above
        return relative

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read all records behind `cursor`; files that changed otherwise than by growing are all read again."""
        if cursor is not None and (tail := self._tails.events(source, cursor)) is not None:
            yield from tail
            return
        if cursor is not None and (why := _not_grown(source, cursor)):
            yield Forgotten(source.relative, self.name, why, (source.run,))
            cursor = None
        before = cursor or Cursor()
        consumed = dict(before.read)
        heads: dict[str, bytes] = dict(before.state.get("heads", {}))
        damaged: dict[str, int] = dict(before.state.get("damaged", {}))
        ended: dict[str, str] = dict(before.state.get("ended", {}))

        files, unreadable = [], {}
        for path in source.paths:
            try:
                files.append(_File(path, consumed.get(str(path), 0), require_regular(path)))
            except (OSError, ReadError) as error:
                unreadable[path] = f"It cannot be read: {_reason(error)}"
        done, total = 0, sum(file.size - file.at for file in files)
        for file in files:
            key, begun = str(file.path), file.at
            if key not in ended:
                try:
                    for event in file.events(source.run, self._patterns):
                        yield event
                        progress(done + file.at - begun, total, file.path.name)
                except OSError as error:
                    unreadable[file.path] = f"It cannot be read: {_reason(error)}"
                if file.fault:
                    ended[key] = file.fault
                damaged[key] = damaged.get(key, 0) + file.damaged
                consumed[key] = file.at
                if len(file.head) == _HEAD:
                    heads.setdefault(key, file.head)
            done += file.size - begun
            progress(done, total, file.path.name)

        for path in source.paths:
            # Problems are said again with every read: they stand for the whole file, not for what is new.
            for what in (
                unreadable.get(path),
                _counted(damaged.get(str(path), 0)),
                ended.get(str(path)),
            ):
                if what:
                    yield Problem(f"{source.relative}/{path.name}", self.name, what, source.run)
        if cursor is None:
            for file in files:
                if what := file.remark():
                    yield Problem(f"{source.relative}/{file.path.name}", self.name, what, source.run)
        yield Cursor(consumed, {"heads": heads, "damaged": damaged, "ended": ended})


def _counted(damaged: int) -> str:
    if not damaged:
        return ""
    return f"{damaged:,} {'records are' if damaged > 1 else 'record is'} damaged and left out."


def _reason(error: Exception) -> str:
    return f"{error.strerror}." if isinstance(error, OSError) and error.strerror else str(error)


def _not_grown(source: Source, cursor: Cursor) -> str:
    """Say what happened to the files besides growing; empty where nothing did."""
    present = {str(path) for path in source.paths}
    for key, size in cursor.read.items():
        name = Path(key).name
        if key not in present:
            return f"{name} is gone; the run was read again."
        try:
            if require_regular(Path(key)) < size:
                return f"{name} has shrunk; the run was read again."
            head = cursor.state["heads"].get(key)
            if head is not None:
                with open(key, "rb") as file:
                    if file.read(_HEAD) != head:
                        return f"{name} was replaced; the run was read again."
        except (OSError, ReadError):
            return f"{name} can no longer be read; the run was read again."
    return ""


def _filled(file: RawIOBase, room: memoryview) -> int:
    """Fill `room` from a file; give the bytes there were."""
    read = 0
    while read < len(room) and (more := file.readinto(room[read:])):
        read += more
    return read


class _File:
    """An event file that is being read: how far, and what was found wrong.

    Attributes
    ----------
    at : int
        Bytes consumed.
    head : bytes
        The first bytes, by which a replaced file is known.
    damaged : int
        Records left out.
    fault : str
        Why nothing behind `at` can be read; empty where it can.
    """

    def __init__(self, path: Path, at: int, size: int) -> None:
        self.path = path
        self.at = at
        self.size = max(size, at)
        self.head = b""
        self.damaged = 0
        self.fault = ""

    def events(self, run: str, patterns: _Patterns) -> Iterator[Event]:
        """Give the curves and facts of all complete records, and move on behind them."""
        with open(self.path, "rb", buffering=0) as file:
            self.head = file.read(_HEAD)
            whole = np.empty(min(CHUNK, self.size - self.at) + 8, np.uint8)
            while self.at < self.size:
                file.seek(self.at)
                length = _filled(file, whole.data[: min(CHUNK, self.size - self.at)])
                whole[length : length + 8] = 0  # rows of the last records reach up to seven bytes further
                is_last = self.at + length >= self.size
                regular = _Regular(whole, length, patterns)
                yield from regular.pieces(run)
                begin = regular.end
                if begin == length:
                    self.at += begin
                    continue
                buffer = whole[begin:]
                frames = chain(buffer, length - begin)
                end = frames.end
                is_last |= frames.is_broken
                stretch = _Stretch(buffer, frames.starts, frames.lengths)
                if not is_last and end:
                    end = stretch.cut_between_steps(end, all_of_one_step=not begin)
                self.damaged += stretch.damaged
                yield from stretch.events(run)
                end += begin
                if not end and not is_last and self.at + frames.needs <= self.size:
                    end = frames.needs  # longer than all that is read at once: a graph or images, no scalar
                self.at += end
                if frames.is_broken:
                    self.fault = (
                        f"It is damaged behind byte {self.at:,}: what comes before was read, the rest cannot be."
                    )
                    if not self.at:
                        self.fault = "It is no event file: its first record has no valid header."
                if is_last or not end:
                    return

    def remark(self) -> str:
        """Say what is unusual about a file that was read for the first time, and may pass."""
        if not self.size:
            return "It is empty."
        if self.at < self.size and not self.fault:
            left = self.size - self.at
            return f"Its last record is incomplete ({left:,} bytes): it is still being written, or was cut off."
        return ""


# --- checksums ---


def masked_crc(data: bytes) -> int:
    """Give the masked CRC-32C of `data`, as records carry it."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


# --- one record, exactly ---


class _Malformed(ValueError):
    """The bytes are no message of the kind they should be."""


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise _Malformed


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Give number, wire type, start, end and (for a varint) the value of each field of a message."""
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        value = 0
        start = at
        if wire == 0:
            value, at = _varint(data, at, end)
        elif wire == 1:
            at += 8
        elif wire == 5:
            at += 4
        elif wire == 2:
            length, start = _varint(data, at, end)
            at = start + length
        else:
            raise _Malformed
        if at > end:
            raise _Malformed
        yield number, wire, start, at, value


@dataclass(slots=True)
class _Scalar:
    """A scalar in a record: where its tag lies, and its value or (with `kind`) where this lies."""

    kind: str = ""
    at: int = 0
    number: float = 0.0
    is_single: bool = True
    tag: tuple[int, int] = (0, 0)

    def value(self, data: bytes) -> float:
        """Give the number."""
        if not self.kind:
            return self.number
        return float(numbers(np.frombuffer(data, np.uint8)[None], self.kind, self.at)[0])


@dataclass(slots=True)
class _Layout:
    """A record decoded, and where its parts lie.

    `is_plain` holds where any record with the same keys and lengths means the same; `free` are the parts that do not matter.
    """

    wall: float = 0.0
    wall_at: int = -1
    step: int = 0
    step_span: tuple[int, int] = (0, 0)
    scalars: list[_Scalar] = field(default_factory=list)
    free: list[tuple[int, int]] = field(default_factory=list)
    hparams: list[bytes] = field(default_factory=list)
    is_plain: bool = True


def _layout(data: bytes) -> _Layout:
    """Decode the `Event` in `data`.

    Raises
    ------
    _Malformed
        When it is none.
    """
    found = _Layout()
    for number, wire, start, end, value in _fields(data, 0, len(data)):
        if (number, wire) == (1, 1):
            found.is_plain &= found.wall_at < 0
            found.wall_at = start
            found.wall = struct.unpack_from("<d", data, start)[0]
        elif (number, wire) == (2, 0):
            found.is_plain &= found.step_span == (0, 0)
            found.step_span = (start, end)
            found.step = _signed(value)
        elif (number, wire) == (5, 2):
            for inner, kind, first, last, _ in _fields(data, start, end):
                if (inner, kind) == (1, 2):
                    _add_value(found, data, first, last)
        elif wire == 2:
            found.free.append((start, end))
    return found


def _add_value(found: _Layout, data: bytes, start: int, end: int) -> None:
    """Add what a `Summary.Value` holds to `found`."""
    tag = None
    scalar: _Scalar | None = None
    content, plugin = (0, 0), b""
    tensors = 0
    for number, wire, first, last, _ in _fields(data, start, end):
        if (number, wire) == (1, 2):
            found.is_plain &= tag is None
            tag = (first, last)
        elif (number, wire) == (2, 5):
            tensors += 1
            scalar = _Scalar("<f4", first)
        elif (number, wire) == (8, 2):
            tensors += 1
            scalar = _tensor(found, data, first, last)
        elif (number, wire) == (9, 2):
            plugin, content = _metadata(found, data, first, last)
        elif wire == 2:
            scalar = None if number in (4, 5, 6) else scalar
            found.free.append((first, last))
    if plugin == b"hparams":
        found.hparams.append(data[slice(*content)])
        found.is_plain = False
        return
    found.free.append(content)
    found.is_plain &= tensors < 2
    if scalar is not None and tag is not None:
        scalar.tag = tag
        found.scalars.append(scalar)


def _metadata(found: _Layout, data: bytes, start: int, end: int) -> tuple[bytes, tuple[int, int]]:
    """Give the name of the plug-in in a `SummaryMetadata`, and where its content lies."""
    plugin, content = b"", (0, 0)
    for number, wire, first, last, _ in _fields(data, start, end):
        if (number, wire) == (1, 2):
            for inner, kind, low, high, _ in _fields(data, first, last):
                if (inner, kind) == (1, 2):
                    plugin = data[low:high]
                elif (inner, kind) == (2, 2):
                    content = (low, high)
        elif wire == 2:
            found.free.append((first, last))
    return plugin, content


def _tensor(found: _Layout, data: bytes, start: int, end: int) -> _Scalar | None:
    """Give the value of a `TensorProto` of rank 0 that holds a number, or None."""
    dtype, rank, seen = 0, 0, 0
    fixed: tuple[str, int, int] | None = None
    scalar = None
    for number, wire, first, last, value in _fields(data, start, end):
        if (number, wire) == (1, 0):
            dtype = value
        elif (number, wire) == (2, 2):
            rank = sum(1 for inner, *_ in _fields(data, first, last) if inner in (2, 3))
        elif number in _PLACES and wire != 0 and first < last:
            seen += 1
            fixed = (_PLACES[number], first, last)
            found.free.append((first, last))
        elif number in _VARINTS and wire in (0, 2) and (wire == 0 or first < last):
            seen += 1
            scalar = _Scalar(number=_whole(_varint(data, first, last)[0], number, dtype))
        elif wire == 2:
            found.free.append((first, last))
    if rank or dtype not in _FIXED:
        return None
    kind = _FIXED[dtype]
    if fixed is None:
        found.is_plain = False
        scalar = scalar or _Scalar()  # a tensor without values is zero
        scalar.is_single = kind in _SINGLE
        return scalar
    found.is_plain &= seen == 1
    kind = fixed[0] or kind
    if fixed[1] + _width(kind) > fixed[2]:
        return None
    return _Scalar(kind, fixed[1], is_single=kind in _SINGLE)


def _width(kind: str) -> int:
    return 2 if kind == "bf16" else np.dtype(kind).itemsize


def _whole(value: int, number: int, dtype: int) -> float:
    """Give the number that a varint of a `TensorProto` means."""
    if number == 13:
        bits = np.array([value & 0xFFFF], "<u2").view(np.uint8)[None]
        return float(numbers(bits, "bf16" if dtype == 14 else "<f2", 0)[0])
    return float(value if number in (16, 17) else _signed(value))


# --- regular logs ---


@dataclass(frozen=True, slots=True, eq=False)
class _Pattern:
    """Records of different tags at one step, as they come again and again: a row of bytes, decoded.

    Attributes
    ----------
    form : Form
        The bytes, and what of them must be equal in rows that mean the same.
    walls, steps : ndarray of intp, shapes (n,) and (n, bytes)
        Where the time and the bytes of the step of each record with scalars are.
    scalars : tuple of (int, bytes, _Scalar)
        Number of the record, among those with scalars, tag, and where its value is.
    tags : tuple
        What the curves are made of: rows of two patterns that have the same can be joined.
    floats : ndarray of intp, shape (n,), or None
        Where the values are, if all are 32-bit floats.
    """

    form: Form
    walls: np.ndarray
    steps: np.ndarray
    scalars: tuple[tuple[int, bytes, _Scalar], ...]
    tags: tuple[tuple[int, bytes, bool], ...]
    floats: np.ndarray | None

    @classmethod
    def of(cls, buffer: np.ndarray, at: int, size: int) -> _Pattern | None:
        """Give the pattern of the records from one with a scalar to the next one of that tag; None where they make none."""
        fixed, sums, walls, steps = [], [], [], []
        scalars: list[tuple[int, bytes, _Scalar]] = []
        place = at
        while True:
            found = _record_at(buffer, place, size)
            if found is None or place - at > LONGEST_ROW:
                return None
            data, layout = found
            tags = [data[slice(*scalar.tag)] for scalar in layout.scalars]
            if scalars and tags and tags[0] == scalars[0][1]:
                break
            if not layout.is_plain or layout.wall_at < 0 or len(data) > WIDEST or not (scalars or tags):
                return None
            begin = place - at + HEADER
            mask = np.full(HEADER + len(data) + FOOTER, 0xFF, np.uint8)
            mask[HEADER:-FOOTER] = _fixed(layout, len(data))
            mask[-FOOTER:] = 0
            fixed.append(mask)
            sums.append((begin, begin + len(data)))
            if tags:
                walls.append(begin + layout.wall_at)
                steps.append(range(begin + layout.step_span[0], begin + layout.step_span[1]))
                for tag, scalar in zip(tags, layout.scalars, strict=True):
                    moved = _Scalar(scalar.kind, begin + scalar.at, is_single=scalar.is_single)
                    mask[HEADER + scalar.tag[0] : HEADER + scalar.tag[1]] = 0xFF
                    scalars.append((len(walls) - 1, tag, moved))
            place += HEADER + len(data) + FOOTER
        names = tuple((record, tag, scalar.is_single) for record, tag, scalar in scalars)
        if len({tag for _, tag, _ in names}) < len(names) or len(set(map(len, steps))) > 1:
            return None
        row = buffer[at:place].copy()
        is_float = all(scalar.kind == "<f4" for _, _, scalar in scalars)
        floats = np.array([scalar.at for _, _, scalar in scalars]) if is_float else None
        form = Form.of(row, np.concatenate(fixed), sums)
        return cls(form, np.array(walls), np.array(steps, np.intp), tuple(scalars), names, floats)


def _record_at(buffer: np.ndarray, at: int, size: int) -> tuple[bytes, _Layout] | None:
    """Give a whole, undamaged record and what is in it; None where there is none, or one too long to have scalars alone."""
    if at + HEADER > size:
        return None
    header = buffer[at : at + HEADER].tobytes()
    length, crc = struct.unpack("<QI", header)
    end = at + HEADER + length
    if length > CHUNK or end + FOOTER > size or masked_crc(header[:8]) != crc:
        return None
    data = buffer[at + HEADER : end].tobytes()
    if masked_crc(data) != int.from_bytes(buffer[end : end + FOOTER].tobytes(), "little"):
        return None
    try:
        return data, _layout(data)
    except _Malformed:
        return None


class _Patterns:
    """Patterns that were met, in this file or in others of its kind: the runs of a project are mostly logged alike."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], list[_Pattern]] = {}
        self._following: dict[_Pattern | None, _Pattern] = {}

    def at(self, buffer: np.ndarray, at: int, size: int, before: _Pattern | None) -> tuple[_Pattern | None, int]:
        """Give the pattern of the rows that begin at a place, and how many they are; `before` is that of the rows before."""
        guess = self._following.get(before)
        if guess is not None and (count := self._count(guess, buffer, at, size)):
            return guess, count
        if at + HEADER > size:
            return None, 0
        key = (int(buffer[at]), int(buffer[at + 1]))
        for pattern in self._known.get(key, ()):
            if pattern is not guess and (count := self._count(pattern, buffer, at, size)):
                self._following[before] = pattern
                return pattern, count
        new = _Pattern.of(buffer, at, size)
        if new is None or not (count := self._count(new, buffer, at, size)):
            return None, 0
        self._remember(key, before, new)
        return new, count

    def _remember(self, key: tuple[int, int], before: _Pattern | None, new: _Pattern) -> None:
        """Keep a pattern, and forget the oldest of its kind; several threads may do so at once, as lists are replaced."""
        self._known[key] = [new, *self._known.get(key, ())[: MOST_PATTERNS - 1]]
        if len(self._following) > MOST_PATTERNS**2:
            self._following.clear()
        self._following[before] = new

    @staticmethod
    def _count(pattern: _Pattern, buffer: np.ndarray, at: int, size: int) -> int:
        return rows_alike(buffer, at, size, pattern.form)


_Rows = tuple[_Pattern, np.ndarray, np.ndarray]
"""A pattern, rows of it, and their steps."""


class _Regular:
    """The regular beginning of a buffer: rows of records that are decoded together.

    Attributes
    ----------
    end : int
        Where it ends: what is behind is not regular, or not a whole row.
    """

    def __init__(self, buffer: np.ndarray, size: int, patterns: _Patterns) -> None:
        self.end = 0
        self._stretches: list[_Rows] = []
        before: _Pattern | None = None
        patience = PATIENCE
        self._pass_over(buffer, size)  # what a file begins with tells its version
        while self.end < size and patience:
            pattern, count = patterns.at(buffer, self.end, size, before)
            if pattern is None:
                if not self._pass_over(buffer, size):
                    break
                patience -= 1
                continue
            width = len(pattern.form.row)
            rows = buffer[self.end : self.end + count * width].reshape(count, width)
            steps = common_steps(rows, pattern.steps)
            if steps is None:
                break
            patience = PATIENCE if count * len(pattern.form.ends) >= FEW else patience - 1
            self._stretches.append((pattern, rows, steps))
            self.end += count * width
            before = pattern

    def _pass_over(self, buffer: np.ndarray, size: int) -> bool:
        """Pass over a record in which there is nothing to keep; say whether there was one."""
        found = _record_at(buffer, self.end, size)
        if found is None or found[1].scalars or found[1].hparams:
            return False
        self.end += HEADER + len(found[0]) + FOOTER
        return True

    def pieces(self, run: str) -> Iterator[CurvePiece]:
        """Give the curves; rows of the same tags that follow one another are joined."""
        for _, joined in groupby(self._stretches, lambda stretch: stretch[0].tags):
            yield from _joined(run, list(joined))


def _joined(run: str, stretches: list[_Rows]) -> Iterator[CurvePiece]:
    """Give the curves of rows with the same tags; tags with the same times come in one piece."""
    tags = stretches[0][0].tags
    step = _one_behind_the_other([step for _, _, step in stretches])
    wall = _one_behind_the_other([items(rows, "<f8", pattern.walls) for pattern, rows, _ in stretches])
    values = _values(stretches, len(step))
    left = np.ones(len(wall), bool)
    while left.any():
        first = int(left.argmax())
        together = left & near(wall, first, SAME_TIME)
        members = {
            tag.decode(errors="replace"): value
            for (record, tag, _), value in zip(tags, values, strict=True)
            if together[record]
        }
        yield CurvePiece(run, step, members, wall[first].copy())
        left &= ~together


def _one_behind_the_other(parts: list[np.ndarray]) -> np.ndarray:
    """Join arrays along their last axis; a single one is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _values(stretches: list[_Rows], total: int) -> Sequence[np.ndarray]:
    """Give the values of every tag."""
    floats = [(rows, pattern.floats) for pattern, rows, _ in stretches if pattern.floats is not None]
    if len(floats) == len(stretches):
        return list(_one_behind_the_other([items(rows, "<f4", places) for rows, places in floats]))
    values = [np.empty(total, np.float32 if is_single else np.float64) for _, _, is_single in stretches[0][0].tags]
    end = 0
    for pattern, rows, _ in stretches:
        begin, end = end, end + len(rows)
        for (_, _, scalar), own in zip(pattern.scalars, values, strict=True):
            own[begin:end] = numbers(rows, scalar.kind, scalar.at)
    return values


# --- a few records that were appended ---


_STRUCTS = {"<f4": "f", "<f8": "d"}
"""How `struct` calls the kinds of numbers that are decoded one at a time."""


class _Form(NamedTuple):
    """A record of scalars, by which others that differ only in step, time and values are decoded.

    `mask` and `fixed` are the bits that must be equal and what they are, as one number. `unpack` gives what is left: time, step
    (none if there is none: `has_step`) and values by the `places` they have in what it gives; `scalars` are the names of the
    values and whether float32 holds them.
    """

    mask: int
    fixed: int
    unpack: Callable[[bytes], tuple[Any, ...]]
    has_step: bool
    places: list[int]
    scalars: list[tuple[bytes, bool]]

    @classmethod
    def of(cls, data: bytes) -> _Form | None:
        """Give the form of a record; None where others are not to be decoded by it."""
        try:
            layout = _layout(data)
        except _Malformed:
            return None
        if layout.hparams or layout.wall_at < 0 or any(one.kind not in _STRUCTS for one in layout.scalars):
            return None
        begin, end = layout.step_span
        has_step = end > begin
        free = [(layout.wall_at, 8, "d"), *([(begin, end - begin, f"{end - begin}s")] if has_step else [])]
        free += [(one.at, _width(one.kind), _STRUCTS[one.kind]) for one in layout.scalars]
        order = sorted(range(len(free)), key=free.__getitem__)
        told, mask, here = "<", bytearray(b"\xff" * len(data)), 0
        for at, width, kind in map(free.__getitem__, order):
            if at < here:
                return None  # a field that comes twice
            told += f"{at - here}x{kind}"
            mask[at : at + width] = bytes(width)
            here = at + width
        unpack = struct.Struct(f"{told}{len(data) - here}x").unpack
        bits = int.from_bytes(mask, "little")
        scalars = [(data[slice(*one.tag)], one.is_single) for one in layout.scalars]
        places = [order.index(number) for number in range(len(free))]
        return cls(bits, int.from_bytes(data, "little") & bits, unpack, has_step, places, scalars)

    def fits(self, data: bytes) -> bool:
        """Whether a record of the same length has this form."""
        return int.from_bytes(data, "little") & self.mask == self.fixed


class _Tails:
    """Reads what is appended to a log several times a second: a record or a few, mostly in forms that were met before."""

    MOST_BYTES = 1 << 14

    def __init__(self) -> None:
        self._forms: dict[int, list[_Form]] = {}
        self._headers: dict[bytes, int] = {}

    def events(self, source: Source, cursor: Cursor) -> list[Event | Cursor] | None:
        """Give what was appended to the only file of a run; None where that is much, or anything else happened to it."""
        if len(source.paths) != 1 or len(cursor.read) != 1:
            return None
        key = str(source.paths[0])
        at, head = cursor.read.get(key), cursor.state["heads"].get(key)
        if at is None or head is None or cursor.state["damaged"].get(key) or cursor.state["ended"].get(key):
            return None
        data = self._appended(key, at, head)
        if data is None:
            return None
        points: dict[bytes, tuple[list[int], list[float], list[float], bool]] = {}
        end = self._decoded(data, points)
        if end is None:
            return None
        found: list[Event | Cursor] = [*_pieces(source.run, points)]
        return [*found, Cursor({key: at + end}, cursor.state)]

    def _appended(self, path: str, at: int, head: bytes) -> bytes | None:
        """Give the bytes behind a place; None where they are many, or the file is no longer the one that was read."""
        try:
            file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError:
            return None
        try:
            info = os.fstat(file)
            if not stat.S_ISREG(info.st_mode) or not at <= info.st_size <= at + self.MOST_BYTES:
                return None
            if os.read(file, _HEAD) != head:
                return None
            os.lseek(file, at, os.SEEK_SET)
            return os.read(file, info.st_size - at)
        except OSError:
            return None
        finally:
            os.close(file)

    def _decoded(
        self, data: bytes, points: dict[bytes, tuple[list[int], list[float], list[float], bool]]
    ) -> int | None:
        """Add the scalars of all complete records to `points`, by tag; give where these end, None where one is unusual."""
        here = 0
        while here + HEADER <= len(data):
            length = self._length(data[here : here + HEADER])
            if length is None:
                return None
            start, end = here + HEADER, here + HEADER + length
            if end + FOOTER > len(data):
                break
            record = data[start:end]
            if masked_crc(record) != struct.unpack_from("<I", data, end)[0]:
                return None
            form = self._form(record)
            if form is None:
                return None
            free, places, step = form.unpack(record), iter(form.places), 0
            wall = free[next(places)]
            if form.has_step:
                varint = free[next(places)]
                try:
                    value, stop = _varint(varint, 0, len(varint))
                except _Malformed:
                    return None
                if stop != len(varint):
                    return None
                step = _signed(value)
            for (tag, is_single), place in zip(form.scalars, places, strict=True):
                own = points.get(tag)
                if own is None:
                    own = points[tag] = ([], [], [], is_single)
                elif own[3] != is_single:
                    return None
                own[0].append(step)
                own[1].append(wall)
                own[2].append(free[place])
            here = end + FOOTER
        return here

    def _length(self, header: bytes) -> int | None:
        """Give the length of a record by what comes before it; None where that is damaged. Few lengths come again and again."""
        known = self._headers.get(header)
        if known is None:
            length, crc = struct.unpack("<QI", header)
            if masked_crc(header[:8]) != crc:
                return None
            if len(self._headers) > MOST_PATTERNS**2:
                self._headers.clear()
            known = self._headers[header] = length
        return known

    def _form(self, record: bytes) -> _Form | None:
        known = self._forms.get(len(record), [])
        for form in known:
            if form.fits(record):
                return form
        new = _Form.of(record)
        if new is not None:
            if len(self._forms) > MOST_PATTERNS**2:
                self._forms.clear()
            self._forms[len(record)] = [new, *known[: MOST_PATTERNS - 1]]
        return new


def _pieces(run: str, points: dict[bytes, tuple[list[int], list[float], list[float], bool]]) -> Iterator[CurvePiece]:
    """Give the curves of scalars by tag; tags with the same steps and times come in one piece."""
    left = list(points.items())
    if len(left) == 1:
        ((tag, (steps, walls, values, is_single)),) = left
        made = np.array(values, np.float32 if is_single else np.float64)
        yield CurvePiece(run, np.array(steps, np.int64), {tag.decode(errors="replace"): made}, np.array(walls))
        return
    while left:
        steps, walls = left[0][1][:2]
        members, others = {}, []
        for tag, own in left:
            near = own[0] == steps and all(abs(a - b) <= SAME_TIME for a, b in zip(own[1], walls, strict=True))
            if near:
                members[tag.decode(errors="replace")] = np.array(own[2], np.float32 if own[3] else np.float64)
            else:
                others.append((tag, own))
        yield CurvePiece(run, np.array(steps, np.int64), members, np.array(walls))
        left = others


# --- many records at once ---


class _Group(NamedTuple):
    """Scalars of several records: the record of each, its place there, its tag, its value; whether float32 holds them."""

    record: np.ndarray
    place: int | np.ndarray
    tag: np.ndarray
    value: np.ndarray
    is_single: bool


class _Stretch:
    """The records of a buffer, decoded.

    Parameters
    ----------
    buffer : ndarray of uint8, shape (n + 8,)
        The bytes, and eight more.
    starts, lengths : ndarray of int64, shape (records,)
        Where the payloads are.
    """

    def __init__(self, buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        self.kept = len(starts)
        self.damaged = 0
        self._buffer = buffer
        self._starts = starts
        self._lengths = lengths
        self._wall = np.zeros(len(starts))
        self._step = np.zeros(len(starts), np.int64)
        self._points = np.zeros(len(starts), np.int64)
        self._is_damaged = np.zeros(len(starts), bool)
        self._tags: dict[bytes, int] = {}
        self._groups: list[_Group] = []
        self._singly: list[tuple[int, int, int, float, bool]] = []
        self._hparams: list[tuple[int, bytes]] = []
        self._decode()

    def cut_between_steps(self, end: int, *, all_of_one_step: bool) -> int:
        """Leave out the records of the last step, so that tags logged together stay together; give the new end.

        `end` is where the last record ends. Where all records are of one step, `all_of_one_step` says whether they are kept.
        """
        changes = np.flatnonzero(self._step[1:] != self._step[:-1])
        if not len(changes) and all_of_one_step:
            return end
        self.kept = int(changes[-1]) + 1 if len(changes) else 0
        self.damaged = int(np.count_nonzero(self._is_damaged[: self.kept]))
        return int(self._starts[self.kept]) - HEADER

    def events(self, run: str) -> Iterator[Event]:
        """Give the facts and the curves."""
        for record, content in self._hparams:
            if record < self.kept and (facts := _hparam_facts(run, content)) is not None:
                yield facts
        yield from self._curves(run)

    def _decode(self) -> None:
        narrow = np.flatnonzero(self._lengths <= WIDEST)
        wide = np.flatnonzero(self._lengths > WIDEST)
        if len(wide):
            is_media, self._step[wide] = media(self._buffer, self._starts[wide], self._lengths[wide])
            self._is_damaged[wide[is_media]] = ~are_sound(
                self._buffer, self._starts[wide[is_media]], self._lengths[wide[is_media]]
            )
            for record in wide[~is_media]:
                self._decode_one(int(record))
        if (found := scalars(self._buffer, self._starts, self._lengths)) is not None:
            self._take(found, narrow)
        else:
            self._decode_by_length(narrow)
        self.damaged = int(np.count_nonzero(self._is_damaged))

    def _take(self, found: Scalars, narrow: np.ndarray) -> None:
        """Take what was decoded of the narrow records, and decode those that are unusual."""
        state = found.state[narrow]
        self._wall[narrow], self._step[narrow] = found.wall[narrow], found.step[narrow]
        self._points[narrow] = found.points[narrow]
        self._is_damaged[narrow] = state == DAMAGED
        if len(found.value):
            codes = np.array([self._code(tag) for tag in found.tags], np.int64)
            self._groups.append(_Group(found.record, found.place, codes[found.tag], found.value, True))
        for record in narrow[state == UNUSUAL]:
            self._decode_one(int(record))

    def _decode_by_length(self, narrow: np.ndarray) -> None:
        order = narrow[np.argsort(self._lengths[narrow].astype(np.uint16), kind="stable")]
        lengths = self._lengths[order]
        edges = np.flatnonzero(np.diff(lengths)) + 1
        for records in np.split(order, edges):
            if len(records):
                self._decode_equally_long(records)

    def _decode_equally_long(self, records: np.ndarray) -> None:
        length = int(self._lengths[records[0]])
        width = (length + 7) // 8 * 8
        if length and len(records) >= FEW:
            view = np.ndarray((len(self._buffer) - width + 1,), f"V{width}", self._buffer, strides=(1,))
            words = view[self._starts[records]].view(np.uint64).reshape(len(records), -1)
            shapes = 0
            while len(records) >= FEW and shapes < MOST_SHAPES:
                layout = self._plain_layout(int(records[0]), length)
                if layout is None:
                    self._decode_one(int(records[0]))
                    records, words = records[1:], words[1:]
                    continue
                shapes += 1
                fixed, tags = _masks(layout, length, words.shape[1])
                change = words ^ words[0]
                differs = np.bitwise_or.reduce(change, axis=0)
                telling = np.flatnonzero(differs & fixed)
                if not len(telling):
                    self._decode_alike(layout, tags, records, words, change, differs)
                    return
                alike = ~_any(change[:, word] & fixed[word] for word in telling)
                differs = np.bitwise_or.reduce(change[alike], axis=0)
                self._decode_alike(layout, tags, records[alike], words[alike], change[alike], differs)
                records, words = records[~alike], words[~alike]
        for record in records:
            self._decode_one(int(record))

    def _plain_layout(self, record: int, length: int) -> _Layout | None:
        """Give the layout of a record if others can be decoded by it."""
        start = int(self._starts[record])
        data = self._buffer[start : start + length].tobytes()
        if masked_crc(data) != self._stored_crc(record, length):
            return None
        try:
            layout = _layout(data)
        except _Malformed:
            return None
        return layout if layout.is_plain and layout.wall_at >= 0 else None

    def _decode_alike(
        self,
        layout: _Layout,
        tags: list[np.ndarray],
        records: np.ndarray,
        words: np.ndarray,
        change: np.ndarray,
        differs: np.ndarray,
    ) -> None:
        """Decode records that are laid out like the first of them, which is sound.

        Parameters
        ----------
        words, change : ndarray of uint64, shape (records, words)
            The records, and the bits in which each differs from the first.
        differs : ndarray of uint64, shape (words,)
            The bits in which any does.
        """
        right = self._have_right_crc(records, change, differs)
        if not right.all():
            self._is_damaged[records[~right]] = True
            records, words = records[right], words[right]
        rows = words.view(np.uint8)
        self._wall[records] = numbers(rows, "<f8", layout.wall_at)
        self._step[records] = varints(rows, *layout.step_span)
        self._points[records] = len(layout.scalars)
        for place, (scalar, mask) in enumerate(zip(layout.scalars, tags, strict=True)):
            codes = self._codes(rows, words, mask, slice(*scalar.tag))
            values = numbers(rows, scalar.kind, scalar.at)
            self._groups.append(_Group(records, place, codes, values, scalar.is_single))

    def _stored_crc(self, record: int, length: int) -> int:
        at = int(self._starts[record]) + length
        return int.from_bytes(self._buffer[at : at + FOOTER].tobytes(), "little")

    def _have_right_crc(self, records: np.ndarray, change: np.ndarray, differs: np.ndarray) -> np.ndarray:
        """Say which records have the checksum they should: that of the first, changed by the bytes that differ from it."""
        start, length = int(self._starts[records[0]]), int(self._lengths[records[0]])
        first = google_crc32c.value(self._buffer[start : start + length].tobytes())
        stored = unmasked(unaligned(self._buffer, "<u4")[self._starts[records] + length]) ^ np.uint32(first)
        changed = change.view(np.uint8)
        places = np.flatnonzero(differs.view(np.uint8)[:length])
        if len(records) >= FEW and not wrong_sums(*together(changed, stored), places, length).any():
            return np.ones(len(records), bool)
        return ~wrong_sums(changed, stored, places, length)

    def _codes(self, rows: np.ndarray, words: np.ndarray, mask: np.ndarray, where: slice) -> np.ndarray:
        """Give the number of the tag of every row."""
        touched = np.flatnonzero(mask)
        parts = words[:, touched] & mask[touched]
        if not len(parts) or (parts == parts[0]).all():
            return np.full(len(rows), self._code(rows[0, where].tobytes()) if len(rows) else 0, np.int64)
        if len(rows) < _MANY:
            width = where.stop - where.start
            text = rows[:, where].tobytes()
            known = self._tags
            codes = [known.setdefault(text[at : at + width], len(known)) for at in range(0, len(text), width)]
            return np.array(codes, np.int64)
        mixed = (parts * _mixers()[: len(touched)]).sum(axis=1, dtype=np.uint64)
        numbers, distinct = pd.factorize(mixed ^ (mixed >> np.uint64(29)))
        example = np.empty(len(distinct), np.int64)
        example[numbers[::-1]] = np.arange(len(rows) - 1, -1, -1)
        if not (parts == parts[example][numbers]).all():  # two tags with one hash
            return np.array([self._code(row.tobytes()) for row in rows[:, where]], np.int64)
        return np.array([self._code(rows[row, where].tobytes()) for row in example], np.int64)[numbers]

    def _code(self, tag: bytes) -> int:
        return self._tags.setdefault(tag, len(self._tags))

    def _decode_one(self, record: int) -> None:
        start, length = int(self._starts[record]), int(self._lengths[record])
        data = self._buffer[start : start + length].tobytes()
        if masked_crc(data) != self._stored_crc(record, length):
            self._is_damaged[record] = True
            return
        try:
            layout = _layout(data)
        except _Malformed:
            self._is_damaged[record] = True
            return
        self._wall[record], self._step[record] = layout.wall, layout.step
        self._points[record] = len(layout.scalars)
        for place, scalar in enumerate(layout.scalars):
            tag = self._code(data[slice(*scalar.tag)])
            self._singly.append((record, place, tag, scalar.value(data), scalar.is_single))
        self._hparams += [(record, content) for content in layout.hparams]

    def _curves(self, run: str) -> Iterator[CurvePiece]:
        """Give the points of every tag in the order of the file; tags logged together come in one piece."""
        behind = np.cumsum(self._points)
        count = int(behind[self.kept - 1]) if self.kept else 0
        if not count:
            return
        place = behind - self._points
        tag = np.zeros(len(self._starts) and int(behind[-1]), np.int32)
        value = np.zeros(len(tag))
        is_single = np.ones(len(self._tags), bool)
        for group in self._groups:
            at = place[group.record] + group.place
            tag[at], value[at] = group.tag, group.value
            if not group.is_single:
                is_single[np.unique(group.tag)] = False
        for single, inner, code, number, fits in self._singly:
            tag[place[single] + inner], value[place[single] + inner] = code, number
            is_single[code] &= fits
        tag, value = tag[:count], value[:count]
        record = np.repeat(np.arange(self.kept), self._points[: self.kept])
        few = len(self._tags) <= 1 << 16
        order = np.argsort(tag.astype(np.uint16) if few else tag, kind="stable")
        edges = np.concatenate([[0], np.cumsum(np.bincount(tag, minlength=len(self._tags)))])
        step, wall, value = self._step[record[order]], self._wall[record[order]], value[order]
        together: dict[tuple[int, int, int], list[_Together]] = {}
        names = list(self._tags)
        logged = np.flatnonzero(edges[1:] > edges[:-1])
        for code in logged[np.argsort(order[edges[logged]])].tolist():  # in the order they come first in the file
            name = names[code]
            low, high = int(edges[code]), int(edges[code + 1])
            values = value[low:high].astype(np.float32 if is_single[code] else np.float64)
            mine = _Together(step[low:high], wall[low:high], {name.decode(errors="replace"): values})
            others = together.setdefault((high - low, int(step[low]), int(step[high - 1])), [])
            if not any(other.took(mine) for other in others):
                others.append(mine)
        for others in together.values():
            for one in others:
                yield CurvePiece(run, one.step, one.values, one.wall)


class _Together:
    """Tags that have the same steps and times."""

    def __init__(self, step: np.ndarray, wall: np.ndarray, values: dict[str, np.ndarray]) -> None:
        self.step = step.copy()
        self.wall = wall.copy()
        self.values = values

    def took(self, other: _Together) -> bool:
        """Take the tags of `other` if they were logged together with these; with equal steps alone, share these."""
        if not np.array_equal(self.step, other.step):
            return False
        if not (np.abs(self.wall - other.wall) <= SAME_TIME).all():
            other.step = self.step
            return False
        self.values |= other.values
        return True


def _any(columns: Iterable[np.ndarray]) -> np.ndarray:
    """Say in which places any of the arrays is not zero."""
    every: np.ndarray = functools.reduce(np.bitwise_or, columns)
    return every.astype(bool)


def _fixed(layout: _Layout, length: int) -> np.ndarray:
    """Give the bits that must be equal in records laid out alike; those of tags are not among them."""
    fixed = np.full(length, 0xFF, np.uint8)
    for start, end in layout.free:
        fixed[start:end] = 0
    fixed[layout.wall_at : layout.wall_at + 8] = 0
    fixed[slice(*layout.step_span)] = 0x80  # where a varint goes on
    for scalar in layout.scalars:
        fixed[scalar.at : scalar.at + _width(scalar.kind)] = 0
        fixed[slice(*scalar.tag)] = 0
    return fixed


def _masks(layout: _Layout, length: int, words: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Give the bits that must be equal in records laid out alike, and those of each tag, as 64-bit words."""
    fixed = np.zeros(words * 8, np.uint8)
    fixed[:length] = _fixed(layout, length)
    tags = []
    for scalar in layout.scalars:
        tag = np.zeros(words * 8, np.uint8)
        tag[slice(*scalar.tag)] = 0xFF
        tags.append(tag.view(np.uint64))
    return fixed.view(np.uint64), tags


# --- hparams ---


def _hparam_facts(run: str, content: bytes) -> RunFacts | None:
    """Give what an `HParamsPluginData` says about the run; None where it says nothing or is none."""
    config: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    status: Status | None = None
    try:
        for number, wire, start, end, _ in _fields(content, 0, len(content)):
            if (number, wire) == (3, 2):
                for inner, kind, first, last, _ in _fields(content, start, end):
                    if (inner, kind) == (1, 2):
                        key, value = _map_entry(content, first, last)
                        config |= _flat(key, value)
                    elif (inner, kind) == (4, 2) and first < last:
                        config["hparams.group"] = content[first:last].decode(errors="replace")
                    elif (inner, kind) == (5, 1):
                        facts["started"] = struct.unpack_from("<d", content, first)[0]
            elif (number, wire) == (4, 2):
                for inner, kind, first, _, value in _fields(content, start, end):
                    if (inner, kind) == (1, 0):
                        status = _STATUS.get(value)
                    elif (inner, kind) == (2, 1):
                        facts["ended"] = struct.unpack_from("<d", content, first)[0]
    except (_Malformed, RecursionError):
        return None
    facts = {name: value for name, value in facts.items() if value}
    return RunFacts(run, status=status, config=config, facts=facts) if config or facts or status else None


def _map_entry(data: bytes, start: int, end: int) -> tuple[str, Any]:
    """Give key and value of an entry of a ``map<string, google.protobuf.Value>``."""
    key, value = "", None
    for number, wire, first, last, _ in _fields(data, start, end):
        if (number, wire) == (1, 2):
            key = data[first:last].decode(errors="replace")
        elif (number, wire) == (2, 2):
            value = _json_value(data, first, last)
    return key, value


def _json_value(data: bytes, start: int, end: int) -> Any:
    """Give the content of a ``google.protobuf.Value``."""
    for number, wire, first, last, value in _fields(data, start, end):
        if (number, wire) == (2, 1):
            real: float = struct.unpack_from("<d", data, first)[0]
            return int(real) if real.is_integer() and abs(real) < 2**53 else real
        if (number, wire) == (3, 2):
            return data[first:last].decode(errors="replace")
        if (number, wire) == (4, 0):
            return bool(value)
        if (number, wire) == (5, 2):
            entries = [(low, high) for inner, _, low, high, _ in _fields(data, first, last) if inner == 1]
            return dict(_map_entry(data, low, high) for low, high in entries)
        if (number, wire) == (6, 2):
            return [_json_value(data, low, high) for inner, _, low, high, _ in _fields(data, first, last) if inner == 1]
    return None


def _flat(key: str, value: Any) -> dict[str, Any]:
    """Give a setting with nested ones named by dots and lists as JSON text."""
    if isinstance(value, dict):
        return {name: inner for part, one in value.items() for name, inner in _flat(f"{key}.{part}", one).items()}
    return {key: json.dumps(value) if isinstance(value, list) else value}
