"""Options as forms and command lines take them, what a question lacks, and what is on offer for an option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest

from runglass.models.errors import RunglassError
from runglass.models.figure import FigureSpec
from runglass.models.question import Analysis, Need, Question, choices_in, option
from runglass.models.store import RunStore


@dataclass(frozen=True)
class Asked(Question):
    """A question with an option of every kind."""

    needs: ClassVar[tuple[Need, ...]] = (Need("predictions", ("confidence", "margin|logit")), Need("runs|scores"))

    tag: str = option("loss", help="A text.")
    sizes: tuple[str, ...] = option((), help="Texts.")
    draws: int = option(100, help="A whole number.", low=1, high=1000)
    level: float | None = option(None, help="A number, or none.", low=0, high=1)
    how: Literal["mean", "median"] = option("mean", help="A choice.")
    paired: bool = option(True, help="Yes or no.")


OPTIONS = {one.name: one for one in Asked.options()}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("tag", "acc", "acc"), ("sizes", "1B, 7B,,", ("1B", "7B")), ("draws", "12", 12), ("level", "0.5", 0.5),
        ("level", "auto", None), ("how", "median", "median"), ("paired", "Yes", True), ("paired", "off", False),
    ],
)  # fmt: skip
def test_that_an_option_is_read_as_its_kind(name: str, text: str, value: Any) -> None:
    assert OPTIONS[name].parsed(text) == value


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("draws", "0", "--draws"), ("draws", "1.5", "is a number, not '1.5'"), ("level", "2", "--level"),
        ("how", "mode", "is one of mean, median; not 'mode'"), ("paired", "perhaps", "is yes or no, not 'perhaps'"),
    ],
)  # fmt: skip
def test_that_a_text_that_is_no_value_of_an_option_is_refused(name: str, text: str, what: str) -> None:
    with pytest.raises(RunglassError, match=what):
        OPTIONS[name].parsed(text)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [("tag", 3, "is a text, not 3"), ("sizes", ("a", 3), "is a list of texts"), ("paired", 1, "is yes or no, not 1"),
     ("draws", True, "--draws is a"), ("draws", "x", "--draws is a")],
)  # fmt: skip
def test_that_a_value_of_a_session_of_another_kind_is_refused(name: str, value: Any, what: str) -> None:
    with pytest.raises(RunglassError, match=what):
        Asked.from_json({name: value})


def test_that_a_question_comes_back_from_json_without_options_there_no_longer_are() -> None:
    asked = Asked(sizes=("1B",), level=0.25, how="median")
    assert Asked.from_json(asked.to_json() | {"once": 3}) == asked


def test_that_a_question_says_what_the_open_data_lack(store: RunStore) -> None:
    assert Asked.missing(RunStore()) == "needs a predictions table; none is open"
    assert Asked.missing(store) == "needs a column margin or logit in the predictions table"
    assert Question.missing(RunStore()) == ""


@pytest.mark.parametrize(
    ("choices", "values"),
    [
        ("", []), ("tags", ["acc", "loss"]), ("x axes", ["acc", "loss", "relative", "step", "wall"]),
        ("predictions.version", ["v1", "v2"]), ("predictions.no_such", []), ("scores.model", []), ("nonsense", []),
        ("predictions.version|predictions.model", ["m", "v1", "v2"]), ("numbers of predictions", ["confidence", "correct"]),
    ],
)  # fmt: skip
def test_that_the_values_on_offer_are_those_of_the_store(store: RunStore, choices: str, values: list[str]) -> None:
    assert sorted(choices_in(store, choices)) == values


def test_that_all_columns_of_a_table_may_be_on_offer(store: RunStore) -> None:
    assert set(choices_in(store, "columns of predictions")) == set(store.columns("predictions"))


def test_that_the_family_and_the_inputs_of_an_analysis_follow_from_its_question() -> None:
    def figure(question: Question, result: Any) -> FigureSpec:
        return FigureSpec()

    assert Analysis(id="a.b", title="", asks="", question=Asked, figure=figure).family == "a"
    assert Analysis(id="a.b", title="", asks="", question=Asked, figure=figure).inputs == (
        "predictions",
        "runs",
        "scores",
    )
    assert Analysis(id="a.b", title="", asks="", question=Question, figure=figure).inputs == ("runs",)


def test_that_a_value_dragged_elsewhere_changes_no_question_that_does_not_follow_it(store: RunStore) -> None:
    asked = Asked()
    assert asked.following(Asked(draws=3), "draws", 4.0, store) is asked
