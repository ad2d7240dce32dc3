from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.analysis.asking import Answer, Opened, ask, column_map, opened
from runglass.analysis.chinchilla_law import Law
from runglass.analysis.registry import analysis
from runglass.models.errors import TooLittleData
from runglass.models.figure import Rule
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

OPTIMA = {
    "rw|base|long|kaplan|kaplan|train": (0.833768, 0.8353),
    "rw|base|long|kaplan|standard|val": (0.7009, 0.7065),
    "rw|base|short|kaplan|standard|val": (0.6035, 0.602),
    "rw|base|short|chinchilla|standard|val": (0.5714, 0.5715),
}
LAW = Law(480.0, 2000.0, 1.8, 0.35, 0.37)


def profiles(noise: float = 0.0, budgets: int = 6, sizes: int = 7, seed: int = 0) -> pd.DataFrame:
    C = np.repeat(np.geomspace(1e18, 1e21, budgets), sizes)
    N = LAW.optimum(C)[0] * np.tile(np.geomspace(0.3, 3, sizes), budgets)
    D = C / (6 * N)
    L = LAW.loss(N, D) * np.exp(noise * np.random.default_rng(seed).normal(size=len(N)))
    return pd.DataFrame({"run": [f"r{i}" for i in range(len(N))], "params": N, "tokens": D, "flops": C, "loss": L})


def answered(frame: pd.DataFrame, **options: Any) -> Answer:
    store = RunStore().adding([TableRows("runs.csv", "test", frame, "runs")])
    return ask(analysis("scaling.isoflop"), {"draws": 200, **options}, Opened(store))


def value(answer: Answer, name: str) -> float:
    return answer.result.estimates[name].value


@pytest.mark.parametrize("weighted", [False, True])
def test_that_published_exponents_come_out_of_given_optima(shared_data: Path, weighted: bool) -> None:
    data = opened(
        [str(shared_data / "scaling/isoflop_porian/optima.csv")], column_map(["params=n_star", "tokens=t_star"], [])
    )
    options = {"variant": "config", "weighted": weighted, "spread": "n_star_std", "draws": 100}
    answer = ask(analysis("scaling.isoflop"), options, data)
    for config, exponents in OPTIMA.items():
        assert value(answer, f"{config}/params_exponent") == pytest.approx(exponents[weighted], abs=2e-4)


def test_that_exponents_from_the_points_are_near_the_published_ones(shared_data: Path) -> None:
    data = opened([str(shared_data / "scaling/isoflop_porian/points.csv")], column_map(["params=n", "tokens=t"], []))
    answer = ask(analysis("scaling.isoflop"), {"variant": "config", "profile": "akima", "draws": 100}, data)
    for config, (exponent, _) in OPTIMA.items():
        assert value(answer, f"{config}/params_exponent") == pytest.approx(exponent, abs=0.005)


@pytest.mark.parametrize("profile", ["parabola", "akima"])
def test_that_the_growth_of_a_known_law_is_found(profile: str) -> None:
    answer = answered(profiles(), profile=profile)
    assert value(answer, "params_exponent") == pytest.approx(LAW.exponents[0], abs=0.01)
    assert value(answer, "tokens_exponent") == pytest.approx(1 - LAW.exponents[0], abs=0.01)
    best, _ = LAW.optimum(value(answer, "budgets") and 1e22)
    assert value(answer, "target_params") == pytest.approx(float(best), rel=0.05)


def test_that_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    exact = value(answered(profiles(), profile="parabola"), "params_exponent")
    inside = []
    for seed in range(25):
        estimate = answered(profiles(0.003, seed=seed)).result.estimates["params_exponent"]
        inside.append(estimate.low <= exact <= estimate.high)
    assert np.mean(inside) > 0.8


@settings(deadline=None, max_examples=10)
@given(scale=st.floats(0.1, 10), seed=st.integers(0, 100))
def test_that_units_of_loss_and_the_order_of_runs_change_no_exponent(scale: float, seed: int) -> None:
    frame = profiles(0.003)
    other = frame.sample(frac=1, random_state=seed).assign(loss=lambda rows: scale * rows["loss"])
    one, again = (value(answered(part, draws=100), "params_exponent") for part in (frame, other))
    assert again == pytest.approx(one, rel=1e-9)


def test_that_budgets_without_a_valley_are_left_out_and_named() -> None:
    frame = profiles()
    first = frame["flops"] == frame["flops"].min()
    frame.loc[first, "loss"] = 3 - 0.1 * np.arange(int(first.sum()))
    answer = answered(frame)
    assert value(answer, "budgets") == 5
    table = answer.result.tables["optima"]
    assert table["left_out"].iloc[0]
    assert any(
        "1.000e+18 FLOPs left out" in note or "1e+18" in note or "1.00e+18" in note for note in answer.result.notes
    )


def test_that_two_budgets_or_three_sizes_are_too_few() -> None:
    with pytest.raises(TooLittleData, match="at least 3 budgets"):
        answered(profiles(budgets=2))
    with pytest.raises(TooLittleData, match="3 sizes, 4 needed"):
        answered(profiles(sizes=3))


def test_that_the_target_can_be_dragged_and_a_vertex_selects_its_budget() -> None:
    frame = profiles()
    answer = answered(frame)
    spec = answer.figure()
    assert {mark.option for _, mark in spec.marks() if isinstance(mark, Rule) and mark.option} == {"target_flops"}
    marks = {(panel.key, mark.key): mark for panel, mark in spec.marks()}
    clause = marks["params", "/vertices"].origin.clause([2])  # type: ignore[union-attr]
    chosen = frame[clause.mask(frame)]
    assert len(chosen) == 7
    assert chosen["flops"].nunique() == 1
