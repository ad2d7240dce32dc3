"""Runs of SwanLab: ``run-<id>.swanlab`` and the folder around it.

The log is framed as `framing` says and holds protobuf records (``swanlab/proto``): how the run began and ended, and every value
with its step and time. The configuration is ``files/config.yaml`` beside it. The version in the header changes without regard
to earlier ones; the versions known are read, of others a problem tells.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..configuration import flattened, renewed, yaml_document
from ..errors import ReadError
from ..growing_file import continues, marks
from ..logged_columns import whole_steps
from ..progress import Progress
from ..tables import CurvePiece, Event, Forgotten, Problem, RunFacts, Status
from .base import Cursor, Entry, Match, Reader, Source, require_regular
from .framing import FILE_HEADER_BYTES, FramedFile, Malformed, content, fields, seconds, signed, text

_SIGNATURE = b":SWL"
_VERSIONS = frozenset({2})
_LOG = re.compile(r"run-.+\.swanlab")
_START, _FINISH, _SCALAR = 10, 11, 13
_STATUS: dict[int, Status] = {0: "running", 1: "finished", 2: "failed", 3: "failed"}
_TEXTS = {1: "project", 5: "notes", 7: "group", 8: "job_type"}
_MOST_CONFIG_BYTES = 4 << 20


class SwanLabReader(Reader):
    """Reads the folder of a run, or its log alone."""

    name = "swanlab"
    looks_at_folders = True

    def match(self, entry: Entry) -> Match:
        """Know a folder by the log in it."""
        if entry.is_folder:
            return Match.YES if any(_LOG.fullmatch(child) for child in entry.children) else Match.NO
        return Match.YES if entry.suffix == ".swanlab" and entry.head[:4] in (_SIGNATURE, b"") else Match.NO

    def watched(self, path: Path) -> list[Path]:
        """Give the log and the configuration: there may be media by the thousand."""
        folder = path if path.is_dir() else path.parent
        return [_log(path), folder / "files" / "config.yaml"]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the records that are new.

        Raises
        ------
        ReadError
            When the log is none of SwanLab, or of a version that is not known.
        """
        log = _log(source.path)
        size = require_regular(log)
        known = cursor.state["known"] if cursor is not None else _Known()
        start = cursor.read[str(log)] if cursor is not None and str(log) in cursor.read else FILE_HEADER_BYTES
        with open(log, "rb") as file:
            _check(file.read(FILE_HEADER_BYTES), log.name)
            if (
                cursor is not None
                and start > FILE_HEADER_BYTES
                and not continues(file, size, start, cursor.state["marks"])
            ):
                yield Forgotten(
                    source.relative, self.name, f"{log.name} was replaced; the run was read again.", (source.run,)
                )
                known, start = _Known(), FILE_HEADER_BYTES
            framed = FramedFile(file, start)
            now = _Known(known.name, known.status, known.started, known.malformed, dict(known.about))
            curves: dict[str, list[tuple[float, float, float]]] = {}
            for record in framed.records(size):
                try:
                    _take(record, now, curves)
                except (Malformed, struct.error):
                    now.malformed += 1
            for tag, rows in curves.items():
                table = np.array(rows)
                yield CurvePiece(source.run, whole_steps(table[:, 0]), {tag: table[:, 2].copy()}, table[:, 1].copy())
            progress(framed.at, size, source.relative)
            now.malformed += framed.damaged
            config = renewed(cursor.state["config"] if cursor is not None else {}, _config(source.path))
            yield RunFacts(
                source.run,
                name=now.name,
                reader=self.name,
                source=source.relative,
                status=now.status,
                config=config | now.about,
                facts={} if now.started is None else {"started": now.started},
            )
            if now.malformed:
                what = f"{now.malformed:,} damaged record{'s' * (now.malformed > 1)} left out of {log.name}."
                yield Problem(source.relative, self.name, what, source.run)
            yield Cursor({str(log): framed.at}, {"known": now, "marks": marks(file, framed.at), "config": config})


@dataclass(slots=True)
class _Known:
    """What is known of a run after some of its records; replaced, never changed, once it is in a cursor."""

    name: str = ""
    status: Status | None = None
    started: float | None = None
    malformed: int = 0
    about: dict[str, Any] = field(default_factory=dict)


def _log(path: Path) -> Path:
    """Give the log of a run; where it was removed, the folder."""
    if not path.is_dir():
        return path
    return next(iter(sorted(child for child in path.iterdir() if _LOG.fullmatch(child.name))), path)


def _check(header: bytes, name: str) -> None:
    if not header.startswith(_SIGNATURE[: len(header)]):
        raise ReadError(f"{name} is no log of SwanLab: its first bytes are not ':SWL'.")
    if len(header) == FILE_HEADER_BYTES and header[-1] not in _VERSIONS:
        raise ReadError(f"{name} has version {header[-1]} of SwanLab's format; version 2 is read.")


def _config(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        path = path.parent
    config = path / "files" / "config.yaml"
    try:
        if require_regular(config) > _MOST_CONFIG_BYTES:
            return {}
        value = yaml_document(config.read_bytes())
    except (OSError, ReadError):
        return {}
    return flattened(value) if isinstance(value, dict) else {}


def _take(record: bytes, known: _Known, curves: dict[str, list[tuple[float, float, float]]]) -> None:
    """Add what one record says."""
    for number, value in fields(record):
        if number == _SCALAR:
            tag, step, time, real = "", 0, np.nan, 0.0
            for place, one in fields(content(value)):
                if place == 1:
                    tag = text(one)
                elif place == 2:
                    step = signed(one)
                elif place == 4:
                    time = seconds(content(one))
                elif place == 5:
                    # A value of zero is not written.
                    real = next((struct.unpack("<d", content(v))[0] for n, v in fields(content(one)) if n == 1), 0.0)
            curves.setdefault(tag, []).append((step, time, real))
        elif number == _START:
            tags = []
            for place, one in fields(content(value)):
                if place == 4:
                    known.name = text(one)
                elif place == 6:
                    tags.append(text(one))
                elif place == 12:
                    known.started = seconds(content(one))
                elif place in _TEXTS:
                    known.about[_TEXTS[place]] = text(one)
            if tags:
                known.about["tags"] = ", ".join(tags)
            known.status = "running"
        elif number == _FINISH:
            state = next((signed(one) for place, one in fields(content(value)) if place == 1), 0)
            known.status = _STATUS.get(state)
