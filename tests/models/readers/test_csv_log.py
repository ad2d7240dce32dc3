"""Training logs of separated values: dialects, sparse rows, growth, and what is not a log."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runglass.models.errors import ReadError
from runglass.models.loader import load
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Entry, Match, Source
from runglass.models.readers.csv_log import CsvLogReader
from runglass.models.store import RunStore
from runglass.models.tables import Curve, CurvePiece, Event, Forgotten, Problem, RunFacts

READER = CsvLogReader()

pytestmark = pytest.mark.usefixtures("twin")


def read(path: Path, cursor: Cursor | None = None) -> tuple[list[Event], Cursor]:
    *events, cursor = READER.read(Source((path,), path.name, "run", READER.name), cursor, quiet)
    assert isinstance(cursor, Cursor)
    return events, cursor  # type: ignore[return-value]


def curves_of(events: list[Event]) -> dict[str, Curve]:
    return dict(RunStore().adding(events).runs["run"].curves)


def curves(path: Path) -> dict[str, Curve]:
    return curves_of(read(path)[0])


def match(path: Path) -> Match:
    return READER.match(Entry(path, path.name))


def written(folder: Path, text: str | bytes, name: str = "metrics.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_that_an_empty_cell_is_no_value_and_the_text_nan_is_one(tmp_path: Path) -> None:
    found = curves(written(tmp_path, "step,loss,val_loss\n0,1.5,\n1,nan,2.5\n2,NaN,\n3,-inf,NaN\n"))
    assert found["loss"].step.tolist() == [0, 1, 2, 3]
    assert np.array_equal(found["loss"].value, [1.5, math.nan, math.nan, -math.inf], equal_nan=True)
    assert found["val_loss"].step.tolist() == [1, 3]
    assert found["val_loss"].non_finite == 1


def test_that_tags_logged_in_the_same_rows_share_their_steps(tmp_path: Path) -> None:
    found = curves(written(tmp_path, "epoch,step,a,b,va,vb\n0,0,1,2,,\n0,1,1,2,,\n0,1,,,3,4\n"))
    assert found["a"].step is found["b"].step
    assert found["va"].step is found["vb"].step
    assert found["epoch"].step.tolist() == [0, 1, 1]


def test_that_keras_missing_values_and_arrays_are_no_points(tmp_path: Path) -> None:
    text = 'epoch,accuracy,lr,weights\n0,0.5,NA,"[1, 2]"\n1,0.6,0.1,"[3, 4]"\n'
    events, _ = read(written(tmp_path, text))
    found = curves_of(events)
    assert set(found) == {"accuracy", "lr"}
    assert found["lr"].step.tolist() == [1]
    assert not [event for event in events if isinstance(event, Problem)]


def test_that_an_epoch_that_starts_again_stays_as_logged(tmp_path: Path) -> None:
    found = curves(written(tmp_path, "epoch,loss\n0,3\n1,2\nepoch,loss\n0,2.5\n1,1.5\n"))
    assert found["loss"].step.tolist() == [0, 1, 0, 1]
    assert found["loss"].value.tolist() == [3, 2, 2.5, 1.5]


def test_that_padded_names_and_values_are_read(tmp_path: Path) -> None:
    text = "                  epoch,         train/box_loss\n                      1,                 1.23\n 2, 1.1\n"
    path = written(tmp_path, text, "results.csv")
    assert match(path) is Match.YES
    assert curves(path)["train/box_loss"].value.tolist() == [1.23, 1.1]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_that_delimiters_and_line_ends_are_recognised(tmp_path: Path, delimiter: str, newline: str) -> None:
    text = (
        newline.join([delimiter.join(row) for row in (["step", "loss"], ["1", "2"], ["2", ""], ["3", "nan"])]) + newline
    )
    found = curves(written(tmp_path, text, "log.tsv"))
    assert found["loss"].step.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("header", "step"),
    [
        ("time/iterations,time/total_timesteps,rollout/ep_rew_mean", "time/total_timesteps"),
        ("epoch,global_step,loss", "global_step"),
        ("training_iteration,time_total_s,episode_reward_mean", "training_iteration"),
        ("samples,loss,step", "step"),
        ("Epoch,Loss,Accuracy", "Epoch"),
        ("_runtime,_step,loss", "_step"),
        ("consumed_tokens,loss,lr", "consumed_tokens"),
    ],
)
def test_that_the_column_that_counts_best_is_the_step(tmp_path: Path, header: str, step: str) -> None:
    path = written(tmp_path, f"{header}\n10,20,30\n11,21,31\n", "mine.csv")
    assert match(path) is Match.MAYBE
    place = header.split(",").index(step)
    found = curves(path)
    assert step not in found
    assert next(iter(found.values())).step.tolist() == [10 * (place + 1), 10 * (place + 1) + 1]


def test_that_times_since_1970_become_wall_time_and_elapsed_times_stay_curves(tmp_path: Path) -> None:
    found = curves(written(tmp_path, "step,timestamp,time,loss\n0,1700000000.5,0.1,3\n1,1700000001.5,0.2,2\n"))
    assert found["loss"].wall_time is not None
    assert found["loss"].wall_time.tolist() == [1700000000.5, 1700000001.5]
    assert found["time"].value.tolist() == [0.1, 0.2]
    assert "timestamp" not in found


def test_that_dates_become_wall_time(tmp_path: Path) -> None:
    text = "step,date,loss\n0,2024-01-01 10:00:00,3\n1,2024-01-01 10:00:01,2\n"
    found = curves(written(tmp_path, text))
    assert found["loss"].wall_time is not None
    assert found["loss"].wall_time.tolist() == [1704103200.0, 1704103201.0]


def test_that_a_row_longer_than_a_block_is_read_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runglass.models.readers.csv_log._ARROW_BLOCK_BYTES", 20)
    rows = [f'{n},"{"long, " * (n % 9)}",{n / 2}' for n in range(40)]
    found = curves(written(tmp_path, "step,note,loss\n" + "\n".join(rows) + "\n7,8\n"))
    assert found["loss"].value.tolist() == [n / 2 for n in range(40)]


@pytest.mark.parametrize("head", ["# step,loss", "# a note\nstep,loss", "# a note\n# step,loss"])
def test_that_names_may_stand_behind_a_sign_of_comments(tmp_path: Path, head: str) -> None:
    assert curves(written(tmp_path, f"{head}\n0,2.5\n1,1.5\n"))["loss"].value.tolist() == [2.5, 1.5]


def test_that_configuration_may_be_empty_throughout(tmp_path: Path) -> None:
    events, _ = read(written(tmp_path, "step,loss,config/lr,config/seed\n0,2,,7\n1,1,,7\n"))
    (facts,) = [event for event in events if isinstance(event, RunFacts)]
    assert facts.config == {"seed": 7}


@pytest.mark.parametrize("more", ["\n\n", "step,loss\n", "x,1\n,2\n"], ids=["blank", "header", "no step"])
def test_that_new_lines_without_a_row_add_none(tmp_path: Path, more: str) -> None:
    path = written(tmp_path, "step,loss\n0,2\n1,1\n")
    first, cursor = read(path)
    with open(path, "a") as file:
        file.write(more)
    second, _ = read(path, cursor)
    assert curves_of([*first, *second])["loss"].value.tolist() == [2, 1]
    assert not [event for event in second if isinstance(event, CurvePiece)]


def test_that_what_tensorboard_downloads_has_its_tag_from_the_name_of_the_file(tmp_path: Path) -> None:
    text = "Wall time,Step,Value\n1700000000,5,0.5\n1700000010,6,0.25\n"
    found = curves(written(tmp_path, text, "run-a-tag-loss_train.csv"))
    assert found["loss_train"].step.tolist() == [5, 6]
    assert found["loss_train"].wall_time is not None


def test_that_rows_about_parts_of_the_data_become_tags_of_their_own(tmp_path: Path) -> None:
    found = curves(written(tmp_path, "epoch,phase,loss\n0,train,3\n0,val,4\n1,train,2\n1,val,3.5\n"))
    assert set(found) == {"train/loss", "val/loss"}
    assert found["val/loss"].value.tolist() == [4, 3.5]


def test_that_columns_of_configuration_are_no_curves(tmp_path: Path) -> None:
    events, _ = read(
        written(tmp_path, "training_iteration,loss,config/lr,config/opt\n1,3,0.1,sgd\n2,2,0.1,sgd\n", "progress.csv")
    )
    run = RunStore().adding(events).runs["run"]
    assert set(run.curves) == {"loss"}
    assert run.config == {"lr": 0.1, "opt": "sgd"}


def test_that_fractional_steps_stay_fractions(tmp_path: Path) -> None:
    assert curves(written(tmp_path, "epoch,loss\n0.5,3\n1.0,2\n"))["loss"].step.tolist() == [0.5, 1.0]


def test_that_rows_of_another_width_are_left_out_and_counted_once(tmp_path: Path) -> None:
    events, _ = read(written(tmp_path, "step,loss\n0,3\n1\n2,1,7\n3,0.5\n"))
    (problem,) = [event for event in events if isinstance(event, Problem)]
    assert problem.what.startswith("2 rows left out")
    assert curves_of(events)["loss"].step.tolist() == [0, 3]


def test_that_text_among_numbers_is_left_out_and_counted(tmp_path: Path) -> None:
    events, _ = read(written(tmp_path, "step,loss\n0,3\n1,oops\n2,1\n"))
    (problem,) = [event for event in events if isinstance(event, Problem)]
    assert "'loss'" in problem.what
    assert curves_of(events)["loss"].step.tolist() == [0, 2]


def test_that_a_row_without_a_step_is_left_out_and_counted(tmp_path: Path) -> None:
    events, _ = read(written(tmp_path, "step,loss\n0,3\n,2\nnan,2\n3,1\n"))
    (problem,) = [event for event in events if isinstance(event, Problem)]
    assert problem.what.startswith("2 rows left out")
    assert curves_of(events)["loss"].step.tolist() == [0, 3]


def test_that_names_may_come_twice_or_be_empty(tmp_path: Path) -> None:
    found = curves(written(tmp_path, ",step,loss,loss\n0,10,3,4\n1,11,2,3\n"))
    assert {tag: curve.value.tolist() for tag, curve in found.items()} == {"loss": [3, 2], "loss.1": [4, 3]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_that_names_survive_their_encoding(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, "step,précision\n0,0.5\n1,0.6\n".encode(encoding))
    assert match(path) is Match.YES
    assert curves(path)["précision"].value.tolist() == [0.5, 0.6]


def test_that_zero_bytes_left_by_a_crash_cost_only_their_row(tmp_path: Path) -> None:
    text = b"step,loss\n" + b"".join(b"%d,1.0\n" % step for step in range(20_000)) + b"\0" * 100 + b"\n20000,2.0\n"
    found = curves(written(tmp_path, text))
    assert len(found["loss"]) == 20_001


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "empty"),
        (b"\0\1\2" * 100, "not text"),
        (b"\xff\xfes\0t\0e\0p\0", "UTF-16"),
        (b"name,loss\na,b\n", "counts the steps"),
        (b"1,2\n3,4\n", "no header"),
        (b",".join(b"c%d" % number for number in range(30_000)) + b"\n", "columns"),
        (b"step," * 1_000_000, "first line"),
    ],
)
def test_that_what_is_no_log_is_said_and_not_read(tmp_path: Path, text: bytes, what: str) -> None:
    with pytest.raises(ReadError, match=what):
        read(written(tmp_path, text))


def test_that_a_line_without_end_is_said_and_not_read(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="line of more than"):
        read(written(tmp_path, b"step,loss\n1,2\n" + b"1" * (60 << 20)))


@pytest.mark.parametrize(
    "text",
    [
        "item,label,prediction,epoch\n1,a,b,0\n2,b,b,0\n",
        "model,task,step,value\nm,t,1,0.5\nm,t,2,0.6\n",
        "run,tag,step,value\nr,loss,1,0.5\nr,loss,2,0.6\n",
        "run_name,step,tokens,loss\nr,1,10,0.5\nr,2,20,0.6\n",
        "params,tokens,loss\n1e6,1e9,3.0\n1e7,1e10,2.5\n",
        "model,CoLA,SST-2\nbert,60,93\nxlnet,70,97\n",
        "question_id,answer,m1,m2\n1,A,A,B\n2,B,B,B\n",
        "tokens,loss\n30,1\n10,2\n",
        "a,b\n1,2\n3,4\n",
    ],
)
def test_that_tables_of_results_are_left_to_the_reader_of_tables(tmp_path: Path, text: str) -> None:
    assert match(written(tmp_path, text, "mine.csv")) is Match.NO


def test_that_a_known_name_is_taken_before_it_has_rows(tmp_path: Path) -> None:
    assert match(written(tmp_path, "")) is Match.YES
    path = written(tmp_path, "step,loss\n")
    assert match(path) is Match.YES
    events, cursor = read(path)
    path.write_text("step,loss\n0,1.0\n")
    assert len(curves_of([*events, *read(path, cursor)[0]])["loss"]) == 1


# -- growth -------------------------------------------------------------------------------------------------------------


def test_that_only_new_rows_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "step,loss\n0,3\n1,2\n")
    events, cursor = read(path)
    with open(path, "a") as file:
        file.write("2,1\n3,0")
    more, cursor = read(path, cursor)
    assert curves_of(more)["loss"].step.tolist() == [2]  # the last row has no end yet
    with open(path, "a") as file:
        file.write(".5\n")
    last, _ = read(path, cursor)
    assert curves_of([*events, *more, *last])["loss"].value.tolist() == [3, 2, 1, 0.5]


def test_that_a_finished_file_without_a_last_line_end_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path, "step,loss\n0,3\n1,2")
    events, cursor = read(path)
    assert curves_of(events)["loss"].value.tolist() == [3, 2]
    nothing, cursor = read(path, cursor)
    assert curves_of([*events, *nothing])["loss"].value.tolist() == [3, 2]
    with open(path, "a") as file:
        file.write("5\n2,1\n")
    more, _ = read(path, cursor)
    assert curves_of([*events, *more])["loss"].value.tolist() == [3, 25, 1]


def test_that_a_header_that_grew_is_read_again_in_silence(tmp_path: Path) -> None:
    path = written(tmp_path, "loss,step\n3,0\n", "progress.csv")
    events, cursor = read(path)
    path.write_text("loss,step,mse\n3,0,\n2,1,0.5\n")
    more, _ = read(path, cursor)
    (forgotten,) = [event for event in more if isinstance(event, Forgotten)]
    assert forgotten.what == ""
    found = curves_of([*events, *more])
    assert found["loss"].value.tolist() == [3, 2]
    assert found["mse"].step.tolist() == [1]


def test_that_a_file_that_shrank_is_read_again_and_said(tmp_path: Path) -> None:
    path = written(tmp_path, "step,loss\n0,3\n1,2\n2,1\n")
    events, cursor = read(path)
    path.write_text("step,loss\n0,9\n")
    more, _ = read(path, cursor)
    assert any(isinstance(event, Forgotten) and "shrank" in event.what for event in more)
    assert curves_of([*events, *more])["loss"].value.tolist() == [9]


def test_that_rows_left_out_are_still_counted_after_growth(tmp_path: Path) -> None:
    path = written(tmp_path, "step,loss\n0,3\n1\n")
    _, cursor = read(path)
    with open(path, "a") as file:
        file.write("2,1\n3\n")
    more, _ = read(path, cursor)
    assert any(isinstance(event, Problem) and event.what.startswith("2 rows") for event in more)


cells = st.one_of(st.just(""), st.floats(width=32).map(repr), st.integers(-1000, 1000).map(str), st.just("NaN"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=12), cut=st.floats(0, 1))
def test_that_reading_in_two_halves_equals_reading_at_once(
    tmp_path: Path, rows: list[tuple[str, str, str]], cut: float
) -> None:
    whole = "step,a,b,c\n" + "".join(f"{number},{','.join(row)}\n" for number, row in enumerate(rows))
    path = written(tmp_path, whole)
    expected = curves(path)
    place = max(len("step,a,b,c\n0"), int(cut * len(whole)))
    path.write_text(whole[:place])
    first, cursor = read(path)
    path.write_text(whole)
    second, _ = read(path, cursor)
    found = curves_of([*first, *second])
    assert found.keys() == expected.keys()
    for tag, curve in expected.items():
        assert np.array_equal(found[tag].step, curve.step)
        assert np.array_equal(found[tag].value, curve.value, equal_nan=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(data=st.binary(max_size=300))
def test_that_garbage_raises_nothing_but_read_errors(tmp_path: Path, data: bytes) -> None:
    for text in (data, b"step,loss\n" + data):
        path = written(tmp_path, text)
        match(path)
        with suppress(ReadError):
            read(path)


# -- real logs ----------------------------------------------------------------------------------------------------------


def test_that_a_fully_diverged_lightning_run_keeps_its_640_nan_values(shared_data: Path) -> None:
    found = curves(shared_data / "runs/lightning/version_1/metrics.csv")
    losses = [curve for tag, curve in found.items() if "loss" in tag]
    assert sum(curve.non_finite for curve in losses) == 640
    assert sum(len(curve) for curve in losses) == 640


@pytest.mark.parametrize(
    ("study", "run", "rows"), [("schedule_free_adamw", "ogbg_pytorch", 26), ("baseline", "ogbg_jax", 231)]
)
def test_that_algoperf_evaluations_have_their_rows(shared_data: Path, study: str, run: str, rows: int) -> None:
    folder = shared_data / "runs/algoperf" / study / "study_0" / run / "trial_1"
    assert len(curves(folder / "eval_measurements.csv")["validation/mean_average_precision"]) == rows


@pytest.mark.parametrize(
    ("study", "run", "tag", "target", "steps"),
    [
        ("schedule_free_adamw", "ogbg_pytorch", "validation/mean_average_precision", 0.28098, [17575, 20488]),
        ("baseline", "ogbg_jax", "validation/mean_average_precision", 0.28098, [24779, 26634]),
        ("schedule_free_adamw", "wmt_pytorch", "validation/bleu", 30.8491, [94676, 125211]),
    ],
)
def test_that_algoperf_runs_reach_their_targets_at_the_published_steps(
    shared_data: Path, study: str, run: str, tag: str, target: float, steps: list[int]
) -> None:
    reached = []
    for number in (0, 1):
        path = shared_data / f"runs/algoperf/{study}/study_{number}/{run}/trial_1/eval_measurements.csv"
        curve = curves(path)[tag]
        reached.append(int(curve.step[np.argmax(curve.value >= target)]))
    assert reached == steps


def test_that_algoperf_training_losses_are_sparse_rows_of_measurements(shared_data: Path) -> None:
    found = curves(shared_data / "runs/algoperf/baseline/study_0/ogbg_jax/trial_1/measurements.csv")
    assert len(found["loss"]) == 1723
    assert len(found["validation/loss"]) == 231


def test_that_the_openai_logger_fills_new_columns_only_where_they_were_logged(shared_data: Path) -> None:
    path = shared_data / "runs/openai_logger/progress.csv"
    assert match(path) is Match.YES
    found = curves(path)
    assert len(found["loss"]) == 6
    assert len(found["loss_q2"]) == 5
    assert found["loss"].step[0] == 2388000


def test_that_headers_longer_than_the_first_look_are_recognised(shared_data: Path) -> None:
    path = shared_data / "scaling/ladder/ladder-runs/190M-5xC.csv"
    assert match(path) is Match.MAYBE
    assert len(curves(path)["eval/c4_en-validation/CrossEntropyLoss"]) == 73


def test_that_a_folder_of_ultralytics_is_a_run_with_its_settings(tmp_path: Path) -> None:
    folder = tmp_path / "detect" / "train"
    folder.mkdir(parents=True)
    # Older versions pad names and values with spaces.
    (folder / "results.csv").write_text(
        "                  epoch,         train/box_loss,       metrics/mAP50(B)\n"
        "                      0,                    1.5,                    0.1\n"
        "                      1,                   1.25,                    0.2\n"
    )
    (folder / "args.yaml").write_text("task: detect\nlr0: 0.01\nseed: 0\n")
    store = load([tmp_path / "detect"])
    assert not store.problems
    (run,) = store.runs.values()
    assert (run.key, store.config(run)) == ("detect/train", {"task": "detect", "lr0": 0.01, "seed": 0})
    assert run.curves["train/box_loss"].value.tolist() == [1.5, 1.25]
    assert run.curves["metrics/mAP50(B)"].step.tolist() == [0, 1]
