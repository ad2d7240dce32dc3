"""``compat.joint``: whether a model is right on all questions that belong together, every time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, Cells, Clauses, FigureSpec, Line, Panel
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted
from ...models.selection import Clause, both, is_in
from ...models.store import RunStore
from ..answer_marks import MOST_ROWS, dots, named_axis
from ..answer_sheet import AnswersQuestion, Sheet, answer_sheet
from ..paired_differences import Differences
from ..resampling import wilson


@dataclass(frozen=True, kw_only=True)
class JointCorrectness(Result):
    """Groups of questions that must all be right.

    Attributes
    ----------
    together : str
        Column of the groups.
    names : tuple of str
        The versions.
    size : int
        Questions in a group.
    right_counts : dict of str to ndarray of int
        By version: how many questions of each group are right.
    count_items : dict of str to tuple of Clause
        By version: the groups with 0, 1, ... right.
    kinds : tuple of str
        Kinds of questions; empty where no column tells them.
    given : ndarray, shape (kinds, kinds)
        P(column wrong | row right) of the version in focus.
    given_items : tuple of Clause
        Groups behind these, row by row.
    focus : str
        The version with the largest gap.
    """

    together: str
    names: tuple[str, ...]
    size: int
    right_counts: dict[str, np.ndarray]
    count_items: dict[str, tuple[Clause, ...]]
    kinds: tuple[str, ...]
    given: np.ndarray
    given_items: tuple[Clause, ...]
    focus: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        return (
            f"{self.focus + ': a' if self.focus else 'A'}ll {self.size} questions of a group are right in "
            f"{100 * e['group_accuracy'].value:.1f} % of {e['groups'].value:,.0f} groups, single questions in "
            f"{100 * e['average_accuracy'].value:.1f} %: a gap of {100 * e['gap'].value:.1f} points."
        )


@dataclass(frozen=True, kw_only=True)
class JointQuestion(AnswersQuestion):
    """Is it right for the right reason, every time?"""

    together: str = option("", help="column of the questions that must all be right", choices="columns of predictions")
    kind: str = option(
        "", help="column of the kind of question (answer, rationale, ...)", choices="columns of predictions"
    )
    size: int | None = option(None, help="questions in a whole group; the most frequent number if none", low=2)
    near_miss: float = option(
        0.8,
        help="share right from which on a group that is not all right is a near miss",
        low=0.0,
        high=1.0,
        advanced=True,
    )
    penalty: float = option(2.0, help="what a wrong answer costs in the reliability score", low=0.0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> JointCorrectness:
        """Count the groups that are right as a whole."""
        asked = self.resolved(store)
        if not asked.together:
            raise TooLittleData(
                needs="a column of questions that belong together", found="none chosen", remedy="Choose it (together)."
            )
        if asked.unanswered == "guess":
            raise AnalysisError(
                "A guessed credit is neither right nor wrong.", remedy="Count no answer as wrong or drop it."
            )
        key = (asked.together, *((asked.kind,) if asked.kind else ()))
        sheet = answer_sheet(store, asked, key=key, least=1)
        codes, names = pd.factorize(sheet.items[asked.together])
        sizes = np.bincount(codes[codes >= 0], minlength=len(names))
        size = asked.size or int(np.bincount(sizes).argmax())
        whole = (codes >= 0) & (sizes[codes] == size)
        left = int(np.count_nonzero(sizes != size))
        if size < 2 or not whole.any():
            raise TooLittleData(needs="groups of two questions or more", found=f"groups of {size}")
        sheet = sheet.taking(whole)
        codes, _ = pd.factorize(sheet.items[asked.together])
        groups = int(codes.max()) + 1
        right = np.stack(
            [np.bincount(codes, sheet.right[:, v], minlength=groups) for v in range(len(sheet.names))], axis=1
        )
        rows = [_row(sheet, codes, right[:, version], version, size, asked) for version in range(len(sheet.names))]
        table = pd.DataFrame(rows)
        focus = int(table["gap"].to_numpy(float).argmax())
        kinds, given, given_items, by_kind = _kinds(sheet, codes, focus, asked)
        tables = {"versions": table}
        if len(by_kind):
            tables["kinds"] = by_kind
        torn = (right[codes, focus] > 0) & (right[codes, focus] < size)
        listed = sheet.listed(torn, (focus,)).assign(right_in_group=right[codes, focus][torn].astype(int))
        tables["items"] = listed.sort_values([asked.together], kind="stable", ignore_index=True)
        notes = [
            f"Unit: the group ({asked.together}); {groups:,} groups of {size} questions.",
            f"group_accuracy: {100 * asked.level:g} % Wilson; average accuracy and the gap: t over groups.",
            *sheet.notes,
            f"near_miss: at least {100 * asked.near_miss:g} % but not all right. reliability: +1 right, 0 no answer, "
            f"−{asked.penalty:g} wrong, a mean over questions.",
        ]
        if left:
            notes.append(f"{counted(left, 'group')} of another size left out.")
        if asked.unanswered == "dropped":
            notes.append("Questions without an answer were dropped before: their groups are incomplete and left out.")
        return JointCorrectness(
            together=asked.together,
            names=sheet.names,
            size=size,
            right_counts={name: right[:, v].astype(int) for v, name in enumerate(sheet.names)},
            count_items={
                name: tuple(
                    both(is_in(sheet.by, (name,)), _groups_clause(sheet, codes, right[:, v] == count, asked))
                    for count in range(size + 1)
                )
                for v, name in enumerate(sheet.names)
            },
            kinds=kinds,
            given=given,
            given_items=given_items,
            focus=sheet.names[focus] if len(sheet.names) > 1 else "",
            estimates=_estimates(table.iloc[focus], asked.level),
            tables=tables,
            notes=tuple(notes),
        )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the versions; one model alone is enough."""
        asked = super().resolved(store)
        if asked.by or not store.has_rows("predictions"):
            return asked
        columns = store.columns("predictions")
        return replace(asked, by=next(name for name in ("model", "version", "source") if name in columns))


def _groups_clause(sheet: Sheet, codes: np.ndarray, mask: np.ndarray, asked: JointQuestion) -> Clause:
    return is_in(asked.together, sheet.items[asked.together].to_numpy(object)[mask[codes]].tolist())


def _row(
    sheet: Sheet, codes: np.ndarray, right: np.ndarray, version: int, size: int, asked: JointQuestion
) -> dict[str, object]:
    groups = len(right)
    whole = right >= size - 1e-9
    low, high = (float(end) for end in wilson(float(whole.sum()), groups, asked.level))
    share = right / size
    gap = Differences(whole.astype(float), share, np.arange(groups), groups)
    mean = Differences(np.zeros(groups), share, np.arange(groups), groups)
    near = (share >= asked.near_miss) & ~whole
    own = sheet.right[:, version]
    blank = sheet.blank[:, version]
    reliability = np.where(blank, 0.0, np.where(own > 0.5, 1.0, -asked.penalty))
    per_group = np.bincount(codes, reliability, minlength=groups) / size
    score = Differences(np.zeros(groups), per_group, np.arange(groups), groups)
    row: dict[str, object] = {"version": sheet.names[version], "groups": groups, "questions": len(sheet)}
    for name, value, ends in (
        ("group_accuracy", float(whole.mean()), (low, high)),
        ("average_accuracy", mean.mean, mean.t_interval(asked.level)),
        ("gap", gap.mean, gap.t_interval(asked.level)),
        ("near_miss", float(near.mean()), wilson(float(near.sum()), groups, asked.level)),
        ("none_right", float(np.mean(right == 0)), wilson(float(np.sum(right == 0)), groups, asked.level)),
        ("reliability", score.mean, score.t_interval(asked.level)),
    ):
        row |= {name: value, f"{name}_low": float(ends[0]), f"{name}_high": float(ends[1])}
    return row


def _kinds(
    sheet: Sheet, codes: np.ndarray, focus: int, asked: JointQuestion
) -> tuple[tuple[str, ...], np.ndarray, tuple[Clause, ...], pd.DataFrame]:
    """Give P(kind wrong | other kind right), for kinds that occur once in each group."""
    if not asked.kind:
        return (), np.zeros((0, 0)), (), pd.DataFrame()
    numbers, names = pd.factorize(sheet.items[asked.kind])
    groups = int(codes.max()) + 1
    kinds = [str(name) for name in names]
    records = []
    for version, model in enumerate(sheet.names):
        grid = np.full((groups, len(kinds)), np.nan)
        grid[codes, numbers] = sheet.right[:, version]
        for one, name in enumerate(kinds):
            known = ~np.isnan(grid[:, one])
            rights, n = float(np.nansum(grid[:, one])), int(known.sum())
            low, high = (float(end) for end in wilson(rights, n, asked.level))
            records.append({"version": model, "kind": name, "given_right": "", "n": n, "rate": rights / n if n else math.nan,
                            "low": low, "high": high, "what": "right"})  # fmt: skip
            for other, second in enumerate(kinds):
                if other == one:
                    continue
                base = (grid[:, one] > 0.5) & ~np.isnan(grid[:, other])
                wrong = base & (grid[:, other] <= 0.5)
                low, high = (float(end) for end in wilson(float(wrong.sum()), float(base.sum()), asked.level))
                rate = float(wrong.sum() / base.sum()) if base.any() else math.nan
                records.append({"version": model, "kind": second, "given_right": name, "n": int(base.sum()), "rate": rate,
                                "low": low, "high": high, "what": "wrong"})  # fmt: skip
        if version == focus:
            given = np.full((len(kinds), len(kinds)), np.nan)
            behind: list[Clause] = []
            for one in range(len(kinds)):
                for other in range(len(kinds)):
                    base = (grid[:, one] > 0.5) & ~np.isnan(grid[:, other])
                    wrong = base & (grid[:, other] <= 0.5)
                    if one != other and base.any():
                        given[one, other] = wrong.sum() / base.sum()
                    clause = _groups_clause(sheet, codes, wrong, asked)
                    behind.append(both(is_in(sheet.by, (model,)), clause))
            found = given, tuple(behind)
    return tuple(kinds), found[0], found[1], pd.DataFrame(records)


def _estimates(row: pd.Series, level: float) -> dict[str, Estimate]:
    estimates = {
        "groups": Estimate(row["groups"], unit="groups", why_no_interval="a count"),
        "questions": Estimate(row["questions"], why_no_interval="a count"),
    }
    for name in ("group_accuracy", "average_accuracy", "gap", "near_miss", "none_right", "reliability"):
        estimates[name] = Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], level)
    return estimates


def figure(question: JointQuestion, result: JointCorrectness) -> FigureSpec:
    """Draw single against joint accuracy of each version, how many of a group are right, and which kinds fail together."""
    table = result.tables["versions"].head(MOST_ROWS)
    names = list(table["version"])
    at = np.arange(len(names), dtype=float)
    ends = 100 * np.stack([table["group_accuracy"], table["average_accuracy"], np.full(len(table), np.nan)], axis=1)
    marks = [Line(key="gaps", x=ends.ravel(), y=np.repeat(at, 3), hue="muted", width=2.0)]
    panels_marks = [
        mark
        for column, hue, label in (("average_accuracy", "c0", "single questions"), ("group_accuracy", "c1", "all of a group"))
        for mark in dots(
            column, names, *(100 * table[key].to_numpy(float) for key in (column, f"{column}_low", f"{column}_high")),
            hue=hue, label=label, n=table["groups"].to_numpy(),
            origin=Clauses("predictions", tuple(result.count_items[name][result.size] for name in names)),
        )
    ]  # fmt: skip
    focus = result.focus or result.names[0]
    counts = np.bincount(result.right_counts[focus], minlength=result.size + 1).astype(float)
    panels = [
        Panel(
            key="gap",
            x=Axis(label="right (%)"),
            y=named_axis(names),
            marks=(*marks, *panels_marks),
            title="Single against joint",
        ),
        Panel(
            key="counts",
            x=Axis(label=f"questions of {result.size} that are right"),
            y=Axis(label="groups", low=0.0),
            marks=(
                Bars(
                    key="counts", at=np.arange(len(counts), dtype=float), height=counts,
                    origin=Clauses("predictions", result.count_items[focus]),
                    notes=tuple(f"{count:,.0f} groups with {number} right" for number, count in enumerate(counts.tolist())),
                ),
            ),
            title=f"Groups of {focus}" if result.focus else "Groups",
        ),
    ]  # fmt: skip
    if len(result.kinds) > 1:
        texts = tuple(
            tuple(f"{100 * cell:.0f}" if math.isfinite(cell) else "" for cell in row) for row in result.given.tolist()
        )
        panels.append(
            Panel(
                key="kinds",
                x=Axis(label="is wrong", scale="category", names=result.kinds),
                y=Axis(label="although right", scale="category", names=result.kinds, inverted=True),
                marks=(
                    Cells(
                        key="kinds", values=100 * result.given, rows=result.kinds, columns=result.kinds, texts=texts,
                        ramp="bad", low=0.0, label="% wrong", origin=Clauses("predictions", result.given_items),
                    ),
                ),
                title="Wrong though another is right",
                square=True,
            )
        )  # fmt: skip
    return FigureSpec(
        title="Right on all that belongs together",
        subtitle=f"{result.estimates['groups'].value:,.0f} groups ({result.together}) of {result.size}; "
        f"{100 * question.level:g} % intervals over groups",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="compat.joint",
    title="Joint correctness",
    asks="Is it right for the right reason, every time?",
    question=JointQuestion,
    figure=figure,
    sources=(
        "Huang et al. (2024), MMEvalPro: genuine (group) accuracy against average accuracy",
        "Xu et al. (2023), ChartBench: Acc+ (right on positive and negative)",
        "Wilson (1927)",
    ),
    definition="""\
Group accuracy GA = share of groups whose questions are all right; average accuracy AA = share of single questions;
gap = AA − GA. A near miss has at least 80 % right but not all. With kinds: P(one kind wrong | another right), for
instance rationale wrong although the answer is right. Reliability = mean of +1 right, 0 no answer, −2 wrong. GA is at
most the accuracy of the hardest kind.

Unit: the group (Wilson, or t over groups). Groups that are not complete are left out and counted. Trap: dividing the
count of one kind by all rows makes its rate too small by the number of kinds. """,
)
