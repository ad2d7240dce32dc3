"""Training logs as comma or tab separated values.

Lightning, Keras, Stable-Baselines3 and the OpenAI logger, Ultralytics, AlgoPerf, Ray and DVCLive write one row per step,
with a column per metric. Rows may be sparse: a metric gets the rows it was logged in. An empty cell says nothing; the text
``nan`` is a value, that of a diverged run.

Some of these loggers rewrite the whole file when a metric is added. The file is then read again from its start.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..deferred import deferred
from ..errors import ReadError
from ..growing_file import Lines, continues, lines, marks
from ..kernels.text_numbers import Cells, rows_of_numbers
from ..logged_columns import (
    LoggedColumn,
    as_number,
    curve_pieces,
    is_config,
    is_log,
    is_number,
    part_name,
    step_name,
    wall_time_name,
    wall_times,
)
from ..progress import Progress
from ..tables import Event, Forgotten, Problem, RunFacts
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = deferred("pyarrow")


_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})
_KNOWN = re.compile(
    r"(metrics|progress|results|log|logs|history|training|training_log|train_log|training_history"
    r"|measurements|eval_measurements|scalars)\.(csv|tsv)|progress\.txt"
)
_DELIMITERS = (",", "\t", ";")
_HEADER_BYTES = 4 << 20
_LONG_HEAD_BYTES = 256 << 10
_MOST_COLUMNS = 20_000
_FIRST_ROWS = 50
_BLOCK_BYTES = 8 << 20
"""Bytes read at once; allocators give such blocks again and again without clearing them."""

_ARROW_BLOCK_BYTES = 1 << 20
_MISSING = frozenset({"", "na", "n/a", "#n/a", "null", "none", "-", "--"})


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the header and the first row say.

    Attributes
    ----------
    header : bytes
        The line as it is in the file, without its end.
    body : int
        Place of the first row in the file.
    names : tuple of str
        Names of the columns, all different; an index column without a name is empty.
    step, wall, part : int
        Columns that count the steps, tell the time and name a part of the data; -1 for none.
    """

    header: bytes
    body: int
    delimiter: str
    names: tuple[str, ...]
    step: int = -1
    wall: int = -1
    part: int = -1


class CsvLogReader(Reader):
    """Reads a training log of comma, tab or semicolon separated values."""

    name = "csv log"

    def match(self, entry: Entry) -> Match:
        """Look for a column that counts steps, numbers beside it, and none that only tables of results have."""
        if entry.suffix not in _SUFFIXES:
            return Match.NO
        known = _KNOWN.fullmatch(entry.name.lower()) is not None
        head = entry.head
        if not head:
            return Match.YES if known else Match.NO
        if b"\n" not in head:
            head = entry.beginning(_LONG_HEAD_BYTES)  # logs of evaluations have hundreds of columns
        layout = _header(head)
        if layout is None:
            return Match.NO
        rows = [_first_values(layout, row) for row in _rows(head, layout)]
        if not is_log([name for name in layout.names if name], rows, by_name=known):
            return Match.NO
        return Match.YES if known else Match.MAYBE

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the rows that are new.

        Raises
        ------
        ReadError
            When the file is empty, is not text, or has no column that counts steps.
        """
        path = source.path
        size = require_regular(path)
        with open(path, "rb") as file:
            state = dict(cursor.state) if cursor is not None else {}
            start = cursor.read.get(str(path), 0) if cursor is not None else 0
            if state and not _goes_on(file, size, start, state):
                shrank = "The file shrank; it was read again from its start." if size < start else ""
                yield Forgotten(source.relative, self.name, shrank, (source.run,))
                state = {}
            if not state:
                layout = _naming_tag(_layout(file, size), path.stem)
                if layout.step < 0:
                    yield RunFacts(source.run, reader=self.name, source=source.relative)
                    yield Cursor({str(path): 0})
                    return
                state = {"layout": layout, "skipped": 0, "without_step": 0, "no_numbers": {}, "config": {}}
                start = layout.body
                first = True
            else:
                first = False
            layout = state["layout"]
            tally = _Tally(state["skipped"], state["without_step"], dict(state["no_numbers"]), dict(state["config"]))
            end, ended = start, state.get("ended", True)
            for block in lines(file, start, size, _BLOCK_BYTES):
                progress(block.end, size, source.relative)
                if not block.ended and not (first and _is_whole_row(block, layout)):
                    break
                # A last row without its end is taken when the file is opened, as a finished file may lack it. If the
                # writer was in the middle of the row, what follows is not the end of a line, and all is read again.
                ended = block.ended
                yield from _pieces(source.run, block.data, layout, tally)
                end = block.end
            if first or tally.config != state["config"]:
                yield RunFacts(source.run, reader=self.name, source=source.relative, config=tally.config)
            for what in tally.sentences(layout):
                yield Problem(source.relative, self.name, what, source.run)
            yield Cursor(
                {str(path): end},
                {
                    "layout": layout,
                    "skipped": tally.skipped,
                    "without_step": tally.without_step,
                    "no_numbers": tally.no_numbers,
                    "config": tally.config,
                    "marks": marks(file, end),
                    "ended": ended,
                },
            )


@dataclass(slots=True)
class _Tally:
    """What could not be used so far, and the configuration seen in the rows."""

    skipped: int
    without_step: int
    no_numbers: dict[str, int]
    config: dict[str, Any]

    def sentences(self, layout: _Layout) -> Iterator[str]:
        if self.skipped:
            yield (
                f"{_counted(self.skipped, 'row')} left out: not {len(layout.names)} cells as in the header, or not text."
            )
        if self.without_step:
            yield f"{_counted(self.without_step, 'row')} left out: no number in column {layout.names[layout.step]!r}."
        if self.no_numbers:
            name, count = max(self.no_numbers.items(), key=lambda pair: pair[1])
            others = f" and {len(self.no_numbers) - 1} more columns" if len(self.no_numbers) > 1 else ""
            yield f"{_counted(count, 'cell')} of column {name!r}{others} left out: they hold text among numbers."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _goes_on(file: BinaryIO, size: int, end: int, state: dict[str, Any]) -> bool:
    if not continues(file, size, end, state["marks"]):
        return False
    if state["ended"] or size == end:
        return True
    file.seek(end)
    return file.read(1) in (b"\n", b"\r")


# -- the header ---------------------------------------------------------------------------------------------------------


def _header(head: bytes) -> _Layout | None:
    """Find the header in the first bytes of a file; None where there is none."""
    if b"\0" in head or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    place = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    header = b""
    while place < len(head):
        end = head.find(b"\n", place)
        if end < 0:
            return None
        line = head[place:end].strip(b"\r")
        place = end + 1
        if not line.strip():
            continue
        header = line
        # numpy.savetxt writes the names behind a #; other lines with a # are comments.
        if not line.lstrip().startswith(b"#") or _is_before_numbers(head[place:]):
            break
    if not header:
        return None
    text = _decoded(header).lstrip("# ") if header.lstrip().startswith(b"#") else _decoded(header)
    delimiter = max(_DELIMITERS, key=text.count)
    names = _cells(text, delimiter)
    if len(names) < 2 or all(as_number(name) is not None for name in names):
        return None
    return _Layout(header, place, delimiter, _distinct(names))


def _is_before_numbers(following: bytes) -> bool:
    line = following.lstrip().split(b"\n", 1)[0]
    return bool(re.match(rb"\s*[-+.\d]", line))


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter), [])]
    except csv.Error:
        return [cell.strip() for cell in text.split(delimiter)]


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Number names that come again, as pandas does."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        count = seen[name] = seen.get(name, -1) + 1
        distinct.append(f"{name}.{count}" if name and count else name)
    return tuple(distinct)


def _rows(head: bytes, layout: _Layout) -> list[list[str]]:
    """Give the first whole rows that have as many cells as the header."""
    whole = head[layout.body : head.rfind(b"\n") + 1]
    if head[layout.body :] and not whole:
        whole = head[layout.body :]
    rows = []
    for line in whole.splitlines()[:_FIRST_ROWS]:
        cells = _cells(_decoded(line), layout.delimiter)
        if len(cells) == len(layout.names) and line != layout.header:
            rows.append(cells)
    return rows


def _first_values(layout: _Layout, row: Sequence[str]) -> dict[str, Any]:
    """Give what is in a row by column: numbers where it can be, text otherwise, nothing for empty cells."""
    values: dict[str, Any] = {}
    for name, cell in zip(layout.names, row, strict=True):
        if name and cell.lower() not in _MISSING:
            number = as_number(cell)
            values[name] = cell if number is None else number
    return values


def _layout(file: BinaryIO, size: int) -> _Layout:
    """Read the header and, where there is one, the first row.

    Returns
    -------
    _Layout
        Without a step column where the file has no row yet.
    """
    if size == 0:
        raise ReadError("The file is empty.")
    file.seek(0)
    head = file.read(64 << 10)
    if b"\n" not in head or head.count(b"\n") < 2:
        head += file.read(_HEADER_BYTES)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ReadError("It is UTF-16 text.", remedy="Save it as UTF-8.")
    if b"\0" in head:
        raise ReadError("It is not text: it holds zero bytes.")
    if b"\n" not in head:
        if len(head) >= _HEADER_BYTES:
            raise ReadError(f"Its first line is longer than {_HEADER_BYTES >> 20} MiB, so it is no log.")
        head += b"\n"
    layout = _header(head)
    if layout is None:
        raise ReadError("It has no header of column names.")
    if len(layout.names) > _MOST_COLUMNS:
        raise ReadError(f"It has {len(layout.names)} columns; at most {_MOST_COLUMNS} are read.")
    for row in _rows(head, layout):
        first = _first_values(layout, row)
        step = step_name(name for name, value in first.items() if is_number(value))
        if step is not None:
            place = {name: number for number, name in enumerate(layout.names)}
            wall = wall_time_name(first, step)
            part = part_name(first)
            return replace(
                layout,
                step=place[step],
                wall=place[wall] if wall else -1,
                part=place[part] if part else -1,
            )
    if head.rfind(b"\n") + 1 > layout.body and head[layout.body :].strip():
        raise ReadError("No column counts the steps: there is none called step, iteration, epoch or the like.")
    return layout


def _naming_tag(layout: _Layout, stem: str) -> _Layout:
    """Give the layout with the tag that TensorBoard says only in the name of the file it downloads."""
    run, found, tag = stem.partition("-tag-")
    if not found or not run or layout.names != ("Wall time", "Step", "Value"):
        return layout
    return replace(layout, names=("Wall time", "Step", tag))


# -- rows ---------------------------------------------------------------------------------------------------------------


def _is_whole_row(block: Lines, layout: _Layout) -> bool:
    cells = _cells(_decoded(block.data), layout.delimiter)
    return len(cells) == len(layout.names) and as_number(cells[layout.step]) is not None


def _pieces(run: str, data: bytes, layout: _Layout, tally: _Tally) -> Iterator[Event]:
    """Give the curves of some whole lines."""
    data = _whole_rows(data, layout, tally)
    if not data or data.isspace():
        return
    rows: Any = None  # Cells where all of them are numbers or empty, else a table of Arrow
    if layout.part < 0 and not any(map(is_config, layout.names)):
        rows = rows_of_numbers(data, layout.delimiter, len(layout.names))
    if rows is None:
        rows = _parsed(data, layout, tally)
    step, present, _ = _numbers(rows, layout.step)
    has_step = present & np.isfinite(step)
    if not has_step.all():
        tally.without_step += int(len(step) - np.count_nonzero(has_step))
        rows = _kept(rows, has_step)
        step = step[has_step]
    if not len(step):
        return
    wall = None
    if layout.wall >= 0:
        wall = wall_times(_numbers(rows, layout.wall)[0])
    parts = _parts(rows.column(layout.part)) if layout.part >= 0 else {}
    columns: dict[str, LoggedColumn] = {}
    for number, name in enumerate(layout.names):
        if not name or number in (layout.step, layout.wall, layout.part):
            continue
        if is_config(name):
            _note_config(name, rows.column(number), tally)
            continue
        values, present, texts = _numbers(rows, number)
        if not present.any():
            continue
        if texts:
            tally.no_numbers[name] = tally.no_numbers.get(name, 0) + texts
        where = None if present.all() else np.flatnonzero(present)
        if not parts:
            columns[name] = LoggedColumn(values if where is None else values[where], where)
            continue
        for part, mask in parts.items():
            where = np.flatnonzero(present & mask)
            columns[f"{part}/{name}" if part else name] = LoggedColumn(values[where], where)
    yield from curve_pieces(run, step, columns, wall)


def _whole_rows(data: bytes, layout: _Layout, tally: _Tally) -> bytes:
    """Give some lines as UTF-8, without those that were never written to the end and without repeated headers."""
    if b"\0" in data:
        # A machine that lost power leaves blocks of zeros in the files it was writing.
        kept = [line for line in data.splitlines(keepends=True) if b"\0" not in line]
        tally.skipped += data.count(b"\n") - len(kept)
        data = b"".join(kept)
    if layout.header in data:
        # The header comes again where a training that went on appended to the log of the first one.
        kept = [line for line in data.splitlines(keepends=True) if line.rstrip(b"\r\n") != layout.header]
        data = b"".join(kept)
    return data if data.isascii() else _decoded(data).encode("utf-8")


def _parsed(data: bytes, layout: _Layout, tally: _Tally) -> pa.Table:
    """Give the rows as a table with one column per name; rows of another width are left out and counted."""
    try:
        table, skipped = _parsed_in_blocks(data, layout, min(len(data) + 1, _ARROW_BLOCK_BYTES))
    except pa.ArrowInvalid:  # a row that is longer than a block, which one block for all meets
        table, skipped = _parsed_in_blocks(data, layout, len(data) + 1)
    tally.skipped += skipped
    return table


def _parsed_in_blocks(data: bytes, layout: _Layout, block_size: int) -> tuple[pa.Table, int]:
    """Give the rows, and how many were of another width; blocks are parsed at once."""
    from pyarrow import csv as arrow_csv

    skipped = 0

    def skip(_row: Any) -> str:
        nonlocal skipped
        skipped += 1
        return "skip"

    table = arrow_csv.read_csv(
        pa.BufferReader(data),
        read_options=arrow_csv.ReadOptions(
            column_names=[str(number) for number in range(len(layout.names))],
            block_size=block_size,
            use_threads=len(data) > _ARROW_BLOCK_BYTES,
        ),
        parse_options=arrow_csv.ParseOptions(delimiter=layout.delimiter, invalid_row_handler=skip),
        convert_options=arrow_csv.ConvertOptions(null_values=[""]),
    )
    return table, skipped


def _kept(rows: Cells | pa.Table, mask: np.ndarray) -> Cells | pa.Table:
    """Give some of the rows."""
    if isinstance(rows, Cells):
        return Cells(rows.values[:, mask], rows.present[:, mask])
    return rows.filter(pa.array(mask))


def _numbers(rows: Cells | pa.Table, place: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Give the numbers of a column.

    Returns
    -------
    values : ndarray of float64, shape (n,)
    present : ndarray of bool, shape (n,)
        Whether a row has a number; NaN is one, an empty cell is not.
    texts : int
        Number of cells that hold something else.
    """
    if isinstance(rows, Cells):
        return rows.values[place], rows.present[place], 0
    column: pa.ChunkedArray = rows.column(place)
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        present = column.is_valid().to_numpy(zero_copy_only=False).astype(bool)
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), present, 0
    if pa.types.is_timestamp(kind):
        present = column.is_valid().to_numpy(zero_copy_only=False).astype(bool)
        seconds = column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
        return seconds, present, 0
    values = np.full(len(column), np.nan)
    present = np.zeros(len(column), dtype=bool)
    texts = 0
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        for row, cell in enumerate(column.to_pylist()):
            if cell is None or cell.strip().lower() in _MISSING:
                continue
            number = as_number(cell)
            if number is None:
                texts += 1
            else:
                values[row], present[row] = number, True
    return values, present, texts


def _parts(column: pa.ChunkedArray) -> dict[str, np.ndarray]:
    """Give for every part of the data the rows that are about it."""
    names = np.array([str(cell or "").strip() for cell in column.to_pylist()], dtype=object)
    return {str(name): names == name for name in dict.fromkeys(names)}


def _note_config(name: str, cells: pa.ChunkedArray, tally: _Tally) -> None:
    kept = cells.drop_null()
    if len(kept):
        value = kept[len(kept) - 1].as_py()
        key = name.replace("/", ".").partition(".")[2] or name
        tally.config[key] = value if isinstance(value, str | int | float | bool) else str(value)
