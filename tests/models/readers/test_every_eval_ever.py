"""Evaluations in the schema of Every Eval Ever: documents of results, and instances as lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from runglass.models.loader import load

DOCUMENT: dict[str, Any] = {
    "schema_version": "0.2.0",
    "evaluation_id": "SimpleQA/anthropic_opus/1",
    "model_info": {"name": "Opus", "id": "anthropic/opus"},
    "evaluation_results": [
        {
            "evaluation_name": "simpleqa_scorer",
            "source_data": {"dataset_name": "SimpleQA", "samples_number": 1000, "sample_ids": [1, 2]},
            "metric_config": {"evaluation_description": "accuracy", "lower_is_better": False},
            "score_details": {"score": 0.431, "confidence_interval": {"lower": 0.4, "upper": 0.46}},
        },
        {
            "evaluation_name": "Arabic",
            "metric_config": {
                "evaluation_description": "Global MMLU Lite accuracy for task Arabic",
                "lower_is_better": True,
            },
            "score_details": {"score": 0.695, "uncertainty": {"standard_error": {"value": 0.02}, "num_samples": 400}},
        },
        {"evaluation_name": "unscored", "score_details": {}},
    ],
}


def instance(number: int, **evaluation: Any) -> dict[str, Any]:
    return {
        "schema_version": "instance_level_eval_0.2.0", "evaluation_id": "SimpleQA/anthropic_opus/1",
        "model_id": "anthropic/opus", "evaluation_name": "simpleqa_scorer", "sample_id": str(number),
        "input": {"raw": "What?", "reference": ["4"]},
        "answer_attribution": [{"extracted_value": "first"}, {"extracted_value": "4", "is_terminal": True}],
        "evaluation": evaluation,
    }  # fmt: skip


def test_that_results_become_scores(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENT, indent=4))
    store = load([tmp_path])
    assert not store.problems
    assert not store.runs
    scores = store.rows("scores")
    assert scores["task"].tolist() == ["simpleqa_scorer", "Arabic"]
    assert scores["metric"].tolist() == ["accuracy", "score"]
    assert scores["value"].tolist() == [0.431, 0.695]
    assert scores["n"].tolist() == [1000, 400]
    assert scores["stderr"].tolist()[1] == 0.02
    assert scores["higher_is_better"].tolist() == [1.0, 0.0]
    assert set(scores["model"]) == {"anthropic/opus"}


def test_that_instances_become_predictions(tmp_path: Path) -> None:
    samples = [instance(1, score=1.0, is_correct=True), instance(2, score=7.5, is_correct=False), instance(3)]
    (tmp_path / "a_samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples) + '{"schema')
    store = load([tmp_path])
    rows = store.rows("predictions")
    assert rows["item"].tolist() == ["1", "2"]
    assert rows["correct"].tolist() == [1.0, 0.0]
    assert rows["score"].tolist() == [1.0, 7.5]
    assert rows.loc[0, ["label", "prediction", "task"]].tolist() == ["4", "4", "simpleqa_scorer"]
    assert [problem.what for problem in store.problems] == ["2 lines are no instance and left out."]


@pytest.mark.parametrize(
    "text", ['{"schema_version": 1, "evaluation_id": 2}', '{"schema_version": 1, "evaluation_id": "x']
)
def test_that_a_document_without_results_is_a_problem(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    store = load([tmp_path])
    assert len(store.problems) == 1
    assert isinstance(store.rows("scores"), pd.DataFrame)
