import pytest

from runglass.gui.feed import Feed
from runglass.gui.tasks import TaskRunner
from runglass.gui.workspace import Workspace
from runglass.models.session import Session
from runglass.models.store import RunStore


@pytest.fixture
def feed(qtbot):
    tasks = TaskRunner()
    feed = Feed(Workspace(Session(), RunStore(), tasks), tasks, tasks)
    yield feed
    feed.stop()
    tasks.stop()


def write_runs(folder, runs=30):
    for number in range(runs):
        path = folder / f"run_{number}" / "metrics.csv"
        path.parent.mkdir(parents=True)
        path.write_text("step,loss\n0,2\n1,1\n")


def test_that_reading_that_was_stopped_goes_on_when_asked_and_reads_nothing_twice(feed, qtbot, tmp_path):
    write_runs(tmp_path / "p")
    with qtbot.waitSignal(feed.failed) as said:
        feed.open([str(tmp_path / "p")])
        feed._tasks.cancel("feed")
    assert "F5" in said.args[0]
    feed.refresh()
    qtbot.waitUntil(lambda: not feed._tasks.running)
    runs = feed._workspace.now.all.runs
    assert [len(run.curves["loss"]) for run in runs.values()] == [2] * 30


def test_that_following_does_not_take_up_what_the_user_stopped(feed, qtbot, tmp_path):
    write_runs(tmp_path / "p", 3)
    feed.open([str(tmp_path / "p")])
    feed._tasks.cancel("feed")
    feed._on_timer_timeout()
    assert not feed._tasks.running
    feed.refresh()
    qtbot.waitUntil(lambda: not feed._tasks.running)
    feed._on_timer_timeout()
    assert feed._tasks.running
