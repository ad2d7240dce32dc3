from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.analysis.curves.crossover import Crossover, CrossoverQuestion, crossings, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import FigureSpec, Rule
from runglass.models.loader import load
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts

DEMO = Path(__file__).parents[2] / "resources" / "demo"
STEP = np.arange(0.0, 1001, 10)


def store_of(groups: dict[str, list[np.ndarray]]) -> RunStore:
    return RunStore().adding(
        CurvePiece(f"{name}/{number}", STEP[: len(y)], {"loss": y})
        for name, curves in groups.items()
        for number, y in enumerate(curves)
    )


def asked(store: RunStore, **options: Any) -> tuple[Crossover, FigureSpec]:
    question = CrossoverQuestion(**{"group_by": ("folder",), **options}).resolved(store)
    result = question.answer(store)
    return result, figure(question, result)


def lines(slopes: list[float], start: float, noise: float = 0.0, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [start - slope * STEP + noise * generator.normal() for slope in slopes]


def test_that_every_change_of_sign_is_found_and_a_touch_is_not_one() -> None:
    x = np.arange(7.0)
    np.testing.assert_allclose(crossings(x, np.array([1.0, -1, -3, 3, 0, 2, -2])), [0.5, 2.5, 5.5])
    assert len(crossings(x, np.array([1.0, 0, 1, 2, 1, 0, 3]))) == 0
    np.testing.assert_allclose(crossings(np.array([1.0, 100.0]), np.array([1.0, -1]), log=True), [10])


@settings(deadline=None, max_examples=25)
@given(at=st.floats(50, 950))
def test_that_two_straight_lines_cross_where_they_do(at: float) -> None:
    result, _ = asked(store_of({"a": lines([0.001], 2.0), "b": lines([0.003], 2.0 + 0.002 * at)}))
    assert result.at == pytest.approx([at], abs=1e-3)
    swapped, _ = asked(store_of({"a": lines([0.001], 2.0), "b": lines([0.003], 2.0 + 0.002 * at)}), first="b")
    assert swapped.at == pytest.approx([at], abs=1e-3)


def test_that_seeds_give_an_interval_round_the_true_crossing() -> None:
    store = store_of({"a": lines([0.001] * 6, 2.0, 0.05), "b": lines([0.003] * 6, 3.0, 0.05, seed=1)})
    result, spec = asked(store)
    crossing = result.estimates["crossing"]
    assert crossing.low < 500 < crossing.high
    assert crossing.high - crossing.low < 150
    assert result.crossed == 1
    assert result.better[0] == 0
    assert result.better[-1] == 1
    assert [panel.key for panel in spec.panels] == ["curves", "better"]
    assert any(isinstance(mark, Rule) and mark.at == pytest.approx(crossing.value) for _, mark in spec.marks())


def test_that_the_interval_is_open_where_many_draws_never_cross() -> None:
    store = store_of({"a": lines([0.001] * 5, 2.0, 0.3), "b": lines([0.001] * 5, 2.05, 0.3, seed=3)})
    result, _ = asked(store)
    assert result.crossed < 0.95
    assert math.isnan(result.estimates["crossing"].low)


def test_that_one_seed_has_no_interval_and_no_crossing_is_said() -> None:
    one, _ = asked(store_of({"a": lines([0.001], 2.0), "b": lines([0.003], 3.0)}))
    assert math.isnan(one.estimates["crossing"].low)
    assert any("fewer than 3 seeds" in note for note in one.notes)
    none, _ = asked(store_of({"a": lines([0.001], 2.0), "b": lines([0.001], 3.0)}))
    assert none.summary() == "a and b do not cross in loss over the step that both have."


def test_that_what_runs_end_at_can_be_compared_along_a_column() -> None:
    events: list[Any] = []
    for family, exponent in (("a", 0.2), ("b", 0.4)):
        for size in (10, 100, 1000, 10000):
            run = f"{family}-{size}"
            events.append(RunFacts(run, config={"params": size, "family": family}))
            # Equal at 316: 316 ** 0.2 is the ratio of the amplitudes.
            amplitude = 1.0 if family == "a" else math.sqrt(1e5) ** 0.2
            events.append(CurvePiece(run, np.arange(2), {"loss": np.array([9.0, amplitude * size**-exponent])}))
    result, spec = asked(RunStore().adding(events), along="params", group_by=())
    assert result.at == pytest.approx([math.sqrt(1e5)], rel=1e-6)
    assert spec.panels[0].x.scale == "log"


def test_that_a_group_that_is_not_there_is_named() -> None:
    with pytest.raises(AnalysisError, match="no group 'z'"):
        asked(store_of({"a": lines([0.1], 1.0), "b": lines([0.1], 1.0)}), first="z")
    with pytest.raises(AnalysisError, match="2 groups"):
        asked(store_of({"a": lines([0.1], 1.0)}))


def test_that_the_arms_said_to_cross_in_the_sample_do() -> None:
    store = load([DEMO / "arms"])
    result, _ = asked(store, tag="val/loss", group_by=(), first="sgd-cosine", second="adamw-constant")
    assert len(result.at) >= 1
    assert result.estimates["crossing"].low <= result.estimates["crossing"].value <= result.estimates["crossing"].high


def test_that_between_places_the_arms_are_straight_in_logarithms_and_seeds_of_a_place_are_redrawn() -> None:
    events: list[Any] = []
    places = {"a": (10, 1000, 100000), "b": (30, 1000, 30000)}
    for family, exponent in (("a", 0.2), ("b", 0.4)):
        for size in places[family]:
            for seed in range(4):
                run = f"{family}-{size}-{seed}"
                events.append(RunFacts(run, config={"params": size, "family": family, "seed": seed}))
                amplitude = 1.0 if family == "a" else 1000.0**0.2
                value = amplitude * size**-exponent * math.exp(0.02 * (seed - 1.5))
                events.append(CurvePiece(run, np.arange(2), {"loss": np.array([9.0, value])}))
    result, _ = asked(RunStore().adding(events), along="params", group_by=("family",))
    assert result.at[0] == pytest.approx(1000, rel=1e-6)
    crossing = result.estimates["crossing"]
    assert crossing.low < 1000 < crossing.high
    arm = next(one for one in result.arms if one.name.endswith("a"))
    cells = [math.log(cell.mean()) for cell in arm.cells]
    expected = np.interp(np.log([30, 1000, 30000]), np.log([10, 1000, 100000]), cells)
    np.testing.assert_allclose(np.log(arm.mean), expected)
    with pytest.raises(AnalysisError, match="no column called 'width'"):
        asked(RunStore().adding(events), along="width", group_by=("family",))
    apart = [one for one in events if one.run.startswith("a") or "-30-" not in one.run]
    with pytest.raises(TooLittleData, match="2 values of params"):
        asked(
            RunStore().adding([one for one in apart if "-30000-" not in one.run]), along="params", group_by=("family",)
        )
