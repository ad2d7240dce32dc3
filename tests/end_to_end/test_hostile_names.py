"""Names that are markup, or that turn the text around them, are shown as the names they are: in every pane, and in a report."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from PySide6.QtCore import QAbstractListModel, Qt
from PySide6.QtGui import QAction, QTextDocument
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QGraphicsTextItem,
    QGraphicsView,
    QLabel,
    QMenu,
    QTextEdit,
    QWidget,
)

from runglass.__main__ import main
from runglass.analysis import registry
from runglass.gui.main_window import MainWindow
from runglass.gui.settings import Settings
from runglass.models.session import Pane

LONG = 30_000
EVIL = '<img src="q.png"><b>x'
TURNED = "\u202egnp.exe"
PANES = (
    ("compat.flips", {}),
    ("compat.flip-matrix", {}),
    ("calibration.reliability", {}),
    ("items.explorer", {}),
    ("rank.kendall", {}),
    ("board.aggregate", {}),
    ("curve.smooth", {}),
    ("curve.seed-band", {}),
    ("curve.spikes", {}),
    ("runs.parallel", {}),
    ("runs.scatter", {}),
)


class Pictures(HTMLParser):
    """Collects what the pictures of a page show."""

    def __init__(self):
        super().__init__()
        self.sources = []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.sources.append(dict(attrs).get("src", ""))


@pytest.fixture
def project(tmp_path):
    """A folder in which everything that has a name has one that is markup."""
    root = tmp_path / "project"
    # A name of a folder has no slash, so that its markup is cut off there.
    for number, name in enumerate((f"{EVIL}1", f"{EVIL}2", TURNED)):
        folder = root / name
        folder.mkdir(parents=True)
        rows = "".join(f"{step},{3 / (step + 1 + number)},{0.1}\n" for step in range(40))
        (folder / "metrics.csv").write_text(f'step,"{EVIL.replace(chr(34), chr(34) * 2)}loss",lr\n{rows}')
        (folder / "config.yaml").write_text(f"'{EVIL}key': '{EVIL}value {number}'\nseed: {number}\n")
    table = pd.DataFrame(
        [
            {
                "item": f"{EVIL}item {item}", "model": f"{EVIL}model {model}", "task": f"{EVIL}task {item % 2}",
                "version": f"{EVIL}version {version}", "label": f"{EVIL}label {item % 2}",
                "prediction": f"{EVIL}label {(item * 7 + version + model) % 3 % 2}", "confidence": 0.5 + (item % 5) / 10,
                "text": f"{EVIL}text",
            }
            for item in range(40) for model in range(3) for version in range(2)
        ]
    )  # fmt: skip
    table.to_csv(root / "predictions.csv", index=False)
    (root / "broken<img src=q.png>.npz").write_bytes(b"PK\x03\x04 no archive")
    return root


@pytest.fixture
def window(qtbot, tmp_path):
    window = MainWindow(Settings(tmp_path / "settings.ini"), autosave=tmp_path / "autosave.json")
    window.resize(1400, 900)
    window.show()
    qtbot.addWidget(window)
    yield window
    window.close()


def has_markup(text: str, format_: Qt.TextFormat = Qt.TextFormat.AutoText) -> bool:
    """Whether Qt would take a name in `text` for markup."""
    if format_ == Qt.TextFormat.PlainText or "<img" not in text:
        return False
    document = QTextDocument()
    document.setHtml(text)
    return "\ufffc" in document.toPlainText() or any(form.isImageFormat() for form in document.allFormats())


def said_by(widget: QWidget):
    """Give every text of a widget with the format it is shown in, and what it is."""
    yield widget.toolTip(), Qt.TextFormat.AutoText, "tool tip"
    yield widget.whatsThis(), Qt.TextFormat.AutoText, "help"
    if isinstance(widget, QLabel):
        yield widget.text(), widget.textFormat(), "label"
    if isinstance(widget, QTextEdit):
        yield widget.toHtml(), Qt.TextFormat.RichText, "text"
    if isinstance(widget, QAbstractItemView) and widget.model() is not None:
        model, roots = widget.model(), [widget.rootIndex()]
        columns = 1 if isinstance(model, QAbstractListModel) else min(model.columnCount(), 60)
        while roots:
            above = roots.pop()
            for row in range(min(model.rowCount(above), 60)):
                for column in range(columns):
                    index = model.index(row, column, above)
                    yield (
                        str(index.data(Qt.ItemDataRole.ToolTipRole) or ""),
                        Qt.TextFormat.AutoText,
                        "tool tip of a cell",
                    )
                    yield str(index.data(Qt.ItemDataRole.DisplayRole) or ""), Qt.TextFormat.PlainText, "cell"
                roots.append(model.index(row, 0, above))
        for column in range(columns):
            tip = model.headerData(column, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole)
            yield str(tip or ""), Qt.TextFormat.AutoText, "tool tip of a header"
    if isinstance(widget, QComboBox):
        for row in range(widget.count()):
            yield (
                str(widget.itemData(row, Qt.ItemDataRole.ToolTipRole) or ""),
                Qt.TextFormat.AutoText,
                "tool tip of a choice",
            )
            yield widget.itemText(row), Qt.TextFormat.PlainText, "choice"
    if isinstance(widget, QGraphicsView):
        for item in widget.scene().items() if widget.scene() is not None else ():
            yield item.toolTip(), Qt.TextFormat.AutoText, "tool tip of a graphics item"
            if isinstance(item, QGraphicsTextItem):
                yield item.toHtml(), Qt.TextFormat.RichText, "graphics text"


def test_that_no_name_is_taken_for_markup_anywhere_in_the_window(window, qtbot, project):
    with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
        window.open([str(project)])
    asked = tuple(Pane(identifier, "analysis", identifier) for identifier, _ in PANES if identifier in registry.ids())
    assert len(asked) > 6
    window.workspace.change(panes=(*window.workspace.session.panes, *asked, Pane("questions", "questions")))
    qtbot.wait(200)
    qtbot.waitUntil(lambda: not window.tasks.running, timeout=2 * LONG)
    window.workspace.change(run_columns=(f"config.{EVIL}key",), run_filter="")
    qtbot.wait(100)
    shown, wrong = 0, set()
    for widget in [window, *window.findChildren(QWidget)]:
        for text, form, what in said_by(widget):
            shown += "<img" in text
            if has_markup(text, form):
                wrong.add((type(widget).__name__, widget.objectName(), what, text[:200]))
    for action in window.findChildren(QAction):
        shows = (isinstance(one, QMenu) and one.toolTipsVisible() for one in action.associatedObjects())
        if any(shows) and has_markup(action.toolTip()):
            wrong.add(("QAction", action.text(), "tool tip", action.toolTip()[:200]))
    assert not wrong
    assert shown > 10


def test_that_what_would_be_markup_is_seen_by_this_test():
    assert has_markup(f"of {EVIL}")
    assert has_markup(f"<p>{EVIL}</p>", Qt.TextFormat.RichText)
    assert not has_markup(EVIL, Qt.TextFormat.PlainText)
    assert not has_markup("<div>&lt;img src='q.png'&gt;</div>")


def test_that_a_report_has_no_markup_of_names_and_nothing_turns_its_text(project, tmp_path, capsys):
    words = [str(project), "--ask", "compat.flips", "--ask", "calibration.reliability", "--ask", "curve.smooth"]
    assert main(["report", *words, "-o", str(tmp_path / "report")]) in (0, 4), capsys.readouterr().err
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count("&lt;img src=") > 3
    pictures = Pictures()
    pictures.feed(page)
    assert pictures.sources
    assert all(source.startswith("data:image/") for source in pictures.sources)
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", page)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", page)
