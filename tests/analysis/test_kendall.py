from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from runglass.analysis.ranking.kendall import ANALYSIS, KendallQuestion, RankStability, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Cells, Points, to_json
from runglass.models.loader import load
from runglass.models.selection import Holds, Matches, Not, both
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])


def scores(good: Any, **columns: Any) -> pd.DataFrame:
    """Scores of models m0, m1, ... (rows) at steps 1, 2, ... (columns) on one task."""
    good = np.asarray(good, dtype=float)
    n, k = good.shape
    rows = {"model": np.repeat([f"m{i}" for i in range(n)], k), "step": np.tile(np.arange(1.0, k + 1), n)}
    return pd.DataFrame(rows | {"task": "t", "value": good.ravel()} | columns)


def asked(frame: pd.DataFrame, **options: Any) -> RankStability:
    return KendallQuestion(draws=200, **options).answer(store_of(frame))


def values(result: RankStability) -> dict[str, float]:
    return {name: estimate.value for name, estimate in result.estimates.items()}


GOOD = np.array([[1, 2, 3, 1], [2, 1, 5, 2], [3, 4, 4, 3], [4, 3, 2, 5], [5, 6, 7, 9], [4, 4, 4, 4]], dtype=float)


def test_that_every_checkpoint_is_held_against_the_last() -> None:
    found = values(asked(scores(GOOD)))
    for place in range(3):
        expected = kendalltau(GOOD[:, place], GOOD[:, 3]).statistic
        assert found[f"tau_b/{place + 1}"] == pytest.approx(expected)
    assert found["mean_tau_b"] == pytest.approx(np.mean([found[f"tau_b/{step}"] for step in (1, 2, 3)]))
    assert "tau_b/4" not in found


def test_that_monotonicity_is_tau_b_of_step_and_score() -> None:
    result = asked(scores(GOOD))
    found = values(result)
    expected = [kendalltau(np.arange(4), row).statistic for row in GOOD[:5]]
    assert [found[f"monotonicity/m{i}"] for i in range(5)] == pytest.approx(expected)
    assert np.isnan(found["monotonicity/m5"])  # constant: undefined, neither 0 nor 1
    assert found["monotonicity"] == pytest.approx(np.mean(expected))


def test_that_a_score_where_lower_is_better_ranks_the_other_way_round() -> None:
    better = asked(scores(GOOD))
    for frame in (scores(-GOOD, metric="loss"), scores(-GOOD, higher_is_better=False)):
        assert values(asked(frame)) == pytest.approx(values(better), nan_ok=True)
    assert any("lower for loss" in note for note in asked(scores(-GOOD, metric="loss")).notes)


def test_that_another_reference_can_be_asked_for() -> None:
    found = values(asked(scores(GOOD), reference="1"))
    assert found["tau_b/4"] == pytest.approx(kendalltau(GOOD[:, 0], GOOD[:, 3]).statistic)
    with pytest.raises(AnalysisError, match="no step '9' to compare with"):
        asked(scores(GOOD), reference="9")


def test_that_only_models_with_every_score_are_ranked() -> None:
    frame = scores(GOOD).drop(index=[1])
    result = asked(frame)
    assert result.tasks[0].models == ("m1", "m2", "m3", "m4", "m5")
    assert any("5 of 6" in note for note in result.notes)


def test_that_a_sparse_checkpoint_costs_itself_and_not_the_models() -> None:
    frame = scores(GOOD)
    sparse = frame[(frame["step"] != 2) | (frame["model"] == "m0")]
    assert asked(sparse).tasks[0].conditions == (1, 3, 4)


def test_that_seeds_have_no_order_and_are_held_against_one_another() -> None:
    frame = scores(GOOD[:, :3]).rename(columns={"step": "seed"})
    result = asked(frame)
    pairs = {(a, b): kendalltau(GOOD[:, a], GOOD[:, b]).statistic for a in range(3) for b in range(3)}
    found = values(result)
    assert not result.ordered
    assert found["tau_b/1"] == pytest.approx((pairs[0, 1] + pairs[0, 2]) / 2)
    assert "monotonicity" not in found


def test_that_fewer_than_four_models_are_refused_and_fewer_than_six_have_no_interval() -> None:
    with pytest.raises(TooLittleData, match="at least 4 models"):
        asked(scores(GOOD[:3]))
    five = asked(scores(GOOD[:5])).estimates["mean_tau_b"]
    assert (five.has_interval, five.why_no_interval) == (False, "5 objects; at least 6 are needed")
    assert asked(scores(GOOD)).estimates["mean_tau_b"].has_interval


def test_that_scores_that_do_not_repeat_are_refused() -> None:
    with pytest.raises(TooLittleData, match="several steps, seeds"):
        asked(scores(GOOD[:, :1]))


def test_that_intervals_over_items_come_from_standard_errors() -> None:
    with pytest.raises(AnalysisError, match="no standard errors"):
        asked(scores(GOOD), unit="items")
    apart = np.arange(8.0)[:, None] + np.zeros((8, 3))
    sure = asked(scores(apart, stderr=1e-6), unit="items").estimates["mean_tau_b"]
    assert (sure.low, sure.high) == (1, 1)
    unsure = asked(scores(apart, stderr=50.0), unit="items").estimates["mean_tau_b"]
    assert unsure.low < 0 < unsure.high


def test_that_ranks_carry_the_interval_of_their_standard_errors() -> None:
    frame = scores(np.array([[0.0, 0], [10, 10], [20, 20], [20.1, 20.1]]), stderr=0.5)
    ranks = asked(frame).tables["ranks"].set_index(["model", "step"])
    assert ranks.loc[("m0", 2.0), ["rank", "rank_low", "rank_high"]].tolist() == [4, 4, 4]
    assert ranks.loc[("m3", 2.0), ["rank", "rank_low", "rank_high"]].tolist() == [1, 1, 2]


def test_that_repeated_scores_are_averaged_and_said_aloud() -> None:
    frame = pd.concat([scores(GOOD), scores(GOOD + 0.5)])
    result = asked(frame)
    assert values(result) == pytest.approx(values(asked(scores(GOOD))), nan_ok=True)
    assert any(note.startswith("Attention: 48 scores") and "by up to 0.5" in note for note in result.notes)


def test_that_seeds_are_averaged_within_a_checkpoint() -> None:
    frame = pd.concat([scores(GOOD + shift, seed=seed) for seed, shift in enumerate((-1.0, 1.0))])
    result = asked(frame, over="step")
    assert values(result) == pytest.approx(values(asked(scores(GOOD))), nan_ok=True)
    assert "Mean of 2 seeds." in result.notes
    assert not any(note.startswith("Attention") for note in result.notes)


def test_that_several_tasks_stand_in_a_heat_map_whose_cells_are_their_scores() -> None:
    frame = pd.concat([scores(GOOD), scores(GOOD[::-1] ** 2).assign(task="u")])
    question = KendallQuestion(draws=200)
    result = question.answer(store_of(frame))
    spec = figure(question, result)
    cells = next(mark for _, mark in spec.marks() if isinstance(mark, Cells))
    assert cells.values.shape == (2, 3)  # the reference itself has no cell
    assert to_json(cells.origin)["clauses"][0] == {
        "all": [{"is_in": "task", "values": [cells.rows[0]]}, {"is_in": "step", "values": [1.0]}]
    }
    assert {f"{task}/mean_tau_b" for task in ("t", "u")} <= set(result.estimates)


def test_that_a_line_of_the_bump_chart_stands_for_its_model() -> None:
    question = KendallQuestion(draws=200)
    result = question.answer(store_of(scores(GOOD, stderr=0.1)))
    marks = {mark.key: mark for _, mark in figure(question, result).marks()}
    assert to_json(marks["m4"].origin) == {"column": "model", "values": ["m4"]}
    interval = marks["m4/interval"]
    assert isinstance(interval, Points)
    assert interval.low is not None
    assert interval.low[0] == 1


def test_that_versions_of_one_model_are_ranked_apart() -> None:
    frame = scores(GOOD).rename(columns={"step": "seed"})
    frame["version"] = frame["model"]
    frame["model"] = "m"
    result = asked(frame, over="seed")
    assert result.tasks[0].models[0] == "m m0"
    clauses = to_json(result.scores.origin(("m m0",)))["clauses"]
    assert clauses == [{"all": [{"is_in": "model", "values": ["m"]}, {"is_in": "version", "values": ["m0"]}]}]


def test_that_order_of_rows_changes_nothing() -> None:
    frame = scores(np.random.default_rng(0).normal(size=(12, 4)), stderr=0.1)
    shuffled = frame.sample(frac=1, random_state=1)
    once, again = asked(frame), asked(shuffled)
    assert values(once) == pytest.approx(values(again))
    assert once.estimates["mean_tau_b"].has_interval


def test_that_the_question_goes_to_json_and_back() -> None:
    question = KendallQuestion(over="seed", task="t", unit="items")
    assert KendallQuestion.from_json(question.to_json()) == question
    assert ANALYSIS.inputs == ("scores",)


def test_that_the_ranks_of_pythia_come_out(shared_data: Path) -> None:
    folder = shared_data / "ranking" / "pythia" / "evals" / "pythia-v1"
    sizes = [f"pythia-{size}/zero-shot" for size in ("70m", "160m", "410m", "1b-bf16", "1.4b", "2.8b", "6.9b", "12b")]
    store = load([folder / size for size in sizes])
    assert store.problems == ()
    question = KendallQuestion(task="arc_challenge", metric="acc_norm")
    result = question.answer(store)
    found = values(result)
    assert len(result.tasks[0].models) == 8
    published = {"13000": 0.5714, "33000": 0.8571, "63000": 0.9286, "103000": 0.9286}
    assert {step: found[f"tau_b/{step}"] for step in published} == pytest.approx(published, abs=1e-3)

    late = {"metric": "acc", "from_step": 1000}
    easy = values(KendallQuestion(task="arc_easy", **late).answer(store))
    assert easy["monotonicity/pythia-v1.1-12b"] == pytest.approx(0.95, abs=1e-3)
    lambada = values(KendallQuestion(task="lambada_openai", **late).answer(store))
    assert lambada["monotonicity/pythia-v1.1-70m"] == pytest.approx(-0.0586, abs=1e-3)
    json.dumps(result.to_json())

    narrowed = store.keeping(both(Holds("step >= 1000"), Not(Matches("model", "70m"))))
    assert len(question.answer(narrowed).tasks[0].models) == 7


def test_that_seeds_held_against_one_another_have_intervals_over_items() -> None:
    generator = np.random.default_rng(3)
    good = np.linspace(0.2, 0.8, 8)[:, None] + 0.01 * generator.normal(size=(8, 3))
    frame = scores(good).rename(columns={"step": "seed"})
    sharp, dull = (asked(frame.assign(stderr=error), over="seed", unit="items") for error in (1e-6, 0.2))
    taus = np.array([[kendalltau(good[:, i], good[:, j]).statistic for i in range(3)] for j in range(3)])
    for place in range(3):
        one = sharp.estimates[f"tau_b/{place + 1}"]
        assert one.value == pytest.approx(np.delete(taus[place], place).mean())
        assert (one.low, one.high) == pytest.approx((one.value, one.value), abs=0.02)
        assert dull.estimates[f"tau_b/{place + 1}"].low < one.low - 0.2
