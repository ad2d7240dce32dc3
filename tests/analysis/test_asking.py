"""What a command line types, read and refused; what others' packages offer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pandas as pd
import pytest

from runglass.analysis import registry, templates
from runglass.analysis.asking import ask, catalogue_entry, column_map, conditions, opened
from runglass.analysis.registry import analysis
from runglass.models.errors import AnalysisError, ExpressionError, RunglassError
from runglass.models.question import Analysis


@pytest.fixture
def folder(tmp_path: Path) -> str:
    frame = pd.DataFrame(
        {"model": ["a", "b"], "task": "t", "metric": "acc", "value": [0.5, 0.6], "Model Size": [1e6, 2e6]}
    )
    frame.to_csv(tmp_path / "scores.csv", index=False)
    return str(tmp_path)


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Analyses of three other packages, one of which can be loaded."""
    points = [
        EntryPoint("theirs.good", "runglass.analysis.compatibility.flips:ANALYSIS", "runglass.analyses"),
        EntryPoint("theirs.gone", "no_such_package.theirs", "runglass.analyses"),
        EntryPoint("theirs.other", "json", "runglass.analyses"),
    ]
    monkeypatch.setattr(registry, "_third_party", lambda: {point.name: point for point in points})
    registry.analysis.cache_clear()
    yield
    registry.analysis.cache_clear()


def test_that_a_name_needs_something_on_each_side_of_its_sign() -> None:
    assert column_map([], []) == ()
    for typed in ("params", "=size", "params= "):
        with pytest.raises(RunglassError, match="no name on each side"):
            column_map([typed], [])
    with pytest.raises(ExpressionError):
        column_map([], ["tokens=flops/"])
    with pytest.raises(ExpressionError):
        conditions(["value <"])


def test_that_columns_that_no_table_has_are_named_with_those_there_are(folder: str) -> None:
    data = opened([folder], column_map(["params=Model Size"], ["half=value/2"]), conditions(["params > 1500000"]))
    rows = data.store.rows("scores")
    assert rows[["model", "half"]].to_numpy().tolist() == [["b", 0.3]]
    assert [Path(path).name for path, *_ in data.files] == ["scores.csv"]
    for maps, where, said in (
        (column_map(["params=width"], []), [], r"No table has 'width', named in --map; columns: .*Model Size"),
        (column_map([], ["x=width*2"]), [], r"No table has 'width' together, named in --let x"),
        ((), ["width > 2"], r"No table has 'width', named in --where; columns: "),
    ):
        with pytest.raises(AnalysisError, match=said):
            opened([folder], maps, conditions(where))


def test_that_where_nothing_is_open_no_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="there are no columns at all"):
        opened([str(tmp_path)], (), conditions(["width > 2"]))


def test_that_a_question_without_its_tables_says_what_was_found(folder: str) -> None:
    with pytest.raises(AnalysisError, match=r"compat.flips needs .*Found: "):
        ask(analysis("compat.flips"), {}, opened([folder]))


def test_that_the_catalogue_of_every_analysis_is_plain_json() -> None:
    for identifier in registry.ids():
        entry = catalogue_entry(analysis(identifier))
        assert json.loads(json.dumps(entry)) == entry
        assert entry["id"] == identifier
        assert [option["name"] for option in entry["options"]] == [
            option.name for option in analysis(identifier).question.options()
        ]


def test_that_analyses_of_others_that_cannot_be_loaded_stop_nothing(others: None) -> None:
    assert isinstance(registry.analysis("theirs.good"), Analysis)
    assert registry.broken_analyses() == [
        "The analysis 'theirs.gone' could not be loaded: No module named 'no_such_package'",
        "The entry point 'theirs.other' gives no Analysis.",
    ]
    assert len(registry.catalogue()) == len(registry.ids()) - 2


def test_that_an_unknown_analysis_is_refused_with_those_that_sound_like_it() -> None:
    with pytest.raises(RunglassError, match=r"no analysis called 'flips'. Did you mean compat.flips"):
        registry.analysis("flips")
    with pytest.raises(RunglassError, match="runglass list"):
        registry.analysis("qqq")


def test_that_templates_of_others_that_cannot_be_read_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "no_such_package.theirs", "runglass.templates")
    monkeypatch.setattr(templates, "entry_points", lambda group: [point])
    templates._loaded.cache_clear()
    try:
        assert templates.broken_templates() == [
            "The template 'theirs' could not be read: No module named 'no_such_package'"
        ]
        assert len(templates.templates()) == 5
    finally:
        templates._loaded.cache_clear()
