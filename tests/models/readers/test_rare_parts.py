"""What logs of each format hold only now and then: it is read, or named, as the format says."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
import zlib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from runglass.models.loader import Loader, load
from runglass.models.readers import registry
from runglass.models.readers.base import Entry, Match, Reader
from runglass.models.readers.inspect_log import InspectReader
from runglass.models.readers.lm_eval import LmEvalSamplesReader
from runglass.models.store import RunStore
from runglass.models.tables import Run

DATA = Path(__file__).parents[2] / "data"


def said(store: RunStore) -> str:
    return " ".join(problem.what for problem in (*store.problems, *store.table_problems))


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


# -- W&B and SwanLab --------------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def item(key: str, value: Any) -> bytes:
    written = value if isinstance(value, bytes) else json.dumps(value).encode()
    return field(1, b"".join(field(2, part.encode()) for part in key.split("/")) + field(16, written))


def log(path: Path, *records: bytes) -> Path:
    out = bytearray(b":W&B\xe1\xfb\x00")
    for record in records:
        out += struct.pack("<IHB", zlib.crc32(record, zlib.crc32(b"\x01")), len(record), 1) + record
    return write(path, bytes(out))


def wandb_run(folder: Path, *records: bytes) -> tuple[Run, str]:
    log(folder / "run-x.wandb", *records)
    store = load([folder])
    return next(iter(store.runs.values())), said(store)


def row(*items: bytes, step: int | None = None) -> bytes:
    return field(2, b"".join(items) + (b"" if step is None else field(2, field(1, step))))


def test_that_a_row_of_wandb_may_say_its_step_beside_its_items(tmp_path: Path) -> None:
    run, _ = wandb_run(
        tmp_path / "r", row(item("loss", 3), step=7), row(item("loss", 2)), row(item("loss", 1), step=20)
    )
    assert run.curves["loss"].step.tolist() == [7, 8, 20]


def test_that_nested_values_of_wandb_are_curves_and_media_are_not(tmp_path: Path) -> None:
    nested = {"acc": 0.5, "deep": {"er": 1, "text": "no"}, "media": {"_type": "image-file", "size": 3}}
    run, _ = wandb_run(tmp_path / "r", row(item("val", nested), item("picture", {"_type": "image-file", "size": 3})))
    assert {tag: curve.value.tolist() for tag, curve in run.curves.items()} == {"val.acc": [0.5], "val.deep.er": [1]}


def test_that_a_long_item_of_wandb_is_read_as_a_short_one(tmp_path: Path) -> None:
    run, _ = wandb_run(tmp_path / "r", row(item("k" * 300, 4), item("loss", 1), step=1))
    assert {tag: curve.value.tolist() for tag, curve in run.curves.items()} == {"k" * 300: [4], "loss": [1]}


def test_that_damaged_records_of_wandb_are_counted_and_the_others_read(tmp_path: Path) -> None:
    bad = (row(item("loss", b"0x1")), field(2, b"\x0a\x7fabc"), field(2, b"\x0a\x85\x01ab"), field(2, b"\xff" * 11))
    run, what = wandb_run(tmp_path / "r", row(item("loss", 3), step=1), *bad, row(item("loss", 2), step=2))
    assert run.curves["loss"].value.tolist() == [3, 2]
    assert "4 damaged records left out" in what


def test_that_what_is_no_json_in_wandb_is_nothing(tmp_path: Path) -> None:
    run, _ = wandb_run(
        tmp_path / "r", row(item("loss", 3), item("odd", b"{nonsense"), step=1), field(5, item("lr", b"[" * 5000)),
        field(5, item("gone", 1)), field(5, field(2, field(1, b"gone"))),
    )  # fmt: skip
    assert list(run.curves) == ["loss"]
    assert run.config.get("lr") is None
    assert "gone" not in run.config


def test_that_the_goal_of_a_metric_of_wandb_is_read_in_both_forms(tmp_path: Path) -> None:
    run, _ = wandb_run(
        tmp_path / "r", row(item("loss", 3), step=1), field(12, field(1, b"loss") + field(8, 1)),
        field(12, field(1, b"acc") + field(7, field(2, 1))),
    )  # fmt: skip
    assert (run.config["goal.loss"], run.config["goal.acc"]) == ("minimize", "maximize")


def test_that_no_more_tags_of_wandb_are_kept_than_anyone_can_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runglass.models.readers.wandb_log._MOST_TAGS", 3)
    run, _ = wandb_run(tmp_path / "r", row(*(item(f"t{n}", n) for n in range(9)), step=1))
    assert list(run.curves) == ["t0", "t1", "t2"]


def test_that_many_rows_of_wandb_are_given_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runglass.models.readers.wandb_log._ROWS_AT_ONCE", 4)
    run, _ = wandb_run(tmp_path / "r", *(row(item("loss", n), step=n) for n in range(10)))
    assert run.curves["loss"].value.tolist() == list(range(10))


def test_that_a_log_of_swanlab_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    shutil.copytree(DATA / "swanlab", tmp_path / "s", ignore=shutil.ignore_patterns("make.py"))
    (path,) = (tmp_path / "s").rglob("*.swanlab")
    whole = path.read_bytes()
    loader, store = Loader([tmp_path / "s"]), RunStore()
    for batch in loader.new_events():
        store = store.adding(batch)
    before = {tag: len(curve.step) for run in store.runs.values() for tag, curve in run.curves.items()}
    path.write_bytes(whole[:7] + b"\0" * 32_761 + whole[7:32_768].ljust(32_761, b"\0"))
    for batch in loader.new_events():
        store = store.adding(batch)
    assert before
    assert "replaced" in said(store)


def test_that_a_file_that_is_no_log_of_swanlab_says_so(tmp_path: Path) -> None:
    shutil.copytree(DATA / "swanlab", tmp_path / "s", ignore=shutil.ignore_patterns("make.py"))
    (path,) = (tmp_path / "s").rglob("*.swanlab")
    path.write_bytes(b"something else")
    assert "no log of SwanLab" in said(load([tmp_path / "s"]))


# -- evaluations ------------------------------------------------------------------------------------------------------------


def archive(path: Path, **entries: Any) -> Path:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, value in entries.items():
            file.writestr(f"{name}.json", json.dumps(value))
    return write(path, out.getvalue())


def test_that_no_folder_is_a_log_of_inspect(tmp_path: Path) -> None:
    (tmp_path / "x.eval").mkdir()
    assert InspectReader().match(Entry(tmp_path / "x.eval", "x.eval", is_folder=True)) is Match.NO


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({"header": [1]}, "is no object"),
        ({"other": {}}, "neither header.json nor"),
        ({"header": {"status": "success"}}, "no 'eval'"),
        ({"header": {"status": "success", "eval": {"model": "m", "task": "t"}}}, "no scores"),
    ],
)
def test_that_an_archive_of_inspect_that_lacks_something_says_what(
    tmp_path: Path, entries: dict[str, Any], what: str
) -> None:
    archive(tmp_path / "logs" / "one.eval", **entries)
    assert what in said(load([tmp_path]))


@pytest.mark.parametrize(
    ("status", "error", "what"),
    [
        ("cancelled", None, "was cancelled; 1 sample of it was read."),
        ("error", {"message": "out of memory"}, "failed (out of memory); 1 sample of it was read."),
        ("error", "text", "failed; 1 sample of it was read."),
    ],
)
def test_that_an_evaluation_that_broke_off_says_how(tmp_path: Path, status: str, error: Any, what: str) -> None:
    about = {"model": "m", "task": "t", "task_args": {"fewshot": 5}, "model_generate_config": {"seed": 3}}
    header = {"status": status, "eval": about, "error": error}
    samples = [{"id": 1, "epoch": 1, "target": ["a", "b"], "scores": {"s": {"value": "0.5"}}}]
    archive(tmp_path / "logs" / "one.eval", header=header, summaries=samples)
    store = load([tmp_path])
    assert what in said(store)
    assert store.rows("predictions")["label"].tolist() == ["a | b"]


def test_that_a_sample_without_a_score_or_shape_is_no_score(tmp_path: Path) -> None:
    header = {"status": "success", "eval": {"model": "m", "task": "t"}}
    samples = [3, {"id": 1, "epoch": 1, "target": "a", "score": {"value": "C"}}, {"id": 2, "epoch": 1, "target": "b"}]
    archive(tmp_path / "logs" / "one.eval", header=header, summaries=samples)
    rows = load([tmp_path]).rows("predictions")
    assert rows["item"].tolist() == ["1"]


HARNESS = {"results": {"arc": {"acc,none": 0.5}}, "config": {"model": "hf", "model_args": "pretrained=org/m"}}


def results(tmp_path: Path, **changed: Any) -> RunStore:
    write(tmp_path / "m" / "results_2026-01-21T03-44-18.458309.json", HARNESS | changed)
    return load([tmp_path])


def test_that_an_adapter_is_part_of_the_model(tmp_path: Path) -> None:
    args = "pretrained=org/m,peft=org/lora-3"
    assert results(tmp_path, config={"model": "hf", "model_args": args}).rows("scores")["model"].tolist() == [
        "m+lora-3"
    ]


def test_that_results_that_are_no_results_of_a_task_are_passed_over(tmp_path: Path) -> None:
    rows = results(tmp_path, results={"arc": {"acc,none": 0.5}, "broken": 3}).rows("scores")
    assert rows["task"].tolist() == ["arc"]


def test_that_the_samples_of_the_harness_need_the_results_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    samples = write(folder / "samples_arc_2026-01-21T03-44-18.458309.jsonl", b"")
    beside = write(folder / "results_2026-01-21T03-44-18.458309.json", HARNESS)
    write(folder / "other.json", {})
    assert set(LmEvalSamplesReader().needed(samples)) == {samples, beside}


# -- trackers ---------------------------------------------------------------------------------------------------------------


def test_that_metrics_of_clearml_that_were_written_anew_are_read_again(tmp_path: Path) -> None:
    shutil.copytree(DATA / "clearml", tmp_path / "c", ignore=shutil.ignore_patterns("make.py"))
    (path,) = (tmp_path / "c").rglob("metrics.jsonl")
    loader, store = Loader([tmp_path / "c"]), RunStore()
    for batch in loader.new_events():
        store = store.adding(batch)
    event = {
        "type": "training_stats_scalar",
        "metric": "new",
        "variant": "loss",
        "iter": 1,
        "value": 5.0,
        "timestamp": 1e12,
    }
    odd = [[event | {"iter": "one"}], [event | {"type": "log"}], [7]]
    path.write_text("\n\n" + "".join(json.dumps(one) + "\n" for one in ([event], *odd)) + " " * 5000 + "\n")
    for batch in loader.new_events():
        store = store.adding(batch)
    (run,) = store.runs.values()
    assert "written anew" in said(store)
    assert [curve.value.tolist() for curve in run.curves.values()] == [[5.0]]


def sacred(tmp_path: Path) -> Path:
    shutil.copytree(DATA / "sacred", tmp_path / "s", ignore=shutil.ignore_patterns("make.py"))
    return next(path.parent for path in sorted((tmp_path / "s").rglob("metrics.json")))


@pytest.mark.parametrize(
    ("metrics", "what"),
    [
        ([1], "It is no object"),
        ({"loss": {"steps": [1], "values": []}}, "as many steps as values"),
        ({"loss": 3}, "as many"),
    ],
)
def test_that_metrics_of_sacred_that_do_not_fit_are_left_out(tmp_path: Path, metrics: Any, what: str) -> None:
    folder = sacred(tmp_path)
    write(folder / "metrics.json", metrics)
    assert what in said(load([folder]))


def test_that_a_run_of_sacred_without_metrics_is_a_run(tmp_path: Path) -> None:
    folder = sacred(tmp_path)
    (folder / "metrics.json").unlink()
    store = load([folder])
    assert len(store.runs) == 1
    assert not store.problems


def test_that_a_metric_of_sacred_without_numbers_is_no_curve(tmp_path: Path) -> None:
    folder = sacred(tmp_path)
    write(folder / "metrics.json", {"a": {"steps": [0], "values": ["x"]}, "b": {"steps": [0, 1], "values": [1, None]}})
    (run,) = load([folder]).runs.values()
    assert {tag: curve.value.tolist() for tag, curve in run.curves.items()} == {"b": [1]}


def test_that_a_log_of_ray_tune_without_reports_says_so(tmp_path: Path) -> None:
    shutil.copytree(DATA / "ray_tune", tmp_path / "r", ignore=shutil.ignore_patterns("make.py"))
    path = sorted((tmp_path / "r").rglob("result.json"))[0]
    path.write_text('{"loss": 1}\n\n[3]\n')
    assert "No line of result.json is a report" in said(load([tmp_path / "r"]))


# -- our own tables, and readers of others ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifest", "what"),
    [
        ({"runglass_tables": "1", "runs": []}, "not what Runglass writes"),
        ({"runglass_tables": 1, "runs": 3}, "not what Runglass writes"),
        ([], "not what Runglass writes"),
        ({"runglass_tables": 99, "runs": []}, "newer Runglass (format 99)"),
    ],
)
def test_that_a_folder_of_tables_that_cannot_be_read_says_why(tmp_path: Path, manifest: Any, what: str) -> None:
    write(tmp_path / "all" / "runglass-tables.json", manifest)
    assert what in said(load([tmp_path]))


class Stubborn(Reader):
    name = "stubborn"

    def match(self, entry: Entry) -> Match:
        raise ZeroDivisionError


def test_that_a_broken_reader_of_others_is_a_problem_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint("theirs", "no_such_package:Reader", "runglass.readers")
    stubborn = EntryPoint("stubborn", f"{__name__}:Stubborn", "runglass.readers")
    monkeypatch.setattr(
        EntryPoint, "load", lambda self: Stubborn if self is stubborn else __import__("no_such_package")
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken, stubborn])
    registry.readers.cache_clear()
    try:
        write(tmp_path / "run" / "metrics.csv", b"step,loss\n1,2\n2,1\n")
        store = load([tmp_path])
        assert "The reader could not be loaded: No module named 'no_such_package'" in said(store)
        assert [len(run.curves) for run in store.runs.values()] == [1]
    finally:
        registry.readers.cache_clear()
        registry._by_name.cache_clear()
