"""Results and details of lighteval, in the layout its documentation gives."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from runglass.models.loader import load
from runglass.models.store import RunStore

TIME = "2026-01-02T03-04-05.678901"
RESULTS: dict[str, Any] = {
    "config_general": {"lighteval_sha": "2030", "model_name": "openai/gpt2"},
    "results": {
        "lighteval|gsm8k|5": {"em": 0.25, "em_stderr": 0.01, "note": "x"},
        "mmlu:law|0": {"acc": 0.5, "acc_stderr": None},
        "all": {"em": 0.25},
    },
    "config_tasks": {
        "lighteval|gsm8k": {
            "metric": [{"metric_name": "em", "higher_is_better": True}],
            "effective_num_docs": 1319,
        }
    },
}


def details(rows: list[Any], folder: Path) -> RunStore:
    path = folder / "out/details/openai/gpt2" / TIME / f"details_lighteval|arc|0_{TIME}.parquet"
    path.parent.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return load([folder / "out"])


def test_that_results_become_scores(tmp_path: Path) -> None:
    path = tmp_path / "results/openai/gpt2" / f"results_{TIME}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(RESULTS, indent=2))
    store = load([tmp_path])
    assert not store.problems
    scores = store.rows("scores").set_index("task")
    assert list(scores.index) == ["gsm8k", "mmlu:law"]
    assert scores.loc["gsm8k", ["metric", "value", "stderr", "n", "fewshot"]].tolist() == ["em", 0.25, 0.01, 1319, 5]
    assert scores.loc["gsm8k", "higher_is_better"] == 1
    assert math.isnan(scores.loc["mmlu:law", "stderr"])
    assert scores.loc["mmlu:law", "model"] == "openai/gpt2"


def test_that_choices_get_their_confidence_from_log_probabilities(tmp_path: Path) -> None:
    rows = [
        {
            "__doc__": {"id": str(number), "choices": [" a", " b"], "gold_index": gold},
            "__model_response__": {"text": [], "logprobs": [-1.0, -2.0]},
            "__metric__": {"acc": 1 - gold},
        }
        for number, gold in enumerate([0, 1])
    ]
    store = details(rows, tmp_path)
    assert not store.problems
    found = store.rows("predictions")
    assert found["prediction"].tolist() == ["0", "0"]
    assert found["label"].tolist() == ["0", "1"]
    assert found["correct"].tolist() == [1.0, 0.0]
    assert found["confidence"].tolist() == pytest.approx([1 / (1 + math.exp(-1))] * 2)
    assert found.loc[0, ["model", "task", "fewshot"]].tolist() == ["openai/gpt2", "arc", 0]


def test_that_generated_answers_are_texts(tmp_path: Path) -> None:
    row = {
        "__doc__": {"id": "", "choices": ["#### 4"], "gold_index": [0]},
        "__model_response__": {"text": ["so 4"], "logprobs": []},
        "__metric__": {"extractive_match": 1.0, "bits": 3.5},
    }
    found = details([row], tmp_path).rows("predictions").iloc[0]
    assert (found["item"], found["label"], found["prediction"], found["correct"]) == ("0", "#### 4", "so 4", 1.0)
    assert found["bits"] == 3.5


def test_that_a_cut_table_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / f"details_arc|0_{TIME}.parquet"
    parquet.write_table(pa.Table.from_pylist([{"a": 1}]), path)
    assert "none of the columns" in load([path]).problems[0].what
    path.write_bytes(path.read_bytes()[:-9])
    assert "no whole Parquet file" in load([path]).problems[0].what
