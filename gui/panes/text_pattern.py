"""Lets a user say how the lines of their logs are read, with a real log and what is found in it side by side."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QFontDatabase, QTextCursor, QTextFormat
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSplitter,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from ...models.errors import ExpressionError, RunglassError
from ...models.progress import CancellableProgress
from ...models.text_pattern import TextPattern
from ..tasks import TaskRunner
from ..theme import appearance, colour
from ..widgets.frame_table import FrameTable
from ..widgets.literal_tip import literal_tip
from ..widgets.style_property import set_property
from ..workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE = r"step (?P<step>\d+).*?loss (?P<loss>\S+)"
_SUFFIXES = (".log", ".txt", ".out")
_MOST_FILES = 200
_MOST_ENTRIES = 20_000
_READ_BYTES = 64_000
_MOST_MARKED = 400
_PAUSE_MS = 150


def text_files(roots: tuple[str, ...], progress: CancellableProgress) -> list[str]:
    """Give some text files below folders, for examples; runs in a worker thread."""
    found: list[str] = []
    seen = 0
    for root in roots:
        if os.path.isfile(root):
            found.append(root)
        for folder, folders, names in os.walk(root):
            folders.sort()
            progress(0, 0, folder)
            found += [os.path.join(folder, name) for name in sorted(names) if name.lower().endswith(_SUFFIXES)]
            seen += len(names)
            if len(found) >= _MOST_FILES or seen >= _MOST_ENTRIES:
                return found[:_MOST_FILES]
    return found


def beginning(path: str, progress: CancellableProgress) -> str:
    """Give the first lines of a file; runs in a worker thread."""
    progress(0, 0, path)
    with open(path, "rb") as file:
        data = file.read(_READ_BYTES)
    text = data.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    # The last line may be cut.
    return text if len(data) < _READ_BYTES else text[: text.rfind("\n") + 1]


def found_in(pattern: TextPattern, text: str, progress: CancellableProgress) -> pd.DataFrame:
    """Give what a pattern finds in a text; runs in a worker thread."""
    progress(0, 0, pattern.name)
    return pattern.preview(text)


class TextPatternDialog(QDialog):
    """Edits the text patterns of the session."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._tasks = TaskRunner(self, workers=1)
        self._is_sound = False
        self.setWindowTitle("Read text logs with a pattern")
        self.resize(920, 620)
        fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        fixed.setPointSizeF(self.font().pointSizeF())

        self._which = QComboBox(self)
        self._which.setAccessibleName("Pattern")
        self._name = QLineEdit(self)
        self._name.setAccessibleName("Name")
        self._glob = QLineEdit("*.log", self)
        self._glob.setAccessibleName("Files")
        self._glob.setToolTip("* stands for anything: *.log, logs/*.txt")
        self._regex = QLineEdit(EXAMPLE, self)
        self._regex.setAccessibleName("Regular expression")
        self._regex.setFont(fixed)
        self._caret = QLabel(self)
        self._caret.setFont(fixed)
        self._caret.setProperty("role", "bad")
        self._caret.setContentsMargins(9, 0, 0, 0)
        self._said = QLabel(self)
        self._said.setTextFormat(Qt.TextFormat.PlainText)
        self._said.setWordWrap(True)
        hint = QLabel(
            "Named groups say what is what: (?P<step>…) the step, (?P<wall_time>…) the time, any other name a metric; "
            "(?P<tag>…) and (?P<value>…) take metrics that the log names itself.",
            self,
        )
        hint.setProperty("role", "caption")
        hint.setTextFormat(Qt.TextFormat.PlainText)
        hint.setWordWrap(True)
        self._files = QComboBox(self)
        self._files.setAccessibleName("Example file")
        self._files.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._files.setMinimumContentsLength(20)
        self._files.setPlaceholderText("an example file, or paste lines below")
        self._open = QPushButton("Open…", self)
        self.text = QPlainTextEdit(self)
        self.text.setAccessibleName("Lines of an example log")
        self.text.setPlaceholderText("Paste some lines of a log here.")
        self.text.setFont(fixed)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.found = FrameTable(self)
        self.found.setAccessibleName("What the pattern finds")
        self._buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, self
        )
        self._buttons.button(QDialogButtonBox.StandardButton.Ok).setText("Read with it")
        self._forget = self._buttons.addButton("Forget it", QDialogButtonBox.ButtonRole.DestructiveRole)
        self._lay_out(hint)

        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_PAUSE_MS)
        self._later.timeout.connect(self.refresh)
        self._which.currentIndexChanged.connect(self._on_which_changed)
        for edit in (self._name, self._glob, self._regex):
            edit.textChanged.connect(self._on_edited)
        self.text.textChanged.connect(self._on_edited)
        self._files.activated.connect(self._on_file_activated)
        self._open.clicked.connect(self._on_open_clicked)
        self._buttons.accepted.connect(self.accept)
        self._buttons.rejected.connect(self.reject)
        self._forget.clicked.connect(self.forget)
        self.finished.connect(self._tasks.stop)
        appearance().changed.connect(self._on_edited)

        for pattern in workspace.session.text_patterns:
            self._which.addItem(pattern.name)
        self._which.addItem("A new pattern")
        self._which.setCurrentIndex(0)
        self._on_which_changed()
        roots = tuple(root for root in workspace.session.roots if "://" not in root)
        self._tasks.start(
            "files", "Looking for logs", functools.partial(text_files, roots), self._on_files_found, self._on_failure
        )

    @property
    def said(self) -> str:
        """What is said of the pattern."""
        return self._said.text()

    @property
    def pattern(self) -> TextPattern:
        """The pattern as it stands in the form.

        Raises
        ------
        ExpressionError
            When it cannot be used.
        """
        glob = self._glob.text().strip() or "*"
        return TextPattern(self._name.text().strip() or glob, glob, self._regex.text())

    def set_pattern(self, name: str, glob: str, regex: str) -> None:
        """Fill in the form."""
        self._name.setText(name)
        self._glob.setText(glob)
        self._regex.setText(regex)

    def refresh(self) -> None:
        """Show what the pattern finds in the lines."""
        self._later.stop()
        try:
            pattern = self.pattern
        except ExpressionError as error:
            self._tasks.cancel("found")
            self._show_error(error)
            return
        self._is_sound = True
        self._caret.hide()
        set_property(self._regex, "invalid", False)
        self._settle()
        self._tasks.start(
            "found",
            "Trying the pattern",
            functools.partial(found_in, pattern, self.text.toPlainText()),
            self._on_found,
            self._on_failure,
        )

    def accept(self) -> None:
        """Keep the pattern in the session."""
        try:
            new = self.pattern
        except ExpressionError as error:
            self._show_error(error)
            return
        kept = tuple(p for p in self._workspace.session.text_patterns if p.name not in (new.name, self._edited_name()))
        self._workspace.change(text_patterns=(*kept, new))
        super().accept()

    def forget(self) -> None:
        """Take the pattern that is shown out of the session."""
        name = self._edited_name()
        kept = tuple(p for p in self._workspace.session.text_patterns if p.name != name)
        self._workspace.change(text_patterns=kept)
        super().accept()

    def _lay_out(self, hint: QLabel) -> None:
        form = QGridLayout()
        form.setHorizontalSpacing(8)
        form.setVerticalSpacing(6)
        for row, (title, widget) in enumerate(
            (("Pattern", self._which), ("Name", self._name), ("Files", self._glob), ("Lines", self._regex))
        ):
            label = QLabel(title, self)
            label.setBuddy(widget)
            form.addWidget(label, row, 0)
            form.addWidget(widget, row, 1)
        form.addWidget(self._caret, 4, 1)
        form.addWidget(hint, 5, 1)
        form.setColumnStretch(1, 1)
        example = QHBoxLayout()
        example.setSpacing(8)
        example.addWidget(self._files, 1)
        example.addWidget(self._open)
        left = QWidget(self)
        lines = QVBoxLayout(left)
        lines.setContentsMargins(0, 0, 4, 0)
        lines.addLayout(example)
        lines.addWidget(self.text, 1)
        right = QWidget(self)
        results = QVBoxLayout(right)
        results.setContentsMargins(4, 0, 0, 0)
        results.addWidget(self._said)
        results.addWidget(self.found, 1)
        split = QSplitter(Qt.Orientation.Horizontal, self)
        split.setChildrenCollapsible(False)
        split.addWidget(left)
        split.addWidget(right)
        split.setSizes([560, 360])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(8)
        layout.addLayout(form)
        layout.addWidget(split, 1)
        layout.addWidget(self._buttons)

    def _edited_name(self) -> str:
        patterns = self._workspace.session.text_patterns
        place = self._which.currentIndex()
        return patterns[place].name if 0 <= place < len(patterns) else ""

    def _show_error(self, error: RunglassError) -> None:
        self._is_sound = False
        set_property(self._regex, "invalid", True)
        self._caret.setText(" " * error.position + "▲" if isinstance(error, ExpressionError) else "")
        self._caret.show()
        self._say(str(error), bad=True)
        self._settle()

    def _say(self, text: str, *, bad: bool = False) -> None:
        self._said.setText(text)
        set_property(self._said, "role", "bad" if bad else "muted")

    def _settle(self) -> None:
        self._buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(self._is_sound)
        self._forget.setVisible(bool(self._edited_name()))

    def _mark_lines(self, lines: list[int]) -> None:
        """Colour the lines in which something was found."""
        marks = []
        document = self.text.document()
        for line in lines[:_MOST_MARKED]:
            mark = QTextEdit.ExtraSelection()
            mark.format.setBackground(colour("selection"))
            mark.format.setProperty(QTextFormat.Property.FullWidthSelection, True)
            mark.cursor = QTextCursor(document.findBlockByNumber(line - 1))
            marks.append(mark)
        self.text.setExtraSelections(marks)

    def _on_found(self, found: pd.DataFrame) -> None:
        self.found.set_frame(found)
        lines = sorted(set(found["line"].tolist()))
        self._mark_lines(lines)
        if not self.text.toPlainText().strip():
            self._say("Open a log or paste some lines to see what is found.")
        elif found.empty:
            self._say("Nothing is found in these lines.", bad=True)
        else:
            tags = found["tag"].nunique()
            self._say(
                f"{len(found):,} values of {tags} metric{'' if tags == 1 else 's'} "
                f"in {len(lines):,} of {self.text.blockCount():,} lines."
            )

    def _on_failure(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self._say(f"The file could not be read: {error.strerror}.", bad=True)
        else:
            self._say(str(error), bad=True)

    def _on_files_found(self, files: list[str]) -> None:
        for path in files:
            self._files.addItem(Path(path).name, path)
            self._files.setItemData(self._files.count() - 1, literal_tip(path), Qt.ItemDataRole.ToolTipRole)
        if files and not self.text.toPlainText():
            self._files.setCurrentIndex(0)
            self._read(files[0])
        else:
            self._files.setCurrentIndex(-1)

    def _read(self, path: str) -> None:
        self._tasks.start(
            "read", "Reading an example", functools.partial(beginning, path), self.text.setPlainText, self._on_failure
        )

    def _on_file_activated(self, place: int) -> None:
        self._read(str(self._files.itemData(place)))

    def _on_open_clicked(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open an example log")
        if name:
            self._read(name)

    def _on_which_changed(self) -> None:
        patterns = self._workspace.session.text_patterns
        place = self._which.currentIndex()
        if 0 <= place < len(patterns):
            chosen = patterns[place]
            self.set_pattern(chosen.name, chosen.glob, chosen.regex)
        else:
            self.set_pattern("", "*.log", EXAMPLE)
        self._on_edited()

    def _on_edited(self) -> None:
        self._later.start()
