"""Sessions, maps, patterns and options that come from elsewhere are taken or refused with a sentence, whatever they hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runglass.models import session as sessions
from runglass.models.column_map import ColumnMap
from runglass.models.errors import ExpressionError, RunglassError, SessionError
from runglass.models.question import Question, option
from runglass.models.selection import All, AnyOf, Between, Clause, Holds, IsIn, Matches, Not
from runglass.models.session import (
    CurveView,
    Grouping,
    Pane,
    Report,
    ReportPart,
    RunNote,
    Session,
    from_json,
    to_json,
)
from runglass.models.text_pattern import TextPattern

HERE = Path("/somewhere")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = WORDS | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
CLAUSES: st.SearchStrategy[Clause] = st.recursive(
    st.builds(IsIn, WORDS, st.frozensets(VALUES, max_size=3))
    | st.builds(Between, WORDS, st.floats(-9, 9), st.floats(-9, 9))
    | st.builds(Matches, WORDS, WORDS)
    | st.just(Holds("loss < 3")),
    lambda inner: (
        st.builds(Not, inner)
        | st.lists(inner, max_size=3).map(lambda parts: All(tuple(parts)))
        | st.lists(inner, max_size=3).map(lambda parts: AnyOf(tuple(parts)))
    ),
    max_leaves=5,
)
TUPLES = st.lists(WORDS, max_size=3).map(tuple)
SESSIONS = st.builds(
    Session,
    roots=st.lists(WORDS.filter(lambda word: word.isalnum()), max_size=2).map(
        lambda names: tuple(f"/somewhere/{name}" for name in names)
    ),
    ticked=st.none() | st.frozensets(WORDS, max_size=3),
    run_filter=WORDS,
    run_events=TUPLES,
    grouping=st.builds(Grouping, TUPLES, st.booleans()),
    run_columns=TUPLES,
    curves=st.builds(
        CurveView,
        smoother=st.sampled_from(["ema", "mean", "isotonic"]),
        weight=st.floats(0, 0.999),
        width=st.none() | st.floats(0, 99),
        pinned=TUPLES,
        opened=TUPLES,
        columns=st.integers(0, 5),
        band=st.sampled_from(["t", "none"]),
    ),
    maps=st.lists(
        st.builds(ColumnMap, st.lists(st.tuples(WORDS, WORDS), max_size=2).map(tuple), st.just((("a", "b * 2"),)), WORDS),
        max_size=2,
    ).map(tuple),
    text_patterns=st.lists(st.builds(TextPattern, WORDS, WORDS, st.just("(?P<loss>.)")), max_size=2).map(tuple),
    filter=CLAUSES,
    highlight=st.none() | CLAUSES,
    step_cursor=st.none() | st.floats(-1e9, 1e9),
    panes=st.lists(
        st.builds(Pane, WORDS, st.sampled_from(["curves", "analysis", "questions"]), WORDS, st.just({"a": [1, None]}), WORDS),
        max_size=2,
    ).map(tuple),
    focus=WORDS,
    theme=st.sampled_from(["system", "light", "dark"]),
    follow=st.booleans(),
    run_notes=st.lists(st.builds(RunNote, WORDS, WORDS, TUPLES), max_size=2).map(tuple),
    report=st.builds(Report, WORDS, WORDS, st.lists(st.builds(ReportPart, WORDS, WORDS, WORDS), max_size=2).map(tuple)),
)  # fmt: skip


@settings(deadline=None)
@given(SESSIONS)
def test_that_any_session_goes_to_a_file_and_back(session: Session) -> None:
    assert from_json(orjson.loads(orjson.dumps(to_json(session, HERE))), HERE) == session


FIELDS = sorted(to_json(Session(), HERE).keys() - {"runglass_session"})


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(FIELDS), JSON, st.sampled_from([1, sessions.VERSION]))
def test_that_a_field_that_holds_anything_is_taken_as_it_is_saved_or_refused(
    field: str, value: Any, version: int
) -> None:
    try:
        session = from_json({"runglass_session": version, field: value}, HERE)
    except SessionError as error:
        assert str(error)  # noqa: PT017 - most examples are refused
        return
    assert from_json(orjson.loads(orjson.dumps(to_json(session, HERE))), HERE) == session


@given(st.text(max_size=40), st.text(max_size=40))
@example("(?P<a>[+-9]+)", "a 3")
@example("(?P<a>" + "(" * 200 + ")" * 201, "")
def test_that_any_pattern_is_compiled_or_refused(regex: str, text: str) -> None:
    try:
        TextPattern("any", "*", regex).preview(text)
    except RunglassError as error:
        assert str(error)  # noqa: PT017


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@given(
    st.lists(st.tuples(st.text(max_size=6), st.sampled_from(["a", "b", "c d", "", "é"])), max_size=3),
    st.text(max_size=12),
)
def test_that_any_map_is_applied_or_refused(names: list[tuple[str, str]], pattern: str) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None], "c d": [1, 2]})
    mapped = ColumnMap(tuple(names), tuple((name, f"{name} * 2") for name, _ in names), pattern)
    mapped.applies_to("folder/file.csv")
    try:
        assert len(mapped.applied(frame)) == 2
    except ExpressionError as error:
        assert str(error)  # noqa: PT017


@dataclass(frozen=True, kw_only=True)
class Asked(Question):
    low: float = option(1.0, help="a bound below", low=0.5)
    high: int = option(1, help="a bound above", high=9)
    both: float | None = option(None, help="both", low=0, high=1)
    kind: Literal["a", "b"] = option("a", help="a choice")
    words: tuple[str, ...] = option((), help="texts")
    on: bool = option(False, help="yes or no")


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"low": 0.1}, "at least 0.5; not 0.1"),
        ({"high": 10}, "at most 9; not 10"),
        ({"both": 2}, "at least 0 and at most 1"),
    ],
)
def test_that_a_value_out_of_bounds_is_told_the_bound_there_is(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(RunglassError, match=said):
        Asked.from_json(given_)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["low", "high", "both", "kind", "words", "on", "other"]), JSON, max_size=4),
    st.text(),
)
def test_that_options_of_any_value_are_taken_or_refused(values: dict[str, Any], text: str) -> None:
    for one in Asked.options():
        try:
            one.parsed(text)
        except RunglassError as error:
            assert str(error)  # noqa: PT017
    try:
        asked = Asked.from_json(values)
    except RunglassError as error:
        assert str(error)  # noqa: PT017
        return
    assert Asked.from_json(orjson.loads(orjson.dumps(asked.to_json()))) == asked
    hash(asked)
