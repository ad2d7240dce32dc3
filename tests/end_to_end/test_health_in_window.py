"""Training health, from a file on disk to the marks in the real window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runglass.gui.main_window import MainWindow
from runglass.gui.panes.curves import CurvesPane
from runglass.gui.settings import Settings
from runglass.models.figure import Points

LONG = 30_000


def rows(first: int, end: int, *spikes: int) -> str:
    noise = np.random.default_rng(first).normal(0, 0.01, end - first)
    values = [4 - step / 200 + noise[step - first] + 3 * (step in spikes) for step in range(first, end)]
    return "".join(f"{step},{value:.6f}\n" for step, value in enumerate(values, start=first))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, spikes in (("calm", ()), ("jumpy", (250,))):
        (tmp_path / "project" / name).mkdir(parents=True)
        (tmp_path / "project" / name / "metrics.csv").write_text("step,loss\n" + rows(0, 400, *spikes))
    return tmp_path / "project"


@pytest.fixture
def window(qtbot: Any, tmp_path: Path, project: Path) -> Iterator[MainWindow]:
    window = MainWindow(Settings(tmp_path / "settings.ini"))
    window.resize(1280, 800)
    window.show()
    qtbot.addWidget(window)
    window.workspace.change(follow=False)
    window.open([str(project)])
    qtbot.waitUntil(lambda: bool(window.health.marks("project/jumpy")), timeout=LONG)
    yield window
    window.close()


def marked(window: MainWindow) -> list[float]:
    """Steps of the spikes marked on the card."""
    pane = window.area.content("curves")
    assert isinstance(pane, CurvesPane)
    answer = pane.cards[0].view.answer if pane.cards else None
    if answer is None:
        return []
    marks = [mark for _, mark in answer.figure.marks() if isinstance(mark, Points)]
    return sorted(step for mark in marks for step in mark.x.tolist())


def signs(window: MainWindow, run: str) -> int:
    face = window.runs.tree.tree_model.face
    return len(face.marks(window.runs.tree.tree_model.tree.paths.index(run)))


def test_that_a_spike_is_marked_in_the_tree_and_on_the_curve_and_can_be_switched_off(
    window: MainWindow, qtbot: Any
) -> None:
    qtbot.waitUntil(lambda: marked(window) == [250], timeout=LONG)
    assert (signs(window, "project/jumpy"), signs(window, "project/calm")) == (1, 0)
    window.menus.health.trigger()
    assert not window.workspace.session.health
    qtbot.waitUntil(lambda: marked(window) == [], timeout=LONG)
    assert signs(window, "project/jumpy") == 0
    window.workspace.undo()
    assert window.menus.health.isChecked()
    assert signs(window, "project/jumpy") == 1


def test_that_a_spike_that_is_logged_later_is_marked(window: MainWindow, qtbot: Any, project: Path) -> None:
    with (project / "calm" / "metrics.csv").open("a") as file:
        file.write(rows(400, 460, 430))
    window.feed.refresh()
    qtbot.waitUntil(lambda: [mark.step for mark in window.health.marks("project/calm")] == [430], timeout=LONG)
    qtbot.waitUntil(lambda: marked(window) == [250, 430], timeout=LONG)
    assert signs(window, "project/calm") == 1
