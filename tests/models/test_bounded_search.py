"""A search with an expression of anyone ends soon, and finds what Python's own finds."""

from __future__ import annotations

import re
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runglass.models.bounded_search import TooSlow, bounded
from runglass.models.run_tree import found_keys
from runglass.models.selection import Matches
from runglass.models.table_look import found_rows

ENDLESS = (
    r"(a|a)*x",
    r"(\w+)+x",
    r"(?>(\w+)*x)",
    r"(?:(\w+)*x)*+",
    r"(\w|a|aa){0,16}!",
    r"((\w{1,16}){1,16}){1,16}!",
    r"(aa?)*x",
    "(a*)" * 12 + "x",
    r".*.*.*.*.*=",
)
"""Each takes minutes or centuries on forty letters."""


@pytest.mark.parametrize("regex", ENDLESS)
def test_that_a_search_without_end_is_given_up_soon(regex: str) -> None:
    search = bounded(regex)
    begun = time.process_time()
    with pytest.raises(TooSlow):
        search.is_in("a" * 400)
    with pytest.raises(TooSlow):
        list(search.matches("a" * 400))
    assert time.process_time() - begun < 3


@pytest.mark.parametrize("regex", ENDLESS)
def test_that_filters_find_everything_where_a_search_would_not_end(regex: str) -> None:
    names = ["a" * 60, "b"]
    frame = pd.DataFrame({"name": names})
    assert found_keys(names, regex) == names
    assert found_rows(frame, regex).all()
    assert Matches("name", regex).mask(frame).all()


@pytest.mark.parametrize("regex", ["(" * 5000, "a{99999999999999999999}", "(" * 400 + "a" + ")" * 400, "(", "[z-a]"])
def test_that_filters_find_everything_where_an_expression_cannot_be_compiled(regex: str) -> None:
    frame = pd.DataFrame({"name": ["a", "b"]})
    assert found_keys(["a", "b"], regex) == ["a", "b"]
    assert found_rows(frame, regex).all()
    assert Matches("name", regex).mask(frame).all()


@given(
    st.sampled_from(["a", "a|b", "[ab]+", "^a.*b$", "(a|bc)*c", r"\d+", "(?i)AB", "b.*?c.*?a", "[+-9]", "(?=a)a{2,3}"]),
    st.text("abcAB 1-", max_size=200),
)
def test_that_what_is_found_is_what_python_finds(regex: str, text: str) -> None:
    search = bounded(regex)
    try:
        found, spans = search.is_in(text), [match.span() for match in search.matches(text)]
    except TooSlow:
        return
    assert found is (re.search(regex, text) is not None)
    assert spans == [match.span() for match in re.finditer(regex, text)]


def test_that_nothing_is_tried_first_where_time_grows_with_the_length() -> None:
    assert bounded("plain").first is None
    assert bounded("a|b").first is None
    assert bounded(r"step (\d+) loss (\S+)").first == 32
    assert bounded(r"(\w+ )+x").first == 2


def test_that_a_long_text_that_is_searched_quickly_is_searched_whole() -> None:
    text = "x" * 100_000 + "yz"
    assert bounded(r"y\w+").is_in(text)
    assert np.flatnonzero(found_rows(pd.DataFrame({"a": ["n", text]}), r"y\w+")).tolist() == [1]
