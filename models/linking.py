"""How a highlight made in one pane reads on the marks of another.

A highlight is a clause. On each table that has its columns it picks rows; what those rows are called (their runs, models,
items, ...) is what marks are compared with. A mark whose origin the highlight says nothing about stays as it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .errors import ExpressionError
from .figure import Clauses, Keys, Origin
from .schema import SCHEMAS
from .selection import EVERYTHING, Clause, IsIn
from .store import RunStore

if TYPE_CHECKING:
    import pandas as pd

_LOOKED_AT = ("runs", "predictions", "scores", "comparisons")


class Emphasis:
    """What a highlight emphasises in one store.

    Parameters
    ----------
    store : RunStore
        What is open, narrowed by the filter.
    highlight : Clause or None
        What is highlighted; None emphasises nothing.
    """

    def __init__(self, store: RunStore, highlight: Clause | None) -> None:
        self._store = store
        self._highlight = None if highlight == EVERYTHING else highlight
        self._names_in = lru_cache(maxsize=None)(self._names)
        self._rows_of = lru_cache(maxsize=None)(self._rows)
        self._values_in = lru_cache(maxsize=None)(self._values)
        self._touched_in = lru_cache(maxsize=256)(self._touched)

    def __bool__(self) -> bool:
        return self._highlight is not None

    def of(self, origin: Origin) -> np.ndarray | None:
        """Give for each element of a mark whether it is emphasised; None where the highlight says nothing about it.

        Returns
        -------
        ndarray of bool, shape (elements,), or None
            A single element for a mark that has one origin as a whole.
        """
        if origin is None or self._highlight is None:
            return None
        if isinstance(origin, Keys):
            names = self._names_in(origin.column)
            return (
                None if names is None else np.fromiter(map(names.__contains__, origin.values), bool, len(origin.values))
            )
        return self._touched_in(origin)

    def _touched(self, origin: Clauses) -> np.ndarray | None:
        """Give for each clause whether some highlighted row is behind it."""
        if self._highlight in origin.clauses:
            return np.array([clause == self._highlight for clause in origin.clauses])
        highlighted = self._rows_of(origin.table)
        if highlighted is None:
            return None
        rows = self._store.rows(origin.table)
        columns = set(rows.columns)

        def is_touched(clause: Clause) -> bool:
            if isinstance(clause, IsIn) and clause.column in columns:
                # Names are compared with names: a mask over all rows for each clause would be dear.
                return not clause.values.isdisjoint(self._values_in(origin.table, clause.column))
            return clause.columns <= columns and bool((clause.mask(rows) & highlighted).any())

        return np.fromiter(map(is_touched, origin.clauses), bool, len(origin.clauses))

    def _values(self, table: str, column: str) -> frozenset[object]:
        """Give the values that highlighted rows of a table have in a column."""
        highlighted = self._rows_of(table)
        return frozenset() if highlighted is None else frozenset(self._store.rows(table)[column][highlighted].unique())

    def _rows(self, table: str) -> np.ndarray | None:
        """Give which rows of a table are highlighted, or None where the highlight does not read on it."""
        assert self._highlight is not None
        if not self._store.has_rows(table):
            return None
        rows = self._store.rows(table)
        if self._highlight.columns <= set(rows.columns):
            return _held(self._highlight, rows)
        if "run" in rows.columns and table != "runs":
            runs = self._names_in("run")
            return None if runs is None else rows["run"].isin(list(runs)).to_numpy(dtype=bool)
        return None

    def _names(self, column: str) -> frozenset[str] | None:
        """Give the names in a linking column that highlighted rows have, or None where no table can tell."""
        assert self._highlight is not None
        if isinstance(self._highlight, IsIn) and self._highlight.column == column:
            return frozenset(map(str, self._highlight.values))  # no table need be made to know these
        told = None
        for table in _LOOKED_AT:
            if column not in [c.name for c in SCHEMAS[table].columns] or not self._store.has_rows(table):
                continue
            rows = self._store.rows(table)
            if column in rows.columns and self._highlight.columns <= set(rows.columns):
                names = frozenset(map(str, rows[column][_held(self._highlight, rows)].dropna().unique()))
                told = names if told is None else told | names
        return told


def _held(highlight: Clause, rows: pd.DataFrame) -> np.ndarray:
    """Give for which rows a highlight holds: for none where it does not fit their values (``run < 3`` in an edited session)."""
    try:
        return highlight.mask(rows)
    except (ExpressionError, TypeError):
        return np.zeros(len(rows), dtype=bool)
