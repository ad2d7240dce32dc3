import pandas as pd

from runglass.models.column_guess import guessed_columns, guessed_table
from runglass.models.schema import PREDICTIONS, RUNS


def test_that_names_of_a_published_table_are_understood():
    frame = pd.DataFrame(columns=["Model Size", "Training FLOP", "loss"])
    assert guessed_columns(frame, RUNS) == {"params": "Model Size", "flops": "Training FLOP"}


def test_that_a_canonical_name_wins_and_no_column_is_used_twice():
    frame = pd.DataFrame(columns=["params", "n_params", "item", "question_id", "answer"])
    assert guessed_columns(frame, RUNS)["params"] == "params"
    guessed = guessed_columns(frame, PREDICTIONS)
    assert guessed["item"] == "item"
    assert len(set(guessed.values())) == len(guessed)


def test_that_the_table_is_the_one_whose_needed_columns_are_there_under_some_name():
    assert guessed_table(pd.DataFrame(columns=["question_id", "answer", "response"])) == "predictions"
    assert guessed_table(pd.DataFrame(columns=["system_a", "system_b", "preference"])) == "comparisons"
    assert guessed_table(pd.DataFrame(columns=["whatever"])) == "runs"


def test_that_a_table_with_the_names_of_one_is_that_one():
    assert guessed_table(pd.DataFrame({"model": ["m"], "task": ["t"], "metric": ["acc"], "value": [1.0]})) == "scores"
