"""Searching texts with a regular expression of a user, or of a file from elsewhere, in bounded time.

A search of Python's `re` cannot be interrupted, and may take a time that doubles with every character. The package `regex`
reads the same expressions and takes a limit of time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .deferred import deferred
from .errors import ExpressionError

if TYPE_CHECKING:
    import regex
else:
    regex = deferred("regex")

FILTER_SECONDS = 0.5
"""Time for the texts of a filter altogether."""

_MOST_COPIES = 100_000
"""Copies that counted repetitions (``a{1000}``) may make of one another: a compiled expression may hold them all."""


class TooSlow(Exception):
    """A search would take too long."""


def compiled(pattern: str, *, ignore_case: bool = False) -> regex.Pattern[str]:
    """Compile a regular expression.

    Raises
    ------
    ExpressionError
        When it is none, or too large; says where.
    """
    try:
        counts = [int(count) for count in regex.findall(r"\{(\d+)", pattern)]
        if math.prod(max(count, 1) for count in counts) > _MOST_COPIES:
            raise ExpressionError("It is no regular expression: it repeats too often.", text=pattern)
        return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
    except regex.error as error:
        what = f"It is no regular expression: {error}."
        raise ExpressionError(what, text=pattern, position=getattr(error, "pos", None) or 0) from None
    except (RecursionError, ValueError):
        raise ExpressionError("It is no regular expression: it is too deep or too large.", text=pattern) from None


def found_in(
    pattern: str, texts: Iterable[str], *, ignore_case: bool = False, seconds: float = FILTER_SECONDS
) -> list[bool]:
    """Give for each text whether a regular expression is found in it, as `re.search` finds it.

    Raises
    ------
    ExpressionError
        When it is no regular expression.
    TooSlow
        When searching takes longer than `seconds`.
    """
    search = compiled(pattern, ignore_case=ignore_case).search
    deadline = time.monotonic() + seconds
    try:
        return [search(text, timeout=left(deadline)) is not None for text in texts]
    except TimeoutError:
        raise TooSlow from None


def left(deadline: float) -> float:
    """Give the seconds until a time of `time.monotonic`, none where it is over; to `regex` less than none is no limit."""
    return max(deadline - time.monotonic(), 0.0)
