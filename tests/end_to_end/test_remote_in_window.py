"""Runs elsewhere, opened in the real window."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PySide6.QtWidgets import QInputDialog

from runglass.gui.main_window import MainWindow
from runglass.gui.settings import Settings
from runglass.models import mirror as mirrors
from runglass.models import mirror_cache
from runglass.models import session as sessions
from runglass.models.mirror import Mirror

LONG = 30_000


def log(rows: int) -> bytes:
    return b"step,loss\n" + b"".join(b"%d,%.3f\n" % (step, 1 / (step + 1)) for step in range(rows))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(mirror_cache, "cache_folder", lambda: tmp_path / "cache")
    mirrors._mirrors.clear()
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pipe_file("/lab/runs/a/metrics.csv", log(100))
    yield system
    system.store.clear()


@pytest.fixture
def window(qtbot: Any, tmp_path: Path, elsewhere: Any) -> Iterator[MainWindow]:
    window = MainWindow(Settings(tmp_path / "settings.ini"))
    window.show()
    qtbot.addWidget(window)
    yield window
    window.close()


def points(window: MainWindow) -> int:
    run = window.workspace.now.all.runs.get("runs/a")
    return len(run.curves["loss"]) if run is not None and run.curves else 0


def test_that_an_address_is_opened_remembered_and_saved_without_its_password(
    window: MainWindow, qtbot: Any, elsewhere: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_, **__: ("memory://ada:secret@lab/runs", True))
    elsewhere.pipe_file("/ada:secret@lab/runs/a/metrics.csv", log(100))
    window.files.choose_address()
    qtbot.waitUntil(lambda: points(window) == 100, timeout=LONG)
    assert Settings(tmp_path / "settings.ini").recent == ["memory://ada@lab/runs"]
    assert window.files.start_folder == str(Path.home())
    sessions.save(window.workspace.session, tmp_path / "a.runglass.json")
    assert "secret" not in (tmp_path / "a.runglass.json").read_text()
    assert sessions.load(tmp_path / "a.runglass.json").roots == ("memory://ada@lab/runs",)


def test_that_runs_elsewhere_grow_in_the_window(
    window: MainWindow, qtbot: Any, elsewhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Mirror.__init__.__kwdefaults__, "pause", 0.1)
    window.open(["memory://lab/runs"])
    qtbot.waitUntil(lambda: points(window) == 100, timeout=LONG)
    elsewhere.pipe_file("/lab/runs/a/metrics.csv", log(150))
    qtbot.waitUntil(lambda: points(window) == 150, timeout=LONG)


def test_that_what_is_no_address_is_not_opened(window: MainWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_, **__: (" bucket/runs ", True))
    window.files.choose_address()
    assert window.workspace.session.roots == ()
    assert "s3://bucket/runs" in window._messages.text


def test_that_a_server_that_does_not_answer_leaves_the_window_alive(
    window: MainWindow, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(MemoryFileSystem, "find", lambda *_, **__: answer.wait(LONG / 1000) and {})
    monkeypatch.setitem(Mirror.__init__.__kwdefaults__, "patience", 2.0)
    window.open(["memory://lab/runs"])
    window.workspace.change(theme="dark")  # the thread that shows the window is not the one that waits
    assert not window.workspace.now.all.problems
    qtbot.waitUntil(lambda: bool(window.workspace.now.all.problems), timeout=LONG)
    assert [problem.what for problem in window.workspace.now.all.problems] == [
        "It has not answered for 2 s; it will be tried again."
    ]
    answer.set()
