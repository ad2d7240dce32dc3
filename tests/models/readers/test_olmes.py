"""Metrics and predictions of OLMES; the numbers of the first row are published ones of DataDecide."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from runglass.models.loader import load

LOGITS = [-33.75307846069336, -36.5004768371582, -28.0, -40.0]
ROW: dict[str, Any] = {
    "doc_id": 0,
    "native_id": "Mercury_417466",
    "metrics": {
        "predicted_index_raw": 2, "predicted_index_per_char": 0, "correct_choice": 0, "acc_raw": 0, "acc_per_char": 1,
        "acc_uncond": None, "bits_per_byte_corr": 0.81, "no_answer": 0,
    },
    "model_output": [{"sum_logits": logit, "num_tokens": 12, "is_greedy": False} for logit in LOGITS],
    "label": 0,
}  # fmt: skip
METRICS: dict[str, Any] = {
    "task_name": "arc_easy",
    "task_hash": "abc",
    "model_hash": "def",
    "model_config": {"model": "allenai/DataDecide-dolma1_7-150M", "revision": "step38750-seed-small-aux-3"},
    "task_config": {"num_shots": 5, "primary_metric": "acc_per_char"},
    "num_instances": 2376,
    "metrics": {"acc_raw": 0.4, "acc_per_char": 0.45, "bits_per_byte_corr": 0.9, "no_answer": 0, "primary_score": 0.45},
}


def written(folder: Path, lines: str) -> None:
    (folder / "task-003-arc_easy-metrics.json").write_text(json.dumps(METRICS))
    (folder / "task-003-arc_easy-predictions.jsonl").write_text(lines)


def test_that_metrics_become_scores(tmp_path: Path) -> None:
    written(tmp_path, json.dumps(ROW) + "\n")
    store = load([tmp_path])
    assert not store.problems
    scores = store.rows("scores").set_index("metric")
    assert set(scores.index) == {"acc_raw", "acc_per_char", "bits_per_byte_corr", "primary_score"}
    assert scores.loc["acc_per_char", ["value", "n", "fewshot", "higher_is_better"]].tolist() == [0.45, 2376, 5, 1.0]
    assert scores.loc["bits_per_byte_corr", "higher_is_better"] == 0
    assert scores.loc["acc_raw", ["model", "version", "step", "task"]].tolist() == [
        "DataDecide-dolma1_7-150M", "step38750-seed-small-aux-3", 38750, "arc_easy",
    ]  # fmt: skip


def test_that_predictions_carry_confidence_and_every_normalisation(tmp_path: Path) -> None:
    written(tmp_path, json.dumps(ROW) + "\n")
    row = load([tmp_path]).rows("predictions").iloc[0]
    assert (row["item"], row["native_id"], row["label"], row["prediction"]) == ("0", "Mercury_417466", "0", "2")
    assert (row["correct"], row["acc_per_char"], row["bits_per_byte_corr"]) == (0, 1, 0.81)
    odds = [math.exp(logit + 28) for logit in LOGITS]
    assert row["confidence"] == pytest.approx(1 / sum(odds))
    assert (row["model"], row["step"], row["task"]) == ("DataDecide-dolma1_7-150M", 38750, "arc_easy")


def test_that_generated_answers_are_texts_and_cut_lines_are_counted(tmp_path: Path) -> None:
    row = {
        "doc_id": 7, "native_id": "q7", "metrics": {"exact_match": 1.0, "f1": 1.0},
        "model_output": [{"continuation": " Paris"}], "label": ["Paris"],
    }  # fmt: skip
    written(tmp_path, json.dumps(row) + "\n" + json.dumps(row)[:60])
    store = load([tmp_path])
    found = store.rows("predictions").iloc[0]
    assert (found["prediction"], found["label"], found["correct"], found["f1"]) == ("Paris", "['Paris']", 1.0, 1.0)
    assert [problem.what for problem in store.problems] == ["1 line is no prediction and left out."]
