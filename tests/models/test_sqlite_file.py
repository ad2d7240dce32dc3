"""Databases that are being written: read whole, and nothing is left beside them."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from runglass.models import sqlite_file
from runglass.models.errors import ReadError
from runglass.models.sqlite_file import has_tables, opened


def rows(path: Path) -> list[int]:
    with opened(path) as database:
        return [number for (number,) in database.execute("SELECT n FROM t ORDER BY n")]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def made(path: Path, mode: str) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA journal_mode = {mode}")
    database.execute("CREATE TABLE t (n)")
    database.execute("INSERT INTO t VALUES (1)")
    database.commit()
    return database


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_that_a_closed_database_is_read_and_nothing_is_left(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a b%20?.db"
    made(path, mode).close()
    before = path.read_bytes()
    assert rows(path) == [1]
    assert names(tmp_path) == [path.name]
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_that_what_an_open_writer_committed_is_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.db"
    writer = made(path, mode)
    try:
        writer.execute("INSERT INTO t VALUES (2)")
        before = names(tmp_path)
        assert rows(path) == [1]
        writer.commit()
        assert rows(path) == [1, 2]
        assert set(names(tmp_path)) <= set(before)
    finally:
        writer.close()


def test_that_what_waits_in_a_log_without_a_writer_is_read(tmp_path: Path) -> None:
    writer = made(tmp_path / "a.db", "wal")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("a.db", "a.db-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    writer.close()
    assert rows(copy / "a.db") == [1]
    assert names(copy) == ["a.db", "a.db-wal"]


def test_that_nothing_can_be_written(tmp_path: Path) -> None:
    made(tmp_path / "a.db", "delete").close()
    with pytest.raises(ReadError, match="cannot be read"), opened(tmp_path / "a.db") as database:
        database.execute("INSERT INTO t VALUES (3)")


def test_that_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"something else")
    with pytest.raises(ReadError, match="no SQLite database"):
        rows(tmp_path / "a.db")
    assert not has_tables(tmp_path / "a.db", "t")
    assert not has_tables(tmp_path / "missing.db", "t")


def test_that_a_large_database_that_is_being_written_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "_MOST_COPIED_BYTES", 100)
    writer = made(tmp_path / "a.db", "wal")
    try:
        with pytest.raises(ReadError, match="too large to be copied; close its writer first"):
            rows(tmp_path / "a.db")
    finally:
        writer.close()


def test_that_a_database_that_changes_while_it_is_copied_is_left_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = made(tmp_path / "a.db", "wal")
    copied = shutil.copyfile

    def copyfile(path: Path, to: Path) -> None:
        copied(path, to)
        writer.execute("INSERT INTO t VALUES (2)")
        writer.commit()

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    try:
        with pytest.raises(ReadError, match="written to all the time; it will be tried again"):
            rows(tmp_path / "a.db")
    finally:
        writer.close()
