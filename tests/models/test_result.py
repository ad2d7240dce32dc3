"""Numbers, names and rows of results as people and programs read them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from runglass.models.result import _records, counted, shortened, significant, with_interval


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234.5, "1,234"), (0.00012345, "0.0001234"), (2.5e-5, "2.500e-05"), (3e7, "3.000e+07"),
     (math.inf, "inf"), (math.nan, "nan"), (-0.123456, "-0.1235")],
)  # fmt: skip
def test_that_a_number_has_four_digits(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((3.279, 3.2784, 3.2797), "3.27900 [3.27840, 3.27970]"), ((0.5, 0.25, 0.75), "0.50 [0.25, 0.75]"),
        ((12.0, -math.inf, 13.0), "12"), ((12.0, 13.0, 13.0), "12"),
        ((2e7, 1e7, 3e7), "2.000e+07 [1.000e+07, 3.000e+07]"), ((1e-9, 0.5e-9, 2e-9), "1.000e-09 [5.000e-10, 2.000e-09]"),
    ],
)  # fmt: skip
def test_that_a_number_has_as_many_digits_as_its_interval_carries(numbers: tuple[float, ...], text: str) -> None:
    assert with_interval(*numbers) == text


def test_that_both_ends_of_a_long_name_are_read() -> None:
    assert shortened("short") == "short"
    cut = shortened("a" * 40 + " middle " + "z" * 40, 21)
    assert cut == "a" * 10 + "…" + "z" * 10


def test_that_one_is_counted_without_an_s() -> None:
    assert (counted(1, "run"), counted(1204, "run")) == ("1 run", "1,204 runs")


def test_that_rows_are_plain_values() -> None:
    table = pd.DataFrame({"a": [1.5, math.inf], "b": [pd.NA, pd.NaT], "c": pd.Series([np.int64(3), "x"], dtype=object)})
    assert _records(table) == [{"a": 1.5, "b": None, "c": 3}, {"a": None, "b": None, "c": "x"}]
