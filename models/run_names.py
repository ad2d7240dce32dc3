"""Short names that tell runs apart where only some of them are shown."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from .plain_text import plain


def telling_names(keys: Collection[str]) -> dict[str, str]:
    """Give for each key the parts of its path in which the keys differ, joined by ``/``.

    Levels that all keys share say nothing and are left out; a single key keeps its last part.
    """
    return dict(_telling_names(tuple(keys)))


@lru_cache(maxsize=64)
def _telling_names(keys: tuple[str, ...]) -> dict[str, str]:
    """Give what `telling_names` gives: the same runs are drawn again and again while they grow."""
    if len(keys) == 1:
        return {key: plain(key.rpartition("/")[2]) for key in keys}
    parts = {key: key.split("/") for key in keys}
    shortest = min(map(len, parts.values()), default=0)
    same_from_start = [len({path[level] for path in parts.values()}) == 1 for level in range(shortest)]
    names = {}
    for key, path in parts.items():
        told = [part for level, part in enumerate(path) if level >= shortest or not same_from_start[level]]
        # A key that is the beginning of all others differs from them nowhere.
        names[key] = plain("/".join(told) or path[-1])
    return names
