from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from runglass.analysis.curves.efficiency import Efficiency, EfficiencyQuestion, figure, multiplier, reached_at
from runglass.models.errors import AnalysisError
from runglass.models.figure import FigureSpec, Line, Rule
from runglass.models.loader import load
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece

DEMO = Path(__file__).parents[2] / "resources" / "demo"


def store_of(groups: dict[str, list[float]], points: int = 101) -> RunStore:
    """Losses 1 + exp(-step / t), for every t."""
    step = 10.0 * np.arange(points)
    return RunStore().adding(
        CurvePiece(f"{name}/{number}", step, {"loss": 1 + np.exp(-step / t)})
        for name, times in groups.items()
        for number, t in enumerate(times)
    )


def asked(store: RunStore, **options: Any) -> tuple[Efficiency, FigureSpec]:
    question = EfficiencyQuestion(**{"group_by": ("folder",), **options}).resolved(store)
    result = question.answer(store)
    return result, figure(question, result)


def test_that_a_level_is_reached_where_the_curve_crosses_it() -> None:
    x, y = np.array([0.0, 10, 20, 30]), np.array([4.0, 2, 3, 1])
    # Pool-adjacent-violators makes 4, 2.5, 2.5, 1.
    levels = np.array([4.5, 4.0, 3.25, 2.5, 1.75, 0.5])
    expected = [np.nan, np.nan, 5, 10, 25, np.nan]
    np.testing.assert_allclose(reached_at(x, y, levels, rising=False), expected)
    np.testing.assert_allclose(reached_at(x, -y, -levels, rising=True), expected)


def test_that_twice_the_speed_is_a_multiplier_of_two() -> None:
    result, spec = asked(store_of({"slow": [200.0], "fast": [100.0]}), value=1.1)
    estimate = result.estimates["multiplier"]
    assert estimate.value == pytest.approx(2, rel=1e-3)
    assert math.isnan(estimate.low)
    assert result.estimates["saving"].value == pytest.approx(0.5, rel=1e-3)
    np.testing.assert_allclose(result.savings[0].value, 2, rtol=0.03)
    rules = [(mark.axis, mark.at) for _, mark in spec.marks() if isinstance(mark, Rule) and mark.option == "value"]
    assert rules == [("y", 1.1), ("x", 1.1)]


def test_that_a_recipe_against_itself_is_one_and_swapping_inverts() -> None:
    same, _ = asked(store_of({"a": [150.0, 180], "b": [150.0, 180]}))
    assert same.estimates["multiplier"].value == pytest.approx(1)
    store = store_of({"a": [150.0, 180, 170], "b": [100.0, 90, 120]})
    ab = asked(store, reference="a", value=1.2)[0].estimates["multiplier"]
    ba = asked(store, reference="b", value=1.2)[0].estimates["multiplier"]
    assert (ab.value * ba.value, ab.low * ba.high, ab.high * ba.low) == pytest.approx((1, 1, 1))


def test_that_the_interval_is_welchs_on_the_logarithm() -> None:
    a, b = np.array([100.0, 120, 90, 105]), np.array([60.0, 75, 64])
    value, low, high = multiplier(a[:, None], b[:, None], 0.95)
    test = stats.ttest_ind(np.log(a), np.log(b), equal_var=False)
    expected = np.exp(test.confidence_interval(0.95))
    assert (low[0], high[0]) == pytest.approx(tuple(expected))
    assert value[0] == pytest.approx(stats.gmean(a) / stats.gmean(b))


def test_that_levels_one_recipe_never_reaches_are_not_compared() -> None:
    step = 10.0 * np.arange(50)
    store = RunStore().adding(
        [
            CurvePiece("a/0", step, {"loss": 5 - step / 500}),
            CurvePiece("b/0", step, {"loss": 3 - step / 500}),
        ]
    )
    result, _ = asked(store)
    assert any("not comparable" in note for note in result.notes)
    assert math.isnan(result.estimates["multiplier"].value)
    with pytest.raises(AnalysisError, match="at least 2 groups"):
        asked(store_of({"a": [1.0]}))
    with pytest.raises(AnalysisError, match="no group 'z'"):
        asked(store_of({"a": [100.0], "b": [50.0]}), reference="z")


def test_that_the_best_level_all_runs_reach_is_read_unless_one_is_named() -> None:
    result, _ = asked(store_of({"slow": [400.0, 500.0], "fast": [100.0, 110.0]}))
    assert result.level == pytest.approx(1 + math.exp(-1000 / 500))
    assert result.estimates["multiplier"].value == pytest.approx(math.sqrt(400 * 500 / 100 / 110), rel=0.01)


def test_that_the_sample_says_what_warm_up_saves() -> None:
    result, _ = asked(load([DEMO / "arms"]), tag="val/loss", x="tokens", group_by=(), reference="adamw-no-warmup")
    saved = {one.group.name: one.at_level for one in result.savings}
    value, low, high = saved["adamw-cosine"]
    assert 1 < low < value < high


def test_that_of_many_recipes_those_that_save_most_are_coloured() -> None:
    scales = {f"r{n:02d}": [100.0 + 20 * n, 104.0 + 20 * n] for n in range(16)}
    result, spec = asked(store_of(scales), reference="r15")
    ratios = [mark for mark in spec.panels[1].marks if isinstance(mark, Line)]
    assert sorted(line.key for line in ratios if line.hue != "muted") == [f"r{n:02d}" for n in range(5)]
    assert len(ratios) == len(result.savings) == 15
    assert "the best 5 of 15 coloured" in spec.subtitle
