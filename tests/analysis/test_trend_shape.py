from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.analysis.asking import Answer, Opened, ask
from runglass.analysis.registry import analysis
from runglass.analysis.scaling.trend_shape import breakthroughness, composed, linearity, shape_of
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

SIZES = np.geomspace(1e7, 1e11, 9)
LOGS = np.log10(SIZES)


def test_that_the_indices_are_those_of_the_published_examples() -> None:
    even = np.array([0, 1 / 3, 2 / 3, 1])
    assert (breakthroughness(even), linearity(even)) == pytest.approx((3, 0.75))
    assert breakthroughness(np.array([0, 0.02, 0.03, 0.9])) == pytest.approx(45)
    assert breakthroughness(np.zeros(4)) == linearity(np.zeros(4)) == 0
    assert breakthroughness(np.array([0, 0, 0, 1.0])) == 100


@pytest.mark.parametrize(
    ("scores", "label"),
    [
        (0.1 * LOGS, "improves"),
        (-0.1 * LOGS, "worsens"),
        ((LOGS - 9) ** 2, "U"),
        (-((LOGS - 9) ** 2), "inverted U"),
        (np.where(LOGS > 10.4, 1.0, 0.0) + 0.001 * np.arange(9), "breakthrough"),
        (np.tile([0.1, 0.2, 0.1], 3), "flat"),
        (np.full(9, 0.3), "flat"),
    ],
)
def test_that_clean_trends_get_their_names(scores: np.ndarray, label: str) -> None:
    noise = 0.002 * np.random.default_rng(0).normal(size=9) * np.ptp(scores)
    assert shape_of("t", "f", SIZES, scores + noise).label == label


def test_that_the_vertex_is_where_it_turns() -> None:
    scores = -((LOGS - 9) ** 2) + 0.01 * np.random.default_rng(1).normal(size=9)
    assert np.log10(shape_of("t", "f", SIZES, scores).vertex) == pytest.approx(9, abs=0.1)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 100), scale=st.floats(1e-6, 1e6))
def test_that_units_of_scale_and_the_order_of_models_change_nothing(seed: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    scores = 0.1 * LOGS + 0.05 * generator.normal(size=9)
    order = generator.permutation(9)
    one, other = shape_of("t", "f", SIZES, scores), shape_of("t", "f", scale * SIZES[order], scores[order])
    assert (one.label, one.breakthroughness) == (other.label, other.breakthroughness)
    assert one.slope == pytest.approx(other.slope)


def test_that_pure_noise_is_called_flat_about_as_often_as_the_level_says() -> None:
    generator = np.random.default_rng(0)
    labels = [shape_of("t", "f", SIZES, generator.normal(size=9)).label for _ in range(200)]
    assert labels.count("flat") / 200 > 0.85


def test_that_two_skills_compose_to_a_u() -> None:
    p = np.linspace(0.5, 1, 5)
    assert composed(p, np.ones(5)) == pytest.approx(p)
    assert composed(np.full(5, 0.5), p) == pytest.approx(0.5)


def asked(frame: pd.DataFrame, **options: Any) -> Answer:
    store = RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])
    return ask(analysis("scaling.trend-shape"), options, Opened(store))


def table(sizes: np.ndarray = SIZES) -> pd.DataFrame:
    rows = [
        (f"{family}-{size:.0f}", task, 0.25 + sign * 0.05 * (np.log10(size) - 7), family, size)
        for family in "ab"
        for size in sizes
        for task, sign in (("up", 1), ("down", -1))
    ]
    return pd.DataFrame(rows, columns=["model", "task", "value", "family", "params"])


def test_that_every_task_is_typed_within_its_family() -> None:
    answer = asked(table())
    trends = answer.result.tables["trends"].set_index(["task", "family"])["label"].to_dict()
    assert trends == {
        ("up", "a"): "improves",
        ("down", "a"): "worsens",
        ("up", "b"): "improves",
        ("down", "b"): "worsens",
    }
    assert answer.result.estimates["up/a/slope"].value == pytest.approx(0.05)
    assert {panel.key for panel in answer.figure().panels} >= {"plane", "up/a", "down/b"}


def test_that_chance_stretches_the_scores() -> None:
    plain, stretched = (asked(table(), **options) for options in ({}, {"chance": 0.25}))
    ratio = stretched.result.estimates["up/a/slope"].value / plain.result.estimates["up/a/slope"].value
    assert ratio == pytest.approx(1 / 0.75)


def test_that_few_sizes_or_no_scale_are_said() -> None:
    with pytest.raises(TooLittleData, match="at least 5 sizes"):
        asked(table(SIZES[:4]))
    with pytest.raises(AnalysisError, match="how large the models are"):
        asked(table().drop(columns="params"))


def test_that_sizes_may_stand_in_the_runs_and_chance_is_taken_off() -> None:
    frame = table()
    sizes = frame.drop_duplicates("model")[["model", "params"]].rename(columns={"model": "run"})
    stores = [
        TableRows("scores.csv", "test", frame.drop(columns="params"), "scores"),
        TableRows("runs.csv", "test", sizes, "runs"),
    ]
    told = ask(analysis("scaling.trend-shape"), {"scale": "params"}, Opened(RunStore().adding(stores)))
    assert told.result.estimates["up/a/slope"].value == pytest.approx(0.05)
    above = asked(frame, chance=0.2)
    assert above.result.estimates["up/a/slope"].value == pytest.approx(0.05 / 0.8)
    alone = asked(frame, tasks=("up",))
    assert set(alone.result.tables["trends"]["task"]) == {"up"}
    holes = asked(frame.assign(params=frame["params"].where(frame["model"] != frame["model"].iloc[0])))
    assert "2 scores left out: no size above 0." in holes.result.notes
    for options, said in (
        ({"scale": "width"}, "how large the models are"),
        ({"family": "width"}, "no column called 'width'"),
    ):
        with pytest.raises(AnalysisError, match=said):
            asked(frame, **options)
