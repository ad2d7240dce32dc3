import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runglass.models import selection
from runglass.models.bounded_search import found_in
from runglass.models.errors import SessionError
from runglass.models.selection import (
    BRUSH_MODES,
    EVERYTHING,
    All,
    AnyOf,
    Between,
    Holds,
    IsIn,
    Matches,
    Not,
    both,
    either,
    from_json,
    is_in,
    to_json,
    without,
)

FRAME = pd.DataFrame({"run": ["a", "b", "c", "d"], "params": [1.0, 2.0, 3.0, None]})

_simple = st.one_of(
    st.just(EVERYTHING),
    st.builds(is_in, st.just("run"), st.frozensets(st.sampled_from("abcd"))),
    st.builds(Between, st.just("params"), st.floats(0, 2), st.floats(1, 4)),
    st.builds(Matches, st.just("run"), st.sampled_from(["a|c", "^d", "["])),
    st.just(Holds("params > 1.5")),
)
clauses = st.recursive(
    _simple,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def rows(clause):
    return set(FRAME["run"][clause.mask(FRAME)])


@given(clauses)
def test_that_a_clause_goes_to_json_and_back(clause):
    assert from_json(json.loads(json.dumps(to_json(clause)))) == clause


@given(clauses, clauses)
def test_that_brush_modes_are_set_operations(old, new):
    assert rows(BRUSH_MODES["and"](old, new)) == rows(old) & rows(new)
    assert rows(BRUSH_MODES["or"](old, new)) == rows(old) | rows(new)
    assert rows(BRUSH_MODES["not"](old, new)) == rows(old) - rows(new)
    assert rows(BRUSH_MODES["replace"](old, new)) == rows(new)


def test_that_narrowing_twice_by_the_same_clause_changes_nothing():
    once = both(EVERYTHING, is_in("run", "ab"))
    assert both(once, is_in("run", "ab")) == once


def test_that_keys_of_one_column_are_joined_into_one_clause():
    assert either(is_in("run", "a"), is_in("run", "b")) == is_in("run", "ab")
    assert without(is_in("run", "ab"), is_in("run", "b")) == is_in("run", "a")


def test_that_an_invalid_pattern_filters_nothing():
    assert rows(Matches("run", "[")) == set("abcd")


def test_that_a_missing_value_lies_in_no_interval():
    assert rows(Between("params", 0, 10)) == set("abc")


@pytest.mark.parametrize("data", [None, 3, {}, {"is_in": 3}, {"all": [{"what": 1}]}, {"between": "x", "low": "1"}])
def test_that_what_is_no_clause_is_refused(data):
    with pytest.raises(SessionError):
        from_json(data)


def test_that_a_clause_reads_as_a_phrase():
    assert str(All((IsIn("run", frozenset("a")), Between("params", 1, 2.5)))) == "run is a and 1 ≤ params ≤ 2.5"


@pytest.mark.parametrize(
    ("clause", "columns", "text"),
    [
        (EVERYTHING, set(), "everything"),
        (Matches("run", "big.*"), {"run"}, "run matches big.*"),
        (Holds("loss < 3 and lr > 1"), {"loss", "lr"}, "loss < 3 and lr > 1"),
        (AnyOf((Matches("run", "a"), Holds("lr > 1"))), {"run", "lr"}, "(run matches a or lr > 1)"),
        (Not(Matches("run", "a")), {"run"}, "not (run matches a)"),
    ],
)
def test_that_a_clause_says_what_it_reads_and_asks(clause, columns, text):
    assert clause.columns == columns
    assert str(clause) == text


def test_that_a_pattern_is_searched_once_in_a_text_that_many_rows_have(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def search(pattern: str, texts: list[str]) -> list[bool]:
        seen.extend(texts)
        return found_in(pattern, texts)

    monkeypatch.setattr(selection, "found_in", search)
    frame = pd.DataFrame({"model": ["small", "big", None] * 1000})
    assert Matches("model", "big|nan|None").mask(frame).tolist() == [False, True, True] * 1000
    assert len(seen) == 3
