from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runglass.analysis.curves.lead_lag import (
    LeadLagQuestion,
    LeadsAndLags,
    autoregression,
    cross_correlation,
    figure,
    whitened,
)
from runglass.models.errors import AnalysisError
from runglass.models.figure import FigureSpec
from runglass.models.loader import load
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece

DEMO = Path(__file__).parents[2] / "resources" / "demo"


def asked(signals: dict[str, np.ndarray], **options: Any) -> tuple[LeadsAndLags, FigureSpec]:
    store = RunStore().adding([CurvePiece("a", np.arange(len(next(iter(signals.values())))), signals)])
    question = LeadLagQuestion(**options).resolved(store)
    result = question.answer(store)
    return result, figure(question, result)


def walk(n: int, seed: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(size=n))


@pytest.mark.parametrize("delay", [-7, 0, 3, 12])
def test_that_a_copy_delayed_by_k_peaks_at_k(delay: int) -> None:
    y = walk(1000, 0)
    first, second = y[20:-20], np.roll(y, delay)[20:-20] + np.random.default_rng(1).normal(0, 0.3, 960)
    result, _ = asked({"grad_norm": first, "loss": second})
    lag = result.estimates["lag"]
    assert lag.value == delay
    assert lag.low <= delay <= lag.high


def test_that_the_correlation_is_that_of_statsmodels() -> None:
    from statsmodels.tsa.stattools import ccf

    generator = np.random.default_rng(0)
    a, b = generator.normal(size=300), generator.normal(size=300)
    ours = cross_correlation(a, b, 10)
    np.testing.assert_allclose(ours[10:], ccf(b, a, adjusted=False)[:11], atol=1e-12)
    np.testing.assert_allclose(ours[10::-1], ccf(a, b, adjusted=False)[:11], atol=1e-12)


def test_that_the_filter_takes_out_the_autoregression_it_was_made_of() -> None:
    noise = np.random.default_rng(0).normal(size=5000)
    y = np.zeros(5000)
    for t in range(2, 5000):
        y[t] = 0.5 * y[t - 1] - 0.3 * y[t - 2] + noise[t]
    found = autoregression(y, 2)
    np.testing.assert_allclose(found, [0.5, -0.3], atol=0.03)
    np.testing.assert_allclose(whitened(y, np.array([0.5, -0.3])), noise[2:], atol=1e-9)


def test_that_a_shared_trend_alone_makes_no_lead() -> None:
    x = np.arange(1000)
    generator = np.random.default_rng(0)
    result, _ = asked(
        {"grad_norm": x / 100 + generator.normal(size=1000), "loss": -x / 50 + generator.normal(size=1000)}
    )
    assert abs(result.estimates["correlation"].value) < 0.15


def test_that_swapping_the_signals_turns_the_lag_round() -> None:
    y = walk(800, 2)
    signals = {"u": y[10:-10], "v": np.roll(y, 4)[10:-10]}
    assert asked(signals, first="u", second="v", order=0)[0].estimates["lag"].value == 4
    assert asked(signals, first="v", second="u", order=0)[0].estimates["lag"].value == -4


def test_that_too_few_joint_steps_are_refused_and_a_constant_has_no_correlation() -> None:
    with pytest.raises(AnalysisError, match="at least 200 steps with both signals; found at most 150"):
        asked({"grad_norm": walk(150, 0), "loss": walk(150, 1)})
    with pytest.raises(AnalysisError, match="constant"):
        asked({"grad_norm": np.ones(300), "loss": walk(300, 1)})


def test_that_the_sample_sweep_of_longer_runs_can_be_asked() -> None:
    store = load([DEMO / "scaling" / "conv-135k-4m-s0"])
    question = LeadLagQuestion().resolved(store)
    assert (question.first, question.second) == ("train/grad_norm", "train/loss")
    result = question.answer(store)
    assert -20 <= result.estimates["lag"].value <= 20
    assert [panel.key for panel in figure(question, result).panels] == ["correlogram", "signals"]
