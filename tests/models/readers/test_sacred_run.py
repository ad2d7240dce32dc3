"""Runs of Sacred, written by the library itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from runglass.models.loader import Loader, load
from runglass.models.store import RunStore

RUNS = Path(__file__).parents[2] / "data" / "sacred" / "runs"


def test_that_runs_open_with_settings_outcome_and_curves() -> None:
    store = load([RUNS])
    assert not store.problems
    finished, failed = store.runs.values()
    assert [(run.name, run.status) for run in (finished, failed)] == [("toy 1", "finished"), ("toy 2", "failed")]
    assert finished.config == {
        "lr": 0.1, "net.width": 8, "net.act": "relu", "seed": 7, "experiment": "toy", "result": 0.05,
    }  # fmt: skip
    assert "result" not in failed.config
    loss = finished.curves["train.loss"]
    np.testing.assert_array_equal(loss.step, np.arange(20))
    np.testing.assert_array_equal(loss.value, 1 / (np.arange(20) + 1))
    np.testing.assert_array_equal(finished.curves["val.loss"].step, [0, 5, 10, 15])
    assert loss.wall_time is not None
    assert finished.facts["started"] <= loss.wall_time[0] <= finished.facts["ended"]


def test_that_metrics_written_anew_replace_the_old_ones(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    shutil.copytree(RUNS / "1", folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    short = {tag: {key: values[:3] for key, values in logged.items()} for tag, logged in metrics.items()}
    (folder / "metrics.json").write_text(json.dumps(short))
    loader = Loader([folder])
    store = RunStore().adding(event for batch in loader.new_events() for event in batch)
    (key,) = store.runs
    assert len(store.runs[key].curves["train.loss"]) == 3
    (folder / "metrics.json").write_text("{" + " " * 50)
    store = store.adding(event for batch in loader.new_events() for event in batch)
    assert len(store.runs[key].curves["train.loss"]) == 3
    assert "metrics.json is left out" in store.problems[0].what
    (folder / "metrics.json").write_text(json.dumps(metrics))
    store = store.adding(event for batch in loader.new_events() for event in batch)
    assert len(store.runs[key].curves["train.loss"]) == 20
    assert not store.problems


def test_that_what_sacred_serialises_oddly_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    shutil.copytree(RUNS / "1", folder)
    odd = {"a": {"steps": [0, 1], "values": [{"dtype": "float32"}, 0.5], "timestamps": ["2026-01-02T03:04:05", None]}}
    (folder / "metrics.json").write_text(json.dumps(odd))
    (folder / "info.json").write_text('{"best": 0.25, "note": "x"}')
    (run,) = load([folder]).runs.values()
    assert run.curves["a"].step.tolist() == [1]
    assert run.config["info.best"] == 0.25
