from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.analysis.asking import Answer, Opened, ask
from runglass.analysis.registry import analysis
from runglass.analysis.scaling.matrix_completion import complete, held_out
from runglass.models.errors import TooLittleData
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def rank_one(n: int = 20, m: int = 8, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.asarray(0.5 + np.outer(generator.normal(size=n), generator.normal(size=m)))


def holed(whole: np.ndarray, share: float = 0.2, seed: int = 1) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(whole.shape) < share, np.nan, whole)


def test_that_an_exact_rank_one_table_is_recovered() -> None:
    whole = rank_one()
    assert complete(holed(whole), 1, ridge=1e-6, iterations=3000) == pytest.approx(whole, abs=1e-3)


@settings(deadline=None, max_examples=20)
@given(shift=st.floats(-5, 5), seed=st.integers(0, 50))
def test_that_a_shift_and_the_order_of_models_change_nothing_else(shift: float, seed: int) -> None:
    table = holed(rank_one(seed=seed))
    order = np.random.default_rng(seed).permutation(len(table))
    assert complete(table[order] + shift, 1) == pytest.approx(complete(table, 1)[order] + shift, abs=1e-4)


def test_that_a_hidden_cell_has_no_part_in_its_prediction() -> None:
    table = rank_one()
    groups = np.full(table.shape, -1)
    groups[3, 2] = 0
    other = table.copy()
    other[3, 2] = 99.0
    assert held_out(other, groups, 1, 0.3)[3, 2] == pytest.approx(held_out(table, groups, 1, 0.3)[3, 2])
    assert np.isnan(held_out(table, groups, 1, 0.3)).sum() == table.size - 1


def asked(table: np.ndarray, **options: Any) -> Answer:
    families = [f"f{i % 4}" for i in range(len(table))]
    rows = [
        (f"m{i}", f"t{j}", table[i, j], families[i])
        for i in range(table.shape[0])
        for j in range(table.shape[1])
        if not np.isnan(table[i, j])
    ]
    frame = pd.DataFrame(rows, columns=["model", "task", "value", "family"])
    store = RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])
    return ask(analysis("scaling.matrix-completion"), {"draws": 100, **options}, Opened(store))


def test_that_missing_cells_are_listed_with_their_predictions() -> None:
    whole = rank_one()
    table = holed(whole)
    answer = asked(table)
    predictions = answer.result.tables["predictions"]
    assert len(predictions) == np.isnan(table).sum()
    truth = [whole[int(row.model[1:]), int(row.task[1:])] for row in predictions.itertuples()]
    assert np.corrcoef(predictions["predicted"], truth)[0, 1] > 0.95
    assert answer.result.estimates["rank"].value >= 1


def test_that_noise_alone_is_not_predicted() -> None:
    answer = asked(np.random.default_rng(0).normal(size=(30, 8)))
    assert answer.result.estimates["rank"].value <= 1
    assert answer.result.estimates["random_r_squared"].value < 0.2


def test_that_a_family_hidden_is_harder_than_cells_at_random() -> None:
    generator = np.random.default_rng(0)
    own = generator.normal(size=(4, 8))
    table = own[np.arange(40) % 4] + 0.05 * generator.normal(size=(40, 8))
    estimates = asked(table).result.estimates
    assert estimates["family_rmse"].value > 2 * estimates["random_rmse"].value


def test_that_a_small_table_is_refused() -> None:
    with pytest.raises(TooLittleData, match="at least 4 models and 3 tasks; found 3 and 8"):
        asked(rank_one(n=3))
    assert {panel.key for panel in asked(holed(rank_one())).figure().panels} == {"table", "hidden"}
