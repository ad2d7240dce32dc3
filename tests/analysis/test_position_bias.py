from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.judges.position_bias import PositionBias, PositionBiasQuestion, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Cells
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("battles.csv", "test", frame, "comparisons")])


def judged(verdicts: list[tuple[str, str]], judge: str = "j") -> pd.DataFrame:
    """Verdicts on model x: shown first, and shown second ('win', 'tie' or 'lose')."""
    rows = []
    for i, (first, second) in enumerate(verdicts):
        rows.append(
            {"item": f"i{i}", "a": "x", "b": "y", "judge": judge, "winner": {"win": "a", "lose": "b"}.get(first, "tie")}
        )
        rows.append(
            {
                "item": f"i{i}",
                "a": "y",
                "b": "x",
                "judge": judge,
                "winner": {"win": "b", "lose": "a"}.get(second, "tie"),
            }
        )
    return pd.DataFrame(rows)


def asked(frame: pd.DataFrame, **options: Any) -> PositionBias:
    return PositionBiasQuestion(**{"draws": 300, **options}).answer(store_of(frame))


def values(result: PositionBias) -> dict[str, float]:
    return {name: estimate.value for name, estimate in result.estimates.items()}


def test_that_a_judge_that_always_takes_the_first_conflicts_every_time() -> None:
    result = asked(judged([("win", "lose")] * 20))
    found = values(result)
    assert (found["conflict"], found["first_position"], found["first_twice"], found["second_twice"]) == (1, 0.5, 1, 0)
    assert found["p_sign"] == pytest.approx(2 * 0.5**20)
    # 0 of 20: Wilson's upper end, z^2 / (n + z^2).
    assert result.estimates["second_twice"].high == pytest.approx(1.959964**2 / (20 + 1.959964**2), abs=1e-6)


def test_that_a_judge_that_sees_the_answers_alone_has_no_bias() -> None:
    found = values(asked(judged([("win", "win")] * 6 + [("lose", "lose")] * 3 + [("tie", "tie")])))
    assert (found["conflict"], found["first_position"], found["entropy"], found["p_sign"]) == (0, 0, 0, 1)


def test_that_each_kind_of_change_is_counted() -> None:
    verdicts = [("win", "win"), ("win", "tie"), ("win", "lose"), ("lose", "win"), ("lose", "lose")]
    result = asked(judged(verdicts))
    found = values(result)
    assert found["conflict"] == pytest.approx(3 / 5)
    # Scores of the one shown first: x ahead, y where x is behind.
    ahead, behind = [1, 1, 1, 0, 0], [1, 0.5, 0, 1, 0]
    assert found["first_position"] == pytest.approx(
        np.mean([(a + 1 - b) / 2 for a, b in zip(ahead, behind, strict=True)]) - 0.5
    )
    assert (found["first_twice"], found["second_twice"]) == pytest.approx((1 / 5, 1 / 5))
    assert found["entropy"] == pytest.approx((0 + 3 * math.log(2) + 0) / 5)
    cells = next(mark for _, mark in figure(PositionBiasQuestion(), result).marks() if isinstance(mark, Cells))
    assert cells.values.tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 1]]


def test_that_the_headline_of_66_of_80_is_what_order_alone_wins() -> None:
    # Wang et al. (2023): swapping makes one model beat the other on 66 of 80 questions.
    found = values(asked(judged([("win", "lose")] * 66 + [("win", "win")] * 14)))
    assert found["conflict"] == pytest.approx(66 / 80)
    assert found["first_position"] == pytest.approx(66 / 80 / 2)


def test_that_balancing_gains_agreement_with_people() -> None:
    judge = judged([("win", "win")] * 4 + [("win", "tie")] * 4 + [("win", "lose")] * 2)
    people = judged([("win", "win")] * 8 + [("tie", "tie")] * 2, "human")
    result = asked(pd.concat([judge, people]), human="human")
    found = values(result)
    # First: says win ten times, right in 8. Second: 4 right wins, tie and loss wrong. Balanced: 8 wins, 2 ties, all right.
    assert (found["right_first"], found["right_second"], found["right_balanced"]) == pytest.approx((0.8, 0.4, 1.0))
    assert found["balanced_gain"] == pytest.approx(0.4)


def test_that_several_samples_an_order_are_all_held_against_each_other() -> None:
    base = judged([("win", "win")])
    other = judged([("win", "lose")])
    found = values(asked(pd.concat([base, other])))
    # Ahead: win, win. Behind: win, lose. Half of the four pairs differ.
    assert found["conflict"] == 0.5
    assert found["pairs"] == 1
    p = np.array([3, 1]) / 4
    assert found["entropy"] == pytest.approx(-(p * np.log(p)).sum())


def test_that_the_interval_of_conflicts_is_that_of_a_proportion_and_bias_is_found() -> None:
    generator = np.random.default_rng(0)
    verdicts = []
    for _ in range(400):
        quality = generator.normal()
        verdicts.append(
            tuple("win" if quality + shift + generator.normal(0, 0.3) > 0 else "lose" for shift in (0.5, -0.5))
        )
    result = asked(judged(verdicts), draws=1000)  # type: ignore[arg-type]
    conflict = result.estimates["conflict"]
    half = 1.96 * math.sqrt(conflict.value * (1 - conflict.value) / 400)
    assert (conflict.high - conflict.low) / 2 == pytest.approx(half, rel=0.15)
    # P(win first) less P(win second) of N(0, 1 + .09) shifted by .5 either way.
    from scipy.stats import norm

    expected = norm.cdf(0.5 / math.sqrt(1.09)) - 0.5
    assert result.estimates["first_position"].low < expected < result.estimates["first_position"].high


def test_that_the_column_order_says_who_was_first_where_names_never_swap() -> None:
    frame = judged([("win", "lose")] * 5)
    fixed = frame.assign(
        order=np.where(frame["a"] == "x", "ab", "ba"),
        winner=np.where(frame["a"] == "x", frame["winner"], frame["winner"].map({"a": "b", "b": "a", "tie": "tie"})),
        a="x",
        b="y",
    )
    result = asked(fixed)
    assert values(result)["conflict"] == 1
    assert values(result)["first_position"] == 0.5
    assert any("never swapped" in note for note in result.notes)


def test_that_one_order_alone_is_not_identifiable_and_said() -> None:
    frame = judged([("win", "lose")] * 4)
    with pytest.raises(TooLittleData, match="both orders"):
        asked(frame[frame["a"] == "x"])
    partly = asked(frame[(frame["a"] == "x") | (frame["item"] == "i0")])
    assert values(partly)["pairs"] == 1
    assert any("3 pairs left out" in note for note in partly.notes)
    with pytest.raises(AnalysisError, match="No judge called 'nobody'"):
        asked(frame, judge="nobody")


def test_that_the_least_certain_pairs_are_listed_for_people() -> None:
    result = asked(judged([("win", "win"), ("win", "lose"), ("tie", "tie")]))
    assert result.tables["pairs"]["item"].tolist() == ["i1"]
