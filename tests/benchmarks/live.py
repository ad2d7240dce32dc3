"""Following runs that grow: how long an append takes to be painted, what that costs, and how long the window does not answer.

Run it on a quiet machine::

    QT_QPA_PLATFORM=offscreen python tests/benchmarks/live.py [--minutes 60] [--log FILE] [--json FILE]

Another process appends a point at a time to some of the runs, in real time; the main window follows all of them and shows those
that grow. Every point carries the time at which it was written, so that the first paint that holds it tells how long it took.
Limits: 250 ms until an append is painted, a quarter of a processor, 33 ms for a turn of the event loop.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import google_crc32c
import numpy as np
from taking_turns import Comparison, written

TAG = "train/loss"
_EVENTS = "events.out.tfevents.1700000000.host.1.0"
_APPEND_MS, _SHARE, _TURN_MS = 250.0, 25.0, 33.0
_VARIANTS = 20
"""Different beginnings of runs; a thousand times the same noise is no less work to read."""


# --- logs


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _checked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _record(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + _checked(length) + payload + _checked(payload)


def event(step: int, wall: float, value: float) -> bytes:
    """Give a record of an event file that holds one value of `TAG`."""
    name = TAG.encode()
    scalar = b"\x0a" + _varint(len(name)) + name + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + _varint(len(scalar)) + scalar
    payload = b"\x09" + struct.pack("<d", wall) + b"\x10" + _varint(step) + b"\x2a" + _varint(len(summary)) + summary
    return _record(payload)


def loss(step: int, noise: float) -> float:
    """Give a loss that falls, with noise."""
    return 1.0 / (1.0 + step) ** 0.3 + 0.02 * noise


def folder_of(number: int) -> str:
    """Give the folder of a run below what is opened."""
    return f"sweep_{number % 20:02d}/run_{number:04d}"


def write_runs(folder: Path, runs: int, points: int) -> None:
    """Write runs that were logged until now."""
    now = time.time()
    beginnings = []
    for variant in range(_VARIANTS):
        noise = np.random.default_rng(variant).standard_normal(points).tolist()
        head = _record(b"\x09" + struct.pack("<d", now - points) + b"\x1a\x0dbrain.Event:2")
        told = (event(step, now - points + step, loss(step, noise[step])) for step in range(points))
        beginnings.append(head + b"".join(told))
    for number in range(runs):
        home = folder / folder_of(number)
        home.mkdir(parents=True)
        (home / _EVENTS).write_bytes(beginnings[number % _VARIANTS])


def append(folder: Path, growing: int, rate: float, first: int) -> None:
    """Append to the first runs, in turn, until standard input is closed."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    noise = np.random.default_rng(1).standard_normal(1 << 16).tolist()
    files = [os.open(folder / folder_of(n) / _EVENTS, os.O_WRONLY | os.O_APPEND) for n in range(growing)]
    begun, done = time.monotonic(), 0
    while not ended.is_set():
        due = int((time.monotonic() - begun) * growing * rate)
        for count in range(done, due):
            step = first + count // growing
            os.write(files[count % growing], event(step, time.time(), loss(step, noise[count * 7919 % len(noise)])))
        done = due
        time.sleep(0.004)


# --- what is measured


class Latencies:
    """The milliseconds from each append to the first paint that holds it."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self.found: list[np.ndarray] = []

    def painted(self, panel: Any, window: Any) -> None:
        """Note what a panel shows now for the first time."""
        if not panel.curves.is_current:
            return
        now = time.time()
        runs = window.workspace.now.all.runs
        for line in panel.curves.marks:
            if line.faint_of or line.origin is None:
                continue
            key, points = line.origin.values[0], len(line.x)
            before = self._seen.get(key, 0)
            if points > before:
                self._seen[key] = points
                if before:
                    walls = runs[key].curves[TAG].wall_time[before:points]
                    self.found.append(1e3 * (now - walls))

    def taken(self) -> np.ndarray:
        """Give what was found since the last call."""
        found, self.found = self.found, []
        return np.concatenate(found) if found else np.zeros(0)


class Turns:
    """How long each turn of the event loop takes, in milliseconds of time and of the main thread's processor.

    A timer that is always due soon is only heard between turns: no turn is longer than the time between two of its signals.
    """

    EVERY_MS = 8

    def __init__(self, timer: Any) -> None:
        self._last = (time.perf_counter(), time.thread_time())
        self.found: list[tuple[float, float]] = []
        timer.timeout.connect(self._on_timer_timeout)
        timer.start(self.EVERY_MS)

    def _on_timer_timeout(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        self.found.append((1e3 * (now[0] - self._last[0]), 1e3 * (now[1] - self._last[1])))
        self._last = now

    def taken(self) -> np.ndarray:
        """Give what was found since the last call, shape (n, 2)."""
        found, self.found = self.found, []
        return np.array(found).reshape(-1, 2)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a stretch of time showed: milliseconds until an append was painted, shares of a processor in percent, milliseconds
    of a turn of the event loop (on the clock, and of the main thread's processor), megabytes, threads, open files, load.
    """

    seconds: float
    points: int
    append_median: float
    append_p99: float
    append_max: float
    share: float
    turn_p999: float
    turn_max: float
    own_turn_p999: float
    own_turn_max: float
    late_turns: int
    turns: int
    megabytes: float
    threads: int
    files: int
    load: float

    def text(self) -> str:
        """Say it in a line."""
        return (
            f"{self.points:8,} points  append {self.append_median:5.0f} median {self.append_p99:6.0f} p99 "
            f"{self.append_max:6.0f} max ms  {self.share:5.1f} %  turn {self.turn_p999:5.1f} p99.9 {self.turn_max:6.1f} max, "
            f"own {self.own_turn_p999:5.1f} {self.own_turn_max:6.1f} ms, {self.late_turns}/{self.turns} late  "
            f"{self.megabytes:6.0f} MB  {self.threads} threads {self.files} files  load {self.load:.1f}"
        )


def facts(seconds: float, cpu: float, appends: np.ndarray, turns: np.ndarray) -> Facts:
    """Put together what was measured in so many seconds that cost so many of the processor."""
    nothing = np.array([np.nan])
    late, clock, own = appends if len(appends) else nothing, *(turns.T if len(turns) else (nothing, nothing))
    here = Path("/proc/self")
    pages = int((here / "statm").read_text().split()[1]) if here.exists() else 0
    return Facts(
        seconds,
        len(appends),
        float(np.median(late)),
        float(np.quantile(late, 0.99)),
        float(late.max()),
        100 * cpu / seconds,
        float(np.quantile(clock, 0.999)),
        float(clock.max()),
        float(np.quantile(own, 0.999)),
        float(own.max()),
        int(np.count_nonzero(clock > _TURN_MS)),
        len(turns),
        pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        threading.active_count(),
        len(os.listdir("/proc/self/fd")) if here.exists() else 0,
        os.getloadavg()[0],
    )


def follow(folder: Path, shown: int, seconds: float, log: TextIO, warm_up: float) -> list[Facts]:
    """Follow what grows in the main window, all of whose panes are as they are at first; give the facts of each minute."""
    from PySide6.QtCore import Qt, QTimer
    from PySide6.QtWidgets import QApplication

    from runglass.gui.main_window import MainWindow
    from runglass.gui.render.panel_view import PanelView
    from runglass.gui.settings import Settings

    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    window = MainWindow(Settings(folder.parent / "settings.ini"))
    appends = Latencies()
    paint = PanelView.paint

    def noted(panel: PanelView, painter: Any) -> None:
        paint(panel, painter)
        appends.painted(panel, window)

    PanelView.paint = noted  # type: ignore[method-assign]
    window.show()
    window.feed.loaded.connect(
        lambda: window.workspace.change(
            ticked=frozenset(f"{folder.name}/{folder_of(number)}" for number in range(shown))
        )
    )
    window.open([str(folder)])
    told: list[Facts] = []
    everything: list[tuple[np.ndarray, np.ndarray]] = []
    beat = QTimer()
    beat.setTimerType(Qt.TimerType.PreciseTimer)
    turns = Turns(beat)
    marks: list[tuple[float, float]] = []

    def begin() -> None:
        appends.taken(), turns.taken()
        marks.append((time.perf_counter(), time.process_time()))
        minute.start(round(1000 * min(60.0, seconds)))
        end.start(round(1000 * seconds) + 50)

    def tell() -> None:
        now, cpu = time.perf_counter(), time.process_time()
        everything.append((appends.taken(), turns.taken()))
        told.append(facts(now - marks[-1][0], cpu - marks[-1][1], *everything[-1]))
        marks.append((now, cpu))
        print(f"{(now - marks[0][0]) / 60:5.1f} min  {told[-1].text()}", file=log, flush=True)

    minute, end, start = QTimer(), QTimer(), QTimer()
    minute.timeout.connect(tell)
    for timer, reached in ((end, app.quit), (start, begin)):
        timer.setSingleShot(True)
        timer.timeout.connect(reached)
    window.feed.loaded.connect(lambda: start.start(round(1000 * warm_up)))
    app.exec()
    PanelView.paint = paint  # type: ignore[method-assign]
    whole = facts(
        marks[-1][0] - marks[0][0],
        marks[-1][1] - marks[0][1],
        np.concatenate([one for one, _ in everything]),
        np.concatenate([one for _, one in everything]),
    )
    window.close()
    return [*told, whole]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="runs that are open")
    parser.add_argument("--growing", type=int, default=200, help="runs that grow")
    parser.add_argument("--shown", type=int, default=200, help="runs that grow and are drawn")
    parser.add_argument("--rate", type=float, default=10.0, help="points a second of each")
    parser.add_argument("--points", type=int, default=1000, help="points of each run before")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--warm-up", type=float, default=10.0, help="seconds after reading that are not counted")
    parser.add_argument("--log", type=Path, help="where each minute is told; standard output if not given")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--append", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.append:
        append(options.append, options.growing, options.rate, options.points)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "runs"
        write_runs(folder, options.runs, options.points)
        command = [sys.executable, __file__, "--append", str(folder)]
        for name in ("growing", "rate", "points"):
            command += [f"--{name}", str(getattr(options, name))]
        writer = subprocess.Popen(command, stdin=subprocess.PIPE)
        try:
            log = options.log.open("w") if options.log else sys.stdout
            shown = min(options.shown, options.growing)
            *_, whole = follow(folder, shown, 60 * options.minutes, log, options.warm_up)
            print(f"    whole  {whole.text()}", file=log, flush=True)
        finally:
            assert writer.stdin is not None
            writer.stdin.close()
            writer.wait()
    what = f"{options.growing} of {options.runs:,} runs grow, {shown} shown"
    nan = float("nan")
    rows = [
        Comparison(f"{what}: an append painted, median", "limit: 250 ms", 0, nan, nan, whole.append_median),
        Comparison(f"{what}: an append painted, 99 %", "limit: 250 ms", 0, nan, nan, whole.append_p99),
        Comparison(f"{what}: processor", "limit: a quarter", 0, nan, nan, whole.share, "%"),
        Comparison(f"{what}: longest turn", "limit: 33 ms", 0, nan, nan, whole.turn_max),
    ]
    limits = (_APPEND_MS, _APPEND_MS, _SHARE, _TURN_MS)
    written(
        [dataclasses.replace(row, ratio=limit / row.own) for row, limit in zip(rows, limits, strict=True)], options.json
    )


if __name__ == "__main__":
    main()
