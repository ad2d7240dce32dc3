"""Runs that belong together: by the columns one names, or by everything except those."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..models.errors import AnalysisError
from ..models.store import RunStore


@dataclass(frozen=True, slots=True)
class Group:
    """Some runs that share the values of the grouping columns.

    Attributes
    ----------
    name : str
        Their values, as shown; 'all runs' where nothing tells runs apart.
    runs : tuple of str
        Keys of the runs, in the order of discovery.
    """

    name: str
    runs: tuple[str, ...]


def grouped(
    store: RunStore, runs: Collection[str], group_by: tuple[str, ...] = (), everything_except: tuple[str, ...] = ()
) -> list[Group]:
    """Give the groups of some runs, in the order of their first run.

    Parameters
    ----------
    runs : collection of str
        Keys of the runs to group.
    group_by : tuple of str
        Columns of the runs table.
    everything_except : tuple of str
        Where `group_by` is empty: columns that may differ within a group, by full name or by the last part (``seed``
        for
        ``config.seed``); runs are told apart by every other configuration value. Both empty make one group.

    Raises
    ------
    AnalysisError
        When there is no column of such a name.
    """
    frame = store.rows("runs")
    frame = frame[frame["run"].isin(list(runs))]
    if group_by:
        if missing := [name for name in group_by if name not in frame.columns]:
            raise AnalysisError(
                f"There is no column called {missing[0]!r} to group by.",
                remedy="Columns: " + ", ".join(map(str, frame.columns[:20])) + ".",
            )
        columns = list(group_by)
    elif everything_except:
        columns = _told_apart_by(frame, everything_except)
    else:
        columns = []
    if not columns:
        return [Group("all runs", tuple(frame["run"]))] if len(frame) else []
    shown = {name: name.rpartition(".")[2] + "=" for name in columns} if not group_by else dict.fromkeys(columns, "")
    groups = []
    for values, part in frame.groupby(columns, sort=False, dropna=False):
        named = ", ".join(shown[name] + _said(value) for name, value in zip(columns, values, strict=True))
        groups.append(Group(named or "none", tuple(part["run"])))
    return groups


def _told_apart_by(frame: pd.DataFrame, everything_except: tuple[str, ...]) -> list[str]:
    passed = set(everything_except)
    configured = [str(name) for name in frame.columns if str(name).startswith("config.") or name == "family"]
    kept = [name for name in configured if name not in passed and name.rpartition(".")[2] not in passed]
    return [name for name in kept if frame[name].nunique(dropna=False) > 1]


def _said(value: Any) -> str:
    if pd.isna(value):
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "(top)"


def default_grouping(store: RunStore, runs: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give `group_by` and `everything_except` under which some runs are repeats of one another, if there are such.

    Seeds that are stated come first, then folders; both are empty where neither brings two runs together.
    """
    if store.rows("runs").get("seed", pd.Series(dtype=float)).notna().any():
        by_config = grouped(store, runs, (), ("seed",))
        if any(len(group.runs) > 1 for group in by_config):
            return (), ("seed",)
    if any(len(group.runs) > 1 for group in grouped(store, runs, ("folder",))):
        return ("folder",), ()
    return (), ()
