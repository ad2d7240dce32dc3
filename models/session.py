"""All that a user decided, as one frozen value that goes to a file and back.

A gesture makes a new `Session`; what changed is ``old != new``, field by field. Paths are stored relative to the session file,
so that a folder with its session can be moved. The data itself is never in here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import orjson

from . import expression, selection
from .address import is_address, without_password
from .column_map import ColumnMap
from .errors import ExpressionError, SessionError
from .schema import SCHEMAS
from .selection import EVERYTHING, Clause
from .session_formats import VERSION, in_todays_format
from .store import RunStore
from .text_pattern import TextPattern

Smoother = Literal["ema", "half-life", "mean", "gaussian", "median", "isotonic", "none"]
XAxis = str
"""``step``, ``relative``, ``wall`` or the name of a tag (``tokens``, ``flops``, ``epoch`` ...)."""


@dataclass(frozen=True, slots=True)
class CurveView:
    """How learning curves are drawn.

    Attributes
    ----------
    smoother : {'ema', 'half-life', 'mean', 'gaussian', 'median', 'isotonic', 'none'}
        'ema' is TensorBoard's debiased average.
    weight : float
        Weight of the past in 'ema', 0 to 0.999.
    width : float or None
        Half-life, window or standard deviation of the other smoothers, in units of x; None takes it from the data.
    x : str
        ``step``, ``relative`` (seconds since the first point), ``wall`` or a tag.
    tight_y : bool
        Whether the y axis at first shows the 5th to 95th percentile.
    """

    smoother: Smoother = "ema"
    weight: float = 0.6
    width: float | None = None
    x: str = "step"
    log_x: bool = False
    log_y: bool = False
    tight_y: bool = False
    tag_filter: str = ""
    pinned: tuple[str, ...] = ()
    columns: int = 0
    """Cards beside each other; 0 fits the window."""
    marks: bool = True
    """Whether spikes, divergence and restarts are marked on the curves."""
    centre: Literal["mean", "median", "iqm"] = "mean"
    band: Literal["t", "prediction", "simultaneous", "sd", "se", "minmax", "none"] = "t"
    level: float = 0.95
    """Centre, band and coverage where runs are grouped; see ``curve.seed-band``."""
    opened: tuple[str, ...] = ()
    """Groups whose seeds are drawn, each on its own."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which runs count as repeats of one another.

    Attributes
    ----------
    keys : tuple of str
        Columns of the `runs` table; runs that agree on all of them form a group. Empty: no groups.
    everything_except : bool
        Whether the keys are those to leave *out* instead: runs that agree on all other configuration form a group.
    """

    keys: tuple[str, ...] = ()
    everything_except: bool = False

    @property
    def is_on(self) -> bool:
        """Whether runs are grouped at all."""
        return bool(self.keys) or self.everything_except


@dataclass(frozen=True, slots=True)
class Pane:
    """One pane of the workspace.

    Attributes
    ----------
    key : str
        Unique in the session.
    kind : {'curves', 'analysis', 'questions'}
        What it shows: learning curves, the answer to a question, or what can be asked.
    analysis : str
        Id of the analysis, for that kind.
    question : Mapping
        The question as JSON values.
    where : str
        Condition on rows that enter this pane's computation, besides the session's filter.
    """

    key: str
    kind: Literal["curves", "analysis", "questions"]
    analysis: str = ""
    question: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    where: str = ""

    def __hash__(self) -> int:
        return hash((self.key, self.kind, self.analysis, self.title, self.where))

    @property
    def heading(self) -> str:
        """What stands over the pane until its answer says more."""
        return self.title or {"curves": "Learning curves", "questions": "What can be asked"}.get(self.kind, self.key)


@dataclass(frozen=True, slots=True)
class RunNote:
    """What the user wrote about a run; it stays in the session and never goes into a folder of runs.

    Attributes
    ----------
    run : str
        Key of the run.
    note : str
        Any text.
    tags : tuple of str
        Words to group and filter by.
    """

    run: str
    note: str = ""
    tags: tuple[str, ...] = ()

    def settings(self) -> dict[str, str]:
        """Give the note as settings of the run: the columns ``config.note`` and ``config.tags``."""
        said = {"note": self.note, "tags": ", ".join(self.tags)}
        return {name: text for name, text in said.items() if text}


@dataclass(frozen=True, slots=True)
class ReportPart:
    """One section of a report: what a pane shows under a heading and a text, or a text alone.

    Attributes
    ----------
    pane : str
        Key of a pane of the session; empty for a text alone.
    title : str
        Heading; empty takes the title of what the pane shows.
    text : str
        What stands above the figure, in Markdown.
    """

    pane: str = ""
    title: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says besides what the panes show.

    Attributes
    ----------
    title : str
        Empty names what was opened.
    text : str
        What stands first, in Markdown.
    parts : tuple of ReportPart
        Sections in their order; empty: every pane, in the order of the session.
    """

    title: str = ""
    text: str = ""
    parts: tuple[ReportPart, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What a window shows of the open data.

    Attributes
    ----------
    roots : tuple of str
        What was opened: absolute paths here, relative ones in a file; addresses, in a file without passwords.
    run_filter : str
        Regular expression over names of runs, as typed.
    filter : Clause
        What enters computation.
    highlight : Clause or None
        What is emphasised; None emphasises nothing.
    step_cursor : float or None
        x of the shared cursor.
    layout : str
        The window's arrangement, as the window understands it.
    """

    roots: tuple[str, ...] = ()
    ticked: frozenset[str] | None = None
    """Runs that are shown; None: the first ten, or all where there are few."""
    run_filter: str = ""
    run_events: tuple[str, ...] = ()
    """Only runs to which one of these happened are listed ('spike', 'divergence', 'restart' ...); empty: all."""
    grouping: Grouping = Grouping()
    run_columns: tuple[str, ...] = ()
    curves: CurveView = CurveView()
    maps: tuple[ColumnMap, ...] = ()
    text_patterns: tuple[TextPattern, ...] = ()
    """How the user reads some text files."""
    filter: Clause = EVERYTHING
    highlight: Clause | None = None
    step_cursor: float | None = None
    panes: tuple[Pane, ...] = (Pane("curves", "curves"),)
    focus: str = "curves"
    theme: Literal["system", "light", "dark"] = "system"
    palette: str = ""
    """Name of the colours of runs and groups; empty: those that are on where the session is opened."""
    follow: bool = True
    health: bool = True
    """Whether spikes, divergence, restarts and plateaus of every run are looked for and marked."""
    run_notes: tuple[RunNote, ...] = ()
    report: Report = Report()
    layout: str = ""

    def changed(self, other: Session) -> frozenset[str]:
        """Give the names of the fields in which two sessions differ."""
        return frozenset(f.name for f in dataclasses.fields(self) if getattr(self, f.name) != getattr(other, f.name))


FIRST_TICKED = 10
"""Runs that are ticked at first where there are many."""

MANY_RUNS = 30
"""From this many runs on, not all are ticked at first."""


def ticked_runs(session: Session, store: RunStore) -> tuple[str, ...]:
    """Give the keys of the runs that are shown: those the user ticked, or the first ten where nothing was said of many."""
    if session.ticked is not None:
        return tuple(key for key, run in store.kept_runs.items() if key in session.ticked and run.curves)
    keys = tuple(key for key, run in store.kept_runs.items() if run.curves)
    return keys if len(keys) <= MANY_RUNS else keys[:FIRST_TICKED]


FLEETING = frozenset({"highlight", "step_cursor", "focus", "layout"})
"""Fields whose changes are not steps of their own for undo."""


def to_json(session: Session, folder: Path) -> dict[str, Any]:
    """Write a session as plain JSON values, with paths relative to `folder`."""
    data: dict[str, Any] = {"runglass_session": VERSION}
    for spec in dataclasses.fields(session):
        value = getattr(session, spec.name)
        match spec.name:
            case "roots":
                value = [_relative(root, folder) for root in value]
            case "ticked":
                value = None if value is None else sorted(value)
            case "filter":
                value = selection.to_json(value)
            case "highlight":
                value = None if value is None else selection.to_json(value)
            case "grouping" | "curves" | "report":
                value = dataclasses.asdict(value)
            case "maps" | "panes" | "text_patterns" | "run_notes":
                value = [dataclasses.asdict(item) for item in value]
        data[spec.name] = value
    return data


def from_json(data: Any, folder: Path) -> Session:
    """Read what `to_json` wrote, now or in an older format.

    What is missing keeps its default, what is unknown is passed over.

    Raises
    ------
    NewerSession
        When a newer Runglass wrote it.
    SessionError
        When `data` is no session, or a field holds the wrong kind of value.
    """
    data = in_todays_format(data)
    values: dict[str, Any] = {}
    names = {f.name for f in dataclasses.fields(Session)}
    for name, value in data.items():
        if name not in names:
            continue
        try:
            values[name] = _field(name, value, folder)
        except (TypeError, ValueError, KeyError, AttributeError, ExpressionError) as error:
            raise SessionError(f"The field {name!r} of the session could not be understood ({error}).") from error
    return Session(**values)


def _field(name: str, value: Any, folder: Path) -> Any:
    match name:
        case "roots":
            return tuple(_absolute(_text(root), folder) for root in value)
        case "ticked":
            return None if value is None else frozenset(_text(key) for key in value)
        case "filter":
            return selection.from_json(value)
        case "highlight":
            return None if value is None else selection.from_json(value)
        case "grouping":
            return Grouping(tuple(map(_text, value["keys"])), bool(value["everything_except"]))
        case "curves":
            return _plain(CurveView, value)
        case "run_notes":
            return tuple(
                RunNote(_text(one["run"]), _text(one.get("note", "")), tuple(map(_text, one.get("tags", ()))))
                for one in value
            )
        case "report":
            parts = (
                ReportPart(*(_text(part.get(name, "")) for name in ("pane", "title", "text")))
                for part in value["parts"]
            )
            return Report(_text(value.get("title", "")), _text(value.get("text", "")), tuple(parts))
        case "maps":
            return tuple(_map(item) for item in value)
        case "text_patterns":
            return tuple(TextPattern(_text(i["name"]), _text(i["glob"]), _text(i["regex"])) for i in value)
        case "panes":
            return tuple(_pane(item) for item in value)
        case "run_columns" | "run_events":
            return tuple(map(_text, value))
        case "step_cursor":
            return None if value is None else float(value)
        case "follow" | "health":
            return bool(value)
        case "theme":
            return _one_of(value, ("system", "light", "dark"))
        case _:
            return _text(value)


def _map(item: Mapping[str, Any]) -> ColumnMap:
    derived = tuple((_text(a), _text(b)) for a, b in item["derived"])
    for _, text in derived:
        expression.parse(text)
    table = _one_of(item["table"], ("", *SCHEMAS))
    return ColumnMap(tuple((_text(a), _text(b)) for a, b in item["names"]), derived, _text(item["pattern"]), table)


def _pane(item: Mapping[str, Any]) -> Pane:
    return Pane(
        key=_text(item["key"]),
        kind=_one_of(item["kind"], ("curves", "analysis", "questions")),
        analysis=_text(item.get("analysis", "")),
        question=dict(item.get("question", {})),
        title=_text(item.get("title", "")),
        where=_text(item.get("where", "")),
    )


def _plain(kind: type[CurveView], value: Mapping[str, Any]) -> CurveView:
    view = kind()
    known: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for spec in dataclasses.fields(kind):
        if spec.name in value:
            default = getattr(view, spec.name)
            given = value[spec.name]
            if isinstance(default, tuple):
                known[spec.name] = tuple(map(_text, given))
            elif get_origin(hints[spec.name]) is Literal:
                known[spec.name] = _one_of(given, get_args(hints[spec.name]))
            elif default is None:
                known[spec.name] = None if given is None else float(given)
            else:
                known[spec.name] = type(default)(given)
    return kind(**known)


def _one_of(value: Any, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _relative(root: str, folder: Path) -> str:
    if is_address(root):
        return without_password(root)
    try:
        return Path(os.path.relpath(root, folder)).as_posix()
    except ValueError:  # another drive on Windows
        return root


def _absolute(root: str, folder: Path) -> str:
    return root if is_address(root) else os.path.normpath(folder / root)


def save(session: Session, path: Path) -> None:
    """Write a session file; the old one stays until the new one is whole.

    Raises
    ------
    SessionError
        When it cannot be written.
    """
    try:
        options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
        data = orjson.dumps(to_json(session, path.parent.resolve()), option=options)
    except TypeError as error:  # a path whose name is no text, say
        raise SessionError(f"The session could not be saved: {error}.") from error
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise SessionError(f"The session could not be saved: {error.strerror}.", remedy="Save it elsewhere.") from error


def load(path: Path) -> Session:
    """Read a session file.

    Raises
    ------
    SessionError
        When it cannot be read or is no session.
    """
    try:
        data = orjson.loads(path.read_bytes())
    except OSError as error:
        raise SessionError(f"The session could not be read: {error.strerror}.") from error
    except orjson.JSONDecodeError as error:
        raise SessionError(f"The session file is damaged ({error}).") from error
    return from_json(data, path.parent.resolve())
