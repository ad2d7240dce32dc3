"""Templates, the palette and reports in the real window, on the demo."""

import json

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication

from runglass.analysis.asking import column_map
from runglass.analysis.templates import templates
from runglass.gui.main_window import MainWindow
from runglass.gui.panes.analysis import AnalysisPane
from runglass.gui.panes.palette import Palette
from runglass.gui.settings import Settings
from runglass.models.session import Session
from runglass.resources import demo_folder

LONG = 60_000


@pytest.fixture
def window(qtbot, tmp_path):
    window = MainWindow(Settings(tmp_path / "settings.ini"))
    window.resize(1280, 800)
    window.show()
    qtbot.addWidget(window)
    window.workspace.change(follow=False, health=False)
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open_demo()
    yield window
    window.close()


def settled(window, qtbot):
    qtbot.wait(150)
    qtbot.waitUntil(lambda: not window.tasks.running, timeout=LONG)


@pytest.mark.parametrize("template", templates()[:5], ids=lambda one: one.name)
def test_that_every_pane_of_a_template_answers_on_the_demo_and_undo_goes_back(window, qtbot, template):
    before = window.workspace.session.panes
    window.arrange_as(template)
    settled(window, qtbot)
    assert window.workspace.session.panes
    for pane in window.workspace.session.panes:
        content = window.area.content(pane.key)
        if isinstance(content, AnalysisPane):
            assert content.answer is not None, pane.analysis
    window.workspace.undo()
    assert window.workspace.session.panes == before


def typed_into_palette(window, qtbot, text):
    """Open the palette as Ctrl+K does, type, press Enter."""

    def type_it():
        palette = QApplication.activeModalWidget()
        assert isinstance(palette, Palette)
        qtbot.keyClicks(palette._line, text)
        qtbot.keyClick(palette._line, Qt.Key.Key_Return)
        palette.reject()  # where nothing was found, Enter leaves it open

    QTimer.singleShot(50, type_it)
    window.open_palette()


def test_that_a_question_found_by_typing_opens_its_pane(window, qtbot):
    typed_into_palette(window, qtbot, "rank.kendall")
    settled(window, qtbot)
    assert window.workspace.session.panes[-1].analysis == "rank.kendall"


def test_that_a_run_found_by_typing_is_highlighted_and_shown(window, qtbot):
    key = next(key for key in window.workspace.now.all.runs if key not in window.workspace.now.ticked)
    typed_into_palette(window, qtbot, key)
    assert window.workspace.session.highlight.values == {key}
    assert key in window.workspace.now.ticked


def test_that_an_action_found_by_typing_is_done(window, qtbot):
    window.show_pane("curves")
    typed_into_palette(window, qtbot, "log y")
    assert window.workspace.session.curves.log_y


def test_that_a_session_with_a_dashboard_comes_back(window, qtbot, tmp_path):
    window.arrange_as(next(one for one in templates() if one.name == "model-release"))
    window.files.save_to(tmp_path / "release.runglass.json")
    told = json.loads((tmp_path / "release.runglass.json").read_text())
    assert [pane["analysis"] for pane in told["panes"]][:2] == ["compat.flips", "compat.profile"]


def test_that_tables_without_curves_open_with_what_can_be_asked(qtbot, tmp_path):
    window = MainWindow(Settings(tmp_path / "other.ini"))
    qtbot.addWidget(window)
    window.show()
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open([str(demo_folder() / "digits" / f"predictions_{version}.parquet") for version in ("v1", "v2")])
    assert [pane.kind for pane in window.workspace.session.panes] == ["questions"]
    assert not window.workspace.can_undo
    window.add_analysis("compat.flips")
    settled(window, qtbot)
    assert window.area.content("compat.flips").answer is not None
    window.close()


@pytest.mark.parametrize(
    ("name", "folder", "least"),
    [
        ("pretraining-watch", "runs/modded_nanogpt", 4),
        ("scaling-study", "scaling/gemstones/hot.jsonl", 4),
        ("model-release", "compatibility/mmlu_pro", 4),
        ("benchmark-audit", "ranking/pythia", 4),
        ("calibration-audit", "calibration/vgg_cifar10", 5),
    ],
)
def test_that_templates_answer_on_what_others_logged(qtbot, tmp_path, shared_data, name, folder, least):
    window = MainWindow(Settings(tmp_path / "other.ini"))
    qtbot.addWidget(window)
    window.resize(1280, 800)
    window.show()
    window.workspace.change(follow=False, health=False)
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open([str(shared_data / folder)])
    if name == "scaling-study":  # its sizes have a name of their own, as a user would say in the mapper
        window.workspace.change(maps=column_map(["params=params_active_precise"], []))
    window.arrange_as(next(one for one in templates() if one.name == name))
    settled(window, qtbot)
    contents = [window.area.content(pane.key) for pane in window.workspace.session.panes]
    answered = [one for one in contents if not isinstance(one, AnalysisPane) or one.answer is not None]
    assert len(answered) >= least
    window.close()


def test_that_a_tag_that_only_other_runs_have_is_drawn_of_those(window, qtbot):
    now = window.workspace.now
    ticked = {tag for key in now.ticked for tag in now.kept.runs[key].curves}
    tag = next(tag for tag in now.kept.tags() if tag not in ticked)
    window.show_tag(tag)
    settled(window, qtbot)
    pane = window.workspace.session.panes[-1]
    assert pane.question["tag"] == tag
    assert window.area.content(pane.key).answer is not None


def test_that_what_the_user_has_arranged_while_tables_were_read_stays(window):
    window.workspace.replace(Session(roots=window.workspace.session.roots))
    window.workspace.change(run_filter="x")
    window._offer_questions()
    assert window.workspace.session.panes == Session().panes
    assert window.workspace.can_undo
