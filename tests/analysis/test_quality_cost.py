from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from runglass.analysis.cost import indicator_disagreement, pareto
from runglass.analysis.cost.indicator_disagreement import IndicatorDisagreementQuestion
from runglass.analysis.cost.pareto import ParetoQuestion
from runglass.analysis.quality_cost import hypervolume, on_front, quality_costs
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import to_json
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts, TableRows

points = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=12)


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("s.csv", "test", frame, "scores")])


def scores(value: Any, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"model": [f"m{i}" for i in range(len(value))], "task": "t", "value": value,
                         "higher_is_better": True, **columns})  # fmt: skip


@given(points)
@settings(deadline=None)
def test_that_the_front_is_what_nothing_dominates(pairs: list[tuple[int, int]]) -> None:
    cost, good = np.array(pairs, float).T
    expected = [
        not any((c <= cost[i] and q > good[i]) or (c < cost[i] and q >= good[i]) for c, q in pairs)
        for i in range(len(pairs))
    ]
    assert on_front(cost, good).tolist() == expected


@given(points, st.tuples(st.integers(1, 8), st.integers(0, 8)))
@settings(deadline=None)
def test_that_another_model_never_lowers_the_hypervolume(pairs: list[tuple[int, int]], one: tuple[int, int]) -> None:
    before, after = (hypervolume(*np.array(some, float).T, 8.0, 0.0) for some in (pairs, [*pairs, one]))
    assert after >= before - 1e-12


@given(points)
@settings(deadline=None)
def test_that_the_hypervolume_is_the_number_of_unit_squares_dominated(pairs: list[tuple[int, int]]) -> None:
    # Squares [x, x + 1] × [y, y + 1] below the reference (8, 0) that some model dominates whole.
    squares = sum(any(c <= x and q >= y + 1 for c, q in pairs) for x in range(1, 8) for y in range(8))
    assert hypervolume(*np.array(pairs, float).T, 8.0, 0.0) == pytest.approx(squares)


def test_that_a_model_without_a_cost_stands_beside_the_front() -> None:
    frame = scores([0.5, 0.9, 0.7], params=[1e6, math.nan, 4e6])
    result = ParetoQuestion(draws=100).answer(store_of(frame))
    assert result.front.tolist() == [True, False, True]
    assert any("m1" in note and "without params" in note for note in result.notes)
    json.dumps(to_json(pareto.figure(ParetoQuestion(cost="params"), result)))
    json.dumps(result.to_json())


def test_that_the_chance_of_the_front_is_that_of_two_gaussians() -> None:
    frame = scores([0.60, 0.61], params=[1e6, 2e6], stderr=[0.02, 0.02])
    result = ParetoQuestion(draws=20_000).answer(store_of(frame))
    # The dearer one is on the front where its draw is the higher.
    expected = 0.5 * (1 + math.erf(0.01 / math.sqrt(2 * 0.02**2) / math.sqrt(2)))
    assert result.chance[0] == 1.0
    assert result.chance[1] == pytest.approx(expected, abs=0.01)


def test_that_a_share_of_n_items_has_the_standard_error_of_a_share() -> None:
    result = ParetoQuestion(draws=100).answer(store_of(scores([0.6, 0.8], params=[1e6, 2e6], n=100)))
    assert result.data.error == pytest.approx([math.sqrt(0.24 / 100), math.sqrt(0.16 / 100)])


def test_that_throughput_is_a_cost_turned_around() -> None:
    frame = scores([0.5, 0.4], params=[1e6, 2e6], throughput=[10.0, 40.0])
    result = ParetoQuestion(draws=100, cost="throughput").answer(store_of(frame))
    assert result.front.tolist() == [True, True]
    assert result.membership["params"].tolist() == [1, 0]


def test_that_a_budget_and_an_epsilon_are_kept_to() -> None:
    frame = scores([0.5, 0.7, 0.69, 0.9], params=[1e6, 2e6, 3e6, 9e6], stderr=0.01)
    result = ParetoQuestion(draws=200, budget=5e6, epsilon=0.02).answer(store_of(frame))
    best = result.estimates["best_within_budget"]
    assert best.value == 0.7
    assert best.low < 0.7 < best.high
    assert result.near.tolist() == [True, True, True, True]
    assert result.front.tolist() == [True, True, False, True]


def test_that_runs_have_their_last_loss_and_their_parameters() -> None:
    events: list[Any] = []
    for name, params, loss in (("a", 10, 3.0), ("b", 20, 2.0), ("c", 30, 2.5)):
        events += [
            RunFacts(name, facts={"params": params}),
            CurvePiece(name, np.arange(2), {"val/loss": np.array([9, loss])}),
        ]
    question = ParetoQuestion(draws=100)
    result = question.answer(RunStore().adding(events))
    assert result.data.names == ("a", "b", "c")
    assert result.front.tolist() == [True, True, False]
    area = math.log(30 / 10) * 0 + math.log(30 / 20) * 1.0
    assert result.estimates["hypervolume"].value == pytest.approx(area)
    spec = pareto.figure(question.resolved(RunStore().adding(events)), result)
    assert spec.panels[0].y.inverted


def test_that_a_real_leaderboard_has_its_front(shared_data: Any) -> None:
    path = shared_data / "scaling" / "observational" / "base_llm_benchmark_eval.csv"
    frame = pd.read_csv(path)
    frame = frame[frame["Model Size (B)"].notna() & frame["MMLU"].notna()]
    rows = scores(frame["MMLU"].to_numpy(), size_b=frame["Model Size (B)"].to_numpy())
    result = ParetoQuestion(draws=100, cost="size_b").answer(store_of(rows))
    # The running maximum of the best of each size, counted with pandas.
    best = frame.groupby("Model Size (B)")["MMLU"].max().sort_index()
    assert result.front.sum() == (best > best.cummax().shift(fill_value=-1.0)).sum()


def test_that_scores_without_a_cost_say_so() -> None:
    with pytest.raises(TooLittleData, match="cost"):
        ParetoQuestion().answer(store_of(scores([0.1, 0.2])))
    with pytest.raises(AnalysisError, match="columns"):
        ParetoQuestion(cost="price").answer(store_of(scores([0.1, 0.2])))


# cost.indicator-disagreement


def test_that_tau_b_is_scipys_and_reversals_are_counted() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.integers(1, 9, 30), generator.integers(1, 9, 30)
    frame = scores(generator.random(30), params=a * 1e6, latency=b * 1.0)
    question = IndicatorDisagreementQuestion(draws=200)
    result = question.answer(store_of(frame))
    found = result.estimates["tau_b/params/latency"]
    assert found.value == pytest.approx(stats.kendalltau(a, b).statistic)
    assert found.low < found.value < found.high
    turned = sum((a[i] - a[j]) * (b[i] - b[j]) < 0 for i in range(30) for j in range(i))
    assert result.tables["pairs"]["reversed"].tolist() == [turned]
    json.dumps(to_json(indicator_disagreement.figure(question, result)))
    json.dumps(result.to_json())


def test_that_costs_in_one_order_agree() -> None:
    frame = scores([0.1, 0.2, 0.3, 0.4], params=[1e6, 2e6, 3e6, 4e6], flops=[1e9, 3e9, 8e9, 9e9])
    result = IndicatorDisagreementQuestion(draws=100).answer(store_of(frame))
    assert result.estimates["tau_b/params/flops"].value == 1.0
    assert result.tables["reversals"].empty
    with pytest.raises(TooLittleData, match="two costs"):
        IndicatorDisagreementQuestion().answer(store_of(frame.drop(columns="flops")))


def test_that_costs_that_are_not_there_or_not_above_zero_are_said() -> None:
    frame = scores([0.9, 0.8, 0.7], params=[4.0, 0.0, 1.0])
    found = quality_costs(store_of(frame), costs=("params",))
    assert "params: 1 cost of 0 or less left out." in found.notes
    np.testing.assert_array_equal(found.costs["params"], [4, np.nan, 1])
    with pytest.raises(TooLittleData, match="a quality and a cost"):
        quality_costs(store_of(frame.assign(params=[4.0, 0.0, np.nan])), costs=("params",))
    holes = pd.concat([frame, scores([0.5, 0.6], params=[4.0, 1.0]).assign(model=["m0", "m2"], task="u")])
    assert "1 model left out: not scored on every task." in quality_costs(store_of(holes), costs=("params",)).notes
    apart = pd.concat([frame.head(2), scores([0.5], params=[4.0]).assign(model="m0", task="u")])
    with pytest.raises(TooLittleData, match="scored on the same tasks"):
        quality_costs(store_of(apart), costs=("params",))
    with pytest.raises(AnalysisError, match="No cost is called 'flops'"):
        found.cost("flops")


def test_that_costs_nobody_knows_make_no_front_and_no_area() -> None:
    good = np.array([[0.5, 0.6], [0.7, 0.1]])
    assert not on_front(np.full(2, np.nan), good).any()
    np.testing.assert_array_equal(hypervolume(np.full(2, np.nan), good, 8.0, 0.0), [0.0, 0.0])


def test_that_nothing_within_a_budget_is_said_and_the_budget_is_drawn() -> None:
    frame = scores([0.9, 0.8, 0.7], params=[4.0, 2.0, 1.0], n=100)
    question = ParetoQuestion(cost="params", budget=0.5, draws=100)
    result = question.answer(store_of(frame))
    best = result.estimates["best_within_budget"]
    assert (math.isnan(best.value), best.why_no_interval) == (True, "no model is so cheap")
    rule = next(mark for _, mark in pareto.figure(question, result).marks() if mark.key == "budget")
    assert rule.at == 0.5  # type: ignore[union-attr]
