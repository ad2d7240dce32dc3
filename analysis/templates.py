"""Arrangements of panes for common work: watching a run, studying scaling, releasing a model, auditing a benchmark.

A template is a session file without data, with a ``title`` and an ``about`` sentence; ours stand in ``resources/templates``. A
third party registers the path of one under the entry point group ``runglass.templates``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import orjson

from ..models import session as sessions
from ..models.errors import RunglassError
from ..models.session import Pane, Session
from ..models.store import RunStore
from ..resources import path
from . import registry

_ENDING = ".runglass.json"


@dataclass(frozen=True, slots=True)
class Template:
    """One arrangement.

    Attributes
    ----------
    name : str
        What a user types (``model-release``).
    title : str
        What a user reads.
    about : str
        What it shows, in one sentence.
    session : Session
        Panes and how curves are drawn.
    """

    name: str
    title: str
    about: str
    session: Session

    def answerable(self, store: RunStore) -> tuple[Pane, ...]:
        """Give the panes that have what they need in a store, each with a title."""
        return tuple(_titled(pane) for pane in self.session.panes if not lacking(pane, store))


def _titled(pane: Pane) -> Pane:
    if pane.kind != "analysis" or pane.title:
        return pane
    return dataclasses.replace(pane, title=registry.analysis(pane.analysis).title)


def lacking(pane: Pane, store: RunStore) -> str:
    """Say what the open data lack for a pane; empty where it can be asked."""
    if pane.kind == "questions":
        return ""
    if pane.kind == "curves":
        return "" if any(run.curves for run in store.kept_runs.values()) else "needs learning curves; none are open"
    return registry.analysis(pane.analysis).question.missing(store)


def templates() -> tuple[Template, ...]:
    """Give all templates: ours, then those of third parties that can be read."""
    return _loaded()[0]


def broken_templates() -> list[str]:
    """Say which templates of third parties could not be read, and why."""
    return list(_loaded()[1])


def template(name: str) -> Template:
    """Give the template with a name.

    Raises
    ------
    RunglassError
        When there is none.
    """
    found = next((one for one in templates() if one.name == name), None)
    if found is None:
        names = ", ".join(one.name for one in templates())
        raise RunglassError(f"There is no template {name!r}.", remedy=f"Templates: {names}.")
    return found


def fitting(store: RunStore) -> Session:
    """Give a session with every pane of a template that the open data can answer, each once."""
    panes: dict[str, Pane] = {}
    for one in templates():
        for pane in one.answerable(store):
            if (
                pane.kind != "analysis" or registry.analysis(pane.analysis).question.needs
            ):  # what needs none says nothing of them
                panes.setdefault(pane.key, pane)
    ordered = sorted(panes.values(), key=lambda pane: pane.kind != "curves")
    return dataclasses.replace(Session(), panes=tuple(ordered))


@cache
def _loaded() -> tuple[tuple[Template, ...], tuple[str, ...]]:
    files = sorted(path("templates").glob(f"*{_ENDING}"), key=lambda file: _ORDER.get(file.name, 0))
    found = [_read(file, file.name.removesuffix(_ENDING)) for file in files]
    broken = []
    for point in entry_points(group="runglass.templates"):
        try:
            found.append(_read(Path(point.load()), point.name))
        except Exception as error:  # a broken plug-in must not break the rest
            broken.append(f"The template {point.name!r} could not be read: {error}")
    return tuple(found), tuple(broken)


_ORDER = {
    f"{name}{_ENDING}": at
    for at, name in enumerate(
        ("pretraining-watch", "scaling-study", "model-release", "benchmark-audit", "calibration-audit")
    )
}


def _read(file: Path, name: str) -> Template:
    session = sessions.load(file)
    said = orjson.loads(file.read_bytes())
    return Template(name, str(said.get("title") or name), str(said.get("about", "")), session)
