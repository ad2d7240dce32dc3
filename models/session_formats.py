"""Session files of every format there has been, brought step by step into that of today.

A file says which format it is in. A change that an older reader would misunderstand, or that today's reader would refuse,
makes a new format: `VERSION` grows by one, and a function here takes a file of the format before to it. What is only added
needs none, as what is missing keeps its default. ``tests/data/sessions`` holds files that earlier commits wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import NewerSession, SessionError

VERSION = 2

_KEY = "runglass_session"


def in_todays_format(data: Any) -> dict[str, Any]:
    """Give the values of a session file as today's format has them.

    Raises
    ------
    NewerSession
        When a newer Runglass wrote it.
    SessionError
        When it is no session.
    """
    if not isinstance(data, dict) or _KEY not in data:
        raise SessionError("This is not a Runglass session file.", remedy="Open it as a folder of runs instead?")
    version = data[_KEY]
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise SessionError(f"The session says that it is in format {str(version)[:40]}, which there never was.")
    if version > VERSION:
        raise NewerSession(version, VERSION)
    content: dict[str, Any] = data
    for older in range(version, VERSION):
        try:
            content = _STEPS[older](content) | {_KEY: older + 1}
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise SessionError(f"The session, of format {older}, could not be understood ({error!r}).") from error
    return content


def _from_1(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out panes of tables, and widths of smoothers that have none.

    At first a pane could be of the kind ``table``, and every smoother had a width, 10, whether it read one or not: the next
    smoother that was chosen would take it for the user's.
    """
    changed = dict(data)
    if "panes" in data:
        changed["panes"] = [pane for pane in data["panes"] if pane["kind"] != "table"]
    curves = data.get("curves", {})
    if curves.get("smoother", "ema") in ("ema", "none") and "width" in curves:
        changed["curves"] = {**curves, "width": None}
    return changed


_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
"""What takes a file of each format to the next."""
