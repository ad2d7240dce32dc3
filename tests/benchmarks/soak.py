"""A long life in minutes: panes of every kind open and close while runs grow, and what is left behind is counted.

Run it for as long as wanted::

    QT_QPA_PLATFORM=offscreen python tests/benchmarks/soak.py --minutes 20 [--log FILE] [--json FILE]

Each round opens analyses (the same few and, in turn, all others that the data can answer), the pane of questions and dialogs,
changes what is ticked, filtered, grouped and highlighted, the theme and options, takes it all back and again, exports figures
and closes everything. Then the state is that of the round before, and so should be all that is counted: memory, threads, open
files, Python objects of ours and of Qt, objects and timers in Qt, items of figures. What grew from round to round is named,
and the exit status is 1. A folder that is opened in place of another comes every fifth round.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import live
import numpy as np

STEADY = ("curve.smooth", "health.spikes", "compat.flips", "rank.kendall")
"""Analyses asked in every round, where there are such."""

_WARM_UP = 3
"""Rounds in which modules, fonts and pictures are loaded for the first time."""

_LEAST = 0.1
"""Seconds in which what was changed has been asked."""

_PATIENCE = 60.0
"""Seconds after which a round no longer waits for answers."""

Counts = Counter[str]


def settle(window: Any, seconds: float = _PATIENCE) -> bool:
    """Let events be handled until all that is shown was answered once; whether that came about in time.

    Runs grow all the while, so that there is always something to answer anew.
    """
    from PySide6.QtCore import QCoreApplication, QEvent

    from runglass.gui.panes.base import QuestionView

    begun = time.monotonic()
    while True:
        QCoreApplication.processEvents()
        time.sleep(0.02)
        passed = time.monotonic() - begun
        waiting = any(
            view.isVisible() and view.answer is None and view._is_computing
            for view in window.findChildren(QuestionView)
        )
        if passed > _LEAST and not waiting:
            break
        if passed > seconds:
            return False
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    QCoreApplication.processEvents()
    return True


def rest(window: Any, seconds: float = _PATIENCE) -> bool:
    """Let events be handled until nothing is being worked on; whether that came about in time. Nothing is followed then."""
    from PySide6.QtCore import QCoreApplication

    deadline, quiet = time.monotonic() + seconds, 0
    window.workspace.change(follow=False)
    while quiet < 8 and time.monotonic() < deadline:
        quiet = 0 if window.tasks.running else quiet + 1
        settle(window)
    window.housekeeping.set_aside()
    QCoreApplication.processEvents()
    return quiet >= 8


def counted() -> Counts:
    """Count what should be the same whenever the window is in the same state."""
    from PySide6.QtCore import QCoreApplication, QObject, QTimer
    from PySide6.QtGui import QPixmapCache
    from PySide6.QtWidgets import QApplication, QGraphicsView
    from shiboken6 import isValid

    QPixmapCache.clear()  # pictures of panels fill it up to its limit
    gc.unfreeze()
    for _ in range(3):
        gc.collect()
    counts: Counts = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        module = getattr(kind, "__module__", "")
        if isinstance(module, str) and module.startswith("runglass.gui"):
            counts[f"python {module.removeprefix('runglass.')}.{kind.__qualname__}"] += 1
        if isinstance(thing, QObject) and isValid(thing):
            counts["Qt objects that Python knows"] += 1
            if isinstance(thing, QTimer):
                counts["timers that Python knows"] += 1
                counts["timers that run"] += thing.isActive()
    app = QCoreApplication.instance()
    assert isinstance(app, QApplication)
    for widget in app.topLevelWidgets():
        for child in [widget, *widget.findChildren(QObject)]:
            counts[f"Qt {child.metaObject().className()}"] += 1
            if isinstance(child, QGraphicsView) and child.scene() is not None:
                counts["items of figures"] += len(child.scene().items())
    counts["threads of Python"] = threading.active_count()
    if Path("/proc/self").exists():
        counts["threads"] = len(os.listdir("/proc/self/task"))
        files = []
        for number in os.listdir("/proc/self/fd"):
            try:
                files.append(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:
                continue
        counts["open files"] = len(files)
        for file in files:
            counts[f"open {file if file.startswith('/') else file.split(':')[0]}"] += 1
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        counts["kilobytes of memory"] = pages * os.sysconf("SC_PAGE_SIZE") // 1024
    return counts


def grew(rounds: list[Counts]) -> dict[str, tuple[float, float]]:
    """Give what is more in all of the last third of the rounds than ever in the first third: the medians of the two.

    Memory is held against the second third: modules and what is remembered of analyses fill it in the first.
    """
    third = len(rounds) // 3
    if third < 1:
        return {}
    first, last = rounds[:third], rounds[-third:]
    found = {}
    for name in set().union(*rounds):
        earlier = rounds[third : 2 * third] if "memory" in name else first
        before, after = [one[name] for one in earlier], [one[name] for one in last]
        slack = 0.02 * max(before) if "memory" in name else 0
        if min(after) > max(before) + slack:
            found[name] = (float(np.median(before)), float(np.median(after)))
    return found


class Soak:
    """One window, and the rounds it is put through."""

    def __init__(self, window: Any, roots: list[str], other: str, exports: Path) -> None:
        from runglass.analysis import registry

        self.window = window
        self.roots, self.other = roots, other
        self.exports = exports
        self.number = 0
        self._catalogue = [one.id for one in registry.catalogue()]
        self._turn = 0
        self.answered: Counts = Counter()
        self.late: list[str] = []

    def open(self, roots: list[str]) -> None:
        """Open folders in place of what is open, and wait until they are read."""
        from PySide6.QtCore import QCoreApplication

        read: list[bool] = []
        connection = self.window.feed.loaded.connect(lambda: read.append(True))
        self.window.open(roots)
        deadline = time.monotonic() + _PATIENCE
        while not read and time.monotonic() < deadline:
            QCoreApplication.processEvents()
            time.sleep(0.01)
        self.window.feed.loaded.disconnect(connection)
        self.settle("reading")

    def settle(self, what: str) -> None:
        """Wait for answers; what comes too late is noted."""
        if not settle(self.window):
            self.late.append(f"round {self.number}: {what}")

    def some(self, count: int) -> Iterator[str]:
        """Give the next analyses that the open data can answer."""
        from runglass.analysis import registry

        store = self.window.workspace.now.kept
        for _ in range(len(self._catalogue)):
            identifier = self._catalogue[self._turn % len(self._catalogue)]
            self._turn += 1
            if not registry.analysis(identifier).question.missing(store):
                yield identifier
                count -= 1
                if not count:
                    return

    def round(self) -> None:
        """Do everything once, and come back to where it began."""
        self.number += 1
        workspace = self.window.workspace
        workspace.change(follow=True)
        steps: list[Callable[[], None]] = [self.panes, self.gestures, self.looks, self.dialogs]
        if self.number % 5 == 0:
            steps.append(self.elsewhere)
        for step in steps:
            step()
        for pane in [pane for pane in workspace.session.panes if pane.key != "curves"]:
            workspace.close_pane(pane.key)
        workspace.change(focus="curves")
        if not rest(self.window):
            self.late.append(f"round {self.number}: the end")

    def panes(self) -> None:
        """Open panes of every kind, change their options, export what they show, and close them."""
        from runglass.analysis import registry
        from runglass.analysis.report.export import export_figure
        from runglass.models.session import Pane

        workspace = self.window.workspace
        catalogue = set(self._catalogue)
        for identifier in [*(one for one in STEADY if one in catalogue), *self.some(4)]:
            key = workspace.free_key(identifier)
            workspace.add_pane(Pane(key, "analysis", analysis=identifier))
            self.settle(identifier)
            content = self.window.area.content(key)
            answer = getattr(content, "shown", None)
            self.answered["answered" if answer is not None else "refused"] += 1
            if answer is not None:
                for option in registry.analysis(identifier).question.options():
                    if isinstance(getattr(answer.question, option.name), bool):
                        workspace.change_question(key, **{option.name: not getattr(answer.question, option.name)})
                        break
                self.settle(identifier)
                for suffix in (".png", ".pdf")[self.number % 2 :][:1]:
                    export_figure(answer.figure, self.exports / f"figure{suffix}")
        self.window.show_questions()
        self.settle("questions")
        for pane in [pane for pane in workspace.session.panes if pane.key != "curves"]:
            workspace.close_pane(pane.key)
        self.settle("closing")

    def gestures(self) -> None:
        """Tick, group, filter and highlight, take it all back, do it again, and leave all as it was."""
        from runglass.models.selection import EVERYTHING, Holds, is_in
        from runglass.models.session import Grouping

        workspace = self.window.workspace
        before = workspace.session
        runs = list(workspace.now.all.runs)
        changes: list[dict[str, Any]] = [
            {"ticked": frozenset(runs[: 3 + self.number % 5])},
            {"highlight": is_in("run", runs[:2])},
            {"grouping": Grouping(keys=("folder",))},
            {"grouping": Grouping()},
            {"filter": Holds("run != 'none'")},
            {"filter": EVERYTHING, "highlight": None},
        ]
        for change in changes:
            workspace.change(**change)
            self.settle(str(change))
        for key in runs[:5]:
            workspace.hover(is_in("run", [key]))
        workspace.hover(None)
        for travel in [workspace.undo] * 4 + [workspace.redo] * 4:
            travel()
        self.settle("undo and redo")
        workspace.change(ticked=before.ticked, filter=before.filter, highlight=None, grouping=before.grouping)
        self.settle("as before")

    def looks(self) -> None:
        """Change the theme and zoom the cards."""
        workspace = self.window.workspace
        for theme in ("dark", "light"):
            workspace.change(theme=theme)
            self.settle(theme)
        for card in self.window.area.content("curves").cards:
            figure = card.view.figure_view
            for panel in figure.panels:
                figure.set_x_range(panel.x.column, panel.x.scale, 10.0, 50.0)
            figure.grab_image(1.0)
            figure.reset()
        self.window.toggle_side("bottom")
        self.settle("zoom")
        self.window.toggle_side("bottom")

    def dialogs(self) -> None:
        """Open and close what the menus open."""
        from PySide6.QtCore import QTimer
        from PySide6.QtWidgets import QApplication

        def close() -> None:
            dialog = QApplication.activeModalWidget()
            if dialog is not None:
                dialog.close()
            else:
                timer.start(50)

        timer = QTimer()
        timer.setSingleShot(True)
        timer.timeout.connect(close)
        for show in (self.window.export_current, self.window.show_help, self.window.write_report):
            timer.start(150)
            show()
            timer.stop()
            self.settle(show.__name__)
        for show in (self.window.show_guide, self.window.explain_current):
            before = set(QApplication.topLevelWidgets())
            show()
            self.settle(show.__name__)
            for widget in set(QApplication.topLevelWidgets()) - before:
                widget.close()
        timer.timeout.disconnect(close)
        self.settle("dialogs")

    def elsewhere(self) -> None:
        """Open another folder in place of what is open, then come back."""
        self.open([self.other])
        self.open(self.roots)


def told(number: int, seconds: float, counts: Counts, before: Counts) -> str:
    """Say how a round went in a line."""
    names = ("kilobytes of memory", "threads", "open files", "timers that Python knows", "timers that run")
    names += ("Qt objects that Python knows", "items of figures")
    own = sum(count for name, count in counts.items() if name.startswith("python "))
    of_qt = sum(count for name, count in counts.items() if name.startswith("Qt Q"))
    values = [*(counts[name] for name in names), own, of_qt]
    heads = ("KB", "threads", "files", "timers", "running", "wrapped", "items", "ours", "in Qt")
    line = "  ".join(f"{value:,} {head}" for value, head in zip(values, heads, strict=True))
    more = {name: count - before[name] for name, count in counts.items() if before and count != before[name]}
    more = {name: difference for name, difference in more.items() if "memory" not in name}
    return f"round {number:3} {seconds:5.1f} s  {line}  {more or ''}"


def soak(minutes: float, pause: float, log: TextIO) -> tuple[dict[str, tuple[float, float]], dict[str, Any]]:
    """Go through rounds for some minutes; give what grew, and what was counted."""
    from PySide6.QtWidgets import QApplication

    from runglass import resources
    from runglass.gui.main_window import MainWindow
    from runglass.gui.settings import Settings

    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "runs"
        live.write_runs(folder, 40, 300)
        command = [
            sys.executable,
            live.__file__,
            "--append",
            str(folder),
            "--growing",
            "10",
            "--points",
            "300",
            "--rate",
            "2",
        ]
        writer = subprocess.Popen(command, stdin=subprocess.PIPE)
        window = MainWindow(Settings(Path(scratch) / "settings.ini"), autosave=Path(scratch) / "autosave.json")
        window.resize(1400, 900)
        window.show()
        life = Soak(window, [str(folder), str(resources.demo_folder())], str(folder / "sweep_00"), Path(scratch))
        life.open(life.roots)
        everything: list[Counts] = []
        before: Counts = Counter()
        deadline = time.monotonic() + 60 * minutes
        try:
            while time.monotonic() < deadline or len(everything) < _WARM_UP + 3:
                begun = time.monotonic()
                life.round()
                window.workspace.change(follow=True)
                while time.monotonic() < begun + pause:
                    settle(window)
                rest(window)
                counts = counted()
                everything.append(counts)
                print(told(life.number, time.monotonic() - begun, counts, before), file=log, flush=True)
                before = counts
        finally:
            window.close()
            assert writer.stdin is not None
            writer.stdin.close()
            writer.wait()
        left = {thread.name for thread in threading.enumerate()} - {threading.main_thread().name}
    more = grew(everything[_WARM_UP:])
    facts = {"rounds": len(everything), "answers": dict(life.answered), "late": life.late, "threads left": sorted(left)}
    return more, facts | {"counts": [dict(one) for one in everything]}


def main() -> int:
    """Soak, and say what grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument(
        "--pause", type=float, default=20.0, help="seconds of a round, at least: what is left runs are followed"
    )
    parser.add_argument("--log", type=Path, help="where each round is told; standard output if not given")
    parser.add_argument("--json", type=Path, help="where to write all counts")
    options = parser.parse_args()
    log = options.log.open("w") if options.log else sys.stdout
    more, facts = soak(options.minutes, options.pause, log)
    said = {name: fact for name, fact in facts.items() if name != "counts"}
    print("what grew:" if more else "Nothing grew.", file=log)
    for name, (first, last) in sorted(more.items()):
        print(f"  {name}: {first:,.0f} -> {last:,.0f}", file=log)
    print(said, file=log, flush=True)
    if options.json:
        options.json.write_text(json.dumps(facts | {"grew": more}, indent=1) + "\n")
    return int(bool(more) or bool(facts["threads left"]))


if __name__ == "__main__":
    sys.exit(main())
