from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from runglass.analysis.curves.overoptimisation import (
    Overoptimisation,
    OveroptimisationQuestion,
    best_of_n_divergence,
    figure,
    peak_at,
)
from runglass.models.errors import AnalysisError
from runglass.models.figure import FigureSpec, Rule
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts


def asked(runs: dict[str, dict[str, np.ndarray]], **options: Any) -> tuple[Overoptimisation, FigureSpec]:
    events: list[Any] = []
    for run, tags in runs.items():
        events.append(RunFacts(run, config={"seed": run}))
        events.append(CurvePiece(run, np.arange(len(next(iter(tags.values())))), tags))
    store = RunStore().adding(events)
    question = OveroptimisationQuestion(**options).resolved(store)
    result = question.answer(store)
    return result, figure(question, result)


def rl(d: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return d * (alpha - beta * np.log(np.where(d > 0, d, 1)))


def test_that_the_divergence_of_best_of_n_is_as_tabulated() -> None:
    np.testing.assert_allclose(best_of_n_divergence(np.array([1, 2, 16, 1000])), [0, 0.1931, 1.8351, 5.9088], atol=5e-5)


def test_that_the_peaks_are_those_of_the_catalogue() -> None:
    assert peak_at(1, 0.2, "best-of-n") == pytest.approx(2.5)
    assert peak_at(1, 0.2, "rl") == pytest.approx(54.598, abs=1e-3)
    assert peak_at(1, 0, "rl") == math.inf


def test_that_the_law_and_its_peak_are_recovered() -> None:
    d = np.linspace(0, 12, 40)
    signals = {"kl": d**2, "gold_score": 0.3 + rl(d, 1.0, 0.5), "proxy_reward": d}
    result, spec = asked({"a": signals})
    assert result.estimates["alpha"].value == pytest.approx(1)
    assert result.estimates["beta"].value == pytest.approx(0.5)
    assert result.estimates["peak_d"].value == pytest.approx(math.e)
    assert result.estimates["proxy_at_peak"].value == pytest.approx(math.e, abs=0.01)
    assert any(isinstance(mark, Rule) and mark.at == pytest.approx(math.e) for _, mark in spec.marks())


def test_that_best_of_n_is_fitted_from_n() -> None:
    n = np.array([1.0, 2, 4, 8, 16, 64, 256, 1000])
    d = np.sqrt(np.log(n) - (n - 1) / n)
    result, _ = asked({"a": {"n": n, "gold": d * (1 - 0.3 * d)}}, samples="n", law="best-of-n")
    assert result.estimates["peak_d"].value == pytest.approx(1 / 0.6)


def test_that_a_peak_beyond_the_data_is_not_given() -> None:
    d = np.linspace(0, 2, 30)
    result, _ = asked({"a": {"kl": d**2, "gold": rl(d, 1.0, 0.2)}})
    assert math.isnan(result.estimates["peak_d"].value)
    assert any("Peak not reached" in note for note in result.notes)


def test_that_three_runs_give_an_interval_that_holds_the_truth() -> None:
    d = np.linspace(0, 12, 40)
    generator = np.random.default_rng(0)
    runs = {
        str(seed): {"kl": d**2, "gold": rl(d, 1.0 + 0.05 * generator.normal(), 0.5) + generator.normal(0, 0.05, 40)}
        for seed in range(6)
    }
    result, _ = asked(runs, draws=300)
    peak = result.estimates["peak_d"]
    assert peak.low < math.e < peak.high
    assert any("draws of runs" in note for note in result.notes)


def test_that_negative_divergences_are_counted_and_four_levels_are_too_few() -> None:
    d = np.linspace(0, 12, 40)
    kl = d**2
    kl[3] = -0.5
    assert any(
        "1 point with a negative divergence" in note
        for note in asked({"a": {"kl": kl, "gold": rl(d, 1, 0.5)}})[0].notes
    )
    with pytest.raises(AnalysisError, match="at least 5 levels of the divergence; found at most 4"):
        asked({"a": {"kl": np.arange(4.0), "gold": np.arange(4.0)}})
    with pytest.raises(AnalysisError, match="A gold score and a divergence"):
        asked({"a": {"loss": np.arange(4.0)}})
