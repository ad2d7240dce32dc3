from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runglass.models.errors import ReadError
from runglass.models.loader import Loader, load
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Entry, Match, Source
from runglass.models.readers.hf_trainer import HuggingFaceTrainerReader
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, Forgotten, Run


def state(steps: int, *, max_steps: int = 100, **more: Any) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for step in range(10, steps + 1, 10):
        rows.append({"step": step, "epoch": step / 10, "loss": 1 / step, "learning_rate": 1e-3})
        if step % 20 == 0:
            rows.append({"step": step, "epoch": step / 10, "eval_loss": 2 / step, "eval_runtime": 1.0})
    return {"global_step": steps, "max_steps": max_steps, "total_flos": 1e15, "log_history": rows, **more}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def read(path: Path, cursor: Cursor | None = None) -> list[Any]:
    source = Source((path,), "out", "out", "hf trainer")
    return list(HuggingFaceTrainerReader().read(source, cursor, quiet))


def run_of(events: list[Any]) -> Run:
    return RunStore().adding(event for event in events if not isinstance(event, Cursor)).runs["out"]


def test_that_the_published_run_has_its_numbers(shared_data: Path) -> None:
    path = shared_data / "runs/hf_trainer/trainer_state.json"
    assert len(json.loads(path.read_bytes())["log_history"]) == 216
    run = run_of(read(path))
    loss = run.curves["loss"]
    assert len(loss) == 30
    assert (loss.step[0], loss.value[0]) == (401, 1.1074)
    assert (loss.step[-1], loss.value[-1]) == (12030, 0.0549)
    assert run.curves["eval_g0_loss"].step[0] == 0
    assert run.curves["eval_g0_loss"].value[0] == pytest.approx(5.741583, abs=1e-6)
    assert run.curves["eval_g5_accuracy"].value[-1] == pytest.approx(0.25187032, abs=1e-6)
    assert run.status == "finished"
    assert run.facts["flops"] == 2.3847568878600192e17
    assert run.config["num_train_epochs"] == 30


def test_that_rows_of_one_kind_share_their_steps(tmp_path: Path) -> None:
    events = read(write(tmp_path / "trainer_state.json", state(100)))
    pieces = [set(event.values) for event in events if isinstance(event, CurvePiece)]
    assert pieces == [{"epoch"}, {"loss", "learning_rate"}, {"eval_loss", "eval_runtime"}]


@pytest.mark.parametrize(("steps", "status"), [(100, "finished"), (60, "unknown")])
def test_that_a_run_is_finished_at_its_last_step(tmp_path: Path, steps: int, status: str) -> None:
    assert run_of(read(write(tmp_path / "trainer_state.json", state(steps)))).status == status


def test_that_a_loss_that_is_nan_stays(tmp_path: Path) -> None:
    broken = state(10)
    broken["log_history"].append({"step": 20, "loss": math.nan, "grad_norm": math.inf, "note": "text"})
    run = run_of(read(write(tmp_path / "trainer_state.json", broken)))
    np.testing.assert_array_equal(run.curves["loss"].value, [0.1, math.nan])
    assert run.status == "diverged"
    assert "note" not in run.curves


def test_that_an_output_folder_is_one_run_read_from_the_furthest_state(tmp_path: Path) -> None:
    for step in (20, 60, 100):
        write(tmp_path / f"out/checkpoint-{step}/trainer_state.json", state(step))
    store = load([tmp_path / "out"])
    assert list(store.runs) == ["out"]
    assert store.runs["out"].curves["loss"].step[-1] == 100
    write(tmp_path / "out/trainer_state.json", state(100, best_metric=0.5))
    store = load([tmp_path])
    (key,) = store.runs
    assert key.endswith("/out")
    assert len(store.runs[key].curves["loss"]) == 10
    assert store.runs[key].config["best_metric"] == 0.5


def test_that_a_checkpoint_behind_the_saved_state_wins(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-60/trainer_state.json", state(60))
    write(tmp_path / "trainer_state.json", state(40))
    assert run_of(read(tmp_path)).curves["loss"].step[-1] == 60


def test_that_a_folder_whose_checkpoints_hold_no_state_leaves_its_own_state_to_be_read(tmp_path: Path) -> None:
    (tmp_path / "out/checkpoint-60").mkdir(parents=True)
    write(tmp_path / "out/trainer_state.json", state(40))
    store = load([tmp_path / "out"])
    assert store.runs["out"].curves["loss"].step[-1] == 40


def test_that_logs_in_an_output_folder_are_still_found(tmp_path: Path) -> None:
    write(tmp_path / "out/checkpoint-60/trainer_state.json", state(60))
    (tmp_path / "out/runs/host").mkdir(parents=True)
    (tmp_path / "out/runs/host/events.out.tfevents.1.host").write_bytes(b"")
    assert list(load([tmp_path / "out"]).runs) == ["out", "out/runs/host"]


def test_that_a_new_checkpoint_replaces_what_was_read(tmp_path: Path) -> None:
    write(tmp_path / "out/checkpoint-20/trainer_state.json", state(20))
    loader = Loader([tmp_path / "out"])
    store = RunStore().adding(event for batch in loader.new_events() for event in batch)
    write(tmp_path / "out/checkpoint-40/trainer_state.json", state(40))
    store = store.adding(event for batch in loader.new_events() for event in batch)
    np.testing.assert_array_equal(store.runs["out"].curves["loss"].step, [10, 20, 30, 40])
    assert store.problems == ()


def test_that_an_unchanged_state_gives_nothing_new(tmp_path: Path) -> None:
    path = write(tmp_path / "trainer_state.json", state(20))
    cursor = read(path)[-1]
    assert read(path, cursor) == [cursor]
    write(path, state(30))
    assert isinstance(read(path, cursor)[0], Forgotten)


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "empty"), (b'{"log_history": [', "not complete"), (b"[1]", "no state"), (b"[" * 100_000, "not complete")],
)
def test_that_a_file_that_is_no_state_says_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=what):
        read(path)


def test_that_a_checkpoint_opened_by_itself_is_a_run(tmp_path: Path) -> None:
    path = write(tmp_path / "checkpoint-20/trainer_state.json", state(20))
    assert list(load([path.parent]).runs) == ["checkpoint-20"]
    entry = Entry(path, "out/checkpoint-20/trainer_state.json")
    assert HuggingFaceTrainerReader().match(entry) is Match.NO
