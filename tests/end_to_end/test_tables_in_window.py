"""Column maps that are remembered, and all tables written from the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QFileDialog

from runglass.gui.main_window import MainWindow
from runglass.gui.panes import mapper
from runglass.gui.settings import Settings
from runglass.models.column_map import ColumnMap
from runglass.models.loader import load

LONG = 30_000
SIZES = ColumnMap((("params", "Model Size"),), (("tokens", "Budget/6"),), "*/sizes.csv", "runs")


@pytest.fixture
def window(qtbot: Any, tmp_path: Path) -> Iterator[MainWindow]:
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/metrics.csv").write_text("step,loss\n" + "".join(f"{n},{1 / (n + 1)}\n" for n in range(50)))
    (tmp_path / "runs/sizes.csv").write_text("Model Size,Budget\n1e6,6e9\n4e6,24e9\n")
    window = MainWindow(Settings(tmp_path / "settings.ini"))
    window.show()
    qtbot.addWidget(window)
    yield window
    window.close()


def opened(window: MainWindow, qtbot: Any, folder: Path) -> None:
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open([str(folder)])


def test_that_a_map_is_remembered_for_files_of_its_pattern(
    window: MainWindow, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mapping:
        """The dialog, with which the user says what the columns mean."""

        def __init__(self, workspace: Any, *_: Any) -> None:
            self.exec = lambda: workspace.change(maps=(SIZES,))

        def deleteLater(self) -> None:
            pass

    opened(window, qtbot, tmp_path / "runs")
    monkeypatch.setattr(mapper, "ColumnMapperDialog", Mapping)
    window.map_columns("runs/sizes.csv")
    assert window.workspace.now.kept.rows("runs")["params"].dropna().tolist() == [1e6, 4e6]

    later = MainWindow(Settings(tmp_path / "settings.ini"))
    qtbot.addWidget(later)
    opened(later, qtbot, tmp_path / "runs")
    assert later.workspace.session.maps == (SIZES,)
    assert later.workspace.now.kept.rows("runs")["tokens"].dropna().tolist() == [1e9, 4e9]
    later.close()


def test_that_a_map_that_was_taken_back_is_forgotten(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.ini")
    settings.column_maps = (SIZES,)
    assert Settings(tmp_path / "settings.ini").column_maps == (SIZES,)
    settings.column_maps = ()
    assert Settings(tmp_path / "settings.ini").column_maps == ()


@pytest.mark.parametrize("stored", ["{", "[]", '{"runglass_session": 99}', '{"runglass_session": 1, "maps": [{}]}'])
def test_that_settings_nobody_understands_are_no_maps(tmp_path: Path, stored: str) -> None:
    settings = Settings(tmp_path / "settings.ini")
    settings._values.setValue("column_maps", stored)
    assert settings.column_maps == ()


def test_that_all_tables_are_written_and_open_as_the_same_runs(
    window: MainWindow, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.exports.export_tables()
    assert "nothing to export" in window._messages.text
    opened(window, qtbot, tmp_path / "runs")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(tmp_path / "shared"), ""))
    window.exports.export_tables()
    qtbot.waitUntil(lambda: (tmp_path / "shared").is_dir(), timeout=LONG)
    assert len(load([tmp_path / "shared"]).runs["shared/runs/a"].curves["loss"]) == 50
    qtbot.waitUntil(lambda: "Exported" in window.statusBar().currentMessage(), timeout=LONG)
    window.exports.export_tables()
    qtbot.waitUntil(lambda: "is there already" in window._messages.text, timeout=LONG)
