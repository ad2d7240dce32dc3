"""Run folders of HELM: scores by split and perturbation, and what was answered to each instance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runglass.models.loader import load
from runglass.models.store import RunStore


def stat(name: str, mean: float, **more: Any) -> dict[str, Any]:
    return {"name": {"name": name, "split": "test", **more}, "count": 1, "mean": mean}


def written(folder: Path, logprob: float = -0.5, **more: Any) -> Path:
    run = folder / "toy-model=org_m"
    run.mkdir()
    worst = {"name": "robustness", "computed_on": "worst"}
    files: dict[str, Any] = {
        "run_spec.json": {
            "name": "toy:subject=sums,model=org_m",
            "adapter_spec": {"model": "org/m", "method": "multiple_choice_joint", "max_train_instances": 5},
            "metric_specs": [{"args": {"names": ["exact_match"]}}],
        },
        "stats.json": [
            stat("num_instances", 2), stat("exact_match", 0.5), stat("exact_match", 0.25, perturbation=worst),
            stat("inference_runtime", 3.0), stat("logprob", logprob), stat("perplexity", 1.5),
        ],
        "per_instance_stats.json": [
            {"instance_id": "a", "train_trial_index": 0,
             "stats": [stat("exact_match", 1.0), stat("max_prob", 0.6), stat("logprob", logprob)]},
            {"instance_id": "a", "train_trial_index": 0, "perturbation": {"name": "typos", "computed_on": "perturbed"},
             "stats": [stat("exact_match", 0.0), stat("max_prob", 0.7), stat("logprob", logprob)]},
        ],
        "scenario_state.json": {"request_states": [
            {"instance": {"id": "a", "references": [{"output": {"text": "4"}, "tags": ["correct"]},
                                                    {"output": {"text": "5"}, "tags": []}]},
             "train_trial_index": 0, "output_mapping": {"A": "5", "B": "4"},
             "result": {"completions": [{"text": " B"}]}},
        ]},
    } | more  # fmt: skip
    for name, content in files.items():
        if content is not None:
            (run / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return run


def opened(folder: Path) -> RunStore:
    store = load([folder])
    assert not store.runs
    assert not store.table_problems
    return store


def test_that_scores_stand_by_split_and_perturbation(tmp_path: Path) -> None:
    scores = opened(written(tmp_path)).rows("scores")
    assert scores["metric"].tolist() == ["exact_match", "exact_match", "perplexity"]
    assert scores["split"].tolist() == ["test", "test/robustness (worst)", "test"]
    assert scores["n"].tolist() == [2, 2, 2]
    assert scores["higher_is_better"].tolist() == [1.0, 1.0, 0.0]
    assert set(scores["task"]) == {"toy:subject=sums"}
    assert set(scores["model"]) == {"org/m"}
    assert set(scores["fewshot"]) == {5}


def test_that_answers_are_matched_with_their_instances(tmp_path: Path) -> None:
    rows = opened(written(tmp_path)).rows("predictions")
    assert rows["sample"].tolist() == ["0", "0/typos"]
    assert rows["correct"].tolist() == [1.0, 0.0]
    assert rows["confidence"].tolist() == [0.6, 0.7]
    assert rows.loc[0, ["label", "prediction", "split"]].tolist() == ["B", "B", "test"]
    assert rows["label"].isna().tolist() == [False, True]


def test_that_nothing_follows_from_log_probabilities_that_are_all_zero(tmp_path: Path) -> None:
    store = opened(written(tmp_path, logprob=0.0))
    assert "confidence" not in store.rows("predictions")
    assert "perplexity" not in set(store.rows("scores")["metric"])


@pytest.mark.parametrize("name", ["scenario_state.json", "per_instance_stats.json"])
@pytest.mark.parametrize("content", [None, '[{"a": ', "3"])
def test_that_the_scores_are_read_where_another_file_is_not(tmp_path: Path, name: str, content: str | None) -> None:
    store = opened(written(tmp_path, **{name: content}))
    assert len(store.rows("scores")) == 3
    assert all(name in problem.what for problem in store.problems)
    assert bool(store.problems) or (name, content) == ("scenario_state.json", "3")


def test_that_scores_cut_in_the_middle_are_a_problem(tmp_path: Path) -> None:
    store = opened(written(tmp_path, **{"stats.json": '[{"name": {'}))
    (problem,) = store.problems
    assert problem.source == "toy-model=org_m"
    assert "not JSON" in problem.what


def test_that_published_runs_have_their_numbers(shared_data: Path) -> None:
    store = opened(shared_data / "evals/helm")
    assert not store.problems
    scores = store.rows("scores").query("metric == 'exact_match'").set_index(["model", "split"])["value"]
    assert scores["eleutherai/pythia-1b-v0", "valid"] == pytest.approx(0.3)
    assert scores["openai/gpt2", "test"].tolist() == [pytest.approx(1 / 9), 0.0]
    rows = store.rows("predictions")
    assert len(rows) == 25
    hellaswag = rows[rows["model"] == "eleutherai/pythia-1b-v0"]
    assert hellaswag["correct"].mean() == pytest.approx(0.3)
    assert ((hellaswag["label"] == hellaswag["prediction"]) == (hellaswag["correct"] == 1)).all()
