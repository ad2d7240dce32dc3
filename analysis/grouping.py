"""Runs that are repeats of one another: the groups of the runs tree, for analyses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..models.errors import AnalysisError
from ..models.run_groups import EXCEPT_AT_FIRST, grouped_runs
from ..models.selection import is_in
from ..models.session import Grouping
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
    place : int
        Place among the groups of all runs the store keeps; decides the colour, which then does not change with the runs
        one looks at.
    """

    name: str
    runs: tuple[str, ...]
    place: int = 0

    @property
    def hue(self) -> str:
        """Hue of the group, as in the runs tree."""
        return f"c{self.place}"


def grouped(
    store: RunStore, runs: Collection[str], group_by: tuple[str, ...] = (), everything_except: tuple[str, ...] = ()
) -> list[Group]:
    """Give the groups of some runs, in the order of their first run.

    Parameters
    ----------
    runs : collection of str
        Keys of the runs to group; they are among those the store keeps.
    group_by : tuple of str
        Columns of the runs table.
    everything_except : tuple of str
        Where `group_by` is empty: columns, or families of columns (seed, time, host, output), that may differ within a
        group; runs are told apart by everything else that is configured, and by their folders. Both empty make one
        group.

    Raises
    ------
    AnalysisError
        When there is no column of a name in `group_by`.
    """
    columns = store.columns("runs")
    if missing := [name for name in group_by if name not in columns]:
        raise AnalysisError(
            f"There is no column called {missing[0]!r} to group by.", remedy="Columns: " + ", ".join(columns[:20]) + "."
        )
    asked = Grouping(group_by or everything_except, everything_except=not group_by and bool(everything_except))
    among = store.keeping(is_in("run", runs))  # so that a group is named by what tells these runs apart, and no others
    found = grouped_runs(among, asked)
    everywhere = grouped_runs(store, asked).of
    members: dict[str, list[str]] = {}
    for key in among.kept_runs:
        name = found.labels[found.of[key]] if found.labels else "all runs"
        members.setdefault(name, []).append(key)
    return [Group(name, tuple(keys), everywhere.get(keys[0], 0)) for name, keys in members.items()]


def default_grouping(store: RunStore, runs: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give `group_by` and `everything_except` under which some runs are repeats of one another, if there are such.

    Repeats differ in their seed and in when, where and under what name they ran; where no two runs are repeats in that
    sense, those of one folder are taken together.
    """
    if any(len(group.runs) > 1 for group in grouped(store, runs, (), EXCEPT_AT_FIRST)):
        return (), EXCEPT_AT_FIRST
    if any(len(group.runs) > 1 for group in grouped(store, runs, ("folder",))):
        return ("folder",), ()
    return (), EXCEPT_AT_FIRST
