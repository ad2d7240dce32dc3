"""What can be asked: a frozen value whose fields are the options.

A `Question` is the saved pane, the key of the cache, the provenance line and the arguments of the command line, all in
one: it is hashable and goes to JSON and back. Its fields carry what a form needs (help, unit, bounds, choices), so that
no analysis has GUI code of its own.

Writing one::

    @dataclass(frozen=True, kw_only=True)
    class FlipsQuestion(Question):
        old: str = option("", help="version that worked", choices="predictions.version")
        level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from .engine import LOCAL, Engine
from .errors import RunglassError
from .figure import FigureSpec
from .progress import Progress, quiet
from .result import Result
from .schema import RUNS, SCHEMAS
from .store import RunStore


def option(
    default: Any,
    *,
    help: str,  # noqa: A002 - the word users know from the command line
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: str = "",
    advanced: bool = False,
) -> Any:
    """Declare a field of a question.

    Parameters
    ----------
    default
        Value unless the user says otherwise; a number, text, boolean, None or tuple of texts.
    help : str
        One line.
    unit : str
        Unit of the value.
    low, high : float, optional
        Bounds, both included.
    choices : str
        Where the values on offer come from: ``tags``, ``x axes`` (step, relative, wall and the tags), ``columns of
        TABLE``,
        ``numbers of TABLE`` (numeric columns) or ``TABLE.COLUMN`` (the values of a column); several with ``|`` between.
        Fixed choices are a `Literal` type instead.
    advanced : bool
        Whether a form may fold it away.
    """
    metadata = {"help": help, "unit": unit, "low": low, "high": high, "choices": choices, "advanced": advanced}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a question, as a form or a command line needs it.

    Attributes
    ----------
    type : {'text', 'number', 'integer', 'boolean', 'choice', 'texts'}
        'choice' is one of `fixed`; 'texts' is any number of texts.
    optional : bool
        Whether None is a value (it then means: decide from the data).
    """

    name: str
    type: Literal["text", "number", "integer", "boolean", "choice", "texts"]
    default: Any
    help: str
    unit: str
    low: float | None
    high: float | None
    choices: str
    fixed: tuple[str, ...]
    optional: bool
    advanced: bool

    def parsed(self, text: str) -> Any:
        """Read a value from the command line or a text field.

        Raises
        ------
        RunglassError
            When `text` is not a value of this option.
        """
        said = f"--{self.name.replace('_', '-')}"
        if self.optional and text.strip().lower() in ("", "none", "auto"):
            return None
        match self.type:
            case "boolean":
                if text.lower() in ("true", "yes", "1", "on"):
                    return True
                if text.lower() in ("false", "no", "0", "off"):
                    return False
                raise RunglassError(f"{said} is yes or no, not {text!r}.")
            case "integer" | "number":
                try:
                    value = int(text) if self.type == "integer" else float(text)
                except ValueError:
                    raise RunglassError(f"{said} is a number, not {text!r}.") from None
                return self.checked(value)
            case "texts":
                return tuple(part.strip() for part in text.split(",") if part.strip())
            case _:
                return self.checked(text)

    def checked(self, value: Any) -> Any:
        """Give `value` back where it is allowed.

        Raises
        ------
        RunglassError
            When it is of the wrong kind, out of bounds or not among the fixed choices.
        """
        said = f"--{self.name.replace('_', '-')}"
        if value is None and self.optional:
            return value
        if self.type == "choice" and value not in self.fixed:
            raise RunglassError(f"{said} is one of {', '.join(self.fixed)}; not {value!r}.")
        if self.type == "text" and not isinstance(value, str):
            raise RunglassError(f"{said} is a text, not {value!r}.")
        if self.type == "texts" and not (isinstance(value, tuple) and all(isinstance(one, str) for one in value)):
            raise RunglassError(f"{said} is a list of texts, not {value!r}.")
        if self.type == "boolean" and not isinstance(value, bool):
            raise RunglassError(f"{said} is yes or no, not {value!r}.")
        if self.type in ("number", "integer"):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RunglassError(f"{said} is a number, not {value!r}.")
            if (self.low is not None and not value >= self.low) or (self.high is not None and not value <= self.high):
                named = (("at least", self.low), ("at most", self.high))
                bounds = [f"{word} {bound:g}" for word, bound in named if bound is not None]
                raise RunglassError(f"{said} is {' and '.join(bounds)}; not {value:g}.")
        return value


@dataclass(frozen=True, slots=True)
class Need:
    """What a question cannot do without.

    Attributes
    ----------
    table : str
        Canonical table that must have rows; ``a|b`` is satisfied by either.
    columns : tuple of str
        Columns that table must have; ``a|b`` is satisfied by either.
    """

    table: str
    columns: tuple[str, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables any of which will do."""
        return tuple(self.table.split("|"))


@dataclass(frozen=True, kw_only=True)
class Question:
    """Base of all questions."""

    needs: ClassVar[tuple[Need, ...]] = ()
    marks_runs: ClassVar[str] = ""
    """Name of the option whose condition says which runs are fitted: runs that are brushed can be held out. Empty: none."""

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Result:
        """Compute the answer from what the store keeps.

        Raises
        ------
        AnalysisError
            When the data cannot answer it; the sentence says what is missing and what was found.
        Cancelled
            When `progress` says so.
        """
        raise NotImplementedError

    def resolved(self, store: RunStore) -> Self:
        """Give the question with every option that was left to the data (None or an empty text) filled in."""
        return self

    def following(self, other: Question, name: str, value: float, store: RunStore) -> Self:
        """Give the question as it is to be once a rule of another question was dragged; most do not care.

        Parameters
        ----------
        other : Question
            The other pane's, resolved, as it was before.
        name : str
            The option of `other` that was dragged.
        value : float
            Its new value.
        store : RunStore
            What both panes keep.
        """
        return self

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """Give the options in the order they are declared."""
        return _options(cls)  # type: ignore[arg-type]  # a type has a hash, whatever its instances have

    def to_json(self) -> dict[str, Any]:
        """Write every option as a plain JSON value."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; options that no longer exist are passed over.

        Raises
        ------
        RunglassError
            When a value is out of bounds or of the wrong kind.
        """
        known = {opt.name: opt for opt in cls.options()}
        values = {}
        for name, value in data.items():
            if name in known:
                values[name] = known[name].checked(tuple(value) if isinstance(value, list) else value)
        return cls(**values)

    @classmethod
    def missing(cls, store: RunStore) -> str:
        """Say what the open data lacks for this question; an empty text when it can be asked."""
        for need in cls.needs:
            there = [table for table in need.tables if store.has_rows(table)]
            if not there:
                return f"needs a {' or a '.join(need.tables)} table; none is open"
            if need.columns:
                have = {name for table in there for name in store.columns(table)}
                for column in need.columns:
                    if not have & set(column.split("|")):
                        named = " or ".join(need.tables)
                        return f"needs a column {column.replace('|', ' or ')!s} in the {named} table"
        return ""


@functools.cache
def _options(question: type[Question]) -> tuple[Option, ...]:
    """Give the options of a type of question: hints are looked up by name, which takes longer than all else about them."""
    hints = get_type_hints(question)
    return tuple(_option(f, hints[f.name]) for f in dataclasses.fields(question) if "help" in f.metadata)


def _option(spec: dataclasses.Field[Any], hint: Any) -> Option:
    optional = False
    if get_origin(hint) in (typing.Union, types.UnionType):
        inner = [part for part in get_args(hint) if part is not type(None)]
        optional = len(inner) < len(get_args(hint))
        hint = inner[0]
    fixed: tuple[str, ...] = ()
    if get_origin(hint) is Literal:
        kind: Any = "choice"
        fixed = tuple(get_args(hint))
    elif get_origin(hint) is tuple:
        kind = "texts"
    else:
        kind = {str: "text", float: "number", int: "integer", bool: "boolean"}[hint]
    data = spec.metadata
    return Option(
        spec.name, kind, spec.default, data["help"], data["unit"], data["low"], data["high"], data["choices"], fixed,
        optional, data["advanced"],
    )  # fmt: skip


def choices_in(store: RunStore, choices: str) -> list[str]:
    """Give the values on offer for an option with `choices`, from what the store keeps.

    Parameters
    ----------
    choices : str
        See `option`.
    """
    if not choices:
        return []
    if "|" in choices:
        return list(dict.fromkeys(value for part in choices.split("|") for value in choices_in(store, part)))
    if choices == "tags":
        return list(store.tags())
    if choices == "x axes":
        return ["step", "relative", "wall", *store.tags()]
    kind, _, table = choices.partition(" of ")
    if table:
        columns = store.columns(table)
        if kind == "numbers":
            frame = store.first_rows(table)
            return [name for name in columns if frame[name].dtype.kind in "fiu"]
        return columns
    table, _, column = choices.partition(".")
    if table not in SCHEMAS or not store.has_rows(table) or column not in store.columns(table):
        return []
    return sorted({str(value) for value in store.first_rows(table)[column].dropna().unique()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The catalogue entry of an analysis: all that the window, the command line and the documentation make themselves
    from.

    Attributes
    ----------
    id : str
        As in the contracts (``compat.flips``).
    title : str
        A few words for menus.
    asks : str
        The question in the user's words.
    question : type of Question
        Its options and its computation.
    figure : callable
        ``figure(question, result) -> FigureSpec``; pure.
    sources : tuple of str
        Papers and code the definitions come from.
    definition : str
        The formula, the unit resampled, assumptions and traps, for the documentation page; Markdown.
    """

    id: str
    title: str
    asks: str
    question: type[Question]
    figure: Callable[[Any, Any], FigureSpec]
    sources: tuple[str, ...] = ()
    definition: str = ""

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Canonical tables it reads."""
        return tuple(dict.fromkeys(table for need in self.question.needs for table in need.tables)) or (RUNS.name,)
