from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri

from runglass.analysis.robustness.accuracy_curve import (
    AccuracyCurve,
    AccuracyCurveQuestion,
    aicc,
    curvature_test,
    figure,
    fit,
)
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Points
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame, table: str = "scores") -> RunStore:
    return RunStore().adding([TableRows("scores.csv", "test", frame, table)])


def scores(x: np.ndarray, y: np.ndarray, models: int = 1, **columns: Any) -> pd.DataFrame:
    """Scores on 'known' and 'rare', the checkpoints dealt out to some models."""
    model = [f"m{i % models}" for i in range(len(x))]
    step = [i // models for i in range(len(x))]
    parts = [
        pd.DataFrame({"model": model, "step": step, "task": task, "metric": "accuracy", "value": value})
        for task, value in (("known", x), ("rare", y))
    ]
    return pd.concat(parts).assign(**columns)


def asked(frame: pd.DataFrame, **options: Any) -> AccuracyCurve:
    return AccuracyCurveQuestion(**{"draws": 200, **options}).answer(store_of(frame))


@pytest.fixture
def bent() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    x = generator.uniform(0.3, 0.9, 60)
    return x, 0.5 - 1.1 * x + 1.2 * x**2 + generator.normal(0, 0.01, 60)


def test_that_the_f_test_is_that_of_statsmodels(bent: tuple[np.ndarray, np.ndarray]) -> None:
    from statsmodels.regression.linear_model import OLS

    x, y = bent
    line, parabola = (OLS(y, np.vander(x, k)).fit() for k in (2, 3))
    f_value, p, df = parabola.compare_f_test(line)
    assert df == 1
    assert curvature_test(x, y) == pytest.approx((f_value, p))
    assert fit(x, y, "parabola") == pytest.approx(parabola.params[::-1])
    # The log-likelihood of statsmodels holds constants that are the same for all fits, and it does not count the variance.
    aic = [-2 * model.llf + 2 * (len(model.params) + 1) for model in (line, parabola)]
    correction = [2 * k * (k + 1) / (60 - k - 1) for k in (3, 4)]
    ours = [aicc(x, y, name, fit(x, y, name)) for name in ("line", "parabola")]
    expected = (aic[1] + correction[1]) - (aic[0] + correction[0])
    assert ours[1] - ours[0] == pytest.approx(expected)


def test_that_a_bend_with_its_turn_in_range_is_a_moon(bent: tuple[np.ndarray, np.ndarray]) -> None:
    result = asked(scores(*bent, models=10))
    e = result.estimates
    assert e["curvature"].low < 1.2 < e["curvature"].high
    assert e["vertex"].low < 1.1 / 2.4 < e["vertex"].high
    assert e["moon"].value == 1
    assert e["p_curvature"].value < 1e-6
    assert "a moon" in result.summary()
    fits = result.tables["fits"].set_index("fit")
    assert fits.loc["parabola", "aicc_above_best"] == 0


def test_that_a_straight_line_is_no_moon() -> None:
    x = np.linspace(0.2, 0.9, 30)
    result = asked(scores(x, 0.8 * x - 0.1 + 0.01 * np.resize([1, -1, -1, 1], 30)))
    assert result.estimates["moon"].value == 0
    assert result.estimates["slope"].value == pytest.approx(0.8, abs=0.01)
    exact = asked(scores(x, 0.8 * x))
    assert exact.estimates["p_curvature"].value == 1
    assert exact.estimates["moon"].value == 0


def test_that_a_line_between_probits_is_found_as_one() -> None:
    x = np.linspace(0.2, 0.98, 40)
    y = ndtr(-0.7 + 0.9 * ndtri(x))
    assert fit(x, y, "probit line") == pytest.approx([-0.7, 0.9])
    fits = asked(scores(x, y)).tables["fits"].set_index("fit")
    assert fits.loc["probit line", "aicc_above_best"] == 0


def test_that_chance_bends_a_line_no_more_often_than_the_level() -> None:
    generator = np.random.default_rng(0)
    p = []
    for _ in range(400):
        x = generator.uniform(0.3, 0.9, 25)
        p.append(curvature_test(x, 0.7 * x + generator.normal(0, 0.02, 25))[1])
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_that_one_point_a_model_has_the_t_interval_of_the_slope() -> None:
    from statsmodels.regression.linear_model import OLS

    generator = np.random.default_rng(5)
    x = generator.uniform(0.4, 0.9, 6)
    y = 0.6 * x + generator.normal(0, 0.02, 6)
    result = asked(scores(x, y, models=6))
    expected = OLS(y, np.vander(x, 2)).fit().conf_int()[0]
    assert (result.estimates["slope"].low, result.estimates["slope"].high) == pytest.approx(tuple(expected))
    assert not result.estimates["curvature"].has_interval


def test_that_the_easiest_and_the_hardest_set_are_compared_unless_others_are_asked_for() -> None:
    x = np.linspace(0.5, 0.9, 8)
    frame = pd.concat([scores(x, x - 0.3), scores(x, x - 0.1).query("task == 'rare'").assign(task="middle")])
    result = asked(frame)
    assert (result.known, result.shifted) == ("known", "rare")
    other = asked(frame, shifted="middle")
    assert other.estimates["mean_gap"].value == pytest.approx(0.1)
    with pytest.raises(AnalysisError, match="No task is called 'odd'"):
        asked(frame, shifted="odd", known="known")


def test_that_percentages_are_read_as_such_and_losses_refused() -> None:
    x = np.linspace(50, 90, 8)
    assert asked(scores(x, x - 20)).estimates["mean_gap"].value == pytest.approx(0.2)
    with pytest.raises(AnalysisError, match="no accuracy"):
        asked(scores(x / 100, x / 100 - 0.2).assign(metric="loss", higher_is_better=False))


def test_that_checkpoints_of_predictions_are_points_too() -> None:
    generator = np.random.default_rng(2)
    rows = [
        {"model": "m", "item": f"{group}{i}", "group": group, "epoch": float(epoch), "correct": float(right)}
        for epoch in range(6)
        for group, p in (("common", 0.5 + 0.05 * epoch), ("rare", 0.3 + 0.05 * epoch))
        for i, right in enumerate(generator.random(40) < p)
    ]
    frame = pd.DataFrame(rows)
    result = AccuracyCurveQuestion(known="common", shifted="rare").answer(store_of(frame, "predictions"))
    expected = frame[frame["group"] == "rare"].groupby("epoch")["correct"].mean()
    assert result.tables["points"]["shifted"].tolist() == pytest.approx(expected.tolist())
    marks = [mark for _, mark in figure(AccuracyCurveQuestion(), result).marks() if isinstance(mark, Points)]
    origin = marks[0].origin
    assert origin is not None
    assert set(frame[origin.clause([2]).mask(frame)]["epoch"]) == {2.0}


def test_that_too_few_points_are_said() -> None:
    x = np.array([0.5, 0.6, 0.7])
    with pytest.raises(TooLittleData, match="at least 5"):
        asked(scores(x, x))
    x = np.linspace(0.5, 0.9, 12)
    with pytest.raises(TooLittleData, match="at least 5"):
        asked(scores(x, x), from_step=9.0)
