from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from runglass.analysis.curves.gap import GapQuestion, GeneralisationGap, figure, means_up_to, pair_of_tags
from runglass.models.errors import AnalysisError
from runglass.models.figure import Band, FigureSpec
from runglass.models.loader import load
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece

DEMO = Path(__file__).parents[2] / "resources" / "demo"


def asked(store: RunStore, **options: Any) -> tuple[GeneralisationGap, FigureSpec]:
    question = GapQuestion(**options).resolved(store)
    result = question.answer(store)
    return result, figure(question, result)


def store_of(finals: list[float], **others: float) -> RunStore:
    events: list[Any] = []
    for number, final in enumerate(finals):
        run = f"a/{number}"
        events.append(CurvePiece(run, np.arange(1, 101), {"train/loss": np.tile([0.9, 1.1], 50)}))
        events.append(CurvePiece(run, np.array([20, 60, 100]), {"val/loss": np.array([1.0, 1.2, final])}))
        for tag, value in others.items():
            events.append(CurvePiece(run, np.array([100]), {tag: np.array([value])}))
    return RunStore().adding(events)


def test_that_training_is_the_mean_of_what_was_logged_since_the_evaluation_before() -> None:
    x = np.arange(1.0, 11)
    np.testing.assert_allclose(means_up_to(np.array([2.0, 4, 10]), x, x), [1.5, 3.5, 7.5])
    np.testing.assert_allclose(means_up_to(np.array([2.25, 2.75]), x, x), [2, 2.75])


def test_that_the_pair_is_found_by_the_names_loggers_use() -> None:
    assert pair_of_tags({"train/loss": 1, "val/loss": 1}, "") == ("val/loss", "train/loss")
    assert pair_of_tags({"loss": 1, "val_loss": 1, "val_accuracy": 1, "accuracy": 1}, "val_accuracy") == (
        "val_accuracy",
        "accuracy",
    )
    assert pair_of_tags({"loss": 1, "acc": 1}, "") == ("", "")


def test_that_the_gap_at_the_end_has_the_t_interval_of_the_seeds() -> None:
    finals = [1.4, 1.5, 1.7]
    result, spec = asked(store_of(finals))
    gap = result.estimates["final_gap"]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(finals) - 1, scale=stats.sem(finals))
    assert (gap.value, gap.low, gap.high) == pytest.approx((np.mean(finals) - 1, low, high))
    np.testing.assert_allclose(result.gaps[0].mean[:2], [0, 0.2], atol=1e-9)
    assert any(isinstance(mark, Band) for _, mark in spec.marks())
    assert asked(store_of([1.5]))[0].to_json()["estimates"]["final_gap"]["low"] is None


def test_that_a_lower_accuracy_on_held_out_data_is_a_positive_gap() -> None:
    store = RunStore().adding(
        [
            CurvePiece("a", np.arange(3), {"train/acc": np.array([0.5, 0.8, 0.9])}),
            CurvePiece("a", np.arange(3), {"val/acc": np.array([0.5, 0.7, 0.6])}),
        ]
    )
    assert asked(store)[0].estimates["final_gap"].value == pytest.approx(0.3)


def test_that_the_three_parts_add_up_to_the_gap() -> None:
    store = store_of([1.5], noised=0.6, true=0.8)
    result, spec = asked(store, noised_tag="noised", true_tag="true")
    parts = result.tables["parts"]
    assert parts[["robustness", "rationality", "memorization"]].sum(axis=1).tolist() == pytest.approx(parts["gap"])
    assert parts["rationality"].tolist() == pytest.approx([-0.2])
    assert spec.panels[-1].key == "parts"
    assert "parts" not in asked(store)[0].tables


def test_that_a_metric_without_its_training_half_is_refused() -> None:
    store = RunStore().adding([CurvePiece("a", np.arange(3), {"val/loss": np.ones(3)})])
    with pytest.raises(AnalysisError, match="both on training and on held-out data"):
        asked(store)


def test_that_the_sample_network_without_regularisation_has_the_widest_gap() -> None:
    result, _ = asked(load([DEMO / "digits"]), tag="val_accuracy")
    widest = max(result.gaps, key=lambda one: one.final[0])
    assert widest.group.runs == ("digits/training_v2",)
    assert 0.1 < widest.final[0] < 0.2
