"""How an analysis computes what it says: its page, with formulas, inputs, options and sources."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from ...models.progress import CancellableProgress
from ...models.question import Analysis
from ..tasks import TaskRunner
from ..theme import appearance


class AboutAnalysis(QDialog):
    """Shows the page of an analysis beside the window.

    Parameters
    ----------
    tasks : TaskRunner
        Sets the formulas, which takes a moment.
    """

    def __init__(self, analysis: Analysis, tasks: TaskRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"About {analysis.title}")
        self.resize(640, 720)
        self._tasks = tasks
        self.page = QTextBrowser(self)
        self.page.setOpenExternalLinks(True)
        self.page.setAccessibleName("how it is computed")
        self.page.setPlainText("Setting formulas…")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(self.page, 1)
        layout.addWidget(buttons)
        ink = appearance().theme.colour("ink")

        def work(progress: CancellableProgress) -> str:
            from ...analysis.report.pages import analysis_page

            progress(0, 0)
            return analysis_page(analysis, kind="png", ink=ink, plain=True)

        self._slot = f"about:{analysis.id}"
        tasks.start(
            self._slot, "Setting formulas", work, self.page.setHtml, lambda error: self.page.setPlainText(str(error))
        )

    def done(self, result: int) -> None:
        """Close, and stop what is still being set."""
        self._tasks.cancel(self._slot)
        super().done(result)
