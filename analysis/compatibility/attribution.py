"""``change.attribution``: whether a score changed by the mix of items or by the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, Clauses, FigureSpec, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted, shortened, with_interval
from ...models.selection import All, Clause, is_in
from ...models.store import RunStore
from ..answer_marks import MOST_ROWS, dots, named_axis, zero
from ..answer_sheet import PairQuestion, Sheet, answer_sheet, names_compared
from ..answers import present
from ..resampling import DRAWS, bootstrap, percentile_interval


@dataclass(frozen=True, kw_only=True)
class ChangeAttribution(Result):
    """A change of a score, in parts.

    Attributes
    ----------
    old, new : str
        The two periods, data sets or versions.
    groups : tuple of str
        Columns whose mix may have changed.
    parts : DataFrame
        By group: shares, scores, what the mix and what the scores within add, with intervals.
    items : tuple of Clause
        Answers of each group, in the order of `parts`.
    level : float
        Coverage of the intervals.
    """

    old: str
    new: str
    groups: tuple[str, ...]
    parts: pd.DataFrame
    items: tuple[Clause, ...]
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = {name: self.estimates[name] for name in ("change", "mix", "within")}
        total, mix, within = (with_interval(100 * one.value, 100 * one.low, 100 * one.high) for one in e.values())
        return (
            f"From {self.old} to {self.new} the score changes by {total} points: {mix} by the mix of {', '.join(self.groups)}, "
            f"{within} within groups."
        )


@dataclass(frozen=True, kw_only=True)
class AttributionQuestion(PairQuestion):
    """Why did the score change?"""

    groups: tuple[str, ...] = option(
        (), help="columns whose mix may have changed; group, or task, if empty", choices="columns of predictions"
    )
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the two versions, whether or not they share items, and the groups."""
        asked = super().resolved(store)
        if not store.has_rows("predictions"):
            return asked
        frame = store.rows("predictions")
        names = names_compared(frame, asked.by, asked.model)
        if not (asked.old and asked.new) and len(names) > 1:
            asked = replace(asked, old=asked.old or names[-2], new=asked.new or names[-1])
        if not asked.groups:
            found = [name for name in present(frame, ("group", "task")) if frame[name].nunique() > 1]
            asked = replace(asked, groups=tuple(found[:1]))
        return asked

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> ChangeAttribution:
        """Split the change into mix and score within groups."""
        asked = self.resolved(store)
        if not asked.groups:
            raise TooLittleData(
                needs="a column of groups", found="neither group nor task", remedy="Choose one (groups)."
            )
        sheet = answer_sheet(store, asked, (asked.old, asked.new), about=asked.groups, common=False, least=1)
        score = sheet.score if sheet.is_graded else sheet.right
        labels = sheet.items[list(asked.groups)].astype(object)
        joint = labels.where(labels.notna(), "none").astype(str).agg(" · ".join, axis=1)
        codes, names = pd.factorize(joint)
        sizes = np.stack([np.bincount(codes[sheet.present[:, side]], minlength=len(names)) for side in (0, 1)])
        lacking = [str(names[g]) for g in np.flatnonzero((sizes == 0).any(axis=0)).tolist()]
        if lacking:
            raise AnalysisError(
                f"{counted(len(lacking), 'group')} {'is' if len(lacking) == 1 else 'are'} empty in one of the two: "
                f"{', '.join(lacking[:5])}.",
                remedy="Leave those items out with a filter, or choose coarser groups.",
            )
        # Where both met the same items these are drawn once for both; items of one alone are drawn within it.
        pattern = sheet.present[:, 0] * 1 + sheet.present[:, 1] * 2
        table = np.column_stack([codes, np.nan_to_num(score, nan=-1.0), pattern])
        kinds, counts = np.unique(table, axis=0, return_counts=True)
        statistic = partial(_split, kinds, len(names))
        seen = statistic(counts[None].astype(float))[0]
        drawn = bootstrap(
            statistic, counts, strata=kinds[:, 3], draws=asked.draws, seed=asked.seed, engine=engine, progress=progress
        )
        low, high = (np.asarray(end) for end in percentile_interval(drawn, asked.level))
        parts = pd.DataFrame({"group": [str(name) for name in names], "n_old": sizes[0], "n_new": sizes[1]})
        for at, name in enumerate(("share_old", "share_new", "score_old", "score_new", "mix", "within")):
            parts[name] = seen[at]
            if name in ("mix", "within"):
                parts[f"{name}_low"], parts[f"{name}_high"] = low[at], high[at]
        order = np.argsort(-np.abs(seen[4]) - np.abs(seen[5]), kind="stable")
        totals = drawn[:, 4:6].sum(axis=2)
        ends = percentile_interval(np.column_stack([totals.sum(axis=1), totals]), asked.level)
        shared = int(sheet.present.all(axis=1).sum())
        first = labels.iloc[[int(np.argmax(codes == g)) for g in range(len(names))]]
        clauses = [
            All((is_in(asked.by, (asked.old, asked.new)), *(is_in(column, (row[column],)) for column in asked.groups)))
            for row in first.to_dict("records")
        ]
        return ChangeAttribution(
            old=asked.old,
            new=asked.new,
            groups=asked.groups,
            parts=parts.iloc[order].reset_index(drop=True),
            items=tuple(clauses[g] for g in order),
            level=asked.level,
            estimates=_estimates(seen, ends, sizes, asked.level),
            tables={"groups": parts.iloc[order].reset_index(drop=True), "items": _listed(sheet)},
            notes=(
                f"Unit: the item, {sizes[0].sum():,} of {asked.old} and {sizes[1].sum():,} of {asked.new}; {shared:,} shared "
                "items are drawn for both at once.",
                f"Intervals: {100 * asked.level:g} % percentile bootstrap, {asked.draws} draws, seed {asked.seed}.",
                "The split depends on which groups are chosen: what they do not tell apart counts as within.",
                *sheet.notes,
            ),
        )


def _listed(sheet: Sheet) -> pd.DataFrame:
    """Give the items that changed, or that only one of the two has."""
    old, new = sheet.right.T
    return sheet.listed(np.asarray(old != new), (0, 1), ("old", "new"))


def _split(kinds: np.ndarray, groups: int, counts: np.ndarray) -> np.ndarray:
    """Give shares, scores, and what mix and scores add, shape (draws, 6, groups).

    Kitagawa (1955): mix = (w1 − w0)(m0 + m1) / 2, measured from the mean of both totals so that a group whose share grows
    adds where it scores above it; within = (m1 − m0)(w0 + w1) / 2. Both add up to the change over groups.
    """
    code = kinds[:, 0].astype(int)
    shares, scores = [], []
    onehot = np.zeros((len(kinds), groups))
    onehot[np.arange(len(kinds)), code] = 1.0
    for side in (0, 1):
        has = (kinds[:, 3].astype(int) >> side) & 1
        n = counts @ (onehot * has[:, None])
        total = counts @ (onehot * (has * np.maximum(kinds[:, 1 + side], 0))[:, None])
        shares.append(n / n.sum(axis=1, keepdims=True))
        with np.errstate(invalid="ignore", divide="ignore"):
            scores.append(total / n)
    middle = (scores[0] + scores[1]) / 2
    centre = np.sum((shares[0] + shares[1]) / 2 * middle, axis=1, keepdims=True)
    mix = (shares[1] - shares[0]) * (middle - centre)
    within = (scores[1] - scores[0]) * (shares[0] + shares[1]) / 2
    return np.stack([shares[0], shares[1], scores[0], scores[1], mix, within], axis=1)


def _estimates(seen: np.ndarray, ends: tuple[object, object], sizes: np.ndarray, level: float) -> dict[str, Estimate]:
    low, high = (np.asarray(end, float) for end in ends)
    mix, within = float(seen[4].sum()), float(seen[5].sum())
    estimates = {
        "n_old": Estimate(int(sizes[0].sum()), unit="items", why_no_interval="a count"),
        "n_new": Estimate(int(sizes[1].sum()), unit="items", why_no_interval="a count"),
        "score_old": Estimate(float(seen[0] @ seen[2]), why_no_interval="see the change"),
        "score_new": Estimate(float(seen[1] @ seen[3]), why_no_interval="see the change"),
    }
    for at, (name, value) in enumerate((("change", mix + within), ("mix", mix), ("within", within))):
        estimates[name] = Estimate(value, float(low[at]), float(high[at]), level, "of the score")
    share = mix / (mix + within) if mix + within else math.nan
    estimates["share_of_mix"] = Estimate(
        share, unit="of the change", why_no_interval="a ratio that may divide by nothing"
    )
    return estimates


def figure(question: AttributionQuestion, result: ChangeAttribution) -> FigureSpec:
    """Draw the way from the old score to the new one, and what each group adds."""
    e = result.estimates
    start, end = 100 * e["score_old"].value, 100 * e["score_new"].value
    mix, within = 100 * e["mix"].value, 100 * e["within"].value
    names = (shortened(result.old, 20), "mix", "within", shortened(result.new, 20))
    ends = np.array([start, start + mix, start + mix + within, end])
    bases = np.array([0.0, start, start + mix, 0.0])
    marks = [
        Bars(key="totals", at=np.array([0.0, 3.0]), height=ends[[0, 3]], hue="c0", width=0.6),
        *(
            Bars(
                key=name, at=np.array([float(at)]), height=ends[[at]], base=bases[[at]], width=0.6,
                hue="good" if ends[at] >= bases[at] else "bad",
                notes=(f"{name}: {ends[at] - bases[at]:+.2f} points",),
            )
            for at, name in ((1, "mix"), (2, "within"))
        ),
    ]  # fmt: skip
    inside = np.concatenate([ends, bases[1:3]])
    room = max(float(np.ptp(inside)) * 0.6, 0.5)
    parts = result.parts.head(MOST_ROWS)
    clauses = Clauses("predictions", result.items[: len(parts)])
    groups = list(parts["group"])
    rows = [
        mark
        for name, hue, shift in (("mix", "c1", -0.15), ("within", "c0", 0.15))
        for mark in dots(
            name, groups, *(100 * parts[key].to_numpy(float) for key in (name, f"{name}_low", f"{name}_high")), hue=hue,
            label=name, shift=shift, origin=clauses,
        )
    ]  # fmt: skip
    return FigureSpec(
        title=f"Why the score changed, {result.old} → {result.new}",
        subtitle=f"by {', '.join(result.groups)}; {e['n_old'].value:,.0f} and {e['n_new'].value:,.0f} items, "
        f"{100 * result.level:g} % bootstrap intervals",
        panels=(
            Panel(
                key="waterfall", x=Axis(scale="category", names=names),
                y=Axis(label="score (%)", low=max(0.0, float(inside.min()) - room), high=float(inside.max()) + room),
                marks=(*marks, Rule(key="start", axis="y", at=start, hue="muted")), title="From old to new",
            ),
            Panel(
                key="groups", x=Axis(label="adds to the change (points)"), y=named_axis(groups), marks=(zero(), *rows),
                title="By group",
            ),
        ),
        columns=2,
        caption=f"{result.summary()} {' '.join(result.notes[:2])}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="change.attribution",
    title="Why the score changed",
    asks="Is the change due to the item mix or to the model?",
    question=AttributionQuestion,
    figure=figure,
    sources=("Kitagawa (1955), Components of a difference between two rates", "Efron (1979)"),
    definition="""\
With shares w and scores m of groups before (0) and after (1): mix = Σ (w1 − w0)(m0 + m1)/2, within = Σ (m1 − m0)(w0 +
w1)/2; they add up to the change of the total. Of a single group, the mix is measured from the mean of both totals,
which leaves its sum as it is: a group that grows adds where it scores above average. Several columns are crossed.

Unit: the item; shared items are drawn once for both. Trap: the split depends on the groups that are chosen. A group
that is empty in one of the two stops the split. """,
)
