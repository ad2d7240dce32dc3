"""Training logs of JSON lines: dialects, values JSON has no words for, growth, and what is not a log."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runglass.models.errors import ReadError
from runglass.models.loader import load
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Entry, Match, Source
from runglass.models.readers.json_lines import JsonLinesReader
from runglass.models.store import RunStore
from runglass.models.tables import Curve, Event, Forgotten, Problem

READER = JsonLinesReader()

pytestmark = pytest.mark.usefixtures("twin")


def read(path: Path, cursor: Cursor | None = None) -> tuple[list[Event], Cursor]:
    *events, cursor = READER.read(Source((path,), path.name, "run", READER.name), cursor, quiet)
    assert isinstance(cursor, Cursor)
    return events, cursor  # type: ignore[return-value]


def curves_of(events: list[Event]) -> dict[str, Curve]:
    return dict(RunStore().adding(events).runs["run"].curves)


def config_of(events: list[Event]) -> dict[str, Any]:
    return dict(RunStore().adding(events).runs["run"].config)


def problems_of(events: list[Event]) -> list[str]:
    return [event.what for event in events if isinstance(event, Problem)]


def written(folder: Path, *records: Any, name: str = "metrics.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records))
    return path


def match(path: Path) -> Match:
    return READER.match(Entry(path, path.name))


def test_that_each_tag_has_the_lines_it_was_logged_in(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"iteration": 19, "loss": 2.5, "lr": 0.1},
        {"iteration": 39, "loss": 2.0, "lr": 0.1},
        {"iteration": 39, "bbox": {"AP": 31.5, "AP50": 50}},
        {"iteration": 59, "loss": 1.5, "lr": 0.01},
        name="metrics.json",
    )
    assert match(path) is Match.YES
    found = curves_of(read(path)[0])
    assert found["loss"].step.tolist() == [19, 39, 59]
    assert found["loss"].step is found["lr"].step
    assert found["bbox/AP"].step.tolist() == [39]


def test_that_nan_and_infinity_are_values_and_null_is_none(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"step": 0, "loss": NaN, "acc": null}',
        '{"step": 1, "loss": -Infinity, "acc": 0.5}',
        '{"step": 2, "loss": "NaN", "acc": 0.6}',
        '{"step": 3, "loss": 1.0}',
    )
    events, _ = read(path)
    found = curves_of(events)
    assert np.array_equal(found["loss"].value, [math.nan, -math.inf, math.nan, 1.0], equal_nan=True)
    assert found["acc"].step.tolist() == [1, 2]
    assert problems_of(events) == []


def test_that_times_since_1970_become_wall_time(tmp_path: Path) -> None:
    found = curves_of(read(written(tmp_path, {"_step": 0, "_timestamp": 1.7e9, "_runtime": 1.5, "loss": 3}))[0])
    assert found["loss"].wall_time is not None
    assert found["loss"].wall_time.tolist() == [1.7e9]
    assert found["_runtime"].value.tolist() == [1.5]


def test_that_rays_configuration_is_configuration_and_its_results_are_curves(tmp_path: Path) -> None:
    record = {"training_iteration": 1, "timesteps_total": None, "info": {"loss": 2.0}, "done": False, "hostname": "n1"}
    config = {"config": {"lr": 0.1, "model": {"dim": 8, "layers": [1, 2]}}, "padding": "x" * 9000}
    path = written(tmp_path, record | config, record | config | {"training_iteration": 2}, name="result.json")
    assert match(path) is Match.YES
    events, _ = read(path)
    assert set(curves_of(events)) == {"info/loss"}
    config_read = config_of(events)
    assert config_read["lr"] == 0.1
    assert config_read["model.dim"] == 8
    assert config_read["hostname"] == "n1"


def test_that_lines_before_the_first_step_describe_the_run(tmp_path: Path) -> None:
    path = written(tmp_path, {"seed": 3, "optim": {"lr": 0.1}}, {"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0})
    assert match(path) is Match.YES
    events, _ = read(path)
    assert config_of(events) == {"seed": 3, "optim.lr": 0.1}
    assert problems_of(events) == []


def test_that_text_is_configuration_only_while_it_stays_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, *({"step": n, "loss": 1.0, "opt": "adam", "note": f"n{n}"} for n in range(3)))
    events, cursor = read(path)
    assert config_of(events) == {"opt": "adam", "note": None}
    with open(path, "a") as file:
        file.write('{"step": 3, "loss": 1.0, "opt": "sgd"}\n')
    assert config_of([*events, *read(path, cursor)[0]])["opt"] is None


def test_that_lines_about_parts_of_the_data_become_tags_of_their_own(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"mode": "train", "epoch": 1, "iter": 10, "loss": 3.0},
        {"mode": "val", "epoch": 1, "iter": 10, "loss": 4.0},
        {"mode": "train", "epoch": 1, "iter": 20, "loss": 2.0},
        name="20240101_120000.log.json",
    )
    found = curves_of(read(path)[0])
    assert found["train/loss"].value.tolist() == [3.0, 2.0]
    assert found["val/loss"].value.tolist() == [4.0]


def test_that_malformed_lines_are_counted_and_a_line_being_written_is_not(tmp_path: Path) -> None:
    path = written(tmp_path, {"step": 0, "loss": 1.0}, '{"step": 1, "lo', "[1, 2]", {"step": 2, "loss": 2.0})
    with open(path, "a") as file:
        file.write('{"step": 3, "loss"')
    events, cursor = read(path)
    assert problems_of(events) == ["2 lines left out: not a JSON object."]
    assert curves_of(events)["loss"].step.tolist() == [0, 2]
    with open(path, "a") as file:
        file.write(": 3.0}\n")
    more, _ = read(path, cursor)
    assert curves_of([*events, *more])["loss"].step.tolist() == [0, 2, 3]
    assert problems_of(more) == ["2 lines left out: not a JSON object."]


def test_that_two_broken_lines_that_join_to_an_object_are_two_broken_lines(tmp_path: Path) -> None:
    events, _ = read(
        written(tmp_path, {"step": 0, "loss": 1.0}, '{"step": 1', '"loss": 5.0}', {"step": 2, "loss": 2.0})
    )
    assert curves_of(events)["loss"].step.tolist() == [0, 2]
    assert problems_of(events) == ["2 lines left out: not a JSON object."]


def test_that_a_last_object_without_line_end_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "loss": 1.0}\n{"step": 1, "loss": 2.0}')
    events, cursor = read(path)
    with open(path, "a") as file:
        file.write('\n{"step": 2, "loss": 3.0}\n')
    assert curves_of([*events, *read(path, cursor)[0]])["loss"].value.tolist() == [1.0, 2.0, 3.0]


def test_that_a_file_that_shrank_is_read_again_and_said(tmp_path: Path) -> None:
    path = written(tmp_path, *({"step": n, "loss": 1.0} for n in range(5)))
    events, cursor = read(path)
    written(tmp_path, {"step": 0, "loss": 9.0})
    more, _ = read(path, cursor)
    assert any(isinstance(event, Forgotten) and "shrank" in event.what for event in more)
    assert curves_of([*events, *more])["loss"].value.tolist() == [9.0]


@pytest.mark.parametrize(
    ("name", "records"),
    [
        ("predictions.jsonl", [{"doc_id": 0, "target": "a", "acc": 1.0, "step": 1}] * 2),
        ("hot.jsonl", [{"run_name": "r", "tokens": 10, "step": 1, "loss": 2.0}] * 2),
        ("metrics.json", ["{", '  "step": 3,', '  "loss": 2.0', "}"]),
        ("summary.json", [{"_step": 3, "loss": 2.0}]),
        ("list.jsonl", ["[1, 2]"] * 3),
        ("text.jsonl", ["hello"] * 3),
        ("scores.jsonl", [{"model": "m", "task": "t", "value": 1.0, "step": 2}] * 2),
    ],
)
def test_that_what_is_no_log_of_a_run_is_left_alone(tmp_path: Path, name: str, records: list[Any]) -> None:
    assert match(written(tmp_path, *records, name=name)) is Match.NO


@pytest.mark.parametrize("key", ["gold", "pred", "correct", "label"])
def test_that_a_log_may_have_names_that_tables_of_answers_have(tmp_path: Path, key: str) -> None:
    rows = [{"step": step, key: 0.5 / step, "loss_d": 1.0} for step in range(1, 5)]
    assert match(written(tmp_path, *rows, name="gan.jsonl")) is Match.MAYBE
    assert match(written(tmp_path, *rows, name="metrics.jsonl")) is Match.YES
    of_one_step = [{**row, "step": 1} for row in rows]
    assert match(written(tmp_path, *of_one_step, name="answers.jsonl")) is Match.NO
    as_text = [{**row, key: "cat"} for row in rows]
    assert match(written(tmp_path, *as_text, name="answers.jsonl")) is Match.NO


def test_that_times_and_steps_of_many_alike_lines_are_those_of_each_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [1.7e9, 1.7e12, 1.7e9 + 0.5, 12.0, 5e9]
    records = [
        {"step": math.nan if number % 11 == 5 else number, "time": times[number % 5], "loss": 1 / (number + 1)}
        for number in range(400)
    ]
    path = written(tmp_path, *records)
    whole, _ = read(path)
    monkeypatch.setattr("runglass.models.readers.json_lines._FEW_BYTES", 1 << 40)
    by_line, _ = read(path)
    ours, theirs = curves_of(whole)["loss"], curves_of(by_line)["loss"]
    assert np.array_equal(ours.step, theirs.step)
    assert np.array_equal(ours.value, theirs.value)
    assert np.array_equal(ours.wall_time, theirs.wall_time, equal_nan=True)
    assert problems_of(whole) == problems_of(by_line) == ["36 lines left out: no number under 'step'."]


def test_that_a_part_that_is_no_text_is_none(tmp_path: Path) -> None:
    records = [
        {"step": 1, "split": "val", "loss": 1.0}, {"step": 2, "split": ["val"], "loss": 2.0},
        {"step": 3, "split": None, "loss": 3.0}, {"step": 4, "split": "val", "loss": None},
        {"step": 4, "split": "test", "loss": None},
    ]  # fmt: skip
    found = curves_of(read(written(tmp_path, *records))[0])
    assert {tag: curve.value.tolist() for tag, curve in found.items()} == {"val/loss": [1.0], "loss": [2.0, 3.0]}


def test_that_no_more_settings_and_texts_are_kept_than_anyone_can_look_at(tmp_path: Path) -> None:
    settings = {f"setting{n}": n for n in range(300)}
    texts = {f"text{n}": "x" for n in range(300)}
    events, _ = read(
        written(tmp_path, settings, *({"step": n, "loss": 1.0, **texts} for n in range(2)), {"note": "end"})
    )
    config = config_of(events)
    assert sum(key.startswith("setting") for key in config) == 200
    assert sum(key.startswith("text") for key in config) == 200
    assert not problems_of(events)


def test_that_lines_that_are_no_objects_may_come_before_many_that_are(tmp_path: Path) -> None:
    path = written(tmp_path, "[1]", "nonsense", *({"step": n, "loss": n / 2} for n in range(400)))
    events, _ = read(path)
    assert curves_of(events)["loss"].value.tolist() == [n / 2 for n in range(400)]
    assert problems_of(events) == ["2 lines left out: not a JSON object."]


def test_that_deep_nesting_huge_numbers_and_other_types_cost_only_themselves(tmp_path: Path) -> None:
    deep = '{"step": 1, "x": ' + '{"a":' * 5000 + "1" + "}" * 5000 + "}"
    wide = '{"step": 2, "loss": 1' + "0" * 400 + ', "flag": true, "xs": [1, 2]}'
    events, _ = read(written(tmp_path, {"step": 0, "loss": 1.0}, deep, wide))
    found = curves_of(events)
    assert found["loss"].value.tolist() == [1.0, math.inf]
    assert set(found) == {"loss"}


def test_that_an_endless_number_of_keys_is_cut_and_said(tmp_path: Path) -> None:
    records = [{"step": n, **{f"k{n}_{k}": 1.0 for k in range(500)}} for n in range(50)]
    events, _ = read(written(tmp_path, *records))
    assert len(curves_of(events)) == 20_000
    assert any("more than 20000 different keys" in what for what in problems_of(events))


@pytest.mark.parametrize(
    ("text", "what"), [("", "empty"), ("\x00\x01\n\x02\n", "None of its lines"), ("a\nb\n", "None of")]
)
def test_that_what_holds_no_objects_is_said(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(ReadError, match=what):
        read(path)


values = st.one_of(st.floats(), st.integers(-1000, 1000), st.none(), st.booleans(), st.text(max_size=3))
records = st.lists(st.dictionaries(st.sampled_from("abc"), values), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(records=records, cut=st.floats(0, 1))
def test_that_reading_in_two_halves_equals_reading_at_once(
    tmp_path: Path, records: list[dict[str, Any]], cut: float
) -> None:
    path = written(tmp_path, *({"step": number, **record} for number, record in enumerate(records)))
    whole = path.read_bytes()
    expected = curves_of(read(path)[0])
    path.write_bytes(whole[: max(1, int(cut * len(whole)))])
    first, cursor = read(path)
    path.write_bytes(whole)
    second, _ = read(path, cursor)
    found = curves_of([*first, *second])
    assert found.keys() == expected.keys()
    for tag, curve in expected.items():
        assert np.array_equal(found[tag].step, curve.step)
        assert np.array_equal(found[tag].value, curve.value, equal_nan=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(data=st.binary(max_size=300))
def test_that_garbage_raises_nothing_but_read_errors(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    for text in (data, b'{"step": 1, "loss": 2}\n' + data):
        path.write_bytes(text)
        match(path)
        with suppress(ReadError):
            read(path)


def test_that_a_log_mmengine_writes_twice_is_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "work/20260102_030405/vis_data"
    folder.mkdir(parents=True)
    for name in ("scalars.json", "20260102_030405.json"):
        written(
            folder, *({"lr": 0.01, "loss": 2.5 / n, "epoch": 1, "iter": n, "step": n} for n in range(1, 9)), name=name
        )
    store = load([tmp_path / "work"])
    assert list(store.runs) == ["work/20260102_030405/vis_data"]
    assert len(store.runs["work/20260102_030405/vis_data"].curves["loss"]) == 8
