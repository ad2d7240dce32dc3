from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean, kendalltau, rankdata, zscore

from runglass.analysis.ranking.aggregate import (
    ANALYSIS,
    Board,
    BoardQuestion,
    contributions,
    exchange_rates,
    figure,
    stated_weights,
)
from runglass.analysis.score_table import chosen_scores
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Cells, Line, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def table(values: np.ndarray, **more: Any) -> pd.DataFrame:
    n, k = np.shape(values)
    rows = {"model": np.repeat([f"m{i}" for i in range(n)], k), "task": np.tile([f"t{j}" for j in range(k)], n)}
    return pd.DataFrame(rows | {"value": np.ravel(values)} | more)


def asked(frame: pd.DataFrame, **options: Any) -> Board:
    store = RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])
    return BoardQuestion(**({"draws": 200} | options)).answer(store)


VALUES = np.random.default_rng(0).uniform(10, 90, (8, 5))


def column(result: Board, name: str) -> np.ndarray:
    return result.board.set_index("model").loc[[f"m{i}" for i in range(8)], name].to_numpy(float)


def test_that_each_rule_is_its_closed_form() -> None:
    result = asked(table(VALUES))
    assert column(result, "mean") == pytest.approx(VALUES.mean(axis=1))
    assert column(result, "geometric mean") == pytest.approx(gmean(VALUES, axis=1))
    assert column(result, "standardised") == pytest.approx(zscore(VALUES, ddof=1).mean(axis=1))
    assert column(result, "win rate") == pytest.approx((rankdata(VALUES, axis=0) - 1).mean(axis=1) / 7)
    span = VALUES.max(axis=0) - VALUES.min(axis=0)
    assert column(result, "normalised") == pytest.approx(((VALUES - VALUES.min(axis=0)) / span).mean(axis=1))
    peers = np.array([np.delete(VALUES, i, axis=0).mean(axis=0) for i in range(8)])
    assert column(result, "relative gain") == pytest.approx((100 * (VALUES - peers) / peers).mean(axis=1))


def test_that_all_weight_on_one_task_gives_its_order() -> None:
    weights = tuple(f"t{j}={int(j == 2)}" for j in range(5))
    for rule in ("mean", "win rate", "geometric mean", "standardised"):
        result = asked(table(VALUES), rule=rule, weights=weights)
        assert result.board["model"].tolist() == [f"m{i}" for i in np.argsort(-VALUES[:, 2])]
    assert result.sweep.shape[0] == 8
    swept = asked(table(VALUES), sweep="t2")
    best = VALUES[:, 2].argmax()
    assert swept.sweep[swept.board["model"].tolist().index(f"m{best}"), -1] == 1


def test_that_scores_of_which_lower_is_better_count_the_other_way() -> None:
    frame = table(VALUES)
    turned = frame.assign(higher_is_better=frame["task"] != "t0")
    result = asked(turned, weights=tuple(f"t{j}=0" for j in range(1, 5)))
    assert result.board["model"].iloc[0] == f"m{VALUES[:, 0].argmin()}"
    assert (result.ranks[0] == 1).all()
    assert any("several metrics or directions" in note for note in result.notes)
    assert not any("directions are added" in note for note in asked(turned, rule="win rate").notes)


def test_that_the_dynascore_is_that_of_a_board_worked_by_hand() -> None:
    # Sorted by performance: 60, 70, 90 -> steps of 10 and 20. Throughput steps 5 and 2: rate (0.5 + 0.1) / 2 = 0.3.
    board = np.array([[90.0, 3], [60.0, 10], [70.0, 5]])
    assert exchange_rates(board, 0) == pytest.approx([1, 0.3])
    result = asked(table(board), rule="dynascore", performance="t0")
    scores = result.board.set_index("model")["dynascore"]
    assert scores.loc[["m0", "m1", "m2"]].tolist() == pytest.approx([45 + 5, 30 + 10 / 0.6, 35 + 5 / 0.6])
    with pytest.raises(AnalysisError, match="no performance is named"):
        asked(table(board), rule="dynascore")


def test_that_half_of_the_weight_is_on_performance_unless_stated() -> None:
    assert stated_weights((), ("a", "b", "c"), "b") == pytest.approx([0.25, 0.5, 0.25])
    assert stated_weights(("a=2",), ("a", "b", "c"), "b") == pytest.approx([0.5, 0.25, 0.25])
    for wrong in (("a",), ("a=x",), ("a=-1",), ("a=0", "b=0", "c=0"), ("d=1",)):
        with pytest.raises(AnalysisError):
            stated_weights(wrong, ("a", "b", "c"))


def test_that_pooling_items_can_reverse_a_mean_of_tasks() -> None:
    # Simpson: m0 is better on both means of tasks, m1 on the pooled items.
    frame = table(np.array([[0.9, 0.30], [0.5, 0.40]])).assign(n=[10.0, 1000.0] * 2)
    mean, pooled = asked(frame), asked(frame, rule="items")
    assert mean.board["model"].iloc[0] == "m0"
    assert pooled.board["model"].iloc[0] == "m1"
    assert pooled.estimates["m1"].value == pytest.approx((0.5 * 10 + 0.4 * 1000) / 1010)
    assert "items" not in asked(table(VALUES)).rules


def test_that_the_first_under_random_weights_is_counted() -> None:
    # With two tasks m0 leads where w > 1/3: uniform weights give 2/3.
    result = asked(table(np.array([[3.0, 0.0], [1.0, 1.0], [0.0, 0.5]])), draws=4000)
    e = result.estimates
    assert result.board["model"].iloc[0] == "m0"
    assert e["first_under_random_weights"].value == pytest.approx(2 / 3, abs=0.03)
    # Both tasks (1/2) or twice the first (1/4); twice the second puts m1 first.
    assert e["first_in_resamples"].value == pytest.approx(3 / 4, abs=0.03)


def test_that_a_resampled_mean_has_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(50, 10, (3, 40))
    e = asked(table(values), draws=4000).estimates["m1"]
    assert (e.high - e.low) / 2 == pytest.approx(1.96 * values[1].std() / np.sqrt(40), rel=0.05)


def test_that_a_third_model_can_decide_who_wins_most() -> None:
    # m1 beats m0 on three of five tasks, but m0 alone always beats m2: m0 leads, and without m2 it would be m1.
    values = np.array([[2.0, 2, 2, 3, 3], [3, 3, 3, 1, 1], [1, 1, 1, 2, 2]])
    result = asked(table(values), rule="win rate")
    assert result.board["model"].iloc[0] == "m0"
    assert result.estimates["leader_changes"].value == 1
    assert result.wins[0, 1:].tolist() == pytest.approx([0.4, 1.0])
    assert asked(table(values[:2]), rule="win rate").estimates["leader_changes"].value == 0


def test_that_the_rules_are_compared_by_tau() -> None:
    rules = asked(table(VALUES)).tables["rules"].set_index(["rule", "other"])["tau_b"]
    ratio = kendalltau(VALUES.mean(axis=1), gmean(VALUES, axis=1)).statistic
    assert rules[("mean", "geometric mean")] == pytest.approx(ratio)


def test_that_models_without_a_score_on_some_task_are_left_out_and_said() -> None:
    frame = table(VALUES)
    result = asked(frame.drop(index=3))
    assert len(result.board) == 7
    assert any("1 of 8 models left out" in note for note in result.notes)
    with pytest.raises(TooLittleData):
        asked(table(VALUES[:, :1]))
    parts, missing = contributions(VALUES - 50, VALUES - 50)
    assert "geometric mean" in missing
    assert "geometric mean" not in parts


def test_that_metrics_of_one_task_are_added_up_where_there_is_one_task() -> None:
    frame = table(VALUES).rename(columns={"task": "metric"}).assign(task="only")
    assert asked(frame).tasks == ("t0", "t1", "t2", "t3", "t4")


def test_that_the_figure_has_a_line_a_model_and_cells_lead_to_it() -> None:
    result = asked(table(VALUES))
    spec = figure(BoardQuestion(), result)
    assert [panel.key for panel in spec.panels] == ["intervals", "sweep", "rules", "wins"]
    assert sum(isinstance(mark, Line) for _, mark in spec.marks()) == 6
    cells = next(mark for _, mark in spec.marks() if isinstance(mark, Cells) and mark.key == "wins")
    assert cells.origin is not None
    assert to_json(cells.origin.clause([8])) == to_json(result.scores.clause(result.board["model"].iloc[1]))
    assert ANALYSIS.question.missing(RunStore()).startswith("needs")


def test_that_scores_are_chosen_by_what_was_asked_for_and_the_choice_is_said() -> None:
    rows = pd.DataFrame({"model": list("ab") * 4, "task": "t", "metric": "acc", "split": ["test"] * 4 + ["dev"] * 4,
                         "fewshot": [0, 0, 5, 5] * 2, "value": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, np.nan, 0.8]})  # fmt: skip
    store = RunStore().adding([TableRows("s.csv", "test", rows, "scores")])
    found = chosen_scores(store, split="dev", better="higher")
    assert found.frame.set_index("model")["value"].to_dict() == {"a": 0.5, "b": 0.6}
    assert "1 score left out: not finite." in found.notes
    assert "fewshot 0 (not 5)." in found.notes
    assert "Higher is taken as better." in found.notes
    assert (chosen_scores(store, better="lower").frame["good"] < 0).all()
    for options, said in (
        (
            {"split": "train"},
            "No score has split 'train'. There are dev, test|No score has split 'train'. There are test, dev",
        ),
        ({"apart": ("nowhere",)}, "no column called 'nowhere'"),
        ({"task": "u"}, "No score has task 'u'"),
    ):
        with pytest.raises(AnalysisError, match=said):
            chosen_scores(store, **options)  # type: ignore[arg-type]
    none = RunStore().adding([TableRows("s.csv", "test", rows.assign(value=np.nan), "scores")])
    with pytest.raises(TooLittleData, match="none that are kept"):
        chosen_scores(none)
