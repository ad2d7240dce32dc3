"""How often to look for what is new."""

from __future__ import annotations

import math

SHARE = 0.02
"""Share of a processor that looking may cost while nothing happens."""

WAITING_SHARE = 0.2
"""Share of the time that looking may take: on a network mount it mostly waits, and keeps the server busy."""

SHORTEST, LONGEST = 1.0, 30.0
"""Seconds between two looks."""

LIVE_SHARE = 0.24
"""Share of a processor that following what grows may cost, all that is computed and drawn for it included."""

SOONEST = 0.1
"""Seconds between two looks at what grew a moment ago."""

_MEMORY = 4.0
"""Seconds over which the cost of looks at what grows is averaged."""


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


class LivePace:
    """Spaces looks at what grew a moment ago so that the whole program stays below `LIVE_SHARE`, and evenly.

    What one look costs more than others (an axis that is drawn anew, a look at all that is open in between) is made up for by
    many that follow, each a little later: paid at once, all that is appended meanwhile would wait for it.
    """

    def __init__(self) -> None:
        self._cost: float | None = None
        self._begun: tuple[float, float] | None = None

    def begin(self, processor: float, now: float) -> None:
        """Note that a look begins.

        Parameters
        ----------
        processor, now : float
            Seconds: what the whole program has cost so far, and the time on a clock that never goes back. What is drawn because
            of a look counts, and so does what else the user does meanwhile.
        """
        if self._begun is not None:
            self._cost = self._average(processor, now)
        self._begun = (processor, now)

    def rest(self, processor: float, now: float) -> float:
        """Give the seconds still to wait until the next look; not above 0: none."""
        if self._begun is None:
            return 0.0
        apart = self._average(processor, now) / LIVE_SHARE
        return min(SHORTEST, max(SOONEST, apart)) - (now - self._begun[1])

    def _average(self, processor: float, now: float) -> float:
        """Give what a look costs, the latest included; no look counts for more than the dearest that can be made up for."""
        assert self._begun is not None
        latest = min(processor - self._begun[0], SHORTEST * LIVE_SHARE)
        if self._cost is None:
            return latest
        share = -math.expm1(-min(now - self._begun[1], SHORTEST) / _MEMORY)
        return self._cost + (latest - self._cost) * share
