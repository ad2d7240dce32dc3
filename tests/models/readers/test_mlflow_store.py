"""Runs of MLflow, the same ones as files and in a database, written by the library itself."""

from __future__ import annotations

import math
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runglass.models.loader import Loader, load
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Source
from runglass.models.readers.mlflow_store import MlflowFileReader
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, Forgotten, Problem, Run

DATA = Path(__file__).parents[2] / "data" / "mlflow"
STORES = ["mlruns", "mlflow.db"]


def runs(path: Path) -> dict[str, Run]:
    store = load([path])
    assert not store.problems
    return {run.name: run for run in store.runs.values()}


@pytest.mark.parametrize("store", STORES)
def test_that_runs_have_their_names_settings_and_outcomes(store: str) -> None:
    found = runs(DATA / store)
    assert set(found) == {"seed-0", "seed-1", "seed-2", "child"}
    assert [found[f"seed-{seed}"].status for seed in range(3)] == ["finished", "failed", "running"]
    one = found["seed-1"]
    assert one.config == {
        "lr": 0.1, "seed": 1, "model/name": "small", "experiment": "toy experiment",
        "tags.note": "two\nlines", "tags.team": "a",
    }  # fmt: skip
    assert (one.facts["started"], one.facts["ended"]) == (1_767_000_000.0, 1_767_000_060.0)
    assert found["seed-2"].key.endswith(found["child"].config["tags.mlflow.parentRunId"])


@pytest.mark.parametrize("store", STORES)
def test_that_metrics_are_curves(store: str) -> None:
    run = runs(DATA / store)["seed-1"]
    loss = run.curves["train/loss"]
    np.testing.assert_array_equal(loss.step, np.arange(40))
    np.testing.assert_array_equal(loss.value, 1 / (np.arange(40) + 1) + 1)
    np.testing.assert_array_equal(loss.wall_time, 1_767_000_000 + np.arange(40.0))
    np.testing.assert_array_equal(run.curves["val loss"].step, [0, 10, 20, 30])
    np.testing.assert_array_equal(run.curves["grad"].value, [math.nan, math.inf])


def folder_of(name: str) -> Path:
    return next(path.parents[1] for path in DATA.glob("mlruns/*/*/tags/mlflow.runName") if path.read_text() == name)


def read(path: Path, cursor: Cursor | None = None) -> tuple[list[Any], Cursor]:
    *events, last = MlflowFileReader().read(Source((path,), "run", "run", "mlflow"), cursor, quiet)
    assert isinstance(last, Cursor)
    return events, last


def test_that_a_growing_metric_is_read_on_from_whole_lines(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(folder_of("seed-0"), folder)
    path = folder / "metrics/train/loss"
    data = path.read_bytes()
    store, cursor = RunStore(), None
    for cut in [*range(0, len(data), 41), len(data)]:
        path.write_bytes(data[:cut])
        events, cursor = read(folder, cursor)
        assert not [event for event in events if isinstance(event, Forgotten | Problem)]
        store = store.adding(events)
    np.testing.assert_array_equal(store.runs["run"].curves["train/loss"].step, np.arange(40))
    assert len(store.runs["run"].curves["grad"]) == 2


@pytest.mark.parametrize("change", ["shorter", "other", "gone"])
def test_that_a_metric_that_was_rewritten_is_read_anew(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(folder_of("seed-0"), folder)
    path = folder / "metrics/train/loss"
    events, cursor = read(folder)
    store = RunStore().adding(events)
    if change == "gone":
        path.unlink()
    else:
        path.write_text("5 1.5 0\n" * (1 if change == "shorter" else 400))
    events, _ = read(folder, cursor)
    assert [event.what for event in events if isinstance(event, Forgotten)]
    curves = store.adding(events).runs["run"].curves
    assert len(curves["val loss"]) == 4
    assert ("train/loss" not in curves) == (change == "gone")


def test_that_lines_of_two_and_five_fields_are_read_and_others_counted(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(folder_of("seed-0"), folder)
    (folder / "metrics/grad").write_text("1000 0.5\n2000 0.25 7 data abc\nno number\n\n")
    events, _ = read(folder)
    (piece,) = (event for event in events if isinstance(event, CurvePiece) and "grad" in event.values)
    assert piece.step.tolist() == [0, 7]
    (problem,) = (event for event in events if isinstance(event, Problem))
    assert problem.what.startswith("1 line of metric 'grad' left out")


def test_that_a_database_is_read_on_where_it_grew(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copy(DATA / "mlflow.db", path)
    loader = Loader([path])
    store = RunStore().adding(event for batch in loader.new_events() for event in batch)
    (key,) = (key for key, run in store.runs.items() if run.name == "seed-2")
    with sqlite3.connect(path) as database:
        identity = key.rpartition("/")[2]
        database.execute(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('train/loss', 9, 5000, ?, 40, 0)",
            (identity,),
        )
        database.execute("UPDATE runs SET status = 'FINISHED' WHERE run_uuid = ?", (identity,))
    database.close()
    events = [event for batch in loader.new_events() for event in batch]
    assert sum(len(event.step) for event in events if isinstance(event, CurvePiece)) == 1
    run = store.adding(events).runs[key]
    assert (len(run.curves["train/loss"]), run.curves["train/loss"].value[-1], run.status) == (41, 9, "finished")


def test_that_a_database_that_was_rewritten_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copy(DATA / "mlflow.db", path)
    loader = Loader([path])
    store = RunStore().adding(event for batch in loader.new_events() for event in batch)
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM metrics WHERE key <> 'grad'")
    database.execute("VACUUM")
    database.close()
    store = store.adding(event for batch in loader.new_events() for event in batch)
    assert {tuple(run.curves) for run in store.runs.values()} == {("grad",), ()}
    assert [problem.what for problem in store.problems] == ["The database was rewritten; it was read again."]


def test_that_a_cut_database_is_a_problem(tmp_path: Path) -> None:
    data = (DATA / "mlflow.db").read_bytes()
    for cut in (0, 10, 100, 5000, len(data) // 2):
        (tmp_path / "mlflow.db").write_bytes(data[:cut])
        assert not load([tmp_path]).runs
