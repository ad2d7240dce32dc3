import dataclasses

import numpy as np
import pandas as pd
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication

from runglass.gui.panes.runs import ConfigDialog, GroupingPopup, RunsPane
from runglass.gui.workspace import Workspace
from runglass.models.reductions import RunColumn
from runglass.models.selection import EVERYTHING, Holds, IsIn, is_in
from runglass.models.session import Grouping, Session
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts, TableRows

KEYS = ["p/big/s1", "p/big/s2", "p/small/s1", "p/small/s2", "p/small/s3", "p/alone"]


def run(key, loss, **config):
    values = np.array(loss, dtype=float)
    return [RunFacts(key, config=config), CurvePiece(key, np.arange(len(values)) * 10, {"val_loss": values})]


@pytest.fixture
def workspace(qtbot):
    events = []
    for place, key in enumerate(KEYS):
        size = key.split("/")[1]
        loss = [5, 4, np.nan] if key == "p/small/s3" else [5, 3.0 + place / 10]
        events += run(key, loss, size=size, seed=place)
    return Workspace(Session(), RunStore().adding(events))


@pytest.fixture
def pane(workspace, qtbot):
    pane = RunsPane(workspace)
    qtbot.addWidget(pane)
    pane.resize(320, 600)
    pane.show()
    qtbot.waitExposed(pane)
    pane.tree.expandAll()
    return pane


def rows(pane, column=0):
    """Texts of a column, as one reads the tree from the top."""
    texts = []
    index = pane.tree.model().index(0, 0)
    while index.isValid():
        depth = 0
        above = index.parent()
        while above.isValid():
            depth, above = depth + 1, above.parent()
        texts.append("  " * depth * (column == 0) + index.siblingAtColumn(column).data())
        index = pane.tree.indexBelow(index)
    return texts


def node(pane, path):
    return pane.tree.tree_model.tree.paths.index(path)


def index(pane, path):
    return pane.tree.tree_model.index_of(node(pane, path))


def click(qtbot, pane, path, *, on_box=False, modifier=Qt.KeyboardModifier.NoModifier):
    pane.tree.scrollTo(index(pane, path))
    place = pane.tree.visualRect(index(pane, path)).center() + QPoint(20, 0)
    if on_box:
        place = pane.tree.box_rect(index(pane, path)).center()
    qtbot.mouseClick(pane.tree.viewport(), Qt.MouseButton.LeftButton, modifier, place)


def box(pane, path):
    return index(pane, path).data(Qt.ItemDataRole.CheckStateRole)


def test_that_runs_stand_by_folder_with_counts_and_last_values(pane):
    assert rows(pane) == ["alone", "big", "  s1", "  s2", "small", "  s1", "  s2", "  s3"]
    assert rows(pane, 1) == ["3.5", "2", "3", "3.1", "3", "3.2", "3.3", "nan"]
    assert pane.summary == "6 of 6 shown"


def test_that_a_diverged_run_says_so_in_its_tooltip(pane):
    assert "diverged" in index(pane, "p/small/s3").data(Qt.ItemDataRole.ToolTipRole)
    assert pane.tree.tree_model.face.marks(node(pane, "p/small/s3"))[0][0] == "ph.warning-fill"


def test_that_a_box_takes_a_run_away_without_selecting_it(pane, workspace, qtbot):
    click(qtbot, pane, "p/big/s1", on_box=True)
    assert workspace.session.ticked == frozenset(KEYS) - {"p/big/s1"}
    assert workspace.session.highlight is None
    assert box(pane, "p/big") == Qt.CheckState.PartiallyChecked
    assert box(pane, "p/big/s1") == Qt.CheckState.Unchecked
    assert pane.summary == "5 of 6 shown"


def test_that_the_box_of_a_folder_takes_all_its_runs(pane, workspace, qtbot):
    click(qtbot, pane, "p/small", on_box=True)
    assert workspace.now.ticked == ("p/big/s1", "p/big/s2", "p/alone")
    click(qtbot, pane, "p/small", on_box=True)
    assert len(workspace.now.ticked) == 6


def test_that_space_ticks_what_is_selected(pane, workspace, qtbot):
    click(qtbot, pane, "p/big")
    qtbot.keyClick(pane.tree, Qt.Key.Key_Space)
    assert "p/big/s1" not in workspace.now.ticked
    assert "p/small/s1" in workspace.now.ticked


def test_that_alt_click_shows_only_that(pane, workspace, qtbot):
    click(qtbot, pane, "p/big", modifier=Qt.KeyboardModifier.AltModifier)
    assert workspace.now.ticked == ("p/big/s1", "p/big/s2")


def test_that_all_none_and_invert_mean_the_runs_the_filter_leaves(pane, workspace):
    workspace.change(run_filter="small")
    pane.tick_none()
    assert workspace.now.ticked == ("p/big/s1", "p/big/s2", "p/alone")
    pane.tick_only(["p/small/s1", "p/alone"])
    pane.invert_ticks()
    assert workspace.now.ticked == ("p/small/s2", "p/small/s3", "p/alone")
    pane.tick_all()
    assert "p/small/s1" in workspace.now.ticked


def test_that_the_filter_searches_keys_and_the_line_counts_what_it_finds(pane, workspace, qtbot):
    qtbot.keyClicks(pane._filter, "s[12]$")
    qtbot.waitUntil(lambda: workspace.session.run_filter == "s[12]$")
    assert rows(pane) == ["big", "  s1", "  s2", "small", "  s1", "  s2"]
    assert pane.summary == "6 of 6 shown · 4 match"


def test_that_an_invalid_pattern_filters_nothing(pane, workspace):
    workspace.change(run_filter="(")
    assert len(rows(pane)) == 8
    assert "match" not in pane.summary


def test_that_a_filter_that_finds_nothing_offers_to_be_cleared(pane, workspace, qtbot):
    workspace.change(run_filter="zzz")
    assert pane._stack.currentWidget() is pane._empty
    pane._empty.button_clicked.emit()
    qtbot.waitUntil(lambda: workspace.session.run_filter == "")
    assert pane._stack.currentWidget() is pane.tree


def test_that_clearing_the_filter_closes_what_was_closed_before(pane, workspace):
    pane.tree.collapse(index(pane, "p/big"))
    workspace.change(run_filter="s[12]")
    assert pane.tree.isExpanded(index(pane, "p/big"))
    workspace.change(run_filter="")
    assert not pane.tree.isExpanded(index(pane, "p/big"))
    assert pane.tree.isExpanded(index(pane, "p/small"))


def test_that_a_click_highlights_a_run_and_a_folder_all_of_its_runs(pane, workspace, qtbot):
    click(qtbot, pane, "p/alone")
    assert workspace.session.highlight == is_in("run", ["p/alone"])
    click(qtbot, pane, "p/big", modifier=Qt.KeyboardModifier.ControlModifier)
    assert workspace.session.highlight == is_in("run", ["p/alone", "p/big/s1", "p/big/s2"])


def test_that_a_highlight_from_elsewhere_is_drawn_and_counted_but_opens_nothing(pane, workspace):
    pane.tree.collapse(index(pane, "p/small"))
    workspace.highlight(is_in("config.size", ["small"]))
    assert [pane.tree.tree_model.tree.runs[n] for n in pane.tree.chosen_nodes()] == KEYS[2:5]
    assert not pane.tree.isExpanded(index(pane, "p/small"))
    workspace.highlight(is_in("run", ["p/small/s1"]))
    assert index(pane, "p/small").siblingAtColumn(1).data() == "1 of 3"
    workspace.highlight(None)
    assert pane.tree.chosen_nodes() == []


def test_that_hovering_tells_the_run_and_leaving_tells_none(pane, qtbot):
    told = []
    pane.run_hovered.connect(told.append)
    for path in ("p/alone", "p/big"):
        qtbot.mouseMove(pane.tree.viewport(), pane.tree.visualRect(index(pane, path)).center())
        qtbot.wait(20)
    assert told == ["p/alone", ""]


def test_that_new_points_change_values_and_nothing_else(pane, workspace, qtbot):
    pane.tree.collapse(index(pane, "p/big"))
    click(qtbot, pane, "p/alone")
    for value in (2.5, 2.25, 2.125):
        piece = CurvePiece("p/alone", np.array([100]), {"val_loss": np.array([value])})
        workspace.set_store(workspace.now.all.adding([piece]))
    qtbot.waitUntil(lambda: rows(pane, 1)[0] == "2.125")
    assert not pane.tree.isExpanded(index(pane, "p/big"))
    assert pane.tree.chosen_nodes() == [node(pane, "p/alone")]


def test_that_a_new_run_leaves_open_what_is_open_and_selected_what_is_selected(pane, workspace, qtbot):
    pane.tree.collapse(index(pane, "p/small"))
    click(qtbot, pane, "p/big/s2")
    workspace.set_store(workspace.now.all.adding(run("p/aaa/new", [1, 2])))
    qtbot.waitUntil(lambda: "aaa/new" in rows(pane))
    assert rows(pane) == ["aaa/new", "alone", "big", "  s1", "  s2", "small"]
    assert pane.tree.chosen_nodes() == [node(pane, "p/big/s2")]


def test_that_a_burst_of_snapshots_is_shown_once(pane, workspace, qtbot, monkeypatch):
    shown = []
    monkeypatch.setattr(RunsPane, "_show_ticks", lambda self: shown.append(True))
    for _ in range(20):
        workspace.set_store(dataclasses.replace(workspace.now.all))
    qtbot.waitUntil(lambda: bool(shown))
    qtbot.wait(120)
    assert len(shown) == 1


def test_that_groups_take_the_place_of_folders_with_one_colour_each(pane, workspace):
    workspace.change(grouping=Grouping(("config.size",)))
    pane.tree.expandAll()
    assert rows(pane) == ["big", "  s1", "  s2", "small", "  s1", "  s2", "  s3", "alone"]
    face = pane.tree.tree_model.face
    assert face.hue(node(pane, "p/small/s1")) == face.hue(node(pane, "group:small")) == "c1"
    assert pane.summary == "6 of 6 shown · group by size"
    assert pane.groups.of["p/alone"] == 2
    workspace.change(grouping=Grouping())
    assert pane.groups is None


def test_that_growing_curves_do_not_group_anew(pane, workspace, monkeypatch):
    workspace.change(grouping=Grouping(("config.size",)))
    before = pane.groups
    piece = CurvePiece("p/alone", np.array([100]), {"val_loss": np.array([1.0])})
    workspace.set_store(workspace.now.all.adding([piece]))
    pane.refresh()
    assert pane.groups is before


def test_that_the_popup_groups_by_what_is_ticked_and_except_what_is_ticked(pane, workspace, qtbot):
    popup = GroupingPopup(workspace, pane)
    items = [popup._list.item(row) for row in range(popup._list.count())]
    size = next(item for item in items if item.data(Qt.ItemDataRole.UserRole) == "config.size")
    size.setCheckState(Qt.CheckState.Checked)
    assert workspace.session.grouping == Grouping(("config.size",))
    popup._except.setChecked(True)
    assert workspace.session.grouping.everything_except
    assert "seed" in workspace.session.grouping.keys
    popup._none.click()
    assert workspace.session.grouping == Grouping()


def test_that_columns_are_added_sorted_by_and_removed(pane, workspace):
    pane.add_column(RunColumn("best", "val_loss"))
    pane.add_column(RunColumn("config", "size"))
    assert workspace.session.run_columns == ("last:val_loss", "best:val_loss", "config:size")
    assert rows(pane, 2)[0] == "10"
    assert rows(pane, 3)[0] == "alone"
    pane.tree.header().sectionClicked.emit(1)
    assert rows(pane) == ["big", "  s1", "  s2", "small", "  s1", "  s2", "  s3", "alone"]
    pane.tree.header().sectionClicked.emit(1)
    assert rows(pane)[0] == "alone"
    for column in pane.columns:
        pane.remove_column(column)
    assert workspace.session.run_columns == ("none",)
    assert pane.tree.model().columnCount() == 2


def test_that_the_step_cursor_moves_the_values_at_it(pane, workspace, qtbot):
    workspace.change(run_columns=("at:val_loss",), step_cursor=5.0)
    qtbot.waitUntil(lambda: rows(pane, 1)[0] == "5")
    workspace.change(step_cursor=10.0)
    qtbot.waitUntil(lambda: rows(pane, 1)[0] == "3.5")


def test_that_the_context_menu_keeps_only_what_was_clicked(pane, workspace):
    menu = pane.menu_of(node(pane, "p/big"))
    actions = {action.text(): action for action in menu.actions()}
    actions["Copy keys"].trigger()
    assert QGuiApplication.clipboard().text() == "p/big/s1\np/big/s2"
    actions["Keep only these 2"].trigger()
    assert workspace.session.filter == IsIn("run", frozenset({"p/big/s1", "p/big/s2"}))
    assert rows(pane) == ["s1", "s2"]
    workspace.undo()
    assert workspace.session.filter == EVERYTHING
    assert len(rows(pane)) == 8
    menu.deleteLater()


def test_that_the_configuration_of_a_run_can_be_searched(pane, qtbot):
    dialog = pane.show_config("p/big/s2")
    assert isinstance(dialog, ConfigDialog)
    assert dialog.table.frame_model.frame["key"].tolist() == ["size", "seed"]
    qtbot.keyClicks(dialog._find, "see")
    qtbot.waitUntil(lambda: dialog.table.frame_model.rowCount() == 1)
    dialog.close()


def test_that_a_filter_that_leaves_no_run_says_so(pane, workspace):
    workspace.change(filter=Holds("seed > 100"))
    assert pane._stack.currentWidget() is pane._empty
    assert "filter" in pane._empty.text


def test_that_thousands_of_runs_have_no_object_each(qtbot):
    events = []
    for number in range(3_000):
        key = f"p/exp_{number % 40}/seed_{number}"
        events.append(CurvePiece(key, np.arange(2), {"loss": np.zeros(2)}))
    workspace = Workspace(Session(), RunStore().adding(events))
    pane = RunsPane(workspace)
    qtbot.addWidget(pane)
    pane.show()
    assert len(pane.tree.tree_model.children()) == 0
    assert pane.summary == "10 of 3000 shown"
    workspace.change(run_filter="seed_299")
    assert pane.summary == "10 of 3000 shown · 11 match"


def test_that_without_runs_it_says_whether_there_are_tables(qtbot):
    workspace = Workspace(Session(), RunStore())
    pane = RunsPane(workspace)
    qtbot.addWidget(pane)
    assert "Drop a folder" in pane._empty.text
    workspace.change(roots=("/logs",))
    assert "so far" in pane._empty.text
    scores = pd.DataFrame({"model": ["a", "b"], "task": ["t", "t"], "metric": ["acc", "acc"], "value": [0.1, 0.2]})
    workspace.set_store(RunStore().adding([TableRows("s.csv", "csv", scores, "scores")]))
    qtbot.waitUntil(lambda: "tables can be asked" in pane._empty.text)


def test_that_numbers_of_runs_that_grow_are_shown_anew_once_a_second_and_a_new_run_at_once(pane, workspace, qtbot):
    longer = [CurvePiece("p/alone", np.array([20]), {"val_loss": np.array([1.5])})]
    workspace.set_store(workspace.now.all.adding(longer))
    assert pane._later.remainingTime() > 500
    workspace.set_store(workspace.now.all.adding(run("p/big/s9", [5, 2])))
    assert pane._later.remainingTime() < 500
    qtbot.waitUntil(lambda: "p/big/s9" in pane._keys)
    new_tag = [CurvePiece("p/alone", np.array([20]), {"train_loss": np.array([1.5])})]
    workspace.set_store(workspace.now.all.adding(new_tag))
    assert 0 <= pane._later.remainingTime() < 500
