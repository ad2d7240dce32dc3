"""Tooltips that show names as they are."""

from __future__ import annotations

import re

from ...models.plain_text import plain

_LIKE_MARKUP = re.compile(r"<[\w/!?]|&\w+;")


def literal_tip(text: str) -> str:
    """Give the tooltip that shows `text` as it is: Qt would take a name with ``<b>`` in it for markup."""
    text = plain(text)
    if _LIKE_MARKUP.search(text) is None:
        return text
    from html import escape

    return f"<div style='white-space: pre-wrap'>{escape(text)}</div>"
