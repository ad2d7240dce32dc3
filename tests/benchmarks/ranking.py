"""Kendall's tau-b for all pairs of columns, and its bootstrap, against scipy one by one and pandas: ratios in one run.

Run it alone on a quiet machine::

    python tests/benchmarks/ranking.py [--draws 1000] [--json FILE]

scipy's loops are timed over one column against all, and scaled to all pairs and draws. All use one core: the peers know no
other way, and on a shared machine threads of the matrix products wait for one another.

The slider is that of the coverage of intervals, in the real window on a table of 20 tasks: from its move until the figure, the
numbers and the table beside it are painted, processor time of all threads. What it is held against computes tau-b of the same
table once more, without intervals and without a picture.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from itertools import cycle
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pandas as pd
from scipy.stats import kendalltau
from taking_turns import Comparison, compared, milliseconds, seconds_of, written

from runglass.analysis.rank_correlation import PairOrders, kendall_matrix

CHECKPOINTS, MODELS = 200, 100
TASKS, STEPS, SIZES = 20, 27, 16
"""Tasks, checkpoints and models of the table in the window: those of Pythia's evaluations, but for its many tasks."""


def slider_moves() -> list[Comparison]:
    """Compare moves of a slider in the window with computing tau-b of the same table again."""
    from PySide6.QtCore import QEventLoop, QTimer
    from PySide6.QtWidgets import QApplication, QSlider

    from runglass.gui.main_window import MainWindow
    from runglass.gui.settings import Settings
    from runglass.models.session import Pane

    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    values = np.random.default_rng(0).normal(size=(TASKS, SIZES, STEPS)) + np.arange(SIZES)[:, None] / 4
    task, model, step = (index.ravel() for index in np.indices(values.shape))
    rows = {"task": [f"t{i}" for i in task], "model": [f"m{i}" for i in model], "step": step * 1000, "metric": "acc"}
    with tempfile.TemporaryDirectory() as folder:
        pd.DataFrame(rows | {"value": values.ravel()}).to_csv(Path(folder) / "scores.csv", index=False)
        window = MainWindow(Settings(Path(folder) / "settings.ini"))
        window.resize(1440, 900)
        window.show()
        window.open([folder])
        loop = QEventLoop()

        def settled() -> None:
            if not window.tasks.running:
                QTimer.singleShot(0, loop.quit)

        window.tasks.changed.connect(settled)

        def settle() -> None:
            if window.tasks.running:
                loop.exec()
            for _ in range(3):
                app.processEvents()

        while not window.feed.seconds:
            app.processEvents()
            time.sleep(0.01)
        settle()
        window.workspace.change(panes=(Pane("p", "analysis", "rank.kendall", {}, ""),), focus="p")
        settle()
        slider = next(one for one in window.inspector.findChildren(QSlider) if one.accessibleName() == "level")
        places = cycle(range(600, 960, 7))

        def moved() -> None:
            slider.setValue(next(places))
            settle()

        frames = [pd.DataFrame(one) for one in values]
        seconds = seconds_of(
            {
                "window": moved,
                "scipy": lambda: [kendalltau(one[:, j], one[:, -1]) for one in values for j in range(STEPS)],
                "pandas": lambda: [frame.corr(method="kendall") for frame in frames],
            },
            clock=time.process_time,
        )
        window.close()
    what = f"slider move in the window, {TASKS} tasks x {SIZES} models x {STEPS} checkpoints"
    return [
        compared(what, "scipy, tau-b with the last checkpoint", seconds["scipy"], seconds["window"]),
        compared(what, "pandas, tau-b of all pairs", seconds["pandas"], seconds["window"]),
    ]


def main() -> None:
    """Check that all agree, then print ratios of times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="draws of the bootstrap (default: 1000)")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    scores = np.round(generator.normal(size=(MODELS, CHECKPOINTS)), 2)
    counts = generator.multinomial(MODELS, np.full(MODELS, 1 / MODELS), size=options.draws)
    frame = pd.DataFrame(scores)
    np.testing.assert_allclose(kendall_matrix(scores), frame.corr(method="kendall"), atol=1e-12)
    drawn = PairOrders.of(scores).against_in_draws(CHECKPOINTS - 1, counts)
    resampled = np.repeat(scores, counts[0], axis=0)
    expected = [kendalltau(resampled[:, j], resampled[:, -1]).statistic for j in range(CHECKPOINTS)]
    np.testing.assert_allclose(drawn[0], expected, atol=1e-12)

    times = seconds_of(
        {
            "all pairs": lambda: kendall_matrix(scores),
            "pandas": lambda: frame.corr(method="kendall"),
            "scipy": lambda: [kendalltau(scores[:, j], scores[:, -1]) for j in range(CHECKPOINTS)],
            "bootstrap": lambda: PairOrders.of(scores).against_in_draws(CHECKPOINTS - 1, counts),
            "scipy of a resample": lambda: [kendalltau(resampled[:, j], resampled[:, -1]) for j in range(CHECKPOINTS)],
        }
    )
    pairs = (CHECKPOINTS - 1) / 2
    all_pairs = f"tau-b of all pairs of {CHECKPOINTS} columns x {MODELS} models"
    bootstrap = f"bootstrap of tau-b, {options.draws} draws, each column against the last"
    told = [
        compared(all_pairs, "scipy, pair by pair", times["scipy"], times["all pairs"], pairs),
        compared(all_pairs, "pandas corr", times["pandas"], times["all pairs"]),
        compared(bootstrap, "scipy, pair by pair", times["scipy of a resample"], times["bootstrap"], options.draws),
    ]
    print(f"{all_pairs}: {milliseconds(times['all pairs'])}", told[0].text(), told[1].text(), sep="\n")
    print(f"{bootstrap}: {milliseconds(times['bootstrap'])}", told[2].text(), sep="\n")
    moves = slider_moves()
    print(f"{moves[0].what}: {moves[0].own:.1f} ms of processor time", *(one.text() for one in moves), sep="\n")
    written([*told, *moves], options.json)


if __name__ == "__main__":
    main()
