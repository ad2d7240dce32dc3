"""``groups.slices``: where a model fails more than elsewhere, found on one half of the items and measured on the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Clauses, FigureSpec, Mark, Panel, Points
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted
from ...models.selection import All, Clause, is_in
from ...models.store import RunStore
from ..answer_marks import dots, named_axis, zero
from ..answer_sheet import AnswersQuestion, Sheet, answer_sheet, names_compared
from ..answers import present
from ..grouped_answers import benjamini_hochberg, newcombe

_NO_TAG = (
    "item",
    "prediction",
    "correct",
    "confidence",
    "model",
    "version",
    "task",
    "sample",
    "epoch",
    "weight",
    "run",
)
_MOST_VALUES = 40
_MOST_SLICES = 4000
_SHOWN = 15


@dataclass(frozen=True, kw_only=True)
class Slices(Result):
    """Slices of items in which a version is better or worse than on the rest.

    Attributes
    ----------
    version : str
        The version looked at.
    tags : tuple of str
        Columns that were sliced by.
    clauses : tuple of Clause
        The rows of each slice of the table, in its order.
    level : float
        Coverage of the intervals.
    """

    version: str
    tags: tuple[str, ...]
    clauses: tuple[Clause, ...]
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        table = self.tables["slices"]
        tried = int(self.estimates["tried"].value)
        kept = table[table["found"]]
        if kept.empty:
            return (
                f"None of {tried} slices by {', '.join(self.tags)} differs from the rest in {self.version} beyond the false "
                "discovery rate."
            )
        worst = kept.iloc[0]
        return (
            f"{self.version}: {len(kept)} of {tried} slices stand out; {worst['slice']} is "
            f"{abs(100 * worst['effect']):.1f} points {'below' if worst['effect'] < 0 else 'above'} the rest "
            f"[{100 * worst['low']:+.1f}, {100 * worst['high']:+.1f}], on {int(worst['n'])} items that did not choose it."
        )


@dataclass(frozen=True, kw_only=True)
class SlicesQuestion(AnswersQuestion):
    """Where does it fail more than elsewhere?"""

    version: str = option(
        "", help="version or model to look at; the last one if empty", choices="predictions.version|predictions.model"
    )
    tags: tuple[str, ...] = option(
        (), help="columns to slice by; all with few values if empty", choices="columns of predictions"
    )
    depth: int = option(2, help="how many columns a slice may name", low=1, high=2)
    least: int = option(30, help="items below which a slice is not looked at", unit="items", low=5)
    fdr: float = option(0.05, help="share of false discoveries that is tolerated", low=0.001, high=0.5)
    halves: bool = option(True, help="find on one half of the items and measure on the other")
    seed: int = option(0, help="seed of the split", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the version and the columns."""
        asked = super().resolved(store)
        if not store.has_rows("predictions"):
            return asked
        frame = store.rows("predictions")
        by = asked.by or next(iter(present(frame, ("version", "model"))), "")
        names = names_compared(frame, by, asked.model)
        version = asked.version or (names[-1] if names else "")
        own = frame[frame[by].astype(str) == version] if by in frame.columns else frame
        tags = asked.tags or _told_apart(own, [
            str(name)
            for name in own.columns
            if name not in _NO_TAG and not str(name).startswith(("prob.", "logit.", "config."))
            and 2 <= own[name].nunique() <= min(_MOST_VALUES, max(2, len(own) // 10))
        ])  # fmt: skip
        return replace(asked, by=by, version=version, tags=tags)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Slices:
        """Test every slice on one half, and measure those that stand out on the other."""
        asked = self.resolved(store)
        if not asked.tags:
            raise TooLittleData(
                needs="columns that describe the items", found="none with few values", remedy="Choose them (tags)."
            )
        sheet = answer_sheet(store, asked, (asked.version,), about=asked.tags, common=False, least=1)
        right = sheet.right[:, 0]
        generator = np.random.default_rng(asked.seed)
        search = np.zeros(len(sheet), dtype=bool)
        search[generator.permutation(len(sheet))[: len(sheet) // 2]] = True
        measured = ~search
        if not asked.halves:
            search, measured = np.ones(len(sheet), dtype=bool), np.ones(len(sheet), dtype=bool)
        names, masks, parents = _slices(sheet, asked)
        large = [i for i, mask in enumerate(masks) if asked.least <= mask.sum() <= len(sheet) - asked.least]
        enough = [i for i in large if min((masks[i] & part).sum() for part in (search, measured)) >= 5][:_MOST_SLICES]
        if not enough:
            raise TooLittleData(needs=f"a slice of at least {asked.least} items", found="none")
        p = np.array([fisher(right, masks[i] & search, ~masks[i] & search) for i in enough])
        adjusted = benjamini_hochberg(p)
        found = {i for i, q in zip(enough, adjusted, strict=True) if q <= asked.fdr}
        # A slice of two columns stays only where it differs from the rest of both of its parents too.
        explained = {
            i for i in found for parent in parents[i]
            if fisher(right, masks[i] & search, masks[parent] & ~masks[i] & search) > 0.05
        }  # fmt: skip
        rows = []
        for i, p_value, q in zip(enough, p, adjusted, strict=True):
            rows.append(
                {"slice": names[i], "columns": 1 + (len(parents[i]) > 0)}
                | _measured(right, masks[i], measured, asked.level)
                | {"effect_found": _effect(right, masks[i], search), "p": p_value, "q": q,
                   "found": i in found and i not in explained, "explained": i in explained, "number": i}
            )  # fmt: skip
        table = pd.DataFrame(rows).sort_values(["found", "effect"], ascending=[False, True], ignore_index=True)
        clauses = tuple(_clause(sheet, asked, names[i]) for i in table["number"])
        kept = table[table["found"]]
        estimates = {
            "n": Estimate(len(sheet), unit="items", why_no_interval="a count"),
            "tried": Estimate(len(enough), unit="slices", why_no_interval="a count"),
            "found": Estimate(len(kept), unit="slices", why_no_interval="a count"),
        }
        for row in kept.head(20).to_dict("records"):
            estimates[f"{row['slice']}/effect"] = Estimate(
                float(row["effect"]), float(row["low"]), float(row["high"]), asked.level, "of items"
            )
        return Slices(
            version=asked.version, tags=asked.tags, clauses=clauses, level=asked.level, estimates=estimates,
            tables={"slices": table.drop(columns="number")}, notes=_notes(sheet, asked, len(enough), len(explained)),
        )  # fmt: skip


def _told_apart(frame: pd.DataFrame, columns: list[str]) -> tuple[str, ...]:
    """Give columns that cut the rows differently: of those that cut them alike (a column and its canonical name) the last."""
    kept: dict[bytes, str] = {}
    for name in columns:
        kept[pd.factorize(frame[name])[0].tobytes()] = name
    return tuple(name for name in columns if name in kept.values())


_JOIN = " & "


def _slices(sheet: Sheet, asked: SlicesQuestion) -> tuple[list[str], list[np.ndarray], list[tuple[int, ...]]]:
    """Give names and masks of all slices, and the numbers of the parents of those with two columns."""
    names: list[str] = []
    masks: list[np.ndarray] = []
    parents: list[tuple[int, ...]] = []
    column: list[str] = []
    for tag in asked.tags:
        values = sheet.items[tag].astype(object)
        for value in values.dropna().unique():
            names.append(f"{tag} {value}")
            masks.append((values == value).to_numpy(bool))
            parents.append(())
            column.append(tag)
    if asked.depth > 1:
        for i, j in combinations(range(len(column)), 2):
            if column[i] != column[j]:
                both = masks[i] & masks[j]
                if both.sum() >= asked.least and both.sum() < min(masks[i].sum(), masks[j].sum()):
                    names.append(f"{names[i]}{_JOIN}{names[j]}")
                    masks.append(both)
                    parents.append((i, j))
    return names, masks, parents


def _clause(sheet: Sheet, asked: SlicesQuestion, name: str) -> Clause:
    parts: list[Clause] = [is_in(sheet.by, (asked.version,))]
    for part in name.split(_JOIN):
        tag = next(tag for tag in sorted(asked.tags, key=len, reverse=True) if part.startswith(f"{tag} "))
        values = sheet.items[tag].astype(object)
        value = next(value for value in values.dropna().unique() if f"{tag} {value}" == part)
        parts.append(is_in(tag, (value,)))
    return All(tuple(parts))


def fisher(right: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> float:
    """Give Fisher's exact two-sided p of right answers inside against outside; 1 where one of them is empty."""
    from scipy.stats import fisher_exact

    a, b = (np.round(right[mask]) for mask in (inside, outside))
    if not len(a) or not len(b):
        return 1.0
    counts = np.array([[a.sum(), len(a) - a.sum()], [b.sum(), len(b) - b.sum()]])
    return float(fisher_exact(counts)[1])


def _effect(right: np.ndarray, mask: np.ndarray, part: np.ndarray) -> float:
    return float(right[mask & part].mean() - right[~mask & part].mean())


def _measured(right: np.ndarray, mask: np.ndarray, part: np.ndarray, level: float) -> dict[str, float]:
    inside, outside = right[mask & part], right[~mask & part]
    low, high = newcombe(inside.sum(), len(inside), outside.sum(), len(outside), level)
    return {
        "n": len(inside), "accuracy": float(inside.mean()), "rest": float(outside.mean()),
        "effect": float(inside.mean() - outside.mean()), "low": float(low), "high": float(high),
    }  # fmt: skip


def _notes(sheet: Sheet, asked: SlicesQuestion, tried: int, explained: int) -> tuple[str, ...]:
    how = (
        f"Found on one half of the items, n and effect are of the other half (seed {asked.seed})."
        if asked.halves
        else "Attention: found and measured on the same items, so that effects are inflated."
    )
    return (
        f"Unit: the item, n = {len(sheet):,}. {how} Intervals: {100 * asked.level:g} % Newcombe.",
        *sheet.notes,
        f"{counted(tried, 'slice')} of {', '.join(asked.tags)} with at least {asked.least} items; Fisher's exact test, false "
        f"discovery rate {100 * asked.fdr:g} % (Benjamini-Hochberg).",
        *([f"{counted(explained, 'slice')} dropped: a parent explains it (p > .05 against the rest of the parent)."]
          if explained else []),
    )  # fmt: skip


def figure(question: SlicesQuestion, result: Slices) -> FigureSpec:
    """Draw the slices that stand out, the worst first, with what they seemed on the half that found them."""
    table = result.tables["slices"]
    shown = table[table["found"]].head(_SHOWN)
    said = "that stand out"
    if shown.empty:
        shown, said = table.sort_values("p").head(_SHOWN), "of which none stands out"
    names = [str(name) for name in shown["slice"]]
    origin = Clauses("predictions", tuple(result.clauses[i] for i in shown.index))
    value, low, high = (100 * shown[key].to_numpy(float) for key in ("effect", "low", "high"))
    marks: list[Mark] = [zero()]
    marks += dots(
        "effect", names, value, low, high, label="on the other half" if question.halves else "", origin=origin,
        n=shown["n"].to_numpy(int),
    )  # fmt: skip
    if question.halves:
        marks.append(
            Points(
                key="found", x=100 * shown["effect_found"].to_numpy(float), y=np.arange(len(names), dtype=float) + 0.18,
                hue="muted", hollow=True, size=5.0, label="where it was found", origin=origin,
            )
        )  # fmt: skip
    panel = Panel(
        key="slices", x=Axis(label="right answers, slice less rest (points)"), y=named_axis(names), marks=tuple(marks),
        title=f"{len(shown)} slices {said}",
    )  # fmt: skip
    return FigureSpec(
        title=f"Slices of {result.version}",
        subtitle=f"{int(result.estimates['n'].value):,} items, {int(result.estimates['tried'].value)} slices tried, "
        f"{100 * result.level:g} % Newcombe intervals",
        panels=(panel,),
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="groups.slices",
    title="Slices",
    asks="Where does it fail more than elsewhere?",
    question=SlicesQuestion,
    figure=figure,
    sources=(
        "Balachandran et al. (2024), Eureka: Evaluating and Understanding Large Foundation Models",
        "Yu et al. (2023), MM-Vet; Kakodkar et al. (2023), FOCUS: scores by tag and set of tags",
        "Newcombe (1998), method 10; Benjamini and Hochberg (1995)",
    ),
    definition="""\
Slices are values of one column, or of two, with at least `least` items in and outside. effect = accuracy of the slice −
accuracy of the rest. Slices are tested on one half of the items by Fisher's exact test at a false discovery rate; n, accuracy,
effect and its interval are of the other half. A slice of two columns is dropped where it does not differ (p > .05) from the
rest of a parent.

Unit: the item. Trap: measured on the items that found them, effects are inflated; the hollow marks show by how much. """,
)
