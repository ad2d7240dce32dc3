"""What is closed is gone: panes, folders and the window leave no objects, timers, threads or open files behind.

`tests/benchmarks/soak.py` does the same for hours.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QTimer
from PySide6.QtWidgets import QGraphicsView, QTabBar
from shiboken6 import isValid

from runglass.gui.main_window import MainWindow
from runglass.gui.panes.curves import CurvesPane
from runglass.gui.settings import Settings
from runglass.models.selection import is_in
from runglass.models.session import Grouping, Pane

LONG = 30_000
ANALYSES = ("curve.smooth", "curve.seed-band", "health.spikes", "ttt.time-to-target")


def write_runs(folder: Path, runs: int = 6, steps: int = 60) -> Path:
    for number in range(runs):
        home = folder / f"run_{number}"
        home.mkdir(parents=True)
        rows = "".join(f"{step},{2 / (step + 1) + 0.01 * number}\n" for step in range(steps))
        (home / "metrics.csv").write_text("step,loss\n" + rows)
        (home / "hparams.yaml").write_text(f"seed: {number}\n")
    return folder


@pytest.fixture
def window(qtbot: Any, tmp_path: Path) -> Iterator[MainWindow]:
    window = MainWindow(Settings(tmp_path / "settings.ini"))
    window.resize(1200, 800)
    window.show()
    yield window
    window.close()
    window.deleteLater()


def opened(window: MainWindow, qtbot: Any, folder: Path) -> None:
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open([str(folder)])
    pane = window.area.content("curves")
    assert isinstance(pane, CurvesPane)
    qtbot.waitUntil(lambda: bool(pane.cards) and all(card.view.answer for card in pane.cards), timeout=LONG)
    settled(window, qtbot)


def settled(window: MainWindow, qtbot: Any) -> None:
    """Wait until everything that was asked has been answered, and what was deleted is."""
    qtbot.wait(120)
    qtbot.waitUntil(lambda: not window.tasks.running, timeout=LONG)
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    QCoreApplication.processEvents()
    window.housekeeping.set_aside()  # what is garbage goes
    gc.unfreeze()


def alive(window: MainWindow) -> Counter[str]:
    """Count objects in the window, items of figures, timers and what we made for the window."""
    counts: Counter[str] = Counter()
    for child in window.findChildren(QObject):
        counts[child.metaObject().className()] += 1
        if isinstance(child, QGraphicsView) and child.scene() is not None:
            counts["items of figures"] += len(child.scene().items())
    for thing in gc.get_objects():
        if str(type(thing).__module__).startswith("runglass.gui"):
            counts[type(thing).__qualname__] += 1
        if isinstance(thing, QTimer) and isValid(thing):
            counts["timers"] += 1
    return counts


def test_that_a_pane_that_is_closed_is_gone_with_its_timers(window: MainWindow, qtbot: Any, tmp_path: Path) -> None:
    opened(window, qtbot, write_runs(tmp_path / "p"))
    before = alive(window)
    gone: dict[str, weakref.ref[Any]] = {}
    for identifier in ANALYSES:
        window.workspace.add_pane(Pane(identifier, "analysis", analysis=identifier))
    window.show_questions()
    settled(window, qtbot)
    for key in [pane.key for pane in window.workspace.session.panes]:
        content = window.area.content(key)
        assert content is not None
        if key != "curves":
            gone[key] = weakref.ref(content)
            if (view := getattr(content, "view", None)) is not None:
                gone[f"{key}: figure"] = weakref.ref(view.figure_view)
                gone[f"{key}: answer"] = weakref.ref(view.answer.result)
    assert len(gone) == 3 * len(ANALYSES) + 1
    del content, view
    for key in [pane.key for pane in window.workspace.session.panes if pane.key != "curves"]:
        window.workspace.close_pane(key)
    settled(window, qtbot)
    assert [key for key, reference in gone.items() if reference() is not None] == []
    after = alive(window)
    # Ticks are remembered by axis, a bounded number of them.
    more = {name: (before[name], count) for name, count in after.items() if count > before[name] and name != "Ticks"}
    assert more == {}
    assert not window.area.findChildren(QTabBar)


def test_that_the_same_gestures_again_leave_nothing_more(window: MainWindow, qtbot: Any, tmp_path: Path) -> None:
    opened(window, qtbot, write_runs(tmp_path / "p"))
    runs = list(window.workspace.now.all.runs)

    def gestures() -> None:
        change = window.workspace.change
        steps: list[Callable[[], Any]] = [
            lambda: change(theme="dark"),
            lambda: change(grouping=Grouping(keys=("folder",))),
            lambda: change(highlight=is_in("run", runs[:2])),
            lambda: change(ticked=frozenset(runs[:3])),
            lambda: change(grouping=Grouping(), highlight=None, ticked=None),
            lambda: window.workspace.add_pane(Pane("x", "analysis", analysis="health.spikes")),
            window.workspace.undo,
            window.workspace.redo,
            lambda: window.workspace.close_pane("x"),
            lambda: change(theme="light"),
        ]
        for step in steps:
            step()
            qtbot.wait(60)
            qtbot.waitUntil(lambda: not window.tasks.running, timeout=LONG)
        settled(window, qtbot)

    counts = []
    for _ in range(3):
        gestures()
        counts.append(alive(window))
    # Undo keeps sessions, and figures keep items for what they may show again: the first times may add, the third does not.
    assert {name: count for name, count in (counts[2] - counts[1]).items() if name != "Session"} == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="open files are listed in /proc")
def test_that_a_folder_that_is_closed_leaves_no_open_file_and_one_that_is_followed_none_either(
    window: MainWindow, qtbot: Any, tmp_path: Path
) -> None:
    first, second = write_runs(tmp_path / "first"), write_runs(tmp_path / "second", runs=2)

    def files() -> list[str]:
        found = []
        for number in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:
                continue
        return [file for file in found if file.startswith(str(tmp_path))]

    opened(window, qtbot, first)
    for step in range(60, 63):
        with open(first / "run_1" / "metrics.csv", "a") as file:
            file.write(f"{step},1.0\n")
        window.feed.refresh()
        settled(window, qtbot)
    assert len(window.workspace.now.all.runs["first/run_1"].curves["loss"]) == 63
    assert files() == []
    held = weakref.ref(window.workspace.now.all.runs["first/run_1"].curves["loss"])
    opened(window, qtbot, second)
    assert files() == []
    assert list(window.workspace.now.all.runs) == ["second/run_0", "second/run_1"]
    settled(window, qtbot)
    assert held() is None  # nor do the curves that were read stay


def test_that_closing_the_window_ends_all_threads_and_timers(window: MainWindow, qtbot: Any, tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "p")
    opened(window, qtbot, folder)
    with open(folder / "run_1" / "metrics.csv", "a") as file:
        file.write("60,1.0\n")
    window.feed.refresh()
    qtbot.waitUntil(lambda: window.feed._tail_timer.isActive(), timeout=LONG)
    window.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("task", "reader"))] == []
    # Those that were started once may be about to end.
    qtbot.waitUntil(lambda: not any(timer.isActive() for timer in window.findChildren(QTimer)), timeout=2_000)
    assert not gc.get_freeze_count()
