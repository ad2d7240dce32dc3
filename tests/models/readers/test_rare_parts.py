"""What logs of each format hold only now and then: it is read, or named, as the format says."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import struct
import zipfile
import zlib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from runglass.models.errors import ReadError
from runglass.models.loader import Loader, load
from runglass.models.progress import quiet
from runglass.models.readers import registry, swanlab_log
from runglass.models.readers.base import Entry, Match, Reader, Source
from runglass.models.readers.hf_trainer import HuggingFaceTrainerReader
from runglass.models.readers.inspect_log import InspectReader
from runglass.models.readers.lm_eval import LmEvalSamplesReader
from runglass.models.readers.mlflow_store import MlflowFileReader
from runglass.models.readers.olmes import OlmesReader
from runglass.models.readers.open_lm import OpenLmReader
from runglass.models.readers.stable_baselines import StableBaselinesReader
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


# -- evaluations ------------------------------------------------------------------------------------------------------------


def test_that_a_score_that_is_no_number_leaves_the_others_of_its_document(tmp_path: Path) -> None:
    # Python writes NaN and Infinity, which are not JSON: a perplexity that overflowed, the error of one sample.
    scores = {"wikitext": {"word_perplexity,none": float("inf"), "word_perplexity_stderr,none": float("nan")}}
    rows = results(tmp_path, results=HARNESS["results"] | scores).rows("scores")
    assert rows.set_index("task")["value"].to_dict() == {"arc": 0.5, "wikitext": float("inf")}


def test_that_a_sample_with_a_metric_that_is_no_number_is_a_sample(tmp_path: Path) -> None:
    sample = {
        "doc_id": 1,
        "target": "a",
        "filtered_resps": ["b"],
        "metrics": ["em", "nll"],
        "em": 1,
        "nll": float("inf"),
    }
    write(tmp_path / "m" / "samples_arc_2026-01-21T03-44-18.458309.jsonl", json.dumps(sample).encode() + b"\n\n")
    rows = load([tmp_path]).rows("predictions")
    assert rows[["item", "prediction", "correct", "nll"]].values.tolist() == [["1", "b", 1.0, float("inf")]]


def test_that_a_model_without_a_name_is_called_like_its_kind_or_folder(tmp_path: Path) -> None:
    assert results(tmp_path / "a", config={"model": "vllm"}).rows("scores")["model"].tolist() == ["vllm"]
    assert results(tmp_path / "b", config=None).rows("scores")["model"].tolist() == ["m"]


def test_that_a_revision_without_a_step_is_a_version(tmp_path: Path) -> None:
    rows = results(tmp_path, config={"model_args": "pretrained=org/m,revision=v2"}).rows("scores")
    assert rows["version"].tolist() == ["v2"]
    assert "step" not in rows.columns


def test_that_no_blank_of_a_group_is_named_as_odd(tmp_path: Path) -> None:
    store = results(tmp_path, results={"arc": {"acc,none": 0.5, "f1,none": " ", "em,none": "N/A", "bleu,none": "high"}})
    assert "Left out, not numbers: arc bleu,none." in said(store)
    assert len(store.rows("scores")) == 1


def samples(folder: Path, *rows: Any) -> Path:
    data = b"".join(json.dumps(one).encode() + b"\n" for one in rows)
    return write(folder / "m" / "samples_arc_2026-01-21T03-44-18.458309.jsonl", data)


def test_that_the_one_continuation_of_a_task_has_its_likelihood(tmp_path: Path) -> None:
    samples(tmp_path, {"doc_id": 1, "target": " the end", "filtered_resps": [["-1.5", "False"]], "acc": 0})
    rows = load([tmp_path]).rows("predictions")
    assert rows[["label", "logprob", "correct"]].values.tolist() == [[" the end", -1.5, 0.0]]


def test_that_a_sample_without_an_answer_or_a_target_has_none(tmp_path: Path) -> None:
    samples(tmp_path, {"doc_id": 1, "target": None, "filtered_resps": [], "acc": 1})
    rows = load([tmp_path]).rows("predictions")
    assert rows[["label", "prediction"]].isna().all().all()
    assert rows["correct"].tolist() == [1.0]


@pytest.mark.parametrize("beside", [b"{", {"results": 3}, [1]])
def test_that_samples_beside_results_that_tell_nothing_are_of_their_folder(tmp_path: Path, beside: Any) -> None:
    samples(tmp_path, {"doc_id": 1, "target": "a", "filtered_resps": ["a"], "acc": 1})
    write(tmp_path / "m" / "results_2026-01-21T03-44-18.458309.json", beside)
    assert load([tmp_path]).rows("predictions")["model"].tolist() == ["m"]


def written_out(folder: Path, *entries: Any) -> Path:
    return write(folder / "m" / "arc_write_out_info.json", list(entries))


def test_that_an_answer_in_words_of_version_3_of_the_harness_is_read(tmp_path: Path) -> None:
    written_out(
        tmp_path, {"doc_id": 1, "prompt_0": "Q", "logit_0": "four", "truth": "four", "em": "True"},
        {"doc_id": 2, "prompt_0": "Q", "truth": "five", "em": "False"},
    )  # fmt: skip
    write(tmp_path / "m" / "damaged.json", b"{")
    write(tmp_path / "m" / "other.json", {"results": {"piqa": {}}})
    write(tmp_path / "m" / "all.json", HARNESS)
    rows = load([tmp_path / "m" / "arc_write_out_info.json"]).rows("predictions")
    assert rows["prediction"].fillna("").tolist() == ["four", ""]
    assert rows["model"].tolist() == ["m", "m"]
    assert rows["correct"].tolist() == [1.0, 0.0]


def test_that_what_was_written_out_needs_the_documents_beside_it(tmp_path: Path) -> None:
    path = written_out(tmp_path)
    beside = write(tmp_path / "m" / "all.json", HARNESS)
    assert set(LmEvalSamplesReader().needed(path)) == {path, beside}


def test_that_a_file_of_the_harness_without_samples_says_so(tmp_path: Path) -> None:
    written_out(tmp_path, {"doc_ids": "doc_id", "prompt_0": 3})
    path = tmp_path / "m" / "arc_write_out_info.json"
    path.write_text(
        '[{"no": "doc_id"}, {"prompt_0": "doc_id"}, "\\"doc_id\\" \\"prompt_0\\"", {"doc_id": 1, "prompt_0": 2}]'
    )
    assert "3 entries are no sample and left out" in said(load([path]))
    path.write_text('[{"no": "doc_id"}, {"doc_id": 1, "prompt_0": 2}]'.replace('"doc_id": 1', '"x": {"doc_id": 1}'))
    assert "It has no samples" in said(load([path]))


@pytest.mark.parametrize(
    ("name", "content", "limit"),
    [
        ("results_2026-01-21T03-44-18.458309.json", HARNESS, "lm_eval._MOST_BYTES"),
        ("samples_arc_2026-01-21T03-44-18.458309.jsonl", b'{"doc_id": 1}\n', "lm_eval._MOST_SAMPLE_BYTES"),
        ("details_t_2026-01-02T03-04-05.678901.parquet", b"PAR1", "lighteval._MOST_BYTES"),
        ("trainer_state.json", {"log_history": []}, "hf_trainer.LARGEST"),
        ("config.yaml", b"lr: 1", "config_file._MOST_BYTES"),
    ],
)
def test_that_a_file_beyond_what_is_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: Any, limit: str
) -> None:
    write(tmp_path / name, content)
    monkeypatch.setattr(f"runglass.models.readers.{limit}", -1)
    assert "at most" in (what := said(load([tmp_path]))) or "too large" in what


def test_that_an_instance_of_every_eval_ever_may_say_right_or_wrong_only(tmp_path: Path) -> None:
    about = {"schema_version": "x", "evaluation_id": "Q", "model_id": "m", "evaluation_name": "q", "sample_hash": "h"}
    rows = [
        about | {"sample_id": "1", "input": {"reference": []}, "evaluation": {"is_correct": True}},
        about | {"sample_id": "2", "input": {"reference": ["a", "b"]}, "evaluation": {"score": float("nan")}},
    ]
    write(tmp_path / "a_samples.jsonl", b"\n".join(json.dumps(one).encode() for one in rows) + b"\n\n")
    found = load([tmp_path]).rows("predictions")
    assert found["correct"].fillna(-1).tolist() == [1.0, -1.0]
    assert found["label"].fillna("").tolist() == ["", "a | b"]
    assert found["sample_hash"].tolist() == ["h", "h"]


def helm(folder: Path, **files: Any) -> RunStore:
    spec = {"name": "toy", "adapter_spec": {"model": "org/m"}}
    for name, content in (
        {"run_spec": spec, "stats": [], "per_instance_stats": [], "scenario_state": {}} | files
    ).items():
        write(folder / "toy" / f"{name}.json", content)
    return load([folder])


def test_that_a_run_of_helm_says_what_it_lacks(tmp_path: Path) -> None:
    assert "Its stats.json holds no score" in said(helm(tmp_path / "a"))
    assert "run_spec.json is no specification of a HELM run" in said(helm(tmp_path / "b", run_spec={"adapter_spec": 3}))


def test_that_a_scenario_of_helm_without_arguments_is_its_task(tmp_path: Path) -> None:
    stats = [{"name": {"name": "exact_match", "split": "test"}, "count": 1, "mean": 0.5}]
    asked = {"instance": {"id": "id1"}, "result": {"completions": [{"text": " A "}]}}
    state = {"request_states": [asked, asked | {"reference_index": 0}, {"instance": 3}]}
    stated = [{"instance_id": "id1", "stats": stats}]
    store = helm(tmp_path, stats=stats, per_instance_stats=stated, scenario_state=state)
    assert store.rows("scores")["task"].tolist() == ["toy"]
    assert store.rows("predictions")[["item", "prediction"]].values.tolist() == [["id1", "A"]]


def test_that_details_of_lighteval_elsewhere_are_of_the_folders_above(tmp_path: Path) -> None:
    rows = [{"__doc__": {"id": "1"}, "__model_response__": {"text": ["a"]}, "__metric__": {"em": 1}}]
    path = tmp_path / "org" / "m" / "t" / "details_arc_2026-01-02T03-04-05.678901.parquet"
    path.parent.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)
    assert load([tmp_path / "org"]).rows("predictions")["model"].tolist() == ["org/m"]


def test_that_results_of_lighteval_without_scores_say_so(tmp_path: Path) -> None:
    write(tmp_path / "results_2026-01-02T03-04-05.678901.json", {"config_general": {"model_name": "m"}, "results": {}})
    assert "It holds no scores" in said(load([tmp_path]))


def olmes(folder: Path, config: Any, *predictions: Any, metrics: Any = None) -> RunStore:
    about = {"task_name": "arc", "model_config": config, "metrics": {"acc_raw": 0.4} if metrics is None else metrics}
    write(folder / "m" / "task-003-arc-metrics.json", about)
    data = b"\n".join(json.dumps(one).encode() for one in predictions)
    write(folder / "m" / "task-003-arc-predictions.jsonl", data + b"\n\n")
    return load([folder])


def test_that_a_prediction_of_olmes_may_be_a_text_or_nothing(tmp_path: Path) -> None:
    about = {"native_id": "a", "metrics": {"exact_match": 1, "bits": float("inf")}}
    store = olmes(
        tmp_path, {"model": "o/m", "revision": "v2"}, about | {"doc_id": 1, "model_output": [{"continuation": " yes "}]},
        about | {"doc_id": 2, "model_output": [{}]}, {"doc_id": 3, "native_id": "b", "metrics": 4},
    )  # fmt: skip
    rows = store.rows("predictions")
    assert rows["prediction"].fillna("").tolist() == ["yes", ""]
    assert (rows["version"] == "v2").all()
    assert "step" not in rows.columns
    assert "1 line is no prediction and left out" in said(store)


def test_that_metrics_of_olmes_without_a_score_say_so(tmp_path: Path) -> None:
    assert "It holds no scores" in said(olmes(tmp_path, {}, metrics={"note": "none"}))


def test_that_the_predictions_of_olmes_need_the_metrics_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "task-003-arc-predictions.jsonl"
    assert set(OlmesReader().needed(path)) == {path, tmp_path / "task-003-arc-metrics.json"}


def test_that_a_record_of_open_lm_that_is_no_object_says_so(tmp_path: Path) -> None:
    source = Source((write(tmp_path / "small.json", [1]),), "small.json", "", "open_lm")
    with pytest.raises(ReadError, match="no record of a model"):
        list(OpenLmReader().read(source, None, quiet))


def test_that_judgements_of_opencompass_may_be_a_list_and_lists(tmp_path: Path) -> None:
    judged = [{"correct": [True], "pred": ["a", "b"]}, {"correct": [True, False]}, {"is_correct": False}]
    write(tmp_path / "20260102_030405" / "results" / "m" / "siqa.json", {"accuracy": 37.5, "details": judged})
    for name in ("configs", "logs"):
        write(tmp_path / "20260102_030405" / name / "a.py", b"")
    rows = load([tmp_path]).rows("predictions")
    assert rows["correct"].fillna(-1).tolist() == [1.0, -1.0, 0.0]
    assert rows["prediction"].fillna("").tolist() == ["a | b", "", ""]


def test_that_an_entry_that_inspect_packed_in_another_way_is_named(tmp_path: Path) -> None:
    path = tmp_path / "one.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("header.json", json.dumps({"status": "success", "eval": {"model": "m", "task": "t"}}))
    assert "header.json is compressed by method 14" in said(load([path]))


def test_that_only_a_mean_of_inspect_has_the_error_of_the_mean(tmp_path: Path) -> None:
    metrics = {"accuracy": {"value": 0.5}, "f1": {"value": 0.25}, "stderr": {"value": 0.1}}
    log = {
        "status": "success",
        "eval": {"model": "m", "task": "t"},
        "results": {"scores": [{"name": "s", "metrics": metrics}]},
    }
    archive(tmp_path / "logs" / "one.eval", header=log, summaries=[])
    rows = load([tmp_path]).rows("scores").set_index("metric")
    assert rows["value"].to_dict() == {"accuracy": 0.5, "f1": 0.25}
    assert rows["stderr"].fillna(-1).to_dict() == {"accuracy": 0.1, "f1": -1}


def test_that_a_run_of_mlflow_needs_what_names_its_experiment(tmp_path: Path) -> None:
    run = mlflow(tmp_path, loss=b"1000 3.5 0\n")
    assert set(MlflowFileReader().needed(run)) >= {
        run / "metrics" / "loss",
        run / "meta.yaml",
        run.parent / "meta.yaml",
    }


def test_that_tokens_a_trainer_counted_are_a_fact_of_the_run(tmp_path: Path) -> None:
    write(tmp_path / "r" / "trainer_state.json", {"log_history": [], "num_input_tokens_seen": 5000, "total_flos": 0})
    (run,) = load([tmp_path]).runs.values()
    assert run.facts["tokens"] == 5000
    assert "flops" not in run.facts


def test_that_a_log_of_inspect_that_is_no_object_says_so(tmp_path: Path) -> None:
    text = json.dumps([{"status": "success", "eval": {"eval_id": "x", "task": "t"}, "version": 2, "samples": []}])
    path = tmp_path / "logs" / "2026-01-01T00-00-00+00-00_t_x.json"
    source = Source((write(path, text.encode()),), "one.json", "", "inspect")
    with pytest.raises(ReadError, match="no log of an evaluation"):
        list(InspectReader().read(source, None, quiet))


# -- trackers, which read on ------------------------------------------------------------------------------------------------


def test_that_a_state_of_the_trainer_that_went_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="hold no state any more"):
        list(HuggingFaceTrainerReader().read(Source((tmp_path,), "a", "a", "hf trainer"), None, quiet))


def test_that_what_a_search_tried_is_configuration(tmp_path: Path) -> None:
    write(tmp_path / "r" / "trainer_state.json", {"log_history": [], "trial_params": {"lr": 0.1, "odd": [1]}})
    (run,) = load([tmp_path]).runs.values()
    assert run.config["trial.lr"] == 0.1
    assert "trial.odd" not in run.config


def neptune(folder: Path, *points: tuple[float | None, float]) -> None:
    about = {"project_id": "p", "run_id": "R-1", "attribute_path": "loss", "attribute_type": "float_series"}
    kinds = {"timestamp": pa.timestamp("ms", tz="UTC"), "int_value": pa.int64(), "float_value": pa.float64(),
             "bool_value": pa.bool_(), "step": pa.float64(), "string_value": pa.string()}  # fmt: skip
    schema = pa.schema([*((name, pa.string()) for name in about), *kinds.items()])
    rows = [about | {"step": step, "float_value": value} for step, value in points]
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "R-1_part_0.parquet")


def test_that_an_export_of_neptune_that_was_written_anew_is_read_again(tmp_path: Path) -> None:
    neptune(tmp_path, (0, 3.0))
    loader, store = Loader([tmp_path]), RunStore()
    for batch in loader.new_events():
        store = store.adding(batch)
    neptune(tmp_path, (0, 3.0), (1, 2.0), (None, 9.0))
    for batch in loader.new_events():
        store = store.adding(batch)
    (run,) = store.runs.values()
    assert {tag: curve.value.tolist() for tag, curve in run.curves.items()} == {"loss": [3.0, 2.0]}
    neptune(tmp_path, (None, 9.0))
    for batch in loader.new_events():
        store = store.adding(batch)
    assert not next(iter(store.runs.values())).curves


def test_that_an_export_of_neptune_beyond_what_is_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runglass.models.readers.neptune_export._MOST_BYTES", 1)
    neptune(tmp_path, (0, 3.0))
    assert "exports of at most" in said(load([tmp_path]))


def mlflow(folder: Path, **metrics: bytes) -> Path:
    run = folder / "0" / ("a" * 32)
    write(run / "meta.yaml", b"run_name: first\nstatus: 3\n")
    for name, lines in metrics.items():
        write(run / "metrics" / name, lines)
    return run


def test_that_a_metric_of_mlflow_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    run = mlflow(tmp_path, loss=b"1000 3.5 0\n", odd=b"1000 1 99999999999999999999\n")
    os.mkfifo(run / "metrics" / "pipe")
    (run / "metrics" / "gone").symlink_to(run / "nowhere")
    write(run / "params" / "lr", b"0.1")
    (run / "params" / "gone").symlink_to(run / "nowhere")
    write(run / "params" / "long", b"x" * (1 << 17))
    store = load([tmp_path])
    (one,) = store.runs.values()
    assert {tag: curve.value.tolist() for tag, curve in one.curves.items()} == {"loss": [3.5]}
    assert one.config["lr"] == 0.1
    assert "long" not in one.config
    what = said(store)
    assert "Metric 'pipe' is left out. It is not a regular file" in what
    assert "Metric 'gone' is left out. It cannot be read: No such file" in what
    assert "1 line of metric 'odd' left out" in what


def test_that_no_more_metrics_of_mlflow_are_looked_at_than_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runglass.models.readers.mlflow_store._MOST_FILES", 2)
    mlflow(tmp_path, a=b"1 1 0\n", b=b"1 1 0\n", c=b"1 1 0\n")
    (run,) = load([tmp_path]).runs.values()
    assert sorted(run.curves) == ["a", "b"]


def test_that_a_description_of_a_run_of_mlflow_too_large_for_one_is_not_read(tmp_path: Path) -> None:
    run = mlflow(tmp_path, loss=b"1 1 0\n")
    write(run / "meta.yaml", b"run_name: " + b"x" * (1 << 17))
    assert "meta.yaml is too large" in said(load([tmp_path]))


def test_that_rows_of_a_database_of_mlflow_that_are_no_points_are_left_out(tmp_path: Path) -> None:
    path = shutil.copy(DATA / "mlflow" / "mlflow.db", tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        (run,) = database.execute(
            "SELECT run_uuid FROM metrics JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active'"
        ).fetchone()
        put = "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)"
        database.execute(put, ("odd time", 1.5, "soon", run, 3))
        database.execute(put, ("odd step", 1.5, 4, run, "x"))
        database.execute(put, ("last step", 1.5, 5, run, 2**63 - 1))
        database.commit()
    store = load([path])
    assert "unexpectedly" not in said(store)
    (curves,) = [run.curves for run in store.runs.values() if "odd time" in run.curves]
    assert curves["odd time"].value.tolist() == [1.5]
    assert curves["last step"].step.tolist() == [2.0**63]
    assert "odd step" not in curves


def test_that_what_is_no_json_in_a_database_of_trackio_is_left_out(tmp_path: Path) -> None:
    (path,) = (DATA / "trackio").rglob("*.db")
    path = Path(shutil.copy(path, tmp_path))
    whole = {key: sorted(run.curves) for key, run in load([path]).runs.items()}
    with contextlib.closing(sqlite3.connect(path)) as database:
        columns = [str(row[1]) for row in database.execute("PRAGMA table_info(metrics)")]
        kept = [name for name in columns if name not in ("id", "log_id", "step", "metrics")]
        same = ", ".join(kept)
        copied = f"INSERT INTO metrics ({same}, step, metrics) SELECT {same}, ?, ? FROM metrics LIMIT 1"
        database.execute(copied, ("a step", '{"loss": 1}'))
        database.execute(copied, (99, "{"))
        database.execute(copied, (99, "[1]"))
        names = [
            str(row[1]) for row in database.execute("PRAGMA table_info(configs)") if row[1] not in ("id", "config")
        ]
        for number, text in enumerate(("{", "3")):
            values = ", ".join(f"'{number}'" if name in ("run_id", "run_name") else name for name in names)
            database.execute(
                f"INSERT INTO configs ({', '.join(names)}, config) SELECT {values}, ? FROM configs LIMIT 1", (text,)
            )
        database.commit()
    store = load([path])
    assert "3 rows left out: no numbers with a step" in said(store)
    assert {key: sorted(run.curves) for key, run in store.runs.items()} == whole


def test_that_a_parameter_of_clearml_without_a_value_and_a_step_without_end_are_left_out(tmp_path: Path) -> None:
    shutil.copytree(DATA / "clearml", tmp_path / "c", ignore=shutil.ignore_patterns("make.py"))
    (path,) = (tmp_path / "c").rglob("metrics.jsonl")
    event = {"type": "training_stats_scalar", "metric": "new", "variant": "loss", "value": 5.0, "timestamp": 1e12}
    lines = [[event | {"iter": float("inf")}], [event | {"iter": 1e300, "value": 6.0}]]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    (about,) = (tmp_path / "c").rglob("task.json")
    task = json.loads(about.read_text())
    write(about, task | {"hyperparams": {"Args": {"none": {"value": None}, "lr": {"value": "0.5"}}}})
    (run,) = load([tmp_path / "c"]).runs.values()
    assert {tag: curve.step.tolist() for tag, curve in run.curves.items()} == {"new/loss": [1e300]}
    assert run.config["Args.lr"] == 0.5
    assert "Args.none" not in run.config


def test_that_a_trial_of_ray_of_which_nothing_is_known_has_no_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(DATA / "ray_tune", tmp_path / "r", ignore=shutil.ignore_patterns("make.py"))
    states = list((tmp_path / "r").rglob("experiment_state*.json"))
    known = {run.status for run in load([tmp_path / "r"]).runs.values()}
    for number, path in enumerate(states):
        write(path, {"trial_data": [[json.dumps({"status": "NEW", "trial_id": str(number)}), "x"], 3, "{"]})
    assert {run.status for run in load([tmp_path / "r"]).runs.values()} != known
    for number, path in enumerate(states):
        write(path, {"trial_data": [3] * (number + 2)})
    monkeypatch.setattr("runglass.models.readers.ray_tune._MOST_CONFIG_BYTES", 1)
    assert len(load([tmp_path / "r"]).runs)


def test_that_a_run_of_sacred_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    folder = sacred(tmp_path)
    about = json.loads((folder / "run.json").read_text())
    write(folder / "run.json", about | {"experiment": {}})
    loader, store = Loader([folder]), RunStore()
    for batch in loader.new_events():
        store = store.adding(batch)
    before = {tag: len(curve.step) for run in store.runs.values() for tag, curve in run.curves.items()}
    write(folder / "run.json", about | {"experiment": {}, "status": "FAILED"})
    for batch in loader.new_events():
        store = store.adding(batch)
    (run,) = store.runs.values()
    assert {tag: len(curve.step) for tag, curve in run.curves.items()} == before
    assert run.status == "failed"
    assert "experiment" not in run.config


def test_that_values_of_dvclive_may_be_written_without_a_line_yet(tmp_path: Path) -> None:
    folder = tmp_path / "dvclive"
    write(folder / "plots" / "metrics" / "loss.tsv", b"step\tloss")
    write(folder / "plots" / "metrics" / "acc.tsv", b"step\tacc\n0\t0.5\n")
    write(folder / "metrics.json", {"acc": 0.5})
    write(folder / "params.yaml", b"x" * (1 << 25))
    (run,) = load([tmp_path]).runs.values()
    assert {tag: curve.value.tolist() for tag, curve in run.curves.items()} == {"acc": [0.5]}


def monitor(folder: Path, rows: bytes, name: str = "monitor.csv") -> Path:
    return write(folder / name, b'#{"t_start": 100.0, "env_id": "Pole-v1"}\n' + rows)


def test_that_a_monitor_whose_rows_are_no_table_says_so(tmp_path: Path) -> None:
    monitor(tmp_path / "a", b"r,l,t,t\n1,2,3,4\n")
    assert "It is no table of episodes" in said(load([tmp_path / "a"]))


def test_that_an_episode_longer_than_can_be_counted_is_left_out(tmp_path: Path) -> None:
    monitor(tmp_path / "a", b"r,l,t\n1,2,3\n1,1e300,4\n2,inf,5\n3,4,6\n")
    store = load([tmp_path / "a"])
    (run,) = store.runs.values()
    assert run.curves["episode/reward"].step.tolist() == [2, 6]
    assert "2 lines are no episodes and left out" in said(store)


def test_that_evaluations_that_unpack_to_more_than_is_read_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    np.savez_compressed(out, timesteps=np.arange(5000), results=np.zeros((5000, 9)))
    monkeypatch.setattr("runglass.models.readers.stable_baselines.MOST_BYTES", 200_000)
    write(tmp_path / "evaluations.npz", out.getvalue())
    assert "Its arrays are too large to be read" in said(load([tmp_path]))


def test_that_settings_too_long_for_settings_are_not_read(tmp_path: Path) -> None:
    path = monitor(tmp_path / "a", b"r,l,t\n1,2,3\n")
    long = write(tmp_path / "a" / "Pole-v1" / "args.yml", b"seed: 1 # " + b"x" * (1 << 17))
    short = write(tmp_path / "a" / "Pole-v1" / "config.yml", b"gamma: 0.9\n")
    assert set(StableBaselinesReader().needed(path)) == {path, long, short}
    (run,) = load([tmp_path / "a"]).runs.values()
    assert run.config["gamma"] == 0.9
    assert "seed" not in run.config


def swanlab(folder: Path, *records: bytes) -> tuple[Run, str]:
    (path,) = (DATA / "swanlab").rglob("*.swanlab")
    out = bytearray(path.read_bytes()[:7])
    for record in records:
        out += struct.pack("<IHB", zlib.crc32(record, zlib.crc32(b"\x01")), len(record), 1) + record
    write(folder / path.name, bytes(out))
    store = load([folder])
    return next(iter(store.runs.values())), said(store)


def test_that_a_damaged_record_of_swanlab_is_counted_and_a_run_may_have_no_tags(tmp_path: Path) -> None:
    point = field(1, b"loss") + field(2, 3) + field(5, b"\x09" + struct.pack("<d", 1.5))
    run, what = swanlab(
        tmp_path / "run-1", field(swanlab_log._START, field(4, b"first")), field(swanlab_log._SCALAR, point),
        field(swanlab_log._SCALAR, b"\xff" * 11),
    )  # fmt: skip
    assert (run.name, run.curves["loss"].value.tolist()) == ("first", [1.5])
    assert "1 damaged record left out" in what
    assert "tags" not in run.config


def test_that_settings_of_swanlab_too_large_for_settings_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "run-1" / "files" / "config.yaml", b"lr: 1 #" + b"x" * (1 << 25))
    run, _ = swanlab(tmp_path / "run-1", field(swanlab_log._START, field(4, b"first")))
    assert "lr" not in run.config


def test_that_rows_of_wandb_without_numbers_and_fields_it_does_not_know_are_nothing(tmp_path: Path) -> None:
    run, what = wandb_run(
        tmp_path / "r", row(item("note", "x"), step=1), row(item("loss", 2) + field(9, 1), step=2),
        field(5, field(9, 3) + field(1, field(2, b"lr") + field(9, b"?") + field(16, b"0.1"))),
        field(7, field(2, field(1, 1_700_000_000))), field(7, field(2, field(1, 1_700_000_000)) + field(9, 3)),
    )  # fmt: skip
    assert {tag: curve.step.tolist() for tag, curve in run.curves.items()} == {"loss": [2]}
    assert run.config["lr"] == 0.1
    assert "damaged" not in what


def test_that_an_online_folder_of_wandb_with_files_that_tell_nothing_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "wandb" / "run-20260101_000000-abc"
    write(folder / "files" / "config.yaml", b"x: 1 #" + b"x" * (1 << 25))
    write(folder / "files" / "wandb-summary.json", [1])
    assert "It holds no log and no configuration of a run" in said(load([tmp_path]))
    write(folder / "files" / "wandb-summary.json", b"{")
    assert "It holds no log and no configuration of a run" in said(load([tmp_path]))


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


def tables(folder: Path, runs: list[Any], **columns: Any) -> Path:
    """Write a folder of tables; the time of its manifest differs from that of another of its size."""
    manifest = write(folder / "runglass-tables.json", {"runglass_tables": 1, "runs": runs})
    parquet.write_table(pa.table(columns), folder / "scalars.parquet")
    return manifest


def test_that_tables_that_were_exported_anew_are_read_again(tmp_path: Path) -> None:
    tables(tmp_path / "all", [{"run": "a"}, {"name": "b"}, 3], run=["a", "a"], tag=["loss"] * 2, step=[0, 1],
           value=[2.0, 1.0], wall_time=[None, float("nan")])  # fmt: skip
    loader, store = Loader([tmp_path]), RunStore()
    for batch in loader.new_events():
        store = store.adding(batch)
    (run,) = store.runs.values()
    assert (run.curves["loss"].value.tolist(), run.curves["loss"].wall_time) == ([2.0, 1.0], None)
    tables(
        tmp_path / "all",
        [{"run": "a", "name": "new"}],
        run=["a", "a"],
        tag=["loss"] * 2,
        step=[0.5, 1],
        value=[4.0, 3.0],
    )
    for batch in loader.new_events():
        store = store.adding(batch)
    (run,) = store.runs.values()
    assert (run.name, run.curves["loss"].value.tolist(), run.curves["loss"].step.tolist()) == ("new", [4, 3], [0.5, 1])
    assert "It was written anew; its runs were read again" in said(store)


@pytest.mark.parametrize("value", [["x"], [[1.0]], [{"a": 1}]])
def test_that_a_table_of_ours_with_other_values_is_left_out(tmp_path: Path, value: Any) -> None:
    tables(tmp_path / "all", [{"run": "a"}], run=["a"], tag=["loss"], step=[0], value=value)
    store = load([tmp_path])
    assert "scalars.parquet is left out. It is no table of Runglass" in said(store)
    assert len(store.runs) == 1


@pytest.mark.parametrize("is_folder", [False, True])
def test_that_what_went_while_folders_were_listed_holds_nothing(tmp_path: Path, is_folder: bool) -> None:
    gone = Entry(tmp_path / "gone", "gone", is_folder)
    assert (gone.head, gone.beginning(9), gone.ending(9), gone.children) == (b"", b"", b"", frozenset())


def test_that_a_folder_has_the_names_in_it_and_a_file_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "b", b"0123456789")
    assert Entry(tmp_path / "a", "a", is_folder=True).children == {"b"}
    file = Entry(path, "a/b")
    assert (file.children, file.beginning(3), file.ending(3), file.ending(99)) == (
        frozenset(),
        b"012",
        b"789",
        b"0123456789",
    )


class Stubborn(Reader):
    name = "stubborn"
    looks_at_folders = True

    def match(self, entry: Entry) -> Match:
        raise ZeroDivisionError


def test_that_a_broken_reader_of_others_is_a_problem_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = EntryPoint("theirs", "no_such_package:Reader", "runglass.readers")
    stubborn = EntryPoint("stubborn", f"{__name__}:Stubborn", "runglass.readers")
    monkeypatch.setattr(
        EntryPoint, "load", lambda self: Stubborn if self is stubborn else __import__("no_such_package")
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken, stubborn])
    registry._third_parties.cache_clear()
    try:
        write(tmp_path / "run" / "metrics.csv", b"step,loss\n1,2\n2,1\n")
        store = load([tmp_path])
        assert "The reader could not be loaded: No module named 'no_such_package'" in said(store)
        assert [len(run.curves) for run in store.runs.values()] == [1]
        assert "as stubborn failed" in caplog.text
    finally:
        registry._third_parties.cache_clear()
