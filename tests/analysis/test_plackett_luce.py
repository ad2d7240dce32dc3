from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import check_grad
from scipy.special import expit, softmax

from runglass.analysis.ranking.plackett_luce import (
    ANALYSIS,
    PlackettLuceQuestion,
    PlackettLuceRatings,
    Stages,
    figure,
    fit_plackett_luce,
    log_probabilities,
)
from runglass.analysis.ratings import ELO, fit_bradley_terry
from runglass.models.errors import TooLittleData
from runglass.models.figure import to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

THETA = np.array([1.2, 0.4, 0.0, -0.5, -1.1])


def answered(right: np.ndarray) -> pd.DataFrame:
    items, models = np.nonzero(~np.isnan(right))
    rows = {"item": items.astype(str), "model": [f"m{i}" for i in models], "correct": right[items, models]}
    return pd.DataFrame(rows)


def rated(frame: pd.DataFrame, table: str = "predictions", **options: Any) -> PlackettLuceRatings:
    store = RunStore().adding([TableRows("rows.csv", "test", frame, table)])
    return PlackettLuceQuestion(**({"repeats": 0} | options)).answer(store)


def summed(theta: np.ndarray, ahead: list[int], behind: list[int]) -> float:
    """The probability of one set before another, order after order."""
    total = 0.0
    for order in permutations(ahead):
        left, product = [*ahead, *behind], 1.0
        for model in order:
            product *= np.exp(theta[model]) / np.exp(theta[left]).sum()
            left.remove(model)
        total += product
    return total


def test_that_the_integral_is_the_sum_over_all_orders_within_the_sets() -> None:
    for ahead, behind in (([0], [1]), ([4], [0, 1, 2, 3]), ([0, 3], [2]), ([1, 2, 3], [0, 4]), ([1, 2, 3, 4], [0])):
        for theta in (THETA, 4 * THETA):
            values = np.full((1, 5), np.nan)
            values[0, ahead], values[0, behind] = 1, 0
            found, _ = log_probabilities(theta, Stages.of(values))
            assert found[0] == pytest.approx(np.log(summed(theta, ahead, behind)), abs=1e-8)


def test_that_a_full_order_is_the_product_of_choices() -> None:
    found, _ = log_probabilities(THETA, Stages.of(np.array([[1.0, 5.0, 3.0, 2.0, 4.0]])))
    order = [1, 4, 2, 3, 0]
    expected = np.prod([softmax(THETA[order[place:]])[0] for place in range(4)])
    assert found.sum() == pytest.approx(np.log(expected), abs=1e-8)


def test_that_the_gradient_is_that_of_the_probability() -> None:
    stages = Stages.of(np.random.default_rng(0).integers(0, 3, (40, 5)).astype(float))
    error = check_grad(
        lambda x: log_probabilities(x, stages)[0].sum(), lambda x: log_probabilities(x, stages)[1].sum(axis=0), THETA
    )
    assert error < 1e-4


def test_that_items_of_two_models_are_battles() -> None:
    wins = np.array([[0, 7, 4], [3, 0, 6], [5, 2, 0]], dtype=float)
    rows = [
        [1.0 if k == i else 0.0 if k == j else np.nan for k in range(3)]
        for i, j in np.argwhere(wins > 0)
        for _ in range(int(wins[i, j]))
    ]
    result = rated(answered(np.array(rows)))
    # Published ratings of these wins.
    assert [result.estimates[f"m{i}"].value for i in range(3)] == pytest.approx([37.79, 2.93, -40.73], abs=0.01)
    theta = fit_bradley_terry(wins)
    p = expit(theta[:, None] - theta)
    information = np.diag(((wins + wins.T) * p * (1 - p)).sum(axis=1)) - (wins + wins.T) * p * (1 - p)
    error = np.sqrt(np.diag(np.linalg.pinv(information)))
    half = result.estimates["m0"].high - result.estimates["m0"].value
    assert half == pytest.approx(1.96 * ELO * error[0], rel=0.1)  # the sandwich is near the inverse information


def test_that_strengths_of_simulated_races_come_back_though_most_are_missing() -> None:
    generator = np.random.default_rng(1)
    times = generator.exponential(np.exp(-THETA), (6000, 5))
    times[generator.random(times.shape) < 0.5] = np.nan
    result = rated(answered(1 / (1 + times)), graded=True)
    assert [result.estimates[f"m{i}"].value for i in range(5)] == pytest.approx(list(ELO * THETA), abs=15)
    for i in range(5):
        e = result.estimates[f"m{i}"]
        assert abs(e.value - ELO * THETA[i]) < 3 * (e.high - e.value) / 1.96
    assert result.ratings["model"].tolist() == ["m0", "m1", "m2", "m3", "m4"]


def test_that_the_intervals_have_the_spread_of_repeated_experiments() -> None:
    generator = np.random.default_rng(2)
    fits, widths = [], []
    for _ in range(30):
        times = generator.exponential(np.exp(-THETA), (150, 5))
        result = rated(answered(1 / (1 + times)), graded=True)
        fits.append([result.estimates[f"m{i}"].value for i in range(5)])
        widths.append([result.estimates[f"m{i}"].high - result.estimates[f"m{i}"].value for i in range(5)])
    assert np.mean(widths, axis=0) == pytest.approx(1.96 * np.std(fits, axis=0, ddof=1), rel=0.35)


def test_that_a_model_that_never_loses_is_held_by_a_prior_and_said() -> None:
    right = np.array([[1.0, 0, 1], [1, 1, 0], [1, 0, 0], [1, 0, 1]] * 10)
    result = rated(answered(right))
    assert result.is_map
    assert "do not connect" in result.notes[0]
    assert result.ratings["model"].iloc[0] == "m0"
    assert np.isfinite(result.ratings[["rating", "low", "high"]].to_numpy()).all()


def test_that_items_all_answer_alike_order_nothing() -> None:
    right = (np.random.default_rng(0).random((60, 4)) < 0.5).astype(float)
    plain = rated(answered(right)).estimates
    more = rated(answered(np.concatenate([right, np.ones((30, 4)), np.zeros((20, 4))]))).estimates
    assert more["m1"].value == pytest.approx(plain["m1"].value, abs=1e-6)
    with pytest.raises(TooLittleData):
        rated(answered(np.ones((5, 3))))


def test_that_scores_of_tasks_are_orders_where_there_are_no_answers() -> None:
    generator = np.random.default_rng(3)
    values = 1 / (1 + generator.exponential(np.exp(-THETA), (200, 5)))
    frame = pd.DataFrame(
        {
            "model": np.tile([f"m{i}" for i in range(5)], 200),
            "task": np.repeat([f"t{i}" for i in range(200)], 5),
            "value": values.ravel(),
        }
    )
    result = rated(frame, "scores", repeats=1)
    assert result.what == "task"
    assert result.estimates["m4"].value == pytest.approx(rated(answered(values), graded=True).estimates["m4"].value)
    none = result.missing[result.missing["hidden"] == 0]
    assert none["tau_b"].tolist() == [1.0, 1.0]
    spec = figure(PlackettLuceQuestion(repeats=1), result)
    assert [panel.key for panel in spec.panels] == ["ratings", "missing"]
    assert to_json(spec)
    assert ANALYSIS.question.missing(RunStore()).startswith("needs")


def test_that_equal_stages_can_be_held_together() -> None:
    stages = Stages.of((np.random.default_rng(5).random((300, 4)) < 0.5).astype(float))
    one, other = (log_probabilities(THETA[:4], part)[0] @ part.weight for part in (stages, stages.merged()))
    assert one == pytest.approx(other)
    assert fit_plackett_luce(stages) == pytest.approx(fit_plackett_luce(stages.merged()), abs=1e-6)
