"""Arithmetic and comparisons on columns, as typed in a filter or a derived column.

``loss < 4 and family == "pythia"`` and ``flops / (6 * params)`` are parsed into a syntax tree with Python's own parser and
then walked by this module, which knows numbers, texts, columns, arithmetic, comparisons and a few functions. Nothing is
ever evaluated as code. A column whose name is not a plain word stands in backticks: ```Model Size` * 1e6``; dots are
allowed as they are (``config.lr``).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .deferred import deferred
from .errors import ExpressionError

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sqrt": np.sqrt,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "round": np.round,
}

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: np.power,
    ast.BitAnd: lambda a, b: a & b,
    ast.BitOr: lambda a, b: a | b,
}

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}

_MOST_CHARACTERS = 20_000
"""Outside quotes: a list of hundreds of runs is no deep expression."""
_QUOTED = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
_MOST_DEPTH = 60
_BACKTICK = re.compile(r"`([^`]*)`")


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression over columns.

    Use `parse` to make one.

    Attributes
    ----------
    text : str
        The expression as typed; two expressions are equal when their texts are.
    columns : tuple of str
        Columns it reads, in order of appearance.
    """

    text: str
    columns: tuple[str, ...]

    def values(self, frame: pd.DataFrame) -> pd.Series:
        """Give the value of the expression for every row of `frame`.

        Raises
        ------
        ExpressionError
            When `frame` lacks a column, or an operation does not fit the values.
        """
        tree, names = _tree(self.text)
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise ExpressionError(
                f"There is no column called {missing[0]!r}.",
                text=self.text,
                position=max(self.text.find(missing[0]), 0),
                remedy="Columns: " + ", ".join(map(str, list(frame.columns)[:15])) + ".",
            )
        try:
            with np.errstate(all="ignore"):
                result = _value(tree, names, frame, self.text)
        except ExpressionError:
            raise
        except (TypeError, ValueError, OverflowError, MemoryError) as error:
            raise ExpressionError(
                f"{self.text!r} does not fit the values of its columns ({error}).", text=self.text
            ) from error
        if isinstance(result, pd.Series):
            return result
        if isinstance(result, list | np.ndarray):
            raise ExpressionError(f"{self.text!r} is a list, not a value for every row.", text=self.text)
        return pd.Series(np.full(len(frame), result), index=frame.index)

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Give, for every row of `frame`, whether the expression holds there (missing values never hold)."""
        values = self.values(frame)
        if not pd.api.types.is_bool_dtype(values.dtype):
            raise ExpressionError(
                f"{self.text!r} is a value, not a condition.", text=self.text, remedy="Compare it, as in 'loss < 4'."
            )
        return values.fillna(value=False).to_numpy(dtype=bool)


def parse(text: str) -> Expression:
    """Parse `text`.

    Raises
    ------
    ExpressionError
        When it is not arithmetic, comparisons and known functions on columns.
    """
    tree, names = _tree(text)
    columns: dict[str, None] = {}
    for name in _columns(tree, names):
        columns[name] = None
    return Expression(text, tuple(columns))


@lru_cache(maxsize=256)
def _tree(text: str) -> tuple[ast.expr, dict[str, str]]:
    """Parse and check `text`; names in backticks become placeholders, given beside the tree."""
    if len(text) > _MOST_CHARACTERS and len(_QUOTED.sub("", text)) > _MOST_CHARACTERS:
        raise ExpressionError("The expression is too long.", text=text, position=_MOST_CHARACTERS)
    names: dict[str, str] = {}

    def placeholder(match: re.Match[str]) -> str:
        # Padded to the same width, so that positions in error messages stay true.
        name = f"_q{len(names)}_"
        names[name] = match.group(1)
        return name.ljust(len(match.group(0)))

    replaced = _BACKTICK.sub(placeholder, text)
    try:
        tree = ast.parse(replaced.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        position = (getattr(error, "offset", None) or 1) - 1
        raise ExpressionError(
            f"{text!r} could not be understood.",
            text=text,
            position=position,
            remedy="Write conditions like 'loss < 4 and family == \"a\"'; put names with spaces in backticks.",
        ) from error
    _check(tree, text, 0)
    return tree, names


def syntax(text: str) -> tuple[ast.expr, dict[str, str]]:
    """Give the checked syntax tree of an expression, and the names that stood in backticks by their placeholders.

    For those who do something else with an expression than compute it on columns: a law with parameters, say.

    Raises
    ------
    ExpressionError
        When it cannot be understood, or holds what no expression may.
    """
    return _tree(text)


def _check(node: ast.expr, text: str, depth: int) -> None:
    """Refuse everything that is not on the list."""
    if depth > _MOST_DEPTH:
        raise ExpressionError("The expression is nested too deeply.", text=text, position=node.col_offset)
    children: list[ast.expr]
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            children = []
        case ast.Name():
            children = []
        case ast.Attribute(value=ast.Name() | ast.Attribute()):
            children = [node.value]
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            children = [node.left, node.right]
        case ast.UnaryOp(op=ast.UAdd() | ast.USub() | ast.Not() | ast.Invert()):
            children = [node.operand]
        case ast.BoolOp():
            children = node.values
        case ast.Compare() if all(type(op) in _COMPARISONS or isinstance(op, ast.In | ast.NotIn) for op in node.ops):
            children = [node.left, *node.comparators]
        case ast.List() | ast.Tuple() | ast.Set():
            children = list(node.elts)
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            children = list(node.args)
        case _:
            raise ExpressionError(
                "Only arithmetic, comparisons, and/or/not, in [...] and "
                + ", ".join(_FUNCTIONS)
                + " can be used in an expression.",
                text=text,
                position=getattr(node, "col_offset", 0),
            )
    for child in children:
        _check(child, text, depth + 1)


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    assert isinstance(node, ast.Name)
    return names.get(node.id, node.id)


def _columns(node: ast.expr, names: dict[str, str]) -> Iterator[str]:
    match node:
        case ast.Name() | ast.Attribute():
            yield _dotted(node, names)
        case ast.Call():
            for argument in node.args:
                yield from _columns(argument, names)
        case _:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    yield from _columns(child, names)


def _value(node: ast.expr, names: dict[str, str], frame: pd.DataFrame, text: str) -> Any:
    match node:
        case ast.Constant():
            # As NumPy's floats, so that a huge power overflows to infinity instead of filling the memory, and 1 / 0 is infinite
            # as it is in a column.
            is_number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
            return np.float64(node.value) if is_number else node.value  # type: ignore[arg-type]
        case ast.Name() | ast.Attribute():
            return frame[_dotted(node, names)]
        case ast.BinOp():
            left = _value(node.left, names, frame, text)
            return _ARITHMETIC[type(node.op)](left, _value(node.right, names, frame, text))
        case ast.UnaryOp():
            operand = _value(node.operand, names, frame, text)
            if isinstance(node.op, ast.Not | ast.Invert):
                return ~operand if isinstance(operand, pd.Series) else not operand
            return -operand if isinstance(node.op, ast.USub) else operand
        case ast.BoolOp():
            parts = [_value(part, names, frame, text) for part in node.values]
            joined = parts[0]
            for part in parts[1:]:
                joined = joined & part if isinstance(node.op, ast.And) else joined | part
            return joined
        case ast.Compare():
            return _compared(node, names, frame, text)
        case ast.List() | ast.Tuple() | ast.Set():
            return [_value(part, names, frame, text) for part in node.elts]
        case ast.Call(func=ast.Name(id=name)):
            return _FUNCTIONS[name](*[_value(part, names, frame, text) for part in node.args])
    raise ExpressionError("This cannot be used in an expression.", text=text, position=node.col_offset)


def _compared(node: ast.Compare, names: dict[str, str], frame: pd.DataFrame, text: str) -> Any:
    """Give a chain of comparisons (``1 < x <= 2`` means both)."""
    left = _value(node.left, names, frame, text)
    held: Any = None
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = _value(comparator, names, frame, text)
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, list) or not isinstance(left, pd.Series):
                raise ExpressionError(
                    "'in' needs a column on its left and a list on its right.",
                    text=text,
                    position=comparator.col_offset,
                    remedy="Write family in ['a', 'b'].",
                )
            holds = left.isin(right)
            holds = ~holds if isinstance(op, ast.NotIn) else holds
        else:
            holds = _COMPARISONS[type(op)](left, right)
        held = holds if held is None else held & holds
        left = right
    return held
