from __future__ import annotations

import json
from pathlib import Path

import pytest

from runglass.models.loader import Loader
from runglass.models.store import RunStore

MODEL = {
    "name": "rpj-small-1.0",
    "dataset_name": "rpj",
    "hyperparameters": {"tokens": 2e9, "params": 1e8, "chinchilla_multiplier": 1.0, "lr": 0.003, "flags": ["--fsdp"]},
    "results": [
        {"loss": 3.1, "val_data": ["training/eval_data/c4_val/shard-{0..9}.tar"]},
        {"loss": 2.4, "val_data": ["training/eval_data/de-en/val_de-en_100.tar"]},
        {"loss": None, "val_data": ["elsewhere/x.tar"]},
    ],
}
EVALUATION = {"name": "/mnt/eval", "model": "small", "eval_metrics": {"icl": {"arc_easy": 0.5, "piqa": 0.6}}}


def opened(*paths: Path) -> RunStore:
    return RunStore().adding(event for batch in Loader([str(path) for path in paths]).new_events() for event in batch)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "evals").mkdir()
    (tmp_path / "models/rpj-small-1.0.json").write_text(json.dumps(MODEL))
    (tmp_path / "evals/evaluation_rpj-small-1.0_heavy.json").write_text(json.dumps(EVALUATION))
    return tmp_path


def test_that_a_model_is_a_run_with_a_loss_for_each_validation_set(records: Path) -> None:
    (run,) = opened(records).rows("runs").to_dict("records")
    assert run["run"] == "rpj-small-1.0"
    assert (run["params"], run["tokens"], run["family"], run["chinchilla_multiplier"]) == (1e8, 2e9, "rpj", 1.0)
    assert (run["loss/c4_val"], run["loss/val_de-en_100"]) == (3.1, 2.4)
    assert "loss/elsewhere" not in run


def test_that_scores_are_those_of_the_model_in_the_name_of_the_file(records: Path) -> None:
    scores = opened(records).rows("scores")
    assert set(scores["model"]) == {"rpj-small-1.0"}
    assert dict(zip(scores["task"], scores["value"], strict=True)) == {"arc_easy": 0.5, "piqa": 0.6}
    assert scores["higher_is_better"].all()


def test_that_a_damaged_record_is_a_problem_and_the_others_open(records: Path) -> None:
    (records / "models/broken.json").write_text('{"dataset_name": "x", "hyperparameters": 3}')
    (records / "models/cut.json").write_text('{"dataset_name": "x", "hyperparameters": {"tokens')
    store = opened(records)
    assert len(store.rows("runs")) == 1
    assert {Path(problem.source).name for problem in store.problems} == {"broken.json", "cut.json"}


def test_that_the_published_models_are_read(shared_data: Path) -> None:
    store = opened(shared_data / "scaling/overtraining")
    assert len(store.rows("runs")) == 35
    assert store.rows("scores").groupby("model").size().eq(46).all()
    assert set(store.rows("scores")["model"]) == set(store.rows("runs")["run"])
