"""How the columns of a training log become curves.

CSV files and JSON lines share their conventions: one column counts the steps, one may tell the time, one may say which
part of the data a row is about; every other number is a metric. Which is which is known from their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, TypeGuard

import numpy as np

from .tables import CurvePiece

_STEPS = (
    *("_step", "global_step", "step", "steps", "train_step", "total_steps", "num_steps"),
    *("total_timesteps", "timesteps_total", "totalenvinteracts", "env_steps", "timesteps", "timestep", "num_timesteps"),
    *("iteration", "iterations", "iter", "iters", "training_iteration", "update", "updates", "batch", "generation"),
    *("epoch", "epochs", "round"),
)
"""Names of columns that count steps, the best first."""

_AMOUNTS = (
    *("samples", "num_samples", "samples_seen", "examples", "examples_seen", "consumed_samples"),
    *("tokens", "num_tokens", "tokens_seen", "total_tokens", "consumed_tokens", "train_tokens"),
    *("time", "wall_time", "timestamp", "elapsed", "elapsed_time"),
)
"""Names of columns that can stand for steps, but say so only where they never go back."""

_WALL_TIMES = ("wall_time", "_timestamp", "timestamp", "wall time", "walltime", "time", "date", "datetime")
_PARTS = frozenset({"split", "phase", "mode", "stage", "subset"})
_CONFIGS = frozenset({"config", "hparams", "hyperparameters", "hyper_parameters"})

_OF_TABLES = frozenset(
    {
        *("item", "item_id", "example_id", "doc_id", "question_id", "sample_id", "instance_id"),
        *("y_pred", "y_true", "is_correct", "winner", "judge", "task", "tag"),
    }
)
"""Names that no log of a single run has."""

_OF_ANSWERS = frozenset({"prediction", "predicted", "pred", "gold", "label", "correct"})
"""Names that tables of answers have; in a log they may be the names of losses and counts."""

_OF_SEVERAL_RUNS = frozenset({"model", "model_name", "run", "run_name", "run_id", "experiment", "name"})
"""Names that tables of several runs have, and logs of a single one seldom."""

_OF_SIZES = frozenset({"params", "n_params", "num_params", "parameters", "flops", "model_size"})


def _plain(name: str) -> str:
    return name.strip().lower()


def _last_part(name: str) -> str:
    return _plain(name).rpartition("/")[2]


def step_name(numbers: Iterable[str]) -> str | None:
    """Give the name that counts the steps among the names of columns that hold numbers, or None."""
    names = list(numbers)
    for wanted in (*_STEPS, *_AMOUNTS):
        for part in (_plain, _last_part):
            for name in names:
                if part(name) == wanted:
                    return name
    return None


def wall_time_name(first: Mapping[str, Any], step: str) -> str | None:
    """Give the name of the column that holds the time of day, judged by the first row, or None."""
    for wanted in _WALL_TIMES:
        for name, value in first.items():
            if name != step and _plain(name) == wanted and wall_time(value) is not None:
                return name
    return None


def wall_time(value: Any) -> float | None:
    """Give seconds since 1970 where `value` can be such a time: a date, or a number of (milli)seconds from 2001 to 2096.

    A date without a time zone is taken as UTC.
    """
    if isinstance(value, str) and _DATE.match(value):
        try:
            time = datetime.fromisoformat(value.strip())
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        except ValueError:
            return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 1e9 <= value < 4e9:
            return float(value)
        if 1e12 <= value < 4e12:
            return float(value) / 1000
    return None


def wall_times(values: np.ndarray) -> np.ndarray:
    """Give a column of times in seconds since 1970; milliseconds are recognised by their size."""
    return np.where(values >= 1e12, values / 1000, values)


def part_name(first: Mapping[str, Any]) -> str | None:
    """Give the name of the column that says which part of the data a row is about (``train``, ``val``), or None."""
    return next((n for n, value in first.items() if _plain(n) in _PARTS and isinstance(value, str) and value), None)


def is_config(name: str) -> bool:
    """Whether a column or key holds configuration and not something measured."""
    head, slash, _ = _plain(name).partition("/")
    return head in _CONFIGS and (bool(slash) or head == _plain(name))


def is_log(names: Sequence[str], rows: Sequence[Mapping[str, Any]], *, by_name: bool) -> bool:
    """Whether named columns with these first rows are the log of one run, and not a table of results.

    Parameters
    ----------
    names : sequence of str
        All columns.
    rows : sequence of mappings
        First rows: numbers and text by column, without empty cells.
    by_name : bool
        Whether the file has the name of a log: it may then have no rows yet, and name its own run in every row.
    """
    plain = {_plain(name) for name in names}
    if plain & _OF_TABLES or {"metric", "value"} <= plain or (plain & _OF_SEVERAL_RUNS and not by_name):
        return False
    if plain & _OF_ANSWERS and not _count_up(rows):
        return False
    if not rows:
        return step_name(names) is not None and len(names) > 1
    step = step_name(name for name, value in rows[0].items() if is_number(value))
    if step is None or not any(is_number(value) for row in rows for name, value in row.items() if name != step):
        # A header of configuration may come first in JSON lines.
        return len(rows) > 1 and is_log(names, rows[1:], by_name=by_name)
    if _plain(step) in _STEPS or _last_part(step) in _STEPS:
        return True
    steps = [row[step] for row in rows if is_number(row.get(step))]
    # Only loggers group names by slashes: for such a name one row is enough.
    enough = len(steps) > 1 or "/" in step
    return enough and not plain & _OF_SIZES and all(a <= b for a, b in pairwise(steps))


def _count_up(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows hold numbers only, and every row has a step beyond that of the row before: answers to items have not."""
    step = step_name(name for name, value in rows[0].items() if is_number(value)) if rows else None
    if step is None or not (_plain(step) in _STEPS or _last_part(step) in _STEPS) or len(rows) < 2:
        return False
    answers = [value for row in rows for name, value in row.items() if _plain(name) in _OF_ANSWERS]
    steps = [row[step] for row in rows if is_number(row.get(step))]
    return all(map(is_number, answers)) and len(steps) == len(rows) and all(a < b for a, b in pairwise(steps))


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number, which True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_number(text: str) -> float | None:
    """Give the number a text is, NaN and infinities included, or None."""
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def numbers_of(row: Mapping[str, Any], joint: str = "/", deepest: int = 16) -> dict[str, float]:
    """Give the numbers of a nested row by tag; spelled-out NaN and infinities are numbers, media are not.

    Parameters
    ----------
    row : Mapping
        What was logged at one step.
    joint : str
        What the keys of nested objects are joined with.
    deepest : int
        Levels of nesting that are looked into.
    """
    numbers: dict[str, float] = {}
    _add_numbers(row, "", joint, deepest, numbers)
    return numbers


def _add_numbers(row: Mapping[str, Any], before: str, joint: str, deepest: int, numbers: dict[str, float]) -> None:
    for key, value in row.items():
        if is_number(value):
            numbers[f"{before}{key}"] = float(value)
        elif isinstance(value, str) and len(value) <= 9:
            number = as_number(value)
            if number is not None and not np.isfinite(number):
                numbers[f"{before}{key}"] = number
        elif isinstance(value, dict) and "_type" not in value and deepest:
            _add_numbers(value, f"{before}{key}{joint}", joint, deepest - 1, numbers)


_DATE = re.compile(r"\s*\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf(inity)?)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class LoggedColumn:
    """The values of one metric in some rows of a log.

    Attributes
    ----------
    values : ndarray, shape (n,)
        Values as logged.
    rows : ndarray of int64, shape (n,), or None
        Numbers of the rows that have one; None for all rows.
    """

    values: np.ndarray
    rows: np.ndarray | None = None


def curve_pieces(
    run: str, step: np.ndarray, columns: Mapping[str, LoggedColumn], wall_time: np.ndarray | None = None
) -> Iterator[CurvePiece]:
    """Give the curves of some rows of a log: tags that were logged in the same rows share their steps."""
    together: dict[bytes | None, tuple[np.ndarray | None, dict[str, np.ndarray]]] = {}
    for tag, column in columns.items():
        if len(column.values):
            key = None if column.rows is None else column.rows.tobytes()
            together.setdefault(key, (column.rows, {}))[1][tag] = column.values
    steps = whole_steps(step)
    for rows, values in together.values():
        if rows is None:
            yield CurvePiece(run, steps, values, wall_time)
        else:
            yield CurvePiece(run, steps[rows], values, None if wall_time is None else wall_time[rows])


def whole_steps(step: np.ndarray) -> np.ndarray:
    """Give steps as whole numbers where all of them are."""
    if step.dtype.kind in "iu":
        return step.astype(np.int64)
    if len(step) and bool((np.abs(step) < 2**53).all() and (step == np.floor(step)).all()):
        return step.astype(np.int64)
    return step
