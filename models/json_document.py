"""Whole JSON documents, as programs write them: NaN and Infinity included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from .errors import ReadError
from .readers.base import require_regular

MOST_BYTES = 1 << 30
"""Size beyond which a document is not loaded: its values take several times its size."""

_SURELY_FINITE = 300
"""Digits of whole numbers that are surely below the largest float, 1.8e308."""


def as_python_writes(text: str | bytes) -> Any:
    """Give the value of a JSON text that orjson refuses: with NaN, Infinity, or halves of characters, which become ``?``.

    A whole number that no float holds is infinite, as ``1e400`` is.

    Raises
    ------
    ValueError
        When it is no JSON.
    RecursionError
        When it is nested too deeply.
    """
    value = json.loads(text, parse_int=_whole)
    if (b"\\ud" in text.lower()) if isinstance(text, bytes) else ("\\ud" in text.lower()):
        # No text with half a character can be written, compared by Arrow or shown.
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < _SURELY_FINITE else float(digits)


def json_value(data: bytes) -> Any:
    """Give the value a JSON text is.

    Raises
    ------
    ReadError
        When it is empty, no whole JSON, or nested too deeply.
    """
    if not data.strip():
        raise ReadError("It is empty.")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        # Python writes NaN and Infinity, which are not JSON.
        return as_python_writes(data.decode("utf-8", "replace"))
    except RecursionError:
        raise ReadError("It is nested too deeply to be read.") from None
    except ValueError as error:
        raise ReadError(f"It is not JSON, or not the whole of it: {error}.") from None


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Give the objects in a list; none where it is no list, as values of others may be anything."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def json_document(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """Give the value in a file.

    Raises
    ------
    ReadError
        When it is larger than `most_bytes`, or not JSON.
    OSError
        When it cannot be read.
    """
    size = require_regular(path)
    if size > most_bytes:
        raise ReadError(f"It has {size / 2**20:,.0f} MiB; documents of at most {most_bytes / 2**20:,.0f} MiB are read.")
    return json_value(path.read_bytes())
