from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from runglass.analysis.ranking.decision_accuracy import (
    ANALYSIS,
    DecisionAccuracy,
    DecisionQuestion,
    figure,
    noise_ceiling,
)
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Cells, Rule, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])


def scores(values: np.ndarray, **columns: Any) -> pd.DataFrame:
    """Scores of recipes r0, r1, ... (rows) at scales 10, 100, ... (columns)."""
    n, k = np.shape(values)
    rows = {"model": np.repeat([f"r{i}" for i in range(n)], k), "params": np.tile(10.0 ** np.arange(1, k + 1), n)}
    return pd.DataFrame(rows | {"task": "t", "value": np.ravel(values)} | columns)


def asked(frame: pd.DataFrame, **options: Any) -> DecisionAccuracy:
    return DecisionQuestion(**({"draws": 200} | options)).answer(store_of(frame))


VALUES = np.random.default_rng(1).normal(size=(12, 3))


def test_that_without_ties_it_is_half_of_tau_plus_one() -> None:
    e = asked(scores(VALUES)).estimates
    for place, scale in enumerate(("10", "100")):
        tau = kendalltau(VALUES[:, place], VALUES[:, 2]).statistic
        assert e[f"decision_accuracy/{scale}"].value == pytest.approx((tau + 1) / 2)
        assert e[f"decision_accuracy/{scale}"].has_interval
    assert "decision_accuracy/1000" not in e


def test_that_ties_count_one_half_whatever_the_order_of_rows() -> None:
    values = np.random.default_rng(0).integers(0, 3, (9, 2)).astype(float)
    pairs = [np.sign(a[0] - b[0]) * np.sign(a[1] - b[1]) for a, b in combinations(values, 2)]
    expected = np.mean([(1 + pair) / 2 for pair in pairs])
    for order in (np.arange(9), np.random.default_rng(1).permutation(9)):
        e = asked(scores(values[order])).estimates
        assert e["decision_accuracy/10"].value == pytest.approx(expected)


def test_that_another_target_and_recipes_of_another_column_can_be_asked_for() -> None:
    e = asked(scores(VALUES), target=10.0).estimates
    tau = kendalltau(VALUES[:, 0], VALUES[:, 2]).statistic
    assert e["decision_accuracy/1000"].value == pytest.approx((tau + 1) / 2)
    with pytest.raises(AnalysisError, match="No score is at params 7"):
        asked(scores(VALUES), target=7.0)
    frame = scores(VALUES)
    mixed = frame.assign(data=frame["model"], model=frame["model"] + "-" + frame["params"].astype(str))
    again = asked(mixed, recipe="data").estimates
    assert again["decision_accuracy/10"].value == asked(scores(VALUES)).estimates["decision_accuracy/10"].value


def test_that_other_metrics_are_held_against_the_target_also_at_its_own_scale() -> None:
    frame = pd.concat([scores(VALUES, metric="acc"), scores(-(VALUES**3), metric="loss")])
    result = asked(frame)
    assert [proxy.metric for proxy in result.proxies] == ["acc", "loss"]
    assert result.estimates["loss/1000"].value == 1  # the same order, and lower is better
    assert len(asked(frame, other_metrics=False).proxies) == 1


def test_that_the_ceiling_is_what_simulated_noise_leaves() -> None:
    assert [round(noise_ceiling(r), 2) for r in (0.1, 0.25, 0.5, 1)] == [0.97, 0.92, 0.85, 0.75]
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(4000, 2))
    noisy = truth + 0.5 * generator.normal(size=(4000, 2))
    agree = np.mean((truth[:, 0] > truth[:, 1]) == (noisy[:, 0] > noisy[:, 1]))
    assert noise_ceiling(0.5) == pytest.approx(agree, abs=0.02)


def test_that_the_ceiling_comes_from_the_seeds_of_the_target() -> None:
    generator = np.random.default_rng(3)
    truth = generator.normal(size=(60, 2))
    frames = [scores(truth + 0.5 * generator.normal(size=truth.shape), seed=seed) for seed in range(4)]
    e = asked(pd.concat(frames)).estimates
    assert e["noise_ceiling"].value == pytest.approx(noise_ceiling(0.25), abs=0.02)
    assert "noise_ceiling" not in asked(scores(VALUES)).estimates


def test_that_fewer_than_five_recipes_are_refused() -> None:
    with pytest.raises(TooLittleData, match="at least 5 recipes"):
        asked(scores(VALUES[:4]))
    with pytest.raises(TooLittleData, match="several scales"):
        asked(scores(VALUES[:, :1]))


def test_that_a_cell_stands_for_its_two_recipes() -> None:
    question = DecisionQuestion(draws=200).resolved(store_of(scores(VALUES)))
    result = question.answer(store_of(scores(VALUES)))
    spec = figure(question, result)
    cells = next(mark for _, mark in spec.marks() if isinstance(mark, Cells))
    assert cells.rows[0] == f"r{VALUES[:, 2].argmax()}"
    assert to_json(cells.origin)["clauses"][1] == {"is_in": "model", "values": sorted(cells.rows[:2])}
    assert np.nanmean(cells.values) == pytest.approx(result.estimates["decision_accuracy/100"].value)
    assert any(isinstance(mark, Rule) and mark.at == 0.5 for _, mark in spec.marks())
    assert DecisionQuestion.from_json(question.to_json()) == question
    assert ANALYSIS.inputs == ("scores",)
