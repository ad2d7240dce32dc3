"""What the window holds: the memory of a hundred million points, looks at one tag of all runs, and 5,000 runs in the tree.

Run it alone on a quiet machine::

    QT_QPA_PLATFORM=offscreen python tests/benchmarks/hold.py [--points 1e8] [--runs 200] [--tree 5000] [--json FILE]

The points are made, not read: runs of ten tags whose step and wall time the tags of a run share, as readers give them. They are
opened in the real window, whose cards are then painted whole and moved. Times are those of the main thread. Limits in place of
peers: 8 bytes a point, 10 ms for one tag of all runs, 50 ms for a filter that is typed.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtWidgets import QApplication
from taking_turns import Comparison, written

from runglass.gui.main_window import MainWindow
from runglass.gui.settings import Settings
from runglass.models.selection import EVERYTHING, Holds
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, Event, RunFacts

TAGS = ("train/loss", "val/loss", "train/acc", "val/acc", "lr", "grad_norm", "a", "b", "c", "d")
NAN = float("nan")


def resident() -> float:
    """Give the bytes of memory this process holds now; NaN where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return NAN
    return float(pages) * os.sysconf("SC_PAGE_SIZE")


def fact(what: str, own: float, unit: str, limit: float | None = None) -> Comparison:
    """Give a number of ours beside its limit, of which it is a part."""
    if limit is None:
        return Comparison(what, "", NAN, NAN, NAN, own, unit)
    return Comparison(what, f"limit: {limit:g} {unit}", limit / own, NAN, NAN, own, unit)


def logged(points: int, runs: int) -> RunStore:
    """Give runs of ten tags with so many points in all, values as they are logged."""
    steps = points // (runs * len(TAGS))
    events: list[Event] = []
    for number in range(runs):
        chance = np.random.default_rng(number)
        step = np.arange(steps)
        trend = (1 / np.sqrt(1 + step / 50)).astype(np.float32)
        tags = {tag: trend + 0.05 * chance.random(steps, dtype=np.float32) for tag in TAGS}
        events.append(CurvePiece(f"sweep_{number % 20}/seed_{number}", step, tags, 1.7e9 + step * 0.5))
    return RunStore().adding(events)


class Window:
    """The real window on a store."""

    def __init__(self, folder: Path) -> None:
        self.app = QApplication.instance() or QApplication([])
        self.window = MainWindow(Settings(folder / "settings.ini"))
        self.window.resize(1440, 900)
        self.window.show()

    def open(self, store: RunStore) -> None:
        """Show a store as if it had been read."""
        workspace = self.window.workspace
        workspace.replace(dataclasses.replace(workspace.session, roots=("/",), health=False, follow=False))
        store.rows("runs")
        workspace.set_store(store)

    def wait(self, until: Callable[[], bool], seconds: float = 120.0) -> None:
        """Turn the event loop until something is so."""
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.001)

    @property
    def panels(self) -> list[object]:
        """The panels of the cards in view."""
        content = self.window.area.content("curves")
        cards = [card for card in content.cards if not card.visibleRegion().isEmpty()]  # type: ignore[union-attr]
        return [panel for card in cards if card.view.answer is not None for panel in card.view.figure_view.panels]

    def is_painted(self) -> bool:
        """Whether all cards in view show their answer, painted whole."""
        content = self.window.area.content("curves")
        cards = [card for card in content.cards if not card.visibleRegion().isEmpty()]  # type: ignore[union-attr]
        return (
            bool(cards)
            and not any(state.slot.startswith("card:") for state in self.window.tasks.running)
            and all(card.view.answer is not None for card in cards)
            and all(panel.curves.is_current for panel in self.panels)  # type: ignore[attr-defined]
        )

    def longest_turn(self, act: Callable[[], object], seconds: float) -> float:
        """Give the milliseconds of the main thread's processor of an act, or of the longest turn after it."""
        started = time.thread_time()
        act()
        longest = time.thread_time() - started
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            started = time.thread_time()
            self.app.processEvents()
            longest = max(longest, time.thread_time() - started)
            time.sleep(0.001)
        return 1e3 * longest


def many_points(points: int, runs: int, folder: Path) -> list[Comparison]:
    """Open many points in the window: memory, a look at one tag, painting, and moving."""
    host = Window(folder)
    host.wait(lambda: False, 0.5)
    before = resident()
    store = logged(points, runs)
    held = resident() - before
    looks = []
    for _ in range(20):
        started = time.perf_counter()
        curves = [curve for _, curve in store.curves("val/loss")]
        looks.append(time.perf_counter() - started)
    assert len(curves) == runs
    started = time.perf_counter()
    host.open(store)
    host.window.workspace.change(ticked=frozenset(store.runs))
    host.wait(lambda: not host.window.tasks.running, 1.0)
    host.wait(host.is_painted)
    assert host.is_painted()
    painted = time.perf_counter() - started
    view = next(card.view for card in host.window.area.content("curves").cards if card.view.answer is not None)  # type: ignore[union-attr]
    last = points / (runs * len(TAGS))
    turns = []
    for number in range(20):
        low = last * (0.3 + 0.01 * number)

        def move(low: float = low) -> None:
            view.figure_view.set_x_range("step", "linear", low, low + last / 10)

        turns.append(host.longest_turn(move, 0.2))
    size = f"{points / 1e6:g} million points"
    told = [
        fact(f"{size}, held", held / points, "bytes a point", 8),
        fact(f"{size}, one tag of {runs} runs", 1e3 * float(np.median(looks)), "ms", 10),
        fact(f"{size}, all runs ticked: cards painted whole after", painted, "s"),
        fact(f"{size}, one card moved: longest turn, median", float(np.median(turns)), "ms"),
        fact(f"{size}, memory of the process with its window", resident() / 2**20, "MB"),
    ]
    host.window.close()
    return told


def many_runs(runs: int, folder: Path) -> list[Comparison]:
    """Type filters over many runs in the window."""
    host = Window(folder)
    step = np.arange(50)
    events: list[Event] = []
    for number in range(runs):
        key = f"sweep_{number % 40:02d}/lr_{number % 7}e-4/seed_{number}"
        values = np.random.default_rng(number).random(50, dtype=np.float32)
        events += [
            RunFacts(key, config={"seed": number % 5, "lr": number % 7 * 1e-4}),
            CurvePiece(key, step, {"loss": values}),
        ]
    host.open(RunStore().adding(events))
    host.window.workspace.change(ticked=frozenset(list(host.window.workspace.now.all.runs)[:20]))
    host.wait(lambda: False, 3)
    change = host.window.workspace.change
    host.longest_turn(lambda: change(run_filter="x"), 0.5)  # what is imported at the first filter
    patterns = ("s", "sw", "sweep_1", r"sweep_1\d", r"sweep_1\d/.*seed_\d*7$", "")
    typed = [host.longest_turn(lambda pattern=pattern: change(run_filter=pattern), 0.6) for pattern in patterns]
    conditions = ("seed == 1", "lr > 0.0002 and seed < 3")
    kept = [host.longest_turn(lambda text=text: change(filter=Holds(text)), 0.6) for text in conditions]
    change(filter=EVERYTHING)
    host.wait(lambda: False, 0.5)
    restyled = [host.longest_turn(lambda theme=theme: change(theme=theme), 0.6) for theme in ("dark", "light", "dark")]
    told = [
        fact(f"{runs:,} runs, a regular expression typed: longest turn", max(typed), "ms", 50),
        fact(f"{runs:,} runs, a condition on settings: longest turn", max(kept), "ms"),
        fact(f"{runs:,} runs, another theme: longest turn, median", float(np.median(restyled)), "ms"),
    ]
    host.window.close()
    return told


def main() -> None:
    """Measure, and print numbers beside their limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=float, default=1e8)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--tree", type=int, default=5_000, help="runs in the tree while filters are typed")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = many_runs(options.tree, Path(folder)) + many_points(round(options.points), options.runs, Path(folder))
    for one in told:
        limit = f"   ({one.peer})" if one.peer else ""
        print(f"{one.what}: {one.own:,.1f} {one.unit}{limit}")
    written(told, options.json)
    sys.stdout.flush()
    os._exit(0)  # worker threads of the window are not waited for


if __name__ == "__main__":
    main()
