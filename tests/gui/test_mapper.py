import pandas as pd
import pytest

from runglass.gui.panes.mapper import ColumnMapperDialog
from runglass.gui.workspace import Workspace
from runglass.models.column_map import ColumnMap
from runglass.models.session import Session
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

FRAME = pd.DataFrame({"Model Size": [1e8, 2e8], "Training FLOP": [1e18, 4e18], "loss": [3.0, 2.5]})


@pytest.fixture
def workspace(qtbot):
    return Workspace(
        Session(), RunStore().adding([TableRows("sweep[1].csv", "t", FRAME), TableRows("b.csv", "t", FRAME)])
    )


@pytest.fixture
def dialog(workspace, qtbot):
    dialog = ColumnMapperDialog(workspace, "sweep[1].csv")
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def test_that_what_names_suggest_is_proposed_and_kept_in_the_session(dialog, workspace):
    assert dialog.column_map.names == (("params", "Model Size"), ("flops", "Training FLOP"))
    dialog.accept()
    (kept,) = workspace.session.maps
    assert kept.table == "runs"
    assert kept.applies_to("sweep[1].csv")
    assert not kept.applies_to("b.csv")
    assert workspace.now.kept.rows("runs")["params"].tolist() == [1e8, 2e8]


def test_that_a_derived_column_is_shown_as_it_is_typed(dialog, qtbot):
    row = dialog.add_derived("tokens", "flops/(6*params)")
    dialog.refresh()
    assert row.error == ""
    result = dialog.result_table.frame_model.frame
    assert result["tokens"].tolist() == pytest.approx([1e18 / 6e8, 4e18 / 12e8])
    assert list(result.columns[:4]) == ["run", "params", "tokens", "flops"]


def test_that_a_fault_in_an_expression_is_pointed_at_and_cannot_be_kept(dialog, workspace):
    row = dialog.add_derived("tokens", "flops/(6*paramz)")
    dialog.refresh()
    assert "'paramz'" in row.error
    assert row._caret.text().index("▲") == "flops/(6*paramz)".index("paramz")
    dialog.accept()
    assert workspace.session.maps == ()
    assert dialog.isVisible()
    row.removed.emit()
    dialog.accept()
    assert len(workspace.session.maps) == 1


def test_that_values_that_do_not_fit_are_said_before_they_are_kept(dialog):
    dialog.set_table("predictions")
    dialog.choose("item", "Model Size")
    dialog.choose("confidence", "loss")
    dialog.refresh()
    assert "outside [0, 1]" in dialog.said
    dialog.choose("confidence", "")
    dialog.refresh()
    assert dialog.said.startswith("2 rows of predictions")


def test_that_a_pattern_says_how_many_tables_it_takes(dialog):
    dialog._pattern.setText("*.csv")
    dialog.refresh()
    assert dialog._pattern_said.text() == "2 of 2 open tables"
    dialog._pattern.setText("b*")
    dialog.refresh()
    assert dialog._pattern_said.text() == "1 of 2 open tables, not this one"


def test_that_a_map_that_is_there_is_edited_not_added_to(workspace, qtbot):
    old = ColumnMap((("tokens", "loss"),), (("twice", "loss * 2"),), "*.csv", "runs")
    workspace.change(maps=(old,))
    dialog = ColumnMapperDialog(workspace, "b.csv")
    qtbot.addWidget(dialog)
    assert ("tokens", "loss") in dialog.column_map.names
    dialog.choose("tokens", "")
    dialog.accept()
    (kept,) = workspace.session.maps
    assert kept.derived == old.derived
    assert "tokens" not in dict(kept.names)
    again = ColumnMapperDialog(workspace, "b.csv")
    qtbot.addWidget(again)
    again.forget()
    assert workspace.session.maps == ()
