"""What is selected, said as a predicate over columns and never as row numbers.

A click or a brush in any pane becomes a `Clause`; the same clause reads on every table that has its columns, so panes link
without knowing one another. Two uses have two words: a *filter* decides what enters a computation, a *highlight* what is
emphasised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import expression
from .bounded_search import TooSlow, found_in
from .errors import ExpressionError, SessionError

if TYPE_CHECKING:
    import pandas as pd

Value = str | float | int | bool | None


@dataclass(frozen=True, slots=True)
class Everything:
    """Holds for every row."""

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Give True for every row."""
        return np.ones(len(frame), dtype=bool)

    @property
    def columns(self) -> frozenset[str]:
        """No column is read."""
        return frozenset()

    def __str__(self) -> str:
        return "everything"


@dataclass(frozen=True, slots=True)
class IsIn:
    """Holds where a column has one of some values."""

    column: str
    values: frozenset[Value]

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Give, for every row, whether its value is one of the values."""
        return frame[self.column].isin(list(self.values)).to_numpy(dtype=bool)

    @property
    def columns(self) -> frozenset[str]:
        """The column."""
        return frozenset((self.column,))

    def __str__(self) -> str:
        named = sorted(map(str, self.values))
        return f"{self.column} is {named[0]}" if len(named) == 1 else f"{self.column} is one of {len(named)}"


@dataclass(frozen=True, slots=True)
class Between:
    """Holds where a column lies in an interval, both ends included."""

    column: str
    low: float
    high: float

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Give, for every row, whether its value lies in the interval."""
        return frame[self.column].between(self.low, self.high).to_numpy(dtype=bool)

    @property
    def columns(self) -> frozenset[str]:
        """The column."""
        return frozenset((self.column,))

    def __str__(self) -> str:
        return f"{self.low:.4g} ≤ {self.column} ≤ {self.high:.4g}"


@dataclass(frozen=True, slots=True)
class Matches:
    """Holds where a text column contains a match of a regular expression (`re.search`)."""

    column: str
    pattern: str

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Give, for every row, whether the pattern is found (everywhere while it is invalid, or takes too long)."""
        # Thousands of rows say the name of one model: each text is searched once, or the time for a filter may not do.
        texts = [str(value) for value in frame[self.column]]
        different = list(dict.fromkeys(texts))
        try:
            found = dict(zip(different, found_in(self.pattern, different), strict=True))
            return np.array([found[text] for text in texts], dtype=bool)
        except (ExpressionError, TooSlow):
            return np.ones(len(frame), dtype=bool)

    @property
    def columns(self) -> frozenset[str]:
        """The column."""
        return frozenset((self.column,))

    def __str__(self) -> str:
        return f"{self.column} matches {self.pattern}"


@dataclass(frozen=True, slots=True)
class Holds:
    """Holds where a typed condition holds (``loss < 4``)."""

    text: str

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Give, for every row, whether the condition holds."""
        return expression.parse(self.text).mask(frame)

    @property
    def columns(self) -> frozenset[str]:
        """The columns the condition reads."""
        return frozenset(expression.parse(self.text).columns)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class All:
    """Holds where every part holds."""

    parts: tuple[Clause, ...]

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Give, for every row, whether all parts hold."""
        mask = np.ones(len(frame), dtype=bool)
        for part in self.parts:
            mask &= part.mask(frame)
        return mask

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the parts."""
        return frozenset[str]().union(*(part.columns for part in self.parts))

    def __str__(self) -> str:
        return " and ".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds where at least one part holds."""

    parts: tuple[Clause, ...]

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Give, for every row, whether one of the parts holds."""
        mask = np.zeros(len(frame), dtype=bool)
        for part in self.parts:
            mask |= part.mask(frame)
        return mask

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the parts."""
        return frozenset[str]().union(*(part.columns for part in self.parts))

    def __str__(self) -> str:
        return "(" + " or ".join(map(str, self.parts)) + ")"


@dataclass(frozen=True, slots=True)
class Not:
    """Holds where its part does not."""

    part: Clause

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Give, for every row, whether the part does not hold."""
        return ~self.part.mask(frame)

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the part."""
        return self.part.columns

    def __str__(self) -> str:
        return f"not ({self.part})"


Clause = Everything | IsIn | Between | Matches | Holds | All | AnyOf | Not

EVERYTHING = Everything()


def is_in(column: str, values: Iterable[Value]) -> IsIn:
    """Give the clause that holds where `column` has one of `values`."""
    return IsIn(column, frozenset(values))


def conjuncts(clause: Clause) -> tuple[Clause, ...]:
    """Give the parts that must all hold for `clause` to hold (none for everything)."""
    if isinstance(clause, Everything):
        return ()
    if isinstance(clause, All):
        return tuple(part for inner in clause.parts for part in conjuncts(inner))
    return (clause,)


def both(old: Clause, new: Clause) -> Clause:
    """Narrow `old` to where `new` holds too."""
    parts = tuple(dict.fromkeys(conjuncts(old) + conjuncts(new)))
    if not parts:
        return EVERYTHING
    return parts[0] if len(parts) == 1 else All(parts)


def either(old: Clause, new: Clause) -> Clause:
    """Widen `old` to where `new` holds."""
    if isinstance(old, IsIn) and isinstance(new, IsIn) and old.column == new.column:
        return IsIn(old.column, old.values | new.values)
    if old == new:
        return old
    return AnyOf((old, new))


def without(old: Clause, new: Clause) -> Clause:
    """Take out of `old` where `new` holds."""
    if isinstance(old, IsIn) and isinstance(new, IsIn) and old.column == new.column:
        return IsIn(old.column, old.values - new.values)
    return both(old, Not(new))


def replacing(old: Clause, new: Clause) -> Clause:
    """Forget `old`."""
    return new


BRUSH_MODES: dict[str, Callable[[Clause, Clause], Clause]] = {
    "replace": replacing,
    "and": both,
    "or": either,
    "not": without,
}
"""How a new brush changes what was selected, by the name shown to the user."""


def to_json(clause: Clause) -> dict[str, Any]:
    """Write a clause as plain JSON values."""
    match clause:
        case Everything():
            return {"everything": True}
        case IsIn():
            return {
                "is_in": clause.column,
                "values": sorted(clause.values, key=lambda value: (str(type(value)), str(value))),
            }
        case Between():
            return {"between": clause.column, "low": clause.low, "high": clause.high}
        case Matches():
            return {"matches": clause.column, "pattern": clause.pattern}
        case Holds():
            return {"holds": clause.text}
        case All():
            return {"all": [to_json(part) for part in clause.parts]}
        case AnyOf():
            return {"any": [to_json(part) for part in clause.parts]}
        case Not():
            return {"not": to_json(clause.part)}


_DEEPEST = 50
"""Clauses within clauses: far more than anyone makes by hand, and few enough to walk through."""


def from_json(data: Any, depth: int = 0) -> Clause:
    """Read a clause that `to_json` wrote.

    Raises
    ------
    SessionError
        When `data` is none.
    ExpressionError
        When a typed condition in it cannot be understood.
    """
    if depth > _DEEPEST:
        raise SessionError("A selection is nested too deeply.")
    match data:
        case {"everything": True}:
            return EVERYTHING
        case {"is_in": str(column), "values": list(values)}:
            return IsIn(column, frozenset(values))
        case {"between": str(column), "low": float() | int() as low, "high": float() | int() as high}:
            return Between(column, float(low), float(high))
        case {"matches": str(column), "pattern": str(pattern)}:
            return Matches(column, pattern)
        case {"holds": str(text)}:
            expression.parse(text)
            return Holds(text)
        case {"all": list(parts)}:
            return All(tuple(from_json(part, depth + 1) for part in parts))
        case {"any": list(parts)}:
            return AnyOf(tuple(from_json(part, depth + 1) for part in parts))
        case {"not": part}:
            return Not(from_json(part, depth + 1))
    raise SessionError(f"{str(data)[:80]!r} is not a selection.")
