"""The whole path a user takes, in the real window."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent

from runglass.gui.app import open_asked
from runglass.gui.main_window import MainWindow
from runglass.gui.panes.curves import CurvesPane
from runglass.gui.panes.export import ExportDialog
from runglass.gui.settings import Settings
from runglass.models.figure import Line
from runglass.models.selection import Holds, is_in
from runglass.models.session import Grouping
from runglass.resources import demo_folder

LONG = 30_000


def write_run(folder: Path, seed: int, steps: int = 40, *, tail: str = "\n") -> Path:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"{step},{3 / (step + 1) + rng.normal(0, 0.01):.6f},{0.1:.6f}" for step in range(steps)]
    path = folder / "metrics.csv"
    path.write_text("step,val/loss,lr\n" + "\n".join(rows) + tail)
    (folder / "hparams.yaml").write_text(f"seed: {seed}\nfamily: {folder.parent.name}\n")
    return path


@pytest.fixture
def project(tmp_path):
    for arm in ("adam", "sgd"):
        for seed in range(3):
            write_run(tmp_path / "project" / arm / f"seed_{seed}", seed)
    return tmp_path / "project"


@pytest.fixture
def window(qtbot, tmp_path):
    window = MainWindow(Settings(tmp_path / "settings.ini"), autosave=tmp_path / "autosave.json")
    window.resize(1280, 800)
    window.show()
    qtbot.addWidget(window)
    yield window
    window.close()


def settled(window, qtbot):
    """Wait until everything that was asked has been answered and is shown."""
    qtbot.wait(150)  # many changes at once become one round of questions, a moment later
    qtbot.waitUntil(lambda: not window.tasks.running, timeout=LONG)


def opened(window, qtbot, *paths):
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open([str(path) for path in paths])
    qtbot.waitUntil(
        lambda: bool(cards(window)) and all(card.view.answer for card in cards(window).values()), timeout=LONG
    )


def cards(window):
    pane = window.area.content("curves")
    assert isinstance(pane, CurvesPane)
    return {card.tag: card for card in pane.cards}


def lines(card):
    return {mark.key: mark for _, mark in card.view.answer.figure.marks() if isinstance(mark, Line)}


def test_that_an_opened_folder_shows_its_curves_the_most_useful_first(window, qtbot, project):
    opened(window, qtbot, project)
    assert list(cards(window)) == ["val/loss", "lr"]
    assert {key.rsplit("/val/loss")[0] for key in lines(cards(window)["val/loss"])} == set(window.workspace.now.ticked)
    assert len(window.workspace.now.ticked) == 6


def test_that_a_dropped_folder_is_opened(window, qtbot, project):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(project))])
    event = QDropEvent(
        QPointF(10, 10), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.dropEvent(event)
    settled(window, qtbot)
    assert len(window.workspace.now.all.runs) == 6


def test_that_a_folder_dropped_beside_another_keeps_what_was_said_of_it(window, qtbot, project, tmp_path):
    opened(window, qtbot, project)
    window.workspace.change(ticked=frozenset({"project/adam/seed_0"}), run_filter="seed")
    write_run(tmp_path / "more" / "seed_9", 9)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "more"))])
    event = QDropEvent(
        QPointF(10, 10), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.dropEvent(event)
    settled(window, qtbot)
    assert len(window.workspace.now.all.runs) == 7
    assert window.workspace.now.ticked == ("project/adam/seed_0",)
    assert window.workspace.session.run_filter == "seed"


def test_that_grouped_runs_become_bands_with_their_n(window, qtbot, project):
    opened(window, qtbot, project)
    window.workspace.change(grouping=Grouping(("family",)))
    qtbot.wait(100)
    settled(window, qtbot)
    answer = cards(window)["val/loss"].view.answer
    assert answer.analysis.id == "curve.seed-band"
    assert answer.result.estimates["adam/n"].value == 3
    window.workspace.undo()
    qtbot.wait(100)
    settled(window, qtbot)
    assert cards(window)["val/loss"].view.answer.analysis.id == "curve.smooth"


def test_that_a_growing_file_grows_on_screen_and_a_zoom_stays(window, qtbot, project):
    opened(window, qtbot, project)
    window.workspace.change(follow=False)
    card = cards(window)["val/loss"]
    card.view.figure_view.set_x_range("step", "linear", 5.0, 20.0)
    with (project / "adam/seed_0/metrics.csv").open("a") as file:
        file.write("".join(f"{step},0.05,0.1\n" for step in range(40, 60)))
    window.feed.refresh()
    qtbot.waitUntil(
        lambda: len(window.workspace.now.all.runs["project/adam/seed_0"].curves["val/loss"]) == 60, timeout=LONG
    )
    qtbot.wait(150)
    settled(window, qtbot)
    assert len(lines(card)["project/adam/seed_0/val/loss"].x) == 60
    low, high = card.view.figure_view.panels[0].x_window
    assert (low, high) == pytest.approx((5.0, 20.0))


def test_that_a_filter_decides_what_is_shown_and_a_wrong_one_nothing(window, qtbot, project):
    opened(window, qtbot, project)
    window.tool_bar.filter_line.setText("seed == 0")
    window.tool_bar.filter_line.editingFinished.emit()
    assert window.workspace.session.filter == Holds("seed == 0")
    assert len(window.workspace.now.kept.kept_runs) == 2
    window.tool_bar.filter_line.setText("sed == 0")
    window.tool_bar.filter_line.editingFinished.emit()
    assert window.workspace.session.filter == Holds("seed == 0")
    assert window.tool_bar.filter_line.property("invalid") is True
    assert "No open table has the columns" in window.tool_bar.filter_line.toolTip()


def test_that_what_is_exported_is_what_is_drawn(window, qtbot, project, tmp_path):
    opened(window, qtbot, project)
    answer = cards(window)["val/loss"].view.answer
    out = tmp_path / "paper"
    out.mkdir()
    dialog = ExportDialog(answer, window.tasks, out, window)
    qtbot.addWidget(dialog)
    dialog._style.setCurrentIndex(dialog._style.findData("neurips"))
    dialog._name.setText("figure")
    with qtbot.waitSignal(dialog.exported, timeout=LONG):
        dialog._on_export_clicked()
    assert {path.suffix for path in out.iterdir()} >= {".pdf", ".png", ".csv", ".py", ".txt"}
    with (out / "figure.csv").open() as file:
        rows = list(csv.DictReader(file))
    drawn = lines(cards(window)["val/loss"])["project/adam/seed_1/val/loss"]
    exported = [float(row["y"]) for row in rows if row["key"] == "project/adam/seed_1/val/loss"]
    assert exported == pytest.approx(drawn.y.tolist())
    dialog.close()


def test_that_a_saved_session_opens_as_the_same_window(window, qtbot, project, tmp_path):
    opened(window, qtbot, project)
    window.workspace.change(ticked=frozenset({"project/sgd/seed_1"}), theme="dark")
    window.add_analysis("curve.seed-band")
    settled(window, qtbot)
    saved = window.workspace.session
    window.files.save_to(tmp_path / "a.runglass.json")
    assert json.loads((tmp_path / "a.runglass.json").read_text())["roots"] == ["project"]
    window.workspace.change(ticked=None, theme="light", panes=())
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open([str(tmp_path / "a.runglass.json")])
    settled(window, qtbot)
    now = window.workspace.session
    assert (now.ticked, now.theme, now.panes) == (saved.ticked, "dark", saved.panes)
    assert window.area.content("curve.seed-band").answer is not None


def test_that_a_session_comes_back_after_a_crash(window, qtbot, project, tmp_path):
    opened(window, qtbot, project)
    window.workspace.change(run_filter="adam")
    qtbot.waitUntil(lambda: (tmp_path / "autosave.json").exists(), timeout=LONG)
    assert json.loads((tmp_path / "autosave.json").read_text())["run_filter"] == "adam"


def test_that_broken_files_are_named_in_the_problems_pane(window, qtbot, project):
    (project / "broken").mkdir()
    (project / "broken/events.out.tfevents.1.host").write_bytes(bytes(range(200)))
    opened(window, qtbot, project)
    assert len(window.workspace.now.all.runs) == 7
    qtbot.waitUntil(lambda: "1 problem" in window.status.problems.text(), timeout=LONG)


def test_that_the_demo_answers_in_every_pane_and_panes_are_linked(window, qtbot):
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open_demo()
    settled(window, qtbot)
    panes = {
        pane.key: window.area.content(pane.key) for pane in window.workspace.session.panes if pane.kind == "analysis"
    }
    assert {pane.answer.analysis.family for pane in panes.values() if pane.answer} == {
        "scaling",
        "compat",
        "calibration",
    }
    assert not window.workspace.now.all.problems
    # Items of one cell of the flip table light up where the reliability diagram and the items pane show them.
    flips = panes["flips"].answer.result.tables["items"]
    window.workspace.highlight(is_in("item", flips["item"].head(5)))
    settled(window, qtbot)
    emphasis = window.workspace.now.emphasis
    touched = [
        emphasis.of(mark.origin).any()
        for _, mark in panes["reliability"].answer.figure.marks()
        if getattr(mark, "origin", None) is not None and emphasis.of(mark.origin) is not None
    ]
    assert any(touched)
    window.clear()
    assert window.workspace.session.highlight is None


def test_that_the_folder_is_left_as_it_was(window, qtbot, project):
    def state():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in project.rglob("*")}

    before = state()
    opened(window, qtbot, project)
    window.workspace.change(filter=Holds("seed == 1"))
    settled(window, qtbot)
    assert state() == before


def test_that_the_shipped_demo_session_names_what_is_there():
    session = json.loads((demo_folder() / "demo.runglass.json").read_text())
    for run in session["ticked"]:
        assert (demo_folder().parent / run).is_dir(), run


def test_that_the_next_start_offers_what_was_open(window, qtbot, project, tmp_path):
    opened(window, qtbot, project)
    window.workspace.change(run_filter="adam")
    window.close()
    again = MainWindow(Settings(tmp_path / "settings.ini"), autosave=tmp_path / "autosave.json")
    qtbot.addWidget(again)
    again.files.offer_last_session()
    assert "project" in again._messages.text
    with qtbot.waitSignal(again.feed.loaded, timeout=LONG):
        again._messages._action.click()
    assert again.workspace.session.run_filter == "adam"
    assert len(again.workspace.now.all.runs) == 6
    settled(again, qtbot)
    again.close()


def test_that_panes_nobody_can_answer_are_left_out_of_a_session_with_a_word(window, qtbot, project, tmp_path):
    panes = [
        {"key": "curves", "kind": "curves"},
        {"key": "a", "kind": "analysis", "analysis": "no.such"},
        {"key": "b", "kind": "analysis", "analysis": "curve.smooth", "question": {"runs": 5}},
    ]
    session = {"runglass_session": 1, "roots": ["project"], "panes": panes, "focus": "a", "layout": "é"}
    (tmp_path / "a.runglass.json").write_text(json.dumps(session))
    opened(window, qtbot, tmp_path / "a.runglass.json")
    assert [pane.key for pane in window.workspace.session.panes] == ["curves"]
    assert "left out" in window._messages.text


def test_that_the_command_line_has_the_last_word_on_following_and_layout(window, qtbot, project, tmp_path):
    opened(window, qtbot, project)
    window.workspace.change(grouping=Grouping(("family",)))
    window.files.save_to(tmp_path / "a.runglass.json")
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        open_asked(window, [str(project)], None, tmp_path / "a.runglass.json", follow=False, demo=False)
    assert window.workspace.session.grouping == Grouping(("family",))
    assert not window.workspace.session.follow
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        open_asked(window, [], tmp_path / "a.runglass.json", None, follow=False, demo=False)
    assert not window.workspace.session.follow
    assert not window.workspace.can_undo


def test_that_a_session_file_is_not_written_over_with_other_data(window, qtbot, project, tmp_path):
    opened(window, qtbot, project / "adam")
    window.files.save_to(tmp_path / "a.runglass.json")
    opened(window, qtbot, tmp_path / "a.runglass.json")
    opened(window, qtbot, project / "adam", project / "sgd")
    assert window.files.path == tmp_path / "a.runglass.json"
    opened(window, qtbot, project / "sgd")
    assert window.files.path is None


def test_that_a_log_axis_that_is_on_by_default_is_switched_off_by_its_key(window, qtbot, project):
    opened(window, qtbot, project)
    window.add_analysis("curve.grokking")
    window.toggle_curves("log_x")
    assert window.workspace.pane("curve.grokking").question["log_x"] is False


def test_that_a_pane_opened_again_does_not_show_the_numbers_of_the_one_that_was_closed(window, qtbot, project):
    opened(window, qtbot, project)
    window.add_analysis("curve.seed-band")
    settled(window, qtbot)
    assert window.inspector._answers["curve.seed-band"] is not None
    window.close_current()
    assert "curve.seed-band" not in window.inspector._answers


def test_that_cards_say_when_no_run_passes_the_filter(window, qtbot, project):
    opened(window, qtbot, project)
    window.workspace.change(filter=Holds("seed > 99"))
    settled(window, qtbot)
    assert "No run passes the filter" in window.area.content("curves")._empty.text


def test_that_times_that_are_no_seconds_are_not_told_at_the_cursor(window, qtbot, project):
    path = project / "odd" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps({"step": s, "loss": 1.0, "_timestamp": 1.7e18 + s}) + "\n" for s in range(3)))
    opened(window, qtbot, project / "odd")
    settled(window, qtbot)
    card = cards(window)["loss"]
    line = next(line for line in lines(card).values() if len(line.x) == 3)
    assert "wall" not in card._times(line, 1)
