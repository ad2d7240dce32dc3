from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runglass.analysis.curves.schedule_refine import RefinedSchedules, ScheduleRefineQuestion, figure, refined
from runglass.models.errors import AnalysisError
from runglass.models.figure import FigureSpec, Line
from runglass.models.loader import load
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts

DEMO = Path(__file__).parents[2] / "resources" / "demo"


def as_published(norm: np.ndarray, power: int) -> np.ndarray:
    """Algorithm 1 of Defazio et al. (2023) step by step, with the median filter written out."""
    n = len(norm)
    half = int(0.1 * n) // 2
    padded = np.pad(norm, half, mode="reflect")
    smooth = np.array([np.median(padded[t : t + 2 * half + 1]) for t in range(n)])
    w = smooth**-power
    eta = np.array([w[t] * w[t + 1 :].sum() / w.sum() for t in range(n)])
    return eta / eta.max()


@pytest.mark.parametrize("power", [1, 2])
def test_that_the_schedule_is_that_of_the_algorithm(power: int) -> None:
    norm = np.abs(np.random.default_rng(0).normal(2, 0.5, 237)) + np.linspace(2, 0.1, 237)
    np.testing.assert_allclose(refined(norm, power), as_published(norm, power), rtol=1e-10)


def test_that_a_constant_norm_gives_linear_decay() -> None:
    t = np.arange(1, 1001)
    np.testing.assert_allclose(refined(np.full(1000, 0.7), 1), (1 - t / 1000) / (1 - 1 / 1000), atol=1e-12)


def test_that_the_unit_of_the_norm_does_not_matter_and_the_end_is_zero() -> None:
    norm = np.random.default_rng(0).uniform(1, 2, 300)
    np.testing.assert_allclose(refined(1000 * norm, 2), refined(norm, 2))
    assert refined(norm, 2)[-1] == pytest.approx(0, abs=1e-12)


def test_that_a_large_norm_at_the_start_asks_for_warm_up() -> None:
    norm = np.concatenate([np.linspace(10, 1, 200), np.ones(800)])
    rate = refined(norm, 1)
    assert rate[0] < 0.2
    assert 150 < np.argmax(rate) < 250


def asked(norms: dict[str, np.ndarray], **options: Any) -> tuple[RefinedSchedules, FigureSpec]:
    events: list[Any] = []
    for run, norm in norms.items():
        events.append(RunFacts(run, config={"seed": run[-1]}))
        events.append(CurvePiece(run, np.arange(len(norm)), {"grad_norm": norm, "lr": np.linspace(1, 0, len(norm))}))
    question = ScheduleRefineQuestion(**options).resolved(store := RunStore().adding(events))
    result = question.answer(store)
    return result, figure(question, result)


def test_that_seeds_of_a_group_make_one_schedule_with_its_spread() -> None:
    norms = {f"a/{seed}": np.random.default_rng(seed).uniform(1, 3, 400) for seed in range(4)}
    result, spec = asked(norms)
    (one,) = result.schedules
    assert one.refined.shape[0] == 4
    assert result.estimates["warmup_share"].has_interval
    keys = {mark.key for _, mark in spec.marks() if isinstance(mark, Line)}
    assert {"linear", f"{one.group.name}/used"} <= keys


def test_that_clipped_norms_are_told() -> None:
    clipped = np.minimum(np.random.default_rng(0).uniform(0.2, 2, 400), 1.0)
    assert any("after clipping" in note for note in asked({"a/0": clipped})[0].notes)
    assert not any("after clipping" in note for note in asked({"a/0": np.linspace(1, 2, 400)})[0].notes)


def test_that_99_norms_are_too_few() -> None:
    with pytest.raises(AnalysisError, match="at least 100 positive gradient norms in a run; found at most 99"):
        asked({"a/0": np.ones(99)})


def test_that_the_sample_arms_have_a_schedule_each() -> None:
    store = load([DEMO / "arms"])
    result = ScheduleRefineQuestion().resolved(store).answer(store)
    assert len(result.schedules) == 5
    assert all(one.refined.shape[0] == 5 for one in result.schedules)
