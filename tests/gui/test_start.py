"""What a window that opens does not wait for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_FOR_LATER = frozenset(
    ("fsspec", "jinja2", "joblib", "markdown_it", "matplotlib", "pandas", "PIL", "pyarrow", "scipy", "statsmodels")
)
_BESIDE_QT = _FOR_LATER | {"numpy", "orjson", "pyqtgraph", "yaml", "QEvent", "QStyle"}

_BEGIN = """
import builtins, gc, os, sys, threading, time
from pathlib import Path
os.environ["QT_QPA_PLATFORM"] = "offscreen"
def imported():
    return {name.partition(".")[0] for name in sys.modules}
"""
_PAINT = """
from PySide6 import QtCore, QtWidgets
from PySide6.QtWidgets import QApplication
app = QApplication([])
from runglass.gui.main_window import MainWindow
from runglass.gui.settings import Settings
window = MainWindow(Settings(Path(sys.argv[1])), furnished=sys.argv[2] == "furnished")
window.show()
assert not window.grab().isNull()
print(*sorted(imported()), *sorted({"QEvent", "QStyle"} & {name for one in (QtCore, QtWidgets) for name in vars(one)}))
window.close()
"""
_OPEN = """
from PySide6.QtWidgets import QApplication, QMainWindow
first = []
def loop(*_):
    app = QApplication.instance()
    app.processEvents()
    first.append(imported())
    assert not gc.isenabled()
    assert builtins.__import__ is builtins.__orig_import__
    window = next(one for one in app.topLevelWidgets() if isinstance(one, QMainWindow))
    shown = lambda: window._is_furnished and [card for card in window.area.content("curves").cards if card.view.answer]
    while not shown():
        app.processEvents()
        time.sleep(0.002)  # threads have work to do
    assert gc.isenabled()
    print(len(first[0] & {"pyqtgraph"}), window.workspace.now.all.points, *sorted(imported()))
    window.close()
    return 0
QApplication.exec = loop
from runglass.__main__ import main
status = main(sys.argv[2:])
assert [one for one in threading.enumerate() if not one.daemon] == [threading.main_thread()], threading.enumerate()
sys.exit(status)
"""


def _run(code: str, *arguments: object, home: Path) -> list[str]:
    surroundings = {**os.environ, "XDG_CONFIG_HOME": str(home), "XDG_STATE_HOME": str(home)}
    command = [sys.executable, "-c", _BEGIN + code, str(home / "settings.ini"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(("how", "later"), [("bare", _BESIDE_QT), ("furnished", _FOR_LATER)])
def test_that_the_first_paint_waits_for_nothing_it_does_not_show(
    how: str, later: frozenset[str], tmp_path: Path
) -> None:
    imported = set(_run(_PAINT, how, home=tmp_path))
    assert "PySide6" in imported
    assert imported & later == set()


def test_that_curves_are_drawn_before_tables_can_be_made(tmp_path: Path) -> None:
    log = tmp_path / "run" / "metrics.jsonl"
    log.parent.mkdir()
    log.write_text("".join(f'{{"step": {step}, "loss": {1 / (1 + step)}}}\n' for step in range(300)))
    before, points, *imported = _run(_OPEN, tmp_path / "run", home=tmp_path)
    assert (before, points) == ("0", "300")
    assert set(imported) & _FOR_LATER <= {"pyarrow"}  # which reads the lines
