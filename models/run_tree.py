"""Runs as a tree of their folders or groups, in flat arrays that thousands of runs do not slow down."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress
from typing import Any

import numpy as np

from .bounded_search import TooSlow, found_in
from .errors import ExpressionError
from .natural_order import natural_order
from .run_groups import RunGroups

UNTICKED, PARTLY, TICKED = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class RunTree:
    """A tree whose nodes are numbered from the top down, so that what is below a node is a range of numbers.

    Node 0 is the root, which is not shown. A node may be a run and have runs below it.

    Attributes
    ----------
    names : tuple of str
        What is shown.
    paths : tuple of str
        Identifies a node in this and every later tree.
    runs : tuple of str
        Key of the run a node is; empty for folders and groups.
    parents : ndarray of int32, shape (nodes,)
        Node above; -1 for the root.
    ends : ndarray of int32, shape (nodes,)
        One after the last node below.
    starts : ndarray of int32, shape (nodes + 1,)
        Where the children of a node start in `order`.
    order : ndarray of int32, shape (nodes - 1,)
        Nodes by parent, in the order they are shown in.
    rows : ndarray of int32, shape (nodes,)
        Place of a node among its siblings.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    runs: tuple[str, ...]
    parents: np.ndarray
    ends: np.ndarray
    starts: np.ndarray
    order: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def children(self, node: int) -> np.ndarray:
        """Give the nodes right below a node, in the order they are shown in."""
        return self.order[self.starts[node] : self.starts[node + 1]]

    def runs_below(self, node: int) -> list[str]:
        """Give the keys of the runs at and below a node."""
        return [run for run in self.runs[node : int(self.ends[node])] if run]

    def run_counts(self) -> np.ndarray:
        """Give the number of runs at and below every node; ndarray of int64, shape (nodes,)."""
        return self._counts(np.array([bool(run) for run in self.runs]))

    def counts(self, keys: Collection[str]) -> np.ndarray:
        """Give for every node how many of these runs are at or below it; ndarray of int64, shape (nodes,)."""
        return self._counts(np.fromiter((run in keys for run in self.runs), bool, len(self.runs)))

    def ticks(self, keys: Collection[str]) -> np.ndarray:
        """Give for every node whether none, some or all of the runs at and below it are among these.

        Returns
        -------
        ndarray of int8, shape (nodes,)
            `UNTICKED`, `PARTLY` or `TICKED`.
        """
        ticked, total = self.counts(keys), self.run_counts()
        return np.where(ticked == 0, UNTICKED, np.where(ticked == total, TICKED, PARTLY)).astype(np.int8)

    def node_of(self) -> dict[str, int]:
        """Give the node of every path."""
        return {path: node for node, path in enumerate(self.paths)}

    def sorted_by(self, values: np.ndarray, *, descending: bool = False) -> RunTree:
        """Give the tree with siblings sorted by a number of each run, those without one last.

        A folder or group stands where its best placed run would.

        Parameters
        ----------
        values : ndarray of float64, shape (nodes,)
            NaN where a node has none.
        """
        signed = np.where(np.isnan(values), np.inf, -values if descending else values)
        for node in range(len(self) - 1, 0, -1):
            parent = self.parents[node]
            signed[parent] = min(signed[parent], signed[node])
        return self._ordered(signed)

    def reversed(self) -> RunTree:
        """Give the tree with siblings in the opposite order."""
        return self._ordered(-np.arange(len(self), dtype=np.float64))

    def _ordered(self, values: np.ndarray) -> RunTree:
        order = (np.lexsort((values[1:], self.parents[1:])) + 1).astype(np.int32)
        rows = np.zeros(len(self), dtype=np.int32)
        rows[order] = np.arange(len(order)) - self.starts[self.parents[order]]
        return replace(self, order=order, rows=rows)

    def _counts(self, chosen: np.ndarray) -> np.ndarray:
        before = np.concatenate([[0], np.cumsum(chosen)])
        counts: np.ndarray = before[self.ends] - before[:-1]
        return counts


def found_keys(keys: Iterable[str], pattern: str) -> list[str]:
    """Give the keys in which a regular expression is found (`re.search`); all where it is empty, invalid or takes too long."""
    keys = list(keys)
    if not pattern:
        return keys
    try:
        return list(compress(keys, found_in(pattern, keys)))
    except (ExpressionError, TooSlow):
        return keys


def common_folder(keys: Sequence[str]) -> str:
    """Give the folder all keys are in, with its slash; empty where they share none."""
    if not keys:
        return ""
    low, high = min(keys), max(keys)
    shared = 0
    for place, (a, b) in enumerate(zip(low, high, strict=False)):
        if a != b:
            break
        if a == "/":
            shared = place + 1
    else:
        # One key is the start of the other: what comes before the last slash of the shorter one is shared.
        shared = low.rfind("/") + 1
    return low[:shared]


_natural = lru_cache(maxsize=65_536)(natural_order)

_Folder = dict[str, Any]


def tree_by_folder(keys: Iterable[str], hidden: str = "") -> RunTree:
    """Give the tree of folders runs are in, chains of folders with a single child made one (``a/b``).

    Parameters
    ----------
    keys : iterable of str
        Keys of runs.
    hidden : str
        Start of all keys that is not shown (`common_folder`).
    """
    root: _Folder = {}
    is_run = set()
    for key in keys:
        is_run.add(key)
        folder = root
        for part in key.removeprefix(hidden).split("/"):
            folder = folder.setdefault(part, {})
    growing = _Growing()

    def grow(folder: _Folder, path: str, parent: int) -> None:
        for name in sorted(folder, key=_natural):
            below: _Folder = folder[name]
            whole = path + name
            shown = name
            while len(below) == 1 and whole not in is_run:
                ((part, below),) = below.items()
                shown, whole = f"{shown}/{part}", f"{whole}/{part}"
            node = growing.add(shown, whole, whole if whole in is_run else "", parent)
            if below:
                grow(below, whole + "/", node)
                growing.close(node)

    grow(root, hidden, 0)
    return growing.tree()


def tree_by_group(keys: Iterable[str], groups: RunGroups) -> RunTree:
    """Give the tree of groups of runs, in the order of the groups; the only run of a group stands for it."""
    members: dict[int, list[str]] = {}
    for key in keys:
        place = groups.of.get(key)
        if place is not None:
            members.setdefault(place, []).append(key)
    growing = _Growing()
    for place in sorted(members):
        label = groups.labels[place]
        if len(members[place]) == 1:
            growing.add(label, members[place][0], members[place][0], 0)
            continue
        node = growing.add(label, f"group:{label}", "", 0)
        hidden = common_folder(members[place])
        for key in sorted(members[place], key=_natural):
            growing.add(key.removeprefix(hidden), key, key, node)
        growing.close(node)
    return growing.tree()


class _Growing:
    """A tree that is being made from the top down."""

    def __init__(self) -> None:
        self.names, self.paths, self.runs = [""], [""], [""]
        self.parents, self.ends = [-1], [1]

    def add(self, name: str, path: str, run: str, parent: int) -> int:
        node = len(self.names)
        self.names.append(name)
        self.paths.append(path)
        self.runs.append(run)
        self.parents.append(parent)
        self.ends.append(node + 1)
        return node

    def close(self, node: int) -> None:
        self.ends[node] = len(self.names)

    def tree(self) -> RunTree:
        self.close(0)
        parents = np.array(self.parents, dtype=np.int32)
        order = (np.argsort(parents[1:], kind="stable") + 1).astype(np.int32)
        starts = np.searchsorted(parents[order], np.arange(len(parents) + 1)).astype(np.int32)
        rows = np.zeros(len(parents), dtype=np.int32)
        rows[order] = np.arange(len(order)) - starts[parents[order]]
        return RunTree(
            tuple(self.names),
            tuple(self.paths),
            tuple(self.runs),
            parents,
            np.array(self.ends, dtype=np.int32),
            starts,
            order,
            rows,
        )
