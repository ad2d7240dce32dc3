from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runglass.models.discovery import Discovery
from runglass.models.errors import ReadError
from runglass.models.loader import load
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Entry, Match, Source
from runglass.models.readers.lm_eval import LmEvalReader
from runglass.models.tables import Problem, TableRows

READER = LmEvalReader()


def read(path: Path) -> tuple[TableRows, list[str]]:
    rows, problems = None, []
    for event in READER.read(Source((path,), f"evals/{path.name}", "evals", READER.name), None, quiet):
        if isinstance(event, TableRows):
            rows = event
        elif isinstance(event, Problem):
            problems.append(event.what)
        else:
            assert isinstance(event, Cursor)
    assert rows is not None
    return rows, problems


def written(folder: Path, document: Any, name: str = "results_2026-01-21T03-44-18.458309.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(document, indent=2))
    return path


OLD = {
    "results": {"arc_easy": {"acc": 0.5, "acc_stderr": 0.01}, "lambada": {"ppl": 20.0, "ppl_stderr": 1.0, "acc": 0.3}},
    "versions": {"arc_easy": 0},
    "config": {
        "model_args": "use_accelerate=True,pretrained=EleutherAI/pythia-70m,revision=step3000",
        "num_fewshot": 5,
    },
}

NEW = {
    "results": {
        "gsm8k": {"alias": "gsm8k", "exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.02,
                  "exact_match,flexible-extract": 0.5, "exact_match_stderr,flexible-extract": "N/A"},
        "mmlu": {"alias": "mmlu", "acc,none": 0.7, "acc_stderr,none": 0.005, "note,none": "x"},
    },
    "higher_is_better": {"gsm8k": {"exact_match": True}},
    "n-samples": {"gsm8k": {"original": 1319, "effective": 100}},
    "n-shot": {"gsm8k": 5, "mmlu": 0},
    "versions": {"gsm8k": 3.0},
    "config": {"model": "hf", "model_args": {"pretrained": "org/model-7b"}, "model_revision": "main",
               "model_num_parameters": 7000, "limit": 100.0},
}  # fmt: skip


def test_that_results_of_version_0_3_are_scores(tmp_path: Path) -> None:
    rows, problems = read(written(tmp_path, OLD))
    assert (rows.table, problems) == ("scores", [])
    frame = rows.frame
    assert frame[["task", "metric", "value"]].values.tolist() == [
        ["arc_easy", "acc", 0.5],
        ["lambada", "ppl", 20.0],
        ["lambada", "acc", 0.3],
    ]
    assert frame["stderr"].iloc[:2].tolist() == [0.01, 1.0]
    assert frame["stderr"].isna().iloc[2]
    assert set(frame["model"]) == {"pythia-70m"}
    assert (set(frame["version"]), set(frame["step"]), set(frame["fewshot"])) == ({"step3000"}, {3000.0}, {5})


def test_that_results_of_version_0_4_are_scores_with_their_filters(tmp_path: Path) -> None:
    rows, problems = read(written(tmp_path, NEW))
    frame = rows.frame
    assert frame[["metric", "value", "fewshot"]].values.tolist() == [
        ["exact_match", 0.25, 5],
        ["exact_match", 0.5, 5],
        ["acc", 0.7, 0],
    ]
    assert frame["filter"].iloc[:2].tolist() == ["strict-match", "flexible-extract"]
    assert frame["filter"].isna().iloc[2]
    assert frame["task"].tolist() == ["gsm8k/strict-match", "gsm8k/flexible-extract", "mmlu"]
    assert frame["n"].iloc[0] == 100
    assert frame["higher_is_better"].iloc[0] is True
    assert frame["stderr"].notna().tolist() == [True, False, True]
    assert set(frame["model"]) == {"model-7b"}
    assert set(frame["params"]) == {7000}
    assert "version" not in frame.columns  # main is no checkpoint
    assert problems == ["Left out, not numbers: mmlu note,none."]


def test_that_one_filter_leaves_the_name_of_the_task(tmp_path: Path) -> None:
    results = {"gsm8k": {"alias": "gsm8k", "exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.02,
                         "f1,strict-match": 0.5}}  # fmt: skip
    rows, _ = read(written(tmp_path, NEW | {"results": results}))
    assert rows.frame["task"].tolist() == ["gsm8k", "gsm8k"]


def test_that_other_documents_are_left_to_others(tmp_path: Path) -> None:
    for document in ({"loss": 1}, {"results": [1]}, {"results": {}}, {"results": {"a": 0.5}}, [OLD]):
        path = written(tmp_path, document)
        assert READER.match(Entry(path, path.name)) is Match.NO
    path = written(tmp_path, OLD, "12b_step0.json")
    assert READER.match(Entry(path, path.name)) is Match.YES


@pytest.mark.parametrize(
    "text", ['{"results": {"a": {"acc": 0.5}', '{"results": 3}', '{"results": {"a": {"alias": "a"}}}']
)
def test_that_a_document_without_scores_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ReadError, match=r"not the whole of it|no results|no score"):
        read(path)


def test_that_the_real_results_of_three_versions_open(shared_data: Path) -> None:
    new = load([shared_data / "evals" / "lm_eval" / "results_2026-01-21T03-44-18.458309.json"]).rows("scores")
    assert new[["task", "metric", "n", "fewshot"]].values.tolist() == [
        ["math_perturbed_full", "exact_match", 5000, 0],
        ["math_rephrased_full", "exact_match", 5000, 0],
    ]
    assert set(new["params"]) == {93069280}
    old = load([shared_data / "evals" / "lm_eval_v0.3"])
    assert old.problems == ()
    scores = old.rows("scores")
    anli = scores[(scores["task"] == "anli_r1") & (scores["model"] == "7B")]
    assert anli[["metric", "value", "stderr"]].values.tolist() == [["acc", 0.348, 0.015070604603768408]]


@pytest.mark.parametrize(
    ("folder", "model", "task", "metric", "value", "stderr"),
    [
        ("lm_eval_v0.3", "13B", "arc_challenge", "acc", 0.43942, 0.014504),
        ("lm_eval_v0.3", "opt-125m", "lambada_openai", "ppl", 26.02104, None),
        ("lm_eval_v0.3", "opt-125m", "lambada_openai", "acc", 0.379003, None),
        ("lm_eval", None, "math_rephrased_full", "exact_match", 0.0004, None),
    ],
)
def test_that_published_results_have_their_numbers(
    shared_data: Path, folder: str, model: str | None, task: str, metric: str, value: float, stderr: float | None
) -> None:
    rows = load([shared_data / "evals" / folder]).rows("scores")
    rows = rows[(rows["task"] == task) & (rows["metric"] == metric) & ((rows["model"] == model) | (model is None))]
    assert rows["value"].tolist() == [pytest.approx(value, rel=1e-6, abs=1e-6)]
    if stderr is not None:
        assert rows["stderr"].tolist() == [pytest.approx(stderr, abs=1e-6)]


def test_that_the_876_files_of_pythia_are_taken_by_no_other_reader(shared_data: Path) -> None:
    sources = list(Discovery([shared_data / "ranking" / "pythia"]).sources())
    readers = [source.reader for source in sources if isinstance(source, Source)]
    assert readers.count("lm-eval") == 876
