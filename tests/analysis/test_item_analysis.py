from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from runglass.analysis.items import discrimination
from runglass.analysis.items.discrimination import ItemAnalysisQuestion, rest_correlations
from runglass.models.errors import TooLittleData
from runglass.models.figure import to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(right: np.ndarray) -> RunStore:
    """Rows of answers: `right` has shape (items, models)."""
    items, models = right.shape
    frame = pd.DataFrame(
        {"item": np.repeat([f"i{i:04d}" for i in range(items)], models),
         "model": np.tile([f"m{j:02d}" for j in range(models)], items), "correct": right.ravel().astype(float)}
    )  # fmt: skip
    return RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])


def answers(items: int, models: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    theta, b = generator.standard_normal(models), generator.standard_normal(items)
    return (generator.random((items, models)) < 1 / (1 + np.exp(-1.5 * (theta - b[:, None])))).astype(float)


def test_that_discrimination_is_pearsons_with_the_other_items_under_any_weights() -> None:
    right = answers(12, 25)
    counts = np.random.default_rng(1).integers(0, 4, (3, 25))
    found = rest_correlations(right, counts)
    for draw, item in np.ndindex(3, 12):
        rest = np.delete(right, item, axis=0).mean(axis=0)
        expected = np.corrcoef(np.repeat(right[item], counts[draw]), np.repeat(rest, counts[draw]))[0, 1]
        assert found[draw, item] == pytest.approx(expected, nan_ok=True)


def test_that_tau_c_is_scipys() -> None:
    right = answers(10, 15, seed=2)
    result = ItemAnalysisQuestion(draws=50, splits=5).answer(store_of(right))
    score = right.mean(axis=0)
    for item in range(10):
        expected = stats.kendalltau(right[item], score, variant="c").statistic
        assert result.table["tau_c"][item] == pytest.approx(expected, nan_ok=True)


def test_that_a_miskeyed_item_is_surely_negative_and_a_constant_one_tells_nothing() -> None:
    right = answers(60, 60, seed=3)
    theta = right.mean(axis=0)
    right[0] = (theta < np.median(theta)).astype(float)
    right[1] = 1
    result = ItemAnalysisQuestion(draws=200, splits=5).answer(store_of(right))
    assert result.table["high"][0] < 0
    assert np.isnan(result.table["discrimination"][1])
    assert result.tables["items"]["item"][0] == "i0000"
    assert result.estimates["surely_negative"].value >= 1


def test_that_discriminating_items_keep_the_order_of_models_they_were_not_chosen_on() -> None:
    generator = np.random.default_rng(4)
    noise = (generator.random((150, 40)) < 0.5).astype(float)
    question = ItemAnalysisQuestion(draws=50, splits=20)
    result = question.answer(store_of(np.concatenate([answers(50, 40, seed=4), noise])))
    at = result.fidelity.set_index(["chooser", "items"])["tau_b"]
    assert at["discrimination", 40] > at["random", 40] + 0.1
    assert at["random", 200] == pytest.approx(1.0)
    assert result.estimates["size_for_target"].value <= result.estimates["random_size_for_target"].value
    json.dumps(to_json(discrimination.figure(question, result)))
    json.dumps(result.to_json())


def test_that_items_without_any_signal_show_no_fidelity_in_small_subsets() -> None:
    generator = np.random.default_rng(5)
    noise = (generator.random((400, 30)) < 0.5).astype(float)
    result = ItemAnalysisQuestion(draws=50, splits=20).answer(store_of(noise))
    at = result.fidelity.set_index(["chooser", "items"])["tau_b"]
    # 40 of 400 items of pure noise correlate as sqrt(0.1), whoever chooses them: tau = 2 / pi asin(r).
    for chooser in discrimination.CHOOSERS:
        assert at[chooser, 40] == pytest.approx(2 / np.pi * np.arcsin(np.sqrt(0.1)), abs=0.13)


def test_that_few_models_are_not_cut_in_two_and_two_are_refused() -> None:
    result = ItemAnalysisQuestion(draws=50).answer(store_of(answers(20, 4)))
    assert result.fidelity.empty
    assert any("too few to cut" in note for note in result.notes)
    assert "too few models to judge subsets" in result.summary()
    json.dumps(to_json(discrimination.figure(ItemAnalysisQuestion(), result)))
    with pytest.raises(TooLittleData, match="3 models"):
        ItemAnalysisQuestion().answer(store_of(answers(20, 2)))
