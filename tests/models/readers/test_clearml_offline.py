"""A task of ClearML run offline, written by the library itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from runglass.models.loader import Loader, load
from runglass.models.store import RunStore

TASK = Path(__file__).parents[2] / "data" / "clearml" / "offline-toy"


def test_that_a_task_opens_as_a_run() -> None:
    store = load([TASK.parent])
    assert not store.problems
    (run,) = store.runs.values()
    assert (run.name, run.reader) == ("small-lr", "clearml")
    assert run.config == {"lr": 0.1, "seed": 3, "net.width": 8, "project": "toy", "summary.best": 0.9}
    assert set(run.curves) == {"loss/train", "loss/val"}
    np.testing.assert_array_equal(run.curves["loss/train"].step, np.arange(20))
    np.testing.assert_array_equal(run.curves["loss/train"].value, 1 / (np.arange(20) + 1))
    np.testing.assert_array_equal(run.curves["loss/val"].step, [0, 5, 10, 15])
    wall_time = run.curves["loss/val"].wall_time
    assert wall_time is not None
    assert 1.7e9 < wall_time[0] < 2e9


def test_that_batches_are_read_on_from_whole_lines(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    shutil.copytree(TASK, folder)
    path = folder / "metrics.jsonl"
    data = path.read_bytes()
    events = data.replace(b"}, {", b"}]\n[{") + b"no events\n"
    loader = Loader([folder])
    store = RunStore()
    for cut in [*range(0, len(events), 211), len(events)]:
        path.write_bytes(events[:cut])
        store = store.adding(event for batch in loader.new_events() for event in batch)
    (run,) = store.runs.values()
    np.testing.assert_array_equal(run.curves["loss/train"].step, np.arange(20))
    assert [problem.what for problem in store.problems] == ["1 line of metrics.jsonl left out: no list of events."]


def test_that_curves_are_read_where_the_task_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    shutil.copytree(TASK, folder)
    (folder / "task.json").write_text("{")
    store = load([folder])
    assert len(next(iter(store.runs.values())).curves) == 2
    assert store.problems[0].what.startswith("task.json is left out. It is not JSON")
