"""The start: from a cold process to a window, to a first plot, and to many points on screen.

Run it alone on a quiet machine::

    python tests/benchmarks/start.py [--json FILE] [--points 2e7] [--runs 200] [--rounds 7] [--tensorboard-rounds 3]

Every start is a process of its own that runs the real command line, in turns with its peers. The window and the first plot are
compared in processor time, with a bare window of Qt (a main window with menus and a table) and one of pyqtgraph (a line). Many
points are compared in time passed: ours until everything is read and all cards wholly in view are painted, of the runs that are
ticked; ``tensorboard --load_fast=true`` until it has answered all points over HTTP, which a browser would still have to draw.
TensorBoard is installed into the environment of the readers' benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from taking_turns import Comparison, compared, written

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "readers"))

_QT = """
from PySide6.QtWidgets import QApplication, QMainWindow, QTableWidget
app = QApplication([])
window = QMainWindow()
for title in ("File", "Edit", "View", "Help"):
    menu = window.menuBar().addMenu(title)
    for number in range(10):
        menu.addAction(f"Action {number}")
window.setCentralWidget(QTableWidget(20, 5))
window.resize(1440, 900)
window.show()
app.processEvents()
told()
"""
_PYQTGRAPH = """
from PySide6.QtWidgets import QApplication
app = QApplication([])
import pyqtgraph
window = pyqtgraph.PlotWidget()
window.plot([0, 1], [0, 1])
window.resize(1440, 900)
window.show()
app.processEvents()
told()
"""
_TELL = """
import os, sys, time
begun = float(sys.argv[1])
def told(**facts):
    import json
    peak = 0
    for line in open("/proc/self/status") if os.path.exists("/proc/self/status") else ():
        if line.startswith("VmHWM"):
            peak = int(line.split()[1]) / 1024
    print(json.dumps({"cpu": time.process_time(), "wall": time.time() - begun, "peak": peak, **facts}), flush=True)
    os._exit(0)
"""
_SHELL = """
from runglass.__main__ import main
from PySide6.QtWidgets import QApplication
def shown(*_):
    QApplication.instance().processEvents()
    told()
QApplication.exec = shown
main(sys.argv[2:])
"""
_PLOT = """
from runglass.__main__ import main
from PySide6.QtWidgets import QApplication, QMainWindow
all_points = int(sys.argv[2])
def shown(*_):
    app = QApplication.instance()
    window = next(one for one in app.topLevelWidgets() if isinstance(one, QMainWindow))
    def is_there():
        if not window._is_furnished or (all_points and window.workspace.now.all.points < all_points):
            return False
        curves = window.area.content("curves")
        cards = curves.cards if curves is not None else ()
        views = [card.view for card in cards if card.visibleRegion().boundingRect() == card.rect()]
        if not all_points:
            views = [view for view in views if view.answer is not None][:1]
        if not views or any(view.answer is None for view in views):
            return False
        panels = [panel for view in views for panel in view.figure_view.panels]
        runs = len(window.workspace.now.ticked) if all_points else 1
        if any(len(panel.curves.lines) < runs for panel in panels):
            return False
        return panels and all(panel.curves.is_current for panel in panels)
    while not is_there():
        app.processEvents()
        time.sleep(0.0005)
    app.processEvents()
    told(points=window.workspace.now.all.points)
QApplication.exec = shown
main(sys.argv[3:])
"""


def started(code: str, *arguments: object, folder: Path) -> dict[str, Any]:
    """Start a process; give its processor seconds, seconds passed and MB at most until what it shows was there."""
    # Compiled modules are kept from the first round on, whatever the surroundings say of them.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    surroundings = {
        "QT_QPA_PLATFORM": "offscreen",
        **kept,
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
        "XDG_CONFIG_HOME": str(folder),
        "XDG_STATE_HOME": str(folder),
    }
    command = [sys.executable, "-c", _TELL + code, repr(time.time()), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def windows(rounds: int) -> list[Comparison]:
    """Compare a window with a bare one of Qt, and a first plot with a bare one of pyqtgraph."""
    import written_logs

    told: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        points = written_logs.write_regular(folder / "logs", 1, "simple", steps=2_000)
        assert points == 40_000
        starts: dict[str, tuple[str, tuple[object, ...]]] = {
            "Qt": (_QT, ()),
            "pyqtgraph": (_PYQTGRAPH, ()),
            "window": (_SHELL, ()),
            "plot": (_PLOT, (0, folder / "logs")),
        }
        for number in range(rounds + 1):
            for what, (code, arguments) in starts.items():
                cpu = started(code, *arguments, folder=folder)["cpu"]
                if number:
                    told.setdefault(what, []).append(cpu)
    seconds = {what: np.array(own) for what, own in told.items()}
    return [
        compared("cold start to the window", "a bare Qt window, menus and a table", seconds["Qt"], seconds["window"]),
        compared("cold start to the first plot", "a bare pyqtgraph window", seconds["pyqtgraph"], seconds["plot"]),
    ]


def _peers() -> tuple[Path, Path]:
    """Give the folder for logs and the interpreter with TensorBoard, both of the readers' benchmark."""
    spec = spec_from_file_location("readers_benchmark", HERE / "readers/__main__.py")
    assert spec is not None
    assert spec.loader is not None
    readers = module_from_spec(spec)
    spec.loader.exec_module(readers)
    cache = platformdirs.user_cache_path("runglass") / "benchmarks"
    return cache, readers.peers_python(cache)


@contextmanager
def _serving(python: Path, folder: Path, steps: int) -> Iterator[str]:
    """Run TensorBoard on a folder; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--logdir", str(folder), "--port", str(port), "--load_fast=true"]
    kept = ["--samples_per_plugin", f"scalars={steps + 1}"]
    command = [str(python), "-m", "tensorboard.main", *options, *kept]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/data/plugin/scalars"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _asked(address: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(address, body, {"Content-Type": "application/x-www-form-urlencoded"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return answer.read()


def _points_answered(address: str, tag: str, names: Sequence[str]) -> int:
    query = "&".join(["tag=" + urllib.request.quote(tag, safe=""), *(f"runs={name}" for name in names)])
    answer = _asked(f"{address}/scalars_multirun", query.encode())
    # One bracket opens each point, each run and the whole: counted rather than parsed, which a browser would do.
    return (answer.count(b"[") - len(names)) if answer.startswith(b"{") else 0


def answered_by_tensorboard(python: Path, folder: Path, runs: int, steps: int) -> float:
    """Give the seconds from the start of TensorBoard until it has answered all points of all runs over HTTP."""
    begun = time.perf_counter()
    with _serving(python, folder, steps) as address:
        tags: dict[str, Any] = {}
        while len(tags) < runs:
            with suppress(urllib.error.URLError, ConnectionError):
                tags = json.loads(_asked(f"{address}/tags"))
            time.sleep(0.01)
        names, all_tags = sorted(tags), sorted({tag for own in tags.values() for tag in own})
        # Small questions until all is loaded: answers of many points would keep the loader from its work.
        for name in names:
            while _points_answered(address, all_tags[-1], [name]) < steps:
                time.sleep(0.05)
        for tag in all_tags:
            while _points_answered(address, tag, names) < len(names) * steps:
                time.sleep(0.05)
        return time.perf_counter() - begun


def many_points(points: int, runs: int, rounds: int) -> list[Comparison]:
    """Compare the time from a cold process to many points on screen with that until TensorBoard has answered them."""
    import written_logs

    cache, python = _peers()
    steps = points // (runs * len(written_logs.TAGS))
    logs = cache / f"start_{points}_{runs}"
    if not (logs / "written").is_file():
        shutil.rmtree(logs, ignore_errors=True)
        size = points * 50
        assert written_logs.write_regular(logs / "logs", size, "simple", steps) == points
        (logs / "written").touch()
    for file in (logs / "logs").rglob("*tfevents*"):
        file.read_bytes()  # from the disk once, so that nobody is the first
    own, theirs, peaks = [], [], []
    with tempfile.TemporaryDirectory() as name:
        started(_SHELL, folder=Path(name))  # compiles modules
        for _ in range(rounds):
            found = started(_PLOT, points, logs / "logs", folder=Path(name))
            own.append(found["wall"])
            peaks.append(found["peak"])
            theirs.append(answered_by_tensorboard(python, logs / "logs", runs, steps))
    what = f"cold start to {points / 1e6:,.0f} million points of {runs} runs on screen"
    nan = float("nan")
    return [
        compared(what, "tensorboard --load_fast=true, answered", np.array(theirs), np.array(own)),
        Comparison(f"memory at most, {what}", "", nan, nan, nan, float(np.median(peaks)), "MB"),
    ]


def main() -> None:
    """Compare, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--points", type=float, default=2e7, help="points to open (default: 2e7); 0 leaves TensorBoard out"
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tensorboard-rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    options = parser.parse_args()
    told = windows(options.rounds) if options.rounds else []
    if options.points:
        told += many_points(round(options.points), options.runs, options.tensorboard_rounds)
    for one in told:
        print(f"{one.what}: {one.own:,.1f} {one.unit}")
        if one.peer:
            print(one.text())
    written(told, options.json)


if __name__ == "__main__":
    main()
