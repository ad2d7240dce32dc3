"""Numbers in text: the nearest float64 in both twins, and logs read alike by both."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.models import kernels
from runglass.models.kernels.text_numbers import leading_bits, lines_of_numbers, rows_of_numbers
from runglass.models.logged_columns import as_number
from runglass.models.progress import quiet
from runglass.models.readers.base import Reader, Source
from runglass.models.readers.csv_log import CsvLogReader
from runglass.models.readers.json_lines import JsonLinesReader
from runglass.models.tables import CurvePiece, Event
from runglass.models.uniform_lines import uniform_columns

compiled_only = pytest.mark.skipif(
    importlib.util.find_spec("runglass.models.kernels._compiled") is None,
    reason="the compiled kernels were not built: there was no compiler",
)


def of_both(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Switch from twin to twin."""
    for module in (None, importlib.import_module("runglass.models.kernels._compiled")):
        monkeypatch.setattr(kernels, "_in_use", module)
        yield


# -- single numbers ----------------------------------------------------------------------------------------------------------


@st.composite
def half_way(draw: st.DrawFn) -> str:
    """Give the decimal digits of a number half way between two floats, or a little beside it."""
    low = abs(draw(st.floats(1e-307, 1e300)))
    with localcontext() as context:
        context.prec = 1200
        middle = (Decimal(low) + Decimal(math.nextafter(low, math.inf))) / 2
        digits = draw(st.sampled_from([17, 18, 19, 20, 21, 30, 1200]))
        context.prec = digits
        return str(+middle).lower()


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.builds("{}.{:03}e{}".format, st.integers(0, 10**20), st.integers(0, 999), st.integers(-340, 310)),
    st.builds("-0.{}{}".format, st.integers(0, 30).map("0".__mul__), st.integers(0, 10**25)),
    half_way(),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=8))
@pytest.mark.usefixtures("twin")
def test_that_each_number_is_the_nearest_float(texts: list[str]) -> None:
    columns = uniform_columns("".join(f'{{"x": {text}}}\n' for text in texts).encode())
    if columns is None:  # only of what is beyond the floats
        assert any(float(text) in (0.0, math.inf, -math.inf) and text.strip("-0.") != "" for text in texts)
        return
    assert columns["x"].tobytes() == np.array([float(text) for text in texts]).tobytes()


@compiled_only
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9007199254740993", 2.0**53),  # half way, to the even one
        ("9007199254740995", 2.0**53 + 4),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("4.9e-324", 5e-324),
        ("2.4703282292062328e-324", 5e-324),  # a little more than half of the smallest float
        ("2.2250738585072011e-308", 2.225073858507201e-308),  # where PHP 5.3 never came back
        ("0.1", 0.1),
        ("1e23", 1e23),
        ("8.5e22", 8.5e22),
        ("0.000000000000000000000000000000012345", 1.2345e-32),
        ("100000000000000000000000000000", 1e29),
        ("6929495644600919.5", 6929495644600920.0),
        ("3.0540412e5", 305404.12),
        ("1.00000000000000011102230246251565404236316680908203125", 1.0),  # 1 + 2^-53, exactly half way
        ("1.00000000000000011102230246251565404236316680908203126", 1 + 2.0**-52),
        ("-0.0", -0.0),
        ("NaN", math.nan),
        ("-Infinity", -math.inf),
    ],
)
@pytest.mark.usefixtures("twin")
def test_that_numbers_that_were_read_wrong_elsewhere_are_right(text: str, number: float) -> None:
    columns = uniform_columns(f'{{"x": {text}}}\n'.encode())
    assert columns is not None
    assert columns["x"].tobytes() == np.array([number]).tobytes()


def test_that_the_leading_bits_of_powers_of_five_are_those_of_exact_fractions() -> None:
    for power, (high, low) in zip(range(-342, 309), leading_bits().tolist(), strict=True):
        bits = high << 64 | low
        assert bits.bit_length() == 128
        exact = Fraction(5) ** power
        shift = 127 - math.floor(math.log2(5) * power)
        scaled = exact * (Fraction(2) ** shift)
        scaled = scaled / 2 if scaled >= 2**128 else scaled * 2 if scaled < 2**127 else scaled
        assert bits == (math.ceil(scaled) if -27 <= power < 0 else math.floor(scaled)), power


def test_that_a_number_in_text_may_stand_between_separators_of_ascii() -> None:
    assert as_number("\x1d0.5\x1f") == 0.5


# -- lines and rows ------------------------------------------------------------------------------------------------------------


@compiled_only
@pytest.mark.parametrize(
    "other",
    [
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "--1",
        "0x10",
        "1_0",
        "",
        "null",
        '"1"',
        "1 ",
        "1e400",
        "1e-400",
        "nul",
        "infinity",
    ],
)
def test_that_what_is_no_plain_number_is_left_to_the_twin(other: str) -> None:
    assert lines_of_numbers(f'{{"x":{other}}}\n'.encode(), [b'{"x":']) is None
    assert rows_of_numbers(f"1,{other}a\n".encode(), ",", 2) is None


@compiled_only
@pytest.mark.parametrize("end", [b"", b"\r", b",", b"}}", b"} ", b"}\r", b"}\n\n", b'}{"x":1}'])
def test_that_lines_that_end_in_another_way_are_left_to_the_twin(end: bytes) -> None:
    assert lines_of_numbers(b'{"x":1}\n{"x":2' + end, [b'{"x":']) is None


@compiled_only
@pytest.mark.parametrize("row", ["1", "1,2,3", "", "1;2", '"1",2', "1,-0", "1,2\r", "1\t,2", "  "])
def test_that_rows_of_another_kind_are_left_to_the_twin(row: str) -> None:
    assert rows_of_numbers(f"3,4\n{row}".encode() + b"\n" * (row != "1,2\r"), ",", 2) is None


@compiled_only
def test_that_empty_cells_are_not_present_and_nan_is() -> None:
    cells = rows_of_numbers(b"1,,nan\r\n , 2.5 ,\n3,4,5", ",", 3)
    assert cells is not None
    np.testing.assert_array_equal(cells.values, [[1, np.nan, 3], [np.nan, 2.5, 4], [np.nan, np.nan, 5]])
    assert cells.present.tolist() == [[True, False, True], [False, True, True], [True, False, True]]


def bits(events: list[Any]) -> list[Any]:
    """Give events as values that are equal only where all their bits are."""

    def of(array: np.ndarray | None) -> Any:
        return None if array is None else (array.dtype.str, array.tobytes())

    return [
        (one.run, of(one.step), of(one.wall_time), [(tag, of(value)) for tag, value in one.values.items()])
        if isinstance(one, CurvePiece)
        else one
        for one in events
        if isinstance(one, Event)
    ]


def read_by_both(
    reader: Reader, name: str, data: bytes, factory: pytest.TempPathFactory
) -> tuple[list[Any], list[Any]]:
    """Give what a reader reads with each of the twins."""
    path = factory.mktemp("run") / name
    path.write_bytes(data)
    source = Source((path,), "r", "r", reader.name)
    with pytest.MonkeyPatch.context() as patch:
        by_arrow, compiled = (bits(list(reader.read(source, None, quiet))) for _ in of_both(patch))
    return by_arrow, compiled


CELLS = NUMBERS | st.sampled_from(
    [
        "",
        "",
        "nan",
        "NaN",
        "inf",
        "-0",
        "-0.0",
        " 1",
        "2 ",
        " ",
        "\t3",
        "007",
        "1.",
        ".5",
        "+1",
        "true",
        "na",
        "x",
        "1e999",
        "2024-01-01",
        "12:30:00",
        '"4"',
        "4,5",
        "1e-999",
        "18446744073709551616",
        "é",
    ]
)


@compiled_only
@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(NUMBERS | st.just(""), min_size=3, max_size=3), max_size=20),
    st.lists(st.tuples(st.integers(0, 30), st.lists(CELLS, min_size=1, max_size=4)), max_size=2),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_that_any_table_is_read_alike(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    odd: list[tuple[int, list[str]]],
    newline: str,
    ended: bool,
) -> None:
    rows = [[str(number), *row] for number, row in enumerate(rows, start=1)]
    for at, row in odd:
        rows.insert(at, ["7", *row])
    text = newline.join(["step,loss,lr,acc", "0,1,2,3", *(",".join(row) for row in rows)]) + newline * ended
    by_arrow, compiled = read_by_both(CsvLogReader(), "metrics.csv", text.encode(), tmp_path_factory)
    assert compiled == by_arrow


LINES = st.sampled_from(
    [
        '{"step": 4, "loss": nan, "lr": 1}',
        '{"step": 4, "loss": null, "lr": 1}',
        '{"step": 4, "loss": 01, "lr": 1}',
        "",
        " ",
        "{}",
        '{"step": 4, "loss": 1e999, "lr": 1}',
        '{"step": 4, "loss": 1, "lr": 1,}',
        '{"step": 4, "loss": -0, "lr": 1} ',
        '{"loss": 4, "step": 1, "lr": 1}',
        '{"step": 4, "loss": 1',
        '{"step": 4, "loss": -Infinity, "lr": 1e-999}',
    ]
)


@compiled_only
@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 300), LINES), max_size=2),
    st.sampled_from(["\n", "\r\n"]),
)
def test_that_any_lines_are_read_alike(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], odd: list[tuple[int, str]], newline: str
) -> None:
    lines = [f'{{"step": {number}, "loss": {a}, "lr": {b}}}' for number, (a, b) in enumerate(rows * 200)]
    for at, line in odd:
        lines.insert(at, line)
    by_arrow, compiled = read_by_both(
        JsonLinesReader(), "metrics.jsonl", newline.join(lines).encode(), tmp_path_factory
    )
    assert compiled == by_arrow
