from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from runglass.analysis.ranking.noise_card import ANALYSIS, BenchmarkCards, NoiseCardQuestion, figure
from runglass.models.errors import TooLittleData
from runglass.models.figure import Line, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])


def scores(values: np.ndarray, task: str = "t", **columns: Any) -> pd.DataFrame:
    """Scores by model, seed and step; `values` of shape (models, seeds, steps)."""
    model, seed, step = (index.ravel() for index in np.indices(values.shape))
    rows = {"model": [f"m{i}" for i in model], "seed": seed, "step": step + 1.0, "value": values.ravel(), "task": task}
    return pd.DataFrame(rows | columns).dropna(subset=["value"])


def asked(frame: pd.DataFrame, **options: Any) -> BenchmarkCards:
    return NoiseCardQuestion(**options).answer(store_of(frame))


VALUES = np.random.default_rng(2).normal(10, 1, (4, 3, 6)) + np.arange(4)[:, None, None]


def test_that_the_seed_sd_is_pooled_within_models_at_the_last_step() -> None:
    e = asked(scores(VALUES)).estimates
    expected = math.sqrt(np.mean(VALUES[:, :, -1].var(axis=1, ddof=1)))
    assert e["seed_sd"].value == pytest.approx(expected)
    low, high = (expected * math.sqrt(8 / stats.chi2.ppf(p, 8)) for p in (0.975, 0.025))
    assert (e["seed_sd"].low, e["seed_sd"].high) == pytest.approx((low, high))
    assert e["smallest_difference"].value == pytest.approx(1.959964 * math.sqrt(2) * expected)


def test_that_the_noise_of_checkpoints_stays_within_runs() -> None:
    e = asked(scores(VALUES + 100 * np.arange(3)[:, None]), last=4).estimates
    expected = math.sqrt(np.mean(VALUES[:, :, -4:].var(axis=2, ddof=1)))
    assert e["checkpoint_sd"].value == pytest.approx(expected)


def test_that_the_ratio_is_the_range_of_models_over_the_noise_asked_for() -> None:
    finals = VALUES[:, :, -1].mean(axis=1)
    for noise, name in (("seeds", "seed_sd"), ("checkpoints", "checkpoint_sd")):
        e = asked(scores(VALUES), noise=noise).estimates
        assert e["snr"].value == pytest.approx(np.ptp(finals) / e[name].value)
        assert e["snr"].low == pytest.approx(np.ptp(finals) / e[name].high)
    assert asked(scores(VALUES)).estimates["seed_snr"].value == pytest.approx(
        VALUES[:, :, -1].mean() / asked(scores(VALUES)).estimates["seed_sd"].value
    )


def test_that_seeds_are_compared_at_a_step_all_of_them_reached() -> None:
    values = VALUES.copy()
    values[0, 0, -1] = np.nan
    expected = math.sqrt(np.mean([*VALUES[1:, :, -1].var(axis=1, ddof=1), VALUES[0, :, -2].var(ddof=1)]))
    assert asked(scores(values)).estimates["seed_sd"].value == pytest.approx(expected)


def test_that_the_binomial_error_of_half_of_a_thousand_is_0158() -> None:
    e = asked(scores(np.full((2, 3, 5), 0.5), n=1000, stderr=0.0158)).estimates
    assert e["binomial_se"].value == pytest.approx(0.0158, abs=2e-5)
    assert e["item_se"].value == pytest.approx(0.0158)
    assert np.isnan(e["snr"].value)  # no noise at all: undefined, not infinite


def test_that_two_metrics_of_a_task_have_a_row_each_and_the_better_ratio_comes_first() -> None:
    frame = pd.concat([scores(VALUES, metric="acc"), scores(3 * VALUES**0.1, metric="loss")])
    cards = asked(frame).tables["cards"]
    assert sorted(cards["metric"]) == ["acc", "loss"]
    assert cards["snr"].is_monotonic_decreasing
    rising = np.arange(6.0) + np.zeros((4, 3, 1))
    falling = asked(scores(-rising, metric="loss"))
    assert falling.estimates["monotonicity"].value == 1  # lower is better


def test_that_without_three_seeds_the_noise_is_that_of_checkpoints() -> None:
    result = asked(scores(VALUES[:, :1]))
    assert result.noise == "the last 5 checkpoints"
    assert np.isnan(result.estimates["seed_sd"].value)
    assert result.notes[0].startswith("Unit: the checkpoint.")
    with pytest.raises(TooLittleData, match="neither on any task"):
        asked(scores(VALUES[:, :1, :2]))
    with pytest.raises(TooLittleData, match="neither a column seed nor a column step"):
        asked(scores(VALUES[:, :1, :1]).drop(columns=["seed", "step"]))


def test_that_the_interval_of_the_seed_sd_covers_what_it_says() -> None:
    generator = np.random.default_rng(0)
    frame = pd.concat([scores(generator.normal(0, 2, (5, 3, 1)), task=f"t{i}") for i in range(200)])
    estimates = asked(frame).estimates
    held = [e.low <= 2 <= e.high for name, e in estimates.items() if name.endswith("/seed_sd")]
    assert len(held) == 200
    assert 0.9 <= np.mean(held) <= 0.99


def test_that_a_row_stands_for_its_scores() -> None:
    frame = pd.concat([scores(VALUES, metric="acc"), scores(VALUES**2, metric="loss")])
    question = NoiseCardQuestion()
    result = question.answer(store_of(frame))
    marks = {mark.key: mark for _, mark in figure(question, result).marks()}
    first = result.cards.iloc[0]
    assert to_json(marks["snr"].origin)["clauses"][0] == {
        "all": [{"is_in": "task", "values": ["t"]}, {"is_in": "metric", "values": [first["metric"]]}]
    }
    assert NoiseCardQuestion.from_json(question.to_json()) == question
    assert ANALYSIS.family == "noise"


def test_that_each_card_has_its_course_in_its_row() -> None:
    steps = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    rows = [
        {"model": model, "step": step, "task": task, "value": start + gain * step + noise * ((step + number) % 2)}
        for number, (model, start) in enumerate((("a", 0.1), ("b", 0.3)))
        for task, gain, noise in (("up", 0.1, 0.001), ("down", -0.01, 0.002))
        for step in steps
    ]
    rows.append({"model": "late", "step": 6.0, "task": "up", "value": 9.0})  # is no part of the course
    result = NoiseCardQuestion(noise="checkpoints", last=3).answer(store_of(pd.DataFrame(rows)))
    step, mean = result.courses["up", ""]
    assert step.tolist() == steps
    assert mean == pytest.approx([0.2005 + 0.1 * at for at in steps])
    names = result.cards["task"].tolist()
    panel = next(panel for panel in figure(NoiseCardQuestion(), result).panels if panel.key == "course")
    for mark in panel.marks:
        assert isinstance(mark, Line)
        row = names.index(mark.key.partition("/")[0])
        assert (min(mark.y), max(mark.y)) == pytest.approx((row - 0.4, row + 0.4))
        rises = mark.y[-1] < mark.y[0]  # rows count downwards
        assert rises == (names[row] == "up")
