from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.analysis.compatibility.flips import ANALYSIS, FlipsQuestion, FlipTable, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Bars, Cells, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("answers.csv", "test", frame, "predictions")])


def answers(old: list[Any], new: list[Any], **columns: Any) -> pd.DataFrame:
    """Answers of two versions to items 0, 1, ...; the right answer is 'a'."""
    sides = []
    for version, given_answers in (("v1", old), ("v2", new)):
        items = [str(i) for i in range(len(given_answers))]
        side = {"version": version, "item": items, "label": "a", "prediction": given_answers}
        sides.append(pd.DataFrame(side | {name: values[: len(items)] for name, values in columns.items()}))
    return pd.concat(sides, ignore_index=True)


def asked(frame: pd.DataFrame, **options: Any) -> FlipTable:
    return FlipsQuestion(draws=200, **options).answer(store_of(frame))


def values(result: FlipTable) -> dict[str, float]:
    return {name: estimate.value for name, estimate in result.estimates.items()}


def test_that_each_kind_of_flip_is_counted() -> None:
    found = values(asked(answers(["a", "a", "b", "b", "b"], ["a", "b", "a", "b", "c"])))
    assert (found["both_right"], found["negative_flips"], found["positive_flips"], found["both_wrong"]) == (1, 1, 1, 2)
    assert (found["n"], found["nfr"], found["pfr"], found["churn"]) == (5, 0.2, 0.2, 0.6)
    assert found["nfr_mc"] == 0.4
    assert (found["btc"], found["bec"], found["nfi"]) == pytest.approx((1 / 2, 2 / 3, 1 / 3))
    assert found["relative_nfr"] == pytest.approx(0.2 / (0.4 * 0.6))
    assert found["mcnemar_p"] == 1


answer = st.sampled_from(["a", "b", "c", None])


@settings(deadline=None, max_examples=30)
@given(pairs=st.lists(st.tuples(answer, answer), min_size=2, max_size=40), order=st.randoms())
def test_that_flips_obey_their_laws_in_any_order(pairs: list[tuple[str, str]], order: Any) -> None:
    frame = answers([old for old, _ in pairs], [new for _, new in pairs])
    found = values(asked(frame))
    assert found["accuracy_new"] - found["accuracy_old"] == pytest.approx(found["pfr"] - found["nfr"])
    assert found["churn"] == pytest.approx(found["nfr_mc"] + found["pfr"])
    least = max(0.0, found["accuracy_old"] - found["accuracy_new"])
    assert least - 1e-12 <= found["nfr"] <= min(found["accuracy_old"], 1 - found["accuracy_new"]) + 1e-12
    rows = list(range(len(frame)))
    order.shuffle(rows)
    shuffled = values(asked(frame.iloc[rows], old="v1", new="v2", by="version"))
    np.testing.assert_equal(shuffled, found)


def test_that_old_and_new_can_be_swapped() -> None:
    frame = answers(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    there, back = asked(frame, old="v1", new="v2"), asked(frame, old="v2", new="v1")
    assert there.counts["negative_flips"] == back.counts["positive_flips"] == 1


def test_that_the_last_two_versions_or_first_two_models_are_compared_unless_others_are_asked_for() -> None:
    question = FlipsQuestion().resolved(store_of(answers(["a"], ["b"])))
    assert (question.by, question.old, question.new) == ("version", "v1", "v2")
    many = pd.concat([answers(["a"], ["b"]).assign(version=[f"v{i}", f"v{i + 1}"]) for i in (9, 1)])
    many = pd.concat([many, answers(["a"], []).assign(version="v11", item="another")])
    latest = FlipsQuestion().resolved(store_of(many))
    assert (latest.old, latest.new) == ("v9", "v10")
    backwards = FlipsQuestion(new="v1").resolved(store_of(many))
    assert backwards.new == "v1"
    assert backwards.old in ("v2", "v9", "v10")
    models = answers(["a"], ["b"]).rename(columns={"version": "model"})
    assert FlipsQuestion(new="v1").resolved(store_of(models)) == FlipsQuestion(by="model", old="v2", new="v1")


def test_that_versions_of_one_model_are_compared_at_their_last_epoch() -> None:
    small, large = (answers(["a"], ["a"]).assign(model="small"), answers(["a", "a"], ["b", "a"]).assign(model="large"))
    third = large.iloc[:2].assign(version="v3", prediction=["b", "b"])
    epochs = pd.concat([third.assign(epoch=1.0, prediction="a"), third.assign(epoch=2.0)])
    result = asked(pd.concat([small, large, epochs]))
    assert (result.old, result.new) == ("v2", "v3")
    assert values(result)["n"] == 2
    assert result.counts["negative_flips"] == 1
    first = asked(pd.concat([small, large, epochs]), epoch=1.0)
    assert first.counts["positive_flips"] == 1
    over_epochs = asked(epochs, by="epoch")
    assert (over_epochs.old, over_epochs.new, over_epochs.counts["negative_flips"]) == ("1.0", "2.0", 2)


def test_that_no_answer_is_wrong_or_dropped_or_worth_a_guess_as_asked() -> None:
    frame = answers(["a", None, "a"], ["a", "a", None], n_options=[4, 4, 4])
    wrong = asked(frame)
    assert wrong.estimates["accuracy_old"].value == pytest.approx(2 / 3)
    assert any("No answer: 1 of v1, 1 of v2; counted as wrong" in note for note in wrong.notes)
    assert values(asked(frame, unanswered="dropped"))["n"] == 1
    guessed = asked(frame, unanswered="guess")
    assert guessed.estimates["accuracy_old"].value == pytest.approx(2.25 / 3)
    assert guessed.to_json()["estimates"]["mcnemar_p"]["value"] is None


def test_that_only_items_of_both_are_compared_and_the_others_said() -> None:
    frame = answers(["a", "b", "a"], ["a", "a"])
    result = asked(frame)
    assert values(result)["n"] == 2
    assert any(note.startswith("Attention: 1 item only in v1") for note in result.notes)


def test_that_items_whose_label_differs_are_left_out() -> None:
    frame = answers(["a", "b"], ["a", "b"])
    frame.loc[3, "label"] = "b"
    result = asked(frame)
    assert values(result)["n"] == 1
    assert any("1 item left out: the label differs" in note for note in result.notes)


def test_that_an_item_answered_twice_stops_and_is_named() -> None:
    frame = pd.concat([answers(["a"], ["a"])] * 2)
    with pytest.raises(AnalysisError, match="2 rows of v1 answer a question more than once, first item 0"):
        asked(frame)
    told_apart = frame.assign(sample=["0", "0", "1", "1"])
    assert values(asked(told_apart))["n"] == 2


def test_that_one_version_alone_is_too_little() -> None:
    with pytest.raises(TooLittleData, match="two or more versions or models"):
        asked(answers(["a"], ["a"]).iloc[:1])


def test_that_scores_in_between_are_right_from_a_threshold_on() -> None:
    frame = pd.DataFrame({"version": ["v1", "v2"], "item": "0", "correct": [0.6, 0.4]})
    assert asked(frame).counts["negative_flips"] == 1
    assert asked(frame, right_from=0.7).counts["both_wrong"] == 1
    assert asked(frame).to_json()["estimates"]["churn"]["value"] is None


def test_that_scores_in_between_fall_and_rise_by_how_much() -> None:
    old, new = [0.9, 0.6, 0.2, 0.5, 0.7], [0.4, 0.5, 0.6, 0.5, 0.9]
    items = [str(i) for i in range(5)]
    sides = [pd.DataFrame({"version": v, "item": items, "correct": s}) for v, s in (("v1", old), ("v2", new))]
    question = FlipsQuestion(draws=200)
    result = question.answer(store_of(pd.concat(sides)))
    found = values(result)
    assert (found["nfr_continuous"], found["pfr_continuous"]) == (0.4, 0.4)
    assert found["mean_regression"] == pytest.approx((0.5 + 0.1) / 2)
    assert found["mean_gain"] == pytest.approx((0.4 + 0.2) / 2)
    assert found["mean_difference"] == pytest.approx(
        found["mean_gain"] * found["pfr_continuous"] - found["mean_regression"] * found["nfr_continuous"]
    )
    assert found["nfr"] == 0.2
    assert found["extra_nfr_continuous"] == pytest.approx(0.2)
    panel = figure(question, result).panels[-1]
    falls = next(mark for mark in panel.marks if mark.key == "falls")
    assert to_json(falls.origin)["values"] == ["0", "1"]


def test_that_clusters_are_resampled_whole() -> None:
    generator = np.random.default_rng(0)
    passage = np.repeat(np.arange(20), 10)
    right = np.where(np.repeat(generator.random(20) < 0.5, 10), "a", "b")
    frame = answers(["a"] * 200, right.tolist(), passage=passage.tolist())
    alone, together = asked(frame), asked(frame, cluster="passage")
    widths = [e.high - e.low for e in (alone.estimates["nfr"], together.estimates["nfr"])]
    assert widths[1] == pytest.approx(widths[0] * np.sqrt(10), rel=0.25)
    assert together.notes[0].startswith("Unit: the passage, taken whole (20 of them")


def test_that_flips_are_split_by_group_with_holm() -> None:
    frame = answers(["a", "a", "a", "b"], ["b", "b", "a", "a"], subject=["x", "x", "x", "y"])
    table = asked(frame, group="subject").tables["groups"].set_index("group")
    assert table["negative_flips"].to_dict() == {"x": 2, "y": 0}
    assert table.loc["x", "nfr"] == pytest.approx(2 / 3)
    assert (table["mcnemar_p_holm"] >= table["mcnemar_p"]).all()


def test_that_the_items_that_flipped_are_listed_with_both_answers() -> None:
    items = asked(answers(["a", "b", "a"], ["b", "a", "a"])).tables["items"]
    assert items["flip"].tolist() == ["right to wrong", "wrong to right"]
    assert items[["item", "prediction_old", "prediction_new"]].values.tolist() == [["0", "a", "b"], ["1", "b", "a"]]


def test_that_a_cell_of_the_table_stands_for_its_items() -> None:
    question = FlipsQuestion(draws=100)
    result = question.answer(store_of(answers(["a", "a", "b"], ["a", "b", "b"])))
    spec = figure(question, result)
    cells = next(mark for _, mark in spec.marks() if isinstance(mark, Cells))
    assert cells.texts == (("1\n33.3 %", "1\n33.3 %"), ("0\n0.0 %", "1\n33.3 %"))
    assert to_json(cells.origin)["clauses"][1] == {"is_in": "item", "values": ["1"]}
    bars = {mark.key: mark for _, mark in spec.marks() if isinstance(mark, Bars)}
    assert {name: mark.hue for name, mark in bars.items()} == {"nfr": "bad", "pfr": "good"}
    assert "95 % Wilson intervals" in spec.subtitle


def test_that_a_bar_of_a_group_stands_for_the_group() -> None:
    question = FlipsQuestion(draws=100, group="subject")
    result = question.answer(store_of(answers(["a", "a"], ["a", "b"], subject=["x", "y"])))
    bar = next(mark for _, mark in figure(question, result).marks() if isinstance(mark, Bars))
    assert to_json(bar.origin)["clauses"][0] == {"is_in": "subject", "values": ["x"]}


def test_that_items_of_several_tasks_are_told_apart() -> None:
    frame = answers(["a", "b", "a", "b"], ["b", "b", "a", "a"]).assign(
        task=["s", "s", "t", "t"] * 2, item=["0", "1"] * 4
    )
    result = asked(frame)
    assert values(result)["n"] == 4
    mask = result.items["negative_flips"].mask(frame)
    assert frame[mask][["task", "item"]].drop_duplicates().values.tolist() == [["s", "0"]]


def test_that_the_question_goes_to_json_and_back() -> None:
    question = FlipsQuestion(old="v1", new="v2", group="subject", unanswered="guess")
    assert FlipsQuestion.from_json(question.to_json()) == question
    assert ANALYSIS.inputs == ("predictions",)


@pytest.mark.parametrize(
    ("old", "new", "flips", "rates", "p"),
    [
        ("Mistral-7B-Instruct-v0.1", "Mistral-7B-Instruct-v0.2", (1146, 1700, 7426, 1760),
         (0.1336910873, 0.6056434962, 0.8663089127, 0.8137190445), 2.514078139093824e-25),
        ("Mistral-7B-v0.1", "Mistral-7B-v0.2-hf", (1073, 1001, 7449, 2509),
         (0.1259094109, 0.7004466778, 0.8740905891, 0.8815384615), 0.11896849581093868),
        ("Mixtral-8x7B-v0.1", "Mixtral-8x7B-Instruct-v0.1", (1241, 1483, 5751, 3557),
         (0.1774885584, 0.7413505627, 0.8225114416, 0.7949958529), 3.829106478051174e-06),
    ],
)  # fmt: skip
def test_that_the_counts_of_mmlu_pro_come_out(
    shared_data: Path, old: str, new: str, flips: tuple[int, ...], rates: tuple[float, ...], p: float
) -> None:
    wide = pd.read_csv(shared_data / "compatibility" / "mmlu_pro" / "answers.csv", dtype=str)
    frame = wide.melt(["question_id", "category", "answer"], [old, new], "model", "prediction")
    frame = frame.rename(columns={"question_id": "item", "category": "group", "answer": "label"})
    result = asked(frame, by="model", old=old, new=new, group="group")
    found = values(result)
    assert found["n"] == 12032
    counts = ("negative_flips", "positive_flips", "both_wrong", "both_right")
    assert tuple(found[name] for name in counts) == flips
    assert [found[name] for name in ("nfi", "btc", "bec", "bec_over_old_errors")] == pytest.approx(rates, abs=1e-9)
    assert found["mcnemar_p"] == pytest.approx(p, rel=1e-9)
    assert found["nfr"] == flips[0] / 12032
    assert len(result.tables["groups"]) == 14
    json.dumps(result.to_json())


def test_that_a_source_without_answers_is_not_taken_to_have_given_none() -> None:
    items = ["0", "1", "2"]
    with_answers = pd.DataFrame({"version": "v1", "item": items, "label": "a", "prediction": ["a", None, "b"]})
    without = pd.DataFrame({"version": "v2", "item": items, "correct": [1.0, 1.0, 0.0]})
    store = RunStore().adding(
        [TableRows("one", "test", with_answers.assign(correct=[1.0, 0.0, 0.0]), "predictions"),
         TableRows("two", "test", without, "predictions")]
    )  # fmt: skip
    result = FlipsQuestion(draws=200, unanswered="wrong").answer(store)
    assert result.counts == {"both_right": 1, "negative_flips": 0, "positive_flips": 1, "both_wrong": 1}
    assert any("No answer: 1 of v1; counted as wrong" in note for note in result.notes)
    assert result.to_json()["estimates"]["churn"]["value"] is None


def test_that_a_guess_is_worth_one_of_its_options_and_refused_where_they_are_not_known() -> None:
    from runglass.analysis.answers import rightness

    frame = pd.DataFrame(
        {"prediction": ["a", None, None], "correct": [1.0, 0.0, 0.0], "n_options": [np.nan, 4.0, 10.0]}
    )
    assert rightness(frame, "guess").tolist() == [1.0, 0.25, 0.1]
    labelled = frame.drop(columns="n_options").assign(label=["a", "b", "c"])
    assert rightness(labelled, "guess").tolist() == pytest.approx([1.0, 1 / 3, 1 / 3])
    for unknown in (frame.drop(columns="n_options"), labelled.assign(label=None), frame.assign(n_options=0.0)):
        with pytest.raises(AnalysisError, match="among how many options"):
            rightness(unknown, "guess")
        with pytest.raises(AnalysisError, match="Nothing says which answers are right"):
            rightness(unknown[["prediction"]], "wrong")
    assert rightness(frame.drop(columns="n_options").iloc[:1], "guess").tolist() == [1.0]  # nothing to guess
