from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare, kendalltau

from runglass.analysis import rank_correlation
from runglass.analysis.rank_correlation import (
    Concordance,
    PairOrders,
    average_linkage_order,
    jackknife_interval,
    kendall_matrix,
    kendall_w,
    midranks,
    tau_intervals,
)

KENDALL = np.array([[1, 1], [2, 3], [2, 2], [3, 2], [4, 5], [4, 4]], dtype=float)
"""Of analyses_1, rank.kendall: P = 11, Q = 1, T_x = 2, T_y = 1."""


def by_scipy(columns: np.ndarray) -> np.ndarray:
    k = columns.shape[1]
    taus = np.full((k, k), np.nan)
    for a in range(k):
        for b in range(k):
            both = ~np.isnan(columns[:, a]) & ~np.isnan(columns[:, b])
            if np.count_nonzero(both) > 1:
                taus[a, b] = kendalltau(columns[both, a], columns[both, b]).statistic
    return taus


def with_ties_and_gaps(seed: int, n: int, k: int, *, values: int = 6, missing: float = 0.2) -> np.ndarray:
    generator = np.random.default_rng(seed)
    columns = generator.integers(0, values, (n, k)).astype(float)
    columns[generator.random((n, k)) < missing] = np.nan
    return columns


def test_that_the_published_example_with_ties_comes_out() -> None:
    assert kendall_matrix(KENDALL)[0, 1] == pytest.approx(0.74125, abs=5e-6)
    assert kendall_matrix(KENDALL)[0, 1] == pytest.approx(10 / np.sqrt(14 * 13), abs=1e-15)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000), n=st.integers(2, 25), values=st.integers(1, 9), missing=st.sampled_from([0, 0.1, 0.5])
)
def test_that_all_pairs_equal_scipy_with_ties_and_gaps(seed: int, n: int, values: int, missing: float) -> None:
    columns = with_ties_and_gaps(seed, n, 5, values=values, missing=missing)
    expected = by_scipy(columns)
    np.testing.assert_allclose(kendall_matrix(columns), expected, atol=1e-12)
    orders = PairOrders.of(columns)
    np.testing.assert_allclose(orders.matrix(), expected, atol=1e-12)
    np.testing.assert_allclose(orders.against(2), expected[2], atol=1e-12)


def test_that_sorting_and_blocks_give_what_one_product_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = with_ties_and_gaps(1, 60, 4)
    whole = kendall_matrix(columns)
    monkeypatch.setattr(rank_correlation, "_MOST_CELLS", 500)
    np.testing.assert_array_equal(kendall_matrix(columns), whole)
    monkeypatch.setattr(rank_correlation, "_MOST_BY_PAIRS", 10)
    np.testing.assert_allclose(kendall_matrix(columns), whole, atol=1e-12)


def test_that_infinities_and_nearly_equal_values_keep_their_order() -> None:
    columns = np.array([[-np.inf, 0], [0.0, 1], [1e-300, 2], [np.inf, 3]])
    assert kendall_matrix(columns)[0, 1] == 1


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.2]))
def test_that_a_resample_by_weights_equals_the_resampled_table(seed: int, missing: float) -> None:
    columns = with_ties_and_gaps(seed, 12, 4, missing=missing)
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(12, np.full(12, 1 / 12), size=3)
    orders = PairOrders.of(columns)
    for row, against, matrix in zip(
        counts, orders.against_in_draws(1, counts), orders.matrices_in_draws(counts), strict=True
    ):
        expected = by_scipy(np.repeat(columns, row, axis=0))
        np.testing.assert_allclose(against, expected[1], atol=1e-12)
        np.testing.assert_allclose(matrix, expected, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_that_concordance_agrees_with_friedmans_chi_square(seed: int) -> None:
    columns = with_ties_and_gaps(seed, 9, 4, missing=0, values=12)
    chi_square = friedmanchisquare(*columns).statistic  # its treatments are our objects
    assert kendall_w(columns) == pytest.approx(chi_square / (4 * 8), abs=1e-12)
    counts = np.random.default_rng(seed).multinomial(9, np.full(9, 1 / 9), size=2)
    drawn = Concordance.of(columns).in_draws(counts)
    for row, w in zip(counts, drawn, strict=True):
        assert w == pytest.approx(kendall_w(np.repeat(columns, row, axis=0)), abs=1e-12)


def test_that_equal_orders_agree_fully_and_constants_not_at_all() -> None:
    columns = np.stack([np.arange(7.0), np.arange(7.0) ** 3, -np.arange(7.0), np.ones(7)], axis=1)
    taus = kendall_matrix(columns)
    assert (taus[0, 1], taus[0, 2]) == (1, -1)
    assert np.isnan(taus[3]).all()
    assert kendall_w(columns[:, :2]) == 1


def test_that_the_interval_of_tau_covers_what_it_says() -> None:
    generator = np.random.default_rng(3)
    rho = 0.5
    truth = 2 / np.pi * np.arcsin(rho)
    for n in (7, 25):
        held = []
        for repeat in range(200):
            pairs = generator.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=n)
            low, high = tau_intervals(PairOrders.of(pairs), 0, draws=300, seed=repeat)
            held.append(np.isnan(low[1]) or low[1] <= truth <= high[1])
        assert np.mean(held) >= 0.90


def test_that_fewer_than_six_objects_have_no_interval() -> None:
    low, high = tau_intervals(PairOrders.of(np.random.default_rng(0).normal(size=(5, 2))), 0)
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_that_the_jackknife_of_a_perfect_order_gives_no_interval() -> None:
    low, high = jackknife_interval(np.array([1.0]), np.ones((8, 1)))
    assert np.isnan([low, high]).all()


def test_that_ranks_share_ties_and_count_from_the_highest() -> None:
    np.testing.assert_array_equal(midranks(np.array([[3.0], [1], [3], [np.nan]]))[:, 0], [1.5, 3, 1.5, np.nan])


def test_that_what_is_close_stands_together() -> None:
    distances = 1 - np.kron(np.eye(2), np.ones((3, 3)))
    mixed = np.array([0, 3, 1, 4, 2, 5])
    order = mixed[average_linkage_order(distances[np.ix_(mixed, mixed)])]
    assert {frozenset(order[:3] // 3), frozenset(order[3:] // 3)} == {frozenset({0}), frozenset({1})}
