"""Logs of Inspect: archives in both layouts, documents, evaluations that did not end, and damage."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from runglass.models.errors import ReadError
from runglass.models.loader import load
from runglass.models.progress import quiet
from runglass.models.readers.base import Entry, Match, Source
from runglass.models.readers.inspect_log import InspectReader
from runglass.models.tables import Problem, TableRows

DATA = Path(__file__).parents[2] / "data" / "inspect"


def read(path: Path) -> list[Any]:
    return list(InspectReader().read(Source((path,), path.name, "logs", "inspect"), None, quiet))


def frame(path: Path, table: str) -> pd.DataFrame:
    return next(event.frame for event in read(path) if isinstance(event, TableRows) and event.table == table)


def problems(path: Path) -> list[str]:
    return [event.what for event in read(path) if isinstance(event, Problem)]


@pytest.mark.parametrize("name", ["finished.eval", "chunked.eval", "unfinished.eval", "finished.json"])
def test_that_logs_are_known(name: str) -> None:
    assert InspectReader().match(Entry(DATA / name, name)) is Match.YES


def test_that_scores_stand_with_their_errors_and_sizes() -> None:
    scores = frame(DATA / "finished.eval", "scores").set_index("metric")
    assert list(scores.index) == ["match/accuracy", "length/mean", "brevity/mean"]
    assert scores.loc["match/accuracy", "value"] == 0.75
    assert scores.loc["match/accuracy", "stderr"] == pytest.approx(0.25)
    assert set(scores["n"]) == {4}
    assert set(scores["model"]) == {"mockllm/model"}
    assert set(scores["task"]) == {"sums"}


def test_that_each_sample_epoch_and_scorer_is_a_prediction() -> None:
    rows = frame(DATA / "finished.eval", "predictions")
    assert len(rows) == 4 * 2 * 3
    matched = rows[rows["task"] == "sums/match"].set_index(["item", "sample"])
    assert matched.loc[("sum-3", "2"), ["label", "prediction", "correct"]].tolist() == ["6", "-1", 0.0]
    assert matched["correct"].mean() == 0.75
    assert set(rows["task"]) == {"sums/match", "sums/shape/length", "sums/shape/brevity"}


def test_that_a_value_beyond_one_is_a_score_and_not_correctness(tmp_path: Path) -> None:
    log = json.loads((DATA / "finished.json").read_text())
    log["samples"][0]["scores"] = {"grade": {"value": 7, "answer": "x"}}
    log["samples"] = log["samples"][:1]
    (tmp_path / "a.json").write_text(json.dumps(log))
    row = frame(tmp_path / "a.json", "predictions").iloc[0]
    assert (row["score"], pd.isna(row["correct"])) == (7, True)


@pytest.mark.parametrize("name", ["chunked.eval", "finished.json"])
@pytest.mark.parametrize("table", ["scores", "predictions"])
def test_that_all_forms_of_a_log_say_the_same(name: str, table: str) -> None:
    pd.testing.assert_frame_equal(frame(DATA / name, table), frame(DATA / "finished.eval", table))


def test_that_an_evaluation_that_did_not_end_gives_what_is_done() -> None:
    assert problems(DATA / "unfinished.eval") == ["The evaluation is not finished: 2 samples of it were read."]
    rows = frame(DATA / "unfinished.eval", "predictions")
    assert rows["item"].tolist() == ["sum-0", "sum-1"]
    assert rows["correct"].tolist() == [1.0, 1.0]
    assert set(rows["task"]) == {"sums"}


def test_that_samples_are_read_where_there_are_no_summaries(tmp_path: Path) -> None:
    log = json.loads((DATA / "finished.json").read_text())
    path = tmp_path / "old.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({key: log[key] for key in ("status", "eval", "results")}))
        for sample in log["samples"]:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    both = [
        frame(one, "predictions").sort_values(["item", "sample", "scorer"]) for one in (path, DATA / "finished.eval")
    ]
    pd.testing.assert_series_equal(both[0]["score"], both[1]["score"], check_index=False)


def test_that_a_cut_archive_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    data = (DATA / "unfinished.eval").read_bytes()
    for end in range(4, len(data), 97):
        path = tmp_path / "cut.eval"
        path.write_bytes(data[:end])
        with pytest.raises(ReadError, match=r"no whole archive|damaged|neither"):
            read(path)


def test_that_a_damaged_entry_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.eval"
    data = bytearray((DATA / "finished.eval").read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        at = archive.getinfo("summaries.json").header_offset
    data[at + 80] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ReadError, match=r"summaries\.json is damaged"):
        read(path)


def test_that_an_archive_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b'{"eval": {}, "results": "' + bytes(1 << 20) + b'"}')
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ReadError, match="at most"):
        read(path)


def test_that_a_folder_of_logs_opens_without_runs(tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path / "logs", ignore=shutil.ignore_patterns("*.py"))
    store = load([tmp_path / "logs"])
    assert not store.runs
    assert not store.table_problems
    assert len(store.rows("scores")) == 9
    assert [problem.source for problem in store.problems] == ["logs/unfinished.eval"]


def test_that_published_logs_have_their_numbers(shared_data: Path) -> None:
    store = load([shared_data / "evals/inspect"])
    scores = store.rows("scores").set_index(["model", "task", "metric"])
    simple = scores.loc[("anthropic/claude-opus-4-6", "simpleqa_verified", "accuracy")]
    assert simple["value"] == pytest.approx(0.431)
    assert simple["n"] == 1000
    qwen = store.rows("predictions").query("model == 'ollama/qwen2.5:0.5b'")
    assert qwen["correct"].tolist() == [1.0, 0.0, 0.0]
    assert qwen["prediction"].tolist() == ["A", "D", "A"]
