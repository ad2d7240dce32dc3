"""What ``runglass export --tables`` wrote: the canonical tables as Parquet, and ``runglass-tables.json`` beside them.

The runs are read as they were: curves, names, configuration, status and declared x axes. Their keys are below the folder, so
that they can be opened beside the runs they came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..errors import ReadError
from ..json_document import json_document, objects
from ..logged_columns import whole_steps
from ..progress import Progress
from ..recognition import with_categories
from ..schema import SCHEMAS
from ..tables import CurvePiece, Event, Forgotten, Problem, RunFacts, Status, TableRows
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd

_MANIFEST = "runglass-tables.json"
_VERSION = 1
_STATUSES = frozenset({"finished", "running", "failed", "diverged", "unknown"})


class TableFolderReader(Reader):
    """Reads all runs and tables of one folder."""

    name = "runglass tables"
    makes_runs = False
    looks_at_folders = True

    def match(self, entry: Entry) -> Match:
        """Know a folder by what stands beside the tables."""
        return Match.YES if entry.is_folder and _MANIFEST in entry.children else Match.NO

    def watched(self, path: Path) -> list[Path]:
        """Give the tables, and what stands beside them."""
        return [path / _MANIFEST, *(path / f"{name}.parquet" for name in SCHEMAS)]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read all of it; it is written once.

        Raises
        ------
        ReadError
            When what stands beside the tables is damaged, or was written by a newer Runglass.
        """
        folder = source.path
        manifest = json_document(folder / _MANIFEST)
        version = manifest.get("runglass_tables") if isinstance(manifest, dict) else None
        if not isinstance(version, int) or not isinstance(manifest.get("runs"), list):
            raise ReadError(f"{_MANIFEST} is not what Runglass writes.")
        if version > _VERSION:
            raise ReadError(f"The tables were written by a newer Runglass (format {version}): update Runglass.")
        keys: dict[str, str] = {}
        runs = [one for one in objects(manifest["runs"]) if isinstance(one.get("run"), str)]
        for one in runs:
            keys[one["run"]] = f"{source.run}/{one['run']}"
        if cursor is not None:
            yield Forgotten(
                source.relative, self.name, "It was written anew; its runs were read again.", tuple(keys.values())
            )
        for one in runs:
            yield _facts(one, keys[one["run"]], source.relative, self.name)
        for done, table in enumerate(SCHEMAS):
            progress(done, len(SCHEMAS), table)
            path = folder / f"{table}.parquet"
            if not path.exists():
                continue
            try:
                frame = _frame(path)
                if table == "scalars":
                    yield from _curves(frame[frame["run"].isin(list(keys))], keys)
                if table in ("scalars", "runs"):
                    frame = frame[~frame["run"].isin(list(keys))].dropna(axis="columns", how="all")
            except (OSError, ReadError, KeyError, ValueError, TypeError) as error:
                reason = error.what if isinstance(error, ReadError) else "It is no table of Runglass."
                yield Problem(source.relative, self.name, f"{path.name} is left out. {reason}", source.run)
                continue
            if len(frame):
                rows = with_categories(frame.reset_index(drop=True))
                yield TableRows(f"{source.relative}/{path.name}", self.name, rows, table)
        yield Cursor({str(folder / _MANIFEST): require_regular(folder / _MANIFEST)})


def _frame(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
        table.validate(full=True)
        frame: pd.DataFrame = table.to_pandas()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ReadError(f"It is no whole Parquet file: {error}.") from None
    return frame


def _facts(one: Mapping[str, Any], run: str, relative: str, reader: str) -> RunFacts:
    status = one.get("status")
    config, facts, x_tags = (_values(one.get(name)) for name in ("config", "facts", "x_tags"))
    return RunFacts(
        run,
        name=str(one.get("name") or ""),
        reader=str(one.get("reader") or reader),
        source=str(one.get("source") or relative),
        status=cast("Status", status) if isinstance(status, str) and status in _STATUSES else None,
        config=config,
        facts=facts,
        x_tags={str(key): str(value) for key, value in x_tags.items()},
    )


def _values(value: Any) -> dict[str, Any]:
    """Give a mapping in which NaN and infinities, which JSON has not, are numbers again."""
    if not isinstance(value, dict):
        return {}
    return {
        str(key): float(one["float"]) if isinstance(one, dict) and one.get("float") in ("nan", "inf", "-inf") else one
        for key, one in value.items()
    }


def _curves(frame: pd.DataFrame, keys: Mapping[str, str]) -> Iterator[CurvePiece]:
    """Give the curves; tags of a run that were logged together share their steps again."""
    together: dict[tuple[str, bytes, bytes], tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]] = {}
    for (run, tag), points in frame.groupby(["run", "tag"], sort=False, observed=True):
        step = whole_steps(points["step"].to_numpy(dtype=np.float64))
        wall = points["wall_time"].to_numpy(dtype=np.float64) if "wall_time" in points.columns else None
        if wall is not None and bool(np.isnan(wall).all()):
            wall = None
        identity = (str(run), step.tobytes(), b"" if wall is None else wall.tobytes())
        values = together.setdefault(identity, (step, wall, {}))[2]
        values[str(tag)] = points["value"].to_numpy(dtype=np.float64)
    for (run, _, _), (step, wall, values) in together.items():
        yield CurvePiece(keys[run], step, values, wall)
