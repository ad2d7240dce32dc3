"""Configuration as plain values: YAML of which nothing is constructed, and nested mappings made flat.

YAML comes from anywhere and can name Python objects to make. Here it is never more than events: text, lists and mappings are
put together by hand, tags are looked at only to see text for what it is, and nothing is constructed. What a file could do with
aliases or nesting is bounded by the number and depth of the values that are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from .deferred import deferred
from .errors import ReadError

if TYPE_CHECKING:
    import yaml
else:
    yaml = deferred("yaml")

_MOST_VALUES = 200_000
_MOST_KEYS = 5_000
_DEEPEST = 32
_LONGEST_TEXT = 500
_TOO_MANY = f"It has more than {_MOST_VALUES} values, too many for a configuration."


def renewed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Give a configuration that is stated anew: what it no longer says (half a line, while it was being written) is None."""
    return {key: None for key in before if key not in now} | dict(now)


def flattened(config: Mapping[Any, Any]) -> dict[str, Any]:
    """Give a nested configuration as one level, keys joined by dots, with lists as text.

    Values are text, numbers, booleans or None. ``{key: {desc: …, value: …}}``, as loggers write it, is unwrapped. At most
    5,000 keys are kept.
    """
    # Leaves are counted and not names: aliases can lead to the same name on more ways than can be walked.
    return dict(islice(_leaves(config, "", _DEEPEST), _MOST_KEYS))


def _leaves(config: Mapping[Any, Any], before: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if before == "" and key in ("_wandb", "wandb_version"):
            continue
        if isinstance(value, dict) and "value" in value and value.keys() <= {"value", "desc", "sort"}:
            value = value["value"]
        name = f"{before}{key}"
        if isinstance(value, dict) and value and depth:
            yield from _leaves(value, f"{name}.", depth - 1)
        elif value is None or isinstance(value, bool | int | float):
            yield name, value
        elif isinstance(value, str):
            yield name, _cut(value)
        else:
            yield name, _written(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _written(value: Any) -> str:
    """Write a list as text, and no more of it than is shown: aliases can make it longer than memory."""
    parts: list[str] = []
    length = 0
    for part in _words(value, _DEEPEST):
        parts.append(part)
        length += len(part)
        if length > _LONGEST_TEXT:
            break
    return _cut("".join(parts))


def _words(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, list | dict) and not depth:
        yield "…"
    elif isinstance(value, list):
        yield "["
        for number, one in enumerate(value):
            yield ", " if number else ""
            yield from _words(one, depth - 1)
        yield "]"
    elif isinstance(value, dict):
        yield "{"
        for number, (key, one) in enumerate(value.items()):
            yield f"{', ' if number else ''}{key}: "
            yield from _words(one, depth - 1)
        yield "}"
    else:
        yield value if isinstance(value, str) else json.dumps(value)


_YAML = "tag:yaml.org,2002:"
_NONE = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})
_FALSE = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*")
# YAML 1.1 takes 1e-4 for text; nobody who writes a learning rate means that.
_REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


def yaml_document(data: bytes) -> Any:
    """Give the first document of a YAML file as text, numbers, lists and mappings.

    Raises
    ------
    ReadError
        When it is not YAML, is nested too deeply or has too many values for a configuration.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    try:
        return yaml_value(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ReadError(f"It is not YAML: {getattr(error, 'problem', None) or 'unreadable'}{where}.") from error


def yaml_value(text: str) -> Any:
    """Give the first document of a YAML text as text, numbers, lists and mappings.

    An unknown tag is ignored and what it stands before is kept: ``!!python/tuple [1, 2]`` is a list. An ordered mapping,
    which Python writes as a list of pairs, is a mapping.

    Raises
    ------
    yaml.YAMLError
        When it is not YAML.
    ReadError
        When it is nested too deeply or has too many values for a configuration.
    """
    building = _Building()
    loader: Any = getattr(yaml, "CSafeLoader", None) or yaml.SafeLoader
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.DocumentEndEvent):
            break
        building.take(event)
    return building.value


class _Building:
    """Values put together from the events of a YAML text, without recursion."""

    def __init__(self) -> None:
        self.value: Any = None
        self._open: list[tuple[Any, list[Any], str | None]] = []
        self._anchors: dict[str, Any] = {}
        self._values = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._add(_scalar(event), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._add(self._anchors.get(event.anchor or ""))
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            if len(self._open) >= _DEEPEST:
                raise ReadError("It is nested too deeply for a configuration.")
            self._open.append((event, [], event.anchor))
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            start, values, anchor = self._open.pop()
            is_mapping = isinstance(event, yaml.MappingEndEvent)
            self._add(self._mapping(values) if is_mapping else _sequence(values, start.tag or ""), anchor)

    def _add(self, value: Any, anchor: str | None = None) -> None:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise ReadError(_TOO_MANY)
        if anchor:
            self._anchors[anchor] = value
        if self._open:
            self._open[-1][1].append(value)
        else:
            self.value = value

    def _mapping(self, values: list[Any]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in zip(values[::2], values[1::2], strict=True):
            if key == "<<":
                merged = value if isinstance(value, list) else [value]
                for one in merged:
                    if isinstance(one, dict):
                        self._values += len(one)
                        if self._values > _MOST_VALUES:
                            raise ReadError(_TOO_MANY)
                        mapping = {**one, **mapping}
            else:
                mapping[key if isinstance(key, str) else _written(key)] = value
        return mapping


def _scalar(event: Any) -> Any:
    """Give a scalar as what it says: plain text may be a number, quoted text and text with a tag of its own is text."""
    text: str = event.value
    if event.tag and event.tag != f"{_YAML}float" and event.tag != f"{_YAML}int":
        return text or event.tag.rpartition(":")[2].rpartition("/")[2]
    if not event.implicit[0] and not event.tag:
        return text
    return plain_value(text)


def plain_value(text: str) -> Any:
    """Give what a text stands for: None, True or False, a number, or the text itself."""
    if text in _NONE:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    # Longer whole numbers are none that a float could hold, and columns of numbers are floats.
    if _INTEGER.fullmatch(text) and len(text) < 300:
        return int(text.replace("_", ""))
    if _REAL.fullmatch(text):
        return float(text.replace("_", ""))
    special = _SPECIAL.get(text.lower())
    return text if special is None else float(special)


def _sequence(values: list[Any], tag: str) -> Any:
    if tag.endswith("collections.OrderedDict"):
        pairs = values[0] if len(values) == 1 and isinstance(values[0], list) else values
        if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            return {key if isinstance(key, str) else _written(key): value for key, value in pairs}
    if "pathlib." in tag and values and all(isinstance(part, str) for part in values):
        return str(PurePosixPath(*values))
    return values
