from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.ranking.seed_variance import SeedVariance, SeedVarianceQuestion, figure
from runglass.models.errors import TooLittleData
from runglass.models.figure import Points, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(right: np.ndarray, **columns: Any) -> RunStore:
    """Predictions of seeds 0, 1, ... (columns of `right`) on items (rows)."""
    n, runs = right.shape
    rows = {"model": "m", "seed": np.tile(np.arange(runs), n), "item": np.repeat(np.arange(n), runs).astype(str)}
    frame = pd.DataFrame(rows | {"correct": right.ravel().astype(float)} | columns)
    return RunStore().adding([TableRows("answers.csv", "test", frame, "predictions")])


def asked(right: np.ndarray, **options: Any) -> SeedVariance:
    return SeedVarianceQuestion(**({"splits": 50} | options)).answer(store_of(right))


def simulated(generator: np.random.Generator, items: int, runs: int, sd: float) -> np.ndarray:
    """Runs that differ in truth by `sd` in accuracy, and on every item by chance."""
    hard = generator.beta(2, 2, items)
    skill = generator.normal(0, sd, runs)
    return generator.random((items, runs)) < np.clip(hard[:, None] + skill, 0, 1)


def test_that_the_variance_of_the_whole_distribution_is_unbiased() -> None:
    generator = np.random.default_rng(0)
    truth = 0.03
    estimates = [
        asked(simulated(generator, 300, 12, truth)).estimates["distribution_variance"].value for _ in range(60)
    ]
    assert np.mean(estimates) == pytest.approx(
        0.92 * truth**2, rel=0.25
    )  # clipping at 0 and 1 takes a little of the skill
    assert any(value < 0 for value in [asked(simulated(generator, 60, 12, 0.0)).estimates["distribution_variance"].value
                                       for _ in range(5)])  # fmt: skip


def test_that_the_parts_are_those_of_the_formula() -> None:
    right = simulated(np.random.default_rng(1), 50, 10, 0.05).astype(float)
    e = asked(right).estimates
    observed = right.mean(axis=0).var(ddof=1)
    within = right.var(axis=1, ddof=1).sum() / 50**2
    assert e["observed_sd"].value == pytest.approx(math.sqrt(observed))
    assert e["distribution_variance"].value == pytest.approx(50 / 49 * (observed - within))
    wrong = 1 - right.mean(axis=1)
    assert e["independent_sd"].value == pytest.approx(math.sqrt((wrong * (1 - wrong)).sum()) / 50)
    assert e["rule_of_thumb_sd"].value == pytest.approx(math.sqrt((1 - right.mean()) / 100))


def test_that_luck_does_not_carry_over_to_the_other_half_and_skill_does() -> None:
    generator = np.random.default_rng(2)
    lucky = asked(simulated(generator, 400, 40, 0.0)).estimates["split_half_correlation"].value
    skilled = asked(simulated(generator, 400, 40, 0.1)).estimates["split_half_correlation"].value
    assert abs(lucky) < 0.3
    assert skilled > 0.7


def test_that_fewer_than_ten_runs_have_no_interval_and_fewer_than_four_are_refused() -> None:
    right = simulated(np.random.default_rng(0), 40, 6, 0.05)
    e = asked(right).estimates["distribution_sd"]
    assert (e.has_interval, e.why_no_interval) == (False, "n = 6 runs; at least 10 are needed")
    with pytest.raises(TooLittleData, match="at least 4 runs on the same items; found 3 of m"):
        asked(right[:, :3])


def test_that_a_point_stands_for_its_run() -> None:
    right = simulated(np.random.default_rng(0), 40, 10, 0.05)
    question = SeedVarianceQuestion(splits=20)
    result = question.answer(store_of(right))
    assert question.resolved(store_of(right)).run == "seed"
    points = next(mark for _, mark in figure(question, result).marks() if isinstance(mark, Points))
    assert to_json(points.origin)["clauses"][3] == {"is_in": "seed", "values": [3]}
    assert SeedVarianceQuestion.from_json(question.to_json()) == question
