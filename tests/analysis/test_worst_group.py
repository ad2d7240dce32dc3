from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.grouped_answers import newcombe
from runglass.analysis.robustness.worst_group import (
    ANALYSIS,
    WorstGroup,
    WorstGroupQuestion,
    figure,
    worst_by_chance,
    worst_shares,
)
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Points, Rule, to_json
from runglass.models.selection import is_in
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("answers.csv", "test", frame, "predictions")])


def answers(right: dict[str, tuple[int, int]], version: str = "v1", **columns: Any) -> pd.DataFrame:
    """Right answers of each group as (right, n)."""
    parts = [
        pd.DataFrame(
            {"item": [f"{group}{i}" for i in range(n)], "group": group, "correct": [1.0] * k + [0.0] * (n - k)}
        )
        for group, (k, n) in right.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(model="m", version=version, **columns)


def asked(frame: pd.DataFrame, **options: Any) -> WorstGroup:
    return WorstGroupQuestion(**{"draws": 400, **options}).answer(store_of(frame))


def test_that_six_equal_groups_have_the_minimum_the_catalogue_states() -> None:
    expected, _ = worst_by_chance(np.full(6, 100), 0.8)
    assert expected == pytest.approx(0.749, abs=1e-3)
    drawn = np.random.default_rng(0).binomial(100, 0.8, (200_000, 6)).min(axis=1) / 100
    assert expected == pytest.approx(drawn.mean(), abs=3e-4)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
def test_that_the_minimum_by_chance_is_the_sum_over_all_outcomes(p: float) -> None:
    sizes = (3, 4, 5)
    mean = at_most = 0.0
    for outcome in product(*(range(n + 1) for n in sizes)):
        chance = np.prod([comb(n, k) * p**k * (1 - p) ** (n - k) for n, k in zip(sizes, outcome, strict=True)])
        lowest = min(k / n for n, k in zip(sizes, outcome, strict=True))
        mean += float(chance) * lowest
        at_most += float(chance) * (lowest <= 0.5)
    assert worst_by_chance(np.array(sizes), p, 0.5) == pytest.approx((mean, at_most))


def test_that_the_difference_of_proportions_is_newcombes_published_one() -> None:
    # Newcombe (1998), Table II, example (a): 56 of 70 against 48 of 80, method 10.
    assert newcombe(56, 70, 48, 80, 0.95) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_that_the_worst_group_the_gap_and_the_means_are_those_of_the_counts() -> None:
    result = asked(answers({"a": (90, 100), "b": (20, 50), "c": (32, 40)}))
    e = result.estimates
    assert result.worst == {"v1": "b"}
    assert e["worst"].value == pytest.approx(0.4)
    assert e["gap"].value == pytest.approx(0.5)
    assert e["mean"].value == pytest.approx(142 / 190)
    assert e["mean_of_groups"].value == pytest.approx(0.7)
    assert e["geometric_mean"].value == pytest.approx((0.9 * 0.4 * 0.8) ** (1 / 3))
    assert e["harmonic_mean"].value == pytest.approx(3 / (1 / 0.9 + 1 / 0.4 + 1 / 0.8))
    assert e["probability_worst"].value == 1
    # A single group far below the rest: the interval is that of its own proportion.
    drawn = np.random.default_rng(1).binomial(50, 0.4, 200_000) / 50
    assert (e["worst"].low, e["worst"].high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.021)
    assert e["p_equal_groups"].value < 1e-5


def test_that_equal_groups_are_the_worst_equally_often_and_no_surprise() -> None:
    result = asked(answers(dict.fromkeys("abcdef", (80, 100))), draws=2000)
    assert result.estimates["probability_worst"].value == pytest.approx(1 / 6, abs=0.04)
    assert result.estimates["worst_by_chance"].value == pytest.approx(0.7484, abs=5e-5)
    assert result.estimates["p_equal_groups"].value > 0.99


def test_that_ties_for_the_worst_are_shared_out() -> None:
    assert worst_shares(np.array([[0.5, 0.5, 0.9], [0.1, 0.2, 0.3]])).tolist() == [0.75, 0.25, 0.0]


def test_that_a_small_group_is_never_the_worst_and_is_said() -> None:
    result = asked(answers({"a": (90, 100), "b": (70, 100), "tiny": (0, 5)}))
    assert result.worst == {"v1": "b"}
    assert any("tiny" in note and "Too small" in note for note in result.notes)
    hollow = [mark for _, mark in figure(WorstGroupQuestion(), result).marks() if isinstance(mark, Points)]
    assert [mark.x.tolist() for mark in hollow if mark.hollow] == [[0.0]]
    with pytest.raises(TooLittleData, match="at least 200 items"):
        asked(answers({"a": (90, 100), "b": (70, 100)}), least=200)


def test_that_the_change_between_versions_is_paired_on_items() -> None:
    old = answers({"a": (90, 100), "b": (50, 100)})
    same = asked(pd.concat([old, old.assign(version="v2")]))
    assert same.estimates["worst_change"].value == 0
    assert (same.estimates["worst_change"].low, same.estimates["worst_change"].high) == (0, 0)
    better = asked(pd.concat([old, answers({"a": (90, 100), "b": (60, 100)}, "v2")]))
    assert better.estimates["worst_change"].value == pytest.approx(0.1)
    # The ten items that were mended are the only ones that move: sd = sqrt(.1 * .9 / 100).
    half = (better.estimates["worst_change"].high - better.estimates["worst_change"].low) / 2
    assert half == pytest.approx(1.96 * 0.03, abs=0.015)


def test_that_training_rows_are_held_against_the_others() -> None:
    here = answers({"a": (90, 100), "b": (50, 100)}).assign(split="test")
    train = answers({"a": (297, 300), "b": (95, 100)}).assign(split="train", item=lambda t: "t" + t["item"])
    result = asked(pd.concat([here, train]), split="split")
    assert result.estimates["worst"].value == pytest.approx(0.5)
    assert result.estimates["train_minus_test_of_worst"].value == pytest.approx(0.45)
    assert result.estimates["mean_under_training_shares"].value == pytest.approx(0.75 * 0.9 + 0.25 * 0.5)
    with pytest.raises(AnalysisError, match="No rows have split 'fit'"):
        asked(pd.concat([here, train]), split="split", train="fit")


def test_that_clusters_widen_the_interval() -> None:
    frame = answers({"a": (90, 100), "b": (50, 100)})
    doubled = pd.concat([frame, frame.assign(item=lambda t: t["item"] + "again")]).assign(
        page=lambda t: t["item"].str.removesuffix("again")
    )
    alone, whole = asked(doubled).estimates["worst"], asked(doubled, cluster="page").estimates["worst"]
    assert (whole.high - whole.low) / (alone.high - alone.low) == pytest.approx(2**0.5, abs=0.25)


def test_that_groups_over_epochs_are_drawn_as_lines() -> None:
    frame = pd.concat([answers({"a": (50 + e, 100), "b": (90, 100)}, epoch=float(e)) for e in range(4)])
    result = asked(frame)
    steps = result.tables["epochs"]
    assert steps[steps["group"] == "a"]["accuracy"].tolist() == [0.5, 0.51, 0.52, 0.53]
    assert result.estimates["worst"].value == pytest.approx(0.53)
    assert {panel.key for panel in figure(WorstGroupQuestion(), result).panels} == {"groups", "epochs"}


def test_that_a_dot_stands_for_the_rows_of_its_group_and_version() -> None:
    frame = pd.concat([answers({"a": (9, 40), "b": (30, 40)}, version) for version in ("v1", "v2")])
    result = asked(frame)
    spec = figure(WorstGroupQuestion(), result)
    dots = next(mark for panel, mark in spec.marks() if panel.key == "groups" and mark.key == "v2")
    assert isinstance(dots, Points)
    assert dots.origin is not None
    assert dots.x.tolist() == [22.5, 75.0]
    rows = store_of(frame).rows("predictions")
    behind = rows[dots.origin.clause([0]).mask(rows)]
    assert (set(behind["group"]), set(behind["version"]), len(behind)) == ({"a"}, {"v2"}, 40)
    rule = next(mark for _, mark in spec.marks() if isinstance(mark, Rule) and mark.key == "chance")
    assert rule.at == pytest.approx(100 * result.estimates["v2/worst_by_chance"].value)
    assert to_json(spec)["panels"][1]["key"] == "worst"


def test_that_missing_groups_and_columns_are_said() -> None:
    frame = answers({"a": (9, 40)})
    with pytest.raises(TooLittleData, match="at least 2 groups"):
        asked(frame)
    with pytest.raises(AnalysisError, match="no column called 'colour'"):
        asked(frame, group="colour")
    with pytest.raises(TooLittleData, match="a column of groups"):
        asked(frame.drop(columns="group"))


def test_that_the_filter_of_a_group_without_name_finds_its_items() -> None:
    frame = answers({"a": (30, 40), "b": (20, 40)})
    frame.loc[frame["group"] == "b", "group"] = None
    result = asked(frame)
    assert result.worst == {"v1": "none"}
    rows = store_of(frame).rows("predictions")
    assert int(result.counts.clause("none").mask(rows).sum()) == 40
    assert result.counts.clause("a") == is_in("group", ("a",))


def test_that_the_question_survives_json() -> None:
    question = WorstGroupQuestion(group="ink", versions=("v1",), least=5)
    assert ANALYSIS.question.from_json(question.to_json()) == question


def test_that_curves_over_epochs_are_of_the_versions_and_rows_asked_for() -> None:
    parts = []
    for epoch in (1, 2):
        for version in ("v1", "v2", "v3"):
            for split in ("train", "test"):
                part = answers({"a": (40 + 5 * epoch, 80), "b": (20, 80)}, version, epoch=float(epoch), split=split)
                parts.append(part.assign(item=split + part["item"]))
    over = asked(pd.concat(parts), versions=("v1", "v2"), split="split", train="train").tables["epochs"]
    assert set(over["version"]) == {"v1", "v2"}
    assert set(over["n"]) == {80}  # rows of training are apart
    assert over.query("group == 'a' and epoch == 2")["accuracy"].unique() == pytest.approx([50 / 80])
