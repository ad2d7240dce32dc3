from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PySide6.QtWidgets import QRadioButton, QWidget

from runglass.gui.engine_choice import EngineChoice, EngineDialog
from runglass.gui.settings import Settings
from runglass.gui.tasks import TaskRunner
from runglass.models.cluster import Cluster, ClusterState
from runglass.models.engine import LOCAL
from runglass.models.errors import RunglassError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "settings.ini")


@pytest.fixture
def tasks(qtbot):
    tasks = TaskRunner()
    yield tasks
    tasks.stop()


@pytest.fixture
def made(qtbot, tasks, settings):
    """Make the choice of a window that starts."""

    def make() -> EngineChoice:
        window = QWidget()
        qtbot.addWidget(window)
        return EngineChoice(tasks, settings, window)

    return make


@pytest.fixture
def reached(monkeypatch):
    """A cluster of two workers that answers when the event is set."""
    answers = threading.Event()

    def look(cluster, progress):
        answers.wait(5)
        return ClusterState(2, 8, 0)

    monkeypatch.setattr(Cluster, "look", look)
    return answers


def test_that_work_stays_in_this_process_until_something_else_is_chosen(made, tasks):
    choice = made()
    assert choice.name == "local"
    assert choice.button.isHidden()
    assert tasks.engine is LOCAL


def test_that_a_cluster_that_is_reached_shows_its_workers_and_is_remembered(qtbot, made, tasks, settings, reached):
    choice = made()
    choice.use("dask://head:8786")
    assert choice.button.text() == "dask://head:8786: connecting…"
    reached.set()
    qtbot.waitUntil(lambda: choice.button.text() == "dask://head:8786: 2 workers, 8 threads")
    assert not choice.button.isHidden()
    assert tasks.engine.name == settings.engine == "dask://head:8786"
    again = made()
    qtbot.waitUntil(lambda: "2 workers" in again.sentence)


def test_that_a_cluster_that_is_not_reached_says_why(qtbot, made, monkeypatch):
    def look(cluster, progress):
        raise RunglassError("No Dask scheduler answers at dask://head:8786 (no answer in time).")

    monkeypatch.setattr(Cluster, "look", look)
    choice = made()
    choice.use("dask://head:8786")
    qtbot.waitUntil(lambda: choice.button.text() == "⚠ dask://head:8786: not reached")
    assert choice.sentence.startswith("No Dask scheduler answers at dask://head:8786")


def test_that_what_is_no_engine_is_said_and_changes_nothing(made, tasks, settings):
    choice = made()
    choice.use("dask://")
    assert "no address of a Dask cluster" in choice.sentence
    assert tasks.engine is LOCAL
    assert settings.engine == "local"


def test_that_an_engine_of_the_settings_that_is_none_is_said_at_the_start(made, settings):
    settings.engine = "dask://host:port"
    choice = made()
    assert choice.name == "local"
    assert "no address of a Dask cluster" in choice.sentence


@pytest.mark.parametrize("name", ["local", "processes", "dask://head:1"])
def test_that_the_dialog_shows_what_is_chosen(qtbot, name):
    dialog = EngineDialog(name, "")
    qtbot.addWidget(dialog)
    assert dialog.name == name


def test_that_typing_an_address_chooses_the_cluster(qtbot):
    dialog = EngineDialog("local", "")
    qtbot.addWidget(dialog)
    qtbot.keyClicks(dialog.address, "head:9000")
    assert dialog.name == "dask://head:9000"
    assert dialog.findChild(QRadioButton, "dask").isChecked()
