import threading

import numpy as np
import pytest

from runglass.gui.panes import base
from runglass.gui.panes.base import QuestionView
from runglass.gui.tasks import FEED, TaskRunner
from runglass.gui.workspace import Workspace
from runglass.models.session import Session
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts


@pytest.fixture
def view(qtbot):
    pieces = [CurvePiece("p/a", np.arange(5), {"loss": np.ones(5)})]
    tasks = TaskRunner()
    view = QuestionView(Workspace(Session(), RunStore().adding([RunFacts("p/a"), *pieces]), tasks), tasks, "pane:x")
    qtbot.addWidget(view)
    view.resize(400, 300)
    view.show()
    yield view
    tasks.stop()


def test_that_a_question_the_user_stopped_says_so_and_can_be_asked_again(view, qtbot, monkeypatch):
    gate = threading.Event()
    compute = base.answered

    def slow(*given):
        gate.wait(10)
        return compute(*given)

    monkeypatch.setattr(base, "answered", slow)
    view.ask("curve.smooth", {"tag": "loss"})
    qtbot.waitUntil(view._bar.isVisible)
    view._tasks.cancel("pane:x")
    assert not view._bar.isVisible()
    assert view.figure_view.graphicsEffect() is None
    assert "stopped" in view._error.text
    gate.set()
    view._error.button_clicked.emit()
    qtbot.waitUntil(lambda: view.answer is not None)
    assert view.figure_view.isVisible()


def test_that_a_stop_while_files_are_read_is_still_said_when_they_are_read(view, qtbot, monkeypatch):
    gates = {"reading": threading.Event(), "asking": threading.Event()}
    view._tasks.start(FEED, "Reading", lambda progress: gates["reading"].wait(10), lambda _: None, lambda _: None)
    view.ask("curve.smooth", {"tag": "no such"})
    qtbot.waitUntil(lambda: "So far" in view._error.text)
    monkeypatch.setattr(base, "answered", lambda *given: gates["asking"].wait(10))
    view.ask("curve.smooth", {"tag": "loss"})
    view._tasks.cancel("pane:x")
    assert "stopped" in view._error.text
    gates["reading"].set()
    qtbot.waitUntil(lambda: not view._is_reading)
    assert "stopped" in view._error.text
    gates["asking"].set()


def test_that_a_refusal_of_half_read_data_gives_way_to_the_answer(view, qtbot, monkeypatch):
    gates = {"reading": threading.Event(), "asking": threading.Event()}
    compute = base.answered

    def slow(*given):
        gates["asking"].wait(10)
        return compute(*given)

    view._tasks.start(FEED, "Reading", lambda progress: gates["reading"].wait(10), lambda _: None, lambda _: None)
    view.ask("curve.smooth", {"tag": "no such"})
    qtbot.waitUntil(lambda: "So far" in view._error.text)
    monkeypatch.setattr(base, "answered", slow)
    view.ask("curve.smooth", {"tag": "loss"})
    gates["reading"].set()
    qtbot.waitUntil(lambda: not view._is_reading)
    assert "So far" in view._error.text
    gates["asking"].set()
    qtbot.waitUntil(lambda: view.answer is not None)


def test_that_a_newer_question_keeps_the_old_figure_dimmed_until_its_answer_is_there(view, qtbot, monkeypatch):
    view.ask("curve.smooth", {"tag": "loss"})
    qtbot.waitUntil(lambda: view.answer is not None)
    gate = threading.Event()
    compute = base.answered

    def slow(*given):
        gate.wait(10)
        return compute(*given)

    monkeypatch.setattr(base, "answered", slow)
    view.ask("curve.smooth", {"tag": "loss", "weight": 0.1})
    qtbot.waitUntil(view._bar.isVisible)
    view.ask("curve.smooth", {"tag": "loss", "weight": 0.2})
    assert view.figure_view.graphicsEffect() is not None
    gate.set()
    qtbot.waitUntil(lambda: view.answer.question.weight == 0.2)
    assert view.figure_view.graphicsEffect() is None


def test_that_data_which_come_in_faster_than_they_are_answered_are_shown(view, qtbot, monkeypatch):
    gate, seen = threading.Semaphore(0), []
    compute = base.answered

    def slow(identifier, options, store, progress):
        gate.acquire(timeout=10)
        seen.append(store.points)
        progress(0, 0)  # raises if it is no longer wanted
        return compute(identifier, options, store, progress)

    monkeypatch.setattr(base, "answered", slow)

    def grow():
        store = view._workspace.now.all
        view._workspace.set_store(store.adding([CurvePiece("p/a", np.arange(2), {"loss": np.ones(2)})]))
        view.ask("curve.smooth", {"tag": "loss"})

    view.ask("curve.smooth", {"tag": "loss"})
    grow()
    grow()
    gate.release()
    qtbot.waitUntil(lambda: view.answer is not None)
    assert view.answer.store.points == 5  # the first answer was not given up
    gate.release()
    qtbot.waitUntil(lambda: view.answer.store.points == 9)
    assert seen == [5, 9]
    assert not view._is_computing
    grow()
    view.ask("curve.smooth", {"tag": "loss", "weight": 0.1})  # another question is not kept waiting
    gate.release()
    gate.release()
    qtbot.waitUntil(lambda: view.answer.question.weight == 0.1)


def test_that_another_option_is_asked_of_the_same_narrowed_data(view, qtbot):
    stores = []
    for weight in (0.1, 0.2):
        view.ask("curve.smooth", {"tag": "loss", "weight": weight}, 'run not in ["x"]')
        qtbot.waitUntil(
            lambda weight=weight: view.answer is not None and view.answer.question.weight == weight, timeout=30_000
        )
        stores.append(view.answer.store)
    assert stores[0] is stores[1]
    view.ask("curve.smooth", {"tag": "loss", "weight": 0.2}, 'run not in ["y"]')
    qtbot.waitUntil(lambda: view.answer.store is not stores[0], timeout=30_000)
    assert view.answer.store.filter != stores[0].filter
