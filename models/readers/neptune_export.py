"""Runs exported from Neptune by neptune-exporter: ``<project>/<run>_part_<n>.parquet``.

A row is one attribute of a run, or one point of a series: ``attribute_path`` and ``attribute_type`` say what it is, and the
column of that type holds the value. Series of numbers become curves, other numbers, truths and texts the configuration. All
parts of a run are read together with the first, so that its points keep their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..configuration import flattened
from ..deferred import deferred
from ..errors import ReadError
from ..logged_columns import whole_steps
from ..progress import Progress
from ..tables import CurvePiece, Event, Forgotten, RunFacts, Status
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_NAME = re.compile(r"(.+)_part_(\d+)\.parquet")
_VALUES = {"int": "int_value", "float": "float_value", "string": "string_value", "bool": "bool_value"}
_READ = ("run_id", "attribute_path", "attribute_type", "step", "timestamp", *_VALUES.values())
_MOST_BYTES = 8 << 30


class NeptuneExportReader(Reader):
    """Reads all parts of a run."""

    name = "neptune export"
    makes_runs = False

    def match(self, entry: Entry) -> Match:
        """Know a part by its name and columns."""
        if not _NAME.fullmatch(entry.name) or not entry.head.startswith(b"PAR1"):
            return Match.NO
        import pyarrow as pa
        from pyarrow import parquet

        try:
            names = set(parquet.read_schema(entry.path).names)
        except (OSError, pa.ArrowException):
            return Match.NO
        return Match.YES if set(_READ) <= names else Match.NO

    def watched(self, path: Path) -> list[Path]:
        """Give all parts of the run with the first one."""
        parts = _parts(path)
        return parts if parts[:1] == [path] else [path]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read all parts where this is the first, and nothing where it is another.

        Raises
        ------
        ReadError
            When it is no whole Parquet file, or too large.
        """
        import pyarrow as pa
        from pyarrow import parquet

        parts = _parts(source.path)
        if parts[:1] != [source.path]:
            yield Cursor()
            return
        sizes = {str(path): require_regular(path) for path in parts}
        size = sum(sizes.values())
        if size > _MOST_BYTES:
            raise ReadError(f"It has {size / 2**30:.0f} GiB; exports of at most {_MOST_BYTES >> 30} GiB are read.")
        try:
            tables = [parquet.read_table(path, columns=list(_READ)) for path in parts]
            table = pa.concat_tables(tables, promote_options="permissive")
            table.validate(full=True)
            frame = table.to_pandas()
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise ReadError(f"It, or another part of the run, is no whole Parquet file: {error}.") from None
        progress(size, size, source.relative)
        runs = [
            (f"{source.run}/{run}", str(run), rows) for run, rows in frame.groupby("run_id", sort=False, observed=True)
        ]
        if cursor is not None:
            yield Forgotten(source.relative, self.name, "", tuple(key for key, _, _ in runs))
        for key, run, rows in runs:
            yield _facts(key, run, rows, source, self.name)
            yield from _curves(key, rows[rows["attribute_type"] == "float_series"])
        yield Cursor(sizes)


def _parts(path: Path) -> list[Path]:
    """Give all parts of the run that `path` is one of, in order."""
    own = _NAME.fullmatch(path.name)
    found = [(name, one) for one in path.parent.iterdir() if (name := _NAME.fullmatch(one.name))]
    parts = [(int(name[2]), one) for name, one in found if own and name[1] == own[1]]
    return [one for _, one in sorted(parts)]


def _facts(key: str, run: str, rows: pd.DataFrame, source: Source, reader: str) -> RunFacts:
    given: dict[str, Any] = {}
    for kind, column in _VALUES.items():
        some = rows[(rows["attribute_type"] == kind) & rows[column].notna()]
        given |= dict(zip(some["attribute_path"].astype(str), some[column].tolist(), strict=True))
    failed = given.get("sys/failed")
    status: Status | None = None if failed is None else ("failed" if failed else "finished")
    created = rows.loc[(rows["attribute_path"] == "sys/creation_time"), "timestamp"].dropna()
    config = {name: value for name, value in flattened(given).items() if not name.startswith("sys/")}
    facts = {"started": _seconds(created)[0]} if len(created) else {}
    name = str(given.get("sys/name") or run)
    return RunFacts(key, name=name, reader=reader, source=source.relative, status=status, config=config, facts=facts)


def _seconds(times: pd.Series) -> np.ndarray:
    return pd.to_datetime(times, utc=True).to_numpy("datetime64[ns]").astype(np.int64) / 1e9


def _curves(run: str, series: pd.DataFrame) -> Iterator[CurvePiece]:
    for tag, points in series.groupby("attribute_path", sort=False, observed=True):
        step = points["step"].astype("float64").to_numpy()
        sound = np.isfinite(step)
        wall = _seconds(points["timestamp"])[sound] if bool(points["timestamp"].notna().all()) else None
        value = points["float_value"].astype("float64").to_numpy()[sound]
        if len(value):
            yield CurvePiece(run, whole_steps(step[sound]), {str(tag): value}, wall)
