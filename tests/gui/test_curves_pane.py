"""The cards of curves: what they share, and what they export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPointF

from runglass.gui.panes.curves import CurveCard, CurvesPane, current_answer
from runglass.gui.tasks import TaskRunner
from runglass.gui.workspace import Workspace
from runglass.models.selection import is_in
from runglass.models.session import Session
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts

STEPS = np.arange(0, 1000, 10)


@pytest.fixture
def pane(qtbot: Any) -> Iterator[CurvesPane]:
    store = RunStore().adding(
        [
            event
            for seed in range(3)
            for event in (
                RunFacts(f"r/{seed}", config={"seed": seed}),
                CurvePiece(f"r/{seed}", STEPS, {tag: np.exp(-STEPS / 300) + seed for tag in ("loss", "accuracy")}),
            )
        ]
    )
    workspace, tasks = Workspace(Session(), store), TaskRunner()
    pane = CurvesPane(workspace, tasks)
    qtbot.addWidget(pane)
    pane.resize(700, 900)
    pane.show()
    qtbot.waitUntil(lambda: len(pane.cards) == 2 and all(card.view.answer for card in pane.cards), timeout=10_000)
    yield pane
    tasks.stop()


def hover(card: CurveCard, x: float) -> None:
    panel = card.view.figure_view.panels[0]
    panel.on_hover(QPointF(float(panel.viewport.x(x)), 30.0))


def places(pane: CurvesPane, of: Callable[[Any], float | None]) -> list[float | None]:
    """Give a place in pixels of each card in data units."""
    found = [(panel.viewport, of(panel.overlay)) for card in pane.cards for panel in card.view.figure_view.panels]
    return [None if at is None else round(viewport.x_at(at)) for viewport, at in found]


def test_that_the_cursor_is_at_the_same_x_in_all_cards_and_the_table_in_the_one_under_the_mouse(
    pane: CurvesPane,
) -> None:
    hover(pane.cards[1], 501.0)
    assert places(pane, lambda overlay: overlay.cursor) == [500, 500]
    tables = [card.view.figure_view.panels[0].overlay.reading for card in pane.cards]
    assert tables[0] is None
    assert tables[1] is not None
    assert len(tables[1].rows) == 3


def test_that_a_pinned_cursor_and_the_order_of_the_table_are_those_of_all_cards(pane: CurvesPane) -> None:
    first, second = pane.cards
    hover(first, 200.0)
    first.view.figure_view.toggle_pin()
    first.view.figure_view.sort_otherwise()
    assert places(pane, lambda overlay: overlay.pin) == [200, 200]
    hover(second, 400.0)
    reading = second.view.figure_view.panels[0].overlay.reading
    assert reading is not None
    assert (reading.title, reading.footer) == ("step 400 (+200)", "by name")
    second.view.figure_view.toggle_pin()
    assert places(pane, lambda overlay: overlay.pin) == [None, None]


def test_that_zooming_one_card_zooms_the_other_and_what_is_exported(pane: CurvesPane) -> None:
    first, second = pane.cards
    figure = first.view.figure_view
    figure.on_zoomed(figure.panels[0], (200.0, 400.0), None)
    assert second.view.figure_view.panels[0].x_window == pytest.approx((200.0, 400.0))
    shown = current_answer(pane)
    assert shown is not None
    assert first.view.answer is not None
    assert (shown.figure.panels[0].x.low, shown.figure.panels[0].x.high) == pytest.approx((200.0, 400.0))
    assert first.view.answer.figure.panels[0].x.low is None


def test_that_a_card_out_of_view_is_filled_when_it_comes_into_view_and_is_then_like_the_others(qtbot: Any) -> None:
    tags = [f"metric_{number:02}" for number in range(30)]
    store = RunStore().adding(
        [event for run in "ab" for event in (RunFacts(run), CurvePiece(run, STEPS, dict.fromkeys(tags, STEPS * 1.0)))]
    )
    workspace, tasks = Workspace(Session(), store), TaskRunner()
    pane = CurvesPane(workspace, tasks)
    qtbot.addWidget(pane)
    pane.resize(700, 500)
    pane.show()
    qtbot.waitUntil(lambda: bool(pane.views) and all(view.answer for view in pane.views), timeout=10_000)
    first, last = pane.cards[0], pane.cards[-1]
    assert first.is_filled
    assert not last.is_filled
    workspace.highlight(is_in("run", ["b"]))
    first.view.figure_view.sort_otherwise()
    hover(first, 200.0)
    first.view.figure_view.toggle_pin()
    pane.toggle_pin(last.tag)  # now it is the first
    qtbot.waitUntil(lambda: last.is_filled and last.view.answer is not None, timeout=10_000)
    figures = [card.view.figure_view for card in (first, last)]
    assert pane.cards[0] is last
    assert last._pin is not None
    assert last._pin.isChecked()
    assert all(figure.is_pinned and figure._emphasis is not None for figure in figures)
    tasks.stop()
