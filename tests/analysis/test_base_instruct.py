from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from runglass.analysis.ranking.base_instruct import BaseInstruct, BaseInstructQuestion, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Line, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def scores(base: Any, instruct: Any, task: str = "t", **columns: Any) -> pd.DataFrame:
    """Base models b0, b1, ... and their instruct models i0, i1, ..."""
    rows = [{"model": f"b{i}", "parent": None, "value": value} for i, value in enumerate(base)]
    rows += [{"model": f"i{i}", "parent": f"b{i}", "value": value} for i, value in enumerate(instruct)]
    return pd.DataFrame(rows).assign(task=task, **columns)


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])


def asked(frame: pd.DataFrame, **options: Any) -> BaseInstruct:
    return BaseInstructQuestion(**({"draws": 200} | options)).answer(store_of(frame))


BASE, INSTRUCT = [1, 2, 3, 4, 5, 6], [2, 1, 3, 5, 4, 9]


def test_that_identical_rankings_give_one_and_reversed_ones_minus_one() -> None:
    assert asked(scores(BASE, [10 * value for value in BASE])).estimates["tau_b"].value == 1
    assert asked(scores(BASE, BASE[::-1])).estimates["tau_b"].value == -1


def test_that_pairs_that_turn_round_are_listed_with_both_gaps() -> None:
    result = asked(scores(BASE, INSTRUCT))
    assert result.estimates["tau_b"].value == pytest.approx(kendalltau(BASE, INSTRUCT).statistic)
    assert result.estimates["tau_b"].has_interval
    table = result.tables["discordant"]
    assert table[["first", "second", "gap_base", "gap_instruct"]].values.tolist() == [
        ["b0", "b1", -1, 1],
        ["b3", "b4", -1, 1],
    ]


def test_that_several_children_are_averaged_or_the_first_taken() -> None:
    more = pd.concat(
        [scores(BASE, INSTRUCT), pd.DataFrame([{"model": "j0", "parent": "b0", "value": 100, "task": "t"}])]
    )
    mean = asked(more).tables["models"].set_index("base")["value_instruct"]
    assert mean["b0"] == 51
    first = asked(more, children="first").tables["models"].set_index("base")
    assert (first.loc["b0", "value_instruct"], first.loc["b0", "instruct"]) == (2, "i0")


def test_that_a_stage_column_links_as_well_as_a_parent() -> None:
    linked = scores(BASE, INSTRUCT)
    staged = linked.assign(model=linked["model"].str.replace("i", "b"), stage=np.repeat(["base", "instruct"], 6)).drop(
        columns="parent"
    )
    assert asked(staged, stage="stage").estimates["tau_b"].value == asked(linked).estimates["tau_b"].value
    with pytest.raises(TooLittleData, match="links instruct models with their base"):
        asked(staged.drop(columns="stage"))
    with pytest.raises(AnalysisError, match="no column called 'kind'"):
        asked(staged, stage="kind")


def test_that_losses_are_turned_round_and_tasks_stand_beside_one_another() -> None:
    frame = pd.concat([scores(BASE, INSTRUCT), scores(BASE, [-v for v in INSTRUCT], task="u")]).assign(metric="acc")
    result = asked(frame)
    assert [one.task for one in result.tasks] == ["t", "u"]  # the most consistent first
    loss = asked(scores(BASE, INSTRUCT, metric="loss"))
    assert loss.estimates["tau_b"].value == pytest.approx(kendalltau(BASE, INSTRUCT).statistic)
    chosen = asked(frame, task="u")
    assert chosen.shown.task == "u"


def test_that_families_are_resampled_whole() -> None:
    generator = np.random.default_rng(0)
    lab = np.repeat(generator.normal(size=10), 6)
    frame = scores(lab + 0.01 * generator.normal(size=60), lab + 0.01 * generator.normal(size=60))
    frame["family"] = np.tile(np.repeat([f"f{i}" for i in range(10)], 6), 2)
    alone, together = (asked(frame, cluster=name).estimates["tau_b"] for name in ("", "family"))
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_that_fewer_than_four_pairs_are_refused() -> None:
    with pytest.raises(TooLittleData, match="at least 4 base models"):
        asked(scores(BASE[:3], INSTRUCT[:3]))


def test_that_a_slope_stands_for_both_models() -> None:
    question = BaseInstructQuestion(draws=200)
    result = question.answer(store_of(scores(BASE, INSTRUCT)))
    lines = {mark.key: mark for _, mark in figure(question, result).marks() if isinstance(mark, Line)}
    assert to_json(lines["b0"].origin)["clauses"] == [{"is_in": "model", "values": ["b0", "i0"]}]
    assert (lines["b0"].hue, lines["b2"].hue) == ("c0", "muted")
    assert BaseInstructQuestion.from_json(question.to_json()) == question


def test_that_items_are_resampled_by_the_standard_errors() -> None:
    instruct = [value + 0.1 for value in BASE]
    sure, unsure = (
        asked(scores(BASE, instruct, stderr=error), unit="items", draws=500).estimates["tau_b"] for error in (1e-3, 1.0)
    )
    assert (sure.low, sure.high) == (1, 1)
    assert unsure.low < 0.6 < unsure.high
    with pytest.raises(AnalysisError, match="no standard errors"):
        asked(scores(BASE, instruct), unit="items")
    halved = scores(BASE, instruct, stderr=0.4)
    extra = halved[halved["model"].str.startswith("i")].assign(model=lambda t: "second " + t["model"])
    both = asked(pd.concat([halved, extra], ignore_index=True), unit="items", draws=2000)
    alone = asked(halved, unit="items", draws=2000)
    # A mean of two children has the smaller error.
    assert both.estimates["tau_b"].low >= alone.estimates["tau_b"].low
