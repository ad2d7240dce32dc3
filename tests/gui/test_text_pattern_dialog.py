import pytest

from runglass.gui.panes.text_pattern import TextPatternDialog
from runglass.gui.workspace import Workspace
from runglass.models.session import Session
from runglass.models.store import RunStore
from runglass.models.text_pattern import TextPattern

LOG = "begin\nstep 1 loss 3.5\nstep 2 loss 3.25\nend\n"


@pytest.fixture
def workspace(qtbot, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "train.log").write_text(LOG)
    return Workspace(Session(roots=(str(tmp_path),)), RunStore())


@pytest.fixture
def dialog(workspace, qtbot):
    dialog = TextPatternDialog(workspace)
    qtbot.addWidget(dialog)
    dialog.show()
    yield dialog
    dialog.done(0)


def test_that_a_log_below_what_is_open_is_the_example_and_what_is_found_is_shown(dialog, qtbot):
    qtbot.waitUntil(lambda: "2 values" in dialog.said)
    assert dialog.said == "2 values of 1 metric in 2 of 5 lines."
    assert dialog.found.frame_model.frame["value"].tolist() == [3.5, 3.25]
    assert [mark.cursor.blockNumber() for mark in dialog.text.extraSelections()] == [1, 2]


def test_that_a_fault_in_the_pattern_is_pointed_at_and_cannot_be_kept(dialog, workspace, qtbot):
    dialog.set_pattern("mine", "*.log", "step (?P<step>")
    dialog.refresh()
    assert "no regular expression" in dialog.said
    assert dialog._caret.text().index("▲") == 14
    dialog.accept()
    assert workspace.session.text_patterns == ()


def test_that_a_pattern_is_kept_changed_and_forgotten(dialog, workspace, qtbot):
    regex = r"step (?P<step>\d+) loss (?P<loss>\S+)"
    dialog.set_pattern("mine", "*.log", regex)
    dialog.accept()
    assert workspace.session.text_patterns == (TextPattern("mine", "*.log", regex),)
    again = TextPatternDialog(workspace)
    qtbot.addWidget(again)
    again.set_pattern("ours", "*.txt", regex)
    again.accept()
    assert workspace.session.text_patterns == (TextPattern("ours", "*.txt", regex),)
    last = TextPatternDialog(workspace)
    qtbot.addWidget(last)
    last.forget()
    assert workspace.session.text_patterns == ()


def test_that_lines_in_which_nothing_is_found_say_so(dialog, qtbot):
    qtbot.waitUntil(lambda: "2 values" in dialog.said)
    dialog.text.setPlainText("nothing here")
    qtbot.waitUntil(lambda: dialog.said == "Nothing is found in these lines.")
