"""Building a report: which panes, in which order, under which words; and writing it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...analysis.asking import Opened
from ...analysis.session_report import parts_of
from ...models.progress import CancellableProgress
from ...models.result import counted
from ...models.session import Report, ReportPart
from ..tasks import TaskRunner
from ..theme import appearance
from ..workspace import Workspace
from .base import muted

_SLOT = "report"
_PART = Qt.ItemDataRole.UserRole
_OPENING = "The report"


class ReportDialog(QDialog):
    """Chooses the sections of a report and writes it; what was chosen stays in the session.

    Parameters
    ----------
    titles : mapping of str to str
        Titles of the session's panes by key.
    files : callable
        Gives the files that were read, for the provenance.
    folder : Path
        Where reports go at first.

    Signals
    -------
    written(page)
        A report was written; the path of its page.
    """

    written = Signal(str)

    def __init__(
        self,
        workspace: Workspace,
        tasks: TaskRunner,
        titles: Mapping[str, str],
        files: Callable[[], tuple[tuple[str, int, float], ...]],
        folder: Path,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Report")
        self.resize(860, 620)
        self._workspace = workspace
        self._tasks = tasks
        self._titles = titles
        self._files = files
        self._page = ""

        self._list = QListWidget(self)
        self._list.setAccessibleName("sections")
        self._list.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self._list.currentItemChanged.connect(lambda now, _before: self._show_part(now))
        self._list.model().rowsMoved.connect(self._keep_opening_first)
        add = QPushButton("Add a text", self)
        add.clicked.connect(self._on_add_clicked)
        up, down = QPushButton("Up", self), QPushButton("Down", self)
        up.clicked.connect(lambda: self._move(-1))
        down.clicked.connect(lambda: self._move(1))

        self._title = QLineEdit(self)
        self._title.setAccessibleName("title")
        self._title.textEdited.connect(self._on_edited)
        self._text = QPlainTextEdit(self)
        self._text.setAccessibleName("text")
        self._text.setPlaceholderText("Text above the figure, in Markdown: *emphasis*, **strong**, - lists, [links](…)")
        self._text.setTabChangesFocus(True)
        self._text.textChanged.connect(self._on_edited)

        self._style = QComboBox(self)
        self._style.setAccessibleName("size of figures")
        self._fill_styles()
        self._folder = QLineEdit(str(folder), self)
        self._folder.setAccessibleName("folder")
        browse = QPushButton("Browse…", self)
        browse.clicked.connect(self._on_browse_clicked)
        self._bar = QProgressBar(self)
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(4)
        self._bar.hide()
        self._said = muted("", self)
        self._said.setWordWrap(True)
        self._open = QPushButton("Open the report", self)
        self._open.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(self._page)))
        self._open.hide()
        self._write = QPushButton("Write", self)
        self._write.setDefault(True)
        self._write.clicked.connect(self._on_write_clicked)
        close = QPushButton("Close", self)
        close.clicked.connect(self.reject)
        self._arrange([add, up, down], browse, close)
        self._fill()
        tasks.changed.connect(self._on_tasks_changed)
        tasks.let_go.connect(self._on_tasks_let_go)

    @property
    def report(self) -> Report:
        """What the user has chosen so far."""
        opening: ReportPart = self._list.item(self._opening_row()).data(_PART)
        parts = tuple(self._ticked_parts())
        before = self._workspace.session
        # Where nothing was chosen, the report goes on to show every pane, those to come as well.
        is_all = not before.report.parts and parts == parts_of(before)
        return Report(opening.title, opening.text, () if is_all else parts)

    def done(self, result: int) -> None:
        """Keep what was chosen, and stop writing."""
        self._tasks.changed.disconnect(self._on_tasks_changed)
        self._tasks.let_go.disconnect(self._on_tasks_let_go)
        self._tasks.cancel(_SLOT)
        self._keep()
        super().done(result)

    # -- building -------------------------------------------------------------------------------------------------------

    def _arrange(self, buttons: list[QPushButton], browse: QPushButton, close: QPushButton) -> None:
        left = QVBoxLayout()
        left.addWidget(muted("sections: tick, drag or move them", self))
        left.addWidget(self._list, 1)
        left.addLayout(_row(*buttons))
        right = QVBoxLayout()
        right.addWidget(muted("title", self))
        right.addWidget(self._title)
        right.addWidget(muted("text", self))
        right.addWidget(self._text, 1)
        middle = QHBoxLayout()
        middle.setSpacing(12)
        middle.addLayout(left, 2)
        middle.addLayout(right, 3)
        out = QHBoxLayout()
        out.addWidget(muted("figures", self))
        out.addWidget(self._style)
        out.addWidget(muted("folder", self))
        out.addWidget(self._folder, 1)
        out.addWidget(browse)
        what = muted(
            "Written are report.html, which opens offline, report.tex, figures (PDF, CSV, script), tables (CSV, LaTeX) and "
            "provenance.json.",
            self,
        )
        what.setWordWrap(True)
        end = QHBoxLayout()
        end.addWidget(self._said, 1)
        for button in (self._open, close, self._write):
            end.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(8)
        layout.addLayout(middle, 1)
        layout.addLayout(out)
        layout.addWidget(what)
        layout.addWidget(self._bar)
        layout.addLayout(end)

    def _fill_styles(self) -> None:
        from ...analysis.report.styles import DEFAULT, styles

        for key, style in styles().items():
            self._style.addItem(f"{style.name}  ({style.width:g} in)", key)
        self._style.setCurrentIndex(self._style.findData(DEFAULT))

    def _fill(self) -> None:
        session = self._workspace.session
        opening = QListWidgetItem(_OPENING, self._list)
        opening.setData(_PART, ReportPart("", session.report.title, session.report.text))
        opening.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        chosen = parts_of(session)
        for part in chosen:
            self._add(part, ticked=True)
        named = {part.pane for part in chosen}
        for pane in session.panes:
            if pane.key not in named and pane.key in self._titles:
                self._add(ReportPart(pane.key), ticked=False)
        self._list.setCurrentRow(0)

    def _add(self, part: ReportPart, *, ticked: bool) -> QListWidgetItem:
        item = QListWidgetItem(self._list)
        item.setData(_PART, part)
        item.setText(self._name(part))
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsDropEnabled)
        item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        return item

    def _name(self, part: ReportPart) -> str:
        return part.title or self._titles.get(part.pane, "") or "Text"

    def _ticked_parts(self) -> list[ReportPart]:
        items = [self._list.item(row) for row in range(self._list.count())]
        return [item.data(_PART) for item in items if item.checkState() == Qt.CheckState.Checked]

    # -- gestures -------------------------------------------------------------------------------------------------------

    def _show_part(self, item: QListWidgetItem | None) -> None:
        if item is None:
            return
        part: ReportPart = item.data(_PART)
        self._title.setText(part.title)
        self._title.setPlaceholderText(self._titles.get(part.pane, "") or "names of what is open")
        with QSignalBlocker(self._text):
            self._text.setPlainText(part.text)

    def _on_edited(self, *_: object) -> None:
        item = self._list.currentItem()
        part: ReportPart = item.data(_PART)
        part = dataclasses.replace(part, title=self._title.text(), text=self._text.toPlainText())
        item.setData(_PART, part)
        if self._list.row(item):
            item.setText(self._name(part))

    def _on_add_clicked(self) -> None:
        self._list.setCurrentItem(self._add(ReportPart("", "Text"), ticked=True))
        self._title.setFocus()
        self._title.selectAll()

    def _move(self, by: int) -> None:
        row = self._list.currentRow()
        if row < 1 or not 1 <= row + by < self._list.count():
            return  # what stands first stays there
        item = self._list.takeItem(row)
        self._list.insertItem(row + by, item)
        self._list.setCurrentItem(item)

    def _on_browse_clicked(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Write the report into a new folder of", self._folder.text())
        if folder:
            self._folder.setText(str(Path(folder) / "report"))

    def _opening_row(self) -> int:
        rows = range(self._list.count())
        return next(row for row in rows if not self._list.item(row).flags() & Qt.ItemFlag.ItemIsUserCheckable)

    def _keep_opening_first(self, *_: object) -> None:
        row = self._opening_row()
        if row:  # a section was dropped above it
            self._list.insertItem(0, self._list.takeItem(row))

    def _keep(self) -> None:
        self._workspace.change(report=self.report)

    # -- writing --------------------------------------------------------------------------------------------------------

    def _on_write_clicked(self) -> None:
        if not self._ticked_parts():
            self._said.setText("Tick at least one section.")
            return
        self._keep()
        self._write.setEnabled(False)
        self._open.hide()
        self._said.setText("Answering…")
        session, kept, files = self._workspace.session, self._workspace.now.kept, self._files
        folder, key = Path(self._folder.text()).expanduser(), str(self._style.currentData())
        palette, engine = appearance().theme.palette_name, self._tasks.engine

        def work(progress: CancellableProgress) -> tuple[Path, int]:
            from ...analysis.report.document import write_report
            from ...analysis.report.styles import style_named
            from ...analysis.session_report import report_of

            document = report_of(session, Opened(kept, files()), engine=engine, progress=progress)
            style = style_named(key, palette)
            pages = write_report(document, folder, style=style, progress=progress)
            return pages[0], sum(bool(section.refusal) for section in document.sections)

        self._tasks.start(_SLOT, "Writing the report", work, self._on_written, self._on_failure)

    def _on_tasks_changed(self) -> None:
        state = next((one for one in self._tasks.running if one.slot == _SLOT), None)
        self._bar.setVisible(state is not None)
        if state is not None:
            self._bar.setRange(0, state.total)
            self._bar.setValue(state.done)
            if state.what:
                self._said.setText(f"{state.what} …")

    def _on_tasks_let_go(self, slot: str) -> None:
        if slot == _SLOT:
            self._write.setEnabled(True)
            self._said.setText("Stopped; nothing was written.")

    def _on_written(self, written: tuple[Path, int]) -> None:
        page, refused = written
        self._page = str(page)
        self._write.setEnabled(True)
        self._open.show()
        note = f" {counted(refused, 'section')} could not be answered and say why." if refused else ""
        self._said.setText(f"Written to {page.parent}.{note}")
        self.written.emit(self._page)

    def _on_failure(self, error: Exception) -> None:
        self._write.setEnabled(True)
        self._said.setText(str(error))


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(6)
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch(1)
    return row
