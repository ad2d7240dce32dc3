"""Lines of JSON with the same keys: the same numbers as a parser of JSON gives, and nothing where they are of another kind."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runglass.models import uniform_lines
from runglass.models.uniform_lines import uniform_columns

pytestmark = pytest.mark.usefixtures("twin")

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(2**70), 2**70)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=5, unique=True),
    st.data(),
    st.sampled_from([(", ", ": "), (",", ":")]),
    st.booleans(),
)
def test_that_numbers_are_those_of_a_parser(
    keys: list[str], data: st.DataObject, separators: tuple[str, str], ascii_only: bool
) -> None:
    rows = data.draw(st.lists(st.lists(NUMBERS, min_size=len(keys), max_size=len(keys)), min_size=1, max_size=6))
    lines = [
        json.dumps(dict(zip(keys, row, strict=True)), separators=separators, ensure_ascii=ascii_only) for row in rows
    ]
    columns = uniform_columns(("\n".join(lines) + "\n").encode())
    if columns is None:
        # Text of keys may look like the end of a cell or of a line.
        assert any(
            set(key) & set(',"\\\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029') or not key.isprintable() for key in keys
        )
        return
    assert list(columns) == keys
    parsed = [json.loads(line) for line in lines]
    for key, column in columns.items():
        np.testing.assert_array_equal(column, [float(row[key]) for row in parsed])


@pytest.mark.parametrize(
    "other",
    [
        '{"step": 1, "loss": null}',
        '{"step": 1, "loss": "0.5"}',
        '{"step": 1, "loss": true}',
        '{"step": 1, "loss": [0.5]}',
        '{"step": 1, "loss": {"a": 0.5}}',
        '{"step": 1, "loss": 0.5}}',
        '{"step": 1, "loss": 0.5',
        '{"step": 1, "loss": }',
        '{"step": 1, "loss": 0.5, "lr": 1}',
        '{"step": 1}',
        '{"loss": 0.5, "step": 1}',
        '{"step": 1, "losses": 0.5}',
        '{"step": 1, "loss": 0.5 0.5}',
        "no JSON",
        "[1, 2]",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_that_a_line_of_another_kind_gives_nothing(other: str, first: bool) -> None:
    plain = ['{"step": 0, "loss": 0.25}', '{"step": 2, "loss": 0.75}']
    lines = [other, *plain] if first else [*plain, other]
    assert uniform_columns("".join(f"{line}\n" for line in lines).encode()) is None


@pytest.mark.parametrize("line", ['{"a": 1, "a": 2}', '{"a, b": 1}', "{}", "", '{"optim": {"lr": 0.1, "wd": 0.2}}'])
def test_that_lines_that_cannot_be_cut_at_commas_give_nothing(line: str) -> None:
    assert uniform_columns(f"{line}\n{line}\n".encode()) is None


def test_that_many_lines_in_several_blocks_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniform_lines, "_BLOCK_BYTES", 1 << 12)
    rows = [{"step": step, "loss": math.sin(step) * 10.0 ** (step % 30 - 15), "nan": math.nan} for step in range(3000)]
    columns = uniform_columns("".join(json.dumps(row) + "\r\n" for row in rows).encode())
    assert columns is not None
    for key, column in columns.items():
        np.testing.assert_array_equal(column, [row[key] for row in rows])


def test_that_a_key_that_is_no_text_of_json_gives_nothing() -> None:
    assert uniform_columns(b'{"a\\x": 1, "b": 2}\n' * 3) is None
