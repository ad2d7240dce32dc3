"""Tables of scores, predictions, comparisons and runs: CSV, TSV, Parquet, JSON lines and npz.

A table is read whole, and again when its file changes; a Parquet file that would fill more than half of the memory is
given by its first rows, the rest staying where it is, to be read block by block (`models.partial`). Which of the canonical
tables it is follows from its columns
(`models.recognition`); every other column is kept. Arrays of objects in npz files are pickles and are never read.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from ..address import is_address, without_password
from ..array_archive import stored_array
from ..deferred import deferred
from ..distant_file import distant_file
from ..errors import ReadError
from ..growing_file import lines, require_short_lines
from ..json_document import as_python_writes
from ..mirror import LARGEST_BYTES
from ..progress import Progress
from ..recognition import columns_by_alias, judged, names_output, recognised, with_categories
from ..tables import Event, Problem, StoredRows, TableRows
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet
else:
    pd = deferred("pandas")
    pa = deferred("pyarrow")

_PARQUET = (".parquet", ".pq")
_SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".npz"})
_MOST_BYTES = 8 << 30
_MOST_ARRAY_BYTES = 2 << 30
_SURELY_BYTES = 256 << 20
_MOST_TIMES = 200
_MOST_COLUMNS = 20_000
_LONGEST_TEXT = 2_000
_TEXT_WIDTH = 16
"""Bytes that a cell of text takes beside its characters."""
_WORTH_THREADS = 1 << 20
_FIRST_ROWS = 65_536
_ROWS_AT_ONCE = 1 << 20
_DEEPEST = 4

_UNTELLING = re.compile(
    r"(?:(?:test|val|valid|validation|eval|evaluation|dev|train)[-_]?)?"
    r"(?:predictions?|preds?|probs?|probabilities|outputs?|logits|results?|scores?|samples|data|test|val|eval)",
    re.IGNORECASE,
)
"""Names of files that say what is in them, and not of which model."""

_ROWS_OF_PROBABILITIES = (
    *("probs", "probabilities", "prob", "proba", "y_prob", "y_proba", "softmax", "predictions", "confidences"),
    *("preds", "y_pred", "outputs", "scores", "p"),
)
_ROWS_OF_LOGITS = ("logits", "logit", "y_logits")
_LABELS = ("labels", "label", "ground_truth", "targets", "target", "y_true", "y", "gold", "truth")


class TableFileReader(Reader):
    """Reads a table of results."""

    name = "table"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Take any file whose ending is that of a table; readers that know it better come first."""
        return Match.MAYBE if entry.suffix in _SUFFIXES else Match.NO

    def stays(self, path: Path, size: int, beside: int) -> bool:
        """Leave Parquet where it is that memory would not hold: a quarter as many bytes fill it once they are unpacked."""
        return path.suffix.lower() in _PARQUET and (size > LARGEST_BYTES or beside > memory_for_tables() / 4)

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the whole table.

        Raises
        ------
        ReadError
            When it is no table, or larger than memory should be filled with.
        """
        path = source.path
        if source.address:
            first, blocks = _distant(source.address, model_of(source.relative))
            yield TableRows(source.relative, self.name, first, blocks.table, StoredRows(blocks.sizes, blocks))
            yield Cursor()
            return
        size = require_regular(path)
        if size == 0:
            raise ReadError("The file is empty.")
        suffix = path.suffix.lower()
        is_parquet = suffix in _PARQUET
        if size > _MOST_BYTES and not is_parquet:
            raise ReadError(f"It has {size / 2**30:.0f} GiB; tables of at most {_MOST_BYTES >> 30} GiB are read.")
        progress(0, size, source.relative)
        notes: list[str] = []
        name = model_of(source.relative)
        if is_parquet and (large := _large(path, size, name)) is not None:
            first, blocks = large
            yield TableRows(source.relative, self.name, first, blocks.table, StoredRows(blocks.sizes, blocks))
            yield Cursor({str(path): size})
            return
        if suffix == ".npz":
            table, frame = _npz(path, name, notes)
        else:
            if is_parquet:
                frame = _parquet(path)
            elif suffix in (".jsonl", ".ndjson"):
                frame = _json_lines(path, size, source.relative, progress, notes)
            else:
                frame = _csv(path, suffix, notes)
            progress(size, size, source.relative)
            table, frame = recognised(_with_arrays_as_columns(frame), name)
        yield TableRows(source.relative, self.name, frame, table)
        for what in notes:
            yield Problem(source.relative, self.name, what)
        yield Cursor({str(path): size})


def model_of(relative: str) -> str:
    """Give the model whose results a file holds by its name, or by that of its folder where the name tells nothing."""
    path = PurePosixPath(relative)
    if _UNTELLING.fullmatch(path.stem) and path.parent.name:
        return path.parent.name
    return path.stem


# -- text ---------------------------------------------------------------------------------------------------------------


def _csv(path: Path, suffix: str, notes: list[str]) -> pd.DataFrame:
    from pyarrow import csv as arrow_csv

    data = _text_of(path)
    header, _, body = data.partition(b"\n")
    if not header.strip():
        raise ReadError("Its first line is empty: it should name the columns.")
    text = header.decode("utf-8", "replace")
    delimiter = "\t" if suffix == ".tsv" else max((",", "\t", ";"), key=text.count)
    if text.count(delimiter) > _MOST_COLUMNS:
        raise ReadError(f"It has {text.count(delimiter) + 1} columns; at most {_MOST_COLUMNS} are read.")
    skipped = 0

    def skip(_row: Any) -> str:
        nonlocal skipped
        skipped += 1
        return "skip"

    parse = arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=b'"' in data, invalid_row_handler=skip)
    # The header is read as a row of its own: names may be empty or come twice.
    as_text = arrow_csv.ConvertOptions(column_types={}, null_values=[], strings_can_be_null=False)
    try:
        names = arrow_csv.read_csv(
            pa.BufferReader(header.rstrip(b"\r") + b"\n"),
            read_options=arrow_csv.ReadOptions(autogenerate_column_names=True, block_size=len(header) + 2),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter),
            convert_options=as_text,
        )
        columns = _distinct([str(column[0]) for column in names.columns])
        if not body.strip():
            return pd.DataFrame({column: pd.Series(dtype="str") for column in columns})
        table = arrow_csv.read_csv(
            pa.BufferReader(body),
            read_options=arrow_csv.ReadOptions(
                column_names=columns, block_size=min(len(body) + 1, 64 << 20), use_threads=len(body) > _WORTH_THREADS
            ),
            parse_options=parse,
            convert_options=arrow_csv.ConvertOptions(
                null_values=["", "NA", "N/A", "#N/A", "null", "NULL", "None"], strings_can_be_null=False
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ReadError(f"It is no table of separated values: {_first_line(error)}.") from error
    if skipped:
        rows = "row" if skipped == 1 else "rows"
        notes.append(f"{skipped} {rows} left out: not {len(columns)} cells as in the header.")
    if table.num_rows == 0 and skipped:
        raise ReadError("None of its rows has as many cells as the header has names.")
    return _frame(table)


def _text_of(path: Path) -> bytes:
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ReadError("It is UTF-16 text.", remedy="Save it as UTF-8.")
    require_short_lines(data)
    if b"\0" in data:
        raise ReadError("It is not text: it holds zero bytes.")
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            # A file that is being written may end in the middle of a character.
            if error.reason == "unexpected end of data":
                data = data[: error.start]
            else:
                data = data.decode("latin-1").encode("utf-8")
    return data


def _distinct(names: Sequence[str]) -> list[str]:
    """Number names that come again, and name those that are empty, as pandas does."""
    taken: set[str] = set()
    distinct = []
    for place, name in enumerate(names):
        own = name.strip() or f"Unnamed: {place}"
        number, chosen = 0, own
        while chosen in taken:
            number += 1
            chosen = f"{own}.{number}"
        taken.add(chosen)
        distinct.append(chosen)
    return distinct


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]


def _json_lines(path: Path, size: int, relative: str, progress: Progress, notes: list[str]) -> pd.DataFrame:
    records: list[dict[str, Any]] = []
    malformed = 0
    with open(path, "rb") as file:
        for block in lines(file, 0, size, 8 << 20):
            progress(block.end, size, relative)
            for line in block.data.split(b"\n"):
                if not line.strip():
                    continue
                record = _record(line)
                if record is not None:
                    records.append(record)
                elif block.ended:
                    malformed += 1
    if not records:
        raise ReadError("None of its lines is a JSON object.")
    if malformed:
        notes.append(f"{malformed} line{'s' * (malformed > 1)} left out: not a JSON object.")
    names = list(dict.fromkeys(name for record in records for name in record))
    if len(names) > _MOST_COLUMNS:
        raise ReadError(f"Its lines have {len(names)} different keys; at most {_MOST_COLUMNS} are read.")
    return pd.DataFrame({name: _column([record.get(name) for record in records]) for name in names})


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = orjson.loads(line.strip().removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        try:
            record = as_python_writes(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
    if not isinstance(record, dict):
        return None
    flat: dict[str, Any] = {}
    _flatten(record, "", flat, _DEEPEST)
    return flat


def _flatten(record: Mapping[str, Any], before: str, flat: dict[str, Any], depth: int) -> None:
    for key, value in record.items():
        if isinstance(value, dict) and depth:
            _flatten(value, f"{before}{key}.", flat, depth - 1)
        elif isinstance(value, dict):
            flat[before + key] = "{…}"
        else:
            flat[before + key] = value


def _column(values: list[Any]) -> Any:
    """Give values as a column of numbers, of text, or of lists of numbers."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool} and None not in values:
        return np.array(values)
    if kinds <= {int, float, bool}:
        try:
            if kinds == {int} and None not in values:
                return np.array(values, dtype=np.int64)
            return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        except OverflowError:
            return pd.Series([None if value is None else str(value) for value in values], dtype="str")
    if kinds == {list} and _are_vectors(values):
        return pd.Series(values, dtype=object)
    return pd.Series([None if value is None else _as_text(value) for value in values], dtype="str")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)[:_LONGEST_TEXT]


# -- Parquet ------------------------------------------------------------------------------------------------------------


def _parquet(path: Path) -> pd.DataFrame:
    with _parquet_file(path) as file:
        if file.metadata.num_columns > _MOST_COLUMNS:
            raise ReadError(f"It has {file.metadata.num_columns} columns; at most {_MOST_COLUMNS} are read.")
        return _frame(file.read())


@contextlib.contextmanager
def _parquet_file(place: str | Path) -> Iterator[parquet.ParquetFile]:
    """Open a Parquet file here or at an address."""
    from pyarrow import parquet

    try:
        if isinstance(place, str) and is_address(place):
            with distant_file(place) as opened, parquet.ParquetFile(opened) as file:
                yield file
        else:
            with parquet.ParquetFile(place) as file:
                yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ReadError(f"It is no Parquet file, or not a whole one: {_first_line(error)}.") from error


def memory_for_tables() -> int:
    """Give how many bytes tables may fill: half of the memory of this machine, where that is known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return _MOST_BYTES


def _bytes_in_memory(metadata: parquet.FileMetaData, schema: pa.Schema) -> float:
    """Give about how many bytes the rows of a Parquet file take as a frame, and while they become one."""
    total = 0.0
    widths = [_width(schema.field(n).type) for n in range(len(schema))]
    for n in range(metadata.num_row_groups):
        group = metadata.row_group(n)
        total += group.num_rows * sum(width for width in widths if width)
        total += group.total_byte_size if not all(widths) else 0
        total += group.num_rows * _TEXT_WIDTH * sum(not width for width in widths)
    return 2 * total


def _width(kind: pa.DataType) -> float:
    try:
        return float(kind.bit_width) / 8
    except ValueError:  # text and lists have none
        return 0.0


@dataclass(frozen=True, slots=True)
class _ParquetBlocks:
    """The rows of a Parquet file, to be read block by block.

    Attributes
    ----------
    place : str
        The file: a path or an address, which any process can open.
    name : str
        The model whose results it holds, where it does not name one.
    sizes : tuple of int
        Rows of each row group.
    table : str
        Canonical table they are of.
    numbers_items : bool
        Whether its items have no name but the number of their row.
    """

    place: str = field(repr=False)
    name: str
    sizes: tuple[int, ...]
    table: str
    numbers_items: bool

    def __call__(
        self, number: int, wanted: frozenset[str] | None, among: Mapping[str, frozenset[Any]]
    ) -> Iterator[pd.DataFrame]:
        """Give the rows of a block under the names of the first rows, some at a time."""
        at = sum(self.sizes[:number])
        with _parquet_file(self.place) as file:
            schema = file.schema_arrow
            metadata = file.metadata
            if number >= metadata.num_row_groups or metadata.row_group(number).num_rows != self.sizes[number]:
                raise ReadError(f"{self._shown} has other rows than when it was opened.", remedy="Open it again.")
            # Rows that are named by their number have to be counted; all others can be left out before they are converted.
            kept = {} if self.numbers_items else self._kept(schema, among)
            if not _may_hold(metadata.row_group(number), kept):
                return
            columns = None if wanted is None else self._columns(schema.names, wanted)
            for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[number], columns=columns):
                rows = pa.Table.from_batches([batch])
                for name, values in kept.items():
                    rows = rows.filter(_is_in(rows.column(name), values))
                if not rows.num_rows:
                    continue
                table, frame = recognised(_with_arrays_as_columns(_frame(rows)), self.name)
                if table != self.table:
                    raise ReadError(
                        f"{self._shown}: rows from {at:,} on read as {table or 'no table'}, not as {self.table}."
                    )
                if self.numbers_items:
                    frame = frame.assign(item=np.arange(at, at + len(frame)))
                at += batch.num_rows
                yield frame

    @property
    def _shown(self) -> str:
        return PurePosixPath(without_password(self.place)).name if is_address(self.place) else Path(self.place).name

    def _kept(self, schema: pa.Schema, among: Mapping[str, frozenset[Any]]) -> dict[str, list[str]]:
        """Give the columns of text of the file whose values are asked for, with these values."""
        known = columns_by_alias(pd.DataFrame(columns=list(schema.names)), self.table)
        kept = {}
        for column, values in among.items():
            name = column if column in schema.names else known.get(column, "")
            if name and _is_text(schema.field(name).type) and all(isinstance(value, str) for value in values):
                kept[name] = sorted(values)
        return kept

    def _columns(self, names: Sequence[str], wanted: frozenset[str]) -> list[str]:
        """Give the columns of the file that have to be read: those asked for, and those from which rows are recognised.

        Probabilities of classes are left where what follows from them (the answer, its probability) stands beside.
        """
        raw = pd.DataFrame(columns=list(names))
        known = columns_by_alias(raw, self.table)
        is_said = {"prediction", "confidence"} <= known.keys() and not any(
            name.startswith(("prob.", "logit.")) for name in wanted
        )
        arrays = {*_ROWS_OF_PROBABILITIES, *_ROWS_OF_LOGITS}
        outputs = [name for name in names if names_output(name) or name.lower() in arrays]
        if is_said and self.table == "predictions":
            outputs = [name for name in outputs if name in known.values()]
        return [name for name in names if name in wanted or name in known.values() or name in outputs]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_in(column: pa.ChunkedArray, values: list[str]) -> pa.ChunkedArray:
    import pyarrow.compute as compute

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return compute.is_in(column, value_set=pa.array(values, column.type))


def _may_hold(group: parquet.RowGroupMetaData, kept: Mapping[str, list[str]]) -> bool:
    """Whether a row group may hold rows with some values, by the least and greatest values it says it has."""
    for n in range(group.num_columns if kept else 0):
        column = group.column(n)
        values = kept.get(column.path_in_schema)
        said = column.statistics if values is not None and column.is_stats_set else None
        if values is None or said is None or not said.has_min_max or not isinstance(said.min, str):
            continue
        if not any(said.min <= value <= said.max for value in values):
            return False
    return True


def _large(path: Path, size: int, name: str) -> tuple[pd.DataFrame, _ParquetBlocks] | None:
    """Give the first rows of a file of predictions, scores or comparisons that memory should not be filled with, and its
    blocks; None for any other file.

    The files of a folder count together: a table is often cut into many.

    Raises
    ------
    ReadError
        When it is too large and cannot be read block by block either.
    """
    with _parquet_file(path) as file:
        beside = sum(one.stat().st_size for one in path.parent.iterdir() if one.suffix.lower() in _PARQUET)
        taken = _bytes_in_memory(file.metadata, file.schema_arrow) * max(1.0, beside / max(size, 1))
        if taken <= memory_for_tables():
            return None
        return _in_blocks(file, str(path.absolute()), name)


def _distant(address: str, name: str) -> tuple[pd.DataFrame, _ParquetBlocks]:
    """Give the first rows of a file elsewhere, and its blocks, which stay there.

    Raises
    ------
    ReadError
        When it cannot be read block by block.
    """
    with _parquet_file(address) as file:
        return _in_blocks(file, address, name)


def _in_blocks(file: parquet.ParquetFile, place: str, name: str) -> tuple[pd.DataFrame, _ParquetBlocks]:
    metadata = file.metadata
    if metadata.num_columns > _MOST_COLUMNS:
        raise ReadError(f"It has {metadata.num_columns} columns; at most {_MOST_COLUMNS} are read.")
    sizes = tuple(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups))
    batch = next(file.iter_batches(_FIRST_ROWS), None)
    rows = _with_arrays_as_columns(_frame(pa.Table.from_batches([batch]))) if batch is not None else pd.DataFrame()
    table, first = recognised(rows, name)
    if table not in ("predictions", "scores", "comparisons") or len(first) != len(rows):
        taken = _bytes_in_memory(metadata, file.schema_arrow)
        raise ReadError(
            f"Its {sum(sizes):,} rows of {metadata.num_columns} columns would take about {taken / 2**30:.1f} GiB of "
            "memory, and only long tables of predictions, scores or comparisons are read in parts."
        )
    # Rows that have only a number are counted from the start wherever reading starts.
    numbers_items = False
    if table == "predictions" and "item" not in rows.columns and len(rows) > 1:
        later = recognised(rows[1:].reset_index(drop=True), name)[1]
        numbers_items = bool(first["item"].iloc[0] == 0 and later["item"].iloc[0] == 0)
    return first, _ParquetBlocks(place, name, sizes, table, numbers_items)


def _frame(table: pa.Table) -> pd.DataFrame:
    """Give an Arrow table as a frame; empty text is missing."""
    import pyarrow.compute as compute

    table.validate(full=True)  # text that is none would fail wherever it is used
    columns: dict[str, Any] = {}
    for name, column in zip(_distinct(table.column_names), table.columns, strict=True):
        if name.startswith("__index_level_"):
            continue
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
            kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            column = column.cast(pa.large_string())
            column = compute.if_else(compute.equal(column, ""), pa.scalar(None, pa.large_string()), column)
            columns[name] = pd.Series(column.to_pandas(), dtype="str")
        elif pa.types.is_null(kind):
            columns[name] = pd.Series([None] * len(column), dtype="str")
        elif (pa.types.is_boolean(kind) and column.null_count) or pa.types.is_decimal(kind):
            columns[name] = column.cast(pa.float64()).to_pandas()
        elif pa.types.is_date(kind):
            columns[name] = column.to_pandas(date_as_object=False)
        elif pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_union(kind):
            columns[name] = pd.Series([None if v is None else _as_text(v) for v in column.to_pylist()], dtype="str")
        else:
            columns[name] = column.to_pandas()
    return pd.DataFrame(columns)


def _are_vectors(values: Sequence[Any]) -> bool:
    """Whether values are vectors of numbers of one length."""
    lengths = {len(value) for value in values if value is not None}
    if len(lengths) != 1 or not 0 < next(iter(lengths)) <= _MOST_COLUMNS or any(value is None for value in values):
        return False
    return all({type(number) for number in value} <= {int, float} for value in values if isinstance(value, list))


def _with_arrays_as_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a frame whose columns of probabilities or logits of all classes are one column for each class."""
    for column in [column for column, kind in frame.dtypes.items() if kind == np.dtype(object)]:
        values = frame[column].tolist()
        if not isinstance(next((value for value in values if value is not None), None), list | np.ndarray):
            continue
        name = str(column).lower()
        prefix = "logit" if name in _ROWS_OF_LOGITS else "prob" if name in _ROWS_OF_PROBABILITIES else ""
        arrays = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
        if prefix and _are_vectors(arrays):
            matrix = np.array(arrays, dtype=np.float64)
            if prefix == "prob" and not _are_probabilities(matrix):
                prefix = "logit"
            wide = pd.DataFrame(matrix, columns=[f"{prefix}.{k}" for k in range(matrix.shape[1])], index=frame.index)
            frame = pd.concat([frame.drop(columns=column), wide], axis=1)
        else:
            text = [None if value is None else json.dumps(value, default=str)[:_LONGEST_TEXT] for value in arrays]
            frame = frame.assign(**{str(column): pd.Series(text, index=frame.index, dtype="str")})
    return frame


def _are_probabilities(matrix: np.ndarray) -> bool:
    finite = matrix[np.isfinite(matrix).all(axis=1)]
    if not len(finite):
        return False
    return bool((finite >= 0).all() and (finite <= 1 + 1e-6).all())


# -- npz ----------------------------------------------------------------------------------------------------------------


def _npz(path: Path, name: str, notes: list[str]) -> tuple[str, pd.DataFrame]:
    arrays = _arrays(path, notes)
    labels_name = next((key for key in _LABELS if key in arrays), "")
    labels = _as_labels(arrays[labels_name]) if labels_name else None
    for prefix, keys in (("logit", _ROWS_OF_LOGITS), ("prob", _ROWS_OF_PROBABILITIES)):
        for key in keys:
            outputs = arrays.get(key)
            if outputs is None or key == labels_name or outputs.dtype.kind != "f" or outputs.ndim not in (1, 2):
                continue
            if labels is not None and len(labels) == len(outputs):
                others = {other: array for other, array in arrays.items() if other not in (key, labels_name)}
                return "predictions", _answered(outputs, labels, prefix, others, name)
    return recognised(_beside_one_another(arrays), name)


def _arrays(path: Path, notes: list[str]) -> dict[str, np.ndarray]:
    """Read the arrays of an npz file, as far as they are numbers or text and no larger than the file says."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            declared = sum(info.file_size for info in members)
            if declared > _MOST_ARRAY_BYTES:
                raise ReadError(f"It unpacks to {declared / 2**30:.0f} GiB, too much to read.")
            if declared > _SURELY_BYTES and declared > _MOST_TIMES * sum(info.compress_size for info in members):
                raise ReadError(f"It unpacks to more than {_MOST_TIMES} times its size: no outputs of a model do.")
            arrays = {}
            for info in members:
                key = info.filename.removesuffix(".npy")
                try:
                    arrays[key] = stored_array(archive, info)
                except (ValueError, EOFError, SyntaxError, TypeError) as error:
                    notes.append(f"Array {key!r} left out: {_first_line(error)}.")
    except (zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, EOFError, UnicodeDecodeError) as error:
        raise ReadError(f"It is no npz file, or not a whole one: {_first_line(error)}.") from error
    if not arrays:
        raise ReadError(notes[0] if notes else "It holds no arrays.")
    return arrays


def _as_labels(labels: np.ndarray) -> np.ndarray:
    """Give labels as a vector: one-hot rows and single columns are unfolded."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = np.argmax(labels, axis=1)
    return np.ravel(labels)


def _answered(
    outputs: np.ndarray, labels: np.ndarray, prefix: str, others: Mapping[str, np.ndarray], name: str
) -> pd.DataFrame:
    """Give predictions from an array of probabilities or logits; items are named by an array `item`, else by their row, so
    that networks join on them.
    """
    if outputs.ndim == 2 and outputs.shape[1] == 1:
        outputs = outputs[:, 0]
    if outputs.ndim == 1:
        if prefix == "logit" or not _are_probabilities(outputs[:, None]):
            outputs, prefix = np.stack([np.zeros_like(outputs), outputs], axis=1), "logit"
        else:
            outputs = np.stack([1 - outputs, outputs], axis=1)
    elif prefix == "prob" and not _are_probabilities(outputs):
        prefix = "logit"
    facts: dict[str, Any] = {"item": np.arange(len(labels)), "label": labels}
    columns = {key: array for key, array in others.items() if array.ndim == 1 and len(array) == len(labels)}
    facts |= {key: array for key, array in columns.items() if key != "label"}
    wide = pd.DataFrame(outputs, columns=[f"{prefix}.{k}" for k in range(outputs.shape[1])], copy=False)
    frame = judged(pd.concat([pd.DataFrame(facts), wide], axis=1))
    return with_categories(frame if "model" in frame.columns else frame.assign(model=name))


def _beside_one_another(arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Give the arrays of the most frequent length as columns."""
    lengths = [len(array) for array in arrays.values() if array.ndim == 1]
    if not lengths:
        raise ReadError(f"None of its arrays ({', '.join(sorted(arrays)[:8])}) is a column of a table.")
    rows = max(lengths, key=lambda length: (lengths.count(length), length))
    return pd.DataFrame({key: array for key, array in arrays.items() if array.ndim == 1 and len(array) == rows})
