"""What leaves the window: figures, reports, tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QFileDialog, QWidget

from ..models.result import counted
from ..models.session import Pane
from .feed import Feed
from .panes.base import Answer
from .tasks import TaskRunner
from .widgets.message_bar import MessageBar
from .workspace import Workspace


class Exports(QObject):
    """Asks what to write where, and writes it.

    Parameters
    ----------
    workspace, feed, tasks, messages
        Of the window.
    folder : callable
        Gives the folder in which dialogs begin.
    window : QWidget
        Where its dialogs stand.

    Signals
    -------
    done(sentence)
        Something was written; the sentence says what, and where.
    """

    done = Signal(str)

    def __init__(
        self,
        workspace: Workspace,
        feed: Feed,
        tasks: TaskRunner,
        messages: MessageBar,
        folder: Callable[[], str],
        window: QWidget,
    ) -> None:
        super().__init__(window)
        self._workspace = workspace
        self._feed = feed
        self._tasks = tasks
        self._messages = messages
        self._folder = folder
        self._window = window

    def export_figure(self, answer: Answer | None) -> None:
        """Let the user export a figure."""
        if answer is None:
            self._messages.say("There is no figure to export yet: click a card or pane that shows one.")
            return
        from .panes.export import ExportDialog

        dialog = ExportDialog(answer, self._tasks, Path(self._folder()), self._window)
        dialog.exported.connect(lambda folder: self.done.emit(f"Exported to {folder}."))
        dialog.exec()
        dialog.deleteLater()

    def write_report(self, title_of: Callable[[Pane], str]) -> None:
        """Let the user put panes and words together and write them as a report."""
        from .panes.report import ReportDialog

        session = self._workspace.session
        if not session.roots:
            self._messages.say("There is nothing to report on yet: open runs or tables first.")
            return
        titles = {pane.key: title_of(pane) for pane in session.panes if pane.kind != "questions"}
        folder = Path(self._folder()) / "report"
        dialog = ReportDialog(self._workspace, self._tasks, titles, self._feed.files, folder, self._window)
        dialog.written.connect(lambda page: self.done.emit(f"Wrote {page}."))
        dialog.exec()
        dialog.deleteLater()

    def export_tables(self) -> None:
        """Let the user write all tables to a new folder, which opens as the same runs."""
        from ..analysis.report.table_folder import export_tables

        store = self._workspace.now.kept
        if not any(map(store.has_rows, ("runs", "scores", "predictions", "comparisons"))):
            self._messages.say("There is nothing to export yet: open a folder of runs first.")
            return
        start = str(Path(self._folder()) / "runglass-tables")
        chosen, _ = QFileDialog.getSaveFileName(self._window, "Export all tables to a new folder", start)
        if not chosen:
            return
        folder = Path(chosen)

        def done(rows: Any) -> None:
            self.done.emit(f"Exported {counted(len(rows), 'table')} to {folder}.")

        def failed(error: Exception) -> None:
            self._messages.say(str(error), kind="bad")

        self._tasks.start(
            "tables", f"Writing {folder.name}", lambda progress: export_tables(store, folder, progress), done, failed
        )
