"""The runs: which there are, which are shown, which are repeats of one another, and how well each did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QButtonGroup,
    QDialog,
    QFrame,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QRadioButton,
    QStackedLayout,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...analysis.health import HealthMark
from ...models.bounded_search import TooSlow, found_in
from ...models.deferred import deferred
from ...models.errors import ExpressionError
from ...models.figure import Keys
from ...models.linking import Emphasis
from ...models.reductions import AUTOMATIC, NO_COLUMNS, How, RunColumn, higher_is_better, reduced, run_column
from ...models.run_groups import (
    EXCEPT_AT_FIRST,
    FAMILIES,
    RunGroups,
    described,
    groupable_columns,
    grouped_runs,
)
from ...models.run_tree import RunTree, common_folder, found_keys, tree_by_folder, tree_by_group
from ...models.selection import IsIn, is_in
from ...models.session import Grouping, RunNote
from ...models.store import RunStore
from ...models.table_look import cell_text, found_rows, number_text
from ...models.tables import Curve, Run
from ...models.tag_order import by_usefulness
from ..health_watch import HealthWatch, kinds, sentences
from ..theme import appearance, icon
from ..widgets.check_tree import CheckTree
from ..widgets.elided_label import ElidedLabel
from ..widgets.empty_state import EmptyState
from ..widgets.frame_table import FrameTable
from ..widgets.regex_edit import RegexEdit
from ..workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_REFRESH_MS = 80
_GROWN_MS = 1000
"""Milliseconds until what is shown is shown anew where runs only grew: nobody reads numbers that change more often."""

_FEW_ROWS = 40
"""Up to this many rows everything is expanded at first."""

_MARKS = {
    "diverged": ("ph.warning-fill", "warn"),
    "running": ("ph.circle-fill", "good"),
    "failed": ("ph.x-bold", "bad"),
}
_EVENT_MARKS = {
    "divergence": _MARKS["diverged"],
    "spike": ("ph.lightning-fill", "muted"),
    "restart": ("ph.arrow-counter-clockwise-bold", "muted"),
    "non-finite": ("ph.warning", "muted"),
    "plateau": ("ph.equals", "muted"),
}
_EVENT_FILTERS = {
    "spike": "With a spike",
    "divergence": "That diverged",
    "restart": "That were restarted",
    "non-finite": "With NaN or infinite values in between",
    "plateau": "That ended on a plateau",
}
_WORDS = {
    "diverged": "diverged: a loss ended as NaN or infinite",
    "running": "live: it is still being written",
    "failed": "failed",
    "finished": "finished",
    "unknown": "nothing says how it ended",
}
_HOWS: tuple[tuple[How, str], ...] = (
    ("last", "Last value"),
    ("min", "Lowest value"),
    ("max", "Highest value"),
    ("best", "Step of the best value"),
    ("at", "Value at the step cursor"),
    ("mean", "Mean of the last 10"),
)
_MOST_TAGS = 40


def _no_events(_run: str) -> tuple[HealthMark, ...]:
    """Give what is known of a run that nobody watches."""
    return ()


class RunNumbers:
    """The numbers in the columns of runs, each kept for as long as its curve lives."""

    def __init__(self) -> None:
        self.cursor: float | None = None
        self._known: WeakKeyDictionary[Curve, dict[RunColumn, tuple[float | None, float]]] = WeakKeyDictionary()

    def value(self, run: Run | None, column: RunColumn) -> float:
        """Give the number of a run in a column; NaN where it has none."""
        curve = run.curves.get(column.of) if run is not None else None
        if run is None or curve is None or column.how in ("config", "status", "events"):
            return np.nan
        at = self.cursor if column.how == "at" else None
        of_curve = self._known.get(curve)
        if of_curve is None:
            of_curve = self._known[curve] = {}
        known = of_curve.get(column)
        if known is None or known[0] != at:
            value = reduced(curve, column.how, last=column.last, at=at, higher=higher_is_better(column.of))
            known = of_curve[column] = (at, value)
        return known[1]


class RunsFace:
    """What the rows of the runs tree look like; texts are made for those in view."""

    def __init__(
        self,
        tree: RunTree,
        store: RunStore,
        columns: tuple[RunColumn, ...] = (),
        groups: RunGroups | None = None,
        numbers: RunNumbers | None = None,
        events: Callable[[str], tuple[HealthMark, ...]] = _no_events,
    ) -> None:
        self.tree = tree
        self.store = store
        self.columns = columns
        self.groups = groups
        self.numbers = RunNumbers() if numbers is None else numbers
        self.events = events
        self.emphasised: np.ndarray | None = None
        self.hovered: np.ndarray | None = None
        self._counts = tree.run_counts()

    def run(self, node: int) -> Run | None:
        """Give the run a node is."""
        return self.store.runs.get(self.tree.runs[node])

    def titles(self) -> list[tuple[str, str]]:
        """Give the texts and tooltips of the header; the last column always has room for the counts of folders."""
        shown = [(column.title, column.help) for column in self.columns]
        return [("run", "Runs by folder; click to sort by name"), *(shown or [("runs", "Number of runs")])]

    def text(self, node: int, column: int) -> str:
        """Give a name, a value or a count."""
        if column == 0:
            return self.tree.names[node]
        run = self.run(node)
        if run is None:
            if column > 1:
                return ""
            count = int(self._counts[node])
            lit = 0 if self.emphasised is None else int(self.emphasised[node])
            return f"{lit} of {count}" if 0 < lit < count else str(count)
        if not self.columns:
            return ""
        spec = self.columns[column - 1]
        if spec.how == "status":
            return run.status if run.status != "unknown" else ""
        if spec.how == "events":
            return str(len(self.events(run.key)) or "")
        if spec.how == "config":
            config = self.store.config(run)
            return cell_text(config[spec.of]) if spec.of in config else ""
        if spec.of not in run.curves:
            return ""
        value = self.numbers.value(run, spec)
        if spec.how in ("at", "min", "max", "best") and np.isnan(value):
            return ""
        # Digits for which there is room in a narrow column.
        return number_text(value, 5 if abs(value) >= 0.1 else 4 if abs(value) >= 1e-3 else 3)

    def help(self, node: int, column: int) -> str:
        """Give the whole key and how the run ended, or what a value is."""
        run = self.run(node)
        path = self.tree.paths[node].removeprefix("group:")
        if run is None:
            count = int(self._counts[node])
            return f"{path}\n{count} run{'' if count == 1 else 's'}"
        events = sentences(self.events(run.key))
        if column and self.columns:
            spec = self.columns[column - 1]
            return "\n".join([spec.help, run.key, *(events if spec.how == "events" else ())])
        tags = len(run.curves)
        facts = [_WORDS[run.status], f"{tags} tag{'' if tags == 1 else 's'}", *([run.reader] if run.reader else ())]
        return "\n".join([run.key, " · ".join(facts), *events])

    def ink(self, node: int, column: int) -> str:
        """Mute counts and names of runs without curves, and what is not under the mouse elsewhere."""
        if self.hovered is not None and node < len(self.hovered) and not self.hovered[node]:
            return "muted"
        if column and not self.tree.runs[node]:
            lit = self.emphasised is not None and self.emphasised[node] > 0
            return "accent" if lit else "muted"
        run = self.run(node)
        return "muted" if run is not None and not run.curves else ""

    def hue(self, node: int) -> str:
        """Give the hue of a run or of its group."""
        if self.groups is not None:
            run = self.tree.runs[node] or next(iter(self.tree.runs_below(node)), "")
            return self.groups.hue(run)
        run_here = self.run(node)
        return "" if run_here is None else f"c{run_here.ordinal}"

    def marks(self, node: int) -> tuple[tuple[str, str], ...]:
        """Give the signs of how a run ended and of what happened on its way, each once."""
        run = self.run(node)
        if run is None:
            return ()
        ended = [_MARKS[run.status]] if run.status in _MARKS else []
        return tuple(dict.fromkeys([*ended, *(_EVENT_MARKS[kind] for kind in kinds(self.events(run.key)))]))

    def is_head(self, node: int) -> bool:
        """Top folders are set in bold."""
        return not self.tree.runs[node] and int(self.tree.parents[node]) == 0


class RunsPane(QWidget):
    """The tree of runs with its filters, its grouping and its columns.

    Parameters
    ----------
    workspace : Workspace
    health : HealthWatch, optional
        Who knows what happened to the runs; without it no events are shown.

    Signals
    -------
    run_hovered(key)
        The mouse is over this run; empty when over none.
    compare_wanted(keys)
        The user wants the settings of these runs side by side.
    """

    run_hovered = Signal(str)
    compare_wanted = Signal(object)

    def __init__(
        self, workspace: Workspace, parent: QWidget | None = None, *, health: HealthWatch | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._events = _no_events if health is None else health.marks
        self._keys: tuple[str, ...] = ()
        self._hidden = ""
        self._built_from: tuple[object, ...] = ()
        self._grouped_from: tuple[object, ...] = ()
        self._grouped_runs: tuple[object, ...] = ()
        self._groups: RunGroups | None = None
        self._open: set[str] = set()
        self._seen: set[str] = set()
        self._sorting: tuple[int, bool] | None = None
        self._stale_order = False

        self._filter = RegexEdit("regex", self)
        self._filter.setAccessibleName("Filter runs by a regular expression")
        self._filter.pattern_changed.connect(self._on_filter_pattern_changed)
        self._filter.left.connect(self.focus_tree)
        self._summary = ElidedLabel("", self, mode=Qt.TextElideMode.ElideRight)
        self._summary.setProperty("role", "muted")
        self._events_button = self._button("List only runs to which something happened", QMenu(self))
        self._events_button.menu().aboutToShow.connect(self._on_events_menu_about_to_show)
        self._events_button.setVisible(health is not None)
        self._select_button = self._button("Tick runs", self._ticks_menu())
        self._group_button = self._button("Group runs")
        self._group_button.clicked.connect(self._on_group_button_clicked)
        self._columns_button = self._button("Columns of values")
        self._columns_button.clicked.connect(self._on_columns_button_clicked)

        self._numbers = RunNumbers()
        self._face = RunsFace(tree_by_folder(()), workspace.now.all, events=self._events)
        self.tree = CheckTree(self._face, self)
        self.tree.setAccessibleName("Runs")
        self.tree.tick_wanted.connect(self._on_tree_tick_wanted)
        self.tree.only_wanted.connect(self._on_tree_only_wanted)
        self.tree.chosen.connect(self._on_tree_chosen)
        self.tree.hovered.connect(self._on_tree_hovered)
        self.tree.menu_wanted.connect(self._on_tree_menu_wanted)
        self.tree.columns_menu_wanted.connect(self._on_tree_columns_menu_wanted)
        self.tree.header().sectionClicked.connect(self._on_header_section_clicked)
        self._empty = EmptyState("", parent=self)
        self._empty.button_clicked.connect(self.clear_filters)

        top = QHBoxLayout()
        top.setContentsMargins(2, 0, 0, 0)
        top.setSpacing(0)
        top.addWidget(self._summary, 1)
        for button in (self._events_button, self._select_button, self._group_button, self._columns_button):
            top.addWidget(button)
        below = QWidget(self)
        self._stack = QStackedLayout(below)
        self._stack.setContentsMargins(0, 0, 0, 0)
        self._stack.addWidget(self.tree)
        self._stack.addWidget(self._empty)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 0, 0)
        layout.setSpacing(4)
        filter_row = QHBoxLayout()
        filter_row.setContentsMargins(0, 0, 8, 0)
        filter_row.addWidget(self._filter)
        layout.addLayout(filter_row)
        layout.addLayout(top)
        layout.addWidget(below, 1)

        # While files are read there are many snapshots a second; the newest at most every so often is enough.
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self.refresh)
        workspace.changed.connect(self._on_workspace_changed)
        workspace.data_changed.connect(self._on_workspace_data_changed)
        workspace.hovered.connect(self._on_workspace_hovered)
        if health is not None:
            health.changed.connect(self._on_health_changed)
        appearance().changed.connect(self._on_appearance_changed)
        self._on_appearance_changed()
        self._filter.set_pattern(workspace.session.run_filter)
        self.refresh()

    def focus_filter(self) -> None:
        """Put the cursor into the filter."""
        self._filter.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self._filter.selectAll()

    def clear_filters(self) -> None:
        """List all runs again."""
        self._workspace.change(run_filter="", run_events=())

    def focus_tree(self) -> None:
        """Put the keyboard on the tree."""
        self.tree.setFocus(Qt.FocusReason.ShortcutFocusReason)

    @property
    def groups(self) -> RunGroups | None:
        """The groups of runs, None while runs are not grouped."""
        return self._groups

    @property
    def summary(self) -> str:
        """The line that says how many runs are shown and how they are grouped."""
        return self._summary.text()

    @property
    def columns(self) -> tuple[RunColumn, ...]:
        """The columns of values that are shown."""
        return self._face.columns

    # -- what is shown --------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the session and the data as they are now."""
        self._later.stop()
        now = self._workspace.now
        store, session = now.kept, now.session
        self._keys = tuple(store.kept_runs)
        columns = self._columns_of(store)
        columns_differ = columns != self._face.columns
        self._face.store = store
        self._numbers.cursor = session.step_cursor if session.curves.x == "step" else None
        self._regroup(store, session.grouping)
        found = self._found_keys()
        built_from = (self._keys, session.run_filter, self._event_filter(), tuple(found), self._groups)
        if columns_differ and self._sorting is not None and self._sorting[0] > max(len(columns), 1):
            self._sorting = None
        if built_from != self._built_from or columns_differ:
            filtered_before = bool(self._built_from) and any(self._built_from[1:3])
            self._built_from = built_from
            self._rebuild(found, columns, filtered_before=filtered_before)
            self._show_sorting()
        elif self._sorting is not None and self._sorting[0] > 0:
            self._reorder()
        self._show_emptiness(len(found))
        self._show_event_filter()
        self._show_ticks()
        self._show_emphasis()
        self.tree.viewport().update()

    def _event_filter(self) -> frozenset[str]:
        """Give the kinds of events of which a run must have one to be listed; empty lists all."""
        session = self._workspace.session
        return frozenset(session.run_events) & _EVENT_FILTERS.keys() if session.health else frozenset()

    def _is_filtered(self) -> bool:
        return bool(self._workspace.session.run_filter or self._event_filter())

    def _found_keys(self) -> list[str]:
        keys = found_keys(self._keys, self._workspace.session.run_filter)
        wanted = self._event_filter()
        return [key for key in keys if any(mark.kind in wanted for mark in self._events(key))] if wanted else keys

    def _show_event_filter(self) -> None:
        """Colour the button while runs are left out because of it."""
        on = bool(self._event_filter())
        self._events_button.setIcon(
            icon("ph.lightning-fill" if on else "ph.lightning", quiet="accent" if on else "muted")
        )

    def _columns_of(self, store: RunStore) -> tuple[RunColumn, ...]:
        wanted = self._workspace.session.run_columns
        if wanted == AUTOMATIC:
            tags = by_usefulness(store.tags())
            return (RunColumn("last", tags[0]),) if tags else ()
        return tuple(column for column in map(run_column, wanted) if column is not None)

    def _regroup(self, store: RunStore, grouping: Grouping) -> None:
        if not grouping.is_on:
            self._groups, self._grouped_from = None, ()
            return
        runs = store.kept_runs.values()
        # A growing curve makes a new run but keeps its configuration, which is all that groups depend on.
        held: tuple[object, ...] = tuple(part for run in runs for part in (run.config, run.facts))
        key = (grouping, store.maps, self._keys, tuple(map(id, held)), tuple(map(id, store.folder_configs.values())))
        if key != self._grouped_from:
            self._grouped_from = key
            self._grouped_runs = (held, store.folder_configs)  # so that the identities stay those of living objects
            self._groups = grouped_runs(store, grouping)

    def _rebuild(self, keys: list[str], columns: tuple[RunColumn, ...], *, filtered_before: bool) -> None:
        self._hidden = common_folder(self._keys)
        tree = tree_by_folder(keys, self._hidden) if self._groups is None else tree_by_group(keys, self._groups)
        if not filtered_before:
            # What is out of sight for a while, by a filter or under groups, comes back as it was.
            old = self._face.tree.paths[1:]
            self._open = (self._open - set(old)) | self.tree.expanded_paths()
            self._seen.update(old)
        if self._is_filtered() and len(tree) <= 10 * _FEW_ROWS:
            expanded = set(tree.paths)
        else:
            expanded = self._open | (_expanded_first(tree) - self._seen)
        self._show_tree(self._sorted(tree, columns), columns, expanded=expanded)

    def _show_tree(self, tree: RunTree, columns: tuple[RunColumn, ...], *, expanded: set[str] | None = None) -> None:
        self._face = RunsFace(tree, self._workspace.now.kept, columns, self._groups, self._numbers, self._events)
        self.tree.set_face(self._face, self._ticks(), expanded=expanded)

    def _sorted(self, tree: RunTree, columns: tuple[RunColumn, ...]) -> RunTree:
        if self._sorting is None:
            return tree
        section, descending = self._sorting
        if section == 0:
            return tree.reversed() if descending else tree
        if section > len(columns):
            return tree.sorted_by(tree.run_counts().astype(np.float64), descending=descending)
        column = columns[section - 1]
        if column.how in ("config", "status"):
            face = RunsFace(tree, self._workspace.now.kept, columns)
            texts = [face.text(node, section) if key else "" for node, key in enumerate(tree.runs)]
            return tree.sorted_by(_ranked(texts), descending=descending)
        if column.how == "events":
            counts = np.array([len(self._events(key)) if key else np.nan for key in tree.runs], dtype=np.float64)
            return tree.sorted_by(counts, descending=descending)
        runs = self._workspace.now.kept.runs
        values = np.array([self._numbers.value(runs.get(key), column) for key in tree.runs])
        return tree.sorted_by(values, descending=descending)

    def _reorder(self) -> None:
        """Sort again, but never under the mouse: a row must not move away from a click."""
        if self.tree.underMouse():
            self._stale_order = True
            return
        self._stale_order = False
        ordered = self._sorted(self._face.tree, self._face.columns)
        if not np.array_equal(ordered.order, self._face.tree.order):
            self._show_tree(ordered, self._face.columns)

    def _show_sorting(self) -> None:
        header = self.tree.header()
        header.setSortIndicatorShown(self._sorting is not None)
        if self._sorting is not None:
            column, descending = self._sorting
            header.setSortIndicator(column, Qt.SortOrder.DescendingOrder if descending else Qt.SortOrder.AscendingOrder)

    def _ticks(self) -> np.ndarray:
        return self._face.tree.ticks(frozenset(self._workspace.now.ticked))

    def _show_ticks(self) -> None:
        self.tree.set_ticks(self._ticks())
        session = self._workspace.session
        total = sum(1 for run in self._workspace.now.kept.kept_runs.values() if run.curves)
        parts = [f"{len(self._workspace.now.ticked)} of {total} shown"]
        if self._is_filtered() and not self._filter.error:
            parts.append(f"{sum(1 for run in self._face.tree.runs if run)} match")
        grouping = described(session.grouping)
        self._summary.setText(" · ".join([*parts, *([grouping] if grouping else [])]))

    def _show_emphasis(self) -> None:
        keys = self._emphasised_keys()
        self._face.emphasised = None if keys is None else self._face.tree.counts(keys)
        runs = self._face.tree.runs
        self.tree.set_lit(None if not keys else np.fromiter((run in keys for run in runs), bool, len(runs)))

    def _show_selection(self) -> None:
        """Forget the user's own selection for one made elsewhere, and bring that into view."""
        self.tree.choose([])
        nodes = self.tree.chosen_nodes()
        if self.tree.isVisible() and nodes and not any(map(self._is_in_view, nodes)):
            reachable = next((node for node in nodes if self._is_open(node)), None)
            if reachable is not None:
                self.tree.scrollTo(self.tree.tree_model.index_of(reachable))

    def _is_in_view(self, node: int) -> bool:
        rect = self.tree.visualRect(self.tree.tree_model.index_of(node))
        return rect.isValid() and self.tree.viewport().rect().intersects(rect)

    def _is_open(self, node: int) -> bool:
        """Whether everything above a node is expanded; what the user closed stays closed."""
        parent = int(self._face.tree.parents[node])
        while parent > 0:
            if not self.tree.isExpanded(self.tree.tree_model.index_of(parent)):
                return False
            parent = int(self._face.tree.parents[parent])
        return True

    def _emphasised_keys(self) -> frozenset[str] | None:
        highlight = self._workspace.session.highlight
        if highlight is None:
            return None
        if isinstance(highlight, IsIn) and highlight.column == "run":
            return frozenset(map(str, highlight.values))
        keys = tuple(run for run in self._face.tree.runs if run)
        told = self._workspace.now.emphasis.of(Keys("run", keys))
        return None if told is None else frozenset(key for key, lit in zip(keys, told, strict=True) if lit)

    def _show_emptiness(self, found: int) -> None:
        if found:
            self._stack.setCurrentWidget(self.tree)
            return
        session, everything = self._workspace.session, self._workspace.now.all
        if not everything.runs and any(map(everything.has_rows, ("scores", "predictions", "comparisons"))):
            self._empty.set_content("No runs in what is open.", "Its tables can be asked: Ctrl+K.")
        elif not everything.runs and session.roots:
            self._empty.set_content("No runs so far.")
        elif not everything.runs:
            self._empty.set_content("No runs are open.", "Drop a folder of logs on the window.")
        elif self._keys and self._event_filter():
            self._empty.set_content("This happened to no run that is listed.", button="Clear the filters")
        elif self._keys and session.run_filter:
            self._empty.set_content("No run has this in its path.", button="Clear the filter")
        else:
            self._empty.set_content("The filter leaves no run.", "Undo it with Ctrl+Z.")
        self._stack.setCurrentWidget(self._empty)

    # -- what is ticked -------------------------------------------------------------------------------------------------

    def tick(self, keys: Iterable[str], on: bool) -> None:
        """Show these runs as well, or no longer."""
        ticked = frozenset(self._workspace.now.ticked)
        self._workspace.change(ticked=ticked | frozenset(keys) if on else ticked - frozenset(keys))

    def tick_only(self, keys: Iterable[str]) -> None:
        """Show these runs and no others."""
        self._workspace.change(ticked=frozenset(keys))

    def tick_all(self) -> None:
        """Show all runs the filter leaves as well."""
        self.tick(self._listed(), True)

    def tick_none(self) -> None:
        """Show none of the runs the filter leaves."""
        self.tick(self._listed(), False)

    def invert_ticks(self) -> None:
        """Show those of the listed runs that are not shown, and not those that are."""
        listed = frozenset(self._listed())
        self._workspace.change(ticked=frozenset(self._workspace.now.ticked) ^ listed)

    def _listed(self) -> list[str]:
        return [run for run in self._face.tree.runs if run]

    def _runs_of(self, nodes: Iterable[int]) -> list[str]:
        return list(dict.fromkeys(key for node in nodes for key in self._face.tree.runs_below(node)))

    # -- slots ----------------------------------------------------------------------------------------------------------

    def _on_workspace_changed(self, fields: frozenset[str], origin: object) -> None:
        if fields & {
            "run_filter",
            "run_events",
            "health",
            "grouping",
            "maps",
            "filter",
            "run_columns",
            "run_notes",
            "roots",
        }:
            if "run_filter" in fields and origin is not self:
                self._filter.set_pattern(self._workspace.session.run_filter)
            self.refresh()
        elif "ticked" in fields:
            self._show_ticks()
        if "highlight" in fields:
            self._show_emphasis()
            if origin is not self:
                self._show_selection()
        if fields & {"step_cursor", "curves"} and any(column.how == "at" for column in self._face.columns):
            self._refresh_within(_REFRESH_MS)

    def _on_workspace_data_changed(self) -> None:
        only_grew = _only_grew(self._face.store, self._workspace.now.kept)
        self._refresh_within(_GROWN_MS if only_grew else _REFRESH_MS)

    def _on_health_changed(self) -> None:
        self._refresh_within(_REFRESH_MS)

    def _refresh_within(self, milliseconds: int) -> None:
        if not 0 <= self._later.remainingTime() <= milliseconds:
            self._later.start(milliseconds)

    def _on_workspace_hovered(self, emphasis: Emphasis) -> None:
        told = None
        if emphasis and emphasis is not self._workspace.now.emphasis and not self.tree.underMouse():
            keys = tuple(run for run in self._face.tree.runs if run)
            lit = emphasis.of(Keys("run", keys))
            if lit is not None:
                told = self._face.tree.counts({key for key, on in zip(keys, lit, strict=True) if on})
        self._face.hovered = told
        self.tree.viewport().update()

    def _on_filter_pattern_changed(self, pattern: str) -> None:
        self._workspace.change(run_filter=pattern, origin=self, gesture="run_filter")

    def _on_tree_tick_wanted(self, nodes: list[int]) -> None:
        keys = self._runs_of(nodes)
        self.tick(keys, not frozenset(keys) <= frozenset(self._workspace.now.ticked))

    def _on_tree_only_wanted(self, nodes: list[int]) -> None:
        self.tick_only(self._runs_of(nodes))

    def _on_tree_chosen(self, nodes: list[int]) -> None:
        keys = self._runs_of(nodes)
        self._workspace.highlight(is_in("run", keys) if keys else None, mode="replace", origin=self)

    def _on_tree_hovered(self, node: int) -> None:
        self.run_hovered.emit(self._face.tree.runs[node] if node < len(self._face.tree) else "")
        if not node and self._stale_order:
            self._later.start()

    def _on_header_section_clicked(self, section: int) -> None:
        first = section > 0 and self._high_first(section)
        if self._sorting == (section, first):
            self._sorting = (section, not first)
        elif self._sorting == (section, not first):
            self._sorting = None
        else:
            self._sorting = (section, first)
        self._show_sorting()
        self._show_tree(self._sorted(self._plain_tree(), self._face.columns), self._face.columns)
        self._show_emphasis()

    def _plain_tree(self) -> RunTree:
        keys = self._found_keys()
        return tree_by_folder(keys, self._hidden) if self._groups is None else tree_by_group(keys, self._groups)

    def _high_first(self, section: int) -> bool:
        """Whether the best of a column is its highest; the first click puts the best on top."""
        if section > len(self._face.columns):
            return True
        spec = self._face.columns[section - 1]
        return spec.how == "events" or (spec.how not in ("best", "config", "status") and higher_is_better(spec.of))

    def _on_appearance_changed(self) -> None:
        self._show_event_filter()
        self._select_button.setIcon(icon("mdi6.checkbox-multiple-outline"))
        self._group_button.setIcon(icon("mdi6.shape-outline"))
        self._columns_button.setIcon(icon("mdi6.table-column-plus-after"))

    def _button(self, name: str, menu: QMenu | None = None) -> QToolButton:
        button = QToolButton(self)
        button.setAutoRaise(True)
        button.setToolTip(name)
        button.setAccessibleName(name)
        if menu is not None:
            button.setMenu(menu)
            button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return button

    # -- menus ----------------------------------------------------------------------------------------------------------

    def _ticks_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.addAction("Show all that are listed", self.tick_all)
        menu.addAction("Show none of them", self.tick_none)
        menu.addAction("Invert", self.invert_ticks)
        menu.addAction("Show only the selected", self._on_only_selected_triggered)
        return menu

    def _on_events_menu_about_to_show(self) -> None:
        menu = self._events_button.menu()
        menu.clear()
        happened = Counter(kind for key in self._keys for kind in kinds(self._events(key)))
        wanted = self._event_filter()
        for kind, title in _EVENT_FILTERS.items():
            action = menu.addAction(f"{title}   {happened[kind]}")
            action.setCheckable(True)
            action.setChecked(kind in wanted)
            action.setEnabled(bool(happened[kind]) or kind in wanted)
            action.triggered.connect(partial(self.list_only, kind))
        menu.addSeparator()
        menu.addAction("All runs", lambda: self._workspace.change(run_events=())).setEnabled(bool(wanted))

    def list_only(self, kind: str, on: bool = True) -> None:
        """List runs to which this happened, and to which another kind happened that was chosen before; or no longer."""
        chosen = set(self._workspace.session.run_events)
        chosen = chosen | {kind} if on else chosen - {kind}
        self._workspace.change(run_events=tuple(sorted(chosen)))

    def _on_only_selected_triggered(self) -> None:
        keys = self._runs_of(self.tree.chosen_nodes())
        if keys:
            self.tick_only(keys)

    def _on_tree_menu_wanted(self, node: int, place: QPoint) -> None:
        menu = self.menu_of(node)
        menu.popup(place)

    def menu_of(self, node: int) -> QMenu:
        """Make the context menu of a node, or that of the tree for node 0."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if node:
            chosen = self.tree.chosen_nodes()
            nodes = chosen if node in chosen else [node]
            keys = self._runs_of(nodes)
            single = self._face.run(node) if len(keys) == 1 else None
            menu.addAction("Show only this" if len(keys) == 1 else f"Show only these {len(keys)}").triggered.connect(
                lambda: self.tick_only(keys)
            )
            keep = menu.addAction("Keep only this" if len(keys) == 1 else f"Keep only these {len(keys)}")
            keep.setToolTip("Everything else leaves the computations, too")
            keep.triggered.connect(lambda: self._keep_only(keys))
            menu.addSeparator()
            menu.addAction("Copy key" if len(keys) == 1 else "Copy keys").triggered.connect(
                lambda: QGuiApplication.clipboard().setText("\n".join(keys))
            )
            paths = [self._workspace.now.all.runs[key].source or key for key in keys]
            menu.addAction("Copy path" if len(keys) == 1 else "Copy paths").triggered.connect(
                lambda: QGuiApplication.clipboard().setText("\n".join(dict.fromkeys(paths)))
            )
            menu.addAction("Note…").triggered.connect(lambda: self.write_note(keys))
            menu.addAction("Tags…").triggered.connect(lambda: self.write_tags(keys))
            if len(keys) > 1:
                compare = menu.addAction(f"Compare the settings of these {len(keys)}")
                compare.triggered.connect(lambda: self.compare_wanted.emit(tuple(keys)))
            if single is not None:
                run = single
                menu.addAction("Configuration…").triggered.connect(lambda: self.show_config(run.key))
            menu.addSeparator()
        menu.addAction("Expand all", self.tree.expandAll)
        menu.addAction("Collapse all", self.tree.collapseAll)
        return menu

    def _keep_only(self, keys: list[str]) -> None:
        self._workspace.highlight(is_in("run", keys), mode="replace", origin=self)
        self._workspace.keep_only_highlighted()

    def write_note(self, keys: list[str]) -> None:
        """Let the user write a note on runs."""
        note, said = QInputDialog.getMultiLineText(
            self, "Note", f"About {_these(keys)}; kept in the session:", self._note(keys[0]).note
        )
        if said:
            self._workspace.note_runs(keys, note=note)
            self._show_column_of("note")

    def write_tags(self, keys: list[str]) -> None:
        """Let the user put tags on runs."""
        tags, said = QInputDialog.getText(
            self,
            "Tags",
            f"Tags of {_these(keys)}, with commas between; runs can be grouped and filtered by them:",
            QLineEdit.EchoMode.Normal,
            ", ".join(self._note(keys[0]).tags),
        )
        if said:
            self._workspace.note_runs(keys, tags=tags.split(","))
            self._show_column_of("tags")

    def _note(self, key: str) -> RunNote:
        return next((one for one in self._workspace.session.run_notes if one.run == key), RunNote(key))

    def _show_column_of(self, name: str) -> None:
        if self._workspace.session.run_notes:
            self.add_column(RunColumn("config", name))

    def show_config(self, key: str) -> ConfigDialog:
        """Show the configuration of a run beside the window."""
        store = self._workspace.now.all
        dialog = ConfigDialog(store, store.runs[key], self)
        dialog.show()
        return dialog

    def _on_columns_button_clicked(self) -> None:
        button = self._columns_button
        self.columns_menu(0).popup(button.mapToGlobal(button.rect().bottomLeft()))

    def _on_tree_columns_menu_wanted(self, column: int, place: QPoint) -> None:
        self.columns_menu(column).popup(place)

    def columns_menu(self, section: int = 0) -> QMenu:
        """Make the menu that adds columns of values and removes them."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if 0 < section <= len(self._face.columns):
            column = self._face.columns[section - 1]
            menu.addAction(f"Remove {column.title}").triggered.connect(lambda: self.remove_column(column))
            menu.addSeparator()
        store = self._workspace.now.kept
        tags = by_usefulness(store.tags())
        for how, title in _HOWS:
            below = menu.addMenu(title)
            below.setEnabled(bool(tags))
            for tag in tags[:_MOST_TAGS]:
                self._add_column_action(below, RunColumn(how, tag), tag)
        configs = sorted({key for run in store.kept_runs.values() for key in run.config})
        below = menu.addMenu("Configuration")
        below.setEnabled(bool(configs))
        for key in configs[:_MOST_TAGS]:
            self._add_column_action(below, RunColumn("config", key), key)
        self._add_column_action(menu, RunColumn("config", "tags"), "Tags")
        self._add_column_action(menu, RunColumn("config", "note"), "Notes")
        self._add_column_action(menu, RunColumn("status"), "How it ended")
        self._add_column_action(menu, RunColumn("events"), "Spikes, restarts and other events")
        menu.addSeparator()
        menu.addAction("No values").triggered.connect(lambda: self._workspace.change(run_columns=NO_COLUMNS))
        menu.addAction("The usual one").triggered.connect(lambda: self._workspace.change(run_columns=AUTOMATIC))
        return menu

    def _add_column_action(self, menu: QMenu, column: RunColumn, title: str) -> None:
        action = menu.addAction(title)
        action.setCheckable(True)
        action.setChecked(column in self._face.columns)
        action.triggered.connect(lambda checked: self.add_column(column) if checked else self.remove_column(column))

    def add_column(self, column: RunColumn) -> None:
        """Add a column of values."""
        if column not in self._face.columns:
            self._workspace.change(run_columns=tuple(map(str, (*self._face.columns, column))))

    def remove_column(self, column: RunColumn) -> None:
        """Take a column of values away."""
        left = tuple(str(other) for other in self._face.columns if other != column)
        self._workspace.change(run_columns=left or NO_COLUMNS)

    def _on_group_button_clicked(self) -> None:
        button = self._group_button
        popup = GroupingPopup(self._workspace, self)
        popup.adjustSize()
        corner = button.mapToGlobal(button.rect().bottomRight())
        popup.move(max(corner.x() - popup.width(), 0), corner.y())
        popup.show()


def _these(keys: list[str]) -> str:
    return keys[0].rpartition("/")[2] if len(keys) == 1 else f"these {len(keys)} runs"


def _only_grew(before: RunStore, now: RunStore) -> bool:
    """Whether runs are those from before, and have the tags they had."""
    if before.tag_counts is now.tag_counts:
        return True
    return len(before.runs) == len(now.runs) and all(
        (old := before.runs.get(key)) is run or (old is not None and old.curves.keys() == run.curves.keys())
        for key, run in now.runs.items()
    )


def _expanded_first(tree: RunTree) -> set[str]:
    """Give the paths to expand: all where there is little, else what is at the top as long as few rows come of it."""
    if len(tree) <= _FEW_ROWS:
        return set(tree.paths)
    rows = len(tree.children(0))
    opened = set()
    for node in tree.children(0).tolist():
        rows += len(tree.children(node))
        if rows > _FEW_ROWS:
            break
        opened.add(tree.paths[node])
    return opened


def _ranked(texts: list[str]) -> np.ndarray:
    """Give the rank of every text, numbers by their value; NaN for empty ones."""
    numbers = []
    for text in texts:
        try:
            numbers.append(float(text))
        except ValueError:
            numbers.append(np.nan)
    if all(not text or not np.isnan(number) for text, number in zip(texts, numbers, strict=True)):
        return np.array(numbers)
    ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
    return np.array([ranks[text] if text else np.nan for text in texts], dtype=np.float64)


class GroupingPopup(QFrame):
    """Chooses what makes runs repeats of one another: the columns they agree on, or all but some."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setProperty("role", "pane")
        self._workspace = workspace
        grouping = workspace.session.grouping
        self._by = QRadioButton("Runs that agree on", self)
        self._except = QRadioButton("Runs that agree on everything except", self)
        self._modes = QButtonGroup(self)
        self._modes.addButton(self._by)
        self._modes.addButton(self._except)
        (self._except if grouping.everything_except else self._by).setChecked(True)
        self._modes.buttonToggled.connect(self._on_mode_toggled)
        self._find = RegexEdit("find a column", self)
        self._find.pattern_changed.connect(self._on_find_pattern_changed)
        self._list = QListWidget(self)
        self._list.setAccessibleName("Columns")
        self._list.setUniformItemSizes(True)
        self._list.setMinimumSize(360, 260)
        self._list.itemChanged.connect(self._on_item_changed)
        self._none = QPushButton("No groups", self)
        self._none.clicked.connect(self._on_none_clicked)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 10, 12, 12)
        layout.setSpacing(6)
        layout.addWidget(self._by)
        layout.addWidget(self._except)
        layout.addWidget(self._find)
        layout.addWidget(self._list)
        layout.addWidget(self._none, 0, Qt.AlignmentFlag.AlignRight)
        self._fill()

    def _fill(self) -> None:
        grouping = self._workspace.session.grouping
        self._list.blockSignals(True)
        self._list.clear()
        rows: list[tuple[str, str]] = []
        columns = groupable_columns(self._workspace.now.kept)
        if self._except.isChecked():
            words = {"seed": "seed", "time": "times and dates", "host": "host and devices", "output": "output folders"}
            rows = [(name, words[name]) for name in FAMILIES]
            columns = [(name, values) for name, values in columns if name not in FAMILIES]
        rows += [(name, f"{name.removeprefix('config.')}   {values} values") for name, values in columns]
        for name, text in rows:
            item = QListWidgetItem(text, self._list)
            item.setData(Qt.ItemDataRole.UserRole, name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            same_mode = grouping.everything_except == self._except.isChecked()
            on = name in grouping.keys if same_mode else False
            item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
        self._list.blockSignals(False)
        self._on_find_pattern_changed(self._find.pattern)

    def _checked(self) -> tuple[str, ...]:
        items = [self._list.item(row) for row in range(self._list.count())]
        return tuple(
            item.data(Qt.ItemDataRole.UserRole) for item in items if item.checkState() == Qt.CheckState.Checked
        )

    def _on_mode_toggled(self, _button: QRadioButton, on: bool) -> None:
        if on:
            everything = self._except.isChecked()
            keys = EXCEPT_AT_FIRST if everything else ()
            self._workspace.change(grouping=Grouping(keys, everything))
            self._fill()

    def _on_item_changed(self, _item: QListWidgetItem) -> None:
        self._workspace.change(grouping=Grouping(self._checked(), self._except.isChecked()), gesture="grouping")

    def _on_none_clicked(self) -> None:
        self._workspace.change(grouping=Grouping())
        self.close()

    def _on_find_pattern_changed(self, pattern: str) -> None:
        items = [self._list.item(row) for row in range(self._list.count())]
        try:
            found = found_in(pattern, [item.text() for item in items], ignore_case=True)
        except (ExpressionError, TooSlow):
            return
        for item, is_found in zip(items, found, strict=True):
            item.setHidden(not is_found)


class ConfigDialog(QDialog):
    """The configuration of a run as a table one can search and copy from."""

    def __init__(self, store: RunStore, run: Run, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"Configuration of {run.name or run.key}")
        self.resize(560, 480)
        self._rows = self._table_of(store, run)
        title = ElidedLabel(run.key, self)
        title.setProperty("role", "title")
        self._find = RegexEdit("find", self)
        self._find.pattern_changed.connect(self._on_find_pattern_changed)
        self.table = FrameTable(self)
        self.table.setAccessibleName("Configuration")
        self.table.set_frame(self._rows)
        note = QLabel("Copy with Ctrl+C." if len(self._rows) else "No configuration was found for this run.", self)
        note.setProperty("role", "caption")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(8)
        layout.addWidget(title)
        layout.addWidget(self._find)
        layout.addWidget(self.table, 1)
        layout.addWidget(note)

    @staticmethod
    def _table_of(store: RunStore, run: Run) -> pd.DataFrame:
        config = store.config(run)
        return pd.DataFrame(
            {
                "key": pd.Series(list(config), dtype="object"),
                "value": pd.Series([cell_text(value) for value in config.values()], dtype="object"),
            }
        )

    def _on_find_pattern_changed(self, pattern: str) -> None:
        self.table.set_order(np.flatnonzero(found_rows(self._rows, pattern)))
