"""Columns and arrays of every kind a table may have: each becomes values of its kind, text, or a sentence."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from runglass.models.loader import load
from runglass.models.readers import table_file
from runglass.models.store import RunStore

BASE = {"item": ["1", "2", "3"], "label": ["a", "b", "a"], "prediction": ["a", "a", "b"]}


def said(store: RunStore) -> str:
    return " ".join(problem.what for problem in (*store.problems, *store.table_problems))


def opened(folder: Path, name: str, data: bytes) -> RunStore:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return load([folder])


def predictions(folder: Path, **columns: pa.Array) -> pd.DataFrame:
    folder.mkdir(exist_ok=True)
    parquet.write_table(pa.table({**BASE, **columns}), folder / "predictions.parquet")
    return load([folder]).rows("predictions")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
        (pa.array([Decimal("1.50"), None, Decimal("2.25")]), [1.5, None, 2.25]),
        (pa.array([True, None, False]), [1.0, None, 0.0]),
        (pa.array([{"a": 1}, None, {"a": 2}]), ['{"a": 1}', None, '{"a": 2}']),
        (pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())), None),
        (pa.array([None, None, None]), [None, None, None]),
    ],
    ids=["dictionary", "decimal", "boolean", "struct", "map", "nothing"],
)
def test_that_a_column_of_parquet_is_values_of_its_kind(tmp_path: Path, column: pa.Array, values: Any) -> None:
    rows = predictions(tmp_path / "t", extra=column)
    found = [None if pd.isna(value) else value for value in rows["extra"]]
    assert len(found) == 3
    if values is not None:
        assert found == values


def test_that_lists_of_one_length_are_outputs_and_others_text(tmp_path: Path) -> None:
    rows = predictions(tmp_path / "a", probs=pa.array([[0.5, 0.5], [0.1, 0.9], [0.2, 0.8]]))
    assert rows["prob.1"].tolist() == [0.5, 0.9, 0.8]
    rows = predictions(tmp_path / "b", probs=pa.array([[5.0, -2.0], [1.0, 9.0], [2.0, 3.0]]))
    assert rows["logit.0"].tolist() == [5.0, 1.0, 2.0]
    rows = predictions(tmp_path / "c", probs=pa.array([[0.5, 0.5], None, [1.0]]))
    assert [None if pd.isna(value) else json.loads(value) for value in rows["probs"]] == [[0.5, 0.5], None, [1.0]]


def test_that_a_list_behind_an_empty_cell_is_text(tmp_path: Path) -> None:
    rows = predictions(tmp_path / "a", tags=pa.array([None, ["x"], ["y", "z"]]))
    assert rows["tags"].fillna("").tolist() == ["", '["x"]', '["y", "z"]']


def test_that_outputs_none_of_which_is_a_number_are_no_probabilities(tmp_path: Path) -> None:
    rows = predictions(tmp_path / "a", probs=pa.array([[math.nan, math.nan]] * 3))
    assert not [name for name in rows.columns if name.startswith("prob.")]


def test_that_a_header_that_is_never_closed_is_no_table(tmp_path: Path) -> None:
    assert "It is no table of separated values" in said(opened(tmp_path, "a.csv", b'"a,b\n1,2\n'))


def test_that_a_csv_whose_first_line_is_empty_says_so(tmp_path: Path) -> None:
    assert "first line is empty" in said(opened(tmp_path / "t", "predictions.csv", b"\nitem,label\n1,2\n"))


def test_that_rows_with_other_numbers_of_cells_are_counted_and_left_out(tmp_path: Path) -> None:
    store = opened(tmp_path / "a", "predictions.csv", b"item,label,prediction\n1,a,a\n2,b\n3,a,b,c\n4,b,b\n")
    assert store.rows("predictions")["item"].tolist() == ["1", "4"]
    assert "2 rows left out: not 3 cells as in the header." in said(store)
    assert "None of its rows" in said(opened(tmp_path / "b", "predictions.csv", b"item,label,prediction\n1,a\n2\n"))


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.jsonl", "predictions.parquet"])
def test_that_more_columns_than_anyone_can_look_at_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("runglass.models.readers.table_file._MOST_COLUMNS", 4)
    frame = pd.DataFrame({**BASE, "a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2, 3]})
    (tmp_path / "t").mkdir()
    path = tmp_path / "t" / name
    {
        "csv": lambda: frame.to_csv(path, index=False),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
    }[name.partition(".")[2]]()
    assert "at most 4 are read" in said(load([tmp_path / "t"]))


def test_that_a_table_larger_than_can_be_held_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runglass.models.readers.table_file._MOST_BYTES", 10)
    assert "tables of at most" in said(opened(tmp_path / "t", "predictions.csv", b"item,label,prediction\n1,a,a\n"))


def test_that_lines_that_are_no_objects_are_left_out_and_deep_ones_are_cut(tmp_path: Path) -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(40):
        deep = {"d": deep}
    lines = [{"item": "1", "label": "a", "prediction": "a", "ok": True, "deep": deep}, 3, [1], None, {"item": "2", "label": "b",
             "prediction": "b", "ok": False}]  # fmt: skip
    data = "".join(json.dumps(one) + "\n" for one in lines).encode()
    rows = opened(tmp_path / "t", "predictions.jsonl", data).rows("predictions")
    assert rows["item"].tolist() == ["1", "2"]
    assert rows["ok"].tolist() == [True, False]
    cut = next(name for name in rows.columns if str(name).startswith("deep."))
    assert rows[cut].tolist()[0] == "{…}"


def arrays(folder: Path, **given: np.ndarray) -> RunStore:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "predictions.npz", **given)
    return load([folder])


def test_that_labels_of_arrays_may_be_one_hot_or_a_column(tmp_path: Path) -> None:
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    one_hot = arrays(tmp_path / "a", probs=probs, labels=np.array([[1, 0], [0, 1], [1, 0]])).rows("predictions")
    column = arrays(tmp_path / "b", probs=probs, labels=np.array([[0], [1], [0]])).rows("predictions")
    assert [str(one) for one in one_hot["label"]] == [str(one) for one in column["label"]] == ["0", "1", "0"]


def test_that_one_output_for_each_item_is_that_of_the_second_class(tmp_path: Path) -> None:
    rows = arrays(tmp_path / "a", probs=np.array([[0.1], [0.8], [0.7]]), labels=np.array([0, 1, 0])).rows("predictions")
    assert rows["prob.1"].tolist() == [0.1, 0.8, 0.7]
    rows = arrays(tmp_path / "b", logits=np.array([-3.0, 2.0, 4.0]), labels=np.array([0, 1, 0])).rows("predictions")
    assert rows["logit.1"].tolist() == [-3, 2, 4]


def test_that_arrays_without_a_column_are_no_table(tmp_path: Path) -> None:
    assert "is a column of a table" in said(arrays(tmp_path / "t", cube=np.zeros((2, 2, 2))))


def test_that_labels_of_other_items_than_the_outputs_make_no_answers(tmp_path: Path) -> None:
    store = arrays(tmp_path / "a", probs=np.full((4, 2), 0.5), labels=np.zeros(3, int))
    assert "predictions" not in {rows.table for rows in store.sources.values()}


def test_that_arrays_that_unpack_to_far_more_than_their_size_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runglass.models.readers.table_file._SURELY_BYTES", 1000)
    (tmp_path / "a").mkdir()
    np.savez_compressed(tmp_path / "a" / "a.npz", probs=np.zeros((100_000, 2)), labels=np.zeros(100_000, int))
    assert "times its size: no outputs of a model do" in said(load([tmp_path / "a"]))


def test_that_where_memory_is_not_known_a_fixed_size_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sysconf")
    assert table_file.memory_for_tables() == table_file._MOST_BYTES
