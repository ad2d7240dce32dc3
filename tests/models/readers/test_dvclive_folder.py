"""A folder of DVCLive, written by the library itself, as one run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from runglass.models.loader import Loader, load
from runglass.models.store import RunStore

FOLDER = Path(__file__).parents[2] / "data" / "dvclive" / "dvclive"


def test_that_all_tables_are_one_run() -> None:
    store = load([FOLDER.parent])
    assert not store.problems
    ((key, run),) = store.runs.items()
    assert key == "dvclive/dvclive"
    assert store.config(run) == {"lr": 0.1, "seed": 3, "net.width": 8, "summary.best": 0.9}
    assert set(run.curves) == {"train/loss", "val/acc/top1"}
    loss = run.curves["train/loss"]
    np.testing.assert_array_equal(loss.step, np.arange(12))
    np.testing.assert_array_equal(loss.value, 1 / (np.arange(12) + 1))
    assert loss.wall_time is not None
    assert 1.7e9 < loss.wall_time[0] < 2e9
    np.testing.assert_array_equal(run.curves["val/acc/top1"].value, np.arange(12) / 12)


def test_that_growing_tables_are_read_on(tmp_path: Path) -> None:
    folder = tmp_path / "dvclive"
    shutil.copytree(FOLDER, folder)
    path = folder / "plots/metrics/train/loss.tsv"
    data = path.read_bytes()
    loader = Loader([folder])
    store = RunStore()
    for cut in [*range(0, len(data), 37), len(data)]:
        path.write_bytes(data[:cut])
        store = store.adding(event for batch in loader.new_events() for event in batch)
        assert not store.problems or cut < data.index(b"\n")
    (run,) = store.runs.values()
    np.testing.assert_array_equal(run.curves["train/loss"].value, 1 / (np.arange(12) + 1))
    assert len(run.curves["val/acc/top1"]) == 12


def test_that_a_training_begun_anew_replaces_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "dvclive"
    shutil.copytree(FOLDER, folder)
    loader = Loader([folder])
    store = RunStore().adding(event for batch in loader.new_events() for event in batch)
    (folder / "plots/metrics/train/loss.tsv").write_text("step\tloss\n0\t5.0\n1\ttext\n")
    store = store.adding(event for batch in loader.new_events() for event in batch)
    (run,) = store.runs.values()
    assert run.curves["train/loss"].value.tolist() == [5.0]
    assert [problem.what for problem in store.problems] == ["loss.tsv was written anew; the run was read again."]
