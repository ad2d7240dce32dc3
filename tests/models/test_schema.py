"""Canonical tables: what is there, what is missing, and values of the wrong kind."""

from __future__ import annotations

import pandas as pd
import pytest

from runglass.models.errors import SchemaError
from runglass.models.schema import RUNS, SCHEMAS, SCORES


def test_that_a_missing_column_is_named_beside_those_that_are_there() -> None:
    with pytest.raises(SchemaError, match=r"A scores table needs .*'value'.*; found no columns") as told:
        SCORES.check(pd.DataFrame())
    assert "value" in told.value.columns
    many = pd.DataFrame({f"column{n:02d}": [1] for n in range(15)})
    with pytest.raises(SchemaError, match=r"found 'column00', .*'column11' and 3 more"):
        SCORES.check(many)


def test_that_a_column_is_found_by_its_name() -> None:
    column = RUNS.column("params")
    assert column is not None
    assert column.name == "params"
    assert RUNS.column("no such") is None


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_that_an_empty_table_fits_its_own_schema(schema) -> None:
    assert list(schema.check(schema.empty()).columns) == [column.name for column in schema.columns]


def test_that_a_whole_number_no_float_holds_is_infinite_and_text_is_refused() -> None:
    frame = pd.DataFrame({"run": ["a", "b"], "params": pd.Series([10**400, None], dtype=object)})
    assert RUNS.check(frame)["params"].tolist()[0] == float("inf")
    with pytest.raises(SchemaError, match="params"):
        RUNS.check(frame.assign(params=pd.Series([10**400, "many"], dtype=object)))
