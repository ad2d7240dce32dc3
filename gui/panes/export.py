"""Exporting a figure: what the paper will show, at the width of the venue, with the numbers, caption and script beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, QSizeF, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication, QIcon, QImage, QPixmap, QResizeEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ...models.progress import CancellableProgress
from ...models.selection import is_in
from ...resources import palettes
from ..tasks import TaskRunner
from ..theme import appearance
from ..widgets.swatch import stripes_pixmap
from .base import Answer, muted

if TYPE_CHECKING:
    import pandas as pd

    from ...analysis.report.styles import Style

_FORMATS = ("pdf", "svg", "png", "eps")
_PREVIEW_DPI = 144
_PREVIEW, _EXPORT = "export preview", "export"


class ExportDialog(QDialog):
    """Chooses size, formats and place, and shows what comes out.

    Parameters
    ----------
    answer : Answer
        The figure with the result behind it.
    tasks : TaskRunner
        Draws the preview and writes the files.
    folder : Path
        Where files go at first.

    Signals
    -------
    exported(folder)
        All files were written.
    """

    exported = Signal(str)

    def __init__(self, answer: Answer, tasks: TaskRunner, folder: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export figure")
        self.resize(980, 640)
        self._answer = answer
        self._tasks = tasks
        self._image = QImage()
        self._is_exporting = False
        self._is_leaving = False

        self._style = QComboBox(self)
        self._palette = QComboBox(self)
        self._height = QSpinBox(self)
        self._height.setRange(0, 400)
        self._height.setSuffix(" %")
        self._height.setSpecialValueText("golden ratio")
        self._height.setSingleStep(10)
        self._title = QCheckBox("Title in the figure", self)
        self._formats = {name: QCheckBox(name.upper(), self) for name in _FORMATS}
        self._formats["pdf"].setChecked(True)
        self._formats["png"].setChecked(True)
        self._dpi = QSpinBox(self)
        self._dpi.setRange(72, 1200)
        self._dpi.setValue(300)
        self._dpi.setSuffix(" dpi")
        self._name = QLineEdit(_file_name(answer), self)
        self._name.setCursorPosition(0)
        self._folder = QLineEdit(str(folder), self)
        browse = QPushButton("Browse…", self)
        browse.clicked.connect(self._on_browse_clicked)
        self._caption = QLabel(answer.figure.caption, self)
        self._caption.setWordWrap(True)
        self._caption.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._caption.setTextFormat(Qt.TextFormat.PlainText)
        self._size = muted("", self)
        self._said = muted("", self)
        self._said.setWordWrap(True)
        self._preview = QLabel(self)
        self._preview.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._preview.setMinimumSize(1, 1)
        self._paper = QScrollArea(self)
        self._paper.setWidget(self._preview)
        self._paper.setWidgetResizable(True)

        form = QGridLayout()
        form.setVerticalSpacing(6)
        rows: tuple[tuple[str, QWidget], ...] = (
            ("venue", self._style),
            ("palette", self._palette),
            ("height of a panel", self._height),
            ("", self._title),
            ("formats", self._row(*self._formats.values())),
            ("resolution of PNG", self._dpi),
            ("name", self._name),
            ("folder", self._row(self._folder, browse)),
        )
        for number, (name, editor) in enumerate(rows):
            if name:
                label = muted(name, self)
                label.setBuddy(editor)
                form.addWidget(label, number, 0)
                editor.setAccessibleName(name)
            form.addWidget(editor, number, 1)
        side = QVBoxLayout()
        side.setSpacing(8)
        side.addLayout(form)
        side.addWidget(muted("caption", self))
        side.addWidget(self._caption)
        beside = muted(
            "Beside the figure: the numbers drawn and the rows behind them (CSV), the tables (CSV, LaTeX), the caption, and a "
            "script that draws it again.",
            self,
        )
        beside.setWordWrap(True)
        side.addWidget(beside)
        side.addStretch(1)
        side.addWidget(self._said)
        self._export = QPushButton("Export", self)
        self._export.setDefault(True)
        self._export.clicked.connect(self._on_export_clicked)
        copy = QPushButton("Copy", self)
        copy.setToolTip("Copy the figure as an image")
        copy.clicked.connect(self._on_copy_clicked)
        self._open = QPushButton("Open folder", self)
        self._open.clicked.connect(self._on_open_clicked)
        self._open.hide()
        close = QPushButton("Close", self)
        close.clicked.connect(self.reject)
        side.addWidget(self._row(self._open, copy, close, self._export))
        side_widget = QWidget(self)
        side_widget.setLayout(side)
        side_widget.setFixedWidth(360)
        view = QVBoxLayout()
        view.addWidget(self._paper, 1)
        view.addWidget(self._size)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(12)
        layout.addLayout(view, 1)
        layout.addWidget(side_widget)

        # matplotlib is imported in the worker, so that the dialog is there at once; the styles come with the first preview.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(80)
        self._timer.timeout.connect(self._draw)
        self._fill_styles()
        self._style.currentIndexChanged.connect(self._on_style_changed)
        self._palette.currentIndexChanged.connect(self._timer.start)
        self._height.valueChanged.connect(self._timer.start)
        self._title.toggled.connect(self._timer.start)
        self._on_style_changed()

    def done(self, result: int) -> None:
        """Close, once files that are being written are whole; a preview is no longer wanted."""
        self._is_leaving = self._is_exporting
        if self._is_exporting:
            return
        self._timer.stop()
        self._tasks.cancel(_PREVIEW)
        super().done(result)

    def _row(self, *widgets: QWidget) -> QWidget:
        row = QWidget(self)
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in widgets:
            layout.addWidget(widget)
        return row

    def _fill_styles(self) -> None:
        from ...analysis.report.styles import DEFAULT, styles

        for key, style in styles().items():
            self._style.addItem(f"{style.name}  ({style.width:g} in)", key)
        self._style.setCurrentIndex(self._style.findData(DEFAULT))
        for one in palettes.palettes():
            self._palette.addItem(
                QIcon(stripes_pixmap(one.colours["light"], self.devicePixelRatioF())), one.title, one.name
            )
        self._palette.setCurrentIndex(self._palette.findData(appearance().theme.palette_name))

    def _on_style_changed(self) -> None:
        from ...analysis.report.styles import style_named

        self._title.setChecked(style_named(self._style.currentData()).title)
        self._timer.start()

    def _chosen_style(self) -> Style:
        from ...analysis.report.styles import style_named

        return style_named(self._style.currentData(), self._palette.currentData())

    def _panel_height(self) -> float | None:
        """Give the height of all panels in inches, or None for the golden ratio."""
        from ...analysis.report.page import panels_height

        if not self._height.value():
            return None
        return panels_height(self._answer.figure, self._chosen_style()) * self._height.value() / 100

    def _draw(self) -> None:
        figure, style, title, height = (
            self._answer.figure,
            self._chosen_style(),
            self._title.isChecked(),
            self._panel_height(),
        )

        def work(progress: CancellableProgress) -> bytes:
            from ...analysis.report.export import figure_bytes

            progress(0, 0)
            return figure_bytes(figure, "png", style, dpi=_PREVIEW_DPI, title=title, height=height)

        self._tasks.start(_PREVIEW, "Drawing the preview", work, self._on_preview, self._on_failure)

    def _on_preview(self, image: bytes) -> None:
        self._image = QImage.fromData(image)
        self._show_preview()
        inches = (self._image.width() / _PREVIEW_DPI, self._image.height() / _PREVIEW_DPI)
        self._size.setText(f"{inches[0]:.2f} × {inches[1]:.2f} in, on white")

    def _show_preview(self) -> None:
        """Show the whole figure, never larger than it was drawn."""
        if self._image.isNull():
            return
        ratio = self.devicePixelRatioF()
        room = (QSizeF(self._paper.size()) * ratio).toSize() - QSize(16, 16)
        shown = QPixmap.fromImage(self._image)
        if shown.width() > room.width() or shown.height() > room.height():
            how = Qt.TransformationMode.SmoothTransformation
            shown = shown.scaled(room, Qt.AspectRatioMode.KeepAspectRatio, how)
        shown.setDevicePixelRatio(ratio)
        self._preview.setPixmap(shown)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit the preview."""
        super().resizeEvent(event)
        self._show_preview()

    def _on_failure(self, error: Exception) -> None:
        self._said.setText(str(error))

    def _on_export_failure(self, error: Exception) -> None:
        self._is_exporting = self._is_leaving = False
        self._export.setEnabled(True)
        self._on_failure(error)

    def _on_browse_clicked(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export to", self._folder.text())
        if folder:
            self._folder.setText(folder)

    def _on_copy_clicked(self) -> None:
        QGuiApplication.clipboard().setImage(self._image)
        self._said.setText("Copied.")

    def _on_open_clicked(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self._folder.text()))

    def _on_export_clicked(self) -> None:
        formats = tuple(name for name, box in self._formats.items() if box.isChecked())
        if not formats:
            self._said.setText("Choose at least one format.")
            return
        name = self._name.text().strip()
        if not name or "/" in name or "\\" in name:
            self._said.setText("Give the files a name without slashes.")
            return
        self._export.setEnabled(False)
        self._said.setText("Exporting…")
        self._is_exporting = True
        work = self._export_work(name, formats)
        self._tasks.start(_EXPORT, "Exporting", work, self._on_exported, self._on_export_failure)

    def _export_work(self, name: str, formats: tuple[str, ...]) -> Callable[[CancellableProgress], tuple[Path, ...]]:
        answer, folder, style = self._answer, Path(self._folder.text()).expanduser(), self._chosen_style()
        dpi, title, height = self._dpi.value(), self._title.isChecked(), self._panel_height()

        def work(progress: CancellableProgress) -> tuple[Path, ...]:
            from ...analysis.report.bundle import export_bundle
            from ...analysis.report.tables import estimates_table

            progress(0, 0)
            return export_bundle(
                answer.figure,
                folder,
                name,
                formats=formats,
                style=style,
                dpi=dpi,
                title=title,
                height=height,
                raw=_rows_behind(answer),
                tables={"estimates": estimates_table(answer.result), **answer.result.tables},
            )

        return work

    def _on_exported(self, written: tuple[Path, ...]) -> None:
        self._export.setEnabled(True)
        self._open.show()
        self._said.setText(f"{len(written)} files written to {written[0].parent}.")
        self.exported.emit(str(written[0].parent))
        self._is_exporting = False
        if self._is_leaving:
            self.reject()


def _rows_behind(answer: Answer) -> pd.DataFrame | None:
    """Give what the figure was made from: the values as logged for a tag, else the first table of the result."""
    tag, runs = getattr(answer.question, "tag", ""), getattr(answer.question, "runs", ())
    if tag:
        rows = answer.store.keeping(is_in("tag", [tag])).rows("scalars")
        return rows[rows["run"].isin(runs)] if runs else rows
    return next(iter(answer.result.tables.values()), None)


def _file_name(answer: Answer) -> str:
    """Give a name for the files: the analysis and what was asked of it."""
    said = f"{answer.analysis.id.partition('.')[2]} {answer.figure.title}".lower()
    return "_".join("".join(c if c.isalnum() or c in ".-" else " " for c in said).split())[:60]
