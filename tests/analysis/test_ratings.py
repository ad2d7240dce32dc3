from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.analysis.ranking import bradley_terry, elo
from runglass.analysis.ranking.bradley_terry import BradleyTerryQuestion, BradleyTerryRatings
from runglass.analysis.ranking.elo import EloLadder, EloQuestion
from runglass.analysis.ratings import (
    ELO,
    battles_of,
    battles_of_scores,
    elo_in_orders,
    elo_trail,
    fit_bradley_terry,
    ratings_of,
    unbeaten_groups,
)
from runglass.models.errors import AnalysisError
from runglass.models.figure import Cells, Line, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

WINS = np.array([[0, 7, 4], [3, 0, 6], [5, 2, 0]], dtype=float)


def store_of(frame: pd.DataFrame, table: str = "comparisons") -> RunStore:
    return RunStore().adding([TableRows("rows.csv", "test", frame, table)])


def fought(wins: np.ndarray, **columns: Any) -> pd.DataFrame:
    """One row a battle: m0, m1, ... beat one another so often; the winner is shown first every other time."""
    rows = [
        (f"m{i}", f"m{j}", "a") if number % 2 else (f"m{j}", f"m{i}", "b")
        for i, j in np.argwhere(wins > 0)
        for number in range(int(wins[i, j]))
    ]
    return pd.DataFrame(rows, columns=["a", "b", "winner"]).assign(**columns)


def rated(frame: pd.DataFrame, **options: Any) -> BradleyTerryRatings:
    return BradleyTerryQuestion(**({"draws": 200} | options)).answer(store_of(frame))


def test_that_the_published_ratings_of_three_models_come_out() -> None:
    ratings = ELO * fit_bradley_terry(WINS)
    np.testing.assert_allclose(ratings, [37.79, 2.93, -40.73], atol=0.005)
    e = rated(fought(WINS)).estimates
    assert [round(e[f"m{i}"].value, 2) for i in range(3)] == [37.79, 2.93, -40.73]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 6))
def test_that_expected_wins_are_observed_wins(seed: int, n: int) -> None:
    wins = np.random.default_rng(seed).integers(1, 20, (n, n)).astype(float)
    np.fill_diagonal(wins, 0)
    theta = fit_bradley_terry(wins)
    p = 1 / (1 + np.exp(theta[None, :] - theta[:, None]))
    np.testing.assert_allclose(((wins + wins.T) * p).sum(axis=1), wins.sum(axis=1), rtol=1e-9)


def test_that_a_prior_gives_the_fixed_point_of_newman() -> None:
    strength = np.exp(fit_bradley_terry(WINS, True))
    for i in range(3):
        # Newman (2023), equation 27: one win and one loss against a model of strength 1.
        up = 1 / (strength[i] + 1) + sum(
            WINS[i, j] * strength[j] / (strength[i] + strength[j]) for j in range(3) if j != i
        )
        down = 1 / (strength[i] + 1) + sum(WINS[j, i] / (strength[i] + strength[j]) for j in range(3) if j != i)
        assert strength[i] == pytest.approx(up / down, rel=1e-9)


def test_that_many_resamples_are_fitted_as_each_alone() -> None:
    generator = np.random.default_rng(0)
    wins = generator.integers(0, 5, (20, 4, 4)).astype(float)
    wins[:, np.arange(4), np.arange(4)] = 0
    together = ratings_of(wins)
    for one, rating in zip(wins, together, strict=True):
        theta = fit_bradley_terry(one, len(unbeaten_groups(one)) > 1)
        np.testing.assert_allclose(rating, ELO * (theta - theta.mean()), atol=1e-6)


def test_that_models_that_never_lose_need_a_prior_and_it_is_said() -> None:
    wins = np.array([[0, 3, 2], [0, 0, 4], [0, 1, 0]], dtype=float)
    result = rated(fought(wins))
    assert result.is_map
    assert result.notes[0].startswith("Attention: wins do not connect all models (2 groups")
    assert all(math.isfinite(e.value) for name, e in result.estimates.items() if name.startswith("m"))


def test_that_ties_are_half_a_win_each() -> None:
    tied = pd.DataFrame({"a": ["m0"] * 4, "b": ["m1"] * 4, "winner": ["tie", "tie", "a", "b"]})
    e = rated(tied).estimates
    assert e["m0"].value == pytest.approx(0, abs=1e-9)
    assert e["ties"].value == 0.5


def test_that_the_interval_of_a_rating_covers_what_it_says() -> None:
    generator = np.random.default_rng(1)
    theta = np.array([0.5, 0.0, -0.5])
    p = 1 / (1 + np.exp(theta[None, :] - theta[:, None]))
    held = []
    for _ in range(60):
        wins = np.zeros((3, 3))
        for i in range(3):
            for j in range(i):
                wins[i, j] = generator.binomial(60, p[i, j])
                wins[j, i] = 60 - wins[i, j]
        e = rated(fought(wins), draws=150).estimates["m0"]
        held.append(e.low <= ELO * 0.5 <= e.high)
    assert np.mean(held) >= 0.87


def test_that_battles_of_one_prompt_are_resampled_together() -> None:
    wins = np.array([[0, 40, 30], [20, 0, 40], [30, 20, 0]], dtype=float)
    frame = fought(wins)
    order = np.lexsort((frame["winner"], frame["b"], frame["a"]))
    alone = rated(frame)
    together = rated(frame.iloc[order].assign(prompt=np.arange(len(frame)) // 10), cluster="prompt")
    widths = [result.estimates["m0"].high - result.estimates["m0"].low for result in (alone, together)]
    assert widths[1] > 1.5 * widths[0]
    assert together.notes[0].startswith("Unit: the prompt")
    assert alone.notes[0].startswith("Unit: the battle, n = 180")


def test_that_a_bias_for_the_first_shown_is_said() -> None:
    frame = pd.DataFrame({"a": ["m0", "m1"] * 50, "b": ["m1", "m0"] * 50, "winner": ["a"] * 70 + ["b"] * 30})
    result = rated(frame)
    assert result.estimates["shown_first_wins"].value == 0.7
    assert any("shown first wins 70.0 %" in note for note in result.notes)


def test_that_each_dimension_has_ratings_of_its_own() -> None:
    frame = pd.concat([fought(WINS, dimension="style"), fought(WINS.T, dimension="facts")])
    first, other = rated(frame), rated(frame, dimension="facts")
    assert first.estimates["m0"].value == pytest.approx(-other.estimates["m0"].value)
    assert any("Dimension style (not facts)" in note for note in first.notes)
    with pytest.raises(AnalysisError, match="No comparison is of the dimension 'x'"):
        rated(frame, dimension="x")


def test_that_a_cell_of_the_residuals_stands_for_the_battles_of_its_pair() -> None:
    question = BradleyTerryQuestion(draws=200)
    frame = fought(WINS)
    result = question.answer(store_of(frame))
    cells = next(mark for _, mark in bradley_terry.figure(question, result).marks() if isinstance(mark, Cells))
    assert cells.rows == ("m0", "m1", "m2")
    assert cells.texts[0] == ("", "70", "44")
    clause = cells.origin.clause([1])  # type: ignore[union-attr]
    assert clause.mask(frame).sum() == 10
    assert BradleyTerryQuestion.from_json(question.to_json()) == question


def test_that_an_elo_battle_moves_both_by_k_times_the_surprise() -> None:
    battles = battles_of_scores(np.array([[0.9], [0.5]]), ["x", "y"], 0.05)
    trail = elo_trail(battles, np.arange(1), k=40)
    np.testing.assert_allclose(trail, [[1500, 1500], [1520, 1480]])
    again = elo_trail(battles, np.array([0, 0]), k=40)
    expected = 1 / (1 + 10 ** (-40 / 400))
    assert again[2, 0] == pytest.approx(1520 + 40 * (1 - expected))


def test_that_all_orders_at_once_equal_one_after_the_other_and_the_sum_stays() -> None:
    generator = np.random.default_rng(0)
    battles = battles_of_scores(generator.random((5, 6)), list("abcde"), 0.05)
    orders = np.argsort(generator.random((7, len(battles.score))), axis=1)
    ended = elo_in_orders(battles, orders, 32)
    for order, ratings in zip(orders, ended, strict=True):
        np.testing.assert_allclose(ratings, elo_trail(battles, order, 32)[-1])
    np.testing.assert_allclose(ended.sum(axis=1), 5 * 1500)


def climbed(frame: pd.DataFrame, table: str, **options: Any) -> EloLadder:
    return EloQuestion(**({"orders": 100} | options)).answer(store_of(frame, table))


def test_that_scores_meet_in_a_round_robin_and_close_ones_tie() -> None:
    frame = pd.DataFrame(
        {"model": list("abc") * 2, "task": ["t"] * 3 + ["u"] * 3, "value": [0.9, 0.85, 0.7, 0.6, 0.5, 0.4]}
    )
    result = climbed(frame, "scores")
    assert len(result.battles.score) == 6
    assert sorted(result.battles.score) == [0.5, 1, 1, 1, 1, 1]  # 0.9 against 0.85 is a draw, rounding or not
    assert list(result.ratings["model"]) == ["a", "b", "c"]
    assert result.notes[0].startswith("Unit: the task.")


def test_that_a_ladder_of_comparisons_shows_what_order_does() -> None:
    result = climbed(fought(10 * WINS), "comparisons")
    table = result.ratings.set_index("model")
    assert (table["order_low"] < table["rating"]).all()
    assert (table["low"] < table["high"]).all()
    assert table["bradley_terry"].mean() == pytest.approx(1500)
    question = EloQuestion(orders=100)
    lines = [mark for _, mark in elo.figure(question, result).marks() if isinstance(mark, Line)]
    assert lines[0].y[-1] == table.loc[lines[0].key, "in_order_given"]
    assert to_json(lines[0].origin)["clauses"][0]["any"][0] == {"is_in": "a", "values": [lines[0].key]}


def test_that_without_battles_or_scores_there_is_no_ladder() -> None:
    assert EloQuestion.missing(RunStore()) == "needs a comparisons or a scores table; none is open"
    assert EloQuestion().resolved(store_of(fought(WINS))).source == "comparisons"


def test_that_a_slight_win_by_a_much_longer_answer_is_a_tie() -> None:
    rows = {"a": ["x"] * 5, "b": ["y"] * 5, "winner": ["a", "a", "b", "b", "tie"], "strength": [1, 2, 1, 1, 0],
            "length_a": [900, 900, 100, 500, 900], "length_b": [300, 300, 900, 400, 300]}  # fmt: skip
    battles = battles_of(store_of(pd.DataFrame(rows)), longer_by=500)
    # The second is a clear win, and the fourth was won by the answer that is shorter.
    assert battles.score.tolist() == [0.5, 1.0, 0.5, 0.0, 0.5]
    assert "2 slight wins" in battles.notes[-1]
    without = battles_of(store_of(pd.DataFrame(rows).drop(columns="strength")), longer_by=500)
    assert without.score.tolist() == [0.5, 0.5, 0.5, 0.0, 0.5]
    with pytest.raises(AnalysisError, match="how long"):
        battles_of(store_of(pd.DataFrame(rows).drop(columns="length_a")), longer_by=500)


def test_that_battles_of_a_judge_or_cluster_that_is_not_there_are_refused() -> None:
    frame = fought(WINS, judge="j", dimension="tone")
    for options, said in (
        ({"judge": "k"}, "No comparison is of the judge 'k'"),
        ({"dimension": "length"}, "No comparison is of the dimension 'length'"),
        ({"cluster": "nowhere"}, "no column called 'nowhere'"),
    ):
        with pytest.raises(AnalysisError, match=said):
            battles_of(store_of(frame), **options)  # type: ignore[arg-type]
    with pytest.raises(AnalysisError, match="the dimension 'tone'"):
        battles_of(store_of(frame.drop(columns="dimension")), dimension="tone")
    with pytest.raises(AnalysisError, match="at least 2 models"):
        battles_of(store_of(frame.assign(a="m0", b="m0")))
    odd = pd.concat([frame, frame.head(2).assign(winner="both bad"), frame.head(1).assign(a="m0", b="m0")])
    battles = battles_of(store_of(odd))
    assert len(battles.score) == WINS.sum()
    assert any(note.startswith("3 comparisons left out") for note in battles.notes)
    np.testing.assert_array_equal(battles.wins(), WINS)
