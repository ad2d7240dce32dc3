"""Parts of an export from Neptune, in the layout the exporter documents."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from runglass.models.loader import load

SCHEMA = pa.schema(
    [
        ("project_id", pa.string()), ("run_id", pa.string()), ("attribute_path", pa.string()),
        ("attribute_type", pa.string()), ("step", pa.decimal128(18, 6)), ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("int_value", pa.int64()), ("float_value", pa.float64()), ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
    ]
)  # fmt: skip
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def row(path: str, kind: str, **values: Any) -> dict[str, Any]:
    return {"project_id": "w/p", "run_id": "R-1", "attribute_path": path, "attribute_type": kind, **values}


def point(step: int, value: float) -> dict[str, Any]:
    return row("metrics/loss", "float_series", step=Decimal(step), timestamp=START, float_value=value)


def written(folder: Path, part: int, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / f"R-1_part_{part}.parquet")


def test_that_the_parts_of_a_run_are_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    about = [
        row("parameters/lr", "float", float_value=0.1),
        row("parameters/seed", "int", int_value=3),
        row("sys/name", "string", string_value="small-lr"),
        row("sys/failed", "bool", bool_value=False),
        row("notes", "string"),
    ]
    written(folder, 0, [*about, point(0, 2.0), point(1, 1.0)])
    written(folder, 1, [point(2, math.nan)])
    store = load([folder])
    assert not store.problems
    ((key, run),) = store.runs.items()
    assert (key, run.name, run.status) == ("project/R-1", "small-lr", "diverged")
    assert run.config == {"parameters/lr": 0.1, "parameters/seed": 3}
    loss = run.curves["metrics/loss"]
    np.testing.assert_array_equal(loss.step, [0, 1, 2])
    np.testing.assert_array_equal(loss.value, [2.0, 1.0, math.nan])
    np.testing.assert_array_equal(loss.wall_time, [START.timestamp()] * 3)


def test_that_other_tables_with_such_a_name_stay_tables(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"model": ["a"], "task": ["t"], "value": [1.0]}), tmp_path / "x_part_0.parquet")
    store = load([tmp_path])
    assert len(store.rows("scores")) == 1
