from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from runglass.analysis.curves.transfer_matrix import (
    TransferMatrix,
    TransferMatrixQuestion,
    figure,
    transfer_measures,
)
from runglass.models.errors import AnalysisError
from runglass.models.figure import Cells, FigureSpec
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

R = np.array([[0.9, 0.3, 0.2], [0.7, 0.8, 0.4], [0.6, 0.75, 0.85]])


def scores(*matrices: np.ndarray, tasks: tuple[str, ...] = ("a", "b", "c"), **more: Any) -> RunStore:
    rows = [
        {"model": "m", "version": f"stage {i}", "task": task, "value": value, "seed": seed, **more}
        for seed, matrix in enumerate(matrices)
        for i, row in enumerate(matrix)
        for task, value in zip(tasks, row, strict=True)
        if not math.isnan(value)
    ]
    return RunStore().adding([TableRows("scores.csv", "table", pd.DataFrame(rows), "scores")])


def asked(store: RunStore, **options: Any) -> tuple[TransferMatrix, FigureSpec]:
    question = TransferMatrixQuestion(**options).resolved(store)
    result = question.answer(store)
    return result, figure(question, result)


def test_that_the_measures_are_those_worked_out_by_hand() -> None:
    found = transfer_measures(R, np.array([0.1, 0.1, 0.1]))
    assert found["ACC"] == pytest.approx((0.6 + 0.75 + 0.85) / 3)
    assert found["BWT"] == pytest.approx(((0.6 - 0.9) + (0.75 - 0.8)) / 2)
    assert found["FWT"] == pytest.approx(((0.3 - 0.1) + (0.4 - 0.1)) / 2)
    assert found["FORG"] == pytest.approx(((0.9 - 0.6) + (0.8 - 0.75)) / 2)


@given(r=arrays(float, (5, 5), elements=st.floats(0, 1)))
def test_that_accuracy_is_the_diagonal_plus_backward_transfer(r: np.ndarray) -> None:
    found = transfer_measures(r)
    assert found["ACC"] == pytest.approx(np.diag(r).mean() + 4 / 5 * found["BWT"], abs=1e-12)
    assert found["FORG"] >= -found["BWT"] - 1e-12


def test_that_seeds_give_t_intervals() -> None:
    matrices = [R, R + 0.05, R - 0.02]
    result, spec = asked(scores(*matrices))
    values = [matrix[-1].mean() for matrix in matrices]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (result.estimates["ACC"].low, result.estimates["ACC"].high) == pytest.approx((low, high))
    np.testing.assert_allclose(result.matrix, np.mean(matrices, axis=0))
    cells = next(mark for _, mark in spec.marks() if isinstance(mark, Cells))
    assert cells.rows == ("stage 0", "stage 1", "stage 2")
    assert asked(scores(R))[0].to_json()["estimates"]["ACC"]["low"] is None


def test_that_the_untrained_model_gives_forward_transfer() -> None:
    store = scores(np.vstack([np.full(3, 0.1), R]))
    result, _ = asked(store, baseline="stage 0")
    assert result.estimates["FWT"].value == pytest.approx(0.25)
    assert math.isnan(asked(scores(R))[0].estimates["FWT"].value)


def test_that_the_order_of_the_tasks_can_be_named() -> None:
    permuted = scores(R[:, [2, 0, 1]], tasks=("c", "a", "b"))
    np.testing.assert_allclose(asked(permuted, tasks=("a", "b", "c"))[0].matrix, R)
    np.testing.assert_allclose(asked(permuted, tasks=("c", "b", "a"))[0].matrix, R[:, ::-1])
    with pytest.raises(AnalysisError, match="no task 'z'"):
        asked(permuted, tasks=("z",))


def test_that_a_loss_is_negated() -> None:
    result, _ = asked(scores(1 - R, higher_is_better=0))
    assert result.estimates["BWT"].value == pytest.approx(transfer_measures(R)["BWT"])
    assert any("Lower is better" in note for note in result.notes)


def test_that_a_missing_cell_undoes_only_what_needs_it() -> None:
    holed = R.copy()
    holed[0, 2] = np.nan
    result, _ = asked(scores(holed))
    assert result.estimates["BWT"].value == pytest.approx(transfer_measures(R)["BWT"])
    holed[2, 0] = np.nan
    assert math.isnan(asked(scores(holed))[0].estimates["ACC"].value)


def test_that_more_stages_than_tasks_are_refused() -> None:
    with pytest.raises(AnalysisError, match="found 4 stages and 3 tasks"):
        asked(scores(np.vstack([R, R[-1:]])))
