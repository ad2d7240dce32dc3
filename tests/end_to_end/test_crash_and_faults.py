"""The window is killed, its files are damaged, an analysis breaks: what the user had is offered again, and the rest lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runglass.analysis import registry
from runglass.gui.main_window import MainWindow
from runglass.gui.settings import Settings
from runglass.models.session import Pane

LONG = 30_000

CHILD = """
import sys
from PySide6.QtWidgets import QApplication
from runglass.gui.main_window import MainWindow
from runglass.gui.settings import Settings
from pathlib import Path
app = QApplication([])
folder = Path(sys.argv[1])
window = MainWindow(Settings(folder / "settings.ini"), autosave=folder / "autosave.json")
window.show()
window.open([str(folder / "project")])
window.workspace.change(run_filter="adam")
app.exec()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("adam", "sgd"):
        folder = tmp_path / "project" / name
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("step,loss\n" + "".join(f"{n},{3 / (n + 1)}\n" for n in range(40)))
    return tmp_path / "project"


@pytest.fixture
def window(qtbot, tmp_path):
    window = MainWindow(Settings(tmp_path / "settings.ini"), autosave=tmp_path / "autosave.json")
    qtbot.addWidget(window)
    window.show()
    yield window
    window.close()


def test_that_a_window_that_was_killed_offers_its_session_at_the_next_start(project, tmp_path, request):
    saved = tmp_path / "autosave.json"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], env={**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    )
    try:
        deadline = time.monotonic() + 60
        while not (saved.exists() and json.loads(saved.read_bytes())["run_filter"] == "adam"):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        child.send_signal(signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
    qtbot, window = request.getfixturevalue("qtbot"), request.getfixturevalue("window")
    window.files.offer_last_session()
    assert "Last time you looked at project" in window._messages.text
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window._messages._action.click()
    assert window.workspace.session.run_filter == "adam"
    assert len(window.workspace.now.all.runs) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged"),
        (b'{"runglass_session": 1, "roo', "damaged"),
        (b'{"runglass_session": 99}', "newer"),
        (b"\xff\0", "damaged"),
        (b"[" * 10**5, "damaged"),
    ],
)
def test_that_a_session_that_cannot_be_opened_is_refused_and_a_copy_is_kept(window, tmp_path, content, why):
    saved = tmp_path / "autosave.json"
    saved.write_bytes(content)
    window.files.offer_last_session()
    kept = tmp_path / f"autosave.{why}.json"
    assert "cannot be opened" in window._messages.text
    assert kept.name in window._messages.text
    assert kept.read_bytes() == content
    assert not saved.exists()


def test_that_an_analysis_that_raises_is_said_in_its_pane_and_the_window_lives(window, qtbot, project, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr(registry.analysis("curve.smooth").question, "answer", broken)
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open([str(project)])
    session = window.workspace.session
    window.workspace.change(panes=(*session.panes, Pane("broken", "analysis", "curve.smooth")))
    pane = window.area.content("broken")
    qtbot.waitUntil(lambda: "nobody foresaw this" in pane.view._error.text, timeout=LONG)
    assert "please report it" in pane.view._error.text
    window.workspace.change(run_filter="sgd")
    qtbot.waitUntil(lambda: not window.tasks.running, timeout=LONG)
    assert window.workspace.session.run_filter == "sgd"
