"""Projects of trackio, written by the library itself."""

from __future__ import annotations

import math
import shutil
import sqlite3
from pathlib import Path

import numpy as np

from runglass.models.loader import Loader, load
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, Run

PROJECT = Path(__file__).parents[2] / "data" / "trackio" / "toy.db"


def named(store: RunStore) -> dict[str, Run]:
    return {run.name: run for run in store.runs.values()}


def test_that_a_project_opens_as_its_runs() -> None:
    store = load([PROJECT])
    assert not store.problems
    found = named(store)
    assert set(found) == {"seed-0", "seed-1"}
    run = found["seed-1"]
    assert run.config == {"lr": 0.1, "seed": 1, "net.width": 8, "group": "g"}
    np.testing.assert_array_equal(run.curves["train/loss"].step, np.arange(30))
    np.testing.assert_array_equal(run.curves["train/loss"].value, 1 / (np.arange(30) + 1) + 1)
    np.testing.assert_array_equal(run.curves["nested/acc"].value, np.arange(30) / 30)
    np.testing.assert_array_equal(run.curves["grad"].value, [math.nan, math.inf])
    assert run.curves["system/cpu"].value.tolist() == [12.5]
    assert run.curves["train/loss"].wall_time is not None
    assert 0 <= run.curves["train/loss"].wall_time[0] - run.facts["started"] < 60
    assert "note" not in run.curves


def test_that_rows_in_the_write_ahead_log_are_read_on(tmp_path: Path) -> None:
    path = tmp_path / "toy.db"
    shutil.copy(PROJECT, path)
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    loader = Loader([tmp_path])
    store = RunStore().adding(event for batch in loader.new_events() for event in batch)
    (run,) = writer.execute("SELECT run_id FROM metrics WHERE run_name = 'seed-0' LIMIT 1").fetchone()
    time = "2026-01-02T03:04:05+00:00"
    writer.execute(
        "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?, ?, 'seed-0', 30, ?)",
        (run, time, '{"train/loss": 0.5}'),
    )
    writer.commit()
    events = [event for batch in loader.new_events() for event in batch]
    writer.close()
    (piece,) = (event for event in events if isinstance(event, CurvePiece))
    assert piece.step.tolist() == [30]
    assert piece.wall_time is not None
    assert piece.wall_time[0] == 1767323045
    assert len(named(store.adding(events))["seed-0"].curves["train/loss"]) == 31


def test_that_a_project_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "toy.db"
    shutil.copy(PROJECT, path)
    loader = Loader([tmp_path])
    store = RunStore().adding(event for batch in loader.new_events() for event in batch)
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM metrics WHERE id > 10")
    database.close()
    store = store.adding(event for batch in loader.new_events() for event in batch)
    assert len(named(store)["seed-0"].curves["train/loss"]) == 10
    assert set(named(store)["seed-1"].curves) == {"system/cpu"}
    assert "rewritten" in store.problems[0].what


def test_that_early_databases_know_runs_by_name(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp TEXT, run_name TEXT, step INTEGER, metrics TEXT)"
        )
        database.execute("CREATE TABLE configs (id INTEGER PRIMARY KEY, run_name TEXT, config TEXT, created_at TEXT)")
        row = ("2026-01-02T03:04:05", "a", 3, '{"loss": 1}')
        database.execute("INSERT INTO metrics (timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?)", row)
        database.execute(
            "INSERT INTO metrics (timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?)", (*row[:3], "{")
        )
    database.close()
    store = load([path])
    assert list(store.runs) == [f"{tmp_path.name}/old.db/a"]
    assert [problem.what for problem in store.problems] == ["1 rows left out: no numbers with a step."]
