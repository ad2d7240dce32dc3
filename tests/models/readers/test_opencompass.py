"""Output folders of OpenCompass, and repositories of Aim, in the layouts their documentation gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runglass.models.loader import load


def written(folder: Path, name: str, content: Any) -> None:
    path = folder / "20260102_030405" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_that_an_evaluation_opens_as_scores_and_predictions(tmp_path: Path) -> None:
    (tmp_path / "20260102_030405" / "configs").mkdir(parents=True)
    written(
        tmp_path,
        "results/opt-125m/siqa.json",
        {"accuracy": 37.5, "details": {"0": {"pred": "A", "answer": "A", "correct": True}}},
    )
    written(tmp_path, "results/opt-125m/wino.json", {"accuracy": 50.0})
    for number, gold in ((0, "A"), (1, "B")):
        written(
            tmp_path,
            f"predictions/opt-125m/wino_{number}.json",
            {"0": {"origin_prompt": "?", "prediction": "A", "gold": gold}},
        )
    written(
        tmp_path,
        "summary/summary_20260102_030405.csv",
        "dataset,version,metric,mode,opt-125m\nsiqa,e1,accuracy,gen,37.50\n",
    )
    store = load([tmp_path])
    assert not store.problems
    assert store.rows("scores").set_index("task")["value"].to_dict() == {"siqa": 37.5, "wino": 50.0}
    rows = store.rows("predictions")
    assert rows["task"].tolist() == ["siqa", "wino", "wino"]
    assert rows["item"].tolist() == ["0", "0", "1"]
    assert rows["label"].tolist() == ["A", "A", "B"]
    assert rows["correct"].tolist()[0] == 1
    assert rows["correct"].isna().tolist() == [False, True, True]


def test_that_a_failed_dataset_is_a_problem_and_the_others_open(tmp_path: Path) -> None:
    (tmp_path / "20260102_030405" / "logs").mkdir(parents=True)
    written(tmp_path, "configs/a.py", "")
    written(tmp_path, "results/m/a.json", {"error": "predictions and references have different length"})
    written(tmp_path, "results/m/b.json", '{"accuracy": 5')
    written(tmp_path, "results/m/c.json", {"score": 1.5})
    store = load([tmp_path])
    assert store.rows("scores")["task"].tolist() == ["c"]
    failed, cut = (problem.what for problem in store.problems)
    assert failed == "m on a: predictions and references have different length."
    assert cut.startswith("results/m/b.json is left out. It is not JSON")


def test_that_a_repository_of_aim_is_met_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / ".aim/meta/chunks").mkdir(parents=True)
    (tmp_path / ".aim/run_metadata.sqlite").write_bytes(b"")
    store = load([tmp_path])
    assert not store.runs
    (problem,) = store.problems
    assert problem.reader == "aim"
    assert "export them" in problem.what
