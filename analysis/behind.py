"""The rows behind a highlight, as a person reads them: old and new answer side by side where two are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..models.deferred import deferred
from ..models.errors import AnalysisError
from ..models.schema import PREDICTIONS, RUNS, SCHEMAS
from ..models.selection import EVERYTHING, Clause
from ..models.store import RunStore
from .answers import rightness, unanswered

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_LOOKED_AT = ("predictions", "comparisons", "scores", "runs")
_NAMED = ("model", "version", "task", "metric", "split", "judge")
"""Columns that are said once instead of shown where all rows agree on them."""

_LAST = ("label", "prediction", "correct", "confidence")
NONE = "none"
"""What stands for an answer that was not given."""


@dataclass(frozen=True, slots=True, eq=False)
class RowsBehind:
    """Rows to be shown.

    Attributes
    ----------
    frame : DataFrame
        The rows, in the order of the source.
    what : str
        What they are, in one line.
    titles, helps : Mapping of str to str
        Texts and tooltips of the header by column.
    tones : Mapping of str to ndarray of int8, shape (rows,)
        By column: 1 right, -1 wrong, 0 neither.
    """

    frame: pd.DataFrame
    what: str
    titles: Mapping[str, str] = field(default_factory=dict)
    helps: Mapping[str, str] = field(default_factory=dict)
    tones: Mapping[str, np.ndarray] = field(default_factory=dict)


def rows_behind(
    store: RunStore, highlight: Clause | None = None, compared: tuple[str, str, str] | None = None
) -> RowsBehind | None:
    """Give the rows a highlight stands for, or None where it reads on no table.

    Parameters
    ----------
    store : RunStore
    highlight : Clause, optional
        Everything where None.
    compared : tuple of (str, str, str), optional
        A column and its two values whose answers are put side by side; by default `version`, else `model`, where exactly
        two are among the highlighted predictions.
    """
    clause = highlight or EVERYTHING
    table = table_behind(store, clause)
    if table is None:
        return None
    rows = store.rows(table, clause)
    if table == PREDICTIONS.name:
        try:
            right = rightness(rows)
        except AnalysisError:
            right = np.full(len(rows), np.nan)
        pair = _pair(rows, compared)
        if pair is not None:
            return _side_by_side(rows, right, *pair)
        return _plain(rows, table, right)
    return _plain(rows, table, None)


def table_behind(store: RunStore, clause: Clause) -> str | None:
    """Give the most detailed table that has rows and on which a clause reads, by its own columns or else by its runs."""
    having = [name for name in _LOOKED_AT if store.has_rows(name)]
    for name in having:
        if clause.columns <= set(store.columns(name)):
            return name
    if clause.columns <= set(store.columns(RUNS.name)):
        return next((name for name in having if "run" in store.columns(name)), None)
    return None


def _pair(rows: pd.DataFrame, compared: tuple[str, str, str] | None) -> tuple[str, str, str] | None:
    if compared is not None:
        column, old, new = compared
        if column in rows.columns and {old, new} <= set(rows[column].dropna().unique()):
            return compared
    for column in ("version", "model"):
        if column in rows.columns:
            values = list(map(str, rows[column].dropna().unique()))
            if len(values) == 2:
                return column, values[0], values[1]
            if len(values) > 2:
                return None
    return None


def _side_by_side(rows: pd.DataFrame, right: np.ndarray, column: str, old: str, new: str) -> RowsBehind:
    key = [name for name in ("task", "item", "sample", "epoch") if name in rows.columns and rows[name].notna().any()]
    has_answers = "prediction" in rows.columns and bool(rows["prediction"].notna().any())
    answer = _answers(rows) if has_answers else _words(right)
    slim = rows[key].assign(answer=answer, right=right)
    is_old, is_new = (rows[column] == old).to_numpy(bool), (rows[column] == new).to_numpy(bool)
    # A question answered twice by one model cannot be put side by side; its first answer is.
    before = slim[is_old].drop_duplicates(key)
    after = slim[is_new].drop_duplicates(key)
    both = rows.loc[is_old | is_new, key].drop_duplicates()
    both = both.merge(before, on=key, how="left").merge(after, on=key, how="left", suffixes=("_old", "_new"))
    both["right_old"], both["right_new"] = (both[name].astype("float64") for name in ("right_old", "right_new"))

    passed = {*key, *_LAST, column, "model", "version", "source", "weight", "run", "stderr"}
    described = [
        name
        for name in _new_columns(rows, [*key, "label"])
        if name not in passed and not name.startswith(("prob.", "logit.")) and rows[name].notna().any()
    ]
    about = rows[is_old | is_new].drop_duplicates(key)[key + described + (["label"] if "label" in rows.columns else [])]
    both = both.merge(about, on=key, how="left")

    is_other = ~(is_old | is_new) & np.isfinite(right)
    others_title = "others right"
    if is_other.any():
        counted = slim[is_other].groupby(key, sort=False, observed=True)["right"].agg(["sum", "count"]).reset_index()
        both = both.merge(counted, on=key, how="left")
        said = [
            None if np.isnan(count) else f"{int(good)} of {int(count)}"
            for good, count in zip(both["sum"], both["count"], strict=True)
        ]
        both[others_title] = pd.Series(said, index=both.index, dtype="object")

    shown_key = [name for name in key if both[name].nunique(dropna=False) > 1 or name == "item"]
    shown_about = [name for name in described if both[name].nunique(dropna=False) > 1]
    before_words, after_words = _words(both["right_old"].to_numpy(float)), _words(both["right_new"].to_numpy(float))
    both["change"] = [f"{a} → {b}" for a, b in zip(before_words, after_words, strict=True)]
    columns = [
        *shown_key,
        *shown_about,
        *(["label"] if "label" in both.columns else []),
        "answer_old",
        "answer_new",
        "change",
        *([others_title] if others_title in both.columns else []),
    ]
    tone_old, tone_new = _tones(both["right_old"].to_numpy(float)), _tones(both["right_new"].to_numpy(float))
    what = f"{len(both):,} item{'' if len(both) == 1 else 's'} · {old} → {new}"
    changes = both["change"].unique()
    if len(changes) == 1:
        what += f" · {changes[0]}"
    return RowsBehind(
        both[columns].reset_index(drop=True),
        what,
        titles={"answer_old": "old answer", "answer_new": "new answer", "label": "key"},
        helps={
            "answer_old": f"Answer of {old}",
            "answer_new": f"Answer of {new}",
            "label": "The right answer",
            others_title: f"How many of the other {column}s were right",
        },
        tones={
            "answer_old": tone_old,
            "answer_new": tone_new,
            "change": np.where(tone_old == tone_new, 0, tone_new).astype(np.int8),
        },
    )


def _plain(rows: pd.DataFrame, table: str, right: np.ndarray | None) -> RowsBehind:
    schema = SCHEMAS[table]
    tones: dict[str, np.ndarray] = {}
    if right is not None and np.isfinite(right).any():
        rows = rows.assign(correct=_words(right))
        if "prediction" in rows.columns:
            rows = rows.assign(prediction=_answers(rows))
        tones["correct"] = _tones(right)
    canonical = [column.name for column in schema.columns if column.name not in _LAST and column.name != "source"]
    names = _new_columns(rows, [*canonical, *_LAST])
    own = [
        name
        for name in names
        if name not in canonical
        and name not in (*_LAST, "source", "folder")
        and not name.startswith(("prob.", "logit.", "path."))
    ]
    wanted = [name for name in (*canonical, *own, *_LAST, "source") if name in names]
    many = len(rows) > 1
    shown, agreed = [], []
    for name in wanted:
        values = rows[name].nunique(dropna=False)
        if not rows[name].notna().any():
            continue
        if many and values == 1 and name not in (*_LAST, "item", "run", "value", "winner"):
            if name in _NAMED:
                agreed.append(str(rows[name].iloc[0]))
            continue
        shown.append(name)
    noun = {"predictions": "prediction", "comparisons": "comparison", "scores": "score", "runs": "run"}[table]
    what = " · ".join([f"{len(rows):,} {noun}{'' if len(rows) == 1 else 's'}", *agreed])
    return RowsBehind(
        rows[shown],
        what,
        titles={
            "label": "key",
            "prediction": "answer",
            **{n: n.removeprefix("config.") for n in shown if "config." in n},
        },
        helps={c.name: c.help + (f" ({c.unit})" if c.unit else "") for c in schema.columns},
        tones=tones,
    )


def _new_columns(rows: pd.DataFrame, known: list[str]) -> list[str]:
    """Give the columns of some rows without those that only repeat a known one, as one that was mapped does."""
    looked_at = rows.head(1000)
    texts = {name: looked_at[name].astype(str).to_numpy() for name in known if name in rows.columns}
    names = []
    for name in map(str, rows.columns):
        if name in texts or not any(
            np.array_equal(looked_at[name].astype(str).to_numpy(), text) for text in texts.values()
        ):
            names.append(name)
            if name not in texts:
                texts[name] = looked_at[name].astype(str).to_numpy()
    return names


def _answers(rows: pd.DataFrame) -> pd.Series:
    """Give the answers, with a word where none was given."""
    return rows["prediction"].astype("object").mask(unanswered(rows), NONE)


def _words(right: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(right), "–", np.where(right >= 0.5, "right", "wrong")).astype(object)


def _tones(right: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(right), 0, np.where(right >= 0.5, 1, -1)).astype(np.int8)
