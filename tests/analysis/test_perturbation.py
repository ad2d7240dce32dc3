from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from runglass.analysis.ranking.perturbation import Perturbation, PerturbationQuestion, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def scores(values: np.ndarray, **columns: Any) -> pd.DataFrame:
    """Scores of models m0, m1, ... (rows) under prompts p0, p1, ... (columns)."""
    n, k = values.shape
    rows = {"model": np.repeat([f"m{i}" for i in range(n)], k), "prompt": np.tile([f"p{j}" for j in range(k)], n)}
    return pd.DataFrame(rows | {"task": "t", "value": values.ravel()} | columns)


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])


def asked(frame: pd.DataFrame, **options: Any) -> Perturbation:
    return PerturbationQuestion(**({"draws": 200} | options)).answer(store_of(frame))


VALUES = np.array([[0.9, 0.5], [0.8, 0.7], [0.7, 0.6], [0.6, 0.55], [0.5, 0.2]])


def test_that_the_model_that_moves_most_comes_first_with_its_change_in_score() -> None:
    result = asked(scores(VALUES))
    first = result.tables["models"].iloc[0]
    assert (first["model"], first["rank"], first["rank_there"], first["largest_move"]) == ("m0", 1, 4, 3)
    assert first["score_change"] == pytest.approx(-0.4)
    assert result.estimates["tau_b/p1"].value == pytest.approx(kendalltau(VALUES[:, 0], VALUES[:, 1]).statistic)
    assert result.estimates["swaps"].value == 3  # m0 falls behind three


def test_that_a_swap_counts_only_where_both_variants_tell_the_two_apart() -> None:
    sure = asked(scores(VALUES, stderr=0.001)).estimates
    assert sure["swaps_beyond_noise"].value == 3
    unsure = asked(scores(VALUES, stderr=0.2)).estimates
    assert (unsure["swaps"].value, unsure["swaps_beyond_noise"].value) == (3, 0)
    one_sided = np.where(np.arange(2) == 0, 0.001, 0.5)
    frame = scores(VALUES, stderr=np.tile(one_sided, 5))
    assert asked(frame).estimates["swaps_beyond_noise"].value == 0
    assert "swaps_beyond_noise" not in asked(scores(VALUES)).estimates


def test_that_ranks_have_intervals_where_standard_errors_are_known() -> None:
    table = asked(scores(VALUES, stderr=0.001)).tables["models"].set_index("model")
    assert table.loc["m0", ["rank_low", "rank_high"]].tolist() == [1, 1]
    assert asked(scores(VALUES)).tables["models"]["rank_low"].isna().all()


def test_that_the_reference_can_be_chosen() -> None:
    result = asked(scores(VALUES), reference="p1")
    assert result.grid.columns == ("p1", "p0")
    with pytest.raises(AnalysisError, match="There is no prompt 'p9'"):
        asked(scores(VALUES), reference="p9")


def test_that_models_missing_from_a_variant_are_left_out_and_two_are_too_few() -> None:
    frame = scores(VALUES).iloc[1:]
    result = asked(frame)
    assert set(result.grid.rows) == {"m1", "m2", "m3", "m4"}
    assert any("4 of 5 models" in note for note in result.notes)
    with pytest.raises(TooLittleData, match="at least 3 models"):
        asked(scores(VALUES[:2]))
    with pytest.raises(TooLittleData, match="under several variants"):
        asked(scores(VALUES[:, :1]).drop(columns="prompt"))


def test_that_metrics_are_compared_by_rank_and_not_by_score() -> None:
    frame = scores(VALUES).rename(columns={"prompt": "metric"})
    result = asked(frame, over="metric")
    assert result.tables["models"]["score_change"].isna().all()
    assert "in score" not in result.summary()


def test_that_few_shot_numbers_are_variants_and_a_row_stands_for_its_scores() -> None:
    frame = scores(VALUES).drop(columns="prompt").assign(fewshot=np.tile([0.0, 5.0], 5))
    question = PerturbationQuestion(draws=200)
    result = question.answer(store_of(frame))
    assert (result.over, result.grid.columns) == ("fewshot", ("0", "5"))
    marks = {mark.key: mark for _, mark in figure(question, result).marks()}
    assert to_json(marks["tau"].origin)["clauses"] == [  # type: ignore[union-attr]
        {"all": [{"is_in": "task", "values": ["t"]}, {"is_in": "fewshot", "values": [5.0]}]}
    ]
    assert to_json(marks["m0"].origin) == {"column": "model", "values": ["m0"]}  # type: ignore[union-attr]
    assert PerturbationQuestion.from_json(question.to_json()) == question
