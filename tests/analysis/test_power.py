from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.power import TTestIndPower

from runglass.analysis.ranking.power import (
    PowerCurve,
    PowerQuestion,
    figure,
    items_paired,
    items_unpaired,
    power_paired,
    seeds_needed,
)
from runglass.analysis.resampling import mcnemar_exact
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Rule
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(*right: Any) -> RunStore:
    """Predictions of models m0, m1, ... that are right or wrong on items 0, 1, ..."""
    frames = [
        pd.DataFrame({"model": f"m{i}", "item": np.arange(len(own)).astype(str), "correct": np.asarray(own, float)})
        for i, own in enumerate(right)
    ]
    return RunStore().adding([TableRows("answers.csv", "test", pd.concat(frames), "predictions")])


def asked(store: RunStore, **options: Any) -> PowerCurve:
    return PowerQuestion(**({"draws": 200} | options)).answer(store)


def pilot(discordant: int, gap: int, n: int) -> RunStore:
    """Two models: `discordant` of `n` items on which one is right, the second better by `gap` items."""
    only_second = (discordant + gap) // 2
    one = np.repeat([1, 0, 1], [discordant - only_second, only_second, n - discordant])
    two = np.repeat([0, 1, 1], [discordant - only_second, only_second, n - discordant])
    return store_of(one, two)


def test_that_a_fifth_discordant_needs_3923_items_for_two_points() -> None:
    assert items_paired(0.02, 0.2) == 3923
    assert items_unpaired(0.02, 0.7) == pytest.approx(8241, abs=1)  # 8241.3, and items are whole
    assert power_paired(3923, 0.02, 0.2) == pytest.approx(0.8, abs=1e-4)


def test_that_the_power_of_the_formula_is_that_of_simulated_tests() -> None:
    generator = np.random.default_rng(0)
    counts = generator.multinomial(1500, [0.065, 0.035, 0.9], size=2000)
    found = np.mean([(c - b) ** 2 > 3.841 * (b + c) for b, c, _ in counts])
    assert power_paired(1500, 0.03, 0.1) == pytest.approx(found, abs=0.03)


def test_that_seeds_are_those_of_the_t_test_of_statsmodels() -> None:
    for gap, sd in ((0.02, 0.01), (0.01, 0.02), (0.05, 0.01)):
        n = seeds_needed(gap, sd)
        power = TTestIndPower().power
        assert power(gap / sd, n, 0.05) >= 0.8
        assert n == 2 or power(gap / sd, n - 1, 0.05) < 0.8


def test_that_the_pilot_gives_the_discordant_share_and_its_interval() -> None:
    e = asked(pilot(200, 40, 1000)).estimates
    assert e["discordant"].value == 0.2
    assert e["items_paired"].value == 3923
    assert e["items_paired"].low == items_paired(0.02, e["discordant"].low)
    assert e["items_paired"].high == items_paired(0.02, e["discordant"].high)
    assert e["observed_gap"].value == 0.04
    at_smallest = power_paired(1000, e["smallest_gap"].value, 0.2)
    assert at_smallest == pytest.approx(0.8, abs=1e-6)


def test_that_without_a_pilot_the_share_is_asked_for() -> None:
    with pytest.raises(TooLittleData, match="or the discordant share; found neither"):
        asked(RunStore())
    result = asked(RunStore(), discordant=0.2, accuracy=0.7, seed_sd=0.01)
    assert {name: result.estimates[name].value for name in ("items_paired", "items_unpaired", "seeds")} == {
        "items_paired": 3923,
        "items_unpaired": 8242,
        "seeds": seeds_needed(0.02, 0.01),
    }
    assert len(figure(PowerQuestion(discordant=0.2), result).panels) == 1


def test_that_a_gap_beyond_the_discordant_share_is_refused() -> None:
    with pytest.raises(AnalysisError, match=r"cannot be when only 0\.01"):
        asked(pilot(10, 0, 1000), gap=0.02)
    with pytest.raises(TooLittleData, match="none of 50"):
        asked(pilot(0, 0, 50))


def test_that_subsets_of_the_whole_size_find_what_the_whole_pilot_finds() -> None:
    for gap in (4, 40):
        table = asked(pilot(100, gap, 400)).tables["subsets"]
        whole = table.iloc[-1]
        b, c = (100 - gap) // 2, (100 + gap) // 2
        assert whole["items"] == 400
        assert whole["finds_difference"] == float(mcnemar_exact(b, c) <= 0.05)
        assert whole["finds_order"] == 1
    assert table["finds_difference"].iloc[0] < 0.5


def test_that_the_two_best_models_are_the_pilot_unless_others_are_asked_for() -> None:
    store = store_of([1, 0, 0, 0, 1, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 1, 1])
    assert asked(store, gap=0.1).pair == ("m2", "m1")
    assert asked(store, gap=0.1, first="m0").pair == ("m0", "m2")
    with pytest.raises(AnalysisError, match="two different models"):
        asked(store, first="m1", second="m1")
    with pytest.raises(AnalysisError, match="No prediction is of 'm9'"):
        asked(store, first="m9")


def test_that_the_rule_of_the_power_can_be_dragged() -> None:
    question = PowerQuestion(draws=200)
    result = question.answer(pilot(200, 40, 1000))
    rules = [mark for _, mark in figure(question, result).marks() if isinstance(mark, Rule)]
    assert [(rule.at, rule.option) for rule in rules] == [(0.8, "power")]
    assert PowerQuestion.from_json(question.to_json()) == question
