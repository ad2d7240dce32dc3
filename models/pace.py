"""How often to look for what is new."""

from __future__ import annotations

SHARE = 0.02
"""Share of a processor that looking may cost while nothing happens."""

WAITING_SHARE = 0.2
"""Share of the time that looking may take: on a network mount it mostly waits, and keeps the server busy."""

SHORTEST, LONGEST = 1.0, 30.0
"""Seconds between two looks."""

LIVE_SHARE = 0.22
"""Share of a processor that following what grows may cost, all that is computed and drawn for it included."""

SOONEST = 0.1
"""Seconds between two looks at what grew a moment ago."""


def rest(processor_seconds: float, seconds: float, *, found: bool) -> float:
    """Give the seconds to wait until the next look.

    Parameters
    ----------
    processor_seconds, seconds : float
        What the last look cost: time of a processor, and time that passed.
    found : bool
        Whether it found something new; then the next one comes soon, as there is likely to be more.
    """
    least = seconds if found else max(processor_seconds / SHARE, seconds / WAITING_SHARE)
    return min(LONGEST, max(SHORTEST, least))


def live_rest(processor_seconds: float, seconds: float) -> float:
    """Give the seconds still to wait until the next look at what grew a moment ago; not above 0: none.

    Parameters
    ----------
    processor_seconds, seconds : float
        What the whole program has cost since the last such look: time of a processor, and time that passed. What is drawn
        because of a look counts, and so does what else the user has done meanwhile, which comes first.
    """
    return min(SHORTEST, max(SOONEST, processor_seconds / LIVE_SHARE)) - seconds
