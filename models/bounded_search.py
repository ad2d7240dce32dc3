"""Searching texts with a regular expression of a user, or of a file from elsewhere, in bounded time.

A search of Python's `re` cannot be interrupted, and may take a time that doubles with every character. So ever longer
beginnings of a text are searched first: by so much more that a next step takes no long time whatever the expression is, and
not at all where the expression has nothing that could grow faster than the length.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

MOST_SECONDS = 0.005
"""Processor time for a part of a text beyond which more of it is not tried."""

_QUICK_SECONDS = 5e-5
"""Processor time up to which twice as much is tried: even where it doubles with every character, that takes no long time."""

_MOST_REPEATS = 6
"""Repetitions one after the other, each of which multiplies the time by the length."""

_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


class TooSlow(Exception):
    """A search would take too long."""


@dataclass(frozen=True, slots=True)
class BoundedSearch:
    """A regular expression that is searched for in bounded time.

    Use `bounded` to make one.

    Attributes
    ----------
    pattern : re.Pattern
        The expression.
    first : int or None
        Characters that are searched without trying less first; None: any number.
    repeats_repeats : bool
        Whether an open repetition stands in another: the time to fail then doubles with every character.
    """

    pattern: re.Pattern[str]
    first: int | None
    repeats_repeats: bool = False

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        """Give all matches in a text.

        Raises
        ------
        TooSlow
            When a part of the text takes too long.
        """
        if self.first is not None and self.first < len(text):
            self._try(text, self.first)
        return self.pattern.finditer(text)

    def is_in(self, text: str) -> bool:
        """Whether a text has a match.

        Raises
        ------
        TooSlow
            When a part of the text takes too long.
        """
        if self.first is not None and self.first < len(text):
            self._try(text, self.first)
        return self.pattern.search(text) is not None

    def _try(self, text: str, length: int) -> None:
        while length < len(text):
            begun = time.thread_time()
            for _ in self.pattern.finditer(text[:length]):
                pass
            took = time.thread_time() - begun
            if took > MOST_SECONDS:
                raise TooSlow
            length += length if took < _QUICK_SECONDS else max(1, length // 8)


def bounded(regex: str, flags: int = 0) -> BoundedSearch:
    """Compile a regular expression for a search in bounded time.

    Raises
    ------
    re.error
        When it is none, or too deep.
    """
    try:
        pattern = re.compile(regex, flags)
        parsed = _parser.parse(regex, flags)
        repeated = list(_choices(parsed, inside=False))
        doubles = _repeats_repeats(parsed, inside=False)
    except (RecursionError, OverflowError):
        raise re.error("it is too deep", regex, 0) from None
    if not repeated:
        return BoundedSearch(pattern, None)
    return BoundedSearch(pattern, 2 if any(repeated) or len(repeated) > _MOST_REPEATS else 32, doubles)


def _kind(items: Any) -> str:
    """Give what a part of a parsed expression is; empty where it is none."""
    # The kinds are equal to whole numbers, which a range of characters is a pair of: [+-9] is no repetition.
    is_part = isinstance(items, tuple) and items and isinstance(items[0], type(_constants.LITERAL))
    return str(items[0]) if is_part else ""


def _choices(items: Any, *, inside: bool) -> Iterator[bool]:
    """Say of every repetition and branch whether it stands in a repetition: such can double the time with every character."""
    kind = _kind(items)
    if kind in _REPEATS:
        yield inside
        yield from _choices(items[1][2], inside=inside or items[1][1] is _constants.MAXREPEAT or items[1][1] > 1)
    elif isinstance(items, list | tuple | _parser.SubPattern):
        if kind == "BRANCH" and inside:
            yield True
        for item in items:
            yield from _choices(item, inside=inside)


def _repeats_repeats(items: Any, *, inside: bool) -> bool:
    kind = _kind(items)
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        _, most, repeated = items[1]
        is_open = most is _constants.MAXREPEAT or most > 16
        return (is_open and inside) or _repeats_repeats(repeated, inside=inside or is_open)
    if kind in ("POSSESSIVE_REPEAT", "ATOMIC_GROUP"):
        return False
    if isinstance(items, list | tuple | _parser.SubPattern):
        return any(_repeats_repeats(item, inside=inside) for item in items)
    return False
