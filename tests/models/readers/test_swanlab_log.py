"""Runs of SwanLab, written by the library itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runglass.models.errors import ReadError
from runglass.models.loader import load
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Source
from runglass.models.readers.swanlab_log import SwanLabReader
from runglass.models.store import RunStore
from runglass.models.tables import Forgotten, Problem

FOLDER = Path(__file__).parents[2] / "data" / "swanlab" / "run-20260102_030405-toy"
LOG = FOLDER / "run-toy.swanlab"


def read(path: Path, cursor: Cursor | None = None) -> tuple[list[Any], Cursor]:
    *events, last = SwanLabReader().read(Source((path,), "run", "run", "swanlab"), cursor, quiet)
    assert isinstance(last, Cursor)
    return events, last


def test_that_a_run_opens_with_its_settings_and_curves() -> None:
    store = load([FOLDER.parent])
    assert not store.problems
    (run,) = store.runs.values()
    assert (run.name, run.status, run.reader) == ("small-lr", "finished", "swanlab")
    assert run.config == {
        "lr": 0.1, "seed": 3, "net.width": 8, "project": "toy", "notes": "a note", "tags": "a", "group": "sweep",
    }  # fmt: skip
    np.testing.assert_array_equal(run.curves["train/loss"].step, np.arange(50))
    np.testing.assert_array_equal(run.curves["train/loss"].value, 2 / (np.arange(50) + 1))
    np.testing.assert_array_equal(run.curves["acc"].value, np.arange(50) / 50)
    assert (run.curves["grad"].step[0], run.curves["grad"].value[0]) == (5, math.inf)
    wall_time = run.curves["acc"].wall_time
    assert wall_time is not None
    assert abs(wall_time[0] - run.facts["started"]) < 60


def test_that_any_beginning_of_a_log_is_read_and_gone_on_from(tmp_path: Path) -> None:
    data = LOG.read_bytes()
    path = tmp_path / "a.swanlab"
    store, cursor = RunStore(), None
    for cut in [*range(0, len(data), 61), len(data)]:
        path.write_bytes(data[:cut])
        events, cursor = read(path, cursor)
        assert not [event for event in events if isinstance(event, Forgotten | Problem)]
        store = store.adding(events)
    np.testing.assert_array_equal(store.runs["run"].curves["acc"].value, np.arange(50) / 50)
    assert store.runs["run"].status == "finished"


def test_that_a_version_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.swanlab"
    path.write_bytes(LOG.read_bytes()[:6] + b"\x09" + LOG.read_bytes()[7:])
    with pytest.raises(ReadError, match="version 9"):
        read(path)


def test_that_damage_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.swanlab"
    data = bytearray(LOG.read_bytes())
    data[3000] ^= 0xFF
    path.write_bytes(data)
    events, _ = read(path)
    assert [event.what for event in events if isinstance(event, Problem)] == ["1 damaged record left out of a.swanlab."]
