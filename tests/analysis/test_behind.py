import pandas as pd

from runglass.analysis.behind import rows_behind, table_behind
from runglass.models.selection import All, is_in
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def predictions(models=("old", "new", "third", "fourth"), column="model"):
    answers = {"q1": "ABAA", "q2": "A AB", "q3": "BAAA"}
    rows = [
        {column: model, "item": item, "label": "A", "category": kind, "prediction": given.strip() or None}
        for (item, letters), kind in zip(answers.items(), ("law", "law", "art"), strict=True)
        for model, given in zip(models, letters, strict=False)
    ]
    return RunStore().adding([TableRows("answers.csv", "t", pd.DataFrame(rows))])


def test_that_old_and_new_answers_stand_side_by_side_with_how_many_others_were_right():
    behind = rows_behind(predictions(), is_in("item", ["q1", "q2"]), ("model", "old", "new"))
    frame = behind.frame
    assert frame["item"].tolist() == ["q1", "q2"]
    assert frame["answer_old"].tolist() == ["A", "A"]
    assert frame["answer_new"].tolist() == ["B", "none"]
    assert frame["change"].tolist() == ["right → wrong"] * 2
    assert frame["others right"].tolist() == ["2 of 2", "1 of 2"]
    assert behind.tones["answer_new"].tolist() == [-1, -1]
    assert behind.tones["change"].tolist() == [-1, -1]
    assert behind.what == "2 items · old → new · right → wrong"


def test_that_two_versions_are_put_side_by_side_unasked_and_more_are_not():
    store = predictions(("v1", "v2"), "version")
    assert "change" in rows_behind(store, None).frame
    assert "change" not in rows_behind(predictions(), None).frame


def test_that_an_item_only_one_of_the_two_answered_stays():
    frame = pd.DataFrame(
        {"model": ["a", "a", "b"], "item": ["1", "2", "1"], "label": ["x", "x", "x"], "prediction": ["x", "x", "x"]}
    )
    behind = rows_behind(RunStore().adding([TableRows("s", "t", frame)]), None)
    assert behind.frame["change"].tolist() == ["right → right", "right → –"]


def test_that_right_and_wrong_are_said_in_words():
    behind = rows_behind(predictions(), is_in("model", ["third"]))
    assert behind.frame["correct"].tolist() == ["right", "right", "right"]
    assert behind.tones["correct"].tolist() == [1, 1, 1]
    assert behind.what == "3 predictions · third"


def test_that_a_column_that_repeats_a_canonical_one_is_shown_once():
    frame = pd.DataFrame({"question_id": [1, 2], "item": ["1", "2"], "model": ["m", "m"], "correct": [0, 1]})
    behind = rows_behind(RunStore().adding([TableRows("s", "t", frame)]), None)
    assert list(behind.frame.columns) == ["item", "correct"]


def test_that_the_most_detailed_table_a_highlight_reads_on_is_taken():
    scores = pd.DataFrame({"model": ["old"], "task": ["t"], "value": [0.5]})
    store = predictions().adding([TableRows("scores.csv", "t", scores)])
    assert table_behind(store, is_in("model", ["old"])) == "predictions"
    assert table_behind(store, All((is_in("model", ["old"]), is_in("value", [0.5])))) == "scores"
    assert table_behind(store, is_in("no such column", [1])) is None
    assert rows_behind(store, is_in("no such column", [1])) is None
