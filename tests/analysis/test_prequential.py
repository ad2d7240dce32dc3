from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from runglass.analysis.curves.prequential import CodeLengths, PrequentialQuestion, code_length, figure
from runglass.models.figure import FigureSpec
from runglass.models.loader import load
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts

DEMO = Path(__file__).parents[2] / "resources" / "demo"
TOKENS = 1000.0 * np.arange(1, 201)


def asked(runs: dict[str, np.ndarray], **options: Any) -> tuple[CodeLengths, FigureSpec]:
    events: list[Any] = []
    for run, loss in runs.items():
        events.append(RunFacts(run, config={"seed": run[-1]}))
        events.append(CurvePiece(run, np.arange(len(loss)), {"loss": loss, "tokens": TOKENS[: len(loss)]}))
    question = PrequentialQuestion(**{"group_by": ("folder",), **options}).resolved(store := RunStore().adding(events))
    result = question.answer(store)
    return result, figure(question, result)


def test_that_a_constant_loss_of_ln_2_is_a_bit_a_token_and_has_no_complexity() -> None:
    result, _ = asked({"a/0": np.full(200, math.log(2))})
    assert result.estimates["bits_per_token"].value == pytest.approx(1)
    assert result.estimates["code_length"].value == pytest.approx(200_000)
    assert result.estimates["complexity"].value == pytest.approx(0, abs=1e-6)


def test_that_the_sum_is_scipys_trapezoid_plus_what_came_before() -> None:
    loss = 1 + np.exp(-TOKENS / 5e4)
    expected = (integrate.trapezoid(loss, TOKENS) + loss[0] * TOKENS[0]) / math.log(2)
    assert code_length(TOKENS, loss)[-1] == pytest.approx(expected)


def test_that_the_closed_form_of_an_exponential_is_met_and_thinning_the_log_hardly_matters() -> None:
    loss = 1 + np.exp(-TOKENS / 5e4)
    closed = (2e5 + 5e4 * (1 - math.exp(-4))) / math.log(2)
    assert code_length(TOKENS, loss)[-1] == pytest.approx(closed, rel=1e-3)
    assert code_length(TOKENS[4::5], loss[4::5])[-1] == pytest.approx(closed, rel=5e-3)


def test_that_groups_are_compared_over_the_tokens_all_have_seen() -> None:
    result, spec = asked({"a/0": np.full(200, 2.0), "b/0": np.full(100, 1.0)})
    assert result.end == 100_000
    assert result.estimates["a/code_length"].value == pytest.approx(2 * result.estimates["b/code_length"].value)
    assert result.tables["groups"]["group"].tolist() == ["b", "a"]
    assert [panel.key for panel in spec.panels] == ["bits", "excess"]


def test_that_seeds_have_the_t_interval() -> None:
    levels = [1.0, 1.1, 1.3]
    result, _ = asked({f"a/{seed}": np.full(50, level) for seed, level in enumerate(levels)})
    rates = np.array(levels) / math.log(2)
    rate = result.estimates["bits_per_token"]
    low, high = stats.t.interval(0.95, 2, loc=rates.mean(), scale=stats.sem(rates))
    assert (rate.value, rate.low, rate.high) == pytest.approx((rates.mean(), low, high))


def test_that_repeated_data_is_told() -> None:
    events = [
        CurvePiece("a", np.arange(50), {"loss": np.ones(50), "tokens": TOKENS[:50], "epoch": np.linspace(0, 3, 50)})
    ]
    result = PrequentialQuestion().resolved(store := RunStore().adding(events)).answer(store)
    assert any("saw data more than once" in note for note in result.notes)


def test_that_the_sample_arm_with_the_highest_final_loss_is_not_the_longest_code() -> None:
    # The arm at a constant rate ends highest, but SGD is slow from the start: the code length sees the whole curve.
    store = load([DEMO / "arms"])
    result = PrequentialQuestion().resolved(store).answer(store)
    assert result.tables["groups"]["group"].iloc[-1] == "sgd-cosine"
    assert result.end > 500_000
