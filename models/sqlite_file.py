"""SQLite databases of others, read without leaving a trace beside them.

Opening a database for reading can still write: where it is in write-ahead mode SQLite makes ``-wal`` and ``-shm`` files, and
what a crash left behind is rolled back. A database in write-ahead mode is therefore taken as it is when nothing waits in its
log, and otherwise copied with its log and read from the copy.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .deferred import deferred
from .errors import ReadError
from .readers.base import require_regular

if TYPE_CHECKING:
    import sqlite3
else:
    sqlite3 = deferred("sqlite3")

SIGNATURE = b"SQLite format 3\0"

_WRITE_VERSION = 18
_WRITE_AHEAD = 2
_MOST_COPIED_BYTES = 4 << 30
_TRIES = 5
_PATIENCE_SECONDS = 0.5
_COMPUTED = (
    "SELECT 1 FROM sqlite_master JOIN pragma_table_xinfo(sqlite_master.name) AS of "
    "WHERE sqlite_master.type = 'table' AND of.hidden IN (2, 3) LIMIT 1"
)
"""Finds a generated column."""


def has_tables(path: Path, *names: str) -> bool:
    """Whether a file is a database with these tables."""
    try:
        with _opened(path) as database:
            found = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (OSError, ReadError):
        return False
    return found >= set(names)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection to a database that can only be read, and of which only tables are.

    Raises
    ------
    ReadError
        When it is no database, is damaged, has a schema that computes what is read, or is written to so fast that no moment of
        it can be had.
    OSError
        When the file cannot be read.
    """
    with _opened(path) as database:
        if database.execute(_COMPUTED).fetchone():
            raise ReadError("A table of the database computes its cells, as long as its schema likes; it is not read.")
        database.set_authorizer(_only_tables)
        yield database


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    require_regular(path)
    with open(path, "rb") as file:
        header = file.read(_WRITE_VERSION + 2)
    if not header.startswith(SIGNATURE):
        raise ReadError("It is no SQLite database.")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="runglass-") as folder,
            closing(_connected(path, header, Path(folder))) as database,
        ):
            database.text_factory = lambda text: text.decode("utf-8", "replace")
            database.execute("PRAGMA query_only = ON")
            database.execute("PRAGMA trusted_schema = OFF")
            yield database
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # The second is what Python makes of a message that quotes a damaged schema.
        raise ReadError(f"The database cannot be read: {error}.") from None


def _only_tables(action: int, one: str | None, two: str | None, database: str | None, within: str | None) -> int:
    """Allow tables, which end where the file does; refuse views, which a schema can define without end."""
    return sqlite3.SQLITE_OK if within is None and action != sqlite3.SQLITE_RECURSIVE else sqlite3.SQLITE_DENY


def _connected(path: Path, header: bytes, folder: Path) -> sqlite3.Connection:
    if _WRITE_AHEAD in header[_WRITE_VERSION:]:
        if _size(_beside(path, "-wal")):
            return sqlite3.connect(_copied(path, "-wal", folder))
        return sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_SECONDS)
    try:
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        database.close()
        # A writer that holds the lock keeps what it overwrites in its journal, or has overwritten nothing yet.
        is_locked = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
        is_journaled = isinstance(error, sqlite3.OperationalError) and _size(_beside(path, "-journal"))
        if not is_locked and not is_journaled:
            raise
        return sqlite3.connect(_copied(path, "-journal", folder))
    return database


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _copied(path: Path, ending: str, folder: Path) -> Path:
    """Give a copy of a database and the log beside it, both of the same moment."""
    if _size(path) + _size(_beside(path, ending)) > _MOST_COPIED_BYTES:
        raise ReadError("The database is being written to and too large to be copied; close its writer first.")
    copy = folder / "copy.db"
    for _ in range(_TRIES):
        before = _moment(path, ending)
        shutil.copyfile(path, copy)
        with suppress(FileNotFoundError):
            shutil.copyfile(_beside(path, ending), _beside(copy, ending))
        if _moment(path, ending) == before:
            return copy
        _beside(copy, ending).unlink(missing_ok=True)
    raise ReadError("The database is written to all the time; it will be tried again.")


def _moment(path: Path, ending: str) -> list[tuple[int, int]]:
    moments = []
    for file in (path, _beside(path, ending)):
        with suppress(OSError):
            info = file.stat()
            moments.append((info.st_size, info.st_mtime_ns))
    return moments
