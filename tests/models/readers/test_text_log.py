from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.models import text_pattern
from runglass.models.errors import ExpressionError, ReadError, SessionError
from runglass.models.loader import load
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Entry, Match, Source
from runglass.models.readers.text_log import TextLogReader, TextPatternReader
from runglass.models.session import Session, from_json, to_json
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, Forgotten, Problem, Run
from runglass.models.text_pattern import TextPattern


def read(path: Path, cursor: Cursor | None = None, reader: Any = None) -> list[Any]:
    return list((reader or TextLogReader()).read(Source((path,), "run", "run", "text log"), cursor, quiet))


def run_of(events: list[Any]) -> Run:
    return RunStore().adding(event for event in events if not isinstance(event, Cursor)).runs["run"]


def run_from(tmp_path: Path, text: str, reader: Any = None) -> Run:
    path = tmp_path / "train.log"
    path.write_text(text)
    return run_of(read(path, reader=reader))


def last_values(run: Run) -> dict[str, float]:
    return {tag: float(curve.value[-1]) for tag, curve in run.curves.items()}


def test_that_a_number_said_twice_on_a_line_is_the_last_one(tmp_path: Path) -> None:
    run = run_from(tmp_path, "".join(f"step {n} | loss 9.0 | acc 0.5 | loss {n}.5\n" for n in range(1, 5)))
    assert run.curves["loss"].value.tolist() == [1.5, 2.5, 3.5, 4.5]


def test_that_a_day_there_is_not_gives_no_times(tmp_path: Path) -> None:
    run = run_from(tmp_path, "".join(f"2024-13-0{n} 10:00:00 step {n} loss {n}.5\n" for n in range(1, 5)))
    assert run.curves["loss"].step.tolist() == [1, 2, 3, 4]
    assert run.curves["loss"].wall_time is None


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1700000000.5", 1700000000.5), ("2024-01-01 00:00:00,5", 1704067200.5), ("2024-01-01T01:00:00+01:00", 1704067200.0),
     ("some day", None), ("2024-13-01 00:00", None)],
)  # fmt: skip
def test_that_a_time_is_a_number_or_a_date(written: str, seconds: float | None) -> None:
    assert text_pattern.seconds_of(written) == seconds


def test_that_a_line_longer_than_any_log_has_is_passed_over() -> None:
    pattern = TextPattern("mine", "*.log", r"step (?P<step>\d+) loss (?P<loss>\S+)")
    text = "step 1 loss 2\n" + "x" * (text_pattern.LONGEST_LINE + 1) + "step 2 loss 3\nstep 3 loss 4\n"
    assert [line.step for line in pattern.matches(text)] == [1, 3]


# --- published logs ---


@pytest.mark.parametrize(
    ("record", "count", "mean", "sd"),
    [("2025-07-12_BosAlign", 21, 3.279043, 0.00138), ("2024-12-04_ValueEmbed", 38, 3.277608, 0.004062)],
)
def test_that_the_final_losses_of_modded_nanogpt_are_the_published_ones(
    shared_data: Path, record: str, count: int, mean: float, sd: float
) -> None:
    runs = [run_of(read(path)) for path in (shared_data / "runs/modded_nanogpt" / record).glob("*.txt")]
    losses = np.array([run.curves["val_loss"].value[-1] for run in runs])
    assert len(losses) == count
    assert losses.mean() == pytest.approx(mean, abs=1e-6)
    assert losses.std(ddof=1) == pytest.approx(sd, abs=1e-6)
    assert {run.status for run in runs} == {"finished"}


def test_that_an_llm_c_log_is_read_under_full_names(shared_data: Path) -> None:
    run = run_of(read(shared_data / "runs/modded_nanogpt/2024-10-13_llmc/main.log"))
    assert {tag: len(curve) for tag, curve in run.curves.items()} == {
        "val_loss": 80,
        "train_loss": 19560,
        "lr": 19560,
        "grad_norm": 19560,
    }
    assert (run.curves["val_loss"].step[-1], run.curves["val_loss"].value[-1]) == (19560, 3.2722)
    assert run.curves["lr"].step is run.curves["grad_norm"].step


# --- forms ---


@pytest.mark.parametrize(
    ("line", "step", "values"),
    [
        (
            "step:125/5100 val_loss:3.2794 train_time:12345ms step_avg:98.7ms",
            125,
            {"val_loss": 3.2794, "train_time_ms": 12345, "step_avg_ms": 98.7},
        ),
        ("step:3/6200 train_loss:7.75 step_avg:nanms", 3, {"train_loss": 7.75, "step_avg_ms": math.nan}),
        ("s:250 trl:3.45 lr:0.0006 norm:1.23", 250, {"train_loss": 3.45, "lr": 0.0006, "grad_norm": 1.23}),
        ("s:250 tel:3.4567", 250, {"val_loss": 3.4567}),
        ("step 250: train loss 2.1234, val loss 2.2345", 250, {"train_loss": 2.1234, "val_loss": 2.2345}),
        ("iter 10: loss 3.1, time 123.45ms, mfu 12.34%", 10, {"loss": 3.1, "time_ms": 123.45, "mfu_percent": 12.34}),
        (
            " [2024-01-02 10:00:00.5] iteration    10/  500 | elapsed time per iteration (ms): 12.3 | "
            "learning rate: 1.0E-04 | lm loss: 1.08E+01 | number of nan iterations:   0 |",
            10,
            {
                "elapsed_time_per_iteration_(ms)": 12.3,
                "learning_rate": 1e-4,
                "lm_loss": 10.8,
                "number_of_nan_iterations": 0,
            },
        ),
        (
            "\x1b[31mstep:  1  \x1b[32mloss:  8.1234  \x1b[39mmemory: 12.34GiB(5.1%)  tps: 12,345  mfu: 3.4%\x1b[0m",
            1,
            {"loss": 8.1234, "memory_GiB": 12.34, "tps": 12345, "mfu_percent": 3.4},
        ),
        ("step    7 | loss: 10.95 | lr 6.0e-04 | norm: 15.2", 7, {"loss": 10.95, "lr": 6e-4, "norm": 15.2}),
        (
            "2024-01-02 10:00:00,123 - INFO - epoch: 3, step: 10, loss: 2.3, learning rate: 1e-4, eta: 10:22:01",
            10,
            {"epoch": 3, "loss": 2.3, "learning_rate": 1e-4},
        ),
        ("Step=10 loss=nan acc=-inf v=1.2.3 name=nanogpt level=info", 10, {"loss": math.nan, "acc": -math.inf}),
        ("Epoch [3/10], Step [100/500], Loss: 0.1234", 100, {"Loss": 0.1234}),
        ("Epoch 3: loss=0.5 val_loss: 0.4", 3, {"loss": 0.5, "val_loss": 0.4}),
    ],
)
def test_that_a_line_of_a_known_form_is_read(tmp_path: Path, line: str, step: int, values: dict[str, float]) -> None:
    run = run_from(tmp_path, f"some words before\n{line}\nand after: 5\n")
    assert {tuple(curve.step) for curve in run.curves.values()} == {(step,)}
    np.testing.assert_equal(last_values(run), values)


@pytest.mark.parametrize(
    "line",
    [
        "In step 2 you see: nothing",
        "import os, sys",
        "for step in range(10): loss = 3",
        '{"step": 10, "loss": 3}',
        "steps_per_epoch: 10 loss: 3",
        "2024-01-01 10:00:00 loss: 3",
    ],
)
def test_that_other_lines_are_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.log"
    path.write_text(f"{line}\n" * 3)
    events = read(path)
    assert [type(event) for event in events] == [Problem, Cursor]
    assert TextLogReader().match(Entry(path, "a.log")) is Match.NO


def test_that_the_epoch_is_the_step_only_where_no_line_has_a_step(tmp_path: Path) -> None:
    run = run_from(tmp_path, "epoch: 1 loss: 9\nstep: 10 loss: 3\n")
    np.testing.assert_array_equal(run.curves["loss"].step, [10])


@pytest.mark.parametrize(("last", "status"), [(100, "finished"), (99, "unknown")])
def test_that_a_log_is_finished_when_its_last_step_is_reached(tmp_path: Path, last: int, status: str) -> None:
    run = run_from(tmp_path, "".join(f"step:{step}/100 loss:1\n" for step in range(1, last + 1)))
    assert run.status == status
    assert run.config["total_steps"] == 100


def test_that_dates_before_the_step_give_the_wall_time(tmp_path: Path) -> None:
    run = run_from(tmp_path, "[1970-01-01 00:01:00] step: 1 loss: 2\n[1970-01-02T00:00:00,5] step: 2 loss: 1\n")
    np.testing.assert_array_equal(run.curves["loss"].wall_time, [60, 86400.5])


def test_that_training_time_counts_from_zero(tmp_path: Path) -> None:
    run = run_from(tmp_path, "step:1/9 loss:2 train_time:500ms\nstep:2/9 loss:1 train_time:1500ms\n")
    np.testing.assert_array_equal(run.curves["loss"].wall_time, [0.5, 1.5])
    assert RunStore(runs={"run": run}).rows("runs")["started"].isna().all()


# --- growing ---

LINES = "".join(f"step:{step}/50 train_loss:{1 / step:.4f} lr:1e-3\n" for step in range(1, 51))


@given(st.lists(st.integers(0, len(LINES)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_that_reading_in_parts_gives_what_reading_at_once_gives(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("parts") / "a.log"
    events: list[Any] = []
    cursor = None
    for cut in [*sorted(cuts), len(LINES)]:
        path.write_text(LINES[:cut])
        *new, cursor = read(path, cursor)
        events += new
    run = run_of(events)
    for tag, curve in run.curves.items():
        np.testing.assert_array_equal(curve.step, np.arange(1, 51), err_msg=tag)
    np.testing.assert_allclose(run.curves["train_loss"].value, 1 / np.arange(1, 51), atol=5e-5)
    assert run.status == "finished"


def test_that_a_last_line_without_its_end_is_read_when_a_file_is_opened(tmp_path: Path) -> None:
    run = run_from(tmp_path, "step:1/2 loss:2\nstep:2/2 loss:1")
    np.testing.assert_array_equal(run.curves["loss"].value, [2, 1])


def test_that_only_new_lines_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("step:1/9 loss:2\n")
    cursor = read(path)[-1]
    path.write_text("step:1/9 loss:2\nstep:2/9 loss:1\n")
    (piece,) = [event for event in read(path, cursor) if isinstance(event, CurvePiece)]
    np.testing.assert_array_equal(piece.step, [2])


@pytest.mark.parametrize("content", ["step:1/9 loss:7\n", "step:8/9 loss:7\nstep:9/9 loss:7\nstep:9/9 loss:7\n"])
def test_that_a_file_written_anew_is_read_again(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.log"
    path.write_text("step:1/9 loss:2\nstep:2/9 loss:2\n")
    *events, cursor = read(path)
    path.write_text(content)
    more = read(path, cursor)
    assert isinstance(more[0], Forgotten)
    assert set(run_of(events + more).curves["loss"].value) == {7}


# --- what is a log ---


def test_that_a_log_behind_printed_code_is_known_by_its_end(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_text("import torch\n" * 2000 + "step:1/9 loss:2\n")
    assert TextLogReader().match(Entry(path, "run.txt")) is Match.MAYBE
    path.write_text("import torch\n" * 2000)
    assert TextLogReader().match(Entry(path, "run.txt")) is Match.NO


@pytest.mark.parametrize("name", ["LICENSE", "README.txt", "log.md", "train.py", "train.json"])
def test_that_prose_and_code_are_no_logs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("step: 1 loss: 2\n")
    assert TextLogReader().match(Entry(tmp_path / name, name)) is Match.NO


def test_that_only_logs_of_the_shared_runs_are_taken(shared_data: Path) -> None:
    files = [path for path in (shared_data / "runs").rglob("*") if path.is_file()]
    taken = [path for path in files if TextLogReader().match(Entry(path, path.name))]
    assert len(taken) == 73
    assert {path.relative_to(shared_data / "runs").parts[0] for path in taken} == {"modded_nanogpt"}


# --- hostile input ---


@given(st.binary(max_size=2000))
@settings(max_examples=60, deadline=None)
def test_that_garbage_does_no_harm(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("garbage") / "a.log"
    path.write_bytes(data)
    TextLogReader().match(Entry(path, "a.log"))
    assert isinstance(read(path)[-1], Cursor)


@pytest.mark.parametrize(
    "line", ["a" * 3_000_000, " " * 4000, "step " * 600_000, "a:" * 100_000, "step:1 " + ", a" * 1300]
)
def test_that_a_long_line_takes_no_long_time(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.log"
    path.write_text(f"{line}\nstep:5 loss:2\n")
    began = time.process_time()
    run = run_of(read(path))
    assert time.process_time() - began < 2
    assert run.curves["loss"].step[-1] == 5


def test_that_an_endless_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(ReadError, match="no log"):
        read(path)


# --- patterns of the user ---

PLAIN = TextPattern("plain", "*.log", r"at (?P<step>\d+) of (?P<total>\d+).*?cost (?P<cost>\S+)")
PAIRS = TextPattern("pairs", "out/*.txt", r"^<(?P<step>\d+)>|(?P<tag>[\w/]+) is (?P<value>\S+)")


def test_that_a_pattern_makes_curves_of_its_groups(tmp_path: Path) -> None:
    run = run_from(tmp_path, "at 1 of 2, cost 3.5\nnoise\nat 2 of 2, cost 1,000.5\n", TextPatternReader(PLAIN))
    np.testing.assert_array_equal(run.curves["cost"].step, [1, 2])
    np.testing.assert_array_equal(run.curves["cost"].value, [3.5, 1000.5])
    assert run.status == "finished"


def test_that_a_pattern_with_pairs_takes_all_of_a_line(tmp_path: Path) -> None:
    run = run_from(tmp_path, "<3> val/loss is 2.5 acc is nan mode is fast\n", TextPatternReader(PAIRS))
    np.testing.assert_equal(last_values(run), {"val/loss": 2.5, "acc": math.nan})
    assert run.curves["acc"].step[0] == 3


def test_that_a_pattern_without_a_step_counts_on_over_several_reads(tmp_path: Path) -> None:
    reader = TextPatternReader(TextPattern("count", "*", r"loss (?P<loss>\S+)"))
    path = tmp_path / "a.log"
    path.write_text("loss 3\nloss 2\n")
    *events, cursor = read(path, reader=reader)
    path.write_text("loss 3\nloss 2\nloss 1\n")
    events += read(path, cursor, reader)
    np.testing.assert_array_equal(run_of(events).curves["loss"].step, [0, 1, 2])


def test_that_a_pattern_reads_wall_times(tmp_path: Path) -> None:
    pattern = TextPattern("timed", "*", r"^(?P<wall_time>\S+ \S+) (?P<step>\d+) (?P<loss>\S+)")
    run = run_from(tmp_path, "1970-01-01 00:01:00,5 7 0.1\n", TextPatternReader(pattern))
    assert run.curves["loss"].wall_time.tolist() == [60.5]


@pytest.mark.parametrize(
    ("pattern", "relative", "match"),
    [(PLAIN, "run/a.log", Match.YES), (PLAIN, "run/a.txt", Match.NO), (PAIRS, "out/a.txt", Match.YES)],
)
def test_that_a_pattern_applies_to_its_files(pattern: TextPattern, relative: str, match: Match) -> None:
    assert TextPatternReader(pattern).match(Entry(Path("/x") / relative, relative)) is match


def test_that_a_preview_shows_line_step_tag_and_value() -> None:
    frame = PLAIN.preview("noise\nat 1 of 2, cost 3.5\n")
    assert frame.to_dict("records") == [{"line": 2, "step": 1.0, "tag": "cost", "value": 3.5}]


@pytest.mark.parametrize(
    ("regex", "what", "position"),
    [
        ("loss (?P<loss>\\d+", "no regular expression", 17),
        (r"(?P<tag>\w+)", "come together", 0),
        (r"step (?P<step>\d+)", "names nothing", 0),
        ("(?P<x>" + "(" * 400 + "a" + ")" * 401, "too deep", 0),
    ],
)
def test_that_a_pattern_that_cannot_be_used_says_why(regex: str, what: str, position: int) -> None:
    with pytest.raises(ExpressionError, match=what) as caught:
        TextPattern("bad", "*", regex)
    assert caught.value.position == position


def test_that_a_range_of_characters_is_no_repetition() -> None:
    # "+" has the number that the parser of expressions gives a repetition.
    assert TextPattern("range", "*", r"a (?P<x>[+-9]+)").preview("a 3.5")["value"].tolist() == [3.5]


@pytest.mark.parametrize(
    "regex",
    [r"(?P<x>(?:a|ab|b)+)!", r"(?P<x>((\w{1,16}){1,16}){1,16})!"],
)
def test_that_a_slow_pattern_is_given_up(monkeypatch: pytest.MonkeyPatch, regex: str) -> None:
    monkeypatch.setattr(text_pattern, "PREVIEW_SECONDS", 0.2)
    began = time.process_time()
    with pytest.raises(ReadError, match="too long"):
        TextPattern("slow", "*", regex).preview("!" + "ab" * 60 + "?")
    assert time.process_time() - began < 3


def test_that_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.log")
    assert TextLogReader().match(Entry(tmp_path / "a.log", "a.log")) is Match.NO
    with pytest.raises(ReadError):
        read(tmp_path / "a.log")


def test_that_patterns_are_kept_in_a_session_and_come_before_all_readers(tmp_path: Path) -> None:
    pattern = TextPattern("mine", "*.log", r"step:(?P<step>\d+) loss:(?P<my_loss>\S+)")
    session = from_json(to_json(Session(text_patterns=(pattern,)), tmp_path), tmp_path)
    assert session.text_patterns == (pattern,)
    (tmp_path / "a.log").write_text("step:1 loss:2\n")
    (run,) = load([tmp_path], patterns=session.text_patterns).runs.values()
    assert set(run.curves) == {"my_loss"}
    assert run.reader == "text: mine"


def test_that_a_session_with_a_broken_pattern_says_so(tmp_path: Path) -> None:
    broken = [{"name": "x", "glob": "*", "regex": "("}]
    with pytest.raises(SessionError, match="text_patterns"):
        from_json({"runglass_session": 1, "text_patterns": broken}, tmp_path)
