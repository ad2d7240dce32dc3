"""Pairs of a preferred and a rejected answer with a number for each: a reward, a log-probability, a length.

A pair is a row of the predictions table with two columns whose names say which side they are of (``score_chosen`` and
``score_rejected``, ``logp_w`` and ``logp_l``), or a row of the comparisons with ``score_a`` and ``score_b``, whose winner was
preferred.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..models.errors import AnalysisError, TooLittleData
from ..models.figure import Clauses
from ..models.result import counted
from ..models.selection import All, Clause, is_in
from ..models.store import RunStore
from .answers import clause_of_items, present, refuse_repeats

SIDES = (("chosen", "rejected"), ("w", "l"), ("winner", "loser"), ("win", "lose"), ("preferred", "rejected"))
"""Words for the preferred and the rejected side in names of columns."""
REWARDS = ("score", "reward", "rewards", "r", "rm_score")
LOG_PROBABILITIES = ("logp", "logps", "log_prob", "logprob", "policy_logp", "policy_logps")
REFERENCE = ("ref_logp", "ref_logps", "reference_logp", "reference_logps", "ref_log_prob")
LENGTHS = ("n_tokens", "tokens", "length", "len")


def two_sides(columns: Iterable[object], stems: Sequence[str]) -> tuple[str, str]:
    """Give the two columns of the first stem that has a preferred and a rejected side; empty where none has."""
    have = {str(name).lower(): str(name) for name in columns}
    for stem in stems:
        for won, lost in SIDES:
            for first, second in ((f"{stem}_{won}", f"{stem}_{lost}"), (f"{won}_{stem}", f"{lost}_{stem}")):
                if first in have and second in have:
                    return have[first], have[second]
    return "", ""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Preferred and rejected answers.

    Attributes
    ----------
    frame : DataFrame
        The rows of the source; ``item`` is the key of a pair's prompt.
    chosen, rejected : ndarray, shape (n,)
        The two numbers of each row.
    table : str
        Table the rows are of.
    notes : tuple of str
        What was chosen and left out.
    """

    frame: pd.DataFrame
    chosen: np.ndarray
    rejected: np.ndarray
    table: str
    notes: tuple[str, ...]

    def origin(self, masks: Sequence[np.ndarray]) -> Clauses:
        """Give what lies behind marks that each stand for the items of some rows."""
        return Clauses(self.table, tuple(clause_of_items(self.frame[mask], self.frame) for mask in masks))


def pairs_of(store: RunStore, chosen: str, rejected: str, about: Sequence[str] = ()) -> Pairs:
    """Give pairs with their two numbers.

    Parameters
    ----------
    chosen, rejected : str
        Columns of the predictions; or, where the comparisons have them, those of a and of b.
    about : sequence of str
        Columns that are wanted beside them; empty names are passed over.

    Raises
    ------
    AnalysisError
        When a column is not there.
    TooLittleData
        When no pair has both numbers.
    """
    if not chosen or not rejected:
        raise TooLittleData(
            needs="a number for the preferred and one for the rejected answer of each pair",
            found="no columns like score_chosen and score_rejected, or score_a and score_b of comparisons",
            remedy="Name them (chosen, rejected).",
        )
    tables = [name for name in ("predictions", "comparisons") if store.has_rows(name)]
    table = next((name for name in tables if {chosen, rejected} <= set(store.columns(name))), "")
    if not table:
        raise AnalysisError(f"No open table has the columns {chosen!r} and {rejected!r}.")
    frame = store.rows(table)
    for name in about:
        if name and name not in frame.columns:
            raise AnalysisError(f"The {table} have no column called {name!r}.")
    notes: list[str] = []
    one, two = (pd.to_numeric(frame[name], errors="coerce").to_numpy(float) for name in (chosen, rejected))
    if table == "comparisons":
        verdict = frame["winner"].astype(str).str.lower().to_numpy()
        won_b, decided = verdict == "b", np.isin(verdict, ["a", "b"])
        one, two = np.where(won_b, two, one), np.where(won_b, one, two)
        one = np.where(decided, one, np.nan)
        if lost := int((~decided).sum()):
            notes.append(f"{counted(lost, 'comparison')} left out: a tie prefers neither.")
    else:
        decided = np.ones(len(frame), dtype=bool)
    known = np.isfinite(one) & np.isfinite(two)
    if lost := int((decided & ~known & (np.isfinite(one) | np.isfinite(two))).sum()):
        notes.append(f"{counted(lost, 'pair')} left out: one of the two numbers is missing.")
    if not known.any():
        raise TooLittleData(needs="pairs with both numbers", found="none")
    frame = frame[known]
    if "item" not in frame.columns:
        frame = frame.assign(item=frame.index.astype(str))
    return Pairs(frame, one[known], two[known], table, tuple(notes))


@dataclass(frozen=True, slots=True, eq=False)
class PairPaths:
    """The same pairs over the steps of a training.

    Attributes
    ----------
    steps : ndarray, shape (steps,)
        Increasing; a single NaN where the table has no steps.
    items : DataFrame
        One row a pair: ``item``, and ``task`` where there is one.
    values : dict of str to ndarray, each shape (steps, pairs)
        By column; NaN where a pair has no number.
    along : str
        Column of the steps.
    notes : tuple of str
        What was left out.
    """

    steps: np.ndarray
    items: pd.DataFrame
    values: dict[str, np.ndarray]
    along: str
    notes: tuple[str, ...]

    def origin(self, masks: Sequence[np.ndarray]) -> Clauses:
        """Give what lies behind marks that each stand for some pairs."""
        return Clauses("predictions", tuple(clause_of_items(self.items[mask], self.items) for mask in masks))

    def each(self) -> Clauses:
        """Give each pair as what lies behind an element."""
        several = "task" in self.items.columns and self.items["task"].nunique() > 1
        names = ["item", "task"] if several else ["item"]
        rows = self.items[names].itertuples(index=False, name=None)
        parts = (tuple(is_in(name, (value,)) for name, value in zip(names, row, strict=True)) for row in rows)
        clauses: tuple[Clause, ...] = tuple(one[0] if len(one) == 1 else All(one) for one in parts)
        return Clauses("predictions", clauses)


def pair_paths(
    store: RunStore, needed: Sequence[str], wanted: Sequence[str] = (), *, along: str = "", model: str = ""
) -> PairPaths:
    """Give the pairs that are there at every step.

    Parameters
    ----------
    needed, wanted : sequence of str
        Columns of numbers; a pair without one of the `needed` at some step is left out.
    along : str
        Column of the steps; step or epoch if empty.
    model : str
        Only this model, where there are several.

    Raises
    ------
    AnalysisError
        When a column is not there, or a pair is there twice at a step.
    TooLittleData
        When no pair is there at every step.
    """
    frame = store.rows("predictions")
    if not all(needed):
        raise TooLittleData(
            needs="the log-probabilities of the preferred and of the rejected answer of each pair",
            found="no columns like logp_chosen and logp_rejected",
            remedy="Name them.",
        )
    for name in (*needed, *wanted, along):
        if name and name not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {name!r}.")
    notes: list[str] = []
    numbers = frame[list(needed)].apply(pd.to_numeric, errors="coerce")
    frame = frame[np.isfinite(numbers.to_numpy(float)).all(axis=1)]
    names = [str(name) for name in frame["model"].dropna().unique()] if present(frame, ["model"]) else []
    if model and model not in names:
        raise AnalysisError(f"No pair is of {model!r}.", remedy=f"There are {', '.join(names[:12]) or 'none'}.")
    if len(names) > 1:
        chosen = model or names[0]
        notes.append(f"Model: {chosen} (not {', '.join(name for name in names if name != chosen)}).")
        frame = frame[frame["model"].astype(str) == chosen]
    along = along or next((name for name in present(frame, ("step", "epoch"))), "")
    if along:
        frame = frame[frame[along].notna()]
    if frame.empty:
        raise TooLittleData(needs="pairs with log-probabilities", found="none")
    key = present(frame, ("task", "item"))
    refuse_repeats(frame, [*key, *([along] if along else [])], "the pairs")
    keyed = frame[key].astype(object).where(frame[key].notna(), "")
    pair = keyed.groupby(key, sort=False).ngroup().to_numpy()
    steps, step = (
        np.unique(frame[along].to_numpy(float), return_inverse=True)
        if along
        else (np.array([np.nan]), np.zeros(len(frame), int))
    )
    shape = (len(steps), int(pair.max()) + 1)
    there = np.zeros(shape, dtype=bool)
    there[step, pair] = True
    kept = there.all(axis=0)
    if not kept.any():
        raise TooLittleData(needs="pairs that are there at every step", found="none")
    if not kept.all():
        notes.append(f"{counted(int((~kept).sum()), 'pair')} left out: not there at every step.")
    values = {}
    for name in dict.fromkeys(name for name in (*needed, *wanted) if name):
        column = np.full(shape, np.nan)
        column[step, pair] = pd.to_numeric(frame[name], errors="coerce").to_numpy(float)
        values[name] = column[:, kept]
    _, first = np.unique(pair, return_index=True)
    items = frame[key].iloc[first][kept].reset_index(drop=True)
    return PairPaths(steps, items, values, along, tuple(notes))
