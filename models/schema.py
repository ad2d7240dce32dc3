"""The five canonical tables: their columns, units and checks.

Every table is long: one row states one fact. A table may carry more columns than its schema names; they can be mapped,
grouped by, coloured by and filtered on. A column the schema names must hold the kind of value it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .deferred import deferred
from .errors import SchemaError

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

Kind = Literal["text", "integer", "real", "boolean", "any"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a canonical table.

    Attributes
    ----------
    name : str
        Canonical name.
    kind : {'text', 'integer', 'real', 'boolean', 'any'}
        What its values are.
    help : str
        One line for the column mapper and the documentation.
    unit : str
        Unit of the values, or an empty string.
    low, high : float
        Bounds a finite value must respect, both included.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Schema:
    """A canonical table.

    Attributes
    ----------
    name : str
        Name of the table.
    key : tuple of str
        Columns that identify a row; those that are absent count as one unnamed value.
    needs : tuple of str
        Columns without which the table means nothing.
    columns : tuple of Column
        All columns with a fixed meaning.
    """

    name: str
    key: tuple[str, ...]
    needs: tuple[str, ...]
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column | None:
        """Give the column called `name`, or None where the schema names no such column."""
        return next((column for column in self.columns if column.name == name), None)

    def check(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Give `frame` with the columns the schema names turned into their kinds.

        Raises
        ------
        SchemaError
            When a needed column is missing, or a column holds values that cannot be of its kind or are out of bounds.
        """
        found = tuple(str(name) for name in frame.columns)
        missing = tuple(name for name in self.needs if name not in found)
        if missing:
            raise SchemaError(
                f"A {self.name} table needs {_listed(missing)}; found {_listed(found)}.",
                table=self.name,
                columns=missing,
                found=found,
                remedy="Map a column onto it (--map NAME=COLUMN, or the column mapper).",
            )
        converted = {}
        for column in self.columns:
            if column.name in found:
                converted[column.name] = _converted(frame[column.name], column, self.name, found)
        return frame.assign(**converted)

    def empty(self) -> pd.DataFrame:
        """Give a table of this schema without rows."""
        dtypes = {"text": "str", "integer": "float64", "real": "float64", "boolean": "bool", "any": "object"}
        return pd.DataFrame({column.name: pd.Series(dtype=dtypes[column.kind]) for column in self.columns})


def _listed(names: tuple[str, ...], most: int = 12) -> str:
    """Write column names as a phrase, cut when there are very many."""
    if not names:
        return "no columns"
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _converted(values: pd.Series, column: Column, table: str, found: tuple[str, ...]) -> pd.Series:
    if column.kind == "any":
        return values
    if column.kind == "text":
        if isinstance(values.dtype, pd.CategoricalDtype):
            return values
        # A whole number read as a float because of a missing value would otherwise become '3.0'.
        if pd.api.types.is_float_dtype(values.dtype):
            known = values.dropna()
            if bool(((known == known.round()) & (known.abs() < 2.0**63)).all()):
                values = values.astype("Int64")
        return values.astype("str").where(values.notna(), None)
    if pd.api.types.is_bool_dtype(values.dtype):
        numbers = values.astype("float64")
    else:
        try:
            numbers = pd.to_numeric(values, errors="coerce")
        except OverflowError:  # JSON and YAML have whole numbers beyond any float
            numbers = pd.to_numeric(values.map(_as_float), errors="coerce")
        lost = values.notna() & numbers.isna()
        if bool(lost.any()):
            example = values[lost].iloc[0]
            if not (isinstance(example, float) and math.isnan(example)) and str(example).lower() not in ("nan", ""):
                raise SchemaError(
                    f"Column {column.name!r} of the {table} table holds {str(example)[:60]!r}, which is not a number.",
                    table=table,
                    columns=(column.name,),
                    found=found,
                    remedy="Map another column onto it, or leave those rows out with a filter.",
                )
        numbers = numbers.astype("float32" if numbers.dtype == np.float32 else "float64")
    out = (numbers < column.low) | (numbers > column.high)
    if bool(out.any()):
        raise SchemaError(
            f"Column {column.name!r} of the {table} table holds {numbers[out].iloc[0]:g}, "
            f"outside [{column.low:g}, {column.high:g}].",
            table=table,
            columns=(column.name,),
            found=found,
            remedy="Are these logits or percentages? Map or derive the column first.",
        )
    return numbers


def _as_float(value: object) -> object:
    """Give a whole number as a float, infinite where it is too large for one; leave all else."""
    if not isinstance(value, int):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


RUNS = Schema(
    "runs",
    key=("run",),
    needs=("run",),
    columns=(
        Column("run", "text", "key of the run"),
        Column("name", "text", "name shown"),
        Column("source", "text", "file or folder it was read from"),
        Column("reader", "text", "reader that read it"),
        Column("family", "text", "model family or recipe"),
        Column("seed", "any", "random seed"),
        Column("params", "real", "number of parameters, counted as the source counts them", "parameters", low=0),
        Column("active_params", "real", "parameters active per token", "parameters", low=0),
        Column("tokens", "real", "training tokens", "tokens", low=0),
        Column("flops", "real", "training compute", "FLOPs", low=0),
        Column("batch_tokens", "real", "tokens per optimiser step", "tokens", low=0),
        Column("peak_lr", "real", "highest learning rate"),
        Column("status", "text", "finished, running, failed, diverged or unknown"),
        Column("started", "real", "time of the first record", "s since 1970"),
        Column("ended", "real", "time of the last record", "s since 1970"),
    ),
)

SCALARS = Schema(
    "scalars",
    key=("run", "tag", "step"),
    needs=("run", "tag", "step", "value"),
    columns=(
        Column("run", "text", "key of the run"),
        Column("tag", "text", "name of the metric"),
        Column("step", "real", "step the value was logged at", "steps"),
        Column("value", "real", "the value as logged"),
        Column("wall_time", "real", "when it was logged", "s since 1970"),
    ),
)

SCORES = Schema(
    "scores",
    key=("model", "version", "task", "metric", "split", "seed", "step"),
    needs=("model", "task", "value"),
    columns=(
        Column("model", "text", "model that was scored"),
        Column("version", "text", "version or checkpoint of the model"),
        Column("task", "text", "benchmark or task"),
        Column("metric", "text", "name of the score"),
        Column("split", "text", "part of the data"),
        Column("seed", "any", "random seed"),
        Column("value", "real", "the score"),
        Column("stderr", "real", "its standard error as reported", low=0),
        Column("n", "real", "number of items behind it", "items", low=0),
        Column("higher_is_better", "boolean", "direction of the score"),
        Column("step", "real", "training step of the checkpoint", "steps"),
        Column("fewshot", "real", "examples in the prompt"),
    ),
)

PREDICTIONS = Schema(
    "predictions",
    key=("model", "version", "task", "item", "sample", "epoch"),
    needs=("item",),
    columns=(
        Column("model", "text", "model that answered"),
        Column("version", "text", "version of the model"),
        Column("task", "text", "benchmark or task"),
        Column("item", "text", "key of the item, the same for every model"),
        Column("sample", "text", "number of the sample where an item is answered several times"),
        Column("label", "text", "the right answer"),
        Column("prediction", "text", "the answer given; missing = no answer"),
        Column("correct", "real", "1 right, 0 wrong, or a score in between", low=0, high=1),
        Column("confidence", "real", "probability of the answer given", low=0, high=1),
        Column("group", "text", "slice the item belongs to"),
        Column("weight", "real", "weight of the row", low=0),
        Column("epoch", "real", "epoch at which the prediction was made", "epochs"),
    ),
)

COMPARISONS = Schema(
    "comparisons",
    key=("item", "a", "b", "judge", "order"),
    needs=("a", "b", "winner"),
    columns=(
        Column("item", "text", "key of the item"),
        Column("a", "text", "model shown as A"),
        Column("b", "text", "model shown as B"),
        Column("judge", "text", "who judged"),
        Column("order", "text", "order of presentation"),
        Column("winner", "text", "a, b or tie"),
        Column("strength", "real", "strength of the preference"),
        Column("length_a", "real", "length of A's answer"),
        Column("length_b", "real", "length of B's answer"),
        Column("dimension", "text", "what was judged"),
    ),
)

SCHEMAS: dict[str, Schema] = {schema.name: schema for schema in (RUNS, SCALARS, SCORES, PREDICTIONS, COMPARISONS)}
"""All canonical tables by name."""
