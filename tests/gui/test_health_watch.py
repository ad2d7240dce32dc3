from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt

from runglass.analysis import health
from runglass.gui import health_watch
from runglass.gui.health_watch import HealthWatch, sentences
from runglass.gui.panes.curves import card_question
from runglass.gui.panes.runs import RunsPane
from runglass.gui.tasks import TaskRunner
from runglass.gui.workspace import Workspace
from runglass.models.reductions import RunColumn, run_column
from runglass.models.session import Session
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece

KEYS = ["p/calm", "p/jumpy", "p/lost", "p/resumed"]
NOTHING: dict[str, list[str]] = {key: [] for key in KEYS}


def falling(points: int = 400, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.02, points)
    return np.asarray(4 - np.arange(points) / 200 + noise)


def pieces() -> list[CurvePiece]:
    jumpy, lost = falling(), falling()
    jumpy[[250, 330]] += 3
    lost[300:] = np.nan
    steps = {"p/resumed": np.concatenate([np.arange(300), np.arange(200, 300)])}
    values = {"p/calm": falling(), "p/jumpy": jumpy, "p/lost": lost, "p/resumed": falling()}
    return [CurvePiece(key, steps.get(key, np.arange(400)), {"loss": values[key]}) for key in KEYS]


@pytest.fixture
def workspace(qtbot: Any) -> Workspace:
    return Workspace(Session(), RunStore().adding(pieces()))


@pytest.fixture
def watch(workspace: Workspace, qtbot: Any) -> Iterator[HealthWatch]:
    tasks = TaskRunner()
    watch = HealthWatch(workspace, tasks)
    qtbot.waitUntil(lambda: bool(watch.marks("p/lost")) and bool(watch.marks("p/resumed")))
    yield watch
    watch.stop()
    tasks.stop()


@pytest.fixture
def pane(workspace: Workspace, watch: HealthWatch, qtbot: Any) -> RunsPane:
    pane = RunsPane(workspace, health=watch)
    qtbot.addWidget(pane)
    pane.resize(320, 400)
    pane.show()
    qtbot.waitExposed(pane)
    return pane


def found(watch: HealthWatch) -> dict[str, list[str]]:
    return {key: [mark.kind for mark in watch.marks(key)] for key in KEYS}


def listed(pane: RunsPane) -> list[str]:
    return sorted(run for run in pane.tree.tree_model.tree.runs if run)  # type: ignore[attr-defined]


def index(pane: RunsPane, path: str) -> Any:
    return pane.tree.tree_model.index_of(pane.tree.tree_model.tree.paths.index(path))


def test_that_what_happened_to_every_run_is_found_by_itself(watch: HealthWatch) -> None:
    assert found(watch) == {
        "p/calm": [],
        "p/jumpy": ["spike", "spike"],
        "p/lost": ["divergence"],
        "p/resumed": ["restart"],
    }


def test_that_only_a_run_whose_curves_changed_is_judged_again(
    workspace: Workspace, watch: HealthWatch, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []
    monkeypatch.setattr(health_watch, "marks_of", lambda run: judged.append(run.key) or health.marks_of(run))
    more = CurvePiece(
        "p/calm", np.arange(400, 500), {"loss": falling(500)[400:] + np.where(np.arange(100) == 50, 3, 0)}
    )
    workspace.set_store(workspace.now.all.adding([more]))
    qtbot.waitUntil(lambda: bool(watch.marks("p/calm")))
    assert judged == ["p/calm"]
    assert [mark.step for mark in watch.marks("p/calm")] == [450]


def test_that_many_runs_are_judged_in_several_portions(
    workspace: Workspace, watch: HealthWatch, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_watch, "_PORTION_SECONDS", 0.0)
    jumpy = pieces()[1].values["loss"]
    workspace.set_store(
        workspace.now.all.adding(CurvePiece(f"q/{n}", np.arange(400), {"loss": jumpy}) for n in range(5))
    )
    with qtbot.waitSignals([watch.changed] * 5):
        pass
    assert all(len(watch.marks(f"q/{n}")) == 2 for n in range(5))


def test_that_a_run_that_is_gone_is_forgotten(workspace: Workspace, watch: HealthWatch, qtbot: Any) -> None:
    workspace.set_store(RunStore().adding(pieces()[:1]))
    qtbot.waitUntil(lambda: not watch.marks("p/lost"))
    assert found(watch) == NOTHING


def test_that_nothing_is_marked_while_switched_off_and_all_is_there_again_at_once(
    workspace: Workspace, watch: HealthWatch, qtbot: Any
) -> None:
    with qtbot.waitSignal(watch.changed):
        workspace.change(health=False)
    assert found(watch) == NOTHING
    workspace.change(health=True)
    assert found(watch)["p/jumpy"] == ["spike", "spike"]


def test_that_each_sign_in_the_tree_is_explained_in_its_tooltip(pane: RunsPane) -> None:
    model = pane.tree.tree_model
    signs = {key: [name for name, _ in model.face.marks(index(pane, key).internalId())] for key in KEYS}
    assert signs == {
        "p/calm": [],
        "p/jumpy": ["ph.lightning-fill"],
        "p/lost": ["ph.warning-fill"],
        "p/resumed": ["ph.arrow-counter-clockwise-bold"],
    }
    tip = index(pane, "p/jumpy").data(Qt.ItemDataRole.ToolTipRole)
    assert "at step 250" in tip
    assert "at step 330" in tip
    assert "goes back from step 299 to 200" in index(pane, "p/resumed").data(Qt.ItemDataRole.ToolTipRole)


def test_that_a_tooltip_says_how_many_more_there_are_than_it_tells(watch: HealthWatch) -> None:
    marks = watch.marks("p/jumpy") * 4
    assert sentences(marks)[3:] == ["… and 5 more spikes."]
    assert len(sentences(marks[:3])) == 3


def test_that_runs_are_listed_by_what_happened_to_them_and_by_their_names(pane: RunsPane, workspace: Workspace) -> None:
    pane.list_only("spike")
    assert listed(pane) == ["p/jumpy"]
    assert "1 match" in pane.summary
    pane.list_only("restart")
    assert listed(pane) == ["p/jumpy", "p/resumed"]
    workspace.change(run_filter="res")
    assert listed(pane) == ["p/resumed"]
    pane.list_only("restart", on=False)
    assert listed(pane) == []
    pane.clear_filters()
    assert listed(pane) == KEYS


def test_that_no_run_is_left_out_by_events_nobody_looks_for(pane: RunsPane, workspace: Workspace) -> None:
    pane.list_only("spike")
    workspace.change(health=False)
    assert listed(pane) == KEYS


def test_that_a_run_is_listed_as_soon_as_it_has_a_spike(pane: RunsPane, workspace: Workspace, qtbot: Any) -> None:
    pane.list_only("spike")
    more = CurvePiece(
        "p/calm", np.arange(400, 500), {"loss": falling(500)[400:] + np.where(np.arange(100) == 50, 3, 0)}
    )
    workspace.set_store(workspace.now.all.adding([more]))
    qtbot.waitUntil(lambda: listed(pane) == ["p/calm", "p/jumpy"])


def test_that_a_column_counts_events_and_sorts_by_them(pane: RunsPane, workspace: Workspace) -> None:
    assert run_column("events") == RunColumn("events")
    pane.add_column(RunColumn("events"))
    assert workspace.session.run_columns[-1] == "events"
    assert [index(pane, key).siblingAtColumn(2).data() for key in KEYS] == ["", "2", "1", "1"]
    pane.tree.header().sectionClicked.emit(2)
    model = pane.tree.tree_model
    rows = {int(model.tree.rows[index(pane, key).internalId()]): key for key in KEYS}
    assert rows[0] == "p/jumpy"


def test_that_cards_mark_events_unless_switched_off(workspace: Workspace) -> None:
    def asked(session: Session) -> bool:
        return bool(card_question("loss", session, ("p/calm",))[1]["marks"])

    assert asked(workspace.session)
    workspace.change(health=False)
    assert not asked(workspace.session)
