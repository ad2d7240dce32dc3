"""Which runs are repeats of one another, and what their group is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .deferred import deferred
from .run_names import telling_names
from .session import Grouping
from .stated_facts import canonical_column
from .store import RunStore
from .table_look import cell_text

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

FAMILIES: dict[str, re.Pattern[str]] = {
    "seed": re.compile(r"seed", re.IGNORECASE),
    "time": re.compile(r"(^|_)(time|date|datetime|timestamp|started|ended|created)(_|$)|_at$", re.IGNORECASE),
    "host": re.compile(
        r"(^|_)(host|hostname|node|device|devices|gpu|gpus|cuda|rank|pid|port|user)(_|$)", re.IGNORECASE
    ),
    "output": re.compile(
        r"(^|_)(out|output|log|logs|logging|save|work|working|run|checkpoint|ckpt|tensorboard|results?)_?"
        r"(dir|path|folder|root|file)(_|$)|^(logdir|outdir|run|exp|experiment|wandb|job)_?(name|id|uuid)$|^uuid$",
        re.IGNORECASE,
    ),
}
"""Words for what is left out of a comparison, with the names (last parts of keys) they stand for."""

EXCEPT_AT_FIRST = ("seed", "time", "host", "output")
"""What repeats of one configuration differ in."""

_TOP = "(top folder)"
_STATED = ("family", "seed", "params", "active_params", "tokens", "flops", "batch_tokens", "peak_lr")


@dataclass(frozen=True, slots=True)
class RunGroups:
    """Runs by group.

    Attributes
    ----------
    labels : tuple of str
        What the groups are called, in the order of their first runs; the place of a group decides its colour.
    of : Mapping of str to int
        Place of the group of every run.
    columns : tuple of str
        Columns of the `runs` table in which groups differ.
    """

    labels: tuple[str, ...] = ()
    of: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    def hue(self, run: str) -> str:
        """Give the hue of the group of a run."""
        return f"c{self.of.get(run, 0)}"


def compared_columns(frame: pd.DataFrame, grouping: Grouping) -> list[str]:
    """Give the columns of the `runs` table that runs of one group agree on.

    With `everything_except` these are the configuration, what is stated of the model and the data, and the folders above
    a run; its own name, its times and how it ended are never compared.
    """
    columns = [str(name) for name in frame.columns]
    if not grouping.everything_except:
        return [name for name in grouping.keys if name in columns]
    compared = [
        name for name in columns if name in _STATED or name.startswith("config.") or re.fullmatch(r"path\.\d+", name)
    ]
    return [name for name in compared if not _left_out(name, grouping.keys)]


def _left_out(column: str, keys: tuple[str, ...]) -> bool:
    last = column.rpartition(".")[2]
    if any(column == key or (key in FAMILIES and FAMILIES[key].search(last) is not None) for key in keys):
        return True
    # Leaving out the learning rate of the configuration leaves out the canonical column it states, and the reverse.
    stated = {canonical_column(key) or key for key in keys if key not in FAMILIES}
    return (canonical_column(column) or column) in stated


def grouped_runs(store: RunStore, grouping: Grouping) -> RunGroups:
    """Give the groups of the kept runs of a store."""
    if not grouping.is_on:
        return RunGroups()
    frame = store.rows("runs")
    frame = frame[frame["run"].isin(list(store.kept_runs))].reset_index(drop=True)
    names = compared_columns(frame, grouping)
    if frame.empty:
        return RunGroups()
    depth = frame["run"].str.count("/").to_numpy() + 1
    together = np.zeros(len(frame), dtype=np.int64)
    differing: list[str] = []
    for name in names:
        column = frame[name]
        level = re.fullmatch(r"path\.(\d+)", name)
        if level and grouping.everything_except:
            column = column.where(depth > int(level.group(1)))  # the last level is the run itself
        codes = _codes(column)
        if len(codes) and (codes != codes[0]).any():
            differing.append(name)
            together = pd.factorize(together * (int(codes.max()) + 1) + codes)[0]
    # Numbered in order of the first run, which is what factorize does.
    places = pd.factorize(together)[0]
    first = pd.Series(places).drop_duplicates().index.to_numpy()
    shown = _told_apart(frame, first, differing) if grouping.everything_except else (differing or names)
    if "folder" in shown:
        # Paths are told by what they differ in, as names of runs are.
        frame = frame.assign(folder=frame["folder"].map(telling_names(frame["folder"].iloc[first].dropna().unique())))
    labels = [_label(frame, int(row), shown) for row in first]
    sizes = np.bincount(places)
    alone = frame["run"].iloc[first].str.rpartition("/")[2]
    labels = [
        name if label == _TOP and size == 1 else label for label, name, size in zip(labels, alone, sizes, strict=True)
    ]
    return RunGroups(_distinct(labels), dict(zip(frame["run"], places.tolist(), strict=True)), tuple(differing))


def _codes(column: pd.Series) -> np.ndarray:
    """Give a number for every value, missing ones sharing the number 0."""
    try:
        codes = pd.factorize(column)[0]
    except TypeError:  # a list or a mapping in a configuration
        codes = pd.factorize(column.map(str).where(column.notna()))[0]
    return np.asarray(codes, dtype=np.int64) + 1


def _told_apart(frame: pd.DataFrame, first: np.ndarray, columns: list[str]) -> list[str]:
    """Give as few of the columns as tell the groups apart: folders from the top, then what has the fewest values."""
    groups = frame.iloc[first]
    codes = {name: _codes(groups[name]) for name in columns}
    paths = [name for name in columns if name.startswith("path.")]
    others = [name for name in columns if name not in paths]
    together = np.zeros(len(groups), dtype=np.int64)
    kept: list[str] = []
    parts = 1
    for name in [*paths, *sorted(others, key=lambda name: len(np.unique(codes[name])))]:
        finer = pd.factorize(together * (int(codes[name].max()) + 1) + codes[name])[0]
        # A column that says the same as those before says nothing new (a learning rate the folder is named after).
        if int(finer.max()) + 1 > parts:
            together, parts = finer, int(finer.max()) + 1
            kept.append(name)
        if parts == len(groups):
            break
    return kept


def _label(frame: pd.DataFrame, row: int, columns: list[str]) -> str:
    """Name a group by its values; what it has no value for is only said where it has none at all."""
    if not columns:
        return "all runs"
    depth = str(frame["run"].iloc[row]).count("/") + 1
    folders, parts, lacking = [], [], []
    for name in columns:
        value = frame[name].iloc[row]
        short = name.removeprefix("config.")
        if value is None or (isinstance(value, float) and value != value):
            lacking.append(f"no {short}")
        elif name.startswith("path."):
            if int(name.removeprefix("path.")) < depth:
                folders.append(str(value))
        else:
            parts.append(value if isinstance(value, str) else f"{short}={cell_text(value)}")
    named = ["/".join(folders)] * bool(folders) + parts
    if not named:
        named = [text for text in lacking if not text.startswith("no path.")] or [_TOP]
    return " · ".join(named)


def _distinct(labels: list[str]) -> tuple[str, ...]:
    """Number labels that would otherwise read the same."""
    seen: dict[str, int] = {}
    distinct = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        distinct.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return tuple(distinct)


def described(grouping: Grouping) -> str:
    """Say in a few words how runs are grouped; empty where they are not."""
    if not grouping.is_on:
        return ""
    names = [key.removeprefix("config.") for key in grouping.keys]
    if grouping.everything_except:
        return "group by all but " + ", ".join(names) if names else "group by everything"
    return "group by " + ", ".join(names)


def groupable_columns(store: RunStore) -> list[tuple[str, int]]:
    """Give the columns of the `runs` table by which the kept runs can be grouped, with how many values each has.

    Only columns with more than one value; those that make few groups come first.
    """
    frame = store.rows("runs")
    found = []
    for name in map(str, frame.columns):
        if name in ("run", "name", "source", "started", "ended"):
            continue
        values = len(np.unique(_codes(frame[name])))
        if values > 1:
            found.append((name, values))
    return sorted(found, key=lambda pair: (pair[1] == len(frame), pair[1], pair[0]))
