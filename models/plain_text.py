"""Names and texts of others as they are shown: nothing in them acts on what stands around them.

A name may hold characters that are no text: escape sequences that a terminal obeys, and marks that turn the direction of all
that follows, by which ``exe.png`` is shown for ``gnp.exe``. They are spelled out where they are shown, and stay in what
identifies.
"""

from __future__ import annotations

import re

_ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    r"""Give a text with control characters and marks of direction spelled out (``\x1b``, ``\u202e``).

    Tabs and line breaks stay, as do the marks right-to-left scripts need inside their words.
    """
    # Nearly all text is printable, which Python knows without looking at each character again.
    return text if text.isprintable() else _ACTS.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
