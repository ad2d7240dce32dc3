"""How the columns of a source become canonical ones: renamed, derived, filtered.

``--map``, ``--let`` and ``--where`` on the command line and the column mapper in the window make the same value.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import expression
from .schema import SCHEMAS, Schema

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Renamed and derived columns for all sources whose path matches a pattern.

    Attributes
    ----------
    names : tuple of (str, str)
        Pairs of canonical name and name in the source.
    derived : tuple of (str, str)
        Pairs of new column and the expression that gives it; later ones may use earlier ones.
    pattern : str
        Sources it applies to, as in `fnmatch`.
    table : str
        Canonical table the rows are to become; empty lets the columns decide.
    """

    names: tuple[tuple[str, str], ...] = ()
    derived: tuple[tuple[str, str], ...] = ()
    pattern: str = "*"
    table: str = ""

    def applies_to(self, source: str) -> bool:
        """Whether the map is meant for `source`."""
        return fnmatch.fnmatch(source, self.pattern)

    def applied(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Give `frame` with the mapped and derived columns added; columns it lacks are passed over.

        Raises
        ------
        ExpressionError
            When a derived column cannot be computed although its columns are there.
        """
        frame = frame.copy(deep=False)
        for canonical, name in self.names:
            if name in frame.columns:
                frame[canonical] = frame[name]
        for name, text in self.derived:
            parsed = expression.parse(text)
            if set(parsed.columns) <= set(frame.columns):
                frame[name] = parsed.values(frame)
        return frame


_TELLING: tuple[tuple[str, frozenset[str]], ...] = (
    ("comparisons", frozenset({"a", "b", "winner"})),
    ("predictions", frozenset({"item"})),
    ("scores", frozenset({"model", "task", "value"})),
    ("scalars", frozenset({"run", "tag", "step", "value"})),
    ("runs", frozenset({"params"})),
    ("runs", frozenset({"flops"})),
    ("runs", frozenset({"tokens"})),
    ("runs", frozenset({"run"})),
)


def table_of(frame: pd.DataFrame) -> Schema | None:
    """Give the canonical table whose telling columns `frame` has, or None where it cannot be known."""
    columns = set(map(str, frame.columns))
    return next((SCHEMAS[name] for name, telling in _TELLING if telling <= columns), None)
