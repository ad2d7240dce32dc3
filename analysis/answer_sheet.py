"""Answers of several versions to the same items, as arrays: items in rows, versions in columns.

Every paired question needs the same join, and has to say the same things about it: which items only some answered, which
turned out to be other questions (their label or their hash differs), what no answer counts as. The join is done here once;
the analyses count with matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice, permutations
from typing import Any, ClassVar, Literal, Self, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ..models.errors import AnalysisError, TooLittleData
from ..models.question import Need, Option, Question, option
from ..models.selection import EVERYTHING, Clause, both, is_in
from ..models.store import RunStore
from .answer_join import Join, said_apart
from .answer_survey import kinds_of_rows, share_items
from .answers import (
    Recorded,
    at_epoch,
    clause_of_items,
    in_natural_order,
    present,
    refuse_repeats,
    rightness,
    unanswered,
)

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
        chosen = self.by, self.model
        seen = _compared.setdefault(store, {})
        if chosen not in seen:
            seen[chosen] = compared_column(_rows_that_tell(store, self.by), *chosen)
        by, model = seen[chosen]
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
        chosen = asked.by, asked.model, asked.old, asked.new
        seen = _compared.setdefault(store, {})
        if chosen not in seen:
            stored = store.is_stored("predictions")
            seen[chosen] = _stored_pair(store, asked) if stored else compared_pair(store.rows("predictions"), *chosen)
        old, new = seen[chosen]
        return replace(asked, old=old, new=new)


_compared: WeakKeyDictionary[RunStore, dict[tuple[str, ...], tuple[str, str]]] = WeakKeyDictionary()
"""What is compared where it was left open, which takes a look at all rows."""


def _rows_that_tell(store: RunStore, by: str) -> pd.DataFrame:
    """Give rows that have every version there is: all, or one of each kind where memory does not hold them."""
    if not store.is_stored("predictions"):
        return store.rows("predictions")
    return kinds_of_rows(store, (by,) if by else ())


def _stored_pair(store: RunStore, asked: PairQuestion) -> tuple[str, str]:
    """Give old and new, as `compared_pair` does, of rows that memory does not hold."""
    kinds = _rows_that_tell(store, asked.by)
    tried = pairs_in_order(kinds, asked.by, asked.model, asked.old, asked.new)
    if len(tried) < 2:
        return tried[0] if tried else (asked.old, asked.new)
    told = kinds[asked.by].astype(str)
    own: Clause = EVERYTHING
    if asked.model and asked.by != "model" and "model" in kinds.columns:
        own = is_in("model", (asked.model,))
    for pair in tried:
        rows = kinds[told.isin(pair) & own.mask(kinds)]
        only = both(own, is_in(asked.by, rows[asked.by].unique()))
        if share_items(store, asked.by, pair, only, int(rows["rows"].sum())):
            return pair
    return tried[0]


def compared_column(frame: pd.DataFrame, by: str = "", model: str = "") -> tuple[str, str]:
    """Give the column that tells what is compared, and the model whose versions are; empty where nothing does."""
    if by and by not in frame.columns:
        return by, model
    for column in [by] if by else present(frame, ("version", "model")):
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


def pairs_in_order(frame: pd.DataFrame, by: str, model: str, old: str = "", new: str = "") -> list[tuple[str, str]]:
    """Give the pairs of old and new to be tried: versions from the newest back, models in the order they come in."""
    names = names_compared(frame, by, model)
    pairs: Iterable[tuple[str, str]] = combinations(names, 2)
    if by != "model":
        pairs = ((first, second) for second, first in combinations(names[::-1], 2))
    if old or new:
        pairs = (p for p in permutations(names, 2) if old in ("", p[0]) and new in ("", p[1]))
    # A column may have very many values.
    return list(islice(pairs, _MOST_PAIRS))


def compared_pair(frame: pd.DataFrame, by: str, model: str, old: str = "", new: str = "") -> tuple[str, str]:
    """Give old and new, where empty the last two versions, or the first two models, that share items."""
    tried = pairs_in_order(frame, by, model, old, new)
    if len(tried) < 2:
        return tried[0] if tried else (old, new)
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


@dataclass(frozen=True, slots=True)
class Known:
    """What has to be known of all rows before those of some items are joined.

    Attributes
    ----------
    following : frozenset of str
        Which of the columns model and version only follow from what is compared.
    recorded : Recorded
        What was recorded at all.
    """

    following: frozenset[str]
    recorded: Recorded


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
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
    join : Join
        What was left out and why, in counts.
    notes : tuple of str
        The same in sentences, and what no answer counts as.
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
    join: Join
    notes: tuple[str, ...] = ()

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
        return numbered(self.names, name, self.by)

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
        columns: dict[str, np.ndarray] = {}
        for version, suffix in zip(versions, suffixes, strict=True):
            if self.answers is not None:
                columns[f"prediction_{suffix}"] = self.given(version)[mask]
            columns[f"right_{suffix}"] = self.right[mask, version]
            if "confidence" in self.frame.columns and self.frame["confidence"].notna().any():
                columns[f"confidence_{suffix}"] = self.values("confidence", version)[mask]
        return pd.concat([table, pd.DataFrame(columns)], axis=1)

    def groups(self, column: str) -> tuple[np.ndarray, list[str]]:
        """Give the number of the group of each item, and the names of the groups, the largest first."""
        values = self.items[column].astype(object).where(self.items[column].notna(), "none").astype(str)
        codes, names = pd.factorize(values)
        order = np.argsort(-np.bincount(codes, minlength=len(names)), kind="stable")
        place = np.empty(len(names), dtype=int)
        place[order] = np.arange(len(names))
        return place[codes], [str(names[number]) for number in order]


def numbered(names: Sequence[str], name: str, by: str) -> int:
    """Give the number of a version.

    Raises
    ------
    AnalysisError
        When there is no such version.
    """
    if name in names:
        return names.index(name)
    raise AnalysisError(f"No prediction has {by} {name!r}.", remedy="There are: " + ", ".join(names[:12]) + ".")


Made = TypeVar("Made")
_made: WeakKeyDictionary[Sheet, dict[object, Any]] = WeakKeyDictionary()


def once(function: Callable[[Sheet], Made], sheet: Sheet) -> Made:
    """Give what a function of a module makes of a sheet, made only once: moved sliders ask again and again."""
    made = _made.setdefault(sheet, {})
    if function not in made:
        made[function] = function(sheet)
    found: Made = made[function]
    return found


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
    frame = answers_asked_for(store.rows("predictions"), asked, about=about, key=key)
    chosen = versions_chosen(list(names) or names_compared(frame, asked.by), asked.by, least)
    sheet = sheet_of(frame, asked, chosen, about=about, key=key, common=common, least=min(least, 2))
    if common and not names and len(chosen) > least:
        near = sheet.join.near(chosen, least)
        if len(near) < len(chosen):
            sheet = _joined(store, asked, near, about=about, key=key, common=common, least=least)
            return replace(sheet, notes=(said_apart(chosen, near), *sheet.notes))
    if not len(sheet):
        raise TooLittleData(needs="items answered by all", found="0", remedy="Do the item keys agree?")
    return replace(sheet, notes=tuple(sheet.join.notes(chosen, asked.unanswered, common=common)))


def answers_asked_for(
    frame: pd.DataFrame, asked: AnswersQuestion, *, about: Sequence[str] = (), key: Sequence[str] = ()
) -> pd.DataFrame:
    """Give the rows of the model, task and epoch that are asked for.

    Raises
    ------
    AnalysisError
        When a column is not there.
    """
    for column in (asked.by, *about, *key):
        if column and column not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {column!r}.")
    for column, value in (("model", asked.model), ("task", asked.task)):
        if value and column in frame.columns and column != asked.by:
            frame = frame[frame[column] == value]
    if asked.by != "epoch" and "epoch" not in key:
        frame = at_epoch(frame, asked.epoch)
    return frame


def versions_chosen(chosen: list[str], by: str, least: int) -> list[str]:
    """Give the versions back where they can be compared.

    Raises
    ------
    AnalysisError
        When one comes twice.
    TooLittleData
        When there are too few, or so many values that they are no versions.
    """
    if "" in chosen or not by:
        chosen = []
    if len(set(chosen)) < len(chosen):
        raise AnalysisError("A version is compared with itself.", remedy="Choose another one.")
    if len(chosen) < least or len(chosen) > _MOST_NAMES:
        raise TooLittleData(
            needs=f"predictions of {'two' if least == 2 else least} or more versions or models on the same items",
            found=f"{len(chosen):,} values of {by}" if by else "one",
            remedy="Open the others too, or choose the column that tells them apart (by).",
        )
    return chosen


def sheet_of(
    frame: pd.DataFrame,
    asked: AnswersQuestion,
    chosen: Sequence[str],
    *,
    about: Sequence[str] = (),
    key: Sequence[str] = (),
    common: bool = True,
    least: int = 2,
    known: Known | None = None,
) -> Sheet:
    """Give the answers of some versions to the items they share; a sheet without items where they share none.

    Parameters
    ----------
    frame : DataFrame
        Rows as `answers_asked_for` gives them.
    common : bool
        Whether only items that all versions answered are kept; otherwise those of at least `least`.
    known : Known, optional
        What has to be known of all rows, where these are only those of some items; its parts are told by the rows otherwise.
    """
    numbers, values = pd.factorize(frame[asked.by])
    place_of = {name: number for number, name in enumerate(chosen)}
    side = np.array([*(place_of.get(str(value), -1) for value in values), -1])[numbers]
    missing = set(range(len(chosen))) - set(side.tolist())
    if missing and known is None:
        raise AnalysisError(
            f"No prediction has {asked.by} {chosen[min(missing)]!r}.",
            remedy="There are: " + ", ".join(names_compared(frame, asked.by)[:12]) + ".",
        )
    frame, side = frame[side >= 0].reset_index(drop=True), side[side >= 0]
    identifying = identifying_columns(frame, side, asked.by, key, None if known is None else known.following)
    code, first = _numbered(frame, identifying)
    shape = len(first), len(chosen)
    place = code * shape[1] + side
    if len(place) and np.bincount(place, minlength=shape[0] * shape[1]).max() > 1:
        repeated = pd.Series(place).duplicated().to_numpy()
        guilty = int(side[np.argmax(repeated)])
        refuse_repeats(frame[side == guilty], identifying, chosen[guilty])
    row = _spread(np.arange(len(frame)), place, shape, -1)
    recorded = None if known is None else known.recorded
    blank = unanswered(frame, recorded)
    right = rightness(frame, asked.unanswered, asked.right_from, recorded)
    graded = right
    if "correct" in frame.columns and frame["correct"].notna().any():
        graded = np.where(blank, right, frame["correct"].to_numpy(float))
    is_there = row >= 0
    times = is_there.sum(axis=1)
    right, graded = _spread(right, place, shape, np.nan), _spread(graded, place, shape, np.nan)
    keep = np.asarray(is_there.all(axis=1) if common else times >= least)
    lost = (is_there & ~keep[:, None]).sum(axis=0)
    same, differs = _same_question(frame, place, shape, keep)
    keep = keep & same
    is_known = is_there & ~np.isnan(right)
    kept: np.ndarray = keep & (is_known.all(axis=1) if common else is_known.sum(axis=1) >= least)
    blanks = _spread(blank, place, shape, False)
    items = _described(frame, code, first, [*identifying, *_about(frame, about, identifying)])
    answers: np.ndarray | None = None
    is_recorded = np.zeros(shape[1], dtype=bool)
    texts = np.empty(0, dtype=object)
    if "prediction" in frame.columns and (known is not None or blank.any() or frame["prediction"].notna().any()):
        numbers, found = pd.factorize(frame["prediction"])
        spread = _spread(np.where(blank, -1, numbers), place, shape, -1)
        is_recorded = ((spread >= 0) | blanks).any(axis=0)
        # Where one version did not record its answers, they cannot be compared.
        if known is not None or is_recorded.all():
            answers = spread[kept]
        texts = np.asarray(found, dtype=object)
    fullest = times == times.max(initial=0)
    join = Join(
        there=is_there.sum(axis=0),
        lost=lost,
        blank=blanks[kept].sum(axis=0),
        recorded=is_recorded,
        differs=differs,
        undecided=int(np.count_nonzero(keep & ~kept)),
        pooled={
            name: frozenset(map(str, items[name].dropna().unique()))
            for name in ("model", "version", "task")
            if name in identifying
        },
        fullest=(int(times.max(initial=0)), int(fullest.sum()), is_there[fullest].sum(axis=0)),
    )
    return Sheet(
        by=asked.by,
        names=tuple(chosen),
        items=items[kept].reset_index(drop=True),
        item_keys=items["item"].to_numpy(object)[kept],
        has_tasks="task" in items.columns and items["task"].nunique() > 1,
        present=is_known[kept],
        right=np.where(is_known, right, np.nan)[kept],
        score=np.where(is_known, graded, np.nan)[kept],
        answers=answers,
        texts=texts,
        blank=blanks[kept],
        row=row[kept],
        frame=frame,
        join=join,
    )


def identifying_columns(
    frame: pd.DataFrame, side: np.ndarray, by: str, key: Sequence[str] = (), following: frozenset[str] | None = None
) -> list[str]:
    """Give the columns that identify an item; a model or version that only follows from the side is none.

    Parameters
    ----------
    side : ndarray of int, shape (rows,)
        Number of the version of each row.
    following : frozenset of str, optional
        Which of them follow, where the rows at hand cannot tell.
    """
    names = [name for name in ("model", "version", "task", "item", "sample") if name != by]
    columns = [*present(frame, names), *(name for name in key if name and name not in names and name != by)]
    follow = following_columns(frame, side, columns) if following is None else following
    return [name for name in columns if name not in follow]


def following_columns(frame: pd.DataFrame, side: np.ndarray, columns: Sequence[str]) -> frozenset[str]:
    """Give which of the columns model and version say no more than the side of a row does."""
    follow = set()
    for name in ("model", "version"):
        if name in columns:
            codes = pd.factorize(frame[name])[0]
            pairs = np.unique(np.stack([side, codes], axis=1), axis=0)
            if len(pairs) == len(np.unique(side)) and len(np.unique(codes)) > 1:
                follow.add(name)
    return frozenset(follow)


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


def _same_question(
    frame: pd.DataFrame, place: np.ndarray, shape: tuple[int, int], keep: np.ndarray
) -> tuple[np.ndarray, dict[str, int]]:
    """Give, for every item, whether its label and its hashes agree, and of how many each differs; prompts that differ are
    only counted.
    """
    same = np.ones(shape[0], dtype=bool)
    differing: dict[str, int] = {}
    hashes = [str(name) for name in frame.columns if str(name).endswith("hash")]
    for name in [*(["label"] if "label" in frame.columns else []), *hashes]:
        codes = _spread(pd.factorize(frame[name])[0].astype(np.int64), place, shape, -1)
        greatest = codes.max(axis=1)
        differs = ((codes >= 0) & (codes != greatest[:, None])).any(axis=1)
        differing[name] = int(np.count_nonzero(differs & keep & same))
        if "prompt" not in name and "argument" not in name:
            same &= ~(differs & keep)
    return same, differing


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
    return codes, len(names), said_clusters(cluster, len(names), len(sheet))


def said_clusters(cluster: str, number: int, items: int) -> str:
    """Name the unit where clusters of items are resampled."""
    few = " Fewer than 10: such intervals are too narrow." if number < 10 else ""
    return f"Unit: the {cluster}, taken whole ({number} of them, {items:,} items).{few}"


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
