import pandas as pd
import pytest

from runglass.gui.panes.problems import ProblemsPane
from runglass.gui.workspace import Workspace
from runglass.models.column_map import ColumnMap
from runglass.models.session import Session
from runglass.models.store import RunStore
from runglass.models.tables import Problem, TableRows

DAMAGED = Problem("a/events.1", "tensorboard", "The record at byte 1,234 is damaged; what follows was left out.")
UNKNOWN = TableRows("sweep.csv", "table", pd.DataFrame({"Model Size": [1.0], "Loss": [2.0]}))


@pytest.fixture
def pane(qtbot):
    pane = ProblemsPane(Workspace(Session(), RunStore()))
    qtbot.addWidget(pane)
    pane.resize(700, 300)
    pane.show()
    return pane


def test_that_no_problem_is_said_in_one_sentence(pane):
    assert pane._stack.currentWidget() is pane._empty
    assert pane._empty.text == "Everything was read."


def test_that_problems_are_counted_and_those_of_a_table_offer_to_map_it(pane, qtbot):
    with qtbot.waitSignal(pane.counted) as counted:
        pane._workspace.set_store(RunStore().adding([DAMAGED, UNKNOWN]))
    assert counted.args == [2]
    assert pane.table.frame_model.frame["source"].tolist() == ["sweep.csv", "a/events.1"]
    with qtbot.waitSignal(pane.map_wanted) as wanted:
        pane._map.click()
    assert wanted.args == ["sweep.csv"]


def test_that_a_problem_no_map_can_mend_offers_none(pane, qtbot):
    with qtbot.waitSignal(pane.counted):
        pane._workspace.set_store(RunStore().adding([DAMAGED, UNKNOWN]))
    pane.table.selectRow(1)
    assert not pane._map.isEnabled()


def test_that_a_map_takes_the_problem_away(pane, qtbot):
    with qtbot.waitSignal(pane.counted):
        pane._workspace.set_store(RunStore().adding([UNKNOWN]))
    with qtbot.waitSignal(pane.counted) as counted:
        pane._workspace.change(maps=(ColumnMap((("params", "Model Size"),), pattern="*.csv"),))
    assert counted.args == [0]


def test_that_a_long_problem_is_wrapped(pane, qtbot):
    pane.resize(420, 300)
    with qtbot.waitSignal(pane.counted):
        pane._workspace.set_store(RunStore().adding([Problem("a", "r", "word " * 60), Problem("b", "r", "short")]))
    heights = [pane.table.rowHeight(row) for row in (0, 1)]
    assert heights[0] > 2 * heights[1]


def test_that_problems_are_searched(pane, qtbot):
    with qtbot.waitSignal(pane.counted):
        pane._workspace.set_store(RunStore().adding([DAMAGED, UNKNOWN]))
    qtbot.keyClicks(pane._find, "damaged")
    qtbot.waitUntil(lambda: pane.table.frame_model.rowCount() == 1)
