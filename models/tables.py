"""What readers give: runs, curves, rows and problems, each a frozen value.

A *run* is one training. It has facts (its configuration, who read it, how it ended) and *curves*: for every tag the values
as they were logged, at their steps and wall times. A reader gives curves in pieces (`CurvePiece`), so that a file that is
still being written grows on screen; a *restart* (a resumed training) is simply a step that goes back and stays in the data.

Evaluation outputs are *rows* of one of the canonical tables (`TableRows`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .growing_array import grown

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["finished", "running", "failed", "diverged", "unknown"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read, or could be read only in part.

    Attributes
    ----------
    source : str
        File or folder, relative to what was opened.
    reader : str
        Reader that met it.
    what : str
        One clear sentence.
    run : str
        Key of the run it belongs to, or an empty string.
    """

    source: str
    reader: str
    what: str
    run: str = ""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a reader learned about a run, besides its curves. Later facts complete and override earlier ones.

    Attributes
    ----------
    run : str
        Key of the run.
    config : Mapping
        Configuration, flattened with dots; values are text, numbers, booleans or None.
    facts : Mapping
        Canonical columns of the `runs` table that the reader knows for certain (``params``, ``seed``, ``started`` ...).
    x_tags : Mapping
        For tags with a declared x axis: the tag that is their x.
    """

    run: str
    name: str = ""
    reader: str = ""
    source: str = ""
    status: Status | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    x_tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CurvePiece:
    """New points of some tags of one run that share their steps.

    Attributes
    ----------
    run : str
        Key of the run.
    step : ndarray of int64 or float64, shape (n,)
        Steps, in the order they were logged.
    values : Mapping of str to ndarray, each shape (n,)
        Values by tag, in the precision they were logged with.
    wall_time : ndarray of float64, shape (n,), optional
        Seconds since 1970.
    """

    run: str
    step: np.ndarray
    values: Mapping[str, np.ndarray]
    wall_time: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows that stay in their file because memory should not be filled with them; they are read a block at a time.

    Attributes
    ----------
    blocks : tuple of int
        Rows of each block (a row group of a Parquet file), in the order of the file.
    read : callable
        ``read(number, wanted, among)`` gives the rows of a block in frames of bearable size, under the names `TableRows.frame`
        has; `wanted` names columns that will be looked at (None: all), others may be left out; `among` gives for some
        columns the values rows are kept of, other rows may be left out. It goes to other processes, so it is a
        function of a module, a `functools.partial` of one, or a value with a ``__call__``.
    """

    blocks: tuple[int, ...]
    read: Callable[[int, frozenset[str] | None, Mapping[str, frozenset[Any]]], Iterator[pd.DataFrame]]


@dataclass(frozen=True, slots=True)
class TableRows:
    """All rows that one source holds for one table; they replace what the source gave before.

    Attributes
    ----------
    source : str
        File they come from, relative to what was opened.
    reader : str
        Reader that read it.
    frame : DataFrame
        The rows, under the names of the source; only the first of them where the rest is `stored`.
    table : str
        Canonical table they belong to; empty where that is only known after columns have been mapped.
    stored : StoredRows, optional
        All rows, where they are too many to be held.
    """

    source: str
    reader: str
    frame: pd.DataFrame
    table: str = ""
    stored: StoredRows | None = None

    def __len__(self) -> int:
        return len(self.frame) if self.stored is None else sum(self.stored.blocks)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The source shrank, was replaced or is gone: what it gave so far is dropped, `what` says why."""

    source: str
    reader: str
    what: str
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceRead:
    """A source was read to its present end: its problems are these now, whatever was said of it before.

    Attributes
    ----------
    settled : tuple of Problem
        Problems that hold no longer although they name something else, such as one file of several.
    """

    source: str
    problems: tuple[Problem, ...] = ()
    settled: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class FolderConfig:
    """Configuration found in a folder; it describes the runs in and below that folder, the innermost folder winning.

    Attributes
    ----------
    folder : str
        Key of the folder, as the start of the keys of its runs.
    config : Mapping
        Configuration, flattened with dots.
    """

    folder: str
    config: Mapping[str, Any]


Event = Problem | RunFacts | CurvePiece | TableRows | Forgotten | SourceRead | FolderConfig


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Curve:
    """The values of one tag of one run.

    Attributes
    ----------
    step : ndarray of int64 or float64, shape (n,)
        Steps in the order they were logged; they may go back where a run was resumed.
    value : ndarray, shape (n,)
        Values as logged; may hold NaN and infinities.
    wall_time : ndarray of float64, shape (n,), or None
        Seconds since 1970.
    """

    step: np.ndarray
    value: np.ndarray
    wall_time: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.value)

    @property
    def non_finite(self) -> int:
        """Number of values that are NaN or infinite."""
        return int(len(self.value) - np.count_nonzero(np.isfinite(self.value)))


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One training run.

    Attributes
    ----------
    key : str
        Identifies the run: its path below what was opened, with ``/``.
    name : str
        Shown in the tree.
    ordinal : int
        Position in the order of discovery; decides its colour for good.
    config : Mapping
        Configuration, flattened with dots.
    facts : Mapping
        Canonical columns known for certain.
    curves : Mapping of str to Curve
        Curves by tag.
    """

    key: str
    name: str = ""
    ordinal: int = 0
    reader: str = ""
    source: str = ""
    declared_status: Status | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    x_tags: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """Declared by the logger, or 'diverged' where a loss of the run ended as NaN or infinite."""
        losses = [curve for tag, curve in self.curves.items() if "loss" in tag.lower() and len(curve)]
        if any(not np.isfinite(curve.value[-1]) for curve in losses):
            return "diverged"
        return self.declared_status or "unknown"

    def knowing(self, facts: RunFacts) -> Run:
        """Give the run completed with `facts`."""
        return replace(
            self,
            name=facts.name or self.name,
            reader=self.reader or facts.reader,
            source=self.source or facts.source,
            declared_status=facts.status or self.declared_status,
            config=MappingProxyType({**self.config, **facts.config}),
            facts=MappingProxyType({**self.facts, **facts.facts}),
            x_tags=MappingProxyType({**self.x_tags, **facts.x_tags}),
        )

    def extended(self, *pieces: CurvePiece) -> Run:
        """Give the run with the points of some pieces behind its own, one piece after the other."""
        curves = dict(self.curves)
        for piece in pieces:
            _extend(curves, piece)
        # `replace` takes longer than all else here, and runs that are followed are extended several times a second.
        return Run(
            self.key,
            self.name,
            self.ordinal,
            self.reader,
            self.source,
            self.declared_status,
            self.config,
            self.facts,
            self.x_tags,
            MappingProxyType(curves),
        )


def _extend(curves: dict[str, Curve], piece: CurvePiece) -> None:
    # Tags of one piece share their steps; those that also shared them before go on sharing.
    shared: dict[tuple[int, int], tuple[np.ndarray, np.ndarray | None]] = {}
    for tag, values in piece.values.items():
        old = curves.get(tag)
        if old is None:
            curves[tag] = Curve(piece.step, values, piece.wall_time)
            continue
        same = (id(old.step), id(old.wall_time))
        if same not in shared:
            if old.wall_time is None or piece.wall_time is None:
                wall_time = None
            else:
                wall_time = grown(old.wall_time, piece.wall_time)
            shared[same] = (grown(old.step, piece.step), wall_time)
        step, wall_time = shared[same]
        curves[tag] = Curve(step, grown(old.value, values), wall_time)
