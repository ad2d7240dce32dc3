"""Tables: the numbers drawn are those of the marks, and each format can be read back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runglass.analysis.report.tables import answer_table, drawn_numbers, export_table, latex_escaped, table_bytes
from runglass.models.errors import ExportError
from runglass.models.figure import Axis, Band, Bars, Cells, FigureSpec, Line, Panel, Points
from runglass.models.result import Estimate, Result


def test_that_the_numbers_drawn_are_those_of_every_mark(sample: FigureSpec) -> None:
    frame = pd.read_csv(io.BytesIO(table_bytes(drawn_numbers(sample), "csv")))
    for panel, mark in sample.marks():
        rows = frame[(frame["panel"] == panel.key) & (frame["key"] == mark.key)]
        assert len(rows)
        match mark:
            case Line():
                expected = {"x": mark.x, "y": mark.y}
            case Points():
                expected = {"x": mark.x, "y": mark.y} | (
                    {} if mark.low is None else {"low": mark.low, "high": mark.high}
                )
            case Band():
                expected = {"x": mark.x, "low": mark.low, "high": mark.high}
            case Bars():
                expected = {"y": mark.at, "x": mark.height} if mark.horizontal else {"x": mark.at, "y": mark.height}
            case Cells():
                expected = {"value": mark.values.ravel()}
            case _:
                continue
        for name, values in expected.items():
            np.testing.assert_array_equal(rows[name].to_numpy(dtype=float), values)


def test_that_categories_and_cells_are_named(samples: dict[str, FigureSpec]) -> None:
    groups = drawn_numbers(samples["groups"])
    assert groups["x_name"].iloc[3] == "category number 3"
    flips = drawn_numbers(samples["flips"])
    chosen = flips[(flips["y_name"] == "gemma-7b") & (flips["x_name"] == "Qwen1.5-72B-Chat")]
    assert chosen["value"].item() == 0.4


def test_that_a_figure_without_marks_gives_an_empty_table() -> None:
    assert len(drawn_numbers(FigureSpec())) == 0


FRAME = pd.DataFrame(
    {
        "name": ["a|b", "50% & c_d #1"],
        "n": [12032, 7],
        "NFR (α)": [0.0952, np.nan],
        "p": [1.234e-24, -0.5],
        "ok": [True, False],
    }
)


def test_that_markdown_escapes_bars_and_aligns_numbers() -> None:
    head, rule, first, second = table_bytes(FRAME, "md").decode().splitlines()
    assert head == "| name | n | NFR (α) | p | ok |"
    assert rule == "| --- | ---: | ---: | ---: | --- |"
    assert first == r"| a\|b | 12,032 | 0.0952 | 1.234e-24 | yes |"
    assert second == "| 50% & c_d #1 | 7 |  | -0.5 | no |"


def test_that_latex_is_a_booktabs_table_with_all_escaped() -> None:
    text = table_bytes(FRAME, "tex").decode()
    assert r"\begin{tabular}{lrrrl}" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert r"name & n & NFR ($\alpha$) & p & ok \\" in text
    assert r"a\textbar{}b & 12,032 & 0.0952 & $1.234 \times 10^{-24}$ & yes \\" in text
    assert r"50\% \& c\_d \#1 & 7 &  & $-0.5$ & no \\" in text


@given(st.text(alphabet="a\\{}$&%#_~^<>|\n ", max_size=30))
def test_that_no_special_letter_of_latex_is_left_bare(text: str) -> None:
    escaped = latex_escaped(text)
    for macro in (
        r"\textbackslash{}",
        r"\textasciitilde{}",
        r"\textasciicircum{}",
        r"\textless{}",
        r"\textgreater{}",
        r"\textbar{}",
    ):
        escaped = escaped.replace(macro, "")
    for letter in "{}$&%#_":
        escaped = escaped.replace("\\" + letter, "")
    assert not set(escaped) & set("\\{}$&%#_~^<>|\n")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_that_numbers_come_back_exactly(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"table.{kind}"
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=50), "name": ['α, "β"\n'] * 50})
    export_table(frame, path)
    back = pd.read_csv(path) if kind == "csv" else pd.read_parquet(path)
    np.testing.assert_array_equal(back["x"], frame["x"])
    assert back["name"].tolist() == frame["name"].tolist()


def test_that_a_column_of_numbers_and_texts_can_be_written_as_parquet(tmp_path: Path) -> None:
    export_table(pd.DataFrame({"config.lr": [0.1, "auto", None]}), tmp_path / "t.parquet")
    assert pd.read_parquet(tmp_path / "t.parquet")["config.lr"].fillna("").tolist() == ["0.1", "auto", ""]


def test_that_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="parquet"):
        export_table(FRAME, tmp_path / "table.xlsx")


def test_that_an_answer_without_tables_gives_its_estimates() -> None:
    frame = answer_table(Result(estimates={"E": Estimate(1.8, 1.7, 1.9, unit="nats")}))
    assert frame.to_dict("records") == [
        {"estimate": "E", "value": 1.8, "low": 1.7, "high": 1.9, "level": 0.95, "unit": "nats"}
    ]


def test_that_a_line_that_leads_through_the_window_keeps_its_two_points_and_others_only_what_is_seen() -> None:
    x, y = np.array([0.0, 1.0, 5.0, 6.0, 9.0]), np.arange(5.0)
    marks = (Line(key="line", x=x, y=y), Points(key="points", x=x, y=y))
    for low, high, of_line, of_points in ((2.0, 4.0, [1, 5], []), (4.0, 5.5, [1, 5, 6], [5]), (None, 0.5, [0, 1], [0])):
        panel = Panel(key="p", x=Axis(low=low, high=high), y=Axis(), marks=marks)
        frame = drawn_numbers(FigureSpec(title="t", panels=(panel,)))
        found = {key: frame.loc[frame["key"] == key, "x"].tolist() for key in ("line", "points")}
        assert found == {"line": of_line, "points": of_points}
