from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from runglass.analysis.curves.norm_forecast import (
    NormForecast,
    NormForecastQuestion,
    crossing,
    figure,
    fit_log,
)
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import FigureSpec, Rule
from runglass.models.loader import load
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts

DEMO = Path(__file__).parents[2] / "resources" / "demo"
SIZES = np.array([1e6, 1e7, 1e8, 1e9])


def store_of(norms: dict[str, tuple[float, float, list[float]]], tag: str = "attn_logit_max") -> RunStore:
    """Runs with a size, a learning rate and the norms they log."""
    events: list[Any] = []
    for key, (size, lr, values) in norms.items():
        events.append(RunFacts(key, config={"params": size, "learning_rate": lr}))
        events.append(CurvePiece(key, np.arange(len(values)), {tag: np.asarray(values, float)}))
    return RunStore().adding(events)


def powers(exponent: float, lr: float = 0.01, noise: float = 0.0) -> dict[str, tuple[float, float, list[float]]]:
    jitter = np.random.default_rng(0).normal(0, noise, len(SIZES))
    return {
        f"n{size:g}": (size, lr, [1.0, 3 * (size / 1e6) ** exponent * np.exp(e), 2.0])
        for size, e in zip(SIZES, jitter, strict=True)
    }


def asked(store: RunStore, **options: Any) -> tuple[NormForecast, FigureSpec]:
    question = NormForecastQuestion(**options).resolved(store)
    result = question.answer(store)
    return result, figure(question, result)


def test_that_a_power_law_passes_its_threshold_where_algebra_says() -> None:
    result, _ = asked(store_of(powers(0.5, noise=1e-9)))
    # 3 (N / 1e6)^0.5 = 1e4
    assert result.estimates["size_at_threshold"].value == pytest.approx(1e6 * (1e4 / 3) ** 2, rel=1e-4)
    assert result.estimates["exponent"].value == pytest.approx(0.5, abs=1e-6)
    assert "passes 10000 at params" in result.summary()


def test_that_slope_and_its_error_are_those_of_scipy() -> None:
    generator = np.random.default_rng(0)
    x, y = np.repeat(SIZES, 2), np.exp(generator.normal(size=8))
    fit, expected = fit_log(x, y, 1), stats.linregress(np.log(x), np.log(y))
    assert fit.coefficients[1] == pytest.approx(expected.slope)
    assert np.sqrt(fit.covariance[1, 1]) == pytest.approx(expected.stderr)
    assert fit.at(np.ones(1))[0][0] == pytest.approx(expected.intercept)


def test_that_the_interval_of_the_size_is_fiellers() -> None:
    generator = np.random.default_rng(3)
    x = np.repeat(SIZES, 2)
    y = 3 * (x / 1e6) ** 0.5 * np.exp(generator.normal(0, 0.1, len(x)))
    fit = fit_log(x, y, 1)
    found = crossing(fit, 1e4, 1e6, 1e15, 0.95)
    # Fieller's interval of inverse prediction in closed form, for the mean: Draper and Smith (1998), equation 3.2.6.
    u, v, n = np.log(x), np.log(y), len(x)
    slope, _, _, _, error = stats.linregress(u, v)
    t, sxx = stats.t.ppf(0.975, n - 2), np.sum((u - u.mean()) ** 2)
    s, g = error * np.sqrt(sxx), (t * error / slope) ** 2
    ahead = (np.log(1e4) - v.mean()) / slope
    middle = u.mean() + ahead + ahead * g / (1 - g)
    half = t * s / abs(slope) / (1 - g) * np.sqrt(ahead**2 / sxx + (1 - g) / n)
    np.testing.assert_allclose([np.log(found.low), np.log(found.high)], [middle - half, middle + half], atol=0.01)


def test_that_the_interval_covers_as_often_as_it_says() -> None:
    generator, truth, held = np.random.default_rng(0), 1e6 * (1e3 / 3) ** 2, 0
    for _ in range(400):
        y = 3 * (np.repeat(SIZES, 2) / 1e6) ** 0.5 * np.exp(generator.normal(0, 0.1, 8))
        one = crossing(fit_log(np.repeat(SIZES, 2), y, 1), 1e3, 1e6, 1e15, 0.95)
        held += one.low <= truth <= one.high
    assert held / 400 == pytest.approx(0.95, abs=0.03)


def test_that_a_quadratic_finds_the_bend_it_was_made_of() -> None:
    x = np.geomspace(1e6, 1e10, 9)
    u = np.log(x) - np.log(x).mean()
    fit = fit_log(x, np.exp(1 + 0.3 * u + 0.05 * u**2), 2)
    np.testing.assert_allclose(fit.coefficients, [1, 0.3, 0.05], atol=1e-9)


def test_that_a_slope_that_may_be_zero_leaves_the_interval_open() -> None:
    norms = {f"n{i}": (size, 0.01, [value]) for i, (size, value) in enumerate(zip(SIZES, [3, 5, 3, 4], strict=True))}
    result, _ = asked(store_of(norms), threshold=6.0)
    estimate = result.estimates["size_at_threshold"]
    assert not estimate.has_interval
    assert estimate.why_no_interval


def test_that_a_norm_that_falls_is_told_not_to_reach_a_limit_above() -> None:
    result, _ = asked(store_of(powers(-0.4, noise=0.01)))
    assert "does not pass 10000" in result.summary()
    assert np.isnan(result.estimates["size_at_threshold"].value)


def test_that_gradients_are_measured_against_the_epsilon_of_adam() -> None:
    norms = {key: (size, lr, [1e-4 * value for value in values]) for key, (size, lr, values) in powers(-0.5).items()}
    result, _ = asked(store_of(norms, tag="grad_rms"), reduce="last")
    assert result.threshold == 1e-8


def test_that_a_threshold_an_order_higher_moves_the_size_as_the_exponent_says() -> None:
    table = asked(store_of(powers(0.5, noise=1e-9)))[0].tables["thresholds"]
    line = table[table["shape"] == "line"]["size"].to_numpy()
    assert line[2] / line[0] == pytest.approx(10**2, rel=1e-3)


def test_that_norms_are_compared_at_one_learning_rate() -> None:
    other = {f"other-{key}": (size, 0.1, [99.0]) for key, (size, _, _) in list(powers(0.5).items())[:3]}
    result, _ = asked(store_of({**powers(0.5), **other}))
    assert len(result.rows) == 4
    assert any("3 runs at other learning rates" in note for note in result.notes)
    together, _ = asked(store_of({**powers(0.5), **other}), lr=0.0)
    assert len(together.rows) == 7
    with pytest.raises(AnalysisError, match=r"No run has the learning rate 0\.5"):
        asked(store_of(powers(0.5)), lr=0.5)


def test_that_three_sizes_are_too_few() -> None:
    with pytest.raises(TooLittleData, match="4 sizes"):
        asked(store_of(dict(list(powers(0.5).items())[:3])))


def test_that_units_of_size_and_norm_change_no_exponent() -> None:
    plain = fit_log(SIZES, np.array([1.0, 3.0, 4.0, 9.0]), 1)
    other = fit_log(SIZES / 1e6, 7 * np.array([1.0, 3.0, 4.0, 9.0]), 1)
    assert other.coefficients[1] == pytest.approx(plain.coefficients[1])
    assert other.sd == pytest.approx(plain.sd)


def test_that_the_threshold_can_be_dragged() -> None:
    _, spec = asked(store_of(powers(0.5)))
    (rule,) = [mark for _, mark in spec.marks() if isinstance(mark, Rule) and mark.option]
    assert (rule.at, rule.option) == (1e4, "threshold")


def test_that_gradient_norms_of_the_sample_are_forecast_from_its_sizes() -> None:
    result, _ = asked(load([DEMO / "scaling"]))
    assert result.tag == "train/grad_norm"
    assert result.rows["size"].nunique() == 12
    assert any("cannot be told apart" in note for note in result.notes)
    assert result.estimates["exponent"].has_interval


def test_that_the_curvature_and_its_interval_are_those_of_statsmodels() -> None:
    from statsmodels.regression.linear_model import OLS

    generator = np.random.default_rng(3)
    sizes = np.geomspace(1e6, 1e10, 9)
    x = np.log(sizes)
    y = 1 + 0.2 * (x - x.mean()) + 0.03 * (x - x.mean()) ** 2 + 0.05 * generator.normal(size=9)
    norms = {
        f"n{i}": (size, 0.01, [float(np.exp(value))]) for i, (size, value) in enumerate(zip(sizes, y, strict=True))
    }
    result, _ = asked(store_of(norms), shape="quadratic")
    fit = OLS(y, np.vander(x, 3)).fit()
    found = result.estimates["curvature"]
    assert found.value == pytest.approx(fit.params[0], rel=1e-5)
    assert (found.low, found.high) == pytest.approx(tuple(fit.conf_int()[0]), rel=1e-5)


def test_that_what_a_forecast_of_norms_lacks_is_said() -> None:
    store = store_of(powers(0.5, noise=0.01))
    for options, said in (
        ({"size": "width"}, "No run states 'width'"),
        ({"rate": "width"}, "No run states 'width'"),
        ({"threshold": -1.0}, "must be above 0"),
        ({"tag": "attn_logit_max", "runs": ("n1",)}, "logs 'attn_logit_max' above 0"),
    ):
        with pytest.raises(AnalysisError, match=said):
            asked(store, **options)  # type: ignore[arg-type]
    with pytest.raises(AnalysisError, match="attention logits or the norm of its gradient"):
        asked(store_of(powers(0.5), tag="loss"))
    some, _ = asked(
        store_of(powers(0.5, noise=0.01) | {"more": (1e10, 0.01, [1.0, 400.0])}),
        runs=("n1e+06", "n1e+07", "n1e+08", "n1e+09"),
    )
    assert len(some.rows) == 4
