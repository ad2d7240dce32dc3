"""The window: frames while curves are moved, what a point costs to hold, and looks at many runs.

Run it alone on a quiet machine::

    QT_QPA_PLATFORM=offscreen python tests/benchmarks/window.py [--json FILE] [--points 1e5] [--curves 20 200] [--rounds 5]
        [--only frames storage runs] [--matplotlib]

Times are processor times, of all threads. Peers: curves of pyqtgraph at its best (clipped
to the view, thinned out to peaks, no check for NaN) and of matplotlib (Agg, all else as it comes); tables of pandas. Curves are
noisy and decay. A frame of ours is "answered" when the old image stands where it now belongs, and "whole" when all curves are
painted anew; the latter also without the compiled kernels.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pandas as pd
import pyqtgraph as pg
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PySide6.QtWidgets import QApplication, QGraphicsView
from taking_turns import Comparison, compared, seconds_of, written

from runglass.gui.render.figure_view import FigureView
from runglass.gui.theme import appearance
from runglass.models import kernels
from runglass.models.figure import Axis, FigureSpec, Line, Panel
from runglass.models.loader import load
from runglass.models.run_tree import found_keys
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece

_PARTS = ("storage", "runs", "frames")


def frames(curves: int, points: int, rounds: int, *, matplotlib: bool) -> list[Comparison]:
    """Compare frames while a window of all steps, and one of a tenth of them, moves over curves."""
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    appearance().apply("light")
    x = np.arange(points, dtype=float)
    share = np.linspace(0, 1, points)
    random = np.random.default_rng(0)
    lines = np.empty((curves, points))
    for line in lines:
        line[:] = random.standard_normal(points, np.float32)
        line *= 0.12
        line += np.exp(-share * random.uniform(1, 8))
    ours = FigureView()
    theirs = pg.PlotWidget()
    for widget in (ours, theirs):
        widget.resize(1600, 900)
        widget.show()
    marks = tuple(Line(key=str(number), x=x, y=y) for number, y in enumerate(lines))
    ours.show_spec(FigureSpec(panels=(Panel(key="p", x=Axis(column="step"), y=Axis(), marks=marks),)))
    for y in lines:
        curve = theirs.plot(x, y, pen=pg.mkPen("b", width=1), skipFiniteCheck=True)
        curve.setClipToView(True)
        curve.setDownsampling(auto=True, method="peak")
    theirs.setYRange(lines.min(), lines.max())
    app.processEvents()
    panel, canvas = ours.panels[0], ours.findChild(QGraphicsView)
    assert canvas is not None
    panel.curves.finish()
    moved = 0
    breadth = 1.0

    def window() -> tuple[float, float]:
        nonlocal moved
        moved += 1
        low = 0.3 * points * (breadth < 1) + 0.001 * breadth * points * (moved % 400)
        return low, low + breadth * points

    def answer() -> None:
        ours.set_x_range("step", "linear", *window())
        canvas.viewport().repaint()

    def make_whole() -> None:
        answer()
        panel.curves.finish()
        canvas.viewport().repaint()

    def make_whole_by_numpy() -> None:
        compiled, kernels._in_use = kernels._in_use, None
        make_whole()
        kernels._in_use = compiled

    def paint_peer() -> None:
        theirs.setXRange(*window(), padding=0)
        theirs.viewport().repaint()

    figure = Figure(figsize=(16, 9), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    if matplotlib:
        for y in lines:
            axes.plot(x, y, linewidth=0.72)

    def paint_matplotlib() -> None:
        axes.set_xlim(*window())
        figure.canvas.draw()

    told = []
    for share_seen, steps in ((1.0, "all steps"), (0.1, "a tenth of the steps")):
        breadth = share_seen
        functions: dict[str, Callable[[], object]] = {"whole": make_whole, "numpy": make_whole_by_numpy}
        times = seconds_of({**functions, "pyqtgraph": paint_peer}, rounds, time.process_time)
        times["matplotlib"] = (
            seconds_of({"draw": paint_matplotlib}, 1, time.process_time)["draw"] if matplotlib else None
        )
        make_whole()
        # Many: one of them is too quick for the clock.
        answered = (
            seconds_of({"answered": lambda: [answer() for _ in range(20)]}, rounds, time.process_time)["answered"] / 20
        )
        size = f"{curves} curves x {points:,} points, {steps}"
        told.append(compared(f"a frame of {size}, answered", "pyqtgraph at its best", times["pyqtgraph"], answered))
        told.append(compared(f"a frame of {size}, whole", "pyqtgraph at its best", times["pyqtgraph"], times["whole"]))
        told.append(compared(f"a frame of {size}, whole", "ours without a compiler", times["numpy"], times["whole"]))
        if matplotlib:
            told.append(compared(f"a frame of {size}, whole", "matplotlib", times["matplotlib"], times["whole"]))
    ours.close()
    theirs.close()
    return told


def storage() -> list[Comparison]:
    """Compare the bytes a point takes with those of a table of rows that names runs and tags by category."""
    sys.path.insert(0, str(Path(__file__).parent / "readers"))
    import written_logs

    with tempfile.TemporaryDirectory() as folder:
        points = written_logs.write_regular(Path(folder), 1 << 20, "simple")
        store = load([folder])
    assert store.points == points
    buffers: dict[int, int] = {}
    for run in store.runs.values():
        for curve in run.curves.values():
            for array in (curve.step, curve.value, curve.wall_time):
                while array is not None and isinstance(array.base, np.ndarray):
                    array = array.base
                if array is not None:
                    buffers[id(array)] = array.nbytes
    own = sum(buffers.values()) / points
    frame = store.rows("scalars")
    theirs = float(frame.memory_usage(deep=True, index=False).sum()) / len(frame)
    nan = float("nan")
    return [Comparison("bytes a point of event files", "pandas rows", theirs / own, nan, nan, own, "bytes")]


def many_runs(rounds: int) -> list[Comparison]:
    """Compare the filter by a regular expression over 5,000 runs, and the view of one tag over 1,000."""
    keys = [f"sweep_{n % 40}/lr_{n % 7}e-4/seed_{n}" for n in range(5_000)]
    series = pd.Series(keys)
    pattern = r"sweep_1\d/.*seed_\d*7$"
    assert found_keys(keys, pattern) == list(series[series.str.contains(pattern)])
    step = np.arange(200)
    tags = [f"tag_{n}" for n in range(5)]
    pieces = [
        CurvePiece(f"run_{n}", step, {tag: np.random.default_rng(n).random(200, dtype=np.float32) for tag in tags})
        for n in range(1_000)
    ]
    store = RunStore().adding(pieces)
    frame = store.rows("scalars")

    def by_pandas() -> dict[str, pd.DataFrame]:
        return dict(iter(frame[frame["tag"] == "tag_3"].groupby("run", observed=True)))

    assert {run.key for run, _ in store.curves("tag_3")} == set(by_pandas())
    functions: dict[str, Callable[[], object]] = {
        "filter": lambda: found_keys(keys, pattern),
        "filter by pandas": lambda: series[series.str.contains(pattern)],
        "view": lambda: list(store.curves("tag_3")),
        "view by pandas": by_pandas,
    }
    times = seconds_of(functions, rounds, time.process_time)
    return [
        compared(
            "regular expression over 5,000 runs", "pandas str.contains", times["filter by pandas"], times["filter"]
        ),
        compared("one tag of 1,000 runs", "pandas groupby", times["view by pandas"], times["view"]),
    ]


def main() -> None:
    """Compare, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=float, default=1e5, help="points of a curve (default: 1e5)")
    parser.add_argument("--curves", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", choices=_PARTS, default=list(_PARTS), help="what to compare (default: all)"
    )
    parser.add_argument("--matplotlib", action="store_true", help="draw frames with matplotlib, too, which takes long")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    options = parser.parse_args()
    told: list[Comparison] = []
    if "storage" in options.only:
        told += storage()
    if "runs" in options.only:
        told += many_runs(options.rounds)
    for curves in options.curves if "frames" in options.only else ():
        told += frames(curves, int(options.points), options.rounds, matplotlib=options.matplotlib)
    what = ""
    for one in told:
        if one.what != what:
            what = one.what
            print(f"{what}: {one.own:.1f} {one.unit}")
        print(one.text())
    written(told, options.json)


if __name__ == "__main__":
    main()
