import math

import numpy as np
import pandas as pd
import pytest

from runglass.models.errors import ExportError
from runglass.models.table_look import as_tsv, cell_text, found_rows, number_text, row_order, write_csv


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (3.0, "3"),
        (0.1 + 0.2, "0.3"),
        (1.98e21, "1.98e21"),
        (1e-5, "1e-5"),
        (math.nan, "–"),
        (None, "–"),
        (pd.NA, "–"),
        (True, "yes"),
        (-math.inf, "-inf"),
        ("a\nb", "a\nb"),
        (12_032, "12032"),
    ],
)
def test_that_a_value_is_written_as_a_person_reads_it(value, text):
    assert cell_text(value) == text


def test_that_a_number_keeps_the_digits_asked_for():
    assert number_text(3.27854321, 5) == "3.2785"
    assert number_text(math.nan) == "nan"


def test_that_missing_values_come_last_in_both_directions():
    column = pd.Series([2.0, np.nan, 1.0, 3.0])
    assert row_order(column).tolist() == [2, 0, 3, 1]
    assert row_order(column, descending=True).tolist() == [3, 0, 2, 1]


def test_that_numbers_inside_texts_sort_as_numbers():
    column = pd.Series(["version_10", "version_2", None, "version_1"])
    assert row_order(column).tolist() == [3, 1, 0, 2]


def test_that_equal_values_keep_their_order_in_both_directions():
    column = pd.Series([1, 0, 1, 0, 1])
    assert row_order(column).tolist() == [1, 3, 0, 2, 4]
    assert row_order(column, descending=True).tolist() == [0, 2, 4, 1, 3]


def test_that_a_pattern_is_searched_in_texts_only_and_capitals_make_case_count():
    frame = pd.DataFrame({"n": [1, 12, 3], "text": ["Law", "physics", None], "kind": pd.Categorical(["a", "b", "law"])})
    assert found_rows(frame, "law").tolist() == [True, False, True]
    assert found_rows(frame, "Law").tolist() == [True, False, False]
    assert found_rows(frame, "1").tolist() == [False, False, False]


def test_that_an_invalid_pattern_filters_nothing():
    assert found_rows(pd.DataFrame({"a": ["x", "y"]}), "(").all()


def test_that_copied_cells_hold_no_tabs_or_line_breaks():
    assert as_tsv(pd.DataFrame({"a": ["x\ty\nz", None]}), ["A"]) == "A\nx y z\n\n"


def test_that_a_csv_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(ExportError):
        write_csv(pd.DataFrame({"a": [1]}), tmp_path / "missing" / "a.csv")
    write_csv(pd.DataFrame({"a": [1]}), tmp_path / "a.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "a\n1\n"


def test_that_no_pattern_finds_every_row_and_what_is_no_number_is_its_text():
    assert found_rows(pd.DataFrame({"a": ["x", "y"]}), "").tolist() == [True, True]
    assert cell_text(("a", 1)) == "('a', 1)"


def test_that_very_many_texts_sort_as_texts(monkeypatch):
    monkeypatch.setattr("runglass.models.table_look._MOST_NATURAL", 2)
    assert row_order(pd.Series(["b10", "b9", "a"])).tolist() == [2, 0, 1]
