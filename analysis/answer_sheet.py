"""Answers of several versions to the same items, as arrays: items in rows, versions in columns.

Every paired question needs the same join, and has to say the same things about it: which items only some answered, which
turned out to be other questions (their label or their hash differs), what no answer counts as. The join is done here once;
the analyses count with matrix products.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice, permutations
from typing import ClassVar, Literal, Self
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ..models.errors import AnalysisError, TooLittleData
from ..models.question import Need, Option, Question, option
from ..models.result import counted
from ..models.selection import Clause, both, is_in
from ..models.store import RunStore
from .answers import at_epoch, clause_of_items, in_natural_order, present, refuse_repeats, rightness, unanswered

_MOST_PAIRS = 1000
_MOST_SHEETS = 4
"""Sheets of one store that are remembered, so that a moved slider joins nothing again."""

_MOST_NAMES = 1000
"""Values of a column from which on they are no versions that someone compares."""


@dataclass(frozen=True, kw_only=True)
class AnswersQuestion(Question):
    """Base of the questions over one answer an item and version; holds the options they share."""

    needs: ClassVar[tuple[Need, ...]] = (Need("predictions", ("correct|prediction",)),)

    by: str = option(
        "", help="column that holds what is compared; version or model if empty", choices="columns of predictions"
    )
    model: str = option("", help="only this model, where its versions are compared", choices="predictions.model")
    task: str = option("", help="only this task", choices="predictions.task")
    epoch: float | None = option(
        None, help="only this epoch; the last one of each if none", unit="epochs", advanced=True
    )
    unanswered: Literal["wrong", "dropped", "guess"] = option(
        "wrong", help="what no answer counts as; guess is worth 1 / number of options"
    )
    right_from: float = option(
        0.5, help="least score that is right, where 'correct' is a score", low=0.0, high=1.0, advanced=True
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """Give the options: those of the question itself before those that all share."""
        shared = set(AnswersQuestion.__annotations__)
        return tuple(sorted(super().options(), key=lambda one: one.name in shared))

    def resolved(self, store: RunStore) -> Self:
        """Fill in what tells the versions apart, and the model whose versions they are."""
        if not store.has_rows("predictions"):
            return self
        by, model = compared_column(store.rows("predictions"), self.by, self.model)
        return replace(self, by=by, model=model)


@dataclass(frozen=True, kw_only=True)
class PairQuestion(AnswersQuestion):
    """Base of the questions over an old and a new version."""

    old: str = option("", help="what worked before", choices="predictions.version|predictions.model")
    new: str = option("", help="what replaces it", choices="predictions.version|predictions.model")

    def resolved(self, store: RunStore) -> Self:
        """Fill in what is compared: the last two versions that share items, or else two models.

        Versions are those of the model that has most of them.
        """
        asked = super().resolved(store)
        if not asked.by:
            return asked
        old, new = compared_pair(store.rows("predictions"), asked.by, asked.model, asked.old, asked.new)
        return replace(asked, old=old, new=new)


def compared_column(frame: pd.DataFrame, by: str = "", model: str = "") -> tuple[str, str]:
    """Give the column that tells what is compared, and the model whose versions are; empty where nothing does."""
    for column in [by] if by in frame.columns else present(frame, ("version", "model")):
        if column == "model":
            chosen, kept = model, frame
        elif present(frame, ["model"]):
            chosen = model or str(frame.groupby("model", sort=False, observed=True)[column].nunique().idxmax())
            kept = frame[frame["model"] == chosen]
        else:
            chosen, kept = model, frame
        if by or kept[column].nunique() > 1:
            return column, chosen
    return by, model


def names_compared(frame: pd.DataFrame, by: str, model: str = "") -> list[str]:
    """Give the versions in the order people count in, or the models in the order they come in."""
    if by not in frame.columns:
        return []
    kept = frame[frame["model"] == model] if model and by != "model" and "model" in frame.columns else frame
    values = [str(value) for value in kept[by].dropna().unique()]
    return values if by == "model" else in_natural_order(values)


def compared_pair(frame: pd.DataFrame, by: str, model: str, old: str = "", new: str = "") -> tuple[str, str]:
    """Give old and new, where empty the last two versions, or the first two models, that share items."""
    names = names_compared(frame, by, model)
    # Versions are tried from the newest back, models in the order they come in; a column may have very many values.
    pairs: Iterable[tuple[str, str]] = combinations(names, 2)
    if by != "model":
        pairs = ((first, second) for second, first in combinations(names[::-1], 2))
    if old or new:
        pairs = (p for p in permutations(names, 2) if old in ("", p[0]) and new in ("", p[1]))
    tried = list(islice(pairs, _MOST_PAIRS))
    if not tried:
        return old, new
    kept = frame[frame["model"] == model] if model and by != "model" and "model" in frame.columns else frame
    numbers, values = pd.factorize(kept[by])
    items, found = pd.factorize(kept["item"])
    column = {str(value): number for number, value in enumerate(values)}
    answered: dict[str, np.ndarray] = {}
    for pair in tried:
        for name in pair:
            if name not in answered:
                answered[name] = np.zeros(len(found), dtype=bool)
                answered[name][items[numbers == column[name]]] = True
        if np.any(answered[pair[0]] & answered[pair[1]]):
            return pair
    return tried[0]


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """What each of several versions answered to each item.

    Attributes
    ----------
    by : str
        Column that holds the versions.
    names : tuple of str
        The versions.
    items : DataFrame
        One row an item: its key (task, item, sample ...), its label, and what else was asked for.
    item_keys : ndarray of object, shape (items,)
        The column `item` of `items`.
    has_tasks : bool
        Whether items are of several tasks, so that the item alone does not identify them.
    present : ndarray of bool, shape (items, versions)
        Whether it was answered and is known to be right or wrong.
    right : ndarray of float, shape (items, versions)
        1 right, 0 wrong, a chance where a guess was asked for; NaN where not present.
    score : ndarray of float, shape (items, versions)
        The column `correct` as it is, which may be a score in between; `right` where there is no such column.
    answers : ndarray of int, shape (items, versions), or None
        Number of the answer given, -1 for none; None where answers were not recorded.
    texts : ndarray of object
        Text of each answer by number.
    blank : ndarray of bool, shape (items, versions)
        Whether no answer was given.
    row : ndarray of int, shape (items, versions)
        Row of `frame` behind each cell; -1 for none.
    frame : DataFrame
        The rows of the predictions table that entered.
    notes : tuple of str
        What was left out and why, and what no answer counts as.
    lost : float
        Largest share of its items that a version lost because another did not answer them.
    """

    by: str
    names: tuple[str, ...]
    items: pd.DataFrame
    item_keys: np.ndarray
    has_tasks: bool
    present: np.ndarray
    right: np.ndarray
    score: np.ndarray
    answers: np.ndarray | None
    texts: np.ndarray
    blank: np.ndarray
    row: np.ndarray
    frame: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()
    lost: float = 0.0

    def __len__(self) -> int:
        return len(self.items)

    @property
    def is_counted(self) -> bool:
        """Whether every answer is right or wrong, none worth a chance."""
        known = self.right[self.present]
        return bool(np.all((known == 0) | (known == 1)))

    @property
    def is_graded(self) -> bool:
        """Whether `score` has values between 0 and 1."""
        known = self.score[self.present]
        return bool(np.any((known > 0) & (known < 1)))

    def column(self, name: str) -> int:
        """Give the number of a version.

        Raises
        ------
        AnalysisError
            When there is no such version.
        """
        if name in self.names:
            return self.names.index(name)
        raise AnalysisError(
            f"No prediction has {self.by} {name!r}.", remedy="There are: " + ", ".join(self.names[:12]) + "."
        )

    def clause(self, mask: np.ndarray, names: Sequence[str] = ()) -> Clause:
        """Give the clause that holds for the items where `mask` does, among the answers of some versions."""
        if self.has_tasks:
            clause = clause_of_items(self.items[mask], self.items)
        else:
            clause = is_in("item", self.item_keys[mask].tolist())
        return both(is_in(self.by, names), clause) if names else clause

    def given(self, version: int) -> np.ndarray:
        """Give the texts of the answers of a version, None where there is none, shape (items,)."""
        if self.answers is None:
            return np.full(len(self), None, dtype=object)
        texts = np.array([*self.texts, None], dtype=object)  # the last one is that of code -1
        given: np.ndarray = texts[self.answers[:, version]]
        return given

    def values(self, column: str, version: int) -> np.ndarray:
        """Give the values of a numeric column in the rows of a version, NaN where there is none, shape (items,)."""
        rows = self.row[:, version]
        numbers = self.frame[column].to_numpy(float)
        return np.where(rows >= 0, numbers[np.maximum(rows, 0)], np.nan)

    def taking(self, mask: np.ndarray) -> Sheet:
        """Give the sheet of some of the items."""
        return replace(
            self,
            items=self.items[mask].reset_index(drop=True),
            item_keys=self.item_keys[mask],
            present=self.present[mask],
            right=self.right[mask],
            score=self.score[mask],
            answers=None if self.answers is None else self.answers[mask],
            blank=self.blank[mask],
            row=self.row[mask],
        )

    def listed(self, mask: np.ndarray, versions: Sequence[int], suffixes: Sequence[str] = ()) -> pd.DataFrame:
        """Give a table of the items where `mask` holds, with what some versions answered and whether it was right."""
        suffixes = suffixes or [self.names[version] for version in versions]
        table = self.items[mask].reset_index(drop=True)
        for version, suffix in zip(versions, suffixes, strict=True):
            if self.answers is not None:
                table[f"prediction_{suffix}"] = self.given(version)[mask]
            table[f"right_{suffix}"] = self.right[mask, version]
            if "confidence" in self.frame.columns and self.frame["confidence"].notna().any():
                table[f"confidence_{suffix}"] = self.values("confidence", version)[mask]
        return table

    def groups(self, column: str) -> tuple[np.ndarray, list[str]]:
        """Give the number of the group of each item, and the names of the groups, the largest first."""
        values = self.items[column].astype(object).where(self.items[column].notna(), "none").astype(str)
        codes, names = pd.factorize(values)
        order = np.argsort(-np.bincount(codes, minlength=len(names)), kind="stable")
        place = np.empty(len(names), dtype=int)
        place[order] = np.arange(len(names))
        return place[codes], [str(names[number]) for number in order]


_remembered: WeakKeyDictionary[RunStore, dict[object, Sheet]] = WeakKeyDictionary()


def answer_sheet(
    store: RunStore,
    asked: AnswersQuestion,
    names: Sequence[str] = (),
    *,
    about: Sequence[str] = (),
    key: Sequence[str] = (),
    common: bool = True,
    least: int = 2,
) -> Sheet:
    """Give the answers of several versions to the items they share.

    Parameters
    ----------
    asked : AnswersQuestion
        Resolved: `by` says which column holds the versions.
    names : sequence of str
        The versions, in the order wanted; all where empty.
    about : sequence of str
        Columns that describe an item and are wanted beside it (group, cluster); empty names are passed over.
    key : sequence of str
        Further columns without which a row cannot be identified.
    common : bool
        Whether only items that all versions answered are kept; otherwise those of at least two.
    least : int
        How many versions there must be.

    Raises
    ------
    AnalysisError
        When a column is not there, or an item was answered twice by a version.
    TooLittleData
        When there are fewer versions than needed, or no items that they share.
    """
    options = asked.by, asked.model, asked.task, asked.epoch, asked.unanswered, asked.right_from
    wanted = (*options, tuple(names), tuple(about), tuple(key), common, least)
    sheets = _remembered.setdefault(store, {})
    if wanted not in sheets:
        made = _joined(store, asked, names, about=about, key=key, common=common, least=least)
        while len(sheets) >= _MOST_SHEETS:
            sheets.pop(next(iter(sheets)), None)
        sheets[wanted] = made
        return made
    return sheets[wanted]


def _joined(
    store: RunStore,
    asked: AnswersQuestion,
    names: Sequence[str],
    *,
    about: Sequence[str],
    key: Sequence[str],
    common: bool,
    least: int,
) -> Sheet:
    frame = store.rows("predictions")
    for column in (asked.by, *about, *key):
        if column and column not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {column!r}.")
    for column, value in (("model", asked.model), ("task", asked.task)):
        if value and column in frame.columns and column != asked.by:
            frame = frame[frame[column] == value]
    if asked.by != "epoch" and "epoch" not in key:
        frame = at_epoch(frame, asked.epoch)
    chosen = list(names) or names_compared(frame, asked.by)
    if "" in chosen or not asked.by:
        chosen = []
    if len(set(chosen)) < len(chosen):
        raise AnalysisError("A version is compared with itself.", remedy="Choose another one.")
    if len(chosen) < least or len(chosen) > _MOST_NAMES:
        raise TooLittleData(
            needs=f"predictions of {'two' if least == 2 else least} or more versions or models on the same items",
            found=f"{len(chosen):,} values of {asked.by}" if asked.by else "one",
            remedy="Open the others too, or choose the column that tells them apart (by).",
        )
    numbers, values = pd.factorize(frame[asked.by])
    place_of = {name: number for number, name in enumerate(chosen)}
    side = np.array([*(place_of.get(str(value), -1) for value in values), -1])[numbers]
    missing = set(range(len(chosen))) - set(side.tolist())
    if missing:
        raise AnalysisError(
            f"No prediction has {asked.by} {chosen[min(missing)]!r}.",
            remedy="There are: " + ", ".join(names_compared(frame, asked.by)[:12]) + ".",
        )
    frame, side = frame[side >= 0].reset_index(drop=True), side[side >= 0]
    identifying = _identifying(frame, side, asked.by, key)
    code, first = _numbered(frame, identifying)
    shape = len(first), len(chosen)
    place = code * shape[1] + side
    if len(place) and np.bincount(place, minlength=shape[0] * shape[1]).max() > 1:
        repeated = pd.Series(place).duplicated().to_numpy()
        guilty = int(side[np.argmax(repeated)])
        refuse_repeats(frame[side == guilty], identifying, chosen[guilty])
    row = _spread(np.arange(len(frame)), place, shape, -1)
    blank = unanswered(frame)
    right = rightness(frame, asked.unanswered, asked.right_from)
    graded = right
    if "correct" in frame.columns and frame["correct"].notna().any():
        graded = np.where(blank, right, frame["correct"].to_numpy(float))
    is_there = row >= 0
    if common and not names and len(chosen) > least:
        # Where all are taken, one that answered other questions would leave nothing in common.
        times = is_there.sum(axis=1)
        shares = is_there[times == times.max()].mean(axis=0)
        near = [name for name, share in zip(chosen, shares.tolist(), strict=True) if share >= 0.5]
        if least <= len(near) < len(chosen):
            sheet = _joined(store, asked, near, about=about, key=key, common=common, least=least)
            others = ", ".join(name for name in chosen if name not in near)
            return replace(sheet, notes=(f"Left out, since they answered other items: {others}.", *sheet.notes))
    right, graded = _spread(right, place, shape, np.nan), _spread(graded, place, shape, np.nan)
    notes: list[str] = []
    keep = np.asarray(is_there.all(axis=1) if common else is_there.sum(axis=1) >= min(least, 2))
    lost = float(((is_there & ~keep[:, None]).sum(axis=0) / is_there.sum(axis=0)).max())
    if lost:
        notes.append(_said_lost(is_there & ~keep[:, None], chosen, lost, common=common))
    keep &= _same_question(frame, place, shape, keep, notes)
    known = is_there & ~np.isnan(right)
    kept: np.ndarray = keep & (known.all(axis=1) if common else known.sum(axis=1) >= min(least, 2))
    undecided = int(np.count_nonzero(keep & ~kept))
    if undecided:
        notes.append(f"{counted(undecided, 'item')} left out: no answer, or not known to be right or wrong.")
    if not kept.any():
        raise TooLittleData(needs="items answered by all", found="0", remedy="Do the item keys agree?")
    blanks = _spread(blank, place, shape, False)
    empty = blanks[kept].sum(axis=0)
    if empty.any():
        said = [f"{number:,} of {name}" for number, name in zip(empty.tolist(), chosen, strict=True) if number]
        more = f" and {len(said) - 4} more" if len(said) > 4 else ""
        notes.append(f"No answer: {', '.join(said[:4])}{more}; counted as {asked.unanswered}.")
    items = _described(frame, code, first, [*identifying, *_about(frame, about, identifying)])
    pooled = [name for name in ("model", "version", "task") if name in identifying and items[name].nunique() > 1]
    if pooled:
        notes.append("Pooled over " + ", ".join(counted(items[name].nunique(), name) for name in pooled) + ".")
    answers: np.ndarray | None = None
    texts = np.empty(0, dtype=object)
    if "prediction" in frame.columns and (blank.any() or frame["prediction"].notna().any()):
        numbers, found = pd.factorize(frame["prediction"])
        spread = _spread(np.where(blank, -1, numbers), place, shape, -1)
        # Where one version did not record its answers, they cannot be compared.
        if ((spread >= 0) | blanks).any(axis=0).all():
            answers = spread[kept]
        texts = np.asarray(found, dtype=object)
    return Sheet(
        by=asked.by,
        names=tuple(chosen),
        items=items[kept].reset_index(drop=True),
        item_keys=items["item"].to_numpy(object)[kept],
        has_tasks="task" in items.columns and items["task"].nunique() > 1,
        present=known[kept],
        right=np.where(known, right, np.nan)[kept],
        score=np.where(known, graded, np.nan)[kept],
        answers=answers,
        texts=texts,
        blank=blanks[kept],
        row=row[kept],
        frame=frame,
        notes=tuple(notes),
        lost=lost,
    )


def _identifying(frame: pd.DataFrame, side: np.ndarray, by: str, key: Sequence[str]) -> list[str]:
    """Give the columns that identify an item; a model or version that only follows from the side is none."""
    names = [name for name in ("model", "version", "task", "item", "sample") if name != by]
    columns = [*present(frame, names), *(name for name in key if name and name not in names and name != by)]
    for name in ("model", "version"):
        if name in columns:
            codes = pd.factorize(frame[name])[0]
            pairs = np.unique(np.stack([side, codes], axis=1), axis=0)
            if len(pairs) == len(np.unique(side)) and len(np.unique(codes)) > 1:
                columns.remove(name)
    return columns


def _numbered(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Give the number of the item of each row, and the first row of each item."""
    code = np.zeros(len(frame), dtype=np.int64)
    for name in columns:
        numbers, found = pd.factorize(frame[name], use_na_sentinel=False)
        code = pd.factorize(code * len(found) + numbers)[0].astype(np.int64)
    first = np.flatnonzero(~pd.Series(code).duplicated().to_numpy())
    return code, first


def _spread(values: np.ndarray, place: np.ndarray, shape: tuple[int, int], empty: object) -> np.ndarray:
    spread = np.full(shape[0] * shape[1], empty, dtype=values.dtype if empty is not np.nan else float)
    spread[place] = values
    return spread.reshape(shape)


def _said_lost(lost: np.ndarray, names: Sequence[str], share: float, *, common: bool) -> str:
    counts = lost.sum(axis=0).tolist()
    said = [f"{number:,} items only in {name}" for number, name in zip(counts, names, strict=True) if number]
    if len(names) > 2:
        said = [f"{number:,} of {name}" for number, name in zip(counts, names, strict=True) if number]
    loud = "Attention: " if share > 0.05 else ""
    if len(names) == 2:
        return f"{loud}{' and '.join(said)} left out."
    more = f" and {len(said) - 4} more" if len(said) > 4 else ""
    why = "not answered by all" if common else "answered by one alone"
    return f"{loud}Items left out because {why}: {', '.join(said[:4])}{more}."


def _same_question(
    frame: pd.DataFrame, place: np.ndarray, shape: tuple[int, int], keep: np.ndarray, notes: list[str]
) -> np.ndarray:
    """Give, for every item, whether its label and its hashes agree; prompts that differ are only said."""
    same = np.ones(shape[0], dtype=bool)
    hashes = [str(name) for name in frame.columns if str(name).endswith("hash")]
    for name in [*(["label"] if "label" in frame.columns else []), *hashes]:
        codes = _spread(pd.factorize(frame[name])[0].astype(np.int64), place, shape, -1)
        greatest = codes.max(axis=1)
        differs = ((codes >= 0) & (codes != greatest[:, None])).any(axis=1)
        number = int(np.count_nonzero(differs & keep & same))
        if not number:
            continue
        if "prompt" in name or "argument" in name:
            notes.append(f"Attention: the {name} of {counted(number, 'item')} differs between versions; they are kept.")
            continue
        same &= ~differs
        notes.append(f"{counted(number, 'item')} left out: the {name} differs between versions.")
    return same


def _about(frame: pd.DataFrame, about: Sequence[str], key: Sequence[str]) -> list[str]:
    wanted = dict.fromkeys([*about, *present(frame, ("group", "label"))])
    return [name for name in wanted if name and name not in key]


def _described(frame: pd.DataFrame, code: np.ndarray, first: np.ndarray, columns: Sequence[str]) -> pd.DataFrame:
    """Give one row an item; where a row lacks what describes the item, another that has it says it."""
    parts = {}
    for name in columns:
        known = np.flatnonzero(frame[name].notna().to_numpy())
        if len(known) == len(frame):
            parts[name] = frame[name].iloc[first].reset_index(drop=True)
            continue
        rows = first.copy()
        rows[code[known[::-1]]] = known[::-1]
        parts[name] = frame[name].iloc[rows].reset_index(drop=True)
    # Keys are taken one by one later: as Python texts they need no conversion then.
    return pd.DataFrame(parts).assign(item=parts["item"].astype(object))


def cluster_units(sheet: Sheet, cluster: str) -> tuple[np.ndarray, int, str]:
    """Give the number of the unit each item belongs to, how many units there are, and the note that names the unit."""
    if not cluster:
        return np.arange(len(sheet)), len(sheet), f"Unit: the item, n = {len(sheet):,}."
    codes, names = pd.factorize(sheet.items[cluster], use_na_sentinel=False)
    few = " Fewer than 10: such intervals are too narrow." if len(names) < 10 else ""
    return codes, len(names), f"Unit: the {cluster}, taken whole ({len(names)} of them, {len(sheet):,} items).{few}"


def unit_sums(values: np.ndarray, units: np.ndarray, number: int) -> np.ndarray:
    """Give the sums over the items of each unit, shape (units, ...), of values, shape (items, ...)."""
    sums = np.zeros((number, *values.shape[1:]))
    np.add.at(sums, units, values)
    return sums


def drawn_units(values: np.ndarray, units: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the sums of each unit that a bootstrap draws, and how many such units there are.

    Where units are items, equal ones are held together, which leaves few to draw.

    Parameters
    ----------
    values : ndarray, shape (items, columns)
    units : ndarray of int, shape (items,)
    number : int
        How many units there are.
    """
    if number == len(values):
        return np.unique(values, axis=0, return_counts=True)
    return unit_sums(values, units, number), np.ones(number, dtype=np.int64)
