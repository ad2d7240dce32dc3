"""Garbage is looked for among what is new, and what was opened and closed is freed."""

import gc
import weakref

import pytest

from runglass.gui.feed import Feed
from runglass.gui.housekeeping import Housekeeping
from runglass.gui.tasks import TaskRunner
from runglass.gui.workspace import Workspace
from runglass.models.session import Pane, Session
from runglass.models.store import RunStore


class Knot:
    """Something that only a search for garbage frees."""

    def __init__(self):
        self.itself = self


@pytest.fixture
def keeping(qtbot):
    tasks = TaskRunner()
    workspace = Workspace(Session(), RunStore(), tasks)
    keeping = Housekeeping(workspace, Feed(workspace, tasks, tasks), tasks)
    keeping._timer.setInterval(10)
    yield keeping, workspace
    keeping.stop()
    tasks.stop()
    assert not gc.get_freeze_count()


def test_that_what_lives_is_set_aside_when_panes_have_come_to_rest(keeping, qtbot):
    _, workspace = keeping
    workspace.add_pane(Pane("a", "questions"))
    qtbot.waitUntil(lambda: gc.get_freeze_count() > 10_000)


def test_that_what_became_garbage_after_it_was_set_aside_is_freed_when_something_closes(keeping, qtbot):
    own, workspace = keeping
    workspace.add_pane(Pane("a", "questions"))
    knot = Knot()
    gone = weakref.ref(knot)
    own._timer.stop()
    own.set_aside()
    del knot
    gc.collect()
    assert gone() is not None
    workspace.close_pane("a")
    qtbot.waitUntil(lambda: gone() is None)


def test_that_gestures_that_open_nothing_start_no_search(keeping):
    own, workspace = keeping
    workspace.change(step_cursor=3.0)
    assert not own._timer.isActive()


def test_that_what_is_made_later_is_looked_through_once(keeping):
    own, _ = keeping
    own.set_aside()
    before = gc.get_freeze_count()
    knots = [Knot() for _ in range(1000)]
    gc.collect()
    assert gc.get_freeze_count() >= before + len(knots)
    own.stop()
    callbacks = len(gc.callbacks)
    own.stop()
    assert not gc.get_freeze_count()
    assert len(gc.callbacks) == callbacks
    gc.collect()
    assert not gc.get_freeze_count()
