"""What a reader is, and what it is given to look at.

A reader is one module with one class. `match` looks and does not load; `read` gives events: runs, pieces of curves, rows and
problems, and as its last event a `Cursor` that says where to go on when the file has grown. Nothing is ever written, and what
cannot be read becomes a `Problem` while the rest goes on.

The smallest useful reader::

    class PlainLossReader(Reader):
        name = "plain loss"

        def match(self, entry):
            return Match.YES if entry.name == "loss.txt" else Match.NO

        def read(self, source, cursor, progress):
            values = np.loadtxt(source.paths[0], ndmin=1)
            yield CurvePiece(source.run, np.arange(len(values)), {"loss": values})
            yield Cursor()

Runs get their keys from where they lie: a folder with a single log is the run; where a folder holds several logs each
becomes a run below it. A reader with ``gathers = True`` is given all its files of one folder as one log (event files, monitors
of parallel environments); with ``is_config = True`` its files give a `FolderConfig` and are no log of their own.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ..errors import ReadError
from ..progress import Progress
from ..tables import Event

HEAD_BYTES = 4096


class Match(enum.IntEnum):
    """Whether a reader can read what it was shown: the highest answer wins, the first reader where two are equal."""

    NO = 0
    MAYBE = 1
    """By its shape: any table, any JSON lines."""
    YES = 2
    """By its name or signature: no other reader knows it better."""


@dataclass(frozen=True)
class Entry:
    """A file or folder met while looking; its head and listing are read at most once, and only when asked for.

    Attributes
    ----------
    path : Path
        Where it is.
    relative : str
        Its path below what was opened, with ``/``, and with the name of what was opened in front.
    is_folder : bool
        Whether it is a folder.
    siblings : frozenset of str
        Names beside it, its own included.
    """

    path: Path
    relative: str
    is_folder: bool = False
    siblings: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.name

    @property
    def suffix(self) -> str:
        """Ending in lower case, with its dot."""
        return self.path.suffix.lower()

    @cached_property
    def head(self) -> bytes:
        """The first 4 KiB of a regular file; empty where it cannot be read."""
        return self.beginning(HEAD_BYTES)

    def beginning(self, most: int) -> bytes:
        """Give so many bytes of a regular file, or fewer; none where it cannot be read."""
        try:
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                return b""
            with open(self.path, "rb") as file:
                return file.read(most)
        except OSError:
            return b""

    def ending(self, most: int) -> bytes:
        """Give so many of the last bytes of a file, or fewer; none where it cannot be read."""
        try:
            with open(self.path, "rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - most, 0))
                return file.read(most)
        except OSError:
            return b""

    @cached_property
    def children(self) -> frozenset[str]:
        """Names in a folder; empty where it cannot be listed or is a file."""
        try:
            return frozenset(os.listdir(self.path)) if self.is_folder else frozenset()
        except OSError:
            return frozenset()


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader is asked to read.

    Attributes
    ----------
    paths : tuple of Path
        One file or folder; for a reader that gathers, all its files of one folder in natural order.
    relative : str
        Shown to users: path below what was opened.
    run : str
        Key of the run it is, or of the folder whose runs it describes.
    reader : str
        Name of the reader.
    address : str
        Where the file really is, which stayed there; the path holds at most its beginning. Empty for all others.
    """

    paths: tuple[Path, ...]
    relative: str
    run: str
    reader: str
    address: str = field(default="", repr=False)

    @property
    def path(self) -> Path:
        """The first path."""
        return self.paths[0]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where to go on.

    Attributes
    ----------
    read : Mapping of str to int
        Bytes consumed of each file, by its path.
    state : Mapping
        Whatever else the reader needs to go on (a header, the tags seen); treated as a value, never changed.
    """

    read: Mapping[str, int] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


class Reader:
    """Base of all readers; see the module's docstring."""

    name: ClassVar[str] = ""
    gathers: ClassVar[bool] = False
    is_config: ClassVar[bool] = False
    makes_runs: ClassVar[bool] = True
    """False for a reader of tables: its files are no logs, so they do not make runs of their folders."""
    looks_at_folders: ClassVar[bool] = False
    """Whether `match` is also asked about folders; a folder it takes is a log, and is not looked into by others."""
    shares_folder: ClassVar[bool] = False
    """Whether a folder it takes is looked into all the same: the reader then says NO to the files it reads there."""

    def match(self, entry: Entry) -> Match:
        """Say whether this reader can read `entry`, from its name and head, without loading it."""
        raise NotImplementedError

    def run_folder(self, folder: Path, relative: str) -> str:
        """Give the folder, as a key, whose run the files gathered in `folder` are part of: nearly always itself."""
        return relative

    def watched(self, path: Path) -> list[Path]:
        """Give the files whose size and time tell whether there is something new; they need not exist.

        A file is watched itself, of a folder all files below it. A reader of folders that can hold many files it does not
        read names those it does: they are looked at again and again while runs are followed.
        """
        return files_below(path)

    def needed(self, path: Path) -> list[Path]:
        """Give the files that `read` opens: those that are watched, and what it looks up beside them.

        What lies elsewhere is brought here before it is read, and nothing else is.
        """
        return self.watched(path)

    def stays(self, path: Path, size: int, beside: int) -> bool:
        """Whether a file elsewhere is read where it is (`Source.address`) and not brought here.

        Parameters
        ----------
        size, beside : int
            Bytes of the file, and of all files of its ending in its folder.
        """
        return False

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read what is new since `cursor` (all, where it is None) and give a `Cursor` as the last event.

        Raises
        ------
        ReadError, OSError
            When nothing at all can be read; it becomes a problem.
        Cancelled
            When `progress` says so.
        """
        raise NotImplementedError


def files_below(path: Path) -> list[Path]:
    """Give all files below a folder; a file is given itself."""
    if not path.is_dir():
        return [path]
    return [Path(folder) / name for folder, _, names in os.walk(path) for name in names]


def require_regular(path: Path) -> int:
    """Give the size of a regular file in bytes.

    Raises
    ------
    ReadError
        For a pipe, a device or a socket, which could block for ever.
    """
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise ReadError("It is not a regular file.", source=str(path))
    return info.st_size
