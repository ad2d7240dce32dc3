import numpy as np
import pandas as pd
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QTextDocument
from PySide6.QtWidgets import QWidget

from runglass.gui.widgets.elided_label import ElidedLabel
from runglass.gui.widgets.empty_state import EmptyState
from runglass.gui.widgets.flow_grid import GAP, FlowGrid
from runglass.gui.widgets.frame_table import FrameTable
from runglass.gui.widgets.literal_tip import literal_tip
from runglass.gui.widgets.message_bar import MessageBar
from runglass.gui.widgets.regex_edit import RegexEdit
from runglass.gui.widgets.swatch import swatch_pixmap


def test_that_a_cut_text_keeps_both_ends_and_says_the_whole_in_its_tooltip(qtbot):
    text = "algoperf/baseline/study_1/librispeech_conformer_jax"
    label = ElidedLabel(text)
    qtbot.addWidget(label)
    label.resize(120, 20)
    label.show()
    assert label.is_cut
    assert label.shown.startswith("al")
    assert label.shown.endswith("ax")
    assert label.toolTip() == text
    label.resize(1000, 20)
    assert label.shown == text
    assert label.toolTip() == ""


def test_that_an_empty_state_shows_a_button_only_where_there_is_something_to_do(qtbot):
    state = EmptyState("Nothing is open.", "Drop a folder.", button="Open…")
    qtbot.addWidget(state)
    state.show()
    with qtbot.waitSignal(state.button_clicked):
        state._button.click()
    state.set_content("Done.")
    assert state.text == "Done."
    assert state._button.isHidden()


@pytest.mark.parametrize("width", [260, 520, 900])
def test_that_an_empty_state_says_it_in_the_middle(qtbot, width):
    state = EmptyState("No column says which workload a run belongs to. " * 4, "Name one.", button="Map…")
    qtbot.addWidget(state)
    state.resize(width, 300)
    state.show()
    qtbot.waitUntil(lambda: state._what.width() <= 420)
    for part in (state._what, state._remedy, state._button):
        assert abs(part.mapTo(state, part.rect().center()).x() - width / 2) <= 2


@pytest.fixture
def grid(qtbot):
    grid = FlowGrid()
    qtbot.addWidget(grid)
    grid.resize(1100, 500)
    grid.show()
    return grid


def columns_of(cards):
    return len({card.x() for card in cards})


def test_that_as_many_equal_cards_stand_beside_each_other_as_fit(grid):
    cards = [QWidget() for _ in range(7)]
    grid.set_cards(cards)
    assert columns_of(cards) == 3
    assert len({card.height() for card in cards}) == 1
    assert min(card.width() for card in cards) >= 320
    grid.resize(500, 500)
    assert columns_of(cards) == 1
    grid.set_columns(2)
    assert columns_of(cards) == 2


def test_that_a_wide_card_takes_a_whole_row(grid):
    cards = [QWidget() for _ in range(4)]
    grid.set_cards(cards, wide=[cards[1]])
    assert len({card.y() for card in cards}) == 3
    assert cards[1].width() > 2 * cards[0].width() + GAP


def test_that_the_grid_tells_which_cards_come_into_view(grid, qtbot):
    cards = [QWidget() for _ in range(40)]
    with qtbot.waitSignal(grid.visible_changed) as seen:
        grid.set_cards(cards)
    assert cards[0] in seen.args[0]
    assert cards[-1] not in seen.args[0]
    with qtbot.waitSignal(grid.visible_changed) as seen:
        grid.show_card(cards[-1])
    assert cards[-1] in seen.args[0]
    assert cards[0] not in seen.args[0]


def test_that_a_deleted_card_leaves_no_hole(grid, qtbot):
    cards = [QWidget() for _ in range(3)]
    grid.set_cards(cards)
    place = cards[0].pos()
    cards[0].deleteLater()
    qtbot.waitUntil(lambda: len(grid.cards) == 2)
    assert cards[1].pos() == place


def frame():
    return pd.DataFrame({"name": ["b", "a", None], "loss": [2.0, np.nan, 1.0]})


@pytest.fixture
def table(qtbot):
    table = FrameTable()
    qtbot.addWidget(table)
    table.resize(600, 300)
    table.show()
    return table


def texts(table, column):
    model = table.frame_model
    return [model.data(model.index(row, column)) for row in range(model.rowCount())]


def test_that_a_table_shows_its_frame_with_numbers_to_the_right(table):
    table.set_frame(frame(), titles={"loss": "val loss"})
    assert texts(table, 1) == ["2", "–", "1"]
    assert table.frame_model.titles == ("name", "val loss")
    alignment = table.frame_model.data(table.frame_model.index(0, 1), Qt.ItemDataRole.TextAlignmentRole)
    assert alignment & Qt.AlignmentFlag.AlignRight


def test_that_clicks_on_a_header_sort_one_way_the_other_and_not(table):
    table.set_frame(frame())
    header = table.horizontalHeader()
    shown = []
    for _ in range(3):
        header.sectionClicked.emit(1)
        shown.append(texts(table, 1))
    assert shown == [["2", "1", "–"], ["1", "2", "–"], ["2", "–", "1"]]


def test_that_new_rows_of_the_same_columns_keep_the_order_asked_for(table):
    table.set_frame(frame())
    table.set_sorting("loss")
    table.set_frame(pd.concat([frame(), frame() * 1], ignore_index=True).assign(loss=[3, 1, 2, 6, 5, 4]))
    assert texts(table, 1) == ["1", "2", "3", "4", "5", "6"]


def test_that_a_table_that_does_not_sort_itself_asks(table, qtbot):
    asking = FrameTable(sorts_itself=False)
    qtbot.addWidget(asking)
    asking.set_frame(frame())
    with qtbot.waitSignal(asking.sort_wanted) as asked:
        asking.horizontalHeader().sectionClicked.emit(0)
    assert asked.args == ["name", False]
    assert texts(asking, 0) == ["b", "a", "–"]


def test_that_picked_rows_are_positions_in_the_frame(table):
    table.set_frame(frame())
    table.set_sorting("loss")
    table.selectRow(0)
    assert table.selected_positions.tolist() == [2]


def test_that_copied_rows_have_a_line_of_titles_and_no_hidden_column(table):
    table.set_frame(frame())
    table.selectRow(0)
    table.horizontalHeader().setSectionHidden(0, True)
    table.copy()
    assert QGuiApplication.clipboard().text() == "loss\n2.0\n"


def test_that_a_million_rows_are_shown_without_making_them(table):
    rows = 1_000_000
    table.set_frame(pd.DataFrame({"n": np.arange(rows)}))
    table.scrollToBottom()
    assert table.frame_model.rowCount() == rows
    assert table.indexAt(table.viewport().rect().bottomLeft()).row() >= rows - 2


def test_that_good_and_bad_cells_are_coloured(table):
    table.set_frame(frame(), tones={"name": np.array([1, -1, 0])})
    inks = [table.frame_model.data(table.frame_model.index(row, 0), Qt.ItemDataRole.ForegroundRole) for row in (0, 1)]
    assert inks[0] != inks[1]


def test_that_a_pattern_is_told_once_after_a_pause_and_an_invalid_one_says_why(qtbot):
    edit = RegexEdit("runs")
    qtbot.addWidget(edit)
    told = []
    edit.pattern_changed.connect(told.append)
    qtbot.keyClicks(edit, "a(")
    qtbot.waitUntil(lambda: bool(told))
    assert told == ["a("]
    assert edit.property("invalid") is True
    assert "missing )" in edit.toolTip()
    edit.clear()
    qtbot.waitUntil(lambda: told == ["a(", ""])
    assert edit.property("invalid") is False


def test_that_a_pattern_from_elsewhere_is_not_told(qtbot):
    edit = RegexEdit()
    qtbot.addWidget(edit)
    with qtbot.assertNotEmitted(edit.pattern_changed, wait=150):
        edit.set_pattern("seed")
    assert edit.pattern == "seed"


def test_that_escape_empties_the_box_then_leaves_it(qtbot):
    edit = RegexEdit()
    qtbot.addWidget(edit)
    edit.set_pattern("seed")
    qtbot.keyClick(edit, Qt.Key.Key_Escape)
    assert edit.pattern == ""
    with qtbot.waitSignal(edit.left):
        qtbot.keyClick(edit, Qt.Key.Key_Escape)


def test_that_a_message_goes_by_itself_and_one_with_an_offer_stays(qtbot):
    bar = MessageBar()
    qtbot.addWidget(bar)
    bar.say("Read 152 runs.", for_ms=30)
    assert bar.text == "Read 152 runs."
    qtbot.waitUntil(lambda: bar.text == "")
    done = []
    bar.say("A file was restarted.", action="Reload", act=lambda: done.append(True))
    assert not bar._away.isActive()
    bar._action.click()
    assert done == [True]
    assert bar.text == ""


def test_that_the_second_round_of_the_palette_looks_different(qtbot):
    first, second = swatch_pixmap("c0").toImage(), swatch_pixmap("c6").toImage()
    assert first != second


def test_that_a_narrow_table_cuts_names_before_numbers(qtbot):
    table = FrameTable(compact=True)
    qtbot.addWidget(table)
    names = ["a name that is much longer than the bar is wide", "another such name of an estimate"]
    table.set_frame(pd.DataFrame({"": names, "value": ["10,000", "0.934"], "interval": ["[0.927, 0.941]", "a count"]}))
    table.resize(270, 200)
    table.show()
    assert table.columnWidth(0) < table._natural_widths[0]
    for column in (1, 2):
        text = table.frame_model.data(table.frame_model.index(0, column))
        assert table.columnWidth(column) >= table.fontMetrics().horizontalAdvance(text) + 16
    assert sum(table.columnWidth(column) for column in range(3)) <= table.viewport().width()


def test_that_a_name_with_markup_is_shown_as_it_is(qtbot):
    tip = literal_tip("<b>run</b>\n2 tags")
    document = QTextDocument()
    document.setHtml(tip)
    assert document.toPlainText().splitlines() == ["<b>run</b>", "2 tags"]
    assert literal_tip("loss < 4 and a > 3") == "loss < 4 and a > 3"
    table = FrameTable()
    qtbot.addWidget(table)
    table.set_frame(pd.DataFrame({"<i>a</i>": ["<b>x</b>"]}))
    model = table.model()
    tips = [
        model.data(model.index(0, 0), Qt.ItemDataRole.ToolTipRole),
        model.headerData(0, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole),
    ]
    assert tips == [literal_tip("<b>x</b>"), literal_tip("<i>a</i>")]
