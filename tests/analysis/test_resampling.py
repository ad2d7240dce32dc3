from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from runglass.analysis import resampling
from runglass.models.engine import Processes
from runglass.models.errors import Cancelled
from runglass.models.progress import CancellableProgress


def test_that_the_t_interval_is_that_of_scipy() -> None:
    values = np.array([3.1, 2.7, 3.6, 2.9, 3.3])
    ours = resampling.t_interval(values, 0.9)
    theirs = stats.t.interval(0.9, len(values) - 1, values.mean(), stats.sem(values))
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_that_one_value_has_no_interval() -> None:
    assert np.isnan(resampling.t_interval(np.array([1.0]))).all()
    assert np.isnan(resampling.sd_interval(np.array([1.0]))).all()


def test_that_the_one_sided_t_test_is_that_of_scipy() -> None:
    values = np.array([3.1, 2.7, 3.6, 2.9, 3.3])
    expected = stats.ttest_1samp(values, 3.2, alternative="less")
    t, p = resampling.t_test(values.mean(), values.std(ddof=1) / np.sqrt(5), 4, at=3.2)
    assert (t, p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)


def test_that_the_interval_of_a_standard_deviation_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    samples = generator.normal(0, 2, (4000, 5))
    ends = np.array([resampling.sd_interval(sample, 0.9) for sample in samples])
    assert np.mean((ends[:, 0] <= 2) & (ends[:, 1] >= 2)) == pytest.approx(0.9, abs=0.02)


@given(n=st.integers(1, 500), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.95, 0.99]))
def test_that_the_wilson_interval_is_that_of_statsmodels_and_holds_the_proportion(
    n: int, share: float, level: float
) -> None:
    successes = round(share * n)
    low, high = resampling.wilson(successes, n, level)
    expected = proportion_confint(successes, n, 1 - level, method="wilson")
    np.testing.assert_allclose((low, high), expected, atol=1e-12)
    assert 0 <= low <= successes / n <= high <= 1


def test_that_a_proportion_of_nothing_has_no_interval() -> None:
    low, high = resampling.wilson(np.array([0, 1]), np.array([0, 2]))
    assert np.isnan([low[0], high[0]]).all()
    assert not np.isnan([low[1], high[1]]).any()


@given(b=st.integers(0, 300), c=st.integers(0, 300))
def test_that_the_exact_mcnemar_test_is_the_binomial_test(b: int, c: int) -> None:
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert resampling.mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)
    assert resampling.mcnemar_exact(b, c) == resampling.mcnemar_exact(c, b)


def test_that_the_catalogue_value_of_mcnemar_is_met() -> None:
    assert resampling.mcnemar_exact(30, 12) == pytest.approx(0.00792, abs=5e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_that_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    np.testing.assert_allclose(resampling.holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-12)


def test_that_a_test_that_was_not_made_does_not_count_for_holm() -> None:
    np.testing.assert_allclose(resampling.holm([0.01, np.nan, 0.03]), [0.02, np.nan, 0.03])


def test_that_no_resampled_p_value_is_zero() -> None:
    assert resampling.p_of_draws(0, 1999) == 1 / 2000


def weighted_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts @ values / counts.sum(axis=1))


def test_that_the_spread_of_resampled_means_is_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(5, 2, 200)
    means = resampling.bootstrap(partial(weighted_mean, values), 200, draws=4000, seed=3)
    assert means.shape == (4000,)
    assert means.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.05)
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)


def test_that_the_same_seed_gives_the_same_draws_and_another_seed_others() -> None:
    values = np.arange(30.0)
    first = resampling.bootstrap(partial(weighted_mean, values), 30, draws=500, seed=1)
    np.testing.assert_array_equal(first, resampling.bootstrap(partial(weighted_mean, values), 30, draws=500, seed=1))
    assert (first != resampling.bootstrap(partial(weighted_mean, values), 30, draws=500, seed=2)).any()


@pytest.mark.allow_leaks  # joblib keeps its workers for the next time
def test_that_processes_draw_what_one_process_draws() -> None:
    values = np.arange(30.0)
    serial = resampling.bootstrap(partial(np.dot, b=values), 30, draws=450, seed=1)
    spread = resampling.bootstrap(partial(np.dot, b=values), 30, draws=450, seed=1, engine=Processes(2))
    np.testing.assert_array_equal(serial, spread)


def test_that_strata_keep_their_sizes() -> None:
    strata = np.array([0, 0, 0, 1, 1])
    counts = resampling.bootstrap(lambda counts: counts, 5, draws=300, strata=strata)
    np.testing.assert_array_equal(counts[:, :3].sum(axis=1), 3)
    np.testing.assert_array_equal(counts[:, 3:].sum(axis=1), 2)


def test_that_units_held_together_are_drawn_as_often_as_they_stand_for() -> None:
    counts = resampling.bootstrap(lambda counts: counts, np.array([90, 10]), draws=2000)
    np.testing.assert_array_equal(counts.sum(axis=1), 100)
    assert counts[:, 0].mean() == pytest.approx(90, abs=0.5)


@settings(deadline=None)
@given(draws=st.integers(1, 1000), size=st.integers(1, 300))
def test_that_blocks_hold_every_draw_once(draws: int, size: int) -> None:
    blocks = resampling.draw_blocks(draws, 0, size)
    assert sum(block.draws for block in blocks) == draws
    assert [block.number for block in blocks] == list(range(len(blocks)))


def test_that_a_bootstrap_can_be_cancelled() -> None:
    progress = CancellableProgress()
    progress.cancel()
    with pytest.raises(Cancelled):
        resampling.bootstrap(lambda counts: counts, 5, progress=progress)


def test_that_the_percentile_interval_leaves_undefined_draws_out() -> None:
    draws = np.concatenate([np.arange(101.0), [np.nan] * 10])
    assert resampling.percentile_interval(draws, 0.9) == pytest.approx((5, 95))
    table = np.stack([draws, np.full(111, np.nan)], axis=1)
    low, high = resampling.percentile_interval(table, 0.9)
    np.testing.assert_allclose(low, [5, np.nan])
    np.testing.assert_allclose(high, [95, np.nan])


def test_that_expanded_percentiles_of_a_mean_cover_as_students_t_does() -> None:
    n = 10
    covered = []
    for seed in range(400):
        generator = np.random.default_rng(seed)
        values = generator.standard_normal(n)
        means = values[generator.integers(0, n, (400, n))].mean(axis=1)
        narrow, wide = (
            resampling.percentile_interval(means, 0.9),
            resampling.percentile_interval(means, resampling.expanded_level(0.9, n)),
        )
        covered.append([narrow[0] <= 0 <= narrow[1], wide[0] <= 0 <= wide[1]])
    plain, expanded = np.mean(covered, axis=0)
    assert plain < 0.88
    assert expanded == pytest.approx(0.9, abs=0.03)


def test_that_expanded_levels_are_those_of_many_units_and_of_the_normal_in_the_end() -> None:
    assert resampling.expanded_level(0.95, 10**7) == pytest.approx(0.95, abs=1e-6)
    assert resampling.expanded_level(0.95, 13, 4) > resampling.expanded_level(0.95, 26, 4) > 0.95
    assert resampling.expanded_level(0.95, 4, 4) == 0.95


def test_that_an_end_among_infinite_draws_is_infinite_and_one_among_finite_draws_is_a_number() -> None:
    draws = np.concatenate([np.arange(50.0), np.full(50, np.inf)])
    assert resampling.percentile_interval(draws, 0.9) == pytest.approx((4.95, np.inf))
    both = np.stack([draws, np.full(100, np.inf), np.full(100, np.nan), np.arange(100.0)], axis=1)
    low, high = resampling.percentile_interval(both, 0.9)
    np.testing.assert_allclose(low, [4.95, np.inf, np.nan, 4.95])
    np.testing.assert_allclose(high, [np.inf, np.inf, np.nan, 94.05])
    assert resampling.percentile_interval(-draws, 0.9).low == -np.inf
    apart = np.repeat([-np.inf, np.inf], 50)
    assert resampling.percentile_interval(apart, 0.9) == (-np.inf, np.inf)


def test_that_a_centred_interval_of_no_number_has_no_ends() -> None:
    low, high = resampling.centred_interval(1.0, np.array([np.nan, np.inf]))
    assert np.isnan([low, high]).all()
