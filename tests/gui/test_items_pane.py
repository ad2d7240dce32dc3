import numpy as np
import pandas as pd
import pytest

from runglass.gui.panes.items import ItemsPane
from runglass.gui.tasks import TaskRunner
from runglass.gui.workspace import Workspace
from runglass.models.selection import is_in
from runglass.models.session import Pane, Session
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, TableRows

FLIPS = Pane("f", "analysis", "compat.flips", {"old": "b", "new": "c"})


@pytest.fixture
def pane(qtbot):
    rows = [
        {"model": model, "item": item, "category": "law", "label": "A", "prediction": given}
        for model, answers in (("a", "AAB"), ("b", "AAB"), ("c", "ABA"))
        for item, given in zip(("1", "2", "10"), answers, strict=True)
    ]
    store = RunStore().adding(
        [
            TableRows("answers.csv", "t", pd.DataFrame(rows)),
            CurvePiece("r/1", np.arange(3), {"loss": np.ones(3)}),
        ]
    )
    tasks = TaskRunner()
    pane = ItemsPane(Workspace(Session(), store), tasks)
    qtbot.addWidget(pane)
    pane.resize(800, 300)
    pane.show()
    yield pane
    tasks.stop()


def column(pane, name):
    shown = pane.table.frame_model.shown
    return shown[name].tolist()


def highlight(pane, qtbot, clause):
    pane._workspace.highlight(clause, mode="replace")
    before = pane.rows
    qtbot.waitUntil(lambda: pane.rows is not before and pane.rows is not None)


def test_that_without_a_highlight_the_pane_says_what_to_do_and_can_show_all(pane, qtbot):
    assert "Nothing is highlighted" in pane._empty.text
    pane._empty.button_clicked.emit()
    qtbot.waitUntil(lambda: pane.rows is not None)
    assert pane.what == "9 predictions"


def test_that_the_rows_behind_a_highlight_are_shown(pane, qtbot):
    highlight(pane, qtbot, is_in("model", ["a"]))
    assert column(pane, "item") == ["1", "2", "10"]
    assert column(pane, "correct") == ["right", "right", "wrong"]
    pane._workspace.highlight(None)
    qtbot.waitUntil(lambda: pane.rows is None)
    assert not pane._export.isEnabled()


def test_that_an_open_comparison_puts_its_two_side_by_side(pane, qtbot):
    pane._workspace.add_pane(FLIPS)
    highlight(pane, qtbot, is_in("item", ["2"]))
    assert pane.what == "1 item · b → c · right → wrong"
    assert column(pane, "others right") == ["1 of 1"]


def test_that_a_highlight_of_runs_shows_the_runs(pane, qtbot):
    highlight(pane, qtbot, is_in("run", ["r/1"]))
    assert pane.what == "1 run"
    assert column(pane, "run") == ["r/1"]


def test_that_rows_are_sorted_and_found_off_the_gui_thread(pane, qtbot):
    highlight(pane, qtbot, is_in("model", ["a", "b"]))
    pane.table.set_sorting("item", descending=True)
    qtbot.waitUntil(lambda: column(pane, "item") == ["10", "2", "1"])
    qtbot.keyClicks(pane._find, "wrong")
    qtbot.waitUntil(lambda: "match" in pane.what)
    assert pane.table.frame_model.rowCount() == pane.rows.frame["change"].str.contains("wrong").sum()


def test_that_what_is_shown_is_exported_under_its_titles(pane, qtbot, tmp_path):
    pane._workspace.add_pane(FLIPS)
    highlight(pane, qtbot, is_in("item", ["2"]))
    with qtbot.waitSignal(pane.said) as said:
        pane.export(tmp_path / "items.csv")
    assert said.args == ["Wrote 1 rows to items.csv."]
    written = pd.read_csv(tmp_path / "items.csv")
    assert written["new answer"].tolist() == ["B"]


def test_that_an_export_that_fails_says_why_and_keeps_the_table(pane, qtbot, tmp_path):
    highlight(pane, qtbot, is_in("model", ["a"]))
    with qtbot.waitSignal(pane.said) as said:
        pane.export(tmp_path / "missing" / "items.csv")
    assert "could not be written" in said.args[0]
    assert pane._stack.currentWidget() is pane.table


def test_that_nothing_is_looked_up_while_nobody_sees_it(pane, qtbot):
    pane.hide()
    pane._workspace.highlight(is_in("model", ["a"]))
    qtbot.wait(120)
    assert pane.rows is None
    pane.show()
    qtbot.waitUntil(lambda: pane.rows is not None)
