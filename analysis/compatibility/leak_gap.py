"""``contam.leak-gap``: whether a model knows the benchmark rather than the skill."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Clauses, FigureSpec, Line, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted
from ...models.selection import Clause, both, is_in
from ...models.store import RunStore
from ..answer_marks import MOST_ROWS, dots, named_axis, zero
from ..answer_sheet import AnswersQuestion, Sheet, answer_sheet, names_compared
from ..answers import in_natural_order, present
from ..paired_differences import Differences
from ..paired_tests import clopper_pearson, mcnemar_exact_all, newcombe_independent
from ..resampling import holm, t_quantile

_SPLIT_COLUMNS = ("split", "subset", "visibility", "variant", "version_of_item", "set")
_LEAKED = ("public", "train", "training", "original", "orig", "seen", "open", "dev")
_FENCE = 3.5
"""Robust z from which on a gap is flagged (Iglewicz and Hoaglin 1993)."""


@dataclass(frozen=True, kw_only=True)
class LeakGaps(Result):
    """Scores on what may have leaked against scores on what cannot.

    Attributes
    ----------
    leaked, fresh : str
        Values of the split column.
    paired : bool
        Whether both parts hold versions of the same items.
    control : str
        Model whose gap says how much easier the leaked part is; empty without one.
    items : dict of str to Clause
        By model: items right where leaked and wrong where fresh (paired), else the right ones of the leaked part.
    level : float
        Coverage of the intervals.
    """

    leaked: str
    fresh: str
    paired: bool
    control: str
    items: dict[str, Clause]
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        table = self.tables["gaps"]
        worst = table.iloc[int(table["gap"].to_numpy(float).argmax())]
        n = int((table["p_holm"] < 1 - self.level).sum())
        said = (
            f"The largest gap {self.leaked} − {self.fresh} is that of {worst['version']}: {100 * worst['gap']:.1f} "
            f"[{100 * worst['low']:.1f}, {100 * worst['high']:.1f}] points; {n} of {counted(len(table), 'gap')} "
            f"{'differs' if n == 1 else 'differ'} from 0 after Holm"
        )
        if self.control:
            said += f"; over {self.control} it is {100 * worst['over_control']:+.1f} points"
        return said + "."


@dataclass(frozen=True, kw_only=True)
class LeakGapQuestion(AnswersQuestion):
    """Does the model know the benchmark rather than the skill?"""

    split: str = option(
        "", help="column that tells what may have leaked from what cannot", choices="columns of predictions"
    )
    leaked: str = option(
        "", help="value of what may have leaked (public, train, original)", choices="predictions.split"
    )
    fresh: str = option(
        "", help="value of what cannot have leaked (private, test, rewritten)", choices="predictions.split"
    )
    control: str = option(
        "",
        help="model that cannot have seen either: is one part just easier?",
        choices="predictions.version|predictions.model",
    )
    chance: float | None = option(
        None, help="rate of a lucky guess on the leaked part; tested where given", unit="of items", low=0.0, high=1.0
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the split column, its values and whose answers."""
        asked = super().resolved(store)
        if not store.has_rows("predictions"):
            return asked
        frame = store.rows("predictions")
        if not asked.by:
            by = next((name for name in ("model", "version", "source") if name in frame.columns), "source")
            asked = replace(asked, by=by)
        if not asked.split:
            found = [n for n in present(frame, _SPLIT_COLUMNS) if frame[n].nunique() > 1 and n != asked.by]
            asked = replace(asked, split=found[0] if found else "")
        if asked.split not in frame.columns:
            return asked
        values = in_natural_order(frame[asked.split].dropna())
        leaked = asked.leaked or next((v for v in values if v.lower() in _LEAKED and v != asked.fresh), "")
        leaked = leaked or next((v for v in values if v != asked.fresh), "")
        fresh = asked.fresh or next((v for v in values if v != leaked), "")
        return replace(asked, leaked=leaked, fresh=fresh)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> LeakGaps:
        """Compare the two parts, model by model."""
        asked = self.resolved(store)
        if not (asked.split and asked.leaked and asked.fresh) or asked.leaked == asked.fresh:
            raise TooLittleData(
                needs="a column that tells what may have leaked (public, train, original) from what cannot",
                found="none of " + ", ".join(_SPLIT_COLUMNS), remedy="Choose it (split), or map one onto 'split'.",
            )  # fmt: skip
        if asked.unanswered == "guess":
            raise AnalysisError(
                "A guessed credit is neither right nor wrong.", remedy="Count no answer as wrong or drop it."
            )
        names = names_compared(store.rows("predictions"), asked.by, asked.model)
        parts = {name: _parts(store, asked, name) for name in names}
        known = {name: part for name, part in parts.items() if part is not None}
        if not known:
            raise TooLittleData(needs=f"answers to both {asked.leaked} and {asked.fresh} by one model", found="none")
        if asked.control and asked.control not in known:
            raise AnalysisError(f"No model {asked.control!r} answered both parts.")
        paired = all(len(part.matched) >= 0.5 * min(part.leaked.size, part.fresh.size) for part in known.values())
        table = pd.DataFrame([_row(name, part, asked, paired=paired) for name, part in known.items()])
        table["p_holm"] = holm(table["p"].to_numpy(float))
        if asked.control:
            table = _over_control(store, table, asked, paired=paired)
        table["outlier"] = _outliers(table["gap"].to_numpy(float))
        items, listed, notes = {}, [], []
        for name, part in known.items():
            mask = part.items_behind(asked, paired=paired)
            clause = part.sheet.clause(mask)
            limit = (
                is_in(asked.by, (name,))
                if paired
                else both(is_in(asked.by, (name,)), is_in(asked.split, (asked.leaked,)))
            )
            items[name] = both(limit, clause)
            listed.append(part.sheet.listed(mask, (0,), ("of_model",)).assign(version=name))
            notes += [f"{name}: {note}" for note in part.sheet.notes]
        estimates = _estimates(table, asked)
        left = [name for name in names if name not in known]
        unit = "the item with its rewrite" if paired else "the item; the two parts hold different items"
        return LeakGaps(
            leaked=asked.leaked,
            fresh=asked.fresh,
            paired=paired,
            control=asked.control,
            items=items,
            level=asked.level,
            estimates=estimates,
            tables={"gaps": table, "items": pd.concat(listed, ignore_index=True)},
            notes=(
                f"Unit: {unit}.",
                f"Gap: {100 * asked.level:g} % "
                + ("t interval over pairs, exact McNemar p" if paired else "Newcombe interval, Fisher's exact p")
                + f", by Holm over {counted(len(table), 'model')}. Outlier: robust z above {_FENCE:g}, of 5 models or more.",
                "delta is the relative gap (leaked − fresh) / fresh.",
                *(
                    []
                    if paired
                    else ["Parts of different difficulty make a gap too: only a control or paired rewrites tell."]
                ),
                *(["Without a control a harder rewrite looks like leakage."] if paired and not asked.control else []),
                *([f"Left out, without answers to both: {', '.join(left)}."] if left else []),
                *notes,
            ),
        )


@dataclass(frozen=True, eq=False)
class _Parts:
    """The answers of one model: rows of the sheet in either part, and the pairs of rows that are one item."""

    sheet: Sheet
    leaked: np.ndarray
    fresh: np.ndarray
    matched: np.ndarray

    def items_behind(self, asked: LeakGapQuestion, *, paired: bool) -> np.ndarray:
        """Give the rows behind the gap."""
        mask = np.zeros(len(self.sheet), dtype=bool)
        right = self.sheet.right[:, 0] > 0.5
        if paired:
            lost = self.matched[right[self.matched[:, 0]] & ~right[self.matched[:, 1]]]
            mask[lost.ravel()] = True
        else:
            mask[self.leaked[right[self.leaked]]] = True
        return mask


def _parts(store: RunStore, asked: LeakGapQuestion, *names: str) -> _Parts | None:
    """Give the rows of either part among the items that some models answered, or None where a part is empty."""
    sheet = answer_sheet(store, asked, names, key=(asked.split,), least=1)
    split = sheet.items[asked.split].astype(str).to_numpy(object)
    leaked, fresh = np.flatnonzero(split == asked.leaked), np.flatnonzero(split == asked.fresh)
    if not (len(leaked) and len(fresh)):
        return None
    key = [name for name in ("task", "item", "sample") if name in sheet.items.columns]
    sides = [sheet.items.iloc[rows][key].astype(str).assign(row=rows) for rows in (leaked, fresh)]
    matched = sides[0].merge(sides[1], on=key, suffixes=("_leaked", "_fresh"))[["row_leaked", "row_fresh"]]
    return _Parts(sheet, leaked, fresh, matched.to_numpy(int))


def _row(name: str, part: _Parts, asked: LeakGapQuestion, *, paired: bool) -> dict[str, object]:
    right = part.sheet.right[:, 0]
    leaked, fresh = (part.matched[:, 0], part.matched[:, 1]) if paired else (part.leaked, part.fresh)
    one, other = right[leaked], right[fresh]
    if paired:
        change = Differences(other, one, np.arange(len(one)), len(one))
        low, high = (float(end) for end in change.t_interval(asked.level))
        p = float(mcnemar_exact_all(np.sum(one > other), np.sum(one < other)))
    else:
        low, high = (float(e) for e in newcombe_independent(one.sum(), len(one), other.sum(), len(other), asked.level))
        p = _fisher(int(one.sum()), len(one), int(other.sum()), len(other))
    row: dict[str, object] = {
        "version": name,
        "n_leaked": len(one),
        "n_fresh": len(other),
        "accuracy_leaked": float(one.mean()),
        "accuracy_fresh": float(other.mean()),
        "gap": float(one.mean() - other.mean()),
        "low": low,
        "high": high,
        "delta": float((one.mean() - other.mean()) / other.mean()) if other.any() else math.nan,
        "p": p,
    }
    if asked.chance is not None:
        from scipy.special import bdtrc

        hits = int(one.sum())
        above = float(bdtrc(hits - 1, len(one), asked.chance)) if hits else 1.0
        ends = clopper_pearson(hits, len(one), asked.level)
        row |= {"chance_p": above, "leaked_low": float(ends.low), "leaked_high": float(ends.high)}
    return row


def _fisher(first: int, n1: int, second: int, n2: int) -> float:
    from scipy.stats import fisher_exact

    return float(fisher_exact(np.array([[first, n1 - first], [second, n2 - second]])).pvalue)


def _over_control(store: RunStore, table: pd.DataFrame, asked: LeakGapQuestion, *, paired: bool) -> pd.DataFrame:
    """Give each gap less that of the control, on the items both answered, so that what both find easy cancels."""
    rows = []
    for name in table["version"]:
        part = None if name == asked.control else _parts(store, asked, name, asked.control)
        if part is None:
            rows.append((0.0 if name == asked.control else math.nan, math.nan, math.nan))
            continue
        better = part.sheet.right[:, 0] - part.sheet.right[:, 1]
        if paired:
            one, other = better[part.matched[:, 0]], better[part.matched[:, 1]]
            change = Differences(other, one, np.arange(len(one)), len(one))
            ends = change.t_interval(asked.level)
            rows.append((change.mean, float(ends.low), float(ends.high)))
            continue
        one, other = better[part.leaked], better[part.fresh]
        errors = [float(side.var(ddof=1)) / len(side) if len(side) > 1 else math.nan for side in (one, other)]
        se = math.sqrt(sum(errors))
        below = sum(
            error**2 / (len(side) - 1) for error, side in zip(errors, (one, other), strict=True) if len(side) > 1
        )
        half = float(t_quantile(asked.level, sum(errors) ** 2 / below)) * se if below > 0 else math.nan
        over = float(one.mean() - other.mean())
        rows.append((over, over - half, over + half))
    values = np.array(rows)
    return table.assign(over_control=values[:, 0], over_control_low=values[:, 1], over_control_high=values[:, 2])


def _outliers(gaps: np.ndarray) -> np.ndarray:
    if len(gaps) < 5:
        return np.zeros(len(gaps), dtype=bool)
    spread = float(np.median(np.abs(gaps - np.median(gaps))))
    if spread == 0:
        return np.zeros(len(gaps), dtype=bool)
    return np.asarray(0.6745 * (gaps - np.median(gaps)) / spread > _FENCE)


def _estimates(table: pd.DataFrame, asked: LeakGapQuestion) -> dict[str, Estimate]:
    worst = table.iloc[int(table["gap"].to_numpy(float).argmax())]
    estimates = {
        "models": Estimate(len(table), why_no_interval="a count"),
        "gap": Estimate(
            float(worst["gap"]), float(worst["low"]), float(worst["high"]), asked.level, f"of {worst['version']}"
        ),
        "delta": Estimate(float(worst["delta"]), unit="relative to fresh", why_no_interval="see the gap"),
        "p": Estimate(float(worst["p"]), why_no_interval="a p-value"),
        "p_holm": Estimate(float(worst["p_holm"]), why_no_interval="a p-value"),
        "mean_gap": Estimate(float(table["gap"].mean()), why_no_interval="over models; see the table"),
    }
    if asked.control:
        estimates["over_control"] = Estimate(
            float(worst["over_control"]), float(worst["over_control_low"]), float(worst["over_control_high"]), asked.level,
            f"gap less that of {asked.control}", "it is the control itself",
        )  # fmt: skip
    if asked.chance is not None:
        best = table.iloc[int(table["accuracy_leaked"].to_numpy(float).argmax())]
        estimates["leaked_rate"] = Estimate(
            float(best["accuracy_leaked"]), float(best["leaked_low"]), float(best["leaked_high"]), asked.level,
            f"of {best['version']}, chance {asked.chance:g}",
        )  # fmt: skip
        estimates["chance_p"] = Estimate(float(best["chance_p"]), why_no_interval="a one-sided binomial p-value")
    return estimates


def figure(question: LeakGapQuestion, result: LeakGaps) -> FigureSpec:
    """Draw both scores of each model as a dumbbell, and the gaps with their intervals."""
    table = result.tables["gaps"].sort_values("gap", ascending=False, kind="stable").head(MOST_ROWS)
    names = list(table["version"])
    at = np.arange(len(names), dtype=float)
    nan = np.full(len(names), np.nan)
    ends = 100 * np.stack([table["accuracy_fresh"], table["accuracy_leaked"], nan], axis=1).ravel()
    origin = Clauses("predictions", tuple(result.items[name] for name in names))
    sides = [
        Points(
            key=column, x=100 * table[column].to_numpy(float), y=at, hue=hue, size=7.0, label=label, origin=origin,
            notes=tuple(
                f"{name}, {label}: {100 * value:.1f} %, n = {n:,}"
                for name, value, n in zip(names, table[column], table[size], strict=True)
            ),
        )
        for column, size, hue, label in (
            ("accuracy_leaked", "n_leaked", "c1", result.leaked),
            ("accuracy_fresh", "n_fresh", "c0", result.fresh),
        )
    ]  # fmt: skip
    marks: list[Line | Points | Rule] = [Line(key="gaps", x=ends, y=np.repeat(at, 3), hue="muted", width=2.0), *sides]
    if question.chance is not None:
        marks.append(Rule(key="chance", axis="x", at=100 * question.chance, label="chance"))
    columns = ("over_control", "over_control_low", "over_control_high") if result.control else ("gap", "low", "high")
    usual, strange = ~table["outlier"].to_numpy(bool), table["outlier"].to_numpy(bool)
    gaps: list[Line | Points | Rule] = [zero()]
    for key, inside, hue, label in (("usual", usual, "c0", ""), ("outliers", strange, "bad", "outlier")):
        rows = table[inside]
        if len(rows):
            parts = (100 * rows[column].to_numpy(float) for column in columns)
            own = Clauses("predictions", tuple(result.items[name] for name in rows["version"]))
            gaps += dots(key, list(rows["version"]), *parts, at=at[inside], hue=hue, label=label, origin=own)
    over = f" less that of {result.control}" if result.control else ""
    return FigureSpec(
        title=f"{result.leaked} against {result.fresh}",
        subtitle=f"{'paired rewrites' if result.paired else 'different items'}, {counted(len(table), 'model')}; "
        f"{100 * result.level:g} % intervals over items",
        panels=(
            Panel(key="scores", x=Axis(label="accuracy (%)"), y=named_axis(names), marks=tuple(marks), title="Scores"),
            Panel(
                key="gaps", x=Axis(label=f"gap {result.leaked} − {result.fresh}{over} (points)"), y=named_axis(names),
                marks=tuple(gaps), title="Gaps",
            ),
        ),
        columns=2,
        caption=f"{result.summary()} {' '.join(result.notes[:2])}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="contam.leak-gap",
    title="Leakage gap",
    asks="Does the model know the benchmark rather than the skill?",
    question=LeakGapQuestion,
    figure=figure,
    sources=(
        "Xu et al. (2024), Benchmarking Benchmark Leakage in Large Language Models",
        "Deng et al. (2024), Investigating Data Contamination (TS-Guessing)",
        "Newcombe (1998), independent proportions, method 10; McNemar (1947); Fisher (1935)",
        "Iglewicz and Hoaglin (1993): robust z",
    ),
    definition="""\
Gap = accuracy on what may have leaked (public, train, original) − accuracy on what cannot have (private, test,
rewritten). Where both parts hold versions of the same items (same key) they are paired: t interval over items, exact
McNemar; else Newcombe's interval and Fisher's exact test. delta = gap / fresh accuracy. With a control model, gap
less that of the control on the items both answered (t over pairs, or Welch's). Guessing (a missing option, a masked
word): the rate on the leaked part is tested against `chance` by the binomial law.

Unit: the item. Trap: a harder rewrite, or a harder private part, looks like leakage: use a control. """,
)
