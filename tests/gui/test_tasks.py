"""Answers of worker threads reach the GUI thread one a turn."""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from runglass.gui.tasks import TaskRunner

LONG = 10_000


@pytest.fixture
def tasks(qapp: QApplication) -> Any:
    runner = TaskRunner(workers=4)
    yield runner
    runner.stop()
    runner.deleteLater()


def test_that_answers_that_come_together_are_given_in_turns_of_their_own(qtbot: Any, tasks: TaskRunner) -> None:
    given: list[str] = []
    ready = threading.Barrier(5)

    def work(_progress: object) -> None:
        ready.wait(10)

    for slot in "abcd":
        tasks.start(slot, slot, work, lambda _, slot=slot: given.append(slot), lambda error: given.append(str(error)))
    ready.wait(10)
    # All four are done and posted before the event loop has turned once.
    tasks._pool.shutdown(wait=True)
    turns: list[list[str]] = []
    between = QTimer()
    between.timeout.connect(lambda: turns.append(list(given)))
    between.start(0)
    qtbot.waitUntil(lambda: len(given) == 4, timeout=LONG)
    between.stop()
    assert sorted(given) == ["a", "b", "c", "d"]
    lengths = [0, *map(len, turns), 4]
    assert max(later - before for before, later in itertools.pairwise(lengths)) == 1


def test_that_an_answer_that_waits_for_its_turn_is_dropped_when_it_is_no_longer_wanted(
    qtbot: Any, tasks: TaskRunner
) -> None:
    given: list[str] = []
    ready = threading.Barrier(4)

    def first(_: object) -> None:
        given.append("first")
        for slot in "abc":
            tasks.cancel(slot)

    def work(_progress: object) -> None:
        ready.wait(10)

    for slot in "abc":
        tasks.start(slot, slot, work, first, lambda error: given.append(str(error)))
    ready.wait(10)
    tasks._pool.shutdown(wait=True)
    qtbot.waitUntil(lambda: bool(given), timeout=LONG)
    qtbot.wait(50)
    assert given == ["first"]


def test_that_the_window_waits_a_millisecond_for_the_interpreter_and_not_five(tasks: TaskRunner) -> None:
    assert sys.getswitchinterval() == pytest.approx(0.001)
