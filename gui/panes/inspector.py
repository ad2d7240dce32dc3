"""The options of the focused pane, always visible, and the numbers it found."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QLineEdit, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from ...analysis import registry
from ...models.deferred import deferred
from ...models.errors import RunglassError
from ...models.question import Option, choices_in
from ...models.result import Estimate, significant
from ...models.selection import Holds
from ...models.store import RunStore
from ..widgets.frame_table import FrameTable
from ..widgets.literal_tip import literal_tip
from ..widgets.option_form import OptionForm
from ..widgets.style_property import set_property
from ..workspace import Workspace
from .base import Answer, muted

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_CARD_ANALYSES = ("curve.smooth", "curve.seed-band")
"""Where the options of the curve cards are declared: without and with groups."""

_LONG_WORD, _SIGN = re.compile(r"\S{20,}"), re.compile(r"[/._:=,{}-](?=\w)")

_MOST_ROWS = 40
"""Estimates shown without scrolling."""


def estimate_rows(estimates: dict[str, Estimate]) -> pd.DataFrame:
    """Give estimates as a table one reads: name, value, interval or why there is none, unit."""
    intervals = [
        f"[{significant(one.low, 3)}, {significant(one.high, 3)}]" if one.has_interval else one.why_no_interval
        for one in estimates.values()
    ]
    columns = {
        "": [name.replace("_", " ") for name in estimates],
        "value": [significant(one.value, 3) for one in estimates.values()],
        "interval": intervals,
        "unit": [one.unit for one in estimates.values()],
    }
    return pd.DataFrame(columns, dtype=object)


def breakable(text: str) -> str:
    """Give a text whose long words (paths, names of columns) may break after a sign: a narrow bar would cut them else."""
    return _LONG_WORD.sub(lambda word: _SIGN.sub("\\g<0>\u200b", word[0]), text)


class Inspector(QScrollArea):
    """The right side bar."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._answers: dict[str, Answer | None] = {}
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        body = QWidget(self)
        body.setProperty("role", "side")
        self.setWidget(body)
        self._title = QLabel(body)
        self._title.setProperty("role", "title")
        self._asks = muted("", body)
        self._asks.setWordWrap(True)
        self._where_name = QLabel("only rows where", body)
        self._where_name.setProperty("role", "caption")
        self._where = QLineEdit(body)
        self._where.setPlaceholderText("all rows")
        self._where.setClearButtonEnabled(True)
        self._where.setAccessibleName("only rows where")
        self._where.editingFinished.connect(self._on_where_finished)
        self._form = OptionForm(self._choices, body)
        self._form.changed.connect(self._on_form_changed)
        self._estimates = FrameTable(body, compact=True)
        self._tables = QTabWidget(body)
        self._tables.setDocumentMode(True)
        self._unfilled: dict[int, pd.DataFrame] = {}
        """Tables of the pages that were not looked at since the answer came, by place."""
        self._notes = muted("", body)
        self._notes.setWordWrap(True)
        self._notes.setMinimumWidth(1)  # a word that is wider still widens nothing
        self._notes.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(body)
        layout.setContentsMargins(12, 10, 12, 12)
        layout.setSpacing(8)
        for widget in (
            self._title,
            self._asks,
            self._where_name,
            self._where,
            self._form,
            self._estimates,
            self._notes,
            self._tables,
        ):
            layout.addWidget(widget)
        layout.addStretch(1)
        self._tables.currentChanged.connect(self._fill_table)
        self._shown: Answer | None = None
        self._offered_by: RunStore | None = None
        self._offered: dict[str, list[str]] = {}
        workspace.changed.connect(self._on_workspace_changed)
        self.refresh()

    def set_answer(self, key: str, answer: Answer | None) -> None:
        """Take what a pane found; None where it could not answer."""
        self._answers[key] = answer
        if key == self._workspace.session.focus:
            self.refresh()

    def refresh(self) -> None:
        """Show the options and numbers of the focused pane."""
        pane = self._workspace.pane(self._workspace.session.focus)
        if pane is None:
            self._show("Inspector", "Click a pane to see its options.", (), {}, None)
        elif pane.kind == "analysis":
            analysis = registry.analysis(pane.analysis)
            answer = self._answers.get(pane.key)
            self._show(analysis.title, analysis.asks, analysis.question.options(), dict(pane.question), answer)
            self._where.setText(pane.where)
            set_property(self._where, "invalid", False)
        elif pane.kind == "questions":
            self._show("What can be asked", "Choose a card; its options then stand here.", (), {}, None)
        else:
            view = dataclasses.asdict(self._workspace.session.curves)
            self._show("Learning curves", "How the curves of all cards are drawn.", self._card_options(), view, None)

    def _is_analysis(self) -> bool:
        pane = self._workspace.pane(self._workspace.session.focus)
        return pane is not None and pane.kind == "analysis"

    def _card_options(self) -> tuple[Option, ...]:
        """Give the options of the cards that the session keeps for all of them."""
        analysis = registry.analysis(_CARD_ANALYSES[self._workspace.session.grouping.is_on])
        kept = {spec.name for spec in dataclasses.fields(self._workspace.session.curves)}
        return tuple(option for option in analysis.question.options() if option.name in kept)

    def _show(
        self, title: str, asks: str, options: tuple[Option, ...], values: dict[str, Any], answer: Answer | None
    ) -> None:
        for widget in (self._where_name, self._where):
            widget.setVisible(answer is not None or self._is_analysis())
        self._title.setText(title)
        self._asks.setText(asks)
        resolved = dataclasses.asdict(answer.question) if answer is not None else {}
        self._form.show_options(options, values, resolved)
        self._estimates.setVisible(answer is not None and bool(answer.result.estimates))
        self._notes.setVisible(answer is not None)
        self._tables.setVisible(answer is not None and bool(answer.result.tables))
        if answer is not None and answer is not self._shown:
            self._show_numbers(answer)
        self._shown = answer

    def _show_numbers(self, answer: Answer) -> None:
        rows = estimate_rows(dict(answer.result.estimates))
        self._estimates.set_frame(rows)
        line = self._estimates.verticalHeader().defaultSectionSize()
        self._estimates.setFixedHeight(line * (min(len(rows), _MOST_ROWS) + 1) + 20)
        self._notes.setText(breakable("\n".join([answer.result.summary(), *answer.result.notes])))
        titles = [name.replace("_", " ") for name in answer.result.tables]
        # A moved slider gives tables of the same names: their pages stay.
        if titles != [self._tables.tabText(place) for place in range(self._tables.count())]:
            while self._tables.count():
                page = self._tables.widget(0)
                self._tables.removeTab(0)
                if page is not None:
                    page.deleteLater()
            for title in titles:
                self._tables.addTab(FrameTable(self._tables), title)
        self._unfilled = dict(enumerate(answer.result.tables.values()))
        self._fill_table(self._tables.currentIndex())
        self._tables.setMinimumHeight(220)

    def _fill_table(self, place: int) -> None:
        """Show the rows of a page once it is looked at: while a slider moves most pages are not."""
        frame, table = self._unfilled.pop(place, None), self._tables.widget(place)
        if frame is not None and isinstance(table, FrameTable):
            table.set_frame(frame)

    def _choices(self, choices: str) -> list[str]:
        now = self._workspace.now.kept
        if now is not self._offered_by:
            self._offered_by, self._offered = now, {}
        if choices not in self._offered:
            try:
                self._offered[choices] = choices_in(now, choices)
            except RunglassError:  # rows do not fit their table, or the filter does not fit the rows: panes say which
                self._offered[choices] = []
        return self._offered[choices]

    def _on_form_changed(self, name: str, value: object) -> None:
        pane = self._workspace.pane(self._workspace.session.focus)
        if pane is None:
            return
        if pane.kind == "analysis":
            question = registry.analysis(pane.analysis).question
            known = {option.name: option for option in question.options()}
            try:
                known[name].checked(value)
            except RunglassError:
                return  # the form shows it in red
            self._workspace.change_question(pane.key, origin=self, **{name: value})
        else:
            curves = dataclasses.replace(self._workspace.session.curves, **{name: value})  # type: ignore[arg-type]
            self._workspace.change(origin=self, gesture=f"curves:{name}", curves=curves)

    def _on_where_finished(self) -> None:
        pane = self._workspace.pane(self._workspace.session.focus)
        text = self._where.text().strip()
        if pane is None or text == pane.where:
            return
        try:
            if text:
                self._workspace.now.kept.keeping(Holds(text)).check_filter()
        except RunglassError as error:
            set_property(self._where, "invalid", True)
            self._where.setToolTip(literal_tip(str(error)))
            return
        set_property(self._where, "invalid", False)
        self._where.setToolTip("")
        self._workspace.change_where(pane.key, text, origin=self)

    def _on_workspace_changed(self, fields: frozenset[str], origin: object) -> None:
        if "panes" in fields:  # a later pane of the same name starts without the numbers of one that was closed
            there = {pane.key for pane in self._workspace.session.panes}
            self._answers = {key: answer for key, answer in self._answers.items() if key in there}
        if fields & {"focus", "grouping"} or (origin is not self and fields & {"panes", "curves"}):
            self.refresh()
