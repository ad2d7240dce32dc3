r"""A regular expression of the user that makes curves of the lines of a log.

Named groups say what is what: ``(?P<step>\d+)`` the step, ``(?P<wall_time>...)`` the time (seconds since 1970, or as
``2026-01-31 12:00:00``), ``(?P<total>\d+)`` the number of steps planned; any other group is a metric of that name. Where a
log names its metrics itself, a group ``tag`` and a group ``value`` take them in pairs, as often as they occur in a line::

    step (?P<step>\d+).*?loss (?P<loss>\S+)
    ^\[(?P<step>\d+)\]|(?P<tag>\w+)=(?P<value>\S+)
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .bounded_search import compiled, left
from .deferred import deferred
from .errors import ExpressionError, ReadError
from .logged_columns import as_number

if TYPE_CHECKING:
    import pandas as pd
    from regex import Match, Pattern
else:
    pd = deferred("pandas")

LONGEST_LINE = 1000
"""Characters of a line beyond which it is not looked at: searching may take a power of the length."""

MOST_SECONDS = 10.0
"""Time after which reading a file with a pattern is given up."""

PREVIEW_SECONDS = 2.0

_RESERVED = frozenset({"step", "total", "wall_time", "tag", "value"})


class MatchedLine(NamedTuple):
    """What a pattern found in a line: its number from 0, step, time and planned steps where it has them, and the values."""

    line: int
    step: float | None
    wall_time: float | None
    total: float | None
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class TextPattern:
    """How lines of some files are read.

    Attributes
    ----------
    name : str
        Shown to the user; runs say that this read them.
    glob : str
        Files it applies to, as in `fnmatch`, by their name or by their path below what was opened.
    regex : str
        The regular expression, searched for in every line.

    Raises
    ------
    ExpressionError
        When it is no regular expression, names nothing to be read, or may take for ever.
    """

    name: str
    glob: str
    regex: str

    def __post_init__(self) -> None:
        _compiled(self.regex)

    def preview(self, text: str) -> pd.DataFrame:
        """Give what the pattern finds in some lines.

        Returns
        -------
        DataFrame
            Columns ``line`` (from 1), ``step``, ``tag``, ``value`` and, where the pattern has such a group, ``wall_time``
            (seconds since 1970); one row for each value. Without a group ``step`` the lines found are counted from 0.

        Raises
        ------
        ReadError
            When it takes longer than two seconds.
        """
        rows = []
        for number, found in enumerate(self.matches(text, PREVIEW_SECONDS)):
            step = number if found.step is None else found.step
            rows += [(found.line + 1, step, tag, value, found.wall_time) for tag, value in found.values.items()]
        frame = pd.DataFrame(rows, columns=["line", "step", "tag", "value", "wall_time"])
        return frame if "wall_time" in _compiled(self.regex).groupindex else frame.drop(columns="wall_time")

    def matches(self, text: str, seconds: float = MOST_SECONDS) -> Iterator[MatchedLine]:
        """Give the lines in which the pattern finds at least one number.

        Raises
        ------
        ReadError
            When it takes longer than `seconds`.
        """
        search = _compiled(self.regex)
        names = search.groupindex
        has_pairs = "tag" in names
        metrics = [name for name in names if name not in _RESERVED]
        deadline = time.monotonic() + seconds
        for number, line in enumerate(text.splitlines()):
            if len(line) > LONGEST_LINE:
                continue
            step = wall_time = total = None
            values: dict[str, float] = {}
            for match in self._found(search, line, deadline):
                groups = match.groupdict()
                step = step if groups.get("step") is None else _number(groups["step"])
                total = total if groups.get("total") is None else _number(groups["total"])
                wall_time = wall_time if groups.get("wall_time") is None else seconds_of(groups["wall_time"])
                taken = [(name, groups[name]) for name in metrics]
                if has_pairs and groups["tag"] is not None:
                    taken.append((groups["tag"].strip(), groups["value"]))
                for tag, written in taken:
                    if tag and written is not None and (value := _number(written)) is not None:
                        values[tag] = value
            if values:
                yield MatchedLine(number, step, wall_time, total, values)

    def _found(self, search: Pattern[str], line: str, deadline: float) -> Iterator[Match[str]]:
        try:
            yield from search.finditer(line, timeout=left(deadline))
        except TimeoutError:
            remedy = "Begin it with ^, and use \\S+ or [^,]* rather than several .*"
            raise ReadError(f"The pattern {self.name!r} takes too long.", remedy=remedy) from None


def _number(written: str) -> float | None:
    return as_number(written.replace(",", ""))


def seconds_of(written: str) -> float | None:
    """Give a time in seconds since 1970: a number, or a date with a time (taken as UTC where no zone is named)."""
    number = as_number(written)
    if number is not None:
        return number
    try:
        return float(pd.Timestamp(written.strip().replace(",", ".")).timestamp())
    except ValueError:
        return None


@functools.lru_cache(maxsize=256)
def _compiled(expression: str) -> Pattern[str]:
    search = compiled(expression)
    groups = set(search.groupindex)
    if ("tag" in groups) != ("value" in groups):
        raise ExpressionError("The groups 'tag' and 'value' come together or not at all.", text=expression)
    if not groups - _RESERVED and "tag" not in groups:
        raise ExpressionError(
            "It names nothing to read.",
            text=expression,
            remedy="Name the numbers, as in: step (?P<step>\\d+) loss (?P<loss>\\S+)",
        )
    return search
