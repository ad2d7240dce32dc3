"""What the palette offers for the data and the window there are now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from PySide6.QtGui import QAction, QKeySequence

from ..analysis import registry
from ..analysis.templates import Template, templates
from ..models.result import counted
from ..models.session import Pane, Session
from ..models.store import RunStore
from ..resources import DEFAULT_PALETTE, palettes
from .panes.palette import Entry

QUESTIONS, DASHBOARDS, TAGS, RUNS, PANES, ACTIONS = "Questions", "Dashboards", "Tags", "Runs", "Panes", "Actions"
KINDS = (QUESTIONS, DASHBOARDS, TAGS, RUNS, PANES, ACTIONS)

Act = Callable[[str], object]


def question_entries(store: RunStore, ask: Act) -> list[Entry]:
    """Give every analysis; those that lack something say what."""
    entries = []
    for analysis in registry.catalogue():
        lacking = analysis.question.missing(store)
        sentence = f"{lacking[0].upper()}{lacking[1:]}." if lacking else analysis.asks
        act = partial(ask, analysis.id)
        entries.append(Entry(QUESTIONS, analysis.title, sentence, analysis.id, act, is_quiet=bool(lacking)))
    return entries


def dashboard_entries(store: RunStore, arrange: Callable[[Template], object]) -> list[Entry]:
    """Give every template; one that can show nothing is quiet."""
    entries = []
    for one in templates():
        able = len(one.answerable(store))
        aside = f"{able} of {counted(len(one.session.panes), 'pane')}"
        act = partial(arrange, one)
        entries.append(Entry(DASHBOARDS, one.title, one.about, aside, act, is_quiet=not able))
    return entries


def tag_entries(store: RunStore, show: Act) -> list[Entry]:
    """Give every tag, to open its curves in a pane of their own."""
    counts: dict[str, int] = {}
    for run in store.kept_runs.values():
        for tag in run.curves:
            counts[tag] = counts.get(tag, 0) + 1
    return [
        Entry(TAGS, tag, "Open these curves in a pane of their own", counted(counts[tag], "run"), partial(show, tag))
        for tag in store.tags()
        if tag in counts
    ]


def run_entries(store: RunStore, show: Act) -> list[Entry]:
    """Give every run, to highlight it everywhere."""
    return [Entry(RUNS, run.name, key, str(run.status), partial(show, key)) for key, run in store.kept_runs.items()]


def pane_entries(session: Session, titles: Callable[[Pane], str], show: Act) -> list[Entry]:
    """Give the panes that are open, to bring one to the front."""
    return [
        Entry(PANES, titles(pane), "Bring this pane to the front", "", partial(show, pane.key))
        for pane in session.panes
    ]


def colour_entries(on: str, choose: Act) -> list[Entry]:
    """Give the palettes of runs and groups, but the one that is on."""
    return [
        Entry(ACTIONS, f"Palette: {one.title}", one.about, one.name, partial(choose, one.name))
        for one in palettes.palettes()
        if one.name != (on or DEFAULT_PALETTE)
    ]


def action_entries(actions: Sequence[QAction]) -> list[Entry]:
    """Give the actions of the window that can be done now."""
    entries = []
    for action in actions:
        if not action.text() or not action.isEnabled():
            continue
        keys = " or ".join(key.toString(QKeySequence.SequenceFormat.NativeText) for key in action.shortcuts())
        title = action.text().replace("&", "")
        sentence = ("On now." if action.isChecked() else "Off now.") if action.isCheckable() else ""
        entries.append(Entry(ACTIONS, title, sentence or "Action of the window", keys, action.trigger))
    return entries
