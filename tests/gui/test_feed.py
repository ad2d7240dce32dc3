import threading

import pytest

from runglass.gui.feed import Feed
from runglass.gui.tasks import TaskRunner
from runglass.gui.workspace import Workspace
from runglass.models.early_reading import EarlyReading
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


def test_that_what_grows_is_followed_between_the_looks_at_everything(feed, qtbot, tmp_path, monkeypatch):
    write_runs(tmp_path / "p", 3)
    with qtbot.waitSignal(feed.loaded):
        feed.open([str(tmp_path / "p")])
    feed.follow(True)

    def log(step):
        with open(tmp_path / "p" / "run_1" / "metrics.csv", "a") as file:
            file.write(f"{step},{step}\n")

    def points():
        return [len(run.curves["loss"]) for run in feed._workspace.now.all.runs.values()]

    log(2)
    feed.refresh()
    qtbot.waitUntil(lambda: points() == [2, 3, 2])
    monkeypatch.setattr(feed, "_read", lambda *_, **__: None)
    for step in (3, 4):
        log(step)
        qtbot.waitUntil(lambda step=step: points() == [2, step + 1, 2])
    feed.follow(False)
    qtbot.waitUntil(lambda: not feed._tasks.running)
    assert not feed._tail_timer.isActive()


def test_that_nothing_is_asked_of_runs_that_do_not_grow_between_the_looks_at_everything(feed, qtbot, tmp_path):
    write_runs(tmp_path / "p", 3)
    with qtbot.waitSignal(feed.loaded):
        feed.open([str(tmp_path / "p")])
    feed.follow(True)
    qtbot.wait(150)
    assert not feed._tail_timer.isActive()
    assert not feed._tasks.running


def test_that_what_grows_is_followed_while_all_there_is_is_looked_at(feed, qtbot, tmp_path, monkeypatch):
    write_runs(tmp_path / "p", 3)
    with qtbot.waitSignal(feed.loaded):
        feed.open([str(tmp_path / "p")])
    feed.follow(True)

    def log(step):
        with open(tmp_path / "p" / "run_1" / "metrics.csv", "a") as file:
            file.write(f"{step},{step}\n")

    def points():
        return [len(run.curves["loss"]) for run in feed._workspace.now.all.runs.values()]

    log(2)
    feed.refresh()
    qtbot.waitUntil(lambda: points() == [2, 3, 2] and not feed._reading)
    discovery = feed._opening.loader._discovery
    sources, ended = discovery.sources, threading.Event()

    def without_end(progress):
        found = list(sources(progress))
        while not ended.wait(0.002):
            yield from found

    monkeypatch.setattr(discovery, "sources", without_end)
    try:
        feed._on_timer_timeout()
        for step in (3, 4):
            log(step)
            qtbot.waitUntil(lambda step=step: points() == [2, step + 1, 2])
        assert feed._reading
    finally:
        ended.set()
    qtbot.waitUntil(lambda: not feed._reading)
    assert points() == [2, 5, 2]


def test_that_time_of_reading_counts_from_where_it_began_before_there_was_a_window(feed, qtbot, tmp_path):
    write_runs(tmp_path, 2)
    early = EarlyReading([str(tmp_path)])
    early.started -= 100
    with qtbot.waitSignal(feed.loaded):
        feed.open([str(tmp_path)], early)
    assert 100 < feed.seconds < 200
