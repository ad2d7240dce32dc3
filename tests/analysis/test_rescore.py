from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.ranking.rescore import Rescored, RescoreQuestion, figure
from runglass.models.errors import TooLittleData
from runglass.models.figure import Line, Rule, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(predictions: dict[str, list[str]], label: list[Any], corrected: list[Any], **columns: Any) -> RunStore:
    frames = [
        pd.DataFrame({"model": model, "item": [f"i{i}" for i in range(len(label))], "prediction": given, "label": label,
                      "corrected_label": corrected} | columns)
        for model, given in predictions.items()
    ]  # fmt: skip
    return RunStore().adding([TableRows("answers.csv", "test", pd.concat(frames), "predictions")])


def asked(store: RunStore, **options: Any) -> Rescored:
    return RescoreQuestion(**({"draws": 200} | options)).answer(store)


LABEL = list("aaaaaaaabb")
CORRECTED = list("aaaaaaaaaa")
ONE = list("aaaaaaabbb")  # 9 right by the labels given, 7 by corrected ones
TWO = list("aaaaaabbaa")  # 6, and 8


def test_that_both_labels_are_scored_and_the_winner_can_change() -> None:
    result = asked(store_of({"one": ONE, "two": TWO}, LABEL, CORRECTED))
    table = result.tables["models"].set_index("model")
    assert table.loc["one", ["given", "corrected"]].tolist() == [0.9, 0.7]
    assert table.loc["two", ["given", "corrected"]].tolist() == pytest.approx([0.6, 0.8])
    assert table.loc["one", ["rank_given", "rank_corrected"]].tolist() == [1, 2]
    assert result.estimates["prevalence"].value == 0.2
    assert result.summary().startswith("two leads by corrected labels and by those given one did")


def test_that_the_swap_is_where_the_two_lines_cross() -> None:
    result = asked(store_of({"one": ONE, "two": TWO}, LABEL, CORRECTED))
    swap = result.tables["swaps"].iloc[0]
    # Clean: 7/8 and 6/8; mislabelled: 0 and 1, so that (1/8) / (1/8 + 1) of the items.
    assert swap["prevalence"] == pytest.approx((1 / 8) / (1 / 8 + 1))
    lines = {mark.key: mark for _, mark in figure(RescoreQuestion(), result).marks() if isinstance(mark, Line)}
    at = 100 * swap["prevalence"]
    one, two = (np.interp(at, lines[name].x, lines[name].y) for name in ("one", "two"))
    assert one == pytest.approx(two)


def test_that_errors_that_were_label_errors_are_counted() -> None:
    table = asked(store_of({"one": ONE, "two": TWO}, LABEL, CORRECTED)).tables["models"].set_index("model")
    assert table.loc["two", ["errors_given", "errors_corrected"]].tolist() == [4, 2]
    assert table.loc["two", "errors_on_wrong_labels"] == 0.5
    perfect = asked(store_of({"one": CORRECTED, "two": TWO}, LABEL, CORRECTED)).tables["models"].set_index("model")
    assert perfect.loc["one", "error_upper_if_none"] == pytest.approx(0.3)


def test_that_a_missing_correction_means_the_label_was_right() -> None:
    result = asked(store_of({"one": ONE, "two": TWO}, LABEL, [None] * 8 + ["a", "a"]))
    assert result.estimates["prevalence"].value == 0.2
    assert any(note.startswith("Attention: every item that was looked at") for note in result.notes)
    everywhere = asked(store_of({"one": ONE, "two": TWO}, LABEL, CORRECTED))
    assert not any(note.startswith("Attention") for note in everywhere.notes)


def test_that_whole_numbers_read_as_floats_are_the_same_labels() -> None:
    label = [0, 1, 1, 0]
    store = store_of({"one": ["0", "1", "1", "1"]}, label, [np.nan, 1.0, 0.0, 0.0])
    result = asked(store)
    assert result.estimates["prevalence"].value == 0.25
    assert result.tables["items"][["label", "corrected"]].values.tolist() == [["1", "0"]]


def test_that_the_gain_has_the_interval_of_the_same_items() -> None:
    generator = np.random.default_rng(0)
    label = generator.choice(["a", "b"], 400).tolist()
    corrected = [("a" if value == "b" else "b") if generator.random() < 0.1 else value for value in label]
    result = asked(store_of({"one": corrected}, label, corrected))
    e = result.estimates["one/gain"]
    share = np.mean([a != b for a, b in zip(label, corrected, strict=True)])
    assert e.value == pytest.approx(share)
    half = 1.96 * np.sqrt(share * (1 - share) / 400)
    assert (e.low, e.high) == pytest.approx((share - half, share + half), abs=0.01)


def test_that_without_corrections_there_is_nothing_to_rescore() -> None:
    with pytest.raises(TooLittleData, match="label was corrected; found none of 10"):
        asked(store_of({"one": ONE}, LABEL, LABEL))
    store = store_of({"one": ONE}, LABEL, LABEL)
    frame = store.rows("predictions").drop(columns="corrected_label")
    with pytest.raises(TooLittleData, match="a column with corrected labels"):
        asked(RunStore().adding([TableRows("a.csv", "test", frame, "predictions")]))


def test_that_a_line_stands_for_its_model_and_the_prevalence_is_marked() -> None:
    question = RescoreQuestion(draws=200)
    result = question.answer(store_of({"one": ONE, "two": TWO}, LABEL, CORRECTED))
    marks = {mark.key: mark for _, mark in figure(question, result).marks()}
    assert to_json(marks["two"].origin)["clauses"] == [{"is_in": "model", "values": ["two"]}]  # type: ignore[union-attr]
    observed = marks["observed"]
    assert isinstance(observed, Rule)
    assert observed.at == 20
    assert RescoreQuestion.from_json(question.to_json()) == question
