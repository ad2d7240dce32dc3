"""Lines of JSON that all have the same keys, in the same order, and numbers under them: columns without a Python step for each.

Most training logs are such lines. Each cell between two commas is a key that is the same in all lines and a number behind
it; Arrow cuts the lines at the commas, compares the keys and converts the numbers; a compiled kernel does the same at once.
Whatever does not fit (text, null, nested objects, lines with other keys, lines that are not whole) is noticed, and nothing is
given: such lines are for a parser of JSON.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import orjson

from .deferred import deferred
from .kernels.text_numbers import lines_of_numbers

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as compute
else:
    pa = deferred("pyarrow")
    compute = deferred("pyarrow.compute")


_KEY = re.compile(rb'\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_BLOCK_BYTES = 1 << 20


def uniform_columns(data: bytes) -> dict[str, np.ndarray] | None:
    """Give the numbers under every key.

    Parameters
    ----------
    data : bytes
        Whole lines.

    Returns
    -------
    dict of str to ndarray of float64, shape (lines,), or None
        None where the lines are not all of this kind.
    """
    from pyarrow import csv as arrow_csv

    first = data[: data.find(b"\n")].rstrip(b"\r")
    begun = re.match(rb"\s*\{", first)
    if begun is None or not first.endswith(b"}"):
        return None
    before, keys = [], []
    for number, cell in enumerate(first.split(b",")):
        start = begun.end() if number == 0 else 0
        found = _KEY.match(cell, start)
        if found is None:
            return None
        before.append(cell[: found.end()])
        try:
            keys.append(str(orjson.loads(found[1])))
        except orjson.JSONDecodeError:
            return None
    if len(set(keys)) < len(keys):
        return None
    if (numbers := lines_of_numbers(data, before)) is not None:
        return dict(zip(keys, numbers, strict=True))
    places = [str(number) for number in range(len(keys))]
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(
                column_names=places, block_size=max(_BLOCK_BYTES, 2 * len(first)), use_threads=False
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=",", quote_char=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.binary()), strings_can_be_null=False
            ),
        )
        columns = {}
        for key, cells, constant in zip(keys, table.columns, before, strict=True):
            if not compute.all(compute.starts_with(cells, constant)).as_py():
                return None
            if key == keys[-1]:
                if not compute.all(compute.ends_with(cells, b"}")).as_py():
                    return None
                cells = compute.binary_slice(cells, 0, -1)
            # Replacing, as slicing to the end fails on cells that came in several blocks.
            numbers = compute.binary_replace_slice(cells, 0, len(constant), b"")
            columns[key] = compute.cast(numbers.cast(pa.string()), pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return columns
