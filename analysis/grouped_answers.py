"""Right answers by group of items, for every version at once: counts, intervals, and resamples that keep items paired.

A *group* is any column that describes items: where they come from, their class, a tag. Versions that answered the same items
share the resampled items, so that their differences are paired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd

from ..models.engine import LOCAL, Engine
from ..models.errors import TooLittleData
from ..models.progress import Progress, quiet
from ..models.question import Need, option
from ..models.selection import All, Clause, is_in
from ..models.store import RunStore
from .answer_sheet import AnswersQuestion, Sheet, answer_sheet
from .answers import present
from .resampling import DRAWS, Interval, bootstrap, wilson


@dataclass(frozen=True, kw_only=True)
class GroupedQuestion(AnswersQuestion):
    """Base of the questions over groups of items."""

    needs: ClassVar[tuple[Need, ...]] = (Need("predictions", ("correct|prediction",)),)

    group: str = option(
        "", help="column of the groups; 'group' if empty, else the right answer", choices="columns of predictions"
    )
    versions: tuple[str, ...] = option(
        (), help="versions to look at; all if empty", choices="predictions.version|predictions.model"
    )
    least: int = option(30, help="items below which a group is too small to be judged", unit="items", low=1)
    cluster: str = option(
        "", help="column of items that belong together and are resampled whole", choices="columns of predictions"
    )
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in what tells versions apart (a single one will do) and the column of the groups."""
        asked = super().resolved(store)
        if not store.has_rows("predictions"):
            return asked
        frame = store.rows("predictions")
        by = asked.by or next(iter(present(frame, ("version", "model"))), "")
        group = asked.group or next(iter(present(frame, ("group", "label"))), "")
        return replace(asked, by=by, group=group)


@dataclass(frozen=True, slots=True, eq=False)
class GroupCounts:
    """Right answers by version and group.

    Attributes
    ----------
    sheet : Sheet
        Answers, items in rows; only those that are known enter.
    column : str
        The column of the groups.
    names : tuple of str
        The groups, the largest first.
    code : ndarray of int, shape (items,)
        Group of each item.
    n, right : ndarray, shape (versions, groups)
        Items answered, and sums of their credits.
    """

    sheet: Sheet
    column: str
    names: tuple[str, ...]
    code: np.ndarray
    n: np.ndarray
    right: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        """Give the share of right answers, shape (versions, groups); NaN where a version answered none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share: np.ndarray = self.right / self.n
        return share

    def clause(self, group: str, version: str = "") -> Clause:
        """Give the clause of the rows of a group, of one version where named."""
        own = (
            is_in(self.column, (group,)) if group != "none" else self.sheet.clause(self.code == self.names.index(group))
        )
        return All((is_in(self.sheet.by, (version,)), own)) if version else own


def group_counts(store: RunStore, asked: GroupedQuestion, *, about: Sequence[str] = ()) -> GroupCounts:
    """Count right answers by version and group.

    Raises
    ------
    AnalysisError
        When there is no such column.
    TooLittleData
        When there are no groups, or fewer than two.
    """
    if not asked.group:
        raise TooLittleData(
            needs="a column of groups", found="none", remedy="Choose the column that says where items belong (group)."
        )
    sheet = answer_sheet(
        store, asked, asked.versions, about=(asked.group, asked.cluster, *about), common=False, least=1
    )
    code, names = sheet.groups(asked.group)
    if len(names) < 2:
        raise TooLittleData(needs="at least 2 groups", found=f"1 value of {asked.group}")
    return counted_by(sheet, asked.group, code, names)


def counted_by(sheet: Sheet, column: str, code: np.ndarray, names: Sequence[str]) -> GroupCounts:
    """Count right answers of a sheet by version and group, `code` giving the group of each item."""
    n = np.stack([np.bincount(code, sheet.present[:, v], len(names)) for v in range(len(sheet.names))])
    credit = np.nan_to_num(sheet.right)
    right = np.stack([np.bincount(code, credit[:, v], len(names)) for v in range(len(sheet.names))])
    return GroupCounts(sheet, column, tuple(names), code, n, right)


def _shares(sums: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        share: np.ndarray = sums[:, 0] / sums[:, 1]
    return share


def _of_clusters(parts: np.ndarray, shape: tuple[int, int], counts: np.ndarray) -> np.ndarray:
    return _shares((counts @ parts).reshape(len(counts), 2, *shape))


def _within_groups(parts: np.ndarray, strata: np.ndarray, groups: int, counts: np.ndarray) -> np.ndarray:
    versions = parts.shape[1] // 2
    share = np.full((len(counts), versions, groups), np.nan)
    for group in range(groups):
        inside = strata == group
        share[:, :, group] = _shares((counts[:, inside] @ parts[inside]).reshape(len(counts), 2, versions))
    return share


class Resampling(Protocol):
    """How items are resampled."""

    @property
    def cluster(self) -> str:
        """Column of items that are resampled whole; empty for none."""

    @property
    def draws(self) -> int:
        """How many resamples."""

    @property
    def seed(self) -> int:
        """Seed of the bootstrap."""


def drawn_accuracies(
    counts: GroupCounts, asked: Resampling, *, engine: Engine = LOCAL, progress: Progress = quiet
) -> np.ndarray:
    """Give the accuracies of resampled items, shape (draws, versions, groups).

    Items are drawn within their group, whose size stays; clusters, where there are any, are drawn whole from all of them.
    """
    sheet = counts.sheet
    groups, versions = len(counts.names), len(sheet.names)
    credit = np.nan_to_num(sheet.right)
    if asked.cluster:
        codes, found = pd.factorize(sheet.items[asked.cluster], use_na_sentinel=False)
        sums = np.zeros((len(found), groups, 2 * versions))
        np.add.at(sums, (codes, counts.code), np.concatenate([credit, sheet.present], axis=1))
        parts = sums.reshape(len(found), groups, 2, versions).transpose(0, 2, 3, 1)
        statistic = partial(_of_clusters, parts.reshape(len(found), -1), (versions, groups))
        sizes, strata = np.ones(len(found), dtype=np.int64), None
    else:
        # Items of one group that all versions answered alike are one unit that stands for many.
        alike, sizes = np.unique(np.column_stack([counts.code, credit, sheet.present]), axis=0, return_counts=True)
        strata = alike[:, 0].astype(int)
        statistic = partial(_within_groups, alike[:, 1:], strata, groups)
    return bootstrap(
        statistic, sizes, draws=asked.draws, seed=asked.seed, strata=strata, engine=engine, progress=progress
    )


def accuracy_table(counts: GroupCounts, level: float) -> pd.DataFrame:
    """Give one row a version and group: n, right, accuracy and its Wilson interval."""
    rows: list[dict[str, Any]] = []
    low, high = wilson(counts.right, counts.n, level)
    for v, version in enumerate(counts.sheet.names):
        for g, group in enumerate(counts.names):
            rows.append(
                {
                    "version": version, "group": group, "n": int(counts.n[v, g]), "right": float(counts.right[v, g]),
                    "accuracy": float(counts.accuracy[v, g]), "low": float(np.asarray(low)[v, g]),
                    "high": float(np.asarray(high)[v, g]),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def newcombe(right_a: float, n_a: float, right_b: float, n_b: float, level: float) -> Interval:
    """Give the interval of a difference of two independent proportions, a less b (Newcombe 1998, method 10)."""
    a, b = right_a / n_a, right_b / n_b
    low_a, high_a = wilson(right_a, n_a, level)
    low_b, high_b = wilson(right_b, n_b, level)
    below = math.sqrt((a - float(low_a)) ** 2 + (float(high_b) - b) ** 2)
    above = math.sqrt((float(high_a) - a) ** 2 + (b - float(low_b)) ** 2)
    return Interval(a - b - below, a - b + above)


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Give p-values adjusted for the false discovery rate (Benjamini and Hochberg 1995), shape (n,)."""
    p = np.asarray(p_values, float)
    n = len(p)
    order = np.argsort(p)[::-1]
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(np.minimum.accumulate(p[order] * n / np.arange(n, 0, -1)), 1.0)
    return adjusted
