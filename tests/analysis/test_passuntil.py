from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nbinom

from runglass.analysis.asking import Answer, Opened, ask, column_map, opened
from runglass.analysis.registry import analysis
from runglass.analysis.scaling.passuntil import fit_task, growth, negative_binomial_interval, pass_rate
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Rule
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

SIZES = np.geomspace(3e7, 1e9, 6)
C, ALPHA = 800.0, 0.3
LIMIT = 100_000


def rate_of(N: np.ndarray | float, bend: float = 0.0) -> np.ndarray:
    u = np.log(np.asarray(N, float))
    return np.asarray(np.exp(-np.exp(np.log(C) - ALPHA * u + bend / 2 * (u - np.log(SIZES).mean()) ** 2)))


def counts(items: int = 80, stop_after: int = 2, seed: int = 0, bend: float = 0.0, spread: float = 0.0) -> pd.DataFrame:
    """Give draws until so many pass, at most LIMIT; items differ by a factor of -log of their rate."""
    generator = np.random.default_rng(seed)
    difficulty = np.exp(spread * generator.standard_normal(items))
    rows = []
    for N in SIZES:
        p = np.maximum(rate_of(N, bend) ** difficulty, 1e-7)
        draws = stop_after + generator.negative_binomial(stop_after, p)
        for item, made in enumerate(draws):
            capped = made > LIMIT
            passes = generator.binomial(LIMIT, p[item]) if capped else stop_after
            rows.append(
                {"model": f"m{N:.2g}", "params": N, "item": f"q{item}", "draws": min(made, LIMIT),
                 "passes": min(int(passes), stop_after - 1) if capped else passes}
            )  # fmt: skip
    return pd.DataFrame(rows)


def asked(frame: pd.DataFrame, **options: Any) -> Answer:
    store = RunStore().adding([TableRows("draws.csv", "test", frame, "predictions")])
    return ask(analysis("scaling.passuntil"), {"draws": 300, "stop_after": 2, **options}, Opened(store))


@cache
def answered() -> Answer:
    return asked(counts())


def test_that_items_that_always_pass_have_rate_one() -> None:
    assert pass_rate(np.array([1, 2, 7]), np.array([1, 2, 7]), stop_after=2) == pytest.approx(1)
    assert pass_rate(np.array([1, 2, 7]), np.array([1, 2, 7]), stop_after=1) == pytest.approx(1)
    assert pass_rate(np.array([3]), np.array([3]), stop_after=None) == pytest.approx(1)


@pytest.mark.parametrize(("r", "p"), [(2, 0.3), (5, 0.02), (3, 0.9)])
def test_that_one_less_over_one_less_is_unbiased_and_the_likelihood_is_not(r: int, p: float) -> None:
    K = r + np.arange(20_000)
    weight = nbinom.pmf(K - r, r, p)
    assert float(weight @ pass_rate(np.full(len(K), r), K, stop_after=r)) == pytest.approx(p, rel=1e-6)
    assert float(weight @ pass_rate(np.full(len(K), r), K, stop_after=r, unbiased=False)) > 1.01 * p


def test_that_items_given_up_have_passes_over_draws() -> None:
    assert pass_rate(np.array([1, 0]), np.array([50, 50]), stop_after=2) == pytest.approx([0.02, 0.0])


@pytest.mark.parametrize(("r", "K"), [(1, 1), (1, 40), (2, 300), (5, 9)])
def test_that_an_interval_ends_where_the_tails_of_the_negative_binomial_do(r: int, K: int) -> None:
    low, high = (float(end) for end in negative_binomial_interval(r, K, 0.9))
    assert nbinom.cdf(K - r, r, low) == pytest.approx(0.05, rel=1e-6)
    if r < K:
        assert nbinom.sf(K - r - 1, r, high) == pytest.approx(0.05, rel=1e-6)
    else:
        assert high == 1


def test_that_a_law_without_noise_is_recovered() -> None:
    law = fit_task(SIZES, rate_of(SIZES), rate_of(SIZES)[None])
    assert law.parameters == pytest.approx((C, ALPHA), rel=1e-5)
    assert law.bend == pytest.approx(0, abs=1e-9)
    with pytest.raises(TooLittleData, match="3 sizes"):
        fit_task(SIZES[:2], rate_of(SIZES[:2]), rate_of(SIZES[:2])[None])


def test_that_growth_is_named_by_the_sign_of_the_bend() -> None:
    assert growth(-0.1, -0.2, -0.01) == "accelerated emergence"
    assert growth(0.1, 0.01, 0.2) == "slower than the law"
    assert growth(-0.1, -0.2, 0.01) == "as the law"
    assert growth(np.nan, np.nan, np.nan) == "too few sizes"


def test_that_the_largest_model_is_forecast_from_rates_near_zero() -> None:
    answer = answered()
    rates = answer.result.tables["rates"]
    assert rates["rate"].iloc[0] < 0.05
    held = answer.result.tables["held_out"]
    assert held["low"].iloc[0] <= float(rate_of(SIZES[-1])) <= held["high"].iloc[0]
    assert answer.result.estimates["alpha"].low <= ALPHA <= answer.result.estimates["alpha"].high
    assert answer.result.estimates["target_size"].value == pytest.approx(4e9, rel=0.01)


def test_that_a_bent_curve_is_emergence_and_is_not_to_be_extrapolated() -> None:
    answer = asked(counts(items=150, stop_after=5, bend=-0.25), stop_after=5)
    assert "accelerated emergence" in answer.result.summary()
    assert "bent" in answer.figure().subtitle
    straight = asked(counts(items=150, stop_after=5), stop_after=5)
    assert "emergence" not in straight.result.summary()


def test_that_items_of_unequal_difficulty_are_forecast_one_by_one() -> None:
    frame = counts(items=100, stop_after=20, spread=0.7, seed=3)
    held = asked(frame, stop_after=20).result.tables["held_out"].iloc[0]
    # The mean of laws is no law: fitted item by item the error is smaller.
    assert abs(held["item_by_item"] / held["actual"] - 1) < abs(held["predicted"] / held["actual"] - 1)


def test_that_capped_items_are_counted_as_censored() -> None:
    frame = counts()
    frame.loc[(frame["params"] == SIZES[0]) & (frame["item"] == "q0"), ["draws", "passes"]] = [LIMIT, 0]
    answer = asked(frame)
    assert answer.result.tables["rates"]["capped"].iloc[0] == 1
    assert any("censored" in note for note in answer.result.notes)


def test_that_rates_cover_the_truth_about_as_often_as_they_say() -> None:
    truth = [
        float(np.mean([rate_of(N) ** np.exp(0.7 * z) for z in np.random.default_rng(9).standard_normal(50_000)]))
        for N in SIZES[-1:]
    ]
    covered = []
    for seed in range(40):
        frame = counts(items=60, stop_after=4, spread=0.7, seed=seed)
        row = asked(frame, stop_after=4, draws=200, level=0.9, hold_out=0).result.tables["rates"].iloc[-1]
        covered.append(row["low"] <= truth[0] <= row["high"])
    assert np.mean(covered) == pytest.approx(0.9, abs=0.11)


def test_that_several_temperatures_are_refused() -> None:
    frame = counts(items=5)
    with pytest.raises(AnalysisError, match="several temperatures"):
        asked(frame.assign(temperature=np.where(frame["item"] == "q0", 0.2, 0.8)))


def test_that_a_table_of_draws_needs_columns_of_counts() -> None:
    frame = counts(items=5).rename(columns={"passes": "hits"})
    with pytest.raises(AnalysisError, match="which draws passed"):
        asked(frame)
    assert asked(frame, made="draws", passed="hits", hold_out=0).result.estimates["alpha"].value > 0


def test_that_counts_are_read_through_the_mapper(tmp_path: Path) -> None:
    counts(items=30).rename(columns={"item": "problem", "params": "n_parameters"}).to_csv(
        tmp_path / "d.csv", index=False
    )
    data = opened([str(tmp_path)], column_map(["item=problem", "params=n_parameters"], []))
    answer = ask(analysis("scaling.passuntil"), {"draws": 100, "stop_after": 2}, data)
    assert answer.result.estimates["alpha"].value == pytest.approx(ALPHA, abs=0.1)


def test_that_the_target_can_be_dragged() -> None:
    assert [mark.option for _, mark in answered().figure().marks() if isinstance(mark, Rule) and mark.option] == [
        "target_size"
    ]


def test_that_sizes_may_stand_in_the_runs_of_the_same_names() -> None:
    frame = counts(items=30)
    sizes = frame.drop_duplicates("model")[["model", "params"]].rename(columns={"model": "run"})
    tables = [
        TableRows("draws.csv", "test", frame.drop(columns="params"), "predictions"),
        TableRows("sizes.csv", "test", sizes, "runs"),
    ]
    told = ask(analysis("scaling.passuntil"), {"draws": 100, "stop_after": 2}, Opened(RunStore().adding(tables)))
    own = asked(frame, draws=100)
    assert told.question.size == "params"
    assert told.result.estimates["alpha"].value == own.result.estimates["alpha"].value
    with pytest.raises(AnalysisError, match="how large the models are"):
        asked(frame.drop(columns="params"))
    with pytest.raises(AnalysisError, match="'width'"):
        asked(frame, size="width")


def test_that_of_one_item_the_interval_is_that_of_its_draws() -> None:
    frame = counts(items=1).assign(draws=[3000, 900, 300, 90, 30, 9], passes=2)
    rates = asked(frame).result.tables["rates"].set_index("model")
    for row in frame.to_dict("records"):
        low, high = negative_binomial_interval(2, row["draws"], 0.95)
        assert rates.loc[row["model"], ["low", "high"]].tolist() == pytest.approx([float(low), float(high)])
    never = negative_binomial_interval(0, 50, 0.9)
    assert never == (0.0, pytest.approx(1 - 0.05 ** (1 / 50)))
    assert nbinom.sf(50 - 1, 1, never.high) == pytest.approx(0.05, rel=1e-6)
