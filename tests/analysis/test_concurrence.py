from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, pearsonr

from runglass.analysis.ranking.concurrence import ANALYSIS, Concurrence, ConcurrenceQuestion, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Bars, Cells, to_json
from runglass.models.loader import load
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])


def board(values: np.ndarray, **of_tasks: Any) -> pd.DataFrame:
    """Scores of models m0, m1, ... (rows) in tasks t0, t1, ... (columns)."""
    n, k = values.shape
    more = {name: np.tile(column, n) for name, column in of_tasks.items()}
    rows = {"model": np.repeat([f"m{i}" for i in range(n)], k), "task": np.tile([f"t{j}" for j in range(k)], n)}
    return pd.DataFrame(rows | {"value": values.ravel()} | more).dropna(subset=["value"])


def asked(frame: pd.DataFrame, **options: Any) -> Concurrence:
    return ConcurrenceQuestion(**({"draws": 200} | options)).answer(store_of(frame))


VALUES = np.random.default_rng(4).integers(0, 9, (12, 4)).astype(float)


def test_that_the_matrix_is_that_of_scipy() -> None:
    result = asked(board(VALUES))
    by_pearson = asked(board(VALUES), method="pearson")
    for a in range(4):
        for b in range(4):
            assert result.matrix[a, b] == pytest.approx(kendalltau(VALUES[:, a], VALUES[:, b]).statistic)
            assert by_pearson.matrix[a, b] == pytest.approx(pearsonr(VALUES[:, a], VALUES[:, b]).statistic)
    pairs = [result.matrix[a, b] for a in range(4) for b in range(a)]
    assert result.estimates["mean_tau_b"].value == pytest.approx(np.mean(pairs))
    assert result.estimates["min_tau_b"].value == pytest.approx(np.min(pairs))


def test_that_tasks_in_which_lower_is_better_are_turned_round() -> None:
    turned = VALUES * [1, -1, 1, -1]
    frame = board(turned, higher_is_better=[True, False, True, False])
    np.testing.assert_allclose(asked(frame).matrix, asked(board(VALUES)).matrix)


def test_that_models_without_a_score_are_left_out_of_all_or_of_their_pairs_as_asked() -> None:
    gaps = VALUES.copy()
    gaps[5, 0] = np.nan
    together = asked(board(gaps))
    assert len(together.grid.rows) == 11
    assert any("11 of 12 models" in note for note in together.notes)
    in_pairs = asked(board(gaps), models="in both tasks")
    assert in_pairs.shared[0, 1] == 11
    assert in_pairs.shared[1, 2] == 12
    assert in_pairs.matrix[1, 2] == pytest.approx(kendalltau(VALUES[:, 1], VALUES[:, 2]).statistic)
    assert in_pairs.matrix[0, 2] == pytest.approx(kendalltau(*np.delete(VALUES, 5, axis=0)[:, [0, 2]].T).statistic)


def test_that_too_few_shared_models_are_refused() -> None:
    with pytest.raises(TooLittleData, match="share 5 models"):
        asked(board(VALUES[:4]))


def test_that_a_grouping_that_explains_agreement_is_found() -> None:
    generator = np.random.default_rng(0)
    traits = generator.normal(size=(30, 2))
    values = np.repeat(traits, 4, axis=1) + 0.2 * generator.normal(size=(30, 8))
    frame = board(values, kind=["a"] * 4 + ["b"] * 4, odd=["a", "b"] * 4)
    told = asked(frame, grouping="kind").estimates
    assert told["within_less_between"].value > 0.3
    assert told["grouping_p"].value < 0.1  # of 35 ways to split 8 into halves, one is this
    assert asked(frame, grouping="odd").estimates["grouping_p"].value > 0.3
    with pytest.raises(AnalysisError, match="no column called 'what'"):
        asked(frame, grouping="what")


def test_that_tasks_that_agree_stand_beside_one_another_and_cells_stand_for_both() -> None:
    generator = np.random.default_rng(0)
    traits = generator.normal(size=(15, 2))
    values = traits[:, [0, 1, 0, 1]] + 0.1 * generator.normal(size=(15, 4))
    question = ConcurrenceQuestion(draws=200)
    result = question.answer(store_of(board(values)))
    spec = figure(question, result)
    cells = next(mark for _, mark in spec.marks() if isinstance(mark, Cells))
    assert {frozenset(cells.rows[:2]), frozenset(cells.rows[2:])} == {frozenset({"t0", "t2"}), frozenset({"t1", "t3"})}
    clause = to_json(cells.origin)["clauses"][1]
    assert clause == {"is_in": "task", "values": sorted(cells.rows[:2])}
    assert any(isinstance(mark, Bars) for _, mark in spec.marks())  # intervals beside the agreement with others


def test_that_the_question_goes_to_json_and_back() -> None:
    question = ConcurrenceQuestion(method="pearson", grouping="kind", fewest=9)
    assert ConcurrenceQuestion.from_json(question.to_json()) == question
    assert ANALYSIS.inputs == ("scores",)


@pytest.mark.parametrize(
    ("name", "models", "tasks", "w", "mean", "least", "with_mean", "leave_one_out"),
    [
        ("GLUE", 87, 9, 0.8502011719891456, 0.6898547944313359, 0.5400529554896565, 0.7740194365211366, 0.9339395894334394),
        ("SuperGLUE", 28, 8, 0.8643621575342466, 0.6831167752763946, 0.5493333333333333, 0.7697269716470598,
         0.9351001579760256),
        ("VTAB", 16, 19, 0.8199550013667809, 0.6567864130965982, 0.2542464180904607, 0.7643817633208018, 0.9833333333333333),
    ],
)  # fmt: skip
def test_that_the_concordance_of_published_boards_comes_out(
    shared_data: Path, name: str, models: int, tasks: int, w: float, mean: float, least: float, with_mean: float,
    leave_one_out: float,
) -> None:  # fmt: skip
    store = load([shared_data / "ranking" / "leaderboards" / f"{name}_scores.csv"])
    result = ConcurrenceQuestion(draws=200).answer(store)
    found = {name: estimate.value for name, estimate in result.estimates.items()}
    expected = {
        "models": models, "tasks": tasks, "kendall_w": w, "mean_tau_b": mean, "min_tau_b": least,
        "mean_tau_b_with_mean": with_mean, "min_tau_b_leave_one_out": leave_one_out,
    }  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-9)
    e = result.estimates["mean_tau_b"]
    assert e.low < e.value < e.high
    json.dumps(result.to_json())
