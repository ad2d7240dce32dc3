import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from runglass.models import partial
from runglass.models.column_map import ColumnMap
from runglass.models.engine import InProcess, Processes
from runglass.models.errors import SchemaError, TooLarge
from runglass.models.inspection import found, rows_of_tables
from runglass.models.loader import load
from runglass.models.partial import Part, mapped, parts_of, survey
from runglass.models.readers import table_file
from runglass.models.selection import Holds, is_in
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def predictions(items: int = 500, versions: tuple[str, ...] = ("v1", "v2", "v10")) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "model": "m",
                "version": version,
                "item": np.arange(items),
                "prediction": generator.choice(list("ABCD"), items),
                "label": np.resize(list("ABCD"), items),
                "epoch": np.arange(items) % 3,
                "prompt": "p" * 20,
            }
        )
        for version in versions
    ]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of 1,500 rows in 15 blocks that counts as larger than memory."""
    monkeypatch.setattr(table_file, "memory_for_tables", lambda: 1000)
    monkeypatch.setattr(table_file, "_FIRST_ROWS", 50)
    monkeypatch.setattr(table_file, "_ROWS_AT_ONCE", 64)
    path = tmp_path / "big.parquet"
    predictions().to_parquet(path, row_group_size=100)
    return path


def right_by_version(part: Part) -> dict[str, int]:
    frame = part.rows()
    sums = frame.groupby("version", observed=True)["correct"].sum()
    return {str(name): int(count) for name, count in sums.items()}


def added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def test_that_a_table_that_fits_memory_is_one_part_and_the_store_itself():
    store = RunStore().adding([TableRows("a.csv", "table", predictions(20), "predictions")])
    (part,) = parts_of(store, "predictions", together=("item",))
    assert part.store() is store


def test_that_a_large_table_stays_in_its_file_and_says_so_when_all_of_it_is_asked_for(large):
    store = load([large])
    assert store.is_stored("predictions")
    assert len(store.first_rows("predictions")) == 50
    assert store.number_of_rows("predictions") == 1500
    assert rows_of_tables(store)["predictions"] == 1500
    assert "1,500 rows of predictions" in found(store)
    with pytest.raises(TooLarge, match="1,500 rows and stays in its files"):
        store.rows("predictions")


@pytest.mark.parametrize("together", [(), ("item",), ("version", "item")])
def test_that_parts_hold_every_row_once(large, together):
    parts = parts_of(load([large]), "predictions", together=together, most=400)
    assert len(parts) == 4
    rows = pd.concat([part.rows() for part in parts], ignore_index=True)
    expected = predictions()
    assert len(rows) == len(expected)
    key = ["version", "item"]
    seen = rows.assign(item=rows["item"].astype(int), version=rows["version"].astype(str)).sort_values(key)
    expected = expected.sort_values(key)
    for name in ("prediction", "label", "epoch", "prompt"):
        assert seen[name].tolist() == expected[name].tolist()


def test_that_rows_of_an_item_come_in_one_part(large):
    parts = parts_of(load([large]), "predictions", together=("item",), most=300)
    items = [set(part.rows()["item"]) for part in parts]
    assert len(parts) == 5
    assert all(items)
    assert sum(map(len, items)) == len(set.union(*items)) == 500


def test_that_rows_together_meet_across_files_whatever_their_items_are_stored_as(large):
    other = predictions(500, ("v3",)).assign(item=lambda t: t["item"].astype(str).astype("category"))
    store = load([large]).adding([TableRows("small.csv", "table", other, "predictions")])
    for part in parts_of(store, "predictions", together=("item",), most=500):
        assert set(part.rows().groupby("item").size()) == {4}


def test_that_stretches_follow_the_order_of_the_file(large):
    parts = parts_of(load([large]), "predictions", most=250)
    rows = pd.concat([part.rows() for part in parts], ignore_index=True)
    assert [len(part.rows()) for part in parts][:2] == [200, 200]
    assert rows["item"].astype(int).tolist() == predictions()["item"].tolist()


def test_that_counts_of_parts_add_up_to_those_of_the_whole(large):
    parts = parts_of(load([large]), "predictions", wanted=("version", "correct"), most=400)
    seen = functools.reduce(added, mapped(right_by_version, parts))
    expected = predictions().assign(right=lambda t: t["prediction"] == t["label"]).groupby("version")["right"].sum()
    assert seen == expected.to_dict()


def test_that_the_filter_and_column_maps_hold_in_parts(large):
    maps = (ColumnMap(names=(("group", "prompt"),), derived=(("late", "epoch * 2"),)),)
    store = load([large], maps).keeping(Holds("late > 2"))
    parts = parts_of(store, "predictions", together=("item",), only=is_in("version", ("v1", "v2")), most=400)
    rows = pd.concat([part.rows() for part in parts])
    assert set(rows["epoch"]) == {2.0}
    assert set(rows["version"]) == {"v1", "v2"}
    assert set(rows["group"]) == {"p" * 20}


def test_that_columns_nobody_asks_for_stay_on_the_disk(large):
    store = load([large])
    (part, *_) = parts_of(store, "predictions", wanted=("version", "item", "correct"), most=1000)
    assert "prompt" not in part.rows().columns
    (part, *_) = parts_of(store, "predictions", most=1000)
    assert "prompt" in part.rows().columns


def test_that_a_survey_counts_combinations_in_the_order_they_come_in(large, monkeypatch):
    monkeypatch.setattr(partial, "ROWS_OF_A_PART", 200)
    seen = survey(load([large]), "predictions", ("model", "version", "nothing"), latest="epoch")
    assert seen.to_dict("list") == {
        "model": ["m"] * 3,
        "version": ["v1", "v2", "v10"],
        "rows": [500, 500, 500],
        "epoch": [2.0, 2.0, 2.0],
    }


@pytest.mark.allow_leaks  # joblib keeps its worker processes for the next call
def test_that_several_processes_look_at_parts_as_one_does(large, monkeypatch):
    monkeypatch.setattr(partial, "ROWS_OF_A_PART", 400)
    store = load([large])
    alone, together = (survey(store, "predictions", ("version",), engine=one) for one in (InProcess(), Processes(2)))
    pd.testing.assert_frame_equal(alone, together)


def test_that_items_without_a_name_are_numbered_through_the_file(tmp_path, large):
    path = tmp_path / "unnamed.parquet"
    predictions(300, ("v1",)).drop(columns=["item", "version"]).to_parquet(path, row_group_size=70)
    rows = pd.concat([part.rows() for part in parts_of(load([path]), "predictions", most=100)])
    assert rows["item"].astype(int).tolist() == list(range(300))


def test_that_files_of_a_folder_count_together(tmp_path, monkeypatch):
    whole = predictions()
    for name, rows in whole.groupby("version"):
        rows.to_parquet(tmp_path / f"{name}.parquet")
    one = (tmp_path / "v1.parquet").stat().st_size
    needed = table_file._bytes_in_memory
    with table_file._parquet_file(tmp_path / "v1.parquet") as file:
        single = needed(file.metadata, file.schema_arrow)
    assert one > 0
    monkeypatch.setattr(table_file, "memory_for_tables", lambda: 2 * single)
    assert load([tmp_path]).is_stored("predictions")
    monkeypatch.setattr(table_file, "memory_for_tables", lambda: 4 * single)
    assert not load([tmp_path]).is_stored("predictions")


def test_that_a_wide_table_too_large_for_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "memory_for_tables", lambda: 1000)
    wide = pd.DataFrame({"item": np.arange(100), "answer": ["A", "B"] * 50, "m1": ["A"] * 100, "m2": ["B"] * 100})
    wide.to_parquet(tmp_path / "wide.parquet")
    store = load([tmp_path / "wide.parquet"])
    assert "only long tables" in store.problems[0].what


def test_that_a_file_whose_end_reads_otherwise_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "memory_for_tables", lambda: 10)
    monkeypatch.setattr(table_file, "_FIRST_ROWS", 10)
    monkeypatch.setattr(table_file, "_ROWS_AT_ONCE", 10)
    frame = pd.DataFrame({"item": range(20), "prediction": ["A"] * 20, "acc": [1.0] * 10 + [7.0] * 10})
    frame.to_parquet(tmp_path / "odd.parquet", row_group_size=10)
    (part,) = parts_of(load([tmp_path / "odd.parquet"]), "predictions")
    with pytest.raises(SchemaError, match="other columns than the first: correct"):
        part.rows()


def test_that_a_survey_counts_rows_that_only_one_part_has(large):
    store = load([large]).keeping(is_in("item", ["3"]))
    counts = survey(store, "predictions", ("version",))
    assert dict(zip(counts["version"], counts["rows"], strict=True)) == dict.fromkeys(
        sorted(predictions()["version"].unique()), 1
    )
    assert survey(store.keeping(is_in("item", ["none"])), "predictions", ("version",))["rows"].sum() == 0


def test_that_columns_a_map_makes_are_read_from_the_file(large):
    store = load([large]).reading_as((ColumnMap((("half", "epoch"),), (("twice", "epoch * 2"),)),))
    (part, *_) = parts_of(store, "predictions", wanted=("half", "twice"), most=100)
    rows = part.rows()
    assert (rows["twice"] == 2 * rows["half"]).all()


def write_large(path: Path, table: pa.Table) -> Path:
    parquet.write_table(table, path, row_group_size=100)
    return path


def test_that_names_stored_once_are_looked_for_as_others_are(large):
    frame = predictions().assign(
        version=lambda t: t["version"].astype("category"), item=lambda t: "i" + t["item"].astype(str)
    )
    write_large(large, pa.Table.from_pandas(frame))
    store = load([large]).keeping(is_in("version", ["v2"])).keeping(is_in("item", ["i3", "i499"]))
    rows = pd.concat([part.rows() for part in parts_of(store, "predictions", most=400)])
    assert rows["item"].tolist() == ["i3", "i499"]
    assert set(rows["version"]) == {"v2"}


def test_that_a_filter_of_numbers_is_no_filter_of_texts(large):
    write_large(large, pa.Table.from_pandas(predictions()))
    store = load([large]).keeping(is_in("epoch", [2])).keeping(is_in("version", ["v1"]))
    rows = pd.concat([part.rows() for part in parts_of(store, "predictions", wanted=("epoch",), most=400)])
    assert len(rows) == sum(item % 3 == 2 for item in range(500))


def test_that_a_large_file_that_went_is_said_as_such(large):
    (part, *_) = parts_of(load([large]), "predictions", most=400)
    large.unlink()
    with pytest.raises(FileNotFoundError):
        part.rows()


def test_that_a_large_file_of_too_many_columns_is_refused(large, monkeypatch):
    monkeypatch.setattr(table_file, "_MOST_COLUMNS", 3)
    assert "columns; at most 3 are read" in " ".join(problem.what for problem in load([large]).problems)
