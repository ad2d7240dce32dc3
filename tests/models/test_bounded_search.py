"""A search with an expression of anyone ends soon, and finds what Python's own finds."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runglass.models.bounded_search import TooSlow, compiled, found_in
from runglass.models.errors import ExpressionError
from runglass.models.run_tree import found_keys
from runglass.models.selection import Matches
from runglass.models.table_look import found_rows

ENDLESS = (
    (r"((\w{1,16}){1,16}){1,16}!", "!" + "a" * 60 + "?"),
    (r"(?:a|ab|b)+!", "!" + "ab" * 60 + "?"),
    (r"(a+)+$", "a" * 4000 + "?"),
    (r"(\w+\s?)*$", "a" * 4000 + "?"),
)
"""Each takes minutes or centuries, here and with `re`."""

INVALID = (
    "(" * 5000,
    "a{99999999999999999999}",
    "a{" + "9" * 5000 + "}",
    "a{1000000000}",
    "((a{999}){999}){999}",
    "(" * 400 + "a" + ")" * 400,
    "(",
    "[z-a]",
)


@pytest.mark.parametrize(("pattern", "trap"), ENDLESS)
def test_that_a_search_without_end_is_given_up(pattern: str, trap: str) -> None:
    with pytest.raises(TooSlow):
        found_in(pattern, [trap], seconds=0.1)


@pytest.mark.parametrize(("pattern", "trap"), ENDLESS)
def test_that_filters_find_everything_where_a_search_would_not_end(pattern: str, trap: str) -> None:
    names = [trap, "b"]
    frame = pd.DataFrame({"name": names})
    assert found_keys(names, pattern) == names
    assert found_rows(frame, pattern).all()
    assert Matches("name", pattern).mask(frame).all()


@pytest.mark.parametrize("pattern", INVALID)
def test_that_filters_find_everything_where_an_expression_cannot_be_compiled(pattern: str) -> None:
    frame = pd.DataFrame({"name": ["a", "b"]})
    assert found_keys(["a", "b"], pattern) == ["a", "b"]
    assert found_rows(frame, pattern).all()
    assert Matches("name", pattern).mask(frame).all()
    with pytest.raises(ExpressionError, match="no regular expression"):
        compiled(pattern)


@given(
    st.sampled_from(
        ["a", "a|b", "[ab]+", "^a.*b$", "(a|bc)*c", r"\d+", "(?i)AB", "b.*?c.*?a", "[+-9]", "(?=a)a{2,3}", "$"]
    ),
    st.text("abcAB 1-\n", max_size=200),
)
def test_that_what_is_found_is_what_python_finds(pattern: str, text: str) -> None:
    assert found_in(pattern, [text], seconds=60) == [re.search(pattern, text) is not None]
    spans = [match.span() for match in compiled(pattern).finditer(text)]
    assert spans == [match.span() for match in re.finditer(pattern, text)]


def test_that_a_long_text_that_is_searched_quickly_is_searched_whole() -> None:
    text = "x" * 100_000 + "yz"
    assert found_in(r"y\w+", [text]) == [True]
    assert np.flatnonzero(found_rows(pd.DataFrame({"a": ["n", text]}), r"y\w+")).tolist() == [1]


def test_that_capitals_count_where_they_are_written() -> None:
    frame = pd.DataFrame({"a": ["Adam", "adam"]})
    assert found_rows(frame, "adam").tolist() == [True, True]
    assert found_rows(frame, "Adam").tolist() == [True, False]
