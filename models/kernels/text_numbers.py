"""Numbers in lines of text: the float64 nearest to what is written, without a Python step for each.

The twins of these kernels are Arrow's parser of separated values (`uniform_lines.uniform_columns`, and the reader of CSV logs).
They read more than the compiled ones, which give up on all that is not plain: where nothing is given, the twin reads.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from . import accelerator

_POWERS = range(-342, 309)
"""Powers of ten that a float64 may be written with, before 19 digits."""

_BITS = 128


@functools.cache
def leading_bits() -> np.ndarray:
    """Give the 128 leading bits of every power of five.

    Those that do not fit are cut off, but for those from -27 to -1, which are rounded up: the method of Eisel and Lemire
    (https://arxiv.org/abs/2101.11408, section 6 and appendix B) is right with these.

    Returns
    -------
    ndarray of uint64, shape (powers, 2)
        The upper and the lower half.
    """
    halves = []
    for power in _POWERS:
        five = 5 ** abs(power)
        if power < 0:
            size = five.bit_length()
            five = (1 << (size + _BITS - 1 if power >= -27 else 2 * size + _BITS)) // five + 1
        size = five.bit_length()
        five = five >> (size - _BITS) if size > _BITS else five << (_BITS - size)
        halves.append((five >> 64, five & (1 << 64) - 1))
    return np.array(halves, np.uint64)


def lines_of_numbers(data: bytes, before: Sequence[bytes]) -> np.ndarray | None:
    """Give the numbers in lines of JSON that differ in nothing else.

    Parameters
    ----------
    data : bytes
        Whole lines.
    before : sequence of bytes
        What stands before each number of a line, behind the comma before it; behind the last number stands a brace.

    Returns
    -------
    ndarray of float64, shape (numbers of a line, lines), or None
        None where lines are of another kind, or only the twin is there.
    """
    if (compiled := accelerator()) is None:
        return None
    numbers = np.empty((len(before), compiled.count_lines(data)))
    ends = np.cumsum([len(part) for part in before], dtype=np.int64)
    lines: int = compiled.lines_of_numbers(data, b"".join(before), ends, leading_bits(), numbers)
    return numbers[:, :lines] if lines >= 0 else None


class Cells(NamedTuple):
    """Cells that are numbers or empty.

    Attributes
    ----------
    values : ndarray of float64, shape (columns, rows)
        NaN where a cell is empty.
    present : ndarray of bool, shape (columns, rows)
        Whether a cell is not empty.
    """

    values: np.ndarray
    present: np.ndarray


def rows_of_numbers(data: bytes, delimiter: str, columns: int) -> Cells | None:
    """Give the cells of whole lines of separated values; None where a row is of another kind, or only the twin is there."""
    if (compiled := accelerator()) is None:
        return None
    rows = compiled.count_lines(data)
    values, missing = np.empty((columns, rows)), np.zeros((columns, rows), bool)
    rows = compiled.rows_of_numbers(data, ord(delimiter), columns, leading_bits(), values, missing)
    return Cells(values[:, :rows], ~missing[:, :rows]) if rows >= 0 else None
