"""What can be asked of the open data: all analyses, found by typing, with what is lacking where one cannot be asked yet."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QDialog, QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from ...analysis import registry
from ...models.store import RunStore
from ..widgets.two_line_delegate import ASIDE, IS_QUIET, SENTENCE, TITLE, TwoLineDelegate


class AskDialog(QDialog):
    """A list of questions; typing narrows it, Enter asks.

    Signals
    -------
    chosen(identifier)
        The user chose an analysis.
    """

    chosen = Signal(str)

    def __init__(self, store: RunStore, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Ask")
        self.resize(640, 560)
        self._line = QLineEdit(self)
        self._line.setPlaceholderText("What do you want to know? (scaling, flips, calibration …)")
        self._line.setAccessibleName("search questions")
        self._line.textChanged.connect(self._on_line_changed)
        self._line.installEventFilter(self)
        self._list = QListWidget(self)
        self._list.setItemDelegate(TwoLineDelegate(self._list))
        self._list.setMouseTracking(True)
        self._list.setAccessibleName("questions")
        self._list.itemActivated.connect(self._on_list_activated)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(8)
        layout.addWidget(self._line)
        layout.addWidget(self._list, 1)
        entries = [(analysis, analysis.question.missing(store)) for analysis in registry.catalogue()]
        for analysis, lacking in sorted(entries, key=lambda entry: bool(entry[1])):
            sentence = f"{lacking[0].upper()}{lacking[1:]}." if lacking else analysis.asks
            # The text is what a screen reader says and what typing searches.
            item = QListWidgetItem(f"{analysis.title}. {analysis.asks} {lacking}", self._list)
            item.setData(Qt.ItemDataRole.UserRole, analysis.id)
            item.setToolTip(f"{analysis.asks}\n{lacking}".strip())
            for role, value in (
                (TITLE, analysis.title),
                (SENTENCE, sentence),
                (ASIDE, analysis.id),
                (IS_QUIET, bool(lacking)),
            ):
                item.setData(role, value)
        self._list.setCurrentRow(0)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Let the arrows and Enter work on the list while one types."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down):
                self._step(1 if event.key() == Qt.Key.Key_Down else -1)
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                item = self._list.currentItem()
                if item is not None:
                    self._on_list_activated(item)
                return True
        return super().eventFilter(watched, event)

    def _step(self, by: int) -> None:
        row = self._list.currentRow() + by
        while 0 <= row < self._list.count():
            item = self._list.item(row)
            if not item.isHidden():
                self._list.setCurrentRow(row)
                return
            row += by

    def _on_line_changed(self, text: str) -> None:
        words = text.lower().split()
        first = None
        for row in range(self._list.count()):
            item = self._list.item(row)
            assert item is not None
            searched = f"{item.text()} {item.data(Qt.ItemDataRole.UserRole)}".lower()
            item.setHidden(not all(word in searched for word in words))
            if first is None and not item.isHidden():
                first = row
        if first is not None:
            self._list.setCurrentRow(first)

    def _on_list_activated(self, item: QListWidgetItem) -> None:
        self.chosen.emit(item.data(Qt.ItemDataRole.UserRole))
        self.accept()
