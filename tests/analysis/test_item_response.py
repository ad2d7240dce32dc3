from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.item_response import ItemResponseFit, fit_item_response
from runglass.analysis.items import irt
from runglass.analysis.items.irt import ItemResponseQuestion, rest_correlation
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])


def simulated(
    models: int, items: int, *, slopes: bool = False, guess: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Answers (models × items), and the abilities (mean 0, SD 1), difficulties and slopes they were drawn from."""
    generator = np.random.default_rng(seed)
    theta = generator.standard_normal(models)
    theta = (theta - theta.mean()) / theta.std()
    b = generator.normal(0, 1.2, items)
    a = np.exp(generator.normal(0, 0.4, items)) if slopes else np.full(items, 1.3)
    p = guess + (1 - guess) / (1 + np.exp(-a * (theta[:, None] - b)))
    return (generator.random((models, items)) < p).astype(float), theta, b, a


def rows(answers: np.ndarray) -> pd.DataFrame:
    models, items = answers.shape
    frame = pd.DataFrame(
        {"model": np.repeat([f"m{j:03d}" for j in range(models)], items),
         "item": np.tile([f"i{i:03d}" for i in range(items)], models), "correct": answers.ravel()}
    )  # fmt: skip
    return frame[frame["correct"].notna()]


def covered(value: np.ndarray, error: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(np.abs(value - truth) < 1.96 * error))


def test_that_difficulties_of_two_hundred_models_on_a_hundred_items_are_recovered() -> None:
    answers, theta, b, a = simulated(200, 100, slopes=True)
    fit = fit_item_response(answers, slopes=True)
    assert fit.converged
    assert np.corrcoef(fit.b, b)[0, 1] > 0.95
    assert np.corrcoef(fit.theta, theta)[0, 1] > 0.95
    assert covered(fit.b, fit.b_error, b) > 0.88
    assert covered(np.log(fit.a), fit.a_error / fit.a, np.log(a)) > 0.88
    assert covered(fit.theta, fit.theta_error, theta) > 0.88


@pytest.mark.parametrize(("models", "items"), [(10, 600), (40, 300)])
def test_that_few_models_on_many_items_are_recovered_without_bias(models: int, items: int) -> None:
    answers, theta, b, a = simulated(models, items, seed=3)
    fit = fit_item_response(answers, slopes=False)
    assert fit.integrated == "items"
    assert fit.a[0] == pytest.approx(a[0], rel=0.08)
    assert covered(fit.theta, fit.theta_error, theta) > 0.85
    assert 0.9 < covered(fit.b, fit.b_error, b) < 0.99


def test_that_a_given_chance_to_guess_is_taken_out() -> None:
    answers, _, b, _ = simulated(40, 800, guess=0.25, seed=4)
    with_guess = fit_item_response(answers, slopes=False, guess=0.25)
    without = fit_item_response(answers, slopes=False)
    assert with_guess.b.mean() == pytest.approx(b.mean(), abs=0.1)
    assert without.b.mean() < b.mean() - 0.4


def test_that_with_one_slope_abilities_follow_the_raw_score() -> None:
    answers, *_ = simulated(25, 60, seed=5)
    fit = fit_item_response(answers, slopes=False)
    score = answers.sum(axis=1)
    for one, other in zip(*np.triu_indices(25, 1), strict=True):
        if score[one] == score[other]:
            assert fit.theta[one] == pytest.approx(fit.theta[other], abs=1e-3)
        else:
            assert (fit.theta[one] > fit.theta[other]) == (score[one] > score[other])


def test_that_information_without_guessing_is_a_squared_times_p_times_q() -> None:
    nothing = np.zeros(2)
    fit = ItemResponseFit(
        np.array([1.0, 2.0]), np.array([0.0, 1.0]), nothing, nothing, nothing, nothing, 0.0, "", 0, True, 0.0
    )
    p = 1 / (1 + np.exp(-np.array([1.0, 2.0]) * (0.5 - np.array([0.0, 1.0]))))
    assert fit.information(np.array([0.5]))[0] == pytest.approx(np.array([1.0, 4.0]) * p * (1 - p))


def test_that_the_rest_correlation_is_pearsons() -> None:
    answers, *_ = simulated(20, 8, seed=6)
    right = answers.T
    for item in range(8):
        rest = np.delete(right, item, axis=0).mean(axis=0)
        assert rest_correlation(right)[item] == pytest.approx(np.corrcoef(right[item], rest)[0, 1])


def test_that_sparse_answers_are_used_and_an_item_all_models_get_right_is_flagged() -> None:
    answers, *_ = simulated(30, 80, seed=7)
    answers[:, 0] = 1
    answers[np.random.default_rng(0).random(answers.shape) < 0.3] = np.nan
    question = ItemResponseQuestion()
    result = question.answer(store_of(rows(answers)))
    items = result.tables["items"].set_index("item")
    assert items.loc["i000", "all_alike"]
    assert np.isfinite(items.loc["i000", "b"])
    assert any("of the answers are there" in note for note in result.notes)
    json.dumps(to_json(irt.figure(question, result)))
    json.dumps(result.to_json())


def test_that_a_wrong_key_shows_as_negative_discrimination() -> None:
    answers, *_ = simulated(60, 60, seed=8)
    answers[:, 5] = 1 - simulated(60, 60, seed=8)[0][:, [5]][:, 0]
    result = ItemResponseQuestion().answer(store_of(rows(answers)))
    items = result.tables["items"].set_index("item")
    assert items.loc["i005", "discrimination"] < 0
    assert items["discrimination"].median() > 0.1


def test_that_answers_that_do_not_connect_are_refused() -> None:
    answers = np.full((4, 20), np.nan)
    answers[:2, :10], answers[2:, 10:] = 1, 0
    with pytest.raises(AnalysisError, match="2 groups"):
        ItemResponseQuestion().answer(store_of(rows(answers)))
    with pytest.raises(TooLittleData, match="5 items"):
        ItemResponseQuestion().answer(store_of(rows(np.ones((3, 4)))))
