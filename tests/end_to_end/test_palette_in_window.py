"""The colours of runs and groups: chosen in the window, kept in the session, the same on paper."""

import json

import pytest
from PySide6.QtWidgets import QMenu

from runglass.gui.main_window import MainWindow
from runglass.gui.panes.export import ExportDialog
from runglass.gui.settings import Settings
from runglass.gui.theme import appearance, colour
from runglass.resources import theme
from runglass.resources.palettes import BUILT_IN

LONG = 30_000


@pytest.fixture
def runs(tmp_path):
    for seed in range(3):
        (tmp_path / f"runs/seed_{seed}").mkdir(parents=True)
        rows = "".join(f"{step},{2 + 3 / (1 + step) + 0.1 * seed}\n" for step in range(20))
        (tmp_path / f"runs/seed_{seed}/metrics.csv").write_text("step,loss\n" + rows)
    return tmp_path / "runs"


@pytest.fixture
def window(qtbot, tmp_path):
    window = made(qtbot, tmp_path)
    yield window
    window.close()
    appearance().apply("light")


def made(qtbot, tmp_path):
    window = MainWindow(Settings(tmp_path / "settings.ini"))
    qtbot.addWidget(window)
    window.show()
    window.workspace.change(theme="light", follow=False)
    return window


def settled(window, qtbot):
    qtbot.wait(150)
    qtbot.waitUntil(lambda: not window.tasks.running, timeout=LONG)


def palette_menu(window):
    menu = next(one for one in window.menus.root.findChildren(QMenu) if one.title() == "Palette")
    menu.aboutToShow.emit()
    return menu


def test_that_the_menu_shows_every_palette_and_which_is_on(window):
    menu = palette_menu(window)
    assert len(menu.actions()) == len(BUILT_IN)
    assert [one.text() for one in menu.actions() if one.isChecked()] == ["Tol bright"]
    next(one for one in menu.actions() if one.text() == "Okabe and Ito").trigger()
    assert colour("c0").name() == "#0072b2"
    assert [one.text() for one in palette_menu(window).actions() if one.isChecked()] == ["Okabe and Ito"]


def test_that_it_holds_on_dark_can_be_undone_and_is_remembered(window, qtbot, tmp_path):
    window.colour_by("tol-muted")
    window.workspace.change(theme="dark")
    assert colour("c0").name() == theme("dark", "tol-muted").palette[0]
    window.workspace.undo()
    window.workspace.undo()
    assert colour("c0").name() == theme("light").palette[0]
    window.colour_by("okabe-ito")
    later = made(qtbot, tmp_path)
    assert later.workspace.session.palette == "okabe-ito"
    assert colour("c1").name() == "#d55e00"
    later.close()


def test_that_a_session_brings_its_palette_and_one_without_leaves_the_present(window, tmp_path):
    (tmp_path / "plain.runglass.json").write_text('{"runglass_session": 1, "roots": []}')
    window.colour_by("print")
    window.files.save_to(tmp_path / "a.runglass.json")
    assert json.loads((tmp_path / "a.runglass.json").read_text())["palette"] == "print"
    window.colour_by("okabe-ito")
    window.files.open_session(tmp_path / "plain.runglass.json")
    assert window.workspace.session.palette == "okabe-ito"
    window.files.open_session(tmp_path / "a.runglass.json")
    assert colour("c0").name() == "#004488"


def test_that_a_palette_that_is_not_here_is_said_and_stays_in_the_session(window, tmp_path):
    named = {"runglass_session": 1, "roots": [], "palette": "of-the-lab"}
    (tmp_path / "lab.runglass.json").write_text(json.dumps(named))
    window.files.open_session(tmp_path / "lab.runglass.json")
    assert "'of-the-lab' is not installed" in window._messages.text
    assert colour("c0").name() == theme("light").palette[0]
    assert window.workspace.session.palette == "of-the-lab"
    assert Settings(tmp_path / "settings.ini").palette == ""


def test_that_what_is_exported_has_the_colours_of_the_window_unless_others_are_chosen(window, runs, qtbot, tmp_path):
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open([str(runs)])
    window.colour_by("okabe-ito")
    settled(window, qtbot)
    out = tmp_path / "paper"
    out.mkdir()
    for chosen, first in (("", "#0072b2"), ("print", "#004488")):
        dialog = ExportDialog(window.figures.answer, window.tasks, out, window)
        qtbot.addWidget(dialog)
        for kind, box in dialog._formats.items():
            box.setChecked(kind == "svg")
        if chosen:
            dialog._palette.setCurrentIndex(dialog._palette.findData(chosen))
        dialog._name.setText(f"loss{chosen}")
        with qtbot.waitSignal(dialog.exported, timeout=LONG):
            dialog._on_export_clicked()
        assert first in (out / f"loss{chosen}.svg").read_text()
        assert first in (out / f"loss{chosen}.py").read_text()
        dialog.close()
