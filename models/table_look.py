"""How a table is looked through: its cells as text, its rows in an order, the rows in which something is found."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .bounded_search import TooSlow, found_in
from .deferred import deferred
from .errors import ExportError, ExpressionError
from .natural_order import natural_order
from .plain_text import plain

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

MISSING = "–"

_MOST_NATURAL = 50_000
"""Up to this many different texts a ``version_2`` stands before ``version_10``; beyond, plain order is what is quick."""


def cell_text(value: Any) -> str:
    """Give a value as a person reads it: numbers to six digits, whole ones without a point, nothing as a dash."""
    if value is None or value is pd.NA or value is pd.NaT:
        return MISSING
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return number_text(float(value)) if abs(int(value)) >= 10**15 else str(value)
    if isinstance(value, float | np.floating):
        return MISSING if math.isnan(value) else number_text(float(value))
    return plain(str(value))


def number_text(value: float, digits: int = 6) -> str:
    """Give a number with so many significant digits, in powers of ten where it is very large or small."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == round(value) and abs(value) < 1e7:
        return str(round(value))
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa}e{int(exponent)}"
    return text


def is_numeric(column: pd.Series) -> bool:
    """Whether a column is one of numbers, to be set flush right."""
    return bool(pd.api.types.is_numeric_dtype(column.dtype)) and not pd.api.types.is_bool_dtype(column.dtype)


def found_rows(frame: pd.DataFrame, pattern: str) -> np.ndarray:
    """Give, for every row, whether a regular expression is found in one of its texts.

    Parameters
    ----------
    frame : DataFrame
    pattern : str
        As for `re.search`; case counts only where the pattern has capitals. Patterns that are empty, invalid or take too long
        are found everywhere.

    Returns
    -------
    ndarray of bool, shape (rows,)
    """
    everywhere = np.ones(len(frame), dtype=bool)
    if not pattern:
        return everywhere
    found = np.zeros(len(frame), dtype=bool)
    for position in range(frame.shape[1]):
        column = frame.iloc[:, position]
        if is_numeric(column):
            continue
        # Most text columns repeat few values: each is looked at once.
        codes, values = pd.factorize(column)
        try:
            hits = found_in(pattern, map(str, values), ignore_case=pattern == pattern.lower())
        except (ExpressionError, TooSlow):
            return everywhere
        found |= np.append(hits, False)[codes]  # the code of a missing value is -1: the appended no
    return found


def row_order(column: pd.Series, *, descending: bool = False) -> np.ndarray:
    """Give the positions of the rows sorted by a column; equal ones keep their order and missing ones come last.

    Returns
    -------
    ndarray of int64, shape (rows,)
    """
    missing = column.isna().to_numpy(dtype=bool)
    if pd.api.types.is_numeric_dtype(column.dtype):
        values = pd.to_numeric(column).to_numpy(dtype="float64", na_value=np.nan)
    else:
        codes, uniques = pd.factorize(column)
        texts = [str(value) for value in uniques]
        if len(texts) <= _MOST_NATURAL:
            in_order = sorted(range(len(texts)), key=lambda place: natural_order(texts[place][:200]))
        else:
            in_order = sorted(range(len(texts)), key=texts.__getitem__)
        ranks = np.empty(len(texts) + 1)
        ranks[np.array(in_order, dtype=np.intp)] = np.arange(len(texts))
        values = ranks[codes]
    order = np.argsort(-values if descending else values, kind="stable")
    return np.concatenate([order[~missing[order]], order[missing[order]]])


def as_tsv(frame: pd.DataFrame, titles: Sequence[str]) -> str:
    """Give rows as a spreadsheet takes them from the clipboard: a line of titles, then the cells between tabs."""
    lines = ["\t".join(titles)]
    lines += [
        "\t".join("" if pd.isna(value) else " ".join(str(value).split()) for value in row)
        for row in frame.itertuples(index=False, name=None)
    ]
    return "\n".join(lines) + "\n"


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV; a file that is there stays until the new one is whole.

    Raises
    ------
    ExportError
        When it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        frame.to_csv(part, index=False)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ExportError(
            f"{path.name} could not be written: {error.strerror or error}.", remedy="Write it elsewhere."
        ) from error
