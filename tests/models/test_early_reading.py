"""Reading that begins before there is a window gives what reading gives."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from runglass.models.early_reading import EarlyReading
from runglass.models.errors import Cancelled, RunglassError
from runglass.models.loader import load
from runglass.models.progress import CancellableProgress, quiet
from runglass.models.store import RunStore

RUNS, STEPS = 60, 20


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for number in range(RUNS):
        log = tmp_path / f"run_{number:02d}" / "metrics.jsonl"
        log.parent.mkdir()
        log.write_text("".join(json.dumps({"step": step, "loss": number + step}) + "\n" for step in range(STEPS)))
    return tmp_path


def _values(store: RunStore) -> dict[str, list[float]]:
    return {key: run.curves["loss"].value.tolist() for key, run in store.runs.items() if run.curves}


def test_that_what_was_read_early_is_what_is_read_later(logs: Path) -> None:
    early = EarlyReading([str(logs)])
    store = RunStore()
    for events in early.batches(quiet):
        store = store.adding(events)
    assert len(store.runs) == RUNS
    assert _values(store) == _values(load([str(logs)]))
    assert [event for batch in early.loader.new_events() for event in batch] == []


def test_that_a_reading_that_is_cancelled_gives_what_it_had_and_its_loader_the_rest(logs: Path) -> None:
    early = EarlyReading([str(logs)])
    progress = CancellableProgress()
    store = RunStore()

    with suppress(Cancelled):  # where it had not read everything before it heard of the cancel
        for events in early.batches(progress):
            store = store.adding(events)
            progress.cancel()
    assert store.runs
    for events in early.loader.new_events():
        store = store.adding(events)
    assert _values(store) == _values(load([str(logs)]))


def test_that_a_failure_to_begin_is_told_to_whoever_asks_for_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RunglassError("Nothing can be read today.")

    monkeypatch.setattr("runglass.models.loader.Loader", fail)
    with pytest.raises(RunglassError, match="today"):
        _ = EarlyReading(["x"]).loader
