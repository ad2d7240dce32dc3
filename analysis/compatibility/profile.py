"""``compat.profile``: where a version got worse although the whole may have got better."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self

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
from ..answer_sheet import PairQuestion, Sheet, answer_sheet
from ..answers import present
from ..paired_tests import benjamini_hochberg, mcnemar_exact_all, newcombe_paired
from ..resampling import holm, wilson

_POOLED = "small slices"
_MOST_VALUES = 200


@dataclass(frozen=True, kw_only=True)
class SliceProfile(Result):
    """Old against new, slice by slice.

    Attributes
    ----------
    old, new : str
        The two compared.
    items : dict of (str, str) to Clause
        Items that broke, by column and value of the slice.
    level : float
        Coverage of the intervals.
    """

    old: str
    new: str
    items: dict[tuple[str, str], Clause]
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        table = self.tables["slices"]
        worse, better = (int((table["verdict"] == word).sum()) for word in ("regressed", "improved"))
        e = self.estimates["difference"]
        said = (
            f"From {self.old} to {self.new} accuracy changes by {100 * e.value:+.2f} points; of {counted(len(table), 'slice')} "
            f"{worse} regressed and {better} improved beyond chance"
        )
        if worse:
            first = table[table["verdict"] == "regressed"].sort_values("difference").iloc[0]
            said += f", most {first['slice']} ({100 * first['difference']:+.1f} points, n = {first['n']:,})"
        return said + "."


@dataclass(frozen=True, kw_only=True)
class ProfileQuestion(PairQuestion):
    """Where did it get worse although the total rose?"""

    slices: tuple[str, ...] = option(
        (), help="columns to slice by; group, or task, if empty", choices="columns of predictions"
    )
    least: int = option(20, help="fewest items of a slice; smaller ones are pooled", unit="items", low=1)
    adjust: Literal["bh", "holm"] = option(
        "bh", help="adjusts p for the number of slices: false discovery rate or family-wise"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in what is compared, and the columns to slice by."""
        asked = super().resolved(store)
        if asked.slices or not store.has_rows("predictions"):
            return asked
        frame = store.rows("predictions")
        found = [name for name in present(frame, ("group", "task")) if 1 < frame[name].nunique() <= _MOST_VALUES]
        return replace(asked, slices=tuple(found[:1]))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> SliceProfile:
        """Test each slice, adjust for their number, and shrink towards the whole."""
        asked = self.resolved(store)
        if asked.unanswered == "guess":
            raise AnalysisError(
                "A guessed credit is neither right nor wrong.", remedy="Count no answer as wrong or drop it."
            )
        if not asked.slices:
            raise TooLittleData(
                needs="a column to slice by", found="neither group nor task", remedy="Choose one (slices)."
            )
        sheet = answer_sheet(store, asked, (asked.old, asked.new), about=asked.slices)
        old, new = sheet.right.T
        rows, items, notes = [], {}, []
        for column in asked.slices:
            values = sheet.items[column].astype(object).where(sheet.items[column].notna(), "none").astype(str)
            sizes = values.value_counts()
            if len(sizes) > _MOST_VALUES:
                raise AnalysisError(f"{column} has {len(sizes):,} values.", remedy="Slice by a column with fewer.")
            small = set(sizes[sizes < asked.least].index)
            if small:
                notes.append(
                    f"{counted(len(small), 'slice')} of {column} below {asked.least} items pooled as '{_POOLED}'."
                )
            for value in [*(name for name in sizes.index if name not in small), *([_POOLED] if small else [])]:
                inside = values.isin(small).to_numpy() if value == _POOLED else (values == value).to_numpy()
                rows.append({"column": column, "slice": value, **_slice(old[inside], new[inside], asked.level)})
                items[column, value] = sheet.clause(inside & (old > new), (asked.old, asked.new))
        table = pd.DataFrame(rows)
        p = table["p"].to_numpy(float)
        table["p_adjusted"] = benjamini_hochberg(p) if asked.adjust == "bh" else holm(p)
        table["shrunk"] = np.nan
        for column in asked.slices:
            own = (table["column"] == column).to_numpy()
            table.loc[own, "shrunk"] = shrunk(
                table.loc[own, "difference"].to_numpy(float), table.loc[own, "se"].to_numpy(float)
            ).means
        passed = table["p_adjusted"] < 1 - asked.level
        table["verdict"] = np.select(
            [passed & (table["difference"] < 0), passed & (table["difference"] > 0)],
            ["regressed", "improved"],
            "unclear",
        )
        whole = _slice(old, new, asked.level)
        flips = old != new
        listed = sheet.listed(flips, (0, 1), ("old", "new")).assign(
            flip=np.where(old[flips] > new[flips], "right to wrong", "wrong to right")
        )
        said = "Benjamini and Hochberg (false discovery rate)" if asked.adjust == "bh" else "Holm (family-wise)"
        return SliceProfile(
            old=asked.old,
            new=asked.new,
            items=items,
            level=asked.level,
            estimates=_estimates(whole, table, asked.level),
            tables={"slices": table, "best": _best(store, asked), "items": listed},
            notes=(
                f"Unit: the item within its slice, n = {len(sheet):,}.",
                f"Differences: {100 * asked.level:g} % Newcombe paired intervals, each by itself; exact McNemar p over "
                f"{len(table)} slices adjusted by {said}; regressed or improved: adjusted p below {1 - asked.level:.3g}.",
                "shrunk: towards the mean of all slices by the variance between them (DerSimonian and Laird); read it where "
                "slices are small.",
                *notes,
                *sheet.notes,
            ),
        )


def _slice(old: np.ndarray, new: np.ndarray, level: float) -> dict[str, float]:
    n = len(old)
    right, broke = float(np.sum(old * new)), float(np.sum(old * (1 - new)))
    mended = float(np.sum((1 - old) * new))
    low, high = (float(end) for end in newcombe_paired(right, mended, broke, n - right - broke - mended, level))
    nfr = wilson(broke, n, level)
    difference = (mended - broke) / n
    # With half an item of either flip the standard error of a slice without flips is not 0.
    b, m = broke + 0.5, mended + 0.5
    return {
        "n": n,
        "accuracy_old": float(old.mean()),
        "accuracy_new": float(new.mean()),
        "difference": difference,
        "low": low,
        "high": high,
        "nfr": broke / n,
        "nfr_low": float(nfr.low),
        "nfr_high": float(nfr.high),
        "pfr": mended / n,
        "se": math.sqrt(b + m - (b - m) ** 2 / (n + 1)) / (n + 1),
        "p": float(mcnemar_exact_all(broke, mended)),
    }


class Shrunk(NamedTuple):
    """Means shrunk towards their common mean, and the variance between them."""

    means: np.ndarray
    tau2: float


def shrunk(values: np.ndarray, errors: np.ndarray) -> Shrunk:
    """Give values shrunk towards their mean, by the variance between them beyond their standard errors.

    DerSimonian and Laird (1986): τ² = max(0, (Q − (k − 1)) / (Σw − Σw² / Σw)), w = 1 / se².
    """
    weights = 1 / errors**2
    centre = float(weights @ values / weights.sum())
    spread = float(weights @ (values - centre) ** 2) - (len(values) - 1)
    below = float(weights.sum() - (weights @ weights) / weights.sum())
    tau2 = max(0.0, spread / below) if below > 0 else 0.0
    together = 1 / (errors**2 + tau2)
    mean = float(together @ values / together.sum())
    share = tau2 / (tau2 + errors**2)
    return Shrunk(mean + share * (values - mean), tau2)


def _estimates(whole: dict[str, float], table: pd.DataFrame, level: float) -> dict[str, Estimate]:
    n = whole["n"]
    return {
        "n": Estimate(n, unit="items", why_no_interval="a count"),
        "slices": Estimate(len(table), why_no_interval="a count"),
        "difference": Estimate(whole["difference"], whole["low"], whole["high"], level, "new − old, all items"),
        "nfr": Estimate(whole["nfr"], whole["nfr_low"], whole["nfr_high"], level, "of all items"),
        "regressed": Estimate(
            int((table["verdict"] == "regressed").sum()), unit="slices", why_no_interval="a count of tests"
        ),
        "improved": Estimate(
            int((table["verdict"] == "improved").sum()), unit="slices", why_no_interval="a count of tests"
        ),
        "largest_nfr": Estimate(
            float(table["nfr"].max()), why_no_interval=f"the largest of {len(table)}; see the table"
        ),
    }


def _best(store: RunStore, asked: ProfileQuestion) -> pd.DataFrame:
    """Give in what share of the slices each version is best; ties are shared."""
    sheet: Sheet = answer_sheet(store, asked, about=asked.slices)
    wins, slices = np.zeros(len(sheet.names)), 0
    for column in asked.slices:
        codes, names = sheet.groups(column)
        sizes = np.bincount(codes, minlength=len(names))
        for number in np.flatnonzero(sizes >= asked.least):
            scores = sheet.right[codes == number].mean(axis=0)
            best = scores >= scores.max() - 1e-12
            wins += best / best.sum()
            slices += 1
    return pd.DataFrame(
        {
            "version": sheet.names,
            "accuracy": sheet.right.mean(axis=0),
            "best_in_share": wins / max(slices, 1),
            "slices": slices,
        }
    ).sort_values("best_in_share", ascending=False, kind="stable", ignore_index=True)


def figure(question: ProfileQuestion, result: SliceProfile) -> FigureSpec:
    """Draw accuracies before and after as a dumbbell, and the differences with their verdicts."""
    table = result.tables["slices"].sort_values("difference", kind="stable", ignore_index=True)
    if len(table) > MOST_ROWS:
        table = pd.concat([table.head(MOST_ROWS // 2), table.tail(MOST_ROWS // 2)], ignore_index=True)
    several = table["column"].nunique() > 1
    names = [f"{row['column']}: {row['slice']}" if several else row["slice"] for row in table.to_dict("records")]
    at = np.arange(len(table), dtype=float)
    keys = list(zip(table["column"], table["slice"], strict=True))
    clauses = [
        both(result.items[key], is_in(key[0], (key[1],))) if key[1] != _POOLED else result.items[key] for key in keys
    ]
    ends = 100 * np.stack([table["accuracy_old"], table["accuracy_new"], np.full(len(table), np.nan)], axis=1).ravel()
    dumbbell: list[Line | Points] = [Line(key="changes", x=ends, y=np.repeat(at, 3), hue="muted", width=2.0)]
    for column, hue, label, hollow in (
        ("accuracy_old", "c0", result.old, True),
        ("accuracy_new", "c0", result.new, False),
    ):
        dumbbell.append(
            Points(
                key=column, x=100 * table[column].to_numpy(float), y=at, hue=hue, size=6.0, label=label, hollow=hollow,
                origin=Clauses("predictions", tuple(clauses)),
            )
        )  # fmt: skip
    whole = result.estimates["difference"].value
    marks: list[Line | Points | Rule] = [
        zero(),
        Rule(key="whole", axis="x", at=100 * whole, hue="accent", label="all items"),
    ]
    for verdict, hue in (("regressed", "bad"), ("improved", "good"), ("unclear", "muted")):
        inside = np.flatnonzero((table["verdict"] == verdict).to_numpy())
        if len(inside):
            own = table.iloc[inside]
            marks += dots(
                verdict, [names[i] for i in inside], *(100 * own[key].to_numpy(float) for key in ("difference", "low", "high")),
                at=at[inside], hue=hue, label=verdict, n=own["n"].to_numpy(),
                origin=Clauses("predictions", tuple(clauses[i] for i in inside)),
            )  # fmt: skip
    marks.append(
        Points(key="shrunk", x=100 * table["shrunk"].to_numpy(float), y=at, hue="ink", size=4.0, symbol="diamond", hollow=True,
               label="shrunk")
    )  # fmt: skip
    axis = named_axis(names)
    return FigureSpec(
        title=f"{result.old} → {result.new} by {', '.join(question.slices) or 'slice'}",
        subtitle=f"{result.estimates['n'].value:,.0f} items; {100 * result.level:g} % Newcombe intervals, verdicts adjusted "
        f"for {len(result.tables['slices'])} slices",
        panels=(
            Panel(key="scores", x=Axis(label="accuracy (%)"), y=axis, marks=tuple(dumbbell), title="Accuracy"),
            Panel(key="differences", x=Axis(label="change (points)"), y=axis, marks=tuple(marks), title="Change"),
        ),
        columns=2,
        caption=f"{result.summary()} {' '.join(result.notes[:2])}",
    )


ANALYSIS = Analysis(
    id="compat.profile",
    title="Regressions by slice",
    asks="Where did it get worse although the total rose?",
    question=ProfileQuestion,
    figure=figure,
    sources=(
        "Balachandran et al. (2024), Eureka: disaggregated regressions",
        "Benjamini and Hochberg (1995); Holm (1979); McNemar (1947); Newcombe (1998)",
        "DerSimonian and Laird (1986): variance between slices",
    ),
    definition="""\
For each slice on the items both answered: accuracies, difference, NFR, PFR, exact McNemar p, adjusted over all
slices. Regressed: adjusted p below 1 − level and a negative difference. Shrunk difference: towards the mean of all
slices by the variance between them, for many small ones. NFRs weighted by items add up to that of all items.

Unit: the item within its slice. Trap: among many small slices some always look worse; slices below 20 items are
pooled. """,
)
