from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls
from statsmodels.tools.eval_measures import aicc

from runglass.analysis.power_fit import (
    Objective,
    Powers,
    Term,
    best_factors,
    draws_of,
    fit,
    fit_powers,
    identification,
    log_likelihood,
    minimise,
    profile,
    profile_interval,
    profile_statistic,
    refits,
)

TRUTH = {"A": 482.0, "B": 2085.0, "E": 1.8172, "alpha": 0.3478, "beta": 0.3658}


def grid(n: int = 7) -> tuple[np.ndarray, np.ndarray]:
    N, D = np.meshgrid(np.geomspace(5e7, 1e10, n), np.geomspace(1e9, 3e11, n))
    return N.ravel(), D.ravel()


def form(N: np.ndarray, D: np.ndarray) -> Powers:
    terms = [Term("A", (("alpha", -np.log(N)),)), Term("B", (("beta", -np.log(D)),)), Term("E")]
    return Powers(terms, len(N))


def losses(N: np.ndarray, D: np.ndarray, seed: int | None = None, noise: float = 0.01) -> np.ndarray:
    L = TRUTH["E"] + TRUTH["A"] * N ** -TRUTH["alpha"] + TRUTH["B"] * D ** -TRUTH["beta"]
    return L if seed is None else L * np.exp(noise * np.random.default_rng(seed).standard_t(4, len(N)))


def outward(powers: Powers, theta: np.ndarray) -> dict[str, float]:
    out = powers.outward(theta)
    return {
        name: float(np.exp(value) if name.isupper() else value) for name, value in zip(powers.names, out, strict=True)
    }


@pytest.mark.parametrize("name", ["log-huber", "likelihood", "squares"])
def test_that_a_law_without_noise_is_recovered_under_every_objective(name: str) -> None:
    N, D = grid()
    powers = form(N, D)
    found = fit_powers(powers, losses(N, D), objective=Objective(name))  # type: ignore[arg-type]
    assert outward(powers, found.theta) == pytest.approx(TRUTH, rel=2e-4)


@pytest.mark.parametrize("delta", [1e-3, math.inf])
def test_that_no_search_from_the_grid_of_the_field_ends_lower(delta: float) -> None:
    N, D = grid(5)
    L = losses(N, D, seed=3, noise=0.02)
    powers = form(N, D)
    found = fit_powers(powers, L, objective=Objective("log-huber", delta))

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, state = powers.value(theta[None])
        residual = value[0] - np.log(L)
        psi = np.clip(residual, -delta, delta)
        return float(psi @ (residual - psi / 2)), powers.gradient(state, psi[None])[0]

    reached = []
    for start in product((5, 10), (5, 10), (0.5,), (0.2, 0.8), (0.2, 0.8)):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            ended = minimize(
                objective, powers.inward(np.array(start, float)), jac=True, method="L-BFGS-B",
                options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-9},
            )  # fmt: skip
        reached.append(ended.fun)
    assert found.objective <= np.nanmin(reached) * (1 + 1e-9)


def test_that_gradients_and_jacobians_are_those_of_finite_differences() -> None:
    N, D = grid(4)
    powers = form(N, D)
    generator = np.random.default_rng(0)
    theta = np.array([[0.1, -0.3, 0.5, 0.3, 0.4]])
    outer = generator.normal(size=(1, len(N)))
    _, state = powers.value(theta)
    steps = 1e-6 * np.eye(5)
    numeric = np.stack([(powers.value(theta + s)[0] - powers.value(theta - s)[0])[0] / 2e-6 for s in steps], axis=1)
    assert powers.jacobian(state)[0] == pytest.approx(numeric, abs=1e-8)
    assert powers.gradient(state, outer)[0] == pytest.approx(outer[0] @ numeric, abs=1e-7)


def test_that_factors_are_those_of_non_negative_least_squares() -> None:
    generator = np.random.default_rng(0)
    shapes, y = generator.uniform(0.1, 2, (40, 3, 12)), generator.uniform(1, 3, 12)
    for own, found in zip(shapes, best_factors(shapes, y), strict=True):
        expected, _ = nnls((own / y).T, np.ones(12))
        assert found[expected > 0] == pytest.approx(expected[expected > 0], rel=1e-6)
        assert (found[expected == 0] > 0).all()
        assert (found[expected == 0] < 0.01).all()


def test_that_the_criterion_of_a_fit_is_that_of_statsmodels_up_to_a_constant() -> None:
    N, D = grid(4)
    found = fit_powers(form(N, D), losses(N, D, seed=5), objective=Objective("squares"))
    n = len(N)
    likelihood = -n / 2 * (math.log(2 * math.pi * found.rmse**2) + 1)
    assert found.aicc + n * (math.log(2 * math.pi) + 1) == pytest.approx(aicc(likelihood, n, 6), rel=1e-9)


def test_that_refits_of_a_batch_are_those_of_single_fits() -> None:
    N, D = grid(5)
    L = losses(N, D, seed=1)
    powers = form(N, D)
    found = fit_powers(powers, L, objective=Objective())
    counts = np.random.default_rng(0).multinomial(len(N), np.full(len(N), 1 / len(N)), size=20)
    batch = refits(powers, np.log(L), found, counts)
    single = [fit_powers(powers, L, objective=Objective(), weights=own.astype(float)) for own in counts]

    def cost(theta: np.ndarray, weights: np.ndarray) -> float:
        return Objective().at(powers.value(theta[None])[0][0] - np.log(L), weights)

    ratios = [cost(theta, own) / one.objective for theta, own, one in zip(batch, counts, single, strict=True)]
    assert max(ratios) < 1 + 1e-5
    assert np.median(ratios) == pytest.approx(1, abs=1e-7)


@settings(deadline=None, max_examples=15)
@given(scale=st.floats(1e-3, 1e3), sizes=st.floats(1e-6, 1e3), seed=st.integers(0, 50))
def test_that_units_and_the_order_of_runs_change_nothing(scale: float, sizes: float, seed: int) -> None:
    N, D = grid(4)
    L = losses(N, D, seed=2)
    powers = form(N, D)
    one = outward(powers, fit_powers(powers, L, objective=Objective()).theta)
    order = np.random.default_rng(seed).permutation(len(N))
    again = form(sizes * N[order], D[order])
    other = outward(again, fit_powers(again, scale * L[order], objective=Objective()).theta)
    assert other["alpha"] == pytest.approx(one["alpha"], rel=1e-5)
    assert other["E"] == pytest.approx(scale * one["E"], rel=1e-5)
    assert other["A"] == pytest.approx(scale * one["A"] * sizes ** one["alpha"], rel=1e-3)


def test_that_fixed_parameters_and_bounds_hold() -> None:
    N, D = grid(4)
    powers = form(N, D)
    L = losses(N, D, seed=2)
    low, high = powers.bounds(L, 1e-3, 0.25)
    found = fit_powers(powers, L, objective=Objective(), most=0.25)
    assert set(found.bounds) == {"alpha", "beta"}
    fixed = np.array([False, False, False, True, False])
    start = np.array([[0.0, 0.0, 0.4, 0.22, 0.2]])
    theta, _ = minimise(powers, np.log(L), np.ones(len(L)), start, delta=1e-3, low=low, high=high, fixed=fixed)
    assert theta[0, 3] == 0.22


@pytest.mark.parametrize("name", ["log-huber", "squares"])
def test_that_profile_intervals_are_about_those_of_the_bootstrap(name: str) -> None:
    N, D = grid(8)
    powers = form(N, D)
    L = losses(N, D, seed=6)
    found = fit_powers(powers, L, objective=Objective(name))  # type: ignore[arg-type]
    drawn = draws_of(powers, np.log(L), found, draws=500)
    for place, parameter in enumerate(powers.names):
        low, high = profile_interval(powers, np.log(L), found, parameter)
        ends = np.quantile(drawn.theta[:, place], [0.025, 0.975])
        assert low < found.theta[place] < high
        assert high - low == pytest.approx(ends[1] - ends[0], rel=0.5), parameter


def test_that_the_profile_interval_of_a_line_is_that_of_students_t() -> None:
    # log y = level - alpha x: the interval of least squares is known, but for the F quantile that the likelihood lacks.
    x = np.linspace(0, 3, 60)
    powers = Powers([Term("A", (("alpha", -x),))], len(x))
    y = np.exp(1 - 0.4 * x + 0.05 * np.random.default_rng(0).normal(size=60))
    found = fit_powers(powers, y, objective=Objective("squares"))
    low, high = profile_interval(powers, np.log(y), found, "alpha")
    sd = np.sqrt((found.residuals**2).sum() / 58 / ((x - x.mean()) ** 2).sum())
    assert (low, high) == pytest.approx((found.theta[1] - 1.96 * sd, found.theta[1] + 1.96 * sd), rel=0.03)


def test_that_a_profile_that_never_rises_has_no_interval() -> None:
    N = np.repeat(np.geomspace(1e8, 1e10, 6), 3)
    powers = form(N, 20 * N)
    L = losses(N, 20 * N, seed=0)
    found = fit_powers(powers, L, objective=Objective("squares"))
    assert any(math.isnan(profile_interval(powers, np.log(L), found, name)[0]) for name in powers.names)


def test_that_a_held_parameter_that_goes_with_another_makes_no_search_long() -> None:
    # A and alpha correlate above 0.99: with one held, the other has a hundredth of the room the inverse of the whole tells.
    N, D = grid(6)
    powers = Powers(
        [Term("A", (("alpha", -np.log(N)),)), Term("B", (("beta", -np.log(D)),)), Term("E")], len(N), at_zero="A"
    )
    L = losses(N, D, seed=3)
    found = fit_powers(powers, L, objective=Objective("squares"))
    start = found.theta[None] + np.array([[0.5, 0, 0, 0, 0]])
    fixed = np.array([True, False, False, False, False])
    ends = [
        minimise(powers, np.log(L), np.ones(len(L)), start, delta=math.inf, low=found.low, high=found.high, fixed=fixed,
                 tolerance=1e-14, evaluations=evaluations)[1][0]
        for evaluations in (40, 2000)
    ]  # fmt: skip
    assert ends[0] == pytest.approx(ends[1], rel=1e-9)


def test_that_a_search_along_a_bound_ends_where_scipy_does() -> None:
    N, D = grid(5)
    powers = form(N, D)
    L = losses(N, D, seed=5)
    found = fit_powers(powers, L, objective=Objective("squares"), most=0.3)
    assert "beta" in found.bounds or "alpha" in found.bounds

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, state = powers.value(theta[None])
        residual = value[0] - np.log(L)
        return float(residual @ residual / 2), powers.gradient(state, residual[None])[0]

    bounds = list(zip(found.low, found.high, strict=True))
    ended = minimize(
        objective, found.theta + 0.01, jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-11},
    )  # fmt: skip
    assert found.objective <= ended.fun * (1 + 1e-8)


def test_that_a_profile_is_least_at_the_optimum_and_rises_on_both_sides() -> None:
    N, D = grid(5)
    L = losses(N, D, seed=4)
    powers = form(N, D)
    found = fit_powers(powers, L, objective=Objective("squares"))
    alpha = found.theta[3]
    costs = profile(powers, np.log(L), found, "alpha", alpha + np.array([-0.1, -0.05, 0.0, 0.05, 0.1]))
    assert costs[2] == pytest.approx(found.objective, rel=1e-6)
    assert costs[0] > costs[1] > costs[2] < costs[3] < costs[4]


def test_that_the_likelihood_is_that_of_the_laplace_density_for_a_small_delta() -> None:
    residuals = np.random.default_rng(0).laplace(scale=0.01, size=500)
    b = np.abs(residuals).mean()
    assert log_likelihood(residuals, 1e-4) == pytest.approx(-500 * (math.log(2 * b) + 1), rel=1e-5)


def test_that_one_ratio_of_tokens_to_parameters_is_not_identified() -> None:
    N = np.geomspace(1e8, 1e10, 12)

    def condition(D: np.ndarray) -> float:
        powers = form(N, D)
        theta = powers.inward(np.array([math.log(482), math.log(2085), math.log(1.8), 0.35, 0.35]))
        return identification(
            powers.jacobian(powers.value(theta[None])[1])[0] @ np.linalg.inv(powers.to_outward)
        ).condition

    assert condition(20 * N) > 1e10
    assert condition(np.random.default_rng(0).permutation(20 * N)) < 1e7


def test_that_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    N, D = grid(5)
    covered = []
    for seed in range(40):
        L = losses(N, D, seed=100 + seed)
        powers = form(N, D)
        found = fit_powers(powers, L, objective=Objective())
        drawn = powers.outward(draws_of(powers, np.log(L), found, draws=100, seed=seed).theta)[:, 3:]
        low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
        covered.append((low < [TRUTH["alpha"], TRUTH["beta"]]) & ([TRUTH["alpha"], TRUTH["beta"]] < high))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.1)


def test_that_few_points_get_the_t_of_a_linear_fit_where_the_law_is_linear() -> None:
    x = np.geomspace(1, 100, 7)
    powers = Powers([Term("A", (("alpha", -np.log(x)),))], 7)
    y = 2 * x**-0.5 * np.exp(np.random.default_rng(0).normal(0, 0.01, 7))
    found = fit_powers(powers, y, objective=Objective("squares"))
    drawn = draws_of(powers, np.log(y), found, draws=4000)
    assert drawn.how == "parametric bootstrap, t with 5 degrees of freedom"
    slope, cov = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    assert found.theta[1] == pytest.approx(-slope[0], rel=1e-6)
    spread = np.subtract(*np.quantile(drawn.theta[:, 1], [0.9, 0.1]))
    assert spread == pytest.approx(2 * 1.476 * math.sqrt(cov[0, 0]), rel=0.08)


def test_that_a_law_of_three_exponents_is_recovered() -> None:
    axes = np.meshgrid(np.geomspace(1, 100, 5), np.geomspace(1, 100, 5), np.geomspace(1, 100, 5))
    x, y, z = (np.log(axis.ravel()) for axis in axes)
    powers = Powers([Term("A", (("a", -x),)), Term("B", (("b", -y),)), Term("C", (("c", -z),))], len(x))
    value = 3 * np.exp(-0.3 * x) + 2 * np.exp(-0.8 * y) + 5 * np.exp(-1.2 * z)
    found = fit_powers(powers, value, objective=Objective("squares"))
    expected = {"A": 3, "B": 2, "C": 5, "a": 0.3, "b": 0.8, "c": 1.2}
    outer = dict(zip(powers.names, powers.outward(found.theta), strict=True))
    assert {name: math.exp(one) if name.isupper() else one for name, one in outer.items()} == pytest.approx(
        expected, rel=1e-4
    )


def test_that_a_constant_alone_is_the_geometric_mean() -> None:
    y = np.random.default_rng(0).lognormal(size=30)
    powers = Powers([Term("E")], 30)
    found = fit_powers(powers, y, objective=Objective("squares"))
    assert found.theta[0] == pytest.approx(np.log(y).mean(), rel=1e-8)


def test_that_the_profile_statistic_of_a_likelihood_is_twice_its_fall() -> None:
    N, D = grid(6)
    powers = form(N, D)
    found = fit_powers(powers, losses(N, D, seed=2), objective=Objective("likelihood"))
    costs = found.objective + np.array([0.0, 0.5, 3.0])
    np.testing.assert_allclose(profile_statistic(found, costs), [0.0, 1.0, 6.0])


def test_that_as_many_points_as_parameters_leave_nothing_for_an_interval() -> None:
    x = np.array([1.0, 2.0])
    powers = Powers([Term("A", (("alpha", -np.log(x)),))], 2)
    found = fit_powers(powers, 2 * x**-0.5, objective=Objective("squares"))
    drawn = draws_of(powers, np.log(2 * x**-0.5), found, draws=50)
    assert drawn.how == "no spare runs"
    assert np.isnan(drawn.theta).all()
    assert found.aicc == math.inf
    assert log_likelihood(np.zeros(5)) == math.inf


def test_that_two_clusters_leave_nothing_for_an_interval_and_a_fixed_parameter_has_none() -> None:
    x = np.geomspace(1, 100, 12)
    powers = Powers([Term("A", (("alpha", -np.log(x)),))], 12)
    y = 2 * x**-0.5 * np.exp(np.random.default_rng(0).normal(0, 0.01, 12))
    found = fit_powers(powers, y, objective=Objective("squares"))
    drawn = draws_of(powers, np.log(y), found, draws=50, clusters=np.repeat([0, 1], 6), unit="source")
    assert drawn.how == "no spare sources"
    held = fit(powers, np.log(y), objective=Objective("squares"), starts=found.theta[None], low=np.array([-5.0, 0.5]),
               high=np.array([5.0, 0.5]))  # fmt: skip
    assert held.theta[1] == 0.5
