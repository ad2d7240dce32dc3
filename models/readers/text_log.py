"""What trainings print: lines with a step and numbers that have names.

Known without being told: modded-nanogpt (``step:125/5100 val_loss:3.28 train_time:12345ms``), llm.c (``s:250 tel:3.45``),
nanoGPT (``step 250: train loss 2.1, val loss 2.2``), Megatron-LM (``iteration 10/ 500 | lm loss: 1.08E+01 |``), torchtitan,
OLMo, OLMo-core, Composer and fairseq (`models.log_dialects`), and any line of the forms ``key: value`` and ``key=value`` that
names its step, or, where no line does, its epoch. For everything else there are patterns of the user (`TextPattern`).

Names stay as they are printed, with ``_`` for a space and the unit behind them (``train_time_ms``); llm.c's abbreviations are
spelled out. Where lines begin with date and time, or state the training time, these give the wall time; among dated lines, one
without a date was printed when the one before it was. Training time counts from 0, as the log does not tell when it began.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..growing_file import continues, lines, marks
from ..log_dialects import one_line_a_step
from ..logged_columns import LoggedColumn, curve_pieces
from ..progress import Progress
from ..tables import Event, Forgotten, Problem, RunFacts, Status
from ..text_pattern import TextPattern
from .base import HEAD_BYTES, Cursor, Entry, Match, Reader, Source, require_regular

_SUFFIXES = frozenset({"", ".log", ".txt", ".out"})
_PROSE = frozenset(
    {"license", "licence", "copying", "notice", "readme", "authors", "changelog", "changes", "requirements", "makefile"}
)
_LONGEST_LINE = 4000
"""Characters of a line beyond which it is no line of a log but data or code."""

_BLOCK_BYTES = 8 << 20

_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\n]*\x07|[@-Z\\-_])")

_NUMBER = r"""(?P<number>[-+]?(?:
    \d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d.]) | (?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)? | (?i:nan|inf(?:inity)?)
))[ ]?(?P<unit>%|(?:ms|us|µs|ns|sec|s|min|[KMGT]i?B)(?![\w/]))?(?!\w|[:.-]\d)"""

_WORDS = re.compile(rf"(?<![\w./@%-])(?P<key>[A-Za-z_][\w./@%-]*+)[ \t]*+[:=][ \t]*+{_NUMBER}", re.VERBOSE)
"""``key: value`` and ``key=value``."""

_PARTS = re.compile(
    rf"(?:^|[,|])[\s:]*+(?P<key>[A-Za-z_][^,|:=\n]*?)(?:\s*+[:=]\s*+|\s++){_NUMBER}(?=\s*(?:[,|;(]|$))", re.VERBOSE
)
"""The same with keys of several words, and without a sign between, between commas or bars."""

_STEPS = r"(?:global|train|training|optimizer)?[ _]?steps?|iterations?|iters?|updates?"


def _rows(names: str) -> re.Pattern[str]:
    return re.compile(
        rf"""^(?P<before>[^\n]*?)(?<![\w./-])(?:(?P<short>s)(?=:\d)|(?i:{names}))
        (?:[ \t]*+[:=\#][ \t]*+|[ \t]++)\[?(?P<step>\d{{1,15}}+)(?![\w.]|:\d)
        (?:[ \t]*+(?:/|of\b)[ \t]*+(?P<total>\d{{1,15}}+)(?!\w|\.\d))?(?P<rest>[^\n]*)$""",
        re.VERBOSE | re.MULTILINE,
    )


_BY_STEP = _rows(_STEPS)
_BY_EPOCH = _rows("epochs?")

_LLM_C = {"tel": "val_loss", "trl": "train_loss", "norm": "grad_norm", "eval": "hellaswag_acc"}
"""What the abbreviations of llm.c mean: a step that is called just ``s`` gives it away."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?")
_PLACE = re.compile(r"\[(?!(?:epochs?|batch|steps?|iter\w*|loss|rank)\b)[\w./]+:\d+(?=[\],:])[^\[\]]*\]")
"""Where in its code a program is when it prints a line: ``[trainer.py:734, rank=0]``."""

_TRAINING_TIMES = {"train_time_ms": 1e-3, "train_time_s": 1.0, "train_time": 1.0}


@dataclass(slots=True)
class _Rows:
    """Lines that had a step and at least one number."""

    steps: list[float] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    dated: int = 0
    """Lines that have a date of their own."""
    are_dated: bool = True
    """Whether most lines of the log have one."""
    walls: list[float] = field(default_factory=list)
    columns: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    last: float = 0
    total: float = 0

    def add(self, tag: str, value: float) -> None:
        """Add a number to the row that is made next."""
        rows, values = self.columns.setdefault(tag, ([], []))
        if rows and rows[-1] == len(self.steps):
            values[-1] = value
        else:
            rows.append(len(self.steps))
            values.append(value)

    def wall_time(self) -> np.ndarray | None:
        """Give the time of every row in seconds, or None where one has none."""
        if not self.steps:
            return None
        if len(self.walls) == len(self.steps):
            return np.array(self.walls)
        if len(self.dates) == len(self.steps) and self.are_dated:
            try:
                return np.array(self.dates, "datetime64[us]").astype(np.int64) / 1e6
            except ValueError:
                return None
        for tag, scale in _TRAINING_TIMES.items():
            rows, values = self.columns.get(tag, ([], []))
            if len(rows) == len(self.steps):
                seconds = np.array(values) * scale
                return seconds if bool(np.isfinite(seconds).all()) else None
        return None

    def events(self, run: str) -> Iterator[Event]:
        """Give the curves."""
        columns = {
            tag: LoggedColumn(np.array(values), None if len(rows) == len(self.steps) else np.array(rows))
            for tag, (rows, values) in self.columns.items()
        }
        yield from curve_pieces(run, np.array(self.steps), columns, self.wall_time())


@dataclass(frozen=True, slots=True)
class _State:
    """What is known of a file besides how far it was read."""

    marks: tuple[int, int] = (0, 0)
    ended: bool = True
    rows: int = 0
    by_epoch: bool = False
    header: str = ""
    """The step that lines without one belong to."""
    date: str = ""
    dated: int = 0
    last: float = 0
    total: float = 0
    is_undated: bool = False
    """Whether its times count from a start that it does not tell."""


class _LineReader(Reader):
    """Reads the lines of one file that are new."""

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the lines that are new; a file that changed otherwise than by growing is read again."""
        path = source.path
        size = require_regular(path)
        state: _State | None = cursor.state["state"] if cursor is not None else None
        start = cursor.read[str(path)] if cursor is not None else 0
        with open(path, "rb") as file:
            if state is not None and not (
                continues(file, size, start, state.marks) and _follows(path, start, size, state)
            ):
                shrank = "The file shrank; it was read again from its start." if size < start else ""
                yield Forgotten(source.relative, self.name, shrank, (source.run,))
                state, start = None, 0
            is_first = state is None and cursor is None
            state = state or _State()
            end, ended = start, state.ended
            for block in lines(file, start, size, _BLOCK_BYTES):
                # A finished log may lack the end of its last line, so that is read when the file is opened.
                if not block.ended and not is_first:
                    break
                rows, state = self._rows(_text(block.data), state)
                yield from rows.events(source.run)
                end, ended = block.end, block.ended
                progress(end, size, source.relative)
            state = replace(state, marks=marks(file, end), ended=ended)
        if state.total or state.is_undated:
            status: Status = "finished" if 0 < state.total <= state.last else "unknown"
            config = {"total_steps": int(state.total)} if state.total else {}
            # Otherwise the first and last wall time would be taken for these.
            facts = dict.fromkeys(("started", "ended"), math.nan) if state.is_undated else {}
            yield RunFacts(
                source.run, reader=self.name, source=source.relative, status=status, config=config, facts=facts
            )
        if not state.rows:
            what = "It is empty." if not size else self._nothing
            yield Problem(source.relative, self.name, what, source.run)
        yield Cursor({str(path): end}, {"state": state})

    _nothing = "No line of it has a step and a number."

    def _rows(self, text: str, state: _State) -> tuple[_Rows, _State]:
        """Give the rows in some lines, and what is known after them."""
        raise NotImplementedError


class TextLogReader(_LineReader):
    """Reads logs whose lines have one of the usual forms."""

    name = "text log"

    def match(self, entry: Entry) -> Match:
        """Look for a line with a step and a number at the beginning of the file or, after printed code, at its end."""
        if entry.suffix not in _SUFFIXES or entry.path.stem.lower() in _PROSE:
            return Match.NO
        head = entry.head
        if not head or b"\0" in head:
            return Match.NO
        found = _found_in(head)
        if found is Match.NO and len(head) == HEAD_BYTES:
            tail = entry.ending(HEAD_BYTES)
            found = Match.NO if b"\0" in tail else _found_in(tail.partition(b"\n")[2])
        return found

    def _rows(self, text: str, state: _State) -> tuple[_Rows, _State]:
        text, header = one_line_a_step(text, state.header)
        if not state.rows:
            rows = _matched(text, _BY_STEP, state.date)
            by_epoch = not rows.steps
            if by_epoch:
                rows = _matched(text, _BY_EPOCH, state.date)
        else:
            by_epoch = state.by_epoch
            rows = _matched(text, _BY_EPOCH if by_epoch else _BY_STEP, state.date)
        date = rows.dates[-1] if rows.dates else state.date
        dated = state.dated + rows.dated
        rows.are_dated = 2 * dated >= state.rows + len(rows.steps)
        return rows, _after(replace(state, by_epoch=by_epoch, header=header, date=date, dated=dated), rows)


class TextPatternReader(_LineReader):
    """Reads logs with a pattern of the user.

    Parameters
    ----------
    pattern : TextPattern
        Which files, and how their lines are read.
    """

    _nothing = "The pattern finds nothing in it."

    def __init__(self, pattern: TextPattern) -> None:
        self.pattern = pattern
        self.name = f"text: {pattern.name}"  # type: ignore[misc]  # one class serves every pattern

    def match(self, entry: Entry) -> Match:
        """Know files by the glob of the pattern."""
        glob = self.pattern.glob
        known = fnmatch.fnmatch(entry.name, glob) or fnmatch.fnmatch(entry.relative, glob)
        return Match.YES if known and not entry.is_folder else Match.NO

    def _rows(self, text: str, state: _State) -> tuple[_Rows, _State]:
        rows = _Rows()
        for found in self.pattern.matches(text):
            for tag, value in found.values.items():
                rows.add(tag, value)
            rows.steps.append(state.rows + len(rows.steps) if found.step is None else found.step)
            if found.wall_time is not None:
                rows.walls.append(found.wall_time)
            rows.total = found.total or rows.total
            rows.last = max(rows.last, rows.steps[-1])
        return rows, _after(state, rows)


def _after(state: _State, rows: _Rows) -> _State:
    return replace(
        state,
        rows=state.rows + len(rows.steps),
        last=max(state.last, rows.last),
        total=rows.total or state.total,
        is_undated=state.is_undated
        or (not (rows.walls or rows.dates) and not rows.columns.keys().isdisjoint(_TRAINING_TIMES)),
    )


def _follows(path: Path, start: int, size: int, state: _State) -> bool:
    """Whether what was appended begins a new line, also behind a last line that was read without its end."""
    if state.ended or size == start:
        return True
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(1) in (b"\n", b"\r")


def _text(data: bytes) -> str:
    """Give printed lines without colours; a line that was printed over another counts as a line of its own."""
    if b"\x1b" in data:
        data = _ESCAPES.sub(b"", data)
    text = data.decode("utf-8", errors="replace").replace("\r", "\n")
    if len(max(text.split("\n"), key=len)) > _LONGEST_LINE:
        text = "\n".join(line for line in text.split("\n") if len(line) <= _LONGEST_LINE)
    return text


def _found_in(data: bytes) -> Match:
    """Say how sure it is that some bytes are of a log."""
    text, _ = one_line_a_step(_text(data))
    rows = _matched(text, _BY_STEP)
    if not rows.steps:
        rows = _matched(text, _BY_EPOCH)
    return Match.MAYBE if rows.steps else Match.NO


def _matched(text: str, pattern: re.Pattern[str], last_date: str = "") -> _Rows:
    """Give the rows in some lines."""
    rows = _Rows()
    for match in pattern.finditer(text):
        before, short, step, total, rest = match.group("before", "short", "step", "total", "rest")
        aliases = _LLM_C if short else {}
        numbers = _numbers(_PLACE.sub("", before) if "[" in before else before, rest)
        if not numbers:
            continue
        for key, written, unit in numbers:
            tag = aliases.get(key, key)
            if unit:
                tag = f"{tag}_{'percent' if unit == '%' else unit}"
            rows.add(tag, float(written.replace(",", "")))
        rows.steps.append(int(step))
        rows.last = max(rows.last, rows.steps[-1])
        if total:
            rows.total = int(total)
        if before and (date := _DATE.search(before)):
            last_date = date[0].replace(",", ".").replace(" ", "T")
            rows.dated += 1
        if last_date:
            rows.dates.append(last_date)
    return rows


def _numbers(before: str, rest: str) -> list[tuple[str, str, str]]:
    """Give key, number and unit of what a line says before and behind its step."""
    is_simple = "," not in rest and "|" not in rest
    if is_simple and not before and (simple := _WORDS.findall(rest)):
        return simple
    found = {m.end("number"): m for m in _WORDS.finditer(rest)}
    if not is_simple or not found:
        found |= {m.end("number"): m for m in _PARTS.finditer(rest)}
    numbers = [m.group("key", "number", "unit") for m in _WORDS.finditer(before)] if before else []
    numbers += [found[end].group("key", "number", "unit") for end in sorted(found)]
    return [("_".join(key.split()), number, unit or "") for key, number, unit in numbers]
